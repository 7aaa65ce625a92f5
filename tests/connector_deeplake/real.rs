//! Datasets of the library itself: backed up while it writes, restored, opened by it, every row compared.

use super::*;
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

fn python(part: &str) -> Command {
    let parts = std::env::var("REKEEP_PARTS").map(PathBuf::from);
    let parts = parts.unwrap_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/parts"));
    let mut command = Command::new(parts.join(part).join("bin/python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connector_deeplake/lake.py"));
    command.env("BUGGER_OFF", "true").env("DEEPLAKE_DISABLE_TELEMETRY", "1");
    command
}

/// Runs a verb of the script to its end; gives the last line that it prints.
fn run(part: &str, arguments: &[&str]) -> String {
    let output = python(part).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

fn rows(line: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["rows"].as_u64().unwrap()
}

#[test]
#[ignore = "needs deeplake"]
fn a_commit_of_one_row_adds_little() {
    let world = World::new();
    let path = world.lake().join("acme/live");
    let at = path.to_str().unwrap();
    run("deeplake", &["make", at, "4"]);
    rest();
    assert!(world.back_up().complete);
    rest();
    run("deeplake", &["append_one", at]);
    rest();
    let before = stats(&world.repo).unwrap();
    let second = world.back_up();
    let after = stats(&world.repo).unwrap();
    let (chunk_bytes, packs) = (after.plain_bytes - before.plain_bytes, after.packs - before.packs);
    assert!(second.complete && second.stats.new >= 2, "{second:?}");
    assert!(chunk_bytes < 16_384 && packs <= 2, "{chunk_bytes} bytes of chunks in {packs} packs");
    let to = world.dir.path().join("back");
    assert!(world.restore(&second, &to).complete);
    assert_eq!(rows(&run("deeplake", &["compare", to.join("acme/live").to_str().unwrap()])), 101);
}

/// A writer that commits until it is told to stop.
struct Writer {
    child: Child,
    stop: PathBuf,
}

impl Writer {
    fn start(path: &Path, stop: &Path) -> Self {
        Self::run("deeplake", &["write", path.to_str().unwrap(), stop.to_str().unwrap()], stop)
    }

    fn run(part: &str, arguments: &[&str], stop: &Path) -> Self {
        let mut command = python(part);
        command.args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap());
        // The library may say something of its own before.
        while line.trim() != "writing" {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the writer ended");
        }
        Self { child, stop: stop.to_owned() }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        fs::write(&self.stop, "").unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "the writer failed");
    }
}

#[test]
#[ignore = "needs deeplake"]
fn a_dataset_backed_up_beside_a_writer_opens_and_every_row_is_right() {
    let world = World::new();
    let path = world.lake().join("acme/live");
    // So many commits that the library sums up the log, which it does every 64.
    run("deeplake", &["make", path.to_str().unwrap(), "70"]);
    let mut before = 0;
    {
        let _writer = Writer::start(&path, &world.dir.path().join("stop"));
        for attempt in 0..4 {
            let outcome = world.back_up();
            assert!(outcome.complete, "{:?}", outcome.problems);
            let to = world.dir.path().join(format!("back{attempt}"));
            let restored = world.restore(&outcome, &to);
            assert!(restored.complete, "{restored:?}");
            let copy = to.join("acme/live");
            let found = rows(&run("deeplake", &["compare", copy.to_str().unwrap()]));
            assert!(found >= 1750 && found.is_multiple_of(25) && found >= before, "{found} rows after {before}");
            before = found;
        }
    }
    let last = world.back_up();
    let to = world.dir.path().join("last");
    world.restore(&last, &to);
    let copy = to.join("acme/live");
    let found = rows(&run("deeplake", &["compare", copy.to_str().unwrap()]));
    assert_eq!(found, rows(&run("deeplake", &["compare", path.to_str().unwrap()])));
    let appended: u64 = run("deeplake", &["append", copy.to_str().unwrap()]).parse().unwrap();
    assert_eq!(appended, found + 25, "the copy is written on");

    // As it was at its second batch.
    let to = world.dir.path().join("older");
    let at = DeepLakeTargetOptions { at_version: Some("3".to_owned()), ..DeepLakeTargetOptions::default() };
    world.try_restore(&last, &to, at, &RestoreOptions::default()).unwrap();
    let copy = to.join("acme/live");
    assert_eq!(rows(&run("deeplake", &["compare", copy.to_str().unwrap()])), 50);
    let appended: u64 = run("deeplake", &["append", copy.to_str().unwrap()]).parse().unwrap();
    assert_eq!(appended, 75);
    assert_eq!(rows(&run("deeplake", &["compare", copy.to_str().unwrap()])), 75);
    let again = World::new();
    let source = DeepLakeSource::new(&url(&to), DeepLakeOptions::default()).unwrap();
    let outcome = backup(&again.repo, &source, &BackupOptions::default(), &Silent).unwrap();
    assert!(outcome.complete, "a cut log has no gaps: {:?}", outcome.problems);
}

/// Writers beside each other.
struct Racers {
    children: Vec<Child>,
    stop: PathBuf,
}

impl Racers {
    /// Ends them; gives whether none failed.
    fn end(&mut self) -> bool {
        fs::write(&self.stop, "").unwrap();
        // All are waited for.
        let good: Vec<bool> = self.children.drain(..).map(|mut child| child.wait().unwrap().success()).collect();
        good.into_iter().all(|one| one)
    }
}

impl Drop for Racers {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
#[ignore = "needs deeplake"]
fn two_writers_and_a_compaction_at_once_leave_every_backup_whole() {
    let world = World::new();
    let (path, stop) = (world.lake().join("acme/race"), world.dir.path().join("stop"));
    let at = path.to_str().unwrap();
    run("deeplake", &["race_make", at]);
    let mut racers = Racers { children: Vec::new(), stop };
    for writer in ["0", "1", "2"] {
        let mut command = python("deeplake");
        racers.children.push(command.args(["race", at, writer]).arg(&racers.stop).spawn().unwrap());
    }
    let (mut before, mut attempts) = (0, 0);
    // Each may need a while to begin; none may fail.
    while attempts < 4 || before == 0 {
        attempts += 1;
        assert!(attempts < 200 && racers.children.iter_mut().all(|racer| racer.try_wait().unwrap().is_none()));
        let outcome = world.back_up();
        assert!(outcome.complete, "{:?}", outcome.problems);
        let to = world.dir.path().join(format!("back{attempts}"));
        assert!(world.restore(&outcome, &to).complete);
        let found = rows(&run("deeplake", &["race_compare", to.join("acme/race").to_str().unwrap(), at]));
        assert!(found >= before, "{found} rows after {before}");
        before = found;
    }
    assert!(racers.end());
}

#[test]
#[ignore = "needs deeplake"]
fn branches_tags_updates_and_compactions_come_back() {
    let world = World::new();
    let path = world.lake().join("acme/live");
    run("deeplake", &["make", path.to_str().unwrap(), "3"]);
    assert!(world.back_up().complete);
    run("deeplake", &["alter", path.to_str().unwrap()]);
    let outcome = world.back_up();
    assert!(outcome.complete, "{:?}", outcome.problems);
    let to = world.dir.path().join("back");
    assert!(world.restore(&outcome, &to).complete);
    let copy = to.join("acme/live");
    let found = run("deeplake", &["summary", copy.to_str().unwrap()]);
    assert!(found.contains("branch side") && found.contains("tag before") && found.contains("altered"), "{found}");
    assert_eq!(found, run("deeplake", &["summary", path.to_str().unwrap()]));

    let to = world.dir.path().join("tagged");
    let at = DeepLakeTargetOptions { at_version: Some("before".to_owned()), ..DeepLakeTargetOptions::default() };
    assert!(world.try_restore(&outcome, &to, at, &RestoreOptions::default()).unwrap().complete);
    let copy = to.join("acme/live");
    assert_eq!(rows(&run("deeplake", &["compare", copy.to_str().unwrap()])), 75, "as it was before it was altered");

    // Main took in what is taken away here: it opens, as it was before that.
    let to = world.dir.path().join("side");
    let at = DeepLakeTargetOptions {
        at_version: Some("1".to_owned()),
        branch: Some("side".to_owned()),
        ..DeepLakeTargetOptions::default()
    };
    let restored = world.try_restore(&outcome, &to, at, &RestoreOptions::default()).unwrap();
    assert!(restored.complete && restored.notes.iter().any(|note| note.contains("branch main")), "{restored:?}");
    let found = run("deeplake", &["summary", to.join("acme/live").to_str().unwrap()]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found["main"]["rows"], &found["branch side"]["rows"]), (&74.into(), &99.into()), "{found}");
}

#[test]
#[ignore = "needs deeplake3"]
fn a_dataset_of_version_3_comes_back_at_its_commit_or_with_its_head() {
    let world = World::new();
    let path = world.lake().join("acme/three");
    run("deeplake3", &["make3", path.to_str().unwrap()]);
    let photo = world.lake().join("acme/three.png");
    let outcome = world.back_up();
    assert!(outcome.complete, "{:?}", outcome.problems);
    assert_eq!(world.snapshot(&outcome).collections[0].attributes["torn"].as_array().unwrap().len(), 1);
    for (keep_head, wanted) in [(false, 80), (true, 87)] {
        let to = world.dir.path().join(format!("back-{keep_head}"));
        let options = DeepLakeTargetOptions { keep_head, ..DeepLakeTargetOptions::default() };
        let restored = world.try_restore(&outcome, &to, options, &RestoreOptions::default()).unwrap();
        assert!(restored.complete, "{restored:?}");
        let copy = to.join("acme/three");
        assert_eq!(rows(&run("deeplake3", &["compare3", copy.to_str().unwrap()])), wanted, "{restored:?}");
        let appended: u64 =
            run("deeplake3", &["append3", copy.to_str().unwrap(), photo.to_str().unwrap()]).parse().unwrap();
        assert_eq!(appended, wanted + 1);
        assert_eq!(rows(&run("deeplake3", &["compare3", copy.to_str().unwrap()])), wanted + 1);
    }
}

#[test]
#[ignore = "needs deeplake3"]
fn a_dataset_of_version_3_backed_up_beside_a_writer_comes_back_at_its_commit() {
    let world = World::new();
    let (path, stop) = (world.lake().join("acme/three"), world.dir.path().join("stop"));
    let at = path.to_str().unwrap();
    run("deeplake3", &["make3", at]);
    let photo = world.lake().join("acme/three.png");
    let (mut before, mut last) = (0, None);
    {
        let arguments = ["write3", at, photo.to_str().unwrap(), stop.to_str().unwrap()];
        let _writer = Writer::run("deeplake3", &arguments, &stop);
        for attempt in 0..3 {
            let outcome = world.back_up();
            // What is being written may change while it is read: nothing but that may be amiss.
            assert!(outcome.complete || outcome.only_changed, "{:?}", outcome.problems);
            let attributes = &world.snapshot(&outcome).collections[0].attributes;
            assert_eq!(attributes["torn"].as_array().unwrap().len(), 1, "{attributes}");
            let to = world.dir.path().join(format!("back{attempt}"));
            let restored = world.restore(&outcome, &to);
            assert!(restored.notes.iter().any(|note| note.contains("reset to its commit")), "{restored:?}");
            let found = rows(&run("deeplake3", &["compare3", to.join("acme/three").to_str().unwrap()]));
            assert!(found >= 80 && found >= before, "{found} rows after {before}");
            before = found;
            last = Some(to.join("acme/three"));
        }
    }
    let copy = last.unwrap();
    let appended = run("deeplake3", &["append3", copy.to_str().unwrap(), photo.to_str().unwrap()]);
    assert_eq!(appended.parse::<u64>().unwrap(), before + 1, "the copy is written on");
    assert_eq!(rows(&run("deeplake3", &["compare3", copy.to_str().unwrap()])), before + 1);
    let end = world.back_up();
    assert!(end.complete, "{:?}", end.problems);
    let to = world.dir.path().join("end");
    assert!(world.restore(&end, &to).complete);
    let there = rows(&run("deeplake3", &["compare3", at]));
    assert_eq!(rows(&run("deeplake3", &["compare3", to.join("acme/three").to_str().unwrap()])), there);
}

#[test]
#[ignore = "needs deeplake3"]
fn a_test_opens_datasets_of_version_3_and_compares_them_at_their_commit() {
    let service = super::dr::Service::new();
    let path = service.path("lake/acme/three");
    run("deeplake3", &["make3", path.to_str().unwrap()]);
    let interpreter = PathBuf::from(python("deeplake3").get_program());
    let mut service = service;
    service.set("BUGGER_OFF", "true");
    let arguments = |output: std::process::Output| -> serde_json::Value {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let created = arguments(service.run(&["create", "--type", "full"]));
    let id = created["backup_id"].as_str().unwrap();
    let tested = arguments(service.run(&["test-restore", id, "--open", "--python", interpreter.to_str().unwrap()]));
    assert_eq!(tested["opened"][0]["rows"], 80, "{tested}");
    assert_eq!(tested["opened"][0]["compared"], true, "at its commit it is the live one: {tested}");
}

/// The service's own command, over data of the library: `disaster_recovery.py`, opening what was restored.
#[test]
#[ignore = "needs deeplake"]
fn the_customary_command_restores_what_the_library_opens() {
    let service = super::dr::Service::new();
    let path = service.path("lake/acme/live");
    run("deeplake", &["make", path.to_str().unwrap(), "3"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/disaster_recovery.py");
    let interpreter = python("deeplake").get_program().to_owned();
    let dr = |arguments: &[&str]| {
        let mut command = Command::new(&interpreter);
        command.arg(&script).args(arguments).current_dir(service.dir.path());
        command.env("REKEEP", env!("CARGO_BIN_EXE_rekeep")).envs(service.variables.iter().cloned());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    dr(&["create", "--type", "full", "--tenant-id", "acme", "--description", "Manual backup before upgrade"]);
    let listed: serde_json::Value =
        serde_json::from_str(&dr(&["list", "--tenant-id", "acme", "--limit", "20", "--format", "json"])).unwrap();
    let id = listed[0]["backup_id"].as_str().unwrap();
    let tested = dr(&["test-restore", id, "--open", "--python", interpreter.to_str().unwrap()]);
    assert!(tested.contains("75 rows, 3 columns, equal to the live dataset"), "{tested}");
    let python = interpreter.to_str().unwrap();
    let mapping = "{\"live\": \"recovered\"}";
    let restored = dr(&[
        "--json",
        "restore",
        id,
        "--target-tenant",
        "production",
        "--dataset-mapping",
        mapping,
        "--rebuild-indexes",
        "--python",
        python,
    ]);
    let restored: serde_json::Value = serde_json::from_str(&restored).unwrap();
    assert_eq!(restored["indexes"][0]["target"], "production/recovered", "{restored}");
    assert!(restored["indexes"][0]["built"].is_boolean() && restored["status"] == "completed", "{restored}");
    let recovered = service.path("lake/production/recovered");
    assert_eq!(rows(&run("deeplake", &["compare", recovered.to_str().unwrap()])), 75);
}
