//! Where backups lie and where datasets do.

use super::config::{Settings, of_process};
use crate::{
    cli::{
        context::{Context, threads},
        exit::Failure,
    },
    connector::{Options, Source, url::escaped},
    ops::OpsError,
    repo::{Repository, Snapshot, Storage},
    report::ErrorKind,
};
use serde_json::Value as Json;
use std::path::Path;

/// What every command of `dr` works with.
pub(super) struct Setup {
    pub(super) settings: Settings,
    /// The root of tenants.
    pub(super) data: String,
}

impl Setup {
    pub(super) fn new(config: Option<&Path>, data: Option<&str>, _context: &Context) -> Result<Self, Failure> {
        let data = data.filter(|data| !data.is_empty()).unwrap_or("./data/vectors").to_owned();
        Ok(Self { settings: of_process(config)?, data })
    }

    /// The repository: what was named, else what the settings say.
    pub(super) fn repository(&self, context: &Context) -> Result<String, Failure> {
        match context.location() {
            Ok(place) => Ok(place.to_owned()),
            Err(_) => self.settings.place(),
        }
    }

    pub(super) fn storage(&self, context: &Context) -> Result<Storage, Failure> {
        context.storage_at(Some(&self.repository(context)?))
    }

    pub(super) fn open(&self, context: &Context) -> Result<Repository, Failure> {
        context.open_storage(&self.storage(context)?)
    }

    /// The URL of the datasets.
    pub(super) fn url(&self) -> String {
        url_of(&self.data)
    }

    pub(super) fn source(&self, options: &Options, context: &Context) -> Result<Box<dyn Source>, Failure> {
        Ok(context.registry.source(&self.url(), options)?)
    }

    pub(super) fn parallel(&self) -> Result<usize, Failure> {
        let workers = self.settings.number("parallel_workers", 256)?;
        Ok(threads(workers.and_then(|workers| u16::try_from(workers).ok())))
    }
}

/// The URL of datasets at a place: a local path stands for itself, whatever it holds.
pub(super) fn url_of(place: &str) -> String {
    if place.contains("://") { format!("deeplake:{place}") } else { format!("deeplake:{}", escaped(place)) }
}

/// A word of the note that a backup was made with.
pub(super) fn noted<'s>(snapshot: &'s Snapshot, word: &str) -> Option<&'s str> {
    snapshot.content.attributes.get("note")?.get(word).and_then(Json::as_str)
}

/// The tenant that a backup is of alone.
pub(super) fn tenant_of(snapshot: &Snapshot) -> Option<&str> {
    match snapshot.content.asked.only.get("tenants").map(Vec::as_slice) {
        Some([tenant]) => Some(tenant),
        _ => None,
    }
}

/// Whether a backup holds datasets of a tenant.
pub(super) fn holds_tenant(snapshot: &Snapshot, tenant: &str) -> bool {
    snapshot.collections.iter().any(|one| one.attributes.get("tenant").and_then(Json::as_str) == Some(tenant))
}

/// Refuses with words that a person can act by.
pub(super) fn refused(kind: ErrorKind, words: impl Into<String>) -> Failure {
    OpsError::refused(kind, words.into()).into()
}
