//! The verbs themselves beside each other: `ops::backup` with its checkpoints and what it carries on, `ops::prune` with its squash,
//! `ops::forget`, over real layers. What each decides is its own; others may go first before every operation on storage and before
//! every look into a catalog.
//!
//! What a snapshot holds is known by a record in it that says which backup made it. A run that was killed after its commit is known
//! in the same way.

use super::{
    actors::{Actor, Flaws, Place, alone, init, open_directly},
    checker::Checker,
    random::{fall_silent, scratch},
    rng::{Rng, from_env},
    scheduler::Scheduler,
    storage::{Sea, Weather},
    support::{Coll, Db, Heard, MemorySource, MemoryTarget, Rec, TestClock, world::EPOCH},
};
use rekeep::{
    ops::{
        backup::{BackupOptions, Resume, backup},
        forget,
        prune::{Layers, PruneOptions, prune},
        restore::{RestoreOptions, restore},
    },
    repo::{RepoError, Repository, Snapshot, entropy, faults::Rule, pruner::LayerWalk as _},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The databases that are backed up, and what each backup was to hold.
#[derive(Default)]
struct Truth {
    /// What changes from one backup to the next.
    now: Mutex<Db>,
    /// By the record that says which backup it was.
    of: Mutex<BTreeMap<u64, Db>>,
    backups: AtomicU64,
    committed: AtomicU64,
    resumed: AtomicU64,
    squashed: AtomicU64,
    deleted: AtomicU64,
}

const WHO: &[u8] = b"who";

/// A database that never changes: a run may go on where another broke off.
fn steady() -> Db {
    Db::from([("steady".to_owned(), Coll::raw((0..24_u8).map(|n| (vec![n], Rec::blob(vec![n; 40])))))])
}

impl Truth {
    /// Some records change; gives what a backup reads now.
    fn step(&self, rng: &mut Rng) -> Db {
        let number = self.backups.fetch_add(1, Ordering::SeqCst);
        let mut now = self.now.lock().unwrap();
        let records = &mut now.entry("changing".to_owned()).or_insert_with(|| Coll::raw([])).records;
        for _ in 0..=rng.below(4) {
            let key = vec![b'k', rng.below(16) as u8];
            if rng.chance(30) {
                records.remove(&key);
            } else {
                records.insert(key, Rec::blob(rng.bytes(30)));
            }
        }
        records.insert(WHO.to_vec(), Rec::blob(number.to_le_bytes().to_vec()));
        self.of.lock().unwrap().insert(number, now.clone());
        now.clone()
    }

    /// Whether a snapshot came back as what it was to hold.
    fn is(&self, held: &Db) -> bool {
        let who = held.get("changing").and_then(|changing| changing.records.get(WHO));
        let number =
            who.and_then(|who| who.cells.values().next()?.1.as_slice().try_into().ok()).map(u64::from_le_bytes);
        match number {
            Some(number) => self.of.lock().unwrap().get(&number) == Some(held),
            None => *held == steady(),
        }
    }
}

/// The clock of a source, which shows what all share.
fn clock(actor: &Actor) -> Arc<TestClock> {
    let clock = TestClock::default();
    clock.advance(actor.now() - EPOCH);
    Arc::new(clock)
}

fn back_up(actor: &Actor, rng: &mut Rng, truth: &Truth) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let clock = clock(actor);
    let is_steady = rng.chance(50);
    let mut source = if is_steady {
        let db = Arc::new(Mutex::new(steady()));
        let mut source = MemorySource::resumable(&db, &clock, 4);
        "steady".clone_into(&mut source.name);
        source.batch_rows = 3;
        source
    } else {
        MemorySource::of(truth.step(rng), &clock)
    };
    source.takes_millis = i64::from(!source.exact);
    let options = BackupOptions {
        parallel: 1,
        url: "memory:".to_owned(),
        max_lost_percent: 100,
        checkpoint_after: Duration::ZERO,
        new_base: rng.chance(10),
        resume: if rng.chance(90) { Resume::Auto } else { Resume::Never },
        timing: Some(alone(if rng.chance(50) { 1 } else { 1 << 20 })),
        ..BackupOptions::default()
    };
    let heard = Heard::default();
    if rng.chance(if is_steady { 60 } else { 20 }) {
        heard.cancel_after.store(1 + rng.below(20), Ordering::Relaxed);
    }
    if let Ok(outcome) = backup(&repo, &source, &options, &heard) {
        truth.committed.fetch_add(1, Ordering::SeqCst);
        truth.resumed.fetch_add(u64::from(outcome.resumed.is_some()), Ordering::SeqCst);
    }
    Ok(())
}

fn prune_by_verb(repo: &Repository, rng: &mut Rng, truth: &Truth) -> Result<(), String> {
    let options = PruneOptions {
        max_unused: [0.0, 5.0, 60.0][rng.below(3) as usize],
        max_superseded: [0.0, 30.0, 100.0][rng.below(3) as usize],
        repack_small: rng.chance(40),
        timing: alone(1 << 20),
        ..PruneOptions::default()
    };
    let pruned = prune(repo, &options, &Heard::default()).map_err(|error| error.to_string())?;
    truth.squashed.fetch_add(pruned.squashed.merged, Ordering::SeqCst);
    truth.deleted.fetch_add(pruned.deleted.packs, Ordering::SeqCst);
    Ok(())
}

fn forget_some(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let snapshots = repo.snapshots()?;
    if snapshots.is_empty() {
        return Ok(());
    }
    // What only these tell apart is squashed by the next prune.
    let named: Vec<Snapshot> = if rng.chance(50) {
        snapshots[..snapshots.len().saturating_sub(2)].to_vec()
    } else {
        (0..=rng.below(2)).map(|_| rng.pick(&snapshots).clone()).collect()
    };
    let Ok(plan) = forget::plan_named(&repo, &named, rng.chance(30)) else { return Ok(()) };
    plan.dropped().for_each(|decision| actor.place.sea.forgets(decision.id));
    let _ = forget::execute(&repo, plan, &Heard::default());
    Ok(())
}

/// Under a lease: nothing may be missing of what nobody forgot, unless the reader was shut out.
fn read_chunks(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let lease = repo.begin_read("restore")?;
    let Some(id) = lease.id() else { return Ok(()) };
    let snapshots = repo.snapshots()?;
    if snapshots.is_empty() {
        return Ok(());
    }
    let snapshot = rng.pick(&snapshots).clone();
    let read = snapshot.collections.iter().flat_map(|collection| &collection.stack).try_for_each(|layer| {
        let chunks = repo.chunks();
        Layers.chunks(&chunks, layer, &mut |id| chunks.stored_len(&id).map(drop))
    });
    let sea = &actor.place.sea;
    let is_excused = sea.has(&format!("snapshots/{id}/0")) || sea.is_forgotten(&snapshot.id);
    if let Err(error @ (RepoError::ChunkMissing { .. } | RepoError::Missing { .. })) = &read
        && !is_excused
    {
        sea.report(format!("a reader with the lease {id} of snapshot {}: {error}", snapshot.id));
    }
    read
}

/// Before what somebody falls asleep, so that others run to their end meanwhile.
const MOMENTS: &[&str] = &[
    "list trash/",
    "list-on trash/",
    "list index/",
    "list packs/",
    "list leases/",
    "list snapshots/",
    "create leases/",
    "create packs/",
    "create index/",
    "create checkpoints/",
    "create snapshots/",
    "create trash/",
    "delete index/",
    "delete packs/",
    "delete checkpoints/",
    "look into the catalog",
];

struct Outcome {
    violation: Option<String>,
    truth: Arc<Truth>,
}

/// One schedule.
fn run(seed: u64, flaws: &Flaws) -> Outcome {
    let mut rng = Rng::new(seed ^ 0x7e5b);
    let caches = scratch();
    let sea = Sea::default();
    sea.time.store(1_800_000_000_000, Ordering::SeqCst);
    entropy::seeded::set(Some(seed));
    init(&sea, caches.path());
    let windy = rng.chance(40);
    let weather = if windy { Weather { fails: 6, lost_answers: 6, arrives_late: 500 } } else { Weather::default() };
    sea.configure(seed, weather, None);
    let place = Place {
        sea: sea.clone(),
        island: sea.island(),
        scheduler: Scheduler::default(),
        caches: caches.path().to_owned(),
        flaws: flaws.clone(),
        points: true,
    };
    let watch = sea.watch(Checker::of_layers(open_directly(&sea, caches.path(), "checker"), Arc::new(Layers)));
    let truth = Arc::new(Truth::default());
    let mut asleep: Vec<usize> = Vec::new();
    let hasty = if rng.chance(40) { 10 } else { 2 };
    for _ in 0..14 + rng.below(10) {
        if sea.violation().is_some() {
            break;
        }
        let actor = match rng.below(100) {
            roll if roll < hasty => {
                sea.time.fetch_add(31 * 60_000, Ordering::SeqCst);
                continue;
            }
            10..=13 => {
                sea.land_one();
                continue;
            }
            14..=16 if !asleep.is_empty() => {
                place.scheduler.kill(asleep.pop().unwrap());
                continue;
            }
            17..=45 if !asleep.is_empty() => asleep.swap_remove(rng.below(asleep.len() as u64) as usize),
            _ => start(&place, &mut rng, seed, &truth),
        };
        if go(&place, &mut rng, actor, asleep.len()) {
            asleep.push(actor);
        }
    }
    for actor in asleep {
        place.scheduler.finish(actor);
    }
    end(&place, &mut rng, &truth);
    entropy::seeded::set(None);
    drop(watch);
    Outcome { violation: sea.violation(), truth }
}

fn start(place: &Place, rng: &mut Rng, seed: u64, truth: &Arc<Truth>) -> usize {
    let (host, truth) = (rng.below(3), Arc::clone(truth));
    match rng.below(100) {
        0..=49 => place.start(host, seed, move |actor, rng| back_up(actor, rng, &truth)),
        50..=72 => place.start(host, seed, move |actor, rng| {
            let repo = actor.open()?;
            // What stops it is told in `end`, where nothing is in its way.
            let _ = prune_by_verb(&repo, rng, &truth);
            Ok(())
        }),
        73..=91 => place.start(host, seed, forget_some),
        _ => place.start(host, seed, read_chunks),
    }
}

/// To its end, or to some moment; whether it sleeps there.
fn go(place: &Place, rng: &mut Rng, actor: usize, asleep: usize) -> bool {
    let scheduler = &place.scheduler;
    if asleep > 1 || rng.chance(25) {
        scheduler.finish(actor);
        return false;
    }
    let moment = rng.pick(MOMENTS);
    for _ in 0..rng.below(if moment.starts_with("look") { 60 } else { 3 }) {
        if scheduler.run_until(actor, moment) {
            scheduler.step(actor);
        }
    }
    scheduler.run_until(actor, moment)
}

/// In peace all that stands comes back as what it was, prunes have nothing to complain of, and leave nothing to wait for.
fn end(place: &Place, rng: &mut Rng, truth: &Truth) {
    let sea = &place.sea;
    if !fall_silent(place) {
        return;
    }
    let repo = open_directly(sea, &place.caches, "last");
    let whole = |when: &str| {
        for snapshot in repo.snapshots().unwrap() {
            let target = MemoryTarget::default();
            let options = RestoreOptions { parallel: 1, ..RestoreOptions::default() };
            match restore(&repo, &snapshot, &target, &options, &Heard::default()) {
                Ok(_) if truth.is(&target.held()) => {}
                Ok(_) => sea.report(format!("{when}: snapshot {} comes back as another", snapshot.id)),
                Err(error) => sea.report(format!("{when}: snapshot {}: {error}", snapshot.id)),
            }
        }
    };
    whole("at the end");
    for _ in 0..3 {
        if let Err(error) = prune_by_verb(&repo, rng, truth) {
            sea.report(format!("a prune in peace: {error}"));
        }
        sea.time.fetch_add(31 * 60_000, Ordering::SeqCst);
    }
    whole("after prunes in peace");
    sea.check_all();
    let left = sea.names("trash/");
    if !left.is_empty() {
        sea.report(format!("marks that nobody is in the way of are left: {left:?}"));
    }
}

#[test]
fn verbs_beside_each_other_lose_nothing() {
    let first = from_env("REKEEP_SIM_FIRST", 0);
    let (mut committed, mut resumed, mut squashed, mut deleted) = (0, 0, 0, 0);
    let seeds = from_env("REKEEP_SIM_VERBS", 24);
    for seed in first..first + seeds {
        // The last look before a commit is a net below the rules: most run without it.
        let rules = if seed % 4 == 0 { vec![] } else { vec![Rule::LastLook] };
        let Outcome { violation, truth } = run(seed, &Flaws { rules, ..Flaws::default() });
        assert_eq!(violation, None, "REKEEP_SIM_FIRST={seed}");
        committed += truth.committed.load(Ordering::SeqCst);
        resumed += truth.resumed.load(Ordering::SeqCst);
        squashed += truth.squashed.load(Ordering::SeqCst);
        deleted += truth.deleted.load(Ordering::SeqCst);
    }
    println!(
        "{committed} backups committed, {resumed} carried on, {squashed} layers squashed, {deleted} packs deleted"
    );
    if seeds >= 24 {
        assert!(committed > 20 && resumed > 0 && squashed > 0 && deleted > 20, "too little happens");
    }
}

/// A rule that is broken below the verbs is noticed through them. Others need a schedule of their own, which they have in
/// [`schedules`](super::schedules).
#[test]
fn verbs_notice_rules_that_are_broken() {
    for rules in [&[Rule::NewIndexFirst][..], &[Rule::MarkedIsNoHome, Rule::LastLook]] {
        let flaws = Flaws { rules: rules.to_vec(), ..Flaws::default() };
        let noticed = (0..from_env("REKEEP_SIM_VERBS", 80)).find(|&seed| run(seed, &flaws).violation.is_some());
        println!("{rules:?}: {noticed:?}");
        assert!(noticed.is_some(), "nobody notices that {rules:?} is broken");
    }
}
