//! Roles: which keys a slot gives. Keys are capabilities; a role is a set of them (`format-spec/repository.md`, section 3).

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What the keys in a slot allow. Every role reads metadata: what the join of a backup needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Backs up; opens no value and forgets nothing.
    PutOnly,
    /// Reads everything; writes nothing but the lease of a reader.
    ReadOnly,
    /// Reads, backs up, forgets, squashes, prunes.
    Operator,
    /// Everything, key slots and epochs included.
    Admin,
}

/// One thing that keys may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Opening values.
    ReadValues,
    /// Committing snapshots.
    Write,
    /// Taking something away: tombstones, marks, voids of others, later revisions.
    Prune,
    /// Making key slots and epochs.
    Administer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PutOnly, Self::ReadOnly, Self::Operator, Self::Admin];

    /// As commands and slots name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PutOnly => "put-only",
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Whether its keys allow this.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::ReadValues => !matches!(self, Self::PutOnly),
            Capability::Write => !matches!(self, Self::ReadOnly),
            Capability::Prune => matches!(self, Self::Operator | Self::Admin),
            Capability::Administer => matches!(self, Self::Admin),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| format!("the roles are {names}"))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadValues => "read values",
            Self::Write => "write snapshots",
            Self::Prune => "forget and prune",
            Self::Administer => "administer keys",
        })
    }
}
