//! Tree and record to value.

use std::cmp::Ordering;

use super::{Arithmetic, Comparison, Meta, Node, Val};
use crate::clock::EPOCH_UNIX_SECONDS;
use crate::codes::particle;
use crate::msgpack;
use crate::record::{Digest, Record};
use crate::store::Namespace;

/// What an expression is evaluated on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its digest.
    pub digest: Digest,
    /// The namespace it is in.
    pub namespace: &'a Namespace,
    /// Now by the node's clock, in milliseconds since 2010.
    pub now_ms: i64,
}

impl Val {
    pub(super) fn into_particle(self) -> Option<(u8, Vec<u8>)> {
        Some(match self {
            Self::Unknown | Self::Nil => return None,
            Self::Bool(b) => (particle::BOOL, vec![u8::from(b)]),
            Self::Int(n) => (particle::INTEGER, n.to_be_bytes().to_vec()),
            Self::Float(f) => (particle::FLOAT, f.to_bits().to_be_bytes().to_vec()),
            Self::Bytes(kind, bytes) => (kind, bytes),
        })
    }

    fn of_particle(kind: u8, value: &[u8]) -> Self {
        match (kind, <[u8; 8]>::try_from(value)) {
            (particle::INTEGER, Ok(bytes)) => Self::Int(i64::from_be_bytes(bytes)),
            (particle::FLOAT, Ok(bytes)) => Self::Float(f64::from_be_bytes(bytes)),
            (particle::BOOL, _) => Self::Bool(value == [1]),
            _ => Self::Bytes(kind, value.to_vec()),
        }
    }
}

/// The particle type behind a type number of expressions.
fn particle_of_type(kind: i64) -> Option<u8> {
    Some(match kind {
        1 => particle::BOOL,
        2 => particle::INTEGER,
        3 => particle::STRING,
        4 => particle::LIST,
        5 => particle::MAP,
        6 => particle::BLOB,
        7 => particle::FLOAT,
        8 => particle::GEOJSON,
        9 => particle::HLL,
        _ => return None,
    })
}

pub(super) fn eval(node: &Node, context: &Context<'_>, depth: u8) -> Val {
    let below = |node: &Node| eval(node, context, depth.saturating_add(1));
    match node {
        Node::Literal(value) => value.clone(),
        Node::Compare(kind, sides) => compare(*kind, &below(&sides[0]), &below(&sides[1])),
        Node::And(nodes) => settle(nodes.iter().map(below), false),
        Node::Or(nodes) => settle(nodes.iter().map(below), true),
        Node::Not(node) => match below(node) {
            Val::Bool(b) => Val::Bool(!b),
            _ => Val::Unknown,
        },
        Node::Exclusive(nodes) => exclusive(nodes.iter().map(below)),
        Node::Arithmetic(kind, nodes) => arithmetic(*kind, nodes.iter().map(below)),
        Node::Meta(kind) => meta(*kind, context),
        Node::DigestModulo(m) => {
            let tail = context.digest.last_chunk::<4>().map_or(0, |tail| u32::from_le_bytes(*tail));
            Val::Int(i64::from(tail % m))
        }
        Node::Key(kind) => match context.record.key.as_deref() {
            Some([have, rest @ ..]) if particle_of_type(*kind) == Some(*have) => Val::of_particle(*have, rest),
            _ => Val::Unknown,
        },
        Node::Bin(kind, name) => match context.record.bin(name) {
            Some((have, value)) if particle_of_type(*kind) == Some(have) => Val::of_particle(have, value),
            _ => Val::Unknown,
        },
        Node::BinType(name) => Val::Int(context.record.bin(name).map_or(0, |(kind, _)| i64::from(kind))),
        Node::Cond(nodes) => cond(nodes, below),
    }
}

fn cond(nodes: &[Node], below: impl Fn(&Node) -> Val) -> Val {
    for branch in nodes.chunks(2) {
        match branch {
            [condition, value] => match below(condition) {
                Val::Bool(true) => return below(value),
                Val::Bool(false) => {}
                _ => return Val::Unknown,
            },
            [other] => return below(other),
            _ => {}
        }
    }
    Val::Unknown
}

/// And (`decisive` false) and or (`decisive` true): one decisive value decides, else one unknown makes it unknown.
fn settle(values: impl Iterator<Item = Val>, decisive: bool) -> Val {
    let mut unknown = false;
    for value in values {
        match value {
            Val::Bool(b) if b == decisive => return Val::Bool(decisive),
            Val::Bool(_) => {}
            _ => unknown = true,
        }
    }
    if unknown { Val::Unknown } else { Val::Bool(!decisive) }
}

fn exclusive(values: impl Iterator<Item = Val>) -> Val {
    let mut trues = 0;
    for value in values {
        match value {
            Val::Bool(b) => trues += u32::from(b),
            _ => return Val::Unknown,
        }
    }
    Val::Bool(trues == 1)
}

fn compare(kind: Comparison, left: &Val, right: &Val) -> Val {
    let order = match (left, right) {
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Float(a), Val::Float(b)) => match a.partial_cmp(b) {
            Some(order) => Some(order),
            None => return Val::Bool(kind == Comparison::Ne),
        },
        (Val::Nil, Val::Nil) => Some(Ordering::Equal),
        (Val::Bytes(a, x), Val::Bytes(b, y)) if a == b => match *a {
            particle::LIST | particle::MAP => msgpack::compare(x, y).ok(),
            _ => Some(x.cmp(y)),
        },
        _ => None,
    };
    let Some(order) = order else { return Val::Unknown };
    Val::Bool(match kind {
        Comparison::Eq => order.is_eq(),
        Comparison::Ne => order.is_ne(),
        Comparison::Gt => order.is_gt(),
        Comparison::Ge => order.is_ge(),
        Comparison::Lt => order.is_lt(),
        Comparison::Le => order.is_le(),
    })
}

fn arithmetic(kind: Arithmetic, values: impl Iterator<Item = Val>) -> Val {
    let mut result: Option<Val> = None;
    for value in values {
        result = Some(match (result, value) {
            (None, first @ (Val::Int(_) | Val::Float(_))) => first,
            (Some(Val::Int(a)), Val::Int(b)) => match integers(kind, a, b) {
                Some(n) => Val::Int(n),
                None => return Val::Unknown,
            },
            (Some(Val::Float(a)), Val::Float(b)) => Val::Float(floats(kind, a, b)),
            _ => return Val::Unknown,
        });
    }
    result.unwrap_or(Val::Unknown)
}

fn integers(kind: Arithmetic, a: i64, b: i64) -> Option<i64> {
    Some(match kind {
        Arithmetic::Add => a.wrapping_add(b),
        Arithmetic::Sub => a.wrapping_sub(b),
        Arithmetic::Mul => a.wrapping_mul(b),
        Arithmetic::Div => a.checked_div(b)?,
        Arithmetic::Min => a.min(b),
        Arithmetic::Max => a.max(b),
    })
}

fn floats(kind: Arithmetic, a: f64, b: f64) -> f64 {
    match kind {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
        Arithmetic::Div => a / b,
        Arithmetic::Min => a.min(b),
        Arithmetic::Max => a.max(b),
    }
}

fn meta(kind: Meta, context: &Context<'_>) -> Val {
    let record = context.record;
    let set = context.namespace.set_name(record.set_id);
    let void_time = i64::from(record.void_time);
    match kind {
        Meta::Size => Val::Int(record.stored_bytes(set.len()) as i64),
        Meta::LastUpdate => Val::Int(record.lut_unix_ns()),
        Meta::SinceUpdate => Val::Int(context.now_ms.saturating_sub(record.lut_ms as i64)),
        Meta::VoidTime | Meta::Ttl if void_time == 0 => Val::Int(-1),
        Meta::VoidTime => Val::Int((void_time + EPOCH_UNIX_SECONDS) * 1_000_000_000),
        Meta::Ttl => Val::Int(void_time - context.now_ms.div_euclid(1000)),
        Meta::SetName => Val::Bytes(particle::STRING, set.to_vec()),
        Meta::KeyExists => Val::Bool(record.key.is_some()),
        Meta::IsTombstone => Val::Bool(false),
        Meta::MemorySize => Val::Int(0),
    }
}
