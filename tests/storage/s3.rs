//! S3: servers of others, one that keeps its promises, one that nearly does, one that does not.

use crate::{
    conformance::{self, conforms, objects},
    proxy::{Fault, Proxy},
    run::Life,
    server::{Server, program},
};
use rekeep::repo::{
    RepoError, Storage,
    storage::{Created, StorageOptions},
};
use serde_json::Value as Json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

pub const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test-secret"), ("AWS_REGION", "us-east-1")];

const S3RVER_KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "S3RVER"), ("AWS_SECRET_ACCESS_KEY", "S3RVER"), ("AWS_REGION", "us-east-1")];

pub fn ministack() -> Server {
    let server = Server::start(|port, folder| {
        let mut command = Command::new(program("ministack", "ministack"));
        // Its default is to listen on every interface.
        command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string()).current_dir(folder);
        command
    });
    make_bucket(&server, "bucket", "us-east-1");
    server
}

fn moto() -> Server {
    let server = Server::start(|port, folder| {
        let mut command = Command::new(program("moto", "moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).current_dir(folder);
        command
    });
    make_bucket(&server, "bucket", "us-east-1");
    server
}

fn s3rver() -> Server {
    Server::start(|port, folder| {
        let mut command = Command::new(program("s3rver", "s3rver"));
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "--configure-bucket", "bucket", "-d"]).arg(folder);
        command
    })
}

/// With nothing but a socket: what is under test must not make what it is tested with.
fn make_bucket(server: &Server, name: &str, region: &str) {
    make_bucket_with(server, name, region, "");
}

fn make_bucket_with(server: &Server, name: &str, region: &str, headers: &str) {
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential=test/20260101/{region}/s3/aws4_request, SignedHeaders=host, Signature=0");
    let body = match region {
        "us-east-1" => String::new(),
        region => format!(
            "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        ),
    };
    let request = format!(
        "PUT /{name} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n{headers}\
         Connection: close\r\n\r\n{body}",
        server.port,
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Names of objects below a prefix of the bucket, asked for with nothing but a socket; and one of them deleted.
pub fn names_below(port: u16, prefix: &str) -> Vec<String> {
    let page = plainly(port, "GET", &format!("/bucket?list-type=2&prefix={prefix}"));
    page.split("<Key>").skip(1).filter_map(|rest| Some(rest.split("</Key>").next()?.to_owned())).collect()
}

pub fn lose(port: u16, name: &str) {
    plainly(port, "DELETE", &format!("/bucket/{name}"));
}

/// An object whose key stands in the address as it is.
pub fn put(port: u16, key: &str, content: &str) {
    plainly_with(port, "PUT", &format!("/bucket/{key}"), content);
}

fn plainly(port: u16, method: &str, path: &str) -> String {
    plainly_with(port, method, path, "")
}

fn plainly_with(port: u16, method: &str, path: &str, body: &str) -> String {
    let authorization =
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
    answer
}

fn options() -> StorageOptions {
    let credentials = [("access_key_id", "test"), ("secret_access_key", "test-secret")];
    StorageOptions {
        credentials: credentials.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        ..StorageOptions::default()
    }
}

pub fn uri(port: u16, prefix: &str) -> String {
    format!("s3://bucket/{prefix}?endpoint=http://127.0.0.1:{port}&region=us-east-1")
}

pub fn at(port: u16, prefix: &str) -> Storage {
    Storage::open(&uri(port, prefix), &options()).unwrap()
}

#[test]
#[ignore = "needs ministack"]
fn ministack_conforms() {
    let server = ministack();
    conforms(&|name| at(server.port, name), objects(2100));
}

#[test]
#[ignore = "needs moto"]
fn moto_conforms() {
    let server = moto();
    conforms(&|name| at(server.port, name), objects(2100));
}

#[test]
#[ignore = "needs s3rver"]
fn a_store_that_lies_about_conditions_still_keeps_objects() {
    let server = s3rver();
    let credentials = [("access_key_id", "S3RVER"), ("secret_access_key", "S3RVER")];
    let options = StorageOptions {
        credentials: credentials.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        ..StorageOptions::default()
    };
    let at = |name: &str| Storage::open(&uri(server.port, name), &options).unwrap();
    // It answers listings of more than a page with an error, which is why there is but one here.
    conformance::every_page_is_listed(&at("pages"), 200);
    let storage = at("basic");
    assert_eq!(storage.create("a/b", b"one").unwrap(), Created::New);
    assert_eq!(storage.read("a/b").unwrap(), b"one");
}

#[test]
#[ignore = "needs s3rver"]
fn a_store_that_lies_about_conditions_is_found_out_and_used_in_the_weak_mode() {
    let server = s3rver();
    let life = Life::at(&uri(server.port, "repo"), &S3RVER_KEYS);
    let check: Json =
        serde_json::from_slice(&life.run(&["--json", "check-storage", "--no-throughput"]).stdout).unwrap();
    assert_eq!(check["verdict"]["conditional_create"], false, "{check}");
    assert_eq!(check["verdict"]["whole"], true, "{check}");
    let made = life.run(&["init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    let err = String::from_utf8_lossy(&made.stderr);
    assert_eq!(made.status.code(), Some(0), "{err}");
    assert!(err.contains("replaced the first"), "{err}");
    life.fill(2_000);
    let first = life.backup();
    life.sql("UPDATE t SET data = randomblob(500)");
    life.backup();
    life.ok(&["forget", &first]);
    let pruned = life.run(&["prune"]);
    let err = String::from_utf8_lossy(&pruned.stderr);
    assert!(err.contains("weaker here"), "{err}");
    // Marked, and waiting.
    assert_eq!(life.json(&["prune"])["deleted"]["packs"], 0);
    life.ok(&["restore", "latest", "sqlite:second.db"]);
    assert!(life.rows("second.db") == life.rows("app.db"));
}

#[test]
#[ignore = "needs ministack"]
fn a_good_place_is_tried_once_and_a_copy_of_the_repository_elsewhere_again() {
    let server = ministack();
    let life = Life::at(&uri(server.port, "repo"), &KEYS);
    let check = life.json(&["check-storage", "--no-throughput"]);
    assert_eq!((&check["usable"], &check["has_repository"]), (&Json::Bool(true), &Json::Bool(false)), "{check}");
    assert_eq!(check["consequences"], serde_json::json!([]), "{check}");
    life.init();
    let place = at(server.port, "repo");
    let verdicts = place.list("promises/").unwrap();
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert!(place.list("probe/").unwrap().is_empty(), "a trial leaves nothing");
    life.fill(100);
    life.backup();
    assert_eq!(place.list("promises/").unwrap(), verdicts, "it is tried once");
    let copy = at(server.port, "copy");
    for object in place.list("").unwrap() {
        copy.create(&object.name, &place.read(&object.name).unwrap()).unwrap();
    }
    let other = Life::at(&uri(server.port, "copy"), &KEYS);
    other.fill(100);
    other.backup();
    assert_eq!(copy.list("promises/").unwrap().len(), 2, "the copy was tried itself");
    other.ok(&["verify", "--keyless"]);
}

/// As a shell runs them, at a server that the usual variable names; but for the database's path, which is nobody's to make.
#[test]
#[ignore = "needs ministack"]
fn the_nightly_backup_of_the_documentation_works_word_for_word() {
    let server = ministack();
    make_bucket(&server, "backups", "eu-central-1");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/storage.md")).unwrap();
    let section = page.split("## A nightly backup to S3").nth(1).unwrap();
    let script = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let life = Life::at("unused", &KEYS);
    life.fill(300);
    std::fs::write(life.path(".rekeep-password"), "correct horse").unwrap();
    let script = script.replace("/var/lib/app/app.db", life.path("app.db").to_str().unwrap());
    assert!(script.contains("s3://backups/app") && script.contains("rekeep prune"), "{script}");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_rekeep")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let run = || {
        let mut shell = Command::new("sh");
        shell
            .args(["-e", "-c", &script])
            .current_dir(life.path(""))
            .env_remove("REKEEP_PASSWORD")
            .env_remove("REKEEP_REPOSITORY")
            .env("PATH", &path)
            .env("HOME", life.path(""))
            .env("REKEEP_CACHE_DIR", life.path("cache"))
            .env("AWS_ENDPOINT_URL", server.url())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(KEYS)
            .stdin(std::process::Stdio::null());
        shell.output().unwrap()
    };
    let output = run();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
#[ignore = "needs ministack"]
fn a_repository_lives_on_ministack() {
    let server = ministack();
    Life::at(&uri(server.port, "repo/deep"), &KEYS).whole();
}

/// The replica of a local repository, on a server, with the primary gone.
#[test]
#[ignore = "needs ministack"]
fn a_replica_on_ministack_restores_with_the_primary_gone() {
    let server = ministack();
    let place = uri(server.port, "second");
    let mut life = Life::at("", &KEYS);
    life.uri = life.path("primary").to_str().unwrap().to_owned();
    life.init();
    life.fill(40_000);
    let before = life.rows("app.db");
    let first = life.backup();
    let done = life.json(&["replicate", &place]);
    assert!(done["packs"].as_u64().unwrap() > 1 && done["problems"] == serde_json::json!([]), "{done}");
    life.sql("UPDATE t SET data = randomblob(500) WHERE id % 100 = 7");
    let after = life.rows("app.db");
    life.backup();
    life.ok(&["tag", &first, "--add", "x"]);
    let done = life.json(&["replicate", &place]);
    assert_eq!(done["snapshots"], 2, "{done}");
    assert_eq!(life.json(&["replicate", &place])["bytes"], 0);
    std::fs::remove_dir_all(life.path("primary")).unwrap();
    std::fs::remove_dir_all(life.path("cache")).unwrap();
    life.uri = place;
    life.ok(&["verify", "--keyless"]);
    life.ok(&["restore", &first, "sqlite:first.db"]);
    life.ok(&["restore", "latest", "sqlite:second.db"]);
    assert!(life.rows("first.db") == before && life.rows("second.db") == after);
    // The verdict on a place is not copied, and nobody has written here.
    assert!(at(server.port, "second").list("promises/").unwrap().is_empty());
    // And from the server to another of its prefixes.
    let third = uri(server.port, "third");
    assert_eq!(life.json(&["replicate", &third])["problems"], serde_json::json!([]));
    life.uri = third;
    let verified = life.json(&["verify", "--read-data", "--restore"]);
    assert_eq!(verified["findings"], serde_json::json!([]), "{verified}");
}

#[test]
#[ignore = "needs moto"]
fn a_repository_lives_on_moto() {
    let server = moto();
    Life::at(&uri(server.port, "repo"), &KEYS).whole();
}

#[test]
#[ignore = "needs ministack"]
fn what_may_pass_is_tried_again() {
    let server = ministack();
    let faults = [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(408),
        Fault::ComeAgain,
        Fault::Cut,
        Fault::LostAnswer,
        Fault::HalfAnswer,
        Fault::Page,
    ];
    for fault in faults {
        let read_only = fault == Fault::HalfAnswer;
        let direct = at(server.port, &format!("{fault:?}"));
        direct.create("there", &vec![7; 100_000]).unwrap();
        // The first request meets the fault, its second attempt does not.
        let meets = move |number: u64, _: &str| (number == 1).then_some(fault);
        if !read_only {
            let proxy = Proxy::before(server.port, meets);
            let broken = at(proxy.port, &format!("{fault:?}"));
            assert_eq!(broken.create("new", &vec![8; 100_000]).unwrap(), Created::New, "{fault:?}");
            assert_eq!(direct.read("new").unwrap(), vec![8; 100_000], "{fault:?}");
        }
        let read = |work: &dyn Fn(&Storage)| {
            let proxy = Proxy::before(server.port, meets);
            work(&at(proxy.port, &format!("{fault:?}")));
            assert!(proxy.requests() > 1, "{fault:?}");
        };
        read(&|storage| assert_eq!(storage.read("there").unwrap(), vec![7; 100_000], "{fault:?}"));
        read(&|storage| assert_eq!(storage.read_range("there", 5..50_005).unwrap(), vec![7; 50_000], "{fault:?}"));
        read(&|storage| assert!(!storage.list("").unwrap().is_empty(), "{fault:?}"));
        if fault != Fault::HalfAnswer {
            read(&|storage| assert_eq!(storage.len("there").unwrap(), Some(100_000), "{fault:?}"));
            read(&|storage| storage.delete("there").unwrap());
            assert_eq!(direct.len("there").unwrap(), None, "{fault:?}");
        }
    }
}

#[test]
#[ignore = "needs ministack"]
fn an_upload_that_breaks_off_leaves_nothing_under_its_name() {
    let server = ministack();
    let proxy = Proxy::before(server.port, |_, line| line.starts_with("PUT").then_some(Fault::Cut));
    let broken = at(proxy.port, "half").within(Duration::from_secs(2));
    let error = broken.create("object", &vec![1; 1 << 20]).unwrap_err();
    assert!(matches!(error, RepoError::Storage { operation: "creating", .. }), "{error}");
    let direct = at(server.port, "half");
    assert_eq!(direct.len("object").unwrap(), None);
    assert!(direct.list("").unwrap().is_empty());
    assert_eq!(direct.create("object", b"whole").unwrap(), Created::New);
}

#[test]
#[ignore = "needs ministack"]
fn a_bucket_that_is_not_there_is_told_from_an_empty_place() {
    let server = ministack();
    let nowhere = format!("s3://nosuch/x?endpoint=http://127.0.0.1:{}&region=us-east-1", server.port);
    let life = Life::at(&nowhere, &KEYS);
    for command in [["snapshots"].as_slice(), &["init"], &["backup", "sqlite:app.db"]] {
        let output = life.run(command);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {err}");
        assert!(err.contains("no such bucket"), "{command:?}: {err}");
    }
    let empty = Life::at(&uri(server.port, "nothing/here"), &KEYS);
    assert_eq!(empty.run(&["snapshots"]).status.code(), Some(10));
}

#[test]
#[ignore = "needs ministack"]
fn no_secret_is_shown_or_kept() {
    let server = ministack();
    let proxy = Proxy::before(server.port, |_, line| line.starts_with("PUT").then_some(Fault::Status(400)));
    let life = Life::at(&uri(proxy.port, "secret"), &KEYS);
    let output = life.run(&["--json", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("test-secret") && !text.contains("Signature"), "{text}");
    let life = Life::at(&uri(server.port, "secret"), &KEYS);
    let made = life.json(&["init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    assert_eq!(made["location"], format!("s3://bucket/secret?endpoint=http://127.0.0.1:{}", server.port));
}

#[test]
fn a_place_that_does_not_answer_is_told_soon_and_without_a_repository_being_denied() {
    let port = crate::server::free_port();
    let life = Life::at(&uri(port, "x"), &KEYS);
    let output = life.run(&["snapshots"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("tried"), "{err}");
}

#[test]
#[ignore = "needs moto"]
fn a_prune_of_a_locked_bucket_says_what_stays_until_when_and_renews_what_is_needed() {
    let server = moto();
    make_bucket_with(&server, "locked", "us-east-1", "x-amz-bucket-object-lock-enabled: true\r\n");
    let at = |prefix: &str| format!("s3://locked/{prefix}?endpoint={}&region=us-east-1", server.url());
    for (mode, other) in [("governance", "compliance"), ("compliance", "governance")] {
        let life = Life::at(&at(mode), &KEYS);
        life.init();
        life.fill(500);
        let first = life.backup();
        life.sql("UPDATE t SET data = randomblob(500)");
        life.ok(&["backup", "--new-base", "sqlite:app.db"]);

        let extend = ["prune", "--extend-locks", "30d", "--lock-mode", mode];
        let planned = life.json(&[&extend[..], &["--dry-run"]].concat());
        assert!(planned["locks"]["objects"].as_u64().unwrap() > 8, "{planned}");
        assert_eq!(planned["locks"]["extended"], planned["locks"]["objects"]);
        assert_eq!(planned["held"]["packs"], 0, "a plan locks nothing");
        let renewed = life.json(&extend);
        assert_eq!(renewed["failures"], serde_json::json!([]));
        let again = life.json(&extend);
        assert!(renewed["locks"]["extended"].as_u64().unwrap() > 8 && again["locks"]["extended"] == 0, "{again}");

        let foreseen = life.json(&["forget", "--dry-run", &first]);
        assert!(foreseen["held"]["packs"].as_u64().unwrap() > 0, "{foreseen}");
        assert_eq!(foreseen["held"]["until"], renewed["locks"]["until"].as_i64().unwrap() / 1000 * 1000, "{foreseen}");
        let text = life.ok(&["forget", "--dry-run", &first]);
        assert!(text.contains("held ") && text.contains(&format!("in {mode} mode")), "{text}");
        life.ok(&["forget", &first]);
        let plan = life.json(&["prune", "--dry-run"]);
        let going =
            plan["plan"]["whole"]["packs"].as_u64().unwrap() + plan["plan"]["repack"]["packs"].as_u64().unwrap();
        assert!(going > 0, "{plan}");
        assert_eq!((&plan["held"]["packs"], &plan["held"][mode]), (&Json::from(going), &Json::from(going)), "{plan}");
        assert_eq!(plan["held"][other], 0);
        let until = |json: &Json| json["until"].as_i64().unwrap() / 1000;
        assert_eq!(until(&plan["held"]), until(&renewed["locks"]), "to the second");
        let text = life.ok(&["prune"]);
        assert!(text.contains("held ") && text.contains(&format!("in {mode} mode")), "{text}");
        assert!(text.contains("as older versions"), "{text}");
        // What is needed keeps the mode it has, and is held for longer.
        let longer = life.json(&["prune", "--extend-locks", "60d", "--lock-mode", other]);
        assert_eq!(longer["failures"], serde_json::json!([]), "{longer}");
        life.ok(&["restore", "latest", "sqlite:second.db"]);
        assert!(life.rows("second.db") == life.rows("app.db"));
    }
}

#[test]
#[ignore = "needs moto"]
fn a_bucket_that_locks_nothing_says_so_and_keeps_no_versions() {
    let server = moto();
    let life = Life::at(&uri(server.port, "repo"), &KEYS);
    life.init();
    life.fill(300);
    let first = life.backup();
    life.sql("UPDATE t SET data = randomblob(500)");
    life.backup();
    life.ok(&["forget", &first]);
    let refused = life.run(&["prune", "--dry-run", "--extend-locks", "30d"]);
    let err = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && err.contains("keeps no versions"), "{err}");
    let text = life.ok(&["prune"]);
    assert!(!text.contains("held") && !text.contains("versions"), "{text}");
}

/// As a shell runs them, at a server that the usual variable names.
#[test]
#[ignore = "needs moto"]
fn the_locked_bucket_of_the_documentation_works_word_for_word() {
    let server = moto();
    make_bucket_with(&server, "backups-locked", "eu-central-1", "x-amz-bucket-object-lock-enabled: true\r\n");
    let page = include_str!("../../docs/three-two-one.md");
    let script = page.split("```shell\n").nth(1).unwrap().split("```").next().unwrap();
    let url = server.url();
    let keys = [KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL_S3", url.as_str())];
    let life = Life::at("s3://backups-locked/app?region=eu-central-1", &keys);
    life.init();
    life.fill(300);
    life.backup();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_rekeep")).parent().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", script]).current_dir(life.path(""));
    shell.env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default()));
    shell.env("REKEEP_PASSWORD", "correct horse").env("REKEEP_CACHE_DIR", life.path("cache"));
    let ran = shell.env("AWS_EC2_METADATA_DISABLED", "true").envs(keys).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && out.contains("locks    renewed for"), "{out}{err}");
}

#[test]
#[ignore = "needs moto"]
fn what_only_old_snapshots_need_moves_to_an_archive_and_is_thawed_to_be_restored() {
    let server = moto();
    let life = Life::at(&uri(server.port, "cold/repo"), &KEYS);
    life.init();
    life.fill(1_000);
    let before = life.rows("app.db");
    let first = life.backup();
    life.sql("UPDATE t SET data = randomblob(500)");
    life.ok(&["backup", "--new-base", "sqlite:app.db"]);
    let dry = life.json(&["prune", "--dry-run", "--tier-after", "0s", "--tier-class", "DEEP_ARCHIVE"]);
    assert!(dry["tiered"]["packs"].as_u64().unwrap() > 0 && dry["tiered"]["old_snapshots"] == 1, "{dry}");
    let done = life.json(&["prune", "--tier-after", "0s", "--tier-class", "DEEP_ARCHIVE"]);
    assert_eq!(
        (&done["tiered"]["packs"], &done["failures"]),
        (&dry["tiered"]["packs"], &serde_json::json!([])),
        "{done}"
    );
    let text = life.ok(&["prune", "--tier-after", "0s", "--tier-class", "DEEP_ARCHIVE"]);
    assert!(text.contains("tiered   moved 0 packs"), "{text}");
    // Metadata and the newest snapshot are as warm as before.
    std::fs::remove_dir_all(life.path("cache")).unwrap();
    life.ok(&["restore", "latest", "sqlite:second.db"]);
    assert!(life.rows("second.db") == life.rows("app.db"));
    life.sql("UPDATE t SET data = randomblob(500) WHERE id % 100 = 7");
    life.backup();
    let refused = life.run(&["--json", "restore", &first, "sqlite:first.db"]);
    let err = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{err}");
    assert!(err.contains("\"archived\"") && err.contains("DEEP_ARCHIVE") && err.contains("packs/"), "{err}");
    assert!(!life.path("first.db").exists(), "nothing was written");
    let verified = life.run(&["--json", "verify", "--read-data"]);
    let verified: (Option<i32>, Json) = (verified.status.code(), serde_json::from_slice(&verified.stdout).unwrap());
    assert!(verified.0 == Some(3) && verified.1["archived"].as_u64().unwrap() > 0, "{verified:?}");
    let costs = life.json(&["stats", "--cost"]);
    let classes: Vec<&str> =
        costs["classes"].as_array().unwrap().iter().map(|it| it["class"].as_str().unwrap()).collect();
    assert_eq!(classes, ["DEEP_ARCHIVE", "STANDARD"], "{costs}");
    life.ok(&["restore", &first, "sqlite:first.db", "--thaw", "--thaw-tier", "bulk", "--thaw-wait", "1m"]);
    assert!(life.rows("first.db") == before);
}

#[test]
#[ignore = "needs moto"]
fn a_repository_whose_values_go_straight_to_an_archive_backs_up_and_lists_without_them() {
    let server = moto();
    let place = format!("{}&storage-class=GLACIER", uri(server.port, "straight"));
    let life = Life::at(&place, &KEYS);
    life.init();
    life.fill(500);
    life.backup();
    life.sql("UPDATE t SET data = randomblob(500) WHERE id % 10 = 3");
    std::fs::remove_dir_all(life.path("cache")).unwrap();
    life.backup();
    assert_eq!(life.json(&["snapshots"]).as_array().unwrap().len(), 2);
    life.ok(&["verify"]);
    let asked = life.path("asked");
    let command =
        format!("cp \"$REKEEP_THAW_LIST\" {}; echo \"$REKEEP_LOCATION\" >> {}", asked.display(), asked.display());
    let refused = life.run(&["restore", "latest", "sqlite:second.db", "--thaw-command", &command]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    let list = std::fs::read_to_string(&asked).unwrap();
    assert!(list.contains("\tpacks/") && list.contains("s3://bucket/straight"), "{list}");
    life.ok(&["restore", "latest", "sqlite:second.db", "--thaw"]);
    assert!(life.rows("second.db") == life.rows("app.db"));
}

#[test]
#[ignore = "needs moto"]
fn a_repository_stays_in_the_region_that_its_bucket_says_whatever_it_is_told() {
    let server = moto();
    make_bucket(&server, "frankfurt", "eu-central-1");
    let at = |bucket: &str, region: &str| format!("s3://{bucket}/repo?endpoint={}&region={region}", server.url());
    let init = ["init", "--kdf-memory", "1", "--kdf-passes", "1", "--allowed-region", "eu-central-1"];
    // The bucket lies elsewhere, and the caller says otherwise.
    for told in ["us-east-1", "eu-central-1"] {
        let life = Life::at(&at("bucket", told), &KEYS);
        let refused = life.run(&init);
        let err = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{err}");
        assert!(err.contains("us-east-1") && err.contains("eu-central-1 alone"), "{err}");
        assert!(self::at(server.port, "repo").list("").unwrap().is_empty(), "something was written");
    }
    let life = Life::at(&at("frankfurt", "eu-central-1"), &KEYS);
    life.ok(&init);
    assert_eq!(life.json(&["check-storage", "--no-throughput"])["region"], "eu-central-1");
    life.fill(200);
    life.backup();
    let refused = life.run(&["replicate", &at("bucket", "us-east-1")]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(self::at(server.port, "repo").list("").unwrap().is_empty(), "something was replicated");
    life.ok(&["replicate", &format!("s3://frankfurt/second?endpoint={}&region=eu-central-1", server.url())]);
    life.ok(&["restore", "latest", "sqlite:second.db"]);
}
