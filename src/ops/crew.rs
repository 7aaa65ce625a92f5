//! Work that several threads do.

use super::OpsError;
use std::panic::{AssertUnwindSafe, catch_unwind};

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

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
