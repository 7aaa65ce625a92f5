//! Stores that are read table after table, beside a `TimeLock` that locks the immutable timestamp.

use crate::{
    bank::{ACCOUNTS, AtWork, rounds},
    cluster::{Cluster, Ran, Room},
    mini::{self, Bank, MONEY, Oracle, coordinate, highest},
};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// A `TimeLock` that gives a bank's timestamps, and answers as `AtlasDB`'s sources say.
struct Timelock {
    port: u16,
    /// Locks are forgotten as soon as they are given.
    forgets: Arc<AtomicBool>,
    refreshed: Arc<AtomicU64>,
}

impl Timelock {
    fn of(bank: &Arc<Bank>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (forgets, refreshed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (bank, own_forgets, own_refreshed) = (Arc::clone(bank), Arc::clone(&forgets), Arc::clone(&refreshed));
        std::thread::spawn(move || {
            let mut held: Vec<(String, i64)> = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                reader.read_line(&mut first).unwrap();
                let (mut line, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).unwrap() > 2 {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                let path = first.split(' ').nth(1).unwrap_or_default();
                let tokens = |body: &serde_json::Value| -> Vec<String> {
                    let own = |lock: &serde_json::Value| lock["requestId"].as_str().unwrap().to_owned();
                    body.as_array().unwrap().iter().map(own).collect()
                };
                let known = |held: &[(String, i64)], asked: &[String]| {
                    let all: Vec<_> = held.iter().filter(|(token, _)| asked.contains(token)).collect();
                    serde_json::json!(
                        all.iter().map(|(token, _)| serde_json::json!({ "requestId": token })).collect::<Vec<_>>()
                    )
                };
                let answer = match path.rsplit('/').next().unwrap() {
                    "fresh-timestamp" => bank.oracle.fresh().to_string(),
                    "lock-immutable-timestamp" => {
                        let token = body["requestId"].as_str().unwrap().to_owned();
                        assert_eq!(token.len(), 36);
                        let (own, immutable) = bank.hold();
                        let answer =
                            serde_json::json!({ "immutableTimestamp": immutable, "lock": { "requestId": token } });
                        if own_forgets.load(Ordering::SeqCst) {
                            bank.let_go(own);
                        } else {
                            held.push((token, own));
                        }
                        answer.to_string()
                    }
                    "refresh-locks" => {
                        own_refreshed.fetch_add(1, Ordering::SeqCst);
                        known(&held, &tokens(&body)).to_string()
                    }
                    "unlock" => {
                        let asked = tokens(&body);
                        let answer = known(&held, &asked);
                        held.retain(|(token, own)| {
                            let stays = !asked.contains(token);
                            if !stays {
                                bank.let_go(*own);
                            }
                            stays
                        });
                        answer.to_string()
                    }
                    other => panic!("{other} was asked for"),
                };
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                    answer.len()
                );
            }
        });
        Self { port, forgets, refreshed }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}/api", self.port)
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_bank_that_is_copied_table_after_table_while_it_works_is_the_bank_at_the_timestamp() {
    let cluster = Cluster::new();
    for seed in 0..rounds() {
        let schema = [3, 1, 2][seed as usize % 3];
        let (from, to) = (format!("bank{seed}"), format!("copy{seed}"));
        let mut client = cluster.database(&from);
        mini::create(&mut client, "a_");
        if schema > 1 {
            coordinate(&mut client, "a_", &[(1, None, i64::from(schema))]);
        }
        // Tables of which each takes its time, so that much happens between the first and the last.
        client
            .batch_execute("CREATE TABLE a_default__filler (row_name bytea NOT NULL, col_name bytea NOT NULL, ts int8 NOT NULL, val bytea, PRIMARY KEY (row_name, col_name, ts)); \
                INSERT INTO a_default__filler SELECT int8send(i), 'x', 9999, decode(repeat('ab', 200), 'hex') FROM generate_series(1, 20000) i; INSERT INTO _metadata VALUES ('default.filler', 3, NULL)")
            .unwrap();
        let bank = Arc::new(Bank::new(Oracle::start(cluster.client(&from), "a_", 7), "a_", schema, ACCOUNTS));
        bank.open(&mut client);
        let timelock = Timelock::of(&bank);
        let room = Room::new();
        let url = |database: &str| format!("atlasdb:{}?prefix=a_&client=bank", cluster.url(database));
        let (source, address) = (url(&from), timelock.address());
        let backup = ["--json", "backup", &source, "--fuzzy", "--timelock", &address];
        let at_work = AtWork::begin(&cluster, &from, &bank, seed);
        at_work.wait_for(20);
        room.ok(&backup);
        at_work.wait_for(20);
        let before = bank.told(&mut client);
        let second = room.ok(&backup).json();
        assert_eq!(second["complete"], true, "{second}");
        at_work.wait_for(5);
        at_work.end();
        drop(client);

        let file = |name: &str| -> i64 {
            room.ok(&["dump", "latest", "timestamps", &format!("{name}.timestamp")]).out.trim().parse().unwrap()
        };
        let (immutable, backup, forward) = (file("immutable"), file("backup"), file("fast-forward"));
        assert!(immutable <= backup && backup < forward, "{immutable} {backup} {forward}");
        let mut copy = cluster.database(&to);
        room.ok(&["restore", "latest", &url(&to), "--timelock", &address, "--verify"]);
        // What had said that it committed when the backup began, and nothing that committed at the timestamp or after it.
        let told = bank.told(&mut copy);
        assert!(before.is_subset(&told) && told.is_subset(&bank.committed_before(backup)), "seed {seed}");
        let again = Oracle::start(cluster.client(&to), "a_", 7);
        let at = again.fresh();
        assert!(at > forward && at > highest(&mut copy, "a_"), "seed {seed}: {at}");
        let bank_again = Bank::new(again, "a_", schema, ACCOUNTS);
        let balances: Vec<i64> = (0..ACCOUNTS).map(|account| bank_again.balance(&mut copy, account, at)).collect();
        assert_eq!(balances, bank.after(&told), "seed {seed}");
        assert_eq!(balances.iter().sum::<i64>(), MONEY * ACCOUNTS as i64, "seed {seed}");
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_copy_without_one_state_whose_guard_is_lost_or_missing_is_none() {
    let cluster = Cluster::new();
    let mut client = cluster.database("store");
    mini::create(&mut client, "");
    let bank = Arc::new(Bank::new(Oracle::start(cluster.client("store"), "", 1000), "", 1, ACCOUNTS));
    bank.open(&mut client);
    let timelock = Timelock::of(&bank);
    let (source, address) = (format!("atlasdb:{}?client=bank", cluster.url("store")), timelock.address());
    let room = Room::new();
    let backup = ["backup", &source, "--fuzzy"];
    let with = |more: &[&str]| room.run(&[&backup[..], more].concat());
    with(&[]).ends(2, &["no timestamp of a backup"]);
    with(&["--timestamp-command", "echo 5"]).ends(2, &["keeps sweep from versions"]);
    room.run(&["backup", &source, "--sweep-is-off"]).ends(2, &["--fuzzy"]);
    // Lost, which letting it go tells.
    timelock.forgets.store(true, Ordering::SeqCst);
    with(&["--timelock", &address]).ends(1, &["was lost while tables were read"]);
    // Lost while a table waits for somebody's lock: the next refresh tells, and the backup does not go on.
    client.batch_execute("BEGIN; LOCK TABLE default__audit IN ACCESS EXCLUSIVE MODE").unwrap();
    let refreshed = timelock.refreshed.load(Ordering::SeqCst);
    let mut command = room.command(&[&backup[..], &["--timelock", &address, "--lock-timeout", "60s"]].concat());
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut child = Some(child);
    while timelock.refreshed.load(Ordering::SeqCst) == refreshed {
        assert!(child.as_mut().unwrap().try_wait().unwrap().is_none(), "it did not wait");
        std::thread::yield_now();
    }
    client.batch_execute("ROLLBACK").unwrap();
    let ran: Ran = child.take().unwrap().wait_with_output().unwrap().into();
    ran.ends(1, &["was lost while tables were read"]);
    let snapshots = room.ok(&["--json", "snapshots"]).json();
    assert_eq!(snapshots.as_array().or(snapshots["snapshots"].as_array()).map(Vec::len), Some(0), "{snapshots}");
    timelock.forgets.store(false, Ordering::SeqCst);

    // Nobody sweeps: a command that gives timestamps is enough.
    let next = room.path("next");
    std::fs::write(&next, "50000").unwrap();
    let give = format!("n=$(cat {0}); echo $((n + 1)) > {0}; echo $n", next.display());
    with(&["--sweep-is-off", "--timestamp-command", &give]).ends(0, &[]);
    assert_eq!(room.ok(&["dump", "latest", "timestamps", "fast-forward.timestamp"]).out, "50001\n");
}

#[test]
#[ignore = "needs postgresql"]
fn a_standby_is_read_only_where_the_timestamps_are_those_of_the_state_that_it_shows() {
    let cluster = Cluster::new();
    let mut client = cluster.database("store");
    mini::create(&mut client, "");
    let bank = Arc::new(Bank::new(Oracle::start(cluster.client("store"), "", 1000), "", 1, ACCOUNTS));
    bank.open(&mut client);
    let replica = cluster.replica();
    let timelock = Timelock::of(&bank);
    let (source, address) = (format!("atlasdb:{}?client=bank", replica.url("store")), timelock.address());
    let room = Room::new();
    // What it has not played yet is committed before the timestamp, and what says so would be played until it is read.
    replica.client("store").batch_execute("SELECT pg_wal_replay_pause()").unwrap();
    for options in [
        &["--fuzzy", "--timelock", &address][..],
        &["--fuzzy", "--sweep-is-off", "--timestamp-command", "echo 9"],
        &["--timelock", &address],
    ] {
        room.run(&[&["backup", &source], options].concat()).ends(2, &["it is a standby"]);
    }
    room.run(&["backup", &source]).ends(0, &["its replay is paused"]);
    cluster.database("copy");
    room.ok(&["restore", "latest", &format!("atlasdb:{}?client=bank", cluster.url("copy")), "--verify"]);
}
