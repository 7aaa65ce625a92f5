//! Looking at what a URL names, without backing it up: what it holds, and what is wrong with it.

use serde_json::Value as Json;

/// What was found. Given by [`super::Connector::inspect`].
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// In words, by lines.
    pub text: String,
    /// The same for programs.
    pub document: Json,
}
