# Completions of wg-quick(8) for bash. Made by `cargo xtask completions`.

_wg_quick() {
    local line=${COMP_LINE:0:COMP_POINT} words word verb= target= candidates= file
    # bash splits words at `='; these words are whole.
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    local current=${words[${#words[@]} - 1]}
    COMPREPLY=()
    for word in "${words[@]:1:${#words[@]}-2}"; do
        [[ $word == -* ]] && continue
        if [[ -z $verb ]]; then verb=$word; else target=$word; fi
    done
    if [[ -z $verb ]]; then
        candidates='up down reload save strip'
    elif [[ $current == --resolve=* ]]; then
        # What is offered takes the place of what follows the `='.
        current=${current#*=}
        [[ $verb == up ]] && candidates='wait background'
    elif [[ $current == -* ]]; then
        case $verb in
            up) candidates='--dry-run --resolve=' ;;
            reload) candidates='--dry-run' ;;
        esac
    elif [[ -n $target ]]; then
        return
    elif [[ $current == */* ]]; then
        compopt -o filenames 2> /dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$current"; compgen -f -X '!*.conf' -- "$current")
        return
    else
        for file in /etc/wireguard/*.conf; do
            [[ -e $file ]] || continue
            file=${file##*/}
            candidates+=" ${file%.conf}"
        done
        case $verb in
            down | reload | save) candidates+=" $(wg show interfaces 2> /dev/null)" ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$candidates" -- "$current" | sort -u)
    [[ ${COMPREPLY[*]} == *= ]] && compopt -o nospace 2> /dev/null
}

complete -F _wg_quick wg-quick
