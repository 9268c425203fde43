# Makes the root folder of a machine and boots systemd in it: GROUP names the control group to be its
# own, SHARED the folders, with colons between, that it shares with this machine.
set -e
machine=/run/machine root=/run/machine/root
mkdir -p $machine/upper $machine/work $root
mount -t overlay machine $root -o lowerdir=/,upperdir=$machine/upper,workdir=$machine/work

# Nothing of Culvert's, no service of this machine's, and an identity, without which systemd would
# enable every service.
rm -rf $root/etc/wireguard $root/etc/systemd/system $root/usr/local/bin/wg*
rm -rf $root/usr/local/share/man/man?/wg* $root/usr/local/share/bash-completion/completions/wg*
mkdir $root/etc/systemd/system
echo 0123456789abcdef0123456789abcdef >$root/etc/machine-id
echo machine >$root/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 machine\n' >$root/etc/hosts

IFS=:
for folder in $SHARED; do
    mkdir -p "$root$folder"
    mount --rbind "$folder" "$root$folder"
done
unset IFS

# What a container has: no kernel setting can be changed.
mount -t sysfs -o ro sys $root/sys
mount -t tmpfs -o mode=755 run $root/run
mount -t tmpfs -o mode=755 dev $root/dev
mkdir $root/dev/net $root/dev/pts $root/dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts $root/dev/pts
ln -s /proc/self/fd $root/dev/fd
for device in full net/tun null random tty urandom zero; do
    touch $root/dev/$device
    mount --bind /dev/$device $root/dev/$device
done

echo $$ >"$GROUP/cgroup.procs"
cd $root
setsid unshare --mount --pid --cgroup --fork --kill-child bash -e -c '
    mount -t cgroup2 control-groups sys/fs/cgroup
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    pivot_root . mnt
    umount --lazy /mnt
    export container=machine
    # No module may be loaded into the real kernel.
    exec setpriv --bounding-set=-sys_module --inh-caps=-sys_module \
        /lib/systemd/systemd --system --unit=basic.target
' </dev/null >$machine/log 2>&1 &
