use super::*;
use std::{collections::HashMap, fs};

const RECORDS: u64 = 20_000;

fn make(dir: &Path, name: &str, seed: u64, size: RecordSize) -> PathBuf {
    let path = dir.join(name);
    create_database(&path, &Workload { records: RECORDS, seed, size }, &mut |_| true).unwrap();
    path
}

fn digest(path: &Path) -> String {
    data_encoding::HEXLOWER.encode(&state_digest(&Connection::open(path).unwrap()).unwrap())
}

/// Each row as text, by id.
fn rows(path: &Path) -> HashMap<i64, String> {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn.prepare("SELECT * FROM records").unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let cells: Vec<String> = (0..columns).map(|i| format!("{:?}", row.get_ref(i).unwrap())).collect();
        let text = cells.join("|");
        Ok((row.get(0)?, text))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_same_seed_gives_the_same_rows_and_another_seed_others() {
    let dir = tempfile::tempdir().unwrap();
    for size in [RecordSize::Wide, RecordSize::Small] {
        let name = |n: u32| format!("{size:?}{n}");
        let one = make(dir.path(), &name(1), 7, size);
        let same = make(dir.path(), &name(2), 7, size);
        let other = make(dir.path(), &name(3), 8, size);
        assert_eq!(digest(&one), digest(&same));
        assert_ne!(digest(&one), digest(&other));
        mutate_scattered(&one, Fractions::W2, 1).unwrap();
        mutate_scattered(&same, Fractions::W2, 1).unwrap();
        assert_eq!(digest(&one), digest(&same));
    }
}

#[test]
fn records_have_the_promised_size_and_compress_about_two_and_a_half_times() {
    let dir = tempfile::tempdir().unwrap();
    let wide = fs::read(make(dir.path(), "wide", 1, RecordSize::Wide)).unwrap();
    let each = wide.len() as u64 / RECORDS;
    assert!((410..=450).contains(&each), "{each} bytes a record");
    let ratio = wide.len() as f64 / zstd::bulk::compress(&wide, 3).unwrap().len() as f64;
    assert!((2.2..=2.8).contains(&ratio), "compresses {ratio} times");
    let small = fs::metadata(make(dir.path(), "small", 1, RecordSize::Small)).unwrap().len() / RECORDS;
    assert!((50..=70).contains(&small), "{small} bytes a record");
}

#[test]
fn scattered_changes_touch_exactly_the_asked_shares() {
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "w", 1, RecordSize::Wide);
    for round in 0..3 {
        let before = rows(&path);
        let records = before.len();
        let done = mutate_scattered(&path, Fractions::W2, 100 + round).unwrap();
        let after = rows(&path);
        let changed = before.iter().filter(|(id, row)| after.get(id).is_some_and(|now| now != *row)).count();
        let deleted = before.keys().filter(|id| !after.contains_key(id)).count();
        let inserted = after.keys().filter(|id| !before.contains_key(id)).count();
        assert_eq!((changed, deleted, inserted), (records / 100, records / 1000, records / 1000));
        assert_eq!(done.touched + done.rewritten, changed as u64);
        assert!(done.touched.abs_diff(done.rewritten) <= 1);
        let same_length =
            before.iter().filter(|(id, row)| after.get(id).is_some_and(|now| now != *row && now.len() == row.len()));
        assert!(same_length.count() as u64 >= done.touched);
    }
}

#[test]
fn inserted_records_lie_between_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "w", 1, RecordSize::Small);
    mutate_scattered(&path, Fractions::W2, 5).unwrap();
    let between = rows(&path).keys().filter(|id| *id % ID_STEP != 0).count();
    assert_eq!(between as u64, RECORDS / 1000);
}

#[test]
fn contiguous_changes_form_the_asked_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "w", 1, RecordSize::Wide);
    let before = rows(&path);
    mutate_contiguous(&path, 50_000, W3_RUNS, 3).unwrap();
    let after = rows(&path);
    assert_eq!(before.len(), after.len());
    let mut changed: Vec<i64> = before.iter().filter(|(id, row)| &after[id] != *row).map(|(id, _)| *id).collect();
    changed.sort_unstable();
    assert_eq!(changed.len() as u64, RECORDS / 20);
    let breaks = changed.windows(2).filter(|pair| pair[1] - pair[0] != ID_STEP).count() as u64;
    assert!((W3_RUNS - 5..W3_RUNS).contains(&breaks), "{breaks} breaks");
}

#[test]
fn asking_for_more_than_there_is_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "w", 1, RecordSize::Small);
    let before = digest(&path);
    let all = Fractions { changed_ppm: 900_000, deleted_ppm: 200_000, inserted_ppm: 0 };
    assert!(matches!(mutate_scattered(&path, all, 1), Err(WorkloadError::TooMany { .. })));
    assert!(matches!(mutate_contiguous(&path, 1_100_000, 10, 1), Err(WorkloadError::TooMany { .. })));
    assert_eq!(digest(&path), before);
}

#[test]
fn an_existing_file_is_not_overwritten_and_a_foreign_one_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "w", 1, RecordSize::Small);
    let again = create_database(&path, &Workload { records: 1, seed: 1, size: RecordSize::Small }, &mut |_| true);
    assert!(matches!(again, Err(WorkloadError::Io { .. })));
    let foreign = dir.path().join("foreign");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    assert!(matches!(mutate_scattered(&foreign, Fractions::W2, 1), Err(WorkloadError::NoWorkload { .. })));
}

#[test]
fn stopping_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    let stopped =
        create_database(&path, &Workload { records: 100_000, seed: 1, size: RecordSize::Small }, &mut |_| false);
    assert!(matches!(stopped, Err(WorkloadError::Stopped)));
    assert!(Connection::open(&path).unwrap().prepare("SELECT * FROM records").is_err());
}

#[test]
fn the_digest_sees_types_and_single_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "w", 1, RecordSize::Wide);
    let before = digest(&path);
    let conn = Connection::open(&path).unwrap();
    conn.execute("UPDATE records SET note = x'' WHERE note IS NULL AND id < 100", []).unwrap();
    let typed = digest(&path);
    conn.execute("UPDATE records SET score = score + 0.01 WHERE id = 8", []).unwrap();
    assert_ne!(before, typed);
    assert_ne!(typed, digest(&path));
}

#[test]
fn a_tree_has_the_asked_files_of_ten_kibibytes_and_is_the_same_again() {
    let dir = tempfile::tempdir().unwrap();
    let stats = create_tree(&dir.path().join("a"), 1_000, 3).unwrap();
    assert_eq!(stats.files, 1_000);
    assert!((8_500..=12_000).contains(&(stats.bytes / stats.files)), "{} bytes a file", stats.bytes / stats.files);
    assert_eq!(create_tree(&dir.path().join("b"), 1_000, 3).unwrap(), stats);
    assert!(create_tree(&dir.path().join("a"), 1, 3).is_err());
    let mut left = vec![dir.path().join("a")];
    let (mut files, mut bytes) = (0, 0);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
                continue;
            }
            let twin = dir.path().join("b").join(entry.path().strip_prefix(dir.path().join("a")).unwrap());
            assert_eq!(fs::read(entry.path()).unwrap(), fs::read(twin).unwrap());
            files += 1;
            bytes += entry.metadata().unwrap().len();
        }
    }
    assert_eq!((files, bytes), (stats.files, stats.bytes));
}
