//! What a process takes of the machine.

/// Ticks of processor time in a second, as /proc counts them on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time it has used, in seconds (proc(5), utime and stime).
pub fn cpu_seconds(id: u32) -> f64 {
    let stat = proc(id, "stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// Processor time that the host has kept from this machine, in seconds (proc(5), steal).
#[allow(dead_code, reason = "not every benchmark asks for it")]
pub fn stolen_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let ticks = stat.split_whitespace().nth(8).expect(&stat);
    ticks.parse::<f64>().unwrap() / TICKS_PER_SECOND
}

/// Memory it holds (`VmRSS`), or has held at most (`VmHWM`), in MiB.
pub fn memory_mib(id: u32, line: &str) -> f64 {
    let status = proc(id, "status");
    let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).unwrap();
    found.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1_024.0
}

/// Begins to look for the most memory anew.
pub fn forget_peak(id: u32) {
    std::fs::write(format!("/proc/{id}/clear_refs"), "5").unwrap();
}

fn proc(id: u32, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{id}/{name}")).expect("the process is gone")
}
