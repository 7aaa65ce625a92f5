//! What differs between builds wherever a client sees it.

use rekeep_aerospike_server::{Build, Config, NamespaceConfig, Server, Sindex, SindexSource, SindexType};

use crate::support::Client;

fn index(name: &str) -> Sindex {
    Sindex {
        name: name.to_owned(),
        set: None,
        bin: Some("n".to_owned()),
        kind: SindexType::Numeric,
        source: SindexSource::Default,
        context: None,
        expression: None,
    }
}

#[test]
fn indexes_are_listed_by_the_spelling_that_a_build_reads_and_all_of_them_by_another() {
    for build in Build::ALL {
        let namespaces = ["a", "b"].map(NamespaceConfig::named).to_vec();
        let server = Server::start(Config { build, namespaces, ..Config::default() }).unwrap();
        for name in ["a", "b"] {
            server.with_namespace(name, |namespace| namespace.sindexes.push(index(name)));
        }
        let mut client = Client::connect(server.address(0));
        let listed = |text: String| text.split(';').count();
        let by_namespace = listed(client.info("sindex-list:namespace=a;b64=true"));
        let by_ns = listed(client.info("sindex-list:ns=a;b64=true"));
        assert_eq!(by_namespace, if build >= Build::V7_2 { 1 } else { 2 }, "{build}");
        assert_eq!(by_ns, if build < Build::V8_2 { 1 } else { 2 }, "{build}");
        assert_eq!(client.info("build"), format!("{build}"));
    }
}

#[test]
fn indexes_are_made_as_a_build_spells_them() {
    for build in Build::ALL {
        let server = Server::start(Config { build, ..Config::default() }).unwrap();
        let mut client = Client::connect(server.address(0));
        let old = client.info("sindex-create:ns=test;indexname=old;indexdata=n,NUMERIC");
        let new = client.info("sindex-create:namespace=test;indexname=new;bin=m;type=NUMERIC");
        assert_eq!(old.eq_ignore_ascii_case("ok"), build < Build::V8_2, "{build}: {old}");
        assert_eq!(new.eq_ignore_ascii_case("ok"), build >= Build::V8_1, "{build}: {new}");
    }
}

#[test]
fn a_node_that_starts_anew_is_empty_and_says_so_by_its_uptime_and_the_key() {
    let server = Server::start(Config::default()).unwrap();
    server.put("test", rekeep_aerospike_server::Seed::int(1).bin_int("n", 1));
    let told = |key: &str| {
        let text = Client::connect(server.address(0)).info("statistics");
        text.split(';').find_map(|pair| pair.strip_prefix(key)).map(str::to_owned).unwrap()
    };
    let (key, uptime) = (told("cluster_key="), told("uptime=").parse::<u64>().unwrap());
    server.restart_node_empty(0).unwrap();
    assert_eq!(server.count("test"), 0);
    assert_ne!(told("cluster_key="), key);
    assert!(told("uptime=").parse::<u64>().unwrap() < uptime);
}

#[test]
fn a_paused_node_takes_its_records_along_and_brings_them_back() {
    let server = Server::start(Config::with_nodes(2)).unwrap();
    server.put_all("test", (0..100).map(|n| rekeep_aerospike_server::Seed::int(n).bin_int("n", n)));
    server.pause_node(1);
    assert!(server.count("test") < 100);
    server.resume_node(1);
    assert_eq!(server.count("test"), 100);
    assert_eq!(Client::connect(server.address(1)).info("node"), server.node_id(1));
}
