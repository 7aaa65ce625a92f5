//! A file of Aerospike's backup tools, made and read.
//!
//! `cargo bench --bench asb -- --records 1000000 --workdir DIR`: about 300 MB of records such as `asbackup` writes, what parsing them
//! costs, and what an import of them costs. The file stays where `--keep 1` says so, for other tools.

mod common;

use common::{Flags, Outcome, measure, remove, workdir};
use rekeep::connector::asb::codec::{AsbReader, Form, Item, Record, RecordParts, put_header, put_record};
use std::{
    ffi::OsStr,
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::Path,
    time::Instant,
};

const MIB: f64 = 1024.0 * 1024.0;

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "workdir", "rekeep", "keep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let records: u64 = flags.number("records", 1_000_000)?;
    let rekeep = flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned();
    let file = dir.join("bench_00000.asb");
    write(&file, records)?;
    let bytes = std::fs::metadata(&file)?.len() as f64 / MIB;
    let began = Instant::now();
    let read = parse(&file)?;
    let seconds = began.elapsed().as_secs_f64();
    if read != records {
        return Err(format!("{read} records were read of {records}").into());
    }
    println!("\n| | |\n|---|---:|\n| records | {records} |\n| file, MiB | {bytes:.0} |");
    println!("| parsed, MiB a second | {:.0} |", bytes / seconds);
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let env = [
        ("REKEEP_REPOSITORY".to_owned(), path("asb-repo")),
        ("REKEEP_CACHE_DIR".to_owned(), path("asb-cache")),
        ("REKEEP_PASSWORD".to_owned(), "benchmark".to_owned()),
    ];
    let url = format!("asb:{}", file.to_string_lossy());
    for words in [&["--quiet", "init"][..], &["--quiet", "backup", &url]] {
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let cost = measure(rekeep.as_ref(), &words, &env, None)?;
        println!(
            "| {}, seconds / CPU seconds / MiB | {:.1} / {:.1} / {:.0} |",
            words[1].to_string_lossy(),
            cost.wall_seconds,
            cost.cpu_seconds,
            cost.peak_mib
        );
    }
    if flags.number("keep", 0u8)? == 0 {
        remove(&file)?;
    }
    remove(&dir.join("asb-repo"))?;
    remove(&dir.join("asb-cache"))
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
fn write(path: &Path, records: u64) -> Outcome<()> {
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
    Ok(out.flush()?)
}

fn parse(path: &Path) -> Outcome<u64> {
    let mut reader = AsbReader::new(BufReader::with_capacity(1 << 20, File::open(path)?))?;
    let (mut record, mut count) = (Record::default(), 0);
    while let Some(item) = reader.next(&mut record)? {
        count += u64::from(matches!(item, Item::Record));
    }
    Ok(count)
}
