//! Expiries come back within two seconds, by the server's clock.

use crate::{
    cluster::{Restore, assert_same, back_up, start},
    support::World,
};
use rekeep::connector::Overwrite;
use rekeep_aerospike_server::{At, ClockMode, Command, Config, Fault, Seed, Server};
use std::time::Duration;

/// 2031: far from any clock of the host.
const FAR_MS: i64 = 662_688_000_000;

#[test]
fn expiries_are_kept_whatever_the_clock_of_this_host_says() {
    let server = Server::start(Config { clock: ClockMode::Running(FAR_MS), ..Config::with_nodes(1) }).unwrap();
    server.put_all("test", (0..500).map(|n| Seed::int(n).ttl(5_000 + n as u32).bin_int("n", n)));
    server.put("test", Seed::int(1_000).bin_int("for ever", 1));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    let to = Server::start(Config { clock: ClockMode::Running(FAR_MS + 60_000), ..Config::with_nodes(1) }).unwrap();
    to.with_namespace("test", |namespace| namespace.config.default_ttl = 77);
    let outcome = Restore::of(&repo, id).run(&to);
    assert_eq!((outcome.outcomes.inserted, outcome.outcomes.failed), (501, 0));
    assert_same(&server, &to);
}

#[test]
fn what_is_over_by_the_servers_clock_is_not_written() {
    let server = start(1);
    server.put_all("test", (0..10).map(|n| Seed::int(n).ttl(if n < 4 { 100 } else { 10_000 }).bin_int("n", n)));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    let to = start(1);
    to.advance(Duration::from_secs(5_000));
    let outcome = Restore::of(&repo, id).run(&to);
    assert_eq!((outcome.outcomes.inserted, outcome.outcomes.expired, outcome.complete), (6, 4, true));
    let longer =
        Restore::of(&repo, id).overwrite(Overwrite::Never).how(|how| how.extra_ttl = Duration::from_mins(100)).run(&to);
    assert_eq!((longer.outcomes.inserted, longer.outcomes.existed), (4, 6));
    let short = to.get("test", &Seed::int(0).digest()).unwrap().void_time;
    assert!(short.abs_diff(504_921_600 + 6_100) <= 2, "{short}");
}

#[test]
fn expiries_are_put_right_when_a_clock_jumps_on_the_way() {
    let server = start(1);
    server.put_all("test", (0..300).map(|n| Seed::int(n).ttl(50_000).bin_int("n", n)));
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    for overwrite in [Overwrite::Always, Overwrite::Never] {
        let to = start(1);
        let jump = |control: &rekeep_aerospike_server::Control| control.advance(Duration::from_mins(10));
        to.fault(Fault::run(At::Start, jump).on(Command::Batch).after_requests(1));
        let outcome = Restore::of(&repo, id).overwrite(overwrite).how(|how| how.max_async_batches = 1).run(&to);
        assert_eq!((outcome.outcomes.inserted, outcome.outcomes.failed), (300, 0));
        assert_same(&server, &to);
    }
}
