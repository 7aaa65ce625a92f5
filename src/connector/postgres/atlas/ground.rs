//! Where a store lies in a database: its schema, the names of its tables, who keeps its timestamps.

use crate::connector::{
    ConnectorError,
    postgres::{
        client::Client,
        error::{reading, writing},
        names::{ident, literal},
    },
};
use std::collections::BTreeSet;

/// Bytes of a name; the server cuts longer ones.
const NAME_BYTES: usize = 63;

/// The bound of a store that never handed a timestamp out.
const FIRST_BOUND: i64 = 9999;

/// What a table of transactions is called behind the prefix of its store.
const OF_TRANSACTIONS: &str = "_transactions";

/// Tables of other stores that are named.
const NAMED: usize = 10;

/// A table that a `TimeLock` keeps timestamps of its clients in.
const OF_TIMELOCK: &str = "pt_timelock_db_ts";

/// Where a store lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    /// For messages.
    pub(super) object: String,
    pub(super) schema: String,
    /// `tablePrefix`, as the server folds it.
    pub(super) prefix: String,
    /// `metadataTable`, as the server folds it.
    pub(super) metadata: String,
    /// The store's name at a `TimeLock`.
    pub(super) client: Option<String>,
}

/// The tables of a store.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Those that there are.
    pub(super) found: Vec<String>,
    /// Those that the table of tables names and that are not there, in words.
    pub(super) missing: Vec<String>,
    /// What the table of tables names of stores of other prefixes, which share it, and only they have.
    pub(super) others: BTreeSet<String>,
    /// The same in words.
    pub(super) notes: Vec<String>,
}

/// Who keeps the timestamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keeper {
    /// The store: up to this one they may have been handed out, if any were.
    Store(Option<i64>),
    /// A `TimeLock` whose table is in this very schema.
    Beside(i64),
    /// A `TimeLock` elsewhere.
    Elsewhere,
}

/// The table that a name of the table of tables stands for.
pub(super) fn physical(prefix: &str, name: &str) -> String {
    let bare = match name.split_once('.') {
        Some((namespace, rest)) if !name.starts_with('_') => format!("{namespace}__{rest}"),
        _ => name.to_owned(),
    };
    let whole = format!("{prefix}{bare}").to_ascii_lowercase();
    let mut end = whole.len().min(NAME_BYTES);
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    whole[..end].to_owned()
}

impl Ground {
    /// A table with the prefix, in SQL.
    pub(super) fn table(&self, name: &str) -> String {
        self.plain(&physical(&self.prefix, name))
    }

    /// A table of this very name, in SQL.
    fn plain(&self, name: &str) -> String {
        format!("{}.{}", ident(&self.schema, false), ident(name, false))
    }

    pub(super) fn mismatch(&self, reason: &str) -> ConnectorError {
        ConnectorError::Mismatch { object: self.object.clone(), reason: reason.to_owned() }
    }

    pub(super) fn reading(&self, error: &postgres::Error) -> ConnectorError {
        reading(&self.object, error)
    }

    pub(super) fn run(&self, client: &mut Client, sql: &str) -> Result<(), ConnectorError> {
        client.batch_execute(sql).map_err(|error| writing(&self.object, &error))
    }

    /// Whether there is a table of this very name with such a column.
    pub(super) fn has(&self, client: &mut Client, table: &str, column: &str) -> Result<bool, ConnectorError> {
        let sql = "SELECT 1 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')";
        let found = client.query_opt(sql, &[&self.schema, &table, &column]);
        Ok(found.map_err(|error| self.reading(&error))?.is_some())
    }

    /// Refuses a database that holds no store.
    pub(super) fn check(&self, client: &mut Client) -> Result<(), ConnectorError> {
        if self.has(client, &self.metadata, "table_name")? {
            return Ok(());
        }
        let (metadata, schema) = (&self.metadata, &self.schema);
        Err(self.mismatch(&format!("it has no table {metadata} in schema {schema}: this is no store of AtlasDB's")))
    }

    /// The tables of the store as the table of tables names them, and those that it never names. `known` are names of which it is
    /// known that they are of other stores, wherever those are.
    pub(super) fn tables(&self, client: &mut Client, known: &BTreeSet<String>) -> Result<Tables, ConnectorError> {
        self.check(client)?;
        let fail = |error: postgres::Error| self.reading(&error);
        let sql = "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')";
        let there: BTreeSet<String> =
            client.query(sql, &[&self.schema]).map_err(fail)?.iter().map(|row| row.get(0)).collect();
        let (mut found, mut others) = (BTreeSet::new(), BTreeSet::new());
        let (mut missing, mut owners) = (Vec::new(), BTreeSet::new());
        // Each store has its own table of transactions.
        let prefixes: Vec<&str> = there
            .iter()
            .filter_map(|table| table.strip_suffix(OF_TRANSACTIONS))
            .filter(|prefix| *prefix != self.prefix)
            .collect();
        let sql = format!("SELECT table_name::text FROM {} ORDER BY 1", self.plain(&self.metadata));
        for row in client.query(&sql, &[]).map_err(fail)? {
            let name: String = row.get(0);
            let table = physical(&self.prefix, &name);
            let owner = || prefixes.iter().find(|prefix| there.contains(&physical(prefix, &name)));
            if there.contains(&table) {
                found.insert(table);
            } else if let Some(owner) = owner() {
                owners.insert(format!("`{owner}`"));
                others.insert(name);
            } else if known.contains(&name) {
                others.insert(name);
            } else {
                missing.push(format!("table {name}: {} names it, and there is no table {table}", self.metadata));
            }
        }
        let own = format!("{}_timestamp", self.prefix);
        for name in [self.metadata.as_str(), "dual", &own, OF_TIMELOCK, "pt_metropolis_ts"] {
            if there.contains(name) {
                found.insert(name.to_owned());
            }
        }
        let notes = (!owners.is_empty()).then(|| self.say_shared(&others, &owners));
        Ok(Tables { found: found.into_iter().collect(), missing, others, notes: notes.into_iter().collect() })
    }

    /// That stores share a table of tables, in words.
    fn say_shared(&self, others: &BTreeSet<String>, owners: &BTreeSet<String>) -> String {
        let named: Vec<&str> = others.iter().take(NAMED).map(String::as_str).collect();
        let more = others.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
        format!(
            "{} names tables of the stores of the prefixes {} too, which are not in this backup: {}{more}",
            self.metadata,
            owners.join(", "),
            named.join(", ")
        )
    }

    /// The name of the table of timestamps.
    fn of_timestamps(&self) -> String {
        format!("{}_timestamp", self.prefix)
    }

    /// Who keeps the timestamps, and up to which they may have been handed out.
    pub(super) fn keeper(&self, client: &mut Client) -> Result<Keeper, ConnectorError> {
        let name = self.of_timestamps();
        if self.has(client, &name, "legacy_last_allocated")? {
            return self.keeper_beside(client);
        }
        if !self.has(client, &name, "last_allocated")? {
            if self.has(client, OF_TIMELOCK, "client")? {
                return self.keeper_beside(client);
            }
            self.check_prefix(client)?;
            return Ok(Keeper::Elsewhere);
        }
        let sql = format!("SELECT last_allocated FROM {}", self.plain(&name));
        let rows = client.query(&sql, &[]).map_err(|error| self.reading(&error))?;
        match rows.as_slice() {
            [] => Ok(Keeper::Store(None)),
            [one] => Ok(Keeper::Store(Some(one.get(0)))),
            _ => Err(self.mismatch(&format!("{name} has more than one row"))),
        }
    }

    /// Refuses a prefix under which no table of timestamps is, where there is one under another.
    fn check_prefix(&self, client: &mut Client) -> Result<(), ConnectorError> {
        let sql = "SELECT DISTINCT left(c.relname::text, -length('_timestamp')) FROM pg_catalog.pg_class c \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
                   WHERE n.nspname = $1 AND c.relname LIKE '%\\_timestamp' AND c.relkind IN ('r', 'p') AND NOT a.attisdropped \
                   AND a.attname IN ('last_allocated', 'legacy_last_allocated') ORDER BY 1";
        let rows = client.query(sql, &[&self.schema]).map_err(|error| self.reading(&error))?;
        let others: Vec<String> = rows.iter().map(|row| format!("`{}`", row.get::<_, String>(0))).collect();
        if others.is_empty() {
            return Ok(());
        }
        let (table, prefix) = (self.of_timestamps(), &self.prefix);
        Err(self.mismatch(&format!(
            "it has no table {table}, which a store of the prefix `{prefix}` keeps; there are stores of the prefixes {}",
            others.join(", ")
        )))
    }

    /// The first timestamp above all that may have been handed out.
    ///
    /// # Errors
    /// [`ConnectorError`] if they are kept elsewhere, or there is none.
    pub(super) fn next(&self, keeper: &Keeper) -> Result<i64, ConnectorError> {
        let bound = match keeper {
            Keeper::Store(bound) => bound.unwrap_or(FIRST_BOUND),
            Keeper::Beside(bound) => *bound,
            Keeper::Elsewhere => return Err(self.elsewhere()),
        };
        let next = bound.checked_add(1).ok_or_else(|| self.mismatch("its timestamps are used up"))?;
        if next < 1 {
            return Err(self.mismatch(&format!("the bound of its timestamps is {bound}, and none is below 1")));
        }
        Ok(next)
    }

    fn keeper_beside(&self, client: &mut Client) -> Result<Keeper, ConnectorError> {
        if !self.has(client, OF_TIMELOCK, "client")? {
            return Ok(Keeper::Elsewhere);
        }
        let sql = format!("SELECT client::text, last_allocated FROM {} ORDER BY 1", self.plain(OF_TIMELOCK));
        let rows = client.query(&sql, &[]).map_err(|error| self.reading(&error))?;
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let Some(own) = &self.client else {
            return Err(self.mismatch(&format!(
                "its timestamps are kept by a TimeLock in {OF_TIMELOCK}, for {}: say which it is with client=",
                if names.is_empty() { "nobody yet".to_owned() } else { names.join(", ") }
            )));
        };
        let found = rows.iter().find(|row| row.get::<_, String>(0) == *own);
        Ok(Keeper::Beside(found.map_or(FIRST_BOUND, |row| row.get(1))))
    }

    /// Sees to it that no timestamp up to `to` is handed out again, within the transaction of `client`; gives the bound before
    /// and after. With `ahead` the bound is set that far behind it, as a service that runs would.
    ///
    /// # Errors
    /// [`ConnectorError`] if the timestamps are kept elsewhere.
    pub(super) fn forward(
        &self,
        client: &mut Client,
        to: i64,
        ahead: i64,
        dry_run: bool,
    ) -> Result<(i64, i64), ConnectorError> {
        let (before, is_beside) = match self.keeper(client)? {
            Keeper::Store(bound) => (bound, false),
            Keeper::Beside(bound) => (Some(bound), true),
            Keeper::Elsewhere => return Err(self.elsewhere()),
        };
        let bound = to.checked_add(ahead).ok_or_else(|| self.mismatch("the timestamp is too large"))?;
        let after = if before.is_some_and(|before| before >= to) { before.unwrap_or_default() } else { bound };
        if dry_run || before == Some(after) {
            return Ok((before.unwrap_or(0), after));
        }
        let table = self.plain(&if is_beside { OF_TIMELOCK.to_owned() } else { self.of_timestamps() });
        self.run(client, &format!("LOCK TABLE {table} IN EXCLUSIVE MODE"))?;
        let sql = match (before, &self.client) {
            (_, Some(own)) if is_beside => format!(
                "INSERT INTO {table} AS t (client, last_allocated) VALUES ({}, {after}) ON CONFLICT (client) DO UPDATE \
                 SET last_allocated = greatest(t.last_allocated, excluded.last_allocated)",
                literal(own)
            ),
            (Some(_), _) => format!("UPDATE {table} SET last_allocated = {after} WHERE last_allocated < {after}"),
            (None, _) => format!("INSERT INTO {table} (last_allocated) VALUES ({after})"),
        };
        self.run(client, &sql)?;
        Ok((before.unwrap_or(0), after))
    }

    /// The table that keeps the bound, if it is here: changed by [`Self::forward`].
    pub(super) fn of_keeper(&self, keeper: &Keeper) -> Option<String> {
        match keeper {
            Keeper::Store(_) => Some(self.of_timestamps()),
            Keeper::Beside(_) => Some(OF_TIMELOCK.to_owned()),
            Keeper::Elsewhere => None,
        }
    }

    pub(super) fn elsewhere(&self) -> ConnectorError {
        self.mismatch(
            "its timestamps moved to a TimeLock of its own: fetch them there (fresh-timestamp), and move it forward there \
             (timestamp-management/fast-forward)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_made_as_the_store_makes_them() {
        for (name, table) in [
            ("default.account", "a_default__account"),
            ("default.Big.Name", "a_default__big.name"),
            ("bare", "a_bare"),
            ("_transactions", "a__transactions"),
            ("_odd.name", "a__odd.name"),
            ("sweep.", "a_sweep__"),
        ] {
            assert_eq!(physical("a_", name), table);
        }
        assert_eq!(physical("", &"x".repeat(80)).len(), 63);
        assert_eq!(physical("", &format!("{}żż", "x".repeat(62))), "x".repeat(62));
    }
}
