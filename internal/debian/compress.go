package debian

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// errBomb says that a file becomes larger than anything of its kind is.
var errBomb = errors.New("it unpacks to more than it may")

// maxMemory bounds what a decoder takes, in bytes: zstd --ultra --long needs at most
// 128 MiB in what dpkg-deb makes.
const maxMemory = 256 << 20

// decompress reads a file of a form ("", ".gz", ".xz", ".zst") that becomes at
// most so many bytes: more of them is errBomb.
func decompress(r io.Reader, form string, most int64) (io.ReadCloser, error) {
	var plain io.Reader
	release := func() {}
	switch form {
	case "":
		plain = r
	case ".gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		plain = z
	case ".xz":
		// The decoder asks for one byte after the other.
		z, err := xz.NewReader(bufio.NewReaderSize(r, 64<<10))
		if err != nil {
			return nil, err
		}
		plain = z
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(maxMemory), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		plain, release = z, z.Close
	default:
		return nil, fmt.Errorf("its form %q is not known", form)
	}
	return &bounded{plain, most, release}, nil
}

// bounded is a reader that fails, instead of ending, when there is more than it may.
type bounded struct {
	r       io.Reader
	left    int64
	release func()
}

func (b *bounded) Read(p []byte) (int, error) {
	// One byte more than is left tells the end from more.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if int64(n) > b.left {
		n, b.left = int(b.left), 0
		return n, errBomb
	}
	b.left -= int64(n)
	return n, err
}

func (b *bounded) Close() error {
	b.release()
	return nil
}

// readAll is io.ReadAll of at most so many bytes.
func readAll(r io.Reader, most int64) ([]byte, error) {
	return io.ReadAll(&bounded{r: r, left: most})
}
