//! Stopping what is under way: waits end, and connections that are open are shut.

use super::connection::Connection;
use crate::record::pause;
use std::{
    net::{Shutdown, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Ends what a dropped stream still waits for.
#[derive(Debug, Default)]
pub(super) struct Stop {
    stopped: AtomicBool,
    open: Mutex<Vec<(u64, TcpStream)>>,
}

impl Stop {
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        for (_, stream) in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Sleeps, shorter if it is stopped.
    pub(super) fn sleep(&self, time: Duration) {
        pause(time, || self.is_stopped());
    }

    pub(super) fn watch(&self, id: u64, connection: &Connection) {
        if let Some(closer) = connection.closer() {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).push((id, closer));
        }
    }

    pub(super) fn forget(&self, id: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(watched, _)| *watched != id);
    }
}
