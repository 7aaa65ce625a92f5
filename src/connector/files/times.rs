//! Times of files as the system takes them.

use super::cells::FileTime;
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};

/// A modification time to set; the access time stays.
pub(super) fn times(mtime: FileTime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
    }
}
