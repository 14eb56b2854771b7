package plan

// hook makes the kernel start a shell as PID 1 that runs picluster/start.sh from
// the boot partition and then, whatever came of it, the real init.
//
// The text passes through the kernel, the initramfs and systemd, and each of
// them looks at words of it (facts from their sources):
//   - the kernel hands everything after "--" to init, a quoted part as one
//     argument, so it has to be the end of the line;
//   - Debian's initramfs-tools walks over the words of /proc/cmdline and takes
//     some as orders: no word here may be ro, rw, debug, quiet, break or contain
//     "*"; and on bookworm the word firstboot would start the vendor's resize;
//   - systemd takes lone words such as s, S, single or 1 to 5 as run levels:
//     hence "proc" and "sys" as the names of what is mounted.
//
// The mounts are those of the vendor's own init_resize.sh: without an initramfs
// (Pi kernels before bookworm) nothing is mounted yet, and mount needs /proc and
// /sys to find a PARTUUID.
const hook = `init=/bin/sh -- -c "mount -t proc proc /proc; mount -t sysfs sys /sys; ` +
	`for b in /boot/firmware /boot; do mount $b && { sh $b/picluster/start.sh $b; umount $b; }; done; exec /sbin/init"`

// cgroupArguments switch the memory controller on. Raspberry Pi's kernels have
// it off (linux 6.12 moved the word cgroup_disable=memory into the device tree,
// which the command line overrides), and the kubelet refuses to run without.
var cgroupArguments = []string{"cgroup_enable=cpuset", "cgroup_memory=1", "cgroup_enable=memory"}
