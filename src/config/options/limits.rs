//! The bounds.

use super::Default::Value;
use super::table::option;
use super::{Kind, Section};

/// What requests may take.
pub(super) const LIMITS: Section = Section {
    name: "limits",
    repeated: false,
    doc: "Bounds. Sizes are bytes, or texts such as \"12.5 MiB\"; times are texts such as \"90s\", \"5m\".",
    options: &[
        option(
            "body_bytes_max",
            Kind::Size,
            Value("13107200"),
            "Largest request body; a larger one is answered 413. The default, 12.5 MiB, is the most\n\
             Synapse takes.",
        ),
        option(
            "buffered_bytes_max",
            Kind::Size,
            Value(r#""256 MiB""#),
            "All request bodies held at one time: each is held whole until it is verified. Beyond\n\
             that, requests are answered 503. At least body_bytes_max.",
        ),
        option(
            "connections_max",
            Kind::Count,
            Value("4096"),
            "Connections from other servers at one time. The process's limit on open files must be\n\
             at least twice as high.",
        ),
        option(
            "head_timeout",
            Kind::Text,
            Value(r#""10s""#),
            "Total time for a request's head to arrive.",
        ),
        option(
            "body_timeout",
            Kind::Text,
            Value(r#""60s""#),
            "Total time for a request's body to arrive.",
        ),
        option(
            "idle_timeout",
            Kind::Text,
            Value(r#""120s""#),
            "How long a connection without a request is kept. Synapse closes its own after 120 s.",
        ),
        option(
            "homeserver_connect_timeout",
            Kind::Text,
            Value(r#""5s""#),
            "Time for a connection to the homeserver to be made.",
        ),
        option(
            "homeserver_io_timeout",
            Kind::Text,
            Value(r#""5m""#),
            "Time for the homeserver to start its answer, or to send or take the next bytes. It is\n\
             long on purpose: a join to a large room or a media download may keep it busy for\n\
             minutes, and a request cut off here is only sent again.",
        ),
        option(
            "drain_timeout",
            Kind::Text,
            Value(r#""30s""#),
            "Time for requests in flight to end after SIGTERM.",
        ),
    ],
};
