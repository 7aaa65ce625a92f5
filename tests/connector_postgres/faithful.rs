//! Values, keys and columns that a restore must neither lose nor change without a word.

use crate::cluster::{Cluster, Room, rows};

#[test]
#[ignore = "needs postgresql"]
fn servers_elsewhere_are_named_without_their_passwords_and_stop_no_rows() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE ROLE tmp_um; CREATE ROLE guest LOGIN; CREATE EXTENSION postgres_fdw; \
             CREATE SERVER srv FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'h'); \
             CREATE USER MAPPING FOR tmp_um SERVER srv OPTIONS (user 'u', password 'topsecretpw'); \
             CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere password=subsecretpw' PUBLICATION x WITH (connect = false); \
             CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1)",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.backup(&url);
    client.batch_execute("DROP USER MAPPING FOR tmp_um SERVER srv; DROP ROLE tmp_um").unwrap();
    for way in [&[][..], &["--single-transaction"]] {
        let to = format!("to{}", way.len());
        let mut copy = cluster.database(&to);
        copy.batch_execute(&format!("GRANT ALL ON DATABASE {to} TO guest; GRANT ALL ON SCHEMA public TO guest"))
            .unwrap();
        let target = cluster.url(&to).replace("postgres@", "guest@");
        let ran = room
            .run(&[&["restore", "latest", &target], way].concat())
            .ends(3, &["CREATE USER MAPPING FOR tmp_um", "CREATE SUBSCRIPTION sub"]);
        assert!(!format!("{ran:?}").contains("secretpw"), "{ran:?}");
        assert_eq!(rows(&mut copy, "TABLE t"), ["1"]);
    }
    client.batch_execute("ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub").unwrap();
}

#[test]
#[ignore = "needs postgresql"]
fn a_socket_is_a_way_to_the_server() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1)").unwrap();
    drop(client);
    let (room, port) = (Room::new(), cluster.port);
    let dir = cluster.data().parent().unwrap().display().to_string();
    let encoded = dir.replace('/', "%2F");
    for (at, url) in [
        format!("postgresql:///d?host={dir}&port={port}&user=postgres"),
        format!("postgresql://postgres@{encoded}:{port}/d"),
        format!("postgresql://postgres@{encoded}:{port}/d?sslmode=disable"),
    ]
    .iter()
    .enumerate()
    {
        room.backup(url);
        let to = format!("to{at}");
        let mut copy = cluster.database(&to);
        room.ok(&["restore", "latest", &url.replacen("/d", &format!("/{to}"), 1)]);
        assert_eq!(rows(&mut copy, "TABLE t"), ["1"]);
    }
}

#[test]
#[ignore = "needs postgresql"]
fn what_is_set_for_a_target_does_not_change_arrays() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, x xml[], r regclass[]); INSERT INTO t VALUES (1, ARRAY['<a/>'::xml, NULL], ARRAY['t'::regclass, NULL])")
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    let mut copy = cluster.database("copy");
    copy.batch_execute("ALTER DATABASE copy SET array_nulls = off").unwrap();
    room.ok(&["restore", "latest", &cluster.url("copy")]);
    assert_eq!(
        rows(&mut copy, "SELECT id, x, x[2] IS NULL, r FROM t"),
        rows(&mut client, "SELECT id, x, x[2] IS NULL, r FROM t")
    );
}

#[test]
#[ignore = "needs postgresql"]
fn a_table_in_a_schema_that_may_not_be_used_is_named() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE ROLE lim LOGIN; CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1); GRANT SELECT ON t TO lim; \
             CREATE SCHEMA hid; CREATE TABLE hid.x (a serial); GRANT SELECT ON ALL TABLES IN SCHEMA hid TO lim; GRANT SELECT ON ALL SEQUENCES IN SCHEMA hid TO lim",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d").replace("postgres@", "lim@"));
    room.run(&["backup", &url]).ends(3, &["table hid.x: this user may not read it", "sequence hid.x_a_seq"]);
    let ran = room.run(&["restore", "latest", "jsonl:-"]);
    assert!(ran.out.contains("\"k\":1") || ran.out.contains("int:1"), "{ran:?}");
}
