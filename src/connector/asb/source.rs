//! `asb:PATH` as a source: one pass over the files sorts their records, then ranges are read.

use super::{
    cipher::Cipher,
    gather::{Gathered, How, gather, place_of, show_key},
    options::{CipherOptions, PartOptions, PlaceOptions, ReadOptions},
    parts::FileParts,
    place::{AsbPlace, Input},
    spot::Spot,
    step::Step,
};
use crate::{
    connector::{
        ChangeSource, ConnectorError, Identity, MetaStream, Scope, SessionEnd, SessionOptions, Source, SourceAbilities,
        SourceCollection, SourceSession, SourceUrl, Spread, Unordered,
        change::Presence,
        shared::{
            sort::{Duplicates, Sorted, Twice},
            space,
        },
    },
    record::{Clock as _, KeyCodec, KeyRange, RecordBatch, RecordStream, SystemClock, Timestamp},
    repo::manifest::Asked,
};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// How much compressed files are taken to hold.
const GUESSED_RATIO: u64 = 4;

/// Files to read.
#[derive(Debug)]
pub struct AsbSource {
    pub(super) place: AsbPlace,
    pub(super) cipher: Option<Cipher>,
    pub(super) part: PartOptions,
    pub(super) read: ReadOptions,
    /// One state of a chain.
    step: Option<Step>,
}

impl AsbSource {
    /// The files that a URL names.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense, or there is no such file.
    pub fn new(
        url: &SourceUrl,
        cipher: &CipherOptions,
        part: PartOptions,
        read: ReadOptions,
        at: &PlaceOptions,
    ) -> Result<Self, ConnectorError> {
        let (place, step) = match Step::of(url, at)? {
            Some(step) => (step.place(), Some(step)),
            None => (AsbPlace::of(url, at)?, None),
        };
        let source = Self { place, cipher: cipher.cipher()?, part, read, step };
        source.place.inputs()?;
        Ok(source)
    }

    /// The same files as they are read back.
    pub(super) fn of(place: AsbPlace, cipher: Option<Cipher>) -> Self {
        Self { place, cipher, part: PartOptions::default(), read: ReadOptions::default(), step: None }
    }

    /// The time that the records are of: all of them were there then.
    fn as_of(&self, inputs: &[Input], gathered: &mut Gathered) -> Timestamp {
        if let Some(millis) = self.read.as_of {
            return Timestamp::from_millis(millis);
        }
        let of_files = || {
            let oldest = inputs.iter().filter_map(|input| input.file.as_ref()?.written()).min();
            oldest.map_or_else(|| SystemClock.now(), Timestamp::from_millis)
        };
        if self.step.is_none() && inputs.iter().any(|input| input.file.as_ref().is_some_and(|file| !file.is_here())) {
            gathered.globals.notes.push(
                "the place does not tell when the files were written: their records are taken to be of now".to_owned(),
            );
        }
        let told = self.step.as_ref().map_or_else(of_files, |step| step.created);
        // No scan shows what is over: it was made before the first record was.
        match i64::try_from(gathered.earliest_expiry) {
            Ok(expiry) if expiry != 0 && expiry <= told.as_millis() => {
                let before = Timestamp::from_millis(expiry - 1);
                gathered.globals.notes.push(format!(
                    "the records are taken to be of {before}: one of them expired then, and would not be among them later"
                ));
                before
            }
            _ => told,
        }
    }

    fn needed_space(&self, inputs: &[Input]) -> u64 {
        inputs.iter().map(|input| input.len * if self.is_compressed(input) { GUESSED_RATIO } else { 1 }).sum()
    }

    fn is_compressed(&self, input: &Input) -> bool {
        let Some(file) = &input.file else { return false };
        let peeled = file.open().and_then(|file| super::layers::peel(file, self.cipher.as_ref()));
        peeled.is_ok_and(|(_, layers)| layers.is_compressed)
    }

    fn sorted(&self, options: &SessionOptions) -> Result<AsbSession, ConnectorError> {
        let inputs = self.place.inputs()?;
        let temp_dir = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        space::check(&temp_dir, self.needed_space(&inputs))?;
        let mut gathered = gather(&How {
            inputs: &inputs,
            cipher: self.cipher.as_ref(),
            part: &self.part,
            salvage: self.read.salvage,
            threads: options.parallel,
            temp_dir: &temp_dir,
        })?;
        if let Some(step) = &self.step {
            step.complete(&mut gathered, self.cipher.as_ref(), &self.part)?;
        }
        let unfinished = self.place.unfinished()?;
        gathered.missing.extend(unfinished.surely);
        gathered.globals.notes.extend(unfinished.perhaps);
        let start = self.as_of(&inputs, &mut gathered);
        let mut session = AsbSession {
            origin: self.place.show(),
            start,
            attributes: gathered.globals.attributes(),
            collections: Vec::new(),
            sorted: Vec::new(),
            twice: Arc::default(),
            parts: None,
            inputs,
            readers: options.parallel.clamp(1, 16),
            is_increment: self.step.as_ref().is_some_and(|step| step.is_increment),
            notes: std::mem::take(&mut gathered.globals.notes),
            missing: gathered.missing,
        };
        for (name, (sorted, records, bytes)) in gathered.sorted {
            let attributes = gathered.globals.namespaces.get(&name).cloned().unwrap_or_default().attributes();
            session.collections.push(SourceCollection {
                name: String::from_utf8_lossy(&name).into_owned(),
                codec: KeyCodec::Digest,
                attributes,
                estimated_bytes: bytes,
                estimated_records: records,
            });
            session.sorted.push(sorted);
        }
        Ok(session)
    }
}

impl Source for AsbSource {
    fn identity(&self) -> Identity {
        let name = match (&self.step, &self.place) {
            (Some(step), _) => step.root.name(),
            (None, AsbPlace::Standard) => "-".to_owned(),
            (None, AsbPlace::Spots(spots)) => spots.iter().map(Spot::name).collect::<Vec<_>>().join(", "),
        };
        let local = match &self.place {
            AsbPlace::Standard => true,
            AsbPlace::Spots(spots) => spots.iter().all(Spot::is_here),
        };
        Identity { connector: "asb", name, local }
    }

    fn scope(&self) -> Scope {
        if self.part == PartOptions::default() {
            return Scope::default();
        }
        let PartOptions { sets, bins, no_records, no_indexes, no_udfs } = &self.part;
        let canonical = json!([sets, bins, no_records, no_indexes, no_udfs]).to_string();
        let mut asked = Asked::default();
        for (facet, names) in [("sets", sets), ("bins", bins)] {
            if !names.is_empty() {
                asked.only.insert(facet.to_owned(), names.clone());
            }
        }
        for (facet, is_left_out) in [("records", *no_records), ("indexes", *no_indexes), ("udfs", *no_udfs)] {
            if is_left_out {
                asked.without.entry("parts".to_owned()).or_default().push(facet.to_owned());
            }
        }
        Scope { note: format!("part of the files: {canonical}"), canonical, asked }
    }

    fn abilities(&self) -> SourceAbilities {
        SourceAbilities {
            exact: true,
            change_filter: self.step.as_ref().is_some_and(|step| step.is_increment),
            reads_once: false,
        }
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        // Of standard input all must come before its indexes are known.
        if options.unordered && self.place != AsbPlace::Standard {
            let inputs = self.place.inputs()?;
            let parts = FileParts::new(&inputs, self.cipher.as_ref(), &self.part, self.read.salvage)?;
            let unfinished = self.place.unfinished()?;
            return Ok(Box::new(AsbSession {
                origin: self.place.show(),
                start: SystemClock.now(),
                attributes: parts.globals.attributes(),
                collections: parts.collections(),
                sorted: Vec::new(),
                twice: Arc::default(),
                notes: [parts.globals.notes.clone(), unfinished.perhaps].concat(),
                parts: Some(parts),
                inputs,
                readers: options.parallel.clamp(1, 64),
                is_increment: false,
                missing: unfinished.surely,
            }));
        }
        Ok(Box::new(self.sorted(options)?))
    }
}

/// One run over the files.
struct AsbSession {
    origin: String,
    start: Timestamp,
    attributes: Json,
    collections: Vec<SourceCollection>,
    /// By collection; empty where records are given as they stand in the files.
    sorted: Vec<Sorted>,
    twice: Arc<Twice>,
    parts: Option<FileParts>,
    inputs: Vec<Input>,
    readers: usize,
    is_increment: bool,
    notes: Vec<String>,
    missing: Vec<String>,
}

impl AsbSession {
    fn sorted(&self, collection: usize) -> Result<&Sorted, ConnectorError> {
        self.sorted.get(collection).ok_or_else(|| ConnectorError::Missing {
            object: format!("collection number {collection} of {}", self.origin),
        })
    }

    fn stream(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        let stream = self.sorted(collection)?.read(range, &self.origin, Duplicates::LastWins(Arc::clone(&self.twice)));
        Ok(Box::new(stream.map_err(|source| ConnectorError::Io {
            operation: "read the sorted records of",
            object: self.origin.clone(),
            source,
        })?))
    }
}

impl SourceSession for AsbSession {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn attributes(&self) -> Json {
        self.attributes.clone()
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        self.readers
    }

    fn splits(&self, collection: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        Ok(self.sorted(collection)?.splits(parts))
    }

    fn spread(&self, _: usize) -> Spread {
        Spread::Even
    }

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        self.stream(collection, range)
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        let (mut notes, mut missing) = (self.notes.clone(), self.missing.clone());
        let (count, pairs) = self.twice.told();
        if count > 0 {
            let shown: Vec<String> = pairs
                .iter()
                .map(|(key, one, other)| {
                    format!(
                        "{} ({}, then {})",
                        show_key(key),
                        place_of(*one, &self.inputs),
                        place_of(*other, &self.inputs)
                    )
                })
                .collect();
            notes.push(format!(
                "{count} records stand more than once, and each is as it stands last: {}",
                shown.join(", ")
            ));
        }
        if let Some(parts) = &self.parts {
            let (more_notes, more_missing) = parts.told();
            // Files whose heads were read before are read whole now.
            let of_new = |all: &Vec<String>, more: Vec<String>| {
                more.into_iter().filter(|line| !all.contains(line)).collect::<Vec<_>>()
            };
            notes.extend(of_new(&notes, more_notes));
            missing.extend(of_new(&missing, more_missing));
        }
        Ok(SessionEnd { end: self.start, missing, notes, ..SessionEnd::default() })
    }

    fn changes(&self) -> Option<&dyn ChangeSource> {
        self.is_increment.then_some(self as &dyn ChangeSource)
    }

    fn unordered(&self) -> Option<&dyn Unordered> {
        self.parts.as_ref().map(|parts| parts as &dyn Unordered)
    }
}

/// An increment holds what changed since the state before it, whatever time is asked for; it does not tell what is gone.
impl ChangeSource for AsbSession {
    fn read_changed(
        &self,
        collection: usize,
        range: &KeyRange,
        _: Timestamp,
    ) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        self.stream(collection, range)
    }

    fn sweep(&self, _: usize, _: &KeyRange, _: Option<Timestamp>) -> Result<Box<dyn MetaStream + '_>, ConnectorError> {
        Err(ConnectorError::Usage {
            object: self.origin.clone(),
            reason: "an incremental backup of these tools does not tell what is gone".to_owned(),
        })
    }

    fn read_keys(&self, _: usize, keys: &[&[u8]], _: &mut RecordBatch) -> Result<Vec<Presence>, ConnectorError> {
        let unknown = || Presence::Unknown("the files do not tell".to_owned());
        Ok(keys.iter().map(|_| unknown()).collect())
    }

    fn margin_millis(&self) -> i64 {
        0
    }

    fn emptied(&self, _: usize, _: &[u8]) -> Option<Timestamp> {
        None
    }
}
