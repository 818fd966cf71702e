//! Clients that send one request after the other, keep their connections, and note every request that
//! gets no answer, or another than it should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::client::{H2Client, tls_stream};
use super::{Client, OWN_NAME, Origin, within};

/// Clients of each kind.
const CLIENTS: usize = 2;

/// How often a client sends a request, at most: leaves the machine time for what is tested.
const PACE: Duration = Duration::from_millis(4);

/// A transaction without anything in it.
const BODY: &[u8] =
    br#"{"edus":[],"origin":"origin.example","origin_server_ts":1767225600000,"pdus":[]}"#;

/// Most failures that are told of.
const FAILURES_MAX: usize = 10;

/// What has become of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were answered as they should.
    pub answered: u64,
    /// Requests that were not.
    pub lost: u64,
    pub failures: Vec<String>,
    /// Requests on a kept HTTP/1.1 connection that was closed instead of an answer. A client may repeat
    /// those (RFC 9112, 9.3.1), but need not.
    pub repeated: u64,
    /// HTTP/2 requests that have not left the client when its connection was told to end.
    pub unsent: u64,
    /// Connections that were made.
    pub connections: u64,
}

pub struct Load {
    clients: JoinSet<()>,
    tally: Arc<watch::Sender<Tally>>,
    stop: watch::Sender<bool>,
}

/// What a client needs.
#[derive(Clone)]
struct Way {
    address: SocketAddr,
    ca: Vec<u8>,
    target: String,
    authorization: String,
    tally: Arc<watch::Sender<Tally>>,
    stop: watch::Receiver<bool>,
}

impl Load {
    /// Clients over TLS, half of them with HTTP/2.
    pub fn start(address: SocketAddr, ca: &[u8], origin: &Origin) -> Self {
        let (stop, stopping) = watch::channel(false);
        let tally = Arc::new(watch::Sender::new(Tally::default()));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let way = |name: &str| {
                let target = format!("/_matrix/federation/v1/send/{name}{number}");
                let authorization = origin.authorize("PUT", &target, Some(BODY));
                let (tally, stop) = (Arc::clone(&tally), stopping.clone());
                Way { address, ca: ca.to_vec(), target, authorization, tally, stop }
            };
            clients.spawn(way("http1-").http1());
            clients.spawn(way("http2-").http2());
        }
        Self { clients, tally, stop }
    }

    /// Waits until so many more requests have been answered.
    pub async fn more(&self, count: u64) {
        let mut tally = self.tally.subscribe();
        let goal = tally.borrow().answered + count;
        let more = tally.wait_for(|tally| tally.answered >= goal || tally.lost > 0);
        drop(within("further answers", more).await);
    }

    /// Lets every client finish its request.
    pub async fn stop(mut self) -> Tally {
        self.stop.send_replace(true);
        within("the end of the clients", async {
            while let Some(ended) = self.clients.join_next().await {
                ended.unwrap();
            }
        })
        .await;
        self.tally.borrow().clone()
    }
}

impl Way {
    async fn http1(self) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Self { target, authorization, .. } = &self;
        let length = BODY.len();
        let mut request = format!(
            "PUT {target} HTTP/1.1\r\nHost: {OWN_NAME}\r\nAuthorization: {authorization}\r\n\
             Content-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(BODY);
        let mut kept: Option<Client> = None;
        while !*self.stop.borrow() {
            pace.tick().await;
            let is_kept = kept.is_some();
            let mut client = match kept.take() {
                Some(client) => client,
                None => match tls_stream(self.address, &self.ca, b"http/1.1").await {
                    Ok(stream) => {
                        self.tally.send_modify(|tally| tally.connections += 1);
                        Client::over(Box::new(stream))
                    }
                    Err(error) => {
                        self.lost(format!("HTTP/1.1 handshake: {error}"));
                        continue;
                    }
                },
            };
            client.send(&request).await;
            match client.answer().await {
                Some(answer) => {
                    self.answered(answer.status);
                    if answer.headers.get("connection").is_none_or(|value| value != "close") {
                        kept = Some(client);
                    }
                }
                None if is_kept && client.take_buffered().is_empty() => {
                    self.tally.send_modify(|tally| tally.repeated += 1);
                }
                None => self.lost("HTTP/1.1: no answer".to_owned()),
            }
        }
    }

    async fn http2(self) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let headers = [("authorization", self.authorization.as_str())];
        let mut kept: Option<H2Client> = None;
        while !*self.stop.borrow() {
            pace.tick().await;
            let mut client = match kept.take().filter(|client| !client.sender.is_closed()) {
                Some(client) => client,
                None => {
                    self.tally.send_modify(|tally| tally.connections += 1);
                    H2Client::connect(self.address, &self.ca).await
                }
            };
            match client.request("PUT", &self.target, &headers, Some(BODY)).await {
                Ok(answer) => {
                    self.answered(answer.status);
                    kept = Some(client);
                }
                // The connection has been told to end; this request has never been on it.
                Err(error) if error.is_canceled() || error.is_closed() => {
                    self.tally.send_modify(|tally| tally.unsent += 1);
                }
                Err(error) => self.lost(format!("HTTP/2: {error:?}")),
            }
        }
    }

    fn answered(&self, status: u16) {
        if status == 200 {
            self.tally.send_modify(|tally| tally.answered += 1);
        } else {
            self.lost(format!("status {status}"));
        }
    }

    fn lost(&self, failure: String) {
        self.tally.send_modify(|tally| {
            tally.lost += 1;
            if tally.failures.len() < FAILURES_MAX {
                tally.failures.push(failure);
            }
        });
    }
}
