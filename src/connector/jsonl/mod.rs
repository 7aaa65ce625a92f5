//! `jsonl:PATH|-`: records as lines of JSON, and back without a loss. The lines are specified in `format-spec/jsonl.md`.

mod cell;
mod line;
mod open;
mod source;
mod target;
#[cfg(test)]
mod tests;

pub use open::JsonlConnector;
pub use source::JsonlSource;
pub use target::JsonlTarget;

use super::{ConnectorError, SourceUrl};
use std::path::{Path, PathBuf};

/// The version of the format that is written.
const VERSION: u32 = 1;

/// Where the lines are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Standard input or output.
    Standard,
    File(PathBuf),
}

impl Place {
    /// The place of a URL, and the collection that it names.
    fn of(url: &SourceUrl) -> Result<(Self, Option<String>), ConnectorError> {
        let mut collection = None;
        for (option, value) in &url.options {
            if option != "collection" || value.is_empty() || collection.is_some() {
                return Err(ConnectorError::Url {
                    url: format!("jsonl:{}", url.place),
                    reason: format!("`{option}` is not understood; the only option is one collection=NAME"),
                });
            }
            collection = Some(value.clone());
        }
        let place = if url.place == "-" { Self::Standard } else { Self::File(url.path()) };
        Ok((place, collection))
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
