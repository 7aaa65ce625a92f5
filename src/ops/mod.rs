//! The verbs: one file each. A verb takes a repository, connectors and options, reports through [`Progress`], and
//! returns a typed outcome. It knows no terminal and no HTTP; it can be cancelled; many can run in one process.

pub mod backup;
pub mod browse;
pub mod capture;
pub mod cell_history;
pub mod check_storage;
pub mod command;
pub mod copy;
pub mod cost;
mod crew;
mod current;
#[cfg(feature = "deeplake")]
pub mod datasets;
#[cfg(feature = "sqlite")]
pub mod demo;
pub mod diff;
pub mod drill;
pub mod dump;
pub mod error;
pub mod estimate;
pub mod find;
pub mod forget;
mod given_up;
mod hearing;
pub mod history;
pub mod job;
pub mod leases;
pub mod limit;
pub mod list;
mod lookup;
#[cfg(test)]
mod made_up;
pub mod open_files;
pub mod password;
pub mod places;
pub mod progress;
pub mod prune;
mod reading;
pub mod repair;
pub mod replay;
pub mod replicate;
pub mod restore;
pub mod select;
pub mod source;
pub mod squash;
pub mod stats;
pub mod status;
pub mod stream;
pub mod tag;
pub mod thaw;
pub mod transfer;
pub mod usage;
pub mod verify;
mod watched;

pub use error::OpsError;
pub use hearing::opening;
pub use progress::{Phase, PhaseKind, Progress, Silent, StreamStanding};
pub use select::{Narrow, SnapshotSpec};

/// The folder that a repository is, or its location at a service, which goes into no backup and is touched by no restore.
fn own_place(repo: &crate::repo::Repository) -> Vec<std::path::PathBuf> {
    vec![repo.storage().location().into()]
}
