//! The wrong command and the odd day: clocks that were wrong, sources that are not there, parts of a source, new names.

use crate::world::World;
use rekeep::{
    record::{SystemClock, Timestamp},
    repo::{Manifest, OpenOptions, Repository, Storage, Unlock, WriteOptions},
};
use serde_json::{Value as Json, json};
use std::{fs, path::Path, process::Stdio, sync::Arc};

const DAY: i64 = 86_400_000;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// So many files of a few bytes.
fn fill(world: &World, dir: &str, files: usize) {
    (0..files).for_each(|n| write(&world.path(&format!("{dir}/{n}")), &n.to_string()));
}

/// Commits a snapshot that holds what another one does and ended so long ago; gives its id.
fn dated(world: &World, of: &str, days_ago: i64) -> String {
    let storage = Storage::open(world.repo().to_str().unwrap(), &rekeep::repo::storage::StorageOptions::default());
    let open = OpenOptions { cache_dir: world.path("other"), clock: Arc::new(SystemClock), host: "h".to_owned() };
    let unlock = Unlock::Password(crate::world::PASSWORD.to_owned());
    let repo = Repository::open(&storage.unwrap(), &unlock, &open).unwrap();
    let held = repo.snapshots().unwrap().into_iter().find(|s| s.id.to_string() == of).unwrap();
    let write = WriteOptions { purpose: "backup".to_owned(), compression: 1, check: true, write_limit: None };
    let session = repo.begin_write(&write).unwrap();
    let end = Timestamp::from_millis(repo.clock().now().as_millis() - days_ago * DAY);
    let mut content = held.content.clone();
    (content.start, content.end, content.parent) = (end, end, None);
    let id = session.id();
    session.commit(&Manifest { id, revision: 0, content, ..held.into_manifest() }).unwrap();
    id.to_string()
}

fn ids(rows: &Json) -> Vec<String> {
    rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_mistyped_tag_forgets_nothing() {
    let world = World::new();
    fill(&world, "s", 2);
    let all: Vec<String> = (0..3).map(|_| world.backup(&["files:s", "--tag", "weekly"])).collect();
    let before = world.objects();
    for args in [
        &["forget", "--keep-tag", "weakly"][..],
        &["forget", "--keep-last", "1", "--keep-tag", "weakly"],
        &["forget", "--keep-tag", "weekly", "--keep-tag", "weakly", "--prune"],
    ] {
        world.run(args).fails(2, &["`weakly`", "meets no snapshot", "--force"]);
    }
    assert_eq!(world.objects(), before);
    let done = world.json(&["forget", "--keep-last", "1", "--keep-tag", "weakly", "--force"]);
    assert_eq!(done["forgotten"], json!(all[..2]));
}

#[test]
fn a_snapshot_of_the_future_is_named_and_displaces_nobody() {
    let world = World::new();
    fill(&world, "s", 2);
    let real = world.backup(&["files:s"]);
    let old = dated(&world, &real, 3);
    let future = dated(&world, &real, -365);
    let kept = |args: &[&str]| {
        let plan = world.json(&[&["forget", "--dry-run"], args].concat());
        let rows = plan["groups"][0]["snapshots"].as_array().unwrap().clone();
        rows.iter()
            .filter(|row| row["keep"] == true)
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(&["--keep-within", "30d"]), [old.clone(), real.clone(), future.clone()]);
    assert_eq!(kept(&["--keep-within", "1d"]), [real.clone(), future.clone()]);
    assert_eq!(kept(&["--keep-last", "1"]), [real.clone(), future.clone()]);
    world.ok(&["forget", "--keep-last", "1", "-n"]).fails(0, &["future", &future[..8]]).says(&["ends in the future"]);
    world.ok(&["snapshots"]).fails(0, &["future", &future[..8]]).says(&["IN THE FUTURE"]);
    assert_eq!(world.snapshots()[2]["ahead"], true);
    assert_eq!(ids(&world.json(&["snapshots", "--latest", "1"])), [real.clone(), future.clone()]);
    let restored = world.run(&["--json", "restore", "latest", "files:out"]).fails(0, &["snapshot_ahead"]);
    assert_eq!(restored.json()["snapshot"], json!(real));
    assert_eq!(world.json(&["restore", "latest~1", "files:out1"])["snapshot"], json!(old));
    let status = world.run(&["--json", "status", "--max-age", "1h"]).fails(0, &["snapshot_ahead"]).json();
    assert_eq!((&status[0]["newest"], &status[0]["ahead"]), (&json!(real), &json!([future])));
    // Nothing but old ones and the future one: that is overdue.
    world.ok(&["forget", &real, "--force"]);
    world.run(&["status", "--max-age", "1d"]).fails(1, &["future"]);
    // The next backup is compared with what was really last.
    assert_eq!(world.json(&["backup", "files:s"])["parent"], json!(old));
}

#[cfg(target_os = "linux")]
#[test]
fn latest_is_the_newest_state_and_says_what_is_missing_in_it() {
    let world = World::new();
    world.sql("a.db", "CREATE TABLE t(k TEXT PRIMARY KEY, v INT) WITHOUT ROWID; INSERT INTO t VALUES('a', 1)");
    let whole = world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "INSERT INTO t VALUES(hex(zeroblob(40000)), 2), ('b', 3)");
    let partial =
        world.run(&["--json", "backup", "sqlite:a.db"]).fails(3, &[]).json()["id"].as_str().unwrap().to_owned();
    for (number, name) in ["latest", "@now"].iter().enumerate() {
        let out = format!("sqlite:out{number}.db");
        let ran = world.run(&["--json", "restore", name, &out]).fails(3, &["snapshot_partial", &whole[..8]]);
        assert_eq!((&ran.json()["snapshot"], &ran.json()["complete"]), (&json!(partial), &json!(false)));
    }
    assert_eq!(world.rows("out0.db", "SELECT count(*) FROM t WHERE k = 'b'").len(), 1);
    assert_eq!(world.json(&["restore", "latest~1", "sqlite:before.db"])["snapshot"], json!(whole));
    let asked = world.run(&["--json", "restore", "latest", "sqlite:whole.db", "--complete"]).fails(0, &["passed_over"]);
    assert_eq!(asked.json()["snapshot"], json!(whole));
    world.run(&["restore", &partial, "sqlite:no.db", "--complete"]).fails(2, &["partial"]);
    let status = world.json(&["status"]);
    assert_eq!((&status[0]["newest"], &status[0]["latest"]), (&json!(whole), &json!(partial)));
    assert_eq!(status[0]["latest_complete"], false);
    world.ok(&["status"]).says(&["PARTIAL"]);
    assert_eq!(ids(&world.json(&["snapshots", "--complete"])), [whole]);
}

#[test]
fn a_source_that_is_not_there_is_refused_until_that_is_accepted() {
    let world = World::new();
    fill(&world, "s/mnt", 4);
    let first = world.backup(&["files:s/mnt"]);
    fs::remove_dir_all(world.path("s/mnt")).unwrap();
    fs::create_dir(world.path("s/mnt")).unwrap();
    let lost = ["lost most of what it held", "4 records", &first[..8], "--accept-deletions"];
    world.run(&["backup", "files:s/mnt"]).fails(1, &lost);
    world.run(&["backup", "files:s/mnt", "--parent", "none", "--full"]).fails(1, &lost);
    world.run(&["--json", "backup", "files:s/mnt"]).fails(1, &["source_lost"]);
    world.run(&["backup", "files:s/mnt", "--dry-run"]).fails(0, &["would be refused"]);
    assert_eq!(world.snapshots().len(), 1, "nothing was committed");
    world.run(&["backup", "files:s/mnt", "--accept-deletions"]).fails(0, &["accepted"]);
    world.ok(&["backup", "files:s/mnt"]);
    fill(&world, "s/mnt", 2);
    world.ok(&["backup", "files:s/mnt"]);
    fs::remove_dir_all(world.path("s/mnt")).unwrap();
    fs::create_dir(world.path("s/mnt")).unwrap();
    world.run(&["backup", "files:s/mnt"]).fails(1, &["2 records"]);
    world.ok(&["backup", "files:s/mnt", "--max-deleted", "100"]);
    world.is_good();
}

#[test]
fn what_is_new_in_the_place_of_a_source_does_not_hide_that_it_is_gone() {
    let world = World::new();
    fill(&world, "s", 30);
    world.backup(&["files:s"]);
    fs::rename(world.path("s"), world.path("real")).unwrap();
    write(&world.path("s/NOT_MOUNTED"), "the disk is not mounted");
    world.run(&["backup", "files:s"]).fails(1, &["lost most", "all 30 records are gone", "1 other is there"]);
    world.run(&["backup", "files:s", "--dry-run"]).fails(0, &["would be refused"]);
    assert_eq!(world.snapshots().len(), 1);
    fs::remove_dir_all(world.path("s")).unwrap();
    fs::rename(world.path("real"), world.path("s")).unwrap();
    fill(&world, "s", 1200);
    world.backup(&["files:s"]);
    fs::rename(world.path("s"), world.path("real")).unwrap();
    fill(&world, "s/other", 300);
    world.run(&["backup", "files:s"]).fails(1, &["all 1200 records are gone", "301 others are there"]);
    world.run(&["backup", "files:s", "--accept-deletions"]).fails(0, &["accepted"]);
    // A folder that bears another name is no loss.
    fs::remove_dir_all(world.path("s")).unwrap();
    fs::create_dir(world.path("s")).unwrap();
    fs::rename(world.path("real"), world.path("s/pictures")).unwrap();
    world.backup(&["files:s"]);
    fs::rename(world.path("s/pictures"), world.path("s/photos")).unwrap();
    world.backup(&["files:s"]);
    // A dump of another name each night is none of that.
    for night in 0..3 {
        let _ = fs::remove_dir_all(world.path("dumps"));
        write(&world.path(&format!("dumps/{night}.sql")), "rows");
        world.ok(&["backup", "files:dumps"]);
    }
}

#[test]
fn an_age_in_a_letter_that_is_minutes_or_months_forgets_nothing() {
    let world = World::new();
    fill(&world, "s", 1);
    let newest = world.backup(&["files:s"]);
    let old = dated(&world, &newest, 100);
    let both = ["6mo or 6min"];
    world.run(&["forget", "--keep-within", "6m"]).fails(2, &both);
    world.run(&["forget", "--keep-within-daily", "1y6m"]).fails(2, &both);
    world.run(&["forget", "--max-age", "6m"]).fails(2, &both);
    world.run(&["prune", "--drop-versions", "6m"]).fails(2, &["6min", "180d"]);
    world.run(&["prune", "--thin-versions", "6m:1d"]).fails(2, &["6min", "180d"]);
    assert_eq!(ids(&Json::Array(world.snapshots())), [old, newest.clone()]);
    world.ok(&["forget", "--keep-within", "6mo"]);
    assert_eq!(world.snapshots().len(), 2);
    world.ok(&["forget", "--keep-within", "6min"]);
    assert_eq!(ids(&Json::Array(world.snapshots())), [newest]);
}

#[test]
fn losing_more_than_a_thousand_and_half_is_refused_and_remembered_once_accepted() {
    let world = World::new();
    let rows = |rows: u32| {
        world.sql(
            "a.db",
            &format!(
                "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY); DELETE FROM t;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO t SELECT i FROM n"
            ),
        );
    };
    let backup = |args: &[&str]| world.run(&[&["backup", "sqlite:a.db"], args].concat());
    rows(9000);
    backup(&[]).fails(0, &[]);
    rows(4500);
    backup(&[]).fails(1, &["4500 of 9000"]);
    backup(&["--max-deleted", "60"]).fails(0, &[]);
    rows(2000);
    backup(&[]).fails(1, &["2500 of 4500"]);
    backup(&["--accept-deletions"]).fails(0, &["accepted"]);
    rows(900);
    backup(&[]).fails(0, &["accepted"]);
    // Grown again, it is watched again.
    rows(4000);
    backup(&[]).fails(0, &[]);
    rows(1);
    backup(&[]).fails(1, &["3999 of 4000"]);
}

#[test]
fn an_empty_stream_is_refused_and_a_command_that_fails_is_not_believed() {
    let world = World::new();
    let piped = |text: &str| {
        use std::io::Write as _;
        let mut command = world.command(&["backup", "--stdin", "--stdin-name", "d.sql"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        crate::world::Ran::from(child.wait_with_output().unwrap())
    };
    // Of what there never was a snapshot, too.
    piped("").fails(1, &["nothing came", "nothing was committed", "--accept-deletions"]);
    let by = |args: &[&str]| world.run(&[&["backup", "--stdin-from-command", "--stdin-name", "c"], args].concat());
    by(&["--", "true"]).fails(1, &["nothing came", "nothing was committed", "--accept-deletions"]);
    assert_eq!(world.snapshots().len(), 0);
    piped("rows\n").fails(0, &[]);
    piped("").fails(1, &["nothing came", "--accept-deletions"]);
    piped("r").fails(0, &[]);
    by(&["--", "sh", "-c", "echo hello; echo more"]).fails(0, &[]);
    by(&["--", "sh", "-c", "echo half; exit 7"]).fails(1, &["exit status: 7", "not believed"]);
    by(&["--", "no-such-command-at-all"]).fails(1, &["no-such-command-at-all"]);
    by(&[]).fails(2, &["COMMAND"]);
    world.run(&["backup", "files:s", "--", "x"]).fails(2, &[]);
    world.run(&["backup", "files:s", "--stdin-name", "x"]).fails(2, &["--stdin-name"]);
    assert_eq!(world.snapshots().len(), 3);
    world.ok(&["dump", "latest", "files", "c", "--source", "files:stdin:c"]).says(&["hello\nmore"]);
}

#[test]
fn a_stream_that_is_meant_to_be_empty_is_committed_and_an_empty_source_is_told_of() {
    let world = World::new();
    let stream = |more: &[&str]| {
        let args = [&["backup", "--stdin-from-command", "--stdin-name", "c"], more, &["--", "true"]].concat();
        world.run(&args)
    };
    stream(&["--dry-run"]).fails(0, &["nothing came", "would be refused"]);
    stream(&["--accept-deletions"]).fails(0, &["nothing came", "accepted"]);
    stream(&[]).fails(0, &[]);
    fs::create_dir(world.path("nothing")).unwrap();
    let first = world.run(&["backup", "files:nothing"]).fails(0, &["nothing", "its first snapshot is empty"]);
    assert!(!first.err.contains("refused"), "{first:?}");
    let second = world.run(&["backup", "files:nothing"]).fails(0, &[]);
    assert!(!second.err.contains("first snapshot"), "{second:?}");
    world.sql("empty.db", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    world.run(&["backup", "sqlite:empty.db"]).fails(0, &["its first snapshot is empty"]);
    write(&world.path("empty.jsonl"), "");
    world.run(&["backup", "jsonl:empty.jsonl"]).fails(0, &["its first snapshot is empty"]);
    assert_eq!(world.snapshots().len(), 6);
}

#[test]
fn making_equal_leaves_alone_what_the_scope_left_out() {
    let world = World::new();
    fill(&world, "s", 3);
    write(&world.path("s/media/film"), "long");
    write(&world.path("s/d/x.log"), "log");
    write(&world.path("list"), "0\n1\n");
    let listed = world.backup(&["files:s", "--files-from", "list"]);
    let without = world.backup(&["files:s", "--exclude", "media", "--exclude", "*.log"]);
    write(&world.path("s/new"), "extra");
    write(&world.path("s/extra/y.log"), "log");
    write(&world.path("s/extra/y"), "extra");
    fs::remove_file(world.path("s/1")).unwrap();
    let foreseen = |id: &str| world.json(&["restore", id, "files:s", "--make-equal", "--dry-run"])["removed"].clone();
    assert_eq!(foreseen(&listed), 0);
    // `new`, `extra/y`, and `extra/`, should nothing else be in it.
    assert_eq!(foreseen(&without), 3);
    world.ok(&["restore", &listed, "files:s", "--make-equal"]);
    for (name, there) in [("1", true), ("2", true), ("media/film", true), ("new", true), ("extra/y", true)] {
        assert_eq!(world.path("s").join(name).exists(), there, "{name}");
    }
    world.ok(&["restore", &without, "files:s", "--make-equal"]).fails(0, &["extra/ is left"]);
    for (name, there) in
        [("media/film", true), ("d/x.log", true), ("new", false), ("extra/y", false), ("extra/y.log", true)]
    {
        assert_eq!(world.path("s").join(name).exists(), there, "{name}");
    }
    // A file where the target has a directory with what was left out: neither is lost.
    fs::remove_file(world.path("s/2")).unwrap();
    write(&world.path("s/2/z.log"), "log");
    world.run(&["restore", &without, "files:s", "--make-equal"]).fails(3, &["2", "not empty"]);
    assert!(world.path("s/2/z.log").exists());
}

#[test]
fn the_widest_scope_is_meant_or_all_are_listed() {
    let world = World::new();
    world.sql(
        "a.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY); INSERT INTO u VALUES(1)",
    );
    let t = world.backup(&["sqlite:a.db?table=t"]);
    assert_eq!(world.json(&["restore", "latest", "sqlite:only.db"])["snapshot"], json!(t));
    world.backup(&["sqlite:a.db?table=u"]);
    let several = ["tables t", "tables u", "--scope"];
    for args in [
        &["restore", "latest", "sqlite:no.db"][..],
        &["restore", "@now", "sqlite:no.db"],
        &["ls", "latest~1"],
        &["diff", "latest~1", "latest"],
    ] {
        world.run(args).fails(2, &several);
    }
    assert_eq!(world.json(&["restore", "latest", "sqlite:t.db", "--scope", "tables t"])["snapshot"], json!(t));
    let whole = world.backup(&["sqlite:a.db"]);
    let newer = world.backup(&["sqlite:a.db?table=t"]);
    let found = world.run(&["--json", "restore", "latest", "sqlite:w.db"]).fails(0, &["scope_chosen", &newer[..8]]);
    assert_eq!(found.json()["snapshot"], json!(whole));
    world.ok(&["snapshots"]).says(&["scope", "tables t", "everything"]);
    let scope = world.snapshots()[3]["scope"].as_str().unwrap()[..8].to_owned();
    assert_eq!(world.json(&["restore", "latest", "sqlite:h.db", "--scope", &scope])["snapshot"], json!(newer));
    let status = world.json(&["status"]);
    let rows: Vec<(&Json, &Json)> =
        status.as_array().unwrap().iter().map(|row| (&row["scope_note"], &row["newest"])).collect();
    assert_eq!(rows.len(), 3, "{status}");
    assert!(rows.iter().any(|(note, newest)| *note == "everything" && **newest == json!(whole)), "{status}");
    assert_eq!(world.json(&["snapshots", "--latest", "1"]).as_array().unwrap().len(), 3);
    world.run(&["diff", &whole, &newer]).fails(0, &["different parts"]);
}

#[test]
fn a_new_name_of_a_source_is_hinted_at() {
    let world = World::new();
    fill(&world, "one", 2);
    fill(&world, "two", 2);
    let link = world.path("current");
    std::os::unix::fs::symlink("one", &link).unwrap();
    let first = world.backup(&["files:current"]);
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("two", &link).unwrap();
    world.run(&["backup", "files:current"]).fails(0, &["new source", &first[..8], "source rename"]);
    world.run(&["backup", "files:current"]).fails(0, &[]);
    let named = world.command(&["backup", "files:one"]).env("REKEEP_HOST", "other").output().unwrap();
    crate::world::Ran::from(named).fails(0, &["looks like", &first[..8]]);
    assert!(world.snapshots().iter().any(|row| row["source"]["host"] == "other"));
    let plan = world.json(&["forget", "--keep-last", "1", "-n", "--group-by", "source"]);
    let groups = plan["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2, "{plan}");
    assert!(groups.iter().any(|group| group["snapshots"].as_array().unwrap().len() == 2), "{plan}");
}

#[test]
fn empty_tags_are_refused_and_long_ones_fit_a_table() {
    let world = World::new();
    fill(&world, "s", 1);
    for tag in ["", "  "] {
        world.run(&["backup", "files:s", "--tag", tag]).fails(2, &["tag is empty"]);
    }
    let long = "x".repeat(5000);
    let id = world.backup(&["files:s", "--tag", &long]);
    world.run(&["tag", &id, "--add", ""]).fails(2, &["tag is empty"]);
    for args in [&["snapshots"][..], &["forget", "--keep-last", "1", "-n"]] {
        let shown = world.ok(args).out;
        assert!(shown.lines().all(|line| line.chars().count() < 400), "{shown}");
    }
    assert_eq!(world.snapshots()[0]["tags"], json!([long]));
}

#[test]
fn a_renamed_source_goes_on_with_its_history() {
    let world = World::new();
    fill(&world, "one", 3);
    let path = |name: &str| fs::canonicalize(world.path(name)).unwrap().to_str().unwrap().to_owned();
    let old = path("one");
    let first = world.backup(&["files:one", "--tag", "x"]);
    fs::rename(world.path("one"), world.path("two")).unwrap();
    let new = path("two");
    world.run(&["source", "rename", "files:nowhere", &new]).fails(1, &["no snapshot of a source"]);
    world.ok(&["source", "rename", &format!("files:{old}"), &new]).says(&["1 snapshot of", "two"]);
    world.run(&["source", "rename", &format!("files:{new}"), &new]).fails(2, &["already"]);
    let next = world.run(&["--json", "backup", "files:two"]).fails(0, &[]);
    assert!(!next.err.contains("looks_like"), "{next:?}");
    assert_eq!(next.json()["parent"], json!(first));
    let sources = world.json(&["source", "list"]);
    assert_eq!((sources.as_array().unwrap().len(), &sources[0]["snapshots"]), (1, &json!(2)));
    // Once a source is there under both names it is one again by joining them.
    let elsewhere = world.backup(&["files:two", "--host", "new"]);
    assert_eq!(world.json(&["source", "list"]).as_array().unwrap().len(), 2);
    world.run(&["ls", "latest"]).fails(2, &["more than one source"]);
    let here = world.snapshots()[0]["source"]["name"].as_str().unwrap().to_owned();
    world.ok(&["source", "rename", &here, &format!("new:{new}")]);
    assert_eq!(world.json(&["restore", "latest", "files:out"])["snapshot"], json!(elsewhere));
    assert_eq!(world.json(&["backup", "files:two", "--host", "new"])["parent"], json!(elsewhere));
    assert_eq!(world.snapshots()[0]["tags"], json!(["x"]), "nothing else of them changed");
    world.is_good();
}

#[test]
fn what_changes_while_it_is_read_is_told_from_what_cannot_be_read() {
    let world = World::new();
    fill(&world, "s", 2);
    // A file that grows with each look at it: its times move while it is read.
    let busy = world.path("s/busy");
    fs::write(&busy, vec![7; 64 << 20]).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (seen, file) = (Arc::clone(&stop), busy.clone());
    let writer = std::thread::spawn(move || {
        use std::io::Write as _;
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"x").unwrap();
        }
    });
    let ran = world.run(&["--json", "backup", "files:s"]);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    let outcome = ran.fails(4, &[]).json();
    assert_eq!((&outcome["complete"], &outcome["only_changed"]), (&json!(false), &json!(true)), "{outcome}");
    assert_eq!((&outcome["stats"]["torn"], &outcome["stats"]["unreadable"]), (&json!(1), &json!(0)), "{outcome}");
    assert!(outcome["problems"][0].as_str().unwrap().contains("changed while it was read"), "{outcome}");
}

#[test]
fn a_repository_inside_its_own_source_is_left_out_and_left_alone() {
    let world = World::empty();
    fill(&world, "s", 3);
    let inside = world.path("s/backups/repo");
    let run = |args: &[&str]| {
        crate::world::Ran::from(world.command(args).env("REKEEP_REPOSITORY", &inside).output().unwrap())
    };
    run(&["init", "--kdf-memory", "1", "--kdf-passes", "1"]).fails(0, &[]);
    run(&["backup", "files:s"]).fails(0, &["backups/repo", "left out"]);
    let kept = run(&["ls", "latest", "files"]).fails(0, &[]).out;
    assert!(kept.contains("backups/") && !kept.contains("rekeep.json"), "{kept}");
    write(&world.path("s/extra"), "x");
    fs::remove_file(world.path("s/1")).unwrap();
    run(&["restore", "latest", "files:s", "--make-equal"]).fails(0, &[]);
    assert!(!world.path("s/extra").exists() && world.path("s/1").exists());
    run(&["verify", "--read-data"]).fails(0, &[]);
}

/// In a mount namespace of its own, where a folder is shown in another place, too.
fn with_mounted(world: &World, folder: &str, place: &str, args: &[&str]) -> crate::world::Ran {
    let command = world.command(args);
    let mut unshared = std::process::Command::new("unshare");
    let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
    unshared.args(["-m", "sh", "-c", script, "sh", folder, place]).arg(command.get_program()).args(command.get_args());
    unshared.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(world.path(""));
    crate::world::Ran::from(unshared.output().unwrap())
}

#[test]
#[ignore = "needs small-disk: mounts"]
fn a_repository_that_is_mounted_elsewhere_too_is_left_alone_there() {
    let world = World::new();
    fill(&world, "s", 3);
    world.backup(&["files:s"]);
    fs::create_dir_all(world.path("up/mnt")).unwrap();
    for (folder, target) in [("repo", "files:up/mnt"), ("repo", "files:up/mnt/packs"), ("repo/packs", "files:up/mnt")] {
        let ran = with_mounted(&world, folder, "up/mnt", &["restore", "latest", target, "--make-equal"]);
        ran.fails(1, &["in the repository that is restored from"]);
    }
    // Where it lies below, it is left alone.
    write(&world.path("up/extra"), "x");
    with_mounted(&world, "repo", "up/mnt", &["restore", "latest", "files:up", "--make-equal"]).fails(0, &[]);
    assert!(!world.path("up/extra").exists() && world.path("up/1").exists());
    world.ok(&["verify", "--read-data"]);
}

#[test]
fn a_catalog_that_cannot_be_kept_stops_nobody() {
    let world = World::new();
    fill(&world, "s", 2);
    write(&world.path("file"), "x");
    let with = |cache: Option<&Path>, args: &[&str]| {
        let mut command = world.command(args);
        for name in ["HOME", "XDG_CACHE_HOME", "REKEEP_CACHE_DIR"] {
            command.env_remove(name);
        }
        if let Some(cache) = cache {
            command.env("REKEEP_CACHE_DIR", cache);
        }
        crate::world::Ran::from(command.output().unwrap())
    };
    for (number, cache) in [None, Some(world.path("file")), Some(world.path("file/below"))].iter().enumerate() {
        let out = format!("files:out{number}");
        with(cache.as_deref(), &["backup", "files:s"]).fails(0, &["temporary"]);
        with(cache.as_deref(), &["restore", "latest", &out]).fails(0, &["temporary"]);
        assert!(world.path(&format!("out{number}/1")).exists());
    }
    world.is_good();
}

#[test]
fn a_location_in_the_spelling_of_another_tool_is_refused_with_the_right_one() {
    let world = World::empty();
    for (location, right) in [("sftp:user@host:/x", "sftp://user@host/x"), ("s3:s3.amazonaws.com/b/p", "s3://b/p")] {
        world.run(&["init", "-r", location]).fails(1, &[right]);
        assert!(!world.path(location).exists() && fs::read_dir(world.path("")).unwrap().count() == 0);
    }
}

#[test]
fn variables_that_are_set_but_empty_count_as_not_set() {
    let world = World::new();
    fill(&world, "s", 1);
    let mut command = world.command(&["backup", "files:s"]);
    for name in
        ["REKEEP_AS_SOCKET_TIMEOUT", "REKEEP_AS_MAX_DELETED", "REKEEP_HOST", "REKEEP_AS_SWEEP", "REKEEP_PASSWORD_FILE"]
    {
        command.env(name, "");
    }
    crate::world::Ran::from(command.output().unwrap()).fails(0, &[]);
    assert_ne!(world.snapshots()[0]["source"]["host"], "");
}

#[test]
fn what_a_scope_left_out_of_remote_files_stays_where_it_is() {
    let world = World::new();
    fs::create_dir_all(world.path("s/media")).unwrap();
    fs::write(world.path("s/a"), "a").unwrap();
    fs::write(world.path("s/media/film"), "film").unwrap();
    let place = format!("files:fs://{}", world.path("s").display());
    world.backup(&[&place, "--exclude", "media"]);
    fs::write(world.path("s/b"), "b").unwrap();
    fs::write(world.path("s/a"), "other").unwrap();
    fs::write(world.path("s/media/film"), "longer film").unwrap();
    fs::write(world.path("s/media/second"), "second").unwrap();
    for force in [&[][..], &["--force"]] {
        world.ok(&[&["restore", "latest", &place, "--make-equal"], force].concat());
        assert!(!world.path("s/b").exists());
        assert_eq!(fs::read_to_string(world.path("s/a")).unwrap(), "a");
        assert_eq!(fs::read_to_string(world.path("s/media/film")).unwrap(), "longer film");
        assert!(world.path("s/media/second").exists());
    }
}

#[test]
fn a_source_that_is_not_there_is_refused_under_a_wider_scope_too() {
    let world = World::new();
    fill(&world, "s", 3);
    write(&world.path("s/media/m"), "m");
    let part = world.backup(&["files:s", "--exclude", "media"]);
    fs::remove_dir_all(world.path("s")).unwrap();
    fs::create_dir(world.path("s")).unwrap();
    world.run(&["backup", "files:s"]).fails(1, &["lost most", &part[..8], "nothing was committed"]);
    assert_eq!(ids(&Json::Array(world.snapshots())), std::slice::from_ref(&part));
    // Of a part that was never asked for before nobody knows what it holds.
    world.ok(&["backup", "files:s", "--exclude", "other"]);
    fill(&world, "s", 1);
    let whole = world.backup(&["files:s"]);
    assert_eq!(world.json(&["restore", "latest", "files:out"])["snapshot"], json!(whole));
}

#[test]
fn names_that_would_break_a_line_are_refused() {
    let world = World::new();
    fill(&world, "s", 1);
    for args in [
        &["backup", "files:s", "--host", "a\nb"][..],
        &["backup", "files:s", "--source-name", "a\u{1b}[2J"],
        &["backup", "files:s", "--tag", "a\tb"],
    ] {
        world.run(args).fails(2, &["control characters"]);
    }
    world.backup(&["files:s", "--tag", "one"]);
    for args in [
        &["source", "rename", "files:s", "a\nb"][..],
        &["tag", "latest", "--set", "a\nb"],
        &["tag", "latest", "--add", "a\u{7f}"],
    ] {
        world.run(args).fails(2, &["control characters"]);
    }
    world.run(&["tag", "latest", "--set", "  "]).fails(2, &["a tag is empty"]);
    // A tag that was mistyped is not taken away, which is said.
    world.ok(&["tag", "latest", "--remove", "won"]).fails(0, &["has no tag won"]);
    assert_eq!(world.snapshots()[0]["tags"], json!(["one"]));
    world.ok(&["tag", "latest", "--set", ""]);
    assert_eq!(world.snapshots()[0]["tags"], json!([]));
}

#[test]
fn a_restore_does_not_write_over_the_repository_that_it_reads() {
    let world = World::new();
    fill(&world, "s", 3);
    world.backup(&["files:s"]);
    world.sql("a.db", "CREATE TABLE t(k INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)");
    world.backup(&["sqlite:a.db"]);
    std::os::unix::fs::symlink(world.repo(), world.path("link")).unwrap();
    let before: Vec<_> = world.objects().into_keys().filter(|name| !name.starts_with("leases")).collect();
    for target in ["files:repo", "files:link", "files:repo/packs", "files:repo/new/deep", "files:s/../repo"] {
        for how in [&["--make-equal"][..], &["--overwrite", "always"]] {
            let args = [&["restore", "latest", "--source", "files:s", target][..], how].concat();
            world.run(&args).fails(1, &["in the repository that is restored from"]);
        }
    }
    world.run(&["restore", "latest", "--source", "sqlite:a.db", "sqlite:repo/a.db"]).fails(1, &["in the repository"]);
    let after: Vec<_> = world.objects().into_keys().filter(|name| !name.starts_with("leases")).collect();
    assert_eq!(after, before);
    // What lies beside it is as free as before.
    world.ok(&["restore", "latest", "--source", "files:s", "files:repository"]);
    world.is_good();
}
