//! A whole life of a repository by the command, at any place.

use serde_json::Value as Json;
use std::sync::Arc;
use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// A directory with a database, and a repository somewhere else.
pub struct Life {
    dir: Arc<TempDir>,
    pub uri: String,
    environment: Vec<(String, String)>,
}

impl Life {
    pub fn at(uri: &str, environment: &[(&str, &str)]) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { dir: Arc::new(tempfile::tempdir().unwrap()), uri: uri.to_owned(), environment }
    }

    /// The same directory and database, with the repository by another way.
    pub fn in_place_of(other: &Self, uri: &str, environment: &[(&str, &str)]) -> Self {
        Self { dir: Arc::clone(&other.dir), ..Self::at(uri, environment) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("REKEEP_REPOSITORY", &self.uri)
            .env("REKEEP_PASSWORD", "correct horse")
            .env("REKEEP_CACHE_DIR", self.path("cache"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{args:?}: {out}{err}");
        out.into_owned()
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Json {
        let mut all = vec!["--json"];
        all.extend(args);
        serde_json::from_str(&self.ok(&all)).unwrap()
    }

    /// Runs statements on the database.
    pub fn sql(&self, statements: &str) {
        rusqlite::Connection::open(self.path("app.db")).unwrap().execute_batch(statements).unwrap();
    }

    pub fn rows(&self, name: &str) -> Vec<(i64, Vec<u8>)> {
        let db = rusqlite::Connection::open(self.path(name)).unwrap();
        let mut statement = db.prepare("SELECT id, data FROM t ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    pub fn init(&self) {
        self.ok(&["--quiet", "init", "--kdf-memory", "1", "--kdf-passes", "1"]);
    }

    /// A table that takes more than one pack.
    pub fn fill(&self, rows: u32) {
        self.sql(&format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, data BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t SELECT i, randomblob(500) FROM n"
        ));
    }

    #[track_caller]
    pub fn backup(&self) -> String {
        self.json(&["backup", "sqlite:app.db"])["id"].as_str().unwrap().to_owned()
    }

    /// Backup, change, backup, restore both, verify, forget, prune, verify: with the catalog, and without.
    #[track_caller]
    pub fn whole(&self) {
        self.init();
        self.fill(40_000);
        let before = self.rows("app.db");
        let first = self.backup();
        self.sql("UPDATE t SET data = randomblob(500) WHERE id % 100 = 7; DELETE FROM t WHERE id % 1000 = 3");
        let after = self.rows("app.db");
        self.backup();
        assert_eq!(self.json(&["snapshots"]).as_array().unwrap().len(), 2);
        // Another machine.
        std::fs::remove_dir_all(self.path("cache")).unwrap();
        self.ok(&["restore", &first, "sqlite:first.db"]);
        self.ok(&["restore", "latest", "sqlite:second.db"]);
        assert!(self.rows("first.db") == before && self.rows("second.db") == after);
        let verified = self.json(&["verify", "--read-data", "--restore"]);
        assert_eq!(verified["findings"], serde_json::json!([]), "{verified}");
        self.ok(&["forget", &first]);
        self.ok(&["prune"]);
        let verified = self.json(&["verify", "--read-data", "--restore"]);
        assert_eq!(verified["findings"], serde_json::json!([]), "{verified}");
        assert_eq!(self.json(&["leases"]), serde_json::json!([]));
    }
}
