//! Answers to key queries, and a homeserver that gives them, for the tests of this module.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::config::Homeserver;

/// The body of an answer with these documents.
pub(super) fn answer(documents: &[Vec<u8>]) -> Vec<u8> {
    [br#"{"server_keys":["#.as_slice(), &documents.join(&b','), b"]}"].concat()
}

/// A whole HTTP answer.
pub(super) fn response(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Reads one key query.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"}}}}") && !read.ends_with(br#"{"server_keys":{}}"#) {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "the request ended early");
    }
    String::from_utf8(read).unwrap()
}

/// Reads one key query and gives one answer; returns what was read.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &[u8],
) -> String {
    let question = read(&mut stream).await;
    // The client may hang up before it has read everything.
    drop(stream.write_all(answer).await);
    question
}

/// A homeserver on a port of its own that gives the same answer to everybody, and the number of
/// requests it has had.
pub(super) async fn homeserver(answer: Vec<u8>) -> (Homeserver, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            serve(stream, &answer).await;
        }
    });
    (Homeserver::Tcp { host: "127.0.0.1".to_owned(), port }, requests)
}
