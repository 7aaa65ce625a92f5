//! Databases that are backed up and restored as a whole.

use crate::cluster::{Cluster, Room, contents};

/// One of everything, each value at its edges.
const EVERYTHING: &str = r#"
CREATE ROLE owner_of_t; CREATE ROLE reader;
CREATE EXTENSION hstore; CREATE EXTENSION citext SCHEMA public;
CREATE SCHEMA "Odd Schema"; CREATE SCHEMA other AUTHORIZATION owner_of_t;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very; happy');
CREATE DOMAIN short AS varchar(5) CHECK (VALUE <> 'no');
CREATE TYPE pair AS (a int, b mood, c text[]);
CREATE TYPE span AS RANGE (SUBTYPE = float8);
CREATE TYPE deep AS (p pair, list pair[], s span);

CREATE TABLE numbers (k numeric PRIMARY KEY, a int2, b int4, c int8, d float4, e float8, n numeric(20,5), o oid, m money);
INSERT INTO numbers VALUES (1.50, -32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity', -0.00001, 4294967295, '-92233720368547758.08'),
 (-1e300, 32767, 2147483647, 9223372036854775807, '-0', 'NaN', 'NaN', 0, '0.01'), ('NaN', 0,0,0, 1e-45, 5e-324, 0, 1, null),
 ('Infinity', null, null, null, null, null, null, null, null), ('-Infinity', 1,1,1,1.1,1.1,1.1,1,1), (0.0000, 1,1,1,3.4028235e38,1.7976931348623157e308,1,1,1);
CREATE TABLE floats (k float8 PRIMARY KEY, f float4); INSERT INTO floats VALUES ('-0', '-0'), ('NaN', 'NaN'), (1.5, 0), ('-Infinity', 'Infinity');

CREATE TABLE times (k timestamptz, d date, PRIMARY KEY (k, d), t time, tz timetz, ts timestamp(3), i interval);
INSERT INTO times VALUES ('infinity', 'infinity', '24:00', '23:59:59.999999+15:59', 'infinity', '178000000 years'), ('-infinity', '-infinity', '00:00', '00:00-15:59', '-infinity', '-1 mon 3 days -04:05:06.7'),
 ('4713-01-01 00:00:00+00 BC', '4713-01-01 BC', null, null, '294276-12-31 23:59:59.999', '1 us'), ('294276-12-31 23:59:59.999999+00', '5874897-12-31', '12:34:56.789012', '00:00+00', '2000-01-01', '0');

CREATE TABLE texts (k text PRIMARY KEY, v varchar(10), c char(5), n name, x "char", j json, b jsonb, raw bytea, ci citext, h hstore);
INSERT INTO texts VALUES ('', '', '', '', '', '{"a":  1.00, "a": 2}', '{"b": [1e400, "\u00e9"], "a": null}', '\x', 'ABC', ''),
 (E'tab\t nl\n \\ quote'' "', 'żółw', 'a  ', 'n', 'z', 'null', '"x"', '\x00ff00', 'abc', 'a=>NULL, "b c"=>"d"'), ('a,b', null, null, null, null, null, null, null, null, null), (repeat('k', 2000), 'x', 'x', 'x', 'x', '1', '1', '\x01', 'x', 'a=>1');
CREATE TABLE padded (k char(6), b bytea, PRIMARY KEY (k, b)); INSERT INTO padded VALUES ('a', '\x'), ('a b', '\x00'), ('', '\xff');

CREATE TABLE nets (k inet PRIMARY KEY, c cidr, m macaddr, m8 macaddr8); INSERT INTO nets VALUES ('::1/128', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05'), ('10.1.2.3/24', '::/0', null, null);
CREATE TABLE shapes (k uuid PRIMARY KEY DEFAULT gen_random_uuid(), p point, l line, s lseg, b box, pa path, po polygon, ci circle, bi bit(5), vb bit varying, ts tsvector, tq tsquery);
INSERT INTO shapes VALUES ('00112233-4455-6677-8899-aabbccddeeff', '(1e300,-0)', '{1,-1,0}', '[(0,0),(1,1)]', '(1,1),(0,0)', '[(0,0),(1,2)]', '((0,0),(1,1),(1,0))', '<(0,0),5>', '10101', '', 'a:1A fat:2,3C', 'a & !b <-> c');
CREATE TABLE ranges (k int4range PRIMARY KEY, n numrange, t tstzrange, m int4multirange, s span); INSERT INTO ranges VALUES ('empty', '(,)', '[2026-01-01,)', '{}', '[1.5,2.5)'), ('[1,5)', '[1.5,2.50]', null, '{[1,2), [5,)}', null);
CREATE TABLE composed (k mood PRIMARY KEY, d short, p pair, q deep, ms mood[], ps pair[], a int[][], e text[], r regclass, x xml, dd short[]);
INSERT INTO composed VALUES ('ok', 'yes', (1, 'sad', '{a,NULL,"b c"}'), ((2, null, null), ARRAY[(3, 'ok', '{}')::pair, null], '[1,2]'), '{sad,NULL,ok}', ARRAY[(1, 'very; happy', null)::pair],
 '[0:1][-1:0]={{1,2},{3,NULL}}', '{}', 'numbers', '<?xml version="1.0" encoding="latin1"?><a>ż</a>', '{ab,c}'), ('sad', null, null, null, null, null, null, null, 'pg_class', '<a/>', null);

CREATE TABLE bag (a int, b text); INSERT INTO bag VALUES (1, 'x'), (1, 'x'), (1, 'x'), (null, null), (null, null), (2, ''); CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE uniq (a int NOT NULL, b text NOT NULL, c int UNIQUE, UNIQUE (b, a)); INSERT INTO uniq VALUES (1, 'a', null), (1, 'b', null), (2, 'a', 3);
CREATE TABLE identities (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, s serial, g int GENERATED ALWAYS AS (id * 2) STORED, v text DEFAULT 'd'); INSERT INTO identities (v) SELECT 'v' || i FROM generate_series(1, 5) i; SELECT setval('identities_s_seq', 77, false);
CREATE SEQUENCE "odd.seq" INCREMENT -3 MAXVALUE 100 START 100 CYCLE; SELECT nextval('"odd.seq"'), nextval('"odd.seq"');
CREATE UNLOGGED TABLE unlogged (k int PRIMARY KEY); INSERT INTO unlogged VALUES (1);
CREATE TABLE dropped (k int PRIMARY KEY, gone text, kept text); INSERT INTO dropped VALUES (1, 'a', 'b'); ALTER TABLE dropped DROP COLUMN gone; ALTER TABLE dropped ADD COLUMN added int DEFAULT 7; INSERT INTO dropped VALUES (2, 'c', 8);
CREATE TABLE "Odd Schema"."T ""quoted"".x" ("Col umn" int PRIMARY KEY, "ż" text, "select" int); INSERT INTO "Odd Schema"."T ""quoted"".x" VALUES (1, 'ż', 2);

CREATE TABLE part (k int, at date, v text, PRIMARY KEY (k, at)) PARTITION BY RANGE (at);
CREATE TABLE part_a PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); CREATE TABLE part_b PARTITION OF part DEFAULT;
INSERT INTO part SELECT i, date '2026-01-01' + i, 'p' || i FROM generate_series(1, 60) i;
CREATE TABLE base (k int PRIMARY KEY, v text); CREATE TABLE child (extra int) INHERITS (base); INSERT INTO base VALUES (1, 'base'); INSERT INTO child VALUES (1, 'child', 2), (1, 'child', 2);
CREATE TABLE parent (k int PRIMARY KEY); INSERT INTO parent VALUES (1), (2); CREATE TABLE refers (k int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE, self int REFERENCES refers); INSERT INTO refers VALUES (1, 1, 2), (2, 2, 1);

CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN a > 0 THEN a * 2 ELSE 0 END; END;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := NEW.v || '!;'; RETURN NEW; END; $$;
CREATE TRIGGER noting BEFORE INSERT ON base FOR EACH ROW EXECUTE FUNCTION note();
CREATE INDEX ON texts (lower(k)) WHERE v IS NOT NULL; CREATE VIEW seen AS SELECT k, twice(b) AS b2 FROM numbers; CREATE MATERIALIZED VIEW mat AS SELECT count(*) AS n FROM bag; CREATE MATERIALIZED VIEW mat2 AS SELECT n + 1 AS m FROM mat; CREATE MATERIALIZED VIEW empty_mat AS SELECT 1 AS one WITH NO DATA;
ALTER TABLE bag OWNER TO owner_of_t; GRANT SELECT ON texts TO reader; COMMENT ON TABLE bag IS 'a; b';
SELECT lo_from_bytea(4000000, '\x0102'), lo_from_bytea(4000001, ''), lo_from_bytea(4000002, convert_to(repeat('large', 2000000), 'UTF8')); GRANT SELECT ON LARGE OBJECT 4000000 TO reader; ALTER LARGE OBJECT 4000001 OWNER TO owner_of_t;
"#;

/// Values that do not lie in their rows.
const LARGE: &str = r"
CREATE TABLE big (k int PRIMARY KEY, a text, j jsonb, v bytea); ALTER TABLE big ALTER v SET STORAGE EXTERNAL;
INSERT INTO big SELECT 1, repeat('compressible ', 400000), jsonb_build_object('x', repeat('y', 2000000)), convert_to(string_agg(md5(i::text), ''), 'UTF8') FROM generate_series(1, 400000) i;
INSERT INTO big VALUES (2, 'small', '1', ''), (3, null, null, decode(repeat('00ff', 1000000), 'hex'));
CREATE TABLE big_bag (t text, l mood[]); INSERT INTO big_bag SELECT repeat('abc' || g % 2, 500000), array_fill('ok'::mood, ARRAY[200000]) FROM generate_series(1, 3) g;
";

#[test]
#[ignore = "needs postgresql"]
fn a_database_with_everything_comes_back_as_it_was() {
    let cluster = Cluster::new();
    let mut from = cluster.database("origin");
    from.batch_execute(EVERYTHING).unwrap();
    from.batch_execute(LARGE).unwrap();
    let room = Room::new();
    let first = room.backup(&cluster.url("origin"));
    assert_eq!(first["complete"], true, "{first}");
    assert_eq!(first["notes"].as_array().map_or(0, Vec::len), 0, "{first}");

    let mut to = cluster.database("copy");
    let restored = room.run(&["restore", "latest", &cluster.url("copy"), "--verify"]);
    restored.ends(0, &[]);
    let (was, is) = (contents(&mut from), contents(&mut to));
    assert!(was.len() > 25);
    for (was, is) in was.iter().zip(&is) {
        assert!(was == is, "{}: {:.500?} is {:.500?}", was.0, was.1, is.1);
    }
    let schema = |database: &str| cluster.dump(database, &["--schema-only"]);
    assert_eq!(schema("origin"), schema("copy"));
    let mut single = cluster.database("single");
    room.ok(&["restore", "latest", &cluster.url("single"), "--single-transaction"]);
    assert!(was == contents(&mut single));
    assert_eq!(schema("origin"), schema("single"));
    drop(single);
    for name in ["identities_s_seq", "identities_id_seq", "\"odd.seq\""] {
        let sql = format!("SELECT last_value, is_called FROM public.{name}");
        let state = |client: &mut postgres::Client| {
            let row = client.query_one(&sql, &[]).unwrap();
            (row.get::<_, i64>(0), row.get::<_, bool>(1))
        };
        assert_eq!(state(&mut from), state(&mut to), "{name}");
    }
    let rights = "SELECT oid, lomowner::regrole::text, lomacl::text FROM pg_largeobject_metadata";
    assert_eq!(crate::cluster::rows(&mut from, rights), crate::cluster::rows(&mut to, rights));

    // Nothing changed: nothing is stored. And the copy is equal to the snapshot, though numbers of its types are others.
    let second = room.backup(&cluster.url("origin"));
    let stats = &second["stats"];
    assert_eq!((&stats["new"], &stats["changed"], &stats["deleted"]), (&0.into(), &0.into(), &0.into()), "{second}");
    room.ok(&["verify", "latest", "--against", &cluster.url("copy")]);
    to.batch_execute(
        "UPDATE composed SET d = 'else' WHERE k = 'ok'; DELETE FROM bag WHERE ctid = (SELECT min(ctid) FROM bag)",
    )
    .unwrap();
    room.run(&["verify", "latest", "--against", &cluster.url("copy")]).ends(1, &[]);
}

#[test]
#[ignore = "needs postgresql"]
fn what_pg_dump_would_tell_is_missed_aloud_and_rows_come_back_all_the_same() {
    let cluster = Cluster::new();
    let mut from = cluster.database("origin");
    from.batch_execute(
        "CREATE TABLE a (k int PRIMARY KEY, v text NOT NULL); INSERT INTO a SELECT i, 'v' || i FROM generate_series(1, 5000) i;
         CREATE TABLE b (x numeric(5,2), y text[]); INSERT INTO b VALUES (1.5, '{a}'), (1.5, '{a}');
         CREATE TABLE other.c (k int)"
            .replace("CREATE TABLE other.c", "CREATE SCHEMA other; CREATE TABLE other.c")
            .as_str(),
    )
    .unwrap();
    let room = Room::new();
    let chosen = format!("{}?schema=public", cluster.url("origin"));
    room.ok(&["backup", &chosen]);
    let mut to = cluster.database("copy");
    room.run(&["restore", "latest", &cluster.url("copy"), "--collection", "public.a"]).ends(0, &["made with columns"]);
    let all = |client: &mut postgres::Client| crate::cluster::rows(client, "SELECT * FROM a");
    assert_eq!(all(&mut from), all(&mut to));
    assert_eq!(to.query("SELECT 1 FROM pg_constraint WHERE conname = 'a_pkey'", &[]).unwrap().len(), 1);
    room.run(&["restore", "latest", &cluster.url("copy?table=renamed"), "--collection", "public.b"]).ends(0, &[]);
    assert_eq!(crate::cluster::rows(&mut to, "SELECT * FROM renamed"), ["1.50\t{a}", "1.50\t{a}"]);
}

/// The hash of an enumeration's value is of its number in the catalog: the server has to find the partitions anew.
#[test]
#[ignore = "needs postgresql"]
fn rows_that_are_spread_by_the_hash_of_an_enumeration_come_back() {
    let cluster = Cluster::new();
    let mut from = cluster.database("origin");
    let values: Vec<String> = (0..40).map(|n| format!("'v{n}'")).collect();
    let spread = |name: &str, key: &str| {
        let parts = (0..3)
            .map(|n| format!("CREATE TABLE {name}_{n} PARTITION OF {name} FOR VALUES WITH (MODULUS 3, REMAINDER {n})"));
        format!("CREATE TABLE {name} (e e, v int{key}) PARTITION BY HASH (e); {}", parts.collect::<Vec<_>>().join("; "))
    };
    from.batch_execute(&format!(
        "CREATE TYPE e AS ENUM ({}); {}; {}; INSERT INTO keyed SELECT v, 1 FROM unnest(enum_range(NULL::e)) v;
         INSERT INTO bag SELECT v, n FROM unnest(enum_range(NULL::e)) v, (VALUES (1), (1), (NULL)) m(n)",
        values.join(", "),
        spread("keyed", ", PRIMARY KEY (e)"),
        spread("bag", "")
    ))
    .unwrap();
    let room = Room::new();
    room.ok(&["backup", &cluster.url("origin")]);
    let all = |client: &mut postgres::Client| {
        ["keyed", "bag"].map(|table| crate::cluster::rows(client, &format!("SELECT * FROM {table}")))
    };
    for (name, more) in [("steps", &[][..]), ("once", &["--single-transaction"][..])] {
        // So that the numbers are others.
        let mut to = cluster.database(name);
        to.batch_execute("CREATE TYPE away AS ENUM ('a', 'b', 'c', 'd', 'e'); DROP TYPE away").unwrap();
        let url = cluster.url(name);
        let ran = room.run(&[&["restore", "latest", &url], more].concat());
        ran.ends(0, &["spread by a hash"]);
        assert!(all(&mut from) == all(&mut to), "{name}");
    }
}

/// What a database sets for its sessions changes neither records nor whether a session lasts.
#[test]
#[ignore = "needs postgresql"]
fn settings_of_a_database_change_nothing_of_what_is_kept() {
    let cluster = Cluster::new();
    let mut client = cluster.database("origin");
    client
        .batch_execute(
            "CREATE TYPE \"Odd\" AS ENUM ('a'); CREATE TABLE t (k regclass PRIMARY KEY, r regtype[], o \"Odd\", i interval, m money, f float4);
             INSERT INTO t VALUES ('t', '{int4,text}', 'a', '1 year -2 days', 12.5, 0.1)",
        )
        .unwrap();
    let room = Room::new();
    let url = cluster.url("origin");
    room.ok(&["backup", &url]);
    for setting in [
        "quote_all_identifiers = on",
        "IntervalStyle = sql_standard",
        "extra_float_digits = -15",
        "search_path = pg_catalog",
        "array_nulls = off",
        "default_transaction_isolation = serializable",
        "lock_timeout = '1ms'",
        "client_encoding = latin1",
        "standard_conforming_strings = off",
    ] {
        client.batch_execute(&format!("ALTER DATABASE origin RESET ALL; ALTER DATABASE origin SET {setting}")).unwrap();
        let again = room.backup(&url);
        let stats = &again["stats"];
        let differ = ["new", "changed", "deleted"].map(|count| stats[count].as_u64().unwrap());
        assert_eq!(differ, [0; 3], "{setting}");
    }
}
