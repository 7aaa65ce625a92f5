//! Making transactions that committed at or after a timestamp never have been.

use super::{
    codec::{Encoding, Fate, encode_var_long},
    ground::Ground,
    schemas::{Schemas, sequence},
};
use crate::connector::{
    ConnectorError,
    postgres::{client::Client, error::writing},
};

/// Cells that are looked at by one statement.
const PAGE: usize = 10_000;

/// Transactions that are listed one by one.
pub(super) const LISTED: usize = 100;

/// The tables that say what became of transactions.
pub(super) const TRANSACTIONS: [&str; 2] = ["_transactions", "_transactions2"];

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
    /// How many in each of the tables.
    #[serde(skip)]
    pub(super) by_table: [u64; 2],
}

impl Cleaned {
    /// Counts an entry; whether it is to be cleaned.
    pub(super) fn count(&mut self, table: usize, start: i64, fate: Fate, from: i64) -> bool {
        self.looked_at += 1;
        let Fate::Committed(commit) = fate else { return false };
        if commit < from {
            return false;
        }
        self.cleaned += 1;
        self.by_table[table] += 1;
        if self.transactions.len() < LISTED {
            self.transactions.push((start, commit));
        }
        true
    }
}

/// Cleans within the transaction of `client`.
///
/// # Errors
/// [`ConnectorError`] if an entry makes no sense, or is of a schema that is not known: then the transaction must not be committed.
pub(super) fn clean(
    client: &mut Client,
    ground: &Ground,
    from: i64,
    cleaning: Cleaning,
) -> Result<Cleaned, ConnectorError> {
    let schemas = schemas(client, ground)?;
    let mut cleaned = Cleaned::default();
    let mut found = false;
    for (table, name) in TRANSACTIONS.into_iter().enumerate() {
        if !ground.has(client, &super::ground::physical(&ground.prefix, name), "row_name")? {
            continue;
        }
        found = true;
        if !cleaning.dry_run {
            ground.run(client, &format!("LOCK TABLE {} IN EXCLUSIVE MODE", ground.table(name)))?;
        }
        clean_table(client, ground, table, from, &schemas, cleaning, &mut cleaned)?;
    }
    if !found {
        return Err(ground.mismatch("it has no table _transactions"));
    }
    Ok(cleaned)
}

fn clean_table(
    client: &mut Client,
    ground: &Ground,
    table: usize,
    from: i64,
    schemas: &Schemas,
    cleaning: Cleaning,
    cleaned: &mut Cleaned,
) -> Result<(), ConnectorError> {
    let name = TRANSACTIONS[table];
    let sql_name = ground.table(name);
    // The cursor shows what was there when it was opened, whatever is changed behind it.
    ground.run(
        client,
        &format!(
            "DECLARE rekeep_entries NO SCROLL CURSOR FOR SELECT ctid::text, row_name, col_name, val FROM {sql_name}"
        ),
    )?;
    loop {
        let rows = client.query(&format!("FETCH {PAGE} FROM rekeep_entries"), &[]);
        let rows = rows.map_err(|error| ground.reading(&error))?;
        // Places of entries, by the value that is written.
        let mut places: [Vec<String>; 3] = Default::default();
        for entry in &rows {
            let (row, column): (Vec<u8>, Vec<u8>) = (entry.get(1), entry.get(2));
            let value: Option<Vec<u8>> = entry.get(3);
            let read = read_entry(table, schemas, &row, &column, value.as_deref().unwrap_or_default());
            let (start, encoding, fate) =
                read.map_err(|why| ground.mismatch(&format!("{name}: {why}; nothing was changed")))?;
            if cleaned.count(table, start, fate, from) {
                places[encoding as usize].push(format!("\"{}\"", entry.get::<_, String>(0)));
            }
        }
        for encoding in [Encoding::Direct, Encoding::Tickets, Encoding::TwoPhase] {
            let these = &places[encoding as usize];
            if these.is_empty() || cleaning.dry_run {
                continue;
            }
            let here = format!("WHERE ctid = ANY ('{{{}}}'::pg_catalog.tid[])", these.join(","));
            let changed = if cleaning.delete {
                client.execute(&format!("DELETE FROM {sql_name} {here}"), &[])
            } else {
                client.execute(&format!("UPDATE {sql_name} SET val = $1 {here}"), &[&encoding.aborted()])
            };
            let changed = changed.map_err(|error| writing(&ground.object, &error))?;
            if changed != these.len() as u64 {
                return Err(ground.mismatch(&format!("{name} changed while it was cleaned: nothing was changed here")));
            }
        }
        if rows.len() < PAGE {
            break;
        }
    }
    ground.run(client, "CLOSE rekeep_entries")
}

/// Which schema wrote which transactions.
pub(super) fn schemas(client: &mut Client, ground: &Ground) -> Result<Schemas, ConnectorError> {
    if !ground.has(client, &super::ground::physical(&ground.prefix, "_coordination"), "row_name")? {
        return Ok(Schemas::default());
    }
    let sql = format!(
        "SELECT val FROM {} WHERE row_name = $1 AND col_name = $2 ORDER BY ts DESC LIMIT 1",
        ground.table("_coordination")
    );
    let mut value = |number: i64| -> Result<Option<Vec<u8>>, ConnectorError> {
        let row = client.query_opt(&sql, &[&COORDINATION_ROW, &encode_var_long(number)]);
        Ok(row.map_err(|error| ground.reading(&error))?.and_then(|row| row.get(0)))
    };
    Schemas::find(&mut value, ground)
}

/// The row of `_coordination` that says which schema wrote which transactions.
pub(super) const COORDINATION_ROW: &[u8] = b"m";

/// Gives the newest value in a column of that row.
type Column<'a> = &'a mut dyn FnMut(i64) -> Result<Option<Vec<u8>>, ConnectorError>;

impl Schemas {
    /// By what the columns of `_coordination` hold; schema 1 for all where they hold nothing.
    pub(super) fn find(column: Column<'_>, ground: &Ground) -> Result<Self, ConnectorError> {
        let Some(first) = column(0)? else { return Ok(Self::default()) };
        let current = sequence(&first).map_err(|why| ground.mismatch(&why))?;
        let Some(map) = column(current)? else {
            return Err(ground.mismatch("_coordination names a value that it does not hold"));
        };
        Self::read(&map).map_err(|why| ground.mismatch(&why))
    }
}

/// What an entry of a transactions table says: when the transaction began, how that is written, what became of it.
pub(super) fn read_entry(
    table: usize,
    schemas: &Schemas,
    row: &[u8],
    column: &[u8],
    value: &[u8],
) -> Result<(i64, Encoding, Fate), String> {
    let direct = table == 0;
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
