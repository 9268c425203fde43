//! Which links are of kind `wireguard` (rtnetlink(7)).

use std::io;

use netlink_packet_core::{DefaultNla, Emitable, NlasIterator};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;

use super::socket::{Request, Socket, attributes, malformed};

const RTM_GETLINK: u16 = 18;
/// Bytes in `struct ifinfomsg`.
const HEADER: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
/// Leaves the counters out, most of an answer.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const KIND: &[u8] = b"wireguard";

/// The names of the kernel's WireGuard interfaces in this network namespace.
///
/// # Errors
/// The kernel's.
pub fn interfaces() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    loop {
        match links(Request::Dump, None, |name, kind| {
            if kind == KIND {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        }) {
            // A link came or went meanwhile.
            Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => names.clear(),
            Err(error) => return Err(error),
            Ok(()) => return Ok(names),
        }
    }
}

/// Whether a link of that name exists and is the kernel's WireGuard.
///
/// # Errors
/// The kernel's, other than that there is no such link.
pub fn is_wireguard(name: &str) -> io::Result<bool> {
    let mut found = false;
    match links(Request::Single, Some(name), |_, kind| found = kind == KIND) {
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(false),
        Err(error) => Err(error),
        Ok(()) => Ok(found),
    }
}

/// Passes the name and kind of links on; the kind is empty for those without.
fn links(
    request: Request,
    name: Option<&str>,
    mut found: impl FnMut(&[u8], &[u8]),
) -> io::Result<()> {
    let mut wanted =
        vec![DefaultNla::new(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS.to_ne_bytes().to_vec())];
    if let Some(name) = name {
        let mut name = name.as_bytes().to_vec();
        name.push(0);
        wanted.push(DefaultNla::new(IFLA_IFNAME, name));
    }
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    socket.request(RTM_GETLINK, request, &Links(wanted), |reply| {
        let (mut name, mut kind) = (Vec::new(), Vec::new());
        for attribute in attributes(reply, HEADER)? {
            let attribute = attribute.map_err(malformed)?;
            match attribute.kind() {
                IFLA_IFNAME => name = text(attribute.value()).to_vec(),
                IFLA_LINKINFO => {
                    for info in NlasIterator::new(attribute.value()) {
                        let info = info.map_err(malformed)?;
                        if info.kind() == IFLA_INFO_KIND {
                            kind = text(info.value()).to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
        found(&name, &kind);
        Ok(())
    })
}

/// The bytes before the terminating zero.
fn text(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The body of a request for links: an empty header and attributes.
struct Links(Vec<DefaultNla>);

impl Emitable for Links {
    fn buffer_len(&self) -> usize {
        HEADER + self.0.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer[..HEADER].fill(0);
        self.0.as_slice().emit(&mut buffer[HEADER..]);
    }
}
