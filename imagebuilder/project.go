package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/baseimage"
	"picluster/imagebuilder/fat"
	"picluster/imagebuilder/image"
	"picluster/imagebuilder/patch"
	"picluster/imagebuilder/plan"
	"picluster/imagebuilder/secrets"
	"picluster/internal/cli"
	"picluster/internal/payload"
	"picluster/internal/spec"
	"picluster/internal/version"
)

// project is what the commands about a cluster start from: its file and the
// bundle of secrets beside it.
type project struct {
	cluster *spec.Cluster
	bundle  *secrets.Bundle
	payload *plan.Payload // nil: none
}

// projectFlags are the flags of every command about a cluster.
type projectFlags struct {
	file   string
	image  string
	agents string
	cache  string
	assume string
	bare   bool // no payload
}

func (f *projectFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&f.file, "file", "f", "cluster.yaml", "the cluster's `file`")
	flags.StringVar(&f.image, "image", "", "use this `image` (path or URL) instead of the one cluster.yaml names")
	flags.StringVar(&f.assume, "assume", "", "take the image for this `release` (trixie, bookworm …) when it does not tell")
	flags.StringVar(&f.agents, "agents", os.Getenv("PICLUSTER_AGENTS"), "`directory` of the firstboot binaries (default: beside imagebuilder; PICLUSTER_AGENTS)")
	flags.BoolVar(&f.bare, "no-payload", false, "leave the payload that imagebuilder bundle gathered off the cards")
	registerCache(flags, &f.cache)
}

// load reads cluster.yaml and opens the bundle.
func (f *projectFlags) load() (*project, error) {
	cluster, err := loadSpec(f.file)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(filepath.Dir(f.file), "secrets")
	bundle, err := secrets.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Exit(cli.Usage, cli.Hint(err, fmt.Sprintf("make it with: imagebuilder init %s", filepath.Dir(f.file))))
	}
	if err != nil {
		return nil, bundleError(err)
	}
	p := &project{cluster: cluster, bundle: bundle}
	if !f.bare && cluster.Kubernetes.Enabled {
		p.payload, err = loadPayload(payloadDir(f.file))
	}
	return p, err
}

// loadSpec reads cluster.yaml; what is wrong in it ends the program with the
// code for wrong use.
func loadSpec(file string) (*spec.Cluster, error) {
	cluster, err := spec.Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Exit(cli.Usage, cli.Hint(err, "imagebuilder init writes one; -f names another"))
	}
	if err != nil {
		return nil, cli.Exit(cli.Usage, err)
	}
	return cluster, nil
}

// openBase opens the base image of a cluster and recognises it. With whole, all of
// it is there and right.
func (f *projectFlags) openBase(ctx context.Context, env cli.Env, cluster *spec.Cluster, whole bool) (*base, error) {
	// A file is where cluster.yaml says, seen from there; the path is empty for all else.
	source := baseimage.Source{Location: cmp.Or(cluster.Image.Path, cluster.Image.Source), SHA256: cluster.Image.SHA256}
	if f.image != "" {
		source = baseimage.Source{Location: f.image}
	}
	return openBase(ctx, env, f.cache, source, f.assume, whole)
}

// planCards obtains the whole base image and plans the card of one node, or of all
// where none is named. The base is the caller's to close.
func (f *projectFlags) planCards(ctx context.Context, env cli.Env, p *project, node string) (*base, *plan.Plan, error) {
	cards, err := p.chooseCards(node)
	if err != nil {
		return nil, nil, err
	}
	if err := lookForAgents(f.agents); err != nil {
		return nil, nil, err
	}
	b, err := f.openBase(ctx, env, p.cluster, true)
	if err != nil {
		return nil, nil, err
	}
	made, err := f.makePlan(p, b, cards)
	if err != nil {
		b.Close()
		return nil, nil, err
	}
	return b, made, nil
}

// makePlan plans the named cards.
func (f *projectFlags) makePlan(p *project, b *base, cards []string) (*plan.Plan, error) {
	agent, err := readAgent(f.agents, b.facts.Arch)
	if err != nil {
		return nil, err
	}
	made, err := plan.Make(plan.Inputs{
		Cluster: p.cluster, Secrets: p.bundle, Cards: cards,
		Base:  plan.Base{Name: b.info.Name, SHA256: b.digest(), Size: b.info.Size, Facts: b.facts},
		Agent: agent, Payload: p.payload, Tool: version.String(),
	})
	if mismatch := (*payload.MismatchError)(nil); errors.As(err, &mismatch) {
		err = cli.Hint(err, "imagebuilder bundle gathers the right one; --no-payload does without")
	}
	if err != nil {
		return nil, cli.Exit(cli.Usage, err)
	}
	return made, nil
}

// patched is a base image under an overlay of its own, in memory, and one card's
// changes.
type patched struct {
	*image.Overlay
	boot    *fat.Volume
	changes []patch.Change
}

// previewCard computes a card's changes without making them.
func previewCard(b *base, p *plan.Plan, c plan.Card) (*patched, error) {
	overlay := image.NewOverlay(b.stream, b.info.Size)
	img, err := image.Open(overlay)
	if err != nil {
		return nil, err
	}
	boot, err := img.Boot()
	if err != nil {
		return nil, err
	}
	changes, err := patch.Preview(boot, p.EditsOf(c))
	if err != nil {
		return nil, err
	}
	return &patched{overlay, boot, changes}, nil
}

// patchCard lays a card's edits over the base.
func patchCard(b *base, p *plan.Plan, c plan.Card) (*patched, error) {
	card, err := previewCard(b, p, c)
	if err != nil {
		return nil, err
	}
	if err := patch.Apply(card.boot, card.changes, p.Time); err != nil {
		if errors.Is(err, fat.ErrFull) && c.Config.Kubernetes != nil && c.Config.Kubernetes.Payload != "" {
			err = cli.Exit(cli.Usage, cli.Hint(err, "the payload does not fit onto this image's boot partition; --no-payload does without"))
		}
		return nil, err
	}
	return card, nil
}
