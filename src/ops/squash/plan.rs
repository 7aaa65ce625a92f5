//! Deciding what is squashed: a function of the remaining snapshots.

use super::{Witness, bytes, rows, runs, share};
use crate::{
    layer::KeptVersions,
    ops::backup::stack::{MAX_DELTAS, deltas_to_merge},
    record::{CollectionSum, Timestamp},
    repo::{
        ChunkId, Snapshot, SnapshotId,
        manifest::{Collection, LayerRef, Moments},
    },
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry};

/// What is merged into one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum MergeOf {
    /// Adjacent deltas.
    Deltas,
    /// A base and the deltas on it, up to the oldest remaining stack.
    Base {
        /// What the new base must show.
        witness: Witness,
        /// The earliest end of the snapshots that use it: what is over then is part of none.
        at: Timestamp,
        /// The layers above it in some stack, each once.
        #[serde(skip)]
        above: Vec<LayerRef>,
        /// The rows that it drops.
        superseded: u64,
    },
    /// All layers of a stream, as they are seen at a moment: a base.
    Stream {
        /// That moment.
        at: Timestamp,
    },
}

/// Layers that become one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedMerge {
    /// What they are.
    #[serde(flatten)]
    pub of: MergeOf,
    /// A collection that they belong to.
    pub collection: String,
    /// The layers, oldest first.
    pub layers: Vec<LayerRef>,
    /// Their plaintext bytes.
    pub bytes_before: u64,
    /// Plaintext bytes of what they become, at most.
    pub bytes_after: u64,
    /// Which versions are kept, if not all are.
    #[serde(skip)]
    pub keep: Option<KeptVersions>,
}

/// A layer of a stack to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// One that is there.
    There(LayerRef),
    /// What the merge of this number gives.
    Merged(usize),
}

impl Slot {
    const fn there(&self) -> Option<&LayerRef> {
        match self {
            Self::There(layer) => Some(layer),
            Self::Merged(_) => None,
        }
    }
}

/// A snapshot that gets other stacks.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedSnapshot {
    /// Which.
    pub id: SnapshotId,
    /// Its collections as they were planned with.
    pub before: Vec<Collection>,
    /// Of each collection, its stack to be.
    pub after: Vec<Vec<Slot>>,
}

/// What is to be squashed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SquashPlan {
    /// Layers that become one.
    pub merges: Vec<PlannedMerge>,
    /// Snapshots that get a new revision.
    #[serde(skip)]
    pub snapshots: Vec<PlannedSnapshot>,
}

impl SquashPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.merges.is_empty()
    }

    /// Plaintext bytes of the layers that are merged.
    #[must_use]
    pub fn bytes_before(&self) -> u64 {
        self.merges.iter().fold(0, |sum, merge| sum.saturating_add(merge.bytes_before))
    }

    /// Plaintext bytes of what they become, at most.
    #[must_use]
    pub fn bytes_after(&self) -> u64 {
        self.merges.iter().fold(0, |sum, merge| sum.saturating_add(merge.bytes_after))
    }
}

/// One collection of one snapshot.
#[derive(Clone, Copy)]
struct Use<'a> {
    snapshot: &'a Snapshot,
    collection: &'a Collection,
    held: bool,
}

impl<'a> Use<'a> {
    fn stack(&self) -> &'a [LayerRef] {
        &self.collection.stack
    }
}

/// Decides over the remaining `snapshots`. Those that are held or locked `now`, and those of `busy`, keep their layers.
#[must_use]
pub fn plan(snapshots: &[Snapshot], busy: &BTreeSet<SnapshotId>, now: Timestamp, max_superseded: f64) -> SquashPlan {
    plan_thinning(snapshots, busy, now, max_superseded, &[], None)
}

/// The same, and thins out the versions of streams: `thin` says of what is older than an age how many milliseconds apart the
/// moments are that are kept; no version older than `drop_age` milliseconds is kept.
#[must_use]
pub fn plan_thinning(
    snapshots: &[Snapshot],
    busy: &BTreeSet<SnapshotId>,
    now: Timestamp,
    max_superseded: f64,
    thin: &[ThinVersions],
    drop_age: Option<u64>,
) -> SquashPlan {
    let max_superseded = share(max_superseded);
    let mut uses: Vec<Use<'_>> = Vec::new();
    for snapshot in snapshots {
        let held = snapshot.is_protected_at(now) || busy.contains(&snapshot.id) || snapshot.may_be_changed().is_err();
        uses.extend(snapshot.collections.iter().map(|collection| Use { snapshot, collection, held }));
    }
    uses.sort_by_key(|it| it.snapshot.position());
    let mut merges = Merges::default();
    let drop = drop_age.map(|age| (age, max_superseded));
    let advanced = advance_streams(&mut uses, &mut merges, now, thin, drop);
    let rolled = roll_bases(&uses, max_superseded, &mut merges);
    let mut stacks = merge_runs(&uses, &rolled, max_superseded, &mut merges);
    thin_versions(&uses, &mut stacks, &mut merges, now, thin);
    shorten(&uses, &mut stacks, &mut merges);
    for (at, stack) in advanced {
        stacks[at] = stack;
    }
    let changed: HashSet<SnapshotId> = uses
        .iter()
        .zip(&stacks)
        .filter(|(_, stack)| stack.iter().any(|slot| matches!(slot, Slot::Merged(_))))
        .map(|(it, _)| it.snapshot.id)
        .collect();
    let mut planned: BTreeMap<SnapshotId, Vec<Vec<Slot>>> = BTreeMap::new();
    for (it, stack) in uses.iter().zip(stacks) {
        if changed.contains(&it.snapshot.id) {
            planned.entry(it.snapshot.id).or_default().push(stack);
        }
    }
    let snapshots = snapshots.iter().filter_map(|snapshot| {
        let after = planned.remove(&snapshot.id)?;
        Some(PlannedSnapshot { id: snapshot.id, before: snapshot.collections.clone(), after })
    });
    SquashPlan { snapshots: snapshots.collect(), merges: merges.list }
}

/// The merges so far, each list of layers once.
#[derive(Default)]
struct Merges {
    list: Vec<PlannedMerge>,
    of_deltas: HashMap<Vec<ChunkId>, usize>,
}

impl Merges {
    fn deltas(&mut self, collection: &str, layers: &[LayerRef]) -> usize {
        match self.of_deltas.entry(layers.iter().map(|layer| layer.id).collect()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.list.push(PlannedMerge {
                    of: MergeOf::Deltas,
                    collection: collection.to_owned(),
                    layers: layers.to_vec(),
                    bytes_before: bytes(layers),
                    bytes_after: bytes(layers),
                    keep: None,
                });
                *new.insert(self.list.len() - 1)
            }
        }
    }
}

/// Lets streams begin at a later moment, on a base that shows it: of each source and scope in its newest snapshot, which the next
/// commit goes on from, once more than a share of all rows are likely to go. Older ones keep their layers. Gives the stacks of those uses; they count as held for everything else.
fn advance_streams(
    uses: &mut [Use<'_>],
    merges: &mut Merges,
    now: Timestamp,
    thin: &[ThinVersions],
    drop: Option<(u64, f64)>,
) -> Vec<(usize, Vec<Slot>)> {
    let Some((age, max_superseded)) = drop else { return Vec::new() };
    let newest = newest_of_sources(uses);
    let mut advanced = Vec::new();
    for (at, it) in uses.iter_mut().enumerate() {
        let Some(moments) = it.collection.journal.as_ref().filter(|_| !it.held && newest.contains(&it.snapshot.id))
        else {
            continue;
        };
        let wanted = now.as_millis().saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
        let kept = thinned(moments, now, thin);
        let begin = kept.at_or_before(Timestamp::from_millis(wanted).min(it.snapshot.content.end));
        let stack = it.stack();
        let first = stack.iter().rposition(|layer| !layer.journal).map_or(0, |other| other + 1);
        let Some(begin) = begin.filter(|begin| *begin > moments.from && first < stack.len()) else { continue };
        let journals = &stack[first..];
        // How many versions are older is known to whoever reads them; that as many were made at any time is near enough.
        let millis = |from: Timestamp, to: Timestamp| to.as_millis().saturating_sub(from.as_millis()).max(0) as f64;
        let share = millis(moments.from, begin) / millis(moments.from, it.snapshot.content.end).max(1.0);
        if share * rows(journals) as f64 <= max_superseded * rows(stack) as f64 {
            continue;
        }
        let planned = |of: MergeOf, layers: &[LayerRef], keep: Option<KeptVersions>| PlannedMerge {
            of,
            collection: it.collection.name.clone(),
            layers: layers.to_vec(),
            bytes_before: bytes(layers),
            bytes_after: bytes(layers),
            keep,
        };
        let later =
            Moments { from: begin, kept: kept.kept.into_iter().filter(|kept| kept.until > begin).collect(), ..kept };
        let keep = KeptVersions { after: Some(begin), moments: later, ends: vec![it.snapshot.content.end] };
        let number = merges.list.len();
        merges.list.push(planned(MergeOf::Stream { at: begin }, stack, None));
        merges.list.push(planned(MergeOf::Deltas, journals, Some(keep)));
        advanced.push((at, vec![Slot::Merged(number), Slot::Merged(number + 1)]));
        it.held = true;
    }
    advanced
}

/// The newest snapshot of each source and scope. `uses` are in the order of `Position`.
fn newest_of_sources(uses: &[Use<'_>]) -> HashSet<SnapshotId> {
    let mut newest = HashMap::new();
    for it in uses {
        let content = &it.snapshot.content;
        newest.insert((&content.source.connector, &content.source.name, &content.scope), it.snapshot.id);
    }
    newest.into_values().collect()
}

/// A base that rolls forward: how many layers of each stack on it become one, and which merge that is.
struct Rolled {
    layers: usize,
    merge: usize,
}

/// `uses` are in the order of `Position`.
fn roll_bases(uses: &[Use<'_>], max_superseded: f64, merges: &mut Merges) -> HashMap<ChunkId, Rolled> {
    let mut families: HashMap<ChunkId, Vec<Use<'_>>> = HashMap::new();
    let mut order = Vec::new();
    for it in uses {
        if let Some(base) = it.stack().first() {
            let family = families.entry(base.id).or_default();
            if family.is_empty() {
                order.push(base.id);
            }
            family.push(*it);
        }
    }
    // A base that is also a delta somewhere would stay for that.
    let blocked: HashSet<ChunkId> =
        uses.iter().filter(|it| it.held).flat_map(Use::stack).map(|layer| layer.id).collect();
    let mut rolled = HashMap::new();
    for base in order.iter().filter(|base| !blocked.contains(*base)) {
        if let Some(merge) = families.get(base).and_then(|family| roll(family, max_superseded)) {
            rolled.insert(*base, Rolled { layers: merge.layers.len(), merge: merges.list.len() });
            merges.list.push(merge);
        }
    }
    rolled
}

fn roll(family: &[Use<'_>], max_superseded: f64) -> Option<PlannedMerge> {
    let oldest = family.first()?.stack();
    let base = oldest.first().filter(|_| oldest.len() > 1)?;
    // What a stream brought is read at many moments, and a base shows one.
    if oldest.iter().any(|layer| layer.journal) {
        return None;
    }
    if !family.iter().all(|it| it.stack().starts_with(oldest)) {
        return None;
    }
    let confirmed = |it: &&Use<'_>| it.stack() == oldest && it.collection.confirms_deletions();
    let witness = family.iter().find(confirmed)?;
    let records = witness.collection.records;
    let superseded = rows(oldest).saturating_sub(records);
    if superseded as f64 <= max_superseded * base.rows as f64 {
        return None;
    }
    let mut seen = HashSet::new();
    let above = family.iter().flat_map(|it| &it.stack()[oldest.len()..]).filter(|layer| seen.insert(layer.id));
    let above: Vec<LayerRef> = above.cloned().collect();
    // An empty layer cannot be a base, and what lies above might not be one either.
    if records == 0 && !above.is_empty() {
        return None;
    }
    let mut sum = CollectionSum::default();
    for range in &witness.collection.coverage {
        sum.add(&CollectionSum::from_hex(&range.sum)?);
    }
    let before = bytes(oldest);
    let kept = if rows(oldest) == 0 { 0.0 } else { records as f64 / rows(oldest) as f64 };
    Some(PlannedMerge {
        of: MergeOf::Base {
            witness: Witness {
                snapshot: witness.snapshot.id,
                end: witness.snapshot.content.end,
                records,
                sum: sum.to_hex(),
            },
            at: family.iter().map(|it| it.snapshot.content.end).min()?,
            above,
            superseded,
        },
        collection: witness.collection.name.clone(),
        layers: oldest.to_vec(),
        bytes_before: before,
        bytes_after: (before as f64 * kept) as u64,
        keep: None,
    })
}

/// Gives each use's stack to be.
fn merge_runs(
    uses: &[Use<'_>],
    rolled: &HashMap<ChunkId, Rolled>,
    max_superseded: f64,
    merges: &mut Merges,
) -> Vec<Vec<Slot>> {
    let split = |it: &Use<'_>| {
        let stack = it.collection.stack.as_slice();
        let rolled = stack.first().and_then(|base| rolled.get(&base.id));
        let least = usize::from(stack.first().is_some_and(|lowest| !lowest.journal));
        let below = rolled.map_or(least, |rolled| rolled.layers).min(stack.len());
        let bottom: Vec<Slot> = match rolled {
            Some(rolled) => vec![Slot::Merged(rolled.merge)],
            None => stack[..below].iter().map(|layer| Slot::There(layer.clone())).collect(),
        };
        (bottom, below)
    };
    let blocked: HashSet<ChunkId> =
        uses.iter().filter(|it| it.held).flat_map(Use::stack).map(|layer| layer.id).collect();
    let links = runs::Links::new(uses.iter().map(|it| &it.stack()[split(it).1..]), &blocked);
    let mut stacks = Vec::with_capacity(uses.len());
    for it in uses {
        let (mut stack, below) = split(it);
        let deltas = &it.stack()[below..];
        let mut next = 0;
        for run in links.runs(deltas) {
            for part in runs::worth_it(&deltas[run.clone()], max_superseded) {
                let part = run.start + part.start..run.start + part.end;
                stack.extend(deltas[next..part.start].iter().map(|layer| Slot::There(layer.clone())));
                stack.push(Slot::Merged(merges.deltas(&it.collection.name, &deltas[part.clone()])));
                next = part.end;
            }
        }
        stack.extend(deltas[next..].iter().map(|layer| Slot::There(layer.clone())));
        stacks.push(stack);
    }
    stacks
}

/// Gives the newest snapshot of each source and scope a stack that another delta may be put on: whoever backs up with keys that
/// open no values cannot merge, and adds one delta a run. Older snapshots keep theirs, which nobody builds on.
fn shorten(uses: &[Use<'_>], stacks: &mut [Vec<Slot>], merges: &mut Merges) {
    let newest = newest_of_sources(uses);
    for (it, stack) in uses.iter().zip(stacks) {
        let has_journals = it.stack().iter().any(|layer| layer.journal);
        if it.held || has_journals || !newest.contains(&it.snapshot.id) || stack.len() <= MAX_DELTAS + 1 {
            continue;
        }
        // A merge of merges would need two steps.
        let bytes = |stack: &[Slot]| stack.iter().map(|slot| Some(slot.there()?.bytes)).collect::<Vec<_>>();
        while let Some(range) = deltas_to_merge(&bytes(stack)) {
            let layers: Vec<LayerRef> = stack[range.clone()].iter().filter_map(Slot::there).cloned().collect();
            stack.splice(range, [Slot::Merged(merges.deltas(&it.collection.name, &layers))]);
        }
    }
}

/// What becomes of versions that are older than an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinVersions {
    /// Older than so many milliseconds.
    pub age: u64,
    /// The state at every multiple of so many milliseconds is kept.
    pub every: u64,
}

impl ThinVersions {
    /// From where back it applies: a moment that is kept.
    fn until(&self, now: Timestamp) -> Timestamp {
        let every = i64::try_from(self.every.max(1)).unwrap_or(i64::MAX);
        let millis = now.as_millis().saturating_sub(i64::try_from(self.age).unwrap_or(i64::MAX));
        Timestamp::from_millis(millis - millis.rem_euclid(every))
    }
}

/// The moments that are left of a collection's.
pub(super) fn thinned(moments: &Moments, now: Timestamp, thin: &[ThinVersions]) -> Moments {
    thin.iter().fold(moments.clone(), |moments, thin| moments.thinned(thin.until(now), thin.every))
}

/// Those of the two that reach further back.
fn earlier(moments: &mut Moments, other: &Moments) {
    if other.from < moments.from {
        moments.clone_from(other);
    }
}

/// Makes of each run of journals one without the versions that no moment shows.
fn thin_versions(
    uses: &[Use<'_>],
    stacks: &mut [Vec<Slot>],
    merges: &mut Merges,
    now: Timestamp,
    thin: &[ThinVersions],
) {
    if thin.is_empty() {
        return;
    }
    let blocked: HashSet<ChunkId> =
        uses.iter().filter(|it| it.held).flat_map(Use::stack).map(|layer| layer.id).collect();
    // A layer is thinned once for all: every moment of every snapshot that has it must still show the same.
    let mut of_layer: HashMap<ChunkId, KeptVersions> = HashMap::new();
    for it in uses {
        let end = it.snapshot.content.end;
        for layer in it.stack().iter().filter(|layer| layer.journal) {
            let moments = it.collection.journal.as_ref().map(|moments| thinned(moments, now, thin));
            let kept = of_layer.entry(layer.id).or_insert_with(|| KeptVersions {
                after: None,
                moments: moments.clone().unwrap_or_else(|| Moments::from(end)),
                ends: Vec::new(),
            });
            kept.ends.push(end);
            if let Some(moments) = moments {
                kept.ends.push(moments.from);
                earlier(&mut kept.moments, &moments);
            }
        }
    }
    for (it, stack) in uses.iter().zip(stacks.iter_mut()) {
        let Some(moments) = &it.collection.journal else { continue };
        if thinned(moments, now, thin) == *moments {
            continue;
        }
        for slot in stack.iter_mut() {
            let layers = match slot {
                Slot::There(layer) if layer.journal => vec![layer.clone()],
                Slot::Merged(number) => merges.list[*number].layers.clone(),
                Slot::There(_) => continue,
            };
            if layers.iter().any(|layer| !layer.journal || blocked.contains(&layer.id)) {
                continue;
            }
            let number = merges.deltas(&it.collection.name, &layers);
            let kept = layers.iter().filter_map(|layer| of_layer.get(&layer.id));
            let mut keep: Option<KeptVersions> = None;
            for other in kept {
                let keep = keep.get_or_insert_with(|| KeptVersions {
                    after: None,
                    moments: other.moments.clone(),
                    ends: Vec::new(),
                });
                earlier(&mut keep.moments, &other.moments);
                keep.ends.extend(&other.ends);
            }
            if let Some(keep) = &mut keep {
                keep.ends.sort_unstable();
                keep.ends.dedup();
            }
            merges.list[number].keep = keep;
            *slot = Slot::Merged(number);
        }
    }
}
