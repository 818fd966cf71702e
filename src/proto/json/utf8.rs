//! Whether a text is UTF-8. Most are ASCII almost everywhere, which costs less to find out than what the
//! standard library does.

/// How much is looked at together for bytes beyond ASCII, in bytes.
const ASCII_BYTES: usize = 64;

/// How much is read together where there are some, in bytes.
const BLOCK_BYTES: usize = 256;

/// Where a text breaks the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Where the character begins that is none.
    pub(super) offset: usize,
    /// Whether it may be one that is cut off by the end of the text.
    pub(super) is_cut: bool,
}

/// Checks a text.
pub(super) fn check(text: &[u8]) -> Result<(), Broken> {
    let mut rest = text;
    loop {
        rest = skip_ascii(rest);
        let (block, behind) = rest.split_at(BLOCK_BYTES.min(rest.len()));
        match str::from_utf8(block) {
            Ok(_) if behind.is_empty() => return Ok(()),
            Ok(_) => rest = behind,
            // A character that the block's end cuts in two.
            Err(error) if error.error_len().is_none() && !behind.is_empty() => {
                rest = rest.get(error.valid_up_to()..).unwrap_or_default();
            }
            Err(error) => {
                let offset = text.len() - rest.len() + error.valid_up_to();
                return Err(Broken { offset, is_cut: error.error_len().is_none() });
            }
        }
    }
}

fn skip_ascii(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some((block, behind)) = rest.split_first_chunk::<ASCII_BYTES>()
        && block.is_ascii()
    {
        rest = behind;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_the_encoding_is_found_wherever_it_stands() {
        let characters = ["~", "é", "\u{2028}", "\u{1f600}"].map(str::as_bytes);
        let broken: [&[u8]; 5] = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f", b"\xe2\x82x"];
        for (length, character) in (0..600).flat_map(|length| characters.map(|c| (length, c))) {
            let mut text = vec![b'x'; length];
            text.extend_from_slice(&character.repeat(300));
            assert_eq!(check(&text), Ok(()), "{length}");
            for (bad, repeated) in broken.into_iter().flat_map(|bad| [(bad, 1), (bad, 300)]) {
                for behind in ["", "x"] {
                    let before = &text[..length + repeated * character.len()];
                    let text = [before, bad, behind.as_bytes()].concat();
                    let known = str::from_utf8(&text).unwrap_err();
                    let (offset, is_cut) = (known.valid_up_to(), known.error_len().is_none());
                    assert_eq!(check(&text), Err(Broken { offset, is_cut }), "{length} {bad:?}");
                }
            }
        }
    }
}
