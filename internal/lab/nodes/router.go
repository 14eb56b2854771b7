package nodes

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"syscall"

	"os"
)

// Router is what gives out addresses, and names the nodes by them. It leads nowhere.
type Router struct {
	lan *LAN
	cmd *exec.Cmd
}

// Address is the router's own, on the switch.
var Address = netip.MustParsePrefix("192.168.77.1/24")

func startRouter(l *LAN) *Router {
	l.t.Helper()
	if err := l.Run("ip", "address", "add", Address.String(), "dev", "br0"); err != nil {
		l.t.Fatal(err)
	}
	r := &Router{lan: l}
	r.Serve(100)
	l.t.Cleanup(r.stop)
	return r
}

// Serve gives out addresses from the one with that last byte on, up to fifty. Who has
// another one is told to let go of it when it asks to keep it.
func (r *Router) Serve(first int) {
	r.lan.t.Helper()
	r.stop()
	base := Address.Addr().As4()
	address := func(last int) string { base[3] = byte(last); return netip.AddrFrom4(base).String() }
	args, err := r.lan.Inside("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=",
		"--interface=br0", "--bind-interfaces", "--no-resolv", "--no-hosts", "--log-dhcp", "--log-facility=-",
		"--dhcp-authoritative", "--no-ping", "--dhcp-leasefile="+filepath.Join(r.lan.dir, fmt.Sprintf("leases-%d", first)),
		fmt.Sprintf("--dhcp-range=%s,%s,2m", address(first), address(first+49)))
	if err != nil {
		r.lan.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(r.lan.dir, "router.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		r.lan.t.Fatal(err)
	}
	defer log.Close()
	r.cmd = exec.Command(args[0], args[1:]...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		r.lan.t.Fatal(err)
	}
}

func (r *Router) stop() {
	if r.cmd == nil {
		return
	}
	r.cmd.Process.Kill()
	r.cmd.Wait()
	r.cmd = nil
}
