//! What is due by schedule, and when next: decided from the time that it is told, so that a test can hold the clock. What was
//! missed is made up for once; a clock that jumps costs one run at most.

use super::{
    config::{Config, Routine, check::zone_of},
    cron::Schedule,
};
use crate::record::Timestamp;
use std::collections::HashMap;

/// A run that is later than this was missed, not merely late.
const MISSED_MILLIS: i64 = 60_000;

/// How far behind what was handled a clock may be before that was in a future that will not come.
const BACK_MILLIS: i64 = 60_000;

/// Which of a routine's schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// That of incrementals.
    Incremental,
    /// That of fulls.
    Full,
    /// That of drills.
    Drill,
}

impl Slot {
    /// Its number, as the state keeps it.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Incremental => 0,
            Self::Full => 1,
            Self::Drill => 2,
        }
    }

    /// By its number.
    #[must_use]
    pub const fn of_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Incremental),
            1 => Some(Self::Full),
            2 => Some(Self::Drill),
            _ => None,
        }
    }
}

/// Up to when schedules were handled.
pub type Handled = HashMap<(String, Slot), Timestamp>;

/// One schedule of a routine.
#[derive(Debug, Clone)]
struct Row {
    routine: String,
    slot: Slot,
    schedule: Schedule,
    /// Up to when it was handled.
    handled: Timestamp,
    next: Option<Timestamp>,
    catch_up: bool,
    jitter_millis: i64,
}

/// A run that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Of which routine.
    pub routine: String,
    /// What is due.
    pub slot: Slot,
    /// When it was due.
    pub at: Timestamp,
    /// When it is to begin.
    pub begin: Timestamp,
    /// Whether it is not to run: a full is due at the same time, or it was missed and is not to be made up for.
    pub skip: Option<&'static str>,
}

/// All schedules.
#[derive(Debug, Clone, Default)]
pub struct Timetable {
    rows: Vec<Row>,
}

impl Timetable {
    /// Of the routines that are enabled; what was handled of those that are new is everything up to now.
    #[must_use]
    pub fn new(config: &Config, handled: &Handled, now: Timestamp) -> Self {
        let mut rows = Vec::new();
        for (name, routine) in config.routines.iter().filter(|(_, routine)| routine.is_enabled()) {
            let incremental = routine.incr_interval_cron.as_deref().filter(|text| !text.is_empty());
            let drill = routine.drill.as_ref().and_then(|drill| drill.interval_cron.as_deref());
            let drill = drill.filter(|text| !text.is_empty());
            let crons = [
                (Slot::Full, Some(routine.interval_cron.as_str())),
                (Slot::Incremental, incremental),
                (Slot::Drill, drill),
            ];
            for (slot, text) in crons {
                let schedule = text.and_then(|text| Schedule::parse(text, zone_of(config, routine)).ok());
                let Some(schedule) = schedule else { continue };
                let handled = handled.get(&(name.clone(), slot)).copied().unwrap_or(now);
                rows.push(Row {
                    next: schedule.next_after(handled),
                    routine: name.clone(),
                    slot,
                    schedule,
                    handled,
                    catch_up: routine.catch_up != Some(false),
                    jitter_millis: jitter(name, routine),
                });
            }
        }
        Self { rows }
    }

    /// Takes what is due by now. Of several runs that a schedule missed, the last counts.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        for row in &mut self.rows {
            if row.handled.as_millis() > now.as_millis() + BACK_MILLIS {
                (row.handled, row.next) = (now, row.schedule.next_after(now));
            }
            let Some(first) = row.next.filter(|next| *next <= now) else { continue };
            let at = row.last_due(first, now);
            let late = now.as_millis() - at.as_millis() > MISSED_MILLIS;
            let skip = (late && !row.catch_up).then_some("it was missed while the service was not there");
            let begin = Timestamp::from_millis(at.as_millis() + row.jitter_millis);
            due.push(Due { routine: row.routine.clone(), slot: row.slot, at, begin, skip });
            (row.handled, row.next) = (at, row.schedule.next_after(at.max(now)));
        }
        let fulls: Vec<(String, Timestamp)> = due
            .iter()
            .filter(|due| due.slot == Slot::Full && due.skip.is_none())
            .map(|due| (due.routine.clone(), due.at))
            .collect();
        for one in due.iter_mut().filter(|due| due.slot == Slot::Incremental) {
            if fulls.iter().any(|(routine, at)| *routine == one.routine && *at >= one.at) {
                one.skip = Some("a full backup is due");
            }
        }
        due
    }

    /// When the next is due.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.rows.iter().filter_map(|row| row.next).min()
    }

    /// When the next of a routine is due.
    #[must_use]
    pub fn next_of(&self, routine: &str, slot: Slot) -> Option<Timestamp> {
        self.rows.iter().find(|row| row.routine == routine && row.slot == slot)?.next
    }

    /// What is handled up to when, of every schedule.
    #[must_use]
    pub fn handled(&self) -> Vec<(String, Slot, Timestamp)> {
        self.rows.iter().map(|row| (row.routine.clone(), row.slot, row.handled)).collect()
    }
}

impl Row {
    /// The last time by now that it was due, the first being known.
    fn last_due(&self, first: Timestamp, now: Timestamp) -> Timestamp {
        let mut at = first;
        // A schedule of every second that slept for long is not walked through: the last minute decides.
        let near = Timestamp::from_millis(now.as_millis() - MISSED_MILLIS);
        if at < near
            && let Some(later) = self.schedule.next_after(near).filter(|later| *later <= now)
        {
            at = later;
        }
        let mut steps = 0;
        while let Some(next) = self.schedule.next_after(at).filter(|next| *next <= now) {
            at = next;
            steps += 1;
            if steps > 1_000_000 {
                break;
            }
        }
        at
    }
}

/// So much later than it is due a routine begins: the same for every run, and spread over routines.
fn jitter(name: &str, routine: &Routine) -> i64 {
    let most = u64::from(routine.jitter.unwrap_or(0)) * 1000;
    let hash = blake3::hash(name.as_bytes());
    let number = hash.as_bytes().iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    if most == 0 { 0 } else { (number % most) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::config::DrillSettings;

    const HOUR: i64 = 3_600_000;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn later(time: Timestamp, millis: i64) -> Timestamp {
        Timestamp::from_millis(time.as_millis() + millis)
    }

    fn config(change: impl Fn(&mut Routine)) -> Config {
        let mut routine = Routine {
            interval_cron: "@daily".to_owned(),
            incr_interval_cron: Some("@hourly".to_owned()),
            ..Routine::default()
        };
        change(&mut routine);
        Config { routines: [("r".to_owned(), routine)].into(), ..Config::default() }
    }

    fn kept(table: &Timetable) -> Handled {
        table.handled().into_iter().map(|(routine, slot, at)| ((routine, slot), at)).collect()
    }

    #[test]
    fn each_is_due_once_and_a_full_wins_over_an_incremental() {
        let now = at("2026-11-28T22:30:00Z");
        let mut table = Timetable::new(&config(|_| ()), &HashMap::new(), now);
        assert!(table.take_due(now).is_empty());
        assert_eq!(table.next(), Some(at("2026-11-28T23:00:00Z")));
        let due = table.take_due(at("2026-11-28T23:00:00Z"));
        assert_eq!((due.len(), due[0].slot, due[0].at), (1, Slot::Incremental, at("2026-11-28T23:00:00Z")));
        assert!(table.take_due(at("2026-11-28T23:00:01Z")).is_empty());
        let due = table.take_due(at("2026-11-29T00:00:00Z"));
        assert_eq!(
            due.iter().map(|due| (due.slot, due.skip.is_some())).collect::<Vec<_>>(),
            [(Slot::Full, false), (Slot::Incremental, true)]
        );
    }

    #[test]
    fn what_was_missed_is_made_up_for_once_or_not_at_all() {
        let began = at("2026-11-28T22:30:00Z");
        let back = at("2026-12-03T07:20:00Z");
        for (catch_up, runs) in [(true, 1), (false, 0)] {
            let config = config(|routine| {
                routine.catch_up = Some(catch_up);
                routine.incr_interval_cron = None;
            });
            let before = Timetable::new(&config, &HashMap::new(), began);
            let mut table = Timetable::new(&config, &kept(&before), back);
            let due = table.take_due(back);
            assert_eq!((due.len(), due[0].at), (1, at("2026-12-03T00:00:00Z")));
            assert_eq!(due.iter().filter(|due| due.skip.is_none()).count(), runs);
            assert_eq!(table.next(), Some(at("2026-12-04T00:00:00Z")));
            // Nothing is made up for twice.
            assert!(Timetable::new(&config, &kept(&table), back).take_due(back).is_empty());
        }
    }

    #[test]
    fn a_clock_that_jumps_costs_one_run_at_most() {
        let now = at("2026-11-28T22:30:00Z");
        let config = config(|routine| routine.incr_interval_cron = None);
        let mut table = Timetable::new(&config, &HashMap::new(), now);
        // Ahead by a year, and back again.
        let ahead = later(now, 365 * 24 * HOUR);
        assert_eq!(table.take_due(ahead).len(), 1);
        assert!(table.take_due(now).is_empty());
        assert_eq!(table.next(), Some(at("2026-11-29T00:00:00Z")));
        // Back by an hour: what is due is due again by the clock that is.
        assert_eq!(table.take_due(at("2026-11-29T00:00:00Z")).len(), 1);
        assert!(table.take_due(later(at("2026-11-29T00:00:00Z"), -HOUR)).is_empty());
        assert_eq!(table.next(), Some(at("2026-11-29T00:00:00Z")));
    }

    #[test]
    fn a_schedule_of_seconds_that_slept_is_not_walked_through() {
        let now = at("2026-11-28T22:30:00Z");
        let config = config(|routine| routine.interval_cron = "* * * * * *".to_owned());
        let mut table = Timetable::new(&config, &HashMap::new(), now);
        let due = table.take_due(later(now, 365 * 24 * HOUR));
        assert_eq!(due.iter().find(|due| due.slot == Slot::Full).unwrap().at, later(now, 365 * 24 * HOUR));
    }

    #[test]
    fn jitter_is_the_same_each_time_and_within_its_bound() {
        let now = at("2026-11-28T22:30:00Z");
        let config = config(|routine| routine.jitter = Some(60));
        let mut table = Timetable::new(&config, &HashMap::new(), now);
        let mut offsets = Vec::new();
        for day in 1..4 {
            let due = table.take_due(later(at("2026-11-28T00:00:00Z"), day * 24 * HOUR));
            let full = due.iter().find(|due| due.slot == Slot::Full).unwrap();
            offsets.push(full.begin.as_millis() - full.at.as_millis());
        }
        assert!(offsets.iter().all(|offset| *offset == offsets[0] && (0..60_000).contains(offset)), "{offsets:?}");
    }

    #[test]
    fn a_routine_that_is_disabled_is_never_due() {
        let now = at("2026-11-28T22:30:00Z");
        let table = Timetable::new(&config(|routine| routine.disabled = Some(true)), &HashMap::new(), now);
        assert_eq!((table.next(), table.next_of("r", Slot::Full)), (None, None));
    }

    #[test]
    fn a_drill_is_due_beside_backups_and_keeps_its_own_account() {
        let now = at("2026-11-28T22:30:00Z");
        let config = config(|routine| {
            let drill = DrillSettings { interval_cron: Some("@daily".to_owned()), ..DrillSettings::default() };
            routine.drill = Some(drill);
            routine.incr_interval_cron = None;
        });
        let mut table = Timetable::new(&config, &HashMap::new(), now);
        assert_eq!(table.next_of("r", Slot::Drill), Some(at("2026-11-29T00:00:00Z")));
        let due = table.take_due(at("2026-11-29T00:00:00Z"));
        let due: Vec<_> = due.iter().map(|due| (due.slot, due.skip)).collect();
        assert_eq!(due, [(Slot::Full, None), (Slot::Drill, None)]);
        let table = Timetable::new(&config, &kept(&table), at("2026-11-29T00:00:01Z"));
        assert_eq!(table.next_of("r", Slot::Drill), Some(at("2026-11-30T00:00:00Z")));
    }
}
