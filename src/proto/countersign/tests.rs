use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::Value;

use super::*;
use crate::proto::ed25519::{BannedKeys, SigningKey};
use crate::proto::server_keys::UnverifiedServerKeys;
use crate::proto::test_vectors::{self, id, name, spec_key};

const NOTARY: &str = "notary.example";

/// Names that are almost those of the fields that count, and others that are awkward.
const UNKNOWN: [&str; 14] = [
    r#""Signatures""#,
    r#""signatures ""#,
    r#""signature""#,
    r#""signature\u017f""#,
    r#""\u0000signatures""#,
    r#""UNSIGNED""#,
    r#""unsigned\n""#,
    r#""server_nam\u00e9""#,
    r#""verify_keys\u0000""#,
    r#""valid_until_ts.""#,
    r#""tls_fingerprints""#,
    r#""\ud83d\ude00""#,
    r#""""#,
    r#""\/\"\\""#,
];

/// Values that a parser would not write as it has read them.
const LEAVES: [&str; 14] = [
    "1.50",
    "-0",
    "-0.0",
    "1E+2",
    "0.1e-7",
    "123456789012345678901234567890",
    "-9007199254740993",
    "null",
    "true",
    r#""\u0041\/\ud83d\ude00\u001f""#,
    "\"\u{2028}\u{7f}é\"",
    r#"{"signatures":{"x.example":{"ed25519:1":"A"}},"unsigned":{ }}"#,
    "[ ]",
    "{\t}",
];

fn space() -> impl Strategy<Value = String> {
    select(vec!["", "", " ", "\n", "\t \r\n"]).prop_map(str::to_owned)
}

/// The text of a value.
fn value() -> impl Strategy<Value = String> {
    let leaf = select(LEAVES.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let array = (prop::collection::vec(inner.clone(), 0..4), space())
            .prop_map(|(values, space)| format!("[{space}{}]", values.join(&format!("{space},"))));
        let object = (prop::collection::vec(inner, 0..4), space()).prop_map(|(values, space)| {
            let names = UNKNOWN.iter().rev();
            let members: Vec<_> = names
                .zip(values)
                .map(|(name, value)| format!("{space}{name}{space}:{value}"))
                .collect();
            format!("{{{}{space}}}", members.join(","))
        });
        prop_oneof![array, object]
    })
}

/// The members of a document but for `signatures`, and the space to put between them.
#[derive(Clone, Debug)]
struct Members {
    texts: Vec<String>,
    unsigned: Option<String>,
    space: String,
    at: [Index; 2],
}

fn members() -> impl Strategy<Value = Members> {
    let unknown = subsequence(UNKNOWN.to_vec(), 0..8);
    let values = prop::collection::vec(value(), 8);
    let old = prop::option::of(select(vec![
        r#""old_verify_keys":{}"#,
        "\"old\\u005fverify_keys\" : { }",
    ]));
    (unknown, values, old, prop::option::of(value()), space(), any::<[Index; 2]>())
        .prop_map(|(unknown, values, old, unsigned, space, at)| {
            let key = spec_key().verify_key().to_base64();
            let mut texts = vec![
                "\"server_name\":\"domain\"".to_owned(),
                format!("\"valid_until_ts\"{space}: 1652262000000"),
                format!("\"verify_keys\":{{ \"ed25519:1\"{space}:{{\"key\":\"{key}\"}}}}"),
            ];
            texts.extend(old.map(str::to_owned));
            let unknown = unknown.iter().zip(values);
            texts.extend(unknown.map(|(name, value)| format!("{name}{space}:{space}{value}")));
            let unsigned = unsigned.map(|value| format!("\"unsi\\u0067ned\"{space}:{value}"));
            Members { texts, unsigned, space, at }
        })
        .prop_flat_map(|members| {
            let texts = Just(members.texts.clone()).prop_shuffle();
            texts.prop_map(move |texts| Members { texts, ..members.clone() })
        })
}

impl Members {
    /// The text of the document with these signatures.
    fn with(&self, signatures: &str) -> String {
        let mut texts = self.texts.clone();
        texts.insert(self.at[0].index(texts.len() + 1), format!("\"signatures\":{signatures}"));
        if let Some(unsigned) = &self.unsigned {
            texts.insert(self.at[1].index(texts.len() + 1), unsigned.clone());
        }
        let space = &self.space;
        format!("{space}{{{space}{}{space}}}{space}", texts.join(&format!("{space},{space}")))
    }

    /// What is to be served, with these signatures.
    fn served_with(&self, signatures: &str) -> String {
        let mut texts = self.texts.clone();
        texts.insert(self.at[0].index(texts.len() + 1), format!("\"signatures\":{signatures}"));
        format!("{{{}}}", texts.join(","))
    }

    /// The signature of `key` as base64.
    fn signature(&self, key: &SigningKey) -> String {
        let text = self.with("{}");
        let mut message = Vec::new();
        Object::scan(text.as_bytes()).unwrap().write_canonical_without(
            &["signatures", "unsigned"],
            &mut |piece: &[u8]| {
                message.extend_from_slice(piece);
            },
        );
        key.sign(&message).to_base64()
    }
}

fn verified(text: impl Into<Bytes>) -> ServerKeys {
    let keys = UnverifiedServerKeys::parse(text.into()).unwrap();
    keys.verify(&name("domain"), &BannedKeys::new([])).unwrap()
}

/// Two keys, not in the order of their IDs.
fn notary_keys() -> SigningKeys {
    let text = "ed25519 n_new CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk\n\
                ed25519 a_old BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\n";
    SigningKeys::parse(text.as_bytes()).unwrap()
}

/// Everything a peer checks of an answer.
fn assert_accepted(served: &Bytes, notary: &str) {
    let keys = UnverifiedServerKeys::parse(served.clone()).unwrap();
    for (key_id, key) in notary_keys().verify_keys() {
        assert!(keys.is_signed_by(&name(notary), key_id, &key), "{key_id}");
    }
    assert!(keys.is_signed_by(&name("domain"), &id("ed25519:1"), &spec_key().verify_key()));
    drop(verified(served.clone()));
}

proptest! {
    /// The output minus our signatures is the input minus foreign ones, byte for byte (R63, K13).
    #[test]
    fn k13_nothing_but_signatures_changes(members in members(), space in space()) {
        let origins = format!(
            "{{{space}\"ed25519:0\" :\"junk\",\"ed25519:1\":\"{}\",\"x\":[1.0]}}",
            members.signature(&spec_key()),
        );
        let text = members.with(&format!(
            "{{{space}\"matrix.org\":{{\"ed25519:auto\":\"AAAA\"}} ,\"d\\u006fmain\"{space}:{origins},\
             \"{NOTARY}\":{{\"ed25519:n_new\":\"stale\",\"ed25519:gone\":\"AA\"}},\"not a name\":1}}"
        ));
        let served = countersign(&verified(text), &name(NOTARY), &notary_keys()).unwrap();

        let keys = notary_keys();
        let [new, old] = [0, 1].map(|at| members.signature(keys.iter().nth(at).unwrap().1));
        let ours = format!("{{\"ed25519:a_old\":\"{old}\",\"ed25519:n_new\":\"{new}\"}}");
        let signatures = format!("{{\"domain\":{origins},\"{NOTARY}\":{ours}}}");
        prop_assert_eq!(str::from_utf8(&served).unwrap(), members.served_with(&signatures));
        assert_accepted(&served, NOTARY);

        // Nothing is left to change, and the next notary takes ours away again.
        let again = countersign(&verified(served.clone()), &name(NOTARY), &keys).unwrap();
        prop_assert_eq!(&again, &served);
        let next = countersign(&verified(served), &name("next.example"), &keys).unwrap();
        assert_accepted(&next, "next.example");
        prop_assert!(!str::from_utf8(&next).unwrap().contains(NOTARY));
    }

    /// Our own document keeps the signatures it has; only those by the same keys are made anew.
    #[test]
    fn our_own_document_keeps_its_signatures(members in members()) {
        let signature = members.signature(&spec_key());
        let text = members.with(&format!(
            "{{\"matrix.org\":{{}},\"domain\": {{\"ed25519:n_new\":\"stale\", \"ed25519:1\" : \"{signature}\"}}}}"
        ));
        let served = countersign(&verified(text), &name("domain"), &notary_keys()).unwrap();
        assert_accepted(&served, "domain");
        let document: Value = serde_json::from_slice(&served).unwrap();
        let servers: Vec<_> = document["signatures"].as_object().unwrap().keys().collect();
        prop_assert_eq!(servers, ["domain"]);
        let own: Vec<_> = document["signatures"]["domain"].as_object().unwrap().keys().collect();
        prop_assert_eq!(own, ["ed25519:1", "ed25519:a_old", "ed25519:n_new"]);
        prop_assert_eq!(&document["signatures"]["domain"]["ed25519:1"], &Value::from(signature));
    }
}

#[test]
fn what_is_canonical_stays_canonical() {
    let vectors = test_vectors::spec();
    let response = &vectors["derived_key_response_with_unknown_field"]["response"];
    let document = verified(response.to_string());
    assert!(Object::scan(document.raw()).unwrap().is_canonical());
    for notary in ["a.example", NOTARY] {
        let served = countersign(&document, &name(notary), &notary_keys()).unwrap();
        assert!(Object::scan(&served).unwrap().is_canonical(), "{served:?}");
        assert_accepted(&served, notary);
    }
}

#[test]
fn the_place_for_it_is_made_at_once() {
    let vectors = test_vectors::spec();
    let response = &vectors["derived_key_response_with_unknown_field"]["response"];
    let document = verified(response.to_string());
    let keys = notary_keys();
    let served = countersign(&document, &name(NOTARY), &keys).unwrap();
    assert!(served.len() <= document.raw().len() + SIGNATURE_BYTES * 2);
}
