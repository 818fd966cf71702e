//! Tests of texts by hand, and of others in the modules below. Each is also read piece by piece.

pub(super) mod growing;
mod parts;
mod properties;
mod vectors;

use super::*;

/// The canonical text of a value that must be accepted.
fn canonical(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    let object = Object::scan(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    let canonical = collect(|mut sink| object.write_canonical(&mut sink));
    assert_eq!(object.is_canonical(), canonical == text, "{text:?}");
    assert_eq!(object.canonical_bytes(), canonical.len());
    growing::check(text);
    String::from_utf8(canonical).unwrap()
}

fn collect(write: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut |part| bytes.extend_from_slice(part));
    bytes
}

/// Why a text is refused.
fn refusal(text: impl AsRef<[u8]>) -> (JsonErrorKind, usize) {
    let text = text.as_ref();
    let error = Object::scan(text).map(|_| ()).unwrap_err();
    growing::check(text);
    (error.kind, error.offset)
}

fn without(text: &str, omitted: &[&str]) -> String {
    let object = Object::scan(text.as_bytes()).unwrap();
    String::from_utf8(collect(|mut sink| object.write_canonical_without(omitted, &mut sink)))
        .unwrap()
}

fn string(text: &str) -> String {
    String::from_utf8(collect(|mut sink| write_string(text, &mut sink))).unwrap()
}

#[test]
fn canonical_text_stays_as_it_is() {
    for text in [
        "{}",
        r#"{"":0}"#,
        r#"{"a":[],"b":{},"c":[{},[]],"d":null,"e":true,"f":false,"g":-1,"h":"\u001f\n\"\\/"}"#,
        r#"{"a":1.5,"b":1e+16,"c":-0.0,"d":18446744073709551616}"#,
        "{\"\\u0000\":1,\"\\b\":2,\" \":3,\"\\\"\":4,\"\\\\\":5,\"a\":6,\"\u{7f}\":7,\"é\":8}",
    ] {
        assert_eq!(canonical(text), text);
        assert!(Object::scan(text.as_bytes()).unwrap().is_canonical(), "{text}");
    }
}

#[test]
fn r29_white_space_order_and_escapes_do_not_matter() {
    let text =
        " \t\r\n{ \"b\" : [ 1 , { \"d\" : -0 , \"c\" : \"\\u0061\\/\" } ] ,\n \"a\" : { } } \n";
    assert_eq!(canonical(text), r#"{"a":{},"b":[1,{"c":"a/","d":0}]}"#);
    assert!(!Object::scan(b" {}").unwrap().is_canonical());
    assert!(!Object::scan(b"{}\n").unwrap().is_canonical());
}

#[test]
fn disorder_at_every_level_is_put_right() {
    let text =
        r#"{"z":{"b":{"d":1,"c":[{"f":2,"e":3},{"x":{"q":4,"p":5}}]},"a":6},"y":{"k":7},"m":8}"#;
    let sorted =
        r#"{"m":8,"y":{"k":7},"z":{"a":6,"b":{"c":[{"e":3,"f":2},{"x":{"p":5,"q":4}}],"d":1}}}"#;
    assert_eq!(canonical(text), sorted);
}

#[test]
fn strings_have_one_spelling() {
    for code in 0..0x20_u32 {
        let expected = match code {
            8 => r"\b".to_owned(),
            9 => r"\t".to_owned(),
            10 => r"\n".to_owned(),
            12 => r"\f".to_owned(),
            13 => r"\r".to_owned(),
            _ => format!("\\u{code:04x}"),
        };
        let expected = format!("{{\"{expected}\":\"{expected}\"}}");
        for text in [format!("\\u{code:04x}"), format!("\\u{code:04X}")] {
            assert_eq!(canonical(format!("{{\"{text}\":\"{text}\"}}")), expected);
        }
        let raw = char::from_u32(code).unwrap();
        assert_eq!(expected, format!("{{{0}:{0}}}", string(&raw.to_string())));
        assert_eq!(refusal(format!("{{\"a\":\"{raw}\"}}")), (JsonErrorKind::Syntax, 6));
    }
    for character in
        " a~/<>&'\u{7f}\u{80}é\u{2028}\u{2029}\u{fffd}\u{ffff}\u{1f600}\u{10ffff}".chars()
    {
        let mut units = [0; 2];
        let escaped: String = character
            .encode_utf16(&mut units)
            .iter()
            .map(|unit| format!("\\u{unit:04X}"))
            .collect();
        let expected = format!("{{\"a\":\"{character}\"}}");
        assert_eq!(canonical(&expected), expected);
        assert_eq!(canonical(format!("{{\"a\":\"{escaped}\"}}")), expected);
        assert_eq!(string(&character.to_string()), format!("\"{character}\""));
    }
    assert_eq!(canonical(r#"{"a":"\/\"\\"}"#), r#"{"a":"/\"\\"}"#);
}

#[test]
fn long_strings_are_scanned_at_every_alignment() {
    for length in 0..40 {
        let plain = "x".repeat(length);
        for (inside, expected) in
            [("", ""), ("\\u0041", "A"), ("\\n", "\\n"), ("é", "é"), ("\\\\\\u00e9\\t", "\\\\é\\t")]
        {
            let text = format!("{{\"{plain}{inside}{plain}\":\"{plain}{inside}{plain}\"}}");
            let wanted = format!("{{\"{plain}{expected}{plain}\":\"{plain}{expected}{plain}\"}}");
            assert_eq!(canonical(text), wanted);
        }
        for bad in ["\n", "\u{1f}", "\0", "\"\"", "\\x"] {
            let text = format!("{{\"a\":\"{plain}{bad}{plain}\"}}");
            let offset = 6 + length + usize::from(bad.len() == 2);
            assert_eq!(refusal(text), (JsonErrorKind::Syntax, offset), "{length} {bad:?}");
        }
    }
}

#[test]
fn r95_names_sort_by_code_point() {
    assert_eq!(canonical("{\"\u{1f600}\":1,\"\u{fb33}\":2}"), "{\"\u{fb33}\":2,\"\u{1f600}\":1}");
    assert_eq!(canonical(r#"{"\ud83d\ude00":1,"\ufb33":2}"#), "{\"\u{fb33}\":2,\"\u{1f600}\":1}");
    // Escapes sort as what they stand for, not as a backslash.
    assert_eq!(canonical(r#"{"\\":1,"\u0041":2,"B":3}"#), r#"{"A":2,"B":3,"\\":1}"#);
    assert_eq!(
        canonical(r#"{"a\n":1,"a":2,"a\u0000":3,"":4}"#),
        r#"{"":4,"a":2,"a\u0000":3,"a\n":1}"#
    );
    // Names that differ only far behind, and in an escape against a plain character.
    let common = "common part ".repeat(3);
    assert_eq!(
        canonical(format!("{{\"{common}é2\":1,\"{common}\\u00e91\":2,\"{common}\":3}}")),
        format!("{{\"{common}\":3,\"{common}é1\":2,\"{common}é2\":1}}"),
    );
}

#[test]
fn r35_repeated_names_are_refused_at_any_depth() {
    let duplicate = |text: &str, offset| {
        assert_eq!(refusal(text), (JsonErrorKind::DuplicateKey, offset), "{text}");
        let nested = format!("{{\"x\":[1,{text}]}}");
        assert_eq!(refusal(nested), (JsonErrorKind::DuplicateKey, offset + 8), "{text}");
    };
    duplicate(r#"{"a":1,"a":2}"#, 7);
    duplicate(r#"{"a":1,"\u0061":2}"#, 7);
    duplicate(r#"{"\u0061":1,"a":2}"#, 12);
    duplicate(r#"{"b":1,"a":2,"b":1}"#, 13);
    duplicate(r#"{"b":1,"c":2,"a":3,"c":1,"b":4}"#, 19);
    duplicate(r#"{"é":1,"a":2,"\u00e9":1}"#, 14);
    duplicate(r#"{"😀":1,"a":2,"\ud83d\uDE00":1}"#, 16);
    duplicate(r#"{"":1,"":2}"#, 6);
    duplicate(r#"{"long name, long name":1,"long name, long\u0020name":2}"#, 26);
    // The same name in different objects is no repetition.
    assert_eq!(canonical(r#"{"a":{"a":[{"a":1},{"a":2}]}}"#), r#"{"a":{"a":[{"a":1},{"a":2}]}}"#);
}

#[test]
fn r35_lone_surrogates_are_refused() {
    for (text, offset) in [
        (r#"{"a":"\ud800"}"#, 6),
        (r#"{"a":"\udc00"}"#, 6),
        (r#"{"a":"x\uD83Dx"}"#, 7),
        (r#"{"a":"\ud83d\ud83d"}"#, 6),
        (r#"{"a":"\ud83d\u0041"}"#, 6),
        (r#"{"a":"\ude00\ud83d"}"#, 6),
        (r#"{"\udfff":1}"#, 2),
    ] {
        assert_eq!(refusal(text), (JsonErrorKind::LoneSurrogate, offset), "{text}");
    }
}

#[test]
fn r34_only_utf_8_without_byte_order_mark() {
    assert_eq!(refusal(b"\xef\xbb\xbf{}"), (JsonErrorKind::ByteOrderMark, 0));
    assert_eq!(refusal(b"\xfe\xff{}"), (JsonErrorKind::NotUtf8, 0));
    // A surrogate encoded like a character, an overlong form, beyond the last character, cut off.
    for bytes in [&b"\xed\xa0\xbd"[..], b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        let text = [b"{\"a\":\"", bytes, b"\"}"].concat();
        assert_eq!(refusal(text), (JsonErrorKind::NotUtf8, 6));
    }
}

#[test]
fn r31_only_one_object() {
    for text in ["[]", "[1,{}]", "0", "-1.5", "true", "null", r#""a""#, r#" "{}" "#] {
        assert_eq!(refusal(text).0, JsonErrorKind::NotAnObject, "{text}");
    }
    assert_eq!(refusal(""), (JsonErrorKind::Syntax, 0));
    assert_eq!(refusal(" \n "), (JsonErrorKind::Syntax, 3));
    assert_eq!(refusal("{}{}"), (JsonErrorKind::TrailingData, 2));
    assert_eq!(refusal(" {} x"), (JsonErrorKind::TrailingData, 4));
    assert_eq!(refusal("{}\0"), (JsonErrorKind::TrailingData, 2));
    assert_eq!(refusal("{}\u{a0}"), (JsonErrorKind::TrailingData, 2));
}

#[test]
fn errors_tell_the_byte() {
    for (text, offset) in [
        ("{", 1),
        (r#"{"a""#, 4),
        (r#"{"a":"#, 5),
        (r#"{"a":1"#, 6),
        (r#"{"a":1,"#, 7),
        (r#"{"a":1,}"#, 7),
        (r#"{,"a":1}"#, 1),
        (r#"{"a" 1}"#, 5),
        (r#"{"a":01}"#, 6),
        (r#"{"a":-}"#, 6),
        (r#"{"a":+1}"#, 5),
        (r#"{"a":1.}"#, 7),
        (r#"{"a":.5}"#, 5),
        (r#"{"a":1e}"#, 7),
        (r#"{"a":1e+}"#, 8),
        (r#"{"a":NaN}"#, 5),
        (r#"{"a":-Infinity}"#, 6),
        (r#"{"a":tru}"#, 5),
        (r#"{"a":[1,]}"#, 8),
        (r#"{"a":[1}"#, 7),
        (r#"{"a":{]}"#, 6),
        (r#"{"a":1]"#, 6),
        (r#"{"a":[1}}"#, 7),
        (r#"{"a":"\u00g0"}"#, 10),
        (r#"{"a":"\'"}"#, 7),
        (r#"{'a':1}"#, 1),
        (r#"{!a":1}"#, 1),
        (r##"{#a":1}"##, 1),
        (r#"{"a":1,!b":1}"#, 7),
        (r##"{"a":1,#b":1}"##, 7),
        (r#"{"a":1 /* */}"#, 7),
        (r#"{"a":"abc"#, 9),
        (" {\"a\":\u{a0}1}", 6),
    ] {
        assert_eq!(refusal(text), (JsonErrorKind::Syntax, offset), "{text}");
    }
    let error = Object::scan(b"{\"a\":1,\"a\":2}").unwrap_err();
    assert_eq!(error.to_string(), "a member name is repeated within one object at byte 7");
}

#[test]
fn a_literal_has_no_other_letter() {
    for literal in ["true", "null", "false"] {
        for (at, letter) in literal.char_indices() {
            for other in [letter.to_ascii_uppercase(), 'x', '"', '}'] {
                let mut wrong = literal.to_owned();
                wrong.replace_range(at..=at, &other.to_string());
                assert!(Object::scan(format!("{{\"a\":{wrong}}}").as_bytes()).is_err(), "{wrong}");
            }
        }
    }
}

#[test]
fn r35_a_repeated_name_is_found_whatever_stands_behind_it() {
    for text in [
        r#"{"a":1111111, "a":1111112}"#,
        r#"{"a":"xxxxxxxx","a":"xxxxxxxy"}"#,
        r#"{"a\n":"xxxxxxxx","a\n":"xxxxxxxy"}"#,
        r#"{"b":0,"a":11111111,"a":11111112}"#,
    ] {
        assert_eq!(refusal(text).0, JsonErrorKind::DuplicateKey, "{text}");
    }
}

#[test]
fn a_string_is_written_whole_around_what_is_escaped() {
    let written = collect(|mut sink| write_string("ab\"cd\u{1}ef\\", &mut sink));
    assert_eq!(written, br#""ab\"cd\u0001ef\\""#);
}

#[test]
fn what_is_noted_of_a_text_grows_by_a_quarter() {
    let (mut noted, mut moves) = (Vec::new(), 0);
    for number in 0..100_000_u32 {
        let before = noted.capacity();
        plan::reserve(&mut noted, 1);
        moves += u32::from(noted.capacity() != before);
        assert!(noted.capacity() - noted.len() <= 16.max(noted.len() / 4), "{number}");
        noted.push(number);
    }
    assert!(moves < 100, "{moves}");
}

#[test]
fn depth_is_bounded() {
    use crate::proto::limits::JSON_DEPTH_MAX;

    let arrays =
        |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    let objects =
        |depth: usize| format!("{}{{}}{}", "{\"a\":".repeat(depth - 1), "}".repeat(depth - 1));
    let filled = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    for text in [arrays(JSON_DEPTH_MAX), objects(JSON_DEPTH_MAX), filled(JSON_DEPTH_MAX)] {
        assert_eq!(canonical(&text), text);
        assert!(Object::scan(text.as_bytes()).unwrap().is_canonical());
    }
    let too_deep = |offset| (JsonErrorKind::TooDeep, offset);
    assert_eq!(refusal(arrays(JSON_DEPTH_MAX + 1)), too_deep(5 + JSON_DEPTH_MAX - 1));
    assert_eq!(refusal(objects(JSON_DEPTH_MAX + 1)), too_deep(5 * JSON_DEPTH_MAX));
    assert_eq!(refusal(filled(JSON_DEPTH_MAX + 1)), too_deep(5 * JSON_DEPTH_MAX));
    assert_eq!(refusal("{\"a\":".repeat(100_000)), too_deep(5 * JSON_DEPTH_MAX));
}

#[test]
fn r36_integers_of_any_size_are_kept() {
    use crate::proto::limits::JSON_INTEGER_DIGITS_MAX;

    let longest = "9".repeat(JSON_INTEGER_DIGITS_MAX);
    for integer in ["9007199254740993", "-9223372036854775809", "12345678901234567890123", &longest]
    {
        for sign in ["", "-"] {
            let text = format!("{{\"a\":{sign}{}}}", integer.trim_start_matches('-'));
            assert_eq!(canonical(&text), text);
        }
    }
    for sign in ["", "-"] {
        let text = format!("{{\"a\":{sign}{longest}0}}");
        assert_eq!(refusal(text), (JsonErrorKind::IntegerTooLong, 5));
    }
    // The limit is for integers only.
    assert_eq!(canonical(format!("{{\"a\":{longest}0e-4301}}")), "{\"a\":1.0}");
}

#[test]
fn floats_between_two_shortest_texts_print_the_even_one() {
    for (literal, expected) in [
        ("76586092072143.11907", "76586092072143.12"),
        ("76586092072143.13", "76586092072143.12"),
        ("76586092072143.375", "76586092072143.38"),
        ("-1975772224180719.2", "-1975772224180719.2"),
        ("1480226181466830.1544711046", "1480226181466830.2"),
        ("1480226181466830.75", "1480226181466830.8"),
    ] {
        assert_eq!(canonical(format!("{{\"a\":{literal}}}")), format!("{{\"a\":{expected}}}"));
    }
}

#[test]
fn r37_numbers_without_a_finite_value_are_refused() {
    for number in ["1e309", "-1E400", "1e99999999999999999999", "179769313486231580793e289"] {
        let text = format!("{{\"a\":{number}}}");
        assert_eq!(refusal(text), (JsonErrorKind::NumberNotFinite, 5), "{number}");
    }
    assert_eq!(canonical("{\"a\":1e-400}"), "{\"a\":0.0}");
    assert_eq!(canonical("{\"a\":-1e-99999999999999999999}"), "{\"a\":-0.0}");
    assert_eq!(canonical("{\"a\":0e999999}"), "{\"a\":0.0}");
}

#[test]
fn members_are_read_in_the_order_of_the_text() {
    let text =
        br#" { "b\u00e9" : [1, {"x":"]}\""}] , "a":{"d":1,"c":-0},"e":"\\","f":-1.5e3 ,"g":null}"#;
    let object = Object::scan(text).unwrap();
    let members: Vec<_> =
        object.members().map(|(name, value)| (name, std::str::from_utf8(value).unwrap())).collect();
    let expected = [
        ("bé", r#"[1, {"x":"]}\""}]"#),
        ("a", r#"{"d":1,"c":-0}"#),
        ("e", r#""\\""#),
        ("f", "-1.5e3"),
        ("g", "null"),
    ];
    let value = Object::scan(members[1].1.as_bytes()).unwrap();
    assert_eq!(collect(|mut sink| value.write_canonical(&mut sink)), br#"{"c":0,"d":1}"#);
    assert_eq!(members, expected.map(|(name, value)| (Cow::Borrowed(name), value)));
    assert!(matches!(members[1].0, Cow::Borrowed(_)));
    assert_eq!(Object::scan(b"{ }").unwrap().members().count(), 0);
}

#[test]
fn top_level_members_can_be_left_out() {
    let omitted = ["signatures", "unsigned"];
    let sorted = r#"{"a":{"signatures":1},"signatures":{"x":{"b":1,"a":2}},"unsigned":{},"z":[0]}"#;
    let shuffled =
        r#"{"z":[-0], "unsigned":{},"a":{"signatures":1},"signat\u0075res":{"x":{"b":1,"a":2}}}"#;
    assert_eq!(without(sorted, &omitted), r#"{"a":{"signatures":1},"z":[0]}"#);
    assert_eq!(without(shuffled, &omitted), r#"{"a":{"signatures":1},"z":[0]}"#);
    assert_eq!(
        without(shuffled, &["z"]),
        r#"{"a":{"signatures":1},"signatures":{"x":{"a":2,"b":1}},"unsigned":{}}"#
    );
    assert_eq!(without(shuffled, &[]), canonical(shuffled));
    assert_eq!(without(r#"{ "unsigned":1 }"#, &omitted), "{}");
    assert_eq!(without("{ }", &omitted), "{}");
}

#[test]
fn many_names_with_long_common_parts_are_sorted() {
    // Every string over three letters, up to four long, behind a common part, spelt in many ways.
    let mut names = vec![String::new()];
    for _ in 0..4 {
        let longer: Vec<_> = names
            .iter()
            .flat_map(|name| ["a", "é", "\u{1f600}"].map(|end| format!("{name}{end}")))
            .collect();
        names.extend(longer);
        names.sort_unstable();
        names.dedup();
    }
    // Steps that have no divisor in common with the number of names visit each name once.
    assert_eq!(names.len(), 11 * 11);
    let member = |name: &String| format!("\"common{name}\":0");
    let sorted = format!("{{{}}}", names.iter().map(member).collect::<Vec<_>>().join(","));
    for step in [2, 5, 10, 50, 97, 120] {
        let mixed: Vec<_> = (0..names.len())
            .map(|index| {
                let text = member(&names[index * step % names.len()]);
                match index % 3 {
                    0 => text.replace('é', "\\u00e9").replace('o', "\\u006f"),
                    1 => text.replace('\u{1f600}', "\\ud83d\\ude00"),
                    _ => text,
                }
            })
            .collect();
        assert_eq!(canonical(format!("{{{}}}", mixed.join(","))), sorted);
    }
}

#[test]
fn every_offset_fits_beside_its_mark() {
    const { assert!(plan::LENGTH_MAX > crate::proto::limits::BODY_BYTES_MAX) };
    const { assert!(plan::LENGTH_MAX <= 1 << 31) };
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
