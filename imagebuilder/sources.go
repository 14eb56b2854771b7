package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"picluster/imagebuilder/baseimage"
	"picluster/imagebuilder/card"
	"picluster/internal/cli"
)

// listURLVariable names another list of images than Raspberry Pi's, for a mirror.
const listURLVariable = "PICLUSTER_IMAGE_LIST"

func openCache(dir string) (*baseimage.Cache, error) { return baseimage.OpenCache(dir) }

// openSource opens a base image, showing how far it is: until it can be read from,
// or, with whole, until all of it is there and right.
func openSource(ctx context.Context, env cli.Env, cacheDir string, src baseimage.Source, whole bool) (*baseimage.Stream, error) {
	cache, err := openCache(cacheDir)
	if err != nil {
		return nil, err
	}
	progress := cli.NewProgress(env.Stderr)
	var mu sync.Mutex
	over := false
	stream, err := baseimage.Open(ctx, src, baseimage.Options{
		Cache: cache, Log: env.Log, ListURL: os.Getenv(listURLVariable),
		Progress: func(p baseimage.Progress) {
			mu.Lock()
			defer mu.Unlock()
			if !over {
				progress.Show(p.Stage, p.Done, p.Total)
			}
		},
	})
	if err == nil && whole {
		if _, err = stream.Wait(ctx); err != nil {
			stream.Close()
		}
	}
	mu.Lock()
	over = true
	mu.Unlock()
	progress.Done()
	if err != nil {
		return nil, imageError(err)
	}
	if info := stream.About(); !info.Verified && !info.InPlace {
		fmt.Fprintf(env.Stderr, "imagebuilder: warning: nothing says what the digest of %s should be; image.sha256 in cluster.yaml would\n", info.Name)
	}
	return stream, nil
}

// imageError gives errors of package baseimage their exit code and a hint.
func imageError(err error) error {
	var digest *baseimage.DigestError
	var corrupt *baseimage.CorruptError
	var download *baseimage.DownloadError
	var space *baseimage.SpaceError
	var unknown *baseimage.UnknownNameError
	var format *baseimage.FormatError
	var size *baseimage.SizeError
	switch {
	case errors.As(err, &digest):
		return cli.Exit(cli.Integrity, cli.Hint(err, "compare the digest with the publisher's, then download the file again"))
	case errors.As(err, &corrupt):
		return cli.Exit(cli.Integrity, cli.Hint(err, "download it again"))
	case errors.As(err, &download):
		return cli.Exit(cli.Device, cli.Hint(err, "run it again to go on where it stopped; --image takes a file that you have"))
	case errors.As(err, &space):
		return cli.Exit(cli.Device, cli.Hint(err, "imagebuilder cache clear removes what can be made again; --cache DIR uses another disk"))
	case errors.As(err, &unknown), errors.As(err, &format), errors.As(err, &size), errors.Is(err, os.ErrNotExist):
		return cli.Exit(cli.Usage, err)
	}
	return err
}

// readerCloser is an image that is open for reading.
type readerCloser interface {
	io.ReaderAt
	io.Closer
}

// openImage opens an image file in any form, or a disk, for looking at it. size
// is in bytes.
func openImage(ctx context.Context, env cli.Env, path string) (readerCloser, int64, error) {
	device, err := card.Find(path)
	if err != nil {
		return nil, 0, cli.Exit(cli.Usage, err)
	}
	if device.IsFile() && device.Size == 0 {
		return nil, 0, cli.Exit(cli.Usage, fmt.Errorf("find image: %s is empty, or does not exist", path))
	}
	f, err := os.Open(device.Path)
	if err != nil {
		return nil, 0, cli.Exit(cli.Device, cli.Hint(err, card.Hint(err)))
	}
	if !device.IsFile() || isDisk(f) {
		return f, device.Size, nil
	}
	f.Close()
	stream, err := openSource(ctx, env, os.Getenv(cacheVariable), baseimage.Source{Location: path}, true)
	if err != nil {
		return nil, 0, err
	}
	return stream, stream.About().Size, nil
}

// isDisk reports whether a file begins as a disk does. Such a file is looked at
// where it is; anything else has to be decompressed first, or is no image.
func isDisk(f io.ReaderAt) bool {
	signature := make([]byte, 2)
	_, err := f.ReadAt(signature, 510)
	return err == nil && signature[0] == 0x55 && signature[1] == 0xaa
}
