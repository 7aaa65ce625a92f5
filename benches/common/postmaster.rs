//! What a `PostgreSQL` server's processes have used. Linux only.

use super::common::Outcome;
use std::{fs, path::Path};

/// CPU seconds of a server, by its data folder: those of its processes, and of those that have ended.
pub fn cpu_seconds(data: &Path) -> Outcome<f64> {
    let text = fs::read_to_string(data.join("postmaster.pid"))?;
    let postmaster = text.lines().next().unwrap_or_default().to_owned();
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")? {
        // A process may end meanwhile: then its parent has what it used.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else { continue };
        let process = stat.split(' ').next().unwrap_or_default().to_owned();
        // Behind the name, which may hold blanks: the state, then the parent; user and system time are the twelfth, and those of
        // children that have ended.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        if process == postmaster || fields.get(1) == Some(&postmaster.as_str()) {
            ticks += fields.get(11..15).unwrap_or_default().iter().filter_map(|it| it.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(ticks as f64 / 100.0)
}
