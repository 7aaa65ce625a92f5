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

/// Open files that are asked for: each reader of a tree holds up to some hundred directories.
const OPEN_FILES: u64 = 8192;

/// Raises how many files may be open at once to what is needed, as far as this process may: shells and services often begin
/// with less than the system allows.
pub fn allow_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
        if current.is_some_and(|current| current < wanted) {
            // If the system refuses, running out of them is told where it happens.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        }
    }
}

/// Whether someone asked to stop.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
