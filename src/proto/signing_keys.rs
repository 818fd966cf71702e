//! A server's own signing keys, as Synapse keeps them in a file: one key per line, algorithm, version
//! and seed, `ed25519 a_AbCd <43 characters>`.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::KeyId;
use super::base64::{decode_array, encode};
use super::ed25519::{SigningKey, VerifyKey};
use super::limits::SIGNING_KEYS_MAX;

/// Characters of the version of a new key. 62^8 versions make it unlikely (1 in 40,000 after 100,000
/// keys, as many as there are servers) that any two keys ever share an ID; Synapse's `a_` and 4
/// letters are 52^4.
const NEW_VERSION_CHARACTERS: usize = 8;

/// What the version of a new key is made of: what the spec allows, without the underscore.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A server's own signing keys: at least one, at most `SIGNING_KEYS_MAX`, each with an ID of its own.
///
/// The first signs where one signature is wanted. Documents are signed by all of them, so that while
/// keys are exchanged peers that know either accept what is signed.
#[derive(Debug)]
pub struct SigningKeys {
    first: (KeyId, SigningKey),
    more: Vec<(KeyId, SigningKey)>,
}

/// Why a text is not a file of signing keys. Says nothing of what the text holds: that may be a seed
/// in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeysError {
    /// No line holds anything.
    Empty,
    /// This line, counted from 1, is wrong.
    Line(usize, LineFlaw),
    /// There are more than `SIGNING_KEYS_MAX` keys.
    TooManyKeys,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFlaw {
    /// It is not ASCII.
    NotAscii,
    /// It has this many words, not 3.
    Words(usize),
    /// The first word is not `ed25519`.
    Algorithm,
    /// The second word cannot be part of a key ID.
    Version,
    /// The third word is not base64 of 32 bytes.
    Seed,
    /// The line with this number has the same version.
    Repeated(usize),
}

impl fmt::Display for SigningKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Line(line, flaw) => write!(f, "line {line} {flaw}"),
            Self::TooManyKeys => write!(f, "it has more than {SIGNING_KEYS_MAX} keys"),
        }
    }
}

impl std::error::Error for SigningKeysError {}

impl fmt::Display for LineFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAscii => f.write_str("is not ASCII text"),
            Self::Words(words) => write!(f, "has not 3 words but {words}"),
            Self::Algorithm => f.write_str("has another algorithm than ed25519"),
            Self::Version => f.write_str("has a version that no key ID can hold"),
            Self::Seed => f.write_str("has a seed that is not base64 of 32 bytes"),
            Self::Repeated(line) => write!(f, "has the same version as line {line}"),
        }
    }
}

impl SigningKeysError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Empty => "`fedgate notary keygen` makes a file with a new key",
            Self::Line(_, LineFlaw::NotAscii | LineFlaw::Words(_)) => {
                "write each key as Synapse does, on a line of its own: \
                 ed25519 a_AbCd <43 characters>"
            }
            Self::Line(_, LineFlaw::Algorithm) => {
                "begin the line with ed25519: Matrix has no other signing keys"
            }
            Self::Line(_, LineFlaw::Version) => {
                "choose a version of the characters a-z, A-Z, 0-9 and _"
            }
            Self::Line(_, LineFlaw::Seed) => {
                "restore the line from a backup: the seed is 43 characters of base64, 44 with \
                 padding"
            }
            Self::Line(_, LineFlaw::Repeated(_)) => {
                "keep the line whose public key other servers know: a key ID stands for one key"
            }
            Self::TooManyKeys => "take out the keys that no server relies on any more",
        }
    }
}

impl SigningKeys {
    /// Reads the text of a file. Versions beyond the spec's `[a-zA-Z0-9_]` are taken where they
    /// exist, as Synapse takes them; empty lines are passed over.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn parse(text: &[u8]) -> Result<Self, SigningKeysError> {
        let mut lines: BTreeMap<KeyId, usize> = BTreeMap::new();
        let mut first = None;
        let mut more = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            if lines.len() == SIGNING_KEYS_MAX {
                return Err(SigningKeysError::TooManyKeys);
            }
            let wrong = |flaw| SigningKeysError::Line(number, flaw);
            let (id, key) = parse_line(line).map_err(wrong)?;
            if let Some(earlier) = lines.insert(id.clone(), number) {
                return Err(wrong(LineFlaw::Repeated(earlier)));
            }
            match first {
                None => first = Some((id, key)),
                Some(_) => more.push((id, key)),
            }
        }
        let first = first.ok_or(SigningKeysError::Empty)?;
        Ok(Self { first, more })
    }

    /// The text of a file with one new key, under an ID of the spec's characters alone. `fill` fills
    /// its argument from a source that nobody can guess.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn generate<E>(
        mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Zeroizing<String>, E> {
        let mut version = String::with_capacity(NEW_VERSION_CHARACTERS);
        while version.len() < NEW_VERSION_CHARACTERS {
            let mut byte = [0];
            fill(&mut byte)?;
            // Six bits have two values too many: drawn again, so that all characters are as likely.
            let character = ALPHABET.get(usize::from(byte[0] >> 2));
            version.extend(character.copied().map(char::from));
        }
        let mut seed = Zeroizing::new([0; 32]);
        fill(&mut *seed)?;
        let seed = Zeroizing::new(encode(&*seed));
        Ok(Zeroizing::new(["ed25519 ", &version, " ", &seed, "\n"].concat()))
    }

    /// The key that signs where one signature is wanted.
    pub fn first(&self) -> (&KeyId, &SigningKey) {
        (&self.first.0, &self.first.1)
    }

    /// All keys, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyId, &SigningKey)> {
        std::iter::once(&self.first).chain(&self.more).map(|(id, key)| (id, key))
    }

    /// The public halves, in the order of the file.
    pub fn verify_keys(&self) -> impl Iterator<Item = (&KeyId, VerifyKey)> {
        self.iter().map(|(id, key)| (id, key.verify_key()))
    }
}

fn parse_line(line: &[u8]) -> Result<(KeyId, SigningKey), LineFlaw> {
    let line = str::from_utf8(line).ok().filter(|line| line.is_ascii());
    let words: Vec<&str> = line.ok_or(LineFlaw::NotAscii)?.split_ascii_whitespace().collect();
    let [algorithm, version, seed] = *words else {
        return Err(LineFlaw::Words(words.len()));
    };
    if algorithm != "ed25519" {
        return Err(LineFlaw::Algorithm);
    }
    let id = KeyId::parse(&format!("{algorithm}:{version}")).map_err(|_error| LineFlaw::Version)?;
    let seed =
        decode_array(seed.as_bytes()).map(Zeroizing::new).map_err(|_error| LineFlaw::Seed)?;
    Ok((id, SigningKey::from_seed(&seed)))
}

#[cfg(test)]
mod tests;
