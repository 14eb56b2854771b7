package steps

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/step"
)

// ClusterAddress wants the node's fixed address on an interface that has a link, and
// nobody else in the network to have it.
type ClusterAddress struct {
	Interfaces []string
	Address    netip.Prefix
	Limit      time.Duration
}

func (s ClusterAddress) Name() string { return "cluster address" }

// Check implements Step.
func (s ClusterAddress) Check(ctx context.Context, h host.Host) (string, error) {
	var up []string
	here := ""
	for _, name := range s.Interfaces {
		l, err := findLink(ctx, h, name)
		if err != nil {
			return "", err
		}
		if !l.carrier {
			continue
		}
		up = append(up, name)
		if here == "" && slices.Contains(l.addresses, s.Address) {
			here = name
		}
	}
	if here == "" && len(up) == 0 {
		return fmt.Sprintf("%s is nowhere, because no interface has a link", s.Address), nil
	}
	on := here
	if on == "" {
		on = up[0]
	}
	other, err := s.holder(ctx, h, on)
	switch {
	case err != nil:
		return "", err
	case other != "":
		return fmt.Sprintf("the cluster address %s is in use by another device, with the MAC address %s", s.Address.Addr(), other), nil
	case here == "":
		return fmt.Sprintf("%s is not on %s", s.Address, on), nil
	}
	return "", nil
}

// Apply implements Step. The network manager sets the address; the other device is
// for a person to find.
func (s ClusterAddress) Apply(ctx context.Context, h host.Host) error {
	return step.Wait{For: "the cluster address", Limit: s.Limit, Every: 5 * time.Second}.Until(ctx, func(ctx context.Context) error {
		drift, err := s.Check(ctx, h)
		if err == nil && drift != "" {
			err = errors.New(drift)
		}
		return err
	})
}

var macAddress = regexp.MustCompile(`\[([0-9A-Fa-f:]{17})\]`)

// holder is the MAC address of another device that answers for the address, by the
// probe of RFC 5227. busybox has the program on every release (initramfs-tools needs
// it); without it nothing can be said. With the cable in and Wi-Fi on, this Pi
// answers its own probe from its other interface.
func (s ClusterAddress) holder(ctx context.Context, h host.Host, device string) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"busybox", "arping", "-D", "-c", "2", "-w", "2", "-I", device, s.Address.Addr().String()}})
	var exit *host.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	own, err := ownAddresses(ctx, h)
	if err != nil {
		return "", err
	}
	for _, m := range macAddress.FindAllStringSubmatch(string(out), -1) {
		if mac := strings.ToLower(m[1]); !slices.Contains(own, mac) {
			return mac, nil
		}
	}
	return "", nil
}

func ownAddresses(ctx context.Context, h host.Host) ([]string, error) {
	names, err := h.ReadDir(ctx, sysNet)
	if err != nil {
		return nil, err
	}
	var macs []string
	for _, name := range names {
		// bonding_masters in there is a file; an interface may go while we read.
		if data, err := h.ReadFile(ctx, path.Join(sysNet, name, "address")); err == nil {
			macs = append(macs, strings.ToLower(strings.TrimSpace(string(data))))
		}
	}
	return macs, nil
}
