//! `AtlasDB`'s key-value store in `PostgreSQL`: the timestamps and transactions that a restore has to look after. How and why is
//! written in `docs/atlasdb.md`.

mod codec;
mod file;
mod schemas;

pub use file::{read_timestamp, write_timestamp};

use super::{
    client::Client,
    error::{reading, writing},
    names::{ident, literal},
    open::open,
};
use crate::{
    connector::{ConnectorError, Options, SourceUrl},
    report::Remedy,
};
use codec::{Encoding, Fate, encode_var_long};
use schemas::{Schemas, sequence};

/// Cells that are looked at by one statement.
const PAGE: i64 = 10_000;

/// Timestamps that a service hands out before it notes a new bound.
const BUFFER: i64 = 1_000_000;

/// Transactions that are listed one by one.
const LISTED: usize = 100;

/// A store that is open.
pub struct Store {
    client: Client,
    object: String,
    schema: String,
    prefix: String,
}

/// How transactions are cleaned.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cleaning {
    /// Count, change nothing.
    pub dry_run: bool,
    /// Delete entries, as `AtlasDB`'s own command does, in place of writing that they were aborted.
    pub delete: bool,
    /// Go on though others are connected.
    pub force: bool,
}

/// What cleaning came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cleaned {
    /// Entries that were looked at.
    pub looked_at: u64,
    /// Entries of transactions that committed at or after the timestamp.
    pub cleaned: u64,
    /// The first hundred of them: start and commit timestamp.
    pub transactions: Vec<(i64, i64)>,
}

impl Store {
    /// Opens the store at a `postgresql:` URL; `prefix` is the configuration's `tablePrefix`, `metadata` its `metadataTable`.
    ///
    /// # Errors
    /// [`ConnectorError`] if there is none.
    pub fn open(url: &str, options: &Options, prefix: &str, metadata: &str) -> Result<Self, ConnectorError> {
        let (server, selection) = open(&SourceUrl::parse(url)?, options)?;
        let schema = selection.one_schema().unwrap_or_else(|| "public".to_owned());
        let mut client = server.connect()?;
        server.facts(&mut client)?;
        // Entries are found by their key.
        client.batch_execute("SET enable_indexscan = on").map_err(|error| reading(&server.shown(), &error))?;
        let mut store = Self { client, object: server.shown(), schema, prefix: prefix.to_ascii_lowercase() };
        if !store.has(metadata, "table_name")? {
            return Err(ConnectorError::Mismatch {
                object: store.object,
                reason: format!("it has no table {metadata} in schema {}: this is no store of AtlasDB's", store.schema),
            });
        }
        Ok(store)
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{}", ident(&self.schema, false), ident(&format!("{}{name}", self.prefix), false))
    }

    /// Whether there is a table of this very name with such a column.
    fn has(&mut self, table: &str, column: &str) -> Result<bool, ConnectorError> {
        let sql =
            "SELECT 1 FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2 AND column_name = $3";
        let found = self.client.query_opt(sql, &[&self.schema, &table, &column]);
        Ok(found.map_err(|error| reading(&self.object, &error))?.is_some())
    }

    fn mismatch(&self, reason: &str) -> ConnectorError {
        ConnectorError::Mismatch { object: self.object.clone(), reason: reason.to_owned() }
    }

    /// The bound of the timestamps that were handed out; `None` if none was.
    fn bound(&mut self) -> Result<Option<i64>, ConnectorError> {
        let name = format!("{}_timestamp", self.prefix);
        if self.has(&name, "legacy_last_allocated")? {
            return Err(self.mismatch(
                "its timestamps moved to a TimeLock of its own: fetch them there (fresh-timestamp), and move it forward there \
                 (timestamp-management/fast-forward)",
            ));
        }
        if !self.has(&name, "last_allocated")? {
            return Err(self.mismatch(&format!("it has no table {name} with last_allocated")));
        }
        let sql = format!("SELECT last_allocated FROM {}", self.table("_timestamp"));
        let rows = self.client.query(&sql, &[]).map_err(|error| reading(&self.object, &error))?;
        match rows.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.get(0))),
            _ => Err(self.mismatch(&format!("{name} has more than one row"))),
        }
    }

    /// A timestamp above all that were handed out.
    ///
    /// # Errors
    /// [`ConnectorError`] if the store does not keep them.
    pub fn fetch(&mut self) -> Result<i64, ConnectorError> {
        Ok(self.bound()?.unwrap_or(BUFFER / 100 - 1) + 1)
    }

    /// Sees to it that no timestamp up to this one is handed out again; gives the bound before and after.
    ///
    /// # Errors
    /// [`ConnectorError`] if the store does not keep them.
    pub fn fast_forward(&mut self, to: i64, cleaning: Cleaning) -> Result<(i64, i64), ConnectorError> {
        self.check_alone(cleaning)?;
        self.run("BEGIN")?;
        let table = self.table("_timestamp");
        let before = self.bound()?;
        let bound = to.checked_add(BUFFER).ok_or_else(|| self.mismatch("the timestamp is too large"))?;
        let after = if before.is_some_and(|before| before >= to) { before.unwrap_or_default() } else { bound };
        if !cleaning.dry_run && before != Some(after) {
            self.run(&format!("LOCK TABLE {table} IN EXCLUSIVE MODE"))?;
            self.run(&match before {
                Some(_) => format!("UPDATE {table} SET last_allocated = {after} WHERE last_allocated < {after}"),
                None => format!("INSERT INTO {table} (last_allocated) VALUES ({after})"),
            })?;
        }
        self.run("COMMIT")?;
        Ok((before.unwrap_or(0), after))
    }

    /// Makes transactions that committed at or after a timestamp never have been.
    ///
    /// # Errors
    /// [`ConnectorError`] if an entry makes no sense, or is of a schema that is not known: then nothing is changed.
    pub fn clean_transactions(&mut self, from: i64, cleaning: Cleaning) -> Result<Cleaned, ConnectorError> {
        self.check_alone(cleaning)?;
        self.run("BEGIN")?;
        let schemas = self.schemas()?;
        let mut cleaned = Cleaned::default();
        let mut found = false;
        for name in ["_transactions", "_transactions2"] {
            if self.has(&format!("{}{name}", self.prefix), "row_name")? {
                found = true;
                if !cleaning.dry_run {
                    self.run(&format!("LOCK TABLE {} IN EXCLUSIVE MODE", self.table(name)))?;
                }
                self.clean_table(name, from, &schemas, cleaning, &mut cleaned)?;
            }
        }
        if !found {
            return Err(self.mismatch("it has no table _transactions"));
        }
        self.run("COMMIT")?;
        Ok(cleaned)
    }

    fn clean_table(
        &mut self,
        name: &str,
        from: i64,
        schemas: &Schemas,
        cleaning: Cleaning,
        cleaned: &mut Cleaned,
    ) -> Result<(), ConnectorError> {
        let table = self.table(name);
        let direct = name == "_transactions";
        let mut behind: Option<(Vec<u8>, Vec<u8>, i64)> = None;
        let select = format!(
            "SELECT row_name, col_name, ts, val FROM {table} WHERE (row_name, col_name, ts) > ($1, $2, $3) OR $4 \
             ORDER BY row_name, col_name, ts LIMIT {PAGE}"
        );
        let place = "WHERE row_name = $1 AND col_name = $2 AND ts = $3";
        let update = if cleaning.delete {
            format!("DELETE FROM {table} {place}")
        } else {
            format!("UPDATE {table} SET val = $4 {place}")
        };
        let object = self.object.clone();
        let fail = |error: postgres::Error| writing(&object, &error);
        loop {
            let (row, column, ts) = behind.clone().unwrap_or_default();
            let rows = self.client.query(&select, &[&row, &column, &ts, &behind.is_none()]).map_err(fail)?;
            for entry in &rows {
                let (row, column, ts): (Vec<u8>, Vec<u8>, i64) = (entry.get(0), entry.get(1), entry.get(2));
                let value: Option<Vec<u8>> = entry.get(3);
                cleaned.looked_at += 1;
                let found = read_entry(direct, schemas, &row, &column, value.as_deref().unwrap_or_default());
                let (start, encoding, fate) =
                    found.map_err(|why| self.mismatch(&format!("{name}: {why}; nothing was changed")))?;
                if let Fate::Committed(commit) = fate
                    && commit >= from
                {
                    cleaned.cleaned += 1;
                    if cleaned.transactions.len() < LISTED {
                        cleaned.transactions.push((start, commit));
                    }
                    if cleaning.dry_run {
                        continue;
                    }
                    let changed = if cleaning.delete {
                        self.client.execute(&update, &[&row, &column, &ts])
                    } else {
                        self.client.execute(&update, &[&row, &column, &ts, &encoding.aborted()])
                    };
                    changed.map_err(fail)?;
                }
            }
            let Some(last) = rows.last() else { return Ok(()) };
            behind = Some((last.get(0), last.get(1), last.get(2)));
        }
    }

    /// Which schema wrote which transactions.
    fn schemas(&mut self) -> Result<Schemas, ConnectorError> {
        if !self.has(&format!("{}_coordination", self.prefix), "row_name")? {
            return Ok(Schemas::default());
        }
        let sql = format!(
            "SELECT val FROM {} WHERE row_name = $1 AND col_name = $2 ORDER BY ts DESC LIMIT 1",
            self.table("_coordination")
        );
        let mut value = |number: i64| -> Result<Option<Vec<u8>>, ConnectorError> {
            let row = self.client.query_opt(&sql, &[&&b"m"[..], &encode_var_long(number)]);
            Ok(row.map_err(|error| reading(&self.object, &error))?.and_then(|row| row.get(0)))
        };
        let Some(first) = value(0)? else { return Ok(Schemas::default()) };
        let current =
            sequence(&first).map_err(|why| ConnectorError::Mismatch { object: "AtlasDB".to_owned(), reason: why })?;
        let Some(map) = value(current)? else {
            return Err(self.mismatch("_coordination names a value that it does not hold"));
        };
        Schemas::read(&map).map_err(|why| self.mismatch(&why))
    }

    /// Refuses to go on while others may be at work.
    fn check_alone(&mut self, cleaning: Cleaning) -> Result<(), ConnectorError> {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = {} AND pid <> pg_backend_pid()",
            literal("client backend")
        );
        let others: i64 = self.client.query_one(&sql, &[]).map_err(|error| reading(&self.object, &error))?.get(0);
        if others == 0 || cleaning.dry_run || cleaning.force {
            return Ok(());
        }
        let reason = format!("{others} others are connected, and this is done offline: stop the services first");
        Err(ConnectorError::Locked { object: self.object.clone(), reason }.with([Remedy::Force]))
    }

    fn run(&mut self, sql: &str) -> Result<(), ConnectorError> {
        self.client.batch_execute(sql).map_err(|error| writing(&self.object, &error))
    }
}

/// What an entry of a transactions table says.
fn read_entry(
    direct: bool,
    schemas: &Schemas,
    row: &[u8],
    column: &[u8],
    value: &[u8],
) -> Result<(i64, Encoding, Fate), String> {
    let shown = || data_encoding::HEXLOWER.encode(row);
    let cell = if direct { Encoding::Direct } else { Encoding::Tickets };
    let start = cell.start(row, column).ok_or_else(|| format!("the row {} is no start timestamp", shown()))?;
    let encoding = match (direct, schemas.of(start)) {
        // Entries of the first table are always written in one way.
        (true, _) => Encoding::Direct,
        (false, Some(encoding)) if encoding != Encoding::Direct => encoding,
        _ => return Err(format!("_coordination does not say how the transaction that began at {start} is written")),
    };
    let fate = encoding.fate(start, value);
    let fate = fate.ok_or_else(|| format!("the fate of the transaction that began at {start} makes no sense"))?;
    Ok((start, encoding, fate))
}
