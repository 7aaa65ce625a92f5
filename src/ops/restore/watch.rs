//! Passing a person's wish to stop on to a target that waits.

use crate::{
    connector::Target,
    ops::{Progress, watched::watched},
    report::WarningKind,
};
use std::{
    ops::ControlFlow,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// How often it is said what is waited for, or done.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether to stop.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// Does some work, and meanwhile raises the flag as soon as the work is to be cancelled.
/// A person is told what it waits for, and what it is about where that takes long.
pub(in crate::ops) fn passing_on<T>(target: &dyn Target, progress: &dyn Progress, work: impl FnOnce() -> T) -> T {
    let Some(flag) = target.stop_flag() else { return work() };
    flag.store(false, Ordering::Relaxed);
    let (mut told, mut noted): (Option<Instant>, Instant) = (None, Instant::now());
    let look = || {
        if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN)
            && let Some(text) = target.waits_for()
        {
            progress.warn(WarningKind::Waiting, "", text);
            told = Some(Instant::now());
        }
        if noted.elapsed() >= TELL_AGAIN
            && let Some(text) = target.is_about()
        {
            progress.warn(WarningKind::Note, "", text);
            noted = Instant::now();
        }
        if !progress.cancelled() {
            return ControlFlow::Continue(());
        }
        flag.store(true, Ordering::Relaxed);
        ControlFlow::Break(())
    };
    watched(LOOK_AROUND, look, work)
}
