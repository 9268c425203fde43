//! Debian's kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::debian::{Unstable, output};

/// Depends on the current kernel, which has 9p, unlike the one for clouds. Removing an allowed IP
/// in place needs Linux 6.16 or later.
const PACKAGE: &str = "linux-image-amd64";

/// Where the kernel was unpacked to.
pub(super) struct Kernel {
    /// The uncompressed kernel image.
    pub(super) image: PathBuf,
    /// The folder with its modules.
    pub(super) modules: PathBuf,
}

/// Fetches and unpacks the kernel into `folder`, unless it is there already.
pub(super) fn fetch(folder: &Path) -> Result<Kernel> {
    let root = folder.join("root");
    let kernel = Kernel { image: folder.join("vmlinux"), modules: root.join("usr/lib/modules") };
    if kernel.image.exists() {
        return Ok(kernel);
    }
    let suite = Unstable::open(&folder.join("apt"))?;
    let dependencies = suite.dependencies(PACKAGE)?;
    let mut packages: Vec<_> = dependencies.iter().map(String::as_str).filter(is_kernel).collect();
    packages.sort_unstable();
    packages.dedup();
    ensure!(!packages.is_empty(), "{PACKAGE} depends on no kernel");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    suite.unpack(&packages, &root)?;
    suite.close()?;

    let version = fs::read_dir(&kernel.modules)?.next().context("no modules are packaged")??;
    let image = uncompressed(&fs::read(version.path().join("vmlinuz"))?, folder)?;
    let unfinished = folder.join("vmlinux.new");
    fs::write(&unfinished, image)?;
    fs::rename(&unfinished, &kernel.image)?;
    Ok(kernel)
}

/// Whether a package holds a kernel's image or modules, which have come apart in newer releases.
fn is_kernel(package: &&str) -> bool {
    ["linux-image-", "linux-binary-", "linux-modules-"]
        .iter()
        .filter_map(|prefix| package.strip_prefix(prefix))
        .any(|version| version.starts_with(|first: char| first.is_ascii_digit()))
}

/// The ELF image inside a bzImage (kernel: Documentation/arch/x86/boot.rst, `payload_offset`):
/// booted through its PVH entry it spares the emulated processor from unpacking it.
fn uncompressed(image: &[u8], folder: &Path) -> Result<Vec<u8>> {
    let word = |offset: usize| -> Result<usize> {
        let bytes = image.get(offset..offset + 4).context("vmlinuz is too short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let setup_sectors = match image.get(0x1f1) {
        None => bail!("vmlinuz is too short"),
        Some(0) => 4,
        Some(&sectors) => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    let end = start + word(0x24c)?;
    // The last word is the size of what the payload unpacks to, which the packer does not know.
    let payload = image.get(start..end - 4).context("vmlinuz is shorter than its header says")?;
    let tool = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0xfd, b'7', b'z', b'X', ..] => "xz",
        [0x1f, 0x8b, ..] => "gzip",
        _ => bail!("vmlinuz is compressed with neither zstd, xz nor gzip"),
    };
    let packed = folder.join("payload");
    fs::write(&packed, payload)?;
    let unpacked = output(Command::new(tool).arg("-dcf").arg(&packed))?;
    fs::remove_file(&packed)?;
    ensure!(unpacked.starts_with(b"\x7fELF"), "vmlinuz holds no ELF image");
    Ok(unpacked)
}
