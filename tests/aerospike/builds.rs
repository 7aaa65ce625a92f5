//! Servers of each build that a client meets today: the same records, changes and indexes come back from all of them.

use crate::{
    cluster::{assert_kept, back_up, plain, populated, quick, some_record, source_of, try_back_up, url},
    place::here,
    support::{
        Heard, Rng,
        world::{assert_sound, snapshot},
    },
};
use rekeep::{
    ops::verify::{AgainstOptions, verify_against},
    repo::manifest::Kind,
};
use rekeep_aerospike_server::{Build, Config, Handle, NamespaceConfig, Sindex, SindexSource, SindexType};
use std::time::Duration;

fn index(name: &str) -> Sindex {
    Sindex {
        name: name.to_owned(),
        set: Some("demo".to_owned()),
        bin: Some("n".to_owned()),
        kind: SindexType::Numeric,
        source: SindexSource::Default,
        context: None,
        expression: None,
    }
}

fn of_build(build: Build) -> Handle {
    let namespaces = ["test", "bar"].map(NamespaceConfig::named).to_vec();
    here(Config { build, namespaces, ..Config::with_nodes(2) })
}

#[test]
fn full_and_incremental_backups_and_comparisons_work_with_servers_of_every_build() {
    for build in Build::ALL {
        let server = of_build(build);
        let (_world, repo) = populated(&server, 1_000, 35);
        let first = back_up(&repo, &server);
        assert_kept(&repo, &server, &first, &format!("{build}"));
        server.advance(Duration::from_mins(1));
        let mut rng = Rng::new(36);
        for dumped in server.dump("test").iter().step_by(13) {
            server.delete("test", &dumped.digest);
        }
        server.put_all("test", (900..1_100).map(|n| some_record(&mut rng, n).generation(20)));
        let second = back_up(&repo, &server);
        assert_eq!(second.kind, Kind::Incremental);
        assert!(second.stats.deleted > 0 && second.stats.changed + second.stats.new > 0, "{build}: {:?}", second.stats);
        assert_kept(&repo, &server, &second, &format!("{build}, incremental"));
        let taken = snapshot(&repo, second.id.unwrap());
        let source = source_of(&url(&server), quick());
        let told = verify_against(&repo, &taken, &source, AgainstOptions::default(), &Heard::default()).unwrap();
        assert!(told.complete, "{build}: {:?}", told.problems);
        assert_eq!((told.records, told.missing, told.extra, told.different), (second.records, 0, 0, 0), "{build}");
        assert_sound(&repo);
    }
}

#[test]
fn each_namespace_has_its_own_indexes_and_no_others_whatever_the_build() {
    for build in Build::ALL {
        let server = of_build(build);
        let (_world, repo) = populated(&server, 50, 37);
        for (namespace, name) in [("test", "of test"), ("bar", "of bar")] {
            server.with_namespace(namespace, |namespace| namespace.sindexes.push(index(name)));
        }
        let outcome = back_up(&repo, &server);
        for collection in &snapshot(&repo, outcome.id.unwrap()).collections {
            let indexes = collection.attributes["sindexes"].as_array().unwrap();
            let names: Vec<&str> = indexes.iter().filter_map(|index| index["name"].as_str()).collect();
            assert_eq!(names, [format!("of {}", collection.name)], "{build}");
            assert_eq!(collection.attributes["sindex_entries"].as_object().unwrap().len(), 1, "{build}");
        }
    }
}

#[test]
fn an_index_of_an_unknown_kind_is_kept_as_it_is_told_and_named() {
    let server = of_build(Build::V8_2);
    let (_world, repo) = populated(&server, 50, 38);
    let line = "ns=test:indexname=near:set=demo:bin=v:type=vector:indextype=default:metric=cosine:state=RW";
    server.set_info(None, "sindex-list", Some(line));
    server.set_info(None, "udf-list", Some("filename=a.wasm,hash=aa,type=WASM;"));
    let (outcome, warnings) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(warnings.contains("index `near`") && warnings.contains("vector"), "{warnings}");
    assert!(!outcome.complete && outcome.problems.iter().any(|line| line.contains("a.wasm")), "{:?}", outcome.problems);
    let taken = snapshot(&repo, outcome.id.unwrap());
    let collection = taken.collections.iter().find(|collection| collection.name == "test").unwrap();
    assert_eq!(collection.attributes["sindexes"][0]["raw"], line);
    assert!(taken.content.attributes["udfs"][0]["raw"].as_str().unwrap().contains("WASM"));
}

#[test]
fn a_node_that_lists_neither_indexes_nor_modules_makes_a_snapshot_incomplete_and_no_failure() {
    let server = of_build(Build::V8_1);
    let (_world, repo) = populated(&server, 50, 39);
    for command in ["sindex-list", "udf-list"] {
        server.set_info(None, command, Some("ERROR:81:role violation"));
    }
    let (outcome, _) = try_back_up(&repo, &url(&server), quick(), &plain()).unwrap();
    assert!(!outcome.complete);
    for what in ["indexes of namespace test", "indexes of namespace bar", "UDF modules"] {
        assert!(outcome.problems.iter().any(|line| line.contains(what)), "{what}: {:?}", outcome.problems);
    }
    assert_eq!(outcome.records, 50);
}
