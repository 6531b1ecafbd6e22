#!/bin/sh
# Becomes systemd as the first process of a machine: in fresh mount, process, cgroup and host name namespaces, with a
# root of its own over that of this host, whose changes go when it ends. $1: where the root is put together.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t bpf -o mode=700 bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
for folder in run tmp dev; do mount -t tmpfs tmpfs $folder; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for device in null zero full random urandom tty; do cp -a /dev/$device dev/; done

# Of the host's services none may start, nor what would change the kernel for all.
rm -rf lib/systemd/system/*.wants etc/systemd/system/*.wants usr/sbin/policy-rc.d
cat > etc/systemd/system/machine.target <<TARGET
[Unit]
DefaultDependencies=no
Requires=systemd-journald.service
After=systemd-journald.service
TARGET
mkdir -p etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n' > etc/systemd/journald.conf.d/machine.conf

mkdir .host
pivot_root . .host
umount -l /.host
rmdir /.host
exec env -i container=machine PATH="$PATH" \
    /lib/systemd/systemd --system --unit=machine.target --log-target=journal --show-status=no
