//! Backups that break off are carried on: what was finished is not read again, and the snapshot is what it would have been.

use crate::support::{
    Db, Fault, Heard, MemorySource, Mischief, Rec, Rng, TestClock, World,
    db::{assert_same, live_at, sample},
    rng::from_env,
    world::{assert_sound, backup_with, plain, restored, snapshot, verify_all},
};
use rekeep::{
    ops::{
        OpsError,
        backup::{Ask, BackupOptions, BackupOutcome, ParentChoice, Resume, backup},
        prune::{PruneOptions, prune},
    },
    record::{Clock, Timestamp},
    repo::{Checkpoint, Repository, Snapshot, WriteOptions},
};
use serde_json::json;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const HOUR: i64 = 3_600_000;
const PARTS: usize = 8;

fn every_range() -> BackupOptions {
    BackupOptions { parallel: 1, checkpoint_after: Duration::ZERO, ..plain() }
}

fn shared(db: &Db) -> Arc<Mutex<Db>> {
    Arc::new(Mutex::new(db.clone()))
}

/// A world whose source is a database in so many ranges.
struct Story {
    world: World,
    repo: Repository,
    db: Arc<Mutex<Db>>,
    source: MemorySource,
}

impl Story {
    fn new(db: &Db) -> Self {
        let (world, repo) = World::new();
        let db = shared(db);
        let source = MemorySource { takes_millis: 5_000, ..MemorySource::resumable(&db, &world.clock, PARTS) };
        Self { world, repo, db, source }
    }

    /// A backup that is cancelled once so many records were read.
    fn break_off_after(&self, records: u64, options: &BackupOptions) {
        let heard = Heard::default();
        heard.cancel_after.store(records, std::sync::atomic::Ordering::Relaxed);
        let broken = backup(&self.repo, &self.source, options, &heard);
        assert!(matches!(broken, Err(OpsError::Interrupted)), "{broken:?}");
        self.source.take_reads();
    }

    fn back_up(&self, options: &BackupOptions) -> (BackupOutcome, String, usize) {
        let heard = Heard::default();
        let outcome = backup(&self.repo, &self.source, options, &heard).unwrap();
        (outcome, heard.warnings(), self.source.take_reads().len())
    }

    fn snapshot(&self, outcome: &BackupOutcome) -> Snapshot {
        snapshot(&self.repo, outcome.id.unwrap())
    }

    #[track_caller]
    fn holds(&self, outcome: &BackupOutcome, db: &Db, what: &str) {
        assert_same(&restored(&self.repo, &self.snapshot(outcome)), &live_at(db, outcome.end), what);
        assert_sound(&self.repo);
    }

    /// As [`Self::holds`], where checkpoints are damaged: verify may name those, and nothing else. Gives how often it does.
    fn holds_beside_damaged_checkpoints(&self, outcome: &BackupOutcome, db: &Db, what: &str) -> usize {
        assert_same(&restored(&self.repo, &self.snapshot(outcome)), &live_at(db, outcome.end), what);
        let found = verify_all(&self.repo).unwrap().findings;
        assert!(found.iter().all(|one| one.object.starts_with("checkpoints/")), "{what}: {found:#?}");
        found.len()
    }

    fn now(&self) -> Db {
        self.db.lock().unwrap().clone()
    }

    fn checkpoints(&self) -> Vec<Checkpoint> {
        let (all, problems) = self.repo.checkpoints().unwrap();
        assert_eq!(problems, Vec::<String>::new());
        all
    }
}

/// Records of which some expire, at all distances.
fn expiring(seed: u64, count: usize) -> Db {
    let mut rng = Rng::new(seed);
    let mut db = sample(seed, count, 120);
    let now = TestClock::default().now().as_millis() as u64;
    for rec in db.get_mut("c").unwrap().records.values_mut() {
        if rng.chance(60) {
            let far = *rng.pick(&[4_000, 60_000, HOUR as u64, 30 * HOUR as u64, 90 * 24 * HOUR as u64]);
            rec.expiry = now + 1 + rng.below(far);
        }
    }
    db
}

#[test]
fn what_was_finished_is_not_read_again() {
    let db = sample(1, 800, 300);
    let story = Story::new(&db);
    story.break_off_after(450, &every_range());
    let checkpoint = story.checkpoints().pop().unwrap();
    let spans = &checkpoint.collections[0].spans;
    assert!(spans.len() >= 3, "{spans:?}");
    story.world.clock.advance(HOUR);
    let (outcome, warnings, reads) = story.back_up(&every_range());
    assert_eq!(reads, PARTS - spans.len());
    assert_eq!(outcome.stats.resumed_ranges, spans.len() as u64);
    assert_eq!(outcome.stats.resumed_records, 100 * spans.len() as u64);
    assert_eq!(outcome.resumed, Some(checkpoint.lease));
    assert!(warnings.contains("are taken over from the backup"), "{warnings}");
    assert_eq!((outcome.stats.seen, outcome.stats.new, outcome.records), (800, 800, 800));
    story.holds(&outcome, &db, "resumed");
    let (next, _, reads) = story.back_up(&BackupOptions { parent: ParentChoice::None, ..every_range() });
    assert_eq!((next.resumed, reads), (None, PARTS), "what was committed is taken over by nobody");
}

#[test]
fn a_resumed_backup_gives_the_layer_that_an_uninterrupted_one_gives() {
    let db = sample(2, 700, 300);
    let story = Story::new(&db);
    story.break_off_after(300, &every_range());
    let (resumed, ..) = story.back_up(&plain());
    assert!(resumed.stats.resumed_ranges > 0);
    let mut twin = MemorySource::resumable(&story.db, &story.world.clock, PARTS);
    twin.name = "twin".to_owned();
    let whole = backup_with(&story.repo, &twin, &plain()).unwrap();
    let (resumed, whole) = (story.snapshot(&resumed), story.snapshot(&whole));
    assert_eq!(resumed.collections[0].stack, whole.collections[0].stack);
    assert_eq!(resumed.collections[0].records, whole.collections[0].records);
    assert_eq!(resumed.collections[0].bytes, whole.collections[0].bytes);
}

#[test]
fn backups_broken_off_at_random_moments_are_carried_on_to_the_same_state() {
    for seed in 0..from_env("REKEEP_TEST_STEPS", 12) {
        let mut rng = Rng::new(seed ^ 0x5e5);
        let story = Story::new(&expiring(seed, 600));
        let has_parent = rng.chance(50);
        if has_parent {
            let (first, ..) = story.back_up(&plain());
            story.holds(&first, &story.now(), "the parent");
            story.world.clock.advance(10 * HOUR);
            change(&story, &mut rng);
        }
        let mut taken = 0;
        for _ in 0..=rng.below(2) {
            let heard = Heard::default();
            let mut source =
                MemorySource { takes_millis: 5_000, ..MemorySource::resumable(&story.db, &story.world.clock, PARTS) };
            let moment = 1 + rng.below(550);
            match rng.below(3) {
                0 => source.mischief = Mischief::FailsAfter(moment),
                1 => heard.cancel_after.store(moment, std::sync::atomic::Ordering::Relaxed),
                _ => story.world.backend.arm(10 + rng.below(60), Fault::PowerCut { lands: rng.chance(50) }),
            }
            let options = BackupOptions { parallel: 1 + rng.below(3) as usize, ..every_range() };
            let broken = backup(&story.repo, &source, &options, &heard);
            story.world.backend.disarm();
            if broken.is_ok() {
                // The moment never came.
                break;
            }
            story.world.clock.advance(20 * 60_000);
        }
        let repo = story.world.beside().open();
        story.world.clock.advance(1000);
        let outcome = backup_with(&repo, &story.source, &plain()).unwrap();
        taken += outcome.stats.resumed_ranges;
        let db = live_at(&story.now(), outcome.end);
        assert_same(
            &restored(&repo, &snapshot(&repo, outcome.id.unwrap())),
            &db,
            &format!("seed {seed}, {taken} taken"),
        );
        assert_sound(&repo);
    }
}

fn change(story: &Story, rng: &mut Rng) {
    let mut db = story.db.lock().unwrap();
    let records = &mut db.get_mut("c").unwrap().records;
    let now = story.world.clock.now().as_millis() as u64;
    for _ in 0..100 {
        let key = format!("key{:06}", rng.below(700)).into_bytes();
        match rng.below(4) {
            0 => drop(records.remove(&key)),
            1 => {
                records.entry(key).and_modify(|rec| rec.expiry = now + rng.below(HOUR as u64));
            }
            _ => drop(records.insert(key, Rec::blob(rng.bytes(80)))),
        }
    }
}

#[test]
fn each_range_keeps_its_own_times_and_shows_the_state_of_its_time() {
    let db = sample(3, 800, 200);
    let story = Story::new(&db);
    let began = story.world.clock.now();
    story.break_off_after(350, &every_range());
    let finished = story.checkpoints()[0].collections[0].spans.len();
    story.world.clock.advance(2 * HOUR);
    for rec in story.db.lock().unwrap().get_mut("c").unwrap().records.values_mut() {
        *rec = Rec::text("changed");
    }
    let resumed_at = story.world.clock.now();
    let (outcome, ..) = story.back_up(&plain());
    assert_eq!((outcome.start, outcome.end), (began, Timestamp::from_millis(resumed_at.as_millis() + 5_000)));
    let taken = story.snapshot(&outcome);
    let coverage = &taken.collections[0].coverage;
    assert_eq!(coverage.len(), 2, "{coverage:?}");
    assert_eq!((coverage[0].start, coverage[0].end), (began, began));
    assert_eq!((coverage[1].start, coverage[1].end), (resumed_at, outcome.end));
    assert_eq!(coverage[0].records, 100 * finished as u64);
    let mut mixed = db;
    let border = data_encoding::HEXLOWER.decode(coverage[1].from.as_bytes()).unwrap();
    for (key, rec) in &mut mixed.get_mut("c").unwrap().records {
        if *key >= border {
            *rec = Rec::text("changed");
        }
    }
    story.holds(&outcome, &mixed, "mixed");
    let (next, ..) = story.back_up(&plain());
    assert_eq!(next.stats.changed, 100 * finished as u64);
    story.holds(&next, &story.now(), "the next");
}

#[test]
fn records_that_expire_between_the_runs_are_settled_by_the_end_of_the_second() {
    for seed in [4, 5, 6] {
        let db = expiring(seed, 800);
        let story = Story::new(&db);
        story.break_off_after(400, &every_range());
        story.world.clock.advance(7 * HOUR + 12_345);
        let (outcome, ..) = story.back_up(&plain());
        assert!(outcome.stats.resumed_ranges >= 3);
        let live = live_at(&db, outcome.end)["c"].records.len() as u64;
        assert_eq!(outcome.records, live);
        assert!(live < db["c"].records.len() as u64);
        story.holds(&outcome, &db, "expired");
    }
}

#[test]
fn another_selection_parent_source_kind_or_option_is_not_carried_on() {
    let db = sample(7, 400, 100);
    let broken = || {
        let story = Story::new(&db);
        story.break_off_after(250, &every_range());
        story
    };
    let is_fresh = |story: &Story, options: &BackupOptions, what: &str| {
        let (outcome, _, reads) = story.back_up(options);
        assert_eq!((outcome.resumed, reads), (None, PARTS), "{what}");
        story.holds(&outcome, &db, what);
    };
    let mut story = broken();
    story.source.scope = "another".to_owned();
    is_fresh(&story, &plain(), "scope");
    let mut story = broken();
    story.source.name = "another".to_owned();
    is_fresh(&story, &plain(), "source");
    let mut story = broken();
    story.source.handover = Some(json!("another"));
    let heard = Heard::default();
    let outcome = backup(&story.repo, &story.source, &plain(), &heard).unwrap();
    assert_eq!(outcome.resumed, None);
    assert!(heard.warnings().contains("it is another memory"), "{}", heard.warnings());
    for (what, options) in [
        ("new base", BackupOptions { new_base: true, ..plain() }),
        ("deletions", BackupOptions { accept_deletions: true, ..plain() }),
        ("told not to", BackupOptions { resume: Resume::Never, ..plain() }),
        ("dry run", BackupOptions { dry_run: true, ..plain() }),
    ] {
        let story = broken();
        let (outcome, _, reads) = story.back_up(&options);
        assert_eq!((outcome.resumed, reads), (None, PARTS), "{what}");
    }
    let story = broken();
    let mut exact = MemorySource::new(&story.db, &story.world.clock).in_parts(PARTS);
    exact.handover = Some(json!("memory"));
    assert_eq!(backup_with(&story.repo, &exact, &plain()).unwrap().resumed, None, "an exact source shows one time");
    // With a parent, and then with another one.
    let story = Story::new(&db);
    let (first, ..) = story.back_up(&plain());
    story.break_off_after(250, &every_range());
    is_fresh(&story, &BackupOptions { parent: ParentChoice::None, ..plain() }, "no parent");
    story.world.clock.advance(1000);
    let id = ParentChoice::Id(first.id.unwrap().to_string());
    is_fresh(&story, &BackupOptions { parent: id, ..plain() }, "a snapshot was taken since");
}

#[test]
fn a_day_is_the_limit_but_for_those_who_ask() {
    let db = sample(8, 400, 100);
    let story = Story::new(&db);
    let always = BackupOptions { resume: Resume::Always, ..plain() };
    let none = backup_with(&story.repo, &story.source, &always).unwrap_err().to_string();
    assert!(none.contains("left a checkpoint"), "{none}");
    story.source.take_reads();
    story.break_off_after(250, &every_range());
    story.world.clock.advance(-1);
    let ahead = backup_with(&story.repo, &story.source, &always).unwrap_err().to_string();
    assert!(ahead.contains("yet to come"), "{ahead}");
    story.world.clock.advance(1 + 24 * HOUR);
    story.break_off_after(1, &plain());
    story.world.clock.advance(1);
    let again = Story { repo: story.world.beside().open(), ..story };
    let heard = Heard::default();
    heard.cancel_after.store(1, std::sync::atomic::Ordering::Relaxed);
    let _ = backup(&again.repo, &again.source, &plain(), &heard);
    assert!(!heard.warnings().contains("taken over"), "{}", heard.warnings());
    again.source.take_reads();
    let other = BackupOptions { resume: Resume::Always, accept_deletions: true, ..plain() };
    let other = backup_with(&again.repo, &again.source, &other).unwrap_err().to_string();
    assert!(other.contains("were not the same"), "{other}");
    let (outcome, _, reads) = again.back_up(&always);
    assert!(outcome.stats.resumed_ranges > 0 && reads < PARTS);
    again.holds(&outcome, &db, "after more than a day");
    let late = backup_with(&again.repo, &again.source, &always).unwrap_err().to_string();
    assert!(late.contains("nothing to resume"), "{late}");
}

#[test]
fn a_source_whose_ranges_hang_together_is_not_carried_on_and_says_so() {
    let story = Story::new(&sample(9, 400, 100));
    let mut source = MemorySource::resumable(&story.db, &story.world.clock, PARTS);
    source.handover = None;
    source.mischief = Mischief::FailsAfter(300);
    backup_with(&story.repo, &source, &every_range()).unwrap_err();
    assert!(story.checkpoints().is_empty());
    source.mischief = Mischief::None;
    let always = BackupOptions { resume: Resume::Always, ..plain() };
    let refused = backup_with(&story.repo, &source, &always).unwrap_err();
    assert_eq!(refused.kind(), rekeep::report::ErrorKind::Unsupported, "{refused}");
}

#[test]
fn ranges_with_a_missing_chunk_are_read_again() {
    let db = sample(10, 800, 3_000);
    let mut story = Story::new(&db);
    // Between two ranges, and without a record of the next: all that is stored belongs to ranges that are finished.
    story.source.mischief = Mischief::FailsAfter(600);
    backup_with(&story.repo, &story.source, &every_range()).unwrap_err();
    story.source.mischief = Mischief::None;
    story.source.take_reads();
    let finished = story.checkpoints()[0].collections[0].spans.len();
    assert_eq!(finished, 6, "the source fails where a range ends");
    // A data pack: 300 KB of values each.
    let victim = story.repo.packs().unwrap().into_iter().filter(|pack| pack.kind == rekeep::repo::ids::PackKind::Data);
    let victim = victim.max_by_key(|pack| pack.bytes).unwrap().name;
    story.world.backend.tamper(|image| image.retain(|name, _| !name.ends_with(&victim.to_string())));
    let (outcome, warnings, reads) = story.back_up(&plain());
    assert!(reads > PARTS - finished, "{reads} of {PARTS} read, {finished} were finished");
    assert!(outcome.stats.resumed_ranges > 0 && warnings.contains("chunks of them are gone"), "{warnings}");
    assert_same(&restored(&story.repo, &story.snapshot(&outcome)), &db, "a pack was gone");
}

#[test]
fn a_damaged_list_makes_everything_be_read_again() {
    let db = sample(11, 800, 300);
    let story = Story::new(&db);
    story.break_off_after(650, &every_range());
    let list = story.checkpoints()[0].collections[0].spans[0].lists[0].unwrap();
    let place = story.repo.chunk_places(&list).unwrap()[0].name.to_string();
    story.world.backend.tamper(|image| {
        let (_, bytes) = image.iter_mut().find(|(name, _)| name.ends_with(&place)).unwrap();
        for byte in &mut bytes[160..] {
            *byte ^= 0x55;
        }
    });
    let (outcome, warnings, reads) = story.back_up(&plain());
    assert!(warnings.contains("is read again"), "{warnings}");
    assert!(reads >= PARTS);
    assert_same(&restored(&story.repo, &story.snapshot(&outcome)), &db, "damaged");
}

#[test]
fn a_prune_keeps_what_was_finished_for_a_day() {
    let db = sample(12, 800, 3_000);
    for (hours, survives) in [(1, true), (25, false)] {
        let story = Story::new(&db);
        story.break_off_after(650, &every_range());
        let finished = story.checkpoints()[0].collections[0].spans.len();
        let pruned = prune(&story.repo, &PruneOptions::default(), &Heard::default()).unwrap();
        assert_eq!(pruned.failures, []);
        story.world.clock.advance(hours * HOUR);
        let pruned = prune(&story.repo, &PruneOptions::default(), &Heard::default()).unwrap();
        assert_eq!(pruned.checkpoints_removed, u64::from(!survives));
        assert_eq!(story.world.backend.names("checkpoints/").is_empty(), !survives);
        assert_eq!(story.world.backend.names("packs/").is_empty(), !survives);
        let (outcome, _, reads) = story.back_up(&plain());
        assert_eq!(reads, if survives { PARTS - finished } else { PARTS }, "after {hours} hours");
        story.holds(&outcome, &db, "pruned");
        let pruned = prune(&story.repo, &PruneOptions::default(), &Heard::default()).unwrap();
        assert_eq!(pruned.checkpoints_removed, u64::from(survives), "it was taken over by what committed");
        assert!(story.world.backend.names("checkpoints/").is_empty());
        assert_sound(&story.repo);
    }
}

#[test]
fn a_prune_tidies_the_checkpoints_of_what_committed() {
    let db = sample(13, 400, 300);
    let story = Story::new(&db);
    let (outcome, ..) = story.back_up(&every_range());
    assert!(story.world.backend.names("checkpoints/").len() > 2);
    assert!(story.checkpoints().is_empty());
    let pruned = prune(&story.repo, &PruneOptions::default(), &Heard::default()).unwrap();
    assert!(pruned.checkpoints_removed > 2);
    assert!(story.world.backend.names("checkpoints/").is_empty());
    story.holds(&outcome, &db, "tidied");
}

#[test]
fn unchanged_or_not_what_was_taken_over_is_committed() {
    let db = sample(14, 400, 100);
    let story = Story::new(&db);
    story.back_up(&plain());
    story.world.clock.advance(HOUR);
    story.break_off_after(250, &every_range());
    let skipping = BackupOptions { skip_if_unchanged: true, ..plain() };
    let (outcome, ..) = story.back_up(&skipping);
    assert!(outcome.resumed.is_some() && outcome.id.is_some());
    story.world.clock.advance(HOUR);
    let (outcome, _, reads) = story.back_up(&skipping);
    assert_eq!((outcome.skipped_unchanged, reads), (true, PARTS));
}

#[test]
fn a_full_backup_on_a_parent_is_carried_on() {
    let db = sample(15, 800, 300);
    let story = Story::new(&db);
    story.back_up(&plain());
    story.world.clock.advance(HOUR);
    let mut rng = Rng::new(15);
    change(&story, &mut rng);
    let options = BackupOptions { ask: Ask::Full, ..every_range() };
    story.break_off_after(450, &options);
    story.world.clock.advance(HOUR);
    let (outcome, _, reads) = story.back_up(&options);
    assert!(reads < PARTS && outcome.stats.deleted > 0 && outcome.stats.changed > 0, "{reads}: {:?}", outcome.stats);
    let now = story.now();
    story.holds(&outcome, &now, "on a parent");
}

/// Lets a broken-off backup's checkpoint say something else, under a lease of its own.
fn forge(story: &Story, change: impl FnOnce(&mut Checkpoint)) {
    let mut checkpoint = story.checkpoints().into_iter().max_by_key(|it| it.time).unwrap();
    checkpoint.time = Timestamp::from_millis(checkpoint.time.as_millis() + 1);
    change(&mut checkpoint);
    let options = WriteOptions { purpose: "backup".to_owned(), compression: 1, check: true, write_limit: None };
    let writing = story.repo.begin_write(&options).unwrap();
    writing.create_checkpoint(checkpoint).unwrap();
    writing.abandon().unwrap();
}

#[test]
fn checkpoints_that_lie_cost_a_reading_at_most() {
    type Lie = (&'static str, fn(&mut Checkpoint));
    let lies: [Lie; 9] = [
        ("lists in another order", |it| {
            let (one, others) = it.collections[0].spans.split_at_mut(1);
            std::mem::swap(&mut one[0].lists, &mut others[0].lists);
        }),
        ("outcomes in another order", |it| {
            let (one, others) = it.collections[0].spans.split_at_mut(1);
            std::mem::swap(&mut one[0].outcome, &mut others[0].outcome);
        }),
        ("a list as an outcome", |it| {
            let span = &mut it.collections[0].spans[0];
            span.outcome = span.lists[0].unwrap();
        }),
        ("no list", |it| it.collections[0].spans[0].lists[0] = None),
        ("a list that does not exist", |it| {
            it.collections[0].spans[0].lists[0] = Some(rekeep::repo::ChunkId([7; 32]));
        }),
        ("an unknown collection", |it| it.collections[0].name = "d".to_owned()),
        ("overlapping spans", |it| {
            let again = it.collections[0].spans[0].clone();
            it.collections[0].spans.push(again);
        }),
        ("spans outside", |it| it.collections[0].spans[0].first = 1000),
        ("a newer version", |it| it.version = 2),
    ];
    let db = sample(16, 800, 300);
    for (what, lie) in lies {
        let story = Story::new(&db);
        story.break_off_after(450, &every_range());
        forge(&story, lie);
        let (outcome, warnings, _) = story.back_up(&plain());
        assert!(outcome.complete, "{what}: {warnings}");
        story.holds_beside_damaged_checkpoints(&outcome, &db, what);
    }
}

#[test]
fn damaged_and_foreign_checkpoint_objects_are_passed_over() {
    let db = sample(17, 400, 100);
    let story = Story::new(&db);
    story.break_off_after(250, &every_range());
    let names = story.world.backend.names("checkpoints/");
    story.world.backend.tamper(|image| {
        let newest = names.last().unwrap();
        image.get_mut(newest).unwrap()[60] ^= 1;
        let lease = newest.rsplit_once('/').unwrap().0.to_owned();
        image.insert("checkpoints/nonsense".to_owned(), vec![1]);
        image.insert(format!("{lease}/end"), vec![1]);
        image.insert(format!("{lease}/007"), vec![1]);
    });
    let (outcome, warnings, reads) = story.back_up(&plain());
    assert_eq!((outcome.resumed, reads), (None, PARTS));
    assert!(warnings.contains("a checkpoint is not used"), "{warnings}");
    assert!(story.holds_beside_damaged_checkpoints(&outcome, &db, "damaged") > 0);
}

#[test]
fn what_could_not_be_read_is_no_finished_range() {
    let mut db = sample(18, 400, 100);
    let big = Rec::blob(Rng::new(18).bytes(300_000));
    db.get_mut("c").unwrap().records.insert(b"key000001b".to_vec(), big);
    let story = Story::new(&db);
    let mut source = MemorySource::resumable(&story.db, &story.world.clock, PARTS);
    source.mischief = Mischief::StreamFails(b"key000001b".to_vec());
    let heard = Heard::default();
    heard.cancel_after.store(250, std::sync::atomic::Ordering::Relaxed);
    backup(&story.repo, &source, &every_range(), &heard).unwrap_err();
    let checkpoint = story.checkpoints().pop().unwrap();
    assert!(checkpoint.collections[0].spans.iter().all(|span| span.first > 0));
    let (outcome, ..) = story.back_up(&plain());
    assert!(outcome.complete && outcome.resumed.is_some());
    story.holds(&outcome, &db, "read at last");
}

#[test]
fn a_power_cut_at_any_operation_of_a_backup_is_carried_on() {
    let db = sample(19, 240, 200);
    let options = BackupOptions { parallel: 1, checkpoint_after: Duration::ZERO, ..plain() };
    let operations = {
        let story = Story::new(&db);
        let from = story.world.backend.operations();
        story.back_up(&options);
        story.world.backend.operations() - from
    };
    let mut resumed = 0;
    for nth in 1..=operations {
        let story = Story::new(&db);
        story.world.backend.arm(nth, Fault::PowerCut { lands: nth % 2 == 0 });
        let broken = backup(&story.repo, &story.source, &options, &Heard::default());
        story.world.backend.disarm();
        story.source.take_reads();
        let what = format!("operation {nth} of {operations}");
        let repo = story.world.beside().open();
        if repo.snapshots().unwrap().is_empty() {
            assert!(broken.is_err(), "{what}");
            story.world.clock.advance(60_000);
            let outcome = backup_with(&repo, &story.source, &plain()).unwrap();
            let reads = story.source.take_reads().len() as u64;
            assert_eq!(reads + outcome.stats.resumed_ranges, PARTS as u64, "{what}");
            assert_same(&restored(&repo, &snapshot(&repo, outcome.id.unwrap())), &db, &what);
            resumed += u64::from(outcome.resumed.is_some());
        }
        assert_sound(&repo);
    }
    assert!(resumed > operations / 3, "{resumed} of {operations} were carried on");
}

#[test]
fn a_second_run_that_breaks_off_too_hands_on_what_it_took_over() {
    let db = sample(20, 800, 300);
    let story = Story::new(&db);
    story.break_off_after(250, &every_range());
    let first = story.checkpoints().pop().unwrap();
    story.world.clock.advance(HOUR);
    story.break_off_after(250, &every_range());
    let second = story.checkpoints().into_iter().max_by_key(|it| it.time).unwrap();
    let (before, after) = (&first.collections[0].spans, &second.collections[0].spans);
    assert!(after.len() > before.len() && before.iter().all(|span| after.contains(span)), "{after:?}");
    assert_eq!(second.counted_by, first.counted_by);
    story.world.clock.advance(HOUR);
    let (outcome, _, reads) = story.back_up(&plain());
    assert_eq!((outcome.resumed, reads), (Some(second.lease), PARTS - after.len()));
    assert_eq!(story.snapshot(&outcome).collections[0].coverage.len(), 3);
    story.holds(&outcome, &db, "twice");
}
