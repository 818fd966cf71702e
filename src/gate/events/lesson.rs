//! What the homeserver's own answers tell of a room's version: those to `make_join` and `make_knock`,
//! read as they go by.

use std::fmt;
use std::sync::Arc;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};

use super::metrics::EventMetrics;
use super::rooms::{Authority, RoomVersions};
use crate::proto::event::answered_room_version;
use crate::proto::json::Object;
use crate::proto::limits::EVENT_BYTES_MAX;

/// How much of an answer is kept, in bytes: an event and a little more. A longer one teaches nothing.
const ANSWER_BYTES_MAX: usize = 2 * EVENT_BYTES_MAX;

/// An answer that may tell a room's version.
pub struct Lesson {
    rooms: Arc<RoomVersions>,
    room_id: String,
    metrics: EventMetrics,
    /// The body so far, once the answer is one that tells.
    body: Option<Vec<u8>>,
}

impl fmt::Debug for Lesson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lesson").finish_non_exhaustive()
    }
}

impl Lesson {
    pub(super) const fn new(
        rooms: Arc<RoomVersions>,
        room_id: String,
        metrics: EventMetrics,
    ) -> Self {
        Self { rooms, room_id, metrics, body: None }
    }

    /// The answer begins.
    pub fn begin(&mut self, status: StatusCode, headers: &HeaderMap) {
        let tells = status == StatusCode::OK && !headers.contains_key(CONTENT_ENCODING);
        self.body = tells.then(Vec::new);
    }

    /// A further piece of it, and whether that is the last.
    pub fn read(&mut self, piece: &[u8], is_last: bool) {
        let Some(body) = &mut self.body else { return };
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            self.body = None;
            return;
        }
        body.extend_from_slice(piece);
        if !is_last {
            return;
        }
        if let Ok(answer) = Object::scan(body)
            && let Some(version) = answered_room_version(&answer)
        {
            self.rooms.learn(&self.room_id, &version, Authority::Homeserver);
            self.metrics.rooms(self.rooms.count());
        }
        self.body = None;
    }
}

#[cfg(test)]
mod tests;
