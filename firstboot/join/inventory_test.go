package join

import (
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"

	"picluster/internal/secret"
)

func TestInventory_isTheDesksOrNothing(t *testing.T) {
	w, other := newWorld(t, 3, 1), newWorld(t, 3, 2)
	good := w.options().Config.Join.Service
	sign := func(doc, key string) []byte {
		k, err := parseKey(secretText(key))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(doc))
		signature, err := k.Sign(rand.Reader, sum[:], nil)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	edit := func(from, to string) string {
		out := strings.Replace(string(good.Inventory), from, to, 1)
		if out == string(good.Inventory) {
			t.Fatalf("no %s in the inventory", from)
		}
		return out
	}
	root, device := w.ca("enrolment").key, w.ca("device").key
	foreign := other.options().Config.Join.Service
	for _, tc := range []struct {
		name      string
		doc       string
		signature []byte
		want      string
	}{
		{"a card made the control plane", edit(`"role": "worker"`, `"role": "control-plane"`), good.InventorySig, "the enrolment CA has not signed it"},
		{"another key for a card", edit(`"publicKeySHA256": "`, `"publicKeySHA256": "0`), good.InventorySig, "the enrolment CA has not signed it"},
		{"no signature", string(good.Inventory), nil, "the enrolment CA has not signed it"},
		{"signed by the device CA, which is on node0's card", string(good.Inventory), sign(string(good.Inventory), device), "the enrolment CA has not signed it"},
		{"another cluster's", string(foreign.Inventory), foreign.InventorySig, "the enrolment CA has not signed it"},
		{"another cluster's, signed by ours", string(foreign.Inventory), sign(string(foreign.Inventory), root), "it is of another cluster"},
		{"of a later form", edit(`"version": 1`, `"version": 2`), sign(edit(`"version": 1`, `"version": 2`), root), "it has version 2"},
		{"a name twice", edit("pi-node2", "pi-node1"), sign(edit("pi-node2", "pi-node1"), root), "is in it twice"},
		{"a name with a slash", edit("pi-node2", "../../x"), sign(edit("pi-node2", "../../x"), root), "is no card"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := w.options()
			o.Config.Join.Service.Inventory, o.Config.Join.Service.InventorySig = []byte(tc.doc), tc.signature
			if s, err := Open(o); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want %q", err, tc.want)
				if s != nil {
					s.Close()
				}
			}
		})
	}
}

func TestOpen_refusesKeysThatDoNotBelongTogether(t *testing.T) {
	w, other := newWorld(t, 2, 0), newWorld(t, 2, 1)
	foreign := other.options().Config.Join.Service
	for name, change := range map[string]func(o *Options){
		"a worker's document":           func(o *Options) { o.Config.Join.Service = nil },
		"another cluster's device CA":   func(o *Options) { o.Config.Join.Service.DeviceCA = foreign.DeviceCA },
		"another device CA's key":       func(o *Options) { o.Config.Join.Service.DeviceCAKey = foreign.DeviceCAKey },
		"a device CA that is no PEM":    func(o *Options) { o.Config.Join.Service.DeviceCA = "hello" },
		"a list of peers without node0": func(o *Options) { o.Config.Peers = o.Config.Peers[1:] },
	} {
		o := w.options()
		change(&o)
		if s, err := Open(o); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func secretText(s string) secret.Text { return secret.New(s) }
