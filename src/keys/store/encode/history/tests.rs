use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::keys::record::Source;
use crate::proto::ed25519::{SigningKey, VerifyKey};
use crate::proto::{KeyId, ServerName, Timestamp};

const LINK: Link = Link { after: [7; 32], bytes: 99 };

fn key(seed: u8) -> VerifyKey {
    SigningKey::from_seed(&[seed; 32]).verify_key()
}

fn timestamps() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MAX.as_ms()).prop_map(Timestamp::from_ms)
}

fn events() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        Just(What::FirstSeen),
        Just(What::TakenBack),
        any::<bool>().prop_map(|replaced| What::Changed { known: key(1), replaced }),
        Just(What::Disagreement { known: key(2) }),
        timestamps().prop_map(|expired_ts| What::Retired { expired_ts }),
    ];
    (any::<u8>(), what).prop_map(|(id, what)| {
        let id = KeyId::parse(&format!("ed25519:{id}")).unwrap();
        Event { id, key: key(3), what }
    })
}

fn entries() -> impl Strategy<Value = Entry> {
    let notary = Source::Notary(ServerName::parse("n:80").unwrap());
    let source = prop_oneof![Just(Source::Homeserver), Just(Source::Origin), Just(notary)];
    prop_oneof![
        (any::<String>(), timestamps(), source, vec(events(), 0..4)).prop_map(
            |(raw, fetched_at, source, events)| {
                let document = KeptDocument { raw: raw.into(), fetched_at, source };
                Entry::Shown { document, events }
            }
        ),
        timestamps().prop_map(|at| Entry::Flushed { at }),
        timestamps().prop_map(|at| Entry::Full { at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn entries_survive_and_their_damage_is_seen(entry in entries()) {
        let draft = Draft::of(&entry).unwrap();
        let document = draft.document.as_ref().map(|(_, raw)| raw.to_vec());
        let bytes = draft.seal("a.example", 5, LINK).unwrap();
        let read = Read::of("a.example", 5, &bytes).unwrap();
        prop_assert_eq!((read.link.after, read.link.bytes), (LINK.after, LINK.bytes));
        prop_assert_eq!(read.is_full(), matches!(entry, Entry::Full { .. }));
        prop_assert_eq!(read.with(document.clone()), Ok(entry));
        for (name, number) in [("a.example", 6), ("b.example", 5)] {
            prop_assert!(Read::of(name, number, &bytes).is_err(), "in another place");
        }
        for at in 0..bytes.len() {
            let mut copy = bytes.clone();
            copy[at] ^= 1 << (at % 8);
            prop_assert!(Read::of("a.example", 5, &copy).is_err());
            prop_assert!(Read::of("a.example", 5, &bytes[..at]).is_err());
        }
        if let Some(mut document) = document {
            let read = || Read::of("a.example", 5, &bytes).unwrap();
            prop_assert!(read().with(None).is_err());
            document.push(b' ');
            prop_assert!(read().with(Some(document)).is_err());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Read::of("a.example", 5, &bytes).is_err());
        let sealed = seal("history a.example 5", &bytes);
        prop_assert!(Read::of("a.example", 5, &sealed).is_err());
    }
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let document = |raw: &'static [u8], ms| KeptDocument {
        raw: Bytes::from_static(raw),
        fetched_at: Timestamp::from_ms(ms),
        source: Source::Origin,
    };
    let is_drafted = |document| Draft::of(&Entry::Shown { document, events: Vec::new() }).is_ok();
    assert!(is_drafted(document(b"{}", 1)));
    assert!(!is_drafted(document(b"\xff", 1)));
    assert!(!is_drafted(document(b"{}", Timestamp::MAX.as_ms() + 1)));
}
