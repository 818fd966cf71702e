//! The metric families as the sources declare them, compared with each other and with the README.

use std::collections::BTreeMap;

use crate::documents::{Block, assert_block};
use crate::{assert_none, read, rust_files};

/// A metric family.
struct Family {
    name: String,
    kind: &'static str,
    labels: Vec<String>,
    help: String,
    path: String,
}

/// How the constructors of prometheus are called here, and what they make.
const CONSTRUCTORS: [(&str, &str); 8] = [
    ("IntCounterVec::new", "counter"),
    ("IntCounter::new", "counter"),
    ("IntGaugeVec::new", "gauge"),
    ("IntGauge::new", "gauge"),
    ("GaugeVec::new", "gauge"),
    ("Gauge::new", "gauge"),
    ("HistogramVec::new", "histogram"),
    ("Histogram::with_opts", "histogram"),
];

/// Every family, by the literal `"fedgate_..."` that begins its declaration in what is shipped.
fn families() -> Vec<Family> {
    let mut families = Vec::new();
    for path in rust_files("src") {
        let text = read(&path);
        let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for (at, _) in shipped.match_indices("\"fedgate_") {
            let (name, rest) = literal(&shipped[at..]);
            let Some(help) = rest.trim_start().strip_prefix(',').map(str::trim_start) else {
                continue;
            };
            if !help.starts_with('"') {
                continue;
            }
            let (help, rest) = literal(help);
            let (constructor, kind) = CONSTRUCTORS
                .iter()
                .filter_map(|(call, kind)| Some((shipped[..at].rfind(call)?, call, kind)))
                .max_by_key(|(at, call, _)| (*at, call.len()))
                .map(|(_, call, kind)| (*call, *kind))
                .unwrap_or_else(|| panic!("{}: how is {name} made?", path.display()));
            let labels = if constructor.contains("Vec") { labels(rest) } else { Vec::new() };
            families.push(Family { name, kind, labels, help, path: path.display().to_string() });
        }
    }
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families
}

/// The text literal at the start of `text` as its value, and what follows.
fn literal(text: &str) -> (String, &str) {
    let inside = text.strip_prefix('"').unwrap();
    let end = inside
        .char_indices()
        .scan(false, |escaped, (at, c)| {
            let ends = c == '"' && !*escaped;
            *escaped = c == '\\' && !*escaped;
            Some((at, ends))
        })
        .find_map(|(at, ends)| ends.then_some(at))
        .unwrap();
    // A backslash at a line's end joins it with the next.
    let lines: Vec<&str> = inside[..end].split("\\\n").collect();
    let joined: String = lines
        .iter()
        .enumerate()
        .map(|(n, line)| if n == 0 { *line } else { line.trim_start() })
        .collect();
    (joined.replace("\\\"", "\""), &inside[end + 1..])
}

/// The texts in the first `&[..]`.
fn labels(rest: &str) -> Vec<String> {
    let list = rest.split("&[").nth(1).unwrap().split(']').next().unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn names_and_help_texts_are_unique() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut breaches = Vec::new();
    for family in families() {
        let texts = [family.name.clone(), family.help.trim_end_matches('.').to_owned()];
        for text in texts {
            if let Some(other) = seen.insert(text.clone(), family.path.clone()) {
                breaches.push(format!("{other} and {}: {text}", family.path));
            }
        }
    }
    assert_none("two metric families share a name or a help text:", &breaches);
}

#[test]
fn names_follow_the_conventions() {
    let families = families();
    assert!(families.len() > 5, "families are found at all");
    let breaches: Vec<_> = families
        .iter()
        .filter(|family| {
            let total = family.name.ends_with("_total");
            let unit = family.name.ends_with("_seconds") || family.name.ends_with("_bytes");
            match family.kind {
                "counter" => !total,
                "histogram" => !unit,
                _ => total,
            }
        })
        .map(|family| format!("{}: {} is a {}", family.path, family.name, family.kind))
        .collect();
    assert_none("counters end in _total, histograms in their unit:", &breaches);
}

#[test]
fn no_label_is_chosen_by_strangers() {
    let breaches: Vec<_> = families()
        .iter()
        .flat_map(|family| family.labels.iter().map(|label| format!("{}: {label}", family.name)))
        .filter(|line| {
            let label = line.rsplit(' ').next().unwrap();
            matches!(label, "origin" | "server" | "server_name" | "path" | "key" | "client")
        })
        .collect();
    assert_none("a label would take values that peers choose:", &breaches);
}

#[test]
fn the_readme_lists_the_metrics() {
    let mut table = "| family | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for Family { name, kind, labels, help, .. } in families() {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let help = help.trim_end_matches('.');
        table += &format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "));
    }
    assert_block(Block { file: "README.md", name: "metrics", text: &table });
}
