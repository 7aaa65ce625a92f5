//! What of a snapshot is restored, and under which names.

use super::{RestoreOptions, patterns::Patterns};
use crate::{
    connector::{Overwrite, Target, TargetCollection, TargetPlan},
    layer::Stack,
    ops::{OpsError, Progress, own_place, select::scope::is_everything},
    record::{KeyCodec, KeyRange},
    repo::{Repository, Snapshot, drills::Sample, manifest::Collection},
    report::{ErrorKind, Remedy},
};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// A collection to restore.
pub(super) struct Selected<'a> {
    pub(super) collection: &'a Collection,
    pub(super) new_name: Option<String>,
    pub(super) filter: Filter,
}

impl Selected<'_> {
    pub(super) fn name(&self) -> &str {
        self.new_name.as_deref().unwrap_or(&self.collection.name)
    }

    pub(super) fn target(&self) -> TargetCollection {
        TargetCollection {
            name: self.name().to_owned(),
            source_name: self.collection.name.clone(),
            codec: self.collection.codec,
            attributes: self.collection.attributes.clone(),
            records: self.collection.records,
        }
    }
}

/// Which records of a collection.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Filter {
    codec: KeyCodec,
    /// Sorted keys; empty for all.
    pub(in crate::ops) keys: Vec<Vec<u8>>,
    include: Option<Patterns>,
    exclude: Option<Patterns>,
    sample: Option<Sample>,
}

impl Filter {
    /// Every record is meant, drawn by lot or not.
    pub(super) const fn take_all_drawn(&mut self) {
        self.sample = None;
    }

    /// Whether a record is meant.
    pub(in crate::ops) fn means(&self, key: &[u8]) -> bool {
        (self.keys.is_empty() || self.keys.binary_search_by(|wanted| wanted.as_slice().cmp(key)).is_ok())
            && self.admits(key)
    }

    /// Whether every record is meant.
    pub(super) const fn means_all(&self) -> bool {
        self.keys.is_empty() && self.include.is_none() && self.exclude.is_none() && self.sample.is_none()
    }

    /// Whether a record is meant, its key being in one of the ranges that [`Self::keys`] gives.
    pub(in crate::ops) fn admits(&self, key: &[u8]) -> bool {
        if self.sample.is_some_and(|sample| !sample.means(key)) {
            return false;
        }
        if self.include.is_none() && self.exclude.is_none() {
            return true;
        }
        let hit = |patterns: &Patterns| patterns.hit(self.codec, key);
        // Both are asked always: which patterns met nothing is told.
        let (included, excluded) = (self.include.as_ref().map(hit), self.exclude.as_ref().map(hit));
        included.unwrap_or(true) && !excluded.unwrap_or(false)
    }
}

fn filter(collection: &Collection, options: &RestoreOptions) -> Result<Filter, OpsError> {
    let mut keys = Vec::new();
    for text in &options.keys {
        keys.extend(parse_key(collection.codec, text)?);
    }
    keys.sort();
    keys.dedup();
    let codec = collection.codec;
    let [include, exclude] = [&options.include, &options.exclude].map(|texts| Patterns::new(codec, texts));
    Ok(Filter { codec, keys, include: include?, exclude: exclude?, sample: options.sample })
}

/// Which patterns met no record of any collection, in words.
pub(super) fn unmatched(selected: &[Selected<'_>]) -> Vec<String> {
    let of = |what: &str, patterns: fn(&Filter) -> Option<&Patterns>| {
        let all: Vec<&Patterns> = selected.iter().filter_map(|one| patterns(&one.filter)).collect();
        let texts = all.first().map(|first| first.texts()).unwrap_or_default();
        let missed = texts.into_iter().enumerate().filter(|(at, _)| !all.iter().any(|one| one.has_met(*at)));
        missed.map(|(_, text)| format!("the {what} pattern `{text}` matched nothing")).collect::<Vec<_>>()
    };
    let mut words = of("include", |filter| filter.include.as_ref());
    words.extend(of("exclude", |filter| filter.exclude.as_ref()));
    words
}

/// The keys that a person's words may mean: a path may be a directory's too.
pub(in crate::ops) fn parse_key(codec: KeyCodec, text: &str) -> Result<Vec<Vec<u8>>, OpsError> {
    let key = codec.parse(text).map_err(|error| OpsError::Usage(error.to_string()))?;
    if codec == KeyCodec::Path && !key.ends_with(b"/") {
        let mut directory = key.clone();
        directory.push(b'/');
        return Ok(vec![key, directory]);
    }
    Ok(vec![key])
}

/// The connector that a snapshot's records were first taken with, and its attributes: lines of JSON carry both along.
fn origin(snapshot: &Snapshot) -> (String, Json) {
    let (connector, attributes) = (&snapshot.content.source.connector, &snapshot.content.attributes);
    let carried = (connector == "jsonl").then(|| (attributes.get("connector"), attributes.get("attributes")));
    match carried {
        Some((Some(Json::String(first)), Some(attributes))) => (first.clone(), attributes.clone()),
        _ => (connector.clone(), attributes.clone()),
    }
}

/// What a restore of these collections is to write.
pub(super) fn target_plan(
    repo: &Repository,
    snapshot: &Snapshot,
    selected: &[Selected<'_>],
    options: &RestoreOptions,
) -> TargetPlan {
    let (connector, attributes) = origin(snapshot);
    let unsaid = if options.make_equal { Overwrite::IfChanged } else { Overwrite::Never };
    TargetPlan {
        connector,
        attributes,
        collections: selected.iter().map(Selected::target).collect(),
        overwrite: options.overwrite.unwrap_or(unsaid),
        make_equal: options.make_equal,
        partial: options.has_filters() || selected.len() < snapshot.collections.len(),
        leave_alone: own_place(repo),
        repository: Some(repo.storage().location().to_owned()),
        left_out: (!is_everything(snapshot)).then(|| snapshot.content.asked.clone()),
        snapshot: Some(snapshot.id.to_string()),
        as_of: snapshot.content.end,
        parallel: options.parallel.max(1),
    }
}

/// Refuses options that make no sense together, or with this snapshot.
pub(super) fn check_options(snapshot: &Snapshot, options: &RestoreOptions) -> Result<(), OpsError> {
    if options.no_records && (options.make_equal || options.verify) {
        return Err(OpsError::Usage("without records there is nothing to make equal or to verify".to_owned()));
    }
    if options.make_equal && !options.force && !snapshot.content.complete {
        let words = format!(
            "snapshot {} is partial: making equal would remove records that it merely does not know",
            snapshot.id.short()
        );
        return Err(OpsError::refused_unless(Remedy::Force, ErrorKind::SnapshotPartial, words));
    }
    Ok(())
}

/// Chooses collections by name.
pub(super) fn select<'a>(
    snapshot: &'a Snapshot,
    target: &dyn Target,
    options: &RestoreOptions,
) -> Result<Vec<Selected<'a>>, OpsError> {
    let mut selected = Vec::new();
    if options.collections.is_empty() {
        for collection in &snapshot.collections {
            selected.push(Selected { collection, new_name: None, filter: filter(collection, options)? });
        }
    }
    for (name, new_name) in &options.collections {
        let collection = find_collection(snapshot, name)?;
        selected.push(Selected { collection, new_name: new_name.clone(), filter: filter(collection, options)? });
    }
    if let Some(name) = target.collection() {
        let [one] = selected.as_mut_slice() else {
            let words = format!("the target names one collection ({name}), but {} would be restored", selected.len());
            return Err(OpsError::refused_unless(Remedy::ChooseCollection, ErrorKind::Ambiguous, words));
        };
        one.new_name = Some(name);
    }
    for (index, one) in selected.iter().enumerate() {
        if selected[..index].iter().any(|other| other.name() == one.name()) {
            return Err(OpsError::Usage(format!("two collections would be restored as {}", one.name())));
        }
    }
    Ok(selected)
}

/// Finds a collection of a snapshot by name.
pub(in crate::ops) fn find_collection<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a Collection, OpsError> {
    snapshot.collections.iter().find(|collection| collection.name == name).ok_or_else(|| {
        let names: Vec<&str> = snapshot.collections.iter().take(20).map(|c| c.name.as_str()).collect();
        OpsError::refused(
            ErrorKind::NoCollection,
            format!(
                "snapshot {} has no collection `{name}`; it has {}: {}",
                snapshot.id.short(),
                snapshot.collections.len(),
                names.join(", ")
            ),
        )
    })
}

/// Fails if a record that was asked for by its key is in none of the collections: a restore of nothing would look like a
/// success.
pub(super) fn check_keys(
    repo: &Repository,
    snapshot: &Snapshot,
    selected: &[Selected<'_>],
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<(), OpsError> {
    // Keys may be many: each collection is opened once for all of them, and what is named twice is looked for once.
    let texts: BTreeSet<&String> = options.keys.iter().collect();
    let open = |one: &Selected<'_>| Stack::open(&repo.chunks(), &one.collection.stack);
    let stacks = if texts.is_empty() { Vec::new() } else { selected.iter().map(open).collect::<Result<_, _>>()? };
    'keys: for text in texts {
        if progress.cancelled() {
            return Err(OpsError::Interrupted);
        }
        for (one, stack) in selected.iter().zip(&stacks) {
            for key in parse_key(one.collection.codec, text)? {
                let found = stack.cursor(&KeyRange::only(&key), snapshot.content.end, true)?.advance();
                match found {
                    Ok(false) => {}
                    Ok(true) => continue 'keys,
                    // Whether it is there cannot be told; the restore itself will say what is lost.
                    Err(_) if options.keep_going => continue 'keys,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let words = format!("snapshot {} has no record {text}; nothing was written", snapshot.id.short());
        return Err(OpsError::refused(ErrorKind::NoRecord, words));
    }
    Ok(())
}

/// Refuses what the target cannot do to records that exist.
pub(super) fn check_overwrite(target: &dyn Target, options: &RestoreOptions) -> Result<(), OpsError> {
    match options.overwrite {
        Some(overwrite) if !target.abilities().overwrites.contains(&overwrite) => Err(OpsError::refused_unless(
            Remedy::SimplerOverwrite,
            ErrorKind::Unsupported,
            format!("{}: targets know neither if-newer nor merge; nothing was written", target.connector()),
        )),
        _ => Ok(()),
    }
}

/// Refuses a target that holds records, unless the person said what should happen to them.
pub(super) fn check_occupied(
    target: &dyn Target,
    selected: &[Selected<'_>],
    options: &RestoreOptions,
) -> Result<(), OpsError> {
    if options.overwrite.is_some() || options.make_equal || options.no_records {
        return Ok(());
    }
    let names: Vec<String> = selected.iter().map(|one| one.name().to_owned()).collect();
    let occupied = target.occupied(&names)?;
    if occupied.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = occupied.iter().map(|(name, records)| format!("{name} (at least {records})")).collect();
    let words = format!("the target already holds records: {}; nothing was written", list.join(", "));
    Err(OpsError::refused_unless(Remedy::ChooseOverwrite, ErrorKind::TargetOccupied, words))
}
