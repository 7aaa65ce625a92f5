//! Carrying on behind what a run that broke off had finished. Which ranges that are, and whether they still fit, the verb
//! knows; the session says whether it is the same source.

use crate::record::Timestamp;
use serde_json::Value as Json;

/// What lets a later run carry on behind this one. Given by [`super::SourceSession::resumable`].
pub trait Resumable: Send + Sync {
    /// What a later session must know of this one to carry on behind ranges that this one finished.
    fn handover(&self) -> Json;
    /// What time it is by the source's clock; asked when a range has been read.
    fn now(&self) -> Timestamp;
    /// Tells the session that ranges which an earlier one finished are part of this run: asked before the first read, and
    /// after [`super::Evidence::meet_parent`].
    ///
    /// # Errors
    /// In words, why they cannot be.
    fn take_over(&self, earlier: &Handover<'_>) -> Result<(), String>;
}

/// What an earlier session handed over.
#[derive(Debug, Clone, Copy)]
pub struct Handover<'a> {
    /// What its [`Resumable::handover`] gave.
    pub told: &'a Json,
    /// Whether a person named the source, and so said that it is the same.
    pub chosen: bool,
    /// Whether a person said that what is gone was deleted.
    pub accept_deletions: bool,
}
