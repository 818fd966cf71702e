//! One request from its head to its answer: the order of the eight hops, on pingora's sessions.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{EXPECT, TRANSFER_ENCODING};
use http::{Method, Version};
use ipnet::IpNet;
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::watch;

use super::after::After;
use super::apart::Apart;
use super::body::{BodyPace, read_body, refuse_room};
use super::budget::{MemoryBudget, NoRoom, Share};
use super::client::{client, is_trusted};
use super::connection::{HeadWatch, Terms};
use super::door::Guest;
use super::forward::{Forwarder, Handoff, STREAM_BYTES};
use super::handed::{Handed, take, take_back};
use super::record::{Metrics, Record};
use super::respond::{answer, refuse, refuse_question};
use super::turn::turn;
use super::wire::check_wire;
use crate::config::BESIDE_BODY_BYTES_MAX;
use crate::gate::admission::{Admitted, BodyRule, HEAD_BYTES_MAX, RequestHead, head_bytes};
use crate::gate::events::{Examined, Lesson};
use crate::gate::metrics::Stage;
use crate::gate::route::Endpoint;
use crate::gate::{Body, FoundKeys, Gate, Permit, Refusal, Rejection};
use crate::notary::{Answer, KeyServer, KeyServerError, Question};

/// What a request takes beside its head and its body, in bytes: a buffer of pingora's on either side,
/// or what a window of HTTP/2 holds.
const REQUEST_BYTES: usize = 65_536;

// The settings are held to leaving room for it.
const _: () = assert!(REQUEST_BYTES + HEAD_BYTES_MAX + STREAM_BYTES <= BESIDE_BODY_BYTES_MAX);

/// Never true: pingora's proxy is not told to stop, as a request that is here is finished.
static NEVER: LazyLock<ShutdownWatch> = LazyLock::new(|| watch::channel(false).1);

/// Deadlines on the client's side.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// For the body.
    pub body: BodyPace,
    /// For an idle connection.
    pub idle: Duration,
    /// For the next part of an answer to be read.
    pub write: Duration,
    /// For requests in flight after the order to stop.
    pub drain: Duration,
}

/// What all connections share.
pub struct Gateway {
    /// The gate.
    pub gate: Gate,
    /// What fedgate answers itself.
    pub key_server: KeyServer,
    /// pingora's proxy with our hooks.
    pub proxy: Arc<HttpProxy<Forwarder>>,
    /// Memory for requests.
    pub budget: MemoryBudget,
    /// Turns to do what costs much.
    pub apart: Arc<Apart>,
    /// Deadlines on the client's side.
    pub timeouts: ClientTimeouts,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where counts go.
    pub metrics: Arc<Metrics>,
}

impl Gateway {
    /// What a connection from `peer` is held to.
    pub fn terms(&self, peer: SocketAddr) -> Terms {
        Terms {
            head_timeout: self.timeouts.head,
            write_timeout: self.timeouts.write,
            counts_frames: !self.trusts(peer),
            metrics: self.metrics.proxy.clone(),
        }
    }

    pub(super) fn trusts(&self, peer: SocketAddr) -> bool {
        is_trusted(peer.ip().to_canonical(), &self.trusted_proxies)
    }
}

/// The gateway of the settings in force. Each request takes it once and stays with it.
pub type CurrentGateway = Arc<ArcSwap<Gateway>>;

/// One request, under the settings that were in force when its head was complete.
pub(super) struct Exchange<'a> {
    pub(super) gateway: Arc<Gateway>,
    pub(super) peer: SocketAddr,
    pub(super) guest: &'a Arc<Guest>,
    pub(super) tls: bool,
    /// Tells of heads on HTTP/1.1.
    pub(super) watch: Option<&'a HeadWatch>,
    /// Whether the connection is to end.
    pub(super) stopping: &'a ShutdownWatch,
}

/// What is to become of a request.
#[allow(clippy::large_enum_variant, reason = "most are of the largest kind, and none is kept")]
enum Cleared {
    /// fedgate answers for keys.
    Answered(Answer),
    /// Nothing in it is good: fedgate answers it in the homeserver's place.
    AnsweredAsBad(Bytes),
    /// It may be forwarded.
    Forward {
        permit: Permit,
        /// The verified body; `None` when it passes as it comes.
        body: Option<Bytes>,
        /// The memory it may hold.
        share: Share,
        /// What is to be learnt from the answer.
        lesson: Option<Box<Lesson>>,
    },
}

impl Exchange<'_> {
    /// Answers a head that cannot be served, and ends the connection.
    pub(super) async fn refuse_head(&self, session: &mut ServerSession, refusal: Refusal) -> After {
        let mut record = self.record(self.peer.ip().to_canonical(), "HTTP/1.1");
        // What follows on the connection cannot be told from the rest of this request.
        session.set_keepalive(None);
        // Whoever sent this may not be listening; the record says what happened.
        let _gone = refuse(session, &refusal).await;
        record.refused(refusal);
        After::BrokenOff
    }

    /// Serves a request whose head is complete.
    pub(super) async fn serve(&self, session: &mut ServerSession) -> After {
        self.bound_session(session);
        let head = session.req_header();
        let client = client(self.peer, self.tls, &head.headers, &self.gateway.trusted_proxies);
        let http = if session.is_http2() { "HTTP/2" } else { "HTTP/1.1" };
        let mut record = self.record(client.address, http);
        record.method(&head.method);
        let cleared = self.clear(session, &mut record).await;
        if *self.stopping.borrow() {
            session.set_keepalive(None);
        }
        match cleared {
            Ok(Cleared::Forward { permit, body, share, lesson }) => {
                let _at_work = permit.origin().map(|_verified| self.guest.at_work());
                // Of a verified request nothing is asked back.
                let yielded = permit.origin().is_none().then(|| share.yielded());
                let (length, lesson) =
                    (body.as_ref().map(Bytes::len), lesson.map(|lesson| *lesson));
                let stranger = yielded.as_ref().and_then(|_unverified| self.stranger());
                let handoff = Handoff::new(permit, client, length, share, lesson, stranger, record);
                self.forward(session, body, handoff, yielded).await
            }
            // The answer holds its share of memory until it is read.
            Ok(Cleared::Answered(given)) => give(session, given.body.clone(), &mut record).await,
            Ok(Cleared::AnsweredAsBad(body)) => give(session, body, &mut record).await,
            Err(refusal) => {
                if leaves_out_of_step(refusal.rejection) {
                    session.set_keepalive(None);
                }
                self.gateway.gate.note(&refusal, record.client);
                if !is_trouble_of_ours(refusal.rejection) {
                    self.pause(session, record.client).await;
                }
                let answered = refuse(session, &refusal).await;
                record.refused(refusal);
                After::answer(&answered)
            }
        }
    }

    /// Waits before a refusal is told to somebody who has had many; for no longer than the process lives,
    /// nor than there is memory for the head meanwhile.
    async fn pause(&self, session: &mut ServerSession, client: IpAddr) {
        if !self.guest.refused() {
            return;
        }
        let mut share = self.gateway.budget.share(client);
        if share.take_now(head_bytes(request_head(session))).is_err() {
            return session.set_keepalive(None);
        }
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = self.guest.pause() => {}
            () = share.yielded() => session.set_keepalive(None),
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    fn record(&self, client: IpAddr, http: &'static str) -> Record {
        Record::begin(Arc::clone(&self.gateway.metrics), client, http)
    }

    /// Sets pingora's own per-session bounds, which it forgets or leaves open from one request to
    /// the next.
    fn bound_session(&self, session: &mut ServerSession) {
        let timeouts = self.gateway.timeouts;
        // HTTP/1.0 has no chunks: an answer of unknown length ends with the connection.
        let is_http10 = session.req_header().version == Version::HTTP_10;
        if *self.stopping.borrow() || is_http10 {
            session.set_keepalive(None);
        } else if session.get_keepalive().is_some() {
            session.set_keepalive(Some(timeouts.idle.as_secs().max(1)));
        }
        session.set_read_timeout(Some(timeouts.body.timeout));
        session.set_write_timeout(Some(timeouts.write));
        session.set_total_drain_timeout(Some(timeouts.head));
    }

    /// Hops 2 to 7: everything that decides whether the request is forwarded.
    async fn clear(
        &self,
        session: &mut ServerSession,
        record: &mut Record,
    ) -> Result<Cleared, Refusal> {
        if let Some(watch) = self.watch {
            check_wire(watch, session)?;
        }
        let gate = &self.gateway.gate;
        let head = request_head(session);
        let admitted = match gate.admit(head) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.clear_refused(session, refusal, record, None).await,
        };
        record.admitted(&admitted);
        let mut finding = std::pin::pin!(gate.find_keys(&admitted.claim, record.client));
        // What is refused at once takes no memory to wait in.
        let found = finding.as_mut().now_or_never();
        if let Some(Err(refusal)) = found {
            return self.clear_refused(session, refusal, record, None).await;
        }
        let mut share = self.share(head, record.client).await?;
        let keys = match found {
            Some(keys) => keys,
            None => share.unless_yielded(finding).await.map_err(refuse_room)?,
        };
        let keys = match keys {
            Ok(keys) => keys,
            Err(refusal) => {
                return self.clear_refused(session, refusal, record, Some(share)).await;
            }
        };
        record.end_stage(Stage::Keys);
        if admitted.body == BodyRule::Unbounded {
            let permit = gate.judge(&admitted, &Body::kept(&keys))?.permit;
            return self.clear_unread(session, permit, share).await;
        }
        let mut body = Body::kept(&keys);
        self.take_body(session, &admitted, &keys, &mut body, &mut share).await?;
        record.end_stage(Stage::Body);
        if let Some(question) = self.key_question(&admitted, body.bytes()) {
            // Nothing of the body is wanted any more, while the answer may have to be fetched.
            drop((body, share));
            // In a box: it is rare, and would be more than half of what each request takes.
            let answer = Box::pin(async { question?.answer(record.client).await });
            return answer.await.map(Cleared::Answered).map_err(refuse_question);
        }
        let apart = self.gateway.apart.turn(body.bytes_left()).await;
        let judged = apart.work(|| gate.judge(&admitted, &body));
        record.end_stage(Stage::Verify);
        let examined = match judged {
            Err(refusal) => Err(refusal),
            Ok(judged) => {
                if judged.permit.origin().is_some() {
                    share.keep().map_err(refuse_room)?;
                }
                record.hold(turn(session, gate, &judged.permit).await?);
                let examined = gate.examine(&admitted, &judged, body.bytes(), record.client).await;
                examined.map(|examined| (judged.permit, examined))
            }
        };
        let permit = match examined {
            Ok((_, Examined::Answered(answer))) => return Ok(Cleared::AnsweredAsBad(answer)),
            Ok((permit, Examined::Passed)) => permit,
            Err(refusal) => self.observe(refusal, record)?,
        };
        record.end_stage(Stage::Events);
        let lesson = gate.lesson(&admitted).map(Box::new);
        Ok(Cleared::Forward { permit, body: Some(body.into_bytes()), share, lesson })
    }

    /// The question of a request for keys that fedgate itself answers; none if the homeserver does.
    fn key_question(
        &self,
        admitted: &Admitted,
        body: &[u8],
    ) -> Option<Result<Question, KeyServerError>> {
        let (keys, target) = (&self.gateway.key_server, &admitted.target);
        match (admitted.endpoint, admitted.method == Method::POST) {
            (Endpoint::KeyServer, _) => keys.own_keys().map(Ok),
            (Endpoint::KeyQuery, true) => keys.query_by_post(body),
            (Endpoint::KeyQuery, false) => keys.query_by_get(target.path(), target.query()),
            _ => None,
        }
    }

    /// In observe mode, the permit for what would be refused; else the refusal.
    fn observe(&self, refusal: Refusal, record: &mut Record) -> Result<Permit, Refusal> {
        let permit = self.gateway.gate.observe(refusal)?;
        if let Some(refusal) = permit.observed_refusal() {
            record.observed(refusal.clone());
        }
        Ok(permit)
    }

    /// Memory for a request with this head.
    async fn share(&self, head: RequestHead<'_>, client: IpAddr) -> Result<Share, Refusal> {
        let mut share = self.gateway.budget.share(client);
        share.take(REQUEST_BYTES + head_bytes(head)).await.map_err(refuse_room)?;
        Ok(share)
    }

    /// A request that is refused before its body was looked at, if observe mode does not let it pass.
    async fn clear_refused(
        &self,
        session: &mut ServerSession,
        refusal: Refusal,
        record: &mut Record,
        share: Option<Share>,
    ) -> Result<Cleared, Refusal> {
        let permit = self.observe(refusal, record)?;
        let share = match share {
            Some(share) => share,
            None => self.share(request_head(session), record.client).await?,
        };
        self.clear_unread(session, permit, share).await
    }

    /// A request whose body passes as it comes.
    async fn clear_unread(
        &self,
        session: &mut ServerSession,
        permit: Permit,
        mut share: Share,
    ) -> Result<Cleared, Refusal> {
        if !session.is_body_empty() {
            share.take(STREAM_BYTES).await.map_err(refuse_room)?;
        }
        if session.req_header().headers.contains_key(EXPECT) {
            send_continue(session).await?;
        }
        Ok(Cleared::Forward { permit, body: None, share, lesson: None })
    }

    /// The pace of strangers, for one.
    fn stranger(&self) -> Option<Arc<Apart>> {
        self.guest.is_stranger().then(|| Arc::clone(&self.gateway.apart))
    }

    /// Hop 5: the whole body, after the `100 Continue` a client may be waiting for. A stranger's is only
    /// kept: of those that never become whole nothing is hashed.
    async fn take_body<'k>(
        &self,
        session: &mut ServerSession,
        admitted: &Admitted,
        keys: &'k FoundKeys,
        body: &mut Body<'k>,
        share: &mut Share,
    ) -> Result<(), Refusal> {
        if admitted.expects_continue {
            send_continue(session).await?;
        }
        let (pace, stranger) = (self.gateway.timeouts.body, self.stranger());
        if stranger.is_none() {
            *body = self.gateway.gate.hear(admitted, keys);
        }
        read_body(session, admitted.body, body, share, pace, stranger.as_deref()).await?;
        let chunked = session.req_header().headers.contains_key(TRANSFER_ENCODING);
        if chunked && self.watch.is_some_and(|watch| !watch.has_whole_chunks()) {
            return Err(Refusal::new(Rejection::RequestMalformed, "a line between chunks"));
        }
        Ok(())
    }

    /// Hop 8: hands the request to pingora and takes the client's session back.
    async fn forward(
        &self,
        session: &mut ServerSession,
        body: Option<Bytes>,
        handoff: Arc<Handoff>,
        yielded: Option<impl Future<Output = ()> + Send>,
    ) -> After {
        session.req_header_mut().extensions_mut().insert(Arc::clone(&handoff));
        let (lent, stopping) = (take(session), self.stopping.clone());
        let (custom, slot) = match body {
            Some(body) => Handed::lend(lent, body, stopping),
            None => Handed::lend_streaming(lent, self.gateway.timeouts.body.timeout, stopping),
        };
        let custom = ServerSession::new_custom(custom);
        let yielded = async {
            match yielded {
                Some(yielded) => yielded.await,
                None => std::future::pending().await,
            }
        };
        let has_yielded = tokio::select! {
            biased;
            _ended = self.gateway.proxy.process_new_http(custom, &NEVER) => false,
            () = yielded => true,
        };
        let Some(real) = take_back(&slot) else { return After::Gone };
        *session = real;
        if has_yielded {
            return give_way(session, &handoff).await;
        }
        // An answer that broke off must look broken off: ending the session properly would write
        // the end of a chunked body that never came.
        if handoff.is_completed() { After::Answered } else { After::BrokenOff }
    }
}

/// Ends a request that was being answered when its memory was asked back.
async fn give_way(session: &mut ServerSession, handoff: &Handoff) -> After {
    let refusal = refuse_room(NoRoom::Yielded);
    handoff.refused(refusal.clone());
    if session.response_written().is_some() {
        // Ending it properly would wait for its reader, and so would the memory.
        return After::Gone;
    }
    session.set_keepalive(None);
    // Whether it is heard or not, the connection ends.
    let _gone = refuse(session, &refusal).await;
    After::BrokenOff
}

/// Gives an answer of fedgate's own.
async fn give(session: &mut ServerSession, body: Bytes, record: &mut Record) -> After {
    record.answered();
    After::answer(&answer(session, body).await)
}

/// Asks the client for its body. The gate does that itself: the homeserver gets to see neither the
/// question nor a half-sent body.
async fn send_continue(session: &mut ServerSession) -> Result<(), Refusal> {
    // A client of 1.0 does not know interim answers (RFC 9110, 10.1.1).
    if session.req_header().version == Version::HTTP_10 {
        return Ok(());
    }
    let keepalive = session.get_keepalive();
    session
        .write_continue_response()
        .await
        .map_err(|error| Refusal::new(Rejection::ClientGone, error.etype().as_str()))?;
    // pingora takes the interim answer for a final one given too early, and would close.
    session.set_keepalive(keepalive);
    Ok(())
}

/// Whether a refused request may have left bytes behind that would be taken for the next one, or
/// that another hop has read differently (threats B1). pingora itself closes where a body was not
/// read to its end, but takes a chunked one for ended once it is broken.
const fn leaves_out_of_step(rejection: Rejection) -> bool {
    matches!(
        rejection,
        Rejection::ClientGone
            | Rejection::FramingAmbiguous
            | Rejection::HeadTooLarge
            | Rejection::RequestMalformed
            | Rejection::TargetRefused
    )
}

fn request_head(session: &ServerSession) -> RequestHead<'_> {
    let head = session.req_header();
    RequestHead { method: &head.method, raw_target: head.raw_path(), headers: &head.headers }
}

/// Whether a request is refused for something its sender has nothing to do with.
const fn is_trouble_of_ours(rejection: Rejection) -> bool {
    matches!(
        rejection,
        Rejection::HomeserverTimeout
            | Rejection::HomeserverUnavailable
            | Rejection::InternalError
            | Rejection::Overloaded
    )
}
