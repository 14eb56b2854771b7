package steps_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"picluster/firstboot/steps"
	"picluster/internal/host/hosttest"
)

// signingKey makes keys as a repository has them, in one armoured file, and the
// fingerprint of the first by another implementation of OpenPGP.
func signingKey(t *testing.T, n int) (armoured, fingerprint string) {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, map[string]string{"Version": "for a test"})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		e, err := openpgp.NewEntity("isv:kubernetes OBS Project", "", "k@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
		if err == nil {
			err = e.Serialize(w)
		}
		if err != nil {
			t.Fatal(err)
		}
		if fingerprint == "" {
			fingerprint = strings.ToUpper(hexOf(e.PrimaryKey.Fingerprint))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n", fingerprint
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, x := range b {
		s.WriteByte(digits[x>>4])
		s.WriteByte(digits[x&15])
	}
	return s.String()
}

// aptMachine has an apt that installs whatever version it is told to.
func aptMachine(t *testing.T, key string) *hosttest.Machine {
	m := hosttest.NewMachine(t)
	m.Put("/key", key)
	m.Put("/versions", "")
	m.Put("/held", "")
	m.Fake("dpkg-query", `cat "$ROOT/versions"; test -s "$ROOT/versions"`)
	m.Fake("dpkg", `test "$*" = "--configure -a --force-confdef --force-confold" || unexpected "$@"`)
	m.Fake("env", `test "$1" = /usr/lib/apt/apt-helper || unexpected "$@"; for to; do :; done; mkdir -p "$ROOT/run"; cp "$ROOT/key" "$ROOT$to"`)
	m.Fake("apt-cache", `test "$1" = madison || unexpected "$@"
		printf ' %s | 1.37.3-1.1 | https://pkgs.k8s.io  Packages\n %s | 1.37.2-2.1 | https://pkgs.k8s.io  Packages\n %s | 1.37.2-1.1 | https://pkgs.k8s.io  Packages\n' $2 $2 $2`)
	m.Fake("apt-get", `case "$1" in
		update) ;;
		install) for word; do case "$word" in kube*=*) echo "${word%%=*} ${word#*=} installed ok" >>"$ROOT/versions" ;; esac; done ;;
		*) unexpected "$@" ;;
	esac`)
	m.Fake("apt-mark", `case "$1" in showhold) cat "$ROOT/held" ;; hold) shift; for p; do echo $p; done >"$ROOT/held" ;; *) unexpected "$@" ;; esac`)
	return m
}

func kubernetesPackages(fingerprint string) []steps.Stage {
	return []steps.Stage{{Name: "kubernetes", Steps: []steps.Step{
		steps.KubernetesPackages{Version: "1.37.2", Limit: time.Second, Repository: steps.Repository{URL: "https://pkgs.k8s.io/core:/stable:/v1.37/deb/", Fingerprint: fingerprint}},
		steps.HeldPackages{Names: []string{"kubelet", "kubeadm", "kubectl"}},
	}}}
}

func TestKubernetesPackages_installsOneVersionAndHoldsIt(t *testing.T) {
	key, fingerprint := signingKey(t, 1)
	m := aptMachine(t, key)
	got, err := events(t, m.Local, kubernetesPackages(fingerprint))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got,
		"applying kubernetes packages: kubelet is not installed, kubeadm is not installed, kubectl is not installed", "done kubernetes packages",
		"applying held packages: kubelet is not held back from upgrades", "done held packages")
	if have := m.Text("/versions"); have != "kubelet 1.37.2-2.1 installed ok\nkubeadm 1.37.2-2.1 installed ok\nkubectl 1.37.2-2.1 installed ok\n" {
		t.Errorf("installed are %s", have)
	}
	if have := m.Text("/etc/apt/sources.list.d/picluster-kubernetes.sources"); have != "Types: deb\nURIs: https://pkgs.k8s.io/core:/stable:/v1.37/deb/\nSuites: /\nSigned-By: /etc/apt/keyrings/picluster-kubernetes.asc\n" {
		t.Errorf("the repository is %s", have)
	}
	if m.Text("/etc/apt/keyrings/picluster-kubernetes.asc") != key {
		t.Error("the key is another")
	}
	// Whoever has another version gets this one.
	m.Put("/versions", "kubelet 1.37.1-1.1 installed ok\nkubeadm 1.37.2-1.1 installed ok\nkubectl 1.37.2-1.1 installed ok\n")
	m.Fake("apt-get", `case "$1" in update) ;; install) printf 'kubelet 1.37.2-2.1 installed ok\nkubeadm 1.37.2-2.1 installed ok\nkubectl 1.37.2-2.1 installed ok\n' >"$ROOT/versions" ;; esac`)
	if got, err = events(t, m.Local, kubernetesPackages(fingerprint)); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, "applying kubernetes packages: kubelet is 1.37.1-1.1, want 1.37.2", "done kubernetes packages")
}

// A key comes over the network. What is not the one key that was expected is never
// put where apt would believe it.
func TestKubernetesPackages_refusesOtherKeys(t *testing.T) {
	key, fingerprint := signingKey(t, 1)
	two, first := signingKey(t, 2)
	other, _ := signingKey(t, 1)
	for name, tc := range map[string]struct{ key, fingerprint, want string }{
		"another key":       {other, fingerprint, "its fingerprint is "},
		"one more key":      {two, first, "there is more than one key in it"},
		"one more file":     {key + other, fingerprint, "it is not one public key in armour"},
		"a login page":      {"<html>Welcome to our guest network</html>", fingerprint, "it is not one public key in armour"},
		"nothing":           {"", fingerprint, "it is not one public key in armour"},
		"cut off":           {key[:len(key)/2], fingerprint, "it is not one public key in armour"},
		"cut off in armour": {strings.Replace(key, "\n\n", "\n\nAAAA", 1), fingerprint, "the key is cut off or damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			m := aptMachine(t, tc.key)
			_, err := events(t, m.Local, kubernetesPackages(tc.fingerprint))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\nwant … %s", err, tc.want)
			}
			if _, err := m.ReadFile(t.Context(), "/etc/apt/keyrings/picluster-kubernetes.asc"); err == nil {
				t.Error("the key is in place")
			}
			for _, call := range m.Calls() {
				if call.Args[0] == "apt-get" {
					t.Errorf("it runs %s", call)
				}
			}
		})
	}
}

func TestKubernetesPackages_saysThatThereIsNoSuchVersion(t *testing.T) {
	key, fingerprint := signingKey(t, 1)
	m := aptMachine(t, key)
	m.Fake("apt-cache", `printf ' kubelet | 1.37.20-1.1 | https://pkgs.k8s.io  Packages\n'`)
	_, err := events(t, m.Local, kubernetesPackages(fingerprint))
	if err == nil || !strings.HasSuffix(err.Error(), "install kubelet: no repository has its version 1.37.2") {
		t.Errorf("got %v", err)
	}
}

func TestContainerd_runsWithItsConfiguration(t *testing.T) {
	m := hosttest.NewMachine(t)
	m.Fake("kubeadm", `test "$*" = "config images list --kubernetes-version v1.37.2" || unexpected "$@"
		printf 'registry.k8s.io/kube-proxy:v1.37.2\nregistry.k8s.io/coredns/coredns:v1.14.6\nregistry.k8s.io/pause:3.10.2\nregistry.k8s.io/etcd:3.7.0-0\n'`)
	m.Fake("ctr", `test "$*" = "--address /run/containerd/containerd.sock --namespace k8s.io version" || unexpected "$@"`)
	m.Fake("systemctl", `case "$*" in
		show*) printf 'LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n' ;;
		daemon-reload | "enable --quiet --no-reload containerd.service") ;;
		"restart containerd.service") cp "$ROOT/etc/containerd/config.toml" "$ROOT/running" ;;
		*) unexpected "$@" ;;
	esac`)
	stages := []steps.Stage{{Name: "runtime", Steps: []steps.Step{steps.Containerd{Version: "v1.37.2"}}}}
	if _, err := events(t, m.Local, stages); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`sandbox_image = "registry.k8s.io/pause:3.10.2"`, "SystemdCgroup = true", `bin_dir = "/opt/cni/bin"`,
		`config_path = "/etc/containerd/certs.d"`, `imports = ["/etc/containerd/conf.d/*.toml"]`} {
		if !strings.Contains(m.Text("/running"), want) {
			t.Errorf("it runs without %s", want)
		}
	}
	if got, err := events(t, m.Local, stages); err != nil || len(got) > 0 {
		t.Errorf("once more: %q, %v", got, err)
	}
	// The agent has ended between the file and the restart.
	m.Put("/run/picluster/restart-containerd.service", "")
	m.Put("/running", "old")
	if _, err := events(t, m.Local, stages); err != nil || m.Text("/running") == "old" {
		t.Errorf("it runs with an older configuration, %v", err)
	}
}
