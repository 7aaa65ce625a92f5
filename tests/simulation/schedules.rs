//! Schedules that break the protocol when a rule is missing, one by one: first with all rules, then without.
//!
//! T: a committed snapshot. W: a writer. P: a pruner. X, Y, Z: packs. M: a mark.

use super::{
    actors::{Flaws, begin, begin_prune, choose_parent, manifest, plain, put_layer, read_all},
    stage::{Slot, Stage, everything, needs},
    storage::Broken,
};
use rekeep::repo::{ChunkKind, ObjectName, faults::Rule, pruner::Pruner};
use std::{collections::HashSet, sync::Arc};

/// W lists `trash/`, P marks X, W deduplicates against X, P deletes, W commits.
fn a(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let old = stage.commit(&[1]);
    stage.forget(old);
    let (writer, _) = stage.writer(&[1], false);
    stage.until(writer, "list snapshots/");
    stage.prune();
    stage.finish(writer);
    stage.prune();
    stage.checked()
}

#[test]
fn a_writer_that_came_before_the_mark() {
    needs(a, &[&[Rule::DrainWaits, Rule::LastLook]]);
}

/// W commits between P's drain and its deletion.
fn a_second(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let old = stage.commit(&[1]);
    stage.forget(old);
    let (writer, _) = stage.writer(&[1], false);
    stage.past(writer, "list-on trash/");
    let pruner = stage.pruner();
    stage.past(pruner, "create trash/");
    stage.finish(writer);
    stage.finish(pruner);
    stage.checked()
}

#[test]
fn a_writer_that_commits_before_the_second_listing() {
    needs(a_second, &[&[Rule::SnapshotsAgain], &[Rule::LookAgain]]);
}

/// P sees W's pack before W's index. W commits and ends.
fn a2(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.commit(&[7]);
    let (writer, _) = stage.writer(&[1], false);
    stage.until(writer, "create index/");
    let pruner = stage.pruner();
    stage.place.scheduler.run_until(pruner, "list trash/");
    if stage.place.scheduler.run_until(pruner, "create trash/") {
        stage.place.scheduler.step(pruner);
    }
    stage.finish(writer);
    stage.finish(pruner);
    stage.prune();
    stage.checked()
}

#[test]
fn a2_a_writers_pack_without_an_index_is_no_orphan() {
    needs(a2, &[&[Rule::NoPackOfALiveLease, Rule::LookAgain]]);
    // Each alone is made up for by the other.
    for rule in [Rule::NoPackOfALiveLease, Rule::PacksBeforeLeases, Rule::LookAgain] {
        assert_eq!(a2(&Flaws { rules: vec![rule], ..Flaws::default() }, None), None);
    }
}

/// P lists packs, and W begins meanwhile: P sees X and, with leases listed before, no lease of W's. P wants whatever there is, X
/// too, which is known here beforehand: of one seed each run makes the same packs.
fn a3(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let first = begun_meanwhile(&HashSet::new(), flaws, broken);
    let seen = first.0;
    assert!(!seen.is_empty(), "the writer stores nothing");
    let (again, violation) = begun_meanwhile(&seen, flaws, broken);
    assert_eq!(seen, again, "another run of the seed makes other packs");
    violation
}

/// The packs that W stored before P looked, and what was lost when P wants these.
fn begun_meanwhile(
    wanted: &HashSet<ObjectName>,
    flaws: &Flaws,
    broken: Option<Broken>,
) -> (HashSet<ObjectName>, Option<String>) {
    let stage = Stage::new(flaws, broken);
    stage.commit(&[7]);
    let before = stage.sea().names("packs/");
    let wanted = wanted.clone();
    let pruner = stage.pruner_of(move |pruner| {
        pruner.mark(&wanted)?;
        pruner.delete_drained(&mut |_| true)?;
        pruner.tidy().map(drop)
    });
    // It has begun, and looks for what may be marked.
    stage.past(pruner, "list packs/");
    stage.place.scheduler.run_until(pruner, "list packs/");
    let (writer, _) = stage.writer(&[1], false);
    stage.until(writer, "create index/");
    let packs = stage.sea().names("packs/").into_iter().filter(|name| !before.contains(name));
    let packs = packs.map(|name| name.rsplit('/').next().unwrap().parse().unwrap()).collect();
    if stage.place.scheduler.run_until(pruner, "create trash/") {
        stage.place.scheduler.step(pruner);
    }
    stage.finish(writer);
    stage.finish(pruner);
    stage.prune();
    (packs, stage.checked())
}

#[test]
fn a3_a_writer_that_begins_while_packs_are_listed() {
    needs(a3, &[&[Rule::PacksBeforeLeases, Rule::LookAgain]]);
    for rule in [Rule::PacksBeforeLeases, Rule::LookAgain] {
        assert_eq!(a3(&Flaws { rules: vec![rule], ..Flaws::default() }, None), None);
    }
}

/// P1 and P2 carry out M = {X}. P1 finds X needed by T; W starts and relies on what it finds; T is forgotten; P2, asleep
/// since M drained, looks and deletes; W commits.
fn b(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let old = stage.commit(&[1]);
    stage.forget(old);
    // T relies on X while the mark is made.
    let (first, slot) = stage.writer(&[1], false);
    stage.past(first, "list-on trash/");
    let asleep = stage.pruner();
    stage.past(asleep, "create trash/");
    stage.finish(first);
    let needed = slot.lock().unwrap().take().expect("it committed");
    // It has seen that everybody is over, and sleeps before it lists what is needed.
    stage.past(asleep, "list-on leases/");
    stage.until(asleep, "list trash/");
    let copying = stage.pruner_of(|pruner| pruner.delete_drained(&mut |_| true).map(drop));
    stage.finish(copying);
    let (late, _) = stage.writer(&[1], false);
    stage.until(late, "create snapshots/");
    stage.forget(needed);
    stage.finish(asleep);
    stage.finish(late);
    stage.prune();
    stage.checked()
}

#[test]
fn b_a_marked_name_never_comes_back() {
    needs(b, &[&[Rule::CopyOut]]);
}

/// P1 decides on a new index that names Z; P2 deletes Z and its mark; P1's index appears; W believes Z.
fn c(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    // Both packs in one index object.
    let old = stage.commit(&[1, 2]);
    let keep = stage.commit(&[2]);
    stage.forget(old);
    let first = stage.pruner();
    stage.until(first, "create index/");
    stage.forget(keep);
    stage.prune();
    stage.finish(first);
    let index = stage.sea().names("index/");
    let (writer, _) = stage.writer(&[2, 1], false);
    stage.finish(writer);
    let _ = index;
    stage.checked()
}

#[test]
fn c_an_index_object_that_names_what_is_gone() {
    needs(c, &[&[Rule::PackMustBeListed, Rule::LastLook]]);
}

/// A chunk lies in X and Y. M1 = {X} and M2 = {Y} each count the other copy.
fn d(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.commit(&[1]);
    let x = stage.home(1);
    let copying = stage.pruner_of(move |pruner| pruner.repack(&HashSet::from([x]), &mut |_| true).map(drop));
    stage.finish(copying);
    // Both have listed before either mark is durable.
    let mark = move |wants_x: bool| {
        move |pruner: &Pruner| {
            let mut all = everything(pruner)?;
            all.retain(|name| (*name == x) == wants_x);
            pruner.mark(&all)?;
            pruner.delete_drained(&mut |_| true)?;
            Ok(())
        }
    };
    let (one, two) = (stage.pruner_of(mark(true)), stage.pruner_of(mark(false)));
    stage.until(one, "create trash/");
    stage.until(two, "create trash/");
    stage.finish(one);
    stage.finish(two);
    stage.prune();
    stage.checked()
}

#[test]
fn d_p_q_two_marks_that_count_each_others_copy() {
    needs(d, &[&[Rule::MarkedIsNoHome]]);
}

/// M = {X} is durable while T, relying on X, commits. W honours M and takes T as parent. T is forgotten, M drains.
fn e(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let old = stage.commit(&[1]);
    stage.forget(old);
    let (first, slot) = stage.writer(&[1], false);
    stage.past(first, "list-on trash/");
    let pruner = stage.pruner();
    stage.past(pruner, "create trash/");
    stage.finish(first);
    let (child, _) = stage.writer(&[2], true);
    stage.until(child, "create packs/");
    let parent = slot.lock().unwrap().take().expect("it committed");
    stage.forget(parent);
    stage.finish(pruner);
    stage.finish(child);
    stage.prune();
    stage.checked()
}

#[test]
fn e_a_parent_with_an_absent_chunk_is_no_parent() {
    needs(e, &[&[Rule::HonouredIsAbsent, Rule::LastLook]]);
    assert!(e(&Flaws { trusts_parent: true, ..Flaws::default() }, None).is_some());
}

/// T is the parent of running W; T is forgotten and pruned.
fn f(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let parent = stage.commit(&[1]);
    let (child, _) = stage.writer(&[2], true);
    stage.until(child, "create packs/");
    stage.forget(parent);
    stage.prune();
    stage.finish(child);
    stage.prune();
    stage.checked()
}

#[test]
fn f_a_parent_that_is_forgotten_while_its_child_runs() {
    needs(f, &[&[Rule::DrainWaits, Rule::LastLook]]);
}

/// As f; W sends a heartbeat while the mark is there. It may honour it only if it does not rely on what it names.
fn f_beaten(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let parent = stage.commit(&[1]);
    let child = stage.start(|actor| {
        let repo = actor.open()?;
        let session = begin(&repo, 1)?;
        let parent = choose_parent(actor, &repo, &session)?.expect("there is one");
        let mut stack = parent.collections[0].stack.clone();
        stack.push(put_layer(&session, &[2], &mut || Ok(()))?);
        session.beat_now()?;
        let id = session.id();
        session.commit(&manifest(id, actor.now(), stack, None))
    });
    stage.until(child, "create packs/");
    stage.forget(parent);
    stage.prune();
    stage.until(child, "len snapshots/");
    stage.prune();
    stage.finish(child);
    stage.checked()
}

#[test]
fn f_r_a_mark_that_is_relied_on_is_not_honoured() {
    needs(f_beaten, &[&[Rule::HonourOnlyUnused, Rule::LastLook]]);
}

/// Tag reads T/0; forget deletes it; P prunes; tag creates T/1.
fn i(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let id = stage.commit(&[1]);
    let tagging = stage.start(move |actor| {
        let repo = actor.open()?;
        repo.revise(&id, &|manifest| manifest.tags.push("t".to_owned())).map(drop)
    });
    stage.until(tagging, "create snapshots/");
    stage.forget(id);
    stage.prune();
    stage.prune();
    stage.finish(tagging);
    stage.checked()
}

#[test]
fn i_a_tag_does_not_bring_a_forgotten_snapshot_back() {
    needs(i, &[&[Rule::TombstonesStay]]);
}

/// A fenced W wakes, uploads packs and an index; a new W deduplicates against them. Its commit fails.
fn k_l(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.commit(&[7]);
    let (asleep, slot) = stage.writer(&[1, 2], false);
    stage.until(asleep, "create index/");
    for _ in 0..3 {
        stage.prune();
        stage.pass(31);
    }
    stage.prune();
    let left = stage.sea().names("packs/").len();
    stage.finish(asleep);
    if slot.lock().unwrap().is_some() {
        stage.sea().report("a fenced writer has committed".to_owned());
    }
    let (next, _) = stage.writer(&[1, 2], false);
    stage.finish(next);
    assert!(left < 4 || !flaws.rules.is_empty() || broken.is_some(), "the packs of the fenced writer were to go");
    stage.checked()
}

#[test]
fn k_l_a_fenced_writer_wakes() {
    needs(k_l, &[&[Rule::PackMustBeListed, Rule::LastLook], &[Rule::VoidsStay]]);
    assert!(k_l(&Flaws::default(), Some(Broken::ConditionalCreate)).is_some());
}

/// A late put makes an ended writer's index object again; its pack is gone.
fn m(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let old = stage.commit(&[1]);
    let index: Vec<(String, Vec<u8>)> =
        stage.sea().names("index/").into_iter().map(|name| (name.clone(), stage.sea().bytes(&name))).collect();
    stage.forget(old);
    stage.prune();
    for (name, bytes) in index {
        stage.sea().land(&name, &bytes);
    }
    let (writer, _) = stage.writer(&[1], false);
    stage.finish(writer);
    stage.checked()
}

#[test]
fn m_a_late_put_of_an_index_object() {
    needs(m, &[&[Rule::PackMustBeListed, Rule::LastLook]]);
}

/// A reader with a lease, while its snapshot is forgotten, repacked and pruned by two.
fn n(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let id = stage.commit(&[1, 2]);
    let sea = stage.sea().clone();
    let reader = stage.start(move |actor| {
        let repo = actor.open()?;
        let _lease = repo.begin_read("restore")?;
        let snapshot = repo.snapshots()?.remove(0);
        if let Err(error) = read_all(&repo, &snapshot) {
            sea.report(format!("the reader: {error}"));
        }
        Ok(())
    });
    stage.until(reader, "read packs/");
    stage.forget(id);
    let (one, two) = (stage.pruner(), stage.pruner());
    stage.past(one, "create trash/");
    stage.finish(two);
    stage.finish(one);
    stage.finish(reader);
    stage.prune();
    stage.checked()
}

#[test]
fn n_a_reader_with_a_lease_is_waited_for() {
    needs(n, &[&[Rule::DrainWaitsForReaders]]);
}

/// A reader without a lease, while two prunes repack one after the other.
fn o(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.commit(&[1]);
    let sea = stage.sea().clone();
    let reader = stage.start(move |actor| {
        let repo = actor.open()?;
        let id = plain(1).id(&repo.secrets().chunk_id, ChunkKind::Values);
        if let Err(error) = repo.chunks().read(ChunkKind::Values, &id) {
            sea.report(format!("the reader: {error}"));
        }
        Ok(())
    });
    let repack = || {
        stage.pruner_of(|pruner| {
            let all = everything(pruner)?;
            pruner.repack(&all, &mut |_| true)?;
            pruner.mark(&all)?;
            pruner.delete_drained(&mut |_| true)?;
            pruner.tidy().map(drop)
        })
    };
    stage.until(reader, "read packs/");
    let first = repack();
    stage.finish(first);
    stage.past(reader, "read index/");
    stage.until(reader, "read packs/");
    let second = repack();
    stage.finish(second);
    stage.finish(reader);
    stage.checked()
}

#[test]
fn o_a_reader_without_a_lease_reloads_until_nothing_changes() {
    needs(o, &[&[Rule::ReloadUntilStill]]);
}

/// Two readers of one host share a catalog. What one misses the other imports while the first one lists the index.
#[test]
fn a_reader_finds_what_another_of_its_host_has_imported_meanwhile() {
    let stage = Stage::new(&Flaws::default(), None);
    let sea = stage.sea().clone();
    let reader = stage.place.start(77, 1, move |actor, _| {
        let repo = actor.open()?;
        let id = plain(1).id(&repo.secrets().chunk_id, ChunkKind::Values);
        if let Err(error) = repo.chunks().read(ChunkKind::Values, &id) {
            sea.report(format!("the reader: {error}"));
        }
        Ok(())
    });
    // It has looked in vain.
    stage.until(reader, "list index/");
    stage.commit(&[1]);
    let other = stage.place.start(77, 2, |actor, _| actor.open()?.refresh().map(drop));
    stage.finish(other);
    stage.finish(reader);
    assert_eq!(stage.checked(), None);
}

/// One page of the index listing is read before the new index object appears, the next after the old one is gone.
fn t(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    // Which page an object is on depends on its name.
    (0..24).find_map(|n| torn_at(n % 3, n, flaws, broken))
}

fn torn_at(look: u64, seed: u64, flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::seeded(seed, flaws, broken);
    let old = stage.commit(&[1, 2]);
    stage.commit(&[2]);
    stage.forget(old);
    let first = stage.pruner();
    stage.until(first, "create index/");
    let torn = stage.pruner();
    for _ in 0..look {
        stage.until(torn, "list-on index/");
        stage.place.scheduler.step(torn);
    }
    stage.until(torn, "list-on index/");
    stage.past(first, "delete packs/");
    stage.finish(torn);
    stage.finish(first);
    stage.prune();
    stage.checked()
}

#[test]
fn t_a_torn_listing_of_the_index_stops_a_prune_or_is_read_again() {
    needs(t, &[&[Rule::MissingStops, Rule::LookAgain]]);
}

/// A mark relied on by a running writer is taken over by a second pruner.
fn u(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let parent = stage.commit(&[1]);
    let (child, _) = stage.writer(&[2], true);
    stage.until(child, "create packs/");
    stage.forget(parent);
    let first = stage.pruner();
    stage.past(first, "create trash/");
    stage.place.scheduler.kill(first);
    stage.finish(first);
    stage.prune();
    stage.pass(10);
    stage.prune();
    stage.finish(child);
    stage.checked()
}

#[test]
fn u_u2_who_takes_a_mark_over_waits_for_the_same_leases() {
    needs(u, &[&[Rule::DrainWaits, Rule::LastLook]]);
}

/// A crash between the index and the commit leaves nothing that looks committed.
fn order(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let (writer, _) = stage.writer(&[1], false);
    stage.past(writer, "create snapshots/");
    stage.place.scheduler.kill(writer);
    stage.checked()
}

#[test]
fn packs_then_index_then_snapshot() {
    needs(order, &[&[Rule::IndexBeforeCommit]]);
}

/// What was acknowledged outlives the power.
fn power(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.commit(&[1]);
    stage.sea().power_cut();
    stage.checked()
}

#[test]
fn what_was_acknowledged_outlives_the_power() {
    needs(power, &[]);
    assert!(power(&Flaws::default(), Some(Broken::Fsync)).is_some());
}

/// P deletes old index objects, then its process ends.
fn reindex(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let old = stage.commit(&[1, 2]);
    stage.commit(&[2]);
    stage.forget(old);
    let pruner = stage.pruner();
    stage.past(pruner, "delete index/");
    stage.place.scheduler.kill(pruner);
    stage.checked()
}

#[test]
fn new_index_objects_come_before_old_ones_go() {
    needs(reindex, &[&[Rule::NewIndexFirst]]);
}

/// W dies, or sleeps, in the middle. P has a catalog of its own that has seen nothing before, and goes by the storage's clock.
/// W wakes and commits.
fn z(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.sea().dates_objects();
    stage.commit(&[7]);
    let (writer, _) = stage.writer(&[1], false);
    stage.until(writer, "create snapshots/");
    stage.pass(59);
    stage.prune();
    assert_eq!(stage.sea().names("trash/"), [] as [String; 0], "it is not old enough");
    let before = stage.sea().names("packs/").len();
    stage.pass(2);
    stage.prune();
    assert!(stage.sea().names("packs/").len() < before, "the space comes back");
    stage.finish(writer);
    stage.checked()
}

#[test]
fn z_a_lease_is_old_by_the_storages_own_clock() {
    needs(z, &[&[Rule::DeadIsFenced, Rule::LastLook]]);
}

/// Whoever pruned was killed between its mark and its deletion, and the mark was damaged since. W relies on nothing that it
/// may name; the sleeper wakes and deletes.
fn aa(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let old = stage.commit(&[1]);
    stage.forget(old);
    let asleep = stage.pruner();
    stage.past(asleep, "create trash/");
    // It has decided what to delete.
    stage.until(asleep, "delete index/");
    let marks = stage.sea().names("trash/");
    stage.sea().garble(&marks[0]);
    let (writer, _) = stage.writer(&[1], false);
    stage.until(writer, "create snapshots/");
    stage.finish(asleep);
    stage.finish(writer);
    stage.checked()
}

#[test]
fn aa_a_mark_that_cannot_be_read_may_name_whatever_is_there() {
    needs(aa, &[&[Rule::UnreadableMarkHidesAll]]);
}

/// One catalog file, three processes. B has read one page of `index/`; P0 rewrites the index; P1 brings that into the catalog and
/// begins to copy out what is needed; B's listing lacks it. Gives what P1 deleted, if nothing was lost.
fn three_processes(seed: u64, flaws: &Flaws) -> Result<u64, String> {
    const HOST: u64 = 99;
    let stage = Stage::seeded(seed, flaws, None);
    let old = stage.commit(&[1, 3, 2]);
    stage.forget(old);
    let [first, second, dead] = [1, 3, 2].map(|n| stage.home(n));
    let marks = |packs: Vec<_>| move |pruner: &Pruner| pruner.mark(&packs.into_iter().collect()).map(drop);
    let marking = stage.pruner_of(marks(vec![dead]));
    stage.finish(marking);
    // It honours the first mark, and relies on what the second names.
    let (writer, _) = stage.writer(&[1, 3], false);
    stage.until(writer, "create snapshots/");
    let marking = stage.pruner_of(marks(vec![first, second]));
    stage.finish(marking);
    let rewriting = stage.pruner_of(|pruner| pruner.delete_drained(&mut |_| true).map(drop));
    stage.until(rewriting, "create index/");
    let listing = stage.place.start(HOST, seed, |actor, _| actor.open()?.refresh().map(drop));
    stage.until(listing, "list-on index/");
    stage.finish(rewriting);
    stage.finish(writer);
    let slot: Slot<u64> = Arc::default();
    let deleted = Arc::clone(&slot);
    let pruning = stage.place.start(HOST, seed, move |actor, _| {
        let pruner = begin_prune(&actor.open()?)?;
        let done = pruner.delete_drained(&mut |_| true)?;
        *deleted.lock().unwrap() = Some(done.packs);
        pruner.end()
    });
    stage.until(pruning, &format!("read {}", rekeep::repo::pack::path(&first)));
    stage.finish(listing);
    stage.finish(pruning);
    let deleted = slot.lock().unwrap().take().unwrap_or(0);
    stage.checked().map_or(Ok(deleted), Err)
}

#[test]
fn ab_what_a_listing_lacks_another_process_may_have_brought_in() {
    let seeds = 0..12;
    // Which page an object is on depends on its name.
    for seed in seeds.clone() {
        assert_eq!(three_processes(seed, &Flaws::default()), Ok(2), "{seed}");
    }
    let without = Flaws { rules: vec![Rule::AskBeforeDropping], ..Flaws::default() };
    let ends: Vec<_> = seeds.map(|seed| three_processes(seed, &without)).collect();
    assert!(ends.iter().any(|end| *end != Ok(2)), "nothing was dropped: {ends:?}");
    // The pruner notices and keeps what it does not know.
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
}
