//! What a stream goes on from: its newest snapshot, and whether the server still has all that follows.

use super::Logical;
use crate::{
    connector::postgres::{
        log::{StreamState, state_of},
        logical::{Follower, Held, SlotStanding, Tables, is_of_unread},
    },
    ops::{
        OpsError,
        stream::{Arrival, StreamCommit, StreamOptions},
    },
    record::{KeyCodec, Timestamp},
    repo::{By, Snapshot, SnapshotId, manifest::Kind},
    report::WarningKind,
};
use serde_json::Value as Json;
use std::collections::BTreeSet;

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

/// Why definitions are read again where no table need be.
pub(super) const REDEFINED: &str = "definitions other than those of tables changed and are read again";

/// What definitions need that are no longer those of the collections.
pub(super) enum Needs {
    /// They are.
    Nothing,
    /// What differs is to be read again, for this reason, and these tables in any case.
    Part(String, BTreeSet<String>),
    /// Everything is to be read again.
    Base(String),
}

/// The newest snapshot of the stream, if there is one.
pub(super) fn newest(logical: &Logical<'_>) -> Result<Option<Lineage>, OpsError> {
    let source = logical.source;
    let its = |snapshot: &Snapshot| {
        snapshot.source().is_same(&source.source)
            && snapshot.content.scope == source.scope
            && state_of(&snapshot.content.attributes).is_some_and(|state| state.slot == logical.options.slot)
    };
    let found = logical.repo.last(By::Source(&source.source), Some(&source.scope), &its)?;
    Ok(found.as_ref().and_then(|found| Lineage::of(logical, found)))
}

impl Lineage {
    /// What goes on from a snapshot, if it says how.
    pub(super) fn of(logical: &Logical<'_>, snapshot: &Snapshot) -> Option<Self> {
        let mut state = state_of(&snapshot.content.attributes)?;
        let is_base = snapshot.content.kind != Kind::Journal;
        let problems = &snapshot.content.problems;
        state.is_whole |= snapshot.content.complete
            || is_base && !problems.is_empty() && problems.iter().all(|problem| is_of_unread(problem));
        let collections = snapshot.collections.iter();
        Some(Self {
            parent: snapshot.id,
            end: snapshot.content.end,
            state,
            attributes: snapshot.content.attributes.clone(),
            collections: collections.map(|one| (one.name.clone(), one.codec, one.attributes.clone())).collect(),
            problems: Vec::new(),
            is_new: is_base,
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

    /// What goes on from the same snapshot with other collections, as a session describes them.
    pub(super) fn with(&self, attributes: Json, collections: Vec<(String, KeyCodec, Json)>) -> Option<Self> {
        let StreamState { position, base, is_whole, .. } = self.state.clone();
        let state = StreamState { position, base, is_whole, ..state_of(&attributes)? };
        let told = collections.iter().map(|(name, ..)| !state.untold.contains(name)).collect();
        let options = self.options.clone();
        let (problems, marked, is_new) = (Vec::new(), None, false);
        Some(Self {
            parent: self.parent,
            end: self.end,
            state,
            attributes,
            collections,
            problems,
            is_new,
            options,
            marked,
            told,
        })
    }

    /// What a session need not give again; some of it it shall.
    pub(super) fn held(&self, again: &BTreeSet<String>) -> Held {
        let stamp = |name: &String| self.state.stamps.get(name).cloned();
        let collections = self.collections.iter().map(|(name, _, json)| (name.clone(), (json.clone(), stamp(name))));
        Held { collections: collections.collect(), again: again.clone() }
    }

    /// The collections of which changes are not told.
    pub(super) fn untold(&self) -> BTreeSet<String> {
        let untold = self.collections.iter().zip(&self.told).filter(|(_, told)| !**told);
        untold.map(|((name, ..), _)| name.clone()).collect()
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

    /// What is needed if definitions are no longer those of the collections.
    pub(super) fn check(&mut self, logical: &Logical<'_>, follower: &mut Follower) -> Result<Needs, OpsError> {
        let (tables, publication) = follower.marks()?;
        let is_other = publication != self.state.publication;
        let listed =
            if is_other { follower.added(&self.state.publication, &publication)? } else { Some(BTreeSet::new()) };
        let Some(listed) = listed else { return Ok(Needs::Base("the publication was altered".to_owned())) };
        let is_redefined = self.state.definitions.as_ref() != Some(&follower.definitions()?);
        if !is_other && !is_redefined && self.marked.as_ref() == Some(&tables) {
            return Ok(Needs::Nothing);
        }
        let mut found = follower.tables()?;
        let added = follower.publish(&mut found)?;
        if self.marked.is_some() {
            follower.learn_anew();
        }
        // What cannot be followed differs only in what a base says of it.
        let meant = self.all().map(|(at, name, json)| (at, name, json, found.why_left(name).is_none()));
        follower.follow(meant, &self.state.oids)?;
        // Of what was not told for a while nobody knows what came of it.
        let was_untold = |name: &&String| self.state.untold.contains(*name) && found.why_left(name).is_none();
        let mut again: BTreeSet<String> =
            self.collections.iter().map(|(name, ..)| name).filter(was_untold).cloned().collect();
        again.extend(added.into_iter().chain(listed));
        let differ = follower.compare(&found, &self.state.stamps)?;
        if let Some((name, how)) = differ.first_key_value() {
            let more =
                if differ.len() > 1 { format!(", and {} others changed", differ.len() - 1) } else { String::new() };
            let why = format!("table {name} {how}{more}");
            again.extend(differ.into_keys());
            return Ok(Needs::Part(why, again));
        }
        if is_other || !again.is_empty() || follower.marks()?.1 != publication {
            return Ok(Needs::Part("the publication lists other tables".to_owned(), again));
        }
        if is_redefined {
            return Ok(Needs::Part(REDEFINED.to_owned(), again));
        }
        self.told = self.collections.iter().map(|(name, ..)| found.why_left(name).is_none()).collect();
        self.note_problems(logical, follower, &found)?;
        self.marked = Some(tables);
        Ok(Needs::Nothing)
    }

    /// Notes what is not told, and says what of it is new.
    pub(super) fn note_problems(
        &mut self,
        logical: &Logical<'_>,
        follower: &mut Follower,
        found: &Tables,
    ) -> Result<(), OpsError> {
        let mut problems: Vec<String> =
            found.left().map(|(name, why)| format!("changes of table {name} are not in it: {why}")).collect();
        let objects = follower.large_objects()?;
        if objects > 0 {
            problems
                .push(format!("changes of large objects are not in it: no stream tells them ({objects} are there)"));
        }
        problems.extend(follower.unread_sequences()?);
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            logical.progress.warn(WarningKind::Problem, follower.object(), problem.as_str());
        }
        self.problems = problems;
        Ok(())
    }

    /// Numbers, names and attributes of the collections that are tables.
    fn all(&self) -> impl Iterator<Item = (usize, &str, &Json)> {
        let is_table = |json: &Json| json.get("table").is_some();
        let all = self.collections.iter().enumerate();
        all.filter(move |(_, (.., json))| is_table(json)).map(|(at, (name, _, json))| (at, name.as_str(), json))
    }

    /// The same, and whether changes of them are told.
    pub(super) fn followed(&self) -> impl Iterator<Item = (usize, &str, &Json, bool)> {
        self.all().map(|(at, name, json)| (at, name, json, self.told.get(at) == Some(&true)))
    }
}
