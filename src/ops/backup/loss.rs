//! The guard against a source that is not there: a mount that is missing, an empty stream, a truncated database look like
//! deletions. What a source loses at once is refused before the commit, until a person says that it is so; that is
//! remembered in the snapshot, until the source grows again. Sources that are read by their changes (a cluster) have a guard of
//! their own, which knows what else explains a loss (`guard`).

use super::{BackupOptions, ParentChoice};
use crate::{
    connector::SourceSession,
    ops::{
        OpsError,
        select::{self, scope},
    },
    repo::{
        By, Repository, Snapshot,
        manifest::{Kind, SourceId},
    },
    report::{ErrorKind, Remedy},
};

/// So many records may be lost at once whatever their share, but not all.
pub(super) const FREE: u64 = 1000;

/// What a source held, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    records_before: u64,
    bytes_before: u64,
    records_now: u64,
    bytes_now: u64,
    /// How many of the records from before are known to be gone, whatever is new.
    deleted: u64,
    /// Records that are there even where nothing is.
    bare: u64,
    /// Whether it is a stream: its one record is there, whatever came.
    is_stream: bool,
}

impl Change {
    /// What of it is a loss that nobody would expect, in words.
    fn loss(&self, max_percent: u8) -> Option<String> {
        let fewer = self.records_before.saturating_sub(self.records_now);
        // What is replaced by about as much was moved, renamed or made anew; a few others make up for nothing.
        let new = (self.records_now + self.deleted).saturating_sub(self.records_before);
        let lost = if new.saturating_mul(2) < self.deleted { self.deleted.max(fewer) } else { fewer };
        let dried_up = self.is_stream && self.bare > 0 && self.bytes_before > self.bytes_now;
        if max_percent >= 100 {
            return None;
        }
        if self.records_now <= self.bare && (lost > 0 || dried_up) {
            return Some(match lost {
                _ if dried_up => "nothing came".to_owned(),
                1 => "its only record is gone".to_owned(),
                _ => format!("all {lost} records are gone"),
            });
        }
        let others = match self.records_now.saturating_sub(self.records_before.saturating_sub(lost)) {
            0 => String::new(),
            1 => " (1 other is there)".to_owned(),
            new => format!(" ({new} others are there)"),
        };
        let held = self.records_before.saturating_sub(self.bare);
        // What is replaced as a whole by about as much (a dump of another name each night) is no loss; a note in the place of a
        // mount is.
        if held > 1 && self.deleted >= held && (self.records_now - self.bare).saturating_mul(2) < held {
            return Some(format!("all {held} records are gone{others}"));
        }
        let is_much = lost > FREE && lost * 100 >= u64::from(max_percent) * self.records_before;
        is_much.then(|| format!("{lost} of {} records are gone{others}", self.records_before))
    }
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is no loss to speak of; whether one that was accepted is remembered.
    Fine { remembered: bool },
    /// A source that was never seen before has nothing in it, which may well be so; in words.
    Empty(String),
    /// A loss, in words, that was accepted now or before.
    Accepted(String),
    /// A loss, in words.
    Refused(String),
}

/// Judges what a run read against the newest snapshot of the source, whatever it was joined with: `now` is what it holds in
/// records and bytes, and how many of the parent's records were not found.
pub(super) fn judge(
    repo: &Repository,
    session: &dyn SourceSession,
    source: (&SourceId, &str),
    parent: Option<&Snapshot>,
    options: &BackupOptions,
    now: (u64, u64, u64),
    is_stream: bool,
) -> Result<Verdict, OpsError> {
    let fine = Verdict::Fine { remembered: false };
    if session.changes().is_some() {
        return Ok(fine);
    }
    let (source, scope) = source;
    let before = if let (ParentChoice::Id(_), Some(parent)) = (&options.parent, parent) {
        Some(parent.clone())
    } else {
        let newest = |scope: Option<&str>| -> Result<Option<Snapshot>, OpsError> {
            let now = session.start().max(repo.clock().now());
            for head in select::newest_first(repo, By::Source(source), scope, now) {
                let head = head?;
                // What a stream committed is not counted.
                if head.kind == Kind::Journal {
                    continue;
                }
                if let Some(found) = repo.snapshot(&head.id)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        match newest(Some(scope))? {
            // Everything that was never asked for before holds at least what a part of it held.
            None if scope::is_of_everything(scope) => newest(None)?,
            found => found,
        }
    };
    let Some(before) = before else {
        let is_empty = now.0 <= session.bare_records() && options.max_lost_percent < 100;
        let name = format!("{}:{}", source.connector, source.name);
        return Ok(if is_empty { first(&name, is_stream, options.accept_deletions) } else { fine });
    };
    let change = Change {
        records_before: before.collections.iter().map(|c| c.records).sum(),
        bytes_before: before.collections.iter().map(|c| c.bytes).sum(),
        records_now: now.0,
        bytes_now: now.1,
        // Against another snapshot nobody compared.
        deleted: if parent.is_some_and(|parent| parent.id == before.id) { now.2 } else { 0 },
        bare: session.bare_records(),
        is_stream,
    };
    let was_accepted = before.content.loss_accepted && change.records_now <= change.records_before;
    let Some(loss) = change.loss(options.max_lost_percent) else {
        return Ok(Verdict::Fine { remembered: was_accepted });
    };
    let words = format!(
        "{}:{} ({}) has lost most of what it held: {loss} since snapshot {} of {}",
        source.connector,
        source.name,
        scope::words(&before),
        before.id.short(),
        before.content.end
    );
    Ok(if options.accept_deletions || was_accepted { Verdict::Accepted(words) } else { Verdict::Refused(words) })
}

/// Judges an empty source of which there is no snapshot. What a stream had to say and did not is no state of anything: whoever
/// wrote it has failed. A database, a file or a folder begins empty.
fn first(name: &str, is_stream: bool, is_accepted: bool) -> Verdict {
    match (is_stream, is_accepted) {
        (true, true) => Verdict::Accepted(format!("{name}: nothing came")),
        (true, false) => Verdict::Refused(format!("{name}: nothing came, and there is no snapshot of it yet")),
        (false, _) => Verdict::Empty(format!("{name} has nothing in it: its first snapshot is empty")),
    }
}

/// The refusal of a loss.
pub(super) fn refusal(words: &str) -> OpsError {
    let words = format!("{words}; nothing was committed");
    OpsError::refused_unless(Remedy::AcceptDeletions, ErrorKind::SourceLost, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(records_before: u64, records_now: u64) -> Change {
        let deleted = records_before.saturating_sub(records_now);
        Change { records_before, bytes_before: 10, records_now, bytes_now: 10, deleted, bare: 0, is_stream: false }
    }

    #[test]
    fn a_source_that_lost_all_or_most_is_told_from_one_that_shrank() {
        for (before, now) in [(1, 0), (5, 0), (3000, 1500), (2200, 1100), (100_000, 50_000)] {
            assert!(change(before, now).loss(50).is_some(), "{before} to {now}");
        }
        for (before, now) in [(0, 0), (5, 1), (1999, 999), (3000, 1501), (100, 200), (100_000, 50_001)] {
            assert_eq!(change(before, now).loss(50), None, "{before} to {now}");
        }
    }

    #[test]
    fn what_is_new_makes_up_for_nothing_that_is_gone() {
        let replaced = |before, deleted, now| Change { deleted, ..change(before, now) }.loss(50);
        assert_eq!(replaced(300, 300, 1).as_deref(), Some("all 300 records are gone (1 other is there)"));
        assert_eq!(replaced(3000, 3000, 1400).as_deref(), Some("all 3000 records are gone (1400 others are there)"));
        assert!(replaced(5000, 2600, 3000).is_some());
        assert_eq!((replaced(3000, 3000, 2900), replaced(5000, 2500, 9000)), (None, None), "renamed, say");
        assert!(replaced(3, 3, 1).is_some());
        for (before, deleted, now) in [(1, 1, 1), (2, 2, 1), (900, 900, 450), (900, 899, 1), (5000, 2499, 5000)] {
            assert_eq!(replaced(before, deleted, now), None, "{deleted} of {before}, then {now}");
        }
        let marked = Change { bare: 1, deleted: 900, ..change(901, 2) };
        assert_eq!(marked.loss(50).as_deref(), Some("all 900 records are gone (1 other is there)"));
        assert_eq!(marked.loss(100), None);
    }

    #[test]
    fn a_tree_of_which_only_the_root_is_left_and_a_stream_without_a_byte_are_empty() {
        assert!(Change { bare: 1, ..change(3, 1) }.loss(50).is_some());
        assert_eq!(Change { bare: 1, ..change(1, 1) }.loss(50), None);
        let stream = Change { bare: 1, is_stream: true, bytes_now: 4, ..change(1, 1) };
        assert!(stream.loss(50).is_some());
        assert_eq!(Change { bytes_before: 4, ..stream }.loss(50), None);
        assert_eq!(Change { bare: 0, ..stream }.loss(50), None, "a short stream is one");
    }

    #[test]
    fn a_first_stream_without_a_byte_is_refused_and_another_empty_source_is_told() {
        assert!(matches!(first("files:stdin:x", true, false), Verdict::Refused(_)));
        assert!(matches!(first("files:stdin:x", true, true), Verdict::Accepted(_)));
        assert!(matches!(first("sqlite:a.db", false, false), Verdict::Empty(_)));
    }

    #[test]
    fn the_share_can_be_set() {
        assert!(change(10_000, 8900).loss(10).is_some());
        assert_eq!(change(10_000, 9001).loss(1), None, "so few are free");
        assert_eq!(change(10_000, 0).loss(100), None);
    }
}
