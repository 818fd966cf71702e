//! Small changes to requests, each of which follows from a seed.

use fastrand::Rng;

/// A request as it goes over the wire, in parts that can be changed one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub headers: Vec<(&'static str, Vec<u8>)>,
    pub body: Option<Vec<u8>>,
}

impl Wire {
    pub fn new(method: &str, target: &str, authorization: &str, body: Option<&[u8]>) -> Self {
        let headers = [
            ("host", "gate.example"),
            ("user-agent", "Synapse/1.163.2"),
            ("authorization", authorization),
            ("content-type", "application/json"),
        ];
        Self {
            method: method.into(),
            target: target.into(),
            headers: headers.iter().map(|(name, value)| (*name, (*value).into())).collect(),
            body: body.map(Into::into),
        }
    }

    /// The whole request; its length is always right.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.method[..], b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        if let Some(body) = &self.body {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// Makes requests that differ from a given one.
pub struct Mutator {
    rng: Rng,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed) }
    }

    /// A request that differs from `base` in one to three places.
    pub fn mutate(&mut self, base: &Wire) -> Wire {
        loop {
            let mut wire = base.clone();
            let times = if self.rng.u8(0..4) == 0 { self.rng.usize(2..=3) } else { 1 };
            for _ in 0..times {
                self.change(&mut wire);
            }
            if wire != *base {
                return wire;
            }
        }
    }

    fn change(&mut self, wire: &mut Wire) {
        match self.rng.u8(0..16) {
            0 => self.method(&mut wire.method),
            1 | 2 => self.bytes(&mut wire.target),
            3 => self.escape(&mut wire.target),
            4 => self.header(wire),
            5..8 => self.authorization(wire, Self::parameter_value),
            8..10 => self.authorization(wire, Self::respell_authorization),
            _ => self.body(wire),
        }
    }

    fn method(&mut self, method: &mut Vec<u8>) {
        const METHODS: [&str; 8] =
            ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT"];
        if self.rng.bool() {
            *method = METHODS[self.rng.usize(0..METHODS.len())].into();
        } else {
            self.bytes(method);
        }
    }

    fn header(&mut self, wire: &mut Wire) {
        let at = self.rng.usize(0..wire.headers.len());
        match self.rng.u8(0..8) {
            0 => wire.headers.push(wire.headers[at].clone()),
            1 => drop(wire.headers.remove(at)),
            2 => {
                let mut again = wire.headers[at].clone();
                self.bytes(&mut again.1);
                wire.headers.insert(self.rng.usize(0..=wire.headers.len()), again);
            }
            _ => self.bytes(&mut wire.headers[at].1),
        }
    }

    fn authorization(&mut self, wire: &mut Wire, change: fn(&mut Self, &mut Vec<u8>)) {
        if let Some((_, value)) = wire.headers.iter_mut().find(|(n, _)| *n == "authorization") {
            change(self, value);
        }
    }

    fn body(&mut self, wire: &mut Wire) {
        match &mut wire.body {
            None => wire.body = Some(if self.rng.bool() { b"{}".to_vec() } else { Vec::new() }),
            Some(body) if self.rng.u8(0..3) == 0 => self.bytes(body),
            Some(body) => super::respell::respell(&mut self.rng, body),
        }
    }

    /// One change to any bytes.
    fn bytes(&mut self, text: &mut Vec<u8>) {
        const TELLING: &[u8] = b" \t\r\n\"\\/%#?&;,=:.\0-_+@{}[]0129aAeE\x7f\x80\xff";
        let at = self.rng.usize(0..=text.len());
        let telling = TELLING[self.rng.usize(0..TELLING.len())];
        if at == text.len() {
            return text.push(telling);
        }
        let end = self.rng.usize(at + 1..=text.len().min(at + 12));
        match self.rng.u8(0..10) {
            0 => text[at] = self.rng.u8(..),
            1 => text[at] ^= 1 << self.rng.u8(0..8),
            2 => text.insert(at, self.rng.u8(..)),
            3 => text.insert(at, telling),
            4 => drop(text.remove(at)),
            5 => text[at..].rotate_left(1),
            6 => {
                let copy = text[at..end].to_vec();
                drop(text.splice(at..at, copy));
            }
            7 => text[at] ^= 0x20,
            8 => text.insert(at, b" \t\r\n"[self.rng.usize(0..4)]),
            _ => drop(text.drain(at..end)),
        }
    }

    /// Writes one byte of a target as an escape, or an escape in the other case.
    fn escape(&mut self, target: &mut Vec<u8>) {
        let at = self.rng.usize(0..target.len());
        if target[at] == b'%' {
            let end = target.len().min(at + 3);
            for byte in &mut target[at..end] {
                *byte ^= if byte.is_ascii_alphabetic() { 0x20 } else { 0 };
            }
            return;
        }
        let escape = format!("%{:02X}", target[at]);
        drop(target.splice(at..=at, escape.into_bytes()));
    }

    /// Changes bytes of one parameter's value: origin, destination, key or signature.
    fn parameter_value(&mut self, value: &mut Vec<u8>) {
        let name = ["origin=\"", "destination=\"", "key=\"", "sig=\""][self.rng.usize(0..4)];
        let Some(found) = value.windows(name.len()).position(|w| w == name.as_bytes()) else {
            return self.bytes(value);
        };
        let start = found + name.len();
        let length = value[start..].iter().position(|b| *b == b'"').unwrap_or_default();
        let mut inner = value[start..start + length].to_vec();
        match self.rng.u8(0..12) {
            0 => inner = b"gate.example".to_vec(),
            1 => inner = b"other.example".to_vec(),
            2 => inner = b"origin.example".to_vec(),
            _ => self.bytes(&mut inner),
        }
        drop(value.splice(start..start + length, inner));
    }

    /// Writes an Authorization value in another way, or says something else with it.
    fn respell_authorization(&mut self, value: &mut Vec<u8>) {
        let Ok(text) = std::str::from_utf8(value) else { return };
        let Some((scheme, rest)) = text.split_once(' ') else { return };
        let mut scheme = scheme.to_owned();
        let mut parameters: Vec<String> = rest.split(',').map(str::to_owned).collect();
        let at = self.rng.usize(0..parameters.len());
        let mut comma = ",";
        match self.rng.u8(0..13) {
            0 => scheme = scheme.to_ascii_lowercase(),
            1 => scheme.push(' '),
            2 => comma = ", ",
            3 => comma = " ,",
            4 => parameters[at] = parameters[at].replace('"', ""),
            5 => self.rng.shuffle(&mut parameters),
            6 => parameters.push("unknown=1".to_owned()),
            7 => drop(parameters.remove(at)),
            8 => parameters.push(parameters[at].clone()),
            9 => parameters[at] = parameters[at].replacen('=', "=\"", 1).replace("\"\"", "\"\\"),
            10 => parameters[at] = parameters[at].to_ascii_uppercase(),
            11 => {
                for sig in parameters.iter_mut().filter(|p| p.starts_with("sig=\"")) {
                    *sig = format!("{}==\"", sig.trim_end_matches('"'));
                }
            }
            _ => {
                for sig in parameters.iter_mut().filter(|p| p.starts_with("sig=\"")) {
                    *sig = sig.replace('+', "-").replace('/', "_");
                }
            }
        }
        *value = format!("{scheme} {}", parameters.join(comma)).into_bytes();
    }
}
