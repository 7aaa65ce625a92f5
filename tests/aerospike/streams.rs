//! Capturing what nodes ship by XDR: nothing is acknowledged before it is in a snapshot, everything comes, deletions too.

use crate::{
    cluster::{given_back, held, plain, source_of, try_back_up},
    place::{SERVER_EPOCH_MILLIS, here},
    support::{Db, Heard, World, backend::Fault, world::assert_sound},
};
use rekeep::{
    connector::{
        Scope, Source as _, SourceUrl,
        aerospike::{
            AerospikeOptions, wire,
            xdr::{
                Change, body_of,
                center::{Center, CenterOptions},
                listener::{DONE, Listener},
            },
        },
    },
    ops::{
        OpsError,
        capture::{
            CaptureOutcome,
            live::{Live, LiveOptions, capture_live, rewind},
            stream_source,
        },
        history::history,
        stream::{StreamOptions, StreamSource},
    },
    record::{Clock as _, SystemClock, Timestamp},
    repo::{Repository, Snapshot},
};
use rekeep_aerospike_server::{Config, Handle, Seed};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::atomic::Ordering,
    time::Duration,
};

const DC: &str = "rekeep";

#[track_caller]
fn enterprise(nodes: usize) -> Handle {
    here(Config { enterprise: true, ..Config::with_nodes(nodes) })
}

fn quick() -> LiveOptions {
    LiveOptions {
        every: Duration::from_millis(60),
        idle: Duration::from_millis(20),
        poll: Duration::from_millis(20),
        once: true,
        ..LiveOptions::default()
    }
}

fn center(server: &Handle, address: &str, name: &str, rewind: Option<u64>) -> Center {
    let url = SourceUrl::parse(&format!("aerospike://{}/test", server.address(0))).unwrap();
    let options = CenterOptions {
        name: name.to_owned(),
        address: address.to_owned(),
        rewind,
        max_throughput: Some(1000),
        forward: true,
    };
    Center::connect(&url, &AerospikeOptions::default(), options).unwrap()
}

fn listener() -> Listener {
    Listener::open("127.0.0.1:0".parse().unwrap(), "test", 1 << 20).unwrap()
}

struct Capture {
    listener: Listener,
    center: Center,
    source: StreamSource,
}

impl Capture {
    fn of(server: &Handle, repo: &Repository) -> Self {
        Self::back(server, repo, 0)
    }

    /// One to which nodes ship what was made in so many seconds before.
    fn back(server: &Handle, repo: &Repository, rewind: u64) -> Self {
        let listener = listener();
        let center = center(server, &listener.address().to_string(), DC, Some(rewind));
        let source = stream_source(repo, &center.identity(), Scope::default(), "aerospike://x/test", None);
        Self { listener, center, source }
    }

    fn run(&self, repo: &Repository, options: &LiveOptions, heard: &Heard) -> Result<CaptureOutcome, OpsError> {
        let stream = StreamOptions { compression: 1, supersede: true, ..StreamOptions::default() };
        capture_live(&Live {
            repo,
            center: &self.center,
            listener: &self.listener,
            source: &self.source,
            stream: &stream,
            options,
            progress: heard,
        })
    }
}

fn newest(repo: &Repository) -> Snapshot {
    repo.snapshots().unwrap().pop().unwrap()
}

fn newest_if_any(repo: &Repository) -> Option<Snapshot> {
    repo.snapshots().unwrap().pop()
}

/// What the newest snapshot gives back, and what it should.
fn shown(repo: &Repository) -> Db {
    given_back(repo, newest(repo).id)
}

fn there(server: &Handle, repo: &Repository) -> Db {
    held(server, &["test"], newest(repo).content.end)
}

#[test]
fn everything_that_is_there_comes_once_and_transactions_are_held_up_for_the_end() {
    let server = enterprise(3);
    server.put_all("test", (0..700).map(|n| Seed::int(n).set("s").bin_int("n", n)));
    let (_world, repo) = World::new();
    let capture = Capture::of(&server, &repo);
    let heard = Heard::default();
    let outcome = capture.run(&repo, &quick(), &heard).unwrap();
    assert!(outcome.complete, "{:?} {}", outcome.problems, heard.warnings());
    assert_eq!(outcome.changes, 700);
    assert_eq!(shown(&repo), there(&server, &repo));
    let taken = newest(&repo);
    assert!(taken.content.complete && taken.collections[0].journal.is_some(), "{:?}", taken.content.problems);
    assert_sound(&repo);
    assert!(server.data_centers().is_empty(), "it is taken away again");
    assert!(server.holding().is_empty(), "transactions go on");
    for node in 0..3 {
        let orders: Vec<String> =
            server.orders().into_iter().filter(|(on, _)| *on == node).map(|(_, order)| order).collect();
        let kinds: Vec<&str> = orders
            .iter()
            .map(|order| {
                let words = [
                    "action=create",
                    "connector=",
                    "node-address-port=",
                    "max-throughput=",
                    "rewind=",
                    "forward=",
                    "disable-mrt-writes=true",
                    "disable-mrt-writes=false",
                    "action=delete",
                ];
                words.into_iter().find(|word| order.contains(word)).unwrap()
            })
            .collect();
        assert_eq!(
            kinds,
            [
                "action=create",
                "connector=",
                "node-address-port=",
                "max-throughput=",
                "rewind=",
                "forward=",
                "disable-mrt-writes=true",
                "disable-mrt-writes=false",
                "action=delete"
            ],
            "node {node}"
        );
    }
}

#[test]
fn what_is_shipped_twice_is_kept_once() {
    let server = enterprise(2);
    server.ship_twice(true);
    server.put_all("test", (0..300).map(|n| Seed::int(n).bin_int("n", n)));
    let (_world, repo) = World::new();
    Capture::of(&server, &repo).run(&repo, &quick(), &Heard::default()).unwrap();
    assert_eq!(shown(&repo), there(&server, &repo));
    let rows: u64 = newest(&repo).collections[0].stack.iter().map(|layer| layer.rows).sum();
    assert_eq!(rows, 300);
}

#[test]
fn an_empty_namespace_is_captured_as_one() {
    let server = enterprise(1);
    let (_world, repo) = World::new();
    let outcome = Capture::of(&server, &repo).run(&repo, &quick(), &Heard::default()).unwrap();
    assert_eq!((outcome.changes, outcome.commits), (0, 1));
    assert!(newest(&repo).content.complete);
}

/// A capture that runs.
struct Running<'a>(&'a dyn Fn() -> bool);

impl Running<'_> {
    /// Waits until it is so, or the capture has ended: then it never will be, and what the capture says is the answer.
    fn until(&self, what: impl Fn() -> bool) {
        while !what() && !(self.0)() {
            std::thread::yield_now();
        }
    }
}

/// Runs beside `during` until that is done.
fn beside(
    server: &Handle,
    repo: &Repository,
    options: &LiveOptions,
    during: impl FnOnce(&Handle, &Running<'_>),
) -> Result<CaptureOutcome, OpsError> {
    let capture = Capture::of(server, repo);
    let heard = Heard::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| capture.run(repo, options, &heard));
        during(server, &Running(&|| running.is_finished()));
        heard.cancel.store(true, Ordering::Relaxed);
        running.join().unwrap()
    })
}

#[test]
fn changes_and_deletions_come_as_they_are_made() {
    let server = enterprise(2);
    let digests: Vec<_> = (0..50).map(|n| server.put("test", Seed::int(n).bin_int("n", n))).collect();
    let (_world, repo) = World::new();
    let options = LiveOptions { once: false, ..quick() };
    let outcome = beside(&server, &repo, &options, |server, running| {
        running.until(|| server.shipped().0 >= 50);
        for digest in &digests[..10] {
            assert!(server.bury("test", digest));
        }
        server.advance(Duration::from_secs(2));
        for digest in &digests[10..30] {
            server.touch("test", digest);
        }
        running.until(|| server.shipped().0 >= 80);
    })
    .unwrap();
    assert_eq!((outcome.changes, outcome.deletions), (80, 10));
    assert_eq!(shown(&repo), there(&server, &repo));
    // It goes on where it was: the data center stays, and so do all versions.
    assert_eq!(server.data_centers().len(), 2);
    let key = format!("digest:{}", data_encoding::HEXLOWER.encode(&digests[20]));
    let all = repo.snapshots().unwrap();
    let found = history(&repo, &all, "test", &key, None, None, &Heard::default()).unwrap();
    assert_eq!(found.versions.iter().map(|it| it.generation).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_sound(&repo);
}

#[test]
fn a_node_that_comes_gets_the_data_center_too() {
    let server = enterprise(2);
    let (_world, repo) = World::new();
    let options = LiveOptions { once: false, ..quick() };
    beside(&server, &repo, &options, |server, running| {
        running.until(|| server.data_centers().len() == 2);
        server.add_node().unwrap();
        running.until(|| server.data_centers().len() == 3);
        server.put_all("test", (0..100).map(|n| Seed::int(n).bin_int("n", n)));
        running.until(|| server.shipped().0 >= 100);
    })
    .unwrap();
    assert_eq!(shown(&repo), there(&server, &repo));
}

#[test]
fn a_name_that_another_data_center_bears_is_refused_and_that_one_stays() {
    let server = enterprise(1);
    let (_world, repo) = World::new();
    let other = center(&server, "127.0.0.1:9", DC, None);
    other.spread().unwrap();
    for once in [false, true] {
        let options = LiveOptions { once, ..quick() };
        let refused = Capture::of(&server, &repo).run(&repo, &options, &Heard::default());
        assert!(refused.unwrap_err().to_string().contains("not ours"));
        assert_eq!(server.data_centers().len(), 1);
    }
    // A person may say that it is to go.
    center(&server, "", DC, None).remove_any().unwrap();
    assert!(server.data_centers().is_empty());
}

#[test]
fn nodes_that_never_ship_are_an_error_and_transactions_go_on() {
    let server = enterprise(1);
    server.put("test", Seed::int(1).bin_int("n", 1));
    server.ship_nothing(true);
    let (_world, repo) = World::new();
    let options = LiveOptions { start_timeout: Duration::from_millis(50), ..quick() };
    let error = Capture::of(&server, &repo).run(&repo, &options, &Heard::default()).unwrap_err();
    assert!(error.to_string().contains("nothing was shipped"), "{error}");
    assert!(server.holding().is_empty() && server.data_centers().is_empty());
    assert!(repo.snapshots().unwrap().is_empty());
}

/// A node takes the order to ship before it counts what it has to.
#[test]
fn a_node_that_has_counted_nothing_yet_has_not_shipped_everything() {
    let server = enterprise(1);
    server.put_all("test", (0..5).map(|n| Seed::int(n).bin_int("n", n)));
    server.count_nothing(true);
    server.ship_nothing(true);
    let (_world, repo) = World::new();
    let options = LiveOptions { start_timeout: Duration::from_millis(50), ..quick() };
    let error = Capture::of(&server, &repo).run(&repo, &options, &Heard::default()).unwrap_err();
    assert!(error.to_string().contains("nothing was shipped"), "{error}");
    assert!(repo.snapshots().unwrap().is_empty());
    server.ship_nothing(false);
    let outcome = Capture::of(&server, &repo).run(&repo, &quick(), &Heard::default()).unwrap();
    assert!(outcome.complete && outcome.changes == 5, "{outcome:?}");
    assert_eq!(shown(&repo), there(&server, &repo));
}

#[test]
fn records_by_far_more_than_were_shipped_are_named() {
    let server = enterprise(1);
    server.put("test", Seed::int(0).bin_int("n", 0));
    let (_world, repo) = World::new();
    let options = LiveOptions { once: false, ..quick() };
    beside(&server, &repo, &options, |server, running| running.until(|| server.shipped().0 > 0)).unwrap();
    // What goes on ships what it has not; a new one everything, and here it does not.
    center(&server, "", DC, None).remove_any().unwrap();
    server.put_all("test", (1..5).map(|n| Seed::int(n).bin_int("n", n)));
    server.ship_nothing(true);
    server.count_nothing(true);
    let capture = Capture::of(&server, &repo);
    let listener = capture.listener.address().to_string();
    let mut node = TcpStream::connect(&listener).unwrap();
    node.write_all(&shipped_as(b"test", 1)).unwrap();
    let options = LiveOptions { start_timeout: Duration::from_millis(50), ..quick() };
    let outcome = capture.run(&repo, &options, &Heard::default()).unwrap();
    assert!(!outcome.complete && outcome.problems[0].contains("5 records are in the namespace"), "{outcome:?}");
}

/// `null` is the name of all that nobody named.
#[test]
fn another_cluster_without_a_name_does_not_go_on_with_the_snapshots_of_one() {
    let (_world, repo) = World::new();
    let first = enterprise(1);
    first.put_all("test", (0..20).map(|n| Seed::int(n).bin_int("n", n)));
    Capture::of(&first, &repo).run(&repo, &quick(), &Heard::default()).unwrap();
    assert_eq!(newest(&repo).content.attributes["nodes"].as_array().unwrap().len(), 1);
    let nodes = vec!["BC1DEADBEEF0002".to_owned()];
    let second = here(Config { enterprise: true, node_ids: nodes, ..Config::with_nodes(1) });
    second.put("test", Seed::int(100).bin_int("n", 100));
    let error = Capture::back(&second, &repo, 60).run(&repo, &quick(), &Heard::default()).unwrap_err();
    assert!(error.to_string().contains("has no name and none of the nodes"), "{error}");
    assert!(repo.snapshots().unwrap().len() == 1 && second.data_centers().is_empty());
    let options = LiveOptions { chosen: true, ..quick() };
    Capture::of(&second, &repo).run(&repo, &options, &Heard::default()).unwrap();
}

#[test]
fn a_community_edition_says_that_it_cannot() {
    let server = here(Config::with_nodes(1));
    let (_world, repo) = World::new();
    let error = Capture::of(&server, &repo).run(&repo, &quick(), &Heard::default()).unwrap_err();
    assert!(error.to_string().contains("enterprise"), "{error}");
}

#[test]
fn names_that_no_server_takes_are_refused() {
    let server = enterprise(1);
    let url = SourceUrl::parse(&format!("aerospike://{}/test", server.address(0))).unwrap();
    for name in ["", "a b", "a;b", &"x".repeat(32)] {
        let options = CenterOptions {
            name: name.to_owned(),
            address: String::new(),
            rewind: None,
            max_throughput: None,
            forward: false,
        };
        assert!(Center::connect(&url, &AerospikeOptions::default(), options).is_err(), "{name}");
    }
}

#[test]
fn what_cannot_be_kept_is_shipped_again_and_nothing_is_lost() {
    let server = enterprise(2);
    server.put_all("test", (0..40).map(|n| Seed::int(n).bin_int("n", n)));
    let (world, repo) = World::new();
    let capture = Capture::of(&server, &repo);
    let heard = Heard::default();
    // Long enough that storage is there again before a capture gives up.
    let options = LiveOptions { once: false, poll: Duration::from_millis(300), ..quick() };
    let outcome = std::thread::scope(|scope| {
        world.backend.arm(1, Fault::Refuses("create snapshots/"));
        let captures = scope.spawn(|| capture.run(&repo, &options, &heard));
        let running = Running(&|| captures.is_finished());
        running.until(|| server.shipped().1 >= 40);
        assert_eq!(server.shipped().0, 0, "nothing is acknowledged that is not in a snapshot");
        assert!(world.backend.disarm());
        running.until(|| server.shipped().0 >= 40);
        heard.cancel.store(true, Ordering::Relaxed);
        captures.join().unwrap()
    })
    .unwrap();
    assert!(outcome.complete && outcome.changes == 40, "{outcome:?}");
    assert!(heard.warnings().contains("are shipped again"), "{}", heard.warnings());
    assert_eq!(shown(&repo), there(&server, &repo));
    assert_sound(&repo);
}

#[test]
fn a_node_that_restarts_gets_the_data_center_again() {
    let server = enterprise(2);
    let (_world, repo) = World::new();
    let options = LiveOptions { once: false, ..quick() };
    let outcome = beside(&server, &repo, &options, |server, running| {
        running.until(|| server.data_centers().len() == 2);
        server.kill_node(1);
        assert!(server.data_centers().iter().all(|(node, _)| *node == 0), "it forgets what it was told while it ran");
        server.revive_node(1).unwrap();
        running.until(|| server.data_centers().len() == 2);
        server.put_all("test", (0..100).map(|n| Seed::int(n).bin_int("n", n)));
        running.until(|| server.shipped().0 >= 100);
    });
    assert!(outcome.unwrap().complete);
    assert_eq!(shown(&repo), there(&server, &repo));
}

/// What the first run left is older than the snapshot that it made.
#[test]
fn what_a_first_run_did_not_ship_comes_although_its_data_center_was_taken_away() {
    let server = enterprise(1);
    server.put_all("test", (0..700).map(|n| Seed::int(n).bin_int("n", n)));
    server.advance(Duration::from_hours(1));
    let (_world, repo) = World::new();
    let options = LiveOptions { once: false, remove: true, ..quick() };
    let outcome = beside(&server, &repo, &options, |server, running| running.until(|| server.shipped().0 > 0));
    assert!(outcome.unwrap().changes < 700 && server.data_centers().is_empty());
    assert!(!newest(&repo).content.complete);
    let source = Capture::of(&server, &repo).source;
    let again = Capture::back(&server, &repo, rewind(&repo, &source, Timestamp::default()).unwrap());
    let outcome = again.run(&repo, &quick(), &Heard::default()).unwrap();
    assert!(outcome.complete && newest(&repo).content.complete);
    assert_eq!(shown(&repo), there(&server, &repo));
    // From here on only what was made since.
    let since = rewind(&repo, &source, Timestamp::default()).unwrap();
    assert!(since > 0, "{since}");
    server.put_all("test", (700..710).map(|n| Seed::int(n).bin_int("n", n)));
    let outcome = Capture::back(&server, &repo, since).run(&repo, &quick(), &Heard::default()).unwrap();
    assert_eq!(outcome.changes, 10);
    assert_eq!(shown(&repo), there(&server, &repo));
}

#[test]
fn a_data_center_that_shipped_to_another_repository_is_made_anew() {
    let server = enterprise(2);
    server.put_all("test", (0..50).map(|n| Seed::int(n).bin_int("n", n)));
    let ((_world, repo), (_other_world, other)) = (World::new(), World::new());
    let capture = Capture::of(&server, &other);
    let options = LiveOptions { once: false, ..quick() };
    let heard = Heard::default();
    std::thread::scope(|scope| {
        let captures = scope.spawn(|| capture.run(&other, &options, &heard));
        Running(&|| captures.is_finished()).until(|| server.shipped().0 >= 50);
        heard.cancel.store(true, Ordering::Relaxed);
        captures.join().unwrap().unwrap();
    });
    assert_eq!(server.data_centers().len(), 2);
    let outcome = capture.run(&repo, &quick(), &Heard::default()).unwrap();
    assert!(outcome.complete && newest(&repo).content.complete);
    assert_eq!(shown(&repo), there(&server, &repo));
}

#[test]
fn a_node_that_forgot_its_data_center_ships_what_it_had_not_and_not_everything() {
    let server = enterprise(1);
    server.put_all("test", (0..20).map(|n| Seed::int(n).bin_int("n", n)));
    server.advance(Duration::from_hours(1));
    let (_world, repo) = World::new();
    let options = LiveOptions { once: false, ..quick() };
    let outcome = beside(&server, &repo, &options, |server, running| {
        // A snapshot that says so is made when nodes were asked.
        running.until(|| newest_if_any(&repo).is_some_and(|newest| newest.content.complete));
        server.kill_node(0);
        server.revive_node(0).unwrap();
        running.until(|| !server.data_centers().is_empty());
        server.put_all("test", (20..30).map(|n| Seed::int(n).bin_int("n", n)));
        running.until(|| server.shipped().0 >= 30);
    });
    assert_eq!(outcome.unwrap().changes, 30);
    assert_eq!(shown(&repo), there(&server, &repo));
}

#[test]
fn a_stream_that_begins_behind_what_was_there_is_not_complete() {
    let server = enterprise(1);
    server.put_all("test", (0..20).map(|n| Seed::int(n).bin_int("n", n)));
    server.advance(Duration::from_hours(1));
    server.put_all("test", (20..30).map(|n| Seed::int(n).bin_int("n", n)));
    let (_world, repo) = World::new();
    let options = LiveOptions { gap: Some("what was there before is in no snapshot".to_owned()), ..quick() };
    let outcome = Capture::back(&server, &repo, 60).run(&repo, &options, &Heard::default()).unwrap();
    assert!(!outcome.complete && outcome.changes == 10, "{outcome:?}");
    assert!(newest(&repo).content.problems.iter().any(|problem| problem.contains("in no snapshot")));
    Capture::back(&server, &repo, 60).run(&repo, &quick(), &Heard::default()).unwrap();
    assert!(!newest(&repo).content.complete);
}

/// A backup is stamped by the cluster's clock, whatever this machine's says.
#[test]
fn nodes_ship_since_a_backup_by_the_clock_that_stamped_it() {
    let server = enterprise(1);
    let ahead = SystemClock.now().as_millis() - SERVER_EPOCH_MILLIS + 300_000;
    server.set_now_ms(ahead);
    server.put_all("test", (0..5).map(|n| Seed::int(n).bin_int("n", n)));
    let (_world, repo) = World::new();
    let url = format!("aerospike://{}/test", server.address(0));
    let reader = source_of(&url, crate::cluster::quick());
    try_back_up(&repo, &url, crate::cluster::quick(), &plain()).unwrap();
    let center = center(&server, "", DC, None);
    let source = stream_source(&repo, &center.identity(), reader.scope(), &url, None);
    server.advance(Duration::from_mins(10));
    let seconds = rewind(&repo, &source, center.now(&AerospikeOptions::default())).unwrap();
    assert!((660..1000).contains(&seconds), "{seconds}");
}

/// Whichever step a node restarts at, it gets the whole data center, and what it had is shipped.
#[test]
fn a_node_that_restarts_while_it_is_told_is_told_again() {
    for step in ["action=create", "connector=", "node-address-port=", "max-throughput=", "rewind=", "forward="] {
        let server = enterprise(2);
        server.put_all("test", (0..40).map(|n| Seed::int(n).bin_int("n", n)));
        server.restart_at_order(step, 3);
        let (_world, repo) = World::new();
        let outcome = Capture::of(&server, &repo).run(&repo, &quick(), &Heard::default());
        let outcome = outcome.unwrap_or_else(|error| panic!("{step}: {error}"));
        // What had been shipped before the restart is shipped again.
        assert!(outcome.complete && outcome.changes >= 40, "{step}: {outcome:?}");
        assert_eq!(shown(&repo), there(&server, &repo), "{step}");
        assert!(server.data_centers().is_empty(), "{step}");
    }
}

#[test]
fn a_step_that_is_refused_ends_the_capture_and_leaves_nothing_half_made() {
    for step in ["connector=", "node-address-port=", "max-throughput=", "rewind=", "forward="] {
        let server = enterprise(2);
        server.refuse_order(Some(step));
        let (_world, repo) = World::new();
        for once in [false, true] {
            let options = LiveOptions { once, ..quick() };
            let refused = Capture::of(&server, &repo).run(&repo, &options, &Heard::default());
            let said = refused.unwrap_err().to_string();
            assert!(said.contains(step) && said.contains("bad parameters"), "{said}");
            assert!(server.data_centers().is_empty(), "{step}");
        }
        server.refuse_order(None);
        Capture::of(&server, &repo).run(&repo, &quick(), &Heard::default()).unwrap();
    }
}

/// What a kill between two steps leaves is ours, and made anew.
#[test]
fn a_data_center_that_was_left_half_made_is_made_whole() {
    let server = enterprise(1);
    server.put_all("test", (0..20).map(|n| Seed::int(n).bin_int("n", n)));
    let (_world, repo) = World::new();
    let capture = Capture::of(&server, &repo);
    let address = capture.listener.address();
    for order in ["action=create", "connector=true", &format!("node-address-port={address};action=add")] {
        assert_eq!(server.ask(0, &format!("set-config:context=xdr;dc={DC};{order}")), "ok");
    }
    let outcome = capture.run(&repo, &quick(), &Heard::default()).unwrap();
    assert!(outcome.complete && outcome.changes == 20, "{outcome:?}");
    assert_eq!(shown(&repo), there(&server, &repo));
}

/// Runs the command without a repository.
fn command(server: &Handle, more: &[&str]) {
    let url = format!("aerospike://{}/test", server.address(0));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rekeep"));
    let ran = command.args(["capture", &url, "--dc", DC]).args(more).env_remove("REKEEP_REPOSITORY").output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn what_a_killed_capture_left_on_the_nodes_is_taken_away_by_name() {
    let server = enterprise(3);
    let killed = center(&server, "127.0.0.1:9", DC, None);
    killed.spread().unwrap();
    killed.hold_transactions(true).unwrap();
    drop(killed);
    assert_eq!((server.data_centers().len(), server.holding().len()), (3, 3));
    command(&server, &["--unblock-mrt"]);
    assert_eq!((server.data_centers().len(), server.holding().len()), (3, 0));
    command(&server, &["--stop-xdr"]);
    assert!(server.data_centers().is_empty());
    // Where nothing is left there is nothing to do.
    command(&server, &["--unblock-mrt", "--stop-xdr"]);
}

/// What is shipped of a record, as it goes over the wire.
fn shipped_as(namespace: &[u8], n: u8) -> Vec<u8> {
    let put = Change::Put { generation: u32::from(n), left: None, bins: &[(b"a", 3, b"value")] };
    let body = body_of(namespace, &rekeep::record::Digest([n; 20]), b"", None, 1_764_374_400_000, &put);
    let mut out = Vec::new();
    wire::put_frame_head(&mut out, wire::KIND_MESSAGE, body.len());
    out.extend_from_slice(&body);
    out
}

#[test]
fn whatever_a_connection_ships_it_harms_no_other() {
    let listener = listener();
    let mut good = TcpStream::connect(listener.address()).unwrap();
    let whole = shipped_as(b"test", 1);
    let harmed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let torn = whole[..whole.len() - 1].to_vec();
    // Each with whether it is a fault: what is torn is shipped again by whoever was cut off.
    let cases: [(Vec<u8>, bool); 9] = [
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc".to_vec(), true),
        (vec![0xff; 4096], true),
        (harmed(1, 1), true),
        (harmed(2, 0xff), true),
        (harmed(10, 0), true),
        (shipped_as(b"other", 1), true),
        (vec![2, 3, 0, 0, 0, 0, 0, 0], true),
        (torn, false),
        (whole[..5].to_vec(), false),
    ];
    let (mut kept, mut faults, mut expected) = (0, 0, 0);
    for (number, (bytes, is_fault)) in cases.into_iter().enumerate() {
        let mut bad = TcpStream::connect(listener.address()).unwrap();
        // It may be closed while it is still written to.
        let _ = bad.write_all(&bytes);
        let _ = bad.shutdown(Shutdown::Write);
        let _ = bad.read_to_end(&mut Vec::new());
        expected += u64::from(is_fault);
        good.write_all(&shipped_as(b"test", number as u8 + 1)).unwrap();
        while kept <= number || faults < expected {
            let Some(taken) = listener.take(Duration::ZERO, Duration::ZERO, &|| true) else {
                std::thread::yield_now();
                continue;
            };
            kept += taken.batch.len();
            faults += taken.faults.len() as u64;
            assert_eq!(taken.answer(DONE), 0, "case {number}");
        }
        let mut answer = [0; 30];
        good.read_exact(&mut answer).unwrap();
        assert_eq!((answer[13], kept, listener.faults()), (DONE, number + 1, expected), "case {number}");
    }
}
