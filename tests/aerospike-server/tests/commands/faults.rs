//! Faults on demand: each does what it says, where it was told to, and as often.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rekeep_aerospike_server::codes::{field, rc};
use rekeep_aerospike_server::{Action, At, Command, Config, Fault, Handle, QueryMoment, Seed, Server, digest_of};

use crate::support::{Client, Request, batch};

fn start(records: i64) -> (Handle, Client) {
    let server = Server::start(Config { query_message_bytes: 500, ..Config::default() }).unwrap();
    server.put_all("test", (0..records).map(|i| Seed::int(i).bin_int("i", i)));
    let client = Client::connect(server.address(0));
    (server, client)
}

fn all(trid: u64) -> Request {
    Request::query(trid, 0..4096)
}

#[test]
fn a_connection_is_cut_at_exactly_the_byte_that_was_asked_for() {
    let (server, _) = start(100);
    let mut whole = Client::connect(server.address(0));
    whole.send(&all(1));
    let (mut bytes, mut trid) = (0, 2);
    while bytes < 100 * 60 {
        bytes += whole.receive().unwrap().1.len() + 8;
    }
    for at in [0, 1, 7, 8, 9, 30, 600, 3001, bytes as u64 - 1] {
        server.fault(Fault::new(At::Bytes(at), Action::Cut).on(Command::Query));
        let mut client = Client::connect(server.address(0));
        client.send(&all(trid));
        trid += 1;
        assert_eq!(client.drain().len() as u64, at);
    }
    assert_eq!(server.faults_waiting(), 0);
}

#[test]
fn a_query_is_cut_after_exactly_so_many_records() {
    let (server, _) = start(1000);
    for (trid, n) in [(1, 1), (2, 17), (3, 999), (4, 0)] {
        server.fault(Fault::new(At::Records(n), Action::Cut).on(Command::Query));
        let (records, end) = Client::connect(server.address(0)).query(&all(trid));
        assert_eq!((records.len() as u64, end), (n, None));
    }
}

#[test]
fn a_query_can_end_without_its_end_cut_or_silent() {
    let (server, mut client) = start(100);
    server.fault(Fault::new(At::End, Action::Cut).on(Command::Query));
    let (records, end) = client.query(&all(1));
    assert_eq!((records.len(), end), (100, None));
    server.fault(Fault::new(At::End, Action::Silence).on(Command::Query));
    let mut client = Client::connect(server.address(0));
    client.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let (records, end) = client.query(&all(2));
    assert_eq!((records.len(), end), (100, None));
}

#[test]
fn a_stalled_answer_goes_on_when_released() {
    let (server, mut client) = start(100);
    server.fault(Fault::new(At::Records(50), Action::Stall(Duration::from_hours(1))).on(Command::Query));
    client.send(&all(1));
    client.receive().unwrap();
    server.release();
    assert!(client.rest().last().unwrap().is_last());
}

#[test]
fn commands_are_refused_with_a_code_so_many_times() {
    let (server, mut client) = start(10);
    let digest = digest_of(b"", 1, &1i64.to_be_bytes());
    server.fault(Fault::new(At::Start, Action::Refuse(rc::OVERLOAD)).on(Command::Query).times(2));
    server.fault(Fault::new(At::Start, Action::Refuse(rc::TIMEOUT)).on(Command::Read).after_requests(1));
    server.fault(Fault::new(At::Start, Action::Refuse(rc::OVERLOAD)).on(Command::Write));
    assert_eq!(client.query(&all(1)), (vec![], Some(rc::OVERLOAD)));
    assert_eq!(client.query(&all(2)), (vec![], Some(rc::OVERLOAD)));
    assert_eq!(client.query(&all(3)).0.len(), 10);
    let read = Request::get().digest(&digest);
    let codes: Vec<u8> = (0..3).map(|_| client.ask(&read).result).collect();
    assert_eq!(codes, [rc::OK, rc::TIMEOUT, rc::OK]);
    let write = Request::put().digest(&digest).write_int("i", 99);
    assert_eq!(client.ask(&write).result, rc::OVERLOAD);
    assert_eq!(server.get("test", &digest).unwrap().generation, 1, "nothing was written");
    assert_eq!(client.ask(&write).result, rc::OK);
    // In the middle of a query the code comes in its end.
    server.fault(Fault::new(At::Records(4), Action::Refuse(rc::ABORTED)).on(Command::Query));
    let (records, end) = client.query(&all(4));
    assert_eq!((records.len(), end), (4, Some(rc::ABORTED)));
}

#[test]
fn a_write_can_be_done_and_its_answer_lost_or_not_be_done_at_all() {
    let (server, _) = start(0);
    let write = |n: u8| Request::put().digest(&[n; 20]).write_int("i", 1);
    server.fault(Fault::new(At::Start, Action::Cut).on(Command::Write));
    let mut client = Client::connect(server.address(0));
    client.send(&write(1));
    assert_eq!((client.drain().len(), server.count("test")), (0, 0));
    server.fault(Fault::new(At::End, Action::Cut).on(Command::Write));
    let mut client = Client::connect(server.address(0));
    client.send(&write(2));
    assert_eq!((client.drain().len(), server.count("test")), (0, 1));
}

#[test]
fn a_batch_answer_is_late_or_half_written_with_its_rows_done() {
    let (server, _) = start(0);
    let rows: Vec<_> = (0..10u8).map(|n| Request::put().write_int("i", 1).row(u32::from(n), &[n; 20])).collect();
    server.fault(Fault::new(At::Bytes(8 + 22 * 3 + 5), Action::Cut).on(Command::Batch));
    let mut client = Client::connect(server.address(0));
    client.send(&batch(4, &rows));
    assert_eq!((client.drain().len(), server.count("test")), (8 + 22 * 3 + 5, 10));
    server.fault(Fault::new(At::Records(4), Action::Cut).on(Command::Batch));
    let mut client = Client::connect(server.address(0));
    assert_eq!(client.stream(&batch(4, &rows)).len(), 4);
    server.fault(Fault::new(At::End, Action::Stall(Duration::from_millis(300))).on(Command::Batch));
    let (mut client, start) = (Client::connect(server.address(0)), Instant::now());
    assert_eq!(client.stream(&batch(4, &rows)).len(), 11);
    assert!(start.elapsed() >= Duration::from_millis(300), "it came before it was due");
}

#[test]
fn a_frame_header_and_an_inner_length_can_lie() {
    let (server, _) = start(5);
    let mut client = Client::connect(server.address(0));
    client.send(&all(1));
    let truth = client.receive().unwrap().1.len();
    server.fault(Fault::new(At::Start, Action::LieAboutLength(1000)).on(Command::Query));
    let mut client = Client::connect(server.address(0));
    client.send(&all(2));
    client.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let bytes = client.drain();
    assert_eq!(u64::from_be_bytes(bytes[..8].try_into().unwrap()) & 0xFFFF_FFFF_FFFF, truth as u64 + 1000);
    // The first field's length is at byte 30 of the answer.
    server.fault(Fault::new(At::Bytes(30), Action::Overwrite(vec![0xFF; 4])).on(Command::Query));
    let mut client = Client::connect(server.address(0));
    client.send(&all(3));
    assert_eq!(client.receive().unwrap().1[22..26], [0xFF; 4]);
    server.fault(Fault::new(At::Bytes(8), Action::Insert(vec![0; 3])).on(Command::Query));
    let mut client = Client::connect(server.address(0));
    client.send(&all(4));
    assert_eq!(client.receive().unwrap().1[..4], [0, 0, 0, 22]);
}

#[test]
fn partitions_made_unavailable_answer_11_in_queries_and_reads() {
    let (server, mut client) = start(1000);
    server.set_unavailable(0, 0..100, true);
    let (answers, end) = client.query(&all(1));
    let unavailable: BTreeSet<u32> =
        answers.iter().filter(|a| a.result == rc::UNAVAILABLE).map(|a| a.generation).collect();
    assert_eq!((unavailable, end), ((0..100).collect(), Some(rc::OK)));
    let digest = server.dump("test").iter().map(|r| r.digest).find(|d| rekeep_aerospike_server::partition_of(d) < 100);
    assert_eq!(client.ask(&Request::get().digest(&digest.unwrap())).result, rc::UNAVAILABLE);
    server.set_unavailable(0, 0..100, false);
    assert_eq!(client.query(&all(2)).0.len(), 1000);
}

#[test]
fn a_node_dies_after_so_many_records_of_a_query_elsewhere() {
    let server = Server::start(Config { query_message_bytes: 500, ..Config::with_nodes(2) }).unwrap();
    server.put_all("test", (0..2000).map(|i| Seed::int(i).bin_int("i", i)));
    server.fault(Fault::run(At::Records(100), |control| control.kill_node(1)).on(Command::Query).node(0));
    let mut doomed = Client::connect(server.address(1));
    assert_eq!(doomed.info("status"), "ok");
    let generation = Client::connect(server.address(0)).info("peers-generation");
    let (answers, end) = Client::connect(server.address(0)).query(&all(1));
    assert_eq!(end, Some(rc::OK));
    assert!(answers.len() > 900);
    assert_eq!(doomed.drain(), b"");
    let mut client = Client::connect(server.address(0));
    assert_ne!(client.info("peers-generation"), generation);
    assert!(client.info("peers-clear-std").ends_with(",[]"));
}

#[test]
fn a_node_can_die_in_the_middle_of_its_own_answer() {
    let server = Server::start(Config { query_message_bytes: 500, ..Config::with_nodes(2) }).unwrap();
    server.put_all("test", (0..2000).map(|i| Seed::int(i).bin_int("i", i)));
    server.fault(Fault::run(At::Records(100), |control| control.kill_node(1)).on(Command::Query).node(1));
    let (answers, end) = Client::connect(server.address(1)).query(&all(1));
    assert_eq!((answers.iter().filter(|a| a.result == rc::OK).count(), end), (100, None));
}

#[test]
fn faults_nest_one_arms_the_next() {
    let (server, mut client) = start(10);
    let second = Fault::new(At::Start, Action::Refuse(rc::OVERLOAD)).on(Command::Read);
    server.fault(Fault::new(At::Records(5), Action::Arm(Box::new(second))).on(Command::Query));
    let read = Request::get().digest(&digest_of(b"", 1, &1i64.to_be_bytes()));
    assert_eq!(client.ask(&read).result, rc::OK);
    assert_eq!(client.query(&all(1)).0.len(), 10);
    assert_eq!(client.ask(&read).result, rc::OVERLOAD);
    assert_eq!(client.ask(&read).result, rc::OK);
}

#[test]
fn a_hook_changes_records_in_the_middle_of_a_query() {
    let (server, mut client) = start(2000);
    let last = server.dump("test").pop().unwrap().digest;
    let moments = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&moments);
    server.on_query(move |control, event| match event.moment {
        QueryMoment::Begun => assert_eq!(event.trid, 7),
        QueryMoment::Sent(n) => {
            seen.store(n, Ordering::SeqCst);
            control.delete("test", &last);
        }
        QueryMoment::Ended => {}
    });
    let (records, end) = client.query(&all(7));
    assert_eq!((records.len(), end), (1999, Some(rc::OK)));
    assert!(records.iter().all(|record| record.digest() != last));
    assert_eq!(moments.load(Ordering::SeqCst), 1999);
}

#[test]
fn clocks_of_nodes_may_differ() {
    let server = Server::start(Config::with_nodes(2)).unwrap();
    server.set_clock_offset_ms(1, -5000);
    let write = |node: usize, n: u8| {
        Client::connect(server.address(node)).ask(&Request::put().digest(&[n; 20]).ttl(60).write_int("i", 1)).void_time
    };
    assert_eq!(write(0, 1) - write(1, 2), 5);
    let lut = |n: u8| server.get("test", &[n; 20]).unwrap().lut_ms;
    assert_eq!(lut(1) - lut(2), 5000);
}

#[test]
fn expiry_takes_records_from_scans_at_once_and_from_the_store_when_reaped() {
    let (server, mut client) = start(3);
    server.put("test", Seed::string("short").ttl(10).bin_int("i", 1));
    server.advance(Duration::from_secs(10));
    assert_eq!(client.query(&all(1)).0.len(), 4, "it lives through the second of its void-time");
    server.advance(Duration::from_secs(1));
    assert_eq!(client.query(&all(2)).0.len(), 3);
    assert_eq!((server.count("test"), server.reap("test"), server.count("test")), (4, 1, 3));
}

#[test]
fn records_per_second_and_a_query_over_a_few_partitions_are_taken() {
    let (server, mut client) = start(5000);
    let few = Request::query(1, [1, 2, 3]).field(field::RPS, &100u32.to_be_bytes());
    let (records, end) = client.query(&few);
    assert_eq!(end, Some(rc::OK));
    let wanted = server
        .dump("test")
        .iter()
        .filter(|r| matches!(rekeep_aerospike_server::partition_of(&r.digest), 1..=3))
        .count();
    assert_eq!(records.len(), wanted);
    assert!(client.info("query-show:trid=1").contains(":rps=100:"));
}
