package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/card"
	"picluster/internal/cli"
)

func devicesCommand() cli.Command {
	var all bool
	var output string
	return cli.Command{
		Name:     "devices",
		Summary:  "list the disks that may be cards",
		Details:  "Lists removable disks. Nothing is written, and no permission on the disks is needed.",
		Examples: []string{"imagebuilder devices", "imagebuilder devices --all -o json"},
		Flags: func(f *pflag.FlagSet) {
			f.BoolVar(&all, "all", false, "built-in disks too")
			cli.RegisterOutput(f, &output)
		},
		Run: func(_ context.Context, env cli.Env, args []string) error {
			if err := cli.CheckOutput(output); err != nil {
				return err
			}
			found, err := card.List()
			if err != nil {
				return err
			}
			shown := []*card.Device{}
			for _, d := range found {
				if d.Removable || all {
					shown = append(shown, d)
				}
			}
			return showDevices(env, output, shown)
		},
	}
}

func showDevices(env cli.Env, output string, devices []*card.Device) error {
	if output == "json" {
		return cli.WriteJSON(env.Stdout, struct {
			Version int            `json:"version"`
			Devices []*card.Device `json:"devices"`
		}{1, devices})
	}
	if len(devices) == 0 {
		fmt.Fprintln(env.Stderr, "No removable disk is here. Is the card in its reader? --all lists built-in disks too.")
		return nil
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "DEVICE\tSIZE\tBUS\tMODEL\tSERIAL\tWHAT IS ON IT")
	for _, d := range devices {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Path, cli.Bytes(d.Size), d.Bus, cmp.Or(d.Model, "-"), cmp.Or(d.Serial, "-"), volumes(d))
	}
	return t.Flush()
}

// volumes names what is on a disk in a few words: `vfat "bootfs", ext4 "rootfs"`.
func volumes(d *card.Device) string {
	var all []string
	for _, v := range d.Volumes {
		text := cmp.Or(v.Type, "?")
		if v.Label != "" {
			text += fmt.Sprintf(" %q", v.Label)
		}
		for _, m := range v.Mounts {
			text += " at " + m
		}
		if v.Swap {
			text += " in use as swap"
		}
		if len(v.Holders) > 0 {
			text += " held by " + strings.Join(v.Holders, ", ")
		}
		all = append(all, text)
	}
	return cmp.Or(strings.Join(all, ", "), "-")
}
