//! `wg-quick strip`: a configuration without wg-quick's own lines.

use zeroize::Zeroizing;

use crate::value::{ValueError, parse_bool};

/// What `wg-quick strip` prints for a file, byte for byte: all lines but the settings of
/// wg-quick(8) in `[Interface]`, with blanks around them and NUL bytes gone, and one more newline.
///
/// Nothing else is judged, as in the original: the text need not be UTF-8 nor the settings known.
///
/// # Errors
/// When a `SaveConfig` is neither true nor false, with the original's sentence; it prints nothing
/// then.
pub fn strip(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, ValueError> {
    // At most two newlines are added, so that it never grows and leaves keys behind.
    let mut stripped = Zeroizing::new(Vec::with_capacity(text.len() + 2));
    let mut in_interface = false;
    for (line, is_whole) in lines(text) {
        let mut without_zeros = Zeroizing::new(Vec::with_capacity(line.len()));
        without_zeros.extend(line.iter().copied().filter(|byte| *byte != 0));
        let line = trim(&without_zeros, |byte| matches!(byte, b' ' | b'\t'));
        if line.is_empty() && !is_whole {
            continue;
        }
        let (name, value) = name_and_value(line);
        if name.starts_with(b"[") {
            in_interface = name.eq_ignore_ascii_case(b"[Interface]");
        }
        if in_interface && is_quick_setting(name) {
            if name.eq_ignore_ascii_case(b"SaveConfig") {
                parse_bool(&String::from_utf8_lossy(trim(value, is_space)))?;
            }
            continue;
        }
        stripped.extend_from_slice(line);
        stripped.push(b'\n');
    }
    stripped.push(b'\n');
    Ok(stripped)
}

/// What [`strip`] leaves out of a file: the settings of wg-quick(8) with their `[Interface]`. The
/// other lines are empty, so that each line keeps its number.
pub fn quick_settings(text: &[u8]) -> Vec<u8> {
    let mut settings = Vec::with_capacity(text.len() + 1);
    let mut in_interface = false;
    for (line, _) in lines(text) {
        let (name, _) = name_and_value(line);
        let is_header = name.starts_with(b"[");
        if is_header {
            in_interface = name.eq_ignore_ascii_case(b"[Interface]");
        }
        if in_interface && (is_header || is_quick_setting(name)) {
            settings.extend_from_slice(line);
        }
        settings.push(b'\n');
    }
    settings
}

fn name_and_value(line: &[u8]) -> (&[u8], &[u8]) {
    let content = line.split(|byte| *byte == b'#').next().unwrap_or_default();
    let (name, value) = match content.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&content[..equals], &content[equals + 1..]),
        // The original takes the whole line for both.
        None => (content, content),
    };
    (trim(name, is_space), value)
}

fn is_quick_setting(name: &[u8]) -> bool {
    const NAMES: [&str; 9] =
        ["Address", "MTU", "DNS", "Table", "PreUp", "PreDown", "PostUp", "PostDown", "SaveConfig"];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// The lines without their newlines, and whether each had one.
fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    text.split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").map_or((line, false), |line| (line, true)))
}

fn trim(mut bytes: &[u8], is_blank: impl Fn(u8) -> bool) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

/// What the C locale calls white space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1.0.20260223 printed; its one newline at the end is left out here.
    const PRINTED: &[(&[u8], &[u8])] = &[
        (b"", b""),
        (b"a", b"a\n"),
        (b"\n", b"\n"),
        (b"a\n\n", b"a\n\n"),
        (b"  a b  \n", b"a b\n"),
        (b"\ta\t", b"a\n"),
        (b"\r\n", b"\r\n"),
        (
            b"[Interface]\r\nAddress=1\r\nListenPort=5\r\n",
            b"[Interface]\r\nListenPort=5\r\n",
        ),
        (b" \r \n", b"\r\n"),
        (b"a\\\nb\n", b"a\\\nb\n"),
        (b"\0a\0b\n\0", b"ab\n"),
        (b"\x0b a \x0b\x0c\n", b"\x0b a \x0b\x0c\n"),
        (b"\x0b[Interface]\x0b\n\x0b\x0c Address\x0b=5\n", b"\x0b[Interface]\x0b\n"),
        (b"[Interface]\nAddress\n", b"[Interface]\n"),
        (
            b"[Interface]\naddress=5\nADDRESS = 6 # x\nAdd ress=5\n",
            b"[Interface]\nAdd ress=5\n",
        ),
        (b"[Interface]\nAddress x=5\n", b"[Interface]\nAddress x=5\n"),
        (
            b"[Interface]#\nAddress=5\n[Interface]x\nAddress=5\n",
            b"[Interface]#\n[Interface]x\nAddress=5\n",
        ),
        (b"[Interface]=\nAddress=5\n", b"[Interface]=\n"),
        (b"[Interface]\n[\nMTU=5\n[interface]\nMTU=5\n", b"[Interface]\n[\nMTU=5\n[interface]\n"),
        (b"[Peer]\nMTU=5\n", b"[Peer]\nMTU=5\n"),
        (b"[ Interface ]\nMTU=5\n", b"[ Interface ]\nMTU=5\n"),
        (b"[Interface]\n#MTU=5\nMTU#=5\nMTU\n", b"[Interface]\n#MTU=5\n"),
        (b"[Interface]\nSaveConfig=TRUE\nMTU=5", b"[Interface]\n"),
        (b"[Interface]\nSaveConfig=true # x\nMTU=5", b"[Interface]\n"),
        (
            b"[Interface]\nPostUp=a#b\n  # PostUp = c\nFoo=\xff\xfe\nM\xffTU=5\nMTU=\xff\n\xff[Peer]\n",
            b"[Interface]\n# PostUp = c\nFoo=\xff\xfe\nM\xffTU=5\n\xff[Peer]\n",
        ),
        (b"[Interface]\n=MTU\n=\nMTU=#\n", b"[Interface]\n=MTU\n=\n"),
        (b"[Interface]\nPostUp=a\\\nMTU=5\n", b"[Interface]\n"),
        (b"\xef\xbb\xbf[Interface]\nMTU=5\n", b"\xef\xbb\xbf[Interface]\nMTU=5\n"),
        (
            b"[Interface]\nM\0TU=5\n\0\n[In\0terface]\nTab\0le=5\n",
            b"[Interface]\n\n[Interface]\n",
        ),
        (b" \0 a \0 \n", b"a\n"),
        (b" \0 \n", b"\n"),
        (b"[Interface]\nMTU=5\n\0", b"[Interface]\n"),
        (b"[Interface]\nMTU=5\n  ", b"[Interface]\n"),
        (b"[Interface]\nMTU=5\n \r", b"[Interface]\n\r\n"),
        (b"  -n  ", b"-n\n"),
    ];

    #[test]
    fn prints_what_the_original_prints() {
        for (text, printed) in PRINTED {
            let stripped = strip(text).unwrap();
            assert_eq!(stripped.strip_suffix(b"\n"), Some(*printed), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn quick_settings_are_what_strip_leaves_out() {
        let text = b"[Peer]\nMTU=1\n[interface]\nPrivateKey=x\n MTU = 5 # a\nPostUp=b\n[x]\nDNS=1";
        assert_eq!(quick_settings(text), b"\n\n[interface]\n\n MTU = 5 # a\nPostUp=b\n\n\n");
    }

    #[test]
    fn a_save_config_that_is_neither_true_nor_false_is_an_error() {
        for (text, sentence) in [
            ("[Interface]\nSaveConfig=yes\nMTU=5", "`yes' is neither true nor false"),
            ("[Interface]\nSaveConfig\n", "`SaveConfig' is neither true nor false"),
            ("[Interface]\nSaveConfig=true x\n", "`true x' is neither true nor false"),
        ] {
            assert_eq!(strip(text.as_bytes()).unwrap_err().original(), sentence);
        }
        assert!(strip(b"[Peer]\nSaveConfig=yes\n").is_ok());
    }
}
