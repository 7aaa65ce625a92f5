//! Building layers: rows into blocks, blocks into lists.

use super::LayerError;
use crate::{
    record::{Fingerprinter, KeyRange},
    repo::{ChunkWriter, Secrets, manifest::LayerRef},
};

/// The keyed functions that layers are built with.
#[derive(Debug, Clone)]
pub struct LayerContext {
    /// Fingerprints records.
    pub fingerprinter: Fingerprinter,
    /// Sums collections.
    pub collection_key: [u8; 32],
    /// Decides where blocks end.
    pub cut_key: [u8; 32],
    /// Seeds FastCDC's gear table.
    pub gear_seed: u64,
}

impl LayerContext {
    /// The functions under a repository's secrets.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        Self {
            fingerprinter: Fingerprinter::new(&secrets.fingerprint),
            collection_key: secrets.collection,
            cut_key: secrets.cut,
            gear_seed: secrets.gear_seed,
        }
    }
}

/// The blocks of one key range of a layer in the making: list entries, not yet stored.
#[derive(Debug, Clone, Default)]
pub struct BuiltRange {
    pub(super) _entries: Vec<u8>,
}

impl BuiltRange {
    /// Rows in the range, tombstones included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        todo!()
    }
}

/// Stores the list chunks of a layer over gap-free, ascending ranges and gives its name; `None` if it has no rows.
/// `ranges` are the key ranges at whose starts cuts restarted, with what was built in each.
pub fn finish_layer(
    context: &LayerContext,
    writer: &mut dyn ChunkWriter,
    ranges: &[(KeyRange, BuiltRange)],
) -> Result<Option<LayerRef>, LayerError> {
    let _ = (context, writer, ranges);
    todo!()
}
