//! Exit statuses and error messages: the one place where an error becomes a number and gets its advice.

use super::{advice, output};
use crate::{connector::ConnectorError, layer::LayerError, ops::OpsError, repo::RepoError, report::ErrorKind};
use serde_json::json;
use std::{fmt, io};
use thiserror::Error;

/// Failed.
pub const FAILED: u8 = 1;
/// The command line makes no sense, or what it names is not unique.
pub const USAGE: u8 = 2;
/// Done, but something is missing.
pub const INCOMPLETE: u8 = 3;
/// Done, but some records changed while they were read.
pub const CHANGED: u8 = 4;
/// There is no repository.
pub const NO_REPOSITORY: u8 = 10;
/// The source or target is locked.
pub const LOCKED: u8 = 11;
/// The password opens no key slot.
pub const WRONG_PASSWORD: u8 = 12;
/// Interrupted.
pub const INTERRUPTED: u8 = 130;

/// How a command ended that did not fail with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Everything asked for is done.
    Done,
    /// Done, but something is missing.
    Incomplete,
    /// Done, and all that is not whole are records that changed while they were read.
    Changed,
    /// It ran to its end and the answer is bad: damage found, a backup too old.
    Bad,
}

impl Status {
    /// Done or incomplete.
    #[must_use]
    pub const fn complete(complete: bool) -> Self {
        if complete { Self::Done } else { Self::Incomplete }
    }

    /// The same of what lacks something.
    #[must_use]
    pub const fn lacking(self) -> Self {
        match self {
            Self::Done | Self::Incomplete | Self::Changed => Self::Incomplete,
            Self::Bad => Self::Bad,
        }
    }

    /// The exit status.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Incomplete => INCOMPLETE,
            Self::Changed => CHANGED,
            Self::Bad => FAILED,
        }
    }
}

/// What a command fails with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CliError {
    /// A verb failed.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// An I/O error of the command itself.
    #[error("{operation} {object}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// What the system said.
        source: io::Error,
    },
}

/// An error with what was kept in spite of it.
#[derive(Debug)]
pub struct Failure {
    /// What failed, on which object.
    pub error: CliError,
    /// What was kept.
    pub kept: Option<&'static str>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<E: Into<CliError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), kept: None }
    }
}

impl From<RepoError> for CliError {
    fn from(error: RepoError) -> Self {
        Self::Ops(error.into())
    }
}

impl From<LayerError> for CliError {
    fn from(error: LayerError) -> Self {
        Self::Ops(error.into())
    }
}

impl From<ConnectorError> for CliError {
    fn from(error: ConnectorError) -> Self {
        Self::Ops(error.into())
    }
}

impl CliError {
    /// An I/O error.
    pub fn io(operation: &'static str, object: impl Into<String>, source: io::Error) -> Self {
        Self::Io { operation, object: object.into(), source }
    }
}

/// A usage error.
pub fn usage(text: impl Into<String>) -> Failure {
    OpsError::Usage(text.into()).into()
}

/// Says what was kept if this fails.
pub trait Kept<T> {
    /// Adds what was kept.
    fn kept(self, words: &'static str) -> Result<T, Failure>;
}

impl<T, E: Into<CliError>> Kept<T> for Result<T, E> {
    fn kept(self, words: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure { error: error.into(), kept: Some(words) })
    }
}

impl Failure {
    /// Whether it was stopped rather than failed.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        code(&self.error) == INTERRUPTED
    }
}

/// The exit status of an error.
#[must_use]
pub fn code(error: &CliError) -> u8 {
    match error {
        CliError::Ops(error) => ops_code(error),
        CliError::Io { source, .. } if source.kind() == io::ErrorKind::Interrupted => INTERRUPTED,
        CliError::Io { .. } => FAILED,
    }
}

fn ops_code(error: &OpsError) -> u8 {
    match error.kind() {
        kind if kind.is_usage() => USAGE,
        ErrorKind::Interrupted => INTERRUPTED,
        ErrorKind::NoRepository => NO_REPOSITORY,
        ErrorKind::WrongPassword => WRONG_PASSWORD,
        ErrorKind::Locked => LOCKED,
        _ => FAILED,
    }
}

impl CliError {
    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Ops(error) => error.kind(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::Interrupted => ErrorKind::Interrupted,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// Which object it is about.
    #[must_use]
    pub fn object(&self) -> String {
        match self {
            Self::Ops(error) => error.object(),
            Self::Io { object, .. } => object.clone(),
        }
    }

    /// What to do next.
    fn advice(&self) -> Option<String> {
        match self {
            Self::Ops(error) => {
                let trouble = error.trouble();
                match advice::for_trouble(trouble.kind, &trouble.object) {
                    Some(advice) if error.kind() == ErrorKind::Damaged => Some(advice.to_owned()),
                    _ => advice::next(error.kind(), error.remedies()),
                }
            }
            Self::Io { .. } => None,
        }
    }
}

/// The same for those who know nothing of our own options: what failed, and what was kept.
pub fn report_alone(failure: &Failure) -> u8 {
    let code = code(&failure.error);
    let kept = failure.kept.filter(|_| code != USAGE);
    let kept = kept.map_or_else(String::new, |kept| format!("\nrekeep: {kept}"));
    output::complain(&format!("rekeep: error: {failure}{kept}"));
    code
}

/// Prints a failure, and gives its exit status.
#[must_use]
pub fn report(failure: &Failure, json: bool) -> u8 {
    let code = code(&failure.error);
    let next = failure.error.advice();
    let message = failure.to_string();
    // Whoever mistyped has begun nothing that could be kept.
    let kept = failure.kept.filter(|_| code != USAGE);
    if json {
        event(&Event {
            code,
            kind: failure.error.kind(),
            object: &failure.error.object(),
            message: &message,
            kept,
            next: next.as_deref(),
        });
        return code;
    }
    let mut text = format!("rekeep: error: {message}");
    for part in kept.into_iter().chain(next.as_deref()) {
        text.push_str("\nrekeep: ");
        text.push_str(part);
    }
    output::complain(&text);
    code
}

/// An error for programs.
#[derive(Debug)]
pub struct Event<'a> {
    /// The exit status.
    pub code: u8,
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// Which object it is about.
    pub object: &'a str,
    /// The same in words.
    pub message: &'a str,
    /// What was kept.
    pub kept: Option<&'a str>,
    /// What to do next.
    pub next: Option<&'a str>,
}

/// Prints an error as an event.
pub fn event(event: &Event<'_>) {
    let Event { code, kind, object, message, kept, next } = event;
    let event = json!({
        "event": "error",
        "code": code,
        "kind": kind,
        "object": object,
        "message": message,
        "kept": kept,
        "next": next,
    });
    output::complain(&event.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_password() -> RepoError {
        RepoError::WrongPassword { location: String::new(), slots: 1, beside: String::new() }
    }

    #[test]
    fn every_documented_status_has_its_error() {
        let of = |error: OpsError| code(&error.into());
        assert_eq!(of(OpsError::Failed(String::new())), 1);
        assert_eq!(of(OpsError::Usage(String::new())), 2);
        assert_eq!(of(RepoError::NoRepository { location: String::new() }.into()), 10);
        assert_eq!(of(ConnectorError::Locked { object: String::new(), reason: String::new() }.into()), 11);
        assert_eq!(of(wrong_password().into()), 12);
        assert_eq!(of(LayerError::Repo(wrong_password()).into()), 12);
        assert_eq!(of(OpsError::Interrupted), 130);
        assert_eq!(of(RepoError::Interrupted.into()), 130);
        assert_eq!(of(LayerError::Repo(RepoError::Interrupted).into()), 130);
        assert_eq!((Status::Incomplete.code(), Status::Changed.code()), (3, 4));
    }
}
