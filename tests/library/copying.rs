//! Copies and replicas beside everything that may go wrong at either end: what is there by then is whole, and the same call carries
//! on.

use crate::support::{
    Db, Fault, Heard, Image, MemorySource, Rec, Rng, TestBackend, World,
    db::{assert_same, sample},
    world::{assert_sound, back_up, fast_kdf, restored, unlock},
};
use rekeep::{
    ops::{
        OpsError, Phase, PhaseKind, Progress,
        forget::{ForgetPlan, held_after, plan_named},
        prune::{PruneOptions, prune},
        replicate::{ReplicateOptions, replicate},
        transfer::{TransferOptions, TransferOutcome, transfer},
    },
    record::Timestamp,
    repo::{
        InitOptions, Repository, SnapshotId, Storage, Suite, Traits,
        replica::Replicated,
        session::SessionTiming,
        storage::{Backend, Created, Listed, Promises},
    },
    report::Warning,
};
use std::{
    collections::{BTreeMap, HashSet},
    io::{self, ErrorKind},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A repository with three states of a source.
struct From {
    image: Image,
    states: BTreeMap<SnapshotId, Db>,
}

impl From {
    fn new() -> Self {
        let (world, repo) = World::new();
        let mut state = sample(17, 20, 200);
        let mut states = BTreeMap::new();
        for day in 0..3_u8 {
            let records = &mut state.get_mut("c").unwrap().records;
            records.insert(format!("key{day:06}").into_bytes(), Rec::text("changed"));
            records.insert(b"big".to_vec(), Rec::blob(Rng::new(u64::from(day)).bytes(40_000)));
            world.clock.advance(60_000);
            let id = back_up(&repo, &MemorySource::of(state.clone(), &world.clock)).id.unwrap();
            states.insert(id, state.clone());
        }
        Self { image: world.backend.image(), states }
    }

    fn world(&self) -> World {
        let world = World::over(self.image.clone());
        world.clock.advance(600_000);
        world
    }
}

/// An empty repository of the same lasting secrets, or of others.
fn target(from: &Repository, alike: bool) -> Image {
    let world = World::over(Image::new());
    let init = InitOptions { kdf: fast_kdf(), label: "other".to_owned() };
    let (like, suite) = if alike { (Some(from), Suite::ChaCha20Poly1305) } else { (None, Suite::Aes256Gcm) };
    let traits = Traits { suite, ..Traits::default() };
    Repository::init_as(&traits, &world.storage(), &unlock(), like, &init, &world.options()).unwrap();
    world.backend.image()
}

fn copy(from: &Repository, to: &Repository, progress: &dyn Progress) -> Result<TransferOutcome, OpsError> {
    copy_as(from, to, false, progress)
}

fn copy_as(
    from: &Repository,
    to: &Repository,
    seal_anew: bool,
    progress: &dyn Progress,
) -> Result<TransferOutcome, OpsError> {
    let options = TransferOptions {
        parallel: 1,
        dry_run: false,
        compression: 1,
        seal_anew,
        write_limit: None,
        // So that some packs here are taken over as they are, and some are too short.
        timing: SessionTiming { pack_bytes: 1 << 16, ..SessionTiming::default() },
    };
    transfer(from, &from.snapshots()?, to, &options, progress)
}

fn replica_of(from: &Storage, to: &World, progress: &dyn Progress) -> Result<Replicated, OpsError> {
    let options = ReplicateOptions { workers: 2, ..ReplicateOptions::default() };
    replicate(from, &elsewhere(to), &options, to.clock.as_ref(), progress)
}

/// A place of another name than the one that is copied from.
fn elsewhere(world: &World) -> Storage {
    Storage::over(Arc::clone(&world.backend) as Arc<_>, "test:elsewhere")
}

/// What is behind the header of a pack.
fn behind_header(pack: &[u8]) -> &[u8] {
    &pack[64 + usize::from(u16::from_le_bytes([pack[50], pack[51]]))..]
}

/// Names of packs of `to` that are packs of `from` under another header, and of those that are not.
fn taken_as_they_are(from: &Image, to: &Image) -> (Vec<String>, Vec<String>) {
    let packs = |image: &'_ Image| -> Vec<(String, Vec<u8>)> {
        let packs = image.iter().filter(|(name, _)| name.starts_with("packs/"));
        packs.map(|(name, bytes)| (name.clone(), behind_header(bytes).to_vec())).collect()
    };
    let ours: HashSet<Vec<u8>> = packs(from).into_iter().map(|(_, bytes)| bytes).collect();
    let (moved, anew): (Vec<_>, Vec<_>) = packs(to).into_iter().partition(|(_, bytes)| ours.contains(bytes));
    let names = |packs: Vec<(String, Vec<u8>)>| packs.into_iter().map(|(name, _)| name).collect();
    (names(moved), names(anew))
}

#[test]
fn packs_that_are_wanted_whole_are_taken_as_they_are_unless_everything_is_sealed_anew() {
    let from = From::new();
    let (source, mut held) = (from.world(), Vec::new());
    let here = source.open();
    for seal_anew in [false, true] {
        let there = World::over(target(&here, true));
        let done = copy_as(&here, &there.open(), seal_anew, &Heard::default()).unwrap();
        assert_eq!(copies_are_whole(&from, &there, "as they are"), 3);
        let (moved, anew) = taken_as_they_are(&from.image, &there.backend.image());
        assert_eq!(moved.is_empty(), seal_anew, "{moved:?} {anew:?}");
        assert!(!anew.is_empty(), "some of it is too short: {moved:?}");
        held.push(done.copied.iter().map(|row| row.chunks_new).collect::<Vec<_>>());
        // On to a third, and what was taken over is taken over again.
        let copy = there.open();
        let third = World::over(target(&copy, true));
        copy_as(&copy, &third.open(), false, &Heard::default()).unwrap();
        assert_eq!(copies_are_whole(&from, &third, "a copy of a copy"), 3);
        let (again, _) = taken_as_they_are(&there.backend.image(), &third.backend.image());
        assert!(again.len() >= moved.len() && !again.is_empty(), "{again:?}");
        // What is forgotten and pruned there takes nothing along that is needed.
        forget_and_prune(&third);
        assert_eq!(copies_are_whole(&from, &third, "pruned"), 1);
    }
    assert_eq!(held[0], held[1], "the same chunks");
}

#[test]
fn of_a_pack_that_is_not_what_it_was_nothing_is_taken_that_is_not_whole() {
    let from = From::new();
    // A pack of values.
    let is_data = |(name, bytes): &(&String, &Vec<u8>)| name.starts_with("packs/") && bytes[10] == 2;
    let name = from.image.iter().find(is_data).unwrap().0.clone();
    let len = from.image[&name].len();
    // In a frame; in the zeros before the end, which no reader of chunks looks at.
    for (at, is_lost) in [(2000, true), (len - 33, false)] {
        let source = from.world();
        source.backend.tamper(|image| {
            let mut bytes = image[&name].clone();
            bytes[at] ^= 1;
            image.insert(name.clone(), bytes);
        });
        let here = source.open();
        let there = World::over(target(&here, true));
        let done = copy(&here, &there.open(), &Heard::default()).unwrap();
        assert_eq!(done.failed.is_empty(), !is_lost, "{at}: {done:?}");
        assert_eq!(copies_are_whole(&from, &there, "damaged"), done.copied.len());
        let harmed = source.backend.image()[&name].clone();
        let holds = |image: &Image| image.values().any(|it| it.len() == harmed.len() && it[2000..] == harmed[2000..]);
        assert!(!holds(&there.backend.image()), "{at}");
    }
}

/// Everything there is whole, is a copy of something, and restores to what that was.
fn copies_are_whole(from: &From, to: &World, what: &str) -> usize {
    let repo = to.beside().open();
    assert_sound(&repo);
    let copies = repo.snapshots().unwrap();
    for copy in &copies {
        let origin = copy.content.copy_of.as_ref().unwrap().snapshot;
        assert_same(&restored(&repo, copy), &from.states[&origin], what);
    }
    copies.len()
}

#[test]
fn a_copy_into_a_place_that_fills_or_fails_anywhere_keeps_what_is_whole_and_is_carried_on() {
    let from = From::new();
    for alike in [true, false] {
        let source = from.world();
        let here = source.open();
        let image = target(&here, alike);
        let operations = {
            let there = World::over(image.clone());
            let to = there.open();
            let begun = there.backend.operations();
            assert_eq!(copy(&here, &to, &Heard::default()).unwrap().as_stored, alike);
            there.backend.operations() - begun
        };
        let faults = [
            Fault::Full,
            Fault::Error(ErrorKind::Other),
            Fault::LostAnswer(ErrorKind::TimedOut),
            Fault::PowerCut { lands: true },
        ];
        let (mut failed, step) = (0, operations / 3);
        for (number, fault) in faults.into_iter().enumerate() {
            // Each at other moments.
            for nth in (1 + number as u64..=operations).step_by(usize::try_from(step).unwrap()) {
                let what = format!("alike {alike}: {fault:?} at operation {nth} of {operations}");
                let there = World::over(image.clone());
                let to = there.open();
                there.backend.arm(nth, fault);
                let done = copy(&here, &to, &Heard::default());
                drop(to);
                there.backend.disarm();
                if let Err(error) = &done {
                    failed += 1;
                    let named = ["on command", "the power"].iter().any(|words| error.to_string().contains(words));
                    assert!(named && !error.kind().is_damage(), "{what}: {error}");
                }
                let copied = copies_are_whole(&from, &there, &what);
                assert!(copied <= 3 && done.is_ok_and(|done| done.failed.is_empty()) == (copied == 3) || copied == 3);
                let again = copy(&here, &there.open(), &Heard::default()).unwrap();
                assert_eq!((again.copied.len(), again.there.len()), (3 - copied, copied), "{what}");
                assert_eq!(copies_are_whole(&from, &there, &what), 3, "{what}");
            }
        }
        assert!(failed > 4, "{failed}");
    }
}

#[test]
fn a_source_that_fails_anywhere_is_said_and_the_copy_is_carried_on() {
    let from = From::new();
    for alike in [true, false] {
        let source = from.world();
        let image = target(&source.open(), alike);
        let operations = {
            let here = source.open();
            let begun = source.backend.operations();
            copy(&here, &World::over(image.clone()).open(), &Heard::default()).unwrap();
            source.backend.operations() - begun
        };
        for nth in (1..=operations).step_by(usize::try_from(operations / 3).unwrap().max(1)) {
            let what = format!("alike {alike}: operation {nth} of {operations}");
            let (source, there) = (from.world(), World::over(image.clone()));
            let here = source.open();
            source.backend.arm(nth, Fault::Error(ErrorKind::Other));
            let done = copy(&here, &there.open(), &Heard::default());
            source.backend.disarm();
            // What can do without the answer goes on.
            if let Err(error) = done {
                assert!(error.to_string().contains("failed on command"), "{what}: {error}");
            }
            copies_are_whole(&from, &there, &what);
            copy(&here, &there.open(), &Heard::default()).unwrap();
            assert_eq!(copies_are_whole(&from, &there, &what), 3, "{what}");
        }
    }
}

#[test]
fn a_replica_in_a_place_that_fills_anywhere_is_a_whole_repository_and_is_carried_on() {
    let from = From::new();
    let source = from.world();
    let operations = {
        let there = World::over(Image::new());
        replica_of(&source.storage(), &there, &Heard::default()).unwrap();
        there.backend.operations()
    };
    let mut failed = 0;
    for nth in (1..=operations).step_by(2) {
        let what = format!("full at operation {nth} of {operations}");
        let there = World::over(Image::new());
        there.backend.arm(nth, Fault::Full);
        let done = replica_of(&source.storage(), &there, &Heard::default());
        there.backend.disarm();
        if let Err(error) = &done {
            failed += 1;
            assert!(error.to_string().contains("full on command"), "{what}: {error}");
        }
        if there.backend.names("rekeep.json").len() == 1 {
            let repo = there.beside().open();
            assert_sound(&repo);
            let shown = repo.snapshots().unwrap();
            for it in &shown {
                assert_same(&restored(&repo, it), &from.states[&it.id], &what);
            }
        }
        replica_of(&source.storage(), &there, &Heard::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(there.open().snapshots().unwrap().len(), 3, "{what}");
    }
    assert!(failed > 5, "{failed}");
}

/// Does something once, when a stretch of work of this kind begins.
struct Beside<'a> {
    at: PhaseKind,
    is_done: AtomicBool,
    act: Box<dyn Fn() + Send + Sync + 'a>,
}

impl<'a> Beside<'a> {
    fn at(at: PhaseKind, act: impl Fn() + Send + Sync + 'a) -> Self {
        Self { at, is_done: AtomicBool::new(false), act: Box::new(act) }
    }
}

impl Progress for Beside<'_> {
    fn phase(&self, phase: &Phase) {
        if phase.kind == self.at && !self.is_done.swap(true, Ordering::SeqCst) {
            (self.act)();
        }
    }
    fn count(&self, _: u64, _: u64) {}
    fn warning(&self, _: &Warning) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// Another host forgets all but the newest snapshot, and prunes.
fn forget_and_prune(source: &World) {
    let repo = source.beside().open();
    let snapshots = repo.snapshots().unwrap();
    for snapshot in &snapshots[..snapshots.len() - 1] {
        repo.forget(&snapshot.id).unwrap();
    }
    let mut options = PruneOptions { max_unused: 0.0, repack_small: true, ..PruneOptions::default() };
    options.timing.alone = true;
    prune(&repo, &options, &Heard::default()).unwrap();
}

/// A place that may be read alone.
struct ReadOnly(Arc<TestBackend>);

impl Backend for ReadOnly {
    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        self.0.list(prefix)
    }
    fn read(&self, name: &str, range: Option<Range<u64>>) -> io::Result<Vec<u8>> {
        self.0.read(name, range)
    }
    fn create(&self, _: &str, _: &bytes::Bytes) -> io::Result<Created> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn delete(&self, _: &str) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.0.len(name)
    }
    fn promises(&self) -> Promises {
        self.0.promises()
    }
}

#[test]
fn a_source_that_is_pruned_midway_waits_for_the_copy_or_is_said_to_have_moved_on() {
    let from = From::new();
    for alike in [true, false] {
        // Whoever may write there holds a lease, and the prune waits.
        let source = from.world();
        let here = source.open();
        let there = World::over(target(&here, alike));
        let beside = Beside::at(PhaseKind::CopyingSnapshot, || forget_and_prune(&source));
        let done = copy(&here, &there.open(), &beside).unwrap();
        assert!(beside.is_done.load(Ordering::SeqCst));
        assert_eq!((done.copied.len(), done.failed.len()), (3, 0), "alike {alike}: {done:?}");
        assert_eq!(copies_are_whole(&from, &there, "with a lease"), 3);
        // Whoever may only read there holds none.
        let source = from.world();
        let read_only = Storage::over(Arc::new(ReadOnly(Arc::clone(&source.backend))), "test:read-only");
        let reader = source.beside();
        let here = Repository::open(&read_only, &unlock(), &reader.options()).unwrap();
        let there = World::over(target(&source.open(), alike));
        let beside = Beside::at(PhaseKind::CopyingSnapshot, || forget_and_prune(&source));
        let done = copy(&here, &there.open(), &beside).unwrap();
        assert_eq!(done.copied.len() + done.failed.len(), 3, "alike {alike}: {done:?}");
        assert!(!done.failed.is_empty(), "alike {alike}: {done:?}");
        for failed in &done.failed {
            assert!(failed.problem.contains("forgotten or squashed"), "{failed:?}");
        }
        assert_eq!(copies_are_whole(&from, &there, "without a lease"), done.copied.len());
        let again = copy(&source.open(), &there.open(), &Heard::default()).unwrap();
        assert_eq!(again.failed.len(), 0, "{again:?}");
        copies_are_whole(&from, &there, "afterwards");
    }
}

#[test]
fn a_source_that_is_pruned_while_it_is_replicated_leaves_a_whole_replica() {
    let from = From::new();
    for at in [PhaseKind::CopyingPacks, PhaseKind::CopyingIndex, PhaseKind::CopyingSnapshots] {
        let (source, there) = (from.world(), World::over(Image::new()));
        let beside = Beside::at(at, || forget_and_prune(&source));
        let done = replica_of(&source.storage(), &there, &beside).unwrap();
        assert!(beside.is_done.load(Ordering::SeqCst) && done.problems.is_empty(), "{at:?}: {done:?}");
        let repo = there.open();
        assert_sound(&repo);
        let shown = repo.snapshots().unwrap();
        assert!(!shown.is_empty(), "{at:?}");
        for it in &shown {
            assert_same(&restored(&repo, it), &from.states[&it.id], "replica");
        }
        replica_of(&source.storage(), &there, &Heard::default()).unwrap();
        assert_eq!(there.beside().open().snapshots().unwrap().len(), 1, "{at:?}");
    }
}

#[test]
fn the_same_repository_and_the_same_place_are_no_target() {
    let from = From::new();
    let (source, there) = (from.world(), World::over(Image::new()));
    replica_of(&source.storage(), &there, &Heard::default()).unwrap();
    let before = there.backend.image();
    let error = copy(&source.open(), &there.open(), &Heard::default()).unwrap_err();
    assert!(error.kind().is_usage() && error.to_string().contains("same repository"), "{error}");
    let options = ReplicateOptions { workers: 1, ..ReplicateOptions::default() };
    let here = source.storage();
    let error = replicate(&here, &here, &options, source.clock.as_ref(), &Heard::default()).unwrap_err();
    assert!(error.to_string().contains("choose another place"), "{error}");
    assert!(there.backend.image() == before);
}

#[test]
fn a_plan_to_forget_says_what_storage_goes_on_holding_and_until_when() {
    let from = From::new();
    let world = from.world();
    let repo = world.open();
    let snapshots = repo.snapshots().unwrap();
    let plan: ForgetPlan = plan_named(&repo, &snapshots[..2], false).unwrap();
    let nothing = held_after(&repo, &plan, &Heard::default()).unwrap();
    assert_eq!((nothing.packs, nothing.until), (0, None), "nothing is held where nothing can be");
    let until = Timestamp::from_millis(world.clock_millis() + 86_400_000);
    world.backend.hold_all(until);
    let before = world.backend.names("packs/").len();
    let held = held_after(&repo, &plan, &Heard::default()).unwrap();
    assert!(held.packs > 0 && (held.packs as usize) < before, "{held:?} of {before}");
    assert_eq!((held.until, held.compliance, held.governance), (Some(until), held.packs, 0));
    // What the plan keeps is needed.
    assert_eq!(repo.snapshots().unwrap().len(), 3);
    assert_eq!(world.backend.names("trash/"), Vec::<String>::new());
    // What the prune says then is the same.
    for snapshot in &snapshots[..2] {
        repo.forget(&snapshot.id).unwrap();
    }
    let options = PruneOptions { dry_run: true, max_unused: 100.0, ..PruneOptions::default() };
    let pruned = prune(&repo, &options, &Heard::default()).unwrap();
    assert_eq!((pruned.held.packs, pruned.held.bytes, pruned.held.until), (held.packs, held.bytes, held.until));
}
