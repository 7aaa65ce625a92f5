//! Who is at work: writers, readers, pruners, those who tag and forget. Each does what the command does, by the same
//! code of the repository room.

use super::{rng::Rng, scheduler::Scheduler, storage::Sea};
use rekeep::{
    record::{Clock, KeyCodec, Timestamp},
    repo::{
        ChunkKind, ChunkPlain, ChunkWriter, InitOptions, Manifest, ObjectName, OpenOptions, RepoError, Repository,
        Snapshot, SnapshotId, Storage, Unlock, WriteOptions, WriteSession,
        carried::Carried,
        entropy,
        faults::{self, Rule},
        keys::KdfParams,
        manifest::{Collection, Content, Kind, LayerRef, SourceId, Stats, Tables},
        pruner::{LayerWalk as _, Pruner, PrunerOptions, flat::Flat},
        replica::{self, Follow, ReplicaOptions, Replicated, Stage, Watch},
        session::SessionTiming,
    },
};
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

/// How many different chunks there are: few, so that everybody meets everybody's.
const CHUNKS: u64 = 5;

/// A host's clock: its own, and wrong.
struct Skewed(Arc<AtomicI64>, i64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst) + self.1)
    }
}

/// Mistakes of an actor itself.
#[derive(Debug, Clone, Default)]
pub struct Flaws {
    /// Rules that the repository room breaks for it.
    pub rules: Vec<Rule>,
    /// A writer does not rely on its parent's stack.
    pub trusts_parent: bool,
    /// A writer whose parent was squashed takes the new stack without looking whether it is present.
    pub adopts: bool,
    /// Somebody who has no key, and may create objects, is among the actors.
    pub adversary: bool,
}

/// What an actor needs to be somewhere.
#[derive(Clone)]
pub struct Place {
    pub sea: Sea,
    /// Where the replica is.
    pub island: Sea,
    pub scheduler: Scheduler,
    pub caches: PathBuf,
    pub flaws: Flaws,
    /// Whether others may go first before each look into a catalog, too.
    pub points: bool,
}

/// One actor at its place.
pub struct Actor {
    pub place: Place,
    pub number: usize,
    pub host: u64,
    live: Arc<AtomicBool>,
}

pub fn password() -> Unlock {
    Unlock::Password("correct horse".to_owned())
}

/// A repository opened by someone who needs no turn.
pub fn open_directly(sea: &Sea, caches: &std::path::Path, host: &str) -> Repository {
    let storage = Storage::over(sea.backend(None, &Arc::default()), "sea");
    Repository::open(&storage, &password(), &options(sea, caches.join(host), host, 0)).unwrap()
}

pub fn init(sea: &Sea, caches: &std::path::Path) {
    let storage = Storage::over(sea.backend(None, &Arc::default()), "sea");
    let init = InitOptions { kdf: KdfParams { memory_kib: 8, passes: 1, lanes: 1 }, label: "test".to_owned() };
    Repository::init(&storage, &password(), None, &init, &options(sea, caches.join("init"), "init", 0)).unwrap();
}

fn options(sea: &Sea, cache_dir: PathBuf, host: &str, skew: i64) -> OpenOptions {
    OpenOptions { cache_dir, clock: Arc::new(Skewed(Arc::clone(&sea.time), skew)), host: host.to_owned() }
}

impl Place {
    /// Starts an actor on a host; actors of one host share its catalog and its clock.
    pub fn start(
        &self,
        host: u64,
        seed: u64,
        work: impl FnOnce(&Actor, &mut Rng) -> Result<(), RepoError> + Send + 'static,
    ) -> usize {
        let place = self.clone();
        self.scheduler.spawn(move |number| {
            // What the repository room does on several threads it does on this one here, in one order.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
            entropy::seeded::set(Some(seed.wrapping_mul(1_000_003) + number as u64));
            faults::broken::set(&place.flaws.rules);
            let mut rng = Rng::new(seed.wrapping_mul(31) + number as u64);
            let actor = Actor { place, number, host, live: Arc::default() };
            // What fails an actor is the weather, or the end of its process; what matters is what it leaves behind.
            let _ = work(&actor, &mut rng);
            drop(pool);
        })
    }
}

impl Actor {
    pub fn open(&self) -> Result<Repository, RepoError> {
        let repo = self.open_at(&self.place.sea, "sea")?;
        self.live.store(true, Ordering::SeqCst);
        if self.place.points {
            let (scheduler, number) = (self.place.scheduler.clone(), self.number);
            // Who is killed here learns of it from the storage.
            faults::points::set(Some(Rc::new(move |what| drop(scheduler.turn(number, what)))));
        }
        Ok(repo)
    }

    /// The repository at a place, as this actor's host opens it.
    pub fn open_at(&self, sea: &Sea, name: &str) -> Result<Repository, RepoError> {
        let way = sea.backend(Some((self.place.scheduler.clone(), self.number)), &self.live);
        let host = format!("host{}", self.host);
        let skew = self.host as i64 * 7_000_000 - 5_000_000;
        let open = options(sea, self.place.caches.join(&host), &host, skew);
        Repository::open(&Storage::over(way, name), &password(), &open)
    }

    /// The storage as somebody sees it who has no key.
    pub fn storage(&self) -> Storage {
        let way = self.place.sea.backend(Some((self.place.scheduler.clone(), self.number)), &self.live);
        self.live.store(true, Ordering::SeqCst);
        Storage::over(way, "sea")
    }

    /// The replica's place.
    pub fn island(&self) -> Storage {
        let way = self.place.island.backend(Some((self.place.scheduler.clone(), self.number)), &self.live);
        Storage::over(way, "island")
    }

    pub fn now(&self) -> i64 {
        self.place.sea.time.load(Ordering::SeqCst)
    }
}

/// Nothing beside the actor's own thread.
pub fn alone(pack_bytes: usize) -> SessionTiming {
    SessionTiming { alone: true, pack_bytes, index_packs: 3, ..SessionTiming::default() }
}

pub fn plain(n: u64) -> ChunkPlain {
    ChunkPlain::single(Rng::new(n + 1).bytes(300))
}

pub fn begin(repo: &Repository, pack_bytes: usize) -> Result<WriteSession, RepoError> {
    begin_as(repo, "backup", pack_bytes)
}

pub fn begin_as(repo: &Repository, purpose: &str, pack_bytes: usize) -> Result<WriteSession, RepoError> {
    let options = WriteOptions { purpose: purpose.to_owned(), compression: 0, check: false, write_limit: None };
    repo.begin_write_timed(&options, &alone(pack_bytes))
}

/// The newest snapshot all of whose chunks are present, and whose stack the session relies on now.
pub fn choose_parent(actor: &Actor, repo: &Repository, session: &WriteSession) -> Result<Option<Snapshot>, RepoError> {
    for candidate in repo.snapshots()?.into_iter().rev() {
        if actor.place.flaws.trusts_parent {
            return Ok(Some(candidate));
        }
        if relies_on(repo, session, &candidate)? {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// Whether all of a snapshot's stack is present, which the session relies on then: by the packs that the host remembers, else
/// by chunk.
fn relies_on(repo: &Repository, session: &WriteSession, candidate: &Snapshot) -> Result<bool, RepoError> {
    for layer in &candidate.collections[0].stack {
        let absent = session.rely_on_layer(&layer.id, |visit| Flat.chunks(&repo.chunks(), layer, visit));
        match absent {
            Ok(None) => {}
            Ok(Some(_)) | Err(RepoError::ChunkMissing { .. } | RepoError::Missing { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Puts chunks and the list that names them; gives the layer.
pub fn put_layer(
    session: &WriteSession,
    chunks: &[u64],
    between: &mut dyn FnMut() -> Result<(), RepoError>,
) -> Result<LayerRef, RepoError> {
    let mut writer = session.writer();
    let mut ids = Vec::new();
    for &n in chunks {
        ids.extend(writer.put(ChunkKind::Values, &plain(n))?.id.0);
        between()?;
    }
    let list = writer.put(ChunkKind::List, &ChunkPlain::single(ids))?.id;
    writer.finish()?;
    Ok(LayerRef::new(list, 1, 1))
}

/// A backup: lease, parent, chunks, commit, with heartbeats when they are due.
pub fn write(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let pack_bytes = if rng.chance(50) { 1 } else { 1 << 20 };
    let session = begin(&repo, pack_bytes)?;
    let parent = if rng.chance(60) { choose_parent(actor, &repo, &session)? } else { None };
    let mut stack = parent.as_ref().map_or_else(Vec::new, |parent| parent.collections[0].stack.clone());
    let (mut beaten, mut beats) = (actor.now(), Rng::new(rng.word()));
    let chunks: Vec<u64> = (0..=rng.below(3)).map(|_| rng.below(CHUNKS)).collect();
    let layer = put_layer(&session, &chunks, &mut || {
        if actor.now() - beaten >= 300_000 || beats.chance(30) {
            beaten = actor.now();
            session.beat_now()?;
        }
        Ok(())
    })?;
    for _ in 0..rng.below(3) {
        session.beat_now()?;
    }
    if let Some(parent) = &parent {
        stack = stack_to_keep(actor, &repo, parent)?;
    }
    stack.push(layer);
    let manifest = manifest(session.id(), actor.now(), stack, parent.map(|parent| parent.id));
    session.commit(&manifest)
}

/// The parent's stack that the writer relies on since it began, whatever became of the parent; with a flaw, the newest.
pub fn stack_to_keep(actor: &Actor, repo: &Repository, parent: &Snapshot) -> Result<Vec<LayerRef>, RepoError> {
    let mut stack = parent.collections[0].stack.clone();
    if actor.place.flaws.adopts {
        repo.refresh()?;
        let newest = repo.snapshots()?.into_iter().find(|snapshot| snapshot.id == parent.id);
        if let Some(newest) = newest {
            stack.clone_from(&newest.collections[0].stack);
        }
    }
    Ok(stack)
}

/// Restores a snapshot under a lease. Nothing may be missing, unless it was fenced, or the
/// snapshot was forgotten and stood in a mark before.
pub fn read(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let lease = repo.begin_read("restore")?;
    let Some(lease_id) = lease.id() else { return Ok(()) };
    let marked = !actor.place.sea.names("trash/").is_empty();
    let snapshots = repo.snapshots()?;
    if snapshots.is_empty() {
        return Ok(());
    }
    let snapshot = rng.pick(&snapshots).clone();
    let outcome = read_all(&repo, &snapshot);
    let sea = &actor.place.sea;
    let fenced = sea.has(&format!("snapshots/{lease_id}/0"));
    let excused = fenced || marked && sea.is_forgotten(&snapshot.id);
    match outcome {
        Err(error @ (RepoError::ChunkMissing { .. } | RepoError::Missing { .. })) if !excused => {
            sea.report(format!("a reader with the lease {lease_id} of snapshot {}: {error}", snapshot.id));
            Ok(())
        }
        other => other,
    }
}

pub fn read_all(repo: &Repository, snapshot: &Snapshot) -> Result<(), RepoError> {
    let chunks = repo.chunks();
    for layer in &snapshot.collections[0].stack {
        let mut ids = Vec::new();
        Flat.chunks(&chunks, layer, &mut |id| {
            ids.push(id);
            Ok(())
        })?;
        for id in &ids[1..] {
            let data = chunks.read(ChunkKind::Values, id)?;
            data.verify(&repo.secrets().chunk_id, ChunkKind::Values, id)?;
        }
    }
    Ok(())
}

/// Restores a snapshot without a lease: what it misses it looks for in the newest revision, until nothing moves any more.
/// Then nothing may be missing of a snapshot that nobody forgot.
pub fn read_without_lease(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let snapshots = repo.snapshots()?;
    if snapshots.is_empty() {
        return Ok(());
    }
    let mut snapshot = rng.pick(&snapshots).clone();
    let mut still = Vec::new();
    loop {
        let error = match read_all(&repo, &snapshot) {
            Err(error @ (RepoError::ChunkMissing { .. } | RepoError::Missing { .. })) => error,
            other => return other,
        };
        let mut listed = repo.storage().list("snapshots/")?;
        listed.extend(repo.storage().list("index/")?);
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        repo.refresh()?;
        let Some(newest) = repo.snapshots()?.into_iter().find(|it| it.id == snapshot.id) else { return Ok(()) };
        if newest.revision == snapshot.revision && listed == still {
            if !actor.place.sea.is_forgotten(&snapshot.id) {
                actor.place.sea.report(format!("a reader without a lease of snapshot {}: {error}", snapshot.id));
            }
            return Ok(());
        }
        (snapshot, still) = (newest, listed);
    }
}

/// Hears nothing and never stops.
struct Quiet;

impl Watch for Quiet {
    fn begins(&self, _: Stage, _: u64, _: u64) {}
    fn copied(&self, _: u64, _: u64) {}
    fn cancelled(&self) -> bool {
        false
    }
}

pub fn replicate_once(source: &Storage, target: &Storage, follows: bool, now: i64) -> Result<Replicated, RepoError> {
    let now = Timestamp::from_millis(now);
    let follow = follows.then(|| Follow { age: Duration::ZERO, now, missed: BTreeMap::new() });
    replica::replicate(source, target, &ReplicaOptions { workers: 1, dry_run: false, follow }, &Quiet)
}

/// Somebody without a key and without a lease, who may not be told that somebody else wrote to his replica.
pub fn replicate(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let (source, target) = (actor.storage(), actor.island());
    for _ in 0..=rng.below(2) {
        match replicate_once(&source, &target, rng.chance(40), actor.now()) {
            Err(error @ RepoError::NotReplica { .. }) if !actor.place.flaws.adversary => {
                actor.place.sea.report(error.to_string());
            }
            Err(RepoError::KeepsMoving { .. }) => {}
            other => drop(other?),
        }
    }
    Ok(())
}

pub fn begin_prune(repo: &Repository) -> Result<Pruner, RepoError> {
    let options = PrunerOptions { walk: Arc::new(Flat), grace: Duration::ZERO, write_limit: None };
    repo.begin_prune(&options, &alone(1 << 20))
}

/// A few prunes, each of which repacks what it likes.
pub fn prune(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let repo = actor.open()?;
    for _ in 0..=rng.below(3) {
        let pruner = begin_prune(&repo)?;
        let worked = prune_once(&pruner, rng);
        pruner.end()?;
        // A needed chunk that is in flux stops a prune; the next one goes on.
        if !matches!(worked, Err(RepoError::ChunkMissing { .. } | RepoError::Missing { .. })) {
            worked?;
        }
    }
    Ok(())
}

fn prune_once(pruner: &Pruner, rng: &mut Rng) -> Result<(), RepoError> {
    let survey = pruner.survey()?;
    let (mut dead, mut repack) = (HashSet::<ObjectName>::new(), HashSet::new());
    for pack in survey.packs.iter().filter(|pack| !pack.is_busy) {
        if pack.live_chunks == 0 {
            dead.insert(pack.name);
        } else if rng.chance(30) {
            repack.insert(pack.name);
        }
    }
    dead.extend(survey.orphans.iter().filter(|orphan| !orphan.is_busy).map(|orphan| orphan.name));
    pruner.repack(&repack, &mut |_| true)?;
    pruner.mark(&dead.union(&repack).copied().collect())?;
    if rng.chance(50) {
        pruner.beat_now()?;
    }
    pruner.delete_drained(&mut |_| true)?;
    pruner.tidy()?;
    if rng.chance(30) {
        pruner.gather_from(0)?;
    }
    Ok(())
}

pub fn manifest(id: SnapshotId, end: i64, stack: Vec<LayerRef>, parent: Option<SnapshotId>) -> Manifest {
    let time = Timestamp::from_millis(end);
    let name = || "n".to_owned();
    Manifest {
        id,
        revision: 0,
        features: vec![],
        content: Content {
            start: time,
            end: time,
            order: 0,
            source: SourceId { connector: name(), name: name(), host: name(), url: name(), other: Carried::default() },
            scope: String::new(),
            scope_note: String::new(),
            asked: rekeep::repo::manifest::Asked::default(),
            loss_accepted: false,
            kind: Kind::Full,
            parent,
            complete: true,
            problems: vec![],
            attributes: serde_json::Value::Null,
            stats: Stats::default(),
            program: name(),
            copy_of: None,
            other: Carried::default(),
        },
        collections: vec![Collection {
            name: name(),
            codec: KeyCodec::Int,
            records: 1,
            bytes: 1,
            coverage: vec![],
            attributes: serde_json::Value::Null,
            sets: Vec::new(),
            stack,
            journal: None,
            counted: true,
            other: Carried::default(),
        }],
        tags: vec![],
        hold: false,
        lock_until: None,
        renamed: None,
        squash: None,
        other: Carried::default(),
        tables: Tables::default(),
    }
}
