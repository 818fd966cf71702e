//! What is followed as bytes go by: the size lines of chunks, and HTTP/2 frames. However the bytes are
//! cut, what is made of them is the same.

#![no_main]

use fedgate::proxy::chunks::ChunkLines;
use fedgate::proxy::frames::FrameWatch;
use fedgate_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let cuts = input.bytes(8).to_vec();
    let bytes = input.0;
    let (mut whole, mut cut) = (ChunkLines::default(), ChunkLines::default());
    whole.feed(bytes);
    pieces(bytes, &cuts).for_each(|piece| cut.feed(piece));
    assert_eq!(whole.is_broken(), cut.is_broken());
    assert_eq!(whole.is_broken(), is_broken(bytes), "{}", bytes.escape_ascii());

    let (mut whole, mut cut) = (FrameWatch::default(), FrameWatch::default());
    whole.feed(bytes);
    let mut before = 0;
    for piece in pieces(bytes, &cuts) {
        cut.feed(piece);
        let now = cut.pending().unwrap_or(before);
        assert!(now >= before);
        before = now;
    }
    assert_eq!(whole.pending(), cut.pending());
});

/// The bytes in pieces of these lengths, over and over.
fn pieces<'a>(bytes: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut left = Input(bytes);
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut) + 1).cycle();
    std::iter::from_fn(move || {
        let length = lengths.next().unwrap_or(usize::MAX);
        (!left.is_empty()).then(|| left.bytes(length))
    })
}

/// Whether a size line, as far as it has come, is not as RFC 9112, 7.1 has it.
fn is_broken(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let significant = rest[..digits].iter().skip_while(|byte| **byte == b'0').count();
        if significant > 16 || (digits == 0 && !rest.is_empty()) {
            return true;
        }
        let size = rest[..digits].iter().fold(0, |size: u64, digit| {
            size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap())
        });
        rest = &rest[digits..];
        if rest.first() == Some(&b';') {
            let plain = |byte: &&u8| matches!(byte, b'\t' | b' '..=b'~');
            rest = &rest[rest.iter().take_while(plain).count()..];
        }
        let line_end = &rest[..rest.len().min(2)];
        if !b"\r\n".starts_with(line_end) {
            return true;
        }
        let data = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(4);
        if line_end.len() < 2 || size == 0 || data >= rest.len() {
            return false;
        }
        rest = &rest[data..];
    }
}
