//! Faults of the host, on the program that runs (faults 33 and 42 of `tests/faults.toml`).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use super::Files;

const SETTINGS: &str = "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:1\"\n\
                        [listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
                        [keys]\nstore = \"\"\n";

/// What the gate answers by itself: it has no business with this path.
const REQUEST: &[u8] = b"GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A fedgate that runs.
struct Running {
    child: Child,
    address: String,
    /// Its lines as they come, read by a thread: a log that nobody reads would hold the program up.
    log: mpsc::Receiver<String>,
    /// Those that have been looked at.
    logged: String,
    _files: Files,
}

impl Running {
    fn start() -> Self {
        let files = Files::new();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fedgate"))
            .args(["run", "--config", &files.write("fedgate.toml", SETTINGS)])
            .env_clear()
            .env("FEDGATE_LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut ready = String::new();
        log.read_line(&mut ready).expect("a line");
        let ready: Value = serde_json::from_str(&ready).expect("JSON");
        let address = super::text(&ready, "address").to_owned();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines() {
                // Whoever has failed does not listen any more.
                let _gone = tell.send(line.expect("UTF-8") + "\n");
            }
        });
        Self { child, address, log: told, logged: String::new(), _files: files }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("a connection")
    }

    /// Waits for a line in the log.
    fn wait_for(&mut self, text: &str) {
        while !self.logged.contains(text) {
            self.logged += &self.log.recv().expect("a line");
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }

    /// A request is answered.
    fn assert_serves(&self) {
        let mut client = self.connect();
        client.write_all(REQUEST).expect("sent");
        assert!(answer(client).starts_with("HTTP/1.1 404 "));
    }

    /// Stops it; returns what it logged.
    fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        assert!(self.child.wait().expect("it ends").success());
        self.logged.extend(self.log);
        self.logged
    }
}

/// All that comes until the end.
fn answer(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    answer
}

/// No more files may be opened: connections wait, the program lives, and serves once there are.
#[test]
fn f33_a_limit_of_64_open_files() {
    const LIMIT: u64 = 64;
    // More than that, and fewer than wait to be accepted without being sent away.
    const CLIENTS: usize = 120;
    let mut running = Running::start();
    let limit = Rlimit { current: Some(LIMIT), maximum: Some(LIMIT) };
    let pid = Pid::from_child(&running.child);
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit");
    let clients: Vec<_> = (0..CLIENTS).map(|_| running.connect()).collect();
    // The first is served, while the last ones cannot even be accepted.
    let mut first = clients.first().expect("a client");
    first.write_all(REQUEST).expect("sent");
    assert!(answer(first.try_clone().expect("the same")).starts_with("HTTP/1.1 404 "));
    running.wait_for("cannot accept a connection");
    for client in clients {
        // It may have been closed already.
        let _closed = client.shutdown(Shutdown::Both);
    }
    running.assert_serves();
    let log = running.stop();
    assert!(!log.contains("panicked"), "{log}");
}

/// Stopped amid its work and continued: what was sent meanwhile is answered.
#[test]
fn f42_stopped_and_continued() {
    let running = Running::start();
    running.assert_serves();
    let mut before = running.connect();
    let (begin, rest) = REQUEST.split_at(10);
    before.write_all(begin).expect("sent");
    running.signal(Signal::STOP);
    before.write_all(rest).expect("sent");
    let meanwhile: Vec<_> = (0..50)
        .map(|_| {
            let mut client = running.connect();
            client.write_all(REQUEST).expect("sent");
            client
        })
        .collect();
    running.signal(Signal::CONT);
    for client in meanwhile.into_iter().chain([before]) {
        assert!(answer(client).starts_with("HTTP/1.1 404 "));
    }
    running.assert_serves();
    assert!(!running.stop().contains("panicked"));
}
