//! A database in memory in which a snapshot's tables are made, to see what they are.

use super::{
    objects,
    quote::ident,
    schema::{self, Table},
};
use rusqlite::{Connection, OptionalExtension, config::DbConfig};
use std::fmt::Write;

/// A table that was made to be looked at.
pub(super) struct Scratch {
    connection: Connection,
    pub(super) table: Table,
    /// What only the application has, and the table needs.
    pub(super) lacks: Vec<String>,
}

/// A column as far as values that are stored depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) affinity: schema::Affinity,
    pub(super) collation: String,
}

impl Kind {
    /// In words, for messages.
    pub(super) fn show(&self) -> String {
        match self.collation.as_str() {
            "BINARY" => self.affinity.name().to_owned(),
            other => format!("{} COLLATE {other}", self.affinity.name()),
        }
    }
}

impl Scratch {
    /// Makes a table by its statement.
    pub(super) fn new(name: &str, sql: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
        let mut lacks = Vec::new();
        objects::create(&connection, sql, name, &mut lacks)?;
        let table = schema::table(&connection, name.to_owned(), sql.to_owned())?;
        Ok(Self { connection, table, lacks })
    }

    /// Its stored columns.
    pub(super) fn kinds(&self) -> rusqlite::Result<Vec<Kind>> {
        kinds(&self.connection, &self.table)
    }

    pub(super) fn is_strict(&self) -> rusqlite::Result<bool> {
        schema::is_strict(&self.connection, &self.table.name)
    }

    /// The statement of a table whose rows lie in the file as this one's, and whose generated columns are none, so that
    /// rows can be written as they are. `None` if a constraint needs what is not stored.
    pub(super) fn stand_in(&self) -> rusqlite::Result<Option<String>> {
        let table = &self.table;
        let constraints = constraints(&self.connection, &table.name)?;
        let is_stored = |name: &str| table.columns.iter().any(|column| column.name == name);
        if !constraints.iter().flat_map(|(_, columns)| columns).all(|(name, _, _)| is_stored(name)) {
            return Ok(None);
        }
        let counts = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'";
        let counts = self.connection.query_row(counts, [], |_| Ok(())).optional()?.is_some();
        let mut parts = Vec::new();
        for kind in self.kinds()? {
            parts.push(match &table.integer_key {
                Some(key) if *key == kind.name => {
                    format!("{} INTEGER PRIMARY KEY{}", ident(key), if counts { " AUTOINCREMENT" } else { "" })
                }
                _ => format!("{} {} COLLATE {}", ident(&kind.name), kind.affinity.name(), ident(&kind.collation)),
            });
        }
        for (is_key, columns) in &constraints {
            let mut part = if *is_key { "PRIMARY KEY (".to_owned() } else { "UNIQUE (".to_owned() };
            for (index, (name, collation, descends)) in columns.iter().enumerate() {
                let (comma, direction) = (if index > 0 { ", " } else { "" }, if *descends { " DESC" } else { "" });
                let _ = write!(part, "{comma}{} COLLATE {}{direction}", ident(name), ident(collation));
            }
            parts.push(part + ")");
        }
        let end = if table.without_rowid { " WITHOUT ROWID" } else { "" };
        let sql = format!("CREATE TABLE {}({}){end}", ident(&table.name), parts.join(", "));
        // What SQLite makes of it decides.
        let made = Self::new(&table.name, &sql)?;
        let is_alike = constraints == self::constraints(&made.connection, &table.name)?
            && (made.table.without_rowid, &made.table.integer_key) == (table.without_rowid, &table.integer_key)
            && made.kinds()? == self.kinds()?;
        Ok(is_alike.then_some(sql))
    }
}

/// The stored columns of a table.
pub(super) fn kinds(connection: &Connection, table: &Table) -> rusqlite::Result<Vec<Kind>> {
    let kind = |column: &schema::Column| {
        let (_, collation, ..) = connection.column_metadata(Some("main"), table.name.as_str(), column.name.as_str())?;
        let collation = collation.map_or_else(|| "BINARY".to_owned(), |name| name.to_string_lossy().to_uppercase());
        Ok(Kind { name: column.name.clone(), affinity: column.affinity, collation })
    };
    table.columns.iter().map(kind).collect()
}

/// A column of a constraint: its name, its collation, whether it descends.
type Sorted = (String, String, bool);

/// The indexes that a table's own constraints made, in that order: whether one is the key's, and its columns.
fn constraints(connection: &Connection, table: &str) -> rusqlite::Result<Vec<(bool, Vec<Sorted>)>> {
    let mut statement = connection.prepare(
        "SELECT name, origin = 'pk' FROM pragma_index_list(?1) WHERE origin IN ('pk', 'u') ORDER BY seq DESC",
    )?;
    let indexes: Vec<(String, bool)> =
        statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut statement =
        connection.prepare("SELECT name, coll, desc FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?;
    let mut all = Vec::new();
    for (index, is_key) in indexes {
        let columns = statement.query_map([index], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        all.push((is_key, columns.collect::<Result<_, _>>()?));
    }
    Ok(all)
}
