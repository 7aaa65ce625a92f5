//! Restores beside and into what is there already.

use super::{Room, Way, copy, picture, source, url};
use rekeep::connector::{ConnectorError, Overwrite, Target, sqlite::SqliteTarget};
use rusqlite::Connection;
use std::{
    fs,
    path::{Path, PathBuf},
};

fn rows(path: &Path, sql: &str) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut statement = db.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

const EQUAL: Way = Way { overwrite: Overwrite::IfChanged, make_equal: true, partial: false, rename: str::to_owned };

#[test]
fn nothing_of_a_removed_database_is_played_into_the_restored_one() {
    for mode in ["WAL", "PERSIST"] {
        let room = Room::new();
        let from = room.database("from.db", "CREATE TABLE t(x); INSERT INTO t VALUES ('kept')");
        let live = room.database("live.db", &format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(x)"));
        let db = Connection::open(&live).unwrap();
        db.execute_batch("BEGIN; INSERT INTO t VALUES ('later')").unwrap();
        db.execute_batch(if mode == "WAL" { "COMMIT" } else { "SELECT 1" }).unwrap();
        // As a program that was killed would leave them.
        let side = room.path(if mode == "WAL" { "live.db-wal" } else { "live.db-journal" });
        let stale = std::fs::read(&side).unwrap();
        drop(db);
        std::fs::remove_file(&live).unwrap();
        std::fs::write(&side, &stale).unwrap();
        let copied = copy(&source(&from), &live, &Way::default()).unwrap();
        assert!(copied.notes.iter().any(|note| note.contains("rekeep-aside")), "{mode}: {:?}", copied.notes);
        assert_eq!(rows(&live, "SELECT x FROM t"), ["kept"]);
        let mut aside = side.into_os_string();
        aside.push(".rekeep-aside");
        assert_eq!(std::fs::read(aside).unwrap(), stale);
    }
}

#[test]
fn a_row_that_goes_makes_room_for_one_that_comes() {
    let room = Room::new();
    let schema = "CREATE TABLE u(id INTEGER PRIMARY KEY, email TEXT UNIQUE);";
    let from = room.database("from.db", &format!("{schema} INSERT INTO u VALUES (1, 'ann'), (2, 'bob')"));
    let to = room.database("to.db", &format!("{schema} INSERT INTO u VALUES (7, 'ann'), (8, 'bob')"));
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    assert_eq!(copied.outcomes.failures, []);
    assert_eq!((copied.outcomes.inserted, copied.outcomes.removed), (2, 2));
    assert_eq!(picture(&from), picture(&to));
}

#[test]
fn rows_that_exchanged_a_unique_value_change_back() {
    for (schema, values, others) in [
        (
            "u(id INTEGER PRIMARY KEY, email TEXT UNIQUE)",
            "(1, 'a'), (2, 'b'), (3, 'c')",
            "(1, 'b'), (2, 'c'), (3, 'a')",
        ),
        ("u(id TEXT PRIMARY KEY, email TEXT UNIQUE)", "('1', 'a'), ('2', 'b')", "('1', 'b'), ('2', 'a')"),
        ("u(id TEXT PRIMARY KEY, email TEXT UNIQUE) WITHOUT ROWID", "('1', 'a'), ('2', 'b')", "('2', 'a'), ('1', 'b')"),
    ] {
        for way in [EQUAL, Way::default()] {
            for encoding in ["UTF-8", "UTF-16le"] {
                let room = Room::new();
                let schema = format!("PRAGMA encoding = '{encoding}'; CREATE TABLE {schema};");
                let from = room.database("from.db", &format!("{schema} INSERT INTO u VALUES {values}"));
                let to = room.database("to.db", &format!("{schema} INSERT INTO u VALUES {others}"));
                let copied = copy(&source(&from), &to, &way).unwrap();
                assert_eq!(copied.outcomes.failures, [], "{schema}");
                assert_eq!(picture(&from), picture(&to), "{schema}");
            }
        }
    }
}

#[test]
fn rowids_that_were_exchanged_change_back() {
    let room = Room::new();
    let schema = "CREATE TABLE u(k TEXT PRIMARY KEY, v);";
    let from =
        room.database("from.db", &format!("{schema} INSERT INTO u(rowid, k, v) VALUES (1, 'a', 1), (2, 'b', 2)"));
    let to = room.database("to.db", &format!("{schema} INSERT INTO u(rowid, k, v) VALUES (2, 'a', 1), (1, 'b', 2)"));
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    assert_eq!((copied.outcomes.failures, copied.notes), (vec![], vec![]));
    assert_eq!(picture(&from), picture(&to));
}

#[test]
fn a_record_that_cannot_be_written_leaves_its_row_as_it_was() {
    let room = Room::new();
    let schema = "CREATE TABLE u(id INTEGER PRIMARY KEY, email TEXT UNIQUE);";
    let from = room.database("from.db", &format!("{schema} INSERT INTO u VALUES (1, 'ann'), (2, 'bob'), (3, 'cid')"));
    let to = room
        .database("to.db", &format!("{schema} INSERT INTO u VALUES (1, 'old'), (2, 'cid'), (3, 'bob'), (9, 'ann')"));
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!(copied.outcomes.failed, 1);
    assert_eq!(copied.outcomes.failures[0].0, "int:1");
    assert_eq!(rows(&to, "SELECT id || email FROM u ORDER BY id"), ["1old", "2bob", "3cid", "9ann"]);
}

#[test]
fn tables_that_the_snapshot_lacks_are_named() {
    let room = Room::new();
    let from = room.database("from.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1)");
    let to = room.database("to.db", "CREATE TABLE t(x); CREATE TABLE mine(x); CREATE VIEW seen AS SELECT 1");
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    assert!(copied.notes.iter().any(|line| line.contains("table `mine`")), "{:?}", copied.notes);
    assert!(copied.notes.iter().any(|line| line.contains("view `seen`")), "{:?}", copied.notes);
    assert_eq!(copied.notes.len(), 2);
}

#[test]
fn rows_are_not_converted_to_what_the_columns_are_today() {
    for (then, now) in [
        ("t(id INTEGER PRIMARY KEY, code TEXT)", "t(id INTEGER PRIMARY KEY, code INTEGER)"),
        ("t(id INTEGER PRIMARY KEY, code REAL)", "t(id INTEGER PRIMARY KEY, code INTEGER)"),
        ("t(id INTEGER PRIMARY KEY, code)", "t(id INTEGER PRIMARY KEY, code TEXT)"),
        ("t(id INTEGER PRIMARY KEY, code BLOB)", "t(id INTEGER PRIMARY KEY, code NUMERIC)"),
        ("t(id TEXT PRIMARY KEY, code)", "t(id TEXT COLLATE NOCASE PRIMARY KEY, code)"),
        ("t(id INTEGER PRIMARY KEY, code TEXT)", "t(id INTEGER PRIMARY KEY, code TEXT) STRICT"),
        ("t(id INTEGER PRIMARY KEY, code ANY) STRICT", "t(id INTEGER PRIMARY KEY, code ANY)"),
    ] {
        let room = Room::new();
        let from = room.database("from.db", &format!("CREATE TABLE {then}; INSERT INTO t VALUES (1, '007')"));
        let to = room.database(
            "to.db",
            &format!("CREATE TABLE {now}; INSERT INTO t VALUES (1, 'x'), (2, 'y')")
                .replace("INTEGER); INSERT INTO t VALUES (1, 'x'), (2, 'y')", "INTEGER)"),
        );
        for way in [EQUAL, Way::default()] {
            let before = picture(&to);
            let error = copy(&source(&from), &to, &way).err().unwrap_or_else(|| panic!("{then} into {now}"));
            assert!(matches!(error, ConnectorError::Mismatch { .. }), "{error}");
            assert_eq!(picture(&to), before);
        }
    }
    // Words that mean the same to SQLite are the same.
    let room = Room::new();
    let from =
        room.database("from.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, code TEXT); INSERT INTO t VALUES (1, '007')");
    let to = room.database("to.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, code VARCHAR(9) NOT NULL)");
    copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!(rows(&to, "SELECT code FROM t"), ["007"]);
}

#[test]
fn a_file_that_once_had_tables_keeps_its_encoding() {
    let room = Room::new();
    let from = room.database("from.db", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(x); INSERT INTO t VALUES ('ż')");
    let to = room.database("to.db", "CREATE TABLE t(x); DROP TABLE t");
    let error = copy(&source(&from), &to, &Way::default()).err().unwrap();
    assert!(error.to_string().contains("stores text as UTF-8"), "{error}");
    assert_eq!(rows(&to, "PRAGMA integrity_check"), ["ok"]);
    // One that never had any takes the snapshot's.
    let to = room.path("never.db");
    std::fs::write(&to, "").unwrap();
    copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!(rows(&to, "SELECT x FROM t"), ["ż"]);
    assert_eq!(rows(&to, "PRAGMA encoding"), ["UTF-16le"]);
}

#[test]
fn broken_references_and_stale_full_text_indexes_are_said() {
    let room = Room::new();
    let schema = "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id));
        CREATE TABLE docs(id INTEGER PRIMARY KEY, body); CREATE VIRTUAL TABLE ext USING fts5(body, content=docs, content_rowid=id);";
    let from = room.database(
        "from.db",
        &format!("{schema} PRAGMA foreign_keys = OFF; INSERT INTO c VALUES (1, 5), (2, 5); INSERT INTO docs VALUES (1, 'new words')"),
    );
    let to = room.database("to.db", &format!("{schema} INSERT INTO docs VALUES (1, 'old words')"));
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    let says = |text: &str| copied.notes.iter().any(|note| note.contains(text));
    assert!(says("table `c`: 2 rows refer to rows of `p` that are not there"), "{:?}", copied.notes);
    assert!(
        says("the full-text index `ext` of `docs`: rows changed beneath it, and it was made anew"),
        "{:?}",
        copied.notes
    );
    assert_eq!(rows(&to, "SELECT rowid || '' FROM ext WHERE ext MATCH 'new'"), ["1"]);
    assert_eq!(rows(&to, "SELECT count(*) || '' FROM ext WHERE ext MATCH 'old'"), ["0"]);
    let copied = copy(&source(&from), &room.path("new.db"), &Way::default()).unwrap();
    assert_eq!(copied.notes, Vec::<String>::new(), "a new database is as the old one was");
}

#[test]
fn what_only_the_header_says_comes_back() {
    for settings in [
        "PRAGMA page_size = 1024",
        "PRAGMA page_size = 65536; PRAGMA auto_vacuum = 1",
        "PRAGMA encoding = 'UTF-16be'; PRAGMA journal_mode = WAL",
    ] {
        let room = Room::new();
        let from = room.database(
            "from.db",
            &format!("{settings}; PRAGMA default_cache_size = 4321; CREATE TABLE t(a, b); CREATE INDEX i ON t(a DESC)"),
        );
        let header = |path: &Path| std::fs::read(path).unwrap()[..100].to_vec();
        // Bytes at the end of each page that are somebody else's, and an old format of the schema.
        let to = room.path("to.db");
        copy(&source(&from), &to, &Way::default()).unwrap();
        assert_eq!(header(&from)[16..24], header(&to)[16..24], "{settings}");
        assert_eq!(header(&from)[44..52], header(&to)[44..52], "{settings}");
        assert_eq!(header(&from)[48..52], 4321u32.to_be_bytes());
        assert_eq!(picture(&from), picture(&to));
    }
}

#[test]
fn bytes_reserved_in_each_page_come_back() {
    use std::os::unix::fs::FileExt;
    for (page_size, format, encoding) in [(4096u32, 1u32, "UTF-8"), (65536, 4, "UTF-16le"), (512, 4, "UTF-8")] {
        let room = Room::new();
        let from = room.database(
            "from.db",
            &format!("PRAGMA page_size = {page_size}; PRAGMA encoding = '{encoding}'; PRAGMA user_version = 5"),
        );
        let file = std::fs::OpenOptions::new().write(true).open(&from).unwrap();
        file.write_all_at(&[32], 20).unwrap();
        file.write_all_at(&((page_size - 32) as u16).to_be_bytes(), 105).unwrap();
        file.write_all_at(&format.to_be_bytes(), 44).unwrap();
        file.write_all_at(&(if encoding == "UTF-8" { 1u32 } else { 2 }).to_be_bytes(), 56).unwrap();
        let db = Connection::open(&from).unwrap();
        db.execute_batch(
            "CREATE TABLE t(k TEXT PRIMARY KEY, v); CREATE INDEX i ON t(v DESC);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
             INSERT INTO t SELECT 'k' || i, zeroblob(i) FROM n;",
        )
        .unwrap();
        drop(db);
        let to = room.path("to.db");
        copy(&source(&from), &to, &Way::default()).unwrap();
        let header = |path: &Path| std::fs::read(path).unwrap()[..100].to_vec();
        assert_eq!((header(&to)[20], &header(&to)[44..48]), (32, format.to_be_bytes().as_slice()));
        assert_eq!(picture(&from), picture(&to));
    }
}

#[test]
fn the_schema_keeps_its_order() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE VIEW early AS SELECT 1; CREATE TABLE z(a UNIQUE, b PRIMARY KEY); CREATE INDEX zi ON z(a, b);
         CREATE TABLE dropped(x); CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, k UNIQUE); DROP TABLE dropped;
         CREATE TRIGGER tr AFTER INSERT ON a BEGIN SELECT 1; END; CREATE VIRTUAL TABLE f USING fts5(x);
         CREATE INDEX ai ON a(k); INSERT INTO a(k) VALUES (1); ANALYZE;",
    );
    let to = room.path("to.db");
    copy(&source(&from), &to, &Way::default()).unwrap();
    let order = "SELECT rowid || type || name FROM sqlite_schema ORDER BY rowid";
    assert_eq!(rows(&from, order), rows(&to, order));
    assert_eq!(picture(&from), picture(&to));
}

#[test]
fn the_message_says_how_a_question_mark_in_a_name_is_written() {
    let room = Room::new();
    room.database("we?ird.db", "CREATE TABLE t(x)");
    let text = format!("sqlite:{}/we?ird.db", room.path("").display());
    let parsed = rekeep::connector::SourceUrl::parse(&text).unwrap();
    let error = rekeep::connector::sqlite::SqliteSource::new(&parsed).err().unwrap();
    assert!(error.to_string().contains("%3F"), "{error}");
    let error = SqliteTarget::new(&parsed).err().unwrap();
    assert!(error.to_string().contains("%3F"), "{error}");
    assert!(SqliteTarget::new(&url(&room.path("we%3Fird.db"), "")).unwrap().occupied(&["t".to_owned()]).is_ok());
}

#[test]
fn triggers_that_need_what_is_not_there_stop_no_restore() {
    let room = Room::new();
    let schema = "CREATE TABLE books(id INTEGER PRIMARY KEY, title, sort);
        CREATE TABLE log(x);
        CREATE TRIGGER sorted AFTER INSERT ON books BEGIN UPDATE books SET sort = title_sort(NEW.title); END;
        CREATE TRIGGER gone AFTER UPDATE ON books BEGIN INSERT INTO nowhere VALUES (1); END;
        CREATE TRIGGER kept BEFORE DELETE ON books BEGIN SELECT raise(ABORT, 'never'); END;
        CREATE TRIGGER told AFTER INSERT ON log BEGIN INSERT INTO log VALUES ('twice'); END;";
    let at = |name: &str, rows: &str| {
        let path = room.database(name, "");
        let db = Connection::open(&path).unwrap();
        db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
        db.execute_batch(schema).unwrap();
        db.execute_batch(rows).unwrap();
        path
    };
    let from =
        at("from.db", "INSERT INTO books VALUES (1, 'The a', 'a'), (2, 'The b', 'b'); INSERT INTO log VALUES ('x')");
    let to = at("to.db", "INSERT INTO books VALUES (1, 'The a', ''), (3, 'The c', 'c')");
    let target = SqliteTarget::new(&url(&to, "")).unwrap();
    let session = rekeep::connector::Source::begin(&source(&from), &super::parallel(1)).unwrap();
    target.rehearse(&super::plan(&*session, &EQUAL)).unwrap();
    drop(session);
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    assert_eq!((copied.outcomes.failures, copied.notes), (vec![], vec![]));
    assert_eq!(picture(&from), picture(&to));
}

#[test]
fn counters_of_tables_that_are_made_equal_are_set_back_and_others_stay() {
    let room = Room::new();
    let schema =
        "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE z(id INTEGER PRIMARY KEY AUTOINCREMENT);";
    // A counter below its rows, and one that somebody removed.
    let from = room.database(
        "from.db",
        &format!("{schema} INSERT INTO a VALUES (7); INSERT INTO z VALUES (9); UPDATE sqlite_sequence SET seq = 3; DELETE FROM \
                  sqlite_sequence WHERE name = 'z'"),
    );
    let to = room.database("to.db", &format!("{schema} INSERT INTO z VALUES (50); INSERT INTO a VALUES (60), (7); INSERT INTO sqlite_sequence VALUES ('gone', 5)"));
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    assert_eq!((copied.outcomes.failures, copied.notes), (vec![], vec![]));
    assert_eq!(picture(&from), picture(&to));
    // Without --make-equal no counter goes back, and those of other tables are never touched.
    let mine = "CREATE TABLE mine(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO mine VALUES (80);";
    let to = room.database("both.db", &format!("{schema} {mine} INSERT INTO a VALUES (60); DELETE FROM a"));
    copy(&source(&from), &to, &Way::default()).unwrap();
    let counters = "SELECT name || seq FROM sqlite_sequence ORDER BY name";
    assert_eq!(rows(&to, counters), ["a60", "mine80", "z9"]);
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    assert_eq!(copied.notes.len(), 1, "{:?}", copied.notes);
    assert_eq!(rows(&to, counters), ["a3", "mine80"]);
}

#[test]
fn indexes_and_triggers_that_the_snapshot_lacks_are_named() {
    let room = Room::new();
    let from = room.database("from.db", "CREATE TABLE t(x UNIQUE); CREATE INDEX kept ON t(x)");
    let to = room.database(
        "to.db",
        "CREATE TABLE t(x UNIQUE); CREATE INDEX KEPT ON t(x); CREATE INDEX \"a new\" ON t(x) WHERE x > 1;
         CREATE TRIGGER fires AFTER INSERT ON t BEGIN SELECT 1; END;
         CREATE TABLE mine(x); CREATE INDEX of_mine ON mine(x)",
    );
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    let about = |what: &str| copied.notes.iter().filter(|line| line.contains(what)).count();
    assert_eq!(
        (about("DROP INDEX \"a new\""), about("DROP TRIGGER \"fires\""), about("of_mine")),
        (1, 1, 0),
        "{:?}",
        copied.notes
    );
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    assert!(!copied.notes.iter().any(|line| line.contains("fires")), "{:?}", copied.notes);
}

#[test]
fn a_table_that_is_defined_otherwise_is_named_where_all_is_to_be_equal() {
    let room = Room::new();
    let from = room.database("from.db", "CREATE TABLE t(x, y DEFAULT 1, UNIQUE (x)); CREATE TABLE \"u\"(\"z\"  TEXT)");
    let to = room.database("to.db", "CREATE TABLE t(x, y DEFAULT 2); create table u(z text)");
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    assert_eq!(copied.notes.len(), 1, "{:?}", copied.notes);
    assert!(copied.notes[0].contains("table `t` is defined otherwise") && copied.notes[0].contains("UNIQUE (x)"));
    assert_eq!(copy(&source(&from), &to, &Way::default()).unwrap().notes, Vec::<String>::new());
}

#[test]
fn columns_that_do_not_fit_are_named_and_no_others() {
    let room = Room::new();
    let wide = |more: &str| {
        let columns: Vec<String> = (0..500).map(|number| format!("c{number}")).collect();
        format!("CREATE TABLE t(id INTEGER PRIMARY KEY, {}{more})", columns.join(", "))
    };
    let to = room.database("to.db", &wide(", extra"));
    let refused = |from: &Path| copy(&source(from), &to, &Way::default()).map(|_| ()).unwrap_err().to_string();
    let from = room.database("from.db", &wide(""));
    let words = refused(&from);
    assert!(words.contains("it has `extra`, which the snapshot has not") && words.len() < 400, "{words}");
    let words = refused(&room.database("other.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, y)"));
    assert!(words.contains("lacks the snapshot's `y`, and has `c0`, `c1`") && words.contains("more"), "{words}");
}

#[test]
fn what_a_table_says_of_conflicts_passes_over_no_record_and_takes_no_row_away() {
    for clause in ["IGNORE", "REPLACE", "ROLLBACK", "FAIL"] {
        let schema = format!(
            "CREATE TABLE u(id INTEGER PRIMARY KEY, email TEXT UNIQUE ON CONFLICT {clause}, n TEXT NOT NULL ON CONFLICT {clause} DEFAULT 'd');"
        );
        let room = Room::new();
        let from = room.database("from.db", &format!("{schema} INSERT INTO u VALUES (1, 'a', 'x'), (2, 'b', 'y')"));
        let exchanged = format!("{schema} INSERT INTO u VALUES (1, 'b', 'x'), (2, 'a', 'y')");
        let to = room.database("to.db", &exchanged);
        let copied = copy(&source(&from), &to, &EQUAL).unwrap();
        assert_eq!((copied.outcomes.failures, copied.outcomes.replaced), (vec![], 2), "{clause}");
        assert_eq!(picture(&from), picture(&to), "{clause}");
        // A row that stays is in the way of one that comes: the one that comes is named, and neither goes in silence.
        let to = room.database("held.db", &format!("{schema} INSERT INTO u VALUES (9, 'b', 'mine')"));
        let copied = copy(&source(&from), &to, &Way::default()).unwrap();
        assert_eq!((copied.outcomes.failed, copied.outcomes.inserted), (1, 1), "{clause}");
        assert_eq!(rows(&to, "SELECT id || email FROM u ORDER BY id"), ["1a", "9b"], "{clause}");
    }
}

#[test]
fn the_numbers_of_the_application_are_made_equal_with_the_rest_and_named_otherwise() {
    let room = Room::new();
    let from =
        room.database("from.db", "CREATE TABLE t(x); PRAGMA user_version = 7; PRAGMA application_id = 1196444487");
    let to = room.database("to.db", "CREATE TABLE t(x); PRAGMA user_version = 9");
    let copied = copy(&source(&from), &to, &Way { partial: true, ..EQUAL }).unwrap();
    assert_eq!(copied.notes, Vec::<String>::new(), "a part says nothing of the whole");
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!(copied.notes.len(), 2, "{:?}", copied.notes);
    assert!(copied.notes[0].contains("user_version is 9 and was left so"), "{:?}", copied.notes);
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    assert!(copied.notes[0].contains("user_version was 9 and is 7 again"), "{:?}", copied.notes);
    assert_eq!(picture(&from), picture(&to));
    assert_eq!(copy(&source(&from), &to, &EQUAL).unwrap().notes, Vec::<String>::new());
}

#[test]
fn full_text_indexes_are_stale_only_where_rows_came() {
    let room = Room::new();
    let schema = "CREATE VIRTUAL TABLE own USING fts5(body); CREATE VIRTUAL TABLE none USING fts5(body, content='');";
    let from = room.database("from.db", &format!("{schema} INSERT INTO own VALUES ('words')"));
    let to = room.database("to.db", &format!("{schema} INSERT INTO own VALUES ('other words')"));
    let way = Way { overwrite: Overwrite::Never, ..Way::default() };
    assert_eq!(copy(&source(&from), &to, &way).unwrap().notes, Vec::<String>::new());
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    let line = |name: &str| copied.notes.iter().find(|line| line.contains(name)).unwrap();
    assert!(line("`own`").contains("made anew"));
    assert!(line("`none`").contains("keeps no text of its own"));
}

#[test]
fn a_trigger_is_not_put_on_what_became_of_its_view() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE TABLE t(x); CREATE VIEW seen AS SELECT x FROM t;
         CREATE TRIGGER fires INSTEAD OF INSERT ON seen BEGIN INSERT INTO t VALUES (new.x); END; INSERT INTO t VALUES ('kept')",
    );
    let to = room.database("to.db", "CREATE TABLE t(x); CREATE TABLE seen(x)");
    let copied = copy(&source(&from), &to, &EQUAL).unwrap();
    assert!(
        copied.notes.iter().any(|line| line.contains("trigger `fires`: `seen` is no view today")),
        "{:?}",
        copied.notes
    );
    assert_eq!(rows(&to, "SELECT x FROM t"), ["kept"]);
}

/// Rows of the state before, and of today's, which has others and lacks some, in every kind of index that is kept in tables.
fn two_states(room: &Room) -> (PathBuf, PathBuf) {
    let schema = "CREATE TABLE docs(id INTEGER PRIMARY KEY, body); CREATE VIRTUAL TABLE own USING fts5(body);
        CREATE VIRTUAL TABLE old USING fts4(body); CREATE VIRTUAL TABLE ext USING fts5(body, content=docs, content_rowid=id);
        CREATE VIRTUAL TABLE room USING rtree(id, x0, x1);";
    let fill = |from: u32, to: u32| {
        let ids = format!("WITH RECURSIVE n(i) AS (VALUES ({from}) UNION ALL SELECT i + 1 FROM n WHERE i < {to})");
        let text: String = ["docs(id, body)", "own(rowid, body)", "old(rowid, body)", "ext(rowid, body)"]
            .map(|table| format!("INSERT INTO {table} {ids} SELECT i, 'w' || i || ' common' FROM n;"))
            .concat();
        format!("{text} INSERT INTO room {ids} SELECT i, i, i + 0.5 FROM n;")
    };
    let from = room.database("from.db", &format!("{schema} {}", fill(1, 300)));
    let to = room.database("to.db", &format!("{schema} {} {}", fill(1, 50), fill(200, 900)));
    (from, to)
}

#[test]
fn indexes_of_rows_of_two_states_are_made_anew_or_refused() {
    let room = Room::new();
    let (from, to) = two_states(&room);
    let before = fs::read(&to).unwrap();
    for overwrite in [Overwrite::Always, Overwrite::Never, Overwrite::IfChanged] {
        let refused = copy(&source(&from), &to, &Way { overwrite, ..Way::default() }).unwrap_err().to_string();
        assert!(refused.contains("the spatial index `room`") && refused.contains("nothing was written"), "{refused}");
        assert_eq!(fs::read(&to).unwrap(), before);
    }
    for file in [&from, &to] {
        Connection::open(file).unwrap().execute_batch("DROP TABLE room").unwrap();
    }
    copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!(rows(&to, "SELECT count(*) || '' FROM docs"), ["900"]);
    for index in ["own", "old", "ext"] {
        assert_eq!(
            rows(&to, &format!("SELECT count(*) || '' FROM {index} WHERE {index} MATCH 'common'")),
            ["900"],
            "{index}"
        );
        let check = format!("INSERT INTO {index}({index}) VALUES ('integrity-check')");
        Connection::open(&to).unwrap().execute_batch(&check).unwrap();
    }
}

#[test]
fn an_index_that_is_the_same_there_stands() {
    let room = Room::new();
    let (from, to) = two_states(&room);
    fs::copy(&from, &to).unwrap();
    let way = Way { overwrite: Overwrite::Never, ..Way::default() };
    assert_eq!(copy(&source(&from), &to, &way).unwrap().notes, Vec::<String>::new());
    Connection::open(&to).unwrap().execute_batch("DELETE FROM room WHERE id > 20").unwrap();
    copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!(rows(&to, "SELECT count(*) || '|' || rtreecheck('room') FROM room"), ["300|ok"]);
}

#[test]
fn tables_of_a_module_that_only_the_application_has_are_named_where_rows_came() {
    let room = Room::new();
    let schema = "CREATE TABLE vec_chunks(id INTEGER PRIMARY KEY, b); PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES
        ('table', 'vec', 'vec', 0, 'CREATE VIRTUAL TABLE vec USING vec0(a)'); PRAGMA writable_schema = OFF;";
    let from = room.database("from.db", &format!("{schema} INSERT INTO vec_chunks VALUES (1, 'then')"));
    let to = room.database("to.db", &format!("{schema} INSERT INTO vec_chunks VALUES (1, 'now'), (2, 'now')"));
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    assert!(
        copied.notes.iter().any(|line| line.contains("the virtual table `vec`: rows changed")),
        "{:?}",
        copied.notes
    );
    assert_eq!(copy(&source(&from), &to, &EQUAL).unwrap().notes, Vec::<String>::new());
}
