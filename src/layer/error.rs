//! What can go wrong with layers.

use crate::{
    record::{StreamError, bytes::DecodeError},
    repo::{ChunkId, RepoError},
    report::ErrorKind,
};
use thiserror::Error;

/// An error of the layer room.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The repository said no.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A chunk's plaintext is not what the format says.
    #[error("chunk {id} of layer data is damaged: {reason}")]
    Damaged {
        /// The chunk.
        id: ChunkId,
        /// What is wrong.
        reason: DecodeError,
    },
    /// A chunk's contents contradict what refers to it (counts, first keys, order, fingerprints).
    #[error("{object} is inconsistent: {reason}")]
    Inconsistent {
        /// Which object, with its id.
        object: String,
        /// What contradicts what.
        reason: String,
    },
    /// The source failed.
    #[error("reading the source: {0}")]
    Source(StreamError),
    /// The source gave keys out of order.
    #[error("the source gave key {second} after {first}: keys must ascend")]
    Order {
        /// The earlier key, hexadecimal.
        first: String,
        /// The later key, hexadecimal.
        second: String,
    },
    /// The layer was made with something that this program does not know.
    #[error("layer data {id} uses {function}, which this program does not know: use a newer rekeep")]
    Unknown {
        /// The layer, or a chunk of it.
        id: ChunkId,
        /// What is not known: a function by name, a kind by number.
        function: String,
    },
}

/// A key for people who read errors: hexadecimal, cut after 64 bytes.
pub(super) fn hex_of(key: &[u8]) -> String {
    let head = data_encoding::HEXLOWER.encode(&key[..key.len().min(64)]);
    if key.len() > 64 { format!("{head}… ({} bytes)", key.len()) } else { head }
}

impl LayerError {
    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Repo(error) => error.kind(),
            Self::Damaged { .. } | Self::Inconsistent { .. } => ErrorKind::Damaged,
            Self::Source(_) => ErrorKind::Unreadable,
            Self::Order { .. } => ErrorKind::SourceOrder,
            Self::Unknown { .. } => ErrorKind::NewerFormat,
        }
    }

    /// Which object it is about; empty if that is the whole of what was asked.
    #[must_use]
    pub fn object(&self) -> String {
        match self {
            Self::Repo(error) => error.object(),
            Self::Damaged { id, .. } | Self::Unknown { id, .. } => id.to_string(),
            Self::Inconsistent { object, .. } => object.clone(),
            Self::Source(_) | Self::Order { .. } => String::new(),
        }
    }

    pub(super) fn damaged(id: ChunkId, reason: DecodeError) -> Self {
        match reason {
            DecodeError::Unknown(what, number) => Self::Unknown { id, function: format!("{what} {number}") },
            reason => Self::Damaged { id, reason },
        }
    }

    pub(super) fn inconsistent(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Inconsistent { object: object.into(), reason: reason.into() }
    }
}

/// The error that a reader over pieces wrapped, or one that names the key.
pub(super) fn unreadable(key: &str, error: std::io::Error) -> LayerError {
    match error.downcast::<LayerError>() {
        Ok(error) => error,
        Err(error) => LayerError::inconsistent(format!("the value of key {key}"), error.to_string()),
    }
}
