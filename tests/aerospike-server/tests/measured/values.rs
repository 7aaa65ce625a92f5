//! Which values are kept byte for byte, which are changed, which are refused.

use rekeep_aerospike_server::codes::{op, rc};
use rekeep_aerospike_server::{Config, Handle, Seed, Server};

use crate::support::{Answer, Client, Request, batch};

const DIGEST: [u8; 20] = [7; 20];

fn hll() -> Vec<u8> {
    let mut hll = vec![0, 8, 0];
    hll.extend_from_slice(&[0; 8]);
    hll.extend_from_slice(&[0xA5; 192]);
    hll
}

/// Particles a server keeps: type and bytes.
fn kept() -> Vec<(u8, Vec<u8>)> {
    vec![
        (1, (-5i64).to_be_bytes().to_vec()),
        (2, 0x7FF8_0000_DEAD_BEEFu64.to_be_bytes().to_vec()),
        (2, 0x7FF0_0000_0000_0001u64.to_be_bytes().to_vec()),
        (3, b"\xFF\xFEnot utf-8".to_vec()),
        (3, b"a\0b".to_vec()),
        (3, Vec::new()),
        (4, vec![0, 1, 255]),
        (7, b"java".to_vec()),
        (8, b"c#".to_vec()),
        (9, b"python".to_vec()),
        (10, b"ruby".to_vec()),
        (11, b"php".to_vec()),
        (12, b"erlang".to_vec()),
        (16, vec![1, 2, 3]),
        (17, vec![0]),
        (17, vec![1]),
        (20, vec![0x93, 3, 1, 2]),
        (20, vec![0x93, 0xC7, 0, 1, 1, 2]),
        (20, vec![0x91, 0xC7, 0, 1]),
        (19, vec![0x82, 1, 2, 3, 4]),
        (19, vec![0x83, 0xC7, 0, 1, 0xC0, 0xA2, 3, b'a', 1, 0xA2, 3, b'b', 2]),
        (19, vec![0x83, 0xC7, 0, 3, 0xC0, 0xA2, 3, b'a', 1, 0xA2, 3, b'b', 2]),
        (18, hll()),
    ]
}

fn start() -> (Handle, Client) {
    let server = Server::start(Config::default()).unwrap();
    let client = Client::connect(server.address(0));
    (server, client)
}

fn read_back(client: &mut Client) -> (u8, Vec<u8>) {
    let answer = client.ask(&Request::get().digest(&DIGEST));
    assert_eq!(answer.result, rc::OK);
    let (kind, value) = answer.bin("b").unwrap();
    (kind, value.to_vec())
}

fn write(client: &mut Client, kind: u8, value: &[u8]) -> u8 {
    client.ask(&Request::put().digest(&DIGEST).write("b", kind, value)).result
}

#[test]
fn raw_particles_written_singly_come_back_byte_for_byte() {
    let (_server, mut client) = start();
    for (kind, value) in kept() {
        assert_eq!(write(&mut client, kind, &value), rc::OK, "{kind} {value:?}");
        assert_eq!(read_back(&mut client), (kind, value));
    }
}

#[test]
fn raw_particles_written_in_a_batch_come_back_byte_for_byte() {
    let (_server, mut client) = start();
    let digest = |at: usize| [at as u8 + 1; 20];
    let kept = kept();
    let rows = kept
        .iter()
        .enumerate()
        .map(|(at, (kind, value))| Request::put().write("b", *kind, value).row(at as u32, &digest(at)));
    let answers = client.stream(&batch(4, &rows.collect::<Vec<_>>()));
    assert!(answers.iter().all(|answer| answer.result == rc::OK));
    let rows: Vec<_> = (0..kept.len()).map(|at| Request::get().row(at as u32, &digest(at))).collect();
    for answer in client.stream(&batch(4, &rows)).iter().filter(|answer| !answer.is_last()) {
        let (kind, value) = &kept[answer.row as usize];
        assert_eq!(answer.bin("b"), Some((*kind, &value[..])));
    }
}

#[test]
fn a_boolean_of_two_unknown_types_and_a_bad_hll_are_refused_with_4() {
    let (server, mut client) = start();
    let mut short_hll = hll();
    short_hll.pop();
    for (kind, value) in [(17, vec![2]), (21, vec![1]), (99, vec![1]), (18, short_hll), (18, Vec::new())] {
        assert_eq!(write(&mut client, kind, &value), rc::PARAMETER, "{kind} {value:?}");
    }
    assert_eq!(server.count("test"), 0);
}

#[test]
fn false_order_flags_duplicate_keys_and_trailing_bytes_are_refused_with_1() {
    let (server, mut client) = start();
    for (kind, value) in [
        (20, vec![0x93, 0xC7, 0, 1, 2, 1]),
        (19, vec![0x83, 0xC7, 0, 1, 0xC0, 0xA2, 3, b'b', 1, 0xA2, 3, b'a', 2]),
        (19, vec![0x82, 1, 2, 1, 3]),
        (20, vec![0x91, 1, 1]),
        (19, vec![0x81, 1, 1, 1]),
        (20, vec![0xDD, 0xFF, 0xFF, 0xFF, 0xFF]),
    ] {
        assert_eq!(write(&mut client, kind, &value), rc::UNKNOWN, "{kind} {value:?}");
    }
    assert_eq!(server.count("test"), 0);
}

#[test]
fn bad_geojson_is_refused_with_160() {
    let (_server, mut client) = start();
    for text in ["", "{", "{}", "{\"type\": \"Nothing\", \"coordinates\": [1, 2]}", "[1, 2]"] {
        let value = [&[0, 0, 0], text.as_bytes()].concat();
        assert_eq!(write(&mut client, 23, &value), rc::GEO_INVALID, "{text}");
    }
}

#[test]
fn a_four_byte_integer_is_widened() {
    let (_server, mut client) = start();
    assert_eq!(write(&mut client, 1, &(-2i32).to_be_bytes()), rc::OK);
    assert_eq!(read_back(&mut client), (1, (-2i64).to_be_bytes().to_vec()));
}

#[test]
fn the_persist_index_flag_is_dropped() {
    let (_server, mut client) = start();
    assert_eq!(write(&mut client, 20, &[0x93, 0xC7, 0, 0x11, 1, 2]), rc::OK);
    assert_eq!(read_back(&mut client), (20, vec![0x93, 0xC7, 0, 1, 1, 2]));
    assert_eq!(write(&mut client, 19, &[0x82, 0xC7, 0, 0x11, 0xC0, 1, 2]), rc::OK);
    assert_eq!(read_back(&mut client), (19, vec![0x82, 0xC7, 0, 1, 0xC0, 1, 2]));
}

#[test]
fn an_unordered_map_comes_back_sorted_and_is_stable_after_one_trip() {
    let (_server, mut client) = start();
    assert_eq!(write(&mut client, 19, &[0x83, 0xA2, 3, b'b', 1, 9, 2, 3, 3]), rc::OK);
    let (kind, once) = read_back(&mut client);
    assert_eq!(once, [0x83, 3, 3, 9, 2, 0xA2, 3, b'b', 1], "integers first, then strings");
    assert_eq!(write(&mut client, kind, &once), rc::OK);
    assert_eq!(read_back(&mut client), (kind, once));
}

#[test]
fn geojson_cells_of_the_writer_are_thrown_away_and_computed_anew() {
    let (_server, mut client) = start();
    let text = br#"{"type": "Point", "coordinates": [-122.0, 37.5]}"#;
    let without = [&[0, 0, 0], &text[..]].concat();
    let wrong = [&[0, 0, 1], &7u64.to_be_bytes()[..], &text[..]].concat();
    assert_eq!(write(&mut client, 23, &without), rc::OK);
    let (_, stored) = read_back(&mut client);
    assert_ne!(stored, without);
    assert!(stored.ends_with(text));
    for sent in [&wrong, &stored] {
        assert_eq!(write(&mut client, 23, sent), rc::OK);
        assert_eq!(read_back(&mut client).1, stored);
    }
}

#[test]
fn a_record_of_just_under_a_mebibyte_is_taken_and_one_of_a_mebibyte_is_refused_with_13() {
    let (_server, mut client) = start();
    let write =
        |client: &mut Client, n: usize| client.ask(&Request::put().digest(&DIGEST).write("b", 4, &vec![1; n])).result;
    assert_eq!(write(&mut client, 1_048_512), rc::OK);
    assert_eq!(write(&mut client, 1_048_576), rc::RECORD_TOO_BIG);
    assert_eq!(read_back(&mut client).1.len(), 1_048_512);
}

#[test]
fn a_record_without_bins_cannot_exist() {
    let (server, mut client) = start();
    assert_eq!(client.ask(&Request::put().digest(&DIGEST)).result, rc::PARAMETER);
    assert_eq!(client.ask(&Request::put().digest(&DIGEST).op(op::TOUCH, "", 0, &[])).result, rc::NOT_FOUND);
    let null = Request::put().write("b", 0, &[]);
    assert_eq!(client.ask(&null.clone().digest(&DIGEST)).result, rc::PARAMETER);
    assert_eq!(client.stream(&batch(4, &[null.row(0, &DIGEST)]))[0].result, rc::PARAMETER);
    assert_eq!(client.stream(&batch(4, &[Request::put().row(0, &DIGEST)]))[0].result, rc::PARAMETER);
    assert_eq!(server.count("test"), 0);
    assert_eq!(write(&mut client, 1, &[1]), rc::OK);
    assert_eq!(client.ask(&null.digest(&DIGEST)).result, rc::OK);
    assert_eq!(server.count("test"), 0, "the last bin takes the record along");
}

#[test]
fn user_keys_of_any_type_and_any_bytes_are_stored_and_returned() {
    let (_server, mut client) = start();
    for (at, (kind, key)) in [
        (3, b"\xFF\xFE".to_vec()),
        (2, 1.5f64.to_be_bytes().to_vec()),
        (17, vec![1]),
        (23, b"{}".to_vec()),
        (20, vec![0x91, 1]),
        (4, Vec::new()),
    ]
    .into_iter()
    .enumerate()
    {
        let put = Request::put().digest(&[at as u8; 20]).key(kind, &key).write_int("i", at as i64);
        assert_eq!(client.ask(&put).result, rc::OK);
    }
    let (records, end) = client.query(&Request::query(1, 0..4096).no_bins());
    let mut keys: Vec<_> = records.iter().map(|record| record.field(2).unwrap().to_vec()).collect();
    keys.sort();
    assert_eq!(end, Some(rc::OK));
    let mut wanted = vec![
        b"\x03\xFF\xFE".to_vec(),
        [&[2][..], &1.5f64.to_be_bytes()].concat(),
        vec![17, 1],
        b"\x17{}".to_vec(),
        vec![20, 0x91, 1],
        vec![4],
    ];
    wanted.sort();
    assert_eq!(keys, wanted);
}

#[test]
fn another_key_for_the_same_digest_is_refused_with_19() {
    let (server, mut client) = start();
    let put = |key: &[u8]| Request::put().digest(&DIGEST).key(3, key).write_int("i", 1);
    assert_eq!(client.ask(&put(b"one")).result, rc::OK);
    assert_eq!(client.ask(&put(b"two")).result, rc::KEY_MISMATCH);
    assert_eq!(client.ask(&put(b"one")).result, rc::OK);
    assert_eq!(server.get("test", &DIGEST).unwrap().key.unwrap(), b"\x03one");
}

#[test]
fn a_record_is_restored_by_digest_without_key_and_with_or_without_set() {
    let (server, mut client) = start();
    let put = |digest: &[u8; 20], request: Request| request.digest(digest).write_int("i", 1);
    assert_eq!(client.ask(&put(&[1; 20], Request::put().set("demo"))).result, rc::OK);
    assert_eq!(client.ask(&put(&[2; 20], Request::put())).result, rc::OK);
    // A digest that does not belong to the key is taken too.
    assert_eq!(client.ask(&put(&[3; 20], Request::put().key(3, b"elsewhere"))).result, rc::OK);
    let dump = server.dump("test");
    assert_eq!(dump.iter().map(|record| &record.set[..]).collect::<Vec<_>>(), [&b"demo"[..], b"", b""]);
    let (records, _) = client.query(&Request::query(1, 0..4096));
    assert_eq!(records.iter().filter(|record| record.field(1).is_some()).count(), 1, "an absent set stays absent");
}

#[test]
fn the_same_digest_in_another_set_is_refused_with_4_and_changes_nothing() {
    let (server, mut client) = start();
    server.put("test", Seed::with_digest(DIGEST).set("demo").bin_int("i", 1));
    server.put("test", Seed::with_digest([8; 20]).bin_int("i", 1));
    let before = server.dump("test");
    let put = |digest: &[u8; 20], request: Request| request.digest(digest).write_int("i", 2);
    assert_eq!(client.ask(&put(&DIGEST, Request::put().set("other"))).result, rc::PARAMETER);
    assert_eq!(client.ask(&put(&DIGEST, Request::put())).result, rc::PARAMETER);
    assert_eq!(client.ask(&put(&[8; 20], Request::put().set("demo"))).result, rc::PARAMETER);
    assert_eq!(server.dump("test"), before);
}

#[test]
fn a_batch_of_five_hundred_raw_records_is_written() {
    let (server, mut client) = start();
    let row = |at: u32| {
        let mut digest = [9; 20];
        digest[..4].copy_from_slice(&at.to_be_bytes());
        Request::put().set("load").write("v", 4, &[at as u8; 200]).row(at, &digest)
    };
    let answers: Vec<Answer> = client.stream(&batch(4, &(0..500).map(row).collect::<Vec<_>>()));
    assert_eq!(answers.len(), 501);
    assert!(answers.iter().all(|answer| answer.result == rc::OK));
    assert_eq!(server.count("test"), 500);
}
