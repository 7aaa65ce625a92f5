//! What the parts of a backup and of a restore cost on this machine, and how near the whole comes to their sum.
//!
//! `cargo bench --bench bound -- --scale 1 --runs 3 --level 1 --workdir DIR`
//!
//! The parts run over the real records of W1, the parts behind the block builder over its real chunks. CPU seconds are
//! those of the thread that does the work. See `benches/README.md`.

mod common;
mod parts;

use common::workload::W1_RECORDS;
use common::{Flags, Outcome, make_state, measure, median, remove, thread_cpu_seconds, workdir};
use parts::{Spent, build_all, read_all};
use rekeep::connector::{SessionOptions, Source, SourceSession, SourceUrl, sqlite::SqliteSource};
use rusqlite::{
    Connection, OpenFlags, ToSql,
    types::{ToSqlOutput, ValueRef},
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

const GIB: f64 = 1_073_741_824.0;
const CORES: f64 = 2.0;

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["scale", "records", "runs", "level", "workdir", "rekeep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let records = (flags.number("records", W1_RECORDS)? as f64 * flags.number("scale", 1.0)?) as u64;
    let level = flags.number("level", 1)?;
    let runs: usize = flags.number("runs", 3)?;
    let rekeep = flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned();
    let (first, second) = (make_state(&dir, 1, records)?, make_state(&dir, 2, records)?);
    let gib = fs::metadata(&first)?.len() as f64 / GIB;
    warm(&first)?;
    let parts = parts_of_a_backup(&first, level, gib)?;
    let whole = Whole { dir: &dir, rekeep: &rekeep, level };
    let (mut backups, mut restores, mut loops, mut reads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        eprintln!("run {}", run + 1);
        let (backup, restore) = whole.run(&first, &second)?;
        backups.push(backup);
        restores.push(restore);
        let copy = dir.join("bound-copy.db");
        remove(&copy)?;
        loops.push(insert_loop(&second, &copy)?.wall);
        remove(&copy)?;
        reads.push(scan(&second, None)?.wall);
    }
    let (backup, restore) = (median(backups), median(restores));
    println!("\n| the whole | s | ratio to its bound |\n|---|---:|---:|");
    println!("| bound of a first backup on {CORES} cores | {parts:.2} | |");
    println!("| first backup of W1, without password derivation | {backup:.2} | {:.2} |", backup / parts);
    let (bare, read) = (median(loops), median(reads));
    println!("| bare loop: read W2 and insert it into a new database | {bare:.2} | |");
    println!("| of that, reading alone | {read:.2} | |");
    println!("| restore of W2, without password derivation | {restore:.2} | {:.2} |", restore / bare);
    Ok(())
}

/// Reads the file once, so that every part finds it cached.
fn warm(path: &Path) -> Outcome<()> {
    std::io::copy(&mut fs::File::open(path)?, &mut std::io::sink())?;
    Ok(())
}

fn open(path: &Path) -> Outcome<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    Ok(connection)
}

/// Visits every cell between two ids (all without), as a connector must.
fn scan(path: &Path, ids: Option<(i64, i64)>) -> Outcome<Spent> {
    let (start, cpu) = (Instant::now(), thread_cpu_seconds());
    let connection = open(path)?;
    let mut statement = connection.prepare("SELECT * FROM records WHERE id >= ?1 AND id <= ?2 ORDER BY id")?;
    let columns = statement.column_count();
    let mut rows = statement.query(ids.unwrap_or((i64::MIN, i64::MAX)))?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            bytes += match row.get_ref(column)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
                ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Null => 8,
            };
        }
    }
    std::hint::black_box(bytes);
    Ok(Spent { wall: start.elapsed().as_secs_f64(), cpu: thread_cpu_seconds() - cpu })
}

/// Two readers, each on its half of the ids.
fn scan_by_two(path: &Path) -> Outcome<Spent> {
    let middle: i64 = open(path)?.query_row("SELECT max(id) / 2 FROM records", [], |row| row.get(0))?;
    let start = Instant::now();
    let cpu: Result<f64, String> = std::thread::scope(|scope| {
        let half = |ids| scope.spawn(move || scan(path, Some(ids)).map(|spent| spent.cpu).map_err(|e| e.to_string()));
        let halves = [half((i64::MIN, middle)), half((middle + 1, i64::MAX))];
        halves.into_iter().map(|half| half.join().unwrap_or_else(|_| Err("a reader panicked".into()))).sum()
    });
    Ok(Spent { wall: start.elapsed().as_secs_f64(), cpu: cpu? })
}

/// Prints what each part costs and gives the bound: the parts' CPU seconds over all cores.
fn parts_of_a_backup(path: &Path, level: i32, gib: f64) -> Outcome<f64> {
    let (one, two) = (scan(path, None)?, scan_by_two(path)?);
    let session = begin(path)?;
    let (delivered, keys) = read_all(session.as_ref())?;
    let (joined, chunks) = build_all(session.as_ref(), level)?;
    let building = joined.cpu - delivered.cpu - keys.total() - chunks.total();
    let lines = [
        ("SQLite scan, every cell", two.cpu, true),
        ("fingerprint (HighwayHash)", keys.fingerprint, true),
        ("cut hash (keyed BLAKE3 of keys)", keys.cut, true),
        ("collection sum (keyed BLAKE3 of key rows)", keys.sum, true),
        ("chunk ids (keyed BLAKE3)", chunks.id, true),
        ("compression of the runs that shrink", chunks.compress, true),
        ("decode check", chunks.decode, true),
        ("seal (ChaCha20-Poly1305)", chunks.seal, true),
        ("pack names (BLAKE3 of stored bytes)", chunks.name, true),
        ("records made canonical (rekeep's connector less the scan)", delivered.cpu - one.cpu, false),
        ("join, columns, lists (rekeep's rest)", building, false),
    ];
    println!("The database has {gib:.3} GiB; zstd level {level}.\n");
    println!("| part | CPU s | CPU s/GiB | in the bound |\n|---|---:|---:|---|");
    for (name, cpu, counts) in lines {
        println!("| {name} | {cpu:.2} | {:.2} | {} |", cpu / gib, if counts { "yes" } else { "no" });
    }
    let bound = lines.iter().filter(|line| line.2).map(|line| line.1).sum::<f64>();
    println!("| **sum of the bound's parts** | {bound:.2} | {:.2} | |", bound / gib);
    println!("\nScan alone: {:.2} s with one reader, {:.2} s with two.", one.wall, two.wall);
    println!(
        "Plaintext chunks {:.1} MiB in {} blocks' chunks, stored {:.1} MiB.",
        chunks.plain_bytes as f64 / 1_048_576.0,
        chunks.chunks,
        chunks.stored_bytes as f64 / 1_048_576.0
    );
    Ok(bound / CORES)
}

fn begin(path: &Path) -> Outcome<Box<dyn SourceSession>> {
    let source = SqliteSource::new(&SourceUrl::parse(&format!("sqlite:{}", path.display()))?)?;
    Ok(source.begin(&SessionOptions { parallel: 1, ..SessionOptions::default() })?)
}

/// Reads every row of `from` and inserts it into the new database `to`, as a restore without any repository would.
fn insert_loop(from: &Path, to: &Path) -> Outcome<Spent> {
    let (start, cpu) = (Instant::now(), thread_cpu_seconds());
    let source = open(from)?;
    let mut target = Connection::open(to)?;
    for (pragma, value) in [("journal_mode", "MEMORY"), ("synchronous", "OFF"), ("locking_mode", "EXCLUSIVE")] {
        target.pragma_update(None, pragma, value)?;
    }
    target.pragma_update(None, "cache_size", -32_768)?;
    let sql: String = source.query_row("SELECT sql FROM sqlite_schema WHERE name = 'records'", [], |row| row.get(0))?;
    let transaction = target.transaction()?;
    transaction.execute_batch(&sql)?;
    let mut select = source.prepare("SELECT * FROM records ORDER BY id")?;
    let columns = select.column_count();
    let parameters: Vec<String> = (1..=columns).map(|column| format!("?{column}")).collect();
    {
        let mut insert = transaction.prepare(&format!("INSERT INTO records VALUES({})", parameters.join(",")))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                insert.raw_bind_parameter(column + 1, Cell(row.get_ref(column)?))?;
            }
            insert.raw_execute()?;
        }
    }
    transaction.commit()?;
    drop(target);
    fs::File::open(to)?.sync_all()?;
    Ok(Spent { wall: start.elapsed().as_secs_f64(), cpu: thread_cpu_seconds() - cpu })
}

/// A cell on its way from one database to the other.
struct Cell<'a>(ValueRef<'a>);

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// The command as a whole.
struct Whole<'a> {
    dir: &'a Path,
    rekeep: &'a str,
    level: i32,
}

impl Whole<'_> {
    fn wall(&self, words: &[&str]) -> Outcome<f64> {
        let (repo, cache) = (self.dir.join("bound-repo"), self.dir.join("bound-cache"));
        let env = [
            ("REKEEP_REPOSITORY", repo.to_string_lossy()),
            ("REKEEP_CACHE_DIR", cache.to_string_lossy()),
            ("REKEEP_PASSWORD", "benchmark".into()),
        ];
        let env: Vec<_> = env.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        Ok(measure(self.rekeep.as_ref(), &words, &env, None)?.wall_seconds)
    }

    /// Seconds of a first backup of W1 and of a restore of W2, less those of listing an empty repository.
    fn run(&self, first: &Path, second: &Path) -> Outcome<(f64, f64)> {
        let clear = || -> Outcome<()> {
            remove(&self.dir.join("bound-repo"))?;
            remove(&self.dir.join("bound-cache"))
        };
        clear()?;
        let (data, out): (PathBuf, PathBuf) = (self.dir.join("bound.db"), self.dir.join("bound-out.db"));
        remove(&out)?;
        fs::copy(first, &data)?;
        self.wall(&["init"])?;
        let derivation = self.wall(&["snapshots"])?;
        let (url, out_url, level) =
            (format!("sqlite:{}", data.display()), format!("sqlite:{}", out.display()), self.level.to_string());
        let backup = self.wall(&["backup", &url, "--compression", &level])? - derivation;
        fs::copy(second, &data)?;
        self.wall(&["backup", &url, "--compression", &level])?;
        let restore = self.wall(&["restore", "latest", &out_url])? - derivation;
        clear()?;
        remove(&data)?;
        remove(&out)?;
        Ok((backup, restore))
    }
}
