//! What scripts rely on: the shapes of `--json`, where events go, closed pipes, `--quiet` and `-v`.

use crate::world::{Ran, World, many_rows};
use serde_json::{Value as Json, json};
use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
};

#[track_caller]
fn has(value: &Json, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "no `{field}` in {value}");
    }
}

#[test]
fn snapshots_have_the_promised_shape() {
    let world = World::new();
    many_rows(&world, "a.db", 50);
    world.backup(&["sqlite:a.db", "--tag", "x"]);
    world.sql("a.db", "DELETE FROM t WHERE id = 1");
    world.backup(&["sqlite:a.db"]);
    let all = world.snapshots();
    assert_eq!(all.len(), 2);
    assert!(all[0]["end"].as_i64() <= all[1]["end"].as_i64());
    for snapshot in &all {
        has(
            snapshot,
            &["id", "start", "end", "time", "kind", "complete", "source", "parent", "tags", "collections", "stats"],
        );
        assert_eq!(snapshot["time"], snapshot["end"]);
        has(&snapshot["source"], &["connector", "name", "host", "url"]);
        has(&snapshot["collections"][0], &["name", "records", "bytes"]);
        has(
            &snapshot["stats"],
            &["seen", "new", "changed", "deleted", "bytes_read", "bytes_added", "duration_seconds"],
        );
        assert_eq!(snapshot["complete"], true);
        assert!(snapshot["end"].is_i64() && snapshot["stats"]["seen"].is_u64());
    }
    assert_eq!((&all[0]["parent"], &all[1]["parent"]), (&Json::Null, &all[0]["id"]));
    assert_eq!((&all[0]["tags"], &all[1]["collections"][0]["records"]), (&json!(["x"]), &json!(49)));
    assert_eq!(all[1]["stats"]["deleted"], 1);
    assert_eq!(world.json(&["snapshots", "--latest", "1"]).as_array().unwrap().len(), 1);
    let end = all[0]["end"].to_string();
    assert_eq!(world.json(&["snapshots", "--to", &end])[0]["id"], all[0]["id"]);
    assert_eq!(world.json(&["snapshots", "--from", "1 hour ago"]).as_array().unwrap().len(), 2);
    world.ok(&["snapshots", "--group-by", "source,tags"]).says(&["source sqlite:", "tags x", "no tags"]);
}

#[test]
fn the_newest_of_each_source_and_scope_are_those_of_the_whole_list() {
    let world = World::new();
    many_rows(&world, "a.db", 5);
    many_rows(&world, "b.db", 5);
    world.sql("a.db", "CREATE TABLE u (id INTEGER PRIMARY KEY); INSERT INTO u VALUES (1);");
    for round in 0..3 {
        world.backup(&["sqlite:a.db", "--tag", &format!("round={round}")]);
        world.backup(&["sqlite:b.db"]);
        world.backup(&["sqlite:a.db?table=u"]);
    }
    let all = world.snapshots();
    let newest = |count: usize, is_meant: &dyn Fn(&Json) -> bool| {
        let (mut left, mut ids) = (std::collections::HashMap::new(), Vec::new());
        for it in all.iter().rev().filter(|it| is_meant(it)) {
            let seen: &mut usize = left.entry(format!("{}{}", it["source"], it["scope"])).or_default();
            *seen += 1;
            ids.extend((*seen <= count).then(|| it["id"].clone()));
        }
        ids.reverse();
        ids
    };
    let listed = |args: &[&str]| -> Vec<Json> {
        let all = world.json(&[&["snapshots"], args].concat());
        all.as_array().unwrap().iter().map(|it| it["id"].clone()).collect()
    };
    assert_eq!(newest(1, &|_| true).len(), 3);
    assert_eq!(listed(&["--latest", "1"]), newest(1, &|_| true));
    assert_eq!(listed(&["--latest", "2"]), newest(2, &|_| true));
    assert_eq!(listed(&["--latest", "9"]), newest(9, &|_| true));
    let end = all[4]["end"].as_i64().unwrap();
    let by_then = |it: &Json| it["end"].as_i64().unwrap() <= end;
    assert_eq!(listed(&["--latest", "1", "--to", &end.to_string()]), newest(1, &by_then));
    assert_eq!(listed(&["--to", &end.to_string()]), newest(9, &by_then));
    let tagged = |it: &Json| it["tags"] == json!(["round=1"]);
    assert_eq!(listed(&["--latest", "1", "--tag", "round=1"]), newest(1, &tagged));
    assert_eq!(listed(&["--tag", "round=1"]), newest(9, &tagged));
    assert!(listed(&["--tag", "round=7"]).is_empty());
}

#[test]
fn results_go_to_standard_output_and_events_to_standard_error() {
    let world = World::new();
    many_rows(&world, "a.db", 2_000);
    for args in [
        &["backup", "sqlite:a.db"][..],
        &["restore", "latest", "sqlite:out.db"],
        &["verify", "--read-data", "--restore"],
        &["snapshots"],
        &["ls", "latest"],
        &["ls", "latest", "t"],
        &["find", "int:7"],
        &["history", "t", "int:7"],
        &["diff", "latest", "latest"],
        &["stats"],
        &["status"],
        &["tag", "latest", "--add", "x"],
        &["key", "list"],
        &["cache", "list"],
        &["cat", "config"],
    ] {
        let mut all = vec!["--json"];
        all.extend(args);
        let ran = world.ok(&all);
        ran.json();
        let events = ran.events();
        assert!(events.iter().all(|event| event["event"].is_string()), "{args:?}: {events:?}");
        if matches!(args[0], "backup" | "restore" | "verify") {
            assert!(events.iter().any(|event| event["event"] == "phase-end"), "{args:?}: {events:?}");
            has(&events[0], &["event", "phase", "records", "bytes", "records_expected", "bytes_expected", "seconds"]);
        }
        let mut quiet = vec!["--json", "--quiet"];
        quiet.extend(if args[0] == "restore" { &["restore", "latest", "jsonl:o", "--dry-run"][..] } else { args });
        assert_eq!(world.ok(&quiet).err, "", "{args:?}");
    }
    let error = world.run(&["--json", "ls", "latest", "nothing"]);
    assert_eq!(error.code, Some(2));
    assert_eq!(error.events().last().unwrap()["event"], "error");
}

#[test]
fn records_on_standard_output_leave_it_to_nothing_else() {
    let world = World::new();
    many_rows(&world, "a.db", 20);
    world.backup(&["sqlite:a.db"]);
    let ran = world.ok(&["--json", "restore", "latest", "jsonl:-"]);
    let lines: Vec<Json> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line.get("key").is_some()).count(), 20);
    let last = ran.events().pop().unwrap();
    assert_eq!((&last["event"], &last["result"]["records"]), (&json!("result"), &json!(20)));
    let plain = world.ok(&["restore", "latest", "jsonl:-"]);
    assert_eq!(plain.out, ran.out);
    assert!(plain.err.contains("restored snapshot"), "{plain:?}");
}

#[test]
fn a_reader_who_leaves_early_ends_the_command_quietly() {
    let world = World::new();
    many_rows(&world, "a.db", 60_000);
    world.backup(&["sqlite:a.db"]);
    for args in [&["ls", "latest", "t"][..], &["--json", "ls", "latest", "t"], &["find", "*"]] {
        let mut child = world.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        drop(lines);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{args:?}: {err}");
        assert!(!err.contains("error") && !err.contains("panicked"), "{args:?}: {err}");
    }
    world.is_good();
}

#[test]
fn more_is_said_on_request() {
    let world = World::new();
    many_rows(&world, "a.db", 200);
    let ran = world.ok(&["-v", "backup", "sqlite:a.db"]);
    assert!(ran.err.contains("opened repository") && ran.err.contains("reading: 200, "), "{ran:?}");
    assert_eq!(world.ok(&["backup", "sqlite:a.db"]).err, "");
}

#[test]
fn completions_and_manual_pages_need_no_repository() {
    let world = World::empty();
    world.ok(&["completions", "bash"]).says(&["rekeep", "snapshots"]);
    world.ok(&["man"]).says(&[".TH rekeep"]);
}

#[test]
fn names_cannot_play_tricks_with_a_terminal() {
    let world = World::new();
    world.sql(
        "a.db",
        "CREATE TABLE \"t\u{1b}[2J\"(k TEXT PRIMARY KEY); INSERT INTO \"t\u{1b}[2J\" VALUES('k' || char(27) || '[31m')",
    );
    world.backup(&["sqlite:a.db"]);
    let plain: [Ran; 4] = [
        world.ok(&["ls", "latest"]),
        world.ok(&["ls", "latest", "t\u{1b}[2J"]),
        world.ok(&["find", "*"]),
        world.ok(&["history", "t\u{1b}[2J", "str:k\u{1b}[31m"]),
    ];
    for ran in plain {
        assert!(!ran.out.contains('\u{1b}'), "{ran:?}");
        assert!(ran.out.contains("\\u{1b}"), "{ran:?}");
    }
}

#[test]
fn what_a_repository_costs_goes_by_the_table_that_is_given() {
    let world = World::new();
    many_rows(&world, "a.db", 5);
    world.backup(&["sqlite:a.db"]);
    let stored = world.json(&["stats"])["stored_bytes"].as_u64().unwrap();
    let priced = |per_gb: u64| {
        let text = json!({ "currency": "XTS", "classes": { "LOCAL": { "per_gb_month": per_gb } } });
        std::fs::write(world.path("prices.json"), text.to_string()).unwrap();
        world.json(&["stats", "--cost", "--prices", "prices.json"])
    };
    let (one, ten) = (priced(1_000_000), priced(10_000_000));
    assert_eq!(one["currency"], "XTS");
    let month = |costs: &Json| costs["month"].as_f64().unwrap();
    assert!(month(&one) > 0.0 && (month(&ten) / month(&one) - 10.0).abs() < 1e-6, "{one} {ten}");
    let bytes = one["classes"][0]["bytes"].as_u64().unwrap();
    assert!(bytes >= stored, "{bytes} of {stored}");
    // A class that the table does not know is named, and so is a table that is none.
    world.run(&["stats", "--cost", "--prices", "prices.json", "--cost-class", "NONE"]).fails(3, &["NONE"]);
    std::fs::write(world.path("prices.json"), "{").unwrap();
    world.run(&["stats", "--cost", "--prices", "prices.json"]).fails(2, &["the table of prices"]);
    let printed = world.ok(&["stats", "--print-prices"]);
    std::fs::write(world.path("own.json"), &printed.out).unwrap();
    assert_eq!(world.json(&["stats", "--cost", "--prices", "own.json"]), world.json(&["stats", "--cost"]));
}

#[cfg(target_os = "linux")]
fn full() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A cron job whose output found no room is not to read as one that backed up nothing.
#[cfg(target_os = "linux")]
#[test]
fn where_a_result_cannot_be_written_it_is_said_that_the_command_ran() {
    let world = World::new();
    many_rows(&world, "a.db", 5);
    let ran = |args: &[&str]| -> Ran { world.command(args).stdout(full()).output().unwrap().into() };
    let told = ran(&["backup", "sqlite:a.db", "--json"]);
    let error = told.events().into_iter().find(|event| event["event"] == "error").unwrap();
    assert_eq!((told.code, &error["kind"]), (Some(1), &json!("io")), "{told:?}");
    assert!(error["kept"].as_str().unwrap().contains("ran to its end"), "{error}");
    assert_eq!(world.snapshots().len(), 1);
    ran(&["ls", "latest"]).fails(1, &["standard output", "ran to its end"]);
    ran(&["forget", "latest", "--force"]).fails(1, &["standard output", "ran to its end"]);
    assert_eq!(world.snapshots().len(), 0);
}

#[test]
fn a_restore_whose_reader_goes_away_did_not_restore() {
    let world = World::new();
    many_rows(&world, "a.db", 5);
    world.backup(&["sqlite:a.db"]);
    for args in [&["restore", "latest", "jsonl:-"][..], &["--json", "restore", "latest", "jsonl:-"]] {
        let ran: Ran = world.command(args).stdout(closed()).output().unwrap().into();
        ran.fails(1, &["standard output", "not the whole snapshot"]);
    }
}

/// What is shown only once, and to nobody, is a failure that says what there is and how to get another.
#[cfg(target_os = "linux")]
#[test]
fn a_key_that_nobody_saw_is_told_as_lost() {
    let outs: [fn() -> Stdio; 2] = [full, closed];
    for (json, out) in [false, true].into_iter().flat_map(|json| outs.map(|out| (json, out))) {
        let world = World::empty();
        let ran = |args: &[&str]| -> Ran {
            let mut command = world.command(args);
            if json {
                command.arg("--json");
            }
            command.stdout(out()).output().unwrap().into()
        };
        ran(&["init", "--kdf-memory", "1", "--kdf-passes", "1"])
            .fails(1, &["shown to nobody", "the repository was made", "key rotate --epoch"]);
        let slots = world.json(&["key", "list"]).as_array().unwrap().len();
        std::fs::write(world.path("new"), "another\n").unwrap();
        let new = world.path("new").display().to_string();
        ran(&["key", "rotate", "--epoch", "--new-password-file", &new]).fails(1, &["shown to nobody", "in use"]);
        let left = world.command(&["--password-file", &new, "key", "list", "--json"]).output().unwrap();
        let left: Ran = left.into();
        assert!(left.code == Some(0) && left.json().as_array().unwrap().len() > slots, "{left:?}");
        ran(&["serve", "key", "somebody"]).fails(1, &["shown to nobody"]);
    }
    let world = World::empty();
    let told: Ran = world.command(&["init"]).stdout(Stdio::null()).output().unwrap().into();
    assert!(told.code == Some(0) && told.err.contains("shown to nobody"), "{told:?}");
}
