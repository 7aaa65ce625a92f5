//! Generations, times to live, last-update-times and filters.

use std::time::Duration;

use rekeep_aerospike_server::clock::EPOCH_UNIX_SECONDS;
use rekeep_aerospike_server::codes::{info2, op, rc};
use rekeep_aerospike_server::{Config, Handle, NamespaceConfig, Seed, Server};

use crate::support::{Client, Request, batch};

const DIGEST: [u8; 20] = [7; 20];
const NEVER: u32 = u32::MAX;
const YEAR: u32 = 31_536_000;

fn start_with(namespace: NamespaceConfig) -> (Handle, Client) {
    let server = Server::start(Config { namespaces: vec![namespace], ..Config::default() }).unwrap();
    let client = Client::connect(server.address(0));
    (server, client)
}

fn start() -> (Handle, Client) {
    start_with(NamespaceConfig::named("test"))
}

fn put() -> Request {
    Request::put().digest(&DIGEST).write_int("i", 1)
}

fn now_seconds(server: &Handle) -> u32 {
    (server.now_ms() / 1000) as u32
}

/// `cmp(last_update, unix nanoseconds)`.
fn last_update(comparison: u8, unix_ns: i64) -> Vec<u8> {
    let mut filter = vec![0x93, comparison, 0x91, 66, 0xD3];
    filter.extend_from_slice(&unix_ns.to_be_bytes());
    filter
}

fn unix_ns(ms_since_2010: i64) -> i64 {
    (ms_since_2010 + EPOCH_UNIX_SECONDS * 1000) * 1_000_000
}

#[test]
fn ttl_0_takes_the_default_of_the_namespace() {
    let (server, mut client) = start_with(NamespaceConfig { default_ttl: 5000, ..NamespaceConfig::named("test") });
    let answer = client.ask(&put());
    assert_eq!(answer.void_time, now_seconds(&server) + 5000);
    assert_eq!(client.ask(&put().ttl(NEVER)).void_time, 0);
}

#[test]
fn a_write_answers_with_the_void_time_it_gave() {
    let (server, mut client) = start();
    assert_eq!(client.ask(&put().ttl(86_400)).void_time, now_seconds(&server) + 86_400);
    let row = put().ttl(60).row(0, &DIGEST);
    assert_eq!(client.stream(&batch(4, &[row]))[0].void_time, now_seconds(&server) + 60);
    assert_eq!(client.ask(&put().ttl(NEVER - 1)).void_time, now_seconds(&server) + 60, "as it was");
}

#[test]
fn more_than_ten_years_to_live_is_refused_with_4() {
    let (_server, mut client) = start();
    assert_eq!(client.ask(&put().ttl(10 * YEAR)).result, rc::OK);
    assert_eq!(client.ask(&put().ttl(10 * YEAR + 1)).result, rc::PARAMETER);
}

#[test]
fn a_ttl_where_the_reaper_is_off_is_refused_with_22_and_never_is_still_taken() {
    let off = NamespaceConfig { nsup_period: 0, ..NamespaceConfig::named("test") };
    let (_server, mut client) = start_with(off.clone());
    assert_eq!(client.ask(&put().ttl(60)).result, rc::FORBIDDEN);
    assert_eq!(client.ask(&put().ttl(NEVER)).result, rc::OK);
    assert_eq!(client.ask(&put()).result, rc::OK, "the default is never");
    let (_server, mut client) = start_with(NamespaceConfig { default_ttl: 60, ..off.clone() });
    assert_eq!(client.ask(&put()).result, rc::FORBIDDEN, "the default counts like any other");
    let (_server, mut client) = start_with(NamespaceConfig { allow_ttl_without_nsup: true, ..off });
    assert_eq!(client.ask(&put().ttl(60)).result, rc::OK);
}

#[test]
fn a_touch_and_a_rewrite_of_the_same_value_move_generation_and_last_update_time() {
    let (server, mut client) = start();
    client.ask(&put());
    let first = server.get("test", &DIGEST).unwrap();
    server.advance(Duration::from_secs(1));
    let touched = client.ask(&Request::put().digest(&DIGEST).op(op::TOUCH, "", 0, &[]));
    assert_eq!((touched.result, touched.generation), (rc::OK, 2));
    assert_eq!(server.get("test", &DIGEST).unwrap().lut_ms, first.lut_ms + 1000);
    server.advance(Duration::from_secs(1));
    assert_eq!(client.ask(&put()).generation, 3);
    let last = server.get("test", &DIGEST).unwrap();
    assert_eq!((last.lut_ms, last.bins), (first.lut_ms + 2000, first.bins));
}

#[test]
fn a_read_touch_moves_last_update_time_and_void_time_but_not_the_generation() {
    let (server, mut client) = start_with(NamespaceConfig { read_touch_percent: 80, ..NamespaceConfig::named("test") });
    client.ask(&put().ttl(1000));
    let first = server.get("test", &DIGEST).unwrap();
    server.advance(Duration::from_secs(100));
    client.ask(&Request::get().digest(&DIGEST));
    assert_eq!(server.get("test", &DIGEST).unwrap(), first, "too early in its life");
    server.advance(Duration::from_secs(200));
    client.ask(&Request::get().digest(&DIGEST).ttl(NEVER));
    assert_eq!(server.get("test", &DIGEST).unwrap(), first, "the reader does not want it");
    client.ask(&Request::get().digest(&DIGEST));
    let touched = server.get("test", &DIGEST).unwrap();
    assert_eq!(touched.generation, first.generation);
    assert_eq!((touched.lut_ms, touched.void_time), (first.lut_ms + 300_000, first.void_time + 300));
}

#[test]
fn a_last_update_time_never_goes_back() {
    let (server, mut client) = start();
    client.ask(&put());
    let first = server.get("test", &DIGEST).unwrap();
    server.set_now_ms(server.now_ms() - 60_000);
    client.ask(&put());
    let second = server.get("test", &DIGEST).unwrap();
    assert_eq!((second.lut_ms, second.generation), (first.lut_ms, 2));
}

#[test]
fn last_update_and_since_update_of_one_record_give_the_clock_of_the_server() {
    let (server, mut client) = start();
    client.ask(&put());
    server.advance(Duration::from_millis(1234));
    let answer = client.ask(&Request::read().digest(&DIGEST).op(op::EXP_READ, "lut", 0, &[0x92, 0x91, 66, 0]).op(
        op::EXP_READ,
        "since",
        0,
        &[0x92, 0x91, 67, 0],
    ));
    assert_eq!(answer.int("since"), 1234);
    assert_eq!(answer.int("lut") + answer.int("since") * 1_000_000, unix_ns(server.now_ms()));
}

#[test]
fn a_restore_over_a_newer_record_with_generation_gt_is_refused_with_3() {
    let (server, mut client) = start();
    server.put("test", Seed::with_digest(DIGEST).generation(9).bin_int("i", 0));
    let restore = |generation| put().info2(info2::GENERATION_GT).generation(generation);
    assert_eq!(client.ask(&restore(8)).result, rc::GENERATION);
    assert_eq!(client.ask(&restore(9)).result, rc::GENERATION);
    let done = client.ask(&restore(10));
    assert_eq!((done.result, done.generation), (rc::OK, 10));
    // Into an empty place every generation passes, and the record begins at 1.
    server.delete("test", &DIGEST);
    let done = client.ask(&restore(500));
    assert_eq!((done.result, done.generation), (rc::OK, 1));
}

#[test]
fn what_has_expired_but_was_not_reaped_is_neither_scanned_nor_read_and_can_be_written_over() {
    let (server, mut client) = start();
    for bits in [info2::CREATE_ONLY, info2::GENERATION_GT] {
        server.put("test", Seed::with_digest(DIGEST).generation(7).ttl(10).bin_int("old", 1));
        assert_eq!(client.ask(&put().info2(info2::CREATE_ONLY)).result, rc::EXISTS);
        server.advance(Duration::from_secs(11));
        assert_eq!(server.count("test"), 1, "it is still there");
        assert_eq!(client.query(&Request::query(u64::from(bits), 0..4096)).0.len(), 0);
        assert_eq!(client.ask(&Request::get().digest(&DIGEST)).result, rc::NOT_FOUND);
        let done = client.ask(&put().info2(bits).generation(1));
        assert_eq!((done.result, done.generation), (rc::OK, 1));
        assert_eq!(server.get("test", &DIGEST).unwrap().bin("old"), None);
    }
}

#[test]
fn a_conditional_delete_by_last_update_time_is_done_or_filtered_out() {
    let (server, mut client) = start();
    client.ask(&put());
    let written = unix_ns(server.now_ms());
    let delete = |before: i64| Request::delete().digest(&DIGEST).filter(&last_update(5, before));
    assert_eq!(client.ask(&delete(written)).result, rc::FILTERED_OUT);
    assert_eq!(server.count("test"), 1);
    assert_eq!(client.ask(&delete(written + 1)).result, rc::OK);
    assert_eq!(client.ask(&delete(written + 1)).result, rc::NOT_FOUND);
}

#[test]
fn a_conditional_delete_by_generation_is_done_or_refused_with_3_and_a_durable_one_with_25() {
    let (server, mut client) = start();
    server.put("test", Seed::with_digest(DIGEST).generation(4).bin_int("i", 1));
    let delete = |generation| Request::delete().digest(&DIGEST).info2(info2::GENERATION).generation(generation);
    assert_eq!(client.ask(&delete(3)).result, rc::GENERATION);
    assert_eq!(client.ask(&Request::delete().digest(&DIGEST).info2(info2::DURABLE_DELETE)).result, rc::ENTERPRISE_ONLY);
    assert_eq!(client.ask(&delete(4)).result, rc::OK);
    assert_eq!(server.count("test"), 0, "a deletion leaves no trace");
    assert_eq!(client.query(&Request::query(1, 0..4096)).0.len(), 0);
}
