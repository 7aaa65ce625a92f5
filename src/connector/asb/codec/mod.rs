//! The text format of Aerospike's backup tools, versions 3.0 to 3.3: a reader that takes what its versions may hold and keeps
//! what it does not know, and a writer with one form for each content. Grammar and choices: `format-spec/asb.md`.

mod cursor;
mod error;
mod float;
mod index;
mod reader;
mod record;
mod writer;

pub use error::{AsbError, BrokenOff, Fault};
pub use float::{float_from_text, float_to_text};
pub use index::{Index, IndexData, IndexKind, Module};
pub use reader::{AsbReader, Header, Item};
pub use record::{Bin, Record};
pub use writer::{Form, Loss, RecordParts, put_header, put_index, put_module, put_record};

use std::{fmt, str::FromStr};

/// The longest name, number or line of a header; what the format's own readers take.
pub const MAX_TOKEN_BYTES: usize = 1000;
/// The longest record or module: far more than any server stores.
pub const MAX_ITEM_BYTES: usize = 64 << 20;

/// A version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// Names are not escaped.
    V30,
    /// What record files are written in.
    #[default]
    V31,
    /// May hold expression indexes.
    V32,
    /// May hold set indexes.
    V33,
}

impl Version {
    /// As it stands in a file.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::V30 => "3.0",
            Self::V31 => "3.1",
            Self::V32 => "3.2",
            Self::V33 => "3.3",
        }
    }

    /// Whether names are escaped.
    #[must_use]
    pub const fn escapes(self) -> bool {
        !matches!(self, Self::V30)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::V30, Self::V31, Self::V32, Self::V33];
        all.into_iter()
            .find(|version| version.text() == text)
            .ok_or_else(|| format!("`{text}` is none of 3.0, 3.1, 3.2, 3.3"))
    }
}
