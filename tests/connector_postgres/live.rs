//! Servers that are written, restarted and killed while they are read.

use crate::{
    cluster::{Cluster, Room, rows},
    rng::Rng,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

const ACCOUNTS: u64 = 40;

#[test]
#[ignore = "needs postgresql"]
fn a_bank_that_never_stops_is_balanced_in_every_snapshot() {
    let cluster = Cluster::new();
    let mut bank = cluster.database("bank");
    bank.batch_execute(
        "CREATE TABLE account (id int PRIMARY KEY, balance int8 NOT NULL, pad text);
         INSERT INTO account SELECT i, 1000, repeat('x', 500) FROM generate_series(0, 39) i;
         CREATE TABLE ledger (n bigserial PRIMARY KEY, from_id int, to_id int, amount int8);
         CREATE TABLE filler AS SELECT i, md5(i::text) AS v FROM generate_series(1, 60000) i",
    )
    .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..3)
        .map(|number| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let mut client = cluster.client("bank");
            std::thread::spawn(move || {
                let mut rng = Rng::new(number);
                while !stop.load(Ordering::Relaxed) {
                    let (mut from, mut to) = (rng.below(ACCOUNTS) as i32, rng.below(ACCOUNTS) as i32);
                    let amount = rng.below(50) as i64;
                    if from == to {
                        continue;
                    }
                    let mut transfer = client.transaction().unwrap();
                    let signed = if from > to { -amount } else { amount };
                    if from > to {
                        std::mem::swap(&mut from, &mut to);
                    }
                    let sql = "UPDATE account SET balance = balance + $2 WHERE id = $1";
                    transfer.execute(sql, &[&from, &-signed]).unwrap();
                    transfer.execute(sql, &[&to, &signed]).unwrap();
                    let sql = "INSERT INTO ledger (from_id, to_id, amount) VALUES ($1, $2, $3)";
                    transfer.execute(sql, &[&from, &to, &signed]).unwrap();
                    transfer.commit().unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let room = Room::new();
    for round in 0..3 {
        let before = done.load(Ordering::Relaxed);
        while done.load(Ordering::Relaxed) < before + 20 {
            assert!(workers.iter().any(|worker| !worker.is_finished()), "nobody is at work any more");
            std::thread::yield_now();
        }
        room.backup(&cluster.url("bank"));
        let copy = format!("copy{round}");
        let mut restored = cluster.database(&copy);
        room.ok(&["restore", "latest", &cluster.url(&copy)]);
        let sum: i64 = restored.query_one("SELECT sum(balance)::int8 FROM account", &[]).unwrap().get(0);
        assert_eq!(sum, 40_000);
        // Every balance is what the transfers of the same snapshot make it.
        let sql = "SELECT a.id FROM account a LEFT JOIN (SELECT id, sum(x) AS moved FROM (SELECT from_id AS id, -amount AS x FROM ledger \
                   UNION ALL SELECT to_id, amount FROM ledger) s GROUP BY id) m USING (id) WHERE a.balance <> 1000 + coalesce(m.moved, 0)";
        assert_eq!(rows(&mut restored, sql), Vec::<String>::new());
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_server_that_dies_midway_costs_a_run_and_nothing_else() {
    let mut cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE TABLE t AS SELECT i AS k, repeat(md5(i::text), 20) AS v FROM generate_series(1, 200000) i; ALTER TABLE t ADD PRIMARY KEY (k)")
        .unwrap();
    drop(client);
    let room = Room::new();
    let url = cluster.url("d");
    let running = |args: &[&str]| {
        let mut command = room.command(args);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    // The server dies as soon as it copies rows.
    let wait_for_copy = |cluster: &Cluster, word: &str| {
        let mut watch = cluster.client("d");
        let sql = "SELECT 1 FROM pg_stat_activity WHERE query LIKE $1 || '%' AND state = 'active' AND pid <> pg_backend_pid()";
        while watch.query(sql, &[&word]).unwrap().is_empty() {}
    };
    let child = running(&["backup", &url]);
    wait_for_copy(&cluster, "COPY");
    cluster.crash();
    let ran: crate::cluster::Ran = child.wait_with_output().unwrap().into();
    ran.ends(1, &["cannot be read"]);
    cluster.start();
    let snapshots = room.ok(&["--json", "snapshots"]).json();
    assert_eq!(snapshots.as_array().or(snapshots["snapshots"].as_array()).map(Vec::len), Some(0), "{snapshots}");
    room.backup(&url);

    // One transaction is all or nothing.
    cluster.database("copy");
    let child = running(&["restore", "latest", &cluster.url("copy"), "--single-transaction"]);
    wait_for_copy(&cluster, "COPY");
    cluster.crash();
    let ran: crate::cluster::Ran = child.wait_with_output().unwrap().into();
    ran.ends(1, &["cannot be written"]);
    cluster.start();
    let mut copy = cluster.client("copy");
    assert_eq!(rows(&mut copy, "SELECT relname FROM pg_class WHERE relname = 't'"), Vec::<String>::new());
    room.ok(&["restore", "latest", &cluster.url("copy")]);
    assert_eq!(rows(&mut copy, "SELECT count(*), sum(k) FROM t"), ["200000\t20000100000"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_table_that_is_truncated_while_a_backup_waits_for_it_is_seen_at_one_state() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1), (2)").unwrap();
    let room = Room::new();
    // The lock is held while the snapshot is taken, and the table is another one when it is free.
    client.batch_execute("BEGIN; TRUNCATE t; INSERT INTO t VALUES (7)").unwrap();
    let mut command = room.command(&["backup", &cluster.url("d"), "--lock-timeout", "60s"]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut watch = cluster.client("d");
    let sql = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'";
    while watch.query(sql, &[]).unwrap().is_empty() {}
    client.batch_execute("COMMIT").unwrap();
    let ran: crate::cluster::Ran = child.wait_with_output().unwrap().into();
    ran.ends(0, &[]);
    let mut copy = cluster.database("copy");
    room.ok(&["restore", "latest", &cluster.url("copy")]);
    assert_eq!(rows(&mut copy, "SELECT k FROM t"), ["7"]);

    client.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").unwrap();
    room.run(&["backup", &cluster.url("d"), "--lock-timeout", "100ms"]).ends(11, &["--lock-timeout waits longer"]);
    client.batch_execute("ROLLBACK").unwrap();
}
