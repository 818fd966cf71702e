//! HTTP/1.1 messages with a length, as clients and homeservers of benchmarks read them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The head of a message, in lower case.
pub struct Head(String);

impl Head {
    pub fn status(&self) -> io::Result<u16> {
        self.0.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(gone)
    }

    /// Whether that is in it, which must be in lower case.
    pub fn holds(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// In bytes; a message without one has no body.
    fn content_length(&self) -> usize {
        let value =
            self.0.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next());
        value.map_or(0, |value| value.trim().parse().unwrap())
    }
}

/// What is there when the other side has ended in the middle of a message.
fn gone() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// Reads a whole message, and leaves what follows it in the buffer.
pub async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<Head> {
    let mut searched = 0;
    let end = loop {
        if let Some(at) = buffer[searched..].windows(4).position(|part| part == b"\r\n\r\n") {
            break searched + at + 4;
        }
        searched = buffer.len().saturating_sub(3);
        read_more(stream, buffer).await?;
    };
    let head = Head(String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase());
    let end = end + head.content_length();
    buffer.reserve(end.saturating_sub(buffer.len()));
    while buffer.len() < end {
        read_more(stream, buffer).await?;
    }
    buffer.drain(..end);
    Ok(head)
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(gone()),
        _ => Ok(()),
    }
}
