//! `atlasdb:` URLs: what is read, which timestamps belong to it, and what a restore makes of them.

use crate::{
    cluster::{Cluster, Room, rows},
    mini,
};
use postgres::Client;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

/// The transactions that a restore to 20000 has to tell apart, in all schemas, and the cells that they wrote.
pub fn vectors(client: &mut Client) {
    mini::create(client, "a_");
    client.batch_execute("INSERT INTO a__timestamp VALUES (25000); CREATE TABLE stranger (k int PRIMARY KEY); INSERT INTO stranger VALUES (1)").unwrap();
    let put = |client: &mut Client, schema: u8, start: i64, commit: Option<i64>| {
        let (table, row, column, value) = mini::entry(schema, start, commit);
        client.execute(&format!("INSERT INTO a_{table} VALUES ($1, $2, 0, $3)"), &[&row, &column, &value]).unwrap();
    };
    mini::coordinate(client, "a_", &[(1, Some(19_300), 1), (19_300, Some(19_600), 2), (19_600, None, 3)]);
    for (schema, start, commit) in [
        (1, 19_000, Some(19_500)),
        (1, 19_100, None),
        (1, 126, Some(127)),
        (1, 127, Some(20_001)),
        (1, 16_382, Some(16_383)),
        (1, 16_383, Some(19_999)),
        (1, 16_384, Some(20_000)),
        (2, 19_400, Some(19_401)),
        (2, 19_401, Some(20_050)),
        (2, 19_402, None),
        (3, 19_700, Some(19_701)),
        (3, 19_900, Some(20_050)),
        (3, 19_901, None),
        (3, 20_010, Some(20_020)),
    ] {
        put(client, schema, start, commit);
    }
    // One that stages, before and after.
    for (start, commit) in [(19_703, 19_710), (19_704, 20_011)] {
        let (table, row, column, mut value) = mini::entry(3, start, Some(commit));
        *value.last_mut().unwrap() = 0;
        client.execute(&format!("INSERT INTO a_{table} VALUES ($1, $2, 0, $3)"), &[&row, &column, &value]).unwrap();
    }
    client
        .batch_execute(
            r"INSERT INTO a_default__account VALUES ('\x00', '\xff', 19000, 'kept'), ('\x00', '\xff', 19900, 'late'), ('\x00', '\xff', 19200, 'never'),
              ('\x01', '\x00', 126, 'old'), ('\x01', '\x00', 19000, ''), ('\x01', '\x00', -1, ''), ('\x02', 'n', 19000, NULL), ('\xff00', 'n', 19401, 'late'), ('\xff00', 'n', 19400, 'kept'),
              ('\x03', 'n', 16384, 'late'), ('\x03', 'n', 16383, 'kept'), ('\x04', 'n', 127, 'late')",
        )
        .unwrap();
}

/// Gives 20000 first, and 30000 from then on.
pub fn clock(room: &Room) -> String {
    let path = room.path("clock");
    format!("if test -e {0}; then echo 30000; else touch {0}; echo 20000; fi", path.display())
}

fn value(client: &mut Client, schema: u8, start: i64) -> Vec<String> {
    let (table, row, column, _) = mini::entry(schema, start, None);
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    rows(
        client,
        &format!(
            "SELECT encode(val, 'hex') FROM a_{table} WHERE row_name = '\\x{}' AND col_name = '\\x{}'",
            hex(&row),
            hex(&column)
        ),
    )
}

#[test]
#[ignore = "needs postgresql"]
fn a_store_comes_back_as_of_its_timestamp_with_every_transaction_where_it_belongs() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    vectors(&mut client);
    let room = Room::new();
    let (from, to) = (format!("atlasdb:{}?prefix=A_", cluster.url("s")), format!("atlasdb:{}", cluster.url("copy")));
    let first = room.ok(&["--json", "backup", &from, "--timestamp-command", &clock(&room)]).json();
    assert_eq!(first["complete"], true, "{first}");
    // The files are records, and what the store's own command writes.
    for (name, content) in [("backup.timestamp", "20000\n"), ("fast-forward.timestamp", "30000\n")] {
        assert_eq!(room.ok(&["dump", "latest", "timestamps", name]).out, content);
    }
    let listed = room.ok(&["ls", "latest"]).out;
    assert!(
        !listed.contains("stranger") && listed.contains("a_default__account") && listed.contains("dual"),
        "{listed}"
    );

    let mut copy = cluster.database("copy");
    let dry = room.ok(&["restore", "latest", &to, "--dry-run"]);
    let said = format!("{}{}", dry.out, dry.err);
    for words in [
        "16 entries of transactions, 6 of them",
        "began 19900, committed 20050",
        "began 16384, committed 20000",
        "above 30000",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    assert_eq!(rows(&mut copy, "SELECT 1 FROM pg_class WHERE relname = 'dual'"), Vec::<String>::new());
    let restored = room.ok(&["--json", "restore", "latest", &to, "--verify"]).json();
    assert_eq!(restored["different"], 0, "what cleaning changed is no difference: {restored}");
    let aborted = "ff80ffffffffffffffff";
    for (schema, start, is) in [
        (1, 19_100, aborted),
        (1, 127, aborted),
        (1, 16_384, aborted),
        (2, 19_401, ""),
        (2, 19_402, ""),
        (3, 19_900, "01"),
        (3, 19_901, "01"),
        (3, 20_010, "01"),
        (3, 19_704, "01"),
        (1, 126, "7f"),
        (1, 16_382, "bfff"),
        (2, 19_400, "01"),
        (3, 19_700, "0101"),
        (3, 19_703, "0700"),
    ] {
        assert_eq!(value(&mut copy, schema, start), [is], "{schema} {start}");
    }
    let cells = "SELECT encode(row_name, 'hex'), encode(col_name, 'hex'), ts, val FROM a_default__account";
    assert_eq!(rows(&mut client, cells), rows(&mut copy, cells), "cells stay, whoever wrote them");
    assert_eq!(rows(&mut copy, "SELECT last_allocated FROM a__timestamp"), ["30000"]);
    assert_eq!(rows(&mut copy, "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'unique_lower%'").len(), 1);
    for (row, schema, is) in [
        (&[0][..], 1, Some("kept")),
        (&[1], 1, None),
        (&[3], 1, Some("kept")),
        (&[0xff, 0], 2, Some("kept")),
        (&[4], 1, None),
    ] {
        let read = mini::read(&mut copy, "a_", "default__account", schema, row, 40_000);
        assert_eq!(read.map(|value| String::from_utf8(value).unwrap()).as_deref(), is, "{row:?}");
    }

    // Another store at the same place, a part of one, and what is no store are refused.
    room.run(&["restore", "latest", &to]).ends(2, &["empty schema only"]);
    let mut other = cluster.database("other");
    let other_url = format!("atlasdb:{}", cluster.url("other"));
    room.run(&["restore", "latest", &other_url, "--collection", "public._metadata"]).ends(2, &["as a whole"]);
    room.run(&["restore", "latest", &format!("{other_url}?prefix=b_")]).ends(2, &["prefix is `a_`"]);
    room.run(&["restore", "latest", &cluster.url("other")]).ends(1, &["AtlasDB store"]);
    room.run(&["backup", &other_url]).ends(1, &["no store of AtlasDB's"]);
    assert_eq!(rows(&mut other, "SELECT 1 FROM pg_class WHERE relname = 'dual'"), Vec::<String>::new());
}

#[test]
#[ignore = "needs postgresql"]
fn the_store_s_own_timestamps_are_those_of_the_state_that_is_read() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    mini::create(&mut client, "");
    let room = Room::new();
    let from = format!("atlasdb:{}", cluster.url("s"));
    room.backup(&from);
    assert_eq!(room.ok(&["dump", "latest", "timestamps", "backup.timestamp"]).out, "10000\n", "none was given yet");
    // A commit at the bound itself stays.
    client.batch_execute("INSERT INTO _timestamp VALUES (20000)").unwrap();
    let (table, row, column, committed) = mini::entry(1, 19_000, Some(20_000));
    client.execute(&format!("INSERT INTO {table} VALUES ($1, $2, 0, $3)"), &[&row, &column, &committed]).unwrap();
    client.batch_execute("INSERT INTO _metadata VALUES ('default.gone', 3, NULL)").unwrap();
    room.run(&["backup", &from]).ends(3, &["default.gone", "default__gone"]);
    for name in ["backup.timestamp", "fast-forward.timestamp"] {
        assert_eq!(room.ok(&["dump", "latest", "timestamps", name]).out, "20001\n");
    }
    room.run(&["verify", "latest", "--against", &from])
        .ends(3, &["0 only in the snapshot, 0 only in the source, 0 differ,"]);
    let mut copy = cluster.database("copy");
    room.run(&["restore", "latest", &format!("atlasdb:{}", cluster.url("copy"))]).ends(3, &["0 of them committed"]);
    assert_eq!(mini::commit_of(&mut copy, "", 1, 19_000), Some(20_000));
    assert_eq!(rows(&mut copy, "SELECT last_allocated FROM _timestamp"), ["20001"]);
    // A store whose transactions are of a schema that is not known is not restored, and nothing of it is left.
    mini::coordinate(&mut client, "", &[(1, None, 4)]);
    let _ = room.run(&["backup", &from]).ends(3, &[]);
    let mut late = cluster.database("late");
    room.run(&["restore", "latest", &format!("atlasdb:{}", cluster.url("late"))]).ends(1, &["schema 4"]);
    assert_eq!(rows(&mut late, "SELECT 1 FROM pg_class WHERE relname = 'dual'"), Vec::<String>::new());
}

#[test]
#[ignore = "needs postgresql"]
fn history_of_a_cell_tells_what_became_of_the_transactions_that_wrote_it() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    vectors(&mut client);
    let room = Room::new();
    let from = format!("atlasdb:{}?prefix=a_", cluster.url("s"));
    room.backup(&from);
    room.backup(&from);
    // One that was under way commits, a new version comes.
    let (table, row, column, committed) = mini::entry(1, 19_200, Some(24_000));
    client.execute(&format!("INSERT INTO a_{table} VALUES ($1, $2, 0, $3)"), &[&row, &column, &committed]).unwrap();
    client.batch_execute(r"INSERT INTO a_default__account VALUES ('\x00', '\xff', 24500, '')").unwrap();
    room.backup(&from);
    let line = ["--json", "history", "public.a_default__account", "hex:00,hex:ff"];
    let found = room.ok(&line).json();
    let told: Vec<String> = found["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| {
            let shown = version["shown"].as_array().unwrap().iter();
            let shown: Vec<String> =
                shown.map(|span| format!("{}/{}/{}", span["fate"], span["commit"], span["snapshots"])).collect();
            format!("{} {} {}", version["start"], version["kind"], shown.join(" ")).replace('"', "")
        })
        .collect();
    assert_eq!(
        told,
        [
            "24500 delete open/null/1",
            "19900 value committed/20050/3",
            "19200 value open/null/2 committed/24000/1",
            "19000 value committed/19500/3",
        ],
        "{found}"
    );
    let words = room.ok(&line[1..]).out;
    for word in ["began 19200", "committed at 24000", "open", "delete"] {
        assert!(words.contains(word), "{words}");
    }
}

/// A `TimeLock` as its interface is documented: fresh timestamps, and moving forward.
fn timelock() -> (u16, Arc<AtomicI64>, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (next, asked) = (Arc::new(AtomicI64::new(20_000)), Arc::new(Mutex::new(Vec::new())));
    let (own, own_asked) = (Arc::clone(&next), Arc::clone(&asked));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) = if path == "/api/bank/timestamp/fresh-timestamp" {
                ("200 OK", own.fetch_add(100, Ordering::SeqCst).to_string())
            } else if path == "/api/bank/timelock/immutable-timestamp" {
                ("200 OK", "19500".to_owned())
            } else if let Some(to) = path.strip_prefix("/api/bank/timestamp-management/fast-forward?currentTimestamp=")
            {
                own.fetch_max(to.parse::<i64>().unwrap() + 1, Ordering::SeqCst);
                ("204 No Content", String::new())
            } else {
                ("404 Not Found", "no such thing".to_owned())
            };
            own_asked.lock().unwrap().push(first.trim().to_owned());
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    (port, next, asked)
}

#[test]
#[ignore = "needs postgresql"]
fn timestamps_that_a_timelock_keeps_are_asked_for_before_and_after_and_moved_forward_there() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    vectors(&mut client);
    client.batch_execute("ALTER TABLE a__timestamp RENAME last_allocated TO legacy_last_allocated").unwrap();
    let room = Room::new();
    let url = |database: &str| format!("atlasdb:{}?prefix=a_&client=bank", cluster.url(database));
    room.run(&["backup", &url("s")]).ends(1, &["TimeLock"]);
    let (port, next, asked) = timelock();
    let address = format!("http://127.0.0.1:{port}/api/");
    room.ok(&["backup", &url("s"), "--timelock", &address]);
    for (name, content) in [("backup", "20000\n"), ("fast-forward", "20100\n"), ("immutable", "19500\n")] {
        assert_eq!(room.ok(&["dump", "latest", "timestamps", &format!("{name}.timestamp")]).out, content);
    }
    // Elsewhere another TimeLock begins, which must be told.
    next.store(10_000, Ordering::SeqCst);
    let mut copy = cluster.database("copy");
    room.ok(&["restore", "latest", &url("copy"), "--timelock", &address, "--verify"]);
    assert_eq!(next.load(Ordering::SeqCst), 20_201, "{:?}", asked.lock().unwrap());
    assert_eq!(value(&mut copy, 3, 19_900), ["01"]);
    cluster.database("untold");
    room.run(&["restore", "latest", &url("untold")]).ends(3, &["move it forward to 20100"]);
    room.run(&["backup", &url("s"), "--timelock", "http://127.0.0.1:1/api"])
        .ends(1, &["TimeLock at http://127.0.0.1:1/api"]);
    room.run(&["backup", &url("s"), "--timestamp-command", "echo x"]).ends(1, &["no timestamp"]);
    room.run(&["backup", &url("s"), "--timestamp-command", "echo -5"]).ends(1, &["greater than 0"]);
    room.run(&["backup", &url("s"), "--timestamp-command", "exit 3"]).ends(1, &["exit status: 3"]);
    // A clock that goes back is none.
    let path = room.path("back");
    let back = format!("if test -e {0}; then echo 5; else touch {0}; echo 9; fi", path.display());
    room.run(&["backup", &url("s"), "--timestamp-command", &back]).ends(1, &["before the backup timestamp"]);
    // A file of yesterday, and the clock of another store.
    room.run(&["backup", &url("s"), "--timestamp-command", "echo 30000"]).ends(1, &["given twice"]);
    let counter = room.path("counter");
    fs::write(&counter, "5").unwrap();
    let low = format!("n=$(cat {0}); echo $((n + 1)) > {0}; cat {0}", counter.display());
    room.run(&["backup", &url("s"), "--timestamp-command", &low]).ends(3, &["are not of this store"]);
    room.run(&["backup", &url("s"), "--timestamp-command", &low, "--fuzzy", "--sweep-is-off"])
        .ends(3, &["are not of this store"]);

    // One that keeps them in the same database.
    client
        .batch_execute("CREATE TABLE pt_timelock_db_ts (client varchar(2000) NOT NULL, last_allocated int8 NOT NULL, PRIMARY KEY (client)); INSERT INTO pt_timelock_db_ts VALUES ('bank', 30000), ('other', 7)")
        .unwrap();
    room.run(&["backup", &format!("atlasdb:{}?prefix=a_", cluster.url("s"))]).ends(1, &["bank, other", "client="]);
    room.ok(&["backup", &url("s")]);
    assert_eq!(room.ok(&["dump", "latest", "timestamps", "backup.timestamp"]).out, "30001\n");
    let mut beside = cluster.database("beside");
    room.ok(&["restore", "latest", &url("beside"), "--verify"]);
    assert_eq!(rows(&mut beside, "SELECT * FROM pt_timelock_db_ts"), ["bank\t30001", "other\t7"]);
}

#[test]
#[ignore = "needs postgresql"]
fn the_place_of_a_store_is_taken_from_its_configuration() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    vectors(&mut client);
    let room = Room::new();
    let config = |database: &str| {
        format!(
            "server: {{port: 8080}}\nown:\n  atlas:\n    namespace: bank\n    leader: {{quorumSize: 1}}\n    keyValueService:\n      type: relational\n      ddl: {{type: postgres, tablePrefix: a_}}\n      connection: {{type: postgres, host: 127.0.0.1, port: {}, dbName: {database}, dbLogin: postgres, dbPassword: secret}}\n",
            cluster.port
        )
    };
    fs::write(room.path("from.yml"), config("s")).unwrap();
    fs::write(room.path("to.yml"), config("copy")).unwrap();
    let block = ["--config-root", "/own/atlas"];
    room.ok(&[&["backup", "--atlas-config", "from.yml"], &block[..]].concat());
    let listed = room.ok(&["snapshots"]).out;
    assert!(listed.contains("atlasdb:from.yml") && !listed.contains("secret"), "{listed}");
    let mut copy = cluster.database("copy");
    room.ok(&[&["restore", "latest", "--atlas-config", "to.yml"], &block[..]].concat());
    assert_eq!(rows(&mut copy, "SELECT last_allocated FROM a__timestamp"), ["25001"]);
    let fetched =
        room.ok(&[&["atlas", "fetch", "--config", "to.yml", "--file", "x/backup.timestamp"], &block[..]].concat());
    assert_eq!(fetched.out, "25002\n");
    assert_eq!(fs::read_to_string(room.path("x/backup.timestamp")).unwrap(), "25002\n");
    room.run(&["backup", "--atlas-config", "from.yml"]).ends(2, &["keyValueService"]);
    room.run(&["backup", "atlasdb:none.yml"]).ends(1, &["none.yml"]);
    room.run(&["backup", &cluster.url("s"), "--atlas-config", "from.yml"]).ends(2, &["named twice"]);
    room.ok(&[
        "atlas",
        "clean-transactions",
        "--config",
        "to.yml",
        "--config-root",
        "own/atlas",
        "--file",
        "x/backup.timestamp",
        "--force",
    ]);
    fs::write(room.path("wrong"), "1\n2\n").unwrap();
    let wrong =
        ["atlas", "fast-forward", "--config", "to.yml", "--config-root", "own/atlas", "--force", "--file", "wrong"];
    room.run(&wrong).ends(1, &["more than one line"]);
}

#[test]
#[ignore = "needs postgresql"]
fn stores_that_share_a_table_of_tables_are_told_apart_by_their_prefixes() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    vectors(&mut client);
    let cells = "row_name bytea NOT NULL, col_name bytea NOT NULL, ts int8 NOT NULL, val bytea, PRIMARY KEY (row_name, col_name, ts)";
    client
        .batch_execute(&format!(
            r"CREATE TABLE ab__timestamp (last_allocated int8 NOT NULL); INSERT INTO ab__timestamp VALUES (500);
              CREATE TABLE ab__transactions ({cells}); CREATE TABLE ab_default__account ({cells}); CREATE TABLE ab_default__ledger ({cells});
              INSERT INTO ab_default__account VALUES ('\x01', 'n', 7, 'of ab');
              INSERT INTO _metadata VALUES ('default.ledger', 3, NULL)"
        ))
        .unwrap();
    let room = Room::new();
    let from = |prefix: &str| format!("atlasdb:{}?prefix={prefix}", cluster.url("s"));
    let shared = ["_metadata names tables of the stores of the prefixes `ab_` too", "default.ledger"];
    let first = room.run(&["--json", "backup", &from("a_"), "--timestamp-command", &clock(&room)]).ends(0, &shared);
    let first = first.json();
    assert_eq!(first["complete"], true);
    let listed = room.ok(&["ls", first["id"].as_str().unwrap()]).out;
    assert!(listed.contains("a_default__account") && !listed.contains("ab_"), "{listed}");
    // What the other has and this one has not is no loss either.
    let second =
        room.run(&["--json", "backup", &from("ab_")]).ends(0, &["`a_` too", "_transactions2", "default.audit"]);
    let second = second.json();
    let second = second["id"].as_str().unwrap();
    let listed = room.ok(&["ls", second]).out;
    assert!(listed.contains("ab_default__ledger") && !listed.contains("public.a_"), "{listed}");
    let mut copy = cluster.database("copy");
    room.ok(&["restore", second, &format!("atlasdb:{}", cluster.url("copy")), "--verify"]);
    assert_eq!(rows(&mut copy, "SELECT val FROM ab_default__account"), [r"\\x6f66206162"]);
    assert_eq!(rows(&mut copy, "SELECT last_allocated FROM ab__timestamp"), ["501"]);
    assert_eq!(rows(&mut copy, "SELECT 1 FROM pg_class WHERE relname LIKE 'a\\_%'"), Vec::<String>::new());
    // What nobody has is missing, whoever asks.
    client.batch_execute("INSERT INTO _metadata VALUES ('default.gone', 3, NULL)").unwrap();
    for prefix in ["a_", "ab_"] {
        fs::remove_file(room.path("clock")).unwrap();
        room.run(&["backup", &from(prefix), "--timestamp-command", &clock(&room)]).ends(3, &["default.gone"]);
    }
    // Alone, it cannot tell names of the other from those of tables that are lost.
    room.run(&["backup", &format!("atlasdb:{}?prefix=ab_", cluster.url("copy"))]).ends(3, &["default.audit"]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_bound_that_commits_of_its_own_state_contradict_is_named() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    mini::create(&mut client, "");
    for (schema, start, commit) in [(1, 50_000, 50_010), (2, 19_400, 19_401)] {
        let (table, row, column, value) = mini::entry(schema, start, Some(commit));
        client.execute(&format!("INSERT INTO {table} VALUES ($1, $2, 0, $3)"), &[&row, &column, &value]).unwrap();
    }
    mini::coordinate(&mut client, "", &[(1, Some(19_300), 1), (19_300, Some(19_600), 2), (19_600, None, 3)]);
    let room = Room::new();
    let from = format!("atlasdb:{}", cluster.url("s"));
    let words = |bound: &str| format!("committed above its own bound of timestamps {bound}");
    // It was lost; it was set back.
    room.run(&["backup", &from]).ends(3, &["2 transactions of this state", &words("9999"), "50010"]);
    client.batch_execute("INSERT INTO _timestamp VALUES (20000)").unwrap();
    room.run(&["backup", &from]).ends(3, &["1 transactions of this state", &words("20000"), "50010"]);
    cluster.database("copy");
    room.run(&["restore", "latest", &format!("atlasdb:{}", cluster.url("copy"))])
        .ends(3, &["1 of them committed", &words("20000")]);
    // A bound at the commit itself is one.
    client.batch_execute("UPDATE _timestamp SET last_allocated = 50010").unwrap();
    room.ok(&["backup", &from]);
}

#[test]
#[ignore = "needs postgresql"]
fn a_bound_above_or_below_all_timestamps_is_refused() {
    let cluster = Cluster::new();
    let mut client = cluster.database("s");
    mini::create(&mut client, "");
    client.batch_execute("INSERT INTO _timestamp VALUES (1)").unwrap();
    let room = Room::new();
    let url = cluster.url("s");
    for (bound, words) in
        [(i64::MAX, "used up"), (-7, "the bound of its timestamps is -7"), (i64::MIN, "none is below 1")]
    {
        client.execute("UPDATE _timestamp SET last_allocated = $1", &[&bound]).unwrap();
        room.run(&["atlas", "fetch", &url, "--file", "t"]).ends(1, &[words]);
        room.run(&["backup", &format!("atlasdb:{url}")]).ends(1, &[words]);
    }
    assert!(!room.path("t").exists());
    client.batch_execute("UPDATE _timestamp SET last_allocated = 0").unwrap();
    assert_eq!(room.ok(&["atlas", "fetch", &url]).out, "1\n");
}
