//! Records that could not be read, targets that cannot take a record, and snapshots that are not whole.

use crate::support::{
    Coll, Db, Heard, MemorySource, MemoryTarget, Mischief, Rec, Rng, World,
    db::{assert_same, sample},
    world::{assert_sound, back_up, plain, restore_with, restored, snapshot},
};
use jiff::tz::TimeZone;
use rekeep::{
    ops::{
        Narrow, SnapshotSpec,
        backup::backup,
        forget::{Policy, plan_policy},
        restore::RestoreOptions,
        select::resolve,
        verify::{AgainstOptions, verify_against},
    },
    record::Clock,
    report::{ErrorKind, Remedy},
};

fn with_big(value: u64) -> Db {
    let mut db = sample(5, 20, 50);
    db.get_mut("c").unwrap().records.insert(b"big".to_vec(), Rec::blob(Rng::new(value).bytes(400_000)));
    db
}

#[test]
fn a_value_that_cannot_be_read_is_named_and_the_rest_is_kept() {
    let (world, repo) = World::new();
    let source = MemorySource::of(with_big(1), &world.clock).doing(Mischief::StreamFails(b"big".to_vec()));
    let outcome = back_up(&repo, &source);
    assert!(!outcome.complete);
    assert_eq!((outcome.stats.unreadable, outcome.records), (1, 20));
    let line = outcome.problems.join("\n");
    assert!(line.contains("hex:626967") && line.contains("broke off"), "{line}");
    let mut expected = with_big(1);
    expected.get_mut("c").unwrap().records.remove(b"big".as_slice());
    assert_same(&restored(&repo, &snapshot(&repo, outcome.id.unwrap())), &expected, "without the value");
    assert_sound(&repo);
}

#[test]
fn the_parents_version_stands_for_a_value_that_cannot_be_read() {
    let (world, repo) = World::new();
    back_up(&repo, &MemorySource::of(with_big(1), &world.clock));
    world.clock.advance(1000);
    let source = MemorySource::of(with_big(2), &world.clock).doing(Mischief::StreamFails(b"big".to_vec()));
    let outcome = back_up(&repo, &source);
    assert!(!outcome.complete);
    assert_eq!((outcome.stats.unreadable, outcome.stats.deleted, outcome.records), (1, 0, 21));
    let partial = snapshot(&repo, outcome.id.unwrap());
    assert_same(&restored(&repo, &partial), &with_big(1), "the older value stands");
    assert_sound(&repo);
    // The next run that can read it puts things right.
    world.clock.advance(1000);
    let outcome = back_up(&repo, &MemorySource::of(with_big(2), &world.clock));
    assert!(outcome.complete);
    assert_same(&restored(&repo, &snapshot(&repo, outcome.id.unwrap())), &with_big(2), "once it can be read");
}

#[test]
fn a_value_that_changes_while_it_is_read_is_kept_and_counted() {
    let (world, repo) = World::new();
    let source = MemorySource::of(with_big(1), &world.clock).doing(Mischief::Tears(b"big".to_vec()));
    let outcome = back_up(&repo, &source);
    assert_eq!((outcome.stats.torn, outcome.records), (1, 21));
    assert!(outcome.problems.iter().any(|line| line.contains("hex:626967")), "{:?}", outcome.problems);
    assert_same(&restored(&repo, &snapshot(&repo, outcome.id.unwrap())), &with_big(1), "as it was read");
}

#[test]
fn a_partial_snapshot_is_the_newest_with_a_word_and_cannot_empty_a_target() {
    let (world, repo) = World::new();
    let whole = back_up(&repo, &MemorySource::of(sample(5, 20, 50), &world.clock));
    world.clock.advance(1000);
    let source =
        MemorySource::of(sample(5, 18, 50), &world.clock).doing(Mischief::Misses("records of shard 7".to_owned()));
    let outcome = back_up(&repo, &source);
    assert!(!outcome.complete && outcome.problems == ["records of shard 7"]);
    let snapshots = repo.snapshots().unwrap();
    for spec in [SnapshotSpec::Latest(0), SnapshotSpec::At(world.clock.now())] {
        let heard = Heard::default();
        let found = resolve(&snapshots, &spec, &Narrow::default(), world.clock.now(), &heard).unwrap();
        assert_eq!(Some(found.id), outcome.id, "{spec:?}");
        for word in ["PARTIAL", "records of shard 7", &whole.id.unwrap().short()] {
            assert!(heard.warnings().contains(word), "{word}: {}", heard.warnings());
        }
        let heard = Heard::default();
        let complete = Narrow { complete: true, ..Narrow::default() };
        let found = resolve(&snapshots, &spec, &complete, world.clock.now(), &heard).unwrap();
        assert_eq!(Some(found.id), whole.id, "{spec:?}");
        assert!(heard.warnings().contains(&outcome.id.unwrap().short()), "{}", heard.warnings());
    }
    let by_id = SnapshotSpec::Id(outcome.id.unwrap().to_string());
    let partial = resolve(&snapshots, &by_id, &Narrow::default(), world.clock.now(), &Heard::default()).unwrap();
    let target = MemoryTarget::holding(sample(5, 20, 50));
    let mut options = RestoreOptions { make_equal: true, ..RestoreOptions::default() };
    let refused = restore_with(&repo, &partial, &target, &options).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::SnapshotPartial, "{refused}");
    assert_same(&target.held(), &sample(5, 20, 50), "refused means untouched");
    options.force = true;
    let forced = restore_with(&repo, &partial, &target, &options).unwrap();
    assert!(!forced.complete, "what is partial stays partial");
    assert_same(&target.held(), &sample(5, 18, 50), "forced");
}

#[test]
fn a_complete_snapshot_that_there_is_none_of_is_a_clear_failure() {
    let (world, repo) = World::new();
    back_up(&repo, &MemorySource::of(sample(5, 2, 5), &world.clock).doing(Mischief::Misses("half".to_owned())));
    let complete = Narrow { complete: true, ..Narrow::default() };
    let found = |narrow: &Narrow| {
        let snapshots = repo.snapshots().unwrap();
        resolve(&snapshots, &SnapshotSpec::Latest(0), narrow, world.clock.now(), &Heard::default())
    };
    assert!(found(&complete).unwrap_err().to_string().contains("no complete snapshot"));
    assert!(!found(&Narrow::default()).unwrap().content.complete);
}

#[test]
fn a_clock_that_went_backwards_is_warned_of_and_the_snapshot_kept() {
    let (world, repo) = World::new();
    let first = back_up(&repo, &MemorySource::of(sample(1, 30, 40), &world.clock));
    world.clock.advance(-3_600_000);
    let heard = Heard::default();
    let source = MemorySource::of(sample(2, 30, 40), &world.clock);
    let second = backup(&repo, &source, &plain(), &heard).unwrap();
    assert!(heard.warnings().contains("backwards"), "{}", heard.warnings());
    assert_eq!(second.parent, first.id);
    assert!(second.complete);
    for (outcome, seed) in [(&first, 1), (&second, 2)] {
        let taken = snapshot(&repo, outcome.id.unwrap());
        assert_same(&restored(&repo, &taken), &sample(seed, 30, 40), "whatever the clock said");
    }
    let snapshots = repo.snapshots().unwrap();
    let at = |millis: i64| {
        let spec = SnapshotSpec::At(rekeep::record::Timestamp::from_millis(millis));
        resolve(&snapshots, &spec, &Narrow::default(), world.clock.now(), &Heard::default()).unwrap().id
    };
    assert_eq!(Some(at(world.clock.now().as_millis())), second.id);
    assert_eq!(Some(at(world.clock.now().as_millis() + 3_600_000)), first.id);
    assert_sound(&repo);
}

#[test]
fn after_a_clock_was_put_right_by_minutes_what_is_committed_later_is_the_newer() {
    let (world, repo) = World::new();
    world.clock.advance(200_000);
    back_up(&repo, &MemorySource::of(sample(1, 30, 40), &world.clock));
    world.clock.advance(-200_000);
    let mut last = None;
    for seed in 2..5 {
        let heard = Heard::default();
        let mut source = MemorySource::of(sample(seed, 30, 40), &world.clock);
        source.exact = seed != 3;
        let outcome = backup(&repo, &source, &plain(), &heard).unwrap();
        assert!(heard.warnings().contains("counts as the newer"), "{}", heard.warnings());
        assert!(last.is_none_or(|last| outcome.parent == Some(last)), "{seed}");
        last = outcome.id;
        let snapshots = repo.snapshots().unwrap();
        let spec = SnapshotSpec::Latest(0);
        let found = resolve(&snapshots, &spec, &Narrow::default(), world.clock.now(), &Heard::default()).unwrap();
        assert_eq!(Some(found.id), outcome.id, "{seed}");
        world.clock.advance(1000);
    }
    let policy = Policy { last: Some(1), ..Policy::default() };
    let plan = plan_policy(&repo, &Narrow::default(), &policy, &TimeZone::UTC).unwrap();
    assert_eq!(plan.dropped().count(), 3);
    assert!(plan.dropped().all(|decision| Some(decision.id) != last));
    assert_sound(&repo);
}

#[test]
fn a_time_within_a_slow_backup_is_answered_with_the_one_before_and_a_warning() {
    let (world, repo) = World::new();
    let first = back_up(&repo, &MemorySource::of(sample(1, 30, 40), &world.clock));
    world.clock.advance(1000);
    let mut slow = MemorySource::of(sample(2, 30, 40), &world.clock);
    slow.exact = false;
    slow.takes_millis = 10_000;
    let middle = rekeep::record::Timestamp::from_millis(world.clock.now().as_millis() + 5_000);
    let second = back_up(&repo, &slow);
    assert!(second.end.as_millis() - second.start.as_millis() == 10_000);
    let heard = Heard::default();
    let found =
        resolve(&repo.snapshots().unwrap(), &SnapshotSpec::At(middle), &Narrow::default(), world.clock.now(), &heard)
            .unwrap();
    assert_eq!(Some(found.id), first.id);
    assert!(heard.warnings().contains(&second.id.unwrap().short()), "{}", heard.warnings());
}

#[test]
fn a_target_that_holds_records_is_not_touched_without_a_word() {
    let (world, repo) = World::new();
    let outcome = back_up(&repo, &MemorySource::of(sample(1, 30, 40), &world.clock));
    let target = MemoryTarget::holding(sample(2, 3, 40));
    let taken = snapshot(&repo, outcome.id.unwrap());
    let error = restore_with(&repo, &taken, &target, &RestoreOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetOccupied, "{error}");
    assert_eq!(error.remedies(), [Remedy::ChooseOverwrite]);
    assert_same(&target.held(), &sample(2, 3, 40), "untouched");
}

#[test]
fn a_record_that_the_target_refuses_is_named_and_the_others_arrive() {
    let (world, repo) = World::new();
    let outcome = back_up(&repo, &MemorySource::of(sample(1, 30, 40), &world.clock));
    let target = MemoryTarget { refuses: Some(b"key000007".to_vec()), ..MemoryTarget::default() };
    let done = restore_with(
        &repo,
        &snapshot(&repo, outcome.id.unwrap()),
        &target,
        &RestoreOptions { verify: true, ..RestoreOptions::default() },
    )
    .unwrap();
    assert!(!done.complete);
    assert_eq!((done.outcomes.failed, done.outcomes.inserted, done.different), (1, 29, 1));
    assert_eq!(done.outcomes.failures[0].1, "refused on command");
    assert_eq!(target.held()["c"].records.len(), 29);
}

#[test]
fn a_live_source_is_compared_with_a_snapshot_record_by_record() {
    let (world, repo) = World::new();
    let mut db = sample(1, 30, 40);
    db.insert("gone".to_owned(), Coll::raw([(b"a".to_vec(), Rec::text("b"))]));
    let source = MemorySource::of(db.clone(), &world.clock);
    let taken = snapshot(&repo, back_up(&repo, &source).id.unwrap());
    let same = verify_against(&repo, &taken, &source, AgainstOptions::default(), &Heard::default()).unwrap();
    assert_eq!((same.records, same.missing, same.extra, same.different), (31, 0, 0, 0));
    let records = &mut db.get_mut("c").unwrap().records;
    records.remove(b"key000001".as_slice());
    records.insert(b"key000002".to_vec(), Rec::text("else"));
    records.insert(b"new".to_vec(), Rec::text("new"));
    records.get_mut(b"key000004".as_slice()).unwrap().generation = 9;
    db.remove("gone");
    db.insert("fresh".to_owned(), Coll::raw([(b"a".to_vec(), Rec::text("b"))]));
    *source.db.lock().unwrap() = db;
    let other = verify_against(&repo, &taken, &source, AgainstOptions::default(), &Heard::default()).unwrap();
    assert_eq!((other.missing, other.extra, other.different, other.metadata_only), (2, 2, 1, 1));
}
