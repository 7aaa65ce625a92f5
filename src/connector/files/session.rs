//! One run over a local directory.

use super::{
    one_collection,
    select::Selection,
    shared::Shared,
    shown_path,
    stream::{FilesStream, Links},
};
use crate::{
    connector::{ConnectorError, SessionEnd, SessionOptions, SourceCollection, SourceSession, plan::lies_in},
    record::{Clock, KeyRange, RecordStream, SystemClock, Timestamp},
};
use serde_json::{Value as Json, json};
use std::{path::PathBuf, sync::Arc};

/// Names looked at to find splits.
const SPLIT_SAMPLE: usize = 50_000;
/// Files whose size is looked at for the estimate.
const MEASURED_FILES: usize = 2000;
/// A record's attributes, roughly.
const ROW_BYTES: u64 = 150;
/// Files weigh by their number as much as by their bytes, and lie unevenly: smaller ranges let readers finish together.
const RANGES_A_PART: usize = 3;
const MAX_RANGES: usize = 64;

/// The attribute that says which part was asked for.
pub(super) const SELECTION: &str = "selection";

/// Why what the repository is made of is no source of it.
pub(super) const OWN: &str = "it is in the repository that it would be backed up to";

/// A run over a directory.
pub(super) struct LocalSession {
    shared: Arc<Shared>,
    start: Timestamp,
    readers: usize,
    collections: Vec<SourceCollection>,
    /// Keys of the upper levels, sorted.
    sample: Vec<Vec<u8>>,
}

impl LocalSession {
    pub(super) fn begin(root: PathBuf, selection: Selection, options: &SessionOptions) -> Result<Self, ConnectorError> {
        let object = root.display().to_string();
        if options.repository.is_some() && lies_in(&root, &options.leave_out) {
            return Err(ConnectorError::Usage { object, reason: OWN.to_owned() });
        }
        let io = |source| ConnectorError::Io { operation: "open", object: object.clone(), source };
        let shared = Shared::open(root, selection, options.read_limit).map_err(io)?.without(&options.leave_out);
        let mut trail = shared.trail();
        // A root that cannot be listed would look like one from which everything was deleted.
        rustix::fs::Dir::read_from(trail.enter(b"").map_err(io)?).map_err(|error| io(error.into()))?;
        for path in shared.selection.listed() {
            if let Err(error) = trail.stat(path) {
                shared.missing(path, &error);
            }
        }
        let start = SystemClock.now();
        let sample = sample(|dir| shared.list(&mut trail, dir).map(|entries| entries.into_iter().map(|e| e.name)));
        let mut collections = one_collection();
        for collection in &mut collections {
            collection.estimated_records = sample.len() as u64;
            collection.estimated_bytes = estimate_bytes(&shared, &sample);
        }
        let readers = options.parallel.clamp(1, 16);
        Ok(Self { shared: Arc::new(shared), start, readers, collections, sample })
    }
}

/// The bytes of these entries, from every so many of them.
fn estimate_bytes(shared: &Shared, keys: &[Vec<u8>]) -> u64 {
    let stride = keys.len() / MEASURED_FILES + 1;
    let files = keys.iter().step_by(stride).filter(|key| !key.ends_with(b"/"));
    let mut trail = shared.trail();
    let bytes = |key: &Vec<u8>| {
        let stat = trail.stat(key).ok()?;
        Some((stat.st_size as u64).min((stat.st_blocks as u64).saturating_mul(512)))
    };
    let measured = files.filter_map(bytes).fold(0, u64::saturating_add);
    measured.saturating_mul(stride as u64).saturating_add(keys.iter().map(|key| key.len() as u64 + ROW_BYTES).sum())
}

impl SourceSession for LocalSession {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn attributes(&self) -> Json {
        let mut attributes = json!({ "root": shown_path(self.shared.path()) });
        if let Some(kept) = self.shared.selection.kept() {
            attributes[SELECTION] = kept;
        }
        attributes
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        self.readers
    }

    fn splits(&self, _collection: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        Ok(quantiles(&self.sample, (parts * RANGES_A_PART).min(MAX_RANGES)))
    }

    fn read(&self, _collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        Ok(Box::new(FilesStream::new(Arc::clone(&self.shared), range, Links::Refer)))
    }

    /// The root.
    fn bare_records(&self) -> u64 {
        1
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        self.shared.check_shortage()?;
        self.shared.check_groups();
        let mut notes = self.shared.all_notes();
        notes.extend(self.shared.selection.unmatched());
        Ok(SessionEnd {
            end: SystemClock.now(),
            missing: self.shared.all_missing(),
            notes,
            vanished: self.shared.take_vanished(),
        })
    }
}

/// Keys of the upper levels of a tree, sorted; each weighs the same.
pub(super) fn sample<N: Iterator<Item = Vec<u8>>>(mut list: impl FnMut(&[u8]) -> std::io::Result<N>) -> Vec<Vec<u8>> {
    let mut level = vec![Vec::new()];
    let mut keys: Vec<Vec<u8>> = Vec::new();
    while !level.is_empty() && keys.len() < SPLIT_SAMPLE {
        let mut below = Vec::new();
        for dir in level {
            // What cannot be listed is reported when it is read.
            for name in list(&dir).into_iter().flatten() {
                let key = [dir.as_slice(), &name].concat();
                if key.ends_with(b"/") && key != super::walk::ROOT {
                    below.push(key.clone());
                }
                keys.push(key);
            }
            if keys.len() >= SPLIT_SAMPLE {
                break;
            }
        }
        level = below;
    }
    keys.sort_unstable();
    keys
}

/// Keys that cut a sorted sample into `parts` parts of the same number.
pub(super) fn quantiles(keys: &[Vec<u8>], parts: usize) -> Vec<Vec<u8>> {
    let wanted = 1..parts.min(keys.len());
    let mut splits: Vec<Vec<u8>> = wanted.map(|part| keys[part * keys.len() / parts].clone()).collect();
    splits.dedup();
    splits.retain(|split| !split.is_empty());
    splits
}
