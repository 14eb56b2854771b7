package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/baseimage"
	"picluster/imagebuilder/card"
	"picluster/imagebuilder/image"
	"picluster/imagebuilder/plan"
	"picluster/internal/cli"
	"picluster/internal/spec"
)

// otpFlag is the name of the flag that says: I know that it is for ever.
const otpFlag = "i-understand-otp-is-permanent"

func registerOTP(f *pflag.FlagSet, ok *bool) {
	f.BoolVar(ok, otpFlag, false, "agree that the card sets the USB boot bit of a Pi 3 for ever")
}

// checkOTP demands the flag for a cluster whose cards set the bit themselves.
func checkOTP(cluster *spec.Cluster, ok bool) error {
	if cluster.Boot.USBBoot != "card" || ok {
		return nil
	}
	return otpRefusal("boot.usbBoot is card")
}

func otpRefusal(why string) error {
	return cli.Exit(cli.Refused, cli.Hint(
		fmt.Errorf("write USB boot bit: %s, and the card would burn the bit into each Pi 3 it is put in; on a 3A+ that ends USB device boot", why),
		"the bit can never be cleared: add --"+otpFlag+", or use boot.usbBoot: agent, which looks at the board first"))
}

func otpCardCommand() cli.Command {
	t := target{verify: true}
	var source, cache string
	var permanent bool
	return cli.Command{
		Name:    "otp-card",
		Args:    "DEVICE",
		Summary: "write a card that only sets the USB boot bit of a Pi 3",
		Details: "Put the card into each Pi 3 once and switch on. The card has the firmware and no system: when the\n" +
			"green light blinks seven times in a row (no kernel found), the bit is set. It is permanent.",
		Examples: []string{"imagebuilder otp-card /dev/sdb --" + otpFlag},
		Flags: func(f *pflag.FlagSet) {
			f.StringVar(&source, "image", "raspios-lite-arm64", "take the firmware from this `image` (path, URL or name)")
			f.BoolVarP(&t.yes, "yes", "y", false, "do not ask")
			f.StringVar(&t.confirm, "confirm", "", "model or serial of the disk, where write demands it")
			registerOTP(f, &permanent)
			registerCache(f, &cache)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			var err error
			if t.path, err = oneOperand(args, "device, as imagebuilder devices lists them"); err != nil {
				return err
			}
			if !permanent {
				return otpRefusal("that is all this card is for")
			}
			b, err := openBase(ctx, env, cache, baseimage.Source{Location: source}, "", true)
			if err != nil {
				return err
			}
			defer b.Close()
			return writeOTPCard(ctx, env, &t, b)
		},
	}
}

func writeOTPCard(ctx context.Context, env cli.Env, t *target, b *base) error {
	img, err := otpImage(b)
	if err != nil {
		return fmt.Errorf("make USB boot card: %w", err)
	}
	device, err := t.prepare(ctx, env, img.Size())
	if err != nil {
		return fmt.Errorf("write USB boot card: %w", err)
	}
	progress := cli.NewProgress(env.Stderr)
	report, err := t.write(ctx, device, img, card.Options{Progress: progress.Show})
	progress.Done()
	if err != nil {
		return fmt.Errorf("write USB boot card: %w", err)
	}
	fmt.Fprintf(env.Stdout, "USB boot card: written and verified, %s\n", cli.Bytes(report.Written))
	fmt.Fprintln(env.Stderr, "Put it into each Pi 3 and switch on. When the green light blinks seven times in a row, the bit is set;\n"+
		"vcgencmd otp_dump then shows 17:3020000a. Do not leave the card in other Pis.")
	return nil
}

// otpImage is the base image without its root partition and its kernels: the
// firmware sets the bit while it reads config.txt, before it looks for a kernel.
func otpImage(b *base) (*image.Overlay, error) {
	whole, err := image.Open(image.NewOverlay(b.stream, b.info.Size))
	if err != nil {
		return nil, err
	}
	boot := whole.BootPartition
	overlay := image.NewOverlay(b.stream, boot.Start+boot.Size)
	if err := dropSecondPartition(overlay); err != nil {
		return nil, err
	}
	img, err := image.OpenBoot(overlay, boot)
	if err != nil {
		return nil, err
	}
	files, err := img.ReadDir("/")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		name := strings.ToLower(f.Name)
		if strings.HasPrefix(name, "kernel") || strings.HasPrefix(name, "initramfs") || name == "cmdline.txt" {
			if err := img.Remove(f.Path); err != nil {
				return nil, err
			}
		}
	}
	config, err := img.ReadFile("config.txt")
	if err != nil {
		return nil, err
	}
	edit := plan.USBBoot
	after, err := edit.Apply(config)
	if err != nil {
		return nil, err
	}
	return overlay, img.WriteFile("config.txt", after, b.info.Released)
}

// dropSecondPartition clears the second entry of the MBR, whose partition is not
// on this card.
func dropSecondPartition(o *image.Overlay) error {
	const table, entry = 446, 16
	sector := make([]byte, 512)
	if _, err := o.ReadAt(sector, 0); err != nil && err != io.EOF {
		return err
	}
	if binary.LittleEndian.Uint16(sector[510:]) != 0xaa55 || sector[table+4] == 0xee {
		return errors.New("read partition table: want an MBR, as Raspberry Pi's images have")
	}
	clear(sector[table+entry : table+4*entry])
	_, err := o.WriteAt(sector, 0)
	return err
}
