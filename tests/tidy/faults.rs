//! The table of injected faults names tests that exist.

use crate::{assert_none, read, root};

/// How many faults the threat model lists.
const FAULTS: i64 = 48;

/// Whether a file has a test of this name: a function, or a row of a table of tests.
fn has_test(text: &str, name: &str) -> bool {
    let definitions = [format!("fn {name}("), format!("def {name}("), format!("    {name}: ")];
    definitions.iter().any(|definition| text.contains(definition))
}

/// What is wrong with one entry.
fn breaches(number: i64, entry: &toml::Value) -> Vec<String> {
    let mut breaches = Vec::new();
    if entry.get("number").and_then(toml::Value::as_integer) != Some(number) {
        breaches.push(format!("fault {number} is not in its place"));
    }
    let tests = entry.get("tests").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    if tests.is_empty() && entry.get("why_not").is_none() {
        breaches.push(format!("fault {number} has neither tests nor a reason"));
    }
    for test in tests {
        let test = test.as_str().unwrap_or_default();
        let (file, name) = test.split_once("::").unwrap_or((test, ""));
        let is_there = root().join(file).is_file() && has_test(&read(file), name);
        if !is_there {
            breaches.push(format!("fault {number}: there is no {test}"));
        }
    }
    breaches
}

#[test]
fn every_fault_has_tests_that_exist_or_a_reason() {
    let table: toml::Table = read("tests/faults.toml").parse().unwrap();
    let faults = table["fault"].as_array().unwrap();
    let found: Vec<_> =
        (1..).zip(faults).flat_map(|(number, entry)| breaches(number, entry)).collect();
    assert_none("tests/faults.toml:", &found);
    assert_eq!(i64::try_from(faults.len()), Ok(FAULTS));
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    let entry: toml::Value = "number = 1\ntests = [\"tests/tidy/faults.rs::no_such_test\"]"
        .parse::<toml::Table>()
        .unwrap()
        .into();
    assert_eq!(breaches(1, &entry).len(), 1);
    assert_eq!(breaches(2, &entry).len(), 2);
}
