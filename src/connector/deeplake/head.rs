//! What a cut log says of all branches: where each begins, what is tagged, what one took in of another. It stands only as far
//! as what it names is there.

use super::{
    entry::{Change, Entry, MAX_ENTRY_BYTES, number_of, parse_name},
    find::LOG,
    log::{Log, META},
    place::{LakePlace, join},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// The last entry of each branch that stays; a branch that is not in it goes.
pub(super) type Ends = BTreeMap<String, u64>;

/// What stays of the whole.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The last entry of each branch that stays.
    pub(super) ends: Ends,
    /// Names of the entries in the folder of the whole that stay.
    pub(super) stays: BTreeSet<String>,
    /// Branches that had to be cut too, since they took in what goes, and the last entry that stays of them.
    pub(super) also: Ends,
    begun: BTreeSet<String>,
    /// Branches that begin at what goes.
    gone: BTreeSet<String>,
}

impl Head {
    /// Finds what stays behind a cut; `until` is the time that it is made at, if it is made at one.
    ///
    /// # Errors
    /// In words, if an entry cannot be read.
    pub(super) fn of(place: &LakePlace, log: &Log, ends: Ends, until: Option<i64>) -> Result<Self, String> {
        let mut entries = Vec::new();
        for name in log.folders.get(META).into_iter().flat_map(BTreeMap::keys) {
            let Some(named) = parse_name(name) else { continue };
            let path = join(LOG, &join(META, name));
            let (bytes, _) = place.read(&path, MAX_ENTRY_BYTES).map_err(|error| error.to_string())?;
            entries.push((name.as_str(), Entry::parse(&bytes, named.packed)?));
        }
        let mut head = Self { ends, ..Self::default() };
        while head.shorten(&entries, until) {}
        head.choose(log, &entries, until);
        Ok(head)
    }

    fn has(&self, at: &(String, String)) -> bool {
        let (branch, version) = at;
        !self.gone.contains(branch) && self.ends.get(branch).is_none_or(|end| number_of(version) <= *end)
    }

    /// Takes away what stands on something that goes; whether there was any.
    fn shorten(&mut self, entries: &[(&str, Entry)], until: Option<i64>) -> bool {
        let mut found = false;
        for (_, entry) in entries {
            let is_late = is_late(entry, until);
            for change in &entry.changes {
                match change {
                    Change::Branch { id, from: Some(from), .. } if is_late || !self.has(from) => {
                        found |= self.gone.insert(id.clone());
                        self.ends.remove(id);
                        self.also.remove(id);
                    }
                    // Without it, the branch would lack the rows that it took in.
                    Change::Merge { from, into } if (is_late || !self.has(from)) && self.has(into) => {
                        let end = number_of(&into.1).saturating_sub(1);
                        if self.ends.insert(into.0.clone(), end).is_some_and(|before| before > end) {
                            self.also.insert(into.0.clone(), end);
                            found = true;
                        }
                    }
                    _ => {}
                }
            }
        }
        found
    }

    fn choose(&mut self, log: &Log, entries: &[(&str, Entry)], until: Option<i64>) {
        // The time of the newest commit that stays: what is said of the whole later than that is not part of it.
        let newest = until.or_else(|| {
            let times = self.ends.iter().filter_map(|(branch, end)| {
                let commits = log.commits.get(branch)?.iter().filter(|commit| commit.number <= *end);
                commits.filter_map(|commit| commit.seconds).max()
            });
            times.max()
        });
        let (mut tags, mut left_out) = (BTreeSet::new(), false);
        for (index, (name, entry)) in entries.iter().enumerate() {
            let is_late = is_late(entry, if entry.changes.is_empty() { newest } else { until });
            // What sums up others says again what they say.
            let is_stale = left_out && parse_name(name).is_some_and(|name| name.sums_up);
            let stands = || entry.changes.iter().all(|change| self.stands(change, &tags));
            // The first one makes the dataset.
            let stays = index == 0 || !is_late && !is_stale && stands();
            left_out |= !stays;
            for change in &entry.changes {
                match change {
                    Change::Tag { id, .. } if !stays => {
                        tags.insert(id.clone());
                    }
                    Change::Branch { id, .. } if stays => {
                        self.begun.insert(id.clone());
                    }
                    _ => {}
                }
            }
            if stays {
                self.stays.insert((*name).to_owned());
            }
        }
    }

    /// Whether what a change names is still there; `tags` are those that go.
    fn stands(&self, change: &Change, tags: &BTreeSet<String>) -> bool {
        match change {
            Change::Branch { id, .. } | Change::RenameBranch(id, _) | Change::DeleteBranch(id) => {
                !self.gone.contains(id)
            }
            Change::Tag { branch, version, .. } => self.has(&(branch.clone(), version.clone())),
            Change::RenameTag(id, _) | Change::DeleteTag(id) => !tags.contains(id),
            Change::Merge { from, into } => self.has(from) && self.has(into),
            Change::Id(_) | Change::MinReader(_) => true,
        }
    }

    /// The last entry that stays of a branch; `None` if it goes.
    pub(super) fn end(&self, branch: &str) -> Option<u64> {
        self.ends.get(branch).copied().filter(|_| self.begun.contains(branch))
    }

    /// Numbers the entries that are left of the whole without gaps: nothing else names them.
    pub(super) fn number_anew(&self, folder: &Path) -> io::Result<()> {
        let mut next = (0, 0);
        for name in &self.stays {
            let Some(named) = parse_name(name) else { continue };
            if next.0 != named.number {
                next = (named.number, next.1 + 1);
            }
            let new = format!("{:010}{}", next.1, name.get(10..).unwrap_or_default());
            if new != *name {
                fs::rename(folder.join(name), folder.join(new))?;
            }
        }
        Ok(())
    }
}

fn is_late(entry: &Entry, limit: Option<i64>) -> bool {
    limit.is_some_and(|limit| entry.seconds.is_some_and(|time| time > limit))
}
