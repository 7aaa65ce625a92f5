//! Every version of records: what keeping them costs, and what asking for them.
//!
//! `cargo bench --bench capture -- --records 100000 --versions 10 --workdir DIR`: files as XDR backups leave them, the first version of
//! each record in one and all others in a second, captured by a process each; how large the repository is beside the values compressed
//! one by one; the history of one key; restores of a moment in the middle and of the end.

mod common;

use common::{Flags, Outcome, bytes_below, measure, remove, workdir};
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
    ops::Range,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const MIB: f64 = 1024.0 * 1024.0;

/// Within so many milliseconds all versions but the first are made, after the capture of the first: a stream shows every moment from
/// the end of its first snapshot on.
const SPAN: u64 = 2000;

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "versions", "keep", "workdir", "rekeep"])?;
    let (dir, _guard) = workdir(&flags)?;
    let (records, versions) = (flags.number("records", 100_000u64)?, flags.number("versions", 10u64)?);
    let rekeep = flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")).to_owned();
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let env = [
        ("REKEEP_REPOSITORY".to_owned(), path("capture-repo")),
        ("REKEEP_CACHE_DIR".to_owned(), path("capture-cache")),
        ("REKEEP_PASSWORD".to_owned(), "benchmark".to_owned()),
    ];
    let run = |words: &[&str]| -> Outcome<()> {
        let typed: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let cost = measure(rekeep.as_ref(), &typed, &env, None)?;
        let name = words.iter().filter(|word| !word.starts_with("--")).take(2).copied().collect::<Vec<_>>().join(" ");
        println!("| {name} | {:.2} | {:.2} | {:.0} |", cost.wall_seconds, cost.cpu_seconds, cost.peak_mib);
        Ok(())
    };
    println!("\n| {versions} versions of {records} records | seconds | CPU seconds | MiB |\n|---|---:|---:|---:|");
    run(&["--quiet", "init"])?;
    let (base, rest) = (dir.join("base"), dir.join("rest"));
    let mut apart = write(&base, records, 0..1, &|_| now())?;
    run(&["--quiet", "capture", &format!("asbx:{}", base.to_string_lossy()), "--source-name", "bench"])?;
    let (begin, changes) = (now() + 1, (versions - 1) * records);
    apart += write(&rest, records, 1..versions, &|change| begin + change * SPAN / changes)?;
    while now() <= begin + SPAN {
        std::thread::sleep(Duration::from_millis(50));
    }
    let moment = format!("@{}", Timestamp::from_millis((begin + SPAN / 2) as i64));
    let (first, second) = (format!("jsonl:{}", path("middle.jsonl")), format!("jsonl:{}", path("end.jsonl")));
    let key = format!("digest:{}", data_encoding::HEXLOWER.encode(&digest(records / 2).0));
    run(&["--quiet", "capture", &format!("asbx:{}", rest.to_string_lossy()), "--source-name", "bench"])?;
    run(&["--quiet", "restore", &moment, &first])?;
    run(&["--quiet", "restore", "latest", &second])?;
    run(&["--quiet", "--json", "history", "bench", &key])?;
    // What merged journals were made of goes with a prune.
    let repo = dir.join("capture-repo");
    let before = stored(&repo)?;
    run(&["--quiet", "prune"])?;
    let after = stored(&repo)?;
    let [before, after, apart] = [before, after, apart].map(|bytes| bytes as f64 / MIB);
    println!(
        "\nstored {before:.1} MiB, after the prune {after:.1}; values compressed one by one {apart:.1} MiB: {:.2} (bound 0.3)",
        after / apart
    );
    if flags.text("keep").is_some() {
        return Ok(());
    }
    for name in ["base", "rest", "capture-repo", "capture-cache", "middle.jsonl", "end.jsonl"] {
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

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Writes versions of every record in the order in which they are made; gives what the values take when each is compressed alone.
fn write(folder: &Path, records: u64, versions: Range<u64>, time: &dyn Fn(u64) -> u64) -> Outcome<u64> {
    fs::create_dir_all(folder)?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(folder.join("0_bench_1.asbx"))?);
    put_head(&mut out, 1, b"bench")?;
    let mut apart = 0;
    for version in versions.clone() {
        for record in 0..records {
            let text = format!("customer {record} of street {} lives there since {}", record % 977, record % 3650);
            let (balance, seen) =
                ((record * 7 + version * 13).to_be_bytes(), (version * records + record).to_be_bytes());
            let note = format!("{text}; {text}; {text}; visit {version}");
            let bins: [(&[u8], u8, &[u8]); 3] =
                [(b"balance", 1, &balance), (b"note", 3, note.as_bytes()), (b"seen", 1, &seen)];
            let change = Change::Put { generation: version as u32 + 1, left: None, bins: &bins };
            let digest = digest(record);
            let body = body_of(
                b"bench",
                &digest,
                b"customers",
                None,
                time((version - versions.start) * records + record),
                &change,
            );
            put_change(&mut out, &digest.0, &body)?;
            apart += zstd::bulk::compress(note.as_bytes(), 3)?.len() as u64 + 16;
        }
    }
    out.flush()?;
    Ok(apart)
}

/// Packs and what describes them.
fn stored(repo: &Path) -> Outcome<u64> {
    Ok(bytes_below(&repo.join("packs"))? + bytes_below(&repo.join("index"))?)
}
