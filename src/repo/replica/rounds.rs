//! Looking at the source, without a lease, until what was copied belongs together (`format-spec/protocol.md`, section 12).

use super::{
    Stage,
    bring::{Carrier, Load, lacking},
    side::{self, Snapshots},
    standing,
};
use crate::repo::{
    ObjectName, RepoError, SnapshotId,
    faults::{self, Rule},
    index,
    inner::lock,
    names, pack,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// How often the source is looked at before it is given up.
const MAX_ROUNDS: u64 = 50;

/// How often in a row the index must be found as it was copied.
const LISTED_ALIKE: usize = 3;

/// What the source held when it held still.
pub(super) struct Stood {
    /// Its index objects.
    pub index: BTreeMap<ObjectName, u64>,
    /// The packs that they describe; `None` if not all could be read.
    pub packs: Option<BTreeSet<ObjectName>>,
    /// Its snapshots.
    pub snapshots: Snapshots,
    /// Its groups of parity, by full name.
    pub groups: BTreeMap<String, u64>,
}

/// Objects that may be copied side by side, by when their turn is.
type Turns = BTreeMap<(u8, Reverse<u64>), Vec<(String, u64)>>;

/// The packs that index objects describe, as far as they were read.
type Described = BTreeMap<ObjectName, Vec<(ObjectName, u64)>>;

/// Copies until a round has seen nothing go.
pub(super) fn until_it_stands(carrier: &Carrier<'_>) -> Result<Stood, RepoError> {
    let mut described = Described::new();
    let mut missing = BTreeSet::new();
    for round in 1..=MAX_ROUNDS {
        lock(&carrier.done).rounds = round;
        if let Some(stood) = look(carrier, round == 1, &mut described, &mut missing)? {
            for pack in missing {
                carrier.problem(format!("{pack} is missing at the source, and an index object describes it"));
            }
            return Ok(stood);
        }
    }
    Err(RepoError::KeepsMoving { rounds: MAX_ROUNDS })
}

/// One round; `None` if something that belongs to what was seen went meanwhile.
fn look(
    carrier: &Carrier<'_>,
    is_first: bool,
    described: &mut Described,
    missing: &mut BTreeSet<String>,
) -> Result<Option<Stood>, RepoError> {
    let before = side::index(carrier.source)?;
    let snapshots = Snapshots::of(carrier.source)?;
    if is_first {
        standing::nothing_is_its_own(carrier.source, carrier.target, &lock(&carrier.held), &snapshots)?;
    }
    let mut gone = bring_packs(carrier, &before, described)?;
    let after = side::index(carrier.source)?;
    let looks_again = !faults::is_broken(Rule::ReplicaLooksAgain);
    if looks_again && before.keys().any(|name| !after.contains_key(name)) {
        return Ok(None);
    }
    gone.extend(bring_packs(carrier, &after, described)?);
    // Once may be a pruner at work; what is still described and missing in the next round is lost.
    if looks_again && gone != *missing {
        *missing = gone;
        return Ok(None);
    }
    let loads = lacking(after.iter().map(|(name, bytes)| (index::path(name), *bytes)), &lock(&carrier.held).small);
    if !carrier.bring_all(Stage::Index, &loads)?.is_empty() {
        return Ok(None);
    }
    if !is_still(carrier, &after)? || looks_again && !snapshots.stand(&Snapshots::of(carrier.source)?) {
        return Ok(None);
    }
    if !bring_snapshots(carrier, &snapshots)? {
        return Ok(None);
    }
    let groups = bring_parity(carrier)?;
    snapshots.problems.iter().for_each(|words| carrier.problem(words.clone()));
    let all = after.keys().map(|name| described.get(name)).collect::<Option<Vec<_>>>();
    let packs = all.map(|all| all.into_iter().flatten().map(|(name, _)| *name).collect());
    Ok(Some(Stood { index: after, packs, snapshots, groups }))
}

/// What nothing rests on: settings and groups of parity as they lie there now. What went meanwhile is not missed.
fn bring_parity(carrier: &Carrier<'_>) -> Result<BTreeMap<String, u64>, RepoError> {
    let groups = side::objects(carrier.source, "parity/")?;
    let all = side::objects(carrier.source, "settings/")?.into_iter().chain(groups.clone());
    let loads = lacking(all, &lock(&carrier.held).small);
    carrier.bring_all(Stage::Parity, &loads)?;
    Ok(groups)
}

/// Whether the index is listed as it was copied, several times in a row. An object that is made and deleted while a listing is
/// under way may be in none: what it described is in one that was made before it went, and that a later listing shows.
fn is_still(carrier: &Carrier<'_>, copied: &BTreeMap<ObjectName, u64>) -> Result<bool, RepoError> {
    if faults::is_broken(Rule::ReplicaWaitsUntilStill) {
        return Ok(true);
    }
    for _ in 0..LISTED_ALIKE {
        if side::index(carrier.source)? != *copied {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Brings the packs that these index objects describe. Gives those that the source no longer has.
fn bring_packs(
    carrier: &Carrier<'_>,
    index: &BTreeMap<ObjectName, u64>,
    described: &mut Described,
) -> Result<BTreeSet<String>, RepoError> {
    let unread: Vec<(ObjectName, u64)> =
        index.iter().filter(|(name, _)| !described.contains_key(*name)).map(|(name, bytes)| (*name, *bytes)).collect();
    let (read, unreadable) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    carrier.each(&unread, &|(name, bytes)| {
        match head(carrier, name, *bytes) {
            Ok(packs) => lock(&read).push((*name, packs)),
            // The next listing shows that it went.
            Err(RepoError::Missing { .. }) => {}
            Err(error) if error.is_of_one_object() => unreadable.store(true, Ordering::Relaxed),
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    described.extend(read.into_inner().unwrap_or_default());
    let mut wanted: BTreeMap<ObjectName, u64> =
        index.keys().filter_map(|name| described.get(name)).flatten().copied().collect();
    // What an object describes that cannot be read may be any pack.
    if unreadable.into_inner() {
        carrier.source.list_pages("packs/", &mut |page| {
            wanted.extend(page.iter().filter_map(|it| Some((names::parse_pack(&it.name)?, it.bytes))));
        })?;
    }
    let loads: Vec<Load> = {
        let held = lock(&carrier.held);
        let lacks =
            |name: &ObjectName, bytes: u64| held.packs.get(name) != Some(&bytes) || held.suspects.contains(name);
        wanted
            .into_iter()
            .filter(|(name, bytes)| lacks(name, *bytes))
            .map(|(name, bytes)| Load { name: pack::path(&name), bytes })
            .collect()
    };
    carrier.bring_all(Stage::Packs, &loads)
}

/// The packs that an index object describes, from its first bytes.
fn head(carrier: &Carrier<'_>, name: &ObjectName, bytes: u64) -> Result<Vec<(ObjectName, u64)>, RepoError> {
    let path = index::path(name);
    let start = carrier.source.read_range(&path, 0..bytes.min(index::USUAL_HEAD_BYTES))?;
    let needed = index::head_bytes(name, &start)?;
    if needed > bytes {
        return Err(RepoError::damaged(path, "it is cut off"));
    }
    if needed <= start.len() as u64 {
        return index::packs_in_head(name, &start[..needed as usize]);
    }
    index::packs_in_head(name, &carrier.source.read_range(&path, 0..needed)?)
}

/// Collective tombstones; then the revisions 0 beside which there is no other: among them are the commits of squashes, without
/// which what a squash wrote does not count; then higher revisions before lower ones. So no revision shows that another has
/// overtaken. Gives whether all of them were still there that nobody gathers.
fn bring_snapshots(carrier: &Carrier<'_>, snapshots: &Snapshots) -> Result<bool, RepoError> {
    let collectives = snapshots.collectives.iter().map(|(name, bytes)| (name.clone(), *bytes));
    let loads = lacking(collectives, &lock(&carrier.held).small);
    let mut stages = Turns::new();
    for (id, revisions) in &snapshots.revisions {
        for (revision, bytes) in revisions {
            stages.entry(stage_of(*revision, revisions.len())).or_default().push((path(id, *revision), *bytes));
        }
    }
    let mut all_there = carrier.bring_all(Stage::Snapshots, &loads)?.is_empty();
    for objects in stages.into_values() {
        if !all_there {
            break;
        }
        let loads = lacking(objects.into_iter(), &lock(&carrier.held).small);
        let gone = carrier.bring_all(Stage::Snapshots, &loads)?;
        // What is gathered meanwhile was to go.
        let was_to_go =
            |name: &String| names::parse_revision(name).is_some_and(|(id, _)| snapshots.gathered.contains(&id));
        all_there = gone.iter().all(was_to_go);
    }
    Ok(all_there)
}

fn path(id: &SnapshotId, revision: u64) -> String {
    names::revision_path(id, revision)
}

fn stage_of(revision: u64, of: usize) -> (u8, Reverse<u64>) {
    if faults::is_broken(Rule::ReplicaHigherFirst) {
        return (0, Reverse(0));
    }
    if of == 1 && revision == 0 { (0, Reverse(0)) } else { (1, Reverse(revision)) }
}
