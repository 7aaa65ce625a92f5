//! The identity of counts: a source or a join that loses, invents or repeats a record must not commit.

use crate::support::{
    Coll, Db, MemorySource, Mischief, Rec, World,
    db::sample,
    world::{assert_sound, back_up, backup_with, plain, restored, snapshot},
};
use rekeep::{layer::LayerError, ops::OpsError, record::KeyCodec};

/// Backs up honestly, then with `mischief`: the second run must fail, and commit nothing.
fn refused(mischief: &Mischief) -> OpsError {
    let (world, repo) = World::new();
    let mut db = sample(1, 60, 100);
    let good = back_up(&repo, &MemorySource::of(db.clone(), &world.clock).in_parts(3));
    let coll = db.get_mut("c").unwrap();
    for n in (0..60).step_by(7) {
        coll.records.insert(format!("key{n:06}").into_bytes(), Rec::text("changed"));
    }
    world.clock.advance(1000);
    let source = MemorySource::of(db.clone(), &world.clock).in_parts(3).doing(mischief.clone());
    let error = backup_with(&repo, &source, &plain()).expect_err("a source that contradicts itself");
    repo.refresh().unwrap();
    let snapshots = repo.snapshots().unwrap();
    assert_eq!(snapshots.iter().map(|s| s.id).collect::<Vec<_>>(), [good.id.unwrap()], "{mischief:?}");

    let next = back_up(&repo, &MemorySource::of(db.clone(), &world.clock).in_parts(3));
    assert_eq!(restored(&repo, &snapshot(&repo, next.id.unwrap())), db, "{mischief:?}");
    assert_sound(&repo);
    error
}

/// The same without a parent: a first backup.
fn refused_at_first(mischief: &Mischief) {
    let (world, repo) = World::new();
    let source = MemorySource::of(sample(1, 60, 100), &world.clock).in_parts(3).doing(mischief.clone());
    backup_with(&repo, &source, &plain()).expect_err("a source that contradicts itself");
    repo.refresh().unwrap();
    assert!(repo.snapshots().unwrap().is_empty(), "{mischief:?}");
}

#[test]
fn records_outside_of_their_range_commit_nothing() {
    for mischief in [Mischief::ReachesBack, Mischief::ReachesOn, Mischief::Outside] {
        refused(&mischief);
        refused_at_first(&mischief);
    }
}

#[test]
fn a_repeated_record_commits_nothing() {
    let error = refused(&Mischief::Repeats);
    assert!(matches!(error, OpsError::Layer(LayerError::Order { .. })), "{error}");
    refused_at_first(&Mischief::Repeats);
}

#[test]
fn keys_out_of_order_commit_nothing() {
    let error = refused(&Mischief::Disorders);
    assert!(matches!(error, OpsError::Layer(LayerError::Order { .. })), "{error}");
    refused_at_first(&Mischief::Disorders);
}

#[test]
fn a_source_that_ends_with_distrust_commits_nothing() {
    let error = refused(&Mischief::FailsAtTheEnd);
    assert!(error.to_string().contains("lost a node"), "{error}");
}

#[test]
fn a_source_that_fails_midway_commits_nothing_and_says_why() {
    let error = refused(&Mischief::FailsAfter(35));
    assert!(error.to_string().contains("connection was reset"), "{error}");
}

/// What a skipped range looks like from outside: all its records are gone. No count can tell this from a deletion, so a
/// source must not do it silently; what the counts do show is that every parent record is accounted for as deleted.
#[test]
fn a_range_that_comes_empty_is_counted_as_deleted() {
    let (world, repo) = World::new();
    let db = sample(1, 60, 100);
    back_up(&repo, &MemorySource::of(db.clone(), &world.clock).in_parts(3));
    world.clock.advance(1000);
    let source = MemorySource::of(db, &world.clock).in_parts(3).doing(Mischief::SkipsARange);
    let outcome = back_up(&repo, &source);
    assert_eq!((outcome.stats.seen, outcome.stats.deleted, outcome.records), (20, 40, 20));
    assert_sound(&repo);
}

#[test]
fn deletions_at_the_seams_of_ranges_and_batches_are_all_found() {
    for (parts, batch_rows) in [(1, 1), (3, 1), (4, 7), (7, 50)] {
        let (world, repo) = World::new();
        let mut db = Db::from([("c".to_owned(), Coll::new(KeyCodec::Raw))]);
        let coll = db.get_mut("c").unwrap();
        for n in 0u16..500 {
            coll.records.insert(n.to_be_bytes().to_vec(), Rec::text(&n.to_string()));
        }
        let mut source = MemorySource::of(db.clone(), &world.clock).in_parts(parts);
        source.batch_rows = batch_rows;
        back_up(&repo, &source);
        // Runs of every length, so that whole batches, their ends and their beginnings go.
        let doomed = |n: u16| n % 71 < 9 || n % 100 == 99 || n % 125 < 2 || (200..260).contains(&n) || n >= 490;
        let coll = db.get_mut("c").unwrap();
        coll.records.retain(|key, _| !doomed(u16::from_be_bytes([key[0], key[1]])));
        world.clock.advance(1000);
        *source.db.lock().unwrap() = db.clone();
        let outcome = back_up(&repo, &source);
        let expected = (0u16..500).filter(|&n| doomed(n)).count() as u64;
        assert_eq!(outcome.stats.deleted, expected, "{parts} ranges, batches of {batch_rows}");
        assert_eq!(restored(&repo, &snapshot(&repo, outcome.id.unwrap())), db);
        assert_sound(&repo);
    }
}
