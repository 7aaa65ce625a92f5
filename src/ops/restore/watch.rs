//! Passing a person's wish to stop on to a target that waits.

use crate::ops::Progress;
use crossbeam_channel::RecvTimeoutError;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often it is looked whether to stop.
const PAUSE: Duration = Duration::from_millis(50);

/// Does some work, and meanwhile raises the flag as soon as the work is to be cancelled.
pub(super) fn passing_on<T>(flag: Option<Arc<AtomicBool>>, progress: &dyn Progress, work: impl FnOnce() -> T) -> T {
    let Some(flag) = flag else { return work() };
    flag.store(false, Ordering::Relaxed);
    let (done, ended) = crossbeam_channel::bounded::<()>(0);
    std::thread::scope(|scope| {
        // Dropped at the end, also of a panic, which ends the watching.
        let _done = done;
        scope.spawn(move || {
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                if progress.cancelled() {
                    flag.store(true, Ordering::Relaxed);
                    return;
                }
            }
        });
        work()
    })
}
