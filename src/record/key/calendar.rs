//! Days and times as key parts: counted from a day, with an infinity at either end, as `PostgreSQL` has them.

use jiff::{SignedDuration, ToSpan as _, civil};

/// What counts of microseconds begin with: 2000-01-01, because `PostgreSQL`'s latest times do not fit into 64 bits counted from
/// 1970.
const EPOCH: civil::DateTime = civil::date(2000, 1, 1).at(0, 0, 0, 0);

/// What counts of days begin with.
const FIRST_DAY: civil::Date = civil::date(1970, 1, 1);

const MICROS_A_DAY: i64 = 24 * 60 * 60 * 1_000_000;

const INFINITY: &str = "infinity";
const NEGATIVE_INFINITY: &str = "-infinity";

/// Days since 1970-01-01 as text: `2026-01-31`, or the count behind an @ where no calendar has it.
pub(super) fn show_date(days: i32) -> String {
    match days {
        i32::MIN => NEGATIVE_INFINITY.to_owned(),
        i32::MAX => INFINITY.to_owned(),
        days => match FIRST_DAY.checked_add(i64::from(days).try_days()) {
            Ok(date) if date.year() >= 0 => date.to_string(),
            _ => format!("@{days}"),
        },
    }
}

trait Days {
    fn try_days(self) -> jiff::Span;
}

impl Days for i64 {
    /// So many days; a span that no date can take if they are too many.
    fn try_days(self) -> jiff::Span {
        jiff::Span::new().try_days(self).unwrap_or_else(|_| 7_000_000.days())
    }
}

/// The inverse of [`show_date`].
pub(super) fn parse_date(text: &str) -> Option<i32> {
    match text {
        NEGATIVE_INFINITY => return Some(i32::MIN),
        INFINITY => return Some(i32::MAX),
        _ => {}
    }
    if let Some(count) = text.strip_prefix('@') {
        return count.parse().ok();
    }
    let date: civil::Date = text.parse().ok()?;
    Some(date.since((jiff::Unit::Day, FIRST_DAY)).ok()?.get_days())
}

/// Microseconds since 2000-01-01 as text: `2026-01-31T10:00:00.5`.
pub(super) fn show_time(micros: i64) -> String {
    match micros {
        i64::MIN => NEGATIVE_INFINITY.to_owned(),
        i64::MAX => INFINITY.to_owned(),
        micros => {
            let since = SignedDuration::new(micros.div_euclid(1_000_000), (micros.rem_euclid(1_000_000) * 1000) as i32);
            match EPOCH.checked_add(since) {
                Ok(time) if time.year() >= 0 => time.to_string(),
                _ => format!("@{micros}"),
            }
        }
    }
}

/// The inverse of [`show_time`].
pub(super) fn parse_time(text: &str) -> Option<i64> {
    match text {
        NEGATIVE_INFINITY => return Some(i64::MIN),
        INFINITY => return Some(i64::MAX),
        _ => {}
    }
    if let Some(count) = text.strip_prefix('@') {
        return count.parse().ok();
    }
    let time: civil::DateTime = text.parse().ok()?;
    if time.subsec_nanosecond() % 1000 != 0 {
        return None;
    }
    let days = i64::from(time.date().since((jiff::Unit::Day, EPOCH.date())).ok()?.get_days());
    let since_midnight = time.time().since((jiff::Unit::Microsecond, civil::Time::midnight())).ok()?;
    Some(days * MICROS_A_DAY + since_midnight.get_microseconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_shown_as_a_calendar_has_them_and_can_be_typed_again() {
        for (days, shown) in [
            (0, "1970-01-01"),
            (20_484, "2026-01-31"),
            (-719_528, "0000-01-01"),
            (-719_529, "@-719529"),
            (2_145_042_905, "@2145042905"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
        ] {
            assert_eq!(show_date(days), shown);
            assert_eq!(parse_date(shown), Some(days), "{shown}");
        }
        for (micros, shown) in [
            (0, "2000-01-01T00:00:00"),
            (1, "2000-01-01T00:00:00.000001"),
            (-1, "1999-12-31T23:59:59.999999"),
            (823_170_600_500_000, "2026-01-31T10:30:00.5"),
            (9_223_371_331_199_999_999, "@9223371331199999999"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
        ] {
            assert_eq!(show_time(micros), shown);
            assert_eq!(parse_time(shown), Some(micros), "{shown}");
        }
        for bad in ["", "soon", "@", "@1e3", "2026-02-30"] {
            assert_eq!((parse_time(bad), parse_date(bad)), (None, None), "{bad}");
        }
        assert_eq!(parse_time("2000-01-01T00:00:00.0000001"), None, "no system keeps a tenth of a microsecond");
    }
}
