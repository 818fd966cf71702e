use super::*;
use crate::keys::record::{KeptDocument, Source};
use crate::keys::testing::{TestServer, at};

fn entries(server: &TestServer, count: u64) -> Vec<Entry> {
    let shown = |number| {
        let document = KeptDocument {
            raw: server.document().into(),
            fetched_at: at(number),
            source: Source::Origin,
        };
        Entry::Shown { document, events: Vec::new() }
    };
    (0..count).map(shown).collect()
}

#[test]
fn what_waits_for_the_store_is_bounded() {
    let backlog = Backlog::default();
    let mut server = TestServer::new("a.example");
    server.add_key("ed25519:1");
    server.filler = 60_000;
    let all = entries(&server, 300);
    let mut kept = 0;
    for (number, entry) in all.iter().enumerate() {
        let name = ServerName::parse(&format!("s{number}")).unwrap();
        let lost = backlog.put_back(&name, vec![entry.clone()]);
        kept += usize::from(lost.is_empty());
        assert!(lost.is_empty() || lost == [entry.clone()]);
    }
    assert_eq!(kept, BACKLOG_BYTES_MAX / all[0].size_bytes());
    for (number, entry) in all[..kept].iter().enumerate() {
        let name = ServerName::parse(&format!("s{number}")).unwrap();
        assert_eq!(backlog.take(&name), std::slice::from_ref(entry));
        assert_eq!(backlog.take(&name), []);
    }
    let waiting = backlog.0.lock().unwrap();
    assert_eq!((waiting.bytes, waiting.entries.len()), (0, 0));
}

#[test]
fn what_waits_stays_in_order() {
    let backlog = Backlog::default();
    let server = TestServer::new("a.example");
    let [one, two, three] = entries(&server, 3).try_into().unwrap();
    assert_eq!(backlog.put_back(&server.name, vec![three.clone()]), []);
    assert_eq!(backlog.put_back(&server.name, vec![one.clone(), two.clone()]), []);
    assert_eq!(backlog.take(&server.name), [one, two, three]);
}
