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
fn cleanup_needs_a_rule_and_leaves_the_last_good_one() {
    let mut service = Service::new();
    let mut made = service.made("acme/docs");
    made.commit(&[("a", b"1")]);
    let good = text(&service.create("full")["backup_id"]).to_owned();
    fs::remove_file(made.block("a")).unwrap();
    // The parent is not asked for: what is missing is missing.
    fs::rename(service.path("backups"), service.path("kept")).unwrap();
    fs::rename(service.path("kept"), service.path("backups")).unwrap();
    let partial = text(&service.ends(3, &["create", "--type", "incremental"])["backup_id"]).to_owned();
    assert!(text(&service.ends(2, &["cleanup"])).contains("BACKUP_RETENTION_DAYS"));
    service.set("BACKUP_RETENTION_DAILY", "1");
    let plan = service.ends(0, &["cleanup", "--dry-run"]);
    assert!(!plan["deleted"].as_array().unwrap().contains(&Json::from(good.clone())), "{plan}");
    service.ends(0, &["cleanup"]);
    let left = service.ends(0, &["list"]);
    let left: Vec<&str> = left.as_array().unwrap().iter().map(|one| text(&one["backup_id"])).collect();
    assert!(left.contains(&good.as_str()), "{left:?} {partial}");
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
    // The replica is a copy of the objects; the primary, the cache and the datasets are gone.
    let copied = Command::new("cp").arg("-r").arg(service.path("backups")).arg(service.path("west")).status().unwrap();
    assert!(copied.success());
    for gone in ["backups", "cache", "lake"] {
        fs::remove_dir_all(service.path(gone)).unwrap();
    }
    let west = service.path("west").display().to_string();
    service.set("BACKUP_PATH", &west);
    service.ends(0, &["restore", &id]);
    assert_eq!(files(&service.path("lake")), expected);
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
