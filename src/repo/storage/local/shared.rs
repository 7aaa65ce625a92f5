//! File systems that are mounted in several places at once, each of which remembers for a while what a folder holds: a listing there
//! may lack what another machine has just made.

use std::path::Path;

/// NFS (a minute, if not told otherwise), SMB and CIFS, FUSE (sshfs remembers for 20 s, and what is behind a driver cannot be told), 9P,
/// AFS, folders that a virtual machine shares with its host.
const REMEMBERING: [u64; 9] =
    [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x0102_1997, 0x5346_414F, 0x786F_4256, 0xBACB_ACBC];

/// Whether a folder, or where it would be made, lies on such a file system.
pub(super) fn remembers_listings(folder: &Path) -> bool {
    let kind = folder.ancestors().find_map(|folder| Some(rustix::fs::statfs(folder).ok()?.f_type));
    kind.is_some_and(|kind| is_remembering(kind.cast_unsigned()))
}

fn is_remembering(kind: u64) -> bool {
    REMEMBERING.contains(&(kind & 0xFFFF_FFFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_from_disks_of_this_machine() {
        // NFS, sshfs and its kin; CIFS as 32-bit systems give it, with its sign.
        assert!([0x6969, 0x6573_5546, 0xFFFF_FFFF_FF53_4D42].into_iter().all(is_remembering));
        // ext4, XFS, Btrfs, tmpfs.
        assert!(![0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994].into_iter().any(is_remembering));
        assert!(!remembers_listings(Path::new("/proc/not/there")));
    }
}
