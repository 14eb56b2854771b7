package localregistry

import (
	"net/netip"
	"testing"
)

func TestAddress(t *testing.T) {
	for _, tc := range []struct{ subnet, want string }{
		{"10.96.0.0/12", "10.96.0.11"},
		{"10.96.5.7/16", "10.96.0.11"},
		{"10.43.0.0/28", "10.43.0.11"},
		{"10.43.0.0/29", "invalid IP"},
	} {
		if got := Address(netip.MustParsePrefix(tc.subnet)).String(); got != tc.want {
			t.Errorf("Address(%s) = %s, want %s", tc.subnet, got, tc.want)
		}
	}
}

func TestHosts(t *testing.T) {
	const want = `server = "http://10.96.0.11:5000"

[host."http://10.96.0.11:5000"]
  capabilities = ["pull", "resolve"]
`
	if got := Hosts(netip.MustParsePrefix("10.96.0.0/12")); got != want {
		t.Errorf("got:\n%s", got)
	}
}
