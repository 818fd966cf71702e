//! Sets of bytes, looked up faster than they can be described.

use wide::u8x16;

pub(super) struct ByteSet([bool; 256]);

/// What stands for itself in the value of a header's parameter without quotes: printable ASCII but for comma,
/// quote and backslash.
pub(super) static PLAIN: ByteSet = ByteSet::of(
    b"!#$%&'()*+-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~",
);

impl ByteSet {
    /// The set of these bytes.
    #[allow(clippy::indexing_slicing, reason = "when it is compiled, and no byte is beyond 256")]
    pub(super) const fn of(bytes: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut at = 0;
        while at < bytes.len() {
            set[bytes[at] as usize] = true;
            at += 1;
        }
        Self(set)
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).is_some_and(|has| *has)
    }

    /// How many bytes the text begins with that are in the set.
    pub(super) fn leading(&self, text: &[u8]) -> usize {
        let mut rest = text;
        // Eight together need one branch.
        while let Some((block, after)) = rest.split_first_chunk::<8>()
            && block.iter().fold(true, |all, byte| all & self.has(*byte))
        {
            rest = after;
        }
        let last = rest.iter().position(|byte| !self.has(*byte)).unwrap_or(rest.len());
        text.len() - rest.len() + last
    }
}

/// How many bytes the text begins with that stand for themselves in the quoted value of a header's
/// parameter: printable ASCII but for comma, quote and backslash. 16 at a time: signatures are long.
pub(super) fn leading_plain_or_space(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((bytes, after)) = rest.split_first_chunk::<16>() {
        let block = u8x16::new(*bytes);
        let printable = block.simd_eq(block.max(u8x16::splat(b' ')).min(u8x16::splat(b'~')));
        let is = |byte: u8| block.simd_eq(u8x16::splat(byte));
        let plain = (printable & !(is(b',') | is(b'"') | is(b'\\'))).to_bitmask();
        let leading = plain.trailing_ones() as usize;
        if leading < bytes.len() {
            return text.len() - rest.len() + leading;
        }
        rest = after;
    }
    let is_plain = |byte: &u8| *byte == b' ' || PLAIN.has(*byte);
    let last = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
    text.len() - rest.len() + last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_its_bytes_and_no_others() {
        let set = ByteSet::of(b"a\0\xff");
        let has: Vec<u8> = (0..=u8::MAX).filter(|byte| set.has(*byte)).collect();
        assert_eq!(has, b"\0a\xff");
        assert_eq!([&b""[..], b"a", b"aab", b"ba"].map(|text| set.leading(text)), [0, 1, 2, 0]);
        for (length, behind) in
            (0..40).flat_map(|length| (0..20).map(move |behind| (length, behind)))
        {
            let text = [b"a".repeat(length), b"b".repeat(behind)].concat();
            assert_eq!(set.leading(&text), length, "{behind}");
        }
    }
    #[test]
    fn what_is_plain_or_a_space_is_plain_in_blocks_too() {
        for byte in 0..=u8::MAX {
            let is_plain = byte == b' ' || PLAIN.has(byte);
            for (length, behind) in
                (0..40).flat_map(|length| (0..20).map(move |behind| (length, behind)))
            {
                let text =
                    [b"~ ".repeat(length).as_slice(), &[byte], &b"a".repeat(behind)].concat();
                let want = if is_plain { text.len() } else { 2 * length };
                assert_eq!(leading_plain_or_space(&text), want, "{byte:#x} {length} {behind}");
            }
        }
    }
}
