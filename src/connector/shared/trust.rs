//! What a file system's numbers are worth: whether the size that it tells is the content's, and whether its times prove that
//! nothing was written. The conditions are specified in `format-spec/files.md`.

use rustix::fd::BorrowedFd;

/// A file must have rested this long before its times tell the next version from this one: a kernel's clock for file
/// times ticks every 1 to 10 ms.
const TICK_NANOS: i128 = 20_000_000;
/// The same where times seem to be kept in whole seconds.
const COARSE_TICK_NANOS: i128 = 2_000_000_000;
/// The same where another machine sets the times: its clock may be that far from ours.
const REMOTE_NANOS: i128 = 3_600_000_000_000;

/// What is known of the file system that a file lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connector) enum Trust {
    /// A local one: every write and every change of attributes moves the change time, which nobody can set.
    Local,
    /// The same, by another machine's clock.
    Remote,
    /// It need not be so: files are read whenever they are asked for, and an empty one may have content.
    None,
    /// Contents are made when they are read, and sizes say nothing.
    Made,
}

impl Trust {
    /// What the file system of an open directory or file is worth.
    #[cfg(target_os = "linux")]
    pub(in crate::connector) fn of(fd: BorrowedFd<'_>) -> Self {
        rustix::fs::fstatfs(fd).map_or(Self::None, |stat| Self::of_magic(stat.f_type as u32))
    }

    /// What the file system of an open directory or file is worth.
    #[cfg(not(target_os = "linux"))]
    pub(in crate::connector) fn of(_fd: BorrowedFd<'_>) -> Self {
        Self::Local
    }

    /// By the number that Linux tells a file system's kind by.
    fn of_magic(magic: u32) -> Self {
        match magic {
            // ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, ramfs, overlayfs, ZFS, bcachefs, JFS, NILFS2, UBIFS.
            0xef53 | 0x5846_5342 | 0x9123_683e | 0xf2f5_2010 | 0x0102_1994 | 0x8584_58f6 | 0x794c_7630
            | 0x2fc1_2fc1 | 0xca45_1a4e | 0x3153_464a | 0x3434 | 0x2405_1905 => Self::Local,
            // NFS, Ceph.
            0x6969 | 0x00c3_6400 => Self::Remote,
            // proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, configfs, pstore, efivarfs, binfmt_misc, devpts,
            // selinuxfs, BPF.
            0x9fa0 | 0x6265_6572 | 0x0027_e0eb | 0x6367_7270 | 0x6462_6720 | 0x7472_6163 | 0x7363_6673
            | 0x6265_6570 | 0x6165_676c | 0xde5e_81e4 | 0x4249_4e4d | 0x1cd1 | 0xf97c_ff8c | 0xcafe_4a11 => Self::Made,
            _ => Self::None,
        }
    }

    /// Whether overlayfs is meant, where files and directories may name different devices.
    #[cfg(target_os = "linux")]
    pub(in crate::connector) fn is_overlay(fd: BorrowedFd<'_>) -> bool {
        rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type as u32 == 0x794c_7630)
    }

    /// Whether overlayfs is meant, where files and directories may name different devices.
    #[cfg(not(target_os = "linux"))]
    pub(in crate::connector) fn is_overlay(_fd: BorrowedFd<'_>) -> bool {
        true
    }

    /// Whether a file of this size has to be read to its end to know how long it is.
    pub(in crate::connector) const fn is_unsized(self, size: u64) -> bool {
        matches!(self, Self::Made) || matches!(self, Self::None) && size == 0
    }

    /// Whether a write after `now` would leave a time of this file other than it is.
    pub(in crate::connector) fn has_rested(self, (seconds, nanos): (i64, i64), now_nanos: i128) -> bool {
        let rest = match self {
            Self::Local if nanos == 0 => COARSE_TICK_NANOS,
            Self::Local => TICK_NANOS,
            Self::Remote => REMOTE_NANOS,
            Self::None | Self::Made => return false,
        };
        i128::from(seconds) * 1_000_000_000 + i128::from(nanos) + rest < now_nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_file_systems_prove_that_nothing_was_written() {
        let long_ago = (1_000_000_000, 5);
        let now = 2_000_000_000_000_000_000;
        for (magic, trust) in [
            (0xef53, Trust::Local),
            (0x6969, Trust::Remote),
            (0x9fa0, Trust::Made),
            (0x6573_5546, Trust::None),
            (0x4d44, Trust::None),
        ] {
            assert_eq!(Trust::of_magic(magic), trust, "{magic:x}");
            assert_eq!(trust.has_rested(long_ago, now), matches!(trust, Trust::Local | Trust::Remote), "{magic:x}");
        }
        // A server's clock may be behind ours.
        let half_an_hour_ago = (2_000_000_000 - 1800, 5);
        assert!(Trust::Local.has_rested(half_an_hour_ago, now) && !Trust::Remote.has_rested(half_an_hour_ago, now));
    }

    #[test]
    fn an_empty_file_is_believed_where_sizes_are_kept() {
        assert!(!Trust::Local.is_unsized(0) && !Trust::Remote.is_unsized(0));
        assert!(Trust::None.is_unsized(0) && !Trust::None.is_unsized(1));
        assert!(Trust::Made.is_unsized(0) && Trust::Made.is_unsized(4096));
    }
}
