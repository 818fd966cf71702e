//! One plain HTTP request of our own, for `check`, `healthcheck` and `keys`.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::config::Homeserver;

/// Time for the connection, and for each write; for the answer too, where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer that is read, in bytes: a server with a thousand keys, shown by several sources.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The value of the `Date` header.
    pub(super) date: Option<String>,
    pub(super) body: String,
}

/// A request.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Further lines of the head, each with its end.
    pub(super) headers: &'a str,
    pub(super) body: &'a str,
    /// Time for the answer to begin and between its parts.
    pub(super) timeout: Duration,
}

/// Sends `GET path` and reads the whole answer.
pub(super) fn get(server: &Homeserver, path: &str) -> io::Result<Answer> {
    send(server, &Asked { method: "GET", path, headers: "", body: "", timeout: TIMEOUT })
}

/// Sends a request and reads the whole answer.
pub(super) fn send(server: &Homeserver, asked: &Asked<'_>) -> io::Result<Answer> {
    let (mut stream, host): (Box<dyn Stream>, String) = match server {
        Homeserver::Tcp { host, port } => {
            let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let stream = connect(host, *port)?;
            stream.set_read_timeout(Some(asked.timeout))?;
            (Box::new(stream), format!("{shown}:{port}"))
        }
        Homeserver::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(asked.timeout))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            (Box::new(stream), "localhost".to_owned())
        }
    };
    let Asked { method, path, headers, body, timeout: _ } = asked;
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    // HTTP/1.0: the answer ends with the connection and is never chunked.
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\n{headers}{length}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&bytes)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = bytes.utf8_chunks().map(|chunk| chunk.valid()).collect::<String>();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let date = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("date"))
        .map(|(_, value)| value.trim().to_owned());
    Some(Answer { status, date, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let answer = parse(b"HTTP/1.1 404 Not Found\r\ndate: Sat\r\nX: y\r\n\r\n{}").expect("HTTP");
        assert_eq!(
            (answer.status, answer.date.as_deref(), &*answer.body),
            (404, Some("Sat"), "{}")
        );
    }

    #[test]
    fn what_is_no_http_is_none() {
        for bytes in [&b""[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n"] {
            assert!(parse(bytes).is_none());
        }
    }
}
