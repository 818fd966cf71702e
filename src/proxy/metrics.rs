//! What the shell does, in numbers.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

/// Why fedgate ended a connection before its time, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyEnd {
    /// More HTTP/2 frames than anybody needs who only asks for something.
    ControlFrames,
    /// It gave way to another one.
    MadeRoom,
    /// Its network had all the connections it may have.
    NetworkFull,
    /// More HTTP/2 requests taken back than anybody has reason to.
    Resets,
    /// An HTTP/2 frame was incomplete for too long.
    SlowFrame,
    /// Its network, or all strangers together, made more connections than they may in that time.
    TooManyNew,
    /// What fedgate had to say was not read.
    Unread,
}

impl EarlyEnd {
    const fn label(self) -> &'static str {
        match self {
            Self::ControlFrames => "control_frames",
            Self::MadeRoom => "made_room",
            Self::NetworkFull => "network_full",
            Self::Resets => "resets",
            Self::SlowFrame => "slow_frame",
            Self::TooManyNew => "too_many_new",
            Self::Unread => "unread",
        }
    }
}

/// The shell's metric families.
#[derive(Clone, Debug)]
pub struct ProxyMetrics {
    connections: IntGauge,
    early_ends: IntCounterVec,
    /// Refusals that waited, because the same connection had so many before.
    pub refusals_paused: prometheus::IntCounter,
    /// Requests being worked on.
    pub in_flight: IntGauge,
    /// Memory held by requests' heads and bodies, in bytes.
    pub body_bytes: IntGauge,
    /// TLS handshakes that failed or took too long.
    pub failed_handshakes: prometheus::IntCounter,
    homeserver_responses: IntCounterVec,
    request_seconds: Histogram,
}

/// A connection that is counted as open.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ProxyMetrics {
    /// Registers the families.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            connections: IntGauge::new(
                "fedgate_connections",
                "Connections from other servers that are open",
            )?,
            early_ends: IntCounterVec::new(
                Opts::new(
                    "fedgate_connections_ended_early_total",
                    "Connections that fedgate ended to protect itself, by the reason",
                ),
                &["reason"],
            )?,
            refusals_paused: prometheus::IntCounter::new(
                "fedgate_refusals_paused_total",
                "Refusals that waited, because the same connection had had so many before",
            )?,
            in_flight: IntGauge::new("fedgate_requests_in_flight", "Requests being worked on")?,
            body_bytes: IntGauge::new(
                "fedgate_request_body_bytes",
                "Memory held by request bodies and the heads before them, in bytes",
            )?,
            failed_handshakes: prometheus::IntCounter::new(
                "fedgate_tls_handshake_failures_total",
                "TLS handshakes that failed or took too long",
            )?,
            homeserver_responses: IntCounterVec::new(
                Opts::new(
                    "fedgate_homeserver_responses_total",
                    "Responses of the homeserver by status class",
                ),
                &["status"],
            )?,
            request_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "fedgate_request_duration_seconds",
                    "Time from a request's complete head to the end of its response",
                )
                .buckets(prometheus::exponential_buckets(0.000_5, 4.0, 10)?),
            )?,
        };
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.early_ends.clone()))?;
        registry.register(Box::new(metrics.refusals_paused.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.body_bytes.clone()))?;
        registry.register(Box::new(metrics.failed_handshakes.clone()))?;
        registry.register(Box::new(metrics.homeserver_responses.clone()))?;
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        Ok(metrics)
    }

    /// Counts a connection as open until the guard is dropped, however it ends.
    #[must_use]
    pub fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Counts a connection that is ended before its time.
    pub fn ended_early(&self, why: EarlyEnd) {
        self.early_ends.with_label_values(&[why.label()]).inc();
    }

    /// Counts a response of the homeserver.
    pub fn homeserver_response(&self, status: u16) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.homeserver_responses.with_label_values(&[class]).inc();
    }

    /// Records the time of one whole request.
    pub fn request_took(&self, took: Duration) {
        self.request_seconds.observe(took.as_secs_f64());
    }
}
