# picluster: the first boot of this card starts here.
#
# Run by the command line's init= (see cmdline.txt) as a child of PID 1, before
# systemd: the root file system is mounted read-only, /proc, /sys and this
# partition ($1) are there, nothing else is. Whatever happens below, the caller
# goes on to /sbin/init, so a Pi always boots.
boot=$1
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

"$boot/picluster/firstboot" early --boot "$boot"
code=$?

# 126 and 127: the shell was not able to start the agent at all, so nobody but
# this script can tell. (CRLF: the file is read in Notepad.)
case $code in
126 | 127)
	machine=$(uname -m)
	printf '%s\r\n' \
		'This card was NOT configured.' \
		"The program picluster/firstboot does not run on this Pi ($machine), exit code $code." \
		'Write the card again with imagebuilder, from an image that fits the board.' \
		>"$boot/STATUS.txt"
	;;
esac
sync
