//! Drills of what is not a database file: clusters, servers of SQL, datasets; also samples of what makes sense only together.

use crate::{client::until, deeplake_made::Made, postgres_cluster::Cluster, world::World};
use rekeep_aerospike_server::{Config, Handle, NamespaceConfig, Seed, Server};
use serde_json::Value as Json;
use std::{fs, process::Command};

/// A routine that is never due, with these lines.
fn routine(name: &str, lines: &str) -> String {
    format!("\n  {name}:\n    interval-cron: '0 0 0 1 1 ? 2090'\n    storage: local\n    backup-policy: once\n{lines}")
}

/// A configuration with these routines, and these lines below `service:`, on clusters of Aerospike.
fn configure(world: &World, routines: &str, service: &str, clusters: &[(&str, &Handle)]) {
    world.configure(routines, service);
    let mut text = fs::read_to_string(world.path("config.yml")).unwrap();
    text.push_str("aerospike-clusters:\n");
    for (name, server) in clusters {
        let address = server.addresses()[0];
        text.push_str(&format!(
            "  {name}: {{ seed-nodes: [{{ host-name: {}, port: {} }}] }}\n",
            address.ip(),
            address.port()
        ));
    }
    fs::write(world.path("config.yml"), text).unwrap();
}

/// Drills, waits until that is over, and gives how its job ended with the newest reports of the routine.
#[track_caller]
fn drilled(world: &World, routine: &str) -> (Json, Vec<Json>) {
    let id = world.ask("POST", &format!("/v1/drills/{routine}"), None).is(202).json()["job"].as_i64().unwrap();
    let job = until(|| {
        let job = world.get(&format!("/api/v1/jobs/{id}"));
        (!["queued", "running"].contains(&job["state"].as_str().unwrap())).then_some(job)
    });
    let reports = world.get(&format!("/v1/drills?routine={routine}"))["reports"].as_array().unwrap().clone();
    (job, reports)
}

fn words_of(report: &Json, check: &str) -> String {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|one| one["name"] == check).unwrap_or_else(|| panic!("no {check}: {report}"));
    found["words"].as_str().unwrap().to_owned()
}

fn cluster() -> Handle {
    let namespaces = vec![NamespaceConfig::named("test"), NamespaceConfig::named("copy")];
    Server::start(Config { namespaces, ..Config::default() }).unwrap()
}

#[test]
fn clusters_are_drilled_into_files_and_into_a_cluster_that_a_hook_empties() {
    let (server, scratch) = (cluster(), cluster());
    for number in 0..300_i64 {
        server.put("test", Seed::int(number).set("s").bin_int("n", number));
    }
    server.put("copy", Seed::int(1).bin_int("n", 1));
    let mut world = World::new();
    let emptied = world.path("emptied");
    let address = scratch.addresses()[0];
    let url = format!("aerospike://{address}");
    configure(
        &world,
        &(routine(
            "files",
            "    source-cluster: one\n    namespaces: [test, copy]\n    drill: { assertions: [looks] }\n",
        ) + &routine(
            "cluster",
            &format!("    source-cluster: one\n    drill: {{ target: '{url}', prepare: empties, sample: 20% }}\n"),
        )),
        &format!(
            "  restore-targets: ['{url}']\n  hooks:\n    looks: {{ command: [sh, -c, 'ls $REKEEP_DRILL_PATH'] }}\n    \
             empties: {{ command: [sh, -c, 'echo >> {}'] }}\n",
            emptied.display()
        ),
        &[("one", &server)],
    );
    let text = fs::read_to_string(world.path("config.yml")).unwrap();
    // The world's own line of targets gives way.
    let own =
        format!("  restore-targets: ['sqlite:{}/']\n", world.path("").display().to_string().trim_end_matches('/'));
    assert!(text.contains(&own), "{text}");
    fs::write(world.path("config.yml"), text.replacen(&own, "", 1)).unwrap();
    world.start();
    world.back_up("files", "full");
    world.back_up("cluster", "full");

    // One namespace after the other, each into a folder of its own.
    let (job, reports) = drilled(&world, "files");
    assert_eq!((&job["state"], reports.len()), (&Json::from("success"), 2), "{job}");
    let mut counts: Vec<i64> = reports.iter().map(|report| report["records"].as_i64().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 300]);
    for report in &reports {
        assert_eq!((&report["passed"], &report["different"]), (&Json::from(true), &Json::from(0)), "{report}");
        assert!(words_of(report, "assertion: looks").contains(".asb"), "{report}");
        assert!(report["target"].as_str().unwrap().starts_with("asb:"), "{report}");
    }

    let (job, reports) = drilled(&world, "cluster");
    assert_eq!((&job["state"], reports.len()), (&Json::from("success"), 1), "{job}");
    assert_eq!(reports[0]["target"], url);
    let restored = scratch.count("test") + scratch.count("copy");
    assert_eq!(reports[0]["records"].as_u64().unwrap(), restored as u64);
    assert_eq!(fs::read_to_string(&emptied).unwrap(), "\n");
    // Records that are there are nobody's to overwrite: the hook of this test empties nothing.
    scratch.put("test", Seed::int(0).set("s").bin_int("n", -1));
    let (job, reports) = drilled(&world, "cluster");
    assert_eq!((&job["state"], reports.len()), (&Json::from("failure"), 2), "{job}");
    assert!(words_of(&reports[0], "restore").contains("already holds records"), "{reports:?}");
}

#[test]
fn samples_of_what_makes_sense_only_together_are_whole_and_pass() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d"] {
        let mut made = Made::new(&world.path("lake").join("tenant").join(name));
        made.describe(name, "tenant");
        made.commit(&[("one", b"1"), ("two", b"22")]);
        made.commit(&[("three", b"333")]);
    }
    let lines: Vec<String> = (0..1000).map(|number| format!("{{\"n\":{}}}", number % 7)).collect();
    fs::write(world.path("lines.jsonl"), lines.join("\n")).unwrap();
    let of = |name: &str, source: &str| routine(name, &format!("    source: {source}\n    drill: {{ sample: 1% }}\n"));
    world.configure(&(of("lake", "deeplake:{dir}/lake") + &of("lines", "jsonl:{dir}/lines.jsonl")), "");
    world.start();
    for (name, drawn, of) in [("lake", 1, 4), ("lines", 1, 1)] {
        world.back_up(name, "full");
        let (job, reports) = drilled(&world, name);
        assert_eq!((&job["state"], reports.len()), (&Json::from("success"), 1), "{job} {reports:?}");
        let report = &reports[0];
        assert!(report["sample"].is_object() && report["records"].as_u64().unwrap() > 1, "{report}");
        let notes = report["notes"].to_string();
        assert!(notes.contains(&format!("of {of} collections whose records make sense only together")), "{notes}");
        assert!(notes.contains(&format!("{drawn} of ")) || of > 1, "{notes}");
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_server_of_sql_is_drilled_again_and_again_into_a_database_that_is_made_anew() {
    let server = Cluster::new();
    let mut shop = server.database("shop");
    shop.batch_execute(
        "CREATE TABLE accounts (id int PRIMARY KEY, name text);
         INSERT INTO accounts SELECT i, 'n' || i FROM generate_series(1, 500) i;
         CREATE TABLE seen (what text);
         INSERT INTO seen SELECT 'page ' || i % 7 FROM generate_series(1, 100) i;",
    )
    .unwrap();
    let (source, target) = (server.url("shop"), server.url("drill"));
    let psql = format!("{} {}", server.program("psql").get_program().display(), server.url("postgres"));
    let mut world = World::new();
    let again = "-q -c \"DROP DATABASE IF EXISTS drill\" -c \"CREATE DATABASE drill\"";
    world.configure(
        &(routine(
            "whole",
            &format!(
                "    source: {source}\n    drill: {{ target: '{target}', prepare: again, assertions: [counts] }}\n"
            ),
        ) + &routine(
            "part",
            &format!("    source: {source}\n    drill: {{ target: '{target}', prepare: again, sample: 10% }}\n"),
        )),
        &format!(
            "  hooks:\n    again: {{ command: [sh, -c, '{psql} {again}'] }}\n    counts: {{ command: [sh, -c, \
             'test $({} -tA {target} -c \"SELECT count(*) FROM accounts\") = 500'] }}\n",
            server.program("psql").get_program().display()
        ),
    );
    let text = fs::read_to_string(world.path("config.yml")).unwrap();
    fs::write(
        world.path("config.yml"),
        text.replacen("restore-targets: [", &format!("restore-targets: ['{target}', "), 1),
    )
    .unwrap();
    world.start();
    world.back_up("whole", "full");
    world.back_up("part", "full");
    // What a drill leaves is gone before the next one.
    for count in 1..=2 {
        let (job, reports) = drilled(&world, "whole");
        assert_eq!((&job["state"], reports.len()), (&Json::from("success"), count), "{job}");
        assert_eq!((&reports[0]["records"], &reports[0]["compared"]), (&Json::from(600), &Json::from(600)));
    }
    for count in 1..=5 {
        let (job, reports) = drilled(&world, "part");
        assert_eq!((&job["state"], reports.len()), (&Json::from("success"), count), "{job}");
        assert!(reports[0]["records"].as_u64().unwrap() < 600, "{}", reports[0]);
    }
    world.stop();
    // The command, into the same place: it empties nothing.
    let command = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command.args(args).arg("--repo").arg(world.path("backups/rekeep")).arg("--cache-dir").arg(world.path("cache"));
        command.arg("--password-file").arg(world.path("password")).output().unwrap()
    };
    let drill = ["drill", "latest", "--target", &target, "--scratch", world.path("drills").to_str().unwrap()]
        .map(str::to_owned);
    let drill: Vec<&str> = drill.iter().map(String::as_str).collect();
    let refused = command(&drill);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    drop(shop);
    let mut postgres = server.client("postgres");
    postgres.batch_execute("DROP DATABASE drill").unwrap();
    postgres.batch_execute("CREATE DATABASE drill").unwrap();
    let passed = command(&drill);
    assert_eq!(passed.status.code(), Some(0), "{passed:?}");
    assert!(String::from_utf8_lossy(&passed.stdout).contains("600: 0 differ"), "{passed:?}");
}
