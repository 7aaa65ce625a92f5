//! Edges: nothing, very much, very long, very strange.

use crate::support::{
    Coll, Db, Heard, MemorySource, MemoryTarget, Rec, Rng, World,
    db::{assert_same, sample},
    rng::from_env,
    world::{assert_sound, back_up, backup_with, plain, restore_with, restored, snapshot},
};
use rekeep::{
    ops::{
        backup::{BackupOptions, backup},
        restore::{RestoreOptions, restore},
    },
    record::{KeyCodec, MAX_KEY_BYTES, Tag},
};
use serde_json::json;

fn round_trip(db: &Db, what: &str) {
    let (world, repo) = World::new();
    let outcome = back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
    assert!(outcome.complete, "{what}: {:?}", outcome.problems);
    assert_eq!(outcome.records, db.values().map(|coll| coll.records.len() as u64).sum::<u64>());
    drop(repo);
    world.drop_catalog();
    let repo = world.open();
    assert_same(&restored(&repo, &snapshot(&repo, outcome.id.unwrap())), db, what);
    assert_sound(&repo);
}

#[test]
fn a_source_without_collections_is_kept_as_such() {
    round_trip(&Db::new(), "no collections");
}

#[test]
fn a_collection_without_records_comes_back() {
    let mut empty = Coll::new(KeyCodec::Int);
    empty.attributes = json!({ "columns": ["a", "b"] });
    round_trip(&Db::from([("empty".to_owned(), empty)]), "an empty collection");
}

#[test]
fn a_collection_that_is_emptied_and_filled_again_comes_back_each_time() {
    let (world, repo) = World::new();
    let full = sample(3, 40, 50);
    let empty = Db::from([("c".to_owned(), Coll::new(KeyCodec::Raw))]);
    let states = [full.clone(), empty.clone(), full, Db::new(), empty];
    let mut ids = Vec::new();
    for state in &states {
        world.clock.advance(1000);
        ids.push(back_up(&repo, &MemorySource::of(state.clone(), &world.clock)).id.unwrap());
    }
    for (id, state) in ids.iter().zip(&states) {
        assert_same(&restored(&repo, &snapshot(&repo, *id)), state, "in turn");
    }
    assert_sound(&repo);
}

#[test]
fn what_one_thread_finds_and_others_store_is_the_layer_that_one_thread_makes() {
    let (world, repo) = World::new();
    let mut db = sample(11, 2_000, 3_000);
    let records = &mut db.get_mut("c").unwrap().records;
    records.insert(b"long".to_vec(), Rec::blob(Rng::new(12).bytes(6_000_000)));
    let source = |name: &str| MemorySource { name: name.to_owned(), ..MemorySource::of(db.clone(), &world.clock) };
    let layers = |parallel: usize| {
        world.clock.advance(1000);
        // A name of its own, so that nothing is its parent.
        let options = BackupOptions { parallel, ..plain() };
        let outcome = backup_with(&repo, &source(&format!("by {parallel}")), &options).unwrap();
        let snapshot = snapshot(&repo, outcome.id.unwrap());
        assert_same(&restored(&repo, &snapshot), &db, "by several");
        snapshot.collections[0].stack.clone()
    };
    let by_four = layers(4);
    assert_eq!(layers(1), by_four);
    drop(repo);
    world.drop_catalog();
    assert_sound(&world.open());
}

#[test]
fn many_collections_come_back() {
    let many = if from_env("REKEEP_TEST_LARGE", 0) > 0 { 10_000 } else { 1_000 };
    let db: Db = (0..many)
        .map(|n| {
            let records = (0..n % 3).map(|r| (vec![r as u8], Rec::text(&format!("{n}/{r}"))));
            (format!("collection {n:05}"), Coll::raw(records))
        })
        .collect();
    let (world, repo) = World::new();
    let source = MemorySource::of(db.clone(), &world.clock);
    let first = back_up(&repo, &source);
    assert_eq!(first.collections, many);
    assert_same(&restored(&repo, &snapshot(&repo, first.id.unwrap())), &db, "many collections");
    world.clock.advance(1000);
    let mut changed = db;
    changed.get_mut("collection 00500").unwrap().records.insert(vec![9], Rec::text("new"));
    *source.db.lock().unwrap() = changed.clone();
    let second = back_up(&repo, &source);
    assert_eq!((second.stats.new, second.stats.changed, second.stats.deleted), (1, 0, 0));
    drop(repo);
    world.drop_catalog();
    let repo = world.open();
    assert_same(&restored(&repo, &snapshot(&repo, second.id.unwrap())), &changed, "after the change");
}

#[test]
fn names_attributes_cells_and_keys_of_any_bytes_come_back() {
    let mut rng = Rng::new(11);
    let mut db = Db::new();
    let mut odd = Coll::new(KeyCodec::Raw);
    odd.attributes = json!({ "schema": "CREATE TABLE \"a\u{0}b\" (x)", "n": [1, null, 1.5, "ż"] });
    odd.records.insert(Vec::new(), Rec::text("the empty key"));
    odd.records.insert(vec![0], Rec::default());
    odd.records.insert(vec![0xff; 300], Rec::of(&[(b"", Tag::NULL, b""), (b"\xff\x00", Tag(99), b"\x00")]));
    let mut everything = Rec::of(&[
        (b"bool", Tag::BOOL, &[1]),
        (b"float", Tag::FLOAT, &f64::NAN.to_be_bytes()),
        (b"geo", Tag::JSON, b"{}"),
        (b"int", Tag::INTEGER, &i64::MIN.to_be_bytes()),
        (b"text", Tag::STRING, b"not \xff utf-8"),
    ]);
    everything.generation = u32::MAX;
    everything.expiry = u64::MAX;
    everything.stamp = u64::MAX;
    everything.set = b"s\x00t".to_vec();
    everything.user_key = Some(Vec::new());
    odd.records.insert(b"everything".to_vec(), everything);
    for n in 0u8..=255 {
        odd.records.insert(vec![b'k', n], Rec::of(&[(&[n], Tag(n), &rng.bytes(n as usize))]));
    }
    db.insert("a/b\u{0}c \u{202e}\n".to_owned(), odd);
    db.insert(String::new(), Coll::raw([(b"k".to_vec(), Rec::text("v"))]));
    round_trip(&db, "odd names");
}

#[test]
fn a_record_without_cells_comes_back() {
    let records = (0..200u8).map(|n| (vec![n], Rec::default()));
    round_trip(&Db::from([("c".to_owned(), Coll::raw(records))]), "records without cells");
}

#[test]
fn a_record_of_very_many_cells_comes_back() {
    let mut rng = Rng::new(5);
    let mut wide = Rec::default();
    for n in 0u32..3_000 {
        wide.cells.insert(format!("cell{n}").into_bytes(), (Tag::BLOB.0, rng.bytes((n % 7) as usize)));
    }
    // More columns than have a run of their own, each record with others.
    let mut coll = Coll::raw([(b"wide".to_vec(), wide)]);
    for n in 0u32..300 {
        let mut rec = Rec::default();
        for c in 0..40 {
            let name = format!("c{}", (n * 13 + c * 7) % 200).into_bytes();
            rec.cells.insert(name, ((n + c) as u8 % 5, rng.bytes((c % 9) as usize)));
        }
        coll.records.insert(n.to_be_bytes().to_vec(), rec);
    }
    round_trip(&Db::from([("c".to_owned(), coll)]), "very many cells");
}

#[test]
fn the_longest_key_is_kept_and_a_longer_one_is_counted_and_named() {
    let (world, repo) = World::new();
    let mut longest = vec![b'a'; MAX_KEY_BYTES];
    longest[0] = b'L';
    let mut too_long = vec![b'b'; MAX_KEY_BYTES + 1];
    too_long[..7].copy_from_slice(b"toolong");
    let kept = Coll::raw([
        (longest, Rec::text("longest")),
        (b"short".to_vec(), Rec::text("short")),
        (b"zzz".to_vec(), Rec::text("last")),
    ]);
    let mut all = kept.clone();
    all.records.insert(too_long.clone(), Rec::text("lost"));
    let source = MemorySource::of(Db::from([("c".to_owned(), all)]), &world.clock);
    for round in 0..2 {
        let outcome = back_up(&repo, &source);
        assert!(!outcome.complete, "a backup that lacks a record is not complete");
        let shown = KeyCodec::Raw.show(&too_long[..7]);
        assert!(outcome.problems.iter().any(|line| line.contains(&shown)), "{:.200?}", outcome.problems);
        assert_eq!((outcome.records, outcome.stats.unreadable), (3, 1), "round {round}");
        let taken = snapshot(&repo, outcome.id.unwrap());
        assert!(!taken.content.complete);
        assert_same(&restored(&repo, &taken), &Db::from([("c".to_owned(), kept.clone())]), "what fits");
        world.clock.advance(1000);
    }
    assert_sound(&repo);
}

#[test]
fn values_of_every_size_come_back_inline_and_streamed() {
    let mut rng = Rng::new(7);
    let mut coll = Coll::new(KeyCodec::Raw);
    let sizes = [0, 1, 4095, 4096, 32_767, 65_536, 131_071, 131_072, 131_073, 262_144, 1_048_576, 1_048_577, 3_000_000];
    for (n, size) in sizes.into_iter().enumerate() {
        let rec = Rec::of(&[(b"a", Tag::INTEGER, &[0; 8]), (b"z", Tag::BLOB, &rng.bytes(size))]);
        coll.records.insert(vec![n as u8], rec);
        coll.records.insert(vec![n as u8, 1], Rec::blob(vec![0; size]));
    }
    let db = Db::from([("c".to_owned(), coll)]);
    for stream_over in [0, 64 * 1024, usize::MAX] {
        let (world, repo) = World::new();
        let mut source = MemorySource::of(db.clone(), &world.clock);
        source.stream_over = stream_over;
        let first = back_up(&repo, &source);
        assert_same(&restored(&repo, &snapshot(&repo, first.id.unwrap())), &db, "values of every size");
        // How a value came makes no difference to what it is.
        world.clock.advance(1000);
        source.stream_over = if stream_over == 0 { usize::MAX } else { 0 };
        let second = back_up(&repo, &source);
        assert_eq!((second.stats.changed, second.stats.new, second.stats.chunks_new), (0, 0, 0));
        assert_sound(&repo);
    }
}

#[test]
fn a_big_value_deduplicates_when_bytes_are_put_before_it() {
    let (world, repo) = World::new();
    let big = Rng::new(9).bytes(12 * 1024 * 1024);
    let with = |value: &[u8]| Db::from([("c".to_owned(), Coll::raw([(b"big".to_vec(), Rec::blob(value.to_vec()))]))]);
    let first = back_up(&repo, &MemorySource::of(with(&big), &world.clock));
    world.clock.advance(1000);
    let mut longer = b"a new beginning ".to_vec();
    longer.extend_from_slice(&big);
    let second = back_up(&repo, &MemorySource::of(with(&longer), &world.clock));
    assert!(
        second.stats.bytes_added < first.stats.bytes_added / 2,
        "{} of {} bytes were stored again",
        second.stats.bytes_added,
        first.stats.bytes_added
    );
    assert_same(&restored(&repo, &snapshot(&repo, second.id.unwrap())), &with(&longer), "the longer value");
    assert_sound(&repo);
}

#[test]
fn what_changed_is_stored_and_nothing_else() {
    let (world, repo) = World::new();
    let mut db = sample(21, 5_000, 300);
    let first = back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
    for n in (0..5_000).step_by(100) {
        db.get_mut("c").unwrap().records.insert(format!("key{n:06}").into_bytes(), Rec::text("changed"));
    }
    world.clock.advance(1000);
    let second = back_up(&repo, &MemorySource::of(db, &world.clock));
    assert_eq!((second.stats.seen, second.stats.changed), (5_000, 50));
    // Three packs padded to 64 KiB (keys, values, and the list that is written last) and an index.
    assert!(second.stats.bytes_added < 224 * 1024, "{} bytes for 50 records", second.stats.bytes_added);
    assert!(first.stats.bytes_added > 1_400_000);
    let third = back_up(&repo, &MemorySource::of(sample(21, 5_000, 300), &world.clock));
    assert_eq!(third.stats.changed, 50);
}

#[test]
fn touching_every_record_does_not_store_the_values_again() {
    let (world, repo) = World::new();
    let mut db = sample(22, 2_000, 500);
    back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
    for rec in db.get_mut("c").unwrap().records.values_mut() {
        rec.expiry = crate::support::world::EPOCH as u64 + 1_000_000;
        rec.generation += 1;
    }
    world.clock.advance(1000);
    let second = back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
    assert_eq!((second.stats.changed, second.stats.inherited), (2_000, 2_000));
    assert!(second.stats.bytes_added < 200 * 1024, "{} bytes for touches", second.stats.bytes_added);
    assert_same(&restored(&repo, &snapshot(&repo, second.id.unwrap())), &db, "after the touch");
    assert_sound(&repo);
}

#[test]
fn a_dry_run_and_an_unchanged_run_leave_nothing_behind() {
    let (world, repo) = World::new();
    let mut db = sample(23, 50, 50);
    let source = MemorySource::of(db.clone(), &world.clock);
    back_up(&repo, &source);
    let before = world.backend.names("snapshots/");
    world.clock.advance(1000);
    let options = rekeep::ops::backup::BackupOptions { skip_if_unchanged: true, ..plain() };
    let skipped = backup_with(&repo, &source, &options).unwrap();
    assert!(skipped.skipped_unchanged && skipped.id.is_none());
    db.get_mut("c").unwrap().records.insert(b"new".to_vec(), Rec::text("new"));
    *source.db.lock().unwrap() = db;
    let all = world.backend.image();
    let dry = rekeep::ops::backup::BackupOptions { dry_run: true, ..plain() };
    let counted = backup_with(&repo, &source, &dry).unwrap();
    assert_eq!((counted.id, counted.stats.new), (None, 1));
    assert!(all == world.backend.image(), "a dry run stores nothing");
    assert_eq!(world.backend.names("snapshots/"), before);
    let taken = backup_with(&repo, &source, &options).unwrap();
    assert!(taken.id.is_some(), "what changed is not skipped");
}

#[test]
fn a_snapshot_in_which_records_expired_is_not_taken_for_unchanged() {
    let (world, repo) = World::new();
    let soon = crate::support::world::EPOCH as u64 + 500;
    let db = Db::from([(
        "c".to_owned(),
        Coll::raw([(b"a".to_vec(), Rec::text("stays")), (b"b".to_vec(), Rec::text("goes").expiring(soon))]),
    )]);
    let source = MemorySource::of(db, &world.clock);
    back_up(&repo, &source);
    world.clock.advance(1000);
    let options = rekeep::ops::backup::BackupOptions { skip_if_unchanged: true, ..plain() };
    let second = backup_with(&repo, &source, &options).unwrap();
    assert!(!second.skipped_unchanged, "one record less is a change");
    assert_eq!(second.records, 1);
    assert_sound(&repo);
}

#[test]
fn records_that_expire_while_a_slow_source_is_read_do_not_contradict_the_counts() {
    let (world, repo) = World::new();
    let soon = crate::support::world::EPOCH as u64 + 500;
    let db = Db::from([(
        "c".to_owned(),
        Coll::raw([(b"a".to_vec(), Rec::text("stays")), (b"b".to_vec(), Rec::text("goes").expiring(soon))]),
    )]);
    let mut source = MemorySource::of(db, &world.clock);
    source.exact = false;
    source.takes_millis = 1000;
    let first = back_up(&repo, &source);
    assert_sound(&repo);
    let taken = snapshot(&repo, first.id.unwrap());
    let held = restored(&repo, &taken);
    assert_eq!(held["c"].records.len() as u64, first.records, "what is counted is what comes back");
    back_up(&repo, &source);
    assert_sound(&repo);
}

#[test]
fn a_cancelled_backup_commits_nothing_and_the_next_one_uses_what_it_stored() {
    let (world, repo) = World::new();
    let db = sample(24, 3_000, 2_000);
    let mut source = MemorySource::of(db.clone(), &world.clock).in_parts(6);
    source.batch_rows = 50;
    let heard = Heard::default();
    heard.cancel_after.store(2_000, std::sync::atomic::Ordering::Relaxed);
    let error = backup(&repo, &source, &plain(), &heard).expect_err("cancelled");
    assert!(error.is_interruption(), "{error}");
    repo.refresh().unwrap();
    assert!(repo.snapshots().unwrap().is_empty());
    assert!(!world.backend.names("index/").is_empty(), "what was uploaded is indexed");
    let next = back_up(&repo, &source);
    assert!(next.stats.chunks_reused > 0, "what was uploaded is used");
    assert_same(&restored(&repo, &snapshot(&repo, next.id.unwrap())), &db, "after the interruption");
    assert_sound(&repo);
}

#[test]
fn one_record_is_restored_alone_by_its_typed_key() {
    let (world, repo) = World::new();
    let mut ints = Coll::new(KeyCodec::Int);
    for n in -50i64..50 {
        let key = KeyCodec::Int.parse(&format!("int:{n}")).unwrap();
        ints.records.insert(key, Rec::text(&n.to_string()));
    }
    let id = back_up(&repo, &MemorySource::of(Db::from([("t".to_owned(), ints)]), &world.clock)).id.unwrap();
    let target = MemoryTarget::default();
    let options = RestoreOptions { keys: vec!["int:-7".to_owned()], ..RestoreOptions::default() };
    let outcome = restore_with(&repo, &snapshot(&repo, id), &target, &options).unwrap();
    assert_eq!(outcome.records, 1);
    let held = target.held();
    assert_eq!(held["t"].records.values().collect::<Vec<_>>(), [&Rec::text("-7")]);
    let options = RestoreOptions { keys: vec!["int:-7".to_owned(), "int:700".to_owned()], ..RestoreOptions::default() };
    let nowhere = MemoryTarget::default();
    let error = restore_with(&repo, &snapshot(&repo, id), &nowhere, &options).unwrap_err();
    assert!(error.to_string().contains("int:700"), "{error}");
    assert!(nowhere.held().is_empty(), "nothing is written when a key is not there");
    // Keys may be many: whoever wants that to end is heard before the first of them is looked for.
    let many: Vec<String> = (0..20_000).map(|n| format!("int:{}", n % 100 - 50)).collect();
    let heard = Heard::default();
    heard.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let taken = snapshot(&repo, id);
    let error = restore(&repo, &taken, &nowhere, &options, &heard).expect_err("cancelled");
    assert!(error.is_interruption(), "{error}");
    let options = RestoreOptions { keys: many, ..RestoreOptions::default() };
    assert_eq!(restore_with(&repo, &taken, &MemoryTarget::default(), &options).unwrap().records, 100);
}

#[test]
fn a_small_backup_ends_with_one_pack_of_each_kind_however_many_write() {
    let (world, repo) = World::new();
    let mut db = Db::new();
    for number in 0..9_u64 {
        let coll = sample(number, 30, 50).remove("c").unwrap();
        db.insert(format!("c{number}"), coll);
    }
    let many = BackupOptions { parallel: 4, ..plain() };
    let packs = || world.backend.image().keys().filter(|name| name.starts_with("packs/")).count();
    let mut before = packs();
    for day in 0..3 {
        for coll in db.values_mut() {
            coll.records.insert(format!("day{day}").into_bytes(), Rec::text(&format!("new on day {day}")));
        }
        world.clock.advance(60_000);
        let done = backup_with(&repo, &MemorySource::of(db.clone(), &world.clock), &many).unwrap();
        assert_eq!(packs() - before, 2, "day {day}");
        before = packs();
        assert_same(&restored(&repo, &snapshot(&repo, done.id.unwrap())), &db, "what was put together");
    }
    assert_sound(&repo);
}

/// What a backup reads of the snapshots that are there does not grow with them.
#[test]
fn a_backup_reads_no_more_heads_beside_many_snapshots_than_beside_few() {
    let (world, repo) = World::new();
    let db = sample(1, 5, 20);
    let mut read = Vec::new();
    for number in 0..120 {
        world.clock.advance(1000);
        let before = repo.heads_read();
        back_up(&repo, &MemorySource::of(db.clone(), &world.clock));
        if [10, 119].contains(&number) {
            read.push(repo.heads_read() - before);
        }
    }
    assert_eq!(read[0], read[1]);
    // In pages that fit no page, the way back is the whole way, each once.
    let source = repo.snapshots().unwrap()[0].source().clone();
    let (by, mut last, mut back) = (rekeep::repo::By::Source(&source), None, Vec::new());
    loop {
        let page = repo.heads_before(by, None, last, 7).unwrap();
        let Some(end) = page.last() else { break };
        last = Some(end.position());
        back.extend(page);
    }
    back.reverse();
    assert_eq!(back, repo.heads(by, None).unwrap());
}
