//! `rekeep-asbackup` and `rekeep-asrestore` against a cluster in this process: an existing command line works with the name
//! changed, the files hold what a scan shows, and what they hold comes back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, unused_imports, reason = "the shared support has more than this test needs")]

#[path = "support/mod.rs"]
mod support;

use rekeep::{
    connector::{Options, Overwrite, Registry},
    ops::{
        backup::{BackupOptions, backup},
        copy::{CopyOptions, copy},
    },
};
use rekeep_aerospike_server::{Config, Dumped, Handle, NamespaceConfig, Seed, Server};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use support::{
    Heard, Rng, World,
    world::{plain, restored, snapshot},
};
use tempfile::TempDir;

struct Room {
    dir: TempDir,
    server: Handle,
}

fn some_record(rng: &mut Rng, n: u64) -> Seed {
    let mut seed = Seed::int(n as i64).bin_int("n", n as i64);
    if rng.below(3) != 0 {
        seed = seed.set(["demo", "other", "a set"][rng.below(3) as usize]);
    }
    if rng.below(2) == 0 {
        seed = seed.stores_key();
    }
    if rng.chance(50) {
        let len = rng.below(300) as usize;
        seed = seed.bin("a blob", 4, &rng.bytes(len));
    }
    if rng.chance(30) {
        seed = seed.bin("f", 2, &(n as f64 / 3.0).to_be_bytes()).bin("l", 20, &[0x92, 1, 2]).bin("z", 17, &[1]);
    }
    if rng.chance(30) {
        seed = seed.bin_string("text", "żółw\n- \\ ");
    }
    seed
}

impl Room {
    fn new(records: u64) -> Self {
        Self::of(records, Config::with_nodes(2))
    }

    fn of(records: u64, config: Config) -> Self {
        let namespaces = vec![NamespaceConfig::named("test"), NamespaceConfig::named("bar")];
        let server = Server::start(Config { namespaces, ..config }).unwrap();
        let mut rng = Rng::new(7);
        server.put_all("test", (0..records).map(|n| some_record(&mut rng, n)));
        server.put_module("m.lua", b"return 1\n");
        Self { dir: tempfile::tempdir().unwrap(), server }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn address(&self) -> String {
        self.server.addresses()[0].to_string()
    }

    fn url(&self, namespace: &str) -> String {
        format!("aerospike://{}/{namespace}", self.address())
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        let address = self.address();
        let (host, port) = address.rsplit_once(':').unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command.args([tool, "-h", host, "-p", port, "--max-retries", "1"]).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).output().unwrap()
    }

    fn ok(&self, tool: &str, arguments: &[&str]) -> String {
        let output = self.run(tool, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{tool} {arguments:?}: {said}");
        said
    }

    fn fails(&self, tool: &str, arguments: &[&str], words: &str) {
        let output = self.run(tool, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{tool} {arguments:?}: {said}");
        assert!(said.contains(words), "{tool} {arguments:?}: {said}");
    }

    /// What a namespace holds, but for what a restore cannot give: update times and generations.
    fn held(&self, namespace: &str) -> Vec<Dumped> {
        let mut all = self.server.dump(namespace);
        for record in &mut all {
            (record.lut_ms, record.generation) = (0, 0);
        }
        all.sort_by_key(|record| record.digest);
        all
    }

    fn files(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(name))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_namespace_goes_into_files_and_into_another_namespace() {
    let room = Room::new(500);
    let dir = room.path("files");
    let said = room.ok("asbackup", &["-n", "test", "-d", &dir, "-w", "3", "-F", "1"]);
    assert!(said.contains("backed up 500 records"), "{said}");
    assert_eq!(room.files("files"), ["test_00000.asb"]);
    let text = fs::read(room.dir.path().join("files/test_00000.asb")).unwrap();
    assert!(text.starts_with(b"Version 3.1\n# namespace test\n# first-file\n* u L m.lua 9 return 1\n\n"));
    room.fails("asbackup", &["-n", "test", "-d", &dir], "backup files already");
    room.ok("asbackup", &["-n", "test", "-d", &dir, "-r", "-C", "-z", "zstd", "-q", "pre"]);
    assert_eq!(room.files("files"), ["pre_00000.asb"]);

    let said = room.ok("asrestore", &["-n", "test,bar", "-d", &dir]);
    assert!(said.contains("restored 500 records"), "{said}");
    assert!(room.held("bar") == room.held("test"), "the same records");
    let said = room.ok("asrestore", &["-n", "test,bar", "-d", &dir, "-u"]);
    assert!(said.contains("500 existed"), "{said}");
    room.fails("asrestore", &["-n", "another", "-d", &dir], "`test`");
    room.ok("asbackup", &["-n", "test", "-d", &dir, "--remove-artifacts"]);
    assert_eq!(room.files("files"), [""; 0]);
}

#[test]
fn the_program_is_called_by_the_tools_names_and_writes_one_file_or_to_standard_output() {
    let room = Room::new(50);
    let address = room.address();
    let link = room.dir.path().join("rekeep-asbackup");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rekeep"), &link).unwrap();
    let whole =
        Command::new(&link).args(["--host", &address, "--namespace", "test", "--output-file", "-"]).output().unwrap();
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let one = room.path("one");
    room.ok("asbackup", &["-n", "test", "-o", &one]);
    assert!(fs::read(&one).unwrap().len() == whole.stdout.len(), "the same records, in some order");
    room.ok("asrestore", &["-n", "test,bar", "-i", &one, "-s", "demo", "-B", "n"]);
    let demo = |record: &Dumped| record.set == b"demo";
    assert_eq!(room.held("bar").len(), room.held("test").iter().filter(|record| demo(record)).count());
    assert!(room.held("bar").iter().all(|record| record.bins.len() == 1));
}

#[test]
fn files_are_looked_at_without_a_cluster_and_estimates_write_nothing() {
    let room = Room::new(200);
    let one = room.path("one.asb");
    room.ok("asbackup", &["-n", "test", "-o", &one]);
    let said = room.ok("asrestore", &["-i", &one, "--validate"]);
    assert!(said.contains("version 3.1") && said.contains("200 records") && said.contains("set a set"), "{said}");
    let text = fs::read(&one).unwrap();
    fs::write(&one, &text[..text.len() - 3]).unwrap();
    room.fails("asrestore", &["-i", &one, "--validate"], "ends in the middle");
    room.fails("asrestore", &["-i", &one, "-n", "test,bar"], "ends in the middle");
    let said = room.ok("asbackup", &["-n", "test", "-e"]);
    assert!(said.contains("bytes in a file") && said.contains("200"), "{said}");
    assert_eq!(room.files(""), ["one.asb"]);
    room.fails("asbackup", &["-n", "test", "-d", &room.path("d"), "-l", "BB9"], "node `BB9`");
    room.fails("asbackup", &["-n", "nobody", "-d", &room.path("d")], "nobody");
    let said = room.ok("asbackup", &["-n", "test", "-o", &room.path("two.asb"), "-s", "demo,none yet"]);
    assert!(said.contains("note: set `none yet` of") && said.contains("does not exist"), "{said}");
    room.fails("asbackup", &["-d", &room.path("d")], "--namespace");
}

#[test]
fn a_command_line_is_read_as_the_tools_read_it() {
    let room = Room::new(40);
    let dir = room.path("files");
    // The last of a flag counts.
    let twice = ["-w", "4", "-v", "-v", "-C", "-C", "-n", "bar", "-n", "test", "-F", "100", "--file-limit", "20"];
    room.ok("asbackup", &[&twice[..], &["--parallel", "8", "--dir", &dir]].concat());
    let restore = ["-n", "bar", "-n", "test,bar", "-t", "4", "--threa", "5", "-T", "9000", "-d", &dir, "-K", "-K"];
    room.ok("asrestore", &restore);
    assert!(room.held("bar") == room.held("test"));
    for tool in ["asbackup", "asrestore"] {
        assert!(room.run(tool, &["--usage"]).status.success());
        let older = ["-n", "test", "--tlsName", "x", "--tlsCaFile", "none", "--tlsCrlCheckAll", "--tls-crl-check-all"];
        let place = if tool == "asbackup" { ["-e", "-v"] } else { ["-d", &dir] };
        room.ok(tool, &[&older[..], &place].concat());
    }
    // A name that is cut to what several begin with says nothing.
    room.fails("asbackup", &["-n", "test", "--s3", "x", "-d", &dir], "--s3");
}

#[test]
fn a_command_line_that_is_wrong_is_refused_in_words() {
    let room = Room::new(1);
    let d = room.path("d");
    for tool in ["asbackup", "asrestore"] {
        for (wrong, words) in [
            (&["--socket-timeout", "x"][..], "--socket-timeout"),
            (&["--max-retries=-1"], "--max-retries"),
            (&["-p", "70000"], "70000"),
            (&["--no-such-flag"], "--no-such-flag"),
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_rekeep"))
                .args([tool, "-n", "test", "-d", &d])
                .args(wrong)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && said.contains(words), "{tool} {wrong:?}: {said}");
        }
    }
    room.fails("asbackup", &["-n", "test", "-d", &d, "-w", "0"], "0 is not in");
    // A range of time in which nothing lies would be a backup of nothing that went well.
    for (after, before) in [("2027-01-01", "2026-01-01"), ("2026-01-01_10:00:00", "2026-01-01_10:00:00")] {
        room.fails("asbackup", &["-n", "test", "-d", &d, "-a", after, "-b", before], "no later than --modified-after");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_rekeep"))
        .args(["asbackup", "-h", "127.0.0.1:99999", "-n", "test", "-d", &d])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("HOST[:TLS_NAME][:PORT]"), "{said}");
    assert!(!Path::new(&d).exists());
}

#[test]
fn what_was_asked_for_and_met_no_record_is_said() {
    let room = Room::new(20);
    let d = room.path("d");
    let said = room.ok("asbackup", &["-n", "test", "-d", &d, "-B", "nothing,at all"]);
    assert!(said.contains("20 records have none of the bins that were asked for"), "{said}");
    let d = room.path("whole");
    room.ok("asbackup", &["-n", "test", "-d", &d]);
    let said = room.ok("asrestore", &["-d", &d, "-n", "test,bar", "-s", "demo,no such set", "-B", "n,nothing"]);
    assert!(said.contains("note: no record that was read is of set `no such set`"), "{said}");
    assert!(said.contains("note: no record that was read has a bin `nothing`") && !said.contains("`demo`"), "{said}");
}

#[test]
fn a_backup_of_nothing_leaves_no_folder() {
    let room = Room::new(1);
    room.fails("asbackup", &["-n", "nobody", "-d", &room.path("new/folder")], "nobody");
    assert!(!Path::new(&room.path("new")).exists());
    fs::create_dir(room.path("old")).unwrap();
    room.fails("asbackup", &["-n", "nobody", "-d", &room.path("old")], "nobody");
    assert!(Path::new(&room.path("old")).exists(), "it was there before");
}

#[test]
fn a_restore_without_a_file_of_the_run_is_incomplete() {
    let room = Room::new(20);
    let d = room.path("d");
    room.ok("asbackup", &["-n", "test", "-d", &d]);
    room.ok("asrestore", &["-d", &d, "-n", "test,bar"]);
    let first = room.dir.path().join("d/test_00000.asb");
    let text = fs::read_to_string(&first).unwrap().replacen("# first-file\n", "", 1);
    fs::write(room.dir.path().join("d/test_00001.asb"), text).unwrap();
    room.ok("asrestore", &["-d", &d, "-n", "test,bar"]);
    fs::remove_file(first).unwrap();
    room.fails("asrestore", &["-d", &d, "-n", "test,bar"], "those with the numbers 0 are not there");
    // Named alone it is what there is to be.
    room.ok("asrestore", &["-i", &room.path("d/test_00001.asb"), "-n", "test,bar"]);
}

#[test]
fn a_limit_of_records_holds_whatever_is_said_of_parallel_scans() {
    let room = Room::new(300);
    let dir = room.path("files");
    let said = room.ok("asbackup", &["-n", "test", "-d", &dir, "-w", "8", "-M", "70"]);
    assert!(said.contains("backed up 70 records"), "{said}");
    let said = room.ok("asbackup", &["-n", "test", "-d", &dir, "-r", "-w", "8", "-M", "0"]);
    assert!(said.contains("backed up 300 records"), "{said}");
}

#[test]
fn a_backup_that_cannot_begin_takes_no_older_one_away() {
    let room = Room::new(5);
    let (d, one) = (room.path("d"), room.path("one.asb"));
    room.ok("asbackup", &["-n", "test", "-d", &d]);
    room.ok("asbackup", &["-n", "test", "-o", &one]);
    let kept = fs::read(&one).unwrap();
    for place in [["-d", &d], ["-o", &one]] {
        room.fails("asbackup", &["-n", "nobody", place[0], place[1], "-r"], "nobody");
        room.fails("asbackup", &["-n", "test", place[0], place[1], "-r", "-f", "no base64"], "base64");
        let typed =
            [&["asbackup", "-h", "127.0.0.1", "-p", "1", "--max-retries", "0", "-n", "test", "-r"][..], &place[..]];
        let output = Command::new(env!("CARGO_BIN_EXE_rekeep")).args(typed.concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!((room.files("d"), fs::read(&one).unwrap()), (vec!["test_00000.asb".to_owned()], kept.clone()));
        room.fails("asbackup", &["-n", "test", place[0], place[1]], "--remove-files (-r) removes them first");
        room.ok("asbackup", &["-n", "test", place[0], place[1], "-r"]);
    }
    // A device is written to as it stands, and never removed.
    let null = room.path("null");
    std::os::unix::fs::symlink("/dev/null", &null).unwrap();
    room.ok("asbackup", &["-n", "test", "-o", &null, "-r"]);
    room.ok("asbackup", &["-n", "test", "-o", &null, "--remove-artifacts"]);
    assert_eq!(fs::read_link(&null).unwrap(), Path::new("/dev/null"));
    room.ok("asbackup", &["-n", "test", "-o", &one, "--remove-artifacts"]);
    assert!(!Path::new(&one).exists() && room.files("d") == ["test_00000.asb"]);
}

#[test]
fn a_program_is_told_in_the_tools_lines_and_a_log_is_kept_in_a_file() {
    let room = Room::new(40);
    let (d, lines, log) = (room.path("d"), room.path("lines"), room.path("log"));
    let said = room.ok("asbackup", &["-n", "test", "-d", &d, "-m", &lines, "--log-file", &log]);
    assert_eq!(said, "", "it is in the log");
    assert!(fs::read_to_string(&log).unwrap().starts_with("backed up 40 records"));
    room.ok("asbackup", &["-n", "test", "-e", "--machine", &lines]);
    room.ok("asrestore", &["-n", "test,bar", "-d", &d, "-m", &lines]);
    let told = fs::read_to_string(&lines).unwrap();
    let told: Vec<Vec<&str>> = told.lines().map(|line| line.split(':').collect()).collect();
    let of = |kind: &str| -> Vec<&Vec<&str>> { told.iter().filter(|line| line[0] == kind).collect() };
    let (summaries, estimates) = (of("SUMMARY"), of("ESTIMATE"));
    assert_eq!((summaries.len(), estimates.len()), (2, 1), "{told:?}");
    assert_eq!((summaries[0].len(), &summaries[0][1..4]), (6, &["40", "0", "1"][..]), "{told:?}");
    assert_eq!((summaries[1].len(), summaries[1][3], summaries[1][7]), (10, "40", "40"), "{told:?}");
    assert_eq!((estimates[0].len(), estimates[0][1]), (3, "40"), "{told:?}");
    // What fails is in the log, too; a place that cannot be written is said before anything is done.
    let output = room.run("asbackup", &["-n", "nobody", "-d", &d, "--log-file", &log]);
    assert_eq!((output.status.code(), output.stderr), (Some(1), Vec::new()));
    assert!(fs::read_to_string(&log).unwrap().contains("rekeep: error: namespace `nobody`"));
    room.fails("asbackup", &["-n", "test", "-d", &d, "-r", "-m", &room.path("no/such")], "no/such");
    assert_eq!(room.files("d"), ["test_00000.asb"]);
}

#[test]
fn what_a_backup_would_not_take_is_no_sound_file() {
    let room = Room::new(1);
    let (empty, twice) = (room.path("empty.asb"), room.path("twice.asb"));
    fs::write(&empty, "Version 3.1\n").unwrap();
    room.fails("asrestore", &["--validate", "-i", &empty], "does not say which namespace");
    let record = "+ n test\n+ d 5YEnnKPjfd4wocVU7LTDsIcUhew=\n+ g 1\n+ t 0\n+ b 2\n- I n 17\n- I n 18\n";
    fs::write(&twice, format!("Version 3.1\n# namespace test\n# first-file\n{record}")).unwrap();
    room.fails("asrestore", &["--validate", "-i", &twice], "line 4, byte 42: the record has two bins `n`");
}

#[test]
fn parts_are_chosen_by_partitions_and_nodes_as_the_tool_spells_them() {
    let room = Room::new(600);
    let count = |arguments: &[&str]| {
        let dir = room.dir.path().join("part");
        let _ = fs::remove_dir_all(&dir);
        let said = room.ok("asbackup", &[&["-n", "test", "-d", dir.to_str().unwrap()], arguments].concat());
        said.split("backed up ").nth(1).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let of = |from: u16, to: u16| {
        let pid = |record: &Dumped| rekeep_aerospike_server::partition_of(&record.digest);
        room.held("test").iter().filter(|record| (from..=to).contains(&pid(record))).count()
    };
    assert_eq!(count(&["-X", "100-1000,2000"]), of(100, 1099) + of(2000, 2000));
    room.fails("asbackup", &["-n", "test", "-d", &room.path("d"), "-X", "0..=99"], "--partitions");
    let (one, other) = (room.server.node_id(0), room.server.addresses()[1].to_string());
    assert_eq!(count(&["--node-list", &one]) + count(&["-l", &other]), 600);
    assert_eq!(count(&["--node-list", &format!("{one},{other}")]), 600);
    room.fails("asbackup", &["-n", "test", "-d", &room.path("d"), "--rack-list", "1"], "Enterprise Edition");
    room.fails("asbackup", &["-n", "test", "-d", &room.path("d"), "--prefer-racks", "1,2"], "Enterprise Edition");
    room.fails("asbackup", &["-n", "test", "-d", &room.path("d"), "-l", "x", "-X", "1"], "--partition-list");
    // Without a user there is nobody to log in, whatever the way.
    room.fails(
        "asbackup",
        &["-n", "test", "-d", &room.path("d"), "-A", "EXTERNAL", "-U", "joe", "-P", "x"],
        "without TLS",
    );
}

fn options(document: serde_json::Value) -> Options {
    serde_json::from_value(document).unwrap()
}

#[test]
fn a_backup_that_was_stopped_goes_on_behind_what_it_had_finished() {
    let room = Room::new(5000);
    let dir = room.path("files");
    fs::create_dir(&dir).unwrap();
    let state = PathBuf::from(room.path("state"));
    let registry = Registry::default();
    let source = || registry.source(&room.url("test"), &Options::default()).unwrap();
    let how = CopyOptions {
        parallel: 2,
        overwrite: Overwrite::Never,
        state_file: Some(state.clone()),
        ..CopyOptions::default()
    };
    let target = registry.target(&format!("asb:{dir}"), &options(json!({"keep_files": true}))).unwrap();
    let heard = Heard::default();
    heard.cancel_after.store(1500, std::sync::atomic::Ordering::Relaxed);
    let error = copy(source().as_ref(), target.as_ref(), &how, &heard).unwrap_err();
    assert!(error.is_interruption(), "{error}");
    assert!(state.exists() && room.files("files") == ["test_00000.asb"]);
    let target =
        registry.target(&format!("asb:{dir}"), &options(json!({"keep_files": true, "add_files": true}))).unwrap();
    let how = CopyOptions { go_on: true, ..how };
    let outcome = copy(source().as_ref(), target.as_ref(), &how, &Heard::default()).unwrap();
    assert!(outcome.complete && outcome.resumed_parts > 0 && outcome.records < 5000, "{outcome:?}");
    assert!(!state.exists() && room.files("files") == ["test_00000.asb", "test_00001.asb"]);
    room.ok("asrestore", &["-n", "test,bar", "-d", &dir]);
    assert!(room.held("bar") == room.held("test"));
}

/// A copy of the namespace into the room's files that stops on its way.
fn stopped(room: &Room, state: &Path) -> (CopyOptions, String) {
    let dir = room.path("files");
    fs::create_dir(&dir).unwrap();
    let registry = Registry::default();
    let source = registry.source(&room.url("test"), &Options::default()).unwrap();
    let target = registry.target(&format!("asb:{dir}"), &options(json!({"keep_files": true}))).unwrap();
    let how = CopyOptions {
        parallel: 2,
        overwrite: Overwrite::Never,
        state_file: Some(state.to_owned()),
        ..CopyOptions::default()
    };
    let heard = Heard::default();
    heard.cancel_after.store(1500, std::sync::atomic::Ordering::Relaxed);
    assert!(copy(source.as_ref(), target.as_ref(), &how, &heard).unwrap_err().is_interruption());
    (CopyOptions { go_on: true, ..how }, dir)
}

#[test]
fn another_cluster_does_not_go_on_with_a_backup_nor_does_one_that_lost_what_was_read() {
    let room = Room::of(5000, Config::with_nodes(1));
    let state = PathBuf::from(room.path("state"));
    let (how, dir) = stopped(&room, &state);
    let node_ids = vec!["BC1DEADBEEF0002".to_owned()];
    let other = Room::of(10, Config { node_ids, ..Config::with_nodes(1) });
    let goes_on = |room: &Room| {
        let registry = Registry::default();
        let source = registry.source(&room.url("test"), &Options::default()).unwrap();
        let files = options(json!({"keep_files": true, "add_files": true}));
        let target = registry.target(&format!("asb:{dir}"), &files).unwrap();
        copy(source.as_ref(), target.as_ref(), &how, &Heard::default())
    };
    let error = goes_on(&other).unwrap_err().to_string();
    assert!(error.contains("no state to go on from") && error.contains("another cluster"), "{error}");
    room.server.advance(std::time::Duration::from_mins(1));
    room.server.restart_node_empty(0).unwrap();
    let error = goes_on(&room).unwrap_err().to_string();
    assert!(error.contains("no state to go on from") && error.contains("restarted"), "{error}");
    assert!(state.exists() && room.files("files") == ["test_00000.asb"]);
}

#[test]
fn a_folder_whose_backup_did_not_end_is_not_taken_for_a_whole_one() {
    let room = Room::new(5000);
    let state = room.dir.path().join("files").join("test.asb.state");
    let (how, dir) = stopped(&room, &state);
    assert!(state.exists());
    room.fails("asrestore", &["-n", "test,bar", "-d", &dir], "never finished");
    room.fails("asrestore", &["--validate", "-d", &dir], "never finished");
    let registry = Registry::default();
    let seen = registry.inspect(&format!("asb:{dir}"), &Options::default()).unwrap();
    assert!(!seen.sound && seen.document["unfinished"].to_string().contains("test.asb.state"), "{}", seen.document);
    let (_world, repo) = World::new();
    let files = registry.source(&format!("asb:{dir}"), &Options::default()).unwrap();
    let taken = backup(&repo, files.as_ref(), &plain(), &Heard::default()).unwrap();
    assert!(!snapshot(&repo, taken.id.unwrap()).content.complete);
    // What a killed run was writing is taken away by the one that goes on.
    for name in [".rekeep-a1b2c3.part", ".rekeep-a1b2c3.asb"] {
        fs::write(room.dir.path().join("files").join(name), "Version 3.1").unwrap();
    }
    let source = registry.source(&room.url("test"), &Options::default()).unwrap();
    let target =
        registry.target(&format!("asb:{dir}"), &options(json!({"keep_files": true, "add_files": true}))).unwrap();
    assert!(copy(source.as_ref(), target.as_ref(), &how, &Heard::default()).unwrap().complete);
    assert_eq!(room.files("files"), ["test_00000.asb", "test_00001.asb"]);
    assert!(registry.inspect(&format!("asb:{dir}"), &Options::default()).unwrap().sound);
    room.ok("asrestore", &["-n", "test,bar", "-d", &dir]);
    assert!(room.held("bar") == room.held("test"));
}

#[test]
fn a_node_that_loses_its_records_while_they_are_read_leaves_no_whole_backup() {
    let room = Room::of(0, Config::with_nodes(1));
    let mut rng = Rng::new(11);
    let records = (0..6_000).map(|n| Seed::int(n).bin_int("n", n).bin("b", 4, &rng.bytes(1000)));
    room.server.put_all("test", records);
    let (dir, state) = (room.path("files"), room.path("state"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
    command.args(["asbackup", "-h", &room.address(), "-n", "test", "-d", &dir, "--nice", "1"]);
    command.args(["--state-file-dst", &state]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let has_grown = || {
        let files = fs::read_dir(&dir).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).any(|metadata| metadata.len() > 1 << 20)
    };
    let began = std::time::Instant::now();
    while !has_grown() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before the node restarted");
        assert!(began.elapsed().as_secs() < 60, "no file grows");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    room.server.advance(std::time::Duration::from_mins(1));
    room.server.restart_node_empty(0).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("restarted") && Path::new(&state).exists(), "{said}");
}

/// Fills a room with so many records of a kilobyte.
fn large(records: i64) -> Room {
    let room = Room::new(0);
    let mut rng = Rng::new(11);
    room.server.put_all("test", (0..records).map(|n| Seed::int(n).bin_int("n", n).bin("b", 4, &rng.bytes(1000))));
    room
}

#[cfg(unix)]
#[test]
fn a_backup_that_was_interrupted_is_gone_on_with_by_the_same_command() {
    use rustix::process::{Pid, Signal, kill_process};
    let room = large(6_000);
    let (dir, state) = (room.path("files"), room.path("state"));
    let address = room.address();
    let command = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command.args(["asbackup", "-h", &address, "-n", "test", "-d", &dir]).args(more);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stderr(std::process::Stdio::piped());
        command
    };
    let mut child = command(&["--nice", "1", "--state-file-dst", &state]).spawn().unwrap();
    let has_grown = |len: u64| {
        let files = fs::read_dir(&dir).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).any(|metadata| metadata.len() > len)
    };
    let began = std::time::Instant::now();
    while !has_grown(1 << 20) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        assert!(began.elapsed().as_secs() < 60, "no file grows");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("--continue {state}")) && Path::new(&state).exists(), "{said}");
    let again = command(&["--continue", &state]).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(!Path::new(&state).exists() && room.files("files").len() > 1, "{:?}", room.files("files"));
    room.ok("asrestore", &["-n", "test,bar", "-d", &dir]);
    assert!(room.held("bar") == room.held("test"));
    room.fails("asbackup", &["-n", "test", "-d", &dir, "--continue", &state], "no state file");
    room.fails("asbackup", &["-n", "test", "-o", &room.path("one"), "--continue", &state], "--directory");
}

#[test]
fn a_restore_that_stopped_goes_on_behind_the_files_that_are_done() {
    let room = large(4_000);
    let (dir, state) = (room.path("files"), room.path("state"));
    room.ok("asbackup", &["-n", "test", "-d", &dir, "-F", "1"]);
    let last = room.dir.path().join("files").join(room.files("files").last().unwrap());
    assert!(room.files("files").len() > 2);
    let whole = fs::read(&last).unwrap();
    fs::write(&last, &whole[..whole.len() - 10]).unwrap();
    let restore = ["-n", "test,bar", "-d", &dir, "-t", "1", "--state-file", &state];
    room.fails("asrestore", &restore, "ends in the middle");
    let kept = fs::read_to_string(&state).unwrap();
    assert!(kept.contains("test_00000.asb"), "{kept}");
    fs::write(&last, &whole).unwrap();
    let said = room.ok("asrestore", &[&restore[..], &["--continue"]].concat());
    assert!(!said.contains("restored 4 000 records"), "{said}");
    assert!(room.held("bar") == room.held("test") && !Path::new(&state).exists());
    // What the tools' words do not know is not advised.
    let gone = room.run("asrestore", &[&restore[..], &["--continue"]].concat());
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(said.contains("no state file") && !said.contains("--resume"), "{said}");
}

#[test]
fn a_scan_and_an_import_of_its_files_give_the_same_rows() {
    let room = Room::new(700);
    let dir = room.path("files");
    room.ok("asbackup", &["-n", "test", "-d", &dir, "-w", "2"]);
    let (_world, repo) = World::new();
    let registry = Registry::default();
    let mut taken = Vec::new();
    for url in [room.url("test"), format!("asb:{dir}")] {
        let source = registry.source(&url, &Options::default()).unwrap();
        let how = BackupOptions { url, ..plain() };
        let outcome = backup(&repo, source.as_ref(), &how, &Heard::default()).unwrap();
        assert!(outcome.complete, "{:?}", outcome.problems);
        let held = snapshot(&repo, outcome.id.unwrap());
        let modules: Vec<(String, String)> = held.content.attributes["udfs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|module| (module["name"].to_string(), module["content"].to_string()))
            .collect();
        taken.push((restored(&repo, &held)["test"].records.clone(), modules));
    }
    assert_eq!(taken[0].0.len(), 700);
    assert!(taken[0] == taken[1]);
}

/// A secret agent on a loopback port: what it keeps, by resource and key.
struct Agent {
    address: std::net::SocketAddr,
}

/// What an agent says to a question.
fn answer(question: &[u8], kept: &[(&str, &str, String)]) -> Vec<u8> {
    let asked: serde_json::Value = serde_json::from_slice(question).unwrap();
    let found = kept.iter().find(|(resource, key, _)| asked["Resource"] == *resource && asked["SecretKey"] == *key);
    let reply = match found {
        Some((.., value)) => json!({ "SecretValue": value }),
        None => json!({ "Error": "there is no such secret" }),
    };
    let text = reply.to_string();
    let mut frame = 0x51de_c1ccu32.to_be_bytes().to_vec();
    frame.extend_from_slice(&(text.len() as u32).to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn serve(stream: &mut (impl std::io::Read + std::io::Write), kept: &[(&str, &str, String)]) {
    let mut head = [0; 8];
    if stream.read_exact(&mut head).is_err() {
        return;
    }
    assert_eq!(head[..4], 0x51de_c1ccu32.to_be_bytes());
    let mut question = vec![0; u32::from_be_bytes(head[4..].try_into().unwrap()) as usize];
    stream.read_exact(&mut question).unwrap();
    let _ = stream.write_all(&answer(&question, kept)).and_then(|()| stream.flush());
}

impl Agent {
    fn start(
        kept: Vec<(&'static str, &'static str, String)>,
        tls: Option<std::sync::Arc<rustls::ServerConfig>>,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                match &tls {
                    None => serve(&mut stream, &kept),
                    Some(tls) => {
                        let session = rustls::ServerConnection::new(std::sync::Arc::clone(tls)).unwrap();
                        serve(&mut rustls::StreamOwned::new(session, stream), &kept);
                    }
                }
            }
        });
        Self { address }
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn secrets_come_from_an_agent_wherever_the_tools_take_one() {
    let room = Room::new(60);
    let key = fs::read_to_string(fixture("asb/test-only-rsa-key.pem")).unwrap();
    let base64 = data_encoding::BASE64.encode(key.as_bytes());
    let agent =
        Agent::start(vec![("asb", "key", key), ("asb", "coded", base64), ("db", "namespace", "test".into())], None);
    let (host, port) = (agent.address.ip().to_string(), agent.address.port().to_string());
    let sa = ["--sa-address", &host, "--sa-port", &port];
    let dir = room.path("files");
    let encrypt = ["-d", &dir, "--encrypt", "aes128", "--encryption-key-secret"];
    room.ok("asbackup", &[&["-n", "secrets:db:namespace"], &encrypt[..], &["secrets:asb:key"], &sa].concat());
    assert!(!fs::read(room.dir.path().join("files/test_00000.asb")).unwrap().starts_with(b"Version"));
    let pem = fixture("asb/test-only-rsa-key.pem").display().to_string();
    room.ok("asrestore", &["-n", "test,bar", "-d", &dir, "--encrypt", "aes128", "--encryption-key-file", &pem]);
    assert!(room.held("bar") == room.held("test"));
    let restore = [&["-n", "test,bar", "-u"], &encrypt[..]].concat();
    room.ok("asrestore", &[&restore[..], &["secrets:asb:coded", "--sa-is-base64"], &sa].concat());
    room.fails("asrestore", &[&restore[..], &["secrets:asb:other"], &sa].concat(), "there is no such secret");
    room.fails("asrestore", &[&restore[..], &["secrets:asb"], &sa].concat(), "secrets:RESOURCE:KEY");
    // What is no number is not shown where it is a secret.
    let wrong = room
        .run("asrestore", &[&restore[..], &["secrets:asb:key", "--batch-size", "secrets:db:namespace"], &sa].concat());
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("secrets:db:namespace") && !said.contains("'test'") && !said.contains("PRIVATE"), "{said}");
    room.fails("asrestore", &[&restore[..], &["secrets:asb:key"]].concat(), "--sa-address");
    // Who answers there is no agent.
    let server = room.address();
    let (host, port) = server.rsplit_once(':').unwrap();
    let other = ["--sa-address", host, "--sa-port", port, "--sa-timeout", "500"];
    room.fails("asrestore", &[&restore[..], &["secrets:asb:key"], &other].concat(), "secret asb:key");
}

#[test]
fn the_commands_ask_the_agent_that_the_environment_names() {
    let room = Room::new(40);
    let key = fs::read_to_string(fixture("asb/test-only-rsa-key.pem")).unwrap();
    let socket = room.dir.path().join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let kept = vec![("asb", "key", key), ("repo", "password", "over the sea".to_owned())];
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(&mut stream.unwrap(), &kept)));
    let pem = fixture("asb/test-only-rsa-key.pem").display().to_string();
    let dir = room.path("files");
    room.ok("asbackup", &["-n", "test", "-d", &dir, "-y", "aes256", "--encryption-key-file", &pem]);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command.args([
            "-r",
            &room.path("repo"),
            "--cache-dir",
            &room.path("cache"),
            "--password-file",
            "secrets:repo:password",
        ]);
        command.args(arguments).env_clear().env("REKEEP_SECRET_AGENT", format!("unix:{}", socket.display()));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["init"]);
    let said =
        run(&["backup", &format!("asb:{dir}"), "--encrypt", "aes256", "--encryption-key-file", "secrets:asb:key"]);
    assert!(said.contains("40 in the snapshot"), "{said}");
    let mut without = Command::new(env!("CARGO_BIN_EXE_rekeep"));
    without.args(["-r", &room.path("repo"), "--password-file", "secrets:repo:password", "snapshots"]).env_clear();
    let output = without.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("REKEEP_SECRET_AGENT"));
}

#[test]
fn an_agent_is_asked_by_tls() {
    use rekeep::connector::aerospike::{
        TlsOptions,
        options::Address,
        secrets::{AgentPlace, SecretAgent},
    };
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let chain = vec![CertificateDer::from_pem_file(fixture("tls/loopback.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("tls/loopback.key")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let agent = Agent::start(vec![("db", "key", "value".to_owned())], Some(std::sync::Arc::new(config)));
    let of = |tls: Option<TlsOptions>| SecretAgent {
        place: AgentPlace::Tcp(Address { host: agent.address.ip().to_string(), port: agent.address.port() }),
        timeout: std::time::Duration::from_secs(5),
        tls,
        is_base64: false,
    };
    let trusted = |name: Option<&str>| TlsOptions {
        ca_file: Some(fixture("tls/loopback-ca.pem")),
        name: name.map(str::to_owned),
        ..TlsOptions::default()
    };
    for name in [None, Some("node.test")] {
        assert_eq!(of(Some(trusted(name))).get("db", "key").unwrap().as_str(), "value");
    }
    let error = of(Some(trusted(Some("else.test")))).get("db", "key").unwrap_err().to_string();
    assert!(error.contains("secret db:key of the agent at 127.0.0.1"), "{error}");
    // What is given instead of a file's name is not shown.
    let text = fs::read_to_string(fixture("tls/loopback-ca.pem")).unwrap();
    let inline = |text: &str| Some(TlsOptions { ca_file: Some(text.into()), ..TlsOptions::default() });
    assert_eq!(of(inline(&text)).get("db", "key").unwrap().as_str(), "value");
    let error = of(inline(&text.replace("MII", "hush"))).get("db", "key").unwrap_err().to_string();
    assert!(error.contains("the PEM text that was given") && !error.contains("hush"), "{error}");
}

#[test]
fn configuration_files_of_the_tools_say_what_the_command_line_does_not() {
    let room = Room::new(30);
    fs::create_dir(room.path(".aerospike")).unwrap();
    let conf = format!(
        "[cluster]\nhost = \"{}\"\n[asbackup]\nnamespace = \"test\"\ndirectory = \"{}\"\ncompact = true\n[asrestore]\n\
         namespace = \"test,bar\"\ndirectory = \"{}\"\n[cluster_gone]\nhost = \"127.0.0.1:1\"\n",
        room.address(),
        room.path("files"),
        room.path("files")
    );
    fs::write(room.path(".aerospike/astools.conf"), conf).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command.args(arguments).env_clear().env("HOME", room.dir.path()).output().unwrap()
    };
    let ok = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    ok(&["asbackup", "--log-level", "info"]);
    assert_eq!(room.files("files"), ["test_00000.asb"]);
    ok(&["asrestore"]);
    assert_eq!(room.server.count("bar"), 30);
    ok(&["asbackup", "-o", &room.path("one.asb")]);
    assert!(Path::new(&room.path("one.asb")).exists());
    for arguments in
        [&["asbackup", "--no-config-file"][..], &["asrestore", "--instance", "gone"], &["asbackup", "--config", "none"]]
    {
        assert_eq!(run(arguments).status.code(), Some(1), "{arguments:?}");
    }
    let yaml = format!(
        "cluster:\n  seeds: [{{host: 127.0.0.1, port: {}}}]\nbackup: {{namespace: test, directory: {}, set-list: [demo]}}\n",
        room.address().rsplit_once(':').unwrap().1,
        room.path("by_yaml")
    );
    fs::write(room.path("absctl.yaml"), yaml).unwrap();
    ok(&["asbackup", "--config", &room.path("absctl.yaml")]);
    assert_eq!(room.files("by_yaml"), ["test_00000.asb"]);
    fs::write(room.path(".aerospike/astools.conf"), "[asbackup]\nwhatever = 1\n").unwrap();
    let output = run(&["asbackup", "-n", "test", "-d", "x"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("[asbackup] whatever"), "{output:?}");
}

#[test]
fn variables_that_are_set_but_empty_are_nothing_to_the_tools() {
    let room = Room::new(10);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
    let (host, port) = room.address().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    command.args(["asbackup", "-h", &host, "-p", &port, "-n", "test", "-d", &room.path("files")]).env_clear();
    for name in ["HOME", "REKEEP_REPOSITORY", "REKEEP_CACHE_DIR", "REKEEP_CACHE_SIZE", "REKEEP_PASSWORD_FILE"] {
        command.env(name, "");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(room.files("files"), ["test_00000.asb"]);
}

#[test]
fn only_records_that_pass_the_expression_are_backed_up() {
    let room = Room::new(1_000);
    // The integer of bin `n` is greater than 900.
    let expression = "kwOTUQKhbs0DhA==";
    let said = room.ok("asbackup", &["-n", "test", "-d", &room.path("some"), "-f", expression]);
    assert!(said.contains("backed up 99 records"), "{said}");
    room.ok("asrestore", &["-n", "test,bar", "-d", &room.path("some")]);
    let wanted: Vec<Dumped> = room.held("test").into_iter().filter(|record| number_of(record) > 900).collect();
    assert!(wanted.len() == 99 && room.held("bar") == wanted, "those and no others");
    room.fails("asbackup", &["-n", "test", "-d", &room.path("none"), "-f", "no base64"], "base64");
}

fn number_of(record: &Dumped) -> i64 {
    let bin = record.bins.iter().find(|(name, ..)| name == b"n").unwrap();
    i64::from_be_bytes(bin.2.as_slice().try_into().unwrap())
}

#[test]
fn the_flags_of_a_restore_do_what_they_say() {
    let room = Room::new(400);
    let dir = room.path("files");
    room.ok("asbackup", &["-n", "test", "-d", &dir, "--nice", "100", "--records-per-second", "1000000"]);
    let empty = |namespace: &str| room.server.truncate(namespace, None);
    // However it is written, the same comes back.
    let ways: [&[&str]; 6] = [
        &["--disable-batch-writes", "--threads", "1"],
        &["--batch-size", "1", "--max-async-batches", "1"],
        &["--bandwidth", "100", "--records-per-second", "1000000"],
        &["--nice", "100,1000000"],
        &["--retry-base-interval", "5", "--retry-multiplier", "1.5", "--retry-max-attempts", "7"],
        &["--retry-scale-factor", "5000", "--indexes-last", "--wait"],
    ];
    for way in ways {
        empty("bar");
        room.ok("asrestore", &[&["-n", "test,bar", "-d", &dir][..], way].concat());
        assert!(room.held("bar") == room.held("test"), "{way:?}");
    }
    empty("bar");
    room.ok("asrestore", &["-n", "test,bar", "-d", &dir, "-s", "demo", "-B", "n,f"]);
    let some = room.held("bar");
    let of_set: Vec<Dumped> = room.held("test").into_iter().filter(|record| record.set == b"demo").collect();
    assert_eq!(some.len(), of_set.len());
    let is_asked = |record: &Dumped| record.bins.iter().all(|(name, ..)| name == b"n" || name == b"f");
    assert!(!some.is_empty() && some.iter().all(|record| record.set == b"demo" && is_asked(record)));
    empty("bar");
    let said = room.ok("asrestore", &["-n", "test,bar", "-d", &dir, "-R"]);
    assert!(said.contains("restored 0 records") && room.held("bar").is_empty(), "{said}");
    room.fails("asrestore", &["-n", "test,bar", "-d", &dir, "--nice", "many"], "--nice");
}

#[test]
fn records_live_longer_by_as_much_as_is_asked() {
    let room = Room::new(0);
    room.server.put_all("test", (0..20).map(|n| Seed::int(n).bin_int("n", n).ttl(1_000)));
    room.server.put_all("test", (20..30).map(|n| Seed::int(n).bin_int("n", n)));
    let dir = room.path("files");
    room.ok("asbackup", &["-n", "test", "-d", &dir]);
    room.ok("asrestore", &["-n", "test,bar", "-d", &dir, "-l", "5000"]);
    for (one, other) in room.held("test").iter().zip(&room.held("bar")) {
        let longer = i64::from(other.void_time) - i64::from(one.void_time);
        let wanted = if number_of(one) < 20 { 5_000 } else { 0 };
        assert!((longer - wanted).abs() <= 1, "{longer} of {wanted}");
    }
}
