//! Every version of records: what keeping them costs, and what asking for them.
//!
//! `cargo bench --bench capture -- --records 100000 --versions 10 --workdir DIR`: files as an XDR backup leaves them, captured by one
//! process; how large the repository is beside the values compressed one by one; the history of one key; restores of a moment
//! in the middle and of the end.

mod common;

use common::{Flags, Outcome, measure, remove, workdir};
use rekeep::{
    connector::aerospike::xdr::{
        Change,
        asbx::{put_change, put_head},
        body_of,
    },
    record::{Digest, Timestamp},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
};

const MIB: f64 = 1024.0 * 1024.0;

/// When the first version is made: 2026-01-01.
const BEGIN: u64 = 1_767_225_600_000;

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "versions", "workdir", "rekeep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let (records, versions) = (flags.number("records", 100_000u64)?, flags.number("versions", 10u64)?);
    let rekeep = flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned();
    let files = dir.join("xdr");
    fs::create_dir_all(&files)?;
    let apart = write(&files.join("0_bench_1.asbx"), records, versions)?;
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let env = [
        ("REKEEP_REPOSITORY".to_owned(), path("capture-repo")),
        ("REKEEP_CACHE_DIR".to_owned(), path("capture-cache")),
        ("REKEEP_PASSWORD".to_owned(), "benchmark".to_owned()),
    ];
    let middle = Timestamp::from_millis((BEGIN + versions / 2 * records) as i64);
    let moment = format!("@{middle}");
    let from = format!("asbx:{}", files.to_string_lossy());
    let (first, second) = (format!("jsonl:{}", path("middle.jsonl")), format!("jsonl:{}", path("end.jsonl")));
    let key = format!("digest:{}", data_encoding::HEXLOWER.encode(&digest(records / 2).0));
    println!("\n| {versions} versions of {records} records | seconds | CPU seconds | MiB |\n|---|---:|---:|---:|");
    let steps: [&[&str]; 5] = [
        &["--quiet", "init"],
        &["--quiet", "capture", &from],
        &["--quiet", "restore", &moment, &first],
        &["--quiet", "restore", "latest", &second],
        &["--quiet", "--json", "history", "bench", &key],
    ];
    for words in steps {
        let typed: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let cost = measure(rekeep.as_ref(), &typed, &env, None)?;
        let name = words[1..].iter().take(2).copied().collect::<Vec<_>>().join(" ");
        println!("| {name} | {:.2} | {:.2} | {:.0} |", cost.wall_seconds, cost.cpu_seconds, cost.peak_mib);
    }
    let kept = size(&dir.join("capture-repo"))?;
    println!("\nrepository {:.1} MiB; values compressed one by one {:.1} MiB", kept as f64 / MIB, apart as f64 / MIB);
    for name in ["xdr", "capture-repo", "capture-cache", "middle.jsonl", "end.jsonl"] {
        remove(&dir.join(name))?;
    }
    Ok(())
}

fn digest(record: u64) -> Digest {
    let mut bytes = [0; 20];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = (record.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(at as u32 * 5) & 0xff) as u8;
    }
    bytes[12..].copy_from_slice(&record.to_be_bytes());
    Digest(bytes)
}

/// Writes every version of every record in the order in which they are made; gives what the values take when each is compressed
/// alone.
fn write(path: &Path, records: u64, versions: u64) -> Outcome<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    put_head(&mut out, 1, b"bench")?;
    let mut apart = 0;
    for version in 0..versions {
        for record in 0..records {
            let text = format!("customer {record} of street {} lives there since {}", record % 977, record % 3650);
            let (balance, seen) =
                ((record * 7 + version * 13).to_be_bytes(), (version * records + record).to_be_bytes());
            let note = format!("{text}; {text}; {text}; visit {version}");
            let bins: [(&[u8], u8, &[u8]); 3] =
                [(b"balance", 1, &balance), (b"note", 3, note.as_bytes()), (b"seen", 1, &seen)];
            let change = Change::Put { generation: version as u32 + 1, left: None, bins: &bins };
            let digest = digest(record);
            let body = body_of(b"bench", &digest, b"customers", None, BEGIN + version * records + record, &change);
            put_change(&mut out, &digest.0, &body)?;
            apart += zstd::bulk::compress(note.as_bytes(), 3)?.len() as u64 + 16;
        }
    }
    out.flush()?;
    Ok(apart)
}

fn size(folder: &Path) -> Outcome<u64> {
    let mut all = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        all += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(all)
}
