//! What a prune is going to do, decided on plain numbers: which packs go, which are repacked, what that moves and frees.

use super::PruneOptions;
use crate::ops::squash::SquashPlan;
use crate::repo::{
    ObjectName, SnapshotId,
    ids::PackKind,
    pack::TARGET_PACK_BYTES,
    pruner::{MarkState, PackUse, Survey},
};
use serde::Serialize;
use std::collections::HashSet;

/// A pack below this is small.
const SMALL_PACK_BYTES: u64 = TARGET_PACK_BYTES as u64 / 4;

/// Packs and what they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// How many.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.packs += 1;
        self.bytes += bytes;
    }
}

/// What a prune is going to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PrunePlan {
    /// What is squashed first; what that frees is not in the other numbers. Empty once it is done.
    pub squash: SquashPlan,
    /// Snapshots that count.
    pub snapshots: u64,
    /// Chunks that they need.
    pub needed_chunks: u64,
    /// All packs there are.
    pub packs: Sum,
    /// Packs that hold nothing needed and go as they are.
    pub whole: Sum,
    /// Of those, packs that no index object describes.
    pub unindexed: Sum,
    /// Packs whose needed chunks are copied out before they go.
    pub repack: Sum,
    /// Packs with dead chunks that stay, because too little of them is dead or `--max-repack-size` is reached.
    pub partly_dead: Sum,
    /// Packs of writers that still run; left alone.
    pub busy: Sum,
    /// Packs that are marked already.
    pub marked: Sum,
    /// The marks that are there, and what they wait for.
    pub marks: Vec<MarkState>,
    /// Bytes of packs now.
    pub bytes_before: u64,
    /// Bytes of packs when everything planned and marked is done.
    pub bytes_after: u64,
    /// Bytes to read from storage.
    pub bytes_to_download: u64,
    /// Bytes to write to storage.
    pub bytes_to_upload: u64,
    /// Packs that go as they are.
    #[serde(skip)]
    pub going: HashSet<ObjectName>,
    /// Packs to copy from.
    #[serde(skip)]
    pub repacking: HashSet<ObjectName>,
    /// Snapshots that are gone although nobody forgot them; what they need stays.
    pub vanished: Vec<SnapshotId>,
}

/// Decides. Nothing is copied out of packs that lie in an archive.
pub(super) fn plan(survey: &Survey, options: &PruneOptions, archived: &HashSet<ObjectName>) -> PrunePlan {
    let mut plan = PrunePlan {
        snapshots: survey.snapshots,
        needed_chunks: survey.needed_chunks,
        packs: Sum { packs: survey.packs_listed, bytes: survey.bytes_listed },
        marks: survey.marks.clone(),
        vanished: survey.vanished.clone(),
        bytes_before: survey.bytes_listed,
        ..PrunePlan::default()
    };
    for mark in &survey.marks {
        plan.marked.packs += mark.packs;
        plan.marked.bytes += mark.bytes;
    }
    for orphan in &survey.orphans {
        if orphan.is_busy {
            plan.busy.add(orphan.bytes);
        } else {
            plan.whole.add(orphan.bytes);
            plan.unindexed.add(orphan.bytes);
            plan.going.insert(orphan.name);
        }
    }
    let mut candidates = Vec::new();
    for pack in &survey.packs {
        if pack.is_busy {
            plan.busy.add(pack.bytes);
        } else if pack.live_chunks == 0 {
            plan.whole.add(pack.bytes);
            plan.going.insert(pack.name);
        } else {
            candidates.push(pack);
        }
    }
    let readable: Vec<&PackUse> = candidates.iter().copied().filter(|pack| !archived.contains(&pack.name)).collect();
    let mut repacked = choose_repacks(&readable, options);
    let mut copied = 0;
    for pack in candidates {
        if repacked.contains(&pack.name) || pack.is_damaged && !archived.contains(&pack.name) {
            repacked.insert(pack.name);
            plan.repack.add(pack.bytes);
            copied += pack.live_bytes;
        } else if pack.dead_bytes > 0 {
            plan.partly_dead.add(pack.bytes);
        }
    }
    plan.repacking = repacked;
    plan.bytes_to_download = copied;
    plan.bytes_to_upload = copied;
    let freed = plan.whole.bytes + plan.repack.bytes + plan.marked.bytes;
    plan.bytes_after = plan.bytes_before.saturating_sub(freed) + copied;
    plan
}

/// The packs worth copying from: the deadest first, as far as `--max-repack-size` allows.
fn choose_repacks(candidates: &[&PackUse], options: &PruneOptions) -> HashSet<ObjectName> {
    let mut chosen: Vec<&PackUse> = candidates.iter().copied().filter(|pack| is_too_dead(pack, options)).collect();
    if options.repack_small {
        for kind in [PackKind::Metadata, PackKind::Data] {
            chosen.extend(small_packs(candidates, kind, options));
        }
    }
    chosen
        .sort_by(|a, b| dead_share(b).total_cmp(&dead_share(a)).then(a.bytes.cmp(&b.bytes)).then(a.name.cmp(&b.name)));
    let mut left = options.max_repack_bytes.unwrap_or(u64::MAX);
    let mut names = HashSet::new();
    for pack in chosen {
        if let Some(rest) = left.checked_sub(pack.live_bytes) {
            left = rest;
            names.insert(pack.name);
        }
    }
    names
}

/// Small packs of one kind, if copying them together makes fewer of them.
fn small_packs<'a>(candidates: &[&'a PackUse], kind: PackKind, options: &PruneOptions) -> Vec<&'a PackUse> {
    let is_small = |pack: &&PackUse| pack.kind == kind && pack.bytes < SMALL_PACK_BYTES && !is_too_dead(pack, options);
    let small: Vec<&PackUse> = candidates.iter().copied().filter(is_small).collect();
    let together = small.iter().map(|pack| pack.live_bytes).sum::<u64>().div_ceil(TARGET_PACK_BYTES as u64);
    if small.len() as u64 > together.max(1) { small } else { Vec::new() }
}

/// The share of a pack's stored chunks that nobody needs. Its padding and directory are in every pack and do not count.
fn dead_share(pack: &PackUse) -> f64 {
    let all = pack.dead_bytes + pack.live_bytes;
    if all == 0 { 0.0 } else { pack.dead_bytes as f64 / all as f64 }
}

fn is_too_dead(pack: &PackUse, options: &PruneOptions) -> bool {
    pack.dead_bytes > 0 && dead_share(pack) * 100.0 > options.max_unused
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn pack(n: u8, live: u64, dead: u64) -> PackUse {
        PackUse {
            name: ObjectName([n; 32]),
            bytes: live + dead + 65_536,
            kind: PackKind::Data,
            live_bytes: live,
            dead_bytes: dead,
            live_chunks: u64::from(live > 0),
            is_busy: false,
            is_damaged: false,
        }
    }

    fn planned(packs: Vec<PackUse>, options: &PruneOptions) -> PrunePlan {
        let bytes_listed = packs.iter().map(|pack| pack.bytes).sum();
        plan(
            &Survey { packs_listed: packs.len() as u64, bytes_listed, packs, ..Survey::default() },
            options,
            &HashSet::new(),
        )
    }

    fn names(set: &HashSet<ObjectName>) -> Vec<u8> {
        let mut names: Vec<u8> = set.iter().map(|name| name.0[0]).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn dead_packs_go_and_partly_dead_ones_are_repacked_above_the_share() {
        let packs = vec![pack(1, 0, 9 * MIB), pack(2, 19 * MIB, MIB), pack(3, 18 * MIB, 2 * MIB), pack(4, 9 * MIB, 0)];
        let before: u64 = packs.iter().map(|pack| pack.bytes).sum();
        let plan = planned(packs, &PruneOptions::default());
        assert_eq!((names(&plan.going), names(&plan.repacking)), (vec![1], vec![3]));
        assert_eq!(plan.partly_dead.packs, 1);
        assert_eq!((plan.bytes_before, plan.bytes_to_download, plan.bytes_to_upload), (before, 18 * MIB, 18 * MIB));
        assert_eq!(plan.bytes_after, before - 9 * MIB - 2 * MIB - 2 * 65_536);
    }

    #[test]
    fn a_packs_padding_is_no_reason_to_copy_it() {
        assert_eq!(planned(vec![pack(1, 100, 0)], &PruneOptions::default()).repack.packs, 0);
        let none = PruneOptions { max_unused: 0.0, ..PruneOptions::default() };
        assert_eq!(planned(vec![pack(1, 100, 0), pack(2, 100, 1)], &none).repack.packs, 1);
    }

    #[test]
    fn the_deadest_are_copied_first_until_the_limit() {
        let packs = vec![pack(1, 6 * MIB, 6 * MIB), pack(2, 3 * MIB, 9 * MIB), pack(3, 8 * MIB, 4 * MIB)];
        let options = PruneOptions { max_repack_bytes: Some(10 * MIB), ..PruneOptions::default() };
        assert_eq!(names(&planned(packs, &options).repacking), [1, 2]);
    }

    #[test]
    fn small_packs_are_joined_only_if_that_makes_fewer() {
        let options = PruneOptions { repack_small: true, ..PruneOptions::default() };
        assert_eq!(names(&planned(vec![pack(1, MIB, 0)], &options).repacking), Vec::<u8>::new());
        assert_eq!(names(&planned(vec![pack(1, MIB, 0), pack(2, MIB, 0)], &options).repacking), [1, 2]);
        let mut other = pack(2, MIB, 0);
        other.kind = PackKind::Metadata;
        assert_eq!(names(&planned(vec![pack(1, MIB, 0), other], &options).repacking), Vec::<u8>::new());
    }

    #[test]
    fn a_damaged_pack_goes_and_what_is_needed_in_it_alone_is_copied_out_first() {
        let damaged = |n, live| PackUse { is_damaged: true, ..pack(n, live, 0) };
        let plan = planned(vec![damaged(1, 0), damaged(2, MIB), pack(3, MIB, 0)], &PruneOptions::default());
        assert_eq!((names(&plan.going), names(&plan.repacking)), (vec![1], vec![2]));
    }

    #[test]
    fn packs_of_running_writers_are_left_alone() {
        let busy = PackUse { is_busy: true, ..pack(1, 0, MIB) };
        let plan = planned(vec![busy], &PruneOptions::default());
        assert_eq!((plan.whole.packs, plan.busy.packs), (0, 1));
        assert_eq!(plan.bytes_after, plan.bytes_before);
    }
}
