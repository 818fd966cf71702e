//! What pingora made of a head, compared with what came over the wire.

use http::Version;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use memchr::memchr_iter;
use pingora::protocols::http::ServerSession;

use super::connection::HeadWatch;
use crate::gate::admission::shown;
use crate::gate::{Refusal, Rejection};

/// Refuses what pingora repaired while it read the head: the gate would judge another request
/// than the one that was sent.
pub(super) fn check_wire(watch: &HeadWatch, session: &ServerSession) -> Result<(), Refusal> {
    let head = session.req_header();
    let line = watch
        .request_line()
        .ok_or_else(|| Refusal::new(Rejection::HeadTooLarge, "request line over the cap"))?;
    if !is_verbatim(&line, head.method.as_str().as_bytes(), head.raw_path()) {
        return Err(Refusal::new(
            Rejection::TargetRefused,
            format_args!("request line {}", shown(&line)),
        ));
    }
    if head.version == Version::HTTP_11 && !head.headers.contains_key(HOST) {
        return Err(Refusal::new(Rejection::RequestMalformed, "no Host"));
    }
    let raw = session.to_h1_raw();
    if has_bare_line_feed(&raw) {
        return Err(Refusal::new(Rejection::RequestMalformed, "a line ends without CR"));
    }
    // pingora drops Content-Length when both are there.
    if head.headers.contains_key(TRANSFER_ENCODING) && has_field(&raw, CONTENT_LENGTH.as_str()) {
        return Err(Refusal::new(
            Rejection::FramingAmbiguous,
            "both Content-Length and Transfer-Encoding",
        ));
    }
    Ok(())
}

/// Whether a request line is exactly `method SP target SP HTTP/1.x`.
fn is_verbatim(line: &[u8], method: &[u8], target: &[u8]) -> bool {
    let rest = line.strip_prefix(method).and_then(|rest| rest.strip_prefix(b" "));
    let version = rest.and_then(|rest| rest.strip_prefix(target));
    matches!(version, Some(b" HTTP/1.1" | b" HTTP/1.0"))
}

/// Whether a line of a raw head ends in a line feed alone: where one parser sees the end of the
/// head, another reads on (threats B1).
fn has_bare_line_feed(raw: &[u8]) -> bool {
    memchr_iter(b'\n', raw).any(|at| !raw.get(..at).is_some_and(|line| line.ends_with(b"\r")))
}

/// Whether a raw head has a field with this lower-case name.
fn has_field(raw: &[u8], name: &str) -> bool {
    raw.split(|b| *b == b'\n').skip(1).any(|line| {
        line.split(|b| *b == b':').next().is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b5_a_line_that_was_repaired_is_noticed() {
        let ok = |line: &[u8]| is_verbatim(line, b"GET", b"/a?b");
        assert!(ok(b"GET /a?b HTTP/1.1"));
        assert!(ok(b"GET /a?b HTTP/1.0"));
        for line in [
            &b"GET /a?b#c HTTP/1.1"[..],
            b"GET  /a?b HTTP/1.1",
            b"GET /a?b  HTTP/1.1",
            b"",
            b"GET /a?b HTTP/1.1 ",
            b"GET\t/a?b HTTP/1.1",
            b"get /a?b HTTP/1.1",
        ] {
            assert!(!ok(line), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn b1_a_line_feed_alone_is_noticed_wherever_it_is() {
        for raw in ["", "GET / HTTP/1.1\r\nA: b\r\n\r\n", "\r\n", "no line \r at all"] {
            assert!(!has_bare_line_feed(raw.as_bytes()), "{raw:?}");
        }
        for raw in ["\n", "a\n", "a\r\n\n", "a\r\nb\nc\r\n", "\r \n", "a\r\nb\r\n\r\n\n"] {
            assert!(has_bare_line_feed(raw.as_bytes()), "{raw:?}");
        }
    }

    #[test]
    fn b1_a_dropped_content_length_is_still_seen_in_the_raw_head() {
        let raw = b"PUT /a HTTP/1.1\r\nHost: x\r\nCONTENT-length: 3\r\n\r\n";
        assert!(has_field(raw, "content-length"));
        assert!(!has_field(
            b"PUT /content-length: HTTP/1.1\r\nX: content-length\r\n\r\n",
            "content-length"
        ));
    }
}
