//! `deeplake:PATH`: Deep Lake datasets, each a collection of the files that it consists of. How they are read beside a
//! writer, restored and verified is specified in `docs/deeplake.md`.

mod check;
mod cut;
mod entry;
mod far;
mod far_place;
mod find;
mod head;
mod inventory;
mod kept;
mod local;
mod log;
mod look;
mod making;
mod metadata;
mod named;
mod names;
mod nodes;
mod open;
mod order;
mod place;
mod reset;
mod row;
mod source;
mod staged;
mod stream;
mod survey;
mod swap;
mod target;
mod uploads;

pub use entry::{Change, Entry, EntryName, MAX_ENTRY_BYTES, parse_name};
pub use inventory::Role;
pub use log::{Branch, BranchReport, Commit, Refs, TagRef};
pub use named::Block;
pub use nodes::{Node, Versions};
pub use open::DeepLakeConnector;
pub use source::DeepLakeSource;
pub use survey::{DatasetReport, DatasetSurvey};
pub use target::{DeepLakeTarget, DeepLakeTargetOptions};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which datasets are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeepLakeOptions {
    /// Only datasets of this tenant.
    pub tenant: Option<String>,
    /// Only these datasets, by their names, with their tenant's or without.
    pub datasets: Vec<String>,
    /// What is kept with the snapshot beside them: why it was made, and what was asked for.
    pub note: BTreeMap<String, String>,
}
