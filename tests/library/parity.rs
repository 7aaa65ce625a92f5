//! Parity through a repository's life: packs are protected from the backup on, what is lost or damaged is made again without the
//! source, and prunes leave what stays protected.

use crate::support::{
    Db, Heard, Image, MemorySource, Rec, World,
    db::{assert_same, sample},
    world::{back_up, restored, snapshot, verify_all},
};
use rekeep::{
    ops::{
        prune::{PruneOptions, PruneOutcome, prune},
        repair::{self, RepairPacksOptions},
        replicate::{ReplicateOptions, replicate},
    },
    repo::{
        Repository, SnapshotId, Storage, WriteOptions, pack,
        parity::{Outline, Percent},
        pruner::PrunerOptions,
        repair::{Looked, Repaired, heal_keyless},
        session::SessionTiming,
    },
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

fn percent(number: u8) -> Percent {
    Percent::new(number).unwrap()
}

/// A repository with parity and one state of one source.
fn protected(share: u8) -> (World, Repository, Db, SnapshotId) {
    let (world, repo) = World::new();
    repo.set_parity(Some(percent(share))).unwrap();
    let db = sample(81, 400, 300);
    let id = take(&world, &repo, &db);
    (world, repo, db, id)
}

fn take(world: &World, repo: &Repository, db: &Db) -> SnapshotId {
    world.clock.advance(60_000);
    back_up(repo, &MemorySource::of(db.clone(), &world.clock)).id.unwrap()
}

/// The database with one more big record, of its own by number.
fn grown(db: &Db, number: u64) -> Db {
    let mut db = db.clone();
    let records = &mut db.values_mut().next().unwrap().records;
    records.insert(b"big".to_vec(), Rec::blob(crate::support::Rng::new(number).bytes(300_000)));
    db
}

fn packs(world: &World) -> Vec<String> {
    world.backend.names("packs/")
}

/// What groups name.
fn members(world: &World) -> BTreeSet<String> {
    let image = world.backend.image();
    let groups = world.backend.names("parity/");
    let outlines = groups.iter().map(|name| Outline::parse(name, &image[name]).unwrap());
    outlines.flat_map(|outline| outline.members().map(|it| pack::path(&it.name)).collect::<Vec<_>>()).collect()
}

fn repaired(repo: &Repository) -> Repaired {
    let options = RepairPacksOptions { looked: Looked::All, dry_run: false };
    repair::packs(repo, &options, &Heard::default()).unwrap()
}

fn healed(storage: &Storage) -> Repaired {
    heal_keyless(storage, &Looked::All, false, &mut |_| true).unwrap()
}

fn pruned(repo: &Repository) -> PruneOutcome {
    prune(repo, &PruneOptions { max_unused: 0.0, ..PruneOptions::default() }, &Heard::default()).unwrap()
}

fn lose(world: &World, name: &str) {
    world.backend.tamper(|image| drop(image.remove(name).unwrap()));
}

fn spoil(world: &World, name: &str) {
    world.backend.tamper(|image| {
        let bytes = image.get_mut(name).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
}

#[test]
fn every_pack_of_a_backup_is_protected_and_comes_back_when_it_is_lost_or_damaged() {
    for share in [10, 30, 100] {
        let (world, repo, db, id) = protected(share);
        let next = grown(&db, 1);
        let second = take(&world, &repo, &next);
        let standing = repo.parity_standing().unwrap();
        assert_eq!((standing.unprotected.len(), standing.packs), (0, packs(&world).len() as u64));
        let verified = verify_all(&repo).unwrap();
        assert_eq!(verified.findings, []);
        assert_eq!((verified.groups, verified.unprotected), (standing.groups, 0));
        assert!(verified.groups_read > 0 && !verified.notes.iter().any(|note| note.contains("parity")));
        let sound = world.backend.image();
        for (number, name) in packs(&world).into_iter().enumerate() {
            let with_key = number % 2 == 0;
            for harm in [lose, spoil] {
                harm(&world, &name);
                let done = if with_key { repaired(&world.open()) } else { healed(&world.storage()) };
                assert_eq!(done.restored, [format!("{name}, from parity")], "{share}: {done:?}");
                assert_eq!((done.lost.len(), done.waiting.len()), (0, 0), "{done:?}");
                assert_eq!(world.backend.image()[&name], sound[&name]);
            }
        }
        let repo = world.beside().open();
        assert_same(&restored(&repo, &snapshot(&repo, id)), &db, "first");
        assert_same(&restored(&repo, &snapshot(&repo, second)), &next, "second");
        // The source is gone: what was missing is whole again, and nothing is remembered of it.
        assert_eq!(verify_all(&repo).unwrap().findings, []);
        assert_eq!(world.backend.names("damage/"), Vec::<String>::new());
    }
}

#[test]
fn what_would_be_done_is_said_and_nothing_is_changed() {
    let (world, repo, ..) = protected(10);
    lose(&world, &packs(&world)[0]);
    let before = world.backend.names("packs/");
    let options = RepairPacksOptions { looked: Looked::All, dry_run: true };
    let done = repair::packs(&world.open(), &options, &Heard::default()).unwrap();
    assert!(done.restored[0].ends_with("from parity"), "{done:?}");
    let keyless = heal_keyless(&world.storage(), &Looked::Remembered, true, &mut |_| true).unwrap();
    assert_eq!(keyless.restored, done.restored);
    assert_eq!(world.backend.names("packs/"), before);
    drop(repo);
}

#[test]
fn two_lost_packs_of_one_group_are_named_as_lost_and_nothing_else_is_made_of_them() {
    let (world, repo, ..) = protected(10);
    drop(repo);
    let image = world.backend.image();
    let group = &world.backend.names("parity/")[0];
    let names: Vec<String> =
        Outline::parse(group, &image[group]).unwrap().members().map(|it| pack::path(&it.name)).collect();
    assert!(names.len() > 1);
    names[..2].iter().for_each(|name| lose(&world, name));
    let keyless = healed(&world.storage());
    assert_eq!((keyless.restored.len(), keyless.lost.len()), (0, 2), "{keyless:?}");
    assert!(keyless.lost[0].words.contains("cannot make it again"), "{keyless:?}");
    // One of them turns up again.
    world.backend.tamper(|all| drop(all.insert(names[0].clone(), image[&names[0]].clone())));
    assert_eq!(healed(&world.storage()).restored, [format!("{}, from parity", names[1])]);
}

#[test]
fn a_prune_leaves_what_stays_protected_and_no_group_that_names_what_went() {
    let (world, repo, db, first) = protected(10);
    let mut ids = vec![first];
    for number in 0..4 {
        ids.push(take(&world, &repo, &grown(&db, number)));
    }
    for id in &ids[..4] {
        repo.forget(id).unwrap();
    }
    let done = pruned(&repo);
    assert!(done.deleted.packs > 0 && done.groups_removed > 0, "{done:?}");
    assert_eq!((done.failures.len(), done.unprotected), (0, 0), "{:?}", done.failures);
    let there: BTreeSet<String> = packs(&world).into_iter().collect();
    assert_eq!(members(&world), there, "groups name what is there and nothing else");
    assert_eq!(verify_all(&repo).unwrap().findings, []);
    let expected = grown(&db, 3);
    for name in packs(&world) {
        lose(&world, &name);
        assert_eq!(healed(&world.storage()).restored.len(), 1);
    }
    let repo = world.beside().open();
    assert_same(&restored(&repo, &snapshot(&repo, ids[4])), &expected, "what was kept");
}

#[test]
fn members_are_taken_out_of_a_large_group_without_reading_those_that_stay() {
    let (world, repo, db, first) = protected(10);
    // One session, many packs: one group of at least ten.
    let options = WriteOptions { purpose: "backup".to_owned(), compression: 0, check: false, write_limit: None };
    let timing = SessionTiming { pack_bytes: 1, alone: true, ..SessionTiming::default() };
    let session = repo.begin_write_timed(&options, &timing).unwrap();
    let mut writer = session.writer();
    for number in 0..9_u8 {
        use rekeep::repo::{ChunkKind, ChunkPlain, ChunkWriter as _};
        writer.put(ChunkKind::Values, &ChunkPlain::single(vec![number; 5000])).unwrap();
    }
    writer.finish().unwrap();
    session.abandon().unwrap();
    let second = take(&world, &repo, &grown(&db, 9));
    repo.forget(&first).unwrap();
    let done = pruned(&repo);
    assert_eq!((done.failures.len(), done.unprotected), (0, 0), "{:?}", done.failures);
    assert_eq!(members(&world), packs(&world).into_iter().collect());
    assert_same(&restored(&repo, &snapshot(&repo, second)), &grown(&db, 9), "kept");
}

/// A lost pack of which the group can still be made again keeps those packs that it needs for that, although nothing else does.
#[test]
fn a_prune_keeps_what_a_lost_pack_can_be_made_again_from() {
    let (world, repo, db, first) = protected(10);
    let kept = take(&world, &repo, &grown(&db, 5));
    repo.forget(&first).unwrap();
    // A pack of the first backup holds what both need; another of its group is dead once the first is forgotten, or repacked.
    let image = world.backend.image();
    let survey = repo.survey(&rekeep::ops::prune::Layers, Duration::ZERO).unwrap();
    let needed: BTreeSet<String> =
        survey.packs.iter().filter(|it| it.live_chunks > 0).map(|it| pack::path(&it.name)).collect();
    let group = world.backend.names("parity/").into_iter().find_map(|name| {
        let outline = Outline::parse(&name, &image[&name]).unwrap();
        let names: Vec<String> = outline.members().map(|it| pack::path(&it.name)).collect();
        let lost = names.iter().find(|it| needed.contains(*it))?.clone();
        (names.len() > 1).then_some((lost, names))
    });
    let (lost, names) = group.unwrap();
    lose(&world, &lost);
    drop(repo);
    let repo = world.open();
    // It may refuse, or say what waits; it deletes nothing that the lost one is made of.
    let _ = prune(&repo, &PruneOptions { max_unused: 0.0, ..PruneOptions::default() }, &Heard::default());
    let there: BTreeSet<String> = packs(&world).into_iter().collect();
    assert!(names.iter().filter(|name| **name != lost).all(|name| there.contains(name)), "{names:?} {there:?}");
    let done = repaired(&repo);
    assert_eq!((done.restored.len(), done.lost.len()), (1, 0), "{done:?}");
    assert_eq!(pruned(&repo).failures, []);
    let repo = world.beside().open();
    assert_same(&restored(&repo, &snapshot(&repo, kept)), &grown(&db, 5), "kept");
}

#[test]
fn packs_from_before_get_groups_when_they_are_asked_for() {
    let (world, repo) = World::new();
    let db = sample(82, 200, 300);
    take(&world, &repo, &db);
    let clean = verify_all(&repo).unwrap();
    assert_eq!((clean.groups, clean.unprotected), (0, 0), "nobody asked for parity");
    assert_eq!(repo.repair_parity(false, &mut |_| true).unwrap(), Repaired::default());
    repo.set_parity(Some(percent(10))).unwrap();
    let standing = repo.parity_standing().unwrap();
    assert_eq!(standing.unprotected.len() as u64, standing.packs);
    let verified = verify_all(&repo).unwrap();
    assert_eq!((verified.findings.len(), verified.unprotected), (0, standing.packs));
    assert!(verified.notes.iter().any(|note| note.contains("no parity")), "{:?}", verified.notes);
    let planned = repo.repair_parity(true, &mut |_| true).unwrap();
    assert!(!planned.restored.is_empty() && world.backend.names("parity/").is_empty());
    let done = repo.repair_parity(false, &mut |_| true).unwrap();
    assert_eq!(done.restored, planned.restored);
    assert_eq!(repo.parity_standing().unwrap().unprotected, []);
    // Once is enough.
    let again = repo.repair_parity(false, &mut |_| true).unwrap();
    assert_eq!((again.restored.len(), again.removed.len()), (0, 0), "{again:?}");
    // Turned off, what is there stays and new packs get none.
    repo.set_parity(None).unwrap();
    let groups = world.backend.names("parity/");
    take(&world, &repo, &grown(&db, 1));
    assert_eq!(world.backend.names("parity/"), groups);
    assert_eq!(repo.parity_percent().unwrap(), None);
    assert_eq!(world.backend.names("settings/").len(), 2);
}

#[test]
fn damaged_groups_are_named_and_made_anew() {
    let (world, repo, db, _) = protected(10);
    take(&world, &repo, &grown(&db, 1));
    let groups = world.backend.names("parity/");
    assert!(groups.len() > 1);
    spoil(&world, &groups[0]);
    lose(&world, &groups[1]);
    let verified = verify_all(&repo).unwrap();
    assert_eq!(verified.findings.iter().map(|it| it.object.clone()).collect::<Vec<_>>(), [groups[0].clone()]);
    assert!(verified.unprotected > 0);
    let done = repo.repair_parity(false, &mut |_| true).unwrap();
    assert_eq!(done.removed, [groups[0].clone()]);
    assert_eq!(verify_all(&repo).unwrap().findings, []);
    assert_eq!(repo.parity_standing().unwrap().unprotected, []);
    // A stranger's is none.
    let stranger = format!("parity/{}", "a".repeat(64));
    world.backend.tamper(|image| drop(image.insert(stranger.clone(), b"RKEEPPAR".to_vec())));
    assert_eq!(verify_all(&repo).unwrap().findings[0].object, stranger);
    assert_eq!(repo.repair_parity(false, &mut |_| true).unwrap().removed, [stranger]);
}

#[test]
fn no_pack_is_made_again_while_a_pruner_may_be_about_to_delete_its_name() {
    let (world, repo, ..) = protected(10);
    let options =
        PrunerOptions { walk: Arc::new(rekeep::ops::prune::Layers), grace: Duration::ZERO, write_limit: None };
    let pruner = repo.begin_prune(&options, &SessionTiming::default()).unwrap();
    let name = packs(&world)[0].clone();
    lose(&world, &name);
    let keyless = healed(&world.storage());
    assert!(keyless.restored.is_empty() && keyless.waiting[0].words.contains("prune"), "{keyless:?}");
    let done = repaired(&world.beside().open());
    assert!(done.restored.is_empty() && done.waiting.iter().any(|it| it.words.contains("prune")), "{done:?}");
    pruner.end().unwrap();
    assert_eq!(healed(&world.storage()).restored.len(), 1);
}

#[test]
fn a_replica_carries_groups_and_heals_without_a_password() {
    let (world, repo, db, id) = protected(20);
    drop(repo);
    let replica = World::over(Image::new());
    let run = || {
        let options =
            ReplicateOptions { workers: 1, follow_deletions: Some(Duration::ZERO), ..ReplicateOptions::default() };
        let state = tempfile::tempdir().unwrap();
        let options = ReplicateOptions { state_dir: state.path().to_owned(), ..options };
        let target = Storage::over(Arc::clone(&replica.backend) as Arc<_>, "replica:");
        replicate(&world.storage(), &target, &options, &*world.clock, &Heard::default()).unwrap()
    };
    let done = run();
    assert_eq!(done.parity, (world.backend.names("parity/").len() + 1) as u64, "{done:?}");
    assert_eq!(replica.backend.names("parity/"), world.backend.names("parity/"));
    assert_eq!(run().parity, 0);
    for name in packs(&replica) {
        lose(&replica, &name);
        let target = Storage::over(Arc::clone(&replica.backend) as Arc<_>, "replica:");
        assert_eq!(healed(&target).restored.len(), 1);
    }
    let repo = replica.open();
    assert_same(&restored(&repo, &snapshot(&repo, id)), &db, "replica");
    assert_eq!(repo.parity_percent().unwrap(), Some(percent(20)));
    // What the source no longer has goes.
    let gone = world.backend.names("parity/")[0].clone();
    lose(&world, &gone);
    assert_eq!(run().deleted, 1);
    assert!(!replica.backend.names("parity/").contains(&gone));
}

#[test]
fn settings_of_nobody_who_may_do_not_count() {
    let (world, repo, ..) = protected(10);
    let body = serde_json::json!({"parity_percent": 0, "host": "x", "time": 0}).to_string();
    let made =
        rekeep::repo::object::unsigned(rekeep::repo::object::ObjectKind::Settings, "settings/7", body.as_bytes());
    world.backend.tamper(|image| drop(image.insert("settings/7".to_owned(), made)));
    assert_eq!(repo.parity_percent().unwrap(), Some(percent(10)));
    assert!(verify_all(&repo).unwrap().findings.iter().any(|it| it.object == "settings/7"));
    repo.repair_objects(false).unwrap();
    assert_eq!(world.backend.names("settings/"), ["settings/0"]);
    repo.set_parity(Some(percent(50))).unwrap();
    assert_eq!(repo.parity_percent().unwrap(), Some(percent(50)));
}
