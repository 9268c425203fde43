#!/bin/busybox sh
# The guest's first program: loads the modules and goes over to the host's root folder, with a layer
# in memory above it that takes what is written.
export PATH=/bin
busybox mkdir /proc /dev /lower /layer /root
busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
    busybox insmod "$module" || echo "cannot load $module" >/dev/console
done
host=trans=virtio,version=9p2000.L,msize=500000
busybox mount -t 9p -o "$host,cache=loose,ro" root /lower
busybox mount -t tmpfs layer /layer
busybox mkdir /layer/upper /layer/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work root /root
busybox mount -t proc proc /root/proc
busybox mount -t sysfs sys /root/sys
busybox mount -t devtmpfs dev /root/dev
busybox mkdir -p /root/dev/pts /root/dev/shm /root/dev/net /root/jobs
busybox mount -t devpts devpts /root/dev/pts
busybox mount -t tmpfs shm /root/dev/shm
busybox ln -s /proc/self/fd /root/dev/fd
for name in 0:stdin 1:stdout 2:stderr; do
    busybox ln -s "/proc/self/fd/${name%:*}" "/root/dev/${name#*:}"
done
[ -e /root/dev/net/tun ] || busybox mknod /root/dev/net/tun c 10 200
busybox mount -t 9p -o "$host,cache=none" jobs /root/jobs
exec busybox switch_root /root /bin/bash /jobs/agent
