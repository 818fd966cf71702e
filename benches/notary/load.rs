//! Asks a notary over HTTP/1.1, on connections that are kept, as fast as it answers.
//!
//! `load ADDRESS SECONDS CONNECTIONS KIND FILE`: KIND is `get` or `post`, one server in each question,
//! or `batch`, all of them; FILE has a server name and a key ID on each line. Prints the answers and
//! the seconds. An answer that is not 200, or not as long as the first to the same question, ends it.
//!
//! It has nothing but the standard library, so that `benches/notary/run` compiles it in a moment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark: it reads the clock, prints, and may stop at the first mistake"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Counted in each answer: every document has one.
const DOCUMENT: &[u8] = b"\"verify_keys\"";

/// A question, how many documents must come, and how long the answer was.
struct Question {
    text: Vec<u8>,
    documents: usize,
    length: Option<usize>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, seconds, connections, kind, file] = arguments.as_slice() else {
        println!("load ADDRESS SECONDS CONNECTIONS KIND FILE; benches/notary/run calls it");
        return;
    };
    let names = std::fs::read_to_string(file).unwrap();
    let names: Vec<(&str, &str)> =
        names.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let end = Instant::now() + Duration::from_secs_f64(seconds.parse().unwrap());
    let begin = Instant::now();
    let answers: u64 = std::thread::scope(|scope| {
        let ask = || ask(address, questions(kind, &names, address), end);
        let threads: Vec<_> =
            (0..connections.parse().unwrap()).map(|_: u32| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{answers} {}", begin.elapsed().as_secs_f64());
}

/// One connection; the answers it has had until `end`.
fn ask(address: &str, mut questions: Vec<Question>, end: Instant) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::with_capacity(1 << 17, stream.try_clone().unwrap());
    let (mut line, mut body) = (String::new(), Vec::new());
    let mut answers = 0;
    for index in (0..questions.len()).cycle() {
        if Instant::now() >= end {
            break;
        }
        let question = &mut questions[index];
        stream.write_all(&question.text).unwrap();
        answer(&mut reader, &mut line, &mut body);
        match question.length {
            None => {
                let found = body.windows(DOCUMENT.len()).filter(|part| *part == DOCUMENT).count();
                assert_eq!(found, question.documents, "{}", String::from_utf8_lossy(&body));
                question.length = Some(body.len());
            }
            Some(length) => assert_eq!(length, body.len()),
        }
        answers += 1;
    }
    answers
}

/// Reads one answer's body, as long as its head says or in chunks.
fn answer(reader: &mut BufReader<TcpStream>, line: &mut String, body: &mut Vec<u8>) {
    next_line(reader, line);
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    let (mut length, mut chunked) = (None, false);
    loop {
        next_line(reader, line);
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().unwrap());
        }
        chunked |= name.eq_ignore_ascii_case("transfer-encoding");
    }
    body.clear();
    if !chunked {
        return read_more(reader, body, length.expect("a length"));
    }
    loop {
        next_line(reader, line);
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        read_more(reader, body, size);
        next_line(reader, line);
        if size == 0 {
            return;
        }
    }
}

fn next_line(reader: &mut BufReader<TcpStream>, line: &mut String) {
    line.clear();
    assert!(reader.read_line(line).unwrap() > 0, "the connection has ended");
}

fn read_more(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>, size: usize) {
    let begin = body.len();
    body.resize(begin + size, 0);
    reader.read_exact(&mut body[begin..]).unwrap();
}

/// As Synapse asks: each key by its ID, valid now; by GET all keys of a server.
fn questions(kind: &str, names: &[(&str, &str)], host: &str) -> Vec<Question> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let wanted = |(server, key): &(&str, &str)| {
        format!("\"{server}\":{{\"{key}\":{{\"minimum_valid_until_ts\":{now_ms}}}}}")
    };
    let post = |servers: String| {
        let body = format!("{{\"server_keys\":{{{servers}}}}}");
        format!(
            "POST /_matrix/key/v2/query HTTP/1.1\r\nHost: {host}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let get = |(server, _): &(&str, &str)| {
        format!("GET /_matrix/key/v2/query/{server} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    };
    let question =
        |text: String, documents| Question { text: text.into_bytes(), documents, length: None };
    match kind {
        "get" => names.iter().map(|name| question(get(name), 1)).collect(),
        "post" => names.iter().map(|name| question(post(wanted(name)), 1)).collect(),
        "batch" => {
            let all: Vec<String> = names.iter().map(wanted).collect();
            vec![question(post(all.join(",")), names.len())]
        }
        other => panic!("{other} is no kind"),
    }
}
