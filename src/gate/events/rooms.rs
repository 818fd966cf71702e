//! The versions of rooms, as far as they have been learnt (R82, R93).

use moka::sync::Cache;

use crate::proto::event::RoomVersion;
use crate::proto::limits::EVENT_FIELD_BYTES_MAX;

/// Whose word a room's version is, the better the later in this list. A room never changes its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Authority {
    /// Any server's, in an invite: it may be mistaken, or lie about a room that is not its own.
    Claimed,
    /// That of the server that named the room.
    RoomServer,
    /// The homeserver's own.
    Homeserver,
}

/// A room's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// One whose rules are known.
    Recognised(RoomVersion),
    /// Any other: its events are not judged.
    Unrecognised,
}

/// What is known of a room's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is this one.
    Known(RoomVersion),
    /// It is one whose rules are unknown.
    Unrecognised,
    /// It is not known; it may be the one somebody has claimed.
    Open(Option<RoomVersion>),
}

/// Remembers the versions of rooms, bounded: the rooms seen least are forgotten first, and judged by
/// their shape.
pub(super) struct RoomVersions(Cache<String, (Told, Authority)>);

impl RoomVersions {
    /// Remembers up to `rooms_max` rooms.
    pub(super) fn new(rooms_max: u64) -> Self {
        Self(Cache::new(rooms_max))
    }

    /// Takes in that the room `room_id` is of the version `identifier`. A better word replaces a lesser
    /// one.
    pub(super) fn learn(&self, room_id: &str, identifier: &str, authority: Authority) {
        if room_id.len() > EVENT_FIELD_BYTES_MAX {
            return;
        }
        let told = RoomVersion::parse(identifier).map_or(Told::Unrecognised, Told::Recognised);
        let new = (told, authority);
        // The homeserver's word replaces its own: a room it has lost may be another one's now.
        let replaces = |(_, before): &(Told, Authority)| {
            *before < authority || authority == Authority::Homeserver
        };
        self.0.entry_by_ref(room_id).or_insert_with_if(|| new, replaces);
    }

    /// What is known of the version of the room `room_id`.
    pub(super) fn standing(&self, room_id: &str) -> Standing {
        match self.0.get(room_id) {
            Some((Told::Recognised(version), Authority::Claimed)) => Standing::Open(Some(version)),
            Some((Told::Unrecognised, Authority::Claimed)) | None => Standing::Open(None),
            Some((Told::Recognised(version), _)) => Standing::Known(version),
            Some((Told::Unrecognised, _)) => Standing::Unrecognised,
        }
    }

    /// How many rooms are remembered.
    pub(super) fn count(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "!room:one.example";

    #[test]
    fn r82_a_better_word_replaces_a_lesser_one_and_no_other() {
        let rooms = RoomVersions::new(10);
        assert_eq!(rooms.standing(ROOM), Standing::Open(None));
        rooms.learn(ROOM, "6", Authority::Claimed);
        rooms.learn(ROOM, "7", Authority::Claimed);
        assert_eq!(rooms.standing(ROOM), Standing::Open(Some(RoomVersion::V6)));
        rooms.learn(ROOM, "9", Authority::RoomServer);
        rooms.learn(ROOM, "1", Authority::Claimed);
        rooms.learn(ROOM, "2", Authority::RoomServer);
        assert_eq!(rooms.standing(ROOM), Standing::Known(RoomVersion::V9));
        rooms.learn(ROOM, "10", Authority::Homeserver);
        rooms.learn(ROOM, "1", Authority::RoomServer);
        assert_eq!(rooms.standing(ROOM), Standing::Known(RoomVersion::V10));
    }

    #[test]
    fn r93_only_who_knows_makes_a_room_one_that_is_not_judged() {
        let rooms = RoomVersions::new(10);
        rooms.learn(ROOM, "org.example.new", Authority::Claimed);
        assert_eq!(rooms.standing(ROOM), Standing::Open(None), "a stranger exempts nobody");
        rooms.learn(ROOM, "org.example.new", Authority::RoomServer);
        assert_eq!(rooms.standing(ROOM), Standing::Unrecognised);
    }

    #[test]
    fn rooms_are_bounded_and_so_are_their_names() {
        let rooms = RoomVersions::new(10);
        for number in 0..1_000 {
            rooms.learn(&format!("!{number}:one.example"), "10", Authority::Homeserver);
        }
        assert!(rooms.count() <= 10, "{}", rooms.count());
        let longest = format!("!{}", "x".repeat(EVENT_FIELD_BYTES_MAX - 1));
        rooms.learn(&longest, "10", Authority::Homeserver);
        assert_eq!(rooms.standing(&longest), Standing::Known(RoomVersion::V10));
        let long = format!("{longest}x");
        rooms.learn(&long, "10", Authority::Homeserver);
        assert_eq!(rooms.standing(&long), Standing::Open(None));
    }
}
