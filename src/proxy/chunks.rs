//! The size lines and trailers of a chunked body, as they came over the wire.
//!
//! pingora takes an empty size for zero, spaces after a size, any byte in an extension, line feeds
//! among them, and anything at all for a trailer. A proxy in front that reads such a line differently
//! sees other requests on the same connection (threats B2, B12): the gateway refuses what this finds
//! broken.

/// Follows the size lines and the trailers; the data between them is left to pingora.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLines(At);

#[derive(Clone, Copy, Debug)]
enum At {
    /// Not what RFC 9112, 7.1 says.
    Broken,
    /// In the data of a chunk and the line end after it.
    Data { left: u64 },
    /// Behind the empty line that ends the body.
    Done,
    /// Between the two bytes of the empty line.
    End,
    /// In an extension.
    Extension { size: u64 },
    /// Between the two bytes of a line end.
    LineEnd { size: u64 },
    /// In a size; `None` before its first digit.
    Size(Option<u64>),
    /// At the beginning of a trailer, or of the empty line.
    Trailer,
    /// Between the two bytes of a trailer's line end.
    TrailerEnd,
    /// In the name of a trailer.
    TrailerName,
    /// In the value of a trailer.
    TrailerValue,
}

impl Default for ChunkLines {
    fn default() -> Self {
        Self(At::Size(None))
    }
}

impl ChunkLines {
    /// Whether the body has come to its end, and nothing of it was broken.
    pub const fn is_whole(self) -> bool {
        matches!(self.0, At::Done)
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if matches!(self.0, At::Broken | At::Done) {
                return;
            }
            if let At::Data { left } = self.0 {
                rest = self.skip(left, rest);
            } else {
                self.0 = next(self.0, *byte);
                rest = after;
            }
        }
    }

    fn skip<'a>(&mut self, left: u64, bytes: &'a [u8]) -> &'a [u8] {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let (taken, rest) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
        let left = left.saturating_sub(taken.len() as u64);
        self.0 = if left == 0 { At::Size(None) } else { At::Data { left } };
        rest
    }
}

/// One more byte of a line.
fn next(at: At, byte: u8) -> At {
    match at {
        At::Extension { size } => extension(size, byte),
        At::LineEnd { size } => line_end(size, byte),
        At::Size(size) => digit(size, byte),
        At::Trailer if byte == b'\r' => At::End,
        At::Trailer if is_token(byte) => At::TrailerName,
        At::TrailerName if is_token(byte) => At::TrailerName,
        At::TrailerName if byte == b':' => At::TrailerValue,
        At::TrailerValue if byte == b'\r' => At::TrailerEnd,
        At::TrailerValue if byte == b'\t' || (byte >= b' ' && byte != 0x7f) => At::TrailerValue,
        At::TrailerEnd if byte == b'\n' => At::Trailer,
        At::End if byte == b'\n' => At::Done,
        At::Broken
        | At::Data { .. }
        | At::Done
        | At::End
        | At::Trailer
        | At::TrailerEnd
        | At::TrailerName
        | At::TrailerValue => At::Broken,
    }
}

/// Whether a byte may stand in the name of a field (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn digit(size: Option<u64>, byte: u8) -> At {
    match (size, byte, char::from(byte).to_digit(16)) {
        (_, _, Some(digit)) => {
            let grown = size.unwrap_or(0).checked_mul(16);
            grown.map_or(At::Broken, |size| At::Size(Some(size | u64::from(digit))))
        }
        (Some(size), b';', None) => At::Extension { size },
        (Some(size), b'\r', None) => At::LineEnd { size },
        (Some(_) | None, _, None) => At::Broken,
    }
}

const fn extension(size: u64, byte: u8) -> At {
    match byte {
        b'\t' | b' '..=b'~' => At::Extension { size },
        b'\r' => At::LineEnd { size },
        _ => At::Broken,
    }
}

const fn line_end(size: u64, byte: u8) -> At {
    match (byte, size) {
        (b'\n', 0) => At::Trailer,
        (b'\n', _) => At::Data { left: size.saturating_add(2) },
        _ => At::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same verdict in one piece and byte by byte.
    fn is_whole(body: &[u8]) -> bool {
        let (mut whole, mut bytes) = (ChunkLines::default(), ChunkLines::default());
        whole.feed(body);
        for byte in body {
            bytes.feed(&[*byte]);
        }
        assert_eq!(whole.is_whole(), bytes.is_whole(), "{}", body.escape_ascii());
        whole.is_whole()
    }

    #[test]
    fn b2_lines_that_all_read_alike_are_whole() {
        for body in [
            &b"2\r\n{}\r\n0\r\n\r\n"[..],
            b"1\r\n{\r\n00F;a=\"b\" ;c\r\n123456789012345\r\n0\r\nX: y\r\nz:\t\xff\r\n\r\n",
            b"2\r\n;;\r\n0\r\n\r\nx",
            b"0;x\r\n\r\n",
        ] {
            assert!(is_whole(body), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn b2_lines_that_parsers_read_differently_are_not() {
        for body in [
            &b"\r\n"[..],
            b"",
            b"ffffffffffffffff\r\n",
            b";a\r\n",
            b" 2\r\n",
            b"2 \r\n{}\r\n0\r\n\r\n",
            b"2 ;a\r\n{}\r\n0\r\n\r\n",
            b"2\t\r\n{}\r\n0\r\n\r\n",
            b"2\n{}\r\n0\r\n\r\n",
            b"2\r{}\r\n0\r\n\r\n",
            b"2;\n\r\n{}\r\n0\r\n\r\n",
            b"2;\0\r\n{}\r\n0\r\n\r\n",
            b"2;\rx\r\n{}\r\n0\r\n\r\n",
            b"2;\x7f\r\n{}\r\n0\r\n\r\n",
            b"0x2\r\n{}\r\n0\r\n\r\n",
            b"+2\r\n{}\r\n0\r\n\r\n",
            b"10000000000000000\r\n",
            b"2\r\n{}\r\n\r\n",
            b"2\r\n{}\r\n0\n",
            b"2\r\n{}\r\n0\r\n",
        ] {
            assert!(!is_whole(body), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn b12_trailers_that_are_no_fields_are_not() {
        for trailers in [
            &b"x\r\n"[..],
            b": y\r\n",
            b"X y: z\r\n",
            b"X : y\r\n",
            b" X: y\r\n",
            b"X: y\r\n z\r\n",
            b"X: y\n",
            b"X: y\rz\r\n",
            b"X: \0\r\n",
            b"X: \x7f\r\n",
            b"\n",
            b"GET / HTTP/1.1\r\n",
        ] {
            let body = [b"0\r\n", trailers, b"\r\n"].concat();
            assert!(!is_whole(&body), "{}", body.escape_ascii());
        }
    }
}
