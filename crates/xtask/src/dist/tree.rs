//! A folder that is filled to become an archive.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// All modes in it are set, whatever the umask is.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Makes an empty one, in the place of an older one.
    pub(super) fn new(root: &Path) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(root).with_context(|| format!("cannot empty {}", root.display()))?;
        }
        fs::create_dir_all(root)?;
        set_mode(root, 0o755)?;
        Ok(Self { root: root.to_owned() })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a folder, and those above it for all to read.
    pub(super) fn folder(&self, path: &str, mode: u32) -> Result<()> {
        let mut place = self.root.clone();
        for part in Path::new(path) {
            place.push(part);
            if !place.exists() {
                fs::create_dir(&place)?;
                set_mode(&place, 0o755)?;
            }
        }
        set_mode(&place, mode)
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let place = self.place(path)?;
        fs::write(&place, bytes).with_context(|| format!("cannot write {}", place.display()))?;
        set_mode(&place, mode)
    }

    pub(super) fn copy(&self, from: &Path, path: &str, mode: u32) -> Result<()> {
        let place = self.place(path)?;
        fs::copy(from, &place).with_context(|| format!("cannot copy {}", from.display()))?;
        set_mode(&place, mode)
    }

    /// Copies what is below a folder; what can be executed stays so.
    pub(super) fn copy_all(&self, from: &Path, path: &str) -> Result<()> {
        for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
            let entry = entry?;
            let inner = format!("{path}/{}", entry.file_name().display());
            if entry.file_type()?.is_dir() {
                self.copy_all(&entry.path(), &inner)?;
            } else {
                let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
                self.copy(&entry.path(), &inner, if executable { 0o755 } else { 0o644 })?;
            }
        }
        Ok(())
    }

    pub(super) fn link(&self, target: &str, path: &str) -> Result<()> {
        symlink(target, self.place(path)?).with_context(|| format!("cannot link {path}"))
    }

    /// The files in it, as paths from its root, in order.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    files.push(entry.path().strip_prefix(&self.root)?.to_owned());
                }
            }
        }
        files.sort();
        Ok(files)
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        if let Some((folder, _)) = path.rsplit_once('/')
            && !self.root.join(folder).exists()
        {
            self.folder(folder, 0o755)?;
        }
        Ok(self.root.join(path))
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}
