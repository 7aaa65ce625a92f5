//! `backup`: reads a source, joins it with the parent snapshot, stores what differs, commits.

mod assemble;
mod chain;
mod changes;
mod checkpoint;
pub(in crate::ops) mod counts;
mod coverage;
mod dry;
mod ground;
mod guard;
mod jobs;
mod joined;
mod joining;
mod loss;
mod notes;
mod outcomes;
pub(in crate::ops) mod parent;
#[cfg(feature = "postgresql")]
mod part;
mod ranges;
mod resume;
pub(crate) mod rolling;
mod run;
mod segments;
mod sets;
pub(in crate::ops) mod stack;
mod summing;
mod sums;
mod threads;
mod workers;

pub use chain::{Opener, backup_chain};
#[cfg(feature = "postgresql")]
pub(in crate::ops) use part::read_part;

use super::{
    OpsError, Progress,
    given_up::give_up,
    hearing::hearing,
    own_place,
    progress::tell_news,
    prune::Layers,
    select::{is_ahead, scope::scope_hash as hash_of},
    tag::{check_name, check_tags},
    usage::peak_memory_bytes,
};
use crate::{
    connector::{ParentView, SessionOptions, Source, url::without_password},
    record::Timestamp,
    repo::{
        Manifest, Repository, SnapshotId, WriteOptions, WriteSession,
        carried::Carried,
        manifest::{Content, Kind, PROGRAM, SourceId, Stats},
        pack::TARGET_PACK_BYTES,
        session::SessionTiming,
    },
    report::{ErrorKind, Remedy, WarningKind},
};
use loss::Verdict;
use serde::Serialize;
use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Which kind of backup was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ask {
    /// Incremental where the source has a change filter, else full.
    #[default]
    Default,
    /// Read every record.
    Full,
    /// Read what changed since the newest full.
    Differential,
}

/// What to join with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ParentChoice {
    /// The newest snapshot of the same identity and scope.
    #[default]
    Auto,
    /// Nothing: a base.
    None,
    /// The snapshot whose id begins with these digits.
    Id(String),
}

/// Whether a backup carries on behind what one that broke off had finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resume {
    /// If it is of the same source, selection, kind, parent and options, and began within a day.
    #[default]
    Auto,
    /// Whenever it began; without one there is no backup.
    Always,
    /// Everything is read.
    Never,
}

/// In which incremental runs deletions are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sweep {
    /// In each.
    #[default]
    Always,
    /// In one of this many.
    Every(u32),
    /// In each, in one of this many parts of the key space.
    Rolling(u32),
    /// In none: what is gone stays in the snapshots.
    Never,
}

impl std::str::FromStr for Sweep {
    type Err = String;

    /// `always`, `never`, `every=7`, `rolling=64`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "always" => Ok(Self::Always),
            None if text == "never" => Ok(Self::Never),
            Some(("every", count)) => {
                let count = count.parse().ok().filter(|count| *count > 0);
                count.map(Self::Every).ok_or_else(|| format!("`{text}`: every=N needs a number above 0"))
            }
            Some(("rolling", count)) => {
                let count = count.parse().ok().filter(|count| (1..=rolling::MAX_PARTS).contains(count));
                let most = rolling::MAX_PARTS;
                let wrong = || format!("`{text}`: rolling=N needs a number from 1 to {most}");
                count.map(Self::Rolling).ok_or_else(wrong)
            }
            _ => Err(format!("`{text}` is none of always, every=N, rolling=N, never")),
        }
    }
}

/// How to back up.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Which kind was asked for.
    pub ask: Ask,
    /// Write a new base even where a delta would do.
    pub new_base: bool,
    /// Free words.
    pub tags: Vec<String>,
    /// The host to record instead of this one.
    pub host: Option<String>,
    /// The source's name instead of the connector's own.
    pub source_name: Option<String>,
    /// The source as the person named it.
    pub url: String,
    /// What to join with.
    pub parent: ParentChoice,
    /// Read and join, but store nothing.
    pub dry_run: bool,
    /// Worker threads.
    pub parallel: usize,
    /// zstd level, 0 for none.
    pub compression: i32,
    /// Decompress and compare every chunk before it is sealed.
    pub check: bool,
    /// Commit nothing if nothing changed.
    pub skip_if_unchanged: bool,
    /// Bytes per second from the source.
    pub read_limit: Option<u64>,
    /// Bytes per second to storage.
    pub write_limit: Option<u64>,
    /// Where temporary files go.
    pub temp_dir: Option<PathBuf>,
    /// When incremental runs look for deletions.
    pub sweep: Sweep,
    /// What is missing in the parent is missing here, too: the source tells what changed, and can be asked for nothing else.
    pub stands_on_parent: bool,
    /// Deletions that are believed without more ado, in percent of a group of keys
    /// ([`crate::connector::KeyGroups`]).
    pub max_deleted_percent: u8,
    /// What a source without evidence of its own may lose at once, in percent of its records; 100 for all of them.
    pub max_lost_percent: u8,
    /// Believe deletions that look like a loss.
    pub accept_deletions: bool,
    /// Whether what a backup that broke off had finished is taken over.
    pub resume: Resume,
    /// How often what is finished is noted, so that it can be taken over.
    pub checkpoint_after: Duration,
    /// One in so many backups in a row reads also what the source knows to be as it was; 1 for each.
    pub read_all_every: u32,
    /// The protocol's intervals; only tests have reason to give them.
    pub timing: Option<SessionTiming>,
}

impl BackupOptions {
    /// What a source is asked for.
    pub(in crate::ops) fn session_options(&self) -> SessionOptions {
        SessionOptions {
            parallel: self.parallel.max(1),
            read_limit: self.read_limit,
            temp_dir: self.temp_dir.clone(),
            ..SessionOptions::default()
        }
    }
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            ask: Ask::Default,
            new_base: false,
            tags: Vec::new(),
            host: None,
            source_name: None,
            url: String::new(),
            parent: ParentChoice::Auto,
            dry_run: false,
            // One more than there are cores: a worker also waits for pages of the source and for the uploader.
            parallel: std::thread::available_parallelism().map_or(1, usize::from).saturating_add(1).min(8),
            // In columns, level 1 already stores less than level 3 does in rows, for half the CPU (docs/measured.md).
            compression: 1,
            check: true,
            skip_if_unchanged: false,
            read_limit: None,
            write_limit: None,
            temp_dir: None,
            sweep: Sweep::Always,
            stands_on_parent: false,
            max_deleted_percent: 20,
            max_lost_percent: 50,
            accept_deletions: false,
            resume: Resume::Auto,
            checkpoint_after: Duration::from_mins(1),
            read_all_every: 30,
            timing: None,
        }
    }
}

/// What a backup did.
#[derive(Debug, Clone, Serialize)]
pub struct BackupOutcome {
    /// The snapshot; absent after a dry run, or when nothing changed and that was to be skipped.
    pub id: Option<SnapshotId>,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Whether nothing had changed and no snapshot was made for that reason.
    pub skipped_unchanged: bool,
    /// What it was joined with.
    pub parent: Option<SnapshotId>,
    /// The backup that broke off whose finished ranges were taken over.
    pub resumed: Option<SnapshotId>,
    /// What was read.
    pub kind: Kind,
    /// When reading began.
    pub start: Timestamp,
    /// When reading ended.
    pub end: Timestamp,
    /// Whether every record is in it, as it was at one time.
    pub complete: bool,
    /// Whether all that keeps it from being complete is that records changed while they were read.
    pub only_changed: bool,
    /// Records that were gone before they could be read: no reason for it not to be complete.
    pub vanished: u64,
    /// What is missing, in words.
    pub problems: Vec<String>,
    /// Records that did not come and are kept as they were, because such a loss is not believed without being accepted.
    pub unconfirmed: u64,
    /// Live records in the snapshot.
    pub records: u64,
    /// Plaintext bytes of those.
    pub bytes: u64,
    /// Collections in the snapshot.
    pub collections: usize,
    /// Counts and costs.
    pub stats: Stats,
}

/// Backs up `source`.
pub fn backup(
    repo: &Repository,
    source: &dyn Source,
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<BackupOutcome, OpsError> {
    let began = Instant::now();
    check_tags(&options.tags)?;
    check_name("the host", options.host.as_deref().unwrap_or_default())?;
    check_name("the source's name", options.source_name.as_deref().unwrap_or_default())?;
    if options.source_name.as_deref() == Some("") {
        return Err(OpsError::Usage("the source's name is empty: leave it out, or give one".to_owned()));
    }
    let abilities = source.abilities();
    if options.ask == Ask::Differential && !abilities.change_filter {
        return Err(OpsError::refused_unless(
            Remedy::ReadFully,
            ErrorKind::Unsupported,
            "a differential backup needs a source that can deliver just what changed since a time; this one is always \
             read fully",
        ));
    }
    let id = source_id(repo, source, options);
    let scope = source.scope();
    let scope_hash = hash_of(&scope.canonical);
    let how = SessionOptions {
        leave_out: own_place(repo),
        repository: Some(repo.storage().location().to_owned()),
        ..options.session_options()
    };
    let session = hearing(source, progress, || source.begin(&how))?;
    let writing = if options.dry_run {
        None
    } else {
        let write = WriteOptions {
            purpose: "backup".to_owned(),
            compression: options.compression,
            check: options.check,
            write_limit: options.write_limit,
        };
        let timing = options.timing.clone().unwrap_or_else(|| timing_of(options.parallel));
        Some(repo.begin_write_timed(&write, &timing)?)
    };
    if let Some(writing) = &writing {
        tell_news(repo, writing.warnings(), progress);
    }
    let mut notes =
        notes::Notes::of(repo, session.as_ref(), (&id, &scope_hash), writing.as_ref().map(WriteSession::id));
    // Ends are by the source's clock: where that is ahead of this host's, its last snapshot is still its newest.
    let by_both_clocks = session.start().max(repo.clock().now());
    let not_before = end_before_the_clock_went_back(repo, &id, session.start())?;
    let attempt = (|| {
        if let Some(writing) = writing.as_ref().filter(|_| options.parent == ParentChoice::None) {
            // Who wants nothing of what was there before may not trust it.
            writing.be_careful();
        }
        let mut chooser =
            parent::Chooser::new(repo, writing.as_ref(), &id, &scope_hash, options, progress, by_both_clocks);
        if abilities.reads_once {
            chooser.be_careful();
        }
        if !chooser.knows_source()?
            && let Some(alike) = chooser.looks_like()?
        {
            progress.warning(&alike);
        }
        let mut run = run::Run {
            repo,
            session: session.as_ref(),
            writing: writing.as_ref(),
            abilities,
            source: &id,
            scope: &scope_hash,
            options,
            progress,
            resume: if options.dry_run { Resume::Never } else { options.resume },
            has_resumed: false,
            not_before: not_before.unwrap_or_default(),
            notes: notes.as_mut(),
        };
        let (parent, mut read) = loop {
            let parent = chooser.choose()?;
            if let (Some(parent), Some(evidence)) = (&parent, session.evidence()) {
                evidence.meet_parent(&ParentView {
                    snapshot: &parent.id.short(),
                    attributes: &parent.content.attributes,
                    chosen: options.source_name.is_some() || matches!(options.parent, ParentChoice::Id(_)),
                    accept_deletions: options.accept_deletions,
                    deletions_as_of: coverage::all_deletions_as_of(parent),
                })?;
            }
            run.has_resumed = false;
            let read = run::read_all(&mut run, parent.as_ref());
            match read {
                Ok(read) if chooser.stands(parent.as_ref())? => break (parent, read),
                Err(error) if run.has_resumed && run::is_contradiction(&error) && options.resume == Resume::Auto => {
                    let words = format!("what was taken over does not fit, so that everything is read: {error}");
                    progress.warn(WarningKind::NotResumed, "", words);
                    run.resume = Resume::Never;
                }
                Ok(_) if !abilities.reads_once => run.resume = Resume::Never,
                Ok(_) => {
                    return Err(OpsError::Failed(
                        "the repository turned out to be damaged on the way, and this source can be read only once"
                            .to_owned(),
                    ));
                }
                Err(error) if !abilities.reads_once => chooser.refuse(parent.as_ref(), error)?,
                Err(error) => return Err(error),
            }
        };
        let ended = match read.session.take() {
            Some(ended) => ended,
            None => session.finish()?,
        };
        if let Some(writing) = &writing {
            writing.flush()?;
        }
        Ok::<_, OpsError>((parent, read, ended))
    })();
    let (parent, mut read, ended) = match attempt {
        Ok(done) => done,
        Err(error) => {
            if let Some(writing) = writing {
                give_up(writing, progress);
            }
            return Err(if progress.cancelled() { OpsError::Interrupted } else { error });
        }
    };

    if read.known.belied > 0 {
        let words = format!(
            "{} records are not as the parent has them though the pages that hold them look as they did: it, and backups before it \
             up to the last one that read everything, may lack such changes",
            read.known.belied
        );
        progress.warn(WarningKind::NotesBelied, "", words);
    }
    for note in once(ended.notes) {
        progress.warn(WarningKind::Note, "", note);
    }
    let mut problems = std::mem::take(&mut read.problems);
    let inherited = parent.as_ref().filter(|_| options.stands_on_parent).map(chain::inherited).unwrap_or_default();
    let only_changed = !problems.is_empty() && !read.lacks && ended.missing.is_empty() && inherited.is_empty();
    problems.extend(once(ended.missing));
    problems.extend(inherited);
    let start = read.start;
    let end_time = read.end;
    if let Some(before) = not_before {
        progress.warn(WarningKind::ClockBackwards, "", format!(
            "the clock went backwards since the newest snapshot, which ends at {before}: this one, which began at {}, is dated \
             {end_time}, so that it counts as the newer",
            session.start()
        ));
    } else if let Some(parent) = &parent
        && end_time < parent.content.end
    {
        progress.warn(WarningKind::ClockBackwards, parent.id.short(), format!(
            "this snapshot ends at {end_time}, before its parent {} at {}: the clock went backwards; it is kept all the same",
            parent.id.short(),
            parent.content.end
        ));
    }
    let written = writing.as_ref().map(crate::repo::WriteSession::stats).unwrap_or_default();
    let mut stats = read.stats.clone();
    stats.vanished = ended.vanished;
    stats.bytes_added = if options.dry_run { read.dry_bytes } else { written.bytes_added };
    stats.chunks_new = if options.dry_run { read.dry_chunks_new } else { written.chunks_new };
    stats.chunks_reused = if options.dry_run { read.dry_chunks_reused } else { written.chunks_reused };
    stats.duration_seconds = began.elapsed().as_secs_f64();
    stats.peak_memory_bytes = peak_memory_bytes();

    let mut outcome = BackupOutcome {
        id: None,
        dry_run: options.dry_run,
        skipped_unchanged: false,
        parent: parent.as_ref().map(|parent| parent.id),
        resumed: read.resumed,
        kind: read.kind,
        start,
        end: end_time,
        complete: problems.is_empty(),
        only_changed,
        vanished: stats.vanished,
        problems: problems.clone(),
        unconfirmed: read.unconfirmed,
        records: read.collections.iter().map(|c| c.records).sum(),
        bytes: read.collections.iter().map(|c| c.bytes).sum(),
        collections: read.collections.len(),
        stats: stats.clone(),
    };
    let verdict = loss::judge(
        repo,
        session.as_ref(),
        (&id, &scope_hash),
        parent.as_ref(),
        options,
        (outcome.records, outcome.bytes, stats.deleted),
        abilities.reads_once,
    )?;
    match &verdict {
        Verdict::Fine { .. } => {}
        Verdict::Empty(words) => progress.warn(WarningKind::Note, "", words.clone()),
        Verdict::Accepted(words) => progress.warn(WarningKind::LossAccepted, "", format!("{words}; that is accepted")),
        Verdict::Refused(words) if options.dry_run => {
            progress.warn(WarningKind::Problem, "", format!("{words}: this backup would be refused"));
        }
        Verdict::Refused(words) => {
            if let Some(writing) = writing {
                writing.abandon()?;
            }
            return Err(loss::refusal(words));
        }
    }
    let Some(writing) = writing else { return Ok(outcome) };
    let attributes = session.attributes();
    if options.skip_if_unchanged
        && outcome.complete
        // What was taken over is older than this run, and no later one may take it over again.
        && read.resumed.is_none()
        && parent.as_ref().is_some_and(|parent| stack::is_same(parent, &attributes, &read.collections))
    {
        writing.abandon()?;
        if let (Some(notes), Some(parent)) = (notes, outcome.parent) {
            notes.keep(session.as_ref(), parent);
        }
        outcome.skipped_unchanged = true;
        return Ok(outcome);
    }
    if progress.cancelled() {
        writing.abandon()?;
        return Err(OpsError::Interrupted);
    }
    let id_of_snapshot = writing.id();
    let order = repo.order_at(&id, end_time)?;
    let manifest = Manifest {
        tags: options.tags.clone(),
        ..Manifest::first(
            id_of_snapshot,
            Content {
                start,
                end: end_time,
                order,
                source: id,
                scope: scope_hash,
                scope_note: scope.note,
                asked: scope.asked,
                loss_accepted: matches!(verdict, Verdict::Accepted(_) | Verdict::Fine { remembered: true }),
                kind: read.kind,
                parent: outcome.parent,
                complete: outcome.complete,
                problems,
                attributes,
                stats,
                program: PROGRAM.to_owned(),
                copy_of: None,
                other: Carried::default(),
            },
            read.collections,
        )
    };
    if let Some(warning) = writing.missed_beats() {
        progress.warning(&warning);
    }
    writing.commit_and_note(&manifest, &Layers)?;
    if let Some(notes) = notes.filter(|_| outcome.complete) {
        notes.keep(session.as_ref(), id_of_snapshot);
    }
    // A help on a full disk, and no promise.
    let _ = repo.storage().keep_reserve();
    if let Some(warning) = repo.storage().weaker() {
        progress.warning(&warning);
    }
    outcome.id = Some(id_of_snapshot);
    outcome.stats.duration_seconds = began.elapsed().as_secs_f64();
    outcome.stats.peak_memory_bytes = peak_memory_bytes();
    Ok(outcome)
}

/// Each text once: a source that was read a second time may have said it twice.
fn once(texts: Vec<String>) -> impl Iterator<Item = String> {
    let mut said = HashSet::new();
    texts.into_iter().filter(move |text| said.insert(text.clone()))
}

/// What open packs may take together: each worker has two of them open.
const OPEN_PACKS_BYTES: usize = 64 * 1024 * 1024;

/// The usual intervals, and packs that so many workers may have open.
pub(in crate::ops) fn timing_of(workers: usize) -> SessionTiming {
    let pack_bytes = (OPEN_PACKS_BYTES / (2 * workers.max(1))).clamp(4 * 1024 * 1024, TARGET_PACK_BYTES);
    SessionTiming { pack_bytes, ..SessionTiming::default() }
}

/// The newest end of this source's snapshots, if it lies behind the time at which one begins that is taken now, by no more than clocks
/// may differ: by its end the later one would be the older.
fn end_before_the_clock_went_back(
    repo: &Repository,
    source: &SourceId,
    start: Timestamp,
) -> Result<Option<Timestamp>, OpsError> {
    let now = repo.clock().now();
    if is_ahead(start, now) || is_ahead(now, start) {
        return Ok(None);
    }
    Ok(repo.last_end_behind(source, start, |end| !is_ahead(end, now))?)
}

fn source_id(repo: &Repository, source: &dyn Source, options: &BackupOptions) -> SourceId {
    let identity = source.identity();
    let host = options.host.clone().unwrap_or_else(|| repo.host().to_owned());
    SourceId {
        connector: identity.connector.to_owned(),
        name: options.source_name.clone().unwrap_or_else(|| identity.name_on(&host)),
        host,
        url: without_password(&options.url),
        other: Carried::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_named() {
        assert_eq!("always".parse(), Ok(Sweep::Always));
        assert_eq!("every=7".parse(), Ok(Sweep::Every(7)));
        assert_eq!("never".parse(), Ok(Sweep::Never));
        assert_eq!("rolling=64".parse(), Ok(Sweep::Rolling(64)));
        for bad in ["", "every", "every=0", "rolling", "rolling=0", "rolling=65"] {
            assert!(bad.parse::<Sweep>().is_err(), "{bad}");
        }
    }
}
