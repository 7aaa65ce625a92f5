//! The verbs themselves beside each other: `ops::backup` with its checkpoints and what it carries on, `ops::prune` with its squash,
//! `ops::forget`, `ops::capture`, `ops::restore`, `ops::drill`, `ops::transfer`, over real layers. What each decides is its own; others may go first before every operation on storage and before
//! every look into a catalog.
//!
//! What a snapshot holds is known by a record in it that says which backup made it. A run that was killed after its commit is known
//! in the same way.

use super::{
    actors::{Actor, Flaws, Place, alone, init, open_directly},
    checker::Checker,
    random::{self, fall_silent},
    rng::{Rng, from_env},
    storage::Sea,
    support::{Coll, Db, Heard, MemorySource, MemoryTarget, Rec, TestClock, world::EPOCH},
};
use rekeep::{
    connector::{ChangeFeed, ConnectorError, Identity, Scope, SourceCollection, Target},
    ops::{
        OpsError,
        backup::{BackupOptions, Resume, backup},
        capture::{capture_files, stream_source},
        drill::{DrillOptions, DrillPlace, drill},
        forget,
        prune::{Layers, PruneOptions, prune},
        restore::{RestoreOptions, restore},
        stream::StreamOptions,
        tag::{TagChange, tag},
        transfer::{TransferOptions, transfer},
    },
    record::{CellWriter, ChangeBatch, KeyCodec, RowHead, Tag, Timestamp, VersionTime},
    repo::{
        RepoError, Repository, Snapshot, Storage, entropy,
        faults::Rule,
        pack,
        parity::{Outline, Percent},
        repair::{Looked, heal_keyless},
    },
    report::ErrorKind,
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
    captured: AtomicU64,
    restored: AtomicU64,
    drilled: AtomicU64,
    copied: AtomicU64,
    /// How often somebody looked after groups of parity.
    looked_after: AtomicU64,
    /// Packs that were lost in the end, and made again.
    healed: AtomicU64,
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
        let who = held.values().find_map(|collection| collection.records.get(WHO));
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

/// Forgets as the verb does; what that is, is known before.
fn forget_as_verb(actor: &Actor, repo: &Repository, named: &[Snapshot], force: bool) {
    let Ok(plan) = forget::plan_named(repo, named, force) else { return };
    plan.dropped().for_each(|decision| actor.place.sea.forgets(decision.id));
    let _ = forget::execute(repo, plan, &Heard::default());
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
    forget_as_verb(actor, &repo, &named, rng.chance(30));
    Ok(())
}

/// Some snapshots one after the other, the newest more often than others: they are the parents of whoever runs.
pub fn forget_one_by_one(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let repo = actor.open()?;
    for _ in 0..=rng.below(3) {
        repo.refresh()?;
        let snapshots = repo.snapshots()?;
        if !snapshots.is_empty() {
            let newest = snapshots.last().filter(|_| rng.chance(50));
            let one = newest.unwrap_or_else(|| rng.pick(&snapshots)).clone();
            forget_as_verb(actor, &repo, &[one], true);
        }
    }
    Ok(())
}

/// Gives a snapshot a tag.
pub fn tag_one(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let snapshots = repo.snapshots()?;
    if !snapshots.is_empty() {
        let change = TagChange { add: vec![format!("t{}", rng.below(9))], ..TagChange::default() };
        let _ = tag(&repo, rng.pick(&snapshots), &change);
    }
    Ok(())
}

/// A stream of which each part brings every record anew: whichever came last is there as a whole.
struct River {
    collections: [SourceCollection; 1],
    batch: Option<ChangeBatch>,
}

impl River {
    fn of(db: &Db, number: u64, now: i64) -> Self {
        let mut batch = ChangeBatch::default();
        for (key, rec) in &db["river"].records {
            let mut value = Vec::new();
            let mut cells = CellWriter::new(&mut value, rec.cells.len());
            rec.cells.values().for_each(|(tag, bytes)| cells.cell(Tag(*tag), bytes));
            let time = VersionTime { millis: now.unsigned_abs() + number, order: number };
            let put = batch.put(time, |rows| {
                rows.push_encoded(RowHead { key, meta: rec.meta() }, &rec.shape(), &value);
                Ok::<_, ()>(())
            });
            put.unwrap();
        }
        Self { collections: [SourceCollection::new("river", KeyCodec::Raw)], batch: Some(batch) }
    }
}

impl ChangeFeed for River {
    fn identity(&self) -> Identity {
        Identity { connector: "memory", name: "river".to_owned(), local: false }
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn next(&mut self, batch: &mut ChangeBatch, _: usize) -> Result<Option<usize>, ConnectorError> {
        Ok(self.batch.take().map(|all| {
            *batch = all;
            0
        }))
    }

    fn lost(&self) -> (u64, Vec<String>) {
        (0, Vec::new())
    }

    fn until(&self) -> Option<Timestamp> {
        None
    }
}

fn capture(actor: &Actor, rng: &mut Rng, truth: &Truth) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let number = truth.backups.fetch_add(1, Ordering::SeqCst);
    let rec = |bytes: Vec<u8>| Rec { generation: number as u32 + 1, ..Rec::blob(bytes) };
    let records = (0..5_u8).map(|key| (vec![b'k', key], rec(rng.bytes(30))));
    let records = records.chain([(WHO.to_vec(), rec(number.to_le_bytes().to_vec()))]);
    let db = Db::from([("river".to_owned(), Coll::raw(records.collect::<Vec<_>>()))]);
    truth.of.lock().unwrap().insert(number, db.clone());
    let mut feed = River::of(&db, number, actor.now());
    let source = stream_source(&repo, &feed.identity(), Scope::default(), "memory:river", None);
    let supersede = rng.chance(30);
    if supersede {
        actor.place.sea.streams_supersede();
        let before = repo.snapshots()?.into_iter().filter(|it| it.source().name == "river");
        before.for_each(|it| actor.place.sea.forgets(it.id));
    }
    let options = StreamOptions {
        compression: 1,
        supersede,
        timing: alone(if rng.chance(50) { 1 } else { 1 << 20 }),
        ..StreamOptions::default()
    };
    let captured = capture_files(&repo, &mut feed, &source, &options, &Heard::default());
    truth.captured.fetch_add(u64::from(captured.is_ok()), Ordering::SeqCst);
    Ok(())
}

/// Whether something that nobody forgot is said to be gone or damaged: whoever was shut out says so instead.
fn is_loss(actor: &Actor, snapshot: &Snapshot, error: &OpsError) -> bool {
    let is_gone = matches!(error.kind(), ErrorKind::Missing | ErrorKind::Damaged);
    is_gone && !actor.place.sea.is_forgotten(&snapshot.id)
}

fn restore_one(actor: &Actor, rng: &mut Rng, truth: &Truth) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let snapshots = repo.snapshots()?;
    if snapshots.is_empty() {
        return Ok(());
    }
    let (snapshot, target) = (rng.pick(&snapshots), MemoryTarget::default());
    let options = RestoreOptions { parallel: 1, ..RestoreOptions::default() };
    match restore(&repo, snapshot, &target, &options, &Heard::default()) {
        Ok(outcome) if !outcome.complete || truth.is(&target.held()) => {
            truth.restored.fetch_add(u64::from(outcome.complete), Ordering::SeqCst);
        }
        Ok(_) => actor.place.sea.report(format!("snapshot {} was restored as another", snapshot.id)),
        Err(error) if is_loss(actor, snapshot, &error) => {
            actor.place.sea.report(format!("a restore of snapshot {}: {error}", snapshot.id));
        }
        Err(_) => {}
    }
    Ok(())
}

fn drill_one(actor: &Actor, rng: &mut Rng, truth: &Truth) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let snapshots = repo.snapshots()?;
    if snapshots.is_empty() {
        return Ok(());
    }
    let (snapshot, target) = (rng.pick(&snapshots), MemoryTarget::default());
    let scratch = actor.place.caches.join(format!("drill{}", actor.number));
    let place = DrillPlace::Given(format!("memory:{}", actor.number));
    let options = DrillOptions { place, ..DrillOptions::new(scratch) };
    let open = |_: &str| -> Result<Box<dyn Target>, OpsError> { Ok(Box::new(target.clone())) };
    match drill(&repo, snapshot, &open, &options, &Heard::default()) {
        Ok(outcome) if outcome.said.different > 0 || outcome.said.passed && !truth.is(&target.held()) => {
            actor.place.sea.report(format!("a drill of snapshot {}: {:?}", snapshot.id, outcome.said.checks));
        }
        Ok(outcome) => drop(truth.drilled.fetch_add(u64::from(outcome.said.passed), Ordering::SeqCst)),
        Err(error) if is_loss(actor, snapshot, &error) => {
            actor.place.sea.report(format!("a drill of snapshot {}: {error}", snapshot.id));
        }
        Err(_) => {}
    }
    Ok(())
}

fn copy_some(actor: &Actor, rng: &mut Rng, truth: &Truth) -> Result<(), RepoError> {
    let repo = actor.open()?;
    let snapshots = repo.snapshots()?;
    if snapshots.is_empty() {
        return Ok(());
    }
    let to = actor.open_at(&actor.place.island, "island")?;
    let chosen: Vec<Snapshot> = (0..=rng.below(2)).map(|_| rng.pick(&snapshots).clone()).collect();
    let options = TransferOptions {
        parallel: 1,
        dry_run: false,
        compression: 1,
        seal_anew: rng.chance(25),
        write_limit: None,
        // Packs are taken over as they are if they are about that long.
        timing: alone(if rng.chance(50) { 1 << 13 } else { 1 << 20 }),
    };
    if let Ok(outcome) = transfer(&repo, &chosen, &to, &options, &Heard::default()) {
        truth.copied.fetch_add(outcome.copied.len() as u64, Ordering::SeqCst);
    }
    Ok(())
}

/// Groups for packs that have none, and none for those that are gone, beside whoever else is at work.
fn look_after_parity(actor: &Actor, truth: &Truth) -> Result<(), RepoError> {
    actor.open()?.repair_parity(false, &mut |_| true)?;
    truth.looked_after.fetch_add(1, Ordering::SeqCst);
    // Without a key, and with nothing to do.
    heal_keyless(&actor.storage(), &Looked::Remembered, false, &mut |_| true).map(drop)
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
    "create parity/",
    "delete index/",
    "delete packs/",
    "delete parity/",
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
    let (mut place, caches) = random::founded(seed, flaws, true);
    let sea = place.sea.clone();
    // What is copied goes into a repository with keys of its own.
    place.island = Sea::default();
    place.island.time = Arc::clone(&sea.time);
    init(&place.island, &caches.path().join("island"));
    // Half of the repositories have parity.
    if seed.is_multiple_of(2) {
        open_directly(&sea, caches.path(), "settler").set_parity(Percent::new(10 + 10 * (seed % 3) as u8)).unwrap();
    }
    let weather = random::weather(&mut rng, 40, 6);
    sea.configure(seed, weather, None);
    place.island.configure(seed, weather, None);
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
    Outcome { violation: sea.violation().or_else(|| place.island.violation()), truth }
}

fn start(place: &Place, rng: &mut Rng, seed: u64, truth: &Arc<Truth>) -> usize {
    let (host, truth) = (rng.below(3), Arc::clone(truth));
    match rng.below(100) {
        0..=39 => place.start(host, seed, move |actor, rng| back_up(actor, rng, &truth)),
        40..=47 => place.start(host, seed, move |actor, rng| capture(actor, rng, &truth)),
        48..=67 => place.start(host, seed, move |actor, rng| {
            let repo = actor.open()?;
            // What stops it is told in `end`, where nothing is in its way.
            let _ = prune_by_verb(&repo, rng, &truth);
            Ok(())
        }),
        68..=83 => place.start(host, seed, forget_some),
        84..=91 => place.start(host, seed, move |actor, rng| restore_one(actor, rng, &truth)),
        92..=93 => place.start(host, seed, move |actor, rng| drill_one(actor, rng, &truth)),
        94..=96 => place.start(host, seed, move |actor, _| look_after_parity(actor, &truth)),
        _ => place.start(host, seed, move |actor, rng| copy_some(actor, rng, &truth)),
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
    let whole = |repo: &Repository, when: &str| {
        for snapshot in repo.snapshots().unwrap() {
            let target = MemoryTarget::default();
            let options = RestoreOptions { parallel: 1, ..RestoreOptions::default() };
            match restore(repo, &snapshot, &target, &options, &Heard::default()) {
                Ok(_) if truth.is(&target.held()) => {}
                Ok(_) => sea.report(format!("{when}: snapshot {} comes back as another", snapshot.id)),
                Err(error) => sea.report(format!("{when}: snapshot {}: {error}", snapshot.id)),
            }
        }
    };
    place.island.calm();
    whole(&open_directly(&place.island, &place.caches.join("island"), "last"), "copied");
    whole(&repo, "at the end");
    for _ in 0..3 {
        if let Err(error) = prune_by_verb(&repo, rng, truth) {
            sea.report(format!("a prune in peace: {error}"));
        }
        sea.time.fetch_add(31 * 60_000, Ordering::SeqCst);
    }
    whole(&repo, "after prunes in peace");
    sea.check_all();
    let left = sea.names("trash/");
    if !left.is_empty() {
        sea.report(format!("marks that nobody is in the way of are left: {left:?}"));
    }
    if repo.parity_percent().unwrap().is_some() {
        protected_in_peace(place, &repo, truth);
        whole(&repo, "after a pack was lost and made again");
    }
}

/// With parity looked after, groups name packs that are there and nothing else, and each pack that is lost is made again without a
/// key.
fn protected_in_peace(place: &Place, repo: &Repository, truth: &Truth) {
    let sea = &place.sea;
    if let Err(error) = repo.repair_parity(false, &mut |_| true) {
        sea.report(format!("parity cannot be looked after: {error}"));
        return;
    }
    let standing = repo.parity_standing().unwrap();
    if !standing.unprotected.is_empty() || !standing.damaged.is_empty() {
        sea.report(format!("packs are not protected: {standing:?}"));
    }
    let packs = sea.names("packs/");
    for group in sea.names("parity/") {
        let outline = Outline::parse(&group, &sea.bytes(&group)).unwrap();
        let gone = outline.members().map(|it| pack::path(&it.name)).find(|name| !packs.contains(name));
        if let Some(gone) = gone {
            sea.report(format!("{group} names {gone}, which is gone for good"));
        }
    }
    let storage = Storage::over(sea.backend(None, &Arc::default()), "sea");
    let described: Vec<String> = repo.packs().unwrap().iter().map(|it| pack::path(&it.name)).collect();
    for name in described {
        let before = sea.bytes(&name);
        sea.lose(&name);
        match heal_keyless(&storage, &Looked::Remembered, false, &mut |_| true) {
            Ok(done) if done.restored.len() == 1 && sea.bytes(&name) == before => {
                truth.healed.fetch_add(1, Ordering::SeqCst);
            }
            other => sea.report(format!("{name} was lost and is not made again: {other:?}")),
        }
    }
}

#[test]
fn verbs_beside_each_other_lose_nothing() {
    let first = from_env("REKEEP_SIM_FIRST", 0);
    let mut all = [0; 10];
    let seeds = from_env("REKEEP_SIM_VERBS", 24);
    for seed in first..first + seeds {
        // The last look before a commit is a net below the rules: most run without it.
        let rules = if seed % 4 == 0 { vec![] } else { vec![Rule::LastLook] };
        let Outcome { violation, truth } = run(seed, &Flaws { rules, ..Flaws::default() });
        assert_eq!(violation, None, "REKEEP_SIM_FIRST={seed}");
        let counted = [
            &truth.committed,
            &truth.resumed,
            &truth.squashed,
            &truth.deleted,
            &truth.captured,
            &truth.restored,
            &truth.drilled,
            &truth.copied,
            &truth.looked_after,
            &truth.healed,
        ];
        all.iter_mut().zip(counted).for_each(|(all, count)| *all += count.load(Ordering::SeqCst));
    }
    let [committed, resumed, squashed, deleted, captured, restored, drilled, copied, looked_after, healed] = all;
    println!(
        "{committed} backups committed, {resumed} carried on, {captured} captures, {squashed} layers squashed, {deleted} packs deleted, \
         {restored} restores, {drilled} drills, {copied} copies, {looked_after} times parity looked after, {healed} packs made again"
    );
    if seeds >= 24 {
        assert!(committed > 20 && resumed > 0 && squashed > 0 && deleted > 20, "too little happens");
        assert!(looked_after > 0 && healed > 0, "too little happens to parity");
        assert!(captured > 0 && restored > 0 && drilled > 0 && copied > 0, "too little happens");
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
