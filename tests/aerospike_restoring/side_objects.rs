//! Indexes and modules.

use crate::{
    cluster::{Restore, back_up, kept, start},
    support::World,
};
use rekeep::connector::{Overwrite, aerospike::IndexOrder};
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
