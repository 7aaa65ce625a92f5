//! What few databases have, and what a restore must not stumble over.

use crate::cluster::{Cluster, Room, contents, rows};

fn same(cluster: &Cluster, room: &Room, database: &str, copy: &str, options: &[&str]) {
    let (mut from, mut to) = (cluster.client(database), cluster.database(copy));
    let url = cluster.url(copy);
    let mut arguments = vec!["restore", "latest", &url];
    arguments.extend(options);
    room.ok(&arguments);
    let (was, is) = (contents(&mut from), contents(&mut to));
    assert_eq!(was.len(), is.len());
    for (was, is) in was.iter().zip(&is) {
        assert!(was == is, "{}: {:.500?} is {:.500?}", was.0, was.1, is.1);
    }
    let schema = |database: &str| cluster.dump(database, &["--schema-only"]);
    assert_eq!(schema(database), schema(copy));
}

#[test]
#[ignore = "needs postgresql"]
fn event_triggers_that_forbid_all_definitions_come_back_and_stop_no_restore() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); \
             CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t; CREATE VIEW w AS SELECT * FROM t; \
             CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no %'', tg_tag; END'; \
             CREATE EVENT TRIGGER a_start ON ddl_command_start EXECUTE FUNCTION no(); ALTER EVENT TRIGGER a_start DISABLE; \
             CREATE EVENT TRIGGER b_drop ON sql_drop EXECUTE FUNCTION no(); \
             COMMENT ON EVENT TRIGGER b_drop IS 'nothing goes'; \
             CREATE EVENT TRIGGER c_end ON ddl_command_end WHEN TAG IN ('DROP SCHEMA', 'CREATE INDEX') EXECUTE FUNCTION no(); \
             ALTER EVENT TRIGGER a_start ENABLE",
        )
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    same(&cluster, &room, "d", "steps", &[]);
    same(&cluster, &room, "d", "single", &["--single-transaction"]);
    for copy in ["steps", "single"] {
        let mut copy = cluster.client(copy);
        assert_eq!(rows(&mut copy, "SELECT count FROM m"), ["1"]);
        let refused = copy.batch_execute("DROP TABLE t CASCADE").unwrap_err();
        assert!(refused.as_db_error().unwrap().message().starts_with("no "), "{refused}");
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_table_of_as_many_columns_as_there_may_be_comes_back_with_its_large_values() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    let columns: Vec<String> = (1..1600).map(|at| format!("c{at} text")).collect();
    client
        .batch_execute(&format!(
            "CREATE TABLE wide (k int PRIMARY KEY, {}); CREATE TABLE bag AS SELECT * FROM wide; \
             INSERT INTO wide (k, c1, c800, c1599) VALUES (1, repeat('large ', 300000), 'x', repeat('last ', 300000)), (2, '', NULL, 'y'), \
             (3, repeat('out of line ', 20000), repeat('z', 2000000), NULL); \
             INSERT INTO bag SELECT * FROM wide; INSERT INTO bag SELECT * FROM wide",
            columns.join(", ")
        ))
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    same(&cluster, &room, "d", "copy", &["--verify"]);
}

#[test]
#[ignore = "needs postgresql"]
fn values_that_the_server_does_not_read_as_it_writes_them_and_those_that_name_what_comes_later_come_back() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE q (k int PRIMARY KEY, v tsquery); INSERT INTO q VALUES (1, ''), (2, 'a & !b'), (3, NULL); \
             CREATE TABLE t (k int PRIMARY KEY, r regclass); INSERT INTO t VALUES (1, 't'), (2, 't_pkey'), (3, NULL)",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.backup(&format!("{url}?table=q"));
    let mut copy = cluster.database("queries");
    room.ok(&["restore", "latest", &cluster.url("queries"), "--verify"]);
    assert_eq!(rows(&mut client, "TABLE q"), rows(&mut copy, "TABLE q"));

    // The index is made after the rows: its name means nothing before. When it is there, the row comes.
    room.backup(&url);
    let mut copy = cluster.database("names");
    room.run(&["restore", "latest", &cluster.url("names")]).ends(3, &["\"public.t_pkey\" does not exist", "int:2"]);
    assert_eq!(rows(&mut copy, "SELECT k FROM t"), ["1", "3"]);
    assert_eq!(rows(&mut copy, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'rekeep%'"), Vec::<String>::new());
    room.ok(&["restore", "latest", &cluster.url("names"), "--overwrite", "never"]);
    assert_eq!(rows(&mut client, "TABLE t"), rows(&mut copy, "TABLE t"));

    // A stream tells both as a base does.
    let take = || room.ok(&["--quiet", "capture", &format!("{url}?table=q"), "--once", "--slot", "s"]);
    take();
    client.batch_execute("UPDATE q SET v = '' WHERE k = 2; INSERT INTO q VALUES (4, 'c | d')").unwrap();
    take();
    let mut copy = cluster.database("captured");
    let source = room.ok(&["--json", "snapshots", "--latest", "1"]).json();
    let newest = source.as_array().unwrap().iter().max_by_key(|one| one["end"].as_i64()).unwrap().clone();
    room.ok(&["restore", newest["id"].as_str().unwrap(), &cluster.url("captured")]);
    assert_eq!(rows(&mut client, "TABLE q"), rows(&mut copy, "TABLE q"));
}

#[test]
#[ignore = "needs postgresql"]
fn objects_and_sequences_that_may_not_be_read_are_named_and_what_is_said_of_objects_comes_back() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (k serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES; CREATE ROLE reader LOGIN; \
             GRANT SELECT ON t TO reader; SELECT lo_from_bytea(7001, 'open'); SELECT lo_from_bytea(7002, 'secret'); \
             SELECT lo_from_bytea(7003, 'anybody''s'); \
             COMMENT ON LARGE OBJECT 7001 IS 'it''s \\ open'; GRANT SELECT ON LARGE OBJECT 7001 TO reader; \
             GRANT SELECT ON LARGE OBJECT 7003 TO PUBLIC",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.backup(&url);
    for (copy, options) in [("steps", &[][..]), ("single", &["--single-transaction"])] {
        same(&cluster, &room, "d", copy, options);
        let said = "SELECT objoid, description FROM pg_description WHERE classoid = 'pg_largeobject'::regclass";
        assert_eq!(rows(&mut cluster.client(copy), said), rows(&mut client, said));
    }
    // The rest is backed up, and what the parent holds of them stands.
    client.batch_execute("SELECT lo_put(7001, 0, 'OPEN')").unwrap();
    let limited = url.replace("postgres@", "reader@");
    let ran = room.run(&["--json", "backup", &limited]).ends(3, &["large object 7002", "sequence public.t_k_seq"]);
    assert!(!ran.err.contains("large object 7001") && !ran.err.contains("large object 7003"), "{ran:?}");
    let stats = &ran.json()["stats"];
    assert_eq!((&stats["changed"], &stats["deleted"]), (&1.into(), &0.into()), "{ran:?}");
    let mut copy = cluster.database("limited");
    room.run(&["restore", "latest", &cluster.url("limited")]).ends(3, &[]);
    let objects = rows(&mut copy, "SELECT oid, convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata");
    assert_eq!(objects, ["7001\tOPEN", "7002\tsecret", "7003\tanybody's"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_sequence_that_a_capture_may_not_read_is_named_until_it_may() {
    let cluster = Cluster::logical();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE ROLE owner LOGIN REPLICATION; GRANT CREATE ON DATABASE d TO owner; GRANT CREATE ON SCHEMA public TO owner; \
             CREATE SEQUENCE hidden; SELECT setval('hidden', 41); \
             SET ROLE owner; CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1); RESET ROLE",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d").replace("postgres@", "owner@"));
    let take = || room.run(&["capture", &url, "--once", "--slot", "s"]);
    for key in 2..4 {
        take().ends(3, &["the value of sequence public.hidden: this user may not read it"]);
        client.batch_execute(&format!("INSERT INTO t VALUES ({key})")).unwrap();
    }
    client.batch_execute("GRANT SELECT ON SEQUENCE hidden TO owner").unwrap();
    take().ends(0, &[]);
    let mut copy = cluster.database("copy");
    room.ok(&["restore", "latest", &cluster.url("copy")]);
    assert_eq!(rows(&mut copy, "SELECT last_value FROM hidden"), ["41"]);
    assert_eq!(rows(&mut copy, "TABLE t"), ["1", "2", "3"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_place_that_the_target_does_not_have_is_named_and_rows_come_back_elsewhere() {
    let cluster = Cluster::new();
    let fast = cluster.data().parent().unwrap().join("fast");
    std::fs::create_dir(&fast).unwrap();
    crate::cluster::give(&fast);
    let mut server = cluster.client("postgres");
    server.batch_execute(&format!("CREATE TABLESPACE fast LOCATION '{}'", fast.display())).unwrap();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE here (k int PRIMARY KEY); CREATE TABLE there (k int, v int) TABLESPACE fast; \
             INSERT INTO there VALUES (1, 2); CREATE INDEX by_v ON there (v) TABLESPACE fast; CREATE INDEX by_k ON there (k)",
        )
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    same(&cluster, &room, "d", "before", &[]);
    drop(client);
    server.batch_execute("DROP DATABASE d").unwrap();
    server.batch_execute("DROP DATABASE before").unwrap();
    server.batch_execute("DROP TABLESPACE fast").unwrap();
    for (copy, options) in [("steps", &[][..]), ("single", &["--single-transaction"])] {
        let mut there = cluster.database(copy);
        let url = cluster.url(copy);
        let arguments = [&["restore", "latest", &url], options].concat();
        let ran = room.run(&arguments).ends(3, &["SET default_tablespace = fast", "does not exist"]);
        assert_eq!(ran.err.matches("SET default_tablespace").count(), 1, "{ran:?}");
        assert_eq!(rows(&mut there, "TABLE there"), ["1\t2"]);
        assert_eq!(
            rows(&mut there, "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'there'::regclass").len(),
            2
        );
    }
}

#[test]
#[ignore = "needs postgresql"]
fn materialised_views_that_need_later_ones_are_filled() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE VIEW v AS SELECT k FROM t; \
             CREATE MATERIALIZED VIEW first AS SELECT sum(k) AS total FROM v; \
             CREATE MATERIALIZED VIEW second AS SELECT k FROM t; CREATE MATERIALIZED VIEW third AS SELECT k FROM second; \
             CREATE OR REPLACE VIEW v AS SELECT k FROM third",
        )
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    same(&cluster, &room, "d", "steps", &[]);
    same(&cluster, &room, "d", "single", &["--single-transaction"]);
    for copy in ["steps", "single"] {
        assert_eq!(rows(&mut cluster.client(copy), "SELECT total FROM first"), ["3"]);
    }
    // One that cannot be filled is named.
    client
        .batch_execute("CREATE MATERIALIZED VIEW z AS SELECT 1 / k AS k FROM t; CREATE VIEW y AS SELECT k FROM z; INSERT INTO t VALUES (0)")
        .unwrap();
    room.backup(&cluster.url("d"));
    for (copy, options) in [("steps2", &[][..]), ("single2", &["--single-transaction"])] {
        cluster.database(copy);
        let url = cluster.url(copy);
        let arguments = [&["restore", "latest", &url], options].concat();
        room.run(&arguments).ends(3, &["REFRESH MATERIALIZED VIEW \"public\".\"z\"", "division by zero"]);
    }
}
