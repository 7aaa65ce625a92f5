//! `jsonl:PATH|-` as a source: one pass over the lines sorts them, then ranges are read.

use super::{
    Stream,
    chunks::Chunks,
    gather::{Gathered, gather},
    plain::Keyed,
};
use crate::{
    connector::{
        ConnectorError, Identity, Scope, SessionEnd, SessionOptions, Source, SourceAbilities, SourceCollection,
        SourceSession, SourceUrl,
        shared::sort::{Duplicates, Sorted},
    },
    record::{Clock, KeyCodec, KeyRange, RecordStream, SystemClock, Timestamp},
    repo::manifest::Asked,
};
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
};

/// Lines of JSON to read.
#[derive(Debug)]
pub struct JsonlSource {
    place: Stream,
    default: String,
    /// How ordinary lines are keyed; `None` if the first line is to say whether they are ordinary.
    keyed: Option<Keyed>,
}

impl JsonlSource {
    /// A source at `jsonl:PATH` or `jsonl:-`. Records that name no collection belong to the one that `?collection=` names,
    /// or to one named like the file.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL has other options or the file does not exist.
    pub fn new(url: &SourceUrl) -> Result<Self, ConnectorError> {
        let (place, collection, keyed) = Stream::of(url)?;
        if let Stream::File(path) = &place
            && !path.exists()
        {
            return Err(ConnectorError::Missing { object: path.display().to_string() });
        }
        Ok(Self { keyed, ..Self::of(place, collection) })
    }

    /// Takes the lines for ordinary ones, keyed by a field.
    #[must_use]
    pub fn keyed_by(self, field: Option<String>) -> Self {
        let keyed = field.map(Keyed::ByField).or(self.keyed);
        Self { keyed, ..self }
    }

    pub(super) fn keyed(self, keyed: Option<Keyed>) -> Self {
        Self { keyed, ..self }
    }

    /// The lines at `place`; those that name no collection belong to `collection`.
    pub(super) fn of(place: Stream, collection: Option<String>) -> Self {
        let default = collection.unwrap_or_else(|| place.stem());
        Self { place, default, keyed: None }
    }
}

impl Source for JsonlSource {
    fn identity(&self) -> Identity {
        let name = match &self.place {
            Stream::Standard => "-".to_owned(),
            Stream::File(path) => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                path.to_string_lossy().into_owned()
            }
        };
        Identity { connector: "jsonl", name, local: true }
    }

    fn scope(&self) -> Scope {
        match &self.keyed {
            Some(Keyed::ByField(field)) => {
                let form = BTreeMap::from([("key".to_owned(), field.clone())]);
                let asked = Asked { form, ..Asked::default() };
                Scope { canonical: json!({ "key": field }).to_string(), note: format!("keyed by {field}"), asked }
            }
            _ => Scope::default(),
        }
    }

    fn abilities(&self) -> SourceAbilities {
        // Every line is read before the session begins: what is delivered is one state.
        SourceAbilities { exact: true, ..SourceAbilities::default() }
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        let origin = self.place.show();
        let input: Box<dyn Read + Send> = match &self.place {
            Stream::Standard => Box::new(io::stdin()),
            Stream::File(path) => Box::new(File::open(path).map_err(|source| ConnectorError::Io {
                operation: "open",
                object: origin.clone(),
                source,
            })?),
        };
        let temp_dir = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        let threads = options.parallel.clamp(1, 16);
        let mut chunks = Chunks::new(input, &origin, self.keyed.clone());
        let gathered = gather(&mut chunks, &origin, &self.default, &temp_dir, threads)?;
        Ok(Box::new(JsonlSession::new(gathered, &chunks, origin.clone(), threads)))
    }
}

/// One run over the sorted lines.
struct JsonlSession {
    start: Timestamp,
    end: Timestamp,
    attributes: Json,
    collections: Vec<SourceCollection>,
    sorted: Vec<Sorted>,
    readers: usize,
    notes: Vec<String>,
    missing: Vec<String>,
    origin: String,
}

impl JsonlSession {
    fn new(gathered: Gathered, chunks: &Chunks<'_>, origin: String, readers: usize) -> Self {
        let (mut collections, mut sorted) = (Vec::new(), Vec::new());
        let plain = chunks.keyed.as_ref();
        let lines = plain.map(|_| json!({ "lines": chunks.line, "ended": chunks.ended }));
        for found in gathered.found {
            collections.push(SourceCollection {
                name: found.name,
                codec: plain.map(Keyed::codec).or(found.codec).unwrap_or(KeyCodec::Tuple),
                attributes: lines.clone().or(found.attributes).unwrap_or_else(|| json!({})),
                estimated_bytes: found.bytes,
                estimated_records: found.records,
            });
            sorted.push(found.sorted);
        }
        let attributes = match (plain, gathered.header) {
            (Some(keyed), _) => keyed.attributes(),
            (None, Some((connector, attributes))) => json!({ "connector": connector, "attributes": attributes }),
            (None, None) => json!({}),
        };
        let note = "ordinary JSON lines: each is a record, and its number is its key, unless a field is named whose value is to be the key";
        let notes = chunks.found_out.then(|| note.to_owned()).into_iter().collect();
        let start = SystemClock.now();
        Self { start, end: start, attributes, collections, sorted, readers, notes, missing: gathered.missing, origin }
    }

    fn sorted(&self, collection: usize) -> Result<&Sorted, ConnectorError> {
        self.sorted.get(collection).ok_or_else(|| ConnectorError::Missing {
            object: format!("collection number {collection} of {}", self.origin),
        })
    }
}

impl SourceSession for JsonlSession {
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

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        let stream = self.sorted(collection)?.read(range, &self.origin, Duplicates::Refused);
        let io =
            |source| ConnectorError::Io { operation: "read the sorted lines of", object: self.origin.clone(), source };
        Ok(Box::new(stream.map_err(io)?))
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        Ok(SessionEnd { end: self.end, missing: self.missing.clone(), notes: self.notes.clone(), vanished: 0 })
    }
}
