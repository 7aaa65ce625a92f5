//! Hours, days, weeks, months and years of a time zone, and ages measured in them. The zone's rules and changes of its
//! clock are jiff's.

use crate::record::{Timestamp, units};
use jiff::{Span, Zoned, tz::TimeZone};
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A period of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// An hour of the clock with its offset from UTC: the hour that a clock runs through twice is two.
    Hour,
    /// A date.
    Day,
    /// A week as ISO 8601 has it: from Monday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// As options have it: `daily`.
    #[must_use]
    pub const fn adverb(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// Which one of its kind a time lies in.
    #[must_use]
    pub fn bucket(self, time: &Zoned) -> Bucket {
        let date = time.date();
        let day = (i32::from(date.year()) * 100 + i32::from(date.month())) * 100 + i32::from(date.day());
        match self {
            Self::Hour => Bucket(self, day, (time.hour(), time.offset().seconds())),
            Self::Day => Bucket(self, day, (0, 0)),
            Self::Week => {
                let week = date.iso_week_date();
                Bucket(self, i32::from(week.year()) * 100 + i32::from(week.week()), (0, 0))
            }
            Self::Month => Bucket(self, day.div_euclid(100), (0, 0)),
            Self::Year => Bucket(self, i32::from(date.year()), (0, 0)),
        }
    }
}

/// One hour, day, week, month or year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bucket(Period, i32, (i8, i32));

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (upper, lower) = (self.1.div_euclid(100), self.1.rem_euclid(100));
        let day = || format!("{:04}-{:02}-{lower:02}", upper.div_euclid(100), upper.rem_euclid(100));
        match self.0 {
            Period::Hour => {
                let (hour, offset) = self.2;
                let sign = if offset < 0 { '-' } else { '+' };
                let minutes = offset.abs() / 60;
                write!(f, "{} {hour:02}h{sign}{:02}:{:02}", day(), minutes / 60, minutes % 60)
            }
            Period::Day => f.write_str(&day()),
            Period::Week => write!(f, "{upper:04}-W{lower:02}"),
            Period::Month => write!(f, "{upper:04}-{lower:02}"),
            Period::Year => write!(f, "{:04}", self.1),
        }
    }
}

/// A time in a zone. What no calendar can show becomes the first or the last time that it can.
#[must_use]
pub fn zoned(time: Timestamp, zone: &TimeZone) -> Zoned {
    let edge = if time.as_millis() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or(edge).to_zoned(zone.clone())
}

/// A length of time in calendar units, above zero.
#[derive(Debug, Clone)]
pub struct Age {
    span: Span,
    text: String,
}

impl Age {
    /// The last time that is this age or older at `time`; the lowest there is if no calendar reaches so far.
    #[must_use]
    pub fn before(&self, time: Timestamp, zone: &TimeZone) -> Timestamp {
        let then = zoned(time, zone).checked_sub(self.span);
        Timestamp::from_millis(then.map_or(i64::MIN, |then| then.timestamp().as_millisecond()))
    }
}

impl FromStr for Age {
    type Err = String;

    /// Parses `30d`, `2 weeks`, `1y 6mo`, `36h`, `P1M`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no age: write 36h, 30d, 2 weeks or 1y 6mo (`min` is minutes, `mo` months)");
        if let Some(number) = units::bare_m(text) {
            return Err(format!(
                "`{text}`: `m` may be minutes or months (restic and borg mean months): write {number}mo or {number}min"
            ));
        }
        let span = Span::from_str(text.trim()).map_err(|_| wrong())?;
        if span.is_negative() {
            return Err(wrong());
        }
        if span.is_zero() {
            return Err(format!("`{text}` is no time at all"));
        }
        Ok(Self { span, text: text.trim().to_owned() })
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(time.as_millisecond())
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn bucket(period: Period, time: &str, zone: &TimeZone) -> String {
        period.bucket(&zoned(at(time), zone)).to_string()
    }

    #[test]
    fn the_hour_that_comes_twice_is_two_hours_of_one_day() {
        let zone = berlin();
        let (summer, winter) = ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
        assert_eq!(bucket(Period::Hour, summer, &zone), "2026-10-25 02h+02:00");
        assert_eq!(bucket(Period::Hour, winter, &zone), "2026-10-25 02h+01:00");
        assert_eq!(bucket(Period::Day, summer, &zone), bucket(Period::Day, winter, &zone));
    }

    #[test]
    fn a_day_is_a_date_of_the_zone_however_long_it_is() {
        let zone = berlin();
        // 25 hours: from 22:00 UTC of the day before to 23:00 UTC.
        for time in ["2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z"] {
            assert_eq!(bucket(Period::Day, time, &zone), "2026-10-25");
        }
        assert_eq!(bucket(Period::Day, "2026-10-25T23:00:00Z", &zone), "2026-10-26");
        // 23 hours.
        assert_eq!(bucket(Period::Day, "2026-03-28T23:00:00Z", &zone), "2026-03-29");
        assert_eq!(bucket(Period::Day, "2026-03-29T22:00:00Z", &zone), "2026-03-30");
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        let utc = TimeZone::UTC;
        assert_eq!(bucket(Period::Week, "2026-12-31T12:00:00Z", &utc), "2026-W53");
        assert_eq!(bucket(Period::Week, "2027-01-03T12:00:00Z", &utc), "2026-W53");
        assert_eq!(bucket(Period::Week, "2027-01-04T00:00:00Z", &utc), "2027-W01");
        assert_eq!(bucket(Period::Month, "2027-01-03T12:00:00Z", &utc), "2027-01");
        assert_eq!(bucket(Period::Year, "2027-01-03T12:00:00Z", &utc), "2027");
    }

    #[test]
    fn ages_are_calendar_spans_in_the_zone() {
        let before = |age: &str, time: &str, zone: &TimeZone| age.parse::<Age>().unwrap().before(at(time), zone);
        // One day before noon is noon, though 25 hours passed; 24 hours before is not.
        assert_eq!(before("1d", "2026-10-25T11:00:00Z", &berlin()), at("2026-10-24T10:00:00Z"));
        assert_eq!(before("24h", "2026-10-25T11:00:00Z", &berlin()), at("2026-10-24T11:00:00Z"));
        assert_eq!(before("1mo", "2026-03-31T00:00:00Z", &TimeZone::UTC), at("2026-02-28T00:00:00Z"));
        assert_eq!(before("1 year 6mo", "2026-07-01T00:00:00Z", &TimeZone::UTC), at("2025-01-01T00:00:00Z"));
        assert_eq!(before("19000y", "2026-07-01T00:00:00Z", &TimeZone::UTC).as_millis(), i64::MIN);
    }

    #[test]
    fn what_is_no_age_is_refused() {
        for bad in ["", "0d", "-1d", "1 day ago", "1", "x", "1m2"] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_letter_that_may_be_minutes_or_months_is_refused_with_both_spellings() {
        for bad in ["6m", "6 m", "1y2m", "2y5m7d3h", "1h 30m", "6M"] {
            let refused = bad.parse::<Age>().unwrap_err();
            assert!(refused.contains("mo or ") && refused.contains("min"), "{refused}");
        }
        assert!("1y2m".parse::<Age>().unwrap_err().ends_with("write 2mo or 2min"));
        for good in ["6mo", "6min", "6 minutes", "1 month", "P1M", "PT6M", "1y 6mo"] {
            assert!(good.parse::<Age>().is_ok(), "{good}");
        }
    }

    #[test]
    fn times_outside_of_any_calendar_have_buckets() {
        for millis in [i64::MIN, i64::MAX] {
            for period in Period::ALL {
                for zone in [TimeZone::UTC, berlin()] {
                    assert!(!period.bucket(&zoned(Timestamp::from_millis(millis), &zone)).to_string().is_empty());
                }
            }
        }
    }
}
