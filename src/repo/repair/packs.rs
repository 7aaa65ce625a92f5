//! Saving what can still be read of damaged packs: each frame that opens, and that no whole pack holds, goes into a new pack
//! with an index object of its own. The damaged packs stay as they are; a pruner takes away those that are good for nothing.

use super::repairing;
use crate::repo::{
    ChunkData, ChunkId, ObjectName, RepoError, Repository, WriteSession,
    faults::{self, Rule},
    index::IndexedPack,
    inner::Inner,
    lease::Unreadable,
    object,
    pack::{self, Header, PackEntry, PackHeader, PackKey},
    parity::{self, Rebuilt, Shelf},
};
use crate::report::{Trouble, TroubleKind};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Which packs are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// Every byte of every pack.
    All,
    /// Those that are remembered as damaged, or are gone, or have another length than the index says.
    Remembered,
    /// Those whose names begin so.
    Named(Vec<String>),
}

/// A pack that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPack {
    /// Its name.
    pub name: ObjectName,
    /// What is wrong with it.
    pub problem: String,
    /// How many chunks it held; `None` if nothing says so any more.
    pub chunks: Option<u64>,
    /// Those that were saved from it.
    pub saved: u64,
    /// Those that no pack gives any more.
    pub unreadable: Vec<ChunkId>,
}

/// What saving came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SavedPacks {
    /// Packs whose every byte was read.
    pub packs_read: u64,
    /// Chunks that lie in a new pack now.
    pub chunks: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Packs that parity made again.
    pub healed: Vec<ObjectName>,
    /// Packs that parity could not make again, or not now, and why.
    pub unhealed: Vec<Trouble>,
    /// What is damaged, by name.
    pub damaged: Vec<DamagedPack>,
    /// What could not be looked at, and why.
    pub unseen: Vec<Trouble>,
}

/// What is known of a damaged pack.
type Directory = Option<(PackHeader, Vec<PackEntry>)>;

impl Repository {
    /// Saves what can be read of damaged packs and remembers the damage. Where it is a dry run nothing is written.
    ///
    /// # Errors
    /// [`RepoError`] if storage cannot be listed or written; [`RepoError::Interrupted`] if `go_on`, which is told of every
    /// pack's bytes, says so; [`RepoError::Invalid`] if a name is no pack's.
    pub fn save_packs(
        &self,
        looked: &Looked,
        dry_run: bool,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<SavedPacks, RepoError> {
        if dry_run {
            return Saving::begin(self, None)?.run(looked, go_on);
        }
        let session = self.begin_write(&repairing())?;
        let saved = Saving::begin(self, Some(&session)).and_then(|saving| saving.run(looked, go_on));
        let ended = session.close();
        let saved = saved?;
        ended?;
        self.refresh()?;
        Ok(saved)
    }
}

/// One run.
struct Saving<'a> {
    repo: &'a Repository,
    inner: &'a Inner,
    session: Option<&'a WriteSession>,
    /// Packs as listed, and their lengths.
    listed: HashMap<ObjectName, u64>,
    marked: HashSet<ObjectName>,
    /// What is damaged, and why.
    problems: BTreeMap<ObjectName, String>,
    /// Of these, what storage did not give just now: it may be whole, and is a home all the same.
    refused: BTreeMap<ObjectName, Trouble>,
    saved: SavedPacks,
}

impl<'a> Saving<'a> {
    fn begin(repo: &'a Repository, session: Option<&'a WriteSession>) -> Result<Self, RepoError> {
        let inner = &*repo.inner;
        let marks = inner.marks(&HashSet::new(), Unreadable::IsSkipped)?;
        inner.refresh_index(&mut Vec::new())?;
        let listed = inner.packs_listed()?;
        if inner.is_blocked("packs/") {
            return Err(RepoError::Hidden { object: "packs".to_owned() });
        }
        Ok(Self {
            repo,
            inner,
            session,
            listed,
            marked: marks.into_iter().flat_map(|mark| mark.packs).collect(),
            problems: BTreeMap::new(),
            refused: BTreeMap::new(),
            saved: SavedPacks::default(),
        })
    }

    fn run(mut self, looked: &Looked, go_on: &mut dyn FnMut(u64) -> bool) -> Result<SavedPacks, RepoError> {
        self.compare_lists()?;
        for name in self.to_read(looked)? {
            self.judge(name)?;
            if !go_on(self.listed.get(&name).copied().unwrap_or(0)) {
                return Err(RepoError::Interrupted);
            }
        }
        if let Looked::Named(prefixes) = looked {
            self.problems.retain(|name, _| is_named(prefixes, name));
        }
        self.heal(go_on)?;
        let refused = std::mem::take(&mut self.refused);
        self.saved
            .unseen
            .extend(refused.into_iter().filter(|(name, _)| self.problems.contains_key(name)).map(|it| it.1));
        if let Some(session) = self.session {
            // From here on none of them is a home.
            let _ = session.distrust_unreadable();
        }
        self.save()?;
        Ok(self.saved)
    }

    /// What the index says and the listing does not, and what is remembered.
    fn compare_lists(&mut self) -> Result<(), RepoError> {
        for name in self.inner.damaged_packs()? {
            if self.listed.contains_key(&name) {
                self.problems.insert(name, "it is remembered as damaged".to_owned());
            }
        }
        for (number, name, bytes) in self.inner.catalog.pack_numbers()? {
            let problem = match self.listed.get(&name) {
                Some(&listed) if listed == bytes => continue,
                Some(listed) => format!("it has {listed} bytes; the index says {bytes}"),
                // A prune beside us takes a pack out of the index before it deletes it.
                None if self.is_taken_away(&name)? => continue,
                None => "it is gone, and an index object names it".to_owned(),
            };
            self.inner.bad_packs.insert(name, number, &problem);
            self.problems.insert(name, problem);
        }
        Ok(())
    }

    fn is_taken_away(&self, name: &ObjectName) -> Result<bool, RepoError> {
        if self.marked.contains(name) || self.inner.storage.len(&pack::path(name))?.is_some() {
            return Ok(true);
        }
        self.inner.refresh_index(&mut Vec::new())?;
        Ok(self.inner.catalog.pack_number(name)?.is_none())
    }

    fn to_read(&self, looked: &Looked) -> Result<Vec<ObjectName>, RepoError> {
        let mut names: Vec<ObjectName> = match looked {
            Looked::All => self.listed.keys().copied().collect(),
            Looked::Remembered => {
                self.listed.keys().filter(|name| self.problems.contains_key(*name)).copied().collect()
            }
            Looked::Named(prefixes) => {
                let known = || self.listed.keys().chain(self.problems.keys());
                if let Some(none) = prefixes.iter().find(|it| !known().any(|name| is_named(&[(*it).clone()], name))) {
                    return Err(RepoError::Invalid(format!("no pack's name begins with `{none}`")));
                }
                self.listed.keys().filter(|name| is_named(prefixes, name)).copied().collect()
            }
        };
        names.sort_unstable();
        Ok(names)
    }

    /// Reads a whole pack; what was remembered as damaged and is whole is no longer.
    fn judge(&mut self, name: ObjectName) -> Result<(), RepoError> {
        match self.repo.read_pack(&name) {
            Ok(check) => {
                self.saved.packs_read += 1;
                let first = check.damaged.first().map(|(_, problem)| problem.clone());
                match check.problem.or(first) {
                    Some(problem) => drop(self.problems.insert(name, problem)),
                    None if self.problems.remove(&name).is_some() && self.session.is_some() => {
                        self.repo.is_whole_again(&name)?;
                    }
                    None => {}
                }
            }
            Err(RepoError::Missing { .. }) if self.is_taken_away(&name)? => {
                self.problems.remove(&name);
            }
            Err(error @ RepoError::Missing { .. }) => drop(self.problems.insert(name, error.to_string())),
            Err(
                error @ (RepoError::NewerFormat { .. } | RepoError::UnknownFeature { .. } | RepoError::Epoch { .. }),
            ) => {
                self.saved.unseen.push(error.into());
            }
            Err(error) if error.is_of_one_object() => {
                self.problems.insert(name, error.to_string());
                if matches!(error, RepoError::Storage { .. }) {
                    self.refused.insert(name, error.into());
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes packs again from parity, as far as there is enough of it.
    fn heal(&mut self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<(), RepoError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let stock = Shelf::read(&self.inner.storage, self.inner.keyring.repo_id)?;
        self.saved.unseen.extend(stock.hidden.clone());
        if stock.groups.is_empty() {
            return Ok(());
        }
        if let Some(words) = self.pruner_at_work()? {
            self.saved.unhealed.push(Trouble::new(TroubleKind::Waits, "", words));
            return Ok(());
        }
        let wanted: Vec<ObjectName> = self.problems.keys().copied().collect();
        for name in wanted {
            let is_listed = self.listed.contains_key(&name);
            // Only what the index describes is missed, and what is gone and marked was to go.
            let is_missed = self.inner.catalog.pack_number(&name)?.is_some();
            if !is_missed || self.marked.contains(&name) && !is_listed {
                continue;
            }
            match parity::rebuild(&self.inner.storage, &stock, &self.listed, &name) {
                Ok(Rebuilt::Whole(bytes)) => {
                    if self.session.is_some() {
                        let (storage, repo) = (&self.inner.storage, self.inner.keyring.repo_id);
                        match parity::put_back(storage, repo, &name, &bytes, is_listed) {
                            Err(error) if error.is_of_one_object() => {
                                self.saved.unseen.push(error.into());
                                continue;
                            }
                            done => done?,
                        }
                        self.repo.is_whole_again(&name)?;
                        self.listed.insert(name, bytes.len() as u64);
                    }
                    self.problems.remove(&name);
                    self.saved.healed.push(name);
                    if !go_on(bytes.len() as u64) {
                        return Err(RepoError::Interrupted);
                    }
                }
                Ok(Rebuilt::NoGroup) => {}
                Ok(Rebuilt::TooMuchIsLost(reason)) => {
                    self.saved.unhealed.push(Trouble::new(TroubleKind::Waits, pack::path(&name), reason));
                }
                Err(error @ RepoError::Archived { .. }) => self.saved.unhealed.push(error.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A pruner that runs may be about to delete what bears the name of a pack that seems lost.
    fn pruner_at_work(&self) -> Result<Option<String>, RepoError> {
        if faults::is_broken(Rule::NothingIsMadeAgainBesidePruners) {
            return Ok(None);
        }
        let leases = if self.session.is_some() { self.inner.leases()? } else { self.inner.leases_seen()? };
        let pruner = leases.iter().find(|lease| lease.is_prune() && !lease.is_over());
        Ok(pruner.map(|lease| {
            let until = lease.dead_at.map_or_else(String::new, |at| format!(", or has shown no sign by {at}"));
            format!(
                "no pack is made again from parity until the prune on {} ends (lease {}){until}",
                lease.host,
                lease.id.short()
            )
        }))
    }

    fn save(&mut self) -> Result<(), RepoError> {
        let mut writer = self.session.map(WriteSession::writer);
        let mut done: HashSet<ChunkId> = HashSet::new();
        let mut undescribed = Vec::new();
        for (name, problem) in std::mem::take(&mut self.problems) {
            let mut damaged = DamagedPack { name, problem, chunks: None, saved: 0, unreadable: Vec::new() };
            let bytes = object::read(&self.inner.storage, &pack::path(&name)).ok();
            let directory = self.directory(&name, bytes.as_deref())?;
            let (header, entries) = directory.unwrap_or_else(|| (PackHeader::from([]), Vec::new()));
            damaged.chunks = (!header.is_empty()).then_some(entries.len() as u64);
            if let Some(&bytes) = self.listed.get(&name)
                && self.inner.catalog.pack_number(&name)?.is_none()
                && let Ok(fields) = Header::parse(&pack::path(&name), &header)
            {
                let (header, entries) = (header.clone(), entries.clone());
                undescribed.push(IndexedPack { name, bytes, kind: fields.kind, lease: fields.lease, header, entries });
            }
            let key = self.key(&name, &header, bytes.as_deref())?;
            for (ordinal, entry) in entries.iter().enumerate() {
                if done.contains(&entry.id) || self.is_at_home(&entry.id)? {
                    continue;
                }
                let frame = key.as_ref().and_then(|key| self.frame(key, ordinal as u64, entry, bytes.as_deref()));
                let Some(data) = frame else {
                    damaged.unreadable.push(entry.id);
                    continue;
                };
                if let Some(writer) = &mut writer {
                    writer.copy(entry, &data)?;
                }
                done.insert(entry.id);
                damaged.saved += 1;
                self.saved.chunks += 1;
                self.saved.bytes += u64::from(entry.stored_len);
            }
            self.saved.damaged.push(damaged);
        }
        for damaged in &mut self.saved.damaged {
            // Another damaged pack may have given it.
            damaged.unreadable.retain(|id| !done.contains(id));
        }
        if let (Some(writer), Some(session)) = (writer, self.session) {
            writer.finish()?;
            session.flush()?;
            self.describe(&undescribed)?;
        }
        Ok(())
    }

    /// Damaged packs of which only they themselves said what they held: the index says it from here on, so that what is lost
    /// with them has a name and stops no pruner.
    fn describe(&self, packs: &[IndexedPack]) -> Result<(), RepoError> {
        self.inner.write_index(packs, false)?;
        self.inner.refresh_index(&mut Vec::new())?;
        for pack in packs {
            if let Some(number) = self.inner.catalog.pack_number(&pack.name)? {
                self.inner.bad_packs.insert(pack.name, number, "it is damaged");
            }
        }
        Ok(())
    }

    /// What the index says of a pack, else what its own directory does.
    fn directory(&self, name: &ObjectName, bytes: Option<&[u8]>) -> Result<Directory, RepoError> {
        if let Some(indexed) = self.inner.catalog.pack_entries(name)? {
            return Ok(Some(indexed));
        }
        Ok(bytes.and_then(|bytes| pack::read_damaged_directory(&self.inner.keyring, name, bytes)))
    }

    fn key(&self, name: &ObjectName, header: &[u8], bytes: Option<&[u8]>) -> Result<Option<PackKey>, RepoError> {
        let keyring = &self.inner.keyring;
        match PackKey::unwrap(keyring, name, header) {
            Ok(key) => return Ok(Some(key)),
            Err(error @ RepoError::Role { .. }) => return Err(error),
            Err(_) => {}
        }
        // An index object that is not what the pack says: its own word.
        let own = bytes.and_then(|bytes| PackKey::of_pack(keyring, name, bytes).ok());
        Ok(own)
    }

    /// A frame that opens and is what its id says.
    fn frame(&self, key: &PackKey, ordinal: u64, entry: &PackEntry, bytes: Option<&[u8]>) -> Option<ChunkData> {
        let end = entry.offset.checked_add(u64::from(entry.stored_len))?;
        let data = if let Some(bytes) = bytes {
            let frame = bytes.get(usize::try_from(entry.offset).ok()?..usize::try_from(end).ok()?)?;
            key.open_frame(ordinal, entry, frame).ok()?
        } else {
            // As a whole it cannot be read: a bad sector somewhere, or it has become too long.
            let frame = self.inner.storage.read_range(&pack::path(&key.name()), entry.offset..end).ok()?;
            key.open_frame(ordinal, entry, &frame).ok()?
        };
        data.verify(&self.inner.keyring.secrets.chunk_id, entry.kind, &entry.id).ok()?;
        Some(data)
    }

    /// Whether a whole pack holds the chunk, which this run then relies on.
    fn is_at_home(&self, id: &ChunkId) -> Result<bool, RepoError> {
        if let Some(session) = self.session {
            return session.has(id);
        }
        let places = self.inner.catalog.find(id)?;
        let bad: HashSet<ObjectName> = self.inner.bad_packs.all().into_iter().map(|(_, name)| name).collect();
        let is_whole =
            |name: &ObjectName| self.listed.contains_key(name) && !self.marked.contains(name) && !bad.contains(name);
        Ok(places.iter().any(|place| is_whole(&place.name)))
    }
}

fn is_named(prefixes: &[String], name: &ObjectName) -> bool {
    let name = name.to_string();
    prefixes.iter().any(|prefix| !prefix.is_empty() && name.starts_with(prefix.as_str()))
}
