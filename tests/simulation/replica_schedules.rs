//! Schedules of who replicates beside pruners and squashes, first with all rules, then without.
//!
//! T: a snapshot. R: who replicates. P: a pruner. X, Y: packs; D: an index object.

use super::{
    actors::{Flaws, replicate_once},
    squashing::{pairs_of, squash_pair},
    stage::{Stage, everything, needs, prune_all},
    storage::Broken,
};
use rekeep::repo::{Manifest, RepoError, SnapshotId, faults::Rule, pruner::Pruner};

/// More than enough for each of two index objects to lie on each of two pages.
const SEEDS: u64 = 24;

impl Stage {
    /// Somebody who replicates and follows deletions at once.
    fn follower(&self) -> usize {
        self.start(|actor| replicate_once(&actor.storage(), &actor.island(), true, actor.now()).map(drop))
    }

    /// Somebody who replicates, and has looked at the replica, but not at the source.
    fn replicator(&self) -> usize {
        let replicator = self.start(|actor| {
            let (source, target) = (actor.storage(), actor.island());
            replicate_once(&source, &target, false, actor.now()).map(drop)
        });
        self.past(replicator, "list leases/");
        replicator
    }

    /// What the replica shows can be read, and is this.
    fn shows(self, expected: &[SnapshotId]) -> Option<String> {
        let island = self.place.island.clone();
        island.check_all();
        if let Some(violation) = self.sea().violation() {
            return Some(violation);
        }
        let repo = super::actors::open_directly(&island, &self.place.caches, "last of the replica");
        let shown: Vec<SnapshotId> = repo.snapshots().unwrap().iter().map(|snapshot| snapshot.id).collect();
        if shown == expected { self.checked() } else { Some(format!("the replica shows {shown:?}, not {expected:?}")) }
    }
}

/// P copies what it may out of X and deletes it.
fn repack(pruner: &Pruner) -> Result<(), RepoError> {
    let all = everything(pruner)?;
    pruner.repack(&all, &mut |_| true)?;
    pruner.mark(&all)?;
    pruner.delete_drained(&mut |_| true)?;
    Ok(())
}

/// z1: R has copied X, and lists `index/` again: between two pages P makes D of Y and deletes D of X, so R may see neither.
fn torn(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    (0..SEEDS).find_map(|seed| {
        let stage = Stage::seeded(seed, flaws, broken);
        let kept = stage.commit(&[1]);
        let replicator = stage.replicator();
        for listing in ["list-on index/", "list snapshots/", "list-on snapshots/"] {
            stage.past(replicator, listing);
        }
        stage.until(replicator, "list-on index/");
        let pruner = stage.pruner_of(repack);
        stage.finish(pruner);
        stage.finish(replicator);
        stage.shows(&[kept])
    })
}

#[test]
fn an_index_that_is_rewritten_between_two_pages() {
    needs(torn, &[&[Rule::ReplicaLooksAgain, Rule::ReplicaWaitsUntilStill]]);
}

/// z4: R has listed `index/` once; T is committed; between two pages of R's second listing P makes D' of Y and deletes T's D of X.
/// R may have seen neither, in either listing.
fn between_listings(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    (0..SEEDS).find_map(|seed| {
        let stage = Stage::seeded(seed, flaws, broken);
        let replicator = stage.replicator();
        stage.past(replicator, "list-on index/");
        let kept = stage.commit(&[1]);
        stage.until(replicator, "list-on index/");
        let pruner = stage.pruner_of(repack);
        stage.finish(pruner);
        stage.finish(replicator);
        stage.shows(&[kept])
    })
}

#[test]
fn an_index_object_that_comes_and_goes_between_two_listings() {
    needs(between_listings, &[&[Rule::ReplicaWaitsUntilStill]]);
}

/// z2: R has seen T; it is forgotten, and P deletes X before R has read it.
fn forgotten(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let gone = stage.commit(&[1]);
    let kept = stage.commit(&[2]);
    let replicator = stage.replicator();
    stage.past(replicator, "list-on snapshots/");
    stage.forget(gone);
    let pruner = stage.pruner_of(|pruner| {
        let all = everything(pruner)?;
        pruner.mark(&all)?;
        pruner.delete_drained(&mut |_| true).map(drop)
    });
    stage.finish(pruner);
    stage.finish(replicator);
    stage.shows(&[kept])
}

#[test]
fn a_snapshot_that_is_forgotten_and_pruned_after_it_was_seen() {
    needs(forgotten, &[&[Rule::ReplicaLooksAgain]]);
}

/// z3: T's layers were squashed and the old ones pruned: its revision 0 must not show, not even for a moment; nor, if it was tagged
/// before, its revision 1.
fn squashed(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    overtaken(flaws, broken, false).or_else(|| overtaken(flaws, broken, true))
}

fn overtaken(flaws: &Flaws, broken: Option<Broken>, is_tagged: bool) -> Option<String> {
    (0..SEEDS).find_map(|seed| {
        let stage = Stage::seeded(seed, flaws, broken);
        stage.commit(&[1]);
        let (writer, slot) = stage.writer(&[2], true);
        stage.finish(writer);
        let kept = slot.lock().unwrap().unwrap();
        if is_tagged {
            let tag = move |manifest: &mut Manifest| manifest.tags.push("t".to_owned());
            let tagging = stage.start(move |actor| actor.open()?.revise(&kept, &tag).map(drop));
            stage.finish(tagging);
        }
        let squash = stage.start(|actor| {
            let repo = actor.open()?;
            let planned = repo.snapshots()?;
            let pair = planned.iter().flat_map(pairs_of).next();
            let pair = pair.ok_or_else(|| RepoError::Internal("there is no stack to squash".to_owned()))?;
            squash_pair(&repo, &planned, pair, 1).map(drop)
        });
        stage.finish(squash);
        let first = stage.newest(kept);
        assert!(first.revision > u64::from(is_tagged), "nothing was squashed");
        stage.prune();
        let all: Vec<SnapshotId> = stage.snapshots();
        let replicator = stage.replicator();
        stage.finish(replicator);
        stage.shows(&all)
    })
}

#[test]
fn a_revision_that_a_squash_has_overtaken() {
    needs(squashed, &[&[Rule::ReplicaHigherFirst]]);
}

/// z5: T is at the replica, and whoever reads there has seen it; it is forgotten, pruned and gathered. The replica holds T's
/// revision 0 still when the collective tombstone comes, and loses what T needs.
fn gathered(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let gone = stage.commit(&[1]);
    let kept = stage.commit(&[2]);
    let replicator = stage.follower();
    stage.finish(replicator);
    stage.forget(gone);
    let pruner = stage.pruner_of(|pruner| {
        prune_all(pruner)?;
        pruner.tidy()?;
        pruner.gather_from(0).map(drop)
    });
    stage.finish(pruner);
    assert_eq!(stage.sea().names("forgotten/").len(), 1, "nothing was gathered");
    let replicator = stage.follower();
    stage.finish(replicator);
    stage.shows(&[kept])
}

#[test]
fn a_snapshot_that_is_gathered_after_it_was_replicated() {
    needs(gathered, &[]);
}
