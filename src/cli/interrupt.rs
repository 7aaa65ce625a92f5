//! SIGINT and SIGTERM: the first asks the running verb to stop where it is safe, the second stops at once.

use super::exit::INTERRUPTED;
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Begins to listen. Called once per process; if the system refuses, signals keep their usual effect, which is safe too:
/// a repository survives a kill at any moment.
pub fn listen() {
    let _ = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    });
}

/// Whether someone asked to stop.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
