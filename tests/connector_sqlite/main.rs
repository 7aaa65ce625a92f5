//! SQLite as a source and as a target, through the connector traits alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod damage;
mod existing;
mod foreign;
mod pages;
mod shapes;
mod standing;

use rekeep::{
    connector::{
        ConnectorError, Outcomes, Overwrite, Removal, SessionEnd, SessionOptions, Source, SourceSession, SourceUrl,
        Target, TargetCollection, TargetPlan,
        sqlite::{SqliteSource, SqliteTarget},
    },
    record::{KeyRange, RecordBatch},
};
use rusqlite::{
    Connection,
    types::{Value, ValueRef},
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tempfile::TempDir;

fn url(path: &Path, query: &str) -> SourceUrl {
    SourceUrl::parse(&format!("sqlite:{}{query}", path.display())).unwrap()
}

fn source(path: &Path) -> SqliteSource {
    SqliteSource::new(&url(path, "")).unwrap()
}

fn parallel(parallel: usize) -> SessionOptions {
    SessionOptions { parallel, ..SessionOptions::default() }
}

#[derive(Debug)]
struct Copied {
    end: SessionEnd,
    outcomes: Outcomes,
    notes: Vec<String>,
}

/// How a copy is written.
struct Way {
    overwrite: Overwrite,
    make_equal: bool,
    partial: bool,
    rename: fn(&str) -> String,
}

impl Default for Way {
    fn default() -> Self {
        Self { overwrite: Overwrite::Always, make_equal: false, partial: false, rename: str::to_owned }
    }
}

fn plan(session: &dyn SourceSession, way: &Way) -> TargetPlan {
    let collection = |collection: &rekeep::connector::SourceCollection| TargetCollection {
        name: (way.rename)(&collection.name),
        source_name: collection.name.clone(),
        codec: collection.codec,
        attributes: collection.attributes.clone(),
        records: 0,
    };
    TargetPlan {
        connector: "sqlite".to_owned(),
        attributes: session.attributes(),
        collections: session.collections().iter().map(collection).collect(),
        overwrite: way.overwrite,
        make_equal: way.make_equal,
        partial: way.partial,
        left_out: None,
        leave_alone: Vec::new(),
        repository: None,
        snapshot: None,
        as_of: session.start(),
        parallel: 1,
    }
}

fn copy(source: &SqliteSource, to: &Path, way: &Way) -> Result<Copied, ConnectorError> {
    let session = source.begin(&parallel(2))?;
    let target = SqliteTarget::new(&url(to, ""))?;
    let mut writing = target.begin(&plan(&*session, way))?;
    let mut outcomes = Outcomes::default();
    for number in 0..session.collections().len() {
        let mut table = writing.open(number)?;
        let mut batch = RecordBatch::new();
        let mut extra = Vec::new();
        if let (true, Some(mut existing)) = (way.make_equal, table.existing(&KeyRange::all())?) {
            while existing.next_batch(&mut batch).unwrap() {
                extra.extend(batch.rows().map(|row| row.key.to_vec()));
            }
        }
        let mut last: Option<Vec<u8>> = None;
        for range in KeyRange::between(&session.splits(number, 3)?) {
            let mut stream = session.read(number, &range)?;
            while stream.next_batch(&mut batch).unwrap() {
                for row in batch.rows() {
                    assert!(range.contains(row.key) && last.as_deref() < Some(row.key), "{last:?} {:?}", row.key);
                    last = Some(row.key.to_vec());
                    extra.retain(|key| key != row.key);
                }
                table.write(&mut batch, &mut outcomes)?;
            }
        }
        let rows: Vec<Removal> = extra.into_iter().map(|key| Removal { key, generation: 0 }).collect();
        table.remove(&rows, &mut outcomes)?;
        table.settle(&mut outcomes)?;
        table.finish()?;
    }
    let end = writing.finish()?;
    let notes = [end.missing, end.notes].concat();
    drop(writing);
    Ok(Copied { end: session.finish()?, outcomes, notes })
}

/// Everything that two databases can differ in: schema, settings, rows with rowid, type and raw bytes.
fn picture(path: &Path) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut lines = Vec::new();
    for pragma in ["encoding", "page_size", "auto_vacuum", "user_version", "application_id", "journal_mode"] {
        let shown = db.query_row(&format!("PRAGMA {pragma}"), [], |row| Ok(format!("{:?}", row.get_ref(0)?)));
        lines.push(format!("{pragma}={}", shown.unwrap()));
    }
    let mut statement =
        db.prepare("SELECT type, name, tbl_name, sql, rootpage FROM sqlite_schema ORDER BY type, name").unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (kind, name): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        let sql: Option<String> = row.get(3).unwrap();
        lines.push(format!("{kind} {name} {:?} {sql:?}", row.get_ref(2).unwrap()));
        if kind == "table" && row.get::<_, i64>(4).unwrap() != 0 {
            lines.extend(content(&db, &name, sql.unwrap().to_ascii_uppercase().contains("WITHOUT ROWID")));
        }
    }
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "{}", path.display());
    lines
}

fn content(db: &Connection, name: &str, without_rowid: bool) -> Vec<String> {
    let ident = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = {
        let mut statement = db.prepare(&format!("PRAGMA table_xinfo({})", ident(name))).unwrap();
        statement.query_map([], |row| row.get::<_, String>(1)).unwrap().map(Result::unwrap).collect()
    };
    let mut list = Vec::new();
    for c in columns.iter().map(|column| ident(column)) {
        list.push(format!("typeof({c})"));
        list.push(format!("CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) ELSE {c} END"));
    }
    let is_free = |alias: &&&str| !columns.iter().any(|c| c.eq_ignore_ascii_case(alias));
    if let (false, Some(alias)) = (without_rowid, ["rowid", "_rowid_", "oid"].iter().find(is_free)) {
        list.push((*alias).to_owned());
    }
    let mut statement = db.prepare(&format!("SELECT {} FROM {}", list.join(", "), ident(name))).unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let mut line = name.to_owned();
        for index in 0..list.len() {
            line += &match row.get_ref(index).unwrap() {
                ValueRef::Real(value) => format!(" {:016x}", value.to_bits()),
                ValueRef::Blob(bytes) if bytes.len() > 1000 => format!(" {} {}", bytes.len(), blake3::hash(bytes)),
                value => format!(" {value:?}"),
            };
        }
        lines.push(line);
    }
    lines.sort();
    lines
}

struct Room(TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn database(&self, name: &str, sql: &str) -> PathBuf {
        let path = self.path(name);
        let db = Connection::open(&path).unwrap();
        db.execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
        path
    }
}

/// Copies the database that `sql` makes and compares all there is.
fn round_trip(sql: &str) -> Copied {
    let room = Room::new();
    let from = room.database("from.db", sql);
    let to = room.path("to.db");
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!(copied.outcomes.failures, []);
    assert_eq!(copied.end.missing, Vec::<String>::new());
    let (before, after) = (picture(&from), picture(&to));
    for (a, b) in before.iter().zip(&after) {
        assert_eq!(a, b);
    }
    assert_eq!(before.len(), after.len());
    assert!(!room.path("to.db.rekeep-partial").exists());
    copied
}

const VALUES: &str = "(1), (-9223372036854775808), (9223372036854775807), (1.0), (-0.0), (9e999), (-9e999), (0.1), \
    (NULL), (''), ('text'), (x''), (x'00ff'), (CAST(x'ff00fe' AS TEXT)), ('a' || char(0) || 'b'), ('ŻÓŁW 🐢')";

#[test]
fn every_storage_class_comes_back_in_every_kind_of_table() {
    round_trip(&format!(
        "CREATE TABLE bare(v); INSERT INTO bare VALUES {VALUES};
         CREATE TABLE typed(id INTEGER PRIMARY KEY, i INT, t TEXT, r REAL, n NUMERIC, b BLOB);
         INSERT INTO typed(i, t, r, n, b) SELECT v, v, v, v, v FROM bare;
         CREATE TABLE texts(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
         INSERT INTO texts SELECT typeof(v) || rowid, v FROM bare;
         CREATE TABLE keyed(k PRIMARY KEY, v); INSERT OR IGNORE INTO keyed SELECT v, rowid FROM bare;
         INSERT INTO keyed VALUES (NULL, 'again');
         CREATE TABLE strict(k ANY PRIMARY KEY, v ANY, i INT) STRICT;
         INSERT INTO strict SELECT rowid, v, rowid FROM bare WHERE rowid % 2;
         CREATE TABLE only_key(a, b, PRIMARY KEY (b, a)) WITHOUT ROWID;
         INSERT INTO only_key VALUES (1, 5), (2, 5.0), (0, 5), (3, 5.0);
         CREATE TABLE empty(a, b PRIMARY KEY);"
    ));
}

#[test]
fn utf16_text_comes_back_raw() {
    for encoding in ["UTF-16le", "UTF-16be"] {
        round_trip(&format!(
            "PRAGMA encoding = '{encoding}';
             CREATE TABLE bare(v); INSERT INTO bare VALUES {VALUES}, (CAST(x'00d8' AS TEXT)), (CAST(x'd800' AS TEXT));
             CREATE TABLE keyed(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
             INSERT INTO keyed SELECT rowid || v, v FROM bare WHERE v IS NOT NULL;
             CREATE TABLE pair(a TEXT NOT NULL, b INT NOT NULL, v, PRIMARY KEY (a, b));
             INSERT INTO pair SELECT v, rowid, v FROM bare WHERE v IS NOT NULL;
             CREATE TABLE nulls(a, b, PRIMARY KEY (a, b));
             INSERT INTO nulls SELECT v, NULL FROM bare; INSERT INTO nulls SELECT v, NULL FROM bare;"
        ));
    }
}

#[test]
fn keys_of_every_collation_and_direction_are_read_in_our_order() {
    round_trip(
        "CREATE TABLE nocase(k TEXT COLLATE NOCASE PRIMARY KEY, v);
         INSERT INTO nocase VALUES ('b', 1), ('A', 2), ('a1', 3), ('Z', 4), ('_', 5), ('z9', 6);
         CREATE TABLE nocase_wr(k TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID;
         INSERT INTO nocase_wr SELECT * FROM nocase;
         CREATE TABLE down(a INT NOT NULL, b TEXT NOT NULL, v, PRIMARY KEY (a DESC, b));
         INSERT INTO down VALUES (1, 'x', 1), (2, 'y', 2), (2, 'x', 3), (-1, '', 4);
         CREATE TABLE all_down(a INT, b INT, PRIMARY KEY (a DESC, b DESC)) WITHOUT ROWID;
         INSERT INTO all_down VALUES (1, 1), (2, 2), (2, 1), (-1, 0);
         CREATE TABLE quirk(id INTEGER PRIMARY KEY DESC, v); INSERT INTO quirk VALUES (5, 'a'), (NULL, 'b'), (1, 'c');
         CREATE TABLE other(a TEXT NOT NULL COLLATE NOCASE, v, PRIMARY KEY (a COLLATE BINARY));
         INSERT INTO other VALUES ('a', 1), ('A', 2), ('b', 3);
         CREATE TABLE nulls(a TEXT, b INT, v, PRIMARY KEY (a, b));
         INSERT INTO nulls VALUES (NULL, 1, 'x'), (NULL, 1, 'y'), ('k', NULL, 'z'), ('k', NULL, 'z'), ('k', 1, 'q');",
    );
}

#[test]
fn rowids_and_names_of_every_character_survive() {
    let copied = round_trip(
        "CREATE TABLE \"odd \"\" ;--\n(\"(\"a\"\"b\", [c d] TEXT, `e``f`, \"żółw🐢\", \"select\");
         INSERT INTO \"odd \"\" ;--\n(\" VALUES (1, 2, 3, 4, 5);
         CREATE INDEX \"i'x\" ON \"odd \"\" ;--\n(\"(\"a\"\"b\");
         CREATE TABLE r(rowid TEXT, v); INSERT INTO r(_rowid_, rowid, v) VALUES (77, 'seven', 1), (-5, 'minus', 2);
         CREATE TABLE ro(ROWID TEXT, _rowid_, v); INSERT INTO ro(oid, v) VALUES (9, 1), (1000, 2);
         CREATE TABLE keyed(k TEXT PRIMARY KEY, rowid, c0, v); INSERT INTO keyed(_rowid_, k) VALUES (50, 'a'), (3, 'b');
         CREATE TABLE three(rowid, _rowid_, oid, k TEXT PRIMARY KEY NOT NULL); INSERT INTO three VALUES (1, 2, 3, 'x');
         CREATE TABLE nameless(k TEXT PRIMARY KEY NOT NULL, \"\" INT, v); INSERT INTO nameless VALUES ('a', 7, 1), ('b', NULL, 2);
         CREATE TABLE bare(\"\"); INSERT INTO bare VALUES ('x'), (5);
         CREATE TABLE bare_keys(k TEXT PRIMARY KEY, \"\") WITHOUT ROWID; INSERT INTO bare_keys VALUES ('a', 7), ('b', NULL);
         CREATE TABLE bare_key(\"\" TEXT PRIMARY KEY, v); INSERT INTO bare_key(rowid, \"\", v) VALUES (9, 'a', 1), (4, NULL, 2);
         CREATE TABLE \"\"(k TEXT PRIMARY KEY); INSERT INTO \"\" VALUES ('a');
         CREATE TABLE alias(rowid TEXT, id INTEGER PRIMARY KEY); INSERT INTO alias VALUES ('a', 900);
         CREATE TABLE k(k COLLATE NOCASE PRIMARY KEY, c0, c1); INSERT INTO k VALUES ('b', 1, 2), ('A', 3, 4);",
    );
    for name in ["`three`", "`nameless`"] {
        assert!(copied.end.notes.iter().any(|note| note.contains(name)), "{:?}", copied.end.notes);
    }
    for (file, sql) in [
        ("three.db", "CREATE TABLE t(rowid, _rowid_, oid, k PRIMARY KEY); INSERT INTO t VALUES (1, 2, 3, NULL);"),
        ("nameless.db", "CREATE TABLE t(\"\", k PRIMARY KEY); INSERT INTO t VALUES (1, NULL);"),
    ] {
        let room = Room::new();
        let session = source(&room.database(file, sql)).begin(&parallel(1)).unwrap();
        assert!(session.collections().is_empty());
        assert!(session.finish().unwrap().missing[0].contains("table `t`"));
    }
}

#[test]
fn tables_whose_rowid_has_no_name_come_back_in_the_order_of_their_rows() {
    const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO t SELECT 'a' || i, i * 0.5, CASE i % 3 WHEN 0 THEN NULL ELSE randomblob(i % 900) END, -i FROM n";
    for encoding in ["UTF-8", "UTF-16le"] {
        let sql = format!(
            "PRAGMA encoding = '{encoding}'; CREATE TABLE t(rowid TEXT, _rowid_ REAL, oid, v); {ROWS};
             DELETE FROM t WHERE v % 7 = 0; CREATE INDEX v ON t(v);
             CREATE TABLE one(rowid, _rowid_, oid AS (rowid) STORED); INSERT INTO one VALUES (5, 'x'), (5, 'x');"
        );
        let copied = round_trip(&sql);
        assert!(
            copied.end.notes.iter().any(|note| note.contains("`t`") && note.contains("numbers")),
            "{:?}",
            copied.end.notes
        );
        let room = Room::new();
        let (from, to) = (room.database("from.db", &sql), room.path("to.db"));
        copy(&source(&from), &to, &Way::default()).unwrap();
        let order = |path: &Path| -> Vec<i64> {
            let db = Connection::open(path).unwrap();
            let mut statement = db.prepare("SELECT v FROM t NOT INDEXED").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(order(&from), order(&to));
        let refused = copy(&source(&from), &to, &Way::default()).err().map(|error| error.to_string());
        assert!(refused.is_some_and(|it| it.contains("cannot be found again")), "what stands is left alone");
    }
}

#[test]
fn schema_objects_and_settings_come_back() {
    round_trip(
        "PRAGMA page_size = 8192; PRAGMA auto_vacuum = 2; PRAGMA user_version = 77; PRAGMA application_id = -9;
         PRAGMA journal_mode = WAL;
         CREATE TABLE p(id INTEGER PRIMARY KEY AUTOINCREMENT, n TEXT UNIQUE, CHECK (n <> 'bad'));
         CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) ON DELETE CASCADE, x INT DEFAULT 7,
             g AS (x * 2) VIRTUAL, s TEXT AS ('s' || x) STORED, UNIQUE (p, x));
         CREATE TABLE log(t TEXT);
         CREATE TRIGGER tr AFTER INSERT ON c BEGIN INSERT INTO log VALUES ('c' || new.id); END;
         CREATE VIEW v AS SELECT * FROM p JOIN c ON c.p = p.id;
         CREATE TRIGGER tv INSTEAD OF INSERT ON v BEGIN INSERT INTO log VALUES ('v'); END;
         CREATE VIEW broken AS SELECT * FROM nowhere;
         CREATE INDEX cx ON c(x DESC) WHERE x > 3;
         CREATE INDEX ce ON c(abs(x), g, s COLLATE NOCASE);
         INSERT INTO p(n) VALUES ('a'), ('b'), ('c'); DELETE FROM p WHERE n = 'c';
         INSERT INTO c(p, x) VALUES (1, 5), (2, 1), (2, 9);
         PRAGMA foreign_keys = OFF; INSERT INTO c(p, x) VALUES (99, 1);
         ALTER TABLE c ADD COLUMN late TEXT DEFAULT 'late';
         ANALYZE;",
    );
}

#[test]
fn virtual_tables_come_back_with_their_shadows() {
    round_trip(
        "CREATE VIRTUAL TABLE f5 USING fts5(title, body);
         INSERT INTO f5 VALUES ('one', 'the quick fox'), ('two', 'lazy dog'), ('three', 'fox and dog');
         CREATE VIRTUAL TABLE f4 USING fts4(x, tokenize=porter); INSERT INTO f4 VALUES ('running'), ('jumps');
         CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1); INSERT INTO r VALUES (1, 0, 1, 0, 1), (2, 5, 6, 5, 6);
         CREATE TABLE docs(k TEXT PRIMARY KEY, body TEXT); INSERT INTO docs(rowid, k, body) VALUES (42, 'a', 'hidden');
         CREATE VIRTUAL TABLE ext USING fts5(body, content=docs); INSERT INTO ext(ext) VALUES ('rebuild');",
    );
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE TABLE docs(k TEXT PRIMARY KEY, body TEXT); INSERT INTO docs(rowid, k, body) VALUES (42, 'a', 'hidden');
         CREATE VIRTUAL TABLE ext USING fts5(body, content=docs); INSERT INTO ext(ext) VALUES ('rebuild');
         PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema VALUES ('table', 'odd', 'odd', 0, 'CREATE VIRTUAL TABLE odd USING unknown(a)');",
    );
    copy(&source(&from), &room.path("to.db"), &Way::default()).unwrap();
    let db = Connection::open(room.path("to.db")).unwrap();
    let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(one("SELECT body FROM ext WHERE ext MATCH 'hidden'"), "hidden");
    assert_eq!(one("SELECT sql FROM sqlite_schema WHERE name = 'odd'"), "CREATE VIRTUAL TABLE odd USING unknown(a)");
}

#[test]
fn large_values_are_streamed_or_held() {
    round_trip(
        "CREATE TABLE big(id INTEGER PRIMARY KEY, data);
         INSERT INTO big VALUES (1, 'small'), (2, randomblob(20000000)), (3, 'x'), (4, hex(randomblob(5000000))),
             (5, randomblob(4500000)), (6, zeroblob(4194304)), (7, NULL);
         CREATE TABLE middle(a INTEGER PRIMARY KEY, data, z); INSERT INTO middle VALUES (1, randomblob(9000000), 'z');
         CREATE TABLE wr(k TEXT PRIMARY KEY, data) WITHOUT ROWID; INSERT INTO wr VALUES ('a', randomblob(9000000)), ('b', 1);
         CREATE TABLE keyed(k TEXT PRIMARY KEY, data); INSERT INTO keyed VALUES ('a', randomblob(9000000)), ('b', 1);
         CREATE TABLE sorted(k TEXT COLLATE NOCASE PRIMARY KEY, data);
         INSERT INTO sorted VALUES ('b', randomblob(9000000)), ('A', 1);",
    );
    round_trip(
        "PRAGMA encoding = 'UTF-16le'; CREATE TABLE big(id INTEGER PRIMARY KEY, data);
         INSERT INTO big VALUES (1, hex(randomblob(3000000))), (2, randomblob(9000000)), (3, 'x');",
    );
}

#[test]
fn a_blob_of_100_mb_is_streamed() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE TABLE big(id INTEGER PRIMARY KEY, data BLOB); INSERT INTO big VALUES (1, randomblob(100000000)), (2, 'x');",
    );
    let session = source(&from).begin(&parallel(1)).unwrap();
    let mut batch = RecordBatch::new();
    assert!(session.read(0, &KeyRange::all()).unwrap().next_batch(&mut batch).unwrap());
    assert!(batch.bytes() < 1 << 20, "the value is not held");
    drop((batch, session));
    copy(&source(&from), &room.path("to.db"), &Way::default()).unwrap();
    assert_eq!(picture(&from), picture(&room.path("to.db")));
}

#[test]
fn a_busy_writer_does_not_tear_the_snapshot() {
    for mode in ["WAL", "DELETE"] {
        let room = Room::new();
        let from = room.database(
            "from.db",
            &format!(
                "PRAGMA journal_mode = {mode};
                 CREATE TABLE a(id INTEGER PRIMARY KEY, v INT, pad); CREATE TABLE b(k TEXT PRIMARY KEY, v INT, pad);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
                 INSERT INTO a SELECT i, 100, zeroblob(100) FROM n;
                 INSERT INTO b SELECT printf('k%06d', id), 100, pad FROM a;"
            ),
        );
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let db = Connection::open(&from).unwrap();
                db.busy_timeout(Duration::from_secs(30)).unwrap();
                let mut turn = 0i64;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    db.execute_batch(&format!(
                        "BEGIN IMMEDIATE; UPDATE a SET v = v - {0} WHERE id = {1}; UPDATE b SET v = v + {0} WHERE k = 'k{2:06}'; COMMIT;",
                        turn % 17,
                        turn * 7919 % 20000 + 1,
                        turn * 104_729 % 20000 + 1,
                    ))
                    .unwrap();
                }
            });
            let _stopper = Stopper(&stop);
            for _ in 0..4 {
                let session = source(&from).begin(&parallel(4)).unwrap();
                assert_eq!(session.readers(), 4);
                let work: Vec<(usize, KeyRange)> = [0, 1]
                    .into_iter()
                    .flat_map(|number| {
                        let splits = session.splits(number, 2).unwrap();
                        assert_eq!(splits.len(), 1);
                        KeyRange::between(&splits).into_iter().map(move |range| (number, range))
                    })
                    .collect();
                let total: i64 = std::thread::scope(|readers| {
                    let session = &*session;
                    let start = |(number, range)| readers.spawn(move || sum(session, number, &range));
                    let running: Vec<_> = work.into_iter().map(start).collect();
                    running.into_iter().map(|reader| reader.join().unwrap()).sum()
                });
                assert_eq!(total, 2 * 20000 * 100, "{mode}");
                session.finish().unwrap();
            }
        });
    }
}

/// Ends the writer however the test ends.
struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn sum(session: &dyn SourceSession, number: usize, range: &KeyRange) -> i64 {
    let mut stream = session.read(number, range).unwrap();
    let mut batch = RecordBatch::new();
    let mut total = 0;
    while stream.next_batch(&mut batch).unwrap() {
        for row in batch.rows() {
            let at = row.shape.names().iter().position(|name| name == b"v").unwrap();
            let cell = row.shape.cells(row.value).nth(at).unwrap().unwrap();
            total += i64::from_be_bytes(cell.bytes.try_into().unwrap());
        }
    }
    total
}

#[test]
fn an_existing_database_is_changed_by_key() {
    let room = Room::new();
    let schema = "CREATE TABLE i(id INTEGER PRIMARY KEY AUTOINCREMENT, v, u UNIQUE);
        CREATE TABLE t(k TEXT PRIMARY KEY, v); CREATE TABLE n(k COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID;";
    let from = room.database(
        "from.db",
        &format!(
            "{schema} INSERT INTO i VALUES (1, 'new', 1), (2, 'two', 2), (5, 'clash', 9);
             INSERT INTO t VALUES ('a', 'new'), ('b', 2); INSERT INTO n VALUES ('a', 'new'); CREATE INDEX extra ON t(v);"
        ),
    );
    let existing = |name: &str| {
        room.database(
            name,
            &format!(
                "{schema} INSERT INTO i VALUES (1, 'old', 1), (7, 'seven', 9);
                 INSERT INTO t VALUES ('z', 'mine'), ('a', 'old'); INSERT INTO n VALUES ('A', 'old'), ('c', 'mine');"
            ),
        )
    };
    let all = |path: &Path, sql: &str| -> String {
        Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let rows = |table: &str, key: &str| {
        format!("SELECT group_concat({key} || v, ',') FROM (SELECT * FROM {table} ORDER BY {key})")
    };
    let to = existing("always.db");
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!((copied.outcomes.failed, copied.outcomes.failures[0].0.as_str()), (1, "int:5"));
    assert_eq!(all(&to, &rows("i", "id")), "1new,2two,7seven");
    assert_eq!(all(&to, &rows("t", "k")), "anew,b2,zmine");
    assert_eq!(all(&to, &rows("n", "k")), "anew,cmine");
    assert_eq!(all(&to, "SELECT group_concat(name || seq) FROM sqlite_sequence"), "i7");
    assert_eq!(all(&to, "SELECT name FROM sqlite_schema WHERE name = 'extra'"), "extra");

    let never = existing("never.db");
    let copied = copy(&source(&from), &never, &Way { overwrite: Overwrite::Never, ..Way::default() }).unwrap();
    assert_eq!(all(&never, &rows("t", "k")), "aold,b2,zmine", "{:?}", copied.notes);

    let equal = existing("equal.db");
    Connection::open(&equal).unwrap().execute_batch("DELETE FROM i WHERE id = 7").unwrap();
    copy(&source(&from), &equal, &Way { make_equal: true, ..Way::default() }).unwrap();
    for (table, key) in [("i", "id"), ("t", "k"), ("n", "k")] {
        assert_eq!(all(&equal, &rows(table, key)), all(&from, &rows(table, key)));
    }
}

#[test]
fn a_table_takes_another_name_without_its_indexes() {
    let room = Room::new();
    let from = room
        .database("from.db", "CREATE TABLE \"t x\"(a); INSERT INTO \"t x\" VALUES (3); CREATE INDEX i ON \"t x\"(a);");
    let way = Way { partial: true, rename: |name| format!("{name} of \"May\""), ..Way::default() };
    let copied = copy(&source(&from), &room.path("to.db"), &way).unwrap();
    assert_eq!(copied.notes.len(), 1, "{:?}", copied.notes);
    let target = SqliteTarget::new(&url(&room.path("to.db"), "")).unwrap();
    let name = "t x of \"May\"".to_owned();
    assert_eq!(target.occupied(&[name.clone(), "nope".to_owned()]).unwrap(), [(name, 1)]);
}

#[test]
fn what_cannot_be_read_is_refused_in_clear_words() {
    let room = Room::new();
    let gone = room.path("gone.db");
    assert!(matches!(source(&gone).begin(&parallel(1)), Err(ConnectorError::Missing { .. })));
    assert!(!gone.exists());
    let text = room.path("text.db");
    std::fs::write(&text, "no database at all. ".repeat(300)).unwrap();
    assert!(matches!(source(&text).begin(&parallel(1)), Err(ConnectorError::Unreadable { .. })));
    let held = room.database("held.db", "CREATE TABLE t(x)");
    let holder = Connection::open(&held).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(matches!(source(&held).begin(&parallel(2)), Err(ConnectorError::Locked { .. })));
}

/// A small seeded generator (splitmix64).
struct Random(u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// A value of any storage class, often one that lies close to another in some order.
    fn value(&mut self) -> Value {
        const EDGES: [i64; 9] = [0, 1, -1, 1 << 53, -(1 << 53), i64::MAX, i64::MIN, 1 << 62, 1_000_000];
        const TEXTS: [&str; 14] =
            ["", "a", "A", "b", "B", "a ", "a  ", "ab", "a\0", "a\0b", "\u{ffff}", "🐢", "ż", "\u{e000}"];
        let near = |random: &mut Self| random.pick(&EDGES).wrapping_add(random.below(7) as i64 - 3);
        match self.below(8) {
            0 | 1 => Value::Integer(near(self)),
            2 => Value::Integer(self.word() as i64),
            3 => Value::Real(near(self) as f64),
            4 => match f64::from_bits(self.word()) {
                float if float.is_nan() => Value::Real(f64::INFINITY),
                float => Value::Real(float),
            },
            5 | 6 => {
                let mut text = String::new();
                for _ in 0..=self.below(2) {
                    let part: &&str = self.pick(&TEXTS);
                    text.push_str(part);
                }
                Value::Text(text)
            }
            _ => Value::Blob((0..self.below(4)).map(|_| *self.pick(&[0, 1, 0x7f, 0xff, b'a'])).collect()),
        }
    }
}

/// Column `v` of every record, in the order in which the source gives them.
fn read_order(path: &Path) -> Vec<i64> {
    let session = source(path).begin(&parallel(1)).unwrap();
    let mut order = Vec::new();
    let mut last: Option<Vec<u8>> = None;
    for range in KeyRange::between(&session.splits(0, 4).unwrap()) {
        let mut stream = session.read(0, &range).unwrap();
        let mut batch = RecordBatch::new();
        while stream.next_batch(&mut batch).unwrap() {
            for row in batch.rows() {
                assert!(range.contains(row.key) && last.as_deref() < Some(row.key), "{last:?} {:?}", row.key);
                last = Some(row.key.to_vec());
                let cells = row.shape.names().iter().zip(row.shape.cells(row.value));
                let (_, cell) = cells.into_iter().find(|(name, _)| name.as_slice() == b"v").unwrap();
                order.push(i64::from_be_bytes(cell.unwrap().bytes.try_into().unwrap()));
            }
        }
    }
    assert_eq!(session.finish().unwrap().missing, Vec::<String>::new());
    order
}

/// Tables whose key sorts the same to us and to `ORDER BY … COLLATE BINARY`: no value that SQL takes for equal to another
/// stands before a further part.
const SAME_ORDER: [(&str, &str); 10] = [
    ("k NOT NULL PRIMARY KEY, v INT", "k COLLATE BINARY"),
    ("k PRIMARY KEY, v INT) WITHOUT ROWID --", "k COLLATE BINARY"),
    ("k TEXT PRIMARY KEY NOT NULL, v INT", "k COLLATE BINARY"),
    ("k REAL PRIMARY KEY NOT NULL, v INT", "k COLLATE BINARY"),
    ("k INT PRIMARY KEY NOT NULL, v INT", "k COLLATE BINARY"),
    ("k COLLATE NOCASE PRIMARY KEY NOT NULL, v INT", "k COLLATE BINARY"),
    ("k TEXT COLLATE RTRIM PRIMARY KEY, v INT) WITHOUT ROWID --", "k COLLATE BINARY"),
    ("a TEXT NOT NULL, k NOT NULL, v INT, PRIMARY KEY (a, k)", "a COLLATE BINARY, k COLLATE BINARY"),
    ("a TEXT, k, v INT, PRIMARY KEY (a DESC, k)) WITHOUT ROWID --", "a COLLATE BINARY, k COLLATE BINARY"),
    (
        "a TEXT COLLATE NOCASE, k BLOB, v INT, PRIMARY KEY (a, k DESC)) WITHOUT ROWID --",
        "a COLLATE BINARY, k COLLATE BINARY",
    ),
];

#[test]
fn random_keys_of_every_kind_are_read_as_sql_orders_them_and_come_back() {
    let mut random = Random(2026);
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        for (columns, order) in SAME_ORDER {
            let room = Room::new();
            let schema = format!("PRAGMA encoding = '{encoding}'; CREATE TABLE t({columns}\n);");
            let from = room.database("from.db", &schema.replace("--\n)", "--\n"));
            let db = Connection::open(&from).unwrap();
            let composite = columns.starts_with('a');
            db.execute_batch("BEGIN").unwrap();
            for n in 0..400_i64 {
                let (first, second) = (random.value(), random.value());
                if composite {
                    db.execute("INSERT OR IGNORE INTO t(a, k, v) VALUES (?1, ?2, ?3)", (&first, &second, n)).unwrap();
                } else {
                    db.execute("INSERT OR IGNORE INTO t(k, v) VALUES (?1, ?2)", (&first, n)).unwrap();
                }
            }
            db.execute_batch("COMMIT").unwrap();
            let mut statement = db.prepare(&format!("SELECT v FROM t ORDER BY {order}")).unwrap();
            let expected: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            assert!(expected.len() > 20, "{columns}: {}", expected.len());
            assert_eq!(read_order(&from), expected, "{encoding} {columns}");
            drop(statement);
            drop(db);
            let to = room.path("to.db");
            let copied = copy(&source(&from), &to, &Way::default()).unwrap();
            assert_eq!(copied.outcomes.failures, [], "{encoding} {columns}");
            assert_eq!(picture(&from), picture(&to), "{encoding} {columns}");
        }
    }
}

/// Keys whose order is ours alone (5 and 5.0 before further parts, NULLs in them): ascending, whole, and they come back.
#[test]
fn random_keys_that_sql_orders_otherwise_come_back() {
    let mut random = Random(77);
    for encoding in ["UTF-8", "UTF-16be"] {
        for columns in [
            "a, k, v INT, PRIMARY KEY (a, k)",
            "a COLLATE NOCASE, k COLLATE RTRIM, v INT, PRIMARY KEY (k DESC, a)",
            "a NOT NULL, k NOT NULL, v INT, PRIMARY KEY (a, k DESC)",
            "a NUMERIC, k, v INT, PRIMARY KEY (a, k)) WITHOUT ROWID --",
        ] {
            let room = Room::new();
            let schema = format!("PRAGMA encoding = '{encoding}'; CREATE TABLE t({columns}\n);");
            let from = room.database("from.db", &schema.replace("--\n)", "--\n"));
            let db = Connection::open(&from).unwrap();
            for n in 0..300_i64 {
                let null = |value: Value, random: &mut Random| if random.below(6) == 0 { Value::Null } else { value };
                let (first, second) = (random.value(), random.value());
                let (first, second) = (null(first, &mut random), null(second, &mut random));
                db.execute("INSERT OR IGNORE INTO t(a, k, v) VALUES (?1, ?2, ?3)", (&first, &second, n)).unwrap();
            }
            let mut held: Vec<i64> = db
                .prepare("SELECT v FROM t")
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            drop(db);
            let mut read = read_order(&from);
            held.sort_unstable();
            read.sort_unstable();
            assert_eq!(read, held, "{encoding} {columns}");
            let to = room.path("to.db");
            let copied = copy(&source(&from), &to, &Way::default()).unwrap();
            assert_eq!(copied.outcomes.failures, [], "{encoding} {columns}");
            assert_eq!(picture(&from), picture(&to), "{encoding} {columns}");
        }
    }
}
