//! Against a name server on loopback that speaks real DNS packets.

mod large;
mod sharing;

use std::net::Ipv6Addr;

use hickory_proto::op::ResponseCode;

use super::testing::{NameServer, Script, a, aaaa, cname, srv};
use super::*;

/// The records of an answer, whoever knew them.
async fn records_of<T>(
    answer: impl Future<Output = Result<Resolved<T>, NetError>>,
) -> Result<Vec<T>, NetError> {
    answer.await.map(|found| found.records)
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

const V6: Ipv6Addr = Ipv6Addr::new(0x2a01, 0x4f8, 0, 0, 0, 0, 0, 1);

#[tokio::test]
async fn both_kinds_of_addresses_are_found_in_turn() {
    let name = "both.example.org.";
    let server = NameServer::start(&[
        (name, RecordType::A, Script::Answer(vec![a(name, [1, 1, 1, 1]), a(name, [1, 1, 1, 2])])),
        (name, RecordType::AAAA, Script::Answer(vec![aaaa(name, V6)])),
    ])
    .await;
    let mut found =
        records_of(server.dns().addresses("both.example.org")).await.expect("addresses");
    assert_eq!(found[1], IpAddr::V6(V6), "the second is the only one of its kind");
    found.sort();
    assert_eq!(found, addresses(&["1.1.1.1", "1.1.1.2", "2a01:4f8::1"]));
}

#[tokio::test]
async fn names_are_asked_for_as_they_are() {
    let server = NameServer::start(&[]).await;
    assert_eq!(records_of(server.dns().addresses("no-dots")).await, Ok(Vec::new()));
    assert_eq!(records_of(server.dns().addresses("example.org.")).await, Ok(Vec::new()));
    assert_eq!(
        server.asked(),
        [
            ("example.org.".to_owned(), RecordType::A),
            ("example.org.".to_owned(), RecordType::AAAA),
            ("no-dots.".to_owned(), RecordType::A),
            ("no-dots.".to_owned(), RecordType::AAAA),
        ],
    );
}

#[tokio::test]
async fn aliases_are_followed_within_an_answer_and_by_asking_on() {
    let (name, next, last) = ("alias.example.org.", "next.example.net.", "last.example.com.");
    let server = NameServer::start(&[
        (name, RecordType::A, Script::Answer(vec![cname(name, next), a(next, [1, 2, 3, 4])])),
        (name, RecordType::AAAA, Script::Answer(vec![cname(name, next), cname(next, last)])),
        (last, RecordType::AAAA, Script::Answer(vec![aaaa(last, V6)])),
    ])
    .await;
    let found = records_of(server.dns().addresses("alias.example.org")).await;
    assert_eq!(found, Ok(addresses(&["1.2.3.4", "2a01:4f8::1"])));
}

#[tokio::test]
async fn aliases_in_a_circle_have_no_address() {
    let (one, other) = ("one.example.org.", "other.example.org.");
    let there = Script::Answer(vec![cname(one, other)]);
    let back = Script::Answer(vec![cname(other, one)]);
    let server = NameServer::start(&[
        (one, RecordType::A, there.clone()),
        (one, RecordType::AAAA, there),
        (other, RecordType::A, back.clone()),
        (other, RecordType::AAAA, back),
    ])
    .await;
    assert_eq!(records_of(server.dns().addresses("one.example.org")).await, Ok(Vec::new()));
}

#[tokio::test]
async fn what_does_not_exist_is_empty_and_no_error() {
    let name = "nodata.example.org.";
    let server = NameServer::start(&[
        (name, RecordType::A, Script::Answer(Vec::new())),
        (name, RecordType::AAAA, Script::Answer(Vec::new())),
        (name, RecordType::SRV, Script::Answer(Vec::new())),
    ])
    .await;
    let dns = server.dns();
    for host in ["nodata.example.org", "nxdomain.example.org"] {
        assert_eq!(records_of(dns.addresses(host)).await, Ok(Vec::new()), "{host}");
        assert_eq!(records_of(dns.srv(host)).await, Ok(Vec::new()), "{host}");
    }
}

#[tokio::test]
async fn a_failing_name_server_is_an_error_that_names_the_question() {
    let name = "broken.example.org.";
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let server = NameServer::start(&[
            (name, RecordType::A, Script::Code(code)),
            (name, RecordType::AAAA, Script::Code(code)),
            (name, RecordType::SRV, Script::Code(code)),
        ])
        .await;
        let dns = server.dns();
        let error = records_of(dns.addresses("broken.example.org")).await.expect_err("no answer");
        assert_eq!(error.kind(), "dns", "{error}");
        assert!(error.text().contains("A records of broken.example.org."), "{error}");
        let error = records_of(dns.srv("broken.example.org")).await.expect_err("no answer");
        assert!(error.text().contains("SRV records of broken.example.org."), "{error}");
        assert_eq!(error.kind(), "dns", "{error}");
    }
}

#[tokio::test]
async fn one_kind_of_addresses_is_enough_beside_a_failure_of_the_other() {
    let name = "half.example.org.";
    let server = NameServer::start(&[
        (name, RecordType::A, Script::Answer(vec![a(name, [1, 1, 1, 1])])),
        (name, RecordType::AAAA, Script::Code(ResponseCode::ServFail)),
        ("empty.example.org.", RecordType::A, Script::Answer(Vec::new())),
        ("empty.example.org.", RecordType::AAAA, Script::Code(ResponseCode::ServFail)),
    ])
    .await;
    let dns = server.dns();
    assert_eq!(records_of(dns.addresses("half.example.org")).await, Ok(addresses(&["1.1.1.1"])));
    // Whether it has addresses is not known, which is not the same as that it has none.
    assert_eq!(
        records_of(dns.addresses("empty.example.org")).await.map_err(|e| e.kind()),
        Err("dns")
    );
}

#[tokio::test]
async fn a_silent_name_server_is_given_up_on() {
    let silent = Script::Silence;
    let name = "silent.example.org.";
    let server = NameServer::start(&[(name, RecordType::SRV, silent)]).await;
    let mut dns = server.dns();
    dns.timeout = Duration::from_millis(50);
    let error = records_of(dns.srv("silent.example.org")).await.expect_err("silence");
    assert_eq!(
        error,
        NetError::Dns("SRV records of silent.example.org.: no answer within 50ms".to_owned())
    );
}

#[tokio::test]
async fn srv_records_come_with_the_best_priority_first() {
    let name = "_matrix-fed._tcp.example.org.";
    let server = NameServer::start(&[(
        name,
        RecordType::SRV,
        Script::Answer(vec![
            srv(name, 20, 5, 8449, "b.example.org."),
            srv(name, 10, 7, 443, "a.example.org."),
            a("a.example.org.", [9, 9, 9, 9]),
        ]),
    )])
    .await;
    let target = |priority, weight, port, host: &str| SrvTarget {
        priority,
        weight,
        host: host.to_owned(),
        port,
    };
    assert_eq!(
        records_of(server.dns().srv("_matrix-fed._tcp.example.org")).await,
        Ok(vec![target(10, 7, 443, "a.example.org"), target(20, 5, 8449, "b.example.org")])
    );
}

#[tokio::test]
async fn the_srv_target_that_says_no_is_the_empty_name() {
    let name = "_matrix._tcp.example.org.";
    let none = Script::Answer(vec![srv(name, 0, 0, 0, ".")]);
    let server = NameServer::start(&[(name, RecordType::SRV, none)]).await;
    let found = records_of(server.dns().srv("_matrix._tcp.example.org")).await.expect("an answer");
    assert_eq!(found.iter().map(|target| target.host.as_str()).collect::<Vec<_>>(), [""]);
}

/// Some dynamic DNS providers do this (duckdns).
#[tokio::test]
async fn addresses_in_answer_to_an_srv_question_are_no_srv_records() {
    let name = "_matrix._tcp.example.org.";
    let odd = Script::Answer(vec![a(name, [1, 1, 1, 1])]);
    let server = NameServer::start(&[(name, RecordType::SRV, odd)]).await;
    assert_eq!(records_of(server.dns().srv("_matrix._tcp.example.org")).await, Ok(Vec::new()));
}

#[tokio::test]
async fn answers_are_cut_to_a_bound() {
    let (host, service) = ("many.example.org.", "_matrix._tcp.many.example.org.");
    let server = NameServer::start(&[
        (host, RecordType::A, Script::Answer((0..40).map(|n| a(host, [1, 1, 1, n])).collect())),
        (
            service,
            RecordType::SRV,
            Script::Answer((0..12).rev().map(|n| srv(service, n, 0, 1, "a.example.")).collect()),
        ),
    ])
    .await;
    let dns = server.dns();
    assert_eq!(records_of(dns.addresses("many.example.org")).await.map(|all| all.len()), Ok(16));
    let targets = records_of(dns.srv("_matrix._tcp.many.example.org")).await.expect("records");
    let priorities: Vec<u16> = targets.iter().map(|target| target.priority).collect();
    assert_eq!(priorities, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_is_enough() {
    let server = NameServer::start(&[]).await;
    let mut dns = server.dns();
    dns.hosts
        .read_hosts_conf("10.0.0.7 synapse.example.org synapse # compose\n".as_bytes())
        .expect("a hosts file");
    assert_eq!(
        records_of(dns.addresses("synapse.example.org")).await,
        Ok(addresses(&["10.0.0.7"]))
    );
    assert_eq!(records_of(dns.addresses("synapse")).await, Ok(addresses(&["10.0.0.7"])));
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn what_can_not_be_a_name_is_not_asked_for() {
    let server = NameServer::start(&[]).await;
    let long = "a".repeat(64);
    for host in [long.as_str(), "a..b"] {
        assert_eq!(
            records_of(server.dns().addresses(host)).await.map_err(|e| e.kind()),
            Err("dns"),
            "{host}"
        );
    }
    assert_eq!(server.asked(), []);
}

#[test]
fn without_name_servers_the_local_one_is_asked() {
    for (text, expected) in [
        ("", "127.0.0.1"),
        ("search example.org\n# nameserver 9.9.9.9\n", "127.0.0.1"),
        ("nameserver 9.9.9.9\n", "9.9.9.9"),
        ("search x\n  nameserver 2606:4700::1", "2606:4700::1"),
    ] {
        let text = or_local_name_server(text.as_bytes().to_vec());
        let (config, _) = system_conf::parse_resolv_conf(text).expect("a configuration");
        let servers: Vec<IpAddr> = config.name_servers().iter().map(|server| server.ip).collect();
        assert_eq!(servers, addresses(&[expected]), "{expected}");
    }
}

#[tokio::test]
async fn answers_are_remembered() {
    let (host, alias) = ("kept.example.org.", "alias.example.org.");
    let service = "_matrix._tcp.example.org.";
    let server = NameServer::start(&[
        (host, RecordType::A, Script::Answer(vec![a(host, [1, 1, 1, 1])])),
        (host, RecordType::AAAA, Script::Answer(vec![aaaa(host, V6)])),
        (alias, RecordType::A, Script::Answer(vec![cname(alias, host), a(host, [1, 1, 1, 1])])),
        (alias, RecordType::AAAA, Script::Answer(vec![cname(alias, host)])),
        (host, RecordType::SRV, Script::Code(ResponseCode::NoError)),
        (service, RecordType::SRV, Script::Answer(vec![srv(service, 1, 1, 1, host)])),
    ])
    .await;
    let dns = server.dns();
    let found = async || {
        let one = records_of(dns.addresses("kept.example.org")).await.expect("addresses");
        let other = records_of(dns.addresses("alias.example.org")).await.expect("addresses");
        (one, other, records_of(dns.srv("_matrix._tcp.example.org")).await.expect("records"))
    };
    let first = found().await;
    let asked = server.times_asked();
    assert_eq!(first.0, addresses(&["1.1.1.1", "2a01:4f8::1"]));
    assert_eq!(found().await, first);
    assert_eq!(
        records_of(dns.addresses("KEPT.example.org")).await.as_ref(),
        Ok(&first.0),
        "in any case"
    );
    assert_eq!(server.times_asked(), asked, "the second time, nothing is asked");
    let answered_by = dns.addresses(host).await.map(|found| found.answered_by);
    assert_eq!(answered_by, Ok(AnsweredBy::Memory));
    let answered_by = server.dns().srv(service).await.map(|found| found.answered_by);
    assert_eq!(answered_by, Ok(AnsweredBy::NameServer));
    for (name, no_such_name) in [("kept.example.org", false), ("nothing.example.org", true)] {
        for answered_by in [AnsweredBy::NameServer, AnsweredBy::Memory] {
            let none = Resolved { records: Vec::new(), answered_by, no_such_name };
            assert_eq!(dns.srv(name).await, Ok(none), "{name}");
        }
    }
}

/// Whether what was asked for `name` now is still remembered after `age`. The clock only stands still
/// while no packets are under way.
async fn lasts(server: &NameServer, name: &str, age: Duration) -> bool {
    let dns = server.dns();
    let first = records_of(dns.srv(name)).await.expect("an answer");
    let asked = server.times_asked();
    tokio::time::pause();
    tokio::time::advance(age).await;
    tokio::time::resume();
    assert_eq!(records_of(dns.srv(name)).await, Ok(first), "{name}");
    server.times_asked() == asked
}

#[tokio::test]
async fn answers_are_remembered_for_their_ttl_within_bounds() {
    let name = "example.org.";
    let alive = |ttl| {
        let mut record = srv(name, 1, 1, 1, "a.example.");
        record.ttl = ttl;
        Script::Answer(vec![record])
    };
    let table = [
        (alive(60), 60),
        (alive(3_601), 3_600),
        (alive(604_800), 3_600),
        (Script::Missing(60), 60),
        (Script::Missing(0), 5),
        (Script::Missing(86_400), 300),
        (Script::Code(ResponseCode::NXDomain), 5),
        (Script::Answer(Vec::new()), 5),
        (Script::Answer(vec![a(name, [1, 1, 1, 1])]), 5),
    ];
    for (script, seconds) in table {
        let server = NameServer::start(&[(name, RecordType::SRV, script)]).await;
        let lifetime = Duration::from_secs(seconds);
        // The real clock goes on between, by far less than two seconds.
        let before = lifetime - Duration::from_secs(2);
        assert!(lasts(&server, "example.org", before).await, "{seconds} s: too short");
        assert!(!lasts(&server, "example.org", lifetime).await, "{seconds} s: too long");
    }
}

#[tokio::test]
async fn of_a_large_answer_only_what_is_of_use_is_remembered() {
    let (host, alias) = ("many.example.org.", "alias.example.org.");
    let records = (0..40).map(|n| a(host, [1, 1, 1, n])).chain([cname(alias, host)]).collect();
    let server = NameServer::start(&[(host, RecordType::A, Script::Answer(records))]).await;
    let dns = server.dns();
    records_of(dns.addresses("many.example.org")).await.expect("addresses");
    let question = (absolute(host).expect("a name"), RecordType::A);
    let answer = dns.answers.get(&question).await.expect("an answer");
    assert_eq!((answer.records.len(), answer.records.capacity()), (16, 16));
}

#[tokio::test]
async fn failures_are_not_remembered() {
    let name = "broken.example.org.";
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let server = NameServer::start(&[(name, RecordType::SRV, Script::Code(code))]).await;
        let dns = server.dns();
        records_of(dns.srv("broken.example.org")).await.expect_err("no answer");
        let asked = server.times_asked();
        records_of(dns.srv("broken.example.org")).await.expect_err("no answer");
        assert!(server.times_asked() > asked, "{code}");
    }
}
