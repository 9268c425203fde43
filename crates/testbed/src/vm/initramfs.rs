//! The archive the guest boots from: busybox, the kernel modules in load order, and the script
//! that goes over to the host's root folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::{files_below, output};

/// The modules the guest loads, besides those they depend on.
const MODULES: &[&str] = &[
    "9p",
    "9pnet_virtio",
    "overlay",
    "wireguard",
    "tun",
    "veth",
    "dummy",
    "sch_netem",
    "nf_tables",
    "nft_ct",
    "nft_fib_inet",
    "nft_compat",
];

/// Builds the archive from the unpacked kernel packages under `kernel`.
pub(super) fn build(kernel: &Path, busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder("bin");
    archive.folder("modules");
    archive.file("init", 0o755, include_bytes!("init.sh"));
    let program = fs::read(busybox).with_context(|| busybox.display().to_string())?;
    archive.file("bin/busybox", 0o755, &program);
    for (position, (name, module)) in in_load_order(kernel)?.iter().enumerate() {
        archive.file(&format!("modules/{position:03}-{name}.ko"), 0o644, module);
    }
    Ok(archive.finish())
}

/// The chosen modules and what they depend on, every one after those it needs.
fn in_load_order(kernel: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = HashMap::new();
    for path in files_below(kernel)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some((module, _)) = name.split_once(".ko") {
            files.insert(module.replace('-', "_"), path.clone());
        }
    }
    let mut loaded = Vec::new();
    for name in MODULES {
        load(name, &files, &mut loaded)?;
    }
    Ok(loaded)
}

fn load(
    name: &str,
    files: &HashMap<String, PathBuf>,
    loaded: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    if loaded.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let path =
        files.get(name).with_context(|| format!("the kernel package has no module {name}"))?;
    let module = decompressed(path)?;
    for dependency in dependencies(&module) {
        load(&dependency.replace('-', "_"), files, loaded)?;
    }
    loaded.push((name.to_owned(), module));
    Ok(())
}

fn decompressed(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return Ok(fs::read(path)?),
    };
    output(Command::new(tool).arg("-dc").arg(path))
}

/// The names after `depends=` in the module's `.modinfo` section.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[start + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A cpio archive in the `newc` format (kernel: Documentation/driver-api/early-userspace).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | permissions, content);
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (size, name_size) = (content.len() as u32, name.len() as u32 + 1);
        // inode, mode, uid, gid, links, mtime, size, device and rdevice (two words each), name, sum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}
