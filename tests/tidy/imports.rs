//! Who may import whom. Test modules are held to the same directions between our own modules; the
//! rules about other crates hold for what is shipped.

use std::path::{Path, PathBuf};

use crate::source::{Source, tokens};
use crate::{assert_none, read, root, rust_files};

/// Each module of the crate and those it may name, beside itself: `proto <- net <- keys <- gate <-
/// proxy <- app <- cli`, with `clock`, `stamp` and `config` beside, and `admin` above `keys`.
const ALLOWED: [(&str, &[&str]); 14] = [
    ("proto", &[]),
    ("clock", &["proto"]),
    ("stamp", &[]),
    ("config", &["proto"]),
    ("net", &["proto"]),
    ("keys", &["clock", "config", "net", "proto"]),
    ("gate", &["clock", "config", "keys", "proto", "stamp"]),
    ("notary", &["clock", "keys", "proto"]),
    ("proxy", &["clock", "config", "gate", "keys", "net", "notary", "proto", "stamp"]),
    ("admin", &["keys", "proto"]),
    (
        "app",
        &["admin", "clock", "config", "gate", "keys", "net", "notary", "proto", "proxy", "stamp"],
    ),
    (
        "cli",
        &["admin", "app", "clock", "config", "gate", "keys", "net", "notary", "proto", "proxy"],
    ),
    ("lib", &[]),
    ("main", &[]),
];

/// Crates that only some files may name. A path that ends in `/` stands for the folder.
const CONFINED: [(&str, &[&str]); 7] = [
    ("pingora", &["src/proxy/", "src/app/assembly.rs"]),
    (
        "prometheus",
        &[
            "src/admin/",
            "src/app.rs",
            "src/app/keys.rs",
            "src/app/metrics.rs",
            "src/gate/events/metrics.rs",
            "src/gate/limits/metrics.rs",
            "src/gate/metrics.rs",
            "src/gate/policy/metrics.rs",
            "src/keys/metrics.rs",
            "src/keys/metrics/history.rs",
            "src/notary/metrics.rs",
            "src/net/metrics.rs",
            "src/proxy/metrics.rs",
            "src/proxy/record.rs",
        ],
    ),
    ("curve25519_dalek", &["src/proto/ed25519/"]),
    ("ed25519_dalek", &["src/proto/ed25519.rs", "src/proto/ed25519/"]),
    ("getrandom", &["src/keys/signing_key_file.rs"]),
    ("clap", &["src/cli/"]),
    ("redb", &["src/keys/store/"]),
];

/// What the pure core may be made of.
const PROTO_CRATES: [&str; 14] = [
    "base64",
    "bytes",
    "curve25519_dalek",
    "ed25519_dalek",
    "http",
    "ring",
    "serde",
    "serde_json",
    "sha2",
    "smallvec",
    "smol_str",
    "std",
    "wide",
    "zeroize",
];

/// What the core may not name of these crates: whatever waits, reads or acts.
const PROTO_FORBIDDEN: [(&str, &[&str]); 2] = [
    ("std", &["env", "fs", "io", "os", "process", "thread"]),
    ("http", &["HeaderMap", "Request", "Response", "header", "request", "response"]),
];

/// Names that would make the core impure wherever they come from.
const PROTO_FORBIDDEN_NAMES: [&str; 6] =
    ["Instant", "SystemTime", "TcpListener", "TcpStream", "ToSocketAddrs", "UdpSocket"];

fn sources() -> Vec<Source> {
    rust_files("src").iter().map(|path| Source::read(path)).collect()
}

/// The modules of our own crate that a file names, with the line: after `crate::`, in a group after
/// it, and after as many `super::` as lead up to the crate.
fn own_modules(source: &Source) -> Vec<(usize, String)> {
    let tokens = tokens(&source.code);
    let mut found = Vec::new();
    // Depths of braces at which an inline module was opened.
    let mut inline: Vec<usize> = Vec::new();
    let mut braces = 0;
    for (at, (line, token)) in tokens.iter().enumerate() {
        let word = |offset: usize| tokens.get(at + offset).map_or("", |(_, token)| *token);
        match *token {
            "{" => {
                braces += 1;
                if at >= 2 && tokens[at - 2].1 == "mod" {
                    inline.push(braces);
                }
            }
            "}" => {
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
                braces -= 1;
            }
            "crate" if word(1) == "::" => found.extend(after_root(&tokens[at + 2..])),
            "super" if at == 0 || tokens[at - 1].1 != "::" => {
                let mut levels = 1;
                while word(levels * 2) == "super" {
                    levels += 1;
                }
                if levels >= source.depth() + inline.len() {
                    found.push((*line, "a path of super:: up to the crate".to_owned()));
                }
            }
            _ => {}
        }
    }
    found
}

/// The names right behind a path's first `::`: one, or those in the group.
fn after_root(tokens: &[(usize, &str)]) -> Vec<(usize, String)> {
    if tokens[0].1 != "{" {
        return vec![(tokens[0].0, tokens[0].1.to_owned())];
    }
    let mut found = Vec::new();
    let mut depth = 0;
    for pair in tokens.windows(2) {
        let [(_, token), (line, next)] = pair else { continue };
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(*token, "{" | ",") && *next != "}" {
            found.push((*line, (*next).to_owned()));
        }
    }
    found
}

/// The places where a path begins with `name`: `name::` not preceded by `::`, and `use name`.
fn places(code: &str, name: &str) -> Vec<usize> {
    let tokens = tokens(code);
    let word = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |(_, t)| *t);
    tokens
        .iter()
        .enumerate()
        .filter(|(at, (_, token))| {
            let begins = word(at.checked_sub(1)) != "::";
            let is_path = word(Some(at + 1)) == "::" || word(at.checked_sub(1)) == "use";
            *token == name && begins && is_path
        })
        .map(|(_, (line, _))| *line)
        .collect()
}

fn breaches_of_direction(source: &Source) -> Vec<String> {
    let module = source.module();
    let allowed = ALLOWED
        .iter()
        .find(|(name, _)| *name == module)
        .unwrap_or_else(|| panic!("src/{module} is new: say in ALLOWED what it may import"))
        .1;
    own_modules(source)
        .into_iter()
        .filter(|(_, named)| *named != module && !allowed.contains(&named.as_str()))
        .map(|(line, named)| format!("{}:{line}: {module} -> {named}", source.path.display()))
        .collect()
}

/// The direct dependencies of the package, as they are named in code.
fn dependencies() -> Vec<String> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let table = manifest["dependencies"].as_table().unwrap();
    table.keys().map(|name| name.replace('-', "_")).collect()
}

fn is_within(path: &Path, places: &[&str]) -> bool {
    let path = path.to_str().unwrap();
    places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

#[test]
fn no_module_imports_upward() {
    let breaches: Vec<_> = sources().iter().flat_map(breaches_of_direction).collect();
    assert_none("a module names one that stands above or beside it:", &breaches);
}

#[test]
fn the_program_is_a_thin_binary() {
    let main = Source::read(Path::new("src/main.rs"));
    let named: Vec<_> = places(&main.code, "fedgate");
    assert_eq!(named.len(), 1, "main.rs calls the library once");
    assert!(main.code.contains("fedgate::cli::main"));
}

#[test]
fn confined_crates_stay_where_they_belong() {
    let mut breaches = Vec::new();
    for source in sources() {
        for (name, homes) in CONFINED {
            if !is_within(&source.path, homes) {
                breaches.extend(
                    places(&source.shipped, name)
                        .iter()
                        .map(|line| format!("{}:{line}: {name}", source.path.display())),
                );
            }
        }
    }
    assert_none("a file names a crate that is confined to others:", &breaches);
}

#[test]
fn homes_of_confined_crates_exist() {
    for home in CONFINED.iter().flat_map(|(_, homes)| homes.iter()) {
        assert!(root().join(home).exists(), "{home} is gone: take it out of CONFINED");
    }
}

#[test]
fn proto_is_pure() {
    let mut breaches = Vec::new();
    let mut breach = |path: &PathBuf, line: usize, what: &str| {
        breaches.push(format!("{}:{line}: {what}", path.display()));
    };
    for source in sources().iter().filter(|source| source.module() == "proto") {
        for name in dependencies() {
            if !PROTO_CRATES.contains(&name.as_str()) {
                for line in places(&source.shipped, &name) {
                    breach(&source.path, line, &name);
                }
            }
        }
        let tokens = tokens(&source.shipped);
        for (at, (line, token)) in tokens.iter().enumerate() {
            let is_path = tokens.get(at + 1).is_some_and(|(_, next)| *next == "::");
            for (name, forbidden) in PROTO_FORBIDDEN {
                if *token == name && is_path {
                    for (line, named) in after_root(&tokens[at + 2..]) {
                        if forbidden.contains(&named.as_str()) {
                            breach(&source.path, line, &format!("{name}::{named}"));
                        }
                    }
                }
            }
            if PROTO_FORBIDDEN_NAMES.contains(token) {
                breach(&source.path, *line, token);
            }
        }
    }
    assert_none("the pure core names what it may not know:", &breaches);
}

#[test]
fn an_upward_import_is_seen_however_it_is_written() {
    let seen =
        |path: &str, text: &str| breaches_of_direction(&Source::parse(Path::new(path), text)).len();
    let path = "src/keys/fetch/mod.rs";
    assert_eq!(seen(path, "use crate::gate::Gate;"), 1);
    assert_eq!(seen(path, "use crate::{proto::KeyId, gate::{Gate, Permit}, proxy};"), 2);
    assert_eq!(seen(path, "fn f() -> crate::app::App { crate::proxy::x() }"), 2);
    assert_eq!(seen(path, "use super::super::gate;"), 1);
    assert_eq!(seen(path, "mod tests { use super::super::keyring; }"), 0);
    assert_eq!(seen(path, "mod tests { use super::super::super::gate; }"), 1);
    assert_eq!(seen(path, "pub(in crate::keys) fn f() {} // crate::gate::Gate"), 0);
    assert_eq!(seen(path, "use crate::{net::{Dns, NetError}, proto::KeyId};"), 0);
    assert_eq!(seen("src/proto/verify.rs", "use crate::clock::Clock;"), 1);
}

#[test]
fn a_confined_crate_is_seen_however_it_is_written() {
    assert_eq!(places("use pingora;", "pingora"), [1]);
    assert_eq!(places("use pingora::http;\nfn f(_: &pingora::Error) {}", "pingora"), [1, 2]);
    assert_eq!(places("use ::pingora::x;", "pingora").len(), 0, "not written so here");
    assert_eq!(places("let pingora = 1; x::pingora::y();", "pingora").len(), 0);
}
