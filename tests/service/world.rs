//! A folder with a configuration and a database, and a service on it.

use crate::client::{Answer, request, until};
use rekeep::{
    connector::Registry,
    record::{Clock, SystemClock},
    service::{
        Service, ServiceError, ServiceOptions,
        config::ConfigFile,
        http::{self, Server},
    },
};
use rusqlite::Connection;
use serde_json::Value as Json;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tempfile::TempDir;

pub struct World {
    dir: TempDir,
    pub running: Option<(Arc<Service>, Server)>,
    /// What every request bears.
    pub key: Option<String>,
    /// What the host of the next service is called.
    pub host: &'static str,
}

/// A routine that is never due by itself within a test.
pub const ROUTINE: &str = "
  accounts:
    interval-cron: '0 0 0 1 1 ? 2090'
    incr-interval-cron: '0 0 0 1 1 ? 2091'
    source: sqlite:{dir}/accounts.db
    storage: local
    backup-policy: once
";

impl World {
    pub fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), running: None, key: None, host: "test" };
        std::fs::write(world.path("password"), "correct horse\n").unwrap();
        let db = world.database("accounts.db");
        db.execute_batch("CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT);").unwrap();
        drop(db);
        world.change(1, "one");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn database(&self, name: &str) -> Connection {
        Connection::open(self.path(name)).unwrap()
    }

    pub fn change(&self, id: i64, name: &str) {
        let db = self.database("accounts.db");
        db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?)", (id, name)).unwrap();
    }

    pub fn names(&self, database: &str) -> Vec<String> {
        let db = self.database(database);
        let mut statement = db.prepare("SELECT name FROM accounts ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// A configuration with these routines and these lines below `service:`.
    pub fn configure(&self, routines: &str, service: &str) {
        let text = format!(
            "service:\n  unlock:\n    password-file: {{dir}}/password\n  restore-targets: ['sqlite:{{dir}}/']\n{service}\n\
             storage:\n  local:\n    local-storage:\n      path: {{dir}}/backups\n\
             backup-policies:\n  once:\n    retry-policy:\n      max-retries: 0\n\
             backup-routines:{routines}\n"
        );
        let text = text.replace("{dir}", &self.dir.path().display().to_string());
        std::fs::write(self.path("config.yml"), text).unwrap();
    }

    pub fn try_start(&mut self) -> Result<(), ServiceError> {
        self.try_start_by(Arc::new(SystemClock))
    }

    fn try_start_by(&mut self, clock: Arc<dyn Clock>) -> Result<(), ServiceError> {
        let service = Service::start(ServiceOptions {
            file: ConfigFile::at(&self.path("config.yml").display().to_string()),
            state: self.path("state"),
            cache: self.path("cache"),
            host: self.host.to_owned(),
            registry: Registry::default(),
            clock,
        })?;
        let server = http::serve(&service, Some(0)).inspect_err(|_| service.stop())?;
        self.running = Some((service, server));
        Ok(())
    }

    #[track_caller]
    pub fn start(&mut self) {
        self.try_start().unwrap();
    }

    /// By another clock than the system's.
    #[track_caller]
    pub fn start_by(&mut self, clock: Arc<dyn Clock>) {
        self.try_start_by(clock).unwrap();
    }

    pub fn stop(&mut self) {
        if let Some((service, server)) = self.running.take() {
            server.stop();
            service.stop();
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().1.http.unwrap()
    }

    pub fn ask(&self, method: &str, path: &str, body: Option<&Json>) -> Answer {
        let mut head = vec![("content-type", "application/json")];
        let key = self.key.as_ref().map(|key| format!("ApiKey {key}"));
        head.extend(key.as_ref().map(|key| ("authorization", key.as_str())));
        request(self.address(), method, path, &head, body.map(Json::to_string).as_deref())
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Json {
        self.ask("GET", path, None).is(200).json()
    }

    /// Backs up, and waits until that is over; gives the newest entry of the list.
    #[track_caller]
    pub fn back_up(&self, routine: &str, kind: &str) -> Json {
        let list = |world: &Self| world.get(&format!("/v1/backups/{kind}/{routine}")).as_array().unwrap().clone();
        let newest = |listed: &[Json]| listed.last().map(|it| it["timestamp"].clone());
        let before = newest(&list(self));
        self.ask("POST", &format!("/v1/backups/{kind}/{routine}"), None).is(202);
        until(|| {
            let now = list(self);
            let state = self.get(&format!("/v1/backups/currentBackup/{routine}"));
            let is_over =
                state["full"].is_null() && state["incremental"].is_null() && state["queued"] == serde_json::json!([]);
            // Not by their number: retention may drop as many as came.
            (newest(&now) != before && is_over).then(|| now.last().cloned()).flatten()
        })
    }

    /// Waits until a restore is over; gives how it ended.
    #[track_caller]
    pub fn restored(&self, started: &Answer) -> Json {
        assert_eq!(started.status, 202, "{started:?}");
        let id = started.json().as_i64().unwrap();
        until(|| Some(self.get(&format!("/v1/restore/status/{id}"))).filter(|status| status["status"] != "running"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}
