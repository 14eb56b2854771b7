package steps_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/firstboot/steps"
	"picluster/internal/host/hosttest"
)

// controlPlane is node0 with certificates that are good until then. The fake kubeadm
// cannot make new ones without the old, as the real one.
func controlPlane(t testing.TB, until time.Time) (*hosttest.Machine, []steps.Stage) {
	t.Helper()
	c := newCluster(t, 0).config("pi-node0")
	m := hosttest.NewMachine(t)
	good := time.Now().Add(364 * 24 * time.Hour)
	for _, name := range []string{"pki/apiserver", "pki/etcd/server"} {
		m.Put("/etc/kubernetes/"+name+".crt", string(certificate(t, until)))
		m.Put("/etc/kubernetes/"+name+".key", "key")
	}
	kubeconfig := func(until time.Time) string {
		return "users:\n- name: kubernetes-admin\n  user:\n    client-certificate-data: " + base64.StdEncoding.EncodeToString(certificate(t, until)) + "\n    client-key-data: bm9uZQ==\n"
	}
	m.Put("/etc/kubernetes/admin.conf", kubeconfig(until))
	m.Put("/etc/kubernetes/kubelet.conf", kubeconfig(time.Now())) // the kubelet's own affair
	m.Put("/new.crt", string(certificate(t, good)))
	m.Put("/new.conf", kubeconfig(good))
	m.Fake("kubeadm", `test "$*" = "certs renew all" || unexpected "$@"
		for f in pki/apiserver pki/etcd/server; do
			if ! grep -q BEGIN "$ROOT/etc/kubernetes/$f.crt"; then echo "error: failed to load existing certificate $f: file is empty" >&2; exit 1; fi
			: >"$ROOT/etc/kubernetes/$f.crt"
			if [ -e "$ROOT/cut" ]; then rm "$ROOT/cut"; echo "error: the power went" >&2; exit 1; fi
			cat "$ROOT/new.crt" >"$ROOT/etc/kubernetes/$f.crt"
		done
		cat "$ROOT/new.conf" >"$ROOT/etc/kubernetes/admin.conf"`)
	m.Fake("kubectl", `shift 3; test "$*" = "get --raw=/readyz" || unexpected "$@"`)
	m.Fake("ctr", `shift 2
		case "$*" in
		"tasks list --quiet") ls "$ROOT/tasks" ;;
		"containers list --quiet labels."*) name=${4#*==}; echo "$name-1"; echo "$name-2" ;;
		"tasks kill "*-2) rm "$ROOT/tasks/$3" ;;
		*) unexpected "$@" ;;
		esac`)
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "other"} {
		m.Put("/tasks/"+name+"-2", "")
	}
	return m, steps.Sync(c, steps.Env{}, nil)
}

// A cluster that nobody upgrades would end with its certificates.
func TestCertificates_areRenewedInTime(t *testing.T) {
	m, stages := controlPlane(t, time.Now().Add(61*24*time.Hour))
	if got, err := events(t, m.Local, stages); err != nil || len(got) > 0 {
		t.Errorf("61 days before the end: %q, %v", got, err)
	}
	until := time.Now().Add(59 * 24 * time.Hour)
	m, stages = controlPlane(t, until)
	got, err := events(t, m.Local, stages)
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, "applying control plane's certificates: /etc/kubernetes/admin.conf ends on "+until.UTC().Format(time.DateOnly), "done control plane's certificates")
	judgeCertificates(t, m)
	if got, err := events(t, m.Local, stages); err != nil || len(got) > 0 {
		t.Errorf("the second time: %q, %v", got, err)
	}
}

// kubeadm was cut off, and has left an empty certificate.
func TestCertificates_areRenewedAfterAPowerCut(t *testing.T) {
	m, stages := controlPlane(t, time.Now().Add(-24*time.Hour))
	m.Put("/cut", "")
	got, err := events(t, m.Local, stages)
	if want := "warned control plane's certificates: run kubeadm certs: the power went"; err != nil || len(got) != 2 || got[1] != want {
		t.Fatalf("got %q, %v", got, err)
	}
	if got, err = events(t, m.Local, stages); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, "applying control plane's certificates: their renewal was cut off", "done control plane's certificates")
	judgeCertificates(t, m)
}

// judgeCertificates wants all parts of the control plane to have been started anew, and
// no copies of keys.
func judgeCertificates(t testing.TB, m *hosttest.Machine) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(m.Root, "tasks"))
	if err != nil || len(left) != 1 || left[0].Name() != "other-2" {
		t.Errorf("still running: %v, %v", left, err)
	}
	err = filepath.WalkDir(filepath.Join(m.Root, "var/lib/picluster/renewal"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s is left", strings.TrimPrefix(path, m.Root))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
