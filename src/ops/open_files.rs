//! How many files this process may have open at once: shells and services often begin with less than the system allows.

use std::io;

/// Raises it to what is wanted, as far as this process may.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn allow(wanted: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(u64::MAX).min(wanted);
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })?;
    }
    Ok(())
}

/// Raises nothing.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn allow(_wanted: u64) -> io::Result<()> {
    Ok(())
}

/// How many that are now.
#[must_use]
pub fn allowed() -> u64 {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    }
    #[cfg(not(unix))]
    u64::MAX
}
