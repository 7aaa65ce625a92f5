//! What a database's schema says of its tables, read without touching any virtual table's module.

pub(super) use super::encoding::Encoding;
use super::{error::reading, quote::ident, settings::Settings};
use crate::connector::ConnectorError;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What `table_xinfo` says of a generated column that is stored.
const STORED: i64 = 3;

/// What values of a column are turned into when they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    Blob,
    Text,
    Numeric,
    Integer,
    Real,
}

impl Affinity {
    /// SQLite's rules, §3.1 of its page on data types.
    fn of(declared: &str, strict: bool) -> Self {
        let upper = declared.to_ascii_uppercase();
        let has = |part: &str| upper.contains(part);
        if strict && upper == "ANY" {
            Self::Blob
        } else if has("INT") {
            Self::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Self::Text
        } else if has("BLOB") || upper.is_empty() {
            Self::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Self::Real
        } else {
            Self::Numeric
        }
    }

    /// A declared type of this affinity.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Blob => "BLOB",
            Self::Text => "TEXT",
            Self::Numeric => "NUMERIC",
            Self::Integer => "INT",
            Self::Real => "REAL",
        }
    }
}

/// A column that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) affinity: Affinity,
    pub(super) nullable: bool,
    /// Whether it is generated (`STORED`): what is stored was computed by whoever wrote the row.
    pub(super) computed: bool,
}

/// An ordinary table, a virtual table's shadow, or one of SQLite's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
    /// The generated ones, whether they are stored or not.
    pub(super) generated: Vec<String>,
    /// In the declared order of the key.
    pub(super) primary_key: Vec<String>,
    /// The `INTEGER PRIMARY KEY` column that is the rowid.
    pub(super) integer_key: Option<String>,
    pub(super) without_rowid: bool,
    /// The rows of the schema that are its own, and those of the indexes that its constraints made; none if it was looked at
    /// alone.
    pub(super) places: Vec<i64>,
    /// The index of the primary key; of a table without rowids the table itself.
    pub(super) key_index: Option<String>,
    /// A name by which SQL reaches the rowid; `None` if there is none, or columns bear all its names.
    pub(super) rowid_name: Option<String>,
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether it is one of SQLite's own tables.
    pub(super) fn is_internal(&self) -> bool {
        self.name.starts_with("sqlite_")
    }
}

/// A row of the schema that holds no records: a virtual table, an index, a view, a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) table: String,
    pub(super) sql: String,
    /// Its row of the schema.
    #[serde(default)]
    pub(super) place: i64,
}

/// A whole schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) encoding: Encoding,
    pub(super) settings: Settings,
    pub(super) wal: bool,
    /// Ordinary tables in the order of their making, SQLite's own last.
    pub(super) tables: Vec<Table>,
    pub(super) objects: Vec<Object>,
}

struct Entry {
    place: i64,
    kind: String,
    name: String,
    table: String,
    rootpage: i64,
    sql: Option<String>,
}

impl Schema {
    /// Reads the schema of the `main` database.
    pub(super) fn read(connection: &Connection, object: &str) -> Result<Self, ConnectorError> {
        let fail = |error: rusqlite::Error| reading(object, &error);
        let text = |pragma: &str| {
            connection.query_row(&format!("PRAGMA main.{pragma}"), [], |row| row.get::<_, String>(0)).map_err(fail)
        };
        let mut tables = Vec::new();
        let mut objects = Vec::new();
        let mut automatic: HashMap<String, Vec<i64>> = HashMap::new();
        for entry in entries(connection).map_err(fail)? {
            let Some(sql) = entry.sql else {
                automatic.entry(entry.table).or_default().push(entry.place);
                continue;
            };
            if entry.kind == "table" && entry.rootpage != 0 {
                let mut table = table(connection, entry.name, sql).map_err(fail)?;
                table.places.push(entry.place);
                tables.push(table);
            } else {
                let (kind, name, table) = (entry.kind, entry.name, entry.table);
                objects.push(Object { kind, name, table, sql, place: entry.place });
            }
        }
        for table in &mut tables {
            table.places.extend(automatic.remove(&table.name).unwrap_or_default());
        }
        tables.sort_by_key(Table::is_internal);
        Ok(Self {
            encoding: match text("encoding")?.as_str() {
                "UTF-16le" => Encoding::Utf16le,
                "UTF-16be" => Encoding::Utf16be,
                _ => Encoding::Utf8,
            },
            settings: Settings::read(connection).map_err(fail)?,
            wal: text("journal_mode")?.eq_ignore_ascii_case("wal"),
            tables,
            objects,
        })
    }

    pub(super) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Whether any object of the schema is a virtual table of this name.
    pub(super) fn is_virtual(&self, name: &str) -> bool {
        self.objects.iter().any(|object| object.kind == "table" && object.name == name)
    }
}

fn entries(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = connection
        .prepare("SELECT type, name, tbl_name, rootpage, sql, rowid FROM main.sqlite_schema ORDER BY rowid")?;
    let rows = statement.query_map([], |row| {
        Ok(Entry {
            kind: row.get(0)?,
            name: row.get(1)?,
            table: row.get(2)?,
            rootpage: row.get::<_, Option<i64>>(3)?.unwrap_or(0),
            sql: row.get(4)?,
            place: row.get(5)?,
        })
    })?;
    rows.collect()
}

pub(super) fn is_strict(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT strict FROM pragma_table_list(?1) WHERE schema = 'main' AND name = ?1";
    connection.query_row(sql, [name], |row| row.get(0))
}

/// What the tables, views and virtual tables of a database are, by their names as SQLite compares them.
#[derive(Debug, Default)]
pub(super) struct Names {
    found: HashMap<String, Named>,
    /// The last row of the schema that was read.
    last: i64,
}

/// A table, view or virtual table.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// Its exact name.
    pub(super) name: String,
    pub(super) sql: String,
    /// Whether it holds records: neither a view nor virtual.
    pub(super) is_table: bool,
}

impl Names {
    /// Those of the `main` database.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut names = Self::default();
        names.read_on(connection)?;
        Ok(names)
    }

    /// Adds what was made since.
    pub(super) fn read_on(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "SELECT rowid, name, sql, type = 'table' AND rootpage <> 0 FROM main.sqlite_schema
             WHERE rowid > ?1 AND type IN ('table', 'view') ORDER BY rowid",
        )?;
        let mut rows = statement.query([self.last])?;
        while let Some(row) = rows.next()? {
            self.last = row.get(0)?;
            let named = Named { name: row.get(1)?, sql: row.get(2)?, is_table: row.get(3)? };
            self.found.insert(named.name.to_ascii_lowercase(), named);
        }
        Ok(())
    }

    /// All of them: the name, and whether it is a view.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, bool)> {
        self.found.values().map(|named| {
            let is_view = named.sql.get(..12).is_some_and(|head| head.eq_ignore_ascii_case("CREATE VIEW "));
            (named.name.as_str(), is_view)
        })
    }

    /// The one of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Named> {
        self.found.get(&name.to_ascii_lowercase())
    }
}

/// Reads one ordinary table.
pub(super) fn table(connection: &Connection, name: String, sql: String) -> rusqlite::Result<Table> {
    // Under a table's own name this lists the key's columns of one without rowids, and nothing for any other. (The list of
    // all tables says it too, but takes as long as there are tables.)
    let without_rowid: bool =
        connection
            .query_row("SELECT EXISTS (SELECT 1 FROM pragma_index_info(?1, 'main'))", [&name], |row| row.get(0))?;
    let mut strict = None;
    let mut columns = Vec::new();
    let mut generated = Vec::new();
    let mut key: Vec<(i64, String, String)> = Vec::new();
    let mut statement = connection.prepare(&format!("PRAGMA main.table_xinfo({})", ident(&name)))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let column: String = row.get("name")?;
        let declared: String = row.get("type")?;
        let kind = row.get::<_, i64>("hidden")?;
        if kind != 0 {
            generated.push(column.clone());
        }
        if kind != 0 && kind != STORED {
            continue;
        }
        let place: i64 = row.get("pk")?;
        if place > 0 {
            key.push((place, column.clone(), declared.clone()));
        }
        // Only this type means something else in a strict table.
        let strict = match strict {
            Some(strict) => strict,
            None if declared.eq_ignore_ascii_case("ANY") => *strict.insert(is_strict(connection, &name)?),
            None => false,
        };
        let affinity = Affinity::of(&declared, strict);
        let nullable = !row.get::<_, bool>("notnull")? && !without_rowid;
        columns.push(Column { name: column, affinity, nullable, computed: kind == STORED });
    }
    key.sort();
    let sql_of_index = "SELECT name FROM pragma_index_list(?1, 'main') WHERE origin = 'pk'";
    let key_index: Option<String> = connection.query_row(sql_of_index, [&name], |row| row.get(0)).optional()?;
    // `INTEGER PRIMARY KEY DESC` is no alias of the rowid: it gets an index of its own.
    let integer_key = match key.as_slice() {
        [(_, column, declared)]
            if declared.eq_ignore_ascii_case("INTEGER") && !without_rowid && key_index.is_none() =>
        {
            Some(column.clone())
        }
        _ => None,
    };
    let taken =
        |alias: &&str| !columns.iter().map(|c| &c.name).chain(&generated).any(|c| c.eq_ignore_ascii_case(alias));
    // The cell without a name is the rowid's: beside a column without one it is not kept.
    let is_nameless = |column: &Column| column.name.is_empty() && !key.iter().any(|(_, key, _)| key.is_empty());
    let is_displaced = integer_key.is_none() && !key.is_empty() && columns.iter().any(is_nameless);
    let rowid_name = if without_rowid || is_displaced {
        None
    } else {
        integer_key.clone().or_else(|| ["rowid", "_rowid_", "oid"].iter().find(|a| taken(a)).map(|a| (*a).to_owned()))
    };
    let primary_key = key.into_iter().map(|(_, column, _)| column).collect();
    Ok(Table {
        name,
        sql,
        columns,
        generated,
        primary_key,
        integer_key,
        without_rowid,
        places: Vec::new(),
        key_index,
        rowid_name,
    })
}

/// Whether SQLite opens a value of a column by itself, to be written in pieces.
pub(super) fn opens_values(connection: &Connection, table: &Table, column: &str) -> rusqlite::Result<bool> {
    let sql =
        "SELECT NOT EXISTS (SELECT 1 FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x
               WHERE x.key AND (x.cid = -2 OR x.name = ?2 COLLATE NOCASE))";
    let is_plain: bool = connection.query_row(sql, [&table.name, column], |row| row.get(0))?;
    Ok(is_plain && table.generated.is_empty() && !table.without_rowid)
}

/// The collations of a table's indexes that SQLite does not have.
pub(super) fn foreign_collations(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT DISTINCT x.coll FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x
               WHERE x.coll COLLATE NOCASE NOT IN ('BINARY', 'NOCASE', 'RTRIM') ORDER BY 1";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([table], |row| row.get(0))?;
    rows.collect()
}
