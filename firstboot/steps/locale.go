package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// localeSteps are of Run: compiling takes half a minute on a Pi 3, and until then
// programs speak plain English.
func localeSteps(c *node.Config) []Step {
	return []Step{step.Optional[host.Host](LocaleData{c.System.Locale})}
}

// LocaleData wants the locale compiled. The C library has C, POSIX and, in
// Debian, C.UTF-8 by itself; others come out of locale-gen, which needs no network.
type LocaleData struct{ Locale string }

func (s LocaleData) Name() string { return "locale's data" }

const localeArchive = "/usr/lib/locale/locale-archive"

// compilingLocales is there from before the archive is changed until it is on the disk
// for good: localedef maps it into memory, and a power cut leaves any part of it.
var compilingLocales = path.Join(path.Dir(SealPath), "compiling-locales")

var listLocales = host.Cmd{Args: []string{"localedef", "--list-archive"}}

var localeName = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9-]+)?(@[A-Za-z0-9]+)?$`)

// Check implements Step.
func (s LocaleData) Check(ctx context.Context, h host.Host) (string, error) {
	if !localeName.MatchString(s.Locale) {
		return "", fmt.Errorf("find locale %q: it is no locale's name", s.Locale)
	}
	switch normalLocale(s.Locale) {
	case "c", "posix", "c.utf8":
		return "", nil
	}
	// Two places: one archive for all, or a directory each.
	if there, err := exists(ctx, h, compilingLocales); err != nil || there {
		return "compiling it was cut off", err
	}
	have, err := h.ReadDir(ctx, path.Dir(localeArchive))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if slices.Contains(have, path.Base(localeArchive)) {
		archived, err := h.Run(ctx, listLocales)
		if err != nil && ctx.Err() == nil {
			return "the archive of locales is damaged", nil
		}
		if err != nil {
			return "", err
		}
		have = append(have, strings.Fields(string(archived))...)
	}
	for _, name := range have {
		if normalLocale(name) == normalLocale(s.Locale) {
			return "", nil
		}
	}
	return "locale " + s.Locale + " is not compiled", nil
}

// normalLocale is the form under which glibc files a locale: en_US.utf8.
func normalLocale(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "utf-8", "utf8")
}

// Apply implements Step.
func (s LocaleData) Apply(ctx context.Context, h host.Host) error {
	supported, err := h.ReadFile(ctx, "/usr/share/i18n/SUPPORTED")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(supported)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == s.Locale {
			list := edited{path: "/etc/locale.gen", edit: func(text string) (string, error) {
				return withLine(text, f[0]+" "+f[1]), nil
			}}
			if err := list.apply(ctx, h); err != nil {
				return err
			}
			return compileLocales(ctx, h)
		}
	}
	return fmt.Errorf("compile locale %s: %w", s.Locale, notHere(false))
}

// compileLocales compiles those of /etc/locale.gen: all of them after a power cut, otherwise
// those that are not there yet.
func compileLocales(ctx context.Context, h host.Host) error {
	broken, err := exists(ctx, h, compilingLocales)
	if err != nil {
		return err
	}
	if _, err := h.Run(ctx, listLocales); err != nil {
		broken = true
	}
	if err := h.Write(ctx, compilingLocales, host.File{}); err != nil {
		return err
	}
	if broken {
		if err := h.Remove(ctx, localeArchive); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"locale-gen", "--keep-existing"}, {"sync"}} {
		if _, err := h.Run(ctx, host.Cmd{Args: args}); err != nil {
			return err
		}
	}
	return h.Remove(ctx, compilingLocales)
}

// withLine has the line in the text, uncommented or at the end.
func withLine(text, want string) string {
	var out strings.Builder
	done := false
	for line := range strings.Lines(text) {
		bare := strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), "#"))
		if bare == want && !done {
			line, done = want+"\n", true
		}
		out.WriteString(line)
	}
	if done {
		return out.String()
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		out.WriteByte('\n')
	}
	return out.String() + want + "\n"
}
