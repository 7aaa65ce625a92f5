//! What can go wrong between here and a cluster.

use super::wire::{WireError, result_name};
use crate::{connector::ConnectorError, report::Remedy};
use std::io;
use thiserror::Error;

/// An error of the connector, before it is put in the words of [`ConnectorError`].
#[derive(Debug, Error)]
pub(super) enum Error {
    /// A connection failed.
    #[error("{operation} node {node}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The node's address.
        node: String,
        /// What the system said.
        source: io::Error,
    },
    /// A node answered with something else than an answer.
    #[error("node {node} sent what is no answer: {source}")]
    Wire {
        /// The node's address.
        node: String,
        /// Why it is none.
        source: WireError,
    },
    /// A node answered with an error.
    #[error("node {node} refused {what}: {}", result_name(*.code))]
    Refused {
        /// The node's address.
        node: String,
        /// What was asked.
        what: String,
        /// The result code.
        code: u8,
    },
    /// A node answered with an error in words.
    #[error("node {node} refused `{command}`: {answer}")]
    Info {
        /// The node's address.
        node: String,
        /// The command.
        command: String,
        /// Its answer.
        answer: String,
    },
    /// No node of the cluster can be reached.
    #[error("no node answers: {0}")]
    NoNode(String),
    /// The stream was dropped.
    #[error("interrupted")]
    Stopped,
    /// What was asked for is not there.
    #[error("{0} does not exist")]
    Missing(String),
    /// A server cannot do what is asked.
    #[error("{0}")]
    TooOld(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It would pass if the caller said so.
    #[error("{0}")]
    Avoidable(Box<Error>, Remedy),
}

impl Error {
    /// Says what would let it pass.
    pub(super) fn with(self, remedy: Remedy) -> Self {
        Self::Avoidable(Box::new(self), remedy)
    }

    /// Whether trying again may help.
    pub(super) const fn is_transient(&self) -> bool {
        match self {
            Self::Io { .. } | Self::NoNode(_) => true,
            Self::Refused { code, .. } => is_transient(*code),
            _ => false,
        }
    }

    /// As the rest of the program knows it; `object` names the cluster.
    pub(super) fn into_connector(self, object: &str) -> ConnectorError {
        match self {
            Self::Missing(object) => ConnectorError::Missing { object },
            Self::Avoidable(error, remedy) => error.into_connector(object).with([remedy]),
            Self::Usage(reason) => ConnectorError::Url { url: object.to_owned(), reason },
            other => ConnectorError::Unreadable { object: object.to_owned(), reason: other.to_string() },
        }
    }
}

/// Whether a result code of a query is one that goes away: a timeout, a partition on the move, a record or a device that is
/// busy, too many queries at once, a query that the server gave up.
pub(super) const fn is_transient(code: u8) -> bool {
    matches!(code, 1 | 9 | 11 | 14 | 15 | 18 | 22)
}
