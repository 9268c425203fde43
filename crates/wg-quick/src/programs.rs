//! Where programs are found, and the environment they get.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The search path: our own directory, then the caller's `PATH`.
pub(crate) struct Programs {
    path: OsString,
}

impl Programs {
    /// Takes the directory of the running program, symbolic links resolved, and `PATH`.
    pub(crate) fn new() -> Self {
        let own = env::current_exe()
            .and_then(|program| program.canonicalize())
            .ok()
            .and_then(|program| program.parent().map(Path::to_path_buf));
        let inherited = env::var_os("PATH").unwrap_or_default();
        let directories = own.into_iter().chain(env::split_paths(&inherited));
        // A directory whose name holds a colon cannot be part of a PATH.
        Self { path: env::join_paths(directories).unwrap_or(inherited) }
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

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
