package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/plan"
	"picluster/internal/cli"
)

func buildCommand() cli.Command {
	var p projectFlags
	var node, out string
	var all, otp bool
	return cli.Command{
		Name:    "build",
		Summary: "write patched image files instead of cards",
		Details: "Needs no root, no mount and no other program. The same inputs and secrets give the same bytes.\n" +
			"The files hold secrets (Wi-Fi, keys): they are made readable by you alone.",
		Examples: []string{"imagebuilder build --all --out images", "imagebuilder build --node raspberrypi-node0 --out images"},
		Flags: func(f *pflag.FlagSet) {
			p.register(f)
			f.StringVar(&node, "node", "", "the card of this `node` (or spare-1 …)")
			f.BoolVar(&all, "all", false, "the cards of all nodes and spares")
			f.StringVar(&out, "out", "", "`directory` for the images")
			registerOTP(f, &otp)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if (node == "") == !all {
				return cli.Exit(cli.Usage, errors.New("read flags: give --node NAME or --all"))
			}
			if out == "" {
				return cli.Exit(cli.Usage, errors.New("read flags: name the directory with --out"))
			}
			project, err := p.load()
			if err != nil {
				return err
			}
			if err := checkOTP(project.cluster, otp); err != nil {
				return err
			}
			b, made, err := p.planCards(ctx, env, project, node)
			if err != nil {
				return err
			}
			defer b.Close()
			if err := refuseExpired(project, made.Cards); err != nil {
				return err
			}
			return buildCards(ctx, env, b, made, out)
		},
	}
}

func buildCards(ctx context.Context, env cli.Env, b *base, p *plan.Plan, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	progress := cli.NewProgress(env.Stderr)
	for _, c := range p.Cards {
		img, err := patchCard(b, p, c)
		if err != nil {
			return fmt.Errorf("patch image for %s: %w", c.Config.Name, err)
		}
		path := filepath.Join(dir, c.Config.Name+".img")
		err = writeImage(ctx, path, img, func(done int64) { progress.Show(c.Config.Name, done, img.Size()) })
		progress.Done()
		if err != nil {
			return fmt.Errorf("write image %s: %w", path, err)
		}
		fmt.Fprintf(env.Stdout, "%s  %s, %s changed\n", path, cli.Bytes(img.Size()), cli.Count(len(img.changes), "file"))
	}
	return nil
}

// writeImage writes the image under a temporary name and renames it when it is
// whole. Runs of zeros become holes: the file is new, so they read as zeros.
func writeImage(ctx context.Context, path string, img *patched, progress func(done int64)) (err error) {
	f, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	const chunk = 1 << 20
	buf, zero := make([]byte, chunk), make([]byte, chunk)
	for off := int64(0); off < img.Size(); off += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := img.ReadAt(buf[:min(chunk, img.Size()-off)], off)
		if err != nil && err != io.EOF {
			return err
		}
		if string(buf[:n]) != string(zero[:n]) {
			if _, err := f.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		progress(off + int64(n))
	}
	if err := f.Truncate(img.Size()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
