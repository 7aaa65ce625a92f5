//! What stands beside ASBX files that were replayed: which they are, and that expiries in them count from each version's own
//! time. Specified in `format-spec/aerospike-changes.md`.

use super::place::{AsbxPlace, Found};
use crate::connector::ConnectorError;
use serde::{Deserialize, Serialize};
use std::io::Read as _;

/// Its name.
pub(super) const NAME: &str = "replay.json";

const FORMAT: u32 = 1;

/// A longer one is none.
const MAX_BYTES: u64 = 64 << 20;

/// The files of a replay.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Listing {
    format: u32,
    /// Whether all of them were written.
    whole: bool,
    /// In the order of their numbers.
    pub(super) files: Vec<ListedFile>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListedFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) changes: u64,
}

impl Listing {
    /// One that says that not all is written yet.
    pub(super) const fn begun() -> Self {
        Self { format: FORMAT, whole: false, files: Vec::new() }
    }

    /// One of all files.
    pub(super) const fn of(files: Vec<ListedFile>) -> Self {
        Self { format: FORMAT, whole: true, files }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        // Names, numbers and a list of them always are JSON.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The listing among the files of a folder, if there is one. All that it names has to be there as it says.
    pub(super) fn read(place: &AsbxPlace, found: &[Found]) -> Result<Option<Self>, ConnectorError> {
        let Some(own) = found.iter().find(|file| file.name == NAME) else { return Ok(None) };
        let wrong = |reason: String| ConnectorError::Unreadable { object: place.object(NAME), reason };
        let mut text = Vec::new();
        place.read(own)?.take(MAX_BYTES).read_to_end(&mut text).map_err(place.failed("read", NAME))?;
        let listing: Self = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if listing.format != FORMAT {
            return Err(wrong(format!("its format is {}, which this program does not know", listing.format)));
        }
        if !listing.whole {
            return Err(wrong("these files were not finished: write them again".to_owned()));
        }
        for listed in &listing.files {
            match found.iter().find(|file| file.name == listed.name) {
                None => return Err(wrong(format!("it names {}, which is not there", listed.name))),
                Some(file) if file.bytes != listed.bytes => {
                    let reason =
                        format!("it says that {} has {} bytes, and it has {}", listed.name, listed.bytes, file.bytes);
                    return Err(wrong(reason));
                }
                Some(_) => {}
            }
        }
        Ok(Some(listing))
    }

    pub(super) fn names(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }
}
