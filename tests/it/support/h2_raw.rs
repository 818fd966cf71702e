//! A client that writes HTTP/2 by hand: fields and frames that no library lets through.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::tls_stream;
use super::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame,
};

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with this body; the fields are compressed and left alone.
    Answered(Bytes),
    /// It was reset, or the connection with it, with this error code.
    Reset(u32),
    /// The connection ended.
    Closed,
}

pub struct H2Raw {
    tls: TlsStream<TcpStream>,
}

impl H2Raw {
    pub async fn connect(address: SocketAddr, ca: &[u8]) -> Self {
        let mut client = Self { tls: tls_stream(address, ca, b"h2").await.unwrap() };
        client.write(PREFACE).await;
        client.frame(SETTINGS, 0, 0, &[]).await;
        client
    }

    /// Sends fields as they are given.
    pub async fn headers(&mut self, stream: u32, fields: &[(&[u8], &[u8])], end: bool) {
        let mut block = Vec::new();
        for (name, value) in fields {
            // A literal field with a literal name (RFC 7541, 6.2.2).
            block.push(0);
            literal(name, &mut block);
            literal(value, &mut block);
        }
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block).await;
    }

    pub async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        self.frame(DATA, if end { END_STREAM } else { 0 }, stream, bytes).await;
    }

    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let bytes = frame(kind, flags, stream, payload);
        self.write(&bytes).await;
    }

    /// A gate that has hung up already shows in the outcome.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _hung_up = self.tls.write_all(bytes).await;
        let _hung_up = self.tls.flush().await;
    }

    /// Reads until it is known what became of the stream.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let mut body = Vec::new();
        loop {
            let mut header = [0; 9];
            if self.tls.read_exact(&mut header).await.is_err() {
                return Outcome::Closed;
            }
            let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
            if self.tls.read_exact(&mut payload).await.is_err() {
                return Outcome::Closed;
            }
            let ours = u32::from_be_bytes([s0, s1, s2, s3]) == stream;
            match kind {
                SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]).await,
                GOAWAY => return Outcome::Reset(word(&payload[4..8])),
                RST_STREAM if ours => return Outcome::Reset(word(&payload)),
                DATA if ours => body.extend_from_slice(&payload),
                _ => {}
            }
            if ours && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                return Outcome::Answered(body.into());
            }
        }
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

/// A string without compression: its length as a 7-bit-prefix integer (RFC 7541, 5.1), its bytes.
fn literal(bytes: &[u8], block: &mut Vec<u8>) {
    if let Some(mut rest) = bytes.len().checked_sub(127) {
        block.push(127);
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    } else {
        block.push(bytes.len() as u8);
    }
    block.extend_from_slice(bytes);
}
