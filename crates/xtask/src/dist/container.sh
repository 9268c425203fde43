# Goes into a copy of the Debian root folder BASE with the archive IMAGE; runs in a guest.
set -e
root=/run/debian/root
mkdir -p /run/debian/upper /run/debian/work $root
mount -t overlay debian $root -o "lowerdir=$BASE,upperdir=/run/debian/upper,workdir=/run/debian/work"
mount -t proc proc $root/proc
mount -t sysfs sys $root/sys
mount -t cgroup2 groups $root/sys/fs/cgroup
mount --rbind /dev $root/dev
for folder in run tmp var/lib/containers; do
    mkdir -p $root/$folder
    mount -t tmpfs memory $root/$folder
done
cp "$IMAGE" $root/root/culvert.tar.gz
cp "$(command -v busybox)" *.sh *.conf $root/root/
exec chroot $root /usr/bin/env -i LC_ALL=C HOME=/root \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -ex /root/inside.sh
