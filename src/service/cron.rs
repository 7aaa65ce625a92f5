//! When something is due: six or seven fields as go-quartz reads them, five as Unix does, `@daily` and the like, in a zone.
//! Where clocks change, what would be in the missing hour is due once behind it, and what is in the doubled hour once.

use crate::record::{Timestamp, local_zone};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::tz::TimeZone;

/// A schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// A zone by its name: `UTC` (also without a name), `Local`, or one of the database. Abbreviations such as EST are refused:
/// they are several zones.
///
/// # Errors
/// In words.
pub fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    match name {
        None | Some("" | "UTC") => Ok(TimeZone::UTC),
        Some("Local") => local_zone(),
        Some(name) => {
            let found = TimeZone::get(name).ok().filter(|_| name.contains('/'));
            found.ok_or_else(|| format!("`{name}` is no time zone: write UTC, Local, or a name such as Europe/Berlin"))
        }
    }
}

impl Schedule {
    /// Reads one.
    ///
    /// # Errors
    /// In words; also of one that is never due.
    pub fn parse(text: &str, zone_name: Option<&str>) -> Result<Self, String> {
        let zone = zone(zone_name)?;
        let text = text.trim();
        let fields = text.split_whitespace().count();
        let parser = match fields {
            6 | 7 => CronParser::builder()
                .seconds(Seconds::Required)
                .year(Year::Optional)
                .alternative_weekdays(true)
                .sloppy_ranges(true)
                .dom_and_dow(true)
                .build(),
            5 => CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).sloppy_ranges(true).build(),
            1 if text.starts_with('@') => CronParser::builder().build(),
            _ => {
                return Err(format!(
                    "`{text}` is no schedule: it has 6 or 7 fields (from seconds on), 5 (from minutes on), or is @hourly, @daily, \
                     @weekly, @monthly or @yearly"
                ));
            }
        };
        if let Some(name) = misplaced(text).filter(|_| fields > 1) {
            return Err(format!("`{text}` is no schedule: `{name}` does not belong into its field"));
        }
        let cron = parser.parse(text).map_err(|error| format!("`{text}` is no schedule: {error}"))?;
        let schedule = Self { cron, zone };
        match schedule.next_after(Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())) {
            Some(_) => Ok(schedule),
            None => Err(format!("`{text}` is never due")),
        }
    }

    /// When it is due next after a time; `None` if never again.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let from = jiff::Timestamp::from_millisecond(time.as_millis()).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        Some(Timestamp::from_millis(next.timestamp().as_millisecond())).filter(|next| *next > time)
    }
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// The first name that stands in a field of others: the reader would take its number, and a month for a minute.
fn misplaced(text: &str) -> Option<String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let month = if fields.len() == 5 { 3 } else { 4 };
    for (at, field) in fields.iter().enumerate() {
        let names = field.split(|c: char| !c.is_alphabetic()).filter(|name| !name.is_empty());
        for name in names.map(str::to_uppercase) {
            let fits = match at {
                at if at == month => MONTHS.contains(&name.as_str()),
                at if at == month + 1 => name == "L" || DAYS.contains(&name.strip_suffix('L').unwrap_or(&name)),
                at if at + 1 == month => ["L", "W", "LW"].contains(&name.as_str()),
                _ => false,
            };
            if !fits {
                return Some(name);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn next(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(cron, Some(zone)).unwrap();
        let mut time = at(after);
        let mut all = Vec::new();
        for _ in 0..count {
            time = schedule.next_after(time).unwrap();
            all.push(time.to_string().replace(".000Z", "Z"));
        }
        all
    }

    #[test]
    fn six_and_seven_fields_are_read_as_go_quartz_reads_them() {
        // 1 is Sunday; 2026-11-29 is one.
        assert_eq!(next("0 0 12 ? * 1", "UTC", "2026-11-28T00:00:00Z", 1), ["2026-11-29T12:00:00Z"]);
        assert_eq!(
            next("0 0 12 ? * MON-FRI", "UTC", "2026-11-28T00:00:00Z", 2),
            ["2026-11-30T12:00:00Z", "2026-12-01T12:00:00Z"]
        );
        assert_eq!(
            next("*/10 * * * * *", "UTC", "2026-11-28T00:00:55Z", 2),
            ["2026-11-28T00:01:00Z", "2026-11-28T00:01:10Z"]
        );
        assert_eq!(next("0/15 * * * * ?", "UTC", "2026-11-28T00:00:01Z", 1), ["2026-11-28T00:00:15Z"]);
        assert_eq!(next("0 0 0 L * ?", "UTC", "2026-11-28T00:00:00Z", 1), ["2026-11-30T00:00:00Z"]);
        assert_eq!(next("0 0 0 1 1 ? 2030", "UTC", "2026-11-28T00:00:00Z", 1), ["2030-01-01T00:00:00Z"]);
    }

    #[test]
    fn five_fields_are_read_as_unix_reads_them() {
        for sunday in ["0 12 * * 0", "0 12 * * 7", "0 12 * * SUN"] {
            assert_eq!(next(sunday, "UTC", "2026-11-28T00:00:00Z", 1), ["2026-11-29T12:00:00Z"], "{sunday}");
        }
        // Day of month or day of week.
        assert_eq!(
            next("0 0 1 * 1", "UTC", "2026-11-28T00:00:00Z", 2),
            ["2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"]
        );
        assert_eq!(next("@weekly", "UTC", "2026-11-28T00:00:00Z", 1), ["2026-11-29T00:00:00Z"]);
        assert_eq!(next("@hourly", "UTC", "2026-11-28T00:30:00Z", 1), ["2026-11-28T01:00:00Z"]);
    }

    #[test]
    fn the_missing_hour_and_the_doubled_one_fire_once() {
        // Clocks go from 2:00 to 3:00 on 2027-03-28, and from 3:00 to 2:00 on 2027-10-31.
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00:00Z", 2),
            ["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]
        );
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00:00Z", 2),
            ["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"]
        );
    }

    #[test]
    fn what_is_due_every_so_often_is_due_as_often_where_clocks_change() {
        let by_hours = |cron: &str, after: &str| next(cron, "Europe/Berlin", after, 4);
        for hourly in ["0 * * * *", "0 0 * * * ?", "@hourly", "0 0 */1 * * *"] {
            assert_eq!(
                by_hours(hourly, "2027-10-30T23:30:00Z"),
                ["2027-10-31T00:00:00Z", "2027-10-31T01:00:00Z", "2027-10-31T02:00:00Z", "2027-10-31T03:00:00Z"],
                "{hourly}"
            );
            assert_eq!(
                by_hours(hourly, "2027-03-27T23:30:00Z"),
                ["2027-03-28T00:00:00Z", "2027-03-28T01:00:00Z", "2027-03-28T02:00:00Z", "2027-03-28T03:00:00Z"],
                "{hourly}"
            );
        }
        for often in ["*/20 * * * *", "0 */20 * * * ?", "0 0,20,40 * * * ?"] {
            assert_eq!(
                by_hours(often, "2027-10-31T00:30:00Z"),
                ["2027-10-31T00:40:00Z", "2027-10-31T01:00:00Z", "2027-10-31T01:20:00Z", "2027-10-31T01:40:00Z"],
                "{often}"
            );
        }
        assert_eq!(
            by_hours("*/20 * * * * *", "2027-10-31T00:59:30Z"),
            ["2027-10-31T00:59:40Z", "2027-10-31T01:00:00Z", "2027-10-31T01:00:20Z", "2027-10-31T01:00:40Z"]
        );
    }

    #[test]
    fn what_is_no_schedule_or_never_due_is_refused() {
        // A name is that of a month or a day, and nowhere else a number.
        for bad in [
            "JAN * * * *",
            "0 MON * * *",
            "0 0 1 FRI *",
            "0 0 * * JAN",
            "0 0 FEB * *",
            "0 0 0 ? MON 1",
            "0 0 0 1 1 ? JAN",
        ] {
            let words = Schedule::parse(bad, None).unwrap_err();
            assert!(words.contains("does not belong"), "{words}");
        }
        for good in [
            "0 0 * jan-Mar MON-FRI",
            "0 0 0 LW * ?",
            "0 0 0 15W * ?",
            "0 0 0 ? DEC 6L",
            "0 0 L * *",
            "0 0 0 ? * MON,WED",
        ] {
            assert!(Schedule::parse(good, None).is_ok(), "{good}");
        }
        for bad in ["", "* * * *", "61 * * * *", "0 0 0 30 2 ?", "0 0 30 2 *", "a b c d e", "@soon", "0 0 0 1 1 ? 2020"]
        {
            assert!(Schedule::parse(bad, None).is_err(), "{bad}");
        }
        assert!(zone(Some("EST")).is_err() && zone(Some("Europe/Nowhere")).is_err() && zone(Some("Local")).is_ok());
    }
}
