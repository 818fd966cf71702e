//! Bodies of all sizes and framings arrive as they were sent; what is over the cap is not read.

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::AsyncWriteExt;

use crate::support::client::{H2Body, H2Client};
use crate::support::homeserver::full;
use crate::support::{Client, Gate, GateOptions, Homeserver, OWN_NAME, Origin, within};

const PUT: &str = "/_matrix/federation/v1/send/1";
/// Takes any body, signed by nobody.
const OPEN: &str = "/_matrix/key/v2/query";
const KIB: usize = 1_024;
/// No bodies a signature can cover, and three that take one read, several, and very many.
const TINY: [usize; 2] = [0, 1];
const SIZES: [usize; 3] = [60 * KIB, 300 * KIB, 12 * KIB * KIB];
/// How much of a body goes into one chunk or one DATA frame.
const PIECE: usize = 50_000;

/// How a body's end is made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Unknown,
}

const FRAMINGS: [Framing; 2] = [Framing::Length, Framing::Unknown];

/// How objects begin and end: one far from canonical, one in canonical form, which is verified while it
/// comes, and one that turns out at its end not to be.
const OBJECTS: [(&str, &str); 3] = [
    ("{ \"z\" :\t[ 1 , 2.50,1E3 ],\n  \"\\u0061\": \"", "\\/\u{e9}\" }\r\n"),
    ("{\"a\":\"", "\u{e9}\\n\",\"b\":[1,{}]}"),
    ("{\"b\":\"", "\",\"a\":1}"),
];

/// JSON objects of exactly `size` bytes.
fn objects(size: usize) -> impl Iterator<Item = Vec<u8>> {
    OBJECTS.into_iter().map(move |(start, end)| {
        let filling = "x".repeat(size - start.len() - end.len());
        format!("{start}{filling}{end}").into_bytes()
    })
}

/// The first of them.
fn object(size: usize) -> Vec<u8> {
    objects(size).next().unwrap()
}

fn head(method: &str, target: &str, framing: Framing, length: usize, more: &str) -> String {
    let framing = match framing {
        Framing::Length => format!("Content-Length: {length}"),
        Framing::Unknown => "Transfer-Encoding: chunked".to_owned(),
    };
    format!("{method} {target} HTTP/1.1\r\nHost: {OWN_NAME}\r\n{framing}\r\n{more}\r\n")
}

fn framed(body: &[u8], framing: Framing) -> Vec<u8> {
    if framing == Framing::Length {
        return body.to_vec();
    }
    let mut wire = Vec::with_capacity(body.len() + body.len() / 100 + 64);
    for chunk in body.chunks(PIECE) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

/// A body that does not say its length.
fn pieces(body: &[u8]) -> H2Body {
    let pieces: Vec<_> =
        body.chunks(PIECE).map(|p| Ok(Frame::data(Bytes::copy_from_slice(p)))).collect();
    BodyExt::boxed(StreamBody::new(stream::iter(pieces)))
}

fn authorization(target: &str, body: &[u8]) -> String {
    Origin::new("origin.example").authorize("PUT", target, Some(body))
}

/// Sends one body in every way HTTP/1.1 has, all over one connection.
async fn send_http1(client: &mut Client, method: &str, target: &str, body: &[u8], auth: &str) {
    for framing in FRAMINGS {
        for expect in [false, true] {
            let context = format!("{} bytes, {framing:?}, expect: {expect}", body.len());
            let expectation = if expect { "Expect: 100-continue\r\n" } else { "" };
            let more = format!("{auth}{expectation}");
            client.send(head(method, target, framing, body.len(), &more).as_bytes()).await;
            if expect {
                let interim = client.any_answer().await.expect("an interim answer");
                assert_eq!(interim.status, 100, "{context}");
            }
            client.send(&framed(body, framing)).await;
            let answer = client.any_answer().await.expect("an answer");
            assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]), "{context}");
            assert_eq!(answer.headers["connection"], "keep-alive", "{context}");
        }
    }
}

fn http2(method: &str, target: &str, headers: &[(&str, &str)], body: H2Body) -> Request<H2Body> {
    let uri = format!("https://{OWN_NAME}{target}");
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// Sends one body in every way HTTP/2 has, all over one connection.
async fn send_http2(client: &mut H2Client, method: &str, target: &str, body: &[u8], auth: &str) {
    for framing in FRAMINGS {
        for expect in [false, true] {
            let context = format!("{} bytes, {framing:?}, expect: {expect}", body.len());
            let mut headers = vec![("authorization", auth)];
            if expect {
                headers.push(("expect", "100-continue"));
            }
            let sent = match framing {
                Framing::Length => full(body.to_vec()),
                Framing::Unknown => pieces(body),
            };
            let answer = client.send(http2(method, target, &headers, sent)).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]), "{context}");
        }
    }
}

/// Whether each of `count` requests brought exactly `body`, with one canonical length.
fn check_seen(homeserver: &Homeserver, count: usize, body: &[u8]) {
    let seen = homeserver.seen();
    assert_eq!(seen.len(), count);
    for request in &seen {
        assert!(request.body == body, "{} bytes, as they were sent", body.len());
        assert_eq!(request.headers["content-length"], body.len().to_string());
        for gone in ["expect", "transfer-encoding"] {
            assert!(!request.headers.contains_key(gone), "{gone}");
        }
    }
}

#[tokio::test]
async fn signed_bodies_pass_byte_for_byte_on_http1() {
    for body in SIZES.into_iter().flat_map(objects) {
        let homeserver = Homeserver::start().await;
        let gate = Gate::start(&homeserver).await;
        gate.origin("origin.example");
        let auth = format!("Authorization: {}\r\n", authorization(PUT, &body));
        let mut client = Client::plain(gate.address).await;
        within("the answers", send_http1(&mut client, "PUT", PUT, &body, &auth)).await;
        check_seen(&homeserver, 4, &body);
        assert_eq!(homeserver.connections(), 1, "the connection to the homeserver is kept");
    }
}

#[tokio::test]
async fn signed_bodies_pass_byte_for_byte_on_http2() {
    for body in SIZES.into_iter().flat_map(objects) {
        let homeserver = Homeserver::start().await;
        let gate = Gate::start_tls(&homeserver).await;
        gate.origin("origin.example");
        let auth = authorization(PUT, &body);
        let mut client = H2Client::connect(gate.address, gate.ca.as_ref().unwrap()).await;
        within("the answers", send_http2(&mut client, "PUT", PUT, &body, &auth)).await;
        check_seen(&homeserver, 4, &body);
    }
}

#[tokio::test]
async fn tiny_bodies_pass_where_nobody_signs_them() {
    for size in TINY {
        let homeserver = Homeserver::start().await;
        let gate = Gate::start_tls(&homeserver).await;
        let ca = gate.ca.clone().unwrap();
        let body = vec![b'{'; size];
        let mut client = Client::tls(gate.address, &ca).await;
        within("the answers", send_http1(&mut client, "POST", OPEN, &body, "")).await;
        let mut client = H2Client::connect(gate.address, &ca).await;
        within("the answers", send_http2(&mut client, "POST", OPEN, &body, "Bearer x")).await;
        check_seen(&homeserver, 8, &body);
    }
}

#[tokio::test]
async fn tiny_bodies_are_no_json_objects_where_they_are_signed() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start_tls(&homeserver).await;
    gate.origin("origin.example");
    let ca = gate.ca.clone().unwrap();
    let auth = authorization(PUT, b"{}");
    let field = format!("Authorization: {auth}\r\n");
    let mut http1 = Client::tls(gate.address, &ca).await;
    let mut h2 = H2Client::connect(gate.address, &ca).await;
    for size in TINY {
        let body = vec![b'{'; size];
        for framing in FRAMINGS {
            http1.send(head("PUT", PUT, framing, size, &field).as_bytes()).await;
            http1.send(&framed(&body, framing)).await;
            let answer = within("an answer", http1.answer()).await.unwrap();
            assert_eq!((answer.status, answer.errcode().as_str()), (400, "M_NOT_JSON"));
            let sent = if framing == Framing::Length { full(body.clone()) } else { pieces(&body) };
            let request = http2("PUT", PUT, &[("authorization", &auth)], sent);
            let answer = within("an answer", h2.send(request)).await.unwrap();
            assert_eq!((answer.status, answer.errcode().as_str()), (400, "M_NOT_JSON"));
        }
    }
    let refusals = gate.refused().await;
    assert_eq!(refusals, [("body_not_json".to_owned(), 8.0)]);
    assert_eq!(homeserver.connections(), 0);
}

const CAP: usize = 100_000;

async fn capped(homeserver: &Homeserver) -> Gate {
    let settings = "[limits]\nbody_bytes_max = 100000";
    let options = GateOptions { tls: true, settings, ..GateOptions::default() };
    let gate = Gate::start_with(homeserver, options).await;
    gate.origin("origin.example");
    gate
}

#[tokio::test]
async fn exactly_the_cap_passes() {
    let homeserver = Homeserver::start().await;
    let gate = capped(&homeserver).await;
    let ca = gate.ca.clone().unwrap();
    let body = object(CAP);
    let auth = authorization(PUT, &body);
    let field = format!("Authorization: {auth}\r\n");
    let mut client = Client::tls(gate.address, &ca).await;
    within("the answers", send_http1(&mut client, "PUT", PUT, &body, &field)).await;
    let mut client = H2Client::connect(gate.address, &ca).await;
    within("the answers", send_http2(&mut client, "PUT", PUT, &body, &auth)).await;
    check_seen(&homeserver, 8, &body);
}

#[tokio::test]
async fn a_length_over_the_cap_is_refused_before_the_body() {
    let homeserver = Homeserver::start().await;
    let gate = capped(&homeserver).await;
    let ca = gate.ca.clone().unwrap();
    let auth = authorization(PUT, b"{}");
    for expectation in ["", "Expect: 100-continue\r\n"] {
        let more = format!("Authorization: {auth}\r\n{expectation}");
        let mut client = Client::tls(gate.address, &ca).await;
        client.send(head("PUT", PUT, Framing::Length, CAP + 1, &more).as_bytes()).await;
        let answer = within("an answer", client.any_answer()).await.unwrap();
        assert_eq!((answer.status, answer.errcode().as_str()), (413, "M_TOO_LARGE"));
        assert!(within("the end", client.is_closed()).await);
    }
    let mut client = H2Client::connect(gate.address, &ca).await;
    let length = (CAP + 1).to_string();
    let headers = [("authorization", auth.as_str()), ("content-length", &length)];
    let never = BodyExt::boxed(StreamBody::new(stream::pending()));
    let answer = within("an answer", client.send(http2("PUT", PUT, &headers, never))).await;
    assert_eq!(answer.unwrap().status, 413);
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn a_body_without_length_is_refused_at_the_first_byte_over_the_cap() {
    let homeserver = Homeserver::start().await;
    let gate = capped(&homeserver).await;
    let ca = gate.ca.clone().unwrap();
    let body = object(CAP + 1);
    let auth = authorization(PUT, &body);
    let more = format!("Authorization: {auth}\r\n");
    let mut client = Client::tls(gate.address, &ca).await;
    client.send(head("PUT", PUT, Framing::Unknown, 0, &more).as_bytes()).await;
    // Everything but the end: the gate does not wait for it.
    let wire = framed(&body, Framing::Unknown);
    client.send(&wire[..wire.len() - 5]).await;
    let answer = within("an answer", client.answer()).await.unwrap();
    assert_eq!((answer.status, answer.errcode().as_str()), (413, "M_TOO_LARGE"));
    assert!(within("the end", client.is_closed()).await);

    let mut client = H2Client::connect(gate.address, &ca).await;
    let all: Vec<_> =
        body.chunks(PIECE).map(|p| Ok(Frame::data(Bytes::copy_from_slice(p)))).collect();
    let all = futures_util::StreamExt::chain(stream::iter(all), stream::pending());
    let sent = BodyExt::boxed(StreamBody::new(all));
    let request = http2("PUT", PUT, &[("authorization", &auth)], sent);
    assert_eq!(within("an answer", client.send(request)).await.unwrap().status, 413);
    assert_eq!(homeserver.connections(), 0);
}

/// Far more than the buffers of two sockets hold.
const FLOOD: usize = 64 * KIB * KIB;

#[tokio::test]
async fn nothing_more_is_read_of_a_refused_body() {
    let homeserver = Homeserver::start().await;
    let gate = capped(&homeserver).await;
    let ca = gate.ca.clone().unwrap();
    let more = format!("Authorization: {}\r\n", authorization(PUT, b"{}"));
    for framing in FRAMINGS {
        let mut client = Client::tls(gate.address, &ca).await;
        client.send(head("PUT", PUT, framing, 2 * FLOOD, &more).as_bytes()).await;
        let flood = async {
            let piece = framed(&[b' '; PIECE], framing);
            let piece = piece.strip_suffix(b"0\r\n\r\n").unwrap_or(&piece);
            let mut taken = 0;
            while taken < FLOOD && client.wire.write_all(piece).await.is_ok() {
                taken += piece.len();
            }
            taken
        };
        let taken = within("the flood", flood).await;
        assert!(taken < FLOOD, "{framing:?}: the connection is closed to the flood");
    }
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn three_requests_in_a_row_use_one_connection_on_either_side() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = gate.origin("origin.example");
    let mut client = Client::plain(gate.address).await;
    for n in 0..3 {
        let target = format!("/_matrix/federation/v1/send/{n}");
        let body = object(100 + n);
        let auth = origin.authorize("PUT", &target, Some(&body));
        let headers = [("authorization", auth.as_str())];
        assert_eq!(client.request("PUT", &target, &headers, Some(&body)).await.status, 200);
        assert_eq!(homeserver.seen()[n].target, target);
        assert!(homeserver.seen()[n].body == body);
    }
    assert_eq!(homeserver.connections(), 1);
}
