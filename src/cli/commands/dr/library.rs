//! Scripts that the library of Deep Lake runs, in the Python that has it.

use serde_json::Value as Json;
use std::{ffi::OsStr, path::Path, process::Command};

/// Opens a dataset and says what is in it.
pub(super) const OPENER: &str = include_str!("open.py");
/// Builds a dataset's indexes and says whether there were any to build.
pub(super) const INDEXER: &str = include_str!("index.py");

/// Runs one; gives the last line that it prints, which is JSON.
pub(super) fn run<A: AsRef<OsStr>>(
    python: &Path,
    script: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Json, String> {
    let output = Command::new(python)
        .args(["-c", script])
        .args(arguments)
        .output()
        .map_err(|error| format!("run {}: {error}", python.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the library cannot do it: {}", said.lines().last().unwrap_or("it says nothing")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).map_err(|error| error.to_string())
}
