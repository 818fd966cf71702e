//! Origins that misbehave on the wire: real sockets and real TLS below the fetcher.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::net::NetMetrics;
use crate::net::address::AddressPolicy;
use crate::net::discovery::Ports;
use crate::net::dns::testing::NameServer;
use crate::net::https::testing::{Authority, Manner, Peer};
use crate::net::https::{HttpsTransport, Timeouts};

/// An origin found by its address, so that there is nothing but the one connection.
const NAME: &str = "127.0.0.1";

/// The server whose keys are asked for here.
fn server() -> TestServer {
    let mut server = TestServer::new(NAME);
    server.add_key(ID);
    server
}

fn document() -> Vec<u8> {
    server().document()
}

/// The usual times, but for the stage that never comes to its end.
fn timeouts(manner: &Manner) -> Timeouts {
    let usual = Timeouts::default();
    let short = Duration::from_millis(50);
    match manner {
        Manner::Silent => Timeouts { tls: short, ..usual },
        Manner::Stall(bytes) if bytes.windows(4).any(|end| end == b"\r\n\r\n") => {
            Timeouts { body: short, ..usual }
        }
        Manner::Stall(_) => Timeouts { head: short, ..usual },
        Manner::Answer(_) | Manner::Flood(_) | Manner::Plain(_) | Manner::Close => usual,
    }
}

/// The verdict when there is no answer for this reason.
macro_rules! no_answer {
    ($kind:literal, $reason:literal) => {
        Err(concat!($kind, ": 127.0.0.1: 127.0.0.1:PORT: ", $reason))
    };
}

/// Judges what becomes of an origin that behaves like this.
async fn origin_that(manner: Manner, verdicts: &[Verdict]) {
    let timeouts = timeouts(&manner);
    let authority = Authority::new();
    let peer = Peer::start(authority.server(NAME), manner).await;
    let dns = NameServer::start(&[]).await;
    let policy = AddressPolicy::new(vec!["127.0.0.1/32".parse().unwrap()]);
    let ports = Ports { https: 1, federation: peer.port() };
    let metrics = NetMetrics::new().expect("metrics");
    let transport = HttpsTransport::new(
        Arc::new(dns.dns()),
        policy,
        authority.roots(),
        None,
        ports,
        timeouts,
        &metrics,
    );
    let fetcher = OriginFetcher::new(Arc::new(transport.unwrap()), banning([]));
    let fetched = fetcher.fetch(&request(&server(), &[ID])).await;

    let keys = |documents: Vec<ServerKeys>| {
        let [keys] = documents.as_slice() else { panic!("{documents:?}") };
        assert_eq!(keys.raw(), &document());
        keys.verify_keys().keys().map(KeyId::as_str).collect::<Vec<_>>().join(", ")
    };
    let port = peer.port().to_string();
    let outcome = fetched.map(keys).map_err(|error| error.to_string().replace(&port, "PORT"));
    assert_eq!(outcome, verdicts[0].map(str::to_owned).map_err(str::to_owned));
    // Nothing is asked twice, and of what never ends little is taken.
    assert_eq!(peer.connections(), 1);
    assert!(peer.flooded_bytes() < 32 << 20, "{}", peer.flooded_bytes());
    assert_eq!(dns.times_asked(), 0);
}

/// An answer with this head, to which a length is added, and this body.
fn answer(head: &str, body: &[u8]) -> Manner {
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
    Manner::Answer([head.as_bytes(), body].concat())
}

/// An answer with exactly this head and the document.
fn under(head: &str) -> Manner {
    Manner::Answer([head.as_bytes(), b"\r\n\r\n", &document()].concat())
}

/// An answer with the document under a length that differs from its own by so much.
fn length_off_by(difference: isize) -> Manner {
    let length = document().len().checked_add_signed(difference).unwrap();
    under(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}"))
}

/// The document, or what else there is, in chunks of `size` bytes and then this end.
fn chunked(body: &[u8], size: usize, end: &str) -> Manner {
    let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(size) {
        bytes.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    bytes.extend(end.as_bytes());
    Manner::Answer(bytes)
}

fn text(text: &str) -> Manner {
    Manner::Answer(text.as_bytes().to_vec())
}

/// `{}` packed by gzip.
const GZIP: &[u8] = &[
    0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0xff, 0xab, 0xae, 0x05, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0,
    0,
];

const HONEST: Verdict = Ok(ID);

rows! { origin_that;
    // Odd, and good enough.
    an_honest_answer: answer("200 OK", &document()) => HONEST;
    a_document_called_html: answer("200 OK\r\nContent-Type: text/html", &document()) => HONEST;
    a_reason_that_is_none: answer("200 ", &document()) => HONEST;
    headers_in_capitals: answer("200 OK\r\nCONNECTION: KEEP-ALIVE", &document()) => HONEST;
    chunks: chunked(&document(), 100, "0\r\n\r\n") => HONEST;
    chunks_of_one_byte: chunked(&document(), 1, "0\r\n\r\n") => HONEST;
    chunks_with_a_trailer: chunked(&document(), 100, "0\r\nX: y\r\n\r\n") => HONEST;
    an_answer_until_the_end: under("HTTP/1.1 200 OK") => HONEST;
    an_answer_of_http_1_0: under("HTTP/1.0 200 OK") => HONEST;
    a_hint_before_the_answer: {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
        let length = document().len();
        under(&format!("{hint}HTTP/1.1 200 OK\r\nContent-Length: {length}"))
    } => HONEST;
    a_second_answer_behind: {
        let length = document().len();
        let body = [document(), b"HTTP/1.1 200 OK\r\n\r\n{}".to_vec()].concat();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        Manner::Answer([head.into_bytes(), body].concat())
    } => HONEST;
    a_hundred_headers: answer(&format!("200 OK{}", "\r\nX: y".repeat(99)), &document()) => HONEST;
    a_head_of_30_kib: {
        answer(&format!("200 OK\r\nX: {}", "x".repeat(30 << 10)), &document())
    } => HONEST;

    // Other answers than a document.
    no_content: text("HTTP/1.1 204 No Content\r\n\r\n") => Err("answered with HTTP status 204");
    an_empty_body: answer("200 OK", b"") => not_json!("the text is not JSON at byte 0");
    an_empty_body_of_chunks: chunked(b"", 1, "0\r\n\r\n") =>
        not_json!("the text is not JSON at byte 0");
    created: answer("201 Created", &document()) => Err("answered with HTTP status 201");
    partial_content: answer("206 Partial Content", &document()) =>
        Err("answered with HTTP status 206");
    html: answer("200 OK\r\nContent-Type: text/html", b"<!DOCTYPE html><p>It works!") =>
        not_json!("the text is not JSON at byte 0");
    not_found: answer("404 Not Found", b"<html>") => Err("answered with HTTP status 404");
    not_found_with_the_document: answer("404 Not Found", &document()) =>
        Err("answered with HTTP status 404");
    gone: answer("410 Gone", b"") => Err("answered with HTTP status 410");
    too_many_requests: answer("429 Too Many Requests\r\nRetry-After: 86400", b"{}") =>
        Err("answered with HTTP status 429");
    an_internal_error: answer("500 Internal Server Error", b"") =>
        Err("answered with HTTP status 500");
    a_bad_gateway: answer("502 Bad Gateway", b"<html>") => Err("answered with HTTP status 502");
    unavailable: answer("503 Service Unavailable\r\nRetry-After: 1", b"") =>
        Err("answered with HTTP status 503");
    an_unknown_status: answer("999 Whatever", &document()) => Err("answered with HTTP status 999");

    // Compressed, although nothing of the kind was offered.
    gzip: answer("200 OK\r\nContent-Encoding: gzip", GZIP) =>
        no_answer!("http", "the answer is compressed, unasked");
    gzip_unsaid: answer("200 OK", GZIP) => not_json!("the text is not UTF-8 at byte 1");
    gzip_as_transfer_coding: {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n";
        Manner::Answer([head, GZIP].concat())
    } => not_json!("the text is not UTF-8 at byte 1");
    brotli: answer("200 OK\r\nContent-Encoding: br", b"x") =>
        no_answer!("http", "the answer is compressed, unasked");
    an_encoding_that_is_none: answer("200 OK\r\nContent-Encoding: identity", &document()) =>
        no_answer!("http", "the answer is compressed, unasked");

    // Large.
    the_largest_body: answer("200 OK", &vec![b' '; 65_536]) =>
        not_json!("the text is not JSON at byte 65536");
    a_body_one_byte_larger: answer("200 OK", &vec![b' '; 65_537]) =>
        no_answer!("answer too large", "the answer is larger than 65536 bytes");
    chunks_one_byte_larger: chunked(&[b' '; 65_537], 65_537, "0\r\n\r\n") =>
        no_answer!("answer too large", "the answer is larger than 65536 bytes");
    a_gigabyte_announced: Manner::Flood("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n") =>
        no_answer!("answer too large", "the answer is larger than 65536 bytes");
    a_gigabyte_in_one_chunk: {
        Manner::Flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n")
    } => no_answer!("answer too large", "the answer is larger than 65536 bytes");
    a_body_without_end: Manner::Flood("HTTP/1.1 200 OK\r\n\r\n") =>
        no_answer!("answer too large", "the answer is larger than 65536 bytes");
    a_body_without_end_of_http_1_0: Manner::Flood("HTTP/1.0 200 OK\r\n\r\n") =>
        no_answer!("answer too large", "the answer is larger than 65536 bytes");
    an_error_without_end: Manner::Flood("HTTP/1.1 500 No\r\n\r\n") =>
        no_answer!("answer too large", "the answer is larger than 65536 bytes");
    a_redirect_without_end: Manner::Flood("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n") =>
        Err("answered with HTTP status 302");
    a_chunk_size_without_end: {
        Manner::Flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    } =>
        no_answer!(
            "http",
            "error reading a body from connection: unexpected EOF during chunk size line"
        );
    a_chunk_extension_without_end: {
        Manner::Flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    } => no_answer!("http", "error reading a body from connection: chunk extensions over limit");
    a_trailer_without_end: {
        Manner::Flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ")
    } =>
        no_answer!("http", "error reading a body from connection: chunk trailers bytes over limit");
    a_chunk_extension_on_each_byte: {
        let extension = format!("1;{}\r\n", "x".repeat(1_000));
        let chunks: String =
            document().iter().map(|b| format!("{extension}{}\r\n", char::from(*b))).collect();
        text(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"))
    } => no_answer!("http", "error reading a body from connection: chunk extensions over limit");
    a_header_without_end: Manner::Flood("HTTP/1.1 200 OK\r\nX: ") =>
        no_answer!("answer too large", "the head of the answer is too large");
    a_status_line_without_end: Manner::Flood("HTTP/1.1 200 ") =>
        no_answer!("answer too large", "the head of the answer is too large");
    a_head_of_33_kib: text(&format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(33 << 10))) =>
        no_answer!("answer too large", "the head of the answer is too large");
    too_many_headers: text(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101))) =>
        no_answer!("answer too large", "the head of the answer is too large");
    hints_without_end: text(&"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100_000)) =>
        no_answer!("http", "connection closed before message completed");

    // Broken off, or framed wrongly.
    a_body_cut_short: length_off_by(1) =>
        no_answer!(
            "http",
            "error reading a body from connection: end of file before message length reached"
        );
    a_body_longer_than_announced: length_off_by(-1) =>
        not_json!("the text is not JSON at byte 314");
    chunks_cut_short: chunked(&document(), 100, "") =>
        no_answer!(
            "http",
            "error reading a body from connection: unexpected EOF during chunk size line"
        );
    a_chunk_cut_short: chunked(&document(), 100, "9\r\nab") =>
        no_answer!(
            "http",
            "error reading a body from connection: end of file before message length reached"
        );
    a_head_cut_short: text("HTTP/1.1 200 OK\r\nContent-") =>
        no_answer!("http", "connection closed before message completed");
    no_answer_at_all: text("") => no_answer!("http", "connection closed before message completed");
    two_lengths: under("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3") =>
        no_answer!("http", "invalid content-length parsed");
    a_negative_length: under("HTTP/1.1 200 OK\r\nContent-Length: -1") =>
        no_answer!("http", "invalid content-length parsed");
    a_length_beyond_64_bits: {
        under("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616")
    } => no_answer!("http", "invalid content-length parsed");
    a_length_in_words: under("HTTP/1.1 200 OK\r\nContent-Length: many") =>
        no_answer!("http", "invalid content-length parsed");
    a_length_beside_chunks: {
        text("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    } => not_json!("the text is not JSON at byte 0");
    a_chunk_size_that_overflows: {
        text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n")
    } => no_answer!("http", "error reading a body from connection: invalid chunk size: overflow");
    a_chunk_size_that_is_none: {
        text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")
    } =>
        no_answer!(
            "http",
            "error reading a body from connection: Invalid chunk size line: missing size digit"
        );
    a_folded_header: text("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n") =>
        no_answer!("http", "invalid HTTP header parsed");
    a_nul_in_a_header: text("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n") =>
        no_answer!("http", "invalid HTTP header parsed");
    a_header_without_a_colon: text("HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n") =>
        no_answer!("http", "invalid HTTP header parsed");

    // Another protocol.
    ssh: text("SSH-2.0-OpenSSH_9.2\r\n") => no_answer!("http", "invalid HTTP version parsed");
    smtp: text("220 mail.example ESMTP\r\n") => no_answer!("http", "invalid HTTP version parsed");
    http_0_9: text("<html>It works!</html>\r\n\r\n") =>
        no_answer!("http", "invalid HTTP version parsed");
    http_2: text("HTTP/2.0 200 OK\r\n\r\n") => no_answer!("http", "invalid HTTP version parsed");
    a_status_of_four_digits: text("HTTP/1.1 2000 OK\r\n\r\n") =>
        no_answer!("http", "invalid HTTP status-code parsed");
    switching_protocols: text("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n") =>
        Err("answered with HTTP status 101");
    plain_http_on_the_tls_port: {
        Manner::Plain("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    } => no_answer!("tls", "TLS: received corrupt message of type InvalidContentType");
    a_connection_closed_at_once: Manner::Plain("") => no_answer!("tls", "TLS: tls handshake eof");

    // Slow.
    a_handshake_that_never_comes: Manner::Silent =>
        no_answer!("timeout", "no TLS handshake within 50ms");
    a_head_that_never_comes: Manner::Stall(Vec::new()) =>
        no_answer!("timeout", "no answer within 50ms");
    a_head_that_stops: Manner::Stall(b"HTTP/1.1 200 OK\r\nX: y".to_vec()) =>
        no_answer!("timeout", "no answer within 50ms");
    a_body_that_never_comes: Manner::Stall(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()) =>
        no_answer!("timeout", "the answer did not end within 50ms");
    a_body_that_stops: {
        Manner::Stall([b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", &*document()].concat())
    } => no_answer!("timeout", "the answer did not end within 50ms");
    a_chunk_that_stops: {
        Manner::Stall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".to_vec())
    } => no_answer!("timeout", "the answer did not end within 50ms");
}

/// Redirects of a request for keys lead nowhere, least of all to loopback.
async fn redirect(status: &str, verdicts: &[Verdict]) {
    let authority = Authority::new();
    let hidden_ip = Ipv4Addr::new(127, 0, 0, 2);
    let honest = answer("200 OK", &document());
    let hidden = Peer::start_at(hidden_ip, authority.server("127.0.0.2"), honest).await;
    let location = format!("https://127.0.0.2:{}/_matrix/key/v2/server", hidden.port());
    let head = format!("{status}\r\nLocation: {location}");
    origin_that(answer(&head, &document()), verdicts).await;
    assert_eq!(hidden.connections(), 0);
}

rows! { redirect;
    multiple_choices_on_loopback: "300 Multiple Choices" => Err("answered with HTTP status 300");
    moved_to_loopback: "301 Moved Permanently" => Err("answered with HTTP status 301");
    found_on_loopback: "302 Found" => Err("answered with HTTP status 302");
    see_loopback: "303 See Other" => Err("answered with HTTP status 303");
    not_modified: "304 Not Modified" => Err("answered with HTTP status 304");
    for_now_on_loopback: "307 Temporary Redirect" => Err("answered with HTTP status 307");
    for_good_on_loopback: "308 Permanent Redirect" => Err("answered with HTTP status 308");
}
