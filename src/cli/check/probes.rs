//! Ports, homeserver, clock, resolver and limits of the process.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use super::Finding;
use crate::cli::{healthcheck, http, times};
use crate::clock::Clock;
use crate::config::{Config, Homeserver, Mode};
use crate::proto::Timestamp;

/// What every homeserver answers without being asked who one is.
const VERSION_PATH: &str = "/_matrix/federation/v1/version";

/// A clock that shows an earlier time is wrong: fedgate was written later. 2026-01-01.
const CLOCK_MS_MIN: u64 = 1_767_225_600_000;

/// How far our clock and the homeserver's may be apart.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// Longest text of a homeserver that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// Observe mode protects nobody.
pub(super) fn mode(config: &Config) -> Option<Finding> {
    (config.mode == Mode::Observe).then(|| {
        Finding::warn(
            "mode",
            "observe: requests that fail a check are forwarded all the same",
            "set mode = \"enforce\" once the log shows no honest server among the refusals",
        )
    })
}

/// Whether both listeners can be opened.
pub(super) fn ports(config: &Config) -> Vec<Finding> {
    let admin = config.admin.address;
    vec![
        port("listen", "listen.address", config.listen.address, admin),
        port("admin", "admin.address", admin, admin),
    ]
}

fn port(name: &'static str, setting: &str, address: SocketAddr, admin: SocketAddr) -> Finding {
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::ok(name, format!("{address} is free")),
        Err(error) => error,
    };
    let kind = error.kind();
    let (detail, fix) = if kind == ErrorKind::AddrInUse && runs_already(admin) {
        return Finding::ok(name, format!("{address} is taken, by the fedgate that is running"));
    } else if kind == ErrorKind::AddrInUse {
        (
            format!("{address} is taken by another program"),
            format!("stop that program (`ss -ltnp` names it), or set another {setting}"),
        )
    } else if kind == ErrorKind::PermissionDenied {
        (
            format!("{address} may not be opened by this user"),
            format!("use a port above 1023 in {setting}, or grant CAP_NET_BIND_SERVICE"),
        )
    } else if kind == ErrorKind::AddrNotAvailable {
        (
            format!("{address} is no address of this machine"),
            format!("set {setting} to an own address, or to 0.0.0.0 for all"),
        )
    } else {
        (format!("{address}: {error}"), format!("set another {setting}"))
    };
    Finding::fail(name, detail, fix)
}

fn runs_already(admin: SocketAddr) -> bool {
    http::get(&healthcheck::admin(admin), "/health").is_ok_and(|answer| answer.status == 200)
}

/// Whether the homeserver answers, and whether the clocks agree.
pub(super) fn homeserver(config: &Config, clock: &dyn Clock) -> Vec<Finding> {
    let shown = match &config.homeserver {
        Homeserver::Tcp { host, port } => format!("{host}:{port}"),
        Homeserver::Unix(path) => path.display().to_string(),
    };
    match http::get(&config.homeserver, VERSION_PATH) {
        Ok(answer) => {
            let found = version(&shown, answer.status, &answer.body);
            vec![found, compare_clocks(clock.now(), answer.date.as_deref())]
        }
        Err(error) => {
            let test = match &config.homeserver {
                Homeserver::Tcp { .. } => format!("curl -i http://{shown}{VERSION_PATH}"),
                Homeserver::Unix(_) => {
                    format!("curl -i --unix-socket {shown} http://localhost{VERSION_PATH}")
                }
            };
            let found = Finding::fail(
                "homeserver",
                format!("{shown} does not answer: {error}"),
                format!(
                    "start the homeserver, or correct the setting homeserver (in containers the \
                     host is the service's name, as in \"http://synapse:8008\"); test: {test}"
                ),
            );
            vec![found, compare_clocks(clock.now(), None)]
        }
    }
}

fn version(shown: &str, status: u16, body: &str) -> Finding {
    let version: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let server = version.as_ref().and_then(|version| version.get("server"));
    let text = |name| server.and_then(|server| server.get(name)).and_then(|text| text.as_str());
    match (status, text("name")) {
        (200, Some(name)) => {
            let software = format!("{name} {}", text("version").unwrap_or_default());
            let software: String =
                software.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
            Finding::ok("homeserver", format!("{shown} answers: {}", software.trim()))
        }
        _ => Finding::warn(
            "homeserver",
            format!("{shown} answers, but with status {status} to {VERSION_PATH}"),
            "make sure that this is the homeserver's listener and that it serves federation (in \
             Synapse: names: [federation])",
        ),
    }
}

fn compare_clocks(now: Timestamp, date: Option<&str>) -> Finding {
    const FIX: &str = "run an NTP service on this machine and on the homeserver's";
    let shown = times::show(now);
    if now < Timestamp::from_ms(CLOCK_MS_MIN) {
        return Finding::fail("clock", format!("it shows {shown}, which is in the past"), FIX);
    }
    let Some(theirs) = date.and_then(http_date) else {
        return Finding::ok("clock", format!("{shown}; there is nothing to compare it with"));
    };
    let skew = now.since(theirs).max(theirs.since(now));
    if skew > SKEW_MAX {
        let detail = format!("it is {} apart from the homeserver's", times::span(skew));
        return Finding::fail("clock", detail, FIX);
    }
    Finding::ok("clock", format!("{shown}, as the homeserver's"))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, IMF-fixdate).
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = text.split_once(", ")?;
    let mut words = date.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let time = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    times::parse(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

/// The admin listener has no password.
pub(super) fn admin_exposed(config: &Config) -> Option<Finding> {
    let is_private = match config.admin.address.ip() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    (!is_private).then(|| {
        Finding::warn(
            "admin",
            format!("{} may be reached from outside, and has no password", config.admin.address),
            "set admin.address to a loopback or private address, unless a firewall or the \
             container's network shields it",
        )
    })
}

/// Whether there are name servers to ask.
pub(super) fn resolver(config: &Config) -> Finding {
    const FIX: &str = "put name servers into /etc/resolv.conf, or set outbound.dns_servers";
    let own: Vec<String> = config.outbound.dns_servers.iter().map(ToString::to_string).collect();
    if !own.is_empty() {
        return Finding::ok(
            "resolver",
            format!("name servers of the settings: {}", own.join(", ")),
        );
    }
    match hickory_resolver::system_conf::read_system_conf() {
        Ok((system, _)) if !system.name_servers().is_empty() => {
            let servers: Vec<String> =
                system.name_servers().iter().map(|server| server.ip.to_string()).collect();
            Finding::ok("resolver", format!("name servers of the system: {}", servers.join(", ")))
        }
        Ok(_) => Finding::fail("resolver", "the system names no name server", FIX),
        Err(error) => {
            Finding::fail("resolver", format!("the system's settings cannot be read: {error}"), FIX)
        }
    }
}

/// Whether the process may open as many files as there may be connections.
pub(super) fn open_files(config: &Config) -> Option<Finding> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let soft = soft_open_files(&limits)?;
    let wanted = u64::try_from(config.limits.connections_max).ok()?.saturating_mul(2);
    Some(if soft >= wanted {
        Finding::ok("open files", format!("up to {soft}"))
    } else {
        Finding::warn(
            "open files",
            format!("up to {soft}, too few for limits.connections_max"),
            format!(
                "allow {wanted} (LimitNOFILE= in systemd, --ulimit nofile= in Docker), or lower \
                 limits.connections_max to {}",
                soft / 2
            ),
        )
    })
}

fn soft_open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_ascii_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Level;

    #[test]
    fn a_date_of_http_is_read() {
        let date = http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        assert_eq!(date.as_ms(), 784_111_777_000);
        assert!(http_date("Sunday, 06-Nov-94 08:49:37 GMT").is_none());
    }

    #[test]
    fn a_clock_that_is_off_fails() {
        let now = times::parse("2026-11-21T10:00:00Z").expect("a time");
        let at = |date| compare_clocks(now, Some(date)).result;
        assert_eq!(at("Sat, 21 Nov 2026 09:59:30 GMT"), Level::Ok);
        assert_eq!(at("Sat, 21 Nov 2026 09:58:30 GMT"), Level::Fail);
        assert_eq!(at("Sat, 21 Nov 2026 10:02:00 GMT"), Level::Fail);
        assert_eq!(compare_clocks(Timestamp::from_ms(0), None).result, Level::Fail);
        assert_eq!(compare_clocks(now, None).result, Level::Ok);
    }

    #[test]
    fn a_homeserver_that_says_its_version_is_fine_any_other_is_not() {
        let body = r#"{"server":{"name":"Synapse","version":"1.163.2"}}"#;
        assert!(version("h:1", 200, body).detail.contains("Synapse 1.163.2"));
        assert_eq!(version("h:1", 200, "{}").result, Level::Warn);
        assert_eq!(version("h:1", 404, body).result, Level::Warn);
    }

    #[test]
    fn a_taken_port_fails() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("its address");
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        let finding = port("listen", "listen.address", address, nobody);
        assert_eq!(finding.result, Level::Fail);
        assert!(finding.detail.contains("taken"), "{}", finding.detail);
    }

    #[test]
    fn the_limit_on_open_files_is_read() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        assert_eq!(soft_open_files(limits), Some(1_024));
    }
}
