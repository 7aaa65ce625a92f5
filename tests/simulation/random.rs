//! Random schedules: everything that happens follows from the seed.

use super::{
    actors::{self, Flaws, Place, begin_prune, init, open_directly, read_all},
    adversary,
    checker::Checker,
    rng::Rng,
    scheduler::Scheduler,
    squashing::squash,
    staged,
    storage::{Broken, Sea, Watch, Weather},
    verbs,
};
use rekeep::repo::{Repository, Storage, entropy};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

/// After so many steps everybody's process ends.
const MAX_STEPS: u64 = 2500;

/// What a run came to.
pub struct Run {
    pub violation: Option<String>,
    pub log: Vec<String>,
}

/// Where catalogs lie: in memory if the system has such a place.
pub fn scratch() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// What a schedule begins with: a repository with one snapshot, and someone who looks after the invariant.
pub struct Setting {
    pub place: Place,
    pub watches: [Watch; 2],
    /// Where the actors' catalogs lie.
    pub caches: tempfile::TempDir,
    /// What happens is drawn from it.
    pub rng: Rng,
}

/// A repository that was just made, where all there is follows from the seed.
pub fn founded(seed: u64, flaws: &Flaws, points: bool) -> (Place, tempfile::TempDir) {
    let caches = scratch();
    let sea = Sea::default();
    sea.time.store(1_800_000_000_000, Ordering::SeqCst);
    entropy::seeded::set(Some(seed));
    init(&sea, caches.path());
    let place = Place {
        island: sea.island(),
        sea,
        scheduler: Scheduler::default(),
        caches: caches.path().to_owned(),
        flaws: flaws.clone(),
        points,
    };
    (place, caches)
}

/// Good or bad weather: one in so many hundred is bad, with so many thousandths of failures.
pub fn weather(rng: &mut Rng, bad_percent: u64, fails: u64) -> Weather {
    if rng.chance(bad_percent) { Weather { fails, lost_answers: fails, arrives_late: 500 } } else { Weather::default() }
}

pub fn begin(seed: u64, flaws: &Flaws, broken: Option<Broken>) -> Setting {
    let mut rng = Rng::new(seed);
    let (place, caches) = founded(seed, flaws, seed % 3 == 1);
    let sea = place.sea.clone();
    let weather = weather(&mut rng, 50, 8);
    sea.configure(seed, Weather::default(), broken);
    let first = place.start(0, seed, actors::write);
    place.scheduler.finish(first);
    let watch = sea.watch(Checker::new(open_directly(&sea, caches.path(), "checker")));
    sea.check_all();
    let islands =
        place.island.watch(Checker::new(open_directly(&place.island, caches.path(), "checker of the replica")));
    place.island.configure(seed, Weather { arrives_late: 0, ..weather }, None);
    sea.configure(seed, weather, broken);
    Setting { place, watches: [watch, islands], caches, rng }
}

pub fn outcome(place: &Place) -> Run {
    entropy::seeded::set(None);
    Run { violation: place.sea.violation(), log: place.sea.log() }
}

/// One schedule: of odd seeds at every operation anyone may be next, those of even seeds are [`staged`].
pub fn run(seed: u64, flaws: &Flaws, broken: Option<Broken>) -> Run {
    if seed.is_multiple_of(2) {
        return staged::run(seed, flaws, broken);
    }
    let Setting { place, watches: _watches, caches: _caches, mut rng } = begin(seed, flaws, broken);
    let hasty = rng.chance(30);
    let mut director = Director {
        place: &place,
        rng,
        seed,
        asleep: Vec::new(),
        hasty,
        to_come: if hasty { 12 } else { 6 + seed % 8 },
    };
    director.direct();
    end(&place);
    outcome(&place)
}

struct Director<'a> {
    place: &'a Place,
    rng: Rng,
    seed: u64,
    asleep: Vec<usize>,
    /// Whether time jumps so that leases die.
    hasty: bool,
    /// Actors that have not begun yet.
    to_come: u64,
}

impl Director<'_> {
    fn direct(&mut self) {
        let (sea, scheduler) = (&self.place.sea, &self.place.scheduler);
        let mut current = None;
        for _ in 0..MAX_STEPS {
            if sea.violation().is_some() {
                return;
            }
            let alive = scheduler.alive();
            if self.to_come > 0 && (alive.len() < 2 || self.rng.chance(3)) {
                self.begin_one();
                continue;
            }
            let awake: Vec<usize> = alive.iter().filter(|actor| !self.asleep.contains(actor)).copied().collect();
            if awake.is_empty() || self.rng.below(if self.hasty { 2500 } else { 300 }) == 0 {
                if self.asleep.is_empty() && alive.is_empty() {
                    return;
                }
                self.asleep.clear();
                continue;
            }
            let actor = match current {
                Some(actor) if awake.contains(&actor) && self.rng.chance(60) => actor,
                _ => *self.rng.pick(&awake),
            };
            current = Some(actor);
            self.happen(actor);
            scheduler.step(actor);
        }
    }

    /// Time passes, processes sleep or die, late requests arrive.
    fn happen(&mut self, actor: usize) {
        let (sea, scheduler) = (&self.place.sea, &self.place.scheduler);
        let passes = match self.rng.below(if self.hasty { 100 } else { 2000 }) {
            0 => 31 * 60_000,
            1..=4 => 6 * 60_000,
            _ => self.rng.below(2000) as i64,
        };
        sea.time.fetch_add(passes, Ordering::SeqCst);
        if self.rng.below(150) == 0 {
            sea.land_one();
        }
        match self.rng.below(400) {
            0 => scheduler.kill(actor),
            1..=8 => self.asleep.push(actor),
            9 => sea.power_cut(),
            _ => {}
        }
    }

    fn begin_one(&mut self) {
        self.to_come -= 1;
        let host = self.rng.below(2);
        let work = match self.rng.below(if self.place.flaws.adversary { 28 } else { 24 }) {
            24..=27 => adversary::forge,
            22..=23 => actors::replicate,
            0..=6 => actors::write,
            7 => actors::read,
            8 => actors::read_without_lease,
            9..=12 => verbs::forget_one_by_one,
            13 => verbs::tag_one,
            14..=15 => squash,
            _ => actors::prune,
        };
        self.place.start(host, self.seed, work);
    }
}

/// Everybody's process ends; later requests arrive or do not. Gives whether nothing is wrong so far.
pub fn fall_silent(place: &Place) -> bool {
    let (sea, scheduler) = (&place.sea, &place.scheduler);
    while let Some(&actor) = scheduler.alive().first() {
        scheduler.kill(actor);
        scheduler.finish(actor);
    }
    sea.calm();
    for _ in 0..3 {
        sea.land_one();
    }
    sea.drop_in_flight();
    sea.violation().is_none()
}

/// When all have fallen silent, prunes in peace must leave nothing but what is needed.
pub fn end(place: &Place) {
    let sea = &place.sea;
    if !fall_silent(place) {
        return;
    }
    if let Err(error) = settle(place) {
        sea.report(format!("in peace: {error}"));
    }
    sea.check_all();
    place.island.calm();
    // What somebody without a key makes may be copied; what of it a person dismisses may keep the replica from being one.
    if sea.violation().is_none()
        && !place.flaws.adversary
        && let Err(error) = replicated(place)
    {
        sea.report(format!("replicated in peace: {error}"));
    }
}

/// The replica shows what the source shows, all of it can be read, and nothing else takes space there.
fn replicated(place: &Place) -> Result<(), String> {
    let text = |error: rekeep::repo::RepoError| error.to_string();
    let at = |sea: &Sea, name: &str| Storage::over(sea.backend(None, &Arc::default()), name);
    let (source, target) = (at(&place.sea, "sea"), at(&place.island, "island"));
    actors::replicate_once(&source, &target, true, 0).map_err(text)?;
    place.island.check_all();
    let (ours, theirs) = (
        open_directly(&place.sea, &place.caches, "last"),
        open_directly(&place.island, &place.caches, "last of the replica"),
    );
    ours.refresh().map_err(text)?;
    let shown = |repo: &Repository| -> Result<Vec<_>, String> {
        let snapshots = repo.snapshots().map_err(text)?;
        Ok(snapshots.into_iter().map(|snapshot| (snapshot.id, snapshot.revision)).collect())
    };
    if shown(&ours)? != shown(&theirs)? {
        return Err(format!("the source shows {:?}, the replica {:?}", shown(&ours)?, shown(&theirs)?));
    }
    for snapshot in theirs.snapshots().map_err(text)? {
        read_all(&theirs, &snapshot).map_err(text)?;
    }
    let described: Vec<String> = place.sea.names("index/");
    if place.island.names("index/") != described {
        return Err("the replica has other index objects".to_owned());
    }
    Ok(())
}

fn settle(place: &Place) -> Result<(), String> {
    let text = |error: rekeep::repo::RepoError| error.to_string();
    let repo = open_directly(&place.sea, &place.caches, "last");
    // What is in doubt a person decides.
    for doubtful in repo.doubtful().map_err(text)? {
        repo.dismiss(&doubtful.object).map_err(text)?;
    }
    for _ in 0..3 {
        let pruner = begin_prune(&repo).map_err(text)?;
        let survey = pruner.survey().map_err(text)?;
        let dead = survey.packs.iter().filter(|pack| pack.live_chunks == 0 && !pack.is_busy).map(|pack| pack.name);
        let orphans = survey.orphans.iter().filter(|orphan| !orphan.is_busy).map(|orphan| orphan.name);
        pruner.mark(&dead.chain(orphans).collect()).map_err(text)?;
        pruner.delete_drained(&mut |_| true).map_err(text)?;
        pruner.tidy().map_err(text)?;
        pruner.end().map_err(text)?;
        place.sea.time.fetch_add(31 * 60_000, Ordering::SeqCst);
    }
    for snapshot in repo.snapshots().map_err(text)? {
        read_all(&repo, &snapshot).map_err(text)?;
    }
    let left = place.sea.names("trash/");
    if !left.is_empty() {
        return Err(format!("marks that nobody is in the way of are left: {left:?}"));
    }
    let survey = begin_prune(&repo).and_then(|pruner| pruner.survey()).map_err(text)?;
    match survey.packs.iter().find(|pack| pack.live_chunks == 0) {
        Some(pack) => Err(format!("pack {} holds nothing needed and is left", pack.name)),
        None if !survey.orphans.is_empty() => Err(format!("packs in no index are left: {:?}", survey.orphans)),
        None => Ok(()),
    }
}
