//! Which snapshot a backup is joined with.

use super::{Ask, BackupOptions, ParentChoice};
use crate::{
    layer::{Layer, LayerError, Stack},
    ops::{OpsError, Progress, select},
    record::{KeyRange, Timestamp},
    repo::{
        By, ChunkId, RepoError, Repository, Snapshot, SnapshotId, WriteSession,
        manifest::{Kind, LayerRef, SourceId},
    },
    report::{ErrorKind, Warning, WarningKind},
};
use std::{cell::OnceCell, collections::HashSet};

/// Joins that may fail on damage before a base is made: each costs a reading of the source.
const MAX_REFUSED: usize = 2;

/// Chooses a parent; and another one when that turns out to be unreadable.
pub(super) struct Chooser<'a> {
    repo: &'a Repository,
    writing: Option<&'a WriteSession>,
    source: &'a SourceId,
    scope: &'a str,
    options: &'a BackupOptions,
    progress: &'a dyn Progress,
    /// What lies behind it lies in the future.
    now: Timestamp,
    /// Whether a candidate's keys are read before it is chosen: once damage was met, or if the source can be read only once.
    careful: bool,
    refused: HashSet<SnapshotId>,
    rejoined: usize,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(
        repo: &'a Repository,
        writing: Option<&'a WriteSession>,
        source: &'a SourceId,
        scope: &'a str,
        options: &'a BackupOptions,
        progress: &'a dyn Progress,
        now: Timestamp,
    ) -> Self {
        let (careful, refused, rejoined) = (false, HashSet::new(), 0);
        Self { repo, writing, source, scope, options, progress, now, careful, refused, rejoined }
    }

    /// Reads the keys of each candidate before it is chosen.
    pub(super) fn be_careful(&mut self) {
        self.careful = true;
    }

    /// The newest snapshot of the same identity and scope all of whose chunks are present; or the one asked for.
    pub(super) fn choose(&mut self) -> Result<Option<Snapshot>, OpsError> {
        match &self.options.parent {
            ParentChoice::None => Ok(None),
            ParentChoice::Id(prefix) => self.by_prefix(prefix).map(Some),
            ParentChoice::Auto if self.rejoined >= MAX_REFUSED => Ok(None),
            ParentChoice::Auto => {
                let heads = select::newest_first(self.repo, By::Source(self.source), Some(self.scope), self.now);
                for head in heads {
                    let head = head?;
                    // A differential run reads what changed since everything was read.
                    let is_kind = self.options.ask != Ask::Differential || head.kind == Kind::Full;
                    // What a stream committed is not counted, and was not compared with the source.
                    if !is_kind || head.kind == Kind::Journal || self.refused.contains(&head.id) {
                        continue;
                    }
                    let Some(candidate) = self.repo.snapshot(&head.id)?.filter(|it| self.is_same_source(it)) else {
                        continue;
                    };
                    match self.unfit(&candidate)? {
                        None => return Ok(Some(candidate)),
                        Some(why) => self.pass_over(&candidate, &why),
                    }
                }
                Ok(None)
            }
        }
    }

    fn is_same_source(&self, snapshot: &Snapshot) -> bool {
        snapshot.source().is_same(self.source) && snapshot.content.scope == self.scope
    }

    /// Whether there is any snapshot of the source, or the caller said what it is to be compared with.
    pub(super) fn knows_source(&self) -> Result<bool, OpsError> {
        let any = || self.repo.heads_before(By::Source(self.source), None, None, 1);
        Ok(self.options.parent != ParentChoice::Auto || !any()?.is_empty())
    }

    /// A source under another name that looks like this one: the same place on another host, or the same URL, which leads
    /// elsewhere now.
    pub(super) fn looks_like(&self) -> Result<Option<Warning>, OpsError> {
        let own = self.source;
        let is_alike = |its: &SourceId| {
            let same_place = its.local_name() == own.local_name() && its.host != own.host;
            let same_url = !own.url.is_empty() && its.url == own.url && its.host == own.host;
            its.connector == own.connector && (same_place || same_url)
        };
        let mut all = Vec::new();
        for by in [Some(By::Place(own)), Some(By::Url(own)).filter(|_| !own.url.is_empty())].into_iter().flatten() {
            let heads = select::newest_first(self.repo, by, None, self.now);
            all.extend(select::newest(heads, &|it| is_alike(it.source()))?);
        }
        let alike = all.into_iter().max_by_key(|it| (!select::is_ahead(it.content.end, self.now), it.position()));
        Ok(alike.map(|snapshot| {
            let its = snapshot.source();
            let words = format!(
                "{}:{} is a new source and everything of it is read; it looks like {}:{}, whose newest snapshot is {} of {}",
                own.connector,
                own.name,
                its.connector,
                its.name,
                snapshot.id.short(),
                snapshot.content.end
            );
            Warning::new(WarningKind::SourceLooksLike, snapshot.id.short(), words)
        }))
    }

    /// What to do after joining with `parent` failed: nothing if it was damage, or what a newer program wrote, that another
    /// parent, or none, gets around.
    pub(super) fn refuse(&mut self, parent: Option<&Snapshot>, error: OpsError) -> Result<(), OpsError> {
        let Some(parent) = parent.filter(|_| self.options.parent == ParentChoice::Auto && is_passed_over(&error))
        else {
            return Err(error);
        };
        if let OpsError::Layer(LayerError::Damaged { id, .. }) = &error {
            self.repo.distrust(id)?;
        }
        self.pass_over(parent, &error.to_string());
        self.rejoined += 1;
        self.careful = true;
        if let Some(writing) = self.writing {
            // Nothing of the join that failed is used, so what it relied on does not matter.
            let _ = writing.distrust_unreadable();
        }
        Ok(())
    }

    /// Whether a join that worked stands. It does not if a chunk was taken to be there already in a pack that was found
    /// damaged meanwhile, or if the parent has nothing but such a pack for one of its chunks.
    pub(super) fn stands(&mut self, parent: Option<&Snapshot>) -> Result<bool, OpsError> {
        let Some(writing) = self.writing else { return Ok(true) };
        let distrusted = writing.distrust_unreadable();
        for pack in &distrusted.packs {
            let words = format!("pack {pack} is damaged and is not relied on");
            self.progress.warn(WarningKind::PackDamaged, pack.to_string(), words);
        }
        if distrusted.packs.is_empty() {
            return Ok(true);
        }
        self.careful = true;
        match parent {
            _ if distrusted.reused => Ok(false),
            Some(parent) => Ok(self.unfit(parent)?.is_none()),
            None => Ok(true),
        }
    }

    fn pass_over(&mut self, candidate: &Snapshot, why: &str) {
        self.refused.insert(candidate.id);
        let id = candidate.id.short();
        let words = format!(
            "snapshot {id} is no parent for this backup, which stores again what it cannot find elsewhere: {why}"
        );
        self.progress.warn(WarningKind::ParentPassedOver, id, words);
    }

    fn by_prefix(&self, prefix: &str) -> Result<Snapshot, OpsError> {
        let heads = self.repo.heads(By::All, None)?;
        let mut found = heads.iter().filter(|head| head.id.to_string().starts_with(prefix));
        let parent = match (found.next(), found.next()) {
            (Some(head), None) => self.repo.snapshot(&head.id)?,
            _ => None,
        };
        let Some(parent) = parent else {
            let words = format!("the parent {prefix} names no snapshot, or more than one");
            return Err(OpsError::refused(ErrorKind::Ambiguous, words));
        };
        if parent.source().connector != self.source.connector {
            return Err(OpsError::Usage(format!(
                "the parent {prefix} is a snapshot of a {} source, this one is {}",
                parent.source().connector,
                self.source.connector
            )));
        }
        if parent.content.kind == Kind::Journal {
            return Err(OpsError::Usage(format!(
                "the parent {prefix} was committed by a stream: what it holds is not counted, and a backup cannot be joined with it"
            )));
        }
        if parent.content.scope != self.scope {
            return Err(OpsError::Usage(format!(
                "the parent {prefix} covers another part of the source ({}); records outside of it would look deleted",
                if parent.content.scope_note.is_empty() { "everything" } else { &parent.content.scope_note }
            )));
        }
        match self.unfit(&parent)? {
            None => Ok(parent),
            Some(why) => Err(OpsError::Failed(format!("the parent {prefix} cannot be used: {why}"))),
        }
    }

    /// Why a snapshot cannot be the parent. Makes the writer rely on every chunk of its stacks.
    fn unfit(&self, snapshot: &Snapshot) -> Result<Option<String>, OpsError> {
        if let Err(newer) = snapshot.may_be_changed() {
            return Ok(Some(newer.to_string()));
        }
        let found = self.absent_chunk(snapshot).and_then(|absent| match absent {
            Some(chunk) => self.why_absent(&chunk).map(Some),
            None if self.careful => read_keys(self.repo, snapshot).map(|()| None),
            None => Ok(None),
        });
        match found {
            Err(error) if is_passed_over(&error) => {
                if let OpsError::Layer(LayerError::Damaged { id, .. }) = &error {
                    self.repo.distrust(id)?;
                }
                if let Some(writing) = self.writing {
                    let _ = writing.distrust_unreadable();
                }
                Ok(Some(error.to_string()))
            }
            found => found,
        }
    }

    fn why_absent(&self, chunk: &ChunkId) -> Result<String, OpsError> {
        let packs: Vec<String> = self.repo.chunk_places(chunk)?.iter().map(|place| place.name.to_string()).collect();
        let why = match packs.as_slice() {
            [] => "is in no pack".to_owned(),
            packs if self.repo.holds(chunk)? && !self.are_damaged(chunk)? => {
                format!("was in pack {}, which is gone or about to go", packs.join(" and "))
            }
            packs => format!("is in pack {}, which is damaged or gone", packs.join(" and ")),
        };
        Ok(format!("its chunk {chunk} {why}"))
    }

    /// Whether every pack that holds a chunk is remembered as damaged.
    fn are_damaged(&self, chunk: &ChunkId) -> Result<bool, OpsError> {
        let damaged = self.repo.damaged_packs()?;
        Ok(self.repo.chunk_places(chunk)?.iter().all(|place| damaged.contains(&place.name)))
    }

    /// The first chunk of a snapshot's stacks that is absent.
    fn absent_chunk(&self, snapshot: &Snapshot) -> Result<Option<ChunkId>, OpsError> {
        let reader = self.repo.chunks();
        let mut seen = HashSet::new();
        let stacks = snapshot.collections.iter().flat_map(|collection| &collection.stack);
        let layers: Vec<LayerRef> = stacks.filter(|layer| seen.insert(layer.id)).cloned().collect();
        let opened: OnceCell<Option<Stack>> = OnceCell::new();
        for (at, layer) in layers.iter().enumerate() {
            let walk = |visit: &mut dyn FnMut(ChunkId) -> Result<(), RepoError>| -> Result<(), LayerError> {
                // A host that knows nothing of one layer mostly knows nothing of the others: they are opened together. What is
                // wrong with one of them is said when its turn comes.
                let opened = opened.get_or_init(|| Stack::open(&reader, &layers).ok());
                match opened.as_ref().and_then(|stack| stack.layers().get(at)) {
                    Some(layer) => layer.for_each_chunk(&mut |id| Ok(visit(id)?)),
                    None => Layer::open(&reader, layer)?.for_each_chunk(&mut |id| Ok(visit(id)?)),
                }
            };
            let absent = match self.writing {
                Some(writing) => writing.rely_on_layer(&layer.id, walk)?,
                None => first_missing(self.repo, walk)?,
            };
            if absent.is_some() {
                return Ok(absent);
            }
        }
        Ok(None)
    }
}

/// The first chunk of a walk that the repository does not hold, as far as is known.
fn first_missing(
    repo: &Repository,
    walk: impl FnOnce(&mut dyn FnMut(ChunkId) -> Result<(), RepoError>) -> Result<(), LayerError>,
) -> Result<Option<ChunkId>, LayerError> {
    let mut missing = None;
    let walked = walk(&mut |id| {
        if repo.holds(&id)? {
            return Ok(());
        }
        missing = Some(id);
        Err(RepoError::Interrupted)
    });
    if missing.is_none() { walked.map(|()| None) } else { Ok(missing) }
}

/// Whether a parent cannot be read, and will not be by this program the next time either.
fn is_passed_over(error: &OpsError) -> bool {
    error.kind().is_damage() || error.kind() == ErrorKind::NewerFormat
}

/// Reads every list and every keys chunk of a snapshot's stacks.
fn read_keys(repo: &Repository, snapshot: &Snapshot) -> Result<(), OpsError> {
    let reader = repo.chunks_of_storage();
    for collection in &snapshot.collections {
        let stack = Stack::open(&reader, &collection.stack)?;
        let mut cursor = stack.cursor(&KeyRange::all(), Timestamp::default(), true)?;
        while cursor.advance()? {}
    }
    Ok(())
}
