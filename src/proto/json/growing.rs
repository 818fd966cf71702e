//! A text that should be an object, while it still comes.

use bytes::Bytes;

use std::borrow::Cow;

use super::plan::LENGTH_MAX;
use super::{JsonError, Object, scan, utf8};

/// What cannot be taken for want of the rest of it is shorter, in bytes: a number, or a member's name
/// with its colon. A text with a longer one is scanned once it is there as a whole.
const TOKEN_BYTES_MAX: usize = 4_096;

/// While the text still comes, so much memory may be taken by what has been noted of it, in bytes, and what
/// is noted of [`AT_ONCE_BYTES`] more: beside the text itself, each request may take 64 KiB. The scan of a
/// text with more to note waits for its end.
const NOTES_BYTES_MAX: usize = 16_384;

/// How much of a text is scanned at once while it comes, in bytes.
const AT_ONCE_BYTES: usize = 8_192;

/// A scan that has waited is gone on with at the end if no more is left than this, in bytes, which takes a
/// few tenths of a millisecond. Else the text is scanned anew by who needs it, in its turn.
const LEFT_BYTES_MAX: usize = 262_144;

/// The pieces of a text in the order in which they come. For as long as it may be an object it is scanned
/// on the way, so that the last piece is all that is left to look at in the end.
#[derive(Debug)]
pub struct GrowingText {
    /// The one piece that there has been: most texts are one, which is never copied.
    first: Bytes,
    /// All pieces, once there has been another.
    rest: Vec<u8>,
    scan: Option<Scan>,
}

/// A scan of the text so far.
#[derive(Debug)]
struct Scan {
    scan: scan::Scan,
    /// It goes on with as many bytes more.
    step: usize,
    /// The text is UTF-8 up to here.
    utf8: usize,
    /// How much of the text it has been given.
    seen: usize,
    is_whole: bool,
}

impl Scan {
    /// Goes on; whether the text may still be an object.
    fn advance(&mut self, text: &[u8]) -> bool {
        self.seen = text.len();
        match utf8::check(text.get(self.utf8..).unwrap_or_default()) {
            Ok(()) => self.utf8 = text.len(),
            Err(broken) if broken.is_cut => self.utf8 += broken.offset,
            Err(_) => return false,
        }
        if !text.starts_with(b"{") {
            return text.is_empty();
        }
        let has_ended = self.scan.advance(text).is_ok();
        let left = text.len() - self.scan.scanned_bytes();
        self.is_whole = has_ended && left == 0 && self.utf8 == text.len();
        if has_ended { left == 0 } else { left < TOKEN_BYTES_MAX }
    }
}

impl GrowingText {
    /// Nothing yet of a text that is only kept.
    pub const fn kept() -> Self {
        Self { first: Bytes::new(), rest: Vec::new(), scan: None }
    }

    /// Nothing yet of a text that should be an object. It is looked at again when `step` bytes more have
    /// come: each time, up to 4 KiB before them are read once more.
    pub fn scanned(step: usize) -> Self {
        let scan = Scan { scan: scan::Scan::new(), step, utf8: 0, seen: 0, is_whole: false };
        Self { first: Bytes::new(), rest: Vec::new(), scan: Some(scan) }
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
            self.advance(NOTES_BYTES_MAX);
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
        match &self.scan {
            Some(scan) => scan.scan.is_canonical(),
            None => false,
        }
    }

    /// Says that all of it is there.
    pub fn end(&mut self) {
        let length = self.len();
        self.scan.take_if(|scan| length - scan.seen > LEFT_BYTES_MAX);
        self.advance(usize::MAX);
        self.scan.take_if(|scan| !scan.is_whole);
    }

    /// The object that the text is.
    ///
    /// # Errors
    /// Those of [`Object::scan`].
    pub fn object(&self) -> Result<Object<'_>, JsonError> {
        match &self.scan {
            Some(scan) if scan.is_whole && scan.seen == self.len() => {
                let plan = Cow::Borrowed(scan.scan.plan());
                Ok(Object { text: self.bytes(), padded: false, plan })
            }
            Some(_) | None => Object::scan(self.bytes()),
        }
    }

    /// All of the text.
    pub fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.into() }
    }

    /// Goes on for as long as not more than so much memory is taken by what has been noted.
    fn advance(&mut self, notes_bytes_max: usize) {
        let text = if self.rest.is_empty() { &self.first[..] } else { &self.rest };
        while let Some(scan) = &mut self.scan
            && scan.seen < text.len()
            && scan.scan.memory_bytes() <= notes_bytes_max
        {
            let end = text.len().min(scan.seen + AT_ONCE_BYTES);
            if text.len() > LENGTH_MAX || !scan.advance(text.get(..end).unwrap_or_default()) {
                self.scan = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::JsonErrorKind;
    use super::super::tests::growing::grown;
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
        assert_eq!(kept.into_bytes(), b"{}"[..]);
    }

    fn written(object: &Object<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        object.write_canonical(&mut |piece: &[u8]| bytes.extend_from_slice(piece));
        bytes
    }

    /// A text of which nothing more has come than this.
    fn begun(text: &str) -> GrowingText {
        let mut begun = GrowingText::scanned(1);
        begun.push(Bytes::copy_from_slice(text.as_bytes()), 0);
        begun
    }

    #[test]
    fn what_is_not_canonical_is_found_on_the_way() {
        for text in [
            r#"{ "a":1,"b":""#,
            r#"{"a" :1,"b":""#,
            r#"{"b":1,"a":""#,
            r#"{"\u0061":1,"b":""#,
            r#"{"a":-0,"b":""#,
            r#"{"a":"\/"#,
            r#"{"a":"\u0041"#,
            r#"{"a":[1 ,""#,
        ] {
            let grown = begun(text);
            assert!(!grown.may_be_canonical(), "{text}");
            assert!(grown.scan.is_some(), "{text}: it is gone on with");
        }
    }

    #[test]
    fn what_is_no_object_is_found_on_the_way() {
        let long = "x".repeat(5_000);
        for text in [
            format!(r#"{{"a":01,"b":"{long}"#),
            format!("{{\"a\":\"\n{long}"),
            format!(r#"{{"a":1,"a":"{long}"#),
            format!(r#"{{"a":tru,"b":"{long}"#),
            format!(r#"{{"a":1}}{long}"#),
            r#"{"a":1} "#.to_owned(),
            r#" {"a":1"#.to_owned(),
            "[1,2".to_owned(),
        ] {
            assert!(begun(&text).scan.is_none(), "{text}");
        }
    }

    #[test]
    fn what_may_yet_be_canonical_is_gone_on_with() {
        let text = r#"{"a":[true,{"b":"\u0001é"},-12],"c":null}"#;
        for begin in (0..=text.len()).filter_map(|end| text.get(..end)) {
            assert!(begun(begin).may_be_canonical(), "{begin}");
        }
    }

    #[test]
    fn a_name_that_is_not_there_as_a_whole_is_noted_once() {
        for text in [r#"{"a":1,"\u0062\/\u0063":2,"d":3}"#, r#"{"\u0062"  :1 , "a\/" : 2}"#] {
            let object = Object::scan(text.as_bytes()).unwrap();
            for length in 1..text.len() {
                let grown = grown(text.as_bytes(), length);
                assert!(grown.scan.is_some());
                let plan = &grown.object().unwrap().plan;
                // White space that was cut in two is noted twice.
                let further = plan.spellings() - object.plan.spellings();
                assert!(further <= text.matches("  ").count(), "{length}: {plan:?}");
            }
        }
    }

    #[test]
    fn the_scan_of_a_text_with_much_to_note_waits_for_its_end() {
        for ([begin, further], number) in [
            ([r#"{"b":[0"#, ", 0"], 10_000),
            ([r#"{"b":[0"#, ", 0"], 200_000),
            ([r#"{"b":[0"#, r#",{"b":0,"a":0}"#], 10_000),
            ([r#"{"b":[0"#, r#",{"b":0,"a":0}"#], 50_000),
        ] {
            let text = format!("{begin}{}]}}", further.repeat(number));
            let mut grown = GrowingText::scanned(1);
            for piece in text.as_bytes().chunks(20_000) {
                grown.push(Bytes::copy_from_slice(piece), text.len());
                let noted = grown.scan.as_ref().unwrap().scan.memory_bytes();
                assert!(noted <= 65_536, "{noted}");
            }
            assert!(grown.scanned_bytes() < text.len());
            grown.end();
            assert_eq!(grown.scan.is_some(), text.len() < 200_000);
            let whole = Object::scan(text.as_bytes()).unwrap();
            assert_eq!(written(&grown.object().unwrap()), written(&whole));
        }
    }

    #[test]
    fn of_much_that_comes_at_once_no_more_is_noted() {
        for further in [", 0", r#",{"b":0,"a":0}"#] {
            let grown = begun(&format!(r#"{{"b":[0{}"#, further.repeat(100_000)));
            let noted = grown.scan.as_ref().unwrap().scan.memory_bytes();
            assert!(noted <= 65_536, "{noted}");
        }
    }

    #[test]
    fn what_has_not_ended_is_no_object() {
        for text in ["{", r#"{"a":1"#, r#"{"a":""#, r#"{"a":{}"#] {
            assert_eq!(begun(text).object().unwrap_err().kind, JsonErrorKind::Syntax, "{text}");
        }
    }

    #[test]
    fn what_must_be_there_as_a_whole_is_waited_for() {
        let [name, number] = ["x", "1"].map(|character| character.repeat(4_000));
        for text in [format!(r#"{{"{name}":1}}"#), format!(r#"{{"a":{number}}}"#)] {
            assert!(grown(text.as_bytes(), 100).scan.is_some());
        }
    }

    #[test]
    fn what_has_been_scanned_of_a_long_text_is_not_scanned_again() {
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(2 * LEFT_BYTES_MAX));
        let grown = grown(text.as_bytes(), 20_000);
        assert!(matches!(grown.object().unwrap().plan, Cow::Borrowed(_)));
    }
}
