package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"time"

	"picluster/internal/status"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"css": func() template.CSS { return template.CSS(pageCSS) },
}).Parse(pageHTML))

// policy lets the page have its own style and nothing else: no script, no picture
// from elsewhere, no frame around it.
var policy = func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

// page serves the status: / for people, /status.json for programs, /log. Whoever
// is in the same network can read it, so there is nothing secret in it, and
// nothing can be done with it.
type page struct {
	status func() status.Status
	redact *redactor
	ring   *ring
}

func newPage(status func() status.Status, redact *redactor, r *ring) http.Handler {
	p := page{status, redact, r}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.html) // GET has HEAD with it; all else is 405
	mux.HandleFunc("GET /status.json", p.json)
	mux.HandleFunc("GET /log", p.log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		mux.ServeHTTP(w, r)
	})
}

func (p page) public() status.Status { return p.redact.publicStatus(p.status()) }

func (p page) html(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, viewOf(p.public())); err != nil {
		http.Error(w, "show status: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}

func (p page) json(w http.ResponseWriter, _ *http.Request) {
	data, err := json.MarshalIndent(p.public(), "", "  ")
	if err != nil {
		http.Error(w, "show status: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(data, '\n'))
}

func (p page) log(w http.ResponseWriter, _ *http.Request) {
	lines, _ := p.ring.text()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write(lines)
}

// newServer bounds what a slow or a talkative client can take: a Pi Zero has other
// things to do.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10,
	}
}
