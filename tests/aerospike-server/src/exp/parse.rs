//! msgpack to tree.

use super::{Arithmetic, Comparison, Meta, Node, Val};
use crate::codes::particle;
use crate::msgpack::{Item, item, value};
use crate::wire::Cursor;

/// Deepest nesting of an expression.
const MAX_DEPTH: u8 = 64;

/// Reads a whole expression with nothing behind it.
pub(super) fn expression(bytes: &[u8]) -> Option<Node> {
    let mut cursor = Cursor::new(bytes);
    let tree = node(&mut cursor, 0)?;
    cursor.rest.is_empty().then_some(tree)
}

fn node(cursor: &mut Cursor<'_>, depth: u8) -> Option<Node> {
    if depth > MAX_DEPTH {
        return None;
    }
    Some(match item(cursor).ok()? {
        Item::Nil => Node::Literal(Val::Nil),
        Item::Bool(b) => Node::Literal(Val::Bool(b)),
        Item::Int(n) => Node::Literal(Val::Int(i64::try_from(n).ok()?)),
        Item::Float(f) => Node::Literal(Val::Float(f)),
        Item::Bytes([kind @ (particle::STRING | particle::BLOB | particle::HLL | particle::GEOJSON), rest @ ..]) => {
            Node::Literal(Val::Bytes(*kind, rest.to_vec()))
        }
        Item::Array(count @ 1..) => operation(cursor, count - 1, depth)?,
        Item::Map(_) | Item::Array(_) | Item::Bytes(_) | Item::Ext(..) => return None,
    })
}

fn operation(cursor: &mut Cursor<'_>, n_args: u32, depth: u8) -> Option<Node> {
    let Item::Int(code) = item(cursor).ok()? else { return None };
    let comparison = |kind, args: Vec<Node>| Some(Node::Compare(kind, Box::new(<[Node; 2]>::try_from(args).ok()?)));
    let meta = |kind| (n_args == 0).then_some(Node::Meta(kind));
    let arithmetic = |kind, args: Vec<Node>| (!args.is_empty()).then_some(Node::Arithmetic(kind, args));
    match code {
        1 => comparison(Comparison::Eq, args(cursor, n_args, depth)?),
        2 => comparison(Comparison::Ne, args(cursor, n_args, depth)?),
        3 => comparison(Comparison::Gt, args(cursor, n_args, depth)?),
        4 => comparison(Comparison::Ge, args(cursor, n_args, depth)?),
        5 => comparison(Comparison::Lt, args(cursor, n_args, depth)?),
        6 => comparison(Comparison::Le, args(cursor, n_args, depth)?),
        16 => Some(Node::And(args(cursor, n_args, depth)?)),
        17 => Some(Node::Or(args(cursor, n_args, depth)?)),
        18 if n_args == 1 => Some(Node::Not(Box::new(node(cursor, depth + 1)?))),
        19 => Some(Node::Exclusive(args(cursor, n_args, depth)?)),
        20 => arithmetic(Arithmetic::Add, args(cursor, n_args, depth)?),
        21 => arithmetic(Arithmetic::Sub, args(cursor, n_args, depth)?),
        22 => arithmetic(Arithmetic::Mul, args(cursor, n_args, depth)?),
        23 => arithmetic(Arithmetic::Div, args(cursor, n_args, depth)?),
        50 => arithmetic(Arithmetic::Min, args(cursor, n_args, depth)?),
        51 => arithmetic(Arithmetic::Max, args(cursor, n_args, depth)?),
        64 if n_args == 1 => Some(Node::DigestModulo(u32::try_from(int(cursor)?).ok().filter(|m| *m > 0)?)),
        65 | 74 => meta(Meta::Size),
        66 => meta(Meta::LastUpdate),
        67 => meta(Meta::SinceUpdate),
        68 => meta(Meta::VoidTime),
        69 => meta(Meta::Ttl),
        70 => meta(Meta::SetName),
        71 => meta(Meta::KeyExists),
        72 => meta(Meta::IsTombstone),
        73 => meta(Meta::MemorySize),
        80 if n_args == 1 => Some(Node::Key(int(cursor)?)),
        81 if n_args == 2 => Some(Node::Bin(int(cursor)?, name(cursor)?)),
        82 if n_args == 1 => Some(Node::BinType(name(cursor)?)),
        123 if n_args % 2 == 1 => Some(Node::Cond(args(cursor, n_args, depth)?)),
        126 if n_args == 1 => {
            let bytes = value(cursor).ok()?;
            matches!(item(&mut Cursor::new(bytes)), Ok(Item::Array(_)))
                .then(|| Node::Literal(Val::Bytes(particle::LIST, bytes.to_vec())))
        }
        _ => None,
    }
}

fn args(cursor: &mut Cursor<'_>, n: u32, depth: u8) -> Option<Vec<Node>> {
    (0..n).map(|_| node(cursor, depth + 1)).collect()
}

fn int(cursor: &mut Cursor<'_>) -> Option<i64> {
    match item(cursor).ok()? {
        Item::Int(n) => i64::try_from(n).ok(),
        _ => None,
    }
}

fn name(cursor: &mut Cursor<'_>) -> Option<Vec<u8>> {
    match item(cursor).ok()? {
        Item::Bytes(name) => Some(name.to_vec()),
        _ => None,
    }
}
