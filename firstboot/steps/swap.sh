#!/bin/sh
# picluster-swap start|stop: swap in compressed memory, as large as the memory
# itself but at most 2 GiB. Pages shrink to about a third, so that a full device
# takes a third of the memory.
set -eu
state=/run/picluster-swap # the device that start has made

# A free device, or a new one: the module's first is there when it is loaded.
device() {
	for size in /sys/block/zram*/disksize; do
		if [ -e "$size" ] && [ "$(cat "$size")" = 0 ]; then
			basename "${size%/disksize}"
			return
		fi
	done
	echo "zram$(cat /sys/class/zram-control/hot_add)"
}

in_use() {
	[ -e $state ] && grep -q "^$(cat $state) " /proc/swaps
}

stop() {
	[ -e $state ] || return 0
	name=$(basename "$(cat $state)")
	if in_use; then swapoff "/dev/$name"; fi
	echo 1 >"/sys/block/$name/reset"
	rm $state
	echo 3 >/proc/sys/vm/page-cluster # the kernel's default
}

start() {
	if in_use; then return; fi
	stop # what a start has left that did not come to its end
	[ -e /sys/class/zram-control ] || modprobe zram
	name=$(device)
	# The best that this kernel has; it refuses the others.
	for algorithm in zstd lzo-rle lz4 lzo; do
		if echo $algorithm 2>/dev/null >"/sys/block/$name/comp_algorithm"; then break; fi
	done
	size=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
	if [ "$size" -gt 2097152 ]; then size=2097152; fi
	echo "/dev/$name" >$state
	echo "${size}K" >"/sys/block/$name/disksize"
	mkswap "/dev/$name" >/dev/null
	swapon --priority 100 "/dev/$name"
	# Memory has no heads to move: reading a page's neighbours too only costs time
	# (page-cluster in the kernel's admin-guide/sysctl/vm.rst).
	echo 0 >/proc/sys/vm/page-cluster
}

case "$*" in
start) start ;;
stop) stop ;;
*)
	echo "usage: picluster-swap start|stop" >&2
	exit 2
	;;
esac
