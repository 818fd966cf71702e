//! Looking at a file of keys without changing anything, for `fedgate check`.

use std::io;
use std::path::Path;

use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
use rustix::fs::{Access, access};

use super::database::{self, SERVERS};
use super::directory;
use super::failure::{Failure, guarded};
use crate::keys::store::{StoreError, StoreSize};

/// What is at the path of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// A file that is damaged in this way. It is moved aside by whoever opens the store.
    Damaged(String),
    /// A file that a running fedgate holds, of this many bytes.
    Held(u64),
    /// Nothing yet, and it can be created.
    Missing,
    /// A store.
    Sound(StoreSize),
    /// A file of this many bytes that was not closed: the process was killed, or the power failed.
    /// Whoever opens the store repairs it, or moves it aside where that cannot be done.
    Unclosed(u64),
}

/// Looks at the store at `path`: not at every byte of it, which opening it does. Nothing is created,
/// moved or changed; a store that is opened in the same moment may find it held.
///
/// # Errors
///
/// If [`FileStore::open`](super::FileStore::open) would fail: the folder does not exist, the folder
/// or the file may not be read and written, or a newer fedgate has written the file.
pub fn inspect(path: &Path) -> Result<Inspection, StoreError> {
    match guarded(|| look(path)) {
        Ok(inspection) => Ok(inspection),
        Err(Failure::Damaged(cause)) => Ok(Inspection::Damaged(cause)),
        Err(failure) => Err(failure.explain(path)),
    }
}

fn look(path: &Path) -> Result<Inspection, Failure> {
    let both = Access::READ_OK | Access::WRITE_OK;
    access(directory(path), both | Access::EXEC_OK).map_err(io::Error::from)?;
    let bytes = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Inspection::Missing),
        Err(error) => return Err(error.into()),
        Ok(file) if !file.is_file() => {
            let cause = "it is no file".to_owned();
            return Err(Failure::Io { cause, fix: "set keys.store to a file" });
        }
        Ok(file) => file.len(),
    };
    access(path, both).map_err(io::Error::from)?;
    if bytes == 0 {
        return Ok(Inspection::Missing);
    }
    let store = match database::builder().open_read_only(path).map_err(redb::Error::from) {
        Ok(store) => store,
        Err(redb::Error::RepairAborted) => return Ok(Inspection::Unclosed(bytes)),
        Err(error) => {
            let failure = Failure::from(error);
            let is_held = failure == Failure::Locked;
            return if is_held { Ok(Inspection::Held(bytes)) } else { Err(failure) };
        }
    };
    if let Some(newer) = database::newer_schema(&store)? {
        return Err(Failure::Newer(newer));
    }
    let servers = match store.begin_read().map_err(redb::Error::from)?.open_table(SERVERS) {
        Ok(table) => table.len().map_err(redb::Error::from)?,
        Err(redb::TableError::TableDoesNotExist(_)) => 0,
        Err(error) => return Err(redb::Error::from(error).into()),
    };
    Ok(Inspection::Sound(StoreSize { servers, bytes }))
}
