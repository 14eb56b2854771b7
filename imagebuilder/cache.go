package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/baseimage"
	"picluster/internal/cli"
)

// cacheVariable names the directory of decompressed images.
const cacheVariable = "PICLUSTER_CACHE"

// registerCache adds the flag that all commands with a base image share.
func registerCache(flags *pflag.FlagSet, dir *string) {
	flags.StringVar(dir, "cache", os.Getenv(cacheVariable), "`directory` of decompressed images (default: the user's cache; "+cacheVariable+")")
}

func cacheCommand() cli.Command {
	var dir string
	return cli.Command{
		Name:     "cache",
		Args:     "list|clear",
		Summary:  "list or clear the decompressed base images",
		Examples: []string{"imagebuilder cache list", "imagebuilder cache clear"},
		Flags:    func(f *pflag.FlagSet) { registerCache(f, &dir) },
		Run: func(_ context.Context, env cli.Env, args []string) error {
			verb, err := oneOperand(args, "action: list or clear")
			if err != nil {
				return err
			}
			cache, err := openCache(dir)
			if err != nil {
				return err
			}
			switch verb {
			case "list":
				return listCache(env, cache)
			case "clear":
				freed, err := cache.Clear()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.Stdout, "%s freed\n", cli.Bytes(freed))
				return err
			}
			return cli.Exit(cli.Usage, fmt.Errorf("read arguments: %q is neither list nor clear", verb))
		},
	}
}

func listCache(env cli.Env, cache *baseimage.Cache) error {
	entries, err := cache.List()
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "IMAGE\tSIZE\tON DISK\tLAST USED\tSHA256")
	for _, e := range entries {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.12s\n", e.Name, cli.Bytes(e.Size), cli.Bytes(e.OnDisk), e.LastUsed.Format("2006-01-02 15:04"), e.SHA256)
	}
	return t.Flush()
}
