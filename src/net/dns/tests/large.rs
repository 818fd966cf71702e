//! Answers that a packet does not hold (fault 10 of `tests/faults.toml`).

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

const NAME: &str = "large.example.org.";

/// As many addresses as take more than the 512 bytes of a plain packet.
const ADDRESSES: u8 = 40;

/// One port, over both.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = udp.local_addr().expect("an address");
        if let Ok(tcp) = TcpListener::bind(address).await {
            return (udp, tcp);
        }
    }
}

/// The answer to a query: whole, or cut to nothing.
fn answer(query: &[u8], whole: bool) -> Vec<u8> {
    let mut message = Message::from_vec(query).expect("a query");
    let is_a = message.queries[0].query_type() == RecordType::A;
    if whole && is_a {
        message.add_answers((0..ADDRESSES).map(|n| a(NAME, [1, 1, 1, n])));
    }
    message.metadata.truncation = !whole;
    message.edns = None;
    message.into_response().to_vec().expect("an answer")
}

async fn cut_every_answer(udp: UdpSocket) {
    let mut packet = [0; 4_096];
    loop {
        let (length, peer) = udp.recv_from(&mut packet).await.expect("a packet");
        udp.send_to(&answer(&packet[..length], false), peer).await.expect("sent");
    }
}

async fn answer_over_tcp(tcp: TcpListener) {
    loop {
        let (mut stream, _) = tcp.accept().await.expect("a connection");
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await.expect("a query");
                let answer = answer(&query, true);
                stream
                    .write_u16(u16::try_from(answer.len()).expect("a length"))
                    .await
                    .expect("sent");
                stream.write_all(&answer).await.expect("sent");
            }
        });
    }
}

fn dns(address: SocketAddr) -> HickoryDns {
    let metrics = NetMetrics::new().expect("metrics");
    HickoryDns::new(vec![name_server(&address)], Hosts::default(), &metrics).expect("a resolver")
}

#[tokio::test]
async fn f10_an_answer_that_is_cut_is_had_over_tcp() {
    let (udp, tcp) = sockets().await;
    let address = udp.local_addr().expect("an address");
    let serving = [tokio::spawn(cut_every_answer(udp)), tokio::spawn(answer_over_tcp(tcp))];
    let found = records_of(dns(address).addresses("large.example.org")).await.expect("records");
    assert_eq!(found.len(), ADDRESSES_MAX, "as many as are of use");
    serving.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Where TCP is blocked, what is cut is an error, and no list of addresses with some left out.
#[tokio::test]
async fn f10_an_answer_that_is_cut_and_cannot_be_had_is_an_error() {
    let (udp, tcp) = sockets().await;
    drop(tcp);
    let address = udp.local_addr().expect("an address");
    let serving = tokio::spawn(cut_every_answer(udp));
    let found = records_of(dns(address).addresses("large.example.org")).await;
    assert!(found.is_err() || found.is_ok_and(|records| records.is_empty()));
    serving.abort();
}
