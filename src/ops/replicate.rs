//! `replicate`: a repository copied byte for byte to another place, without a password.

use super::{OpsError, Phase, PhaseKind, Progress, limit::Throttle};
use crate::{
    record::{Clock, Timestamp},
    repo::{
        RepoError, Storage,
        replica::{self, Follow, ReplicaOptions, Replicated, Stage, Watch},
    },
    report::WarningKind,
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How to replicate.
#[derive(Debug, Clone, Default)]
pub struct ReplicateOptions {
    /// Objects on their way at once.
    pub workers: usize,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
    /// Delete from the replica what the source has been without for so long.
    pub follow_deletions: Option<Duration>,
    /// The folder that keeps since when the source is without what.
    pub state_dir: PathBuf,
    /// Bytes per second.
    pub rate_limit: Option<u64>,
}

/// Copies to the target what it lacks of the source.
pub fn replicate(
    source: &Storage,
    target: &Storage,
    options: &ReplicateOptions,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<Replicated, OpsError> {
    let state = state_file(&options.state_dir, source, target);
    let follow = options.follow_deletions.map(|age| {
        let missed = recall(&state).unwrap_or_else(|error| {
            let words = format!("{}: {error}; ages are counted from now on", state.display());
            progress.warn(WarningKind::Note, state.display().to_string(), words);
            BTreeMap::new()
        });
        Follow { age, now: clock.now(), missed }
    });
    let follows = follow.is_some();
    let replica = ReplicaOptions { workers: options.workers, dry_run: options.dry_run, follow };
    let watch = Told { progress, throttle: Mutex::new(Throttle::new(options.rate_limit)) };
    let done = replica::replicate(source, target, &replica, &watch).map_err(|error| match error {
        RepoError::Interrupted => OpsError::Interrupted,
        error => error.into(),
    })?;
    if follows
        && !options.dry_run
        && let Err(error) = remember(&state, &done.missed)
    {
        let words = format!("{}: {error}; what the source no longer has will seem to be missed anew", state.display());
        progress.warn(WarningKind::Note, state.display().to_string(), words);
    }
    Ok(done)
}

/// Hands on how far it is, at no more than a rate.
struct Told<'a> {
    progress: &'a dyn Progress,
    throttle: Mutex<Throttle>,
}

impl Watch for Told<'_> {
    fn begins(&self, stage: Stage, objects: u64, bytes: u64) {
        let kind = match stage {
            Stage::Packs | Stage::Parity => PhaseKind::CopyingPacks,
            Stage::Index => PhaseKind::CopyingIndex,
            Stage::Snapshots => PhaseKind::CopyingSnapshots,
        };
        self.progress.phase(&Phase::new(kind, objects, bytes));
    }

    fn copied(&self, objects: u64, bytes: u64) {
        self.progress.count(objects, bytes);
        // Whoever waits for the lock waits as long as it is due.
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.spend_unless(bytes, &|| self.progress.cancelled());
    }

    fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }
}

/// One for each pair of places.
fn state_file(dir: &Path, source: &Storage, target: &Storage) -> PathBuf {
    let pair = format!("{}\n{}", source.location(), target.location());
    dir.join("replicas").join(format!("{}.json", &blake3::hash(pair.as_bytes()).to_hex()[..32]))
}

fn recall(file: &Path) -> io::Result<BTreeMap<String, Timestamp>> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn remember(file: &Path, missed: &BTreeMap<String, Timestamp>) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let aside = file.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&aside, serde_json::to_vec(missed)?)?;
    fs::rename(&aside, file)
}
