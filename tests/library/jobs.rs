//! Verbs as jobs: many at once, in one process, on one repository.

use crate::support::{
    Heard, MemorySource, MemoryTarget, Rec, World,
    db::{assert_same, sample},
    world::{assert_sound, back_up, plain, restored, snapshot},
};
use rekeep::{
    ops::{
        diff::diff,
        forget::{execute, plan_named},
        history::history,
        job::{self, Job, JobState},
        prune::{PruneOptions, prune},
        restore::{RestoreOptions, restore},
        stats::stats,
        verify::{ReadData, VerifyOptions, verify},
    },
    report::ErrorKind,
};
use std::{
    sync::{Arc, Barrier, atomic::Ordering},
    time::Duration,
};

const THOROUGH: VerifyOptions =
    VerifyOptions { read_data: ReadData::All, restore: true, parallel: 2, read_limit: None };

#[test]
fn eight_different_verbs_run_at_once_on_one_repository_and_all_are_right() {
    let (world, repo) = World::new();
    let mut states = Vec::new();
    let mut state = sample(1, 300, 200);
    for round in 0..4_u8 {
        state.get_mut("c").unwrap().records.insert(b"moving".to_vec(), Rec::blob(vec![round; 50]));
        states.push(state.clone());
    }
    let ids: Vec<_> = states[..3]
        .iter()
        .map(|state| {
            world.clock.advance(60_000);
            back_up(&repo, &MemorySource::of(state.clone(), &world.clock)).id.unwrap()
        })
        .collect();
    let another = sample(9, 200, 150);
    let mut elsewhere = MemorySource::of(another.clone(), &world.clock);
    elsewhere.name = "elsewhere".to_owned();
    world.clock.advance(60_000);
    let grown = MemorySource::of(states[3].clone(), &world.clock);
    let [first, second, third] = [0, 1, 2].map(|at| snapshot(&repo, ids[at]));
    let target = MemoryTarget::default();

    let all = Arc::new(Barrier::new(8));
    let meet = || {
        let (repo, all) = (repo.clone(), Arc::clone(&all));
        move || {
            all.wait();
            repo
        }
    };
    let at = meet();
    let new_source = Job::start("backup", move |told| rekeep::ops::backup::backup(&at(), &elsewhere, &plain(), told));
    let at = meet();
    let again = Job::start("backup", move |told| rekeep::ops::backup::backup(&at(), &grown, &plain(), told));
    let (at, into, from) = (meet(), target.clone(), second.clone());
    let back = Job::start("restore", move |told| {
        restore(&at(), &from, &into, &RestoreOptions { parallel: 2, ..RestoreOptions::default() }, told)
    });
    let (at, both) = (meet(), vec![second.clone(), third.clone()]);
    let proof = Job::start("verify", move |told| verify(&at(), &both, &THOROUGH, told));
    let at = meet();
    let tidy = Job::start("prune", move |told| prune(&at(), &PruneOptions::default(), told));
    let (at, oldest) = (meet(), first.clone());
    let gone = Job::start("forget", move |told| {
        let repo = at();
        execute(&repo, plan_named(&repo, &[oldest], false)?, told)
    });
    let (at, of) = (meet(), vec![first.clone(), second.clone(), third.clone()]);
    let versions = Job::start("history", move |told| history(&at(), &of, "c", "str:moving", None, None, told));
    let (at, a, b) = (meet(), second.clone(), third.clone());
    let between = Job::start("diff", move |told| {
        let mut changes = Vec::new();
        diff(&at(), &a, &b, None, told, &mut |collection, key, change| {
            changes.push(format!("{collection} {key} {change:?}"));
        })?;
        Ok(changes)
    });

    let new_source = new_source.unwrap().wait().unwrap();
    assert!(new_source.complete && new_source.parent.is_none());
    let again = again.unwrap().wait().unwrap();
    assert!(again.complete && (again.stats.new, again.stats.changed, again.stats.deleted) == (0, 1, 0));
    assert!(again.parent.is_some_and(|parent| ids.contains(&parent)));
    assert!(back.unwrap().wait().unwrap().complete);
    assert_same(&target.held(), &states[1], "restored beside the others");
    let proof = proof.unwrap().wait().unwrap();
    assert!(proof.findings.is_empty(), "{:#?}", proof.findings);
    tidy.unwrap().wait().unwrap();
    assert_eq!(gone.unwrap().wait().unwrap().forgotten, [ids[0]]);
    assert!(versions.unwrap().wait().unwrap().versions.len() >= 2);
    let changes = between.unwrap().wait().unwrap();
    assert!(changes.len() == 1 && changes[0].ends_with("Changed"), "{changes:?}");

    assert_eq!(stats(&repo).unwrap().snapshots, 4);
    assert_same(&restored(&repo, &snapshot(&repo, new_source.id.unwrap())), &another, "the new source");
    assert_same(&restored(&repo, &snapshot(&repo, again.id.unwrap())), &states[3], "the grown one");
    assert_sound(&repo);
}

#[test]
fn a_backup_is_watched_waited_for_restored_verified_and_forgotten_by_jobs() {
    let (world, repo) = World::new();
    let state = sample(3, 400, 100);
    let kept = job::backup(&repo, Box::new(MemorySource::of(state.clone(), &world.clock)), plain()).unwrap();
    let watch = kept.watch();
    let kept = kept.wait().unwrap();
    assert_eq!((watch.name(), watch.state()), ("backup", JobState::Done));
    assert_eq!(watch.standing().all_records, kept.stats.seen);
    let taken = snapshot(&repo, kept.id.unwrap());
    let target = MemoryTarget::default();
    let back = job::restore(&repo, taken.clone(), Box::new(target.clone()), RestoreOptions::default()).unwrap();
    assert!(back.wait().unwrap().complete);
    assert_same(&target.held(), &state, "by a job");
    assert!(job::verify(&repo, vec![taken.clone()], THOROUGH).unwrap().wait().unwrap().findings.is_empty());
    let plan = plan_named(&repo, std::slice::from_ref(&taken), true).unwrap();
    assert_eq!(job::forget(&repo, plan).unwrap().wait().unwrap().forgotten, [taken.id]);
    let pruned = job::prune(&repo, PruneOptions::default()).unwrap().wait().unwrap();
    assert!(pruned.deleted.packs > 0 && pruned.failures.is_empty(), "{:?}", pruned.failures);
}

#[test]
fn a_cancelled_job_commits_nothing_and_leaves_the_others_alone() {
    let (world, repo) = World::new();
    let there = Arc::new(Barrier::new(2));
    let (go, begin) = std::sync::mpsc::channel::<()>();
    let doomed = MemorySource::of(sample(1, 50, 50), &world.clock);
    let fine = MemorySource {
        meet: Some(Arc::clone(&there)),
        name: "fine".to_owned(),
        ..MemorySource::of(sample(2, 50, 50), &world.clock)
    };
    let of = repo.clone();
    let stopped = Job::start("backup", move |told| {
        begin.recv().unwrap();
        rekeep::ops::backup::backup(&of, &doomed, &plain(), told)
    })
    .unwrap();
    let other = job::backup(&repo, Box::new(fine), plain()).unwrap();
    let watch = stopped.watch();
    watch.cancel();
    assert_eq!(watch.state(), JobState::Cancelling);
    go.send(()).unwrap();
    there.wait();
    assert!(stopped.wait().unwrap_err().is_interruption());
    assert!(watch.wait_for_end(Duration::ZERO));
    assert_eq!(watch.state(), JobState::Cancelled);
    let kept = other.wait().unwrap();
    assert_eq!(repo.snapshots().unwrap().iter().map(|it| it.id).collect::<Vec<_>>(), [kept.id.unwrap()]);
}

#[test]
fn whoever_listens_hears_what_a_job_tells_and_may_cancel_it() {
    let (world, repo) = World::new();
    let heard = Arc::new(Heard::default());
    heard.cancel_after.store(100, Ordering::Relaxed);
    let source = MemorySource::of(sample(4, 2_000, 20), &world.clock);
    let of = repo.clone();
    let job = Job::start_heard("backup", heard.clone(), move |told| {
        rekeep::ops::backup::backup(&of, &source, &plain(), told)
    });
    let error = job.unwrap().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(heard.records() >= 100);
    assert!(repo.snapshots().unwrap().is_empty());
}
