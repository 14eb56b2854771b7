package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"picluster/imagebuilder/plan"
	"picluster/imagebuilder/secrets"
	"picluster/internal/cli"
	"picluster/internal/spec"
)

func initCommand() cli.Command {
	return cli.Command{
		Name:    "init",
		Args:    "[DIR]",
		Summary: "write a commented cluster.yaml, and the keys and certificates in secrets/",
		Details: "Running it again changes nothing that is there. After you add nodes or spares to cluster.yaml\n" +
			"it makes what they need.",
		Examples: []string{"imagebuilder init", "imagebuilder init ~/clusters/home"},
		Run: func(_ context.Context, env cli.Env, args []string) error {
			dir := "."
			if len(args) > 0 {
				var err error
				if dir, err = oneOperand(args, "directory"); err != nil {
					return err
				}
			}
			return initialise(env, dir)
		},
	}
}

func initialise(env cli.Env, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(dir, "cluster.yaml")
	created, err := writeExample(file, dir)
	if err != nil {
		return err
	}
	if created {
		fmt.Fprintf(env.Stdout, "created %s\n", file)
	}
	if err := initSecrets(env, file, filepath.Join(dir, "secrets")); err != nil {
		return err
	}
	// Only now with the files that the document names: the operator's key, which
	// it may name, has just been made.
	if _, err := loadSpec(file); err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "Next: edit %s, look at `imagebuilder plan`, write a card with `imagebuilder write DEVICE`.\n", file)
	return nil
}

func initSecrets(env cli.Env, file, dir string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	home, _ := os.UserHomeDir() // without one, only a path that needs it is a mistake
	cluster, err := spec.Parse(file, data, spec.References{Dir: filepath.Dir(file), Home: home})
	if err != nil {
		return cli.Exit(cli.Usage, err)
	}
	_, paths, err := secrets.Init(dir, plan.Want(cluster))
	if err != nil {
		return bundleError(err)
	}
	cards := countCards(len(cluster.Nodes), cluster.Spares)
	if len(paths) == 0 {
		fmt.Fprintf(env.Stdout, "%s has what %s need: nothing to do\n", dir, cards)
		return nil
	}
	fmt.Fprintf(env.Stdout, "created %s in %s for %s\n", cli.Count(len(paths), "file"), dir, cards)
	for _, p := range paths {
		env.Log.Debug("created", "file", p)
	}
	fmt.Fprintf(env.Stderr, "Keep %s safe and to yourself: whoever has it can make cards of this cluster.\n", dir)
	return nil
}

// bundleError adds to errors about the bundle what the reader can do.
func bundleError(err error) error {
	var exposed *secrets.ExposedError
	var other *secrets.OtherClusterError
	switch {
	case errors.As(err, &exposed):
		return cli.Exit(cli.Refused, cli.Hint(err, exposed.Fix()))
	case errors.As(err, &other):
		return cli.Exit(cli.Usage, cli.Hint(err, "a cluster keeps its name for life; another cluster wants a directory of its own"))
	}
	return err
}

// writeExample writes the commented cluster.yaml unless there is one.
func writeExample(file, dir string) (created bool, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	text := bytes.Replace(spec.Example(filepath.Base(abs)), []byte("~/.ssh/id_ed25519.pub"), []byte(usualKey()), 1)
	if _, err := f.Write(text); err != nil {
		f.Close()
		return false, err
	}
	return true, f.Close()
}

// usualKey names the public key that the person most likely logs in with. Who
// has none uses the operator's key of the bundle, which Init makes.
func usualKey() string {
	home, err := os.UserHomeDir()
	for _, name := range []string{"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"} {
		if err != nil {
			break
		}
		if _, err := os.Stat(filepath.Join(home, ".ssh", name)); err == nil {
			return "~/.ssh/" + name
		}
	}
	return "secrets/operator/id_ed25519.pub"
}
