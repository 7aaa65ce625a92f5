//! Collective tombstones: many forgotten snapshots named by one object, after which their folders go
//! (`format-spec/protocol.md`, section 3).

use super::{Inner, names, refresh::unread_object};
use crate::{
    repo::{
        RepoError, SnapshotId, entropy,
        keys::Signer,
        object::{self, ObjectKind},
        storage::Listing,
    },
    report::Warning,
};
use std::collections::BTreeSet;

/// How many snapshots one object names at most.
const MAX_NAMED: usize = 200_000;

/// How often a listing is taken again because what it names went away.
const MAX_LOOKS: usize = 10;

const FOLDER: &str = "forgotten/";

/// `forgotten/<M>`.
fn path(id: &SnapshotId) -> String {
    format!("forgotten/{id}")
}

/// The ids in ascending order, one after the other.
fn body(snapshots: &[SnapshotId]) -> Vec<u8> {
    snapshots.iter().flat_map(|id| id.0).collect()
}

pub(in crate::repo) fn parse(name: &str, body: &[u8]) -> Result<Vec<SnapshotId>, RepoError> {
    let (ids, rest) = body.as_chunks::<16>();
    let ascends = ids.windows(2).all(|pair| pair[0] < pair[1]);
    if !rest.is_empty() || !ascends || ids.len() > MAX_NAMED {
        return Err(RepoError::damaged(name, "it is no ascending list of snapshots"));
    }
    Ok(ids.iter().copied().map(SnapshotId).collect())
}

impl Inner {
    /// Lists `forgotten/` and takes in what is new. One that cannot be read is a warning: its snapshots are needed again.
    pub(in crate::repo) fn refresh_forgotten(&self, warnings: &mut Vec<Warning>) -> Result<Vec<String>, RepoError> {
        self.refresh_forgotten_of(Listing::later(&self.storage, FOLDER), warnings)
    }

    /// The same of a listing that was begun before.
    pub(super) fn refresh_forgotten_of(
        &self,
        listing: Listing,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<String>, RepoError> {
        let mut listing = Some(listing);
        'looking: for _ in 0..MAX_LOOKS {
            let listing = listing.take().unwrap_or_else(|| Listing::later(&self.storage, FOLDER)).get()?;
            let known = self.catalog.forgotten_objects()?;
            self.note_what_stands_there(FOLDER, &listing);
            let mut listed: Vec<String> = listing.into_iter().map(|object| object.name).collect();
            listed.retain(|name| names::parse_flat::<SnapshotId>(FOLDER, name).is_some());
            listed.sort_unstable();
            for name in listed.iter().filter(|name| !known.contains(*name)) {
                match self.read_forgotten(name) {
                    Ok(snapshots) => self.catalog.apply_forgotten(name, &snapshots)?,
                    // Others have put several into one, which this listing may lack.
                    Err(RepoError::Missing { .. }) => continue 'looking,
                    Err(error) if error.is_bad_object() => {
                        let text = format!("{error}; the snapshots that it names may be needed still");
                        let warning = unread_object(name, text);
                        if !warnings.contains(&warning) {
                            warnings.push(warning);
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(listed);
        }
        Err(RepoError::Internal("forgotten/ changes all the time: try again later".to_owned()))
    }

    pub(super) fn read_forgotten(&self, name: &str) -> Result<Vec<SnapshotId>, RepoError> {
        let bytes = object::read(&self.storage, name)?;
        parse(name, &object::open(&self.keyring, ObjectKind::Forgotten, name, &bytes)?)
    }

    /// Names these snapshots, and what the small ones among `merged` name, in new objects; once they are durable, the merged
    /// ones go.
    pub(in crate::repo) fn gather(&self, forgotten: &BTreeSet<SnapshotId>, merged: &[String]) -> Result<(), RepoError> {
        let (mut all, mut replaced) = (forgotten.clone(), Vec::new());
        for name in merged {
            match self.read_forgotten(name) {
                Ok(named) if named.len() < MAX_NAMED / 2 => {
                    all.extend(named);
                    replaced.push(name);
                }
                Ok(_) | Err(RepoError::Missing { .. }) => {}
                Err(error) if error.is_bad_object() => {}
                Err(error) => return Err(error),
            }
        }
        let all: Vec<SnapshotId> = all.into_iter().collect();
        for named in all.chunks(MAX_NAMED) {
            let name = path(&entropy::snapshot_id()?);
            let bytes = object::make(&self.keyring, Signer::Operator, ObjectKind::Forgotten, &name, &body(named))?;
            if !self.create_or_same(&name, &bytes)? {
                return Err(RepoError::Internal(format!("{name} is taken: the system's random numbers repeat")));
            }
            self.catalog.apply_forgotten(&name, named)?;
        }
        replaced.into_iter().try_for_each(|name| self.storage.delete(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ascending_list_is_refused() {
        let ids = [SnapshotId([1; 16]), SnapshotId([2; 16])];
        assert_eq!(parse("it", &body(&ids)).unwrap(), ids);
        assert_eq!(parse("it", b"").unwrap(), []);
        for bad in [body(&[ids[1], ids[0]]), body(&[ids[0], ids[0]]), body(&ids)[1..].to_vec()] {
            assert!(parse("it", &bad).is_err());
        }
    }
}
