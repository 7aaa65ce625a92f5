//! Who may begin: jobs that wait and jobs at work, and the rules between them. Decides on plain data; begins nothing itself.

use super::window::Window;
use crate::record::Timestamp;
use jiff::tz::TimeZone;
use std::collections::VecDeque;

/// What a job is, as far as others have to mind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A full backup.
    Full,
    /// An incremental one.
    Incremental,
    /// Something else of a routine.
    Upkeep,
    /// A drill of a routine.
    Drill,
    /// A restore.
    Restore,
}

/// A job that waits or is at work.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// Its routine.
    pub routine: Option<String>,
    /// What it is.
    pub lane: Lane,
    /// The cluster that it loads, and how many may do so at once.
    pub cluster: Option<(String, usize)>,
    /// Where a restore goes: one at a time, also where one place of several is the same.
    pub targets: Vec<String>,
    /// It does not begin before.
    pub not_before: Timestamp,
    /// It only begins at these times of the day.
    pub window: Option<(Window, TimeZone)>,
    /// Incrementals may run beside fulls of the routine.
    pub concurrent: bool,
    /// Whether it removes files that a restore of its routine may be reading.
    pub drops_files: bool,
}

/// What becomes of a job that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It waits until it may begin.
    Waits,
    /// The same waits already, under this number.
    WaitsAlready(i64),
    /// Another backup of its routine is at work, and it was not to wait for that.
    Overlaps(i64),
}

/// All jobs that wait or are at work.
#[derive(Debug)]
pub struct Board {
    waiting: VecDeque<Entry>,
    running: Vec<Entry>,
    most: usize,
    /// The time when it was last looked who may begin.
    looked: Option<Timestamp>,
}

/// A clock that went back further than this was set back.
const BACK_MILLIS: i64 = 60_000;

impl Board {
    /// For at most so many jobs at once.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { waiting: VecDeque::new(), running: Vec::new(), most, looked: None }
    }

    /// Changes how many may be at work at once.
    pub const fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// What would become of a job. With `skip` it does not wait for another backup, or drill, of its routine.
    #[must_use]
    pub fn judge(&self, entry: &Entry, skip: bool) -> Verdict {
        if !matches!(entry.lane, Lane::Full | Lane::Incremental | Lane::Drill) {
            return Verdict::Waits;
        }
        // One that was put off until later takes nothing from what is to begin before.
        let is_same = |other: &&Entry| {
            other.routine == entry.routine && other.lane == entry.lane && other.not_before <= entry.not_before
        };
        if let Some(same) = self.waiting.iter().find(is_same) {
            return Verdict::WaitsAlready(same.id);
        }
        let in_the_way = self.running.iter().find(|other| conflict(entry, other));
        match in_the_way {
            Some(other) if skip => Verdict::Overlaps(other.id),
            _ => Verdict::Waits,
        }
    }

    /// Lets a job wait.
    pub fn push(&mut self, entry: Entry) {
        self.waiting.push_back(entry);
    }

    /// Takes those that may begin now, in the order in which they came; they count as at work.
    pub fn take_ready(&mut self, now: Timestamp) -> Vec<Entry> {
        self.follow_clock(now);
        let mut begun = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() && self.running.len() < self.most {
            if self.may_begin(&self.waiting[at], now)
                && let Some(entry) = self.waiting.remove(at)
            {
                self.running.push(entry.clone());
                begun.push(entry);
            } else {
                at += 1;
            }
        }
        begun
    }

    /// What waits for a time waits as long as before where the clock was set back: it was asked for by the clock that was. To be
    /// told before anything comes that is asked for by the clock that is.
    pub fn follow_clock(&mut self, now: Timestamp) {
        let back = self.looked.map_or(0, |looked| looked.as_millis() - now.as_millis());
        if back > BACK_MILLIS {
            for entry in &mut self.waiting {
                entry.not_before = Timestamp::from_millis(entry.not_before.as_millis() - back);
            }
        }
        self.looked = Some(now);
    }

    fn may_begin(&self, entry: &Entry, now: Timestamp) -> bool {
        let in_window = |(window, zone): &(Window, TimeZone)| {
            let zoned = jiff::Timestamp::from_millisecond(now.as_millis()).map(|now| now.to_zoned(zone.clone()));
            zoned.is_ok_and(|zoned| window.holds(zoned.time()))
        };
        let room = |(cluster, most): &(String, usize)| {
            let loads = |other: &&Entry| other.cluster.as_ref().is_some_and(|(name, _)| name == cluster);
            self.running.iter().filter(loads).count() < *most
        };
        entry.not_before <= now
            && entry.window.as_ref().is_none_or(in_window)
            && entry.cluster.as_ref().is_none_or(room)
            && !self.running.iter().any(|other| conflict(entry, other))
    }

    /// A job is over.
    pub fn finish(&mut self, id: i64) {
        self.running.retain(|entry| entry.id != id);
    }

    /// Takes a job off that waits; `false` if it does not.
    pub fn withdraw(&mut self, id: i64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|entry| entry.id != id);
        self.waiting.len() < before
    }

    /// The numbers of those that wait and those at work of a routine.
    #[must_use]
    pub fn of_routine(&self, routine: &str) -> (Vec<i64>, Vec<i64>) {
        let its = |entry: &&Entry| entry.routine.as_deref() == Some(routine);
        (
            self.waiting.iter().filter(its).map(|entry| entry.id).collect(),
            self.running.iter().filter(its).map(|entry| entry.id).collect(),
        )
    }

    /// Whether a restore into this target waits or is at work.
    #[must_use]
    pub fn restores_into(&self, targets: &[String]) -> Option<i64> {
        let into = |entry: &&Entry| entry.targets.iter().any(|target| targets.contains(target));
        self.running.iter().chain(&self.waiting).find(into).map(|entry| entry.id)
    }

    /// When the next one that waits for a time may begin.
    #[must_use]
    pub fn next_time(&self, now: Timestamp) -> Option<Timestamp> {
        self.waiting.iter().map(|entry| entry.not_before).filter(|time| *time > now).min()
    }
}

/// Whether one has to wait for the other.
fn conflict(entry: &Entry, other: &Entry) -> bool {
    let is_backup = |entry: &Entry| matches!(entry.lane, Lane::Full | Lane::Incremental);
    if is_backup(entry) && is_backup(other) && entry.routine == other.routine {
        return !(entry.concurrent && entry.lane != other.lane);
    }
    let is_drill = |entry: &Entry| entry.lane == Lane::Drill;
    if is_drill(entry) && is_drill(other) && entry.routine == other.routine {
        return true;
    }
    let reads_and_drops = |one: &Entry, two: &Entry| one.drops_files && two.lane == Lane::Restore;
    if (reads_and_drops(entry, other) || reads_and_drops(other, entry)) && entry.routine == other.routine {
        return true;
    }
    entry.targets.iter().any(|target| other.targets.contains(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn entry(id: i64, routine: &str, lane: Lane) -> Entry {
        Entry {
            id,
            routine: Some(routine.to_owned()),
            lane,
            cluster: None,
            targets: Vec::new(),
            not_before: NOW,
            window: None,
            concurrent: false,
            drops_files: false,
        }
    }

    fn ready(board: &mut Board) -> Vec<i64> {
        board.take_ready(NOW).into_iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn one_run_of_a_routine_is_at_work_and_one_waits() {
        let mut board = Board::new(10);
        board.push(entry(1, "a", Lane::Full));
        assert_eq!(ready(&mut board), [1]);
        assert_eq!(board.judge(&entry(2, "a", Lane::Full), true), Verdict::Overlaps(1));
        assert_eq!(board.judge(&entry(2, "a", Lane::Full), false), Verdict::Waits);
        board.push(entry(2, "a", Lane::Full));
        assert_eq!(board.judge(&entry(3, "a", Lane::Full), false), Verdict::WaitsAlready(2));
        assert_eq!(board.judge(&entry(3, "b", Lane::Full), true), Verdict::Waits);
        assert!(ready(&mut board).is_empty());
        board.finish(1);
        assert_eq!(ready(&mut board), [2]);
    }

    #[test]
    fn one_that_was_put_off_keeps_none_from_its_turn_that_is_due_before() {
        let mut board = Board::new(10);
        let at = |seconds: i64| Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
        board.push(Entry { not_before: at(3600), ..entry(1, "a", Lane::Full) });
        assert_eq!(board.judge(&entry(2, "a", Lane::Full), true), Verdict::Waits);
        let later = Entry { not_before: at(7200), ..entry(3, "a", Lane::Full) };
        assert_eq!(board.judge(&later, false), Verdict::WaitsAlready(1));
        board.push(entry(2, "a", Lane::Full));
        assert_eq!(ready(&mut board), [2]);
        board.finish(2);
        assert_eq!(board.take_ready(at(3600)).len(), 1);
    }

    #[test]
    fn files_are_dropped_before_or_after_they_are_restored_from() {
        let mut board = Board::new(10);
        let retention = |id, drops_files| Entry { drops_files, ..entry(id, "a", Lane::Upkeep) };
        board.push(entry(1, "a", Lane::Restore));
        assert_eq!(ready(&mut board), [1]);
        board.push(retention(2, true));
        board.push(retention(3, false));
        assert_eq!(ready(&mut board), [3], "a repository keeps what is read");
        board.finish(1);
        assert_eq!(ready(&mut board), [2]);
        board.push(entry(4, "a", Lane::Restore));
        board.push(entry(5, "b", Lane::Restore));
        assert_eq!(ready(&mut board), [5]);
    }

    #[test]
    fn incrementals_run_beside_fulls_only_where_that_is_said() {
        let mut board = Board::new(10);
        board.push(entry(1, "a", Lane::Full));
        assert_eq!(ready(&mut board), [1]);
        board.push(entry(2, "a", Lane::Incremental));
        assert!(ready(&mut board).is_empty());
        assert!(board.withdraw(2) && !board.withdraw(2));
        board.push(Entry { concurrent: true, ..entry(3, "a", Lane::Incremental) });
        board.push(entry(4, "a", Lane::Upkeep));
        assert_eq!(ready(&mut board), [3, 4]);
        assert_eq!(board.of_routine("a"), (vec![], vec![1, 3, 4]));
    }

    #[test]
    fn there_are_limits_in_all_and_for_each_cluster() {
        let mut board = Board::new(3);
        let on = |id, cluster: &str| Entry {
            cluster: Some((cluster.to_owned(), 1)),
            ..entry(id, &format!("r{id}"), Lane::Full)
        };
        for entry in [on(1, "c"), on(2, "c"), on(3, "d"), on(4, "e"), on(5, "f")] {
            board.push(entry);
        }
        assert_eq!(ready(&mut board), [1, 3, 4]);
        board.finish(3);
        assert_eq!(ready(&mut board), [5]);
        board.finish(1);
        assert_eq!(ready(&mut board), [2]);
    }

    #[test]
    fn two_restores_into_one_target_follow_each_other() {
        let mut board = Board::new(3);
        let into = |id| Entry {
            routine: None,
            targets: vec![format!("t{id}"), "t".to_owned()],
            ..entry(id, "", Lane::Restore)
        };
        board.push(into(1));
        assert_eq!(board.restores_into(&["t".to_owned()]), Some(1));
        board.push(into(2));
        assert_eq!(ready(&mut board), [1]);
    }

    #[test]
    fn a_clock_that_is_set_back_lets_nobody_wait_for_longer() {
        let mut board = Board::new(3);
        let at = |millis: i64| Timestamp::from_millis(NOW.as_millis() + millis);
        board.push(entry(1, "a", Lane::Full));
        assert_eq!(ready(&mut board), [1]);
        // This one waits for the first, and another for ten minutes.
        board.push(entry(2, "a", Lane::Full));
        board.push(Entry { not_before: at(600_000), ..entry(3, "b", Lane::Full) });
        assert!(ready(&mut board).is_empty());
        let day = 86_400_000;
        assert!(board.take_ready(at(-day)).is_empty());
        board.finish(1);
        let begun = |board: &mut Board, now| board.take_ready(now).iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(begun(&mut board, at(1000 - day)), [2]);
        assert_eq!(board.next_time(at(1000 - day)), Some(at(600_000 - day)));
        // A second that it goes back is none that it was set back.
        assert!(begun(&mut board, at(-day)).is_empty());
        assert_eq!(begun(&mut board, at(600_000 - day)), [3]);
    }

    #[test]
    fn what_is_for_later_waits_for_its_time_and_its_window() {
        let mut board = Board::new(3);
        let later = Timestamp::from_millis(NOW.as_millis() + 1000);
        board.push(Entry { not_before: later, ..entry(1, "a", Lane::Full) });
        // NOW is 8:00 in UTC.
        let night = Window::parse("22:00-06:00").unwrap();
        board.push(Entry { window: Some((night, TimeZone::UTC)), ..entry(2, "b", Lane::Full) });
        assert!(ready(&mut board).is_empty());
        assert_eq!(board.next_time(NOW), Some(later));
        assert_eq!(board.take_ready(later).len(), 1);
        assert_eq!(board.take_ready(Timestamp::from_millis(NOW.as_millis() + 15 * 3_600_000)).len(), 1);
    }
}
