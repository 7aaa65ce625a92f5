//! Several services with one routine and one repository: what is due is run by one of them.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use rekeep::{
    record::SystemClock,
    repo::{OpenOptions, Repository, Storage, Unlock, claims::Claimed, storage::StorageOptions},
};
use serde_json::Value as Json;
use std::{collections::BTreeMap, fs, sync::Arc};

/// The jobs that ended of a service, by when they were due.
fn ended(world: &World) -> BTreeMap<String, Vec<Json>> {
    let mut by_due: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    let listed = world.get("/api/v1/jobs");
    let jobs = listed.as_array().or_else(|| listed["jobs"].as_array()).unwrap().clone();
    for job in jobs {
        let state = job["state"].as_str().unwrap().to_owned();
        if let Some(due) = job["due"].as_str().filter(|_| !["queued", "running"].contains(&state.as_str())) {
            by_due.entry(due.to_owned()).or_default().push(job);
        }
    }
    by_due
}

#[test]
fn what_is_due_is_run_by_one_of_two_services() {
    let mut one = World::new();
    one.configure(&ROUTINE.replace("'0 0 0 1 1 ? 2090'", "'* * * * * ?'"), "");
    let mut two = World::new();
    fs::copy(one.path("config.yml"), two.path("config.yml")).unwrap();
    one.start();
    two.start();
    let (mut done, mut left_out) = (0, 0);
    until(|| {
        let (first, second) = (ended(&one), ended(&two));
        done = 0;
        left_out = 0;
        for (due, jobs) in &first {
            let others = second.get(due).map_or(&[][..], Vec::as_slice);
            let all: Vec<&Json> = jobs.iter().chain(others).filter(|job| job["type"] != "incremental").collect();
            let ran = all.iter().filter(|job| job["state"] == "success").count();
            assert!(ran <= 1, "{due} was run twice: {all:?}");
            done += ran;
            let is_left = |job: &&&Json| job["error"].as_str().is_some_and(|words| words.contains("another service"));
            left_out += all.iter().filter(is_left).count();
        }
        (done >= 2 && left_out >= 2).then_some(())
    });
    // What one was left to by the other is no backup that is missing; a listing may be as old as two seconds.
    for world in [&one, &two] {
        until(|| (world.get("/v1/backups/full/accounts").as_array().unwrap().len() >= done).then_some(()));
    }
    one.stop();
    two.stop();
    let claims = one.path("backups/rekeep/claims");
    let series = fs::read_dir(claims).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_dir(series).unwrap().count() <= 20, "old claims are tidied up");
}

#[test]
fn a_claim_is_whose_it_was_and_one_that_is_damaged_stops_nobody() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    world.stop();
    let place = world.path("backups/rekeep");
    let storage = Storage::open(place.to_str().unwrap(), &StorageOptions::default()).unwrap();
    let open = OpenOptions { cache_dir: world.path("cache"), clock: Arc::new(SystemClock), host: "other".to_owned() };
    let repo = Repository::open(&storage, &Unlock::Password("correct horse".to_owned()), &open).unwrap();
    assert_eq!(repo.claim("r\0full", 1000, "a/1").unwrap(), Claimed::Ours);
    assert_eq!(repo.claim("r\0full", 1000, "a/1").unwrap(), Claimed::Ours, "after a restart it is still ours");
    let Claimed::Theirs(theirs) = repo.claim("r\0full", 1000, "b/1").unwrap() else { panic!() };
    assert_eq!((theirs.by.as_str(), theirs.host.as_str()), ("a/1", "other"));
    assert_eq!(repo.claim("r\0incremental", 1000, "b/1").unwrap(), Claimed::Ours, "another schedule");
    assert_eq!(repo.claim("r\0full", 2000, "b/2").unwrap(), Claimed::Ours);
    assert_eq!(repo.claim("r\0full", 1500, "a/2").unwrap(), Claimed::Overtaken);
    for due in 3..40 {
        assert_eq!(repo.claim("r\0full", due * 1000, "a/9").unwrap(), Claimed::Ours);
    }
    let mut found: Vec<(usize, std::path::PathBuf)> = fs::read_dir(place.join("claims"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|series| (fs::read_dir(&series).unwrap().count(), series))
        .collect();
    found.sort();
    let (count, series) = found.pop().unwrap();
    assert_eq!(count, 16);
    let last = series.join("39000");
    fs::remove_file(&last).unwrap();
    fs::write(&last, b"no claim").unwrap();
    assert!(matches!(repo.claim("r\0full", 39_000, "b/9").unwrap(), Claimed::Unclear(_)));
}
