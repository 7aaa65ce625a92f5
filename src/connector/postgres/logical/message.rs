//! The messages of `pgoutput`, protocol version 1: what a publication's changes are told by.

use crate::connector::postgres::log::Lsn;

/// Microseconds from 1970-01-01 to 2000-01-01, from which the server counts.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction's changes follow.
    Begin {
        /// Where its commit lies.
        commit: Lsn,
        /// When it was committed: milliseconds since 1970.
        millis: i64,
        /// The transaction.
        xid: u32,
    },
    /// That was all of them.
    Commit {
        /// Behind its commit.
        end: Lsn,
    },
    /// What a table is like whose changes follow.
    Relation(Relation<'a>),
    /// A new row.
    Insert {
        /// The table.
        table: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// A row that became another.
    Update {
        /// The table.
        table: u32,
        /// What is told of the row before: all of it, or its identity; nothing where that stayed.
        old: Option<Old<'a>>,
        /// The row.
        new: Tuple<'a>,
    },
    /// A row that is gone.
    Delete {
        /// The table.
        table: u32,
        /// What is told of it.
        old: Old<'a>,
    },
    /// Tables of which all rows are gone.
    Truncate {
        /// The tables.
        tables: Vec<u32>,
    },
    /// What says nothing of rows: origins, names of types, words of applications.
    Other,
}

/// A table as the stream describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Its number.
    pub oid: u32,
    /// Its schema; empty for `pg_catalog`.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The columns that are told of.
    pub columns: Vec<RelationColumn<'a>>,
}

/// A column of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Whether it is of the table's identity.
    pub is_identity: bool,
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_oid: u32,
    /// What its type is modified by.
    pub modifier: i32,
}

/// A row before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old<'a> {
    /// Whether it is the whole row, and not its identity alone.
    pub is_whole: bool,
    /// Its fields; those that are not told are NULL.
    pub row: Tuple<'a>,
}

/// The fields of a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tuple<'a>(pub Vec<Field<'a>>);

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// NULL.
    Null,
    /// A large value that stayed as it was, and is not told.
    Unchanged,
    /// The text form.
    Text(&'a [u8]),
    /// The binary form.
    Binary(&'a [u8]),
}

struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn short(&mut self) -> Option<usize> {
        usize::try_from(i16::from_be_bytes(self.array()?)).ok()
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.array()?))
    }

    fn long(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.array()?))
    }

    fn lsn(&mut self) -> Option<Lsn> {
        Some(Lsn(self.long()?.cast_unsigned()))
    }

    fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(self.bytes(end)?).ok()?;
        self.byte()?;
        Some(text)
    }

    fn tuple(&mut self) -> Option<Tuple<'a>> {
        let count = self.short()?;
        // Each field takes a byte at least: no more is reserved than what came justifies.
        let mut fields = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            fields.push(match self.byte()? {
                b'n' => Field::Null,
                b'u' => Field::Unchanged,
                kind @ (b't' | b'b') => {
                    let len = usize::try_from(self.word()?.cast_signed()).ok()?;
                    let bytes = self.bytes(len)?;
                    if kind == b't' { Field::Text(bytes) } else { Field::Binary(bytes) }
                }
                _ => return None,
            });
        }
        Some(Tuple(fields))
    }

    fn old(&mut self, kind: u8) -> Option<Old<'a>> {
        let is_whole = match kind {
            b'O' => true,
            b'K' => false,
            _ => return None,
        };
        Some(Old { is_whole, row: self.tuple()? })
    }

    fn relation(&mut self) -> Option<Relation<'a>> {
        let (oid, schema, name) = (self.word()?, self.text()?, self.text()?);
        // Which identity it is: columns say whether they are of it.
        self.byte()?;
        let count = self.short()?;
        let mut columns = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            let is_identity = self.byte()? & 1 != 0;
            let (name, type_oid, modifier) = (self.text()?, self.word()?, self.word()?.cast_signed());
            columns.push(RelationColumn { is_identity, name, type_oid, modifier });
        }
        Some(Relation { oid, schema, name, columns })
    }

    fn message(&mut self) -> Option<Message<'a>> {
        Some(match self.byte()? {
            b'B' => {
                let (commit, micros, xid) = (self.lsn()?, self.long()?, self.word()?);
                let millis = micros.checked_add(EPOCH_MICROS)?.div_euclid(1000);
                Message::Begin { commit, millis, xid }
            }
            b'C' => {
                let (_, _, end, _) = (self.byte()?, self.lsn()?, self.lsn()?, self.long()?);
                Message::Commit { end }
            }
            b'R' => Message::Relation(self.relation()?),
            b'I' => {
                let table = self.word()?;
                let (b'N', new) = (self.byte()?, self.tuple()?) else { return None };
                Message::Insert { table, new }
            }
            b'U' => {
                let table = self.word()?;
                let mut kind = self.byte()?;
                let mut old = None;
                if kind != b'N' {
                    old = Some(self.old(kind)?);
                    kind = self.byte()?;
                }
                let (b'N', new) = (kind, self.tuple()?) else { return None };
                Message::Update { table, old, new }
            }
            b'D' => {
                let (table, kind) = (self.word()?, self.byte()?);
                Message::Delete { table, old: self.old(kind)? }
            }
            b'T' => {
                let (count, _) = (self.word()? as usize, self.byte()?);
                if count.checked_mul(4)? != self.0.len() {
                    return None;
                }
                let tables = (0..count).map(|_| self.word()).collect::<Option<_>>()?;
                Message::Truncate { tables }
            }
            b'O' | b'Y' | b'M' => {
                self.0 = &[];
                Message::Other
            }
            _ => return None,
        })
    }
}

/// Reads a message; `None` if the bytes are none, or of a kind that was not asked for.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Message<'_>> {
    let mut take = Take(bytes);
    let message = take.message()?;
    take.0.is_empty().then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    #[test]
    fn a_row_before_and_after_is_read_with_what_is_not_told_of_it() {
        let tuple = [&[0, 4, b'n', b'u', b't'][..], &word(1), b"x", b"b", &word(2), b"\0\x07"].concat();
        let update = [&b"U"[..], &word(9), b"K", &tuple, b"N", &tuple].concat();
        let row = Tuple(vec![Field::Null, Field::Unchanged, Field::Text(b"x"), Field::Binary(b"\0\x07")]);
        let old = Some(Old { is_whole: false, row: row.clone() });
        assert_eq!(parse(&update), Some(Message::Update { table: 9, old, new: row }));
        for cut in 0..update.len() {
            assert_eq!(parse(&update[..cut]), None, "{cut}");
        }
        assert_eq!(parse(&[&update[..], b"x"].concat()), None);
    }

    #[test]
    fn times_are_those_of_1970_and_rounded_down() {
        let begin = |micros: i64| [&b"B"[..], &7_u64.to_be_bytes(), &micros.to_be_bytes(), &word(3)].concat();
        let read = |micros| match parse(&begin(micros)) {
            Some(Message::Begin { commit: Lsn(7), millis, xid: 3 }) => Some(millis),
            _ => None,
        };
        assert_eq!(read(1999), Some(946_684_800_001));
        assert_eq!(read(-1), Some(946_684_799_999));
        assert_eq!(read(i64::MAX), None);
    }

    #[test]
    fn tables_are_described_and_emptied() {
        let column = [&b"\x01id\0"[..], &word(23), &word(u32::MAX)].concat();
        let relation = [&b"R"[..], &word(5), b"public\0t\0d\0\x01", &column].concat();
        let columns = vec![RelationColumn { is_identity: true, name: "id", type_oid: 23, modifier: -1 }];
        assert_eq!(
            parse(&relation),
            Some(Message::Relation(Relation { oid: 5, schema: "public", name: "t", columns }))
        );
        let truncate = |count: u32| [&b"T"[..], &word(count), &[0], &word(5), &word(6)].concat();
        assert_eq!(parse(&truncate(2)), Some(Message::Truncate { tables: vec![5, 6] }));
        assert_eq!(parse(&truncate(u32::MAX)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_taken_or_refused(
            kind in prop::sample::select(b"BCRIUDTOYMS".as_slice()),
            rest in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = parse(&[&[kind][..], &rest].concat());
        }
    }
}
