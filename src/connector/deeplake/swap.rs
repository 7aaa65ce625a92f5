//! Putting a dataset that was written beside its place into it, whole, and taking away the one that was there.

use super::find::SIDE;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// A name beside another one that nobody else uses.
pub(super) fn beside(parent: &Path, what: &str, name: &str) -> io::Result<PathBuf> {
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(parent.join(format!("{SIDE}{what}-{name}-{}", data_encoding::HEXLOWER.encode(&random))))
}

/// Puts `side` to `place`, which lies in the same folder. What was there before is given as the path where it is now.
pub(super) fn swap(side: &Path, place: &Path) -> io::Result<Option<PathBuf>> {
    sync_all(side)?;
    let parent = place.parent().unwrap_or(Path::new("."));
    let old = if fs::symlink_metadata(place).is_ok() {
        Some(exchange(side, place, parent)?)
    } else {
        rename_new(side, place)?;
        None
    };
    File::open(parent)?.sync_all()?;
    Ok(old)
}

/// A place that somebody took meanwhile is not written over.
fn rename_new(side: &Path, place: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{
            fs::{CWD, RenameFlags},
            io::Errno,
        };
        match rustix::fs::renameat_with(CWD, side, CWD, place, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return Ok(renamed?),
        }
    }
    fs::rename(side, place)
}

fn exchange(side: &Path, place: &Path, parent: &Path) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{
            fs::{CWD, RenameFlags},
            io::Errno,
        };
        match rustix::fs::renameat_with(CWD, side, CWD, place, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(side.to_owned()),
        }
    }
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let old = beside(parent, "old", &name)?;
    fs::rename(place, &old)?;
    if let Err(error) = fs::rename(side, place) {
        // Back as it was; the error that is told is the first.
        let _ = fs::rename(&old, place);
        return Err(error);
    }
    Ok(old)
}

/// Makes everything below a folder durable.
fn sync_all(root: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::syncfs(File::open(root)?)?;
        Ok(())
    }
    #[cfg(not(target_os = "linux"))]
    {
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            if path.is_dir() { sync_all(&path)? } else { File::open(&path)?.sync_all()? }
        }
        File::open(root)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_takes_its_place_whole_and_what_was_there_is_kept_beside() {
        let dir = tempfile::tempdir().unwrap();
        let (side, place) = (dir.path().join("side"), dir.path().join("place"));
        let make = |path: &Path, text: &str| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("f"), text).unwrap();
        };
        make(&side, "one");
        assert_eq!(swap(&side, &place).unwrap(), None);
        make(&side, "two");
        let old = swap(&side, &place).unwrap().unwrap();
        assert_eq!(fs::read_to_string(place.join("f")).unwrap(), "two");
        assert_eq!(fs::read_to_string(old.join("f")).unwrap(), "one");
    }
}
