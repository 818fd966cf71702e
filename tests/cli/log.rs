//! What `fedgate run` logs, as its reader sees it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Files, text};

/// More lines than a pipe holds.
const REQUESTS: usize = 1_000;

/// Nobody reads while there are requests, and what reads in the end finds everything: each line whole,
/// in order, none missing, the last before the program's end.
#[test]
fn no_line_is_lost_when_nobody_reads_and_at_the_end() {
    let lines = log_of_refusals("all");
    let count = |message: &str| lines.iter().filter(|line| line["message"] == message).count();
    assert_eq!(count("refused"), REQUESTS);
    let last = lines.last().expect("a line");
    assert_eq!(
        (&last["target"], &last["message"]),
        (&"fedgate::app::run".into(), &"stopped".into())
    );
}

/// Of a flood there is a line a second, and nobody loses count.
#[test]
fn r5_a_flood_of_refusals_is_a_few_lines_and_a_count() {
    let lines = log_of_refusals("limited");
    let of = |message: &'static str| lines.iter().filter(move |line| line["message"] == message);
    let written = of("refused").count();
    let left_out: Vec<&Value> = of("more of these, left out").collect();
    // The first 60, and one for each second that this takes on a slow machine.
    assert!((60..REQUESTS / 4).contains(&written), "{written}");
    let told = left_out.iter().map(|line| {
        assert_eq!((&line["reason"], &line["verdict"]), (&"other_path".into(), &"refused".into()));
        line["lines"].as_u64().expect("a number")
    });
    assert_eq!(told.sum::<u64>() + written as u64, REQUESTS as u64);
    assert!(left_out.len() <= written - 60 + 1, "one for each of these seconds: {left_out:?}");
}

/// The lines of a fedgate that refuses as many requests as fast as it can.
fn log_of_refusals(refusals: &str) -> Vec<Value> {
    let files = Files::new();
    let settings = "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:1\"\n\
                    [listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
                    [keys]\nstore = \"\"\n";
    let mut child = Command::new(env!("CARGO_BIN_EXE_fedgate"))
        .args(["run", "--config", &files.write("fedgate.toml", settings)])
        .env_clear()
        .env("FEDGATE_LOG__FORMAT", "json")
        .env("FEDGATE_LOG__REFUSALS", refusals)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut ready = String::new();
    log.read_line(&mut ready).expect("a line");
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    let address = text(&ready, "address");

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

    rest.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
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
