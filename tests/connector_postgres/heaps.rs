//! Tables whose rows lie in the order of their keys, or nearly, or not at all: what is read is the same.

use crate::cluster::{Cluster, Room, contents};
use rekeep::{
    connector::{Options, Registry, SessionOptions, SourceSession},
    record::{KeyRange, RecordBatch},
};

/// Each is of more than 8 MiB: smaller ones are sorted however they lie.
const GROWN: &str = "
CREATE TABLE numbered (id bigint PRIMARY KEY, filler text, at int);
INSERT INTO numbered SELECT i * 10, repeat(md5(i::text), 7), i FROM generate_series(1, 50000) i;
CREATE TABLE composed (at timestamptz, name text, filler text, PRIMARY KEY (at, name));
INSERT INTO composed SELECT timestamptz '1970-01-01' + interval '1 hour' * (i / 7), CASE i % 7 WHEN 0 THEN 'B' WHEN 1 THEN 'a' WHEN 2 THEN 'ż''\\' WHEN 3 THEN '' ELSE i % 7 || '' END,
 repeat(md5(i::text), 7) FROM generate_series(1, 50000) i;
CREATE TABLE dated (day date, key bytea, PRIMARY KEY (day, key), filler text);
INSERT INTO dated SELECT date '0044-03-15 BC' + i / 100, decode(lpad(to_hex(i % 100), 4, '0'), 'hex') || '\\x00', repeat(md5(i::text), 7) FROM generate_series(1, 50000) i;
INSERT INTO dated VALUES ('infinity', '', 'last'), ('-infinity', '', 'first');
CREATE TABLE ordered_ids (id uuid PRIMARY KEY, filler text);
INSERT INTO ordered_ids SELECT lpad(to_hex(i), 32, '0')::uuid, repeat(md5(i::text), 7) FROM generate_series(1, 50000) i;
CREATE TABLE shuffled (id int PRIMARY KEY, filler text);
INSERT INTO shuffled SELECT i, repeat(md5(i::text), 7) FROM generate_series(1, 50000) i ORDER BY md5(i::text);
";

/// Rows that go elsewhere in the heap: to its end, and into the room of others.
const STRAYS: &str = "
UPDATE numbered SET filler = filler || 'changed' WHERE id % 1300 = 0; DELETE FROM numbered WHERE at % 17 = 0;
UPDATE composed SET filler = 'short' WHERE name = 'a' AND at < '1970-03-01'; DELETE FROM composed WHERE at > '1970-05-01' AND at < '1970-05-09';
DELETE FROM dated WHERE key < '\\x0003'; UPDATE ordered_ids SET filler = filler || 'x' WHERE filler LIKE 'a%';
VACUUM numbered, composed, dated, ordered_ids;
INSERT INTO numbered SELECT i * 10 + 3, repeat(md5(i::text), 7), i FROM generate_series(1, 50000, 40) i;
INSERT INTO numbered SELECT -i, 'below all', i FROM generate_series(1, 500) i;
INSERT INTO numbered SELECT 1000000 + i, repeat('x', 3000), i FROM generate_series(1, 900) i;
INSERT INTO composed SELECT '-infinity', 'n' || i, 'early' FROM generate_series(1, 100) i;
";

fn session(cluster: &Cluster, table: &str) -> Box<dyn SourceSession> {
    let url = format!("{}?table={table}", cluster.url("origin"));
    let source = Registry::default().source(&url, &Options::default()).unwrap();
    source.begin(&SessionOptions { parallel: 2, ..SessionOptions::default() }).unwrap()
}

/// The keys and values of a range.
fn read(session: &dyn SourceSession, range: &KeyRange) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut stream = session.read(0, range).unwrap();
    let (mut batch, mut rows) = (RecordBatch::new(), Vec::new());
    while stream.next_batch(&mut batch).unwrap() {
        rows.extend(batch.rows().map(|row| (row.key.to_vec(), row.value.to_vec())));
    }
    rows
}

#[test]
#[ignore = "needs postgresql"]
fn a_heap_in_the_order_of_its_key_gives_what_sorting_gives() {
    let cluster = Cluster::new();
    let mut from = cluster.database("origin");
    from.batch_execute(GROWN).unwrap();
    let room = Room::new();
    room.backup(&cluster.url("origin"));
    for sql in STRAYS.split_inclusive(';').filter(|sql| !sql.trim().is_empty()) {
        from.batch_execute(sql).unwrap();
    }
    let was = contents(&mut from);
    let second = room.backup(&cluster.url("origin"));
    assert_eq!(second["complete"], true, "{second}");
    let mut to = cluster.database("copy");
    room.ok(&["restore", "latest", &cluster.url("copy"), "--verify"]);
    assert!(was == contents(&mut to), "what was read by the order of heaps comes back");

    // The same rows in a heap without any order.
    for table in ["numbered", "composed", "dated", "ordered_ids", "shuffled"] {
        from.batch_execute(&format!(
            "CREATE INDEX mixed ON {table} (md5(filler)); CLUSTER {table} USING mixed; DROP INDEX mixed"
        ))
        .unwrap();
    }
    let third = room.backup(&cluster.url("origin"));
    let stats = &third["stats"];
    assert_eq!((&stats["new"], &stats["changed"], &stats["deleted"]), (&0.into(), &0.into(), &0.into()), "{third}");
}

#[test]
#[ignore = "needs postgresql"]
fn ranges_of_a_heap_in_order_are_what_the_whole_is_divided_into() {
    let cluster = Cluster::new();
    let mut from = cluster.database("origin");
    from.batch_execute(GROWN).unwrap();
    for sql in STRAYS.split_inclusive(';').filter(|sql| !sql.trim().is_empty()) {
        from.batch_execute(sql).unwrap();
    }
    for (table, in_order) in
        [("numbered", true), ("composed", true), ("dated", true), ("ordered_ids", true), ("shuffled", false)]
    {
        let session = session(&cluster, table);
        let splits = session.splits(0, 4).unwrap();
        assert!(!splits.is_empty(), "{table}");
        // The readers' last statements: of a heap in order the strays, of another everything.
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'origin' AND query LIKE 'COPY%IS NOT TRUE%'";
        assert_eq!(from.query_one(sql, &[]).unwrap().get::<_, i64>(0) > 0, in_order, "{table}");
        let whole = read(session.as_ref(), &KeyRange::all());
        assert!(whole.windows(2).all(|two| two[0].0 < two[1].0), "{table}: keys ascend");
        let count: i64 = from.query_one(&format!("SELECT count(*) FROM {table}"), &[]).unwrap().get(0);
        assert_eq!(whole.len() as i64, count, "{table}");
        // Ranges that begin where stretches do, and ranges that begin anywhere.
        let anywhere: Vec<Vec<u8>> = (1..6).map(|part| whole[part * whole.len() / 6 + 1].0.clone()).collect();
        for splits in [splits, anywhere] {
            let parts = KeyRange::between(&splits);
            let joined: Vec<_> = parts.iter().flat_map(|range| read(session.as_ref(), range)).collect();
            assert!(joined == whole, "{table}");
        }
        session.finish().unwrap();
    }
}
