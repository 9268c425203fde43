//! Packages of Debian's unstable suite, fetched beside the system and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// apt with a folder of its own, reading Debian's unstable suite from the mirror that the machine
/// is set up with.
pub(crate) struct Unstable {
    folder: PathBuf,
}

impl Unstable {
    /// Reads the suite's lists into `folder`, which is made anew.
    ///
    /// # Errors
    /// Without a Debian mirror, Debian's keys or network.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
        if !keyring.is_file() {
            bail!("there is no {} on this machine", keyring.display());
        }
        let mirror = mirror().context("no Debian mirror is configured on this machine")?;
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        let keyring = keyring.display();
        let source = format!("deb [signed-by={keyring}] {mirror} sid main\n");
        fs::write(folder.join("sources.list"), source)?;
        let suite = Self { folder: folder.to_owned() };
        suite.apt("apt-get", &["update"])?;
        Ok(suite)
    }

    /// The names of a package and of all it depends on, however far.
    ///
    /// # Errors
    /// When there is no such package.
    pub(crate) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let list = self.apt("apt-cache", &["depends", "--recurse", "--important", package])?;
        // Below every package is an indented line for each dependency.
        Ok(list.lines().filter(|line| !line.starts_with([' ', '<'])).map(str::to_owned).collect())
    }

    /// Fetches `packages` and unpacks them all into `root`.
    ///
    /// # Errors
    /// When there is no such package, or no network.
    pub(crate) fn unpack(&self, packages: &[&str], root: &Path) -> Result<()> {
        self.apt("apt-get", &[&["download"], packages].concat())?;
        for package in files_below(&self.folder)? {
            if package.extension().is_some_and(|extension| extension == "deb") {
                output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(root))?;
                fs::remove_file(&package)?;
            }
        }
        Ok(())
    }

    /// Removes what apt keeps.
    pub(crate) fn close(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).context("cannot remove what apt left")
    }

    fn apt(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let set = |name: &str, value: &str| format!("{name}={}", self.folder.join(value).display());
        let mut command = Command::new(program);
        command.arg("-qq").current_dir(&self.folder);
        for option in [
            set("Dir::Etc::sourcelist", "sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            set("Dir::State::lists", "lists"),
            set("Dir::Cache", "cache"),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // apt's own user may be unable to read the target folder, or be absent from a user
            // namespace.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        Ok(String::from_utf8_lossy(&output(command.args(arguments))?).into_owned())
    }
}

/// What a command that has to succeed printed.
///
/// # Errors
/// When it cannot be started or fails, with what it complained about.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let line = crate::run::command_line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// All files below a folder, sorted by path.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The archive that this machine's own release comes from.
fn mirror() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(files_below(Path::new("/etc/apt/sources.list.d")).unwrap_or_default());
    files
        .iter()
        .find_map(|file| mirror_in(&fs::read_to_string(file).ok()?, suite.trim_matches('"')))
}

/// The archive that a list of sources, in either of apt's two formats, names for `suite`.
fn mirror_in(sources: &str, suite: &str) -> Option<String> {
    for stanza in sources.split("\n\n") {
        let field = |name: &str| {
            let line = stanza.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace())
        };
        if let (Some(mut suites), Some(mut uris)) = (field("Suites:"), field("URIs:"))
            && suites.any(|word| word == suite)
        {
            return uris.next().map(str::to_owned);
        }
    }
    sources.lines().find_map(|line| {
        let line = line.strip_prefix("deb ")?.trim_start();
        let line =
            line.strip_prefix('[').map_or(line, |rest| rest.split_once(']').map_or("", |p| p.1));
        let mut words = line.split_whitespace();
        let uri = words.next()?;
        (words.next()? == suite).then(|| uri.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_of_the_running_release_in_both_formats() {
        let stanzas = "Types: deb\nURIs: http://other.example/x\nSuites: stable\n\n\
                       Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n";
        assert_eq!(mirror_in(stanzas, "bookworm").as_deref(), Some("http://mirror.example/debian"));
        let lines = "# deb http://no.example/ bookworm main\n\
                     deb http://security.example/ bookworm-security main\n\
                     deb [signed-by=/a b=c] http://mirror.example/debian bookworm main\n";
        assert_eq!(mirror_in(lines, "bookworm").as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(mirror_in(lines, "trixie"), None);
    }
}
