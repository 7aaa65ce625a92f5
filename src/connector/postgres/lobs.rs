//! Large objects being written.

use super::{
    client::{Client, Facts, Server},
    error::{said, writing},
    names::ident,
    objects::ObjectStream,
    shared::Shared,
};
use crate::{
    connector::{CollectionTarget, ConnectorError, Outcomes, Overwrite, Removal, Written},
    record::{KeyCodec, KeyPart, KeyRange, RecordBatch, RecordStream, Tag},
};
use std::{collections::HashSet, io::Read};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 1 << 20;

/// Writes large objects by their numbers.
pub(super) struct ObjectWriter<'a> {
    client: &'a mut Client,
    server: Server,
    facts: Facts,
    overwrite: Overwrite,
    present: HashSet<u32>,
}

fn number(key: &[u8]) -> Option<u32> {
    match KeyCodec::Typed.decode(key)?.as_slice() {
        [KeyPart::Int(number)] => u32::try_from(*number).ok(),
        _ => None,
    }
}

impl<'a> ObjectWriter<'a> {
    pub(super) fn new(
        client: &'a mut Client,
        server: Server,
        facts: Facts,
        overwrite: Overwrite,
    ) -> Result<Self, ConnectorError> {
        let rows = client.query("SELECT oid FROM pg_largeobject_metadata", &[]);
        let rows = rows.map_err(|error| writing("large objects", &error))?;
        Ok(Self { client, server, facts, overwrite, present: rows.iter().map(|row| row.get(0)).collect() })
    }

    fn write_one(&mut self, oid: u32, cells: &[(Tag, Vec<u8>)], content: &mut dyn Read) -> Result<Vec<String>, String> {
        let text = |error: postgres::Error| said(&error);
        if self.present.contains(&oid) {
            self.client.execute("SELECT lo_unlink($1)", &[&oid]).map_err(text)?;
        }
        self.client.execute("SELECT lo_create($1)", &[&oid]).map_err(text)?;
        let mut at: i64 = 0;
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            content.take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(|error| error.to_string())?;
            if piece.is_empty() {
                break;
            }
            self.client.execute("SELECT lo_put($1, $2, $3)", &[&oid, &at, &piece]).map_err(text)?;
            at += piece.len() as i64;
        }
        let mut notes = Vec::new();
        let as_text =
            |at: usize| cells.get(at).filter(|cell| cell.0 == Tag::STRING).map(|cell| String::from_utf8_lossy(&cell.1));
        let owner = as_text(1).map(|owner| format!("ALTER LARGE OBJECT {oid} OWNER TO {}", ident(&owner, true)));
        let rights = as_text(0).map(|acl| self.grants(oid, &acl));
        let rights = match rights.transpose() {
            Ok(rights) => rights.unwrap_or_default(),
            Err(why) => {
                notes.push(format!("large object {oid}: its rights could not be set: {why}"));
                Vec::new()
            }
        };
        for sql in owner.into_iter().chain(rights) {
            if let Err(why) = self.attempt(&sql)? {
                notes.push(format!("large object {oid}: {sql}: {why}"));
            }
        }
        Ok(notes)
    }

    fn attempt(&mut self, sql: &str) -> Result<Result<(), String>, String> {
        self.client.batch_execute("SAVEPOINT rekeep_right").map_err(|error| said(&error))?;
        let done = self.client.batch_execute(sql).map_err(|error| said(&error));
        let after = if done.is_ok() { "RELEASE SAVEPOINT rekeep_right" } else { "ROLLBACK TO SAVEPOINT rekeep_right" };
        self.client.batch_execute(after).map_err(|error| said(&error))?;
        Ok(done)
    }

    /// The statements that give the rights of a list as the catalog writes it.
    fn grants(&mut self, oid: u32, acl: &str) -> Result<Vec<String>, String> {
        self.client.batch_execute("SAVEPOINT rekeep_right").map_err(|error| said(&error))?;
        let sql = "SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee)::text END, a.privilege_type, a.is_grantable \
                   FROM aclexplode($1::text::aclitem[]) a";
        let rows = match self.client.query(sql, &[&acl]) {
            Ok(rows) => rows,
            Err(error) => {
                let why = said(&error);
                self.client.batch_execute("ROLLBACK TO SAVEPOINT rekeep_right").map_err(|error| said(&error))?;
                return Err(why);
            }
        };
        self.client.batch_execute("RELEASE SAVEPOINT rekeep_right").map_err(|error| said(&error))?;
        let grant = |row: &postgres::Row| {
            let to = row.get::<_, Option<String>>(0).map_or_else(|| "PUBLIC".to_owned(), |role| ident(&role, true));
            let option = if row.get(2) { " WITH GRANT OPTION" } else { "" };
            format!("GRANT {} ON LARGE OBJECT {oid} TO {to}{option}", row.get::<_, String>(1))
        };
        Ok(rows.iter().map(grant).collect())
    }
}

impl CollectionTarget for ObjectWriter<'_> {
    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        if self.present.is_empty() {
            return Ok(None);
        }
        let shared = Shared::new(self.server.clone(), self.facts.clone(), None, std::env::temp_dir(), 0)?;
        Ok(Some(Box::new(ObjectStream::new(shared, range))))
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        for index in 0..batch.len() {
            let stream = batch.row(index).stream.and_then(|number| batch.take_stream(number));
            let row = batch.row(index);
            let key = row.key.to_vec();
            let shown = || KeyCodec::Typed.show(&key);
            let Some(oid) = number(&key) else {
                outcomes.fail(shown, "this is no key of a large object".to_owned());
                continue;
            };
            let is_present = self.present.contains(&oid);
            if is_present && self.overwrite == Overwrite::Never {
                outcomes.count(Written::Existed);
                continue;
            }
            let cells: Vec<(Tag, Vec<u8>)> =
                row.shape.cells(row.value).flatten().map(|cell| (cell.tag, cell.bytes.to_vec())).collect();
            self.client.batch_execute("SAVEPOINT rekeep_object").map_err(|error| writing("large objects", &error))?;
            let written = if let Some(mut stream) = stream {
                match stream.open() {
                    Ok(mut content) => self.write_one(oid, &cells, content.as_mut()),
                    Err(error) => Err(error.to_string()),
                }
            } else {
                let content = cells.last().map(|cell| cell.1.clone()).unwrap_or_default();
                self.write_one(oid, &cells, &mut content.as_slice())
            };
            let after = match written {
                Ok(notes) => {
                    outcomes.notes.extend(notes);
                    outcomes.count(if is_present { Written::Replaced } else { Written::Inserted });
                    "RELEASE SAVEPOINT rekeep_object"
                }
                Err(why) => {
                    outcomes.fail(shown, why);
                    "ROLLBACK TO SAVEPOINT rekeep_object"
                }
            };
            self.client.batch_execute(after).map_err(|error| writing("large objects", &error))?;
        }
        Ok(())
    }

    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        for row in rows {
            let Some(oid) = number(&row.key) else { continue };
            self.client.execute("SELECT lo_unlink($1)", &[&oid]).map_err(|error| writing("large objects", &error))?;
            outcomes.removed += 1;
        }
        Ok(())
    }
}
