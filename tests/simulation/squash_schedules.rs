//! The schedules in which layers are squashed while others read, write, revise and prune.
//!
//! T: a committed snapshot with two layers. W: a writer. P: a pruner. S: a squash. X, Y, Z: packs. M: a mark.

use super::{
    actors::{
        Flaws, begin, begin_prune, choose_parent, manifest, plain, put_layer, read_all, read_without_lease,
        stack_to_keep,
    },
    squashing::{pairs_of, squash_pair},
    stage::{Slot, Stage, everything, needs, prune_all},
    storage::Broken,
};
use rekeep::repo::{ChunkKind, RepoError, SnapshotId, faults::Rule};
use std::{collections::HashSet, sync::Arc};

/// A snapshot with two layers, and no other beside it.
fn two_layers(stage: &Stage) -> SnapshotId {
    let first = stage.commit(&[1]);
    let (writer, slot) = stage.writer(&[2], true);
    stage.finish(writer);
    stage.forget(first);
    let id = slot.lock().unwrap().take();
    id.expect("nothing is in its way")
}

/// S: makes one layer of a snapshot's two. The slot gets its lease once it has committed.
fn squasher(stage: &Stage, id: SnapshotId) -> (usize, Slot<SnapshotId>) {
    let slot: Slot<SnapshotId> = Arc::default();
    let committed = Arc::clone(&slot);
    let actor = stage.start(move |actor| {
        let repo = actor.open()?;
        let planned = repo.snapshots()?;
        let pairs: Vec<_> = planned.iter().filter(|it| it.id == id).flat_map(pairs_of).collect();
        *committed.lock().unwrap() = squash_pair(&repo, &planned, pairs[0], 1)?;
        Ok(())
    });
    (actor, slot)
}

/// Two squashes of T. The first has uploaded Y and was killed; the second relies on Y, which a mark names that it need not
/// honour. Gives the second, about to write.
fn second_squash(stage: &Stage, id: SnapshotId) -> usize {
    let (first, _) = squasher(stage, id);
    stage.until(first, "create snapshots/");
    stage.place.scheduler.kill(first);
    // One host has seen the first squash's lease before, and the second's never.
    let prune = || {
        let pruner = stage.place.start(500, 500, |actor, _| {
            let pruner = begin_prune(&actor.open()?)?;
            prune_all(&pruner)?;
            pruner.end()
        });
        stage.finish(pruner);
    };
    prune();
    stage.pass(31);
    let (second, _) = squasher(stage, id);
    stage.past(second, "list-on trash/");
    prune();
    assert_eq!(stage.sea().names("trash/").len(), 1, "Y is marked");
    second
}

/// W honours M = {Y}, not needing Y. A squash that relies on Y commits; W adopts that stack; T is forgotten; Y goes; W commits.
fn g(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let id = two_layers(&stage);
    let squash = second_squash(&stage, id);
    let (writer, _) = stage.writer(&[3], true);
    stage.until(writer, "create packs/");
    stage.finish(squash);
    stage.until(writer, "create snapshots/");
    stage.forget(id);
    stage.prune();
    stage.finish(writer);
    stage.checked()
}

/// As g, but Y is gone and what was needed of it lies in Z when W adopts; Z is marked later, and W honours that mark too.
fn g2(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let id = two_layers(&stage);
    let squash = second_squash(&stage, id);
    let writer = stage.start(|actor| {
        let repo = actor.open()?;
        let session = begin(&repo, 1)?;
        let parent = choose_parent(actor, &repo, &session)?.expect("there is one");
        let layer = put_layer(&session, &[3], &mut || Ok(()))?;
        let mut stack = stack_to_keep(actor, &repo, &parent)?;
        stack.push(layer);
        session.beat_now()?;
        let id = session.id();
        session.commit(&manifest(id, actor.now(), stack, Some(parent.id)))
    });
    stage.until(writer, "create packs/");
    stage.finish(squash);
    stage.prune();
    // After it has adopted, and before its heartbeat.
    stage.past(writer, "create packs/");
    stage.past(writer, "create packs/");
    if flaws.adopts {
        // Looking for what is newest lists marks, too.
        stage.past(writer, "list trash/");
    }
    stage.until(writer, "list trash/");
    let z = stage.home_of(&stage.newest(id).collections[0].stack[0].id);
    stage.forget(id);
    // Nothing that W relies on is in this mark.
    let pruner = stage.pruner_of(move |pruner| {
        pruner.mark(&HashSet::from([z]))?;
        pruner.delete_drained(&mut |_| true).map(drop)
    });
    stage.finish(pruner);
    stage.until(writer, "create snapshots/");
    stage.prune();
    stage.finish(writer);
    stage.checked()
}

#[test]
fn g_g2_a_newer_stack_is_not_adopted_unseen() {
    for (name, schedule) in [("g", g as fn(&Flaws, Option<Broken>) -> Option<String>), ("g2", g2)] {
        needs(schedule, &[]);
        assert!(schedule(&Flaws { adopts: true, ..Flaws::default() }, None).is_some(), "{name}");
    }
}

/// T is the parent of running W; T is squashed, so nothing but W relies on its old layers.
fn s(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let id = two_layers(&stage);
    let (writer, _) = stage.writer(&[3], true);
    stage.until(writer, "create packs/");
    let (squash, slot) = squasher(&stage, id);
    stage.finish(squash);
    assert!(slot.lock().unwrap().is_some(), "nothing is in the squash's way");
    stage.prune();
    stage.prune();
    stage.finish(writer);
    stage.prune();
    stage.checked()
}

#[test]
fn s_a_writer_keeps_the_stack_it_relies_on() {
    needs(s, &[&[Rule::DrainWaits, Rule::LastLook]]);
}

/// S has uploaded its pack; P fences it, marks the pack and decides; then S creates T/1.
fn h(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let id = two_layers(&stage);
    let (squash, slot) = squasher(&stage, id);
    stage.until(squash, "create snapshots/");
    stage.prune();
    stage.pass(31);
    stage.prune();
    stage.finish(squash);
    if slot.lock().unwrap().is_some() {
        stage.sea().report("a fenced squash has committed".to_owned());
    }
    stage.prune();
    stage.checked()
}

#[test]
fn h_the_revisions_of_a_fenced_squash_never_count() {
    needs(h, &[&[Rule::SquashNeedsCommit], &[Rule::VoidsStay]]);
    assert!(h(&Flaws::default(), Some(Broken::ConditionalCreate)).is_some());
}

/// T/1 of S is pending. Tag has read it; P fences S and its pack goes; tag creates T/2.
fn j(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let id = two_layers(&stage);
    let (squash, _) = squasher(&stage, id);
    stage.past(squash, "create snapshots/");
    let tag = stage.start(move |actor| {
        let repo = actor.open()?;
        repo.revise(&id, &|manifest| manifest.tags.push("t".to_owned())).map(drop)
    });
    // With the rule it is told to come again.
    stage.place.scheduler.run_until(tag, "create snapshots/");
    stage.prune();
    stage.pass(31);
    stage.prune();
    stage.finish(tag);
    stage.finish(squash);
    stage.prune();
    stage.checked()
}

#[test]
fn j_nobody_writes_above_a_pending_revision() {
    needs(j, &[&[Rule::NothingAbovePending]]);
}

/// S ended without its commit having come through: whoever wants to write above it fences it at once.
#[test]
fn a_squash_that_was_killed_keeps_nobody_from_tagging_once_it_is_fenced() {
    let stage = Stage::new(&Flaws::default(), None);
    let id = two_layers(&stage);
    let (squash, _) = squasher(&stage, id);
    stage.past(squash, "create snapshots/");
    stage.place.scheduler.kill(squash);
    let tag = |expected: bool| {
        let done: Slot<bool> = Arc::default();
        let told = Arc::clone(&done);
        let actor = stage.start(move |actor| {
            let revised = actor.open()?.revise(&id, &|manifest| manifest.tags.push("t".to_owned()));
            *told.lock().unwrap() = Some(revised.is_ok());
            Ok(())
        });
        stage.finish(actor);
        assert_eq!(*done.lock().unwrap(), Some(expected));
    };
    tag(false);
    stage.prune();
    stage.pass(31);
    stage.prune();
    tag(true);
    assert_eq!(stage.checked(), None);
}

/// A reader with a lease, while two prunes repack one after the other: it need not look for anything again.
fn n2(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.commit(&[1]);
    let sea = stage.sea().clone();
    let reader = stage.start(move |actor| {
        let repo = actor.open()?;
        let _lease = repo.begin_read("restore")?;
        let id = plain(1).id(&repo.secrets().chunk_id, ChunkKind::Values);
        if let Err(error) = repo.chunks().read(ChunkKind::Values, &id) {
            sea.report(format!("the reader: {error}"));
        }
        Ok(())
    });
    let repack = || {
        let pruner = stage.pruner_of(|pruner| {
            let all = everything(pruner)?;
            pruner.repack(&all, &mut |_| true)?;
            pruner.mark(&all)?;
            pruner.delete_drained(&mut |_| true)?;
            pruner.tidy().map(drop)
        });
        stage.finish(pruner);
    };
    stage.until(reader, "read packs/");
    repack();
    // Where the first is waited for, the reader has no more to read.
    stage.place.scheduler.step(reader);
    if stage.place.scheduler.run_until(reader, "read packs/") {
        repack();
    }
    stage.finish(reader);
    stage.checked()
}

#[test]
fn n2_a_reader_with_a_lease_while_its_packs_are_repacked() {
    needs(n2, &[&[Rule::DrainWaitsForReaders, Rule::ReloadUntilStill]]);
}

/// A reader with a lease, while its snapshot is squashed and pruned by two.
fn n3(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let id = two_layers(&stage);
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
    let (squash, slot) = squasher(&stage, id);
    stage.finish(squash);
    assert!(slot.lock().unwrap().is_some(), "nothing is in the squash's way");
    let (one, two) = (stage.pruner(), stage.pruner());
    stage.past(one, "create trash/");
    stage.finish(two);
    stage.finish(one);
    stage.finish(reader);
    stage.prune();
    stage.checked()
}

#[test]
fn n3_a_reader_with_a_lease_while_its_snapshot_is_squashed() {
    needs(n3, &[&[Rule::DrainWaitsForReaders]]);
}

/// The same without a lease: what the reader misses is in the newest revision.
fn o2(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let id = two_layers(&stage);
    let read: Slot<bool> = Arc::default();
    let told = Arc::clone(&read);
    let reader = stage.start(move |actor| {
        let outcome: Result<(), RepoError> = read_without_lease(actor, &mut super::rng::Rng::new(1));
        *told.lock().unwrap() = Some(outcome.is_ok());
        Ok(())
    });
    stage.until(reader, "read packs/");
    let (squash, _) = squasher(&stage, id);
    stage.finish(squash);
    stage.prune();
    stage.finish(reader);
    assert_eq!(*read.lock().unwrap(), Some(true));
    stage.checked()
}

#[test]
fn o_a_reader_without_a_lease_goes_on_with_the_newest_revision() {
    needs(o2, &[]);
}
