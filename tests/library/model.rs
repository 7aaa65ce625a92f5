//! Random sequences of changes, backups, restores, restarts and questions, against a plain model in memory.

use crate::support::{
    Coll, Db, Heard, MemorySource, MemoryTarget, Rec, Rng, World,
    db::{assert_same, live_at, sample},
    rng::from_env,
    world::{assert_sound, back_up, backup_with, plain, restore_with, restored, snapshot, verify_all},
};
use rekeep::{
    connector::Overwrite,
    ops::{
        Narrow, SnapshotSpec,
        backup::{Ask, BackupOptions, ParentChoice},
        diff::{Change, diff},
        history::history,
        restore::RestoreOptions,
        select::resolve,
    },
    record::{Clock, Expiry, KeyCodec, Tag, Timestamp},
    repo::{Repository, Snapshot, SnapshotId},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// What the model knows of a snapshot.
struct Taken {
    id: SnapshotId,
    end: Timestamp,
    /// What the source held, expired records included.
    held: Db,
    live: Db,
}

struct Model {
    world: World,
    repo: Option<Repository>,
    rng: Rng,
    db: Arc<Mutex<Db>>,
    source: MemorySource,
    taken: Vec<Taken>,
    counts: BTreeMap<&'static str, u64>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let (world, repo) = World::new();
        let mut rng = Rng::new(seed);
        let mut db = sample(seed, 120, 60);
        let mut ints = Coll::new(KeyCodec::Int);
        for n in 0..80i64 {
            let value = rng.bytes(40);
            ints.records.insert(KeyCodec::Int.parse(&format!("int:{}", n * 3)).unwrap(), Rec::blob(value));
        }
        db.insert("ints".to_owned(), ints);
        db.insert("empty".to_owned(), Coll::new(KeyCodec::Raw));
        let db = Arc::new(Mutex::new(db));
        let mut source = MemorySource::new(&db, &world.clock).in_parts(1 + (seed % 4) as usize);
        source.batch_rows = 1 + (seed % 60) as usize;
        Self { world, repo: Some(repo), rng, db, source, taken: Vec::new(), counts: BTreeMap::new() }
    }

    fn repo(&self) -> &Repository {
        self.repo.as_ref().unwrap()
    }

    fn snapshot(&self, id: SnapshotId) -> Snapshot {
        self.repo().snapshots().unwrap().into_iter().find(|s| s.id == id).expect("what committed stays")
    }

    fn some_taken(&mut self) -> Option<&Taken> {
        if self.taken.is_empty() {
            return None;
        }
        let n = self.rng.below(self.taken.len() as u64) as usize;
        self.taken.get(n)
    }

    fn step(&mut self) {
        let choice = self.rng.below(100);
        let name = match choice {
            0..36 => self.change(),
            36..66 => self.back_up(),
            66..78 => self.restore(),
            78..84 => self.history(),
            84..90 => self.diff(),
            90..94 => self.reopen(),
            94..97 => self.at_a_time(),
            _ => self.verify(),
        };
        *self.counts.entry(name).or_default() += 1;
        self.world.clock.advance(1 + self.rng.below(5_000) as i64);
    }

    fn change(&mut self) -> &'static str {
        let now = self.world.clock.now().as_millis() as u64;
        let db = Arc::clone(&self.db);
        let mut db = db.lock().unwrap();
        if self.rng.chance(4) {
            let name = format!("extra{}", self.rng.below(3));
            if db.remove(&name).is_none() {
                db.insert(name, Coll::raw([(b"only".to_vec(), Rec::text("one"))]));
            }
            return "collection";
        }
        let names: Vec<String> = db.keys().cloned().collect();
        let coll = db.get_mut(self.rng.pick(&names)).unwrap();
        for _ in 0..=self.rng.below(12) {
            let key = self.key(coll.codec);
            let existing = coll.records.get(&key).cloned();
            match (self.rng.below(10), existing) {
                (0..2, _) => drop(coll.records.remove(&key)),
                (2..4, Some(mut rec)) => {
                    rec.generation += 1;
                    rec.expiry = if self.rng.chance(50) { now + self.rng.below(60_000) } else { 0 };
                    coll.records.insert(key, rec);
                }
                (4, _) => {
                    let big = 100_000 + self.rng.below(400_000) as usize;
                    let mut rec = Rec::blob(self.rng.bytes(big));
                    rec.stamp = self.rng.word();
                    coll.records.insert(key, rec);
                }
                (5, Some(mut rec)) => {
                    rec.user_key = Some(self.rng.bytes(4));
                    rec.set = b"set".to_vec();
                    coll.records.insert(key, rec);
                }
                (_, existing) => {
                    let mut rec = self.value();
                    rec.generation = existing.map_or(1, |old| old.generation + 1);
                    coll.records.insert(key, rec);
                }
            }
        }
        "change"
    }

    fn key(&mut self, codec: KeyCodec) -> Vec<u8> {
        if codec == KeyCodec::Int {
            codec.parse(&format!("int:{}", self.rng.below(260))).unwrap()
        } else {
            format!("key{:06}", self.rng.below(140)).into_bytes()
        }
    }

    fn value(&mut self) -> Rec {
        let mut rec = Rec::default();
        for n in 0..self.rng.below(4) {
            let len = self.rng.below(60) as usize;
            let bytes = self.rng.bytes(len);
            rec.cells.insert(format!("cell{}", n * 2).into_bytes(), (Tag::BLOB.0, bytes));
        }
        rec
    }

    fn back_up(&mut self) -> &'static str {
        let mut options = BackupOptions { parallel: 1 + self.rng.below(3) as usize, ..plain() };
        let mode = self.rng.below(20);
        match mode {
            0 => options.new_base = true,
            1 => options.parent = ParentChoice::None,
            2 => options.dry_run = true,
            3..5 => options.skip_if_unchanged = true,
            5 => options.ask = Ask::Full,
            6 => options.compression = 0,
            7 => {
                if let Some(taken) = self.some_taken() {
                    options.parent = ParentChoice::Id(taken.id.to_string());
                }
            }
            _ => {}
        }
        self.source.stream_over = *self.rng.pick(&[0, 1000, 64 * 1024, usize::MAX]);
        let end = self.world.clock.now();
        let outcome = backup_with(self.repo(), &self.source, &options).unwrap();
        assert!(outcome.complete, "{:?}", outcome.problems);
        let held = self.db.lock().unwrap().clone();
        let live = live_at(&held, end);
        let expected: u64 = live.values().map(|coll| coll.records.len() as u64).sum();
        assert_eq!(outcome.records, expected, "records in mode {mode}");
        let previous = self.taken.last().map(|taken| &taken.live);
        match outcome.id {
            Some(id) => {
                assert!(!options.dry_run);
                assert!(
                    !options.skip_if_unchanged || outcome.stats.chunks_new > 0 || previous != Some(&live),
                    "an unchanged source was not skipped"
                );
                self.taken.push(Taken { id, end, held, live });
                "backup"
            }
            None if options.dry_run => "dry run",
            None => {
                assert!(options.skip_if_unchanged && outcome.skipped_unchanged);
                assert_eq!(previous, Some(&live), "a changed source was skipped");
                "skipped"
            }
        }
    }

    fn restore(&mut self) -> &'static str {
        let overwrites = [None, Some(Overwrite::Always), Some(Overwrite::Never), Some(Overwrite::IfChanged)];
        let options = RestoreOptions {
            overwrite: *self.rng.pick(&overwrites),
            make_equal: self.rng.chance(40),
            verify: self.rng.chance(50),
            ..RestoreOptions::default()
        };
        // The target holds something else: another snapshot's records, or what the source has now.
        let occupied = (options.overwrite.is_some() || options.make_equal) && self.rng.chance(80);
        let before = match (occupied, self.rng.chance(50)) {
            (false, _) => Db::new(),
            (true, true) => self.db.lock().unwrap().clone(),
            (true, false) => self.some_taken().map(|taken| taken.live.clone()).unwrap_or_default(),
        };
        let Some(taken) = self.some_taken() else { return "nothing" };
        let (id, live) = (taken.id, taken.live.clone());
        let mut expected = before.clone();
        for (name, coll) in &live {
            let there = expected.entry(name.clone()).or_insert_with(|| Coll::new(coll.codec));
            if options.make_equal {
                there.records.retain(|key, _| coll.records.contains_key(key));
            }
            let overwrite = options.overwrite.unwrap_or(Overwrite::IfChanged);
            for (key, rec) in &coll.records {
                let keeps = there.records.get(key).is_some_and(|old| match overwrite {
                    Overwrite::Always | Overwrite::IfNewer | Overwrite::Merge | Overwrite::MergeIfNewer => false,
                    Overwrite::Never => true,
                    Overwrite::IfChanged => old.is_same(rec),
                });
                if !keeps {
                    there.records.insert(key.clone(), rec.clone());
                }
            }
        }
        let mut target = MemoryTarget::holding(before);
        target.clock = Arc::clone(&self.world.clock);
        let outcome = restore_with(self.repo(), &self.snapshot(id), &target, &options).unwrap();
        assert_same(&target.held(), &expected, &format!("restore of {id} with {options:?}"));
        assert_eq!(outcome.records, live.values().map(|coll| coll.records.len() as u64).sum::<u64>());
        if options.verify && options.overwrite != Some(Overwrite::Never) {
            assert_eq!((outcome.verified, outcome.different), (Some(outcome.records), 0), "{options:?}");
            assert!(outcome.complete);
        }
        "restore"
    }

    fn history(&mut self) -> &'static str {
        let collection = (*self.rng.pick(&["c", "ints"])).to_owned();
        let codec = if collection == "ints" { KeyCodec::Int } else { KeyCodec::Raw };
        let key = self.key(codec);
        if self.taken.is_empty() {
            return "nothing";
        }
        let snapshots = self.repo().snapshots().unwrap();
        let shown = codec.show(&key);
        let found = history(self.repo(), &snapshots, &collection, &shown, None, None, &Heard::default()).unwrap();
        let found: Vec<(&str, SnapshotId, SnapshotId, Option<u32>, u64)> = found
            .versions
            .iter()
            .map(|v| (v.state, v.first_snapshot, v.last_snapshot, v.generation, v.snapshots))
            .collect();
        assert_eq!(found, self.expected_history(&collection, &key), "history of {shown} in {collection}");
        "history"
    }

    /// Versions as (state, first snapshot, last snapshot, generation, snapshots).
    fn expected_history(
        &self,
        collection: &str,
        key: &[u8],
    ) -> Vec<(&'static str, SnapshotId, SnapshotId, Option<u32>, u64)> {
        let mut versions: Vec<(&'static str, SnapshotId, SnapshotId, Option<u32>, u64)> = Vec::new();
        let mut last: Option<(&'static str, Rec)> = None;
        for taken in &self.taken {
            let Some(coll) = taken.held.get(collection) else { continue };
            let live = coll.records.get(key).filter(|rec| rec.is_live_at(taken.end));
            let state = match (live, &last) {
                (Some(rec), _) => ("live", rec.clone()),
                (None, None) => continue,
                (None, Some(("live", rec))) => {
                    let over = Expiry::from_millis(rec.expiry).is_over_at(taken.end);
                    (if over { "expired" } else { "deleted" }, rec.clone())
                }
                (None, Some(gone)) => gone.clone(),
            };
            if let (Some(version), true) = (versions.last_mut(), last.as_ref() == Some(&state)) {
                version.2 = taken.id;
                version.4 += 1;
            } else {
                let generation = (state.0 != "deleted").then_some(state.1.generation);
                versions.push((state.0, taken.id, taken.id, generation, 1));
            }
            last = Some(state);
        }
        versions
    }

    fn diff(&mut self) -> &'static str {
        if self.taken.is_empty() {
            return "nothing";
        }
        let a = self.rng.below(self.taken.len() as u64) as usize;
        let b = self.rng.below(self.taken.len() as u64) as usize;
        let (one, other) = (self.snapshot(self.taken[a].id), self.snapshot(self.taken[b].id));
        let mut found = Vec::new();
        diff(self.repo(), &one, &other, None, &Heard::default(), &mut |collection, key, change| {
            found.push((collection.to_owned(), key.to_owned(), change));
        })
        .unwrap();
        assert_eq!(found, expected_diff(&self.taken[a].live, &self.taken[b].live));
        "diff"
    }

    fn reopen(&mut self) -> &'static str {
        self.repo = None;
        let drops = self.rng.chance(50);
        if drops {
            self.world.drop_catalog();
        }
        let repo = self.world.open();
        assert!(repo.warnings().is_empty(), "{:?}", repo.warnings());
        let found: Vec<SnapshotId> = repo.snapshots().unwrap().iter().map(|s| s.id).collect();
        let expected: Vec<SnapshotId> = self.taken.iter().map(|taken| taken.id).collect();
        assert_eq!(found, expected);
        self.repo = Some(repo);
        if drops { "dropped the catalog" } else { "reopened" }
    }

    fn at_a_time(&mut self) -> &'static str {
        let (Some(first), now) = (self.taken.first(), self.world.clock.now().as_millis()) else { return "nothing" };
        let first = first.end.as_millis();
        let time = Timestamp::from_millis(first - 1000 + self.rng.below((now - first + 2000) as u64) as i64);
        let expected = self.taken.iter().rfind(|taken| taken.end <= time);
        let snapshots = self.repo().snapshots().unwrap();
        let found =
            resolve(&snapshots, &SnapshotSpec::At(time), &Narrow::default(), self.world.clock.now(), &Heard::default());
        match (expected, found) {
            (Some(taken), Ok(found)) => {
                assert_eq!(found.id, taken.id);
                assert_same(&restored(self.repo(), &found), &taken.live, "going back in time");
            }
            (None, Err(_)) => {}
            (expected, found) => panic!("{:?} instead of {:?}", found.map(|s| s.id), expected.map(|t| t.id)),
        }
        "back in time"
    }

    fn verify(&mut self) -> &'static str {
        assert_sound(self.repo());
        "verify"
    }
}

fn expected_diff(a: &Db, b: &Db) -> Vec<(String, String, Change)> {
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    let empty = Coll::new(KeyCodec::Raw);
    let mut changes = Vec::new();
    for name in names {
        let (left, right) = (a.get(name).unwrap_or(&empty), b.get(name).unwrap_or(&empty));
        let codec = a.get(name).or_else(|| b.get(name)).map_or(KeyCodec::Raw, |coll| coll.codec);
        let mut keys: Vec<&Vec<u8>> = left.records.keys().chain(right.records.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let change = match (left.records.get(key), right.records.get(key)) {
                (Some(old), Some(new)) if old == new => continue,
                (Some(_), Some(_)) => Change::Changed,
                (Some(_), None) => Change::Removed,
                (None, _) => Change::Added,
            };
            changes.push((name.clone(), codec.show(key), change));
        }
    }
    changes
}

#[test]
fn random_sequences_agree_with_the_model() {
    let steps = from_env("REKEEP_TEST_STEPS", 250);
    let seed = from_env("REKEEP_TEST_SEED", 1);
    let mut total: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut done = 0;
    for seed in seed.. {
        let mut model = Model::new(seed);
        for step in 0..100.min(steps - done) {
            let stepped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.step()));
            if let Err(panic) = stepped {
                eprintln!(
                    "seed {seed}, step {step}: REKEEP_TEST_SEED={seed} REKEEP_TEST_STEPS={} repeats it",
                    step + 1
                );
                std::panic::resume_unwind(panic);
            }
            done += 1;
        }
        for taken in &model.taken {
            assert_same(&restored(model.repo(), &model.snapshot(taken.id)), &taken.live, "in the end");
        }
        let outcome = verify_all(model.repo()).unwrap();
        assert!(outcome.findings.is_empty(), "seed {seed}: {:#?}", outcome.findings);
        for (name, count) in model.counts {
            *total.entry(name).or_default() += count;
        }
        if done >= steps {
            break;
        }
    }
    if steps >= 250 {
        for name in ["backup", "dry run", "skipped", "restore", "history", "diff", "dropped the catalog", "verify"] {
            assert!(total.contains_key(name), "{name} never happened: {total:?}");
        }
    }
}

#[test]
fn stacks_beyond_the_limit_are_merged_and_every_state_comes_back() {
    let (world, repo) = World::new();
    let mut rng = Rng::new(99);
    let db = Arc::new(Mutex::new(sample(99, 600, 200)));
    let source = MemorySource::new(&db, &world.clock).in_parts(3);
    let mut states = Vec::new();
    let mut deepest = 0;
    for round in 0..45u64 {
        let now = world.clock.now();
        {
            let mut db = db.lock().unwrap();
            let records = &mut db.get_mut("c").unwrap().records;
            for _ in 0..6 {
                let key = format!("key{:06}", rng.below(640)).into_bytes();
                match rng.below(6) {
                    0 => drop(records.remove(&key)),
                    1 => {
                        if let Some(rec) = records.get_mut(&key) {
                            rec.generation += 1;
                            rec.expiry = now.as_millis() as u64 + rng.below(20_000);
                        }
                    }
                    _ => drop(records.insert(key, Rec::text(&format!("round {round}")))),
                }
            }
        }
        let outcome = back_up(&repo, &source);
        let taken = repo.snapshots().unwrap().into_iter().find(|s| Some(s.id) == outcome.id).unwrap();
        deepest = deepest.max(taken.collections[0].stack.len());
        states.push((taken, live_at(&db.lock().unwrap(), now)));
        world.clock.advance(1000);
    }
    assert_eq!(deepest, 25, "a base and at most 24 deltas");
    assert!(states.last().unwrap().0.collections[0].stack.len() < 25 || states.len() < 26, "deltas were merged");
    for (taken, live) in &states {
        assert_same(&restored(&repo, taken), live, "before and after merging");
    }
    assert_sound(&repo);
}

#[test]
fn deltas_that_several_threads_merge_make_the_layer_that_one_makes() {
    let (world, repo) = World::new();
    let mut db = sample(98, 300, 100);
    let change = |db: &mut Db, round: usize| {
        let records = &mut db.get_mut("c").unwrap().records;
        for n in 0..3 {
            records.insert(format!("key{:06}", round * 7 + n * 90).into_bytes(), Rec::text(&format!("round {round}")));
        }
        world.clock.advance(1000);
    };
    let mut last = None;
    for round in 0..25 {
        change(&mut db, round);
        last = back_up(&repo, &MemorySource::of(db.clone(), &world.clock).in_parts(3)).id;
    }
    assert_eq!(snapshot(&repo, last.unwrap()).collections[0].stack.len(), 25);
    change(&mut db, 25);
    let merged_by = |parallel| {
        let beside = World::over(world.backend.image());
        let repo = beside.open();
        let source = MemorySource::of(db.clone(), &world.clock).in_parts(3);
        let made = backup_with(&repo, &source, &BackupOptions { parallel, ..plain() }).unwrap();
        let made = snapshot(&repo, made.id.unwrap());
        assert_same(&restored(&repo, &made), &db, "after merging");
        made.collections[0].stack.clone()
    };
    let alone = merged_by(1);
    assert_eq!(alone.len(), 19, "eight deltas became one, and one more was put on top");
    assert_eq!(merged_by(3), alone);
}

#[test]
fn a_new_base_is_written_when_the_deltas_have_grown_large() {
    let (world, repo) = World::new();
    let db = Arc::new(Mutex::new(sample(7, 300, 100)));
    let source = MemorySource::new(&db, &world.clock);
    let mut depths = Vec::new();
    for round in 0..12u64 {
        let fresh = sample(1000 + round, 40, 100);
        db.lock().unwrap().get_mut("c").unwrap().records.extend(fresh["c"].records.clone());
        let outcome = back_up(&repo, &source);
        let taken = repo.snapshots().unwrap().into_iter().find(|s| Some(s.id) == outcome.id).unwrap();
        depths.push(taken.collections[0].stack.len());
        assert_same(&restored(&repo, &taken), &db.lock().unwrap(), "in each round");
        world.clock.advance(1000);
    }
    assert!(depths.iter().skip(1).any(|&depth| depth == 1), "never a new base: {depths:?}");
    assert!(depths.iter().all(|&depth| depth < 8), "{depths:?}");
    assert_sound(&repo);
}
