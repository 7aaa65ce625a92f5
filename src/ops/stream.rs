//! Streams: changes become journals, and journals snapshots. Specified in `format-spec/journals.md`.

mod compact;
mod sort;

use super::{OpsError, Progress, given_up::give_up, progress::tell_news, prune::Layers, select::latest_of};
use crate::{
    layer::{JournalWriter, Layer, LayerContext, LayerError, Stack},
    record::{ChangeBatch, KeyCodec, Timestamp},
    repo::{
        By, Capability, ChunkId, Manifest, RepoError, Repository, Snapshot, SnapshotId, WriteOptions, WriteSession,
        carried::Carried,
        manifest::{Asked, Collection, Content, JOURNAL_FEATURE, Kind, LayerRef, Moments, PROGRAM, SourceId, Stats},
        session::SessionTiming,
    },
    report::WarningKind,
};
use serde_json::Value as Json;
use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

pub use sort::{Arrival, Present};

/// Whose changes they are.
#[derive(Debug, Clone)]
pub struct StreamSource {
    /// The source.
    pub source: SourceId,
    /// The hash of its scope, as a backup of the same records has it.
    pub scope: String,
    /// The scope in words, and as data.
    pub scope_note: String,
    /// The same as data.
    pub asked: Asked,
    /// What is needed beside the collections; that of the snapshot before where it is nothing.
    pub attributes: Json,
}

/// A collection that changes come of.
#[derive(Debug, Clone)]
pub struct StreamCollection {
    /// Its name.
    pub name: String,
    /// How its keys become bytes.
    pub codec: KeyCodec,
    /// What is needed to make it again; that of the snapshot before where it is nothing.
    pub attributes: Json,
}

/// How a stream is written.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// zstd level, 0 for none.
    pub compression: i32,
    /// Decompress and compare every chunk before it is sealed.
    pub check: bool,
    /// Bytes per second to storage.
    pub write_limit: Option<u64>,
    /// How changes of one record follow each other.
    pub arrival: Arrival,
    /// Join with what the source's snapshots hold; otherwise the stream begins anew.
    pub join: bool,
    /// Go on from this snapshot, and not from the source's newest.
    pub parent: Option<SnapshotId>,
    /// Forget the snapshot before, if a stream committed it and this one shows all that it showed.
    pub supersede: bool,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// When heartbeats and packs are due.
    pub timing: SessionTiming,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            compression: 3,
            check: true,
            write_limit: None,
            arrival: Arrival::Generations,
            join: true,
            parent: None,
            supersede: false,
            tags: Vec::new(),
            timing: SessionTiming::default(),
        }
    }
}

/// What the changes of one commit came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Changes that came.
    pub changes: u64,
    /// Of those, deletions.
    pub deletions: u64,
    /// Changes that are beyond the format's limits and are not kept.
    pub refused: u64,
    /// Some of those, in words.
    pub problems: Vec<String>,
    /// Changes whose time was before that of an older one of their record: they got its time.
    pub lifted: u64,
    /// Changes that were stamped in the future: they got the time at which they came.
    pub ahead: u64,
}

/// How a commit ends.
#[derive(Debug, Clone, Default)]
pub struct StreamEnd {
    /// Whether nothing is left of what was there when the stream began: from here on the stream shows every moment.
    pub is_whole: bool,
    /// Whether what the snapshot before lacks is among the problems, as far as it is still missing.
    pub does_parent_stand: bool,
    /// What is missing or unsure, in words.
    pub problems: Vec<String>,
    /// Everything that was made by then has come, by the source's clock; by this machine's if it does not say.
    pub until: Option<Timestamp>,
}

/// What a commit made.
#[derive(Debug, Clone)]
pub struct StreamCommit {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its end.
    pub end: Timestamp,
    /// Whether it can be read at every moment since some time.
    pub is_exact: bool,
    /// What it holds that its parent does not.
    pub counts: StreamCounts,
    /// What is missing in it or unsure, in words; nothing if it is complete.
    pub problems: Vec<String>,
    /// Bytes that the repository grew by.
    pub bytes_added: u64,
}

/// Changes on their way into one snapshot.
pub struct StreamWriter<'a> {
    repo: &'a Repository,
    session: WriteSession,
    context: LayerContext,
    source: &'a StreamSource,
    options: &'a StreamOptions,
    attributes: Json,
    parent: Option<Snapshot>,
    /// Whether the parent's collections that are not named here are gone.
    is_all: bool,
    collections: Vec<Growing>,
    counts: StreamCounts,
    newest: u64,
    present: Option<Present>,
    began: Instant,
}

struct Growing {
    found: StreamCollection,
    before: Option<Collection>,
    journals: Vec<LayerRef>,
    /// The journals at the end of the stack before, opened where a change may be older than one of theirs.
    known: Option<Stack>,
}

/// Refused changes that are named.
const MAX_NAMED: usize = 100;

impl<'a> StreamWriter<'a> {
    /// Begins a snapshot on the newest one of the same source and scope.
    ///
    /// # Errors
    /// [`OpsError`], also where that snapshot has chunks that are not there.
    pub fn begin(
        repo: &'a Repository,
        source: &'a StreamSource,
        collections: &[StreamCollection],
        options: &'a StreamOptions,
        progress: &dyn Progress,
    ) -> Result<Self, OpsError> {
        let write = WriteOptions {
            purpose: "capture".to_owned(),
            compression: options.compression,
            check: options.check,
            write_limit: options.write_limit,
        };
        let session = repo.begin_write_timed(&write, &options.timing)?;
        tell_news(repo, session.warnings(), progress);
        let parent = match parent_of(repo, &session, source, options) {
            Ok(parent) => parent,
            Err(error) => {
                session.abandon()?;
                return Err(error);
            }
        };
        let its = parent.iter().flat_map(|parent| &parent.collections);
        let its: HashMap<&str, &Collection> = its.map(|before| (before.name.as_str(), before)).collect();
        let before = |found: &StreamCollection| {
            its.get(found.name.as_str()).filter(|before| before.codec == found.codec).map(|before| (*before).clone())
        };
        let growing = |found: &StreamCollection| Growing {
            before: before(found),
            found: found.clone(),
            journals: Vec::new(),
            known: None,
        };
        let collections = collections.iter().map(growing).collect();
        Ok(Self {
            repo,
            context: LayerContext::new(repo.secrets()),
            collections,
            session,
            source,
            options,
            attributes: source.attributes.clone(),
            parent,
            is_all: false,
            counts: StreamCounts::default(),
            newest: 0,
            present: None,
            began: Instant::now(),
        })
    }

    /// The snapshot that this one goes on from.
    #[must_use]
    pub const fn parent(&self) -> Option<&Snapshot> {
        self.parent.as_ref()
    }

    /// Says what is needed to make a collection again.
    pub fn describe(&mut self, collection: usize, attributes: Json) {
        if let Some(growing) = self.collections.get_mut(collection) {
            growing.found.attributes = attributes;
        }
    }

    /// Says what is needed beside the collections.
    pub fn set_attributes(&mut self, attributes: Json) {
        self.attributes = attributes;
    }

    /// Says what time it is: a change that is stamped later than clocks may differ was made under a wrong one, and gets the time
    /// by which all came. It would carry the whole stream into the future.
    pub fn believe_no_later(&mut self, now: Timestamp, came: Option<Timestamp>) {
        let millis = |time: Timestamp| u64::try_from(time.as_millis()).unwrap_or_default();
        let came = came.map_or(now, |came| came.min(now));
        self.present = Some(Present { latest: millis(latest_of(now)), instead: millis(came) });
    }

    /// Changes that are not kept.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.counts.refused
    }

    /// Says that the parent's collections which are not named here are gone.
    pub const fn leave_out_others(&mut self) {
        self.is_all = true;
    }

    /// What is written goes into the same snapshot.
    #[cfg(feature = "postgresql")]
    pub(in crate::ops) const fn session(&self) -> &WriteSession {
        &self.session
    }

    /// Puts what was read anew in the place of what a collection was before.
    ///
    /// # Errors
    /// [`OpsError`] from the repository, or if there is no such collection.
    #[cfg(feature = "postgresql")]
    pub(in crate::ops) fn put_base(&mut self, collection: usize, base: Collection) -> Result<(), OpsError> {
        self.session.flush()?;
        let growing = self.collections.get_mut(collection).ok_or_else(lost_collections)?;
        growing.known = None;
        growing.before = Some(base);
        Ok(())
    }

    /// Says from when on a collection shows every moment.
    ///
    /// # Errors
    /// [`OpsError`] if there is no such collection, or nothing of it was there before.
    #[cfg(feature = "postgresql")]
    pub(in crate::ops) fn begin_moments(&mut self, collection: usize, from: Timestamp) -> Result<(), OpsError> {
        let growing = self.collections.get_mut(collection).ok_or_else(lost_collections)?;
        growing.before.as_mut().ok_or_else(lost_collections)?.journal = Some(Moments::from(from));
        Ok(())
    }

    /// A collection as it stands with all that was written to it.
    ///
    /// # Errors
    /// [`OpsError`] from the repository, or if there is no such collection.
    pub fn standing(&self, collection: usize) -> Result<Stack, OpsError> {
        let growing = self.collections.get(collection).ok_or_else(lost_collections)?;
        if !growing.journals.is_empty() {
            self.session.flush()?;
        }
        let stack = growing.before.iter().flat_map(|before| &before.stack).chain(&growing.journals);
        Ok(Stack::open(&self.repo.chunks(), &stack.cloned().collect::<Vec<_>>())?)
    }

    /// Writes changes of one collection, which came after all that were written before.
    ///
    /// # Errors
    /// [`OpsError`] from the repository, or if there is no such collection.
    pub fn write(&mut self, collection: usize, changes: &ChangeBatch) -> Result<(), OpsError> {
        let reader = self.repo.chunks();
        let growing = self.collections.get_mut(collection);
        let growing = growing.ok_or_else(lost_collections)?;
        if growing.known.is_none() && self.options.arrival != Arrival::Settled {
            // What this session wrote before is read back only once it is stored.
            let stack = growing.before.iter().flat_map(|before| &before.stack);
            let stack: Vec<LayerRef> = stack.cloned().collect();
            let first = stack.iter().rposition(|layer| !layer.journal).map_or(0, |other| other + 1);
            growing.known = Some(Stack::open(&reader, &stack[first..])?);
        }
        let threshold = self.parent.as_ref().map_or(0, |parent| parent.content.end.as_millis().max(0) as u64);
        let known = growing.known.as_ref().filter(|stack| !stack.layers().is_empty());
        let sorted = sort::sort(changes, known, threshold, self.options.arrival, self.present)?;
        self.counts.lifted += sorted.lifted;
        self.counts.ahead += sorted.ahead;
        let mut writer = self.session.writer();
        let mut journal = JournalWriter::new(&self.context);
        for (index, time) in &sorted.order {
            let row = changes.row(*index);
            let change = sort::change_of(changes, *index);
            self.counts.changes += 1;
            self.counts.deletions += u64::from(changes.time(*index).is_deletion);
            if let Some(why) = crate::layer::is_beyond_limits(row.key, &change) {
                self.counts.refused += 1;
                if self.counts.problems.len() < MAX_NAMED {
                    let key = growing.found.codec.show(row.key);
                    self.counts.problems.push(format!("{}: {key}: {why}", growing.found.name));
                }
                continue;
            }
            self.newest = self.newest.max(time.millis);
            journal.push(&mut writer, row.key, *time, &change)?;
        }
        growing.journals.extend(journal.finish(&mut writer)?);
        writer.finish()?;
        Ok(())
    }

    /// Makes the snapshot. What was written is durable when this returns.
    ///
    /// # Errors
    /// [`OpsError`]; nothing is committed then.
    pub fn commit(mut self, end: &StreamEnd, progress: &dyn Progress) -> Result<StreamCommit, OpsError> {
        match self.assemble(end) {
            Ok(manifest) => self.finish(&manifest, progress),
            Err(error) => {
                self.give_up(progress);
                Err(error)
            }
        }
    }

    /// Gives up what was written; the next stream finds it again where it is the same.
    ///
    /// # Errors
    /// [`OpsError`] from the repository.
    pub fn abandon(self) -> Result<(), OpsError> {
        Ok(self.session.abandon()?)
    }

    /// The same after a failure, which is the one to be told.
    pub(in crate::ops) fn give_up(self, progress: &dyn Progress) {
        give_up(self.session, progress);
    }

    fn assemble(&mut self, stream_end: &StreamEnd) -> Result<Manifest, OpsError> {
        let parent = self.parent.as_ref();
        let before = parent.map_or(i64::MIN, |parent| parent.content.end.as_millis().saturating_add(1));
        let newest = i64::try_from(self.newest).unwrap_or(i64::MAX);
        let until = stream_end.until.unwrap_or_else(|| self.repo.clock().now());
        let end = Timestamp::from_millis(until.as_millis().max(newest).max(before));
        let order = self.repo.order_at(&self.source.source, end)?;
        let can_read = self.repo.role().has(Capability::ReadValues);
        let mut problems = stream_end.problems.clone();
        if self.counts.refused > 0 {
            problems.push(format!("{} changes could not be kept", self.counts.refused));
            problems.extend(self.counts.problems.iter().cloned());
        }
        // One that was on its way to be whole is whole when nothing is left.
        let is_on_its_way = |parent: &Snapshot| {
            parent.content.kind == Kind::Journal && parent.collections.iter().all(|found| found.journal.is_none())
        };
        let settled = parent.filter(|parent| !is_on_its_way(parent));
        if let Some(parent) = settled.filter(|parent| !parent.content.complete && !stream_end.does_parent_stand) {
            problems.push(format!("it goes on from snapshot {}, which is not complete", parent.id.short()));
        }
        if settled.is_none() && !stream_end.is_whole {
            problems.push("the stream has not yet brought what was there when it began".to_owned());
        }
        let mut collections = Vec::new();
        for growing in &mut self.collections {
            let rows: u64 = growing.journals.iter().map(|layer| layer.rows).sum();
            let bytes: u64 = growing.journals.iter().map(|layer| layer.bytes).sum();
            let own = std::mem::take(&mut growing.journals);
            let old = growing.before.as_ref();
            let stack = old.map(|old| old.stack.clone()).unwrap_or_default();
            let moments = old.and_then(|old| old.journal.clone());
            // A base is what was so at its snapshot's end.
            let from = || match (parent, old) {
                (Some(parent), Some(_)) if parent.content.complete => Some(parent.content.end),
                _ => stream_end.is_whole.then_some(end),
            };
            let journal = moments.or_else(|| from().map(Moments::from));
            let attributes = match (&growing.found.attributes, old) {
                (Json::Null, Some(old)) => old.attributes.clone(),
                (own, _) => own.clone(),
            };
            let stack = compact::grow(&self.context, self.repo, &self.session, stack, own, can_read)?;
            collections.push(Collection {
                name: growing.found.name.clone(),
                codec: growing.found.codec,
                records: old.map_or(0, |old| old.records).saturating_add(rows),
                bytes: old.map_or(0, |old| old.bytes).saturating_add(bytes),
                coverage: Vec::new(),
                attributes,
                sets: Vec::new(),
                stack,
                journal,
                counted: false,
                other: Carried::default(),
            });
        }
        // What the stream says nothing of stays as it was.
        let named: HashSet<&str> = self.collections.iter().map(|growing| growing.found.name.as_str()).collect();
        let others = parent.iter().filter(|_| !self.is_all).flat_map(|parent| &parent.collections);
        let others = others.filter(|other| !named.contains(other.name.as_str())).cloned();
        collections.extend(others.map(|other| Collection { counted: false, coverage: Vec::new(), ..other }));
        self.session.flush()?;
        let written = self.session.stats();
        let attributes = match (&self.attributes, parent) {
            (Json::Null, Some(parent)) => parent.content.attributes.clone(),
            (own, _) => own.clone(),
        };
        Ok(Manifest {
            features: vec![JOURNAL_FEATURE.to_owned()],
            tags: self.options.tags.clone(),
            ..Manifest::first(
                self.session.id(),
                Content {
                    start: parent.map_or(end, |parent| parent.content.end),
                    end,
                    order,
                    source: self.source.source.clone(),
                    scope: self.source.scope.clone(),
                    scope_note: self.source.scope_note.clone(),
                    asked: self.source.asked.clone(),
                    loss_accepted: false,
                    kind: Kind::Journal,
                    parent: parent.map(|parent| parent.id),
                    complete: problems.is_empty(),
                    problems,
                    attributes,
                    stats: Stats {
                        seen: self.counts.changes,
                        deleted: self.counts.deletions,
                        unreadable: self.counts.refused,
                        bytes_added: written.bytes_added,
                        chunks_new: written.chunks_new,
                        chunks_reused: written.chunks_reused,
                        duration_seconds: self.began.elapsed().as_secs_f64(),
                        peak_memory_bytes: super::usage::peak_memory_bytes(),
                        ..Stats::default()
                    },
                    program: PROGRAM.to_owned(),
                    copy_of: None,
                    other: Carried::default(),
                },
                collections,
            )
        })
    }

    fn finish(self, manifest: &Manifest, progress: &dyn Progress) -> Result<StreamCommit, OpsError> {
        let (repo, parent, supersede) = (self.repo, self.parent, self.options.supersede);
        let bytes_added = self.session.stats().bytes_added;
        self.session.commit_and_note(manifest, &Layers)?;
        if let Some(parent) = parent.filter(|parent| supersede && is_superseded(parent, manifest, repo)) {
            match repo.forget(&parent.id) {
                Ok(()) | Err(RepoError::NoSnapshot { .. }) => {}
                Err(error) => {
                    let words =
                        format!("snapshot {} stays although a newer one shows all of it: {error}", parent.id.short());
                    progress.warn(WarningKind::SnapshotStays, parent.id.short(), words);
                }
            }
        }
        let (id, end) = (manifest.id, manifest.content.end);
        let is_exact = manifest.collections.iter().all(|found| found.journal.is_some());
        let problems = manifest.content.problems.clone();
        Ok(StreamCommit { id, end, is_exact, counts: self.counts, problems, bytes_added })
    }
}

fn lost_collections() -> OpsError {
    OpsError::Failed("a stream lost its collections".to_owned())
}

/// Whether all that a snapshot of a stream shows can be seen in the one after it, and nobody asked for it to stay.
fn is_superseded(parent: &Snapshot, next: &Manifest, repo: &Repository) -> bool {
    let shows = |old: &Collection| {
        let new = next.collections.iter().find(|new| new.name == old.name);
        let moments = |it: &Collection| it.journal.clone();
        // One that shows no other moment than its end is seen at that end, or was never whole.
        let reaches = |new: &Collection| match (moments(old), moments(new)) {
            (Some(old), Some(new)) => new.from <= old.from && new.kept == old.kept,
            (None, Some(new)) => new.from <= parent.content.end || !parent.content.complete,
            (None, None) => !parent.content.complete,
            (Some(_), None) => false,
        };
        new.is_some_and(reaches)
    };
    // A moment is seen where all collections reach back to it: one that began since must reach to the first that is seen here.
    let is_known = |new: &Collection| parent.collections.iter().any(|old| old.name == new.name);
    let never_whole = !parent.content.complete && parent.collections.iter().all(|old| old.journal.is_none());
    let first =
        parent.collections.iter().map(|old| old.journal.as_ref().map_or(parent.content.end, |it| it.from)).max();
    let hides_nothing = |new: &Collection| {
        let from = new.journal.as_ref().map(|it| it.from);
        never_whole || from.zip(first).is_some_and(|(from, first)| from <= first)
    };
    parent.content.kind == Kind::Journal
        && parent.tags.is_empty()
        && !parent.is_protected_at(repo.clock().now())
        && repo.role().has(Capability::Prune)
        && parent.collections.iter().all(shows)
        && next.collections.iter().filter(|new| !is_known(new)).all(hides_nothing)
}

/// The snapshot to go on from; the session relies on all of it.
fn parent_of(
    repo: &Repository,
    session: &WriteSession,
    source: &StreamSource,
    options: &StreamOptions,
) -> Result<Option<Snapshot>, OpsError> {
    if !options.join {
        return Ok(None);
    }
    let found = if let Some(parent) = options.parent {
        repo.snapshot(&parent)?
    } else {
        let is_its = |it: &Snapshot| it.source().is_same(&source.source) && it.content.scope == source.scope;
        repo.last(By::Source(&source.source), Some(&source.scope), &is_its)?
    };
    let Some(parent) = found else {
        return match options.parent {
            Some(parent) => Err(RepoError::NoSnapshot { name: parent.to_string() }.into()),
            None => Ok(None),
        };
    };
    parent.may_be_changed()?;
    let reader = repo.chunks();
    for layer in parent.collections.iter().flat_map(|collection| &collection.stack) {
        let walk = |visit: &mut dyn FnMut(ChunkId) -> Result<(), RepoError>| -> Result<(), LayerError> {
            Layer::open(&reader, layer)?.for_each_chunk(&mut |id| Ok(visit(id)?))
        };
        if let Some(chunk) = session.rely_on_layer(&layer.id, walk)? {
            return Err(OpsError::Failed(format!(
                "a stream cannot go on from snapshot {}: its chunk {chunk} is not there",
                parent.id.short()
            )));
        }
    }
    Ok(Some(parent))
}
