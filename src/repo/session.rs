//! Writing under a lease: sessions, their chunk writers, and the commit. The rules are in `format-spec/protocol.md`.

mod left;
mod options;
mod pending;
mod presence;
mod relay;
mod rely;
mod shared;
mod spare;
mod squash;
mod takeover;
mod upload;
mod writer;

pub use options::{SessionTiming, WriteOptions, WriteStats};
pub use relay::{Finder, Relay};
pub use squash::Restacked;
pub use takeover::{ChunkWalk, TakeOver, TakeProgress};
pub use writer::SessionWriter;

use super::{
    Checkpoint, ChunkId, ChunkKind, ChunkPlain, ChunkWriter, LayerWalk, Manifest, ObjectName, RepoError, SnapshotId,
    catalog::{KnownPacks, Revision, RevisionKind},
    checkpoint::checkpoint_path,
    faults::{self, Rule},
    inner::{Inner, create, lock},
    keys::Party,
    lease::{Lease, PRUNE, Ticker},
    names,
    object::{self, ObjectKind},
};
use crate::repo::error::HIDES;
use crate::report::{Warning, WarningKind};
use left::Left;
use pending::Pending;
use presence::SessionPacks;
use rely::{RELY_BATCH, Relying};
use shared::Shared;
use spare::Spare;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};
use upload::Uploader;

/// The longest JSON of a checkpoint.
const MAX_CHECKPOINT_BYTES: usize = 64 * 1024 * 1024;

/// What only who may forget and prune does.
const TAKES_AWAY: [&str; 2] = [PRUNE, "squash"];

/// Packs that a session relied on and relies on no longer, because they are damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distrusted {
    /// Which.
    pub packs: Vec<ObjectName>,
    /// Whether chunks were not stored because one of them held them: what was written has to be written again.
    pub reused: bool,
}

/// A running writer: a lease with its heartbeats, and the chunks it relies on. Dropping it without a commit abandons
/// it: full packs stay, with their index, so that the next run finds them.
pub struct WriteSession {
    shared: Arc<Shared>,
    uploader: Uploader,
    ticker: Option<Ticker>,
    ended: bool,
    warnings: Vec<Warning>,
}

impl WriteSession {
    /// Takes the lease, lists `trash/`, *then* index, `packs/`, snapshots, and names the marks it honours at once.
    pub(super) fn begin(inner: &Arc<Inner>, options: &WriteOptions, timing: &SessionTiming) -> Result<Self, RepoError> {
        let weak = inner.settle_promises()?;
        let settings = inner.begin_settings();
        let party = if TAKES_AWAY.contains(&options.purpose.as_str()) { Party::Operator } else { Party::Writer };
        let lease = Lease::begin(inner, &options.purpose, party)?;
        // What cannot be removed is in nobody's way.
        let _ = inner.storage.sweep();
        let begun = first_listings(inner).and_then(|begun| Ok((begun, inner.parity_of(settings)?)));
        let (presence, warnings, share) = match begun {
            Ok(((mut presence, mut warnings), share)) => {
                warnings.extend(weak);
                if inner.is_blocked("settings/") {
                    let words = format!("settings {HIDES}: what is written now gets no parity");
                    warnings.push(Warning::new(WarningKind::ObjectHides, "settings", words));
                }
                presence.distrust(&inner.bad_packs.all());
                (presence, warnings, share)
            }
            Err(error) => {
                // Nothing was put but the lease itself.
                let _ = lease.end("abandoned");
                return Err(error);
            }
        };
        let shared = Arc::new(Shared {
            inner: Arc::clone(inner),
            lease,
            options: options.clone(),
            timing: timing.clone(),
            presence: Mutex::new(presence),
            parity: share,
            pending: Pending::default(),
            left: Left::default(),
            spare: Spare::default(),
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            missed: Mutex::default(),
            careful: AtomicBool::new(!inner.bad_packs.all().is_empty()),
            unsettled: AtomicBool::new(false),
            writers: AtomicUsize::new(0),
            checkpoints: AtomicU64::new(0),
            chunks_new: AtomicU64::new(0),
            chunks_reused: AtomicU64::new(0),
            bytes_added: AtomicU64::new(0),
        });
        let uploader = Uploader::start(&shared)?;
        let mut session = Self { shared, uploader, ticker: None, ended: false, warnings };
        let honoured = lock(&session.shared.presence).honoured();
        if !honoured.is_empty() && !session.shared.lease.beat(&mut || honoured.clone())? {
            return Err(RepoError::Internal(format!("the lease {} is written by someone else", session.id())));
        }
        if !timing.alone {
            let beating = Arc::clone(&session.shared);
            // A lease whose heartbeats fail may be fenced; the commit then fails whole and says so.
            session.ticker = Some(Ticker::start(timing.heartbeat, move || beating.beat_or_note())?);
        }
        Ok(session)
    }

    /// The name of the snapshot that this session may commit.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.shared.lease.id()
    }

    /// What its first listings met.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// A chunk writer for one thread. Its open packs are finished by `finish`, or left for [`Self::flush`] if they are short.
    #[must_use]
    pub fn writer(&self) -> SessionWriter {
        SessionWriter::new(&self.shared, self.uploader.jobs.clone())
    }

    /// The heartbeats that could not be sent so far, as a warning.
    #[must_use]
    pub fn missed_beats(&self) -> Option<Warning> {
        let missed = lock(&self.shared.missed);
        let lease = self.id().short();
        let words = format!(
            "{} heartbeats of this run (lease {lease}) could not be sent, so that others may take it for dead: {}",
            missed.number, missed.last
        );
        (missed.number > 0).then(|| Warning::new(WarningKind::HeartbeatsFailed, lease, words))
    }

    /// Sends a heartbeat now: what the session does by itself at every interval.
    pub fn beat_now(&self) -> Result<(), RepoError> {
        self.shared.beat()
    }

    /// Declares that the snapshot will reference these chunks (the parent's stack). Gives those that are absent: a parent
    /// with an absent chunk is no parent.
    pub fn rely_on(&self, chunks: &mut dyn Iterator<Item = ChunkId>) -> Result<Vec<ChunkId>, RepoError> {
        let mut absent = Vec::new();
        loop {
            let batch: Vec<ChunkId> = chunks.take(RELY_BATCH).collect();
            if batch.is_empty() {
                return Ok(absent);
            }
            self.shared.inner.catalog.find_packs(&batch, &mut |found| {
                let relied = lock(&self.shared.presence).rely(found.packs);
                if !relied && !self.shared.pending.has(found.id) {
                    absent.push(*found.id);
                }
            })?;
        }
    }

    /// Declares that the snapshot will reference all of a layer (the parent's). The packs that are remembered to hold it are
    /// judged by what was listed; only if they are not known, or one of them is absent, `walk` gives every chunk. Gives the
    /// first one that is absent: a parent with an absent chunk is no parent.
    pub fn rely_on_layer<E: From<RepoError>>(
        &self,
        layer: &ChunkId,
        walk: impl FnOnce(&mut dyn FnMut(ChunkId) -> Result<(), RepoError>) -> Result<(), E>,
    ) -> Result<Option<ChunkId>, E> {
        let catalog = &self.shared.inner.catalog;
        if let Some(packs) = catalog.layer_packs(layer)?
            && lock(&self.shared.presence).rely_on_all(&packs)
        {
            return Ok(None);
        }
        let mut relying = Relying::on(&self.shared);
        let walked = walk(&mut |id| relying.take(id));
        if relying.absent.is_none() {
            walked?;
            relying.settle()?;
        }
        // A memory that saves a walk the next time, and no more.
        let _ = relying.note(layer);
        Ok(relying.absent)
    }

    /// Counts every pack in which a chunk was found unreadable as absent from here on, and tells of those that this session
    /// relied on until now. From the first such pack on, every chunk is read before it is found to be there already.
    #[must_use]
    pub fn distrust_unreadable(&self) -> Distrusted {
        let bad = self.shared.inner.bad_packs.all();
        if !bad.is_empty() {
            self.shared.careful.store(true, Ordering::Relaxed);
        }
        let mut presence = lock(&self.shared.presence);
        let relied = presence.distrust(&bad);
        presence.release(&relied);
        Distrusted {
            reused: relied.iter().any(|(number, _)| presence.is_reused(*number)),
            packs: relied.into_iter().map(|(_, name)| name).collect(),
        }
    }

    /// Whether a present pack holds the chunk, which the session then relies on.
    pub(super) fn has(&self, id: &ChunkId) -> Result<bool, RepoError> {
        self.shared.reuse(id)
    }

    /// From here on every chunk that is there already is read before it is relied on.
    pub fn be_careful(&self) {
        self.shared.careful.store(true, Ordering::Relaxed);
    }

    /// Waits until every pack that writers have finished is stored and indexed: [`Self::stats`] is complete then.
    pub fn flush(&self) -> Result<(), RepoError> {
        self.close_left();
        self.uploader.drain();
        self.shared.check()
    }

    /// Hands over what writers left open.
    fn close_left(&self) {
        let closed = self.shared.left.close(|builder| self.shared.store(&self.uploader.jobs, builder));
        self.shared.note_failure(closed);
    }

    /// Waits for everything for the last time.
    fn finish_uploads(&self) {
        self.close_left();
        self.uploader.finish();
    }

    /// Whether none of these chunks waits for its pack or its index object.
    #[must_use]
    pub fn are_durable(&self, chunks: &[ChunkId]) -> bool {
        !chunks.iter().any(|id| self.shared.pending.has(id))
    }

    /// Notes what is finished: lease and number are filled in here. Everything that it names must be durable.
    pub fn create_checkpoint(&self, mut checkpoint: Checkpoint) -> Result<(), RepoError> {
        self.shared.check()?;
        checkpoint.lease = self.id();
        // As with heartbeats: a lost answer leaves a gap.
        checkpoint.number = self.shared.checkpoints.fetch_add(1, Ordering::SeqCst);
        let path = checkpoint_path(&checkpoint.lease, checkpoint.number);
        let body = create::json(&checkpoint)?;
        if body.len() > MAX_CHECKPOINT_BYTES {
            return Err(RepoError::Internal(format!("{path} would have {} bytes", body.len())));
        }
        let shared = &self.shared;
        let sealed = object::make(&shared.inner.keyring, shared.lease.signer(), ObjectKind::Checkpoint, &path, &body)?;
        if self.shared.inner.create_or_same(&path, &sealed)? {
            return Ok(());
        }
        Err(RepoError::Internal(format!("{path} is written by someone else")))
    }

    /// What was written so far, by all writers of this session.
    #[must_use]
    pub fn stats(&self) -> WriteStats {
        WriteStats {
            chunks_new: self.shared.chunks_new.load(Ordering::Relaxed),
            chunks_reused: self.shared.chunks_reused.load(Ordering::Relaxed),
            bytes_added: self.shared.bytes_added.load(Ordering::Relaxed),
        }
    }

    /// Commits: all packs must be finished. Writes the index, then creates the snapshot's revision 0 conditionally, then
    /// ends the lease. `manifest.id` must be this session's id.
    ///
    /// # Errors
    /// [`RepoError::Fenced`] if the name is taken; nothing is committed then.
    pub fn commit(mut self, manifest: &Manifest) -> Result<(), RepoError> {
        let id = self.id();
        if manifest.id != id || manifest.revision != 0 {
            return Err(RepoError::Internal(format!(
                "only revision 0 of snapshot {id} can be committed by its session"
            )));
        }
        if self.shared.writers.load(Ordering::SeqCst) != 0 {
            return Err(RepoError::Internal(format!("snapshot {id} has chunk writers that are not finished")));
        }
        self.shared.check()?;
        let mut tables = self.writer();
        let body = manifest.to_json(&mut |piece| Ok(tables.put(ChunkKind::Table, &ChunkPlain::single(piece))?.id))?;
        tables.finish()?;
        self.close_left();
        if !faults::is_broken(Rule::IndexBeforeCommit) {
            self.uploader.finish();
        }
        self.shared.check()?;
        self.check_relied()?;
        let path = names::revision_path(&id, 0);
        let shared = &self.shared;
        let sealed = object::make(&shared.inner.keyring, shared.lease.signer(), ObjectKind::Snapshot, &path, &body)?;
        self.create_commit(&path, &sealed)?;
        self.end("committed");
        let revision = Revision { snapshot: id, revision: 0, kind: RevisionKind::Manifest, sealed };
        self.shared.inner.learn(revision);
        Ok(())
    }

    /// [`Self::commit`], after which this host's catalog knows which chunks and packs hold the snapshot's layers, and which keys
    /// small ones may hold: who plans a prune, has this snapshot as parent or looks for one record need not read for it.
    pub fn commit_and_note(self, manifest: &Manifest, walk: &dyn LayerWalk) -> Result<(), RepoError> {
        let shared = Arc::clone(&self.shared);
        self.commit(manifest)?;
        let layers = manifest.collections.iter().flat_map(|collection| &collection.stack);
        // It is committed: what cannot be noted is found again by whoever needs it.
        let _ = shared.note_layers(layers, walk);
        Ok(())
    }

    /// The conditional create, and what its lost answer means.
    fn create_commit(&self, path: &str, sealed: &[u8]) -> Result<(), RepoError> {
        let (inner, id) = (&self.shared.inner, self.id());
        match inner.create_or_same(path, sealed) {
            Ok(true) => Ok(()),
            Ok(false) => Err(RepoError::Fenced { id }),
            Err(error) => {
                // The put may yet arrive: only the void in its place makes sure that it cannot.
                self.shared.unsettled.store(true, Ordering::SeqCst);
                let fenced = inner.fence_as(&id, self.shared.lease.signer());
                match fenced {
                    Ok(true) => self.shared.unsettled.store(false, Ordering::SeqCst),
                    Ok(false) if object::read(&inner.storage, path).is_ok_and(|there| there == sealed) => {
                        self.shared.unsettled.store(false, Ordering::SeqCst);
                        return Ok(());
                    }
                    _ => {}
                }
                Err(error)
            }
        }
    }

    /// Every pack of others that this session relies on must still be there. The rules see to that; this finds a store
    /// that lost one, or a prune that broke them, before a snapshot with a hole is made. A service that keeps only a part of what
    /// it is given, or nothing, shows in its listing.
    fn check_relied(&self) -> Result<(), RepoError> {
        let storage = &self.shared.inner.storage;
        let (relied, own) = {
            let presence = lock(&self.shared.presence);
            (presence.relied_on_others(), if storage.is_far() { presence.own() } else { HashMap::new() })
        };
        if relied.is_empty() && own.is_empty() || faults::is_broken(Rule::LastLook) {
            return Ok(());
        }
        let mut unlisted: HashSet<ObjectName> = relied.into_iter().chain(own.keys().copied()).collect();
        let mut short = None;
        self.shared.inner.for_each_listed_pack(&mut |name, bytes| {
            unlisted.remove(&name);
            if let Some(len) = own.get(&name).filter(|len| **len != bytes) {
                short = Some((name, bytes, *len));
            }
        })?;
        if let Some((name, bytes, len)) = short {
            let reason = format!("it has {bytes} of the {len} bytes of {}", super::pack::path(&name));
            return Err(RepoError::Faithless { location: storage.location().to_owned(), reason });
        }
        for name in unlisted {
            let path = super::pack::path(&name);
            if storage.len(&path)?.is_none() {
                return Err(if own.contains_key(&name) {
                    storage.lost_what_it_took(&path)
                } else {
                    RepoError::Missing { object: path }
                });
            }
        }
        Ok(())
    }

    /// Ends without a commit: finished packs get their index, the lease ends.
    pub fn abandon(mut self) -> Result<(), RepoError> {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.finish_uploads();
        let failed = lock(&self.shared.failure).first.take();
        self.end("abandoned");
        failed.map_or(Ok(()), Err)
    }

    /// Ends what was never to commit: a prune.
    pub(super) fn close(mut self) -> Result<(), RepoError> {
        self.finish_uploads();
        let outcome = self.shared.check();
        self.end("done");
        outcome
    }

    /// Stops the threads and, unless a put is still without an answer, ends the lease.
    fn end(&mut self, outcome: &str) {
        self.ended = true;
        self.shared.closed.store(true, Ordering::SeqCst);
        self.ticker = None;
        self.uploader.stop();
        // What cannot be remembered is found again by whoever reads it.
        let _ = self.shared.inner.remember_damage();
        if !self.shared.unsettled.load(Ordering::SeqCst) {
            // Without an end the lease is fenced in time: nothing is lost but that time.
            let _ = self.shared.lease.end(outcome);
        }
    }
}

impl Drop for WriteSession {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.closed.store(true, Ordering::SeqCst);
            self.finish_uploads();
            self.end("abandoned");
        }
    }
}

fn first_listings(inner: &Inner) -> Result<(SessionPacks, Vec<Warning>), RepoError> {
    // No rule asks for an order of these.
    let damage = inner.begin_damage();
    let marks = inner.all_marks(&HashSet::new(), false)?;
    let mut warnings = Vec::new();
    inner.refresh_index(&mut warnings)?;
    let described = KnownPacks::of(&inner.catalog)?;
    let mut present = Vec::new();
    inner.for_each_listed_pack(&mut |name, bytes| present.extend(described.number(&name, bytes)))?;
    if faults::is_broken(Rule::PackMustBeListed) {
        present.extend(described.numbers());
    }
    drop(described);
    inner.refresh_snapshots(&mut warnings)?;
    let mut presence = SessionPacks::new(marks.read, inner.damaged_packs_of(damage)?);
    if marks.unreadable.is_empty() || faults::is_broken(Rule::UnreadableMarkHidesAll) {
        for number in present {
            presence.is_listed(number);
        }
    }
    for (id, error) in marks.unreadable {
        // It may name any pack that was there when it was made, and no other: so nothing is present that this session has not
        // made itself.
        let words =
            format!("{error}; what it names is not known, so everything is stored anew as long as it lies there");
        warnings.push(Warning::new(WarningKind::ObjectUnreadable, format!("trash/{id}"), words));
        if !id.is_empty() {
            presence.keeps_away_from(id);
        }
    }
    Ok((presence, warnings))
}

#[cfg(test)]
mod tests;
