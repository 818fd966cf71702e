//! What is done on the way to another server, taken down step by step for people who want to know
//! why it can not be reached. Off unless somebody asks: then nothing is kept and no text is made.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::NetError;
use super::dns::{AnsweredBy, SrvTarget};

/// Most steps that are kept. The longest way there can be, with six redirected well-known documents
/// and ten SRV targets of sixteen blocked addresses each, has about 350; honest ones have ten.
const STEPS_MAX: usize = 200;

/// Longest text that is kept of what others wrote, in characters: an error text as the dialer makes
/// it has up to 300 for its cause.
const TEXT_CHARS_MAX: usize = 500;

/// Takes down steps. Clones write into the same notes.
#[derive(Clone, Default)]
pub struct Trace {
    notes: Option<Arc<Notes>>,
    depth: u8,
}

struct Notes {
    began: Instant,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    steps: Vec<Step>,
    left_out: usize,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When it began, in milliseconds since the trace began.
    pub at_ms: u64,
    /// How long it took, in milliseconds; none when it had not ended when everything ended.
    pub took_ms: Option<u64>,
    /// How deep it is within others: those of getting a well-known document are within that step.
    pub depth: u8,
    /// What was done.
    pub action: Action,
    /// What came of it; none when it had not ended.
    pub outcome: Option<Outcome>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// A server name was read.
    ServerName {
        /// The name.
        name: String,
    },
    /// The well-known document of a host was asked for, or what it said remembered.
    WellKnown {
        /// Its URL.
        url: String,
    },
    /// SRV records were looked up.
    Srv {
        /// Their name.
        name: String,
    },
    /// The addresses of a host were looked up.
    Addresses {
        /// The host.
        host: String,
    },
    /// An address was judged before it is dialled. Noted only when it is blocked.
    Judge {
        /// The address.
        address: IpAddr,
    },
    /// A connection was opened.
    Dial {
        /// Address and port, or the path of a unix socket.
        to: String,
        /// The proxy it goes through.
        proxy: Option<String>,
    },
    /// TLS was agreed on.
    Tls {
        /// The name the certificate has to be valid for.
        name: String,
        /// Whether that name was sent (SNI). Addresses are not.
        sni: bool,
    },
    /// A request was sent.
    Http {
        /// The method.
        method: String,
        /// The value of the `Host` header.
        host: String,
        /// Path and query.
        target: String,
    },
    /// A key document in an answer was judged. Noted only when it is refused.
    Document,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// It failed.
    Failed {
        /// Which kind of failure, as in the metric `fedgate_key_fetch_errors_total`.
        error: String,
        /// The cause.
        text: String,
    },
    /// How a server name is followed.
    Name {
        /// What it is.
        form: NameForm,
    },
    /// The host delegates.
    Delegated {
        /// To this name.
        server: String,
        /// Whether that was remembered; otherwise it has just been asked for.
        remembered: bool,
        /// How long it is remembered from now, in seconds.
        remaining_s: u64,
    },
    /// The host does not delegate, and the search goes on without.
    NotDelegated {
        /// Why.
        text: String,
        /// Whether that was remembered; otherwise it has just been asked for.
        remembered: bool,
        /// How long it is remembered from now, in seconds.
        remaining_s: u64,
    },
    /// The SRV records that were found, maybe none.
    Targets {
        /// Where they lead.
        targets: Vec<SrvTarget>,
        /// Who knew them.
        answered_by: AnsweredBy,
        /// Whether the name does not exist at all.
        no_such_name: bool,
    },
    /// The addresses that were found, maybe none.
    Found {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// Who knew them.
        answered_by: AnsweredBy,
        /// Whether the name does not exist at all.
        no_such_name: bool,
    },
    /// The address is not dialled.
    Blocked {
        /// The range it is in.
        range: String,
        /// What the range is for.
        purpose: String,
        /// The setting that would allow it.
        setting: String,
    },
    /// The connection is there.
    Connected,
    /// TLS is agreed on.
    Secured {
        /// The version of the protocol.
        version: String,
        /// The certificate of the other side.
        certificate: Option<Certificate>,
    },
    /// TLS was not agreed on.
    NotSecured {
        /// The cause as the TLS library has it.
        text: String,
        /// The cause in plain words, for the usual ones.
        meaning: Option<String>,
        /// The certificate that was shown, if it came that far.
        certificate: Option<Certificate>,
    },
    /// An answer came.
    Answer {
        /// HTTP status.
        status: u16,
        /// Bytes of the body.
        bytes: usize,
        /// The `Location` header, of a redirect.
        location: Option<String>,
    },
    /// It is not used.
    Refused {
        /// Why.
        text: String,
    },
}

/// What a server name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameForm {
    /// An address, dialled as it is (step 1).
    Address,
    /// A DNS name with a port, dialled as it is (step 2).
    NameWithPort,
    /// A DNS name alone, that well-known and SRV records are asked about (steps 3 to 6).
    NameAlone,
}

/// The parts of a certificate that people look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The names it is for, the first few.
    pub names: Vec<String>,
    /// How many more it is for.
    pub names_left_out: usize,
    /// The distinguished name of its issuer.
    pub issuer: String,
    /// When it begins to be valid, in milliseconds since 1970; none when that is earlier.
    pub not_before_ts: Option<u64>,
    /// When it ends to be valid, likewise.
    pub not_after_ts: Option<u64>,
}

/// A step that has begun. One that is dropped before its end stays in the notes as such.
#[must_use = "say what came of it"]
pub struct Begun<'a>(Option<(&'a Notes, usize, Instant)>);

impl Trace {
    /// A trace that takes notes, beginning now.
    pub fn on() -> Self {
        let notes = Notes { began: Instant::now(), taken: Mutex::default() };
        Self { notes: Some(Arc::new(notes)), depth: 0 }
    }

    /// Whether notes are taken.
    pub const fn is_on(&self) -> bool {
        self.notes.is_some()
    }

    /// The same notes, for steps that are part of the one that is under way.
    #[must_use]
    pub fn within(&self) -> Self {
        Self { notes: self.notes.clone(), depth: self.depth.saturating_add(1) }
    }

    /// Begins a step.
    pub fn begin(&self, action: impl FnOnce() -> Action) -> Begun<'_> {
        Begun(self.notes.as_ref().and_then(|notes| {
            let now = Instant::now();
            let at_ms = ms(now.duration_since(notes.began));
            let mut taken = notes.lock();
            if taken.steps.len() == STEPS_MAX {
                taken.left_out += 1;
                return None;
            }
            let step =
                Step { at_ms, took_ms: None, depth: self.depth, action: action(), outcome: None };
            taken.steps.push(step);
            Some((&**notes, taken.steps.len() - 1, now))
        }))
    }

    /// Notes a step that takes no time.
    pub fn note(&self, action: impl FnOnce() -> Action, outcome: impl FnOnce() -> Outcome) {
        self.begin(action).end(outcome);
    }

    /// The steps so far in the order of their beginnings, and how many more there were.
    pub fn steps(&self) -> (Vec<Step>, usize) {
        let taken = self.notes.as_ref().map(|notes| notes.lock());
        taken.map_or_else(Default::default, |taken| (taken.steps.clone(), taken.left_out))
    }
}

impl Begun<'_> {
    /// Ends the step.
    pub fn end(self, outcome: impl FnOnce() -> Outcome) {
        let Some((notes, index, since)) = self.0 else { return };
        let took_ms = ms(since.elapsed());
        if let Some(step) = notes.lock().steps.get_mut(index) {
            step.took_ms = Some(took_ms);
            step.outcome = Some(outcome());
        }
    }

    /// Ends the step with its result.
    pub fn result<T>(self, result: &Result<T, NetError>, found: impl FnOnce(&T) -> Outcome) {
        self.end(|| match result {
            Ok(value) => found(value),
            Err(error) => Outcome::failed(error),
        });
    }
}

impl Outcome {
    /// It failed with `error`.
    pub fn failed(error: &NetError) -> Self {
        Self::Failed { error: error.kind().to_owned(), text: cut(error.text()) }
    }
}

/// `text`, which others may have written, cut to a length fit for keeping.
pub fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

impl Notes {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Trace(on)" } else { "Trace(off)" })
    }
}

fn ms(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn host(host: &str) -> Action {
        Action::Addresses { host: host.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn steps_stand_in_the_order_of_their_beginnings_with_their_times() {
        let trace = Trace::on();
        advance(Duration::from_millis(5)).await;
        let outer = trace.begin(|| host("outer"));
        let inside = trace.within();
        advance(Duration::from_millis(10)).await;
        let failed: Result<(), _> = Err(NetError::Dns("SERVFAIL".to_owned()));
        inside.begin(|| host("inner")).result(&failed, |()| Outcome::Connected);
        // One that was broken off.
        drop(inside.begin(|| host("hanging")));
        outer.end(|| Outcome::Connected);
        let (steps, left_out) = trace.steps();
        let told: Vec<_> =
            steps.iter().map(|step| (step.at_ms, step.took_ms, step.depth)).collect();
        assert_eq!(told, [(5, Some(10), 0), (15, Some(0), 1), (15, None, 1)]);
        assert_eq!(left_out, 0);
        let text = "SERVFAIL".to_owned();
        assert_eq!(steps[1].outcome, Some(Outcome::Failed { error: "dns".to_owned(), text }));
        assert_eq!(steps[2].outcome, None);
    }

    #[tokio::test]
    async fn a_trace_that_is_off_makes_no_texts() {
        let trace = Trace::default();
        let within = trace.within();
        within.begin(|| panic!("an action was made")).end(|| panic!("an outcome was made"));
        trace.note(|| panic!("an action was made"), || panic!("an outcome was made"));
        assert_eq!(trace.steps(), (Vec::new(), 0));
    }

    #[tokio::test]
    async fn steps_are_bounded_in_number_and_length() {
        let trace = Trace::on();
        for _ in 0..STEPS_MAX + 3 {
            let error = NetError::Tls("x".repeat(9_999));
            trace.note(|| host("a.example"), || Outcome::failed(&error));
        }
        let (steps, left_out) = trace.steps();
        assert_eq!((steps.len(), left_out), (STEPS_MAX, 3));
        assert!(serde_json::to_string(&steps[0]).expect("JSON").len() < TEXT_CHARS_MAX + 200);
    }

    #[tokio::test]
    async fn steps_can_be_read_again_from_their_json() {
        let trace = Trace::on();
        let blocked = || Outcome::Blocked {
            range: "10.0.0.0/8".to_owned(),
            purpose: "private".to_owned(),
            setting: "outbound.allowed_ranges".to_owned(),
        };
        trace.note(|| Action::Judge { address: [10, 0, 0, 1].into() }, blocked);
        drop(trace.begin(|| Action::Document));
        let (steps, _) = trace.steps();
        let json = serde_json::to_value(&steps).expect("JSON");
        assert_eq!(json[0]["action"]["kind"], "judge");
        assert_eq!(json[0]["outcome"]["setting"], "outbound.allowed_ranges");
        assert_eq!(serde_json::from_value::<Vec<Step>>(json).expect("steps"), steps);
    }
}
