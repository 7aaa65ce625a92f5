//! Odd ways to run the command: under limits of the system, with arguments that are no text, for a reader of JSON.

use crate::world::{Ran, World};
use std::{
    ffi::OsString,
    fs,
    io::Write,
    os::unix::ffi::OsStringExt,
    process::{Command, Stdio},
};

fn folder(world: &World) {
    fs::create_dir_all(world.path("s")).unwrap();
    fs::write(world.path("s/a"), "one").unwrap();
    world.backup(&["files:s"]);
}

/// The command under a limit of how long files may become.
fn with_files_up_to(world: &World, kib: u32, args: &[&str]) -> Ran {
    let command = world.command(args);
    let mut limited = Command::new("bash");
    limited.args(["-c", &format!("ulimit -f {kib} && exec \"$@\""), "bash"]);
    limited.arg(command.get_program()).args(command.get_args()).current_dir(world.path(""));
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.output().unwrap().into()
}

#[test]
fn a_limit_of_the_length_of_files_is_an_error_and_not_the_end() {
    let world = World::new();
    folder(&world);
    let mut noise = vec![0; 800_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    fs::write(world.path("s/noise"), noise).unwrap();
    let ran = with_files_up_to(&world, 200, &["backup", "files:s"]);
    ran.fails(1, &["creating packs/", "File too large", "nothing was committed"]);
    assert_eq!(world.snapshots().len(), 1);
    world.ok(&["backup", "files:s"]);
    with_files_up_to(&world, 200, &["restore", "latest", "files:out"]).fails(3, &["noise: File too large"]);
    assert!(!world.path("out/noise").exists());
    let line = |n: u32| format!("{{\"k\":{},\"v\":\"{}\"}}", n * 7919 % 20_011, "x".repeat(9));
    let lines: Vec<String> = (0..20_000).map(line).collect();
    fs::write(world.path("u.jsonl"), lines.join("\n")).unwrap();
    fs::create_dir(world.path("spool")).unwrap();
    let sort = ["backup", "jsonl:u.jsonl?key=k", "--temp-dir", "spool"];
    with_files_up_to(&world, 200, &sort).fails(1, &["sort in", "spool", "File too large", "--temp-dir"]);
    world.ok(&sort);
}

#[test]
fn what_fails_before_the_first_element_leaves_no_half_of_a_document() {
    let world = World::new();
    folder(&world);
    let ran = world.run(&["--json", "ls", "latest", "nosuch"]).fails(2, &["nosuch"]);
    assert_eq!(ran.out, "");
    let array = world.json(&["ls", "latest", "files"]);
    assert_eq!(array.as_array().map(Vec::len), Some(2));
    assert_eq!(world.json(&["find", "nosuch"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn an_argument_that_is_no_text_is_named() {
    let world = World::new();
    let odd = || OsString::from_vec(b"a\xFF".to_vec());
    let ran = |args: &[&str], variable: Option<&str>| {
        let mut command = world.command(&["snapshots"]);
        command.args(args);
        match variable {
            Some(name) => command.env(name, odd()),
            None => command.arg(odd()),
        };
        Ran::from(command.output().unwrap())
    };
    ran(&["-r"], None).fails(2, &[r"`a\xff` behind -r is not valid UTF-8"]);
    ran(&["--json", "--tag"], None).fails(2, &[r#""event":"error""#, "behind --tag"]);
    ran(&[], Some("REKEEP_REPOSITORY")).fails(2, &["the variable REKEEP_REPOSITORY is not valid UTF-8"]);
}

/// A backup of what it is given, that gets a signal while it waits for more.
fn with_signal(world: &World, before: &str, signal: &str) -> Ran {
    let command = world.command(&["backup", "--stdin"]);
    // Whoever runs the tests may do so under `nohup`, and no shell takes back what it was begun with.
    let mut shell = Command::new("env");
    shell.args(["--default-signal=HUP,TERM,INT", "bash", "-c", &format!("{before} exec \"$@\""), "bash"]);
    shell.arg(command.get_program()).args(command.get_args()).current_dir(world.path(""));
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // More than a pipe holds: when it is written it is being read.
    input.write_all(&vec![7; 1 << 20]).unwrap();
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let _ = input.write_all(&vec![7; 1 << 20]);
    drop(input);
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_backup_goes_on_when_its_terminal_is_closed_only_if_it_was_told_so() {
    let world = World::new();
    for signal in ["HUP", "TERM", "INT"] {
        with_signal(&world, "", signal).fails(130, &["nothing was committed"]);
    }
    let ran = with_signal(&world, "trap '' HUP;", "HUP");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(world.snapshots().len(), 1);
    // A supervisor that ignores the others does not mean its children.
    with_signal(&world, "trap '' TERM INT;", "TERM").fails(130, &["nothing was committed"]);
}
