//! Texts that come in pieces. [`check`] is made with each text that any other test reads.

use bytes::Bytes;

use super::*;

/// Lengths of pieces; all there is in one is the last.
const PIECES: [usize; 4] = [1, 3, 1_000, usize::MAX];

/// A text that came in pieces is read as the same text that came in one.
pub(super) fn check(text: &[u8]) {
    for length in PIECES.into_iter().filter(|length| text.len() / length < 5_000) {
        let grown = grown(text, length);
        assert_eq!(grown.bytes(), text);
        let is_canonical = Object::scan(text).is_ok_and(|object| object.is_canonical());
        let is_found = grown.may_be_canonical() == is_canonical;
        let may_be_missed = is_canonical && has_long_token(text);
        assert!(is_found || may_be_missed, "{length}: {}", text.escape_ascii());
        let [grown, whole] = [grown.object(), Object::scan(text)]
            .map(|read| read.map(|object| collect(|mut sink| object.write_canonical(&mut sink))));
        assert_eq!(grown, whole, "{length}");
    }
}

/// Whether there is something in it that must be there as a whole, and need not be waited for.
fn has_long_token(text: &[u8]) -> bool {
    text.split(|byte| b"\":,[]{}".contains(byte)).any(|part| part.len() >= 4_000)
}

pub(in super::super) fn grown(text: &[u8], length: usize) -> GrowingText {
    let mut grown = GrowingText::scanned(1);
    for piece in text.chunks(length) {
        grown.push(Bytes::copy_from_slice(piece), text.len());
    }
    grown.end();
    grown
}

#[test]
fn a_character_cut_in_two_is_waited_for_and_a_broken_one_is_not() {
    let mut grown = GrowingText::scanned(1);
    grown.push(Bytes::from_static(b"{\"a\":\"\xf0\x9f"), 0);
    assert!(grown.may_be_canonical());
    grown.push(Bytes::from_static(b"\x98\x80\"}"), 0);
    grown.end();
    assert!(grown.may_be_canonical());
    assert!(grown.object().unwrap().is_canonical());
    let mut broken = GrowingText::scanned(1);
    broken.push(Bytes::from_static(b"{\"a\":\"\xf0\x9f\"}"), 0);
    assert!(!broken.may_be_canonical());
    broken.end();
    assert_eq!(broken.object().unwrap_err().kind, JsonErrorKind::NotUtf8);
    let mut cut = GrowingText::scanned(1);
    cut.push(Bytes::from_static(b"{\"a\":\"\xf0\x9f"), 0);
    cut.end();
    assert!(!cut.may_be_canonical());
}

#[test]
fn an_end_that_was_not_told_changes_no_verdict() {
    let mut grown = GrowingText::scanned(1 << 20);
    grown.push(Bytes::from_static(b"{\"b\":1, \"a\":2}"), 0);
    assert!(grown.may_be_canonical(), "nobody has looked");
    assert!(!grown.object().unwrap().is_canonical());
}

#[test]
fn what_is_noted_of_a_text_is_counted() {
    const NUMBER: usize = 1_100;
    let name = |number: usize| format!("\"{number:04}\":0");
    let names: Vec<_> = (0..NUMBER).map(name).collect();
    let falling: Vec<_> = (0..NUMBER).rev().map(name).collect();
    for (text, bytes) in [
        (format!("{{\"a\":{}", "[".repeat(480)), 480 * 12),
        (format!("{{{}", names.join(",")), NUMBER * 4),
        (format!("{{{}}}", falling.join(",")), NUMBER * (4 + 12 + 8)),
        (format!("{{\"a\":[{}", r#"{"b":0,"a":0},"#.repeat(NUMBER)), NUMBER * (12 + 2 * 8)),
        (format!("{{\"a\":[{}", "0, ".repeat(NUMBER)), NUMBER * 4),
    ] {
        let mut scan = scan::Scan::new();
        let _ = scan.advance(text.as_bytes());
        let noted = scan.memory_bytes();
        // Room for a quarter more, and for what takes no memory of its own.
        assert!((bytes..=bytes * 5 / 4 + 1_000).contains(&noted), "{noted} for {bytes}");
    }
}
