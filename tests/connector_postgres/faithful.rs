//! Values, keys and columns that a restore must neither lose nor change without a word.

use crate::cluster::{Cluster, Room, contents, rows};

/// Restores the newest snapshot in steps and in one transaction, into databases of these names.
fn both(room: &Room, cluster: &Cluster, code: i32, words: &[&str], mut look: impl FnMut(&mut postgres::Client)) {
    for (copy, way) in [("steps", &[][..]), ("single", &["--single-transaction"])] {
        let mut client = cluster.database(copy);
        let url = cluster.url(copy);
        room.run(&[&["restore", "latest", &url], way].concat()).ends(code, words);
        look(&mut client);
    }
}

#[test]
#[ignore = "needs postgresql"]
fn columns_that_the_snapshot_has_not_keep_their_values() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text, u int UNIQUE); INSERT INTO t SELECT i, 'v' || i, i FROM generate_series(1, 10) i; \
             CREATE TABLE bag (v text); INSERT INTO bag VALUES ('a'), ('b')",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.backup(&url);
    client
        .batch_execute(
            "ALTER TABLE t ADD note text, ADD n int DEFAULT 5, ADD i int GENERATED ALWAYS AS IDENTITY, \
             ADD g int GENERATED ALWAYS AS (id * 2) STORED; UPDATE t SET note = 'precious ' || id, n = 99; \
             UPDATE t SET v = 'changed', u = -u WHERE id = 3; UPDATE t SET u = 100 + u WHERE id IN (5, 6); \
             UPDATE t SET u = CASE id WHEN 5 THEN 6 ELSE 5 END WHERE id IN (5, 6); DELETE FROM t WHERE id = 9; \
             ALTER TABLE bag ADD note text; UPDATE bag SET note = 'of ' || v; DELETE FROM bag WHERE v = 'b'",
        )
        .unwrap();
    let sql = "SELECT id, v, u, note, n, g FROM t WHERE id <> 9";
    let was: Vec<String> =
        (1..=10).filter(|id| *id != 9).map(|id| format!("{id}\tv{id}\t{id}\tprecious {id}\t99\t{}", id * 2)).collect();
    let same = |client: &mut postgres::Client| {
        let mut was = was.clone();
        was.sort();
        assert_eq!(rows(client, sql), was);
    };
    let identities = rows(&mut client, "SELECT id, i FROM t");

    let one = ["restore", "latest", &url, "--collection", "public.t", "--key", "int:3", "--overwrite", "if-changed"];
    room.ok(&one);
    assert_eq!(rows(&mut client, "SELECT v, note, n FROM t WHERE id = 3"), ["v3\tprecious 3\t99"]);
    let ran = room.ok(&["--json", "restore", "latest", &url, "--overwrite", "if-changed", "--verify"]).json();
    assert_eq!((&ran["replaced"], &ran["different"]), (&2.into(), &0.into()), "{ran}");
    same(&mut client);
    assert_eq!(rows(&mut client, "SELECT note, n FROM t WHERE id = 9"), ["\\N\t5"], "a row that is new has defaults");
    assert_eq!(rows(&mut client, "TABLE bag"), ["a\tof a", "b\t\\N"]);
    room.ok(&["restore", "latest", &url, "--overwrite", "always", "--verify"]);
    same(&mut client);
    client
        .batch_execute("INSERT INTO t (id, v, note) VALUES (11, 'new', 'x'); UPDATE t SET v = 'y' WHERE id = 1")
        .unwrap();
    room.ok(&["restore", "latest", &url, "--make-equal", "--verify"]);
    same(&mut client);
    assert_eq!(rows(&mut client, "TABLE bag"), ["a\tof a", "b\t\\N"]);
    let now = rows(&mut client, "SELECT id, i FROM t");
    assert!(identities.iter().all(|row| now.contains(row)), "{identities:?} {now:?}");
}

#[test]
#[ignore = "needs postgresql"]
fn casts_of_users_do_not_stand_for_output_and_input() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TYPE ctx AS (a xml, b int); CREATE EXTENSION isn; CREATE TYPE mood AS ENUM ('a', 'b'); \
             CREATE FUNCTION ctx_text(ctx) RETURNS text LANGUAGE sql AS $$ SELECT 'lossy'::text $$; \
             CREATE CAST (ctx AS text) WITH FUNCTION ctx_text(ctx); \
             CREATE FUNCTION text_ctx(text) RETURNS ctx LANGUAGE sql AS $$ SELECT ROW('<lost/>', 0)::ctx $$; \
             CREATE CAST (text AS ctx) WITH FUNCTION text_ctx(text); \
             CREATE FUNCTION isbn_text(isbn) RETURNS text LANGUAGE sql AS $$ SELECT 'isbn!'::text $$; \
             CREATE CAST (isbn AS text) WITH FUNCTION isbn_text(isbn); \
             CREATE FUNCTION mood_text(mood) RETURNS text LANGUAGE sql AS $$ SELECT 'mood!'::text $$; \
             CREATE CAST (mood AS text) WITH FUNCTION mood_text(mood); \
             CREATE TABLE t (id int PRIMARY KEY, c ctx, i isbn, m mood); \
             INSERT INTO t VALUES (1, ROW('<a/>', 7), '0-393-04002-X', 'a'), (2, ROW(NULL, NULL), NULL, 'b'), (3, NULL, NULL, NULL), \
             (4, ROW('<q>\"\\ ''</q>', 8), NULL, NULL); \
             CREATE TABLE k (i isbn PRIMARY KEY, v text); INSERT INTO k VALUES ('0-393-04002-X', 'a'), ('0-306-40615-2', 'b'); \
             CREATE TABLE nokey (c ctx); INSERT INTO nokey VALUES (ROW('<a/>', 7)), (ROW('<b/>', 7)); \
             CREATE TABLE large (id int PRIMARY KEY, c ctx, p char(1500000)); \
             INSERT INTO large VALUES (1, ROW(('<a>' || repeat('x', 3000000) || '</a>')::xml, 1), 'padded')",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.backup(&url);
    // Without the casts, text is what the output function gives.
    let plain = |client: &mut postgres::Client| {
        let sql = "SELECT id, format('%s', c), c IS NULL, num_nulls(c), format('%s', i), m FROM t";
        let large = "SELECT md5(format('%s', c)), octet_length(p), md5(bpcharsend(p)) FROM large";
        let k = "SELECT format('%s', i), v FROM k";
        [rows(client, sql), rows(client, k), rows(client, "TABLE nokey"), rows(client, large)]
    };
    let was = plain(&mut client);
    both(&room, &cluster, 0, &[], |copy| assert_eq!(plain(copy), was));
    client
        .batch_execute("UPDATE t SET c = NULL; DELETE FROM k WHERE v = 'a'; UPDATE k SET v = 'x'; TRUNCATE large")
        .unwrap();
    room.ok(&["restore", "latest", &url, "--make-equal", "--verify"]);
    assert_eq!(plain(&mut client), was);
}

#[test]
#[ignore = "needs postgresql"]
fn a_column_that_would_round_values_is_refused() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, n numeric(10,4), ts timestamp, tm time, iv interval, p numeric[]); \
             INSERT INTO t VALUES (2, 99.9999, '2020-01-01 23:59:59.9', '23:59:59.9', '1 day 02:03:04.5678', '{7.777}')",
        )
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    for (at, (column, words)) in [
        ("n numeric(10,1)", "numeric(10,1)"),
        ("ts timestamp(0)", "timestamp(0)"),
        ("tm time(0)", "time(0)"),
        ("iv interval(0)", "interval(0)"),
        ("p numeric(5,0)[]", "numeric(5,0)[]"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("to{at}");
        let mut copy = cluster.database(&name);
        let (own, type_text) = column.split_once(' ').unwrap();
        copy.batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, n numeric(12,5), ts timestamp, tm time, iv interval, p numeric[])",
        )
        .unwrap();
        room.ok(&["restore", "latest", &cluster.url(&name), "--overwrite", "always", "--dry-run"]);
        copy.batch_execute(&format!("ALTER TABLE t ALTER {own} TYPE {type_text}")).unwrap();
        room.run(&["restore", "latest", &cluster.url(&name), "--overwrite", "always"])
            .ends(1, &[words, "would round", "nothing was written"]);
        assert!(rows(&mut copy, "TABLE t").is_empty());
    }
    // What is too long is named by its row, also where it is blanks that the server would cut.
    client.batch_execute("CREATE TABLE v (k int PRIMARY KEY, v varchar); INSERT INTO v VALUES (1, 'ab '), (2, 'żż'), (3, 'abc'), (4, 'é  ')").unwrap();
    room.backup(&cluster.url("d"));
    let mut copy = cluster.database("short");
    copy.batch_execute("CREATE TABLE v (k int PRIMARY KEY, v varchar(2))").unwrap();
    let one = ["restore", "latest", &cluster.url("short"), "--overwrite", "always", "--collection", "public.v"];
    room.run(&one).ends(3, &["int:1", "int:3", "int:4", "too long"]);
    assert_eq!(rows(&mut copy, "TABLE v"), ["2\tżż"]);
}

#[test]
#[ignore = "needs postgresql"]
fn keys_of_computed_columns_come_back_in_every_way() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE alone (a int, g int GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY, z text); INSERT INTO alone VALUES (1, DEFAULT, 'q'), (2, DEFAULT, 'r'); \
             CREATE TABLE part (a int, g text GENERATED ALWAYS AS ('g' || a) STORED, z text, PRIMARY KEY (a, g)); INSERT INTO part VALUES (1, DEFAULT, 'q'), (2, DEFAULT, 'r'); \
             CREATE TABLE number (a numeric, g numeric GENERATED ALWAYS AS (a / 4) STORED PRIMARY KEY, z text); INSERT INTO number VALUES (1, DEFAULT, 'q'), (2, DEFAULT, 'r'); \
             CREATE TABLE last (k int PRIMARY KEY); INSERT INTO last VALUES (1)",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.backup(&url);
    let (was, schema) = (contents(&mut client), cluster.dump("d", &["--schema-only"]));
    both(&room, &cluster, 0, &[], |copy| assert_eq!(contents(copy), was));
    assert_eq!(cluster.dump("steps", &["--schema-only"]), schema);
    for table in ["alone", "part", "number"] {
        let to = format!("only_{table}");
        let mut copy = cluster.database(&to);
        room.ok(&["restore", "latest", &cluster.url(&to), "--collection", &format!("public.{table}")]);
        let sql = format!("SELECT a, round(a::numeric, 2), z FROM {table} WHERE g IS NOT NULL");
        assert_eq!(rows(&mut copy, &sql), rows(&mut client, &sql));
        client
            .batch_execute(&format!(
                "UPDATE {table} SET z = 'changed' WHERE z = 'q'; DELETE FROM {table} WHERE z = 'r'"
            ))
            .unwrap();
    }
    let ran = room.ok(&["--json", "restore", "latest", &url, "--overwrite", "always", "--verify"]).json();
    assert_eq!((&ran["replaced"], &ran["inserted"], &ran["different"]), (&4.into(), &3.into(), &0.into()), "{ran}");
    assert_eq!(contents(&mut client), was);
    client
        .batch_execute("UPDATE number SET z = 'x'; INSERT INTO number VALUES (9, DEFAULT, 'more'); DELETE FROM alone")
        .unwrap();
    room.ok(&["restore", "latest", &url, "--make-equal", "--verify"]);
    assert_eq!(contents(&mut client), was);
}

#[test]
#[ignore = "needs postgresql"]
fn tables_that_were_chosen_come_back_into_an_empty_database() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TYPE a.e AS ENUM ('x', 'y'); CREATE FUNCTION b.f() RETURNS int LANGUAGE sql AS 'SELECT 7'; \
             CREATE SEQUENCE b.sq; SELECT setval('b.sq', 40); CREATE TABLE b.ref (id int PRIMARY KEY); INSERT INTO b.ref VALUES (1); \
             CREATE TABLE a.t (id serial PRIMARY KEY, e a.e DEFAULT 'x', r int REFERENCES b.ref, d int DEFAULT b.f(), q int DEFAULT nextval('b.sq'), v text); \
             INSERT INTO a.t (r) VALUES (1), (1); CREATE VIEW a.vw AS SELECT id, e FROM a.t; CREATE TABLE b.\"x.y\" (a int); INSERT INTO b.\"x.y\" VALUES (5)",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    let was = rows(&mut client, "TABLE a.t");
    for (at, (choice, table, code, words)) in [
        ("table=b.%22x.y%22", "b.\"x.y\"", 0, &[][..]),
        // What refers to a table that was left out is named.
        ("table=a.t", "a.t", 3, &["b.ref"]),
        ("schema=a", "a.t", 3, &["b.ref"]),
        ("exclude-schema=b", "a.t", 3, &["b.ref"]),
        ("exclude-table=a.t", "b.\"x.y\"", 3, &["CREATE VIEW a.vw", "does not exist"]),
        ("schema=a&table=b.ref", "a.t", 0, &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let taken = room.backup(&format!("{url}?{choice}"));
        let id = taken["id"].as_str().unwrap();
        for way in [&[][..], &["--single-transaction"]] {
            let to = format!("to{at}{}", way.len());
            let mut copy = cluster.database(&to);
            let target = cluster.url(&to);
            room.run(&[&["restore", id, &target], way].concat()).ends(code, words);
            let sql = format!("TABLE {table}");
            assert_eq!(rows(&mut copy, &sql), rows(&mut client, &sql), "{choice}");
            if table == "a.t" {
                // Sequences go with the tables that they number.
                copy.batch_execute("INSERT INTO a.t (v) VALUES ('new')").unwrap();
                assert_eq!(rows(&mut copy, "SELECT id, e, d, q FROM a.t WHERE v = 'new'"), ["3\tx\t7\t43"], "{choice}");
            }
        }
    }
    assert_eq!(rows(&mut client, "TABLE a.t"), was);
}

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
fn columns_whose_send_function_is_of_another_type_are_read() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TYPE own; CREATE FUNCTION own_in(cstring) RETURNS own LANGUAGE internal IMMUTABLE STRICT AS 'textin'; \
             CREATE FUNCTION own_out(own) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout'; \
             CREATE FUNCTION own_recv(internal) RETURNS own LANGUAGE internal STABLE STRICT AS 'textrecv'; \
             CREATE FUNCTION own_send(own) RETURNS bytea LANGUAGE internal STABLE STRICT AS 'textsend'; \
             CREATE TYPE own (INPUT = own_in, OUTPUT = own_out, RECEIVE = own_recv, SEND = own_send, LIKE = text); \
             CREATE TABLE t (id int PRIMARY KEY, r refcursor, o own, t text); ALTER TABLE t ALTER t SET STORAGE EXTERNAL; \
             INSERT INTO t VALUES (1, 'c', 'o', repeat(md5('x'), 1000)), (2, NULL, repeat('large ', 400000)::own, repeat(md5('x'), 100000))",
        )
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    let was = contents(&mut client);
    both(&room, &cluster, 0, &[], |copy| assert!(contents(copy) == was));
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

#[test]
#[ignore = "needs postgresql"]
fn functions_in_indexes_that_name_things_without_their_schema_keep_no_table_from_being_read() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE EXTENSION unaccent; \
             CREATE FUNCTION f_unaccent(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT unaccent('unaccent', $1) $$; \
             CREATE FUNCTION f_un(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN unaccent($1); END $$; \
             CREATE TABLE people (id int PRIMARY KEY, name text, bytes text); ALTER TABLE people ALTER bytes SET STORAGE EXTERNAL; \
             INSERT INTO people VALUES (1, 'Zoë', repeat('x', 2000000)), (2, 'Ann', NULL); CREATE INDEX ON people (f_unaccent(name)); \
             CREATE TABLE ok (a int PRIMARY KEY, name text CHECK (f_un(name) <> '')); INSERT INTO ok VALUES (1, 'é')",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.backup(&url);
    let all = |client: &mut postgres::Client| [rows(client, "TABLE people"), rows(client, "TABLE ok")];
    let was = all(&mut client);
    both(&room, &cluster, 3, &["CREATE INDEX people_f_unaccent_idx"], |copy| assert!(all(copy) == was));
    client
        .batch_execute("UPDATE people SET name = 'x' WHERE id = 1; DELETE FROM people WHERE id = 2; TRUNCATE ok")
        .unwrap();
    room.run(&["verify", "latest", "--against", &url]).ends(1, &["people"]);
    room.ok(&["restore", "latest", &url, "--overwrite", "always", "--verify"]);
    assert!(all(&mut client) == was);
    client.batch_execute("UPDATE people SET name = 'y' WHERE id = 2; INSERT INTO people VALUES (3, 'more')").unwrap();
    room.ok(&["restore", "latest", &url, "--collection", "public.ok", "--make-equal"]);
    client.batch_execute("UPDATE people SET bytes = NULL").unwrap();
    room.backup(&url);
    client.batch_execute("DELETE FROM people WHERE id = 2").unwrap();
    room.ok(&["restore", "latest", &url, "--make-equal", "--verify"]);
    assert_eq!(rows(&mut client, "SELECT id, name FROM people"), ["1\tZoë", "2\ty", "3\tmore"]);

    // Text that depends on where names are found is not read elsewhere.
    client.batch_execute("ALTER TABLE people ADD r regclass DEFAULT 'ok'").unwrap();
    room.run(&["backup", &url]).ends(3, &["table public.people", "its column r is another one"]);
}

#[test]
#[ignore = "needs postgresql"]
fn tables_that_a_snapshot_does_not_hold_are_named_where_the_database_is_to_be_equal() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE TABLE u (k int PRIMARY KEY)",
        )
        .unwrap();
    let (room, url) = (Room::new(), cluster.url("d"));
    room.backup(&url);
    client.batch_execute("CREATE TABLE extra (a int); CREATE SCHEMA x2; CREATE TABLE x2.y (a int)").unwrap();
    room.run(&["restore", "latest", &url, "--make-equal"])
        .ends(3, &["table public.extra: the snapshot does not hold it", "table x2.y"]);
    room.ok(&["restore", "latest", &url, "--make-equal", "--collection", "public.t"]);
    room.ok(&["restore", "latest", &url, "--overwrite", "always"]);
    client.batch_execute("DROP TABLE extra; DROP SCHEMA x2 CASCADE").unwrap();
    room.ok(&["restore", "latest", &url, "--make-equal", "--verify"]);
    // What was not asked for when it was backed up is no matter.
    client.batch_execute("CREATE SCHEMA x2; CREATE TABLE x2.y (a int)").unwrap();
    let taken = room.backup(&format!("{url}?schema=public"));
    room.ok(&["restore", taken["id"].as_str().unwrap(), &url, "--make-equal"]);
}

#[test]
#[ignore = "needs postgresql"]
fn rows_that_look_at_tables_which_come_later_are_named_and_it_is_said_how_they_come() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client
        .batch_execute(
            "CREATE SCHEMA z; CREATE TABLE z.ref (id int); INSERT INTO z.ref VALUES (1), (2); \
             CREATE FUNCTION z.has(i int) RETURNS bool LANGUAGE sql AS $$ SELECT EXISTS (SELECT 1 FROM z.ref WHERE id = i) $$; \
             CREATE TABLE a_chk (id int PRIMARY KEY, r int CHECK (z.has(r))); INSERT INTO a_chk VALUES (1, 1), (2, 2)",
        )
        .unwrap();
    let room = Room::new();
    room.backup(&cluster.url("d"));
    both(&room, &cluster, 3, &["violates check constraint", "may bring them"], |copy| {
        assert!(rows(copy, "TABLE a_chk").is_empty());
    });
    room.ok(&["restore", "latest", &cluster.url("steps"), "--overwrite", "never", "--verify"]);
    assert_eq!(rows(&mut cluster.client("steps"), "TABLE a_chk"), ["1\t1", "2\t2"]);
}
