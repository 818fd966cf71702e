//! Watches the frames of an HTTP/2 connection go by, to know when one has been on its way for too
//! long, and when there are more than anybody needs.
//!
//! The HTTP/2 library waits for ever for the rest of a frame, and a peer may send a header block of
//! one byte a second. DATA is left out: the body has its own deadline in [`super::body`].
//!
//! What the library bounds by itself is not counted again: the size of a header block, the number of
//! its CONTINUATION frames (CVE-2024-27316), empty DATA frames, requests taken back before they were
//! looked at, and errors that make it reset a stream (CVE-2025-8671). It answers each SETTINGS and PING
//! for as long as they come, and takes any number of requests that are taken back right after they
//! have been begun (CVE-2023-44487): [`super::frame_count`] counts those.

use super::frame_count::{Flood, FrameCount, FrameKind};

/// Length of the client's connection preface in bytes (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;

/// Length of a frame header in bytes (RFC 9113 section 4.1).
const FRAME_HEADER_BYTES: usize = 9;

const TYPE_DATA: u8 = 0x0;
const TYPE_HEADERS: u8 = 0x1;
const TYPE_RST_STREAM: u8 = 0x3;
const TYPE_CONTINUATION: u8 = 0x9;
const FLAG_END_HEADERS: u8 = 0x4;
const FLAG_END_STREAM: u8 = 0x1;

/// Where in the sequence of frames the connection is.
#[derive(Debug)]
pub struct FrameWatch {
    at: At,
    /// A header block has been opened and not ended.
    block_open: bool,
    /// Counts what has been completed, so that a new beginning can be told from an old one.
    completed: u64,
    /// How many frames there may be; `None` for a trusted proxy, which speaks for many clients.
    count: Option<FrameCount>,
}

#[derive(Debug)]
enum At {
    Preface { left: usize },
    Header { bytes: [u8; FRAME_HEADER_BYTES], have: usize },
    Payload { left: usize, data: bool, ends_block: bool },
}

impl FrameWatch {
    /// Watches a connection from its preface on, with a bound on its frames if it `is_counted`.
    pub fn new(is_counted: bool) -> Self {
        let at = At::Preface { left: PREFACE_BYTES };
        let count = is_counted.then(FrameCount::new);
        Self { at, block_open: false, completed: 0, count }
    }

    /// Takes note of bytes that were received.
    ///
    /// # Errors
    /// There are more frames than anybody needs.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while !bytes.is_empty() {
            bytes = self.step(bytes)?;
        }
        Ok(())
    }

    /// Takes note of bytes that were sent: who is told much has much to acknowledge.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(count) = &mut self.count {
            count.sent(bytes);
        }
    }

    /// Whether something other than DATA has begun and is not complete: the number tells one
    /// beginning from the next.
    pub const fn pending(&self) -> Option<u64> {
        let begun = match self.at {
            At::Preface { .. } => true,
            At::Header { have, .. } => have > 0 || self.block_open,
            At::Payload { data, .. } => !data,
        };
        if begun { Some(self.completed) } else { None }
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Flood> {
        let rest = match &mut self.at {
            At::Preface { left } => {
                let (taken, rest) = split(bytes, *left);
                *left -= taken.len();
                if *left == 0 {
                    self.next_frame();
                }
                rest
            }
            At::Header { bytes: header, have } => {
                let (taken, rest) = split(bytes, FRAME_HEADER_BYTES - *have);
                for (slot, byte) in header.iter_mut().skip(*have).zip(taken) {
                    *slot = *byte;
                }
                *have += taken.len();
                if *have == FRAME_HEADER_BYTES {
                    let header = *header;
                    self.begin_payload(header)?;
                }
                rest
            }
            At::Payload { left, ends_block, .. } => {
                let (taken, rest) = split(bytes, *left);
                *left -= taken.len();
                if *left == 0 {
                    let ends_block = *ends_block;
                    self.end_payload(ends_block);
                }
                rest
            }
        };
        Ok(rest)
    }

    fn begin_payload(&mut self, header: [u8; FRAME_HEADER_BYTES]) -> Result<(), Flood> {
        let [l0, l1, l2, kind, flags, ..] = header;
        let left = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        if let Some(count) = &mut self.count {
            count.add(frame_kind(kind, flags, left))?;
        }
        let of_block = matches!(kind, TYPE_HEADERS | TYPE_CONTINUATION);
        let ends_block = of_block && flags & FLAG_END_HEADERS != 0;
        if of_block {
            self.block_open = true;
        }
        self.at = At::Payload { left, data: kind == TYPE_DATA, ends_block };
        if left == 0 {
            self.end_payload(ends_block);
        }
        Ok(())
    }

    fn end_payload(&mut self, ends_block: bool) {
        if ends_block {
            self.block_open = false;
        }
        self.next_frame();
    }

    fn next_frame(&mut self) {
        // A CONTINUATION belongs to what its HEADERS began: it does not start a new clock.
        if !self.block_open {
            self.completed += 1;
        }
        self.at = At::Header { bytes: [0; FRAME_HEADER_BYTES], have: 0 };
    }
}

const fn frame_kind(kind: u8, flags: u8, length: usize) -> FrameKind {
    match kind {
        TYPE_HEADERS => FrameKind::Request,
        TYPE_RST_STREAM => FrameKind::Reset,
        TYPE_DATA if length > 0 || flags & FLAG_END_STREAM != 0 => FrameKind::Content,
        TYPE_CONTINUATION if length > 0 => FrameKind::Content,
        _ => FrameKind::Control,
    }
}

/// The first `n` bytes, or all there are, and the rest.
fn split(bytes: &[u8], n: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(n).unwrap_or((bytes, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn after_preface() -> FrameWatch {
        let mut watch = FrameWatch::new(true);
        watch.feed(PREFACE).unwrap();
        watch
    }

    #[test]
    fn the_preface_is_pending_until_it_is_whole() {
        let mut watch = FrameWatch::new(true);
        for byte in PREFACE.iter().take(23) {
            watch.feed(&[*byte]).unwrap();
            assert_eq!(watch.pending(), Some(0));
        }
        watch.feed(b"\n").unwrap();
        assert_eq!(watch.pending(), None);
    }

    #[test]
    fn a_dripped_header_block_is_one_pending_thing_over_all_its_frames() {
        let mut watch = after_preface();
        let mut wire = frame(TYPE_HEADERS, 0, b"abc");
        wire.extend(frame(TYPE_CONTINUATION, 0, b""));
        wire.extend(frame(TYPE_CONTINUATION, FLAG_END_HEADERS, b"de"));
        let (last, before) = wire.split_last().unwrap();
        for byte in before {
            watch.feed(&[*byte]).unwrap();
            assert_eq!(watch.pending(), Some(1));
        }
        watch.feed(&[*last]).unwrap();
        assert_eq!(watch.pending(), None);
    }

    #[test]
    fn data_is_left_to_the_body_deadline_once_its_header_is_known() {
        let mut watch = after_preface();
        let wire = frame(TYPE_DATA, 0, &[7; 100]);
        let (header, payload) = wire.split_at(9);
        watch.feed(&header[..8]).unwrap();
        assert!(watch.pending().is_some());
        watch.feed(&header[8..]).unwrap();
        assert_eq!(watch.pending(), None);
        watch.feed(payload).unwrap();
        assert_eq!(watch.pending(), None);
    }

    #[test]
    fn many_frames_in_one_read_leave_the_last_unfinished_one_pending() {
        let mut watch = after_preface();
        let mut wire = frame(0x4, 0, &[0; 12]);
        wire.extend(frame(TYPE_HEADERS, FLAG_END_HEADERS, b"x"));
        wire.extend(frame(0x6, 0, &[0; 8]));
        wire.pop();
        watch.feed(&wire).unwrap();
        assert_eq!(watch.pending(), Some(3));
    }
}
