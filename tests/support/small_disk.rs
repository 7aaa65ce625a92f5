//! A disk that is soon full.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

/// A directory on a file system of 8 MiB, which `tests/run` mounts.
pub struct SmallDisk(pub PathBuf, #[expect(dead_code, reason = "held while it is used")] MutexGuard<'static, ()>);

/// What is larger is some other file system.
const MOST_BYTES: u64 = 64 << 20;

/// There is one such disk, which two tests would fill together.
static DISK: Mutex<()> = Mutex::new(());

impl SmallDisk {
    /// On the part of that name.
    pub fn open(part: &str) -> Self {
        let alone = DISK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let parts = std::env::var_os("REKEEP_PARTS").expect("REKEEP_PARTS says where parts lie");
        let dir = PathBuf::from(parts).join(part).join(std::process::id().to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let stat = rustix::fs::statvfs(&dir).unwrap();
        let is_small = stat.f_blocks * stat.f_frsize <= MOST_BYTES;
        assert!(is_small, "nothing small is mounted at {}, and what is there will not be filled", dir.display());
        Self(dir, alone)
    }

    /// Leaves only so many bytes.
    pub fn fill_up_to(&self, free: u64) {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let room = (stat.f_bavail * stat.f_frsize).saturating_sub(free);
        std::fs::write(self.0.join("filler"), vec![0; room as usize]).unwrap();
    }

    /// There is room again.
    pub fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
