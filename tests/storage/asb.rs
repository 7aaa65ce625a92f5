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
use rekeep_aerospike_server::{Config, NamespaceConfig, Seed, Server};

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
    let more = "Version 3.1\n# namespace source-ns2\n+ n source-ns2\n+ d AAECAwQFBgcICQoLDA0ODxAREhM=\n+ g 1\n+ t 0\n+ b 1\n\
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
