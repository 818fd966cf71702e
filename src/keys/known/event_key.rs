//! A known key as events see it: by the time of the event, not by now.

use super::{KnownKeys, window_end};
use crate::proto::KeyId;
use crate::proto::event::EventKey;

impl KnownKeys {
    /// The key `id`, current or retired, and until when it counts for events. None when it is not
    /// known, or when the document that spoke for it had to make room.
    pub(crate) fn event_key(&self, id: &KeyId) -> Option<EventKey> {
        let known = self.keys.get(id)?;
        let key = known.key.clone();
        if let Some(expired_ts) = known.retired {
            return Some(EventKey::Retired { key, expired_ts });
        }
        let effective_until = window_end(known.document.as_ref()?);
        Some(EventKey::Current { key, effective_until })
    }
}
