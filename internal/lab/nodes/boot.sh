#!/bin/sh
# Starts a node, in mounts of its own. Its arguments: its name, its directory, the root
# that its disk begins with, the name of its cgroups, and what else is for nspawn.
set -e
name=$1 dir=$2 root=$3 cgroup=$4
shift 4

# One cgroup in each hierarchy is all that the node sees of it.
for hierarchy in /sys/fs/cgroup/*/; do
	mkdir -p "$hierarchy$cgroup"
	for file in cpuset.cpus cpuset.mems; do # a new one has no processors
		[ ! -e "$hierarchy$file" ] || cat "$hierarchy$file" >"$hierarchy$cgroup/$file"
	done
	echo $$ >"$hierarchy$cgroup/cgroup.procs"
done

mount -t overlay -o "lowerdir=$root,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/root"

# What the hook on a card's kernel command line does, with a kernel that has started
# already. Whatever happens, the node boots.
card=/boot/firmware
if grep -qs picluster/start.sh "$dir/root$card/cmdline.txt"; then
	"$dir/root$card/picluster/firstboot" early --root "$dir/root" --boot $card || true
fi

# nspawn mounts cgroups of the first version for reading only. The kubelet and runc make
# some of their own, and systemd has to have them writable from its start: what it once
# could not make it takes for made. So PID 1 is a shell for a moment.
init='for hierarchy in /sys/fs/cgroup/*/; do mount -o remount,bind,rw "$hierarchy"; done; exec /lib/systemd/systemd "$@"'

# Legacy: controllers in cgroup v1, which systemd 257 has to be told twice; it reads
# what would be the kernel's command line from its own arguments. Keys, devices and
# programs for the kernel are for the node to use, as on a machine of its own.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0 SYSTEMD_SECCOMP=0 SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
exec systemd-nspawn --quiet --directory="$dir/root" --machine="$name" --register=no --keep-unit --private-network \
	--capability=all --drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE --resolv-conf=off --timezone=off --link-journal=no \
	--console=read-only --bind=/dev/kmsg --bind=/dev/fuse --bind-ro=/sys/module "$@" -- \
	/bin/sh -c "$init" systemd systemd.unified_cgroup_hierarchy=no SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
