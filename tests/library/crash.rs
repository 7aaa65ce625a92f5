//! Power cuts, full disks, failed operations and lost answers at every single storage operation of a backup.

use crate::support::{
    Db, Fault, Image, MemorySource, Rec, World,
    db::{assert_same, sample},
    world::{assert_sound, back_up, backup_with, plain, restored, snapshot},
};
use rekeep::{
    ops::OpsError,
    repo::{RepoError, SnapshotId},
};
use std::io::ErrorKind;

/// The states before and after, and a repository that holds the first.
struct Story {
    before: Db,
    after: Db,
    image: Image,
    first: Option<SnapshotId>,
}

impl Story {
    /// A first backup into an empty repository, or a delta on top of one.
    fn new(delta: bool) -> Self {
        let (world, repo) = World::new();
        let before = sample(31, 80, 500);
        let mut after = before.clone();
        let records = &mut after.get_mut("c").unwrap().records;
        records.remove(b"key000007".as_slice());
        records.insert(b"key000008".to_vec(), Rec::text("changed"));
        records.insert(b"big".to_vec(), Rec::blob(crate::support::Rng::new(5).bytes(300_000)));
        let first = delta.then(|| back_up(&repo, &MemorySource::of(before.clone(), &world.clock)).id.unwrap());
        Self { before, after, image: world.backend.image(), first }
    }

    fn world(&self) -> World {
        let world = World::over(self.image.clone());
        world.clock.advance(60_000);
        world
    }

    fn source(&self, world: &World) -> MemorySource {
        MemorySource::of(self.after.clone(), &world.clock).in_parts(2)
    }

    fn options() -> rekeep::ops::backup::BackupOptions {
        // One thread, so that operation n is the same one in every run.
        rekeep::ops::backup::BackupOptions { parallel: 1, ..plain() }
    }

    /// How many operations opening and backing up takes.
    fn operations(&self) -> u64 {
        let world = self.world();
        let repo = world.open();
        let from = world.backend.operations();
        backup_with(&repo, &self.source(&world), &Self::options()).unwrap();
        drop(repo);
        world.backend.operations() - from
    }

    /// After whatever happened: what had committed is there, what says that it committed has, the next backup works.
    fn check(&self, world: &World, result: &Result<SnapshotId, OpsError>, what: &str) {
        world.backend.disarm();
        let repo = world.try_open().unwrap_or_else(|error| panic!("{what}: opening: {error}"));
        let ids: Vec<SnapshotId> = repo.snapshots().unwrap().iter().map(|s| s.id).collect();
        if let Some(first) = self.first {
            assert!(ids.contains(&first), "{what}: the first snapshot is lost");
            assert_same(&restored(&repo, &snapshot(&repo, first)), &self.before, what);
        }
        if let Ok(id) = result {
            assert!(ids.contains(id), "{what}: the backup said that it committed");
        }
        // A power cut may come after the commit and before its answer: then it is there, and whole.
        for id in ids.iter().filter(|id| Some(**id) != self.first) {
            assert_same(&restored(&repo, &snapshot(&repo, *id)), &self.after, what);
        }
        assert!(ids.len() <= 2, "{what}");
        assert_sound(&repo);
        world.clock.advance(1000);
        let next = backup_with(&repo, &self.source(world), &Self::options())
            .unwrap_or_else(|error| panic!("{what}: the next backup: {error}"));
        assert_same(&restored(&repo, &snapshot(&repo, next.id.unwrap())), &self.after, what);
        assert_sound(&repo);
    }
}

fn run(story: &Story, nth: u64, fault: Fault) -> (World, Result<SnapshotId, OpsError>) {
    let world = story.world();
    let result = {
        let repo = world.open();
        world.backend.arm(nth, fault);
        backup_with(&repo, &story.source(&world), &Story::options()).map(|outcome| outcome.id.unwrap())
    };
    (world, result)
}

fn everywhere(delta: bool, fault: Fault, must_fail_somewhere: bool) {
    let story = Story::new(delta);
    let operations = story.operations();
    assert!(operations >= 8, "a lease, listings, packs, an index, a snapshot, an end: {operations}");
    let mut failed = 0;
    for nth in 1..=operations {
        let (world, result) = run(&story, nth, fault);
        failed += u64::from(result.is_err());
        let what = format!("{fault:?} at operation {nth} of {operations} (delta: {delta}, {})", words(&result));
        story.check(&world, &result, &what);
    }
    assert!(failed > 0 || !must_fail_somewhere, "{fault:?} never made a backup fail");
}

fn words(result: &Result<SnapshotId, OpsError>) -> String {
    match result {
        Ok(id) => format!("committed {}", id.short()),
        Err(error) => format!("failed: {error}"),
    }
}

#[test]
fn a_power_cut_at_any_operation_of_a_first_backup_loses_nothing() {
    everywhere(false, Fault::PowerCut { lands: false }, true);
    everywhere(false, Fault::PowerCut { lands: true }, true);
}

#[test]
fn a_power_cut_at_any_operation_of_a_second_backup_loses_nothing_committed() {
    everywhere(true, Fault::PowerCut { lands: false }, true);
    everywhere(true, Fault::PowerCut { lands: true }, true);
}

#[test]
fn a_disk_that_fills_up_at_any_operation_loses_nothing_committed() {
    everywhere(true, Fault::Full, true);
    everywhere(false, Fault::Error(ErrorKind::StorageFull), true);
}

#[test]
fn an_operation_that_fails_once_is_survived_or_reported() {
    everywhere(true, Fault::Error(ErrorKind::Other), false);
    everywhere(true, Fault::Error(ErrorKind::PermissionDenied), true);
}

#[test]
fn an_answer_that_is_lost_does_no_harm() {
    everywhere(true, Fault::LostAnswer(ErrorKind::TimedOut), false);
    everywhere(false, Fault::LostAnswer(ErrorKind::ConnectionReset), false);
}

#[test]
fn what_was_uploaded_and_indexed_before_a_failure_is_used_by_the_next_backup() {
    let story = Story::new(false);
    let world = story.world();
    let repo = world.open();
    let mut source = story.source(&world);
    source.mischief = crate::support::Mischief::FailsAtTheEnd;
    backup_with(&repo, &source, &Story::options()).expect_err("the source fails at its end");
    assert!(!world.backend.names("packs/").is_empty() && !world.backend.names("index/").is_empty());
    let packs = world.backend.names("packs/");
    let next = backup_with(&repo, &story.source(&world), &Story::options()).unwrap();
    assert!(next.stats.chunks_reused > 0);
    // The lists of the layer were not made before; the blocks, with nearly all bytes, were.
    assert!(world.backend.names("packs/").len() <= packs.len() + 2);
    assert!(next.stats.bytes_added < 200 * 1024, "{} bytes were stored again", next.stats.bytes_added);
    assert_same(&restored(&repo, &snapshot(&repo, next.id.unwrap())), &story.after, "after the failure");
    assert_sound(&repo);
}

#[test]
fn a_catalog_from_before_the_crash_is_no_obstacle() {
    let story = Story::new(true);
    let operations = story.operations();
    for nth in [operations / 2, operations - 1, operations] {
        let world = story.world();
        {
            let repo = world.open();
            world.backend.arm(nth, Fault::PowerCut { lands: true });
            let _ = backup_with(&repo, &story.source(&world), &Story::options());
        }
        // Storage goes back to what it was before, as after a restore of the disk below: the catalog knows too much.
        world.backend.disarm();
        world.backend.tamper(|image| image.clone_from(&story.image));
        let repo = world.open();
        let next = back_up(&repo, &story.source(&world));
        assert_same(&restored(&repo, &snapshot(&repo, next.id.unwrap())), &story.after, "with an old catalog");
        let without = world.beside();
        assert_sound(&without.open());
    }
}

#[test]
fn a_reader_sees_an_error_and_no_wrong_data_when_an_operation_fails() {
    let story = Story::new(true);
    let taken = story.first.unwrap();
    for nth in 1..40 {
        let world = story.world();
        let Ok(repo) = world.try_open() else { panic!("opening works") };
        world.backend.arm(nth, Fault::Error(ErrorKind::Other));
        let target = crate::support::MemoryTarget::default();
        let snapshot = snapshot(&repo, taken);
        let outcome = crate::support::world::restore_with(
            &repo,
            &snapshot,
            &target,
            &rekeep::ops::restore::RestoreOptions::default(),
        );
        let met = world.backend.disarm();
        if let Ok(outcome) = outcome {
            assert!(outcome.complete);
            assert_same(&target.held(), &story.before, "a restore that says it is complete");
        }
        if !met {
            return;
        }
    }
    panic!("restoring a small snapshot takes fewer operations");
}

type Write<'a> = dyn FnMut() -> Result<(), RepoError> + 'a;

/// What a service and drills write beside backups, and a claim: each is there or not, the next try works, and what was there
/// before stays a chain without a gap.
#[test]
fn a_report_an_entry_and_a_claim_are_there_or_not_whatever_fails_while_they_are_written() {
    let (world, repo) = World::new();
    let id = back_up(&repo, &MemorySource::of(sample(80, 20, 50), &world.clock)).id.unwrap();
    let report = crate::strangers::report(&repo, id);
    let mut series = repo.begin_audit(None).unwrap();
    let (mut claims, mut written, mut failed) = (0, 0, 0);
    for fault in [Fault::Full, Fault::Error(ErrorKind::StorageFull), Fault::LostAnswer(ErrorKind::Other)] {
        for nth in 1..=4 {
            let mut each: [(&str, &mut Write<'_>); 3] = [
                ("drills/", &mut || repo.keep_drill(&report).map(drop)),
                ("audit/", &mut || repo.append_audit(&mut series, vec![serde_json::json!({"did": nth})]).map(drop)),
                ("claims/", &mut || {
                    claims += 1;
                    repo.claim("nightly", claims, "me").map(drop)
                }),
            ];
            for (folder, write) in &mut each {
                let before = world.backend.names(folder).len();
                world.backend.arm(nth, fault);
                let outcome = write();
                world.backend.disarm();
                if let Err(error) = &outcome {
                    failed += 1;
                    let is_told = error.is_full() || !matches!(fault, Fault::Full | Fault::Error(_));
                    assert!(is_told, "{folder} {fault:?} at {nth}: {error}");
                } else {
                    written += 1;
                    assert!(world.backend.names(folder).len() > before || *folder == "claims/", "{folder} {fault:?}");
                }
                // An entry of which nobody knows whether it is there has its number.
                write().or_else(|_| write()).unwrap();
                assert!(world.backend.names(folder).len() > before || *folder == "claims/", "{folder} {fault:?}");
            }
        }
    }
    assert!(written > 5 && failed > 5, "{written} written, {failed} failed");
    for problems in [repo.drills().unwrap().problems, repo.audit().unwrap().problems] {
        assert!(problems.is_empty(), "{problems:#?}");
    }
    assert_sound(&repo);
}
