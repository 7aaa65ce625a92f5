//! The groups of a repository, by what they say of themselves, and which packs they protect.

use super::{
    MAX_GROUP_BYTES,
    outline::{MAX_LIST_BYTES, Outline},
    path,
};
use crate::repo::{
    ObjectName, RepoError, RepoId, Storage,
    names::{self, Fit},
    storage::Listed,
};
use crate::report::Trouble;
use std::collections::{HashMap, HashSet};

/// Packs that are there, with their lengths.
pub type There = HashMap<ObjectName, u64>;

/// One group.
#[derive(Debug, Clone)]
pub struct Shelved {
    pub name: ObjectName,
    pub bytes: u64,
    pub outline: Outline,
}

impl Shelved {
    fn present<'a>(&'a self, there: &'a There) -> impl Iterator<Item = &'a ObjectName> {
        let is_there = |name: &ObjectName, bytes: u64| there.get(name) == Some(&bytes);
        self.outline.members().filter(move |it| is_there(&it.name, it.bytes)).map(|it| &it.name)
    }

    /// Whether each of its members that is there can be made again when it is lost.
    fn protects(&self, there: &There) -> bool {
        self.outline.members().count() - self.present(there).count() < self.outline.rows
    }
}

/// All groups.
#[derive(Debug, Default)]
pub struct Shelf {
    /// By name.
    pub groups: Vec<Shelved>,
    /// What is no whole group, and why.
    pub damaged: Vec<(String, String)>,
    /// What only a newer program understands.
    pub unknown: Vec<Trouble>,
    /// That something stands in the place of the folder and hides all of them.
    pub hidden: Option<Trouble>,
}

impl Shelf {
    /// Lists `parity/` and reads what each group says of itself; what went meanwhile is left out.
    pub fn read(storage: &Storage, repo: RepoId) -> Result<Self, RepoError> {
        let mut listed = storage.list("parity/")?;
        let hidden =
            names::in_its_place("parity/", &listed).map(|name| RepoError::Hidden { object: name.to_owned() }.into());
        listed.retain(|object| names::fit(&object.name) == Fit::Object);
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let named = listed.into_iter().filter_map(|object| Some((names::parse_flat("parity/", &object.name)?, object)));
        let named: Vec<(ObjectName, Listed)> = named.collect();
        let outlines = storage.each_of(&named, |(name, object)| read_outline(storage, name, object.bytes, repo));
        let mut shelf = Self { hidden, ..Self::default() };
        for ((name, object), outline) in named.into_iter().zip(outlines) {
            match outline {
                Ok(outline) => shelf.groups.push(Shelved { name, bytes: object.bytes, outline }),
                Err(RepoError::Missing { .. }) => {}
                Err(RepoError::Damaged { reason, .. }) => shelf.damaged.push((object.name, reason)),
                Err(error) if error.is_of_one_object() => shelf.unknown.push(error.into()),
                Err(error) => return Err(error),
            }
        }
        shelf.groups.sort_unstable_by_key(|group| group.name);
        shelf.damaged.sort_unstable();
        Ok(shelf)
    }

    /// The packs that are there and can be made again when they are lost.
    pub fn protected(&self, there: &There) -> HashSet<ObjectName> {
        let protecting = self.groups.iter().filter(|group| group.protects(there));
        protecting.flat_map(|group| group.present(there)).copied().collect()
    }

    /// The groups that name a pack, those of which most is there first.
    pub fn naming(&self, pack: &ObjectName, there: &There) -> Vec<&Shelved> {
        let mut naming: Vec<&Shelved> =
            self.groups.iter().filter(|group| group.outline.place_of(pack).is_some()).collect();
        naming.sort_by_key(|group| group.outline.members().count() - group.present(there).count());
        naming
    }

    /// The groups of which nothing is lost when they go: each member is gone for good, or another group protects it. Whoever
    /// decides this decides the same. `missed` are packs that are gone or damaged and not for good.
    pub fn superfluous(&self, there: &There, missed: &HashSet<ObjectName>) -> Vec<&Shelved> {
        let mut order: Vec<&Shelved> = self.groups.iter().collect();
        order.sort_by_key(|group| {
            let present = group.present(there).count();
            (!group.protects(there), usize::MAX - present, group.name)
        });
        let (mut protected, mut superfluous) = (HashSet::new(), Vec::new());
        for group in order {
            let may_go =
                |name: &ObjectName| !missed.contains(name) && (!there.contains_key(name) || protected.contains(name));
            if group.outline.members().all(|member| may_go(&member.name)) {
                superfluous.push(group);
            } else if group.protects(there) {
                protected.extend(group.present(there).copied());
            }
        }
        superfluous
    }
}

/// What a group of this length says of itself.
fn read_outline(storage: &Storage, name: &ObjectName, bytes: u64, repo: RepoId) -> Result<Outline, RepoError> {
    let path = path(name);
    if bytes > MAX_GROUP_BYTES {
        return Err(RepoError::damaged(path, "it is longer than any may be"));
    }
    let outline = Outline::parse(&path, &storage.read_range(&path, 0..bytes.min(MAX_LIST_BYTES))?)?;
    if outline.repo != repo {
        return Err(RepoError::damaged(path, format!("it belongs to the repository {}", outline.repo)));
    }
    if outline.bytes() != bytes {
        return Err(RepoError::damaged(
            path,
            format!("it has {bytes} bytes, and says that it has {}", outline.bytes()),
        ));
    }
    Ok(outline)
}
