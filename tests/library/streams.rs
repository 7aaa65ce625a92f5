//! Streams: every version is kept, and every moment can be gone back to.

use crate::support::{
    Db, Heard, MemorySource, Rec, Rng, World,
    db::{assert_same, live_at, sample},
    rng::from_env,
    world::{assert_sound, back_up, restored, snapshot},
};
use rekeep::{
    ops::{
        diff::{Change, diff},
        forget::plan_named,
        history::history,
        prune::{PruneOptions, prune},
        select::{Narrow, SnapshotSpec, resolve},
        squash::ThinVersions,
        stream::{Arrival, StreamCollection, StreamEnd, StreamOptions, StreamSource, StreamWriter},
        tag::{TagChange, tag},
        transfer::{TransferOptions, transfer},
        verify::{AgainstOptions, verify_against},
    },
    record::{ChangeBatch, Clock, KeyCodec, RowHead, Timestamp, VersionTime},
    repo::{Repository, Snapshot, manifest::Kind, session::SessionTiming},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

const SECOND: i64 = 1000;

/// A stream over a database, and what it was at every moment at which something happened.
struct River {
    world: World,
    repo: Repository,
    db: Db,
    source: StreamSource,
    collections: Vec<StreamCollection>,
    options: StreamOptions,
    /// After each time at which something happened: the state.
    past: BTreeMap<i64, Db>,
    /// What the next commit brings.
    batch: ChangeBatch,
    generation: u32,
}

impl River {
    /// With a backup below, or without.
    fn of(db: Db, is_backed_up: bool) -> Self {
        let (world, repo) = World::new();
        world.clock.advance(SECOND);
        let shared = Arc::new(Mutex::new(db.clone()));
        let memory = MemorySource::new(&shared, &world.clock);
        let taken = back_up(&repo, &memory);
        let base = snapshot(&repo, taken.id.unwrap());
        let source = StreamSource {
            source: base.content.source.clone(),
            scope: base.content.scope.clone(),
            scope_note: String::new(),
            asked: base.content.asked.clone(),
            attributes: serde_json::Value::Null,
        };
        let collection =
            StreamCollection { name: "c".to_owned(), codec: KeyCodec::Raw, attributes: serde_json::Value::Null };
        let mut past = BTreeMap::new();
        if is_backed_up {
            past.insert(base.content.end.as_millis(), db.clone());
        } else {
            repo.forget(&base.id).unwrap();
        }
        Self {
            world,
            repo,
            db,
            source,
            collections: vec![collection],
            options: StreamOptions { compression: 1, ..StreamOptions::default() },
            past,
            batch: ChangeBatch::default(),
            generation: 10,
        }
    }

    fn put(&mut self, key: &[u8], rec: Rec) {
        self.world.clock.advance(7);
        let now = self.world.clock.now().as_millis();
        self.put_at(key, rec, now);
        self.past.insert(now, self.db.clone());
    }

    fn put_at(&mut self, key: &[u8], mut rec: Rec, millis: i64) {
        self.generation += 1;
        rec.generation = self.generation;
        let time = VersionTime { millis: millis as u64, order: u64::from(self.generation) * 2 };
        let head = RowHead { key, meta: rec.meta() };
        let mut value = Vec::new();
        let mut cells = rekeep::record::CellWriter::new(&mut value, rec.cells.len());
        rec.cells.values().for_each(|(tag, bytes)| cells.cell(rekeep::record::Tag(*tag), bytes));
        let put = self.batch.put(time, |rows| {
            rows.push_encoded(head, &rec.shape(), &value);
            Ok::<_, ()>(())
        });
        put.unwrap();
        self.db.get_mut("c").unwrap().records.insert(key.to_vec(), rec);
    }

    fn delete(&mut self, key: &[u8]) {
        self.world.clock.advance(7);
        let now = self.world.clock.now().as_millis();
        self.generation += 1;
        let time = VersionTime { millis: now as u64, order: u64::from(self.generation) * 2 + 1 };
        self.batch.delete(time, key, self.generation);
        self.db.get_mut("c").unwrap().records.remove(key);
        self.past.insert(now, self.db.clone());
    }

    fn some(&mut self, rng: &mut Rng, changes: usize) {
        for _ in 0..changes {
            let key = format!("key{:06}", rng.below(40)).into_bytes();
            if rng.below(4) == 0 {
                self.delete(&key);
            } else {
                let len = rng.below(200) as usize;
                let rec = Rec::blob(rng.bytes(len));
                let expiry = if rng.below(3) == 0 { self.now() + rng.below(9000) } else { 0 };
                self.put(&key, rec.expiring(expiry));
            }
        }
    }

    fn now(&self) -> u64 {
        self.world.clock.now().as_millis() as u64
    }

    fn commit(&mut self) -> Snapshot {
        self.world.clock.advance(SECOND);
        let heard = Heard::default();
        let mut writer =
            StreamWriter::begin(&self.repo, &self.source, &self.collections, &self.options, &heard).unwrap();
        writer.write(0, &self.batch).unwrap();
        self.batch.clear();
        let end = StreamEnd { is_whole: true, ..StreamEnd::default() };
        let committed = writer.commit(&end, &heard).unwrap();
        snapshot(&self.repo, committed.id)
    }

    /// The state at a time.
    fn state(&self, time: i64) -> Db {
        let (_, state) = self.past.range(..=time).next_back().unwrap();
        live_at(state, Timestamp::from_millis(time))
    }

    fn at(repo: &Repository, time: i64) -> Snapshot {
        let (all, now) = (repo.snapshots().unwrap(), repo.clock().now());
        let spec = SnapshotSpec::At(Timestamp::from_millis(time));
        resolve(&all, &spec, &Narrow::default(), now, &Heard::default()).unwrap()
    }

    /// Every moment of the past is what it was, for this catalog and for one made from storage alone.
    fn check(&self, when: &str) {
        for repo in [self.repo.clone(), self.world.beside().open()] {
            for &time in self.past.keys() {
                for time in [time, time + 3] {
                    let seen = Self::at(&repo, time);
                    let mut expected = self.state(time);
                    // The kind of a collection without records is told by its attributes alone.
                    for (name, coll) in &mut expected {
                        coll.attributes
                            .clone_from(&seen.collections.iter().find(|c| c.name == *name).unwrap().attributes);
                    }
                    assert_same(&restored(&repo, &seen), &expected, &format!("{when}, at {time}"));
                }
            }
            assert_sound(&repo);
        }
    }
}

#[test]
fn every_moment_of_a_stream_over_a_backup_can_be_gone_back_to() {
    let mut rng = Rng::new(1);
    let mut river = River::of(sample(1, 30, 50), true);
    for _ in 0..3 {
        river.some(&mut rng, 12);
        let made = river.commit();
        assert_eq!(made.content.kind, Kind::Journal);
        assert!(made.content.complete, "{:?}", made.content.problems);
    }
    river.check("three commits");
    // The versions of a stream outlive the snapshots that brought them.
    for old in river.repo.snapshots().unwrap().iter().rev().skip(1) {
        river.repo.forget(&old.id).unwrap();
    }
    prune(&river.repo, &PruneOptions::default(), &Heard::default()).unwrap();
    let first = *river.past.keys().next().unwrap();
    river.past.retain(|time, _| *time >= first);
    river.check("the last commit alone");
}

#[test]
fn a_long_stream_keeps_few_layers_and_few_snapshots() {
    let mut rng = Rng::new(2);
    let mut river = River::of(sample(2, 30, 50), true);
    river.options.supersede = true;
    for _ in 0..40 {
        river.some(&mut rng, 3);
        let made = river.commit();
        assert!(made.collections[0].stack.len() <= 17, "{}", made.collections[0].stack.len());
    }
    let all = river.repo.snapshots().unwrap();
    assert_eq!(all.iter().filter(|s| s.content.kind == Kind::Journal).count(), 1);
    river.check("after forty commits");
}

#[test]
fn what_is_held_or_tagged_is_not_superseded() {
    let mut river = River::of(sample(3, 5, 50), true);
    river.options.supersede = true;
    river.put(b"a", Rec::text("1"));
    let held = river.commit();
    river.repo.revise(&held.id, &|manifest| manifest.hold = true).unwrap();
    river.put(b"a", Rec::text("2"));
    river.commit();
    assert!(river.repo.snapshots().unwrap().iter().any(|s| s.id == held.id));
}

/// A moment is seen where all collections reach back to it.
#[test]
fn a_collection_that_begins_hides_no_moment_before_it() {
    let mut river = River::of(sample(3, 5, 50), true);
    river.options.supersede = true;
    for text in ["1", "2", "3"] {
        river.put(b"a", Rec::text(text));
    }
    let old = river.commit();
    let first = river.past.clone();
    river.collections.push(StreamCollection { name: "new".to_owned(), ..river.collections[0].clone() });
    river.put(b"a", Rec::text("4"));
    let next = river.commit();
    assert!(next.collections.len() == 2 && next.collections.iter().all(|it| it.journal.is_some()));
    let all = river.repo.snapshots().unwrap();
    assert!(all.iter().any(|it| it.id == old.id), "it alone shows what was before");
    for &time in first.keys() {
        let seen = River::at(&river.repo, time);
        let found = restored(&river.repo, &seen);
        assert_eq!(found["c"].records, river.state(time)["c"].records, "at {time}");
    }
    // From there on the newest shows all that the one before it did.
    river.put(b"a", Rec::text("5"));
    river.commit();
    assert!(river.repo.snapshots().unwrap().iter().all(|it| it.id != next.id));
}

#[test]
fn a_stream_without_a_backup_below_is_exact_from_its_first_whole_commit() {
    let mut river = River::of(sample(4, 0, 0), false);
    river.put(b"a", Rec::text("1"));
    let first = river.commit();
    river.past.retain(|time, _| *time > first.content.end.as_millis());
    river.put(b"a", Rec::text("2"));
    river.delete(b"a");
    river.put(b"b", Rec::text("3"));
    river.commit();
    river.check("a stream alone");
    let (all, now) = (river.repo.snapshots().unwrap(), river.repo.clock().now());
    let early = SnapshotSpec::At(Timestamp::from_millis(first.content.end.as_millis() - 1));
    assert!(resolve(&all, &early, &Narrow::default(), now, &Heard::default()).is_err());
}

#[test]
fn history_shows_every_version_with_its_time() {
    let mut river = River::of(sample(5, 3, 20), true);
    river.put(b"key000001", Rec::text("one"));
    river.put(b"key000001", Rec::text("two"));
    river.commit();
    river.delete(b"key000001");
    river.put(b"key000001", Rec::text("three"));
    river.commit();
    let heard = Heard::default();
    let all = river.repo.snapshots().unwrap();
    let found = history(&river.repo, &all, "c", "hex:6b6579303030303031", None, None, &heard).unwrap();
    let shown: Vec<(&str, bool)> = found.versions.iter().map(|it| (it.state, it.exact)).collect();
    assert_eq!(shown, [("live", false), ("live", true), ("live", true), ("deleted", true), ("live", true)]);
    let times: Vec<i64> = found.versions[1..].iter().map(|it| it.from.as_millis()).collect();
    assert_eq!(times, river.past.keys().skip(1).copied().collect::<Vec<_>>());
    assert!(found.gaps.is_empty());
    let (from, to) = (Timestamp::from_millis(times[1]), Timestamp::from_millis(times[2]));
    let some = history(&river.repo, &all, "c", "hex:6b6579303030303031", Some(from), Some(to), &heard).unwrap();
    assert_eq!(some.versions.iter().map(|it| it.state).collect::<Vec<_>>(), ["live", "deleted"]);
}

#[test]
fn a_moment_within_a_snapshot_is_read_as_of_then_and_nothing_is_done_to_what_came_later() {
    let mut river = River::of(sample(5, 3, 20), true);
    river.put(b"a", Rec::text("one"));
    river.put(b"b", Rec::text("soon gone"));
    let then = river.now() as i64;
    let was = river.state(then);
    river.delete(b"b");
    river.put(b"a", Rec::text("two"));
    let whole = river.commit();
    let moment = River::at(&river.repo, then);
    assert_eq!((moment.id, moment.holds_until()), (whole.id, Some(whole.content.end)));
    let refused = |error: rekeep::ops::OpsError| {
        let words = error.to_string();
        assert!(words.contains("is a moment within snapshot") && words.contains(&whole.id.short()), "{words}");
    };
    refused(plan_named(&river.repo, std::slice::from_ref(&moment), true).unwrap_err());
    let hold = TagChange { hold: Some(true), ..TagChange::default() };
    refused(tag(&river.repo, &moment, &hold).unwrap_err());
    let elsewhere = World::new();
    let options = TransferOptions {
        parallel: 1,
        dry_run: false,
        compression: 1,
        seal_anew: false,
        write_limit: None,
        timing: SessionTiming::default(),
    };
    let one = std::slice::from_ref(&moment);
    let heard = Heard::default();
    refused(transfer(&river.repo, one, &elsewhere.1, &options, &heard).unwrap_err());
    // All of it may be forgotten, tagged and copied.
    plan_named(&river.repo, std::slice::from_ref(&whole), true).unwrap();
    let mut seen = Vec::new();
    let counts =
        diff(&river.repo, &moment, &whole, None, &heard, &mut |_, key, change| seen.push((key.to_owned(), change)));
    assert_eq!(counts.unwrap().len(), 1);
    assert_eq!(seen, [("hex:61".to_owned(), Change::Changed), ("hex:62".to_owned(), Change::Removed)]);
    let against = |snapshot: &Snapshot, db: &Db| {
        let source = MemorySource::of(db.clone(), &river.world.clock);
        let found = verify_against(&river.repo, snapshot, &source, AgainstOptions::default(), &heard).unwrap();
        found.missing + found.extra + found.different
    };
    assert_eq!((against(&moment, &was), against(&whole, &river.db)), (0, 0));
    assert_eq!((against(&moment, &river.db), against(&whole, &was)), (2, 2));
}

#[test]
fn snapshots_that_show_a_version_are_counted_once_each() {
    let mut river = River::of(sample(5, 3, 20), true);
    river.put(b"a", Rec::text("one"));
    for n in 0..3 {
        river.put(b"b", Rec::text(&format!("other {n}")));
        river.commit();
    }
    let all = river.repo.snapshots().unwrap();
    let found = history(&river.repo, &all, "c", "hex:61", None, None, &Heard::default()).unwrap();
    let shown: Vec<u64> = found.versions.iter().map(|it| it.snapshots).collect();
    assert!(shown.iter().all(|count| *count <= all.len() as u64), "{shown:?} of {}", all.len());
    let newest = found.versions.last().unwrap();
    assert_eq!(newest.last_snapshot, all.last().unwrap().id);
}

#[test]
fn changes_that_come_twice_are_there_once() {
    let mut river = River::of(sample(6, 3, 20), true);
    river.put(b"a", Rec::text("one"));
    let (time, rec) = (river.now(), river.db["c"].records[b"a".as_slice()].clone());
    let first = river.commit();
    let again = |river: &mut River| {
        river.generation = rec.generation - 1;
        river.put_at(b"a", rec.clone(), time as i64);
    };
    again(&mut river);
    again(&mut river);
    let second = river.commit();
    let rows = |snapshot: &Snapshot| snapshot.collections[0].stack.iter().map(|layer| layer.rows).collect::<Vec<_>>();
    assert_eq!((rows(&first)[1..].to_vec(), rows(&second)[1..].to_vec()), (vec![1], vec![1, 1]));
    let all = river.repo.snapshots().unwrap();
    let found = history(&river.repo, &all, "c", "hex:61", None, None, &Heard::default()).unwrap();
    assert_eq!(found.versions.len(), 1);
    river.check("twice");
}

#[test]
fn a_clock_that_steps_back_does_not_bring_back_what_was_overwritten() {
    for arrival in [Arrival::Generations, Arrival::Ordered] {
        let mut river = River::of(sample(7, 3, 20), true);
        river.options.arrival = arrival;
        river.put(b"a", Rec::text("old"));
        river.commit();
        // The next is stamped before it, and so is one of the same commit.
        let early = river.now() as i64 - 900;
        river.put_at(b"a", Rec::text("new"), early - 500);
        river.put_at(b"a", Rec::text("newest"), early - 600);
        let made = river.commit();
        let now = river.db.clone();
        let mut found = restored(&river.repo, &made);
        found.get_mut("c").unwrap().attributes = now["c"].attributes.clone();
        assert_same(&found, &now, "after the step");
    }
}

#[test]
fn thinning_keeps_the_moments_that_it_promises_and_gives_back_space() {
    let mut rng = Rng::new(8);
    let mut river = River::of(sample(8, 30, 50), true);
    river.options.supersede = true;
    for _ in 0..12 {
        river.some(&mut rng, 20);
        river.commit();
    }
    let rows = |river: &River| {
        let all = river.repo.snapshots().unwrap();
        all.last().unwrap().collections[0].stack.iter().skip(1).map(|layer| layer.rows).sum::<u64>()
    };
    let before = rows(&river);
    let age = 4 * SECOND as u64;
    let options =
        PruneOptions { thin_versions: vec![ThinVersions { age, every: SECOND as u64 }], ..PruneOptions::default() };
    let until = (river.now() - age) / 1000 * 1000;
    prune(&river.repo, &options, &Heard::default()).unwrap();
    assert!(rows(&river) < before, "{} of {before}", rows(&river));
    let newest = river.repo.snapshots().unwrap().pop().unwrap();
    let base = river.past.keys().next().copied().unwrap();
    let mut seen_thinned = 0;
    for time in (base..river.now() as i64 - 2000).step_by(111) {
        let seen = newest.seen_at(Timestamp::from_millis(time)).unwrap();
        let moment = seen.content.end.as_millis();
        let expected = if time < until as i64 { (time / 1000 * 1000).max(base) } else { time };
        assert_eq!(moment, expected);
        seen_thinned += u32::from(moment != time);
        let mut state = river.state(moment);
        state.get_mut("c").unwrap().attributes = seen.collections[0].attributes.clone();
        assert_same(&restored(&river.repo, &seen), &state, &format!("at {moment}"));
    }
    assert!(seen_thinned > 3);
    // Nothing more to do.
    let again = prune(&river.repo, &options, &Heard::default()).unwrap();
    assert!(again.plan.squash.merges.iter().all(|merge| merge.keep.is_none()));
    assert_sound(&river.repo);
}

#[test]
fn a_stream_that_drops_old_versions_begins_later_and_goes_on() {
    let mut rng = Rng::new(11);
    for is_backed_up in [true, false] {
        let mut river = River::of(sample(11, if is_backed_up { 30 } else { 0 }, 50), is_backed_up);
        river.options.supersede = true;
        for round in 0..2 {
            for _ in 0..5 {
                river.some(&mut rng, 8);
                river.commit();
            }
            let age = 3 * SECOND as u64;
            let options = PruneOptions { drop_versions: Some(age), max_superseded: 0.0, ..PruneOptions::default() };
            let before = river.repo.snapshots().unwrap().pop().unwrap();
            let begin = (river.now() - age) as i64;
            prune(&river.repo, &options, &Heard::default()).unwrap();
            let after = river.repo.snapshots().unwrap().pop().unwrap();
            let (old, new) = (&before.collections[0], &after.collections[0]);
            assert_eq!((after.id, new.journal.as_ref().unwrap().from.as_millis()), (before.id, begin));
            let rows = |collection: &rekeep::repo::manifest::Collection| {
                collection.stack.iter().map(|layer| layer.rows).sum::<u64>()
            };
            // However long it has run: as much as there are records, and what a few seconds brought.
            assert!(new.stack.len() == 2 && rows(new) <= 40 + 40, "{round}: {} of {}", rows(new), rows(old));
            assert!(after.seen_at(Timestamp::from_millis(begin - 1)).is_none());
            river.past.retain(|time, _| *time >= begin);
            river.check(&format!("after round {round}"));
            // Nothing more to do.
            let again = prune(&river.repo, &options, &Heard::default()).unwrap();
            assert!(again.plan.squash.merges.is_empty(), "{:?}", again.plan.squash.merges);
        }
    }
}

#[test]
fn a_held_snapshot_of_a_stream_keeps_its_versions() {
    let mut rng = Rng::new(12);
    let mut river = River::of(sample(12, 30, 50), true);
    river.some(&mut rng, 30);
    let held = river.commit();
    river.repo.revise(&held.id, &|manifest| manifest.hold = true).unwrap();
    for _ in 0..3 {
        river.some(&mut rng, 30);
        river.commit();
    }
    let options = PruneOptions { drop_versions: Some(1), max_superseded: 0.0, ..PruneOptions::default() };
    prune(&river.repo, &options, &Heard::default()).unwrap();
    let kept = snapshot(&river.repo, held.id);
    assert_eq!(kept.collections, held.collections);
    for (time, state) in river.past.clone().into_iter().filter(|(time, _)| *time < held.content.end.as_millis()) {
        let seen = kept.seen_at(Timestamp::from_millis(time)).unwrap();
        let mut expected = live_at(&state, Timestamp::from_millis(time));
        expected.get_mut("c").unwrap().attributes.clone_from(&seen.collections[0].attributes);
        assert_same(&restored(&river.repo, &seen), &expected, "the held one");
    }
    assert_sound(&river.repo);
}

#[test]
fn a_backup_after_a_stream_compares_with_the_backup_before_it() {
    let mut river = River::of(sample(9, 30, 50), true);
    river.put(b"key000001", Rec::text("changed"));
    let stream = river.commit();
    let shared = Arc::new(Mutex::new(river.db.clone()));
    let memory = MemorySource::new(&shared, &river.world.clock);
    river.world.clock.advance(SECOND);
    let taken = back_up(&river.repo, &memory);
    assert_ne!(taken.parent, Some(stream.id));
    assert_same(&restored(&river.repo, &snapshot(&river.repo, taken.id.unwrap())), &river.db, "the backup");
    // And the stream goes on from it.
    river.past.insert(taken.end.as_millis(), river.db.clone());
    river.put(b"key000001", Rec::text("again"));
    let next = river.commit();
    assert_eq!(next.content.parent, taken.id);
    river.check("after both");
}

#[test]
fn a_record_beyond_the_limits_is_named_and_the_commit_is_not_complete() {
    let mut river = River::of(sample(10, 3, 20), true);
    let long = vec![7; 65_530];
    river.put(&long, Rec::text("x"));
    let made = river.commit();
    assert!(!made.content.complete);
    assert!(made.content.problems.iter().any(|problem| problem.contains("too long for a journal")));
}

/// A change as it is shipped, again and again until it is acknowledged.
struct Shipped {
    key: Vec<u8>,
    time: VersionTime,
    /// The record; nothing for a deletion.
    rec: Option<Rec>,
    /// Changes between two deletions of a record may come in any order.
    life: u64,
    acknowledged: bool,
}

impl Shipped {
    fn add_to(&self, batch: &mut ChangeBatch) {
        let Some(rec) = &self.rec else {
            batch.delete(self.time, &self.key, (self.time.order >> 1) as u32);
            return;
        };
        let head = RowHead { key: &self.key, meta: rec.meta() };
        let mut value = Vec::new();
        let mut cells = rekeep::record::CellWriter::new(&mut value, rec.cells.len());
        rec.cells.values().for_each(|(tag, bytes)| cells.cell(rekeep::record::Tag(*tag), bytes));
        let put = batch.put(self.time, |rows| {
            rows.push_encoded(head, &rec.shape(), &value);
            Ok::<_, ()>(())
        });
        put.unwrap();
    }
}

/// What one connection after the other brings: some records' changes that are not acknowledged, and some of all that ever came once more.
fn delivery(log: &[Shipped], rng: &mut Rng, all: bool) -> Vec<usize> {
    let mut keys: Vec<&[u8]> = log.iter().map(|one| one.key.as_slice()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut lanes: Vec<Vec<usize>> = Vec::new();
    for key in keys {
        let mut own: Vec<usize> = (0..log.len()).filter(|at| log[*at].key == key && !log[*at].acknowledged).collect();
        if !all {
            // A prefix of it, cut between two lives.
            let upto = rng.below(own.len() as u64 + 1) as usize;
            let life = own.get(upto).map(|at| log[*at].life);
            own.truncate(upto);
            own.retain(|at| life.is_none_or(|life| log[*at].life < life) || rng.chance(80));
        }
        // Any order within a life.
        own.sort_by_cached_key(|at| (log[*at].life, rng.word()));
        lanes.push(own);
    }
    let mut came = Vec::new();
    while lanes.iter().any(|lane| !lane.is_empty()) {
        let lane = rng.below(lanes.len() as u64) as usize;
        if lanes[lane].is_empty() {
            continue;
        }
        came.push(lanes[lane].remove(0));
        if rng.chance(20) {
            // What came before, in this delivery or an earlier one, comes once more.
            let known: Vec<usize> =
                (0..log.len()).filter(|at| log[*at].acknowledged).chain(came.iter().copied()).collect();
            came.push(*rng.pick(&known));
        }
    }
    came
}

fn resent(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut river = River::of(sample(seed, 3, 20), true);
    river.options.supersede = true;
    let mut log: Vec<Shipped> = Vec::new();
    let mut lives: BTreeMap<Vec<u8>, (u64, u64)> = BTreeMap::new();
    for round in 0..14 {
        for _ in 0..rng.below(25) {
            river.world.clock.advance(7);
            let now = river.world.clock.now().as_millis();
            let key = format!("k{}", rng.below(6)).into_bytes();
            let (life, generation) = lives.entry(key.clone()).or_default();
            *generation += 1;
            let is_deletion = *generation > 1 && rng.chance(25);
            let time = VersionTime { millis: now as u64, order: *generation * 2 + u64::from(is_deletion) };
            let rec = (!is_deletion)
                .then(|| Rec { generation: *generation as u32, ..Rec::text(&format!("{life} {generation}")) });
            let records = &mut river.db.get_mut("c").unwrap().records;
            match &rec {
                Some(rec) => drop(records.insert(key.clone(), rec.clone())),
                None => drop(records.remove(&key)),
            }
            log.push(Shipped { key, time, rec, life: *life, acknowledged: false });
            if is_deletion {
                (*life, *generation) = (*life + 1, 0);
            }
            river.past.insert(now, river.db.clone());
        }
        let is_last = round == 13;
        let came = delivery(&log, &mut rng, is_last);
        river.world.clock.advance(SECOND);
        let heard = Heard::default();
        let mut writer =
            StreamWriter::begin(&river.repo, &river.source, &river.collections, &river.options, &heard).unwrap();
        let mut batch = ChangeBatch::default();
        for at in &came {
            log[*at].add_to(&mut batch);
        }
        writer.write(0, &batch).unwrap();
        match rng.below(3) {
            // Killed before the commit.
            0 if !is_last => drop(writer),
            fate => {
                let end = StreamEnd { is_whole: true, ..StreamEnd::default() };
                writer.commit(&end, &heard).unwrap();
                // Killed behind it, before it is acknowledged: all of it comes again.
                if fate != 1 || is_last {
                    for at in &came {
                        log[*at].acknowledged = true;
                    }
                }
            }
        }
    }
    assert!(log.iter().all(|one| one.acknowledged), "seed {seed}");
    let all = river.repo.snapshots().unwrap();
    for key in lives.keys() {
        let shown = format!("hex:{}", data_encoding::HEXLOWER.encode(key));
        let found = history(&river.repo, &all, "c", &shown, None, None, &Heard::default()).unwrap();
        let found: Vec<(i64, bool)> = found
            .versions
            .iter()
            .filter(|version| version.exact)
            .map(|version| (version.from.as_millis(), version.state == "deleted"))
            .collect();
        let wanted: Vec<(i64, bool)> =
            log.iter().filter(|one| one.key == *key).map(|one| (one.time.millis as i64, one.rec.is_none())).collect();
        assert_eq!(found, wanted, "seed {seed}, {shown}");
    }
    river.check(&format!("seed {seed}"));
}

#[test]
fn what_is_shipped_again_after_kills_in_whatever_order_is_there_once_each() {
    let rounds = from_env("REKEEP_TEST_ROUNDS", 2);
    (0..rounds).for_each(|seed| resent(0x51EA + seed));
}
