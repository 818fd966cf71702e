//! Which room versions an event can be of, going by its shape alone (server-server API, PDU formats;
//! R82).
//!
//! A shape only ever rules versions out. What is malformed in every version is for
//! [`Event::check_format`] to say.

use super::{Event, IdForm, RoomVersion};
use crate::proto::json::{array_values, string_value};
use crate::proto::limits::{AUTH_EVENTS_MAX, PREV_EVENTS_MAX};

/// One version for each set of versions that differ in redaction or in the form of IDs, in the order
/// to try. Version 1 stands for 2, 4 for 5, 6 for 7 and 9 for 10; of each set it is the one that asks
/// least of an event, so that an event which fails under it fails under the others. Version 1 comes
/// first since an event that may be of it is hardly ever of another; then the redactions that most
/// rooms have; 3 comes last since it redacts as 4 does.
const REPRESENTATIVES: [RoomVersion; 8] = [
    RoomVersion::V1,
    RoomVersion::V9,
    RoomVersion::V11,
    RoomVersion::V12,
    RoomVersion::V6,
    RoomVersion::V8,
    RoomVersion::V4,
    RoomVersion::V3,
];

/// What of an event's shape speaks for and against room versions.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    has_event_id: bool,
    /// The room ID is one with a domain, as before version 12.
    has_room_with_domain: bool,
    /// The room ID is one without, or missing from a create event, as from version 12 on.
    has_room_of_hash: bool,
    references: References,
}

/// What is found in `auth_events` and `prev_events`.
#[derive(Clone, Copy, Debug, Default)]
struct References {
    /// Arrays, as in versions 1 and 2.
    pairs: bool,
    /// Strings, as from version 3 on.
    ids: bool,
    /// Strings with characters that only standard base64 has, as in version 3.
    standard: bool,
    /// Strings with characters that only URL-safe base64 has, as from version 4 on.
    url_safe: bool,
}

impl Shape {
    fn fits(&self, version: RoomVersion) -> bool {
        let room = if version.has_hashed_room_ids() {
            self.has_room_of_hash
        } else {
            self.has_room_with_domain
        };
        let References { pairs, ids, standard, url_safe } = self.references;
        room && match version.id_form() {
            IdForm::Given => self.has_event_id && !ids,
            IdForm::Base64 => !pairs && !url_safe,
            IdForm::UrlSafe => !pairs && !standard,
        }
    }
}

impl Event<'_> {
    /// The room versions to try when the event's is not known, the likeliest first: of those that
    /// its shape allows one for each redaction and form of IDs. The event is bad only if it fails in
    /// all of them, and never for the age of a key (R82): which of several versions it is of stays
    /// open, and some have no such rule.
    ///
    /// None if no known version has events of this shape: then it is malformed, or of a version that
    /// is not known here and not judged (R93).
    pub fn possible_versions(&self) -> impl Iterator<Item = RoomVersion> + use<> {
        let shape = self.shape();
        REPRESENTATIVES.into_iter().filter(move |version| shape.fits(*version))
    }

    /// Whether an event of this shape can be of the room version; if not, whoever said so was wrong
    /// about one of them.
    pub fn fits_version(&self, version: RoomVersion) -> bool {
        self.shape().fits(version)
    }

    fn shape(&self) -> Shape {
        let fields = &self.fields;
        let mut shape = Shape { has_event_id: fields.event_id.is_some(), ..Shape::default() };
        match fields.room_id.map(string_value) {
            Some(Some(room_id)) if room_id.contains(':') => shape.has_room_with_domain = true,
            // A create event is what a room ID without a domain is made of.
            Some(Some(_)) => shape.has_room_of_hash = !self.is_create(),
            Some(None) => {}
            None => shape.has_room_of_hash = self.is_create(),
        }
        for (list, max) in
            [(fields.auth_events, AUTH_EVENTS_MAX), (fields.prev_events, PREV_EVENTS_MAX)]
        {
            let entries = list.and_then(array_values).into_iter().flatten();
            entries.take(max).for_each(|entry| shape.references.add(entry));
        }
        shape
    }
}

impl References {
    /// Takes note of the text of one entry.
    fn add(&mut self, entry: &[u8]) {
        self.pairs |= entry.starts_with(b"[");
        if let Some(id) = string_value(entry) {
            self.ids = true;
            self.standard |= id.contains(['+', '/']);
            self.url_safe |= id.contains(['-', '_']);
        }
    }
}
