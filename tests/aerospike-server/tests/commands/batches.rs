//! Batches: rows, their flags, and their results.

use rekeep_aerospike_server::codes::{info1, info2, rc};
use rekeep_aerospike_server::{Config, Handle, Seed, Server};

use crate::support::{Answer, Client, Request, batch};

fn start(config: Config) -> (Handle, Client) {
    let server = Server::start(config).unwrap();
    let client = Client::connect(server.address(0));
    (server, client)
}

/// Rows and the code of the end.
fn rows(mut answers: Vec<Answer>) -> (Vec<Answer>, u8) {
    let end = answers.pop().unwrap();
    assert!(end.is_last());
    (answers, end.result)
}

#[test]
fn the_captured_batch_of_two_writes_and_a_read_is_answered_row_by_row() {
    let (server, mut client) = start(Config::default());
    let put = |key: &str| {
        Request::put()
            .set("demo")
            .key(3, key.as_bytes())
            .info2(info2::GENERATION_GT | info2::CREATE_ONLY | info2::RESPOND_ALL_OPS)
            .generation(7)
            .ttl(u32::MAX)
            .write_int("x", 9)
    };
    let mut read = 2u32.to_be_bytes().to_vec();
    read.extend_from_slice(&[8; 20]);
    // Info and TTL without generation, as clients send reads.
    read.extend_from_slice(&[0x0A, info1::READ | info1::GET_ALL, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    read.extend_from_slice(&[0, 0, 0, 5, 0, b't', b'e', b's', b't']);
    let request = batch(0x0D, &[put("zz").row(0, &[7; 20]), put("yy").row(1, &[8; 20]), read]);
    let (rows, end) = rows(client.stream(&request));
    assert_eq!(end, rc::OK);
    assert_eq!(rows.iter().map(|row| (row.row, row.result)).collect::<Vec<_>>(), [(0, 0), (1, 0), (2, 0)]);
    assert_eq!(rows[0].ops, [("x".to_owned(), 0, vec![])], "one op is answered for each");
    assert_eq!(rows[2].int("x"), 9);
    assert_eq!(server.get("test", &[7; 20]).unwrap().key.unwrap(), b"\x03zz");
}

#[test]
fn a_repeated_row_takes_header_fields_and_ops_of_the_one_before() {
    let (server, mut client) = start(Config::default());
    let mut all = vec![Request::put().set("demo").write_int("i", 5).row(0, &[1; 20])];
    for n in 2..=4u8 {
        let mut row = u32::from(n).to_be_bytes().to_vec();
        row.extend_from_slice(&[n; 20]);
        row.push(0x01);
        all.push(row);
    }
    let (rows, _) = rows(client.stream(&batch(4, &all)));
    assert_eq!(rows.len(), 4);
    assert!(server.dump("test").iter().all(|record| record.set == b"demo" && record.bin("i").is_some()));
    assert_eq!(server.count("test"), 4);
}

#[test]
fn without_respond_all_keys_a_batch_stops_at_the_first_real_error() {
    let (server, mut client) = start(Config::default());
    server.put("test", Seed::with_digest([2; 20]).bin_int("i", 1));
    let create = |n: u8| Request::put().info2(info2::CREATE_ONLY).write_int("i", 2).row(u32::from(n), &[n; 20]);
    let all = [Request::get().row(0, &[9; 20]), create(1), create(2), create(3)];
    let (answered, end) = rows(client.stream(&batch(0, &all)));
    assert_eq!(answered.iter().map(|row| row.result).collect::<Vec<_>>(), [rc::NOT_FOUND, rc::OK, rc::EXISTS]);
    assert_eq!((end, server.count("test")), (rc::EXISTS, 2));
    let (answered, end) = rows(client.stream(&batch(4, &all)));
    assert_eq!(
        answered.iter().map(|row| row.result).collect::<Vec<_>>(),
        [rc::NOT_FOUND, rc::EXISTS, rc::EXISTS, rc::OK]
    );
    assert_eq!((end, server.count("test")), (rc::OK, 3));
}

#[test]
fn a_filter_of_the_whole_batch_filters_its_rows() {
    let (server, mut client) = start(Config::default());
    server.put("test", Seed::with_digest([1; 20]).set("a").bin_int("i", 1));
    server.put("test", Seed::with_digest([2; 20]).set("b").bin_int("i", 1));
    let in_a = [0x93, 1, 0x91, 70, 0xA2, 3, b'a'];
    let request = batch(4, &[Request::get().row(0, &[1; 20]), Request::get().row(1, &[2; 20])]).filter(&in_a);
    let (rows, _) = rows(client.stream(&request));
    assert_eq!(rows.iter().map(|row| row.result).collect::<Vec<_>>(), [rc::OK, rc::FILTERED_OUT]);
}

#[test]
fn a_metadata_batch_read_confirms_which_records_are_there() {
    let (server, mut client) = start(Config::default());
    server.put("test", Seed::with_digest([1; 20]).generation(3).void_time(900_000_000).bin_int("i", 1));
    let (rows, _) =
        rows(client.stream(&batch(4, &[Request::exists().row(0, &[1; 20]), Request::exists().row(1, &[2; 20])])));
    assert_eq!((rows[0].result, rows[0].generation, rows[0].void_time), (rc::OK, 3, 900_000_000));
    assert_eq!(rows[1].result, rc::NOT_FOUND);
}

#[test]
fn deletions_in_a_batch_leave_no_trace() {
    let (server, mut client) = start(Config::default());
    server.put("test", Seed::with_digest([1; 20]).bin_int("i", 1));
    let (rows, _) =
        rows(client.stream(&batch(4, &[Request::delete().row(0, &[1; 20]), Request::delete().row(1, &[2; 20])])));
    assert_eq!(rows.iter().map(|row| row.result).collect::<Vec<_>>(), [rc::OK, rc::NOT_FOUND]);
    assert_eq!(server.count("test"), 0);
}

#[test]
fn a_batch_over_the_limit_is_refused_with_151_and_a_malformed_one_with_4() {
    let (_server, mut client) = start(Config { batch_max_requests: 2, ..Config::default() });
    let row = |n: u8| Request::get().row(u32::from(n), &[n; 20]);
    assert_eq!(rows(client.stream(&batch(4, &[row(1), row(2), row(3)]))), (vec![], rc::BATCH_MAX_REQUESTS));
    let mut short = row(1);
    short.pop();
    assert_eq!(rows(client.stream(&batch(4, &[short]))), (vec![], rc::PARAMETER));
}
