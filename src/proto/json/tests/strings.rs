//! Strings byte by byte: where they end, how they are spelt, which name comes first.

use super::*;

#[test]
fn the_canonical_escapes_are_those_of_control_characters() {
    for code in 0..=0xffff_u32 {
        let short = [8, 9, 10, 12, 13].contains(&code);
        for digits in [format!("{code:04x}"), format!("{code:04X}")] {
            let wanted = code < 0x20 && !short && !digits.contains(|c: char| c.is_uppercase());
            let escape = format!("u{digits}\"");
            assert_eq!(
                string::skip_canonical_escape(escape.as_bytes()).is_some(),
                wanted,
                "{escape}"
            );
        }
    }
    for letter in 0..=u8::MAX {
        let is_short = b"\"\\bfnrt".contains(&letter);
        assert_eq!(string::skip_canonical_escape(&[letter]).is_some(), is_short, "{letter}");
    }
}

#[test]
fn a_byte_that_ends_plain_text_is_found_wherever_it_stands() {
    for (length, byte) in (0..40).flat_map(|length| (0..=u8::MAX).map(move |byte| (length, byte))) {
        for place in 0..length {
            let mut text = vec![b'~'; length];
            text[place] = byte;
            let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
            let rest = if is_special { &text[place..] } else { &[] };
            assert_eq!(string::skip_plain(&text), rest, "{byte} at {place} of {length}");
        }
    }
}

#[test]
fn names_that_are_surely_ordered_are() {
    let characters = ["", " ", "!", "#", "a", "b", "\\n", "\\u0061", "]", "é"];
    let names: Vec<String> = characters
        .iter()
        .flat_map(|a| characters.iter().flat_map(move |b| characters.map(|c| [*a, *b, c].concat())))
        .map(|name| format!("{name}\":null,"))
        .collect();
    for (a, b) in names.iter().flat_map(|a| names.iter().map(move |b| (a.as_bytes(), b.as_bytes())))
    {
        for [a, b] in [[a, b], [&[b"same", a].concat(), &[b"same", b].concat()]] {
            let order = string::compare_names(a, b);
            assert!(!string::are_surely_ordered(a, b) || order.is_lt(), "{a:?} {b:?}");
        }
    }
    for [a, b] in [["auth_events", "content"], ["origin", "origin_server_ts"], ["e", "edus"]] {
        let [a, b] = [a, b].map(|name| format!("{name}\":null,"));
        assert!(string::are_surely_ordered(a.as_bytes(), b.as_bytes()), "{a} {b}");
        assert!(!string::are_surely_ordered(b.as_bytes(), a.as_bytes()), "{a} {b}");
    }
}
