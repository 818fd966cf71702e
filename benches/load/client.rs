//! Clients that ask as fast as they are answered, or at a pace.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::http1::read_message;

/// What is asked, and the status it must be answered with.
#[derive(Clone)]
pub struct Request {
    pub bytes: Vec<u8>,
    pub status: u16,
}

/// How requests are sent; they take turns.
pub struct Load<'a> {
    pub address: SocketAddr,
    pub requests: &'a [Request],
    pub connections: usize,
    /// Requests a second over all connections; as fast as they are answered without.
    pub pace: Option<f64>,
    pub time: Duration,
}

#[derive(Default)]
pub struct Outcome {
    pub answered: u64,
    /// From when each was sent or, with a pace, due; in microseconds and in order.
    pub took_us: Vec<u32>,
    /// Answers with another status, and how many.
    wrong: BTreeMap<u16, u64>,
}

impl Outcome {
    fn count(&mut self, is_right: bool, status: u16, took: Duration) {
        if is_right {
            self.answered += 1;
            self.took_us.push(took.as_micros() as u32);
        } else {
            *self.wrong.entry(status).or_default() += 1;
        }
    }

    /// The time that so many of a hundred were answered in, in microseconds.
    pub fn percentile_us(&self, per_cent: usize) -> f64 {
        let at = (self.took_us.len() * per_cent).div_ceil(100).saturating_sub(1);
        self.took_us.get(at).copied().map_or(0.0, f64::from)
    }
}

/// Connects, and asks for the time given. `before` is called between the two.
///
/// # Panics
///
/// If anything is answered otherwise than it must be.
pub async fn ask(load: &Load<'_>, before: impl FnOnce()) -> Outcome {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(connect(load.address).await);
    }
    before();
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let requests: Rc<[Request]> = load.requests.into();
    let local = LocalSet::new();
    let started = Instant::now();
    for (number, stream) in connections.into_iter().enumerate() {
        let every = load.pace.map(|pace| Duration::from_secs_f64(load.connections as f64 / pace));
        let client = Client {
            address: load.address,
            requests: Rc::clone(&requests),
            number,
            started,
            end: started + load.time,
            every,
        };
        local.spawn_local(client.run(stream, load.connections, Rc::clone(&outcome)));
    }
    // Clients that sleep are woken by the proxy, at its cost: an interrupt of another processor, which no
    // peer across a network takes. So that it does not hang on how busy a proxy keeps them, none sleeps.
    let end = started + load.time;
    local.spawn_local(async move {
        while Instant::now() < end {
            tokio::task::yield_now().await;
        }
    });
    local.await;
    let mut outcome = outcome.take();
    assert!(outcome.wrong.is_empty(), "wrong answers: {:?}", outcome.wrong);
    outcome.took_us.sort_unstable();
    outcome
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

struct Client {
    address: SocketAddr,
    requests: Rc<[Request]>,
    number: usize,
    started: Instant,
    end: Instant,
    every: Option<Duration>,
}

impl Client {
    async fn run(self, mut stream: TcpStream, clients: usize, outcome: Rc<RefCell<Outcome>>) {
        let mut pace = self.every.map(|every| {
            // One after the other, not all at once.
            let offset = every.mul_f64(self.number as f64 / clients as f64);
            let mut pace = interval_at(self.started + offset, every);
            pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
            pace
        });
        let mut buffer = Vec::new();
        for turn in self.number.. {
            let due = match &mut pace {
                Some(pace) => pace.tick().await,
                None => Instant::now(),
            };
            if due >= self.end {
                return;
            }
            let request = &self.requests[turn % self.requests.len()];
            stream.write_all(&request.bytes).await.unwrap();
            let head = read_message(&mut stream, &mut buffer).await.unwrap();
            let status = head.status().unwrap();
            outcome.borrow_mut().count(status == request.status, status, due.elapsed());
            if head.holds("\r\nconnection: close\r\n") {
                stream = connect(self.address).await;
            }
        }
    }
}
