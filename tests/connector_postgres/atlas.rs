//! `AtlasDB`'s store: transactions after a timestamp never were, timestamps are never handed out twice.

use crate::cluster::{Cluster, Room, rows};
use data_encoding::BASE64;
use postgres::Client;

/// What `AtlasDB` makes, as far as a restore looks at it; with the prefix `a_`.
const STORE: &str = r"
CREATE TABLE _metadata (table_name varchar(2000) NOT NULL, table_size bigint NOT NULL, value bytea NULL, CONSTRAINT pk__metadata PRIMARY KEY (table_name));
CREATE UNIQUE INDEX unique_lower_case__metadata_index ON _metadata (lower(table_name));
INSERT INTO _metadata VALUES ('_transactions', 3, NULL), ('_transactions2', 3, NULL), ('_coordination', 3, NULL), ('default.account', 3, '\x00ff');
CREATE TABLE a__timestamp (last_allocated int8 NOT NULL);
INSERT INTO a__timestamp VALUES (1020000);
CREATE TABLE a__transactions (row_name bytea NOT NULL, col_name bytea NOT NULL, ts int8 NOT NULL, val bytea, CONSTRAINT pk_a__transactions PRIMARY KEY (row_name, col_name, ts));
CREATE TABLE a__transactions2 (LIKE a__transactions INCLUDING ALL); CREATE TABLE a__coordination (LIKE a__transactions INCLUDING ALL); CREATE TABLE a_default__account (LIKE a__transactions INCLUDING ALL);
INSERT INTO a_default__account VALUES ('\x00', '\xff', 19000, 'one'), ('\x00', '\xff', 19900, 'two'), ('\x00', '\xff', 19200, 'none'), ('\x01', '\x00', 19000, ''), ('\x01', '\x00', -1, ''), ('\x02', 'n', 19000, NULL);
";

/// 19000 → 19500, 19900 → 20050, 20010 → 20020, 19100 aborted; and around the lengths of numbers.
const DIRECT: &str = r"
INSERT INTO a__transactions VALUES ('\xc04a38', 't', 0, '\xc04c2c'), ('\xc04dbc', 't', 0, '\xc04e52'), ('\xc04e2a', 't', 0, '\xc04e34'), ('\xc04a9c', 't', 0, '\xff80ffffffffffffffff'),
 ('\x7e', 't', 0, '\x7f'), ('\x7d', 't', 0, '\x8080'), ('\xbffe', 't', 0, '\xbfff'), ('\xbffd', 't', 0, '\xc04000');
";

fn store(cluster: &Cluster, name: &str) -> Client {
    let mut client = cluster.database(name);
    client.batch_execute(STORE).unwrap();
    client.batch_execute(DIRECT).unwrap();
    client
}

/// What the transactions' tables hold of one: its value in hexadecimal digits.
fn value(client: &mut Client, table: &str, row: &str) -> Vec<String> {
    rows(client, &format!("SELECT encode(val, 'hex') FROM {table} WHERE row_name = '\\x{row}'"))
}

fn clean(room: &Room, url: &str, timestamp: &str, more: &[&str]) -> crate::cluster::Ran {
    let line = ["--json", "atlas", "clean-transactions", url, "--prefix", "a_", "--timestamp", timestamp, "--force"];
    room.run(&[&line[..], more].concat())
}

#[test]
#[ignore = "needs postgresql"]
fn transactions_that_committed_after_the_timestamp_never_were() {
    let cluster = Cluster::new();
    let mut client = store(&cluster, "s");
    let (room, url) = (Room::new(), cluster.url("s"));
    let dry = clean(&room, &url, "20000", &["--dry-run"]).ends(0, &[]).json();
    assert_eq!(dry["outcome"]["transactions"], serde_json::json!([[19900, 20050], [20010, 20020]]), "{dry}");
    for _ in 0..2 {
        clean(&room, &url, "20000", &[]).ends(0, &["\"looked_at\": 8"]);
        let t = "a__transactions";
        assert_eq!(value(&mut client, t, "c04a38"), ["c04c2c"], "committed before");
        assert_eq!(value(&mut client, t, "c04dbc"), ["ff80ffffffffffffffff"], "began before, committed after");
        assert_eq!(value(&mut client, t, "c04e2a"), ["ff80ffffffffffffffff"]);
        assert_eq!(value(&mut client, t, "c04a9c"), ["ff80ffffffffffffffff"], "aborted anyway");
    }
    assert_eq!(rows(&mut client, "SELECT * FROM a_default__account").len(), 6, "data stays");
    // A timestamp at the edge of a number's length: what committed at it is cleaned, what committed before is not.
    for (timestamp, kept, gone) in [("16384", "bffe", "bffd"), ("128", "7e", "7d")] {
        clean(&room, &url, timestamp, &["--delete"]).ends(0, &[]);
        assert_eq!(value(&mut client, "a__transactions", kept).len(), 1);
        assert_eq!(value(&mut client, "a__transactions", gone), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs postgresql"]
fn each_schema_is_cleaned_as_the_map_says_and_others_are_refused() {
    let cluster = Cluster::new();
    let mut client = store(&cluster, "s");
    let (room, url) = (Room::new(), cluster.url("s"));
    // 10001 → 10005 by tickets, 25000017 → 25000120 in two phases, the one behind it staging.
    client
        .batch_execute(
            r"INSERT INTO a__transactions2 VALUES ('\x8000000000000000', '\x8271', 0, '\x04'), ('\x8800000000000000', '\x01', 0, '\x6701'), ('\x4800000000000000', '\x01', 0, '\x6700')",
        )
        .unwrap();
    clean(&room, &url, "20000", &[]).ends(1, &["_coordination does not say", "nothing was changed"]);
    let coordinate = |client: &mut Client, last: i64| {
        let map = format!(
            r#"{{"timestampToTransactionsTableSchemaVersion":{{"timestampMappings":[
              {{"longRange":{{"lowerEndpoint":1,"lowerBoundType":"CLOSED","upperEndpoint":15000,"upperBoundType":"OPEN"}},"value":2}},
              {{"longRange":{{"lowerEndpoint":15000,"lowerBoundType":"CLOSED"}},"value":{last}}}]}}}}"#
        );
        let value = format!(r#"{{"version":1,"payload":"{}"}}"#, BASE64.encode(map.as_bytes()));
        let sql = "INSERT INTO a__coordination VALUES ('m', '\\x00', 0, $1), ('m', '\\x03', 0, $2) ON CONFLICT (row_name, col_name, ts) DO UPDATE SET val = excluded.val";
        client.execute(sql, &[&&br#"{"sequence":3,"bound":9}"#[..], &value.as_bytes()]).unwrap();
    };
    coordinate(&mut client, 4);
    clean(&room, &url, "20000", &[]).ends(1, &["schema 4"]);
    assert_eq!(value(&mut client, "a__transactions", "c04e2a"), ["c04e34"], "nothing was changed");
    coordinate(&mut client, 3);
    clean(&room, &url, "20000", &[]).ends(0, &[]);
    let t = "a__transactions2";
    assert_eq!(value(&mut client, t, "8000000000000000"), ["04"]);
    assert_eq!(value(&mut client, t, "8800000000000000"), ["01"]);
    assert_eq!(value(&mut client, t, "4800000000000000"), ["01"], "one that was about to commit is aborted");
    clean(&room, &url, "10004", &[]).ends(0, &[]);
    assert_eq!(value(&mut client, t, "8000000000000000"), [""]);
}

#[test]
#[ignore = "needs postgresql"]
fn timestamps_only_move_forward_and_files_are_those_of_atlasdb() {
    let cluster = Cluster::new();
    let mut client = store(&cluster, "s");
    let (room, url) = (Room::new(), cluster.url("s"));
    let bound = |client: &mut Client| rows(client, "SELECT last_allocated FROM a__timestamp");
    let atlas = |verb: &str, more: &[&str]| room.run(&[&["atlas", verb, &url, "--prefix", "a_"][..], more].concat());
    atlas("fetch", &["--file", "b/backup.timestamp"]).ends(0, &["1020001"]);
    assert_eq!(std::fs::read_to_string(room.path("b/backup.timestamp")).unwrap(), "1020001\n");
    atlas("fast-forward", &["--file", "b/backup.timestamp"]).ends(11, &["others are connected"]);
    atlas("fast-forward", &["--timestamp", "5000", "--force"]).ends(0, &["was 1020000, and is 1020000"]);
    atlas("fast-forward", &["--file", "b/backup.timestamp", "--force"]).ends(0, &["is 2020001"]);
    atlas("fast-forward", &["--file", "b/backup.timestamp", "--force"]).ends(0, &["is 2020001"]);
    assert_eq!(bound(&mut client), ["2020001"]);
    std::fs::write(room.path("two"), "1\n2\n").unwrap();
    atlas("fast-forward", &["--file", "two", "--force"]).ends(1, &["more than one line"]);
    atlas("fast-forward", &["--timestamp=-5"]).ends(2, &[]);
    atlas("clean-transactions", &[]).ends(2, &[]);
    client.batch_execute("ALTER TABLE a__timestamp RENAME last_allocated TO legacy_last_allocated").unwrap();
    atlas("fetch", &[]).ends(1, &["TimeLock"]);
    cluster.database("none");
    room.run(&["atlas", "fetch", &cluster.url("none")]).ends(1, &["no store of AtlasDB's"]);

    // A store as a whole: one state of all its tables, its bound among them, needs nothing else.
    client.batch_execute("ALTER TABLE a__timestamp RENAME legacy_last_allocated TO last_allocated").unwrap();
    room.ok(&["backup", &url]);
    let mut copy = cluster.database("copy");
    room.ok(&["restore", "latest", &cluster.url("copy"), "--verify"]);
    assert_eq!(bound(&mut copy), ["2020001"]);
    assert_eq!(crate::cluster::contents(&mut client), crate::cluster::contents(&mut copy));
}

/// Another prefix than the store's is told from timestamps that are kept elsewhere.
#[test]
#[ignore = "needs postgresql"]
fn a_wrong_prefix_is_told_with_those_that_there_are() {
    let cluster = Cluster::new();
    let mut client = store(&cluster, "s");
    client.batch_execute("CREATE TABLE b__timestamp (legacy_last_allocated int8 NOT NULL)").unwrap();
    let (room, url) = (Room::new(), cluster.url("s"));
    let words = ["no table _timestamp", "stores of the prefixes `a_`, `b_`"];
    room.run(&["backup", &format!("atlasdb:{url}")]).ends(1, &words);
    room.run(&["atlas", "fetch", &url, "--prefix", "c_"]).ends(1, &["no table c__timestamp"]);
    room.run(&["atlas", "fetch", &url, "--prefix", "b_"]).ends(1, &["moved to a TimeLock"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_restore_that_makes_no_sense_of_an_entry_has_changed_nothing_and_says_so() {
    let cluster = Cluster::new();
    let mut client = store(&cluster, "s");
    client.batch_execute("INSERT INTO a__transactions VALUES ('r', 'c', 10000, 'x')").unwrap();
    let mut copy = cluster.database("copy");
    let (room, url) = (Room::new(), cluster.url("copy"));
    room.run(&["backup", &format!("atlasdb:{}?prefix=a_", cluster.url("s"))]).ends(0, &[]);
    let ran = room.run(&["restore", "latest", &format!("atlasdb:{url}")]);
    ran.ends(1, &["is no start timestamp", "the repository and the target are as they were"]);
    assert!(
        rows(&mut copy, "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace").is_empty()
    );
}
