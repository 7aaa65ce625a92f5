//! Rows being written to one table.

use super::{
    attributes::{ColumnAttributes, TableAttributes},
    catalog::{KeyKind, Table},
    cell::{self, PartKind},
    client::Client,
    copy::{make_field, put_count, put_field, put_header, put_trailer},
    error::{concerns_rows, is_in_the_way, may_come_later, names_what_is_not_found, said, writing},
    load::{copying, load_by},
    names::ident,
    paths,
    plan::Plan,
    stream::{RowStream, Rows, SortedRow},
    types::Form,
};
use crate::{
    connector::{CollectionTarget, ConnectorError, Outcomes, Overwrite, Removal, Written, shared::sort::Sorted},
    record::{BatchRow, KeyCodec, KeyPart, KeyRange, RecordBatch, RecordStream, Shape, StreamedValue, value::Cell},
};
use postgres::Statement;
use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What is said where rows were refused for what other tables hold, or did not hold yet.
pub(super) const LATER: &str = "rows were refused by what looks at other tables, or names what was made after them: the same restore \
                                again, of rows that are not there, may bring them";

/// Rows that wait until what is in their way is gone: bytes of them that are held.
const MOST_WAITING_BYTES: usize = 64 << 20;

/// A last cell of more is copied through a temporary file.
const MOST_HELD_BYTES: u64 = 8 << 20;

/// Bytes that are handed to the client at once.
const PIECE_BYTES: usize = 128 << 10;

/// Where a column's field comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    Key(usize, PartKind),
    Cell(usize),
}

/// Which columns are written, and from what.
#[derive(Clone)]
pub(super) struct Insert {
    names: Vec<String>,
    types: Vec<String>,
    forms: Vec<Form>,
    sources: Vec<From>,
    /// The cells that are wanted, sorted.
    shape: Shape,
    /// Whether some values come as text and must be cast.
    casts: bool,
    /// Whether `INSERT` must override an identity.
    overrides: bool,
    /// The columns that are the key, among those that are sent.
    key: Vec<usize>,
    /// So many of the last columns are sent to find rows by, and computed by the server.
    computed: usize,
    /// Columns that rows which are replaced keep: the snapshot has not those.
    others: Vec<String>,
    /// Columns of text that a user's cast would make another value than the input function.
    by_input: Vec<bool>,
    /// Characters of which a column holds no more, where the server cuts blanks behind them without an error.
    most: Vec<Option<usize>>,
    /// The table that rows go in through, if it is another one.
    through: Option<(String, String)>,
}

impl Insert {
    pub(super) fn new(table: &Table, wanted: &TableAttributes, object: &str) -> Result<Self, ConnectorError> {
        let mut all = Self {
            names: Vec::new(),
            types: Vec::new(),
            forms: Vec::new(),
            sources: Vec::new(),
            shape: Shape::new(Vec::new()),
            casts: false,
            overrides: false,
            key: Vec::new(),
            computed: 0,
            others: Vec::new(),
            by_input: Vec::new(),
            most: Vec::new(),
            through: None,
        };
        let mut cells: Vec<Vec<u8>> = Vec::new();
        let mut of_cells = Vec::new();
        // Where the snapshot's table computed a column of its key and this one does not, it is written as it was.
        let is_computed = |column: &ColumnAttributes| {
            column.generated && table.columns.iter().all(|found| found.name != column.name || found.generated)
        };
        let (computed, mut columns): (Vec<_>, Vec<_>) = wanted.columns.iter().partition(|column| is_computed(column));
        let computed = computed.into_iter().filter(|column| wanted.key.contains(&column.name));
        columns.extend(computed.inspect(|_| all.computed += 1));
        for column in columns {
            let Some(found) = table.columns.iter().find(|found| found.name == column.name) else {
                let reason = format!("it has no column {}", column.name);
                return Err(ConnectorError::Mismatch { object: object.to_owned(), reason });
            };
            let in_key = wanted.key.iter().position(|name| *name == column.name);
            if let Some(at) = in_key.filter(|_| found.part.is_lossless() || column.generated) {
                all.sources.push(From::Key(at, found.part));
            } else {
                of_cells.push(all.sources.len());
                all.sources.push(From::Cell(0));
                cells.push(column.name.clone().into_bytes());
            }
            // Cells do not hold a computed column: a number comes from the key, as text.
            let as_text = column.generated && found.part == PartKind::Numeric;
            let form = if as_text { Form::Cast } else { found.form.clone() };
            all.casts |= form == Form::Cast;
            all.by_input.push(found.has_cast && form == Form::Cast);
            all.most.push(most_characters(&found.type_text));
            all.overrides |= found.identity;
            all.names.push(found.name.clone());
            all.types.push(found.type_text.clone());
            all.forms.push(form);
        }
        let mut sorted = cells.clone();
        sorted.sort();
        for (place, name) in of_cells.into_iter().zip(&cells) {
            all.sources[place] = From::Cell(sorted.binary_search(name).unwrap_or_default());
        }
        all.key = wanted.key.iter().filter_map(|name| all.names.iter().position(|own| own == name)).collect();
        if all.key.len() != wanted.key.len() {
            let reason = "its key has a computed column, by which rows cannot be found".to_owned();
            return Err(ConnectorError::Mismatch { object: object.to_owned(), reason });
        }
        all.shape = Shape::new(sorted);
        Ok(all)
    }

    /// Has rows that are replaced keep these columns.
    pub(super) fn keeping(self, others: Vec<String>) -> Self {
        Self { others, ..self }
    }

    /// Sends no columns that are not written.
    fn without_computed(mut self) -> Self {
        let left = self.names.len() - std::mem::take(&mut self.computed);
        self.names.truncate(left);
        self.types.truncate(left);
        self.forms.truncate(left);
        self.sources.truncate(left);
        self.by_input.truncate(left);
        self.key.retain(|at| *at < left);
        self
    }

    /// Has rows go in through another table.
    pub(super) fn through(self, through: Option<(String, String)>) -> Self {
        Self { through, ..self }
    }

    /// The table that takes the rows of `table`.
    fn taker(&self, table: &Table, ascii: bool) -> String {
        let above = self.through.as_ref();
        above.map_or_else(
            || table.sql(ascii),
            |(schema, name)| format!("{}.{}", ident(schema, ascii), ident(name, ascii)),
        )
    }

    fn list(&self, ascii: bool) -> String {
        let names: Vec<String> = self.written().map(|at| ident(&self.names[at], ascii)).collect();
        if names.is_empty() { String::new() } else { format!("({})", names.join(", ")) }
    }

    /// The columns that the table is given.
    fn written(&self) -> std::ops::Range<usize> {
        0..self.names.len() - self.computed
    }

    /// A column of a row that was staged, as its type.
    fn staged(&self, at: usize) -> String {
        let type_text = &self.types[at];
        match self.forms[at] {
            Form::Cast if self.by_input[at] => format!(
                "(SELECT x.v FROM pg_catalog.json_to_record(pg_catalog.json_build_object('v', s.c{at})) AS x(v {type_text}))"
            ),
            Form::Cast => format!("s.c{at}::{type_text}"),
            _ => format!("s.c{at}"),
        }
    }
}

/// One row as it is sent.
struct Encoded {
    key: Vec<u8>,
    bytes: Vec<u8>,
    /// A long value: where it stands in the bytes, and the file that holds it.
    long: Option<(usize, File)>,
}

impl Encoded {
    fn send(&mut self, out: &mut impl Write) -> io::Result<()> {
        match &mut self.long {
            None => out.write_all(&self.bytes),
            Some((at, file)) => {
                out.write_all(&self.bytes[..*at])?;
                file.rewind()?;
                let mut piece = vec![0; 1 << 20];
                loop {
                    let len = file.read(&mut piece)?;
                    if len == 0 {
                        break;
                    }
                    out.write_all(&piece[..len])?;
                }
                out.write_all(&self.bytes[*at..])
            }
        }
    }
}

/// What a batch came to.
#[derive(Default, Clone, Copy)]
struct Done {
    inserted: u64,
    replaced: u64,
    existed: u64,
}

/// Writes the rows of one table.
pub(super) struct TableWriter<'a> {
    client: &'a mut Client,
    plan: Arc<Plan>,
    insert: Insert,
    overwrite: Overwrite,
    /// Whether there was no row at the beginning.
    was_empty: bool,
    object: String,
    /// What the table held at the beginning, once it was asked for.
    held: Option<Arc<Sorted>>,
    /// How far that was compared with what is written, and with what is removed.
    compared: Option<Walk>,
    removed: Option<Walk>,
    waiting: Vec<Encoded>,
    waiting_bytes: usize,
    /// The statement that takes rows, once there are some.
    copy: Option<Statement>,
    /// Whether the savepoint of the rows before is still there.
    has_savepoint: bool,
    /// The search path of the database, where what rows set off needs it: functions in indexes, constraints and computed columns.
    path: Option<String>,
    /// Set where a row was refused that may be taken when other tables are whole.
    later: Arc<AtomicBool>,
}

/// Rows that are looked up by ascending keys.
struct Walk {
    rows: Rows,
    has_begun: bool,
}

impl Walk {
    fn find(&mut self, key: &[u8]) -> Result<Option<SortedRow<'_>>, ConnectorError> {
        while !self.has_begun || self.rows.row().is_some_and(|row| row.key < key) {
            self.has_begun = true;
            if !self.rows.advance()? {
                return Ok(None);
            }
        }
        Ok(self.rows.row().filter(|row| row.key == key))
    }
}

impl<'a> TableWriter<'a> {
    pub(super) fn new(
        client: &'a mut Client,
        plan: Arc<Plan>,
        insert: Insert,
        overwrite: Overwrite,
        was_empty: bool,
        object: String,
        later: Arc<AtomicBool>,
    ) -> Result<Self, ConnectorError> {
        let path = plan.table.path.clone();
        let meets = !was_empty && plan.table.key_kind != KeyKind::Content;
        let insert = if meets { insert } else { insert.without_computed() };
        let mut writer = Self {
            client,
            plan,
            insert,
            overwrite,
            was_empty,
            object,
            held: None,
            compared: None,
            removed: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            copy: None,
            has_savepoint: false,
            path,
            later,
        };
        if writer.path.is_some() {
            writer.find_names()?;
        }
        if writer.is_staged() {
            writer.make_stage()?;
        }
        Ok(writer)
    }

    fn fail(&self, error: &postgres::Error) -> ConnectorError {
        writing(&self.object, error)
    }

    /// Has names found by the path that the table needs, or by none.
    fn find_names(&mut self) -> Result<(), ConnectorError> {
        let sql = paths::set(self.path.as_deref(), true);
        self.client.batch_execute(&sql).map_err(|error| self.fail(&error))
    }

    /// Whether rows have no key by which they could be found.
    fn is_content(&self) -> bool {
        self.plan.table.key_kind == KeyKind::Content
    }

    /// Whether rows that come may meet others of their key.
    fn meets(&self) -> bool {
        !self.was_empty && !self.is_content()
    }

    fn is_staged(&self) -> bool {
        self.insert.casts || self.meets()
    }

    fn make_stage(&mut self) -> Result<(), ConnectorError> {
        let column = |at: usize| {
            let type_text =
                if self.insert.forms[at] == Form::Cast { "pg_catalog.text" } else { &self.insert.types[at] };
            format!("c{at} {type_text}")
        };
        let columns: Vec<String> = (0..self.insert.names.len()).map(column).collect();
        let sql = format!(
            "DROP TABLE IF EXISTS pg_temp.rekeep_rows; CREATE TEMPORARY TABLE rekeep_rows ({}) ON COMMIT DROP",
            columns.join(", ")
        );
        self.client.batch_execute(&sql).map_err(|error| self.fail(&error))?;
        if !self.keeps() {
            return Ok(());
        }
        let ascii = self.plan.ascii;
        let others = self.insert.others.iter().enumerate();
        let others: Vec<String> = others.map(|(at, name)| format!("t.{} AS o{at}", ident(name, ascii))).collect();
        let sql = format!(
            "DROP TABLE IF EXISTS pg_temp.rekeep_kept; CREATE TEMPORARY TABLE rekeep_kept ON COMMIT DROP AS \
             SELECT t.ctid AS place, {} FROM ONLY {} t WITH NO DATA",
            others.join(", "),
            self.plan.table.sql(ascii)
        );
        self.client.batch_execute(&sql).map_err(|error| self.fail(&error))
    }

    /// Whether rows that are replaced have columns that the snapshot has not.
    fn keeps(&self) -> bool {
        self.meets() && self.overwrite != Overwrite::Never && !self.insert.others.is_empty()
    }

    /// What the table held at the beginning.
    fn held(&mut self) -> Result<Arc<Sorted>, ConnectorError> {
        if let Some(held) = &self.held {
            return Ok(Arc::clone(held));
        }
        let sorted = Arc::new(load_by(self.client, &std::env::temp_dir(), &self.plan)?);
        if self.path.is_some() {
            self.find_names()?;
        }
        self.held = Some(Arc::clone(&sorted));
        Ok(sorted)
    }

    fn walk(&mut self) -> Result<Walk, ConnectorError> {
        let held = self.held()?;
        let rows = Rows::new(Arc::clone(&self.plan), &held, b"").map_err(|error| copying(&self.plan, error))?;
        Ok(Walk { rows, has_begun: false })
    }

    /// Whether the very same row is there, of a table without a key.
    fn is_there(&mut self, key: &[u8]) -> Result<bool, ConnectorError> {
        if self.compared.is_none() {
            self.compared = Some(self.walk()?);
        }
        let Some(walk) = &mut self.compared else { return Ok(false) };
        Ok(walk.find(key)?.is_some())
    }

    fn encode(&self, row: &BatchRow<'_>, stream: Option<Box<dyn StreamedValue>>) -> Result<Encoded, String> {
        let insert = &self.insert;
        if row.shape.names() != insert.shape.names() {
            return Err("it has other columns than the snapshot's table".to_owned());
        }
        let parts: Vec<KeyPart> = if self.is_content() {
            Vec::new()
        } else {
            KeyCodec::Typed.decode(row.key).ok_or("its key is not one of a PostgreSQL table")?
        };
        let cells: Result<Vec<Cell<'_>>, _> = row.shape.cells(row.value).collect();
        let cells = cells.map_err(|error| error.to_string())?;
        let mut encoded =
            Encoded { key: row.key.to_vec(), bytes: Vec::with_capacity(row.value.len() + 64), long: None };
        let mut stream = stream.map(|stream| Body::read(stream).map_err(|error| error.to_string())).transpose()?;
        put_count(insert.sources.len(), &mut encoded.bytes);
        for (at, source) in insert.sources.iter().enumerate() {
            let start = encoded.bytes.len();
            let (form, out) = (&insert.forms[at], &mut encoded.bytes);
            let made = match *source {
                From::Key(part, PartKind::Numeric) => make_field(out, |out| match parts.get(part)? {
                    KeyPart::Numeric(number) => {
                        out.extend_from_slice(number.to_string().as_bytes());
                        Some(true)
                    }
                    _ => None,
                }),
                From::Key(part, kind) => make_field(out, |out| parts.get(part).and_then(|part| kind.field(part, out))),
                From::Cell(cell) => {
                    let found = *cells.get(cell).ok_or("a cell is missing")?;
                    let last = cell + 1 == cells.len();
                    match stream.as_mut().filter(|_| last) {
                        Some(Body::Held(bytes)) => {
                            make_field(out, |out| cell::read(form, Cell { tag: found.tag, bytes }, out))
                        }
                        Some(Body::File(file, len)) => {
                            // What precedes the value in its binary form, and whether the column has such cells.
                            let mut before = Vec::new();
                            match cell::read(form, Cell { tag: found.tag, bytes: b"" }, &mut before) {
                                Some(true) => {
                                    let total = i32::try_from(before.len() as u64 + *len)
                                        .map_err(|_| "a value has more than 2 GiB".to_owned())?;
                                    out.extend_from_slice(&total.to_be_bytes());
                                    out.extend_from_slice(&before);
                                    let copy = file.try_clone().map_err(|error| error.to_string())?;
                                    encoded.long = Some((out.len(), copy));
                                    Some(())
                                }
                                Some(false) => {
                                    put_field(None, out);
                                    Some(())
                                }
                                None => None,
                            }
                        }
                        None => make_field(out, |out| cell::read(form, found, out)),
                    }
                }
            };
            if made.is_none() {
                return Err(format!("column {} has a value of another type", insert.names[at]));
            }
            let field = encoded.bytes.get(start + 4..).unwrap_or_default();
            if let Some(most) = insert.most[at].filter(|_| !self.plan.ascii && field.last() == Some(&b' ')) {
                // Of UTF-8.
                if field.iter().filter(|byte| **byte & 0xc0 != 0x80).count() > most {
                    let name = &insert.names[at];
                    return Err(format!("value too long for column {name}: the server would cut its blanks at {most}"));
                }
            }
        }
        Ok(encoded)
    }

    /// Sends rows; all or none of them.
    fn put(&mut self, rows: &mut [Encoded]) -> Result<Result<Done, postgres::Error>, ConnectorError> {
        // The one before is let go on the same way to the server and back.
        let before = if self.has_savepoint { "RELEASE SAVEPOINT rekeep_rows; " } else { "" };
        let begin = format!("{before}SAVEPOINT rekeep_rows");
        self.client.batch_execute(&begin).map_err(|error| self.fail(&error))?;
        self.has_savepoint = true;
        match self.send(rows).and_then(|()| self.merge(rows.len() as u64)) {
            Ok(done) => Ok(Ok(done)),
            Err(Trouble::Io(source)) => {
                Err(ConnectorError::Io { operation: "write", object: self.object.clone(), source })
            }
            Err(Trouble::Server(error)) if self.client.is_closed() || !concerns_rows(&error) => Err(self.fail(&error)),
            Err(Trouble::Server(error)) => {
                let back = "ROLLBACK TO SAVEPOINT rekeep_rows";
                self.client.batch_execute(back).map_err(|error| self.fail(&error))?;
                Ok(Err(error))
            }
        }
    }

    fn send(&mut self, rows: &mut [Encoded]) -> Result<(), Trouble> {
        let copy = if let Some(copy) = &self.copy {
            copy.clone()
        } else {
            let ascii = self.plan.ascii;
            let sql = if self.is_staged() {
                "COPY pg_temp.rekeep_rows FROM STDIN (FORMAT binary)".to_owned()
            } else {
                let into = self.insert.taker(&self.plan.table, ascii);
                format!("COPY {into}{} FROM STDIN (FORMAT binary)", self.insert.list(ascii))
            };
            self.copy.insert(self.client.prepare(&sql).map_err(Trouble::Server)?).clone()
        };
        let out = self.client.copy_in(&copy).map_err(Trouble::Server)?;
        // The client takes 4 KiB at a time otherwise, each on a way of its own to the thread that sends.
        let mut out = BufWriter::with_capacity(PIECE_BYTES, out);
        let mut edge = Vec::new();
        put_header(&mut edge);
        out.write_all(&edge).map_err(trouble)?;
        for row in rows {
            row.send(&mut out).map_err(trouble)?;
        }
        edge.clear();
        put_trailer(&mut edge);
        out.write_all(&edge).map_err(trouble)?;
        let out = out.into_inner().map_err(|error| trouble(error.into_error()))?;
        out.finish().map_err(Trouble::Server)?;
        Ok(())
    }

    /// Takes what was staged to the table.
    fn merge(&mut self, count: u64) -> Result<Done, Trouble> {
        if !self.is_staged() {
            return Ok(Done { inserted: count, ..Done::default() });
        }
        let ascii = self.plan.ascii;
        let table = self.plan.table.sql(ascii);
        let meets = self.meets();
        let insert = &self.insert;
        let key = |at: &usize| format!("t.{} = {}", ident(&insert.names[*at], ascii), insert.staged(*at));
        let matches: Vec<String> = insert.key.iter().map(key).collect();
        let matches = matches.join(" AND ");
        let values: Vec<String> = insert.written().map(|at| insert.staged(at)).collect();
        let overriding = if insert.overrides { " OVERRIDING SYSTEM VALUE" } else { "" };
        let never = meets && self.overwrite == Overwrite::Never;
        let keeps = self.keeps();
        let unless = if never {
            format!(" WHERE NOT EXISTS (SELECT 1 FROM ONLY {table} t WHERE {matches})")
        } else if keeps {
            " WHERE NOT EXISTS (SELECT 1 FROM pg_temp.rekeep_kept k WHERE k.place = s.ctid)".to_owned()
        } else {
            String::new()
        };
        let sql = format!(
            "INSERT INTO {}{}{overriding} SELECT {} FROM pg_temp.rekeep_rows s{unless}",
            insert.taker(&self.plan.table, ascii),
            insert.list(ascii),
            values.join(", ")
        );
        // Operators of types that are not built in are found where their types are; the catalog's own go before them.
        let types = insert.key.iter().map(|at| insert.types[*at].as_str()).filter_map(|name| name.rsplit_once('.'));
        let mut schemas: Vec<&str> = types.map(|(schema, _)| schema).collect();
        schemas.dedup();
        let server = Trouble::Server;
        if !schemas.is_empty() {
            let path = self.path.as_ref().map_or_else(String::new, |path| format!(", {path}"));
            let sql = format!("SET LOCAL search_path = {}{path}", schemas.join(", "));
            self.client.batch_execute(&sql).map_err(server)?;
        }
        // The key's index is meant to be used here.
        self.client
            .batch_execute("SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = on")
            .map_err(server)?;
        let mut replaced = 0;
        if keeps {
            let others = insert.others.iter().map(|name| ident(name, ascii));
            let (old, names): (Vec<String>, Vec<String>) = others.map(|name| (format!("t.{name}"), name)).unzip();
            let keep = format!(
                "WITH gone AS (DELETE FROM ONLY {table} t USING pg_temp.rekeep_rows s WHERE {matches} RETURNING s.ctid AS place, {}) \
                 INSERT INTO pg_temp.rekeep_kept SELECT * FROM gone",
                old.join(", ")
            );
            replaced = self.client.execute(&keep, &[]).map_err(server)?;
            let kept: Vec<String> = (0..names.len()).map(|at| format!("k.o{at}")).collect();
            let own = insert.written().map(|at| ident(&insert.names[at], ascii));
            // Also of an identity among those that are kept.
            let back = format!(
                "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM pg_temp.rekeep_rows s JOIN pg_temp.rekeep_kept k ON k.place = s.ctid",
                own.chain(names).collect::<Vec<_>>().join(", "),
                values.iter().cloned().chain(kept).collect::<Vec<_>>().join(", ")
            );
            let count = self.client.execute(&back, &[]).map_err(server)?;
            debug_assert_eq!(count, replaced, "each row that was replaced is there again");
        } else if meets && !never {
            let delete = format!("DELETE FROM ONLY {table} t USING pg_temp.rekeep_rows s WHERE {matches}");
            replaced = self.client.execute(&delete, &[]).map_err(server)?;
        }
        let mut inserted = self.client.execute(&sql, &[]).map_err(server)?;
        if keeps {
            inserted += replaced;
            self.client.batch_execute("TRUNCATE pg_temp.rekeep_kept").map_err(server)?;
        }
        let end = format!("{}; TRUNCATE pg_temp.rekeep_rows", paths::set(self.path.as_deref(), true));
        self.client.batch_execute(&end).map_err(server)?;
        Ok(Done { inserted: inserted.saturating_sub(replaced), replaced, existed: count - inserted.min(count) })
    }

    /// Writes rows; where they fail, halves them until it is known which.
    fn write_rows(&mut self, rows: &mut [Encoded], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        if rows.is_empty() {
            return Ok(());
        }
        let error = match self.put(rows)? {
            Ok(done) => {
                outcomes.inserted += done.inserted;
                outcomes.replaced += done.replaced;
                outcomes.existed += done.existed;
                return Ok(());
            }
            Err(error) => error,
        };
        if self.path.is_none() && names_what_is_not_found(&error) {
            self.path = Some(paths::usual(self.client).map_err(|error| self.fail(&error))?);
            self.find_names()?;
            return self.write_rows(rows, outcomes);
        }
        if let [one] = rows {
            if is_in_the_way(&error) && self.waiting_bytes + one.bytes.len() <= MOST_WAITING_BYTES {
                self.waiting_bytes += one.bytes.len();
                let empty = Encoded { key: Vec::new(), bytes: Vec::new(), long: None };
                self.waiting.push(std::mem::replace(one, empty));
                return Ok(());
            }
            self.later.fetch_or(may_come_later(&error), Ordering::Relaxed);
            outcomes.fail(|| KeyCodec::Typed.show(&one.key), said(&error));
            return Ok(());
        }
        let (first, second) = rows.split_at_mut(rows.len() / 2);
        self.write_rows(first, outcomes)?;
        self.write_rows(second, outcomes)
    }
}

/// How many characters a `varchar` holds, if that is limited.
fn most_characters(type_text: &str) -> Option<usize> {
    type_text.strip_prefix("character varying(")?.strip_suffix(')')?.parse().ok()
}

/// What a value that comes as a stream was read to.
enum Body {
    Held(Vec<u8>),
    File(File, u64),
}

impl Body {
    fn read(mut stream: Box<dyn StreamedValue>) -> io::Result<Self> {
        let mut reader = stream.open()?;
        let mut held = Vec::new();
        (&mut reader).take(MOST_HELD_BYTES).read_to_end(&mut held)?;
        if (held.len() as u64) < MOST_HELD_BYTES {
            return Ok(Self::Held(held));
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(&held)?;
        let more = io::copy(&mut reader, &mut file)?;
        Ok(Self::File(file, held.len() as u64 + more))
    }
}

enum Trouble {
    Server(postgres::Error),
    Io(io::Error),
}

fn trouble(error: io::Error) -> Trouble {
    match error.downcast::<postgres::Error>() {
        Ok(error) => Trouble::Server(error),
        Err(error) => Trouble::Io(error),
    }
}

impl CollectionTarget for TableWriter<'_> {
    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        if self.was_empty {
            return Ok(None);
        }
        let held = self.held()?;
        Ok(Some(Box::new(RowStream::new(None, Arc::clone(&self.plan), &held, range)?)))
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let mut rows = Vec::with_capacity(batch.len());
        for index in 0..batch.len() {
            let stream = batch.row(index).stream.and_then(|number| batch.take_stream(number));
            let row = batch.row(index);
            if !self.was_empty && self.is_content() && self.is_there(row.key)? {
                outcomes.count(if self.overwrite == Overwrite::Never { Written::Existed } else { Written::Replaced });
                continue;
            }
            match self.encode(&row, stream) {
                Ok(encoded) => rows.push(encoded),
                Err(why) => outcomes.fail(|| KeyCodec::Typed.show(row.key), why),
            }
        }
        self.write_rows(&mut rows, outcomes)
    }

    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        if self.removed.is_none() {
            self.removed = Some(self.walk()?);
        }
        let mut places = Vec::new();
        if let Some(walk) = &mut self.removed {
            for row in rows {
                if let Some(found) = walk.find(&row.key)? {
                    places.push(format!("\"({},{})\"", found.place >> 16, found.place & 0xffff));
                }
            }
        }
        let sql = format!(
            "DELETE FROM ONLY {} WHERE ctid = ANY ('{{{}}}'::pg_catalog.tid[])",
            self.plan.table.sql(self.plan.ascii),
            places.join(",")
        );
        outcomes.removed += self.client.execute(&sql, &[]).map_err(|error| self.fail(&error))?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), ConnectorError> {
        if self.has_savepoint {
            self.client.batch_execute("RELEASE SAVEPOINT rekeep_rows").map_err(|error| self.fail(&error))?;
        }
        if self.path.is_some() {
            self.client.batch_execute(&paths::set(None, true)).map_err(|error| self.fail(&error))?;
        }
        Ok(())
    }

    /// What was in the way of some may be gone now.
    fn settle(&mut self, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        self.waiting_bytes = 0;
        loop {
            let waiting = std::mem::take(&mut self.waiting);
            if waiting.is_empty() {
                return Ok(());
            }
            let before = waiting.len();
            let mut together = waiting;
            // Together, for what stands in the way may be the old row of another one that waits.
            match self.put(&mut together)? {
                Ok(done) => {
                    outcomes.inserted += done.inserted;
                    outcomes.replaced += done.replaced;
                    outcomes.existed += done.existed;
                    return Ok(());
                }
                Err(_) => {
                    for mut one in together {
                        self.write_rows(std::slice::from_mut(&mut one), outcomes)?;
                    }
                }
            }
            if self.waiting.len() == before {
                for one in std::mem::take(&mut self.waiting) {
                    outcomes.fail(
                        || KeyCodec::Typed.show(&one.key),
                        "another row holds a value that is to be unique".to_owned(),
                    );
                }
                return Ok(());
            }
        }
    }
}
