//! The sample files.

use super::super::options::{self, Default, SECTIONS};
use super::super::{Config, Sources, sample};
use super::{MINIMAL, load};

#[test]
fn the_sample_file_is_what_the_code_writes() {
    assert_eq!(
        include_str!("../../../config/fedgate.toml"),
        sample(),
        "run: fedgate config sample > config/fedgate.toml"
    );
}

#[test]
fn the_sample_file_loads_as_it_is_and_means_the_defaults() {
    let sampled = load(&sample(), &[]).expect("the sample is right");
    let minimal = load(MINIMAL, &[]).expect("two lines are enough");
    assert_eq!(format!("{sampled:?}"), format!("{minimal:?}"));
}

#[test]
fn the_sample_file_means_the_defaults_with_every_default_written_out() {
    let uncommented: String = sample()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if is_default(setting) => format!("{setting}\n"),
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    assert!(uncommented.contains("\nfetch_timeout = "), "{uncommented}");
    let written = load(&uncommented, &[]).expect("the sample is right");
    let minimal = load(MINIMAL, &[]).expect("two lines are enough");
    assert_eq!(format!("{written:?}"), format!("{minimal:?}"));
}

fn is_default(line: &str) -> bool {
    options::single().any(|(_, option)| {
        matches!(option.default, Default::Value(_))
            && line == format!("{} = {}", option.name, option.default.shown())
    })
}

#[test]
fn every_example_of_the_sample_is_accepted() {
    let examples: String = sample()
        .lines()
        .filter(|line| !line.contains("server_names"))
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with([' ', '\t']) => format!("{setting}\n"),
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    let config = load(&examples, &[]).expect("every example is right");
    assert!(config.listen.tls.is_some());
    assert_eq!(config.notaries.len(), 1);
    assert_eq!(config.pins.len(), 1);
    assert!(config.outbound.ca_file.is_some());
}

#[test]
fn every_default_is_read_from_the_table() {
    let config = load(MINIMAL, &[]).expect("two lines are enough");
    assert_eq!(config.listen.address.to_string(), "0.0.0.0:8449");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9448");
    assert_eq!(config.limits.body_bytes_max, crate::proto::limits::BODY_BYTES_MAX);
    assert_eq!(config.limits.buffered_bytes_max, 192 << 20);
    assert_eq!(config.limits.body_rate_min, 4_096);
    assert_eq!(config.limits.homeserver_io_timeout.as_secs(), 300);
    assert_eq!(config.keys.fetch_timeout.as_secs(), 8);
    assert_eq!(config.keys.sources.len(), 3);
    assert_eq!(config.log.filter, "info");
}

#[test]
fn every_setting_has_documentation_and_a_line_that_fits() {
    for section in SECTIONS {
        for option in section.options {
            assert!(option.doc.ends_with('.'), "{}", option.name);
        }
    }
    for line in sample().lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn the_minimal_file_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/minimal.toml");
    let config = Config::load(&Sources::default().with_file(Some(path.into())));
    assert_eq!(config.expect("it is right").server_names.len(), 1);
}
