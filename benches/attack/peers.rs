//! Known servers: so many requests a second, GET and PUT by turns, each timed from when it was due.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::wire::{Target, Tls, send};
use crate::http1::read_message;
use crate::known::signed;

const REQUESTS_PER_SECOND: u32 = 100;
/// Each from a network of its own.
const PEERS: u8 = 8;
/// A request without an answer by then has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// One of the peers begins with a new connection after so many requests; the others keep theirs.
const REQUESTS_PER_CONNECTION: u32 = 10;

/// Each is taken by itself: what this machine does not do for a moment is no answer's time.
const SLICE: Duration = Duration::from_secs(4);

#[derive(Default)]
struct Counts {
    /// By slices of time.
    took_us: BTreeMap<u128, Vec<u64>>,
    failed: BTreeMap<String, u32>,
}

/// Prints how many were asked and answered with 200, times in microseconds, and what went wrong.
pub async fn run(target: Target, time: Duration) {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let began = Instant::now();
    let end = began + time;
    let peers: Vec<_> = (0..PEERS)
        .map(|number| tokio::spawn(peer(target.clone(), number, (began, end), Arc::clone(&counts))))
        .collect();
    for peer in peers {
        peer.await.unwrap();
    }
    let mut counts = std::mem::take(&mut *counts.lock().unwrap());
    let failed: u32 = counts.failed.values().sum();
    let good: usize = counts.took_us.values().map(Vec::len).sum();
    let mut part = |of: f64| {
        let mut parts: Vec<u64> =
            counts.took_us.values_mut().map(|took_us| quantile(took_us, of)).collect();
        quantile(&mut parts, 0.5)
    };
    let (p50, p99) = (part(0.5), part(0.99));
    println!("{} {good} {p50} {p99} {:?}", good + failed as usize, counts.failed);
}

fn quantile(values: &mut [u64], of: f64) -> u64 {
    values.sort_unstable();
    let at = (values.len() as f64 * of).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(0)
}

async fn peer(
    target: Target,
    number: u8,
    (began, end): (Instant, Instant),
    counts: Arc<Mutex<Counts>>,
) {
    let transaction = r#"{"edus":[],"origin":"known.example","origin_server_ts":1,"pdus":[]}"#;
    let requests = [
        signed("GET", "/_matrix/federation/v1/event/$x", ""),
        signed("PUT", "/_matrix/federation/v1/send/1", transaction),
    ];
    let source = Ipv4Addr::new(127, 200, number, 1);
    let mut pace = interval(Duration::from_secs(1) * u32::from(PEERS) / REQUESTS_PER_SECOND);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut connection = None;
    let mut buffer = Vec::new();
    for turn in 0.. {
        let due = pace.tick().await;
        if due >= end {
            return;
        }
        if number == 0 && turn % REQUESTS_PER_CONNECTION == 0 {
            connection = None;
        }
        let asking =
            ask(&target, source, &mut connection, &requests[turn as usize % 2], &mut buffer);
        let outcome = match timeout(PATIENCE, asking).await {
            Ok(Ok(200)) => Ok(()),
            Ok(Ok(status)) => Err(status.to_string()),
            Ok(Err(error)) => Err(format!("{:?}", error.kind())),
            Err(_) => Err("too late".to_owned()),
        };
        let mut counts = counts.lock().unwrap();
        match outcome {
            Ok(()) => {
                let slice = due.duration_since(began).as_nanos() / SLICE.as_nanos();
                counts.took_us.entry(slice).or_default().push(due.elapsed().as_micros() as u64);
            }
            Err(what) => {
                connection = None;
                *counts.failed.entry(what).or_default() += 1;
            }
        }
    }
}

/// One request; over a new connection when the kept one turns out to be closed, as any client does.
async fn ask(
    target: &Target,
    source: Ipv4Addr,
    connection: &mut Option<Tls>,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> io::Result<u16> {
    buffer.clear();
    if let Some(kept) = connection {
        if send(kept, request).await.is_ok()
            && let Ok(head) = read_message(kept, buffer).await
        {
            return head.status();
        }
        *connection = None;
        buffer.clear();
    }
    let mut fresh = target.http1(source).await?;
    send(&mut fresh, request).await?;
    let status = read_message(&mut fresh, buffer).await?.status();
    *connection = Some(fresh);
    status
}
