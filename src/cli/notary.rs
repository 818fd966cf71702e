//! `fedgate notary`: the key a notary signs with, and what others need to trust it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::out::Out;
use super::{Exit, Failure, sign};
use crate::keys::signing_key_file::{self, NewKeyError};
use crate::proto::ServerName;
use crate::proto::signing_keys::SigningKeys;

/// Printed where the notary's name is not known.
const SOME_NAME: &str = "notary.example";

/// `fedgate notary`.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Make a file with a new signing key, and print what others need to trust it
    Keygen {
        /// The file to make; one that exists is left as it is
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        shown: Shown,
    },
    /// Print what others need to trust the keys in a file; nothing secret
    Show {
        /// A signing key file as Synapse or `keygen` writes it
        file: PathBuf,
        #[command(flatten)]
        shown: Shown,
    },
}

/// What is printed.
#[derive(clap::Args, Debug)]
pub(super) struct Shown {
    /// The name others know the notary by
    #[arg(long, value_name = "NAME", env = "FEDGATE_SERVER_NAME", value_parser = sign::server_name)]
    server_name: Option<ServerName>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command, out: &mut Out) -> Result<Exit, Failure> {
    match command {
        Command::Keygen { out: file, shown } => {
            let keys = signing_key_file::create(file).map_err(failure)?;
            if !shown.json {
                out.line(&format!(
                    "{} holds the new private key {}. Keep a copy in a safe place: whoever has it \
                     can sign in your name, and it cannot be restored.\n",
                    file.display(),
                    keys.first().0
                ))?;
            }
            show(file, &keys, shown, out)
        }
        Command::Show { file, shown } => show(file, &sign::read_keys(file)?, shown, out),
    }
}

fn failure(error: NewKeyError) -> Failure {
    let message = format!("error: {error}");
    match error {
        NewKeyError::Exists(_) => Failure::usage(format!(
            "{message}\nhelp: name another file; `fedgate notary show` prints what is in this one"
        )),
        NewKeyError::Unwritable { .. } | NewKeyError::NoRandomness(_) => {
            Failure { message, exit: Exit::Negative }
        }
    }
}

fn show(file: &Path, keys: &SigningKeys, shown: &Shown, out: &mut Out) -> Result<Exit, Failure> {
    if shown.json {
        let verify_keys: Value =
            keys.verify_keys().map(|(id, key)| (id.as_str(), key.to_base64())).collect();
        let name = shown.server_name.as_ref().map(ServerName::as_str);
        out.json(&json!({
            "file": file.display().to_string(),
            "server_name": name,
            "verify_keys": verify_keys,
            "settings": name.map(|name| settings(name, keys)),
        }))?;
        return Ok(Exit::Fine);
    }
    let name = shown.server_name.as_ref().map_or(SOME_NAME, ServerName::as_str);
    out.print(&blocks(name, keys))?;
    if shown.server_name.is_none() {
        out.line(&format!(
            "\n# {SOME_NAME} stands for the notary's server name: --server-name NAME fills it in."
        ))?;
    }
    Ok(Exit::Fine)
}

/// Settings of other servers that make them trust the notary `name`, for people to copy. Names, key
/// IDs and keys hold neither quotes nor backslashes.
fn blocks(name: &str, keys: &SigningKeys) -> String {
    let mut synapse = String::new();
    let mut dendrite = String::new();
    let mut fedgate = Vec::new();
    for (id, key) in keys.verify_keys() {
        let key = key.to_base64();
        synapse += &format!("      \"{id}\": \"{key}\"\n");
        dendrite += &format!("        - key_id: \"{id}\"\n          public_key: \"{key}\"\n");
        fedgate.push(format!("\"{id}\" = \"{key}\""));
    }
    let fedgate = fedgate.join(", ");
    format!(
        "# Synapse, homeserver.yaml:\n\
         trusted_key_servers:\n  - server_name: \"{name}\"\n    verify_keys:\n{synapse}\n\
         # Dendrite, dendrite.yaml:\n\
         federation_api:\n  key_perspectives:\n    - server_name: \"{name}\"\n      keys:\n{dendrite}\n\
         # fedgate, fedgate.toml:\n\
         [[notaries]]\nserver_name = \"{name}\"\nverify_keys = {{ {fedgate} }}\n\n\
         # tuwunel, continuwuity, conduwuit. They take a name alone and check no notary's signature:\n\
         [global]\ntrusted_servers = [\"{name}\"]\n"
    )
}

/// The same settings for programs.
fn settings(name: &str, keys: &SigningKeys) -> Value {
    let keys: Vec<(&str, String)> =
        keys.verify_keys().map(|(id, key)| (id.as_str(), key.to_base64())).collect();
    let verify_keys: Value = keys.iter().cloned().collect();
    let perspectives: Value =
        keys.iter().map(|(id, key)| json!({ "key_id": id, "public_key": key })).collect();
    let pinned = json!([{ "server_name": name, "verify_keys": verify_keys }]);
    json!({
        "synapse": { "trusted_key_servers": pinned },
        "dendrite": {
            "federation_api": {
                "key_perspectives": [{ "server_name": name, "keys": perspectives }]
            }
        },
        "fedgate": { "notaries": pinned },
        "tuwunel": { "global": { "trusted_servers": [name] } },
    })
}
