//! Sizes, counts and times as we show them.

pub use crate::record::units::{parse_age, parse_duration, parse_rate, parse_size};

use crate::record::Timestamp;

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

#[cfg(test)]
mod tests {
    use super::*;

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
