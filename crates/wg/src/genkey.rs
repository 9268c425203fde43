//! `wg genkey` and `wg genpsk`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};
use wg_config::{KEY_LEN, PresharedKey, PrivateKey};
use zeroize::Zeroizing;

use crate::output::Output;
use crate::usage;

/// `wg genkey`.
pub(crate) fn private_key(
    program: &str,
    arguments: &[OsString],
    output: &mut Output,
) -> Result<()> {
    prepare(program, "genkey", arguments)?;
    let key = PrivateKey::from_random(*random()?);
    Ok(writeln!(output, "{}", *key.to_base64())?)
}

/// `wg genpsk`.
pub(crate) fn preshared_key(
    program: &str,
    arguments: &[OsString],
    output: &mut Output,
) -> Result<()> {
    prepare(program, "genpsk", arguments)?;
    let key = PresharedKey::from(*random()?);
    Ok(writeln!(output, "{}", *key.to_base64())?)
}

fn prepare(program: &str, command: &str, arguments: &[OsString]) -> Result<()> {
    if !arguments.is_empty() {
        bail!(usage::without_arguments(program, command));
    }
    if is_world_accessible_file(io::stdout()).unwrap_or(false) {
        let _ = io::stderr().write_all(
            b"Warning: writing to world accessible file.\n\
              Consider setting the umask to 077 and trying again.\n",
        );
    }
    Ok(())
}

fn is_world_accessible_file(stream: impl AsFd) -> io::Result<bool> {
    let metadata = File::from(stream.as_fd().try_clone_to_owned()?).metadata()?;
    Ok(metadata.is_file() && metadata.mode() & 0o007 != 0)
}

fn random() -> Result<Zeroizing<[u8; KEY_LEN]>> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(&mut *bytes).context("getrandom")?;
    Ok(bytes)
}
