//! The table, and which of its figures miss the goals.

use std::fmt::Write as _;

use crate::results;

/// The goals: `notes` say 512 MiB, 99.9 % and twice the quiet time.
const MEMORY_MIB_MAX: f64 = 512.0;
const SUCCESS_PERCENT_MIN: f64 = 99.9;
const RATIO_MAX: f64 = 2.0;
/// A core is at rest below this.
const CPU_AFTER_MAX: f64 = 0.05;

/// What known servers had.
pub struct Figures {
    asked: u64,
    answered: u64,
    p50_us: f64,
    pub p99_us: f64,
    /// What went wrong, and how often.
    pub failed: String,
}

impl Figures {
    /// Reads what `peers` prints.
    pub fn parse(text: &str) -> Self {
        let mut words = text.trim().splitn(5, ' ');
        let mut next = || words.next().expect(text).to_owned();
        Self {
            asked: next().parse().unwrap(),
            answered: next().parse().unwrap(),
            p50_us: next().parse().unwrap(),
            p99_us: next().parse().unwrap(),
            failed: next(),
        }
    }

    fn success_percent(&self) -> f64 {
        self.answered as f64 * 100.0 / self.asked as f64
    }
}

/// Before any attack.
pub struct Quiet {
    pub memory_mib: f64,
    pub cpu_seconds: f64,
    pub figures: Figures,
    /// Which part of the processors the host has kept.
    pub stolen: f64,
}

/// During one attack, and after it.
pub struct Row {
    pub peak_mib: f64,
    pub after_mib: f64,
    pub cpu_seconds: f64,
    /// Of one core.
    pub cpu_after: f64,
    /// What known servers had just before.
    pub quiet_p99_us: f64,
    pub figures: Figures,
    /// Which part of the processors the host has kept.
    pub stolen: f64,
    /// What the attackers got done.
    pub attack: String,
}

impl Row {
    /// Of two runs, the one from which less was stolen, but with the memory and the answers of both.
    pub fn or(self, other: Self) -> Self {
        let (mut row, other) =
            if other.stolen < self.stolen { (other, self) } else { (self, other) };
        row.peak_mib = row.peak_mib.max(other.peak_mib);
        row.figures.asked += other.figures.asked;
        row.figures.answered += other.figures.answered;
        row
    }
}

/// Prints the table, and writes it among the results.
pub fn report(quiet: &Quiet, rows: &[(&str, &str, Row)], seconds: u64, write: bool) {
    let section = section(quiet, rows, seconds);
    println!("\n{section}");
    if write {
        results::write("attack", &section);
    }
}

fn section(quiet: &Quiet, rows: &[(&str, &str, Row)], seconds: u64) -> String {
    let origin = results::origin();
    let mut text = format!(
        "## Under attack\n\n`benches/attack/run --write`: {origin}, shared \
         by fedgate, the known servers, the homeserver stand-in and the attackers (at the lowest priority). Known servers send \
         100 signed requests a second over TLS, GET and PUT by turns, on kept connections of 8 networks; \
         one of them begins a new connection after every ten. Each row is {seconds} s, from one /24 or \
         from many; `!` marks what misses a goal: at most {MEMORY_MIB_MAX} MiB, at least \
         {SUCCESS_PERCENT_MIN} % answered with 200, p99 at most {RATIO_MAX} times the one before, and \
         a processor at rest afterwards. p99 is the median of those of 4 s each, quiet for the 12 s before an \
         attack as well as during it. \"Kept\" is the part of the processors that the host has kept from this \
         machine meanwhile; where that is more than 1 %, the row is measured up to three times, and the times \
         are those of the run with the least.\n\n\
         | attack | networks | MiB at most | MiB after | CPU s | CPU after | success | p50 ms | p99 ms | p99 before | p99 to quiet | kept |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    let figures = &quiet.figures;
    let ms = |us: f64| us / 1_000.0;
    let _infallible = writeln!(
        text,
        "| none | | {:.0} | | {:.1} | | {:.2} % | {:.1} | {:.1} | | 1 | {:.1} % |",
        quiet.memory_mib,
        quiet.cpu_seconds,
        figures.success_percent(),
        ms(figures.p50_us),
        ms(figures.p99_us),
        quiet.stolen * 100.0
    );
    for (what, spread, row) in rows {
        let ratio = row.figures.p99_us / row.quiet_p99_us;
        let success = row.figures.success_percent();
        let mark = |misses: bool| if misses { " !" } else { "" };
        let _infallible = writeln!(
            text,
            "| {what} | {spread} | {:.0}{} | {:.0} | {:.1} | {:.0} %{} | {success:.2} %{} | {:.1} | {:.1} | {:.1} | {ratio:.1}{} | {:.1} % |",
            row.peak_mib,
            mark(row.peak_mib > MEMORY_MIB_MAX),
            row.after_mib,
            row.cpu_seconds,
            row.cpu_after * 100.0,
            mark(row.cpu_after > CPU_AFTER_MAX),
            mark(success < SUCCESS_PERCENT_MIN),
            ms(row.figures.p50_us),
            ms(row.figures.p99_us),
            ms(row.quiet_p99_us),
            mark(ratio > RATIO_MAX),
            row.stolen * 100.0
        );
    }
    text
}
