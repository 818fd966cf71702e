//! One attack after the other, with known servers at work meanwhile.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::sleep;

use super::flood::ATTACKS;
use super::gate::Gate;
use super::report::{Figures, Quiet, Row, report};
use crate::process;

/// How long an attack goes on before anything is measured.
const RAMP: Duration = Duration::from_secs(2);
/// How long afterwards the processor time is looked at.
const REST: Duration = Duration::from_secs(3);

/// A run from which the host has kept more than this part of the processors says little of times.
const STOLEN_MAX: f64 = 0.01;
/// It is done again, up to so many times, and times are those of the one with the least.
const RUNS_MAX: usize = 3;

/// How long known servers are measured by themselves before each attack, as a part of its time.
const QUIET_PART: f64 = 0.6;

struct Options {
    fedgate: PathBuf,
    seconds: u64,
    only: Option<String>,
    write: bool,
}

impl Options {
    fn parse(words: &[&str]) -> Self {
        let mut options =
            Self { fedgate: PathBuf::from("fedgate"), seconds: 20, only: None, write: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--fedgate" => options.fedgate = PathBuf::from(words.next().unwrap()),
                "--only" => options.only = words.next().map(|name| (*name).to_owned()),
                "--quick" => options.seconds = 5,
                "--write" => options.write = true,
                other => panic!("{other} is no option"),
            }
        }
        options
    }
}

pub async fn run(words: &[&str]) {
    let options = Options::parse(words);
    let gate = Gate::start(&options.fedgate).await;
    let time = Duration::from_secs(options.seconds);
    // Whatever is made once only is made now.
    peers(&gate, Duration::from_secs(2)).await;
    let before = process::cpu_seconds(gate.id());
    let (figures, stolen) = peers(&gate, time).await;
    let quiet = Quiet {
        memory_mib: process::memory_mib(gate.id(), "VmRSS"),
        cpu_seconds: process::cpu_seconds(gate.id()) - before,
        figures,
        stolen,
    };
    println!("quiet: failed: {}", quiet.figures.failed);
    // The machine has quicker and slower minutes: each attack is held against those before it.
    let quiet_time = time.mul_f64(QUIET_PART);
    let mut rows = Vec::new();
    for (name, _, what) in ATTACKS {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let mut quiet = peers(&gate, quiet_time).await;
        for _ in 1..RUNS_MAX {
            if quiet.1 > STOLEN_MAX {
                let again = peers(&gate, quiet_time).await;
                quiet = if again.1 < quiet.1 { again } else { quiet };
            }
        }
        for spread in ["one", "many"] {
            let p99_us = quiet.0.p99_us;
            let mut row = attack(&gate, time, name, spread, p99_us).await;
            for _ in 1..RUNS_MAX {
                if row.stolen > STOLEN_MAX {
                    row = row.or(attack(&gate, time, name, spread, p99_us).await);
                }
            }
            let Row { stolen, attack, figures, .. } = &row;
            println!("{name}, {spread}: {attack}; {stolen:.3} stolen; failed: {}", figures.failed);
            rows.push((what, spread, row));
        }
    }
    report(&quiet, &rows, options.seconds, options.write);
}

async fn attack(gate: &Gate, time: Duration, name: &str, spread: &str, quiet_p99_us: f64) -> Row {
    process::forget_peak(gate.id());
    let before = process::cpu_seconds(gate.id());
    let attack_time = RAMP + time + Duration::from_secs(1);
    let words = [name, spread];
    let flooding = child(gate, "flood", attack_time, &words);
    let measuring = async {
        sleep(RAMP).await;
        peers(gate, time).await
    };
    let (attack, (figures, stolen)) = tokio::join!(flooding, measuring);
    let cpu_seconds = process::cpu_seconds(gate.id()) - before;
    let peak_mib = process::memory_mib(gate.id(), "VmHWM");
    // What the attack has left is cleared away first.
    sleep(REST).await;
    let before = process::cpu_seconds(gate.id());
    sleep(REST).await;
    let cpu_after = (process::cpu_seconds(gate.id()) - before) / REST.as_secs_f64();
    let after_mib = process::memory_mib(gate.id(), "VmRSS");
    let attack = attack.trim().to_owned();
    Row { peak_mib, after_mib, cpu_seconds, cpu_after, quiet_p99_us, figures, stolen, attack }
}

/// What known servers have, and which part of the processors the host keeps meanwhile.
async fn peers(gate: &Gate, time: Duration) -> (Figures, f64) {
    let before = process::stolen_seconds();
    let figures = Figures::parse(&child(gate, "peers", time, &[]).await);
    let processors = std::thread::available_parallelism().unwrap().get() as f64;
    let stolen = process::stolen_seconds() - before;
    (figures, stolen / time.as_secs_f64() / processors)
}

/// This program again, in another role; what it printed.
async fn child(gate: &Gate, role: &str, time: Duration, more: &[&str]) -> String {
    // Attackers would have machines of their own: here they have what nobody else wants of this one.
    let niceness = if role == "flood" { "19" } else { "0" };
    let mut command = Command::new("nice");
    command
        .args(["-n", niceness])
        .arg(std::env::current_exe().unwrap())
        .arg(role)
        .arg(gate.address.to_string())
        .arg(&gate.ca_file)
        .arg(time.as_secs_f64().to_string())
        .args(more)
        .stderr(Stdio::inherit());
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    String::from_utf8(done.stdout).unwrap()
}
