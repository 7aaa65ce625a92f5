//! The group that a writer fills, pack by pack, as it stores them.

use super::{MAX_GROUP_BYTES, MAX_HELD_BYTES, Percent, group, outline::MOST, rebuild::read_whole};
use crate::repo::{ObjectName, RepoError, RepoId, Storage};
use bytes::Bytes;

/// The most that the head of a group takes that is made here.
const MAX_HEAD_BYTES: usize = 1024 * 1024;

/// Packs that make up a group.
#[derive(Debug)]
pub struct Full {
    rows: usize,
    members: Vec<(ObjectName, Bytes)>,
}

impl Full {
    /// Its name and what is stored.
    pub fn make(&self, repo: RepoId) -> Result<(ObjectName, Vec<u8>), RepoError> {
        group::make(repo, self.rows, &self.members)
    }

    /// How many packs it protects.
    pub fn len(&self) -> usize {
        self.members.len()
    }
}

/// Packs that wait for others.
#[derive(Debug)]
pub struct Filling {
    percent: Percent,
    held: Vec<(ObjectName, Bytes)>,
    bytes: usize,
}

impl Filling {
    pub const fn new(percent: Percent) -> Self {
        Self { percent, held: Vec::new(), bytes: 0 }
    }

    /// Takes a pack that is stored; gives the groups that are complete.
    pub fn add(&mut self, name: ObjectName, bytes: Bytes) -> Vec<Full> {
        // Such a pack no writer makes, and its rows alone would be longer than a group may be.
        if rows_for(self.percent, bytes.len()) == 0 {
            return Vec::new();
        }
        let mut full = Vec::new();
        if self.bytes + bytes.len() > MAX_HELD_BYTES {
            full.extend(self.close());
        }
        self.bytes += bytes.len();
        self.held.push((name, bytes));
        if self.percent.is_full(self.bytes, self.longest()) || self.held.len() == MOST {
            full.extend(self.close());
        }
        full
    }

    fn longest(&self) -> usize {
        self.held.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0)
    }

    /// What is held, as a group; `None` if nothing is.
    pub fn close(&mut self) -> Option<Full> {
        let rows = rows_for(self.percent, self.longest());
        self.bytes = 0;
        let members = std::mem::take(&mut self.held);
        (!members.is_empty()).then_some(Full { rows, members })
    }
}

/// What making groups of packs that are stored comes upon.
pub enum Regrouped {
    /// A group is complete.
    Full(Full),
    /// A pack was read.
    Read(ObjectName),
    /// A pack could not be, and gets no parity.
    NotRead(ObjectName, RepoError),
}

/// Reads packs one after the other and makes groups of them.
///
/// # Errors
/// Trouble of the storage, and what `take` gives.
pub fn regroup(
    storage: &Storage,
    percent: Percent,
    packs: impl IntoIterator<Item = ObjectName>,
    take: &mut dyn FnMut(Regrouped) -> Result<(), RepoError>,
) -> Result<(), RepoError> {
    let mut filling = Filling::new(percent);
    for name in packs {
        match read_whole(storage, &name) {
            Ok(bytes) => {
                filling.add(name, bytes).into_iter().try_for_each(|full| take(Regrouped::Full(full)))?;
                take(Regrouped::Read(name))?;
            }
            Err(error) if error.is_of_one_object() || matches!(error, RepoError::Missing { .. }) => {
                take(Regrouped::NotRead(name, error))?;
            }
            Err(error) => return Err(error),
        }
    }
    filling.close().map_or(Ok(()), |full| take(Regrouped::Full(full)))
}

/// As many rows as there should be, or as fit.
fn rows_for(percent: Percent, longest: usize) -> usize {
    // The head takes less than the rest: 16 bytes for each block, of members and rows.
    let room = MAX_GROUP_BYTES as usize - MAX_HEAD_BYTES;
    percent.rows().min(room / longest.max(1))
}
