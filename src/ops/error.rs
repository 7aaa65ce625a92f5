//! What a verb can fail with.

use crate::{connector::ConnectorError, layer::LayerError, repo::RepoError};
use thiserror::Error;

/// An error of a verb. [`OpsError::Usage`] is the caller's mistake; everything else is the world's.
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
    /// What was asked for makes no sense or is not unique.
    #[error("{0}")]
    Usage(String),
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
    /// Whether the verb was cancelled rather than failed.
    #[must_use]
    pub const fn is_interruption(&self) -> bool {
        matches!(
            self,
            Self::Interrupted
                | Self::Repo(RepoError::Interrupted)
                | Self::Layer(LayerError::Repo(RepoError::Interrupted))
        )
    }
}
