//! The Python process beside this one, which does what `authenticate.py` says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fedgate::proto::ed25519::SigningKey;
use serde_json::{Value, json};

use crate::workload::{ORIGIN, SEED, Workload, names};

/// A server that checks requests as Synapse does. It ends with its standard input.
pub struct Python {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it is, with the versions of what it uses.
    pub versions: String,
    _process: Child,
}

impl Python {
    pub fn start(interpreter: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("authenticate.py");
        let mut process = Command::new(interpreter)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut python = Self { orders, answers, versions: String::new(), _process: process };
        let (own, key_id) = names();
        let key = SigningKey::from_seed(&SEED).verify_key().to_base64();
        let keys = json!({ ORIGIN: { key_id.as_str(): key } });
        let versions = python.ask(&json!({ "server": own.as_str(), "keys": keys }));
        python.versions = versions.as_str().unwrap().to_owned();
        python
    }

    /// Hands over a request, sent to any target, and says what it makes of it.
    pub fn accepts(&mut self, work: &Workload, target: &str) -> bool {
        let authorization = work.headers["authorization"].to_str().unwrap();
        let body = str::from_utf8(&work.body).unwrap();
        let request = json!({ "request": [work.method.as_str(), target, authorization, body] });
        self.ask(&request).as_bool().unwrap()
    }

    /// Nanoseconds of one check of the last request, over a slice of so many.
    pub fn time(&mut self, slice_ns: f64) -> f64 {
        self.ask(&json!({ "slice_ns": slice_ns })).as_f64().unwrap()
    }

    fn ask(&mut self, order: &Value) -> Value {
        writeln!(self.orders, "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).expect("the Python process has ended")
    }
}
