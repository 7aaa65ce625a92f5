//! What can go wrong with sources and targets.

use thiserror::Error;

/// An error of a connector.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// The URL cannot be understood.
    #[error("`{url}` is no source or target: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The source does not exist.
    #[error("{object} does not exist")]
    Missing {
        /// What.
        object: String,
    },
    /// Something else has locked it.
    #[error("{object} is locked: {reason}")]
    Locked {
        /// What.
        object: String,
        /// By whom or how, and what to do.
        reason: String,
    },
    /// It is not what it should be: damaged, encrypted, of another kind.
    #[error("{object} cannot be read: {reason}")]
    Unreadable {
        /// What.
        object: String,
        /// Why.
        reason: String,
    },
    /// It cannot be written.
    #[error("{object} cannot be written: {reason}")]
    Unwritable {
        /// What.
        object: String,
        /// Why.
        reason: String,
    },
    /// What is to be written does not fit what is there or what the target can hold.
    #[error("{object} does not fit: {reason}")]
    Mismatch {
        /// What.
        object: String,
        /// Why, and what to do.
        reason: String,
    },
    /// An I/O error.
    #[error("{operation} {object}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// What the system said.
        source: std::io::Error,
    },
}
