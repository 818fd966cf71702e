//! Who verifies a request: the gate, and the floor it is measured by.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use ed25519_dalek::Verifier as _;
use fedgate::gate::admission::{Admitted, RequestHead};
use fedgate::gate::{Body, FoundKeys, Gate};
use fedgate::keys::Keyring;
use tokio::runtime::Runtime;

use crate::workload::{Kind, ORIGIN, SEED, Workload, gate, workload};

/// Whoever sends.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How much of a body comes at one time, in bytes: what TLS has in one record.
pub const PIECE_BYTES: usize = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// ed25519-dalek's `verify` of the prepared message.
    Floor,
    /// The gate, whose body is there in one piece.
    Gate,
    /// The same, with a table for the origin's key.
    Hot,
}

impl Contender {
    pub fn named(name: &str) -> Self {
        [Self::Floor, Self::Gate, Self::Hot].into_iter().find(|c| c.name() == name).unwrap()
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Gate => "gate",
            Self::Hot => "hot",
        }
    }
}

/// All contenders and one request.
pub struct House {
    pub work: Workload,
    key: ed25519_dalek::VerifyingKey,
    gate: Gate,
    hot: Gate,
    runtime: Runtime,
}

impl House {
    pub fn new(kind: &Kind) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let key = ed25519_dalek::SigningKey::from_bytes(&SEED).verifying_key();
        let ((gate, _), (hot, keyring)) = (gate(), gate());
        let house = Self { work: workload(kind, ORIGIN), key, gate, hot, runtime };
        house.learn_keys();
        house.heat(&keyring);
        house
    }

    fn learn_keys(&self) {
        for gate in [&self.gate, &self.hot] {
            learn_keys(gate, &self.work, &self.runtime);
        }
    }

    fn heat(&self, keyring: &Keyring) {
        while !keyring.hot_keys().make_one() {
            judge(&self.hot, &self.work);
        }
    }

    pub fn run(&self, contender: Contender, times: usize) {
        for _ in 0..times {
            match contender {
                Contender::Floor => verify(&self.key, &self.work),
                Contender::Gate => judge(black_box(&self.gate), &self.work),
                Contender::Hot => judge(black_box(&self.hot), &self.work),
            }
        }
    }

    /// What is to be done once the last piece of the body is there, after all that was done before.
    pub fn with_last_piece(&self, end: impl FnOnce(&mut dyn FnMut())) {
        let (admitted, keys) = admit(&self.gate, &self.work);
        let mut body: Body<'_> = self.gate.hear(&admitted, &keys);
        let room = self.work.body.len();
        let mut pieces: Vec<Bytes> = self
            .work
            .body
            .chunks(PIECE_BYTES)
            .map(|piece| self.work.body.slice_ref(piece))
            .collect();
        let mut last = pieces.pop();
        for piece in pieces {
            body.push(piece, room);
        }
        end(&mut || {
            if let Some(last) = last.take() {
                body.push(last, room);
            }
            body.end();
            drop(black_box(self.gate.judge(&admitted, &body).unwrap().permit));
        });
    }
}

/// The floor.
pub fn verify(key: &ed25519_dalek::VerifyingKey, work: &Workload) {
    key.verify(black_box(&work.message), black_box(&work.signature)).unwrap();
}

/// Has the gate fetch the keys that the request needs.
pub fn learn_keys(gate: &Gate, work: &Workload, runtime: &Runtime) {
    let claim = admit_head(gate, work).claim;
    runtime.block_on(gate.find_keys(&claim, CLIENT)).unwrap();
}

/// From the head to the permit, as the proxy does it.
pub fn judge(gate: &Gate, work: &Workload) {
    let (admitted, keys) = admit(gate, work);
    let mut body = gate.hear(&admitted, &keys);
    body.push(work.body.clone(), 0);
    body.end();
    drop(black_box(gate.judge(&admitted, &body).unwrap().permit));
}

fn admit_head(gate: &Gate, work: &Workload) -> Admitted {
    let Workload { method, target, headers, .. } = work;
    gate.admit(RequestHead { method, raw_target: target.as_bytes(), headers }).unwrap()
}

fn admit(gate: &Gate, work: &Workload) -> (Admitted, FoundKeys) {
    let admitted = admit_head(gate, work);
    let keys = {
        let mut found = pin!(gate.find_keys(&admitted.claim, CLIENT));
        // The proxy is at work on its runtime already: to enter that is no part of a verdict.
        let Poll::Ready(keys) = found.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("the keys are in the cache");
        };
        keys.unwrap()
    };
    (admitted, keys)
}
