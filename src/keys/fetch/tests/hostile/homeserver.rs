//! What the homeserver behind the gate may answer, over a real connection.

use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::keys::fetch::testing::{answer, homeserver, response};

/// Asks a homeserver that answers with these bytes.
pub(super) async fn ask_homeserver(bytes: Vec<u8>) -> Result<Vec<ServerKeys>, FetchError> {
    let (homeserver, _) = homeserver(bytes).await;
    let host = ServerName::parse("our.example").unwrap();
    let clock = Arc::new(ManualClock::new(at(0)));
    let fetcher = HomeserverFetcher::new(homeserver, host, banning([]), clock, key_metrics());
    fetcher.fetch(&request(&origin(), &[ID])).await
}

async fn bytes(bytes: Vec<u8>, verdicts: &[Verdict]) {
    check("homeserver", &ask_homeserver(bytes).await, verdicts[0]);
}

fn honest() -> Vec<u8> {
    answer(&[origin().document()])
}

/// The honest answer under this head, without a length.
fn under(head: &str) -> Vec<u8> {
    [head.as_bytes(), b"\r\n\r\n", &honest()].concat()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(size) {
        bytes.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    [bytes.as_slice(), b"0\r\n\r\n"].concat()
}

rows! { bytes;
    an_honest_answer: response("200 OK", &honest()) => Ok("ed25519:1");
    an_answer_in_chunks: chunked(&honest(), 7) => Ok("ed25519:1");
    an_answer_that_lasts_until_the_end: under("HTTP/1.1 200 OK\r\nConnection: close") =>
        Ok("ed25519:1");
    an_answer_of_http_1_0: under("HTTP/1.0 200 OK") => Ok("ed25519:1");
    an_answer_of_another_type: {
        response("200 OK\r\nContent-Type: text/html; charset=latin-1", &honest())
    } => Ok("ed25519:1");
    nothing_known: response("200 OK", &answer(&[])) => Ok("");
    documents_of_others_beside: {
        let mut other = TestServer::new("b.example");
        other.add_key(ID);
        response("200 OK", &answer(&[other.document(), origin().document()]))
    } => Ok("ed25519:1");
    two_bodies_of_one_id: {
        let mut other = TestServer::new("a.example");
        other.add_seed(ID, [1; 32]);
        response("200 OK", &answer(&[other.document(), origin().document()]))
    } => Err("unacceptable answer: shows two different keys as ed25519:1 in one answer");
    html: response("200 OK", b"<html>It works!</html>") =>
        unacceptable!("the text is not JSON at byte 0");
    an_empty_body: response("200 OK", b"") => unacceptable!("the text is not JSON at byte 0");
    no_content: b"HTTP/1.1 204 No Content\r\n\r\n".to_vec() => Err("answered with HTTP status 204");
    not_found: response("404 Not Found", b"<html>") => Err("serves no keys of other servers");
    not_allowed: response("405 Method Not Allowed", b"") => Err("serves no keys of other servers");
    unrecognized: response("400 Bad Request", br#"{"errcode":"M_UNRECOGNIZED"}"#) =>
        Err("serves no keys of other servers");
    a_bad_request: response("400 Bad Request", br#"{"errcode":"M_BAD_JSON"}"#) =>
        Err("answered with HTTP status 400");
    too_many_requests: response("429 Too Many Requests\r\nRetry-After: 9", b"{}") =>
        Err("answered with HTTP status 429");
    a_redirect: response("302 Found\r\nLocation: http://127.0.0.1:1/", b"") =>
        Err("answered with HTTP status 302");
    a_gateway_error: response("502 Bad Gateway", b"<html>") => Err("answered with HTTP status 502");
    a_body_cut_short: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec() =>
        Err("http: homeserver: error reading a body from connection");
    chunks_cut_short: {
        let whole = chunked(&honest(), 7);
        whole[..whole.len() - 10].to_vec()
    } => Err("http: homeserver: error reading a body from connection");
    nothing_at_all: Vec::new() =>
        Err("http: homeserver: connection closed before message completed");
    another_protocol: b"SSH-2.0-OpenSSH\r\n\r\n".to_vec() =>
        Err("http: homeserver: invalid HTTP version parsed");
    a_head_that_is_too_large: {
        under(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000)))
    } => Err("http: homeserver: message head is too large");
    too_many_headers: under(&format!("HTTP/1.1 200 OK{}", "\r\nX: x".repeat(65))) =>
        Err("http: homeserver: message head is too large");
    an_answer_that_is_too_large: response("200 OK", &vec![b' '; (1 << 20) + 1]) =>
        Err("answer too large: homeserver: an answer of more than 1048576 bytes");
    an_answer_that_is_too_large_in_chunks: chunked(&vec![b' '; (1 << 20) + 1], 100_000) =>
        Err("answer too large: homeserver: an answer of more than 1048576 bytes");
}
