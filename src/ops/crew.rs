//! Work that several threads do.

use super::{OpsError, Progress};
use crate::repo::RepoError;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};

fn panicked<T>(_: T) -> Result<(), OpsError> {
    Err(OpsError::Failed("a worker panicked".to_owned()))
}

/// So many threads do the same work, which shares out what there is to do; one needs no thread of its own. Gives the first failure:
/// it stops the others, and theirs may only say that they were stopped.
pub(super) fn together(threads: usize, work: impl Fn() -> Result<(), OpsError> + Sync) -> Result<(), OpsError> {
    if threads <= 1 {
        return catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked);
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let mut result = Ok(());
        for worker in workers {
            let outcome = worker.join().unwrap_or_else(panicked);
            if let Err(error) = outcome
                && (result.is_ok() || result.as_ref().is_err_and(OpsError::is_interruption))
            {
                result = Err(error);
            }
        }
        result
    })
}

/// Stops whoever was asked to.
pub(super) fn heed(progress: &dyn Progress) -> Result<(), OpsError> {
    if progress.cancelled() { Err(RepoError::Interrupted.into()) } else { Ok(()) }
}

/// Does something with each of these, so many at once, until one fails or somebody is asked to stop.
pub(super) fn each<T>(
    threads: usize,
    items: impl Iterator<Item = T> + Send,
    progress: &dyn Progress,
    work: impl Fn(T) -> Result<(), OpsError> + Sync,
) -> Result<(), OpsError> {
    let left = Mutex::new(items);
    together(threads, || {
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = next else { return Ok(()) };
            heed(progress)?;
            work(item)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_comes_before_words_of_having_been_stopped_and_a_panic_is_one() {
        for threads in [1, 4] {
            assert!(together(threads, || Ok(())).is_ok());
            let error = together(threads, || panic!("on purpose")).unwrap_err();
            assert!(error.to_string().contains("panicked"), "{error}");
        }
        let outcomes =
            Mutex::new(vec![OpsError::Interrupted, OpsError::Failed("why".to_owned()), OpsError::Interrupted]);
        let error = together(3, || Err(outcomes.lock().unwrap().pop().unwrap())).unwrap_err();
        assert!(!error.is_interruption(), "{error}");
    }
}
