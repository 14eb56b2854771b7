package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"picluster/internal/golden"
	"picluster/internal/lab/browser"
	"picluster/internal/status"
	"picluster/internal/step"
)

// serve serves the page of a status.
func serve(t *testing.T, s status.Status, lines ...string) *httptest.Server {
	t.Helper()
	r := newRedactor(worker())
	ring := newRing(r)
	for _, line := range lines {
		ring.add(line)
	}
	server := httptest.NewServer(newPage(func() status.Status { return s }, r, ring))
	t.Cleanup(server.Close)
	return server
}

func fetch(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request) // redirects are answers
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return response, body.String()
}

func TestPage_isReviewed(t *testing.T) {
	for _, name := range []string{"failed", "done with less", "unreadable"} {
		_, body := fetch(t, "GET", serve(t, of(cases()[name])).URL)
		before, after, ok := strings.Cut(body, pageCSS)
		if !ok {
			t.Error("the style is not in the page")
		}
		golden.Equal(t, "testdata/"+strings.ReplaceAll(name, " ", "-")+".html.golden", []byte(before+after))
	}
}

func TestPage_answersWithStrictHeaders(t *testing.T) {
	server := serve(t, of(cases()["waiting"]), "a line")
	for path, kind := range map[string]string{"/": "text/html; charset=utf-8", "/status.json": "application/json", "/log": "text/plain; charset=utf-8", "/nothing": "text/plain; charset=utf-8"} {
		response, body := fetch(t, "GET", server.URL+path)
		for header, want := range map[string]string{
			"Content-Type": kind, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Set-Cookie": "", "Server": "", "Access-Control-Allow-Origin": "",
		} {
			if got := response.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", path, header, got, want)
			}
		}
		if got := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; ") || strings.Contains(got, "unsafe") || strings.Contains(got, "script") {
			t.Errorf("%s: the policy is %q", path, got)
		}
		if head, nothing := fetch(t, "HEAD", server.URL+path); head.StatusCode != response.StatusCode || nothing != "" {
			t.Errorf("%s: HEAD is %s, %q", path, head.Status, nothing)
		}
		if (response.StatusCode == http.StatusOK) != (path != "/nothing") || body == "" {
			t.Errorf("%s: %s %q", path, response.Status, body)
		}
	}
	if _, body := fetch(t, "GET", server.URL+"/log"); body != "a line\n" {
		t.Errorf("the log is %q", body)
	}
	var s status.Status
	if _, body := fetch(t, "GET", server.URL+"/status.json"); json.Unmarshal([]byte(body), &s) != nil || s.State != status.Waiting {
		t.Errorf("status.json is %s", body)
	}
}

func TestPage_cannotBeMadeToDoAnything(t *testing.T) {
	server := serve(t, of(cases()["running"]))
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "JUNK"} {
		for _, path := range []string{"/", "/status.json", "/log"} {
			if response, _ := fetch(t, method, server.URL+path); response.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s", method, path, response.Status)
			}
		}
	}
	for _, target := range []string{"/../../etc/passwd", "/..%2f..%2fetc/passwd", "/log/../../etc/shadow", "/log/etc", "//etc/passwd", "/%00", "/log%00.html", "/.", "/page.html", "/status.json/"} {
		for _, host := range []string{"node1.local:7390", "<script>alert(1)</script>", "evil.example", "", "a b", strings.Repeat("x", 5000)} {
			status, response := raw(t, server, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
			if status != "200" && status != "404" && status != "400" && status != "301" && status != "307" {
				t.Errorf("%s at %.20s: %s", target, host, status)
			}
			if strings.Contains(response, "root:") || strings.Contains(response, "<script") || strings.Contains(response, "evil") {
				t.Errorf("%s at %.20s:\n%s", target, host, response)
			}
		}
	}
	if status, _ := raw(t, server, "\x16\x03\x01\x02\x00junk\r\n\r\n"); status != "400" {
		t.Errorf("bytes that are no request: %s", status)
	}
}

// raw sends bytes and returns the status code and all of the answer.
func raw(t *testing.T, server *httptest.Server, request string) (status, response string) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(bufio.NewReader(conn)); err != nil && b.Len() == 0 {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(b.String(), " ")
	return rest[:min(3, len(rest))], b.String()
}

// hostile is what a program could say that somebody else has a hand in: the name of
// a package, a server's answer.
const hostile = `</dd></style><script>document.title="owned"</script><img src=x onerror=alert(1)><!-- "' {{.Node}} javascript:alert(1)`

func TestPage_showsHostileTextAsText(t *testing.T) {
	s := of(facts(worker(), at(1, "packages/"+hostile, 30, step.Warned, hostile), at(2, "swap/"+hostile, 20, step.Failed, hostile)))
	b := browser.New(t)
	dom, log := b.DOM(t, serve(t, s).URL, "390,844")
	if log != "" {
		t.Errorf("the browser says\n%s", log)
	}
	if strings.Contains(dom, "<script") || strings.Contains(dom, "<img") || strings.Contains(dom, "<title>owned") {
		t.Errorf("the page was broken out of:\n%s", dom)
	}
	if got := visible(dom); strings.Count(got, `<script>document.title="owned"</script>`) != 4 {
		t.Errorf("a person sees\n%s", got)
	}
}

var notText = regexp.MustCompile(`(?s)<style>.*?</style>|<title>.*?</title>|<[^>]*>`)

// visible is a document's text without its markup.
func visible(dom string) string {
	return strings.Join(strings.Fields(html.UnescapeString(notText.ReplaceAllString(dom, " "))), " ")
}

// A real browser that obeys the policy shows the page and has nothing against it.
func TestPage_isAllowedByItsOwnPolicy(t *testing.T) {
	dom, log := browser.New(t).DOM(t, serve(t, of(cases()["wrong key"])).URL, "390,844")
	if log != "" {
		t.Errorf("the browser says\n%s", log)
	}
	if text := visible(dom); !strings.Contains(text, "What to do The Wi-Fi password on the card is wrong") {
		t.Errorf("a person sees\n%s", text)
	}
}

// seen is a page in a frame of a browser.
type seen struct {
	Name                       string
	Width, Inner, Room, Needed int    // pixels: of the frame, its window, that without its scroll bar, the page
	Corner                     string // of a box: that the style is there
	Text                       string
}

// look shows each page in windows of several widths. A script measures them, which
// the pages themselves would not allow.
func look(t *testing.T, pages map[string]status.Status) (all []seen) {
	t.Helper()
	redact := newRedactor(worker())
	mux := http.NewServeMux()
	var frames strings.Builder
	for i, name := range slices.Sorted(maps.Keys(pages)) {
		var body bytes.Buffer
		if err := pageTemplate.Execute(&body, viewOf(redact.publicStatus(pages[name]))); err != nil {
			t.Fatal(err)
		}
		mux.HandleFunc(fmt.Sprintf("/%d", i), func(w http.ResponseWriter, _ *http.Request) { w.Write(body.Bytes()) })
		for _, width := range []int{320, 390, 768, 1200} {
			fmt.Fprintf(&frames, `<iframe src="/%d" title="%s" width="%d" height="800" style="border:0"></iframe>`, i, name, width)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<!doctype html>%s<pre></pre><script>onload = () => {
			document.querySelector("pre").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(f => {
				const d = f.contentDocument.documentElement, style = f.contentWindow.getComputedStyle(d.querySelector(".state"));
				return {Name: f.title, Width: +f.width, Inner: f.contentWindow.innerWidth, Room: d.clientWidth, Needed: d.scrollWidth,
					Corner: style.borderRadius, Text: d.innerText.replace(/\s+/g, " ")};
			}));
		}</script>`, frames.String())
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	dom, _ := browser.New(t).DOM(t, server.URL, "1400,900")
	_, result, _ := strings.Cut(dom, "<pre>")
	result, _, _ = strings.Cut(result, "</pre>")
	if err := json.Unmarshal([]byte(html.UnescapeString(result)), &all); err != nil {
		t.Fatalf("measure pages: %v\n%s", err, result)
	}
	if len(all) != 4*len(pages) {
		t.Fatalf("%d pages were measured, want %d", len(all), 4*len(pages))
	}
	return all
}

// What a person reads on a phone or a screen; a page that has to be moved sideways
// is not read.
func TestPage_showsEveryStateOnPhonesAndScreens(t *testing.T) {
	want := map[string][]string{
		"unreadable": {"A Pi", "Failed", "This Pi was not configured.", "Why read node.json: unexpected end of JSON input", "What to do Write the card again"},
		"waiting": {"raspberrypi-node1 worker of the cluster home", "Waiting step 12 of 40", "Waiting for time synchronisation: no server has answered yet", "Since Wed 25 Nov, 09:01 CET",
			"Use the whole card done", "Set the clock now", "Finish to do", "Log in ssh alice@raspberrypi-node1.local ssh alice@192.168.1.20", "Addresses 192.168.1.20 2001:db8::ba27:ebff:fe12:3456 Cluster 10.77.0.11", "again every 20 seconds"},
		"wrong key":      {"Failed", "What failed network/connection", "Next try Wed 25 Nov, 09:35 CET, by itself", "The Wi-Fi password on the card is wrong", "Reach the network failed"},
		"running":        {"Working step 38 of 40", "This Pi is being configured. It goes on by itself.", "Now packages/htop To change the package htop is not installed", "Install your packages now", "again every 5 seconds"},
		"rebooting":      {"Rebooting", "This Pi reboots by itself and goes on.", "Wait. It reboots, and goes on by itself."},
		"starting":       {"Starting", "This Pi has just been switched on.", "Look at the board to do"},
		"no clock":       {"Waiting for an address from DHCP: no answer What to do"},
		"done with less": {"Ready", "This Pi is configured.", "Nothing, it is ready.", "Left out The node works without these. packages/htop install htop: Unable to locate package htop There is no Debian package", "again every 60 seconds"},
		"long words":     {strings.Repeat("n", 63), "/very/long/path/deep/"},
	}
	long := of(facts(worker(), at(1, "packages/"+strings.Repeat("verylongname", 20), 30, step.Warned, strings.Repeat("x", 300)),
		at(2, "swap/zram", 20, step.Failed, "/very/long/path/"+strings.Repeat("deep/", 60))))
	long.Node = strings.Repeat("n", 63)
	pages := map[string]status.Status{"long words": long}
	for name, f := range cases() {
		pages[name] = of(f)
	}
	for _, p := range look(t, pages) {
		if p.Inner != p.Width || p.Corner != "16px" {
			t.Fatalf("the measurement is wrong: %+v", p)
		}
		if p.Needed != p.Room {
			t.Errorf("%s is %d pixels wide in a window with room for %d", p.Name, p.Needed, p.Room)
		}
		for _, sentence := range want[p.Name] {
			if !strings.Contains(p.Text, sentence) {
				t.Errorf("%s: %q is not in\n%s", p.Name, sentence, p.Text)
			}
		}
	}
}
