//! Frames in any pieces, and bytes that are no frames.

use std::time::Duration;

use rekeep_aerospike_server::codes::{field, info1, rc};
use rekeep_aerospike_server::wire::{INFO, MESSAGE, put_frame};
use rekeep_aerospike_server::{Config, Seed, Server};

use crate::support::{Client, Request, messages};

#[test]
fn requests_split_at_every_byte_are_answered_like_whole_ones() {
    let server = Server::start(Config::default()).unwrap();
    let digest = server.put("test", Seed::int(1).bin_int("i", 7));
    let mut frame = Vec::new();
    put_frame(&mut frame, INFO, b"build\n");
    put_frame(&mut frame, MESSAGE, &Request::get().digest(&digest).body());
    let mut client = Client::connect(server.address(0));
    for at in 1..frame.len() {
        client.send_raw(&frame[..at]);
        std::thread::sleep(Duration::from_millis(1));
        client.send_raw(&frame[at..]);
        assert_eq!(client.receive().unwrap().1, b"build\t8.1.2.0\n");
        assert_eq!(messages(&client.receive().unwrap().1)[0].int("i"), 7, "split at {at}");
    }
}

#[test]
fn a_message_that_lies_about_its_fields_is_refused_and_the_connection_stays() {
    let server = Server::start(Config::default()).unwrap();
    let mut client = Client::connect(server.address(0));
    let good = Request::get().digest(&[1; 20]).write("b", 3, b"value").body();
    for len in 0..good.len() {
        let mut frame = Vec::new();
        put_frame(&mut frame, MESSAGE, &good[..len]);
        client.send_raw(&frame);
        assert_eq!(messages(&client.receive().unwrap().1)[0].result, rc::PARAMETER, "cut at {len}");
    }
    for at in 22..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        let mut frame = Vec::new();
        put_frame(&mut frame, MESSAGE, &bad);
        client.send_raw(&frame);
        assert!(client.receive().is_some(), "flipped at {at}");
    }
}

#[test]
fn frames_of_another_version_an_unknown_type_or_an_absurd_length_close_the_connection() {
    let server = Server::start(Config::default()).unwrap();
    let absurd = [2, 3, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    for bytes in [&[1, 3, 0, 0, 0, 0, 0, 0][..], &[2, 9, 0, 0, 0, 0, 0, 0], &absurd, &[2, 4, 0, 0, 0, 0, 0, 0]] {
        let mut client = Client::connect(server.address(0));
        client.send_raw(bytes);
        assert_eq!(client.drain(), b"");
    }
}

#[test]
fn the_captured_put_of_a_client_is_taken_and_answered_with_its_void_time() {
    let server = Server::start(Config::default()).unwrap();
    let mut client = Client::connect(server.address(0));
    let put = Request::put()
        .set("demo")
        .digest(&[0xCE; 20])
        .key(1, &[0; 8])
        .ttl(86_400)
        .write_int("i", 0)
        .write("s", 3, b"str")
        .write("f", 2, &1.5f64.to_be_bytes())
        .write("b", 17, &[1])
        .write("bl", 4, &[1, 2, 3])
        .write("l", 20, &[0x92, 1, 0xA2, 3, b'x'])
        .write("m", 19, &[0x83, 0xC7, 0, 1, 0xC0, 0xA2, 3, b'a', 1, 0xA2, 3, b'b', 2]);
    let done = client.ask(&put);
    assert_eq!((done.result, done.generation, done.ops.len()), (rc::OK, 1, 0));
    assert_eq!(i64::from(done.void_time), server.now_ms() / 1000 + 86_400);
    let got = client.ask(&Request::get().digest(&[0xCE; 20]));
    assert_eq!(got.ops.len(), 7);
    assert_eq!(got.fields, vec![]);
}

#[test]
fn a_read_takes_all_bins_some_bins_or_none() {
    let server = Server::start(Config::default()).unwrap();
    let digest = server.put("test", Seed::int(1).bin_int("a", 1).bin_int("b", 2).generation(5));
    let mut client = Client::connect(server.address(0));
    let names = |request: Request| -> Vec<String> {
        let answer = Client::connect(server.address(0)).ask(&request.digest(&digest));
        assert_eq!((answer.result, answer.generation), (rc::OK, 5));
        answer.ops.into_iter().map(|(name, _, _)| name).collect()
    };
    assert_eq!(names(Request::get()), ["a", "b"]);
    assert_eq!(names(Request::read().op(1, "b", 0, &[]).op(1, "none", 0, &[])), ["b"]);
    assert_eq!(names(Request::exists()), [""; 0]);
    assert_eq!(client.ask(&Request::get().digest(&[9; 20])).result, rc::NOT_FOUND);
    let elsewhere =
        Request::bare(info1::READ | info1::GET_ALL, 0, 0).field(field::NAMESPACE, b"nowhere").digest(&digest);
    assert_eq!(client.ask(&elsewhere).result, rc::NAMESPACE);
}

#[test]
fn existence_policies_create_update_and_replace() {
    let server = Server::start(Config::default()).unwrap();
    let mut client = Client::connect(server.address(0));
    let put = |name: &str| Request::put().digest(&[1; 20]).write_int(name, 1);
    let bins = || server.get("test", &[1; 20]).unwrap().bins.into_iter().map(|bin| bin.0).collect::<Vec<_>>();
    assert_eq!(client.ask(&put("a").info3(0x08)).result, rc::NOT_FOUND, "update only");
    assert_eq!(client.ask(&put("a").info3(0x20)).result, rc::NOT_FOUND, "replace only");
    assert_eq!(client.ask(&put("a").info2(0x20)).result, rc::OK, "create only");
    assert_eq!(client.ask(&put("b").info2(0x20)).result, rc::EXISTS);
    assert_eq!(client.ask(&put("b").info3(0x08)).result, rc::OK);
    assert_eq!(bins(), [b"a", b"b"]);
    assert_eq!(client.ask(&put("c").info3(0x10)).result, rc::OK, "create or replace");
    assert_eq!(bins(), [b"c"]);
    assert_eq!(client.ask(&put("d").info3(0x20)).result, rc::OK);
    assert_eq!(bins(), [b"d"]);
    assert_eq!(client.ask(&put("e").info2(0x04).generation(3)).result, rc::GENERATION);
    assert_eq!(client.ask(&put("e").info2(0x04).generation(4)).generation, 5);
}

#[test]
fn numbers_are_added_and_strings_appended() {
    let server = Server::start(Config::default()).unwrap();
    let mut client = Client::connect(server.address(0));
    let change = |code, name: &str, kind, value: &[u8]| Request::put().digest(&[1; 20]).op(code, name, kind, value);
    for _ in 0..3 {
        assert_eq!(client.ask(&change(5, "n", 1, &2i64.to_be_bytes())).result, rc::OK);
        assert_eq!(client.ask(&change(9, "s", 3, b"ab")).result, rc::OK);
        assert_eq!(client.ask(&change(10, "s", 3, b"-")).result, rc::OK);
    }
    assert_eq!(client.ask(&change(5, "s", 1, &1i64.to_be_bytes())).result, rc::BIN_TYPE);
    let record = server.get("test", &[1; 20]).unwrap();
    assert_eq!((record.bin("n").unwrap(), record.bin("s").unwrap()), (&6i64.to_be_bytes()[..], &b"---ababab"[..]));
    assert_eq!(client.ask(&change(4, "l", 20, &[0x90])).result, rc::PARAMETER, "list operations are not known here");
}

/// A small generator: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.next() % most).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn values_filters_and_rows_of_any_bytes_are_answered_and_never_end_the_connection() {
    let server = Server::start(Config::default()).unwrap();
    let mut client = Client::connect(server.address(0));
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for round in 0..3000u32 {
        let kind = [18, 19, 20, 23, 1, 17][numbers.next() as usize % 6];
        let mut value = numbers.bytes(24);
        if matches!(kind, 19 | 20) && !value.is_empty() {
            // A small container, so that its elements are looked at.
            value[0] = 0x80 | (kind - 19) << 4 | value[0] & 3;
        }
        client.ask(&Request::put().digest(&[1; 20]).write("b", kind, &value));
        client.ask(&Request::get().digest(&[1; 20]).filter(&numbers.bytes(16)));
        let batch = Request::bare(info1::BATCH, 0, 0).field(field::BATCH, &numbers.bytes(60));
        assert!(client.stream(&batch).last().unwrap().is_last(), "round {round}");
    }
    assert_eq!(client.info("status"), "ok");
}

#[test]
fn messages_with_any_bytes_changed_are_answered_or_end_only_their_connection() {
    let server = Server::start(Config::default()).unwrap();
    let mut numbers = Numbers(0x1234_5678_9ABC_DEF1);
    let row = Request::put().write("b", 20, &[0x92, 1, 2]).row(0, &[3; 20]);
    let models = [
        Request::put().set("demo").digest(&[2; 20]).write("b", 19, &[0x81, 1, 2]).body(),
        crate::support::batch(4, &[row]).body(),
        Request::get().digest(&[2; 20]).filter(&[0x93, 3, 0x93, 0x51, 2, 0xA1, b'n', 25]).body(),
    ];
    for round in 0..1500 {
        let mut body = models[round % 3].clone();
        for _ in 0..=numbers.next() % 3 {
            let at = numbers.next() as usize % body.len();
            body[at] = numbers.next() as u8;
        }
        let mut frame = Vec::new();
        put_frame(&mut frame, MESSAGE, &body);
        put_frame(&mut frame, INFO, b"status\n");
        let mut client = Client::connect(server.address(0));
        client.send_raw(&frame);
        // Whatever the message became, the next request on the connection is answered.
        let mut answered = false;
        while let Some((kind, _)) = client.receive() {
            if kind == INFO {
                answered = true;
                break;
            }
        }
        assert!(answered, "round {round}: {body:?}");
    }
}
