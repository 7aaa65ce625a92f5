//! Giving a complete file its name: durably, and, where it must not, never over another file.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Why a file did not get its name.
#[derive(Debug)]
pub(in crate::connector) struct Unpublished {
    /// What was tried.
    pub(in crate::connector) operation: &'static str,
    /// What the system said.
    pub(in crate::connector) error: io::Error,
}

/// What is at the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connector) enum Present {
    /// It is replaced.
    Replaced,
    /// It stays, and the unfinished file too: [`io::ErrorKind::AlreadyExists`].
    Kept,
}

/// Gives a file that lies in the same directory its name. What is in it is durable before, the name after.
pub(in crate::connector) fn publish(partial: &Path, path: &Path, present: Present) -> Result<(), Unpublished> {
    let failed = |operation| move |error| Unpublished { operation, error };
    File::open(partial).and_then(|file| file.sync_all()).map_err(failed("sync"))?;
    match present {
        Present::Replaced => fs::rename(partial, path).map_err(failed("rename"))?,
        Present::Kept => match fs::hard_link(partial, path) {
            Ok(()) => fs::remove_file(partial).map_err(failed("remove"))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(failed("make")(error)),
            // The file system has no hard links.
            Err(_) => fs::rename(partial, path).map_err(failed("rename"))?,
        },
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if cfg!(unix) => Err(failed("sync the directory of")(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_its_name_and_never_over_another_one_that_is_to_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (partial, path) = (dir.path().join("partial"), dir.path().join("whole"));
        fs::write(&partial, "one").unwrap();
        publish(&partial, &path, Present::Kept).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), partial.exists()), ("one", false));
        fs::write(&partial, "two").unwrap();
        let refused = publish(&partial, &path, Present::Kept).unwrap_err();
        assert_eq!(refused.error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(fs::read_to_string(&partial).unwrap(), "two", "nothing is lost");
        publish(&partial, &path, Present::Replaced).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), partial.exists()), ("two", false));
    }
}
