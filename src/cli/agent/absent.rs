//! In place of secret agents, where this program was built without them.

use crate::cli::exit::Failure;
use std::path::Path;
use zeroize::Zeroizing;

/// No path names a secret.
#[expect(clippy::unnecessary_wraps, reason = "it is that of who can ask an agent")]
pub(in crate::cli) fn secret_of_path(_: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    Ok(None)
}
