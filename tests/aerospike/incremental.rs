//! Incremental backups: what changed is read, what is gone is proved, and what cannot be is not believed.

use crate::{
    cluster::{
        assert_kept, back_up, given_back, held, kept, patient, plain, populated, quick, server_now, some_record,
        try_back_up, url,
    },
    place::{Living, Place, here},
    support::{
        Rec, Rng, World,
        rng::from_env,
        world::{assert_sound, snapshot},
    },
};
use rekeep::{
    ops::backup::{Ask, BackupOptions, Sweep},
    record::Digest,
    repo::manifest::Kind,
};
use rekeep_aerospike_server::{Config, Control, Handle, Seed, partition_of};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[test]
fn only_what_changed_is_read_whole() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 3_000, 41);
    // Older than the margin that an incremental run goes back.
    server.advance(Duration::from_mins(1));
    let first = back_up(&repo, &server);
    assert_eq!(first.kind, Kind::Full);
    server.advance(Duration::from_mins(1));
    let all = server.dump("test");
    for dumped in all.iter().step_by(100) {
        server.delete("test", &dumped.digest);
    }
    server.put_all("test", (0..30).map(|n| Seed::int(50_000 + n).bin("big", 4, &[7; 1000])));
    let second = back_up(&repo, &server);
    assert_eq!((second.kind, second.parent), (Kind::Incremental, first.id));
    assert_eq!((second.stats.new, second.stats.deleted, second.stats.changed), (30, 30, 0));
    assert!(second.stats.bytes_read < first.stats.bytes_read, "{:?}", second.stats);
    assert_kept(&repo, &server, &second, "incremental");
    server.advance(Duration::from_mins(1));
    let third = back_up(&repo, &server);
    assert_eq!((third.stats.new, third.stats.deleted, third.stats.changed, third.stats.seen), (0, 0, 0, 3_000));
    assert_kept(&repo, &server, &third, "nothing changed");
    assert_sound(&repo);
}

#[test]
fn touching_every_record_stores_some_tens_of_bytes_each() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = World::new();
    let mut rng = Rng::new(42);
    server.put_all("test", (0..20_000).map(|n| Seed::int(n).set("demo").bin("v", 4, &rng.bytes(300))));
    back_up(&repo, &server);
    server.advance(Duration::from_mins(1));
    for dumped in server.dump("test") {
        server.touch("test", &dumped.digest);
    }
    let second = back_up(&repo, &server);
    assert_eq!(second.stats.inherited, 20_000);
    // Packs are padded to 64 KiB each; the bound is for the records.
    let padding = 4 * 65_536;
    assert!(second.stats.bytes_added < 45 * 20_000 + padding, "{} bytes", second.stats.bytes_added);
    assert_kept(&repo, &server, &second, "touched");
    assert_sound(&repo);
}

#[test]
fn a_record_made_anew_with_the_same_generation_is_noticed() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 50, 43);
    let seed = |value: i64| Seed::int(7777).set("demo").bin_int("v", value);
    let digest = server.put("test", seed(1));
    back_up(&repo, &server);
    server.advance(Duration::from_mins(1));
    server.delete("test", &digest);
    server.put("test", seed(2));
    let second = back_up(&repo, &server);
    assert_eq!(second.stats.changed, 1);
    assert_kept(&repo, &server, &second, "made anew");
}

#[test]
fn a_read_that_moves_an_expiry_stores_a_row_without_a_value() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = World::new();
    let mut rng = Rng::new(48);
    let seeds: Vec<Seed> = (0..2_000).map(|n| Seed::int(n).set("cache").bin("v", 4, &rng.bytes(500))).collect();
    server.put_all("test", seeds.iter().map(|seed| seed.clone().generation(3).ttl(1_000)));
    back_up(&repo, &server);
    server.advance(Duration::from_mins(1));
    // As a read-touch does: last update and void-time move, the generation stays.
    server.put_all("test", seeds.iter().map(|seed| seed.clone().generation(3).ttl(1_000)));
    let second = back_up(&repo, &server);
    assert_eq!((second.stats.changed, second.stats.inherited), (2_000, 2_000));
    assert!(second.stats.bytes_added < 45 * 2_000 + 4 * 65_536, "{} bytes", second.stats.bytes_added);
    assert_kept(&repo, &server, &second, "read");
    assert_sound(&repo);
}

#[test]
fn what_the_filter_for_changes_does_not_see_the_sweep_does() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 1_000, 49);
    let seed = |n: i64| Seed::int(80_000 + n).set("demo").bin_int("v", n);
    server.put_all("test", (0..40).map(seed));
    server.advance(Duration::from_hours(1));
    back_up(&repo, &server);
    server.advance(Duration::from_hours(1));
    // Records that came, changed, or got another expiry, with a last update of long ago: from a node whose clock was wrong.
    let old = server.now_ms() as u64 - 2 * 3_600_000;
    server.put_all("test", (0..10).map(|n| seed(n).bin_int("w", 1).generation(9).lut_ms(old)));
    server.put_all("test", (10..20).map(|n| seed(n).ttl(5_000).lut_ms(old)));
    server.put_all("test", (40..50).map(|n| seed(n).stores_key().lut_ms(old)));
    let second = back_up(&repo, &server);
    assert_eq!(
        (second.kind, second.stats.new, second.stats.changed, second.stats.inherited),
        (Kind::Incremental, 10, 20, 10)
    );
    assert_kept(&repo, &server, &second, "by the sweep");
    assert_sound(&repo);
}

#[test]
fn a_node_whose_clock_is_behind_loses_no_change() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 500, 44);
    server.set_clock_offset_ms(1, -60_000);
    back_up(&repo, &server);
    server.advance(Duration::from_secs(5));
    // Written right after the first backup, by a node that thinks it was before.
    let now = server.now_ms();
    for n in 0..200i64 {
        let seed = Seed::int(n).bin_int("n", -n).generation(50);
        let late = server.master_of(partition_of(&seed.digest())) == Some(1);
        server.put("test", seed.lut_ms((now - if late { 60_000 } else { 0 }) as u64));
    }
    let second = back_up(&repo, &server);
    assert_eq!(second.kind, Kind::Incremental);
    assert_kept(&repo, &server, &second, "behind");
}

#[test]
fn after_the_clock_was_set_back_times_of_last_updates_are_not_believed() {
    let server = here(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 500, 50);
    let seed = |v: i64| Seed::int(70_000).set("demo").bin_int("v", v);
    server.put("test", seed(1));
    let first = back_up(&repo, &server);
    server.advance_back(Duration::from_hours(2));
    // Deleted and made anew: generation, set and expiry are those of before, and it is older than what the parent read.
    server.delete("test", &seed(1).digest());
    server.put("test", seed(2));
    let gone = server.dump("test")[17].digest;
    server.delete("test", &gone);
    let (second, warnings) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert_eq!((second.kind, second.parent), (Kind::Incremental, first.id));
    assert_eq!((second.stats.changed, second.stats.deleted), (1, 1));
    assert_kept(&repo, &server, &second, "the clock was set back");
    assert!(warnings.contains("the clock went backwards"), "{warnings}");
    // From there on it is as ever.
    server.advance(Duration::from_mins(1));
    server.put("test", seed(3).generation(2));
    let third = back_up(&repo, &server);
    assert_eq!((third.kind, third.stats.changed), (Kind::Incremental, 1));
    assert_kept(&repo, &server, &third, "the next one");
    assert_sound(&repo);
}

#[test]
fn sweeps_happen_when_asked_for_and_the_snapshot_says_since_when_deletions_are_known() {
    let server = Place::new(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 400, 45);
    let how = |sweep| BackupOptions { sweep, ..plain() };
    let run = |sweep| try_back_up(&repo, &url(&server), quick(), &how(sweep)).unwrap().0;
    let first = run(Sweep::Never);
    let as_of = |outcome: &rekeep::ops::backup::BackupOutcome| {
        snapshot(&repo, outcome.id.unwrap()).collections[0].coverage[0].deletions_as_of
    };
    assert_eq!(as_of(&first), None, "a full read proves deletions");
    let mut gone = 0;
    let mut step = |sweep| {
        server.advance(Duration::from_mins(1));
        let all = server.dump("test");
        server.delete("test", &all[gone * 3].digest);
        server.put("test", Seed::int(9_000 + gone as i64).bin_int("v", 1));
        gone += 1;
        run(sweep)
    };
    let second = step(Sweep::Never);
    assert!(second.complete, "{:?}", second.problems);
    assert_eq!((second.records, second.stats.deleted, as_of(&second)), (401, 0, Some(first.start)));
    let third = step(Sweep::Every(3));
    assert_eq!((third.records, third.stats.deleted, as_of(&third)), (402, 0, Some(first.start)));
    let fourth = step(Sweep::Every(3));
    assert_eq!((fourth.records, fourth.stats.deleted, as_of(&fourth)), (400, 3, None));
    assert_kept(&repo, &server, &fourth, "swept");
    assert_sound(&repo);
}

#[test]
fn a_differential_backup_reads_what_changed_since_the_last_full_one() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 46);
    let full = back_up(&repo, &server);
    let mut changed = 0;
    for ask in [Ask::Default, Ask::Differential, Ask::Differential] {
        server.advance(Duration::from_mins(1));
        server.put_all("test", (0..10).map(|n| Seed::int(1000 + changed + n).bin_int("v", n)));
        changed += 10;
        let how = BackupOptions { ask, ..plain() };
        let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &how).unwrap();
        assert_eq!((outcome.parent, outcome.stats.new), (full.id, changed as u64), "{ask:?}");
        assert_kept(&repo, &server, &outcome, "differential");
    }
    assert_sound(&repo);
}

fn delete_where(server: &impl Living, mut is_gone: impl FnMut(usize, u16) -> bool) -> u64 {
    let mut gone = 0;
    for (n, dumped) in server.dump("test").into_iter().enumerate() {
        if is_gone(n, partition_of(&dumped.digest)) {
            server.delete("test", &dumped.digest);
            gone += 1;
        }
    }
    gone
}

#[test]
fn a_partition_that_is_suddenly_empty_is_not_believed_unless_a_person_says_so() {
    for ask in [Ask::Default, Ask::Full] {
        let server = Place::new(Config::with_nodes(1));
        let (_world, repo) = World::new();
        // Partition 5 has 20 records, partition 6 has 15.
        for n in 0..35u8 {
            let mut digest = [n; 20];
            (digest[0], digest[1]) = (if n < 20 { 5 } else { 6 }, 0);
            server.put("test", Seed::with_digest(digest).bin_int("v", 1));
        }
        back_up(&repo, &server);
        server.advance(Duration::from_mins(1));
        delete_where(&server, |_, _| true);
        server.put("test", Seed::int(1).bin_int("v", 1));
        let how = BackupOptions { ask, ..plain() };
        let (second, _) = try_back_up(&repo, &url(&server), quick(), &how).unwrap();
        assert!(
            !second.complete && second.problems[0].contains("all 20 records of partition 5"),
            "{:?}",
            second.problems
        );
        assert_eq!((second.records, second.stats.deleted), (21, 15), "{ask:?}");
        assert_sound(&repo);
        let how = BackupOptions { accept_deletions: true, ..how };
        let (third, _) = try_back_up(&repo, &url(&server), quick(), &how).unwrap();
        assert!(third.complete, "{:?}", third.problems);
        assert_eq!((third.records, third.stats.deleted), (1, 20));
        assert_kept(&repo, &server, &third, "accepted");
    }
}

#[test]
fn a_truncation_explains_that_all_is_gone() {
    for ask in [Ask::Default, Ask::Full] {
        let server = Place::new(Config::with_nodes(2));
        let (_world, repo) = World::new();
        let seeds = (0..60_000).map(|n| Seed::int(n).set(if n < 40_000 { "cache" } else { "kept" }).bin_int("n", n));
        server.put_all("test", seeds);
        back_up(&repo, &server);
        server.advance(Duration::from_mins(1));
        server.truncate("test", Some("cache"));
        let how = BackupOptions { ask, ..plain() };
        let (second, _) = try_back_up(&repo, &url(&server), quick(), &how).unwrap();
        assert!(second.complete, "{:?}", second.problems);
        assert_eq!((second.records, second.stats.deleted), (20_000, 40_000));
        assert_sound(&repo);
    }
}

#[test]
fn a_mass_deletion_within_groups_is_not_believed_above_the_limit() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = World::new();
    // One group of partitions with 5 000 records.
    let mut rng = Rng::new(47);
    for n in 0..5_000u32 {
        let mut digest = [0; 20];
        digest[0] = (n % 64) as u8;
        digest[2..10].copy_from_slice(&rng.word().to_be_bytes());
        server.put("test", Seed::with_digest(digest).bin_int("n", 1));
    }
    let before = back_up(&repo, &server);
    server.advance(Duration::from_mins(1));
    let gone = delete_where(&server, |n, _| n % 4 == 0);
    let (second, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    let words = format!("{gone} of 5000 records of partitions 0-63 are gone");
    assert!(!second.complete && second.problems[0].contains(&words), "{:?}", second.problems);
    assert_eq!(second.records, before.records);
    let coverage = &snapshot(&repo, second.id.unwrap()).collections[0].coverage[0];
    assert_eq!(coverage.deletions_as_of, Some(before.start));
    let how = BackupOptions { max_deleted_percent: 30, ..plain() };
    let (third, _) = try_back_up(&repo, &url(&server), quick(), &how).unwrap();
    assert!(third.complete, "{:?}", third.problems);
    assert_eq!(third.stats.deleted, gone);
    assert_kept(&repo, &server, &third, "with a higher limit");
    assert_sound(&repo);
}

/// What each record was while a backup ran.
type Seen = Arc<Mutex<BTreeMap<Vec<u8>, Vec<Option<Rec>>>>>;

/// Changes one record in one of the ways that there are; notes what it was before and after.
fn mutate(control: &impl Living, rng: &mut Rng, during: Option<&Seen>) {
    let n = rng.below(400);
    let seed = some_record(rng, n);
    let digest = seed.digest();
    let key = Digest(digest).sort_key().to_vec();
    let state = || control.get("test", &digest).map(|dumped| kept(dumped).1);
    let before = state();
    let mut is_anew = false;
    match rng.below(10) {
        0..=3 => drop(control.put("test", seed)),
        4 => drop(control.put("test", seed.ttl(1 + rng.below(300) as u32))),
        5 | 6 => drop(control.delete("test", &digest)),
        7 => drop(control.touch("test", &digest)),
        8 => {
            is_anew = true;
            control.delete("test", &digest);
            control.put("test", seed.generation(1));
        }
        _ => drop(control.put("test", seed.void_time(0))),
    }
    if let Some(during) = during {
        let mut during = during.lock().unwrap();
        let states = during.entry(key).or_default();
        states.push(before);
        // For a moment it was not there.
        states.extend(is_anew.then_some(None));
        states.push(state());
    }
}

/// What a history may do to a cluster while a backup runs.
struct Trouble {
    rng: Rng,
    /// Whether node 1 is dead.
    is_down: bool,
    /// Whether nodes come and go.
    moves: bool,
}

impl Trouble {
    /// One thing that happens; notes what it did to records.
    fn happen(&mut self, control: &Control, during: &Seen) {
        match self.rng.below(20) {
            0 => truncate(control, during),
            1 | 2 => control.advance(Duration::from_millis(self.rng.below(2_000))),
            3 | 4 if self.moves => self.shake(control),
            5..=7 if self.moves => drop(control.migrate(1 + self.rng.below(500) as usize)),
            _ => mutate(control, &mut self.rng, Some(during)),
        }
    }

    fn shake(&mut self, control: &Control) {
        // A node that goes while copies are on their way may take the only ones along.
        control.migrate(usize::MAX);
        if self.is_down {
            control.revive_node(1).unwrap();
        } else {
            control.kill_node(1);
        }
        self.is_down = !self.is_down;
    }
}

/// Empties a set, and notes what was in it.
fn truncate(control: &Control, during: &Seen) {
    let inside: Vec<_> = control.dump("test").into_iter().filter(|dumped| dumped.set == b"other").map(kept).collect();
    control.truncate("test", Some("other"));
    let mut during = during.lock().unwrap();
    for (key, rec) in inside {
        // Nobody else writes in between: one thing happens at a time.
        during.entry(key).or_default().extend([Some(rec), None]);
    }
}

/// Runs a random history on a cluster; every snapshot must give back what the cluster held.
fn random_history(seed: u64) {
    let mut rng = Rng::new(seed);
    let nodes = 1 + rng.below(3) as usize;
    let copies = if nodes > 2 { 2 } else { 1 };
    let server = here(Config {
        replication_factor: copies,
        query_message_bytes: 300 + rng.below(3000) as usize,
        cluster_name: Some("random".into()),
        manual_migrations: rng.chance(50),
        ..Config::with_nodes(nodes)
    });
    let (_world, repo) = populated(&server, 300, seed);
    let during: Seen = Arc::default();
    let trouble = Arc::new(Mutex::new(Trouble { rng: Rng::new(seed + 1), is_down: false, moves: nodes > 2 }));
    let is_busy = Arc::new(AtomicBool::new(false));
    {
        let (during, trouble, is_busy) = (Arc::clone(&during), Arc::clone(&trouble), Arc::clone(&is_busy));
        server.on_query(move |control, _| {
            let mut trouble = trouble.lock().unwrap();
            if is_busy.load(Ordering::SeqCst) && trouble.rng.chance(10) {
                trouble.happen(control, &during);
            }
        });
    }
    // Everything that a snapshot ever gave back.
    let mut given: BTreeMap<Vec<u8>, Vec<Rec>> = BTreeMap::new();
    for round in 0..6 {
        for _ in 0..rng.below(60) {
            mutate(&server, &mut rng, None);
        }
        if rng.chance(20) {
            server.truncate("test", Some("other"));
        }
        server.advance(Duration::from_millis(1000 + rng.below(200_000)));
        if nodes > 2 && rng.chance(30) {
            trouble.lock().unwrap().shake(&server);
        }
        // The last one has peace, and repairs whatever the others left.
        let is_last = round == 5;
        if is_last {
            if trouble.lock().unwrap().is_down {
                trouble.lock().unwrap().shake(&server);
            }
            server.migrate(usize::MAX);
        }
        during.lock().unwrap().clear();
        is_busy.store(!is_last && rng.chance(60), Ordering::SeqCst);
        let ask = *rng.pick(&[Ask::Default, Ask::Default, Ask::Full, Ask::Differential]);
        let accept_deletions = !is_last && rng.chance(30);
        let before = held(&server, &["test"], server_now(&server)).remove("test").unwrap().records;
        let how = BackupOptions { ask, accept_deletions, ..plain() };
        let outcome = match first_that_answers(&server) {
            Some(url) => try_back_up(&repo, &url, patient(), &how).unwrap().0,
            None => panic!("no node is left"),
        };
        is_busy.store(false, Ordering::SeqCst);
        let what = format!("seed {seed}, round {round}, {ask:?}, {nodes} nodes");
        let is_unconfirmed = |line: &String| {
            ["deletions unconfirmed", "since the backup began", "nodes came or went"]
                .iter()
                .any(|text| line.contains(text))
        };
        assert!(outcome.complete || outcome.problems.iter().all(is_unconfirmed), "{what}: {:?}", outcome.problems);
        assert!(outcome.complete || !is_last, "{what}: {:?}", outcome.problems);
        let got = given_back(&repo, outcome.id.unwrap()).remove("test").unwrap().records;
        let during = during.lock().unwrap();
        let keys: BTreeSet<&Vec<u8>> = before.keys().chain(got.keys()).chain(during.keys()).collect();
        let live = |rec: Option<&Rec>| rec.filter(|rec| rec.is_live_at(outcome.end)).cloned();
        for key in keys {
            let shown = rekeep::record::KeyCodec::Digest.show(key);
            let state = got.get(key).cloned();
            let mut had = vec![live(before.get(key))];
            had.extend(during.get(key).into_iter().flatten().map(|state| live(state.as_ref())));
            if !outcome.complete && had.contains(&None) {
                // It is gone, and the snapshot says that it does not know.
                had.extend(given.get(key).into_iter().flatten().map(|rec| live(Some(rec))));
            }
            assert!(had.contains(&state), "{what}: {shown} is {state:?}, never in {had:?}");
        }
        for (key, rec) in got {
            given.entry(key).or_default().push(rec);
        }
    }
    assert_sound(&repo);
}

/// The URL of a node that lives: the first one may be dead.
fn first_that_answers(server: &Handle) -> Option<String> {
    let lives = |address: &&std::net::SocketAddr| std::net::TcpStream::connect(address).is_ok();
    server.addresses().iter().find(lives).map(|address| format!("aerospike://{address}"))
}

#[test]
fn after_random_histories_every_snapshot_gives_back_what_the_cluster_held() {
    let first = from_env("REKEEP_TEST_SEED", 1000);
    for seed in first..first + from_env("REKEEP_TEST_STEPS", 12) {
        random_history(seed);
    }
}

#[test]
fn what_is_written_while_backups_run_comes_back_in_a_state_it_had() {
    let server = Place::new(Config { query_message_bytes: 1_000, ..Config::with_nodes(2) });
    let (_world, repo) = populated(&server, 400, 2_000);
    back_up(&repo, &server);
    for round in 0..3 {
        server.advance(Duration::from_secs(2));
        let before = held(&server, &["test"], server_now(&server)).remove("test").unwrap().records;
        let during: Seen = Arc::default();
        let is_over = AtomicBool::new(false);
        let how = BackupOptions { ask: *[Ask::Full, Ask::Default, Ask::Differential].get(round).unwrap(), ..plain() };
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut rng = Rng::new(3_000 + round as u64);
                while !is_over.load(Ordering::SeqCst) {
                    mutate(&server, &mut rng, Some(&during));
                }
            });
            let outcome = try_back_up(&repo, &url(&server), patient(), &how);
            is_over.store(true, Ordering::SeqCst);
            outcome.unwrap().0
        });
        assert!(outcome.complete, "{:?}", outcome.problems);
        let got = given_back(&repo, outcome.id.unwrap()).remove("test").unwrap().records;
        let during = during.lock().unwrap();
        let keys: BTreeSet<&Vec<u8>> = before.keys().chain(got.keys()).chain(during.keys()).collect();
        for key in keys {
            let live = |rec: Option<&Rec>| rec.filter(|rec| rec.is_live_at(outcome.end)).cloned();
            let mut had = vec![live(before.get(key))];
            had.extend(during.get(key).into_iter().flatten().map(|state| live(state.as_ref())));
            let state = got.get(key).cloned();
            let shown = rekeep::record::KeyCodec::Digest.show(key);
            assert!(had.contains(&state), "round {round}: {shown} is {state:?}, never in {had:?}");
        }
    }
    server.advance(Duration::from_secs(2));
    assert_kept(&repo, &server, &back_up(&repo, &server), "the next one repairs it");
    assert_sound(&repo);
}
