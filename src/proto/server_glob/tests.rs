//! Globs against a reference that is simple and slow.

use proptest::prelude::*;

use super::*;

fn glob(text: &str) -> ServerGlob {
    ServerGlob::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn identity(name: &str) -> String {
    policy_identity(&ServerName::parse(name).unwrap()).into_owned()
}

/// The definition, word by word.
fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            naive(rest, text) || (!text.is_empty() && naive(pattern, &text[1..]))
        }
        ([b'?', rest @ ..], [_, text @ ..]) => naive(rest, text),
        ([wanted, rest @ ..], [byte, text @ ..]) => wanted == byte && naive(rest, text),
        (_, []) | ([], _) => false,
    }
}

proptest! {
    #[test]
    fn a_glob_matches_what_the_definition_says(
        pattern in "[ab.*?]{1,12}",
        text in "[ab.]{0,12}",
    ) {
        prop_assume!(pattern != ".");
        let glob = glob(&pattern);
        let pattern = pattern.strip_suffix('.').unwrap_or(&pattern);
        prop_assert_eq!(glob.matches(&text), naive(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn a_shape_says_the_same_as_the_glob(pattern in "[ab*][ab.*?]{0,6}", text in "[ab.]{1,8}") {
        let glob = glob(&pattern);
        let by_shape = match glob.shape() {
            GlobShape::Name(name) => text == name,
            GlobShape::Below(suffix) => text.ends_with(suffix),
            GlobShape::Other => glob.matches(&text),
        };
        prop_assert_eq!(by_shape, glob.matches(&text));
    }
}

#[test]
fn the_specs_examples_of_server_acls() {
    for (pattern, name, want) in [
        ("*", "a.example", true),
        ("*.evil.example", "a.evil.example", true),
        ("*.evil.example", "a.b.evil.example", true),
        ("*.evil.example", "evil.example", false),
        ("*.evil.example", "notevil.example", false),
        ("evil.example", "evil.example.org", false),
        ("e?il.example", "evil.example", true),
        ("e?il.example", "eil.example", false),
        ("*.*.example", "a.b.example", true),
        ("*.*.example", "a.example", false),
        ("1.2.3.?", "1.2.3.4", true),
        ("1.2.3.?", "1.2.3.44", false),
    ] {
        assert_eq!(glob(pattern).matches(&identity(name)), want, "{pattern} {name}");
    }
}

#[test]
fn k1_neither_case_nor_port_nor_spelling_is_a_way_around_a_rule() {
    for (pattern, names) in [
        ("Evil.Example.", ["evil.example", "EVIL.example:8448", "evil.EXAMPLE:1"]),
        (
            "[2001:DB8:0::1]",
            ["[2001:db8::1]", "[2001:0db8:0000::0001]:8448", "[2001:db8:0:0:0:0:0:1]"],
        ),
    ] {
        for name in names {
            assert!(glob(pattern).matches(&identity(name)), "{pattern} {name}");
        }
    }
    assert_eq!(identity("a.example:8448"), "a.example");
    assert_eq!(identity("1.2.3.4:8448"), "1.2.3.4");
}

#[test]
fn globs_that_no_name_could_match_are_refused() {
    use ServerGlobError::{Character, Empty, Port, TooLong};
    for (text, error) in [
        ("", Empty),
        (".", Empty),
        ("evil.example:8448", Port),
        ("*:8448", Port),
        ("[::1]:8448", Port),
        ("https://evil.example", Character('/')),
        ("@a:evil.example", Character('@')),
        ("b\u{fc}cher.example", Character('\u{fc}')),
        ("a b", Character(' ')),
        ("a_b.example", Character('_')),
    ] {
        assert_eq!(ServerGlob::parse(text), Err(error), "{text:?}");
    }
    let long = "a".repeat(SERVER_GLOB_BYTES_MAX);
    assert!(ServerGlob::parse(&long).is_ok());
    assert_eq!(ServerGlob::parse(&format!("a{long}")), Err(TooLong(256)));
    assert_eq!(glob("[*").shape(), GlobShape::Other);
}

#[test]
fn no_pattern_is_dear() {
    // What an engine that backtracks over every star would never end with.
    let pattern = glob(&"*a".repeat(127));
    let text = format!("{}b", "a".repeat(229));
    for _ in 0..1_000 {
        assert!(!pattern.matches(&text));
    }
    assert_eq!(glob("*****").as_str(), "*");
}
