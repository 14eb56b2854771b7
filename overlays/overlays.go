// Package overlays holds the static files that every card gets: boot/ is laid
// over the FAT partition by imagebuilder, root/ over / by the agent on the Pi.
//
// They are bytes, never templates: what differs between nodes comes from
// node.json. Files of root/ are the same for every role; what only one role
// starts is started by a step of the agent.
package overlays

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// embed drops files that begin with a dot unless told "all:", forgets modes and
// skips symbolic links without a word; overlays_test.go holds the tree to what
// survives.
//
//go:embed all:boot all:root
var files embed.FS

// modes lists the files that are not 0644.
var modes = map[string]fs.FileMode{}

// File is one static file. Path is relative to the partition's root and uses
// slashes.
type File struct {
	Path string
	Mode fs.FileMode
	Data []byte
}

// Boot returns the files of the FAT partition, sorted by path.
func Boot() []File { return under("boot") }

// Root returns the files that the agent lays over /, sorted by path.
func Root() []File { return under("root") }

func under(dir string) []File {
	var all []File
	err := fs.WalkDir(files, dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		mode, ok := modes[path]
		if !ok {
			mode = 0o644
		}
		all = append(all, File{strings.TrimPrefix(path, dir+"/"), mode, data})
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("read embedded overlays: %v", err)) // the compiler put them there
	}
	return all
}
