//! `serve --demo`: a database that changes by itself, a repository, a configuration whose routines run every few seconds; all in
//! a folder that is gone afterwards.

use crate::cli::exit::{CliError, Failure};
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tempfile::TempDir;

/// Between two changes of the database.
const CHANGE_EVERY: Duration = Duration::from_secs(1);

/// The demonstration while it runs.
pub(super) struct Demo {
    dir: TempDir,
    stop: Arc<AtomicBool>,
    changes: Option<JoinHandle<()>>,
}

impl Demo {
    /// Makes everything, and lets the database change.
    pub(super) fn begin() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| CliError::io("making", "the demonstration's folder", error);
        let dir = tempfile::Builder::new().prefix("rekeep-demo-").tempdir().map_err(failed)?;
        let database = dir.path().join("shop.db");
        make(&database).map_err(|error| failed(std::io::Error::other(error)))?;
        let mut password = [0; 16];
        crate::repo::entropy::fill(&mut password)?;
        std::fs::write(dir.path().join("password.txt"), data_encoding::HEXLOWER.encode(&password)).map_err(failed)?;
        std::fs::write(dir.path().join("config.yml"), config(dir.path())).map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let changes = std::thread::spawn(move || {
            let mut number = 0_i64;
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(CHANGE_EVERY);
                number += 1;
                if let Err(error) = change(&database, number) {
                    tracing::warn!("the demonstration's database did not change: {error}");
                }
            }
        });
        Ok(Self { dir, stop, changes: Some(changes) })
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.path().join("config.yml")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// What to try, for people.
    pub(super) fn words(&self, address: std::net::SocketAddr) -> String {
        let restored = self.dir.path().join("restored.db");
        let body = format!(
            r#"{{"routine": "shop", "time": '$(date +%s000)', "target": "sqlite:{}", "overwrite": "always"}}"#,
            restored.display()
        );
        format!(
            "A database that changes every second is backed up every five, in full every thirty. Look around:\n\n\
             http://{address}/ in a browser: how it stands, what is kept, the way back\n\n\
             curl http://{address}/v1/backups/full/shop\n\
             curl http://{address}/v1/backups/currentBackup/shop\n\
             curl http://{address}/v1/records/orders/-/int:1\n\
             curl http://{address}/metrics\n\
             curl -X POST http://{address}/v1/restore/timestamp -H 'content-type: application/json' -d '{body}'\n\n\
             The document of the interface: http://{address}/api-docs/\n\
             Everything lies in {} and is gone when this ends (Ctrl-C).\n",
            self.dir.path().display()
        )
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(changes) = self.changes.take() {
            let _ = changes.join();
        }
    }
}

fn make(path: &Path) -> rusqlite::Result<()> {
    let db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, state TEXT NOT NULL, cents INTEGER NOT NULL, note TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO orders SELECT i, 'customer ' || (i % 97), 'open', i * 37 % 10007, hex(randomblob(90)) FROM n;
         CREATE TABLE customers (name TEXT PRIMARY KEY, city TEXT NOT NULL);
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 96)
         INSERT INTO customers SELECT 'customer ' || i, 'city ' || (i % 13) FROM n;",
    )
}

/// An order is new, some go on, one is gone; now and then many change at once.
fn change(path: &Path, number: i64) -> rusqlite::Result<()> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(5))?;
    let transaction = db.transaction()?;
    transaction.execute(
        "INSERT INTO orders (customer, state, cents) VALUES (?, 'open', ?)",
        (format!("customer {}", number % 97), number),
    )?;
    let every = if number % 20 == 0 { 10 } else { 2000 };
    transaction.execute(
        "UPDATE orders SET state = CASE state WHEN 'open' THEN 'paid' WHEN 'paid' THEN 'sent' ELSE 'open' END,
         note = hex(randomblob(90)) WHERE id % ?1 = ?2 % ?1 OR id = 1",
        [every, number],
    )?;
    transaction.execute("DELETE FROM orders WHERE id = ?", [number + 500])?;
    transaction.commit()
}

fn config(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "service:\n  http:\n    port: 8080\n  unlock:\n    password-file: '{dir}/password.txt'\n  restore-targets: ['sqlite:{dir}/']\n\
         storage:\n  local:\n    local-storage:\n      path: '{dir}/backups'\n\
         backup-policies:\n  short:\n    verify: restore\n    retention:\n      full: 12\n\
         backup-routines:\n  shop:\n    interval-cron: '*/30 * * * * *'\n    incr-interval-cron: '*/5 * * * * *'\n    \
         source: 'sqlite:{dir}/shop.db'\n    storage: local\n    backup-policy: short\n"
    )
}
