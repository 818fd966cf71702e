//! The histories in the file: entries by server and number, documents by server and hash.

use std::io;
use std::ops::RangeInclusive;

use redb::{
    ReadTransaction, ReadableDatabase as _, ReadableTable, Table, TableDefinition, TableError,
    WriteTransaction,
};

use crate::keys::history::{
    BYTES_PER_SERVER_MAX, ENTRIES_PER_SERVER_MAX, Entry, KeptEntry, PAGE_BYTES,
};
use crate::keys::record::KeptDocument;
use crate::keys::store::Saved;
use crate::keys::store::encode::history::{BEGINNING, Draft, Hash, Link, Read, hash};

type EntryKey = (&'static str, u64);
type DocumentKey = (&'static str, &'static Hash);

/// Entries by the server and their place in its history, from 0.
pub(super) const ENTRIES: TableDefinition<'static, EntryKey, &'static [u8]> =
    TableDefinition::new("history");

/// Documents by the server and the SHA-256 of their bytes: several entries may share one.
pub(super) const DOCUMENTS: TableDefinition<'static, DocumentKey, &'static [u8]> =
    TableDefinition::new("history_documents");

/// The histories while they are written.
pub(super) struct Histories<'t> {
    entries: Table<'t, EntryKey, &'static [u8]>,
    documents: Table<'t, DocumentKey, &'static [u8]>,
}

/// Where the next entry of a server goes.
struct End {
    number: u64,
    link: Link,
    is_full: bool,
}

fn all_of(server: &str) -> RangeInclusive<(&str, u64)> {
    (server, 0)..=(server, u64::MAX)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl<'t> Histories<'t> {
    /// Opens the tables; they are created in a file that has none.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let entries = transaction.open_table(ENTRIES)?;
        Ok(Self { entries, documents: transaction.open_table(DOCUMENTS)? })
    }

    /// Puts `drafts` at the end of the history of `server`, as far as there is room. One that is
    /// there already counts as written: whoever saves it again could not know.
    pub(super) fn append(&mut self, server: &str, drafts: &[Draft]) -> Result<Saved, redb::Error> {
        let mut saved = Saved::default();
        if drafts.is_empty() {
            return Ok(saved);
        }
        let mut end = self.end(server)?;
        let last = self.last(server, drafts.len())?;
        for draft in drafts {
            if last.iter().any(|read| read.is(draft)) {
                saved.written += 1;
                continue;
            }
            if end.is_full {
                break;
            }
            if self.append_one(server, draft, &mut end)? {
                saved.written += 1;
            } else {
                saved.filled = true;
            }
        }
        Ok(saved)
    }

    /// Whether there was room for it; if not, an entry says so.
    fn append_one(
        &mut self,
        server: &str,
        draft: &Draft,
        end: &mut End,
    ) -> Result<bool, redb::Error> {
        let sealed = |draft: Draft, link: Link| {
            let bytes = draft.seal(server, end.number, link);
            bytes.map_err(|cause| redb::Error::Io(io::Error::other(cause)))
        };
        let mut link = end.link;
        let mut is_new = false;
        if let Some((hash, raw)) = &draft.document {
            is_new = self.documents.get((server, hash))?.is_none();
            link.bytes += if is_new { length(raw) } else { 0 };
        }
        let mut bytes = sealed(draft.clone(), link)?;
        let has_room = end.number + 1 < ENTRIES_PER_SERVER_MAX
            && link.bytes + length(&bytes) <= BYTES_PER_SERVER_MAX;
        if !has_room {
            link = end.link;
            bytes = sealed(draft.full(), link)?;
        } else if let Some((hash, raw)) = draft.document.as_ref().filter(|_| is_new) {
            self.documents.insert((server, hash), raw.as_ref())?;
        }
        self.entries.insert((server, end.number), bytes.as_slice())?;
        end.link = Link { after: hash(&bytes), bytes: link.bytes + length(&bytes) };
        end.number += 1;
        end.is_full = !has_room;
        Ok(has_room)
    }

    fn end(&self, server: &str) -> Result<End, redb::Error> {
        let Some(last) = self.entries.range(all_of(server))?.next_back() else {
            let link = Link { after: BEGINNING, bytes: 0 };
            return Ok(End { number: 0, link, is_full: false });
        };
        let (key, value) = last?;
        let ((_, number), bytes) = (key.value(), value.value());
        let (before, is_full) = match Read::of(server, number, bytes) {
            Ok(read) => (read.link.bytes, read.is_full()),
            // A damaged entry stays where it is and is followed by others.
            Err(_) => (self.kept_bytes(server)?, false),
        };
        let link = Link { after: hash(bytes), bytes: before + length(bytes) };
        let is_full = is_full || number >= ENTRIES_PER_SERVER_MAX - 1;
        Ok(End { number: number + 1, link, is_full })
    }

    /// The last `count` entries, without damaged ones.
    fn last(&self, server: &str, count: usize) -> Result<Vec<Read>, redb::Error> {
        let mut last = Vec::new();
        for row in self.entries.range(all_of(server))?.rev().take(count) {
            let (key, value) = row?;
            last.extend(Read::of(server, key.value().1, value.value()).ok());
        }
        Ok(last)
    }

    fn kept_bytes(&self, server: &str) -> Result<u64, redb::Error> {
        let mut bytes = 0;
        for row in self.entries.range(all_of(server))? {
            bytes += length(row?.1.value());
        }
        for row in self.documents.range((server, &[0; 32])..=(server, &[0xff; 32]))? {
            bytes += length(row?.1.value());
        }
        Ok(bytes)
    }
}

/// The histories while they are read; none in a file that has none.
struct Tables {
    entries: redb::ReadOnlyTable<EntryKey, &'static [u8]>,
    documents: redb::ReadOnlyTable<DocumentKey, &'static [u8]>,
}

impl Tables {
    fn open(transaction: &ReadTransaction) -> Result<Option<Self>, redb::Error> {
        let tables = transaction.open_table(ENTRIES).and_then(|entries| {
            Ok(Self { entries, documents: transaction.open_table(DOCUMENTS)? })
        });
        match tables {
            Ok(tables) => Ok(Some(tables)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The entry of these bytes, and how many bytes it takes with its document.
    fn entry(
        &self,
        server: &str,
        read: Result<Read, String>,
    ) -> Result<(Result<Entry, String>, usize), redb::Error> {
        let read = match read {
            Ok(read) => read,
            Err(damage) => return Ok((Err(damage), 0)),
        };
        let document = match &read.document {
            Some(hash) => self.documents.get((server, hash))?.map(|raw| raw.value().to_vec()),
            None => None,
        };
        let bytes = document.as_ref().map_or(0, Vec::len);
        Ok((read.with(document), bytes))
    }
}

/// The entries of `server` from number `from` on: at most `max`, and no more after [`PAGE_BYTES`].
pub(super) fn page(
    database: &redb::Database,
    server: &str,
    from: u64,
    max: usize,
) -> Result<Vec<KeptEntry>, redb::Error> {
    let Some(tables) = Tables::open(&database.begin_read()?)? else { return Ok(Vec::new()) };
    let mut page = Vec::new();
    let mut bytes = 0;
    let mut before = None;
    if let Some(number) = from.checked_sub(1) {
        let value = tables.entries.get((server, number))?;
        before = value.map(|value| (number, hash(value.value())));
    }
    for row in tables.entries.range((server, from)..=(server, u64::MAX))?.take(max) {
        let (key, value) = row?;
        let ((_, number), sealed) = (key.value(), value.value());
        let expected = match before {
            None => (number == 0).then_some(BEGINNING),
            Some((last, hash)) => (last + 1 == number).then_some(hash),
        };
        let read = Read::of(server, number, sealed);
        let follows = read.as_ref().map_or(true, |read| expected == Some(read.link.after));
        let (entry, of_document) = tables.entry(server, read)?;
        let hash = hash(sealed);
        before = Some((number, hash));
        page.push(KeptEntry { number, entry, follows, hash });
        bytes += sealed.len() + of_document;
        if bytes > PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

/// The newest document in the history of `server` for which `shows` holds. Damaged entries are
/// skipped.
pub(super) fn newest_document(
    database: &redb::Database,
    server: &str,
    shows: impl Fn(&KeptDocument) -> bool,
) -> Result<Option<KeptDocument>, redb::Error> {
    let Some(tables) = Tables::open(&database.begin_read()?)? else { return Ok(None) };
    for row in tables.entries.range(all_of(server))?.rev() {
        let (key, value) = row?;
        let read = Read::of(server, key.value().1, value.value());
        if let (Ok(Entry::Shown { document, .. }), _) = tables.entry(server, read)?
            && shows(&document)
        {
            return Ok(Some(document));
        }
    }
    Ok(None)
}
