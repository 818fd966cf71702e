//! The tables, which of their figures miss the goals, and the pictures.

use std::fmt::Write as _;

use crate::contender::Kind;
use crate::curve::{self, Line};
use crate::growth::{Growth, Point};
use crate::measure::{AT_WORK, Figures, Refusal, Rounds, fastest, median};
use crate::memory::OfBodies;
use crate::results;

/// Processor time of a request, as a multiple of nginx's and a bare signature check together.
const COST_MAX: f64 = 1.3;
/// In MiB.
const IDLE_MAX: f64 = 30.0;
/// Of the bytes of bodies on their way, beside what is held at rest.
const BODIES_MAX: f64 = 1.5;

fn mark(misses: bool) -> &'static str {
    if misses { " !" } else { "" }
}

pub fn report(
    signed: &[(&'static str, Rounds)],
    refused: &[Refusal],
    growth: &Growth,
    memory: &(f64, OfBodies),
    write: bool,
) {
    let section = format!(
        "## As a proxy, beside nginx and pingora\n\n`benches/load/run --write`: {}. nginx is a plain proxy \
         that reads a body whole before it passes it on; pingora passes everything through; fedgate checks \
         every request, but not the events in it. Each has one processor and one worker; clients ({AT_WORK} \
         kept connections without TLS, but for the curves; with a multiple of 16, fedgate's allocator takes \
         3,300 instructions more for each answer of its own) and the homeserver stand-in have the other one, \
         and never sleep: to wake them would cost a proxy up to 10 us, but not one that keeps them busy, as \
         nginx does. All take turns, figures are medians over rounds, but for the processor time of signed requests, \
         which is the second least of seven: there are times in which a signature check takes longer by a \
         third or two (as if somebody had the other half of the core), and all else less so. `!` marks what misses a goal.\n\n{}\n{}\n{}\n{}\n{}",
        results::origin(),
        costs(signed),
        speeds(signed),
        refusals(refused),
        memory_of(memory),
        curves(growth),
    );
    println!("{section}");
    if write {
        results::write("load", &section);
        pictures(growth);
    }
}

fn costs(signed: &[(&'static str, Rounds)]) -> String {
    let mut text = format!(
        "Processor time of a signed request, in microseconds; fedgate's is to be at most {COST_MAX} times \
         that of nginx and one bare signature check together (the last column).\n\n\
         | request | bare check | nginx | pingora | fedgate | of nginx and a check |\n|---|---:|---:|---:|---:|---:|\n"
    );
    for (name, rounds) in signed {
        let cpu = |kind| rounds.fastest_cpu_us(kind);
        let verify = fastest(rounds.verify_us.iter().copied());
        let ratio = cpu(Kind::Fedgate) / (cpu(Kind::Nginx) + verify);
        writeln!(
            text,
            "| {name} | {verify:.0} | {:.0} | {:.0} | {:.0} | {ratio:.2}{} |",
            cpu(Kind::Nginx),
            cpu(Kind::Pingora),
            cpu(Kind::Fedgate),
            mark(ratio > COST_MAX)
        )
        .unwrap();
    }
    text
}

fn speeds(signed: &[(&'static str, Rounds)]) -> String {
    let mut text = String::from(
        "Requests a second as fast as they are answered, and the times of answers in milliseconds while \
         250 a second come; the most memory meanwhile, in MiB.\n\n\
         | request | proxy | requests/s | p50 | p99 | MiB |\n|---|---|---:|---:|---:|---:|\n",
    );
    for (name, rounds) in signed {
        for (kind, proxy) in
            [(Kind::Nginx, "nginx"), (Kind::Pingora, "pingora"), (Kind::Fedgate, "fedgate")]
        {
            writeln!(
                text,
                "| {name} | {proxy} | {:.0} | {:.2} | {:.2} | {:.0} |",
                rounds.median(kind, |figures| figures.per_second),
                rounds.median(kind, |figures| figures.p50_us) / 1e3,
                rounds.median(kind, |figures| figures.p99_us) / 1e3,
                rounds.median(kind, |figures| figures.peak_mib),
            )
            .unwrap();
        }
    }
    text
}

fn refusals(refused: &[Refusal]) -> String {
    let mut text = String::from(
        "Refused requests a second, beside signed GETs that nginx passes through; but for bad signatures, \
         at least as many.\n\n\
         | request | answer | fedgate/s | nginx/s | of nginx | fedgate, us of processor | nginx |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for refusal in refused {
        let of =
            |figures: &[Figures], figure: fn(&Figures) -> f64| median(figures.iter().map(figure));
        let pairs = refusal.fedgate.iter().zip(&refusal.nginx);
        let ratio = median(pairs.map(|(gate, nginx)| gate.per_second / nginx.per_second));
        writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {ratio:.2}{} | {:.0} | {:.0} |",
            refusal.what,
            refusal.status,
            of(&refusal.fedgate, |figures| figures.per_second),
            of(&refusal.nginx, |figures| figures.per_second),
            mark(ratio < 1.0 && refusal.what != "bad signature"),
            of(&refusal.fedgate, |figures| figures.cpu_us),
            of(&refusal.nginx, |figures| figures.cpu_us),
        )
        .unwrap();
    }
    text
}

fn memory_of((idle, bodies): &(f64, OfBodies)) -> String {
    let OfBodies { in_flight, before, peak } = bodies;
    let ratio = (peak - before) / in_flight;
    format!(
        "Memory at rest: {idle:.0} MiB{} (at most {IDLE_MAX:.0}). With 1,000 bodies of 200 KB at one time, \
         {in_flight:.0} MiB: {before:.0} MiB before, {peak:.0} at most, that is {ratio:.2} times the bodies{} \
         (at most {BODIES_MAX}).\n",
        mark(*idle > IDLE_MAX),
        mark(ratio > BODIES_MAX),
    )
}

fn curves(growth: &Growth) -> String {
    let mut text = String::from(
        "By connections, signed GETs as fast as they are answered (`load-connections.svg`):\n\n\
         | connections | nginx/s | fedgate/s | nginx, us of processor | fedgate | nginx p99, ms | fedgate | fedgate, MiB |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let [nginx, gate] = &growth.connections;
    for (nginx, gate) in nginx.iter().zip(gate) {
        writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} |",
            nginx.at,
            nginx.median(|figures| figures.per_second),
            gate.median(|figures| figures.per_second),
            nginx.median(|figures| figures.cpu_us),
            gate.median(|figures| figures.cpu_us),
            nginx.median(|figures| figures.p99_us) / 1e3,
            gate.median(|figures| figures.p99_us) / 1e3,
            gate.median(|figures| figures.peak_mib),
        )
        .unwrap();
    }
    text += "\nBy the share of forged requests among GETs (`load-forged.svg`):\n\n\
             | forged, % | requests/s | us of processor |\n|---:|---:|---:|\n";
    for point in &growth.forged {
        writeln!(
            text,
            "| {} | {:.0} | {:.0} |",
            point.at,
            point.median(|figures| figures.per_second),
            point.median(|figures| figures.cpu_us)
        )
        .unwrap();
    }
    text
}

fn pictures(growth: &Growth) {
    let places =
        |curve: &[Point]| curve.iter().map(|point| point.at.to_string()).collect::<Vec<_>>();
    let heights = |curve: &[Point]| -> Vec<f64> {
        curve.iter().map(|point| point.median(|figures| figures.cpu_us)).collect()
    };
    let [nginx, gate] = &growth.connections;
    let lines = [
        Line { name: "fedgate, which verifies", heights: heights(gate) },
        Line { name: "nginx, which passes through", heights: heights(nginx) },
    ];
    let height = "processor time of a GET, us";
    curve::write(
        "load-connections",
        "Cost by connections at one time",
        ("connections", &places(gate)),
        height,
        &lines,
    );
    let lines = [Line { name: "fedgate", heights: heights(&growth.forged) }];
    curve::write(
        "load-forged",
        "Cost by the share of forged requests",
        ("forged, %", &places(&growth.forged)),
        height,
        &lines,
    );
}
