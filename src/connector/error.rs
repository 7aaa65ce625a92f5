//! What can go wrong with sources and targets.

use super::{Role, passwords::without_password};
use crate::report::{ErrorKind, Remedy};
use thiserror::Error;

/// An error of a connector.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// The URL cannot be understood.
    #[error("`{}` is no source or target: {reason}", without_password(url))]
    Url {
        /// What was given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// An option makes no sense.
    #[error("{reason}")]
    Options {
        /// Which, and why.
        reason: String,
    },
    /// Options that this source or target does not know.
    #[error("{}", foreign(&without_password(url), options, *role, of.as_deref()))]
    ForeignOptions {
        /// What they were given for.
        url: String,
        /// Their names.
        options: Vec<String>,
        /// Whether it was to be read or written.
        role: Role,
        /// The scheme of a connector that knows them, if one does.
        of: Option<String>,
    },
    /// What was asked for makes no sense.
    #[error("{object} cannot be used: {reason}")]
    Usage {
        /// What.
        object: String,
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
    /// It would pass if the caller said so.
    #[error("{error}")]
    Avoidable {
        /// What it is.
        error: Box<ConnectorError>,
        /// What would let it pass.
        remedies: Vec<Remedy>,
    },
}

impl ConnectorError {
    /// Says what would let it pass.
    #[must_use]
    pub fn with(self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        let (error, mut all) = match self {
            Self::Avoidable { error, remedies } => (error, remedies),
            error => (Box::new(error), Vec::new()),
        };
        for remedy in remedies {
            if !all.contains(&remedy) {
                all.push(remedy);
            }
        }
        if all.is_empty() { *error } else { Self::Avoidable { error, remedies: all } }
    }

    /// The error without what would let it pass.
    #[must_use]
    pub fn bare(&self) -> &Self {
        match self {
            Self::Avoidable { error, .. } => error.bare(),
            error => error,
        }
    }

    /// What would let it pass.
    #[must_use]
    pub fn remedies(&self) -> &[Remedy] {
        match self {
            Self::Avoidable { remedies, .. } => remedies,
            _ => &[],
        }
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.bare() {
            Self::Url { .. } => ErrorKind::Url,
            Self::Options { .. } | Self::ForeignOptions { .. } | Self::Usage { .. } => ErrorKind::InvalidInput,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Unreadable { .. } => ErrorKind::Unreadable,
            Self::Unwritable { .. } => ErrorKind::Unwritable,
            Self::Mismatch { .. } => ErrorKind::DoesNotFit,
            Self::Io { .. } | Self::Avoidable { .. } => ErrorKind::Io,
        }
    }

    /// Which object it is about.
    #[must_use]
    pub fn object(&self) -> String {
        match self.bare() {
            Self::Url { url, .. } | Self::ForeignOptions { url, .. } => without_password(url),
            Self::Missing { object }
            | Self::Usage { object, .. }
            | Self::Locked { object, .. }
            | Self::Unreadable { object, .. }
            | Self::Unwritable { object, .. }
            | Self::Mismatch { object, .. }
            | Self::Io { object, .. } => object.clone(),
            Self::Options { .. } | Self::Avoidable { .. } => String::new(),
        }
    }

    /// Adds words to what is the matter, where the error has any of its own.
    #[must_use]
    pub fn adding(self, words: &str) -> Self {
        let say = |reason: String| format!("{reason}; {words}");
        match self {
            Self::Locked { object, reason } => Self::Locked { object, reason: say(reason) },
            Self::Unreadable { object, reason } => Self::Unreadable { object, reason: say(reason) },
            Self::Unwritable { object, reason } => Self::Unwritable { object, reason: say(reason) },
            Self::Mismatch { object, reason } => Self::Mismatch { object, reason: say(reason) },
            Self::Avoidable { error, remedies } => Self::Avoidable { error: Box::new(error.adding(words)), remedies },
            error @ (Self::Url { .. }
            | Self::Options { .. }
            | Self::Usage { .. }
            | Self::ForeignOptions { .. }
            | Self::Missing { .. }
            | Self::Io { .. }) => error,
        }
    }
}

fn foreign(url: &str, options: &[String], role: Role, of: Option<&str>) -> String {
    let names: Vec<String> = options.iter().map(|name| format!("`{name}`")).collect();
    let (names, verb) = (names.join(", "), if options.len() == 1 { "is" } else { "are" });
    match of {
        Some(of) => format!("{names} {verb} for {of}: {role}, not `{url}`"),
        None => format!("no {role} have the option {names}, nor has `{url}`"),
    }
}
