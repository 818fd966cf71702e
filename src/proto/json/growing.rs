//! A text that should be an object, while it still comes.

use bytes::Bytes;

use super::canonical::{CanonicalScan, Progress};
use super::scan::LENGTH_MAX;
use super::{JsonError, Object};

/// The pieces of a text in the order in which they come. For as long as it may be an object in canonical
/// form it is scanned on the way, so that the last piece is all that is left to look at in the end.
#[derive(Debug)]
pub struct GrowingText {
    /// The one piece that there has been: most texts are one, which is never copied.
    first: Bytes,
    /// All pieces, once there has been another.
    rest: Vec<u8>,
    scan: Option<Scan>,
    /// Whether a scan has found the text not to be canonical.
    is_known_to_differ: bool,
}

/// A scan of the text so far.
#[derive(Debug)]
struct Scan {
    canonical: CanonicalScan,
    /// It goes on with as many bytes more.
    step: usize,
    /// The text is UTF-8 up to here.
    utf8: usize,
    /// How much of the text it has been given.
    seen: usize,
    is_whole: bool,
}

impl Scan {
    /// Goes on; whether the text may still be canonical.
    fn advance(&mut self, text: &[u8]) -> bool {
        self.seen = text.len();
        match std::str::from_utf8(text.get(self.utf8..).unwrap_or_default()) {
            Ok(_) => self.utf8 = text.len(),
            // A character may be cut in two.
            Err(error) if error.error_len().is_none() => self.utf8 += error.valid_up_to(),
            Err(_) => return false,
        }
        let progress = self.canonical.advance(text);
        self.is_whole = progress == Progress::Whole && self.utf8 == text.len();
        progress != Progress::Not
    }
}

impl GrowingText {
    /// Nothing yet of a text that is only kept.
    pub const fn kept() -> Self {
        Self { first: Bytes::new(), rest: Vec::new(), scan: None, is_known_to_differ: false }
    }

    /// Nothing yet of a text that should be an object. It is looked at again when `step` bytes more have
    /// come: each time, up to 4 KiB before them are read once more.
    pub fn scanned(step: usize) -> Self {
        let canonical = CanonicalScan::new();
        let scan = Scan { canonical, step, utf8: 0, seen: 0, is_whole: false };
        let scan = Some(scan);
        Self { first: Bytes::new(), rest: Vec::new(), scan, is_known_to_differ: false }
    }

    /// The next piece. Where it is not the first one, memory for `room` bytes is taken for all of them,
    /// or for as many as there are.
    pub fn push(&mut self, piece: Bytes, room: usize) {
        if self.is_empty() {
            self.first = piece;
        } else {
            self.rest.reserve_exact(room.saturating_sub(self.rest.len()));
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
            self.rest.extend_from_slice(&piece);
        }
        if self.scan.as_ref().is_some_and(|scan| self.len() >= scan.seen + scan.step) {
            self.advance();
        }
    }

    /// What has come so far.
    pub fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() { &self.first } else { &self.rest }
    }

    /// How many bytes that is.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// How much of the text has been scanned.
    pub fn scanned_bytes(&self) -> usize {
        self.scan.as_ref().map_or(0, |scan| scan.seen)
    }

    /// Whether it may be the canonical form of an object, as far as has been looked; after the end, whether
    /// it is.
    pub const fn may_be_canonical(&self) -> bool {
        self.scan.is_some()
    }

    /// Says that all of it is there.
    pub fn end(&mut self) {
        self.advance();
        if self.scan.as_ref().is_some_and(|scan| !scan.is_whole) {
            self.give_up();
        }
    }

    /// The object that the text is.
    ///
    /// # Errors
    /// Those of [`Object::scan`].
    pub fn object(&self) -> Result<Object<'_>, JsonError> {
        match &self.scan {
            Some(scan) if scan.is_whole && scan.seen == self.len() => {
                Ok(Object::canonical(self.bytes()))
            }
            None if self.is_known_to_differ => Object::scan_unlikely(self.bytes()),
            Some(_) | None => Object::scan(self.bytes()),
        }
    }

    /// All of the text.
    pub fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.into() }
    }

    fn advance(&mut self) {
        let text = if self.rest.is_empty() { &self.first[..] } else { &self.rest };
        let Some(scan) = &mut self.scan else { return };
        if text.len() > LENGTH_MAX || !scan.advance(text) {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.scan = None;
        self.is_known_to_differ = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_the_end_is_not_taken_for_canonical() {
        let mut grown = GrowingText::scanned(1_000);
        grown.push(Bytes::from_static(b"{}"), 0);
        grown.end();
        assert!(grown.object().unwrap().is_canonical());
        grown.push(Bytes::from_static(b" "), 0);
        assert!(!grown.object().unwrap().is_canonical());
    }

    #[test]
    fn a_text_is_kept_in_the_room_it_is_given_and_one_piece_where_it_is() {
        let piece = Bytes::from_static(b"{\"a\":1");
        let mut grown = GrowingText::scanned(1);
        grown.push(piece.clone(), 0);
        assert_eq!(grown.bytes().as_ptr(), piece.as_ptr());
        grown.push(Bytes::from_static(b"}"), 20);
        assert_eq!((grown.bytes(), grown.rest.capacity()), (&b"{\"a\":1}"[..], 20));
        assert_eq!(grown.into_bytes(), b"{\"a\":1}"[..]);
        let mut kept = GrowingText::kept();
        assert!(kept.is_empty() && !kept.may_be_canonical());
        kept.push(Bytes::from_static(b"{}"), 0);
        kept.end();
        assert!(!kept.may_be_canonical(), "nobody has looked");
        assert!(kept.object().unwrap().is_canonical());
    }
}
