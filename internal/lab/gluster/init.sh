#!/bin/sh
# PID 1 of a node. Its arguments: the directory that outlives it, and its role.
set -e
disk=$1 role=$2

mount -t proc proc /proc
mount -t sysfs sysfs /sys # network devices are those of the node
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/gluster /run/lock
mount --bind "$disk/hosts" /etc/hosts
# What is there already on the test's machine stays as it is.
for dir in etc/glusterfs var/lib; do
	mkdir -p "$disk/upper/$dir" "$disk/workdir/$dir"
	mount -t overlay -o "lowerdir=/$dir,upperdir=$disk/upper/$dir,workdir=$disk/workdir/$dir" overlay "/$dir"
done
for dir in var/log/glusterfs srv tmp; do # the last one may hide the disk
	mkdir -p "$disk/$dir"
	mount --bind "$disk/$dir" "/$dir"
done

ip link set lo up
[ "$role" = client ] || glusterd --pid-file=/run/glusterd.pid
: >/run/ready
# Nobody else reaps what daemons leave behind.
while :; do
	sleep 1000 &
	wait $!
done
