//! The command itself: what is typed, and the exit status.

use crate::cluster::{assert_same, some_record, start};
use crate::support::Rng;
use rekeep_aerospike_server::{Handle, Seed};
use std::{path::Path, process::Command};

struct Answer {
    status: i32,
    out: String,
    err: String,
}

fn rekeep(dir: &Path, args: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_rekeep"))
        .args(["--quiet", "--json", "--cache-dir"])
        .arg(dir.join("cache"))
        .arg("--repo")
        .arg(dir.join("repo"))
        .args(args)
        .env("REKEEP_PASSWORD", "secret")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

fn url(server: &Handle) -> String {
    format!("aerospike://{}/test", server.address(0))
}

#[test]
fn a_snapshot_is_restored_as_typed() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(1);
    let mut rng = Rng::new(41);
    server.put_all("test", (0..400).map(|n| some_record(&mut rng, n)));
    assert_eq!(rekeep(dir.path(), &["init"]).status, 0);
    let backup = rekeep(dir.path(), &["backup", &url(&server)]);
    assert_eq!(backup.status, 0, "{}", backup.err);
    let to = start(1);
    let restored = rekeep(dir.path(), &["restore", "latest", &url(&to), "--batch-size", "10", "--verify"]);
    assert_eq!(restored.status, 0, "{}", restored.err);
    assert!(
        restored.out.contains("\"inserted\":400") || restored.out.contains("\"inserted\": 400"),
        "{}",
        restored.out
    );
    assert_same(&server, &to);

    let again = rekeep(dir.path(), &["restore", "latest", &url(&to)]);
    assert_eq!(again.status, 2, "{}", again.err);
    to.put("test", Seed::int(1_000_000).bin_int("n", 1));
    to.advance(std::time::Duration::from_secs(5));
    let equal = rekeep(dir.path(), &["restore", "latest", &url(&to), "--make-equal"]);
    assert_eq!(equal.status, 0, "{}", equal.err);
    assert_same(&server, &to);

    to.put("test", Seed::int(1_000_000).digest_is(server.dump("test")[0].digest).set("elsewhere").bin_int("n", 1));
    let failed = rekeep(dir.path(), &["restore", "latest", &url(&to), "--overwrite", "always"]);
    assert_eq!(failed.status, 3, "{}", failed.err);
    assert!(failed.out.contains("result 4"), "{}", failed.out);
}

#[test]
fn options_of_clusters_and_policies_of_clusters_are_refused_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(1);
    server.put("test", Seed::int(1).bin_int("n", 1));
    assert_eq!(rekeep(dir.path(), &["init"]).status, 0);
    assert_eq!(rekeep(dir.path(), &["backup", &url(&server)]).status, 0);
    let lines = format!("jsonl:{}", dir.path().join("out.jsonl").display());
    let set = rekeep(dir.path(), &["restore", "latest", &lines, "--set", "demo"]);
    assert!(set.status == 2 && set.err.contains("aerospike:"), "{}", set.err);
    let newer = rekeep(dir.path(), &["restore", "latest", &lines, "--overwrite", "if-newer"]);
    assert!(newer.status == 2 && newer.err.contains("if-newer"), "{}", newer.err);
}
