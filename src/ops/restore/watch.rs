//! Passing a person's wish to stop on to a target that waits.

use crate::{connector::Target, ops::Progress, report::WarningKind};
use crossbeam_channel::RecvTimeoutError;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// How often it is said what is waited for.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether to stop.
const PAUSE: Duration = Duration::from_millis(50);

/// Does some work, and meanwhile raises the flag as soon as the work is to be cancelled.
/// A person is told what it waits for.
pub(in crate::ops) fn passing_on<T>(target: &dyn Target, progress: &dyn Progress, work: impl FnOnce() -> T) -> T {
    let Some(flag) = target.stop_flag() else { return work() };
    flag.store(false, Ordering::Relaxed);
    let (done, ended) = crossbeam_channel::bounded::<()>(0);
    std::thread::scope(|scope| {
        // Dropped at the end, also of a panic, which ends the watching.
        let _done = done;
        scope.spawn(move || {
            let mut told: Option<Instant> = None;
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN)
                    && let Some(text) = target.waits_for()
                {
                    progress.warn(WarningKind::Waiting, "", text);
                    told = Some(Instant::now());
                }
                if progress.cancelled() {
                    flag.store(true, Ordering::Relaxed);
                    return;
                }
            }
        });
        work()
    })
}
