# picluster: the first boot of this card starts here.
#
# Run by the command line's init= (see cmdline.txt) as a child of PID 1, before
# systemd: the root file system is mounted read-only, /proc, /sys and this
# partition ($1) are there, nothing else is. Whatever happens below, the caller
# goes on to /sbin/init, so a Pi always boots.
boot=$1
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

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
