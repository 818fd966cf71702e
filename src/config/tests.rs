//! What operators see: every typical mistake with its whole text, and which layer counts.

mod changes;
mod key_server;
mod layers;
mod meanings;
mod mistakes;
mod policy;
mod proxy;
mod rules;
mod sample;

use std::ffi::OsString;

use super::sources::Document;
use super::{Config, ConfigErrors, Settings, Sources, check};

/// The two lines one must write.
const MINIMAL: &str = "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n";

/// The settings of a file called `fedgate.toml`, under an environment.
fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    from(Some(text), &Sources::default().with_env(env))
}

fn from(text: Option<&str>, sources: &Sources) -> Result<Config, ConfigErrors> {
    let document = text.map(|text| Document { path: "fedgate.toml".into(), text: text.to_owned() });
    let (settings, errors) = Settings::gather(document.as_ref(), sources);
    check::check(&settings, errors).map_err(ConfigErrors::new)
}

/// Asserts the text of the errors, without its last line, which is always the same.
#[track_caller]
fn shows(text: &str, env: &[(&str, &str)], expected: &str) {
    let errors = load(text, env).expect_err("the settings are wrong").to_string();
    let (errors, _) = errors.rsplit_once('\n').expect("a last line");
    assert_eq!(errors.trim_end(), expected.trim(), "\nin:\n{text}\n{env:?}");
}
