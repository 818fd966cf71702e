//! Objects made of the input, and spelt in ways it chooses: all are accepted, and all of one object
//! have one canonical form.

#![no_main]

use fedgate::proto::json::Object;
use fedgate_fuzz::input::Input;
use fedgate_fuzz::json_spelling::{spell, tree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let half = data.len() / 2;
    let tree = tree(&mut Input(&data[..half]), 4);
    let mut text = String::new();
    spell(&tree, &mut Input(&data[half..]), &mut text);
    let object = Object::scan(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut canonical = Vec::new();
    object.write_canonical(&mut |piece: &[u8]| canonical.extend_from_slice(piece));
    assert_eq!(canonical, tree.canonical(), "{text}");
    let again = Object::scan(&canonical).unwrap();
    assert!(again.is_canonical());
});
