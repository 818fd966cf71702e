//! Paths as a lenient router might read them.

use std::collections::BTreeSet;

/// How often something lenient may be done to a path.
const ROUNDS: usize = 4;
/// Readings of one path that are followed.
const READINGS_MAX: usize = 200;

/// Whether an operation is one that the specification leaves open to all, or a form of it that is
/// still in use.
pub fn is_open(method: &str, path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (method, segments.as_slice()) {
        ("GET", [".well-known", "matrix", "server"])
        | ("GET", ["_matrix", "federation", "v1", "version"])
        | ("GET", ["_matrix", "federation", "v1", "openid", "userinfo"])
        | ("PUT" | "POST", ["_matrix", "federation", "v1", "3pid", "onbind"])
        | ("GET", ["_matrix", "key", "v2", "server"] | ["_matrix", "key", "v2", "server", _])
        | ("POST", ["_matrix", "key", "v2", "query"])
        | ("GET", ["_matrix", "key", "v2", "query", _] | ["_matrix", "key", "v2", "query", _, _]) => {
            true
        }
        _ => false,
    }
}

/// Whether some router might take a path for one below our prefixes: it decodes, folds case, drops
/// path parameters, merges slashes, resolves dots, in any order and more than once.
pub fn may_be_ours(path: &str) -> bool {
    let mut readings = BTreeSet::from([path.as_bytes().to_vec()]);
    for _ in 0..ROUNDS {
        let more: Vec<Vec<u8>> = readings
            .iter()
            .flat_map(|path| [decoded(path), without_parameters(path), resolved(path)])
            .collect();
        readings.extend(more.into_iter().take(READINGS_MAX));
    }
    readings.iter().any(|path| is_ours(path))
}

/// Whether a path is below our prefixes, in any case.
fn is_ours(path: &[u8]) -> bool {
    let path = path.to_ascii_lowercase();
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
    matches!(
        segments.as_slice(),
        [b"_matrix", b"federation" | b"policy" | b"key", ..]
            | [b".well-known", b"matrix", b"server", ..]
    )
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            Some((digit(0)? * 16 + digit(1)?) as u8)
        });
        match (byte, hex) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                rest = &after[2..];
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let cut =
        |segment: &[u8]| segment.split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
    path.split(|byte| *byte == b'/').map(cut).collect::<Vec<_>>().join(&b'/')
}

fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    [b"/".to_vec(), kept.join(&b'/')].concat()
}
