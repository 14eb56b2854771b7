# picluster: the first boot of this card starts here.
#
# Run by the command line's init= (see cmdline.txt) as a child of PID 1, before
# systemd: the root file system is mounted read-only, /proc, /sys and this
# partition ($1) are there, nothing else is. Whatever happens below, the caller
# goes on to /sbin/init, so a Pi always boots.
boot=$1
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

# FAT has no journal. A power cut while the boot before wrote to this partition can
# leave entries that the kernel answers by making it read-only, and nothing has checked
# it yet: systemd does so later. By another shell, as this file is on the partition.
# What fsck finds without a name is half of a file that is written anew.
if [ "$2" != checked ] && dmesg | grep -q 'FAT-fs .*Volume was not properly unmounted'; then
	exec sh -c '
		while read -r device dir rest; do
			[ "$dir" = "$1" ] && break
		done </proc/mounts
		umount "$1" && fsck.vfat -a "$device"
		mount "$1"
		rm -f "$1"/FSCK[0-9][0-9][0-9][0-9].REC
		exec sh "$1/picluster/start.sh" "$1" checked' start.sh "$boot"
fi

# Gone, so that what is there afterwards is of this boot, and so that the agent
# finds room for its own on a partition that somebody has filled up.
rm -f "$boot/STATUS.txt"

"$boot/picluster/firstboot" early --boot "$boot"
code=$?

# An agent that could not be started, or was killed, has not been able to say so.
# (CRLF: the file is read in Notepad.)
if [ "$code" -ne 0 ] && ! [ -s "$boot/STATUS.txt" ]; then
	case $code in
	126 | 127) why="It does not run on this Pi ($(uname -m))." ;;
	*) why="It ended without a word." ;;
	esac
	printf '%s\r\n' \
		'This Pi was NOT configured.' \
		"Why: the program picluster/firstboot has exit code $code. $why" \
		'What to do: write the card again with imagebuilder, from an image that fits the board.' \
		>"$boot/STATUS.txt"
fi
sync
