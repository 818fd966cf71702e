//! Judging a request must not allocate once per JSON value: a peer without a valid signature decides
//! how many of those there are.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use fedgate::proto::json::Object;

/// An object with `values` members in an array, canonical or, with a blank after each comma, not.
fn body(values: usize, separator: &str) -> Vec<u8> {
    let members: Vec<String> = (0..values).map(|n| format!(r#"{{"a":{n},"b":"x"}}"#)).collect();
    format!(r#"{{"pdus":[{}]}}"#, members.join(separator)).into_bytes()
}

fn cost(text: &[u8]) -> allocation_counter::AllocationInfo {
    allocation_counter::measure(|| {
        let object = Object::scan(text).unwrap();
        let mut bytes = 0;
        object.write_canonical(&mut |piece: &[u8]| bytes += piece.len());
        assert!(bytes > 0);
    })
}

#[test]
fn a_canonical_body_costs_the_same_few_allocations_whatever_its_size() {
    let (few, many) = (cost(&body(10, ",")), cost(&body(100_000, ",")));
    assert_eq!(few.count_total, many.count_total);
    assert_eq!(few.bytes_max, many.bytes_max);
    assert!(many.bytes_max < 4_096, "{} bytes", many.bytes_max);
}

#[test]
fn any_other_body_costs_a_few_allocations_and_at_most_three_times_its_size() {
    for text in [body(100_000, ", "), unsorted(100_000)] {
        let cost = cost(&text);
        assert!(cost.count_total < 100, "{} allocations", cost.count_total);
        let bound = 3 * text.len() as u64;
        assert!(cost.bytes_max <= bound, "{} bytes for {}", cost.bytes_max, text.len());
    }
}

/// One object with members in reverse order: the worst case of sorting.
fn unsorted(members: usize) -> Vec<u8> {
    let members: Vec<String> = (0..members).rev().map(|n| format!(r#""{n:06}":0"#)).collect();
    format!("{{{}}}", members.join(",")).into_bytes()
}
