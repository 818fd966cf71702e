//! A settings file, and the environment beside it.

#![no_main]

use std::ffi::OsString;

use fedgate::config::{Config, Sources};
use fedgate_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

/// What stands between the file and each variable of the environment.
const SEPARATOR: u8 = 0xff;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let Ok(text) = String::from_utf8(input.until(SEPARATOR).to_vec()) else { return };
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    while !input.is_empty() {
        let Ok(variable) = std::str::from_utf8(input.until(SEPARATOR)) else { continue };
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        // That one would have another file read.
        if name != "FEDGATE_CONFIG" {
            variables.push((name.into(), value.into()));
        }
    }
    let load = || {
        Config::load(&Sources::from_text("fedgate.toml", text.clone()).with_env(variables.clone()))
    };
    match load() {
        Ok(config) => {
            assert!(!config.server_names.is_empty());
            assert!(config.limits.body_bytes_max <= config.limits.buffered_bytes_max);
            assert!(config.notaries.iter().all(|notary| !notary.verify_keys.is_empty()));
            assert!(config.keys.agreement >= 1);
            let again = load().map(|config| format!("{config:?}"));
            assert_eq!(again.ok(), Some(format!("{config:?}")));
        }
        Err(errors) => assert!(!errors.to_string().trim().is_empty()),
    }
});
