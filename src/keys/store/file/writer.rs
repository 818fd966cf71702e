//! The one thread that writes: it gathers what is waiting into one transaction, so that many saves
//! at a time cost one wait for the disk.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use redb::{Durability, ReadableTable as _, ReadableTableMetadata as _};
use tokio::sync::{mpsc, oneshot};

use super::database::{Database, RULES, RULES_NAME, SERVERS};
use super::failure::Failure;
use super::history::Histories;
use crate::keys::store::encode::history::Draft;
use crate::keys::store::{Saved, StoreError};
use crate::proto::ServerName;

/// Changes that may wait, and that one transaction takes. Whoever saves more waits for a place; a
/// fetch saves once, so that this is as many servers as are fetched at a time.
const QUEUE_MAX: usize = 4_096;

/// What is to be written.
pub(super) enum Change {
    /// Keep this encoded record, and put these entries into the history of its server.
    Save(ServerName, Vec<u8>, Vec<Draft>),
    /// Remove the record of a server. If there was one, its history says so with these entries.
    Forget(ServerName, Vec<Draft>),
    /// Remove a damaged record, unless another has taken its place since it was read.
    Drop(ServerName, Vec<u8>),
    /// Keep these encoded rules.
    SaveRules(Vec<u8>),
}

/// What a change has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    /// Whether it has replaced or removed anything.
    pub(super) replaced: bool,
    /// What has become of its entries.
    pub(super) saved: Saved,
}

/// A change, and who waits for it to be durable.
struct Job {
    change: Change,
    done: oneshot::Sender<Result<Done, StoreError>>,
}

/// The thread and its queue. Dropping it waits for what is queued.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `path` is for messages.
    pub(super) fn start(path: &Path, database: Arc<Database>) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("fedgate-store".to_owned())
            .spawn(move || write_all(&database, jobs))
            .map_err(|error| {
                let cause = format!("no thread to write it: {error}");
                Failure::Io { cause, fix: "raise the limit on threads" }.explain(path)
            })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Makes a change; when this returns it is durable, or an error.
    pub(super) async fn write(&self, change: Change) -> Result<Done, StoreError> {
        let stopped = || {
            StoreError::Io(
                "the thread that writes keys.store has ended; restart fedgate".to_owned(),
            )
        };
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        let (done, outcome) = oneshot::channel();
        queue.send(Job { change, done }).await.map_err(|_closed| stopped())?;
        outcome.await.map_err(|_closed| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The thread catches what redb panics over, and has nobody left to answer to.
            let _ended = thread.join();
        }
    }
}

fn write_all(database: &Database, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < QUEUE_MAX
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        let outcome = database.attempt(|open| {
            for job in &jobs {
                if let Change::Save(server, ..) = &job.change {
                    database.names().add(server.as_str());
                }
            }
            commit(open, &jobs)
        });
        let outcomes = match outcome {
            Ok((servers, outcomes)) => {
                database.measure(servers);
                outcomes.into_iter().map(Ok).collect()
            }
            Err(error) => vec![Err(error); jobs.len()],
        };
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            // Who no longer waits does not mind.
            let _gone = job.done.send(outcome);
        }
    }
}

/// Makes all changes in their order, or none. How many records there are then, and what each change
/// has done.
fn commit(database: &redb::Database, jobs: &[Job]) -> Result<(u64, Vec<Done>), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let outcomes = {
        let mut servers = transaction.open_table(SERVERS)?;
        let mut rules = transaction.open_table(RULES)?;
        let mut histories = Histories::open(&transaction)?;
        let mut apply = |change: &Change| -> Result<Done, redb::Error> {
            let mut saved = Saved::default();
            let replaced = match change {
                Change::Save(server, bytes, drafts) => {
                    saved = histories.append(server.as_str(), drafts)?;
                    servers.insert(server.as_str(), bytes.as_slice())?.is_some()
                }
                Change::Forget(server, drafts) => {
                    let removed = servers.remove(server.as_str())?.is_some();
                    if removed {
                        saved = histories.append(server.as_str(), drafts)?;
                    }
                    removed
                }
                Change::Drop(server, bytes) => {
                    let name = server.as_str();
                    let same = servers.get(name)?.is_some_and(|kept| kept.value() == bytes);
                    same && servers.remove(name)?.is_some()
                }
                Change::SaveRules(bytes) => rules.insert(RULES_NAME, bytes.as_slice())?.is_some(),
            };
            Ok(Done { replaced, saved })
        };
        let outcomes = jobs.iter().map(|job| apply(&job.change)).collect::<Result<_, _>>()?;
        (servers.len()?, outcomes)
    };
    transaction.commit()?;
    Ok(outcomes)
}
