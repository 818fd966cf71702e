//! One question for all who ask the same.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::*;

/// A name server that waits for a word before it answers.
struct Slow {
    server: NameServer,
    go_on: Arc<Semaphore>,
}

impl Slow {
    async fn start(name: &str, script: Script) -> Self {
        let go_on = Arc::new(Semaphore::new(0));
        let held = Script::Held(Arc::clone(&go_on), Box::new(script));
        let server = NameServer::start(&[(name, RecordType::SRV, held)]).await;
        Self { server, go_on }
    }

    async fn until_asked(&self) {
        while self.server.times_asked() == 0 {
            tokio::task::yield_now().await;
        }
    }
}

const SLOW: &str = "slow.example.org.";

fn slow_records() -> Script {
    Script::Answer(vec![srv(SLOW, 1, 1, 1, "a.example.")])
}

#[tokio::test]
async fn who_asks_for_the_same_waits_for_one_answer() {
    let slow = Slow::start(SLOW, slow_records()).await;
    let dns = slow.server.dns();
    let all = future::join_all((0..50).map(|_| dns.srv(SLOW)));
    let answer = async {
        slow.until_asked().await;
        slow.go_on.add_permits(1);
    };
    let (found, ()) = future::join(all, answer).await;
    assert!(
        found.iter().all(|found| found.as_ref().is_ok_and(|targets| targets.records.len() == 1))
    );
    assert_eq!(slow.server.times_asked(), 1);
    assert_eq!(dns.metrics.seen(Remembered::Dns), (0, 50, 1));
    dns.srv(SLOW).await.expect("records");
    assert_eq!(dns.metrics.seen(Remembered::Dns), (1, 50, 1));
}

#[tokio::test]
async fn a_failure_is_shared_and_then_asked_for_anew() {
    let slow = Slow::start(SLOW, Script::Code(ResponseCode::Refused)).await;
    let dns = slow.server.dns();
    slow.go_on.add_permits(100);
    let all = future::join_all((0..50).map(|_| dns.srv(SLOW))).await;
    assert!(all.iter().all(Result::is_err));
    let asked = slow.server.times_asked();
    // It tries again by itself, but not for each of them.
    assert!(asked < 10, "{asked}");
    dns.srv(SLOW).await.expect_err("no answer");
    assert!(slow.server.times_asked() > asked);
}

#[tokio::test]
async fn who_hangs_up_ends_nobody_elses_question() {
    let slow = Slow::start(SLOW, slow_records()).await;
    let dns = Arc::new(slow.server.dns());
    let ask = || {
        let dns = Arc::clone(&dns);
        tokio::spawn(async move { dns.srv(SLOW).await })
    };
    let (first, second) = (ask(), ask());
    slow.until_asked().await;
    first.abort();
    first.await.expect_err("aborted");
    slow.go_on.add_permits(1);
    assert_eq!(second.await.expect("not aborted").map(|found| found.records.len()), Ok(1));
    assert_eq!(slow.server.times_asked(), 1);
}
