//! Sizes, rates and lengths of time as people write them, in commands, files and requests.

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

/// [`parse_duration`] of an age by which something is dropped: `m` is refused, which is months in other programs.
///
/// # Errors
/// As [`parse_duration`].
pub fn parse_age(text: &str) -> Result<Duration, String> {
    match bare_m(text) {
        None => parse_duration(text),
        Some(number) => Err(format!(
            "`{text}`: `m` may be minutes or months (restic and borg mean months): write {number}min, or months in days ({}d)",
            number.parse::<u64>().map_or(0, |number| number.saturating_mul(30))
        )),
    }
}

/// The number before a lone `m` in what is written as a friendly length of time.
#[must_use]
pub fn bare_m(text: &str) -> Option<&str> {
    text.match_indices(['m', 'M']).find_map(|(at, _)| {
        let (before, after) = (text[..at].trim_end(), &text[at + 1..]);
        let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let is_iso = text.trim_start().starts_with(['p', 'P']);
        let is_lone = digits > 0 && !is_iso && !after.starts_with(|c: char| c.is_alphabetic());
        is_lone.then(|| &before[before.len() - digits..])
    })
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
    fn ages_are_no_bare_m() {
        assert_eq!(parse_age("90min"), Ok(Duration::from_mins(90)));
        assert_eq!(parse_age("PT90M"), Ok(Duration::from_mins(90)));
        assert!(parse_age("6m").unwrap_err().ends_with("write 6min, or months in days (180d)"));
        assert_eq!((bare_m("1h 30m"), bare_m("5 ms"), bare_m("6mo"), bare_m("m")), (Some("30"), None, None, None));
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
}
