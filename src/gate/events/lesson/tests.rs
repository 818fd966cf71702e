use http::HeaderValue;
use prometheus::Registry;

use super::*;
use crate::gate::events::rooms::Standing;
use crate::proto::event::RoomVersion;

const ROOM: &str = "!room:one.example";

/// What is known of the room's version after an answer in these pieces.
fn learnt(status: StatusCode, headers: &HeaderMap, pieces: &[&[u8]]) -> Standing {
    let rooms = Arc::new(RoomVersions::new(10));
    let metrics = EventMetrics::register(&Registry::new()).unwrap();
    let mut lesson = Lesson::new(Arc::clone(&rooms), ROOM.to_owned(), metrics);
    lesson.begin(status, headers);
    for (index, piece) in pieces.iter().enumerate() {
        lesson.read(piece, index + 1 == pieces.len());
    }
    rooms.standing(ROOM)
}

/// An answer to make_join of this many bytes.
fn answer(bytes: usize) -> Vec<u8> {
    let around = br#"{"room_version":"10","event":{"x":""}}"#.len();
    let filler = "x".repeat(bytes - around);
    format!(r#"{{"room_version":"10","event":{{"x":"{filler}"}}}}"#).into_bytes()
}

#[test]
fn r82_an_answer_is_read_as_it_comes_up_to_its_bound() {
    let known = Standing::Known(RoomVersion::V10);
    let none = HeaderMap::new();
    let longest = answer(ANSWER_BYTES_MAX);
    assert_eq!(learnt(StatusCode::OK, &none, &[&longest]), known);
    let (head, tail) = longest.split_at(1_000);
    assert_eq!(learnt(StatusCode::OK, &none, &[head, tail, b""]), known);
    let longer = answer(ANSWER_BYTES_MAX + 1);
    let (head, tail) = longer.split_at(ANSWER_BYTES_MAX);
    assert_eq!(learnt(StatusCode::OK, &none, &[&longer]), Standing::Open(None));
    assert_eq!(learnt(StatusCode::OK, &none, &[head, tail]), Standing::Open(None));
    let after = [&longer[..], b"", &answer(100)];
    assert_eq!(learnt(StatusCode::OK, &none, &after), Standing::Open(None), "nor what follows it");
}

#[test]
fn r82_refusals_and_encoded_answers_teach_nothing() {
    let told = answer(100);
    let encoded = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    assert_eq!(learnt(StatusCode::OK, &encoded, &[&told]), Standing::Open(None));
    for status in [StatusCode::FORBIDDEN, StatusCode::ACCEPTED] {
        assert_eq!(learnt(status, &HeaderMap::new(), &[&told]), Standing::Open(None));
    }
}
