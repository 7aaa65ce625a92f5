//! Squashing over plain data.

use super::{
    plan::{MergeOf, Slot, SquashPlan, plan},
    runs::worth_it,
};
use crate::{
    ops::made_up::{manifest, snapshot},
    record::Timestamp,
    repo::{ChunkId, Snapshot, SnapshotId, manifest::LayerRef},
};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashSet};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn layer(name: u8, rows: u64) -> LayerRef {
    LayerRef::new(ChunkId([name; 32]), rows, rows.saturating_mul(10))
}

/// A layer for each letter: capitals have 1000 rows and 1000 live records in all, others ten.
fn stack(names: &str) -> Vec<LayerRef> {
    names.bytes().map(|name| layer(name, if name.is_ascii_uppercase() { 1000 } else { 10 })).collect()
}

fn snapshots(stacks: &[&str]) -> Vec<Snapshot> {
    (1..).zip(stacks).map(|(number, names)| snapshot(number, &[stack(names)])).collect()
}

fn name(layer: &LayerRef) -> char {
    layer.id.0[0] as char
}

/// The stacks to be, merged layers in brackets; unchanged snapshots are left out.
fn shown(plan: &SquashPlan) -> Vec<String> {
    let slot = |slot: &Slot| match slot {
        Slot::There(layer) => name(layer).to_string(),
        Slot::Merged(number) => {
            format!("[{}]", plan.merges[*number].layers.iter().map(name).collect::<String>())
        }
    };
    let show = |slots: &Vec<Slot>| slots.iter().map(slot).collect::<String>();
    plan.snapshots.iter().flat_map(|snapshot| snapshot.after.iter().map(show)).collect()
}

fn planned(snapshots: &[Snapshot], max_superseded: f64) -> Vec<String> {
    shown(&plan(snapshots, &BTreeSet::new(), NOW, max_superseded))
}

#[test]
fn deltas_that_no_stack_tells_apart_become_one() {
    assert_eq!(planned(&snapshots(&["Babcd"]), 0.3), ["B[abcd]"]);
    assert_eq!(planned(&snapshots(&["B", "Bab", "Babcd"]), 0.3), ["B[ab]", "B[ab][cd]"]);
    assert_eq!(planned(&snapshots(&["Ba", "Bab", "Babcd"]), 0.3), ["Bab[cd]"]);
    assert_eq!(planned(&snapshots(&["B", "Ba", "Bab"]), 0.3), [""; 0]);
    // Two children of one parent.
    assert_eq!(planned(&snapshots(&["Babcd", "Babef"]), 0.3), ["B[ab][cd]", "B[ab][ef]"]);
    // One merged some of its own stack's deltas when it was taken.
    assert_eq!(planned(&snapshots(&["Babcde", "Bmde"]), 0.3), ["B[abc][de]", "Bm[de]"]);
}

#[test]
fn a_delta_that_is_in_a_stack_twice_is_told_by_its_place() {
    assert_eq!(planned(&snapshots(&["Babab"]), 0.3), ["B[abab]"]);
    assert_eq!(planned(&snapshots(&["Bab", "Babab"]), 0.3), ["B[ab]", "B[ab][ab]"]);
    let plan = plan(&snapshots(&["Bab", "Babab"]), &BTreeSet::new(), NOW, 0.3);
    assert_eq!(plan.merges.len(), 1);
}

#[test]
fn the_newest_stack_of_a_source_that_nobody_could_merge_gets_room() {
    let names = "abcdefghijklmnopqrstuvwxyz0123456789";
    let grown = |deltas: usize| (1..=deltas).map(|deltas| format!("B{}", &names[..deltas])).collect::<Vec<_>>();
    let planned = |stacks: &[String]| planned(&snapshots(&stacks.iter().map(String::as_str).collect::<Vec<_>>()), 0.3);
    assert_eq!(planned(&grown(24)), [""; 0], "what a backup with all keys leaves");
    assert_eq!(planned(&grown(25)), ["B[abcdefgh]ijklmnopqrstuvwxy"]);
    assert_eq!(planned(&grown(36)), ["B[abcdefgh][ijklmnop]qrstuvwxyz0123456789"]);
    let mut held = snapshots(&grown(36).iter().map(String::as_str).collect::<Vec<_>>());
    held[35].hold = true;
    assert_eq!(shown(&plan(&held, &BTreeSet::new(), NOW, 0.3)), [""; 0]);
}

#[test]
fn bases_and_deltas_of_the_same_name_are_told_by_their_place() {
    assert_eq!(planned(&snapshots(&["a", "Babc"]), 0.3), ["B[abc]"]);
    assert_eq!(planned(&snapshots(&["ab", "Bab"]), 0.3), [""; 0], "b is needed without a below it");
}

#[test]
fn a_large_delta_waits_until_others_are_worth_it() {
    let of = |rows: &[u64]| (1..).zip(rows).map(|(name, rows)| layer(name, *rows)).collect::<Vec<_>>();
    let parts = |rows: &[u64], share| {
        worth_it(&of(rows), share).into_iter().map(|part| (part.start, part.end)).collect::<Vec<_>>()
    };
    assert!(parts(&[100, 30], 0.3).is_empty(), "30 % may be superseded");
    assert_eq!(parts(&[100, 31], 0.3), [(0, 2)]);
    assert_eq!(parts(&[100, 1, 1, 1], 0.3), [(1, 4)]);
    assert_eq!(parts(&[1, 1, 100, 1, 1], 0.3), [(0, 2), (3, 5)]);
    assert_eq!(parts(&[100, 1], 0.0), [(0, 2)]);
    assert_eq!(parts(&[5; 24], 0.3), [(0, 24)]);
    assert!(parts(&[5], 0.0).is_empty());
    assert_eq!(parts(&[u64::MAX, u64::MAX], 0.3).len(), 0, "sums that overflow stay sums");
}

#[test]
fn layers_of_held_locked_and_busy_snapshots_are_left_alone() {
    let mut all = snapshots(&["Babc", "Babcdef"]);
    all[0].hold = true;
    assert_eq!(planned(&all, 0.0), ["Babc[def]"]);
    all[0].hold = false;
    all[0].lock_until = Some(Timestamp::from_millis(NOW.as_millis() + 1));
    assert_eq!(planned(&all, 0.0), ["Babc[def]"]);
    all[0].lock_until = Some(NOW);
    assert_eq!(planned(&all, 0.0), ["[Babc]", "[Babc][def]"]);
    let busy = BTreeSet::from([all[0].id]);
    assert_eq!(shown(&plan(&all, &busy, NOW, 0.0)), ["Babc[def]"]);
}

#[test]
fn a_base_rolls_forward_to_the_oldest_stack_when_enough_goes() {
    // 30 rows of 1000.
    assert_eq!(planned(&snapshots(&["Babc", "Babcd"]), 0.03), ["B[abc]", "B[abc]d"]);
    assert_eq!(planned(&snapshots(&["Babc", "Babcd"]), 0.02), ["[Babc]", "[Babc]d"]);
    let plan = plan(&snapshots(&["Babc", "Babcd"]), &BTreeSet::new(), NOW, 0.02);
    let MergeOf::Base { witness, at, above, superseded } = &plan.merges[0].of else { panic!("{plan:?}") };
    assert_eq!((witness.snapshot, witness.records, *superseded), (SnapshotId([1; 16]), 1000, 30));
    assert_eq!((*at, above.as_slice()), (Timestamp::from_millis(100), stack("d").as_slice()));
    // A snapshot that does not begin with it, be it of another source; one that needs no more than the base.
    assert_eq!(planned(&snapshots(&["Babc", "Babd"]), 0.0), ["B[ab]c", "B[ab]d"]);
    assert_eq!(planned(&snapshots(&["Babc", "B"]), 0.0), ["B[abc]"]);
}

#[test]
fn a_base_rolls_only_to_a_stack_whose_deletions_are_confirmed() {
    let mut all = snapshots(&["Babc", "Babc", "Babcd"]);
    all[0].collections[0].coverage[0].complete = false;
    let rolled = plan(&all, &BTreeSet::new(), NOW, 0.0);
    assert_eq!(shown(&rolled), ["[Babc]", "[Babc]", "[Babc]d"]);
    let MergeOf::Base { witness, .. } = &rolled.merges[0].of else { panic!("{rolled:?}") };
    assert_eq!(witness.snapshot, all[1].id, "the one that is confirmed is the witness");
    all[1].collections[0].coverage[0].complete = false;
    assert_eq!(planned(&all, 0.0), ["B[abc]", "B[abc]", "B[abc]d"]);
}

#[test]
fn a_base_of_which_nothing_would_be_left_stays_under_deltas() {
    let mut all = snapshots(&["Bab", "Babc"]);
    all[0].collections[0].records = 0;
    assert_eq!(planned(&all, 0.0), ["B[ab]", "B[ab]c"]);
    assert_eq!(planned(&all[..1], 0.0), ["[Bab]"]);
}

#[test]
fn every_collection_of_a_changed_snapshot_is_in_its_new_revision() {
    let all = [snapshot(1, &[stack("Bab"), stack("C"), stack("")])];
    assert_eq!(planned(&all, 0.3), ["B[ab]", "C", ""]);
}

prop_compose! {
    /// Stacks that grew from each other, some of them branching, with layers that come twice.
    fn some_snapshots()(steps in prop::collection::vec((0..30_usize, 0..5_usize, 0..26_u8, 0..12_u8), 1..25)) -> Vec<Snapshot> {
        let mut stacks: Vec<Vec<LayerRef>> = Vec::new();
        let mut all: Vec<Snapshot> = Vec::new();
        for ((parent, grows, first, hold), number) in steps.into_iter().zip(1..) {
            let mut names = match stacks.get(parent) {
                Some(parent) => parent.clone(),
                None => stack(["B", "C", ""][usize::from(first % 3)]),
            };
            for at in 0..grows {
                let letter = (b'a' + (first + at as u8) % 26) as char;
                names.extend(stack(&letter.to_string()));
            }
            let mut one = manifest(number, &[names.clone()]);
            one.hold = hold == 0;
            one.collections[0].coverage[0].complete = hold != 1;
            stacks.push(names);
            all.push(Snapshot::made_up(one));
        }
        // Some were forgotten.
        all.retain(|one| one.id.0[0] % 3 != 0);
        all
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_plan_changes_no_stack_but_by_putting_one_layer_for_several(
        all in some_snapshots(), share in prop::sample::select(vec![0.0, 0.3, 1.0]),
    ) {
        let plan = plan(&all, &BTreeSet::new(), NOW, share);
        for planned in &plan.snapshots {
            let before = all.iter().find(|one| one.id == planned.id).unwrap();
            prop_assert!(!before.hold);
            prop_assert_eq!(&planned.before, &before.collections);
            for (slots, collection) in planned.after.iter().zip(&before.collections) {
                let layers: Vec<LayerRef> = slots.iter().flat_map(|slot| match slot {
                    Slot::There(layer) => vec![layer.clone()],
                    Slot::Merged(number) => plan.merges[*number].layers.clone(),
                }).collect();
                prop_assert_eq!(&layers, &collection.stack);
                for (at, slot) in slots.iter().enumerate() {
                    if let Slot::Merged(number) = slot {
                        prop_assert_eq!(at == 0, matches!(plan.merges[*number].of, MergeOf::Base { .. }));
                    }
                }
            }
        }
        prop_assert!(plan.merges.iter().all(|merge| merge.layers.len() > 1));
    }

    #[test]
    fn nothing_is_merged_that_a_held_snapshot_uses(all in some_snapshots()) {
        let held: HashSet<ChunkId> =
            all.iter().filter(|one| one.hold).flat_map(|one| &one.collections[0].stack).map(|layer| layer.id).collect();
        let plan = plan(&all, &BTreeSet::new(), NOW, 0.0);
        for merge in plan.merges.iter().filter(|merge| merge.of == MergeOf::Deltas) {
            prop_assert!(merge.layers.iter().all(|layer| !held.contains(&layer.id)));
        }
    }

    #[test]
    fn no_two_deltas_are_left_that_all_stacks_hold_together(all in some_snapshots()) {
        let plan = plan(&all, &BTreeSet::new(), NOW, 0.0);
        // Stacks as they will be: what is merged has a name of its own.
        let after = |one: &Snapshot| -> Vec<String> {
            match plan.snapshots.iter().find(|planned| planned.id == one.id) {
                None => one.collections[0].stack.iter().map(|layer| name(layer).to_string()).collect(),
                Some(planned) => planned.after[0].iter().map(|slot| match slot {
                    Slot::There(layer) => name(layer).to_string(),
                    Slot::Merged(number) => format!("merge {number}"),
                }).collect(),
            }
        };
        let stacks: Vec<(bool, Vec<String>)> = all.iter().map(|one| (one.hold, after(one))).collect();
        for (_, stack) in &stacks {
            for pair in stack.get(1..).unwrap_or_default().windows(2) {
                // A layer that comes twice is told by its place, which this test does not know.
                let once = |name: &String| stacks.iter().all(|(_, other)| other.iter().filter(|it| *it == name).count() < 2);
                let with = |name: &String| stacks.iter().filter(|(_, other)| other.contains(name)).collect::<Vec<_>>();
                let together = with(&pair[0]).iter().chain(&with(&pair[1])).all(|(held, other)| {
                    let deltas = other.get(1..).unwrap_or_default();
                    !held && deltas.windows(2).any(|it| it == pair) && !pair.contains(&other[0])
                });
                prop_assert!(!(once(&pair[0]) && once(&pair[1]) && together), "{:?} in {:?}", pair, stacks);
            }
        }
    }
}
