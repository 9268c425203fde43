# Runs cases: `run NUMBER LINE` leaves stdout.NUMBER, stderr.NUMBER, code.NUMBER and state.NUMBER.
export LC_ALL=C WG_ENDPOINT_RESOLUTION_RETRIES=0
umask 077
cd "$FOLDER"

for change in setconf addconf syncconf; do
    eval "$change() { printf %b \"\$1\" > file.conf; wg $change wg0 file.conf; }"
done

run() {
    (eval "$2") > "stdout.$1" 2> "stderr.$1" < /dev/null
    echo $? > "code.$1"
    "$ORIGINAL" show all dump > "state.$1"
    local state
    IFS= read -rd '' state < "state.$1"
    if [[ $state != "$base" ]]; then
        reset "$2"
    fi
}

# Starting programs is what takes time, so `wg1` is left alone by lines that do not name it.
reset() {
    "$ORIGINAL" setconf wg0 base.conf
    [[ $1 == *wg1* ]] || return 0
    "$ORIGINAL" set wg1 private-key /dev/null listen-port 0 fwmark off
    for peer in $("$ORIGINAL" show wg1 peers); do
        "$ORIGINAL" set wg1 peer "$peer" remove
    done
}

reset
base=$("$ORIGINAL" show all dump)$'\n'
