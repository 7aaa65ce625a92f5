//! Expressions: read once into a tree, then evaluated on records with three-valued logic.
//!
//! What backups and their filters use is there. Anything else is refused as a whole with result 4, so that a gap is loud
//! and never a filter that quietly means something else.

mod eval;
mod parse;

pub use eval::Context;

use crate::codes::rc;

/// An expression that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression(Node);

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Result code 4 for what is malformed or not known here.
    pub fn parse(bytes: &[u8]) -> Result<Self, u8> {
        parse::expression(bytes).map(Self).ok_or(rc::PARAMETER)
    }

    /// Whether a record passes: only *true* does, *false* and *unknown* do not.
    pub fn passes(&self, context: &Context<'_>) -> bool {
        eval::eval(&self.0, context, 0) == Val::Bool(true)
    }

    /// The value as a particle; `None` where it is unknown or no particle.
    pub fn particle(&self, context: &Context<'_>) -> Option<(u8, Vec<u8>)> {
        eval::eval(&self.0, context, 0).into_particle()
    }

    /// Whether the record's bins or stored key have to be read for it.
    pub fn reads_device(&self) -> bool {
        self.0.any(&|node| matches!(node, Node::Bin(..) | Node::BinType(_) | Node::Key(_)))
    }
}

/// The value of an expression given as bytes, as a particle.
pub fn particle_of(expression: &[u8], context: &Context<'_>) -> Option<(u8, Vec<u8>)> {
    Expression::parse(expression).ok()?.particle(context)
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Val {
    /// Not known: a bin that is absent or of another type.
    Unknown,
    /// nil.
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string, blob, geometry, HLL, list or map: particle type and bytes.
    Bytes(u8, Vec<u8>),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
}

/// What is known of a record without its bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// Bytes on the device.
    Size,
    /// Last-update-time in nanoseconds since 1970.
    LastUpdate,
    /// Milliseconds since the last update.
    SinceUpdate,
    /// Void-time in nanoseconds since 1970, -1 never.
    VoidTime,
    /// Seconds to live, -1 for ever.
    Ttl,
    /// Name of the set, empty without.
    SetName,
    /// Whether the user key is stored.
    KeyExists,
    /// Whether it is a tombstone: never.
    IsTombstone,
    /// Bytes in memory: always 0.
    MemorySize,
}

/// A number operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// Smallest.
    Min,
    /// Greatest.
    Max,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A literal.
    Literal(Val),
    /// A comparison of two values.
    Compare(Comparison, Box<[Node; 2]>),
    /// All are true.
    And(Vec<Node>),
    /// One is true.
    Or(Vec<Node>),
    /// The opposite.
    Not(Box<Node>),
    /// Exactly one is true.
    Exclusive(Vec<Node>),
    /// A number operation.
    Arithmetic(Arithmetic, Vec<Node>),
    /// Metadata.
    Meta(Meta),
    /// Digest modulo a number.
    DigestModulo(u32),
    /// The stored key, if of this type.
    Key(i64),
    /// A bin, if of this type.
    Bin(i64, Vec<u8>),
    /// The particle type of a bin, 0 without.
    BinType(Vec<u8>),
    /// Condition, value, condition, value …, other value.
    Cond(Vec<Node>),
}

impl Node {
    fn any(&self, found: &impl Fn(&Node) -> bool) -> bool {
        let among = |nodes: &[Node]| nodes.iter().any(|node| node.any(found));
        found(self)
            || match self {
                Self::Compare(_, sides) => among(&sides[..]),
                Self::And(nodes)
                | Self::Or(nodes)
                | Self::Exclusive(nodes)
                | Self::Arithmetic(_, nodes)
                | Self::Cond(nodes) => among(nodes),
                Self::Not(node) => node.any(found),
                _ => false,
            }
    }
}
