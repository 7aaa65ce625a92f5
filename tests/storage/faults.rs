//! Whole commands on a line that breaks: each request in turn meets a fault, and rights that are missing.

use crate::{
    proxy::{Fault, Proxy},
    run::Life,
    s3::{KEYS, lose, ministack, names_below, uri},
    webdav::wsgidav,
};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

const FAULTS: [Fault; 6] =
    [Fault::Status(500), Fault::Status(503), Fault::Cut, Fault::LostAnswer, Fault::HalfAnswer, Fault::Page];

fn applies(fault: Fault, line: &str) -> bool {
    fault != Fault::HalfAnswer || line.starts_with("GET")
}

/// Every how many requests one is broken: `REKEEP_TEST_FAULT_STEP`, 1 for all. 7 goes through all kinds of faults.
fn step() -> usize {
    std::env::var("REKEEP_TEST_FAULT_STEP").map_or(7, |step| step.parse().unwrap())
}

/// Runs `work` again and again, each time with another request broken, until a run has fewer requests than that.
fn each_request_in_turn(server: u16, prefix: &str, mut work: impl FnMut(&Life, u64), life: impl Fn(&str) -> Life) {
    let (broken, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (which, count) = (Arc::clone(&broken), Arc::clone(&seen));
    let proxy = Proxy::before(server, move |_, line| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let at = which.load(Ordering::SeqCst);
        let fault = FAULTS[(at as usize) % FAULTS.len()];
        (number == at && applies(fault, line)).then_some(fault)
    });
    let life = life(&uri(proxy.port, prefix));
    for number in (1..).step_by(step()) {
        broken.store(number, Ordering::SeqCst);
        seen.store(0, Ordering::SeqCst);
        work(&life, number);
        if seen.load(Ordering::SeqCst) < number {
            return;
        }
    }
}

#[test]
#[ignore = "a soak that was not run to its end yet"]
fn each_request_of_each_command_may_fail_once_and_nothing_is_wrong() {
    let server = ministack();
    let direct = Life::at(&uri(server.port, "repo"), &KEYS);
    direct.init();
    direct.fill(500);
    direct.backup();
    let same_place = |uri: &str| Life::in_place_of(&direct, uri, &KEYS);
    each_request_in_turn(
        server.port,
        "repo",
        |life, number| {
            direct.sql(&format!("UPDATE t SET data = randomblob(500) WHERE id = {}", number % 500));
            life.backup();
        },
        same_place,
    );
    each_request_in_turn(
        server.port,
        "repo",
        |life, number| {
            let target = format!("sqlite:restored-{number}.db");
            life.ok(&["restore", "latest", &target]);
            assert!(direct.rows(&format!("restored-{number}.db")) == direct.rows("app.db"));
        },
        same_place,
    );
    each_request_in_turn(
        server.port,
        "repo",
        |life, number| {
            direct.sql(&format!("UPDATE t SET data = randomblob(500) WHERE id = {}", number % 500));
            direct.backup();
            life.ok(&["forget", "--keep-last", "2"]);
        },
        same_place,
    );
    each_request_in_turn(
        server.port,
        "repo",
        |life, number| {
            direct.sql(&format!("UPDATE t SET data = randomblob(500) WHERE id = {}", number % 500));
            direct.backup();
            direct.ok(&["forget", "--keep-last", "2"]);
            life.ok(&["prune"]);
        },
        same_place,
    );
    let verified = direct.json(&["verify", "--read-data", "--restore"]);
    assert_eq!(verified["findings"], json!([]), "{verified}");
}

/// The same place by another way, where the other repository's password is known too.
fn with_other(direct: &Life, uri: &str) -> Life {
    let mut environment = KEYS.to_vec();
    environment.push(("REKEEP_TO_PASSWORD", "correct horse"));
    Life::in_place_of(direct, uri, &environment)
}

#[track_caller]
fn is_whole(life: &Life) {
    std::fs::remove_dir_all(life.path("cache")).unwrap();
    let verified = life.json(&["verify", "--read-data", "--restore"]);
    assert_eq!(verified["findings"], json!([]), "{verified}");
}

#[test]
#[ignore = "needs ministack"]
fn each_request_of_a_replica_or_a_copy_may_fail_once_and_nothing_is_wrong() {
    let server = ministack();
    let direct = Life::at(&uri(server.port, "repo"), &KEYS);
    direct.init();
    direct.fill(500);
    direct.backup();
    let port_of = |uri: &str| -> u16 {
        let behind = uri.split("127.0.0.1:").nth(1).unwrap();
        behind.split(|it: char| !it.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    each_request_in_turn(
        server.port,
        "repo",
        |life, number| {
            let place = format!("replica-{number}");
            life.ok(&["replicate", &uri(port_of(&life.uri), &place)]);
            is_whole(&Life::in_place_of(&direct, &uri(server.port, &place), &KEYS));
        },
        |uri| with_other(&direct, uri),
    );
    std::fs::write(direct.path("password"), "correct horse").unwrap();
    for like in [&["--like", &*direct.uri, "--like-password-file", "password"][..], &[]] {
        each_request_in_turn(
            server.port,
            "repo",
            |life, number| {
                let place = format!("copy-{number}-{}", like.len());
                let other = Life::in_place_of(&direct, &uri(server.port, &place), &KEYS);
                let init = ["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"];
                other.ok(&[&init, like].concat());
                life.ok(&["copy", "--to", &uri(port_of(&life.uri), &place)]);
                is_whole(&other);
            },
            |uri| with_other(&direct, uri),
        );
    }
    is_whole(&direct);
}

#[test]
#[ignore = "needs ministack"]
fn each_request_of_a_repair_may_fail_once_and_nothing_is_lost() {
    let server = ministack();
    let direct = Life::at(&uri(server.port, "repo"), &KEYS);
    direct.init();
    direct.ok(&["parity", "100"]);
    direct.fill(500);
    direct.backup();
    // What is lost before each try, and what mends it.
    for (folder, verb) in [("index/", "index"), ("packs/", "packs"), ("parity/", "parity")] {
        each_request_in_turn(
            server.port,
            "repo",
            |life, _| {
                lose(server.port, &names_below(server.port, &format!("repo/{folder}"))[0]);
                life.ok(&["repair", verb]);
                is_whole(&direct);
            },
            |uri| Life::in_place_of(&direct, uri, &KEYS),
        );
    }
    direct.ok(&["restore", "latest", "sqlite:mended.db"]);
    assert!(direct.rows("mended.db") == direct.rows("app.db"));
}

#[test]
#[ignore = "needs ministack"]
fn who_may_not_delete_does_everything_but_prune() {
    let server = ministack();
    let proxy = Proxy::before(server.port, |_, line| {
        (line.starts_with("DELETE") || line.starts_with("POST") && line.contains("?delete"))
            .then_some(Fault::Status(403))
    });
    let life = Life::at(&uri(proxy.port, "adds"), &KEYS);
    let check = life.json(&["check-storage", "--no-throughput"]);
    assert_eq!(check["consequences"], json!(["cannot-prune"]), "{check}");
    assert!(!check["rights"]["delete"].is_null(), "{check}");
    life.init();
    life.fill(500);
    let first = life.backup();
    life.sql("UPDATE t SET data = randomblob(500) WHERE id < 50");
    life.backup();
    life.ok(&["forget", &first]);
    life.ok(&["restore", "latest", "sqlite:second.db"]);
    assert!(life.rows("second.db") == life.rows("app.db"));
    life.ok(&["verify", "--read-data", "--restore"]);
    let pruned = life.run(&["prune"]);
    assert_eq!(pruned.status.code(), Some(3), "{}", String::from_utf8_lossy(&pruned.stderr));
    life.ok(&["verify", "--read-data", "--restore"]);
}

#[test]
#[ignore = "needs ministack"]
fn who_may_only_read_restores_and_verifies() {
    let server = ministack();
    let direct = Life::at(&uri(server.port, "reads"), &KEYS);
    direct.init();
    direct.fill(500);
    direct.backup();
    let proxy = Proxy::before(server.port, |_, line| {
        (!line.starts_with("GET") && !line.starts_with("HEAD")).then_some(Fault::Status(403))
    });
    let life = Life::in_place_of(&direct, &uri(proxy.port, "reads"), &KEYS);
    assert_eq!(life.json(&["snapshots"]).as_array().map(Vec::len), Some(1));
    life.ok(&["restore", "latest", "sqlite:second.db"]);
    assert!(life.rows("second.db") == life.rows("app.db"));
    life.ok(&["verify", "--read-data", "--restore"]);
    let backup = life.run(&["backup", "sqlite:app.db"]);
    let err = String::from_utf8_lossy(&backup.stderr);
    assert_eq!(backup.status.code(), Some(1), "{err}");
    assert!(err.contains("creating leases/"), "which right on which object: {err}");
}

/// A repository by a port and a prefix: its location, and what the environment says.
type Located = dyn Fn(u16, &str) -> (String, Vec<(&'static str, &'static str)>);

/// A repository of two snapshots of which the first is forgotten, seen directly and by a proxy from a host that knows nothing.
fn meets(server: u16, located: &Located, what: &[(&str, &str)]) {
    for (number, (method, path)) in what.iter().enumerate() {
        let prefix = format!("page{number}");
        let (place, keys) = located(server, &prefix);
        let direct = Life::at(&place, &keys);
        direct.init();
        direct.fill(300);
        let first = direct.backup();
        direct.sql("UPDATE t SET data = randomblob(500) WHERE id < 50");
        direct.backup();
        direct.ok(&["forget", &first]);
        let (method, path) = (method.to_string(), path.to_string());
        let shown = format!("{method} {path}");
        let broken = AtomicU64::new(0);
        let proxy = Proxy::before(server, move |_, line| {
            let request = line.replace("%2F", "/");
            (request.starts_with(&method) && request.contains(&path) && broken.fetch_add(1, Ordering::SeqCst) < 2)
                .then_some(Fault::Page)
        });
        let (place, mut keys) = located(proxy.port, &prefix);
        keys.push(("REKEEP_CACHE_DIR", "of-a-stranger"));
        let stranger = || Life::in_place_of(&direct, &place, &keys);
        stranger().ok(&["prune"]);
        assert_eq!(stranger().json(&["snapshots"]).as_array().map(Vec::len), Some(1), "{shown}");
        direct.sql("UPDATE t SET data = randomblob(500) WHERE id < 100");
        stranger().backup();
        let verified = direct.json(&["verify", "--read-data", "--restore"]);
        assert_eq!(verified["findings"], json!([]), "{shown}: {verified}");
        direct.ok(&["restore", "latest", "sqlite:second.db"]);
        assert!(direct.rows("second.db") == direct.rows("app.db"), "{shown}");
    }
}

#[test]
#[ignore = "needs ministack"]
fn a_page_in_place_of_a_listing_or_of_an_answer_of_s3_is_neither() {
    let server = ministack();
    let lists = ["snapshots/", "packs/", "index/", "leases/"].map(|folder| ("GET", folder));
    let puts = ["snapshots/", "packs/", "index/"].map(|folder| ("PUT", folder));
    meets(server.port, &|port, prefix| (uri(port, prefix), KEYS.to_vec()), &[lists.as_slice(), &puts].concat());
}

#[test]
#[ignore = "needs wsgidav"]
fn a_page_in_place_of_a_listing_or_of_an_answer_of_webdav_is_neither() {
    let server = wsgidav();
    let lists = ["snapshots/", "packs/", "index/"].map(|folder| ("PROPFIND", folder));
    let changes = [("PUT", "tmp/"), ("MOVE", "tmp/"), ("MKCOL", "packs/")];
    let place = |port: u16, prefix: &str| {
        (format!("webdav+http://me@127.0.0.1:{port}/{prefix}"), vec![("REKEEP_WEBDAV_PASSWORD", "hunter22")])
    };
    meets(server.port, &place, &[lists.as_slice(), &changes].concat());
}

#[test]
#[ignore = "needs ministack"]
fn what_is_swallowed_with_good_words_is_found_out_before_it_counts() {
    let server = ministack();
    for (prefix, folder) in [("one", "snapshots/"), ("two", "packs/"), ("three", "index/")] {
        let direct = Life::at(&uri(server.port, prefix), &KEYS);
        direct.init();
        direct.fill(300);
        let proxy = Proxy::before(server.port, move |_, line| {
            (line.starts_with("PUT") && line.replace("%2F", "/").contains(folder)).then_some(Fault::Swallowed)
        });
        let life = Life::in_place_of(&direct, &uri(proxy.port, prefix), &KEYS);
        let backup = life.run(&["backup", "sqlite:app.db"]);
        let err = String::from_utf8_lossy(&backup.stderr);
        assert_eq!(backup.status.code(), Some(1), "{folder}: {err}");
        assert!(err.contains("although it was answered that it is stored"), "{folder}: {err}");
        direct.backup();
        let verified = serde_json::from_slice::<serde_json::Value>(
            &direct.run(&["--json", "verify", "--read-data", "--restore"]).stdout,
        )
        .unwrap();
        // What the index says of packs that never were is no snapshot's.
        let findings = verified["findings"].as_array().unwrap();
        assert!(findings.iter().all(|it| it["snapshots"] == json!([])), "{folder}: {verified}");
        assert!(folder == "packs/" || findings.is_empty(), "{folder}: {verified}");
        direct.ok(&["restore", "latest", "sqlite:second.db"]);
        assert!(direct.rows("second.db") == direct.rows("app.db"), "{folder}");
    }
}
