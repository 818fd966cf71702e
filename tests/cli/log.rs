//! What `fedgate run` logs, as its reader sees it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Files;

/// More lines than a pipe holds.
const REQUESTS: usize = 1_000;

/// Nobody reads while there are requests, and what reads in the end finds everything: each line whole,
/// in order, none missing, the last before the program's end.
#[test]
fn no_line_is_lost_when_nobody_reads_and_at_the_end() {
    let files = Files::new();
    let settings = "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:1\"\n\
                    [listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
                    [keys]\nstore = \"\"\n";
    let mut child = Command::new(env!("CARGO_BIN_EXE_fedgate"))
        .args(["run", "--config", &files.write("fedgate.toml", settings)])
        .env_clear()
        .env("FEDGATE_LOG__FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut ready = String::new();
    log.read_line(&mut ready).expect("a line");
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    let address = ready["address"].as_str().expect("an address");

    let mut client = TcpStream::connect(address).expect("a connection");
    let mut answers = BufReader::new(client.try_clone().expect("the same connection"));
    for _ in 0..REQUESTS {
        client.write_all(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        skip_answer(&mut answers);
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("told to stop");
    let mut rest = String::new();
    log.read_to_string(&mut rest).expect("UTF-8");
    assert!(child.wait().expect("it ends").success());

    let lines = rest.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let messages: Vec<String> =
        lines.map(|line| format!("{} {}", line["target"], line["message"])).collect();
    let count = |message: &str| messages.iter().filter(|found| *found == message).count();
    assert_eq!(count("\"fedgate::access\" \"refused\""), REQUESTS);
    assert_eq!(messages.last().map(String::as_str), Some("\"fedgate::app::run\" \"stopped\""));
    assert!(!messages.iter().any(|message| message.contains("fedgate::panics")), "{messages:?}");
}

fn skip_answer(answers: &mut impl std::io::BufRead) {
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        answers.read_line(&mut line).expect("a line");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    answers.read_exact(&mut vec![0; length]).expect("a body");
}
