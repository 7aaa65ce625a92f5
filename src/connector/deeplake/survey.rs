//! What a snapshot holds of a dataset, looked at record by record: its commits, and whether all that its log names is there.

use super::{
    entry::{Entry, MAX_ENTRY_BYTES, parse_name},
    find::LOG,
    inventory::Sentences,
    log::{BranchReport, Commit, Log, META, TagRef},
    nodes::{VERSIONS, Versions},
};
use crate::{
    connector::{
        RecordLookup,
        file_record::{cells::Attributes, with_content},
    },
    record::RecordBatch,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
};

/// What there is of a dataset.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DatasetReport {
    /// The collection.
    pub collection: String,
    /// 4, 3, or nothing that is known.
    pub version: Option<u64>,
    /// Its branches, by name.
    pub branches: Vec<BranchReport>,
    /// Its tags, by name.
    pub tags: Vec<TagRef>,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that its log names.
    pub blocks: u64,
    /// What is wrong with it; nothing if it is whole.
    pub wrong: Vec<String>,
}

/// Looks at the records of one dataset, which come one by one.
#[derive(Debug, Default)]
pub struct DatasetSurvey {
    log: Log,
    versions: Option<Versions>,
    lengths: HashMap<Box<str>, u64>,
    wrong: Sentences,
    files: u64,
    bytes: u64,
}

impl DatasetSurvey {
    /// Takes a record, which is alone in its batch.
    pub fn add(&mut self, batch: &mut RecordBatch, records: &dyn RecordLookup) {
        let row = batch.row(0);
        let Ok(key) = std::str::from_utf8(row.key).map(str::to_owned) else {
            self.wrong.add("a file has a name that is no text".to_owned());
            return;
        };
        let Ok((attributes, ..)) = Attributes::decode(&row) else {
            self.wrong.add(format!("{key}: it is no file"));
            return;
        };
        let bytes = attributes.size.unwrap_or(0);
        self.files += 1;
        self.bytes += bytes;
        if let Some((folder, name)) = key.strip_prefix(LOG).and_then(|rest| rest.strip_prefix('/')?.split_once('/')) {
            let Some(named) = parse_name(name) else { return };
            match content(batch, records, MAX_ENTRY_BYTES).and_then(|bytes| Entry::parse(&bytes, named.packed)) {
                Ok(entry) => self.log.take(folder, &named, &entry),
                Err(reason) => self.wrong.add(format!("{key}: {reason}")),
            }
            return;
        }
        if key == VERSIONS {
            match content(batch, records, MAX_ENTRY_BYTES).and_then(|bytes| Versions::parse(&bytes)) {
                Ok(versions) => self.versions = Some(versions),
                Err(reason) => self.wrong.add(format!("{key}: {reason}")),
            }
        }
        self.lengths.insert(key.into(), bytes);
    }

    /// What all of them come to.
    #[must_use]
    pub fn finish(mut self, collection: &str) -> DatasetReport {
        self.log.find_gaps();
        for (folder, number) in &self.log.gaps {
            self.wrong.add(format!("{LOG}/{folder}: there is no entry {number}"));
        }
        self.log.foreign.iter().for_each(|sentence| self.wrong.add(sentence.clone()));
        if !self.log.commits.is_empty() {
            self.log.contradictions().into_iter().for_each(|sentence| self.wrong.add(sentence));
        }
        for (key, bytes) in &self.log.blocks {
            match self.lengths.get(key) {
                Some(is) if is == bytes => {}
                Some(is) => self.wrong.add(format!("{key}: it has {is} bytes, where the log says {bytes}")),
                None => self.wrong.add(format!("{key}: the log names it, and the snapshot does not hold it")),
            }
        }
        let mut report = DatasetReport {
            collection: collection.to_owned(),
            files: self.files,
            bytes: self.bytes,
            blocks: self.log.blocks.len() as u64,
            ..DatasetReport::default()
        };
        if let Some(versions) = &self.versions {
            report.version = Some(3);
            report.branches = versions.reports();
        } else if !self.log.commits.is_empty() {
            report.version = Some(4);
            let mut commits = std::mem::take(&mut self.log.commits);
            commits.remove(META);
            report.branches = four(&self.log, commits);
            report.tags = self.log.refs.tags.values().cloned().collect();
            report.tags.sort_by(|a, b| a.name.cmp(&b.name));
        }
        report.wrong = self.wrong.all();
        report
    }
}

fn four(log: &Log, mut commits: BTreeMap<String, Vec<Commit>>) -> Vec<BranchReport> {
    let known = log.refs.branches.iter().map(|(id, branch)| BranchReport {
        id: id.clone(),
        branch: branch.clone(),
        commits: commits.remove(id).unwrap_or_default(),
    });
    let mut branches: Vec<BranchReport> = known.collect();
    branches.sort_by(|a, b| a.branch.name.cmp(&b.branch.name));
    branches
}

fn content(batch: &mut RecordBatch, records: &dyn RecordLookup, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let is_file = with_content(batch, records, &mut |content, _| {
        let read = content.take(most as u64 + 1).read_to_end(&mut bytes);
        read.map(drop).map_err(|error| error.to_string())
    })?;
    if !is_file {
        return Err("it is no file".to_owned());
    }
    if bytes.len() > most { Err(format!("it is longer than {most} bytes")) } else { Ok(bytes) }
}
