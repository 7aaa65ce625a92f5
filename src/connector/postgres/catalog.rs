//! What the catalog says of a database: its tables, their columns and keys.

use super::{
    cell::PartKind,
    client::Client,
    error, names,
    select::Selection,
    types::{FIRST_OWN, Form, Types},
};
use crate::connector::ConnectorError;
use std::collections::HashMap;

/// A column that is read.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its type as SQL writes it.
    pub(super) type_text: String,
    pub(super) form: Form,
    pub(super) part: PartKind,
    pub(super) not_null: bool,
    /// Whether it is computed from others.
    pub(super) generated: bool,
    /// Whether `INSERT` must say that it overrides it.
    pub(super) identity: bool,
    /// The function that gives its binary form, if its values may be large.
    pub(super) large: Option<Bytes>,
    /// Whether its text is what its output function gives: a cast to text may be a user's, and say something else.
    pub(super) by_output: bool,
    /// Whether a user's cast makes it of text, where its input function is meant.
    pub(super) has_cast: bool,
}

/// How the bytes of a large value are got at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bytes {
    /// The value is bytes.
    Itself,
    /// It is text, whose length costs nothing.
    Text,
    /// By this function.
    Send(String),
    /// By its text form.
    Cast,
}

/// `xml`: its text is what is stored, which its output function does not give as it is.
const XML: u32 = 142;

/// Why a table is not read that this user may not read.
pub(super) const UNREADABLE: &str = "this user may not read it";

/// How the words begin that name a sequence whose value is not read.
pub(super) const SEQUENCE: &str = "the value of sequence ";

/// The sequences whose values this user may not read, in words.
pub(super) fn unread_sequences(all: &[Table]) -> impl Iterator<Item = String> {
    let unread = all.iter().filter(|table| table.kind == 'S' && !table.may_read);
    unread.map(|table| format!("{SEQUENCE}{}: {UNREADABLE}", table.collection()))
}

/// How rows are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Primary,
    Unique,
    Content,
}

/// A table as it was found.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// `r`, or what else it is.
    pub(super) kind: char,
    pub(super) unlogged: bool,
    pub(super) partition: bool,
    /// Its file as the snapshot names it, and as it is now.
    pub(super) files: (u32, Option<u32>),
    pub(super) may_read: bool,
    pub(super) hides_rows: bool,
    pub(super) is_heap: bool,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) pages: u64,
    /// Whether some values may lie outside of their rows.
    pub(super) has_toast: bool,
    /// Which rows are meant, of a table of an extension.
    pub(super) condition: Option<String>,
    pub(super) populated: bool,
    pub(super) columns: Vec<Column>,
    /// The key's columns.
    pub(super) key: Vec<usize>,
    pub(super) key_kind: KeyKind,
    /// The search path without which no statement about it can be planned.
    pub(super) path: Option<String>,
}

impl Table {
    /// As its collection is named.
    pub(super) fn collection(&self) -> String {
        names::collection(&self.schema, &self.name)
    }

    /// In SQL.
    pub(super) fn sql(&self, ascii: bool) -> String {
        format!("{}.{}", names::ident(&self.schema, ascii), names::ident(&self.name, ascii))
    }
}

const TABLES: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind, c.relpersistence, c.relispartition, c.relfilenode, \
    pg_relation_filenode(c.oid)::oid, \
    has_schema_privilege(n.oid, 'USAGE') AND \
    CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END, \
    CASE WHEN c.relrowsecurity THEN row_security_active(c.oid) ELSE false END, \
    coalesce(am.amname = 'heap', false), greatest(c.reltuples, 0)::int8, e.extension, e.condition, c.relispopulated, \
    u.schemas, u.tables \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am am ON am.oid = c.relam \
    LEFT JOIN LATERAL (SELECT x.extname::text AS extension, x.extcondition[array_position(x.extconfig, c.oid)] AS condition \
        FROM pg_depend d JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid \
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' LIMIT 1) e ON true \
    LEFT JOIN LATERAL (SELECT array_agg(un.nspname::text ORDER BY uc.oid) AS schemas, array_agg(uc.relname::text ORDER BY uc.oid) AS tables \
        FROM (SELECT d.refobjid AS user_oid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
                AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') \
            UNION SELECT ad.adrelid FROM pg_depend d JOIN pg_attrdef ad ON ad.oid = d.objid \
                WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid) users \
        JOIN pg_class uc ON uc.oid = users.user_oid JOIN pg_namespace un ON un.oid = uc.relnamespace) u ON c.relkind = 'S' \
    WHERE c.relkind IN ('r', 'p', 'f', 'm', 'S') AND c.relpersistence <> 't' \
    AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY n.nspname, c.relname";

/// Everything that is a relation with rows, without columns. Those of extensions only as far as they are a person's.
pub(super) fn tables(client: &mut Client, selection: &Selection, object: &str) -> Result<Vec<Table>, ConnectorError> {
    let fail = |error: postgres::Error| error::reading(object, &error);
    let mut found = Vec::new();
    let mut all_names = Vec::new();
    for row in client.query(TABLES, &[]).map_err(fail)? {
        let (schema, name): (String, String) = (row.get(1), row.get(2));
        let letter = |at: usize| char::from(row.get::<_, i8>(at).cast_unsigned());
        let (extension, condition): (Option<String>, Option<String>) = (row.get(12), row.get(13));
        let kind = letter(3);
        if kind != 'S' {
            all_names.push((schema.clone(), name.clone()));
        }
        // A sequence goes with the tables that it numbers.
        let users = row.get::<_, Option<Vec<String>>>(15).unwrap_or_default();
        let mut users = users.into_iter().zip(row.get::<_, Option<Vec<String>>>(16).unwrap_or_default());
        let is_wanted = selection.wants(&schema, &name) || users.any(|(s, t)| selection.wants(&s, &t));
        if (extension.is_some() && condition.is_none()) || !is_wanted {
            continue;
        }
        let condition = condition.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        found.push(Table {
            oid: row.get(0),
            schema,
            name,
            kind,
            unlogged: letter(4) == 'u',
            partition: row.get(5),
            files: (row.get(6), row.get(7)),
            may_read: row.get::<_, Option<bool>>(8).unwrap_or(false),
            hides_rows: row.get(9),
            is_heap: row.get(10),
            bytes: 0,
            rows: row.get::<_, i64>(11).unsigned_abs(),
            pages: 0,
            has_toast: false,
            condition: condition.map(|text| without_where(&text).to_owned()),
            populated: row.get(14),
            columns: Vec::new(),
            key: Vec::new(),
            key_kind: KeyKind::Content,
            path: None,
        });
    }
    selection.check(&all_names, object)?;
    Ok(found)
}

/// A condition as an extension writes it, in whatever case, without the word that it begins with.
fn without_where(text: &str) -> &str {
    match text.split_at_checked(5) {
        Some((word, rest))
            if word.eq_ignore_ascii_case("where") && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') =>
        {
            rest
        }
        _ => text,
    }
}

/// Asks how large tables are; waits for whoever locks them.
pub(super) fn measure(client: &mut Client, tables: &mut [Table], object: &str) -> Result<(), ConnectorError> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let sql = "SELECT c.oid, coalesce(pg_table_size(c.oid), 0), \
               coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::int8, \
               coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0) > 0 FROM pg_class c WHERE c.oid = ANY($1)";
    for row in client.query(sql, &[&oids]).map_err(|error| error::reading(object, &error))? {
        let count = |at: usize| row.get::<_, i64>(at).unsigned_abs();
        if let Some(table) = tables.iter_mut().find(|table| table.oid == row.get::<_, u32>(0)) {
            (table.bytes, table.pages, table.has_toast) = (count(1), count(2), row.get(3));
        }
    }
    Ok(())
}

/// Columns that are read though they are computed: those of a key that is made later, by collection.
pub(super) type Keys = HashMap<String, Vec<String>>;

/// Reads the columns and keys of tables.
pub(super) fn describe(client: &mut Client, tables: &mut [Table], object: &str) -> Result<(), ConnectorError> {
    describe_with(client, tables, &Keys::new(), object)
}

/// The same of tables whose keys may not be there yet.
pub(super) fn describe_with(
    client: &mut Client,
    tables: &mut [Table],
    keys: &Keys,
    object: &str,
) -> Result<(), ConnectorError> {
    let fail = |error: postgres::Error| error::reading(object, &error);
    let types = Types::read(client, object)?;
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let by_oid: HashMap<u32, usize> = oids.iter().enumerate().map(|(at, oid)| (*oid, at)).collect();
    let mut numbers: Vec<Vec<i16>> = vec![Vec::new(); tables.len()];
    let sql = "SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
               a.attgenerated, a.attidentity, a.attlen = -1 AND a.attstorage <> 'p' FROM pg_attribute a \
               WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum";
    for row in client.query(sql, &[&oids]).map_err(fail)? {
        let Some(&at) = by_oid.get(&row.get(0)) else { continue };
        let oid: u32 = row.get(3);
        let form = types.form(oid);
        let base = types.base(oid);
        let has_toast = tables[at].has_toast && tables[at].is_heap;
        // What has no function of its own for it is read within its row, however large.
        let large = (has_toast && row.get::<_, bool>(8)).then_some(()).and_then(|()| match (base, &form) {
            (17, _) => Some(Bytes::Itself),
            (25 | 1043, _) => Some(Bytes::Text),
            (_, Form::Cast) => Some(Bytes::Cast),
            _ => types.send_function(oid).map(|send| Bytes::Send(send.to_owned())),
        });
        numbers[at].push(row.get(1));
        tables[at].columns.push(Column {
            name: row.get(2),
            type_text: row.get(4),
            part: PartKind::of(base, &form),
            by_output: base >= FIRST_OWN || (form == Form::Cast && base != XML),
            has_cast: types.has_cast(base),
            form,
            not_null: row.get(5),
            generated: row.get::<_, i8>(6) != 0,
            identity: row.get::<_, i8>(7).cast_unsigned() == b'a',
            large,
        });
    }
    let sql = "SELECT i.indrelid, i.indisprimary, i.indkey::int2[], i.indnkeyatts FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
               WHERE i.indrelid = ANY($1) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
               AND (i.indisprimary OR i.indimmediate) \
               ORDER BY i.indrelid, i.indisprimary DESC, i.indisreplident DESC, i.indnkeyatts, c.relname";
    for row in client.query(sql, &[&oids]).map_err(fail)? {
        let Some(&at) = by_oid.get(&row.get(0)) else { continue };
        if tables[at].key_kind != KeyKind::Content {
            continue;
        }
        let columns: Vec<i16> = row.get(2);
        let count = usize::try_from(row.get::<_, i16>(3)).unwrap_or_default();
        let place = |number: &i16| numbers[at].iter().position(|other| other == number);
        let key: Option<Vec<usize>> = columns.iter().take(count).map(place).collect();
        let is_primary = row.get(1);
        let Some(key) = key.filter(|key| is_primary || key.iter().all(|at2| tables[at].columns[*at2].not_null)) else {
            continue;
        };
        tables[at].key = key;
        tables[at].key_kind = if is_primary { KeyKind::Primary } else { KeyKind::Unique };
    }
    for table in tables {
        let own = keys.get(&table.collection());
        keep_what_is_read(table, own.map_or(&[][..], Vec::as_slice));
    }
    Ok(())
}

/// Leaves out columns that are computed, unless the key has them, or one that is to come.
fn keep_what_is_read(table: &mut Table, key: &[String]) {
    let mut places = Vec::with_capacity(table.columns.len());
    let mut kept = Vec::new();
    for (at, column) in std::mem::take(&mut table.columns).into_iter().enumerate() {
        places.push(kept.len());
        if !column.generated || table.key.contains(&at) || key.contains(&column.name) {
            kept.push(column);
        }
    }
    table.key = table.key.iter().map(|at| places[*at]).collect();
    table.columns = kept;
}
