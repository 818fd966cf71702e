//! Every cap of the pure core as a constant, with its origin.

/// Largest request body that is read, in bytes: Synapse's own ceiling for a federation request,
/// 200 events of 65,536 bytes (R39).
pub const BODY_BYTES_MAX: usize = 200 * 65_536;

/// Deepest nesting of arrays and objects in a JSON text. CPython, which Synapse parses with, is known
/// to take 500 and refuses somewhat below 1,000.
pub const JSON_DEPTH_MAX: usize = 500;

/// Longest integer literal in digits: CPython's limit for converting text to an integer
/// (`sys.int_info.default_max_str_digits`), above which Synapse refuses the body.
pub const JSON_INTEGER_DIGITS_MAX: usize = 4_300;

/// Longest server name in bytes ("total length should not exceed 230", appendices, server name).
pub const SERVER_NAME_BYTES_MAX: usize = 230;

/// Longest key ID in bytes. The spec sets none; real ones are below 32.
pub const KEY_ID_BYTES_MAX: usize = 128;

/// Longest value of one `Authorization` header in bytes: two server names, a key ID and a signature
/// take less than 800.
pub const X_MATRIX_BYTES_MAX: usize = 4_096;

/// Most parameters in one `Authorization: X-Matrix` header: four are known, unknown ones are skipped.
pub const X_MATRIX_PARAMETERS_MAX: usize = 32;

/// Most `Authorization: X-Matrix` headers in one request: Synapse sends one per signing key, and
/// servers have one, or two while rotating.
pub const X_MATRIX_HEADERS_MAX: usize = 8;

/// Longest request target in bytes. The spec sets no limit; the longest that are sent, `make_join`
/// with every room version and `backfill` with a list of events, stay below 2 KiB.
pub const TARGET_BYTES_MAX: usize = 8_192;

/// How long a fetched key document is trusted at most, in milliseconds: "the lesser of this field and
/// 7 days into the future", measured from the fetch (R42).
pub const KEY_VALIDITY_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

/// Largest key document in bytes. The spec sets none; real ones are below 4 KiB.
pub const SERVER_KEYS_BYTES_MAX: usize = 65_536;

/// Most signing keys of one's own: one, two while they are exchanged, and some left over. Each signs
/// every document.
pub const SIGNING_KEYS_MAX: usize = 8;

/// Most entries read from `verify_keys` and from `old_verify_keys`, each; a document with more is
/// refused.
pub const KEYS_PER_DOCUMENT_MAX: usize = 128;

/// Largest event in bytes of canonical JSON, signatures included (client-server API, size limits).
pub const EVENT_BYTES_MAX: usize = 65_536;

/// Longest `sender`, `room_id`, `type`, `state_key` and `event_id` of an event in bytes, the sigil
/// included (client-server API, size limits).
pub const EVENT_FIELD_BYTES_MAX: usize = 255;

/// Signatures of one server that are looked at in an event; further ones count neither way. A server
/// signs with all its keys, which are one or two; each costs a hash of the whole event.
pub const EVENT_SIGNATURES_PER_SERVER_MAX: usize = 8;

/// Most entries in an event's `auth_events` (server-server API, PDU formats).
pub const AUTH_EVENTS_MAX: usize = 10;

/// Most entries in an event's `prev_events` (server-server API, PDU formats).
pub const PREV_EVENTS_MAX: usize = 20;

/// Most PDUs in one transaction (server-server API, transactions; R79). Synapse refuses more, too.
pub const PDUS_MAX: usize = 50;

/// Most EDUs in one transaction (server-server API, transactions; R79). Synapse refuses more, too.
pub const EDUS_MAX: usize = 100;

/// Longest identifier of a room version in characters (appendices, room versions).
pub const ROOM_VERSION_CHARS_MAX: usize = 32;
