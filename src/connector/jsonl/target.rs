//! `jsonl:PATH|-` as a target: a new file that gets its name when it is whole, or standard output.

use super::{
    JsonlSource, Stream, line,
    plain::{self, Keyed},
};
use crate::{
    connector::file_record::whole::fill,
    connector::{
        CollectionTarget, ConnectorError, Meets, Outcomes, Overwrite, RecordLookup, Removal, Source, SourceUrl, Target,
        TargetAbilities, TargetCollection, TargetEnd, TargetPlan, TargetSession,
        shared::{
            publish::{Present, publish},
            stream::{is_stream, open_stream},
        },
    },
    record::{KeyCodec, KeyRange, RecordBatch, RecordStream, key::decode_int},
};
use serde_json::Value as Json;
use std::{
    fs,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};
use tempfile::NamedTempFile;

/// A value that is longer would make a line that cannot be read back.
const MAX_VALUE_BYTES: usize = 256 << 20;

/// Lines of JSON to write.
#[derive(Debug)]
pub struct JsonlTarget {
    place: Stream,
    collection: Option<String>,
    /// How the ordinary lines of the snapshot that is restored are keyed, and the collection that they are.
    written: Mutex<Option<(Keyed, String)>>,
    stop: Arc<AtomicBool>,
}

impl JsonlTarget {
    /// A target at `jsonl:PATH` or `jsonl:-`.
    ///
    /// # Errors
    /// [`ConnectorError::Url`] if the URL has options other than `collection`.
    pub fn new(url: &SourceUrl) -> Result<Self, ConnectorError> {
        let (place, collection, keyed) = Stream::of(url)?;
        if keyed.is_some() {
            return Err(ConnectorError::Url {
                url: format!("jsonl:{}", url.place),
                reason: "key= and plain= are for sources; ordinary lines are written as they were read".to_owned(),
            });
        }
        Ok(Self { place, collection, written: Mutex::default(), stop: Arc::default() })
    }
}

/// Where lines go that are to go to a path.
enum Way {
    /// A file that gets this name when it is whole.
    New(PathBuf),
    /// In place of the file of this name, which is no link.
    Replace(PathBuf, u64),
    /// Into what is there: a pipe or a device.
    Into,
}

impl JsonlTarget {
    fn way(&self, path: &Path) -> Result<Way, ConnectorError> {
        let object = || self.place.show();
        let unwritable = |reason: &str| ConnectorError::Unwritable { object: object(), reason: reason.to_owned() };
        let io = |source| ConnectorError::Io { operation: "look at", object: object(), source };
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match fs::symlink_metadata(path) {
                    Ok(_) => Err(unwritable("it is a link that points to nothing")),
                    Err(_) => Ok(Way::New(path.to_owned())),
                };
            }
            Err(error) => return Err(io(error)),
        };
        if metadata.is_file() {
            // A link stays one: what it points to is replaced.
            return Ok(Way::Replace(fs::canonicalize(path).map_err(io)?, metadata.len()));
        }
        if metadata.is_dir() {
            return Err(unwritable("it is a directory"));
        }
        if is_stream(&metadata) { Ok(Way::Into) } else { Err(unwritable("it is no file, pipe or character device")) }
    }

    fn check(&self, plan: &TargetPlan) -> Result<(), ConnectorError> {
        let Stream::File(path) = &self.place else { return Ok(()) };
        match self.way(path)? {
            Way::Replace(_, len) if len > 0 && plan.overwrite != Overwrite::Always => Err(ConnectorError::Unwritable {
                object: self.place.show(),
                reason: "it exists, and a file of lines can only be replaced as a whole: choose another name, or \
                         overwrite it always"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

enum Output {
    Standard(BufWriter<io::Stdout>),
    Stream(BufWriter<fs::File>),
    File { out: BufWriter<NamedTempFile>, path: PathBuf, replace: bool },
    Done,
}

impl Output {
    fn file(path: &Path, replace: bool) -> io::Result<Self> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let file = tempfile::Builder::new().prefix(".rekeep-").suffix(".jsonl").tempfile_in(dir)?;
        Ok(Self::File { out: BufWriter::with_capacity(1 << 20, file), path: path.to_owned(), replace })
    }

    fn out(&mut self) -> io::Result<&mut dyn Write> {
        match self {
            Self::Standard(out) => Ok(out),
            Self::Stream(out) => Ok(out),
            Self::File { out, .. } => Ok(out),
            Self::Done => Err(io::Error::other("it was finished already")),
        }
    }

    fn line(&mut self, line: &Json) -> io::Result<()> {
        let out = self.out()?;
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")
    }

    fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(self, Self::Done) {
            Self::Standard(mut out) => out.flush(),
            Self::Stream(mut out) => out.flush(),
            Self::File { out, path, replace } => {
                let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
                let present = if replace { Present::Replaced } else { Present::Kept };
                publish(file.path(), &path, present).map_err(|failed| failed.error)?;
                // Its old name is gone.
                let _ = file.into_temp_path().keep();
                Ok(())
            }
            Self::Done => Ok(()),
        }
    }
}

impl Target for JsonlTarget {
    fn connector(&self) -> &'static str {
        "jsonl"
    }

    fn collection(&self) -> Option<String> {
        self.collection.clone()
    }

    fn abilities(&self) -> TargetAbilities {
        // A pipe or device is written to as it stands.
        let is_file = |path: &PathBuf| fs::metadata(path).map_or(true, |found| found.is_file());
        let all_or_nothing = matches!(&self.place, Stream::File(path) if is_file(path));
        TargetAbilities { to_stdout: self.place == Stream::Standard, all_or_nothing, ..TargetAbilities::default() }
    }

    fn stand_alone(&self, collection: &TargetCollection) -> bool {
        // Ordinary lines are keyed by their number, unless a field is named.
        collection.attributes.get("lines").is_none() || collection.codec != KeyCodec::Int
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        Some(Arc::clone(&self.stop))
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let Stream::File(path) = &self.place else { return Ok(Vec::new()) };
        match fs::metadata(path) {
            // The file is replaced as a whole, whatever is in it.
            Ok(metadata) if metadata.is_file() && metadata.len() > 0 => {
                Ok(collections.iter().map(|name| (name.clone(), 1)).collect())
            }
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(ConnectorError::Io { operation: "look at", object: self.place.show(), source }),
        }
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        self.check(plan)?;
        Ok(vec![Meets::Nothing; plan.collections.len()])
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        let io = |source| ConnectorError::Io { operation: "write", object: self.place.show(), source };
        let mut output = match &self.place {
            Stream::Standard => Output::Standard(BufWriter::with_capacity(64 << 10, io::stdout())),
            Stream::File(path) => {
                self.check(plan)?;
                plan.check_path(path)?;
                match self.way(path)? {
                    Way::New(path) => Output::file(&path, plan.overwrite == Overwrite::Always).map_err(io)?,
                    Way::Replace(path, _) => Output::file(&path, true).map_err(io)?,
                    Way::Into => {
                        let stream = open_stream(path, &self.stop).map_err(io)?;
                        Output::Stream(BufWriter::with_capacity(64 << 10, stream))
                    }
                }
            }
        };
        // Single records on standard output are for people and pipes: every line stands for itself.
        let bare = plan.partial && self.place == Stream::Standard;
        let keyed = Keyed::of_attributes(&plan.attributes).filter(|_| plan.connector == "jsonl");
        let name = plan.collections.first().map(|collection| collection.name.clone()).unwrap_or_default();
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = keyed.clone().map(|keyed| (keyed, name));
        if !bare && keyed.is_none() {
            output.line(&line::header(&plan.connector, &plan.attributes)).map_err(io)?;
            for collection in &plan.collections {
                let line = line::collection(&collection.name, collection.codec, &collection.attributes);
                output.line(&line).map_err(io)?;
            }
        }
        // Only as a whole does a file get its empty lines back.
        let numbered = keyed == Some(Keyed::ByNumber) && !plan.partial;
        let plain_lines = keyed.map(|_| PlainLines { numbered, at: 1, any: false });
        let (collections, origin) = (plan.collections.clone(), self.place.show());
        Ok(Box::new(JsonlWriting { output, bare, plain: plain_lines, collections, origin }))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        Ok(match &self.place {
            Stream::Standard => None,
            Stream::File(path) if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) => None,
            Stream::File(_) => {
                let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let (keyed, name) = written.unzip();
                Some(Box::new(JsonlSource::of(self.place.clone(), name.or(self.collection.clone())).keyed(keyed)))
            }
        })
    }
}

struct JsonlWriting {
    output: Output,
    bare: bool,
    plain: Option<PlainLines>,
    collections: Vec<TargetCollection>,
    origin: String,
}

/// Where the writing of ordinary lines stands.
struct PlainLines {
    /// Whether a line stands where its number says.
    numbered: bool,
    /// The number of the line that is being written.
    at: u64,
    /// Whether anything was written.
    any: bool,
}

impl JsonlWriting {
    /// Writes an ordinary line behind the end of the one before.
    fn plain_line(&mut self, key: &[u8], value: &[u8]) -> io::Result<bool> {
        let Some(plain) = &mut self.plain else { return Ok(false) };
        let number = decode_int(key).map_or(0, i64::cast_unsigned);
        let ends = match (plain.numbered, plain.any) {
            (true, _) => number.saturating_sub(plain.at),
            (false, any) => u64::from(any),
        };
        plain.at += ends;
        plain.any = true;
        let out = self.output.out()?;
        for _ in 0..ends {
            out.write_all(b"\n")?;
        }
        out.write_all(value)?;
        Ok(true)
    }

    /// Ends the last ordinary line as it was ended.
    fn end_plain(&mut self) -> io::Result<()> {
        let Some(plain) = &self.plain else { return Ok(()) };
        let attributes = self.collections.first().map(|collection| &collection.attributes);
        let told = |name: &str| attributes.and_then(|attributes| attributes.get(name));
        let mut ends = u64::from(plain.any);
        if plain.numbered {
            let lines = told("lines").and_then(Json::as_u64).unwrap_or(plain.at);
            let ended = told("ended").and_then(Json::as_bool).unwrap_or(true);
            ends = lines.saturating_sub(plain.at) + u64::from(ended && lines > 0);
        }
        let out = self.output.out()?;
        (0..ends).try_for_each(|_| out.write_all(b"\n"))
    }
}

impl TargetSession for JsonlWriting {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let collection = self.collections.get(collection).cloned().ok_or_else(|| ConnectorError::Missing {
            object: format!("collection number {collection} of the restore"),
        })?;
        Ok(Box::new(JsonlWriter { session: self, collection, value: Vec::new(), records: None }))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        self.end_plain().and_then(|()| self.output.finish()).map_err(|source| ConnectorError::Io {
            operation: "write",
            object: self.origin.clone(),
            source,
        })?;
        Ok(TargetEnd::default())
    }
}

struct JsonlWriter<'a> {
    session: &'a mut JsonlWriting,
    collection: TargetCollection,
    value: Vec<u8>,
    /// What further paths of a file have their content from.
    records: Option<Arc<dyn RecordLookup>>,
}

impl JsonlWriter<'_> {
    fn line(&mut self, batch: &mut RecordBatch, index: usize) -> Result<Json, String> {
        self.value.clear();
        self.value.extend_from_slice(batch.row(index).value);
        if let Some(number) = batch.row(index).stream {
            let mut stream = batch.take_stream(number).ok_or("its value was taken already")?;
            let reader = stream.open().map_err(|error| error.to_string())?;
            let room = (MAX_VALUE_BYTES + 1).saturating_sub(self.value.len()) as u64;
            reader.take(room).read_to_end(&mut self.value).map_err(|error| error.to_string())?;
        }
        if self.value.len() > MAX_VALUE_BYTES {
            return Err("its value is longer than 256 MiB, the most that one line holds".to_owned());
        }
        let TargetCollection { name, codec, .. } = &self.collection;
        let filled = if *codec == KeyCodec::Path {
            fill(&batch.row(index), &self.value, self.records.as_deref(), MAX_VALUE_BYTES as u64)?
        } else {
            None
        };
        line::record(name, *codec, self.session.bare, &batch.row(index), &self.value, filled)
    }
}

impl JsonlWriter<'_> {
    fn write_plain(
        &mut self,
        batch: &mut RecordBatch,
        index: usize,
        outcomes: &mut Outcomes,
    ) -> Result<(), ConnectorError> {
        let show = |session: &JsonlWriting| session.origin.clone();
        match plain_text(batch, index) {
            Ok(text) => {
                let written = self.session.plain_line(batch.row(index).key, &text);
                let object = show(self.session);
                written.map_err(|source| ConnectorError::Io { operation: "write", object, source })?;
                outcomes.inserted += 1;
            }
            Err(reason) => outcomes.fail(|| self.collection.codec.show(batch.row(index).key), reason),
        }
        Ok(())
    }
}

impl CollectionTarget for JsonlWriter<'_> {
    fn meet_snapshot(&mut self, records: Arc<dyn RecordLookup>) {
        self.records = Some(records);
    }

    fn existing(&mut self, _range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        Ok(None)
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        for index in 0..batch.len() {
            if self.session.plain.is_some() {
                self.write_plain(batch, index, outcomes)?;
                continue;
            }
            match self.line(batch, index) {
                Ok(line) => {
                    let written = self.session.output.line(&line);
                    let object = self.session.origin.clone();
                    written.map_err(|source| ConnectorError::Io { operation: "write", object, source })?;
                    outcomes.inserted += 1;
                }
                Err(reason) => outcomes.fail(|| self.collection.codec.show(batch.row(index).key), reason),
            }
            self.value.shrink_to(8 << 20);
        }
        Ok(())
    }

    fn remove(&mut self, _rows: &[Removal], _outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        // The file is new: it holds nothing else.
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// The text of an ordinary line.
fn plain_text(batch: &mut RecordBatch, index: usize) -> Result<Vec<u8>, String> {
    let row = batch.row(index);
    let names = row.shape.names();
    if names.len() != 1 || names[0] != plain::CELL {
        return Err("it is no ordinary line".to_owned());
    }
    let Some(number) = row.stream else {
        let cell = row.shape.cells(row.value).next().ok_or("it has no cell")?;
        return Ok(cell.map_err(|error| error.to_string())?.bytes.to_vec());
    };
    let mut text = Vec::new();
    let mut stream = batch.take_stream(number).ok_or("its value was taken already")?;
    let mut reader = stream.open().map_err(|error| error.to_string())?;
    reader.read_to_end(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}
