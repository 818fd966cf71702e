//! The built program as a process, with its settings, its log and its successors.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::watch;

use super::gate::write_certificate;
use super::{Answer, Client, OWN_NAME, Origin, within};

/// What is set beside what every process needs.
#[derive(Clone)]
pub struct Settings {
    pub homeserver: String,
    pub mode: &'static str,
    /// Further lines of the section `listen`.
    pub listen: String,
    /// Whole sections.
    pub more: String,
}

impl Settings {
    pub fn new(homeserver_port: u16) -> Self {
        Self {
            homeserver: format!("http://127.0.0.1:{homeserver_port}"),
            mode: "enforce",
            listen: String::new(),
            more: String::new(),
        }
    }
}

/// A program that runs, and those that it has started to take over from it.
pub struct Process {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// The certificate of its CA, in DER.
    pub ca: Vec<u8>,
    /// A server whose key is pinned.
    pub origin: Origin,
    dir: tempfile::TempDir,
    /// The one that serves.
    pid: i32,
    pids: Vec<i32>,
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    /// How many lines there are; closed at the end of the last process.
    lines: watch::Receiver<usize>,
}

impl Process {
    pub async fn start(settings: &Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = write_certificate(dir.path());
        let origin = Origin::new("origin.example");
        let program = dir.path().join("fedgate");
        symlink(env!("CARGO_BIN_EXE_fedgate"), &program).unwrap();
        write(dir.path(), &origin, settings);
        let (count, lines) = watch::channel(0);
        let log = Arc::<Mutex<Vec<Value>>>::default();
        let child = spawn(dir.path(), &log, count);
        let pid = i32::try_from(child.id()).unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let pids = vec![pid];
        let (address, admin) = (nowhere, nowhere);
        let mut process = Self { address, admin, ca, origin, dir, pid, pids, child, log, lines };
        process.is_ready(0).await;
        process
    }

    /// Kills the process that serves, and starts another on the same files.
    pub async fn kill_and_restart(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        let mark = self.mark();
        let (count, lines) = watch::channel(mark);
        self.child = spawn(self.dir.path(), &self.log, count);
        self.lines = lines;
        self.pid = i32::try_from(self.child.id()).unwrap();
        self.pids = vec![self.pid];
        self.is_ready(mark).await;
    }

    async fn is_ready(&mut self, mark: usize) {
        let ready = self.said(mark, "ready").await;
        let told = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        (self.address, self.admin) = (told("address"), told("admin"));
    }

    /// Puts other settings into the file.
    pub fn write(&self, settings: &Settings) {
        write(self.dir.path(), &self.origin, settings);
    }

    /// Puts anything into the settings file.
    pub fn write_text(&self, text: &str) {
        replace(&self.dir.path().join("fedgate.toml"), text);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid).unwrap(), signal).unwrap();
    }

    /// What the system says of the process that serves, a line for each thing.
    pub fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap()
    }

    /// Puts another program in the place of the one that was started.
    pub fn install(&self, program: &str) {
        let (link, new) = (self.dir.path().join("fedgate"), self.dir.path().join("new"));
        symlink(program, &new).unwrap();
        std::fs::rename(new, link).unwrap();
    }

    /// Has a new process take over, and waits until it has.
    pub async fn hand_over(&mut self) {
        let mark = self.mark();
        self.signal(Signal::USR2);
        let started = self.said(mark, "a new fedgate has been started").await;
        self.pid = i32::try_from(started["pid"].as_i64().unwrap()).unwrap();
        self.pids.push(self.pid);
        self.said(mark, "handed over").await;
        self.said(mark, "ready").await;
    }

    /// The place in the log where it ends now.
    pub fn mark(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Waits for a line behind `mark` whose message begins like this.
    pub async fn said(&self, mark: usize, message: &str) -> Value {
        let mut lines = self.lines.clone();
        within(message, async {
            loop {
                lines.borrow_and_update();
                if let Some(line) = self.find(mark, message) {
                    return line;
                }
                if lines.changed().await.is_err() {
                    panic!("{message}: nobody says so in\n{:#?}", self.log.lock().unwrap());
                }
            }
        })
        .await
    }

    /// The first line behind `mark` whose message begins like this.
    pub fn find(&self, mark: usize, message: &str) -> Option<Value> {
        let log = self.log.lock().unwrap();
        log[mark..].iter().find(|line| begins(line, message)).cloned()
    }

    /// How many lines there are behind `mark` whose messages begin like this.
    pub fn count(&self, mark: usize, message: &str) -> usize {
        let log = self.log.lock().unwrap();
        log[mark..].iter().filter(|line| begins(line, message)).count()
    }

    pub async fn admin_get(&self, path: &str) -> Answer {
        let mut client = Client::plain(self.admin).await;
        within(path, client.request("GET", path, &[("host", "127.0.0.1")], None)).await
    }

    /// The value of a line of the metrics, zero when it is not there.
    pub async fn metric(&self, line: &str) -> f64 {
        let answer = self.admin_get("/metrics").await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Stops the process that serves, and waits until all have ended.
    pub async fn stop(mut self) {
        assert_eq!(self.metric("fedgate_panics_total").await, 0.0);
        self.signal(Signal::TERM);
        let mut lines = self.lines.clone();
        within("the end of all processes", async { while lines.changed().await.is_ok() {} }).await;
        self.pids.clear();
        self.child.wait().unwrap();
        let panic = self.find(0, "panic");
        assert_eq!(panic, None, "no process has panicked");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for pid in self.pids.drain(..) {
            // Most have ended already, all of them when the test has come to its end.
            let _ended = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        let _ended = self.child.wait();
    }
}

/// Whether a line's message begins like this.
fn begins(line: &Value, message: &str) -> bool {
    line["message"].as_str().or(line.as_str()).is_some_and(|text| text.starts_with(message))
}

/// Starts the program on the files in `dir`; what it says goes to `log`, and is counted.
fn spawn(dir: &Path, log: &Arc<Mutex<Vec<Value>>>, count: watch::Sender<usize>) -> Child {
    let mut child = Command::new(dir.join("fedgate"))
        .args(["run", "--config"])
        .arg(dir.join("fedgate.toml"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stderr.take().unwrap();
    let written = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // What is said last is no log line.
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            let mut written = written.lock().unwrap();
            written.push(line);
            count.send_replace(written.len());
        }
    });
    child
}

fn write(dir: &Path, origin: &Origin, settings: &Settings) {
    let Settings { homeserver, mode, listen, more } = settings;
    let (at, id) = (dir.display(), &origin.key_id);
    let key = origin.key.verify_key().to_base64();
    let text = format!(
        "server_name = \"{OWN_NAME}\"\nhomeserver = \"{homeserver}\"\nmode = \"{mode}\"\n\
         [listen]\naddress = \"127.0.0.1:0\"\ntls_certificate = \"{at}/chain.pem\"\n\
         tls_private_key = \"{at}/key.pem\"\nhandover = \"{at}/handover.sock\"\n{listen}\n\
         [admin]\naddress = \"127.0.0.1:0\"\n\
         [keys]\nsources = [\"origin\"]\nstore = \"{at}/keys.redb\"\n\
         [[pins]]\nserver_name = \"{}\"\nverify_keys = {{ \"{id}\" = \"{key}\" }}\n{more}\n",
        origin.name
    );
    replace(&dir.join("fedgate.toml"), &text);
}

/// The whole file or none of it.
fn replace(path: &Path, text: &str) {
    let new = PathBuf::from(format!("{}.new", path.display()));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}
