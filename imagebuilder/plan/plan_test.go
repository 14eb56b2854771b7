package plan_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"picluster/imagebuilder/image"
	"picluster/imagebuilder/plan"
	"picluster/imagebuilder/secrets"
	"picluster/internal/golden"
	"picluster/internal/lab"
	"picluster/internal/node"
	"picluster/internal/secret"
	"picluster/internal/spec"
)

// newest are the images that plans are compared on: each release and architecture.
var newest = []lab.Layout{
	{Release: "stretch", Arch: "armhf"},
	{Release: "buster", Arch: "armhf"},
	{Release: "bullseye", Arch: "armhf"},
	{Release: "bullseye", Arch: "arm64"},
	{Release: "bookworm", Arch: "armhf"},
	{Release: "bookworm", Arch: "arm64"},
	{Release: "trixie", Arch: "armhf"},
	{Release: "trixie", Arch: "arm64"},
}

func name(l lab.Layout) string { return l.Release + "-" + l.Arch }

// runsKubernetes says what the documentation says: 64-bit bookworm and trixie.
func runsKubernetes(l lab.Layout) bool {
	return l.Arch == "arm64" && (l.Release == "bookworm" || l.Release == "trixie")
}

// detect returns what an image of the layout says about itself.
func detect(t *testing.T, l lab.Layout) *image.Facts {
	t.Helper()
	f, err := os.Open(lab.Image(t, l))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.Open(image.NewOverlay(f, info.Size()))
	if err != nil {
		t.Fatal(err)
	}
	facts, err := img.Detect("")
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// inputs are those of a cluster file, for an image with these facts.
func inputs(t *testing.T, file string, facts *image.Facts) plan.Inputs {
	t.Helper()
	c, err := spec.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	bundle, _, err := secrets.Init(filepath.Join(t.TempDir(), "secrets"), plan.Want(c))
	if err != nil {
		t.Fatal(err)
	}
	return plan.Inputs{
		Cluster: c, Secrets: bundle, Cards: plan.CardNames(c), Tool: "v0-test",
		Base:  plan.Base{Name: "base.img", SHA256: strings.Repeat("ab", 32), Size: 1 << 30, Facts: facts},
		Agent: plan.Agent{Arch: facts.Arch, Data: []byte("\x7fELF agent")},
	}
}

const clusters = "../../testdata/clusters/"

// A plan is compared as a whole: the edits in their order, and the documents of
// the first card and of the last, which is a spare where there is one.
func TestMake_everyReleaseAndArchitecture(t *testing.T) {
	for _, l := range newest {
		t.Run(name(l), func(t *testing.T) {
			cluster := "plain.yaml"
			if runsKubernetes(l) {
				cluster = "home.yaml"
			}
			in := inputs(t, clusters+cluster, detect(t, l))
			p, err := plan.Make(in)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			fmt.Fprintf(&out, "cluster %s on %s %s\n\non every card:\n", cluster, l.Release, l.Arch)
			describe(t, &out, p.Edits)
			for _, c := range []plan.Card{p.Cards[0], p.Cards[len(p.Cards)-1]} {
				fmt.Fprintf(&out, "\non the card of %s:\n", c.Config.Name)
				describe(t, &out, c.Edits)
				out.Write(masked(t, c.Config))
			}
			golden.Equal(t, filepath.Join("testdata", name(l)+".golden"), out.Bytes())

			again, err := plan.Make(in)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(bytesOf(t, p), bytesOf(t, again)) || !again.Time.Equal(p.Time) {
				t.Error("the same inputs give another plan")
			}
		})
	}
}

func describe(t *testing.T, out *bytes.Buffer, edits []plan.Edit) {
	t.Helper()
	for _, e := range edits {
		switch e := e.(type) {
		case plan.WriteFile:
			secrets := ""
			if e.Masked {
				secrets = ", holds secrets"
			}
			fmt.Fprintf(out, "  write %s%s\n", e.Name, secrets)
		case plan.Touch:
			fmt.Fprintf(out, "  touch %s\n", e.Name)
		case plan.ConfigTxt:
			fmt.Fprintf(out, "  config.txt: [%s] %s=%s\n", e.Section, e.Key, e.Value)
		case plan.CmdlineTxt:
			fmt.Fprintf(out, "  cmdline.txt: add %s\n  cmdline.txt: end with %s\n", strings.Join(e.Arguments, " "), e.Tail)
		default:
			t.Errorf("edit of unknown kind %T", e)
		}
	}
}

// masked is node.json with dots for secrets, and a word for what init makes anew
// for each cluster.
func masked(t *testing.T, c *node.Config) []byte {
	t.Helper()
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	mask(document)
	// The operator's key is the last; the others are the person's own.
	keys := document["system"].(map[string]any)["user"].(map[string]any)["authorizedKeys"].([]any)
	keys[len(keys)-1] = "(operator)"
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("  ", "  ")
	if err := e.Encode(document); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "BEGIN") {
		t.Errorf("a key or certificate is left in the golden file:\n%s", out.String())
	}
	return append([]byte("  "), out.Bytes()...)
}

func mask(value any) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			mask(item)
		}
	case map[string]any:
		for key, item := range v {
			switch {
			case slices.Contains([]string{"key", "hostKey", "passwordHash", "deviceCAKey", "content"}, key):
				v[key] = secret.Mask
			case slices.Contains([]string{"id", "time", "hostPublicKey", "cardID", "ca", "certificate", "serverName", "deviceCA", "inventory", "inventorySignature"}, key):
				v[key] = "(made by init)"
			default:
				mask(item)
			}
		}
	}
}

// bytesOf are all files that a plan writes, and all edits of others.
func bytesOf(t *testing.T, p *plan.Plan) []byte {
	t.Helper()
	var all bytes.Buffer
	for _, c := range p.Cards {
		describe(t, &all, p.EditsOf(c))
		for _, e := range p.EditsOf(c) {
			if w, ok := e.(plan.WriteFile); ok {
				all.Write(w.Data)
			}
		}
	}
	return all.Bytes()
}

func TestMake_refusesKubernetesWhereItDoesNotRun(t *testing.T) {
	for _, l := range newest {
		t.Run(name(l), func(t *testing.T) {
			p, err := plan.Make(inputs(t, clusters+"home.yaml", detect(t, l)))
			if runsKubernetes(l) {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			want := "it is " + l.Release
			if l.Arch == "armhf" {
				want = "32-bit"
			}
			for _, part := range []string{want, "use raspios-lite-arm64", "kubernetes.enabled: false"} {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("the error is %v, want one with %q", err, part)
				}
			}
			if p != nil {
				t.Error("there is a plan all the same")
			}
		})
	}
}

func TestMake_refusesAnImageThatHasBeenBooted(t *testing.T) {
	facts := *detect(t, lab.Layout{Release: "trixie", Arch: "arm64"})
	facts.Booted, facts.Hook = true, ""
	_, err := plan.Make(inputs(t, clusters+"home.yaml", &facts))
	if err == nil || !strings.Contains(err.Error(), "has been booted before") {
		t.Errorf("the error is %v", err)
	}
}

func TestMake_putsTheOTPLineUnderItsBoardOnly(t *testing.T) {
	facts := detect(t, lab.Layout{Release: "trixie", Arch: "arm64"})
	for usbBoot, want := range map[string]bool{"off": false, "card": true, "agent": false} {
		in := inputs(t, clusters+"home.yaml", facts)
		in.Cluster.Boot.USBBoot = usbBoot
		p, err := plan.Make(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(p.Edits, plan.Edit(plan.ConfigTxt{Section: "pi3", Key: "program_usb_boot_mode", Value: "1"})); got != want {
			t.Errorf("usbBoot %s: the line is planned: %v, want %v", usbBoot, got, want)
		}
		if got := p.Cards[0].Config.Boot.USBBoot; got != (usbBoot == "agent") {
			t.Errorf("usbBoot %s: the agent is told: %v", usbBoot, got)
		}
	}
}

// A card's document holds its own secrets and nobody else's.
func TestMake_cardsHoldOnlyTheirOwn(t *testing.T) {
	p, err := plan.Make(inputs(t, clusters+"home.yaml", detect(t, lab.Layout{Release: "trixie", Arch: "arm64"})))
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string][]byte{}
	keys := map[string]string{}
	for _, c := range p.Cards {
		data, err := c.Config.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		documents[c.Config.Name] = data
		keys[c.Config.Name+" card"] = c.Config.Join.Key.Reveal()
		keys[c.Config.Name+" host"] = c.Config.SSH.HostKey.Reveal()
		if c.Config.Role == node.ControlPlane {
			keys["service of "+c.Config.Name] = c.Config.Join.Service.Key.Reveal()
			keys["device CA of "+c.Config.Name] = c.Config.Join.Service.DeviceCAKey.Reveal()
		} else if c.Config.Join.Service != nil {
			t.Errorf("%s carries the join service", c.Config.Name)
		}
	}
	if len(documents) < 4 {
		t.Fatalf("only %d cards planned", len(documents))
	}
	for owner, key := range keys {
		line := strings.Split(key, "\n")[1] // the first line of PEM's base64 is the same for all P-256 keys
		if lines := strings.Split(strings.TrimSpace(key), "\n"); len(lines) > 3 {
			line = lines[len(lines)-2]
		}
		for name, data := range documents {
			has, owns := bytes.Contains(data, []byte(line)), strings.HasPrefix(owner, name+" ") || strings.HasSuffix(owner, " "+name)
			if has != owns {
				t.Errorf("card %s holds the key %q: %v", name, owner, has)
			}
		}
	}
}
