//! `jsonl:PATH|-`: records as lines of JSON, and back without a loss. The lines are specified in `format-spec/jsonl.md`.

mod cell;
mod line;
mod open;
mod plain;
mod source;
mod target;
#[cfg(test)]
mod tests;

pub use open::JsonlConnector;
pub use source::JsonlSource;
pub use target::JsonlTarget;

use super::{ConnectorError, SourceUrl};
use plain::Keyed;
use std::path::{Path, PathBuf};

/// The version of the format that is written.
const VERSION: u32 = 1;

/// Where the lines are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stream {
    /// Standard input or output.
    Standard,
    File(PathBuf),
}

impl Stream {
    /// The place of a URL, the collection that it names, and how it says that ordinary lines are keyed.
    fn of(url: &SourceUrl) -> Result<(Self, Option<String>, Option<Keyed>), ConnectorError> {
        let (mut collection, mut keyed) = (None, None);
        for (option, value) in &url.options {
            let is_new = match option.as_str() {
                "collection" if !value.is_empty() => collection.replace(value.clone()).is_none(),
                "key" if !value.is_empty() => keyed.replace(Keyed::ByField(value.clone())).is_none(),
                "plain" if value == "yes" => keyed.replace(Keyed::ByNumber).is_none(),
                _ => false,
            };
            if !is_new {
                return Err(ConnectorError::Url {
                    url: format!("jsonl:{}", url.place),
                    reason: format!(
                        "`{option}` is not understood; write collection=NAME once, and of a source key=FIELD or plain=yes (a \
                         `?` in a file's name is written %3F)"
                    ),
                });
            }
        }
        let place = if url.place == "-" { Self::Standard } else { Self::File(url.path()) };
        Ok((place, collection, keyed))
    }

    fn show(&self) -> String {
        match self {
            Self::Standard => "standard input or output".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// What records that name no collection belong to.
    fn stem(&self) -> String {
        let stem = match self {
            Self::Standard => None,
            Self::File(path) => Path::file_stem(path),
        };
        stem.map_or_else(|| "records".to_owned(), |stem| stem.to_string_lossy().into_owned())
    }
}
