//! Info commands that change something, or that a test changes.

use std::time::Duration;

use rekeep_aerospike_server::clock::EPOCH_UNIX_SECONDS;
use rekeep_aerospike_server::{Config, Handle, Seed, Server};

use crate::support::Client;

fn start() -> (Handle, Client) {
    let server = Server::start(Config::default()).unwrap();
    let client = Client::connect(server.address(0));
    (server, client)
}

#[test]
fn truncation_takes_a_set_or_everything_updated_before_a_time() {
    let (server, mut client) = start();
    server.put("test", Seed::int(1).set("a").bin_int("i", 1));
    server.put("test", Seed::int(2).set("b").bin_int("i", 1));
    let first = server.now_ms();
    server.advance(Duration::from_secs(1));
    server.put("test", Seed::int(3).set("b").bin_int("i", 1));
    assert_eq!(client.info("truncate:namespace=test;set=a"), "ok");
    assert_eq!(server.count("test"), 2);
    let lut = (first + 1 + EPOCH_UNIX_SECONDS * 1000) * 1_000_000;
    assert_eq!(client.info(&format!("truncate:namespace=test;set=b;lut={lut}")), "ok");
    assert_eq!(server.count("test"), 1, "what was updated later stays");
    assert_eq!(client.info("truncate-namespace:namespace=test"), "ok");
    assert_eq!(server.count("test"), 0);
    assert!(client.info("sets/test").contains("set=b:objects=0:"));
    let future = (server.now_ms() + 60_000 + EPOCH_UNIX_SECONDS * 1000) * 1_000_000;
    assert!(client.info(&format!("truncate-namespace:namespace=test;lut={future}")).starts_with("ERROR:4:"));
    assert!(client.info("truncate:namespace=nowhere;set=a").starts_with("ERROR:4:"));
}

#[test]
fn an_index_is_made_found_counted_and_deleted() {
    let (server, mut client) = start();
    server.put_all("test", (0..10).map(|i| Seed::int(i).set("demo").bin_int("i", i)));
    server.put("test", Seed::string("s").set("demo").bin_string("i", "no number"));
    server.put("test", Seed::int(99).set("other").bin_int("i", 1));
    let create = "sindex-create:namespace=test;set=demo;indexname=idx;bin=i;type=NUMERIC";
    assert_eq!(client.info(create), "ok");
    assert!(client.info(create).starts_with("ERROR:200:"));
    assert_eq!(client.info("sindex-exists:namespace=test;indexname=idx"), "true");
    let stat = client.info("sindex-stat:namespace=test;indexname=idx");
    assert!(stat.contains("entries=10;") && stat.contains("load_pct=100"), "{stat}");
    assert_eq!(client.info("sindex-delete:namespace=test;set=demo;indexname=idx"), "ok");
    assert!(client.info("sindex-delete:namespace=test;set=demo;indexname=idx").starts_with("ERROR:201:"));
    assert_eq!(client.info("sindex-list:namespace=test"), "");
}

#[test]
fn indexes_over_lists_maps_paths_and_sets_count_each_value_of_a_record_once() {
    let (server, mut client) = start();
    // [1, 2, 2, "x"] and {"a": 5, "b": "y"}, and {"n": {"deep": [7, 8]}}.
    let list = [0x94, 1, 2, 2, 0xA2, 3, b'x'];
    let map = [0x82, 0xA2, 3, b'a', 5, 0xA2, 3, b'b', 0xA2, 3, b'y'];
    let deep = [0x81, 0xA2, 3, b'n', 0x81, 0xA5, 3, b'd', b'e', b'e', b'p', 0x92, 7, 8];
    server.put("test", Seed::int(1).set("demo").bin("l", 20, &list).bin("m", 19, &map).bin("d", 19, &deep));
    let mut entries = |name: &str, rest: &str| {
        assert_eq!(client.info(&format!("sindex-create:ns=test;set=demo;indexname={name};{rest}")), "ok");
        let stat = client.info(&format!("sindex-stat:namespace=test;indexname={name}"));
        stat.split(';').next().unwrap().strip_prefix("entries=").unwrap().to_owned()
    };
    assert_eq!(entries("numbers", "indextype=list;bin=l;type=numeric"), "2");
    assert_eq!(entries("strings", "indextype=list;bin=l;type=string"), "1");
    assert_eq!(entries("keys", "indextype=mapkeys;bin=m;type=string"), "2");
    assert_eq!(entries("values", "indextype=mapvalues;bin=m;type=numeric"), "1");
    assert_eq!(entries("path", "context=lCKiA24ipQNkZWVw;indextype=list;bin=d;type=numeric"), "2");
    assert_eq!(entries("set", "indextype=set"), "1");
    assert_eq!(entries("old", "indexdata=l,numeric"), "0");
}

#[test]
fn a_lua_module_needs_an_ending_and_its_right_length() {
    let (_server, mut client) = start();
    let put = |name: &str, len: usize| {
        format!("udf-put:filename={name};content=cmV0dXJuIDE=;content-len={len};udf-type=LUA;")
    };
    assert_eq!(client.info(&put("module", 12)), "error=invalid_filename");
    assert_eq!(client.info(&put("module.lua", 11)), "error=invalid_base64_content");
    assert_eq!(client.info(&put("module.lua", 12)), "ok");
    assert_eq!(client.info("udf-get:filename=module.lua"), "type=LUA;content=cmV0dXJuIDE=;");
    assert_eq!(client.info("udf-remove:filename=module.lua;"), "ok");
    assert_eq!(client.info("udf-get:filename=module.lua"), "error=not_found");
    assert_eq!(client.info("udf-list"), "");
}

#[test]
fn commands_that_are_not_known_or_enterprise_only_say_so() {
    let (_server, mut client) = start();
    assert_eq!(client.info("nonsense"), "ERROR:4:unrecognized command");
    assert!(client.info("rack-ids").starts_with("ERROR:25:"));
    assert!(client.info("get-config:context=xdr").starts_with("ERROR:25:"));
    assert!(client.info("namespace/nowhere").starts_with("ERROR:"));
}

#[test]
fn settings_of_a_namespace_are_told_and_changed() {
    let (_server, mut client) = start();
    assert!(client.info("get-config:context=namespace;id=test").contains("default-ttl=0;"));
    assert_eq!(client.info("set-config:context=namespace;id=test;default-ttl=77"), "ok");
    assert!(client.info("namespace/test").contains(";default-ttl=77;"));
    assert!(client.info("set-config:context=namespace;id=test;no-such=1").starts_with("ERROR:4:"));
}

#[test]
fn a_cluster_is_stable_when_it_has_the_size_asked_for_and_nothing_migrates() {
    let server = Server::start(Config { manual_migrations: true, ..Config::default() }).unwrap();
    let mut client = Client::connect(server.address(0));
    assert_eq!(client.info("cluster-stable:size=1;ignore-migrations=false"), "E2F2D97143F2");
    assert!(client.info("cluster-stable:size=2").starts_with("ERROR:"));
    server.add_node().unwrap();
    assert!(client.info("cluster-stable:size=2").starts_with("ERROR:"), "partitions migrate");
    assert!(!client.info("cluster-stable:size=2;ignore-migrations=true").starts_with("ERROR:"));
    server.migrate(usize::MAX);
    assert!(!client.info("cluster-stable:size=2").starts_with("ERROR:"));
}

#[test]
fn a_node_that_has_not_joined_tells_partition_generation_minus_one() {
    let (server, mut client) = start();
    server.set_initialised(0, false);
    assert_eq!(client.info("partition-generation"), "-1");
    server.set_initialised(0, true);
    assert_eq!(client.info("partition-generation"), "0");
}

#[test]
fn a_test_can_have_any_command_answered_otherwise_or_forbidden() {
    let (server, mut client) = start();
    server.set_info(None, "query-show", Some("ERROR:4:unrecognized command"));
    server.set_info(Some(0), "build", Some("4.5.0.1"));
    assert_eq!(client.info("query-show:trid=1"), "ERROR:4:unrecognized command");
    assert_eq!(client.info("build"), "4.5.0.1");
    server.set_info(Some(0), "build", None);
    assert_eq!(client.info("build"), "8.1.2.0");
}
