#!/bin/sh
# Started as PID 1 by the hook on the kernel command line, from the FAT: lets the
# test in as root and takes the hook off again.
dir=${0%/*}
echo "hook: pid $$, arguments $*" > /dev/console
mount -o remount,rw /
mkdir -p -m 700 /root/.ssh
cp "$dir/authorized_keys" /root/.ssh/authorized_keys
chmod 600 /root/.ssh/authorized_keys
rm -f /etc/ssh/ssh_host_*
cp "$dir/host_key" /etc/ssh/ssh_host_ed25519_key
chmod 600 /etc/ssh/ssh_host_ed25519_key
ln -sf /usr/lib/systemd/system/ssh.service /etc/systemd/system/multi-user.target.wants/ssh.service
rm -f /etc/systemd/system/multi-user.target.wants/regenerate_ssh_host_keys.service
rm -f /etc/systemd/system/multi-user.target.wants/userconfig.service
cp "$dir/cmdline.txt" "$dir/../cmdline.txt"
sync
umount "$dir/.."
exec /sbin/init
