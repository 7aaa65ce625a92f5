//! Groups of parity beside what is deleted: the packs that stay keep their protection, and what can be made again only with a
//! pack that is to go keeps that pack (`format-spec/parity.md`).

use super::{
    Pruner,
    delete::Deleted,
    view::{Homes, View},
};
use crate::repo::{
    ObjectName, RepoError,
    parity::{self, Full, Outline, Regrouped, Shelf, Shelved, TakenOut, There},
    storage::Class,
};
use crate::report::{Trouble, TroubleKind};
use bytes::Bytes;
use std::collections::HashSet;

/// The groups as they are once what is to go is gone.
#[derive(Default)]
pub(super) struct Groups {
    stock: Shelf,
    /// Packs that are gone or damaged, and not for good.
    missed: HashSet<ObjectName>,
}

impl Pruner {
    /// Before packs go: new groups, durable, for those that stay. Takes from `doomed` what has to wait until something is mended.
    /// What goes wrong here is told and holds up no deletion.
    pub(super) fn keep_groups(
        &self,
        view: &View,
        homes: &Homes,
        doomed: &mut HashSet<ObjectName>,
        deleted: &mut Deleted,
    ) -> Result<Groups, RepoError> {
        match self.renew_groups(view, homes, doomed, deleted) {
            Ok(groups) => Ok(groups),
            Err(error @ RepoError::Hidden { .. }) => Err(error),
            Err(error) if error.is_full() || error.is_of_one_object() => {
                let words = format!("packs that stay were not given parity anew: {error}");
                deleted.failures.push(Trouble::from(error).told(words));
                Ok(Groups::default())
            }
            Err(error) => Err(error),
        }
    }

    fn renew_groups(
        &self,
        view: &View,
        homes: &Homes,
        doomed: &mut HashSet<ObjectName>,
        deleted: &mut Deleted,
    ) -> Result<Groups, RepoError> {
        let mut stock = Shelf::read(&self.inner.storage, self.inner.keyring.repo_id)?;
        if let Some(hidden) = &stock.hidden {
            // What may be made again only with what is to go cannot be told.
            return Err(RepoError::Hidden { object: hidden.object.clone() });
        }
        if stock.groups.is_empty() {
            return Ok(Groups { stock, ..Groups::default() });
        }
        let mut missed = HashSet::new();
        for member in stock.groups.iter().flat_map(|group| group.outline.members()) {
            let is_bad = !view.packs.is_listed(&member.name) || view.is_damaged(&member.name);
            let number = view.packs.number(&member.name).filter(|_| is_bad && !doomed.contains(&member.name));
            if let Some(number) = number
                && self.inner.is_missed(view, homes, number)?
            {
                missed.insert(member.name);
            }
        }
        let whole: There = view.packs.listed().filter(|(name, _)| !view.is_damaged(name)).collect();
        for group in &stock.groups {
            // What is there and damaged may lack a block or two.
            let lacking = group.outline.members().filter(|it| !view.packs.is_listed(&it.name)).count();
            let heals = lacking <= group.outline.rows && group.outline.members().any(|it| missed.contains(&it.name));
            let needed: Vec<_> = group.outline.members().filter(|it| heals && doomed.contains(&it.name)).collect();
            if !needed.is_empty() {
                for member in &needed {
                    doomed.remove(&member.name);
                }
                let (packs, path) = (needed.len(), parity::path(&group.name));
                let words = format!("{packs} packs stay for now: a damaged pack can be made again from them ({path})");
                deleted.failures.push(Trouble::new(TroubleKind::Waits, path, words));
            }
        }
        let after: There = whole.iter().filter(|(name, _)| !doomed.contains(*name)).map(|(n, b)| (*n, *b)).collect();
        let touched = |group: &&Shelved| group.outline.members().any(|it| doomed.contains(&it.name));
        let mut made = Vec::new();
        for group in stock.groups.iter().filter(touched) {
            let stays = group.outline.members().filter(|it| after.contains_key(&it.name)).count();
            if stays * 2 > group.outline.places.len()
                && let Some(taken_out) = self.take_out(group, &after)?
            {
                made.push(taken_out);
            }
        }
        stock.groups.extend(made);
        // Those that are left without: of groups of which little stays, and where what goes could not be read.
        let percent = self.inner.parity()?;
        if self.inner.is_blocked("settings/") {
            return Err(RepoError::Hidden { object: "settings".to_owned() });
        }
        if let Some(percent) = percent {
            let protected = stock.protected(&after);
            let touched = stock.groups.iter().filter(touched).flat_map(|group| group.outline.members());
            let bare = |name: &ObjectName| after.contains_key(name) && !protected.contains(name);
            let bare: HashSet<ObjectName> = touched.map(|member| member.name).filter(bare).collect();
            let mut bare: Vec<ObjectName> = bare.into_iter().collect();
            bare.sort_unstable();
            parity::regroup(&self.inner.storage, percent, bare, &mut |step| {
                match step {
                    Regrouped::Full(full) => stock.groups.push(self.inner.create_group(&full)?),
                    Regrouped::Read(_) => {}
                    Regrouped::NotRead(_, error) => {
                        let words = format!("it was not given parity anew: {error}");
                        deleted.failures.push(Trouble::from(error).told(words));
                    }
                }
                Ok(())
            })?;
        }
        Ok(Groups { stock, missed })
    }

    /// The group without what is not to stay; `None` if what goes cannot be read.
    fn take_out(&self, group: &Shelved, after: &There) -> Result<Option<Shelved>, RepoError> {
        let storage = &self.inner.storage;
        let taken = TakenOut::of(storage, group).and_then(|mut taken| {
            let leaving = group.outline.members().filter(|it| !after.contains_key(&it.name));
            leaving.map(|it| it.name).try_for_each(|name| taken.take_out(storage, &name))?;
            Ok(taken)
        });
        match taken {
            Ok(taken) => taken
                .finish()
                .map(|(name, bytes, outline)| self.inner.create_group_of(name, bytes, outline))
                .transpose(),
            Err(error) if error.is_of_one_object() || matches!(error, RepoError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// After packs went: takes away the groups of which nothing is lost.
    pub(super) fn delete_groups(
        &self,
        view: &View,
        groups: &Groups,
        gone: &HashSet<ObjectName>,
        deleted: &mut Deleted,
    ) {
        let there: There = view.packs.listed().filter(|(name, _)| !gone.contains(name)).collect();
        let superfluous = groups.stock.superfluous(&there, &groups.missed).into_iter();
        let names: Vec<String> = superfluous.map(|group| parity::path(&group.name)).collect();
        for answer in self.inner.storage.delete_each(&names) {
            match answer {
                Ok(()) => deleted.groups += 1,
                Err(error) => deleted.failures.push(error.into()),
            }
        }
    }
}

impl super::Inner {
    /// Makes a group and stores it.
    pub(in crate::repo) fn create_group(&self, full: &Full) -> Result<Shelved, RepoError> {
        let (name, bytes) = full.make(self.keyring.repo_id)?;
        let outline = Outline::parse(&parity::path(&name), &bytes)?;
        self.create_group_of(name, bytes, outline)
    }

    fn create_group_of(&self, name: ObjectName, bytes: Vec<u8>, outline: Outline) -> Result<Shelved, RepoError> {
        let len = bytes.len() as u64;
        self.storage.create_shared(&parity::path(&name), &Bytes::from(bytes), Class::Metadata)?;
        Ok(Shelved { name, bytes: len, outline })
    }

    /// All packs that are listed; and of those the ones that an index object describes and no mark names, whose writers are done.
    pub(in crate::repo) fn settled_packs(&self) -> Result<(There, There), RepoError> {
        let marks = self.marks(&HashSet::new(), crate::repo::lease::Unreadable::IsSkipped)?;
        let marked: HashSet<ObjectName> = marks.into_iter().flat_map(|mark| mark.packs).collect();
        self.refresh_index(&mut Vec::new())?;
        let listed: There = self.packs_listed()?;
        let running: HashSet<_> =
            self.leases_seen()?.into_iter().filter(|lease| !lease.is_over()).map(|lease| lease.id).collect();
        let is_settled = |name: &ObjectName, bytes: u64| listed.get(name) == Some(&bytes) && !marked.contains(name);
        let packs = self.catalog.packs()?.into_iter();
        let settled = packs.filter(|pack| is_settled(&pack.name, pack.bytes) && !running.contains(&pack.lease));
        let settled = settled.map(|pack| (pack.name, pack.bytes)).collect();
        Ok((listed, settled))
    }
}
