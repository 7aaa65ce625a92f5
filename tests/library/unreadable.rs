//! A parent that cannot be read is no parent: the next older one is, or none. Nothing is deduplicated against what was
//! found damaged, and the new snapshot is whole.

use crate::support::{
    Db, Heard, MemorySource, Mischief, Rec, World,
    db::{assert_same, sample},
    world::{back_up, plain, restored, snapshot},
};
use rekeep::{
    connector::Source,
    ops::{
        OpsError,
        backup::{BackupOptions, BackupOutcome, ParentChoice, backup},
        verify::{ReadData, VerifyOptions, verify},
    },
    repo::{Repository, SnapshotId, ids::PackKind, pack},
};

/// The packs of a kind that a snapshot's own lease wrote.
fn packs_of(repo: &Repository, id: SnapshotId, kind: PackKind) -> Vec<String> {
    let mine = repo.packs().unwrap().into_iter().filter(|info| info.lease == id && info.kind == kind);
    mine.map(|info| pack::path(&info.name)).collect()
}

/// Spoils the first frame of each pack.
fn spoil(world: &World, packs: &[String]) {
    assert!(!packs.is_empty());
    world.backend.tamper(|image| packs.iter().for_each(|name| image.get_mut(name).unwrap()[200] ^= 1));
}

fn names_one(text: &str, packs: &[String]) -> bool {
    packs.iter().any(|name| text.contains(name.rsplit('/').next().unwrap()))
}

fn changed(db: &Db, text: &str) -> Db {
    let mut db = db.clone();
    let records = &mut db.get_mut("c").unwrap().records;
    for n in (0..600).step_by(30) {
        records.insert(format!("key{n:06}").into_bytes(), Rec::text(text));
    }
    db
}

/// Three snapshots, each but the first a delta on the one before.
fn three() -> (World, Repository, [SnapshotId; 3], Db) {
    let (world, repo) = World::new();
    let mut db = sample(81, 600, 300);
    let mut ids = Vec::new();
    for text in ["", "second", "third"] {
        if !text.is_empty() {
            db = changed(&db, text);
        }
        ids.push(back_up(&repo, &MemorySource::of(db.clone(), &world.clock)).id.unwrap());
        world.clock.advance(1_000);
    }
    (world, repo, ids.try_into().unwrap(), db)
}

fn heard_backup(
    repo: &Repository,
    source: &dyn Source,
    options: &BackupOptions,
) -> (Result<BackupOutcome, OpsError>, String) {
    let progress = Heard::default();
    let outcome = backup(repo, source, options, &progress);
    (outcome, progress.warnings())
}

fn all_is_whole(repo: &Repository, id: SnapshotId, expected: &Db) {
    let taken = snapshot(repo, id);
    assert!(taken.content.complete);
    assert_same(&restored(repo, &taken), expected, "the snapshot after the damage");
    let options = VerifyOptions { read_data: ReadData::None, restore: true, parallel: 1, read_limit: None };
    let verified = verify(repo, &[taken], &options, &Heard::default()).unwrap();
    // Packs that are remembered as damaged are named for as long as they lie there; nothing else is.
    let others: Vec<_> =
        verified.findings.iter().filter(|found| !found.problem.contains("remembered as damaged")).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn the_next_older_snapshot_is_the_parent_of_a_backup_that_finds_its_parent_unreadable() {
    let (world, repo, ids, db) = three();
    let bad = packs_of(&repo, ids[2], PackKind::Metadata);
    drop(repo);
    spoil(&world, &bad);
    let repo = world.open();
    let db = changed(&db, "fourth");
    let (outcome, warnings) = heard_backup(&repo, &MemorySource::of(db.clone(), &world.clock), &plain());
    let outcome = outcome.unwrap();
    assert_eq!(outcome.parent, Some(ids[1]), "{warnings}");
    assert!(names_one(&warnings, &bad), "{warnings}");
    for words in [ids[2].short().as_str(), "no parent"] {
        assert!(warnings.contains(words), "`{words}` is not in: {warnings}");
    }
    assert!(outcome.complete && outcome.problems.is_empty());
    all_is_whole(&repo, outcome.id.unwrap(), &db);
    // And so it goes on: the new one is the next parent.
    world.clock.advance(1_000);
    let (next, warnings) = heard_backup(&repo, &MemorySource::of(db, &world.clock), &plain());
    assert_eq!(next.unwrap().parent, outcome.id, "{warnings}");
}

#[test]
fn what_lay_in_a_damaged_pack_is_stored_again() {
    heals(&[PackKind::Metadata]);
    // Values are not read by a join; but where one pack is damaged, what would be used again is read first.
    heals(&[PackKind::Metadata, PackKind::Data]);
}

fn heals(kinds: &[PackKind]) {
    // Of several readers one may read what is whole in a damaged pack, and use it, before another meets the damage.
    let alone = BackupOptions { parallel: 1, ..plain() };
    let (world, repo, ids, db) = three();
    let bad: Vec<String> = kinds.iter().flat_map(|kind| packs_of(&repo, ids[0], *kind)).collect();
    drop(repo);
    spoil(&world, &bad);
    let repo = world.open();
    // The very same records as the first: without the distrust every keys chunk would be found to be there already.
    let first = sample(81, 600, 300);
    let (outcome, warnings) = heard_backup(&repo, &MemorySource::of(first.clone(), &world.clock), &alone);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.parent, None, "{warnings}");
    assert!(names_one(&warnings, &bad), "{warnings}");
    if kinds.len() == 1 {
        assert!(outcome.stats.chunks_reused > 0, "{:?}", outcome.stats);
    } else {
        // One that is whole may have been read before the damage beside it was met.
        assert!(outcome.stats.chunks_reused <= 1 && outcome.stats.chunks_new > 2, "{:?}", outcome.stats);
    }
    all_is_whole(&repo, outcome.id.unwrap(), &first);
    assert!(db != first);
    // The chunks have a second home now, which older snapshots use as well.
    assert_same(&restored(&repo, &snapshot(&repo, ids[0])), &first, "the first snapshot, healed");
    drop(repo);
    let repo = world.open();
    assert_same(&restored(&repo, &snapshot(&repo, ids[0])), &first, "the first snapshot, healed, read anew");
    // The damaged packs are still listed, and still the first that hold their chunks; yet the source is read just once.
    let again = changed(&first, "again");
    world.clock.advance(1_000);
    let progress = Heard::default();
    let next = backup(&repo, &MemorySource::of(again.clone(), &world.clock), &alone, &progress).unwrap();
    assert_eq!((next.parent, progress.records()), (outcome.id, 600), "{}", progress.warnings());
    all_is_whole(&repo, next.id.unwrap(), &again);
    drop(repo);
    let repo = world.open();
    let again = changed(&first, "and again");
    world.clock.advance(1_000);
    let progress = Heard::default();
    let last = backup(&repo, &MemorySource::of(again.clone(), &world.clock), &alone, &progress).unwrap();
    assert_eq!((last.parent, progress.records()), (next.id, 600), "{}", progress.warnings());
    // They are remembered, so nobody looks into them again.
    assert_eq!(progress.warnings(), "");
    all_is_whole(&repo, last.id.unwrap(), &again);
}

#[test]
fn a_dry_run_passes_over_an_unreadable_parent_as_well() {
    let (world, repo, ids, db) = three();
    let bad = packs_of(&repo, ids[2], PackKind::Metadata);
    drop(repo);
    spoil(&world, &bad);
    let before = world.backend.image();
    let options = BackupOptions { dry_run: true, ..plain() };
    let (outcome, warnings) = heard_backup(&world.open(), &MemorySource::of(db, &world.clock), &options);
    assert_eq!(outcome.unwrap().parent, Some(ids[1]), "{warnings}");
    assert_eq!(world.backend.image(), before);
}

#[test]
fn an_unreadable_parent_that_was_asked_for_by_name_is_an_error() {
    let (world, repo, ids, db) = three();
    let bad = packs_of(&repo, ids[2], PackKind::Metadata);
    drop(repo);
    spoil(&world, &bad);
    let repo = world.open();
    let options = BackupOptions { parent: ParentChoice::Id(ids[2].to_string()), ..plain() };
    let (outcome, _) = heard_backup(&repo, &MemorySource::of(db, &world.clock), &options);
    let error = outcome.unwrap_err().to_string();
    assert!(names_one(&error, &bad), "{error}");
    assert_eq!(repo.snapshots().unwrap().len(), 3, "nothing was committed");
}

#[test]
fn values_that_a_merge_cannot_read_cost_the_parent_and_not_the_backup() {
    let (world, repo) = World::new();
    let mut db = sample(82, 400, 60);
    let mut ids = vec![back_up(&repo, &MemorySource::of(db.clone(), &world.clock)).id.unwrap()];
    // The 24th delta fills the stack: the next one merges the eight smallest.
    for n in 0..24 {
        db.get_mut("c").unwrap().records.insert(format!("new{n:02}").into_bytes(), Rec::text("delta"));
        world.clock.advance(1_000);
        ids.push(back_up(&repo, &MemorySource::of(db.clone(), &world.clock)).id.unwrap());
    }
    assert_eq!(snapshot(&repo, ids[24]).collections[0].stack.len(), 25);
    let bad = packs_of(&repo, ids[1], PackKind::Data);
    drop(repo);
    world.backend.tamper(|image| image.get_mut(&bad[0]).unwrap()[200] ^= 1);
    let repo = world.open();
    db.get_mut("c").unwrap().records.insert(b"new99".to_vec(), Rec::text("the 25th"));
    world.clock.advance(1_000);
    let (outcome, warnings) = heard_backup(&repo, &MemorySource::of(db.clone(), &world.clock), &plain());
    let outcome = outcome.unwrap();
    assert!(names_one(&warnings, &bad), "{warnings}");
    // Every younger snapshot stands on the damaged delta as well.
    assert_eq!(outcome.parent, Some(ids[0]), "{warnings}");
    all_is_whole(&repo, outcome.id.unwrap(), &db);
}

#[test]
fn a_source_that_can_be_read_only_once_has_its_parent_checked_first() {
    let (world, repo, ids, db) = three();
    let bad = packs_of(&repo, ids[2], PackKind::Metadata);
    drop(repo);
    spoil(&world, &bad);
    let repo = world.open();
    let mut source = MemorySource::of(db.clone(), &world.clock);
    source.reads_again = false;
    let (outcome, warnings) = heard_backup(&repo, &source, &plain());
    let outcome = outcome.unwrap();
    assert_eq!(outcome.parent, Some(ids[1]), "{warnings}");
    assert!(names_one(&warnings, &bad), "{warnings}");
    all_is_whole(&repo, outcome.id.unwrap(), &db);
}

#[test]
fn a_source_that_fails_is_no_damage() {
    let (world, repo, ..) = three();
    let source = MemorySource::of(sample(81, 600, 300), &world.clock).doing(Mischief::FailsAfter(100));
    let (outcome, warnings) = heard_backup(&repo, &source, &plain());
    assert!(matches!(outcome, Err(OpsError::Layer(_))), "{outcome:?}");
    assert!(!warnings.contains("no parent"), "{warnings}");
    assert_eq!(repo.snapshots().unwrap().len(), 3);
}
