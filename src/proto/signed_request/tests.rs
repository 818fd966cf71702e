use proptest::prelude::*;

use super::*;
use crate::proto::test_vectors::{self, name};

fn refused(target: &str) -> TargetError {
    RequestTarget::parse(target.as_bytes()).unwrap_err()
}

#[test]
fn r27_a_target_is_kept_byte_for_byte() {
    for (target, path) in [
        ("/", "/"),
        ("/_matrix/federation/v1/send/1", "/_matrix/federation/v1/send/1"),
        ("/_matrix/federation/v1/send/1/", "/_matrix/federation/v1/send/1/"),
        ("/a?", "/a"),
        ("/a?b=c?d/../e//f&%zz&%2e%2e", "/a"),
        ("/e/%24acR1l0%2FmYU%2b", "/e/%24acR1l0%2FmYU%2b"),
        ("/e/!x:d;p=1/@u:d/$e,(a)*'b'+c=~-_.z[1]", "/e/!x:d;p=1/@u:d/$e,(a)*'b'+c=~-_.z[1]"),
        ("/send/%E2%82%AC%20%25", "/send/%E2%82%AC%20%25"),
        ("/.../..a/a../.a/a./%2e%2e%2e/x", "/.../..a/a../.a/a./%2e%2e%2e/x"),
    ] {
        let parsed = RequestTarget::parse(target.as_bytes()).unwrap();
        assert_eq!(parsed.as_str(), target);
        assert_eq!(parsed.to_string(), target);
        assert_eq!(parsed.path(), path);
    }
}

#[test]
fn captured_targets_are_accepted() {
    for capture in test_vectors::captures() {
        let target = RequestTarget::parse(capture.target.as_bytes()).unwrap();
        assert_eq!(target.as_str(), capture.target);
    }
}

#[test]
fn b5_only_the_origin_form_is_accepted() {
    for target in ["", "*", "https://a.example/b", "a.example:443", "?a", "_matrix", " /a"] {
        assert_eq!(refused(target), TargetError::NotOriginForm, "{target:?}");
    }
    assert_eq!(refused("/a#b"), TargetError::Fragment { offset: 2 });
    assert_eq!(refused("/a?b#"), TargetError::Fragment { offset: 4 });
}

#[test]
fn b5_only_printable_ascii_that_needs_no_escape_is_accepted() {
    for byte in 0..=u8::MAX {
        let excluded = b"\"#<>\\^`{|}".contains(&byte);
        for prefix in ["/a", "/a?b"] {
            let target = [prefix.as_bytes(), &[byte], b"00"].concat();
            let accepted = RequestTarget::parse(&target).is_ok();
            // "%00" is refused in the path for what it stands for, not for its bytes.
            let expected = byte.is_ascii_graphic() && !excluded && (byte != b'%' || prefix != "/a");
            assert_eq!(accepted, expected, "{}", target.escape_ascii());
        }
    }
    let offset = 2;
    assert_eq!(refused("/a b"), TargetError::ForbiddenByte { byte: b' ', offset });
    assert_eq!(refused("/a{b"), TargetError::ForbiddenByte { byte: b'{', offset });
    assert_eq!(refused("/a\u{e4}b"), TargetError::ForbiddenByte { byte: 0xc3, offset });
    assert_eq!(refused("/a\\b"), TargetError::Backslash { offset });
}

#[test]
fn b6_dot_segments_are_refused_escaped_or_not() {
    for (segments, offset) in [
        ("/.", 1),
        ("/..", 1),
        ("/a/./b", 3),
        ("/a/../b", 3),
        ("/a/..?b", 3),
        ("/a/%2e/b", 3),
        ("/a/%2E%2e", 3),
        ("/a/.%2e/b", 3),
        ("/a/b/%2E./", 5),
    ] {
        assert_eq!(refused(segments), TargetError::DotSegment { offset }, "{segments}");
    }
}

#[test]
fn what_only_looks_like_a_dot_segment_is_accepted() {
    for segment in [
        "-", "--", ".0", "..@", "$2e", "&2e", "%1e", "%3e", "%2d", "%2f", "%2D", "%2F", "%2e%2f",
        "%251e", "%253e", "%252d", "%252g", "%252D", "%252G",
    ] {
        let target = format!("/a/{segment}/b");
        assert!(RequestTarget::parse(target.as_bytes()).is_ok(), "{target}");
    }
}

#[test]
fn b6_empty_segments_are_refused() {
    for (segments, offset) in [("//", 1), ("//a", 1), ("/a//b", 3), ("/a//", 3), ("/a/b///?c", 5)] {
        assert_eq!(refused(segments), TargetError::EmptySegment { offset }, "{segments}");
    }
}

#[test]
fn b6_escapes_that_are_broken_or_read_differently_are_refused() {
    for target in ["/a%", "/a%2", "/a%zz", "/a%2x", "/a%/b", "/a%2?b", "/a%%20", "/a%+1"] {
        assert_eq!(refused(target), TargetError::BadEscape { offset: 2 }, "{target}");
    }
    for target in ["/a%5c", "/a%5Cb"] {
        assert_eq!(refused(target), TargetError::Backslash { offset: 2 }, "{target}");
    }
    assert_eq!(refused("/a%00"), TargetError::Nul { offset: 2 });
    for target in ["/a%252e", "/a%252E%252E/b", "/a%252fb", "/a%252F"] {
        assert_eq!(refused(target), TargetError::DoubleEscape { offset: 2 }, "{target}");
    }
}

proptest! {
    #[test]
    fn what_is_accepted_is_unchanged_and_has_no_dot_or_empty_segment(
        target in "/([a.%2eE/?5cf]|%2[ef]|//){0,12}",
    ) {
        if let Ok(parsed) = RequestTarget::parse(target.as_bytes()) {
            prop_assert_eq!(parsed.as_str(), &target);
            let path = parsed.path().to_ascii_lowercase().replace("%2e", ".");
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert!(!path.contains("//"));
        }
    }
}

#[test]
fn the_length_is_bounded() {
    let longest = format!("/{}", "a".repeat(TARGET_BYTES_MAX - 1));
    assert!(RequestTarget::parse(longest.as_bytes()).is_ok());
    let longer = format!("{longest}a");
    assert_eq!(refused(&longer), TargetError::TooLong(TARGET_BYTES_MAX + 1));
}

fn signed_bytes(method: &str, uri: &str, content: Option<&str>) -> String {
    let object = content.map(|text| Object::scan(text.as_bytes()).unwrap());
    let request = SignedRequest {
        method,
        target: &RequestTarget::parse(uri.as_bytes()).unwrap(),
        origin: &name("domain"),
        destination: &name("destination.example"),
        content: object.as_ref(),
    };
    let mut bytes = Vec::new();
    request.write_signed_bytes(&mut |piece: &[u8]| bytes.extend_from_slice(piece));
    String::from_utf8(bytes).unwrap()
}

#[test]
fn r26_the_signed_object_is_the_specs() {
    let vectors = test_vectors::spec();
    let vectors = vectors["derived_xmatrix_requests"]["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 7);
    for vector in vectors {
        assert_eq!(vector["origin"], "domain");
        assert_eq!(vector["destination"], "destination.example");
        let content = &vector["content"];
        let content = content.is_object().then(|| content.to_string());
        let method = vector["method"].as_str().unwrap();
        let bytes = signed_bytes(method, vector["uri"].as_str().unwrap(), content.as_deref());
        assert_eq!(vector["signed_bytes_text"], bytes);
    }
}

#[test]
fn r26_all_is_signed_however_long_it_is() {
    for length in (0..1_200).chain([8_000]) {
        let uri = format!("/{}", "a".repeat(length));
        let wanted = format!(
            r#"{{"destination":"destination.example","method":"GET","origin":"domain","uri":"{uri}"}}"#
        );
        assert_eq!(signed_bytes("GET", &uri, None), wanted, "{length}");
    }
}

#[test]
fn captured_bodies_are_signed_as_they_stand() {
    for capture in test_vectors::captures() {
        let has_body = !capture.body.is_empty();
        assert_eq!(has_body, matches!(capture.method, "PUT" | "POST"));
        let bytes = signed_bytes(capture.method, capture.target, has_body.then_some(capture.body));
        let content =
            if has_body { format!("\"content\":{},", capture.body) } else { String::new() };
        let rest = format!("\"method\":\"{}\",\"origin\":\"domain\"", capture.method);
        assert_eq!(
            bytes,
            format!(
                "{{{content}\"destination\":\"destination.example\",{rest},\"uri\":\"{}\"}}",
                capture.target
            )
        );
    }
}

#[test]
fn r26_signatures_and_unsigned_inside_the_content_are_signed() {
    assert_eq!(
        signed_bytes("PUT", "/a", Some(r#"{"unsigned":{},"signatures":{}}"#)),
        r#"{"content":{"signatures":{},"unsigned":{}},"destination":"destination.example","method":"PUT","origin":"domain","uri":"/a"}"#
    );
}

#[test]
fn r29_white_space_key_order_and_escapes_do_not_change_what_is_signed() {
    let plain = signed_bytes("PUT", "/a", Some("{\"a\":[1,\"\u{e9}\"],\"b\":null}"));
    let other =
        signed_bytes("PUT", "/a", Some("{ \"b\" : null,\n\"\\u0061\":\t[1, \"\\u00e9\"] }"));
    assert_eq!(plain, other);
}

#[test]
fn path_and_query_come_apart_at_the_first_question_mark() {
    let parts = |raw: &str| {
        let target = RequestTarget::parse(raw.as_bytes()).unwrap();
        (target.path().to_owned(), target.query().map(str::to_owned))
    };
    assert_eq!(parts("/a"), ("/a".to_owned(), None));
    assert_eq!(parts("/a?"), ("/a".to_owned(), Some(String::new())));
    assert_eq!(parts("/a?b=/c?d"), ("/a".to_owned(), Some("b=/c?d".to_owned())));
}

#[test]
fn r26_nothing_in_a_server_name_or_a_target_has_an_escape_in_json() {
    let quoted = |text: &str| {
        let mut quoted = Vec::new();
        json::write_string(text, &mut |piece: &[u8]| quoted.extend_from_slice(piece));
        String::from_utf8(quoted).unwrap()
    };
    for character in (0..=u8::MAX).map(char::from) {
        for name in [format!("a{character}b.example"), format!("[::{character}]:8448")] {
            if let Ok(name) = ServerName::parse(&name) {
                assert_eq!(quoted(name.as_str()), format!("\"{name}\""));
            }
        }
        for target in [format!("/a{character}00"), format!("/a?b{character}")] {
            if let Ok(target) = RequestTarget::parse(target.as_bytes()) {
                assert_eq!(quoted(target.as_str()), format!("\"{target}\""));
            }
        }
    }
}
