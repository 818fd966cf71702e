//! Where cases run one after the other: a plain gate and one with TLS in front of one homeserver
//! that counts every byte.

use std::collections::BTreeMap;

use fedgate::gate::Rejection;
use serde_json::json;

use super::case::{Case, Kind, Variant};
use super::signing::{Meant, Signer};
use crate::support::meaning::meaning;
use crate::support::raw::{RawHomeserver, RawRequest};
use crate::support::{Answer, Client, Gate, GateOptions, NOW_MS, OWN_NAME};

/// Where good requests go: behind an input on its connection, and after it.
pub const BEHIND: &str = "/_matrix/federation/v1/event/behind";
pub const AFTER: &str = "/_matrix/federation/v1/event/after";

/// Fields that are about another hop, or would speak for the gate.
const FOREIGN: [&str; 29] = [
    "cf-connecting-ip",
    "expect",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-matrix-origin",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Nobody's `X-Forwarded-For` is believed.
const STRANGERS: &str = "trusted_proxies = []";

pub struct Lane {
    homeserver: RawHomeserver,
    plain: Gate,
    tls: Gate,
    /// What has come to the homeserver so far that should have.
    requests: usize,
    bytes: usize,
    /// What has been counted so far, by gate and reason.
    refusals: [BTreeMap<String, u64>; 2],
}

impl Lane {
    pub async fn start() -> Self {
        Self::start_with(STRANGERS).await
    }

    /// With further lines of the section `listen`.
    pub async fn start_with(listen: &'static str) -> Self {
        let homeserver = RawHomeserver::start(|side| {
            side.answer_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        })
        .await;
        let (plain, tls) =
            (gate(&homeserver, false, listen).await, gate(&homeserver, true, listen).await);
        Self { homeserver, plain, tls, requests: 0, bytes: 0, refusals: Default::default() }
    }

    pub const fn gate(&self, kind: Kind) -> &Gate {
        match kind {
            Kind::Http1 => &self.plain,
            Kind::Http2 => &self.tls,
        }
    }

    /// What came since the last look.
    fn news(&mut self) -> (usize, Vec<RawRequest>) {
        let (bytes, seen) = (self.homeserver.received(), self.homeserver.seen());
        let new = seen.get(self.requests..).unwrap_or_default().to_vec();
        let came = bytes - self.bytes;
        (self.bytes, self.requests) = (bytes, seen.len());
        (came, new)
    }

    /// Nothing came to the homeserver since the last look.
    pub fn check_silence(&mut self) -> Result<(), String> {
        match self.news() {
            (0, _) => Ok(()),
            (bytes, seen) => Err(format!("{bytes} bytes reached the homeserver: {seen:?}")),
        }
    }

    /// Exactly one request came, and nothing beside it.
    pub fn one_request(&mut self) -> Result<RawRequest, String> {
        let (bytes, seen) = self.news();
        match &seen[..] {
            [only] if bytes == only.head.chars().count() + only.body.len() => Ok(only.clone()),
            _ => Err(format!("{bytes} bytes reached the homeserver: {seen:?}")),
        }
    }

    /// Exactly the request that was signed came, in the gate's own framing.
    pub fn check_forwarded(
        &mut self,
        case: &Case,
        variant: &Variant,
        kind: Kind,
    ) -> Result<(), String> {
        let seen = self.one_request()?;
        let check = |holds: bool, what: &str| {
            if holds { Ok(()) } else { Err(format!("{what}: {seen:?}")) }
        };
        let all = |field: &str| fields(&seen).filter(|(n, _)| n == field).map(|(_, v)| v).collect();
        let all = |field: &str| -> Vec<String> { all(field) };
        if let Some(meant) = &variant.meant {
            let line = format!("{} {} HTTP/1.1", meant.method, meant.target);
            check(seen.head.lines().next() == Some(&line), "another request line")?;
            let content = meant.content.as_deref().unwrap_or_default();
            let same = meaning(&seen.body) == meaning(content.as_bytes());
            check(same, "other content than was signed")?;
            check(all("authorization") == variant.forwarded(), "other signatures")?;
        }
        let body = seen.body.len();
        let sized = if body > 0 { vec![body.to_string()] } else { all("content-length") };
        check(all("content-length") == sized, "another length")?;
        check(all("host").len() == 1, "not one Host")?;
        let proto = if kind == Kind::Http2 { "https" } else { "http" };
        check(all("x-forwarded-proto") == [proto], "another X-Forwarded-Proto")?;
        check(all("x-forwarded-for") == ["127.0.0.1"], "another X-Forwarded-For")?;
        for (field, _) in fields(&seen) {
            let ours = matches!(&field[..], "x-forwarded-for" | "x-forwarded-proto");
            let foreign = field.contains('_')
                || field.starts_with("x-fedgate")
                || FOREIGN.contains(&&field[..])
                || (field.starts_with("x-forwarded-") && !ours);
            check(!foreign, &format!("{field} reached the homeserver"))?;
        }
        for line in &case.forwarded {
            let line: String = line.iter().map(|byte| char::from(*byte)).collect();
            let there = seen.head.lines().any(|seen| seen.eq_ignore_ascii_case(&line));
            check(there, &format!("{line:?} is missing"))?;
        }
        Ok(())
    }

    /// The answer is that of the refusal, and it was counted once.
    pub async fn check_refused(
        &mut self,
        kind: Kind,
        rejection: Rejection,
        status: Option<u16>,
        body: &[u8],
    ) -> Result<(), String> {
        let told: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let text = if rejection.tells_detail() {
            told["error"].clone()
        } else {
            json!(rejection.public_text())
        };
        let wanted = json!({ "errcode": rejection.errcode(), "error": text });
        if status != Some(rejection.status().as_u16()) || told != wanted {
            let (body, counted) = (body.escape_ascii(), self.newly_counted(kind).await);
            return Err(format!("{status:?} {body} instead of {rejection:?}; counted {counted:?}"));
        }
        let counts = &mut self.refusals[kind as usize];
        *counts.entry(rejection.code().to_owned()).or_default() += 1;
        let wanted = counts.clone();
        // The count follows the answer.
        let total: u64 = wanted.values().sum();
        loop {
            let counted = counted(self.gate(kind)).await;
            if counted == wanted {
                return Ok(());
            }
            if counted.values().sum::<u64>() >= total {
                return Err(format!("counted {counted:?} instead of {wanted:?}"));
            }
        }
    }

    /// The refusals that were counted since the last look.
    pub async fn newly_counted(&self, kind: Kind) -> Vec<String> {
        let known = &self.refusals[kind as usize];
        let counted = counted(self.gate(kind)).await;
        let new = counted.into_iter().filter(|(reason, count)| known.get(reason) != Some(count));
        new.map(|(reason, _)| reason).collect()
    }

    /// A good request over this connection is served.
    pub async fn check_serves(&mut self, client: &mut Client) -> Result<(), String> {
        client.send(&good(AFTER)).await;
        let answer = client.answer().await;
        let status = answer.as_ref().map(|answer| answer.status);
        if status != Some(200) {
            return Err(format!("the next request: {answer:?}"));
        }
        self.check_after()
    }

    /// The good request came, and nothing else.
    pub fn check_after(&mut self) -> Result<(), String> {
        let seen = self.one_request()?;
        let wanted = format!("GET {AFTER} HTTP/1.1\r\n");
        if seen.head.starts_with(&wanted) { Ok(()) } else { Err(format!("{seen:?}")) }
    }

    /// Takes the state as it is: what went wrong in one case is not the next one's.
    pub async fn settle(&mut self) {
        self.refusals = [counted(&self.plain).await, counted(&self.tls).await];
        self.news();
    }

    /// Stops both gates; nothing came late.
    pub async fn stop(mut self) -> Result<(), String> {
        let late = |error| format!("after all: {error}");
        self.check_silence().map_err(late)?;
        let Self { homeserver, plain, tls, requests, bytes, .. } = self;
        plain.stop().await;
        tls.stop().await;
        let (seen, received) = (homeserver.seen().len(), homeserver.received());
        if (seen, received) == (requests, bytes) {
            return Ok(());
        }
        Err(format!("after all: {seen} requests instead of {requests}"))
    }
}

/// A gate that believes nobody's `X-Forwarded-For`, with two origins that it can verify.
async fn gate(homeserver: &RawHomeserver, tls: bool, listen: &'static str) -> Gate {
    let settings = "[limits]\nbody_timeout = \"5s\"";
    let options = GateOptions { tls, listen, settings, ..GateOptions::default() };
    let gate = Gate::start_before(&homeserver.url, options).await;
    let [one, two, evil] = Signer::ALL.map(Signer::origin);
    let document = one.sign_document(&json!({
        "server_name": one.name.as_str(),
        "valid_until_ts": NOW_MS + 24 * 60 * 60 * 1_000,
        "verify_keys": {
            one.key_id.as_str(): { "key": one.key.verify_key().to_base64() },
            two.key_id.as_str(): { "key": two.key.verify_key().to_base64() },
        },
    }));
    gate.federation.publish(&one.name, document);
    gate.federation.publish(&evil.name, evil.document());
    gate
}

/// The refusals so far, by reason. Where the library ends a stream amid its body, the gate counts a
/// client that has gone, or nothing: that is left out.
async fn counted(gate: &Gate) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let refusals = gate.refusals().await.into_iter();
    for (reason, count) in refusals.filter(|(reason, _)| reason != "client_gone") {
        *counts.entry(reason).or_default() += count as u64;
    }
    counts
}

/// Name, in lower case, and value of each field.
fn fields(request: &RawRequest) -> impl Iterator<Item = (String, String)> {
    let lines = request.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
}

/// The Authorization value of a good request.
pub fn authorization(target: &str) -> String {
    let meant = Meant::parse(&format!("GET {target}")).unwrap();
    meant.sign(Signer::One, OWN_NAME).auth
}

/// A good request for `target`.
pub fn good(target: &str) -> Vec<u8> {
    let auth = authorization(target);
    format!("GET {target} HTTP/1.1\r\nHost: {OWN_NAME}\r\nAuthorization: {auth}\r\n\r\n")
        .into_bytes()
}

/// How an answer reads in a failure.
pub fn shown(answer: &Option<Answer>) -> String {
    answer.as_ref().map_or_else(
        || "no answer".to_owned(),
        |answer| format!("{} {}", answer.status, answer.body.escape_ascii()),
    )
}
