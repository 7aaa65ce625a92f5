//! What each step does, and what it leaves alone. How steps of many actors mix is for the simulation.

use super::{flat::Flat, *};
use crate::repo::manifest::LayerRef;
use crate::repo::{
    ChunkKind, ChunkPlain, ChunkWriter, Manifest, ObjectName,
    lease::{end_path, lease_path},
    repository::testing::{Fault, World, id, manifest, plain, read, write_options},
};
use std::{collections::HashSet, sync::atomic::Ordering};

fn alone() -> SessionTiming {
    SessionTiming { alone: true, pack_bytes: 1, ..SessionTiming::default() }
}

fn begin(repo: &Repository) -> WriteSession {
    repo.begin_write_timed(&write_options(), &alone()).unwrap()
}

fn pruner(repo: &Repository) -> Pruner {
    let options = PrunerOptions { walk: Arc::new(Flat), grace: Duration::ZERO, write_limit: None };
    repo.begin_prune(&options, &SessionTiming { pack_bytes: 1 << 20, ..alone() }).unwrap()
}

/// Puts chunks, each into a pack of its own, and the list that names them; gives the manifest to commit.
fn fill(session: &WriteSession, chunks: &[u8], end: i64) -> Manifest {
    let mut writer = session.writer();
    let ids: Vec<u8> = chunks.iter().flat_map(|&n| writer.put(ChunkKind::Values, &plain(n)).unwrap().id.0).collect();
    let list = writer.put(ChunkKind::List, &ChunkPlain::single(ids)).unwrap().id;
    writer.finish().unwrap();
    let mut manifest = manifest(session.id(), end);
    manifest.collections[0].stack = vec![LayerRef::new(list, 1, 1)];
    manifest
}

fn commit(repo: &Repository, chunks: &[u8], end: i64) -> SnapshotId {
    let session = begin(repo);
    let manifest = fill(&session, chunks, end);
    session.commit(&manifest).unwrap();
    manifest.id
}

/// Everything a prune does that gives up what is not needed at all.
fn prune(repo: &Repository) -> Deleted {
    let pruner = pruner(repo);
    let survey = pruner.survey().unwrap();
    let dead = survey.packs.iter().filter(|pack| pack.live_chunks == 0).map(|pack| pack.name);
    let wanted: HashSet<ObjectName> = dead.chain(survey.orphans.iter().map(|orphan| orphan.name)).collect();
    pruner.mark(&wanted).unwrap();
    let deleted = pruner.delete_drained(&mut |_| true).unwrap();
    pruner.end().unwrap();
    deleted
}

fn home(repo: &Repository, n: u8) -> ObjectName {
    repo.chunk_places(&id(repo, n)).unwrap()[0].name
}

fn hour_later(world: &World) {
    world.clock.0.fetch_add(3_600_000, Ordering::SeqCst);
}

#[test]
fn what_no_snapshot_needs_goes_and_the_rest_stays() {
    let (mut world, repo) = World::new();
    let old = commit(&repo, &[1, 2], 100);
    commit(&repo, &[2, 3], 200);
    assert_eq!(prune(&repo).packs, 0);
    repo.forget(&old).unwrap();
    let deleted = prune(&repo);
    // Chunk 1 and the list of the old snapshot.
    assert_eq!((deleted.packs, deleted.marks, deleted.copied_chunks), (2, 1, 0));
    assert_eq!(world.memory.names("trash/"), Vec::<String>::new());
    let repo = world.open();
    assert!(read(&repo, 1).is_err());
    for n in [2, 3] {
        assert_eq!(read(&repo, n).unwrap().plain().unwrap(), plain(n));
    }
    assert_eq!(prune(&repo), Deleted::default());
}

#[test]
fn the_packs_of_a_running_writer_are_left_alone_and_those_of_one_that_died_go() {
    let (mut world, repo) = World::new();
    let running = begin(&repo);
    let manifest = fill(&running, &[1], 100);
    assert_eq!(prune(&world.open()).packs, 0);
    running.commit(&manifest).unwrap();
    let dying = begin(&repo);
    fill(&dying, &[2], 200);
    std::mem::forget(dying);
    let other = world.open();
    assert_eq!(prune(&other).packs, 0, "first seen now");
    hour_later(&world);
    assert_eq!(prune(&other).packs, 2);
    assert_eq!(read(&world.open(), 1).unwrap().plain().unwrap(), plain(1));
}

#[test]
fn a_fenced_writer_fails_and_its_packs_go() {
    let (mut world, repo) = World::new();
    let session = begin(&repo);
    let manifest = fill(&session, &[1], 100);
    let other = world.open();
    prune(&other);
    hour_later(&world);
    prune(&other);
    assert!(matches!(session.commit(&manifest), Err(RepoError::Fenced { .. })));
    assert_eq!(world.open().snapshots().unwrap(), []);
    // What it uploaded before it was fenced went; its last index may say otherwise, `packs/` does not.
    let next = begin(&world.open());
    assert!(next.writer().put(ChunkKind::Values, &plain(1)).unwrap().new);
}

#[test]
fn a_mark_waits_for_who_was_there_before_it_and_the_next_prune_carries_it_out() {
    let (mut world, repo) = World::new();
    let old = commit(&repo, &[1], 100);
    let reader = repo.begin_read("test").unwrap();
    repo.forget(&old).unwrap();
    let other = world.open();
    assert_eq!(prune(&other).packs, 0);
    let pruning = pruner(&other);
    let marks = pruning.marks().unwrap();
    assert_eq!((marks.len(), marks[0].packs, marks[0].waits_for.len()), (1, 2, 1));
    assert_eq!((marks[0].waits_for[0].lease, &*marks[0].waits_for[0].purpose), (reader.id().unwrap(), "read: test"));
    assert_eq!(read(&repo, 1).unwrap().plain().unwrap(), plain(1));
    drop(reader);
    assert_eq!(pruning.delete_drained(&mut |_| true).unwrap().packs, 2);
    pruning.end().unwrap();
}

#[test]
fn a_writer_that_honours_the_mark_does_not_hold_it_up() {
    let (mut world, repo) = World::new();
    let old = commit(&repo, &[1], 100);
    let running = begin(&repo);
    repo.forget(&old).unwrap();
    let other = world.open();
    assert_eq!(prune(&other).packs, 0);
    running.beat_now().unwrap();
    assert_eq!(prune(&other).packs, 2);
    let manifest = fill(&running, &[1], 200);
    running.commit(&manifest).unwrap();
    assert_eq!(read(&world.open(), 1).unwrap().plain().unwrap(), plain(1));
}

#[test]
fn what_is_needed_after_all_is_copied_out_under_a_new_name() {
    let (mut world, repo) = World::new();
    commit(&repo, &[1, 2], 100);
    let (one, two) = (home(&repo, 1), home(&repo, 2));
    world.memory.mark("00000000000000000000000000000001", &[one, two]);
    let deleted = prune(&world.open());
    assert_eq!((deleted.packs, deleted.copied_chunks, deleted.marks, deleted.stayed), (2, 2, 1, 0));
    let repo = world.open();
    for n in [1, 2] {
        assert_eq!(read(&repo, n).unwrap().plain().unwrap(), plain(n));
        assert!(![one, two].contains(&home(&repo, n)));
    }
}

#[test]
fn d_two_marks_that_each_count_the_other_copy_lose_nothing() {
    let (mut world, repo) = World::new();
    commit(&repo, &[1], 100);
    let first = home(&repo, 1);
    pruner(&repo).repack(&HashSet::from([first]), &mut |_| true).unwrap();
    let homes: Vec<ObjectName> = repo.chunk_places(&id(&repo, 1)).unwrap().iter().map(|place| place.name).collect();
    assert_eq!(homes.len(), 2);
    world.memory.mark("00000000000000000000000000000001", &homes[..1]);
    world.memory.mark("00000000000000000000000000000002", &homes[1..]);
    let deleted = prune(&world.open());
    assert_eq!((deleted.packs, deleted.marks), (2, 2));
    assert_eq!(read(&world.open(), 1).unwrap().plain().unwrap(), plain(1));
}

#[test]
fn a_repacked_pack_goes_and_what_was_needed_of_it_stays() {
    let (mut world, repo) = World::new();
    let timing = SessionTiming { pack_bytes: 1 << 20, ..alone() };
    let session = repo.begin_write_timed(&write_options(), &timing).unwrap();
    let old = fill(&session, &[1, 2, 3], 100);
    session.commit(&old).unwrap();
    commit(&repo, &[2], 200);
    repo.forget(&old.id).unwrap();
    let pack = home(&repo, 2);
    let pruning = pruner(&repo);
    let survey = pruning.survey().unwrap();
    let uses = survey.packs.iter().find(|uses| uses.name == pack).unwrap();
    assert_eq!(uses.live_chunks, 1);
    assert!(uses.dead_bytes > uses.live_bytes);
    assert_eq!(pruning.repack(&HashSet::from([pack]), &mut |_| true).unwrap().0, 1);
    assert_eq!(pruning.mark(&HashSet::from([pack])).unwrap(), 1);
    assert_eq!(pruning.delete_drained(&mut |_| true).unwrap().packs, 1);
    pruning.end().unwrap();
    let repo = world.open();
    assert_eq!(read(&repo, 2).unwrap().plain().unwrap(), plain(2));
    assert!(read(&repo, 1).is_err());
}

#[test]
fn the_only_home_of_a_needed_chunk_is_never_marked() {
    let (mut world, repo) = World::new();
    commit(&repo, &[1, 2], 100);
    let all: HashSet<ObjectName> = repo.packs().unwrap().iter().map(|pack| pack.name).collect();
    let pruning = pruner(&world.open());
    assert_eq!(pruning.mark(&all).unwrap(), 0);
}

#[test]
fn a_needed_chunk_in_no_listed_index_stops_the_prune() {
    let (mut world, repo) = World::new();
    let old = commit(&repo, &[1], 100);
    commit(&repo, &[2], 200);
    repo.forget(&old).unwrap();
    for index in world.memory.names("index/") {
        world.memory.remove(&index);
    }
    let before = world.memory.names("packs/");
    let pruning = pruner(&world.open());
    let error = pruning.survey().unwrap_err();
    assert!(matches!(error, RepoError::ChunkMissing { .. }), "{error}");
    assert_eq!(world.memory.names("packs/"), before);
}

#[test]
fn a_snapshot_that_cannot_be_opened_stops_the_prune() {
    let (mut world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    let path = format!("snapshots/{snapshot}/0");
    let mut bytes = world.memory.bytes(&path);
    bytes[60] ^= 1;
    world.memory.put(&path, bytes);
    assert!(matches!(pruner(&world.open()).survey(), Err(RepoError::Damaged { object, .. }) if object == path));
}

#[test]
fn packs_that_no_index_describes_go_when_their_writer_is_over() {
    let (mut world, repo) = World::new();
    let session = begin(&repo);
    fill(&session, &[1], 100);
    std::mem::forget(session);
    for index in world.memory.names("index/") {
        world.memory.remove(&index);
    }
    let other = world.open();
    assert!(!world.memory.names("packs/").is_empty());
    assert_eq!(prune(&other).packs, 0);
    hour_later(&world);
    assert_eq!(prune(&other).packs, 2);
    assert_eq!(world.memory.names("packs/"), Vec::<String>::new());
}

#[test]
fn an_index_object_that_brings_a_deleted_pack_back_is_believed_by_nobody_and_goes() {
    let (mut world, repo) = World::new();
    let old = commit(&repo, &[1], 100);
    let index = world.memory.names("index/");
    let kept: Vec<_> = index.iter().map(|name| (name.clone(), world.memory.bytes(name))).collect();
    repo.forget(&old).unwrap();
    prune(&repo);
    for (name, bytes) in kept {
        world.memory.put(&name, bytes);
    }
    let other = world.open();
    let session = begin(&other);
    let again = fill(&session, &[1], 300);
    session.commit(&again).unwrap();
    assert_eq!(read(&world.open(), 1).unwrap().plain().unwrap(), plain(1));
    let gone = commit(&other, &[7], 400);
    other.forget(&gone).unwrap();
    prune(&other);
    assert!(index.iter().all(|name| !world.memory.names("index/").contains(name)));
}

#[test]
fn leases_that_are_over_and_revisions_of_the_forgotten_are_tidied_away_and_tombstones_stay() {
    let (world, repo) = World::new();
    let old = commit(&repo, &[1], 100);
    let running = begin(&repo);
    repo.forget(&old).unwrap();
    let pruning = pruner(&repo);
    let tidied = pruning.tidy().unwrap();
    assert_eq!((tidied.leases, tidied.revisions), (1, 1));
    assert_eq!(world.memory.names("snapshots/"), [format!("snapshots/{old}/1")]);
    let mut left = vec![lease_path(&running.id(), 0), lease_path(&pruning.id(), 0)];
    left.sort();
    assert_eq!(world.memory.names("leases/"), left);
    pruning.end().unwrap();
    running.abandon().unwrap();
    assert_eq!(repo.refresh().unwrap(), [], "nobody misses the forgotten snapshot");
    assert_eq!(pruner(&repo).tidy().unwrap().leases, 2);
}

#[test]
fn a_fenced_lease_is_tidied_away_and_its_void_stays() {
    let (world, repo) = World::new();
    let lost = begin(&repo);
    assert!(repo.fence(&lost.id()).unwrap());
    assert_eq!(pruner(&repo).tidy().unwrap().leases, 1);
    assert_eq!(world.memory.names("snapshots/"), [format!("snapshots/{}/0", lost.id())]);
    assert!(!world.memory.names("leases/").contains(&end_path(&lost.id())));
}

#[test]
fn a_grace_period_runs_by_this_hosts_own_clock() {
    let (mut world, repo) = World::new();
    let old = commit(&repo, &[1], 100);
    repo.forget(&old).unwrap();
    let other = world.open();
    let options = PrunerOptions { walk: Arc::new(Flat), grace: Duration::from_mins(90), write_limit: None };
    let pruning = other.begin_prune(&options, &alone()).unwrap();
    let survey = pruning.survey().unwrap();
    pruning.mark(&survey.packs.iter().map(|pack| pack.name).collect()).unwrap();
    for packs in [0, 0, 2] {
        assert_eq!(pruning.delete_drained(&mut |_| true).unwrap().packs, packs);
        hour_later(&world);
    }
}

#[test]
fn storage_that_refuses_to_create_loses_nothing_and_the_next_prune_carries_on() {
    let (mut world, repo) = World::new();
    commit(&repo, &[1], 100);
    let old = commit(&repo, &[2], 200);
    repo.forget(&old).unwrap();
    for folder in ["leases/", "trash/", "index/"] {
        world.memory.fail(folder, Fault::Refused);
        let options = PrunerOptions { walk: Arc::new(Flat), grace: Duration::ZERO, write_limit: None };
        if let Ok(pruning) = world.open().begin_prune(&options, &alone()) {
            let survey = pruning.survey().unwrap();
            let dead = survey.packs.iter().filter(|pack| pack.live_chunks == 0).map(|pack| pack.name).collect();
            let worked = pruning.mark(&dead).and_then(|_| pruning.delete_drained(&mut |_| true));
            assert!(folder == "index/" || worked.is_err());
        }
        world.memory.heal();
        assert_eq!(read(&world.open(), 1).unwrap().plain().unwrap(), plain(1));
    }
    let repo = world.open();
    prune(&repo);
    assert!(read(&world.open(), 2).is_err());
}

#[test]
fn a_reader_that_was_shut_out_says_so_and_calls_nothing_damaged() {
    let (mut world, repo) = World::new();
    let old = commit(&repo, &[1], 100);
    commit(&repo, &[2], 200);
    let reader = repo.begin_read("test").unwrap();
    let chunks = reader.repo().chunks_of_storage();
    let other = world.open();
    assert!(other.fence(&reader.id().unwrap()).unwrap());
    other.forget(&old).unwrap();
    assert_eq!(prune(&other).packs, 2);
    let missed = chunks.read(ChunkKind::Values, &id(&repo, 1)).unwrap_err();
    assert!(matches!(missed, RepoError::Overslept { .. }), "{missed}");
    assert!(reader.repo().is_still_held().is_err());
    assert_eq!(chunks.read(ChunkKind::Values, &id(&repo, 2)).unwrap().plain().unwrap(), plain(2));
}

#[test]
fn a_pack_that_is_none_goes_once_no_writer_is_at_work_and_one_of_a_newer_program_stays() {
    let (mut world, repo) = World::new();
    commit(&repo, &[1], 100);
    let name = |n: u8| ObjectName([n; 32]);
    let path = |n: u8| crate::repo::pack::path(&name(n));
    for (n, bytes) in [(1, Vec::new()), (2, vec![7]), (3, vec![0; 200])] {
        world.memory.put(&path(n), bytes);
    }
    let whole = world.memory.bytes(&crate::repo::pack::path(&home(&repo, 1)));
    world.memory.put(&path(4), whole[..100].to_vec());
    let mut newer = whole;
    newer[8] = 99;
    world.memory.put(&path(5), newer);
    let running = begin(&repo);
    let other = world.open();
    // The torn one names its writer, who is done; of the others nobody can tell whose they are.
    let goes = |repo: &Repository| {
        let survey = repo.survey(&Flat, Duration::ZERO).unwrap();
        survey.orphans.iter().filter(|orphan| !orphan.is_busy).map(|orphan| orphan.name).collect::<Vec<_>>()
    };
    assert_eq!(goes(&other), [name(4)]);
    drop(running);
    assert_eq!(goes(&other), [name(1), name(2), name(3), name(4)]);
    assert_eq!(prune(&other).packs, 4);
    let left = world.memory.names("packs/");
    assert_eq!((1..=5).filter(|n| left.contains(&path(*n))).collect::<Vec<_>>(), [5]);
    assert_eq!(read(&repo, 1).unwrap().plain().unwrap(), plain(1));
}

#[test]
fn what_another_pruner_took_meanwhile_is_no_failure() {
    let (mut world, repo) = World::new();
    let old = commit(&repo, &[1, 2], 100);
    let reader = repo.begin_read("test").unwrap();
    repo.forget(&old).unwrap();
    let (first, second) = (world.open(), world.open());
    assert_eq!(prune(&first).packs, 0, "marked, and the reader is waited for");
    drop(reader);
    let pruning = pruner(&first);
    let keep = commit(&second, &[1, 2], 200);
    let survey = pruning.survey().unwrap();
    let all: HashSet<ObjectName> = survey.packs.iter().map(|pack| pack.name).collect();
    let mut turns = 0;
    let (_, _, lost) = pruning
        .repack(&all, &mut |_| {
            turns += 1;
            if turns == 1 {
                second.forget(&keep).unwrap();
                prune(&second);
            }
            true
        })
        .unwrap();
    assert!(turns >= 1);
    assert!(lost.is_empty(), "{lost:?}");
    pruning.end().unwrap();
}

#[test]
fn a_pruner_that_was_shut_out_deletes_no_packs_any_more() {
    let (mut world, repo) = World::new();
    let old = commit(&repo, &[1], 100);
    repo.forget(&old).unwrap();
    let pruning = pruner(&repo);
    let survey = pruning.survey().unwrap();
    pruning.mark(&survey.packs.iter().map(|pack| pack.name).collect()).unwrap();
    let before = world.memory.names("packs/");
    assert!(world.open().fence(&pruning.id()).unwrap());
    let deleted = pruning.delete_drained(&mut |_| true).unwrap();
    assert_eq!((deleted.packs, deleted.failures.len()), (0, 1), "{:?}", deleted.failures);
    assert_eq!(world.memory.names("packs/"), before);
}
