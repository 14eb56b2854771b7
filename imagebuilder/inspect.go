package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/fat"
	"picluster/imagebuilder/image"
	"picluster/internal/cli"
	"picluster/internal/node"
)

func inspectCommand() cli.Command {
	var output, assume string
	return cli.Command{
		Name:    "inspect",
		Args:    "IMAGE|DEVICE",
		Summary: "say what an image or a card is",
		Details: "Takes an .img file, any compressed form that build takes, or a device. Never prints a secret.",
		Examples: []string{
			"imagebuilder inspect 2025-10-01-raspios-trixie-arm64-lite.img.xz",
			"imagebuilder inspect /dev/disk4",
		},
		Flags: func(f *pflag.FlagSet) {
			cli.RegisterOutput(f, &output)
			f.StringVar(&assume, "assume", "", "take the image for this `release` when it does not tell")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			path, err := oneOperand(args, "image or device")
			if err != nil {
				return err
			}
			if err := cli.CheckOutput(output); err != nil {
				return err
			}
			disk, size, err := openImage(ctx, env, path)
			if err != nil {
				return err
			}
			defer disk.Close()
			found, err := inspect(disk, size, assume)
			if err != nil {
				return fmt.Errorf("inspect %s: %w", path, err)
			}
			if output == "json" {
				return cli.WriteJSON(env.Stdout, found)
			}
			return found.print(env.Stdout)
		},
	}
}

// inspection is what inspect prints; the JSON form is for scripts.
type inspection struct {
	Version int          `json:"version"`
	Size    int64        `json:"size"`
	Table   *image.Table `json:"table"`
	Release string       `json:"release"`
	Facts   *image.Facts `json:"facts"`
	Boot    fat.Geometry `json:"boot"`
	Card    *inspectCard `json:"card,omitempty"`
}

// inspectCard is what is told of one of our cards.
type inspectCard struct {
	Node       string `json:"node"`
	Role       string `json:"role"`
	Cluster    string `json:"cluster"`
	ClusterID  string `json:"clusterID"`
	Generation int    `json:"generation,omitempty"`
	Agent      string `json:"agent"`
	Written    string `json:"made"`
}

func inspect(disk io.ReaderAt, size int64, assume string) (*inspection, error) {
	// An overlay, because an image may be opened for reading only.
	img, err := image.Open(image.NewOverlay(disk, size))
	if err != nil {
		return nil, err
	}
	facts, err := img.Detect(assume)
	if err != nil {
		return nil, err
	}
	boot, err := img.LookAtBoot()
	if err != nil {
		return nil, err
	}
	found := &inspection{Version: 1, Size: size, Table: img.Table, Release: facts.Release.Name, Facts: facts, Boot: boot.Geometry()}
	c, err := nodeOn(boot)
	if err != nil {
		return nil, err
	}
	if c != nil {
		found.Card = &inspectCard{Node: c.Name, Role: string(c.Role), Cluster: c.Cluster.Name, ClusterID: c.Cluster.ID,
			Agent: c.Build.Tool, Written: c.Build.Time.Format("2006-01-02")}
		if c.Join != nil {
			found.Card.Generation = c.Join.Generation
		}
	}
	return found, nil
}

// nodeOn reads the node.json of a card; nil where there is none, as on a stock
// image and on a card that has been in a Pi.
func nodeOn(boot *fat.Volume) (*node.Config, error) {
	data, err := boot.ReadFile("picluster/node.json")
	if err != nil {
		return nil, nil
	}
	return node.Parse(data)
}

func (f *inspection) print(w io.Writer) error {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s"+format+"\n", append([]any{name}, args...)...)
	}
	built := ""
	if f.Facts.Built != "" {
		built = fmt.Sprintf(", built %s", f.Facts.Built)
	}
	row("release", "%s, %s%s (by %s)", f.Release, f.Facts.Arch, built, f.Facts.Evidence)
	row("size", "%s", cli.Bytes(f.Size))
	row("table", "%s, id %s", f.Table.Scheme, f.Table.ID)
	for _, p := range f.Table.Partitions {
		row(fmt.Sprintf("partition %d", p.Number), "type %s, at %s, %s, PARTUUID %s", p.Type, cli.Bytes(p.Start), cli.Bytes(p.Size), p.UUID)
	}
	g := f.Boot
	row("boot", "FAT32 %q, clusters of %d bytes, %s free of %s", g.Label, g.ClusterSize,
		cli.Bytes(g.FreeClusters*g.ClusterSize), cli.Bytes(g.Clusters*g.ClusterSize))
	switch {
	case f.Facts.Hook != "":
		row("first boot", "the vendor's: %s", f.Facts.Hook)
	case f.Card != nil:
		row("first boot", "picluster's")
	default:
		row("first boot", "none: this has been booted, or is no stock image")
	}
	if c := f.Card; c != nil {
		row("card", "%s (%s) of cluster %s, made %s", c.Node, c.Role, c.Cluster, c.Written)
		row("agent", "firstboot %s", c.Agent)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
