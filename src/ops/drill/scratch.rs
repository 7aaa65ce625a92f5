//! Places to restore to for a while. What a drill that was killed left behind is removed by the next one: each folder has a
//! lock, which the system lets go of when its holder dies.

use crate::{ops::OpsError, repo::entropy, report::ErrorKind};
use data_encoding::HEXLOWER;
use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// What the names of folders begin with.
const PREFIX: &str = "drill-";

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    lock: PathBuf,
    /// The system lets go of it when this process ends, however it ends.
    _held: File,
}

fn failed(path: &Path, error: &io::Error) -> OpsError {
    OpsError::refused(ErrorKind::Io, format!("the scratch folder {}: {error}", path.display()))
}

impl Scratch {
    /// Makes one below `root`, after removing what others left there. Gives also what was removed, or could not be, in words.
    pub(super) fn make(root: &Path) -> Result<(Self, Vec<String>), OpsError> {
        make_private(root).map_err(|error| failed(root, &error))?;
        let notes = clear(root).map_err(|error| failed(root, &error))?;
        loop {
            let mut name = [0; 16];
            entropy::fill(&mut name)?;
            let folder = root.join(format!("{PREFIX}{}", HEXLOWER.encode(&name)));
            let lock = folder.with_extension("lock");
            let held = File::options().create_new(true).write(true).open(&lock).map_err(|e| failed(&lock, &e))?;
            if held.try_lock().is_err() || !lock.exists() {
                // Whoever clears up was between its making and its locking.
                continue;
            }
            make_private(&folder).map_err(|error| failed(&folder, &error))?;
            return Ok((Self { folder, lock, _held: held }, notes));
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes it; says why that is not possible.
    pub(super) fn remove(self) -> Result<(), String> {
        self.clear().map_err(|error| format!("{} could not be removed: {error}", self.folder.display()))
    }

    fn clear(&self) -> io::Result<()> {
        remove_folder(&self.folder)?;
        // Only then: a folder without a lock would be nobody's.
        absent_is_fine(fs::remove_file(&self.lock))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whoever wants to know calls `remove`; what is left goes with the next drill.
        let _ = self.clear();
    }
}

/// Keeps others out of a target that was given, on this host.
#[derive(Debug)]
pub(super) struct TargetLock {
    _held: File,
}

impl TargetLock {
    pub(super) fn take(root: &Path, target: &str) -> Result<Self, OpsError> {
        make_private(root).map_err(|error| failed(root, &error))?;
        let hash = blake3::hash(target.as_bytes()).to_hex();
        let path = root.join(format!("target-{}.lock", &hash.as_str()[..32]));
        let held = File::options().create(true).truncate(false).write(true).open(&path);
        let held = held.map_err(|error| failed(&path, &error))?;
        match held.try_lock() {
            Ok(()) => Ok(Self { _held: held }),
            Err(TryLockError::WouldBlock) => {
                let words = format!("another drill is at work in {}", crate::connector::url::without_password(target));
                Err(OpsError::refused(ErrorKind::Locked, words))
            }
            Err(TryLockError::Error(error)) => Err(failed(&path, &error)),
        }
    }
}

/// Removes the folders whose drills are over.
fn clear(root: &Path) -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(root)? {
        let lock = entry?.path();
        let name = lock.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_one = name
            .strip_prefix(PREFIX)
            .and_then(|name| name.strip_suffix(".lock"))
            .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(held) = is_one.then(|| File::options().write(true).open(&lock)).and_then(Result::ok) else { continue };
        if held.try_lock().is_err() {
            continue;
        }
        let folder = lock.with_extension("");
        let was_there = folder.exists();
        match remove_folder(&folder).and_then(|()| absent_is_fine(fs::remove_file(&lock))) {
            Ok(()) if was_there => {
                notes.push(format!(
                    "a drill before this one was broken off: what it left in {} was removed",
                    folder.display()
                ));
            }
            Ok(()) => {}
            Err(error) => {
                notes.push(format!("what an earlier drill left in {} cannot be removed: {error}", folder.display()));
            }
        }
    }
    Ok(notes)
}

/// A folder that only its owner sees into: what is restored there is as secret as where it came from.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes a folder with all that is in it; folders that were restored as read-only are opened first.
fn remove_folder(folder: &Path) -> io::Result<()> {
    if absent_is_fine(fs::remove_dir_all(folder)).is_ok() {
        return Ok(());
    }
    open_up(folder)?;
    absent_is_fine(fs::remove_dir_all(folder))
}

fn open_up(root: &Path) -> io::Result<()> {
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        #[cfg(unix)]
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            // Links are not followed.
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_drill_left_that_was_killed_goes_with_the_next_one_and_nothing_else_does() {
        let root = tempfile::tempdir().unwrap();
        let (alive, notes) = Scratch::make(root.path()).unwrap();
        assert!(notes.is_empty());
        fs::write(alive.folder().join("of-the-living"), "x").unwrap();
        // As a killed process leaves it: the files, and nobody who holds the lock.
        let left = root.path().join(format!("{PREFIX}{}", "0a".repeat(16)));
        fs::create_dir_all(left.join("deep/er")).unwrap();
        #[cfg(unix)]
        fs::set_permissions(left.join("deep"), std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
        fs::write(left.with_extension("lock"), "").unwrap();
        fs::create_dir(root.path().join("drill-of-somebody")).unwrap();
        fs::write(root.path().join("notes.lock"), "").unwrap();
        let (other, notes) = Scratch::make(root.path()).unwrap();
        assert!(notes.len() == 1 && notes[0].contains("broken off"), "{notes:?}");
        assert!(!left.exists() && !left.with_extension("lock").exists());
        assert!(alive.folder().join("of-the-living").exists());
        let folders = [alive.folder().to_owned(), other.folder().to_owned()];
        alive.remove().unwrap();
        drop(other);
        assert!(folders.iter().all(|folder| !folder.exists() && !folder.with_extension("lock").exists()));
        let mut rest: Vec<_> =
            fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        rest.sort();
        assert_eq!(rest, ["drill-of-somebody", "notes.lock"]);
    }

    #[test]
    fn one_drill_at_a_time_has_a_target() {
        let root = tempfile::tempdir().unwrap();
        let held = TargetLock::take(root.path(), "aerospike://h/n").unwrap();
        assert!(TargetLock::take(root.path(), "aerospike://h/m").is_ok());
        let error = TargetLock::take(root.path(), "aerospike://h/n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        drop(held);
        assert!(TargetLock::take(root.path(), "aerospike://h/n").is_ok());
    }
}
