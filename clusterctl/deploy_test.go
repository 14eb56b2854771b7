package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"k8s.io/client-go/rest"

	"picluster/clusterctl/kube"
	"picluster/internal/cli"
	"picluster/internal/lab/browser"
	"picluster/internal/lab/randomimage"
)

// TestCommands_onARealAPIServer goes through what a person does, in order. Behind the
// pods' ports are stand-ins on loopback: a registry, a page, a database; that real ones
// run in real pods is shown by the tests with the tag e2e.
func TestCommands_onARealAPIServer(t *testing.T) {
	images := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer images.Close()
	var w *apiWorld
	page := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serveDashboard(rw, r) }))
	defer page.Close()
	w = newAPIWorld(t, map[int]string{
		5001: strings.TrimPrefix(images.URL, "http://"),
		4466: strings.TrimPrefix(page.URL, "http://"),
		6379: serveMemory(t),
	})
	for _, part := range []struct {
		name string
		run  func(*apiWorld, *testing.T)
	}{
		{"another cluster is refused", (*apiWorld).refusesAnotherCluster},
		{"strangers are told so", (*apiWorld).tellsStrangers},
		{"another authority", (*apiWorld).trustsItsOwnAuthorityOnly},
		{"a registry needs storage", (*apiWorld).registryNeedsStorage},
		{"deploy", (*apiWorld).deploys},
		{"push", (*apiWorld).pushes},
		{"dashboard", (*apiWorld).opensDashboard},
		{"redis", (*apiWorld).movesRedis},
		{"remove", (*apiWorld).removes},
		{"a new card that was faster", (*apiWorld).forgetsTheOldNodeOnly},
	} {
		t.Run(part.name, func(t *testing.T) {
			w := *w
			w.t = t
			part.run(&w, t)
		})
	}
}

func (w *apiWorld) refusesAnotherCluster(t *testing.T) {
	w.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: picluster, namespace: kube-system}, data: {clusterID: '999'}}")
	_, stderr := w.want(cli.Refused, "deploy", "--plan")
	const is = "it opens another cluster than cluster.yaml's: it is cluster 999, and cluster.yaml's is " + apiClusterID
	if !strings.Contains(stderr, is) || strings.Count(stderr, "error:") != 1 {
		t.Errorf("got %s", stderr)
	}
	if err := w.client.Delete(t.Context(), kube.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: "kube-system", Name: "picluster"}); err != nil {
		t.Fatal(err)
	}
	w.write("other.yaml", "apiVersion: picluster/v1\nkind: Cluster\nname: home\nnodePrefix: berry-\nnodes: 3\nsystem: {user: {authorizedKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7d8d2yV0kW0Yw6PWbYwR0h1nDsdmMmxWMkFEYQXb0a me@laptop]}}\n")
	var stdout, errs strings.Builder
	code := cli.Run(t.Context(), program(), cli.Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &errs}, []string{"deploy", "--file", filepath.Join(w.dir, "other.yaml")})
	if code != cli.Refused || !strings.Contains(errs.String(), "it has no node berry-node0, but pi-node0, pi-node1, pi-node2") {
		t.Errorf("code %d: %s", code, errs.String())
	}
}

func (w *apiWorld) tellsStrangers(t *testing.T) {
	for kubeconfig, hint := range map[string]string{
		w.plane.TokenKubeconfig("old", "not-a-token"): "the API server does not know this kubeconfig: clusterctl kubeconfig fetches a new one",
		w.plane.Kubeconfig("nobody"):                  "this kubeconfig is not an administrator's",
	} {
		if _, stderr := w.want(cli.Failed, "deploy", "--kubeconfig", kubeconfig); !strings.HasSuffix(stderr, "clusterctl: hint: "+hint+"\n") || strings.Count(stderr, "error:") != 1 {
			t.Errorf("got %s", stderr)
		}
	}
}

// Another API server at the same address: a cluster that was made anew.
func (w *apiWorld) trustsItsOwnAuthorityOnly(t *testing.T) {
	data, err := os.ReadFile(w.plane.Kubeconfig("admin", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("another.conf", strings.ReplaceAll(string(data), w.plane.CAFile(), strings.Replace(w.plane.CAFile(), "ca.crt", "admin.crt", 1)))
	_, stderr := w.want(cli.Integrity, "deploy", "--kubeconfig", filepath.Join(w.dir, "another.conf"))
	if !strings.HasPrefix(stderr, "clusterctl: error: trust the API server: x509: certificate signed by unknown authority") || strings.Count(stderr, "error:") != 1 {
		t.Errorf("got %s", stderr)
	}
}

func (w *apiWorld) registryNeedsStorage(t *testing.T) {
	_, stderr := w.want(cli.Failed, "deploy", "registry")
	const want = "clusterctl: error: registry/default StorageClass: there is no storage yet: clusterctl deploy storage makes it\n"
	if !strings.HasSuffix(stderr, want) {
		t.Errorf("got %s", stderr)
	}
}

type planned struct {
	Version int
	Plan    []change
}

type deployed struct {
	Version int
	Addons  []string
	Changes []change
	Error   string
}

func (w *apiWorld) deploys(t *testing.T) {
	w.volumes("a", "b")
	stdout, _ := w.want(cli.OK, "deploy", "--plan", "-o", "json", "cni", "registry", "dashboard")
	plan := decode[planned](t, stdout)
	if plan.Version != 1 || len(plan.Plan) < 15 || plan.Plan[0].Drift != "is not there" {
		t.Errorf("plan: %+v", plan)
	}
	stdout, stderr := w.want(cli.OK, "deploy", "-o", "json", "cni", "registry", "dashboard")
	made := decode[deployed](t, stdout)
	if !slices.Equal(made.Addons, []string{"cluster", "cni", "registry", "dashboard"}) || made.Error != "" {
		t.Errorf("deployed: %+v", made)
	}
	// The identity is there since the first deploy, which failed later.
	if len(made.Changes) != len(plan.Plan) {
		t.Errorf("planned %d changes, made %d:\n%s", len(plan.Plan), len(made.Changes), stderr)
	}
	for _, line := range []string{"registry: Deployment registry/registry: is not there\n", "registry: Deployment registry/registry ready\n"} {
		if !strings.Contains(stderr, line) {
			t.Errorf("no line %q in:\n%s", line, stderr)
		}
	}
	if stdout, stderr := w.want(cli.OK, "deploy", "cni", "registry", "dashboard"); stdout != "Nothing to do: the cluster is as cluster.yaml wants it.\n" || stderr != "" {
		t.Errorf("the second run: %s%s", stdout, stderr)
	}
	deployment := kube.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "headlamp", Name: "headlamp"}
	if err := w.client.Merge(t.Context(), deployment, map[string]any{"spec": map[string]any{"replicas": 3}}); err != nil {
		t.Fatal(err)
	}
	if stdout, _ := w.want(cli.OK, "deploy", "--plan", "dashboard"); stdout != "dashboard/Deployment headlamp/headlamp: spec.replicas is 3, want 1\n" {
		t.Errorf("plan of a drift: %s", stdout)
	}
	if stdout, _ := w.want(cli.OK, "deploy", "dashboard"); stdout != "dashboard   1 change\n" {
		t.Errorf("repair of a drift: %s", stdout)
	}
}

// archive writes an image for one kind of machine as docker save does.
func archive(t *testing.T, architecture string) string {
	t.Helper()
	image := randomimage.New(t, architecture, 1<<20)
	path := filepath.Join(t.TempDir(), "app.tar")
	if err := tarball.MultiRefWriteToFile(path, map[name.Reference]v1.Image{name.MustParseReference("app:1"): image}); err != nil {
		t.Fatal(err)
	}
	return path
}

func (w *apiWorld) pushes(t *testing.T) {
	stdout, _ := w.want(cli.OK, "registry", "push", archive(t, "arm64"))
	if !strings.HasPrefix(stdout, "localhost:5000/app:1@sha256:") {
		t.Errorf("push: %s", stdout)
	}
	if stdout, _ := w.want(cli.OK, "registry", "list"); stdout != "localhost:5000/app:1\n" {
		t.Errorf("list: %s", stdout)
	}
	_, stderr := w.want(cli.Refused, "registry", "push", archive(t, "amd64"))
	const want = "clusterctl: error: take image app:1: it is for amd64, the nodes are arm64\n" +
		"clusterctl: hint: docker build --platform linux/arm64 makes one; --any-platform takes it as it is\n"
	if !strings.HasSuffix(stderr, want) {
		t.Errorf("an image that no node runs: %s", stderr)
	}
	// docker push goes by the proxy; it can be lost and comes back at the same port.
	lines, stop := w.background(1, "registry", "proxy", "--port", "0")
	defer stop()
	for range 2 {
		until(t, "the proxy answers", func() bool {
			answer, err := http.Get("http://" + lines[0] + "/v2/app/tags/list")
			if err != nil {
				return false
			}
			defer answer.Body.Close()
			body, _ := io.ReadAll(answer.Body)
			return strings.Contains(string(body), `"1"`)
		})
		w.relay.Cut()
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(apiPatience); !ok(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

func (w *apiWorld) opensDashboard(t *testing.T) {
	lines, stop := w.background(2, "dashboard")
	defer stop()
	for token, want := range map[string]string{
		lines[1]:       "you are system:serviceaccount:headlamp:admin-user",
		lines[1] + "x": "you are nobody",
	} {
		if dom, _ := browser.New(t).DOM(t, lines[0]+"#"+token, "1200,900"); !strings.Contains(dom, want) {
			t.Errorf("the browser shows %s, want %s", dom, want)
		}
	}
	admin, err := kube.New(w.with(lines[1]))
	if err != nil {
		t.Fatal(err)
	}
	if secrets, err := admin.List(t.Context(), kube.Ref{APIVersion: "v1", Kind: "Secret"}, ""); err != nil {
		t.Errorf("the token is not an administrator's: %v", err)
	} else {
		for _, s := range secrets {
			if s.Object["type"] == "kubernetes.io/service-account-token" {
				t.Errorf("there is a token that lasts: %s", s.GetName())
			}
		}
	}
	token, err := w.client.Token(t.Context(), "headlamp", "admin-user", dashboardTime)
	if left := time.Until(token.Expires); err != nil || left < 50*time.Minute || left > 61*time.Minute {
		t.Errorf("a token lasts %v, %v", left, err)
	}
}

// serveDashboard is a stand-in page that asks the API server whose token it was given.
func (w *apiWorld) serveDashboard(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/whoami" {
		fmt.Fprint(rw, `<!doctype html><body><script>
			const call = new XMLHttpRequest();
			call.open("GET", "/whoami", false);
			call.setRequestHeader("Authorization", "Bearer " + location.hash.slice(1));
			call.send();
			document.body.textContent = "you are " + call.responseText;
		</script>`)
		return
	}
	fmt.Fprint(rw, w.whoIs(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
}

// whoIs asks the API server for the owner of a token.
func (w *apiWorld) whoIs(token string) string {
	client, err := rest.HTTPClientFor(w.with(token))
	if err != nil {
		return err.Error()
	}
	answer, err := client.Post(w.config.Host+"/apis/authentication.k8s.io/v1/selfsubjectreviews", "application/json",
		strings.NewReader(`{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}`))
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusUnauthorized {
		return "nobody"
	}
	var review struct {
		Status struct {
			UserInfo struct{ Username string }
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&review); err != nil {
		return err.Error()
	}
	return review.Status.UserInfo.Username
}

// with opens the API server for the owner of a token.
func (w *apiWorld) with(token string) *rest.Config {
	return &rest.Config{Host: w.config.Host, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAFile: w.plane.CAFile()}}
}

func (w *apiWorld) movesRedis(t *testing.T) {
	stdout, stderr := w.want(cli.OK, "demo", "redis", "--verify", "-o", "json")
	result := decode[redisResult](t, stdout)
	t.Logf("%+v\n%s", result, stderr)
	if result.From == "" || result.To == "" || result.From == result.To {
		t.Errorf("moved from %q to %q", result.From, result.To)
	}
	nodes, err := w.client.List(t.Context(), kube.Ref{APIVersion: "v1", Kind: "Node"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		spec, _ := n.Object["spec"].(map[string]any)
		if spec["unschedulable"] == true || n.GetAnnotations()[cordonedBy] != "" {
			t.Errorf("%s is left out of service", n.GetName())
		}
	}
	// One that a killed run has left is put back; with no other node nothing is moved.
	for _, n := range nodes {
		ref := kube.Ref{APIVersion: "v1", Kind: "Node", Name: n.GetName()}
		patch := map[string]any{"spec": map[string]any{"unschedulable": true}}
		if n.GetName() == result.To {
			patch["metadata"] = map[string]any{"annotations": map[string]any{cordonedBy: "redis"}}
		}
		if err := w.client.Merge(t.Context(), ref, patch); err != nil {
			t.Fatal(err)
		}
	}
	_, stderr = w.want(cli.Refused, "demo", "redis", "--verify")
	for _, line := range []string{"redis: an earlier run has left " + result.To + " out of service; putting it back\n",
		"clusterctl: error: move redis off " + result.To + ": there is no other node that is ready and in service\n"} {
		if !strings.Contains(stderr, line) {
			t.Errorf("no line %q in:\n%s", line, stderr)
		}
	}
	for _, n := range nodes {
		if err := w.client.Merge(t.Context(), kube.Ref{APIVersion: "v1", Kind: "Node", Name: n.GetName()}, map[string]any{"spec": map[string]any{"unschedulable": nil}}); err != nil {
			t.Fatal(err)
		}
	}
	w.want(cli.OK, "demo", "redis", "--remove", "--yes")
}

func (w *apiWorld) removes(t *testing.T) {
	if stdout, _ := w.want(cli.OK, "remove", "--plan", "registry"); stdout != "registry/Deployment registry/registry: is there\nregistry/PersistentVolumeClaim registry/registry: is there\nregistry/Namespace registry: is there\n" {
		t.Errorf("plan: %s", stdout)
	}
	w.want(cli.OK, "remove", "--yes", "registry", "dashboard", "cni")
	if stdout, _ := w.want(cli.OK, "remove", "--yes", "registry", "dashboard", "cni"); stdout != "Nothing to do: the cluster has nothing of it.\n" {
		t.Errorf("again: %s", stdout)
	}
	_, stderr := w.want(cli.Failed, "registry", "list")
	if !strings.Contains(stderr, "find Service registry/registry: there is none") || !strings.Contains(stderr, "hint: clusterctl deploy registry") {
		t.Errorf("a registry that is gone: %s", stderr)
	}
	_, stderr = w.want(cli.Failed, "dashboard")
	if !strings.Contains(stderr, "open dashboard: headlamp is not in the cluster") {
		t.Errorf("a dashboard that is gone: %s", stderr)
	}
}

// serveMemory is a database of one value that speaks the Redis protocol's inline form,
// and returns its address.
func serveMemory(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	values := map[string]string{}
	answer := func(words []string) string {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case len(words) == 3 && words[0] == "SET":
			values[words[1]] = words[2]
			return "+OK\r\n"
		case len(words) == 2 && words[0] == "GET":
			return fmt.Sprintf("$%d\r\n%s\r\n", len(values[words[1]]), values[words[1]])
		}
		return "-ERR\r\n"
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					io.WriteString(conn, answer(strings.Fields(lines.Text())))
				}
			}()
		}
	}()
	return l.Addr().String()
}

// A node whose new card joined while the old one's pods were waited for stays.
func (w *apiWorld) forgetsTheOldNodeOnly(t *testing.T) {
	const node, object = "pi-node9", "{apiVersion: v1, kind: Node, metadata: {name: pi-node9}}"
	forget := func(was *kube.Object) (now *kube.Object) {
		t.Helper()
		err := new(site).forget(t.Context(), cli.Env{Stderr: io.Discard}, w.client, node, was)
		if err == nil {
			now, err = w.client.Get(t.Context(), nodeRef(node))
		}
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	w.apply(object)
	old, err := w.client.Get(t.Context(), nodeRef(node))
	if err == nil {
		err = w.client.Delete(t.Context(), nodeRef(node))
	}
	if err != nil {
		t.Fatal(err)
	}
	w.apply(object)
	fresh := forget(old)
	if fresh == nil {
		t.Fatal("the new node is gone")
	}
	if now := forget(fresh); now != nil {
		t.Error("the old node is still there")
	}
}
