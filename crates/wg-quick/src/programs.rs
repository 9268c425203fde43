//! Where programs are found, and the environment they get.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where programs are when the caller has no `PATH`. A shell's own default may hold the current
/// directory.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The search path: our own directory, then the caller's `PATH`.
pub(crate) struct Programs {
    path: OsString,
}

impl Programs {
    /// Takes the directory of the running program, symbolic links resolved, and `PATH` without its
    /// empty entries: those mean the current directory, which may be anybody's.
    pub(crate) fn new() -> Self {
        let own = env::current_exe()
            .and_then(|program| program.canonicalize())
            .ok()
            .and_then(|program| program.parent().map(Path::to_path_buf));
        let inherited = env::var_os("PATH");
        Self { path: search_path(own.as_deref(), inherited.as_deref()) }
    }

    /// The executable file that this name stands for; a name with a slash is a path.
    pub(crate) fn find(&self, name: impl AsRef<OsStr>) -> Option<PathBuf> {
        let name = Path::new(name.as_ref());
        if name.components().count() > 1 || name.is_absolute() {
            return is_executable(name).then(|| name.to_path_buf());
        }
        env::split_paths(&self.path)
            .map(|directory| directory.join(name))
            .find(|p| is_executable(p))
    }

    /// A command with the environment that the original gives: `LC_ALL=C` and the search path.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", &self.path).env("LC_ALL", "C");
        command
    }
}

fn search_path(own: Option<&Path>, inherited: Option<&OsStr>) -> OsString {
    let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
    let mut directories: Vec<PathBuf> =
        env::split_paths(inherited.unwrap_or_default()).filter(|path| !is_empty(path)).collect();
    if directories.is_empty() {
        directories = env::split_paths(DEFAULT_PATH).collect();
    }
    // Our own cannot be part of it when its name holds a colon; the others came out of a PATH.
    env::join_paths(own.into_iter().chain(directories.iter().map(PathBuf::as_path)))
        .or_else(|_| env::join_paths(&directories))
        .unwrap_or_else(|_| DEFAULT_PATH.into())
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_directory_is_never_searched_by_accident() {
        let path = |inherited: Option<&str>| search_path(None, inherited.map(OsStr::new));
        assert_eq!(path(None), DEFAULT_PATH);
        assert_eq!(path(Some("")), DEFAULT_PATH);
        assert_eq!(path(Some("::")), DEFAULT_PATH);
        assert_eq!(path(Some(":/bin::/opt/bin:")), "/bin:/opt/bin");
        assert_eq!(search_path(Some(Path::new("/a:b")), Some(OsStr::new("/bin"))), "/bin");
        assert_eq!(search_path(Some(Path::new("/own")), Some(OsStr::new("/bin"))), "/own:/bin");
    }
}
