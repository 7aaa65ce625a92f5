//! A stage for schedules that are told step by step: actors that are run until they are about to do something, and what
//! becomes of it.

use super::{
    actors::{
        Actor, Flaws, Place, begin, begin_prune, choose_parent, init, manifest, open_directly, plain, put_layer,
        read_all, stack_to_keep,
    },
    checker::Checker,
    random::scratch,
    scheduler::Scheduler,
    storage::{Broken, Sea, Watch, Weather},
};
use rekeep::repo::{
    ChunkId, ChunkKind, ObjectName, RepoError, Repository, Snapshot, SnapshotId, entropy, faults::Rule,
    parity::Percent, pruner::Pruner,
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, atomic::Ordering},
};

pub type Slot<T> = Arc<Mutex<Option<T>>>;

pub struct Stage {
    pub place: Place,
    _watches: [Watch; 2],
    _caches: tempfile::TempDir,
    seed: u64,
}

impl Stage {
    pub fn new(flaws: &Flaws, broken: Option<Broken>) -> Self {
        Self::seeded(1, flaws, broken)
    }

    pub fn seeded(seed: u64, flaws: &Flaws, broken: Option<Broken>) -> Self {
        let caches = scratch();
        let sea = Sea::default();
        sea.time.store(1_800_000_000_000, Ordering::SeqCst);
        entropy::seeded::set(Some(seed));
        init(&sea, caches.path());
        entropy::seeded::set(None);
        sea.configure(seed, Weather::default(), broken);
        let island = sea.island();
        let watches = [
            sea.watch(Checker::new(open_directly(&sea, caches.path(), "checker"))),
            island.watch(Checker::new(open_directly(&island, caches.path(), "checker of the replica"))),
        ];
        let scheduler = Scheduler::default();
        let place =
            Place { sea, island, scheduler, caches: caches.path().to_owned(), flaws: flaws.clone(), points: false };
        Self { place, _watches: watches, _caches: caches, seed }
    }

    pub fn sea(&self) -> &Sea {
        &self.place.sea
    }

    /// From here on packs have parity.
    pub fn settle_parity(&self, percent: u8) {
        self.looker().set_parity(Percent::new(percent)).unwrap();
    }

    pub fn start(&self, work: impl FnOnce(&Actor) -> Result<(), RepoError> + Send + 'static) -> usize {
        // Everybody is a host of his own.
        let host = self.place.scheduler.alive().len() as u64 + 10 * self.seed;
        self.place.start(host, self.seed, move |actor, _| work(actor))
    }

    pub fn until(&self, actor: usize, operation: &str) {
        assert!(
            self.place.scheduler.run_until(actor, operation),
            "it ends before `{operation}`: {:#?}",
            self.sea().log()
        );
    }

    /// Until it has done what begins so.
    pub fn past(&self, actor: usize, operation: &str) {
        self.until(actor, operation);
        self.place.scheduler.step(actor);
    }

    pub fn finish(&self, actor: usize) {
        self.place.scheduler.finish(actor);
    }

    pub fn pass(&self, minutes: i64) {
        self.sea().time.fetch_add(minutes * 60_000, Ordering::SeqCst);
    }

    /// A writer of these chunks; each pack holds one.
    pub fn writer(&self, chunks: &'static [u64], with_parent: bool) -> (usize, Slot<SnapshotId>) {
        let slot: Slot<SnapshotId> = Arc::default();
        let committed = Arc::clone(&slot);
        let actor = self.start(move |actor| {
            let repo = actor.open()?;
            let session = begin(&repo, 1)?;
            let parent = if with_parent { choose_parent(actor, &repo, &session)? } else { None };
            let layer = put_layer(&session, chunks, &mut || Ok(()))?;
            let mut stack = match &parent {
                Some(parent) => stack_to_keep(actor, &repo, parent)?,
                None => Vec::new(),
            };
            stack.push(layer);
            let id = session.id();
            session.commit(&manifest(id, actor.now(), stack, parent.map(|parent| parent.id)))?;
            *committed.lock().unwrap() = Some(id);
            Ok(())
        });
        (actor, slot)
    }

    pub fn commit(&self, chunks: &'static [u64]) -> SnapshotId {
        let (actor, slot) = self.writer(chunks, false);
        self.finish(actor);
        let id = slot.lock().unwrap().take();
        id.expect("nothing is in its way")
    }

    pub fn forget(&self, id: SnapshotId) {
        let actor = self.start(move |actor| {
            actor.place.sea.forgets(id);
            actor.open()?.forget(&id)
        });
        self.finish(actor);
    }

    /// A pruner that wants everything gone: what may go is decided by the rules alone.
    pub fn pruner(&self) -> usize {
        self.pruner_of(prune_all)
    }

    pub fn pruner_of(&self, work: impl FnOnce(&Pruner) -> Result<(), RepoError> + Send + 'static) -> usize {
        self.start(move |actor| {
            let repo = actor.open()?;
            let pruner = begin_prune(&repo)?;
            work(&pruner)?;
            pruner.end()
        })
    }

    pub fn prune(&self) {
        let actor = self.pruner();
        self.finish(actor);
    }

    pub fn checked(self) -> Option<String> {
        for actor in self.place.scheduler.alive() {
            self.place.scheduler.kill(actor);
            self.place.scheduler.finish(actor);
        }
        self.sea().check_all();
        let repo = open_directly(self.sea(), &self.place.caches, "last");
        for snapshot in repo.snapshots().unwrap() {
            if let Err(error) = read_all(&repo, &snapshot) {
                self.sea().report(error.to_string());
            }
        }
        self.sea().violation()
    }

    fn looker(&self) -> Repository {
        open_directly(self.sea(), &self.place.caches, "looker")
    }

    /// The pack that holds a values chunk.
    pub fn home(&self, n: u64) -> ObjectName {
        self.home_of(&plain(n).id(&self.looker().secrets().chunk_id, ChunkKind::Values))
    }

    /// The pack that holds a chunk.
    pub fn home_of(&self, id: &ChunkId) -> ObjectName {
        self.looker().chunk_places(id).unwrap()[0].name
    }

    /// The snapshots that count.
    pub fn snapshots(&self) -> Vec<SnapshotId> {
        self.looker().snapshots().unwrap().into_iter().map(|it| it.id).collect()
    }

    /// A snapshot's newest revision that counts.
    pub fn newest(&self, id: SnapshotId) -> Snapshot {
        self.looker().snapshots().unwrap().into_iter().find(|it| it.id == id).unwrap()
    }
}

pub fn everything(pruner: &Pruner) -> Result<HashSet<ObjectName>, RepoError> {
    let survey = pruner.survey()?;
    let orphans = survey.orphans.iter().map(|orphan| orphan.name);
    Ok(survey.packs.iter().map(|pack| pack.name).chain(orphans).collect())
}

pub fn prune_all(pruner: &Pruner) -> Result<(), RepoError> {
    let all = everything(pruner)?;
    pruner.mark(&all)?;
    pruner.delete_drained(&mut |_| true)?;
    pruner.tidy()?;
    Ok(())
}

/// With all rules nothing is lost, also without the net below them; without these rules something is.
pub fn needs(schedule: fn(&Flaws, Option<Broken>) -> Option<String>, broken: &[&[Rule]]) {
    assert_eq!(schedule(&Flaws::default(), None), None);
    let without_net = Flaws { rules: vec![Rule::LastLook], ..Flaws::default() };
    assert_eq!(schedule(&without_net, None), None);
    for rules in broken {
        let flaws = Flaws { rules: rules.to_vec(), ..Flaws::default() };
        assert!(schedule(&flaws, None).is_some(), "without {rules:?} nothing is lost");
    }
}
