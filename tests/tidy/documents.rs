//! The documents say what the code says. Parts of them are written by these tests: with
//! `FEDGATE_BLESS=1` in the environment, what differs is rewritten.

use std::sync::{Mutex, PoisonError};

use fedgate::gate::Rejection;

use crate::{assert_none, read, root};

/// A part of a document that is made from the code, between `<!-- name:begin -->` and
/// `<!-- name:end -->`.
pub struct Block<'a> {
    pub file: &'a str,
    pub name: &'a str,
    pub text: &'a str,
}

/// Held while a document is read and written: tests run side by side.
static WRITING: Mutex<()> = Mutex::new(());

/// Compares a block with the document, or rewrites it.
pub fn assert_block(block: Block<'_>) {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let Block { file, name, text } = block;
    let document = read(file);
    let begin = format!("<!-- {name}:begin -->\n");
    let end = format!("<!-- {name}:end -->");
    let (before, rest) =
        document.split_once(&begin).unwrap_or_else(|| panic!("{file} has no {begin}"));
    let (found, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{file} has no {end}"));
    if found == text {
        return;
    }
    if std::env::var_os("FEDGATE_BLESS").is_some() {
        std::fs::write(root().join(file), format!("{before}{begin}{text}{end}{after}")).unwrap();
        return;
    }
    panic!(
        "{file}: the part `{name}` is stale. Wanted:\n\n{text}\n\
         FEDGATE_BLESS=1 cargo test --test tidy writes it."
    );
}

#[test]
fn the_readme_has_the_table_of_refusals() {
    let mut table = "| reason | status | errcode | meaning |\n|---|---|---|---|\n".to_owned();
    for rejection in Rejection::ALL {
        table += &format!(
            "| `{}` | {} | `{}` | {} |\n",
            rejection.code(),
            rejection.status().as_u16(),
            rejection.errcode(),
            rejection.meaning().replace('|', "\\|"),
        );
    }
    assert_block(Block { file: "README.md", name: "refusals", text: &table });
}

/// The names in the first column of ARCHITECTURE.md's tables of dependencies.
fn explained() -> Vec<String> {
    let document = read("ARCHITECTURE.md");
    let (_, part) = document.split_once("\n## Dependencies\n").unwrap();
    let part = part.split("\n## ").next().unwrap();
    part.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn every_direct_dependency_is_explained() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let mut names = Vec::new();
    for table in ["dependencies", "dev-dependencies"] {
        names.extend(manifest[table].as_table().unwrap().keys().cloned());
    }
    names.extend(manifest["patch"]["crates-io"].as_table().unwrap().keys().cloned());
    let explained = explained();
    let missing: Vec<_> = names.iter().filter(|name| !explained.contains(name)).cloned().collect();
    assert_none("ARCHITECTURE.md does not say what these dependencies are for:", &missing);
    let gone: Vec<_> = explained.iter().filter(|name| !names.contains(name)).cloned().collect();
    assert_none("ARCHITECTURE.md explains dependencies that are not there:", &gone);
}

#[test]
fn documents_point_at_files_that_exist() {
    let mut breaches = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md"] {
        for word in read(document).split(['`', '(', ')', ' ', '\n', ',']) {
            let ours = ["src/", "tests/", "config/", "benches/", "compat/"];
            let path = word.split(':').next().unwrap().trim_end_matches(['.', ';']);
            let is_path =
                ours.iter().any(|top| path.starts_with(top)) && !path.contains(['*', '{']);
            if is_path && !root().join(path).exists() {
                breaches.push(format!("{document}: {path}"));
            }
        }
    }
    assert_none("a document names a file that is not there:", &breaches);
}
