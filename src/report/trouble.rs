//! Troubles: what is wrong with an object, or was not done to it, and what kind of thing that is.

use super::kind::codes;
use std::fmt;

codes! {
    /// What is the matter with an object.
    TroubleKind {
        /// It is not what was written, or gone.
        Damaged = "damaged",
        /// A newer program wrote it: nothing is wrong with it, and it is not for this one to say more, or to take it away.
        Newer = "newer_format",
        /// It is no object, lies where objects lie, and hides what may be there.
        Hides = "hides",
        /// Something lies in its place that only a person takes away.
        Obstructed = "obstructed",
        /// A snapshot vanished although nobody forgot it.
        Vanished = "vanished",
        /// A snapshot stands by a lower revision than it did.
        Withdrawn = "withdrawn",
        /// A chunk is in no pack.
        InNoPack = "in_no_pack",
        /// What only it held is lost.
        Lost = "lost",
        /// Storage did not do what was to be done with it, which says nothing of the object itself.
        Refused = "refused",
        /// It is as it should be, and something has to come first.
        Waits = "waits",
    }
}

/// What is the matter with which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of trouble.
    pub kind: TroubleKind,
    /// Which object: the name of one in storage; empty if it is about the whole.
    pub object: String,
    /// The whole of it in words, without what may be done about it.
    pub words: String,
}

impl Trouble {
    /// A trouble.
    pub fn new(kind: TroubleKind, object: impl Into<String>, words: impl Into<String>) -> Self {
        Self { kind, object: object.into(), words: words.into() }
    }

    /// The same in other words.
    #[must_use]
    pub fn told(self, words: impl Into<String>) -> Self {
        Self { words: words.into(), ..self }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// As its words: what reads lists of them asks no more.
impl serde::Serialize for Trouble {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.words)
    }
}
