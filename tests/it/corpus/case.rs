//! One file of the corpus: what is sent, what it was signed as, and what becomes of it.

use std::path::Path;

use fedgate::gate::Rejection;

use super::signing::{Meant, Signed, Signer};
use super::text::{fill_in, unescape};
use crate::support::OWN_NAME;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http1,
    Http2,
}

/// What becomes of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The homeserver gets the request that was signed.
    Passes { closed: bool },
    /// The gate refuses it, and may close the connection.
    Refused { rejection: Rejection, closed: bool },
    /// The connection ends without an answer.
    Closed,
    /// HTTP/2: the library answers with this status and no body.
    Bare(u16),
    /// HTTP/2: the stream is reset with this error code.
    Reset(u32),
    /// HTTP/2: the connection ends with this error code.
    Goaway(u32),
}

/// The error codes of RFC 9113, section 7, in order.
const H2_ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

impl Verdict {
    pub const PASSES: Self = Self::Passes { closed: false };

    pub fn refused(code: &str, closed: bool) -> Self {
        let rejection = Rejection::ALL.into_iter().find(|r| r.code() == code).unwrap();
        Self::Refused { rejection, closed }
    }

    pub const fn passes(&self) -> bool {
        matches!(self, Self::Passes { .. })
    }

    /// Reads `200`, `STATUS REASON`, either with `closed`, `closed` alone, `bare STATUS`,
    /// `reset ERROR` or `goaway ERROR`.
    fn parse(text: &str) -> Result<Self, String> {
        let error_code = |name: &str| {
            let at = H2_ERRORS.iter().position(|error| *error == name);
            at.and_then(|at| u32::try_from(at).ok()).ok_or_else(|| format!("no error {name}"))
        };
        let words: Vec<_> = text.split(' ').collect();
        let (words, closed) = match words.split_last() {
            Some((&"closed", before)) => (before, true),
            _ => (&words[..], false),
        };
        match *words {
            [] if closed => Ok(Self::Closed),
            ["200"] => Ok(Self::Passes { closed }),
            ["bare", status] => {
                status.parse().map(Self::Bare).map_err(|e| format!("{status}: {e}"))
            }
            ["reset", name] => error_code(name).map(Self::Reset),
            ["goaway", name] => error_code(name).map(Self::Goaway),
            [status, reason] => {
                let rejection = Rejection::ALL.into_iter().find(|r| r.code() == reason);
                let rejection = rejection.ok_or_else(|| format!("no reason {reason}"))?;
                if rejection.status().as_str() != status {
                    return Err(format!("{reason} is {}, not {status}", rejection.status()));
                }
                Ok(Self::Refused { rejection, closed })
            }
            _ => Err(format!("expect: {text}")),
        }
    }
}

/// A file.
#[derive(Clone, Debug)]
pub struct Case {
    /// Folder and file name.
    pub name: String,
    /// The folder.
    pub class: String,
    runs: Vec<(Kind, Verdict)>,
    /// What the input may mean to the first signer, one signature each; and what others sign.
    meant: Vec<Meant>,
    others: Vec<(Signer, Meant)>,
    destination: String,
    /// Header lines that must reach the homeserver as they are.
    pub forwarded: Vec<Vec<u8>>,
    /// Whether the input is whole without an end of its own: then nothing is sent behind it.
    pub alone: bool,
    portable: bool,
    input: String,
}

/// An input signed in one of the ways it may be read.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What is signed; none when nobody signs.
    pub meant: Option<Meant>,
    signed: Vec<(Signer, Signed)>,
}

impl Variant {
    pub fn shown(&self) -> String {
        let text = self.meant.as_ref().map(|m| format!("signed for {} {}", m.method, m.target));
        text.unwrap_or_else(|| "unsigned".to_owned()).escape_debug().to_string()
    }

    /// The Authorization values that a homeserver gets of it.
    pub fn forwarded(&self) -> Vec<&str> {
        self.signed.iter().map(|(_, signed)| signed.forwarded.as_str()).collect()
    }

    /// `<auth>` and `<sig>`, also of others: `<auth two>`, `<sig evil>`.
    fn place(&self, place: &str) -> Option<String> {
        let (what, signer) = place.split_once(' ').unwrap_or((place, Signer::One.name()));
        let signer = Signer::named(signer)?;
        let (_, signed) = self.signed.iter().find(|(known, _)| *known == signer)?;
        match what {
            "auth" => Some(signed.auth.clone()),
            "sig" => Some(signed.sig.clone()),
            _ => None,
        }
    }
}

impl Case {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        let part = |path: Option<&std::ffi::OsStr>| path.unwrap().to_str().unwrap().to_owned();
        let class = part(path.parent().and_then(Path::file_name));
        let name = format!("{class}/{}", part(path.file_name()));
        let case = Self::parse(&name, &part(path.extension()), &text)?;
        Ok(Self { class, ..case })
    }

    /// Reads a file of this extension.
    pub fn parse(name: &str, extension: &str, text: &str) -> Result<Self, String> {
        if !text.is_ascii() {
            return Err("bytes outside ASCII are written as escapes".to_owned());
        }
        let (head, input) = text.split_once("\n\n").ok_or("no empty line after the head")?;
        let mut case = Self {
            name: name.to_owned(),
            class: String::new(),
            runs: Vec::new(),
            meant: Vec::new(),
            others: Vec::new(),
            destination: OWN_NAME.to_owned(),
            forwarded: Vec::new(),
            alone: false,
            portable: extension == "http",
            input: input.to_owned(),
        };
        let kinds = match extension {
            "http" => &[Kind::Http1, Kind::Http2][..],
            "http1" => &[Kind::Http1],
            "http2" => &[Kind::Http2],
            other => return Err(format!("what is a file .{other}?")),
        };
        let (mut why, mut expect, mut on_http2) = (false, None, None);
        for line in head.lines() {
            let (key, value) = line.split_once(": ").ok_or_else(|| format!("no value: {line}"))?;
            match key {
                "why" => why = true,
                "expect" => expect = Some(Verdict::parse(value)?),
                "expect http2" => on_http2 = Some(Verdict::parse(value)?),
                "signed" => case.meant.push(Meant::parse(value)?),
                "destination" => case.destination = value.to_owned(),
                "forwarded" => case.forwarded.push(unescape(value)?),
                "alone" => case.alone = true,
                _ => {
                    let signer = key.strip_prefix("signed by ").and_then(Signer::named);
                    let signer = signer.ok_or_else(|| format!("unknown key {key}"))?;
                    case.others.push((signer, Meant::parse(value)?));
                }
            }
        }
        if !why {
            return Err("it does not say why".to_owned());
        }
        let expect = expect.ok_or("it expects nothing")?;
        for kind in kinds {
            let verdict = match (kind, &on_http2) {
                (Kind::Http2, Some(verdict)) => verdict.clone(),
                (Kind::Http1 | Kind::Http2, _) => expect.clone(),
            };
            case.runs.push((*kind, verdict));
        }
        // Whatever place or escape is wrong shows before anything is sent.
        for variant in case.variants() {
            match kinds {
                [Kind::Http2] => drop(case.frames(&variant)?),
                _ => drop(case.raw(&variant)?),
            }
        }
        Ok(case)
    }

    /// Over what it is sent, and what becomes of it there.
    pub fn runs(&self) -> impl Iterator<Item = (Kind, &Verdict)> {
        self.runs.iter().map(|(kind, verdict)| (*kind, verdict))
    }

    /// Each way in which it is signed.
    pub fn variants(&self) -> Vec<Variant> {
        let others = || {
            let signed = self.others.iter();
            signed.map(|(signer, meant)| (*signer, meant.sign(*signer, &self.destination)))
        };
        if self.meant.is_empty() {
            return vec![Variant { meant: None, signed: others().collect() }];
        }
        let variants = self.meant.iter().map(|meant| {
            let first = (Signer::One, meant.sign(Signer::One, &self.destination));
            let signed = std::iter::once(first).chain(others()).collect();
            Variant { meant: Some(meant.clone()), signed }
        });
        variants.collect()
    }

    /// What is sent over HTTP/1.1.
    pub fn raw(&self, variant: &Variant) -> Result<Vec<u8>, String> {
        if !self.portable {
            return self.fill(variant, &self.input.replace('\n', ""));
        }
        let (head, body) = self.parts();
        let mut lines = head.lines();
        let mut out = format!("{} HTTP/1.1\\r\\n", lines.next().ok_or("no request line")?);
        let has = |field: &str| {
            head.lines().skip(1).any(|line| line.to_ascii_lowercase().starts_with(field))
        };
        if !has("host:") {
            out.push_str(&format!("Host: {OWN_NAME}\\r\\n"));
        }
        for line in lines {
            out.push_str(&format!("{line}\\r\\n"));
        }
        let mut bytes = self.fill(variant, &out)?;
        let body = body.map(|body| self.fill(variant, &body)).transpose()?;
        if let Some(body) = &body
            && !has("content-length:")
        {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend(body.unwrap_or_default());
        Ok(bytes)
    }

    /// What is sent over HTTP/2.
    pub fn frames(&self, variant: &Variant) -> Result<Vec<Frame>, String> {
        if self.portable { self.portable_frames(variant) } else { self.written_frames(variant) }
    }

    fn portable_frames(&self, variant: &Variant) -> Result<Vec<Frame>, String> {
        let (head, body) = self.parts();
        let mut lines = head.lines();
        let line = lines.next().ok_or("no request line")?;
        let (method, target) = line.split_once(' ').ok_or("no target")?;
        let mut host = OWN_NAME;
        let mut rest = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("no value: {line}"))?;
            match name {
                "Host" => host = value,
                _ => rest.push((self.fill(variant, &name.to_ascii_lowercase())?, value)),
            }
        }
        let pseudo =
            [(":method", method), (":scheme", "https"), (":authority", host), (":path", target)];
        let named = pseudo.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value));
        let mut fields = Vec::new();
        for (name, value) in named.chain(rest) {
            fields.push((name, self.fill(variant, value)?));
        }
        let end = body.is_none();
        let mut frames = vec![Frame::Headers { stream: 1, fields, end, whole: true }];
        if let Some(body) = body {
            frames.push(Frame::Data { stream: 1, bytes: self.fill(variant, &body)?, end: true });
        }
        Ok(frames)
    }

    /// Reads `HEADERS [end] [open] [@STREAM]` and `CONTINUATION [open]` with indented fields,
    /// `DATA [end]` with indented text, and `FRAME TYPE FLAGS STREAM PAYLOAD` in hexadecimal.
    fn written_frames(&self, variant: &Variant) -> Result<Vec<Frame>, String> {
        let mut frames: Vec<Frame> = Vec::new();
        for line in self.input.lines().filter(|line| !line.is_empty()) {
            if let Some(text) = line.strip_prefix("  ") {
                let last = frames.last_mut().ok_or("nothing before it")?;
                last.extend(text, |part| self.fill(variant, part))?;
            } else {
                frames.push(Frame::parse(line)?);
            }
        }
        Ok(frames)
    }

    /// Head and body of a portable case.
    fn parts(&self) -> (&str, Option<String>) {
        match self.input.split_once("\n\n") {
            None => (&self.input, None),
            Some((head, body)) => (head, Some(body.replace('\n', ""))),
        }
    }

    fn fill(&self, variant: &Variant, text: &str) -> Result<Vec<u8>, String> {
        fill_in(text, &|place| variant.place(place))
    }
}

/// A frame of HTTP/2.
#[derive(Clone, Debug)]
pub enum Frame {
    Headers { stream: u32, fields: Vec<(Vec<u8>, Vec<u8>)>, end: bool, whole: bool },
    Continuation { fields: Vec<(Vec<u8>, Vec<u8>)>, whole: bool },
    Data { stream: u32, bytes: Vec<u8>, end: bool },
    Raw { kind: u8, flags: u8, stream: u32, payload: Vec<u8> },
}

impl Frame {
    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        if kind == "FRAME" {
            let numbers = super::text::hex(&words.clone().take(2).collect::<String>())?;
            let [kind, flags] = numbers[..] else { return Err("FRAME wants two bytes".to_owned()) };
            let stream = words.nth(2).unwrap_or_default();
            let stream = u32::from_str_radix(stream, 16).map_err(|e| format!("{stream}: {e}"))?;
            let payload = super::text::hex(&words.collect::<String>())?;
            return Ok(Self::Raw { kind, flags, stream, payload });
        }
        let (mut end, mut whole, mut stream) = (false, true, 1);
        for word in words {
            match (word, word.strip_prefix('@')) {
                ("end", _) => end = true,
                ("open", _) => whole = false,
                (_, Some(number)) => stream = number.parse().map_err(|e| format!("{word}: {e}"))?,
                _ => return Err(format!("what is {word}?")),
            }
        }
        let fields = Vec::new();
        match kind {
            "HEADERS" => Ok(Self::Headers { stream, fields, end, whole }),
            "CONTINUATION" => Ok(Self::Continuation { fields, whole }),
            "DATA" => Ok(Self::Data { stream, bytes: Vec::new(), end }),
            _ => Err(format!("what is {kind}?")),
        }
    }

    /// Adds an indented line: a field, or a part of the data.
    fn extend(
        &mut self,
        text: &str,
        fill: impl Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<(), String> {
        match self {
            Self::Headers { fields, .. } | Self::Continuation { fields, .. } => {
                let colon = text.get(1..).and_then(|t| t.find(": "));
                let colon = 1 + colon.ok_or_else(|| format!("no field: {text}"))?;
                fields.push((fill(&text[..colon])?, fill(&text[colon + 2..])?));
            }
            Self::Data { bytes, .. } => bytes.extend(fill(text)?),
            Self::Raw { payload, .. } => payload.extend(fill(text)?),
        }
        Ok(())
    }
}
