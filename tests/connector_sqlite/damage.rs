//! Damaged databases: what is backed up is what the tables hold, and what cannot be read is named.

use super::{Copied, Room, Way, copy, parallel, picture, source, url};
use rekeep::{
    connector::{ConnectorError, Source, Target, sqlite::SqliteTarget},
    record::KeyRange,
};
use rusqlite::Connection;
use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Makes a database whose table `t` does not keep its indexes while `changes` are made: what they do to the table's rows, the
/// indexes never hear of.
fn with_stale_indexes(room: &Room, sql: &str, changes: &str) -> PathBuf {
    let path = room.database("damaged.db", sql);
    let db = Connection::open(&path).unwrap();
    let indexes: Vec<(i64, String, String, i64, Option<String>)> = db
        .prepare("SELECT rowid, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE type = 'index'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let table: String = db.query_row("SELECT sql FROM sqlite_schema WHERE name = 't'", [], |row| row.get(0)).unwrap();
    let bare = table.replace(", PRIMARY KEY (i, k)", "").replace("PRIMARY KEY", "");
    db.execute_batch("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE type = 'index'").unwrap();
    db.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 't'", [bare]).unwrap();
    drop(db);
    let db = Connection::open(&path).unwrap();
    db.execute_batch(changes).unwrap();
    db.execute_batch("PRAGMA writable_schema = ON").unwrap();
    db.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 't'", [table]).unwrap();
    for (rowid, name, table, root, sql) in indexes {
        db.execute(
            "INSERT INTO sqlite_schema(rowid, type, name, tbl_name, rootpage, sql) VALUES (?1, 'index', ?2, ?3, ?4, ?5)",
            (rowid, name, table, root, sql),
        )
        .unwrap();
    }
    path
}

fn rows(path: &Path, sql: &str) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut statement = db.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn restored(room: &Room, from: &Path) -> (Copied, PathBuf) {
    let to = room.path("to.db");
    (copy(&source(from), &to, &Way::default()).unwrap(), to)
}

#[test]
fn rows_that_the_index_of_the_key_lacks_are_backed_up_and_the_index_is_named() {
    let room = Room::new();
    let from = with_stale_indexes(
        &room,
        "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('c', 3)",
        "INSERT INTO t VALUES ('b', 2)",
    );
    let (copied, to) = restored(&room, &from);
    assert_eq!(rows(&to, "SELECT k || v FROM t ORDER BY k"), ["a1", "b2", "c3"]);
    assert_eq!(copied.end.missing.len(), 1, "{:?}", copied.end.missing);
    assert!(copied.end.missing[0].contains("has 2 entries, the table 3 rows"), "{:?}", copied.end.missing);
}

#[test]
fn keys_come_from_the_table_where_the_index_holds_others() {
    for changes in ["UPDATE t SET k = 'x' WHERE k = 'b'", "UPDATE t SET rowid = 9 WHERE k = 'b'"] {
        let room = Room::new();
        let from = with_stale_indexes(
            &room,
            "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3)",
            changes,
        );
        let expected = rows(&from, "SELECT k || v || rowid FROM t NOT INDEXED ORDER BY rowid");
        let (copied, to) = restored(&room, &from);
        assert_eq!(rows(&to, "SELECT k || v || rowid FROM t ORDER BY rowid"), expected);
        assert!(copied.end.missing[0].contains("holds other keys than the table"), "{:?}", copied.end.missing);
    }
}

#[test]
fn an_emptied_index_hides_no_rows() {
    let room = Room::new();
    let from = with_stale_indexes(
        &room,
        "CREATE TABLE t(k TEXT PRIMARY KEY, v)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT 'k' || i, i FROM n",
    );
    let (copied, to) = restored(&room, &from);
    assert_eq!(rows(&to, "SELECT count(*) || '' FROM t"), ["5000"]);
    assert!(copied.end.missing[0].contains("0 entries"), "{:?}", copied.end.missing);
    // Nor from whoever asks whether there is something to overwrite.
    let target = SqliteTarget::new(&url(&from, "")).unwrap();
    assert_eq!(target.occupied(&["t".to_owned()]).unwrap(), [("t".to_owned(), 1000)]);
}

#[test]
fn other_indexes_are_never_read_in_place_of_a_table() {
    // Each holds all columns, and SQLite would rather read it than the table.
    for (table, index) in [
        ("t(k TEXT PRIMARY KEY, v)", "t(k, v)"),
        ("t(k TEXT COLLATE NOCASE PRIMARY KEY, v)", "t(k, v)"),
        ("t(k, v)", "t(v, k)"),
        ("t(k TEXT, v, w AS (v) VIRTUAL)", "t(k, v) WHERE v > 0"),
        ("t(k TEXT, v)", "t(abs(v), k, v)"),
        ("t(i INTEGER, k TEXT, v, PRIMARY KEY (i, k))", "t(v, k, i)"),
    ] {
        let room = Room::new();
        let columns = if table.contains("i INTEGER") { "t(i, k, v)" } else { "t(k, v)" };
        let values = |k: &str, v: i64| match columns {
            "t(i, k, v)" => format!("(7, '{k}', {v})"),
            _ => format!("('{k}', {v})"),
        };
        let from = with_stale_indexes(
            &room,
            &format!(
                "CREATE TABLE {table}; CREATE INDEX other ON {index}; INSERT INTO {columns} VALUES {}, {}",
                values("a", 1),
                values("c", 3)
            ),
            &format!("INSERT INTO {columns} VALUES {}", values("b", 2)),
        );
        let (_, to) = restored(&room, &from);
        assert_eq!(rows(&to, "SELECT k || v FROM t NOT INDEXED ORDER BY k"), ["a1", "b2", "c3"], "{table} {index}");
    }
}

#[test]
fn tables_without_rowids_are_read_from_themselves() {
    for key in ["k TEXT PRIMARY KEY", "k TEXT COLLATE NOCASE PRIMARY KEY"] {
        let room = Room::new();
        let from = room.database(
            "from.db",
            &format!(
                "CREATE TABLE t({key}, v) WITHOUT ROWID; CREATE INDEX other ON t(v);
                 INSERT INTO t VALUES ('a', 1), ('c', 3);
                 PRAGMA writable_schema = ON; CREATE TABLE empty(x); CREATE INDEX e ON empty(x);
                 UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'e')
                 WHERE name = 'other';"
            ),
        );
        let (copied, to) = restored(&room, &from);
        assert_eq!(rows(&to, "SELECT k || v FROM t ORDER BY k"), ["a1", "c3"]);
        assert_eq!(copied.end.missing, Vec::<String>::new());
    }
}

#[test]
fn two_rows_with_one_key_are_told_apart_by_name() {
    let room = Room::new();
    let from = with_stale_indexes(
        &room,
        "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2)",
        "INSERT INTO t(rowid, k, v) VALUES (77, 'a', 9)",
    );
    let (copied, to) = restored(&room, &from);
    assert_eq!(rows(&to, "SELECT k || v FROM t ORDER BY k"), ["a1", "b2"]);
    let named = copied.end.missing.iter().find(|line| line.contains("two rows have the key str:a"));
    assert!(named.is_some_and(|line| line.contains("rowid 77")), "{:?}", copied.end.missing);
}

#[test]
fn a_restore_refuses_a_table_whose_index_hides_rows() {
    let room = Room::new();
    let to = with_stale_indexes(
        &room,
        "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1)",
        "INSERT INTO t VALUES ('b', 2)",
    );
    let from = room.database("from.db", "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('b', 5)");
    let error = copy(&source(&from), &to, &Way::default()).err().unwrap();
    assert!(matches!(&error, ConnectorError::Mismatch { reason, .. } if reason.contains("REINDEX")), "{error}");
    assert_eq!(rows(&to, "SELECT k || v FROM t NOT INDEXED"), ["a1", "b2"]);
}

const PAGE: u64 = 4096;

fn overwrite(path: &Path, page: u32, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, u64::from(page - 1) * PAGE).unwrap();
}

/// The leaves of a table's b-tree, in its order.
fn leaves(path: &Path, table: &str) -> Vec<u32> {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' ORDER BY path";
    let mut statement = db.prepare(sql).unwrap();
    statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)";

#[test]
fn a_damaged_page_costs_its_rows_and_is_named_with_them() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        &format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v); {MANY} INSERT INTO t SELECT i * 10, zeroblob(150) FROM n;
             CREATE TABLE other(k TEXT PRIMARY KEY, v); INSERT INTO other VALUES ('a', 1), ('b', 2);"
        ),
    );
    let leaves = leaves(&from, "t");
    let held = |page: u32| -> Vec<i64> {
        let db = Connection::open(&from).unwrap();
        let cells: i64 = db.query_row("SELECT ncell FROM dbstat WHERE pageno = ?1", [page], |row| row.get(0)).unwrap();
        (0..cells).collect()
    };
    let lost = held(leaves[5]).len() + held(leaves[7]).len();
    for page in [leaves[5], leaves[7]] {
        overwrite(&from, page, &[0x5a; 4096]);
    }
    for way in [1, 3] {
        let session = source(&from).begin(&parallel(way)).unwrap();
        let mut read = 0;
        let splits = if way > 1 { session.splits(0, 4).unwrap() } else { Vec::new() };
        for range in KeyRange::between(&splits) {
            let mut stream = session.read(0, &range).unwrap();
            let mut batch = rekeep::record::RecordBatch::new();
            while stream.next_batch(&mut batch).unwrap() {
                read += batch.len();
            }
        }
        assert_eq!(read, 2000 - lost);
        let end = session.evidence().unwrap().part_end(0, &KeyRange::all()).unwrap();
        assert!(!end.complete && end.doubts.len() == 2, "{end:?}");
        let missing = session.finish().unwrap().missing;
        assert_eq!(missing.len(), 2, "{missing:?}");
        for page in [leaves[5], leaves[7]] {
            let named = format!("page {page} cannot be read");
            assert!(missing.iter().any(|line| line.contains("rows from int:") && line.contains(&named)), "{missing:?}");
        }
    }
    let (copied, to) = restored(&room, &from);
    assert_eq!(rows(&to, "SELECT count(*) || '' FROM t"), [(2000 - lost).to_string()]);
    assert_eq!(rows(&to, "SELECT k FROM other"), ["a", "b"]);
    assert_eq!(copied.end.missing.len(), 2);
}

#[test]
fn a_pointer_that_leads_elsewhere_costs_its_row_alone() {
    let sql =
        format!("CREATE TABLE t(id INTEGER PRIMARY KEY, v); {MANY} INSERT INTO t SELECT i * 10, zeroblob(150) FROM n;");
    for (at, elsewhere) in [(0, 0x0010_u16), (0, 0x0f00), (7, 0x0010), (7, 0x0000), (7, 0xffff), (20, 0x0010)] {
        let room = Room::new();
        let from = room.database("from.db", &sql);
        let page = leaves(&from, "t")[5];
        let file = OpenOptions::new().read(true).write(true).open(&from).unwrap();
        let begins = u64::from(page - 1) * PAGE;
        let mut cells = [0; 2];
        file.read_exact_at(&mut cells, begins + 3).unwrap();
        let at = at.min(u16::from_be_bytes(cells) - 1);
        file.write_all_at(&elsewhere.to_be_bytes(), begins + 8 + 2 * u64::from(at)).unwrap();
        let (copied, to) = restored(&room, &from);
        assert_eq!(rows(&to, "SELECT count(*) || '' FROM t"), ["1999"], "{at} {elsewhere:x}: {:?}", copied.end.missing);
        let named = format!("page {page} is damaged: of the rows from int:");
        assert!(copied.end.missing.len() == 1 && copied.end.missing[0].contains(&named), "{:?}", copied.end.missing);
    }
}

#[test]
fn a_value_whose_pages_are_damaged_costs_its_row_alone() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v, w);
         INSERT INTO t VALUES (1, 'a', 1), (2, zeroblob(100000), 2), (3, 'c', 3), (4, 'd', 4);",
    );
    let overflow: u32 = Connection::open(&from)
        .unwrap()
        .query_row("SELECT max(pageno) FROM dbstat WHERE pagetype = 'overflow'", [], |row| row.get(0))
        .unwrap();
    // Pages before the last say where the next one is.
    overwrite(&from, overflow - 3, &[0xff; 4]);
    let (copied, to) = restored(&room, &from);
    assert_eq!(rows(&to, "SELECT v FROM t"), ["a", "c", "d"]);
    assert!(copied.end.missing[0].contains("the row int:2"), "{:?}", copied.end.missing);
}

#[test]
fn tables_keyed_by_text_save_what_lies_on_other_pages() {
    for (schema, without_rowid) in
        [("t(k TEXT PRIMARY KEY, v)", false), ("t(k TEXT PRIMARY KEY, v) WITHOUT ROWID", true)]
    {
        let room = Room::new();
        let from = room.database(
            "from.db",
            &format!("CREATE TABLE {schema}; {MANY} INSERT INTO t SELECT printf('k%05d', i), zeroblob(150) FROM n;"),
        );
        let leaves = leaves(&from, "t");
        overwrite(&from, leaves[leaves.len() / 2], &[0; 4096]);
        let (copied, to) = restored(&room, &from);
        let count: usize = rows(&to, "SELECT count(*) || '' FROM t")[0].parse().unwrap();
        assert!((1950..2000).contains(&count), "{schema}: {count}");
        let keys = rows(&to, "SELECT k FROM t ORDER BY k");
        let number = |key: &String| key[1..].parse::<usize>().unwrap();
        let gap = keys.windows(2).find(|pair| number(&pair[0]) + 1 < number(&pair[1])).unwrap();
        let missing = &copied.end.missing;
        assert!(missing.iter().any(|line| line.contains("cannot be read")), "{missing:?}");
        if without_rowid {
            let named = |line: &String| line.contains("between the keys") && gap.iter().all(|key| line.contains(key));
            assert!(missing.len() == 1 && missing.iter().all(named), "{gap:?}: {missing:?}");
        }
        assert_eq!((keys[0].as_str(), keys[count - 1].as_str()), ("k00001", "k02000"));
    }
}

#[test]
fn rows_out_of_order_are_missed_by_name() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    );
    let page = leaves(&from, "t")[0];
    let mut bytes = vec![0; 4096];
    let file = OpenOptions::new().read(true).write(true).open(&from).unwrap();
    file.read_exact_at(&mut bytes, u64::from(page - 1) * PAGE).unwrap();
    // The pointers of the first and the second row change places.
    bytes.copy_within(8..10, 14);
    bytes.copy_within(10..12, 8);
    bytes.copy_within(14..16, 10);
    bytes[14..16].fill(0);
    bytes.copy_within(12..14, 14);
    let (third_low, third_high) = (bytes[14], bytes[15]);
    (bytes[12], bytes[13], bytes[14], bytes[15]) = (third_low, third_high, 0, 0);
    file.write_all_at(&bytes, u64::from(page - 1) * PAGE).unwrap();
    let (copied, _) = restored(&room, &from);
    let named = format!("page {page} is damaged");
    assert!(copied.end.missing[0].contains(&named), "{:?}", copied.end.missing);
}

#[test]
fn a_row_beyond_the_bound_of_its_page_is_missed_by_name() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO t SELECT i, randomblob(100) FROM n",
    );
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 't'";
    let first_page: u32 = Connection::open(&from).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    let first_page = u64::from(first_page);
    let mut bytes = vec![0; 4096];
    let file = OpenOptions::new().read(true).write(true).open(&from).unwrap();
    file.read_exact_at(&mut bytes, (first_page - 1) * PAGE).unwrap();
    assert_eq!(bytes[0], 5, "an interior page of a table");
    // The bound of the first leaf, which was its last row.
    let at = usize::from(u16::from_be_bytes([bytes[12], bytes[13]])) + 4;
    let bound = bytes[at];
    assert!((2..128).contains(&bound));
    bytes[at] -= 1;
    file.write_all_at(&bytes, (first_page - 1) * PAGE).unwrap();
    let (copied, to) = restored(&room, &from);
    let named = format!("the row int:{bound} on page");
    assert!(copied.end.missing.iter().any(|line| line.contains(&named)), "{:?}", copied.end.missing);
    assert_eq!(rows(&to, "SELECT CAST(count(*) AS TEXT) FROM t"), ["299"]);
}

#[test]
fn a_file_that_was_cut_off_gives_what_is_left() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        &format!("CREATE TABLE t(id INTEGER PRIMARY KEY, v); {MANY} INSERT INTO t SELECT i, zeroblob(150) FROM n;"),
    );
    let pages = std::fs::metadata(&from).unwrap().len() / PAGE;
    OpenOptions::new().write(true).open(&from).unwrap().set_len(pages / 2 * PAGE).unwrap();
    let (copied, to) = restored(&room, &from);
    let count: usize = rows(&to, "SELECT count(*) || '' FROM t")[0].parse().unwrap();
    assert!(count > 500, "{count}");
    assert!(copied.end.missing.iter().any(|line| line.contains("cannot be read")), "{:?}", copied.end.missing);
    assert!(copied.end.missing.iter().any(|line| line.contains("is damaged")), "{:?}", copied.end.missing);
}

#[test]
fn tables_that_a_damaged_header_or_schema_hides_are_not_taken_for_absent() {
    const SQL: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'x');
         CREATE TABLE u(id INTEGER PRIMARY KEY, v); INSERT INTO u VALUES (1, 'y')";
    let room = Room::new();
    // Text that is read in another encoding names no tables; of two rows of the schema one is read twice.
    let wrong_encoding = (56, vec![0, 0, 0, 2]);
    let one_twice = |page: &[u8]| (110, page[108..110].to_vec());
    for harm in 0..2 {
        let from = room.database(&format!("from{harm}.db"), SQL);
        let (at, bytes) = if harm == 0 { wrong_encoding.clone() } else { one_twice(&std::fs::read(&from).unwrap()) };
        OpenOptions::new().write(true).open(&from).unwrap().write_all_at(&bytes, at).unwrap();
        let copied = copy(&source(&from), &room.path(&format!("to{harm}.db")), &Way::default()).unwrap();
        let missing = &copied.end.missing;
        assert!(missing.iter().any(|line| line.contains("whether that is all cannot be told")), "{harm}: {missing:?}");
    }
}

#[test]
fn what_an_old_release_may_have_done_is_said() {
    let room = Room::new();
    let from = with_stale_indexes(
        &room,
        "PRAGMA journal_mode = WAL; CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1)",
        "INSERT INTO t VALUES ('b', 2)",
    );
    let file = OpenOptions::new().write(true).open(&from).unwrap();
    file.write_all_at(&3_045_001_u32.to_be_bytes(), 96).unwrap();
    let (copied, _) = restored(&room, &from);
    assert!(copied.end.notes.iter().any(|line| line.contains("3.45.1")), "{:?}", copied.end.notes);
}

#[test]
fn a_sound_database_has_nothing_to_say() {
    let room = Room::new();
    let from = room.database("from.db", "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1)");
    let (copied, to) = restored(&room, &from);
    assert_eq!(copied.end.missing, Vec::<String>::new());
    assert_eq!(picture(&from), picture(&to));
}

/// Keys of tables without rowids: their columns, the key, and the values of a row, where `#` stands for its number.
const KEYS_WITHOUT_ROWIDS: [(&str, &str, &str); 12] = [
    ("k TEXT", "k", "'k#'"),
    ("k TEXT", "k DESC", "'k#'"),
    ("k TEXT COLLATE NOCASE", "k", "CASE WHEN # % 2 THEN 'k#' ELSE 'K#' END"),
    ("k TEXT COLLATE NOCASE", "k DESC", "CASE WHEN # % 3 THEN 'k#ä' ELSE 'K#' END"),
    ("k TEXT COLLATE RTRIM", "k", "'k#' || substr('     ', 1, # % 4)"),
    ("k", "k", "CASE # % 3 WHEN 0 THEN 'k#' WHEN 1 THEN CAST('b#' AS BLOB) ELSE # - 1000 END"),
    ("k", "k DESC", "CASE # % 3 WHEN 0 THEN 'k#' WHEN 1 THEN # / 3.0 ELSE # - 1000 END"),
    ("k BLOB", "k", "CAST('k#' AS BLOB)"),
    ("a INTEGER, k TEXT", "a DESC, k", "# / 1000, 'k#'"),
    ("a REAL, k TEXT COLLATE NOCASE", "a, k DESC", "# % 3 * 1000000000000 - 3, 'k#'"),
    ("k TEXT COLLATE NOCASE", "k, k COLLATE BINARY DESC", "'k#'"),
    ("a NUMERIC, b INTEGER, k TEXT", "b, k, a", "# % 2 / 2.0, # % 5 - 2, 'k#'"),
];

/// A database of small pages with a table without rowids.
fn without_rowids(room: &Room, encoding: &str, (columns, key, row): (&str, &str, &str), numbers: &[u32]) -> PathBuf {
    let mut sql = format!(
        "PRAGMA page_size = 1024; PRAGMA encoding = '{encoding}';
         CREATE TABLE t({columns}, v, PRIMARY KEY ({key})) WITHOUT ROWID; BEGIN;"
    );
    for number in numbers {
        // As a part of a text with its zeros, as a number without.
        let row = row.replace("k#", &format!("k{number:05}")).replace("K#", &format!("K{number:05}"));
        let row = row.replace("b#", &format!("b{number:05}")).replace('#', &number.to_string());
        sql += &format!("INSERT INTO t VALUES ({row}, {number});");
    }
    room.database("from.db", &(sql + "COMMIT;"))
}

/// What is missing of a database, and how many rows of its table were read.
fn missing_of(path: &Path) -> (Vec<String>, usize) {
    let session = source(path).begin(&parallel(2)).unwrap();
    let (mut read, mut batch) = (0, rekeep::record::RecordBatch::new());
    for range in KeyRange::between(&session.splits(0, 3).unwrap()) {
        let mut stream = session.read(0, &range).unwrap();
        while stream.next_batch(&mut batch).unwrap() {
            read += batch.len();
        }
    }
    (session.finish().unwrap().missing, read)
}

#[test]
fn sound_tables_without_rowids_have_nothing_to_say_whatever_their_key() {
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        for table in KEYS_WITHOUT_ROWIDS {
            for count in [0, 1, 2, 3, 700] {
                let room = Room::new();
                // In no order, so that pages split.
                let numbers: Vec<u32> = (0..count).map(|number| number * 7919 % 9973).collect();
                let from = without_rowids(&room, encoding, table, &numbers);
                assert_eq!(missing_of(&from), (Vec::new(), numbers.len()), "{encoding} {table:?}");
            }
        }
    }
    let sound = |name: &str, before: &dyn Fn(&Connection), sql: &str| {
        let room = Room::new();
        let from = room.path(name);
        let db = Connection::open(&from).unwrap();
        before(&db);
        db.execute_batch(sql).unwrap();
        drop(db);
        let (missing, read) = missing_of(&from);
        assert_eq!(missing, Vec::<String>::new(), "{name}");
        assert_eq!(read, 3, "{name}");
    };
    // Files of the first format keep no directions.
    let of_old_format = |db: &Connection| {
        db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_LEGACY_FILE_FORMAT, true).unwrap();
    };
    let rows = "INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3)";
    sound("old", &of_old_format, &format!("CREATE TABLE t(k TEXT, v, PRIMARY KEY (k DESC)) WITHOUT ROWID; {rows}"));
    let backwards = |db: &Connection| db.create_collation("backwards", |one, other| other.cmp(one)).unwrap();
    sound(
        "foreign",
        &backwards,
        &format!("CREATE TABLE t(k TEXT COLLATE backwards PRIMARY KEY, v) WITHOUT ROWID; {rows}"),
    );
    let more_letters = |db: &Connection| {
        db.create_collation("NOCASE", |one, other| one.to_lowercase().cmp(&other.to_lowercase())).unwrap();
    };
    sound(
        "of more letters",
        &more_letters,
        "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO t VALUES ('ÄB', 1), ('äa', 2), ('z', 3)",
    );
}

#[test]
fn a_key_that_stands_out_of_its_order_is_missed_by_name() {
    for encoding in ["UTF-8", "UTF-16le"] {
        for table in KEYS_WITHOUT_ROWIDS {
            for count in [2, 900] {
                let room = Room::new();
                let numbers: Vec<u32> = (0..count).map(|number| number * 7).collect();
                let from = without_rowids(&room, encoding, table, &numbers);
                let number = numbers[numbers.len() / 2 / 3 * 3];
                let mut bytes = std::fs::read(&from).unwrap();
                for letter in ["k", "K"] {
                    let text = format!("{letter}{number:05}");
                    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                    for old in [text.as_bytes(), &wide] {
                        // Pages hold what once lay there, too.
                        while let Some(at) = bytes.windows(old.len()).position(|found| found == old) {
                            bytes[at] = b'z';
                        }
                    }
                }
                std::fs::write(&from, &bytes).unwrap();
                let says: String =
                    Connection::open(&from).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
                let (missing, read) = missing_of(&from);
                let shown = format!("{encoding} {table:?} {count}: {says} {missing:?}");
                assert_eq!(read, numbers.len(), "{shown}");
                let is_named = missing.len() == 1 && missing[0].contains("out of the order that SQLite keeps");
                assert_eq!(is_named, says != "ok", "{shown}");
                assert_eq!(is_named, !missing.is_empty(), "{shown}");
                assert!(is_named || count == 2, "nothing is damaged: {shown}");
            }
        }
    }
}

#[test]
fn a_restore_refuses_a_table_whose_rows_stand_out_of_order() {
    let room = Room::new();
    let to = without_rowids(&room, "UTF-8", KEYS_WITHOUT_ROWIDS[0], &[1, 2, 3]);
    let mut bytes = std::fs::read(&to).unwrap();
    let at = bytes.windows(6).position(|found| found == b"k00002").unwrap();
    bytes[at] = b'z';
    std::fs::write(&to, bytes).unwrap();
    let from = room.database(
        "source.db",
        "CREATE TABLE t(k TEXT, v, PRIMARY KEY (k)) WITHOUT ROWID; INSERT INTO t VALUES ('a', 1)",
    );
    let error = copy(&source(&from), &to, &Way::default()).err().unwrap();
    assert!(
        matches!(&error, ConnectorError::Mismatch { reason, .. } if reason.contains("out of the order")),
        "{error}"
    );
}

#[test]
fn rows_out_of_order_are_missed_by_name_where_another_key_sorts_them() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v); INSERT INTO t VALUES ('c', 1), ('b', 2), ('a', 3)",
    );
    assert_eq!(missing_of(&from), (Vec::new(), 3));
    let page = leaves(&from, "t")[0];
    let file = OpenOptions::new().read(true).write(true).open(&from).unwrap();
    let at = u64::from(page - 1) * PAGE + 8;
    let mut pointers = [0; 6];
    file.read_exact_at(&mut pointers, at).unwrap();
    pointers.swap(0, 2);
    pointers.swap(1, 3);
    file.write_all_at(&pointers, at).unwrap();
    let (missing, read) = missing_of(&from);
    assert_eq!(read, 3);
    assert!(missing.len() == 1 && missing[0].contains("the row int:2 stands before the row int:1"), "{missing:?}");
}

/// A generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }
}

/// The rowids that SQL finds by reading all pages in turn, as far as it comes.
fn by_sql(path: &Path) -> Vec<i64> {
    let db = Connection::open(path).unwrap();
    let Ok(mut statement) = db.prepare("SELECT id FROM t NOT INDEXED") else { return Vec::new() };
    let found = statement.query_map([], |row| row.get(0)).unwrap();
    found.map_while(Result::ok).collect()
}

/// The rowids that were read, and what is missing.
fn by_us(path: &Path, parts: usize) -> Option<(Vec<i64>, Vec<String>)> {
    let session = source(path).begin(&parallel(2)).ok()?;
    let (mut read, mut batch) = (Vec::new(), rekeep::record::RecordBatch::new());
    for range in KeyRange::between(&session.splits(0, parts).ok()?) {
        let mut stream = session.read(0, &range).ok()?;
        while stream.next_batch(&mut batch).ok()? {
            read.extend(batch.rows().map(|row| rekeep::record::key::decode_int(row.key).unwrap()));
        }
    }
    Some((read, session.finish().ok()?.missing))
}

#[test]
fn rows_behind_wrong_bounds_of_branches_are_kept_or_named() {
    let room = Room::new();
    let from = room.database(
        "from.db",
        "PRAGMA page_size = 512; CREATE TABLE t(id INTEGER PRIMARY KEY, v);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
         INSERT INTO t SELECT i * 300, zeroblob(60 + i * i % 300) FROM n",
    );
    let there: std::collections::BTreeSet<i64> = by_sql(&from).into_iter().collect();
    assert_eq!(there.len(), 1200);
    let branches: Vec<usize> = {
        let db = Connection::open(&from).unwrap();
        let mut statement =
            db.prepare("SELECT pgoffset FROM dbstat WHERE name = 't' AND pagetype = 'internal'").unwrap();
        statement.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|at| at.unwrap() as usize).collect()
    };
    let all: Vec<usize> = (1..std::fs::metadata(&from).unwrap().len() as usize / 512).map(|page| page * 512).collect();
    let sound = std::fs::read(&from).unwrap();
    let mut numbers = Numbers(1);
    let (mut torn, mut whole) = (0, 0);
    for round in 0..300 {
        let mut bytes = sound.clone();
        for change in 0..=numbers.below(3) {
            let page = branches[numbers.below(branches.len())];
            let cells = usize::from(u16::from_be_bytes([bytes[page + 3], bytes[page + 4]]));
            let place = |bytes: &[u8], cell: usize| {
                usize::from(u16::from_be_bytes([bytes[page + 12 + 2 * cell], bytes[page + 13 + 2 * cell]]))
            };
            let cell = numbers.below(cells);
            match numbers.below(4) {
                // A bound, a child's number, two children in each other's place, or anything anywhere.
                0 | 1 => {
                    let at = page + place(&bytes, cell) + 4 + numbers.below(2);
                    bytes[at] ^= 1 << numbers.below(7);
                }
                2 => {
                    let other = numbers.below(cells);
                    let (one, other) = (page + 12 + 2 * cell, page + 12 + 2 * other);
                    bytes.swap(one, other);
                    bytes.swap(one + 1, other + 1);
                }
                _ if round % 3 == 0 && change > 0 => {
                    let page = all[numbers.below(all.len())];
                    bytes[page + numbers.below(512)] ^= 1 << numbers.below(8);
                }
                _ => {
                    let at = page + place(&bytes, cell) + 4;
                    bytes[at] ^= 2;
                }
            }
        }
        let path = room.path(&format!("{round}.db"));
        std::fs::write(&path, bytes).unwrap();
        let found = by_sql(&path);
        for parts in [1, 4] {
            let Some((read, missing)) = by_us(&path, parts) else { panic!("{round}: it is not read") };
            let read: std::collections::BTreeSet<i64> = read.into_iter().collect();
            let is_counted =
                missing.iter().any(|line| line.contains("rows were reached") || line.contains("be counted"));
            for row in found.iter().filter(|row| there.contains(row)) {
                let is_named = missing.iter().any(|line| line.contains(&format!("the row int:{row} ")));
                assert!(read.contains(row) || is_named || is_counted, "{round}: int:{row} {missing:?}");
            }
            if missing.iter().any(|line| line.contains("bounds that contradict each other")) {
                torn += 1;
                whole += u32::from(read == there);
            }
            assert!(read == there || !missing.is_empty(), "{round}");
        }
        std::fs::remove_file(&path).unwrap();
    }
    // Where only bounds are wrong, nothing is lost.
    assert!(torn > 200 && whole * 10 > torn * 8, "{whole} of {torn}");
}
