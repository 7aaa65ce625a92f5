//! `jsonl:PATH|-` as a source: one pass over the lines sorts them, then ranges are read.

use super::{
    Stream,
    line::{self, Line, RecordLine},
    plain::{self, Keyed, Wrong},
};
use crate::{
    connector::{
        ConnectorError, Identity, Scope, SessionEnd, SessionOptions, Source, SourceAbilities, SourceCollection,
        SourceSession, SourceUrl,
        shared::{
            sort::{Duplicates, Sorted, Sorter, Twice, encode_body, must_spill_of},
            spool::Spool,
        },
    },
    record::{
        Clock, Expiry, KeyCodec, KeyRange, MAX_KEY_BYTES, Meta, RecordStream, SystemClock, Timestamp, key::encode_int,
    },
    repo::manifest::Asked,
    report::Remedy,
};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

/// The longest line.
const MAX_LINE_BYTES: u64 = 512 << 20;
/// Lines of nothing but space, and bytes of one, before which a file that is not an ordinary one has begun.
const MAX_BLANK: usize = 4096;
/// So many bad lines before any good one, and the file is none of lines of JSON.
const MAX_BAD_ALONE: u64 = 1000;
/// The most collections of one file: each has a sorter.
const MAX_COLLECTIONS: usize = 10_000;

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
        let input: Box<dyn Read> = match &self.place {
            Stream::Standard => Box::new(io::stdin()),
            Stream::File(path) => Box::new(File::open(path).map_err(|source| ConnectorError::Io {
                operation: "open",
                object: origin.clone(),
                source,
            })?),
        };
        let temp_dir = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        let spool = Spool::new(&temp_dir).map_err(|source| ConnectorError::Io {
            operation: "make a temporary file in",
            object: temp_dir.display().to_string(),
            source,
        })?;
        let mut lines = Lines::new(&origin, &self.default, spool);
        lines.keyed.clone_from(&self.keyed);
        lines.read_all(input)?;
        let readers = options.parallel.clamp(1, 16);
        Ok(Box::new(lines.session(SystemClock.now(), readers)?))
    }
}

struct Found {
    name: String,
    codec: Option<KeyCodec>,
    attributes: Option<Json>,
    sorter: Sorter,
}

/// The pass over the lines.
struct Lines<'a> {
    origin: &'a str,
    default: &'a str,
    spool: Arc<Spool>,
    /// What all sorters hold in memory.
    pending_bytes: usize,
    header: Option<(Option<String>, Json)>,
    found: Vec<Found>,
    by_name: HashMap<String, usize>,
    line: u64,
    notes: Vec<String>,
    missing: Vec<String>,
    /// How the lines are keyed, if they are ordinary ones; not known before the first.
    keyed: Option<Keyed>,
    /// Of ordinary lines those from which a record came, and those that are no JSON, or have no key.
    good: u64,
    bad: u64,
    /// The first of the latter.
    first_bad: Option<ConnectorError>,
    /// Whether the last line ended.
    ended: bool,
}

impl<'a> Lines<'a> {
    fn new(origin: &'a str, default: &'a str, spool: Arc<Spool>) -> Self {
        let (found, notes, missing) = (Vec::new(), Vec::new(), Vec::new());
        let by_name = HashMap::new();
        Self {
            origin,
            default,
            spool,
            pending_bytes: 0,
            header: None,
            found,
            by_name,
            line: 0,
            notes,
            missing,
            keyed: None,
            good: 0,
            bad: 0,
            first_bad: None,
            ended: true,
        }
    }

    fn wrong(&self, reason: &str) -> ConnectorError {
        ConnectorError::Unreadable {
            object: format!("line {} of {}", self.line, self.origin),
            reason: reason.to_owned(),
        }
    }

    fn io(&self, operation: &'static str, source: io::Error) -> ConnectorError {
        ConnectorError::Io { operation, object: self.origin.to_owned(), source }
    }

    fn sorting(&self, source: io::Error) -> ConnectorError {
        let object = self.spool.dir().display().to_string();
        ConnectorError::Io { operation: "sort in", object, source }.with([Remedy::ChooseTempDir])
    }

    fn read_all(&mut self, input: impl Read) -> Result<(), ConnectorError> {
        let mut input = BufReader::with_capacity(1 << 20, input);
        let mut text = Vec::new();
        let mut is_ours = false;
        // Lines of nothing but space before the first that tells: kept where lines are ordinary.
        let mut blank: Vec<(u64, Vec<u8>)> = Vec::new();
        loop {
            text.clear();
            let read = (&mut input).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut text);
            if read.map_err(|source| self.io("read", source))? == 0 {
                if !is_ours && self.keyed.is_none() {
                    self.begin_plain(&mut blank)?;
                }
                return Ok(());
            }
            self.line += 1;
            if text.len() as u64 > MAX_LINE_BYTES {
                return Err(self.wrong("the line is longer than 512 MiB"));
            }
            // A byte order mark is no part of the text.
            let skip = if self.line == 1 && text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            let is_blank = text[skip..].trim_ascii().is_empty();
            if !is_blank && self.keyed.is_none() && !is_ours {
                is_ours = plain::is_ours(&text[skip..]);
                if !is_ours {
                    self.begin_plain(&mut blank)?;
                    self.notes.push(
                        "ordinary JSON lines: each is a record, and its number is its key, unless a field is named whose value is to be the key"
                            .to_owned(),
                    );
                }
            }
            if let Some(keyed) = self.keyed.clone() {
                self.take_plain(&text, &keyed)?;
                text.shrink_to(1 << 20);
                continue;
            }
            if is_blank {
                self.ended = text.ends_with(b"\n");
                if !is_ours && text != b"\n" {
                    blank.push((self.line, text.clone()));
                    if blank.len() > MAX_BLANK || text.len() > MAX_BLANK {
                        self.begin_plain(&mut blank)?;
                    }
                }
                continue;
            }
            match line::read(&text[skip..]).map_err(|reason| self.wrong(&reason))? {
                Line::Header { connector, attributes } => self.take_header(connector, attributes)?,
                Line::Collection { name, codec, attributes } => self.take_collection(&name, codec, attributes)?,
                Line::Record(record) => self.take_record(&record)?,
            }
            // One long line must not keep its memory.
            text.shrink_to(1 << 20);
        }
    }

    /// From here on the lines are ordinary ones, and so were those before.
    fn begin_plain(&mut self, before: &mut Vec<(u64, Vec<u8>)>) -> Result<(), ConnectorError> {
        self.keyed = Some(Keyed::ByNumber);
        let (line, ended) = (self.line, self.ended);
        for (number, text) in std::mem::take(before) {
            self.line = number;
            self.take_plain(&text, &Keyed::ByNumber)?;
        }
        (self.line, self.ended) = (line, ended);
        Ok(())
    }

    /// A line as it is, apart from its end. Empty ones are told by the numbers that no record has.
    fn take_plain(&mut self, text: &[u8], keyed: &Keyed) -> Result<(), ConnectorError> {
        let line = text.strip_suffix(b"\n");
        self.ended = line.is_some();
        let line = line.unwrap_or(text);
        let by_number = *keyed == Keyed::ByNumber;
        if line.is_empty() || (!by_number && line.trim_ascii().is_empty()) {
            return Ok(());
        }
        let key = match plain::key(line, self.line, keyed) {
            Ok(key) if key.len() <= MAX_KEY_BYTES => {
                self.good += 1;
                key
            }
            Ok(key) => {
                self.good += 1;
                self.leave_out(&format!("its key has {} bytes; the most is {MAX_KEY_BYTES}", key.len()));
                return Ok(());
            }
            Err(wrong) => {
                let (Wrong::Key(reason) | Wrong::Line(reason)) = wrong;
                self.pass(&reason)?;
                if !by_number {
                    self.leave_out(&reason);
                    return Ok(());
                }
                // Its number is its key, whatever it holds.
                encode_int(self.line.cast_signed()).to_vec()
            }
        };
        let at = self.find(self.default)?;
        self.found[at].codec = Some(keyed.codec());
        let (shape, value) = plain::value(line);
        self.push(at, &key, &encode_body(&Meta::default(), &shape, &value))
    }

    /// Counts a line that is no JSON or has no key: torn by whoever was writing it, or by a machine that stopped. Where there is no
    /// other, the file is not what was meant.
    fn pass(&mut self, reason: &str) -> Result<(), ConnectorError> {
        self.bad += 1;
        if self.bad == 1 {
            self.first_bad = Some(self.wrong(reason));
        }
        if self.bad == MAX_BAD_ALONE { self.is_one_of_lines() } else { Ok(()) }
    }

    fn is_one_of_lines(&mut self) -> Result<(), ConnectorError> {
        self.first_bad.take_if(|_| self.good == 0).map_or(Ok(()), Err)
    }

    /// Names a line that is not part of what is delivered.
    fn leave_out(&mut self, reason: &str) {
        if self.missing.len() < 1000 {
            self.missing.push(format!("line {}: {reason}", self.line));
        } else if self.missing.len() == 1000 {
            self.missing.push("and further lines without a key that can be kept".to_owned());
        }
    }

    fn push(&mut self, at: usize, key: &[u8], body: &[u8]) -> Result<(), ConnectorError> {
        self.pending_bytes += self.found[at].sorter.push(key, self.line, body);
        if must_spill_of(self.pending_bytes, 1) {
            self.pending_bytes = 0;
            for at in 0..self.found.len() {
                let spilled = self.found[at].sorter.spill();
                spilled.map_err(|source| self.sorting(source))?;
            }
        }
        Ok(())
    }

    fn take_header(&mut self, connector: Option<String>, attributes: Json) -> Result<(), ConnectorError> {
        if self.header.is_some() || !self.found.is_empty() {
            return Err(self.wrong("a header stands on the first line only"));
        }
        self.header = Some((connector, attributes));
        Ok(())
    }

    fn take_collection(&mut self, name: &str, codec: Option<KeyCodec>, attributes: Json) -> Result<(), ConnectorError> {
        let at = self.find(name)?;
        let found = &self.found[at];
        if found.attributes.is_some() {
            return Err(self.wrong(&format!("the collection {name} is described twice")));
        }
        if found.sorter.records > 0 {
            return Err(self.wrong(&format!("records of {name} stand before its description")));
        }
        self.found[at].codec = codec;
        self.found[at].attributes = Some(attributes);
        Ok(())
    }

    fn take_record(&mut self, record: &RecordLine) -> Result<(), ConnectorError> {
        let default = self.default;
        let at = self.find(record.collection.as_deref().unwrap_or(default))?;
        let codec = self.found[at].codec;
        if record.codec.is_some_and(|named| codec.is_some_and(|codec| codec != named)) {
            return Err(self.wrong("its codec is not that of its collection"));
        }
        let codec = *self.found[at].codec.insert(codec.or(record.codec).unwrap_or(KeyCodec::Tuple));
        let key = record.key(codec).map_err(|reason| self.wrong(&reason))?;
        if key.len() > MAX_KEY_BYTES {
            self.leave_out(&format!("the key has {} bytes; the most is {MAX_KEY_BYTES}", key.len()));
            return Ok(());
        }
        let (shape, value) = record.value();
        let meta = Meta {
            set: &record.set,
            generation: record.generation,
            expiry: Expiry::from_millis(record.expiry),
            stamp: record.stamp,
            user_key: record.user_key.as_deref(),
        };
        let body = encode_body(&meta, &shape, &value);
        self.push(at, &key, &body)
    }

    fn find(&mut self, name: &str) -> Result<usize, ConnectorError> {
        if let Some(at) = self.by_name.get(name) {
            return Ok(*at);
        }
        if self.found.len() == MAX_COLLECTIONS {
            return Err(self.wrong("there are more than 10000 collections"));
        }
        let sorter = Sorter::new(Arc::clone(&self.spool));
        self.by_name.insert(name.to_owned(), self.found.len());
        self.found.push(Found { name: name.to_owned(), codec: None, attributes: None, sorter });
        Ok(self.found.len() - 1)
    }

    fn session(mut self, start: Timestamp, readers: usize) -> Result<JsonlSession, ConnectorError> {
        let (mut collections, mut sorted) = (Vec::new(), Vec::new());
        self.is_one_of_lines()?;
        if let (Some(first), Some(Keyed::ByNumber)) = (&self.first_bad, &self.keyed) {
            let lines = self.bad;
            self.notes.push(match lines {
                1 => format!("one line is no JSON, and is kept as it is: {first}"),
                _ => format!("{lines} lines are no JSON, and are kept as they are; the first: {first}"),
            });
        }
        if let Some(keyed) = &self.keyed {
            let codec = keyed.codec();
            // A file without a line is one all the same, and comes back as it was.
            let at = self.find(self.default)?;
            self.found[at].codec = Some(codec);
            for found in &mut self.found {
                found.attributes = Some(json!({ "lines": self.line, "ended": self.ended }));
            }
        }
        for found in std::mem::take(&mut self.found) {
            collections.push(SourceCollection {
                name: found.name,
                codec: found.codec.unwrap_or(KeyCodec::Tuple),
                attributes: found.attributes.unwrap_or_else(|| json!({})),
                estimated_bytes: found.sorter.bytes,
                estimated_records: found.sorter.records,
            });
            sorted.push(found.sorter.finish().map_err(|source| self.sorting(source))?);
        }
        let attributes = match self.header {
            _ if self.keyed.is_some() => self.keyed.as_ref().map(Keyed::attributes).unwrap_or_default(),
            Some((connector, attributes)) => json!({ "connector": connector, "attributes": attributes }),
            None => json!({}),
        };
        let (notes, missing, origin) = (self.notes, self.missing, self.origin.to_owned());
        let twice = matches!(self.keyed, Some(Keyed::ByField(_))).then(Arc::default);
        Ok(JsonlSession { start, end: start, attributes, collections, sorted, readers, notes, missing, origin, twice })
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
    /// Of ordinary lines, whose keys may come again; of ours they never do.
    twice: Option<Arc<Twice>>,
}

impl JsonlSession {
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
        let duplicates =
            self.twice.as_ref().map_or(Duplicates::Refused, |twice| Duplicates::LastWins(Arc::clone(twice)));
        let stream = self.sorted(collection)?.read(range, &self.origin, duplicates);
        let io =
            |source| ConnectorError::Io { operation: "read the sorted lines of", object: self.origin.clone(), source };
        Ok(Box::new(stream.map_err(io)?))
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        let mut missing = self.missing.clone();
        let (count, pairs) = self.twice.as_ref().map(|twice| twice.told()).unwrap_or_default();
        if count > 0 {
            let pairs = pairs.iter().map(|(_, went, stays)| format!("line {went} (line {stays} stays)"));
            let named: Vec<String> = pairs.collect();
            missing.push(format!("{count} lines have the key of a later one: {}", named.join(", ")));
        }
        Ok(SessionEnd { end: self.end, missing, notes: self.notes.clone(), vanished: 0 })
    }
}
