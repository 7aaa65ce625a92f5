//! Standbys as sources and in their primary's place, and servers that are set otherwise behind a capture's back.

use crate::{
    captures::{assert_same, moment, restored},
    cluster::{Cluster, Room, contents, rows},
};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_mins(2);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a standby has played what its primary has written.
fn caught_up(primary: &mut postgres::Client, standby: &mut postgres::Client) {
    let upto: String = primary.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).unwrap().get(0);
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{upto}'::pg_lsn");
    until("the log", || standby.query_one(&sql, &[]).unwrap().get(0));
}

#[test]
#[ignore = "needs postgresql"]
fn a_standby_says_which_state_it_shows_and_is_not_followed() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1)").unwrap();
    let unlogged =
        "CREATE UNLOGGED TABLE u (k serial); CREATE TABLE s (k serial PRIMARY KEY); INSERT INTO s DEFAULT VALUES";
    cluster.database("unlogged").batch_execute(unlogged).unwrap();
    let replica = cluster.replica();
    let mut there = replica.client("d");
    client.batch_execute("INSERT INTO t VALUES (2)").unwrap();
    caught_up(&mut client, &mut there);
    let room = Room::new();
    room.run(&["backup", &replica.url("d")])
        .ends(0, &["it is a replica", "the last commit that it had played is of 20"]);
    assert_same(&contents(&mut client), &restored(&cluster, &room, "copy", "latest"), "of the standby");

    there.batch_execute("SELECT pg_wal_replay_pause()").unwrap();
    client.batch_execute("INSERT INTO t VALUES (3)").unwrap();
    room.run(&["backup", &replica.url("d")]).ends(0, &["its replay is paused"]);
    there.batch_execute("SELECT pg_wal_replay_resume()").unwrap();

    let before = room.ok(&["--json", "snapshots"]).json();
    room.run(&["capture", &replica.url("d"), "--once"]).ends(2, &["it is a standby", "where they are made"]);
    assert_eq!(room.ok(&["--json", "snapshots"]).json(), before);
    room.run(&["restore", "latest", &replica.url("postgres")]).ends(1, &["read-only"]);

    // What is unlogged cannot be read there, its sequences neither; all else can.
    let room = Room::new();
    room.run(&["backup", &replica.url("unlogged")])
        .ends(3, &["table public.u: ", "sequence public.u_k_seq: an unlogged"]);
    let mut copy = cluster.database("copy");
    room.run(&["restore", "latest", &cluster.url("copy")]).ends(3, &[]);
    assert_eq!(rows(&mut copy, "SELECT k, nextval('s_k_seq') FROM s"), ["1\t2"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_standby_promoted_in_its_primarys_place_costs_a_new_base_and_no_version() {
    let mut cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)").unwrap();
    let mut replica = cluster.replica();
    let (room, url) = (Room::new(), cluster.url("d"));
    let take = |code, words: &[&str]| room.run(&["capture", &url, "--once", "--slot", "s"]).ends(code, words);
    take(0, &[]);
    client.batch_execute("UPDATE t SET v = 2").unwrap();
    let (held, was) = moment(&mut client);
    take(0, &[]);
    // Committed, played by the standby, and not captured before the primary is gone.
    client.batch_execute("INSERT INTO t VALUES (2, 2)").unwrap();
    caught_up(&mut client, &mut replica.client("d"));
    drop(client);
    cluster.crash();
    room.run(&["capture", &url, "--once", "--slot", "s"]).ends(1, &["cannot be read"]);
    replica.crash();
    replica.port = cluster.port;
    replica.start();
    take(2, &["it is a standby"]);
    let mut client = replica.client("d");
    client.batch_execute("SELECT pg_promote()").unwrap();
    client.batch_execute("INSERT INTO t VALUES (3, 3)").unwrap();
    take(3, &["timeline", "new base"]);
    assert_same(&contents(&mut client), &restored(&replica, &room, "copy", "latest"), "after the failover");
    assert_same(&was, &restored(&replica, &room, "copy", &format!("@{held}")), "before the failover");
    client.batch_execute("DELETE FROM t WHERE k = 1").unwrap();
    let (later, is) = moment(&mut client);
    take(0, &[]);
    assert_same(&is, &restored(&replica, &room, "copy", &format!("@{later}")), "the stream goes on");
}

#[test]
#[ignore = "needs postgresql"]
fn a_slot_that_the_server_gave_up_is_found_out_and_a_new_base_is_taken() {
    let mut cluster = Cluster::logical();
    cluster.crash();
    cluster.add_settings("max_slot_wal_keep_size = 16MB\nmin_wal_size = 32MB\nmax_wal_size = 32MB\n");
    cluster.start();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)").unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let take = |code, words: &[&str]| room.run(&["capture", &url, "--once", "--slot", "s"]).ends(code, words);
    take(0, &[]);
    let (held, was) = moment(&mut client);
    let status = |client: &mut postgres::Client| -> String {
        client.query_one("SELECT wal_status FROM pg_replication_slots", &[]).unwrap().get(0)
    };
    for _ in 0..20 {
        client.batch_execute("UPDATE t SET v = v + 1").unwrap();
        client.batch_execute("SELECT pg_switch_wal()").unwrap();
        client.batch_execute("CHECKPOINT").unwrap();
        if status(&mut client) == "lost" {
            break;
        }
    }
    assert_eq!(status(&mut client), "lost");
    take(3, &["gave", "new base"]);
    assert_same(&contents(&mut client), &restored(&cluster, &room, "copy", "latest"), "the new base");
    assert_same(&was, &restored(&cluster, &room, "copy", &format!("@{held}")), "before");
    client.batch_execute("INSERT INTO t VALUES (2, 2)").unwrap();
    take(0, &[]);
    assert_same(&contents(&mut client), &restored(&cluster, &room, "copy", "latest"), "the stream goes on");
}

#[test]
#[ignore = "needs postgresql"]
fn a_log_level_that_was_lowered_is_told_and_costs_a_new_base_when_it_is_raised() {
    let mut cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)").unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let take = |code, words: &[&str]| room.run(&["capture", &url, "--once", "--slot", "s"]).ends(code, words);
    take(0, &[]);
    let (held, was) = moment(&mut client);
    // With the slot there the server would not start.
    client.batch_execute("SELECT pg_drop_replication_slot('s')").unwrap();
    drop(client);
    cluster.crash();
    cluster.add_settings("wal_level = replica\n");
    cluster.start();
    cluster.client("d").batch_execute("UPDATE t SET v = 2").unwrap();
    let before = room.ok(&["--json", "snapshots"]).json();
    take(2, &["ALTER SYSTEM SET wal_level = 'logical'"]);
    assert_eq!(room.ok(&["--json", "snapshots"]).json(), before);
    cluster.crash();
    cluster.add_settings("wal_level = logical\n");
    cluster.start();
    let mut client = cluster.client("d");
    take(3, &["slot s is gone", "new base"]);
    assert_same(&contents(&mut client), &restored(&cluster, &room, "copy", "latest"), "the new base");
    assert_same(&was, &restored(&cluster, &room, "copy", &format!("@{held}")), "before");
}
