//! What cannot be read or written is said, and nothing is lost.

use crate::cluster::{Cluster, Room, rows};

#[test]
#[ignore = "needs postgresql"]
fn what_may_not_be_read_is_named_and_hidden_rows_are_refused() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE ROLE plain LOGIN; CREATE TABLE a (k int PRIMARY KEY); CREATE TABLE secret (k int PRIMARY KEY);
             INSERT INTO a VALUES (1); GRANT SELECT ON a TO plain;
             CREATE EXTENSION file_fdw; CREATE SERVER f FOREIGN DATA WRAPPER file_fdw;
             CREATE FOREIGN TABLE elsewhere (t text) SERVER f OPTIONS (filename '/dev/null')",
        )
        .unwrap();
    let room = Room::new();
    let plain = cluster.url("d").replace("postgres@", "plain@");
    room.run(&["backup", &plain])
        .ends(3, &["public.secret: this user may not read it", "elsewhere is a foreign table"]);
    room.run(&["backup", &format!("{plain}?table=a")]).ends(0, &[]);
    client.batch_execute("ALTER TABLE a ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON a USING (k > 5)").unwrap();
    room.run(&["backup", &format!("{plain}?table=a")]).ends(1, &["row security"]);
    room.run(&["backup", &format!("{}?table=a", cluster.url("d"))]).ends(0, &[]);
    for (url, code, words) in [
        ("?table=nobody", 1, "does not exist"),
        ("?schema=nobody", 1, "does not exist"),
        ("?tabel=a", 2, "neither libpq's nor"),
        ("?sslmode=require", 1, "TLS"),
        ("?sslmode=verify-full", 2, "sslrootcert"),
        ("nobody", 1, "createdb"),
    ] {
        room.run(&["backup", &cluster.url(&format!("d{url}").replace("dnobody", "nobody"))]).ends(code, &[words]);
    }
    room.run(&["backup", "sqlite:x", "--lock-timeout", "1s"]).ends(2, &["--lock-timeout"]);
}

#[test]
#[ignore = "needs postgresql"]
fn passwords_are_found_where_libpq_finds_them_and_are_kept_nowhere() {
    let mut cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE ROLE joe LOGIN SUPERUSER PASSWORD 'sec:ret'; CREATE TABLE t (k int PRIMARY KEY)")
        .unwrap();
    drop(client);
    cluster.crash();
    std::fs::write(
        cluster.data().join("pg_hba.conf"),
        "host all joe 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n",
    )
    .unwrap();
    cluster.start();
    let room = Room::new();
    let url = cluster.url("d").replace("postgres@", "joe@");
    room.run(&["backup", &url]).ends(1, &["password"]);
    room.run(&["backup", &url.replace("joe@", "joe:wrong@")]).ends(1, &["password authentication failed"]);
    room.ok(&["backup", &url.replace("joe@", "joe:sec%3Aret@")]);
    let shown = room.ok(&["--json", "snapshots"]).out;
    assert!(shown.contains("joe@") && !shown.contains("sec%3A") && !shown.contains("sec:"), "{shown}");
    let ran = room.command(&["backup", &url]).env("PGPASSWORD", "sec:ret").output().unwrap();
    assert!(ran.status.success());
    let file = room.path("pass");
    std::fs::write(&file, format!("127.0.0.1:{}:d:joe:sec\\:ret\n", cluster.port)).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let ran = room.command(&["backup", &url]).env("PGPASSFILE", &file).output().unwrap();
    assert!(ran.status.success());
    std::fs::write(
        room.path(".pg_service.conf"),
        format!("[mine]\nhost=127.0.0.1\nport={}\nuser=joe\npassword=sec:ret\ndbname=d\n", cluster.port),
    )
    .unwrap();
    room.ok(&["backup", "postgresql://?service=mine"]);
}

#[test]
#[ignore = "needs postgresql"]
fn text_in_other_encodings_comes_back_and_never_into_another_one() {
    let cluster = Cluster::new();
    let mut admin = cluster.client("postgres");
    for (name, encoding) in
        [("latin", "LATIN1"), ("latin2", "LATIN1"), ("ascii", "SQL_ASCII"), ("ascii2", "SQL_ASCII"), ("utf", "UTF8")]
    {
        admin
            .batch_execute(&format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
            ))
            .unwrap();
    }
    let room = Room::new();
    let mut latin = cluster.client("latin");
    latin.batch_execute("CREATE TABLE \"tàble\" (\"kéy\" text PRIMARY KEY, v text); INSERT INTO \"tàble\" VALUES ('é', 'ü'), ('a', 'b')").unwrap();
    room.ok(&["backup", &cluster.url("latin")]);
    room.ok(&["restore", "latest", &cluster.url("latin2"), "--verify"]);
    assert_eq!(rows(&mut cluster.client("latin2"), "SELECT * FROM \"tàble\""), ["a\tb", "é\tü"]);
    room.run(&["restore", "latest", &cluster.url("utf")]).ends(1, &["its encoding is UTF8"]);
    let room = Room::new();
    let mut ascii = cluster.client("ascii");
    ascii.batch_execute("SET client_encoding = SQL_ASCII; CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, E'\\xff\\xfe'), (2, 'a')").unwrap();
    room.ok(&["backup", &cluster.url("ascii")]);
    room.ok(&["restore", "latest", &cluster.url("ascii2"), "--verify"]);
    let sql = "SELECT k, encode(v::bytea, 'hex') FROM t";
    assert_eq!(rows(&mut cluster.client("ascii2"), sql), ["1\tfffe", "2\t61"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_target_whose_extensions_lie_elsewhere_is_left_as_it_was() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute("CREATE EXTENSION hstore SCHEMA public; CREATE TABLE t (k int PRIMARY KEY, h hstore); INSERT INTO t VALUES (1, 'a=>1')")
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    let mut elsewhere = cluster.database("elsewhere");
    elsewhere.batch_execute("CREATE SCHEMA other; CREATE EXTENSION hstore SCHEMA other").unwrap();
    for way in [&[][..], &["--single-transaction"]] {
        let url = cluster.url("elsewhere");
        room.run(&[&["restore", "latest", &url], way].concat()).ends(1, &["public.hstore", "does not exist"]);
        let left = "SELECT relname FROM pg_class WHERE relname IN ('t', 'restore')";
        assert_eq!(rows(&mut elsewhere, left), Vec::<String>::new());
    }
    // Others beside what is wanted are no matter, nor is one that is there already where it is to be.
    let mut more = cluster.database("more");
    more.batch_execute("CREATE EXTENSION citext; CREATE EXTENSION hstore SCHEMA public").unwrap();
    room.ok(&["restore", "latest", &cluster.url("more"), "--verify"]);
    assert_eq!(rows(&mut more, "SELECT * FROM t"), ["1\t\"a\"=>\"1\""]);
}

#[test]
#[ignore = "needs postgresql"]
fn tables_that_do_not_fit_are_refused_before_anything_is_written() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE ROLE other; CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); ALTER TABLE t OWNER TO other").unwrap();
    let room = Room::new();
    room.ok(&["backup", &cluster.url("d")]);
    let restore = |database: &str| room.run(&["restore", "latest", &cluster.url(database), "--overwrite", "always"]);
    for (name, table, words) in [
        ("d1", "CREATE TABLE t (k int PRIMARY KEY)", "no column v"),
        ("d2", "CREATE TABLE t (k int8 PRIMARY KEY, v text)", "is bigint"),
        ("d3", "CREATE TABLE t (k int, v text PRIMARY KEY)", "it has the key v"),
        ("d4", "CREATE VIEW t AS SELECT 1 AS k", "no ordinary table"),
    ] {
        cluster.database(name).batch_execute(table).unwrap();
        restore(name).ends(1, &[words, "nothing was written"]);
    }
    // A column that changed its type between two snapshots.
    client.batch_execute("ALTER TABLE t ALTER v TYPE int USING 5; ALTER TABLE t ADD w text").unwrap();
    room.ok(&["backup", &cluster.url("d")]);
    cluster.database("now");
    room.ok(&["restore", "latest", &cluster.url("now")]);
    cluster.database("earlier");
    room.ok(&["restore", "latest~1", &cluster.url("earlier")]);
    assert_eq!(rows(&mut cluster.client("now"), "SELECT * FROM t"), ["1\t5\t\\N"]);
    assert_eq!(rows(&mut cluster.client("earlier"), "SELECT * FROM t"), ["1\ta"]);
    // Another cluster has no such role: rows come back, and what is not restored is named.
    client.batch_execute("REASSIGN OWNED BY other TO postgres; DROP OWNED BY other").unwrap();
    for database in ["now", "earlier"] {
        cluster.client(database).batch_execute("REASSIGN OWNED BY other TO postgres; DROP OWNED BY other").unwrap();
    }
    client.batch_execute("DROP ROLE other").unwrap();
    cluster.database("roleless");
    room.run(&["restore", "latest", &cluster.url("roleless")]).ends(3, &["OWNER TO other"]);
    assert_eq!(rows(&mut cluster.client("roleless"), "SELECT * FROM t"), ["1\t5\t\\N"]);
}
