//! The settings themselves.

use super::Default::{Required, Unset, Value};
use super::limits::LIMITS;
use super::policy::POLICY;
use super::{Kind, Opt, Section};

/// Every section with its settings, in the order of the sample.
pub(crate) const SECTIONS: &[Section] =
    &[TOP, LISTEN, OUTBOUND, KEYS, NOTARIES, PINS, KEY_SERVER, POLICY, EVENTS, ADMIN, LIMITS, LOG];

pub(super) const fn option(
    name: &'static str,
    kind: Kind,
    default: super::Default,
    doc: &'static str,
) -> Opt {
    Opt { name, kind, default, doc }
}

/// The settings at the top of the file.
pub(crate) const TOP: Section = Section {
    name: "",
    repeated: false,
    doc: "",
    options: &[
        option(
            "server_name",
            Kind::Text,
            Required(r#""example.org""#),
            "The homeserver's server name: the part after the colon in its users' IDs. Requests\n\
             signed for any other name are refused.",
        ),
        option(
            "server_names",
            Kind::List,
            Unset(r#"["example.org", "example.net"]"#),
            "Instead of server_name, when one homeserver answers to several names. The first is\n\
             the main one.",
        ),
        option(
            "homeserver",
            Kind::Text,
            Required(r#""http://127.0.0.1:8008""#),
            "Where verified requests go: the homeserver's plain HTTP federation listener, as\n\
             \"http://host:port\", or its unix socket, as \"unix:/run/synapse/federation.sock\".\n\
             Nobody else should be able to reach that listener.",
        ),
        option(
            "mode",
            Kind::Text,
            Value(r#""enforce""#),
            "\"enforce\" refuses what fails a check. \"observe\" forwards everything and only\n\
             counts and logs what would have been refused: the homeserver is NOT protected then.",
        ),
    ],
};

const LISTEN: Section = Section {
    name: "listen",
    repeated: false,
    doc: "How other servers reach fedgate.",
    options: &[
        option(
            "address",
            Kind::Text,
            Unset(r#""0.0.0.0:8448""#),
            "The address and port to listen on. Unless set: 0.0.0.0:8448 with a certificate (TLS),\n\
             0.0.0.0:8449 without (plain HTTP, for use behind a proxy that ends TLS). IPv6 as\n\
             \"[::]:8448\".",
        ),
        option(
            "tls_certificate",
            Kind::Text,
            Unset(r#""/etc/fedgate/tls/fullchain.pem""#),
            "The certificate chain in PEM, leaf first. Read again when the file changes. Set\n\
             together with tls_private_key, or leave both out.",
        ),
        option(
            "tls_private_key",
            Kind::Text,
            Unset(r#""/etc/fedgate/tls/privkey.pem""#),
            "The certificate's private key in PEM.",
        ),
        option(
            "trusted_proxies",
            Kind::List,
            Value(r#"["127.0.0.0/8"]"#),
            "Proxies in front of fedgate, as address ranges. From these, and only these, the\n\
             X-Forwarded-For header is believed.",
        ),
        option(
            "other_paths",
            Kind::Text,
            Value(r#""refuse""#),
            "What happens to paths outside federation, such as the client API: \"refuse\" answers\n\
             404, \"forward\" passes them on unverified (for a port shared with clients).",
        ),
        option(
            "handover",
            Kind::Text,
            Unset(r#""/run/fedgate/handover.sock""#),
            "A unix socket over which a fedgate that starts takes over from the one that serves: its\n\
             listening sockets, its file of keys. No request is lost; the old one ends once its own\n\
             are answered, and goes on if the new one cannot start. SIGUSR2 starts the new one.",
        ),
    ],
};

const OUTBOUND: Section = Section {
    name: "outbound",
    repeated: false,
    doc: "How other servers are reached when their keys are fetched.",
    options: &[
        option(
            "ca_file",
            Kind::Text,
            Unset(r#""/etc/fedgate/ca.pem""#),
            "Certificate authorities in PEM to trust instead of the system's.",
        ),
        option(
            "allowed_ranges",
            Kind::List,
            Value("[]"),
            "Loopback, private, link-local and other special-purpose addresses are never dialled,\n\
             whatever a stranger's DNS says. Ranges listed here are dialled all the same, as in\n\
             [\"10.0.0.0/8\"] for a federation inside a private network.",
        ),
        option(
            "proxy",
            Kind::Text,
            Value(r#""""#),
            "A proxy that connections to other servers are made through: \"http://host:port\" (it\n\
             must allow CONNECT) or \"socks5://host:port\", with user:password@ before the host if\n\
             it asks for them. Names are resolved and addresses checked here all the same: the\n\
             proxy is only ever asked for a permitted address.",
        ),
        option(
            "dns_servers",
            Kind::List,
            Value("[]"),
            "Name servers to ask instead of the system's, as \"address\" or \"address:port\".",
        ),
    ],
};

const KEYS: Section = Section {
    name: "keys",
    repeated: false,
    doc: "How the signing keys of other servers are found and kept.",
    options: &[
        option(
            "sources",
            Kind::List,
            Value(r#"["homeserver", "origin", "notaries"]"#),
            "Whom to ask for keys, in this order: the own homeserver (which knows most already),\n\
             the server itself, the notaries below. Leave one out to never ask it.",
        ),
        option(
            "homeserver_head_start",
            Kind::Text,
            Value(r#""500ms""#),
            "How long the homeserver is waited for before the next source is asked beside it; the\n\
             first valid answer wins.",
        ),
        option(
            "origin_head_start",
            Kind::Text,
            Value(r#""1s""#),
            "The same for the server itself.",
        ),
        option(
            "notaries_head_start",
            Kind::Text,
            Value(r#""1s""#),
            "The same for the notaries, which are asked all at once.",
        ),
        option(
            "agreement",
            Kind::Count,
            Value("1"),
            "How many independent witnesses must show the same key before it is trusted: the server\n\
             itself and each notary count as one, the own homeserver as none. While they disagree,\n\
             or too few answer, requests are answered 503.",
        ),
        option(
            "binding",
            Kind::Text,
            Value(r#""enforce""#),
            "What happens when a server shows another key under a key ID it has used before: with\n\
             \"enforce\" the first key stays, with \"observe\" the new one is used. Either is logged\n\
             and counted.",
        ),
        option(
            "store",
            Kind::Text,
            Unset(r#""/var/lib/fedgate/keys.redb""#),
            "The file that keeps keys over restarts; \"\" keeps them in memory only. Unless set: this\n\
             file where its folder exists, else memory.",
        ),
        option(
            "fetch_timeout",
            Kind::Text,
            Value(r#""8s""#),
            "Total time for finding a key, over all sources. A request whose key cannot be had in\n\
             time is answered 503, so that its sender tries again.",
        ),
        option(
            "banned",
            Kind::List,
            Value("[]"),
            "Public keys (base64) that are refused wherever they turn up, beside those fedgate\n\
             ships with.",
        ),
        option(
            "banned_key_ids",
            Kind::List,
            Value("[]"),
            "Server names with key IDs whose keys are refused, as in [\"example.org ed25519:auto\"].",
        ),
        option(
            "banned_servers",
            Kind::List,
            Value("[]"),
            "Servers none of whose keys are used. `fedgate keys ban` does the same at run time.",
        ),
        option(
            "cache_bytes_max",
            Kind::Size,
            Value(r#""128 MiB""#),
            "Memory for keys; those of the least used servers leave it first, and are read from the\n\
             file again. A server takes about 1.3 KiB as a rule, and up to 2 KiB once somebody has\n\
             asked fedgate as a notary for its keys.",
        ),
        option(
            "first_seen_per_second",
            Kind::Count,
            Value("20"),
            "How many servers never seen before are looked up per second, over all clients. Requests\n\
             beyond that are answered 503. Sixteen seconds' worth can be saved up.",
        ),
        option(
            "first_seen_per_second_per_network",
            Kind::Count,
            Value("2"),
            "The same for one client network (an IPv4 /24 or IPv6 /56).",
        ),
    ],
};

const NOTARIES: Section = Section {
    name: "notaries",
    repeated: true,
    doc: "Servers that are asked for the keys of others, in this order. Repeat the section for each.",
    options: &[
        option("server_name", Kind::Text, Required(r#""matrix.org""#), "The notary's server name."),
        option(
            "verify_keys",
            Kind::Table,
            Required(r#"{ "ed25519:auto" = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw" }"#),
            "Its signing keys, by key ID, learnt from a place you trust. Its answers must carry a\n\
             valid signature by one of them; a notary without is refused.",
        ),
    ],
};

const PINS: Section = Section {
    name: "pins",
    repeated: true,
    doc: "Keys of other servers that are used without asking anybody, and that no other key may take\n\
          the ID of. `fedgate keys pin` does the same at run time.",
    options: &[
        option("server_name", Kind::Text, Required(r#""example.com""#), "The server's name."),
        option(
            "verify_keys",
            Kind::Table,
            Required(r#"{ "ed25519:auto" = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw" }"#),
            "Its keys, by key ID, learnt from a place you trust.",
        ),
    ],
};

const KEY_SERVER: Section = Section {
    name: "key_server",
    repeated: false,
    doc: "What fedgate answers below /_matrix/key/v2/ itself.",
    options: &[
        option(
            "publish",
            Kind::Text,
            Value(r#""forward""#),
            "The homeserver's own keys (/_matrix/key/v2/server): \"forward\" asks the homeserver each\n\
             time, \"cached\" keeps its answer and goes on giving it while the homeserver is down,\n\
             \"own\" makes the answer here from signing_key_file.",
        ),
        option(
            "queries",
            Kind::Text,
            Value(r#""forward""#),
            "Questions for the keys of others (/_matrix/key/v2/query): \"forward\" leaves them to the\n\
             homeserver, \"answer\" makes fedgate a notary, which signs its answers.",
        ),
        option(
            "signing_key_file",
            Kind::Text,
            Unset(r#""/etc/matrix-synapse/example.org.signing.key""#),
            "The homeserver's signing keys, as Synapse writes them.",
        ),
        option(
            "notary_key_file",
            Kind::Text,
            Unset(r#""/etc/fedgate/notary.key""#),
            "The keys that sign a notary's answers, made with `fedgate notary keygen`; those of\n\
             signing_key_file unless set. For a rotation, put the new key before the old one: both\n\
             sign.",
        ),
        option(
            "old_verify_keys",
            Kind::Table,
            Value("{}"),
            "For \"own\": keys the homeserver has used before, each with the time of its end in\n\
             milliseconds since 1970, as in { \"ed25519:old\" = \"KEY 1767225600000\" }. Events signed\n\
             with them stay verifiable.",
        ),
        option(
            "valid_for",
            Kind::Text,
            Value(r#""24h""#),
            "For \"own\": how long others may use the keys before they ask again, from 2h to 24h.",
        ),
        option(
            "own_clients",
            Kind::List,
            Value("[]"),
            "Address ranges of the own homeserver, where it uses fedgate as its notary: its\n\
             questions are not held to the budgets for strangers. Set keys.sources then, without\n\
             \"homeserver\": each would ask the other.",
        ),
        option(
            "fetches_per_query_max",
            Kind::Count,
            Value("100"),
            "How many servers one question of a stranger may make fedgate ask; what is kept of\n\
             further ones is answered all the same.",
        ),
    ],
};

const EVENTS: Section = Section {
    name: "events",
    repeated: false,
    doc: "The events (PDUs) and EDUs inside of verified requests.",
    options: &[
        option(
            "mode",
            Kind::Text,
            Value(r#""report""#),
            "\"off\" does not look at them. \"report\" checks form, hashes and signatures of each event\n\
             with keys that were valid at its time, counts, and writes a line for each bad one; only\n\
             requests that break the rules of their endpoint are refused. \"enforce\" also refuses\n\
             membership events that are bad, and answers transactions in which nothing is good itself.",
        ),
        option(
            "time_budget",
            Kind::Text,
            Value(r#""250ms""#),
            "How long a request may wait for its events to be checked, with all keys that have to be\n\
             fetched for that. What is not checked by then passes unchecked, and is counted.",
        ),
        option(
            "fetches_per_request_max",
            Kind::Count,
            Value("10"),
            "How many other servers one request may make fedgate ask for keys that its events are\n\
             signed with.",
        ),
        option(
            "rooms_max",
            Kind::Count,
            Value("100000"),
            "Rooms whose version is remembered, a few hundred bytes for each. Events of other rooms are\n\
             bad only if they are so in every version that they may be of.",
        ),
        option(
            "admin_token_file",
            Kind::Text,
            Unset(r#""/etc/fedgate/synapse-admin-token""#),
            "A file with the access token of an administrator of Synapse. With it, Synapse is asked for\n\
             the versions of its rooms; without, they are learnt from what passes.",
        ),
        option(
            "admin_api",
            Kind::Text,
            Unset(r#""http://127.0.0.1:8008""#),
            "Where Synapse's admin API (/_synapse/admin) is, if not where `homeserver` says.",
        ),
    ],
};

const ADMIN: Section = Section {
    name: "admin",
    repeated: false,
    doc: "Health, metrics, and the API that `fedgate keys` uses.",
    options: &[
        option(
            "address",
            Kind::Text,
            Value(r#""127.0.0.1:9448""#),
            "The address and port of /health, /ready, /metrics and /api/v1. Health and metrics ask\n\
             for no password: keep it on loopback or in a private network.",
        ),
        option(
            "token_file",
            Kind::Text,
            Unset(r#""/etc/fedgate/admin-token""#),
            "A file with a secret of at least 20 characters that /api/v1 asks for. Without it,\n\
             /api/v1 serves this machine only, and everybody who is on it.",
        ),
    ],
};

const LOG: Section = Section {
    name: "log",
    repeated: false,
    doc: "What is logged, on the standard error output.",
    options: &[
        option(
            "format",
            Kind::Text,
            Value(r#""auto""#),
            "\"human\" for people, \"json\" for machines, \"auto\" for human on a terminal and json\n\
             otherwise.",
        ),
        option(
            "filter",
            Kind::Text,
            Value(r#""info""#),
            "How much: \"error\", \"warn\", \"info\", \"debug\" or \"trace\", also by module, as in\n\
             \"info,fedgate::keys=debug\".",
        ),
        option(
            "refusals",
            Kind::Text,
            Value(r#""limited""#),
            "\"all\" writes a line for each refusal and each bad event. \"limited\" writes one a second\n\
             for each reason once there are many, and how many were left out. The metrics count all.",
        ),
    ],
};
