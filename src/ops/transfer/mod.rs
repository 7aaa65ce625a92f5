//! `copy`: chosen snapshots of one repository in another, whatever its keys. Between repositories of the same lasting secrets
//! chunks are taken over as they are; between others records are read, written anew and compared.

mod as_stored;
mod compare;
mod copies;
mod rewritten;
mod source;

use super::{
    OpsError, Phase, PhaseKind, Progress, forget::ForgetPlan, progress::tell_news, prune::Layers, reading::Reading,
    select::all_of_it, tag::TagChange,
};
use crate::{
    repo::{
        Capability, Repository, Snapshot, SnapshotId, WriteOptions, WriteSession,
        manifest::{Collection, CopyOf, Kind, Tables},
        session::SessionTiming,
    },
    report::{ErrorKind, WarningKind},
};
use copies::Copies;
use serde::Serialize;
use std::collections::HashSet;

/// What the lease of a copy says, at both sides.
const PURPOSE: &str = "copy";

/// How to copy.
#[derive(Debug, Clone)]
pub struct TransferOptions {
    /// Threads that read and write.
    pub parallel: usize,
    /// Say what would be copied, and change nothing.
    pub dry_run: bool,
    /// zstd level of what is written anew; 0 stores it raw.
    pub compression: i32,
    /// Between repositories of the same lasting secrets, whether every chunk is sealed under a new key, and no pack taken over as it is.
    pub seal_anew: bool,
    /// Bytes per second to the target.
    pub write_limit: Option<u64>,
    /// When heartbeats and packs are due.
    pub timing: SessionTiming,
}

/// One snapshot, here and there.
#[derive(Debug, Clone, Serialize)]
pub struct Copied {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its copy; absent in a dry run.
    pub copy: Option<SnapshotId>,
    /// When it ended.
    pub time: crate::record::Timestamp,
    /// Its records.
    pub records: u64,
    /// Chunks that the target did not hold.
    pub chunks_new: u64,
    /// Bytes that the target grew by.
    pub bytes_added: u64,
}

/// One that was not copied.
#[derive(Debug, Clone, Serialize)]
pub struct NotCopied {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Why.
    pub problem: String,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct TransferOutcome {
    /// The repository that was copied from.
    pub from: crate::repo::RepoId,
    /// The repository that was copied to.
    pub to: crate::repo::RepoId,
    /// Where that is.
    pub location: String,
    /// Whether chunks were taken over as they are; otherwise records were written anew and compared.
    pub as_stored: bool,
    /// What was copied, oldest first.
    pub copied: Vec<Copied>,
    /// What was there already.
    pub there: Vec<Copied>,
    /// Of those, the copies that got tags, a hold or a lock that the snapshot has by now.
    pub revised: Vec<SnapshotId>,
    /// What could not be copied.
    pub failed: Vec<NotCopied>,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

/// The snapshots that a policy keeps, oldest first.
#[must_use]
pub fn kept(snapshots: Vec<Snapshot>, plan: &ForgetPlan) -> Vec<Snapshot> {
    let decisions = plan.groups.iter().flat_map(|group| &group.snapshots);
    let kept: HashSet<SnapshotId> = decisions.filter(|decision| decision.keep).map(|decision| decision.id).collect();
    snapshots.into_iter().filter(|snapshot| kept.contains(&snapshot.id)).collect()
}

/// Copies snapshots to another repository, unless a copy of them is there.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if both are one repository; what stops it of the target, of which everything stays that was
/// copied. A snapshot that cannot be read is no error: it is named in [`TransferOutcome::failed`].
pub fn transfer(
    from: &Repository,
    chosen: &[Snapshot],
    to: &Repository,
    options: &TransferOptions,
    progress: &dyn Progress,
) -> Result<TransferOutcome, OpsError> {
    if from.id() == to.id() {
        let words = format!(
            "{} and {} are the same repository, {}: its other places are replicas",
            from.storage().location(),
            to.storage().location(),
            from.id()
        );
        return Err(OpsError::refused(ErrorKind::InvalidInput, words));
    }
    let (one, other) = (from.storage(), to.storage());
    // Two repositories at one place: storage of the caller's own, which says nothing by its name.
    let is_apart = one.location() == other.location() || !(one.is_within(other) || other.is_within(one));
    if !is_apart {
        let (from, to) = (one.location(), other.location());
        let words = format!("one of the repositories {from} and {to} lies in the other: choose another place");
        return Err(OpsError::refused(ErrorKind::InvalidInput, words));
    }
    chosen.iter().try_for_each(all_of_it)?;
    needs(from, Capability::ReadValues)?;
    needs(to, Capability::Write)?;
    // What must stay in a region stays there in copies too.
    to.storage().only_in(from.regions());
    to.storage().stays_within()?;
    let as_stored = from.secrets().are_those_of(to.secrets());
    if !as_stored {
        // Who writes anew reads back what he wrote.
        needs(to, Capability::ReadValues)?;
    }
    let mut chosen = chosen.to_vec();
    chosen.sort_by_key(|snapshot| snapshot.position());
    chosen.dedup_by_key(|snapshot| snapshot.id);
    let reading = if options.dry_run { None } else { Some(Reading::begin(from, PURPOSE, &chosen)?) };
    let (source, snapshots) = reading.as_ref().map_or((from, &*chosen), |it| (it.repo(), it.snapshots()));
    let mut job = Transfer {
        from: source,
        to,
        options,
        progress,
        copies: Copies::of(to)?,
        all: source.snapshots()?,
        outcome: TransferOutcome {
            from: from.id(),
            to: to.id(),
            location: to.storage().location().to_owned(),
            as_stored,
            copied: Vec::new(),
            there: Vec::new(),
            revised: Vec::new(),
            failed: Vec::new(),
            dry_run: options.dry_run,
        },
    };
    for snapshot in snapshots {
        job.one(snapshot)?;
    }
    Ok(job.outcome)
}

/// Two repositories are open: which one's keys do not allow it is said.
fn needs(repo: &Repository, capability: Capability) -> Result<(), OpsError> {
    repo.need(capability).map_err(|error| match error.kind() {
        kind @ ErrorKind::RoleLacks => OpsError::refused(kind, format!("{}: {error}", repo.storage().location())),
        _ => error.into(),
    })
}

struct Transfer<'a> {
    from: &'a Repository,
    to: &'a Repository,
    options: &'a TransferOptions,
    progress: &'a dyn Progress,
    /// What the target holds.
    copies: Copies,
    /// What there is here, oldest first, chosen or not.
    all: Vec<Snapshot>,
    outcome: TransferOutcome,
}

/// What writing a snapshot's layers at the target came to.
enum Made {
    Collections(Vec<Collection>),
    /// Another run was faster.
    There(Box<Snapshot>),
}

impl Transfer<'_> {
    fn one(&mut self, snapshot: &Snapshot) -> Result<(), OpsError> {
        if self.progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let origin = copies::origin(self.from, snapshot);
        if let Some(copy) = self.copies.get(&origin).cloned() {
            return self.is_there(snapshot, &copy);
        }
        if !self.outcome.as_stored && snapshot.content.kind == Kind::Journal {
            let problem = "a stream committed it, and its versions are copied as they are stored only: between \
                           repositories that share their keys"
                .to_owned();
            let words = format!("snapshot {} was not copied: {problem}", snapshot.id.short());
            self.progress.warn(WarningKind::SnapshotNotWhole, snapshot.id.short(), words);
            self.outcome.failed.push(NotCopied { snapshot: snapshot.id, problem });
            return Ok(());
        }
        if self.options.dry_run {
            self.outcome.copied.push(row(snapshot, None));
            return Ok(());
        }
        match self.copy(snapshot, &origin) {
            Ok(()) => Ok(()),
            // What this one lacks others need not lack.
            Err(error)
                if error.kind().is_damage() || matches!(error.kind(), ErrorKind::MovedOn | ErrorKind::Archived) =>
            {
                let problem = error.to_string();
                let words = format!("snapshot {} was not copied: {problem}", snapshot.id.short());
                self.progress.warn(WarningKind::SnapshotNotWhole, snapshot.id.short(), words);
                self.outcome.failed.push(NotCopied { snapshot: snapshot.id, problem });
                Ok(())
            }
            Err(error) if self.progress.cancelled() && !error.is_interruption() => Err(OpsError::Interrupted),
            Err(error) => Err(error),
        }
    }

    fn copy(&mut self, snapshot: &Snapshot, origin: &CopyOf) -> Result<(), OpsError> {
        let collections = &snapshot.collections;
        self.progress.phase(&Phase {
            kind: PhaseKind::CopyingSnapshot,
            object: snapshot.id.short(),
            records: collections.iter().map(|it| it.records).sum(),
            bytes: collections.iter().map(|it| it.bytes).sum(),
        });
        let write = WriteOptions {
            purpose: PURPOSE.to_owned(),
            compression: self.options.compression,
            check: true,
            write_limit: self.options.write_limit,
        };
        let session = self.to.begin_write_timed(&write, &self.options.timing)?;
        tell_news(self.to, session.warnings(), self.progress);
        let collections = match self.make(snapshot, origin, &session) {
            Ok(Made::Collections(collections)) => collections,
            Ok(Made::There(copy)) => {
                session.abandon()?;
                return self.is_there(snapshot, &copy);
            }
            Err(error) => {
                // What was stored stays, with its index, for the next run; the first error is the one to tell.
                let _ = session.abandon();
                return Err(error);
            }
        };
        let mut manifest = snapshot.clone().into_manifest();
        manifest.id = session.id();
        manifest.revision = 0;
        manifest.squash = None;
        manifest.tables = Tables::default();
        manifest.content.parent = self.parent_at_target(snapshot);
        manifest.content.copy_of = Some(origin.clone());
        manifest.collections = collections;
        let stats = session.stats();
        if let Some(warning) = session.missed_beats() {
            self.progress.warning(&warning);
        }
        session.commit_and_note(&manifest, &Layers)?;
        self.copies.look_again(self.to)?;
        if self.copies.get(origin).is_none() {
            return Err(OpsError::Failed(format!("the copy {} cannot be found again", manifest.id)));
        }
        let mut row = row(snapshot, Some(manifest.id));
        (row.chunks_new, row.bytes_added) = (stats.chunks_new, stats.bytes_added);
        self.outcome.copied.push(row);
        Ok(())
    }

    fn make(&mut self, snapshot: &Snapshot, origin: &CopyOf, session: &WriteSession) -> Result<Made, OpsError> {
        let collections = if self.outcome.as_stored {
            as_stored::layers(self, snapshot, session)?;
            snapshot.collections.clone()
        } else {
            rewritten::layers(self, snapshot, session)?
        };
        // Another run may have copied it meanwhile.
        self.copies.look_again(self.to)?;
        let there = self.copies.get(origin).cloned();
        Ok(there.map_or(Made::Collections(collections), |copy| Made::There(Box::new(copy))))
    }

    /// The copy of a snapshot's parent, if it is there.
    fn parent_at_target(&self, snapshot: &Snapshot) -> Option<SnapshotId> {
        let parent = snapshot.content.parent?;
        // Of a copy of a copy, by what the parent is a copy of.
        let here = self.all.iter().find(|it| it.id == parent);
        let origin = here.map_or_else(
            || CopyOf { repository: self.from.id(), snapshot: parent, other: crate::repo::carried::Carried::default() },
            |here| copies::origin(self.from, here),
        );
        self.copies.get(&origin).map(|copy| copy.id)
    }

    /// A copy is there: it gets the tags, the hold and the lock that came since.
    fn is_there(&mut self, snapshot: &Snapshot, copy: &Snapshot) -> Result<(), OpsError> {
        self.outcome.there.push(row(snapshot, Some(copy.id)));
        let now = self.to.clock().now();
        let change = TagChange {
            add: snapshot.tags.iter().filter(|tag| !copy.tags.contains(tag)).cloned().collect(),
            hold: (snapshot.hold && !copy.hold).then_some(true),
            lock_until: snapshot.lock_until.filter(|until| *until > now && Some(*until) > copy.lock_until),
            ..TagChange::default()
        };
        if change == TagChange::default() {
            return Ok(());
        }
        if !self.options.dry_run {
            match super::tag::tag(self.to, copy, &change) {
                Ok(revised) => self.copies.insert(self.to, revised),
                Err(error) if error.kind() == ErrorKind::RoleLacks || error.kind() == ErrorKind::SnapshotPending => {
                    let id = copy.id.short();
                    let words = format!("the copy {id} lacks tags, a hold or a lock that the snapshot has: {error}");
                    self.progress.warn(WarningKind::Note, id, words);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.outcome.revised.push(copy.id);
        Ok(())
    }
}

fn row(snapshot: &Snapshot, copy: Option<SnapshotId>) -> Copied {
    Copied {
        snapshot: snapshot.id,
        copy,
        time: snapshot.content.end,
        records: snapshot.collections.iter().map(|it| it.records).sum(),
        chunks_new: 0,
        bytes_added: 0,
    }
}
