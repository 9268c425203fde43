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
complete -c wg-quick -n '__wg_quick_needs command' -a up -d 'Bring a tunnel up'
complete -c wg-quick -n '__wg_quick_needs command' -a down -d 'Take a tunnel down'
complete -c wg-quick -n '__wg_quick_needs command' -a reload -d 'Change what differs from the file'
complete -c wg-quick -n '__wg_quick_needs command' -a save -d 'Write the state of the interface to its file'
complete -c wg-quick -n '__wg_quick_needs command' -a strip -d 'Print what wg reads of the file'
complete -c wg-quick -n '__wg_quick_needs option up reload' -l dry-run -d 'Print the steps and do none'
complete -c wg-quick -n '__wg_quick_needs option up' -l resolve -x -a 'wait background' -d 'What to do about names that do not resolve'
complete -c wg-quick -n '__wg_quick_needs tunnel up down reload save strip' -a '(__wg_quick_configs)'
complete -c wg-quick -n '__wg_quick_needs tunnel down reload save' -a '(string split " " -- (wg show interfaces 2> /dev/null))'
complete -c wg-quick -n '__wg_quick_needs tunnel up down reload save strip' -k -a '(__fish_complete_suffix .conf)'
