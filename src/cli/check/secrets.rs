//! The files with secrets: signing keys, and the token of the admin API.

use std::path::Path;

use super::Finding;
use crate::admin::read_token;
use crate::config::Config;
use crate::keys::signing_key_file;
use crate::proto::KeyId;

pub(super) fn secrets(config: &Config) -> Vec<Finding> {
    let keys = &config.key_server;
    let files = [
        ("key_server.signing_key_file", &keys.signing_key_file),
        ("key_server.notary_key_file", &keys.notary_key_file),
    ];
    let files = files.into_iter().filter_map(|(setting, path)| Some((setting, path.as_deref()?)));
    let mut findings: Vec<Finding> = files.map(|(setting, path)| signing(setting, path)).collect();
    findings.extend(config.admin.token_file.as_deref().map(token));
    findings
}

fn signing(setting: &str, path: &Path) -> Finding {
    const NAME: &str = "signing keys";
    match signing_key_file::read(path) {
        Ok(file) => {
            let ids: Vec<&str> = file.keys.iter().map(|(id, _)| KeyId::as_str(id)).collect();
            let detail = format!("{setting}: {}", ids.join(", "));
            match file.warning {
                None => Finding::ok(NAME, detail),
                Some(warning) => Finding::warn(NAME, detail, warning),
            }
        }
        Err(error) => Finding::fail(
            NAME,
            error.to_string(),
            format!("set {setting} to a file as Synapse or `fedgate notary keygen` writes it"),
        ),
    }
}

fn token(path: &Path) -> Finding {
    const NAME: &str = "admin token";
    match read_token(path) {
        Ok(_) => Finding::ok(NAME, path.display().to_string()),
        Err(error) => Finding::fail(
            NAME,
            format!("admin.token_file = {path:?}: {error}"),
            "write one line of 20 characters or more into it, or leave the setting out",
        ),
    }
}
