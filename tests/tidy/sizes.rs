//! How long a file and a function may be: what does not fit is two things.

use crate::source::{Source, closing};
use crate::{all_rust_files, assert_none, read};

/// Lines of a file, tests included.
const FILE_LINES_MAX: usize = 500;

/// Lines of a function's body that hold code, as clippy counts them.
const FUNCTION_LINES_MAX: usize = 70;

/// The functions of a file that are too long, as line and length.
fn long_functions(source: &Source) -> Vec<(usize, usize)> {
    let code = &source.code;
    let mut long = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let begins = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let signature = &code[at..];
        let Some(open) = signature.find(['{', ';']) else { continue };
        if !begins || signature[open..].starts_with(';') {
            continue;
        }
        let body = &signature[open..open + closing(&signature[open..])];
        let inside = body.trim_start_matches('{').trim_end_matches('}');
        let lines = inside.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > FUNCTION_LINES_MAX {
            long.push((code[..at].matches('\n').count() + 1, lines));
        }
    }
    long
}

#[test]
fn files_are_short() {
    let breaches: Vec<_> = all_rust_files()
        .into_iter()
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert_none(&format!("a file has more than {FILE_LINES_MAX} lines:"), &breaches);
}

#[test]
fn functions_are_short() {
    let breaches: Vec<_> = all_rust_files()
        .into_iter()
        .flat_map(|path| {
            let long = long_functions(&Source::read(&path));
            long.into_iter()
                .map(move |(line, length)| format!("{}:{line}: {length} lines", path.display()))
        })
        .collect();
    assert_none(&format!("a function has more than {FUNCTION_LINES_MAX} lines:"), &breaches);
}

#[test]
fn a_long_function_is_seen() {
    let path = std::path::Path::new("src/x.rs");
    let function = |lines: usize| {
        format!("fn f() {{\n{}    // a comment\n\n}}\nfn g() {{}}\n", "    g();\n".repeat(lines))
    };
    assert_eq!(long_functions(&Source::parse(path, &function(70))), []);
    assert_eq!(long_functions(&Source::parse(path, &function(71))), [(1, 71)]);
}
