use proptest::prelude::*;

use super::*;
use crate::proto::test_vectors::spec_key;

const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";
const OTHER: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

fn parse(text: &str) -> Result<SigningKeys, SigningKeysError> {
    SigningKeys::parse(text.as_bytes())
}

fn ids(keys: &SigningKeys) -> Vec<&str> {
    keys.iter().map(|(id, _)| id.as_str()).collect()
}

#[test]
fn a_file_of_synapse_is_read() {
    for text in [
        format!("ed25519 a_AbCd {SEED}\n"),
        format!("ed25519 a_AbCd {SEED}"),
        format!("\r\n \ted25519\ta_AbCd  {SEED}= \r\n\n"),
    ] {
        let keys = parse(&text).unwrap();
        assert_eq!(ids(&keys), ["ed25519:a_AbCd"]);
        assert_eq!(keys.first().1.verify_key(), spec_key().verify_key());
    }
}

#[test]
fn the_first_key_is_the_first_line_and_all_are_there() {
    let keys = parse(&format!("ed25519 z {SEED}\ned25519 a {OTHER}\n")).unwrap();
    assert_eq!(ids(&keys), ["ed25519:z", "ed25519:a"]);
    assert_eq!(keys.first().0.as_str(), "ed25519:z");
    let public: Vec<_> = keys.verify_keys().map(|(_, key)| key).collect();
    let other = SigningKey::from_seed(&[7; 32]).verify_key();
    assert_eq!(public, [spec_key().verify_key(), other]);
}

#[test]
fn versions_beyond_the_specs_characters_are_taken_where_they_exist() {
    for version in ["i+b2", "a-b", "a:b", "1"] {
        let keys = parse(&format!("ed25519 {version} {SEED}")).unwrap();
        assert_eq!(keys.first().0.as_str(), format!("ed25519:{version}"));
    }
}

#[test]
fn each_mistake_is_told_with_its_line() {
    let too_long = "x".repeat(121);
    let cases = [
        (format!("ed25519 {SEED}"), LineFlaw::Words(2), "has not 3 words but 2"),
        (format!("ed25519 a {SEED} b"), LineFlaw::Words(4), "has not 3 words but 4"),
        (
            "-----BEGIN MATRIX PRIVATE KEY-----".to_owned(),
            LineFlaw::Words(4),
            "has not 3 words but 4",
        ),
        (format!("rsa a {SEED}"), LineFlaw::Algorithm, "another algorithm than ed25519"),
        (format!("Ed25519 a {SEED}"), LineFlaw::Algorithm, "another algorithm"),
        (format!("ed25519 a\"b {SEED}"), LineFlaw::Version, "no key ID can hold"),
        (format!("ed25519 {too_long} {SEED}"), LineFlaw::Version, "no key ID can hold"),
        (
            format!("ed25519 a {}", SEED.trim_start_matches('Y')),
            LineFlaw::Seed,
            "not base64 of 32 bytes",
        ),
        (format!("ed25519 a {SEED}AA"), LineFlaw::Seed, "not base64 of 32 bytes"),
        (format!("ed25519 a {}", SEED.replace('+', "*")), LineFlaw::Seed, "not base64"),
        (format!("ed25519 ä {SEED}"), LineFlaw::NotAscii, "is not ASCII"),
        (format!("ed25519 first {OTHER}"), LineFlaw::Repeated(1), "same version as line 1"),
        (format!("ed25519 first {SEED}"), LineFlaw::Repeated(1), "same version as line 1"),
    ];
    for (line, flaw, told) in cases {
        let refused = parse(&format!("ed25519 first {SEED}\n\n{line}\n")).unwrap_err();
        assert_eq!(refused, SigningKeysError::Line(3, flaw), "{line}");
        let text = refused.to_string();
        assert!(text.starts_with("line 3 ") && text.contains(told), "{text}");
    }
    let refused = SigningKeys::parse(b"ed25519 a \xff").unwrap_err();
    assert_eq!(refused, SigningKeysError::Line(1, LineFlaw::NotAscii));
    for text in ["", "\n \r\n\t"] {
        assert_eq!(parse(text).unwrap_err(), SigningKeysError::Empty);
    }
}

#[test]
fn the_number_of_keys_is_bounded() {
    let file =
        |keys: usize| (0..keys).map(|n| format!("ed25519 v{n} {SEED}\n")).collect::<String>();
    assert_eq!(parse(&file(SIGNING_KEYS_MAX)).unwrap().iter().count(), SIGNING_KEYS_MAX);
    let refused = parse(&file(SIGNING_KEYS_MAX + 1)).unwrap_err();
    assert_eq!(refused, SigningKeysError::TooManyKeys);
}

#[test]
fn a_new_key_is_read_again_and_has_the_specs_characters() {
    let mut next = 0_u8;
    let counting = |bytes: &mut [u8]| {
        bytes.fill_with(|| {
            next = next.wrapping_add(3);
            next
        });
        Ok::<(), ()>(())
    };
    let mut fill = counting;
    for _ in 0..200 {
        let text = SigningKeys::generate(&mut fill).unwrap();
        let keys = SigningKeys::parse(text.as_bytes()).unwrap();
        let (id, _) = keys.first();
        let version = id.as_str().strip_prefix("ed25519:").unwrap();
        assert_eq!(version.len(), NEW_VERSION_CHARACTERS);
        assert!(version.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{version}");
    }
    assert_eq!(SigningKeys::generate(|_| Err("no entropy")).unwrap_err(), "no entropy");
}

#[test]
fn every_character_of_a_version_is_as_likely() {
    let mut counts = BTreeMap::new();
    let mut next = 0_u8;
    let mut fill = |bytes: &mut [u8]| {
        if let [byte] = bytes {
            next = next.wrapping_add(1);
            *byte = next;
        }
        Ok::<(), ()>(())
    };
    // All 256 bytes 31 times over, of which 8 stand for no character.
    for _ in 0..31 * 31 {
        let text = SigningKeys::generate(&mut fill).unwrap();
        let version = text.split(' ').nth(1).unwrap();
        version.chars().for_each(|character| *counts.entry(character).or_insert(0) += 1);
    }
    assert_eq!(counts.len(), ALPHABET.len());
    assert!(counts.values().all(|count| *count == 124), "{counts:?}");
}

#[test]
fn seeds_are_not_printed() {
    let keys = parse(&format!("ed25519 a {SEED}\ned25519 b {OTHER}\n")).unwrap();
    let printed = format!("{keys:?} {keys:#?}");
    assert!(printed.contains("ed25519:b"), "{printed}");
    for seed in [SEED, OTHER, "7, 7, 7", "96, 144"] {
        assert!(!printed.contains(seed), "{printed}");
    }
}

proptest! {
    /// A seed in the wrong place must not get into an error's text.
    #[test]
    fn errors_repeat_nothing_of_the_text(
        words in prop::collection::vec(prop::sample::select(vec!["ed25519", SEED, OTHER, "\"", "\n"]), 0..12)
    ) {
        if let Err(error) = parse(&words.join(" ")) {
            let told = format!("{error} {error:?} {}", error.fix());
            prop_assert!(!told.contains(SEED) && !told.contains(OTHER), "{}", told);
        }
    }

    #[test]
    fn nothing_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(SigningKeys::parse(&text));
    }
}
