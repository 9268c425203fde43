# Completions of wg-userspace(8) for fish. Made by `cargo xtask completions`.

function __wg_userspace_configs
    set -l files /etc/wireguard/*.conf
    string replace --regex '^.*/(.*)\.conf$' '$1' -- $files
end

complete -c wg-userspace -f -a '(__wg_userspace_configs)'
@OPTIONS@
