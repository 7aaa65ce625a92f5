//! The command line of the service, run as people run it.

use super::*;
use serde_json::Value as Json;
use std::process::{Command, Output};

/// A lake, a place for backups, and the variables that name them.
pub struct Service {
    pub dir: TempDir,
    pub variables: Vec<(String, String)>,
}

impl Service {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let variables = vec![
            ("REKEEP_PASSWORD".to_owned(), "secret".to_owned()),
            ("REKEEP_CACHE_DIR".to_owned(), path("cache")),
            ("BACKUP_PATH".to_owned(), path("backups")),
            ("DEEPLAKE_STORAGE_LOCATION".to_owned(), path("lake")),
        ];
        Self { dir, variables }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn made(&self, name: &str) -> Made {
        Made::new(&self.path("lake").join(name))
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().cloned()).current_dir(self.dir.path());
        command.args(["dr", "--json"]).args(arguments).output().unwrap()
    }

    /// Runs a command that ends with this status; gives its result.
    fn ends(&self, status: i32, arguments: &[&str]) -> Json {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| Json::String(said.into_owned()))
    }

    /// Runs the program itself on the repository of backups; gives its document.
    fn verb(&self, arguments: &[&str]) -> Json {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command.env_clear().envs(self.variables.iter().cloned()).current_dir(self.dir.path());
        let place = self.variables.iter().find(|(name, _)| name == "BACKUP_PATH").unwrap();
        let output = command.args(["-r", &place.1, "--json"]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Damages values in the largest pack.
    fn damage_a_pack(&self) {
        let packs = files(&self.path("backups/packs"));
        let (name, mut bytes) = packs.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 10_000].iter_mut().for_each(|byte| *byte ^= 255);
        fs::write(self.path("backups/packs").join(name), bytes).unwrap();
        fs::remove_dir_all(self.path("cache")).unwrap();
    }

    fn create(&self, kind: &str) -> Json {
        self.ends(0, &["create", "--type", kind])
    }
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

#[test]
fn the_first_backup_makes_the_repository_only_with_a_password_and_says_the_line_to_set() {
    let mut service = Service::new();
    service.made("acme/docs").commit(&[("a", b"1")]);
    service.variables.retain(|(name, _)| name != "REKEEP_PASSWORD");
    let refused = service.ends(10, &["create"]);
    assert!(text(&refused).contains("REKEEP_PASSWORD_FILE=FILE"), "{refused}");
    assert!(!service.path("backups/rekeep.json").exists());
    service.set("REKEEP_PASSWORD", "secret");
    let created = service.create("full");
    assert!(text(&created["recovery_key"]).len() > 20 && text(&created["status"]) == "completed");
    let config = fs::read_to_string(service.path("backups/rekeep.json")).unwrap();
    let config: Json = serde_json::from_str(config.lines().next().unwrap()).unwrap();
    assert_eq!(config["suite"], 2, "AES-256");
    let id = text(&created["backup_id"]);
    let parts: Vec<&str> = id.split('_').collect();
    assert!(
        matches!(parts[..], ["backup", day, time, digits] if day.len() == 8 && time.len() == 6 && digits.len() == 8),
        "{id}"
    );
}

#[test]
fn kinds_are_asked_for_and_what_was_done_is_told() {
    let service = Service::new();
    let mut made = service.made("acme/docs");
    made.commit(&[("a", b"1")]);
    for (kind, done, pinned) in [
        ("incremental", "full", false),
        ("incremental", "incremental", false),
        ("differential", "differential", false),
        ("snapshot", "snapshot", true),
        ("full", "full", false),
    ] {
        let created = service.create(kind);
        assert_eq!(
            (text(&created["type"]), text(&created["type_done"]), &created["pinned"]),
            (kind, done, &Json::from(pinned))
        );
        made.commit(&[(&format!("b{kind}"), b"2")]);
    }
    let listed = service.ends(0, &["list", "--limit", "3"]);
    let kinds: Vec<&str> = listed.as_array().unwrap().iter().map(|one| text(&one["type"])).collect();
    assert_eq!(kinds, ["full", "snapshot", "differential"], "newest first");
    let first = service.ends(0, &["list"])[4]["snapshot"].clone();
    assert_eq!(listed[2]["parent"], first, "a differential is compared with the newest full");
    let nobody = service.ends(0, &["list", "--tenant-id", "nobody", "--format", "json"]);
    assert_eq!(nobody, Json::Array(Vec::new()));
    // What is pinned is not deleted, and the last one only by force.
    let snapshot = text(&listed[1]["backup_id"]).to_owned();
    assert!(text(&service.ends(2, &["delete", &snapshot])).contains("on hold"));
    let gone = text(&listed[2]["backup_id"]).to_owned();
    service.ends(0, &["delete", &gone]);
    service.ends(1, &["verify", &gone]);
    service.ends(2, &["verify", "nonsense"]);
    service.ends(0, &["export", "all.json"]);
    let exported: Json = serde_json::from_slice(&fs::read(service.path("all.json")).unwrap()).unwrap();
    assert_eq!(exported["backups"].as_array().unwrap().len(), 4);
}

#[test]
fn a_restore_tells_of_each_dataset_what_became_of_it() {
    let service = Service::new();
    for name in ["acme/docs", "acme/pictures", "other/docs"] {
        let mut made = service.made(name);
        made.commit(&[("a", name.as_bytes())]);
        made.describe(name.split('/').next_back().unwrap(), name.split('/').next().unwrap());
    }
    let created = service.ends(0, &["create", "--description", "before the upgrade"]);
    let id = text(&created["backup_id"]).to_owned();
    // Nothing that is there is touched, and that is said of each.
    let before = files(&service.path("lake"));
    let skipped = service.ends(3, &["restore", &id]);
    assert!(skipped["datasets"].as_array().unwrap().iter().all(|one| text(&one["status"]).starts_with("skipped")));
    fs::remove_dir_all(service.path("lake/acme/docs")).unwrap();
    let restored = service.ends(3, &["restore", &id]);
    let statuses: Vec<&str> = restored["datasets"].as_array().unwrap().iter().map(|one| text(&one["status"])).collect();
    assert_eq!(statuses[0], "restored");
    assert!(statuses[1..].iter().all(|status| status.starts_with("skipped")));
    assert_eq!(files(&service.path("lake")), before);
    fs::write(service.path("lake/acme/docs/junk"), "junk").unwrap();
    let replaced = service.ends(0, &["restore", &id, "--overwrite"]);
    assert_eq!(text(&replaced["datasets"][0]["status"]), "replaced");
    assert_eq!(files(&service.path("lake")), before);

    // A mapping brings what it names, with --all the others too.
    let ambiguous = service.ends(2, &["restore", &id, "--dataset-mapping", "{\"docs\":\"x\"}"]);
    assert!(text(&ambiguous).contains("several tenants"), "{ambiguous}");
    service.ends(
        0,
        &[
            "restore",
            &id,
            "--dataset-mapping",
            "{\"pictures\":\"photos\"}",
            "--target-tenant",
            "prod",
            "--target",
            "one",
        ],
    );
    let found: Vec<String> = files(&service.path("one")).into_keys().collect();
    assert!(found.iter().all(|path| path.starts_with("prod/photos/")), "{found:?}");
    let metadata: Json =
        serde_json::from_slice(&fs::read(service.path("one/prod/photos/dataset_metadata.json")).unwrap()).unwrap();
    assert_eq!((text(&metadata["name"]), text(&metadata["tenant_id"])), ("photos", "prod"));
    let all = ["restore", &id, "--dataset-mapping", "{\"acme/docs\":\"papers\"}", "--all", "--target", "two"];
    service.ends(0, &all);
    assert!(service.path("two/acme/papers").is_dir() && service.path("two/other/docs").is_dir());

    for (mapping, status) in [
        ("{\"acme/docs\":\"../../x\"}", 1),
        ("{\"acme/docs\":\"/tmp/x\"}", 1),
        ("{\"acme/docs\":\"\"}", 1),
        ("{\"acme/docs\":\"x\",\"acme/pictures\":\"x\"}", 2),
        ("{\"acme/docs\":\"x\",\"acme/docs\":\"y\"}", 2),
        ("{\"nobody\":\"x\"}", 2),
        ("[]", 2),
        ("{", 2),
        ("{}", 2),
        ("{\"acme/docs\":7}", 2),
    ] {
        service.ends(status, &["restore", &id, "--dataset-mapping", mapping, "--target", "three"]);
    }
    service.ends(2, &["restore", &id, "--target-tenant", "", "--target", "three", "--all"]);
    let one = "{\"acme/docs\":\"x\"}";
    service.ends(1, &["restore", &id, "--target-tenant", "../up", "--dataset-mapping", one, "--target", "three"]);
    let both = service.ends(2, &["restore", &id, "--target-tenant", "prod", "--target", "three"]);
    assert!(text(&both).contains("two datasets would be restored as prod/docs"), "{both}");
    assert!(!service.path("three").exists(), "nothing was written");
}

#[test]
fn proofs_are_kept_and_shown_and_damage_is_found() {
    let service = Service::new();
    let mut made = service.made("acme/docs");
    made.commit(&[("a", b"1")]);
    let created = service.create("full");
    let id = text(&created["backup_id"]).to_owned();
    assert_eq!(service.ends(0, &["verify", &id])["ok"], true);
    assert_eq!(service.ends(0, &["test-restore", &id])["ok"], true);
    let status = service.ends(0, &["status"]);
    let test = text(&status["parts"][0]["last_test"]["result"]);
    assert!(test.starts_with("test-restored:ok 20") && test.contains(" in "), "{test}");
    let history = service.ends(0, &["history", &id]);
    assert_eq!(text(&history[0]["branches"][0]["commits"][0]["message"]), "c1");
    // A backup that lacks a block is no good one, and says so wherever it is asked.
    fs::remove_file(made.block("a")).unwrap();
    let other = service.ends(3, &["create", "--tenant-id", "acme"]);
    let id = text(&other["backup_id"]).to_owned();
    let verified = service.ends(1, &["verify", &id]);
    assert!(text(&verified["findings"][0]).contains("the snapshot does not hold it"), "{verified}");
    service.ends(1, &["test-restore", &id]);
    let left: Vec<_> = fs::read_dir(service.dir.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("rekeep-test")), "{left:?}");
}

#[test]
fn what_is_damaged_is_told_by_every_command_and_what_is_left_comes_back() {
    let service = Service::new();
    let mut made = service.made("acme/one");
    for at in 0..8_u8 {
        // Of which nothing can be saved by packing.
        let bytes: Vec<u8> =
            (0..1600_u32).flat_map(|n| *blake3::hash(&[&[at][..], &n.to_le_bytes()].concat()).as_bytes()).collect();
        made.commit(&[(&format!("b{at}"), &bytes)]);
    }
    let id = text(&service.create("full")["backup_id"]).to_owned();
    service.damage_a_pack();
    let verified = service.ends(1, &["verify", &id]);
    assert_eq!(verified["ok"], false, "{verified}");
    assert!(verified["findings"].as_array().unwrap().iter().any(|one| text(one).contains("damaged")), "{verified}");
    assert!(service.ends(0, &["list"])[0]["tested"].to_string().contains("verified:"), "the result is kept");
    let refused = service.ends(1, &["restore", &id, "--target", "back"]);
    assert!(text(&refused).contains("nothing was written") && !service.path("back").exists(), "{refused}");
    let rest = service.ends(3, &["restore", &id, "--target", "back", "--no-verify"]);
    assert_eq!(rest["status"], "incomplete", "{rest}");
    assert!(rest["missing"].as_array().unwrap().iter().any(|one| text(one).contains("is damaged")), "{rest}");
    let whole = |one: &Json| text(&one["status"]) == "restored";
    assert!(!rest["datasets"].as_array().unwrap().iter().any(whole), "{rest}");
    service.ends(1, &["test-restore", &id]);
}

#[test]
fn branches_tags_and_commits_are_listed() {
    let service = Service::new();
    let mut made = service.made("acme/docs");
    (0..3).for_each(|number| made.commit(&[(&format!("a{number}"), b"1")]));
    let second = "0000000002m00000000";
    made.meta(2, &format!(r#"{{"createBranch":{{"id":"5e","name":"side","parent":"{MAIN}","version":"{second}"}}}}"#));
    fs::create_dir_all(made.branch("5e")).unwrap();
    made.commit_on("5e", 1, &[("side", b"2")]);
    made.meta(3, r#"{"createTag":{"id":"1","name":"good","branch_id":"5e","version":"0000000001m00000000"}}"#);
    make_nodes(&service.path("lake/acme/three"), &["one", "two"]);
    service.create("full");
    let listed = service.verb(&["ls", "latest"]);
    let docs = &listed[0]["dataset"];
    let branch = |at: usize| (text(&docs["branches"][at]["name"]), docs["branches"][at]["commits"].as_u64().unwrap());
    assert_eq!((&docs["version"], branch(0), branch(1)), (&4.into(), ("main", 3), ("side", 1)), "{listed}");
    assert_eq!(
        (text(&docs["branches"][1]["from"]), text(&docs["branches"][0]["head"])),
        ("main", "0000000003m00000000")
    );
    assert_eq!(text(&docs["branches"][0]["message"]), "c3");
    assert_eq!(docs["branches"][0]["time"].as_i64(), Some(made.seconds * 1000));
    assert_eq!((text(&docs["tags"][0]["name"]), text(&docs["tags"][0]["branch"])), ("good", "side"));
    let three = &listed[1]["dataset"];
    assert_eq!((&three["version"], &three["branches"][0]["commits"]), (&3.into(), &2.into()), "{listed}");
    assert_eq!((&three["branches"][0]["committed"], text(&three["branches"][0]["message"])), (&false.into(), "two"));
    assert_eq!(service.verb(&["snapshots"])[0]["collections"], listed);
    let commits = service.verb(&["ls", "latest", "acme/docs", "--commits"]);
    let messages = commits[0]["branches"][0]["commits"].as_array().unwrap().iter().map(|one| text(&one["message"]));
    assert_eq!(messages.collect::<Vec<_>>(), ["c1", "c2", "c3"]);
}

#[test]
fn cleanup_needs_a_rule_drops_by_it_and_leaves_the_last_good_one() {
    let mut service = Service::new();
    let mut made = service.made("acme/docs");
    let mut good = Vec::new();
    for name in ["a", "b", "c"] {
        made.commit(&[(name, name.as_bytes())]);
        good.push(text(&service.create("full")["backup_id"]).to_owned());
    }
    let expected = files(&service.path("lake"));
    // The newest are not good.
    let mut bad = Vec::new();
    for _ in 0..2 {
        made.commit(&[("d", b"d")]);
        fs::remove_file(made.block("d")).unwrap();
        bad.push(text(&service.ends(3, &["create", "--type", "incremental"])["backup_id"]).to_owned());
    }
    assert!(text(&service.ends(2, &["cleanup"])).contains("BACKUP_RETENTION_DAYS"));
    service.set("BACKUP_RETENTION_DAILY", "1");
    let names = |json: &Json| -> Vec<String> {
        json.as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap_or_else(|| text(&one["backup_id"])).to_owned())
            .collect()
    };
    let plan = service.ends(0, &["cleanup", "--dry-run"]);
    assert_eq!(service.ends(0, &["list"]).as_array().unwrap().len(), 5, "a dry run drops nothing");
    let done = service.ends(0, &["cleanup"]);
    assert_eq!(plan["deleted"], done["deleted"]);
    let (dropped, left) = (names(&done["deleted"]), names(&service.ends(0, &["list"])));
    assert!(dropped.contains(&good[0]) && dropped.contains(&good[1]) && !dropped.contains(&good[2]), "{dropped:?}");
    assert!(left.contains(&good[2]) && !left.contains(&good[0]) && !left.contains(&good[1]), "{left:?} of {bad:?}");
    assert_eq!(left.len() + dropped.len(), 5);
    service.ends(1, &["verify", &good[0]]);
    service.ends(0, &["verify", &good[2]]);
    service.ends(0, &["restore", &good[2], "--target", "back"]);
    assert_eq!(files(&service.path("back")), expected);
}

#[test]
fn the_self_test_leaves_nothing_and_settings_are_shown_without_secrets() {
    let mut service = Service::new();
    fs::create_dir_all(service.path("lake")).unwrap();
    let tested = service.ends(0, &["test"]);
    assert_eq!(tested["ok"], true, "{tested}");
    assert_eq!(service.ends(0, &["list"]), Json::Array(Vec::new()));
    service.set("AWS_SECRET_ACCESS_KEY", "hidden");
    fs::write(service.path("b.yaml"), "backup:\n  retention_policy:\n    daily: 7\n").unwrap();
    let shown = service.run(&["--config", "b.yaml", "config", "show", "--effective"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("retention_policy.daily") && shown.contains("********") && !shown.contains("hidden"),
        "{shown}"
    );
    for (name, value) in [("BACKUP_ENCRYPTION", "false"), ("BACKUP_RETENTION_DAY", "3"), ("BACKUP_STORAGE", "tape")] {
        let mut other = Service { dir: tempfile::tempdir().unwrap(), variables: service.variables.clone() };
        other.set(name, value);
        other.ends(2, &["create"]);
    }
    service.set("BACKUP_ENABLED", "false");
    service.ends(2, &["create"]);
}

#[test]
fn another_region_is_recovered_from_by_the_environment_alone() {
    let mut service = Service::new();
    service.made("acme/docs").commit(&[("a", b"1")]);
    let id = text(&service.create("full")["backup_id"]).to_owned();
    let expected = files(&service.path("lake"));
    let west = service.path("west").display().to_string();
    service.verb(&["replicate", &west]);
    // What came after the replica is lost with the primary; the cache and the datasets are gone too.
    service.made("acme/late").commit(&[("a", b"1")]);
    let late = text(&service.create("full")["backup_id"]).to_owned();
    for gone in ["backups", "cache", "lake"] {
        fs::remove_dir_all(service.path(gone)).unwrap();
    }
    service.set("BACKUP_PATH", &west);
    service.ends(0, &["restore", &id]);
    assert_eq!(files(&service.path("lake")), expected);
    service.ends(1, &["restore", &late]);
    // Backups go on there.
    service.made("acme/docs").commit(&[("b", b"2")]);
    assert_eq!(service.create("incremental")["type_done"], "incremental");
}

/// What a restore of a dataset says when it fails is about datasets.
#[test]
fn a_restore_that_fails_says_what_is_in_the_target_and_how_it_goes_on() {
    let service = Service::new();
    service.made("acme/docs").commit(&[("a", b"1")]);
    service.create("full");
    let to = format!("deeplake:{}", service.path("back").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
    command.env_clear().envs(service.variables.iter().cloned()).current_dir(service.dir.path());
    command.arg("-r").arg(service.path("backups")).args(["restore", "latest", &to, "--at-version", "nowhere"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`nowhere`") && said.contains("begins anew"), "{said}");
    for word in ["aerospike", "postgresql", "if-changed"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_dataset_whose_name_no_restore_takes_is_told_when_it_is_backed_up() {
    let service = Service::new();
    service.made("acme/docs").commit(&[("a", b"1")]);
    service.made("acme/new\nline").commit(&[("a", b"1")]);
    service.made("acme/back\\slash").commit(&[("a", b"1")]);
    let output = service.run(&["create", "--type", "full"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.matches("has to give this dataset another name").count(), 2, "{said}");
    let id = service.ends(0, &["list"])[0]["backup_id"].as_str().unwrap().to_owned();
    let mapping = r#"{"acme/new\nline": "acme/one", "acme/back\\slash": "acme/two"}"#;
    service.ends(0, &["restore", &id, "--target", "back", "--all", "--dataset-mapping", mapping]);
    let names = ["docs", "one", "two"].map(|name| service.path("back/acme").join(name).is_dir());
    assert_eq!(names, [true; 3]);
}
