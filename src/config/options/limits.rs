//! The settings of the section `limits`.

use super::Default::Value;
use super::table::option;
use super::{Kind, Section};

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
            Value(r#""192 MiB""#),
            "All requests held at one time, with 64 KiB for each beside its head and its body, which is\n\
             held whole until it is verified. Beyond that, the network that holds most gives way to\n\
             those that hold less, and requests are answered 503. At least body_bytes_max and 128 KiB.",
        ),
        option(
            "buffered_bytes_max_per_network",
            Kind::Size,
            Value(r#""64 MiB""#),
            "The same for one client network (an IPv4 /24 or IPv6 /56); beyond that, its requests are\n\
             answered 429. Behind a trusted proxy the address that it names counts. At least\n\
             body_bytes_max and 128 KiB.",
        ),
        option(
            "connections_max",
            Kind::Count,
            Value("4096"),
            "Connections from other servers at one time. At that number, those that have shown no\n\
             valid signature yet give way to new ones, the oldest first. The process's limit on open\n\
             files must be at least twice as high.",
        ),
        option(
            "connections_max_per_network",
            Kind::Count,
            Value("256"),
            "The same for one client network; further ones are closed at once. Does not hold for\n\
             listen.trusted_proxies.",
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
            "body_rate_min",
            Kind::Size,
            Value(r#""4 KiB""#),
            "How fast a body must arrive at least, per second and on average; 0 leaves it to\n\
             body_timeout alone. The slowest lines that servers have are several times faster.",
        ),
        option(
            "body_rate_grace",
            Kind::Text,
            Value(r#""5s""#),
            "How far a body may be behind that before it is given up.",
        ),
        option(
            "response_timeout",
            Kind::Text,
            Value(r#""60s""#),
            "How long the other side may take to read the next part of its response.",
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
        option(
            "origin_per_second",
            Kind::Count,
            Value("200"),
            "Verified requests of one server per second; those beyond are delayed by origin_delay. This\n\
             and the next four are what rc_federation is in Synapse, which limits by itself, in each of\n\
             its workers: these are for what no Synapse with default settings would take.",
        ),
        option(
            "origin_delay",
            Kind::Text,
            Value(r#""250ms""#),
            "How long a request beyond origin_per_second is delayed.",
        ),
        option(
            "origin_concurrent",
            Kind::Count,
            Value("100"),
            "Requests of one server at the homeserver at one time; others wait.",
        ),
        option(
            "origin_queue",
            Kind::Count,
            Value("200"),
            "Requests of one server that may be delayed or wait; further ones are answered 429.",
        ),
        option(
            "origin_queue_timeout",
            Kind::Text,
            Value(r#""10s""#),
            "How long a request may wait before it is answered 429.",
        ),
        option(
            "failures_per_second",
            Kind::Count,
            Value("10"),
            "Requests of one client (an IPv4 address or IPv6 /64) per second that are refused for what\n\
             they are; ten seconds' worth can be saved up. While there are more, its signed requests\n\
             are answered 429 unread. Private addresses are not counted.",
        ),
        option(
            "open_per_second",
            Kind::Count,
            Value("50"),
            "Requests of one client per second that need no signature, such as for keys; ten seconds'\n\
             worth can be saved up. key_server.own_clients and private addresses are not counted.",
        ),
        option(
            "bad_signatures_per_second",
            Kind::Count,
            Value("3"),
            "With more bad signatures than this in one server's name from one client, requests in that\n\
             name from there are answered 429 unread for the time of cool_down.",
        ),
        option("cool_down", Kind::Text, Value(r#""10s""#), "How long that is."),
    ],
};
