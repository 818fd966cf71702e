//! Names whose addresses change between two questions (threat F2): real DNS packets, real TLS. What
//! was checked is what is dialled, and a blocked address is never reached, although the origin
//! listens there as well, with its certificate and its keys.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hickory_resolver::proto::rr::{Record, RecordType};
use tokio::net::TcpListener;

use super::*;
use crate::net::NetMetrics;
use crate::net::address::AddressPolicy;
use crate::net::discovery::Ports;
use crate::net::dns::testing::{NameServer, Script, a, aaaa, cname, srv};
use crate::net::https::testing::{Authority, Peer, answer};
use crate::net::https::{HttpsTransport, Timeouts};

/// The one address that may be dialled.
const PERMITTED: [u8; 4] = [127, 0, 0, 1];

/// An address that may not.
const BLOCKED: [u8; 4] = [127, 0, 0, 2];

const HOST: &str = "a.example.";

type Lines = Vec<(&'static str, RecordType, Script)>;

/// A server, and what its name server says. `PORT` stands for the port that it listens on, which is
/// also the one where well-known documents are asked for and the default for federation.
struct Given {
    server: &'static str,
    /// What its well-known document says.
    delegated: &'static str,
    lines: fn(port: u16) -> Lines,
    /// How often it is connected to in all.
    connections: usize,
}

/// A server that is found by the address of its name alone.
const BY_PORT: Given =
    Given { server: "a.example:PORT", delegated: "", lines: |_| Vec::new(), connections: 0 };

/// A server that is asked for its well-known document first.
const BY_NAME: Given = Given { server: "a.example", ..BY_PORT };

/// Fetches the server's keys as often as there are verdicts.
async fn fetches(given: Given, verdicts: &[Verdict]) {
    // It is on all of loopback, and notes at which address it was dialled.
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fill = |text: &str| text.replace("PORT", &port.to_string());
    let mut server = TestServer::new(&fill(given.server));
    server.add_key(ID);
    // It gives one answer to everything, which is its key document and its well-known one.
    let mut document = server.unsigned();
    document["m.server"] = fill(given.delegated).into();
    let document = server.sign(document.to_string().as_bytes(), ID);
    let authority = Authority::new();
    let answer = answer("200 OK", std::str::from_utf8(&document).unwrap());
    let peer = Peer::start_on(listener, authority.server("a.example"), answer);

    let names = NameServer::start(&(given.lines)(port)).await;
    let policy = AddressPolicy::new(vec![IpAddr::from(PERMITTED).into()]);
    let ports = Ports { https: port, federation: port };
    let (dns, roots) = (Arc::new(names.dns()), authority.roots());
    let metrics = NetMetrics::new().expect("metrics");
    let transport =
        HttpsTransport::new(dns, policy, roots, None, ports, Timeouts::default(), &metrics);
    let fetcher = OriginFetcher::new(Arc::new(transport.unwrap()), banning([]));
    for (time, verdict) in verdicts.iter().enumerate() {
        let fetched = fetcher.fetch(&request(&server, &[ID])).await;
        let outcome = fetched
            .map(|documents| documents.iter().map(|keys| keys.verify_keys().len()).sum::<usize>())
            .map_err(|error| error.to_string().replace(&port.to_string(), "PORT"));
        let expected = verdict.map(|_| 1).map_err(str::to_owned);
        assert_eq!(outcome, expected, "time {time}");
    }
    assert_eq!(peer.dialled(), vec![IpAddr::from(PERMITTED); given.connections]);
}

/// The address of `host`, one of these each time.
fn in_turn(host: &'static str, addresses: &[[u8; 4]]) -> (&'static str, RecordType, Script) {
    let answers = addresses.iter().map(|ip| vec![a(host, *ip)]).collect();
    (host, RecordType::A, Script::InTurn(answers))
}

fn answers(
    host: &'static str,
    kind: RecordType,
    records: Vec<Record>,
) -> (&'static str, RecordType, Script) {
    (host, kind, Script::Answer(records))
}

const HONEST: Verdict = Ok(ID);

/// The verdict when `server` is not dialled at `place`, perhaps with more to tell.
macro_rules! blocked {
    ($server:literal, $place:literal $(, $more:literal)?) => {
        Err(concat!(
            "blocked address: ",
            $server,
            ": not dialled: ",
            $place,
            " is in 127.0.0.0/8 (loopback); set outbound.allowed_ranges if it is meant to be",
            $($more)?
        ))
    };
}

rows! { fetches;
    a_permitted_address_and_then_a_blocked_one: Given {
        lines: |_| vec![in_turn(HOST, &[PERMITTED, BLOCKED])],
        connections: 1,
        ..BY_PORT
    } =>
        HONEST,
        blocked!("a.example:PORT", "a.example:PORT: 127.0.0.2");
    a_blocked_address_and_then_a_permitted_one: Given {
        lines: |_| vec![in_turn(HOST, &[BLOCKED, PERMITTED])],
        connections: 1,
        ..BY_PORT
    } =>
        blocked!("a.example:PORT", "a.example:PORT: 127.0.0.2"),
        HONEST;
    an_address_that_goes_back_and_forth: Given {
        lines: |_| vec![in_turn(HOST, &[PERMITTED, BLOCKED, PERMITTED, BLOCKED])],
        connections: 2,
        ..BY_PORT
    } =>
        HONEST,
        blocked!("a.example:PORT", "a.example:PORT: 127.0.0.2"),
        HONEST,
        blocked!("a.example:PORT", "a.example:PORT: 127.0.0.2");
    a_blocked_address_beside_a_permitted_one: Given {
        lines: |_| vec![answers(HOST, RecordType::A, vec![a(HOST, BLOCKED), a(HOST, PERMITTED)])],
        connections: 1,
        ..BY_PORT
    } => HONEST;
    a_blocked_address_within_an_ipv6_one: Given {
        lines: |_| {
            let mapped = Ipv4Addr::from(BLOCKED).to_ipv6_mapped();
            vec![answers(HOST, RecordType::AAAA, vec![aaaa(HOST, mapped)])]
        },
        ..BY_PORT
    } => blocked!("a.example:PORT", "a.example:PORT: ::ffff:127.0.0.2");
    an_alias_of_a_blocked_name: Given {
        lines: |_| vec![
            answers(HOST, RecordType::A, vec![cname(HOST, "inside.example.")]),
            in_turn("inside.example.", &[BLOCKED]),
        ],
        ..BY_PORT
    } => blocked!("a.example:PORT", "a.example:PORT: 127.0.0.2");
    an_alias_that_changes: Given {
        lines: |_| {
            let alias = |host, ip| vec![cname(HOST, host), a(host, ip)];
            let both = vec![alias("web.example.", PERMITTED), alias("inside.example.", BLOCKED)];
            vec![(HOST, RecordType::A, Script::InTurn(both))]
        },
        connections: 1,
        ..BY_PORT
    } =>
        HONEST,
        blocked!("a.example:PORT", "a.example:PORT: 127.0.0.2");

    // The first question is for the well-known document, the second for the keys.
    a_change_after_the_well_known_document: Given {
        lines: |_| vec![in_turn(HOST, &[PERMITTED, BLOCKED])],
        connections: 1,
        ..BY_NAME
    } =>
        blocked!(
            "a.example",
            "a.example:PORT: 127.0.0.2",
            "; well-known: https://a.example: m.server is not a server name"
        );
    a_change_for_the_better_after_the_well_known_document: Given {
        lines: |_| vec![in_turn(HOST, &[BLOCKED, PERMITTED])],
        connections: 1,
        ..BY_NAME
    } => HONEST;
    a_delegation_to_a_blocked_address: Given {
        delegated: "127.0.0.2:PORT",
        lines: |_| vec![in_turn(HOST, &[PERMITTED])],
        connections: 1,
        ..BY_NAME
    } => blocked!("a.example", "127.0.0.2");
    a_delegation_to_a_blocked_name: Given {
        delegated: "inside.example:PORT",
        lines: |_| vec![in_turn(HOST, &[PERMITTED]), in_turn("inside.example.", &[BLOCKED])],
        connections: 1,
        ..BY_NAME
    } => blocked!("a.example", "inside.example:PORT: 127.0.0.2");
    a_delegation_to_its_own_name_that_changes: Given {
        delegated: "a.example:PORT",
        lines: |_| vec![in_turn(HOST, &[PERMITTED, PERMITTED, BLOCKED])],
        connections: 2,
        ..BY_NAME
    } =>
        HONEST,
        blocked!("a.example", "a.example:PORT: 127.0.0.2");
    a_blocked_srv_target: Given {
        lines: |port| vec![
            in_turn(HOST, &[PERMITTED]),
            answers(SERVICE, RecordType::SRV, vec![srv(SERVICE, 1, 1, port, "inside.example.")]),
            in_turn("inside.example.", &[BLOCKED]),
        ],
        connections: 1,
        ..BY_NAME
    } =>
        blocked!(
            "a.example",
            "inside.example:PORT: 127.0.0.2",
            "; well-known: https://a.example: m.server is not a server name"
        );
    an_srv_target_that_changes: Given {
        lines: |port| vec![
            in_turn(HOST, &[PERMITTED]),
            answers(SERVICE, RecordType::SRV, vec![srv(SERVICE, 1, 1, port, "web.example.")]),
            in_turn("web.example.", &[PERMITTED, BLOCKED]),
        ],
        connections: 2,
        ..BY_NAME
    } =>
        HONEST,
        blocked!(
            "a.example",
            "web.example:PORT: 127.0.0.2",
            "; well-known: https://a.example: m.server is not a server name"
        );
    srv_records_that_change: Given {
        lines: |port| {
            let to = |host| vec![srv(SERVICE, 1, 1, port, host)];
            vec![
                in_turn(HOST, &[PERMITTED]),
                (SERVICE, RecordType::SRV, Script::InTurn(vec![to(HOST), to("inside.example.")])),
                in_turn("inside.example.", &[BLOCKED]),
            ]
        },
        connections: 2,
        ..BY_NAME
    } =>
        HONEST,
        blocked!(
            "a.example",
            "inside.example:PORT: 127.0.0.2",
            "; well-known: https://a.example: m.server is not a server name"
        );
    a_blocked_srv_target_before_a_permitted_one: Given {
        lines: |port| vec![
            in_turn(HOST, &[PERMITTED]),
            answers(SERVICE, RecordType::SRV, vec![
                srv(SERVICE, 1, 1, port, "inside.example."),
                srv(SERVICE, 2, 1, port, HOST),
            ]),
            in_turn("inside.example.", &[BLOCKED]),
        ],
        connections: 2,
        ..BY_NAME
    } => HONEST;
}

const SERVICE: &str = "_matrix-fed._tcp.a.example.";
