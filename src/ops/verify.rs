//! `verify`: proves that what the repository holds can be restored.

mod against;
mod data;
mod objects;
mod parity;
mod test_restore;

pub use against::{AgainstOptions, AgainstOutcome, meant_by, verify_against};

use super::{OpsError, Phase, PhaseKind, Progress, crew::Crew, reading::Reading, usage::peak_memory_bytes};
use crate::report::TroubleKind;
use crate::{
    layer::Layer,
    record::Timestamp,
    repo::{Capability, ChunkId, Repository, Snapshot, SnapshotId, Storage, manifest::LayerRef},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashSet},
    time::Instant,
};

/// How much of the stored data to read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadData {
    /// None.
    #[default]
    None,
    /// All packs.
    All,
    /// This share of the packs, drawn at random, in percent.
    Percent(f64),
    /// The next 1/n of the packs, by a cursor kept in the catalog.
    OneIn(u32),
}

impl std::str::FromStr for ReadData {
    type Err = String;

    /// `5`, `5%`, `2.5`, `1/30`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no share: write a percentage such as 5, or 1/30");
        if let Some((one, parts)) = text.split_once('/') {
            let parts: u32 = parts.trim().parse().map_err(|_| wrong())?;
            return match (one.trim(), parts) {
                ("1", 1) => Ok(Self::All),
                ("1", 2..) => Ok(Self::OneIn(parts)),
                _ => Err(wrong()),
            };
        }
        let percent: f64 = text.strip_suffix('%').unwrap_or(text).trim().parse().map_err(|_| wrong())?;
        match percent {
            100.0 => Ok(Self::All),
            p if p > 0.0 && p < 100.0 => Ok(Self::Percent(p)),
            _ => Err(wrong()),
        }
    }
}

/// The catalog note that keeps what the last verification covered.
pub(super) const LAST_VERIFY: &str = "last-verify";

/// How to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// How much of the stored data to read and decrypt.
    pub read_data: ReadData,
    /// Also restore the snapshots into nothing, checking every record.
    pub restore: bool,
    /// Worker threads.
    pub parallel: usize,
    /// Bytes per second from the repository.
    pub read_limit: Option<u64>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of trouble it is.
    pub kind: TroubleKind,
    /// The object: a path, a chunk, a snapshot.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// The snapshots that it affects, if known.
    pub snapshots: Vec<SnapshotId>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyOutcome {
    /// Everything that is wrong; empty is good.
    pub findings: Vec<Finding>,
    /// Small objects and index objects that were read from storage.
    pub objects: u64,
    /// Snapshots whose structure was checked.
    pub snapshots: usize,
    /// Packs whose bytes were read, of how many.
    pub packs_read: u64,
    /// All packs.
    pub packs: u64,
    /// Stored bytes read.
    pub bytes_read: u64,
    /// Chunks opened and compared with their ids.
    pub chunks: u64,
    /// Packs that were to be read and lie in an archive.
    pub archived: u64,
    /// Groups of parity.
    pub groups: u64,
    /// Those of them that were read and compared with their members.
    pub groups_read: u64,
    /// Packs that no group protects, where packs are to have parity.
    pub unprotected: u64,
    /// Records restored into nothing and compared with their fingerprints.
    pub records: u64,
    /// What is worth knowing and is no damage: foreign things, packs in no index object, what was not looked at.
    pub notes: Vec<String>,
    /// Wall time.
    pub duration_seconds: f64,
    /// The process's peak memory.
    pub peak_memory_bytes: u64,
}

/// Verifies these snapshots and, by option, stored data.
pub fn verify(
    repo: &Repository,
    snapshots: &[Snapshot],
    options: &VerifyOptions,
    progress: &dyn Progress,
) -> Result<VerifyOutcome, OpsError> {
    let began = Instant::now();
    if options.restore || options.read_data != ReadData::None {
        repo.need(Capability::ReadValues)?;
    }
    let reading = Reading::begin(repo, "verify", snapshots)?;
    let repo = reading.repo();
    let snapshots = reading.snapshots();
    let mut outcome = VerifyOutcome::default();
    let listed = objects::check(repo, &mut outcome, progress)?;
    structure(repo, snapshots, &mut outcome, progress)?;
    data::packs_listed(repo, listed, &mut outcome)?;
    let mut whole = HashSet::new();
    if options.read_data != ReadData::None {
        whole = data::read_packs(repo, options, &mut outcome, progress)?;
    }
    let (standing, damaged) = repo.storage().both(|| repo.parity_standing(), || repo.damaged_packs());
    parity::check(repo, &standing?, options.read_data, &mut outcome, progress)?;
    objects::remembered(repo, damaged?, &whole, &mut outcome)?;
    if options.restore {
        let tested = test_restore::choose(snapshots);
        if tested.len() < snapshots.len() {
            outcome.notes.push(format!(
                "{} of {} snapshots were restored into nothing: the newest of each source and scope; name a snapshot to test it",
                tested.len(),
                snapshots.len()
            ));
        }
        for snapshot in tested {
            test_restore::run(repo, snapshot, options, &mut outcome, progress)?;
        }
    }
    if !outcome.findings.is_empty() {
        repo.is_still_held()?;
    }
    objects::remember(repo, &mut outcome);
    outcome.snapshots = snapshots.len();
    outcome.duration_seconds = began.elapsed().as_secs_f64();
    outcome.peak_memory_bytes = peak_memory_bytes();
    if let Err(error) = repo.set_note(LAST_VERIFY, &summary(repo.clock().now(), options, &outcome)) {
        outcome.notes.push(format!("that this was verified could not be kept: {error}"));
    }
    Ok(outcome)
}

fn summary(now: Timestamp, options: &VerifyOptions, outcome: &VerifyOutcome) -> String {
    let read = match options.read_data {
        ReadData::None => "no stored data".to_owned(),
        _ => format!("{} of {} packs", outcome.packs_read, outcome.packs),
    };
    let restored =
        if options.restore { format!(", {} records restored into nothing", outcome.records) } else { String::new() };
    let found = match outcome.findings.len() {
        0 => "nothing wrong".to_owned(),
        n => format!("{n} problems"),
    };
    format!("{now}: structure of {} snapshots, {read}{restored}: {found}", outcome.snapshots)
}

/// Every chunk that a snapshot references must be in a listed pack; lists and the keys that hold piece lists are opened.
fn structure(
    repo: &Repository,
    snapshots: &[Snapshot],
    outcome: &mut VerifyOutcome,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    // What is kept on this host proves nothing about what is kept in storage.
    let chunks = repo.chunks_of_storage();
    let mut layers: BTreeMap<ChunkId, (LayerRef, Vec<SnapshotId>)> = BTreeMap::new();
    for snapshot in snapshots {
        for layer in snapshot.collections.iter().flat_map(|c| &c.stack) {
            layers.entry(layer.id).or_insert_with(|| (layer.clone(), Vec::new())).1.push(snapshot.id);
        }
    }
    for snapshot in snapshots {
        outcome.findings.extend(snapshot.unchecked_features().map(|feature| Finding {
            kind: TroubleKind::Newer,
            object: format!("snapshot {}", snapshot.id),
            problem: format!("it has the feature `{feature}`, which this program cannot check: use a newer rekeep"),
            snapshots: vec![snapshot.id],
        }));
    }
    progress.phase(&Phase::new(PhaseKind::CheckingStructure, layers.len() as u64, 0));
    let layers: Vec<(LayerRef, Vec<SnapshotId>)> = layers.into_values().collect();
    // Each is a list or a few, one after another: where storage is far several layers are walked at once.
    let threads = if repo.storage().is_far() { repo.storage().connections() } else { 1 };
    let walk = |(layer, _): &(LayerRef, Vec<SnapshotId>)| {
        let mut absent: HashSet<ChunkId> = HashSet::new();
        let walked = Layer::open(&chunks, layer).and_then(|opened| {
            opened.for_each_chunk(&mut |id| {
                if chunks.stored_len(&id)?.is_none() {
                    absent.insert(id);
                }
                Ok(())
            })
        });
        progress.count(1, 0);
        Ok((walked, absent))
    };
    let walked = Crew::new(threads, progress).map(&layers, || (), |(), layer| walk(layer), |()| Ok(()))?;
    for ((layer, users), (walked, absent)) in layers.iter().zip(walked) {
        if let Err(error) = walked {
            let trouble = OpsError::from(error).trouble();
            outcome.findings.push(Finding {
                kind: trouble.kind,
                object: format!("layer {}", layer.id),
                problem: trouble.words,
                snapshots: users.clone(),
            });
        }
        for id in absent {
            outcome.findings.push(Finding {
                kind: TroubleKind::InNoPack,
                object: format!("chunk {id}"),
                problem: "is in no pack of the repository".to_owned(),
                snapshots: users.clone(),
            });
        }
    }
    Ok(())
}

/// Checks stored bytes against names, and that no listed pack is missing: needs no password.
pub fn verify_keyless(storage: &Storage, progress: &dyn Progress) -> Result<VerifyOutcome, OpsError> {
    let began = Instant::now();
    let mut outcome = VerifyOutcome::default();
    data::keyless(storage, &mut outcome, progress)?;
    outcome.duration_seconds = began.elapsed().as_secs_f64();
    outcome.peak_memory_bytes = peak_memory_bytes();
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_understood() {
        assert_eq!("100".parse(), Ok(ReadData::All));
        assert_eq!("5%".parse(), Ok(ReadData::Percent(5.0)));
        assert_eq!("2.5".parse(), Ok(ReadData::Percent(2.5)));
        assert_eq!("1/30".parse(), Ok(ReadData::OneIn(30)));
        assert_eq!("1/1".parse(), Ok(ReadData::All));
        for bad in ["", "0", "101", "-1", "NaN", "2/30", "1/0", "1/x", "all"] {
            assert!(bad.parse::<ReadData>().is_err(), "{bad}");
        }
    }
}
