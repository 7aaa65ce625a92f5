//! What only an application has: functions, collations and modules that this SQLite lacks; and generated columns.

use super::{Room, Way, copy, picture, round_trip, source};
use rusqlite::{Connection, functions::FunctionFlags};
use std::path::{Path, PathBuf};

/// A database made by an application with a function, a failing one, and a collation of its own.
fn application(room: &Room, name: &str, sql: &str) -> PathBuf {
    let path = room.path(name);
    let db = Connection::open(&path).unwrap();
    teach(&db);
    db.execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    path
}

fn teach(db: &Connection) {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("slug", 1, flags, |context| Ok(format!("slug-{}", context.get::<String>(0)?))).unwrap();
    db.create_collation("unicase", |a: &str, b: &str| a.to_lowercase().cmp(&b.to_lowercase())).unwrap();
}

fn rows(path: &Path, sql: &str) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    teach(&db);
    let mut statement = db.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn rows_come_back_where_a_generated_column_calls_a_function_of_the_application() {
    for (columns, unique) in [
        ("id INTEGER PRIMARY KEY, a TEXT, s TEXT AS (slug(a)) VIRTUAL, b", ""),
        ("id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT, s TEXT AS (slug(a)) STORED, b", ""),
        ("a TEXT COLLATE NOCASE PRIMARY KEY, s AS (slug(a)) STORED, v AS (slug(a) || 'v'), id INT UNIQUE, b", ""),
        (
            "s AS (slug(a)) STORED, id REAL, a TEXT, b, PRIMARY KEY (a, id), UNIQUE (id DESC, b COLLATE RTRIM)",
            " WITHOUT ROWID",
        ),
    ] {
        let room = Room::new();
        let from = application(
            &room,
            "from.db",
            &format!(
                "CREATE TABLE t({columns}){unique}; INSERT INTO t(id, a, b) VALUES (1, 'one', x'00'), (2, 'Two', 2.5);
                 CREATE INDEX plain ON t(b); CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END;"
            ),
        );
        let to = room.path("to.db");
        let copied = copy(&source(&from), &to, &Way::default()).unwrap();
        assert_eq!(copied.outcomes.failures, [], "{columns}");
        let all = "SELECT id || '|' || a || '|' || s || '|' || quote(b) FROM t ORDER BY id";
        assert_eq!(rows(&from, all), rows(&to, all), "{columns}");
        let schema = "SELECT type || name || coalesce(sql, '') FROM sqlite_schema ORDER BY rowid";
        assert_eq!(rows(&from, schema), rows(&to, schema), "{columns}");
        assert_eq!(rows(&to, "PRAGMA integrity_check"), ["ok"], "{columns}");
        assert!(copied.notes.iter().any(|note| note.contains("`slug`")), "{columns}: {:?}", copied.notes);
    }
}

#[test]
fn rows_come_back_where_such_a_column_is_unique_and_the_index_is_made_anew_by_the_application() {
    for (columns, end) in [
        ("id INTEGER PRIMARY KEY, a TEXT, s TEXT AS (slug(a)) VIRTUAL NOT NULL UNIQUE", ""),
        ("id INT, a TEXT PRIMARY KEY, s TEXT AS (slug(a)), UNIQUE (s, id), CHECK (length(a) > 0)", " WITHOUT ROWID"),
        ("id INT UNIQUE, a TEXT, s TEXT AS (slug(a)) UNIQUE ON CONFLICT REPLACE, u AS (slug(a) || 'u') UNIQUE", ""),
    ] {
        let room = Room::new();
        let sql = format!(
            "CREATE TABLE t({columns}){end}; INSERT INTO t(id, a) VALUES (1, 'one'), (2, 'Two'), (3, 'three');"
        );
        let from = application(&room, "from.db", &sql);
        let to = room.path("to.db");
        let copied = copy(&source(&from), &to, &Way::default()).unwrap();
        assert_eq!(copied.outcomes.failures, [], "{columns}");
        assert!(copied.notes.iter().any(|note| note.contains("run REINDEX \"t\"")), "{columns}: {:?}", copied.notes);
        let all = "SELECT id || a || s FROM t NOT INDEXED ORDER BY id";
        assert_eq!(rows(&from, all), rows(&to, all), "{columns}");
        let db = Connection::open(&to).unwrap();
        teach(&db);
        db.execute_batch("REINDEX t").unwrap();
        drop(db);
        assert_eq!(rows(&to, "PRAGMA integrity_check"), ["ok"], "{columns}");
        assert_eq!(rows(&to, "SELECT id || '' FROM t WHERE s = 'slug-Two'"), ["2"], "{columns}");
    }
}

#[test]
fn a_backup_says_which_indexes_a_restore_cannot_make() {
    let room = Room::new();
    let from = application(
        &room,
        "from.db",
        "CREATE TABLE t(a TEXT); INSERT INTO t VALUES ('x'); CREATE INDEX by_slug ON t(slug(a)); CREATE INDEX fine ON t(a);",
    );
    let copied = copy(&source(&from), &room.path("to.db"), &Way::default()).unwrap();
    assert!(copied.end.notes.iter().any(|note| note.contains("index `by_slug`")), "{:?}", copied.end.notes);
    assert!(!copied.end.notes.iter().any(|note| note.contains("fine")), "{:?}", copied.end.notes);
    assert!(copied.notes.iter().any(|note| note.contains("index `by_slug`")), "{:?}", copied.notes);
    assert_eq!(rows(&room.path("to.db"), "SELECT a FROM t"), ["x"]);
}

#[test]
fn generated_columns_are_kept_as_they_were_stored() {
    // What is stored need not be what the expression gives today.
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, s AS (a + 1) STORED); INSERT INTO t(a) VALUES (1), (5);
         CREATE TABLE bad(id INTEGER PRIMARY KEY, j TEXT); INSERT INTO bad VALUES (1, 'no json');
         ALTER TABLE bad ADD COLUMN name AS (j ->> '$.name') VIRTUAL;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'a + 1', 'a + 2') WHERE name = 't';",
    );
    let to = room.path("to.db");
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!(copied.outcomes.failures, []);
    assert_eq!(rows(&to, "SELECT s || '' FROM t"), ["2", "6"]);
    assert_eq!(rows(&to, "SELECT j FROM bad"), ["no json"]);
}

#[test]
fn generated_columns_under_constraints_come_back() {
    round_trip(
        "CREATE TABLE v(id INTEGER PRIMARY KEY, a INT, g AS (a * 2) UNIQUE, s TEXT AS ('s' || a) STORED UNIQUE);
         INSERT INTO v(a) VALUES (1), (2), (3);
         CREATE TABLE s(id INTEGER PRIMARY KEY, a INT, s TEXT AS ('s' || a) STORED NOT NULL UNIQUE, z BLOB);
         INSERT INTO s(a, z) VALUES (1, zeroblob(9000000)), (2, 'x'); CREATE INDEX si ON s(s DESC, a);
         CREATE TABLE strict(id INTEGER PRIMARY KEY, a ANY, s ANY AS (a) STORED, r REAL) STRICT;
         INSERT INTO strict(a, r) VALUES ('007', 1), (7, 2.5), (NULL, NULL);",
    );
}

#[test]
fn rows_under_a_collation_of_the_application_come_back() {
    let room = Room::new();
    let schema = "CREATE TABLE notetypes(id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE unicase, config BLOB);
         CREATE UNIQUE INDEX idx_notetypes_name ON notetypes(name);
         CREATE TABLE fields(ntid INTEGER NOT NULL, ord INTEGER NOT NULL, name TEXT NOT NULL COLLATE unicase, config BLOB,
             PRIMARY KEY (ntid, ord)) WITHOUT ROWID;
         CREATE UNIQUE INDEX idx_fields_name_ntid ON fields(name, ntid);
         CREATE TABLE tags(tag TEXT NOT NULL PRIMARY KEY COLLATE unicase, usn INTEGER NOT NULL) WITHOUT ROWID;
         CREATE TABLE keyed(k TEXT COLLATE unicase PRIMARY KEY, v);";
    let from = application(
        &room,
        "from.db",
        &format!(
            "{schema} INSERT INTO notetypes VALUES (1, 'Basic', x'01'), (2, 'cloze', x'02');
             INSERT INTO fields VALUES (1, 0, 'Front', x''), (1, 1, 'back', x''), (2, 0, 'Text', x'');
             INSERT INTO tags VALUES ('b', 1), ('A', 2), ('c', 3), ('Zed', 4), ('_', 5), ('ż', 6), ('Ź', 7);
             INSERT INTO keyed SELECT tag, usn FROM tags;"
        ),
    );
    let to = room.path("to.db");
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!((copied.end.missing, copied.outcomes.failures), (vec![], vec![]));
    let note = copied.notes.iter().find(|note| note.contains("`unicase`")).unwrap();
    for table in ["`fields`", "`keyed`", "`notetypes`", "`tags`", "REINDEX \"unicase\""] {
        assert!(note.contains(table), "{table}: {note}");
    }
    let db = Connection::open(&to).unwrap();
    teach(&db);
    db.execute_batch("REINDEX unicase").unwrap();
    drop(db);
    assert_eq!(rows(&to, "PRAGMA integrity_check"), ["ok"]);
    for table in ["SELECT tag || usn FROM tags", "SELECT name || ord FROM fields", "SELECT k || v || rowid FROM keyed"]
    {
        let (mut before, mut after) = (rows(&from, table), rows(&to, table));
        before.sort();
        after.sort();
        assert_eq!(before, after);
    }
    // Where the application's rows stand already, bytes would be sorted in among them.
    let live = application(&room, "live.db", &format!("{schema} INSERT INTO tags VALUES ('b', 1)"));
    let error = copy(&source(&from), &live, &Way::default()).err().unwrap();
    assert!(error.to_string().contains("`unicase`"), "{error}");
    assert_eq!(rows(&live, "SELECT tag FROM tags"), ["b"]);
}

#[test]
fn what_sqlite_itself_has_is_compiled_in() {
    round_trip(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x REAL, g AS (sqrt(x)) STORED, h AS (sin(x) + pi()) VIRTUAL);
         INSERT INTO t(x) VALUES (2), (9), (NULL); CREATE INDEX i ON t(ceil(x), log10(x));
         CREATE VIRTUAL TABLE geo USING geopoly(name); CREATE VIRTUAL TABLE f3 USING fts3(a);
         CREATE VIRTUAL TABLE f4 USING fts4(a, tokenize=unicode61, order=desc); INSERT INTO f4 VALUES ('Żółw words');
         INSERT INTO geo(name, _shape) VALUES ('square', '[[0,0],[1,0],[1,1],[0,1],[0,0]]');",
    );
    let db = Connection::open_in_memory().unwrap();
    for option in ["ENABLE_MATH_FUNCTIONS", "ENABLE_DBPAGE_VTAB", "ENABLE_GEOPOLY", "ENABLE_RTREE", "ENABLE_FTS5"] {
        let has: bool = db.query_row("SELECT sqlite_compileoption_used(?1)", [option], |row| row.get(0)).unwrap();
        assert!(has, "{option}");
    }
}

#[test]
fn a_table_that_cannot_be_read_is_left_out_alone() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE TABLE good(x); INSERT INTO good VALUES ('kept'); CREATE TABLE odd(x);
         PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE odd(x,,)' WHERE name = 'odd';",
    );
    let to = room.path("to.db");
    let copied = copy(&source(&from), &to, &Way::default()).unwrap();
    assert_eq!(rows(&to, "SELECT x FROM good"), ["kept"]);
    assert!(copied.end.missing.iter().any(|line| line.contains("table `odd`")), "{:?}", copied.end.missing);
    assert_eq!(picture(&to).iter().filter(|line| line.starts_with("table")).count(), 1);
}
