//! Indexes and modules.

use crate::{
    cluster::{Restore, back_up, kept, quick, start, url},
    support::{Heard, World},
};
use rekeep::{
    connector::{
        Overwrite,
        aerospike::{AerospikeSource, IndexOrder},
    },
    ops::backup::{BackupOptions, backup},
};
use rekeep_aerospike_server::{Handle, Seed, Sindex, SindexSource, SindexType};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

fn info(server: &Handle, command: &str) -> String {
    let mut stream = TcpStream::connect(server.address(0)).unwrap();
    let body = format!("{command}\n");
    let head = 2u64 << 56 | 1u64 << 48 | body.len() as u64;
    stream.write_all(&[&head.to_be_bytes()[..], body.as_bytes()].concat()).unwrap();
    let mut head = [0; 8];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; (u64::from_be_bytes(head) & 0xffff_ffff_ffff) as usize];
    stream.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap().trim_end_matches('\n').rsplit('\t').next().unwrap().to_owned()
}

fn index(name: &str, set: Option<&str>, bin: Option<&str>) -> Sindex {
    Sindex {
        name: name.to_owned(),
        set: set.map(str::to_owned),
        bin: bin.map(str::to_owned),
        kind: SindexType::Numeric,
        source: SindexSource::Default,
        context: None,
        expression: None,
    }
}

fn all_kinds() -> Vec<Sindex> {
    vec![
        index("plain", Some("demo"), Some("n")),
        index("null set", None, Some("n")),
        Sindex { kind: SindexType::String, ..index("text", Some("demo"), Some("a text")) },
        Sindex { source: SindexSource::List, ..index("list", None, Some("l")) },
        Sindex { context: Some(vec![0x92, 0x22, 0xa2, 3, b'a']), ..index("nested", None, Some("m")) },
        Sindex { expression: Some(vec![0x93, 0x51, 2, 0xa1, b'n']), ..index("expression", None, None) },
        Sindex { kind: SindexType::Geo, ..index("geo", None, Some("g")) },
        Sindex { source: SindexSource::Set, ..index("set", Some("demo"), None) },
    ]
}

fn listed(server: &Handle) -> Vec<Sindex> {
    let mut all = server.with_namespace("test", |namespace| namespace.sindexes.clone());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

#[test]
fn indexes_of_every_kind_and_modules_come_back_exactly() {
    let server = start(1);
    server.put_all("test", (0..50).map(|n| Seed::int(n).set("demo").bin_int("n", n)));
    server.with_namespace("test", |namespace| namespace.sindexes = all_kinds());
    assert_eq!(info(&server, "udf-put:filename=a.lua;content=bG9jYWwgeA==;content-len=12;udf-type=LUA;"), "ok");
    let (_world, repo) = World::new();
    let id = back_up(&repo, &server);
    for order in [IndexOrder::First, IndexOrder::Last] {
        let to = start(1);
        let outcome = Restore::of(&repo, id).how(|how| how.indexes = order).run(&to);
        assert!(outcome.complete, "{:?}", outcome.missing);
        assert_eq!(listed(&to), listed(&server));
        assert_eq!(info(&to, "udf-get:filename=a.lua"), info(&server, "udf-get:filename=a.lua"));
        for one in all_kinds() {
            let stat = format!("sindex-stat:namespace=test;indexname={}", one.name);
            assert_eq!(info(&to, &stat).split(';').next(), info(&server, &stat).split(';').next(), "{}", one.name);
        }
        let again = Restore::of(&repo, id).overwrite(Overwrite::IfChanged).run(&to);
        assert!(again.complete && again.notes.is_empty(), "{:?} {:?}", again.missing, again.notes);
    }
    let none = start(1);
    Restore::of(&repo, id).how(|how| how.indexes = IndexOrder::Never).options(|o| o.no_udfs = true).run(&none);
    assert_eq!((listed(&none), info(&none, "udf-list")), (vec![], String::new()));
}

#[test]
fn another_index_of_the_same_name_stops_before_any_write() {
    let (server, _world, repo, _) = kept(1, 20, 31);
    server.with_namespace("test", |namespace| namespace.sindexes = vec![index("i", None, Some("n"))]);
    let id = back_up(&repo, &server);
    let to = start(1);
    to.with_namespace("test", |namespace| namespace.sindexes = vec![index("i", None, Some("other"))]);
    let error = Restore::of(&repo, id).error(&to);
    assert!(error.contains("index `i`") && error.contains("nothing was written"), "{error}");
    assert_eq!(to.count("test"), 0);
    let outcome = Restore::of(&repo, id).how(|how| how.replace_indexes = true).run(&to);
    assert!(outcome.complete && outcome.notes.iter().any(|note| note.contains("replaced")), "{:?}", outcome.notes);
    assert_eq!(listed(&to), listed(&server));
}

#[test]
fn no_records_brings_indexes_alone_into_a_namespace_that_holds_records() {
    let (server, _world, repo, _) = kept(1, 20, 32);
    server.with_namespace("test", |namespace| namespace.sindexes = vec![index("i", None, Some("n"))]);
    let id = back_up(&repo, &server);
    let to = start(1);
    to.put("test", Seed::int(1).bin_int("n", 5));
    let mut restore = Restore::of(&repo, id);
    restore.what.no_records = true;
    let outcome = restore.run(&to);
    assert!(outcome.complete);
    assert_eq!((to.count("test"), listed(&to)), (1, listed(&server)));
}

/// A snapshot with an index of twenty entries.
fn with_an_index() -> (Handle, World, rekeep::repo::Repository, rekeep::repo::SnapshotId) {
    let server = start(1);
    server.put_all("test", (0..20).map(|n| Seed::int(n).bin_int("n", n)));
    server.with_namespace("test", |namespace| namespace.sindexes = vec![index("i", None, Some("n"))]);
    let (world, repo) = World::new();
    let id = back_up(&repo, &server);
    (server, world, repo, id)
}

#[test]
fn entries_of_indexes_are_compared_at_the_end() {
    let (_server, _world, repo, id) = with_an_index();
    let to = start(2);
    let outcome = Restore::of(&repo, id).run(&to);
    assert!(outcome.complete && outcome.notes.is_empty(), "{:?}", outcome.notes);
    for (entries, complete) in [(19, true), (0, false)] {
        let to = start(1);
        to.set_info(None, "sindex-stat", Some(&format!("entries={entries};load_pct=100")));
        let outcome = Restore::of(&repo, id).run(&to);
        let said = [outcome.notes.as_slice(), &outcome.missing].concat().join("; ");
        assert!(said.contains(&format!("has {entries} entries, and had 20")), "{said}");
        assert_eq!((outcome.complete, outcome.missing.is_empty()), (complete, complete));
    }
    // What was left out explains an empty one.
    let to = start(1);
    to.set_info(None, "sindex-stat", Some("entries=0;load_pct=100"));
    assert!(Restore::of(&repo, id).options(|options| options.sets = vec!["other".into()]).run(&to).complete);
}

#[test]
fn an_index_that_is_not_built_is_said_and_no_wait_does_not_ask() {
    let (_server, _world, repo, id) = with_an_index();
    let to = start(1);
    to.set_info(None, "sindex-stat", Some("entries=20;load_pct=40"));
    let short = |options: &mut rekeep::connector::aerospike::AerospikeOptions| {
        options.partition_timeout = std::time::Duration::from_millis(200);
    };
    let outcome = Restore::of(&repo, id).options(short).run(&to);
    assert!(!outcome.complete && outcome.missing[0].contains("is not built: 40 %"), "{:?}", outcome.missing);
    let to = start(1);
    to.set_info(None, "sindex-stat", Some("entries=20;load_pct=40"));
    assert!(Restore::of(&repo, id).how(|how| how.no_wait = true).run(&to).complete);
}

#[test]
fn one_node_that_lags_behind_is_waited_for() {
    let (_server, _world, repo, id) = with_an_index();
    let to = start(2);
    to.set_info(Some(1), "sindex-stat", Some("entries=5;load_pct=99"));
    let short = |options: &mut rekeep::connector::aerospike::AerospikeOptions| {
        options.partition_timeout = std::time::Duration::from_millis(200);
    };
    let outcome = Restore::of(&repo, id).options(short).run(&to);
    assert!(!outcome.complete && outcome.missing[0].contains("99 %"), "{:?}", outcome.missing);
}

#[test]
fn a_stop_is_heard_while_an_index_is_awaited() {
    use crate::support::Heard;
    use rekeep::{connector::aerospike::AerospikeTarget, ops::restore::restore};
    let (server, _world, repo, id) = with_an_index();
    let to = start(1);
    let heard = std::sync::Arc::new(Heard::default());
    to.set_info(None, "sindex-stat", Some("entries=20;load_pct=40"));
    let cancel = std::sync::Arc::clone(&heard);
    // All records are there when the indexes are asked about.
    to.fault(
        rekeep_aerospike_server::Fault::run(rekeep_aerospike_server::At::Start, move |control| {
            if control.count("test") == 20 {
                cancel.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        })
        .on(rekeep_aerospike_server::Command::Info)
        .always(),
    );
    let what = Restore::of(&repo, id).options(|o| o.partition_timeout = std::time::Duration::from_hours(1));
    let target = AerospikeTarget::new(&crate::cluster::url(&to), what.options.clone(), what.how.clone()).unwrap();
    let snapshot = crate::support::world::snapshot(&repo, id);
    let error = restore(&repo, &snapshot, &target, &what.what, heard.as_ref()).unwrap_err();
    assert!(error.is_interruption(), "{error}");
    to.clear_faults();
    to.set_info(None, "sindex-stat", None);
    let outcome = what.run(&to);
    assert!(outcome.complete && outcome.resumed == 20, "{outcome:?}");
    assert_eq!(listed(&to), listed(&server));
}

#[test]
fn an_index_and_a_module_of_unknown_kinds_are_named_by_a_restore_that_makes_all_the_rest() {
    let server = start(1);
    server.put_all("test", (0..50).map(|n| Seed::int(n).set("demo").bin_int("n", n)));
    let line = "ns=test:indexname=near:set=demo:bin=v:type=vector:indextype=default:metric=cosine:state=RW";
    let known = "ns=test:indexname=plain:set=demo:bin=n:type=numeric:indextype=default:context=null:state=RW";
    server.set_info(None, "sindex-list", Some(&format!("{line};{known}")));
    server.set_info(None, "udf-list", Some("filename=a.wasm,hash=aa,type=WASM;"));
    let (_world, repo) = World::new();
    let how = BackupOptions { parallel: 2, url: "aerospike:".to_owned(), ..BackupOptions::default() };
    let source = AerospikeSource::new(&url(&server), quick()).unwrap();
    let taken = backup(&repo, &source, &how, &Heard::default()).unwrap();
    assert!(!taken.complete, "the module's text could not be had");
    let to = start(1);
    let outcome = Restore::of(&repo, taken.id.unwrap()).run(&to);
    assert!(!outcome.complete);
    for words in ["index `near` of namespace `test`: it is not made again", "vector", "a.wasm"] {
        assert!(outcome.missing.iter().any(|line| line.contains(words)), "{words}: {:?}", outcome.missing);
    }
    assert_eq!(to.count("test"), 50);
    let made: Vec<String> = listed(&to).into_iter().map(|index| index.name).collect();
    assert_eq!(made, ["plain"], "the index that is known is made");
}
