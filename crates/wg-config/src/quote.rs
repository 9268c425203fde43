//! Making text from a stranger's file fit to print: bounded, without control characters, and
//! without secrets.

/// What stands in messages for a value that may be secret.
pub(crate) const HIDDEN: &str = "(hidden)";

/// Characters of a quotation before it is cut.
const LONGEST: usize = 1024;

/// The text made printable, and cut when it is longer than 1024 characters.
pub(crate) fn quote(text: &str) -> String {
    quote_start(text, LONGEST)
}

/// The text made printable, and cut when it is longer than so many characters.
pub(crate) fn quote_start(text: &str, longest: usize) -> String {
    let mut quoted: String = text.chars().take(longest).map(printable).collect();
    if text.len() > longest && text.chars().nth(longest).is_some() {
        quoted.push('…');
    }
    quoted
}

/// One visible character for one character, so that columns stay right: control characters become
/// their pictures, and what would turn the direction of writing a replacement character.
pub(crate) fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '␡',
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

/// Where in a line that cannot be read something starts that may be a secret key.
///
/// That is a run of base64 as long as a key, give or take four characters; in a line that begins
/// like `PrivateKey` or `PresharedKey`, any run of 16, also one with blanks in it. A line that
/// begins with `PublicKey` has no secret.
pub(crate) fn secret_start(line: &[u8]) -> Option<usize> {
    let begins = |word: &[u8]| {
        let letters = line.iter().filter(|byte| !byte.is_ascii_whitespace());
        letters.map(u8::to_ascii_lowercase).take(word.len()).eq(word.iter().copied())
    };
    if begins(b"publickey") {
        return None;
    }
    let names_a_secret = begins(b"priv") || begins(b"pre");
    let (shortest, longest) = if names_a_secret { (16, usize::MAX) } else { (40, 48) };
    let mut start = 0;
    let mut length = 0;
    for (offset, &byte) in line.iter().enumerate() {
        if byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/' {
            if length == 0 {
                start = offset;
            }
            length += 1;
        } else if !(names_a_secret && byte.is_ascii_whitespace()) {
            if (shortest..=longest).contains(&length) {
                return Some(start);
            }
            length = 0;
        }
    }
    (shortest..=longest).contains(&length).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

    fn secret(line: &str) -> Option<usize> {
        secret_start(line.as_bytes())
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(quote("a\x07\x1b[31mred\u{202e}\u{9b}"), "a␇␛[31mred\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(quote(&"é".repeat(LONGEST)), "é".repeat(LONGEST));
        assert_eq!(quote(&"é".repeat(LONGEST + 1)), "é".repeat(LONGEST) + "…");
    }

    #[test]
    fn keys_are_found_unless_public() {
        assert_eq!(secret(&format!("Private_Key = {KEY}")), Some(14));
        assert_eq!(secret(&format!("PSK={KEY}")), Some(4));
        assert_eq!(secret("PrivateKey: yAnz5TF+lX XJte14"), Some(12));
        assert_eq!(secret("private key yAnz5TF+lXXJte14"), Some(0));
        assert_eq!(secret(&format!("PublicKey={KEY}")), None);
        assert_eq!(secret("Adress=10.66.0.2/24"), None);
        assert_eq!(secret(&"x".repeat(49)), None);
    }
}
