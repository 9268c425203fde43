//! The configuration file that an argument stands for.

use std::ffi::OsStr;
use std::fs;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use wg_config::{ConfigErrors, Dialect, Parsed};
use zeroize::Zeroizing;

use crate::say;

/// Bytes in the longest name of an interface.
const MAX_NAME: usize = 15;

/// Errors shown in full; a file with more has something else wrong with it.
const MOST_SHOWN: usize = 10;

/// A configuration file, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    /// Where it is; absolute and without symbolic links if it exists.
    pub path: PathBuf,
    /// The interface that it is about.
    pub interface: String,
}

impl ConfigFile {
    /// Takes an interface's name, for `/etc/wireguard/NAME.conf`, or a path that ends in
    /// `NAME.conf`.
    ///
    /// `may_be_gone` says of an interface whether it can do without its file.
    ///
    /// # Errors
    /// When there is no such file, or its name is no interface's.
    pub(crate) fn locate(
        argument: &OsStr,
        may_be_gone: impl FnOnce(&str) -> bool,
    ) -> anyhow::Result<Self> {
        let path = match argument.to_str() {
            Some(name) if is_name(name) => PathBuf::from(format!("/etc/wireguard/{name}.conf")),
            _ => PathBuf::from(argument),
        };
        let interface = interface_of(&path);
        if !path.exists() && !interface.is_some_and(may_be_gone) {
            bail!("`{}' does not exist", path.display());
        }
        let Some(interface) = interface.map(str::to_owned) else {
            bail!("The config file must be a valid interface name, followed by .conf");
        };
        Ok(Self { path: path.canonicalize().unwrap_or(path), interface })
    }

    /// Whether it is there.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// The text, which holds keys. A file that everybody may read, in a folder that everybody may enter, draws a
    /// warning.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn text(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let mode = |path: &Path| path.metadata().map_or(0, |file| file.permissions().mode());
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        if mode(&self.path) & mode(folder) & 0o007 != 0 {
            say(format_args!("Warning: `{}' is world accessible", self.path.display()));
        }
        let text = fs::read(&self.path);
        let text = text.with_context(|| format!("`{}' cannot be read", self.path.display()))?;
        Ok(Zeroizing::new(text))
    }

    /// The typed content of [`ConfigFile::text`].
    ///
    /// # Errors
    /// When it does not say what a configuration file says.
    pub(crate) fn parse(&self, text: &[u8]) -> Result<Parsed, ConfigErrors> {
        let name = self.path.to_string_lossy();
        wg_config::read(&name, text, Dialect::WgQuick, wg_control::service_port)
    }

    /// The settings of wg-quick(8) in a text that is not valid as a whole, without those that are
    /// not valid themselves.
    ///
    /// # Errors
    /// As [`ConfigFile::parse`], which cannot be where its errors are left out.
    pub(crate) fn parse_quick_settings(&self, text: &[u8]) -> Result<Parsed, ConfigErrors> {
        let text = wg_config::quick_settings(text);
        let errors = match self.parse(&text) {
            Ok(parsed) => return Ok(parsed),
            Err(errors) => errors,
        };
        let is_wrong = |number: usize| errors.iter().any(|error| error.line() == number);
        let lines = text.split(|byte| *byte == b'\n').zip(1..);
        let valid = lines.map(|(line, number)| if is_wrong(number) { &[][..] } else { line });
        self.parse(&valid.collect::<Vec<_>>().join(&b'\n'))
    }
}

/// Shows what is wrong with a file: the original's sentence, then each error with its place.
pub(crate) fn show_errors(errors: &ConfigErrors) {
    say(format_args!("{}", errors.first().original()));
    let color = std::io::stderr().is_terminal();
    for error in errors.iter().take(MOST_SHOWN) {
        say(format_args!("{}", error.render(color)));
    }
    let more = errors.iter().count().saturating_sub(MOST_SHOWN);
    if more > 0 {
        say(format_args!("… and {more} more"));
    }
}

/// `[a-zA-Z0-9_=+.-]{1,15}`, the original's rule.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allowed)
}

/// `NAME` of `…/NAME.conf`. The kernel has no interface `.` or `..`, and neither is a file's name.
fn interface_of(path: &Path) -> Option<&str> {
    let bytes = path.as_os_str().as_bytes();
    let file = bytes.rsplit(|byte| *byte == b'/').next()?;
    let name = std::str::from_utf8(file.strip_suffix(b".conf")?).ok()?;
    (is_name(name) && name != "." && name != "..").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(argument: &str) -> String {
        ConfigFile::locate(OsStr::new(argument), |_| false).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_there_is_named_as_the_original_names_it() {
        assert_eq!(error("wg9"), "`/etc/wireguard/wg9.conf' does not exist");
        assert_eq!(error("wg9.conf"), "`/etc/wireguard/wg9.conf.conf' does not exist");
        assert_eq!(error("/tmp/none.conf"), "`/tmp/none.conf' does not exist");
        assert_eq!(error("a b"), "`a b' does not exist");
        assert_eq!(error("this-name-is-too-long"), "`this-name-is-too-long' does not exist");
        assert_eq!(
            error("/proc/version"),
            "The config file must be a valid interface name, followed by .conf"
        );
    }

    #[test]
    fn the_interface_is_the_files_name_before_the_suffix() {
        for (path, name) in [
            ("/etc/wireguard/wg0.conf", Some("wg0")),
            ("wg0.conf", Some("wg0")),
            ("./a=b+c-d_e.f.conf", Some("a=b+c-d_e.f")),
            ("/x/fifteen-bytes-x.conf", Some("fifteen-bytes-x")),
            ("/x/sixteen-bytes-xx.conf", None),
            ("/x/..conf", None),
            ("/x/...conf", None),
            ("/x/.conf", None),
            ("/x/wg0", None),
            ("/x/wg0.conf/", None),
            ("/x/wg 0.conf", None),
        ] {
            assert_eq!(interface_of(Path::new(path)), name, "{path}");
        }
    }

    #[test]
    fn a_tunnel_that_is_up_needs_no_file() {
        let file = ConfigFile::locate(OsStr::new("wg9"), |name| name == "wg9").unwrap();
        assert_eq!(file.interface, "wg9");
        assert_eq!(file.path, Path::new("/etc/wireguard/wg9.conf"));
        assert!(!file.exists());
    }
}
