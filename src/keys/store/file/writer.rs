//! The one thread that writes: it gathers what is waiting into one transaction, so that many saves
//! at a time cost one wait for the disk.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use redb::{Durability, ReadableTable as _, ReadableTableMetadata as _};
use tokio::sync::{mpsc, oneshot};

use super::database::{Database, RULES, RULES_NAME, SERVERS};
use super::failure::Failure;
use crate::keys::store::StoreError;
use crate::proto::ServerName;

/// Changes that may wait, and that one transaction takes. Whoever saves more waits for a place; a
/// fetch saves once, so that this is as many servers as are fetched at a time.
const QUEUE_MAX: usize = 4_096;

/// What is to be written.
pub(super) enum Change {
    /// Keep this encoded record.
    Save(ServerName, Vec<u8>),
    /// Remove what is kept of a server.
    Forget(ServerName),
    /// Remove a damaged record, unless another has taken its place since it was read.
    Drop(ServerName, Vec<u8>),
    /// Keep these encoded rules.
    SaveRules(Vec<u8>),
}

/// A change, and who waits for it to be durable: whether it has replaced or removed anything.
struct Job {
    change: Change,
    done: oneshot::Sender<Result<bool, StoreError>>,
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

    /// Makes a change; when this returns it is durable, or an error. Whether it has replaced or
    /// removed anything.
    pub(super) async fn write(&self, change: Change) -> Result<bool, StoreError> {
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
                if let Change::Save(server, _) = &job.change {
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

/// Makes all changes in their order, or none. How many records there are then, and per change,
/// whether it replaced or removed anything.
fn commit(database: &redb::Database, jobs: &[Job]) -> Result<(u64, Vec<bool>), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let outcomes = {
        let mut servers = transaction.open_table(SERVERS)?;
        let mut rules = transaction.open_table(RULES)?;
        let mut apply = |change: &Change| -> Result<bool, redb::Error> {
            Ok(match change {
                Change::Save(server, bytes) => {
                    servers.insert(server.as_str(), bytes.as_slice())?.is_some()
                }
                Change::Forget(server) => servers.remove(server.as_str())?.is_some(),
                Change::Drop(server, bytes) => {
                    let name = server.as_str();
                    let same = servers.get(name)?.is_some_and(|kept| kept.value() == bytes);
                    same && servers.remove(name)?.is_some()
                }
                Change::SaveRules(bytes) => rules.insert(RULES_NAME, bytes.as_slice())?.is_some(),
            })
        };
        let outcomes = jobs.iter().map(|job| apply(&job.change)).collect::<Result<_, _>>()?;
        (servers.len()?, outcomes)
    };
    transaction.commit()?;
    Ok(outcomes)
}
