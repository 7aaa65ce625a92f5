//! `verify`: proves that what the repository holds can be restored.

mod data;
mod test_restore;

use super::{
    OpsError, Phase, Progress,
    reading::Reading,
    restore::{Likeness, Pair, walk},
    usage::peak_memory_bytes,
};
use crate::{
    connector::{SessionOptions, Source},
    layer::{Layer, LayerContext, Stack},
    record::{KeyRange, Timestamp},
    repo::{ChunkId, Repository, Snapshot, SnapshotId, Storage, manifest::LayerRef},
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
    /// Records restored into nothing and compared with their fingerprints.
    pub records: u64,
    /// Objects that could not be read for a reason that is not damage.
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
    let reading = Reading::begin(repo, "verify", snapshots)?;
    let snapshots = reading.snapshots();
    let mut outcome = VerifyOutcome::default();
    // Taking the lease listed everything again; what cannot be opened shows only when it is opened.
    repo.snapshots()?;
    for warning in repo.warnings() {
        outcome.findings.push(Finding { object: "repository".to_owned(), problem: warning, snapshots: Vec::new() });
    }
    structure(repo, snapshots, &mut outcome, progress)?;
    data::packs_listed(repo, &mut outcome)?;
    if options.read_data != ReadData::None {
        data::read_packs(repo, options, &mut outcome, progress)?;
    }
    if options.restore {
        let tested = test_restore::choose(snapshots);
        if tested.len() < snapshots.len() {
            outcome.notes.push(format!(
                "{} of {} snapshots were restored into nothing: the newest of each source; name a snapshot to test it",
                tested.len(),
                snapshots.len()
            ));
        }
        for snapshot in tested {
            test_restore::run(repo, snapshot, options, &mut outcome, progress)?;
        }
    }
    outcome.snapshots = snapshots.len();
    outcome.duration_seconds = began.elapsed().as_secs_f64();
    outcome.peak_memory_bytes = peak_memory_bytes();
    repo.set_note(LAST_VERIFY, &summary(repo.clock().now(), options, &outcome))?;
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
    let chunks = repo.chunks();
    let mut layers: BTreeMap<ChunkId, (LayerRef, Vec<SnapshotId>)> = BTreeMap::new();
    for snapshot in snapshots {
        for layer in snapshot.collections.iter().flat_map(|c| &c.stack) {
            layers.entry(layer.id).or_insert_with(|| (layer.clone(), Vec::new())).1.push(snapshot.id);
        }
    }
    progress.begin(&Phase { name: "checking structure".to_owned(), records: layers.len() as u64, bytes: 0 });
    for (layer, users) in layers.values() {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        let mut absent: HashSet<ChunkId> = HashSet::new();
        let walked = Layer::open(&chunks, layer).and_then(|opened| {
            opened.for_each_chunk(&mut |id| {
                if chunks.stored_len(&id)?.is_none() {
                    absent.insert(id);
                }
                Ok(())
            })
        });
        if let Err(error) = walked {
            outcome.findings.push(Finding {
                object: format!("layer {}", layer.id),
                problem: error.to_string(),
                snapshots: users.clone(),
            });
        }
        for id in absent {
            outcome.findings.push(Finding {
                object: format!("chunk {id}"),
                problem: "is in no pack of the repository".to_owned(),
                snapshots: users.clone(),
            });
        }
        progress.advance(1, 0);
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

/// How a live source differs from a snapshot.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AgainstOutcome {
    /// Records compared.
    pub records: u64,
    /// In the snapshot only.
    pub missing: u64,
    /// In the source only.
    pub extra: u64,
    /// In both, with another value.
    pub different: u64,
    /// In both, equal but for the generation or stamp.
    pub metadata_only: u64,
    /// The first 100 differing keys with their collection and how they differ.
    pub examples: Vec<String>,
}

/// Compares a live source with a snapshot, record by record.
pub fn verify_against(
    repo: &Repository,
    snapshot: &Snapshot,
    source: &dyn Source,
    progress: &dyn Progress,
) -> Result<AgainstOutcome, OpsError> {
    let reading = Reading::begin(repo, "verify", std::slice::from_ref(snapshot))?;
    let snapshot = &reading.snapshots()[0];
    let context = LayerContext::new(repo.secrets());
    let likeness = Likeness { fingerprinter: Some(&context.fingerprinter), expiry_slack_millis: 0 };
    let session = source.begin(&SessionOptions { parallel: 1, read_limit: None, temp_dir: None })?;
    let mut outcome = AgainstOutcome::default();
    progress.begin(&Phase {
        name: "comparing".to_owned(),
        records: snapshot.collections.iter().map(|c| c.records).sum(),
        bytes: snapshot.collections.iter().map(|c| c.bytes).sum(),
    });
    for collection in &snapshot.collections {
        let found = session.collections().iter().position(|c| c.name == collection.name && c.codec == collection.codec);
        let Some(index) = found else {
            outcome.missing += collection.records;
            outcome.example(format!("{}: the source has no such collection", collection.name));
            continue;
        };
        let stack = Stack::open(&repo.chunks(), &collection.stack)?;
        for range in stack.ranges() {
            let mut live = session.read(index, &range)?;
            let mut cursor = stack.cursor(&range, snapshot.content.end, true)?;
            walk(likeness, live.as_mut(), &mut cursor, &mut |key, pair| {
                if progress.cancelled() {
                    return Err(OpsError::Interrupted);
                }
                progress.advance(1, 0);
                outcome.count(&collection.name, &|| collection.codec.show(key), &pair);
                Ok(())
            })?;
        }
    }
    for extra in session.collections() {
        let known = snapshot.collections.iter().any(|c| c.name == extra.name && c.codec == extra.codec);
        if !known {
            let index = session.collections().iter().position(|c| c.name == extra.name).unwrap_or_default();
            let mut stream = session.read(index, &KeyRange::all())?;
            let mut batch = crate::record::RecordBatch::new();
            while stream
                .next_batch(&mut batch)
                .map_err(|error| OpsError::Failed(format!("reading {}: {error}", extra.name)))?
            {
                outcome.extra += batch.len() as u64;
            }
            outcome.example(format!("{}: the snapshot has no such collection", extra.name));
        }
    }
    session.finish()?;
    Ok(outcome)
}

impl AgainstOutcome {
    fn example(&mut self, text: String) {
        if self.examples.len() < 100 {
            self.examples.push(text);
        }
    }

    fn count(&mut self, collection: &str, key: &dyn Fn() -> String, pair: &Pair) {
        let how = match pair {
            Pair::Both { same: true, same_row, .. } => {
                self.records += 1;
                self.metadata_only += u64::from(!same_row);
                return;
            }
            Pair::Both { same: false, .. } => {
                self.records += 1;
                self.different += 1;
                "differs"
            }
            Pair::SnapshotOnly => {
                self.missing += 1;
                "is missing from the source"
            }
            Pair::LiveOnly { .. } => {
                self.extra += 1;
                "is not in the snapshot"
            }
        };
        if self.examples.len() < 100 {
            self.example(format!("{collection}: {} {how}", key()));
        }
    }
}
