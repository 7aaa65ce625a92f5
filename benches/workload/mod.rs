//! Seeded data for demonstrations and benchmarks: a SQLite database of records, changes to it, and a tree of files.
//!
//! A record's content depends on the seed, its id and a version alone, so the same arguments give the same data on every
//! platform. Ids are multiples of eight: what is inserted later lands between older records.

mod tree;
mod words;

pub use tree::{TreeStats, create_tree};

use rusqlite::{Connection, OpenFlags, params, types::ValueRef};
use std::{
    fmt::Write as _,
    fs::File,
    path::{Path, PathBuf},
};
use thiserror::Error;
use words::{Random, Vocabulary};

/// The distance between the ids of neighbouring records.
pub const ID_STEP: i64 = 8;
/// The records of W1: about 2 GiB.
pub const W1_RECORDS: u64 = 5_000_000;
/// The files of W4: about 300 MiB.
pub const W4_FILES: u64 = 30_000;
/// The contiguous runs that W3 changes.
pub const W3_RUNS: u64 = 50;
const PROGRESS_RECORDS: u64 = 65_536;

/// Why a workload could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// A file or directory could not be made.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The database refused.
    #[error("the workload's database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The database was not made by [`create_database`].
    #[error("{} holds no workload (user_version {version})", path.display())]
    NoWorkload {
        /// Which database.
        path: PathBuf,
        /// What it has in place of a known version.
        version: i64,
    },
    /// More is to be changed than there is.
    #[error("cannot touch {asked} of {records} records")]
    TooMany {
        /// Records to be changed, deleted or inserted beside.
        asked: u64,
        /// Records there are.
        records: u64,
    },
    /// The progress function asked to stop; nothing of the step was kept.
    #[error("stopped")]
    Stopped,
}

/// How large the records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSize {
    /// About 430 bytes in eleven columns of mixed kinds.
    Wide,
    /// About 60 bytes in four columns.
    Small,
}

/// A database to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// How many records.
    pub records: u64,
    /// What their content depends on.
    pub seed: u64,
    /// How large they are.
    pub size: RecordSize,
}

/// What share of the records [`mutate_scattered`] touches, in records of a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "the unit")]
pub struct Fractions {
    /// Half touched at equal length (a counter or a time), half written anew.
    pub changed_ppm: u64,
    /// Deleted.
    pub deleted_ppm: u64,
    /// Inserted between others.
    pub inserted_ppm: u64,
}

impl Fractions {
    /// W2: 1 % changed, 0.1 % deleted, 0.1 % inserted.
    pub const W2: Self = Self { changed_ppm: 10_000, deleted_ppm: 1_000, inserted_ppm: 1_000 };
}

/// What a mutation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mutated {
    /// Records changed at equal length.
    pub touched: u64,
    /// Records written anew.
    pub rewritten: u64,
    /// Records deleted.
    pub deleted: u64,
    /// Records inserted.
    pub inserted: u64,
}

/// Called now and then with the records done so far; `false` stops.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Creates a new database with the table `records`.
///
/// # Errors
/// [`WorkloadError`] if the file exists or cannot be written, or `progress` stops.
pub fn create_database(path: &Path, workload: &Workload, progress: Progress<'_>) -> Result<(), WorkloadError> {
    File::create_new(path).map_err(|cause| WorkloadError::Io { path: path.to_owned(), cause })?;
    let mut conn = open(path)?;
    conn.pragma_update(None, "user_version", version_of(workload.size))?;
    let transaction = conn.transaction()?;
    transaction.execute_batch(match workload.size {
        RecordSize::Wide => {
            "CREATE TABLE records(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, city TEXT NOT NULL, \
             score REAL NOT NULL, visits INTEGER NOT NULL, profile TEXT NOT NULL, words TEXT NOT NULL, token BLOB NOT NULL, \
             created INTEGER NOT NULL, updated TEXT NOT NULL, note TEXT)"
        }
        RecordSize::Small => {
            "CREATE TABLE records(id INTEGER PRIMARY KEY, name TEXT NOT NULL, visits INTEGER NOT NULL, score REAL NOT NULL, \
             updated TEXT NOT NULL)"
        }
    })?;
    let mut maker = Maker::new(workload.seed, workload.size);
    for number in 0..workload.records {
        maker.insert(&transaction, number as i64 * ID_STEP + ID_STEP, 0)?;
        if (number + 1) % PROGRESS_RECORDS == 0 && !progress(number + 1) {
            return Err(WorkloadError::Stopped);
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Changes, deletes and inserts exactly the given shares of the records, at places spread evenly at random.
///
/// # Errors
/// [`WorkloadError`] if the database holds no workload, or the shares exceed it.
pub fn mutate_scattered(path: &Path, fractions: Fractions, seed: u64) -> Result<Mutated, WorkloadError> {
    let mut conn = open(path)?;
    let size = size_of(&conn, path)?;
    let records = count(&conn)?;
    let share = |ppm: u64| (u128::from(records) * u128::from(ppm) / 1_000_000) as u64;
    let mut left = [share(fractions.changed_ppm), share(fractions.deleted_ppm), share(fractions.inserted_ppm)];
    let asked = left.iter().sum();
    if asked > records {
        return Err(WorkloadError::TooMany { asked, records });
    }
    let mut random = Random::new(seed, 0x0073_6361_7474_6572, 0);
    let picks = pick_scattered(&conn, records, &mut left, &mut random)?;
    let mut maker = Maker::new(seed, size);
    let mut done = Mutated::default();
    let transaction = conn.transaction()?;
    for (id, what) in picks {
        match what {
            0 => maker.change(&transaction, id, seed | 1, &mut done)?,
            1 => {
                transaction.prepare_cached("DELETE FROM records WHERE id = ?1")?.execute([id])?;
                done.deleted += 1;
            }
            _ => {
                let free = free_id(&transaction, id)?;
                maker.insert(&transaction, free, seed | 1)?;
                done.inserted += 1;
            }
        }
    }
    transaction.commit()?;
    Ok(done)
}

/// Changes `changed_ppm` of the records in `runs` contiguous runs of equal length, one in each of `runs` equal parts.
///
/// # Errors
/// [`WorkloadError`] if the database holds no workload, or more than all is asked.
pub fn mutate_contiguous(path: &Path, changed_ppm: u64, runs: u64, seed: u64) -> Result<Mutated, WorkloadError> {
    let mut conn = open(path)?;
    let size = size_of(&conn, path)?;
    let records = count(&conn)?;
    let runs = runs.max(1);
    let length = (u128::from(records) * u128::from(changed_ppm) / 1_000_000 / u128::from(runs)) as u64;
    let part = records / runs;
    if length > part {
        return Err(WorkloadError::TooMany { asked: length.saturating_mul(runs), records });
    }
    let mut random = Random::new(seed, 0x0000_7275_6e73, 0);
    let starts: Vec<u64> = (0..runs).map(|run| run * part + random.below(part - length + 1)).collect();
    let mut ids = Vec::new();
    {
        let mut statement = conn.prepare("SELECT id FROM records ORDER BY id")?;
        let mut rows = statement.query([])?;
        let (mut place, mut run) = (0, 0);
        while let Some(row) = rows.next()? {
            while run < starts.len() && place >= starts[run] + length {
                run += 1;
            }
            if run < starts.len() && place >= starts[run] {
                ids.push(row.get(0)?);
            }
            place += 1;
        }
    }
    let mut maker = Maker::new(seed, size);
    let mut done = Mutated::default();
    let transaction = conn.transaction()?;
    for id in ids {
        maker.change(&transaction, id, seed | 1, &mut done)?;
    }
    transaction.commit()?;
    Ok(done)
}

/// A digest over all rows of `records` in the order of their ids: every column's type and exact bytes, and the count.
///
/// # Errors
/// [`WorkloadError::Sqlite`] if the table cannot be read.
pub fn state_digest(conn: &Connection) -> Result<[u8; 32], WorkloadError> {
    let mut statement = conn.prepare("SELECT * FROM records ORDER BY id")?;
    let columns = statement.column_count();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = Vec::new();
    let mut records = 0u64;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            let (tag, bytes) = match row.get_ref(column)? {
                ValueRef::Null => (0, &[][..]),
                ValueRef::Integer(value) => (1, &value.to_le_bytes()[..]),
                ValueRef::Real(value) => (2, &value.to_bits().to_le_bytes()[..]),
                ValueRef::Text(text) => (3, text),
                ValueRef::Blob(blob) => (4, blob),
            };
            buffer.push(tag);
            buffer.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            buffer.extend_from_slice(bytes);
        }
        records += 1;
        if buffer.len() >= 128 * 1024 {
            hasher.update(&buffer);
            buffer.clear();
        }
    }
    hasher.update(&buffer);
    hasher.update(&records.to_le_bytes());
    Ok(*hasher.finalize().as_bytes())
}

/// Draws without replacement while passing over the ids once: Knuth's selection sampling with three kinds of pick.
fn pick_scattered(
    conn: &Connection,
    records: u64,
    left: &mut [u64; 3],
    random: &mut Random,
) -> Result<Vec<(i64, usize)>, WorkloadError> {
    let mut picks = Vec::new();
    let mut statement = conn.prepare("SELECT id FROM records ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut remaining = records;
    while let Some(row) = rows.next()? {
        let mut draw = random.below(remaining);
        for (what, left) in left.iter_mut().enumerate() {
            if draw < *left {
                *left -= 1;
                picks.push((row.get(0)?, what));
                break;
            }
            draw -= *left;
        }
        remaining = remaining.saturating_sub(1);
    }
    Ok(picks)
}

/// The first unused id after `id`: in the gap behind it unless earlier inserts have filled that.
fn free_id(conn: &Connection, id: i64) -> Result<i64, WorkloadError> {
    let mut taken = conn.prepare_cached("SELECT id FROM records WHERE id > ?1 ORDER BY id")?;
    let mut rows = taken.query([id])?;
    let mut free = id + 1;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(0)? != free {
            break;
        }
        free += 1;
    }
    Ok(free)
}

/// Opens an existing database for bulk changes: what a power cut does to test data is of no interest.
fn open(path: &Path) -> Result<Connection, WorkloadError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    conn.pragma_update(None, "cache_size", -32_768)?;
    Ok(conn)
}

const fn version_of(size: RecordSize) -> i64 {
    match size {
        RecordSize::Wide => 1,
        RecordSize::Small => 2,
    }
}

fn size_of(conn: &Connection, path: &Path) -> Result<RecordSize, WorkloadError> {
    match conn.pragma_query_value(None, "user_version", |row| row.get(0))? {
        1 => Ok(RecordSize::Wide),
        2 => Ok(RecordSize::Small),
        version => Err(WorkloadError::NoWorkload { path: path.to_owned(), version }),
    }
}

fn count(conn: &Connection) -> Result<u64, WorkloadError> {
    Ok(conn.query_row("SELECT count(*) FROM records", [], |row| row.get::<_, i64>(0))? as u64)
}

/// Makes records, with buffers that are used again.
struct Maker {
    seed: u64,
    size: RecordSize,
    vocabulary: Vocabulary,
    name: String,
    email: String,
    profile: String,
    words: String,
    updated: String,
    note: String,
}

impl Maker {
    fn new(seed: u64, size: RecordSize) -> Self {
        let text = String::new;
        Self {
            seed,
            size,
            vocabulary: Vocabulary::new(),
            name: text(),
            email: text(),
            profile: text(),
            words: text(),
            updated: text(),
            note: text(),
        }
    }

    fn insert(&mut self, conn: &Connection, id: i64, version: u64) -> Result<(), WorkloadError> {
        let mut random = Random::new(self.seed, id as u64, version);
        match self.size {
            RecordSize::Wide => self.insert_wide(conn, id, &mut random),
            RecordSize::Small => self.insert_small(conn, id, &mut random),
        }
    }

    fn insert_wide(&mut self, conn: &Connection, id: i64, random: &mut Random) -> Result<(), WorkloadError> {
        let vocabulary = &self.vocabulary;
        let (first, last) = (vocabulary.pick(random), vocabulary.pick(random));
        refill(&mut self.name, format_args!("{first} {last}"));
        refill(
            &mut self.email,
            format_args!("{first}.{last}{}@{}.example", random.below(10_000), vocabulary.pick_of(40, random)),
        );
        let city = vocabulary.pick_of(500, random);
        let score = random.below(1_000_000) as f64 / 100.0;
        let visits = visits(random);
        refill(
            &mut self.profile,
            format_args!(
                "{{\"plan\":\"{}\",\"active\":{},\"logins\":{},\"tags\":[\"{}\",\"{}\"],\"ref\":\"{:08x}\"}}",
                ["free", "basic", "team", "enterprise"][random.below(4) as usize],
                random.chance(3, 4),
                random.below(5_000),
                vocabulary.pick_of(200, random),
                vocabulary.pick_of(200, random),
                random.next() as u32,
            ),
        );
        self.words.clear();
        vocabulary.prose(112 + random.below(100) as usize, random, &mut self.words);
        let mut token = [0; 16];
        random.fill(&mut token);
        let created = 1_577_836_800_000 + random.below(150_000_000_000) as i64;
        write_time(&mut self.updated, random);
        let note = random.chance(1, 3).then(|| {
            self.note.clear();
            vocabulary.prose(40, random, &mut self.note);
            self.note.as_str()
        });
        conn.prepare_cached("INSERT INTO records VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)")?.execute(params![
            id,
            self.name,
            self.email,
            city,
            score,
            visits,
            self.profile,
            self.words,
            token,
            created,
            self.updated,
            note
        ])?;
        Ok(())
    }

    fn insert_small(&mut self, conn: &Connection, id: i64, random: &mut Random) -> Result<(), WorkloadError> {
        let (first, last) = (self.vocabulary.pick(random), self.vocabulary.pick(random));
        refill(&mut self.name, format_args!("{first} {last}"));
        let visits = visits(random);
        let score = random.below(1_000_000) as f64 / 100.0;
        write_time(&mut self.updated, random);
        conn.prepare_cached("INSERT INTO records VALUES(?1,?2,?3,?4,?5)")?.execute(params![
            id,
            self.name,
            visits,
            score,
            self.updated
        ])?;
        Ok(())
    }

    /// Writes the record anew, or touches its counter or its time at equal length; always leaves a different record.
    fn change(&mut self, conn: &Connection, id: i64, version: u64, done: &mut Mutated) -> Result<(), WorkloadError> {
        let mut random = Random::new(self.seed, id as u64, !version);
        if (done.touched + done.rewritten) % 2 == 1 {
            conn.prepare_cached("DELETE FROM records WHERE id = ?1")?.execute([id])?;
            self.insert(conn, id, version)?;
            done.rewritten += 1;
            return Ok(());
        }
        if random.chance(1, 2) {
            conn.prepare_cached(
                "UPDATE records SET visits = 1000000 + (visits - 1000000 + 1 + ?2) % 7000000 WHERE id = ?1",
            )?
            .execute([id, random.below(1_000) as i64])?;
        } else {
            let before: String =
                conn.prepare_cached("SELECT updated FROM records WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
            self.updated.clone_from(&before);
            while self.updated == before {
                write_time(&mut self.updated, &mut random);
            }
            conn.prepare_cached("UPDATE records SET updated = ?2 WHERE id = ?1")?.execute(params![id, self.updated])?;
        }
        done.touched += 1;
        Ok(())
    }
}

/// A counter that always takes seven digits and three bytes in SQLite's format.
fn visits(random: &mut Random) -> i64 {
    1_000_000 + random.below(7_000_000) as i64
}

fn write_time(out: &mut String, random: &mut Random) {
    let (year, month, day) = (2024 + random.below(2), 1 + random.below(12), 1 + random.below(28));
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
    refill(out, format_args!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"));
}

fn refill(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.clear();
    out.write_fmt(text).expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests;
