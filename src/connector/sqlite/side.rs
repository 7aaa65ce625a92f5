//! Files that stand beside a database: a journal or a write-ahead log of another one would be played into it.

use super::error;
use crate::connector::ConnectorError;
use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt as _,
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
        fs::rename(&side, &aside).map_err(|failed| error::io("move aside", &side, failed))?;
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
        fs::remove_file(&side).map_err(|failed| error::io("remove", &side, failed))?;
    }
    Ok(())
}

/// What the header of a database says of its writers in its bytes 18 and 19: they keep a write-ahead log.
const LOGS: [u8; 2] = [2, 2];

/// Why a log of writers may lie beside another name of the same database, where SQLite, which is given this name, does not look: then
/// neither does it see what they committed, nor they what it would write.
pub(super) fn may_lack_its_log(path: &Path) -> Option<String> {
    let mut head = [0; 20];
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    fs::File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut head)).ok()?;
    let has_log = fs::metadata(with_ending(path, "-wal")).is_ok_and(|log| log.len() > 0);
    if head[18..] != LOGS || has_log {
        return None;
    }
    let how = if metadata.nlink() > 1 {
        format!("it is a file of {} names", metadata.nlink())
    } else if is_mounted_by_itself(path) {
        "it is a file that is mounted by itself".to_owned()
    } else {
        return None;
    };
    Some(format!(
        "{}: {how}, and its writers keep a write-ahead log: one that lies beside another name is not seen by this one. Name the \
         file as its writers do, or mount its directory",
        path.display()
    ))
}

#[cfg(target_os = "linux")]
fn is_mounted_by_itself(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let mount = |path: &Path| statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).map(|found| found.stx_mnt_id);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    matches!((mount(path), mount(folder)), (Ok(file), Ok(folder)) if file != folder)
}

#[cfg(not(target_os = "linux"))]
fn is_mounted_by_itself(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_may_lie_beside_another_name() {
        let room = tempfile::tempdir().unwrap();
        let (path, other) = (room.path().join("x.db"), room.path().join("hard.db"));
        let live = rusqlite::Connection::open(&path).unwrap();
        live.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
        fs::hard_link(&path, &other).unwrap();
        assert_eq!(may_lack_its_log(&other), None, "there is no log");
        live.execute_batch("PRAGMA journal_mode = WAL; INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(may_lack_its_log(&path), None, "this is the name");
        assert!(may_lack_its_log(&other).unwrap().contains("a file of 2 names"));
        fs::remove_file(&other).unwrap();
        drop(live);
        assert_eq!(may_lack_its_log(&path), None, "there is one name");
    }

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
