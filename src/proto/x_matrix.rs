//! The `Authorization: X-Matrix` header: what is read, and the one form that is written.
//!
//! What is read is what Synapse reads, plus a scheme in any case, minus what nobody sends and
//! parsers disagree on: repeated parameters, two challenges in one header, unterminated quotes, and
//! the values listed in `x_matrix/tests.rs`.

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

use super::byte_set::{ByteSet, PLAIN, leading_plain_or_space};
use super::ed25519::Signature;
use super::limits::{X_MATRIX_BYTES_MAX, X_MATRIX_PARAMETERS_MAX};
use super::server_name::ServerNameError;
use super::{KeyId, ServerName};

/// The parameters of one header, syntactically sound. Whether key ID and signature are usable is
/// for the caller to find out: Synapse too answers 401, not 400, when they are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XMatrix<'a> {
    /// Who claims to have sent the request.
    pub origin: ServerName,
    /// Whom the request is for, as written; `None` when the parameter is missing (R21).
    pub destination: Option<Cow<'a, str>>,
    /// The signing key's ID, as written.
    pub key: Cow<'a, str>,
    /// The signature, as written.
    pub sig: Cow<'a, str>,
}

/// Why a header value is malformed. Offsets are bytes into the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XMatrixError {
    /// The same parameter stands twice (R17).
    DuplicateParameter {
        /// Where the second one starts.
        offset: usize,
    },
    /// A byte that no value may contain: a control character, one outside ASCII, a comma, quote or
    /// backslash; in a value without quotes also white space (R24).
    ForbiddenByte {
        /// The byte.
        byte: u8,
        /// Where it stands.
        offset: usize,
    },
    /// `origin`, `key` or `sig` is missing (R19).
    MissingParameter(&'static str),
    /// A comma or the end was expected: a quoted value ends before.
    NotSeparated {
        /// Where the comma should be.
        offset: usize,
    },
    /// A name and an equals sign were expected.
    NotAParameter {
        /// Where the name should start.
        offset: usize,
    },
    /// The origin is not a server name (R20).
    Origin(ServerNameError),
    /// The scheme is not followed by a space (R14).
    SchemeNotSeparated,
    /// The value has this many bytes, more than `X_MATRIX_BYTES_MAX`.
    TooLong(usize),
    /// There are more than `X_MATRIX_PARAMETERS_MAX` parameters.
    TooManyParameters,
    /// A quoted value does not end (R24).
    UnterminatedQuote {
        /// Where the value starts.
        offset: usize,
    },
}

impl fmt::Display for XMatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateParameter { offset } => {
                write!(f, "the parameter at byte {offset} stands there a second time")
            }
            Self::ForbiddenByte { byte, offset } => {
                write!(f, "byte 0x{byte:02x} at byte {offset} is not allowed in a value")
            }
            Self::MissingParameter(name) => write!(f, "the parameter {name} is missing"),
            Self::NotSeparated { offset } => {
                write!(f, "at byte {offset}: want a comma or the end after a quoted value")
            }
            Self::NotAParameter { offset } => {
                write!(f, "at byte {offset}: want a parameter, name=value without spaces")
            }
            Self::Origin(error) => write!(f, "the origin is not a server name: {error}"),
            Self::SchemeNotSeparated => {
                f.write_str("the scheme X-Matrix is not followed by a space")
            }
            Self::TooLong(bytes) => {
                write!(f, "the header has {bytes} bytes, the limit is {X_MATRIX_BYTES_MAX}")
            }
            Self::TooManyParameters => {
                write!(f, "the header has more than {X_MATRIX_PARAMETERS_MAX} parameters")
            }
            Self::UnterminatedQuote { offset } => {
                write!(f, "the quoted value at byte {offset} does not end")
            }
        }
    }
}

impl std::error::Error for XMatrixError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Origin(error) = self { Some(error) } else { None }
    }
}

const SCHEME: &[u8] = b"X-Matrix";

/// As many parameters that are not known take no memory of their own.
const PARAMETERS_INLINE: usize = 4;

/// The parameters that are known.
#[derive(Clone, Copy)]
enum Parameter {
    Origin,
    Destination,
    Key,
    Sig,
}

impl Parameter {
    /// The one of that name, in any case.
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"origin" => Some(Self::Origin),
            b"destination" => Some(Self::Destination),
            b"key" => Some(Self::Key),
            b"sig" => Some(Self::Sig),
            // Nobody is known to write them in another way.
            _ if name.iter().any(u8::is_ascii_uppercase) => Self::named(&name.to_ascii_lowercase()),
            _ => None,
        }
    }
}

impl<'a> XMatrix<'a> {
    /// Reads one header value. `Ok(None)` when its scheme is not X-Matrix.
    pub fn parse(value: &'a [u8]) -> Result<Option<Self>, XMatrixError> {
        let Some((scheme, rest)) = value.split_at_checked(TOKEN.leading(value)) else {
            return Ok(None);
        };
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Ok(None);
        }
        if value.len() > X_MATRIX_BYTES_MAX {
            return Err(XMatrixError::TooLong(value.len()));
        }
        if rest.first() != Some(&b' ') {
            return Err(XMatrixError::SchemeNotSeparated);
        }
        let text = str::from_utf8(value).or_else(|error| {
            // What follows is refused where it is come across.
            str::from_utf8(value.get(..error.valid_up_to()).unwrap_or_default())
        });
        let mut reader = Reader { value, text: text.unwrap_or_default(), offset: scheme.len() };
        reader.skip_blanks(b" ");
        reader.parameters().map(Some)
    }
}

/// A position in a header value.
struct Reader<'a> {
    value: &'a [u8],
    /// The same as far as it is UTF-8.
    text: &'a str,
    offset: usize,
}

impl<'a> Reader<'a> {
    fn parameters(&mut self) -> Result<XMatrix<'a>, XMatrixError> {
        let mut unknown: SmallVec<[&[u8]; PARAMETERS_INLINE]> = SmallVec::new();
        let [mut origin, mut destination, mut key, mut sig] = [const { None }; 4];
        for number in 0.. {
            let offset = self.offset;
            let name = self.name()?;
            if number == X_MATRIX_PARAMETERS_MAX {
                return Err(XMatrixError::TooManyParameters);
            }
            let place = match Parameter::named(name) {
                Some(Parameter::Origin) => Some(&mut origin),
                Some(Parameter::Destination) => Some(&mut destination),
                Some(Parameter::Key) => Some(&mut key),
                Some(Parameter::Sig) => Some(&mut sig),
                None => None,
            };
            let is_repeated = match &place {
                Some(place) => place.is_some(),
                None => unknown.iter().any(|seen| seen.eq_ignore_ascii_case(name)),
            };
            if is_repeated {
                return Err(XMatrixError::DuplicateParameter { offset });
            }
            let value = self.parameter_value()?;
            match place {
                Some(place) => *place = Some(value),
                None => unknown.push(name),
            }
            if self.peek().is_none() {
                break;
            }
            self.separator()?;
        }
        let origin = origin.ok_or(XMatrixError::MissingParameter("origin"))?;
        Ok(XMatrix {
            origin: ServerName::parse(&origin).map_err(XMatrixError::Origin)?,
            destination,
            key: key.ok_or(XMatrixError::MissingParameter("key"))?,
            sig: sig.ok_or(XMatrixError::MissingParameter("sig"))?,
        })
    }

    fn peek(&self) -> Option<u8> {
        self.value.get(self.offset).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.value.get(self.offset..).unwrap_or_default()
    }

    /// A parameter's name and the equals sign. No space is taken before it: a name with a space in
    /// it is how a second challenge starts.
    fn name(&mut self) -> Result<&'a [u8], XMatrixError> {
        let offset = self.offset;
        let name = self.rest().get(..TOKEN.leading(self.rest())).unwrap_or_default();
        self.offset += name.len();
        if name.is_empty() || self.peek() != Some(b'=') {
            return Err(XMatrixError::NotAParameter { offset });
        }
        self.offset += 1;
        Ok(name)
    }

    fn parameter_value(&mut self) -> Result<Cow<'a, str>, XMatrixError> {
        if self.peek() == Some(b'"') { self.quoted() } else { self.unquoted() }
    }

    /// Any printable byte that cannot end a value: Synapse takes colons, brackets and padded base64
    /// without quotes (R13).
    fn unquoted(&mut self) -> Result<Cow<'a, str>, XMatrixError> {
        let text = self.take(PLAIN.leading(self.rest()));
        match self.peek() {
            None | Some(b',' | b' ' | b'\t') => Ok(text.into()),
            Some(byte) => Err(self.forbidden(byte)),
        }
    }

    fn quoted(&mut self) -> Result<Cow<'a, str>, XMatrixError> {
        let unterminated = XMatrixError::UnterminatedQuote { offset: self.offset };
        self.offset += 1;
        // Nothing is copied where nothing is escaped.
        let mut text = Cow::Borrowed(self.take(leading_plain_or_space(self.rest())));
        loop {
            let Some(byte) = self.peek() else { return Err(unterminated) };
            match byte {
                b'"' => {
                    self.offset += 1;
                    return Ok(text);
                }
                b'\\' => {
                    self.offset += 1;
                    let Some(escaped) = self.peek() else { return Err(unterminated) };
                    if escaped != b' ' && !PLAIN.has(escaped) {
                        return Err(self.forbidden(escaped));
                    }
                    text.to_mut().push(char::from(escaped));
                    self.offset += 1;
                    text += self.take(leading_plain_or_space(self.rest()));
                }
                _ => return Err(self.forbidden(byte)),
            }
        }
    }

    /// Takes so many bytes, which stand for themselves, in one piece.
    fn take(&mut self, length: usize) -> &'a str {
        let from = self.offset;
        self.offset += length;
        // What stands for itself is ASCII.
        self.text.get(from..self.offset).unwrap_or_default()
    }

    fn forbidden(&self, byte: u8) -> XMatrixError {
        XMatrixError::ForbiddenByte { byte, offset: self.offset }
    }

    /// A comma with spaces and tabs around it (R14).
    fn separator(&mut self) -> Result<(), XMatrixError> {
        self.skip_blanks(b" \t");
        if self.peek() != Some(b',') {
            return Err(XMatrixError::NotSeparated { offset: self.offset });
        }
        self.offset += 1;
        self.skip_blanks(b" \t");
        Ok(())
    }

    fn skip_blanks(&mut self, blanks: &[u8]) {
        while self.peek().is_some_and(|byte| blanks.contains(&byte)) {
            self.offset += 1;
        }
    }
}

/// The bytes of a `token` (RFC 9110, 5.6.2).
static TOKEN: ByteSet =
    ByteSet::of(b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~");

/// Writes the canonical header value, which Synapse, Dendrite and ruma read alike (R25).
pub fn header_value(
    origin: &ServerName,
    destination: &ServerName,
    key: &KeyId,
    signature: &Signature,
) -> String {
    let sig = signature.to_base64();
    format!(r#"X-Matrix origin="{origin}",destination="{destination}",key="{key}",sig="{sig}""#)
}

#[cfg(test)]
mod tests;
