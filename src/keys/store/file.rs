//! A store in one file, for one gate.

mod database;
mod failure;
mod history;
mod inspect;
mod names;
#[cfg(test)]
mod tests;
mod writer;

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use redb::backends::FileBackend;
use redb::{ReadableDatabase as _, ReadableTableMetadata as _};

use self::database::{Database, RULES, RULES_NAME, SERVERS};
use self::failure::{Failure, guarded};
pub use self::inspect::{Inspection, inspect};
use self::writer::{Change, Writer};
use super::encode::{self, history::Draft};
use super::{KeyStore, Saved, StoreError, StoreSize, lists};
use crate::keys::history::{Entry, KeptEntry};
use crate::keys::record::{KeptDocument, ServerRecord};
use crate::keys::rules::Rules;
use crate::proto::ed25519::VerifyKey;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Who may read and write a file we create: its owner. Records hold no secrets, but whoever writes
/// them decides which keys count.
const FILE_MODE: u32 = 0o600;

/// A store in one file. Another process that opens it meanwhile is refused. Dropping the store
/// writes what is queued and lets go of the file, once reads under way have ended.
pub struct FileStore {
    // Before the database, so that the thread has ended when the file is closed.
    writer: Writer,
    database: Arc<Database>,
    path: PathBuf,
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A store that was opened, and what became of the file that was there.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: FileStore,
    /// Where a damaged file was moved; the store is then empty.
    pub moved_aside: Option<PathBuf>,
}

impl FileStore {
    /// Opens the file at `path`, or creates it: the directory must exist. All of the file is read
    /// and checked. A damaged one is moved to `<path>.bad-<now in ms>` and a new one begun.
    ///
    /// Blocks. An error if the file is held by another process, written by a newer fedgate (it is
    /// then left as it is), or can not be read and written.
    pub fn open(path: &Path, now: Timestamp) -> Result<Opened, StoreError> {
        let explained = |failure: Failure| failure.explain(path);
        if let Some(newer) = newer_schema(path).map_err(explained)? {
            return Err(explained(Failure::Newer(newer)));
        }
        let (database, moved_aside) = match open_database(path) {
            Err(Failure::Damaged(_)) => {
                let aside = move_aside(path, now).map_err(|error| explained(error.into()))?;
                (open_database(path).map_err(explained)?, Some(aside))
            }
            outcome => (outcome.map_err(explained)?, None),
        };
        Ok(Opened { store: Self::on(path, database)?, moved_aside })
    }

    fn on(path: &Path, database: Database) -> Result<Self, StoreError> {
        let database = Arc::new(database);
        let writer = Writer::start(path, Arc::clone(&database))?;
        Ok(Self { writer, database, path: path.to_owned() })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.database);
        let task = tokio::task::spawn_blocking(move || database.attempt(work));
        task.await.map_err(|_stopped| {
            let cause = "the read was cut short".to_owned();
            Failure::Io { cause, fix: "fedgate is stopping" }.explain(&self.path)
        })?
    }

    fn drafts(&self, server: &ServerName, entries: &[Entry]) -> Result<Vec<Draft>, StoreError> {
        let drafts = entries.iter().map(Draft::of).collect::<Result<_, _>>();
        drafts.map_err(|cause| self.unfit(&format!("the history of {server}"), &cause))
    }

    fn damaged(&self, what: &str, cause: &str, fix: &str) -> StoreError {
        StoreError::Damaged(format!("keys.store = {:?}: {what}: {cause}; {fix}", self.path))
    }

    fn unfit(&self, what: &str, cause: &str) -> StoreError {
        StoreError::Io(format!(
            "keys.store = {:?}: {what} can not be written: {cause}; report this as a bug",
            self.path
        ))
    }
}

#[async_trait]
impl KeyStore for FileStore {
    async fn load(&self, server: &ServerName) -> Result<Option<ServerRecord>, StoreError> {
        if !self.database.may_have(server.as_str()) {
            return Ok(None);
        }
        let name = server.clone();
        let kept = self.read(move |db| database::get(db, SERVERS, name.as_str())).await?;
        let Some(bytes) = kept else { return Ok(None) };
        match encode::record_from_bytes(server, &bytes) {
            Ok(record) => Ok(Some(record)),
            Err(cause) => {
                self.writer.write(Change::Drop(server.clone(), bytes)).await?;
                let what = format!("the record of {server} is damaged and was removed");
                Err(self.damaged(&what, &cause, "its keys are fetched again; check the disk"))
            }
        }
    }

    async fn save(
        &self,
        server: &ServerName,
        record: ServerRecord,
        entries: &[Entry],
    ) -> Result<Saved, StoreError> {
        let bytes = encode::record_to_bytes(server, &record)
            .map_err(|cause| self.unfit(&format!("the record of {server}"), &cause))?;
        let drafts = self.drafts(server, entries)?;
        Ok(self.writer.write(Change::Save(server.clone(), bytes, drafts)).await?.saved)
    }

    async fn forget(
        &self,
        server: &ServerName,
        at: Timestamp,
    ) -> Result<Option<Saved>, StoreError> {
        let flushed = self.drafts(server, &[Entry::Flushed { at }])?;
        let done = self.writer.write(Change::Forget(server.clone(), flushed)).await?;
        Ok(done.replaced.then_some(done.saved))
    }

    async fn history(
        &self,
        server: &ServerName,
        from: u64,
        max: usize,
    ) -> Result<Vec<KeptEntry>, StoreError> {
        let name = server.clone();
        self.read(move |db| history::page(db, name.as_str(), from, max)).await
    }

    async fn document_of(
        &self,
        server: &ServerName,
        id: &KeyId,
        key: &VerifyKey,
    ) -> Result<Option<KeptDocument>, StoreError> {
        let (name, id, key) = (server.clone(), id.clone(), key.clone());
        let shows = move |document: &KeptDocument| lists(document, &id, &key);
        self.read(move |db| history::newest_document(db, name.as_str(), shows)).await
    }

    async fn servers(
        &self,
        after: Option<&ServerName>,
        max: usize,
    ) -> Result<Vec<ServerName>, StoreError> {
        let after = after.cloned();
        let names = self
            .read(move |db| {
                let table = db.begin_read()?.open_table(SERVERS)?;
                let from =
                    after.as_ref().map_or(Bound::Unbounded, |name| Bound::Excluded(name.as_str()));
                let rows = table.range::<&str>((from, Bound::Unbounded))?.take(max);
                rows.map(|row| Ok(row?.0.value().to_owned())).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let parsed = names.iter().map(|name| {
            ServerName::parse(name).map_err(|error| {
                let fix = "restart fedgate; if this is said again, move the file away";
                self.damaged("a name in it is none", &error.to_string(), fix)
            })
        });
        parsed.collect()
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.read(|db| Ok(db.begin_read()?.open_table(SERVERS)?.len()?)).await
    }

    fn size(&self) -> StoreSize {
        self.database.size()
    }

    async fn load_rules(&self) -> Result<Rules, StoreError> {
        let kept = self.read(|db| database::get(db, RULES, RULES_NAME)).await?;
        let Some(bytes) = kept else { return Ok(Rules::default()) };
        // Unlike a record, damaged rules stay: no ban may end unseen.
        encode::rules_from_bytes(RULES_NAME, &bytes).map_err(|cause| {
            let fix = "move the file away to begin a new one, and make the rules again";
            self.damaged("the rules made at run time are damaged", &cause, fix)
        })
    }

    async fn save_rules(&self, rules: &Rules) -> Result<(), StoreError> {
        let bytes = encode::rules_to_bytes(RULES_NAME, rules)
            .map_err(|cause| self.unfit("the rules", &cause))?;
        self.writer.write(Change::SaveRules(bytes)).await.map(drop)
    }
}

/// The newer schema of the file at `path`, if it has one. It is only read: opening it for writing
/// could change it.
fn newer_schema(path: &Path) -> Result<Option<u64>, Failure> {
    let outcome = guarded(|| {
        let database = database::builder().open_read_only(path).map_err(redb::Error::from)?;
        database::newer_schema(&database)
    });
    match outcome {
        Err(Failure::Locked) => Err(Failure::Locked),
        // No file yet, one that was not closed, or a damaged one: opening it for writing will tell.
        Err(_) => Ok(None),
        Ok(newer) => Ok(newer),
    }
}

fn open_database(path: &Path) -> Result<Database, Failure> {
    let file = path.to_owned();
    let opener = move |check| {
        let backend = FileBackend::new(open_file(&file)?).map_err(redb::Error::from)?;
        database::prepared(backend, check)
    };
    Database::open(path, Box::new(opener))
}

/// The file at `path`, created if need be. Its name is then durable too.
fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = options.open(path)?;
    File::open(directory(path))?.sync_all()?;
    Ok(file)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Renames a damaged file to a name that nothing has; returns that.
fn move_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let mut ms = now.as_ms();
    loop {
        let mut name = OsString::from(path);
        name.push(format!(".bad-{ms}"));
        let aside = PathBuf::from(name);
        match aside.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::rename(path, &aside)?;
                return Ok(aside);
            }
            Err(error) => return Err(error),
            Ok(_taken) => ms = ms.saturating_add(1),
        }
    }
}
