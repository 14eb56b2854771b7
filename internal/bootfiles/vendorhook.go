package bootfiles

import (
	"fmt"
	"slices"
	"strings"
)

// ForeignHookError says that the kernel command line starts something at boot
// that is neither the vendor's nor ours. Taking it off would break the image,
// and beside it our hook would not run, so there is no way to go on.
type ForeignHookError struct {
	Word string // the word that does it: "init=/sbin/preinit"
}

func (e ForeignHookError) Error() string {
	return fmt.Sprintf("take over first boot from cmdline.txt: the image has a hook of its own: %s", e.Word)
}

// vendorHooks are the words that start the vendor's work at first boot.
//   - raspi-config's script (stretch to early bullseye) and raspberrypi-sys-mods'
//     (bullseye from 2022-09, bookworm) run instead of init, grow the root
//     partition, give the disk a new identifier and reboot. bookworm's initramfs
//     grows the root file system too if the word firstboot is anywhere in
//     /proc/cmdline.
//   - "resize" makes trixie's initramfs and rpi-resize.service grow it.
var vendorHooks = []string{
	"init=/usr/lib/raspi-config/init_resize.sh",
	"init=/usr/lib/raspberrypi-sys-mods/firstboot",
	"resize",
}

// imagerScripts are the values of systemd.run= that Raspberry Pi Imager writes:
// the second is what bookworm's initramfs turns the first into.
var imagerScripts = []string{"/boot/firstrun.sh", "/boot/firmware/firstrun.sh"}

// imagerCompanions are the words that Imager writes beside systemd.run=; the
// actions have values to choose from.
var imagerCompanions = []string{
	"systemd.run_success_action=",
	"systemd.run_failure_action=",
	"systemd.unit=kernel-command-line.target",
}

// inits are values of init= that change nothing: the system's own.
var inits = []string{"/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd"}

// RemoveHook takes the vendor's first-boot hook off the line, Raspberry Pi
// Imager's included, and returns the words that went. "quiet" stays although the
// vendor adds it together with a hook, and so does "ds=nocloud…", which says
// where cloud-init finds its data but not that it runs. Our own hook stays.
//
// A hook of anybody else is a ForeignHookError, and the line is unchanged.
func (c *Cmdline) RemoveHook() (removed []string, err error) {
	if word := c.foreignHook(); word != "" {
		return nil, ForeignHookError{word}
	}
	imager := slices.ContainsFunc(c.words, isImagerHook)
	var kept []string
	for _, w := range c.words {
		if slices.Contains(vendorHooks, unquote(w)) || isImagerHook(w) || imager && isImagerCompanion(w) {
			removed = append(removed, w)
		} else {
			kept = append(kept, w)
		}
	}
	c.words = kept
	return removed, nil
}

// foreignHook returns the first word that starts something of a third party,
// or "".
func (c *Cmdline) foreignHook() string {
	for _, w := range c.words {
		key, value := argument(w)
		switch {
		case slices.Contains(vendorHooks, unquote(w)) || isImagerHook(w):
		case key == "init" && !slices.Contains(inits, value), key == "systemd.run":
			return w
		}
	}
	if c.rest != nil {
		return strings.Join(c.rest, " ") // arguments for init: ours would be among them
	}
	return ""
}

func isImagerHook(word string) bool {
	key, value := argument(word)
	return key == "systemd.run" && slices.Contains(imagerScripts, value)
}

func isImagerCompanion(word string) bool {
	return slices.ContainsFunc(imagerCompanions, func(c string) bool {
		return word == c || strings.HasSuffix(c, "=") && strings.HasPrefix(word, c)
	})
}

// argument splits a word into key and value. Like the kernel, it takes the
// quotes off around the whole or around the value.
func argument(word string) (key, value string) {
	key, value, _ = strings.Cut(unquote(word), "=")
	return key, unquote(value)
}

func unquote(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, `"`), `"`) }
