# Completions of wg-quick(8) for fish. Made by `cargo xtask completions`.

# The words before the one to complete that are no options, `wg-quick` among them.
function __wg_quick_words
    string match --invert -- '-*' (commandline --tokenize --cut-at-cursor --current-process)
end

# Whether a command is due; or, for one of these commands, an option; or, as well, its tunnel.
function __wg_quick_needs
    set -l words (__wg_quick_words)
    switch $argv[1]
        case command
            test (count $words) -eq 1
        case option
            test (count $words) -ge 2; and contains -- $words[2] $argv[2..]
        case tunnel
            test (count $words) -eq 2; and contains -- $words[2] $argv[2..]
    end
end

function __wg_quick_configs
    set -l files /etc/wireguard/*.conf
    string replace --regex '^.*/(.*)\.conf$' '$1' -- $files
end

complete -c wg-quick -f
@VERBS@
complete -c wg-quick -n '__wg_quick_needs option up reload' -l dry-run -d '@DRY_RUN@'
complete -c wg-quick -n '__wg_quick_needs option up' -l resolve -x -a '@HOW@' -d '@RESOLVE@'
complete -c wg-quick -n '__wg_quick_needs tunnel @ALL@' -a '(__wg_quick_configs)'
complete -c wg-quick -n '__wg_quick_needs tunnel @RUNNING@' -a '(string split " " -- (wg show interfaces 2> /dev/null))'
complete -c wg-quick -n '__wg_quick_needs tunnel @ALL@' -k -a '(__fish_complete_suffix .conf)'
