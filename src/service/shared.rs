//! A repository that is open, or being opened, shared by jobs and questions. A question does not wait without end for whoever is at
//! it: where storage does not answer, those who ask would take all threads that answer anybody.

use super::remembered::list_anew;
use crate::{ops::OpsError, repo::Repository, report::ErrorKind};
use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, sleep},
    time::{Duration, Instant},
};

/// How long a question waits, all in all, for whoever opens or lists the repository.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it waits between two looks, first and last: most hold it for no longer than the first.
const PAUSE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(10));

/// A repository that is open.
pub(super) struct Opened {
    pub(super) repo: Repository,
    pub(super) looked: Looked,
}

/// When storage was last listed for a question.
pub(super) struct Looked {
    at: Arc<Mutex<Instant>>,
    /// Whether somebody is at it.
    is_looking: Arc<AtomicBool>,
}

impl Default for Looked {
    fn default() -> Self {
        Self { at: Arc::new(Mutex::new(Instant::now())), is_looking: Arc::default() }
    }
}

impl Looked {
    pub(super) fn age(&self) -> Duration {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    pub(super) fn now(&self) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Lists storage on a thread of its own. Where that fails, whoever asks later finds it old, and tries it itself.
    pub(super) fn again(&self, name: &str, repo: &Repository) {
        if self.is_looking.swap(true, Ordering::Relaxed) {
            return;
        }
        let (at, is_looking) = (Arc::clone(&self.at), Arc::clone(&self.is_looking));
        let (name, repo) = (name.to_owned(), repo.clone());
        let look = move || {
            match list_anew(&name, &repo) {
                Ok(()) => *at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now(),
                Err(error) => tracing::warn!(repository = %name, "it was not listed: {error}"),
            }
            is_looking.store(false, Ordering::Relaxed);
        };
        if Builder::new().name("look".to_owned()).spawn(look).is_err() {
            self.is_looking.store(false, Ordering::Relaxed);
        }
    }
}

/// The place of one repository.
#[derive(Default)]
pub(super) struct Slot {
    opened: Mutex<Option<Opened>>,
    /// Since when somebody holds it.
    since: Mutex<Option<Instant>>,
}

impl Slot {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken<'s>(&'s self, opened: MutexGuard<'s, Option<Opened>>) -> Held<'s> {
        *self.since() = Some(Instant::now());
        Held { slot: self, opened }
    }

    /// For a job, which waits for others as long as they take.
    pub(super) fn hold(&self) -> Held<'_> {
        self.taken(self.opened.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For whoever does not wait.
    pub(super) fn try_hold(&self) -> Option<Held<'_>> {
        match self.opened.try_lock() {
            Ok(opened) => Some(self.taken(opened)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.taken(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// For a question about the repository of this name.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if whoever holds it had no answer from storage for so long.
    pub(super) fn ask(&self, name: &str) -> Result<Held<'_>, OpsError> {
        let mut pause = PAUSE.0;
        loop {
            if let Some(held) = self.try_hold() {
                return Ok(held);
            }
            if self.since().is_some_and(|since| since.elapsed() >= PATIENCE) {
                let words =
                    format!("{name}: its storage has not answered for {} s; ask again later", PATIENCE.as_secs());
                return Err(OpsError::refused(ErrorKind::Storage, words));
            }
            sleep(pause);
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

/// A place that nobody else is at.
pub(super) struct Held<'s> {
    slot: &'s Slot,
    opened: MutexGuard<'s, Option<Opened>>,
}

impl Deref for Held<'_> {
    type Target = Option<Opened>;

    fn deref(&self) -> &Self::Target {
        &self.opened
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.opened
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.slot.since() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_refused_where_somebody_waits_for_storage_already() {
        let slot = Slot::default();
        let held = slot.hold();
        *slot.since() = Instant::now().checked_sub(PATIENCE);
        std::thread::scope(|scope| {
            let refused = scope.spawn(|| slot.ask("storage far").err()).join().unwrap().unwrap();
            assert_eq!(refused.kind(), ErrorKind::Storage);
            assert!(refused.to_string().contains("storage far"), "{refused}");
        });
        drop(held);
        assert!(slot.ask("storage far").is_ok());
    }
}
