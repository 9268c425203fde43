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
        candidates='@COMMANDS@'
    elif ((last == 2)); then
        case $command in
            show) candidates="all interfaces $(wg show interfaces 2> /dev/null)" ;;
            showconf | set | setconf | addconf | syncconf)
                candidates=$(wg show interfaces 2> /dev/null)
                ;;
        esac
    elif [[ $command == show ]]; then
        ((last == 3)) && [[ $interface != interfaces ]] && candidates='@COLUMNS@'
    elif [[ $command == @CONF@ ]]; then
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
                candidates='@INTERFACE_SETTINGS@'
                [[ -n $has_peer ]] && candidates='@PEER_SETTINGS@'
                ;;
        esac
    fi
    # Behind the `=` that ends a key there is nothing to complete.
    [[ ${words[last]} == *= ]] && return
    mapfile -t COMPREPLY < <(compgen -W "$candidates" -- "${words[last]}")
}

complete -F _wg wg
