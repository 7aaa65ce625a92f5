//! Progress for people and scripts: a bar on a terminal, a line a minute elsewhere, events with `--json`, nothing with
//! `--quiet`. Warnings are always told. All of it goes to standard error.

use super::{advice, interrupt, output, units};
use crate::{
    ops::{Phase, Progress, StreamStanding},
    report::{Warning, WarningKind},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::IsTerminal,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A bar.
    Bar,
    /// A line a minute.
    Lines,
    /// JSON lines, one a second at most.
    Events,
    /// Nothing.
    Nothing,
}

impl Mode {
    /// What fits where standard error goes.
    #[must_use]
    pub fn choose(json: bool, quiet: bool) -> Self {
        match (quiet, json) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Events,
            (false, false) if std::io::stderr().is_terminal() => Self::Bar,
            (false, false) => Self::Lines,
        }
    }

    const fn interval(self) -> Duration {
        match self {
            Self::Bar => Duration::from_millis(100),
            Self::Lines | Self::Nothing => Duration::from_mins(1),
            Self::Events => Duration::from_secs(1),
        }
    }
}

struct Current {
    phase: Phase,
    since: Instant,
}

/// Shows what a verb does, and passes on the wish to stop.
pub struct Reporter {
    mode: Mode,
    json: bool,
    verbose: bool,
    bar: ProgressBar,
    began: Instant,
    current: Mutex<Option<Current>>,
    records: AtomicU64,
    bytes: AtomicU64,
    /// How far a stream is, if it is one.
    stream: Mutex<Option<StreamStanding>>,
    /// Milliseconds after `began` before which nothing is shown: spares most calls the lock.
    next_ms: AtomicU64,
    output_closed: Arc<AtomicBool>,
    /// Problems that were told while it ran.
    told: Mutex<BTreeSet<String>>,
}

/// So many problems are kept in mind.
const MAX_TOLD: usize = 1000;

impl Reporter {
    /// A reporter; `output_closed` stops the verb like a signal.
    #[must_use]
    pub fn new(mode: Mode, json: bool, output_closed: Arc<AtomicBool>) -> Self {
        let target = if mode == Mode::Bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        Self {
            mode,
            json,
            verbose: false,
            bar,
            began: Instant::now(),
            current: Mutex::new(None),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stream: Mutex::new(None),
            next_ms: AtomicU64::new(0),
            output_closed,
            told: Mutex::default(),
        }
    }

    /// Whether each phase is told when it ends.
    #[must_use]
    pub fn telling(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Says what only a person who asked for more wants to know; events say it in their own way.
    pub fn detail(&self, text: &str) {
        if self.verbose && !self.json {
            self.bar.suspend(|| output::complain(&format!("rekeep: {text}")));
        }
    }

    /// Tells of something that is missing in what was done, unless that was told when it came up.
    pub fn problem_at_end(&self, text: &str) {
        if !self.told.lock().unwrap_or_else(PoisonError::into_inner).contains(text) {
            self.problem(text);
        }
    }

    /// Tells of something that is missing in what was done.
    pub fn problem(&self, text: &str) {
        self.warning(&Warning::new(WarningKind::Problem, "", text));
    }

    /// Tells what a source, a target or the repository says of itself.
    pub fn note(&self, text: &str) {
        self.warning(&Warning::new(WarningKind::Note, "", text));
    }

    /// Ends the last phase and removes the bar.
    pub fn finish(&self) {
        self.end_phase(&mut self.lock());
        self.bar.finish_and_clear();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_phase(&self, current: &mut Option<Current>) {
        let Some(ended) = current.take() else { return };
        match self.mode {
            Mode::Events => output::complain(&self.event("phase-end", &ended)),
            Mode::Bar | Mode::Lines if self.verbose => self.detail(&self.ended(&ended)),
            // A short phase needs no line in a log.
            Mode::Lines if ended.since.elapsed() > self.mode.interval() => self.show(&ended),
            Mode::Lines | Mode::Bar | Mode::Nothing => {}
        }
    }

    fn ended(&self, ended: &Current) -> String {
        let (records, bytes) = self.done();
        let seconds = ended.since.elapsed().as_secs_f64();
        let size = if bytes == 0 { String::new() } else { format!(", {}", units::show_size(bytes)) };
        format!("{}: {}{size} in {}", ended.phase, units::show_count(records), units::show_duration(seconds))
    }

    fn done(&self) -> (u64, u64) {
        (self.records.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    fn event(&self, name: &str, current: &Current) -> String {
        let (records, bytes) = self.done();
        let Phase { records: records_expected, bytes: bytes_expected, .. } = &current.phase;
        let event = json!({
            "event": name,
            "phase": current.phase.to_string(),
            "records": records,
            "bytes": bytes,
            "records_expected": expected(*records_expected),
            "bytes_expected": expected(*bytes_expected),
            "seconds": current.since.elapsed().as_secs_f64(),
        });
        event.to_string()
    }

    fn show(&self, current: &Current) {
        let (records, bytes) = self.done();
        let seconds = current.since.elapsed().as_secs_f64();
        let mut text = describe(records, bytes, &current.phase, seconds);
        if let Some(standing) = self.stream.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            text.push_str(&describe_stream(standing));
        }
        match self.mode {
            Mode::Bar => {
                let share = share(records, bytes, &current.phase);
                self.bar.set_position(share.map_or(0, |share| (share * 1000.0) as u64));
                self.bar.set_message(text);
                self.bar.tick();
            }
            Mode::Lines => output::complain(&format!("rekeep: {}: {text}", current.phase)),
            Mode::Events => output::complain(&self.event("progress", current)),
            Mode::Nothing => {}
        }
    }

    fn set_style(&self, phase: &Phase) {
        let known = phase.bytes > 0 || phase.records > 0;
        let template = if known { "{prefix} [{bar:30}] {msg}" } else { "{prefix} {spinner} {msg}" };
        self.bar.set_length(1000);
        self.bar.set_position(0);
        self.bar.set_prefix(phase.to_string());
        self.bar.set_message(String::new());
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
    }

    fn elapsed_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}

impl Progress for Reporter {
    fn phase(&self, phase: &Phase) {
        let mut current = self.lock();
        self.end_phase(&mut current);
        self.records.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        let now = Instant::now();
        let begun = Current { phase: phase.clone(), since: now };
        match self.mode {
            Mode::Events => output::complain(&self.event("phase", &begun)),
            Mode::Bar => self.set_style(phase),
            Mode::Lines | Mode::Nothing => {}
        }
        self.next_ms.store(self.elapsed_ms() + self.mode.interval().as_millis() as u64, Ordering::Relaxed);
        *current = Some(begun);
    }

    fn count(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let now = self.elapsed_ms();
        if self.mode == Mode::Nothing || now < self.next_ms.load(Ordering::Relaxed) {
            return;
        }
        self.next_ms.store(now + self.mode.interval().as_millis() as u64, Ordering::Relaxed);
        // Another thread that holds the lock is showing the same thing.
        if let Ok(guard) = self.current.try_lock()
            && let Some(current) = guard.as_ref()
        {
            self.show(current);
        }
    }

    fn stream(&self, standing: &StreamStanding) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing.clone());
        if self.mode == Mode::Events {
            let mut event = json!(standing);
            event["event"] = "stream".into();
            output::complain(&event.to_string());
        }
        // It may be due although nothing was counted.
        self.count(0, 0);
    }

    fn warning(&self, warning: &Warning) {
        if warning.kind == WarningKind::Problem {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < MAX_TOLD {
                told.insert(warning.words.clone());
            }
        }
        let text = advice::warning(warning);
        let line = if self.json {
            json!({ "event": "warning", "kind": warning.kind, "object": warning.object, "message": text }).to_string()
        } else {
            format!("rekeep: warning: {text}")
        };
        self.bar.suspend(|| output::complain(&line));
    }

    fn cancelled(&self) -> bool {
        interrupt::requested() || self.output_closed.load(Ordering::Relaxed)
    }
}

/// How far a stream is, in words.
fn describe_stream(standing: &StreamStanding) -> String {
    let StreamStanding { lag_seconds, recoveries_pending, silent_sources, .. } = standing;
    let mut text = match standing.recovery_point {
        Some(point) => format!(", recovery point {}, {lag_seconds} s behind", units::show_time(point)),
        None => format!(", {recoveries_pending} parts still to come"),
    };
    if *silent_sources > 0 {
        let _ = write!(text, ", {silent_sources} nodes do not tell");
    }
    text
}

const fn expected(count: u64) -> Option<u64> {
    if count == 0 { None } else { Some(count) }
}

/// How much of the phase is done, from 0 to 1: by bytes if they are known, else by records.
fn share(records: u64, bytes: u64, phase: &Phase) -> Option<f64> {
    let of = |done: u64, all: u64| (all > 0).then(|| (done as f64 / all as f64).min(1.0));
    of(bytes, phase.bytes).or_else(|| of(records, phase.records))
}

fn describe(records: u64, bytes: u64, phase: &Phase, seconds: f64) -> String {
    let mut text = format!("{} records, {}", units::show_count(records), units::show_size(bytes));
    if seconds > 0.5 {
        let _ = write!(text, ", {}/s", units::show_size((bytes as f64 / seconds) as u64));
    }
    match share(records, bytes, phase) {
        // The first percent says too little to promise anything.
        Some(share) if share > 0.01 && share < 1.0 && seconds > 2.0 => {
            let left = seconds * (1.0 - share) / share;
            let _ = write!(text, ", {} left", units::show_duration(left.ceil()));
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::PhaseKind;

    #[test]
    fn progress_tells_rate_and_time_left() {
        let phase = Phase::new(PhaseKind::Reading, 0, 4 << 20);
        let text = describe(1000, 1 << 20, &phase, 10.0);
        assert_eq!(text, "1 000 records, 1.0 MiB, 102.4 KiB/s, 30.00 s left");
        let unknown = describe(5, 10, &Phase::default(), 10.0);
        assert!(!unknown.contains("left"), "{unknown}");
    }

    #[test]
    fn a_problem_that_was_told_is_not_told_again_at_the_end() {
        let reporter = Reporter::new(Mode::Nothing, true, Arc::default());
        reporter.warning(&Warning::new(WarningKind::Note, "", "a"));
        reporter.warning(&Warning::new(WarningKind::Problem, "slot", "b"));
        let told = |text: &str| reporter.told.lock().unwrap().contains(text);
        assert!(!told("a") && told("b"));
        reporter.problem_at_end("b");
        assert!(!told("c"));
        reporter.problem_at_end("c");
        assert!(told("c"));
    }

    #[test]
    fn a_closed_output_cancels() {
        let closed = Arc::new(AtomicBool::new(false));
        let reporter = Reporter::new(Mode::Nothing, false, Arc::clone(&closed));
        assert!(!reporter.cancelled());
        closed.store(true, Ordering::Relaxed);
        assert!(reporter.cancelled());
    }
}
