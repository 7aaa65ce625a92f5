use super::*;
use crate::repo::repository::testing::{
    Fault, Meeting, World, begin, collection, commit, home, id, manifest, plain, put, read, write_options,
};
use crate::repo::{Manifest, Repository, Snapshot, process::ProcessId};
use serde_json::json;
use std::{sync::Barrier, time::Duration};

/// The snapshots as the revisions that they stand in.
fn revisions(repo: &Repository) -> Vec<Manifest> {
    repo.snapshots().unwrap().into_iter().map(Snapshot::into_manifest).collect()
}

#[test]
fn what_was_put_is_read_back_by_whoever_opens_the_repository() {
    let (mut world, repo) = World::new();
    let snapshot = commit(&repo, &[1, 2, 3], 100);
    for repo in [&repo, &world.reopen(), &world.open()] {
        for n in 1..=3 {
            assert_eq!(read(repo, n).unwrap().plain().unwrap(), plain(n));
        }
        assert_eq!(revisions(repo), [manifest(snapshot, 100)]);
        assert_eq!(repo.warnings(), []);
    }
}

#[test]
fn a_second_session_stores_nothing_again() {
    let (_world, repo) = World::new();
    commit(&repo, &[1, 2], 100);
    let session = begin(&repo);
    assert_eq!(put(&session, &[1, 2, 3, 3]), [false, false, true, false]);
    let stats = session.stats();
    assert_eq!((stats.chunks_new, stats.chunks_reused), (1, 3));
    let id = session.id();
    session.commit(&manifest(id, 200)).unwrap();
    assert_eq!(repo.packs().unwrap().len(), 3);
}

#[test]
fn packs_then_index_then_snapshot_then_end() {
    let (world, repo) = World::new();
    world.memory.take_log();
    let snapshot = commit(&repo, &[1], 100);
    let log = world.memory.take_log();
    let at = |what: &str| log.iter().position(|it| it.starts_with(what)).unwrap_or_else(|| panic!("{what} in {log:?}"));
    let order = [
        at(&format!("create leases/{snapshot}/0")),
        at("list trash/"),
        at("list index/"),
        at("list packs/"),
        at("list snapshots/"),
        at("create packs/"),
        at("create index/"),
        at(&format!("create snapshots/{snapshot}/0")),
        at(&format!("create leases/{snapshot}/end")),
    ];
    assert!(order.is_sorted(), "{log:?}");
}

#[test]
fn four_packs_are_uploaded_at_once_and_no_index_object_is_before_its_packs() {
    let (world, repo) = World::new();
    let timing = SessionTiming { heartbeat: Duration::MAX, pack_bytes: 1, index_packs: 3, ..SessionTiming::default() };
    let session = repo.begin_write_timed(&write_options(), &timing).unwrap();
    *lock(&world.memory.meeting) = Some(Meeting::of(4));
    world.memory.take_log();
    put(&session, &(0..20).collect::<Vec<_>>());
    let id = session.id();
    session.commit(&manifest(id, 100)).unwrap();
    let log = world.memory.take_log();
    let mut stored = HashSet::new();
    let mut named = HashSet::new();
    for line in &log {
        if let Some(pack) = line.strip_prefix("create packs/") {
            stored.insert(pack[3..].to_owned());
        } else if let Some(index) = line.strip_prefix("create index/") {
            let bytes = world.memory.bytes(&format!("index/{index}"));
            let packs = crate::repo::index::packs_of(&index.parse().unwrap(), &bytes).unwrap();
            for (pack, _) in packs {
                assert!(stored.contains(&pack.to_string()), "{pack} in {log:?}");
                assert!(named.insert(pack), "named once");
            }
        }
    }
    assert_eq!((stored.len(), named.len()), (20, 20));
    assert!(log.iter().filter(|line| line.starts_with("create index/")).count() >= 5);
    let last_index = log.iter().rposition(|line| line.starts_with("create index/"));
    assert!(last_index < log.iter().position(|line| line.starts_with("create snapshots/")), "{log:?}");
}

#[test]
fn when_one_of_many_uploads_fails_what_is_stored_is_indexed_and_nothing_is_committed() {
    let (world, repo) = World::new();
    let session = begin(&repo);
    put(&session, &[1, 2, 3]);
    session.flush().unwrap();
    world.memory.fail("packs/", Fault::Refused);
    let mut writer = session.writer();
    let mut outcomes: Vec<bool> = (4..40).map(|n| writer.put(ChunkKind::Values, &plain(n)).is_ok()).collect();
    outcomes.push(writer.finish().is_ok());
    assert!(outcomes.contains(&false), "the writer hears of it");
    world.memory.heal();
    let id = session.id();
    assert!(session.commit(&manifest(id, 100)).is_err());
    assert_eq!(world.memory.names("snapshots/"), Vec::<String>::new());
    assert_eq!(world.memory.names(&format!("leases/{id}/end")), Vec::<String>::new(), "a put may still arrive");
    assert_eq!(put(&begin(&repo), &[1, 2, 3, 4]), [false, false, false, true]);
}

#[test]
fn packs_whose_index_object_failed_are_in_the_next() {
    let (world, repo) = World::new();
    let session = begin(&repo);
    world.memory.fail("index/", Fault::Refused);
    put(&session, &[1, 2]);
    assert!(session.flush().is_err());
    world.memory.heal();
    drop(session);
    assert_eq!(world.memory.names("index/").len(), 1);
    assert_eq!(put(&begin(&repo), &[1, 2]), [false, false]);
}

#[test]
fn lease_objects_say_what_the_protocol_says() {
    let (world, repo) = World::new();
    world.memory.mark("00000000000000000000000000000001", &[ObjectName([1; 32])]);
    let session = begin(&repo);
    session.beat_now().unwrap();
    let lease = session.id();
    let body = |n: u64, honours: &[&str]| {
        json!({"lease": lease.to_string(), "number": n, "purpose": "backup", "host": "host",
               "started": 1_800_000_000_000_i64, "honours": honours})
    };
    let read = |n: u64| {
        let mut body = world.memory.body(ObjectKind::Lease, &format!("leases/{lease}/{n}"));
        let process: Option<ProcessId> = serde_json::from_value(body["process"].take()).unwrap();
        assert_eq!(process, ProcessId::this());
        body.as_object_mut().unwrap().remove("process");
        body
    };
    assert_eq!(read(0), body(0, &[]));
    assert_eq!(read(1), body(1, &["00000000000000000000000000000001"]));
    assert_eq!(read(2), body(2, &["00000000000000000000000000000001"]));
    session.abandon().unwrap();
    let end = world.memory.body(ObjectKind::LeaseEnd, &format!("leases/{lease}/end"));
    assert_eq!(end, json!({"lease": lease.to_string(), "outcome": "abandoned"}));
}

#[test]
fn heartbeats_come_by_themselves_and_a_clock_going_backwards_is_no_harm() {
    let (world, repo) = World::new();
    let timing = SessionTiming { heartbeat: Duration::from_millis(5), ..SessionTiming::default() };
    let session = repo.begin_write_timed(&write_options(), &timing).unwrap();
    world.clock.0.store(-5_000_000_000_000, Ordering::SeqCst);
    let folder = format!("leases/{}/", session.id());
    while world.memory.names(&folder).len() < 4 {
        std::thread::sleep(Duration::from_millis(2));
    }
    put(&session, &[1]);
    let id = session.id();
    session.commit(&manifest(id, 100)).unwrap();
    assert_eq!(repo.snapshots().unwrap().len(), 1);
}

#[test]
fn a_killed_sessions_packs_are_found_by_the_next() {
    let (mut world, repo) = World::new();
    let timing = SessionTiming { heartbeat: Duration::MAX, pack_bytes: 1, index_packs: 2, ..SessionTiming::default() };
    let session = repo.begin_write_timed(&write_options(), &timing).unwrap();
    put(&session, &[1, 2, 3]);
    while world.memory.names("index/").is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::mem::forget(session);
    let next = world.open();
    let session = begin(&next);
    assert_eq!(put(&session, &[1, 2, 3]), [false, false, true]);
}

#[test]
fn an_abandoned_session_leaves_its_packs_indexed() {
    let (world, repo) = World::new();
    let session = begin(&repo);
    put(&session, &[1]);
    drop(session);
    assert_eq!(world.memory.names("index/").len(), 1);
    assert_eq!(world.memory.names("snapshots/"), Vec::<String>::new());
    assert_eq!(put(&begin(&repo), &[1]), [false]);
}

#[test]
fn a_fenced_session_fails_whole_and_says_so() {
    let (_world, repo) = World::new();
    let session = begin(&repo);
    put(&session, &[1]);
    let id = session.id();
    assert!(repo.fence(&id).unwrap());
    assert!(repo.fence(&id).unwrap(), "fencing twice is fencing");
    assert!(matches!(session.commit(&manifest(id, 100)), Err(RepoError::Fenced { .. })));
    repo.refresh().unwrap();
    assert_eq!(repo.snapshots().unwrap(), []);
    assert_eq!(put(&begin(&repo), &[1]), [false], "what was uploaded is used");
}

#[test]
fn a_heartbeat_finds_out_that_it_was_fenced() {
    let (_world, repo) = World::new();
    let session = begin(&repo);
    repo.fence(&session.id()).unwrap();
    session.beat_now().unwrap();
    let outcome = session.writer().put(ChunkKind::Values, &plain(1));
    assert!(matches!(outcome, Err(RepoError::Fenced { .. })), "{outcome:?}");
}

#[test]
fn what_has_committed_cannot_be_fenced() {
    let (_world, repo) = World::new();
    let snapshot = commit(&repo, &[1], 100);
    assert!(!repo.fence(&snapshot).unwrap());
    assert_eq!(repo.snapshots().unwrap().len(), 1);
}

#[test]
fn a_commit_whose_answer_is_lost_is_a_commit() {
    let (world, repo) = World::new();
    let session = begin(&repo);
    put(&session, &[1]);
    world.memory.fail("snapshots/", Fault::AnswerLost);
    let id = session.id();
    session.commit(&manifest(id, 100)).unwrap();
    world.memory.heal();
    repo.refresh().unwrap();
    assert_eq!(repo.snapshots().unwrap().len(), 1);
    assert_eq!(world.memory.names(&format!("leases/{id}/end")).len(), 1);
}

#[test]
fn a_lease_with_an_unsettled_put_does_not_end() {
    let (world, repo) = World::new();
    let session = begin(&repo);
    world.memory.fail("packs/", Fault::Refused);
    let mut writer = session.writer();
    let outcomes = [writer.put(ChunkKind::Values, &plain(1)).map(drop), writer.finish()];
    let id = session.id();
    let outcome = session.commit(&manifest(id, 100));
    assert!(outcomes.iter().any(Result::is_err) || outcome.is_err());
    assert_eq!(world.memory.names("snapshots/"), Vec::<String>::new());
    assert_eq!(world.memory.names(&format!("leases/{id}/end")), Vec::<String>::new());
}

#[test]
fn nothing_is_committed_over_an_unfinished_writer() {
    let (_world, repo) = World::new();
    let session = begin(&repo);
    let writer = session.writer();
    let id = session.id();
    assert!(matches!(session.commit(&manifest(id, 1)), Err(RepoError::Internal(_))));
    drop(writer);

    let session = repo.begin_write(&write_options()).unwrap();
    let mut writer = session.writer();
    writer.put(ChunkKind::Values, &plain(1)).unwrap();
    drop(writer);
    let id = session.id();
    assert!(session.commit(&manifest(id, 1)).is_err());
    assert_eq!(repo.snapshots().unwrap(), []);
}

#[test]
fn two_sessions_with_many_writers_share_one_repository() {
    let (mut world, repo) = World::new();
    let other = world.open();
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for (repo, end) in [(&repo, 1), (&other, 2)] {
            let barrier = &barrier;
            scope.spawn(move || {
                let session = begin(repo);
                barrier.wait();
                std::thread::scope(|scope| {
                    for first in 0..3 {
                        let session = &session;
                        scope.spawn(move || put(session, &(first..first + 20).collect::<Vec<_>>()));
                    }
                });
                let id = session.id();
                session.commit(&manifest(id, end)).unwrap();
            });
        }
    });
    let fresh = world.open();
    assert_eq!(fresh.snapshots().unwrap().len(), 2);
    for n in 0..22 {
        assert_eq!(read(&fresh, n).unwrap().plain().unwrap(), plain(n));
    }
}

#[test]
fn a_a_marked_pack_is_not_deduplicated_against() {
    let (world, repo) = World::new();
    commit(&repo, &[1, 2], 100);
    world.memory.mark("00000000000000000000000000000001", &[home(&repo, 1)]);
    let session = begin(&repo);
    assert_eq!(put(&session, &[1, 2]), [true, false]);
}

#[test]
fn a_mark_made_during_a_session_is_honoured_only_if_nothing_in_it_is_relied_on() {
    let (world, repo) = World::new();
    commit(&repo, &[1, 2, 3], 100);
    let session = begin(&repo);
    assert_eq!(put(&session, &[1]), [false]);
    world.memory.mark("00000000000000000000000000000001", &[home(&repo, 1), home(&repo, 2)]);
    world.memory.mark("00000000000000000000000000000002", &[home(&repo, 3)]);
    session.beat_now().unwrap();
    let body = world.memory.body(ObjectKind::Lease, &format!("leases/{}/1", session.id()));
    assert_eq!(body["honours"], json!(["00000000000000000000000000000002"]));
    assert_eq!(put(&session, &[2, 3]), [false, true]);
    world.memory.remove("trash/00000000000000000000000000000002");
    session.beat_now().unwrap();
    let body = world.memory.body(ObjectKind::Lease, &format!("leases/{}/2", session.id()));
    assert_eq!(body["honours"], json!(["00000000000000000000000000000002"]), "for good");
}

#[test]
fn d_each_of_two_marks_naming_one_copy_leaves_none_present() {
    let (world, repo) = World::new();
    let hidden = begin(&repo);
    put(&hidden, &[1]);
    commit(&repo, &[1], 100);
    drop(hidden);
    let homes = repo.chunk_places(&id(&repo, 1)).unwrap();
    assert_eq!(homes.len(), 2, "two sessions at once store a chunk twice");
    world.memory.mark("00000000000000000000000000000001", &[homes[0].name]);
    world.memory.mark("00000000000000000000000000000002", &[homes[1].name]);
    assert_eq!(put(&begin(&repo), &[1]), [true]);
}

#[test]
fn e_a_parent_with_a_chunk_in_a_marked_pack_is_no_parent() {
    let (world, repo) = World::new();
    commit(&repo, &[1, 2], 100);
    world.memory.mark("00000000000000000000000000000001", &[home(&repo, 2)]);
    let session = begin(&repo);
    let chunks = [id(&repo, 1), id(&repo, 2), id(&repo, 77)];
    assert_eq!(session.rely_on(&mut chunks.into_iter()).unwrap(), chunks[1..]);
}

#[test]
fn f_the_parents_stack_is_relied_on() {
    let (world, repo) = World::new();
    commit(&repo, &[1, 2], 100);
    let session = begin(&repo);
    assert_eq!(session.rely_on(&mut [id(&repo, 1)].into_iter()).unwrap(), []);
    world.memory.mark("00000000000000000000000000000001", &[home(&repo, 1)]);
    session.beat_now().unwrap();
    let body = world.memory.body(ObjectKind::Lease, &format!("leases/{}/1", session.id()));
    assert_eq!(body["honours"], json!([]));
}

#[test]
fn c_k_m_an_index_object_does_not_bring_a_deleted_pack_back() {
    let (world, repo) = World::new();
    commit(&repo, &[1], 100);
    world.memory.remove(&crate::repo::pack::path(&home(&repo, 1)));
    let session = begin(&repo);
    assert_eq!(put(&session, &[1]), [true]);
    let id = session.id();
    session.commit(&manifest(id, 200)).unwrap();
    assert_eq!(read(&repo, 1).unwrap().plain().unwrap(), plain(1));
}

#[test]
fn nothing_is_committed_when_a_pack_relied_on_has_vanished() {
    let (world, repo) = World::new();
    commit(&repo, &[1], 100);
    let session = begin(&repo);
    assert_eq!(put(&session, &[1]), [false]);
    world.memory.remove(&crate::repo::pack::path(&home(&repo, 1)));
    let id = session.id();
    assert!(matches!(session.commit(&manifest(id, 200)), Err(RepoError::Missing { .. })));
    assert_eq!(world.memory.names(&format!("snapshots/{id}")), Vec::<String>::new());
}

#[test]
fn a_mark_that_cannot_be_read_makes_a_writer_store_all_anew_and_is_not_honoured_by_one_that_runs() {
    let (world, repo) = World::new();
    commit(&repo, &[1], 50);
    let session = begin(&repo);
    world.memory.put("trash/00000000000000000000000000000001", b"no mark".to_vec());
    session.beat_now().unwrap();
    let body = world.memory.body(ObjectKind::Lease, &format!("leases/{}/1", session.id()));
    assert_eq!(body["honours"], json!([]));
    assert!(!put(&session, &[1])[0]);
    let anew = begin(&repo);
    assert!(anew.warnings().iter().any(|warning| warning.words.contains("stored anew")));
    assert_eq!(put(&anew, &[1, 1]), [true, false]);
    let body = world.memory.body(ObjectKind::Lease, &format!("leases/{}/1", anew.id()));
    assert_eq!(body["honours"], json!(["00000000000000000000000000000001"]));
}

#[test]
fn a_large_table_moves_to_chunks_and_comes_back() {
    let (mut world, repo) = World::new();
    let session = begin(&repo);
    let mut large = manifest(session.id(), 100);
    large.collections = (0..2000).map(|n| collection(&format!("collection {n}"))).collect();
    large.content.attributes = json!({"schema": "x".repeat(5 << 20), "table": ["a"]});
    session.commit(&large).unwrap();
    let path = format!("snapshots/{}/0", large.id);
    assert!(world.memory.bytes(&path).len() < 4096);
    assert_eq!(revisions(&world.open()), [large.clone()]);
    let revised = repo.revise(&large.id, &|manifest| manifest.tags = vec!["t".to_owned()]).unwrap();
    assert_eq!(revised.collections, large.collections);
    assert_eq!(world.open().snapshots().unwrap(), [revised]);
}

#[test]
fn a_readers_lease_ends_when_dropped_and_is_not_needed() {
    let (world, repo) = World::new();
    let lease = repo.begin_read("verify").unwrap();
    let id = lease.id().unwrap();
    let body = world.memory.body(ObjectKind::Lease, &format!("leases/{id}/0"));
    assert_eq!(body["purpose"], "read: verify");
    drop(lease);
    let end = world.memory.body(ObjectKind::LeaseEnd, &format!("leases/{id}/end"));
    assert_eq!(end["outcome"], "done");
    world.memory.fail("leases/", Fault::Refused);
    assert_eq!(repo.begin_read("restore").unwrap().id(), None);
}

#[test]
fn a_write_limit_is_kept() {
    let (_world, repo) = World::new();
    let options = WriteOptions { write_limit: Some(1 << 20), ..write_options() };
    let timing = SessionTiming { heartbeat: Duration::MAX, pack_bytes: 1, ..SessionTiming::default() };
    let session = repo.begin_write_timed(&options, &timing).unwrap();
    let start = std::time::Instant::now();
    put(&session, &[1, 2, 3, 4, 5]);
    let id = session.id();
    session.commit(&manifest(id, 1)).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(250), "five packs of 64 KiB: {:?}", start.elapsed());
}

#[test]
fn heartbeats_that_fail_are_told_at_the_end() {
    let (world, repo) = World::new();
    let session = begin(&repo);
    assert_eq!(session.missed_beats(), None);
    world.memory.fail("leases/", Fault::Refused);
    session.shared.beat_or_note();
    session.shared.beat_or_note();
    world.memory.heal();
    session.shared.beat_or_note();
    let words = session.missed_beats().unwrap().to_string();
    assert!(words.starts_with("2 heartbeats") && words.contains("leases/"), "{words}");
}

#[test]
fn what_writers_leave_is_in_one_pack_of_each_kind_and_durable_after_a_flush() {
    let (mut world, repo) = World::new();
    let timing = SessionTiming { heartbeat: Duration::MAX, ..SessionTiming::default() };
    let session = repo.begin_write_timed(&write_options(), &timing).unwrap();
    let ids: Vec<ChunkId> = (0..8).map(|n| id(&repo, n)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let session = &session;
            scope.spawn(move || {
                let mut writer = session.writer();
                for n in [2 * thread, 2 * thread + 1] {
                    assert!(writer.put(ChunkKind::Values, &plain(n)).unwrap().new);
                    assert!(writer.put(ChunkKind::List, &plain(n)).unwrap().new);
                }
                writer.finish().unwrap();
            });
        }
    });
    assert_eq!(world.memory.names("packs/").len(), 0);
    assert_eq!(put(&session, &[3]), [false], "somebody has taken it on");
    assert!(!session.are_durable(&ids));
    session.flush().unwrap();
    assert!(session.are_durable(&ids));
    assert_eq!(world.memory.names("packs/").len(), 2);
    // Of a run that breaks off nothing is lost that a writer had finished.
    put(&session, &[9]);
    session.abandon().unwrap();
    let other = world.open();
    for n in (0..8).chain([9]) {
        assert_eq!(read(&other, n).unwrap().plain().unwrap(), plain(n));
    }
    assert_eq!(world.memory.names("packs/").len(), 3);
    // What is long enough goes at once, and what many leave as soon as it is.
    let timing = SessionTiming { pack_bytes: 8 * 30_000, ..timing };
    let session = repo.begin_write_timed(&write_options(), &timing).unwrap();
    put(&session, &(20..26).collect::<Vec<_>>());
    for n in 30..36 {
        put(&session, &[n]);
    }
    session.flush().unwrap();
    assert_eq!(world.memory.names("packs/").len() - 3, 2);
}
