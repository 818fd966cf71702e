//! The way to the homeserver: pingora's `HttpProxy` with our say in what is sent.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::time::Instant;

use super::apart::Apart;
use super::body::refuse_room;
use super::budget::Share;
use super::client::Client;
use super::record::Record;
use super::respond::Answer;
use crate::config::Homeserver;
use crate::gate::admission::is_stripped;
use crate::gate::events::Lesson;
use crate::gate::metrics::Stage;
use crate::gate::{Authorization, Permit, Refusal, Rejection};
use crate::proto::ServerName;

/// How long the address of a homeserver given by name is kept: a container that restarts has a new
/// one.
const ADDRESS_KEPT: Duration = Duration::from_secs(10);

/// How long an unused connection to the homeserver is kept. Synapse and Dendrite keep theirs for
/// longer, so a request rarely meets a closing one.
const HOMESERVER_IDLE: Duration = Duration::from_secs(30);

/// How long an answer may be, in bytes, before it is a long one: what each request has memory for.
const SHORT_ANSWER_BYTES: usize = 65_536;

/// What a long answer, or a body that is not held, takes beside that while its reader is slow, in bytes:
/// pingora 0.9.1 has a piece of 64 KiB in its hands, four that wait and four that are being written.
pub const STREAM_BYTES: usize = 9 * 65_536;

/// What travels with a request from the gateway through pingora to the hooks below and back.
#[derive(Debug)]
pub struct Handoff(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    permit: Option<Permit>,
    client: Client,
    content_length: Option<usize>,
    share: Option<Share>,
    lesson: Option<Lesson>,
    stranger: Option<Arc<Apart>>,
    record: Record,
    completed: bool,
}

impl Handoff {
    /// Packs what a permitted request takes along. `content_length` is that of a body held whole; where a
    /// `stranger` asks, a long answer has the pace of all strangers.
    pub fn new(
        permit: Permit,
        client: Client,
        content_length: Option<usize>,
        share: Share,
        lesson: Option<Lesson>,
        stranger: Option<Arc<Apart>>,
        record: Record,
    ) -> Arc<Self> {
        let (permit, share, completed) = (Some(permit), Some(share), false);
        let inner =
            Inner { permit, client, content_length, share, lesson, stranger, record, completed };
        Arc::new(Self(Mutex::new(inner)))
    }

    /// Whether the client has a whole answer, the homeserver's or ours: only then may its
    /// connection live on.
    pub fn is_completed(&self) -> bool {
        self.with(|inner| inner.completed)
    }

    /// Notes why the request was given up.
    pub fn refused(&self, refusal: Refusal) {
        self.with(|inner| inner.record.refused(refusal));
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is to be sent, fixed once from the permit and the same on every attempt.
#[derive(Debug)]
struct Rewrite {
    authorization: Authorization,
    client: Client,
    content_length: Option<usize>,
}

/// The state of one request in pingora's hooks.
#[derive(Debug, Default)]
pub struct Context {
    handoff: Option<Arc<Handoff>>,
    rewrite: Option<Rewrite>,
    /// The memory it may hold.
    share: Option<Share>,
    /// Whether that is enough for a long answer.
    has_room_for_answer: bool,
    /// The pace of a stranger's long answer.
    stranger: Option<Arc<Apart>>,
    /// How many bytes of the answer have come.
    answer_bytes: usize,
    /// Why we ended it ourselves.
    refusal: Option<Refusal>,
}

impl Context {
    /// Sees to memory for the answer that begins so.
    async fn make_room(&mut self, response: &ResponseHeader) -> Result<()> {
        let length = response.headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok());
        let length = length.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
        let beyond = length.saturating_sub(SHORT_ANSWER_BYTES).min(STREAM_BYTES);
        let Some(share) = self.share.as_mut().filter(|_| !self.has_room_for_answer) else {
            return Ok(());
        };
        if let Err(no_room) = share.take(beyond).await {
            self.refusal = Some(refuse_room(no_room));
            return Error::e_explain(ErrorType::InternalError, "no memory for the answer");
        }
        self.has_room_for_answer = true;
        Ok(())
    }

    /// How long to wait before so many bytes more of the answer are passed on.
    fn delay(&mut self, bytes: usize) -> Option<Duration> {
        self.answer_bytes = self.answer_bytes.saturating_add(bytes);
        let stranger = self.stranger.as_ref().filter(|_| self.answer_bytes > SHORT_ANSWER_BYTES)?;
        Some(stranger.strangers_answer(bytes)).filter(|delay| !delay.is_zero())
    }
}

/// Timeouts towards the homeserver.
#[derive(Clone, Copy, Debug)]
pub struct HomeserverTimeouts {
    /// For a connection to be made.
    pub connect: Duration,
    /// For the next bytes to be taken or sent.
    pub io: Duration,
}

/// pingora's hooks for requests that hold a permit.
pub struct Forwarder {
    homeserver: Homeserver,
    server_name: ServerName,
    timeouts: HomeserverTimeouts,
    resolved: tokio::sync::Mutex<Option<(Instant, std::net::SocketAddr)>>,
}

impl Forwarder {
    /// Forwards to `homeserver`, which is `server_name`.
    pub fn new(
        homeserver: Homeserver,
        server_name: ServerName,
        timeouts: HomeserverTimeouts,
    ) -> Self {
        Self { homeserver, server_name, timeouts, resolved: tokio::sync::Mutex::new(None) }
    }

    async fn peer(&self) -> Result<HttpPeer> {
        match &self.homeserver {
            Homeserver::Tcp { host, port } => {
                let address = self.resolve(host, *port).await?;
                Ok(HttpPeer::new(address, false, String::new()))
            }
            Homeserver::Unix(path) => unix_peer(path),
        }
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<std::net::SocketAddr> {
        let mut resolved = self.resolved.lock().await;
        if let Some((at, address)) = *resolved
            && at.elapsed() < ADDRESS_KEPT
        {
            return Ok(address);
        }
        let found =
            tokio::time::timeout(self.timeouts.connect, tokio::net::lookup_host((host, port)))
                .await;
        let address = match found {
            Ok(Ok(mut addresses)) => addresses.next(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(address) = address else {
            return Error::e_explain(
                ErrorType::ConnectNoRoute,
                format!("homeserver host {host} does not resolve"),
            );
        };
        *resolved = Some((Instant::now(), address));
        Ok(address)
    }
}

fn unix_peer(path: &Path) -> Result<HttpPeer> {
    let text = path.to_str().unwrap_or_default();
    HttpPeer::new_uds(text, false, String::new())
}

#[async_trait]
impl ProxyHttp for Forwarder {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {
        // None: nothing is compressed or otherwise touched on the way.
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let handoff = session.req_header().extensions.get::<Arc<Handoff>>().cloned();
        let permit = handoff.as_ref().and_then(|h| h.with(|inner| inner.permit.take()));
        // Nothing passes without a permit; there is no way to get here without one.
        let (Some(handoff), Some(permit)) = (handoff, permit) else {
            return Error::e_explain(ErrorType::InternalError, "no permit");
        };
        let (client, content_length) = handoff.with(|inner| {
            (ctx.share, ctx.stranger) = (inner.share.take(), inner.stranger.take());
            (inner.client, inner.content_length)
        });
        ctx.rewrite = Some(Rewrite { authorization: permit.consume(), client, content_length });
        ctx.handoff = Some(handoff);
        Ok(())
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let mut peer = self.peer().await?;
        peer.options.connection_timeout = Some(self.timeouts.connect);
        peer.options.total_connection_timeout = Some(self.timeouts.connect);
        peer.options.read_timeout = Some(self.timeouts.io);
        peer.options.write_timeout = Some(self.timeouts.io);
        peer.options.idle_timeout = Some(HOMESERVER_IDLE);
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(rewrite) = &ctx.rewrite else {
            return Error::e_explain(ErrorType::InternalError, "no permit");
        };
        if !request.headers.contains_key(HOST) {
            request.insert_header(HOST, self.server_name.as_str())?;
        }
        rewrite.apply(request)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        // Nobody asked for another protocol: what followed would pass unseen (threats B4).
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "a switch of protocols");
        }
        if session.req_header().version == Version::HTTP_10 {
            response.remove_header(&TRANSFER_ENCODING);
        }
        if response.status.is_informational() {
            return Ok(());
        }
        ctx.make_room(response).await?;
        if let Some(handoff) = &ctx.handoff {
            handoff.with(|inner| {
                inner.record.homeserver_answered(response.status.as_u16());
                if let Some(lesson) = &mut inner.lesson {
                    lesson.begin(response.status, &response.headers);
                }
            });
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        is_last: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        if let Some(handoff) = &ctx.handoff {
            handoff.with(|inner| {
                if let Some(lesson) = &mut inner.lesson {
                    lesson.read(body.as_deref().unwrap_or_default(), is_last);
                }
            });
        }
        Ok(ctx.delay(body.as_ref().map_or(0, Bytes::len)))
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let refusal = ctx.refusal.take().unwrap_or_else(|| refusal_for(error));
        let status = refusal.rejection.status().as_u16();
        // An interim answer that was passed on is still to be followed by a final one.
        let unanswered = session.response_written().is_none_or(|r| r.status.is_informational());
        let may_answer = unanswered && *error.esource() != ErrorSource::Downstream;
        let mut answered = false;
        if may_answer && let Ok(Answer { header, body }) = Answer::new(&refusal) {
            // A client that has gone meanwhile hears nothing, and needs nothing.
            answered = session.write_response_header(Box::new(header), false).await.is_ok()
                && session.write_response_body(Some(body), true).await.is_ok();
        }
        if let Some(handoff) = &ctx.handoff {
            handoff.with(|inner| inner.completed = answered);
            handoff.refused(refusal);
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, _session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        if let Some(handoff) = &ctx.handoff {
            handoff.with(|inner| {
                inner.completed |= error.is_none();
                inner.record.end_stage(Stage::Homeserver);
            });
        }
    }

    /// One line per request is ours to write; see [`Record`].
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }
}

fn refusal_for(error: &Error) -> Refusal {
    let rejection = match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, _) => Rejection::ClientGone,
        (_, ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
            Rejection::HomeserverTimeout
        }
        (_, ErrorType::InternalError) => Rejection::InternalError,
        _ => Rejection::HomeserverUnavailable,
    };
    Refusal::new(rejection, error.to_string().escape_debug())
}

impl Rewrite {
    /// Writes the header for the homeserver: what belongs to one hop or would speak in our name goes
    /// first, our own fields are set last.
    fn apply(&self, request: &mut RequestHeader) -> Result<()> {
        let stripped: Vec<HeaderName> =
            request.headers.keys().filter(|name| is_stripped(name)).cloned().collect();
        for name in stripped {
            // A body that is still streaming keeps the framing pingora gave it.
            let framing = name == TRANSFER_ENCODING;
            if !(framing && self.content_length.is_none()) {
                request.remove_header(&name);
            }
        }
        if let Authorization::Rewritten(values) = &self.authorization {
            request.remove_header(&AUTHORIZATION);
            for value in values {
                request.append_header(AUTHORIZATION, value.as_str())?;
            }
        }
        if let Some(length) = self.content_length {
            request.remove_header(&CONTENT_LENGTH);
            let has_content = matches!(request.method, http::Method::PUT | http::Method::POST);
            if length > 0 || has_content {
                request.insert_header(CONTENT_LENGTH, length)?;
            }
        }
        request.insert_header("X-Forwarded-For", self.client.address.to_string())?;
        let scheme = if self.client.tls { "https" } else { "http" };
        request.insert_header("X-Forwarded-Proto", scheme)
    }
}
