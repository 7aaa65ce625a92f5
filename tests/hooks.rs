//! Commands before and after a backup or a restore: when they are run, what they are told, and what becomes of their failures.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};
use tempfile::TempDir;

struct Room(TempDir);

/// Exit status, standard output, standard error.
type Ran = (i32, String, String);

impl Room {
    fn new() -> Self {
        let room = Self(tempfile::tempdir().unwrap());
        fs::create_dir(room.path("data")).unwrap();
        fs::write(room.path("data/a"), "a").unwrap();
        room.ok(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command
            .args(args)
            .current_dir(self.0.path())
            .env("REKEEP_REPOSITORY", self.path("repo"))
            .env("REKEEP_PASSWORD", "secret")
            .env("REKEEP_CACHE_DIR", self.path("cache"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.0, 0, "{ran:?}");
        ran
    }

    fn snapshots(&self) -> usize {
        let (_, out, _) = self.ok(&["--json", "snapshots"]);
        out.matches("\"id\"").count()
    }
}

const TELL: &str = "env | grep ^REKEEP_HOOK | sort >> told; echo -- >> told";

#[test]
fn commands_are_told_what_is_done_and_results_alone_go_to_standard_output() {
    let room = Room::new();
    let before = format!("echo printed; {TELL}");
    let (_, out, err) = room.ok(&["--json", "backup", "files:data", "--before", &before, "--after", TELL]);
    let outcome: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(err.contains("printed"), "{err}");
    let told = fs::read_to_string(room.path("told")).unwrap();
    let id = outcome["id"].as_str().unwrap();
    let url = "REKEEP_HOOK_URL=files:data\nREKEEP_HOOK_VERB=backup\n";
    assert_eq!(
        told,
        format!(
            "REKEEP_HOOK=before\nREKEEP_HOOK_DRY_RUN=0\n{url}--\nREKEEP_HOOK=after\nREKEEP_HOOK_DRY_RUN=0\nREKEEP_HOOK_SNAPSHOT={id}\nREKEEP_HOOK_STATUS=0\n{url}--\n"
        )
    );
    fs::remove_file(room.path("told")).unwrap();
    room.ok(&["restore", "latest", "files:back", "--dry-run", "--after", TELL]);
    let told = fs::read_to_string(room.path("told")).unwrap();
    for line in
        ["REKEEP_HOOK_DRY_RUN=1", "REKEEP_HOOK_VERB=restore", "REKEEP_HOOK_URL=files:back", &format!("SNAPSHOT={id}")]
    {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn a_source_may_be_made_by_the_command_before() {
    let room = Room::new();
    room.ok(&["backup", "files:made", "--before", "mkdir made; echo x > made/x", "--after", "rm -r made"]);
    assert!(!room.path("made").exists());
    room.ok(&["restore", "latest", "files:back"]);
    assert_eq!(fs::read_to_string(room.path("back/x")).unwrap(), "x\n");
}

#[test]
fn if_the_command_before_fails_nothing_is_done_but_the_one_after() {
    let room = Room::new();
    let (code, _, err) = room.run(&["backup", "files:data", "--before", "exit 7", "--after", TELL]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("exit status: 7") && err.contains("nothing was done"), "{err}");
    assert_eq!(room.snapshots(), 0);
    assert!(fs::read_to_string(room.path("told")).unwrap().contains("REKEEP_HOOK_STATUS=1"));
    room.ok(&["backup", "files:data"]);
    assert_eq!(room.run(&["restore", "latest", "files:back", "--before", "false"]).0, 1);
    assert!(!room.path("back").exists());
}

#[test]
fn a_failure_of_the_command_after_is_told_and_takes_nothing_back() {
    let room = Room::new();
    let (code, _, err) = room.run(&["backup", "files:data", "--after", "kill -9 $$"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("signal: 9") && err.contains("all was done before it"), "{err}");
    assert_eq!(room.snapshots(), 1);
    // What the work failed with goes before.
    let (code, _, err) = room.run(&["restore", "latest", "files:data", "--after", "exit 5"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("exit status: 5") && err.contains("already holds"), "{err}");
}

#[test]
fn nothing_is_run_where_the_repository_cannot_be_opened() {
    let room = Room::new();
    let line = ["backup", "files:data", "--before", TELL, "--after", TELL];
    let wrong = room.command(&line).env("REKEEP_PASSWORD", "wrong").output().unwrap();
    assert_eq!(wrong.status.code(), Some(12));
    let none = room.command(&line).env("REKEEP_REPOSITORY", room.path("none")).output().unwrap();
    assert_eq!(none.status.code(), Some(10));
    assert!(!room.path("told").exists());
}
