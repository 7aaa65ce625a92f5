//! How far a restore came, kept in the catalog so that a later one goes on behind it. What is kept, when, and why it may be
//! trusted: `format-spec/aerospike-restore.md`, "Stopping and going on".

use super::{Run, Selected, Tally};
use crate::{
    connector::{
        CollectionTarget, MetaStream, Outcomes, Overwrite, Target, TargetPlan, TargetSession, change::MetaBatch,
    },
    layer::StackCursor,
    ops::{OpsError, Progress},
    record::{Expiry, KeyRange, Timestamp},
    repo::Repository,
    report::WarningKind,
};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The format of what is kept; any other counts as nothing.
const FORMAT: u32 = 1;

/// What the names of these notes begin with.
const PREFIX: &str = "restore:";

/// How long it is kept.
const KEPT_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// It is not written more often.
const EVERY: Duration = Duration::from_secs(3);

/// Where a restore is: every record up to there has its outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ResumePoint {
    /// Collections of the plan that are done.
    pub(super) collections: usize,
    /// The last key of the next one that is done.
    #[serde(with = "hex")]
    pub(super) behind: Option<Vec<u8>>,
}

/// What is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Entry {
    format: u32,
    /// For people.
    snapshot: String,
    target: String,
    began: i64,
    written: i64,
    place: ResumePoint,
    records: u64,
    bytes: u64,
    lost: u64,
    damage: Vec<String>,
    outcomes: Outcomes,
    notes: Vec<String>,
}

/// Keeps how far a restore came.
pub(super) struct Ledger<'a> {
    repo: &'a Repository,
    progress: &'a dyn Progress,
    /// The note; `None` where no progress is kept.
    name: Option<String>,
    entry: Entry,
    /// Whether an earlier run began.
    found: bool,
    /// Snapshots of which restores into the same target were stopped.
    others: Vec<String>,
    last: Instant,
    every: Duration,
    /// What a person may do when the restore is stopped.
    advice: Option<&'static str>,
}

impl<'a> Ledger<'a> {
    /// Finds what an earlier run of the same restore left, and forgets what is too old.
    pub(super) fn open(run: &Run<'a>, target: &dyn Target, plan: &TargetPlan) -> Self {
        let (repo, options) = (run.repo, run.options);
        let every = options.progress_every.unwrap_or(EVERY);
        let mut ledger = Self {
            repo,
            progress: run.progress,
            name: None,
            entry: Entry::default(),
            found: false,
            others: Vec::new(),
            last: Instant::now(),
            every,
            advice: None,
        };
        let Some(target) = target.goes_on().and_then(|it| it.resume_key(plan)) else { return ledger };
        if plan.make_equal || plan.overwrite == Overwrite::IfChanged {
            ledger.advice = Some("the same command writes what is still missing");
            return ledger;
        }
        if options.dry_run || options.no_records || !options.keys.is_empty() {
            return ledger;
        }
        ledger.advice = Some("the same command goes on behind it");
        let snapshot = run.snapshot;
        let now = repo.clock().now();
        let collections: Vec<(&str, &str)> =
            plan.collections.iter().map(|one| (one.source_name.as_str(), one.name.as_str())).collect();
        let what = (&target, snapshot.id.to_string(), format!("{:?}", plan.overwrite), collections);
        let filters = (&options.include, &options.exclude);
        let text = serde_json::to_string(&(what, filters)).unwrap_or_default();
        let name = format!("{PREFIX}{}", blake3::hash(text.as_bytes()).to_hex());
        let found = if options.no_resume { None } else { ledger.look(&name, &target, now) };
        ledger.found = found.is_some();
        ledger.entry = found.unwrap_or_default();
        ledger.entry.format = FORMAT;
        ledger.entry.snapshot = snapshot.id.short();
        ledger.entry.target = target;
        if !ledger.found {
            ledger.entry.began = now.as_millis();
        }
        ledger.name = Some(name);
        ledger
    }

    /// Reads the note of this name, and forgets all that are too old.
    fn look(&mut self, wanted: &str, target: &str, now: Timestamp) -> Option<Entry> {
        let notes = match self.repo.notes(PREFIX) {
            Ok(notes) => notes,
            Err(error) => {
                let words = format!("how far an earlier restore came cannot be read: {error}");
                self.progress.warn(WarningKind::NotResumed, target, words);
                return None;
            }
        };
        let mut found = None;
        for (name, value) in notes {
            let entry = serde_json::from_str::<Entry>(&value).ok().filter(|entry| entry.format == FORMAT);
            let fresh = entry.filter(|entry| now.as_millis().abs_diff(entry.written) <= KEPT_MILLIS as u64);
            match fresh {
                Some(entry) if name == wanted => found = Some(entry),
                Some(entry) if entry.target == target => self.others.push(entry.snapshot),
                Some(_) => {}
                // It stays where it cannot be removed, and is passed over again.
                None => drop(self.repo.forget_note(&name)),
            }
        }
        found
    }

    /// Whether an earlier run of the same restore began to write.
    pub(super) const fn found(&self) -> bool {
        self.found
    }

    /// Adds to an error that others were stopped which could go on.
    pub(super) fn hint(&self, error: OpsError) -> OpsError {
        match (error, self.others.as_slice()) {
            (OpsError::Refused { kind, words, remedies }, [other, ..]) => {
                let words = format!(
                    "{words}. A restore of snapshot {other} into it was stopped: the same command with that snapshot goes on"
                );
                OpsError::Refused { kind, words, remedies }
            }
            (error, _) => error,
        }
    }

    /// What a person may do when the restore is stopped.
    pub(super) const fn advice(&self) -> Option<&'static str> {
        self.advice
    }

    /// Whether progress is kept.
    pub(super) const fn keeps(&self) -> bool {
        self.name.is_some()
    }

    /// Where to go on.
    pub(super) const fn place(&self) -> &ResumePoint {
        &self.entry.place
    }

    /// What earlier runs came to.
    pub(super) fn tally(&self) -> Tally {
        let entry = &self.entry;
        let mut tally = Tally { outcomes: entry.outcomes.clone(), ..Tally::default() };
        tally.outcomes.notes.clone_from(&entry.notes);
        tally.totals.records = entry.records;
        tally.totals.bytes = entry.bytes;
        tally.totals.lost = entry.lost;
        tally.totals.damage.clone_from(&entry.damage);
        tally
    }

    /// Forgets what earlier runs came to.
    pub(super) fn begin_anew(&mut self) {
        let Entry { format, snapshot, target, began, .. } = std::mem::take(&mut self.entry);
        self.entry = Entry { format, snapshot, target, began, ..Entry::default() };
    }

    /// Whether it is time to write down where the restore is.
    pub(super) fn due(&self) -> bool {
        self.keeps() && self.last.elapsed() >= self.every
    }

    /// Writes down where the restore is. All up to there must have its outcome.
    pub(super) fn keep(&mut self, place: ResumePoint, tally: &Tally) {
        let Some(name) = &self.name else { return };
        self.entry.place = place;
        self.entry.written = self.repo.clock().now().as_millis();
        self.entry.records = tally.totals.records;
        self.entry.bytes = tally.totals.bytes;
        self.entry.lost = tally.totals.lost;
        self.entry.damage.clone_from(&tally.totals.damage);
        self.entry.outcomes = tally.outcomes.clone();
        self.entry.notes.clone_from(&tally.outcomes.notes);
        self.last = Instant::now();
        let kept = serde_json::to_string(&self.entry)
            .map_err(|error| error.to_string())
            .and_then(|text| self.repo.set_note(name, &text).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            let words =
                format!("how far the restore came cannot be kept ({error}): if it is stopped, a later one begins anew");
            self.progress.warn(WarningKind::ProgressNotKept, &*self.entry.target, words);
            self.name = None;
            self.advice = None;
        }
    }

    /// Forgets all: the restore is done.
    pub(super) fn finish(&mut self) {
        if let Some(name) = self.name.take()
            && let Err(error) = self.repo.forget_note(&name)
        {
            let words = format!("the note of how far the restore came cannot be removed: {error}");
            self.progress.warn(WarningKind::CleanupFailed, &*self.entry.target, words);
        }
    }
}

/// How many of the records that earlier runs wrote are no longer in the target.
pub(super) fn gone(
    run: &Run<'_>,
    session: &mut dyn TargetSession,
    selected: &[Selected<'_>],
    place: &ResumePoint,
    tally: &Tally,
) -> Result<u64, OpsError> {
    let mut accounted = 0;
    for (index, one) in selected.iter().enumerate().take(place.collections + 1) {
        let last = if index < place.collections { None } else { place.behind.as_deref() };
        if index == place.collections && last.is_none() {
            break;
        }
        let writer = session.open(index)?;
        let feed = run.feed(one, None);
        let stack = feed.open()?;
        for range in feed.ranges(&stack) {
            let Some(range) = part_up_to(range, last) else { continue };
            let mut cursor = stack.cursor(&range, feed.at, true)?;
            let over = Over {
                writer: writer.as_ref(),
                range: &range,
                admits: &|key| feed.filter.admits(key),
                slack_millis: run.abilities.expiry_slack_millis,
            };
            accounted += over.count(run.progress, &mut cursor)?;
        }
        writer.finish()?;
    }
    let o = &tally.outcomes;
    Ok((o.inserted + o.replaced + o.existed + o.fresher).saturating_sub(accounted))
}

/// What of a range lies at or before a key.
fn part_up_to(mut range: KeyRange, last: Option<&[u8]>) -> Option<KeyRange> {
    let Some(last) = last else { return Some(range) };
    let mut end = last.to_vec();
    end.push(0);
    if range.start >= end {
        return None;
    }
    range.end = Some(range.end.map_or_else(|| end.clone(), |old| old.min(end.clone())));
    Some(range)
}

/// Counts the records of a range that stand in the target, or whose time is over.
struct Over<'a> {
    writer: &'a dyn CollectionTarget,
    range: &'a KeyRange,
    admits: &'a dyn Fn(&[u8]) -> bool,
    slack_millis: u64,
}

impl Over<'_> {
    fn count(self, progress: &dyn Progress, cursor: &mut StackCursor<'_>) -> Result<u64, OpsError> {
        let Some(standing) = self.writer.standing() else { return Ok(0) };
        let mut live = standing.keys(self.range)?;
        let mut live = Keys::new(live.as_mut(), progress);
        let mut more = live.advance()?;
        let mut accounted = 0;
        // Damage is found, and named, by the restore itself: what lies behind it counts as gone.
        while cursor.advance().unwrap_or(false) {
            if !(self.admits)(cursor.key()) {
                continue;
            }
            while more && live.key() < cursor.key() {
                more = live.advance()?;
            }
            let stands = more && live.key() == cursor.key();
            // A node may say so a moment before its clock is known to.
            let expiry = cursor.meta().expiry.as_millis();
            let sooner = Expiry::from_millis(expiry.saturating_sub(self.slack_millis).max(expiry.min(1)));
            accounted += u64::from(stands || standing.is_over(cursor.key(), sooner));
        }
        Ok(accounted)
    }
}

/// The keys of a sweep, one after the other.
struct Keys<'a> {
    stream: &'a mut dyn MetaStream,
    progress: &'a dyn Progress,
    batch: MetaBatch,
    next: usize,
}

impl<'a> Keys<'a> {
    fn new(stream: &'a mut dyn MetaStream, progress: &'a dyn Progress) -> Self {
        Self { stream, progress, batch: MetaBatch::default(), next: 0 }
    }

    fn advance(&mut self) -> Result<bool, OpsError> {
        self.next += 1;
        while self.next > self.batch.len() {
            if self.progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
            let more = self.stream.next_batch(&mut self.batch);
            if !more.map_err(|error| OpsError::Failed(format!("sweeping the target: {error}")))? {
                return Ok(false);
            }
            self.next = 1;
        }
        Ok(true)
    }

    fn key(&self) -> &[u8] {
        self.batch.row(self.next - 1).0
    }
}

/// Keys as text.
mod hex {
    use super::HEXLOWER;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "this is the shape that serde calls")]
    pub(super) fn serialize<S: Serializer>(key: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match key {
            Some(key) => serializer.serialize_some(&HEXLOWER.encode(key)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| HEXLOWER.decode(text.as_bytes()).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::restore::feed::part_behind;

    #[test]
    fn what_is_done_and_what_is_left_are_all_and_nothing_twice() {
        let keys: Vec<Vec<u8>> = (0..=3u8).flat_map(|a| [vec![a], vec![a, 0], vec![a, 0, 0], vec![a, 7]]).collect();
        let mut ends: Vec<Option<Vec<u8>>> = keys.iter().cloned().map(Some).collect();
        ends.push(None);
        for start in &keys {
            for end in &ends {
                let range = KeyRange { start: start.clone(), end: end.clone() };
                for last in &keys {
                    let done = part_up_to(range.clone(), Some(last));
                    let left = part_behind(range.clone(), last);
                    for key in keys.iter().filter(|key| range.contains(key)) {
                        let holds = |part: &Option<KeyRange>| part.as_ref().is_some_and(|part| part.contains(key));
                        assert_eq!(
                            (holds(&done), holds(&left)),
                            (key <= last, key > last),
                            "{range:?} {last:?} {key:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_place_is_kept_as_text_and_comes_back() {
        let place = ResumePoint { collections: 2, behind: Some(vec![0, 0xff, 7]) };
        let text = serde_json::to_string(&place).unwrap();
        assert_eq!(text, r#"{"collections":2,"behind":"00ff07"}"#);
        assert_eq!(serde_json::from_str::<ResumePoint>(&text).unwrap(), place);
        assert!(serde_json::from_str::<ResumePoint>(r#"{"collections":2,"behind":"xy"}"#).is_err());
        assert!(serde_json::from_str::<ResumePoint>(r#"{"collections":-1,"behind":null}"#).is_err());
    }
}
