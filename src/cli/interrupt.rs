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

/// Lets a file that grows beyond what `ulimit -f` allows be an error of its writing, which is told, and not the end of the
/// process. Programs that are run from here are ended by it as ever.
pub fn outlive_file_limits() {
    #[cfg(unix)]
    {
        let heard = std::sync::Arc::new(AtomicBool::new(false));
        // If the system refuses, the signal keeps its usual effect.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, heard);
    }
}

/// Whether someone asked to stop.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
