//! Filter expressions with three-valued logic.

use std::collections::BTreeSet;
use std::time::Duration;

use rekeep_aerospike_server::codes::{field, op, rc};
use rekeep_aerospike_server::{Config, Handle, Seed, Server};

use crate::support::{Client, Request};

const NAME: [u8; 2] = [0xA1, b'n'];

fn start() -> Handle {
    let server = Server::start(Config::default()).unwrap();
    server.put("test", Seed::int(1).set("demo").bin_int("n", 30).stores_key());
    server.advance(Duration::from_secs(10));
    server.put("test", Seed::int(2).set("demo").bin_int("n", 20).ttl(500));
    server.put("test", Seed::int(3).bin_string("n", "text"));
    server.put("test", Seed::int(4).set("other").bin_int("m", 1));
    server
}

/// The keys 1..=4 that pass.
fn passing(server: &Handle, filter: &[u8]) -> Result<BTreeSet<i64>, u8> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let trid = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let mut client = Client::connect(server.address(0));
    let (records, end) = client.query(&Request::query(trid, 0..4096).filter(filter));
    let sets = [(1, "demo"), (2, "demo"), (3, ""), (4, "other")];
    let key = |digest: &[u8; 20]| {
        let of = |(key, set): &(i64, &str)| rekeep_aerospike_server::digest_of(set.as_bytes(), 1, &key.to_be_bytes());
        sets.iter().find(|pair| of(pair) == *digest).unwrap().0
    };
    match end.unwrap() {
        rc::OK => Ok(records.iter().map(|record| key(&record.digest())).collect()),
        code => Err(code),
    }
}

fn list(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0x90 | parts.len() as u8];
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

fn n_over(limit: u8) -> Vec<u8> {
    list(&[&[3], &list(&[&[81], &[2], &NAME]), &[limit]])
}

#[test]
fn a_comparison_passes_only_where_it_is_true() {
    let server = start();
    assert_eq!(passing(&server, &n_over(25)), Ok([1].into()));
    assert_eq!(passing(&server, &n_over(5)), Ok([1, 2].into()));
}

#[test]
fn not_of_unknown_is_unknown_and_passes_nowhere() {
    let server = start();
    assert_eq!(passing(&server, &list(&[&[18], &n_over(25)])), Ok([2].into()));
}

#[test]
fn one_true_makes_or_true_and_one_false_makes_and_false_whatever_is_unknown() {
    let server = start();
    let yes = [0xC3];
    let no = [0xC2];
    assert_eq!(passing(&server, &list(&[&[17], &n_over(25), &yes])), Ok([1, 2, 3, 4].into()));
    assert_eq!(passing(&server, &list(&[&[17], &n_over(25), &no])), Ok([1].into()));
    assert_eq!(passing(&server, &list(&[&[16], &n_over(25), &yes])), Ok([1].into()));
    let not_and = list(&[&[18], &list(&[&[16], &n_over(25), &no])]);
    assert_eq!(passing(&server, &not_and), Ok([1, 2, 3, 4].into()));
}

#[test]
fn the_captured_backup_filter_is_understood() {
    let server = start();
    let captured: Vec<u8> = [
        &[0x97, 0x10, 0x93, 0x04, 0x91, 0x42, 0xCF, 0x17, 0x97, 0x9C, 0xFE, 0x36, 0x2A, 0, 0][..],
        &[0x93, 0x02, 0x91, 0x46, 0xA9, 0x03, b'<', b'E', b'R', b'O', b'~', b'M', b'R', b'T'],
        &[0x93, 0x01, 0x91, 0x45, 0xFF, 0x93, 0x01, 0x92, 0x40, 0x03, 0x01, 0x93, 0x03, 0x91, 0x44, 0],
        &[0x92, 0x12, 0x91, 0x48],
    ]
    .concat();
    // It asks for records without expiry whose void-time is above zero: there are none.
    assert_eq!(passing(&server, &captured), Ok([].into()));
    let age = [0x93, 0x03, 0x93, 0x51, 0x02, 0xA3, b'a', b'g', b'e', 0x19];
    assert_eq!(passing(&server, &age), Ok([].into()));
}

#[test]
fn metadata_is_compared_in_its_units() {
    let server = start();
    let set_is_demo = list(&[&[1], &[0x91, 70], &[0xA5, 3, b'd', b'e', b'm', b'o']]);
    assert_eq!(passing(&server, &set_is_demo), Ok([1, 2].into()));
    assert_eq!(passing(&server, &list(&[&[1], &[0x91, 70], &[0xA1, 3]])), Ok([3].into()), "no set is the empty name");
    assert_eq!(passing(&server, &list(&[&[1], &[0x91, 69], &[0xFF]])), Ok([1, 3, 4].into()), "ttl -1: never");
    assert_eq!(passing(&server, &list(&[&[1], &[0x91, 69], &[0xCD, 1, 0xF4]])), Ok([2].into()));
    assert_eq!(passing(&server, &[0x91, 71]), Ok([1].into()), "stored key");
    assert_eq!(passing(&server, &[0x91, 72]), Ok([].into()), "tombstone");
    assert_eq!(passing(&server, &list(&[&[4], &[0x91, 67], &[0xCD, 0x27, 0x10]])), Ok([1].into()), "10 000 ms ago");
    let key = list(&[&[1], &list(&[&[80], &[2]]), &[1]]);
    assert_eq!(passing(&server, &key), Ok([1].into()));
    assert_eq!(passing(&server, &list(&[&[1], &list(&[&[82], &NAME]), &[3]])), Ok([3].into()), "bin type");
    let thirds: usize =
        (0..3u8).map(|rest| passing(&server, &list(&[&[1], &[0x92, 64, 3], &[rest]])).unwrap().len()).sum();
    assert_eq!(thirds, 4);
}

#[test]
fn an_expression_that_is_not_known_is_refused_with_4() {
    let server = start();
    for filter in [&[0x94, 7, 0, 0xA1, b'x', 0xC0][..], &[0x91, 99], &[0xC1], &[], &[0x93, 1, 1], &[0x91, 66, 0]] {
        assert_eq!(passing(&server, filter), Err(rc::PARAMETER), "{filter:?}");
    }
    let deep = [[0x92, 18].repeat(10_000), vec![0xC3]].concat();
    assert_eq!(passing(&server, &deep), Err(rc::PARAMETER));
}

#[test]
fn a_projection_gives_named_bins_and_expressions_and_no_bins_overrides_it() {
    let server = start();
    let mut client = Client::connect(server.address(0));
    let query = |trid| {
        Request::query(trid, 0..4096).set("demo").op(op::READ, "n", 0, &[]).op(
            op::EXP_READ,
            "ttl",
            0,
            &[0x92, 0x91, 69, 0],
        )
    };
    let (records, end) = client.query(&query(1000));
    assert_eq!((records.len(), end), (2, Some(rc::OK)));
    assert!(records.iter().all(|r| (r.int("n"), r.int("ttl")) == (30, -1) || (r.int("n"), r.int("ttl")) == (20, 500)));
    let (records, _) = client.query(&query(1001).no_bins());
    assert!(records.iter().all(|record| record.ops.is_empty()) && records.len() == 2);
    let modifies = Request::query(1002, 0..4096).op(op::WRITE, "n", 1, &[1]);
    assert_eq!(client.query(&modifies).1, Some(rc::PARAMETER));
}

#[test]
fn an_expression_without_a_value_fails_the_read_unless_told_not_to() {
    let server = start();
    let digest = rekeep_aerospike_server::digest_of(b"", 1, &3i64.to_be_bytes());
    let mut client = Client::connect(server.address(0));
    let read = |flags: u8| {
        let value = list(&[&list(&[&[81], &[2], &NAME]), &[flags]]);
        Request::read().field(field::DIGEST, &digest).op(op::EXP_READ, "x", 0, &value)
    };
    assert_eq!(client.ask(&read(0)).result, rc::OP_NOT_APPLICABLE);
    let answer = client.ask(&read(0x10));
    assert_eq!((answer.result, answer.bin("x")), (rc::OK, Some((0, &[][..]))));
}

#[test]
fn max_records_counts_what_passes_the_filter_and_can_be_resumed() {
    let server = Server::start(Config { query_message_bytes: 300, ..Config::default() }).unwrap();
    server.put_all("test", (0..500).map(|i| Seed::int(i).bin_int("n", i % 2)));
    let mut client = Client::connect(server.address(0));
    let odd = list(&[&[1], &list(&[&[81], &[2], &NAME]), &[1]]);
    let (mut seen, mut last) = (BTreeSet::new(), std::collections::BTreeMap::new());
    for trid in 0.. {
        let fresh = (0..4096u16).filter(|pid| !last.contains_key(pid));
        let resumed: Vec<u8> = last.values().flatten().copied().collect();
        let query = Request::query(trid, fresh).filter(&odd).field(field::MAX_RECORDS, &40u64.to_be_bytes());
        let (page, end) = client.query(&query.field(field::DIGEST_ARRAY, &resumed));
        assert_eq!(end, Some(rc::OK));
        assert!(page.len() <= 40);
        if page.is_empty() {
            break;
        }
        for record in page {
            assert!(seen.insert(record.digest()), "twice");
            last.insert(rekeep_aerospike_server::partition_of(&record.digest()), record.digest());
        }
    }
    assert_eq!(seen.len(), 250);
}
