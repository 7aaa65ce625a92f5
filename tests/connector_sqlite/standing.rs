//! Pages that stand: what a second backup does not read, and what makes it read.

use super::{Room, pages::History, source};
use rekeep::{
    ops::{
        Phase, Progress,
        backup::{Ask, BackupOptions, BackupOutcome, ParentChoice, backup},
    },
    record::SystemClock,
    repo::{InitOptions, OpenOptions, Repository, Storage, Unlock, keys::KdfParams},
    report::{Warning, WarningKind},
};
use rusqlite::Connection;
use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// What was said.
#[derive(Default)]
struct Heard(Mutex<Vec<Warning>>);

impl Progress for Heard {
    fn phase(&self, _: &Phase) {}

    fn count(&self, _: u64, _: u64) {}

    fn warning(&self, warning: &Warning) {
        self.0.lock().unwrap().push(warning.clone());
    }

    fn cancelled(&self) -> bool {
        false
    }
}

/// A database that is backed up into a repository.
struct Kept {
    room: Room,
    repo: Repository,
    path: PathBuf,
}

impl Kept {
    fn new(sql: &str) -> Self {
        let room = Room::new();
        let path = room.path("kept.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let repo = repository(&room, "repo");
        Self { room, repo, path }
    }

    fn sql(&self, sql: &str) {
        Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    fn backup_with(&self, options: &BackupOptions) -> (BackupOutcome, bool) {
        let heard = Heard::default();
        let outcome = backup(&self.repo, &source(&self.path), options, &heard).unwrap();
        let belied = heard.0.lock().unwrap().iter().any(|warning| warning.kind == WarningKind::NotesBelied);
        (outcome, belied)
    }

    /// A backup that trusts what was noted.
    fn backup(&self) -> BackupOutcome {
        let (outcome, belied) = self.backup_with(&trusting());
        assert!(outcome.complete && !belied, "{:?}", outcome.problems);
        outcome
    }

    /// Fails if a backup that reads everything finds anything that those before did not.
    fn check(&self) {
        let (outcome, belied) = self.backup_with(&BackupOptions { ask: Ask::Full, ..trusting() });
        let stats = &outcome.stats;
        assert_eq!((stats.unread, stats.new, stats.changed, stats.deleted), (0, 0, 0, 0));
        assert!(outcome.complete && !belied);
    }

    /// The one file of notes.
    fn notes(&self) -> Vec<PathBuf> {
        let folder = self.repo.notes_folder().unwrap();
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

fn repository(room: &Room, name: &str) -> Repository {
    let storage = Storage::at(room.path(name).to_str().unwrap()).unwrap();
    let init = InitOptions { kdf: KdfParams { memory_kib: 64, passes: 1, lanes: 1 }, label: "test".to_owned() };
    let open = OpenOptions { cache_dir: room.path("cache"), clock: Arc::new(SystemClock), host: "here".to_owned() };
    Repository::init(&storage, &Unlock::Password("secret".to_owned()), None, &init, &open).unwrap().0
}

fn trusting() -> BackupOptions {
    BackupOptions { parallel: 2, read_all_every: 1000, ..BackupOptions::default() }
}

/// A table of 5000 rows, about 20 a page; of every 100th most lies on pages of its own.
const ROWS: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER, v BLOB);
    WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000)
    INSERT INTO t SELECT i * 10, i, randomblob(CASE i % 100 WHEN 0 THEN 9000 ELSE 180 END) FROM c;";

#[test]
fn pages_that_stand_are_not_read_and_what_changed_is_found() {
    let kept = Kept::new(ROWS);
    let first = kept.backup();
    assert_eq!((first.stats.unread, first.stats.new), (0, 5000));
    let second = kept.backup();
    assert_eq!((second.stats.seen, second.stats.unread, second.stats.changed), (5000, 5000, 0));
    kept.sql(
        "UPDATE t SET n = -n WHERE id IN (70, 30000); INSERT INTO t VALUES (25005, 1, x'00'), (99999, 2, NULL);
         DELETE FROM t WHERE id BETWEEN 40000 AND 44000; DELETE FROM t WHERE id = 10",
    );
    let third = kept.backup();
    let stats = &third.stats;
    assert_eq!((stats.new, stats.changed, stats.deleted, third.records), (2, 2, 402, 4600));
    assert!(stats.unread > 4000, "{}", stats.unread);
    kept.check();
}

#[test]
fn rows_of_pages_that_went_away_between_two_that_stand_are_deleted() {
    let kept = Kept::new(ROWS);
    kept.backup();
    // Whole leaves go; those beside them keep their bytes.
    kept.sql("DELETE FROM t WHERE id BETWEEN 20000 AND 30000");
    let second = kept.backup();
    assert_eq!((second.stats.deleted, second.records), (1001, 3999));
    assert!(second.stats.unread > 3900);
    kept.check();
}

#[test]
fn a_column_with_a_default_changes_rows_without_touching_a_page() {
    let kept = Kept::new(ROWS);
    kept.backup();
    let size = std::fs::metadata(&kept.path).unwrap().len();
    kept.sql("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'x'");
    assert_eq!(std::fs::metadata(&kept.path).unwrap().len(), size);
    let second = kept.backup();
    assert_eq!((second.stats.unread, second.stats.changed), (0, 5000));
    // What changed is as much as the base: a new one is made, for which everything is read; then all stands.
    let unread = [kept.backup().stats.unread, kept.backup().stats.unread];
    assert_eq!(unread, [0, 5000]);
    kept.check();
}

#[test]
fn a_row_that_changed_on_its_overflow_pages_alone_is_read() {
    let kept = Kept::new(ROWS);
    kept.backup();
    let db = Connection::open(&kept.path).unwrap();
    // The last bytes of a long value, found in the file.
    let value: Vec<u8> = db.query_row("SELECT v FROM t WHERE id = 3000", [], |row| row.get(0)).unwrap();
    drop(db);
    let bytes = std::fs::read(&kept.path).unwrap();
    let end = &value[value.len() - 40..];
    let at = bytes.windows(40).position(|window| window == end).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&kept.path).unwrap();
    file.write_all_at(&[end[0] ^ 1], at as u64).unwrap();
    let second = kept.backup();
    assert_eq!(second.stats.changed, 1);
    assert!(second.stats.unread > 4900);
    kept.check();
}

#[test]
fn another_table_at_the_same_place_is_read() {
    let kept = Kept::new(ROWS);
    kept.backup();
    // The same pages under another name, as a rename leaves them.
    kept.sql("ALTER TABLE t RENAME TO u");
    let second = kept.backup();
    assert_eq!((second.stats.unread, second.stats.new), (0, 5000));
    kept.check();
}

#[test]
fn notes_serve_the_snapshot_that_they_were_made_for_alone() {
    let kept = Kept::new(ROWS);
    let first = kept.backup();
    kept.sql("UPDATE t SET n = 0 WHERE id = 500");
    kept.backup();
    // Joined with the first, of which nothing is noted any more.
    let parent = ParentChoice::Id(first.id.unwrap().to_string());
    let (third, _) = kept.backup_with(&BackupOptions { parent, ..trusting() });
    assert_eq!((third.stats.unread, third.stats.changed), (0, 1));
    let (none, _) = kept.backup_with(&BackupOptions { parent: ParentChoice::None, ..trusting() });
    assert_eq!((none.stats.unread, none.stats.new), (0, 5000));
    let (base, _) = kept.backup_with(&BackupOptions { new_base: true, ..trusting() });
    assert_eq!((base.stats.unread, base.records), (0, 5000));
    kept.check();
}

#[test]
fn without_notes_and_with_damaged_ones_everything_is_read() {
    let kept = Kept::new(ROWS);
    kept.backup();
    let [notes] = kept.notes().try_into().unwrap();
    std::fs::write(&notes, b"no notes").unwrap();
    kept.sql("UPDATE t SET n = 0 WHERE id = 500");
    let second = kept.backup();
    assert_eq!((second.stats.unread, second.stats.changed), (0, 1));
    let [notes] = kept.notes().try_into().unwrap();
    std::fs::remove_file(&notes).unwrap();
    assert_eq!(kept.backup().stats.unread, 0);
    // Bits that turned over make pages be read.
    let [notes] = kept.notes().try_into().unwrap();
    let mut bytes = std::fs::read(&notes).unwrap();
    bytes[64..].iter_mut().for_each(|byte| *byte ^= 4);
    std::fs::write(&notes, bytes).unwrap();
    assert_eq!(kept.backup().stats.unread, 0);
    kept.check();
}

#[test]
fn one_in_so_many_backups_reads_everything() {
    let kept = Kept::new(ROWS);
    let every = || kept.backup_with(&BackupOptions { read_all_every: 3, ..trusting() }).0.stats.unread;
    let unread: Vec<u64> = (0..8).map(|_| every()).collect();
    assert_eq!(unread, [0, 5000, 5000, 0, 5000, 5000, 0, 5000]);
}

#[test]
fn a_dry_run_trusts_notes_and_leaves_none() {
    let kept = Kept::new(ROWS);
    kept.backup();
    let before = kept.notes();
    let (dry, _) = kept.backup_with(&BackupOptions { dry_run: true, ..trusting() });
    assert_eq!(dry.stats.unread, 5000);
    assert_eq!(kept.notes(), before);
}

#[test]
fn what_is_not_complete_leaves_no_notes() {
    let kept = Kept::new(ROWS);
    let bytes = std::fs::read(&kept.path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&kept.path).unwrap();
    // A leaf without its first bytes.
    let leaf = (2..bytes.len() / 4096).find(|page| bytes[page * 4096] == 13).unwrap();
    file.write_all_at(&[0; 8], leaf as u64 * 4096).unwrap();
    let (first, _) = kept.backup_with(&trusting());
    assert!(!first.complete);
    assert_eq!(kept.notes(), [] as [&Path; 0]);
    // Once it is mended, all of it is read.
    std::fs::write(&kept.path, bytes).unwrap();
    let (second, _) = kept.backup_with(&trusting());
    assert!(second.complete && second.stats.unread == 0 && second.records == 5000);
}

#[test]
fn notes_that_do_not_hold_are_found_out_by_a_backup_that_reads_everything() {
    let kept = Kept::new(ROWS);
    kept.backup();
    let [notes] = kept.notes().try_into().unwrap();
    kept.sql("UPDATE t SET n = 0 WHERE id IN (500, 40000); DELETE FROM t WHERE id = 20000");
    // The notes of another backup, of what is there now, in their place.
    let other = repository(&kept.room, "other");
    backup(&other, &source(&kept.path), &trusting(), &Heard::default()).unwrap();
    let folder = other.notes_folder().unwrap();
    let forged = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(forged, &notes).unwrap();
    let (second, belied) = kept.backup_with(&BackupOptions { read_all_every: 1, ..trusting() });
    assert!(belied);
    assert_eq!((second.stats.changed, second.stats.deleted, second.stats.unread), (2, 1, 0));
    kept.check();
}

#[test]
fn whatever_happens_to_a_database_trusting_backups_find_it() {
    for seed in 100..108 {
        let kept = Kept::new("");
        let mut history = History::begin(&kept.path, seed);
        for _ in 0..8 {
            history.go_on();
            kept.backup();
        }
        drop(history);
        kept.check();
    }
}
