//! What a copy has finished, in a file, so that another run carries on behind it.

use crate::{
    connector::{ConnectorError, Handover, Resumable},
    ops::OpsError,
    report::ErrorKind,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{
    collections::BTreeSet,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

/// The version of the file's form.
const FORM: u32 = 1;
/// The longest that is read.
const MAX_BYTES: u64 = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    rekeep_copy: u32,
    /// What is copied.
    what: String,
    done: BTreeSet<String>,
    /// What the source handed over: which cluster it was, and when its nodes had started.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    source: Json,
}

/// What is finished.
#[derive(Debug, Default)]
pub struct State {
    path: Option<PathBuf>,
    what: String,
    done: BTreeSet<String>,
    source: Json,
}

impl State {
    /// Begins anew, or behind what a file says.
    ///
    /// # Errors
    /// [`OpsError`] if there is none, or it is of something else.
    pub fn open(path: Option<&Path>, go_on: bool, what: &str) -> Result<Self, OpsError> {
        let mut state = Self { path: path.map(Path::to_owned), what: what.to_owned(), ..Self::default() };
        let Some(path) = path.filter(|_| go_on) else { return Ok(state) };
        let object = path.display().to_string();
        let failed = |source| ConnectorError::Io { operation: "read", object: object.clone(), source };
        let file = fs::File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                OpsError::refused(ErrorKind::NothingToResume, format!("there is no state file {object} to go on from"))
            }
            _ => failed(source).into(),
        })?;
        let refused = |why: &str| refused(path, why);
        let kept: Kept = serde_json::from_reader(io::BufReader::new(io::Read::take(file, MAX_BYTES)))
            .map_err(|_| refused("it was not written by rekeep"))?;
        if kept.rekeep_copy != FORM {
            return Err(refused("another version of rekeep wrote it"));
        }
        if kept.what != what {
            return Err(refused("it is of another source or selection"));
        }
        state.done = kept.done;
        state.source = kept.source;
        Ok(state)
    }

    /// Asks the source whether it is still the one of which parts are finished, and notes what the next run is to ask of it.
    ///
    /// # Errors
    /// [`OpsError`] if it is not.
    pub(super) fn meet(&mut self, source: &dyn Resumable) -> Result<(), OpsError> {
        if !self.done.is_empty() {
            let told = Handover { told: &self.source, chosen: false, accept_deletions: false };
            let path = self.path.as_deref().unwrap_or_else(|| Path::new("the state"));
            source.take_over(&told).map_err(|why| refused(path, &why))?;
        }
        self.source = source.handover();
        Ok(())
    }

    /// How many parts are finished.
    #[must_use]
    pub fn len(&self) -> usize {
        self.done.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    pub(super) const fn is_kept(&self) -> bool {
        self.path.is_some()
    }

    pub(super) fn is_done(&self, part: &str) -> bool {
        self.done.contains(part)
    }

    pub(super) fn done(&mut self, part: &str) {
        self.done.insert(part.to_owned());
    }

    /// Writes it; the file is the old or the new one, whatever happens.
    pub(super) fn save(&self) -> Result<(), OpsError> {
        let Some(path) = &self.path else { return Ok(()) };
        let failed = |source| ConnectorError::Io { operation: "write", object: path.display().to_string(), source };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let (what, done, source) = (self.what.clone(), self.done.clone(), self.source.clone());
        let kept = Kept { rekeep_copy: FORM, what, done, source };
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
        serde_json::to_writer(&mut file, &kept).map_err(|error| failed(error.into()))?;
        file.flush().and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Removes it.
    pub(super) fn remove(&self) -> Result<(), OpsError> {
        let Some(path) = &self.path else { return Ok(()) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ConnectorError::Io { operation: "remove", object: path.display().to_string(), source: error }
                    .into())
            }
            _ => Ok(()),
        }
    }
}

fn refused(path: &Path, why: &str) -> OpsError {
    OpsError::Usage(format!("{} is no state to go on from: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_is_found_again_by_the_same_copy_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert!(State::open(Some(&path), true, "a").unwrap_err().to_string().contains("no state file"));
        let mut state = State::open(Some(&path), false, "a").unwrap();
        state.done("0/x");
        state.save().unwrap();
        let again = State::open(Some(&path), true, "a").unwrap();
        assert!(again.is_done("0/x") && again.len() == 1);
        assert!(State::open(Some(&path), true, "b").unwrap_err().to_string().contains("another source"));
        assert!(State::open(Some(&path), false, "b").unwrap().is_empty());
        fs::write(&path, "{}").unwrap();
        assert!(State::open(Some(&path), true, "a").unwrap_err().to_string().contains("not written by"));
        again.remove().unwrap();
        again.remove().unwrap();
    }
}
