//! How many connections there is room for. Each is an open file, and so is all that backups read and write: these come first.

/// Files that may be open, where the system would let it be more.
#[cfg(unix)]
const MOST_FILES: u64 = 65_536;

/// Connections at once, at most so many and half of the files that may be open. As many files as the system allows are asked for.
#[cfg(unix)]
pub(super) fn connections(most: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(MOST_FILES);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!("no more files than {:?} may be open: {error}", limit.current);
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 2).unwrap_or(usize::MAX).clamp(1, most)
}

/// Connections at once.
#[cfg(not(unix))]
pub(super) const fn connections(most: usize) -> usize {
    most
}
