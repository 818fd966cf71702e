//! What goes wrong with the file, and what the operator does about it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::keys::store::StoreError;

/// Why the file could not be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its content is not what was written.
    Damaged(String),
    /// The operating system refuses.
    Io {
        /// What it says.
        cause: String,
        /// What the operator does about it.
        fix: &'static str,
    },
    /// Another process holds it.
    Locked,
    /// It has this schema, which is above ours.
    Newer(u64),
}

impl Failure {
    /// The failure in words, for the file at `path`.
    pub(super) fn explain(self, path: &Path) -> StoreError {
        let store = format!("keys.store = {path:?}");
        match self {
            Self::Damaged(cause) => StoreError::Damaged(format!(
                "{store}: the file is damaged ({cause}); restart fedgate: it moves the file aside \
                 and begins a new one"
            )),
            Self::Io { cause, fix } => StoreError::Io(format!("{store}: {cause}; {fix}")),
            Self::Locked => StoreError::Locked(format!(
                "{store}: another fedgate runs on it; stop that one, or give this one a file of \
                 its own"
            )),
            Self::Newer(schema) => StoreError::Newer(format!(
                "{store}: the file was written by a newer fedgate (schema {schema}); run that \
                 one, or move the file away to begin a new one"
            )),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let kind = error.kind();
        // How redb reports what is no database, or one that ends early.
        if matches!(kind, Kind::InvalidData | Kind::UnexpectedEof) {
            return Self::Damaged(error.to_string());
        }
        let fix = if matches!(kind, Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge) {
            "make room on its disk, or raise the limit on its size"
        } else if matches!(kind, Kind::PermissionDenied | Kind::ReadOnlyFilesystem) {
            "let the user fedgate runs as write the file and its directory, or set keys.store to \
             a place where it may"
        } else if kind == Kind::NotFound {
            "create the directory, or set keys.store to a file in one that exists"
        } else if kind == Kind::IsADirectory {
            "set keys.store to a file"
        } else {
            "check the disk it is on"
        };
        Self::Io { cause: error.to_string(), fix }
    }
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        use redb::Error as E;
        if let E::Io(cause) = error {
            return cause.into();
        }
        if matches!(error, E::DatabaseAlreadyOpen | E::LockProtocolMismatch) {
            return Self::Locked;
        }
        // Only the first failure says what it was; the file is opened again after it.
        if matches!(error, E::PreviousIo | E::DatabaseClosed | E::LockPoisoned(_)) {
            let fix = "an error before this one says what to do";
            return Self::Io { cause: error.to_string(), fix };
        }
        Self::Damaged(error.to_string())
    }
}

/// Calls `work`. redb panics over some kinds of damage: that is damage too.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_panic| Err(Failure::Damaged("redb panicked over it".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_names_the_setting_and_a_fix() {
        let path = Path::new("/var/lib/fedgate/keys.redb");
        let text = |failure: Failure| failure.explain(path).to_string();
        assert_eq!(
            text(io::Error::from(io::ErrorKind::StorageFull).into()),
            "keys.store = \"/var/lib/fedgate/keys.redb\": no storage space; make room on its \
             disk, or raise the limit on its size"
        );
        assert_eq!(
            text(redb::Error::DatabaseAlreadyOpen.into()),
            "keys.store = \"/var/lib/fedgate/keys.redb\": another fedgate runs on it; stop that \
             one, or give this one a file of its own"
        );
        assert_eq!(Failure::Newer(2).explain(path).kind(), "newer");
        assert_eq!(
            Failure::from(redb::Error::Corrupted("x".to_owned())).explain(path).kind(),
            "damaged"
        );
        assert_eq!(Failure::from(redb::Error::PreviousIo).explain(path).kind(), "io");
    }

    #[test]
    fn a_panic_is_damage() {
        let outcome: Result<(), _> = guarded(|| panic!("a page without an end"));
        assert!(matches!(outcome, Err(Failure::Damaged(_))));
    }
}
