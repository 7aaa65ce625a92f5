//! What the command says and does without a repository: help, usage errors, exit statuses, completions, manual pages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{
    io::Read as _,
    process::{Command, Output, Stdio},
};

const COMMANDS: [&str; 20] = [
    "init",
    "backup",
    "snapshots",
    "ls",
    "restore",
    "dump",
    "find",
    "history",
    "diff",
    "verify",
    "status",
    "stats",
    "forget",
    "tag",
    "key",
    "cat",
    "cache",
    "demo",
    "completions",
    "man",
];

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
    for name in
        ["REKEEP_REPOSITORY", "REKEEP_PASSWORD", "REKEEP_PASSWORD_FILE", "REKEEP_PASSWORD_COMMAND", "REKEEP_CACHE_DIR"]
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command().args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_names_every_command_and_status() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    for name in COMMANDS {
        assert!(text.contains(&format!("\n  {name}")), "{name} is not in:\n{text}");
    }
    // Lines are broken where the terminal ends.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in ["latest~N", "@TIME", "12 wrong password", "REKEEP_REPOSITORY"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
fn every_command_has_help() {
    for name in COMMANDS {
        let output = run(&[name, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(out(&output).contains("Usage: rekeep"), "{name}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for args in [
        &[][..],
        &["--no-such-flag"],
        &["no-such-command"],
        &["backup"],
        &["backup", "sqlite:a", "--full", "--differential"],
        &["backup", "sqlite:a", "--compression", "23"],
        &["backup", "sqlite:a", "--parallel", "0"],
        &["restore", "latest"],
        &["restore", "latest", "sqlite:x", "--overwrite", "sometimes"],
        &["verify", "--read-data=150"],
        &["verify", "--read-data=2/30"],
        &["verify", "--keyless", "--restore"],
        &["status", "--max-age", "26"],
        &["stats", "--read-limit", "0"],
        &["stats", "--write-limit", "10X"],
        &["tag", "latest"],
        &["tag", "latest", "--set", "a", "--add", "b"],
        &["stats", "--password-file", "a", "--password-command", "b"],
        &["stats", "--quiet", "-v"],
        // No repository given at all.
        &["snapshots"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_source_that_cannot_be_is_a_usage_error_before_the_repository_is_asked_for() {
    for args in [
        &["-r", "nowhere", "backup", "mysql:x"][..],
        &["-r", "nowhere", "backup", "file.db"],
        &["-r", "nowhere", "backup", "sqlite:x", "--exclude", "*.tmp"],
        &["-r", "nowhere", "backup", "sqlite:x", "--stdin"],
        &["-r", "nowhere", "restore", "latest", "mysql:x"],
        &["-r", "nowhere", "restore", "latest", "sqlite:x", "--owners-by-name"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(err(&output).starts_with("rekeep: error: "), "{}", err(&output));
    }
}

#[test]
fn no_repository_is_status_10_without_asking_for_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("none");
    let place = place.to_str().unwrap();
    for args in
        [&["-r", place, "snapshots"][..], &["verify", "--keyless", "-r", place], &["cat", "config", "-r", place]]
    {
        let output = run(args);
        assert_eq!(output.status.code(), Some(10), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(place), "{}", err(&output));
        assert!(err(&output).contains("rekeep init"), "{}", err(&output));
    }
    let output = command().arg("stats").env("REKEEP_REPOSITORY", place).output().unwrap();
    assert_eq!(output.status.code(), Some(10), "{}", err(&output));
    assert!(!std::path::Path::new(place).exists());
}

#[test]
fn init_without_any_password_is_a_usage_error_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("new");
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    for flags in [&[][..], &["--password-file", empty.to_str().unwrap()], &["--password-command", "true"]] {
        let output = command().args(["init", "-r", place.to_str().unwrap()]).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(!place.exists());
    }
}

#[test]
fn errors_are_events_with_json() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("none");
    for (args, code) in
        [(&["--json", "snapshots", "-r", place.to_str().unwrap()][..], 10), (&["--json", "nonsense"], 2)]
    {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code));
        assert!(output.stdout.is_empty());
        let lines: Vec<serde_json::Value> =
            err(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["event"], "error");
        assert_eq!(lines[0]["code"], code);
        assert!(lines[0]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn completions_come_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains("rekeep") && out(&output).contains("snapshots"), "{shell}");
    }
}

#[test]
fn manual_pages_are_printed_and_written() {
    let output = run(&["man"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(out(&output).contains(".TH rekeep"));
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man");
    assert_eq!(run(&["man", "--dir", pages.to_str().unwrap()]).status.code(), Some(0));
    for name in COMMANDS {
        assert!(pages.join(format!("rekeep-{name}.1")).is_file(), "{name}");
    }
}

#[test]
fn the_cache_is_cleared_of_catalogs_only() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = format!("{}-{}.db", "0a".repeat(16), "f1".repeat(8));
    for name in [catalog.as_str(), "letter.txt"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    let cache = dir.path().to_str().unwrap();
    let listed = run(&["cache", "list", "--json", "--cache-dir", cache]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["bytes"], 1);
    assert_eq!(run(&["cache", "clear", "--cache-dir", cache]).status.code(), Some(0));
    assert!(!dir.path().join(&catalog).exists());
    assert!(dir.path().join("letter.txt").exists());
}

#[test]
fn a_reader_who_leaves_early_causes_no_panic() {
    let mut child =
        command().args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{text}");
    assert_eq!(text, "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_standard_output_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command().args(["completions", "bash"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("standard output"), "{}", err(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_nobody_can_read_is_a_failure() {
    for args in [&["--version"][..], &["help"], &["--help"], &["ls", "--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command().args(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(err(&output).contains("standard output"), "{}", err(&output));
        // Whoever went away is no failure.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command().args(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{args:?}");
    }
}
