//! What is logged and counted of events, under a flood of bad ones too.

use super::*;
use crate::gate::quiet::LINES_SAVED;

const ROOM: &str = "!r:one.example";

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_events_makes_few_lines_and_short_ones() {
    let one = server("one.example");
    let examiner = examiner(&[&one], Duration::from_secs(60)).0.with_limited_lines();
    let mut forged = event(&one, ROOM, "m.room.message", json!({}), 0);
    forged["depth"] = json!(8);
    let signatures = &mut forged["signatures"]["one.example"];
    for number in 2..8 {
        signatures[format!("ed25519:{number}")] = signatures[ID].clone();
    }
    let endless = "x".repeat(10_000);
    let malformed = event(&one, &format!("!{endless}:one.example"), "m.room.message", json!({}), 0);
    let user_id = format!("@{endless}:two.example");
    let foreign = json!({ "edu_type": "m.typing", "content": { "user_id": user_id } });
    let pdus = [vec![&forged; 25], vec![&malformed; 25]].concat();
    let body = json!({ "pdus": pdus, "edus": vec![&foreign; 25] });
    let (lines, guard) = logged();
    for _ in 0..4 {
        assert!(matches!(transact(&examiner, &one, &body).await, Ok(Examined::Answered(_))));
    }
    drop(guard);
    let logged = lines.text();
    for (check, bytes_max) in [("signatures", 500), ("format", 500), ("edu_origin", 300)] {
        let label = format!("check=\"{check}\"");
        let of_check: Vec<_> = logged.lines().filter(|line| line.contains(&label)).collect();
        assert_eq!(of_check.len(), LINES_SAVED as usize, "{check}");
        for line in of_check {
            assert!(line.len() < bytes_max, "{line}");
            assert!(line.matches(" of one.example: ").count() <= 4, "{line}");
        }
    }
}

#[tokio::test]
async fn known_rooms_and_the_time_that_checks_take_are_measured() {
    let one = server("one.example");
    let (examiner, registry) = examiner(&[&one], Duration::from_secs(60));
    let only = |name| {
        let families = registry.gather();
        families.iter().find(|family| family.name() == name).unwrap().get_metric()[0].clone()
    };
    let times = || only("fedgate_events_duration_seconds").get_histogram().get_sample_count();
    send(&examiner, &one, &[]).await.unwrap();
    assert_eq!(times(), 0, "there was nothing to check");
    for room_id in [ROOM, "!s:one.example", "!t:one.example"] {
        let content = json!({ "creator": "x", "room_version": "10" });
        let create = event(&one, room_id, "m.room.create", content, 0);
        send(&examiner, &one, &[create]).await.unwrap();
    }
    assert_eq!(times(), 3);
    assert_eq!(only("fedgate_events_rooms_known").get_gauge().get_value(), 3.0);
}
