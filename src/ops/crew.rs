//! Work that several threads do.

use super::{OpsError, Progress};
use crate::{repo::RepoError, report::ErrorKind};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

fn panicked<T>(_: T) -> Result<(), OpsError> {
    Err(OpsError::Failed("a worker panicked".to_owned()))
}

/// How much an error tells: that of a thread which was stopped says so, that of one which met a failure of another says that there was one.
fn weight(error: &OpsError) -> u8 {
    match error.kind() {
        ErrorKind::Interrupted => 0,
        ErrorKind::RunFailed => 1,
        _ => 2,
    }
}

/// So many threads do the same work, which shares out what there is to do; one needs no thread of its own. Gives the first failure
/// that says what failed: it stops the others.
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
                && result.as_ref().err().is_none_or(|first| weight(first) < weight(&error))
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

/// Threads that share items out among themselves. The first failure, or a wish to stop, ends the work of all.
pub(super) struct Crew<'a> {
    threads: usize,
    progress: &'a dyn Progress,
    failed: AtomicBool,
}

impl<'a> Crew<'a> {
    pub(super) fn new(threads: usize, progress: &'a dyn Progress) -> Self {
        Self { threads, progress, failed: AtomicBool::new(false) }
    }

    /// What long work on one item asks now and then.
    pub(super) fn is_stopped(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.progress.cancelled()
    }

    /// Does something with each item. A thread has something of its own, which `begin` makes, and which `finish` ends, whatever became
    /// of its work.
    pub(super) fn each<T, W>(
        &self,
        items: impl Iterator<Item = T> + Send,
        begin: impl Fn() -> W + Sync,
        work: impl Fn(&mut W, T) -> Result<(), OpsError> + Sync,
        finish: impl Fn(W) -> Result<(), OpsError> + Sync,
    ) -> Result<(), OpsError> {
        let left = Mutex::new(items.fuse());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let result = together(self.threads, || {
            let mut own = begin();
            let mut outcome = Ok(());
            while outcome.is_ok()
                && !self.is_stopped()
                && let Some(item) = next()
            {
                outcome = work(&mut own, item);
            }
            outcome.and(finish(own)).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
        });
        heed(self.progress).and(result)
    }

    /// What comes of each item, in the order of the items.
    pub(super) fn map<T: Sync, R: Send + Sync, W>(
        &self,
        items: &[T],
        begin: impl Fn() -> W + Sync,
        work: impl Fn(&mut W, &T) -> Result<R, OpsError> + Sync,
        finish: impl Fn(W) -> Result<(), OpsError> + Sync,
    ) -> Result<Vec<R>, OpsError> {
        let done: Vec<OnceLock<R>> = items.iter().map(|_| OnceLock::new()).collect();
        let work = |own: &mut W, (item, place): (&T, &OnceLock<R>)| {
            let made = work(own, item)?;
            // Nobody else has this item.
            drop(place.set(made));
            Ok(())
        };
        self.each(items.iter().zip(&done), begin, work, finish)?;
        let done = done.into_iter().map(OnceLock::into_inner).collect::<Option<_>>();
        done.ok_or_else(|| OpsError::Failed("a part of the work was not done".to_owned()))
    }
}

/// Does something with each of these, so many at once, until one fails or somebody is asked to stop.
pub(super) fn each<T>(
    threads: usize,
    items: impl Iterator<Item = T> + Send,
    progress: &dyn Progress,
    work: impl Fn(T) -> Result<(), OpsError> + Sync,
) -> Result<(), OpsError> {
    Crew::new(threads, progress).each(items, || (), |(), item| work(item), |()| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Silent;
    use std::sync::atomic::AtomicUsize;

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
        let echo = || OpsError::Repo(RepoError::RunFailed { reason: "of why".to_owned() });
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
            let mut outcomes = [Some(OpsError::Interrupted), Some(echo()), Some(OpsError::Failed("why".to_owned()))];
            let outcomes = Mutex::new(order.map(|which: usize| outcomes[which].take().unwrap()).into_iter());
            let error = together(3, || Err(outcomes.lock().unwrap().next().unwrap())).unwrap_err();
            assert_eq!(error.to_string(), "why", "what failed, and not what heard of it");
        }
    }

    #[test]
    fn a_failure_ends_the_work_of_all_and_what_comes_of_items_keeps_their_order() {
        let crew = Crew::new(3, &Silent);
        let finished = AtomicUsize::new(0);
        let finish = |_: usize| {
            finished.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let numbers: Vec<usize> = (0..100).collect();
        let doubled = crew.map(&numbers, || 0, |_, number| Ok(number * 2), finish).unwrap();
        assert_eq!(doubled, (0..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(finished.load(Ordering::Relaxed), 3);

        let work = |_: &mut usize, number: usize| match number {
            5 => Err(OpsError::Failed("on purpose".to_owned())),
            _ => Ok(()),
        };
        let error = crew.each(0.., || 0, work, finish).unwrap_err();
        assert!(error.to_string().contains("on purpose"), "{error}");
        assert_eq!(finished.load(Ordering::Relaxed), 6, "what each thread has is ended all the same");
    }
}
