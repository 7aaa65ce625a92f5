//! The two sides of a connector.

use std::fmt;

/// Which side of a connector is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What is read.
    Source,
    /// What is written.
    Target,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "sources",
            Self::Target => "targets",
        })
    }
}
