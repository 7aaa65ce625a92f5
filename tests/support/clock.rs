//! The clock of file times.

use std::{
    fs,
    time::{Duration, SystemTime},
};

/// Longer than a file must rest before its times tell the next write from the last one.
const REST: Duration = Duration::from_millis(60);

/// Returns when the clock of file times tells what is written next from what has been written.
pub fn rest() {
    let dir = tempfile::tempdir().unwrap();
    let probe = dir.path().join("probe");
    let now = || -> SystemTime {
        fs::write(&probe, "x").unwrap();
        probe.metadata().unwrap().modified().unwrap()
    };
    let before = now();
    while now() < before + REST {
        std::thread::sleep(Duration::from_millis(1));
    }
}
