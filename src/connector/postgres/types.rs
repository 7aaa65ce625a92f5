//! What the binary forms of values are made of, and whether they mean the same in another database.

use super::{client::Client, error};
use crate::connector::ConnectorError;
use std::collections::{HashMap, HashSet};

/// Numbers of the catalog below this are the same in every database.
pub(super) const FIRST_OWN: u32 = 16_384;

/// Types whose values are numbers of the catalog, and `xml`, whose binary form is not the text that is stored.
const AS_TEXT: [u32; 12] = [24, 142, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191];

/// `tsquery`: the server does not read the binary form that it writes of an empty one.
const TSQUERY: u32 = 3615;

/// As SQL writes that type, and the binary form of its empty value.
pub(super) const TSQUERY_TEXT: &str = "tsquery";
pub(super) const EMPTY_TSQUERY: [u8; 4] = [0; 4];

/// `record`, `anyarray`, `anyenum`, `anyrange`, `anymultirange`.
const ANY: [u32; 5] = [2249, 2277, 3500, 3831, 4537];

const DEEPEST: usize = 64;

/// How a column's values become cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    /// A signed integer of so many bytes.
    Int(u8),
    Oid,
    Float4,
    Float8,
    /// Text in the database's encoding.
    Text,
    Jsonb,
    /// The binary form; with what is in it, if numbers of the catalog are.
    Binary(Option<Tree>),
    /// The text form of a type that has no binary form that could be kept.
    Cast,
}

/// What makes up a binary form in which there are numbers of types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    Plain,
    Array(Box<Tree>),
    Composite(Vec<Tree>),
    Range(Box<Tree>),
    Multirange(Box<Tree>),
}

/// One type as the catalog describes it.
#[derive(Debug, Clone)]
struct Type {
    kind: char,
    element: u32,
    base: u32,
    relation: u32,
    /// The function that gives its binary form, in SQL.
    send: Option<String>,
    /// The type that this function is declared for.
    sent: u32,
    subtype: u32,
}

/// The types of a database.
#[derive(Debug)]
#[allow(clippy::struct_field_names, reason = "types are what it holds")]
pub(super) struct Types {
    known: HashMap<u32, Type>,
    /// Those that a user's cast makes of text.
    cast: HashSet<u32>,
    fields: HashMap<u32, Vec<u32>>,
}

impl Types {
    pub(super) fn read(client: &mut Client, object: &str) -> Result<Self, ConnectorError> {
        let fail = |error: postgres::Error| error::reading(object, &error);
        let sql = "SELECT t.oid, t.typtype, CASE WHEN t.typsubscript = 'pg_catalog.array_subscript_handler'::regproc THEN t.typelem ELSE 0::oid END, \
                   t.typbasetype, t.typrelid, CASE WHEN t.typsend <> 0 AND t.typreceive <> 0 THEN t.typsend::regproc::text END, \
                   coalesce(r.rngsubtype, m.rngtypid, 0::oid), \
                   coalesce((SELECT p.proargtypes[0] FROM pg_catalog.pg_proc p WHERE p.oid = t.typsend), 0::oid) \
                   FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid \
                   LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid";
        let mut types = HashMap::new();
        for row in client.query(sql, &[]).map_err(fail)? {
            let one = Type {
                kind: char::from(row.get::<_, i8>(1).cast_unsigned()),
                element: row.get(2),
                base: row.get(3),
                relation: row.get(4),
                send: row.get(5),
                subtype: row.get(6),
                sent: row.get(7),
            };
            types.insert(row.get(0), one);
        }
        let sql = "SELECT c.oid, a.atttypid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
                   WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY c.oid, a.attnum";
        let mut fields: HashMap<u32, Vec<u32>> = HashMap::new();
        for row in client.query(sql, &[]).map_err(fail)? {
            fields.entry(row.get(0)).or_default().push(row.get(1));
        }
        let sql = format!("SELECT casttarget FROM pg_catalog.pg_cast WHERE castsource = 25 AND oid >= {FIRST_OWN}");
        let cast = client.query(&sql, &[]).map_err(fail)?.iter().map(|row| row.get(0)).collect();
        Ok(Self { known: types, cast, fields })
    }

    /// The type beneath domains.
    pub(super) fn base(&self, mut oid: u32) -> u32 {
        for _ in 0..DEEPEST {
            match self.known.get(&oid) {
                Some(found) if found.kind == 'd' => oid = found.base,
                _ => break,
            }
        }
        oid
    }

    /// The function that gives a value's binary form, if it can be called with one: `refcursor` has that of `text`, as types of users
    /// may have, and nothing makes one the other where functions are called.
    pub(super) fn send_function(&self, oid: u32) -> Option<&str> {
        let base = self.base(oid);
        let found = self.known.get(&base)?;
        found.send.as_deref().filter(|_| found.sent == base || ANY.contains(&found.sent))
    }

    /// Whether a user's cast makes a type of text.
    pub(super) fn has_cast(&self, base: u32) -> bool {
        self.cast.contains(&base)
    }

    /// How values of a type become cells.
    pub(super) fn form(&self, oid: u32) -> Form {
        if oid == TSQUERY {
            return Form::Cast;
        }
        let base = self.base(oid);
        match base {
            16 => return Form::Bool,
            20 => return Form::Int(8),
            21 => return Form::Int(2),
            23 => return Form::Int(4),
            26 => return Form::Oid,
            700 => return Form::Float4,
            701 => return Form::Float8,
            19 | 25 | 114 | 1042 | 1043 => return Form::Text,
            3802 => return Form::Jsonb,
            _ => {}
        }
        if self.known.get(&base).is_some_and(|found| found.kind == 'e') {
            return Form::Text;
        }
        match self.tree(base, 0) {
            None => Form::Cast,
            Some((_, false)) => Form::Binary(None),
            Some((tree, true)) => Form::Binary(Some(tree)),
        }
    }

    /// What a type's binary form is made of, and whether numbers of own types are in it; `None` if it has none to be kept.
    fn tree(&self, oid: u32, depth: usize) -> Option<(Tree, bool)> {
        if depth > DEEPEST {
            return None;
        }
        let base = self.base(oid);
        if AS_TEXT.contains(&base) {
            return None;
        }
        let found = self.known.get(&base)?;
        found.send.as_ref()?;
        let inner = |oid: u32| self.tree(oid, depth + 1);
        match found.kind {
            'c' => {
                let (mut trees, mut own) = (Vec::new(), false);
                for &field in self.fields.get(&found.relation).map_or(&[][..], Vec::as_slice) {
                    let (tree, has) = inner(field)?;
                    own |= has || field >= FIRST_OWN;
                    trees.push(tree);
                }
                Some((Tree::Composite(trees), own))
            }
            'r' => inner(found.subtype).map(|(tree, own)| (Tree::Range(Box::new(tree)), own)),
            'm' => inner(found.subtype).map(|(tree, own)| (Tree::Multirange(Box::new(tree)), own)),
            _ if found.element != 0 => {
                let (tree, own) = inner(found.element)?;
                Some((Tree::Array(Box::new(tree)), own || found.element >= FIRST_OWN))
            }
            _ => Some((Tree::Plain, false)),
        }
    }
}

impl Tree {
    /// Puts 0 where numbers of own types stand. `None` if the bytes are not such a form; some may be changed then.
    pub(super) fn make_portable(&self, bytes: &mut [u8]) -> Option<()> {
        let mut at = 0;
        self.walk(bytes, &mut at)?;
        (at == bytes.len()).then_some(())
    }

    fn walk(&self, bytes: &mut [u8], at: &mut usize) -> Option<()> {
        match self {
            Self::Plain => *at = bytes.len(),
            Self::Array(element) => {
                let dimensions = take_u32(bytes, at)?;
                take_u32(bytes, at)?;
                zero_own(bytes, at)?;
                if dimensions > 6 {
                    return None;
                }
                let mut count: u64 = u64::from(dimensions > 0);
                for _ in 0..dimensions {
                    count = count.checked_mul(u64::from(take_u32(bytes, at)?))?;
                    take_u32(bytes, at)?;
                }
                for _ in 0..count {
                    element.walk_field(bytes, at)?;
                }
            }
            Self::Composite(fields) => {
                if take_u32(bytes, at)? as usize != fields.len() {
                    return None;
                }
                for field in fields {
                    zero_own(bytes, at)?;
                    field.walk_field(bytes, at)?;
                }
            }
            Self::Range(bound) => {
                let flags = *bytes.get(*at)?;
                *at += 1;
                // Empty; else without a lower, without an upper bound.
                let bounds = if flags & 1 != 0 { 0 } else { u8::from(flags & 8 == 0) + u8::from(flags & 16 == 0) };
                for _ in 0..bounds {
                    bound.walk_field(bytes, at)?;
                }
            }
            Self::Multirange(range) => {
                for _ in 0..take_u32(bytes, at)? {
                    range.walk_field(bytes, at)?;
                }
            }
        }
        Some(())
    }

    fn walk_field(&self, bytes: &mut [u8], at: &mut usize) -> Option<()> {
        let Ok(len) = usize::try_from(take_u32(bytes, at)?.cast_signed()) else { return Some(()) };
        let field = bytes.get_mut(*at..at.checked_add(len)?)?;
        let mut inner = 0;
        self.walk(field, &mut inner)?;
        *at += len;
        (inner == len).then_some(())
    }
}

fn take_u32(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let taken = bytes.get(*at..)?.first_chunk::<4>()?;
    *at += 4;
    Some(u32::from_be_bytes(*taken))
}

fn zero_own(bytes: &mut [u8], at: &mut usize) -> Option<()> {
    let start = *at;
    if take_u32(bytes, at)? >= FIRST_OWN {
        bytes[start..start + 4].fill(0);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    fn words(list: &[u32]) -> Vec<u8> {
        list.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn numbers_of_own_types_become_nothing_and_others_stay() {
        let array =
            |element: u32, body: &[u8]| [words(&[1, 0, element, 2, 1]), field(body), words(&[u32::MAX])].concat();
        let composite = |own: u32, element: u32| {
            [words(&[2, own]), field(&array(element, b"xyz")), words(&[23]), field(b"\0\0\0\x07")].concat()
        };
        let tree = Tree::Array(Box::new(Tree::Composite(vec![Tree::Array(Box::new(Tree::Plain)), Tree::Plain])));
        let mut bytes = array(99_999, &composite(88_888, 77_777));
        assert_eq!(tree.make_portable(&mut bytes), Some(()));
        assert_eq!(bytes, array(0, &composite(0, 0)));
        let mut range = [&[2_u8][..], &field(b"a"), &field(b"b")].concat();
        assert_eq!(Tree::Range(Box::new(Tree::Plain)).make_portable(&mut range), Some(()));
        assert_eq!(
            Tree::Range(Box::new(Tree::Plain)).make_portable(&mut [1_u8, 0]),
            None,
            "an empty range with a bound"
        );
    }

    fn trees() -> impl Strategy<Value = Tree> {
        Just(Tree::Plain).prop_recursive(4, 12, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|tree| Tree::Array(Box::new(tree))),
                inner.clone().prop_map(|tree| Tree::Range(Box::new(tree))),
                inner.clone().prop_map(|tree| Tree::Multirange(Box::new(tree))),
                prop::collection::vec(inner, 0..4).prop_map(Tree::Composite),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_taken_or_refused(tree in trees(), mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = tree.make_portable(&mut bytes);
        }
    }
}
