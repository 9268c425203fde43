# Completions of wg-userspace(8) for fish. Made by `cargo xtask completions`.

function __wg_userspace_configs
    set -l files /etc/wireguard/*.conf
    string replace --regex '^.*/(.*)\.conf$' '$1' -- $files
end

complete -c wg-userspace -f -a '(__wg_userspace_configs)'
complete -c wg-userspace -s f -l foreground -d 'Stay in the foreground'
complete -c wg-userspace -s h -l help -d 'Print the usage'
complete -c wg-userspace -s V -l version -d 'Print the version'
