package lab

import (
	"context"
	"path/filepath"
	"strings"
	"sync"

	"picluster/internal/debian"
	"picluster/internal/lab/raspios"
)

// archives are the lists of Debian's packages that this process has read, which takes
// a while. The lock also keeps it from downloading a package twice at once.
var archives struct {
	sync.Mutex
	read map[string]*archive // by release and architecture
}

type archive struct {
	reader  *debian.Reader
	indexes []*debian.Index
}

// Debs returns the files of Debian's packages, for a release and an architecture, with
// all that they need beyond what is there. They are kept in the cache.
func Debs(ctx context.Context, release, arch string, want []string, there *debian.Installed) (files []string, err error) {
	archives.Lock()
	defer archives.Unlock()
	a := archives.read[release+arch]
	if a == nil {
		if a, err = readArchive(ctx, release, arch); err != nil {
			return nil, err
		}
		if archives.read == nil {
			archives.read = map[string]*archive{}
		}
		archives.read[release+arch] = a
	}
	needed, err := debian.Resolve(debian.Request{From: a.indexes, Want: want, There: there})
	if err != nil {
		return nil, err
	}
	for _, p := range needed {
		file, err := a.reader.Fetch(ctx, p)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func readArchive(ctx context.Context, release, arch string) (*archive, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	sources, err := raspios.Sources(ctx, release)
	if err != nil {
		return nil, err
	}
	keys, err := debian.ArchiveKeys()
	if err != nil {
		return nil, err
	}
	a := &archive{reader: &debian.Reader{Arch: arch, Dir: filepath.Join(cache, "debian-"+arch)}}
	for _, line := range sources {
		f := strings.Fields(line) // deb URI SUITE COMPONENT...
		index, err := a.reader.Open(ctx, debian.Source{URI: f[1], Suite: f[2], Components: f[3:], Keyring: keys})
		if err != nil {
			return nil, err
		}
		a.indexes = append(a.indexes, index)
	}
	return a, nil
}
