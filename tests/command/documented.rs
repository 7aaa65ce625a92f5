//! `docs/json.md`, held against what the commands print: every key of every document.

use crate::world::{PASSWORD, World, many_rows};
use rekeep::{
    connector::Registry,
    record::SystemClock,
    repo::{OpenOptions, Repository, Storage, Unlock, WriteOptions},
    service::{Service, ServiceOptions, config::ConfigFile},
};
use serde_json::Value as Json;
use std::{collections::BTreeSet, iter::Peekable, str::Chars, sync::Arc};

#[cfg(feature = "deeplake")]
#[path = "../connector_deeplake/made.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod made;
#[cfg(feature = "deeplake")]
use made::Made;

const PAGE: &str = include_str!("../../docs/json.md");

/// What the page says of a value.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    /// Anything.
    Any,
    /// An array of such.
    Array(Box<Shape>),
    /// These keys; others too if it says so.
    Object(Vec<(String, Shape)>, bool),
}

/// Reads `{a, b[], c: {d}, e: [{f}], …}`.
fn shape(text: &mut Peekable<Chars<'_>>) -> Shape {
    skip(text);
    match text.peek() {
        Some('[') => {
            text.next();
            let inner = shape(text);
            while text.next_if(|c| *c != ']').is_some() {}
            text.next();
            Shape::Array(Box::new(inner))
        }
        Some('{') => {
            text.next();
            let (mut fields, mut open) = (Vec::new(), false);
            loop {
                skip(text);
                match text.next() {
                    Some('}') => return Shape::Object(fields, open),
                    Some('…') => open = true,
                    Some(',') => {}
                    Some(first) => {
                        let (name, of) = field(first, text);
                        // `{name: records}` stands for any names.
                        open |= of == Shape::Any && name.ends_with(':');
                        if !name.ends_with(':') {
                            fields.push((name, of));
                        }
                    }
                    None => panic!("a shape does not end"),
                }
            }
        }
        _ => Shape::Any,
    }
}

fn field(first: char, text: &mut Peekable<Chars<'_>>) -> (String, Shape) {
    let mut name = String::from(first);
    while let Some(c) = text.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    if text.next_if_eq(&'[').is_some() {
        text.next();
        return (name, Shape::Array(Box::new(Shape::Any)));
    }
    if text.next_if_eq(&'?').is_some() {
        name.push('?');
    }
    skip(text);
    if text.next_if_eq(&':').is_none() {
        return (name, Shape::Any);
    }
    let of = shape(text);
    if of == Shape::Any {
        while text.next_if(|c| c.is_ascii_alphanumeric() || *c == '_').is_some() {}
        name.push(':');
    }
    (name, of)
}

fn skip(text: &mut Peekable<Chars<'_>>) {
    while text.next_if(|c| c.is_whitespace()).is_some() {}
}

/// The text of a section.
fn section(name: &str) -> &'static str {
    let mut parts = PAGE.split("\n### `");
    let mut found = parts.by_ref().filter(|part| part.starts_with(&format!("{name}`\n")));
    let only = found.next().unwrap_or_else(|| panic!("{name} is not documented"));
    assert!(found.next().is_none(), "{name} is documented twice");
    only
}

/// The shapes that a section gives, in order.
fn shapes(name: &str) -> Vec<Shape> {
    let spans = section(name).split('`').skip(2).step_by(2);
    spans.filter(|span| span.starts_with(['{', '['])).map(|span| shape(&mut span.chars().peekable())).collect()
}

/// The keys that the first column of a section's table names; one that may be absent ends with a question mark.
fn table(text: &str) -> Shape {
    let mut fields = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let mark = if row.contains("absent if none") { "?" } else { "" };
        let names = row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2);
        let names = names.map(|name| name.split(['.', '[']).next().unwrap_or_default());
        fields.extend(names.map(|name| (format!("{name}{mark}"), Shape::Any)));
    }
    Shape::Object(fields, false)
}

#[track_caller]
fn check(what: &str, value: &Json, shape: &Shape) {
    match (shape, value) {
        (Shape::Any, _) | (_, Json::Null) => {}
        (Shape::Array(of), Json::Array(all)) => all.iter().for_each(|one| check(what, one, of)),
        (Shape::Object(fields, open), Json::Object(there)) => {
            let known = |(name, _): &'_ (String, Shape)| name.trim_end_matches('?').to_owned();
            let names: BTreeSet<String> = fields.iter().map(known).collect();
            let optional = |name: &str| fields.iter().any(|(other, _)| other.strip_suffix('?') == Some(name));
            let found: BTreeSet<String> = there.keys().cloned().collect();
            let missing: Vec<_> = names.difference(&found).filter(|name| !optional(name)).collect();
            assert!(missing.is_empty(), "{what}: documented and not there: {missing:?} of {value}");
            let extra: Vec<_> = found.difference(&names).collect();
            assert!(*open || extra.is_empty(), "{what}: there and not documented: {extra:?}");
            for (name, of) in fields.iter().filter(|(name, _)| there.contains_key(name)) {
                check(&format!("{what}.{name}"), &there[name], of);
            }
        }
        (shape, value) => panic!("{what} is no {shape:?}: {value}"),
    }
}

/// Checks a document against the n-th shape of a section.
#[track_caller]
fn is_as_said(name: &str, number: usize, value: &Json) {
    let shapes = shapes(name);
    check(name, value, shapes.get(number).unwrap_or_else(|| panic!("{name} has no shape {number}: {shapes:?}")));
}

/// The first of an array that must not be empty.
#[track_caller]
fn one(value: &Json) -> &Json {
    value.get(0).unwrap_or_else(|| panic!("nothing to look at: {value}"))
}

#[test]
fn the_notation_is_read() {
    let read = |text: &str| shape(&mut text.chars().peekable());
    let Shape::Object(fields, false) = read("{a, b[], c: {d},\ne: [{f}], g: {name: records}}") else { panic!() };
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "e", "g"]);
    assert_eq!(fields[3].1, Shape::Array(Box::new(Shape::Object(vec![("f".to_owned(), Shape::Any)], false))));
    assert_eq!(fields[4].1, Shape::Object(Vec::new(), true));
    assert!(matches!(read("{a, …}"), Shape::Object(_, true)));
    assert_eq!(
        read("{a?, b}"),
        Shape::Object(vec![("a?".to_owned(), Shape::Any), ("b".to_owned(), Shape::Any)], false)
    );
    assert_eq!(table("| `a`, `b[]` | x |\n| `c.d` | `y` |"), read("{a, b, c}"));
    assert_eq!(table("| `a` | x; absent if none |"), Shape::Object(vec![("a?".to_owned(), Shape::Any)], false));
}

#[test]
fn documents_have_the_keys_that_are_written_down() {
    let world = World::empty();
    let init = world.run(&["--json", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    is_as_said("init", 0, &init.json());
    let warned = init.events().into_iter().find(|event| event["event"] == "warning").unwrap();
    check("warning", &warned, &event("warning"));

    many_rows(&world, "a.db", 300);
    is_as_said("backup", 1, &world.json(&["backup", "sqlite:a.db", "--estimate"]));
    is_as_said("backup", 2, one(&world.json(&["backup", "sqlite:a.db", "--estimate"])["collections"]));
    let first = world.run(&["--json", "backup", "sqlite:a.db"]);
    is_as_said("backup", 0, &first.json());
    check("stats", &first.json()["stats"], &table(section("backup")));
    for name in ["phase", "phase-end"] {
        let told = first.events().into_iter().find(|event| event["event"] == name).unwrap();
        check(name, &told, &event("phase"));
    }
    for name in ["two", "three"] {
        world.sql("a.db", &format!("UPDATE t SET name = '{name}' WHERE id = 1"));
        world.backup(&["sqlite:a.db"]);
    }
    let failed = world.run(&["--json", "ls", "ffff"]).events().pop().unwrap();
    check("error", &failed, &event("error"));

    is_as_said("snapshots", 0, &world.snapshots()[0]);
    is_as_said("snapshots", 1, &world.snapshots()[0]["source"]);
    is_as_said("snapshots", 2, one(&world.snapshots()[0]["collections"]));
    is_as_said("ls", 0, &world.json(&["ls", "latest"]));
    is_as_said("ls", 1, &world.json(&["ls", "latest", "t"]));
    is_as_said("restore", 0, &world.json(&["restore", "latest", "sqlite:out.db"]));
    is_as_said("find", 0, &world.json(&["find", "int:1"]));
    is_as_said("diff", 0, &world.json(&["diff", "latest~1", "latest"]));
    is_as_said("verify", 0, &world.json(&["verify"]));
    is_as_said("verify", 1, &world.json(&["verify", "--against", "sqlite:a.db"]));
    is_as_said("status", 0, &world.json(&["status"]));
    is_as_said("drill", 0, &world.json(&["drill", "--no-report"]));
    world.ok(&["drill"]);
    is_as_said("drill list", 0, &world.json(&["drill", "list"]));
    is_as_said("drill show", 0, &world.json(&["drill", "show", "latest"]));
    is_as_said("stats", 0, &world.json(&["stats"]));
    is_as_said("parity", 0, &world.json(&["parity", "10"]));
    is_as_said("tag", 0, &world.json(&["tag", "latest", "--add", "x"]));

    crate::streams::changes(&world, "xdr");
    is_as_said("capture", 0, &world.json(&["capture", "asbx:xdr"]));
    is_as_said("replay", 0, &world.json(&["replay", "latest", "asbx:replayed", "--source", "asbx:xdr"]));

    let place = world.json(&["check-storage"]);
    is_as_said("check-storage", 0, &place);
    for (number, part) in [(1, "rights"), (2, "verdict"), (3, "speed"), (4, "traffic")] {
        is_as_said("check-storage", number, &place[part]);
    }
    is_as_said("source", 0, &world.json(&["source", "list"]));
    is_as_said("source", 1, &world.json(&["source", "rename", oldest_source(&world).as_str(), "other"]));
    is_as_said("replicate", 0, &world.json(&["replicate", "replica"]));
    let other = ["-r", "other", "init", "--kdf-memory", "1", "--kdf-passes", "1"];
    world.ok(&other);
    let copied =
        world.command(&["--json", "copy", "--to", "other"]).env("REKEEP_TO_PASSWORD", PASSWORD).output().unwrap();
    let copied = crate::world::Ran::from(copied).json();
    is_as_said("copy", 0, &copied);
    is_as_said("copy", 1, one(&copied["copied"]));
    is_as_said("repair", 0, &world.json(&["repair", "index", "--dry-run"]));

    let middle = world.snapshots()[1]["id"].as_str().unwrap().to_owned();
    let named = world.json(&["forget", &middle]);
    is_as_said("forget", 0, &named);
    is_as_said("forget", 1, one(&named["groups"][0]["snapshots"][0]["reasons"]));
    let history = world.json(&["history", "t", "int:1"]);
    is_as_said("history", 0, &history);
    is_as_said("history", 1, one(&history["versions"]));
    is_as_said("history", 2, one(&history["gaps"]));
    let policy = world.json(&["forget", "--keep-last", "1", "--prune"]);
    is_as_said("forget", 0, &policy);
    is_as_said("prune", 0, &policy["prune"]);
    is_as_said("prune", 1, &policy["prune"]["squashed"]);
    let plan = &world.json(&["prune", "--dry-run"])["plan"];
    check("plan", plan, &table(section("prune")));
    is_as_said("prune", 3, &plan["whole"]);
    is_as_said("prune", 6, &policy["prune"]["held"]);

    let held = lease(&world);
    let leases = world.json(&["leases"]);
    is_as_said("leases", 0, &leases);
    is_as_said("leases", 1, &one(&leases)["process"]);
    is_as_said("unlock", 0, &world.json(&["unlock", "--all"]));
    is_as_said("key", 0, &world.json(&["key", "list"]));
    std::fs::write(world.path("new"), "another one").unwrap();
    is_as_said("key", 1, &world.json(&["key", "add", "--new-password-file", "new"]));
    for (what, number) in [("index", 0), ("lease", 1)] {
        let objects = world.json(&["cat", what]);
        is_as_said("cat", number, &world.json(&["cat", what, one(&objects).as_str().unwrap()]));
    }
    drop(held);
    let file = concat!("asb:", env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/asb/source-ns2.compact.asb");
    let seen = world.json(&["inspect", file]);
    is_as_said("inspect", 0, &seen);
    is_as_said("inspect", 1, one(&seen["files"]));
    is_as_said("inspect", 2, one(&seen["namespaces"]));
    is_as_said("cache", 0, &world.json(&["cache", "list"]));
    let demo = world.json(&["demo", "--records", "1000", "--dir", "demo"]);
    is_as_said("demo", 0, &demo);
    is_as_said("demo", 1, one(&demo["steps"]));
    is_as_said("demo", 2, &one(&demo["steps"])["cost"]);
}

/// The name of the oldest snapshot's source.
fn oldest_source(world: &World) -> String {
    world.snapshots()[0]["source"]["name"].as_str().unwrap().to_owned()
}

/// The keys of an event, `event` included.
fn event(name: &str) -> Shape {
    let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
    let cell = row.split('|').nth(2).unwrap();
    // What stands in brackets explains.
    let mut names = vec!["event".to_owned()];
    let mut depth = 0;
    let outside: String = cell
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(');
            let is_outside = depth == 0;
            depth -= i32::from(*c == ')');
            is_outside
        })
        .collect();
    names.extend(outside.split('`').skip(1).step_by(2).map(str::to_owned));
    Shape::Object(names.into_iter().map(|name| (name, Shape::Any)).collect(), false)
}

/// A running lease of this process.
fn lease(world: &World) -> rekeep::repo::WriteSession {
    let storage = Storage::at(world.repo().to_str().unwrap()).unwrap();
    let options =
        OpenOptions { cache_dir: world.path("other-cache"), clock: Arc::new(SystemClock), host: "other".to_owned() };
    let repo = Repository::open(&storage, &Unlock::Password(PASSWORD.to_owned()), &options).unwrap();
    let write = WriteOptions { purpose: "backup".to_owned(), compression: 1, check: true, write_limit: None };
    repo.begin_write(&write).unwrap()
}

#[test]
fn copies_elsewhere_are_shown_as_written_down() {
    let world = World::new();
    many_rows(&world, "a.db", 10);
    world.backup(&["sqlite:a.db"]);
    world.ok(&["replicate", "replica"]);
    // One disk is too little, whatever lies on it.
    let ran = world.run(&["--json", "status", "--copy", "replica"]).fails(1, &[]);
    is_as_said("status", 0, &ran.json());
    is_as_said("status", 1, &one(&ran.json())["elsewhere"]);
    assert_eq!(one(&ran.json())["elsewhere"]["copies"], 3);
}

#[test]
fn what_a_service_and_an_operator_write_down_is_as_it_says() {
    let world = World::new();
    many_rows(&world, "a.db", 10);
    world.backup(&["sqlite:a.db"]);
    let dir = world.path("").display().to_string();
    std::fs::write(world.path("password"), PASSWORD).unwrap();
    let config = "service:\n  unlock:\n    password-file: {dir}/password\n  audit: { repository: ours }\n\
                  repositories:\n  ours: { location: '{dir}/repo' }\n";
    std::fs::write(world.path("config.yml"), config.replace("{dir}", dir.trim_end_matches('/'))).unwrap();
    let service = Service::start(ServiceOptions {
        file: ConfigFile::at(&world.path("config.yml").display().to_string()),
        state: world.path("state"),
        cache: world.path("cache-of-service"),
        host: "test".to_owned(),
        registry: Registry::default(),
        clock: Arc::new(SystemClock),
    });
    service.unwrap().stop();
    (0..3).for_each(|_| drop(world.ok(&["drill"])));
    let series = std::fs::read_dir(world.repo().join("drills")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(series.join("1")).unwrap();
    world.run(&["repair", "objects"]).fails(3, &["is missing"]);
    let told = world.json(&["audit"]);
    is_as_said("audit", 0, &told);
    let entries = told["entries"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["did"] == "stopped") && entries.iter().any(|it| it["settled"].is_array()));
    for entry in entries {
        is_as_said("audit", 1, entry);
    }
    is_as_said("serve", 0, &world.json(&["serve", "key", "boss"]));
    assert!(world.json(&["serve", "openapi"])["openapi"].is_string());
}

/// `dr`, in an environment of its own; gives its document.
#[cfg(feature = "deeplake")]
#[track_caller]
fn dr(world: &World, args: &[&str]) -> Json {
    let mut command = world.command(&["dr", "--json"]);
    command.args(args).env_remove("REKEEP_REPOSITORY");
    command.env("BACKUP_PATH", world.path("backups")).env("DEEPLAKE_STORAGE_LOCATION", world.path("lake"));
    command.env("BACKUP_RETENTION_DAYS", "30");
    let ran = crate::world::Ran::from(command.output().unwrap());
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran.json()
}

#[cfg(feature = "deeplake")]
#[test]
fn documents_of_a_dataset_service_have_the_keys_that_are_written_down() {
    let world = World::empty();
    let mut made = Made::new(&world.path("lake/acme/docs"));
    made.commit(&[("a", b"1")]);
    made.commit(&[("b", b"2")]);
    let created = dr(&world, &["create"]);
    is_as_said("dr", 0, &created);
    let id = created["backup_id"].as_str().unwrap();
    let Some(Shape::Object(mut fields, false)) = shapes("dr").into_iter().next() else { panic!("dr has no shape") };
    // A list has all but what only the making of one tells.
    fields.truncate(fields.len() - 3);
    check("dr list", &dr(&world, &["list"]), &Shape::Array(Box::new(Shape::Object(fields, false))));
    let restored = dr(&world, &["restore", id, "--target", "again"]);
    is_as_said("dr", 1, &restored);
    is_as_said("dr", 2, one(&restored["datasets"]));
    is_as_said("dr", 3, &dr(&world, &["verify", id]));
    is_as_said("dr", 3, &dr(&world, &["test-restore", id]));
    let status = dr(&world, &["status"]);
    is_as_said("dr", 6, &status);
    is_as_said("dr", 7, one(&status["parts"]));
    let history = dr(&world, &["history", id]);
    is_as_said("dr", 8, one(&history));
    is_as_said("dr", 9, one(&one(&history)["branches"]));
    is_as_said("dr", 10, one(&one(&one(&history)["branches"])["commits"]));
    let listed = world.command(&["-r", "backups", "--json", "ls", "latest"]).env_remove("REKEEP_REPOSITORY").output();
    let listed = crate::world::Ran::from(listed.unwrap()).json();
    is_as_said("ls", 0, &listed);
    is_as_said("snapshots", 3, &one(&listed)["dataset"]);
    is_as_said("snapshots", 4, one(&one(&listed)["dataset"]["branches"]));
    is_as_said("dr", 4, &dr(&world, &["cleanup"]));
    is_as_said("dr", 11, &dr(&world, &["test"]));
    is_as_said("dr", 12, &dr(&world, &["config", "show"]));
    let second = dr(&world, &["create"]);
    is_as_said("dr", 5, &dr(&world, &["delete", second["backup_id"].as_str().unwrap()]));
}
