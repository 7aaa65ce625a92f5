//! A month of daily backups thinned out by retention, rekeep and its peers; and a day of hourly ones squashed.
//!
//! `cargo bench --bench daily -- --records 250000 --days 30 --hours 24 --peers restic,rustic --rustic PROGRAM --workdir DIR`
//!
//! Every day changes 1 % of W1 at random places. Kept are the last 7 days and the last of each of 4 weeks; since the backups are
//! made within minutes, what such a policy drops is named one by one, the same days for every tool. See `benches/README.md`.

mod common;
mod tools;

use common::workload::{Fractions, W1_RECORDS, mutate_scattered, state_digest};
use common::{Flags, Outcome, bytes_below, lengths, make_state, remove, workdir};
use rusqlite::Connection;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};
use tools::{Data, Tool};

const MIB: f64 = 1_048_576.0;
const DAILY: u64 = 7;
const WEEKLY: u64 = 4;

fn main() -> Outcome<()> {
    let flags = Flags::parse(&["records", "days", "hours", "peers", "rustic", "rekeep", "workdir"])?;
    let (dir, _guard) = workdir(&flags)?;
    let mut tools = vec![Tool::new("rekeep", flags.text("rekeep").unwrap_or(env!("CARGO_BIN_EXE_rekeep")))?];
    let peers = flags.text("peers").unwrap_or("restic,rustic");
    for peer in peers.split(',').filter(|peer| !peer.is_empty()) {
        let program = if peer == "rustic" { flags.text("rustic").unwrap_or(peer) } else { peer };
        tools.push(Tool::new(peer, program)?);
    }
    let records = flags.number("records", W1_RECORDS / 20)?;
    let (days, hours) = (flags.number("days", 30)?, flags.number("hours", 24)?);
    if days > 0 {
        month(&dir, &tools, records, days)?;
    }
    if hours > 0 {
        day(&dir, &tools[0], records, hours)?;
    }
    Ok(())
}

/// Makes the data of a first state anew.
fn start(dir: &Path, records: u64) -> Outcome<PathBuf> {
    let data = dir.join("daily.db");
    fs::copy(make_state(dir, 1, records)?, &data)?;
    Ok(data)
}

/// Days that 7 daily and 4 weekly keep, if the last day ends a week.
fn is_kept(day: u64, days: u64) -> bool {
    let back = days - day;
    back < DAILY || back.is_multiple_of(7) && back / 7 < WEEKLY
}

fn month(dir: &Path, tools: &[Tool], records: u64, days: u64) -> Outcome<()> {
    let data = start(dir, records)?;
    for tool in tools {
        tool.clear(dir)?;
        tool.init(dir)?;
    }
    for number in 1..=days {
        if number > 1 {
            mutate_scattered(&data, Fractions::W2, 100 + number)?;
        }
        for tool in tools {
            tool.backup(dir, Data::Database(&data), number as usize)?;
        }
        eprintln!("  day {number}");
    }
    println!("{records} records, {days} days, {:.0} MiB a state.\n", fs::metadata(&data)?.len() as f64 / MIB);
    println!(
        "| tool | repository before, MiB | after, MiB | forget, s | prune, s | prune CPU, s | read, MiB | written to the \
         repository, MiB | deleted, MiB |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for tool in tools {
        let ids = tool.snapshots(dir)?;
        if ids.len() as u64 != days {
            return Err(format!("{} has {} snapshots of {days} days", tool.name, ids.len()).into());
        }
        let dropped: Vec<&str> =
            (1..=days).zip(&ids).filter(|(number, _)| !is_kept(*number, days)).map(|(_, id)| id.as_str()).collect();
        report(tool, dir, &dropped)?;
        let (_, out) = tool.restore(dir, Data::Database(&data), days as usize)?;
        if digest(&out)? != digest(&data)? {
            return Err(format!("{} restored other records than it was given", tool.name).into());
        }
    }
    Ok(())
}

/// Forgets and prunes; prints what that took.
fn report(tool: &Tool, dir: &Path, dropped: &[&str]) -> Outcome<()> {
    let repository = tool.repository(dir);
    let before = bytes_below(&repository)?;
    let forgotten = tool.forget(dir, dropped)?;
    let objects = lengths(&repository)?;
    let pruned = tool.prune(dir)?;
    let after = lengths(&repository)?;
    let beyond = |some: &HashMap<PathBuf, u64>, others: &HashMap<PathBuf, u64>| -> u64 {
        some.iter().filter(|(path, _)| !others.contains_key(*path)).map(|(_, bytes)| bytes).sum()
    };
    println!(
        "| {} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} |",
        tool.name,
        before as f64 / MIB,
        bytes_below(&repository)? as f64 / MIB,
        forgotten.wall_seconds,
        pruned.wall_seconds,
        pruned.cpu_seconds,
        pruned.bytes_read as f64 / MIB,
        beyond(&after, &objects) as f64 / MIB,
        beyond(&objects, &after) as f64 / MIB
    );
    Ok(())
}

/// One snapshot of a day of hourly ones is left: what does it take to squash?
fn day(dir: &Path, tool: &Tool, records: u64, hours: u64) -> Outcome<()> {
    let data = start(dir, records)?;
    tool.clear(dir)?;
    tool.init(dir)?;
    tool.backup(dir, Data::Database(&data), 1)?;
    let repository = tool.repository(dir);
    let base = bytes_below(&repository)?;
    for hour in 1..=hours {
        mutate_scattered(&data, Fractions::W2, 1_000 + hour)?;
        tool.backup(dir, Data::Database(&data), hour as usize + 1)?;
    }
    let deltas = bytes_below(&repository)? - base;
    let ids = tool.snapshots(dir)?;
    let dropped: Vec<&str> = ids[1..ids.len() - 1].iter().map(String::as_str).collect();
    tool.forget(dir, &dropped)?;
    let idle = tool.list_moved(dir)?;
    let pruned = tool.prune(dir)?;
    let (_, out) = tool.restore(dir, Data::Database(&data), 2)?;
    if digest(&out)? != digest(&data)? {
        return Err(format!("{} restored other records than it was given", tool.name).into());
    }
    println!(
        "\nOne of {hours} hourly deltas is kept: the base takes {:.1} MiB, the deltas {:.1} MiB; forgetting and pruning read \
         {:.1} MiB (a bare listing reads {:.1} MiB) in {:.2} s; the repository has {:.1} MiB then.",
        base as f64 / MIB,
        deltas as f64 / MIB,
        pruned.bytes_read as f64 / MIB,
        idle.bytes_read as f64 / MIB,
        pruned.wall_seconds,
        bytes_below(&repository)? as f64 / MIB
    );
    remove(&data)
}

fn digest(path: &Path) -> Outcome<[u8; 32]> {
    Ok(state_digest(&Connection::open(path)?)?)
}
