//! Connectors: each implements [`Source`], [`Target`] or both for one system. A connector knows records; it knows no
//! repository.
//!
//! The traits are a narrow core that every system has ([`source`], [`target`]) and abilities that some have, each in a file
//! of its own, handed out by the core as an option: [`change`], [`evidence`], [`resumable`] for sources; [`survey`],
//! [`goes_on`] for targets. A [`Registry`] opens them by URL and options. How systems fit them is walked through in `docs/connectors.md`.

#[cfg(feature = "aerospike")]
pub mod aerospike;
#[cfg(feature = "asb")]
pub mod asb;
pub mod cells;
pub mod change;
#[cfg(feature = "deeplake")]
pub mod deeplake;
pub mod error;
pub mod evidence;
pub mod feed;
pub mod file_record;
#[cfg(feature = "files")]
pub mod files;
pub mod foresight;
pub mod goes_on;
pub mod groups;
pub mod inspect;
#[cfg(feature = "jsonl")]
pub mod jsonl;
pub mod lookup;
pub mod open;
pub mod options;
pub mod outcome;
pub mod passwords;
pub mod plan;
#[cfg(feature = "postgresql")]
pub mod postgres;
pub mod registry;
pub mod remember;
pub mod resumable;
pub mod role;
mod shared;
pub mod sink;
pub mod source;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod survey;
pub mod target;
pub mod unordered;
pub mod url;
pub mod void_time;

pub use cells::{CellKind, CellVersion, Cells, Fate, FindCell, cells};
pub use change::{ChangeSource, MetaStream};
pub use error::ConnectorError;
pub use evidence::{Doubt, Evidence, ParentView, PartEnd};
pub use feed::ChangeFeed;
pub use foresight::Foresight;
pub use goes_on::{GoesOn, Standing};
pub use groups::KeyGroups;
pub use inspect::Inspection;
pub use lookup::RecordLookup;
pub use options::{OptionDescription, Options};
pub use outcome::{Outcomes, Written};
pub use plan::{Meets, Overwrite, TargetCollection, TargetPlan};
pub use registry::{Connector, Registry, options_of};
pub use remember::{Recall, Remembers};
pub use resumable::{Handover, Resumable};
pub use role::Role;
pub use sink::{ChangeSink, Landed, SinkCollection, SinkEnd, VersionChange};
pub use source::{
    Identity, Scope, SessionEnd, SessionOptions, Source, SourceAbilities, SourceCollection, SourceSession, Spread,
};
pub use survey::{CollectionSurvey, MAX_SURVEYED_SETS, SetSurvey, Survey, Surveyed};
pub use target::{CollectionTarget, Leaves, Removal, Target, TargetAbilities, TargetEnd, TargetSession};
pub use unordered::Unordered;
pub use url::SourceUrl;

/// What a restore of a snapshot of this connector will lack, though all its records are there: from its attributes and those of
/// its collections (by name), in words.
pub fn lacking<'a>(
    connector: &str,
    attributes: &serde_json::Value,
    collections: impl Iterator<Item = (&'a str, &'a serde_json::Value)> + Clone,
) -> Vec<String> {
    match connector {
        #[cfg(feature = "sqlite")]
        "sqlite" => sqlite::lacking(attributes, collections),
        _ => {
            let _ = (attributes, collections);
            Vec::new()
        }
    }
}
