package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"picluster/internal/host"
	"picluster/internal/secret"
	"picluster/overlays"
)

// Text wants a file of root's with that content and no other.
type Text struct {
	What    string
	Path    string
	Mode    fs.FileMode // zero is 0644
	Content string
}

func (s Text) Name() string { return s.What }

// String quotes the content, so that a step stays one line.
func (s Text) String() string {
	mode := ""
	if s.Mode != 0 {
		mode = fmt.Sprintf(" Mode:%04o", uint32(s.Mode))
	}
	return fmt.Sprintf("{%s%s %q}", s.Path, mode, s.Content)
}

func (s Text) file() host.File { return host.File{Mode: s.Mode, Data: []byte(s.Content)} }

// Check implements Step.
func (s Text) Check(ctx context.Context, h host.Host) (string, error) {
	return s.file().Drift(ctx, h, s.Path)
}

// Apply implements Step.
func (s Text) Apply(ctx context.Context, h host.Host) error { return h.Write(ctx, s.Path, s.file()) }

// Private wants a file of root's that nobody else can read.
type Private struct {
	What    string
	Path    string
	Content secret.Text
}

func privateFile(what, path string, content []byte) Private {
	return Private{what, path, secret.New(string(content))}
}

func (s Private) Name() string { return s.What }

func (s Private) String() string { return fmt.Sprintf("{%s Mode:0600 %v}", s.Path, s.Content) }

func (s Private) file() host.File { return host.File{Mode: 0o600, Data: []byte(s.Content.Reveal())} }

// Check implements Step.
func (s Private) Check(ctx context.Context, h host.Host) (string, error) {
	return s.file().Drift(ctx, h, s.Path)
}

// Apply implements Step.
func (s Private) Apply(ctx context.Context, h host.Host) error { return h.Write(ctx, s.Path, s.file()) }

// Directory wants a directory of root's.
type Directory struct {
	What string
	Path string
	Mode fs.FileMode
}

func (s Directory) Name() string { return s.What }

func (s Directory) String() string { return fmt.Sprintf("{%s Mode:%04o}", s.Path, uint32(s.Mode)) }

func (s Directory) file() host.File { return host.File{Mode: s.Mode | fs.ModeDir} }

// Check implements Step.
func (s Directory) Check(ctx context.Context, h host.Host) (string, error) {
	return s.file().Drift(ctx, h, s.Path)
}

// Apply implements Step.
func (s Directory) Apply(ctx context.Context, h host.Host) error {
	return h.Write(ctx, s.Path, s.file())
}

// Links wants symbolic links, by path, all to one target: units that are enabled
// or masked.
type Links struct {
	What   string
	Target string
	Paths  []string
}

func (s Links) Name() string { return s.What }

// Check implements Step. It names the first link that is missing.
func (s Links) Check(ctx context.Context, h host.Host) (string, error) {
	for _, path := range s.Paths {
		if drift, err := (host.File{Target: s.Target}).Drift(ctx, h, path); err != nil || drift != "" {
			return drift, err
		}
	}
	return "", nil
}

// Apply implements Step.
func (s Links) Apply(ctx context.Context, h host.Host) error {
	for _, path := range s.Paths {
		if err := h.Write(ctx, path, host.File{Target: s.Target}); err != nil {
			return err
		}
	}
	return nil
}

// Absent wants files not to be there.
type Absent struct {
	What  string
	Paths []string
}

func (s Absent) Name() string { return s.What }

// Check implements Step.
func (s Absent) Check(ctx context.Context, h host.Host) (string, error) {
	return firstPresent(ctx, h, s.Paths)
}

// Apply implements Step.
func (s Absent) Apply(ctx context.Context, h host.Host) error {
	for _, path := range s.Paths {
		if err := h.Remove(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

func firstPresent(ctx context.Context, h host.Host, paths []string) (string, error) {
	for _, path := range paths {
		if there, err := exists(ctx, h, path); err != nil || there {
			return path + " is there", err
		}
	}
	return "", nil
}

// Erased wants files of the FAT partition not to be there, and their content not
// to be left in its free clusters. On flash that is as good as a program can do:
// the card may keep old cells of its own.
type Erased struct {
	What  string
	Paths []string
}

func (s Erased) Name() string { return s.What }

// Check implements Step.
func (s Erased) Check(ctx context.Context, h host.Host) (string, error) {
	drift, err := firstPresent(ctx, h, s.Paths)
	if drift != "" && err == nil {
		drift += ", with secrets in it"
	}
	return drift, err
}

// Apply implements Step. shred (coreutils) overwrites in place, which FAT does
// too; after a power cut the rest of the file is met again under its name.
func (s Erased) Apply(ctx context.Context, h host.Host) error {
	for _, path := range s.Paths {
		there, err := exists(ctx, h, path)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if _, err := h.Run(ctx, host.Cmd{Args: []string{"shred", "--iterations=1", "--zero", "--remove=unlink", path}}); err != nil {
			return err
		}
	}
	return nil
}

// Agent wants the agent installed. It copies the file on the card, which is the
// program that is running.
type Agent struct{ From string }

func (s Agent) Name() string { return "agent" }

func (s Agent) file(ctx context.Context, h host.Host) (host.File, error) {
	data, err := h.ReadFile(ctx, s.From)
	return host.File{Mode: 0o755, Data: data}, err
}

// Check implements Step.
func (s Agent) Check(ctx context.Context, h host.Host) (string, error) {
	want, err := s.file(ctx, h)
	if err != nil {
		return "", err
	}
	return want.Drift(ctx, h, AgentPath)
}

// Apply implements Step.
func (s Agent) Apply(ctx context.Context, h host.Host) error {
	want, err := s.file(ctx, h)
	if err != nil {
		return err
	}
	return h.Write(ctx, AgentPath, want)
}

func overlaySteps() []Step {
	var steps []Step
	for _, f := range overlays.Root() {
		mode := f.Mode
		if mode == 0o644 {
			mode = 0
		}
		steps = append(steps, Text{What: "overlay " + f.Path, Path: "/" + f.Path, Mode: mode, Content: string(f.Data)})
	}
	return steps
}

// edited is a text file of the system that is to be as edit leaves it. edit is a
// function of the text alone and leaves its own result alone; a file that is
// missing is empty text. Mode and owner stay as they are.
type edited struct {
	path string
	edit func(text string) (string, error)
	mode fs.FileMode // of a file that was missing; zero is 0644
	// private: others may not read it, whatever it was before.
	private bool
}

// want is the file as it should be, and whether it is another now: empty text is
// no reason to make a file.
func (e edited) want(ctx context.Context, h host.Host) (f host.File, changed bool, err error) {
	f = host.File{Mode: e.mode}
	is, err := h.Stat(ctx, e.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return f, false, err
	case !is.Mode.IsRegular():
		return f, false, fmt.Errorf("edit %s: it is no regular file", e.path)
	default:
		f = host.File{Mode: is.Mode, UID: is.UID, GID: is.GID}
		if f.Data, err = h.ReadFile(ctx, e.path); err != nil {
			return f, false, err
		}
	}
	old, oldMode := string(f.Data), f.Mode
	text, err := e.edit(old)
	if err != nil {
		return f, false, fmt.Errorf("edit %s: %w", e.path, err)
	}
	if e.private {
		f.Mode &^= 0o007
	}
	f.Data = []byte(text)
	return f, text != old || f.Mode != oldMode, nil
}

// drift says that the file is not as wanted, never how: lines may be secret.
func (e edited) drift(ctx context.Context, h host.Host) (string, error) {
	f, changed, err := e.want(ctx, h)
	if err != nil || !changed {
		return "", err
	}
	return f.Drift(ctx, h, e.path)
}

func (e edited) apply(ctx context.Context, h host.Host) error {
	f, changed, err := e.want(ctx, h)
	if err != nil || !changed {
		return err
	}
	return h.Write(ctx, e.path, f)
}

// The marks of our block.
const blockBegin, blockEnd = "# picluster: begin\n", "# picluster: end\n"

// inBlock are the lines of our block in a text.
func inBlock(text string) string {
	_, rest, _ := strings.Cut(text, blockBegin)
	lines, _, _ := strings.Cut(rest, blockEnd)
	return lines
}

// block puts lines between two marks at the end of a text, in place of an older
// block; no lines take it away.
func block(text, lines string) string {
	if before, rest, ok := strings.Cut(text, blockBegin); ok {
		_, after, _ := strings.Cut(rest, blockEnd)
		text = before + after
	}
	if lines == "" {
		return text
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + blockBegin + lines + blockEnd
}

// assign sets a variable of a file that a shell reads (KEY="value"), or appends
// it. The first line that sets it is changed, further ones go.
func assign(text, key, value string) string {
	var out strings.Builder
	done := false
	line := fmt.Sprintf("%s=%q\n", key, value)
	for l := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimLeft(l, " \t"), key+"=") {
			out.WriteString(l)
			continue
		}
		if !done {
			out.WriteString(line)
		}
		done = true
	}
	if done {
		return out.String()
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		out.WriteByte('\n')
	}
	return out.String() + line
}
