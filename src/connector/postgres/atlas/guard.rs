//! The lock on the immutable timestamp that keeps sweep from what is being copied: held by refreshing it, and proved by letting it go.

use super::timelock::Giver;
use crate::connector::ConnectorError;
use crossbeam_channel::{RecvTimeoutError, Sender};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How often it is refreshed: a server forgets one that it has not heard of for 20 s.
const EVERY: Duration = Duration::from_secs(5);

/// A lock that is held.
pub(super) struct Guard {
    giver: Giver,
    token: String,
    immutable: i64,
    lost: Arc<AtomicBool>,
    refreshing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Guard {
    /// Takes it; `None` from who can lock nothing.
    pub(super) fn take(giver: &Giver) -> Result<Option<Self>, ConnectorError> {
        let Some((immutable, token)) = giver.lock()? else { return Ok(None) };
        let lost = Arc::new(AtomicBool::new(false));
        let (end, ended) = crossbeam_channel::bounded::<()>(0);
        let mut guard = Self { giver: giver.clone(), token, immutable, lost, refreshing: None };
        let (giver, token, lost) = (guard.giver.clone(), guard.token.clone(), Arc::clone(&guard.lost));
        let refresh = move || {
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                // One that does not answer may answer the next time: whether the lock outlived that is told by letting it go.
                if let Ok(false) = giver.refresh(&token) {
                    lost.store(true, Ordering::Relaxed);
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("timelock".to_owned()).spawn(refresh);
        let thread = thread.map_err(|source| ConnectorError::Io {
            operation: "start a thread for",
            object: guard.giver.shown(),
            source,
        })?;
        guard.refreshing = Some((end, thread));
        Ok(Some(guard))
    }

    /// Sweep keeps what a transaction that began here may read.
    pub(super) const fn immutable(&self) -> i64 {
        self.immutable
    }

    /// Fails as soon as it is known to be lost.
    pub(super) fn check(&self) -> Result<(), ConnectorError> {
        if self.lost.load(Ordering::Relaxed) { Err(self.is_lost()) } else { Ok(()) }
    }

    /// Lets it go.
    ///
    /// # Errors
    /// [`ConnectorError`] if it was not held any more.
    pub(super) fn release(mut self) -> Result<(), ConnectorError> {
        self.end();
        self.check()?;
        if self.giver.unlock(&std::mem::take(&mut self.token))? { Ok(()) } else { Err(self.is_lost()) }
    }

    fn is_lost(&self) -> ConnectorError {
        let reason = "the lock on the immutable timestamp was lost while tables were read: sweep may have taken versions that the backup \
                      needs";
        ConnectorError::Unreadable { object: self.giver.shown(), reason: reason.to_owned() }
    }

    fn end(&mut self) {
        if let Some((end, thread)) = self.refreshing.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end();
        if !self.token.is_empty() {
            // It ends by itself if it cannot be told.
            let _ = self.giver.unlock(&self.token);
        }
    }
}
