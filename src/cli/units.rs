//! Sizes, rates, durations and shares as people write them, and as we show them.

use crate::{ops::verify::ReadData, record::Timestamp};
use std::{str::FromStr, time::Duration};

const UNITS: [(&str, u64); 13] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
];

/// Parses a number of bytes: `4096`, `10M` and `10MiB` (2^20 each), `1.5GiB`, `10MB` (10^6).
///
/// # Errors
/// In words, if it is no size.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: write 4096, 10M, 1.5MiB or 10MB");
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(wrong)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    // Above 2^53 a float no longer counts single bytes.
    if bytes.is_finite() && bytes < 9.0e15 { Ok(bytes.round() as u64) } else { Err(wrong()) }
}

/// Parses bytes per second, with or without `/s`; zero is refused, because nothing would ever be done.
///
/// # Errors
/// In words, if it is no rate.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_size(text.strip_suffix("/s").unwrap_or(text))? {
        0 => Err("a limit of 0 bytes a second would never end".to_owned()),
        rate => Ok(rate),
    }
}

/// Parses a length of time: `26h`, `90 min`, `2 days`, `1h30m`, `PT26H`. Days are 24 hours.
///
/// # Errors
/// In words, if it is no duration or negative.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length of time: write 26h, 90min or 2 days");
    let span = jiff::Span::from_str(text.trim()).map_err(|_| wrong())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

/// Parses how much stored data to read: `5`, `5%`, `2.5`, `1/30`.
///
/// # Errors
/// In words, if it is neither.
pub fn parse_read_data(text: &str) -> Result<ReadData, String> {
    let wrong = || format!("`{text}` is no share: write a percentage such as 5, or 1/30");
    if let Some((one, parts)) = text.split_once('/') {
        let parts: u32 = parts.trim().parse().map_err(|_| wrong())?;
        return match (one.trim(), parts) {
            ("1", 1) => Ok(ReadData::All),
            ("1", 2..) => Ok(ReadData::OneIn(parts)),
            _ => Err(wrong()),
        };
    }
    let percent: f64 = text.strip_suffix('%').unwrap_or(text).trim().parse().map_err(|_| wrong())?;
    match percent {
        100.0 => Ok(ReadData::All),
        p if p > 0.0 && p < 100.0 => Ok(ReadData::Percent(p)),
        _ => Err(wrong()),
    }
}

/// A size in IEC units: `9.2 MiB`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    const NAMES: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut name = 0;
    // 1023.95 would round to "1024.0".
    while value >= 1023.95 && name + 1 < NAMES.len() {
        value /= 1024.0;
        name += 1;
    }
    format!("{value:.1} {}", NAMES[name])
}

/// A count with its thousands apart: `5 000 000`.
#[must_use]
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A length of time: `3.21 s`, `4 min 5 s`, `2 h 3 min`, `5 d 2 h`.
#[must_use]
pub fn show_duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    let whole = seconds.round() as u64;
    match whole {
        0..60 if seconds < 59.995 => format!("{seconds:.2} s"),
        0..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// An age in whole seconds: `12 s`, `4 min 5 s`, `2 h 3 min`.
#[must_use]
pub fn show_age(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds} s") } else { show_duration(seconds as f64) }
}

/// A time in the local time zone with its offset: `2026-11-20 10:00:00+01:00`.
#[must_use]
pub fn show_time(time: Timestamp) -> String {
    show_time_in(time, &jiff::tz::TimeZone::system())
}

fn show_time_in(time: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(instant) => instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string(),
        Err(_) => time.to_string(),
    }
}

/// `KEY=VALUE`. What was given instead may be a secret: it is not repeated.
pub fn parse_option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("an option is KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_understood() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("10M", 10 << 20),
            ("10 MiB", 10 << 20),
            ("1.5MiB", 3 << 19),
            ("10MB", 10_000_000),
            ("2g", 2 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "M", "-1", "1.2.3M", "10X", "1e3", "18446744073709551616", "99999999T", "1 0"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_above_zero() {
        assert_eq!(parse_rate("1MiB/s"), Ok(1 << 20));
        assert!(parse_rate("0").is_err());
    }

    #[test]
    fn durations_are_understood() {
        for (text, seconds) in
            [("26h", 93_600), ("90min", 5_400), ("2 days", 172_800), ("1h30m", 5_400), ("PT26H", 93_600)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "26", "h", "-26h", "1 month", "2 hours ago"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_understood() {
        assert_eq!(parse_read_data("100"), Ok(ReadData::All));
        assert_eq!(parse_read_data("5%"), Ok(ReadData::Percent(5.0)));
        assert_eq!(parse_read_data("2.5"), Ok(ReadData::Percent(2.5)));
        assert_eq!(parse_read_data("1/30"), Ok(ReadData::OneIn(30)));
        assert_eq!(parse_read_data("1/1"), Ok(ReadData::All));
        for bad in ["", "0", "101", "-1", "NaN", "2/30", "1/0", "1/x", "all"] {
            assert!(parse_read_data(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_counts_and_durations_are_shown() {
        assert_eq!(show_size(1023), "1023 B");
        assert_eq!(show_size(1024), "1.0 KiB");
        assert_eq!(show_size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(show_size(9_646_899), "9.2 MiB");
        assert_eq!(show_size(u64::MAX), "16.0 EiB");
        assert_eq!(show_count(0), "0");
        assert_eq!(show_count(1_234_567), "1 234 567");
        assert_eq!(show_duration(3.214), "3.21 s");
        assert_eq!(show_duration(59.999), "1 min 0 s");
        assert_eq!(show_duration(7_380.0), "2 h 3 min");
        assert_eq!(show_age(7), "7 s");
        assert_eq!(show_age(7_380), "2 h 3 min");
        assert_eq!(show_duration(f64::NAN), "0.00 s");
    }

    #[test]
    fn times_carry_their_offset() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(show_time_in(Timestamp::from_millis(0), &zone), "1970-01-01 02:00:00+02:00");
        assert_eq!(show_time_in(Timestamp::from_millis(i64::MAX), &zone), format!("@{}", i64::MAX));
    }
}
