//! Which repository lay where, by what this service has seen: a place that is empty all of a sudden is no place for a new one. A
//! folder that is not mounted looks like that.

use crate::{
    ops::OpsError,
    repo::{RepoError, RepoId, Repository, keys},
    report::ErrorKind,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The folder of the state that holds a file for each place.
const FOLDER: &str = "repositories";

/// The file of a place. What says where it lies may be long and may hold anything.
fn file(state: &Path, location: &str) -> PathBuf {
    let hash = blake3::hash(location.as_bytes()).to_hex();
    state.join(FOLDER).join(&hash[..32])
}

/// The repository that lay at a place when it was last opened.
pub(super) fn known(state: &Path, location: &str) -> Option<String> {
    let text = fs::read_to_string(file(state, location)).ok()?;
    text.lines().next().filter(|line| !line.is_empty()).map(str::to_owned)
}

/// Takes note of one. Without it nothing but the warning is lost.
pub(super) fn note(state: &Path, location: &str, id: RepoId) -> io::Result<()> {
    if known(state, location).as_deref() == Some(&id.to_string()) {
        return Ok(());
    }
    let path = file(state, location);
    fs::create_dir_all(state.join(FOLDER))?;
    let new = path.with_extension("new");
    fs::write(&new, format!("{id}\n{location}\n"))?;
    fs::rename(new, path)
}

/// One that was there before, and is not there now: a new one in its place would begin anew in silence.
pub(super) fn gone(name: &str, id: &str) -> OpsError {
    let words = format!(
        "{name}: repository {id} was there, and now there is none: is its storage mounted, and the same? If it is to begin anew, \
         make a repository there"
    );
    OpsError::refused(ErrorKind::Storage, words)
}

/// Lists storage anew. What is not there at all is said: a folder that is gone looks like an empty one.
///
/// # Errors
/// What storage says.
pub(super) fn list_anew(name: &str, repo: &Repository) -> Result<(), OpsError> {
    match keys::read_config(repo.storage()) {
        Ok(_) => {}
        Err(RepoError::NoRepository { .. }) => return Err(gone(name, &repo.id().to_string())),
        Err(error) => return Err(error.into()),
    }
    // What is doubtful there is told by jobs.
    repo.refresh()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_where_it_lies() {
        let state = tempfile::tempdir().unwrap();
        let (one, two) = (RepoId([1; 16]), RepoId([2; 16]));
        assert_eq!(known(state.path(), "/a"), None);
        note(state.path(), "/a", one).unwrap();
        note(state.path(), "/a", one).unwrap();
        assert_eq!((known(state.path(), "/a"), known(state.path(), "/b")), (Some(one.to_string()), None));
        note(state.path(), "/a", two).unwrap();
        assert_eq!(known(state.path(), "/a"), Some(two.to_string()));
    }
}
