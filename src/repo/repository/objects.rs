//! Every small object and every index object, read from storage and compared with what the catalog says: what `verify`
//! looks at, so that it sees what a new machine would see.

use super::{Inner, PacksListed, Repository, listed::Held, names, promises::PromisesBody, settings::SettingsBody};
use crate::repo::error::HIDES;
use crate::repo::{
    Manifest, ObjectName, RepoError, SnapshotId,
    catalog::{Revision, RevisionKind},
    chains::{Broken, Chains},
    index, keys,
    lease::{LeaseBody, LeaseEndBody, MarkBody, end_path},
    object::{self, ObjectKind},
    pack::{self, HEADER_BYTES, Header},
    storage::{Begun, Listed, Listing},
};
use crate::report::{ErrorKind, Trouble, TroubleKind};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    iter::Peekable,
};

/// What looking at every object but the packs' inside showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectsCheck {
    /// Objects read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects with what is wrong with them.
    pub problems: Vec<Trouble>,
    /// What lies where objects lie and is none, with what is wrong with that.
    pub hidden: Vec<(String, &'static str)>,
    /// What is worth knowing and harms nobody.
    pub notes: Vec<String>,
    /// How what `packs/` lists stands to what index objects describe.
    pub packs: PacksListed,
}

/// Told of the bytes of every object; `false` asks to stop.
pub type ObjectsProgress<'a> = dyn FnMut(u64) -> bool + 'a;

impl Repository {
    /// Reads every object but packs from storage, never from the catalog. An index object that turns out to be damaged is
    /// dropped from the catalog too, so that nobody on this host relies on what no other host can find.
    ///
    /// # Errors
    /// [`RepoError`] if storage cannot be listed; [`RepoError::Interrupted`].
    pub fn check_objects(&self, progress: &mut ObjectsProgress<'_>) -> Result<ObjectsCheck, RepoError> {
        // Where storage is far all of these are on their way while the first one is looked at.
        let begun = FOLDERS.map(|folder| (folder, self.inner.storage.begin_list(folder)));
        let mut check = Checker {
            inner: &self.inner,
            begun: begun.into_iter().collect(),
            found: ObjectsCheck::default(),
            progress,
            chains: Chains::default(),
            broken: Vec::new(),
            settled: BTreeSet::new(),
            committed: BTreeSet::new(),
        };
        let inner = &self.inner;
        let unsound = || keys::unsound(&inner.storage, &inner.keyring);
        let (unsound, checked) = inner.storage.both(unsound, || check.objects());
        let packs = checked?;
        let others = std::mem::take(&mut check.found.problems);
        check.keys(unsound?)?;
        check.found.problems.extend(others);
        check.packs(packs)?;
        let mut found = check.found;
        found.hidden = super::lock(&self.inner.strange).hidden.iter().map(|name| (name.clone(), HIDES)).collect();
        found.notes.extend(self.foreign_notes());
        Ok(found)
    }
}

/// What is looked at beside packs.
const FOLDERS: [&str; 14] = [
    "keys/",
    "copies/",
    "index/",
    "snapshots/",
    "leases/",
    "trash/",
    "checkpoints/",
    "damage/",
    "promises/",
    "forgotten/",
    "drills/",
    "claims/",
    "audit/",
    "settings/",
];

/// An object that is read.
enum Wanted {
    Index(ObjectName, Listed),
    Revision(SnapshotId, u64, Listed),
    Small(&'static str, Listed),
}

/// All of them, in the order of their folders: while those of one folder are looked at those of the next are on their way.
type Reading<'r> = Peekable<&'r mut dyn Iterator<Item = (Wanted, Begun)>>;

/// What a listing of `packs/` shows beside [`PacksListed`].
struct PacksSeen {
    listed: PacksListed,
    /// Packs of a length that none can have.
    impossible: BTreeMap<ObjectName, u64>,
    /// Packs that no index object described when the listing began.
    unknown: BTreeMap<ObjectName, Listed>,
}

impl PacksSeen {
    fn list(inner: &Inner) -> Result<Self, RepoError> {
        let mut held = Held::begin(&inner.catalog)?;
        let (mut impossible, mut unknown) = (BTreeMap::new(), BTreeMap::new());
        inner.list_pages("packs/", &mut |page| {
            for object in page {
                let Some(name) = names::parse_pack(&object.name) else { continue };
                if object.bytes % pack::PADDING_BYTES as u64 != 0 || object.bytes == 0 {
                    impossible.insert(name, object.bytes);
                }
                if !held.lists(name, object.bytes) {
                    unknown.insert(name, object);
                }
            }
        })?;
        Ok(Self { listed: held.end(&inner.catalog)?, impossible, unknown })
    }
}

struct Checker<'a, 'p> {
    inner: &'a Inner,
    /// Listings under way.
    begun: HashMap<&'static str, Listing>,
    found: ObjectsCheck,
    progress: &'a mut ObjectsProgress<'p>,
    /// Of the folder that is being read.
    chains: Chains,
    broken: Vec<Broken>,
    settled: BTreeSet<String>,
    /// Snapshots that stand.
    committed: BTreeSet<SnapshotId>,
}

impl Checker<'_, '_> {
    fn problem(&mut self, object: impl Into<String>, problem: impl std::fmt::Display) {
        self.trouble(TroubleKind::Damaged, object, problem);
    }

    /// An object that cannot be opened, with what else is to be said of it.
    fn unopened(&mut self, object: &str, error: &RepoError, more: &str) {
        let is_newer = error.kind() == ErrorKind::NewerFormat;
        let kind = if is_newer { TroubleKind::Newer } else { TroubleKind::Damaged };
        self.trouble(kind, object, format!("{error}{}", if is_newer { "" } else { more }));
    }

    fn trouble(&mut self, kind: TroubleKind, object: impl Into<String>, problem: impl std::fmt::Display) {
        let (object, problem) = (object.into(), format!("{problem}"));
        // Errors name their object themselves.
        let told =
            problem.strip_prefix(&object).map(|rest| rest.trim_start_matches(" is damaged: ").trim_start().to_owned());
        self.found.problems.push(Trouble::new(kind, object, told.unwrap_or(problem)));
    }

    /// Takes an object that was read; `None` if it is gone, or cannot be read, which is noted.
    fn take(&mut self, name: &str, begun: Begun) -> Result<Option<Vec<u8>>, RepoError> {
        match begun.get() {
            Ok(bytes) => {
                self.found.objects += 1;
                self.found.bytes += bytes.len() as u64;
                if (self.progress)(bytes.len() as u64) { Ok(Some(bytes)) } else { Err(RepoError::Interrupted) }
            }
            Err(RepoError::Missing { .. }) => Ok(None),
            Err(error) => {
                self.unopened(name, &error, "");
                Ok(None)
            }
        }
    }

    /// What a folder lists.
    fn listed(&mut self, folder: &'static str) -> Result<Vec<Listed>, RepoError> {
        match self.begun.remove(folder) {
            Some(listing) => Ok(self.inner.objects_of(folder, listing.get()?)),
            None => self.inner.list_objects(folder),
        }
    }

    /// Everything but keys; gives what `packs/` lists.
    fn objects(&mut self) -> Result<PacksSeen, RepoError> {
        let mut wanted = Vec::new();
        for object in self.listed("index/")? {
            wanted.extend(names::parse_flat("index/", &object.name).map(|name| Wanted::Index(name, object)));
        }
        let mut revisions = self.listed("snapshots/")?;
        revisions.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for object in revisions {
            let revision = names::parse_revision(&object.name);
            wanted.extend(revision.map(|(snapshot, number)| Wanted::Revision(snapshot, number, object)));
        }
        for folder in &FOLDERS[4..] {
            wanted.extend(self.listed(folder)?.into_iter().map(|object| Wanted::Small(folder, object)));
        }
        let named = wanted.into_iter().map(|wanted| {
            let (Wanted::Index(_, object) | Wanted::Revision(_, _, object) | Wanted::Small(_, object)) = &wanted;
            let (name, bytes) = (object.name.clone(), object.bytes);
            (wanted, name, bytes)
        });
        let mut reading = object::read_each(&self.inner.storage, named);
        let mut reading: Reading<'_> = (&mut reading as &mut dyn Iterator<Item = _>).peekable();
        self.index(&mut reading)?;
        // What a damaged index object described is described no longer.
        let inner = self.inner;
        let (packs, looked_at) = inner.storage.both(
            || PacksSeen::list(inner),
            || {
                self.snapshots(&mut reading)?;
                self.small(&mut reading)
            },
        );
        looked_at?;
        packs
    }

    fn keys(&mut self, unsound: Vec<keys::Unsound>) -> Result<(), RepoError> {
        for found in unsound {
            let way_out = if found.other.is_some() { "; the other of the two is whole" } else { "" };
            self.unopened(&found.name, &found.problem, way_out);
        }
        for folder in ["keys/", "copies/"] {
            self.found.objects += self.listed(folder)?.len() as u64;
        }
        self.found.objects += 1;
        Ok(())
    }

    fn index(&mut self, reading: &mut Reading<'_>) -> Result<(), RepoError> {
        let mut damaged = Vec::new();
        while let Some((wanted, begun)) = reading.next_if(|(wanted, _)| matches!(wanted, Wanted::Index(..))) {
            let Wanted::Index(name, object) = wanted else { continue };
            let before = self.found.problems.len();
            let Some(bytes) = self.take(&object.name, begun)? else {
                if self.found.problems.len() > before {
                    damaged.push(name);
                }
                continue;
            };
            match index::open(&self.inner.keyring, &name, &bytes) {
                Ok(packs) => {
                    let mut seen = BTreeSet::new();
                    for pack in packs.iter().filter(|pack| !seen.insert(pack.name)) {
                        self.problem(&*object.name, format!("it describes pack {} twice", pack.name));
                    }
                }
                Err(error) => {
                    self.unopened(&object.name, &error, "");
                    // What is known of one that only a newer program reads was read by that.
                    if error.kind() != ErrorKind::NewerFormat {
                        damaged.push(name);
                    }
                }
            }
        }
        self.inner.catalog.apply_index(&mut || Ok(None), &damaged)
    }

    fn snapshots(&mut self, reading: &mut Reading<'_>) -> Result<(), RepoError> {
        let mut known: HashMap<(SnapshotId, u64), Vec<u8>> = HashMap::new();
        for revision in self.inner.catalog.revisions()? {
            known.insert((revision.snapshot, revision.revision), revision.sealed);
        }
        let forgotten = self.inner.forgotten(&[])?;
        let mut contents: BTreeMap<SnapshotId, Manifest> = BTreeMap::new();
        while let Some((wanted, begun)) = reading.next_if(|(wanted, _)| matches!(wanted, Wanted::Revision(..))) {
            let Wanted::Revision(snapshot, revision, object) = wanted else { continue };
            let Some(sealed) = self.take(&object.name, begun)? else { continue };
            let is_known = known.get(&(snapshot, revision));
            let way_out = match is_known {
                Some(there) if *there != sealed => "; this host's catalog still holds it",
                _ => "",
            };
            match self.open(snapshot, revision, sealed) {
                Ok(None) => {}
                Ok(Some(manifest)) => {
                    self.manifest(&object.name, &manifest);
                    if let Some(first) = contents.get(&snapshot).filter(|first| first.content != manifest.content) {
                        let problem = format!("its content is not that of revision {}", first.revision);
                        self.problem(&*object.name, problem);
                    }
                    contents.entry(snapshot).or_insert(manifest);
                    self.committed.extend((!forgotten.contains(&snapshot)).then_some(snapshot));
                }
                Err(error) if forgotten.contains(&snapshot) => {
                    self.found.notes.push(format!("{error}; the snapshot is forgotten, and a prune takes this away"));
                }
                Err(error) => self.unopened(&object.name, &error, way_out),
            }
        }
        Ok(())
    }

    fn open(&self, snapshot: SnapshotId, revision: u64, sealed: Vec<u8>) -> Result<Option<Manifest>, RepoError> {
        let path = names::revision_path(&snapshot, revision);
        let kind = self.inner.revision_kind(&path, revision, &sealed)?;
        if kind == RevisionKind::Void {
            // It counts whatever it says.
            let body: names::VoidBody = self.plain(ObjectKind::Void, &path, &sealed)?;
            same(&path, body.void == snapshot)?;
        }
        if kind != RevisionKind::Manifest {
            return Ok(None);
        }
        self.inner.open_revision(&Revision { snapshot, revision, kind, sealed }).map(Some)
    }

    fn manifest(&mut self, path: &str, manifest: &Manifest) {
        let mut seen = BTreeSet::new();
        for collection in &manifest.collections {
            if !seen.insert((collection.name.clone(), format!("{:?}", collection.codec))) {
                self.problem(path, format!("it has the collection {} twice", collection.name));
            }
            let rows: u64 = collection.stack.iter().map(|layer| layer.rows).sum();
            if collection.counted && rows < collection.records {
                let problem = format!(
                    "the layers of collection {} have {rows} rows, and it has {} records: one is missing",
                    collection.name, collection.records
                );
                self.problem(path, problem);
            }
            let covered: u64 = collection.coverage.iter().map(|range| range.records).sum();
            if !collection.coverage.is_empty() && covered != collection.records {
                let problem = format!(
                    "the ranges of collection {} have {covered} records, and it has {}",
                    collection.name, collection.records
                );
                self.problem(path, problem);
            }
        }
    }

    /// Leases, marks, checkpoints, damage notes, promises, collective tombstones, reports of drills, claims, audit.
    fn small(&mut self, reading: &mut Reading<'_>) -> Result<(), RepoError> {
        for folder in &FOLDERS[4..] {
            let is_of_it = |wanted: &Wanted| matches!(wanted, Wanted::Small(of, _) if of == folder);
            while let Some((wanted, begun)) = reading.next_if(|(wanted, _)| is_of_it(wanted)) {
                let Wanted::Small(_, object) = wanted else { continue };
                self.chains.is_there(&object.name);
                let Some(bytes) = self.take(&object.name, begun)? else { continue };
                if let Err(error) = self.small_one(&object, &bytes) {
                    self.unopened(&object.name, &error, "");
                }
            }
            if matches!(*folder, "drills/" | "audit/") {
                self.broken.extend(self.inner.broken(folder, &mut self.chains)?);
            }
            self.chains = Chains::default();
        }
        for broken in std::mem::take(&mut self.broken) {
            if self.settled.contains(&broken.key) {
                self.found.notes.push(format!("{broken}; that was seen, and is settled"));
            } else {
                self.problem(&*broken.object, &broken.problem);
            }
        }
        Ok(())
    }

    fn plain<T: DeserializeOwned>(&self, kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<T, RepoError> {
        let body = object::open(&self.inner.keyring, kind, name, bytes)?;
        serde_json::from_slice(&body).map_err(|error| RepoError::damaged(name, error))
    }

    fn small_one(&mut self, object: &Listed, bytes: &[u8]) -> Result<(), RepoError> {
        let name = object.name.as_str();
        let parts: Vec<&str> = name.split('/').collect();
        let id = || parts.get(1).and_then(|id| id.parse::<SnapshotId>().ok());
        match (parts.as_slice(), id()) {
            (["leases", _, "end"], Some(id)) => {
                let end: LeaseEndBody = self.plain(ObjectKind::LeaseEnd, name, bytes)?;
                same(name, end.lease == id && name == end_path(&id))
            }
            (["leases", _, number], Some(id)) => {
                let body: LeaseBody = self.plain(ObjectKind::Lease, name, bytes)?;
                same(name, body.lease == id && body.number.to_string() == **number)
            }
            (["trash", _], _) => self.plain::<MarkBody>(ObjectKind::Mark, name, bytes).map(drop),
            (["checkpoints", _, number], Some(id)) => match number.parse() {
                Ok(number) => self.inner.read_checkpoint(&id, number).map(drop),
                Err(_) => Ok(()),
            },
            (["promises", place, _], _) => {
                let body: PromisesBody = self.plain(ObjectKind::Promises, name, bytes)?;
                // A verdict of another place came along with a copy of the repository: it counts for nothing here.
                same(name, body.location.get(..place.len()) == Some(place))
            }
            (["forgotten", _], _) => self.inner.read_forgotten(name).map(drop),
            (["damage", pack], _) => match pack.parse() {
                Ok(pack) => self.inner.read_damage(&pack).map(drop),
                Err(_) => Ok(()),
            },
            (["claims", ..], _) => self.inner.open_claim(name, bytes).map(drop),
            (["settings", _], _) => self.plain::<SettingsBody>(ObjectKind::Settings, name, bytes).map(drop),
            (["audit", ..], _) => {
                let kept = self.inner.open_audit(name, bytes)?;
                kept.chain(&mut self.chains);
                self.settled.extend(kept.settles);
                Ok(())
            }
            (["drills", ..], _) => match name.trim_start_matches("drills/").parse() {
                Ok(drill) => self.inner.kept_drill(drill, bytes).map(|kept| kept.chain(&mut self.chains)),
                Err(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Packs that no index object describes, packs of an impossible length, packs in a wrong folder.
    fn packs(&mut self, seen: PacksSeen) -> Result<(), RepoError> {
        let PacksSeen { listed, impossible, unknown } = seen;
        self.found.packs = listed;
        for (name, bytes) in impossible {
            self.problem(pack::path(&name), format!("no pack is {bytes} bytes long"));
        }
        if !unknown.is_empty() {
            // What was stored and indexed meanwhile may be listed, and is in the catalog now.
            self.inner.refresh_index(&mut Vec::new())?;
        }
        let mut orphans: BTreeMap<SnapshotId, Vec<String>> = BTreeMap::new();
        let mut undescribed = Vec::new();
        for (name, object) in unknown {
            if self.inner.catalog.pack_number(&name)?.is_none() {
                undescribed.push(object);
            }
        }
        let storage = &self.inner.storage;
        let heads = storage.each_of(&undescribed, |object| storage.read_range(&object.name, 0..HEADER_BYTES as u64));
        for (object, head) in undescribed.into_iter().zip(heads) {
            match head.and_then(|head| Header::parse_front(&object.name, &head)) {
                Ok((header, _)) => orphans.entry(header.lease).or_default().push(object.name),
                Err(RepoError::Missing { .. }) => {}
                Err(error) => self.unopened(&object.name, &error, ", and no index object describes it"),
            }
        }
        for (lease, packs) in orphans {
            // What such a run had stored it had also described.
            let why = if self.committed.contains(&lease) {
                "its snapshot stands, so an index object was lost unless a prune has just dropped them"
            } else {
                "it is at work or broke off, and a prune takes away what nobody needs"
            };
            self.found.notes.push(format!(
                "{} of the run {} in no index object: {why}: {}",
                if packs.len() == 1 { "a pack is".to_owned() } else { format!("{} packs are", packs.len()) },
                lease.short(),
                packs[0]
            ));
        }
        Ok(())
    }
}

fn same(name: &str, is_same: bool) -> Result<(), RepoError> {
    if is_same { Ok(()) } else { Err(RepoError::damaged(name, "what it says is not what its name says")) }
}
