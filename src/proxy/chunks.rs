//! The size lines of a chunked body, as they came over the wire.
//!
//! pingora takes an empty size for zero, spaces after a size, and any byte in an extension, line
//! feeds among them. A proxy in front that reads such a line differently sees other requests on the
//! same connection (threats B2): the gateway refuses what this finds broken.

/// Follows the size lines; the data between them and the trailers are left to pingora.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLines(At);

#[derive(Clone, Copy, Debug)]
enum At {
    /// Not what RFC 9112, 7.1 says.
    Broken,
    /// In the data of a chunk and the line end after it.
    Data { left: u64 },
    /// Behind the last size.
    Done,
    /// In an extension.
    Extension { size: u64 },
    /// Between the two bytes of a line end.
    LineEnd { size: u64 },
    /// In a size; `None` before its first digit.
    Size(Option<u64>),
}

impl Default for ChunkLines {
    fn default() -> Self {
        Self(At::Size(None))
    }
}

impl ChunkLines {
    /// Whether a size line was broken.
    pub const fn is_broken(self) -> bool {
        matches!(self.0, At::Broken)
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            rest = match self.0 {
                At::Broken | At::Done => return,
                At::Data { left } => self.skip(left, rest),
                At::Extension { size } => {
                    self.0 = extension(size, *byte);
                    after
                }
                At::LineEnd { size } => {
                    self.0 = line_end(size, *byte);
                    after
                }
                At::Size(size) => {
                    self.0 = digit(size, *byte);
                    after
                }
            };
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
        (b'\n', 0) => At::Done,
        (b'\n', _) => At::Data { left: size.saturating_add(2) },
        _ => At::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same verdict in one piece and byte by byte.
    fn is_broken(body: &[u8]) -> bool {
        let (mut whole, mut bytes) = (ChunkLines::default(), ChunkLines::default());
        whole.feed(body);
        for byte in body {
            bytes.feed(&[*byte]);
        }
        assert_eq!(whole.is_broken(), bytes.is_broken(), "{}", body.escape_ascii());
        whole.is_broken()
    }

    #[test]
    fn b2_size_lines_that_all_read_alike_are_whole() {
        for body in [
            &b"2\r\n{}\r\n0\r\n\r\n"[..],
            b"1\r\n{\r\n00F;a=\"b\" ;c\r\n123456789012345\r\n0\r\nX: y\n\n",
            b"2\r\n;;\r\n0\r\n\r\nx",
            b"ffffffffffffffff\r\n",
            b"",
        ] {
            assert!(!is_broken(body), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn b2_size_lines_that_parsers_read_differently_are_broken() {
        for body in [
            &b"\r\n"[..],
            b";a\r\n",
            b" 2\r\n",
            b"2 \r\n",
            b"2 ;a\r\n",
            b"2\t\r\n",
            b"2\n",
            b"2\r{",
            b"2;\n",
            b"2;\0",
            b"2;\rx",
            b"2;\x7f",
            b"0x2\r\n",
            b"+2\r\n",
            b"10000000000000000\r\n",
            b"2\r\n{}\r\n\r\n",
            b"2\r\n{}\r\n0\n",
        ] {
            assert!(is_broken(body), "{}", body.escape_ascii());
        }
    }
}
