package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/card"
	"picluster/imagebuilder/image"
	"picluster/imagebuilder/secrets"
	"picluster/internal/cli"
	"picluster/internal/node"
)

func verifyCommand() cli.Command {
	var file, name string
	return cli.Command{
		Name:    "verify",
		Args:    "DEVICE",
		Summary: "is what is on a card still what was written to it?",
		Details: "Compares the card with the sums that write kept in secrets/. It is for cards that have not been\n" +
			"in a Pi yet: the first boot changes a card.",
		Examples: []string{"imagebuilder verify /dev/sdb"},
		Flags: func(f *pflag.FlagSet) {
			f.StringVarP(&file, "file", "f", "cluster.yaml", "the cluster's `file`: the sums are in secrets/ beside it")
			f.StringVar(&name, "node", "", "the `node` whose card it is, if the card itself does not tell any more")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			path, err := oneOperand(args, "device")
			if err != nil {
				return err
			}
			bundle, err := secrets.Open(filepath.Join(filepath.Dir(file), "secrets"))
			if err != nil {
				return bundleError(err)
			}
			return verifyCard(ctx, env, bundle, path, name)
		},
	}
}

func verifyCard(ctx context.Context, env cli.Env, bundle *secrets.Bundle, path, name string) error {
	device, err := card.Find(path)
	if err != nil {
		return deviceError(err)
	}
	entry, err := findEntry(ctx, env, bundle, path, name)
	if err != nil {
		return err
	}
	text, err := bundle.Sums(entry)
	if err != nil {
		return err
	}
	var sums card.Sums
	if err := sums.UnmarshalText(text); err != nil {
		return fmt.Errorf("read what was written for %s: %w", entry.Node, err)
	}
	progress := cli.NewProgress(env.Stderr)
	differ, err := card.Compare(ctx, device, &sums, func(done, total int64) { progress.Show("verify", done, total) })
	progress.Done()
	if err != nil {
		return deviceError(err)
	}
	if len(differ) == 0 {
		_, err := fmt.Fprintf(env.Stdout, "%s: the card of %s is as it was written on %s (%s compared)\n",
			path, entry.Node, entry.Time.Format("2006-01-02"), cli.Bytes(sums.Bytes()))
		return err
	}
	var bytes int64
	for _, c := range differ {
		bytes += c.Length
	}
	return cli.Exit(cli.Integrity, cli.Hint(
		fmt.Errorf("verify %s: the card of %s differs from what was written in %s of %s, first within %s at byte %d",
			path, entry.Node, cli.Count(len(differ), "piece"), cli.Count(len(sums.Chunks), "piece"), cli.Bytes(bytes), differ[0].Start),
		"a card that has been in a Pi always differs; any other one should be written again, and thrown away if it happens twice"))
}

// findEntry finds the record of a card by what the card says, or by its node.
func findEntry(ctx context.Context, env cli.Env, bundle *secrets.Bundle, path, name string) (secrets.Entry, error) {
	ledger, err := bundle.Ledger()
	if err != nil {
		return secrets.Entry{}, err
	}
	id := ""
	if name == "" {
		config, err := readNode(ctx, env, path)
		if err != nil {
			return secrets.Entry{}, cli.Exit(cli.Integrity, cli.Hint(fmt.Errorf("find out whose card %s is: %w", path, err),
				"after its first boot a card does not tell any more; --node NAME compares it all the same"))
		}
		if name = config.Name; config.Join != nil {
			id = config.Join.CardID
		}
	}
	for i := len(ledger.Written) - 1; i >= 0; i-- {
		if e := ledger.Written[i]; e.Node == name && (id == "" || e.CardID == id) {
			return e, nil
		}
	}
	return secrets.Entry{}, cli.Exit(cli.Usage, fmt.Errorf("find record of the card of %s: it was not written from here", name))
}

// readNode reads the node.json on a card that has not been in a Pi.
func readNode(ctx context.Context, env cli.Env, path string) (*node.Config, error) {
	disk, size, err := openImage(ctx, env, path)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	img, err := image.Open(image.NewOverlay(disk, size))
	if err != nil {
		return nil, err
	}
	boot, err := img.LookAtBoot()
	if err != nil {
		return nil, err
	}
	config, err := nodeOn(boot)
	if err == nil && config == nil {
		err = errors.New("there is no picluster/node.json on it")
	}
	return config, err
}
