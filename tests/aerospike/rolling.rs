//! Sweeps that look at one part of the key space in each run: after as many runs as there are parts all is proved.

use crate::{
    cluster::{assert_kept, back_up, given_back, plain, populated, quick, try_back_up, url},
    place::{Living, Place},
    support::world::{assert_sound, snapshot},
};
use rekeep::{
    ops::backup::{Ask, BackupOptions, BackupOutcome, Sweep},
    record::Timestamp,
    repo::{Repository, manifest::Kind},
};
use rekeep_aerospike_server::{Config, Dumped, Seed, partition_of};
use std::time::Duration;

fn run(repo: &Repository, server: &impl Living, sweep: Sweep) -> BackupOutcome {
    let how = BackupOptions { sweep, ..plain() };
    try_back_up(repo, &url(server), quick(), &how).unwrap().0
}

/// Which quarter of the partitions a record is in.
fn quarter(dumped: &Dumped) -> usize {
    usize::from(partition_of(&dumped.digest)) / 1024
}

/// Up to when the deletions of each quarter are proved, as the snapshot says.
fn proved(repo: &Repository, outcome: &BackupOutcome) -> [Timestamp; 4] {
    let taken = snapshot(repo, outcome.id.unwrap());
    let coverage = &taken.collections[0].coverage;
    std::array::from_fn(|quarter| {
        let key = data_encoding::HEXLOWER.encode(&(quarter as u16 * 1024 + 7).to_be_bytes());
        let holds = |from: &str, to: &Option<String>| *from <= *key && to.as_ref().is_none_or(|to| *to > key);
        let row = coverage.iter().find(|row| holds(&row.from, &row.to)).unwrap();
        let part = row.deletions.iter().find(|part| holds(&part.from, &part.to));
        part.map_or_else(|| row.deletions_as_of.unwrap_or(row.start), |part| part.as_of)
    })
}

#[test]
fn each_run_sweeps_the_part_that_was_proved_the_longest_ago() {
    let server = Place::new(Config::with_nodes(2));
    let (_world, repo) = populated(&server, 2_000, 61);
    let first = back_up(&repo, &server);
    let all = server.dump("test");
    let mut starts = [first.start; 4];
    let mut records = 2_000;
    for round in 0..8 {
        server.advance(Duration::from_mins(1));
        let (one, swept) = (round % 4, Sweep::Rolling(4));
        // Of every quarter something goes, in every round.
        let gone: Vec<&Dumped> = all.iter().skip(round * 5).step_by(40).collect();
        for dumped in gone {
            assert!(server.delete("test", &dumped.digest));
        }
        let expected = (0..=round)
            .flat_map(|past| all.iter().skip(past * 5).step_by(40).map(move |dumped| (past, dumped)))
            // What went since that quarter was swept last.
            .filter(|(past, dumped)| quarter(dumped) == one && (round < 4 || *past > round - 4))
            .count();
        let outcome = run(&repo, &server, swept);
        assert!(outcome.complete, "{:?}", outcome.problems);
        assert_eq!((outcome.kind, outcome.stats.deleted as usize), (Kind::Incremental, expected), "round {round}");
        records -= expected as u64;
        assert_eq!(outcome.records, records);
        starts[one] = outcome.start;
        assert_eq!(proved(&repo, &outcome), starts, "round {round}");
        let row = &snapshot(&repo, outcome.id.unwrap()).collections[0].coverage[0];
        assert_eq!(row.deletions_as_of, starts.into_iter().min(), "the row says the oldest");
        assert_sound(&repo);
    }
    // Nothing changes any more: once round all is proved.
    for _ in 0..4 {
        server.advance(Duration::from_mins(1));
        assert!(run(&repo, &server, Sweep::Rolling(4)).complete);
    }
    server.advance(Duration::from_mins(1));
    let last = run(&repo, &server, Sweep::Rolling(4));
    assert_kept(&repo, &server, &last, "all is proved");
    server.advance(Duration::from_mins(1));
    let whole = run(&repo, &server, Sweep::Always);
    assert_eq!(proved(&repo, &whole), [whole.start; 4]);
    assert!(snapshot(&repo, whole.id.unwrap()).collections[0].confirms_deletions());
}

#[test]
fn changes_are_read_everywhere_whichever_part_is_swept() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 1_000, 62);
    back_up(&repo, &server);
    let all = server.dump("test");
    for round in 0..3i64 {
        server.advance(Duration::from_mins(1));
        for dumped in all.iter().skip(round as usize).step_by(20) {
            server.touch("test", &dumped.digest);
        }
        server.put_all("test", (0..30).map(|n| Seed::int(10_000 + 100 * round + n).bin_int("n", n)));
        let outcome = run(&repo, &server, Sweep::Rolling(7));
        assert_eq!((outcome.stats.new, outcome.stats.changed, outcome.stats.inherited), (30, 50, 50));
        assert_kept(&repo, &server, &outcome, &format!("round {round}"));
    }
    assert_sound(&repo);
}

#[test]
fn a_part_whose_losses_are_not_believed_does_not_keep_the_others_from_their_turn() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 400, 63);
    // Partition 5, in the first half, has 20 records more.
    for n in 0..20u8 {
        let mut digest = [n; 20];
        (digest[0], digest[1]) = (5, 0);
        server.put("test", Seed::with_digest(digest).bin_int("v", 1));
    }
    let half = |dumped: &Dumped| usize::from(partition_of(&dumped.digest)) / 2048;
    let first = back_up(&repo, &server);
    let all = server.dump("test");
    let in_five: Vec<_> = all.iter().filter(|dumped| partition_of(&dumped.digest) == 5).collect();
    for dumped in in_five {
        assert!(server.delete("test", &dumped.digest));
    }
    let other = all.iter().find(|dumped| half(dumped) == 1).unwrap();
    server.delete("test", &other.digest);
    let step = || {
        server.advance(Duration::from_mins(1));
        run(&repo, &server, Sweep::Rolling(2))
    };
    let second = step();
    assert!(!second.complete && second.problems[0].contains("partition 5"), "{:?}", second.problems);
    assert_eq!((second.records, second.stats.deleted), (first.records, 0));
    let third = step();
    assert!(third.complete, "{:?}", third.problems);
    assert_eq!(third.stats.deleted, 1, "the other half has its turn");
    let fourth = step();
    assert!(!fourth.complete, "and the first one is looked at again");
    let how = BackupOptions { sweep: Sweep::Rolling(2), accept_deletions: true, ..plain() };
    for _ in 0..2 {
        server.advance(Duration::from_mins(1));
        try_back_up(&repo, &url(&server), quick(), &how).unwrap();
    }
    let last = step();
    assert!(last.complete, "{:?}", last.problems);
    assert_kept(&repo, &server, &last, "accepted");
    assert_sound(&repo);
}

#[test]
fn differential_runs_sweep_everything_since_they_do_not_follow_each_other() {
    let server = Place::new(Config::with_nodes(1));
    let (_world, repo) = populated(&server, 300, 64);
    back_up(&repo, &server);
    for (round, sweep) in [Sweep::Rolling(4), Sweep::Every(9), Sweep::Rolling(64)].into_iter().enumerate() {
        server.advance(Duration::from_mins(1));
        let all = server.dump("test");
        for dumped in all.iter().step_by(30) {
            assert!(server.delete("test", &dumped.digest));
        }
        let how = BackupOptions { sweep, ask: Ask::Differential, ..plain() };
        let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &how).unwrap();
        assert_kept(&repo, &server, &outcome, &format!("round {round}"));
        assert_eq!(given_back(&repo, outcome.id.unwrap())["test"].records.len(), server.dump("test").len());
    }
}
