//! `history`: every stored version of one record in a time range, reading only the blocks that can hold its key.

use super::{
    OpsError, Progress,
    reading::Reading,
    restore::{find_collection, parse_key},
    select::{one_source, scope},
};
use crate::{
    layer::{KeyHash, Layer, LayerError, Version, VersionTime, Versions, WholeValue},
    record::{Fingerprint, Shape, Timestamp, value::value_to_json},
    repo::{
        Capability, ChunkId, Repository, Snapshot, SnapshotId,
        manifest::{Collection, LayerRef},
    },
    report::{ErrorKind, WarningKind},
};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value as Json;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

/// A longer value is not shown, only its length.
pub(in crate::ops) const MAX_SHOWN_BYTES: u64 = 1024 * 1024;

/// The most rows of a layer of which all keys are read to note them.
const MAX_NOTED_ROWS: u64 = 1024;

/// One version of the record, as long as it stood.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryVersion {
    /// `live`, `deleted`, `expired`, or `absent` (before the record was first seen).
    pub state: &'static str,
    /// The first snapshot that shows it, or holds it among those of a stream.
    pub first_snapshot: SnapshotId,
    /// That snapshot's end; when it was made if that is known.
    pub from: Timestamp,
    /// Whether `from` is when it was made, as its source says.
    pub exact: bool,
    /// The last snapshot that shows it.
    pub last_snapshot: SnapshotId,
    /// That snapshot's end.
    pub to: Timestamp,
    /// How many snapshots show it.
    pub snapshots: u64,
    /// The source's generation.
    pub generation: Option<u32>,
    /// When it expires, if ever.
    pub expiry: Option<Timestamp>,
    /// The set, if any.
    pub set: Option<String>,
    /// The value, cells by name; absent for a tombstone, and for a value over the limit.
    pub value: Option<Json>,
    /// Length of the value's canonical bytes.
    pub value_bytes: Option<u64>,
    /// The names of the cells that differ from the version before.
    pub changed: Vec<String>,
}

/// Where snapshots were forgotten: versions that only they showed are no longer promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryGap {
    /// The snapshot before the gap; absent if what is gone was older than all.
    pub after: Option<SnapshotId>,
    /// That snapshot's end.
    pub from: Option<Timestamp>,
    /// The snapshot after the gap.
    pub before: SnapshotId,
    /// That snapshot's end.
    pub to: Timestamp,
}

/// A record's history.
#[derive(Debug, Clone, Serialize)]
pub struct History {
    /// The collection.
    pub collection: String,
    /// The key as a person would type it.
    pub key: String,
    /// Its versions, oldest first.
    pub versions: Vec<HistoryVersion>,
    /// Where versions in between are no longer promised, oldest first.
    pub gaps: Vec<HistoryGap>,
    /// Snapshots looked at.
    pub snapshots: usize,
    /// Layers asked.
    pub layers: usize,
}

/// The snapshots in which a record of this collection is looked for. A collection that only one source ever had needs no
/// narrowing to it; a snapshot of that source without it still says that the record was absent then.
///
/// # Errors
/// [`ErrorKind::SeveralSources`], [`ErrorKind::SeveralScopes`] with the list; [`ErrorKind::NoCollection`].
pub fn choose(snapshots: &[Snapshot], collection: &str, progress: &dyn Progress) -> Result<Vec<Snapshot>, OpsError> {
    let holds = |s: &&Snapshot| s.collections.iter().any(|c| c.name == collection);
    let holders: Vec<&Snapshot> = snapshots.iter().filter(holds).collect();
    one_source(holders.iter().copied())?;
    let Some(holder) = holders.first() else {
        let words = format!("no snapshot that matches has a collection `{collection}`");
        return Err(OpsError::refused(ErrorKind::NoCollection, words));
    };
    // What a narrower scope left out would look like a deletion.
    let of_scope = scope::of_one_scope(holders.clone(), progress)?;
    let is_meant =
        |s: &&Snapshot| s.source().is_same(holder.source()) && of_scope.iter().any(|held| scope::covers(s, held));
    Ok(snapshots.iter().filter(is_meant).cloned().collect())
}

/// Every version of the record with this typed key in snapshots that end within the range. `snapshots` are of one source,
/// oldest first.
pub fn history(
    repo: &Repository,
    snapshots: &[Snapshot],
    collection: &str,
    key: &str,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    progress: &dyn Progress,
) -> Result<History, OpsError> {
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(OpsError::Usage(format!("the range ends at {to} and begins at {from}, which is later")));
    }
    repo.need(Capability::ReadValues)?;
    let reading = Reading::begin(repo, "history", snapshots)?;
    let repo = reading.repo();
    let snapshots = reading.snapshots();
    let in_range = |s: &&Snapshot| {
        let begins = s.collections.iter().find(|c| c.name == collection).and_then(|c| c.journal.as_ref());
        let begins = begins.map_or(s.content.end, |moments| moments.from);
        from.is_none_or(|from| s.content.end >= from) && to.is_none_or(|to| begins <= to)
    };
    let looked_at: Vec<(&Snapshot, &Collection)> = snapshots
        .iter()
        .filter(in_range)
        .filter_map(|s| Some((s, s.collections.iter().find(|c| c.name == collection)?)))
        .collect();
    let Some((newest, found)) = looked_at.last() else {
        if let Some(newest) = snapshots.iter().rfind(|s| in_range(s)).or(snapshots.last()) {
            find_collection(newest, collection)?;
        }
        let words = format!("no snapshot in this range holds a collection `{collection}`");
        return Err(OpsError::refused(ErrorKind::NoSnapshot, words));
    };
    let codec = found.codec;
    if let Some((odd, _)) = looked_at.iter().find(|(_, other)| other.codec != codec) {
        progress.warn(
            WarningKind::CoverageDiffers,
            odd.id.short(),
            format!(
                "snapshot {} keeps {collection} under keys of another kind than {}: its versions are looked up as such",
                odd.id.short(),
                newest.id.short()
            ),
        );
    }
    let mut history = History {
        collection: collection.to_owned(),
        key: key.to_owned(),
        versions: Vec::new(),
        gaps: gaps(snapshots, &looked_at),
        snapshots: looked_at.len(),
        layers: 0,
    };
    for sort_key in parse_key(codec, key)? {
        let reader = Reader::new(repo, &looked_at, &sort_key, (from, to))?;
        history.layers = reader.by_layer.len() + reader.journals.len();
        let versions = reader.versions(&looked_at)?;
        if versions.iter().any(|version| version.state != "absent") || history.versions.is_empty() {
            history.key = codec.show(&sort_key);
            history.versions = versions;
        }
    }
    history.versions.retain(|version| version.state != "absent");
    Ok(history)
}

/// A snapshot whose parent is no longer there came after one that was forgotten.
fn gaps(all: &[Snapshot], looked_at: &[(&Snapshot, &Collection)]) -> Vec<HistoryGap> {
    let there: HashSet<SnapshotId> = all.iter().map(|snapshot| snapshot.id).collect();
    let mut gaps = Vec::new();
    let mut before: Option<&Snapshot> = None;
    for (snapshot, collection) in looked_at {
        // The journals of a stream hold what the snapshots before showed.
        let reaches = before.and_then(|before| Some(collection.journal.as_ref()?.from <= before.content.end));
        let is_cut = snapshot.content.parent.is_some_and(|parent| !there.contains(&parent));
        if is_cut && reaches != Some(true) {
            gaps.push(HistoryGap {
                after: before.map(|before| before.id),
                from: before.map(|before| before.content.end),
                before: snapshot.id,
                to: snapshot.content.end,
            });
        }
        before = Some(snapshot);
    }
    gaps
}

/// What each distinct layer says of the key; looked up once, by several threads.
struct Reader<'a> {
    versions: Versions,
    key: &'a [u8],
    by_layer: HashMap<ChunkId, Version>,
    /// What each journal says, oldest first.
    journals: HashMap<ChunkId, Vec<(VersionTime, Version)>>,
    range: (Option<Timestamp>, Option<Timestamp>),
}

/// What became of the record, by a snapshot or by a stream.
struct Event<'a> {
    time: Timestamp,
    snapshot: &'a Snapshot,
    collection: &'a Collection,
    state: State,
    /// Whether a snapshot shows it, rather than a stream brought it.
    is_shown: bool,
}

/// What one snapshot shows of the key.
struct State {
    name: &'static str,
    row: Option<Row>,
    /// The version of a journal that it is.
    version: Option<(LayerRef, VersionTime)>,
}

#[derive(Clone, PartialEq)]
struct Row {
    set: Vec<u8>,
    generation: u32,
    expiry_millis: u64,
    stamp: u64,
    user_key: Option<Vec<u8>>,
    fingerprint: Fingerprint,
    value_bytes: u64,
}

impl<'a> Reader<'a> {
    fn new(
        repo: &Repository,
        looked_at: &[(&Snapshot, &Collection)],
        key: &'a [u8],
        range: (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<Self, OpsError> {
        let versions = Versions::new(&repo.chunks());
        let mut seen = HashSet::new();
        let layers = looked_at.iter().flat_map(|(_, c)| &c.stack).filter(|layer| seen.insert(layer.id));
        let (journals, layers): (Vec<&LayerRef>, Vec<&LayerRef>) = layers.partition(|layer| layer.journal);
        let hash = KeyHash::new(repo.secrets());
        let places = hash.places(key);
        let made = Mutex::new(Vec::new());
        let asked = layers.par_iter().map(|layer| {
            match repo.layer_filter(&layer.id)? {
                // Most small layers are known not to hold it.
                Some(filter) if !places.may_be_in(&filter) => return Ok(None),
                // What another host wrote is noted once it is read: all keys of so few rows lie where this one would.
                None if layer.rows <= MAX_NOTED_ROWS => {
                    // Damage to other rows is none of this one's.
                    let read = Layer::open(&repo.chunks(), layer).and_then(|layer| layer.key_filter(&hash));
                    if let Ok(Some(filter)) = read {
                        let is_in = places.may_be_in(&filter);
                        made.lock().unwrap_or_else(PoisonError::into_inner).push((layer.id, filter));
                        if !is_in {
                            return Ok(Some((layer.id, Version::Absent)));
                        }
                    }
                }
                _ => {}
            }
            Ok(Some((layer.id, versions.version(layer, key)?)))
        });
        let by_layer = asked.filter_map(Result::transpose).collect::<Result<HashMap<_, _>, LayerError>>()?;
        // A catalog that can take nothing more costs time, and no more.
        let _ = repo.note_layer_filters(&made.into_inner().unwrap_or_else(PoisonError::into_inner));
        let (first, last) = (VersionTime::default(), VersionTime { millis: u64::MAX, order: u64::MAX });
        let journals = journals
            .par_iter()
            .map(|layer| Ok((layer.id, versions.timed(layer, key, first, last)?)))
            .collect::<Result<HashMap<_, _>, LayerError>>()?;
        Ok(Self { versions, key, by_layer, journals, range })
    }

    /// The newest version that adjacent journals hold by then.
    fn newest(&self, journals: &[LayerRef], at: VersionTime) -> Option<(LayerRef, VersionTime, &Version)> {
        let newest = |layer: &LayerRef| {
            let found = self.journals.get(&layer.id)?;
            let (time, version) = found.get(found.partition_point(|(time, _)| *time <= at).checked_sub(1)?)?;
            Some((layer.clone(), *time, version))
        };
        journals.iter().filter_map(newest).max_by_key(|(_, time, _)| *time)
    }

    /// What a stack shows at a time.
    fn state(&self, stack: &[LayerRef], at: Timestamp) -> State {
        let mut end = stack.len();
        while let Some(layer) = end.checked_sub(1).and_then(|last| stack.get(last)) {
            if layer.journal {
                let start = stack[..end].iter().rposition(|layer| !layer.journal).map_or(0, |other| other + 1);
                let found = VersionTime::last_at(at).and_then(|at| self.newest(&stack[start..end], at));
                if let Some((layer, time, version)) = found {
                    return state_of(version, at, Some((layer, time)));
                }
                end = start;
                continue;
            }
            match self.by_layer.get(&layer.id) {
                None | Some(Version::Absent) => end -= 1,
                Some(version) => return state_of(version, at, None),
            }
        }
        State { name: "absent", row: None, version: None }
    }

    /// Everything that is known of the record, in the order of time.
    fn events<'s>(&self, looked_at: &[(&'s Snapshot, &'s Collection)]) -> Vec<Event<'s>> {
        let mut events = Vec::new();
        let mut known: HashSet<VersionTime> = HashSet::new();
        for &(snapshot, collection) in looked_at {
            let mut event = |time, state, is_shown| {
                events.push(Event { time, snapshot, collection, state, is_shown });
            };
            let end = snapshot.content.end;
            for layer in collection.stack.iter().filter(|layer| layer.journal) {
                for (time, version) in self.journals.get(&layer.id).into_iter().flatten() {
                    if time.time() <= end && known.insert(*time) {
                        event(time.time(), state_of(version, time.time(), Some((layer.clone(), *time))), false);
                    }
                }
            }
            if let Some(moments) = &collection.journal {
                event(moments.from, self.state(&collection.stack, moments.from), true);
            }
            event(end, self.state(&collection.stack, end), true);
        }
        // Of one time, what a stream brought comes before the snapshot that shows it; versions of one time keep their order.
        events.sort_by(|a, b| {
            let order = |it: &Event<'_>| it.state.version.as_ref().map(|(_, time)| time.order);
            let versions =
                || if a.is_shown || b.is_shown { std::cmp::Ordering::Equal } else { order(a).cmp(&order(b)) };
            (a.time, a.is_shown).cmp(&(b.time, b.is_shown)).then_with(versions)
        });
        let (from, to) = self.range;
        events.retain(|it| from.is_none_or(|from| it.time >= from) && to.is_none_or(|to| it.time <= to));
        events
    }

    fn value(&self, event: &Event<'_>) -> Result<Option<WholeValue>, OpsError> {
        Ok(match (&event.state.row, &event.state.version) {
            (None, _) => None,
            (Some(_), Some((layer, time))) => self.versions.value_at(layer, self.key, *time, MAX_SHOWN_BYTES)?,
            (Some(_), None) => {
                // No journal decides here, so the layers beside them do: those that have the key.
                let has =
                    |layer: &&LayerRef| self.by_layer.get(&layer.id).is_some_and(|it| !matches!(it, Version::Absent));
                let stack = event.collection.stack.iter().filter(has).cloned();
                self.versions.value(&stack.collect::<Vec<_>>(), self.key, MAX_SHOWN_BYTES)?
            }
        })
    }

    fn versions(&self, looked_at: &[(&Snapshot, &Collection)]) -> Result<Vec<HistoryVersion>, OpsError> {
        let mut out: Vec<HistoryVersion> = Vec::new();
        let mut last: Option<State> = None;
        let mut last_value: Option<(Arc<Shape>, Vec<u8>)> = None;
        let mut was_seen = false;
        let mut showing: HashSet<SnapshotId> = HashSet::new();
        for event in self.events(looked_at) {
            let (snapshot, state) = (event.snapshot, &event.state);
            let same = last.as_ref().is_some_and(|last| last.name == state.name && last.row == state.row);
            // A base made after a deletion holds no tombstone: a key that was seen before is still deleted.
            let name = if state.name == "absent" && was_seen { "deleted" } else { state.name };
            let still = name == "deleted" && out.last().is_some_and(|version| version.state == "deleted");
            if let (true, Some(version)) = (same || still, out.last_mut()) {
                version.to = version.to.max(event.time);
                // One snapshot of a stream shows it at more than one time, in turn with others.
                if event.is_shown {
                    version.last_snapshot = snapshot.id;
                    version.snapshots += u64::from(showing.insert(snapshot.id));
                }
                last = Some(event.state);
                continue;
            }
            was_seen |= state.row.is_some();
            showing.clear();
            showing.extend(event.is_shown.then_some(snapshot.id));
            let value = self.value(&event)?;
            let mut version = describe(&event, name);
            if let Some((shape, bytes)) = &value {
                version.value = Some(
                    value_to_json(shape, bytes)
                        .map_err(|error| OpsError::Failed(format!("the stored value is no value: {error}")))?,
                );
                version.changed = changed_cells(last_value.as_ref(), shape, bytes);
            }
            if value.is_some() {
                last_value = value;
            }
            out.push(version);
            last = Some(event.state);
        }
        Ok(out)
    }
}

fn state_of(version: &Version, at: Timestamp, held: Option<(LayerRef, VersionTime)>) -> State {
    match version {
        Version::Absent => State { name: "absent", row: None, version: held },
        Version::Tombstone => State { name: "deleted", row: None, version: held },
        Version::Live { set, generation, expiry, stamp, user_key, fingerprint, value_bytes, .. } => State {
            name: if expiry.is_over_at(at) { "expired" } else { "live" },
            row: Some(Row {
                set: set.clone(),
                generation: *generation,
                expiry_millis: expiry.as_millis(),
                stamp: *stamp,
                user_key: user_key.clone(),
                fingerprint: *fingerprint,
                value_bytes: *value_bytes,
            }),
            version: held,
        },
    }
}

fn describe(event: &Event<'_>, name: &'static str) -> HistoryVersion {
    let row = event.state.row.as_ref();
    HistoryVersion {
        state: name,
        first_snapshot: event.snapshot.id,
        from: event.time,
        exact: !event.is_shown,
        last_snapshot: event.snapshot.id,
        to: event.time,
        snapshots: u64::from(event.is_shown),
        generation: row.map(|row| row.generation),
        expiry: row.filter(|row| row.expiry_millis != 0).map(|row| Timestamp::from_millis(row.expiry_millis as i64)),
        set: row.filter(|row| !row.set.is_empty()).map(|row| String::from_utf8_lossy(&row.set).into_owned()),
        value: None,
        value_bytes: row.map(|row| row.value_bytes),
        changed: Vec::new(),
    }
}

/// The names of cells that are new, gone or different; empty for the first version.
fn changed_cells(before: Option<&(Arc<Shape>, Vec<u8>)>, shape: &Arc<Shape>, value: &[u8]) -> Vec<String> {
    let Some((old_shape, old_value)) = before else { return Vec::new() };
    let old: HashMap<&[u8], _> = old_shape
        .names()
        .iter()
        .map(Vec::as_slice)
        .zip(old_shape.cells(old_value))
        .filter_map(|(name, cell)| Some((name, cell.ok()?)))
        .collect();
    let mut changed: Vec<String> = Vec::new();
    for (name, cell) in shape.names().iter().zip(shape.cells(value)) {
        if cell.ok().as_ref() != old.get(name.as_slice()) {
            changed.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    let gone = old_shape.names().iter().filter(|name| shape.names().binary_search(name).is_err());
    changed.extend(gone.map(|name| String::from_utf8_lossy(name).into_owned()));
    changed
}
