//! Questions to a source that answers for many servers, and the queries they go out in.
//!
//! A question goes out at once while few queries of the source are unanswered. Otherwise it waits, and
//! what has gathered by then goes out together in the next query. Known and first-seen servers never
//! share a query nor wait for each other: Synapse and Dendrite answer a query once the slowest name in
//! it has been tried, and any stranger can make up names (threat F6).
//!
//! There are no tasks here: whoever waits for a query also drives it. It goes on while one of them is
//! left, and ends with the last.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::answer::{Answer, Judged, answer_bytes_max, query};
use super::{FetchError, KeyRequest, printable};
use crate::keys::metrics::{KeyMetrics, QueryResult};
use crate::keys::record::Source;
use crate::net::NetError;
use crate::net::trace::{Action, Outcome, Trace, cut};
use crate::proto::server_keys::ServerKeys;

/// How many unanswered queries hold up the next, and how many names go into one.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    places: usize,
    names_max: usize,
}

/// Servers whose keys have been seen: all that the keyring fetches at one time, 256, are on their way
/// in one round. More places would be a burden on the source and little faster; Dendrite and palpo try
/// the names of a query one after the other, so that more names would take them longer than the sender
/// waits.
const KNOWN: Bounds = Bounds { places: 8, names_max: 32 };

/// Servers never seen before, of which the keyring fetches 64 at one time: a name that hangs takes few
/// others with it.
const FIRST_SEEN: Bounds = Bounds { places: 8, names_max: 8 };

/// Most questions that wait in a lane: four times as many as the keyring asks at one time.
const WAITING_MAX: usize = 1_024;

/// How long an unanswered query holds up the next. A notary takes longer only while some name is slow,
/// and a lane whose every name hangs still sends more of them a second than are looked up. With
/// `QUERY_TIMEOUT`, at most 15 times as many queries are under way as there are places.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a query may take at most, whoever still waits for it: a Synapse that is asked gives up on
/// the servers it asks in turn after 10 seconds.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);

/// The way of a query to its source.
pub(super) trait Ask: Send + Sync + 'static {
    /// Sends the query `body` and reads the body of its answer, of `bytes_max` bytes at most.
    ///
    /// # Errors
    /// Anything but an answer of status 200.
    fn ask(
        &self,
        body: Bytes,
        bytes_max: usize,
        trace: &Trace,
    ) -> impl Future<Output = Result<Bytes, FetchError>> + Send;
}

/// Asks one source.
pub(super) struct Batcher<A> {
    asker: Arc<A>,
    source: Source,
    metrics: KeyMetrics,
    known: Lane,
    first_seen: Lane,
}

struct Lane {
    bounds: Bounds,
    /// One permit per query that holds up the next.
    places: Arc<Semaphore>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// By arrival.
    waiting: BTreeMap<u64, Waiting>,
    arrivals: u64,
}

/// A question that waits.
struct Waiting {
    request: KeyRequest,
    /// Whether it must have a query of its own.
    alone: bool,
    sent: oneshot::Sender<Query>,
}

/// Takes a question out of the queue when nobody waits for it any more.
struct Ticket<'a> {
    lane: &'a Lane,
    arrival: u64,
}

/// A query on its way; every clone resolves to its end.
type Query = Shared<BoxFuture<'static, Result<Arc<Answer>, Failure>>>;

/// Why a query gave no answer.
#[derive(Clone, Debug)]
struct Failure {
    error: FetchError,
    /// Whether that may be the fault of one name among several.
    of_one: bool,
}

impl<A: Ask> Batcher<A> {
    /// Questions for `source` go out through `asker`.
    pub(super) fn new(asker: Arc<A>, source: Source, metrics: KeyMetrics) -> Self {
        Self { asker, source, metrics, known: Lane::new(KNOWN), first_seen: Lane::new(FIRST_SEEN) }
    }

    /// The source.
    pub(super) const fn source(&self) -> &Source {
        &self.source
    }

    /// Asks for the keys of one server, together with others where many wait. Of a query that failed
    /// as a whole, where that may be the fault of one name, each name is asked for alone. `judge` says
    /// which documents of an answer are acceptable.
    ///
    /// # Errors
    /// As [`super::KeyFetcher::fetch`].
    pub(super) async fn fetch(
        &self,
        request: &KeyRequest,
        judge: impl FnOnce(&Answer) -> Result<Judged, FetchError>,
    ) -> Result<Vec<ServerKeys>, FetchError> {
        // What is to be taken down goes alone: its steps are nobody else's.
        let answer = if request.trace.is_on() {
            self.ask_traced(request).await?
        } else {
            self.ask(request).await?
        };
        let judged = judge(&answer)?;
        for reason in &judged.refused {
            request.trace.note(|| Action::Document, || Outcome::Refused { text: cut(reason) });
            tracing::warn!(
                target: "fedgate::keys",
                server = %request.server,
                source = %self.source,
                reason = %printable(reason),
                "ignored one document of an answer"
            );
        }
        Ok(judged.accepted)
    }

    async fn ask_traced(&self, request: &KeyRequest) -> Result<Arc<Answer>, FetchError> {
        let requests = std::slice::from_ref(request);
        let body = self.asker.ask(query(requests), answer_bytes_max(1), &request.trace).await?;
        let answer = Answer::split(&body, requests)?;
        for reason in &answer.strays {
            request.trace.note(|| Action::Document, || Outcome::Refused { text: cut(reason) });
        }
        Ok(Arc::new(answer))
    }

    async fn ask(&self, request: &KeyRequest) -> Result<Arc<Answer>, FetchError> {
        let lane = if request.is_known { &self.known } else { &self.first_seen };
        let mut answer = self.queue(lane, request, false).await;
        if matches!(answer, Err(Failure { of_one: true, .. })) {
            answer = self.queue(lane, request, true).await;
        }
        answer.map_err(|failure| failure.error)
    }

    async fn queue(
        &self,
        lane: &Lane,
        request: &KeyRequest,
        alone: bool,
    ) -> Result<Arc<Answer>, Failure> {
        let busy = Failure { error: FetchError::Busy, of_one: false };
        let Some((ticket, mut sent)) = lane.enqueue(request.clone(), alone) else {
            return Err(busy);
        };
        // Whoever gets the next place sends what waits, his own question or not.
        let query = loop {
            tokio::select! {
                biased;
                query = &mut sent => break query,
                Ok(place) = Arc::clone(&lane.places).acquire_owned() => self.send(lane, place),
            }
        };
        drop(ticket);
        match query {
            Ok(query) => query.await,
            // No question leaves the queue in another way while it is waited for.
            Err(_closed) => Err(busy),
        }
    }

    /// Sends one query for what waits in `lane`.
    fn send(&self, lane: &Lane, place: OwnedSemaphorePermit) {
        let batch = lane.next_batch();
        if batch.is_empty() {
            return;
        }
        let requests = batch.iter().map(|waiting| waiting.request.clone()).collect();
        let asker = Arc::clone(&self.asker);
        let query = run(asker, self.source.clone(), self.metrics.clone(), requests, place);
        let query = query.boxed().shared();
        for waiting in batch {
            let _gone = waiting.sent.send(query.clone());
        }
    }
}

impl Lane {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, places: Arc::new(Semaphore::new(bounds.places)), queue: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a question wait; none if too many do.
    fn enqueue(
        &self,
        request: KeyRequest,
        alone: bool,
    ) -> Option<(Ticket<'_>, oneshot::Receiver<Query>)> {
        let mut queue = self.lock();
        if queue.waiting.len() >= WAITING_MAX {
            return None;
        }
        let arrival = queue.arrivals;
        queue.arrivals += 1;
        let (sent, receiver) = oneshot::channel();
        queue.waiting.insert(arrival, Waiting { request, alone, sent });
        Some((Ticket { lane: self, arrival }, receiver))
    }

    /// Takes out what goes into the next query: the question that has waited longest, and as many
    /// others as may go with it.
    fn next_batch(&self) -> Vec<Waiting> {
        let mut queue = self.lock();
        let Some((_, first)) = queue.waiting.pop_first() else { return Vec::new() };
        let further = if first.alone { 0 } else { self.bounds.names_max - 1 };
        let company = queue.waiting.iter().filter(|(_, waiting)| !waiting.alone);
        let arrivals: Vec<u64> = company.take(further).map(|(arrival, _)| *arrival).collect();
        let mut batch = vec![first];
        batch.extend(arrivals.iter().filter_map(|arrival| queue.waiting.remove(arrival)));
        batch
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.lane.lock().waiting.remove(&self.arrival);
    }
}

/// One query, from the sending to its split answer.
async fn run<A: Ask>(
    asker: Arc<A>,
    source: Source,
    metrics: KeyMetrics,
    requests: Vec<KeyRequest>,
    place: OwnedSemaphorePermit,
) -> Result<Arc<Answer>, Failure> {
    let names = requests.len();
    let untraced = Trace::default();
    let asking = asker.ask(query(&requests), answer_bytes_max(names), &untraced);
    let mut asking = pin!(timeout(QUERY_TIMEOUT, asking));
    let body = match timeout(PATIENCE, &mut asking).await {
        Ok(body) => body,
        Err(_elapsed) => {
            drop(place);
            asking.await
        }
    };
    let body = body.unwrap_or_else(|_elapsed| {
        let text = format!("no answer to a key query within {QUERY_TIMEOUT:?}");
        Err(FetchError::Net(NetError::Timeout(text)))
    });
    match body.and_then(|body| Answer::split(&body, &requests)) {
        Ok(answer) => {
            metrics.queried(source.kind(), names, QueryResult::Answered);
            for reason in &answer.strays {
                tracing::warn!(
                    target: "fedgate::keys",
                    %source,
                    names,
                    reason = %printable(reason),
                    "ignored one document of an answer"
                );
            }
            Ok(Arc::new(answer))
        }
        Err(error) => {
            let of_one = names > 1 && may_be_of_one(&error);
            let result = if of_one { QueryResult::Split } else { QueryResult::Failed };
            metrics.queried(source.kind(), names, result);
            if of_one {
                tracing::info!(
                    target: "fedgate::keys",
                    %source,
                    names,
                    %error,
                    "a query for several servers' keys failed; each is asked for alone"
                );
            }
            Err(Failure { error, of_one })
        }
    }
}

/// Whether a query for several names may have failed for the sake of one of them. Servers that parse
/// names and key IDs more strictly than we do (palpo, with ruma's types) answer the whole with 400;
/// Dendrite answers 500 when it fails with one. One document that repeats a member makes the whole answer
/// ambiguous.
const fn may_be_of_one(error: &FetchError) -> bool {
    match error {
        FetchError::BadAnswer(_) | FetchError::Net(NetError::TooLarge(_)) => true,
        FetchError::Status(status) => matches!(status, 400 | 413 | 422 | 500),
        FetchError::Busy | FetchError::Net(_) | FetchError::NotServed => false,
    }
}

#[cfg(test)]
mod tests;
