package topology_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"picluster/clusterctl/gluster/topology"
	"picluster/firstboot/steps"
	"picluster/internal/golden"
	"picluster/internal/spec"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParse_readsWhatHeketiReads(t *testing.T) {
	got, err := topology.Parse("topology.json", read(t, "heketi.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := topology.Topology{Clusters: []topology.Cluster{{Nodes: []topology.Node{
		{Manage: []string{"raspberrypi-node0"}, Storage: []string{"192.168.1.30"}, Zone: 1, Devices: []topology.Device{{Name: "/dev/loop0"}}},
		{Manage: []string{"raspberrypi-node1"}, Storage: []string{"192.168.1.31"}, Zone: 1, Tags: map[string]string{"arbiter": "disabled"}, Devices: []topology.Device{
			{Name: "/dev/sda", DestroyData: true},
			{Name: "/dev/disk/by-id/usb-Disk_0:0", Tags: map[string]string{"media": "ssd"}},
		}},
		{Manage: []string{"raspberrypi-node2.local"}, Storage: []string{"192.168.1.32"}, Zone: 2},
	}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParse_saysAllThatIsWrongAndWhere(t *testing.T) {
	_, err := topology.Parse("topology.json", read(t, "bad.json"))
	if err == nil {
		t.Fatal("it is accepted")
	}
	golden.Equal(t, "testdata/bad.want", []byte(err.Error()+"\n"))
}

func TestParse_saysWhereTheSyntaxIsWrong(t *testing.T) {
	for document, want := range map[string]string{
		"":                            "t:1:1: unexpected end of JSON input",
		"{\"clusters\": [}\n":         "t:1:15: invalid character '}' looking for beginning of value",
		"{\n  \"ä\": 1,\n}":           "t:3:1: invalid character '}' looking for beginning of object key string",
		"{\"clusters\": []":           "t:1:16: unexpected end of JSON input",
		"\uFEFF{\"clusters\": []} {}": "t:1:18: invalid character '{' after top-level value",
		"[]":                          "t:1:1: a list, want an object",
		"{}":                          "t:1:1: clusters is missing",
		"{\"clusters\": []}":          "t:1:14: clusters: is empty",
	} {
		_, err := topology.Parse("t", []byte(document))
		if err == nil || err.Error() != want {
			t.Errorf("%q:\ngot  %v\nwant %s", document, err, want)
		}
	}
}

func TestFromSpec_isWhatClusterYAMLMeans(t *testing.T) {
	for _, name := range []string{"full", "home", "disks", "plain"} {
		data, err := os.ReadFile("../../../testdata/clusters/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		c, err := spec.Parse(name+".yaml", data, spec.References{})
		if err != nil {
			t.Fatal(err)
		}
		made := topology.FromSpec(c)
		out, err := json.MarshalIndent(made, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden.Equal(t, filepath.Join("testdata", name+".golden"), append(out, '\n'))
		if len(made.Clusters) == 0 {
			continue // no storage
		}
		if again, err := topology.Parse(name, out); err != nil || !reflect.DeepEqual(again, made) {
			t.Errorf("%s reads back as %+v: %v", name, again, err)
		}
	}
}

func TestFromSpec_numbersZonesByLabel(t *testing.T) {
	at := func(zone string) spec.Node {
		n := spec.Node{Storage: spec.NodeStorage{Enabled: true}}
		if zone != "" {
			n.Labels = map[string]string{topology.ZoneLabel: zone}
		}
		return n
	}
	c := &spec.Cluster{Nodes: spec.Nodes{at("shelf"), at(""), at("attic"), at("shelf"), at("")}}
	var zones []int
	for _, n := range topology.FromSpec(c).Clusters[0].Nodes {
		zones = append(zones, n.Zone)
	}
	if want := []int{1, 2, 3, 1, 2}; !reflect.DeepEqual(zones, want) {
		t.Errorf("got zones %v, want %v", zones, want)
	}
}

func TestLoopDevice_isTheOneThatFirstbootMakes(t *testing.T) {
	if topology.LoopDevice != steps.StorageLink {
		t.Errorf("%s, but firstboot makes %s", topology.LoopDevice, steps.StorageLink)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"heketi.json", "bad.json"} {
		f.Add(read(f, name))
	}
	f.Add([]byte(`{"clusters":[{"nodes":[{"node":{"hostnames":{"manage":["a"],"storage":["b"]},"zone":1},"devices":["/a"]}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := topology.Parse("t", data)
		if err != nil {
			var problems spec.Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("%q: error %#v", data, err)
			}
			lines := strings.Split(string(data), "\n")
			for _, p := range problems {
				if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+1 {
					t.Fatalf("%q: %v is outside of it", data, p)
				}
			}
			return
		}
		out, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		// Tags and devices that are empty are as if they were not there.
		again, err := topology.Parse("t", out)
		if err != nil {
			t.Fatalf("%q reads back with %v", out, err)
		}
		if twice, _ := json.Marshal(again); string(twice) != string(out) {
			t.Fatalf("%q reads back as %q", out, twice)
		}
	})
}
