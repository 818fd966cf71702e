//! What is followed as bytes go by: the lines between chunks, and HTTP/2 frames. However the bytes are
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
    assert_eq!(whole.is_whole(), cut.is_whole());
    assert_eq!(whole.is_whole(), is_whole(bytes), "{}", bytes.escape_ascii());

    // Not counted: how many frames there may be goes by the time.
    let (mut whole, mut cut) = (FrameWatch::new(false), FrameWatch::new(false));
    assert_eq!(whole.feed(bytes), Ok(()));
    let mut before = 0;
    for piece in pieces(bytes, &cuts) {
        assert_eq!(cut.feed(piece), Ok(()));
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

/// Whether these are chunks as RFC 9112, 7.1 has them, up to the end of the trailers.
fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let significant = rest[..digits].iter().skip_while(|byte| **byte == b'0').count();
        if significant > 16 || digits == 0 {
            return false;
        }
        let size = rest[..digits].iter().fold(0, |size: u64, digit| {
            size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap())
        });
        rest = &rest[digits..];
        if rest.first() == Some(&b';') {
            let plain = |byte: &&u8| matches!(byte, b'\t' | b' '..=b'~');
            rest = &rest[rest.iter().take_while(plain).count()..];
        }
        let Some(data) = rest.strip_prefix(b"\r\n") else { return false };
        if size == 0 {
            return has_trailers(data);
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(2);
        let Some(after) = data.get(length..) else { return false };
        rest = after;
    }
}

/// Whether fields and an empty line stand here, whatever follows.
fn has_trailers(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let (line, after) = rest.split_at(end);
        rest = &after[2..];
        if line.is_empty() {
            return true;
        }
        let name = line.iter().take_while(|byte| is_token(**byte)).count();
        let value = line[name..].strip_prefix(b":");
        let plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if name == 0 || !value.is_some_and(|value| value.iter().all(plain)) {
            return false;
        }
    }
    false
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
