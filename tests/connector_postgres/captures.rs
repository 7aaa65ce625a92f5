//! Databases that are captured as they change.

use crate::{
    cluster::{Cluster, Ran, Room, contents, rows},
    histories::Table,
    rng::{Rng, from_env},
};
use postgres::Client;
use std::{
    process::{Child, Stdio},
    sync::{
        RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Longer than anything here takes; what takes longer has failed.
const DEADLINE: Duration = Duration::from_mins(2);

fn once(room: &Room, url: &str) -> Ran {
    room.run(&["--json", "--quiet", "capture", url, "--once"])
}

/// A moment at which nothing is under way, by the server's clock, and what there is.
pub fn moment(client: &mut Client) -> (i64, Vec<(String, Vec<String>)>) {
    let sql = "SELECT pg_sleep(0.005), (extract(epoch FROM clock_timestamp()) * 1000)::int8";
    let millis = client.query_one(sql, &[]).unwrap().get(1);
    let found = contents(client);
    client.execute("SELECT pg_sleep(0.005)", &[]).unwrap();
    (millis, found)
}

/// What a moment shows when it is restored.
pub fn restored(cluster: &Cluster, room: &Room, name: &str, at: &str) -> Vec<(String, Vec<String>)> {
    let mut copy = cluster.database(name);
    let ran = room.run(&["restore", at, &cluster.url(name)]);
    // What a stream does not tell is said again.
    assert!(ran.code == Some(0) || ran.code == Some(3) && ran.err.contains("is PARTIAL"), "{ran:?}");
    let found = contents(&mut copy);
    drop(copy);
    cluster.client("postgres").batch_execute(&format!("DROP DATABASE {name}")).unwrap();
    found
}

#[track_caller]
pub fn assert_same(was: &[(String, Vec<String>)], is: &[(String, Vec<String>)], when: &str) {
    assert_eq!(was.len(), is.len(), "{when}");
    for (was, is) in was.iter().zip(is) {
        assert!(was == is, "{when}, {}: {:.600?} is {:.600?}", was.0, was.1, is.1);
    }
}

fn start(room: &Room, url: &str) -> Child {
    let mut command = room.command(&["--quiet", "capture", url, "--every", "200ms", "--info-polling-period", "100ms"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Ends a capture as a person does.
fn interrupt(child: Child) -> Ran {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    child.wait_with_output().unwrap().into()
}

/// Waits until something is so, while a capture runs.
fn wait(child: &mut Child, what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(child.try_wait().unwrap().is_none(), "the capture ended before {what}");
        assert!(began.elapsed() < DEADLINE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const TABLES: &str = "CREATE TABLE account (id int PRIMARY KEY, balance int8 NOT NULL, note text);
    ALTER TABLE account ALTER COLUMN note SET STORAGE EXTERNAL;
    INSERT INTO account SELECT i, 1000, repeat(md5(i::text), 200) FROM generate_series(0, 39) i;
    CREATE TABLE log (what text, n int); ALTER TABLE log REPLICA IDENTITY FULL;
    CREATE TABLE part (k text, n int, PRIMARY KEY (k, n)) PARTITION BY LIST (n);
    CREATE TABLE part_0 PARTITION OF part FOR VALUES IN (0, 2); CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1, 3);
    CREATE TABLE numbered (id bigserial PRIMARY KEY, v float8)";

fn work(client: &mut Client, rng: &mut Rng) {
    let (a, b, n) = (rng.below(40), rng.below(40), rng.below(4));
    let mut statements = vec![
        format!("UPDATE account SET balance = balance - {n} WHERE id = {}", a.min(b)),
        format!("UPDATE account SET balance = balance + {n} WHERE id = {}", a.max(b)),
    ];
    statements.push(match rng.below(9) {
        0 => format!("INSERT INTO log SELECT 'x', {n} FROM generate_series(1, 3)"),
        1 => format!("DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log WHERE n = {n})"),
        2 => format!("UPDATE log SET what = 'y{a}' WHERE n = {n}"),
        3 => format!("INSERT INTO part VALUES ('{a}', {n}) ON CONFLICT DO NOTHING"),
        4 => format!("UPDATE part SET n = (n + 1) % 4 WHERE k = '{a}' AND NOT EXISTS (SELECT 1 FROM part p WHERE p.k = part.k AND p.n = (part.n + 1) % 4)"),
        5 => format!("UPDATE account SET note = repeat('{b}', 3000) WHERE id = {a}"),
        6 => "INSERT INTO numbered (v) VALUES (random())".to_owned(),
        7 if rng.chance(20) => "TRUNCATE log; INSERT INTO log VALUES ('after', 1)".to_owned(),
        _ => format!("DELETE FROM part WHERE k = '{a}'"),
    });
    statements.push(if rng.chance(15) { "ROLLBACK".to_owned() } else { "COMMIT".to_owned() });
    // Writers may stand in each other's way: then the server undoes one of them.
    if client.batch_execute(&format!("BEGIN; {}", statements.join("; "))).is_err() {
        client.batch_execute("ROLLBACK").unwrap();
    }
}

#[test]
#[ignore = "needs postgresql"]
fn every_moment_comes_back_whatever_writes_and_whoever_is_killed() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client.batch_execute(TABLES).unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let (gate, stop) = (RwLock::new(()), AtomicBool::new(false));
    let mut rng = Rng::new(from_env("REKEEP_TEST_SEED", 1));
    let mut moments = Vec::new();
    once(&room, &url).ends(0, &[]);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (gate, stop, mut writer) = (&gate, &stop, cluster.client("d"));
            scope.spawn(move || {
                let mut rng = Rng::new(number);
                while !stop.load(Ordering::Relaxed) {
                    let open = gate.read().unwrap();
                    work(&mut writer, &mut rng);
                    drop(open);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut child = start(&room, &url);
            for _ in 0..from_env("REKEEP_TEST_ROUNDS", 8) {
                std::thread::sleep(Duration::from_millis(100 + rng.below(600)));
                if rng.chance(60) {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    child = start(&room, &url);
                }
                let closed = gate.write().unwrap();
                moments.push(moment(&mut client));
                drop(closed);
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }));
        stop.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
    once(&room, &url).ends(0, &[]);
    moments.push(moment(&mut client));
    for (at, (millis, state)) in moments.iter().enumerate() {
        let found = restored(&cluster, &room, "copy", &format!("@{millis}"));
        assert_same(state, &found, &format!("moment {at} of {}", moments.len()));
    }
    room.ok(&["verify", "latest", "--restore"]);
    room.ok(&["verify", "latest", "--against", &url]);
    let history = room.ok(&["--json", "history", "public.account", "int:3"]).json();
    assert!(
        history["versions"].as_array().unwrap().iter().skip(1).all(|version| version["exact"] == true),
        "{history}"
    );
}

#[test]
#[ignore = "needs postgresql"]
fn versions_have_the_keys_and_cells_of_backups_whatever_the_types() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TYPE colour AS ENUM ('red', 'green')").unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let mut rng = Rng::new(from_env("REKEEP_TEST_SEED", 1));
    let mut tables = Vec::new();
    for number in 0..12 {
        let (table, sql) = Table::make(number, &mut rng);
        client.batch_execute(&format!("{sql}; ALTER TABLE {} REPLICA IDENTITY FULL", table.name)).unwrap();
        tables.push(table);
    }
    client
        .batch_execute(
            "CREATE SCHEMA \"Odd Name\"; CREATE TABLE \"Odd Name\".\"x.y\" (k int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, g int GENERATED ALWAYS AS (k * 2) STORED);
             CREATE TABLE odd (k regclass PRIMARY KEY, r regtype[], x xml, c colour, a aclitem, m numrange, p point);
             ALTER TABLE odd REPLICA IDENTITY FULL",
        )
        .unwrap();
    once(&room, &url).ends(0, &[]);
    for round in 0..4 {
        for table in &tables {
            for sql in table.change(&mut rng) {
                let _ = client.batch_execute(&sql);
            }
        }
        client
            .batch_execute(&format!(
                "DELETE FROM odd; INSERT INTO odd VALUES ('odd', '{{int4,text}}', '<a>{round}</a>', 'green', 'postgres=r/postgres', '[1.5,{round}9)', '(1,{round})');
                 INSERT INTO \"Odd Name\".\"x.y\" DEFAULT VALUES; INSERT INTO \"Odd Name\".\"x.y\" DEFAULT VALUES; DELETE FROM \"Odd Name\".\"x.y\" WHERE k = {round}"
            ))
            .unwrap();
        let (millis, state) = moment(&mut client);
        once(&room, &url).ends(0, &[]);
        room.ok(&["verify", "latest", "--against", &url]);
        assert_same(&state, &restored(&cluster, &room, "copy", &format!("@{millis}")), &format!("round {round}"));
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_slot_that_is_gone_or_was_moved_on_is_found_out_and_a_new_base_is_taken() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)").unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let take = |words: &[&str], code| room.run(&["capture", &url, "--once", "--slot", "s"]).ends(code, words);
    take(&[], 0);
    let (before, held) = moment(&mut client);
    let ways = [
        ("SELECT pg_drop_replication_slot('s')", "slot s is gone"),
        (
            "SELECT pg_drop_replication_slot('s'); SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
            "moved on",
        ),
        ("SELECT pg_replication_slot_advance('s', pg_current_wal_flush_lsn())", "moved on"),
    ];
    for (round, (way, words)) in ways.into_iter().enumerate() {
        client.batch_execute("UPDATE t SET v = v + 1").unwrap();
        client.batch_execute("SELECT pg_switch_wal()").unwrap();
        for statement in way.split("; ") {
            client.batch_execute(statement).unwrap();
        }
        take(&[words, "new base"], 3);
        assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), way);
        client.batch_execute(&format!("INSERT INTO t VALUES (10 + {round}, 0)")).unwrap();
        let (millis, state) = moment(&mut client);
        take(&[], 0);
        assert_same(&state, &restored(&cluster, &room, "copy", &format!("@{millis}")), way);
        assert_same(&held, &restored(&cluster, &room, "copy", &format!("@{before}")), way);
    }
    room.run(&["capture", &url, "--slot", "s", "--stop-slot"]).ends(0, &["dropped"]);
    let left = "SELECT slot_name FROM pg_replication_slots UNION SELECT pubname FROM pg_publication";
    assert_eq!(rows(&mut client, left), Vec::<String>::new());
}

#[test]
#[ignore = "needs postgresql"]
fn definitions_that_change_lose_no_version_before_them() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 9) i",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    once(&room, &url).ends(0, &[]);
    let mut states = Vec::new();
    client.batch_execute("CREATE TABLE stays (k int PRIMARY KEY)").unwrap();
    room.run(&["capture", &url, "--once"]).ends(0, &["public.stays are read again"]);
    for definition in [
        "ALTER TABLE t ADD COLUMN w text DEFAULT 'old'",
        "CREATE TABLE u (k int PRIMARY KEY); INSERT INTO u VALUES (7)",
        "ALTER TABLE t ALTER COLUMN v TYPE numeric USING v + 0.5",
        "ALTER TABLE t RENAME COLUMN v TO x; ALTER TABLE u ADD COLUMN y int DEFAULT 3",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        // Rows are written again, and tables made anew, without a word in the stream.
        "ALTER TABLE t ALTER COLUMN x TYPE numeric USING x * 3",
        "ALTER TABLE u DROP COLUMN y, ADD COLUMN z int; ALTER TABLE u DROP COLUMN z, ADD COLUMN y int DEFAULT 4",
        "ALTER TABLE u RENAME TO gone; CREATE TABLE u (k int PRIMARY KEY, y int DEFAULT 4); INSERT INTO u VALUES (8); DROP TABLE gone",
        "DROP TABLE u; CREATE TABLE u (k int PRIMARY KEY, y int DEFAULT 4)",
        "CREATE TABLE v (k int PRIMARY KEY, w text, x numeric); INSERT INTO v SELECT k, w, x FROM t; ALTER TABLE t RENAME TO s;
         ALTER TABLE v RENAME TO t; ALTER TABLE s RENAME TO v; ALTER TABLE t REPLICA IDENTITY FULL",
        "ALTER TABLE t ADD COLUMN c int; UPDATE t SET c = 1; ALTER TABLE t DROP COLUMN c",
        "CREATE TYPE colour AS ENUM ('red', 'green'); CREATE TABLE e (k int PRIMARY KEY, c colour[]); INSERT INTO e VALUES (1, '{red}')",
        "ALTER TYPE colour RENAME VALUE 'red' TO 'crimson'; ALTER TYPE colour ADD VALUE 'blue'",
        "DROP TABLE u",
    ] {
        client.batch_execute("UPDATE t SET k = k + 100 WHERE k = 1").unwrap();
        states.push(moment(&mut client));
        client.batch_execute(definition).unwrap();
        client.batch_execute("UPDATE t SET k = k - 100 WHERE k = 101; DELETE FROM t WHERE k = 5").unwrap();
        let ran = room.run(&["capture", &url, "--once"]).ends(0, &[]);
        assert!(!ran.err.contains("public.stays") && !ran.err.contains("new base"), "{ran:?}");
        states.push(moment(&mut client));
        client.batch_execute("INSERT INTO t (k) VALUES (5)").unwrap();
        once(&room, &url).ends(0, &[]);
        assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), definition);
    }
    for (at, (millis, state)) in states.iter().enumerate() {
        assert_same(state, &restored(&cluster, &room, "copy", &format!("@{millis}")), &format!("state {at}"));
    }
}

/// A running capture forgets what a newer snapshot shows: a new table shows nothing of before it was.
#[test]
#[ignore = "needs postgresql"]
fn a_table_or_partition_that_is_made_while_a_capture_runs_hides_no_moment_before() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 3);
             CREATE TABLE part (k int, day int, PRIMARY KEY (k, day)) PARTITION BY LIST (day)",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    once(&room, &url).ends(0, &[]);
    // The latest end, and which tables that snapshot has.
    let newest = || {
        let all = room.ok(&["--json", "snapshots"]).json();
        let one = all.as_array().unwrap().iter().max_by_key(|it| it["end"].as_i64()).unwrap().clone();
        let names: Vec<String> =
            one["collections"].as_array().unwrap().iter().map(|it| it["name"].to_string()).collect();
        (one["end"].as_i64().unwrap(), names)
    };
    let mut states = Vec::new();
    let mut child = start(&room, &url);
    for (at, definition) in [
        "CREATE TABLE fresh (id int PRIMARY KEY); INSERT INTO fresh VALUES (7)",
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1); INSERT INTO part VALUES (1, 1)",
        "DROP TABLE fresh",
    ]
    .iter()
    .enumerate()
    {
        for round in 0..2 {
            client.batch_execute(&format!("UPDATE t SET v = {}", at * 10 + round)).unwrap();
            let now = moment(&mut client);
            client.batch_execute("UPDATE t SET v = v + 100").unwrap();
            wait(&mut child, "the change", || newest().0 >= now.0);
            states.push(now);
        }
        let known = newest().1;
        client.batch_execute(definition).unwrap();
        client.batch_execute("UPDATE t SET v = v + 1000").unwrap();
        let now = moment(&mut client);
        client.batch_execute("UPDATE t SET v = v + 1").unwrap();
        // What is committed while the table is read is in no moment (docs/change-streams.md).
        wait(&mut child, "the definition", || {
            let (end, names) = newest();
            end >= now.0 && names != known
        });
    }
    interrupt(child).ends(0, &[]);
    for (at, (millis, state)) in states.iter().enumerate() {
        let shown = restored(&cluster, &room, "copy", &format!("@{millis}"));
        // The new table itself is there from when it was read.
        let of = |all: &[(String, Vec<String>)]| all.iter().find(|(name, _)| name == "public.t").unwrap().1.clone();
        assert_eq!(of(&shown), of(state), "state {at}");
    }
}

#[test]
#[ignore = "needs postgresql"]
fn only_what_was_altered_is_read_again_and_every_moment_is_one_of_all_tables() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE a (k int PRIMARY KEY, v int); CREATE TABLE b (k int PRIMARY KEY, v int); CREATE TABLE c (v int);
             ALTER TABLE c REPLICA IDENTITY FULL; INSERT INTO a SELECT i, 100 FROM generate_series(1, 9) i;
             INSERT INTO b SELECT i, 100 FROM generate_series(1, 9) i; INSERT INTO c SELECT 100 FROM generate_series(1, 9)",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    once(&room, &url).ends(0, &[]);
    let stop = AtomicBool::new(false);
    let millis = |client: &mut Client| {
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8";
        client.query_one(sql, &[]).unwrap().get::<_, i64>(0)
    };
    let mut moments = vec![millis(&mut client)];
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (stop, mut writer) = (&stop, cluster.client("d"));
            scope.spawn(move || {
                let mut rng = Rng::new(number);
                while !stop.load(Ordering::Relaxed) {
                    let (from, to, n) = (rng.below(9) + 1, rng.below(9) + 1, rng.below(5));
                    let sql = match rng.below(3) {
                        0 => format!("UPDATE a SET v = v - {n} WHERE k = {from}; UPDATE b SET v = v + {n} WHERE k = {to}"),
                        1 => format!("UPDATE b SET v = v - {n} WHERE k = {from}; UPDATE a SET v = v + {n} WHERE k = {to}"),
                        _ => format!("WITH one AS (UPDATE c SET v = v + {n} WHERE ctid = (SELECT min(ctid) FROM c) RETURNING v) UPDATE a SET v = v - {n} WHERE k = {from} AND EXISTS (SELECT FROM one)"),
                    };
                    if writer.batch_execute(&format!("BEGIN; {sql}; COMMIT")).is_err() {
                        writer.batch_execute("ROLLBACK").unwrap();
                    }
                }
            });
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut command = room.command(&["--quiet", "capture", &url, "--every", "200ms"]);
            let words = room.path("words");
            let mut child =
                command.stderr(std::fs::File::create(&words).unwrap()).stdout(Stdio::piped()).spawn().unwrap();
            let said =
                || std::fs::read_to_string(&words).unwrap().lines().filter(|line| line.contains("read again")).count();
            let newest = || {
                let all = room.ok(&["--json", "snapshots"]).json();
                all.as_array().unwrap().last().unwrap()["id"].to_string()
            };
            for round in 0..4 {
                let table = ["b", "c", "a", "b"][round];
                client
                    .batch_execute(&format!(
                        "SET lock_timeout = '30s'; ALTER TABLE {table} ADD COLUMN x{round} int DEFAULT {round}"
                    ))
                    .unwrap();
                moments.push(millis(&mut client));
                wait(&mut child, "the reading", || said() > round);
                let before = newest();
                wait(&mut child, "the snapshot", || newest() != before);
                for _ in 0..3 {
                    moments.push(millis(&mut client));
                    std::thread::sleep(Duration::from_millis(150));
                }
            }
            interrupt(child).ends(0, &[]);
            let err = std::fs::read_to_string(&words).unwrap();
            let said: Vec<&str> = err.lines().filter(|line| line.contains("read again")).collect();
            let named =
                |table: &str| said.iter().filter(|line| line.contains(&format!("public.{table} are read"))).count();
            assert_eq!((named("a"), named("b"), named("c")), (1, 2, 1), "{said:?}");
            assert_eq!(said.len(), 4, "{said:?}");
        }));
        stop.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
    once(&room, &url).ends(0, &[]);
    moments.push(millis(&mut client));
    let was = contents(&mut client);
    assert_same(&was, &restored(&cluster, &room, "copy", "latest"), "the end");
    for moment in &moments {
        let found = restored(&cluster, &room, "copy", &format!("@{moment}"));
        let value = |table: &str, row: &String| {
            let cell = row.split('\t').nth(usize::from(table != "public.c")).unwrap();
            cell.parse::<i64>().unwrap()
        };
        let sum: i64 = found.iter().flat_map(|(table, rows)| rows.iter().map(|row| value(table, row))).sum();
        assert_eq!(sum, 2700, "at {moment}: {found:?}");
    }
    room.ok(&["verify", "latest", "--restore"]);
    room.ok(&["verify", "latest", "--against", &url]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_publication_that_tells_more_than_was_asked_for_is_followed_without_reading_anything_again() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (k int PRIMARY KEY, v int); CREATE TABLE other (k int PRIMARY KEY); CREATE TABLE keyless (v int);
             INSERT INTO keyless SELECT i FROM generate_series(1001, 4000) i; INSERT INTO keyless SELECT 2000 FROM generate_series(1, 3);
             CREATE PUBLICATION every FOR ALL TABLES",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let some = format!("{url}?exclude-table=other");
    let take = || room.run(&["capture", &some, "--once", "--slot", "every"]).ends(3, &["public.keyless"]);
    take();
    for round in 0..3 {
        client
            .batch_execute(&format!(
                "INSERT INTO keyless VALUES ({round}); INSERT INTO other VALUES ({round}); INSERT INTO t VALUES ({round}, 1)"
            ))
            .unwrap();
        let ran = take();
        assert!(!ran.err.contains("read again") && !ran.err.contains("new base"), "{ran:?}");
    }
    client.batch_execute("ALTER TABLE keyless REPLICA IDENTITY FULL").unwrap();
    // What came while it was not told is found.
    room.run(&["capture", &some, "--once", "--slot", "every"]).ends(0, &["public.keyless are read again"]);
    // Few rows of many, then most of them.
    client
        .batch_execute("UPDATE keyless SET v = 2000 WHERE v IN (1, 3000); DELETE FROM keyless WHERE v = 3001")
        .unwrap();
    room.run(&["capture", &some, "--once", "--slot", "every"]).ends(0, &[]);
    room.ok(&["verify", "latest", "--against", &some]);
    client.batch_execute("UPDATE keyless SET v = v / 2").unwrap();
    room.run(&["capture", &some, "--once", "--slot", "every"]).ends(0, &[]);
    assert_eq!(room.ok(&["--json", "snapshots"]).json().as_array().unwrap().last().unwrap()["complete"], true);
    client.batch_execute("DROP TABLE other").unwrap();
    assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), "at the end");
}

#[test]
#[ignore = "needs postgresql"]
fn what_no_stream_tells_is_named_and_writers_are_left_in_peace() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (k int PRIMARY KEY, v text); CREATE TABLE keyless (v int); CREATE UNLOGGED TABLE volatile (k int PRIMARY KEY);
             CREATE TABLE other (k int PRIMARY KEY, u int NOT NULL UNIQUE); ALTER TABLE other REPLICA IDENTITY USING INDEX other_u_key;
             CREATE TABLE silent (k int PRIMARY KEY, a aclitem[])",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let named = ["keyless", "volatile", "public.other", "silent", "REPLICA IDENTITY FULL"];
    room.run(&["capture", &url, "--once"]).ends(3, &named);
    client.batch_execute("INSERT INTO keyless VALUES (1); UPDATE keyless SET v = 2; UPDATE other SET u = 3; INSERT INTO t VALUES (1, 'x')").unwrap();
    room.run(&["capture", &url, "--once"]).ends(3, &["keyless"]);
    let found = restored(&cluster, &room, "copy", "latest");
    assert!(found.iter().any(|(name, rows)| name == "public.t" && rows == &["1\tx"]), "{found:?}");
    let chosen = format!("{url}?table=t");
    room.run(&["capture", &chosen, "--once"]).ends(0, &[]);
    // A key that it gets is found, and its rows with it.
    client.batch_execute("ALTER TABLE keyless REPLICA IDENTITY FULL; INSERT INTO keyless VALUES (2)").unwrap();
    room.run(&["capture", &url, "--once"]).ends(3, &["volatile"]);
    let found = restored(&cluster, &room, "copy", "latest");
    assert!(found.iter().any(|(name, rows)| name == "public.keyless" && rows == &["2", "2"]), "{found:?}");
}

#[test]
#[ignore = "needs postgresql"]
fn a_transaction_larger_than_memory_is_told_in_windows() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE TABLE t (k int PRIMARY KEY, v text); CREATE TABLE log (v text); ALTER TABLE log REPLICA IDENTITY FULL")
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    once(&room, &url).ends(0, &[]);
    client
        .batch_execute(
            "BEGIN; INSERT INTO t SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 250000) i;
             DELETE FROM t WHERE k % 7 = 0; UPDATE t SET k = -k WHERE k % 50 = 1;
             INSERT INTO log SELECT repeat('x', 300) FROM generate_series(1, 20000); DELETE FROM log WHERE ctid IN (SELECT ctid FROM log LIMIT 5000); COMMIT",
        )
        .unwrap();
    let (millis, state) = moment(&mut client);
    client.batch_execute("BEGIN; TRUNCATE t; INSERT INTO t VALUES (3, 'again'); COMMIT").unwrap();
    let ran = once(&room, &url).ends(0, &[]).json();
    assert!(ran["changes"].as_u64().unwrap() > 500_000, "{ran}");
    assert_same(&state, &restored(&cluster, &room, "copy", &format!("@{millis}")), "the large one");
    assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), "what followed");
}

#[test]
#[ignore = "needs postgresql"]
fn a_server_that_restarts_is_waited_for() {
    let mut cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY)").unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let metrics = room.path("capture.prom");
    let mut command = room.command(&[
        "--json",
        "capture",
        &url,
        "--every",
        "200ms",
        "--info-polling-period",
        "100ms",
        "--metrics-file",
    ]);
    let mut child = command.arg(&metrics).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let count = |room: &Room| std::fs::read_to_string(room.path("capture.prom")).unwrap_or_default();
    wait(&mut child, "the recovery point", || count(&room).contains("recovery_point_timestamp_seconds{"));
    drop(client);
    cluster.crash();
    cluster.start();
    let mut client = cluster.client("d");
    client.batch_execute("INSERT INTO t VALUES (1)").unwrap();
    wait(&mut child, "the change", || {
        count(&room).lines().any(|line| line.starts_with("rekeep_capture_changes_total") && line.ends_with(" 1"))
    });
    assert!(count(&room).contains("retained_bytes"));
    let ran = interrupt(child).ends(0, &["\"event\":\"stream\"", "tried again"]);
    assert_eq!(ran.json()["complete"], true);
    assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), "after the restart");
}

#[test]
#[ignore = "needs postgresql"]
fn a_server_that_cannot_be_followed_says_what_to_set() {
    let cluster = Cluster::new();
    cluster.database("d").batch_execute("CREATE TABLE t (k int PRIMARY KEY)").unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.run(&["capture", &url, "--once"]).ends(2, &["ALTER SYSTEM SET wal_level = 'logical'"]);
    let snapshots = room.ok(&["--json", "snapshots"]).json();
    assert_eq!(snapshots.as_array().map(Vec::len), Some(0), "{snapshots}");
    room.run(&["capture", &url, "--slot", "Bad-Name"]).ends(2, &["lower-case"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_slot_has_one_capture_also_between_its_readings() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY)").unwrap();
    let (room, other, url) = (Room::new(), Room::new(), cluster.url("d"));
    let capture = ["capture", &url, "--slot", "s", "--every", "1h", "--metrics-file", "capture.prom"];
    let mut child = room.command(&capture).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(&mut child, "the recovery point", || {
        let metrics = std::fs::read_to_string(room.path("capture.prom")).unwrap_or_default();
        metrics.contains("recovery_point_timestamp_seconds{")
    });
    let slots = "SELECT slot_name, confirmed_flush_lsn FROM pg_replication_slots";
    let before = rows(&mut client, slots);
    // Nothing reads at this moment, so the server calls the slot free.
    std::thread::scope(|scope| {
        for (place, words) in [(&room, &["--once"][..]), (&other, &["--every", "1s"]), (&other, &["--stop-slot"])] {
            let args = [&["capture", &url, "--slot", "s"], words].concat();
            scope.spawn(move || place.run(&args).ends(11, &["another capture runs", "slot s"]));
        }
    });
    assert_eq!(rows(&mut client, slots), before);
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
    client.batch_execute("INSERT INTO t VALUES (1)").unwrap();
    room.run(&["capture", &url, "--slot", "s", "--once"]).ends(0, &[]);
    assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), "after the kill");
    room.run(&["capture", &url, "--slot", "s", "--stop-slot"]).ends(0, &["dropped"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_publication_that_somebody_altered_is_found_out_and_a_new_base_is_taken() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE TABLE t (k int PRIMARY KEY, v int); CREATE TABLE u (k int PRIMARY KEY); INSERT INTO t VALUES (1, 1)")
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let take = || room.run(&["capture", &url, "--once", "--slot", "s"]);
    take().ends(0, &[]);
    let mut states = vec![moment(&mut client)];
    for (round, way) in [
        "ALTER PUBLICATION s DROP TABLE ONLY t",
        "ALTER PUBLICATION s SET (publish = 'insert')",
        "DROP PUBLICATION s",
        "DROP PUBLICATION s; CREATE PUBLICATION s FOR TABLE t",
        "DROP PUBLICATION s; CREATE PUBLICATION s FOR TABLE t, u; COMMENT ON PUBLICATION s IS 'made by rekeep'",
    ]
    .into_iter()
    .enumerate()
    {
        // Before it: in the log, under the publication that was there then.
        client.batch_execute("UPDATE t SET v = v + 1").unwrap();
        states.push(moment(&mut client));
        for statement in way.split("; ") {
            client.batch_execute(statement).unwrap();
        }
        client.batch_execute(&format!("UPDATE t SET v = v + 1; INSERT INTO u VALUES ({round})")).unwrap();
        let is_lost = way == "DROP PUBLICATION s";
        if is_lost {
            states.pop();
        }
        // A table that somebody else's publication leaves out is named.
        let is_partial = way.ends_with("FOR TABLE t");
        take().ends(if is_lost || is_partial { 3 } else { 0 }, &["new base"]);
        assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), way);
        client.batch_execute("UPDATE t SET v = v + 1; DELETE FROM t WHERE k > 1; INSERT INTO t VALUES (2, 2)").unwrap();
        states.push(moment(&mut client));
        take().ends(if is_partial { 3 } else { 0 }, &[]);
        let (millis, state) = &states[states.len() - 1];
        assert_same(state, &restored(&cluster, &room, "copy", &format!("@{millis}")), way);
    }
    // What was committed before somebody altered it is told as it was then. Where rows were written while it was away, the log cannot
    // be read from the snapshot before on, which is said.
    for (at, (millis, state)) in states.iter().enumerate() {
        assert_same(state, &restored(&cluster, &room, "copy", &format!("@{millis}")), &format!("state {at}"));
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_publication_of_somebody_else_says_what_is_followed_and_is_left_to_them() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (k int PRIMARY KEY, v int); CREATE TABLE u (k int PRIMARY KEY, v int); CREATE TABLE w (k int PRIMARY KEY, v int);
             CREATE TABLE x (k int PRIMARY KEY, v int);
             CREATE PUBLICATION few FOR TABLE t, u (k), w WHERE (k > 5); CREATE PUBLICATION every FOR ALL TABLES;
             CREATE PUBLICATION half FOR TABLE t WITH (publish = 'insert'); CREATE PUBLICATION root FOR ALL TABLES WITH (publish_via_partition_root)",
        )
        .unwrap();
    let url = cluster.url("d");
    for refused in ["half", "root"] {
        let words = ["it must publish insert, update, delete and truncate"];
        Room::new().run(&["capture", &url, "--once", "--slot", refused]).ends(2, &words);
    }
    assert_eq!(rows(&mut client, "SELECT slot_name FROM pg_replication_slots"), Vec::<String>::new());
    let (few, every) = (Room::new(), Room::new());
    let words = ["public.u are not in it: the publication few does not list it", "public.w", "public.x"];
    few.run(&["capture", &url, "--once", "--slot", "few"]).ends(3, &words);
    every.run(&["capture", &url, "--once", "--slot", "every"]).ends(0, &[]);
    client
        .batch_execute(
            "INSERT INTO t VALUES (1, 1); INSERT INTO u VALUES (1, 1); INSERT INTO w VALUES (1, 1); UPDATE t SET v = 2",
        )
        .unwrap();
    let (millis, state) = moment(&mut client);
    client.batch_execute("CREATE TABLE later (k int PRIMARY KEY); INSERT INTO later VALUES (1)").unwrap();
    few.run(&["capture", &url, "--once", "--slot", "few"]).ends(3, &words);
    every.run(&["capture", &url, "--once", "--slot", "every"]).ends(0, &[]);
    assert_same(&state, &restored(&cluster, &every, "copy", &format!("@{millis}")), "all tables");
    assert_same(&moment(&mut client).1, &restored(&cluster, &every, "copy", "latest"), "a table that came later");
    let found = restored(&cluster, &few, "copy", "latest");
    assert!(found.iter().any(|(name, rows)| name == "public.t" && rows == &["1\t2"]), "{found:?}");
    for (room, slot) in [(&few, "few"), (&every, "every")] {
        room.run(&["capture", &url, "--slot", slot, "--stop-slot"]).ends(0, &["publication: not there"]);
    }
    assert_eq!(rows(&mut client, "SELECT count(*) FROM pg_publication"), ["4"]);
}

/// A row that gets another key keeps the large value that nobody touched, and rows that change places within a transaction are
/// all there at its end.
#[test]
#[ignore = "needs postgresql"]
fn rows_that_get_other_keys_lose_nothing() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("k");
    client
        .batch_execute(
            "CREATE TABLE large (id int PRIMARY KEY, v text, more int); ALTER TABLE large ALTER v SET STORAGE external;
             INSERT INTO large SELECT i, repeat(md5(i::text), 300), i FROM generate_series(1, 5) AS i;
             CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text); ALTER TABLE late REPLICA IDENTITY FULL;
             INSERT INTO late VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four');",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("k"));
    once(&room, &url).ends(0, &[]);
    let mut moments = vec![moment(&mut client)];
    for step in [
        "UPDATE large SET id = 20 WHERE id = 2",
        // Rewritten and renamed at once, in one transaction.
        "BEGIN; UPDATE large SET id = 30 WHERE id = 3; UPDATE large SET id = 31, more = 7 WHERE id = 30; UPDATE large SET id = 3 WHERE id = 31; COMMIT",
        "BEGIN; UPDATE late SET id = 2 WHERE v = 'one'; UPDATE late SET id = 1 WHERE v = 'two'; COMMIT",
        "UPDATE late SET id = id + 1",
        "UPDATE late SET id = id - 1",
        "BEGIN; UPDATE late SET id = 5 - id; UPDATE late SET v = v || '!' WHERE id < 3; COMMIT",
        "BEGIN; INSERT INTO late VALUES (1, 'again'); DELETE FROM late WHERE id = 1 AND v <> 'again'; COMMIT",
        "BEGIN; INSERT INTO late VALUES (2, 'for a moment'); DELETE FROM late WHERE v = 'for a moment'; COMMIT",
        // Three rows at one key for a time, two of them changed there.
        "BEGIN; UPDATE late SET id = 3 WHERE id IN (1, 2); UPDATE late SET v = v || '?' WHERE id = 3; UPDATE late SET id = 9 WHERE v = 'again?';
         UPDATE late SET id = 8 WHERE id = 3 AND v LIKE 'th%'; COMMIT",
        "BEGIN; TRUNCATE late; INSERT INTO late VALUES (4, 'new'); UPDATE late SET id = 1; COMMIT",
    ] {
        client.batch_execute(step).unwrap();
        moments.push(moment(&mut client));
    }
    once(&room, &url).ends(0, &["\"complete\": true"]);
    for (number, (millis, was)) in moments.iter().enumerate() {
        let at = format!("@{}", jiff::Timestamp::from_millisecond(*millis).unwrap());
        assert_same(was, &restored(&cluster, &room, "back", &at), &format!("moment {number}"));
    }
}

/// A row that goes into a partition which nobody knew of when it came is nowhere lost: no moment shows a state without it.
#[test]
#[ignore = "needs postgresql"]
fn rows_that_move_into_partitions_that_are_new_attached_or_detached_are_in_every_moment() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE part (k text, n int, v text, PRIMARY KEY (k, n)) PARTITION BY LIST (n);
             CREATE TABLE part_0 PARTITION OF part FOR VALUES IN (0); CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
             INSERT INTO part SELECT i, i % 2, repeat(md5(i::text), 100) FROM generate_series(1, 20) i;
             CREATE TABLE beside (k int PRIMARY KEY, v int); INSERT INTO beside VALUES (1, 0);
             CREATE TABLE later (k text, n int NOT NULL, v text, PRIMARY KEY (k, n)); INSERT INTO later VALUES ('later', 5, 'x')",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    once(&room, &url).ends(0, &[]);
    let mut moments = vec![moment(&mut client)];
    for (round, step) in [
        "CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2); UPDATE part SET n = 2 WHERE k IN ('1', '2', '3')",
        "ALTER TABLE part ATTACH PARTITION later FOR VALUES IN (5); UPDATE part SET n = 5 WHERE k = '5'",
        "ALTER TABLE part DETACH PARTITION part_2; UPDATE part_2 SET v = 'alone' WHERE k = '1'; DELETE FROM part_2 WHERE k = '2'",
        "CREATE TABLE deep PARTITION OF part FOR VALUES IN (7, 8) PARTITION BY LIST (n); CREATE TABLE deep_7 PARTITION OF deep FOR VALUES IN (7);
         UPDATE part SET n = 7 WHERE k = '7'; UPDATE part SET k = 'eight' WHERE k = '8'",
        "CREATE TABLE deep_8 PARTITION OF deep FOR VALUES IN (8); UPDATE part SET n = 8 WHERE k = '7'",
        "TRUNCATE part; INSERT INTO part VALUES ('again', 8, 'y')",
    ]
    .into_iter()
    .enumerate()
    {
        client.batch_execute("UPDATE beside SET v = v + 1").unwrap();
        moments.push(moment(&mut client));
        client.batch_execute(step).unwrap();
        let (millis, _) = moment(&mut client);
        client.batch_execute("UPDATE beside SET v = v + 1").unwrap();
        once(&room, &url).ends(0, &[]);
        // It was found out afterwards: the moment shows what was before the change or what was behind it, and never less.
        let before = &moments[moments.len() - 1].1;
        let found = restored(&cluster, &room, "copy", &format!("@{millis}"));
        let count = |state: &[(String, Vec<String>)]| state.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        assert!(step.contains("DELETE") || step.contains("TRUNCATE") || count(&found) == count(before), "round {round}");
        if step.starts_with("CREATE") {
            assert_same(before, &found, step);
        }
        moments.push(moment(&mut client));
        client.batch_execute("UPDATE part SET v = v || '.' WHERE k <> 'again'").unwrap();
        moments.push(moment(&mut client));
        once(&room, &url).ends(0, &[]);
        assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), step);
    }
    for (at, (millis, state)) in moments.iter().enumerate() {
        // Those between a commit of definitions and the next are behind the reading.
        let found = restored(&cluster, &room, "copy", &format!("@{millis}"));
        assert_same(state, &found, &format!("moment {at}"));
    }
}

/// Where publishing what is above partitions would stop writers, it is not done.
#[test]
#[ignore = "needs postgresql"]
fn partitions_that_cannot_be_told_leave_their_writers_in_peace() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE keyless (n int, v int) PARTITION BY LIST (n); CREATE TABLE keyless_0 PARTITION OF keyless FOR VALUES IN (0);
             ALTER TABLE keyless_0 REPLICA IDENTITY FULL; INSERT INTO keyless VALUES (0, 1);
             CREATE TABLE part (k int PRIMARY KEY, v int) PARTITION BY LIST (k); CREATE TABLE part_0 PARTITION OF part FOR VALUES IN (0);
             CREATE TABLE mute PARTITION OF part FOR VALUES IN (1); ALTER TABLE mute REPLICA IDENTITY NOTHING; INSERT INTO part VALUES (0, 0), (1, 1)",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.run(&["capture", &url, "--once"]).ends(3, &["public.mute"]);
    // What goes into a partition that nobody knew of ends what fits: no moment shows the rest without it.
    client.batch_execute("INSERT INTO keyless SELECT 0, i FROM generate_series(2, 9) i").unwrap();
    let before = moment(&mut client);
    client
        .batch_execute(
            "CREATE TABLE keyless_1 PARTITION OF keyless FOR VALUES IN (1); UPDATE keyless SET n = 1 WHERE v > 5",
        )
        .unwrap();
    let (behind, _) = moment(&mut client);
    client
        .batch_execute(
            "INSERT INTO keyless VALUES (1, 1); UPDATE keyless SET v = 2; UPDATE part SET v = 2; DELETE FROM keyless WHERE n = 1 AND v = 1",
        )
        .unwrap();
    room.run(&["capture", &url, "--once"]).ends(3, &["public.mute", "public.keyless_1"]);
    for millis in [before.0, behind] {
        let found = restored(&cluster, &room, "copy", &format!("@{millis}"));
        let rows = |state: &[(String, Vec<String>)]| {
            let keyless = state.iter().filter(|(name, _)| name.contains("keyless"));
            let mut rows: Vec<String> = keyless.flat_map(|(_, rows)| rows.clone()).collect();
            rows.sort();
            rows
        };
        assert_eq!(rows(&found), rows(&before.1), "at {millis}");
    }
    client.batch_execute("ALTER TABLE keyless_1 REPLICA IDENTITY FULL; UPDATE keyless SET v = v + 1").unwrap();
    room.run(&["capture", &url, "--once"]).ends(3, &["public.mute"]);
    room.run(&["capture", &url, "--stop-slot"]).ends(0, &[]);
    assert!(rows(&mut client, "SELECT pubname::text FROM pg_publication").is_empty());
    // Nor does the last table that could be followed stop them when it no longer can.
    let mut client = cluster.database("last");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)").unwrap();
    let (room, url) = (Room::new(), cluster.url("last"));
    once(&room, &url).ends(0, &[]);
    client.batch_execute("ALTER TABLE t REPLICA IDENTITY NOTHING").unwrap();
    room.run(&["capture", &url, "--once"]).ends(2, &["none of its tables can be followed", "public.t"]);
    client.batch_execute("UPDATE t SET v = 2; ALTER TABLE t REPLICA IDENTITY DEFAULT").unwrap();
    room.run(&["capture", &url, "--once"]).ends(0, &["new base"]);
    assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), "behind it");
}

#[test]
#[ignore = "needs postgresql"]
fn tables_that_are_emptied_with_all_that_refers_to_them_are_empty_at_that_moment() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE a (k serial PRIMARY KEY, v text); CREATE TABLE b (k int PRIMARY KEY, a int REFERENCES a);
             CREATE TABLE c (v int, b int REFERENCES b); ALTER TABLE c REPLICA IDENTITY FULL; CREATE TABLE d (k int PRIMARY KEY);
             ALTER TABLE a ALTER v SET STORAGE external",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    once(&room, &url).ends(0, &[]);
    let fill = "INSERT INTO a (k, v) SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 5) i; INSERT INTO b SELECT k, k FROM a;
                INSERT INTO c SELECT k, k FROM b; INSERT INTO c SELECT k, k FROM b; INSERT INTO d SELECT k FROM b";
    let mut moments = Vec::new();
    for step in [
        fill,
        "TRUNCATE a CASCADE",
        "TRUNCATE d",
        fill,
        "BEGIN; TRUNCATE a RESTART IDENTITY CASCADE; INSERT INTO a (v) VALUES ('new'); INSERT INTO c VALUES (9, NULL); COMMIT",
        "BEGIN; TRUNCATE b, c; ROLLBACK",
        "BEGIN; UPDATE a SET k = k + 10; TRUNCATE b, c; INSERT INTO b SELECT 1, k FROM a; COMMIT",
        "BEGIN; SAVEPOINT s; TRUNCATE a CASCADE; ROLLBACK TO s; DELETE FROM b; COMMIT",
    ] {
        client.batch_execute(step).unwrap();
        moments.push(moment(&mut client));
    }
    once(&room, &url).ends(0, &[]);
    for (at, (millis, state)) in moments.iter().enumerate() {
        assert_same(state, &restored(&cluster, &room, "copy", &format!("@{millis}")), &format!("moment {at}"));
    }
}

#[test]
#[ignore = "needs postgresql"]
fn tables_that_this_user_may_not_publish_or_read_stop_no_other_and_are_whole_when_it_may() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE ROLE joe LOGIN REPLICATION; GRANT CREATE ON DATABASE d TO joe; CREATE TABLE t (k int PRIMARY KEY, v text);
             INSERT INTO t VALUES (1, 'a'); CREATE TABLE hidden (k int PRIMARY KEY); INSERT INTO hidden VALUES (1);
             ALTER TABLE t OWNER TO joe",
        )
        .unwrap();
    let url = format!("postgresql://joe@127.0.0.1:{}/d", cluster.port);
    let room = Room::new();
    let take = |code: i32, words: &[&str]| {
        let ran = room.run(&["capture", &url, "--once"]).ends(code, words);
        let snapshots = room.ok(&["--json", "snapshots"]).json();
        // What the command says is what the snapshot says.
        assert_eq!(snapshots.as_array().unwrap().last().unwrap()["complete"], code == 0, "{ran:?} {snapshots}");
    };
    take(3, &["table public.hidden", "may not read it"]);
    client.batch_execute("ALTER TABLE hidden OWNER TO joe; INSERT INTO hidden VALUES (2)").unwrap();
    take(0, &["public.hidden are read again"]);
    let (millis, state) = moment(&mut client);
    client
        .batch_execute(
            "CREATE TABLE other (k int PRIMARY KEY, v int); GRANT SELECT ON other TO joe; INSERT INTO other VALUES (1, 1);
             UPDATE t SET v = 'b'; INSERT INTO hidden VALUES (3)",
        )
        .unwrap();
    take(3, &["public.other are not in it: only its owner can publish it"]);
    let found = restored(&cluster, &room, "copy", "latest");
    assert!(found.iter().any(|(name, rows)| name == "public.t" && rows == &["1\tb"]), "{found:?}");
    client.batch_execute("ALTER TABLE other OWNER TO joe; UPDATE other SET v = 2").unwrap();
    take(0, &["public.other are read again"]);
    assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), "all of them");
    // What is told already is told on, whoever owns it.
    client
        .batch_execute("ALTER TABLE other OWNER TO postgres; GRANT SELECT ON other TO joe; UPDATE other SET v = 3")
        .unwrap();
    take(0, &[]);
    client.batch_execute("REVOKE ALL ON t FROM joe; UPDATE t SET v = 'c'; UPDATE other SET v = 4").unwrap();
    take(3, &["public.t", "may not read it"]);
    client.batch_execute("UPDATE t SET v = 'd'").unwrap();
    take(3, &["public.t"]);
    client.batch_execute("GRANT ALL ON t TO joe; UPDATE other SET v = 5").unwrap();
    take(0, &["public.t are read again"]);
    client.batch_execute("UPDATE t SET v = 'e'; UPDATE other SET v = 6").unwrap();
    take(0, &[]);
    assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), "all of them again");
    assert_same(&state, &restored(&cluster, &room, "copy", &format!("@{millis}")), "before");
}

/// Alters and writes in turns, and compares the newest snapshot with what there is after each.
#[track_caller]
fn assert_followed(made: &str, steps: &[(&str, &str)]) {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client.batch_execute(made).unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    once(&room, &url).ends(0, &[]);
    for (sql, said) in steps {
        client.batch_execute(sql).unwrap();
        room.run(&["capture", &url, "--once"]).ends(0, &[said]);
        assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), sql);
        // And goes on from there.
        once(&room, &url).ends(0, &[]);
    }
    room.ok(&["verify", "latest", "--against", &url]);
}

#[test]
#[ignore = "needs postgresql"]
fn rows_written_while_a_table_has_another_name_are_its_own() {
    let made = "CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'); CREATE SCHEMA s;
                CREATE TABLE u (k int PRIMARY KEY, v text); INSERT INTO u VALUES (1, 'A'), (2, 'B'); CREATE TABLE still (k int PRIMARY KEY)";
    let again = "public.t was written to under another name, ";
    assert_followed(
        made,
        &[
            (
                "ALTER TABLE t RENAME TO tt; INSERT INTO tt VALUES (3, 'c'); UPDATE tt SET v = 'z' WHERE k = 1; ALTER TABLE tt RENAME TO t",
                again,
            ),
            (
                "BEGIN; ALTER TABLE t RENAME TO tt; INSERT INTO tt VALUES (4, 'd'); DELETE FROM tt WHERE k = 2; ALTER TABLE tt RENAME TO t; COMMIT",
                again,
            ),
            (
                "ALTER TABLE t SET SCHEMA s; INSERT INTO s.t VALUES (5, 'e'); DELETE FROM s.t WHERE k = 1; ALTER TABLE s.t SET SCHEMA public",
                again,
            ),
            (
                "ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u;
                 INSERT INTO t VALUES (8, 'of u'); INSERT INTO u VALUES (9, 'of t'); DELETE FROM u WHERE k = 3;
                 ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u",
                "was written to under another name, ",
            ),
            ("INSERT INTO t VALUES (10, 'j'); UPDATE u SET v = 'last'", ""),
        ],
    );
}

#[test]
#[ignore = "needs postgresql"]
fn rows_of_another_table_that_had_the_name_for_a_time_are_not_its_own() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    let made = "CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); CREATE PUBLICATION every FOR ALL TABLES";
    client.batch_execute(made).unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let take = |words: &[&str]| room.run(&["capture", &url, "--once", "--slot", "every"]).ends(0, words);
    take(&[]);
    let sql = "ALTER TABLE t RENAME TO aside; CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (77, 'nobody'); DROP TABLE t;
               INSERT INTO aside VALUES (2, 'b'); ALTER TABLE aside RENAME TO t; INSERT INTO t VALUES (3, 'c')";
    client.batch_execute(sql).unwrap();
    take(&["another table was written to under the name public.t"]);
    assert_same(&moment(&mut client).1, &restored(&cluster, &room, "copy", "latest"), "at the end");
}

#[test]
#[ignore = "needs postgresql"]
fn deletions_told_by_other_columns_than_the_key_are_not_lost() {
    let made = "CREATE TABLE t (k int PRIMARY KEY, u int NOT NULL UNIQUE); INSERT INTO t SELECT i, i * 10 FROM generate_series(1, 9) i";
    let said = "its replica identity does not tell k of its key";
    assert_followed(
        made,
        &[
            (
                "ALTER TABLE t REPLICA IDENTITY USING INDEX t_u_key; DELETE FROM t WHERE k = 1; UPDATE t SET k = 19, u = 21 WHERE k = 2;
                 ALTER TABLE t REPLICA IDENTITY DEFAULT",
                said,
            ),
            (
                "BEGIN; ALTER TABLE t REPLICA IDENTITY USING INDEX t_u_key; DELETE FROM t WHERE k = 3; ALTER TABLE t REPLICA IDENTITY FULL;
                 DELETE FROM t WHERE k = 4; COMMIT",
                said,
            ),
            ("DELETE FROM t WHERE k = 5; ALTER TABLE t REPLICA IDENTITY DEFAULT; DELETE FROM t WHERE k = 6", ""),
        ],
    );
}

#[test]
#[ignore = "needs postgresql"]
fn values_that_change_with_their_type_are_read_again() {
    let made = "CREATE TYPE c AS (x int, y int); CREATE DOMAIN dc AS c; CREATE TYPE outer_c AS (one c, n int); CREATE TYPE e AS ENUM ('a', 'b');
                CREATE TABLE t (k int PRIMARY KEY, c c, ca c[], d dc, o outer_c);
                INSERT INTO t SELECT i, row(i, 5)::c, ARRAY[row(i, 5)::c], row(i, 6)::c, row(row(i, 7)::c, 8)::outer_c FROM generate_series(1, 5) i;
                CREATE TABLE l (k int PRIMARY KEY, e e); CREATE TABLE still (k int PRIMARY KEY)";
    assert_followed(
        made,
        &[
            (
                "ALTER TYPE c DROP ATTRIBUTE y; ALTER TYPE c ADD ATTRIBUTE z int; INSERT INTO still VALUES (1)",
                "public.t are read again",
            ),
            ("ALTER TABLE still ADD COLUMN v int", "public.still are read again"),
            ("ALTER TYPE c ADD ATTRIBUTE w text; INSERT INTO t VALUES (9, row(1, 2, 'w'))", "public.t are read again"),
            // With a name that it has only for a time.
            (
                "INSERT INTO l VALUES (1, 'a'); ALTER TYPE e RENAME VALUE 'a' TO 'q'; INSERT INTO l VALUES (2, 'q');
                 ALTER TYPE e RENAME VALUE 'q' TO 'a'; INSERT INTO l VALUES (3, 'b')",
                "public.l are read again",
            ),
        ],
    );
}

#[test]
#[ignore = "needs postgresql"]
fn values_that_show_names_follow_them() {
    let made = "CREATE SCHEMA s; CREATE TABLE t (k int PRIMARY KEY); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
                CREATE TYPE colour AS ENUM ('red'); CREATE TYPE pair AS (one regclass, n int); CREATE ROLE somebody_here;
                CREATE TABLE r (k int PRIMARY KEY, r regclass, ra regclass[], p regprocedure, ty regtype, ro regrole, c pair, ns regnamespace);
                INSERT INTO r VALUES (1, 't', '{t}', 'f(int)', 'colour', 'somebody_here', row('t', 1), 's'); CREATE TABLE still (k int PRIMARY KEY)";
    let said = "public.r are read again";
    assert_followed(
        made,
        &[
            ("ALTER TABLE t RENAME TO tn; CREATE TABLE t (k int PRIMARY KEY)", "are read again"),
            ("ALTER FUNCTION f(int) RENAME TO g", said),
            ("ALTER TYPE colour RENAME TO color", said),
            ("ALTER ROLE somebody_here RENAME TO somebody_else", said),
            ("ALTER SCHEMA s RENAME TO s2", said),
            ("ALTER TABLE tn SET SCHEMA s2", "public.r"),
        ],
    );
}

#[test]
#[ignore = "needs postgresql"]
fn definitions_of_all_that_is_no_table_come_as_they_change() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); CREATE ROLE limited;
             CREATE TABLE g (k int PRIMARY KEY)",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    once(&room, &url).ends(0, &[]);
    let count = || room.ok(&["--json", "snapshots"]).json().as_array().unwrap().len();
    let same = |client: &mut Client| {
        let mut copy = cluster.database("copy");
        room.ok(&["restore", "latest", &cluster.url("copy")]);
        assert_same(&contents(client), &contents(&mut copy), "rows");
        drop(copy);
        let args = ["--schema-only", "--no-publications"];
        let (was, is) = (cluster.dump("d", &args), cluster.dump("copy", &args));
        cluster.client("postgres").batch_execute("DROP DATABASE copy").unwrap();
        assert_eq!(was, is);
    };
    for sql in [
        "CREATE VIEW w AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT k FROM g",
        "CREATE SEQUENCE sq; SELECT nextval('sq')",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'; ALTER VIEW w RENAME COLUMN v TO x",
        "CREATE INDEX ON t (v)",
        "ALTER TABLE t ADD CONSTRAINT ck CHECK (v <> 'zz'); INSERT INTO t VALUES (2, 'b')",
        "ALTER TABLE g ADD CONSTRAINT fk FOREIGN KEY (k) REFERENCES t",
        "COMMENT ON TABLE t IS 'c'",
        "GRANT SELECT ON t TO limited; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO limited",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (k > 0)",
        "CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER tr BEFORE INSERT ON t EXECUTE FUNCTION tr()",
        "ALTER TABLE t DISABLE TRIGGER tr; ALTER SEQUENCE sq INCREMENT 5",
        "CREATE PUBLICATION theirs FOR TABLE t; CREATE DOMAIN dom AS int CHECK (value > 0)",
        "DROP VIEW w; DROP INDEX t_v_idx; ALTER TABLE t DROP CONSTRAINT ck CASCADE",
    ] {
        client.batch_execute(sql).unwrap();
        let ran = room.run(&["capture", &url, "--once"]).ends(0, &["definitions other than those of tables changed"]);
        assert!(!ran.err.contains("are read again;") && !ran.err.contains("new base"), "{sql}: {ran:?}");
        same(&mut client);
    }
    // What is temporary, or only kept in order, is no other definition.
    let before = count();
    client
        .batch_execute(
            "CREATE TEMP TABLE passing (k serial PRIMARY KEY, v text CHECK (v <> '')); INSERT INTO passing (v) VALUES ('x');
             CREATE TEMP VIEW seen AS SELECT * FROM passing; ANALYZE; REINDEX TABLE t; REFRESH MATERIALIZED VIEW m; SELECT nextval('sq')",
        )
        .unwrap();
    client.batch_execute("VACUUM").unwrap();
    client.batch_execute("VACUUM FULL t").unwrap();
    let ran = room.run(&["capture", &url, "--once"]).ends(0, &[]);
    assert!(!ran.err.contains("definitions other"), "{ran:?}");
    assert_eq!(count(), before);
}
