package steps_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"picluster/firstboot/join"
	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/node"
)

// node0 is a Pi 3 with the programs that setting up a control plane calls. kubeadm
// leaves what the real one leaves; the API server is there when its manifest is.
func node0(t testing.TB) (*hosttest.Machine, []steps.Stage) {
	t.Helper()
	c := newCluster(t, 0).config("pi-node0")
	m := hosttest.NewMachine(t)
	m.Put("/proc/meminfo", "MemTotal:         945364 kB\n")
	m.Fake("kubeadm", `
		k=$ROOT/etc/kubernetes
		case "$*" in
		"init --config /etc/picluster/kubeadm/init.json")
			for f in "$k/admin.conf" "$ROOT/var/lib/etcd/member"; do
				if [ -e "$f" ]; then printf 'error execution phase preflight: [preflight] Some fatal errors occurred:\n\t[ERROR FileAvailable]: %s already exists\n' "$f" >&2; exit 1; fi
			done
			mkdir -p "$k/pki" "$k/manifests" "$ROOT/var/lib/etcd/member"
			echo "CA of this cluster" >"$k/pki/ca.crt"
			touch "$k/admin.conf"
			if [ -e "$ROOT/cut" ]; then rm "$ROOT/cut"; echo "error: the power went" >&2; exit 1; fi
			touch "$k/manifests/kube-apiserver.yaml" "$ROOT/whole"; rm -f "$ROOT/forbidden" ;;
		"reset --force --cri-socket unix:///run/containerd/containerd.sock") rm -rf "$k" "$ROOT/whole" ;;
		*) unexpected "$@" ;;
		esac`)
	m.Fake("find", `test "$*" = "/var/lib/etcd -mindepth 1 -delete" || unexpected "$@"; rm -rf "$ROOT"/var/lib/etcd/*`)
	m.Fake("kubectl", `
		if [ ! -e "$ROOT/etc/kubernetes/manifests/kube-apiserver.yaml" ]; then echo "The connection to the server pi-node0:6443 was refused - did you specify the right host or port?" >&2; exit 1; fi
		if [ -e "$ROOT/forbidden" ] && [ "$5" != --raw=/readyz ] && [ "$2" != /etc/kubernetes/super-admin.conf ]; then
			echo 'Error from server (Forbidden): User "kubernetes-admin" cannot list resource' >&2; exit 1
		fi
		shift 3
		case "$*" in
		"get --raw=/readyz") echo ok ;;
		"get nodes -o name") echo node/pi-node0; cat "$ROOT/others" 2>/dev/null || : ;;
		"-n kube-system get configmap/kubeadm-config "*) if [ ! -e "$ROOT/whole" ]; then echo 'Error from server (NotFound): deployments.apps "coredns" not found' >&2; exit 1; fi ;;
		"diff --server-side --field-manager=picluster --force-conflicts -f -") test -e "$ROOT/applied/$(cksum | tr ' ' -)" || exit 1 ;;
		"apply --server-side --field-manager=picluster --force-conflicts -f -") mkdir -p "$ROOT/applied"; touch "$ROOT/applied/$(cksum | tr ' ' -)" ;;
		"-n kube-system get secret picluster-join -o jsonpath={.data.token}") printf c2VjcmV0LXRva2Vu ;;
		*) unexpected "$@" ;;
		esac`)
	m.Fake("systemctl", `case "$1" in
		show) for unit; do :; done
			if [ -e "$ROOT/running/$unit" ]; then printf 'LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n'; else printf 'LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n'; fi ;;
		daemon-reload | enable) ;;
		restart) mkdir -p "$ROOT/running"; cat "$ROOT/etc/picluster/join.kubeconfig" >"$ROOT/running/$2" 2>/dev/null || : ;;
		*) unexpected "$@" ;;
	esac`)
	m.Fake("firstboot", `test "$*" = "measure /var/lib" || unexpected "$@"; echo '{"version":1,"p50":9000000,"p99":'$(cat "$ROOT/p99")'}'`)
	m.Put("/p99", "48000000")
	for _, s := range steps.Run(c, steps.Env{}) {
		if s.Name == "control-plane" {
			return m, []steps.Stage{s}
		}
	}
	panic("the stage has gone")
}

// judgeNode0 wants a control plane, and a join service that runs with its access.
func judgeNode0(t testing.TB, m *hosttest.Machine) {
	t.Helper()
	access, err := join.ParseKubeconfig([]byte(m.Text(join.KubeconfigPath)))
	if err != nil || access.Server != "https://10.77.0.10:6443" || access.CA != "CA of this cluster\n" || access.Token.Reveal() != "secret-token" {
		t.Errorf("the join service's access is %+v, %v", access, err)
	}
	if m.Text("/running/"+join.UnitName) != m.Text(join.KubeconfigPath) {
		t.Error("the join service runs without its access")
	}
	info, err := m.Stat(t.Context(), join.KubeconfigPath)
	if err != nil || info.Mode.Perm() != 0o600 {
		t.Errorf("%s: %v, %v", join.KubeconfigPath, info.Mode, err)
	}
	if _, err := os.Stat(filepath.Join(m.Root, "whole")); err != nil {
		t.Error("the control plane is half made")
	}
}

func TestControlPlane_isSetUpOnce(t *testing.T) {
	m, stages := node0(t)
	got, err := events(t, m.Local, stages)
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got,
		"applying join service: /etc/systemd/system/picluster-join.service is missing", "done join service",
		"applying etcd's disk: nobody has measured it", "done etcd's disk",
		"applying kubeadm's files: /etc/picluster/kubeadm/patches/kubeletconfiguration+merge.json is missing", "done kubeadm's files",
		"applying control plane: there is no control plane", "done control plane",
		"applying cluster's name: the cluster does not have it as it should be", "done cluster's name",
		"applying pod network: the cluster does not have it as it should be", "done pod network",
		"applying join service's rights: the cluster does not have it as it should be", "done join service's rights",
		"applying join service's access: the join service has no access to the cluster", "done join service's access",
		"applying join service with access: picluster-join.service runs with an older configuration", "done join service with access",
		"applying sync: /etc/systemd/system/picluster-sync.service is missing", "done sync")
	judgeNode0(t, m)
	got, err = events(t, m.Local, stages)
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got)
	for _, call := range m.Calls() {
		if strings.Contains(strings.Join(call.Args, " "), "secret-token") {
			t.Errorf("the token is an argument: %s", call)
		}
	}
}

func TestControlPlane_survivesAPowerCutAnywhere(t *testing.T) {
	cuts := 0
	for n := 1; ; n++ {
		m, stages := node0(t)
		reached := cutRun(t, func(fault func(op, path string)) host.Host {
			h := m.Local
			h.Fault = visible(fault)
			return h
		}, stages, n)
		if !reached {
			break
		}
		cuts++
		for _, name := range []string{"run", "running"} {
			if err := os.RemoveAll(filepath.Join(m.Root, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := events(t, m.Local, stages); err != nil {
			t.Fatalf("after cut %d: %v", n, err)
		}
		judgeNode0(t, m)
	}
	if cuts < 10 {
		t.Errorf("there were %d places to cut", cuts)
	}
}

// A slow card is worth a word, not a cluster.
func TestControlPlane_saysThatTheDiskIsSlow(t *testing.T) {
	m, stages := node0(t)
	m.Put("/p99", "1700000000")
	const warning = "warned etcd's disk: one write in a hundred takes 1.7s, which is too slow for a control plane"
	for range 2 {
		got, err := events(t, m.Local, stages)
		if err != nil || !slices.Contains(got, warning) {
			t.Errorf("got events %q, %v", got, err)
		}
	}
	judgeNode0(t, m)
}

// kubeadm only knows that it has waited for the kubelet.
func TestControlPlane_saysWhatKeepsTheKubeletDown(t *testing.T) {
	m, stages := node0(t)
	m.Fake("kubeadm", `mkdir -p "$ROOT/var/lib/kubelet"; touch "$ROOT/var/lib/kubelet/config.yaml"
		printf 'error execution phase wait-control-plane: failed while waiting for the kubelet to start: context deadline exceeded\n' >&2; exit 1`)
	m.Fake("systemctl", `case "$*" in
		"show --property=SubState --value kubelet.service") echo auto-restart ;;
		show*) printf 'LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n' ;;
		esac`)
	m.Fake("journalctl", `test "$*" = "--unit=kubelet.service --lines=100 --output=cat --no-pager" || unexpected "$@"
		echo 'I1128 04:00:00.100000    4711 server.go:529] "Kubelet version" kubeletVersion="v1.37.2"'
		echo 'E1128 04:00:00.200000    4711 run.go:72] "command failed" err="failed to run Kubelet: running with swap on is not supported, please disable swap or set \"failSwapOn\" to false"'
		echo 'kubelet.service: Main process exited, code=exited, status=1/FAILURE'`)
	_, err := events(t, m.Local, stages)
	const want = `run kubeadm init: wait-control-plane: failed while waiting for the kubelet to start: context deadline exceeded; ` +
		`the kubelet does not stay up: failed to run Kubelet: running with swap on is not supported, please disable swap or set "failSwapOn" to false`
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

// kubeadm is cut off in the middle of its work: it begins anew.
func TestControlPlane_beginsAHalfMadeOneAnew(t *testing.T) {
	m, stages := node0(t)
	m.Put("/cut", "")
	if _, err := events(t, m.Local, stages); err == nil || !strings.HasSuffix(err.Error(), "run kubeadm init: the power went") {
		t.Fatalf("got %v", err)
	}
	// What it has left has no API server that would answer, so it is not waited for.
	if err := os.Remove(filepath.Join(m.Root, "etc/kubernetes/admin.conf")); err != nil {
		t.Fatal(err)
	}
	if _, err := events(t, m.Local, stages); err != nil {
		t.Fatal(err)
	}
	judgeNode0(t, m)
}

// The power goes when the API server answers, and its administrator has no rights yet.
func TestControlPlane_beginsAnewBeforeThereIsAnAdministrator(t *testing.T) {
	m, stages := node0(t)
	m.Put("/etc/kubernetes/admin.conf", "")
	m.Put("/etc/kubernetes/super-admin.conf", "")
	m.Put("/etc/kubernetes/manifests/kube-apiserver.yaml", "")
	m.Put("/forbidden", "")
	if _, err := events(t, m.Local, stages); err != nil {
		t.Fatal(err)
	}
	judgeNode0(t, m)
}

// The mark is missing, for whatever reason, and others have joined: nothing is
// taken back.
func TestControlPlane_neverResetsAClusterWithMembers(t *testing.T) {
	for name, evidence := range map[string]func(m *hosttest.Machine){
		"nodes":  func(m *hosttest.Machine) { m.Put("/others", "node/pi-node1\n") },
		"access": func(m *hosttest.Machine) { m.Put(join.KubeconfigPath, "{}") },
	} {
		t.Run(name, func(t *testing.T) {
			m, stages := node0(t)
			m.Put("/etc/kubernetes/admin.conf", "")
			m.Put("/etc/kubernetes/pki/ca.crt", "CA of this cluster\n")
			m.Put("/etc/kubernetes/manifests/kube-apiserver.yaml", "")
			evidence(m)
			events(t, m.Local, stages)
			for _, call := range m.Calls() {
				if call.Args[0] == "kubeadm" {
					t.Errorf("it runs %s", call)
				}
			}
		})
	}
}

func TestKubernetes_isForItsNodesAlone(t *testing.T) {
	c := newCluster(t, 0)
	for name, want := range map[string]string{"pi-node0": "kubernetes runtime control-plane", "pi-node1": "name kubernetes runtime join"} {
		var have []string
		for _, s := range steps.Run(c.config(name), steps.Env{}) {
			if len(s.Steps) > 0 && strings.Contains(" name kubernetes runtime control-plane join enroll ", " "+s.Name+" ") {
				have = append(have, s.Name)
			}
		}
		if got := strings.Join(have, " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	plain := c.config("pi-node1")
	plain.Kubernetes, plain.Join = nil, nil
	for _, s := range steps.Run(plain, steps.Env{}) {
		switch s.Name {
		case "name", "enroll", "kubernetes", "runtime", "control-plane", "join":
			if len(s.Steps) > 0 {
				t.Errorf("a plain %s has steps in %s", node.Worker, s.Name)
			}
		}
	}
}
