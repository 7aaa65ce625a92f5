//! Telling a person what a source waits for: whoever waits for an answer says nothing.

use super::{Progress, watched::watched};
use crate::{connector::Source, report::WarningKind};
use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

/// How often it is said what is waited for.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether something is waited for.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// A source or target that is opened for so long is told of.
const WORTH_TELLING: Duration = Duration::from_secs(3);

/// Does some work that reads a source, and tells meanwhile what that waits for.
pub(super) fn hearing<T>(source: &dyn Source, progress: &dyn Progress, work: impl FnOnce() -> T) -> T {
    telling(progress, || source.waits_for(), work)
}

/// Opens something, and tells who is waited for where that takes long: what is not open yet cannot say so.
pub fn opening<T>(name: &str, progress: &dyn Progress, open: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let waits = || (began.elapsed() >= WORTH_TELLING).then(|| format!("waiting for {name} to answer"));
    telling(progress, waits, open)
}

/// Does some work, and tells meanwhile what that waits for.
pub(super) fn telling<T>(
    progress: &dyn Progress,
    waits_for: impl Fn() -> Option<String> + Send + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let mut told: Option<Instant> = None;
    let look = || {
        if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN)
            && let Some(text) = waits_for()
        {
            progress.warn(WarningKind::Waiting, "", text);
            told = Some(Instant::now());
        }
        ControlFlow::Continue(())
    };
    watched(LOOK_AROUND, look, work)
}
