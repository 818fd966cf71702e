//! A captured request: head and body exactly as sent over HTTP/1.1.

/// Most headers read from one request.
const HEADERS_MAX: usize = 200;

/// A request as captured; nothing in it is judged yet but its framing.
#[derive(Debug)]
pub(super) struct Capture<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a [u8],
    /// The values of the `Authorization` headers.
    pub(super) authorization: Vec<&'a [u8]>,
    pub(super) body: &'a [u8],
}

/// Reads a file that holds one request.
pub(super) fn parse(file: &[u8]) -> Result<Capture<'_>, String> {
    let (head, body) = split_head(file)
        .ok_or("there is no empty line after the head: the file must hold the whole request")?;
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.trim_suffix_cr());
    let (method, target) = lines.next().and_then(request_line).ok_or(
        "the first line is not a request line: want METHOD TARGET HTTP/1.1, separated by single \
         spaces",
    )?;
    let mut authorization = Vec::new();
    let mut length = None;
    for (index, line) in lines.enumerate() {
        if index >= HEADERS_MAX {
            return Err(format!("there are more than {HEADERS_MAX} headers"));
        }
        let (name, value) = header(line)
            .ok_or_else(|| format!("line {} is not a header: want Name: value", index + 2))?;
        match name.to_ascii_lowercase().as_slice() {
            b"authorization" => authorization.push(value),
            b"content-length" => length = Some(content_length(value)?),
            b"transfer-encoding" => {
                return Err("the body is in chunks: put them together and give Content-Length \
                            instead of Transfer-Encoding"
                    .to_owned());
            }
            _ => {}
        }
    }
    check_length(length, body)?;
    Ok(Capture { method, target, authorization, body })
}

fn check_length(length: Option<usize>, body: &[u8]) -> Result<(), String> {
    let Some(length) = length.filter(|length| *length != body.len()) else { return Ok(()) };
    let hint = if body.len() == length + 1 && body.ends_with(b"\n") {
        ": an editor seems to have added a line end, remove it"
    } else {
        ""
    };
    Err(format!("Content-Length says {length} bytes, the file has a body of {}{hint}", body.len()))
}

/// The lines of the head, without the empty one, and the body.
fn split_head(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = 0;
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        if line == b"\r\n" || line == b"\n" {
            let head = file.get(..end)?;
            return Some((head.strip_suffix(b"\n")?, file.get(end + line.len()..)?));
        }
        end += line.len();
    }
    None
}

trait TrimSuffix {
    fn trim_suffix_cr(&self) -> &Self;
}

impl TrimSuffix for [u8] {
    fn trim_suffix_cr(&self) -> &Self {
        self.strip_suffix(b"\r").unwrap_or(self)
    }
}

fn request_line(line: &[u8]) -> Option<(&str, &[u8])> {
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let method = std::str::from_utf8(method).ok()?;
    let well_formed = !method.is_empty()
        && method.bytes().all(|byte| byte.is_ascii_alphabetic())
        && version.starts_with(b"HTTP/")
        && words.next().is_none();
    well_formed.then_some((method, target))
}

fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let well_formed = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic());
    well_formed.then_some((name, value.get(1..)?.trim_ascii()))
}

fn content_length(value: &[u8]) -> Result<usize, String> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "Content-Length is not a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_whatever_its_line_ends() {
        for end in ["\r\n", "\n"] {
            let file = ["PUT /x HTTP/1.1", "authorization: A", "Content-Length: 2", "", "{}"];
            let file = file.join(end);
            let capture = parse(file.as_bytes()).expect("a request");
            assert_eq!(
                (capture.method, capture.target, capture.body),
                ("PUT", &b"/x"[..], &b"{}"[..])
            );
            assert_eq!(capture.authorization, [b"A"]);
        }
    }

    #[test]
    fn what_is_unclear_is_refused_with_the_cause() {
        for (file, cause) in [
            ("GET /x HTTP/1.1\r\n", "no empty line"),
            ("GET /a b HTTP/1.1\r\n\r\n", "not a request line"),
            ("GET  /x HTTP/1.1\r\n\r\n", "not a request line"),
            ("GET /x HTTP/1.1\r\nnonsense\r\n\r\n", "line 2 is not a header"),
            ("PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "in chunks"),
            ("PUT /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}\n", "an editor"),
            ("PUT /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}", "says 9 bytes"),
            ("PUT /x HTTP/1.1\r\nContent-Length: +2\r\n\r\n{}", "not a number"),
        ] {
            let error = parse(file.as_bytes()).expect_err(file);
            assert!(error.contains(cause), "{file}: {error}");
        }
    }
}
