//! Leases, honouring, fences and commits: many writers at once, and the side of the protocol that prune will lean on.

use crate::support::{
    Fault, Heard, MemorySource, Rec, World,
    db::{assert_same, sample},
    world::{assert_sound, back_up, backup_with, plain, restored, snapshot},
};
use rekeep::{
    ops::{
        OpsError,
        prune::{PruneOptions, prune},
    },
    repo::{
        ChunkKind, ChunkPlain, ChunkWriter, Manifest, RepoError, Repository, SnapshotId, WriteOptions,
        object::{self, ObjectKind},
        session::SessionTiming,
    },
};
use serde_json::Value as Json;
use std::{
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

const MARK: &str = "trash/000102030405060708090a0b0c0d0e0f";

fn writing() -> WriteOptions {
    WriteOptions { purpose: "backup".to_owned(), compression: 3, check: true, write_limit: None }
}

fn lease_objects(world: &World, id: &SnapshotId) -> Vec<(String, Json)> {
    let image = world.backend.image();
    let folder = format!("leases/{id}/");
    let mut found: Vec<(String, Json)> = image
        .range(folder.clone()..)
        .take_while(|(name, _)| name.starts_with(&folder))
        .map(|(name, bytes)| {
            let kind = object::kind_of(name, bytes).unwrap();
            (
                name[folder.len()..].to_owned(),
                serde_json::from_slice(&object::unwrap(kind, name, bytes).unwrap()).unwrap(),
            )
        })
        .collect();
    found.sort_by_key(|(name, _)| name.parse::<u64>().unwrap_or(u64::MAX));
    found
}

fn mark(repo: &Repository, packs: &[String]) -> Vec<u8> {
    let names: Vec<&str> = packs.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    let body = serde_json::json!({ "packs": names }).to_string();
    repo.made_by_operator(ObjectKind::Mark, MARK, body.as_bytes()).unwrap()
}

fn honours(object: &Json) -> Vec<String> {
    let all = object["honours"].as_array().cloned().unwrap_or_default();
    all.iter().map(|mark| mark.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_backup_whose_name_is_taken_fails_whole_and_says_so() {
    let (world, repo) = World::new();
    let before = back_up(&repo, &MemorySource::of(sample(1, 20, 40), &world.clock));
    world.clock.advance(1000);
    let pruner = world.beside().open();
    world.backend.set_rival(move |name| {
        let id = name.strip_prefix("snapshots/")?.strip_suffix("/0")?;
        let body = serde_json::json!({ "void": id, "host": "pruner", "time": 0 });
        Some(pruner.made_by_operator(ObjectKind::Void, name, body.to_string().as_bytes()).unwrap())
    });
    let source = MemorySource::of(sample(2, 20, 40), &world.clock);
    let error = backup_with(&repo, &source, &plain()).unwrap_err();
    let OpsError::Repo(RepoError::Fenced { id }) = &error else { panic!("{error}") };
    assert!(error.to_string().contains("nothing was committed"), "{error}");
    world.backend.remove_rival();
    for repo in [&repo, &world.beside().open()] {
        repo.refresh().unwrap();
        let ids: Vec<SnapshotId> = repo.snapshots().unwrap().iter().map(|s| s.id).collect();
        assert_eq!(ids, [before.id.unwrap()]);
        assert!(repo.warnings().is_empty(), "a void is nothing to warn of: {:?}", repo.warnings());
    }
    let ends = lease_objects(&world, id);
    assert_eq!(ends.last().unwrap().1["outcome"], "abandoned", "{ends:?}");
    let next = back_up(&repo, &source);
    assert!(next.stats.chunks_reused > 0 && next.stats.chunks_new == 0, "what was uploaded is used: {:?}", next.stats);
    assert_same(&restored(&repo, &snapshot(&repo, next.id.unwrap())), &sample(2, 20, 40), "after the fence");
    assert_sound(&repo);
}

fn commit_copy(session: rekeep::repo::WriteSession, of: &Manifest) -> Result<(), RepoError> {
    let manifest = Manifest { id: session.id(), revision: 0, ..of.clone() };
    session.commit(&manifest)
}

#[test]
fn a_fenced_session_cannot_commit_and_a_committed_one_cannot_be_fenced() {
    let (world, repo) = World::new();
    let taken = snapshot(&repo, back_up(&repo, &MemorySource::of(sample(1, 20, 40), &world.clock)).id.unwrap());
    let pruner = world.beside().open();
    let session = repo.begin_write(&writing()).unwrap();
    let id = session.id();
    assert!(pruner.fence(&id).unwrap(), "nobody had committed");
    assert!(matches!(commit_copy(session, &taken), Err(RepoError::Fenced { id: fenced }) if fenced == id));
    let session = repo.begin_write(&writing()).unwrap();
    let id = session.id();
    commit_copy(session, &taken).unwrap();
    assert!(!pruner.fence(&id).unwrap(), "it has committed");
    pruner.refresh().unwrap();
    assert_eq!(pruner.snapshots().unwrap().len(), 2);
}

#[test]
fn a_commit_with_an_unfinished_writer_or_another_name_is_refused() {
    let (world, repo) = World::new();
    let taken = snapshot(&repo, back_up(&repo, &MemorySource::of(sample(1, 20, 40), &world.clock)).id.unwrap());
    let session = repo.begin_write(&writing()).unwrap();
    let mut writer = session.writer();
    writer.put(ChunkKind::Values, &ChunkPlain::single(vec![7; 100])).unwrap();
    assert!(matches!(commit_copy(session, &taken), Err(RepoError::Internal(_))));
    let session = repo.begin_write(&writing()).unwrap();
    assert!(matches!(session.commit(&taken), Err(RepoError::Internal(_))));
    repo.refresh().unwrap();
    assert_eq!(repo.snapshots().unwrap().len(), 1);
}

#[test]
fn a_lease_is_there_before_anything_is_listed_and_ends_last() {
    let (world, repo) = World::new();
    let from = world.backend.operations();
    let id = back_up(&repo, &MemorySource::of(sample(1, 20, 40), &world.clock)).id.unwrap();
    let log = world.backend.log_from(from);
    let at = |what: &str| {
        log.iter().position(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what} is not in {log:#?}"))
    };
    let commit = at(&format!("create snapshots/{id}/0"));
    assert!(at(&format!("create leases/{id}/0")) < at("list trash/"));
    assert!(at("list trash/") < at("list index/") && at("list index/") < at("list packs/"));
    assert!(at("list packs/") < at("create packs/"));
    let packs = log.iter().rposition(|line| line.starts_with("create packs/")).unwrap();
    let index = log.iter().rposition(|line| line.starts_with("create index/")).unwrap();
    assert!(packs < index && index < commit && commit < at(&format!("create leases/{id}/end")), "{log:#?}");
    let leases = lease_objects(&world, &id);
    assert_eq!(leases.first().unwrap().1["purpose"], "backup");
    assert_eq!(leases.last().unwrap().1["outcome"], "committed");
}

#[test]
fn heartbeats_go_on_while_a_session_lives_and_stop_with_it() {
    let (world, repo) = World::new();
    let timing = SessionTiming { heartbeat: Duration::from_millis(20), ..SessionTiming::default() };
    let session = repo.begin_write_timed(&writing(), &timing).unwrap();
    let id = session.id();
    let began = Instant::now();
    while lease_objects(&world, &id).len() < 5 {
        assert!(began.elapsed() < Duration::from_secs(20), "no heartbeats");
        std::thread::sleep(Duration::from_millis(5));
    }
    session.abandon().unwrap();
    let leases = lease_objects(&world, &id);
    assert_eq!(leases.last().unwrap().0, "end");
    let numbers: Vec<u64> = leases.iter().filter_map(|(_, body)| body["number"].as_u64()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    // Another one's heartbeats tell the time.
    let other = repo.begin_write_timed(&writing(), &timing).unwrap();
    while lease_objects(&world, &other.id()).len() < 5 {
        assert!(began.elapsed() < Duration::from_secs(40), "no heartbeats");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(lease_objects(&world, &id).len(), leases.len(), "no heartbeat after the end");
}

/// Prune's side, by hand: mark all packs, wait until no lease is in the way, delete. What a backup that saw the mark
/// has taken must not lean on any of them.
#[test]
fn a_backup_leans_on_no_pack_that_is_marked() {
    let (world, repo) = World::new();
    let db = sample(1, 200, 100);
    let first = back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
    let doomed = world.backend.names("packs/");
    let index = world.backend.names("index/");
    world.backend.tamper(|image| drop(image.insert(MARK.to_owned(), mark(&repo, &doomed))));
    world.clock.advance(1000);
    let second = back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
    assert_eq!((second.parent, second.stats.chunks_reused), (None, 0), "a parent with an absent chunk is no parent");
    let leases = lease_objects(&world, &second.id.unwrap());
    let named = leases.iter().any(|(_, body)| honours(body).iter().any(|name| MARK.ends_with(name.as_str())));
    assert!(named, "the lease names the mark: {leases:?}");
    repo.forget(&first.id.unwrap()).unwrap();
    world.backend.tamper(|image| {
        for name in index.iter().chain(&doomed) {
            image.remove(name);
        }
        image.remove(MARK);
    });
    for world in [&world, &world.beside()] {
        let repo = world.open();
        assert_same(&restored(&repo, &snapshot(&repo, second.id.unwrap())), &db, "after the prune");
        assert_sound(&repo);
    }
}

#[test]
fn a_new_mark_is_honoured_only_if_nothing_in_it_is_relied_on() {
    let (world, repo) = World::new();
    back_up(&repo, &MemorySource::of(sample(1, 200, 100), &world.clock));
    let all = world.backend.names("packs/");
    for relies in [false, true] {
        let session = repo.begin_write(&writing()).unwrap();
        if relies {
            let taken = repo.snapshots().unwrap();
            let layers = taken.iter().flat_map(|s| &s.collections).flat_map(|c| &c.stack).map(|layer| layer.id);
            assert_eq!(session.rely_on(&mut layers.collect::<Vec<_>>().into_iter()).unwrap(), []);
        }
        world.backend.tamper(|image| drop(image.insert(MARK.to_owned(), mark(&repo, &all))));
        session.beat_now().unwrap();
        let leases = lease_objects(&world, &session.id());
        let honoured = !honours(&leases.last().unwrap().1).is_empty();
        assert_eq!(honoured, !relies, "{leases:?}");
        // What was honoured stays absent, also once the mark is gone.
        world.backend.tamper(|image| drop(image.remove(MARK)));
        session.beat_now().unwrap();
        let layer = repo.snapshots().unwrap()[0].collections[0].stack[0].id;
        let absent = session.rely_on(&mut std::iter::once(layer)).unwrap();
        assert_eq!(absent.len(), usize::from(!relies));
        session.abandon().unwrap();
    }
}

#[test]
fn a_writer_relies_on_nothing_that_a_mark_may_name_which_cannot_be_read() {
    let (world, repo) = World::new();
    let source = MemorySource::of(sample(1, 20, 40), &world.clock);
    back_up(&repo, &source);
    world.backend.tamper(|image| drop(image.insert(MARK.to_owned(), b"rubbish".to_vec())));
    let before = world.backend.image();
    world.clock.advance(1000);
    let id = back_up(&repo, &source).id.unwrap();
    let named: Vec<String> = before.keys().filter(|name| name.starts_with("packs/")).cloned().collect();
    let honoured = lease_objects(&world, &id);
    // Whatever was there before may go: the snapshot needs none of it.
    world.backend.tamper(|image| {
        image.retain(|name, _| !named.contains(name));
        image.retain(|name, _| !name.starts_with("index/") || !before.contains_key(name));
        image.retain(|name, _| !name.starts_with("snapshots/") || name.contains(&id.to_string()));
        image.remove(MARK);
    });
    assert!(honoured.iter().any(|(_, body)| !honours(body).is_empty()), "nobody waits for it: {honoured:?}");
    drop(repo);
    world.drop_catalog();
    assert_sound(&world.open());
}

fn two_at_once(one: &Repository, other: &Repository, world: &World) {
    let meet = Arc::new(Barrier::new(2));
    let db = sample(9, 2_000, 150);
    let take = |repo: &Repository| {
        let mut source = MemorySource::of(db.clone(), &world.clock).in_parts(3);
        source.meet = Some(Arc::clone(&meet));
        back_up(repo, &source).id.unwrap()
    };
    let (a, b) = std::thread::scope(|scope| {
        let first = scope.spawn(|| take(one));
        let second = take(other);
        (first.join().unwrap(), second)
    });
    assert_ne!(a, b);
    for repo in [one, other, &world.beside().open()] {
        repo.refresh().unwrap();
        assert_eq!(repo.snapshots().unwrap().len(), 2);
        for id in [a, b] {
            assert_same(&restored(repo, &snapshot(repo, id)), &db, "two at once");
        }
        assert_sound(repo);
    }
}

#[test]
fn two_backups_of_one_source_at_once_both_commit_and_verify() {
    let (world, repo) = World::new();
    two_at_once(&repo, &repo.clone(), &world);
    let (world, repo) = World::new();
    let beside = world.beside();
    two_at_once(&repo, &beside.open(), &world);
}

#[test]
fn revisions_keep_the_content_and_a_forgotten_snapshot_stays_forgotten() {
    let (world, repo) = World::new();
    let id = back_up(&repo, &MemorySource::of(sample(1, 20, 40), &world.clock)).id.unwrap();
    let tagged = repo.revise(&id, &|manifest| manifest.tags.push("kept".to_owned())).unwrap();
    assert_eq!((tagged.revision, tagged.tags.as_slice()), (1, ["kept".to_owned()].as_slice()));
    let changed = repo.revise(&id, &|manifest| manifest.content.complete = false);
    assert!(matches!(changed, Err(RepoError::Internal(_))));
    let other = world.beside().open();
    assert_eq!(snapshot(&other, id), tagged);
    assert_same(&restored(&other, &tagged), &sample(1, 20, 40), "tagged");
    other.forget(&id).unwrap();
    repo.refresh().unwrap();
    assert!(repo.snapshots().unwrap().is_empty());
    assert!(repo.revise(&id, &|manifest| manifest.tags.clear()).is_err(), "no revision above a tombstone");
    assert!(repo.warnings().is_empty(), "{:?}", repo.warnings());
}

#[test]
fn a_snapshot_that_vanished_without_being_forgotten_is_told() {
    let (world, repo) = World::new();
    let id = back_up(&repo, &MemorySource::of(sample(1, 20, 40), &world.clock)).id.unwrap();
    world.backend.tamper(|image| drop(image.remove(&format!("snapshots/{id}/0"))));
    let warnings = repo.refresh().unwrap();
    assert!(warnings.iter().any(|text| text.words.contains(&id.to_string())), "{warnings:?}");
}

#[test]
fn readers_work_where_nothing_can_be_written() {
    let (world, repo) = World::new();
    let id = back_up(&repo, &MemorySource::of(sample(1, 20, 40), &world.clock)).id.unwrap();
    let before = world.backend.image();
    world.backend.arm(1, Fault::Full);
    assert_same(&restored(&repo, &snapshot(&repo, id)), &sample(1, 20, 40), "from a full disk");
    assert_sound(&repo);
    assert!(world.backend.image() == before);
}

#[test]
fn a_reader_without_a_lease_is_told_when_what_it_reads_has_moved_on() {
    let (world, repo) = World::new();
    let mut state = sample(5, 40, 100);
    let mut taken = Vec::new();
    for round in 0..3_u8 {
        state.get_mut("c").unwrap().records.insert(vec![b'k', round], Rec::text("new"));
        world.clock.advance(60_000);
        taken.push(back_up(&repo, &MemorySource::of(state.clone(), &world.clock)).id.unwrap());
    }
    let reader = world.beside().open();
    let chosen = snapshot(&reader, taken[2]);
    world.backend.arm(1, Fault::Refuses("create leases/"));
    let lease = reader.begin_read("test").unwrap();
    assert_eq!(lease.id(), None);
    world.backend.disarm();
    for id in &taken[..2] {
        repo.forget(id).unwrap();
    }
    let options = PruneOptions { max_unused: 0.0, max_superseded: 0.0, ..PruneOptions::default() };
    assert!(prune(&repo, &options, &Heard::default()).unwrap().squashed.snapshots > 0);
    let old = chosen.collections[0].stack.last().unwrap().id;
    let error = lease.repo().chunks().read(ChunkKind::List, &old).unwrap_err();
    assert!(matches!(error, RepoError::MovedOn { .. }), "{error}");
    // Begun again, it reads what is there.
    assert_same(&restored(&reader, &snapshot(&reader, taken[2])), &state, "again");
    // Of a chunk that is lost nobody says that it moved.
    let lost = rekeep::repo::ChunkId([3; 32]);
    let error = world.open().chunks().read(ChunkKind::List, &lost).unwrap_err();
    assert!(matches!(error, RepoError::ChunkMissing { .. }), "{error}");
}

#[test]
fn late_and_unordered_listings_lose_nothing() {
    let (world, repo) = World::new();
    let beside = world.beside();
    let other = beside.open();
    world.backend.list_late(6);
    let mut states = Vec::new();
    for round in 0..6u64 {
        let db = sample(round / 2, 300, 80);
        let repo = if round % 3 == 0 { &other } else { &repo };
        states.push((back_up(repo, &MemorySource::of(db.clone(), &world.clock)).id.unwrap(), db));
        world.clock.advance(1000);
    }
    world.backend.list_late(0);
    let fresh = world.beside().open();
    for (id, db) in &states {
        assert_same(&restored(&fresh, &snapshot(&fresh, *id)), db, "late listings");
    }
    assert_sound(&fresh);
}
