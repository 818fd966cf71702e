//! What fedgate holds in memory at rest, and with many bodies at one time.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::client::{Load, ask};
use crate::contender::Contender;
use crate::http1::read_message;
use crate::work::{with_body, works};

const BODIES: usize = 1_000;
const BODY_BYTES: usize = 200_000;

/// With its key known and a request behind it, in MiB.
pub async fn idle(gate: &Contender) -> f64 {
    let [get, ..] = works();
    let load = Load {
        address: gate.address,
        requests: &[get.request],
        connections: 1,
        pace: None,
        time: Duration::from_millis(50),
    };
    ask(&load, || ()).await;
    gate.memory_mib("VmRSS")
}

/// In MiB.
pub struct OfBodies {
    pub in_flight: f64,
    pub before: f64,
    pub peak: f64,
}

/// Sends all bodies but for their last bytes, and those only when everything else has come.
pub async fn of_bodies(gate: &Contender) -> OfBodies {
    let request = with_body(BODY_BYTES).bytes;
    let (most, last) = request.split_at(request.len() - 1);
    let before = gate.memory_mib("VmRSS");
    gate.forget_peak();
    let mut streams = Vec::new();
    for _ in 0..BODIES {
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        stream.write_all(most).await.unwrap();
        streams.push(stream);
    }
    // What is with the system still is read now.
    sleep(Duration::from_secs(2)).await;
    for stream in &mut streams {
        stream.write_all(last).await.unwrap();
    }
    for stream in &mut streams {
        let head = read_message(stream, &mut Vec::new()).await.unwrap();
        assert_eq!(head.status().unwrap(), 200);
    }
    let in_flight = (request.len() * BODIES) as f64 / f64::from(1 << 20);
    OfBodies { in_flight, before, peak: gate.memory_mib("VmHWM") }
}
