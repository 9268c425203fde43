//! The one kernel parameter that a tunnel needs.

use std::fs;
use std::io;

const SRC_VALID_MARK: &str = "/proc/sys/net/ipv4/conf/all/src_valid_mark";

/// Whether the reverse path filter takes a packet's mark into account
/// (`net.ipv4.conf.all.src_valid_mark`).
///
/// # Errors
/// When `/proc` is not mounted or the file is hidden.
pub fn src_valid_mark() -> io::Result<bool> {
    fs::read_to_string(SRC_VALID_MARK).map(|value| value.trim() == "1")
}

/// Sets `net.ipv4.conf.all.src_valid_mark`.
///
/// # Errors
/// When it cannot be written, as in a container whose `/proc/sys` is read-only.
pub fn set_src_valid_mark(value: bool) -> io::Result<()> {
    // Not created where it is missing: `/proc` may be an empty directory.
    let mut file = fs::OpenOptions::new().write(true).open(SRC_VALID_MARK)?;
    io::Write::write_all(&mut file, if value { b"1" } else { b"0" })
}
