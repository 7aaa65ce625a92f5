//! Pruning a real history, and every way in which a prune may be cut short: what stays is good, and the next one finishes.

use crate::support::{
    Db, Fault, Heard, Image, MemorySource, Rec, World,
    db::{assert_same, sample},
    world::{assert_sound, back_up, restored, snapshot},
};
use jiff::tz::TimeZone;
use rekeep::{
    ops::{
        Narrow, OpsError,
        forget::{Policy, execute, plan_policy},
        leases::{Unlock, unlock},
        prune::{PruneOptions, PruneOutcome, prune},
    },
    repo::{RepoError, Repository, SnapshotId, WriteOptions},
};
use std::io::ErrorKind;

/// Three states, of which the first two are forgotten, and the second shared blocks with the third.
struct History {
    image: Image,
    last: Db,
    kept: SnapshotId,
}

impl History {
    fn new() -> Self {
        let (world, repo) = World::new();
        let mut state = sample(31, 60, 500);
        let mut taken = Vec::new();
        for day in 0..3_u8 {
            let records = &mut state.get_mut("c").unwrap().records;
            records.insert(format!("key{day:06}").into_bytes(), Rec::text("changed"));
            records.insert(b"big".to_vec(), Rec::blob(crate::support::Rng::new(u64::from(day)).bytes(400_000)));
            world.clock.advance(60_000);
            let source = MemorySource::of(state.clone(), &world.clock);
            taken.push(back_up(&repo, &source).id.unwrap());
        }
        for id in &taken[..2] {
            repo.forget(id).unwrap();
        }
        Self { image: world.backend.image(), last: state, kept: taken[2] }
    }

    fn world(&self) -> World {
        World::over(self.image.clone())
    }

    /// What was kept is as it was; a backup works, and so does a prune, after which nothing superfluous is left.
    fn check(&self, world: &World, what: &str) {
        world.backend.disarm();
        let repo = world.try_open().unwrap_or_else(|error| panic!("{what}: opening: {error}"));
        assert_same(&restored(&repo, &snapshot(&repo, self.kept)), &self.last, what);
        assert_sound(&repo);
        let source = MemorySource::of(self.last.clone(), &world.clock);
        world.clock.advance(60_000);
        let next = back_up(&repo, &source).id.unwrap();
        // Twice: a lease whose end was lost is dead half an hour after it was first seen.
        for _ in 0..2 {
            pruned(&repo, &PruneOptions::default()).unwrap_or_else(|error| panic!("{what}: the next prune: {error}"));
            world.clock.advance(31 * 60_000);
        }
        let done = pruned(&repo, &PruneOptions::default()).unwrap();
        assert_eq!((done.waiting.len(), done.plan.whole.packs), (0, 0), "{what}: {done:?}");
        assert_eq!(world.backend.names("trash/"), Vec::<String>::new(), "{what}");
        for id in [self.kept, next] {
            assert_same(&restored(&repo, &snapshot(&repo, id)), &self.last, what);
        }
        assert_sound(&world.beside().open());
    }
}

fn pruned(repo: &Repository, options: &PruneOptions) -> Result<PruneOutcome, OpsError> {
    prune(repo, options, &Heard::default())
}

/// Nothing happens beside the prune's own thread, so that operation n is the same one in every run.
fn alone() -> PruneOptions {
    let mut options = PruneOptions::default();
    options.timing.alone = true;
    options
}

#[test]
fn a_prune_frees_what_was_forgotten_and_says_beforehand_what_it_will_do() {
    let history = History::new();
    let world = history.world();
    let repo = world.open();
    let plan = pruned(&repo, &PruneOptions { dry_run: true, ..alone() }).unwrap();
    let image = world.backend.image();
    assert!(
        image
            .keys()
            .filter(|name| !name.starts_with("leases/"))
            .eq(history.image.keys().filter(|name| !name.starts_with("leases/")))
    );
    assert!(plan.plan.bytes_after < plan.plan.bytes_before);
    let done = pruned(&repo, &alone()).unwrap();
    assert_eq!(done.plan, plan.plan);
    assert_eq!(done.failures, []);
    assert!(done.deleted.packs >= plan.plan.whole.packs + plan.plan.repack.packs);
    assert!(done.revisions_removed == 2 && done.leases_removed >= 3, "{done:?}");
    let left: u64 = repo.stats().unwrap().iter().find(|folder| folder.folder == "packs").unwrap().bytes;
    assert!(left < plan.plan.bytes_before);
    history.check(&world, "a prune in peace");
}

#[test]
fn a_second_prune_has_nothing_to_do() {
    let history = History::new();
    let world = history.world();
    let repo = world.open();
    pruned(&repo, &alone()).unwrap();
    let packs = world.backend.names("packs/");
    let again = pruned(&repo, &alone()).unwrap();
    assert_eq!((again.plan.whole.packs, again.plan.repack.packs, again.deleted.packs), (0, 0, 0));
    assert_eq!(world.backend.names("packs/"), packs);
}

fn everywhere(fault: Fault) {
    let history = History::new();
    let operations = {
        let world = history.world();
        let repo = world.open();
        let from = world.backend.operations();
        pruned(&repo, &alone()).unwrap();
        world.backend.operations() - from
    };
    assert!(operations > 30, "{operations}");
    let mut failed = 0;
    for nth in 1..=operations {
        let world = history.world();
        let result = {
            let repo = world.open();
            world.backend.arm(nth, fault);
            pruned(&repo, &alone())
        };
        failed += u64::from(result.is_err());
        history.check(&world, &format!("{fault:?} at operation {nth} of {operations}"));
    }
    assert!(failed > 0, "{fault:?} never made a prune fail");
}

#[test]
fn a_power_cut_anywhere_loses_nothing_and_the_next_prune_finishes() {
    everywhere(Fault::PowerCut { lands: false });
}

#[test]
fn a_power_cut_after_any_operation_loses_nothing() {
    everywhere(Fault::PowerCut { lands: true });
}

#[test]
fn an_operation_that_fails_anywhere_loses_nothing() {
    everywhere(Fault::Error(ErrorKind::Other));
}

#[test]
fn a_disk_that_fills_while_pruning_loses_nothing() {
    everywhere(Fault::Full);
}

#[test]
fn storage_that_refuses_to_delete_is_named_and_nothing_is_lost() {
    for refused in ["delete packs/", "delete index/", "delete trash/", "delete leases/", "delete snapshots/", "delete"]
    {
        let history = History::new();
        let world = history.world();
        {
            let repo = world.open();
            world.backend.arm(1, Fault::Refuses(refused));
            let done = pruned(&repo, &alone()).unwrap();
            assert!(!done.failures.is_empty(), "{refused}");
            assert!(
                done.failures.iter().all(|failure| failure.words.contains("refused on command")),
                "{:?}",
                done.failures
            );
        }
        history.check(&world, refused);
    }
}

#[test]
fn storage_that_refuses_to_list_stops_a_prune() {
    for refused in ["list trash/", "list index/", "list packs/", "list leases/", "list snapshots/"] {
        let history = History::new();
        let world = history.world();
        {
            let repo = world.open();
            world.backend.arm(1, Fault::Refuses(refused));
            let error = pruned(&repo, &alone()).unwrap_err();
            assert!(matches!(error, OpsError::Repo(RepoError::Storage { operation: "listing", .. })), "{error}");
        }
        assert_eq!(world.backend.names("packs/"), history.world().backend.names("packs/"));
        history.check(&world, refused);
    }
}

#[test]
fn storage_that_lists_late_waits_for_the_grace_period_and_fences_nobody() {
    let history = History::new();
    let world = history.world();
    world.backend.list_late(1);
    let repo = world.open();
    let heard = Heard::default();
    let done = prune(&repo, &alone(), &heard).unwrap();
    assert!(heard.warnings().contains("the proof"), "{}", heard.warnings());
    assert_eq!(done.deleted.packs, 0);
    assert!(done.waiting.iter().all(|mark| mark.waits_until.is_some()) && !done.waiting.is_empty());
    world.clock.advance(25 * 60 * 60 * 1000);
    assert!(pruned(&repo, &alone()).unwrap().deleted.packs > 0);
    assert_same(&restored(&repo, &snapshot(&repo, history.kept)), &history.last, "late listings");
}

#[test]
fn a_snapshot_deleted_by_hand_is_told_of_and_does_not_stop_a_prune() {
    let history = History::new();
    let world = history.world();
    let repo = world.open();
    world.backend.tamper(|image| image.retain(|name, _| !name.starts_with(&format!("snapshots/{}/", history.kept))));
    let done = pruned(&repo, &alone()).unwrap();
    let warnings = repo.refresh().unwrap();
    assert!(warnings.iter().any(|warning| warning.words.contains("has vanished")), "{warnings:?}");
    assert_eq!(done.plan.snapshots, 0);
}

#[test]
fn a_reader_that_never_ends_is_named_and_waited_for_until_it_is_unlocked() {
    let history = History::new();
    let world = history.world();
    let reader = world.beside().open().begin_read("restore").unwrap();
    let endless = reader.id().unwrap();
    let repo = world.open();
    for _ in 1..20 {
        world.clock.advance(20 * 60_000);
        reader.beat_now().unwrap();
        let done = pruned(&repo, &alone()).unwrap();
        assert_eq!((done.deleted.packs, done.failures.len()), (0, 0));
        assert_eq!(done.waiting.len(), 1, "what is marked is not marked again");
        assert_eq!(done.waiting[0].waits_for[0].lease, endless);
    }
    // Others go on beside it.
    let source = MemorySource::of(history.last.clone(), &world.clock);
    back_up(&repo, &source);
    assert_same(&restored(&repo, &snapshot(&repo, history.kept)), &history.last, "beside it");
    let fenced = unlock(&repo, &Unlock::Named(vec![endless.to_string()])).unwrap().fenced;
    assert_eq!(fenced, [endless]);
    assert!(pruned(&repo, &alone()).unwrap().deleted.packs > 0);
    history.check(&world, "after the endless one");
}

#[test]
fn a_writer_that_never_ends_holds_up_nothing_once_it_honours_the_mark() {
    let history = History::new();
    let world = history.world();
    let options = WriteOptions { purpose: "backup".to_owned(), compression: 1, check: true, write_limit: None };
    let endless = world.beside().open().begin_write(&options).unwrap();
    let repo = world.open();
    let done = pruned(&repo, &alone()).unwrap();
    assert_eq!((done.deleted.packs, done.waiting[0].waits_for[0].lease), (0, endless.id()));
    endless.beat_now().unwrap();
    assert!(pruned(&repo, &alone()).unwrap().deleted.packs > 0);
    drop(endless);
    history.check(&world, "after the endless one");
}

/// A forget that is cut short has forgotten some; asked again, it forgets the rest.
fn forget_everywhere(fault: Fault) {
    let (world, repo) = World::new();
    let mut state = sample(32, 40, 100);
    let mut taken = Vec::new();
    for day in 0..4_u8 {
        state.get_mut("c").unwrap().records.insert(vec![b'k', day], Rec::text("new"));
        world.clock.advance(60_000);
        taken.push(back_up(&repo, &MemorySource::of(state.clone(), &world.clock)).id.unwrap());
    }
    let image = world.backend.image();
    let policy = Policy { last: Some(1), ..Policy::default() };
    let forgotten = |repo: &Repository| {
        let plan = plan_policy(repo, &Narrow::default(), &policy, &TimeZone::UTC)?;
        execute(repo, plan, &Heard::default())
    };
    let operations = {
        let world = World::over(image.clone());
        let repo = world.open();
        let from = world.backend.operations();
        assert_eq!(forgotten(&repo).unwrap().forgotten, taken[..3]);
        world.backend.operations() - from
    };
    assert!(operations >= 9, "{operations}");
    for nth in 1..=operations {
        let what = format!("{fault:?} at operation {nth} of {operations}");
        let world = World::over(image.clone());
        {
            let repo = world.open();
            world.backend.arm(nth, fault);
            // It may fail, and then says so; or others of its tombstones came through.
            let _ = forgotten(&repo);
        }
        world.backend.disarm();
        let repo = world.open();
        for id in repo.snapshots().unwrap().iter().map(|it| it.id) {
            assert!(taken.contains(&id), "{what}");
        }
        forgotten(&repo).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(repo.snapshots().unwrap().iter().map(|it| it.id).collect::<Vec<_>>(), taken[3..], "{what}");
        pruned(&repo, &alone()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_same(&restored(&repo, &snapshot(&repo, taken[3])), &state, &what);
        assert_sound(&repo);
    }
}

#[test]
fn a_forget_that_is_cut_short_anywhere_is_finished_by_the_next() {
    for fault in [Fault::PowerCut { lands: false }, Fault::PowerCut { lands: true }, Fault::Full] {
        forget_everywhere(fault);
    }
}

#[test]
fn marks_wait_for_a_reader_and_name_it() {
    let history = History::new();
    let world = history.world();
    let repo = world.open();
    let lease = repo.begin_read("restore").unwrap();
    let done = pruned(&world.beside().open(), &alone()).unwrap();
    assert_eq!(done.deleted.packs, 0);
    let waits = &done.waiting[0].waits_for[0];
    assert_eq!((waits.lease, waits.purpose.as_str()), (lease.id().unwrap(), "read: restore"));
    drop(lease);
    assert!(pruned(&repo, &alone()).unwrap().deleted.packs > 0);
    history.check(&world, "after the reader");
}
