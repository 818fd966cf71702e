//! A glob and a server name: whether one matches the other, port and case aside.

#![no_main]

use std::net::Ipv6Addr;

use fedgate::proto::ServerName;
use fedgate::proto::server_glob::{GlobShape, ServerGlob, policy_identity};
use fedgate_fuzz::names;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (glob, name) = text.split_once('\n').unwrap_or((text, "a.example"));
    let Ok(read) = ServerGlob::parse(glob) else { return };
    // One dot at the end is let go of each time.
    if !read.as_str().ends_with('.') {
        assert_eq!(ServerGlob::parse(read.as_str()).as_ref(), Ok(&read));
    }
    let Ok(name) = ServerName::parse(name) else { return };
    let (host, _) = names::server_name(name.as_str()).unwrap();
    let (pattern, identity) = (plain(glob.strip_suffix('.').unwrap_or(glob)), plain(host));
    assert_eq!(policy_identity(&name), identity);
    assert_eq!(read.matches(&identity), matches(&pattern, &identity), "{pattern} {identity}");
    let shaped = match read.shape() {
        GlobShape::Name(name) => identity == name,
        GlobShape::Below(rest) => identity.ends_with(rest),
        GlobShape::Other => return,
    };
    assert_eq!(read.matches(&identity), shaped);
});

/// In lower case, an IPv6 literal in its one spelling.
fn plain(host: &str) -> String {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match literal.and_then(|literal| literal.parse::<Ipv6Addr>().ok()) {
        Some(address) => format!("[{address}]"),
        None => host.to_ascii_lowercase(),
    }
}

/// Which beginnings of the text the pattern so far matches, one character of it after the other.
fn matches(pattern: &str, text: &str) -> bool {
    let text = text.as_bytes();
    let mut matched = vec![false; text.len() + 1];
    matched[0] = true;
    for wanted in pattern.bytes() {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match wanted {
                b'*' => matched[at] || (at > 0 && next[at - 1]),
                _ if at == 0 => false,
                b'?' => matched[at - 1],
                byte => matched[at - 1] && text[at - 1] == byte,
            };
        }
        matched = next;
    }
    matched[text.len()]
}
