package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Options say which programs run beside etcd and the API server.
type Options struct {
	Controllers bool // kube-controller-manager, with bootstrapsigner and tokencleaner
	Scheduler   bool // kube-scheduler
	Kwok        bool // kwok: every Node object is Ready, every pod on it Running

	// PodPorts are the ports that every pod seems to listen on for a port-forward,
	// and the addresses on loopback where that leads to.
	PodPorts map[int]string
}

// ControlPlane is a running control plane. It ends with the test.
type ControlPlane struct {
	URL  string // https://127.0.0.1:PORT
	Dir  string // of certificates, kubeconfigs and logs
	t    testing.TB
	pki  *pki
	pids []*exec.Cmd // in the order of their start
}

// readyTime is generous: the machine may be busy. Idle, all is up in six seconds.
const readyTime = 3 * time.Minute

// Start starts a control plane with an empty database.
func Start(t testing.TB, o Options) *ControlPlane {
	t.Helper()
	c := &ControlPlane{t: t, Dir: t.TempDir()}
	t.Cleanup(c.stop)
	var err error
	if c.pki, err = newPKI(filepath.Join(c.Dir, "pki")); err != nil {
		t.Fatal(err)
	}
	etcd := c.startEtcd()
	c.startAPIServer(etcd)
	if o.Controllers {
		c.startController("kube-controller-manager", "--controllers=*,bootstrapsigner,tokencleaner",
			"--service-account-private-key-file="+c.pki.path("sa.key"), "--root-ca-file="+c.CAFile(),
			"--cluster-signing-cert-file="+c.CAFile(), "--cluster-signing-key-file="+c.pki.path("ca.key"),
			"--use-service-account-credentials", "--allocate-node-cidrs", "--cluster-cidr=10.244.0.0/16")
	}
	if o.Scheduler {
		c.startController("kube-scheduler")
	}
	if o.Kwok {
		c.startKwok(o.PodPorts)
	}
	return c
}

// CAFile is the certificate that the API server's is signed with.
func (c *ControlPlane) CAFile() string { return c.pki.path("ca.crt") }

// startEtcd returns etcd's address.
func (c *ControlPlane) startEtcd() string {
	client, peer := "http://"+FreeAddress(c.t), "http://"+FreeAddress(c.t)
	c.run("etcd", "--data-dir="+filepath.Join(c.Dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	c.await("etcd", http.DefaultClient, client+"/health")
	return client
}

func (c *ControlPlane) startAPIServer(etcd string) {
	address := FreeAddress(c.t)
	_, port, _ := net.SplitHostPort(address)
	c.URL = "https://" + address
	c.run("kube-apiserver", "--etcd-servers="+etcd,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+port,
		"--client-ca-file="+c.CAFile(), "--tls-cert-file="+c.pki.path("apiserver.crt"), "--tls-private-key-file="+c.pki.path("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+c.pki.path("sa.pub"), "--service-account-signing-key-file="+c.pki.path("sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth=true", "--allow-privileged=true", "--endpoint-reconciler-type=none")
	if err := c.pki.client("ready", "ready", "system:masters"); err != nil {
		c.t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(c.pki.path("ready.crt"), c.pki.path("ready.key"))
	if err != nil {
		c.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.pki.ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}}
	c.await("kube-apiserver", client, c.URL+"/readyz")
	client.CloseIdleConnections()
}

// startController starts one of the programs that serve their own health.
func (c *ControlPlane) startController(name string, args ...string) {
	address := FreeAddress(c.t)
	_, port, _ := net.SplitHostPort(address)
	c.run(name, append([]string{"--kubeconfig=" + c.Kubeconfig("system:"+name), "--leader-elect=false",
		"--bind-address=127.0.0.1", "--secure-port=" + port}, args...)...)
	// Its certificate is one that it has just made for itself.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	c.await(name, client, "https://"+address+"/healthz")
	client.CloseIdleConnections()
}

// run starts a program; its output is in Dir.
func (c *ControlPlane) run(name string, args ...string) {
	c.t.Helper()
	log, err := os.Create(filepath.Join(c.Dir, name+".log"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(Program(c.t, name), args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.Dir
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.pids = append(c.pids, cmd)
}

// await waits until the program that was started last answers 200.
func (c *ControlPlane) await(name string, client *http.Client, url string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			c.t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("%s answers %s", url, answer.Status)
		}
		last = err
		time.Sleep(100 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(c.Dir, name+".log"))
	c.t.Fatalf("wait for %s: %v; its log ends:\n%s", name, last, log[max(0, len(log)-4000):])
}

// stop kills the programs, the last one first: an API server without its etcd
// would take a minute to end by itself.
func (c *ControlPlane) stop() {
	for i := len(c.pids) - 1; i >= 0; i-- {
		c.pids[i].Process.Kill()
		c.pids[i].Wait()
	}
}

// FreeAddress is one on loopback where nobody listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
