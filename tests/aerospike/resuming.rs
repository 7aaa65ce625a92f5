//! Backups of a cluster that break off: partitions that were finished are not scanned again, and nothing that changed
//! meanwhile is lost.

use crate::{
    cluster::{assert_kept, given_back, held, plain, populated, quick, some_record, source_of, url},
    place::here,
    support::{
        Heard, Rng, World,
        rng::from_env,
        world::{assert_sound, snapshot},
    },
};
use rekeep::{
    connector::aerospike::AerospikeOptions,
    ops::backup::{BackupOptions, BackupOutcome, Resume, backup},
    repo::{Repository, manifest::Kind},
};
use rekeep_aerospike_server::{Config, Handle, Seed};
use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

/// The ranges of a namespace of 256 MiB.
const PARTS: u64 = 16;

/// Partitions in each.
const WIDTH: u16 = 4096 / PARTS as u16;

/// A cluster whose namespace says that it is larger than it is.
fn cluster(nodes: usize, records: u64, seed: u64) -> (Handle, World, Repository) {
    cluster_of(nodes, records, seed, 256 * 1024 * 1024)
}

fn cluster_of(nodes: usize, records: u64, seed: u64, bytes: usize) -> (Handle, World, Repository) {
    let server = here(Config::with_nodes(nodes));
    let (world, repo) = populated(&server, records, seed);
    let bytes = bytes / nodes;
    let answer =
        format!("objects={records};data_used_bytes={bytes};replication-factor=1;effective_replication_factor=1");
    server.set_info(None, "namespace", Some(&answer));
    // Older than the margin that an incremental run goes back.
    server.advance(Duration::from_mins(1));
    (server, world, repo)
}

fn every_range() -> BackupOptions {
    BackupOptions { parallel: 2, checkpoint_after: Duration::ZERO, ..plain() }
}

fn run(
    repo: &Repository,
    server: &Handle,
    how: &BackupOptions,
    heard: &Heard,
) -> Result<BackupOutcome, rekeep::ops::OpsError> {
    backup(repo, &source_of(&url(server), quick()), how, heard)
}

/// A backup that is cancelled after so many records.
fn break_off(repo: &Repository, server: &Handle, records: u64, how: &BackupOptions) -> u64 {
    let heard = Heard::default();
    heard.cancel_after.store(records, Ordering::Relaxed);
    let broken = run(repo, server, how, &heard);
    assert!(broken.as_ref().is_err_and(rekeep::ops::OpsError::is_interruption), "{broken:?}");
    let (checkpoints, _) = repo.checkpoints().unwrap();
    let newest = checkpoints.iter().max_by_key(|it| it.time);
    newest.map_or(0, |it| it.collections[0].spans.len() as u64)
}

fn resumed(repo: &Repository, server: &Handle, how: &BackupOptions) -> BackupOutcome {
    let heard = Heard::default();
    let outcome = run(repo, server, how, &heard).unwrap();
    assert!(outcome.complete, "{:?}", outcome.problems);
    assert!(outcome.stats.resumed_ranges > 0, "{}", heard.warnings());
    outcome
}

#[test]
fn finished_partitions_are_not_scanned_again() {
    let (server, _world, repo) = cluster(2, 4_000, 51);
    let finished = break_off(&repo, &server, 2_000, &every_range());
    assert!((4..PARTS).contains(&finished), "{finished}");
    let (checkpoints, _) = repo.checkpoints().unwrap();
    let spans: Vec<usize> = checkpoints[0].collections[0].spans.iter().map(|span| span.first).collect();
    server.advance(Duration::from_mins(10));
    // Who scans them again finds nobody to ask.
    for node in 0..2 {
        let pids = spans.iter().flat_map(|first| *first as u16 * WIDTH..(*first as u16 + 1) * WIDTH);
        server.set_unavailable(node, pids, true);
    }
    let heard = Heard::default();
    let outcome = run(&repo, &server, &plain(), &heard).unwrap();
    assert!(outcome.complete, "{:?}", outcome.problems);
    assert_eq!(outcome.stats.resumed_ranges, finished);
    assert_eq!((outcome.stats.seen, heard.records()), (4_000, 4_000 - outcome.stats.resumed_records));
    assert_kept(&repo, &server, &outcome, "resumed");
    assert_sound(&repo);
}

#[test]
fn what_changed_in_finished_partitions_is_caught_by_the_next_incremental_backup() {
    let (server, _world, repo) = cluster(1, 3_000, 52);
    let finished = break_off(&repo, &server, 1_500, &every_range());
    server.advance(Duration::from_mins(30));
    // Before the second run begins: its start is no lower bound for what the first one read.
    let mut rng = Rng::new(520);
    let all = server.dump("test");
    for dumped in all.iter().step_by(7) {
        server.delete("test", &dumped.digest);
    }
    server.put_all("test", (0..400).map(|n| some_record(&mut rng, n).bin_string("late", "yes").generation(20)));
    server.put_all("test", (9_000..9_200).map(|n| some_record(&mut rng, n)));
    server.advance(Duration::from_mins(30));
    let outcome = resumed(&repo, &server, &plain());
    let coverage = &snapshot(&repo, outcome.id.unwrap()).collections[0].coverage;
    let starts: BTreeSet<_> = coverage.iter().map(|range| range.start).collect();
    assert_eq!(starts.len(), 2, "{coverage:?}");
    assert_eq!(*starts.first().unwrap(), outcome.start);
    assert!(
        given_back(&repo, outcome.id.unwrap())["test"].records != held(&server, &["test"], outcome.end)["test"].records
    );
    server.advance(Duration::from_mins(30));
    let next = run(&repo, &server, &plain(), &Heard::default()).unwrap();
    assert_eq!(next.kind, Kind::Incremental);
    assert!(next.stats.new > 0 && next.stats.deleted > 0, "{finished} were finished: {:?}", next.stats);
    assert_kept(&repo, &server, &next, "the next");
    assert_sound(&repo);
}

#[test]
fn an_incremental_backup_is_carried_on() {
    let (server, _world, repo) = cluster(2, 3_000, 53);
    let first = run(&repo, &server, &plain(), &Heard::default()).unwrap();
    server.advance(Duration::from_hours(1));
    let mut rng = Rng::new(530);
    for dumped in server.dump("test").iter().step_by(11) {
        server.delete("test", &dumped.digest);
    }
    server.put_all("test", (0..900).map(|n| some_record(&mut rng, 3 * n).bin_int("again", 1).generation(11)));
    server.advance(Duration::from_mins(1));
    let finished = break_off(&repo, &server, 1_200, &every_range());
    assert!(finished > 0);
    server.advance(Duration::from_mins(5));
    let outcome = resumed(&repo, &server, &plain());
    assert_eq!((outcome.kind, outcome.parent), (Kind::Incremental, first.id));
    assert!(outcome.stats.deleted > 200 && outcome.stats.changed + outcome.stats.new >= 800, "{:?}", outcome.stats);
    assert_kept(&repo, &server, &outcome, "incremental");
    assert_sound(&repo);
}

#[test]
fn records_that_expire_between_the_runs_are_gone_from_the_snapshot() {
    let (server, _world, repo) = cluster(1, 500, 54);
    server.put_all(
        "test",
        (5_000..7_000).map(|n| Seed::int(n).set("ttl").bin_int("n", n).ttl(60 + (n as u32 * 37) % 7_000)),
    );
    break_off(&repo, &server, 1_300, &every_range());
    server.advance(Duration::from_mins(50));
    server.reap("test");
    let outcome = resumed(&repo, &server, &plain());
    assert_kept(&repo, &server, &outcome, "expired");
    assert_sound(&repo);
    server.advance(Duration::from_mins(50));
    server.reap("test");
    let next = run(&repo, &server, &plain(), &Heard::default()).unwrap();
    assert_eq!(next.stats.deleted, 0, "what expired was not deleted: {:?}", next.stats);
    assert_kept(&repo, &server, &next, "expired since");
}

#[test]
fn another_cluster_without_a_name_is_not_mixed_in() {
    let (server, _world, repo) = cluster(1, 2_000, 55);
    break_off(&repo, &server, 1_200, &every_range());
    let config = Config { node_ids: vec!["AA0".to_owned()], ..Config::with_nodes(1) };
    let other = here(config);
    let mut rng = Rng::new(551);
    other.advance(Duration::from_hours(1));
    other.put_all("test", (0..500).map(|n| some_record(&mut rng, n)));
    let heard = Heard::default();
    let outcome = run(&repo, &other, &plain(), &heard).unwrap();
    assert_eq!(outcome.resumed, None);
    assert!(heard.warnings().contains("another cluster"), "{}", heard.warnings());
    assert_kept(&repo, &other, &outcome, "the other cluster");
}

#[test]
fn a_node_that_is_gone_since_the_first_run_counts_as_gone() {
    let (server, _world, repo) = cluster(2, 3_000, 56);
    let first = run(&repo, &server, &plain(), &Heard::default()).unwrap();
    assert!(first.complete);
    server.advance(Duration::from_hours(1));
    server.add_node().unwrap();
    server.put_all("test", (50_000..51_000).map(|n| Seed::int(n).bin_int("n", n)));
    server.advance(Duration::from_mins(1));
    break_off(&repo, &server, 2_500, &every_range());
    server.kill_node(2);
    server.advance(Duration::from_mins(5));
    let heard = Heard::default();
    let outcome = run(&repo, &server, &plain(), &heard).unwrap();
    assert!(outcome.stats.resumed_ranges > 0, "{}", heard.warnings());
    assert_eq!(outcome.stats.deleted, 0, "the parent never saw that node, the first run did: {:?}", outcome.stats);
    assert!(!outcome.complete);
}

#[test]
fn another_selection_reads_everything_and_a_limited_run_hands_nothing_over() {
    let (server, _world, repo) = cluster(1, 2_000, 57);
    break_off(&repo, &server, 1_200, &every_range());
    let options = AerospikeOptions { sets: vec!["demo".to_owned()], ..quick() };
    let heard = Heard::default();
    let outcome = backup(&repo, &source_of(&url(&server), options), &plain(), &heard).unwrap();
    assert_eq!(outcome.resumed, None);
    let limited = AerospikeOptions { max_records: 100, ..quick() };
    let always = BackupOptions { resume: Resume::Always, ..plain() };
    let refused = backup(&repo, &source_of(&url(&server), limited), &always, &heard).unwrap_err();
    assert_eq!(refused.kind(), rekeep::report::ErrorKind::Unsupported, "{refused}");
    resumed(&repo, &server, &always);
}

#[test]
fn runs_that_break_off_again_and_again_come_to_an_end() {
    for seed in 0..from_env("REKEEP_TEST_STEPS", 4) {
        let mut rng = Rng::new(seed ^ 0xae);
        let (server, world, repo) = cluster(1 + rng.below(2) as usize, 2_500, 60 + seed);
        if rng.chance(50) {
            run(&repo, &server, &plain(), &Heard::default()).unwrap();
            server.advance(Duration::from_mins(20));
            server.put_all("test", (0..300).map(|n| some_record(&mut rng, n).generation(12)));
            server.advance(Duration::from_mins(20));
        }
        let mut most = 0;
        for _ in 0..4 {
            let heard = Heard::default();
            heard.cancel_after.store(200 + rng.below(900), Ordering::Relaxed);
            let how = BackupOptions { parallel: 1 + rng.below(3) as usize, ..every_range() };
            if run(&repo, &server, &how, &heard).is_ok() {
                break;
            }
            let (checkpoints, _) = repo.checkpoints().unwrap();
            let named = checkpoints.iter().max_by_key(|it| it.time).map_or(0, |it| it.collections[0].spans.len());
            assert!(named >= most, "seed {seed}: {named} after {most}");
            most = named;
            server.advance(Duration::from_mins(1));
        }
        let other = world.beside().open();
        let outcome = run(&other, &server, &plain(), &Heard::default()).unwrap();
        assert_kept(&other, &server, &outcome, &format!("seed {seed}"));
        assert_sound(&other);
    }
}

#[test]
fn neighbouring_ranges_of_a_huge_namespace_are_carried_on_together() {
    let (server, _world, repo) = cluster_of(1, 3_000, 59, 300_000_000_000);
    server.put_all("test", (5_000..5_500).map(|n| Seed::int(n).set("ttl").bin_int("n", n).ttl(60 + n as u32 % 4_000)));
    break_off(&repo, &server, 1_700, &every_range());
    let (checkpoints, _) = repo.checkpoints().unwrap();
    let spans = &checkpoints[0].collections[0].spans;
    let ranges: usize = spans.iter().map(|span| span.lists.len()).sum();
    assert!(ranges > 50 && spans.len() <= ranges.div_ceil(4) + 4, "{ranges} in {}", spans.len());
    server.advance(Duration::from_mins(30));
    server.reap("test");
    let again = break_off(&repo, &server, 600, &every_range());
    assert!(again >= spans.len() as u64);
    server.advance(Duration::from_mins(5));
    let outcome = resumed(&repo, &server, &plain());
    assert!(outcome.stats.resumed_ranges > ranges as u64);
    assert_eq!(outcome.stats.blocks, 256);
    assert_kept(&repo, &server, &outcome, "256 ranges");
    assert_sound(&repo);
    server.advance(Duration::from_mins(5));
    let next = run(&repo, &server, &plain(), &Heard::default()).unwrap();
    assert_kept(&repo, &server, &next, "the next of 256 ranges");
}

#[test]
fn ranges_are_groups_of_partitions() {
    let (server, _world, repo) = cluster(1, 600, 58);
    let outcome = run(&repo, &server, &plain(), &Heard::default()).unwrap();
    assert_eq!(outcome.stats.blocks, PARTS, "a block in each range");
}
