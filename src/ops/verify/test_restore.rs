//! The test restore: every live record of a snapshot is read as a restore would read it, and compared with its
//! fingerprint; counts and collection fingerprints are compared with what was noted when the snapshot was taken.

use super::{Finding, VerifyOptions, VerifyOutcome};
use crate::report::TroubleKind;
use crate::{
    connector,
    layer::{Layer, LayerContext, LayerError, Stack, read_totals},
    ops::{OpsError, Phase, PhaseKind, Progress, limit::Throttle},
    record::{CollectionSum, KeyRange},
    repo::{RepoError, Repository, Snapshot, manifest::Collection},
};
use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The most records that one collection's findings name.
const MAX_NAMED: usize = 20;

/// The newest snapshot of each source and scope; the one snapshot if there is just one.
pub(super) fn choose(snapshots: &[Snapshot]) -> Vec<&Snapshot> {
    let mut seen = HashSet::new();
    let what = |s: &Snapshot| (s.source().connector.clone(), s.source().name.clone(), s.content.scope.clone());
    snapshots.iter().rev().filter(|snapshot| seen.insert(what(snapshot))).collect()
}

/// What may lie beside a streamed value in one record.
const MAX_BESIDE_BYTES: u64 = 64 * 1024;

/// What reading one range added up to.
#[derive(Debug, Default)]
struct Part {
    sum: CollectionSum,
    records: u64,
    bytes: u64,
    wrong: Vec<String>,
    failed: Option<String>,
}

impl Part {
    fn add(&mut self, other: Self) {
        self.sum.add(&other.sum);
        self.records += other.records;
        self.bytes += other.bytes;
        self.wrong.extend(other.wrong);
        self.failed = self.failed.take().or(other.failed);
    }
}

/// Restores a snapshot into nothing.
pub(super) fn run(
    repo: &Repository,
    snapshot: &Snapshot,
    options: &VerifyOptions,
    outcome: &mut VerifyOutcome,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    progress.phase(&Phase {
        kind: PhaseKind::RestoringIntoNothing,
        object: snapshot.id.short(),
        records: snapshot.collections.iter().map(|c| c.records).sum(),
        bytes: snapshot.collections.iter().map(|c| c.bytes).sum(),
    });
    let tables = snapshot.collections.iter().map(|collection| (collection.name.as_str(), &collection.attributes));
    let lacking = connector::lacking(&snapshot.content.source.connector, &snapshot.content.attributes, tables);
    outcome.notes.extend(lacking.into_iter().map(|line| format!("a restore of {}: {line}", snapshot.id.short())));
    let context = LayerContext::new(repo.secrets());
    for collection in &snapshot.collections {
        let part = read_collection(repo, &context, snapshot, collection, options, progress)?;
        outcome.records += part.records;
        let mut finding = |problem: String| {
            outcome.findings.push(Finding {
                kind: TroubleKind::Damaged,
                object: format!("collection {} of snapshot {}", collection.name, snapshot.id.short()),
                problem,
                snapshots: vec![snapshot.id],
            });
        };
        for wrong in part.wrong.iter().take(MAX_NAMED) {
            finding(wrong.clone());
        }
        if let Some(failed) = part.failed {
            finding(failed);
            continue;
        }
        for wrong in journals(repo, &context, collection, progress)? {
            finding(wrong);
        }
        if !collection.counted {
            continue;
        }
        if part.records != collection.records {
            finding(format!("{} records can be read, {} were backed up", part.records, collection.records));
        }
        // Of a value that came as a stream only the stream itself counts here, and not the cells beside it.
        let most = part.bytes + part.bytes / 4 + part.records.saturating_mul(MAX_BESIDE_BYTES);
        if !(part.bytes..=most).contains(&collection.bytes) {
            finding(format!("{} bytes can be read, {} were backed up", part.bytes, collection.bytes));
        }
        let mut expected = CollectionSum::default();
        for coverage in &collection.coverage {
            match CollectionSum::from_hex(&coverage.sum) {
                Some(sum) => expected.add(&sum),
                None => finding(format!("its fingerprint `{}` is no fingerprint", coverage.sum)),
            }
        }
        if part.sum != expected {
            finding("its records differ from those that were backed up: the collection fingerprint differs".to_owned());
        }
    }
    Ok(())
}

/// What is wrong with the versions that a stream brought, of which the state shows the newest.
fn journals(
    repo: &Repository,
    context: &LayerContext,
    collection: &Collection,
    progress: &dyn Progress,
) -> Result<Vec<String>, OpsError> {
    let mut wrong = Vec::new();
    for layer in collection.stack.iter().filter(|layer| layer.journal) {
        let read = Layer::open(&repo.chunks_of_storage(), layer).and_then(|layer| {
            let goes_on = |_, _| !progress.cancelled();
            read_totals(context, &layer, &KeyRange::all(), None, &goes_on)
        });
        match read {
            Ok(_) => {}
            Err(LayerError::Repo(RepoError::Interrupted)) => return Err(OpsError::Interrupted),
            Err(error) => wrong.push(format!("versions of its stream: {error}")),
        }
    }
    Ok(wrong)
}

fn read_collection(
    repo: &Repository,
    context: &LayerContext,
    snapshot: &Snapshot,
    collection: &Collection,
    options: &VerifyOptions,
    progress: &dyn Progress,
) -> Result<Part, OpsError> {
    let stack = match Stack::open(&repo.chunks_of_storage(), &collection.stack) {
        Ok(stack) => stack,
        Err(error) => return Ok(Part { failed: Some(error.to_string()), ..Part::default() }),
    };
    let ranges = stack.ranges();
    let threads = options.parallel.max(1).min(ranges.len());
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Part::default());
    let limit = options.read_limit.map(|limit| limit / threads.max(1) as u64);
    let work = || -> Result<(), OpsError> {
        let mut throttle = Throttle::new(limit);
        while let Some(range) = ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut part = Part::default();
            if let Err(error) =
                read_range(context, &stack, snapshot, collection, range, &mut part, &mut throttle, progress)
            {
                match error {
                    OpsError::Layer(error) => part.failed = Some(error.to_string()),
                    error => return Err(error),
                }
            }
            if let Ok(mut total) = total.lock() {
                total.add(part);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut result = Ok(());
        for handle in handles {
            let joined = handle.join().unwrap_or_else(|_| Err(OpsError::Failed("a worker panicked".to_owned())));
            result = result.and(joined);
        }
        result
    })?;
    Ok(total.into_inner().unwrap_or_default())
}

#[allow(clippy::too_many_arguments, reason = "the parts of one worker's loop, passed once")]
fn read_range(
    context: &LayerContext,
    stack: &Stack,
    snapshot: &Snapshot,
    collection: &Collection,
    range: &KeyRange,
    part: &mut Part,
    throttle: &mut Throttle,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    let mut cursor = stack.cursor(range, snapshot.content.end, false)?;
    let mut scratch = Vec::new();
    let (mut records, mut bytes) = (0u64, 0u64);
    while cursor.advance()? {
        let size = cursor.key().len() as u64 + cursor.value_bytes();
        match cursor.check_value(&context.fingerprinter) {
            Ok(true) => {}
            Ok(false) => {
                part.wrong
                    .push(format!("{}: the value is not the one that was read", collection.codec.show(cursor.key())));
            }
            Err(error) => {
                part.wrong.push(format!("{}: {error}", collection.codec.show(cursor.key())));
                if part.wrong.len() > MAX_NAMED {
                    return Err(LayerError::into(error));
                }
            }
        }
        let sum = CollectionSum::of_row(
            &context.collection_key,
            cursor.key(),
            &cursor.meta(),
            &cursor.fingerprint(),
            &mut scratch,
        );
        part.sum.add(&sum);
        part.records += 1;
        part.bytes += size;
        records += 1;
        bytes += size;
        if bytes >= 1 << 20 {
            progress.count(records, bytes);
            throttle.spend(bytes);
            (records, bytes) = (0, 0);
            if progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
        }
    }
    progress.count(records, bytes);
    Ok(())
}
