//! Work that somebody looks after meanwhile.

use std::{convert::Infallible, ops::ControlFlow, time::Duration};

/// Does some work on this thread, while another one looks now and then, until it breaks off or the work has ended: also by a
/// panic, which nobody would hear of otherwise.
pub(super) fn watched<T>(
    every: Duration,
    mut look: impl FnMut() -> ControlFlow<()> + Send,
    work: impl FnOnce() -> T,
) -> T {
    let (working, ended) = crossbeam_channel::bounded::<Infallible>(0);
    std::thread::scope(|scope| {
        // Dropped when the work ends, in whatever way; whoever waits at the other end wakes up then.
        let _working = working;
        scope.spawn(
            move || {
                while look().is_continue() && ended.recv_timeout(every).is_err_and(|error| error.is_timeout()) {}
            },
        );
        work()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::mpsc,
    };

    /// Longer than any test takes: who waits for it has failed.
    const LONG: Duration = Duration::from_hours(24);

    #[test]
    fn watching_ends_with_the_work_also_where_it_panics() {
        let (tell, hear) = mpsc::channel();
        // On a thread that is not waited for: one that never ends is a failure, not a test that hangs.
        std::thread::spawn(move || {
            let keep_on = || ControlFlow::Continue(());
            let came = watched(LONG, keep_on, || 7);
            let panicked =
                catch_unwind(AssertUnwindSafe(|| watched(LONG, keep_on, || -> u32 { panic!("on purpose") })));
            let _ = tell.send((came, panicked.is_err()));
        });
        assert_eq!(hear.recv_timeout(Duration::from_mins(1)), Ok((7, true)));
    }

    #[test]
    fn it_is_looked_until_it_breaks_off() {
        let (tell, hear) = crossbeam_channel::bounded(0);
        let mut looks = 0;
        let look = || {
            looks += 1;
            if looks < 3 {
                return ControlFlow::Continue(());
            }
            let _ = tell.send(());
            ControlFlow::Break(())
        };
        watched(Duration::from_millis(1), look, || hear.recv_timeout(Duration::from_mins(1))).unwrap();
        assert_eq!(looks, 3);
    }
}
