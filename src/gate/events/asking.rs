//! Asking the homeserver for the versions of rooms that nobody has told yet: Synapse's admin API, room
//! details.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use moka::sync::Cache;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::metrics::EventMetrics;
use super::rooms::{Authority, RoomVersions};
use crate::keys::fetch::{Credentials, LocalHttp, Question};
use crate::proto::event::stated_room_version;
use crate::proto::json::Object;
use crate::proto::limits::EVENT_FIELD_BYTES_MAX;

/// Rooms that wait to be asked for. A further one is asked for when it is seen again.
const WAITING_MAX: usize = 1_024;

/// A room is asked for once in this time: the homeserver may come to know it.
const ASK_AGAIN: Duration = Duration::from_secs(60 * 60);

/// A room at a time in this time: strangers make up rooms.
const ASK_PACE: Duration = Duration::from_millis(100);

/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer, in bytes: one has about 1 KB, with a topic of any length.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Asks the homeserver's admin API.
pub struct RoomAsker {
    http: LocalHttp,
    token: String,
    asked: Cache<String, ()>,
    waiting: mpsc::Sender<String>,
    next: Mutex<mpsc::Receiver<String>>,
}

impl RoomAsker {
    /// Asks over `http` with the access token of an administrator, as `rooms_max` are remembered.
    pub fn new(http: LocalHttp, token: String, rooms_max: u64) -> Self {
        let asked = Cache::builder().max_capacity(rooms_max).time_to_live(ASK_AGAIN).build();
        let (waiting, next) = mpsc::channel(WAITING_MAX);
        Self { http, token, asked, waiting, next: Mutex::new(next) }
    }

    /// Has the room asked for, unless that was done not long ago.
    pub(super) fn want(&self, room_id: &str) {
        let is_id = room_id.len() <= EVENT_FIELD_BYTES_MAX;
        if is_id
            && !self.asked.contains_key(room_id)
            && self.waiting.try_send(room_id.to_owned()).is_ok()
        {
            self.asked.insert(room_id.to_owned(), ());
        }
    }

    /// Asks for the rooms that are wanted, one after the other, for as long as it is waited for.
    pub(super) async fn run(&self, rooms: &Arc<RoomVersions>, metrics: &EventMetrics) {
        let mut next = self.next.lock().await;
        let mut failure = None;
        let mut pace = interval(ASK_PACE);
        // After a long wait there is nothing to make up for.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(room_id) = next.recv().await {
            pace.tick().await;
            let answer = timeout(ANSWER_TIMEOUT, self.ask(&room_id)).await;
            let failed = match answer.unwrap_or_else(|_late| Err("no answer in time".to_owned())) {
                Ok(version) => {
                    if let Some(version) = version {
                        rooms.learn(&room_id, &version, Authority::Homeserver);
                        metrics.rooms(rooms.count());
                    }
                    None
                }
                Err(error) => Some(error),
            };
            // Told once, not for each room.
            if let Some(error) = &failed
                && failed != failure
            {
                tracing::warn!(
                    target: "fedgate::events",
                    error,
                    "the homeserver does not tell the versions of rooms; see events.admin_token_file"
                );
            }
            failure = failed;
        }
    }

    /// The version of a room; none if the homeserver does not know it.
    async fn ask(&self, room_id: &str) -> Result<Option<String>, String> {
        let id = utf8_percent_encode(room_id, NON_ALPHANUMERIC);
        let question = Question {
            method: Method::GET,
            target: format!("/_synapse/admin/v1/rooms/{id}").into(),
            authorization: Some(Credentials(format!("Bearer {}", self.token))),
            body: Bytes::new(),
            bytes_max: ANSWER_BYTES_MAX,
        };
        let answer = self.http.ask(question).await;
        let (status, body) = answer.map_err(|error| error.to_string())?;
        match status {
            200 => {
                let answer = Object::scan(&body).map_err(|error| error.to_string())?;
                Ok(stated_room_version(&answer).map(Cow::into_owned))
            }
            404 => Ok(None),
            401 | 403 => Err(format!("it refuses the token ({status})")),
            _ => Err(format!("it answers {status}")),
        }
    }
}

#[cfg(test)]
mod tests;
