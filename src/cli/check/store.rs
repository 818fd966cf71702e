//! The file that keys are kept in.

use std::path::Path;

use bytesize::ByteSize;

use super::Finding;
use crate::config::{Config, Store};
use crate::keys::store::file::{Inspection, inspect};

const NAME: &str = "key store";

/// Whether keys will outlive a restart, and what is kept. Nothing is created or changed.
pub(super) fn store(config: &Config) -> Finding {
    match &config.keys.store {
        Store::Memory => Finding::ok(NAME, "none: keys are kept in memory only"),
        Store::FileIfPossible(path) if !path.parent().is_some_and(Path::is_dir) => Finding::warn(
            NAME,
            format!("the folder of {} does not exist: keys end with the process", path.display()),
            "create the folder and let the user fedgate runs as write it, or set keys.store",
        ),
        Store::File(path) | Store::FileIfPossible(path) => file(path),
    }
}

fn file(path: &Path) -> Finding {
    let shown = path.display();
    let inspection = match inspect(path) {
        Ok(inspection) => inspection,
        Err(error) => {
            // The fix comes last.
            let text = error.to_string();
            let (detail, fix) = text.rsplit_once("; ").unwrap_or((&text, ""));
            return Finding::fail(NAME, detail, fix);
        }
    };
    let size = |bytes| ByteSize(bytes).to_string();
    match inspection {
        Inspection::Missing => Finding::ok(NAME, format!("{shown} will be created")),
        Inspection::Sound(kept) => {
            let size = size(kept.bytes);
            Finding::ok(NAME, format!("{shown}: servers kept: {}, size: {size}", kept.servers))
        }
        Inspection::Held(bytes) => {
            let size = size(bytes);
            Finding::ok(NAME, format!("{shown}: held by the fedgate that is running, size: {size}"))
        }
        Inspection::Unclosed(bytes) => Finding::ok(
            NAME,
            format!(
                "{shown} was not closed by the last fedgate, size: {}; the next start repairs it, or \
                 moves it aside",
                size(bytes)
            ),
        ),
        Inspection::Damaged(cause) => Finding::warn(
            NAME,
            format!("{shown} is damaged: {cause}"),
            "put a copy back; or else fedgate moves it aside at its start and begins a new one, and \
             keys are fetched again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Level;
    use crate::config::Sources;

    fn found(store: &str) -> Finding {
        let text = format!(
            "server_name = \"a.example\"\nhomeserver = \"http://h:1\"\n[keys]\nstore = {store:?}\n"
        );
        store_of(&text)
    }

    fn store_of(text: &str) -> Finding {
        store(&Config::load(&Sources::from_text("test", text.to_owned())).expect("settings"))
    }

    #[test]
    fn each_state_has_its_words() {
        let directory = tempfile::tempdir().expect("a folder");
        let path = directory.path().join("keys.redb");
        let text = path.to_str().expect("UTF-8");
        let told = |level, part: &str| {
            let finding = found(text);
            assert_eq!(finding.result, level, "{finding:?}");
            assert!(finding.detail.contains(part), "{finding:?}");
        };
        told(Level::Ok, "will be created");
        assert!(!path.exists());
        std::fs::write(&path, "my shopping list").expect("written");
        told(Level::Warn, "is damaged");
        std::fs::remove_file(&path).expect("removed");
        let open = || {
            let now = crate::proto::Timestamp::from_ms(0);
            crate::keys::store::FileStore::open(&path, now).expect("a store").store
        };
        let running = open();
        told(Level::Ok, "held by the fedgate that is running");
        drop(running);
        told(Level::Ok, "servers kept: 0, size: ");

        let finding = found(&format!("{text}/below/keys.redb"));
        assert_eq!(finding.result, Level::Fail, "{finding:?}");
        let finding = found("/nonexistent/keys.redb");
        assert_eq!(finding.result, Level::Fail, "{finding:?}");
        assert!(finding.fix.expect("a fix").starts_with("create the directory"));
        assert_eq!(found("").result, Level::Ok);
    }
}
