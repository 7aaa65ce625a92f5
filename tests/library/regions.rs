//! A repository that may be kept in some regions alone: nothing is written elsewhere, whoever tries.

use crate::support::{
    Db, Heard, Image, MemorySource, World,
    db::{assert_same, sample},
    world::{back_up, backup_with, fast_kdf, plain, restored, snapshot, unlock},
};
use rekeep::{
    ops::{
        OpsError,
        replicate::{ReplicateOptions, replicate},
        transfer::{TransferOptions, transfer},
        verify::{VerifyOptions, verify},
    },
    repo::{InitOptions, RepoError, Repository, Storage, Traits},
    report::ErrorKind,
};
use std::sync::Arc;

const ALLOWED: [&str; 2] = ["eu-west-1", "eu-central-1"];

fn init(world: &World, regions: &[&str]) -> Result<Repository, RepoError> {
    let init = InitOptions { kdf: fast_kdf(), label: "test".to_owned() };
    let regions: Vec<String> = regions.iter().map(|name| (*name).to_owned()).collect();
    let traits = Traits { regions: &regions, ..Traits::default() };
    Repository::init_as(&traits, &world.storage(), &unlock(), None, &init, &world.options()).map(|made| made.0)
}

fn at(region: Option<&'static str>) -> World {
    let world = World::over(Image::new());
    world.backend.set_region(region);
    world
}

/// A repository in an allowed region with one snapshot.
fn kept() -> (World, Db) {
    let world = at(Some("eu-central-1"));
    let state = sample(3, 20, 100);
    let repo = init(&world, &ALLOWED).unwrap();
    assert_eq!(repo.regions(), ["eu-central-1", "eu-west-1"]);
    back_up(&repo, &MemorySource::of(state.clone(), &world.clock));
    (world, state)
}

#[track_caller]
fn is_refused<T>(done: Result<T, OpsError>, words: &str) {
    let Err(error) = done else { panic!("it was done") };
    assert_eq!(error.kind(), ErrorKind::Region, "{error}");
    assert!(error.to_string().contains(words) && error.to_string().contains("eu-central-1, eu-west-1"), "{error}");
}

#[test]
fn nothing_is_made_in_another_region_or_where_nobody_says_which_it_is() {
    for region in [Some("us-east-1"), Some("eu-central-2"), Some("local"), None] {
        let world = at(region);
        let error = init(&world, &ALLOWED).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Region, "{region:?}: {error}");
        assert!(error.to_string().contains(region.unwrap_or("nobody tells")), "{error}");
        assert_eq!(world.backend.image(), Image::new(), "{region:?}");
    }
    let world = at(Some("EU"));
    assert_eq!(init(&world, &["EU"]).err().unwrap().kind(), ErrorKind::InvalidInput);
    assert_eq!(world.backend.image(), Image::new());
    // Without a word about it nobody asks.
    let world = at(None);
    assert_eq!(init(&world, &[]).unwrap().regions(), Vec::<String>::new());
}

#[test]
fn a_repository_that_was_moved_out_of_its_regions_is_read_and_not_written() {
    let (home, state) = kept();
    for region in [Some("us-east-1"), None] {
        let away = World::over(home.backend.image());
        away.backend.set_region(region);
        let before = away.backend.image();
        let repo = away.open();
        let snapshots = repo.snapshots().unwrap();
        assert_same(&restored(&repo, &snapshot(&repo, snapshots[0].id)), &state, "read elsewhere");
        let quick = VerifyOptions { parallel: 1, ..VerifyOptions::default() };
        assert_eq!(verify(&repo, &snapshots, &quick, &Heard::default()).unwrap().findings, []);
        let word = region.unwrap_or("nobody tells");
        is_refused(backup_with(&repo, &MemorySource::of(state.clone(), &away.clock), &plain()), word);
        is_refused(repo.forget(&snapshots[0].id).map_err(OpsError::from), word);
        is_refused(repo.key_add(&unlock(), "other").map_err(OpsError::from), word);
        assert!(away.backend.image() == before, "{region:?}: something was written");
    }
    // Back home all is as it was.
    back_up(&home.open(), &MemorySource::of(state, &home.clock));
}

#[test]
fn replicas_and_copies_stay_in_the_regions_too() {
    let (home, state) = kept();
    let into = |world: &World| {
        let place = Storage::over(Arc::clone(&world.backend) as Arc<_>, "test:elsewhere");
        let options = ReplicateOptions { workers: 1, ..ReplicateOptions::default() };
        replicate(&home.storage(), &place, &options, home.clock.as_ref(), &Heard::default())
    };
    for region in [Some("us-east-1"), None] {
        let away = at(region);
        is_refused(into(&away), region.unwrap_or("nobody tells"));
        assert_eq!(away.backend.image(), Image::new());
    }
    let near = at(Some("eu-west-1"));
    into(&near).unwrap();
    assert_eq!(near.open().snapshots().unwrap().len(), 1);
    // The other repository allows every place, and this one does not.
    let copy = |region: Option<&'static str>| {
        let there = at(region);
        let to = init(&there, &[]).unwrap();
        let before = there.backend.image();
        let from = home.open();
        let options = TransferOptions {
            parallel: 1,
            dry_run: false,
            compression: 1,
            seal_anew: false,
            write_limit: None,
            timing: rekeep::repo::session::SessionTiming::default(),
        };
        let done = transfer(&from, &from.snapshots().unwrap(), &to, &options, &Heard::default());
        (done, there.backend.image() == before, to)
    };
    let (done, untouched, _) = copy(Some("us-east-1"));
    is_refused(done, "us-east-1");
    assert!(untouched);
    let (done, _, to) = copy(Some("eu-west-1"));
    assert_eq!(done.unwrap().copied.len(), 1);
    assert_same(&restored(&to, &to.snapshots().unwrap()[0]), &state, "the copy");
}
