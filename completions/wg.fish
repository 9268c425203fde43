# Completions of wg(8) for fish. Made by `cargo xtask completions`.

# The words before the one to complete, `wg` among them.
function __wg_words
    commandline --tokenize --cut-at-cursor --current-process
end

# Whether as many words came, and the second is one of the others.
function __wg_at
    set -l words (__wg_words)
    test (count $words) -eq $argv[1]; or return
    test (count $argv) -eq 1; or contains -- $words[2] $argv[2..]
end

# Whether a word of `wg set` is due: of the interface, of a peer, or a value of one of the others.
function __wg_set
    set -l words (__wg_words)
    test (count $words) -ge 3 -a "$words[2]" = set; or return
    set -l takes_value listen-port fwmark private-key peer preshared-key endpoint persistent-keepalive allowed-ips peer
    switch $argv[1]
        case interface
            not contains -- $words[-1] $takes_value; and not contains -- peer $words[4..]
        case peer
            not contains -- $words[-1] $takes_value; and contains -- peer $words[4..]
        case value
            test (count $words) -gt 3; and contains -- $words[-1] $argv[2..]
    end
end

function __wg_interfaces
    string split ' ' -- (wg show interfaces 2> /dev/null)
end

function __wg_peers
    set -l words (__wg_words)
    wg show $words[3] peers 2> /dev/null
end

complete -c wg -f
complete -c wg -n '__wg_at 1' -a show -d 'Show interfaces and peers'
complete -c wg -n '__wg_at 1' -a showconf -d 'Show an interface as a configuration file'
complete -c wg -n '__wg_at 1' -a set -d 'Change an interface and its peers'
complete -c wg -n '__wg_at 1' -a setconf -d 'Make an interface what a file says'
complete -c wg -n '__wg_at 1' -a addconf -d 'Add what a file says to an interface'
complete -c wg -n '__wg_at 1' -a syncconf -d 'Change only what differs from a file'
complete -c wg -n '__wg_at 1' -a genkey -d 'Make a private key'
complete -c wg -n '__wg_at 1' -a genpsk -d 'Make a preshared key'
complete -c wg -n '__wg_at 1' -a pubkey -d 'Work out the public key of a private one'
complete -c wg -n '__wg_at 2 show showconf set setconf addconf syncconf' -a '(__wg_interfaces)'
complete -c wg -n '__wg_at 2 show' -a 'all interfaces'
complete -c wg -n '__wg_at 3 show; and not contains interfaces (__wg_words)' -a 'public-key private-key listen-port fwmark peers preshared-keys endpoints allowed-ips latest-handshakes transfer persistent-keepalive dump'
complete -c wg -n '__wg_at 3 setconf addconf syncconf' -F
complete -c wg -n '__wg_set interface' -a listen-port -d 'UDP port'
complete -c wg -n '__wg_set interface' -a fwmark -d 'Mark of outgoing packets'
complete -c wg -n '__wg_set interface' -a private-key -d 'File with the private key'
complete -c wg -n '__wg_set interface' -a peer -d 'Public key of a peer'
complete -c wg -n '__wg_set peer' -a remove -d 'Remove the peer'
complete -c wg -n '__wg_set peer' -a preshared-key -d 'File with the preshared key'
complete -c wg -n '__wg_set peer' -a endpoint -d 'Address and port'
complete -c wg -n '__wg_set peer' -a persistent-keepalive -d 'Seconds between keepalives'
complete -c wg -n '__wg_set peer' -a allowed-ips -d 'Prefixes, separated by commas'
complete -c wg -n '__wg_set peer' -a peer -d 'Public key of another peer'
complete -c wg -n '__wg_set value peer' -a '(__wg_peers)'
complete -c wg -n '__wg_set value private-key preshared-key' -F
complete -c wg -n '__wg_set value fwmark persistent-keepalive' -a off
