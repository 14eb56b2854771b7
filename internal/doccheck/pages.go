// Package doccheck holds the documentation to what is there: commands and flags that
// it names, tests that it names, links, and blocks of a shell, each of which some
// test runs or says why none does.
//
// It is for tests only. What concerns one program is called by that program's tests,
// with its own table of commands.
package doccheck

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Page is one page of the documentation.
type Page struct {
	Name   string // from the repository's root: docs/storage.md
	Text   string
	Blocks []Block // fenced ones, in order
}

// Block is what stands between fences.
type Block struct {
	Line   int    // of its first fence
	Kind   string // the word after it: sh, console, text, yaml
	Note   string // the comment in the line before it, without its signs
	Text   string
	Indent string // inside a list
}

// Root is the repository's root, from wherever a test runs.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("find go.mod: it is in no directory above this one")
		}
	}
}

// Pages reads README.md and all of docs/.
func Pages(t testing.TB) []Page {
	t.Helper()
	root := Root(t)
	names := []string{"README.md"}
	for _, pattern := range []string{"docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			names = append(names, strings.TrimPrefix(path, root+"/"))
		}
	}
	var pages []Page
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, parse(name, string(text)))
	}
	return pages
}

var fence = regexp.MustCompile("^( *)```(.*)$")

func parse(name, text string) Page {
	page := Page{Name: name, Text: text}
	var open *Block
	before := ""
	for i, line := range strings.Split(text, "\n") {
		found := fence.FindStringSubmatch(line)
		switch {
		case found != nil && open == nil:
			note, isNote := strings.CutPrefix(strings.TrimSpace(before), "<!--")
			if !isNote {
				note = ""
			}
			open = &Block{Line: i + 1, Indent: found[1], Kind: found[2], Note: strings.TrimSpace(strings.TrimSuffix(note, "-->"))}
		case found != nil:
			page.Blocks = append(page.Blocks, *open)
			open = nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, open.Indent) + "\n"
		}
		before = line
	}
	return page
}

var span = regexp.MustCompile("`([^`\n]+)`")

// commandLines are the lines of a page that somebody might type: those of its shell
// blocks, and what is set as code in its sentences.
func (p Page) commandLines() []string {
	var lines []string
	for _, b := range p.Blocks {
		switch b.Kind {
		case "sh":
			lines = append(lines, b.Commands()...)
		case "console":
			for line := range strings.Lines(b.Text) {
				if command, ok := strings.CutPrefix(line, "$ "); ok {
					lines = append(lines, strings.TrimSpace(command))
				}
			}
		}
	}
	for _, found := range span.FindAllStringSubmatch(p.Text, -1) {
		lines = append(lines, found[1])
	}
	return lines
}

var remark = regexp.MustCompile(`(^|\s+)#.*$`)

// Commands are the lines of a shell block without remarks.
func (b Block) Commands() []string {
	var commands []string
	for line := range strings.Lines(b.Text) {
		if line = strings.TrimSpace(remark.ReplaceAllString(strings.TrimRight(line, "\n"), "")); line != "" {
			commands = append(commands, line)
		}
	}
	return commands
}
