//! Alert rules and the dashboard ask for nothing that is not told.

use crate::{
    client::until,
    world::{ROUTINE, World},
};
use rekeep::{
    connector::aerospike::xdr::{
        Change,
        asbx::{put_change, put_head},
        body_of,
    },
    record::Digest,
};
use serde_json::Value as Json;
use std::{collections::BTreeSet, path::PathBuf, process::Command};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("monitoring").join(name)
}

/// Words of an expression that look like names of ours.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| {
        ["aerospike_backup_service_", "backup_", "restore_", "rekeep_"].iter().any(|own| word.starts_with(own))
    };
    words.filter(ours).map(str::to_owned).collect()
}

/// The names that are told while a backup and a restore are at work and others have ended.
fn told(world: &World) -> BTreeSet<String> {
    let text = world.ask("GET", "/metrics", None).is(200).body;
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names = BTreeSet::new();
    for line in typed {
        let (name, kind) = line.split_once(' ').unwrap();
        let ends: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        names.extend(ends.iter().map(|end| format!("{name}{end}")));
    }
    names
}

#[test]
fn every_name_that_rules_and_dashboard_ask_for_is_told() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    world.ask("POST", "/v1/drills/accounts", None).is(202);
    until(|| (world.get("/v1/backups/currentBackup/accounts")["last-proof"].is_string()).then_some(()));
    let text = world.ask("GET", "/metrics", None).is(200).body;
    let last =
        text.lines().find(|line| line.starts_with("backup_duration_seconds_bucket") && line.contains("le=\"+Inf\""));
    assert!(last.is_some(), "no quantile can be asked for without it");
    let told = told(&world);
    let dashboard: Json = serde_json::from_str(&std::fs::read_to_string(file("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut asked: BTreeSet<String> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .flat_map(|target| names(target["expr"].as_str().unwrap()))
        .collect();
    let rules = std::fs::read_to_string(file("alerts.yml")).unwrap();
    asked.extend(rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).flat_map(names));
    assert!(asked.len() > 12, "{asked:?}");
    let missing: Vec<_> = asked.difference(&told).collect();
    assert!(missing.is_empty(), "{missing:?} of {told:?}");
    // Series that an alert compares with zero are there from the first.
    let text = world.ask("GET", "/metrics", None).body;
    for series in [
        "backup_operations_total{type=\"full\",status=\"failed\"} 0",
        "restore_operations_total{status=\"failed\"} 0",
        "backup_runs_total 1",
        "backup_incremental_runs_total 0",
        "backup_skip_total 0",
        "backup_incremental_skip_total 0",
        "backup_failure_total 0",
        "backup_incremental_failure_total 0",
        "backup_duration_millis ",
        "backup_incremental_duration_millis ",
    ] {
        assert!(text.contains(series), "{series}: {text}");
    }
}

#[test]
#[ignore = "needs prometheus"]
fn promtool_finds_nothing_wrong_with_rules_and_metrics() {
    let promtool = |args: &[&str]| {
        let ran = Command::new("promtool").args(args).current_dir(file("")).output().unwrap();
        assert!(ran.status.success(), "{args:?}: {ran:?}");
    };
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts-test.yml"]);
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    let text = world.ask("GET", "/metrics", None).is(200).body;
    // promtool reads the older text format, in which the last line is a comment.
    let metrics = world.path("metrics.txt");
    std::fs::write(&metrics, text).unwrap();
    let told = std::fs::File::open(metrics).unwrap();
    let ran = Command::new("promtool").args(["check", "metrics"]).stdin(told).output().unwrap();
    // 3 is what it thinks of names that others have given.
    assert!(matches!(ran.status.code(), Some(0 | 3)), "{ran:?}");
}

#[test]
fn streams_that_others_capture_into_a_repository_are_told() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    let folder = world.path("xdr");
    std::fs::create_dir(&folder).unwrap();
    let mut file = std::fs::File::create(folder.join("0_test_1.asbx")).unwrap();
    put_head(&mut file, 1, b"test").unwrap();
    let put = Change::Put { generation: 1, left: None, bins: &[(b"a", 3, b"x")] };
    let digest = Digest([1; 20]);
    put_change(&mut file, &digest.0, &body_of(b"test", &digest, b"", None, 1_767_225_600_000, &put)).unwrap();
    drop(file);
    let captured = Command::new(env!("CARGO_BIN_EXE_rekeep"))
        .arg("-r")
        .arg(world.path("backups/rekeep"))
        .arg("--password-file")
        .arg(world.path("password"))
        .args(["--json", "capture", "--source-name", "cluster"])
        .arg(format!("asbx:{}", folder.display()))
        .env("REKEEP_CACHE_DIR", world.path("other-cache"))
        .output()
        .unwrap();
    assert!(captured.status.success(), "{captured:?}");
    let captured: Json = serde_json::from_slice(&captured.stdout).unwrap();
    let name = "rekeep_stream_last_commit_timestamp_seconds{repository=\"storage local\",source=\"cluster\"} ";
    let millis = |line: &str| Some((line.strip_prefix(name)?.parse::<f64>().ok()? * 1000.0).round() as i64);
    // The first time that it is asked makes the service look.
    until(|| {
        world
            .ask("GET", "/metrics", None)
            .is(200)
            .body
            .lines()
            .any(|line| millis(line) == captured["end"].as_i64())
            .then_some(())
    });
    world.stop();
}

#[test]
fn each_of_the_first_names_is_told_with_and_without_the_prefix_alike() {
    let mut world = World::new();
    world.configure(ROUTINE, "");
    world.start();
    world.back_up("accounts", "full");
    world.back_up("accounts", "incremental");
    let text = world.ask("GET", "/metrics", None).is(200).body;
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    };
    for kind in ["", "incremental_"] {
        for (name, counted) in [
            ("runs_total", Some("1")),
            ("skip_total", Some("0")),
            ("failure_total", Some("0")),
            ("duration_millis", None),
        ] {
            let told = value(&format!("backup_{kind}{name}"));
            assert_eq!(told, value(&format!("aerospike_backup_service_{kind}{name}")), "{kind}{name}");
            assert!(counted.is_none_or(|counted| counted == told), "{kind}{name}: {told}");
        }
    }
}
