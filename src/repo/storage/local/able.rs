//! What a file system can, found out where it first says no: shares of other systems and drivers in user space answer a
//! folder's sync or a hard link with any of several errors. What worked once and fails later is a failure.

use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::repo::storage::Created;

/// The calls that not every file system knows, and what is known of them.
pub(super) struct Able {
    sync: fn(&Path) -> io::Result<()>,
    link: fn(&Path, &Path) -> io::Result<()>,
    rename: fn(&Path, &Path) -> io::Result<Created>,
    /// Whether folders can be synced, once that was tried.
    syncs: OnceLock<bool>,
    /// Whether there are hard links, once that was tried.
    links: OnceLock<bool>,
    /// Whether a rename can be told to replace nothing, once that was tried.
    renames: OnceLock<bool>,
}

impl Default for Able {
    fn default() -> Self {
        let sync = |folder: &Path| File::open(folder)?.sync_all();
        Self {
            sync,
            link: |from, to| fs::hard_link(from, to),
            rename: rename_new,
            syncs: OnceLock::new(),
            links: OnceLock::new(),
            renames: OnceLock::new(),
        }
    }
}

impl Able {
    /// Makes durable what lies in a folder, where the file system can.
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.syncs.get() == Some(&false) {
            return Ok(());
        }
        match (self.sync)(folder) {
            Ok(()) => {
                let _ = self.syncs.set(true);
                Ok(())
            }
            Err(error) if may_be_unable(&error) && !*self.syncs.get_or_init(|| false) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives a whole, synced file its final name, unless that is taken.
    pub(super) fn publish(&self, temporary: &Path, target: &Path) -> io::Result<Created> {
        if self.links.get() == Some(&false) {
            return self.rename(temporary, target);
        }
        match (self.link)(temporary, target) {
            Ok(()) => {
                let _ = self.links.set(true);
                Ok(Created::New)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Exists),
            Err(error) if has_no_links(&error) => self.rename(temporary, target),
            Err(error) if may_be_unable(&error) && self.links.get() != Some(&true) => {
                // If this fails too, links are not the matter.
                let created = self.rename(temporary, target)?;
                let _ = self.links.set(false);
                Ok(created)
            }
            Err(error) => Err(error),
        }
    }

    /// For file systems without hard links.
    fn rename(&self, temporary: &Path, target: &Path) -> io::Result<Created> {
        if self.renames.get() == Some(&false) {
            return rename_looked(temporary, target);
        }
        match (self.rename)(temporary, target) {
            Ok(created) => {
                let _ = self.renames.set(true);
                Ok(created)
            }
            Err(error) if may_be_unable(&error) && self.renames.get() != Some(&true) => {
                // If this fails too, the flag is not the matter.
                let created = rename_looked(temporary, target)?;
                let _ = self.renames.set(false);
                Ok(created)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether of two creates of one name exactly one succeeds, as far as is known.
    pub(super) fn creates_once(&self) -> bool {
        self.renames.get() != Some(&false)
    }

    /// Whether it was tried how a file gets its name.
    pub(super) fn is_known(&self) -> bool {
        self.links.get() == Some(&true) || self.renames.get().is_some()
    }

    /// What is weaker than it should be, in words.
    pub(super) fn weaker(&self) -> Option<String> {
        if !self.creates_once() {
            let words = "the file system knows neither hard links nor a rename that replaces nothing: of two who make one object \
                         at the same time both may believe that they were first. Deletions wait for a grace period here";
            return Some(words.to_owned());
        }
        let words = "the file system cannot sync folders: what was just made may be gone after a power cut, so that a backup \
                     is durable only some seconds after it says so";
        (self.syncs.get() == Some(&false)).then(|| words.to_owned())
    }
}

fn code(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

fn has_no_links(error: &io::Error) -> bool {
    matches!(code(error), Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK))
}

/// Whether an error may mean that the file system does not know the call.
fn may_be_unable(error: &io::Error) -> bool {
    let code = code(error);
    has_no_links(error)
        || matches!(code, Some(Errno::INVAL | Errno::NOTSUP | Errno::BADF | Errno::ACCESS | Errno::IO | Errno::NOTTY))
}

/// For file systems without hard links.
pub(in crate::repo::storage) fn rename_new(temporary: &Path, target: &Path) -> io::Result<Created> {
    match rustix::fs::renameat_with(CWD, temporary, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Created::New),
        Err(Errno::EXIST) => Ok(Created::Exists),
        Err(error) => Err(error.into()),
    }
}

/// For file systems that know no rename but the plain one: whether the name is taken is looked at before, which closes no
/// race with another machine.
fn rename_looked(temporary: &Path, target: &Path) -> io::Result<Created> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _here = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match fs::symlink_metadata(target) {
        Ok(_) => Ok(Created::Exists),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(temporary, target).map(|()| Created::New),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<const CODE: i32>() -> io::Result<()> {
        Err(io::Error::from_raw_os_error(CODE))
    }

    const INVAL: i32 = Errno::INVAL.raw_os_error();
    const IO: i32 = Errno::IO.raw_os_error();

    #[test]
    fn what_a_file_system_cannot_is_found_out_and_gone_without() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let unable = [
            Able { sync: |_| refused::<INVAL>(), link: |_, _| refused::<INVAL>(), ..Able::default() },
            Able { sync: |_| refused::<IO>(), link: |_, _| refused::<IO>(), ..Able::default() },
        ];
        for able in unable {
            assert!(able.weaker().is_none());
            able.sync_folder(dir.path()).unwrap();
            assert!(able.weaker().is_some());
            fs::write(&from, "x").unwrap();
            assert!(matches!(able.publish(&from, &to).unwrap(), Created::New));
            fs::write(&from, "y").unwrap();
            assert!(matches!(able.publish(&from, &to).unwrap(), Created::Exists));
            assert_eq!(fs::read_to_string(&to).unwrap(), "x", "what is there stays");
            fs::remove_file(&to).unwrap();
        }
    }

    #[test]
    fn where_there_is_no_way_to_replace_nothing_it_goes_on_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let rename = |_: &Path, _: &Path| Err(io::Error::from_raw_os_error(INVAL));
        let able = Able { link: |_, _| refused::<INVAL>(), rename, ..Able::default() };
        assert!(able.creates_once() && !able.is_known());
        fs::write(&from, "x").unwrap();
        assert!(matches!(able.publish(&from, &to).unwrap(), Created::New));
        assert!(!able.creates_once() && able.is_known());
        assert!(able.weaker().unwrap().contains("hard links"));
        fs::write(&from, "y").unwrap();
        assert!(matches!(able.publish(&from, &to).unwrap(), Created::Exists));
        assert_eq!(fs::read_to_string(&to).unwrap(), "x", "what is there stays");
        let able = Able { link: |_, _| refused::<INVAL>(), rename, ..Able::default() };
        assert!(able.publish(&dir.path().join("none"), &dir.path().join("d")).is_err());
        assert!(!able.is_known(), "that failed for another reason");
    }

    #[test]
    fn what_worked_and_fails_later_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let mut able = Able::default();
        able.sync_folder(dir.path()).unwrap();
        fs::write(dir.path().join("a"), "x").unwrap();
        able.publish(&dir.path().join("a"), &dir.path().join("b")).unwrap();
        able.sync = |_| refused::<IO>();
        able.link = |_, _| refused::<IO>();
        assert!(able.sync_folder(dir.path()).is_err() && able.weaker().is_none());
        assert!(able.publish(&dir.path().join("a"), &dir.path().join("c")).is_err());
        let able = Able { link: |_, _| refused::<IO>(), ..Able::default() };
        assert!(able.publish(&dir.path().join("none"), &dir.path().join("d")).is_err());
    }
}
