package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const planted = "correct horse battery"

type inner struct {
	T Text
	W Wire
}

type holder struct {
	N int // makes %s a wrong verb, which fmt answers without asking methods
	T Text
	W Wire
	P *Text
	I *inner
	M map[string]Text
	L []Wire
}

func held() holder {
	t := New(planted)
	return holder{1, t, NewWire(planted), &t, &inner{New(planted), NewWire(planted)}, map[string]Text{"a": t}, []Wire{NewWire(planted)}}
}

func TestSecret_everyVerbPrintsDots(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T %v"} {
		args := []any{held()}
		if strings.Contains(verb, "T") {
			args = append(args, held())
		}
		out := fmt.Sprintf(verb, args...) + fmt.Sprintf(verb, args...) + fmt.Sprint(New(planted), NewWire(planted))
		if strings.Contains(out, "horse") || strings.Contains(out, fmt.Sprintf("%x", planted)) {
			t.Errorf("%s prints the secret: %s", verb, out)
		}
		if !strings.Contains(out, Mask) {
			t.Errorf("%s prints no dots: %s", verb, out)
		}
	}
}

func TestSecret_logsPrintDots(t *testing.T) {
	for _, h := range []func(*bytes.Buffer) slog.Handler{
		func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(h(&b)).Info("x", "t", New(planted), "w", NewWire(planted), "p", held().P)
		if strings.Contains(b.String(), "horse") || strings.Count(b.String(), Mask) != 3 {
			t.Errorf("log line: %s", b.String())
		}
	}
}

func TestText_jsonPrintsDots(t *testing.T) {
	out, err := json.Marshal(struct {
		T Text
		M map[string]Text
		K map[Text]int
	}{New(planted), map[string]Text{"a": New(planted)}, map[Text]int{New(planted): 1}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "horse") || strings.Count(string(out), Mask) != 3 {
		t.Errorf("json: %s", out)
	}
}

func TestWire_jsonCarriesTheSecret(t *testing.T) {
	out, err := json.Marshal(NewWire(planted))
	if err != nil {
		t.Fatal(err)
	}
	var back Wire
	if err := json.Unmarshal(out, &back); err != nil || back.Reveal() != planted || string(out) != `"`+planted+`"` {
		t.Errorf("round trip gives %q, %v", back.Reveal(), err)
	}
}

func TestSecret_emptyPrintsNothing(t *testing.T) {
	if s := fmt.Sprint(Text{}, New(""), Wire{}, NewWire("")); strings.TrimSpace(s) != "" {
		t.Errorf("empty secrets print %q", s)
	}
}
