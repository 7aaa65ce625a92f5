//! Several nodes: migration, and what a lost node takes along.

use std::collections::BTreeSet;

use rekeep_aerospike_server::codes::rc;
use rekeep_aerospike_server::{Config, Handle, Seed, Server};

use crate::support::{Answer, Client, Request};

fn load(server: &Handle, n: i64) {
    server.put_all("test", (0..n).map(|i| Seed::int(i).set("load").bin_int("i", i)));
}

/// Records and unavailable partitions that one node answers.
fn scan(server: &Handle, node: usize, trid: u64) -> (BTreeSet<[u8; 20]>, usize) {
    let mut client = Client::connect(server.address(node));
    let (answers, end) = client.query(&Request::query(trid, 0..4096));
    assert_eq!(end, Some(rc::OK));
    let (records, unavailable): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|a| a.result == rc::OK);
    assert!(unavailable.iter().all(|a| a.result == rc::UNAVAILABLE && a.info3 == 4 && a.fields.is_empty()));
    (records.iter().map(Answer::digest).collect(), unavailable.len())
}

#[test]
fn while_partitions_migrate_both_nodes_together_always_give_everything() {
    let server = Server::start(Config { manual_migrations: true, ..Config::default() }).unwrap();
    load(&server, 30_000);
    let added = server.add_node().unwrap();
    let mut trid = 1;
    loop {
        let left = server.migrate(700);
        let (first, unavailable_first) = scan(&server, 0, trid);
        let (second, unavailable_second) = scan(&server, added, trid + 1);
        trid += 2;
        assert_eq!(first.union(&second).count(), 30_000);
        assert_eq!(first.len() + second.len(), 30_000, "a partition is full on one node");
        assert_eq!(unavailable_first + unavailable_second, 4096);
        if left == 0 {
            assert!(second.len() > 10_000);
            break;
        }
    }
}

#[test]
fn a_lost_node_without_a_copy_elsewhere_leaves_empty_partitions_and_no_sign() {
    let server = Server::start(Config::with_nodes(2)).unwrap();
    load(&server, 30_000);
    let mut client = Client::connect(server.address(0));
    let key = |client: &mut Client| {
        let statistics = client.info("statistics");
        statistics.split(';').find_map(|pair| pair.strip_prefix("cluster_key=")).unwrap().to_owned()
    };
    let (before, generations) = (key(&mut client), client.info("partition-generation"));
    server.kill_node(1);
    let (records, unavailable) = scan(&server, 0, 1);
    assert_eq!(unavailable, 0);
    assert!((13_000..17_000).contains(&records.len()), "{}", records.len());
    let told = client.info("namespace/test");
    for pair in [
        "dead_partitions=0",
        "unavailable_partitions=0",
        "migrate_tx_partitions_remaining=0",
        "migrate_rx_partitions_remaining=0",
        "ns_cluster_size=1",
    ] {
        assert!(told.split(';').any(|have| have == pair), "{pair}: {told}");
    }
    assert_ne!(key(&mut client), before);
    assert_ne!(client.info("partition-generation"), generations);
    assert!(Client::try_connect(server.address(1)).is_none(), "its port is closed");
    server.revive_node(1).unwrap();
    assert_eq!(server.count("test"), 30_000, "it comes back with what it had");
}

#[test]
fn with_two_copies_a_lost_node_loses_nothing() {
    let server = Server::start(Config { replication_factor: 2, ..Config::with_nodes(3) }).unwrap();
    load(&server, 10_000);
    server.kill_node(2);
    let (first, _) = scan(&server, 0, 1);
    let (second, _) = scan(&server, 1, 2);
    assert_eq!(first.union(&second).count(), 10_000);
}

#[test]
fn partition_info_tells_the_records_of_each_partition() {
    let server = Server::start(Config::with_nodes(2)).unwrap();
    load(&server, 5000);
    let mut total = 0;
    let mut partitions = BTreeSet::new();
    for node in 0..2 {
        let told = Client::connect(server.address(node)).info("partition-info");
        let mut lines = told.split(';');
        let names: Vec<&str> = lines.next().unwrap().split(':').collect();
        let at = |name: &str| names.iter().position(|have| *have == name).unwrap();
        for line in lines {
            let values: Vec<&str> = line.split(':').collect();
            assert_eq!(values.len(), names.len());
            assert_eq!(values[at("working_master")], server.node_id(node));
            total += values[at("records")].parse::<u64>().unwrap();
            partitions.insert(values[at("partition")].parse::<u16>().unwrap());
        }
    }
    assert_eq!((total, partitions.len()), (5000, 4096));
}

#[test]
fn replicas_and_peers_of_all_nodes_fit_together() {
    let server = Server::start(Config { replication_factor: 2, ..Config::with_nodes(3) }).unwrap();
    let mut owners = vec![[0u8; 2]; 4096];
    for node in 0..3 {
        let mut client = Client::connect(server.address(node));
        let told = client.info("replicas");
        let maps: Vec<&str> = told.strip_prefix("test:0,2,").unwrap().split(',').collect();
        assert_eq!(maps.len(), 2);
        for (rank, map) in maps.iter().enumerate() {
            assert_eq!(map.len(), 684);
            let bits = data_encoding::BASE64.decode(map.as_bytes()).unwrap();
            for (pid, owners) in owners.iter_mut().enumerate() {
                owners[rank] += (bits[pid / 8] >> (7 - pid % 8)) & 1;
            }
        }
        let peers = client.info("peers-clear-std");
        assert_eq!(peers.matches("127.0.0.1:").count(), 2);
        assert!(!peers.contains(&server.node_id(node)));
        assert_eq!(client.info("service-clear-std"), server.address(node).to_string());
    }
    assert!(owners.iter().all(|ranks| *ranks == [1, 1]), "each rank of each partition has one owner");
}
