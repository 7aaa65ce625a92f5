//! Trying a place before it is trusted, and what the findings mean.

use super::OpsError;
use crate::{
    record::Clock,
    repo::{
        Storage, Unlock, keys,
        repository::promises,
        storage::{Trial, TrialOptions},
    },
};
use serde::Serialize;

/// Services refuse requests whose time is off by more than 15 minutes; this is where people should hear of it.
const MAX_CLOCK_MILLIS: u64 = 60_000;

/// What a place was found to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StorageCheck {
    /// The place.
    pub location: String,
    /// The region that it lies in, if the service says so.
    pub region: Option<String>,
    /// Whether a repository lies there.
    pub has_repository: bool,
    /// What trying it came to.
    #[serde(flatten)]
    pub trial: Trial,
    /// Whether a repository can be kept there.
    pub usable: bool,
    /// What is different there than on a local disk.
    pub consequences: Vec<Consequence>,
}

/// What is different at a place than on a local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consequence {
    /// It cannot keep a repository.
    Unusable,
    /// No lease is fenced without a person, and marks of a prune wait a grace period.
    WeakMode,
    /// Before each create it is looked whether the name is taken.
    LooksBeforeCreating,
    /// With these credentials nothing can be deleted.
    CannotPrune,
    /// With these credentials nothing can be written.
    ReadOnly,
    /// Signed requests are refused once the clocks are a quarter of an hour apart.
    ClocksDiffer,
}

/// Tries a place. What is found counts for nobody else until [`keep_verdict`] puts a signature to it.
pub fn check_storage(storage: &Storage, options: &TrialOptions) -> Result<StorageCheck, OpsError> {
    let trial = storage.try_out(options)?;
    // Only whoever must stay in one needs to know it.
    let region = storage.region().unwrap_or_default();
    let has_repository = trial.rights.read.is_none() && keys::read_config(storage).is_ok();
    let usable = trial.rights.suffice() && trial.verdict.as_ref().is_some_and(|verdict| verdict.whole);
    let consequences = consequences(&trial);
    Ok(StorageCheck { location: storage.location().to_owned(), region, has_repository, trial, usable, consequences })
}

/// Keeps what was found in the repository there, if the keys allow to speak for it: others believe it.
pub fn keep_verdict(
    check: &StorageCheck,
    storage: &Storage,
    unlock: &Unlock,
    clock: &dyn Clock,
) -> Result<(), OpsError> {
    if check.has_repository
        && let Some(verdict) = &check.trial.verdict
    {
        promises::keep(storage, &keys::open(storage, unlock)?, verdict, clock)?;
    }
    Ok(())
}

fn consequences(trial: &Trial) -> Vec<Consequence> {
    let mut all = Vec::new();
    let mut add = |applies: bool, consequence| {
        if applies {
            all.push(consequence);
        }
    };
    if let Some(verdict) = &trial.verdict {
        add(!verdict.whole, Consequence::Unusable);
        add(!verdict.conditional_create || !verdict.prompt_listing, Consequence::WeakMode);
        add(!verdict.conditional_create, Consequence::LooksBeforeCreating);
    }
    let rights = &trial.rights;
    add(rights.create.is_none() && rights.delete.is_some(), Consequence::CannotPrune);
    add(rights.create.is_some() && rights.read.is_none(), Consequence::ReadOnly);
    add(
        trial.clock_ahead_millis.is_some_and(|millis| millis.unsigned_abs() > MAX_CLOCK_MILLIS),
        Consequence::ClocksDiffer,
    );
    all
}
