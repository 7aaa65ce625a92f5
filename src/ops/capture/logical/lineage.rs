//! What a stream goes on from: its newest snapshot, and whether the server still has all that follows.

use super::Logical;
use crate::{
    connector::postgres::{
        log::{StreamState, state_of},
        logical::{Follower, SlotStanding},
    },
    ops::{
        OpsError,
        stream::{Arrival, StreamCommit, StreamOptions},
    },
    record::{KeyCodec, Timestamp},
    repo::{Snapshot, SnapshotId, manifest::Kind},
    report::WarningKind,
};
use serde_json::Value as Json;

/// A snapshot of the stream, and what is known of the collections that follow from it.
pub(super) struct Lineage {
    pub(super) parent: SnapshotId,
    /// Its end: no version is stamped before.
    pub(super) end: Timestamp,
    pub(super) state: StreamState,
    /// What it says beside its collections.
    pub(super) attributes: Json,
    /// Names, codecs and attributes.
    pub(super) collections: Vec<(String, KeyCodec, Json)>,
    /// What is not told of, in words.
    pub(super) problems: Vec<String>,
    /// Whether nothing follows yet from a base that was taken beside an older stream.
    pub(super) is_new: bool,
    /// How the next snapshot is written.
    pub(super) options: StreamOptions,
    /// What definitions were like when they were last compared.
    marked: Option<String>,
    /// The collections whose changes are told.
    told: Vec<bool>,
}

/// The newest snapshot of the stream, if there is one.
pub(super) fn newest(logical: &Logical<'_>) -> Result<Option<Lineage>, OpsError> {
    let source = logical.source;
    let its = |snapshot: &Snapshot| {
        snapshot.source().is_same(&source.source)
            && snapshot.content.scope == source.scope
            && state_of(&snapshot.content.attributes).is_some_and(|state| state.slot == logical.options.slot)
    };
    let found = logical.repo.snapshots()?.into_iter().rfind(its);
    Ok(found.as_ref().and_then(|found| Lineage::of(logical, found)))
}

impl Lineage {
    /// What goes on from a snapshot, if it says how.
    pub(super) fn of(logical: &Logical<'_>, snapshot: &Snapshot) -> Option<Self> {
        let state = state_of(&snapshot.content.attributes)?;
        let collections = snapshot.collections.iter();
        Some(Self {
            parent: snapshot.id,
            end: snapshot.content.end,
            state,
            attributes: snapshot.content.attributes.clone(),
            collections: collections.map(|one| (one.name.clone(), one.codec, one.attributes.clone())).collect(),
            problems: Vec::new(),
            is_new: snapshot.content.kind != Kind::Journal,
            options: StreamOptions {
                arrival: Arrival::Settled,
                parent: Some(snapshot.id),
                supersede: !logical.options.once,
                ..logical.stream.clone()
            },
            marked: None,
            told: vec![true; snapshot.collections.len()],
        })
    }

    /// Goes on from the snapshot that was committed.
    pub(super) fn go_on(&mut self, commit: &StreamCommit, state: StreamState, attributes: Json) {
        self.parent = commit.id;
        self.options.parent = Some(commit.id);
        self.end = commit.end;
        self.state = state;
        self.attributes = attributes;
        self.is_new = false;
    }

    /// Why the server cannot tell all that followed, if it cannot.
    pub(super) fn gap(&self, standing: &SlotStanding, system: Option<&str>) -> Option<String> {
        let StreamState { slot: name, position, timeline, system: own, .. } = &self.state;
        if let (Some(own), Some(system)) = (own, system)
            && own != system
        {
            return Some(format!("this is another server ({system}) than the one that was followed ({own})"));
        }
        if standing.timeline != *timeline {
            let found = &standing.timeline;
            return Some(format!("the server is on timeline {found}, and timeline {timeline} was followed"));
        }
        let Some(slot) = &standing.slot else { return Some(format!("slot {name} is gone")) };
        if slot.plugin.as_deref() != Some("pgoutput") || !slot.is_ours {
            return Some(format!("slot {name} is another one, of another database or of physical replication"));
        }
        if slot.wal_status.as_deref() == Some("lost") {
            return Some(format!("the server gave slot {name} up: it held back more log than max_slot_wal_keep_size"));
        }
        match slot.confirmed {
            Some(confirmed) if confirmed <= *position => None,
            Some(confirmed) => {
                Some(format!("slot {name} was moved on to {confirmed} by somebody else, from {position}"))
            }
            None => Some(format!("slot {name} has no place in the log")),
        }
    }

    /// Why a new base is needed, if definitions are no longer those of the collections.
    pub(super) fn check(&mut self, logical: &Logical<'_>, follower: &mut Follower) -> Result<Option<String>, OpsError> {
        let (tables, publication) = follower.marks()?;
        if publication != self.state.publication {
            return Ok(Some("the publication or an enumeration was altered".to_owned()));
        }
        if self.marked.as_ref() == Some(&tables) {
            return Ok(None);
        }
        let mut found = follower.tables()?;
        follower.publish(&mut found)?;
        if self.marked.is_some() {
            follower.learn_anew();
        }
        // What cannot be followed differs only in what a base says of it.
        follower.follow(self.all().filter(|(_, name, _)| found.why_left(name).is_none()))?;
        if let Some(why) = follower.compare(&found) {
            return Ok(Some(why));
        }
        if follower.marks()?.1 != publication {
            return Ok(Some("the publication lacked a table".to_owned()));
        }
        self.told = self.collections.iter().map(|(name, ..)| found.why_left(name).is_none()).collect();
        let mut problems: Vec<String> =
            found.left().map(|(name, why)| format!("changes of table {name} are not in it: {why}")).collect();
        let objects = follower.large_objects()?;
        if objects > 0 {
            problems
                .push(format!("changes of large objects are not in it: no stream tells them ({objects} are there)"));
        }
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            logical.progress.warn(WarningKind::Problem, follower.object(), problem.as_str());
        }
        self.problems = problems;
        self.marked = Some(tables);
        Ok(None)
    }

    /// Numbers, names and attributes of the collections that are tables.
    fn all(&self) -> impl Iterator<Item = (usize, &str, &Json)> {
        let is_table = |json: &Json| json.get("table").is_some();
        let all = self.collections.iter().enumerate();
        all.filter(move |(_, (.., json))| is_table(json)).map(|(at, (name, _, json))| (at, name.as_str(), json))
    }

    /// Those of which changes are told.
    pub(super) fn followed(&self) -> impl Iterator<Item = (usize, &str, &Json)> {
        self.all().filter(|(at, ..)| self.told.get(*at) == Some(&true))
    }
}
