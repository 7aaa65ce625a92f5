//! Which records come, and how they are sent.

use crate::{
    cluster::{Restore, assert_same, back_up, kept, some_record, start},
    support::{Rng, World},
};
use rekeep::connector::Overwrite;
use rekeep_aerospike_server::{Action, At, Command, Fault, Handle, Seed};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

#[test]
fn what_was_chosen_is_verified_and_nothing_else() {
    let (server, _world, repo, id) = kept(1, 400, 91);
    let demo = server.dump("test").iter().filter(|dumped| dumped.set == b"demo").count() as u64;
    let chosen = |change: fn(&mut rekeep::connector::aerospike::AerospikeOptions)| {
        let mut restore = Restore::of(&repo, id).options(change);
        restore.what.verify = true;
        restore
    };
    let to = start(1);
    to.put("test", Seed::int(7_000).set("other").bin_int("n", 1));
    let outcome = chosen(|options| options.sets = vec!["demo".into()]).run(&to);
    assert_eq!((outcome.verified, outcome.different, outcome.complete), (Some(demo), 0, true), "{:?}", outcome.notes);
    let outcome = chosen(|options| options.partitions = Some("0..=1023".into())).run(&start(1));
    assert_eq!((outcome.verified, outcome.different), (Some(outcome.outcomes.inserted), 0));
    assert!(outcome.complete && outcome.outcomes.inserted > 0);
    // A record that comes out other than it was is found among them.
    let to = start(1);
    let wrong = server.dump("test").into_iter().find(|dumped| dumped.set == b"demo").unwrap();
    to.put("test", Seed::with_digest(wrong.digest).set("demo").bin_int("n", -1));
    let outcome = chosen(|options| options.sets = vec!["demo".into()]).overwrite(Overwrite::Never).run(&to);
    assert_eq!((outcome.verified, outcome.different), (Some(demo), 1));
    // Parts of records cannot be compared, and that is said.
    let outcome = chosen(|options| options.bins = vec!["n".into()]).run(&start(1));
    assert!(!outcome.complete && outcome.notes.iter().any(|note| note.contains("nothing was verified")));
}

#[test]
fn a_dry_run_of_a_set_counts_that_set() {
    let (server, _world, repo, id) = kept(1, 300, 92);
    let to = start(1);
    let demo: Vec<_> = server.dump("test").into_iter().filter(|dumped| dumped.set == b"demo").collect();
    to.put("test", Seed::with_digest(demo[0].digest).set("demo").bin_int("n", -1));
    to.put("test", Seed::int(7_000).set("demo").bin_int("n", 1));
    to.put("test", Seed::int(7_001).set("other").bin_int("n", 1));
    let mut restore = Restore::of(&repo, id).options(|options| options.sets = vec!["demo".into()]).make_equal();
    restore.what.dry_run = true;
    let counted = restore.run(&to).outcomes;
    to.advance(Duration::from_secs(5));
    restore.what.dry_run = false;
    let done = restore.run(&to).outcomes;
    let of = |o: &rekeep::connector::Outcomes| (o.inserted, o.replaced, o.removed, o.skipped);
    assert_eq!(of(&counted), of(&done));
    assert_eq!(of(&done), (demo.len() as u64 - 1, 1, 1, 300 - demo.len() as u64));
    assert!(to.get("test", &Seed::int(7_001).set("other").digest()).is_some());
}

#[test]
fn single_records_come_by_digest_key_and_from_any_snapshot() {
    let server = start(1);
    let (_world, repo) = World::new();
    let mut ids = Vec::new();
    for state in 0..3 {
        server.advance(Duration::from_secs(30));
        server.put_all("test", (0..50).map(|n| Seed::int(n).set("s").bin_int("n", 100 * state + n)));
        server.advance(Duration::from_secs(30));
        ids.push(back_up(&repo, &server));
    }
    let to = start(1);
    let digest = Seed::int(4).set("s").digest();
    let hex = data_encoding::HEXLOWER.encode(&digest);
    for (state, id) in ids.iter().enumerate().rev() {
        let mut restore = Restore::of(&repo, *id).overwrite(Overwrite::Always);
        restore.what.keys = vec![format!("digest:{hex}"), "s/int:9".to_owned()];
        let outcome = restore.run(&to);
        assert_eq!(outcome.outcomes.inserted + outcome.outcomes.replaced, 2);
        let value = to.get("test", &digest).unwrap().bins[0].2.clone();
        assert_eq!(value, (100 * state as i64 + 4).to_be_bytes());
    }
    assert_eq!(to.count("test"), 2);
    let mut nothing = Restore::of(&repo, ids[0]).overwrite(Overwrite::Always);
    nothing.what.keys = vec!["s/int:77".to_owned()];
    assert!(nothing.error(&to).contains("has no record"));
}

#[test]
fn the_null_set_is_a_set_like_any_other() {
    let server = start(1);
    server.put_all("test", (0..10).map(|n| Seed::int(n).stores_key().bin_int("n", n)));
    server.put_all("test", (0..5).map(|n| Seed::int(n).set("a").stores_key().bin_int("n", n)));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    let to = start(1);
    let only = Restore::of(&repo, id).options(|options| options.sets = vec![String::new()]).run(&to);
    assert_eq!((only.outcomes.inserted, only.outcomes.skipped), (10, 5));
    let to = start(1);
    let map = vec![(String::new(), "b".to_owned()), ("a".to_owned(), String::new())];
    let mapped = Restore::of(&repo, id).how(|how| how.set_map = map).run(&to);
    assert_eq!((mapped.outcomes.inserted, mapped.complete), (15, true));
    assert!((0..10).all(|n| to.get("test", &Seed::int(n).set("b").digest()).is_some()));
    assert!((0..5).all(|n| to.get("test", &Seed::int(n).digest()).is_some_and(|dumped| dumped.set.is_empty())));
}

/// How many commands of a kind come, up to a bound.
fn counted(to: &Handle, command: Command) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let add = Arc::clone(&count);
    to.fault(
        Fault::run(At::Start, move |_| {
            add.fetch_add(1, Ordering::Relaxed);
        })
        .on(command)
        .always(),
    );
    count
}

#[test]
fn batches_are_as_large_as_was_said() {
    let (server, _world, repo, id) = kept(1, 100, 93);
    for (size, batches) in [(1, 100), (10, 10), (30, 4), (1000, 1)] {
        let to = start(1);
        let (many, single) = (counted(&to, Command::Batch), counted(&to, Command::Write));
        Restore::of(&repo, id).how(|how| how.batch_size = size).run(&to);
        assert_eq!((many.load(Ordering::Relaxed), single.load(Ordering::Relaxed)), (batches, 0));
        assert_same(&server, &to);
    }
    let to = start(1);
    let (many, single) = (counted(&to, Command::Batch), counted(&to, Command::Write));
    Restore::of(&repo, id).how(|how| how.disable_batch_writes = true).run(&to);
    assert_eq!((many.load(Ordering::Relaxed), single.load(Ordering::Relaxed)), (0, 100));
    assert_same(&server, &to);
}

#[test]
fn so_many_batches_are_under_way_as_was_said() {
    let (server, _world, repo, id) = kept(1, 400, 94);
    for (most, expected) in [(1, 1..=1), (4, 2..=4)] {
        let to = start(1);
        let (now, peak) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (running, seen, ended) = (Arc::clone(&now), Arc::clone(&peak), Arc::clone(&now));
        let begin = move |_: &_| {
            let all = running.fetch_add(1, Ordering::SeqCst) + 1;
            seen.fetch_max(all, Ordering::SeqCst);
        };
        to.fault(Fault::run(At::Start, begin).on(Command::Batch).always());
        to.fault(Fault::new(At::Start, Action::Stall(Duration::from_millis(20))).on(Command::Batch).always());
        to.fault(
            Fault::run(At::End, move |_| {
                ended.fetch_sub(1, Ordering::SeqCst);
            })
            .on(Command::Batch)
            .always(),
        );
        Restore::of(&repo, id).how(|how| (how.batch_size, how.max_async_batches) = (10, most)).run(&to);
        let peak = peak.load(Ordering::SeqCst);
        assert!(expected.contains(&peak), "{most}: {peak}");
        assert_same(&server, &to);
    }
}

#[test]
fn a_longer_life_is_given_to_all_that_expire_and_to_nothing_else() {
    let (server, _world, repo, id) = kept(1, 200, 95);
    let to = start(1);
    let outcome = Restore::of(&repo, id).how(|how| how.extra_ttl = Duration::from_secs(777)).run(&to);
    assert_eq!(outcome.outcomes.inserted, 200);
    for before in server.dump("test") {
        let after = to.get("test", &before.digest).unwrap().void_time;
        let expected = if before.void_time == 0 { 0 } else { before.void_time + 777 };
        assert!(after.abs_diff(expected) <= 2 && (after == 0) == (expected == 0), "{after} {expected}");
    }
}

#[test]
fn the_command_takes_what_is_typed() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command.args(["--quiet", "--json", "--cache-dir"]).arg(dir.path().join("cache"));
        command.arg("--repo").arg(dir.path().join("repo")).args(args).env("REKEEP_PASSWORD", "secret");
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let url = |server: &Handle| format!("aerospike://{}/test", server.address(0));
    let server = start(1);
    let mut rng = Rng::new(96);
    server.put_all("test", (0..40).map(|n| some_record(&mut rng, n)));
    server.put("test", Seed::int(500).set("s").stores_key().bin_int("n", 1));
    server.put("test", Seed::int(501).set("s").bin_int("n", 1));
    assert_eq!(run(&["init", "--kdf-memory", "1", "--kdf-passes", "1"]).0, 0);
    let first = run(&["backup", &url(&server)]).1;
    let first = serde_json::from_str::<serde_json::Value>(&first).unwrap()["id"].as_str().unwrap().to_owned();
    server.advance(Duration::from_mins(1));
    server.put("test", Seed::int(500).set("s").stores_key().bin_int("n", 2));
    server.advance(Duration::from_mins(1));
    assert_eq!(run(&["backup", &url(&server)]).0, 0);

    // One record of an earlier time, as a line and into its place.
    let (code, lines, said) = run(&["restore", &first, "--key", "s/int:500", "jsonl:-"]);
    assert!(code == 0 && lines.lines().count() == 1 && said.contains("\"result\""), "{code} {lines} {said}");
    let (code, ..) = run(&["restore", &first, "--key", "s/int:500", &url(&server), "--overwrite", "always"]);
    assert_eq!((code, server.get("test", &Seed::int(500).set("s").digest()).unwrap().bins[0].2[7]), (0, 1));
    assert_eq!(run(&["restore", &first, "--key", "s/int:555", &url(&server), "--overwrite", "always"]).0, 1);

    let into = |args: &[&str]| {
        let to = start(1);
        let address = url(&to);
        let (code, out, err) = run(&[&["restore", "latest", address.as_str()], args].concat());
        (to, code, out, err)
    };
    let (to, code, ..) = into(&["--no-records"]);
    assert_eq!((code, to.count("test")), (0, 0));
    let (to, code, ..) =
        into(&["--set", "s", "--no-indexes", "--no-udfs", "--batch-size", "1", "--max-async-batches", "1", "--verify"]);
    assert_eq!((code, to.count("test")), (0, 2));
    let (to, code, out, _) = into(&["--set-map", "s=t", "--skip-unmappable"]);
    assert_eq!((code, to.count("test"), out.contains("\"unmappable\": 1")), (3, 41, true), "{out}");
    let (to, code, _, err) = into(&["--set-map", "s=t"]);
    assert!(code == 1 && to.count("test") == 0 && err.contains("--skip-unmappable"), "{err}");
    let (_, code, ..) = into(&["--extra-ttl", "1d", "--no-resume", "--disable-batch-writes"]);
    assert_eq!(code, 0);
    let (_, code, _, err) = into(&["--extra-ttl", "4000d"]);
    assert!(code == 1 && err.contains("ten years") && err.contains("nothing was written"), "{err}");
    let (_, code, out, _) = into(&["--extra-ttl", "4000d", "--ignore-record-error"]);
    assert!(code == 0 && !out.contains("\"ignored\": 0"), "{out}");
}
