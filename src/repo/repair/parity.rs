//! Looking after groups of parity: what is protected, groups for what is not, and taking away those that are good for nothing.

use super::{Repaired, Repository};
use crate::repo::error::HIDES;
use crate::repo::{
    ObjectName, RepoError,
    inner::Inner,
    keys::Capability,
    parity::{self, Percent, Regrouped, Shelf, Shelved, There},
};
use crate::report::{Trouble, TroubleKind};
use std::collections::HashSet;

/// How packs stand to parity.
#[derive(Debug, Default)]
pub struct ParityStanding {
    /// How much parity new packs get.
    pub percent: Option<Percent>,
    /// Whole groups, and their bytes.
    pub groups: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that are done with.
    pub packs: u64,
    /// Those of them that no group protects.
    pub unprotected: Vec<ObjectName>,
    /// What is no whole group, and why.
    pub damaged: Vec<(String, String)>,
    /// What only a newer program understands.
    pub unknown: Vec<Trouble>,
    shelved: Vec<Shelved>,
}

impl ParityStanding {
    /// The names of the groups.
    pub fn names(&self) -> impl Iterator<Item = ObjectName> + '_ {
        self.shelved.iter().map(|group| group.name)
    }
}

impl Inner {
    /// Packs that an index object describes and that are not there, or known to be damaged.
    fn missed_packs(&self, listed: &There) -> Result<HashSet<ObjectName>, RepoError> {
        let mut damaged = self.damaged_packs()?;
        damaged.extend(self.bad_packs.all().into_iter().map(|(_, name)| name));
        let packs = self.catalog.pack_numbers()?.into_iter();
        let is_missed = |name: &ObjectName, bytes: u64| listed.get(name) != Some(&bytes) || damaged.contains(name);
        Ok(packs.filter(|(_, name, bytes)| is_missed(name, *bytes)).map(|(_, name, _)| name).collect())
    }
}

impl Repository {
    /// How packs stand to parity, as far as groups say themselves.
    ///
    /// # Errors
    /// [`RepoError`] if storage cannot be listed or read.
    pub fn parity_standing(&self) -> Result<ParityStanding, RepoError> {
        let inner = &self.inner;
        let (percent, stock) =
            inner.storage.both(|| inner.parity(), || Shelf::read(&inner.storage, inner.keyring.repo_id));
        let (percent, mut stock) = (percent?, stock?);
        stock.damaged.extend(stock.hidden.take().map(|hidden| (hidden.object, HIDES.to_owned())));
        let mut standing = ParityStanding {
            percent,
            groups: stock.groups.len() as u64,
            bytes: stock.groups.iter().map(|group| group.bytes).sum(),
            ..ParityStanding::default()
        };
        if percent.is_some() || !stock.groups.is_empty() {
            let (listed, settled) = inner.settled_packs()?;
            let protected = stock.protected(&listed);
            standing.packs = settled.len() as u64;
            standing.unprotected = settled.into_keys().filter(|name| !protected.contains(name)).collect();
            standing.unprotected.sort_unstable();
        }
        (standing.damaged, standing.unknown, standing.shelved) = (stock.damaged, stock.unknown, stock.groups);
        Ok(standing)
    }

    /// Reads those of the groups that are chosen, and their members; gives how many that were, and what is wrong.
    ///
    /// # Errors
    /// [`RepoError`] if storage cannot be read; [`RepoError::Interrupted`] if `go_on`, which is told of bytes, says so.
    pub fn check_parity(
        &self,
        standing: &ParityStanding,
        chosen: &HashSet<ObjectName>,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(u64, Vec<(String, String)>), RepoError> {
        let (mut read, mut wrong) = (0, Vec::new());
        for group in standing.shelved.iter().filter(|group| chosen.contains(&group.name)) {
            match parity::check(&self.inner.storage, group) {
                Ok(problem) => {
                    read += 1;
                    wrong.extend(problem.map(|problem| (parity::path(&group.name), problem)));
                }
                Err(RepoError::Missing { .. }) => {}
                Err(error) if error.is_of_one_object() => wrong.push((parity::path(&group.name), error.to_string())),
                Err(error) => return Err(error),
            }
            if !go_on(group.bytes) {
                return Err(RepoError::Interrupted);
            }
        }
        Ok((read, wrong))
    }

    /// Makes groups for packs that no group protects; takes away groups that are damaged, and those of which nothing is lost.
    ///
    /// # Errors
    /// [`RepoError::Role`]; [`RepoError`] if storage cannot be listed or written; [`RepoError::Interrupted`] if `go_on`, which
    /// is told of every pack's bytes, says so.
    pub fn repair_parity(&self, dry_run: bool, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Repaired, RepoError> {
        self.inner.keyring.need(Capability::Prune)?;
        self.leased(dry_run, || self.inner.repair_parity(dry_run, go_on))
    }
}

impl Inner {
    fn repair_parity(&self, dry_run: bool, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Repaired, RepoError> {
        let mut done = Repaired { dry_run, ..Repaired::default() };
        let repo = self.keyring.repo_id;
        let mut stock = Shelf::read(&self.storage, repo)?;
        if let Some(hidden) = stock.hidden.take() {
            // Which packs have no group cannot be told, and none could be stored.
            done.lost.push(hidden);
            return Ok(done);
        }
        self.take_out_damaged(&mut stock, go_on)?;
        done.lost.append(&mut stock.unknown);
        let (listed, settled) = self.settled_packs()?;
        let missed = self.missed_packs(&listed)?;
        // A group that is damaged may still help to make a pack again, block by block.
        let is_missed = |path: &str| {
            let lost = stock.groups.iter().filter(|group| parity::path(&group.name) == path);
            lost.flat_map(|group| group.outline.members()).any(|member| missed.contains(&member.name))
        };
        let (waiting, damaged): (Vec<_>, Vec<_>) =
            std::mem::take(&mut stock.damaged).into_iter().partition(|(path, _)| is_missed(path));
        for (path, reason) in &waiting {
            let words = format!("{path} is damaged ({reason}), and stays until the packs in it are mended");
            done.waiting.push(Trouble::new(TroubleKind::Damaged, path, words));
        }
        // Before others are made: of the same packs comes a group of the same name.
        for (path, _) in &damaged {
            if !dry_run {
                self.storage.delete(path)?;
            }
            done.removed.push(path.clone());
        }
        let bad: HashSet<String> = damaged.iter().chain(&waiting).map(|(path, _)| path.clone()).collect();
        stock.groups.retain(|group| !bad.contains(&parity::path(&group.name)));
        // A group with a member that is gone for good gives way, though it may still protect others: what was deleted could be
        // made again from it.
        let is_gone = |name: &ObjectName| !listed.contains_key(name) && !missed.contains(name);
        let names = |group: &Shelved, which: &dyn Fn(&ObjectName) -> bool| {
            group.outline.members().any(|member| which(&member.name))
        };
        let (stale, groups): (Vec<Shelved>, Vec<Shelved>) = std::mem::take(&mut stock.groups)
            .into_iter()
            .partition(|group| names(group, &is_gone) && !names(group, &|name| missed.contains(name)));
        stock.groups = groups;
        if let Some(percent) = self.parity()? {
            let protected = stock.protected(&listed);
            let bare = settled.iter().filter(|(name, _)| !protected.contains(*name) && !missed.contains(*name));
            let mut bare: Vec<(u64, ObjectName)> = bare.map(|(name, bytes)| (*bytes, *name)).collect();
            // Those of like length together: a row is as long as the longest.
            bare.sort_unstable_by(|a, b| b.cmp(a));
            parity::regroup(&self.storage, percent, bare.into_iter().map(|(_, name)| name), &mut |step| {
                let name = match step {
                    Regrouped::Full(full) => return self.store_full(&full, dry_run, &mut stock, &mut done),
                    Regrouped::Read(name) | Regrouped::NotRead(name, RepoError::Missing { .. }) => name,
                    Regrouped::NotRead(name, error) => {
                        let words = format!("{error}; it got no parity");
                        done.lost.push(Trouble::from(error).told(words));
                        name
                    }
                };
                let bytes = settled.get(&name).copied().unwrap_or_default();
                if go_on(bytes) { Ok(()) } else { Err(RepoError::Interrupted) }
            })?;
        }
        let protected = stock.protected(&listed);
        let is_bare = |name: &ObjectName| listed.contains_key(name) && !protected.contains(name);
        let useless = stale.iter().filter(|group| dry_run || !names(group, &is_bare));
        let useless: Vec<String> =
            useless.chain(stock.superfluous(&listed, &missed)).map(|group| parity::path(&group.name)).collect();
        for path in useless {
            if !dry_run {
                self.storage.delete(&path)?;
            }
            done.removed.push(path);
        }
        Ok(done)
    }

    /// Reads every group whole; what is not what its name says is damaged, and stays among the groups.
    fn take_out_damaged(&self, stock: &mut Shelf, go_on: &mut dyn FnMut(u64) -> bool) -> Result<(), RepoError> {
        for group in &stock.groups {
            match parity::is_whole(&self.storage, group) {
                Ok(None) | Err(RepoError::Missing { .. }) => {}
                Ok(Some(reason)) => stock.damaged.push((parity::path(&group.name), reason)),
                Err(error) if error.is_of_one_object() => {
                    stock.damaged.push((parity::path(&group.name), error.to_string()));
                }
                Err(error) => return Err(error),
            }
            if !go_on(group.bytes) {
                return Err(RepoError::Interrupted);
            }
        }
        Ok(())
    }

    fn store_full(
        &self,
        full: &parity::Full,
        dry_run: bool,
        stock: &mut Shelf,
        done: &mut Repaired,
    ) -> Result<(), RepoError> {
        let name = if dry_run {
            full.make(self.keyring.repo_id)?.0
        } else {
            let made = self.create_group(full)?;
            let name = made.name;
            stock.groups.push(made);
            name
        };
        done.restored.push(format!("{}, for {} packs", parity::path(&name), full.len()));
        Ok(())
    }
}
