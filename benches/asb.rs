//! A file of Aerospike's backup tools, made, read, imported and written again, beside a database of `SQLite` that holds the same
//! records under the same keys.
//!
//! `cargo bench --bench asb -- --records 1000000 --workdir DIR`: about 300 MB of records such as `asbackup` writes. The file stays
//! where `--keep 1` says so, for other tools.

mod common;

use common::{Cost, Flags, Outcome, measure, median, remove, thread_cpu_seconds, workdir};
use rekeep::connector::asb::codec::{AsbReader, Form, Item, Record, RecordParts, put_header, put_record};
use rusqlite::{Connection, params};
use std::{
    ffi::OsStr,
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::Path,
};

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "workdir", "rekeep", "keep", "runs", "sqlite"])?;
    let (dir, _guard) = workdir(&flags)?;
    let records: u64 = flags.number("records", 1_000_000)?;
    let runs: usize = flags.number("runs", 3)?;
    let rekeep = flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned();
    let (file, database) = (dir.join("bench_00000.asb"), dir.join("bench.db"));
    remove(&database)?;
    let with_sqlite = flags.number("sqlite", 1u8)? != 0;
    write(&file, with_sqlite.then_some(&*database), records)?;
    let bytes = std::fs::metadata(&file)?.len() as f64;
    let mut rates = Vec::new();
    for _ in 0..runs {
        let began = thread_cpu_seconds();
        let read = parse(&file)?;
        rates.push(bytes / 1e6 / (thread_cpu_seconds() - began));
        if read != records {
            return Err(format!("{read} records were read of {records}").into());
        }
    }
    println!(
        "\n{records} records, {:.0} MB; parsed by one thread at {:.0} MB a CPU second\n",
        bytes / 1e6,
        median(rates)
    );
    println!("| | wall, s | CPU, s | peak memory, MiB |\n|---|---:|---:|---:|");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (files, out, made) = (format!("asb:{}", text(&file)), dir.join("asb-out"), dir.join("asb-made.db"));
    let (table, to_files) = (format!("sqlite:{}", text(&database)), format!("asb:{}", text(&out)));
    let to_table = format!("sqlite:{}", text(&made));
    let mut phases: Vec<(&str, &str, Vec<&str>)> = vec![
        ("password and an empty listing", "asb", vec!["snapshots"]),
        ("first backup of the file", "asb", vec!["backup", &files]),
        ("export of it", "asb", vec!["restore", "latest", &to_files]),
    ];
    if with_sqlite {
        phases.push(("first backup of the same in SQLite", "sqlite", vec!["backup", &table]));
        phases.push(("restore of that into a new database", "sqlite", vec!["restore", "latest", &to_table]));
    }
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); phases.len()];
    for _ in 0..runs {
        for name in ["asb-repo", "asb-cache", "sqlite-repo", "sqlite-cache", "asb-out", "asb-made.db"] {
            remove(&dir.join(name))?;
        }
        let run = |of: &str, words: &[&str]| {
            let env = [
                ("REKEEP_REPOSITORY".to_owned(), text(&dir.join(format!("{of}-repo")))),
                ("REKEEP_CACHE_DIR".to_owned(), text(&dir.join(format!("{of}-cache")))),
                ("REKEEP_PASSWORD".to_owned(), "benchmark".to_owned()),
            ];
            let words: Vec<&OsStr> = ["--quiet"].iter().chain(words).map(OsStr::new).collect();
            measure(rekeep.as_ref(), &words, &env, None)
        };
        run("asb", &["init"])?;
        if with_sqlite {
            run("sqlite", &["init"])?;
        }
        for ((_, of, words), costs) in phases.iter().zip(&mut costs) {
            costs.push(run(of, words)?);
        }
    }
    let middle = |costs: &[Cost], of: fn(&Cost) -> f64| median(costs.iter().map(of).collect());
    for ((what, _, _), costs) in phases.iter().zip(&costs) {
        let (wall, cpu) = (middle(costs, |it| it.wall_seconds), middle(costs, |it| it.cpu_seconds));
        println!("| {what} | {wall:.2} | {cpu:.2} | {:.0} |", middle(costs, |it| it.peak_mib));
    }
    for name in ["asb-repo", "asb-cache", "sqlite-repo", "sqlite-cache", "asb-out", "asb-made.db", "bench.db"] {
        remove(&dir.join(name))?;
    }
    if flags.number("keep", 0u8)? == 0 {
        remove(&file)?;
    }
    Ok(())
}

/// The bytes of a generator that gives the same in every run.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Records of four bins: a number, a float, a text of words and some bytes.
fn write(path: &Path, database: Option<&Path>, records: u64) -> Outcome<()> {
    let database = database.map(Connection::open).transpose()?;
    if let Some(database) = &database {
        database.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;
             CREATE TABLE customers (
                 digest BLOB PRIMARY KEY, generation INTEGER, balance REAL, id INTEGER, name TEXT, token BLOB) WITHOUT ROWID;
             BEGIN",
        )?;
    }
    let insert = "INSERT INTO customers VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut insert = database.as_ref().map(|it| it.prepare(insert)).transpose()?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (form, mut text, mut random) = (Form::default(), Vec::new(), Bytes(0x9E37_79B9_7F4A_7C15));
    let lost = |loss| format!("a record of the bench cannot be written: {loss:?}");
    put_header(&mut text, b"bench", true, form).map_err(lost)?;
    for number in 0..records {
        let mut digest = [0; 20];
        digest.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]));
        let words = format!("customer {} of street {}", number % 50_000, random.next() % 1_000);
        let blob: Vec<u8> = (0..8).flat_map(|_| random.next().to_le_bytes()).collect();
        let (int, float) = ((number as i64).to_be_bytes(), (number as f64 / 7.0).to_be_bytes());
        if let Some(insert) = &mut insert {
            let (balance, id) = (number as f64 / 7.0, number.cast_signed());
            insert.execute(params![digest, 1 + id % 7, balance, id, words, blob])?;
        }
        let bins: [(&[u8], u8, &[u8]); 4] =
            [(b"balance", 2, &float), (b"id", 1, &int), (b"name", 3, words.as_bytes()), (b"token", 4, &blob)];
        let parts = RecordParts {
            namespace: b"bench",
            set: b"customers",
            user_key: None,
            digest: &digest,
            generation: 1 + (number % 7) as u32,
            void_time: 0,
        };
        put_record(&mut text, &parts, bins.into_iter(), form).map_err(lost)?;
        if text.len() > 1 << 20 {
            out.write_all(&text)?;
            text.clear();
        }
    }
    out.write_all(&text)?;
    out.flush()?;
    drop(insert);
    Ok(database.map_or(Ok(()), |it| it.execute_batch("COMMIT"))?)
}

fn parse(path: &Path) -> Outcome<u64> {
    let mut reader = AsbReader::new(BufReader::with_capacity(1 << 20, File::open(path)?))?;
    let (mut record, mut count) = (Record::default(), 0);
    while let Some(item) = reader.next(&mut record)? {
        count += u64::from(matches!(item, Item::Record));
    }
    Ok(count)
}
