//! Every row of the discovery table, from the name server's packets to the request (R73, R77): which
//! address is connected to, with which `Host` and SNI, and that no certificate but one for the right
//! name will do.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::*;
use crate::net::dns::testing::{NameServer, Script, a, aaaa, cname, srv};

type Line = (&'static str, RecordType, Script);

/// One row. `PORT` in a text stands for the federation peer's port. All names of `HOSTS` have an
/// address of their own, which tells where a request was led.
struct Row {
    server: &'static str,
    /// What the well-known document says, if there is one.
    delegated: Option<&'static str>,
    /// More that the name server knows.
    records: fn(port: u16) -> Vec<Line>,
    /// Whether the federation peer listens on the port that is used where nothing names another.
    on_default_port: bool,
    /// Where the federation peer listens.
    listens: &'static str,
    /// The SRV records that are asked for.
    srv_asked: &'static [&'static str],
    dialled: &'static str,
    host_header: &'static str,
    sni: Option<&'static str>,
    certificate: &'static str,
}

/// Each name and its address.
const HOSTS: [(&str, [u8; 4]); 4] = [
    ("example.org.", [127, 0, 0, 1]),
    ("matrix.example.net.", [127, 0, 0, 2]),
    ("srv.example.com.", [127, 0, 0, 3]),
    ("old.example.com.", [127, 0, 0, 4]),
];

/// What certificates may be for.
const CERTIFICATES: [&str; 9] = [
    "example.org",
    "matrix.example.net",
    "srv.example.com",
    "old.example.com",
    "127.0.0.1",
    "127.0.0.2",
    "127.0.0.3",
    "127.0.0.4",
    "::1",
];

const FED: &str = "_matrix-fed._tcp.example.org.";
const OLD: &str = "_matrix._tcp.example.org.";
const DELEGATED_FED: &str = "_matrix-fed._tcp.matrix.example.net.";
const DELEGATED_OLD: &str = "_matrix._tcp.matrix.example.net.";

/// A server that is found by its name alone.
const NAME: Row = Row {
    server: "example.org",
    delegated: None,
    records: |_| Vec::new(),
    on_default_port: false,
    listens: "0.0.0.0",
    srv_asked: &[FED, OLD],
    dialled: "127.0.0.1",
    host_header: "example.org",
    sni: Some("example.org"),
    certificate: "example.org",
};

/// A server that is found by its address.
const ADDRESS: Row = Row { srv_asked: &[], sni: None, certificate: "127.0.0.1", ..NAME };

const IPV6: Row = Row { listens: "::1", dialled: "::1", certificate: "::1", ..ADDRESS };

/// A server that delegates to another name.
const DELEGATED: Row = Row {
    delegated: Some("matrix.example.net"),
    srv_asked: &[DELEGATED_FED, DELEGATED_OLD],
    dialled: "127.0.0.2",
    host_header: "matrix.example.net",
    sni: Some("matrix.example.net"),
    certificate: "matrix.example.net",
    ..NAME
};

/// The SRV records of a name.
fn service(name: &'static str, targets: &[(u16, u16, &str)]) -> Line {
    let records = targets.iter().map(|(priority, port, host)| srv(name, *priority, 1, *port, host));
    (name, RecordType::SRV, Script::Answer(records.collect()))
}

/// Everything of one attempt to send a request.
struct Attempt {
    outcome: Result<FederationResponse, NetError>,
    names: NameServer,
    peer: Peer,
    web: Peer,
}

impl Attempt {
    /// Sends a request to the row's server, whose certificate is for this name.
    async fn new(row: &Row, authority: &Authority, certificate: &str) -> Self {
        let any: IpAddr = "0.0.0.0".parse().expect("an address");
        let listens: IpAddr = row.listens.parse().expect("an address");
        let peer = Peer::start_at(listens, authority.server(certificate), ok()).await;
        let fill = |text: &str| text.replace("PORT", &peer.port().to_string());
        let document = row.delegated.map_or_else(
            || answer("404 Not Found", ""),
            |delegated| answer("200 OK", &format!(r#"{{"m.server":"{}"}}"#, fill(delegated))),
        );
        let web = Peer::start_at(any, authority.server("example.org"), document).await;
        // What a row says of a name counts.
        let hosts =
            HOSTS.map(|(host, ip)| (host, RecordType::A, Script::Answer(vec![a(host, ip)])));
        let lines: Vec<Line> = hosts.into_iter().chain((row.records)(peer.port())).collect();
        let names = NameServer::start(&lines).await;
        let federation = if row.on_default_port { peer.port() } else { 1 };
        let ports = Ports { https: web.port(), federation };
        let allowed = ["127.0.0.0/8", "::1/128"];
        let transport = transport_to(&allowed, names.dns(), authority, ports, Timeouts::default());
        let outcome = transport.send(&server_name(&fill(row.server)), get()).await;
        Self { outcome, names, peer, web }
    }

    fn srv_asked(&self) -> Vec<String> {
        let asked = self.names.asked().into_iter();
        asked.filter(|(_, kind)| *kind == RecordType::SRV).map(|(name, _)| name).collect()
    }
}

/// With the right certificate the request arrives as it should; with any other it does not.
async fn holds(row: Row) {
    let authority = Authority::new();
    let attempt = Attempt::new(&row, &authority, row.certificate).await;
    let peer = &attempt.peer;
    let answer = attempt.outcome.as_ref().unwrap_or_else(|error| panic!("{}: {error}", row.server));
    assert_eq!((answer.status, &*answer.body), (200, b"{}".as_slice()));
    let [seen] = &*peer.requests() else { panic!("not one request: {:?}", peer.requests()) };
    assert!(seen.head.starts_with("GET /_matrix/key/v2/server HTTP/1.1\r\n"), "{}", seen.head);
    let host_header = row.host_header.replace("PORT", &peer.port().to_string());
    assert_eq!(seen.header("host"), Some(&*host_header));
    assert_eq!(seen.sni.as_deref(), row.sni);
    assert_eq!(peer.dialled(), addresses(&[row.dialled]));
    assert_eq!(attempt.srv_asked(), row.srv_asked);

    // Only the server's own name is asked for a well-known document (R76).
    let asks_well_known = row.server == "example.org";
    assert_eq!(attempt.web.connections(), usize::from(asks_well_known));
    for seen in attempt.web.requests() {
        assert!(seen.head.starts_with("GET /.well-known/matrix/server HTTP/1.1\r\n"));
        assert_eq!(seen.header("host"), Some("example.org"));
        assert_eq!(seen.sni.as_deref(), Some("example.org"));
    }

    for other in CERTIFICATES.into_iter().filter(|name| *name != row.certificate) {
        let attempt = Attempt::new(&row, &authority, other).await;
        let error = attempt.outcome.expect_err("the wrong certificate");
        assert_eq!(error.kind(), "tls", "{other}: {error}");
        assert!(error.text().contains("not valid for name"), "{other}: {error}");
        assert_eq!(attempt.peer.dialled().first(), addresses(&[row.dialled]).first(), "{other}");
        assert_eq!(attempt.peer.requests().len(), 0, "{other}");
    }
}

/// The server is not found: no request is sent, and this is why.
async fn fails(row: Row, cause: &str) {
    let authority = Authority::new();
    let attempt = Attempt::new(&row, &authority, row.certificate).await;
    let error = attempt.outcome.as_ref().expect_err(row.server);
    assert_eq!(error.to_string().replace(&attempt.web.port().to_string(), "HTTPS"), cause);
    assert_eq!(attempt.peer.connections(), 0);
    assert_eq!(attempt.srv_asked(), row.srv_asked);
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

/// One test for each row.
macro_rules! rows {
    ($($name:ident: $row:expr;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                holds($row).await;
            }
        )+
    };
}

rows! {
    r73_step_1_an_ipv4_address: Row {
        server: "127.0.0.1",
        on_default_port: true,
        host_header: "127.0.0.1",
        ..ADDRESS
    };
    r73_step_1_an_ipv4_address_with_a_port: Row {
        server: "127.0.0.1:PORT",
        host_header: "127.0.0.1:PORT",
        ..ADDRESS
    };
    r73_step_1_an_ipv6_address: Row {
        server: "[::1]",
        on_default_port: true,
        host_header: "[::1]",
        ..IPV6
    };
    r73_step_1_an_ipv6_address_with_a_port: Row {
        server: "[::1]:PORT",
        host_header: "[::1]:PORT",
        ..IPV6
    };

    r73_step_2_a_port: Row {
        server: "example.org:PORT",
        // None of this is asked for.
        delegated: Some("matrix.example.net"),
        records: |port| vec![service(FED, &[(1, port, "srv.example.com.")])],
        srv_asked: &[],
        host_header: "example.org:PORT",
        ..NAME
    };
    r73_step_2_a_port_and_an_alias: Row {
        server: "example.org:PORT",
        records: |_| vec![alias("example.org.", "srv.example.com.")],
        srv_asked: &[],
        dialled: "127.0.0.3",
        host_header: "example.org:PORT",
        ..NAME
    };
    r73_step_2_a_port_and_an_ipv6_address: Row {
        server: "example.org:PORT",
        records: |_| only_ipv6("example.org."),
        listens: "::1",
        srv_asked: &[],
        dialled: "::1",
        host_header: "example.org:PORT",
        ..NAME
    };

    r73_step_3_1_delegation_to_an_ipv4_address: Row {
        delegated: Some("127.0.0.1"),
        on_default_port: true,
        host_header: "127.0.0.1",
        ..ADDRESS
    };
    r73_step_3_1_delegation_to_an_ipv4_address_with_a_port: Row {
        delegated: Some("127.0.0.1:PORT"),
        host_header: "127.0.0.1:PORT",
        ..ADDRESS
    };
    r73_step_3_1_delegation_to_an_ipv6_address: Row {
        delegated: Some("[::1]"),
        on_default_port: true,
        host_header: "[::1]",
        ..IPV6
    };
    r73_step_3_1_delegation_to_an_ipv6_address_with_a_port: Row {
        delegated: Some("[::1]:PORT"),
        host_header: "[::1]:PORT",
        ..IPV6
    };

    r73_step_3_2_delegation_with_a_port: Row {
        delegated: Some("matrix.example.net:PORT"),
        records: |port| vec![service(DELEGATED_FED, &[(1, port, "srv.example.com.")])],
        srv_asked: &[],
        host_header: "matrix.example.net:PORT",
        ..DELEGATED
    };
    r73_step_3_2_delegation_with_a_port_and_an_alias: Row {
        delegated: Some("matrix.example.net:PORT"),
        records: |_| vec![alias("matrix.example.net.", "srv.example.com.")],
        srv_asked: &[],
        dialled: "127.0.0.3",
        host_header: "matrix.example.net:PORT",
        ..DELEGATED
    };

    r73_step_3_3_delegation_and_srv_records: Row {
        records: |port| vec![
            service(DELEGATED_FED, &[(1, port, "srv.example.com.")]),
            // Deprecated, and of the delegating name: neither counts.
            service(DELEGATED_OLD, &[(1, port, "old.example.com.")]),
            service(FED, &[(1, port, "old.example.com.")]),
        ],
        srv_asked: &[DELEGATED_FED],
        dialled: "127.0.0.3",
        ..DELEGATED
    };
    r73_step_3_4_delegation_and_deprecated_srv_records: Row {
        records: |port| vec![
            service(DELEGATED_OLD, &[(1, port, "old.example.com.")]),
            service(FED, &[(1, port, "srv.example.com.")]),
        ],
        dialled: "127.0.0.4",
        ..DELEGATED
    };
    r73_step_3_5_delegation_and_the_default_port: Row { on_default_port: true, ..DELEGATED };
    r73_step_3_5_delegation_the_default_port_and_an_alias: Row {
        on_default_port: true,
        records: |_| vec![alias("matrix.example.net.", "srv.example.com.")],
        dialled: "127.0.0.3",
        ..DELEGATED
    };

    r73_step_4_srv_records: Row {
        records: |port| vec![
            service(FED, &[(1, port, "srv.example.com.")]),
            service(OLD, &[(1, port, "old.example.com.")]),
        ],
        srv_asked: &[FED],
        dialled: "127.0.0.3",
        ..NAME
    };
    r73_step_5_deprecated_srv_records: Row {
        records: |port| vec![service(OLD, &[(1, port, "old.example.com.")])],
        dialled: "127.0.0.4",
        ..NAME
    };
    r73_step_6_the_default_port: Row { on_default_port: true, ..NAME };
    r73_step_6_the_default_port_and_an_alias: Row {
        on_default_port: true,
        // The web server is found by the alias too.
        records: |_| vec![alias("example.org.", "srv.example.com.")],
        dialled: "127.0.0.3",
        ..NAME
    };
    r73_step_6_the_default_port_and_both_kinds_of_addresses: Row {
        on_default_port: true,
        records: |_| {
            let unused = aaaa("example.org.", std::net::Ipv6Addr::LOCALHOST);
            vec![("example.org.", RecordType::AAAA, Script::Answer(vec![unused]))]
        },
        ..NAME
    };

    // A delegation that can not be followed is passed over.
    r74_delegation_to_what_is_no_name: Row {
        delegated: Some("https://matrix.example.net"),
        on_default_port: true,
        ..NAME
    };
    r74_delegation_to_nothing_and_srv_records: Row {
        delegated: Some(""),
        records: |port| vec![service(FED, &[(1, port, "srv.example.com.")])],
        srv_asked: &[FED],
        dialled: "127.0.0.3",
        ..NAME
    };

    // SRV records (RFC 2782).
    srv_targets_of_the_best_priority_come_first: Row {
        records: |port| vec![service(FED, &[
            (20, port, "old.example.com."),
            (10, port, "srv.example.com."),
            (30, port, "example.org."),
        ])],
        srv_asked: &[FED],
        dialled: "127.0.0.3",
        ..NAME
    };
    srv_targets_of_worse_priority_follow_where_a_port_is_closed: Row {
        records: |port| vec![service(FED, &[
            (20, port, "old.example.com."),
            (10, 1, "srv.example.com."),
        ])],
        srv_asked: &[FED],
        dialled: "127.0.0.4",
        ..NAME
    };
    srv_targets_of_worse_priority_follow_where_a_name_has_no_address: Row {
        records: |port| vec![service(FED, &[
            (20, port, "old.example.com."),
            (10, port, "nowhere.example."),
        ])],
        srv_asked: &[FED],
        dialled: "127.0.0.4",
        ..NAME
    };
    srv_targets_of_the_same_priority_stand_in_for_each_other: Row {
        records: |port| vec![service(FED, &[
            (10, 1, "example.org."),
            (10, port, "srv.example.com."),
            (10, 1, "old.example.com."),
        ])],
        srv_asked: &[FED],
        dialled: "127.0.0.3",
        ..NAME
    };
    an_srv_target_that_says_no_beside_one_that_does_not: Row {
        records: |port| vec![service(FED, &[(10, 0, "."), (20, port, "srv.example.com.")])],
        srv_asked: &[FED],
        dialled: "127.0.0.3",
        ..NAME
    };
    // It must be none (RFC 2782), and is followed all the same.
    an_srv_target_that_is_an_alias: Row {
        records: |port| vec![
            service(FED, &[(10, port, "alias.example.com.")]),
            alias("alias.example.com.", "srv.example.com."),
        ],
        srv_asked: &[FED],
        dialled: "127.0.0.3",
        ..NAME
    };
    addresses_where_srv_records_belong: Row {
        on_default_port: true,
        records: |_| vec![(FED, RecordType::SRV, Script::Answer(vec![a(FED, [127, 0, 0, 3])]))],
        ..NAME
    };
}

/// `name` as an alias of `target`, whose address has to be asked for.
fn alias(name: &'static str, target: &str) -> Line {
    (name, RecordType::A, Script::Answer(vec![cname(name, target)]))
}

/// `name` with an IPv6 address and no other.
fn only_ipv6(name: &'static str) -> Vec<Line> {
    let address = aaaa(name, std::net::Ipv6Addr::LOCALHOST);
    vec![
        (name, RecordType::A, Script::Answer(Vec::new())),
        (name, RecordType::AAAA, Script::Answer(vec![address])),
    ]
}

#[tokio::test]
async fn an_srv_target_can_say_that_there_is_no_service() {
    let row = Row {
        records: |port| {
            vec![service(FED, &[(0, 0, ".")]), service(OLD, &[(1, port, "old.example.com.")])]
        },
        on_default_port: true,
        srv_asked: &[FED],
        ..NAME
    };
    let cause = "example.org: _matrix-fed._tcp.example.org says that there is no such service";
    fails(row, cause).await;
}

#[tokio::test]
async fn a_failing_name_server_is_not_taken_for_missing_srv_records() {
    let row = Row {
        records: |_| vec![(FED, RecordType::SRV, Script::Code(ResponseCode::ServFail))],
        on_default_port: true,
        srv_asked: &[FED],
        ..NAME
    };
    let cause = "example.org: SRV records of _matrix-fed._tcp.example.org.: DNS error: error \
                 response: Server Failure";
    fails(row, cause).await;
}

#[tokio::test]
async fn a_name_without_addresses_is_not_found() {
    let srv_asked = &["_matrix-fed._tcp.nowhere.example.", "_matrix._tcp.nowhere.example."];
    let cause = "nowhere.example: nowhere.example:1: the name has no address; well-known: \
                 nowhere.example:HTTPS: the name has no address";
    fails(Row { server: "nowhere.example", srv_asked, ..NAME }, cause).await;
}
