//! Rows that are read from pages are those that SQL gives: over random schemas and histories, and over damaged files.

use super::{Room, parallel, source};
use rekeep::{
    connector::{Source, sqlite::SqliteSource},
    record::{KeyRange, RecordBatch},
};
use rusqlite::Connection;
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// Numbers that the same seed gives again.
struct Lot(u64);

impl Lot {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn is(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    /// A value in SQL.
    fn value(&mut self) -> String {
        let long = if self.is(12) { 9000 } else { 40 };
        match self.below(9) {
            0 => "NULL".to_owned(),
            1 => self
                .of(&["0", "1", "-1", "127", "128", "-32769", "8388608", "2147483648", "140737488355328"])
                .to_owned(),
            2 => self.of(&["9223372036854775807", "(-9223372036854775807 - 1)", "-140737488355329"]).to_owned(),
            3 => self.of(&["0.5", "5.0", "-0.0", "1e300", "9007199254740993.0", "-3e9", "9e999"]).to_owned(),
            4 => format!("'{}'", "ä€𝄞x".repeat(self.below(long))),
            5 => format!("x'{}'", "00ff7a".repeat(self.below(long))),
            6 => "CAST(x'ff00fe' AS TEXT)".to_owned(),
            7 => format!("zeroblob({})", self.below(long)),
            _ => self.below(100_000).to_string(),
        }
    }
}

const TYPES: [&str; 10] =
    ["", "INTEGER", "INT", "REAL", "TEXT", "BLOB", "NUMERIC", "DOUBLE PRECISION", "VARCHAR(9)", "FLOATING POINT"];

/// A database with one table `t`, and what happens to it, by a seed.
pub(super) struct History {
    lot: Lot,
    db: Connection,
    columns: Vec<String>,
    added: usize,
}

impl History {
    pub(super) fn begin(path: &Path, seed: u64) -> Self {
        let mut lot = Lot(seed);
        let db = Connection::open(path).unwrap();
        let encoding = lot.of(&["UTF-8", "UTF-16le", "UTF-16be"]);
        let (size, vacuum) = (lot.of(&["512", "1024", "4096", "65536"]), lot.below(3));
        let pragmas =
            format!("PRAGMA page_size = {size}; PRAGMA encoding = '{encoding}'; PRAGMA auto_vacuum = {vacuum};");
        db.execute_batch(&pragmas).unwrap();
        if lot.is(3) {
            db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        }
        let columns: Vec<String> = (0..=lot.below(6)).map(|number| format!("c{number}")).collect();
        let mut defined: Vec<String> = columns.iter().map(|name| format!("{name} {}", lot.of(&TYPES))).collect();
        if lot.is(3) {
            let at = lot.below(defined.len() + 1);
            let generated = lot.of(&["g AS (c0)", "g REAL AS (7) STORED", "g AS (typeof(c0)) STORED"]);
            defined.insert(at, generated.to_owned());
        }
        if lot.is(2) {
            let at = lot.below(defined.len() + 1);
            let key = lot.of(&["id INTEGER PRIMARY KEY", "id INTEGER PRIMARY KEY AUTOINCREMENT"]);
            defined.insert(at, key.to_owned());
        }
        db.execute_batch(&format!("CREATE TABLE t({})", defined.join(", "))).unwrap();
        Self { lot, db, columns, added: 0 }
    }

    /// One thing more that happens.
    pub(super) fn go_on(&mut self) {
        let Self { lot, db, columns, added } = self;
        match lot.below(9) {
            0..=3 => {
                let spread = lot.of(&["1", "1", "1000003", "-7"]);
                let mut sql = format!("INSERT OR IGNORE INTO t(rowid, {}) VALUES ", columns.join(", "));
                for number in 0..=lot.below(300) {
                    let rowid = (number + lot.below(50)).to_string();
                    let values: Vec<String> = columns.iter().map(|_| lot.value()).collect();
                    let comma = if number == 0 { "" } else { "," };
                    write!(sql, "{comma} ({rowid} * {spread} + {}, {})", lot.below(9), values.join(", ")).unwrap();
                }
                db.execute_batch(&sql).unwrap();
            }
            4 => {
                let column = columns[lot.below(columns.len())].clone();
                let (value, every) = (lot.value(), 1 + lot.below(20));
                db.execute_batch(&format!("UPDATE t SET {column} = {value} WHERE rowid % {every} = 0")).unwrap();
            }
            5 => {
                let every = 2 + lot.below(5);
                db.execute_batch(&format!("DELETE FROM t WHERE rowid / 40 % {every} = 0")).unwrap();
            }
            6 => {
                *added += 1;
                let name = format!("a{added}");
                let default =
                    lot.of(&["", "DEFAULT 5", "DEFAULT '7'", "DEFAULT 'ü'", "DEFAULT x'00ff'", "DEFAULT -2.5"]);
                db.execute_batch(&format!("ALTER TABLE t ADD COLUMN {name} {} {default}", lot.of(&TYPES))).unwrap();
                columns.push(name);
            }
            7 if columns.len() > 2 => {
                let last = columns.pop().unwrap();
                // Other columns may be made from it.
                if db.execute_batch(&format!("ALTER TABLE t DROP COLUMN {last}")).is_err() {
                    columns.push(last);
                }
            }
            _ => db.execute_batch(lot.of(&["VACUUM", "PRAGMA incremental_vacuum(3)", "ANALYZE"])).unwrap(),
        }
    }
}

/// A database with some history.
fn random_database(path: &Path, seed: u64) {
    let mut history = History::begin(path, seed);
    for _ in 0..3 + history.lot.below(12) {
        history.go_on();
    }
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The rows of every table, and what could not be read.
fn read(source: &SqliteSource, parts: usize) -> Option<(BTreeMap<String, Rows>, Vec<String>)> {
    let session = source.begin(&parallel(2)).ok()?;
    let mut tables = BTreeMap::new();
    for (number, collection) in session.collections().iter().enumerate() {
        let rows: &mut Rows = tables.entry(collection.name.clone()).or_default();
        for range in KeyRange::between(&session.splits(number, parts).ok()?) {
            let mut stream = session.read(number, &range).ok()?;
            let mut batch = RecordBatch::new();
            while stream.next_batch(&mut batch).ok()? {
                for index in 0..batch.len() {
                    let row = batch.row(index);
                    let (key, mut value, stream) = (row.key.to_vec(), row.value.to_vec(), row.stream);
                    assert!(range.contains(&key));
                    let names = row.shape.names().concat();
                    if let Some(mut stream) = stream.and_then(|number| batch.take_stream(number)) {
                        stream.open().unwrap().read_to_end(&mut value).unwrap();
                    }
                    assert!(rows.insert(key, [names, value].concat()).is_none(), "a key came twice");
                }
            }
        }
    }
    Some((tables, session.finish().ok()?.missing))
}

#[test]
fn pages_give_what_sql_gives_whatever_the_schema_and_its_history() {
    for seed in 0..40 {
        let room = Room::new();
        let path = room.path("random.db");
        random_database(&path, seed);
        let (by_sql, missing) = read(&source(&path).by_sql(), 3).unwrap();
        assert_eq!(missing, [""; 0], "seed {seed}");
        let (by_pages, missing) = read(&source(&path), 1 + seed as usize % 5).unwrap();
        assert_eq!(missing, [""; 0], "seed {seed}");
        assert!(by_pages == by_sql, "seed {seed}");
    }
}

/// A database with one table `t` without rowids.
fn random_keyed_database(path: &Path, seed: u64) {
    let mut lot = Lot(seed);
    let db = Connection::open(path).unwrap();
    let (size, encoding) = (lot.of(&["512", "1024", "4096"]), lot.of(&["UTF-8", "UTF-8", "UTF-16le", "UTF-16be"]));
    db.execute_batch(&format!("PRAGMA page_size = {size}; PRAGMA encoding = '{encoding}'")).unwrap();
    let (a, b, v) = (lot.of(&TYPES[1..]), lot.of(&TYPES), lot.of(&TYPES));
    let key = lot.of(&["a, b", "b, a", "a", "a COLLATE NOCASE, b", "a DESC, b", "a DESC, b DESC"]);
    db.execute_batch(&format!("CREATE TABLE t(v {v}, a {a}, b {b}, w, PRIMARY KEY ({key})) WITHOUT ROWID")).unwrap();
    for _ in 0..3 + lot.below(6) {
        let rows: Vec<String> = (0..=lot.below(200))
            .map(|_| format!("({}, {}, {}, {})", lot.value(), lot.value(), lot.value(), lot.value()))
            .collect();
        db.execute_batch(&format!("INSERT OR IGNORE INTO t(v, a, b, w) VALUES {}", rows.join(", "))).unwrap();
        match lot.below(5) {
            0 => db.execute_batch("DELETE FROM t WHERE length(hex(a)) % 5 = 0").unwrap(),
            1 => db.execute_batch(&format!("UPDATE t SET w = {}", lot.value())).unwrap(),
            2 => drop(db.execute_batch("ALTER TABLE t ADD COLUMN added REAL DEFAULT 7")),
            _ => {}
        }
    }
}

#[test]
fn pages_of_tables_without_rowids_give_what_sql_gives() {
    for seed in 0..24 {
        let room = Room::new();
        let path = room.path("random.db");
        random_keyed_database(&path, seed);
        let by_sql = read(&source(&path).by_sql(), 3).unwrap();
        let by_pages = read(&source(&path), 1 + seed as usize % 4).unwrap();
        assert!(by_pages == by_sql, "seed {seed}: {:?}", by_pages.1);
    }
}

#[test]
fn of_damaged_pages_no_less_is_read_than_by_sql_and_what_lacks_is_named() {
    for seed in 0..75 {
        let room = Room::new();
        let path = room.path("random.db");
        match seed {
            0..50 => random_database(&path, seed % 20),
            _ => random_keyed_database(&path, seed % 20),
        }
        Connection::open(&path).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let (whole, _) = read(&source(&path), 1).unwrap();
        let mut lot = Lot(seed);
        let mut bytes = std::fs::read(&path).unwrap();
        // The schema stays as it is: of what it names nothing could be expected otherwise.
        let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        let size = if size == 1 { 65536 } else { size };
        if bytes.len() < 3 * size {
            continue;
        }
        for _ in 0..=lot.below(3) {
            let at = 2 * size + lot.below(bytes.len() - 2 * size);
            // Mostly in the head of a page, where it hurts.
            let at = if lot.is(2) { at - at % size + lot.below(16) } else { at };
            bytes[at] ^= 1 << lot.below(8);
        }
        std::fs::write(&path, bytes).unwrap();
        let Some((by_sql, named)) = read(&source(&path).by_sql(), 1) else { continue };
        let (by_pages, missing) = read(&source(&path), 1).unwrap();
        for (table, rows) in &by_sql {
            let found = &by_pages[table];
            for (key, value) in rows {
                // What lay in a damaged page and is no row of the table need not be met twice.
                let is_row = whole[table].get(key) == Some(value);
                assert!(!is_row || found.get(key) == Some(value), "seed {seed}: {table} {key:?}");
            }
            let is_less = whole[table].keys().any(|key| !found.contains_key(key));
            // A page that says that it holds a row less tells nobody.
            assert!(!is_less || named.is_empty() || !missing.is_empty(), "seed {seed}: {table}");
        }
    }
}

/// SQLite looks at a page's cells when it comes into a connection's cache: whoever came second got what lay in a damaged one.
#[test]
fn a_cell_pointer_that_leads_elsewhere_is_met_by_every_reader() {
    for without in ["", " WITHOUT ROWID"] {
        let room = Room::new();
        let path = room.path("pointers.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!(
            "PRAGMA page_size = 1024; CREATE TABLE k(key TEXT PRIMARY KEY, v){without};
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO k SELECT printf('k%05d', i), i FROM n"
        ))
        .unwrap();
        drop(db);
        let mut bytes = std::fs::read(&path).unwrap();
        // The third cell pointer of a leaf of the table.
        let leaf = if without.is_empty() { 13 } else { 10 };
        let holds = |at: &usize| bytes[*at..].starts_with(b"k01500") && bytes[at / 1024 * 1024] == leaf;
        let page = (0..bytes.len()).find(holds).unwrap() / 1024 * 1024;
        bytes[page + 8 + 4..page + 8 + 6].copy_from_slice(&[0x41, 0x03]);
        std::fs::write(&path, bytes).unwrap();
        for readers in 1..=4 {
            let (_, missing) = read(&source(&path), readers).unwrap();
            assert!(!missing.is_empty(), "{without} by {readers}");
        }
    }
}
