# Completions of wg(8) for bash. Made by `cargo xtask completions`.

_wg() {
    local line=${COMP_LINE:0:COMP_POINT} words candidates= i has_peer=
    # bash splits words at the `=` of keys and the `:` of endpoints; these words are whole.
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    local last=$((${#words[@]} - 1))
    local command=${words[1]} interface=${words[2]} previous=${words[last - 1]}
    COMPREPLY=()
    if ((last == 1)); then
        candidates='show showconf set setconf addconf syncconf genkey genpsk pubkey'
    elif ((last == 2)); then
        case $command in
            show) candidates="all interfaces $(wg show interfaces 2> /dev/null)" ;;
            showconf | set | setconf | addconf | syncconf)
                candidates=$(wg show interfaces 2> /dev/null)
                ;;
        esac
    elif [[ $command == show ]]; then
        ((last == 3)) && [[ $interface != interfaces ]] && candidates='public-key private-key listen-port fwmark peers preshared-keys endpoints allowed-ips latest-handshakes transfer persistent-keepalive dump'
    elif [[ $command == @(set|add|sync)conf ]]; then
        if ((last == 3)); then
            compopt -o filenames 2> /dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "${words[last]}")
        fi
        return
    elif [[ $command == set ]]; then
        for ((i = 3; i < last; i++)); do
            [[ ${words[i]} == peer ]] && has_peer=yes
        done
        case $previous in
            peer) candidates=$(wg show "$interface" peers 2> /dev/null) ;;
            private-key | preshared-key)
                compopt -o filenames 2> /dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "${words[last]}")
                return
                ;;
            fwmark | persistent-keepalive) candidates=off ;;
            listen-port | endpoint | allowed-ips) ;;
            *)
                candidates='listen-port fwmark private-key peer'
                [[ -n $has_peer ]] && candidates='remove preshared-key endpoint persistent-keepalive allowed-ips peer'
                ;;
        esac
    fi
    # Behind the `=` that ends a key there is nothing to complete.
    [[ ${words[last]} == *= ]] && return
    mapfile -t COMPREPLY < <(compgen -W "$candidates" -- "${words[last]}")
}

complete -F _wg wg
