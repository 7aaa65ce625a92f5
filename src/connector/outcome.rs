//! What became of records that were written.

use serde::{Deserialize, Serialize};

/// Failures that are named; others are counted.
pub const NAMED_FAILURES: usize = 100;

/// What became of each record written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcomes {
    /// Written where there was none.
    pub inserted: u64,
    /// Written over another one.
    pub replaced: u64,
    /// Found equal and left alone.
    pub unchanged: u64,
    /// Found and left alone because of [`Overwrite::Never`](super::Overwrite::Never).
    pub existed: u64,
    /// Found newer and left alone because of [`Overwrite::IfNewer`](super::Overwrite::IfNewer).
    pub fresher: u64,
    /// Not written: their time is over.
    pub expired: u64,
    /// Not written: what the target was told to take does not include them.
    pub skipped: u64,
    /// Not written: their key in the target cannot be known.
    pub unmappable: u64,
    /// Removed by make-equal.
    pub removed: u64,
    /// Not removed by make-equal: somebody wrote them since the restore began.
    pub changed: u64,
    /// Could not be written, which the target was told to go on past.
    pub ignored: u64,
    /// Could not be written.
    pub failed: u64,
    /// The first 100 failures: key as shown, reason.
    pub failures: Vec<(String, String)>,
    /// What a person should know though every record was written (an owner that could not be set).
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// What was made of a record that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// There was none.
    Inserted,
    /// There was another one.
    Replaced,
    /// There was one, which stays.
    Existed,
}

impl Outcomes {
    /// Counts a record that came.
    pub const fn count(&mut self, written: Written) {
        match written {
            Written::Inserted => self.inserted += 1,
            Written::Replaced => self.replaced += 1,
            Written::Existed => self.existed += 1,
        }
    }

    /// Counts a record that could not be written, and names it: its key as shown, and why.
    pub fn fail(&mut self, key: impl FnOnce() -> String, reason: String) {
        self.failed += 1;
        self.name(key, reason);
    }

    /// Names a record that was not written, if there is room, and counts nothing.
    pub fn name(&mut self, key: impl FnOnce() -> String, reason: String) {
        if self.failures.len() < NAMED_FAILURES {
            self.failures.push((key(), reason));
        }
    }

    /// Adds up what became of other records.
    pub fn add(&mut self, other: Self) {
        let Self {
            inserted,
            replaced,
            unchanged,
            existed,
            fresher,
            expired,
            skipped,
            unmappable,
            removed,
            changed,
            ignored,
            failed,
            failures,
            notes,
        } = other;
        self.inserted += inserted;
        self.replaced += replaced;
        self.unchanged += unchanged;
        self.existed += existed;
        self.fresher += fresher;
        self.expired += expired;
        self.skipped += skipped;
        self.unmappable += unmappable;
        self.removed += removed;
        self.changed += changed;
        self.ignored += ignored;
        self.failed += failed;
        let room = NAMED_FAILURES.saturating_sub(self.failures.len());
        self.failures.extend(failures.into_iter().take(room));
        self.notes.extend(notes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_counted_and_the_first_hundred_are_named() {
        let mut one = Outcomes::default();
        for number in 0..70 {
            one.fail(|| format!("int:{number}"), "full".to_owned());
        }
        let mut both = one.clone();
        both.add(Outcomes { inserted: 2, notes: vec!["so".to_owned()], ..one });
        assert_eq!((both.failed, both.failures.len(), both.inserted), (140, 100, 2));
        assert_eq!(both.failures[99].0, "int:29");
        assert_eq!(both.notes, ["so"]);
    }
}
