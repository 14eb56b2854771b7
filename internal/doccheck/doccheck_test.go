package doccheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Links to files of the repository, and to headings in them.
func TestDocs_linksLeadSomewhere(t *testing.T) {
	root, count := Root(t), 0
	for _, page := range Pages(t) {
		for _, found := range link.FindAllStringSubmatch(page.Text, -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			count++
			file, heading, _ := strings.Cut(found[1], "#")
			path := filepath.Join(root, filepath.Dir(page.Name), file)
			if file == "" {
				path = filepath.Join(root, page.Name)
			}
			text, err := os.ReadFile(path)
			if info, statErr := os.Stat(path); err != nil && (statErr != nil || !info.IsDir()) {
				t.Errorf("%s links to %s: %v", page.Name, found[1], err)
			} else if heading != "" && !slices.Contains(anchors(string(text)), heading) {
				t.Errorf("%s links to %s, and there is no such heading", page.Name, found[1])
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d links were found", count)
	}
}

var notInAnchors = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)

// anchors are what GitHub makes of headings.
func anchors(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
			all = append(all, strings.ReplaceAll(notInAnchors.ReplaceAllString(heading, ""), " ", "-"))
		}
	}
	return all
}

// Blocks of a shell are run by a test, or say why they are not.
func TestDocs_shellBlocksAreRun(t *testing.T) {
	tests, typed := testNames(t), typedInScripts(t)
	for _, page := range Pages(t) {
		for _, b := range page.Blocks {
			why, named, says := "", []string(nil), b.Note
			switch {
			case b.Kind == "":
				t.Errorf("%s:%d: say what this is: sh, console (commands with their output), yaml, text", page.Name, b.Line)
				continue
			case b.Kind == "console" && page.Name != "README.md":
				t.Errorf("%s:%d: only the README's commands are run with their output", page.Name, b.Line)
			case b.Kind != "sh":
				continue
			}
			if list, ok := strings.CutPrefix(says, "run by "); ok {
				named = strings.Split(list, ", ")
			}
			why, _ = strings.CutPrefix(says, "not run: ")
			for _, name := range named {
				if !tests[name] {
					t.Errorf("%s:%d: there is no test %s", page.Name, b.Line, name)
				}
			}
			if len(named) > 0 || strings.HasPrefix(says, "not run: ") && len(strings.Fields(why)) >= 3 {
				continue
			}
			for _, command := range b.Commands() {
				if !slices.Contains(typed, command) {
					t.Errorf("%s:%d: %q is in no transcript in testdata/scripts, and no comment says which test runs it, or why none does", page.Name, b.Line, command)
				}
			}
		}
	}
}

// A test that a page names (in the threat model, say) has to be there.
func TestDocs_nameTestsThatExist(t *testing.T) {
	tests := testNames(t)
	name := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9_]*)`")
	count := 0
	for _, page := range Pages(t) {
		for _, found := range name.FindAllStringSubmatch(page.Text, -1) {
			count++
			if !tests[found[1]] {
				t.Errorf("%s names %s, and there is no such test", page.Name, found[1])
			}
		}
	}
	if count == 0 {
		t.Error("no page names a test")
	}
}

// The tree of docs/architecture.md has every package, and nothing that is gone.
func TestArchitecture_namesEveryPackage(t *testing.T) {
	root := Root(t)
	text, err := os.ReadFile(filepath.Join(root, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := parse("docs/architecture.md", string(text))
	i := slices.IndexFunc(page.Blocks, func(b Block) bool { return strings.HasPrefix(b.Text, "imagebuilder/ ") })
	if i < 0 {
		t.Fatal("there is no tree that begins with imagebuilder/")
	}
	listed := treePaths(page.Blocks[i].Text)
	for _, path := range listed {
		if info, err := os.Stat(filepath.Join(root, path)); err != nil || !info.IsDir() {
			t.Errorf("the tree has %s, and there is no such directory", path)
		}
	}
	out, err := exec.Command("go", "list", "-C", root, "-f", "{{.ImportPath}}", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for path := range strings.Lines(string(out)) {
		path = strings.TrimPrefix(strings.TrimSpace(path), "picluster/")
		// What lies below a package that is named belongs to it.
		if !slices.ContainsFunc(listed, func(l string) bool {
			return path == l || strings.HasPrefix(path, l+"/") && strings.Contains(l, "/")
		}) {
			t.Errorf("the tree of docs/architecture.md has no %s", path)
		}
	}
}

var inTree = regexp.MustCompile(`^( *)((?:[a-z0-9.]+/ *)+)`)

// treePaths are the directories of a drawn tree: one or more in a line, below the
// last line that is less indented.
func treePaths(tree string) []string {
	var paths []string
	parent := ""
	for line := range strings.Lines(tree) {
		found := inTree.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		for name := range strings.FieldsSeq(found[2]) {
			name = strings.TrimSuffix(name, "/")
			if found[1] == "" {
				parent = name
				paths = append(paths, name)
			} else {
				paths = append(paths, parent+"/"+name)
			}
		}
	}
	return paths
}

// testNames are the names of all tests in the tree.
func testNames(t *testing.T) map[string]bool {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
	names := map[string]bool{}
	for _, file := range find(t, "_test.go") {
		for _, found := range declared.FindAllStringSubmatch(file, -1) {
			names[found[1]] = true
		}
	}
	return names
}

// typedInScripts are the commands that transcripts run.
func typedInScripts(t *testing.T) []string {
	exec := regexp.MustCompile(`(?m)^!? ?exec (.*)$`)
	var typed []string
	for _, file := range find(t, ".txtar") {
		for _, found := range exec.FindAllStringSubmatch(file, -1) {
			typed = append(typed, strings.TrimSpace(found[1]))
		}
	}
	return typed
}

// find returns the text of all files with that ending.
func find(t *testing.T, ending string) []string {
	t.Helper()
	var texts []string
	err := filepath.WalkDir(Root(t), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ending) {
			return err
		}
		text, err := os.ReadFile(path)
		texts = append(texts, string(text))
		return err
	})
	if err != nil || len(texts) == 0 {
		t.Fatalf("find files that end in %s: %d, %v", ending, len(texts), err)
	}
	return texts
}
