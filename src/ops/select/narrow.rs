//! Narrowing snapshots to a source, a host, tags, a scope.

use super::{scope, whole::Wholeness};
use crate::{
    ops::{OpsError, Progress},
    record::Timestamp,
    repo::{By, Head, Repository, Snapshot, manifest::SourceId},
    report::{ErrorKind, Remedy},
};
use std::collections::BTreeMap;

/// A range of time in which snapshots end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Within {
    /// At or after this.
    pub from: Option<Timestamp>,
    /// At or before this.
    pub to: Option<Timestamp>,
}

impl Within {
    fn holds(self, end: Timestamp) -> bool {
        self.from.is_none_or(|from| end >= from) && self.to.is_none_or(|to| end <= to)
    }
}

/// Narrows snapshots to a source, hosts, tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrow {
    /// The source's name, its URL, or `connector:name`.
    pub source: Option<String>,
    /// The host the backup ran on.
    pub host: Option<String>,
    /// Tags that a snapshot must all carry.
    pub tags: Vec<String>,
    /// What of the source was asked for: in words, by the first digits of its hash, or `everything`.
    pub scope: Option<String>,
    /// Only complete ones.
    pub complete: bool,
    /// Only those of which everything is there, which takes a look at all that they need.
    pub whole: bool,
}

impl Narrow {
    /// Whether a snapshot is meant.
    #[must_use]
    pub fn admits(&self, snapshot: &Snapshot) -> bool {
        let source = snapshot.source();
        self.source.as_deref().is_none_or(|wanted| source_matches(source, wanted))
            && self.host.as_deref().is_none_or(|wanted| source.host == wanted)
            && self.tags.iter().all(|tag| snapshot.tags.contains(tag))
            && self.scope.as_deref().is_none_or(|wanted| scope::matches(snapshot, wanted))
            && (snapshot.content.complete || !self.complete)
    }

    /// The snapshots that are meant, oldest first.
    pub fn apply(&self, repo: &Repository, progress: &dyn Progress) -> Result<Vec<Snapshot>, OpsError> {
        self.apply_within(repo, Within::default(), progress)
    }

    /// The snapshots that are meant, oldest first, for what would say that all is well of none.
    ///
    /// # Errors
    /// [`ErrorKind::NoSnapshot`] if something is asked for and no snapshot is that.
    pub fn apply_to_some(&self, repo: &Repository, progress: &dyn Progress) -> Result<Vec<Snapshot>, OpsError> {
        let meant = self.apply(repo, progress)?;
        if meant.is_empty() && *self != Self::default() {
            let words = format!("there is no snapshot {}", self.words());
            return Err(OpsError::refused(ErrorKind::NoSnapshot, words));
        }
        Ok(meant)
    }

    /// What is asked for, in words.
    fn words(&self) -> String {
        let named = |what: &str, name: &Option<String>| name.as_ref().map(|name| format!("{what} {name}"));
        let mut words: Vec<String> = [
            named("of the source", &self.source),
            named("of the host", &self.host),
            named("of the scope", &self.scope),
        ]
        .into_iter()
        .flatten()
        .chain(self.tags.iter().map(|tag| format!("with the tag {tag}")))
        .collect();
        words.extend(self.complete.then(|| "that is complete".to_owned()));
        words.extend(self.whole.then(|| "of which everything is there".to_owned()));
        words.join(", ")
    }

    /// In brief, those that end within a range and may be meant, oldest first: what is told by them needs not be opened.
    pub(super) fn heads(&self, repo: &Repository, within: Within) -> Result<Vec<Head>, OpsError> {
        let by = self.tags.first().map_or(By::All, |tag| By::Tag(tag));
        let mut heads = repo.heads(by, None)?;
        heads.retain(|head| within.holds(head.end));
        Ok(heads)
    }

    /// The snapshots that are meant and end within a range, oldest first.
    pub fn apply_within(
        &self,
        repo: &Repository,
        within: Within,
        progress: &dyn Progress,
    ) -> Result<Vec<Snapshot>, OpsError> {
        let few = !self.tags.is_empty() || within != Within::default();
        let looked_at = if few { repo.open_heads(&self.heads(repo, within)?)? } else { repo.snapshots()? };
        let is_meant = |it: &Snapshot| within.holds(it.content.end) && self.admits(it);
        let mut meant: Vec<Snapshot> = looked_at.into_iter().filter(is_meant).collect();
        if self.whole {
            let mut wholeness = Wholeness::of(repo)?;
            let whole = meant.iter().map(|snapshot| wholeness.is_whole(snapshot, progress));
            let mut whole = whole.collect::<Result<Vec<bool>, _>>()?.into_iter();
            meant.retain(|_| whole.next().unwrap_or(true));
        }
        Ok(meant)
    }
}

fn source_matches(source: &SourceId, wanted: &str) -> bool {
    source.name == wanted
        || source.url == wanted
        || wanted.split_once(':').is_some_and(|(connector, name)| {
            let local = source.name.split_once(':').map_or(source.name.as_str(), |(_, path)| path);
            source.connector == connector && (source.name == name || local == name || same_file(local, name))
        })
}

fn same_file(path: &str, name: &str) -> bool {
    std::fs::canonicalize(name).is_ok_and(|real| real.to_string_lossy() == path)
}

/// The sources among snapshots, each as its newest names it.
#[must_use]
pub fn sources<'s>(snapshots: impl IntoIterator<Item = &'s Snapshot>) -> Vec<SourceId> {
    let mut found: BTreeMap<(&str, &str), &SourceId> = BTreeMap::new();
    for source in snapshots.into_iter().map(|snapshot| snapshot.source()) {
        found.insert((&source.connector, &source.name), source);
    }
    found.into_values().cloned().collect()
}

/// Fails with the list of sources if there is more than one.
pub fn one_source<'s>(snapshots: impl IntoIterator<Item = &'s Snapshot>) -> Result<(), OpsError> {
    let sources = sources(snapshots);
    if sources.len() <= 1 {
        return Ok(());
    }
    let list: Vec<String> = sources.iter().map(|s| format!("\n  {}:{}", s.connector, s.name)).collect();
    let words = format!("more than one source matches:{}", list.concat());
    Err(OpsError::refused_unless(Remedy::ChooseSource, ErrorKind::SeveralSources, words))
}
