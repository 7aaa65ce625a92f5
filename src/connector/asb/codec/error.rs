//! What can be wrong with a file, and where.

use std::io;
use thiserror::Error;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is nothing in it.
    Empty,
    /// It is no such file, or it is encrypted.
    NotAsb,
    /// A version that is not known.
    Version,
    /// The file ends too early.
    Truncated,
    /// What stands there is not what the format says.
    Malformed,
    /// A record holds what no version that is known can hold.
    Unknown,
}

/// Why reading cannot go on.
#[derive(Debug, Error)]
pub enum AsbError {
    /// The text is wrong.
    #[error("line {line}, byte {offset}: {reason}")]
    Wrong {
        /// What kind of thing is wrong.
        fault: Fault,
        /// Counted from 1.
        line: u64,
        /// Counted from 0, in the plain text.
        offset: u64,
        /// What, in words.
        reason: String,
    },
    /// The bytes could not be read: the disk, the compression or the encryption.
    #[error("byte {offset}: {source}")]
    Io {
        /// How far was read.
        offset: u64,
        /// What was said.
        source: io::Error,
    },
}

impl AsbError {
    /// What kind of thing is wrong, if the text is.
    #[must_use]
    pub const fn fault(&self) -> Option<Fault> {
        match self {
            Self::Wrong { fault, .. } => Some(*fault),
            Self::Io { .. } => None,
        }
    }
}

/// What an input's error holds where nothing comes behind it and what came before is good: a stream that was cut off, or is
/// damaged from there on. A reader takes it for the end, and says so.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BrokenOff(pub String);

/// Why a piece cannot be parsed: more bytes are needed, or it is wrong.
#[derive(Debug)]
pub(super) enum Stop {
    /// So many bytes, from the piece's beginning, are needed at least.
    More(usize),
    /// What stands `at` is wrong.
    Wrong { at: usize, fault: Fault, reason: String },
}
