//! `jsonl:PATH|-` as a target: a new file that gets its name when it is whole, or standard output.

use super::{JsonlSource, Place, line};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Meets, Outcomes, Overwrite, Removal, Source, SourceUrl, Target,
        TargetCollection, TargetEnd, TargetPlan, TargetSession,
    },
    record::{KeyRange, RecordBatch, RecordStream},
};
use serde_json::Value as Json;
use std::{
    fs,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// A value that is longer would make a line that cannot be read back.
const MAX_VALUE_BYTES: usize = 256 << 20;

/// Lines of JSON to write.
#[derive(Debug)]
pub struct JsonlTarget {
    place: Place,
    collection: Option<String>,
}

impl JsonlTarget {
    /// A target at `jsonl:PATH` or `jsonl:-`.
    ///
    /// # Errors
    /// [`ConnectorError::Url`] if the URL has options other than `collection`.
    pub fn new(url: &SourceUrl) -> Result<Self, ConnectorError> {
        let (place, collection) = Place::of(url)?;
        Ok(Self { place, collection })
    }
}

impl JsonlTarget {
    fn check(&self, plan: &TargetPlan) -> Result<(), ConnectorError> {
        let Place::File(path) = &self.place else { return Ok(()) };
        let unwritable =
            |reason: &str| Err(ConnectorError::Unwritable { object: self.place.show(), reason: reason.to_owned() });
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => unwritable("it is a directory"),
            Ok(metadata) if metadata.len() > 0 && plan.overwrite != Overwrite::Always => unwritable(
                "it exists, and a file of lines can only be replaced as a whole: choose another name, or overwrite it \
                 always",
            ),
            _ => Ok(()),
        }
    }
}

enum Output {
    Standard(BufWriter<io::Stdout>),
    File { out: BufWriter<NamedTempFile>, path: PathBuf, replace: bool },
    Done,
}

impl Output {
    fn file(path: &Path, replace: bool) -> io::Result<Self> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let file = tempfile::Builder::new().prefix(".rekeep-").suffix(".jsonl").tempfile_in(dir)?;
        Ok(Self::File { out: BufWriter::with_capacity(1 << 20, file), path: path.to_owned(), replace })
    }

    fn line(&mut self, line: &Json) -> io::Result<()> {
        let out: &mut dyn Write = match self {
            Self::Standard(out) => out,
            Self::File { out, .. } => out,
            Self::Done => return Err(io::Error::other("it was finished already")),
        };
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")
    }

    fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(self, Self::Done) {
            Self::Standard(mut out) => out.flush(),
            Self::File { out, path, replace } => {
                let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                if replace {
                    file.persist(&path)?
                } else {
                    file.persist_noclobber(&path)?
                };
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
                fs::File::open(dir)?.sync_all()
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

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let Place::File(path) = &self.place else { return Ok(Vec::new()) };
        match fs::metadata(path) {
            // The file is replaced as a whole, whatever is in it.
            Ok(metadata) if metadata.len() > 0 => Ok(collections.iter().map(|name| (name.clone(), 1)).collect()),
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
            Place::Standard => Output::Standard(BufWriter::with_capacity(64 << 10, io::stdout())),
            Place::File(path) => {
                self.check(plan)?;
                let replace = plan.overwrite == Overwrite::Always;
                Output::file(path, replace || path.exists()).map_err(io)?
            }
        };
        // Single records on standard output are for people and pipes: every line stands for itself.
        let bare = plan.partial && self.place == Place::Standard;
        if !bare {
            output.line(&line::header(&plan.connector, &plan.attributes)).map_err(io)?;
            for collection in &plan.collections {
                let line = line::collection(&collection.name, collection.codec, &collection.attributes);
                output.line(&line).map_err(io)?;
            }
        }
        Ok(Box::new(JsonlWriting { output, bare, collections: plan.collections.clone(), origin: self.place.show() }))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        Ok(match &self.place {
            Place::Standard => None,
            Place::File(_) => Some(Box::new(JsonlSource::of(self.place.clone(), self.collection.clone()))),
        })
    }
}

struct JsonlWriting {
    output: Output,
    bare: bool,
    collections: Vec<TargetCollection>,
    origin: String,
}

impl TargetSession for JsonlWriting {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let collection = self.collections.get(collection).cloned().ok_or_else(|| ConnectorError::Missing {
            object: format!("collection number {collection} of the restore"),
        })?;
        Ok(Box::new(JsonlWriter { session: self, collection, value: Vec::new() }))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        self.output.finish().map_err(|source| ConnectorError::Io {
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
        line::record(name, *codec, self.session.bare, &batch.row(index), &self.value)
    }
}

impl CollectionTarget for JsonlWriter<'_> {
    fn existing(&mut self, _range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        Ok(None)
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        for index in 0..batch.len() {
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
