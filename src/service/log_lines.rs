//! The newest lines of the log, kept in memory for the page that shows them.

use crate::record::Timestamp;
use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::{Mutex, PoisonError},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Lines that are kept.
const MOST: usize = 2000;

/// The most of a line.
const MAX_LINE_BYTES: usize = 4096;

/// A line of the log.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) words: String,
    /// What it says beside: names and values.
    pub(super) fields: String,
}

static LINES: Mutex<VecDeque<Line>> = Mutex::new(VecDeque::new());

/// The lines, the newest first.
pub(super) fn newest() -> Vec<Line> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
}

/// Keeps what is logged.
pub(super) struct Kept;

impl<S: Subscriber> Layer<S> for Kept {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let line = Line {
            at: Timestamp::from_millis(jiff::Timestamp::now().as_millisecond()),
            level: *event.metadata().level(),
            words: words.message,
            fields: words.fields,
        };
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == MOST {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

/// Takes text up to a bound.
struct Bounded<'t>(&'t mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_LINE_BYTES.saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Ok(())
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let done = if field.name() == "message" {
            write!(Bounded(&mut self.message), "{value:?}")
        } else {
            let apart = if self.fields.is_empty() { "" } else { " " };
            write!(Bounded(&mut self.fields), "{apart}{}={value:?}", field.name())
        };
        debug_assert!(done.is_ok(), "a text takes everything");
    }
}
