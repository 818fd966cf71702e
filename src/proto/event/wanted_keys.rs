//! Which keys an event's verdict may depend on, before it is judged.

use std::borrow::Cow;

use super::{Event, RoomVersion};
use crate::proto::json::string_value;
use crate::proto::{KeyId, ServerName};

impl Event<'_> {
    /// The ID of the event's room, as it says.
    pub fn claimed_room_id(&self) -> Option<String> {
        string_value(self.fields.room_id?).map(Cow::into_owned)
    }

    /// The event's ID, whatever else is wrong with it.
    pub fn any_id(&self, version: RoomVersion) -> Option<String> {
        self.event_id(version, self.reference_hash(version))
    }

    /// The keys that should have signed the event for the servers that must have, in a room of that
    /// version. Empty where the form of the event is so wrong that it names none.
    pub fn wanted_keys(&self, version: RoomVersion) -> Vec<(ServerName, KeyId)> {
        let mut wanted = Vec::new();
        for signer in self.required_signers(version).unwrap_or_default() {
            let signatures = self.signatures_of(&signer.server);
            let ids = signatures.iter().filter_map(|(id, _)| KeyId::parse(id).ok());
            let ids = ids.filter(KeyId::is_ed25519);
            wanted.extend(ids.map(|id| (signer.server.clone(), id)));
        }
        wanted
    }
}
