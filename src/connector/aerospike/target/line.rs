//! The connection that a thread uses, so that another can end it.

use std::{
    net::{Shutdown, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The connection that one thread uses.
#[derive(Debug, Default)]
pub(super) struct Line {
    ended: AtomicBool,
    socket: Mutex<Option<TcpStream>>,
}

impl Line {
    /// Notes what is used now; gives `false` if all is to end.
    pub(super) fn use_of(&self, socket: Option<TcpStream>) -> bool {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = socket;
        !self.ended.load(Ordering::SeqCst)
    }

    /// Ends what is used now, and all that would be used later.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(socket) = self.socket.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // One that is closed already has ended as well.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
