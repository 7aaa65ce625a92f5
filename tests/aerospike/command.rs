//! The command on a cluster: what a person types and sees.

#[path = "../command/world.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod world;

use crate::{
    cluster::some_record,
    place::{Living, Place, here, real},
    support::Rng,
};
use rekeep_aerospike_server::{ClockMode, Config, Handle, Seed, TlsConfig, User, digest_of};
use std::time::Duration;
use world::World;

fn fill(server: &impl Living) {
    let mut rng = Rng::new(31);
    server.put_all("test", (0..300).map(|n| some_record(&mut rng, n)));
}

fn cluster_here(config: Config) -> (Handle, String) {
    let server = here(config);
    fill(&server);
    let url = format!("aerospike://{},{}/test", server.addresses()[0], server.addresses().last().unwrap());
    (server, url)
}

fn cluster(config: Config) -> (Place, String) {
    let server = Place::new(config);
    fill(&server);
    let url = match &server {
        Place::Here(server) => {
            format!("aerospike://{},{}/test", server.addresses()[0], server.addresses().last().unwrap())
        }
        Place::There(server) => server.url(),
    };
    (server, url)
}

#[test]
fn a_cluster_is_backed_up_listed_dumped_found_and_verified() {
    let (server, url) = cluster(Config::with_nodes(2));
    server.put("test", Seed::string("abc").set("people").bin_int("age", 41).bin_string("name", "Żaneta"));
    let world = World::new();
    world.ok(&["backup", &url]).says(&["full, complete", "301 seen"]);
    let test = real("test");
    world.ok(&["ls", "latest"]).says(&[&test, "301"]);
    let digest = data_encoding::HEXLOWER.encode(&digest_of(b"people", 3, b"abc"));
    world.ok(&["ls", "latest", &test]).says(&[&format!("digest:{digest}")]);
    world.ok(&["dump", "latest", &test, "people/str:abc"]).says(&["\"age\":41", "Żaneta"]);
    world.ok(&["dump", "latest", &test, &format!("digest:{digest}"), "--cell", "name"]).says(&["Żaneta"]);
    world.ok(&["find", &format!("digest:{digest}")]).says(&[&test]);
    world.run(&["dump", "latest", &test, "people/str:nobody"]).fails(1, &["people/str:nobody"]);
    world.run(&["dump", "latest", &test, "int:1"]).fails(2, &["SET/int:5"]);
    world.is_good();
}

#[test]
fn the_history_of_a_record_is_told_by_set_and_key() {
    let (server, url) = cluster(Config::with_nodes(1));
    let world = World::new();
    let seed = || Seed::int(5).set("people");
    let digest = server.put("test", seed().bin_int("age", 41));
    world.ok(&["backup", &url]);
    server.advance(Duration::from_mins(1));
    server.put("test", seed().bin_int("age", 42).generation(2));
    world.ok(&["backup", &url]);
    server.advance(Duration::from_mins(1));
    server.delete("test", &digest);
    world.ok(&["backup", &url]);
    let test = real("test");
    let history = world.json(&["history", &test, "people/int:5"]);
    let versions = history["versions"].as_array().unwrap();
    let states: Vec<&str> = versions.iter().map(|version| version["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["live", "live", "deleted"]);
    assert_eq!((&versions[0]["value"]["age"], &versions[1]["value"]["age"]), (&41.into(), &42.into()));
    assert_eq!(versions[1]["generation"], 2);
    assert_eq!(versions[0]["set"], "people");
    let base64 = data_encoding::BASE64.encode(&digest);
    assert_eq!(world.json(&["history", &test, &format!("digest:{base64}")])["versions"], history["versions"]);
}

#[test]
fn what_expired_since_the_parent_is_told_in_the_summary() {
    let (server, url) = cluster_here(Config::with_nodes(1));
    let world = World::new();
    server.put_all("test", (0..7).map(|n| Seed::int(9_000 + n).bin_int("n", n).ttl(100)));
    let first = world.ok(&["backup", &url]);
    assert!(!first.out.contains("expired"), "{first:?}");
    server.advance(Duration::from_mins(10));
    server.delete("test", &digest_of(b"", 1, &9_000i64.to_be_bytes()));
    world.ok(&["backup", &url]).says(&["0 deleted, 7 expired; "]);
}

#[test]
fn partial_backups_exit_with_3_and_say_what_is_missing() {
    let (server, url) = cluster_here(Config::with_nodes(1));
    let world = World::new();
    server.set_unavailable(0, [300], true);
    let ran = world.run(&["backup", &url, "--partition-timeout", "100ms"]);
    ran.fails(3, &["partition 300 could not be read to the end"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_advice() {
    let (_server, url) = cluster(Config::with_nodes(1));
    let world = World::new();
    world.run(&["backup", "aerospike://joe:secret@h:3000"]).fails(2, &["--as-password-file"]);
    world.run(&["backup", &format!("{url}x")]).fails(1, &[&format!("namespace `{}x`", real("test"))]);
    world.run(&["backup", &url, "--set", "typo"]).fails(1, &["set `typo`", "--allow-missing-set"]);
    world.run(&["backup", &url, "--partitions", "5..=3"]).fails(2, &["--partitions 0..=99"]);
    world.run(&["backup", &url, "--partitions", "100-50"]).fails(2, &["100..=50", "100..=149"]);
    world.run(&["backup", &url, "--partitions", "1", "--node-list", "A"]).fails(2, &["--node-list"]);
    world.run(&["backup", &url, "--node-list", "BB9FFFFFFFFFFFF"]).fails(1, &["BB9FFFFFFFFFFFF"]);
    world.run(&["backup", &url, "--rack-list", "x"]).fails(2, &["--rack-list"]);
    world.run(&["backup", &url, "--filter-exp", "!"]).fails(2, &["base64"]);
    world.run(&["backup", "sqlite:a.db", "--set", "demo"]).fails(2, &["aerospike:"]);
    world.run(&["backup", &url, "--sweep", "rolling=65"]).fails(2, &["1 to 64"]);
    world.run(&["verify", "--set", "demo"]).fails(2, &["--against"]);
    world.run(&["verify", "--metadata-only"]).fails(2, &["--against"]);
    world.run(&["verify", "--against", "aerospike://joe:secret@h:3000"]).fails(2, &["--as-password-file"]);
    world.run(&["backup", "aerospike://127.0.0.1:1"]).fails(1, &["127.0.0.1:1"]);
    world.ok(&["backup", &url, "--set", "demo", "--dry-run"]).says(&["nothing stored"]);
}

#[test]
fn a_user_logs_in_by_password_file_command_or_variable() {
    let hashed = bcrypt::hash_with_salt(
        "pass word",
        10,
        [0xf4, 0x6b, 0x0b, 0xbe, 0xcf, 0xfe, 0x8d, 0x1b, 0x06, 0x67, 0xd8, 0x4f, 0x6d, 0xc1, 0xd8, 0xa9],
    )
    .unwrap();
    let credential = hashed.format_for_version(bcrypt::Version::TwoA).into_bytes();
    let users = vec![User { name: "joe".to_owned(), credential }];
    let (_server, url) = cluster_here(Config { users, ..Config::with_nodes(2) });
    let world = World::new();
    std::fs::write(world.path("good"), "pass word\n").unwrap();
    std::fs::write(world.path("bad"), "wrong\n").unwrap();
    world.ok(&["backup", &url, "--as-user", "joe", "--as-password-file", "good"]);
    world.ok(&["backup", &url, "--as-user", "joe", "--as-password-command", "echo 'pass word'"]);
    let verify = ["verify", "--against", &url, "--as-user", "joe", "--as-password-file"];
    world.ok(&[&verify[..], &["good"]].concat()).says(&["compared 300 records"]);
    world.run(&[&verify[..], &["bad"]].concat()).fails(1, &["login"]);
    world.ok(&["backup", &url, "--estimate", "--as-user", "joe", "--as-password-file", "good"]).says(&["300 records"]);
    world.run(&["backup", &url, "--as-auth", "pki"]).fails(2, &["--tls-cert-file"]);
    world.run(&["backup", &url, "--as-auth", "kerberos"]).fails(2, &["external-insecure"]);
    let external = ["backup", &url, "--as-user", "joe", "--as-password-file", "good", "--as-auth", "EXTERNAL"];
    world.run(&external).fails(2, &["--as-auth external-insecure"]);
    let base = ["backup", &url, "--as-user", "joe", "--as-password-file", "good", "--as-auth", "internal"];
    world.ok(&base);
    let run = |name: &str, value: &str| -> world::Ran {
        let mut command = world.command(&["backup", &url]);
        command.env("REKEEP_AS_USER", "joe").env(name, value).output().unwrap().into()
    };
    assert_eq!(run("REKEEP_AS_PASSWORD", "pass word").code, Some(0));
    assert_eq!(run("REKEEP_AS_PASSWORD_FILE", "good").code, Some(0));
    run("REKEEP_AS_PASSWORD", "wrong").fails(1, &["wrong user or password"]);
    world.run(&["backup", &url, "--as-user", "joe", "--as-password-file", "bad"]).fails(1, &["login"]);
    world.run(&["backup", &url]).fails(1, &[]);
}

#[test]
fn nodes_are_reached_by_tls_and_must_bear_the_name() {
    let fixture = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name);
    let read = |name: &str| std::fs::read(fixture(name)).unwrap();
    let tls = TlsConfig::from_pem("aerospike.test", &read("server.pem"), &read("server.key")).unwrap();
    let (_server, url) = cluster_here(Config { tls: Some(tls), ..Config::with_nodes(2) });
    let world = World::new();
    let ca = fixture("ca.pem");
    let ca = ca.to_str().unwrap();
    world.ok(&["backup", &url, "--tls-name", "aerospike.test", "--tls-ca", ca]).says(&["complete", "300 seen"]);
    let against = ["verify", "--against", &url, "--tls-name", "aerospike.test", "--tls-ca", ca, "--metadata-only"];
    world.ok(&against).says(&["compared 300 records"]);
    world.run(&["backup", &url, "--tls-name", "other.test", "--tls-ca", ca]).fails(1, &["open TLS to"]);
    world.run(&["backup", &url, "--tls-name", "aerospike.test"]).fails(1, &[]);
    world.run(&["backup", &url, "--socket-timeout", "1s"]).fails(1, &["127.0.0.1"]);
    world.run(&["backup", &url, "--tls-ca", "nowhere.pem"]).fails(2, &["nowhere.pem"]);
}

#[test]
fn peers_must_bear_the_name_that_the_cluster_gives_them() {
    let fixture = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name);
    let read = |name: &str| std::fs::read(fixture(name)).unwrap();
    let ca = fixture("loopback-ca.pem");
    let ca = ca.to_str().unwrap();
    // The address that is typed is in the certificate; whether the peer's name is makes the difference.
    for (name, code) in [("node.test", 0), ("else.test", 3)] {
        let tls = TlsConfig::from_pem(name, &read("loopback.pem"), &read("loopback.key")).unwrap();
        let server = here(Config { tls: Some(tls), ..Config::with_nodes(2) });
        fill(&server);
        let url = format!("aerospike://{}/test", server.addresses()[0]);
        let world = World::new();
        let ran = world.run(&["backup", &url, "--tls-ca", ca, "--partition-timeout", "100ms"]);
        assert_eq!(ran.code, Some(code), "{name}: {ran:?}");
        assert_eq!(ran.err.contains("node BB9000000000002 does not answer"), code == 3, "{name}: {ran:?}");
        // A name that is typed stands for all of them.
        world.ok(&["backup", &url, "--tls-ca", ca, "--tls-name", "node.test"]).says(&["300 seen"]);
    }
}

#[test]
fn a_part_of_a_cluster_is_compared_and_estimated_by_the_same_options_as_it_is_backed_up() {
    let (server, url) = cluster(Config::with_nodes(1));
    let world = World::new();
    world.ok(&["backup", &url, "--set", "demo", "--bin", "n", "--sweep", "rolling=8"]);
    world.ok(&["verify", "--against", &url, "--set", "demo", "--bin", "n"]).says(&[", 0 only in the source, 0 differ"]);
    world.run(&["verify", "--against", &url]).fails(1, &["covers", "sets demo"]);
    let all = server.dump("test");
    let told = world.json(&["backup", &url, "--estimate"]);
    assert_eq!((&told["records"], &told["collections"][0]["sample"]["is_all"]), (&all.len().into(), &true.into()));
    assert!(told["stored_bytes"].as_u64().unwrap() > 0 && told["seconds"].as_f64().unwrap() > 0.0, "{told}");
    let demo = all.iter().filter(|dumped| dumped.set == b"demo").count();
    assert_eq!(told["collections"][0]["sets"]["demo"], demo);
    world
        .ok(&["backup", &url, "--estimate", "--set", "demo"])
        .says(&["nothing was stored", &format!("about {demo} records")]);
    assert_eq!(world.json(&["snapshots"]).as_array().unwrap().len(), 1);
}

/// A backup that reads slowly, in many ranges.
fn slow(world: &World, url: &str, more: &[&str]) -> std::process::Child {
    let mut args = vec!["backup", url, "--parallel", "1", "--read-limit", "60k"];
    args.extend(more);
    let mut command = world.command(&args);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_mins(1), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn checkpoints(world: &World) -> usize {
    world.objects().keys().filter(|name| name.starts_with("checkpoints")).count()
}

#[cfg(unix)]
#[test]
fn a_backup_that_was_killed_or_interrupted_is_carried_on_and_says_so() {
    use rustix::process::{Pid, Signal, kill_process};
    for signal in [Signal::KILL, Signal::INT] {
        let (server, url) = cluster_here(Config::with_nodes(2));
        server.put_all("test", (1_000..2_500).map(|n| Seed::int(n).bin("b", 4, &[n as u8; 100])));
        server.set_info(None, "namespace", Some("objects=900;data_used_bytes=134217728;replication-factor=1"));
        let world = World::new();
        world.run(&["backup", &url, "--resume"]).fails(1, &["nothing to resume"]);
        let mut child = slow(&world, &url, &["--checkpoint-after", "1ms"]);
        wait_until("a checkpoint", || checkpoints(&world) > 1);
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
        let ended = child.wait().unwrap();
        assert!(!ended.success(), "{ended}");
        assert_eq!(world.snapshots().len(), 0);
        world.ok(&["verify"]);
        world.run(&["backup", &url, "--resume", "--accept-deletions"]).fails(1, &["nothing to resume", "not the same"]);
        world.run(&["backup", &url, "--resume", "--no-resume"]).fails(2, &[]);
        let dry = world.json(&["backup", &url, "--dry-run"]);
        assert_eq!((&dry["resumed"], &dry["stats"]["seen"]), (&serde_json::Value::Null, &1_800.into()));
        let ran = world.ok(&["--json", "backup", &url]);
        let outcome = ran.json();
        assert_eq!((outcome["complete"].as_bool(), outcome["records"].as_u64()), (Some(true), Some(1_800)));
        let taken = outcome["stats"]["resumed_records"].as_u64().unwrap();
        assert!(taken > 0 && outcome["resumed"].is_string(), "{outcome}");
        assert!(ran.err.contains("are taken over from the backup"), "{}", ran.err);
        world.is_good();
        world.ok(&["backup", &url, "--full"]).says(&["1 800 seen", "0 changed"]);
    }
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whatever was acknowledged is in a snapshot, whenever the capture is killed.
#[test]
fn a_capture_that_is_killed_again_and_again_keeps_all_that_it_acknowledged() {
    // Changes that are older than what is committed are looked up, which is slow without optimisation.
    let server = here(Config { enterprise: true, clock: ClockMode::Real, ..Config::with_nodes(2) });
    let (world, mut rng) = (World::new(), Rng::new(57));
    let url = format!("aerospike://{}/test", server.addresses()[0]);
    let listen = format!("127.0.0.1:{}", free_port());
    let follow = ["--quiet", "capture", &url, "--dc", "rekeep", "--listen", &listen];
    let kept = |name: &str| {
        let to = world.path(name);
        world.run(&["restore", "latest", &format!("jsonl:{}", to.display())]);
        let text = std::fs::read_to_string(to).unwrap();
        text.lines().filter(|line| line.contains("\"key\"")).count() as u64
    };
    let mut all: i64 = 0;
    for round in 0..8 {
        let command = [&follow[..], &["--every", "30ms", "--info-polling-period", "30ms"]].concat();
        let mut running = world.command(&command).stderr(std::process::Stdio::null()).spawn().unwrap();
        let before = server.shipped().0;
        let (count, wanted) = (20 + rng.below(30) as i64, before + 1 + rng.below(20));
        for part in (all..all + count).collect::<Vec<_>>().chunks(5) {
            server.put_all("test", part.iter().map(|n| Seed::int(*n).bin_int("n", *n)));
            std::thread::sleep(Duration::from_millis(rng.below(12)));
        }
        all += count;
        while server.shipped().0 < wanted {
            assert!(running.try_wait().unwrap().is_none(), "the capture ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        running.kill().unwrap();
        running.wait().unwrap();
        if round % 4 == 3 {
            // An answer that came while it was killed is one of those that were given.
            let acknowledged = server.shipped().0;
            assert!(kept(&format!("{round}.jsonl")) >= acknowledged, "round {round}: {acknowledged}");
        }
    }
    world.ok(&[&follow[..], &["--once"]].concat());
    assert_eq!(kept("all.jsonl"), all as u64);
    world.ok(&["verify", "latest", "--restore"]);
}
