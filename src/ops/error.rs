//! What a verb can fail with.

use crate::{
    connector::ConnectorError,
    layer::LayerError,
    repo::RepoError,
    report::{ErrorKind, Remedy, Trouble, TroubleKind},
};
use thiserror::Error;

/// An error of a verb: its [kind](OpsError::kind), the [object](OpsError::object), the cause in words, and [what would let
/// it pass](OpsError::remedies). The words name no option of any front end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpsError {
    /// The repository said no.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// Layer data is damaged or inconsistent.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A source or target said no.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Refused, for a reason that callers tell apart.
    #[error("{words}")]
    Refused {
        /// Why.
        kind: ErrorKind,
        /// The same in words, with the object.
        words: String,
        /// What would let it pass.
        remedies: Vec<Remedy>,
    },
    /// It failed after the target had been opened for writing: part of what was asked for may be there.
    #[error(transparent)]
    Partly(Box<OpsError>),
    /// The counts of a join contradict each other: nothing was committed.
    #[error("the counts of collection {collection} do not add up ({identity}): nothing was committed")]
    Counts {
        /// The collection.
        collection: String,
        /// Which identity failed, with the numbers.
        identity: String,
    },
    /// The verb was cancelled.
    #[error("interrupted")]
    Interrupted,
    /// Anything else that failed, in words.
    #[error("{0}")]
    Failed(String),
}

impl OpsError {
    /// Refused for this reason.
    pub fn refused(kind: ErrorKind, words: impl Into<String>) -> Self {
        Self::Refused { kind, words: words.into(), remedies: Vec::new() }
    }

    /// Refused for this reason, unless the caller says so.
    pub fn refused_unless(remedy: Remedy, kind: ErrorKind, words: impl Into<String>) -> Self {
        Self::Refused { kind, words: words.into(), remedies: vec![remedy] }
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Repo(error) => error.kind(),
            Self::Layer(error) => error.kind(),
            Self::Connector(error) => error.kind(),
            Self::Usage(_) => ErrorKind::InvalidInput,
            Self::Refused { kind, .. } => *kind,
            Self::Partly(error) => error.kind(),
            Self::Counts { .. } => ErrorKind::Counts,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Failed(_) => ErrorKind::Failed,
        }
    }

    /// Which object it is about; empty if that is the whole of what was asked, or only the words say it.
    #[must_use]
    pub fn object(&self) -> String {
        match self {
            Self::Repo(error) => error.object(),
            Self::Layer(error) => error.object(),
            Self::Connector(error) => error.object(),
            Self::Partly(error) => error.object(),
            Self::Counts { collection, .. } => collection.clone(),
            Self::Usage(_) | Self::Refused { .. } | Self::Interrupted | Self::Failed(_) => String::new(),
        }
    }

    /// What it says of its object.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        let kind = match self.cause() {
            Self::Repo(error) | Self::Layer(LayerError::Repo(error)) => error.trouble(),
            _ => TroubleKind::Damaged,
        };
        Trouble::new(kind, self.object(), self.to_string())
    }

    /// What would let it pass.
    #[must_use]
    pub fn remedies(&self) -> &[Remedy] {
        match self {
            Self::Connector(error) => error.remedies(),
            Self::Refused { remedies, .. } => remedies,
            Self::Partly(error) => error.remedies(),
            _ => &[],
        }
    }

    /// The error itself, whether or not something had been written by then.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::Partly(error) => error.cause(),
            error => error,
        }
    }

    /// Whether part of what was asked for may have been written to the target.
    #[must_use]
    pub const fn is_partly_done(&self) -> bool {
        matches!(self, Self::Partly(_))
    }

    /// Whether the verb was cancelled rather than failed.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        self.kind() == ErrorKind::Interrupted
    }
}
