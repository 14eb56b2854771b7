package baseimage

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"picluster/internal/web"
)

// TestErrors_sayWhatIsWrong is the table of what people read.
func TestErrors_sayWhatIsWrong(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	cases := []struct {
		err  error
		says string
	}{
		{&DigestError{Source: "x.img.xz", Want: a, Got: b}, "verify x.img.xz: sha256 is " + b + ", want " + a},
		{&CorruptError{"x.img.xz", "xz", 1234, false, errors.New("checksum error")}, "decompress x.img.xz: xz data is damaged near byte 1234: checksum error"},
		{&CorruptError{"x.zip", "zip", 99, true, io.ErrUnexpectedEOF}, "decompress x.zip: zip data is cut off near byte 99: unexpected EOF"},
		{&DownloadError{URL: "https://h/x", Status: 404}, "download https://h/x: server answers 404 Not Found"},
		{&DownloadError{URL: "https://h/x", Err: &web.SilentError{After: time.Minute}}, "download https://h/x: server is silent for 1m0s"},
		{&SpaceError{"/c", "os.img", 3_000_000_001, 1_999_999}, "make room in /c: os.img needs 3001 MB, 1 MB are free"},
		{&FormatError{"x", "it is encrypted"}, "read x: it is encrypted"},
		{&SizeError{"x.img", 513, false}, "check size of the image in x.img: it is 513 bytes, want a multiple of 512"},
		{&SizeError{"x.img", maxImage + 1, true}, "check size of the image in x.img: it is more than 64 GB, the largest that is taken for an image"},
		{newUnknownName("raspios-lite-amd64"), `find image "raspios-lite-amd64": no such file, and no known name (` + strings.Join(Names(), ", ") + "), did you mean raspios-lite-arm64?"},
		{newUnknownName("x"), `find image "x": no such file, and no known name (` + strings.Join(Names(), ", ") + ")"},
		{getError(t, Source{Location: "x.img", SHA256: "123"}), `read sha256 "123": want 64 hexadecimal digits`},
		{getError(t, Source{Location: "raspios"}), newUnknownName("raspios").Error()},
		{getError(t, Source{Location: "/nowhere/x.img"}), "open /nowhere/x.img: no such file or directory"},
		{getError(t, Source{Location: "/"}), "read /: it is not a regular file"},
		{getError(t, Source{Location: "ftp://h/x"}), "read address: want http:// or https:// and a host"},
	}
	for _, c := range cases {
		if got := c.err.Error(); got != c.says {
			t.Errorf("%T says\n%s, want\n%s", c.err, got, c.says)
		}
	}
	if !errors.Is(cases[2].err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
}

func getError(t *testing.T, src Source) error {
	t.Helper()
	_, err := Get(t.Context(), src, options(t))
	if err == nil {
		t.Fatalf("%+v: no error", src)
	}
	return err
}

func TestParseDigest_readsWhatPeoplePaste(t *testing.T) {
	a := strings.Repeat("0aF9", 16)
	for text, want := range map[string]string{
		a:                   strings.ToLower(a),
		" " + a + "\n":      strings.ToLower(a),
		a + "  os.img.xz\n": strings.ToLower(a),
		a[1:]:               "",
		a + "0":             "",
		"sha256:" + a:       "",
		"":                  "",
	} {
		if got, ok := parseDigest(text); got != want || ok != (want != "") {
			t.Errorf("%q gives %q, %v", text, got, ok)
		}
	}
}
