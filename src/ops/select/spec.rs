//! How a person names snapshots and times.

use crate::{
    ops::OpsError,
    record::{Timestamp, local_zone},
};
use std::str::FromStr;

/// How a person names a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotSpec {
    /// The `n`th newest, 0 for the newest.
    Latest(usize),
    /// The newest one whose end is at or before this time.
    At(Timestamp),
    /// The one whose id begins with these digits.
    Id(String),
}

impl SnapshotSpec {
    /// Parses `latest`, `latest~N`, `@TIME` or an id prefix; `now` anchors relative times.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, OpsError> {
        let usage =
            || OpsError::Usage(format!("`{text}` names no snapshot: write an id, `latest`, `latest~N` or `@TIME`"));
        if text == "latest" {
            return Ok(Self::Latest(0));
        }
        if let Some(back) = text.strip_prefix("latest~") {
            return back.parse().map(Self::Latest).map_err(|_| usage());
        }
        if let Some(time) = text.strip_prefix('@') {
            return parse_time(time, now).map(Self::At);
        }
        let digits = !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if digits { Ok(Self::Id(text.to_ascii_lowercase())) } else { Err(usage()) }
    }
}

/// Milliseconds since 1970. What would be a day of that year is taken for none: most tools print seconds, and people write years
/// and dates without dashes.
fn of_number(number: i64, text: &str) -> Result<Timestamp, OpsError> {
    const YEAR: i64 = 366 * 86_400_000;
    let meant = match number {
        1900..=2999 => format!("a year is written {number}-01-01"),
        19_000_101..=29_991_231 => {
            format!("a date is written {}-{:02}-{:02}", number / 10_000, number / 100 % 100, number % 100)
        }
        3000..YEAR => format!("seconds since 1970 are written with three digits more, {text}000"),
        _ => return Ok(Timestamp::from_millis(number)),
    };
    Err(OpsError::Usage(format!("`{text}` is a time in 1970, as a number of milliseconds: {meant}")))
}

/// Parses RFC 3339 (with or without an offset: then local time), a date, epoch milliseconds, or `2 hours ago`.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, OpsError> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return of_number(number, text);
    }
    if let Ok(time) = jiff::Timestamp::from_str(text) {
        return Ok(Timestamp::from_millis(time.as_millisecond()));
    }
    let local =
        || local_zone().map_err(|words| OpsError::Usage(format!("`{text}` is a time of the local zone, and {words}")));
    if let Ok(civil) = jiff::civil::DateTime::from_str(text)
        && let Ok(zoned) = civil.to_zoned(local()?)
    {
        return Ok(Timestamp::from_millis(zoned.timestamp().as_millisecond()));
    }
    if text == "now" {
        return Ok(now);
    }
    // The end of the calendar, as some write that something has none, lies behind the last moment that is counted.
    let last = jiff::Timestamp::MAX;
    let civil = jiff::civil::DateTime::from_str(text.strip_suffix(['Z', 'z']).unwrap_or(text));
    if civil.is_ok_and(|civil| civil >= last.to_zoned(jiff::tz::TimeZone::UTC).datetime()) {
        return Ok(Timestamp::from_millis(last.as_millisecond()));
    }
    if let (Ok(span), Ok(now)) = (jiff::Span::from_str(text), jiff::Timestamp::from_millisecond(now.as_millis()))
        && text.ends_with("ago")
        && let Ok(then) = now.to_zoned(local()?).checked_add(span)
    {
        return Ok(Timestamp::from_millis(then.timestamp().as_millisecond()));
    }
    Err(OpsError::Usage(format!(
        "`{text}` is no time: write 2026-11-20T10:00:00Z, 2026-11-20, milliseconds since 1970, or \"2 hours ago\""
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn the_end_of_the_calendar_is_a_time() {
        let last = jiff::Timestamp::MAX.as_millisecond();
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59", "9999-12-31", "9999-12-31 23:59:59.999z"] {
            assert_eq!(parse_time(text, NOW).unwrap().as_millis(), last, "{text}");
        }
        assert!(parse_time("9999-12-29T00:00:00Z", NOW).unwrap().as_millis() < last);
        for wrong in ["10000-01-01", "9999-12-32", "9999-13-31T00:00:00Z"] {
            assert!(parse_time(wrong, NOW).is_err(), "{wrong}");
        }
    }

    #[test]
    fn snapshot_names_are_understood() {
        let parse = |text: &str| SnapshotSpec::parse(text, NOW).unwrap();
        assert_eq!(parse("latest"), SnapshotSpec::Latest(0));
        assert_eq!(parse("latest~3"), SnapshotSpec::Latest(3));
        assert_eq!(parse("@1000"), SnapshotSpec::At(Timestamp::from_millis(1000)));
        assert_eq!(parse("@1700000000000"), SnapshotSpec::At(Timestamp::from_millis(1_700_000_000_000)));
        for (text, meant) in [("1700000000", "1700000000000"), ("2026", "2026-01-01"), ("20261130", "2026-11-30")] {
            let refused = parse_time(text, NOW).unwrap_err().to_string();
            assert!(refused.contains("1970") && refused.contains(meant), "{refused}");
        }
        assert_eq!(parse("@1970-01-01T00:00:01Z"), SnapshotSpec::At(Timestamp::from_millis(1000)));
        assert_eq!(parse("@2 hours ago"), SnapshotSpec::At(Timestamp::from_millis(NOW.as_millis() - 7_200_000)));
        assert_eq!(parse("ABcd"), SnapshotSpec::Id("abcd".into()));
        for bad in ["", "latest~x", "@", "@2 hours", "xyz", "@tomorrow"] {
            assert!(SnapshotSpec::parse(bad, NOW).is_err(), "{bad}");
        }
    }
}
