//! A name server on loopback that speaks real DNS packets, for the tests of this crate.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SOA, SRV};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;

/// What the name server does with one question.
#[derive(Clone)]
pub(crate) enum Script {
    Answer(Vec<Record>),
    /// One answer after another, none of which may be remembered; the last one for good.
    InTurn(Vec<Vec<Record>>),
    Code(ResponseCode),
    /// The name does not exist, which may be remembered for as many seconds.
    Missing(u32),
    Silence,
    /// Waits for a permit, and follows another line then.
    Held(Arc<Semaphore>, Box<Script>),
}

/// A name server that follows a script; what it has no line for does not exist.
pub(crate) struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, RecordType)>>>,
    task: JoinHandle<()>,
}

impl NameServer {
    pub(crate) async fn start(lines: &[(&str, RecordType, Script)]) -> Self {
        let script: BTreeMap<(String, RecordType), Script> = lines
            .iter()
            .map(|(name, kind, script)| (((*name).to_owned(), *kind), script.clone()))
            .collect();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
        let address = socket.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut packet = [0; 4_096];
            loop {
                let (length, peer) = socket.recv_from(&mut packet).await.expect("a packet");
                let mut message = Message::from_vec(&packet[..length]).expect("a query");
                let query = message.queries[0].clone();
                let question = (query.name().to_ascii(), query.query_type());
                let times_asked = {
                    let mut seen = seen.lock().expect("unpoisoned");
                    seen.push(question.clone());
                    seen.iter().filter(|asked| **asked == question).count()
                };
                let mut line = script.get(&question);
                if let Some(Script::Held(go_on, then)) = line {
                    go_on.acquire().await.expect("open").forget();
                    line = Some(then);
                }
                match line {
                    Some(Script::Held(..) | Script::Silence) => continue,
                    Some(Script::Code(code)) => message.metadata.response_code = *code,
                    Some(Script::Missing(seconds)) => {
                        message.metadata.response_code = ResponseCode::NXDomain;
                        message.add_authority(soa(*seconds));
                    }
                    Some(Script::Answer(records)) => {
                        message.add_answers(records.iter().cloned());
                    }
                    Some(Script::InTurn(answers)) => {
                        let records = &answers[times_asked.min(answers.len()) - 1];
                        message.add_answers(records.iter().cloned().map(|mut record| {
                            record.ttl = 0;
                            record
                        }));
                    }
                    None => message.metadata.response_code = ResponseCode::NXDomain,
                }
                message.edns = None;
                let answer = message.into_response().to_vec().expect("an answer");
                socket.send_to(&answer, peer).await.expect("sent");
            }
        });
        Self { address, asked, task }
    }

    pub(crate) fn dns(&self) -> HickoryDns {
        let metrics = NetMetrics::new().expect("metrics");
        HickoryDns::new(vec![name_server(&self.address)], Hosts::default(), &metrics)
            .expect("a resolver")
    }

    pub(crate) fn asked(&self) -> Vec<(String, RecordType)> {
        let mut asked = self.asked.lock().expect("unpoisoned").clone();
        asked.sort();
        asked.dedup();
        asked
    }

    pub(crate) fn times_asked(&self) -> usize {
        self.asked.lock().expect("unpoisoned").len()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn record(name: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(name).expect("a name"), 60, data)
}

pub(crate) fn a(name: &str, ip: [u8; 4]) -> Record {
    record(name, RData::A(Ipv4Addr::from(ip).into()))
}

pub(crate) fn aaaa(name: &str, ip: Ipv6Addr) -> Record {
    record(name, RData::AAAA(ip.into()))
}

pub(crate) fn cname(name: &str, target: &str) -> Record {
    record(name, RData::CNAME(CNAME(Name::from_ascii(target).expect("a name"))))
}

pub(crate) fn srv(name: &str, priority: u16, weight: u16, port: u16, target: &str) -> Record {
    let target = Name::from_ascii(target).expect("a name");
    record(name, RData::SRV(SRV::new(priority, weight, port, target)))
}

pub(crate) fn soa(negative_ttl: u32) -> Record {
    let root = Name::root();
    let soa = SOA::new(root.clone(), root.clone(), 1, 7_200, 3_600, 86_400, negative_ttl);
    Record::from_rdata(root, negative_ttl, RData::SOA(soa))
}
