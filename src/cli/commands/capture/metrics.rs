//! How far a capture is, in a file that Prometheus' collectors of text files read.

use crate::{
    cli::progress::Reporter,
    ops::{Phase, Progress, StreamStanding},
    record::Timestamp,
    report::{Warning, WarningKind},
};
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Passes progress on, and keeps how far the stream is in a file.
pub(super) struct Measured<'a> {
    reporter: &'a Reporter,
    file: Option<PathBuf>,
    labels: String,
    /// Whether it was said that the file cannot be written.
    is_said: AtomicBool,
}

impl<'a> Measured<'a> {
    pub(super) fn new(reporter: &'a Reporter, file: Option<PathBuf>, labels: &[(&str, &str)]) -> Self {
        Self { reporter, file, labels: labels_of(labels), is_said: AtomicBool::new(false) }
    }
}

impl Progress for Measured<'_> {
    fn phase(&self, phase: &Phase) {
        self.reporter.phase(phase);
    }

    fn count(&self, records: u64, bytes: u64) {
        self.reporter.count(records, bytes);
    }

    fn stream(&self, standing: &StreamStanding) {
        self.reporter.stream(standing);
        let Some(file) = &self.file else { return };
        match replace(file, &text(standing, &self.labels)) {
            Ok(()) => self.is_said.store(false, Ordering::Relaxed),
            Err(error) if !self.is_said.swap(true, Ordering::Relaxed) => {
                let words = format!("{}: metrics cannot be kept there, the capture goes on: {error}", file.display());
                self.warning(&Warning::new(WarningKind::Problem, file.display().to_string(), words));
            }
            Err(_) => {}
        }
    }

    fn warning(&self, warning: &Warning) {
        self.reporter.warning(warning);
    }

    fn cancelled(&self) -> bool {
        self.reporter.cancelled()
    }
}

/// Labels as the text format writes them.
fn labels_of(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text
}

/// The metrics of a capture.
fn text(standing: &StreamStanding, labels: &str) -> String {
    let seconds = |time: Timestamp| format!("{}.{:03}", time.as_millis() / 1000, time.as_millis().rem_euclid(1000));
    let mut text = String::new();
    let mut tell = |name: &str, kind: &str, help: &str, value: Option<String>| {
        if let Some(value) = value {
            let name = format!("rekeep_capture_{name}");
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{{{labels}}} {value}");
        }
    };
    let number = |number: u64| Some(number.to_string());
    let of = standing;
    tell(
        "recovery_point_timestamp_seconds",
        "gauge",
        "What was made by then is in a snapshot",
        of.recovery_point.map(seconds),
    );
    tell("last_commit_timestamp_seconds", "gauge", "The end of the newest snapshot", of.last_commit.map(seconds));
    tell("lag_seconds", "gauge", "Seconds that the slowest node is behind", number(of.lag_seconds));
    tell("recoveries_pending", "gauge", "Partitions whose records are still to come", number(of.recoveries_pending));
    tell("nodes", "gauge", "Nodes that tell how far they are", number(of.sources));
    tell("silent_nodes", "gauge", "Nodes that do not", number(of.silent_sources));
    tell("connections", "gauge", "Connections that are open", number(of.connections));
    tell("waiting_bytes", "gauge", "Bytes of changes that wait for a snapshot", number(of.waiting_bytes));
    tell("commits_total", "counter", "Snapshots that were committed", number(of.commits));
    tell("changes_total", "counter", "Changes in them", number(of.changes));
    tell("commit_failures_total", "counter", "Commits that failed and are done again", number(of.failures));
    tell("faults_total", "counter", "Messages that were none, and connections turned away", number(of.faults));
    tell(
        "retained_bytes",
        "gauge",
        "Bytes of log that the source holds back for the stream",
        of.retained_bytes.map(|bytes| bytes.to_string()),
    );
    text
}

/// Puts a file in the place of the one before, whole.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Collectors read what ends in `.prom` only, and run as somebody else.
    let mut builder = tempfile::Builder::new();
    builder.prefix(".rekeep-").suffix(".part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::Mode;
    use std::sync::Arc;

    #[test]
    fn how_far_a_capture_is_stands_in_the_file_and_a_place_that_takes_none_does_not_stop_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rekeep.prom");
        let reporter = Reporter::new(Mode::Nothing, false, Arc::default());
        let measured = Measured::new(&reporter, Some(file.clone()), &[("source", "a\"b\\c\nd"), ("dc", "x")]);
        measured.stream(&StreamStanding::default());
        let first = std::fs::read_to_string(&file).unwrap();
        assert!(!first.contains("recovery_point") && first.contains("rekeep_capture_lag_seconds{"), "{first}");
        let point = Some(Timestamp::from_millis(1_764_374_400_007));
        measured.stream(&StreamStanding { recovery_point: point, lag_seconds: 3, ..StreamStanding::default() });
        let text = std::fs::read_to_string(&file).unwrap();
        let labels = r#"{source="a\"b\\c\nd",dc="x"}"#;
        for line in ["recovery_point_timestamp_seconds$ 1764374400.007", "lag_seconds$ 3", "commits_total$ 0"] {
            let line = format!("rekeep_capture_{}", line.replace('$', labels));
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        let nowhere = Measured::new(&reporter, Some(dir.path().join("none/x.prom")), &[]);
        nowhere.stream(&StreamStanding::default());
        assert!(nowhere.is_said.load(Ordering::Relaxed));
    }
}
