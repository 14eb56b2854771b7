package steps

import "picluster/internal/node"

// vendorUnits are what the images start at their first boot and what would undo
// or delay ours:
//   - userconfig waits on a console for a user's name, for ever (userconf-pi);
//   - regenerate_ssh_host_keys deletes the keys that clients know (up to bookworm);
//   - systemd-firstboot asks on the console for a locale and holds up the boot
//     until somebody presses a key, if the machine has more locales than C.UTF-8
//     but no /etc/locale.conf (systemd since trixie; machine-id "uninitialized");
//   - sshd-keygen makes host keys of other kinds (openssh-server since trixie), of
//     which nobody's known_hosts knows;
//   - rpi-resize and resize2fs_once grow the root file system, which the agent
//     does itself and knows when it is done.
var vendorUnits = []string{
	"userconfig.service", "regenerate_ssh_host_keys.service", "systemd-firstboot.service", "sshd-keygen.service",
	"rpi-resize.service", "resize2fs_once.service",
}

// Swap of the vendor's. dphys-swapfile makes /var/swap up to bookworm. From
// trixie on rpi-swap's generator writes units, some for zram-generator to read. It
// is told nothing in /etc/rpi/swap.conf.d: with "Mechanism=none" it deletes
// /var/swap at each boot, which may be ours. A generator is masked like a unit
// (systemd.generator(7)).
var vendorSwap = []string{
	"/etc/systemd/system/dphys-swapfile.service",
	"/etc/systemd/system-generators/rpi-swap-generator",
	"/etc/systemd/system-generators/zram-generator",
}

func vendorSteps(c *node.Config) []Step {
	masks := Links{What: "vendor's first-boot units", Target: "/dev/null"}
	for _, u := range vendorUnits {
		masks.Paths = append(masks.Paths, unitDir+u)
	}
	steps := []Step{
		masks,
		// cloud-init looks for this file before anything else; trixie's would wait
		// for the network and rename the host.
		Text{What: "cloud-init off", Path: "/etc/cloud/cloud-init.disabled", Content: "Configured by picluster.\n"},
		// userconf-pi's banner: "SSH may not work until a valid user has been set up".
		Absent{What: "banner of an unfinished user", Paths: []string{"/etc/ssh/sshd_config.d/rename_user.conf"}},
	}
	if c.System.Swap != "keep" {
		steps = append(steps, Links{What: "vendor's swap", Target: "/dev/null", Paths: vendorSwap})
	}
	return steps
}
