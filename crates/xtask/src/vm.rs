//! `cargo xtask vm`: a command in a guest with the kernel's WireGuard module.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use testbed::vm::Guest;

/// Longer than anybody waits.
const LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Boots a guest, runs the command in this folder there, and ends with its exit code.
pub(crate) fn run(command: &[String]) -> Result<ExitCode> {
    let here = std::env::current_dir()?;
    let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
    let script = format!("cd {} && {}\n", quoted(&here.to_string_lossy()), words.join(" "));
    let guest = Guest::boot()?;
    let finished = guest.job("the command")?.limit(LIMIT).run_and_follow(&script)?;
    Ok(ExitCode::from(u8::try_from(finished.code)?))
}

/// The word as a shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_a_quoted_word_back() {
        for word in ["it's", "$HOME `id` \\ \"", "", "a\nb"] {
            let script = format!("printf %s {}", quoted(word));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(output.stdout, word.as_bytes());
        }
    }
}
