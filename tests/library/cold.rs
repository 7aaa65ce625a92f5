//! Packs of values in an archive: what can do without never reads them, and a restore names them, asks and waits.

use crate::support::{
    Db, Fault, Heard, MemorySource, MemoryTarget, Rec, Rng, World,
    db::{assert_same, sample},
    world::{back_up, backup_with, plain, restore_with, restored, snapshot},
};
use rekeep::{
    ops::{
        OpsError,
        backup::BackupOptions,
        command::Bounded,
        cost::{Prices, costs},
        forget::plan_named,
        prune::{PruneOptions, PruneOutcome, TierOptions, prune},
        replicate::{ReplicateOptions, replicate},
        restore::RestoreOptions,
        stats::stats,
        thaw::{Ask, ThawOptions},
        verify::{ReadData, VerifyOptions, verify, verify_keyless},
    },
    repo::{Repository, SnapshotId, Storage, ids::PackKind, pack, storage::ThawTier},
    report::ErrorKind,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Three states a month apart, which have no value in common, each with a base of its own.
struct Past {
    world: World,
    states: Vec<(SnapshotId, Db)>,
}

impl Past {
    fn new() -> Self {
        let (world, repo) = World::new();
        let mut states = Vec::new();
        for month in 0..3_u8 {
            let mut state = sample(5 + u64::from(month), 20, 100);
            let records = &mut state.get_mut("c").unwrap().records;
            records.insert(b"big".to_vec(), Rec::blob(Rng::new(u64::from(month) + 9).bytes(300_000)));
            records.insert(b"month".to_vec(), Rec::text(&format!("month {month}")));
            world.clock.advance(30 * DAY);
            let anew = BackupOptions { new_base: true, ..plain() };
            let done = backup_with(&repo, &MemorySource::of(state.clone(), &world.clock), &anew);
            let id = done.unwrap().id.unwrap();
            states.push((id, state.clone()));
        }
        world.backend.set_archives();
        Self { world, states }
    }

    fn data(&self) -> BTreeSet<String> {
        let packs = self.world.beside().open().packs().unwrap();
        packs.into_iter().filter(|it| it.kind == PackKind::Data).map(|it| pack::path(&it.name)).collect()
    }

    fn freeze(&self) -> BTreeSet<String> {
        let data = self.data();
        self.world.backend.freeze(&data, "GLACIER");
        data
    }

    fn restore(&self, repo: &Repository, at: usize, options: &RestoreOptions) -> Result<Db, OpsError> {
        let target = MemoryTarget::default();
        let done = restore_with(repo, &snapshot(repo, self.states[at].0), &target, options);
        if done.is_err() {
            assert!(target.held().values().all(|coll| coll.records.is_empty()), "something was written");
        }
        done.map(|_| target.held())
    }
}

fn asking(wait: Duration) -> RestoreOptions {
    let ask = Ask::Service { days: 7, tier: ThawTier::Bulk };
    RestoreOptions {
        thaw: Some(ThawOptions { ask, wait, look_every: Duration::from_millis(1) }),
        ..RestoreOptions::default()
    }
}

/// What was asked for since operation `from`.
fn thawed_since(past: &Past, from: u64) -> BTreeSet<String> {
    let log = past.world.backend.log_from(from);
    log.iter().filter_map(|line| line.strip_prefix("thaw ").map(str::to_owned)).collect()
}

#[track_caller]
fn is_archived(error: &OpsError) {
    assert_eq!(error.kind(), ErrorKind::Archived, "{error}");
}

#[test]
fn what_needs_only_metadata_reads_no_data_pack() {
    for is_far in [false, true] {
        let past = Past::new();
        let data = past.freeze();
        assert!(data.len() >= 3, "{data:?}");
        if is_far {
            past.world.backend.move_away();
        }
        // A host that has seen nothing.
        let host = past.world.beside();
        let from = host.backend.operations();
        let repo = host.open();
        let snapshots = repo.snapshots().unwrap();
        let mut state = past.states[2].1.clone();
        state.get_mut("c").unwrap().records.insert(b"key000003".to_vec(), Rec::text("changed"));
        state.get_mut("c").unwrap().records.remove(b"key000004".as_slice());
        host.clock.advance(60_000);
        let done = back_up(&repo, &MemorySource::of(state, &host.clock));
        assert!(done.stats.changed == 1 && done.stats.deleted == 1, "{:?}", done.stats);
        stats(&repo).unwrap();
        plan_named(&repo, &snapshots[..1], false).unwrap();
        let quick = VerifyOptions { read_data: ReadData::None, restore: false, parallel: 1, read_limit: None };
        assert_eq!(verify(&repo, &repo.snapshots().unwrap(), &quick, &Heard::default()).unwrap().findings, []);
        prune(&repo, &PruneOptions { dry_run: true, ..PruneOptions::default() }, &Heard::default()).unwrap();
        let read: Vec<String> = host.backend.log_from(from);
        let touched: Vec<&String> =
            read.iter().filter(|line| line.strip_prefix("read ").is_some_and(|name| data.contains(name))).collect();
        assert!(touched.is_empty(), "far {is_far}: {touched:?}");
        // A prune that would copy or squash what is archived leaves it.
        repo.forget(&snapshots[0].id).unwrap();
        let done =
            prune(&repo, &PruneOptions { max_unused: 0.0, ..PruneOptions::default() }, &Heard::default()).unwrap();
        assert_eq!(done.failures, [], "far {is_far}");
    }
}

#[test]
fn a_restore_that_meets_an_archive_names_the_packs_before_it_writes_and_goes_on_once_they_are_there() {
    let past = Past::new();
    let repo = past.world.open();
    let data = past.freeze();
    let heard = Heard::default();
    let target = MemoryTarget::default();
    let newest = snapshot(&repo, past.states[2].0);
    let error = rekeep::ops::restore::restore(&repo, &newest, &target, &RestoreOptions::default(), &heard).unwrap_err();
    is_archived(&error);
    assert!(error.to_string().contains("GLACIER") && error.to_string().contains("nothing was written"), "{error}");
    let named: BTreeSet<String> = data.iter().filter(|name| heard.warnings().contains(*name)).cloned().collect();
    assert!(
        !named.is_empty() && named.len() < data.len(),
        "what the newest snapshot does not read is not named: {named:?}"
    );
    // Asked for, and not waited for.
    let from = past.world.backend.operations();
    let error = past.restore(&repo, 2, &asking(Duration::ZERO)).unwrap_err();
    is_archived(&error);
    assert!(error.to_string().contains("same command goes on"), "{error}");
    assert_eq!(thawed_since(&past, from), named);
    // The same again asks for nothing twice.
    let from = past.world.backend.operations();
    is_archived(&past.restore(&repo, 2, &asking(Duration::ZERO)).unwrap_err());
    assert_eq!(thawed_since(&past, from), BTreeSet::new());
    // Once they are there it is an ordinary restore.
    past.world.backend.thaw_after(0);
    assert_same(&past.restore(&repo, 2, &RestoreOptions::default()).unwrap(), &past.states[2].1, "thawed");
    // The readable copies went again: they are asked for anew, and waited for.
    past.world.backend.freeze(&data, "GLACIER");
    past.world.backend.thaw_after(3);
    let from = past.world.backend.operations();
    let waited = past.restore(&repo, 2, &asking(Duration::from_mins(10))).unwrap();
    assert_same(&waited, &past.states[2].1, "waited for");
    assert_eq!(thawed_since(&past, from), named);
}

#[test]
fn a_thaw_that_never_ends_ends_with_what_is_not_there() {
    let past = Past::new();
    let repo = past.world.open();
    past.freeze();
    let error = past.restore(&repo, 1, &asking(Duration::from_millis(20))).unwrap_err();
    is_archived(&error);
    assert!(error.to_string().contains("not there yet"), "{error}");
    // A service that refuses is heard.
    past.freeze();
    past.world.backend.arm(1, Fault::Refuses("thaw"));
    let error = past.restore(&repo, 1, &asking(Duration::ZERO)).unwrap_err();
    assert!(error.to_string().contains("refused on command"), "{error}");
    past.world.backend.disarm();
    // Whoever is asked to stop does.
    let heard = Heard::default();
    heard.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let newest = snapshot(&repo, past.states[2].0);
    let options = asking(Duration::from_hours(10));
    let stopped = rekeep::ops::restore::restore(&repo, &newest, &MemoryTarget::default(), &options, &heard);
    assert!(stopped.unwrap_err().is_interruption());
}

#[test]
fn of_chosen_records_only_their_packs_are_thawed() {
    let past = Past::new();
    let repo = past.world.open();
    let data = past.freeze();
    past.world.backend.thaw_after(1);
    let from = past.world.backend.operations();
    let options = RestoreOptions { keys: vec!["hex:6d6f6e7468".to_owned()], ..asking(Duration::from_mins(10)) };
    let got = past.restore(&repo, 2, &options).unwrap();
    assert_eq!(got["c"].records.len(), 1);
    assert_eq!(got["c"].records[b"month".as_slice()], past.states[2].1["c"].records[b"month".as_slice()]);
    let asked = thawed_since(&past, from);
    assert!(asked.len() == 1 && data.is_superset(&asked), "{asked:?} of {data:?}");
}

#[test]
fn a_command_that_thaws_is_given_the_list_and_its_failure_is_the_restores() {
    let past = Past::new();
    let repo = past.world.open();
    let data = past.freeze();
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("list");
    let by = |line: String| {
        let command =
            Bounded { command: ["sh".to_owned(), "-c".to_owned(), line].to_vec(), timeout: Duration::from_mins(5) };
        let thaw =
            ThawOptions { ask: Ask::Command(command), wait: Duration::ZERO, look_every: Duration::from_millis(1) };
        RestoreOptions { thaw: Some(thaw), ..RestoreOptions::default() }
    };
    let error = past.restore(&repo, 0, &by(format!("cp \"$REKEEP_THAW_LIST\" {}", kept.display()))).unwrap_err();
    is_archived(&error);
    let list = std::fs::read_to_string(&kept).unwrap();
    assert!(!list.is_empty());
    for line in list.lines() {
        let (bytes, name) = line.split_once('\t').unwrap();
        assert!(bytes.parse::<u64>().unwrap() > 0 && data.contains(name), "{line}");
    }
    let error = past.restore(&repo, 0, &by("echo no budget; exit 3".to_owned())).unwrap_err();
    assert!(error.to_string().contains("no budget") && error.to_string().contains('3'), "{error}");
}

#[test]
fn where_a_listing_tells_no_classes_each_pack_is_asked_about_and_else_the_read_says_it() {
    let past = Past::new();
    past.world.backend.list_no_classes();
    let repo = past.world.open();
    past.freeze();
    let target = MemoryTarget::default();
    let newest = snapshot(&repo, past.states[2].0);
    let error = restore_with(&repo, &newest, &target, &RestoreOptions::default()).unwrap_err();
    assert!(error.to_string().contains("must be thawed"), "{error}");
    past.world.backend.thaw_after(1);
    assert_same(
        &past.restore(&repo, 2, &asking(Duration::from_mins(10))).unwrap(),
        &past.states[2].1,
        "asked one by one",
    );
}

#[test]
fn what_is_archived_is_no_damage_and_no_proof() {
    let past = Past::new();
    let repo = past.world.open();
    let data = past.freeze();
    let all = VerifyOptions { read_data: ReadData::All, restore: false, parallel: 2, read_limit: None };
    let outcome = verify(&repo, &repo.snapshots().unwrap(), &all, &Heard::default()).unwrap();
    assert_eq!((outcome.findings.len(), outcome.archived), (0, data.len() as u64), "{outcome:?}");
    let outcome = verify_keyless(&past.world.storage(), &Heard::default()).unwrap();
    assert_eq!((outcome.findings.len(), outcome.archived), (0, data.len() as u64), "{outcome:?}");
    // A replica names what it lacks, and shows nothing that needs it before it has it.
    let there = World::over(BTreeMap::new());
    let place = Storage::over(Arc::clone(&there.backend) as Arc<_>, "test:elsewhere");
    let options = ReplicateOptions { workers: 1, ..ReplicateOptions::default() };
    let done = replicate(&past.world.storage(), &place, &options, there.clock.as_ref(), &Heard::default()).unwrap();
    assert_eq!(done.problems.len(), data.len(), "{done:?}");
    assert!(done.problems.iter().all(|words| words.contains("must be thawed")), "{done:?}");
    // The damage notes of the repository know nothing of it.
    assert_eq!(past.world.backend.names("damage/"), Vec::<String>::new());
    past.world.backend.thaw_all();
    replicate(&past.world.storage(), &place, &options, there.clock.as_ref(), &Heard::default()).unwrap();
    let repo = there.open();
    for (id, state) in &past.states {
        assert_same(&restored(&repo, &snapshot(&repo, *id)), state, "the replica");
    }
}

fn tiering(repo: &Repository, days: u64, dry_run: bool) -> Result<PruneOutcome, OpsError> {
    let tier = TierOptions { after: Duration::from_hours(24 * days), class: "DEEP_ARCHIVE".to_owned() };
    // Nothing is merged: what lies where stays as it is.
    let options = PruneOptions { tier: Some(tier), dry_run, max_superseded: 100.0, ..PruneOptions::default() };
    prune(repo, &options, &Heard::default())
}

#[test]
fn only_what_old_snapshots_alone_need_moves_and_the_newest_is_never_old() {
    let past = Past::new();
    let repo = past.world.open();
    let (data, from) = (past.data(), past.world.backend.operations());
    let dry = tiering(&repo, 45, true).unwrap().tiered.unwrap();
    assert_eq!((dry.old_snapshots, dry.packs), (1, 1), "{dry:?}");
    let moved = |from: u64| -> Vec<String> {
        let log = past.world.backend.log_from(from);
        log.iter().filter_map(|line| line.strip_prefix("move ").map(str::to_owned)).collect()
    };
    assert_eq!(moved(from), Vec::<String>::new());
    let lists = past.world.backend.class_lists();
    let done = tiering(&repo, 45, false).unwrap();
    assert_eq!(past.world.backend.class_lists() - lists, 1, "nothing came since it was planned");
    assert_eq!(done.failures, []);
    let tiered = done.tiered.unwrap();
    assert_eq!((tiered.packs, tiered.bytes), (dry.packs, dry.bytes));
    assert!(moved(from).iter().all(|name| data.contains(name)));
    // The next run finds nothing more to do.
    let again = tiering(&repo, 45, false).unwrap().tiered.unwrap();
    assert_eq!((again.packs, again.there), (0, 1), "{again:?}");
    // Years later everything but the newest is old.
    past.world.clock.advance(2000 * DAY);
    let later = tiering(&repo, 45, false).unwrap().tiered.unwrap();
    assert_eq!((later.old_snapshots, later.packs), (2, 1), "{later:?}");
    assert_same(&past.restore(&repo, 2, &RestoreOptions::default()).unwrap(), &past.states[2].1, "the newest");
    is_archived(&past.restore(&repo, 0, &RestoreOptions::default()).unwrap_err());
    past.world.backend.thaw_after(1);
    assert_same(&past.restore(&repo, 0, &asking(Duration::from_mins(10))).unwrap(), &past.states[0].1, "thawed");
    // Whatever is forgotten goes from the archive too, and nothing is copied out of it.
    repo.forget(&past.states[0].0).unwrap();
    let options =
        PruneOptions { max_unused: 0.0, max_superseded: 100.0, repack_small: true, ..PruneOptions::default() };
    let pruned = prune(&repo, &options, &Heard::default()).unwrap();
    assert!(pruned.failures.is_empty() && pruned.deleted.packs > 0, "{pruned:?}");
    assert_same(&past.restore(&repo, 2, &RestoreOptions::default()).unwrap(), &past.states[2].1, "afterwards");
}

#[test]
fn a_pack_that_cannot_be_moved_is_named_and_a_place_without_classes_refuses() {
    let past = Past::new();
    let repo = past.world.open();
    past.world.backend.arm(1, Fault::Refuses("move"));
    let done = tiering(&repo, 45, false).unwrap();
    assert!(done.failures.len() == 1 && done.failures[0].words.contains("refused on command"), "{:?}", done.failures);
    past.world.backend.disarm();
    past.world.backend.list_no_classes();
    let error = tiering(&repo, 45, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn costs_go_by_class_where_a_listing_tells() {
    let past = Past::new();
    let text = "{\"currency\": \"EUR\", \"classes\": {\"STANDARD\": {\"per_gb_month\": 1024}, \"GLACIER\": {\"per_gb_month\": 1}}}";
    let prices = Prices::parse(text).unwrap();
    let storage = past.world.storage();
    let all = costs(&storage, &prices, "STANDARD", &Heard::default()).unwrap();
    let data = past.freeze();
    let split = costs(&storage, &prices, "STANDARD", &Heard::default()).unwrap();
    let objects =
        |costs: &rekeep::ops::cost::Costs| costs.classes.iter().map(|it| (it.objects, it.bytes)).collect::<Vec<_>>();
    assert_eq!(objects(&all)[0].0 as usize, past.world.backend.image().len());
    assert_eq!(
        objects(&split).iter().find(|(count, _)| *count == data.len() as u64).map(|it| it.0),
        Some(data.len() as u64)
    );
    assert!(split.month < all.month, "{split:?}");
    let sum: u64 = objects(&split).iter().map(|it| it.1).sum();
    assert_eq!(sum, objects(&all)[0].1);
}
