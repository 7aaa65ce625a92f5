//! Values, keys and columns that a restore must neither lose nor change without a word.

use crate::cluster::{Cluster, Room, rows};

#[test]
#[ignore = "needs postgresql"]
fn a_socket_is_a_way_to_the_server() {
    let cluster = Cluster::new();
    let mut client = cluster.database("d");
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1)").unwrap();
    drop(client);
    let (room, port) = (Room::new(), cluster.port);
    let dir = cluster.data().parent().unwrap().display().to_string();
    let encoded = dir.replace('/', "%2F");
    for (at, url) in [
        format!("postgresql:///d?host={dir}&port={port}&user=postgres"),
        format!("postgresql://postgres@{encoded}:{port}/d"),
        format!("postgresql://postgres@{encoded}:{port}/d?sslmode=disable"),
    ]
    .iter()
    .enumerate()
    {
        room.backup(url);
        let to = format!("to{at}");
        let mut copy = cluster.database(&to);
        room.ok(&["restore", "latest", &url.replacen("/d", &format!("/{to}"), 1)]);
        assert_eq!(rows(&mut copy, "TABLE t"), ["1"]);
    }
}
