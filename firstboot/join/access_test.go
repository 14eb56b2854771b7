package join

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"picluster/internal/joinapi"
	"picluster/internal/secret"
)

func TestKubeconfig_isReadBack(t *testing.T) {
	a := Access{Server: "https://10.77.0.10:6443", CA: "-----BEGIN CERTIFICATE-----\n", Token: secret.New("planted")}
	data, err := a.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseKubeconfig(data)
	if err != nil || b.Server != a.Server || b.CA != a.CA || b.Token.Reveal() != "planted" {
		t.Errorf("read back it is %+v, %v", b, err)
	}
}

// The file that trusts is another than the word that lets in.
func TestDiscovery_hasNoToken(t *testing.T) {
	b := &joinapi.Bundle{Endpoint: "pi-node0:6443", CA: "ca", Token: secret.NewWire("abcdef.planted")}
	data, err := Discovery(b)
	if err != nil || strings.Contains(string(data), "token") || !strings.Contains(string(data), `"server": "https://pi-node0:6443"`) {
		t.Errorf("%v: %s", err, data)
	}
}

// What is printed of anything that has a secret in it shows dots.
func TestPrinting_showsNoSecret(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	if err := p.enrollOnce(); err != nil {
		t.Fatal(err)
	}
	b, err := p.joinOnce()
	if err != nil {
		t.Fatal(err)
	}
	_, planted, _ := split(b)
	r := w.service.all()[0]
	values := []any{b, *b, r, *r, r.Token, *p.device, Token{Secret: b.Token.Text, Expires: time.Now()}, Access{Token: b.Token.Text}, w.options()}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, planted) || strings.Contains(out, "PRIVATE KEY") {
				t.Errorf("%s of %T shows a secret: %s", verb, v, out)
			}
		}
	}
}
