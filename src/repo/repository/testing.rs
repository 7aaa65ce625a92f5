//! Storage in memory that records every operation and fails where a test wants it to, and small repositories on it.

use super::{InitOptions, OpenOptions, Repository, lock};
use crate::{
    record::{Clock, KeyCodec, Timestamp},
    repo::{
        Backend, ChunkData, ChunkId, ChunkKind, ChunkPlain, ChunkWriter, Manifest, ObjectName, RepoError, SnapshotId,
        Storage, Unlock, WriteOptions, WriteSession,
        carried::Carried,
        keys::{KdfParams, LeaseKey, Party, Signer},
        lease::MarkBody,
        manifest::{Collection, Content, Kind, LayerRef, SourceId, Stats},
        object::{self, ObjectKind},
        session::SessionTiming,
        storage::{Created, Listed, Promises},
    },
};
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind},
    ops::Range,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

/// How a create that matches goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum Fault {
    /// The object is made, the answer is an error.
    AnswerLost,
    /// Nothing is made.
    Refused,
}

#[derive(Default)]
pub(in crate::repo) struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    pub log: Mutex<Vec<String>>,
    /// Creates of names with this prefix fail.
    pub fault: Mutex<Option<(String, Fault)>>,
    /// Objects of names with this prefix cannot be read just now.
    pub stuck: Mutex<Option<String>>,
    /// Names with this prefix are not listed.
    pub hidden: Mutex<Option<String>>,
    /// Signs what is put there as the repository's own.
    pub maker: Mutex<Option<Repository>>,
    /// Creates of packs wait until so many have met.
    pub meeting: Mutex<Option<Meeting>>,
    /// Asked for ahead of need.
    pub is_far: AtomicBool,
}

/// Where requests wait for one another.
#[derive(Clone)]
pub(in crate::repo) struct Meeting {
    pub want: usize,
    pub come: Arc<(Mutex<usize>, Condvar)>,
}

impl Meeting {
    pub fn of(want: usize) -> Self {
        Self { want, come: Arc::default() }
    }

    /// Waits for the others; an error if they do not come, so that a test fails instead of hanging.
    fn meet(&self) -> std::io::Result<()> {
        let (come, bell) = &*self.come;
        let mut come = lock(come);
        *come += 1;
        bell.notify_all();
        let waited = bell.wait_timeout_while(come, Duration::from_secs(20), |come| *come < self.want).unwrap();
        if waited.1.timed_out() { Err(Error::other("the others did not come")) } else { Ok(()) }
    }
}

impl Memory {
    fn note(&self, operation: &str, name: &str) {
        lock(&self.log).push(format!("{operation} {name}"));
    }

    pub fn names(&self, prefix: &str) -> Vec<String> {
        lock(&self.objects).keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        lock(&self.objects)[name].clone()
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        lock(&self.objects).insert(name.to_owned(), bytes);
    }

    pub fn remove(&self, name: &str) {
        assert!(lock(&self.objects).remove(name).is_some(), "{name}");
    }

    pub fn fail(&self, prefix: &str, fault: Fault) {
        *lock(&self.fault) = Some((prefix.to_owned(), fault));
    }

    pub fn heal(&self) {
        *lock(&self.fault) = None;
    }

    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.log))
    }

    pub fn mark(&self, id: &str, packs: &[ObjectName]) {
        let path = format!("trash/{id}");
        let body = serde_json::to_vec(&MarkBody { packs: packs.to_vec() }).unwrap();
        let maker = lock(&self.maker).clone().unwrap();
        self.put(&path, maker.made_by_operator(ObjectKind::Mark, &path, &body).unwrap());
    }

    /// The plain body of a small object.
    pub fn body(&self, kind: ObjectKind, path: &str) -> Json {
        serde_json::from_slice(&object::unwrap(kind, path, &self.bytes(path)).unwrap()).unwrap()
    }
}

impl Backend for Memory {
    fn list(&self, prefix: &str) -> std::io::Result<Vec<Listed>> {
        self.note("list", prefix);
        let hidden = lock(&self.hidden).clone();
        let objects = lock(&self.objects);
        let listed = objects.iter().filter(|(name, _)| {
            name.starts_with(prefix) && !hidden.as_ref().is_some_and(|hidden| name.starts_with(hidden))
        });
        Ok(listed.map(|(name, bytes)| Listed { name: name.clone(), bytes: bytes.len() as u64 }).collect())
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> std::io::Result<Vec<u8>> {
        self.note("read", name);
        if lock(&self.stuck).as_ref().is_some_and(|prefix| name.starts_with(prefix)) {
            return Err(Error::other("stuck by the test"));
        }
        let objects = lock(&self.objects);
        let bytes = objects.get(name).ok_or(ErrorKind::NotFound)?;
        let range = range.unwrap_or(0..bytes.len() as u64);
        let bytes = bytes.get(range.start as usize..range.end as usize).ok_or(ErrorKind::UnexpectedEof)?;
        Ok(bytes.to_vec())
    }

    fn read_at_most(&self, name: &str, most: u64) -> std::io::Result<Vec<u8>> {
        let bytes = self.read(name, None)?;
        if bytes.len() as u64 > most { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn create(&self, name: &str, bytes: &bytes::Bytes) -> std::io::Result<Created> {
        self.note("create", name);
        let meeting = lock(&self.meeting).clone().filter(|_| name.starts_with("packs/"));
        meeting.map_or(Ok(()), |meeting| meeting.meet())?;
        let fault = lock(&self.fault).clone().filter(|(prefix, _)| name.starts_with(prefix));
        if let Some((_, Fault::Refused)) = fault {
            return Err(Error::new(ErrorKind::PermissionDenied, "refused by the test"));
        }
        let mut objects = lock(&self.objects);
        if objects.contains_key(name) {
            return Ok(Created::Exists);
        }
        objects.insert(name.to_owned(), bytes.to_vec());
        if fault.is_some() {
            return Err(Error::new(ErrorKind::PermissionDenied, "answer lost by the test"));
        }
        Ok(Created::New)
    }

    fn delete(&self, name: &str) -> std::io::Result<()> {
        self.note("delete", name);
        lock(&self.objects).remove(name);
        Ok(())
    }

    fn len(&self, name: &str) -> std::io::Result<u64> {
        self.note("len", name);
        Ok(lock(&self.objects).get(name).ok_or(ErrorKind::NotFound)?.len() as u64)
    }

    fn promises(&self) -> Promises {
        Promises { conditional_create: true, prompt_listing: true }
    }

    fn connections(&self) -> usize {
        8
    }

    fn is_far(&self) -> bool {
        self.is_far.load(Ordering::SeqCst)
    }
}

/// A wall clock that a test sets.
pub(in crate::repo) struct Hands(pub AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// One repository in memory, opened as often as a test likes, each time with a catalog of its own.
pub(in crate::repo) struct World {
    pub memory: Arc<Memory>,
    pub clock: Arc<Hands>,
    caches: Vec<tempfile::TempDir>,
}

impl World {
    pub fn new() -> (Self, Repository) {
        let clock = Arc::new(Hands(AtomicI64::new(1_800_000_000_000)));
        let mut world = Self { memory: Arc::default(), clock, caches: Vec::new() };
        let init =
            InitOptions { kdf: KdfParams { memory_kib: 64, passes: 1, lanes: 1 }, label: "test@host".to_owned() };
        let (storage, open) = (world.storage(), world.options());
        let (repo, _) = Repository::init(&storage, &password(), None, &init, &open).unwrap();
        // Through a storage of its own: otherwise both would keep each other alive.
        let beside = Storage::at("memory:///").unwrap();
        for object in storage.list("").unwrap() {
            beside.create(&object.name, &storage.read(&object.name).unwrap()).unwrap();
        }
        let open = world.options();
        *lock(&world.memory.maker) = Some(Repository::open(&beside, &password(), &open).unwrap());
        world.memory.take_log();
        (world, repo)
    }

    fn storage(&self) -> Storage {
        Storage::over(Arc::clone(&self.memory) as Arc<dyn Backend>, "memory")
    }

    fn options(&mut self) -> OpenOptions {
        let cache = tempfile::tempdir().unwrap();
        let cache_dir = cache.path().to_owned();
        self.caches.push(cache);
        OpenOptions { cache_dir, clock: Arc::clone(&self.clock) as Arc<dyn Clock>, host: "host".to_owned() }
    }

    /// Opens with an empty catalog.
    pub fn open(&mut self) -> Repository {
        let open = self.options();
        Repository::open(&self.storage(), &password(), &open).unwrap()
    }

    /// Opens with the catalog of the first.
    pub fn reopen(&self) -> Repository {
        let open = OpenOptions {
            cache_dir: self.caches[0].path().to_owned(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            host: "host".to_owned(),
        };
        Repository::open(&self.storage(), &password(), &open).unwrap()
    }
}

fn password() -> Unlock {
    Unlock::Password("correct horse".to_owned())
}

pub(in crate::repo) fn write_options() -> WriteOptions {
    WriteOptions { purpose: "backup".to_owned(), compression: 3, check: true, write_limit: None }
}

/// No heartbeat but those that the test sends; packs of one or two chunks.
pub(in crate::repo) fn begin(repo: &Repository) -> WriteSession {
    let timing = SessionTiming { heartbeat: Duration::MAX, pack_bytes: 1, ..SessionTiming::default() };
    repo.begin_write_timed(&write_options(), &timing).unwrap()
}

pub(in crate::repo) fn plain(n: u8) -> ChunkPlain {
    let mut plain = ChunkPlain { bytes: vec![n; 5000], ends: vec![5000] };
    plain.bytes.extend((0..5000_u32).map(|i| blake3::hash(&[n, i as u8, (i >> 8) as u8]).as_bytes()[0]));
    plain.end_run();
    plain
}

pub(in crate::repo) fn id(repo: &Repository, n: u8) -> ChunkId {
    plain(n).id(&repo.secrets().chunk_id, ChunkKind::Values)
}

/// Puts chunks and finishes their packs; gives which were new.
pub(in crate::repo) fn put(session: &WriteSession, chunks: &[u8]) -> Vec<bool> {
    let mut writer = session.writer();
    let new = chunks.iter().map(|&n| writer.put(ChunkKind::Values, &plain(n)).unwrap().new).collect();
    writer.finish().unwrap();
    new
}

pub(in crate::repo) fn read(repo: &Repository, n: u8) -> Result<ChunkData, RepoError> {
    repo.chunks().read(ChunkKind::Values, &id(repo, n))
}

/// The pack of the only place of a chunk.
pub(in crate::repo) fn home(repo: &Repository, n: u8) -> ObjectName {
    let places = repo.chunk_places(&id(repo, n)).unwrap();
    assert_eq!(places.len(), 1);
    places[0].name
}

pub(in crate::repo) fn manifest(id: SnapshotId, end: i64) -> Manifest {
    let time = Timestamp::from_millis(end);
    Manifest::first(
        id,
        Content {
            start: time,
            end: time,
            order: 0,
            source: SourceId {
                connector: "jsonl".to_owned(),
                name: "n".to_owned(),
                host: "host".to_owned(),
                url: "jsonl:-".to_owned(),
                other: Carried::default(),
            },
            scope: String::new(),
            scope_note: String::new(),
            asked: crate::repo::manifest::Asked::default(),
            loss_accepted: false,
            kind: Kind::Full,
            parent: None,
            complete: true,
            problems: vec![],
            attributes: Json::Null,
            stats: Stats { duration_seconds: 1.25, ..Stats::default() },
            program: "test".to_owned(),
            copy_of: None,
            other: Carried::default(),
        },
        vec![collection("c")],
    )
}

pub(in crate::repo) fn collection(name: &str) -> Collection {
    Collection {
        name: name.to_owned(),
        codec: KeyCodec::Int,
        records: 1,
        bytes: 2,
        coverage: vec![],
        attributes: Json::Null,
        sets: Vec::new(),
        stack: vec![LayerRef::new(ChunkId([9; 32]), 1, 2)],
        journal: None,
        counted: true,
        other: Carried::default(),
    }
}

/// A committed snapshot of these chunks.
pub(in crate::repo) fn commit(repo: &Repository, chunks: &[u8], end: i64) -> SnapshotId {
    let session = begin(repo);
    put(&session, chunks);
    let id = session.id();
    session.commit(&manifest(id, end)).unwrap();
    id
}

/// Puts a manifest under its name.
pub(in crate::repo) fn put_manifest(world: &World, repo: &Repository, signer: Signer<'_>, manifest: &Manifest) {
    let path = format!("snapshots/{}/{}", manifest.id, manifest.revision);
    let body = manifest.to_json(&mut |_| unreachable!()).unwrap();
    let made = object::make(&repo.inner.keyring, signer, ObjectKind::Snapshot, &path, &body);
    world.memory.put(&path, made.unwrap());
}

/// A snapshot with a revision of a squash that has not committed, whose key it gives.
pub(in crate::repo) fn begin_squash(world: &World, repo: &Repository) -> (SnapshotId, LeaseKey) {
    let snapshot = commit(repo, &[1], 100);
    let key = repo.inner.keyring.lease_key(Party::Operator).unwrap();
    let mut pending = manifest(snapshot, 100);
    (pending.revision, pending.squash) = (1, Some(key.lease()));
    put_manifest(world, repo, Signer::Operator, &pending);
    repo.refresh().unwrap();
    (snapshot, key)
}

/// Commits it.
pub(in crate::repo) fn commit_squash(world: &World, repo: &Repository, key: &LeaseKey) {
    let mut commit = manifest(key.lease(), 100);
    commit.squash = Some(key.lease());
    put_manifest(world, repo, Signer::Lease(key), &commit);
    repo.refresh().unwrap();
}
