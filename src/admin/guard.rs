//! Who may use the API. It changes whose requests are believed, so it takes more than to reach it:
//! browsers, which any page can send here, are refused, and without a token only this machine is
//! served.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};

use super::api::{Failure, failure};
use super::token::Token;

fn forbidden(text: &str) -> Failure {
    failure(StatusCode::FORBIDDEN, text)
}

/// Whether `peer` may make this request.
pub(super) fn check(token: Option<&Token>, peer: IpAddr, request: &Parts) -> Result<(), Failure> {
    let headers = &request.headers;
    if headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Err(forbidden("requests of browsers are refused"));
    }
    match token {
        Some(token) => {
            if !bears(headers, token) {
                let text = "send `Authorization: Bearer TOKEN` with the text of admin.token_file";
                return Err(failure(StatusCode::UNAUTHORIZED, text));
            }
        }
        None => {
            if !peer.to_canonical().is_loopback() {
                return Err(forbidden(
                    "without a token, the API serves this machine only; set admin.token_file",
                ));
            }
            // A name would let a page's own DNS lead a browser here.
            if !names_this_machine(headers) {
                return Err(forbidden(
                    "without a token, the Host header must be an address or localhost",
                ));
            }
        }
    }
    if request.method == Method::POST && !is_json(headers) {
        let text = "send the header `Content-Type: application/json`";
        return Err(failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    Ok(())
}

fn bears(headers: &HeaderMap, token: &Token) -> bool {
    let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let Some((scheme, secret)) = value.split_once(' ') else { return false };
    scheme.eq_ignore_ascii_case("bearer") && token.is(secret.trim())
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1";
    const ELSEWHERE: &str = "192.0.2.1";

    fn verdict(token: Option<&str>, peer: &str, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = http::Request::builder().method(method).uri("/api/v1/rules");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let token = token.map(Token::new);
        let verdict = check(token.as_ref(), peer.parse().unwrap(), &parts);
        verdict.map_or_else(|failure| failure.status.as_u16(), |()| 200)
    }

    #[test]
    fn without_a_token_this_machine_is_served() {
        for host in ["127.0.0.1:9448", "[::1]:9448", "localhost", "LOCALHOST:1"] {
            assert_eq!(verdict(None, HERE, "GET", &[("host", host)]), 200, "{host}");
        }
        for peer in ["::1", "::ffff:127.0.0.1"] {
            assert_eq!(verdict(None, peer, "GET", &[("host", "localhost")]), 200, "{peer}");
        }
        assert_eq!(verdict(None, ELSEWHERE, "GET", &[("host", "localhost")]), 403);
    }

    #[test]
    fn a_name_of_a_strangers_choice_is_refused() {
        for host in ["evil.example", "127.0.0.1.evil.example:9448", "localhost.evil.example", ""] {
            assert_eq!(verdict(None, HERE, "GET", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(verdict(None, HERE, "GET", &[]), 403);
    }

    #[test]
    fn browsers_are_refused_with_and_without_a_token() {
        for header in [("origin", "null"), ("sec-fetch-site", "none")] {
            let headers = [("host", "localhost"), ("authorization", "Bearer secret"), header];
            assert_eq!(verdict(None, HERE, "GET", &headers), 403);
            assert_eq!(verdict(Some("secret"), HERE, "GET", &headers), 403);
        }
    }

    #[test]
    fn with_a_token_everybody_must_bear_it() {
        let with = |value| [("host", "fedgate:9448"), ("authorization", value)];
        for peer in [HERE, ELSEWHERE] {
            assert_eq!(verdict(Some("secret"), peer, "GET", &with("Bearer secret")), 200);
            assert_eq!(verdict(Some("secret"), peer, "GET", &with("bearer  secret")), 200);
            for wrong in ["Bearer secrets", "Bearer", "Bearer ", "secret", "Basic secret"] {
                assert_eq!(verdict(Some("secret"), peer, "GET", &with(wrong)), 401, "{wrong}");
            }
            assert_eq!(verdict(Some("secret"), peer, "GET", &[("host", "localhost")]), 401);
        }
    }

    #[test]
    fn what_is_posted_must_say_that_it_is_json() {
        let post = |kind| [("host", "localhost"), ("content-type", kind)];
        assert_eq!(verdict(None, HERE, "POST", &post("application/json")), 200);
        assert_eq!(verdict(None, HERE, "POST", &post("Application/JSON; charset=utf-8")), 200);
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            assert_eq!(verdict(None, HERE, "POST", &post(kind)), 415, "{kind}");
        }
        assert_eq!(verdict(None, HERE, "POST", &[("host", "localhost")]), 415);
    }
}
