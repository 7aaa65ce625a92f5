//! Large objects as records.

use super::{
    catalog::UNREADABLE,
    error,
    plan::put_part,
    shared::{Lent, Shared},
};
use crate::{
    connector::ConnectorError,
    record::{KeyPart, KeyRange, Meta, RecordBatch, RecordStream, RowHead, Shape, StreamError, StreamedValue, Tag},
};
use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::Arc,
};

/// Bytes that are fetched at once; a larger object is streamed.
const PIECE_BYTES: i32 = 4 << 20;

const BATCH_BYTES: usize = 1 << 20;

/// Objects that are listed at once.
const LISTED: i64 = 10_000;

/// The cells of a large object; the content is the last.
pub(super) fn shape() -> Arc<Shape> {
    Arc::new(Shape::new([&b"acl"[..], b"owner", b"value"].map(<[u8]>::to_vec).to_vec()))
}

/// An object's key.
pub(super) fn key(oid: u32) -> Vec<u8> {
    let mut key = Vec::new();
    put_part(&KeyPart::Int(i64::from(oid)), &mut key);
    key
}

struct Listed {
    oid: u32,
    owner: String,
    acl: Option<String>,
    may_read: bool,
}

/// Objects behind one, with their owners and rights, and whether this user may read them: the server has no function that says it.
const LIST: &str = "SELECT o.oid, pg_get_userbyid(o.lomowner)::text, o.lomacl::text, \
    current_setting('lo_compat_privileges')::bool OR coalesce((SELECT u.rolsuper FROM pg_roles u WHERE u.rolname = current_user), false) \
    OR EXISTS (SELECT 1 FROM aclexplode(coalesce(o.lomacl, acldefault('L', o.lomowner))) a \
        WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))) \
    FROM pg_largeobject_metadata o WHERE o.oid::int8 > $1 ORDER BY o.oid LIMIT $2";

/// The large objects of a range.
pub(super) struct ObjectStream {
    shared: Arc<Shared>,
    shape: Arc<Shape>,
    range: KeyRange,
    behind: i64,
    listed: std::vec::IntoIter<Listed>,
    ended: bool,
    /// Objects that may not be read: what the parent holds of them stands.
    unread: VecDeque<KeyRange>,
}

impl ObjectStream {
    pub(super) fn new(shared: Arc<Shared>, range: &KeyRange) -> Self {
        Self {
            shared,
            shape: shape(),
            range: range.clone(),
            behind: -1,
            listed: Vec::new().into_iter(),
            ended: false,
            unread: VecDeque::new(),
        }
    }

    fn list(&mut self) -> Result<(), ConnectorError> {
        let mut client = self.shared.beside()?;
        let rows =
            client.query(LIST, &[&self.behind, &LISTED]).map_err(|error| error::reading("large objects", &error))?;
        self.ended = (rows.len() as i64) < LISTED;
        let listed: Vec<Listed> = rows
            .iter()
            .map(|row| Listed { oid: row.get(0), owner: row.get(1), acl: row.get(2), may_read: row.get(3) })
            .collect();
        self.behind = listed.last().map_or(self.behind, |last| i64::from(last.oid));
        self.listed = listed.into_iter();
        Ok(())
    }
}

fn piece(client: &mut Lent<'_>, oid: u32, at: i64) -> Result<Vec<u8>, ConnectorError> {
    let object = format!("large object {oid}");
    let row = client.query_one("SELECT lo_get($1, $2, $3)", &[&oid, &at, &PIECE_BYTES]);
    row.and_then(|row| row.try_get(0)).map_err(|error| error::reading(&object, &error))
}

impl RecordStream for ObjectStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while batch.bytes() < BATCH_BYTES {
            let Some(one) = self.listed.next() else {
                if self.ended {
                    break;
                }
                self.list()?;
                continue;
            };
            let key = key(one.oid);
            if !self.range.contains(&key) {
                continue;
            }
            if !one.may_read {
                self.shared.name_unusable(format!("large object {}: {UNREADABLE}", one.oid));
                self.unread.push_back(KeyRange::only(&key));
                continue;
            }
            let head = RowHead { key: &key, meta: Meta::default() };
            let first = piece(&mut self.shared.beside()?, one.oid, 0)?;
            let acl = |out: &mut crate::record::CellWriter<'_>| {
                match &one.acl {
                    Some(acl) => out.cell(Tag::STRING, acl.as_bytes()),
                    None => out.cell(Tag::NULL, b""),
                }
                out.cell(Tag::STRING, one.owner.as_bytes());
            };
            if first.len() < PIECE_BYTES as usize {
                batch.push(head, &self.shape, |out| {
                    acl(out);
                    out.cell(Tag::BLOB, &first);
                });
            } else {
                let stream = Content { shared: Arc::clone(&self.shared), oid: one.oid };
                batch.push_streamed(head, &self.shape, Tag::BLOB, Box::new(stream), acl);
            }
        }
        Ok(!batch.is_empty())
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.unread.pop_front()
    }
}

/// An object's content, to be streamed.
struct Content {
    shared: Arc<Shared>,
    oid: u32,
}

impl StreamedValue for Content {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        let client = self.shared.beside().map_err(io::Error::other)?;
        Ok(Box::new(ContentReader { client, oid: self.oid, at: 0, piece: Vec::new(), taken: 0, ended: false }))
    }
}

struct ContentReader<'a> {
    client: Lent<'a>,
    oid: u32,
    at: i64,
    piece: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Read for ContentReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            self.piece = piece(&mut self.client, self.oid, self.at).map_err(io::Error::other)?;
            self.taken = 0;
            self.at += self.piece.len() as i64;
            self.ended = self.piece.len() < PIECE_BYTES as usize;
        }
        let len = out.len().min(self.piece.len() - self.taken);
        out[..len].copy_from_slice(&self.piece[self.taken..self.taken + len]);
        self.taken += len;
        Ok(len)
    }
}
