//! The secret that the API asks for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Fewest characters of a token: 20 at random cannot be guessed.
const CHARS_MIN: usize = 20;

/// Largest file that is read, in bytes; a token has some dozen.
const FILE_BYTES_MAX: u64 = 4_096;

/// The secret that the API asks for. Only its hash is kept, and hashes are compared: how long that
/// takes says nothing about the secret.
#[derive(Clone)]
pub struct Token([u8; 32]);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It holds something that no header can.
    #[error("it is not one line of printable ASCII characters without spaces")]
    NotText,
    /// It could be guessed.
    #[error("it has fewer than {CHARS_MIN} characters; make one with `openssl rand -hex 20`")]
    TooShort,
}

impl Token {
    /// The token with this text.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Whether `text` is the secret.
    pub(super) fn is(&self, text: &str) -> bool {
        Self::new(text).0 == self.0
    }
}

/// The text of a token, from its file.
///
/// # Errors
/// When there is none that is fit to be one.
pub fn read(path: &Path) -> Result<String, TokenError> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::NotText);
    }
    if text.len() < CHARS_MIN {
        return Err(TokenError::TooShort);
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<String, TokenError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn the_file_holds_the_token_and_perhaps_an_end_of_line() {
        let token = "0123456789abcdef0123";
        assert_eq!(read_text(token).unwrap(), token);
        assert_eq!(read_text(&format!("{token}\n")).unwrap(), token);
    }

    #[test]
    fn what_could_be_guessed_or_sent_by_no_header_is_refused() {
        assert!(matches!(read_text(""), Err(TokenError::TooShort)));
        assert!(matches!(read_text("0123456789abcdef012\n"), Err(TokenError::TooShort)));
        assert!(matches!(read_text("0123456789 abcdef0123"), Err(TokenError::NotText)));
        assert!(matches!(read_text("0123456789\nabcdef0123"), Err(TokenError::NotText)));
        let gone = read(Path::new("/nonexistent/token"));
        assert!(matches!(gone, Err(TokenError::Unreadable(_))));
    }

    #[test]
    fn only_the_secret_is_the_secret() {
        let token = Token::new("secret");
        assert!(token.is("secret"));
        assert!(!token.is("secreT") && !token.is("secret ") && !token.is(""));
    }
}
