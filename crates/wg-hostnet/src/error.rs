//! What the kernel would not do, and in its own words why.

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED, NlasIterator};
use nix::errno::Errno;

/// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`.
const ATTR_MSG: u16 = 1;
/// `sizeof(struct nlmsghdr)`.
const HEADER_LEN: usize = 16;

/// A request that failed: what was asked, of which object, and why not.
///
/// Shown as `wg0: add address 10.0.0.2/24: File exists (ipv4: Address already assigned)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct Error {
    /// The object and the action, such as `wg0: add address 10.0.0.2/24`.
    pub what: String,
    /// Why it failed.
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The kernel refused.
    #[error("{}{}", description(*errno), parenthesised(sentence.as_deref()))]
    Kernel {
        /// The error number.
        errno: Errno,
        /// The extended acknowledgement's text, from kernels and subsystems that give one.
        sentence: Option<String>,
    },
    /// The socket broke, or the answer was not one.
    #[error("{0}")]
    Socket(String),
}

impl Error {
    /// Whether the kernel refused with this error number.
    pub fn is(&self, number: Errno) -> bool {
        matches!(&self.cause, Cause::Kernel { errno, .. } if *errno == number)
    }
}

impl Cause {
    /// Reads an `NLMSG_ERROR` that is not an acknowledgement.
    ///
    /// `flags` are those of the answer's header; `code` is the negative error number, `request` what
    /// follows it: the failed request (its header alone when capped), then the attributes.
    pub(crate) fn from_nack(flags: u16, code: i32, request: &[u8]) -> Self {
        let echoed = if flags & NLM_F_CAPPED != 0 {
            HEADER_LEN
        } else {
            let length = request.first_chunk().map_or(0, |b| u32::from_ne_bytes(*b) as usize);
            length.next_multiple_of(4).max(HEADER_LEN)
        };
        let sentence =
            request.get(echoed..).filter(|_| flags & NLM_F_ACK_TLVS != 0).and_then(|attributes| {
                NlasIterator::new(attributes).flatten().find(|a| a.kind() == ATTR_MSG).map(|a| {
                    String::from_utf8_lossy(a.value()).trim_end_matches(['\0', '.']).to_owned()
                })
            });
        Self::Kernel { errno: Errno::from_raw(code.wrapping_neg()), sentence }
    }
}

/// The C library's text, which `ip` shows too; nix has its own, and other, words for some.
fn description(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno as i32).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn parenthesised(sentence: Option<&str>) -> String {
    sentence.map(|s| format!(" ({s})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, text: &str) -> Vec<u8> {
        let mut bytes = ((4 + text.len() + 1) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(text.bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn header(length: u32) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.resize(HEADER_LEN, 0);
        bytes
    }

    #[test]
    fn the_kernels_sentence_is_found_behind_a_capped_request() {
        let request = [header(60), attribute(ATTR_MSG, "Unknown device type.")].concat();
        let cause = Cause::from_nack(NLM_F_CAPPED | NLM_F_ACK_TLVS, -95, &request);
        assert_eq!(cause.to_string(), "Operation not supported (Unknown device type)");
    }

    #[test]
    fn the_kernels_sentence_is_found_behind_a_whole_request() {
        let body = vec![0xff; 5];
        let request =
            [header(21), body, vec![0; 3], attribute(2, "abc"), attribute(ATTR_MSG, "Nope")]
                .concat();
        let cause = Cause::from_nack(NLM_F_ACK_TLVS, -17, &request);
        assert_eq!(cause.to_string(), "File exists (Nope)");
    }

    #[test]
    fn an_answer_without_attributes_gives_the_error_number_alone() {
        let request = [header(60), vec![0x41; 44]].concat();
        assert_eq!(Cause::from_nack(0, -1, &request).to_string(), "Operation not permitted");
        assert_eq!(Cause::from_nack(NLM_F_ACK_TLVS, -19, &[]).to_string(), "No such device");
    }
}
