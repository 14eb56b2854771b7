package steps

// vendorUnits are what the images start at their first boot and what would undo
// or delay ours:
//   - userconfig waits on a console for a user's name, for ever (userconf-pi);
//   - regenerate_ssh_host_keys deletes the keys that clients know (up to bookworm);
//   - systemd-firstboot asks on the console for a locale and holds up the boot
//     until somebody presses a key, if the machine has more locales than C.UTF-8
//     but no /etc/locale.conf (systemd since trixie; machine-id "uninitialized");
//   - rpi-resize and resize2fs_once grow the root file system, which the agent
//     does itself and knows when it is done.
var vendorUnits = []string{
	"userconfig.service", "regenerate_ssh_host_keys.service", "systemd-firstboot.service", "rpi-resize.service", "resize2fs_once.service",
}

func vendorSteps() []Step {
	masks := Links{What: "vendor's first-boot units", Target: "/dev/null"}
	for _, u := range vendorUnits {
		masks.Paths = append(masks.Paths, "/etc/systemd/system/"+u)
	}
	return []Step{
		masks,
		// cloud-init looks for this file before anything else; trixie's would wait
		// for the network and rename the host.
		Text{What: "cloud-init off", Path: "/etc/cloud/cloud-init.disabled", Content: "Configured by picluster.\n"},
		// userconf-pi's banner: "SSH may not work until a valid user has been set up".
		Absent{What: "banner of an unfinished user", Paths: []string{"/etc/ssh/sshd_config.d/rename_user.conf"}},
	}
}
