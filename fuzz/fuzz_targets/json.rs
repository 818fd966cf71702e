//! Any bytes as JSON: what is one unambiguous object, and its canonical form.

#![no_main]

use bytes::Bytes;
use fedgate::proto::json::{GrowingText, JsonError, Object, Part};
use fedgate_fuzz::json::{Value, parse_object};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let scanned = Object::scan(data);
    grown(data, &scanned);
    let tree = parse_object(data);
    assert_eq!(scanned.is_ok(), tree.is_some(), "{scanned:?}");
    let (Ok(object), Some(tree)) = (scanned, tree) else { return };
    let canonical = written(|sink| object.write_canonical(sink));
    assert_eq!(canonical.escape_ascii().to_string(), tree.canonical().escape_ascii().to_string());
    assert_eq!(object.canonical_bytes(), canonical.len());
    assert_eq!(object.is_canonical(), canonical == data);
    assert_eq!(object.first_foreign_number().is_some(), tree.has_foreign_number());

    let again = Object::scan(&canonical).unwrap();
    assert!(again.is_canonical());
    assert_eq!(written(|sink| again.write_canonical(sink)), canonical);
    for object in [&object, &again] {
        parts(object, &tree);
    }
});

/// A text that comes in pieces is read as the one that is there as a whole.
fn grown(data: &[u8], scanned: &Result<Object<'_>, JsonError>) {
    let length = data.iter().fold(1, |sum: usize, byte| sum * 7 % 61 + usize::from(*byte) % 8 + 1);
    let mut grown = GrowingText::scanned(1);
    for piece in data.chunks(length) {
        grown.push(Bytes::copy_from_slice(piece), 0);
    }
    grown.end();
    let is_canonical = scanned.as_ref().is_ok_and(Object::is_canonical);
    // Of a token this long it need not be found.
    let has_long_token = data.len() >= 4_000;
    assert!(grown.may_be_canonical() == is_canonical || is_canonical && has_long_token);
    let shown = |object: &Object<'_>| written(|sink| object.write_canonical(sink));
    assert_eq!(grown.object().as_ref().map(shown), scanned.as_ref().map(shown));
}

/// Parts of the object are the same as those of the tree.
fn parts(object: &Object<'_>, tree: &Value) {
    let omitted = ["signatures", "unsigned", "a"];
    let without = tree.without(&omitted).canonical();
    assert_eq!(written(|sink| object.write_canonical_without(&omitted, sink)), without);

    let members: Vec<_> = object.raw_members().collect();
    assert_eq!(members.len(), tree.members().unwrap().len());
    let part = |name: &str| match name {
        "signatures" | "unsigned" => Part::Nothing,
        "a" => Part::Members(&[("b", Part::Whole), ("a", Part::Members(&[("a", Part::Whole)]))]),
        _ => Part::Whole,
    };
    let walked = written(|sink| object.write_canonical_part(part, sink));
    assert_eq!(walked, written(|sink| object.write_canonical_part_of(&members, part, sink)));
    let mut kept = tree.without(&omitted);
    if let Some(kept_of_a) = tree.member("a").and_then(kept_of_a) {
        kept.set("a", kept_of_a);
    }
    assert_eq!(walked, kept.canonical());
    for (name, value) in object.members() {
        let same = tree.member(&name).unwrap();
        if let Ok(inner) = object.scan_value(value) {
            assert_eq!(written(|sink| inner.write_canonical(sink)), same.canonical());
        } else {
            assert!(same.members().is_none());
        }
        assert_eq!(fedgate::proto::json::string_value(value).as_deref(), same.text());
        let values = fedgate::proto::json::array_values(value).map(Iterator::count);
        assert_eq!(values, same.array().map(<[Value]>::len));
        let members = fedgate::proto::json::object_members(value).map(Iterator::count);
        assert_eq!(members, same.members().map(std::collections::BTreeMap::len));
    }
}

fn kept_of_a(value: &Value) -> Option<Value> {
    let mut kept = fedgate_fuzz::json::object([]);
    let members = value.members()?;
    for name in ["a", "b"] {
        let Some(member) = members.get(&vec![name.chars().next()?]) else { continue };
        if name == "b" {
            kept.set("b", member.clone());
        } else if member.members().is_some() {
            let mut inner = fedgate_fuzz::json::object([]);
            member.member("a").into_iter().for_each(|value| inner.set("a", value.clone()));
            kept.set("a", inner);
        }
    }
    Some(kept)
}

fn written(write: impl FnOnce(&mut Box<dyn FnMut(&[u8]) + '_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink: Box<dyn FnMut(&[u8]) + '_> = Box::new(|piece| bytes.extend_from_slice(piece));
    write(&mut sink);
    drop(sink);
    bytes
}
