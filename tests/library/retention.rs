//! Squashing: what is left after forgetting is what it was, in fewer layers.

use crate::support::{
    Coll, Db, Fault, Heard, Image, MemorySource, Mischief, Rec, Rng, World,
    db::{assert_same, live_at, sample},
    rng::from_env,
    world::{assert_sound, backup_with, plain, restored, snapshot},
};
use rekeep::{
    ops::{
        OpsError,
        backup::{BackupOptions, ParentChoice},
        history::history,
        prune::{PruneOptions, prune},
        squash::{self, MAX_SUPERSEDED, SquashOptions, SquashOutcome},
    },
    record::{Clock, Timestamp},
    repo::{RepoError, Repository, SnapshotId, manifest::LayerRef},
};
use std::{
    io::ErrorKind,
    sync::{Arc, Mutex},
};

const HOUR: i64 = 3_600_000;

/// A source whose snapshots are remembered.
struct Past {
    world: World,
    repo: Repository,
    db: Arc<Mutex<Db>>,
    source: MemorySource,
    taken: Vec<(SnapshotId, Db)>,
}

impl Past {
    fn of(db: Db) -> Self {
        let (world, repo) = World::new();
        let db = Arc::new(Mutex::new(db));
        let source = MemorySource::new(&db, &world.clock);
        Self { world, repo, db, source, taken: Vec::new() }
    }

    fn options() -> BackupOptions {
        BackupOptions { parallel: 1, ..plain() }
    }

    /// Backs up, an hour after the last.
    fn take(&mut self) -> SnapshotId {
        self.take_with(&Self::options())
    }

    fn take_with(&mut self, options: &BackupOptions) -> SnapshotId {
        self.world.clock.advance(HOUR);
        let outcome = backup_with(&self.repo, &self.source, options).unwrap();
        let live = live_at(&self.db.lock().unwrap(), outcome.end);
        let id = outcome.id.unwrap();
        self.taken.push((id, live));
        id
    }

    fn change(&self, change: impl FnOnce(&mut Coll)) {
        change(self.db.lock().unwrap().get_mut("c").unwrap());
    }

    /// Gives `count` random records of the first `of` new values.
    fn touch(&self, rng: &mut Rng, count: usize, of: u64) {
        self.change(|coll| {
            for _ in 0..count {
                let key = format!("key{:06}", rng.below(of)).into_bytes();
                coll.records.insert(key, Rec::blob(rng.bytes(60)));
            }
        });
    }

    fn forget(&mut self, gone: &[SnapshotId]) {
        for id in gone {
            self.repo.forget(id).unwrap();
        }
        self.taken.retain(|(id, _)| !gone.contains(id));
    }

    fn squash(&self, max_superseded: f64) -> SquashOutcome {
        squash_in(&self.repo, max_superseded).unwrap()
    }

    fn stack(&self, id: SnapshotId) -> Vec<LayerRef> {
        snapshot(&self.repo, id).collections[0].stack.clone()
    }

    fn layers(&self, id: SnapshotId) -> usize {
        self.stack(id).len()
    }

    /// Every remembered snapshot is what it was, for this catalog and for a new one.
    #[track_caller]
    fn check(&self, when: &str) {
        for repo in [self.repo.clone(), self.world.beside().open()] {
            let ids: Vec<SnapshotId> = repo.snapshots().unwrap().iter().map(|s| s.id).collect();
            assert_eq!(ids, self.taken.iter().map(|(id, _)| *id).collect::<Vec<_>>(), "{when}");
            for (id, db) in &self.taken {
                assert_same(&restored(&repo, &snapshot(&repo, *id)), db, when);
            }
            assert_sound(&repo);
            assert!(repo.warnings().is_empty(), "{when}: {:?}", repo.warnings());
        }
    }
}

fn one_thread() -> SquashOptions {
    SquashOptions { parallel: 1, ..SquashOptions::default() }
}

fn squash_in(repo: &Repository, max_superseded: f64) -> Result<SquashOutcome, OpsError> {
    repo.refresh()?;
    let plan = squash::plan(repo, max_superseded)?;
    squash::execute(repo, &plan, &one_thread(), &Heard::default())
}

/// One snapshot, and 24 hours after it, each with `changes` changed records of 1000.
fn day(changes: usize) -> (Past, Vec<SnapshotId>) {
    let mut rng = Rng::new(24);
    let mut past = Past::of(sample(1, 1000, 60));
    let mut ids = vec![past.take()];
    for _ in 0..24 {
        past.touch(&mut rng, changes, 1000);
        ids.push(past.take());
    }
    (past, ids)
}

#[test]
fn one_of_24_hourly_snapshots_leaves_one_delta_of_the_day_and_no_superseded_version() {
    let (mut past, ids) = day(10);
    assert_eq!(past.layers(ids[24]), 25);
    past.forget(&ids[1..24]);
    let base_packs: Vec<String> = {
        let snapshots = past.repo.snapshots().unwrap();
        let base = &snapshots[0].collections[0].stack[0];
        past.repo.chunk_places(&base.id).unwrap().iter().map(|place| place.name.to_string()).collect()
    };
    let from = past.world.backend.operations();
    let outcome = past.squash(MAX_SUPERSEDED);
    let read = past.world.backend.log_from(from);
    let of_base = |line: &&String| line.starts_with("read ") && base_packs.iter().any(|pack| line.contains(pack));
    assert_eq!(read.iter().find(of_base), None, "only the deltas are read");
    assert_eq!((outcome.merged, outcome.replaced, outcome.snapshots, outcome.left), (1, 24, 1, vec![]));
    let stack = past.stack(ids[24]);
    assert_eq!(stack.len(), 2);
    let first = &past.taken[0].1["c"].records;
    let last = &past.taken[1].1["c"].records;
    let changed = last.iter().filter(|(key, rec)| first.get(*key) != Some(*rec)).count() as u64;
    assert_eq!(stack[1].rows, changed, "one version of each record");
    past.check("after the day");
    assert_eq!(past.squash(MAX_SUPERSEDED), SquashOutcome::default(), "there is nothing left to do");
    let lease = snapshot(&past.repo, ids[24]).squash;
    assert_eq!(lease, outcome.id);
}

#[test]
fn a_base_rolls_forward_when_enough_of_it_is_superseded() {
    let (mut past, ids) = day(20);
    past.forget(&ids[..17]);
    let outcome = past.squash(MAX_SUPERSEDED);
    assert_eq!(outcome.left, Vec::<String>::new());
    let oldest = past.stack(ids[17]);
    assert_eq!((oldest.len(), oldest[0].rows), (1, 1000), "no superseded version is left");
    assert_eq!(past.stack(ids[18])[0], oldest[0]);
    assert_eq!(past.layers(ids[24]), 8, "snapshots that remain tell their deltas apart");
    past.check("after the base rolled");
    let (mut past, ids) = day(10);
    past.forget(&ids[..12]);
    past.squash(MAX_SUPERSEDED);
    assert_eq!(past.layers(ids[12]), 2, "a tenth is not enough");
    assert_eq!(past.stack(ids[12])[0].rows, 1000);
    past.squash(0.01);
    assert_eq!(past.layers(ids[12]), 1);
    past.check("after it had to");
}

#[test]
fn a_large_delta_is_not_rewritten_for_a_small_one() {
    let mut rng = Rng::new(3);
    let mut past = Past::of(sample(1, 1000, 60));
    let mut ids = vec![past.take()];
    for changes in [200, 2, 2, 2] {
        past.touch(&mut rng, changes, 1000);
        ids.push(past.take());
    }
    past.forget(&ids[1..4]);
    past.squash(MAX_SUPERSEDED);
    let stack = past.stack(ids[4]);
    assert_eq!(stack.len(), 3, "the large one, and one for the small ones");
    past.squash(0.0);
    assert_eq!(past.layers(ids[4]), 1 + 1);
    past.check("after both");
}

#[test]
fn layers_of_held_and_locked_snapshots_are_left_alone() {
    for lock in [false, true] {
        let (mut past, ids) = day(20);
        let now = past.world.clock.now();
        let until = Timestamp::from_millis(now.as_millis() + HOUR);
        past.repo
            .revise(&ids[7], &|manifest| {
                manifest.hold = !lock;
                manifest.lock_until = lock.then_some(until);
            })
            .unwrap();
        assert!(matches!(past.repo.forget(&ids[7]), Err(RepoError::Held { .. } | RepoError::Locked { .. })));
        let gone: Vec<SnapshotId> = ids.iter().copied().filter(|id| ![ids[7], ids[24]].contains(id)).collect();
        let held = past.stack(ids[7]);
        past.forget(&gone);
        past.squash(MAX_SUPERSEDED);
        assert_eq!(past.stack(ids[7]), held);
        let stack = past.stack(ids[24]);
        assert_eq!(stack[..8], held[..], "what they share stays");
        assert_eq!(stack.len(), 9, "what only the other has is merged");
        past.check("with one held");
        past.world.clock.advance(HOUR);
        past.repo.revise(&ids[7], &|manifest| manifest.hold = false).unwrap();
        past.squash(MAX_SUPERSEDED);
        assert_eq!((past.layers(ids[7]), past.layers(ids[24])), (2, 3));
        past.check("released");
    }
}

#[test]
fn no_base_row_is_dropped_on_the_word_of_an_unconfirmed_tombstone() {
    let mut past = Past::of(sample(1, 100, 60));
    past.db.lock().unwrap().get_mut("c").unwrap().records.insert(b"big".to_vec(), Rec::blob(vec![1; 100_000]));
    let first = past.take();
    past.change(|coll| {
        coll.records.retain(|key, _| !key.starts_with(b"key00000"));
        coll.records.insert(b"big".to_vec(), Rec::blob(vec![2; 100_000]));
    });
    past.source.mischief = Mischief::StreamFails(b"big".to_vec());
    past.world.clock.advance(HOUR);
    let partial = backup_with(&past.repo, &past.source, &Past::options()).unwrap();
    assert!(!partial.complete);
    let id = partial.id.unwrap();
    assert!(!snapshot(&past.repo, id).confirms_deletions());
    past.forget(&[first]);
    let base = past.stack(id);
    assert_eq!(base.len(), 2);
    past.squash(0.0);
    assert_eq!(past.stack(id), base, "the base and what is said of it stay apart");
    past.source.mischief = Mischief::None;
    let whole = past.take();
    past.squash(0.0);
    assert_eq!(past.stack(whole)[0], base[0], "the oldest that remains is still not confirmed");
    past.forget(&[id]);
    past.squash(0.0);
    assert_eq!(past.layers(whole), 1);
    past.check("confirmed");
}

/// A cache: a record that expired, and was touched in time by a backup whose parent is gone.
#[test]
fn a_row_that_is_over_stays_while_a_layer_above_inherits_its_value() {
    let mut past = Past::of(sample(1, 20, 60));
    let start = past.world.clock.now().as_millis();
    let expiry = |hours: f64| (start as f64 + hours * HOUR as f64) as u64;
    past.change(|coll| {
        for (n, rec) in coll.records.values_mut().enumerate() {
            rec.expiry = if n < 10 { expiry(2.5) } else { 0 };
        }
    });
    past.take();
    past.change(|coll| drop(coll.records.insert(b"new".to_vec(), Rec::text("a second layer"))));
    let parent = past.take();
    // Hour 3: the ten are over, and nobody says so.
    let quiet = past.take();
    assert_eq!(past.layers(quiet), 2);
    // Hour 4, joined with the snapshot of hour 2: five of them had been touched.
    past.change(|coll| {
        for rec in coll.records.values_mut().take(5) {
            rec.expiry = expiry(100.0);
            rec.generation += 1;
        }
    });
    let touched = past.take_with(&BackupOptions { parent: ParentChoice::Id(parent.to_string()), ..Past::options() });
    assert_eq!(past.layers(touched), 3);
    let first = past.taken[0].0;
    past.forget(&[first, parent]);
    let outcome = past.squash(0.0);
    assert_eq!(outcome.left, Vec::<String>::new());
    let base = past.stack(quiet);
    assert_eq!(base.len(), 1);
    assert_eq!(base[0].rows, 11 + 5, "of those that are over only what is inherited stays");
    past.check("after the roll");
}

#[test]
fn a_squash_of_many_collections_keeps_its_tables() {
    let (world, repo) = World::new();
    let mut db = sample(1, 5, 20);
    for n in 0..400 {
        let records = (0..10).map(|k| (format!("k{k}").into_bytes(), Rec::text(&format!("value {n}"))));
        db.insert(format!("collection with a name of some length, number {n}"), Coll::raw(records));
    }
    let db = Arc::new(Mutex::new(db));
    let source = MemorySource::new(&db, &world.clock);
    let mut past = Past { world, repo, db, source, taken: Vec::new() };
    past.take();
    let mut gone = Vec::new();
    for round in 0..3 {
        for coll in past.db.lock().unwrap().values_mut() {
            coll.records.insert(vec![round], Rec::text(&format!("round {round}")));
        }
        gone.push(past.take());
    }
    let last = gone.pop().unwrap();
    past.forget(&gone);
    let outcome = past.squash(MAX_SUPERSEDED);
    assert_eq!(outcome.left, Vec::<String>::new());
    let found = snapshot(&past.repo, last);
    assert!(found.collections.iter().all(|c| c.stack.len() == 2), "one delta each");
    assert_eq!((outcome.merged, outcome.snapshots), (1, 1), "all got the same three rows");
    past.check("many collections");
}

#[test]
fn equal_layers_of_two_sources_are_squashed_alike() {
    let mut rng = Rng::new(9);
    let mut past = Past::of(sample(1, 300, 60));
    let mut ids: Vec<[SnapshotId; 2]> = Vec::new();
    for _ in 0..6 {
        past.source.name = "memory".to_owned();
        let one = past.take();
        past.source.name = "its copy".to_owned();
        ids.push([one, past.take()]);
        past.touch(&mut rng, 5, 300);
    }
    assert_eq!(past.stack(ids[5][0]), past.stack(ids[5][1]));
    // The copy still tells one delta apart that the first does not.
    let gone: Vec<SnapshotId> = ids[1..5].iter().flatten().copied().filter(|id| *id != ids[2][1]).collect();
    past.forget(&gone);
    past.squash(MAX_SUPERSEDED);
    assert_eq!(past.stack(ids[5][0]), past.stack(ids[5][1]));
    assert_eq!(past.layers(ids[5][0]), 3);
    assert_eq!(past.layers(ids[2][1]), 2);
    past.check("two sources");
}

#[test]
fn what_changes_between_plan_and_squash_is_left_as_it_is() {
    let (mut past, ids) = day(10);
    let gone = [&ids[1..12], &ids[13..24]].concat();
    past.forget(&gone);
    let plan = squash::plan(&past.repo, MAX_SUPERSEDED).unwrap();
    assert_eq!(plan.merges.len(), 2);
    past.repo.revise(&ids[12], &|manifest| manifest.hold = true).unwrap();
    let outcome = squash::execute(&past.repo, &plan, &one_thread(), &Heard::default()).unwrap();
    assert_eq!((outcome.snapshots, outcome.left.len()), (1, 1), "{outcome:?}");
    assert!(outcome.left[0].contains("held"), "{outcome:?}");
    assert_eq!((past.layers(ids[12]), past.layers(ids[24])), (13, 3));
    past.check("held meanwhile");
    // The same plan again finds other layers there, and one snapshot gone.
    past.repo.revise(&ids[12], &|manifest| manifest.hold = false).unwrap();
    past.forget(&[ids[12]]);
    let outcome = squash::execute(&past.repo, &plan, &one_thread(), &Heard::default()).unwrap();
    assert_eq!((outcome.id, outcome.snapshots, outcome.left.len()), (None, 0, 2), "{outcome:?}");
    past.check("an old plan");
}

#[test]
fn two_squashes_at_once_do_no_harm() {
    let (mut past, ids) = day(10);
    past.forget(&ids[1..24]);
    let beside = past.world.beside();
    let other = beside.open();
    let (one, two) = std::thread::scope(|scope| {
        let first = scope.spawn(|| squash_in(&past.repo, 0.0));
        let second = squash_in(&other, 0.0);
        (first.join().unwrap().unwrap(), second.unwrap())
    });
    assert!(one.snapshots + two.snapshots <= 2 && one.snapshots.max(two.snapshots) >= 1, "{one:?} {two:?}");
    past.repo.refresh().unwrap();
    assert_eq!(past.layers(ids[24]), 2);
    past.check("two at once");
}

#[test]
fn a_backup_beside_a_squash_keeps_the_stack_it_relies_on() {
    let (mut past, ids) = day(10);
    past.forget(&ids[1..24]);
    let plan = squash::plan(&past.repo, MAX_SUPERSEDED).unwrap();
    past.touch(&mut Rng::new(77), 5, 1000);
    // A 25th delta: the backup merges eight of its own stack's.
    let beside = past.take();
    let own = past.stack(beside);
    squash::execute(&past.repo, &plan, &one_thread(), &Heard::default()).unwrap();
    assert_eq!(past.stack(beside), own);
    past.check("beside");
    past.squash(0.0);
    past.check("after it");
    past.forget(&[ids[24]]);
    past.squash(0.0);
    assert_eq!(past.layers(beside), 2, "the first one needs the base");
    past.forget(&[ids[0]]);
    past.squash(0.0);
    assert_eq!(past.layers(beside), 1);
    past.check("alone");
}

#[test]
fn a_snapshot_that_was_squashed_since_it_was_chosen_is_read_by_its_newest_revision() {
    let (mut past, ids) = day(10);
    let chosen = snapshot(&past.repo, ids[24]);
    past.forget(&ids[1..24]);
    past.squash(MAX_SUPERSEDED);
    let options = PruneOptions { max_unused: 0.0, ..PruneOptions::default() };
    prune(&past.repo, &options, &Heard::default()).unwrap();
    past.repo.refresh().unwrap();
    let old = &chosen.collections[0].stack[5].id;
    assert!(!past.repo.holds(old).unwrap(), "its old layers are gone");
    assert_same(&restored(&past.repo, &chosen), &past.taken[1].1, "chosen before");
    let snapshots = [chosen];
    let found = history(&past.repo, &snapshots, "c", "str:key000003", None, None, &Heard::default())
        .or_else(|_| history(&past.repo, &snapshots, "c", "hex:6b6579303030303033", None, None, &Heard::default()));
    assert_eq!(found.unwrap().snapshots, 1);
}

#[test]
fn history_says_where_versions_are_no_longer_promised() {
    let mut past = Past::of(sample(1, 20, 60));
    let mut ids = vec![past.take()];
    for n in 0..5 {
        past.change(|coll| drop(coll.records.insert(b"key000003".to_vec(), Rec::text(&format!("value {n}")))));
        ids.push(past.take());
    }
    let asked = |past: &Past| {
        let snapshots = past.repo.snapshots().unwrap();
        history(&past.repo, &snapshots, "c", "str:key000003", None, None, &Heard::default())
            .or_else(|_| history(&past.repo, &snapshots, "c", "hex:6b6579303030303033", None, None, &Heard::default()))
            .unwrap()
    };
    assert!(asked(&past).gaps.is_empty());
    past.forget(&ids[2..4]);
    past.squash(0.0);
    let found = asked(&past);
    assert_eq!(found.versions.len(), 4);
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    assert_eq!((found.gaps[0].after, found.gaps[0].before), (Some(ids[1]), ids[4]));
    past.forget(&ids[..2]);
    let gaps = asked(&past).gaps;
    assert_eq!((gaps.len(), gaps[0].after, gaps[0].before), (1, None, ids[4]));
}

/// What a squash of one day is crashed in.
struct Story {
    image: Image,
    taken: Vec<(SnapshotId, Db)>,
}

impl Story {
    fn new() -> Self {
        let mut rng = Rng::new(7);
        let mut past = Past::of(sample(1, 100, 60));
        let mut ids = vec![past.take()];
        for _ in 0..6 {
            past.touch(&mut rng, 7, 100);
            ids.push(past.take());
        }
        past.forget(&[ids[0], ids[1], ids[3], ids[5]]);
        Self { image: past.world.backend.image(), taken: past.taken }
    }

    fn world(&self) -> World {
        let world = World::over(self.image.clone());
        world.clock.advance(100 * HOUR);
        world
    }

    fn check(&self, world: &World, what: &str) {
        let repo = world.try_open().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(repo.snapshots().unwrap().len(), self.taken.len(), "{what}");
        for (id, db) in &self.taken {
            assert_same(&restored(&repo, &snapshot(&repo, *id)), db, what);
        }
        assert_sound(&repo);
    }
}

fn crash_everywhere(fault: Fault) {
    let story = Story::new();
    let operations = {
        let world = story.world();
        let repo = world.open();
        let from = world.backend.operations();
        let outcome = squash_in(&repo, 0.0).unwrap();
        assert_eq!((outcome.merged, outcome.snapshots), (3, 3), "{outcome:?}");
        world.backend.operations() - from
    };
    let (mut failed, mut pending_seen) = (0, 0);
    for nth in 1..=operations {
        let world = story.world();
        let what = format!("{fault:?} at operation {nth} of {operations}");
        let result = {
            let repo = world.open();
            world.backend.arm(nth, fault);
            squash_in(&repo, 0.0)
        };
        failed += u64::from(result.is_err());
        world.backend.disarm();
        story.check(&world, &what);
        // A dead squash is fenced, as prune or `unlock` does; then people and squashes may write again.
        let repo = world.open();
        let pending = repo.listing().unwrap().pending;
        for (id, lease) in &pending {
            pending_seen += 1;
            if let Err(error) = repo.revise(id, &|manifest| manifest.tags = vec!["x".to_owned()]) {
                assert!(error.to_string().contains(&lease.to_string()), "{what}: {error}");
                repo.fence(lease).unwrap();
            }
        }
        repo.refresh().unwrap();
        assert!(repo.listing().unwrap().pending.is_empty(), "{what}");
        let id = story.taken[0].0;
        repo.revise(&id, &|manifest| manifest.tags = vec!["y".to_owned()]).unwrap_or_else(|e| panic!("{what}: {e}"));
        squash_in(&repo, 0.0).unwrap_or_else(|error| panic!("{what}: again: {error}"));
        let stacks: Vec<usize> = repo.snapshots().unwrap().iter().map(|s| s.collections[0].stack.len()).collect();
        assert_eq!(stacks, [1, 2, 3], "{what}");
        assert_eq!(snapshot(&repo, id).tags, ["y"], "{what}");
        drop(repo);
        story.check(&world, &format!("{what}, squashed again"));
    }
    if matches!(fault, Fault::PowerCut { .. } | Fault::Full) {
        assert!(failed > 0 && pending_seen > 0, "{fault:?}: {failed} failed, {pending_seen} left something pending");
    }
}

#[test]
fn a_power_cut_at_any_operation_of_a_squash_changes_no_snapshot() {
    crash_everywhere(Fault::PowerCut { lands: false });
    crash_everywhere(Fault::PowerCut { lands: true });
}

#[test]
fn a_disk_that_fills_up_during_a_squash_changes_no_snapshot() {
    crash_everywhere(Fault::Full);
}

#[test]
fn an_operation_that_fails_during_a_squash_changes_no_snapshot() {
    crash_everywhere(Fault::Error(ErrorKind::PermissionDenied));
    crash_everywhere(Fault::LostAnswer(ErrorKind::TimedOut));
}

#[test]
fn random_histories_survive_forgetting_and_squashing() {
    for seed in 0..from_env("REKEEP_TEST_SQUASHES", 12) {
        random_history(seed);
    }
}

fn random_history(seed: u64) {
    let mut rng = Rng::new(seed ^ 0x5005);
    let mut past = Past::of(sample(seed, 60 + rng.below(200) as usize, 50));
    past.source.parts = if seed.is_multiple_of(3) { 3 } else { 1 };
    for step in 0..40 {
        match rng.below(10) {
            0..6 => {
                let now = past.world.clock.now().as_millis() as u64;
                past.change(|coll| {
                    for _ in 0..rng.below(40) {
                        let key = format!("key{:06}", rng.below(260)).into_bytes();
                        match (rng.below(6), coll.records.get_mut(&key)) {
                            (0 | 1, Some(_)) => drop(coll.records.remove(&key)),
                            (2, Some(rec)) => {
                                rec.generation += 1;
                                rec.expiry = now + rng.below(10 * HOUR as u64);
                            }
                            _ => drop(coll.records.insert(key, Rec::blob(rng.bytes(30)))),
                        }
                    }
                });
                let parent = past.taken.get(rng.below(12) as usize).map(|(id, _)| id.to_string());
                let options = BackupOptions {
                    parent: parent.map_or(ParentChoice::Auto, ParentChoice::Id),
                    new_base: rng.chance(5),
                    ..Past::options()
                };
                past.take_with(&options);
            }
            6 | 7 if past.taken.len() > 2 => {
                let gone: Vec<SnapshotId> = past
                    .taken
                    .iter()
                    .map(|(id, _)| *id)
                    .filter(|_| rng.chance(40))
                    .take(past.taken.len() - 1)
                    .collect();
                past.forget(&gone);
            }
            _ => {
                let outcome = past.squash(*rng.pick(&[0.0, 0.1, 0.3, 1.0]));
                assert!(outcome.left.is_empty(), "seed {seed}, step {step}: {:?}", outcome.left);
                past.check(&format!("seed {seed}, step {step}"));
            }
        }
    }
    past.squash(0.0);
    past.check(&format!("seed {seed}"));
}
