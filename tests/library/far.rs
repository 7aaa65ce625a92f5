//! Storage that is far: what is asked for is counted, never timed.

use crate::support::{
    Db, Heard, Image, MemorySource, MemoryTarget, Rec, World,
    db::sample,
    world::{assert_sound, back_up, backup_with, plain, restore_with, restored, snapshot, unlock, verify_all},
};
use rekeep::{
    layer::{Layer, LayerError, Stack},
    ops::{
        history::history,
        prune::{PruneOptions, prune},
        restore::RestoreOptions,
        verify::{ReadData, VerifyOptions, verify},
    },
    record::{KeyRange, Timestamp},
    repo::{InitOptions, RepoError, Repository, SnapshotId, Unlock, WriteOptions},
    report::ErrorKind,
};
use std::path::{Path, PathBuf};

/// Enough for some hundred blocks.
fn records() -> Db {
    sample(7, 12_000, 700)
}

fn changed(db: &Db, every: usize) -> Db {
    let mut db = db.clone();
    let records = &mut db.get_mut("c").unwrap().records;
    let keys: Vec<Vec<u8>> = records.keys().step_by(every).cloned().collect();
    for key in keys {
        records.insert(key, Rec::text("changed"));
    }
    db
}

fn write_options() -> WriteOptions {
    WriteOptions { purpose: "backup".to_owned(), compression: 1, check: true, write_limit: None }
}

/// A world with a backup of these records, made near by, then moved away.
fn far_world(db: &Db) -> (World, SnapshotId) {
    let (world, repo) = World::new();
    let made = back_up(&repo, &MemorySource::of(db.clone(), &world.clock).in_parts(2));
    drop(repo);
    world.backend.move_away();
    (world, made.id.unwrap())
}

/// What `work` asks of storage.
fn asked<T>(world: &World, work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let before = world.backend.operations();
    let done = work();
    (done, world.backend.log_from(before))
}

fn count(log: &[String], what: &str) -> usize {
    log.iter().filter(|line| line.starts_with(what)).count()
}

fn kept(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(kept(&path));
        } else if path.components().any(|part| part.as_os_str().to_string_lossy().ends_with(".objects")) {
            found.push(path);
        }
    }
    found
}

#[test]
fn neighbours_are_asked_for_together_and_what_comes_back_is_the_same() {
    let db = records();
    let (near, repo) = World::new();
    let id = back_up(&repo, &MemorySource::of(db.clone(), &near.clock).in_parts(2)).id.unwrap();
    let (back, log) = asked(&near, || restored(&repo, &snapshot(&repo, id)));
    assert!(back == db);
    let one_by_one = count(&log, "read packs/");
    assert!(one_by_one > 50, "{one_by_one}");

    let (world, id) = far_world(&db);
    let repo = world.open();
    let (back, log) = asked(&world, || restored(&repo, &snapshot(&repo, id)));
    assert!(back == db);
    let together = count(&log, "read packs/");
    assert!(together * 3 < one_by_one, "{together} of {one_by_one}");
}

#[test]
fn one_record_is_not_worth_reading_ahead_for() {
    let (world, id) = far_world(&records());
    let repo = world.open();
    let snapshot = snapshot(&repo, id);
    let stack = Stack::open(&repo.chunks(), &snapshot.collections[0].stack).unwrap();
    let key = records()["c"].records.keys().nth(5000).unwrap().clone();
    let ((), log) = asked(&world, || {
        let mut cursor = stack.cursor(&KeyRange::only(&key), Timestamp::default(), false).unwrap();
        assert!(cursor.advance().unwrap());
        drop(cursor.value().unwrap());
    });
    assert!(log.len() <= 3, "{log:?}");
}

#[test]
fn metadata_is_read_once_and_then_from_the_local_disk() {
    let db = records();
    let (world, id) = far_world(&db);
    let repo = world.open();
    let walk = || {
        let snapshot = snapshot(&repo, id);
        let stack = Stack::open(&repo.chunks(), &snapshot.collections[0].stack).unwrap();
        let mut cursor = stack.cursor(&KeyRange::all(), Timestamp::default(), true).unwrap();
        let mut records = 0;
        while cursor.advance().unwrap() {
            records += 1;
        }
        assert_eq!(records, db["c"].records.len());
    };
    let ((), cold) = asked(&world, walk);
    assert!(count(&cold, "read packs/") > 0);
    let ((), warm) = asked(&world, walk);
    assert_eq!(warm, Vec::<String>::new());

    // What is on the local disk is not trusted.
    let files = kept(world.cache_dir());
    assert!(!files.is_empty());
    for file in &files {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        std::fs::write(file, bytes).unwrap();
    }
    let ((), hurt) = asked(&world, walk);
    assert!(count(&hurt, "read packs/") > 0, "read again");
    let ((), mended) = asked(&world, walk);
    assert_eq!(mended, Vec::<String>::new());

    // It may be deleted at any time.
    for file in &files {
        std::fs::remove_file(file).unwrap();
    }
    walk();
}

#[test]
fn verify_looks_at_storage_whatever_is_on_the_local_disk() {
    let (world, _) = far_world(&sample(3, 2_000, 200));
    let repo = world.open();
    assert_sound(&repo);
    let metadata: Vec<String> = repo
        .packs()
        .unwrap()
        .into_iter()
        .filter(|pack| format!("{:?}", pack.kind) == "Metadata")
        .map(|pack| rekeep::repo::pack::path(&pack.name))
        .collect();
    world.backend.tamper(|image: &mut Image| {
        for name in &metadata {
            let bytes = image.get_mut(name).unwrap();
            let end = bytes.len() - 100;
            bytes[150..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        }
    });
    drop(repo);
    let repo = world.open();
    let options = VerifyOptions { read_data: ReadData::None, restore: false, parallel: 1, read_limit: None };
    let snapshots = repo.snapshots().unwrap();
    let outcome = verify(&repo, &snapshots, &options, &crate::support::Heard::default()).unwrap();
    assert!(!outcome.findings.is_empty(), "the lists cannot be read any more");
}

#[test]
fn a_backup_fills_the_cache_with_what_the_next_one_reads() {
    let db = records();
    let (world, repo) = World::new();
    drop(repo);
    world.backend.move_away();
    let repo = world.open();
    back_up(&repo, &MemorySource::of(db.clone(), &world.clock).in_parts(2));
    world.clock.advance(1000);
    let next = changed(&db, 100);
    let (made, log) = asked(&world, || back_up(&repo, &MemorySource::of(next.clone(), &world.clock).in_parts(2)));
    assert_eq!(count(&log, "read packs/"), 0, "{log:?}");
    assert!(restored(&repo, &snapshot(&repo, made.id.unwrap())) == next);
    assert_sound(&repo);
}

#[test]
fn a_parent_is_judged_by_its_packs_and_by_its_chunks_only_if_one_is_absent() {
    let (world, repo) = World::new();
    let db = records();
    back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
    for every in [1000, 900, 800] {
        world.clock.advance(1000);
        let next = changed(&db, every);
        let made = back_up(&repo, &MemorySource::of(next.clone(), &world.clock));
        let made = snapshot(&repo, made.id.unwrap());
        assert!(made.content.parent.is_some());
        assert!(restored(&repo, &made) == next);
    }
    let newest = repo.snapshots().unwrap().pop().unwrap();
    let lists = |repo: &Repository| {
        let session = repo.begin_write(&write_options()).unwrap();
        let mut walked = 0;
        for layer in &newest.collections[0].stack {
            let absent = session.rely_on_layer(&layer.id, |visit| -> Result<(), LayerError> {
                walked += 1;
                Layer::open(&repo.chunks(), layer)?.for_each_chunk(&mut |id| Ok(visit(id)?))
            });
            if absent.unwrap().is_some() {
                return None;
            }
        }
        session.abandon().unwrap();
        Some(walked)
    };
    assert_eq!(lists(&repo), Some(0), "whoever wrote a layer has noted it");
    let beside = world.beside().open();
    assert_eq!(lists(&beside), Some(newest.collections[0].stack.len()), "another host walks each of them once");
    assert_eq!(lists(&beside), Some(0));
    // A pack goes that holds part of it: then the chunks are looked for, and one of them is absent.
    let data: Vec<String> = repo
        .packs()
        .unwrap()
        .into_iter()
        .filter(|pack| format!("{:?}", pack.kind) == "Data")
        .map(|pack| rekeep::repo::pack::path(&pack.name))
        .collect();
    world.backend.tamper(|image| image.retain(|name, _| !data.contains(name)));
    assert_eq!(lists(&repo), None);
}

#[test]
fn what_a_host_has_written_it_need_not_read_to_plan_a_prune() {
    let (world, repo) = World::new();
    let db = records();
    back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
    for every in [1000, 100] {
        world.clock.advance(1000);
        back_up(&repo, &MemorySource::of(changed(&db, every), &world.clock));
    }
    let plan = |repo: &Repository| {
        let options = PruneOptions { dry_run: true, ..PruneOptions::default() };
        asked(&world, || prune(repo, &options, &Heard::default()).unwrap().plan)
    };
    let (ours, log) = plan(&repo);
    assert_eq!(count(&log, "read packs/"), 0, "{log:?}");
    let beside = world.beside().open();
    let (theirs, log) = plan(&beside);
    assert!(count(&log, "read packs/") > 0, "{log:?}");
    assert_eq!(theirs, ours);
    let (again, log) = plan(&beside);
    assert_eq!((count(&log, "read packs/"), again), (0, ours), "{log:?}");
}

#[test]
fn a_prune_reads_each_object_of_a_lease_once_however_often_it_looks_at_them() {
    let (world, repo) = World::new();
    let mut db = sample(1, 50, 100);
    let mut made = Vec::new();
    for n in 0..6 {
        db.get_mut("c").unwrap().records.insert(format!("new{n}").into_bytes(), Rec::text("x"));
        made.extend(back_up(&repo, &MemorySource::of(db.clone(), &world.clock)).id);
        world.clock.advance(1000);
    }
    repo.forget(&made[0]).unwrap();
    drop(repo);
    world.backend.move_away();
    let repo = world.open();
    let (done, log) = asked(&world, || prune(&repo, &PruneOptions::default(), &Heard::default()).unwrap());
    assert!(done.leases_removed >= 6, "{done:?}");
    let mut read: Vec<&String> = log.iter().filter(|line| line.starts_with("read leases/")).collect();
    let reads = read.len();
    read.sort_unstable();
    read.dedup();
    assert!(read.len() >= 6 && read.len() == reads, "{reads} reads of {}: {log:#?}", read.len());
}

#[test]
fn a_service_that_keeps_half_of_what_it_is_given_is_found_out_before_the_commit() {
    let (world, id) = far_world(&records());
    let repo = world.open();
    world.backend.keep_halves();
    let next = changed(&records(), 3);
    for db in [&next, &sample(9, 3_000, 700)] {
        let error = backup_with(&repo, &MemorySource::of(db.clone(), &world.clock), &plain()).unwrap_err();
        assert!(error.to_string().contains("does not keep what it is given"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    }
    drop(repo);
    let repo = world.open();
    assert_eq!(repo.snapshots().unwrap().iter().map(|it| it.id).collect::<Vec<_>>(), [id]);
    assert!(restored(&repo, &snapshot(&repo, id)) == records());
}

#[test]
fn history_reads_only_layers_that_have_the_record() {
    let (world, repo) = World::new();
    let mut db = sample(5, 400, 100);
    let keys: Vec<Vec<u8>> = db["c"].records.keys().cloned().collect();
    for round in 0..20_usize {
        let records = &mut db.get_mut("c").unwrap().records;
        for n in 0..5 {
            records.insert(keys[10 + round * 7 + n * 50].clone(), Rec::text(&format!("round {round}")));
        }
        if round % 8 == 3 {
            records.insert(keys[0].clone(), Rec::text(&format!("moved in {round}")));
        }
        back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
        world.clock.advance(1000);
    }
    let ask = |repo: &Repository| {
        let snapshots = repo.snapshots().unwrap();
        let key = snapshots[0].collections[0].codec.show(&keys[0]);
        asked(&world, || history(repo, &snapshots, "c", &key, None, None, &Heard::default()).unwrap())
    };
    let (ours, log) = ask(&repo);
    assert_eq!((ours.snapshots, ours.versions.len()), (20, 4));
    assert!((4..=5).contains(&ours.layers), "{} of 20 layers", ours.layers);
    let reads = count(&log, "read packs/");
    // Of each a list and a block of keys, and the block once more with its values.
    assert!(reads <= 4 * ours.layers, "{reads}: {log:?}");
    // A host that has noted nothing asks them all, says the same, and notes what it met.
    let beside = world.beside().open();
    let (theirs, log) = ask(&beside);
    assert_eq!(theirs.layers, 20);
    let few = count(&log, "read packs/");
    assert!(few <= 4 * 20, "{few}: {log:?}");
    let (again, _) = ask(&beside);
    assert!((4..=6).contains(&again.layers), "{} of 20 layers", again.layers);
    for said in [&theirs, &again] {
        assert_eq!(serde_json::to_value(&said.versions).unwrap(), serde_json::to_value(&ours.versions).unwrap());
    }
}

#[test]
fn index_objects_and_revisions_come_together_when_a_catalog_is_new() {
    let (world, repo) = World::new();
    let mut db = sample(1, 50, 100);
    let mut ids = Vec::new();
    for n in 0..12 {
        db.get_mut("c").unwrap().records.insert(format!("new{n}").into_bytes(), Rec::text("x"));
        ids.extend(back_up(&repo, &MemorySource::of(db.clone(), &world.clock)).id);
        world.clock.advance(1000);
    }
    drop(repo);
    world.backend.move_away();
    let elsewhere = world.beside();
    let repo = elsewhere.open();
    let found: Vec<SnapshotId> = repo.snapshots().unwrap().iter().map(|it| it.id).collect();
    assert_eq!(found, ids);
    assert!(restored(&repo, &snapshot(&repo, *ids.last().unwrap())) == db);
    drop(repo);
    // With the catalog lost, index objects are still on the local disk.
    for entry in std::fs::read_dir(elsewhere.cache_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (repo, log) = asked(&elsewhere, || elsewhere.open());
    assert_eq!(count(&log, "read index/"), 0, "{log:?}");
    assert_eq!(verify_all(&repo).unwrap().findings, []);
}

/// What each verb asks of storage, cold (no cache on this host) and warm. Lists are one request a page, everything else is one.
#[test]
fn every_verb_asks_for_little() {
    let db = records();
    let (world, repo) = World::new();
    drop(repo);
    world.backend.move_away();
    let mut table: Vec<(&str, bool, Vec<String>)> = Vec::new();
    let mut note = |what, is_warm, log: Vec<String>| table.push((what, is_warm, log));

    let first = asked(&world, || {
        let repo = world.open();
        back_up(&repo, &MemorySource::of(db.clone(), &world.clock).in_parts(2)).id.unwrap()
    });
    note("first backup", false, first.1);
    world.clock.advance(1000);
    let next = changed(&db, 100);
    let source = || MemorySource::of(next.clone(), &world.clock).in_parts(2);
    let second = asked(&world, || back_up(&world.open(), &source()).id.unwrap());
    note("1 % incremental", true, second.1);
    let key = db["c"].records.keys().nth(5000).unwrap().clone();
    for (world, is_warm) in [(&world.beside(), false), (&world, true)] {
        let (repo, log) = asked(world, || {
            let repo = world.open();
            assert_eq!(repo.snapshots().unwrap().len(), 2);
            repo
        });
        note("snapshots", is_warm, log);
        drop(repo);
        let ((), log) = asked(world, || {
            let repo = world.open();
            let newest = snapshot(&repo, second.0);
            let stack = Stack::open(&repo.chunks(), &newest.collections[0].stack).unwrap();
            let mut cursor = stack.cursor(&KeyRange::only(&key), Timestamp::default(), false).unwrap();
            assert!(cursor.advance().unwrap());
            drop(cursor.value().unwrap());
        });
        note("one record", is_warm, log);
        let (held, log) = asked(world, || {
            let repo = world.open();
            let newest = snapshot(&repo, second.0);
            let target = MemoryTarget::default();
            let only = newest.collections[0].codec.show(&key);
            let options = RestoreOptions { keys: vec![only], ..RestoreOptions::default() };
            restore_with(&repo, &newest, &target, &options).unwrap();
            target.held()
        });
        assert_eq!(held["c"].records.len(), 1);
        note("restore of one record", is_warm, log);
        let (back, log) = asked(world, || {
            let repo = world.open();
            restored(&repo, &snapshot(&repo, second.0))
        });
        assert!(back == next);
        note("restore", is_warm, log);
        let ((), log) = asked(world, || assert_sound(&world.open()));
        note("verify, all data, restored", is_warm, log);
    }
    for what in ["prune", "prune, nothing to do"] {
        let ((), log) =
            asked(&world, || drop(prune(&world.open(), &PruneOptions::default(), &Heard::default()).unwrap()));
        note(what, true, log);
    }
    for (what, is_warm, log) in &table {
        let kinds = ["list", "read", "create", "len", "delete"].map(|kind| format!("{} {kind}", count(log, kind)));
        println!("| {what} | {} | {} | {} |", if *is_warm { "warm" } else { "cold" }, log.len(), kinds.join(", "));
    }
    let most = |what: &str, is_warm: bool| {
        let found = table.iter().find(|(it, warm, _)| *it == what && *warm == is_warm).unwrap();
        (found.2.len(), found.2.clone())
    };
    for (what, is_warm, limit) in [
        ("snapshots", true, 4),
        ("one record", true, 5),
        ("restore of one record", true, 10),
        ("1 % incremental", true, 20),
        ("restore", true, 22),
        ("snapshots", false, 16),
        ("first backup", false, 30),
    ] {
        let (requests, log) = most(what, is_warm);
        assert!(requests <= limit, "{what}: {requests}: {log:#?}");
    }
}

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// A far repository that this host has opened before.
fn remembered_world() -> World {
    let (world, repo) = World::new();
    drop(repo);
    world.backend.move_away();
    world.open();
    let ((), log) = asked(&world, || drop(world.open()));
    assert_eq!((log.len(), count(&log, "read keys/")), (4, 1), "{log:?}");
    world
}

#[test]
fn a_slot_that_was_removed_elsewhere_opens_nothing_at_once() {
    let world = remembered_world();
    let other = Unlock::Password("another".to_owned());
    let elsewhere = world.beside().open();
    elsewhere.key_add(&other, "").unwrap();
    let ours = elsewhere.key_slots().unwrap().into_iter().find(|slot| slot.current).unwrap();
    elsewhere.key_remove(&ours.name).unwrap();
    assert!(matches!(world.try_open(), Err(RepoError::WrongPassword { .. })));
    let options = world.options();
    let opened = Repository::open(&world.storage(), &other, &options).unwrap();
    assert_eq!(opened.key_slots().unwrap().len(), 2);
}

#[test]
fn another_password_than_the_remembered_one_opens_its_own_slot() {
    let world = remembered_world();
    let other = Unlock::Password("another".to_owned());
    world.open().key_add(&other, "").unwrap();
    for unlock in [&other, &unlock(), &other] {
        Repository::open(&world.storage(), unlock, &world.options()).unwrap();
    }
    let wrong = Unlock::Password("wrong".to_owned());
    let refused = Repository::open(&world.storage(), &wrong, &world.options());
    assert!(matches!(refused, Err(RepoError::WrongPassword { slots: 2, .. })));
}

#[test]
fn a_lost_copy_is_told_within_a_day_and_then_each_time() {
    let world = remembered_world();
    world.backend.tamper(|image| drop(image.remove("copies/rekeep.json")));
    assert_eq!(world.open().warnings(), []);
    world.clock.advance(DAY_MILLIS);
    for _ in 0..2 {
        let told = world.open().warnings().iter().map(|it| it.words.clone()).collect::<String>();
        assert!(told.contains("copies/rekeep.json"), "{told}");
    }
    // A clock that was put back is no reason to believe what is remembered.
    let world = remembered_world();
    world.backend.tamper(|image| drop(image.remove("copies/rekeep.json")));
    world.clock.advance(-1);
    assert_eq!(world.open().warnings().len(), 1);
}

#[test]
fn an_altered_slot_or_another_repository_in_the_same_place_is_noticed_at_once() {
    let world = remembered_world();
    let slot =
        world.backend.names("keys/").into_iter().find(|name| {
            world.open().key_slots().unwrap().iter().any(|slot| slot.current && name.ends_with(&slot.name))
        });
    let slot = slot.unwrap();
    world.backend.tamper(|image| image.get_mut(&slot).unwrap().truncate(40));
    let told = world.open().warnings().iter().map(|it| it.words.clone()).collect::<String>();
    assert!(told.contains(&slot), "{told}");

    let world = remembered_world();
    let before = world.open().id();
    world.backend.tamper(Image::clear);
    assert!(matches!(world.try_open(), Err(RepoError::NoRepository { .. })));
    let init = InitOptions { kdf: crate::support::world::fast_kdf(), label: "again".to_owned() };
    let (made, _) = Repository::init(&world.storage(), &unlock(), None, &init, &world.options()).unwrap();
    assert_eq!(world.open().id(), made.id());
    assert_ne!(made.id(), before);
}

#[test]
fn whatever_stands_where_opening_is_remembered_costs_requests_and_no_more() {
    let world = remembered_world();
    let files: Vec<PathBuf> =
        std::fs::read_dir(world.cache_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let file = files.into_iter().find(|path| path.extension().is_some_and(|it| it == "opened")).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let mut others: Vec<Vec<u8>> = (0..whole.len()).step_by(7).map(|end| whole[..end].to_vec()).collect();
    others.extend((0..whole.len()).step_by(3).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        flipped
    }));
    others.push(vec![b'x'; 1 << 20]);
    let id = world.open().id();
    for bytes in others {
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(world.open().id(), id);
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(world.open().id(), id);
}

/// Ratios for `docs/measured.md`: the same work where storage is near, and where each request takes 50 ms more.
#[test]
#[ignore = "a measurement: it prints ratios of wall times"]
fn fifty_milliseconds_a_request() {
    let db = records();
    let next = changed(&db, 100);
    let mut times: Vec<Vec<(&str, f64)>> = Vec::new();
    for is_far in [false, true] {
        let (world, repo) = World::new();
        drop(repo);
        if is_far {
            world.backend.move_away_by(std::time::Duration::from_millis(50));
        }
        let mut taken = Vec::new();
        let mut note = |what, work: &mut dyn FnMut(&Repository)| {
            let began = std::time::Instant::now();
            let repo = world.open();
            work(&repo);
            taken.push((what, began.elapsed().as_secs_f64()));
        };
        note("first backup", &mut |repo| {
            back_up(repo, &MemorySource::of(db.clone(), &world.clock).in_parts(2));
        });
        world.clock.advance(1000);
        note("1 % incremental", &mut |repo| {
            back_up(repo, &MemorySource::of(next.clone(), &world.clock).in_parts(2));
        });
        note("restore", &mut |repo| {
            let newest = repo.snapshots().unwrap().pop().unwrap();
            assert!(restored(repo, &newest) == next);
        });
        note("verify", &mut |repo| {
            let options = VerifyOptions { read_data: ReadData::All, restore: false, parallel: 2, read_limit: None };
            let snapshots = repo.snapshots().unwrap();
            verify(repo, &snapshots, &options, &crate::support::Heard::default()).unwrap();
        });
        times.push(taken);
    }
    for ((what, near), (_, far)) in times[0].iter().zip(&times[1]) {
        println!("| {what} | {near:.2} | {far:.2} | {:.2} | {:+.2} |", far / near, far - near);
    }
}
