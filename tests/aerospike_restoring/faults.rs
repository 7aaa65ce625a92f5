//! Nothing is lost when connections break, nodes die and servers are busy.

use crate::{
    cluster::{Restore, assert_same, kept, start, url},
    support::world::{Heard, snapshot},
};
use rekeep::{
    connector::{Overwrite, aerospike::AerospikeTarget},
    ops::{OpsError, restore::restore},
};
use rekeep_aerospike_server::{Action, At, Command, Config, Fault, Handle, Server};
use std::time::Duration;

#[test]
fn answers_cut_anywhere_lose_nothing() {
    let (server, _world, repo, id) = kept(1, 1_500, 11);
    for at in [At::Start, At::Records(0), At::Records(37), At::Bytes(5), At::Bytes(300), At::End] {
        let to = start(1);
        to.fault(Fault::new(at, Action::Cut).on(Command::Batch).after_requests(2).times(3));
        let outcome = Restore::of(&repo, id).run(&to);
        let counts = &outcome.outcomes;
        // What was sent twice without an answer may count as found.
        assert_eq!((counts.inserted + counts.existed, counts.failed), (1_500, 0), "{at:?}");
        assert_same(&server, &to);
        assert_eq!(to.faults_waiting(), 0, "{at:?}");
    }
}

#[test]
fn overload_and_refused_commands_are_tried_again() {
    let (server, _world, repo, id) = kept(1, 800, 12);
    for code in [8, 9, 11, 14, 18] {
        let to = start(1);
        to.fault(Fault::new(At::Start, Action::Refuse(code)).on(Command::Batch).times(3));
        to.fault(Fault::new(At::Records(10), Action::Refuse(code)).on(Command::Batch).after_requests(4).times(2));
        let outcome = Restore::of(&repo, id).overwrite(Overwrite::Always).run(&to);
        assert_eq!((outcome.outcomes.failed, outcome.complete), (0, true), "{code}");
        assert_same(&server, &to);
    }
}

#[test]
fn a_lie_in_an_answer_is_no_success() {
    let (server, _world, repo, id) = kept(1, 400, 13);
    let faults = [
        Action::LieAboutLength(7),
        Action::LieAboutLength(-3),
        Action::Insert(vec![0xff; 9]),
        Action::Overwrite(vec![9; 30]),
    ];
    for action in faults {
        let to = start(1);
        to.fault(Fault::new(At::Records(5), action.clone()).on(Command::Batch));
        let options = |options: &mut rekeep::connector::aerospike::AerospikeOptions| {
            options.socket_timeout = Duration::from_millis(500);
        };
        Restore::of(&repo, id).overwrite(Overwrite::Always).options(options).run(&to);
        assert_same(&server, &to);
    }
}

#[test]
fn a_node_that_dies_on_the_way_loses_no_record() {
    let (server, _world, repo, id) = kept(1, 3_000, 14);
    let to = Server::start(Config { replication_factor: 2, ..Config::with_nodes(3) }).unwrap();
    to.fault(Fault::run(At::Records(20), |control| control.kill_node(1)).on(Command::Batch).node(1).after_requests(2));
    let outcome = Restore::of(&repo, id).overwrite(Overwrite::Always).how(|how| how.batch_size = 64).run(&to);
    assert_eq!((outcome.outcomes.failed, to.faults_waiting()), (0, 0));
    assert_same(&server, &to);
}

#[test]
fn single_writes_survive_cuts_as_well() {
    let (server, _world, repo, id) = kept(1, 300, 15);
    let to = start(1);
    to.fault(Fault::new(At::End, Action::Cut).on(Command::Write).after_requests(30).times(4));
    to.fault(Fault::new(At::Start, Action::Refuse(18)).on(Command::Write).after_requests(100).times(4));
    let outcome = Restore::of(&repo, id).how(|how| how.disable_batch_writes = true).run(&to);
    assert_eq!((outcome.outcomes.inserted + outcome.outcomes.existed, outcome.outcomes.failed), (300, 0));
    assert_same(&server, &to);
}

#[test]
fn what_never_gets_through_ends_the_restore_with_the_reason() {
    let (server, _world, repo, id) = kept(1, 600, 16);
    let to = start(1);
    to.fault(Fault::new(At::Start, Action::Refuse(8)).on(Command::Batch).after_requests(2).always());
    let restore = Restore::of(&repo, id).options(|options| options.partition_timeout = Duration::from_millis(400));
    let error = restore.error(&to);
    assert!(error.contains("make room") && error.contains("the same command goes on"), "{error}");
    to.clear_faults();
    let rest = Restore::of(&repo, id).run(&to);
    assert!(rest.complete && rest.outcomes.inserted + rest.outcomes.existed == 600, "{:?}", rest.outcomes);
    assert_same(&server, &to);
}

fn attempt(what: &Restore<'_>, to: &Handle, hearing: &Heard) -> OpsError {
    let target = AerospikeTarget::new(&url(to), what.options.clone(), what.how.clone()).unwrap();
    restore(what.repo, &snapshot(what.repo, what.id), &target, &what.what, hearing).unwrap_err()
}

#[test]
fn a_node_that_falls_silent_is_told_of_before_the_first_try_is_over() {
    let (server, _world, repo, id) = kept(1, 1_500, 17);
    let to = start(1);
    to.fault(Fault::run(At::Start, |control| control.silence_node(0)).on(Command::Batch).after_requests(3));
    let what = Restore::of(&repo, id).options(|options| {
        // No try fails before it has to be told that it waits.
        options.socket_timeout = Duration::from_secs(30);
        options.partition_timeout = Duration::from_hours(1);
    });
    let hearing = Heard::default();
    hearing.cancel_at.set("waiting for node BB9000000000001").unwrap();
    let error = attempt(&what, &to, &hearing);
    assert!(error.is_interruption(), "{error}");
    let told = hearing.warnings();
    assert!(told.contains("waiting for node BB9000000000001 (no answer yet), 3600 s at most"), "{told}");
    to.clear_faults();
    to.unsilence_node(0);
    assert!(Restore::of(&repo, id).overwrite(Overwrite::Always).run(&to).complete);
    assert_same(&server, &to);
}

#[test]
fn a_node_that_falls_silent_ends_the_restore_once_its_time_is_up() {
    let (server, _world, repo, id) = kept(1, 1_500, 18);
    let to = start(1);
    to.fault(Fault::run(At::Start, |control| control.silence_node(0)).on(Command::Batch).after_requests(3));
    let what = Restore::of(&repo, id).options(|options| {
        // A single try would last as long as all of them may, ten times.
        options.socket_timeout = Duration::from_secs(30);
        options.partition_timeout = Duration::from_secs(3);
    });
    let before = to.connections();
    let error = attempt(&what, &to, &Heard::default()).to_string();
    assert!(error.contains("could not be written"), "{error}");
    // Each thread had one, and who looks for the master has two more.
    assert!(to.connections() - before <= 48, "{} connections", to.connections() - before);
    to.clear_faults();
    to.unsilence_node(0);
    assert!(Restore::of(&repo, id).overwrite(Overwrite::Always).run(&to).complete);
    assert_same(&server, &to);
}

#[test]
fn a_target_that_does_not_tell_whether_it_stood_still_makes_the_restore_incomplete() {
    let (server, _world, repo, id) = kept(1, 300, 19);
    for lie in ["cluster_size=1;cluster_key=;uptime=9", "cluster_size=1;cluster_key=9F0C", "cluster_key=9F0C;uptime=9"]
    {
        let to = start(1);
        to.set_info(None, "statistics", Some(lie));
        let outcome = Restore::of(&repo, id).run(&to);
        assert!(!outcome.complete, "{lie}");
        assert!(outcome.missing.iter().any(|line| line.contains("does not tell its")), "{:?}", outcome.missing);
        assert_same(&server, &to);
    }
}
