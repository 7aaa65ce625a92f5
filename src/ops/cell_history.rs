//! `history` of a cell: every version of it, and what became of the transaction that wrote each, in every snapshot.

use super::{
    OpsError,
    history::MAX_SHOWN_BYTES,
    reading::Reading,
    restore::{find_collection, parse_key},
};
use crate::{
    connector::{CellKind, CellVersion, Cells, ConnectorError, Fate, cells},
    layer::{Stack, stack::VersionValue},
    record::{KeyRange, Timestamp, value::value_to_json},
    repo::{Capability, Repository, Snapshot, SnapshotId},
};
use serde::Serialize;
use serde_json::Value as Json;
use std::{collections::BTreeMap, sync::Arc};

/// A cell's history.
#[derive(Debug, Clone, Serialize)]
pub struct CellHistory {
    /// The collection.
    pub collection: String,
    /// The cell's key as a person would type it.
    pub cell: String,
    /// Its versions, the newest first.
    pub versions: Vec<CellVersionHistory>,
    /// Snapshots looked at.
    pub snapshots: usize,
}

/// One version of a cell.
#[derive(Debug, Clone, Serialize)]
pub struct CellVersionHistory {
    /// When the transaction that wrote it began.
    pub start: i64,
    /// What it is.
    pub kind: CellKind,
    /// Its value, as the newest snapshot that has it shows it; absent if it is over the limit.
    pub value: Option<Json>,
    /// What snapshots show of it, oldest first. In snapshots between these it is not.
    pub shown: Vec<CellSpan>,
}

/// Snapshots one after the other that show the same of a version.
#[derive(Debug, Clone, Serialize)]
pub struct CellSpan {
    /// What became of its transaction.
    pub fate: Fate,
    /// When that committed, if it did.
    pub commit: Option<i64>,
    /// The first snapshot that shows it so.
    pub first_snapshot: SnapshotId,
    /// That snapshot's end.
    pub from: Timestamp,
    /// The last one.
    pub last_snapshot: SnapshotId,
    /// Its end.
    pub to: Timestamp,
    /// How many there are.
    pub snapshots: u64,
    #[serde(skip)]
    last_index: usize,
}

/// The history of a cell in snapshots that end within the range; `None` if the key names no cell whose records are versions.
/// `snapshots` are of one source, oldest first.
///
/// # Errors
/// [`OpsError`] if a snapshot cannot be read, or what it holds makes no sense.
pub fn cell_history(
    repo: &Repository,
    snapshots: &[Snapshot],
    collection: &str,
    key: &str,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Option<CellHistory>, OpsError> {
    repo.need(Capability::ReadValues)?;
    // Where the newest knows of no cells no lease is needed to say so.
    let newest = snapshots.iter().rev().find(|snapshot| snapshot.collections.iter().any(|one| one.name == collection));
    if let Some(newest) = newest
        && cells(&newest.content.source.connector, &newest.content.attributes)?.is_none()
    {
        return Ok(None);
    }
    let reading = Reading::begin(repo, "history", snapshots)?;
    let repo = reading.repo();
    let in_range =
        |s: &&Snapshot| from.is_none_or(|from| s.content.end >= from) && to.is_none_or(|to| s.content.end <= to);
    let holders = reading.snapshots().iter().filter(in_range);
    let holders: Vec<&Snapshot> =
        holders.filter(|snapshot| snapshot.collections.iter().any(|one| one.name == collection)).collect();
    let mut versions: BTreeMap<i64, CellVersionHistory> = BTreeMap::new();
    let mut cell = None;
    for (index, snapshot) in holders.iter().enumerate() {
        let Some(mut known) = cells(&snapshot.content.source.connector, &snapshot.content.attributes)? else {
            return Ok(None);
        };
        let codec = find_collection(snapshot, collection)?.codec;
        let parsed = parse_key(codec, key)?;
        let Some((sort_key, range)) = parsed.iter().find_map(|key| Some((key, known.versions(collection, key)?)))
        else {
            return Ok(None);
        };
        cell.get_or_insert_with(|| codec.show(sort_key));
        for (version, value) in in_snapshot(repo, snapshot, collection, &range, known.as_mut())? {
            let found = versions.entry(version.start).or_insert_with(|| CellVersionHistory {
                start: version.start,
                kind: version.kind,
                value: None,
                shown: Vec::new(),
            });
            (found.kind, found.value) = (version.kind, value);
            found.show(&version, snapshot, index);
        }
    }
    Ok(cell.map(|cell| CellHistory {
        collection: collection.to_owned(),
        cell,
        versions: versions.into_values().rev().collect(),
        snapshots: holders.len(),
    }))
}

impl CellVersionHistory {
    fn show(&mut self, version: &CellVersion, snapshot: &Snapshot, index: usize) {
        if let Some(last) = self.shown.last_mut()
            && last.last_index + 1 == index
            && (last.fate, last.commit) == (version.fate, version.commit)
        {
            last.last_snapshot = snapshot.id;
            last.to = snapshot.content.end;
            last.snapshots += 1;
            last.last_index = index;
            return;
        }
        self.shown.push(CellSpan {
            fate: version.fate,
            commit: version.commit,
            first_snapshot: snapshot.id,
            from: snapshot.content.end,
            last_snapshot: snapshot.id,
            to: snapshot.content.end,
            snapshots: 1,
            last_index: index,
        });
    }
}

/// The versions that one snapshot holds, with their values.
fn in_snapshot(
    repo: &Repository,
    snapshot: &Snapshot,
    collection: &str,
    range: &KeyRange,
    known: &mut dyn Cells,
) -> Result<Vec<(CellVersion, Option<Json>)>, OpsError> {
    let stack = Stack::open(&repo.chunks(), &find_collection(snapshot, collection)?.stack)?;
    let mut cursor = stack.cursor(range, snapshot.content.end, false)?;
    let mut others: BTreeMap<String, Option<Arc<Stack>>> = BTreeMap::new();
    let mut find = |name: &str, range: &KeyRange| {
        let open = || -> Result<Option<Arc<Stack>>, OpsError> {
            let found = snapshot.collections.iter().find(|one| one.name == name);
            Ok(found.map(|one| Stack::open(&repo.chunks(), &one.stack)).transpose()?.map(Arc::new))
        };
        let unreadable = |error: OpsError| ConnectorError::Unreadable {
            object: format!("{name} of snapshot {}", snapshot.id.short()),
            reason: error.to_string(),
        };
        let stack = match others.get(name) {
            Some(stack) => stack.clone(),
            None => others.entry(name.to_owned()).or_insert(open().map_err(unreadable)?).clone(),
        };
        let Some(stack) = stack else { return Ok(None) };
        last_cell(&stack, range, snapshot.content.end).map_err(unreadable)
    };
    let mut found = Vec::new();
    while cursor.advance()? {
        let key = cursor.key().to_vec();
        let (value, shown) = first_cell(&mut cursor)?;
        found.push((known.version(&key, &value, &mut find)?, shown));
    }
    Ok(found)
}

/// The first cell of the last live record of a range.
fn last_cell(stack: &Stack, range: &KeyRange, at: Timestamp) -> Result<Option<Vec<u8>>, OpsError> {
    let mut cursor = stack.cursor(range, at, false)?;
    let mut last = None;
    while cursor.advance()? {
        last = Some(first_cell(&mut cursor)?.0);
    }
    Ok(last)
}

/// The first cell of the cursor's record, and the value as it is shown.
fn first_cell(cursor: &mut crate::layer::StackCursor<'_>) -> Result<(Vec<u8>, Option<Json>), OpsError> {
    let wrong = |error: &dyn std::fmt::Display| OpsError::Failed(format!("the stored value is no value: {error}"));
    let row = cursor.row()?;
    match row.value {
        VersionValue::Inline(value) => {
            let first = row.shape.cells(value).next().transpose().map_err(|error| wrong(&error))?;
            let first = first.map(|cell| cell.bytes.to_vec()).unwrap_or_default();
            let shown = value.len() as u64 <= MAX_SHOWN_BYTES;
            let shown = shown.then(|| value_to_json(&row.shape, value)).transpose().map_err(|error| wrong(&error))?;
            Ok((first, shown))
        }
        // Whatever it is, it is neither empty nor an entry of a transaction.
        VersionValue::Pieces { .. } => Ok((vec![0], None)),
    }
}
