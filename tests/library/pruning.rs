//! Pruning a real history, and every way in which a prune may be cut short: what stays is good, and the next one finishes.

use crate::support::{
    Db, Fault, Heard, Image, MemorySource, Rec, World,
    db::{assert_same, sample},
    world::{assert_sound, back_up, restored, snapshot},
};
use rekeep::{
    ops::{
        OpsError,
        prune::{PruneOptions, PruneOutcome, prune},
    },
    repo::{RepoError, Repository, SnapshotId},
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
    assert_eq!(done.failures, Vec::<String>::new());
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
            assert!(done.failures.iter().all(|failure| failure.contains("refused on command")), "{:?}", done.failures);
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
    assert!(repo.warnings().iter().any(|warning| warning.contains("has vanished")), "{:?}", repo.warnings());
    assert_eq!(done.plan.snapshots, 0);
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
