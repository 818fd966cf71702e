//! What is known of a request so far; at its end it becomes one count and one log line.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;
use tracing::{info, warn};

use super::metrics::ProxyMetrics;
use crate::gate::admission::{Admitted, Claim, shown};
use crate::gate::limits::Place;
use crate::gate::metrics::{GateMetrics, Stage, Verdict};
use crate::gate::quiet::Quiet;
use crate::gate::route::Endpoint;
use crate::gate::{Refusal, Rejection};
use crate::proto::ServerName;

/// The metric families of the whole way of a request.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The gate's.
    pub gate: GateMetrics,
    /// The shell's.
    pub proxy: ProxyMetrics,
    /// Which refusals have a line.
    pub lines: Arc<RefusalLines>,
}

/// How much of a method stands in a log line, in bytes: a peer may make one up.
const METHOD_BYTES_MAX: usize = 128;

/// Lines about refusals by reason, and whether observe mode held them back.
pub type RefusalLines = Quiet<(Rejection, bool)>;

/// Lines about refusals, limited at first; how many were left out is a line too.
pub fn refusal_lines() -> Arc<RefusalLines> {
    Quiet::new(|(rejection, is_observed), lines| {
        let verdict = if is_observed { "observed" } else { "refused" };
        let reason = rejection.code();
        info!(target: "fedgate::access", verdict, reason, lines, "more of these, left out");
    })
}

/// One request, from its complete head to the end of its response.
#[derive(Debug)]
pub struct Record {
    metrics: Arc<Metrics>,
    started: Instant,
    stage_started: Instant,
    /// The vetted client.
    pub client: IpAddr,
    http: &'static str,
    method: Option<Method>,
    endpoint: Option<Endpoint>,
    path: Option<String>,
    origin: Option<ServerName>,
    refusal: Option<Refusal>,
    observed: Option<Refusal>,
    homeserver_status: Option<u16>,
    answered: bool,
    place: Option<Place>,
}

impl Record {
    /// Begins with a request whose head is complete, or will never be.
    pub fn begin(metrics: Arc<Metrics>, client: IpAddr, http: &'static str) -> Self {
        metrics.proxy.in_flight.inc();
        let now = Instant::now();
        Self {
            metrics,
            started: now,
            stage_started: now,
            client,
            http,
            method: None,
            endpoint: None,
            path: None,
            origin: None,
            refusal: None,
            observed: None,
            homeserver_status: None,
            answered: false,
            place: None,
        }
    }

    /// Notes the method of the request.
    pub fn method(&mut self, method: &Method) {
        self.method = Some(method.clone());
    }

    /// Notes what the gate made of the head. Room and user IDs are not logged: the path is kept only
    /// where the operation alone would say nothing.
    pub fn admitted(&mut self, admitted: &Admitted) {
        self.endpoint = Some(admitted.endpoint);
        if matches!(admitted.endpoint, Endpoint::Other | Endpoint::Unlisted) {
            self.path = Some(shown(admitted.target.path().as_bytes()));
        }
        if let Claim::Signed(credentials) = &admitted.claim {
            self.origin = Some(credentials.origin.clone());
        }
    }

    /// Holds the request's place at the homeserver until its end.
    pub fn hold(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// Notes the end of a stage.
    pub fn end_stage(&mut self, stage: Stage) {
        let now = Instant::now();
        self.metrics.gate.stage(stage, now.duration_since(self.stage_started));
        self.stage_started = now;
    }

    /// Notes a refusal that observe mode held back.
    pub fn observed(&mut self, refusal: Refusal) {
        self.learn_from(&refusal);
        self.observed = Some(refusal);
    }

    /// Notes why the request was not forwarded, or not answered by the homeserver.
    pub fn refused(&mut self, refusal: Refusal) {
        self.learn_from(&refusal);
        self.refusal = Some(refusal);
    }

    /// A head that was refused tells as much of itself as was read before.
    fn learn_from(&mut self, refusal: &Refusal) {
        self.endpoint = self.endpoint.or(refusal.endpoint);
        if self.origin.is_none() {
            self.origin.clone_from(&refusal.origin);
        }
    }

    /// Notes that fedgate itself has the answer.
    pub const fn answered(&mut self) {
        self.answered = true;
    }

    /// Notes the homeserver's answer.
    pub fn homeserver_answered(&mut self, status: u16) {
        self.metrics.proxy.homeserver_response(status);
        self.homeserver_status = Some(status);
    }

    /// Whether nobody has said what becomes of it: it ended with its connection, which made room for
    /// another one, or was still there when fedgate stopped.
    const fn is_open(&self) -> bool {
        self.refusal.is_none() && !self.answered && self.homeserver_status.is_none()
    }

    fn verdict(&self) -> Verdict {
        match (&self.refusal, &self.observed) {
            (Some(refusal), _) => Verdict::Refused(refusal.rejection),
            (None, Some(observed)) => Verdict::Observed(observed.rejection),
            (None, None) if self.answered => Verdict::Answered,
            (None, None) => Verdict::Allowed,
        }
    }

    /// Whether there is to be a line. What was refused may be many.
    fn has_line(&self, verdict: Verdict) -> bool {
        let kind = match verdict {
            Verdict::Allowed | Verdict::Answered => return true,
            Verdict::Observed(rejection) => (rejection, true),
            Verdict::Refused(rejection) => (rejection, false),
        };
        self.metrics.lines.lets_through(kind)
    }

    fn log(&self, verdict: Verdict, took: Duration) {
        let detail = self.refusal.as_ref().or(self.observed.as_ref()).map(|r| r.detail.as_str());
        let status = match &self.refusal {
            Some(refusal) => Some(refusal.rejection.status().as_u16()),
            None if self.answered => Some(200),
            None => self.homeserver_status,
        };
        let method = self.method.as_ref().map_or("", Method::as_str);
        let method = method.get(..METHOD_BYTES_MAX).unwrap_or(method);
        // Milliseconds to the microsecond.
        let duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        macro_rules! line {
            ($level:ident, $message:literal) => {
                $level!(
                    target: "fedgate::access",
                    client = %self.client,
                    http = self.http,
                    method,
                    endpoint = self.endpoint.map(Endpoint::label),
                    path = self.path.as_deref(),
                    origin = self.origin.as_ref().map(ServerName::as_str),
                    status,
                    reason = verdict.reason(),
                    detail,
                    duration_ms,
                    $message
                )
            };
        }
        match verdict {
            Verdict::Allowed => line!(info, "forwarded"),
            Verdict::Answered => line!(info, "answered"),
            Verdict::Observed(_) => line!(warn, "forwarded, but would be refused"),
            Verdict::Refused(Rejection::InternalError) => line!(warn, "internal error"),
            Verdict::Refused(_) => line!(info, "refused"),
        }
    }
}

/// A request ends when nobody works on it any more, whatever the way there: so that none goes
/// uncounted, the end is the drop.
impl Drop for Record {
    fn drop(&mut self) {
        if self.refusal.is_none() && std::thread::panicking() {
            self.refusal = Some(Refusal::new(Rejection::InternalError, "a panic"));
        } else if self.is_open() {
            self.refused(Refusal::new(Rejection::Overloaded, "its connection had to end"));
        }
        let (verdict, took) = (self.verdict(), self.started.elapsed());
        self.metrics.proxy.in_flight.dec();
        self.metrics.proxy.request_took(took);
        self.metrics.gate.count(self.endpoint, verdict);
        if let (Verdict::Observed(rejection), Some(status)) = (verdict, self.homeserver_status) {
            self.metrics.gate.observed(rejection, matches!(status, 400 | 401 | 403));
        }
        if self.has_line(verdict) {
            self.log(verdict, took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::testing::logged;

    #[test]
    fn a_method_is_cut_in_the_line() {
        let registry = prometheus::Registry::new();
        let metrics = Arc::new(Metrics {
            gate: GateMetrics::register(&registry).unwrap(),
            proxy: ProxyMetrics::register(&registry).unwrap(),
            lines: refusal_lines(),
        });
        let (lines, _logging) = logged();
        for length in [METHOD_BYTES_MAX, METHOD_BYTES_MAX + 1] {
            let mut record = Record::begin(Arc::clone(&metrics), [127, 0, 0, 1].into(), "HTTP/1.1");
            record.method(&Method::from_bytes("M".repeat(length).as_bytes()).unwrap());
            record.refused(Refusal::new(Rejection::RequestMalformed, "made up"));
        }
        let whole = format!(" method=\"{}\" ", "M".repeat(METHOD_BYTES_MAX));
        let text = lines.text();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.contains(&whole)), "{text}");
    }
}
