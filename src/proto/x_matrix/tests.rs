use proptest::prelude::*;

use super::*;
use crate::proto::test_vectors::{self, id, name, spec_key};

/// What is read, apart from the text it was read from.
fn parse(value: &str) -> Result<Option<XMatrix<'static>>, XMatrixError> {
    let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
    let read = XMatrix::parse(value.as_bytes())?;
    Ok(read.map(|XMatrix { origin, destination, key, sig }| XMatrix {
        origin,
        destination: destination.map(own),
        key: own(key),
        sig: own(sig),
    }))
}

fn parsed(value: &str) -> XMatrix<'static> {
    parse(value).unwrap().unwrap()
}

fn header<'a>(
    origin: &str,
    destination: Option<&'a str>,
    key: &'a str,
    sig: &'a str,
) -> XMatrix<'a> {
    XMatrix {
        origin: name(origin),
        destination: destination.map(Cow::Borrowed),
        key: key.into(),
        sig: sig.into(),
    }
}

/// Where the verdict differs from Synapse's on purpose: header and reason.
const DIFFERENT: [(&str, &str); 9] = [
    (
        r#"x-matrix origin="a.example",destination="b.example",key="ed25519:1",sig="AbC+/9""#,
        "accepted: a scheme is case-insensitive (RFC 9110, 11.1), and the forwarded one is canonical",
    ),
    (
        r#"X-Matrix origin="a.example",origin="z.example",destination="b.example",key="ed25519:1",sig="AbC+/9""#,
        "refused: parsers disagree on which of two parameters counts",
    ),
    (
        r#"X-Matrix origin="a.example",destination="b.example",key="ed25519:1",sig="AbC+/9",sig="ZZZZ""#,
        "refused: parsers disagree on which of two parameters counts",
    ),
    (
        r#"X-Matrix origin="a.example,destination="b.example",key="ed25519:1",sig="AbC+/9""#,
        "refused: Synapse cuts off the last letter of an unterminated value",
    ),
    (
        r#"X-Matrix origin="a.example:99999",destination="b.example",key="ed25519:1",sig="AbC+/9""#,
        "refused: not a port",
    ),
    (
        r#"X-Matrix origin="a.example: 84",destination="b.example",key="ed25519:1",sig="AbC+/9""#,
        "refused: not a port, though Python's int() takes it",
    ),
    (
        r#"X-Matrix origin="a.example:8_4",destination="b.example",key="ed25519:1",sig="AbC+/9""#,
        "refused: not a port, though Python's int() takes it",
    ),
    (
        r#"X-Matrix origin="a.example",destination="b.example",key="ed25519:1",sig="AbC+/9", X-Matrix origin="a.example",destination="b.example",key="ed25519:1",sig="AbC+/9""#,
        "refused: parsers disagree on which of two challenges counts",
    ),
    (
        "X-Matrix origin=\"a.example\",destination=\"b.example\",key=\"ed25519:1\",sig=\"AbC+/9\" ",
        "refused: Synapse would read a quote into the signature; HTTP has stripped the space before",
    ),
];

#[test]
fn synapses_verdict_is_ours_but_for_the_listed_headers() {
    let vectors = test_vectors::x_matrix_headers();
    let cases = vectors["cases"].as_array().unwrap();
    let mut different = Vec::new();
    for case in cases {
        let value = case["header"].as_str().unwrap();
        let synapse = &case["synapse"];
        let ours = parse(value).ok().flatten();
        if synapse["ok"] == ours.is_some() {
            let Some(ours) = ours else { continue };
            assert_eq!(synapse["origin"], ours.origin.as_str(), "{value}");
            assert_eq!(synapse["destination"].as_str(), ours.destination.as_deref(), "{value}");
            assert_eq!(synapse["key"], *ours.key, "{value}");
            assert_eq!(synapse["sig"], *ours.sig, "{value}");
        } else {
            different.push(value);
        }
    }
    assert_eq!(cases.len(), 36);
    assert_eq!(different, DIFFERENT.map(|(value, _reason)| value));
}

#[test]
fn captured_headers_parse_and_are_written_back_to_the_same_parameters() {
    for capture in test_vectors::captures() {
        let read = parsed(capture.authorization);
        assert_eq!(read.origin.as_str(), "127.10.0.1:8448");
        assert_eq!(read.destination.as_deref(), Some("127.10.0.2:8448"));
        let sig = Signature::from_base64(&read.sig).unwrap();
        let written = header_value(&read.origin, &name("127.10.0.2:8448"), &id(&read.key), &sig);
        assert_eq!(parsed(&written), read);
    }
}

#[test]
fn r10_order_and_case_of_names_do_not_matter() {
    let want = header("a.b", Some("c.d"), "ed25519:1", "AA");
    for value in [
        r#"X-Matrix origin="a.b",destination="c.d",key="ed25519:1",sig="AA""#,
        r#"X-Matrix sig="AA",key="ed25519:1",destination="c.d",origin="a.b""#,
        r#"X-Matrix ORIGIN="a.b",Destination="c.d",KEY="ed25519:1",sIG="AA""#,
    ] {
        assert_eq!(parsed(value), want, "{value}");
    }
}

#[test]
fn r11_tokens_and_quoted_strings_are_read() {
    let want = header("a.b", None, "ed25519:1", "AA");
    for value in [
        r#"X-Matrix origin=a.b,key="ed25519:1",sig="AA""#,
        r#"X-Matrix origin="a.b",key="ed25519:1",sig=AA"#,
    ] {
        assert_eq!(parsed(value), want, "{value}");
    }
}

#[test]
fn r12_backslash_pairs_are_unescaped() {
    let value = r#"X-Matrix origin="a\.b",key="ed25\519:1",sig="\A\A",destination="\c""#;
    assert_eq!(parsed(value), header("a.b", Some("c"), "ed25519:1", "AA"));
}

#[test]
fn r13_unquoted_values_may_have_what_synapse_takes() {
    assert_eq!(
        parsed("X-Matrix origin=a.b:8448,key=ed25519:1,sig=A+/-_=="),
        header("a.b:8448", None, "ed25519:1", "A+/-_==")
    );
    assert_eq!(parsed("X-Matrix origin=[::1]:8448,key=a:b,sig=A").origin, name("[::1]:8448"));
}

#[test]
fn r14_spaces_and_tabs_around_commas_and_spaces_after_the_scheme() {
    let want = header("a.b", None, "ed25519:1", "AA");
    for value in [
        "X-Matrix   origin=\"a.b\" ,\tkey=\"ed25519:1\", sig=\"AA\"",
        "X-Matrix origin=a.b\t \t,\t \tkey=ed25519:1 ,sig=AA",
    ] {
        assert_eq!(parsed(value), want, "{value}");
    }
    let tab = parse("X-Matrix\torigin=a.b,key=ed25519:1,sig=AA");
    assert_eq!(tab, Err(XMatrixError::SchemeNotSeparated));
    let tab = parse("X-Matrix \torigin=a.b,key=ed25519:1,sig=AA");
    assert_eq!(tab, Err(XMatrixError::NotAParameter { offset: 9 }));
}

#[test]
fn r15_unknown_parameters_are_skipped_but_must_be_sound() {
    let with = |parameter: &str| parse(&format!("X-Matrix {parameter},origin=a.b,key=k:1,sig=AA"));
    for parameter in ["foo=bar", r#"foo="b a\r""#, "foo=", r#"foo="""#, "signature=x", "foo=a=b"] {
        assert!(matches!(with(parameter), Ok(Some(_))), "{parameter}");
    }
    for parameter in ["foo", r#"foo="b,ar""#, "=foo", "foo=\"a\tb\"", "f\u{e9}=x", "foo;=x", ""] {
        assert!(with(parameter).is_err(), "{parameter:?}");
    }
}

#[test]
fn r16_the_scheme_is_a_whole_token_in_any_case() {
    for scheme in ["X-Matrix", "x-matrix", "X-MATRIX"] {
        assert!(matches!(parse(&format!("{scheme} origin=a,key=k:1,sig=A")), Ok(Some(_))));
    }
    for scheme in ["X-Matrix-Scoped", "Bearer", "X-Matri", "XMatrix", "", " X-Matrix"] {
        assert_eq!(parse(&format!("{scheme} origin=a,key=k:1,sig=A")), Ok(None), "{scheme}");
    }
    assert_eq!(parse(""), Ok(None));
    assert_eq!(parse("X-Matrixorigin=a,key=k:1,sig=A"), Ok(None));
    for value in ["X-Matrix", "X-Matrix,", "X-Matrix=a", "X-Matrix\"a\"", "X-Matrix\u{a0}a=b"] {
        assert_eq!(parse(value), Err(XMatrixError::SchemeNotSeparated), "{value}");
    }
}

#[test]
fn r17_a_repeated_parameter_is_refused_even_an_unknown_one() {
    for value in [
        "X-Matrix origin=a.b,key=k:1,sig=AA,origin=a.b",
        "X-Matrix origin=a.b,key=k:1,sig=AA,ORIGIN=a.b",
        "X-Matrix origin=a.b,key=k:1,sig=AA,destination=a,destination=a",
        "X-Matrix origin=a.b,key=k:1,sig=AA,key=k:2",
        "X-Matrix origin=a.b,key=k:1,sig=AA,Sig=AB",
        "X-Matrix origin=a.b,key=k:1,sig=AA,foo=1,foo=2",
        "X-Matrix origin=a.b,key=k:1,sig=AA,foo=1,FOO=2",
    ] {
        let error = parse(value).unwrap_err();
        assert!(matches!(error, XMatrixError::DuplicateParameter { .. }), "{value}");
    }
}

#[test]
fn r18_the_signature_parameter_is_sig() {
    let error = parse("X-Matrix origin=a.b,key=k:1,signature=AA").unwrap_err();
    assert_eq!(error, XMatrixError::MissingParameter("sig"));
}

#[test]
fn r19_origin_key_and_sig_are_required() {
    for (value, missing) in [
        ("X-Matrix key=k:1,sig=AA", "origin"),
        ("X-Matrix origin=a.b,sig=AA", "key"),
        ("X-Matrix origin=a.b,key=k:1,destination=c.d", "sig"),
    ] {
        assert_eq!(parse(value), Err(XMatrixError::MissingParameter(missing)));
    }
}

#[test]
fn r20_an_origin_outside_the_grammar_is_malformed() {
    for origin in ["localhost:http", "a_b", "a.b.", "", "a.b:", "\"\"", "\"a b\"", "1.2.3"] {
        let error = parse(&format!("X-Matrix origin={origin},key=k:1,sig=AA")).unwrap_err();
        assert!(matches!(error, XMatrixError::Origin(_)), "{origin}");
    }
}

#[test]
fn r21_a_missing_destination_is_told_from_an_empty_one() {
    assert_eq!(parsed("X-Matrix origin=a.b,key=k:1,sig=AA").destination, None);
    for empty in ["", "\"\""] {
        let value = format!("X-Matrix origin=a.b,key=k:1,sig=AA,destination={empty}");
        assert_eq!(parsed(&value).destination.as_deref(), Some(""));
    }
}

#[test]
fn r22_the_destination_is_kept_as_written() {
    for destination in ["C.d", "c.d.", "not a name", "c.d:0"] {
        let value = format!("X-Matrix origin=a.b,key=k:1,sig=AA,destination=\"{destination}\"");
        assert_eq!(parsed(&value).destination.as_deref(), Some(destination));
    }
}

#[test]
fn r24_what_parsers_would_read_differently_is_refused() {
    use XMatrixError::{ForbiddenByte, NotAParameter, NotSeparated, UnterminatedQuote};
    let cases: [(&[u8], XMatrixError); 18] = [
        (b"\"a.b", UnterminatedQuote { offset: 16 }),
        (b"\"a.b\\", UnterminatedQuote { offset: 16 }),
        (b"\"a,b\"", ForbiddenByte { byte: b',', offset: 18 }),
        (b"\"a\\,b\"", ForbiddenByte { byte: b',', offset: 19 }),
        (b"\"a\\\"b\"", ForbiddenByte { byte: b'"', offset: 19 }),
        (b"\"a\\\\b\"", ForbiddenByte { byte: b'\\', offset: 19 }),
        (b"\"a\\\tb\"", ForbiddenByte { byte: b'\t', offset: 19 }),
        (b"\"a\tb\"", ForbiddenByte { byte: b'\t', offset: 18 }),
        (b"\"a\0b\"", ForbiddenByte { byte: 0, offset: 18 }),
        (b"\"a\x7fb\"", ForbiddenByte { byte: 0x7f, offset: 18 }),
        (b"\"a\xc3\xa4\"", ForbiddenByte { byte: 0xc3, offset: 18 }),
        (b"a\xff", ForbiddenByte { byte: 0xff, offset: 17 }),
        (b"a\"", ForbiddenByte { byte: b'"', offset: 17 }),
        (b"a\\b", ForbiddenByte { byte: b'\\', offset: 17 }),
        (b"a\n", ForbiddenByte { byte: b'\n', offset: 17 }),
        (b"\"a\"b", NotSeparated { offset: 19 }),
        (b"a b", NotSeparated { offset: 18 }),
        (b"a, ,b=c", NotAParameter { offset: 19 }),
    ];
    for (value, error) in cases {
        let text = [b"X-Matrix origin=".as_slice(), value].concat();
        assert_eq!(XMatrix::parse(&text), Err(error), "{}", value.escape_ascii());
    }
}

#[test]
fn spaces_around_the_equals_sign_and_empty_elements_are_refused() {
    for value in [
        "X-Matrix origin =a.b,key=k:1,sig=AA",
        "X-Matrix origin= a.b,key=k:1,sig=AA",
        "X-Matrix origin=a.b,,key=k:1,sig=AA",
        "X-Matrix ,origin=a.b,key=k:1,sig=AA",
        "X-Matrix origin=a.b,key=k:1,sig=AA,",
        "X-Matrix origin=a.b,key=k:1,sig=AA, ",
        "X-Matrix origin=a.b,key=k:1,sig=AA ",
    ] {
        assert!(parse(value).is_err(), "{value}");
    }
}

#[test]
fn length_and_number_of_parameters_are_bounded() {
    let padded = |bytes: usize| {
        let start = "X-Matrix origin=a.b,key=k:1,sig=";
        format!("{start}{}", "A".repeat(bytes - start.len()))
    };
    assert!(parse(&padded(X_MATRIX_BYTES_MAX)).is_ok());
    let longer = parse(&padded(X_MATRIX_BYTES_MAX + 1));
    assert_eq!(longer, Err(XMatrixError::TooLong(X_MATRIX_BYTES_MAX + 1)));
    assert_eq!(parse(&padded(X_MATRIX_BYTES_MAX + 1).replace("X-Matrix", "Bearer")), Ok(None));

    let many = |count: usize| {
        let more: String = (3..count).map(|number| format!(",x{number}=")).collect();
        parse(&format!("X-Matrix origin=a.b,key=k:1,sig=AA{more}"))
    };
    assert!(many(X_MATRIX_PARAMETERS_MAX).is_ok());
    assert_eq!(many(X_MATRIX_PARAMETERS_MAX + 1), Err(XMatrixError::TooManyParameters));
}

#[test]
fn r25_one_canonical_form_is_written() {
    let signature = spec_key().sign(b"");
    let sig = signature.to_base64();
    for (origin, destination) in [("a.b:1", "c.d"), ("[::1]:8448", "1.2.3.4")] {
        let value =
            header_value(&name(origin), &name(destination), &id("ed25519:i+b2"), &signature);
        assert_eq!(
            value,
            format!(
                "X-Matrix origin=\"{origin}\",destination=\"{destination}\",\
                 key=\"ed25519:i+b2\",sig=\"{sig}\""
            )
        );
        assert_eq!(parsed(&value), header(origin, Some(destination), "ed25519:i+b2", &sig));
    }
}

proptest! {
    #[test]
    fn what_is_read_is_the_same_after_it_has_been_written_canonically(
        value in "X-Matrix (origin=a.b|ORIGIN=\"a\\\\.b\"|key=k:1|key=\"k:1\"|sig=\"A[ab,\"\\\\]{0,3}\"|destination=[c\" ]{0,3}|[ ,=\t]){0,9}",
    ) {
        if let Ok(Some(read)) = parse(&value) {
            for text in [&read.key, &read.sig].into_iter().chain(&read.destination) {
                prop_assert!(!text.contains([',', '"', '\\']));
            }
            let destination = read.destination.as_deref().unwrap_or("c.d");
            let written = format!(
                "X-Matrix origin=\"{}\",destination=\"{destination}\",key=\"{}\",sig=\"{}\"",
                read.origin, read.key, read.sig
            );
            prop_assert_eq!(
                parsed(&written),
                XMatrix { destination: Some(destination.into()), ..read }
            );
        }
    }

    #[test]
    fn no_bytes_make_the_reader_fail(value in prop::collection::vec(any::<u8>(), 0..64)) {
        let value = [b"X-Matrix ".as_slice(), &value].concat();
        if let Ok(read) = XMatrix::parse(&value) {
            prop_assert!(read.is_some());
        }
    }
}

/// Each byte, one by one, wherever one may stand: none is taken that has no place there, none refused that has.
#[test]
fn r24_each_byte_has_its_places() {
    let verdict = |before: &str, byte: u8, after: &str| {
        let value = [before.as_bytes(), &[byte], after.as_bytes()].concat();
        XMatrix::parse(&value).map(|read| read.map(|read| read.key.into_owned()))
    };
    let key = |text: String| Ok(Some(text));
    for byte in 0..=u8::MAX {
        let shown = char::from(byte);
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_plain = byte.is_ascii_graphic() && !b"\",\\".contains(&byte);
        let is_space = byte == b' ' || byte == b'\t';
        let name = |offset| Err(XMatrixError::NotAParameter { offset });
        let forbidden = |offset| Err(XMatrixError::ForbiddenByte { byte, offset });

        let unquoted = match byte {
            _ if is_plain => key(format!("a:b{shown}c")),
            b',' => name(32),
            b' ' | b'\t' => Err(XMatrixError::NotSeparated { offset: 32 }),
            _ => forbidden(31),
        };
        assert_eq!(verdict("X-Matrix origin=a,sig=s,key=a:b", byte, "c"), unquoted, "{shown:?}");

        let quoted = match byte {
            _ if is_plain || byte == b' ' => key(format!("a:b{shown}c")),
            b'"' => Err(XMatrixError::NotSeparated { offset: 33 }),
            b'\\' => key("a:bc".to_owned()),
            _ => forbidden(32),
        };
        assert_eq!(verdict("X-Matrix origin=a,sig=s,key=\"a:b", byte, "c\""), quoted, "{shown:?}");

        let escaped =
            if is_plain || byte == b' ' { key(format!("a:{shown}c")) } else { forbidden(32) };
        assert_eq!(
            verdict("X-Matrix origin=a,sig=s,key=\"a:\\", byte, "c\""),
            escaped,
            "{shown:?}"
        );

        let named = if is_token || byte == b'=' { key("a:b".to_owned()) } else { name(32) };
        assert_eq!(verdict("X-Matrix origin=a,sig=s,key=a:b,n", byte, "m=v"), named, "{shown:?}");

        let missing = Err(XMatrixError::MissingParameter("key"));
        let separated = match byte {
            _ if is_space => key("a:b".to_owned()),
            _ if is_token => missing.clone(),
            _ => name(24),
        };
        assert_eq!(verdict("X-Matrix origin=a,sig=s,", byte, "key=a:b"), separated, "{shown:?}");

        let after_scheme = match byte {
            b' ' => key("a:b".to_owned()),
            _ if is_token => missing,
            _ => name(9),
        };
        assert_eq!(verdict("X-Matrix ", byte, "key=a:b,origin=a,sig=s"), after_scheme, "{shown:?}");

        let scheme = match byte {
            b' ' => key("a:b".to_owned()),
            _ if is_token => Ok(None),
            _ => Err(XMatrixError::SchemeNotSeparated),
        };
        assert_eq!(verdict("X-Matrix", byte, "key=a:b,origin=a,sig=s"), scheme, "{shown:?}");
    }
}
