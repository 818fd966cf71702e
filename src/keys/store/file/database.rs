//! The open database, which is opened again after a failure, and what is in it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::{
    Builder, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, StorageBackend,
    TableDefinition,
};

use super::failure::{Failure, guarded};
use super::history::Histories;
use super::names::Names;
use crate::keys::store::encode::{seal, unseal};
use crate::keys::store::{StoreError, StoreSize};

pub(super) type Definition = TableDefinition<'static, &'static str, &'static [u8]>;

/// Records by the names of their servers.
pub(super) const SERVERS: Definition = TableDefinition::new("servers");

/// The operator's rules, under `RULES_NAME`.
pub(super) const RULES: Definition = TableDefinition::new("rules");

/// The one row of the rules.
pub(super) const RULES_NAME: &str = "rules";

/// What the file says of itself: the schema, under `SCHEMA_NAME`.
pub(super) const META: Definition = TableDefinition::new("meta");

/// The row of the schema: its number in decimal, sealed, so that no damage makes it look newer.
pub(super) const SCHEMA_NAME: &str = "schema";

/// The schema written here.
const SCHEMA: u64 = 1;

/// Memory for pages of the file, in bytes. Records are kept in memory above the store, so that few
/// pages are read twice; redb's own default is 1 GiB.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Opens the database; with `true`, only if all of it is as it was written.
pub(super) type Opener = Box<dyn Fn(bool) -> Result<redb::Database, Failure> + Send + Sync>;

/// A database that is closed when the disk fails and opened again with the next call: redb refuses
/// everything after a failure, also once the disk has room again.
pub(super) struct Database {
    path: PathBuf,
    opener: Opener,
    open: RwLock<Option<redb::Database>>,
    /// The servers that the file has, or had since it was opened first.
    names: Names,
    size: Mutex<StoreSize>,
}

impl Database {
    /// The database `opener` opens, after all of it was checked. `path` is for messages.
    pub(super) fn open(path: &Path, opener: Opener) -> Result<Self, Failure> {
        let open = guarded(|| opener(true))?;
        let database = Self {
            path: path.to_owned(),
            opener,
            open: RwLock::default(),
            names: Names::new(),
            size: Mutex::default(),
        };
        database.learn(&open);
        *database.open.write().unwrap_or_else(PoisonError::into_inner) = Some(open);
        Ok(database)
    }

    /// Adds the names that are in the file, which may be another than before.
    fn learn(&self, open: &redb::Database) {
        let learnt = guarded(|| {
            let table = open.begin_read().map_err(redb::Error::from)?;
            let table = table.open_table(SERVERS).map_err(redb::Error::from)?;
            for row in table.iter().map_err(redb::Error::from)? {
                self.names.add(row.map_err(redb::Error::from)?.0.value());
            }
            Ok(table.len().map_err(redb::Error::from)?)
        });
        match learnt {
            Ok(servers) => self.measure(servers),
            // Whoever reads or writes next says what is wrong.
            Err(_) => self.names.add_all(),
        }
    }

    /// The servers that the file may have: whoever adds one says so before it can be read.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Whether there may be a record of `name`. Never waits, and is never wrong about there being
    /// none: a closed file may be another one when it is opened again.
    pub(super) fn may_have(&self, name: &str) -> bool {
        let is_open = self.open.try_read().is_ok_and(|open| open.is_some());
        !is_open || self.names.may_have(name)
    }

    /// Takes note that the file has this many records.
    pub(super) fn measure(&self, servers: u64) {
        let bytes = self.path.metadata().map_or(0, |file| file.len());
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = StoreSize { servers, bytes };
    }

    /// How much was in the file after the last change.
    pub(super) fn size(&self) -> StoreSize {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` on the database. Blocks; errors are explained.
    pub(super) fn attempt<T>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.reopen_if_closed().and_then(|()| self.work(work)).map_err(|failure| {
            if matches!(failure, Failure::Io { .. }) {
                self.close();
            }
            failure.explain(&self.path)
        })
    }

    fn work<T>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        // None when it was closed since: another call has just failed.
        let database = open.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        guarded(|| Ok(work(database)?))
    }

    fn reopen_if_closed(&self) -> Result<(), Failure> {
        if self.open.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            let database = guarded(|| (self.opener)(false))?;
            self.learn(&database);
            *open = Some(database);
        }
        Ok(())
    }

    fn close(&self) {
        // Held until the file's lock is free: who opens it again would take us for another process.
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // Whatever it still has to say was said by the call that failed.
        let _closed = guarded(|| {
            drop(open.take());
            Ok(())
        });
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.close();
    }
}

/// A builder with our bounds.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// The database on `backend`, with our tables; with `check`, only if all of it is as it was written.
pub(super) fn prepared(
    backend: impl StorageBackend,
    check: bool,
) -> Result<redb::Database, Failure> {
    let database = builder()
        .set_check_integrity_on_open(check)
        .create_with_backend(backend)
        .map_err(redb::Error::from)?;
    match schema(&database)? {
        Some(SCHEMA) => {}
        Some(newer) if newer > SCHEMA => return Err(Failure::Newer(newer)),
        Some(unknown) => return Err(Failure::Damaged(format!("no fedgate had schema {unknown}"))),
        None => create_tables(&database)?,
    }
    Ok(database)
}

/// The newer schema of `database`, if it has one.
pub(super) fn newer_schema(database: &redb::ReadOnlyDatabase) -> Result<Option<u64>, Failure> {
    Ok(schema(database)?.filter(|schema| *schema > SCHEMA))
}

/// The schema of `database`; none when it was just created.
fn schema(database: &impl redb::ReadableDatabase) -> Result<Option<u64>, Failure> {
    let Some(sealed) = get(database, META, SCHEMA_NAME)? else { return Ok(None) };
    let number = unseal(SCHEMA_NAME, &sealed).map_err(Failure::Damaged)?;
    let number = str::from_utf8(number).ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Failure::Damaged("its schema is no number".to_owned()))
}

/// All tables in one transaction: who sees the schema sees the others too.
fn create_tables(database: &redb::Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(SERVERS)?;
    transaction.open_table(RULES)?;
    Histories::open(&transaction)?;
    let sealed = seal(SCHEMA_NAME, SCHEMA.to_string().as_bytes());
    transaction.open_table(META)?.insert(SCHEMA_NAME, sealed.as_slice())?;
    Ok(transaction.commit()?)
}

/// What is under `name` in a table; nothing when there is no such table.
pub(super) fn get(
    database: &impl redb::ReadableDatabase,
    table: Definition,
    name: &str,
) -> Result<Option<Vec<u8>>, redb::Error> {
    match database.begin_read()?.open_table(table) {
        Ok(table) => Ok(table.get(name)?.map(|value| value.value().to_vec())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
