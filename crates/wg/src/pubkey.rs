//! `wg pubkey`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;

use anyhow::{Result, bail};
use wg_config::{KEY_TEXT_LEN, PrivateKey};
use zeroize::Zeroizing;

use crate::output::Output;
use crate::usage;

/// Reads 44 characters strictly from standard input; only white space may follow.
pub(crate) fn run(program: &str, arguments: &[OsString], output: &mut Output) -> Result<()> {
    if !arguments.is_empty() {
        bail!(usage::without_arguments(program, "pubkey"));
    }
    let not_a_key = || format!("{program}: Key is not the correct length or format");
    // Past the buffer of the standard library, which is not zeroed.
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut text = Zeroizing::new([0; KEY_TEXT_LEN]);
    if stdin.read_exact(&mut *text).is_err() {
        bail!(not_a_key());
    }
    for byte in BufReader::new(stdin).bytes() {
        // The original lets zeros pass here as well.
        if !byte.is_ok_and(|byte| is_space(byte) || byte == 0) {
            bail!("{program}: Trailing characters found after key");
        }
    }
    let Ok(key) = PrivateKey::from_base64(&*text) else {
        bail!(not_a_key());
    };
    Ok(writeln!(output, "{}", key.public_key())?)
}

/// White space as isspace(3) has it in the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}
