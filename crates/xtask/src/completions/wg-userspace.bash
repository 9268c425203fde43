# Completions of wg-userspace(8) for bash. Made by `cargo xtask completions`.

_wg_userspace() {
    local current=${COMP_WORDS[COMP_CWORD]} candidates= file
    if [[ $current == -* ]]; then
        candidates='@OPTIONS@'
    else
        for file in /etc/wireguard/*.conf; do
            [[ -e $file ]] || continue
            file=${file##*/}
            candidates+=" ${file%.conf}"
        done
    fi
    mapfile -t COMPREPLY < <(compgen -W "$candidates" -- "$current")
}

complete -F _wg_userspace wg-userspace
