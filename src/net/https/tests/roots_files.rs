//! The file of trusted certificates.

use std::io::Write;
use std::path::Path;

use rcgen::KeyPair;
use tempfile::NamedTempFile;

use super::*;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

#[test]
fn all_certificates_of_a_file_are_trusted() {
    let text = format!("# ours\n{}\n{}", Authority::new().pem(), Authority::new().pem());
    assert_eq!(roots::from_file(file(&text).path()).expect("roots").len(), 2);
}

#[test]
fn a_file_that_can_not_be_used_is_an_error_that_names_it() {
    let good = Authority::new().pem();
    let key = KeyPair::generate().expect("a key").serialize_pem();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let table = [
        (String::new(), "there is no certificate in it"),
        ("some text".to_owned(), "there is no certificate in it"),
        (key, "there is no certificate in it"),
        (format!("{good}{no_certificate}"), "certificate 2 can not be used"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_owned(), "base64"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(), "section end"),
    ];
    for (text, cause) in table {
        let file = file(&text);
        let error = roots::from_file(file.path()).expect_err(cause).to_string();
        let start = format!("outbound.ca_file {}: ", file.path().display());
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains(cause), "{error}");
    }
    let error = roots::from_file(Path::new("/nonexistent/ca.pem")).expect_err("no file");
    assert!(error.to_string().starts_with("outbound.ca_file /nonexistent/ca.pem: "), "{error}");
}

#[test]
fn there_are_always_roots_of_the_system_or_built_in() {
    assert!(!roots::from_system().is_empty());
}
