//! Files that stand beside a database: a journal or a write-ahead log of another one would be played into it.

use super::error::io;
use crate::connector::ConnectorError;
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// What SQLite appends to a database's name: the rollback journal, the write-ahead log, and that log's index.
const ENDINGS: [&str; 3] = ["-journal", "-wal", "-shm"];

/// What the name of a file that was moved aside ends with.
const ASIDE: &str = ".rekeep-aside";

/// A path with something behind its last name.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// Whether a path is there, be it a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Gives other names to what stands beside a database that is about to come; says so.
pub(super) fn move_aside(path: &Path) -> Result<Vec<String>, ConnectorError> {
    let mut notes = Vec::new();
    for side in ENDINGS.map(|ending| with_ending(path, ending)).into_iter().filter(|side| is_there(side)) {
        let mut aside = with_ending(&side, ASIDE);
        for number in 1.. {
            if !is_there(&aside) {
                break;
            }
            aside = with_ending(&side, &format!("{ASIDE}.{number}"));
        }
        fs::rename(&side, &aside).map_err(|error| io("move aside", &side, error))?;
        notes.push(format!(
            "{} belonged to a database that is gone, and SQLite would have played it into the restored one: it is now {}",
            side.display(),
            aside.display()
        ));
    }
    Ok(notes)
}

/// Removes what stands beside a file of our own that is no more.
pub(super) fn remove(path: &Path) -> Result<(), ConnectorError> {
    for side in ENDINGS.map(|ending| with_ending(path, ending)).into_iter().filter(|side| is_there(side)) {
        fs::remove_file(&side).map_err(|error| io("remove", &side, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_is_moved_and_never_over_another_file() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("x.db");
        for content in ["first", "second", "third"] {
            fs::write(with_ending(&path, "-wal"), content).unwrap();
            assert_eq!(move_aside(&path).unwrap().len(), 1);
        }
        let content = |name: &str| fs::read_to_string(room.path().join(name)).unwrap();
        assert_eq!(content("x.db-wal.rekeep-aside"), "first");
        assert_eq!(content("x.db-wal.rekeep-aside.1"), "second");
        assert_eq!(content("x.db-wal.rekeep-aside.2"), "third");
        assert_eq!(move_aside(&path).unwrap(), Vec::<String>::new());
    }
}
