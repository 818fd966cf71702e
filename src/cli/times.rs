//! Points in time as people write and read them.

use std::time::{Duration, UNIX_EPOCH};

use crate::proto::Timestamp;

/// The last millisecond of the year 9999, the last RFC 3339 can name.
const RFC3339_MS_MAX: u64 = 253_402_300_799_999;

/// Reads milliseconds since the epoch, or RFC 3339.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    if let Ok(ms) = text.parse() {
        return Ok(Timestamp::from_ms(ms));
    }
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| {
        format!("{error}; write 2026-11-21T10:00:00Z, or milliseconds since 1970")
    })?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_before| "before 1970".to_owned())?;
    u64::try_from(since.as_millis())
        .map(Timestamp::from_ms)
        .map_err(|error| format!("out of bounds: {error}"))
}

/// `2026-11-21T10:00:00.000Z (1795255200000)`.
pub(super) fn show(time: Timestamp) -> String {
    let ms = time.as_ms();
    if ms > RFC3339_MS_MAX {
        return format!("after the year 9999 ({ms})");
    }
    let date = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms));
    format!("{date} ({ms})")
}

/// A span of time in its two largest units.
pub(super) fn span(time: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `2026-11-21 10:00 UTC`.
pub(super) fn minute(time: Timestamp) -> String {
    if time.as_ms() > RFC3339_MS_MAX {
        return "after the year 9999".to_owned();
    }
    let at = UNIX_EPOCH + Duration::from_millis(time.as_ms());
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let (date, clock) = text.split_once('T').unwrap_or((&text, ""));
    let clock: String = clock.chars().take("10:00".len()).collect();
    format!("{date} {clock} UTC")
}

/// `2026-11-21 10:00:30 UTC`.
pub(super) fn second(time: Timestamp) -> String {
    if time.as_ms() > RFC3339_MS_MAX {
        return "after the year 9999".to_owned();
    }
    let at = UNIX_EPOCH + Duration::from_millis(time.as_ms());
    let text = humantime::format_rfc3339_seconds(at).to_string();
    format!("{} UTC", text.replace('T', " ").trim_end_matches('Z'))
}

/// A point in time, and how far it is from `now`: `2026-11-21 10:00 UTC, in 5 days`.
pub(super) fn around(time: Timestamp, now: Timestamp) -> String {
    let at = minute(time);
    if time == now {
        return format!("{at}, now");
    }
    if time > now {
        format!("{at}, in {}", rough(time.since(now)))
    } else {
        format!("{at}, {} ago", rough(now.since(time)))
    }
}

/// A span of time in its largest unit.
pub(super) fn rough(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let seconds = time.as_secs();
    let unit = UNITS.into_iter().find(|(unit, _)| seconds >= *unit);
    let Some((unit, name)) = unit else { return "less than a second".to_owned() };
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_mean_the_same() {
        let ms = parse("1795255200000").expect("ms");
        assert_eq!(parse("2026-11-21T10:00:00Z").expect("RFC 3339"), ms);
        assert_eq!(show(ms), "2026-11-21T10:00:00.000Z (1795255200000)");
    }

    #[test]
    fn no_time_is_too_late_to_be_shown() {
        assert_eq!(
            show(Timestamp::from_ms(RFC3339_MS_MAX)),
            "9999-12-31T23:59:59.999Z (253402300799999)"
        );
        assert_eq!(
            show(Timestamp::from_ms(u64::MAX)),
            "after the year 9999 (18446744073709551615)"
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "1969-12-31T23:59:59Z", "-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_told_by_their_distance() {
        let now = parse("2026-11-21T10:00:30Z").expect("a time");
        for (time, told) in [
            ("2026-11-21T10:00:30Z", "2026-11-21 10:00 UTC, now"),
            ("2026-11-26T10:00:30Z", "2026-11-26 10:00 UTC, in 5 days"),
            ("2026-11-26T10:00:29Z", "2026-11-26 10:00 UTC, in 4 days"),
            ("2026-11-21T11:00:30Z", "2026-11-21 11:00 UTC, in 1 hour"),
            ("2026-11-21T09:58:30Z", "2026-11-21 09:58 UTC, 2 minutes ago"),
            ("2026-11-21T10:00:29.5Z", "2026-11-21 10:00 UTC, less than a second ago"),
            ("9007199254740991", "after the year 9999, in 104229212 days"),
        ] {
            assert_eq!(around(parse(time).expect("a time"), now), told);
        }
    }
}
