//! `drill`: restores a snapshot to a place that nobody needs, compares it record by record, lets a person's own commands look
//! at it, and keeps a report that says so.

mod page;
mod run;
mod sample;
mod scratch;
mod standing;

pub use page::page;
pub use run::drill;
pub use sample::SampleSize;
pub use standing::{Proof, Proofs, proofs};

use super::{OpsError, command::Bounded};
use crate::{
    connector::{
        Target,
        url::{escaped, without_password},
    },
    repo::{
        Snapshot,
        drills::{DrillName, DrillReport, Goals},
    },
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where a drill restores to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrillPlace {
    /// A folder of its own, which goes afterwards.
    Scratch,
    /// A target that holds nothing yet; whoever gives it clears it.
    Given(String),
}

/// A person's own look at what was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Its name, for the report.
    pub name: String,
    /// What is run. If it ends badly the drill has failed.
    pub run: Bounded,
}

/// How to drill.
#[derive(Debug, Clone)]
pub struct DrillOptions {
    /// Where to.
    pub place: DrillPlace,
    /// The folder that scratch folders and locks lie in.
    pub scratch: PathBuf,
    /// Only a part of the records.
    pub sample: Option<SampleSize>,
    /// What else is looked at, in this order.
    pub assertions: Vec<Assertion>,
    /// What is to be held.
    pub goals: Goals,
    /// Whether a report is kept in the repository, which needs the keys of an operator.
    pub keep: bool,
    /// Threads that read and decompress.
    pub parallel: usize,
    /// Bytes per second from the repository.
    pub read_limit: Option<u64>,
    /// Bytes per second to the target.
    pub write_limit: Option<u64>,
}

impl DrillOptions {
    /// In a scratch folder below this one, all records, nothing else.
    #[must_use]
    pub fn new(scratch: PathBuf) -> Self {
        Self {
            place: DrillPlace::Scratch,
            scratch,
            sample: None,
            assertions: Vec::new(),
            goals: Goals::default(),
            keep: true,
            parallel: 1,
            read_limit: None,
            write_limit: None,
        }
    }
}

/// What opens targets by their URLs.
pub type OpenTarget<'a> = &'a dyn Fn(&str) -> Result<Box<dyn Target>, OpsError>;

/// What a drill came to.
#[derive(Debug, Clone, Serialize)]
pub struct DrillOutcome {
    /// The report's name in the repository; `None` if it is not kept.
    pub report: Option<DrillName>,
    /// The hash at the end of the object that holds it.
    pub hash: Option<String>,
    /// Why it is not kept though it was to be, in words.
    pub not_kept: Option<String>,
    /// Why the scratch folder is still there, in words.
    pub left: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub said: DrillReport,
}

/// The URL of a place in a scratch folder for a snapshot's records, and the path that people find them at; `None` if its
/// connector needs a server.
fn scratch_url(snapshot: &Snapshot, folder: &Path) -> Option<(String, PathBuf)> {
    let (scheme, name) = match snapshot.source().connector.as_str() {
        "sqlite" => ("sqlite", "restored.db"),
        "files" => ("files", "restored"),
        "jsonl" => ("jsonl", "restored.jsonl"),
        "deeplake" => ("deeplake", "restored"),
        // What a cluster holds can be read back from files as exactly as from a cluster.
        "aerospike" | "asb" => ("asb", "restored"),
        _ => return None,
    };
    let path = folder.join(name);
    let text = escaped(path.to_str()?);
    Some((format!("{scheme}:{text}"), path))
}

/// A URL as it may be kept in a report.
fn shown(url: &str) -> String {
    without_password(url)
}
