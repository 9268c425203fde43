# The guest's process 1: runs the jobs that are named on the serial line, as `NUMBER SECONDS`, and
# answers each with `NUMBER CODE`. A job is a folder shared with the host. It runs in namespaces of
# its own, so that no process, interface or file in /run outlives it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
exec 3<>/dev/ttyS0
stty raw -echo <&3
run() {
    cd "/jobs/$1"
    timeout --kill-after=10 "$2" unshare --net --mount --pid --ipc --fork --kill-child --mount-proc \
        bash -c 'mount -t sysfs sys /sys; mount -t tmpfs run /run; ip link set lo up
            exec bash ./script' </dev/null >out 2>err 3>&-
    echo "$1 $?" >&3
}
echo ready >&3
while read -r job limit <&3; do run "$job" "$limit" & done
