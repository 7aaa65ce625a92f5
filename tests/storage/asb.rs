//! Files of Aerospike's backup tools in a bucket: a routine comes in as a chain, and what is kept goes out as files; so do streams.

use crate::{run::Life, s3};
use rekeep::{
    connector::aerospike::xdr::{
        Change,
        asbx::{put_change, put_head},
        body_of,
    },
    record::Digest,
    repo::storage::Created,
};
use rekeep_aerospike_server::{Config, NamespaceConfig, Seed, Server, Server as AerospikeServer};

const FULL: &str = "backup/1700000000000/data/source-ns2";
const INCREMENT: &str = "incremental/1700000600000/data/source-ns2";

fn metadata(created: &str, records: u32) -> String {
    format!("created: {created}\nnamespace: source-ns2\nrecord-count: {records}\n")
}

#[test]
#[ignore = "needs ministack"]
fn a_routine_comes_in_from_a_bucket_and_files_go_out_to_one() {
    let server = s3::ministack();
    let fixture = format!("{}/tests/fixtures/asb/source-ns2_00000.asb", env!("CARGO_MANIFEST_DIR"));
    let whole = std::fs::read(fixture).unwrap();
    let records = whole.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"+ d ")).count() as u32;
    let more = "Version 3.1\n# namespace source-ns2\n# first-file\n+ n source-ns2\n+ d AAECAwQFBgcICQoLDA0ODxAREhM=\n+ g 1\n+ t 0\n+ b 1\n\
                - I x 5\n";
    let bucket = s3::at(server.port, "backups/routine");
    for (name, text) in [
        (format!("{FULL}/metadata.yaml"), metadata("2023-11-14T22:13:20Z", records).into_bytes()),
        (format!("{FULL}/0_source-ns2_1.asb"), whole),
        (format!("{INCREMENT}/metadata.yaml"), metadata("2023-11-14T22:23:20Z", 1).into_bytes()),
        (format!("{INCREMENT}/0_source-ns2_1.asb"), more.as_bytes().to_vec()),
        ("backup/1700001200000/data/source-ns2/0_source-ns2_1.asb".to_owned(), b"not finished".to_vec()),
    ] {
        assert_eq!(bucket.create(&name, &text).unwrap(), Created::New);
    }
    let life = Life::at("repo", &s3::KEYS);
    life.init();
    let routine = format!("asb:{}", s3::uri(server.port, "backups/routine"));
    for _ in 0..2 {
        // What is there already is not read again.
        life.ok(&["backup", &routine]);
        let snapshots = life.json(&["snapshots"]);
        let kept: Vec<(u64, bool)> = snapshots
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["collections"][0]["records"].as_u64().unwrap(), one["complete"].as_bool().unwrap()))
            .collect();
        assert_eq!(kept, [(u64::from(records), true), (u64::from(records) + 1, true)], "{snapshots}");
    }
    let out = s3::at(server.port, "out/files");
    let target = format!("asb:{}", s3::uri(server.port, "out/files"));
    life.ok(&["restore", "latest", &target, "--verify"]);
    life.ok(&["restore", "latest", "asb:near"]);
    let near = std::fs::read(life.path("near/source-ns2_00000.asb")).unwrap();
    assert!(out.read("source-ns2_00000.asb").unwrap() == near, "the same bytes wherever they go");
    let said = life.ok(&["inspect", &target]);
    assert!(said.contains(&format!("{} records", records + 1)), "{said}");
    let again = life.run(&["restore", "latest", &target]);
    assert_ne!(again.status.code(), Some(0));
    out.create("left_00001.asb", b"of another backup").unwrap();
    life.ok(&["restore", "latest", &target, "--overwrite", "always"]);
    let names: Vec<String> = out.list("").unwrap().into_iter().map(|listed| listed.name).collect();
    assert_eq!(names, ["source-ns2_00000.asb"]);
    let one = format!("asb:{}", s3::uri(server.port, "out/one.asb"));
    life.ok(&["restore", "latest", &one]);
    assert_eq!(life.json(&["inspect", &one])["namespaces"][0]["records"], u64::from(records) + 1);
    let nobody = life.run(&["backup", &format!("asb:{}", s3::uri(server.port, "nothing/here"))]);
    assert_ne!(nobody.status.code(), Some(0));
    assert!(!String::from_utf8_lossy(&nobody.stderr).contains("test-secret"));
}

#[test]
#[ignore = "needs ministack"]
fn scripts_of_the_tools_name_a_bucket() {
    let store = s3::ministack();
    let namespaces = vec![NamespaceConfig::named("test"), NamespaceConfig::named("bar")];
    let cluster = Server::start(Config { namespaces, ..Config::with_nodes(2) }).unwrap();
    cluster.put_all("test", (0..500).map(|n| Seed::int(n).bin_int("n", n).set("demo")));
    let life = Life::at("repo", &[]);
    let address = cluster.addresses()[0];
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let endpoint = format!("http://127.0.0.1:{}", store.port);
    let run = |tool: &str, more: &[&str]| {
        let common = ["-h", &host, "-p", &port, "--s3-endpoint-override", &endpoint, "--s3-region", "us-east-1"];
        let keys = ["--s3-access-key-id", "test", "--s3-secret-access-key", "hunter22", "--s3-log-level", "FATAL"];
        let output = life.run(&[&[tool], &common[..], &keys, more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("hunter22"), "{said}");
        (output.status.code(), said)
    };
    let ok = |tool: &str, more: &[&str]| {
        let (status, said) = run(tool, more);
        assert_eq!(status, Some(0), "{tool} {more:?}: {said}");
    };
    ok("asbackup", &["-n", "test", "--s3-bucket-name", "bucket", "-d", "/nightly/a b"]);
    let (status, said) = run("asbackup", &["-n", "test", "-d", "s3://bucket/nightly/a b"]);
    assert!(status == Some(1) && said.contains("backup files"), "{said}");
    ok("asbackup", &["-n", "test", "-d", "s3://bucket/nightly/a b", "-r", "-C"]);
    let more = Seed::int(1000).bin_int("n", 1).set("demo");
    cluster.put_all("test", [more]);
    ok("asbackup", &["-n", "test", "--s3-bucket-name", "bucket", "-o", "nightly/one.asb"]);
    ok("asrestore", &["-n", "test,bar", "-d", "s3://bucket/nightly/a b"]);
    assert_eq!(cluster.dump("bar").len(), 500);
    ok("asrestore", &["-n", "test,bar", "--s3-bucket-name", "bucket", "-i", "nightly/one.asb"]);
    assert_eq!(cluster.dump("bar").len(), 501);
    let (status, said) = run("asbackup", &["-n", "test", "-d", "s3://bucket/x", "--continue", "state"]);
    assert!(status == Some(1) && said.contains("--continue"), "{said}");
    let (status, said) = run("asbackup", &["-n", "test", "-d", "here"]);
    assert!(status == Some(1) && said.contains("which bucket"), "{said}");
    assert!(!life.path("here").exists() && !life.path("s3:").exists());
    ok("asbackup", &["-n", "test", "-d", "s3://bucket/nightly/a b", "--remove-artifacts"]);
    let (status, _) = run("asrestore", &["-n", "test,bar", "-d", "s3://bucket/nightly/a b"]);
    assert_eq!(status, Some(1));
}

#[test]
#[ignore = "needs ministack"]
fn a_stream_goes_out_to_a_bucket_and_comes_in_from_there() {
    let server = s3::ministack();
    let life = Life::at("repo", &s3::KEYS);
    life.init();
    let folder = life.path("xdr");
    std::fs::create_dir(&folder).unwrap();
    let mut file = std::fs::File::create(folder.join("0_test_1.asbx")).unwrap();
    put_head(&mut file, 1, b"test").unwrap();
    for generation in 1..=100_u8 {
        let digest = Digest([generation % 7; 20]);
        let put =
            Change::Put { generation: generation.into(), left: Some(9999), bins: &[(b"a", 4, &[generation; 3000])] };
        let body = body_of(b"test", &digest, b"s", None, 1_767_225_600_000 + u64::from(generation), &put);
        put_change(&mut file, &digest.0, &body).unwrap();
    }
    drop(file);
    life.ok(&["capture", "asbx:xdr"]);
    let bucket = format!("asbx:{}", s3::uri(server.port, "streams/out"));
    let limit = ["--file-limit", "100k"];
    life.ok(&[&["replay", "latest", &bucket][..], &limit].concat());
    life.ok(&[&["replay", "latest", "asbx:near"][..], &limit].concat());
    let far = s3::at(server.port, "streams/out");
    let mut names: Vec<String> = far.list("").unwrap().into_iter().map(|listed| listed.name).collect();
    names.sort();
    assert!(names.len() > 3 && names.contains(&"replay.json".to_owned()), "{names:?}");
    for name in &names {
        assert!(far.read(name).unwrap() == std::fs::read(life.path("near").join(name)).unwrap(), "{name}");
    }
    let captured = life.json(&["capture", &bucket, "--source-name", "afar"]);
    assert_eq!((&captured["changes"], &captured["lost"]), (&100.into(), &0.into()));
    assert_ne!(life.run(&["replay", "latest", &bucket, "--source", "afar"]).status.code(), Some(0));
    far.delete("0_test_1.asbx").unwrap();
    let half = life.run(&["capture", &bucket, "--source-name", "half"]);
    assert!(String::from_utf8_lossy(&half.stderr).contains("0_test_1.asbx"), "{half:?}");
}

#[test]
#[ignore = "needs ministack"]
fn a_service_keeps_files_in_a_bucket() {
    use serde_json::{Value as Json, json};
    let server = s3::ministack();
    let namespaces = ["test", "copy"].map(NamespaceConfig::named).to_vec();
    let cluster = AerospikeServer::start(Config { namespaces, ..Config::default() }).unwrap();
    let large = vec![b'x'; 100_000];
    cluster.put_all("test", (0..30).map(|n| Seed::int(n).bin("b", 4, &large)));
    cluster.advance(std::time::Duration::from_mins(1));
    let mut world = crate::world::World::new();
    world.configure(crate::world::ROUTINE, "");
    world.start();
    let address = cluster.addresses()[0];
    let seeds = json!({ "seed-nodes": [{ "host-name": address.ip().to_string(), "port": address.port() }] });
    world.ask("POST", "/v1/config/clusters/cluster", Some(&seeds)).is(201);
    let bucket = json!({ "bucket": "bucket", "s3-region": "us-east-1", "path": "abs", "access-key-id": "test",
        "secret-access-key": "test-secret", "s3-endpoint-override": format!("http://127.0.0.1:{}", server.port) });
    let storage = json!({ "format": "asb", "s3-storage": bucket });
    world.ask("POST", "/v1/config/storage/files", Some(&storage)).is(201);
    let policy = json!({ "file-limit": 1, "retention": { "full": 1 } });
    world.ask("POST", "/v1/config/policies/small", Some(&policy)).is(201);
    let routine = json!({ "interval-cron": "@yearly", "source-cluster": "cluster", "storage": "files",
        "namespaces": ["test"], "backup-policy": "small" });
    world.ask("POST", "/v1/config/routines/hourly", Some(&routine)).is(201);
    let full = world.back_up("hourly", "full");
    // 30 records of 133 kB in base64, in files of a MiB.
    assert_eq!((&full["record-count"], &full["file-count"]), (&json!(30), &json!(4)), "{full}");
    let names = || -> Vec<String> {
        s3::at(server.port, "abs/hourly").list("").unwrap().into_iter().map(|listed| listed.name).collect()
    };
    assert_eq!(names().len(), 5, "{:?}", names());
    cluster.advance(std::time::Duration::from_mins(1));
    cluster.put("test", Seed::int(1).bin_int("b", 1).generation(2));
    cluster.advance(std::time::Duration::from_mins(1));
    let increment = world.back_up("hourly", "incremental");
    assert_eq!(increment["record-count"], 1, "{increment}");
    let policy = json!({ "namespace": { "source": "test", "destination": "copy" } });
    let restore = |kind: &str, what: Json| {
        let mut request = json!({ "destination-name": "cluster", "policy": policy });
        request.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        cluster.truncate("copy", None);
        let ask = || Some(world.ask("POST", &format!("/v1/restore/{kind}"), Some(&request)));
        world.restored(&crate::client::until(|| ask().filter(|answer| answer.status != 409)))
    };
    let status = restore("full", json!({ "backup-data-path": full["key"] }));
    assert_eq!((&status["status"], cluster.count("copy")), (&json!("success"), 30), "{status}");
    let status = restore("timestamp", json!({ "routine": "hourly", "time": increment["timestamp"] }));
    assert_eq!((&status["status"], &status["inserted-records"]), (&json!("success"), &json!(30)), "{status}");
    world.ask("POST", "/v1/backups/full/hourly", None).is(202);
    let first = format!("backup/{}/", full["timestamp"]);
    let is_first = |name: &String| name.starts_with(&first);
    crate::client::until(|| {
        let names = names();
        let is_old = |name: &String| name.starts_with("incremental/") || is_first(name);
        (names.len() == 5 && !names.iter().any(is_old)).then_some(())
    });
}
