//! Connections that end behind a statement: what was done is done again, or known to be there, and the end is the same.

use crate::{
    atlas_source::{clock, vectors},
    cluster::{Cluster, Room, contents},
    rng::from_env,
};
use postgres::Client;
use std::{
    io::{self, Read, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Stands before a server, and ends a connection when the server has answered the statement of a number.
struct Cutter {
    port: u16,
    /// Statements that went by.
    seen: Arc<AtomicU64>,
    /// The one whose answer nobody gets; 0 for none.
    at: Arc<AtomicU64>,
}

/// A message: its type, and all of it.
fn message(from: &mut TcpStream, has_type: bool) -> io::Result<(u8, Vec<u8>)> {
    let head = if has_type { 5 } else { 4 };
    let mut bytes = vec![0; head];
    from.read_exact(&mut bytes)?;
    let len = u32::from_be_bytes(bytes[head - 4..].try_into().unwrap()) as usize;
    bytes.resize(head + len - 4, 0);
    from.read_exact(&mut bytes[head..])?;
    Ok((if has_type { bytes[0] } else { 0 }, bytes))
}

impl Cutter {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, at) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let cutter = Self { port, seen: Arc::clone(&seen), at: Arc::clone(&at) };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
                let (seen, at) = (Arc::clone(&seen), Arc::clone(&at));
                std::thread::spawn(move || pass(client, server, &seen, &at));
            }
        });
        cutter
    }

    fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Lets the answer to this statement, counted from now, be lost.
    fn arm(&self, at: u64) {
        self.seen.store(0, Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
    }
}

/// Passes messages on between a client and the server.
fn pass(mut client: TcpStream, mut server: TcpStream, seen: &AtomicU64, at: &AtomicU64) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let is_cut = Arc::new(AtomicBool::new(false));
    let (mut answers, mut answered) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let is_cut_there = Arc::clone(&is_cut);
    let back = std::thread::spawn(move || {
        while let Ok((kind, bytes)) = message(&mut answers, true) {
            if !is_cut_there.load(Ordering::SeqCst) {
                if answered.write_all(&bytes).is_err() {
                    break;
                }
            } else if matches!(kind, b'Z' | b'G') {
                // It is done, and nobody hears of it.
                break;
            }
        }
        let _ = answers.shutdown(Shutdown::Both);
        let _ = answered.shutdown(Shutdown::Both);
    });
    let mut has_type = false;
    while let Ok((kind, bytes)) = message(&mut client, has_type) {
        has_type = true;
        if matches!(kind, b'Q' | b'S') && seen.fetch_add(1, Ordering::SeqCst) + 1 == at.load(Ordering::SeqCst) {
            is_cut.store(true, Ordering::SeqCst);
        }
        if server.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
    let _ = back.join();
}

/// Which statements are cut: all, or where there are many every so many and the last ones.
fn places(all: u64) -> Vec<u64> {
    let step = (all / from_env("REKEEP_TEST_ROUNDS", 12)).max(1);
    (1..=all).filter(|place| place % step == 0 || all - place < 8).collect()
}

fn drop_database(cluster: &Cluster, name: &str) {
    cluster.client("postgres").batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
}

/// Tables of a database, or nothing if it has none.
fn state(mut client: Client) -> Vec<(String, Vec<String>)> {
    let mut found = contents(&mut client);
    found.retain(|(name, _)| name != "large objects");
    found
}

#[test]
#[ignore = "needs postgresql"]
fn a_restore_of_a_store_whose_connection_ends_behind_any_statement_is_done_again_or_known_to_be_done() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    vectors(&mut client);
    let room = Room::new();
    room.ok(&["backup", &format!("atlasdb:{}?prefix=a_", cluster.url("s")), "--timestamp-command", &clock(&room)]);
    let cutter = Cutter::before(cluster.port);
    let restore = |database: &str| room.run(&["restore", "latest", &format!("atlasdb:{}", cutter.url(database))]);
    drop(cluster.database("whole"));
    restore("whole").ends(0, &[]);
    let whole = state(cluster.client("whole"));
    let all = cutter.seen.load(Ordering::SeqCst);
    let mut failed = 0;
    for place in places(all) {
        drop(cluster.database("cut"));
        cutter.arm(place);
        let first = restore("cut");
        let found = state(cluster.client("cut"));
        if first.code == Some(0) {
            assert_eq!(found, whole, "statement {place} of {all}");
        } else {
            failed += 1;
            first.ends(1, &["as they were"]);
            assert_eq!(found, [], "statement {place} of {all}");
            cutter.arm(0);
            restore("cut").ends(0, &[]);
            assert_eq!(state(cluster.client("cut")), whole, "statement {place} of {all}");
        }
        drop_database(&cluster, "cut");
    }
    assert!(failed > 6, "{failed} of {all}");
}

#[test]
#[ignore = "needs postgresql"]
fn a_restore_in_steps_whose_last_answer_is_lost_is_known_to_be_done() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    client
        .batch_execute("CREATE TABLE t (k serial PRIMARY KEY, v text UNIQUE); INSERT INTO t (v) SELECT i FROM generate_series(1, 500) i")
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("s"));
    let cutter = Cutter::before(cluster.port);
    let restore = |database: &str| room.run(&["restore", "latest", &cutter.url(database), "--parallel", "1"]);
    drop(cluster.database("whole"));
    restore("whole").ends(0, &[]);
    let whole = state(client);
    let all = cutter.seen.load(Ordering::SeqCst);
    for place in places(all) {
        drop(cluster.database("cut"));
        cutter.arm(place);
        let first = restore("cut");
        if first.code != Some(0) {
            assert_eq!(first.code, Some(1), "statement {place} of {all}: {first:?}");
            cutter.arm(0);
            restore("cut").ends(0, &[]);
        }
        assert_eq!(state(cluster.client("cut")), whole, "statement {place} of {all}");
        drop_database(&cluster, "cut");
    }
}

#[test]
#[ignore = "needs postgresql"]
fn cleaning_and_moving_forward_end_alike_wherever_the_connection_ends() {
    let cluster = Cluster::new();
    vectors(&mut cluster.database("s"));
    let room = Room::new();
    let cutter = Cutter::before(cluster.port);
    let copy = |name: &str| {
        cluster.client("postgres").batch_execute(&format!("CREATE DATABASE {name} TEMPLATE s")).unwrap();
    };
    for verb in ["clean-transactions", "fast-forward"] {
        let run = |database: &str| {
            room.run(&["atlas", verb, &cutter.url(database), "--prefix", "a_", "--timestamp", "20000", "--force"])
        };
        copy("whole");
        cutter.arm(0);
        run("whole").ends(0, &[]);
        let whole = state(cluster.client("whole"));
        let all = cutter.seen.load(Ordering::SeqCst);
        for place in 1..=all {
            copy("cut");
            cutter.arm(place);
            let first = run("cut");
            assert!(matches!(first.code, Some(0 | 1)), "{first:?}");
            cutter.arm(0);
            run("cut").ends(0, &[]);
            assert_eq!(state(cluster.client("cut")), whole, "{verb}, statement {place} of {all}");
            drop_database(&cluster, "cut");
        }
        drop_database(&cluster, "whole");
    }
}
