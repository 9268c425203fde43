//! Which of the kernel's offloads a tunnel may use.

use std::str::FromStr;

/// What the kernel is asked to do in bulk. What it cannot do is found out and done without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// TUN hands over and takes packets of up to 64 KiB, with unfinished checksums.
    pub tun: bool,
    /// UDP sends many datagrams of one size at once (`UDP_SEGMENT`).
    pub gso: bool,
    /// UDP hands over many datagrams of one sender at once (`UDP_GRO`).
    pub gro: bool,
}

/// A word that names no offload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown offload `{0}': expected a list of tun, gso and gro, separated by commas")]
pub struct UnknownOffload(String);

impl Default for Offloads {
    /// All.
    fn default() -> Self {
        Self { tun: true, gso: true, gro: true }
    }
}

/// All but those listed, as in `tun,gso,gro`; the empty list allows all.
impl FromStr for Offloads {
    type Err = UnknownOffload;

    fn from_str(forbidden: &str) -> Result<Self, UnknownOffload> {
        let mut offloads = Self::default();
        for word in forbidden.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "tun" => offloads.tun = false,
                "gso" => offloads.gso = false,
                "gro" => offloads.gro = false,
                _ => return Err(UnknownOffload(word.to_owned())),
            }
        }
        Ok(offloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_what_is_forbidden() {
        assert_eq!("".parse(), Ok(Offloads::default()));
        assert_eq!("gso".parse(), Ok(Offloads { gso: false, ..Offloads::default() }));
        let none = Offloads { tun: false, gso: false, gro: false };
        assert_eq!("tun, gro,gso".parse(), Ok(none));
        assert_eq!("tso".parse::<Offloads>(), Err(UnknownOffload("tso".to_owned())));
    }
}
