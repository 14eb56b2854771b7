package steps_test

import (
	"testing"

	"picluster/firstboot/steps"
	"picluster/internal/host/hosttest"
)

// Compiling a locale is cut off, at any point of writing the archive of all locales: the
// next boot compiles it anew.
func TestLocale_isCompiledAnewAfterAPowerCut(t *testing.T) {
	const archive = "/usr/lib/locale/locale-archive"
	for name, left := range map[string]string{"nothing": "", "half of it": "\x00\x00\x00", "what looks like all of it": "magic\nen_GB.utf8\nen_US.utf8\n"} {
		t.Run(name, func(t *testing.T) {
			m := hosttest.NewMachine(t)
			m.Put("/usr/share/i18n/SUPPORTED", "en_GB.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n")
			m.Put("/etc/locale.gen", "en_GB.UTF-8 UTF-8\n# en_US.UTF-8 UTF-8\n")
			m.Put(archive, "magic\nen_GB.utf8\n")
			m.Put("/var/lib/picluster/journal.jsonl", "")
			m.Fake("localedef", `test "$*" = --list-archive || unexpected "$@"
				read -r magic <"$ROOT`+archive+`"; test "$magic" = magic || { echo "bad magic value in archive header" >&2; exit 1; }
				tail -n +2 "$ROOT`+archive+`"`)
			m.Fake("sync", `test -z "$*" || unexpected "$@"`)
			m.Fake("locale-gen", "exit 1") // the power goes
			stage := []steps.Stage{{Name: "locale", Steps: []steps.Step{steps.LocaleData{Locale: "en_US.UTF-8"}}}}
			if got, err := events(t, m.Local, stage); err == nil {
				t.Fatalf("no error: %q", got)
			}
			m.Put(archive, left)
			m.Fake("locale-gen", `test ! -e "$ROOT`+archive+`" || { echo "it goes on with a broken archive" >&2; exit 1; }
				{ echo magic; sed -n 's/^\(en_..\).*/\1.utf8/p' "$ROOT/etc/locale.gen"; } >"$ROOT`+archive+`"`)
			got, err := events(t, m.Local, stage)
			if err != nil {
				t.Fatal(err)
			}
			wantEvents(t, got, "applying locale's data: compiling it was cut off", "done locale's data")
			if text := m.Text(archive); text != "magic\nen_GB.utf8\nen_US.utf8\n" {
				t.Errorf("the archive is %q", text)
			}
			if got, err := events(t, m.Local, stage); err != nil || len(got) > 0 {
				t.Errorf("once more: %q, %v", got, err)
			}
		})
	}
}
