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
    set -l takes_value @TAKES_VALUE@
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
@COMMANDS@
complete -c wg -n '__wg_at 2 show showconf set setconf addconf syncconf' -a '(__wg_interfaces)'
complete -c wg -n '__wg_at 2 show' -a 'all interfaces'
complete -c wg -n '__wg_at 3 show; and not contains interfaces (__wg_words)' -a '@COLUMNS@'
complete -c wg -n '__wg_at 3 setconf addconf syncconf' -F
@INTERFACE_SETTINGS@
@PEER_SETTINGS@
complete -c wg -n '__wg_set value peer' -a '(__wg_peers)'
complete -c wg -n '__wg_set value private-key preshared-key' -F
complete -c wg -n '__wg_set value fwmark persistent-keepalive' -a off
