//! Drills: a snapshot restored to a place that nobody needs, compared, looked at, and a report that says so.

use crate::world::{World, many_rows};
use serde_json::{Value as Json, json};
use std::{fs, path::PathBuf};

fn drilled(world: &World, args: &[&str], code: i32) -> Json {
    let mut all = vec!["--json", "drill"];
    all.extend(args);
    let ran = world.run(&all);
    assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
    ran.json()
}

fn reports(world: &World) -> Vec<Json> {
    world.json(&["drill", "list"])["reports"].as_array().unwrap().clone()
}

fn check<'r>(report: &'r Json, name: &str) -> &'r Json {
    let found =
        report["checks"].as_array().unwrap().iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
    found.unwrap_or_else(|| panic!("no check {name}: {report}"))
}

/// What lies in the folder of scratch folders, locks of targets left aside.
fn left(world: &World) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(world.path("cache/drills")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("target-")).collect()
}

/// The largest pack with one byte turned over.
fn harm(world: &World) {
    let packs = world.objects().into_iter().filter(|(name, _)| name.starts_with("packs"));
    let (name, mut bytes) = packs.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let path = world.repo().join(name);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_drill_proves_the_newest_snapshot_and_keeps_a_report_that_says_so() {
    let world = World::new();
    many_rows(&world, "a.db", 3_000);
    world.backup(&["sqlite:a.db"]);
    world.sql("a.db", "DELETE FROM t WHERE id <= 1000; UPDATE t SET name = 'x' WHERE id = 2000");
    let id = world.backup(&["sqlite:a.db"]);
    let before = world.json(&["status"]);
    assert_eq!((&before[0]["proved"], &before[0]["last_drill"]), (&json!(null), &json!(null)));
    world.run(&["status", "--max-proof-age", "1h"]).fails(1, &[]).says(&["never TOO OLD"]);

    let assertion = "echo seen $REKEEP_DRILL_RECORDS $REKEEP_DRILL_SAMPLED; test -s \"$REKEEP_DRILL_PATH\" && \
                     test \"$REKEEP_DRILL_TARGET\" = \"sqlite:$REKEEP_DRILL_PATH\"";
    let report = drilled(&world, &["--assert", assertion, "--max-rpo", "1h", "--max-rto", "1h"], 0);
    assert_eq!((&report["passed"], &report["snapshot"]), (&json!(true), &json!(id)));
    assert_eq!(
        (&report["records"], &report["compared"], &report["different"]),
        (&json!(2000), &json!(2000), &json!(0))
    );
    assert_eq!(check(&report, "assertion")["words"], "seen 2000 0");
    assert!(
        report["rto_millis"].is_u64()
            && check(&report, "rto")["passed"] == true
            && check(&report, "rpo")["passed"] == true
    );
    assert!(left(&world).is_empty(), "{:?}", left(&world));

    let status = world.json(&["status"]);
    assert_eq!((&status[0]["last_drill"], &status[0]["last_drill_passed"]), (&report["report"], &json!(true)));
    assert!(status[0]["proof_age_seconds"].is_u64());
    world.ok(&["status", "--max-proof-age", "1h"]);

    // The report is of the source, and is read again by anyone who may read.
    let name = report["report"].as_str().unwrap();
    assert_eq!(reports(&world)[0]["report"], name);
    let page = world.path("report.html");
    world.ok(&["drill", "show", "latest", "--html", page.to_str().unwrap()]);
    let page = fs::read_to_string(page).unwrap();
    for words in ["PASSED", name, report["hash"].as_str().unwrap(), "2000 records", "seen 2000 0"] {
        assert!(page.contains(words), "`{words}` is not in {page}");
    }
    assert!(!page.contains("http://") && !page.contains("src="));
    let brief = format!("{}/{}", &name[..6], name.split_once('/').unwrap().1);
    world.ok(&["drill", "show", &brief]).says(&["PASSED", "2 000 records"]);
    world.ok(&["verify"]).says(&["no damage found"]);
}

#[test]
fn a_sample_is_a_part_and_every_kind_of_local_source_is_drilled() {
    let world = World::new();
    many_rows(&world, "a.db", 4_000);
    world.backup(&["sqlite:a.db"]);
    let report = drilled(&world, &["--sample", "25%", "--source", "sqlite:a.db"], 0);
    let records = report["records"].as_u64().unwrap();
    assert!((600..1400).contains(&records) && report["compared"] == report["records"], "{report}");
    assert!(report["sample"]["share"].is_u64());
    let folder = world.path("tree/deep");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "content").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    fs::write(world.path("lines.jsonl"), "{\"id\":1,\"v\":\"one\"}\n{\"id\":2,\"v\":\"two\"}\n").unwrap();
    world.backup(&["files:tree"]);
    world.backup(&["jsonl:lines.jsonl?key=id"]);
    for source in ["files:tree", "jsonl:lines.jsonl"] {
        let known = world.snapshots();
        let name = known.iter().find(|it| it["source"]["url"].as_str().unwrap().starts_with(source)).unwrap();
        let report = drilled(&world, &[name["id"].as_str().unwrap()], 0);
        assert_eq!(report["passed"], true, "{report}");
    }
    #[cfg(unix)]
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert!(left(&world).is_empty(), "{:?}", left(&world));
    // Of several sources one has to be meant.
    world.run(&["drill"]).fails(2, &[]);
    assert_eq!(reports(&world).len(), 3);
    world.run(&["drill", "show", "latest"]).fails(2, &["several sources"]);
}

#[test]
fn a_drill_that_fails_says_why_and_keeps_a_report_too() {
    let world = World::new();
    many_rows(&world, "a.db", 20_000);
    world.backup(&["sqlite:a.db"]);
    let report = drilled(&world, &["--assert", "echo not enough; exit 7", "--assert", "true"], 1);
    assert_eq!((&report["passed"], &check(&report, "restore")["passed"]), (&json!(false), &json!(true)));
    let words = check(&report, "assertion: echo")["words"].as_str().unwrap();
    assert!(words.contains('7') && words.contains("not enough"), "{words}");
    assert_eq!(check(&report, "assertion: true")["passed"], true);
    let report = drilled(&world, &["--assert", "sleep 600", "--assert-timeout", "0s"], 1);
    assert!(check(&report, "assertion")["words"].as_str().unwrap().contains("took more than 0 s"), "{report}");
    let report = drilled(&world, &["--max-rto", "0s"], 1);
    assert_eq!(check(&report, "rto")["passed"], false);

    // A target that holds something already, and one that cannot be written.
    fs::write(world.path("held.db"), "").unwrap();
    world.sql("held.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'mine')");
    let report = drilled(&world, &["--target", "sqlite:held.db", "--assert", "false"], 1);
    assert!(check(&report, "restore")["words"].as_str().unwrap().contains("already holds records"), "{report}");
    assert!(check(&report, "assertion")["words"].as_str().unwrap().contains("not run"));
    assert_eq!(world.rows("held.db", "SELECT count(*) FROM t").len(), 1);
    let report = drilled(&world, &["--target", "sqlite:no/such/folder/x.db"], 1);
    assert_eq!(report["rto_millis"], json!(null));

    // A snapshot that is damaged: what is lost is named.
    harm(&world);
    let report = drilled(&world, &["--assert", "true"], 1);
    let words = check(&report, "restore")["words"].as_str().unwrap();
    assert!(words.contains("lost to damage"), "{words}");
    assert!(left(&world).is_empty());
    assert_eq!(reports(&world).len(), 6);
    let status = world.json(&["status"]);
    assert_eq!((&status[0]["proved"], &status[0]["last_drill_passed"]), (&json!(null), &json!(false)));
    world.ok(&["status"]).says(&["never, last drill FAILED"]);
}

#[test]
fn what_a_killed_drill_left_goes_with_the_next_one_and_two_at_once_do_not_meet() {
    let world = World::new();
    many_rows(&world, "a.db", 500);
    world.backup(&["sqlite:a.db"]);
    let begun = world.path("begun");
    // It ends by itself once this test has cleared up.
    let line = format!("touch {0}; while test -e {0}; do sleep 0.05; done", begun.display());
    let mut killed = world.command(&["drill", "--assert", &line]).spawn().unwrap();
    while !begun.exists() {
        assert!(killed.try_wait().unwrap().is_none(), "it ended before it asserted anything");
        std::thread::yield_now();
    }
    // While it is at work another one neither waits for it nor touches what is its.
    let folders = left(&world);
    assert_eq!(folders.len(), 2, "a folder and its lock: {folders:?}");
    drilled(&world, &[], 0);
    assert_eq!(left(&world).len(), 2);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(left(&world).len(), 2, "nobody has cleared up yet");
    let report = drilled(&world, &[], 0);
    assert!(report["notes"].to_string().contains("broken off"), "{report}");
    assert!(left(&world).is_empty());
    let names: Vec<Json> = reports(&world).iter().map(|report| report["report"].clone()).collect();
    assert!(names[0].as_str().unwrap().ends_with("/0") && names[1].as_str().unwrap().ends_with("/1"), "{names:?}");
}

#[test]
fn a_target_takes_one_drill_at_a_time() {
    let world = World::new();
    many_rows(&world, "a.db", 100);
    world.backup(&["sqlite:a.db"]);
    let (begun, go) = (world.path("begun"), world.path("go"));
    let line = format!("touch {}; while ! test -e {}; do sleep 0.05; done", begun.display(), go.display());
    let mut first = world.command(&["drill", "--target", "sqlite:t.db", "--assert", &line]).spawn().unwrap();
    while !begun.exists() {
        assert!(first.try_wait().unwrap().is_none(), "it ended before it asserted anything");
        std::thread::yield_now();
    }
    world.run(&["drill", "--target", "sqlite:t.db"]).fails(11, &["another drill"]);
    fs::write(go, "").unwrap();
    let first = first.wait_with_output().unwrap();
    assert_eq!(first.status.code(), Some(0));
    assert_eq!(reports(&world).len(), 1, "the one that was refused has no report");
}

#[test]
fn whoever_may_only_read_drills_without_a_report_and_whoever_may_not_read_values_does_not() {
    let world = World::new();
    many_rows(&world, "a.db", 100);
    world.backup(&["sqlite:a.db"]);
    for role in ["read-only", "put-only"] {
        fs::write(world.path(role), "another password\n").unwrap();
        world.ok(&["key", "add", "--role", role, "--new-password-file", role]);
        let as_role = |args: &[&str]| {
            let mut all = vec!["--password-file", role];
            all.extend(args);
            let ran: crate::world::Ran = world.command(&all).env_remove("REKEEP_PASSWORD").output().unwrap().into();
            ran
        };
        as_role(&["drill"]).fails(1, &["the right to"]);
        let without = as_role(&["drill", "--no-report"]);
        assert_eq!(without.code, Some(i32::from(role == "put-only")), "{without:?}");
        fs::remove_file(world.path(role)).unwrap();
        if role == "read-only" {
            assert!(reports(&world).is_empty());
            let slots = world.json(&["key", "list"]);
            let slot = slots.as_array().unwrap().iter().find(|slot| slot["role"] == role).unwrap();
            world.ok(&["key", "remove", slot["name"].as_str().unwrap()]);
        }
    }
}

#[test]
fn reports_that_were_altered_taken_out_or_put_elsewhere_are_named() {
    let world = World::new();
    many_rows(&world, "a.db", 100);
    world.backup(&["sqlite:a.db"]);
    for _ in 0..4 {
        drilled(&world, &[], 0);
    }
    let folder = world.repo().join("drills");
    let series = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let report = |number: u32| series.join(number.to_string());
    let bytes: Vec<Vec<u8>> = (0..4).map(|number| fs::read(report(number)).unwrap()).collect();
    let put = |number: u32, bytes: &[u8]| {
        let _ = fs::remove_file(report(number));
        fs::write(report(number), bytes).unwrap();
    };
    let list = |code: i32, words: &[&str]| {
        let ran = world.run(&["drill", "list"]).fails(code, words);
        assert_eq!(ran.code, Some(code));
    };
    list(0, &[]);
    let mut turned = bytes[1].clone();
    turned[100] ^= 1;
    put(1, &turned);
    list(1, &["/1 is damaged"]);
    world.run(&["verify"]).fails(1, &[]).says(&["drills/"]);
    put(1, &bytes[2]);
    list(1, &["/1"]);
    fs::remove_file(report(1)).unwrap();
    list(1, &["missing"]);
    world.run(&["drill", "show", "latest"]).fails(1, &["missing"]);
    put(1, &bytes[1]);
    list(0, &[]);
    // A proof of another place is none of this one: a copy of the files has to be proved by itself.
    let copy = world.path("copy");
    let copied = std::process::Command::new("cp").arg("-r").arg(world.repo()).arg(&copy).status().unwrap();
    assert!(copied.success());
    let at_copy = |args: &[&str]| {
        let ran: crate::world::Ran = world.command(args).env("REKEEP_REPOSITORY", &copy).output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    };
    assert_eq!(at_copy(&["--json", "status"]).json()[0]["proved"], json!(null));
    at_copy(&["drill", "list"]).says(&["elsewhere"]);
    at_copy(&["drill"]);
    assert!(at_copy(&["--json", "status"]).json()[0]["proved"].is_i64());
}

#[test]
fn what_makes_no_sense_is_refused_and_keeps_no_report() {
    let world = World::new();
    world.run(&["drill"]).fails(1, &["no snapshot"]);
    many_rows(&world, "a.db", 10);
    world.backup(&["sqlite:a.db"]);
    world.run(&["drill", "--sample", "0%"]).fails(2, &["no sample"]);
    world.run(&["drill", "--target", "nothing:x"]).fails(2, &["nothing:"]);
    world.run(&["drill", "--target", "jsonl:-"]).fails(2, &["standard output"]);
    world.run(&["drill", "--target", "sqlite:x.db", "--as-user", "u"]).fails(2, &["--as-user"]);
    world.run(&["drill", "show", "nothing"]).fails(2, &["no report"]);
    world.run(&["drill", "show", "abcd/7"]).fails(1, &["no report"]);
    fs::write(world.path("file"), "").unwrap();
    world.run(&["drill", "--scratch", "file"]).fails(1, &["scratch folder"]);
    world.ok(&["drill", "list"]).says(&["no reports"]);
}

#[test]
fn a_report_that_is_gone_is_damage_until_somebody_settles_it() {
    let world = World::new();
    many_rows(&world, "a.db", 50);
    world.backup(&["sqlite:a.db"]);
    for _ in 0..4 {
        drilled(&world, &[], 0);
    }
    let path = |n: u32| {
        let series = fs::read_dir(world.repo().join("drills")).unwrap().next().unwrap().unwrap().path();
        series.join(n.to_string())
    };
    world.ok(&["verify"]).says(&["no damage found"]);
    // Nobody can know of the last one; of one in the middle the next tells.
    fs::remove_file(path(3)).unwrap();
    world.ok(&["verify"]).says(&["no damage found"]);
    fs::remove_file(path(1)).unwrap();
    let name = |n: u32| path(n).strip_prefix(world.repo()).unwrap().to_str().unwrap().to_owned();
    let words = format!("{} is missing: {} was made after it", name(1), name(2));
    world.run(&["verify"]).fails(1, &[]).says(&[&name(1)]);
    world.run(&["drill", "list"]).fails(1, &[&words]);
    world.run(&["repair", "objects", "--dry-run"]).fails(3, &[&words]);
    world.run(&["verify"]).fails(1, &[]);
    world.run(&["repair", "objects"]).fails(3, &[&words]);
    world.ok(&["repair", "objects"]);
    let verified = world.json(&["verify"]);
    assert_eq!(verified["findings"], json!([]));
    assert!(verified["notes"].to_string().contains(&words), "{verified}");
    world.ok(&["drill", "list"]);
    world.ok(&["audit"]).says(&["settled"]);
    // Of what goes after that nobody has settled anything.
    drilled(&world, &[], 0);
    fs::remove_file(path(2)).unwrap();
    world.run(&["verify"]).fails(1, &[]).says(&[&format!("{} to 2", name(1))]);
    // What anybody can put there ends no series.
    fs::write(path(0).with_file_name("9223372036854775807"), "junk").unwrap();
    let report = drilled(&world, &[], 0);
    assert!(report["report"].as_str().unwrap().ends_with("/4"), "{report}");
}

#[test]
fn what_was_read_from_a_stream_is_drilled_and_restored_alike() {
    let world = World::new();
    for name in ["one.sql", "deep/in/two.sql"] {
        world.backup(&["--stdin-from-command", "--stdin-name", name, "--source-name", name, "--", "echo", "hello"]);
        let report = drilled(&world, &["--source", name], 0);
        assert_eq!((&report["different"], &report["compared"]), (&json!(0), &json!(1)), "{report}");
        let restored = world.json(&["restore", "latest", "--source", name, &format!("files:out-{name}"), "--verify"]);
        assert_eq!(restored["different"], 0, "{restored}");
    }
    // What is not the snapshot's is.
    fs::create_dir_all(world.path("held/deep/in")).unwrap();
    fs::create_dir_all(world.path("held/deep/of-others")).unwrap();
    let over = ["restore", "latest", "--source", "deep/in/two.sql", "files:held", "--overwrite", "always", "--verify"];
    assert_eq!(world.json(&over)["different"], 0);
    for nothing in ["", "  "] {
        world.run(&["drill", "--assert", nothing]).fails(2, &["--assert", "assert nothing"]);
    }
}

/// All scopes of a source share one series of reports.
#[test]
fn a_proof_of_one_part_of_a_source_hides_none_of_another() {
    let world = World::new();
    fs::create_dir(world.path("d")).unwrap();
    for name in ["a", "b"] {
        fs::write(world.path(&format!("d/{name}")), name).unwrap();
    }
    let whole = world.backup(&["files:d"]);
    let part = world.backup(&["files:d", "--exclude", "b"]);
    for id in [&whole, &part] {
        drilled(&world, &[id], 0);
    }
    let status = world.json(&["status"]);
    let proved: Vec<bool> = status.as_array().unwrap().iter().map(|one| one["proved"].is_i64()).collect();
    assert_eq!(proved, [true, true], "{status}");
}
