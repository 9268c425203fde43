//! What the kernel says about links (rtnetlink(7)): of each message, whether the interface is up
//! and its MTU.

use nix::libc;

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER_LEN: usize = size_of::<libc::nlmsghdr>();
/// Bytes of `struct ifinfomsg`.
pub(crate) const LINK_LEN: usize = size_of::<libc::ifinfomsg>();

/// What a message says about our link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    State {
        up: bool,
        mtu: Option<u32>,
    },
    /// It was removed, or moved to another network namespace.
    Left,
}

/// The messages about `interface` in one datagram.
pub(crate) fn events(mut rest: &[u8], interface: u32) -> Vec<Event> {
    let mut events = Vec::new();
    while rest.len() >= HEADER_LEN {
        let length = u32_at(rest, 0) as usize;
        let kind = u16_at(rest, 4);
        let Some(body) = rest.get(HEADER_LEN..length) else { break };
        if body.len() >= LINK_LEN && u32_at(body, 4) == interface {
            match kind {
                libc::RTM_NEWLINK => {
                    let up = u32_at(body, 8) & libc::IFF_UP as u32 != 0;
                    events.push(Event::State { up, mtu: mtu(&body[LINK_LEN..]) });
                }
                libc::RTM_DELLINK => events.push(Event::Left),
                _ => {}
            }
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    events
}

/// The value of `IFLA_MTU` among a link's attributes.
fn mtu(mut attributes: &[u8]) -> Option<u32> {
    while attributes.len() >= 4 {
        let length = usize::from(u16_at(attributes, 0));
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2) == libc::IFLA_MTU && value.len() == 4 {
            return Some(u32_at(value, 0));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, interface: u32, flags: u32, attributes: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER_LEN + LINK_LEN];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&interface.to_ne_bytes());
        message[HEADER_LEN + 8..HEADER_LEN + 12].copy_from_slice(&flags.to_ne_bytes());
        message.extend(attributes);
        let length = message.len() as u32;
        message[0..4].copy_from_slice(&length.to_ne_bytes());
        message
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut attribute = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        attribute.extend(kind.to_ne_bytes());
        attribute.extend(value);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        attribute
    }

    #[test]
    fn only_messages_about_our_link_count() {
        let attributes = [
            attribute(libc::IFLA_IFNAME, b"wg0\0"),
            attribute(libc::IFLA_MTU, &1380u32.to_ne_bytes()),
        ]
        .concat();
        let up = libc::IFF_UP as u32;
        let datagram = [
            message(libc::RTM_NEWLINK, 7, up, &attributes),
            message(libc::RTM_NEWLINK, 8, up, &attributes),
            message(libc::RTM_NEWLINK, 7, 0, &[]),
            message(libc::RTM_DELLINK, 7, 0, &[]),
        ]
        .concat();
        assert_eq!(
            events(&datagram, 7),
            [
                Event::State { up: true, mtu: Some(1380) },
                Event::State { up: false, mtu: None },
                Event::Left
            ]
        );
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = events(&bytes, 0);
        }
    }
}
