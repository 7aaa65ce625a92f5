//! Servers that are odd, change under a run, or let it down.

use crate::cluster::{Cluster, Ran, Room, SmallDisk, contents, rows};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

fn openssl(dir: &Path, args: &str) {
    let output = Command::new("openssl").args(args.split(' ')).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{args}: {output:?}");
}

/// An authority, and what it signed: for the server `localhost`, and for the user `joe`.
fn certificates(dir: &Path) {
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for authority in ["ca", "other"] {
        openssl(
            dir,
            &format!("req -x509 {new} -keyout {authority}.key -out {authority}.pem -subj /CN={authority} -days 2"),
        );
    }
    fs::write(dir.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    for (name, subject) in [("server", "localhost"), ("joe", "joe")] {
        openssl(dir, &format!("req {new} -keyout {name}.key -out {name}.csr -subj /CN={subject}"));
        openssl(
            dir,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile names"
            ),
        );
    }
}

#[test]
#[ignore = "needs postgresql"]
fn connections_are_as_secure_as_they_are_asked_to_be() {
    let mut cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE ROLE joe LOGIN SUPERUSER; CREATE ROLE ann LOGIN SUPERUSER PASSWORD 'pass'; CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1)")
        .unwrap();
    drop(client);
    cluster.crash();
    let room = Room::new();
    let dir = room.path("certificates");
    fs::create_dir(&dir).unwrap();
    certificates(&dir);
    for name in ["server.pem", "server.key", "ca.pem"] {
        cluster.put(name, &fs::read(dir.join(name)).unwrap());
    }
    cluster
        .add_settings("ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\nssl_ca_file = 'ca.pem'\n");
    let hba = "hostssl all joe all cert\nhostssl all ann all scram-sha-256\nhostnossl all postgres all trust\n";
    fs::write(cluster.data().join("pg_hba.conf"), hba).unwrap();
    cluster.start();
    let file = |name: &str| dir.join(name).display().to_string();
    let url = |user: &str, host: &str, more: &str| format!("postgresql://{user}@{host}:{}/d?{more}", cluster.port);
    let own = format!("&sslcert={}&sslkey={}", file("joe.pem"), file("joe.key"));
    let (ca, other) = (file("ca.pem"), file("other.pem"));
    for (user, host, more, code, words) in [
        ("joe", "localhost", format!("sslmode=verify-full&sslrootcert={ca}{own}"), 0, ""),
        ("joe", "127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}{own}"), 0, ""),
        ("ann:pass", "localhost", format!("sslmode=verify-full&sslrootcert={ca}"), 0, ""),
        ("ann:pass", "127.0.0.1", "sslmode=require".to_owned(), 0, ""),
        ("ann:pass", "127.0.0.1", String::new(), 0, ""),
        ("postgres", "127.0.0.1", "sslmode=disable".to_owned(), 0, ""),
        ("joe", "127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}{own}"), 1, "certificate"),
        ("joe", "localhost", format!("sslmode=verify-full&sslrootcert={other}{own}"), 1, "certificate"),
        ("joe", "localhost", format!("sslmode=require&sslrootcert={other}{own}"), 1, "certificate"),
        ("joe", "localhost", format!("sslmode=require&sslrootcert={ca}"), 1, "certificate"),
        ("ann:pass", "127.0.0.1", "sslmode=disable".to_owned(), 1, "no encryption"),
        ("ann:wrong", "127.0.0.1", "sslmode=require".to_owned(), 1, "password authentication failed"),
        ("joe", "localhost", format!("sslmode=require&sslcert={}", file("joe.pem")), 2, "belong together"),
        ("joe", "localhost", "sslmode=verify-full&sslrootcert=/none".to_owned(), 2, "/none"),
    ] {
        let ran = room.run(&["backup", &url(user, host, &more)]);
        assert_eq!(ran.code, Some(code), "{user} {host} {more}: {ran:?}");
        ran.ends(code, &[words]);
    }
}

#[test]
#[ignore = "needs postgresql"]
fn names_may_hold_every_character() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    let long = "ż".repeat(31);
    let odd = [
        "a.b",
        "a\"b",
        "a\\b",
        "tab\there",
        "new\nline",
        "'",
        ";--",
        "$x$",
        "ÀΩ漢🦀",
        " ",
        "%s?&=",
        "SELECT",
        "*",
        "..",
        &long,
    ];
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    for (index, name) in odd.iter().enumerate() {
        let name = quoted(name);
        client
            .batch_execute(&format!(
                "CREATE SCHEMA {name}; CREATE TABLE {name}.{name} ({name} int PRIMARY KEY, \"v\" text, \"{index}\" text); INSERT INTO {name}.{name} VALUES ({index}, 'x', 'y'), (-1, NULL, '')"
            ))
            .unwrap();
    }
    let room = Room::new();
    let first = room.backup(&cluster.url("d"));
    assert_eq!((&first["complete"], &first["collections"]), (&true.into(), &odd.len().into()), "{first}");
    let mut copy = cluster.database("copy");
    room.ok(&["restore", "latest", &cluster.url("copy"), "--verify"]);
    assert!(contents(&mut client) == contents(&mut copy));
    for (index, name) in odd.iter().enumerate() {
        let shown = format!("{}.{}", quoted(name), quoted(name));
        let history = room.ok(&["--json", "history", &shown, &format!("int:{index}")]).json();
        assert_eq!(history["versions"].as_array().map(Vec::len), Some(1), "{shown}");
        // One such table alone, chosen in a URL.
        let encoded = shown.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"));
        let one = room.backup(&format!("{}?table={encoded}", cluster.url("d")));
        assert_eq!(one["records"], 2, "{shown}");
    }
    let mut ascii = cluster.client("postgres");
    ascii
        .batch_execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
        .unwrap();
    cluster
        .client("ascii")
        .batch_execute(r#"DO $$ BEGIN EXECUTE 'CREATE TABLE "' || convert_from('\xff', 'SQL_ASCII') || '" (k int PRIMARY KEY)'; END $$"#)
        .unwrap();
    room.run(&["backup", &cluster.url("ascii")]).ends(1, &["cannot be read"]);
}

fn running(room: &Room, args: &[&str]) -> Child {
    room.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a statement that begins so is under way, and not ours.
fn wait_for(watch: &mut postgres::Client, statement: &str, waits: bool) {
    let sql = "SELECT 1 FROM pg_stat_activity WHERE query LIKE $1 || '%' AND state = 'active' AND (wait_event_type = 'Lock' OR NOT $2) AND pid <> pg_backend_pid()";
    while watch.query(sql, &[&statement, &waits]).unwrap().is_empty() {}
}

#[test]
#[ignore = "needs postgresql"]
fn a_table_that_changes_its_form_while_a_backup_waits_for_it_is_seen_at_one_state() {
    let cluster = Cluster::new();
    for (index, (change, rows_then)) in [
        ("DROP TABLE t", None),
        ("ALTER TABLE t DROP COLUMN v", Some("1")),
        ("ALTER TABLE t RENAME v TO w", Some("1\ta")),
        ("ALTER TABLE t ALTER k TYPE int8", Some("1\ta")),
        ("ALTER TABLE t ADD w text DEFAULT 'd'", Some("1\ta\td")),
        ("ALTER TABLE t RENAME TO u", Some("1\ta")),
        ("ALTER TABLE t ALTER v TYPE int USING 7", Some("1\t7")),
    ]
    .into_iter()
    .enumerate()
    {
        let (from, to) = (format!("d{index}"), format!("copy{index}"));
        let mut client = cluster.database(&from);
        client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')").unwrap();
        let room = Room::new();
        client.batch_execute(&format!("BEGIN; {change}")).unwrap();
        let child = running(&room, &["backup", &cluster.url(&from), "--lock-timeout", "60s"]);
        wait_for(&mut cluster.client(&from), "LOCK TABLE", true);
        client.batch_execute("COMMIT").unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        ran.ends(0, &[]);
        let mut copy = cluster.database(&to);
        room.ok(&["restore", "latest", &cluster.url(&to), "--verify"]);
        let is = rows(&mut copy, "SELECT relname FROM pg_class WHERE relname IN ('t', 'u')");
        match rows_then {
            None => assert!(is.is_empty(), "{change}"),
            Some(row) => {
                // Before the change or after it, and nothing between.
                let table = is.first().unwrap_or_else(|| panic!("{change}"));
                let found = rows(&mut copy, &format!("SELECT * FROM {table}"));
                assert!(found == [row] || (found == ["1\ta"] && table == "t"), "{index} {change}: {found:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_replica_is_a_source_until_it_lets_the_reader_go() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE UNLOGGED TABLE empty (k int PRIMARY KEY); INSERT INTO empty VALUES (1); CREATE TABLE t AS SELECT i AS k, repeat(md5(i::text), 20) AS v FROM generate_series(1, 60000) i; ALTER TABLE t ADD PRIMARY KEY (k)")
        .unwrap();
    let replica = cluster.replica();
    let room = Room::new();
    room.run(&["backup", &replica.url("d")]).ends(3, &["an unlogged table is empty on a replica"]);
    let mut copy = cluster.database("copy");
    room.run(&["restore", "latest", &cluster.url("copy")]).ends(3, &[]);
    assert_eq!(rows(&mut copy, "SELECT count(*), sum(k) FROM t"), ["60000\t1800030000"]);
    // What locks the table there is played again here, and goes before readers.
    let child = running(&room, &["backup", &format!("{}?table=t", replica.url("d"))]);
    wait_for(&mut replica.client("d"), "COPY", false);
    client.batch_execute("TRUNCATE t").unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.ends(1, &["a replica cancels readers", "hot_standby_feedback"]);
    room.run(&["restore", "latest", &replica.url("postgres"), "--collection", "public.t"]).ends(1, &["read-only"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_server_that_begins_again_costs_a_run_and_the_next_one_goes_on() {
    let mut cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE TABLE t AS SELECT i AS k, repeat(md5(i::text), 20) AS v FROM generate_series(1, 60000) i; ALTER TABLE t ADD PRIMARY KEY (k)")
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    client.batch_execute("UPDATE t SET v = 'new' WHERE k % 20000 = 0").unwrap();
    drop(client);
    let child = running(&room, &["backup", &cluster.url("d")]);
    wait_for(&mut cluster.client("d"), "COPY", false);
    cluster.crash();
    cluster.start();
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.ends(1, &["cannot be read"]);
    let second = room.backup(&cluster.url("d"));
    let stats = &second["stats"];
    assert_eq!((&stats["changed"], &stats["new"], &stats["deleted"]), (&3.into(), &0.into(), &0.into()), "{second}");
}

#[test]
#[ignore = "needs postgresql, small-disk"]
fn a_target_whose_disk_is_full_is_left_as_it_was() {
    let disk = SmallDisk::open();
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE TABLE t AS SELECT i AS k, repeat(md5(i::text), 20) AS v FROM generate_series(1, 40000) i; ALTER TABLE t ADD PRIMARY KEY (k)")
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    let mut small = cluster.database("small");
    small.batch_execute(&format!("CREATE TABLESPACE tight LOCATION '{}'", disk.0.display())).unwrap();
    small
        .batch_execute("CREATE TABLE t (k int PRIMARY KEY, v text) TABLESPACE tight; INSERT INTO t VALUES (1, 'mine')")
        .unwrap();
    let restore = ["restore", "latest", &cluster.url("small"), "--overwrite", "always"];
    room.run(&restore).ends(1, &["No space left on device"]);
    assert_eq!(rows(&mut small, "SELECT * FROM t"), ["1\tmine"]);
    small.batch_execute("ALTER TABLE t SET TABLESPACE pg_default").unwrap();
    room.ok(&restore);
    assert_eq!(rows(&mut small, "SELECT count(*) FROM t"), ["40000"]);
    drop(small);
    drop(cluster);
}
