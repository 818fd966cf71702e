//! A Rust file as far as these tests read it: code with comments, literals and test modules told
//! apart. Not a parser: it knows just enough of the grammar to find paths and braces.

use std::path::{Path, PathBuf};

/// A file's code. Comments and the insides of text and character literals are blanked out, so that
/// what is left are paths, names and braces, each still at its line.
pub struct Source {
    /// Relative to the root of the repository.
    pub path: PathBuf,
    /// The blanked text.
    pub code: String,
    /// Like `code`, with test modules blanked out too.
    pub shipped: String,
}

impl Source {
    pub fn read(path: &Path) -> Self {
        Self::parse(path, &crate::read(path))
    }

    pub fn parse(path: &Path, text: &str) -> Self {
        let code = blank(text);
        let shipped =
            if is_test_file(path) { newlines_of(&code) } else { without_test_modules(&code) };
        Self { path: path.to_owned(), code, shipped }
    }

    /// The first part of the path below `src`: `gate` for `src/gate/route.rs`, `app` for
    /// `src/app.rs`.
    pub fn module(&self) -> String {
        let below = self.path.strip_prefix("src").unwrap();
        let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
        first.strip_suffix(".rs").unwrap_or(first).to_owned()
    }

    /// How deep the file's own module lies below the crate: 1 for `src/gate/mod.rs`.
    pub fn depth(&self) -> usize {
        let below = self.path.strip_prefix("src").unwrap();
        let parts = below.components().count();
        if below.ends_with("mod.rs") { parts - 1 } else { parts }
    }
}

/// Names and punctuation, with the number of their line, counted from 1.
pub fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            let length = match first {
                _ if word > 0 => word,
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            if !first.is_whitespace() {
                found.push((number + 1, &rest[..length]));
            }
            rest = &rest[length..];
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Files that hold nothing but tests, by the names this repository gives them.
fn is_test_file(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let named = matches!(stem, "tests" | "testing" | "test_vectors");
    named || path.components().any(|c| c.as_os_str() == "tests")
}

fn newlines_of(code: &str) -> String {
    code.chars().filter(|c| *c == '\n').collect()
}

/// Blanks out `#[cfg(test)] mod name { .. }`.
fn without_test_modules(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let after = &rest[at + MARK.len()..];
        let item = after.trim_start();
        let open = after.find('{').filter(|open| !after[..*open].contains(';'));
        let (true, Some(open)) = (item.starts_with("mod "), open) else {
            out.push_str(&rest[..at + MARK.len()]);
            rest = after;
            continue;
        };
        let end = open + closing(&after[open..]);
        out.push_str(&rest[..at]);
        out.push_str(&newlines_of(&after[..end]));
        rest = &after[end..];
    }
    out + rest
}

/// The length of the block that `code` begins with, braces included.
pub fn closing(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Blanks out comments and the insides of literals; line ends stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_name = false;
    while let Some(first) = rest.chars().next() {
        let (blanked, kept) = match () {
            () if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), ""),
            () if rest.starts_with("/*") => (comment_length(rest), ""),
            () if first == '"' => (1 + text_length(&rest[1..]), "\"\""),
            () if first == '\'' => (quote_length(rest), "' '"),
            () if !after_name && raw_length(rest).is_some() => (raw_length(rest).unwrap(), "\"\""),
            () => (0, ""),
        };
        if blanked == 0 {
            out.push(first);
            after_name = is_name(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        out.push_str(kept);
        out.push_str(&newlines_of(&rest[..blanked]));
        after_name = false;
        rest = &rest[blanked..];
    }
    out
}

fn comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().unwrap().len_utf8();
        }
    }
    at
}

/// The length of a text literal from behind its opening quote to behind its closing one.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character literal; 0 for a lifetime.
fn quote_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let Some((_, first)) = chars.next() else { return 0 };
    if first == '\\' {
        // The character after the backslash may be a quote itself.
        return chars.skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1);
    }
    chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
}

/// The length of a raw text literal, with or without `b`; `None` if there is none.
fn raw_length(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.find(|c| c != '#')?;
    let inside = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end)? + end.len();
    Some(rest.len() - inside.len() + length)
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "a /* b /* c */ d */ e // f\n\"g \\\" h\" r#\"i \" j\"# b\"k\" '\\'' 'l' &'m n";
    assert_eq!(blank(text), "a  e \n\"\" \"\" b\"\" ' ' ' ' &'m n");
}

#[test]
fn test_modules_are_not_shipped_and_keep_their_lines() {
    let text =
        "use a;\n#[cfg(test)]\nmod tests {\n    fn f() { g() }\n}\nuse b;\n#[cfg(test)]\nmod t;\n";
    let source = Source::parse(Path::new("src/x.rs"), text);
    assert_eq!(source.shipped, "use a;\n\n\n\n\nuse b;\n#[cfg(test)]\nmod t;\n");
}
