use super::{
    lock,
    testing::{
        World, begin, begin_squash, collection, commit, commit_squash, home, id, manifest, plain, put, put_manifest,
        read,
    },
};
use crate::repo::{
    ChunkKind, Manifest, RepoError, SnapshotId, index,
    keys::Signer,
    names,
    object::{self, ObjectKind},
    pack,
    repository::Lost,
};
use crate::report::{ErrorKind, TroubleKind};
use std::sync::Barrier;

#[test]
fn opening_with_a_catalog_reads_nothing_again() {
    let (world, repo) = World::new();
    for end in 0..20 {
        commit(&repo, &[end], i64::from(end));
    }
    world.memory.take_log();
    let again = world.reopen();
    assert_eq!(again.snapshots().unwrap().len(), 20);
    let log = world.memory.take_log();
    let read: Vec<_> =
        log.iter().filter(|it| it.starts_with("read snapshots/") || it.starts_with("read index/")).collect();
    assert_eq!(read, Vec::<&String>::new());
    assert_eq!(log.iter().filter(|it| it.starts_with("list snapshots/")).count(), 1);
}

#[test]
fn a_lost_catalog_is_rebuilt_equal() {
    let (mut world, repo) = World::new();
    commit(&repo, &[1, 2], 200);
    commit(&repo, &[2, 3], 100);
    let fresh = world.open();
    assert_eq!(fresh.snapshots().unwrap(), repo.snapshots().unwrap());
    let ends: Vec<_> = fresh.snapshots().unwrap().iter().map(|it| it.content.end.as_millis()).collect();
    assert_eq!(ends, [100, 200]);
    let sorted = |mut packs: Vec<crate::repo::catalog::IndexedPackInfo>| {
        packs.sort_by_key(|pack| pack.name);
        packs
    };
    assert_eq!(sorted(fresh.packs().unwrap()), sorted(repo.packs().unwrap()));
}

#[test]
fn a_damaged_index_object_is_a_warning_and_its_chunks_are_absent() {
    let (mut world, repo) = World::new();
    commit(&repo, &[1], 100);
    let path = world.memory.names("index/").remove(0);
    let mut bytes = world.memory.bytes(&path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.memory.put(&path, bytes);
    let fresh = world.open();
    let warnings = fresh.warnings();
    assert!(warnings.iter().any(|it| it.words.contains(path.trim_start_matches("index/"))), "{warnings:?}");
    assert!(matches!(read(&fresh, 1), Err(RepoError::ChunkMissing { .. })));
    assert_eq!(put(&begin(&fresh), &[1]), [true]);
}

#[test]
fn a_chunk_of_an_index_object_that_cannot_be_had_just_now_is_not_lost() {
    let (mut world, repo) = World::new();
    commit(&repo, &[1], 100);
    for object in ["index/", "packs/"] {
        *lock(&world.memory.stuck) = Some(object.to_owned());
        let fresh = world.open();
        let error = read(&fresh, 1).unwrap_err();
        assert!(matches!(&error, RepoError::Storage { .. }), "{error}");
        assert!(error.to_string().contains(object) || object == "packs/", "{error}");
        *lock(&world.memory.stuck) = None;
        assert_eq!(read(&fresh, 1).unwrap().plain().unwrap(), plain(1));
    }
    // The pack of which it is known is gone, too: where it was moved to, nobody can say just now.
    let (old_pack, mover) = (home(&repo, 1), world.open());
    world.memory.mark("00000000000000000000000000000001", &[old_pack]);
    let session = begin(&mover);
    put(&session, &[1]);
    session.abandon().unwrap();
    world.memory.remove(&pack::path(&old_pack));
    *lock(&world.memory.stuck) = Some("index/".to_owned());
    assert!(matches!(read(&repo, 1), Err(RepoError::Storage { .. })));
    *lock(&world.memory.stuck) = None;
    assert_eq!(read(&repo, 1).unwrap().plain().unwrap(), plain(1));
}

#[test]
fn a_damaged_chunk_is_read_from_its_next_pack() {
    let (world, repo) = World::new();
    let first = begin(&repo);
    put(&first, &[1]);
    commit(&repo, &[1], 100);
    drop(first);
    let places = repo.chunk_places(&id(&repo, 1)).unwrap();
    let mut tried = Vec::new();
    for place in &places {
        assert_eq!(read(&repo, 1).unwrap().plain().unwrap(), plain(1));
        let path = pack::path(&place.name);
        let mut bytes = world.memory.bytes(&path);
        bytes[(place.entry.offset + u64::from(place.entry.stored_len) / 2) as usize] ^= 1;
        world.memory.put(&path, bytes);
        tried.push(place.name.to_string());
    }
    assert_eq!(tried.len(), 2);
    let error = read(&repo, 1).unwrap_err().to_string();
    assert!(error.contains(&id(&repo, 1).to_string()) && tried.iter().all(|name| error.contains(name)), "{error}");
}

#[test]
fn a_chunk_that_moved_is_found_after_the_index_is_read_again() {
    let (mut world, repo) = World::new();
    commit(&repo, &[1], 100);
    let (old_pack, old_index) = (home(&repo, 1), world.memory.names("index/").remove(0));
    let mover = world.open();
    world.memory.mark("00000000000000000000000000000001", &[old_pack]);
    let session = begin(&mover);
    put(&session, &[1]);
    session.abandon().unwrap();
    world.memory.remove(&old_index);
    world.memory.remove(&pack::path(&old_pack));
    assert_eq!(read(&repo, 1).unwrap().plain().unwrap(), plain(1));
    assert_ne!(home(&repo, 1), old_pack);
}

#[test]
fn a_chunk_whose_only_pack_is_gone_is_named_with_it() {
    let (world, repo) = World::new();
    commit(&repo, &[1], 100);
    let name = home(&repo, 1);
    world.memory.remove(&pack::path(&name));
    let error = read(&repo, 1).unwrap_err();
    assert!(matches!(error, RepoError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains(&name.to_string()));
    let other = repo.chunks().read(ChunkKind::Keys, &id(&repo, 1));
    assert!(other.is_err(), "a chunk of another kind");
}

#[test]
fn a_pack_is_checked_to_its_last_chunk() {
    let (world, repo) = World::new();
    commit(&repo, &[1], 100);
    let name = home(&repo, 1);
    let check = repo.read_pack(&name).unwrap();
    assert!(check.is_sound());
    assert_eq!((check.chunks, check.plain_bytes), (1, 10_000));
    let place = repo.chunk_places(&id(&repo, 1)).unwrap().remove(0);
    let mut bytes = world.memory.bytes(&pack::path(&name));
    bytes[place.entry.offset as usize + 40] ^= 1;
    world.memory.put(&pack::path(&name), bytes);
    let check = repo.read_pack(&name).unwrap();
    assert!(check.problem.is_some());
    assert_eq!(check.damaged.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id(&repo, 1)]);
}

#[test]
fn revisions_race_and_all_of_them_count() {
    let (mut world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    let repos = [repo.clone(), world.open(), world.open(), world.open()];
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for (n, repo) in repos.iter().enumerate() {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                for k in 0..5 {
                    repo.revise(&snapshot, &|it| it.tags.push(format!("{n}-{k}"))).unwrap();
                }
            });
        }
    });
    repo.refresh().unwrap();
    let now = repo.snapshots().unwrap().remove(0);
    assert_eq!((now.revision, now.tags.len()), (20, 20));
    assert_eq!(world.memory.names(&format!("snapshots/{snapshot}/")).len(), 21);
}

#[test]
fn a_revision_may_not_change_the_content() {
    let (_world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    let outcome = repo.revise(&snapshot, &|it| it.content.complete = false);
    assert!(matches!(outcome, Err(RepoError::Internal(_))));
    let outcome = repo.revise(&SnapshotId([1; 16]), &|_| {});
    assert!(matches!(outcome, Err(RepoError::NoSnapshot { .. })));
}

#[test]
fn i_a_tombstone_hides_the_snapshot_and_nobody_writes_above_it() {
    let (mut world, repo) = World::new();
    let other = world.open();
    let snapshot = commit(&repo, &[1], 100);
    repo.forget(&snapshot).unwrap();
    repo.forget(&snapshot).unwrap();
    assert_eq!(repo.snapshots().unwrap(), []);
    world.memory.remove(&format!("snapshots/{snapshot}/0"));
    let outcome = other.revise(&snapshot, &|it| it.tags.push("t".to_owned()));
    assert!(matches!(outcome, Err(RepoError::NoSnapshot { .. })), "{outcome:?}");
    other.refresh().unwrap();
    repo.refresh().unwrap();
    for repo in [&repo, &other] {
        assert_eq!(repo.snapshots().unwrap(), []);
        assert_eq!(repo.warnings(), []);
        assert_eq!(repo.listing().unwrap().warnings, []);
    }
}

#[test]
fn a_held_or_locked_snapshot_is_not_forgotten() {
    let (world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    repo.revise(&snapshot, &|it| it.hold = true).unwrap();
    assert!(matches!(repo.forget(&snapshot), Err(RepoError::Held { id }) if id == snapshot));
    let later = crate::record::Timestamp::from_millis(1_900_000_000_000);
    repo.revise(&snapshot, &|it| (it.hold, it.lock_until) = (false, Some(later))).unwrap();
    assert!(matches!(repo.forget(&snapshot), Err(RepoError::Locked { until, .. }) if until == later));
    world.clock.0.store(later.as_millis(), std::sync::atomic::Ordering::SeqCst);
    repo.forget(&snapshot).unwrap();
}

#[test]
fn a_vanished_snapshot_is_told_of_until_it_is_back_and_a_late_listing_is_no_vanishing() {
    let (world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    *super::lock(&world.memory.hidden) = Some("snapshots/".to_owned());
    assert_eq!(repo.refresh().unwrap(), []);
    assert_eq!(repo.snapshots().unwrap().len(), 1);
    *super::lock(&world.memory.hidden) = None;

    let path = format!("snapshots/{snapshot}/0");
    let bytes = world.memory.bytes(&path);
    world.memory.remove(&path);
    for _ in 0..2 {
        let warnings = repo.refresh().unwrap();
        assert!(warnings.len() == 1 && warnings[0].object == snapshot.to_string(), "{warnings:?}");
        assert_eq!(repo.snapshots().unwrap(), []);
    }
    world.memory.put(&path, bytes);
    assert_eq!(repo.refresh().unwrap(), []);
    assert_eq!(repo.snapshots().unwrap().len(), 1);
}

#[test]
fn a_damaged_manifest_is_a_warning_and_the_others_are_there() {
    let (mut world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    let sound = commit(&repo, &[2], 200);
    world.memory.put(&format!("snapshots/{snapshot}/0"), vec![7; 300]);
    let fresh = world.open();
    assert_eq!(fresh.snapshots().unwrap().iter().map(|it| it.id).collect::<Vec<_>>(), [sound]);
    let warnings = fresh.warnings();
    assert!(warnings.iter().any(|it| it.words.contains(&snapshot.to_string())), "{warnings:?}");
}

#[test]
fn a_manifest_with_an_unknown_feature_is_left_out_and_told_of() {
    let (world, repo) = World::new();
    let mut new = manifest(commit(&repo, &[1], 100), 100);
    (new.revision, new.features) = (1, vec!["time-travel".to_owned()]);
    put_manifest(&world, &repo, Signer::Operator, &new);
    repo.refresh().unwrap();
    assert_eq!(repo.snapshots().unwrap(), []);
    assert!(repo.listing().unwrap().warnings.iter().any(|it| it.words.contains("time-travel")));
    let unread = repo.unread_snapshots().unwrap();
    assert_eq!(unread.ids.into_iter().collect::<Vec<_>>(), [new.id]);
    assert!(unread.unopened.len() == 1 && unread.unopened[0].words.contains("time-travel"), "{:?}", unread.unopened);
    assert!(repo.revise(&new.id, &|_| {}).is_err(), "nobody writes above what he cannot read");
}

#[test]
fn a_revision_of_an_unknown_feature_is_no_damage_and_no_repair_settles_it() {
    let (world, repo) = World::new();
    let mut new = manifest(commit(&repo, &[1], 100), 100);
    (new.revision, new.features) = (1, vec!["time-travel".to_owned()]);
    repo.revise(&new.id, &|it| it.tags.push("x".to_owned())).unwrap();
    // The catalog holds another revision of that number.
    put_manifest(&world, &repo, Signer::Operator, &new);
    let path = format!("snapshots/{}/1", new.id);
    let newer = world.memory.bytes(&path);
    let problems = repo.check_objects(&mut |_| true).unwrap().problems;
    assert!(problems.iter().any(|it| (it.kind, &*it.object) == (TroubleKind::Newer, &path)), "{problems:?}");
    assert_eq!(repo.unreadable().unwrap()[0].1, Lost::Newer);
    for error in [repo.forget(&new.id).unwrap_err(), repo.revise(&new.id, &|_| {}).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::NewerFormat, "{error}");
    }
    let repaired = repo.repair_snapshots(false).unwrap();
    assert_eq!((repaired.restored.len(), repaired.removed.len()), (0, 0), "{repaired:?}");
    assert!(repaired.lost.iter().any(|it| it.kind == TroubleKind::Newer && it.words.contains("time-travel")));
    repo.repair_objects(false).unwrap();
    assert_eq!(world.memory.bytes(&path), newer);
}

#[test]
fn a_whole_revision_is_not_written_over_by_what_a_catalog_holds() {
    let (world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    repo.revise(&snapshot, &|it| it.tags.push("a".to_owned())).unwrap();
    let (first, path) = (format!("snapshots/{snapshot}/0"), format!("snapshots/{snapshot}/1"));
    // Rolled back, and tagged anew by another host.
    let mut other = manifest(snapshot, 100);
    (other.revision, other.tags) = (1, vec!["b".to_owned()]);
    put_manifest(&world, &repo, Signer::Operator, &other);
    let there = world.memory.bytes(&path);
    world.memory.put(&first, vec![7; world.memory.bytes(&first).len()]);
    let repaired = repo.repair_snapshots(false).unwrap();
    assert_eq!(repaired.restored, [first], "{repaired:?}");
    assert_eq!(world.memory.bytes(&path), there, "{repaired:?}");
}

#[test]
fn a_manifest_that_contradicts_itself_or_another_revision_is_found() {
    type Change<'c> = &'c dyn Fn(&mut Manifest);
    let contradictions: [(Change<'_>, &str); 4] = [
        (&|it| it.collections.push(collection("c")), "it has the collection c twice"),
        (&|it| it.collections[0].records = 2, "have 1 rows, and it has 2 records: one is missing"),
        (&|it| it.collections[0].stack.clear(), "have 0 rows, and it has 1 records: one is missing"),
        (&|it| it.content.complete = false, "its content is not that of revision 0"),
    ];
    for (change, words) in contradictions {
        let (world, repo) = World::new();
        let mut new = manifest(commit(&repo, &[1], 100), 100);
        new.revision = 1;
        let found = || {
            let problems = repo.check_objects(&mut |_| true).unwrap().problems;
            problems.into_iter().map(|it| it.words).collect::<Vec<_>>()
        };
        put_manifest(&world, &repo, Signer::Operator, &new);
        assert_eq!(found(), Vec::<String>::new());
        change(&mut new);
        put_manifest(&world, &repo, Signer::Operator, &new);
        assert!(found().iter().any(|it| it.contains(words)), "{words}: {:?}", found());
    }
}

#[test]
fn an_index_object_that_describes_a_pack_twice_is_found() {
    let (world, repo) = World::new();
    commit(&repo, &[1], 100);
    let path = world.memory.names("index/").remove(0);
    let name = names::parse_flat("index/", &path).unwrap();
    let packs = index::open(&repo.inner.keyring, &name, &world.memory.bytes(&path)).unwrap();
    let twice: Vec<_> = packs.iter().chain(&packs).cloned().collect();
    let (name, bytes) = index::seal(&repo.inner.keyring, &twice).unwrap();
    world.memory.put(&names::index_path(&name), bytes);
    let problems = repo.check_objects(&mut |_| true).unwrap().problems;
    let about = |it: &&crate::report::Trouble| it.object == names::index_path(&name) && it.words.contains("twice");
    assert_eq!(problems.iter().filter(about).count(), packs.len(), "{problems:?}");
}

#[test]
fn a_snapshot_with_an_unknown_feature_for_writing_is_read_and_left_as_it_is() {
    let (world, repo) = World::new();
    let mut new = manifest(commit(&repo, &[1], 100), 100);
    (new.revision, new.features) = (1, vec!["write:time-travel".to_owned()]);
    put_manifest(&world, &repo, Signer::Operator, &new);
    repo.refresh().unwrap();
    assert_eq!(repo.snapshots().unwrap()[0].revision, 1);
    let tagged = repo.revise(&new.id, &|manifest| manifest.tags.push("x".to_owned())).unwrap_err();
    let forgotten = repo.forget(&new.id).unwrap_err();
    for error in [tagged, forgotten] {
        assert!(error.to_string().contains("write:time-travel"), "{error}");
    }
}

#[test]
fn a_manifest_under_another_name_is_refused() {
    let (world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    let bytes = world.memory.bytes(&format!("snapshots/{snapshot}/0"));
    world.memory.put(&format!("snapshots/{snapshot}/1"), bytes);
    let warnings = repo.refresh().unwrap();
    assert_eq!(repo.snapshots().unwrap()[0].revision, 0);
    assert!(warnings.iter().any(|it| it.words.contains(&format!("snapshots/{snapshot}/1"))), "{warnings:?}");
}

#[test]
fn h_j_a_squash_counts_only_with_its_commit() {
    let (world, repo) = World::new();
    let (snapshot, key) = begin_squash(&world, &repo);
    assert_eq!(repo.snapshots().unwrap()[0].revision, 0);
    assert!(matches!(repo.revise(&snapshot, &|_| {}), Err(RepoError::Pending { .. })), "nobody writes above it");

    commit_squash(&world, &repo, &key);
    let snapshots = repo.snapshots().unwrap();
    assert_eq!(snapshots.iter().map(|it| (it.id, it.revision)).collect::<Vec<_>>(), [(snapshot, 1)]);
}

#[test]
fn a_squash_whose_lease_ended_without_a_commit_is_given_up_by_whoever_changes_its_snapshot() {
    let (world, repo) = World::new();
    let (snapshot, key) = begin_squash(&world, &repo);
    let path = format!("leases/{}/end", key.lease());
    let body = serde_json::json!({ "lease": key.lease(), "outcome": "abandoned" }).to_string();
    let end = object::make(&repo.inner.keyring, Signer::Lease(&key), ObjectKind::LeaseEnd, &path, body.as_bytes());
    world.memory.put(&path, end.unwrap());
    let revised = repo.revise(&snapshot, &|manifest| manifest.tags.push("x".to_owned())).unwrap();
    assert_eq!((revised.revision, revised.squash), (2, None));
    assert_eq!(repo.snapshots().unwrap()[0].tags, ["x"]);
    assert_ne!(world.memory.bytes(&format!("snapshots/{}/0", key.lease())).len(), 0, "one that wakes cannot commit");
}

#[test]
fn a_fenced_squash_never_counts() {
    let (world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    let lease = SnapshotId([5; 16]);
    assert!(repo.fence(&lease).unwrap());
    let mut late = manifest(snapshot, 100);
    (late.revision, late.squash) = (1, Some(lease));
    put_manifest(&world, &repo, Signer::Operator, &late);
    repo.refresh().unwrap();
    assert_eq!(repo.snapshots().unwrap()[0].revision, 0);
}

/// What somebody without a key may create.
fn plant(world: &World, kind: ObjectKind, path: &str, body: &str) {
    world.memory.put(path, object::unsigned(kind, path, body.as_bytes()));
}

#[test]
fn numbers_of_revisions_pass_over_what_nobody_may_have_made() {
    let (mut world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    for number in [1, 2, 9999, i64::MAX as u64] {
        plant(&world, ObjectKind::Tombstone, &format!("snapshots/{snapshot}/{number}"), "{}");
    }
    // Behind a gap: at the next number it might be one that somebody made and storage damaged.
    world.memory.put(&format!("snapshots/{snapshot}/5"), vec![7; 300]);
    world.memory.put(&format!("snapshots/{snapshot}/18446744073709551615"), vec![7; 300]);
    for (repo, revision) in [(&repo, 3), (&world.open(), 4)] {
        let tagged = repo.revise(&snapshot, &|it| it.tags.push("t".to_owned())).unwrap();
        assert_eq!(tagged.revision, revision);
        repo.refresh().unwrap();
        assert_eq!(repo.snapshots().unwrap()[0].revision, revision);
        let warnings = repo.refresh().unwrap();
        assert_eq!(warnings.len(), 5, "{warnings:?}");
    }
    assert_eq!(repo.doubtful().unwrap().len(), 5);
    for doubtful in repo.doubtful().unwrap() {
        repo.dismiss(&doubtful.object).unwrap();
    }
    repo.forget(&snapshot).unwrap();
    assert_eq!(repo.snapshots().unwrap(), []);
    assert!(repo.dismiss(&format!("snapshots/{snapshot}/0")).is_err(), "nothing is wrong with it");
}

#[test]
fn a_tombstone_on_a_held_or_locked_snapshot_does_not_count() {
    let (world, repo) = World::new();
    let stone = |id: &SnapshotId, number: u64, time: i64| {
        let path = format!("snapshots/{id}/{number}");
        let body = serde_json::json!({ "forgotten": id, "revision": number, "host": "h", "time": time });
        let made = repo.made_by_operator(ObjectKind::Tombstone, &path, body.to_string().as_bytes()).unwrap();
        world.memory.put(&path, made);
    };
    let until = crate::record::Timestamp::from_millis(1_900_000_000_000);
    let (held, locked) = (commit(&repo, &[1], 100), commit(&repo, &[2], 200));
    let ahead = commit(&repo, &[3], 300);
    repo.revise(&held, &|it| it.hold = true).unwrap();
    for id in [&locked, &ahead] {
        repo.revise(id, &|it| it.lock_until = Some(until)).unwrap();
    }
    stone(&held, 2, 1_800_000_000_000);
    stone(&locked, 2, 1_800_000_000_000);
    stone(&ahead, 2, 1_950_000_000_000);
    repo.refresh().unwrap();
    assert_eq!(repo.snapshots().unwrap().len(), 3);
    let warnings = repo.listing().unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    // A release brings no tombstone to life.
    assert_eq!(repo.revise(&held, &|it| it.hold = false).unwrap().revision, 3);
    assert!(matches!(repo.revise(&ahead, &|_| {}), Err(RepoError::Locked { .. })), "it waits for its lock");
    world.clock.0.store(until.as_millis() + 1, std::sync::atomic::Ordering::SeqCst);
    let left: Vec<SnapshotId> = repo.snapshots().unwrap().iter().map(|it| it.id).collect();
    assert!(left.contains(&held) && left.contains(&locked) && !left.contains(&ahead));
}

#[test]
fn leases_of_strangers_end_nothing_and_their_heartbeats_say_nothing() {
    let (world, repo) = World::new();
    let session = begin(&repo);
    let lease = session.id();
    plant(&world, ObjectKind::LeaseEnd, &format!("leases/{lease}/end"), "{}");
    plant(&world, ObjectKind::Tombstone, &format!("snapshots/{lease}/7"), "{}");
    let body = serde_json::json!({ "lease": lease, "number": 9, "purpose": "prune", "host": "h", "started": 0 });
    plant(&world, ObjectKind::Lease, &format!("leases/{lease}/9"), &body.to_string());
    let leases = repo.leases().unwrap();
    assert_eq!((leases[0].newest, leases[0].purpose.as_str(), leases[0].is_over()), (0, "backup", false));
    assert!(leases[0].problem.is_some());
    session.abandon().unwrap();
}

#[test]
fn stats_count_objects_by_folder() {
    let (_world, repo) = World::new();
    commit(&repo, &[1, 2], 100);
    let stats = repo.stats().unwrap();
    let objects = |folder: &str| stats.iter().find(|it| it.folder == folder).unwrap().objects;
    assert_eq!((objects("packs"), objects("index"), objects("snapshots"), objects("leases")), (2, 1, 1, 2));
    assert_eq!(repo.raw_index_objects().unwrap().len(), 1);
}

/// Makes an object one of a format that is yet to come.
fn make_newer(world: &World, path: &str) {
    let mut bytes = world.memory.bytes(path);
    let end = bytes.len() - blake3::OUT_LEN;
    bytes[8..10].copy_from_slice(&2_u16.to_le_bytes());
    let hash = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(hash.as_bytes());
    world.memory.put(path, bytes);
}

#[test]
fn what_a_newer_program_tidied_below_its_own_did_not_vanish_and_is_not_let_go() {
    for is_envelope in [false, true] {
        // What is gone, and the number of what the newer program wrote above.
        for (gone, number) in [(&[0][..], 2), (&[0, 1], 2), (&[1], 2), (&[0], 1)] {
            let (mut world, repo) = World::new();
            let id = commit(&repo, &[1], 100);
            if number == 2 {
                repo.revise(&id, &|it| it.tags.push("kept".to_owned())).unwrap();
            }
            let mut newer = manifest(id, 100);
            newer.revision = number;
            if !is_envelope {
                newer.features = vec!["time-travel".to_owned()];
            }
            put_manifest(&world, &repo, Signer::Operator, &newer);
            if is_envelope {
                make_newer(&world, &format!("snapshots/{id}/{number}"));
            }
            for gone in gone {
                world.memory.remove(&format!("snapshots/{id}/{gone}"));
            }
            let before: Vec<_> = world.memory.names("snapshots/");
            let cold = world.open();
            for repo in [&repo, &cold] {
                let what = format!("{is_envelope} {gone:?} {number}");
                for _ in 0..2 {
                    let warned = repo.refresh().unwrap();
                    let is_gone = |it: &crate::report::Warning| it.words.contains("vanished");
                    assert!(!warned.iter().any(is_gone), "{what}: {warned:?}");
                }
                for lost in [Lost::Vanished, Lost::Withdrawn, Lost::Damaged] {
                    assert_eq!(repo.lost(lost).unwrap(), [], "{what} {lost:?}");
                }
                assert_eq!(repo.lost(Lost::Newer).unwrap().len(), 1, "{what}");
                for lost in [Lost::Vanished, Lost::Damaged, Lost::Withdrawn, Lost::Beside, Lost::Newer] {
                    assert!(repo.bury(&id, lost).is_err(), "{what} {lost:?}");
                }
                let repaired = repo.repair_snapshots(false).unwrap();
                assert_eq!((repaired.restored.len(), repaired.removed.len()), (0, 0), "{what}: {repaired:?}");
                assert!(repaired.lost.iter().any(|it| it.kind == TroubleKind::Newer), "{what}: {repaired:?}");
                assert_eq!(world.memory.names("snapshots/"), before, "{what}");
            }
            // Once the newer one is gone too, all of it vanished, as far as this host knows.
            world.memory.remove(&format!("snapshots/{id}/{number}"));
            repo.refresh().unwrap();
            let has_vanished = !repo.lost(Lost::Vanished).unwrap().is_empty();
            assert_eq!(has_vanished, world.memory.names("snapshots/").is_empty(), "{gone:?} {number}");
        }
    }
}
