//! Requests captured from a real client are answered with the bytes that a real server answered.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use rekeep_aerospike_server::codes::field;
use rekeep_aerospike_server::{Config, Handle, NamespaceConfig, Seed, Server};
use support::{Answer, Client, messages};

fn capture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/captures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Frame bodies of a captured answer.
fn bodies(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Some((_, body)) = rekeep_aerospike_server::wire::read_frame(&mut bytes).unwrap() {
        out.push(body);
    }
    out
}

/// Each message's bytes, the end message too.
fn message_bytes(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for body in bodies(bytes) {
        let mut rest = &body[..];
        while !rest.is_empty() {
            let len = (22..=rest.len()).find(|len| parses(&rest[..*len])).unwrap();
            out.push(rest[..len].to_vec());
            rest = &rest[len..];
        }
    }
    out
}

/// Whether these bytes are exactly one message.
fn parses(bytes: &[u8]) -> bool {
    let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_be_bytes(b.try_into().unwrap()) as usize);
    let items = u16::from_be_bytes([bytes[18], bytes[19]]) + u16::from_be_bytes([bytes[20], bytes[21]]);
    let mut at = 22;
    for _ in 0..items {
        match word(at) {
            Some(len) => at += 4 + len,
            None => return false,
        }
    }
    at == bytes.len()
}

fn seed(record: &Answer) -> Seed {
    let mut seed = Seed::with_digest(record.digest()).generation(record.generation as u16).void_time(record.void_time);
    if let Some(set) = record.field(field::SET) {
        seed = seed.set(std::str::from_utf8(set).unwrap());
    }
    if let Some(key) = record.field(field::KEY) {
        seed = seed.stored_key_is(key);
    }
    for (name, kind, value) in &record.ops {
        seed = seed.bin(name, *kind, value);
    }
    seed
}

/// A server that holds the records of the capture.
fn loaded() -> Handle {
    let server = Server::start(Config {
        namespaces: vec![NamespaceConfig::named("source-ns1"), NamespaceConfig::named("source-ns2")],
        node_ids: vec!["A1".into()],
        cluster_name: Some("backup-bench".into()),
        ..Config::default()
    })
    .unwrap();
    for body in bodies(&capture("scan-all-bins.response.bin")) {
        let records = messages(&body).into_iter().filter(|message| !message.is_last());
        server.put_all("source-ns2", records.map(|record| seed(&record)).collect::<Vec<_>>());
    }
    assert_eq!(server.count("source-ns2"), 61);
    server
}

/// Sends a captured request and returns each message's bytes.
fn replay(server: &Handle, name: &str) -> Vec<Vec<u8>> {
    let mut client = Client::connect(server.address(0));
    client.send_raw(&capture(&format!("{name}.request.bin")));
    let mut out: Vec<u8> = Vec::new();
    loop {
        let (kind, body) = client.receive().unwrap();
        let is_last = messages(&body).last().unwrap().is_last();
        rekeep_aerospike_server::wire::put_frame(&mut out, kind, &body);
        if is_last {
            return message_bytes(&out);
        }
    }
}

fn sorted(mut messages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    assert_eq!(messages.last().unwrap()[3], 1, "the end comes last");
    messages.sort();
    messages
}

#[test]
fn a_scan_of_all_bins_gives_the_captured_messages() {
    let wanted = message_bytes(&capture("scan-all-bins.response.bin"));
    assert_eq!(sorted(replay(&loaded(), "scan-all-bins")), sorted(wanted));
}

#[test]
fn a_metadata_only_scan_gives_the_captured_messages() {
    let wanted = message_bytes(&capture("scan-metadata-only.response.bin"));
    assert_eq!(sorted(replay(&loaded(), "scan-metadata-only")), sorted(wanted));
}

#[test]
fn a_scan_of_one_set_gives_the_captured_messages() {
    let wanted = message_bytes(&capture("scan-set-demo.response.bin"));
    assert_eq!(sorted(replay(&loaded(), "scan-set-demo")), sorted(wanted));
}

#[test]
fn a_scan_with_max_records_gives_so_many_records_of_the_capture() {
    let all: BTreeSet<_> = message_bytes(&capture("scan-all-bins.response.bin")).into_iter().collect();
    let got = replay(&loaded(), "scan-max-records-10");
    assert_eq!(got.len(), message_bytes(&capture("scan-max-records-10.response.bin")).len());
    assert_eq!(got.len(), 11);
    assert!(got.iter().all(|message| all.contains(message)));
}

/// `command → value` of the captured info answers.
fn captured_info() -> BTreeMap<String, String> {
    let text = String::from_utf8(capture("info.txt")).unwrap() + &String::from_utf8(capture("udf-get.txt")).unwrap();
    text.lines().filter_map(|line| line.split_once('\t')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn info_commands_that_depend_on_nothing_else_give_the_captured_values() {
    let server = loaded();
    let mut client = Client::connect(server.address(0));
    let captured = captured_info();
    for command in [
        "node",
        "build",
        "edition",
        "cluster-name",
        "features",
        "partition-generation",
        "peers-generation",
        "peers-clear-std",
        "replicas",
        "namespaces",
    ] {
        assert_eq!(client.info(command), captured[command], "{command}");
    }
}

#[test]
fn every_captured_namespace_setting_that_is_told_has_the_captured_form() {
    let server = loaded();
    let mut client = Client::connect(server.address(0));
    let parse = |text: &str| -> BTreeMap<String, String> {
        text.split(';').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    let captured = parse(&captured_info()["namespace/source-ns2"]);
    let told = parse(&client.info("namespace/source-ns2"));
    for key in ["objects", "master_objects", "ns_cluster_size", "effective_replication_factor", "dead_partitions"] {
        assert_eq!(told[key], captured[key], "{key}");
    }
    for key in told.keys() {
        assert!(captured.contains_key(key), "a real server tells no {key}");
    }
}

#[test]
fn sets_are_listed_with_the_captured_counts() {
    let server = loaded();
    let mut client = Client::connect(server.address(0));
    let parse = |text: &str| -> BTreeSet<(String, String)> {
        let sets = text.split(';').filter(|set| !set.is_empty()).map(|set| {
            let pairs: BTreeMap<_, _> = set.split(':').filter_map(|pair| pair.split_once('=')).collect();
            (pairs["set"].to_owned(), pairs["objects"].to_owned())
        });
        sets.collect()
    };
    assert_eq!(parse(&client.info("sets/source-ns2")), parse(&captured_info()["sets/source-ns2"]));
}

#[test]
fn indexes_made_again_are_listed_as_captured() {
    let server = loaded();
    let mut client = Client::connect(server.address(0));
    let wanted = captured_info()["sindex-list:namespace=source-ns2;b64=true"].clone();
    for index in wanted.split(';') {
        let pairs: BTreeMap<_, _> = index.split(':').filter_map(|pair| pair.split_once('=')).collect();
        let mut command = format!("sindex-create:namespace={};indexname={}", pairs["ns"], pairs["indexname"]);
        for key in ["set", "context", "exp", "indextype", "bin", "type"] {
            if pairs[key] != "null" {
                command += &format!(";{key}={}", pairs[key]);
            }
        }
        assert_eq!(client.info(&command), "ok", "{command}");
    }
    assert_eq!(client.info("sindex-list:namespace=source-ns2;b64=true"), wanted);
    let entries = |client: &mut Client, name: &str| {
        let stat = client.info(&format!("sindex-stat:namespace=source-ns2;indexname={name}"));
        stat.split(';').find_map(|pair| pair.strip_prefix("entries=")).unwrap().to_owned()
    };
    // As measured on the real server: an expression index over the demo set, an index on every set's `n`.
    assert_eq!(entries(&mut client, "idx_exp"), "9");
    assert_eq!(entries(&mut client, "idx_nullset"), "50");
}

#[test]
fn lua_modules_put_again_are_listed_and_given_as_captured() {
    let server = loaded();
    let mut client = Client::connect(server.address(0));
    let captured = captured_info();
    for name in ["hello.lua", "rs_udf.lua"] {
        let got = &captured[&format!("udf-get:filename={name}")];
        let content = got.split(';').find_map(|pair| pair.strip_prefix("content=")).unwrap();
        let put = format!("udf-put:filename={name};content={content};content-len={};udf-type=LUA;", content.len());
        assert_eq!(client.info(&put), "ok");
        assert_eq!(client.info(&format!("udf-get:filename={name}")), *got);
    }
    assert_eq!(client.info("udf-list"), captured["udf-list"]);
}
