package main

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"picluster/imagebuilder/baseimage"
	"picluster/imagebuilder/bmap"
	"picluster/imagebuilder/card"
	"picluster/imagebuilder/image"
	"picluster/imagebuilder/plan"
	"picluster/internal/cli"
)

// base is a recognised base image, which may still be in the making.
type base struct {
	stream *baseimage.Stream
	info   baseimage.Image
	facts  *image.Facts
	blocks *bmap.Map // of the image, where its file systems do not tell what is in use; usually nil

	mu     sync.Mutex // several cards are written at once
	sha256 string     // of the image, or ""
}

// openBase opens an image and recognises it; assume names a release to take instead
// of the one found. With whole, all of the image is there and right.
func openBase(ctx context.Context, env cli.Env, cacheDir string, src baseimage.Source, assume string, whole bool) (*base, error) {
	stream, err := openSource(ctx, env, cacheDir, src, whole)
	if err != nil {
		return nil, err
	}
	b := &base{stream: stream, info: stream.About()}
	b.sha256 = b.info.SHA256
	if whole {
		if err := b.settle(ctx); err != nil {
			stream.Close()
			return nil, err
		}
	}
	if b.facts, err = recognise(b, assume); err == nil {
		b.blocks = blockMap(env, b, src.Location)
		return b, nil
	}
	// A damaged file looks like a strange image: then this is the better word.
	if damage := b.settle(ctx); damage != nil {
		err = damage
	}
	stream.Close()
	return nil, err
}

func recognise(b *base, assume string) (*image.Facts, error) {
	img, err := image.Open(image.NewOverlay(b.stream, b.info.Size))
	if err == nil {
		var facts *image.Facts
		if facts, err = img.Detect(assume); err == nil {
			return facts, nil
		}
	}
	if image.IsUnknown(err) {
		err = cli.Hint(err, "if you know what it is, say so with --assume bookworm (or another release)")
	}
	return nil, cli.Exit(cli.Usage, err)
}

// blockMap reads the map beside an image file, if it is of any use: what the bitmaps
// of a file system say is better, as they know of zeros that are data.
func blockMap(env cli.Env, b *base, file string) *bmap.Map {
	if card.Understands(image.NewOverlay(b.stream, b.info.Size)) {
		return nil
	}
	blocks, err := bmap.Beside(file)
	if err == nil && blocks != nil && blocks.Size != b.info.Size {
		err = fmt.Errorf("read %s: it is of an image of %d bytes, this one has %d", blocks.Path, blocks.Size, b.info.Size)
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "imagebuilder: warning: all of the image is written, as its block map is no use: %v\n", err)
		return nil
	}
	return blocks
}

// mapped is what of the card's image holds data by the block map, and by what was
// changed since; nil without a map.
func (b *base) mapped(img *patched) []image.Extent {
	if b.blocks == nil {
		return nil
	}
	all := img.ChangedExtents()
	for _, r := range b.blocks.Ranges {
		all = append(all, image.Extent{Start: r.Start, Length: r.Length})
	}
	return image.Merge(all)
}

// settle waits until all of the image is there and right.
func (b *base) settle(ctx context.Context) error {
	digest, err := b.stream.Digest(ctx)
	if err != nil {
		return imageError(err)
	}
	if b.blocks != nil {
		if err := b.blocks.Check(ctx, b.stream); err != nil {
			return cli.Exit(cli.Integrity, cli.Hint(err, "remove the map if it is another image's"))
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sha256 = digest
	return nil
}

// digest is the image's, or what stands for it until it is known.
func (b *base) digest() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return cmp.Or(b.sha256, plan.UnknownDigest)
}

// keep waits until the image is in the cache. That it is not to be had from there
// next time does no harm to the cards that were written.
func (b *base) keep(ctx context.Context, env cli.Env) {
	if _, err := b.stream.Wait(ctx); err != nil {
		fmt.Fprintf(env.Stderr, "imagebuilder: warning: the next card will take as long as this one, as the image is not kept: %v\n", err)
	}
}

func (b *base) Close() error { return b.stream.Close() }
