//! `prune`: gives back the space of what no snapshot needs. Options, then a plan, then its execution, which follows
//! `format-spec/protocol.md` (section 4) and may be cut short anywhere: the next prune carries on.

mod classes;
mod locks;
mod plan;
mod tier;
mod walk;

pub(in crate::ops) use locks::held_without;
pub use locks::{ExtendLocks, HeldPacks, LocksExtended};
pub use plan::{PrunePlan, Sum};
pub use tier::{TierOptions, Tiered};
pub use walk::Layers;

use crate::layer::LayerError;

use super::{OpsError, Phase, PhaseKind, Progress, crew::heed, progress::tell_news};
use crate::{
    ops::{
        squash::{self, SquashOptions, SquashOutcome, ThinVersions},
        thaw::cold_packs,
        usage::peak_memory_bytes,
    },
    repo::{
        Capability, ObjectName, Repository,
        pruner::{GRACE, MarkState, Pruner, PrunerOptions, Survey},
        repository::Lost,
        session::SessionTiming,
    },
    report::{ErrorKind, Trouble, TroubleKind, WarningKind},
};
use classes::Classes;
use serde::Serialize;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// Copying more than this waits until what is dead is gone.
const MUCH: u64 = 4 * 1024 * 1024;

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// The share of a pack, in percent, that may be dead before what is needed of it is copied out.
    pub max_unused: f64,
    /// The share of superseded rows, in percent, above which layers are squashed into one.
    pub max_superseded: f64,
    /// What becomes of old versions of streams; none is dropped without.
    pub thin_versions: Vec<ThinVersions>,
    /// Streams begin so many milliseconds ago: no older version is kept.
    pub drop_versions: Option<u64>,
    /// Copy small packs together.
    pub repack_small: bool,
    /// Copy at most so many bytes.
    pub max_repack_bytes: Option<u64>,
    /// How long a mark waits in any case; by default not at all where the storage promises enough, else
    /// [`GRACE`].
    pub grace: Option<Duration>,
    /// Wait until everything that was marked is gone.
    pub wait: bool,
    /// Renew the locks of what is needed afterwards.
    pub extend_locks: Option<ExtendLocks>,
    /// Move what only old snapshots need to another class of storage afterwards.
    pub tier: Option<TierOptions>,
    /// Plan only.
    pub dry_run: bool,
    /// Bytes per second to storage.
    pub write_limit: Option<u64>,
    /// The protocol's intervals; only tests have reason to change them.
    pub timing: SessionTiming,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            max_unused: 5.0,
            max_superseded: squash::MAX_SUPERSEDED * 100.0,
            thin_versions: Vec::new(),
            drop_versions: None,
            repack_small: false,
            max_repack_bytes: None,
            grace: None,
            wait: false,
            extend_locks: None,
            tier: None,
            dry_run: false,
            write_limit: None,
            timing: SessionTiming::default(),
        }
    }
}

/// What a prune did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PruneOutcome {
    /// Whether it was a dry run: only `plan`, `held` and `locks` say anything then.
    pub dry_run: bool,
    /// What was squashed before anything else.
    pub squashed: SquashOutcome,
    /// What was planned, after squashing.
    pub plan: PrunePlan,
    /// Chunks copied to new packs, and their stored bytes.
    pub chunks_copied: u64,
    /// Stored bytes of those chunks.
    pub bytes_copied: u64,
    /// Packs marked by this run.
    pub packs_marked: u64,
    /// Packs deleted, whoever marked them, and their bytes.
    pub deleted: Sum,
    /// Index objects rewritten.
    pub index_objects_deleted: u64,
    /// Leases that were over and are tidied away.
    pub leases_removed: u64,
    /// Revisions of forgotten snapshots.
    pub revisions_removed: u64,
    /// Checkpoints that nobody resumed.
    pub checkpoints_removed: u64,
    /// What dead writers of this machine left half written.
    pub half_written_removed: u64,
    /// Packs that go and that storage holds all the same, as long as their locks last.
    pub held: HeldPacks,
    /// Objects that were deleted and that storage keeps as older versions.
    pub kept_as_versions: u64,
    /// Locks that were renewed, or in a dry run would be.
    pub locks: Option<LocksExtended>,
    /// Packs that were moved to another class of storage, or in a dry run would be.
    pub tiered: Option<Tiered>,
    /// Groups of parity that went because nothing is lost with them.
    pub groups_removed: u64,
    /// Packs that no group of parity protects, where packs are to have parity.
    pub unprotected: u64,
    /// The marks that are left, and which lease each waits for.
    pub waiting: Vec<MarkState>,
    /// What could not be read or deleted, and why. What it is about stays, and the next prune tries again.
    pub failures: Vec<Trouble>,
    /// Whether there was no room to copy what should have been.
    #[serde(skip)]
    pub is_full: bool,
    /// Wall time.
    pub duration_seconds: f64,
    /// The process's peak memory.
    pub peak_memory_bytes: u64,
}

/// Prunes.
pub fn prune(repo: &Repository, options: &PruneOptions, progress: &dyn Progress) -> Result<PruneOutcome, OpsError> {
    let began = Instant::now();
    if !options.dry_run {
        repo.need(Capability::Prune)?;
    }
    repo.settle_promises()?;
    let grace = grace(repo, options, progress);
    let spending = (!options.dry_run).then(|| repo.storage().spending());
    let versions_before = repo.storage().traffic().kept_as_versions;
    let mut classes = None;
    let mut outcome = if options.dry_run {
        let _lease = repo.begin_read("prune, planning only")?;
        progress.phase(&Phase::new(PhaseKind::LookingForNeeded, 0, 0));
        let survey = repo.survey(&walk::Layers, grace)?;
        let mut plan = plan::plan(&survey, options, &archived(repo, options, &mut classes)?);
        plan.squash =
            squash::plan_thinning(repo, options.max_superseded / 100.0, &options.thin_versions, options.drop_versions)?;
        let held = locks::held(repo, &gone(&plan), progress)?;
        let mut planned = PruneOutcome { dry_run: true, plan, held, ..PruneOutcome::default() };
        keep_up(repo, &survey, options, classes.take(), &mut planned, progress)?;
        planned
    } else {
        execute(repo, options, grace, &mut classes, progress)?
    };
    if spending.is_some() {
        drop(spending);
        // A help, and no promise.
        let _ = repo.storage().keep_reserve();
    }
    outcome.kept_as_versions = repo.storage().traffic().kept_as_versions - versions_before;
    if !options.dry_run && (options.tier.is_some() || options.extend_locks.is_some()) {
        // What is needed is another question once packs were copied.
        keep_up(repo, &repo.survey(&walk::Layers, grace)?, options, classes.take(), &mut outcome, progress)?;
    }
    if !options.dry_run {
        let standing = repo.parity_standing()?;
        outcome.unprotected = standing.percent.map_or(0, |_| standing.unprotected.len() as u64);
    }
    outcome.duration_seconds = began.elapsed().as_secs_f64();
    outcome.peak_memory_bytes = peak_memory_bytes();
    Ok(outcome)
}

/// Moves what only old snapshots need, and renews locks, if that is asked for.
fn keep_up(
    repo: &Repository,
    survey: &Survey,
    options: &PruneOptions,
    classes: Option<Classes>,
    outcome: &mut PruneOutcome,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    if let Some(how) = &options.tier {
        let (tiered, failures) = tier::tier(repo, survey, how, classes, options.dry_run, progress)?;
        outcome.tiered = Some(tiered);
        outcome.failures.extend(failures);
    }
    // What was moved is another version, which has no lock yet.
    if let Some(how) = options.extend_locks {
        let (locks, failures) = locks::extend(repo, survey, how, options.dry_run, progress)?;
        outcome.locks = Some(locks);
        outcome.failures.extend(failures);
    }
    Ok(())
}

/// The packs that lie in an archive, as far as a listing tells: nothing can be copied out of them. Keeps all classes if they are asked
/// for later.
fn archived(
    repo: &Repository,
    options: &PruneOptions,
    known: &mut Option<Classes>,
) -> Result<HashSet<ObjectName>, OpsError> {
    *known = options.tier.as_ref().and_then(|_| Classes::list(repo.storage()).ok());
    match known {
        Some(classes) => Ok(classes.cold()),
        None => Ok(cold_packs(repo.storage())?.unwrap_or_default()),
    }
}

/// The packs that go, as they are or once what is needed of them is copied.
fn gone(plan: &PrunePlan) -> HashSet<ObjectName> {
    plan.going.union(&plan.repacking).copied().collect()
}

/// How long marks wait in any case, and a word where the storage promises little.
fn grace(repo: &Repository, options: &PruneOptions, progress: &dyn Progress) -> Duration {
    let promises = repo.storage().promises();
    if promises.conditional_create && promises.prompt_listing {
        return options.grace.unwrap_or_default();
    }
    progress.warn(
        WarningKind::WeakStorage,
        repo.storage().location(),
        "this storage lacks conditional create or lists late: the proof that nothing needed is deleted is weaker here. \
         Dead leases are not fenced without a person, and marks wait for the grace period",
    );
    options.grace.unwrap_or(GRACE)
}

fn execute(
    repo: &Repository,
    options: &PruneOptions,
    grace: Duration,
    classes: &mut Option<Classes>,
    progress: &dyn Progress,
) -> Result<PruneOutcome, OpsError> {
    // Before everything else, so that what it supersedes is dead in the plan.
    let (squashed, failure) = squash(repo, options, progress)?;
    let pruning = PrunerOptions { walk: Arc::new(walk::Layers), grace, write_limit: options.write_limit };
    let pruner = repo.begin_prune(&pruning, &options.timing)?;
    tell_news(repo, pruner.warnings(), progress);
    let worked = steps(repo, &pruner, options, classes, progress);
    if let Some(warning) = pruner.missed_beats() {
        progress.warning(&warning);
    }
    let ended = pruner.end();
    let mut outcome = worked?;
    match ended {
        // Said already: it is why something was not copied.
        Err(_) if outcome.is_full => {}
        ended => ended?,
    }
    outcome.failures.extend(failure);
    // What others changed meanwhile the next prune squashes: nothing is wrong with it.
    outcome.failures.extend(squashed.wrong.iter().cloned());
    let withdrawn = if outcome.plan.vanished.is_empty() { Vec::new() } else { repo.lost(Lost::Withdrawn)? };
    for id in &outcome.plan.vanished {
        let (kind, words) = match withdrawn.iter().find(|(other, _)| other == id) {
            Some((_, words)) => (TroubleKind::Withdrawn, words.clone()),
            None => (TroubleKind::Vanished, format!("snapshot {} has vanished, although nobody forgot it", id.short())),
        };
        outcome.failures.push(Trouble::new(kind, format!("snapshots/{id}"), format!("{words}; what it needs stays")));
    }
    outcome.squashed = squashed;
    Ok(outcome)
}

/// Squashes. Layers that cannot be read stay as they are, which keeps nobody from pruning.
fn squash(
    repo: &Repository,
    options: &PruneOptions,
    progress: &dyn Progress,
) -> Result<(SquashOutcome, Option<Trouble>), OpsError> {
    let plan =
        squash::plan_thinning(repo, options.max_superseded / 100.0, &options.thin_versions, options.drop_versions)?;
    let mut how = SquashOptions { write_limit: options.write_limit, ..SquashOptions::default() };
    if options.timing.alone {
        (how.parallel, how.timing) = (1, Some(options.timing.clone()));
    }
    match squash::execute(repo, &plan, &how, progress) {
        Ok(squashed) => Ok((squashed, None)),
        // It stays as it is until somebody thaws it, which nobody need do for this.
        Err(error) if error.kind() == ErrorKind::Archived => {
            progress.warn(WarningKind::Archived, error.object(), format!("nothing was squashed: {error}"));
            Ok((SquashOutcome::default(), None))
        }
        Err(error) if matches!(error, OpsError::Layer(_)) && !error.is_interruption() || is_full(&error) => {
            let words = format!("nothing was squashed: {error}");
            Ok((SquashOutcome::default(), Some(error.trouble().told(words))))
        }
        Err(error) => Err(error),
    }
}

/// The steps in the order of the protocol.
fn steps(
    repo: &Repository,
    pruner: &Pruner,
    options: &PruneOptions,
    classes: &mut Option<Classes>,
    progress: &dyn Progress,
) -> Result<PruneOutcome, OpsError> {
    let mut outcome = PruneOutcome::default();
    progress.phase(&Phase::new(PhaseKind::LookingForNeeded, 0, 0));
    outcome.plan = plan::plan(&pruner.survey()?, options, &archived(repo, options, classes)?);
    outcome.held = locks::held(repo, &gone(&outcome.plan), progress)?;
    heed(progress)?;

    // What goes for certain makes room for what is copied.
    let mut wanted = outcome.plan.going.clone();
    if !wanted.is_empty() && outcome.plan.bytes_to_upload > MUCH {
        outcome.packs_marked = pruner.mark(&std::mem::take(&mut wanted))?;
        delete(pruner, &mut outcome, progress)?;
        heed(progress)?;
    }
    if repack(pruner, &mut outcome, progress)? {
        wanted.extend(outcome.plan.repacking.iter().copied());
    }
    heed(progress)?;
    outcome.packs_marked += pruner.mark(&wanted)?;
    heed(progress)?;

    progress.phase(&Phase::new(PhaseKind::Deleting, 0, 0));
    loop {
        let done = delete(pruner, &mut outcome, progress)?;
        outcome.waiting = pruner.marks()?;
        let drained = outcome.waiting.iter().any(MarkState::is_drained);
        // What is drained and still there could not be deleted, or came up meanwhile: once more, if that helps.
        let goes_on = drained && done;
        if outcome.waiting.is_empty() || !options.wait && !goes_on {
            break;
        }
        if !goes_on {
            wait(progress)?;
        }
    }

    let tidied = pruner.tidy()?;
    outcome.leases_removed = tidied.leases;
    outcome.revisions_removed = tidied.revisions;
    outcome.checkpoints_removed = tidied.checkpoints;
    outcome.half_written_removed = tidied.half_written;
    outcome.failures.extend(tidied.failures);
    Ok(outcome)
}

/// Copies what is needed out of the packs that are to go; gives whether they may. On a full disk they stay, and so does
/// everything in them.
fn repack(pruner: &Pruner, outcome: &mut PruneOutcome, progress: &dyn Progress) -> Result<bool, OpsError> {
    let bytes = outcome.plan.bytes_to_download;
    progress.phase(&Phase::new(PhaseKind::Repacking, 0, bytes));
    let mut copied = |bytes: u64| {
        progress.count(0, bytes);
        !progress.cancelled()
    };
    match pruner.repack(&outcome.plan.repacking, &mut copied).map_err(OpsError::from) {
        Ok((chunks, bytes, unreadable)) => {
            outcome.chunks_copied += chunks;
            outcome.bytes_copied += bytes;
            outcome.failures.extend(unreadable);
            Ok(true)
        }
        Err(error) if is_full(&error) => {
            outcome.is_full = true;
            let words = format!("what is needed in partly dead packs was not copied: {error}");
            outcome.failures.push(error.trouble().told(words));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn is_full(error: &OpsError) -> bool {
    matches!(error, OpsError::Repo(error) if error.is_full())
        || matches!(error, OpsError::Layer(LayerError::Repo(error)) if error.is_full())
}

/// Carries out what is drained; gives whether anything went.
fn delete(pruner: &Pruner, outcome: &mut PruneOutcome, progress: &dyn Progress) -> Result<bool, OpsError> {
    let deleted = pruner.delete_drained(&mut |_| !progress.cancelled())?;
    outcome.deleted.packs += deleted.packs;
    outcome.deleted.bytes += deleted.bytes;
    outcome.index_objects_deleted += deleted.index_objects;
    outcome.chunks_copied += deleted.copied_chunks;
    outcome.bytes_copied += deleted.copied_bytes;
    outcome.groups_removed += deleted.groups;
    let refused = !deleted.failures.is_empty();
    for failure in deleted.failures {
        if !outcome.failures.contains(&failure) {
            outcome.failures.push(failure);
        }
    }
    progress.count(0, deleted.bytes);
    Ok(deleted.marks > 0 && !refused)
}

fn wait(progress: &dyn Progress) -> Result<(), OpsError> {
    crate::record::pause(LOOK_EVERY, || progress.cancelled());
    heed(progress)
}
