//! Schedules about packs that are made again from parity, as in [`schedules`](super::schedules).

use super::{
    actors::Flaws,
    stage::{Stage, needs},
    storage::Broken,
};
use rekeep::repo::{
    faults::Rule,
    pack,
    repair::{Looked, heal_keyless},
};

/// P decides to delete X and sleeps; another carries out its mark. What describes X, and a group that can make it again by itself,
/// come late. R makes X again, W deduplicates against it and commits, P wakes.
fn ac(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.settle_parity(100);
    let old = stage.commit(&[1]);
    let x = pack::path(&stage.home(1));
    let sea = stage.sea().clone();
    let kept = |folder: &str| -> Vec<(String, Vec<u8>)> {
        sea.names(folder).into_iter().map(|name| (name.clone(), sea.bytes(&name))).collect()
    };
    let late = [kept("index/"), kept("parity/")].concat();
    stage.forget(old);
    let sleeper = stage.pruner();
    stage.until(sleeper, "delete packs/");
    stage.prune();
    assert!(!sea.has(&x) && sea.names("trash/").is_empty(), "{:#?}", sea.log());
    for (name, bytes) in &late {
        sea.land(name, bytes);
    }
    let mending = stage.start(|actor| heal_keyless(&actor.storage(), &Looked::All, false, &mut |_| true).map(drop));
    stage.finish(mending);
    assert_eq!(sea.has(&x), flaws.rules.contains(&Rule::NothingIsMadeAgainBesidePruners));
    let (writer, committed) = stage.writer(&[1], false);
    stage.finish(writer);
    assert!(committed.lock().unwrap().is_some());
    stage.finish(sleeper);
    stage.checked()
}

#[test]
fn ac_a_pack_that_was_deleted_is_not_made_again_while_whoever_deletes_it_sleeps() {
    needs(ac, &[&[Rule::NothingIsMadeAgainBesidePruners]]);
}

/// A pack is lost while a writer is at work that came before, and is made again before it commits; a prune follows.
fn ad(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.settle_parity(10);
    stage.commit(&[1, 2]);
    let x = pack::path(&stage.home(1));
    let (writer, _) = stage.writer(&[1, 3], false);
    stage.until(writer, "list snapshots/");
    stage.sea().lose(&x);
    let mending = stage.start(|actor| heal_keyless(&actor.storage(), &Looked::All, false, &mut |_| true).map(drop));
    stage.finish(mending);
    assert!(stage.sea().has(&x), "{:#?}", stage.sea().log());
    stage.finish(writer);
    stage.prune();
    stage.checked()
}

#[test]
fn ad_a_pack_that_is_made_again_is_as_if_it_had_been_there_all_along() {
    assert_eq!(ad(&Flaws::default(), None), None);
}
