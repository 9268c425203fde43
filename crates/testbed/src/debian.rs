//! Debian's archive: packages of the unstable suite, fetched beside the system and never installed,
//! and what this machine's own release is.

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

/// Fetches the package of this machine's own release into `folder`.
///
/// # Errors
/// Without apt-get or network, or when there is no such package.
pub fn download(package: &str, folder: &Path) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download", package]).current_dir(folder);
    output(&mut apt).map(drop)
}

/// The name of this machine's own release, as `bookworm`.
#[must_use]
pub fn codename() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(codename.trim_matches('"').to_owned())
}

/// The archive that this machine's own release comes from.
#[must_use]
pub fn mirror() -> Option<String> {
    let suites = [&codename()?, "stable", "testing", "unstable", "sid"];
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(files_below(Path::new("/etc/apt/sources.list.d")).unwrap_or_default());
    let sources = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    choose(sources.flat_map(|text| mirrors_in(&text, &suites)))
}

/// Others than Debian name their suites after its releases too; only Debian's archive and its
/// mirrors are found at `/debian` everywhere.
fn choose(mirrors: impl IntoIterator<Item = String>) -> Option<String> {
    mirrors.into_iter().min_by_key(|uri| !uri.trim_end_matches('/').ends_with("/debian"))
}

/// The archives that a list of sources, in either of apt's two formats, names for one of `suites`.
fn mirrors_in(sources: &str, suites: &[&str]) -> Vec<String> {
    let stanzas = sources.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| {
            let line = stanza.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace())
        };
        field("Suites:")?.any(|word| suites.contains(&word)).then(|| field("URIs:")?.next())?
    });
    let lines = sources.lines().filter_map(|line| {
        let line = line.strip_prefix("deb ")?.trim_start();
        let line =
            line.strip_prefix('[').map_or(line, |rest| rest.split_once(']').map_or("", |p| p.1));
        let mut words = line.split_whitespace();
        let uri = words.next()?;
        suites.contains(&words.next()?).then_some(uri)
    });
    stanzas.chain(lines).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_of_the_running_release_in_both_formats() {
        let chosen = |text: &str, suite| choose(mirrors_in(text, &[suite]));
        let stanzas = "Types: deb\nURIs: http://vendor.example/repository\nSuites: bookworm\n\n\
                       Types: deb\nURIs: http://other.example/debian\nSuites: stable\n\n\
                       Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\n";
        assert_eq!(chosen(stanzas, "bookworm").as_deref(), Some("http://mirror.example/debian/"));
        let lines = "# deb http://no.example/debian bookworm main\n\
                     deb http://security.example/debian bookworm-security main\n\
                     deb [signed-by=/a b=c] http://mirror.example/all bookworm main\n";
        assert_eq!(chosen(lines, "bookworm").as_deref(), Some("http://mirror.example/all"));
        assert_eq!(chosen(lines, "trixie"), None);
    }
}
