//! Restores in steps: stopped anywhere, a database is known as unfinished, and the same restore makes it whole.

use crate::cluster::{Cluster, Ran, Room, SmallDisk, contents, rows};
use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

/// Longer than anything here takes; what takes longer has failed.
const DEADLINE: Duration = Duration::from_mins(5);

const MARK: &str = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'rekeep%'";

/// Tables of which rows, indexes and foreign keys take their time where `pace.slow` says so.
const SHOP: &str = "CREATE SCHEMA pace;
    CREATE FUNCTION pace.slow(what text, k int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
        IF what = coalesce(current_setting('pace.slow', true), '') AND k % 20 = 0 THEN PERFORM pg_sleep(0.02); END IF; RETURN true; END $$;
    CREATE TABLE first (k int PRIMARY KEY, v text);
    INSERT INTO first SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 20000) i;
    CREATE UNLOGGED TABLE \" light\" (k int PRIMARY KEY, v text); INSERT INTO \" light\" SELECT i, 'x' FROM generate_series(1, 500) i;
    CREATE TABLE nothing (k int);
    CREATE TABLE \"paced Żółw\" (k int, f int REFERENCES first, at timestamptz DEFAULT '2020-01-01', note text, UNIQUE (f, k), CHECK (pace.slow('rows', k)));
    INSERT INTO \"paced Żółw\" SELECT i, i, now(), repeat('n', i % 50) FROM generate_series(1, 3000) i;
    CREATE INDEX by_note ON \"paced Żółw\" (note);
    CREATE INDEX by_pace ON \"paced Żółw\" (k) WHERE pace.slow('index', k);
    CREATE MATERIALIZED VIEW sums AS SELECT f % 7 AS f, count(*) AS n FROM \"paced Żółw\" GROUP BY 1;
    CREATE UNIQUE INDEX ON sums (f);
    CREATE MATERIALIZED VIEW planned AS SELECT current_setting('enable_indexscan') AS by_index, current_setting('max_parallel_workers_per_gather') AS workers;
    CREATE SEQUENCE numbers; SELECT setval('numbers', 4711);
    SELECT lo_from_bytea(77, decode(repeat('ab', 3000), 'hex'));";

fn start(room: &Room, args: &[&str]) -> Child {
    room.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a statement that holds these words runs; the command must not end before.
fn wait_for(cluster: &Cluster, database: &str, words: &str, child: &mut Child) {
    let mut watch = cluster.client("postgres");
    let sql = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%' || $1 || '%' AND state = 'active' AND datname = $2";
    let began = Instant::now();
    while watch.query(sql, &[&words, &database]).unwrap().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {words}");
        assert!(began.elapsed() < DEADLINE, "{words} does not come");
    }
}

/// A database in which one part takes its time.
fn slow(cluster: &Cluster, name: &str, part: &str) -> postgres::Client {
    let client = cluster.database(name);
    set_pace(cluster, name, part);
    client
}

fn set_pace(cluster: &Cluster, name: &str, part: &str) {
    cluster.client("postgres").batch_execute(&format!("ALTER DATABASE {name} SET pace.slow = '{part}'")).unwrap();
}

#[test]
#[ignore = "needs postgresql"]
fn a_restore_that_was_killed_is_known_as_unfinished_and_the_same_one_goes_on() {
    let cluster = Cluster::new();
    let mut shop = cluster.database("shop");
    shop.batch_execute(SHOP).unwrap();
    let room = Room::new();
    room.backup(&cluster.url("shop"));
    shop.batch_execute("INSERT INTO first VALUES (0, 'later')").unwrap();
    room.backup(&cluster.url("shop"));
    shop.batch_execute("DELETE FROM first WHERE k = 0").unwrap();
    let schema = |database: &str| cluster.dump(database, &["--schema-only"]);
    for (part, words) in [("rows", "COPY \"public\".\"paced"), ("index", "by_pace")] {
        let to = format!("to_{part}");
        let url = cluster.url(&to);
        let mut copy = slow(&cluster, &to, part);
        // What still runs of one that was killed is waited for.
        let restore = ["--json", "restore", "latest~1", &url, "--parallel", "3", "--lock-timeout", "5m"];
        let mut child = start(&room, &restore);
        wait_for(&cluster, &to, words, &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        set_pace(&cluster, &to, "");
        assert_eq!(rows(&mut copy, MARK), ["rekeep_unfinished_restore"], "{part}");

        // Nobody takes it for the whole.
        room.run(&["backup", &url]).ends(2, &["a part only", "rekeep_unfinished_restore"]);
        room.run(&["verify", "latest~1", "--against", &url]).ends(2, &["a part only", "rekeep_unfinished_restore"]);
        room.run(&["restore", "latest", &url]).ends(2, &["a part only", "The same restore goes on"]);
        room.run(&["restore", "latest", &url, "--overwrite", "always"]).ends(2, &["a part only"]);
        room.run(&["restore", "latest~1", &url, "--single-transaction"]).ends(2, &["a part only"]);
        room.run(&["restore", "latest~1", &url, "--collection", "public.first"]).ends(2, &["a part only"]);

        let outcome = room.run(&[&restore[..], &["--verify"]].concat()).ends(0, &[]).json();
        assert_eq!((&outcome["complete"], &outcome["different"]), (&true.into(), &0.into()), "{outcome}");
        assert!(outcome["resumed"].as_u64().unwrap() > 0, "{outcome}");
        assert_eq!(outcome["records"], outcome["inserted"], "{outcome}");
        assert_eq!(contents(&mut copy), contents(&mut shop), "{part}");
        assert_eq!(schema(&to), schema("shop"), "{part}");
        assert_eq!(rows(&mut copy, "SELECT nextval('numbers')"), ["4712"]);
        assert_eq!(rows(&mut copy, MARK), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_restore_that_was_killed_before_there_are_rows_has_done_nothing() {
    let cluster = Cluster::new();
    let mut shop = cluster.database("shop");
    shop.batch_execute(SHOP).unwrap();
    let room = Room::new();
    room.backup(&cluster.url("shop"));
    let mut copy = cluster.database("copy");
    let restore = ["restore", "latest", &cluster.url("copy"), "--lock-timeout", "5m"];
    // A name that somebody else is about to take is waited for: in the midst of the part before rows.
    let mut other = cluster.client("copy");
    other.batch_execute("BEGIN; CREATE SCHEMA pace").unwrap();
    let mut child = start(&room, &restore);
    wait_for(&cluster, "copy", "CREATE SCHEMA pace", &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(rows(&mut copy, MARK), Vec::<String>::new());
    let schemas = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'";
    assert_eq!(rows(&mut copy, schemas), ["public"]);
    assert_eq!(contents(&mut copy), [("large objects".to_owned(), Vec::new())]);
    room.ok(&[&restore[..], &["--verify"]].concat());
    assert_eq!(contents(&mut copy), contents(&mut shop));
}

#[test]
#[ignore = "needs postgresql"]
fn a_restore_that_was_killed_in_a_foreign_key_or_stopped_in_an_index_goes_on_there() {
    let cluster = Cluster::new();
    let mut shop = cluster.database("shop");
    shop.batch_execute(SHOP).unwrap();
    shop.batch_execute(
        "CREATE TABLE referring (f int REFERENCES first); INSERT INTO referring SELECT generate_series(1, 1000)",
    )
    .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("shop"));
    let schema = |database: &str| cluster.dump(database, &["--schema-only"]);
    for way in ["killed in a foreign key", "stopped in an index"] {
        let to = if way.starts_with("killed") { "killed" } else { "stopped" };
        let mut copy = slow(&cluster, to, "index");
        let url = cluster.url(to);
        let restore = ["--json", "restore", "latest", &url, "--parallel", "3", "--lock-timeout", "5m"];
        let mut child = start(&room, &restore);
        wait_for(&cluster, to, "by_pace", &mut child);
        let mut other = cluster.client(to);
        if to == "killed" {
            // A writer keeps a foreign key from being made, and rows and indexes not.
            other.batch_execute("BEGIN; LOCK TABLE referring IN ROW EXCLUSIVE MODE").unwrap();
            wait_for(&cluster, to, "referring_f_fkey", &mut child);
            child.kill().unwrap();
            child.wait().unwrap();
            other.batch_execute("ROLLBACK").unwrap();
        } else {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
            let ran: Ran = child.wait_with_output().unwrap().into();
            ran.ends(130, &[]);
            let running = "SELECT query FROM pg_stat_activity WHERE query LIKE '%by_pace%' AND state = 'active' AND pid <> pg_backend_pid()";
            assert_eq!(rows(&mut other, running), Vec::<String>::new(), "what it asked for was given up");
        }
        set_pace(&cluster, to, "");
        assert_eq!(rows(&mut copy, MARK), ["rekeep_unfinished_restore"], "{way}");
        room.run(&["verify", "latest", "--against", &url]).ends(2, &["a part only"]);
        let made = "SELECT count(*) FROM pg_index WHERE indexrelid::regclass::text ~ 'first|sums'";
        let before = rows(&mut copy, made);
        let outcome = room.run(&[&restore[..], &["--verify"]].concat()).ends(0, &[]).json();
        assert_eq!((&outcome["complete"], &outcome["different"]), (&true.into(), &0.into()), "{outcome}");
        assert_eq!(outcome["resumed"], outcome["records"], "all rows were there: {outcome}");
        assert_ne!(before, ["0"], "{way}");
        assert_eq!(contents(&mut copy), contents(&mut shop), "{way}");
        assert_eq!(schema(to), schema("shop"), "{way}");
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_server_that_dies_under_a_restore_takes_the_rows_of_unlogged_tables_and_they_come_again() {
    let mut cluster = Cluster::new();
    let mut shop = cluster.database("shop");
    shop.batch_execute(SHOP).unwrap();
    let expected = contents(&mut shop);
    drop(shop);
    let room = Room::new();
    room.backup(&cluster.url("shop"));
    for (part, words) in [("rows", "COPY \"public\".\"paced"), ("index", "by_pace")] {
        let to = format!("to_{part}");
        drop(slow(&cluster, &to, part));
        let mut child = start(&room, &["restore", "latest", &cluster.url(&to), "--parallel", "2"]);
        wait_for(&cluster, &to, words, &mut child);
        cluster.crash();
        let ran: Ran = child.wait_with_output().unwrap().into();
        ran.ends(1, &["cannot be written"]);
        cluster.start();
        set_pace(&cluster, &to, "");
        room.ok(&["restore", "latest", &cluster.url(&to), "--verify"]);
        let mut copy = cluster.client(&to);
        assert_eq!(contents(&mut copy), expected, "{part}");
    }
}

#[test]
#[ignore = "needs postgresql"]
fn whoever_asks_for_one_transaction_or_may_make_no_schema_gets_all_or_nothing() {
    let cluster = Cluster::new();
    let mut shop = cluster.database("shop");
    shop.batch_execute(
        "CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 5000) i; CREATE ROLE guest LOGIN;
         CREATE MATERIALIZED VIEW planned AS SELECT current_setting('enable_indexscan') AS by_index",
    )
    .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("shop"));
    let mut copy = cluster.database("copy");
    copy.batch_execute("GRANT ALL ON SCHEMA public TO guest; REVOKE CREATE ON DATABASE copy FROM PUBLIC").unwrap();
    let url = cluster.url("copy").replace("postgres@", "guest@");
    // The owner of the table cannot be set by a guest: it is named.
    room.run(&["restore", "latest", &url]).ends(3, &["OWNER TO"]);
    assert_eq!(contents(&mut copy), contents(&mut shop));
    assert_eq!(rows(&mut copy, MARK), Vec::<String>::new());

    // A plain table of the same name as one that is to be made later: one transaction leaves nothing, steps leave the mark.
    let mut whole = cluster.database("whole");
    room.ok(&["restore", "latest", &cluster.url("whole"), "--single-transaction", "--verify"]);
    assert_eq!(contents(&mut whole), contents(&mut shop));
    room.run(&["backup", "sqlite:x", "--single-transaction"]).ends(2, &["--single-transaction"]);
}

#[test]
#[ignore = "needs postgresql"]
fn what_cannot_be_written_in_steps_is_named_and_the_rest_is_there() {
    let cluster = Cluster::new();
    let mut shop = cluster.database("shop");
    shop.batch_execute(
        "CREATE ROLE keeper;
         CREATE TABLE t (k int PRIMARY KEY, g int, CHECK (k <> 1234 OR current_database() = 'shop'));
         INSERT INTO t SELECT i, i / 2 FROM generate_series(1, 5000) i; CREATE INDEX ON t (g);
         CREATE TABLE u (k int PRIMARY KEY, t int REFERENCES t); INSERT INTO u VALUES (1, 1234);
         CREATE TABLE w (k int PRIMARY KEY, t int REFERENCES t); INSERT INTO w VALUES (1, 1); GRANT SELECT ON w TO keeper",
    )
    .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("shop"));
    shop.batch_execute("REVOKE ALL ON w FROM keeper; DROP ROLE keeper").unwrap();
    let mut copy = cluster.database("copy");
    let ran = room.run(&["--json", "restore", "latest", &cluster.url("copy"), "--parallel", "4"]).ends(3, &[]);
    let outcome = ran.json();
    assert_eq!((&outcome["failed"], &outcome["inserted"]), (&1.into(), &5001.into()), "{outcome}");
    assert!(outcome["failures"].to_string().contains("int:1234"), "{outcome}");
    let missing = outcome["missing"].to_string();
    // The key of u refers to the row that could not be written; nothing else is missing but the right.
    assert!(missing.contains("u_t_fkey") && !missing.contains("w_t_fkey") && missing.contains("keeper"), "{missing}");
    let sql = "SELECT conname FROM pg_constraint WHERE contype IN ('p', 'f') AND connamespace = 'public'::regnamespace";
    assert_eq!(rows(&mut copy, sql), ["t_pkey", "u_pkey", "w_pkey", "w_t_fkey"]);
    assert_eq!(rows(&mut copy, MARK), Vec::<String>::new());
}

#[test]
#[ignore = "needs postgresql"]
fn two_restores_into_one_database_keep_each_other_out() {
    let cluster = Cluster::new();
    cluster.database("shop").batch_execute("CREATE TABLE t (k int PRIMARY KEY)").unwrap();
    let room = Room::new();
    room.backup(&cluster.url("shop"));
    let mut copy = cluster.database("copy");
    copy.batch_execute("SELECT pg_advisory_lock(x'72656b6565700001'::int8)").unwrap();
    let restore = ["restore", "latest", &cluster.url("copy"), "--lock-timeout", "100ms"];
    room.run(&restore).ends(11, &["another restore", "--lock-timeout waits longer"]);
    copy.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
    room.ok(&restore);
}

#[test]
#[ignore = "needs postgresql, small-disk"]
fn a_disk_that_is_full_stops_rows_or_indexes_and_the_restore_goes_on_when_there_is_room() {
    let disk = SmallDisk::open();
    let cluster = Cluster::new();
    let mut shop = cluster.database("shop");
    shop.batch_execute(&format!("CREATE TABLESPACE tight LOCATION '{}'", disk.0.display())).unwrap();
    shop.batch_execute(
        "CREATE TABLE before (k int PRIMARY KEY); INSERT INTO before SELECT generate_series(1, 1000);
         CREATE TABLE t (k int, v text) TABLESPACE tight;
         INSERT INTO t SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 13000) i",
    )
    .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("shop"));
    let mut copy = cluster.database("copy");
    let restore = ["--json", "restore", "latest", &cluster.url("copy")];
    room.run(&restore).ends(1, &["No space left on device"]);
    shop.batch_execute("ALTER TABLE t SET TABLESPACE pg_default").unwrap();
    let outcome = room.ok(&restore).json();
    assert_eq!((&outcome["resumed"], &outcome["complete"]), (&1000.into(), &true.into()), "{outcome}");
    assert_eq!(contents(&mut copy), contents(&mut shop));
    drop(copy);
    cluster.client("postgres").batch_execute("DROP DATABASE copy").unwrap();

    // An index is sorted where there is no room.
    shop.batch_execute("TRUNCATE t; INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 200000) i; CREATE INDEX by_v ON t (v)")
        .unwrap();
    room.backup(&cluster.url("shop"));
    let mut copy = cluster.database("copy");
    let set = |what: &str| cluster.client("postgres").batch_execute(&format!("ALTER DATABASE copy {what}")).unwrap();
    set("SET temp_tablespaces = 'tight'");
    set("SET maintenance_work_mem = '1MB'");
    room.run(&restore).ends(1, &["No space left on device", "by_v"]);
    set("RESET temp_tablespaces");
    let outcome = room.ok(&restore).json();
    assert_eq!(outcome["resumed"], outcome["records"], "{outcome}");
    assert_eq!(contents(&mut copy), contents(&mut shop));
    drop(copy);
    drop(shop);
    drop(cluster);
}
