//! The runtime that drives all requests: one for the process, with its own threads. Callers are ordinary threads, or tasks
//! of somebody else's runtime: they hand a future over and wait, so nothing of theirs can make it hang.

use std::{
    future::Future,
    io,
    sync::{OnceLock, mpsc},
};
use tokio::runtime::Runtime;

/// Requests wait for the network nearly all the time.
const THREADS: usize = 2;

/// The runtime.
pub(super) fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let make = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("storage")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    };
    RUNTIME.get_or_init(make).as_ref().map_err(|reason| io::Error::other(reason.clone()))
}

/// Runs a future on it and waits.
pub(in crate::repo) fn wait<T: Send + 'static>(
    future: impl Future<Output = io::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let (done, result) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Nobody waits any more if its thread is gone.
        let _ = done.send(future.await);
    });
    result.recv().unwrap_or_else(|_| Err(io::Error::other("a request came to no end")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_be_waited_for_from_a_task_of_another_runtime() {
        let outer = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(outer.block_on(async { wait(async { Ok(7) }).unwrap() }), 7);
    }
}
