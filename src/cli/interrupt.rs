//! SIGINT, SIGTERM and SIGHUP: the first asks the running verb to stop where it is safe, the second stops at once.

use super::exit::INTERRUPTED;
use std::sync::{
    Arc, LazyLock, Once,
    atomic::{AtomicBool, Ordering},
};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

static LISTENING: Once = Once::new();

/// Begins to listen, once; if the system refuses, signals keep their usual effect, which is safe too: a repository survives a
/// kill at any moment.
pub fn listen() {
    LISTENING.call_once(|| {
        let _ = ctrlc::set_handler(|| {
            if REQUESTED.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(INTERRUPTED));
            }
        });
        #[cfg(unix)]
        {
            use signal_hook::{
                consts::{SIGHUP, SIGTERM},
                flag,
            };
            for signal in [SIGTERM, SIGHUP] {
                // Under `nohup` it is to go on when the terminal is closed.
                if signal == SIGHUP && is_ignored(signal) {
                    continue;
                }
                // In this order: the first signal does not see its own mark.
                let second =
                    flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&REQUESTED));
                let _ = second.and_then(|_| flag::register(signal, Arc::clone(&REQUESTED)));
            }
        }
    });
}

/// Whether whoever started this process had it ignore a signal, where the system tells.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| (mask >> (signal - 1)) & 1 == 1)
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
