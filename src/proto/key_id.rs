//! Key IDs: `ed25519:a_1`.

use std::fmt;

use smol_str::SmolStr;

use super::byte_set::PLAIN;
use super::limits::KEY_ID_BYTES_MAX;

/// A signing key's ID, `<algorithm>:<version>`; read liberally, compared byte for byte. Up to 23 bytes
/// stand in place, and nothing is allocated; longer ones are shared by their clones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(SmolStr);

/// Why a text is not a key ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIdError;

impl fmt::Display for KeyIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a key ID: want <algorithm>:<version>, as in ed25519:a_1, of at most \
             {KEY_ID_BYTES_MAX} printable ASCII characters"
        )
    }
}

impl std::error::Error for KeyIdError {}

impl KeyId {
    /// Parses `<algorithm>:<version>`: both parts non-empty, printable ASCII without `"`, `,`, `\`
    /// and space, at most `KEY_ID_BYTES_MAX` bytes. The spec's `[a-zA-Z0-9_]` for the version is not
    /// asked for: versions such as `i+b2` are in use.
    pub fn parse(text: &str) -> Result<Self, KeyIdError> {
        match text.bytes().position(|byte| byte == b':') {
            Some(algorithm_bytes)
                if algorithm_bytes > 0
                    && algorithm_bytes + 1 < text.len()
                    && text.len() <= KEY_ID_BYTES_MAX
                    && PLAIN.leading(text.as_bytes()) == text.len() =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(KeyIdError),
        }
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the text takes in memory beside the handle, in bytes: nothing where it stands in place, else
    /// two counters and the text. Clones take none of it.
    pub fn shared_bytes(&self) -> usize {
        if self.0.is_heap_allocated() { 2 * size_of::<usize>() + self.0.len() } else { 0 }
    }

    /// Whether the key is of the one algorithm Matrix defines.
    pub fn is_ed25519(&self) -> bool {
        self.0.starts_with("ed25519:")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_seen_in_the_wild_parse() {
        for text in
            ["ed25519:auto", "ed25519:a_c2e256", "ed25519:i+b2", "ed25519:a+bc", "x:a:b", "x:a:"]
        {
            let id = KeyId::parse(text).unwrap();
            assert_eq!(id.as_str(), text);
        }
    }

    #[test]
    fn the_algorithm_ends_at_the_first_colon_and_is_compared_exactly() {
        assert!(KeyId::parse("ed25519:1:2").unwrap().is_ed25519());
        for text in ["rsa:1", "ED25519:1", "curve25519:1", "ed25519x:1"] {
            assert!(!KeyId::parse(text).unwrap().is_ed25519(), "{text}");
        }
    }

    #[test]
    fn what_could_break_a_header_or_a_log_line_is_refused() {
        let bad = [
            "", ":", "ed25519", "ed25519:", ":1", ":1:2", "a:b c", "a:b\"", "a:b,", "a:\\", "a:\n",
        ];
        for text in bad.into_iter().chain(["a:\u{e9}", "a:\u{7f}", "a:\0"]) {
            assert_eq!(KeyId::parse(text), Err(KeyIdError), "{text:?}");
        }
    }

    #[test]
    fn an_id_is_of_printable_characters_that_end_no_value() {
        for character in (0..=u8::MAX).map(char::from) {
            let is_taken = character.is_ascii_graphic() && !"\",\\".contains(character);
            assert_eq!(
                KeyId::parse(&format!("a:b{character}c")).is_ok(),
                is_taken,
                "{character:?}"
            );
        }
    }

    #[test]
    fn the_length_is_bounded() {
        let longest = format!("ed25519:{}", "a".repeat(KEY_ID_BYTES_MAX - 8));
        assert!(KeyId::parse(&longest).is_ok());
        assert_eq!(KeyId::parse(&format!("{longest}a")), Err(KeyIdError));
    }

    #[test]
    fn only_a_long_id_takes_memory_beside_itself() {
        let bytes = |text: &str| KeyId::parse(text).unwrap().shared_bytes();
        assert_eq!(bytes("ed25519:1"), 0);
        assert_eq!(bytes(&format!("ed25519:{}", "a".repeat(15))), 0);
        assert_eq!(bytes(&format!("ed25519:{}", "a".repeat(16))), 2 * size_of::<usize>() + 24);
    }
}
