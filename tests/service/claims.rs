//! Several services with one routine and one repository: what is due is run by one of them.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use rekeep::{
    record::{Clock, SystemClock, Timestamp},
    repo::{OpenOptions, Repository, Storage, Unlock, claims::Claimed, storage::StorageOptions},
};
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

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

/// Each has its own database, and one is no backup of the other.
#[test]
fn what_another_service_reads_elsewhere_stands_for_no_run_of_ours() {
    let mut one = World::new();
    one.configure(&ROUTINE.replace("'0 0 0 1 1 ? 2090'", "'* * * * * ?'"), "");
    let mut two = World::new();
    let text = fs::read_to_string(one.path("config.yml")).unwrap();
    let source = |world: &World| format!("sqlite:{}", world.path("accounts.db").display());
    fs::write(two.path("config.yml"), text.replace(&source(&one), &source(&two))).unwrap();
    one.start();
    two.start();
    for world in [&one, &two] {
        until(|| {
            let all: Vec<Json> = ended(world).into_values().flatten().collect();
            let left = all.iter().find(|job| job.to_string().contains("another service"));
            assert!(left.is_none(), "{left:?}");
            (all.iter().filter(|job| job["state"] == "success").count() >= 2).then_some(())
        });
    }
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
    let Claimed::Overtaken(Some(later)) = repo.claim("r\0full", 1500, "a/2").unwrap() else { panic!() };
    assert_eq!(later.by, "b/2");
    for due in 3..40 {
        assert_eq!(repo.claim("r\0full", due * 1000, "a/9").unwrap(), Claimed::Ours);
    }
    // A clock that was ahead for a while stops nobody.
    let year = 365 * 86_400_000_u64;
    let now =
        u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    for ahead in 1..20 {
        assert_eq!(repo.claim("r\0drill", now + ahead * year, "a/1").unwrap(), Claimed::Ours);
    }
    assert_eq!(repo.claim("r\0drill", now, "a/2").unwrap(), Claimed::Ours);
    assert!(
        matches!(repo.claim("r\0drill", now, "b/1").unwrap(), Claimed::Theirs(_)),
        "it is not tidied up for others"
    );
    assert!(matches!(repo.claim("r\0drill", now - 1, "b/1").unwrap(), Claimed::Overtaken(Some(_))));
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

/// A clock that is set by hand.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// What a clock made that was ahead is nobody's newest backup for as long as it is in the future.
#[test]
fn a_backup_that_is_dated_in_the_future_hides_from_nobody_that_none_comes() {
    let real = SystemClock.now().as_millis();
    let clock = Arc::new(SetClock(AtomicI64::new(real)));
    let mut world = World::new();
    world.configure(&ROUTINE.replace("    backup-policy: once\n", "    backup-policy: once\n    max-age: 600\n"), "");
    world.start_by(Arc::clone(&clock) as Arc<dyn Clock>);
    world.back_up("accounts", "full");
    let is_late_by = |millis: i64| {
        clock.0.store(real + millis, Ordering::Relaxed);
        let page = world.ask("GET", "/console/?state=late", None).is(200).body;
        (page.contains("/console/sources/accounts"), page.contains("dated in the future"))
    };
    assert_eq!(is_late_by(60_000), (false, false));
    assert_eq!(is_late_by(3_600_000), (true, false));
    assert_eq!(is_late_by(-30 * 86_400_000), (true, true));
}

/// By a little: the runs that were claimed by the clock that was are no others' runs.
#[test]
fn what_is_due_after_the_clock_was_set_back_by_a_little_is_run() {
    let ten = 1_795_860_000_000;
    let clock = Arc::new(SetClock(AtomicI64::new(ten - 1000)));
    let mut world = World::new();
    let other = ROUTINE.replace("accounts:", "other:");
    world.configure(&(ROUTINE.replace("'0 0 0 1 1 ? 2090'", "'*/10 * * * * ?'") + &other), "");
    world.start_by(Arc::clone(&clock) as Arc<dyn Clock>);
    // Up to 100 s later, back by 80, and what is due then was never claimed.
    for (millis, due) in [(1000, 1), (101_000, 2), (21_000, 2), (31_000, 3)] {
        clock.0.store(ten + millis, Ordering::Relaxed);
        // Whatever is asked for lets the schedule be looked at.
        world.ask("POST", "/v1/backups/full/other", None).is(202);
        until(|| {
            let all: Vec<Json> = ended(&world).into_values().flatten().collect();
            assert!(all.iter().all(|job| job["state"] == "success"), "{all:?}");
            let is_idle = world.get("/v1/backups/currentBackup/other")["queued"] == serde_json::json!([]);
            (all.len() >= due && is_idle).then_some(())
        });
    }
}

#[test]
fn what_is_due_again_after_the_clock_was_set_back_is_run_again() {
    const HOUR: i64 = 3_600_000;
    let ten = 1_795_860_000_000;
    let clock = Arc::new(SetClock(AtomicI64::new(ten - 1000)));
    let mut world = World::new();
    let more = "
  other:
    interval-cron: '0 0 0 1 1 ? 2090'
    source: sqlite:{dir}/accounts.db
    storage: local
    backup-policy: once
";
    world.configure(&(ROUTINE.replace("'0 0 0 1 1 ? 2090'", "'0 0 * * * ?'") + more), "");
    world.start_by(Arc::clone(&clock) as Arc<dyn Clock>);
    let ran = |world: &World, count: usize| {
        // Whatever is asked for lets the schedule be looked at.
        world.ask("POST", "/v1/backups/full/other", None).is(202);
        until(|| {
            let all: Vec<Json> = ended(world).into_values().flatten().collect();
            assert!(all.iter().all(|job| job["state"] == "success"), "{all:?}");
            (all.len() >= count).then_some(())
        });
    };
    clock.0.store(ten + 1000, Ordering::Relaxed);
    ran(&world, 1);
    // It was an hour ahead.
    clock.0.store(ten - HOUR + 2000, Ordering::Relaxed);
    world.ask("POST", "/v1/backups/full/other", None).is(202);
    until(|| (world.get("/v1/backups/currentBackup/other")["queued"] == serde_json::json!([])).then_some(()));
    clock.0.store(ten + 2000, Ordering::Relaxed);
    ran(&world, 2);
}
