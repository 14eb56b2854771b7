#!/bin/sh
# picluster-storage start|stop FILE: a loop device for the file of this node's
# storage. The device is found by its file, because its number depends on who else
# has one; /dev/picluster/storage leads to it.
set -eu
link=/dev/picluster/storage

devices() {
	losetup --associated "$1" | cut -d : -f 1
}

start() {
	if [ -z "$(devices "$1")" ]; then
		# Direct I/O, so that data are not cached twice. Not every file system has
		# it; then the device may be there all the same.
		losetup --find --direct-io=on "$1" || [ -n "$(devices "$1")" ] || losetup --find "$1"
	fi
	device=$(devices "$1" | head -n 1)
	mkdir -p "${link%/*}"
	ln -sfn "../${device#/dev/}" "$link"
}

stop() {
	rm -f "$link"
	for device in $(devices "$1"); do
		losetup --detach "$device"
	done
}

case "$#:${1-}" in
2:start) start "$2" ;;
2:stop) stop "$2" ;;
*)
	echo "usage: picluster-storage start|stop FILE" >&2
	exit 2
	;;
esac
