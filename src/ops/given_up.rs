//! Sessions of runs that fail.

use super::Progress;
use crate::{repo::WriteSession, report::WarningKind};

/// Gives up what a run wrote that has failed: the next one finds it again where it is the same. If that fails too, it is said.
pub(super) fn give_up(session: WriteSession, progress: &dyn Progress) {
    if let Err(second) = session.abandon() {
        let words = format!("after the failure below, what was uploaded could not be indexed: {second}");
        progress.warn(WarningKind::CleanupFailed, "", words);
    }
}
