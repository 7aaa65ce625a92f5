//! `asb:PATH` as a target: canonical files, whose names they get when all of them are whole.

use super::{
    AsbSource,
    cipher::Cipher,
    codec::{Form, Index, Module, RecordParts, Version, put_header, put_index, put_module, put_record},
    globals::{Told, index_of_json},
    layers::Wrapped,
    options::{CipherOptions, Compress, Layout, PartOptions, PlaceOptions, WriteOptions},
    place::{AsbPlace, METADATA_PREFIX, SUFFIX, WRITING_PREFIX, WRITING_SUFFIX, folder, is_being_written},
    spot::Spot,
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Meets, Outcomes, Overwrite, Removal, Source, SourceUrl, Target,
        TargetAbilities, TargetCollection, TargetEnd, TargetPlan, TargetSession,
        shared::{
            publish::{Present, publish},
            stream::{is_stream, open_stream},
        },
        void_time::void_time_of,
    },
    record::{Digest, KeyCodec, KeyRange, RecordBatch, RecordStream},
    report::Remedy,
};
use data_encoding::BASE64;
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufWriter, Read as _, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};
use tempfile::NamedTempFile;

/// Another file is begun behind so many bytes.
const FILE_LIMIT: u64 = 250 << 20;
/// Text is handed on in such pieces.
const PIECE_BYTES: usize = 256 << 10;
/// The longest record that is tried.
const MAX_RECORD_BYTES: u64 = 32 << 20;

/// Where files go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Standard,
    /// Into what is there: a pipe or a device.
    Into(PathBuf),
    /// One file.
    File(PathBuf),
    /// Files in a folder.
    Folder(PathBuf),
}

/// Files to write.
#[derive(Debug)]
pub struct AsbTarget {
    way: Way,
    cipher: Option<Cipher>,
    part: PartOptions,
    write: WriteOptions,
    stop: Arc<AtomicBool>,
}

/// Whether files go into a folder of this name: into what is there, if anything is.
fn is_folder(path: &Path) -> bool {
    let is_named_so = || !path.to_string_lossy().ends_with(SUFFIX);
    fs::metadata(path).map_or_else(|_| is_named_so(), |found| found.is_dir() || !is_stream(&found) && is_named_so())
}

/// How one file is written: what is no file is written to, and a link stays one.
fn file(path: PathBuf) -> Result<Way, ConnectorError> {
    let unwritable = |reason: &str| {
        Err(ConnectorError::Unwritable { object: path.display().to_string(), reason: reason.to_owned() })
    };
    match fs::metadata(&path) {
        Ok(found) if is_stream(&found) => Ok(Way::Into(path)),
        Ok(found) if found.is_dir() => unwritable("it is a directory"),
        Ok(found) if !found.is_file() => unwritable("it is no file, pipe or character device"),
        Ok(_) if path.is_symlink() => match fs::canonicalize(&path) {
            Ok(real) => Ok(Way::File(real)),
            Err(error) => unwritable(&error.to_string()),
        },
        Err(_) if path.is_symlink() => unwritable("it is a link that points to nothing"),
        // What else is wrong with it is said when it is made.
        Ok(_) | Err(_) => Ok(Way::File(path)),
    }
}

impl AsbTarget {
    /// A target at `asb:PATH`: one file if its name ends in `.asb` and no folder stands there, else files in a folder.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense.
    pub fn new(
        url: &SourceUrl,
        cipher: &CipherOptions,
        part: PartOptions,
        write: WriteOptions,
    ) -> Result<Self, ConnectorError> {
        let wrong = |reason: &str| ConnectorError::Url { url: url.to_string(), reason: reason.to_owned() };
        if !url.options.is_empty() {
            return Err(wrong("a target has one place and no `?`"));
        }
        let way = match AsbPlace::of(url, &PlaceOptions::default())? {
            AsbPlace::Standard => Way::Standard,
            AsbPlace::Spots(spots) => match spots.first().and_then(Spot::path).map(Path::to_owned) {
                Some(path) if !write.single_file && is_folder(&path) => Way::Folder(path),
                Some(path) => file(path)?,
                None => return Err(wrong("it names no place")),
            },
        };
        if let Some(prefix) = &write.output_file_prefix
            && (prefix.contains(['/', '\0']) || prefix.starts_with('.') || prefix.starts_with(METADATA_PREFIX))
        {
            let reason = format!("the prefix `{prefix}` makes no names of files that are read again");
            return Err(ConnectorError::Options { reason });
        }
        Ok(Self { way, cipher: cipher.cipher()?, part, write, stop: Arc::default() })
    }

    fn object(&self) -> String {
        match &self.way {
            Way::Standard => "standard output".to_owned(),
            Way::Into(path) | Way::File(path) | Way::Folder(path) => path.display().to_string(),
        }
    }

    fn io(&self, operation: &'static str) -> impl FnOnce(io::Error) -> ConnectorError {
        let object = self.object();
        move |source| ConnectorError::Io { operation, object, source }
    }

    /// Files that stand where new ones go.
    fn standing(&self) -> Result<Vec<PathBuf>, ConnectorError> {
        match &self.way {
            Way::Standard | Way::Into(_) => Ok(Vec::new()),
            Way::File(path) => Ok(if path.exists() { vec![path.clone()] } else { Vec::new() }),
            Way::Folder(path) if !path.exists() => Ok(Vec::new()),
            Way::Folder(path) => Ok(folder(path)?.into_iter().map(|(path, _)| path).collect()),
        }
    }

    fn check(&self, plan: &TargetPlan) -> Result<(), ConnectorError> {
        let mismatch = |reason: String| Err(ConnectorError::Mismatch { object: self.object(), reason });
        if let Some(other) = plan.collections.iter().find(|one| one.codec != KeyCodec::Digest) {
            return mismatch(format!(
                "{} was taken from `{}`: these files hold records of Aerospike only",
                other.source_name, plan.connector
            ));
        }
        if plan.collections.len() > 1 && !matches!(self.way, Way::Folder(_)) {
            return mismatch("one file holds one namespace: choose one, or name a folder".to_owned());
        }
        if plan.make_equal {
            return mismatch("files are written as a whole: there is nothing to make equal".to_owned());
        }
        if !self.write.add_files && !self.standing()?.is_empty() && plan.overwrite != Overwrite::Always {
            return Err(files_stand(self.object()));
        }
        Ok(())
    }
}

/// Why nothing is written where backup files stand.
pub(super) fn files_stand(object: String) -> ConnectorError {
    ConnectorError::Unwritable {
        object,
        reason: "there are backup files already, and new ones are not put among them: name another place, or have those replaced"
            .to_owned(),
    }
    .with([Remedy::OverwriteAll])
}

/// Which of these collections have something in their place: all, where backup files stand.
pub(super) fn taken(collections: &[String], is_free: bool) -> Vec<(String, u64)> {
    if is_free { Vec::new() } else { collections.iter().map(|name| (name.clone(), 1)).collect() }
}

impl Target for AsbTarget {
    fn connector(&self) -> &'static str {
        "asb"
    }

    fn abilities(&self) -> TargetAbilities {
        TargetAbilities { to_stdout: self.way == Way::Standard, ..TargetAbilities::default() }
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        Some(Arc::clone(&self.stop))
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        Ok(taken(collections, self.standing()?.is_empty()))
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        self.check(plan)?;
        Ok(vec![Meets::Nothing; plan.collections.len()])
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        self.check(plan)?;
        if let Way::Folder(path) | Way::File(path) = &self.way {
            plan.check_path(path)?;
        }
        if let Way::Folder(path) = &self.way {
            fs::create_dir_all(path).map_err(self.io("make"))?;
            // What a run that was killed was writing is no part of any backup, and would pass for one that is not finished.
            for entry in fs::read_dir(path).map_err(self.io("list"))? {
                let entry = entry.map_err(self.io("list"))?;
                if is_being_written(&entry.file_name().to_string_lossy()) {
                    fs::remove_file(entry.path()).map_err(self.io("remove what was left in"))?;
                }
            }
        }
        let limit = match (&self.way, self.write.file_limit) {
            (Way::Folder(_), None) => FILE_LIMIT,
            (Way::Folder(_), Some(limit)) if limit > 0 => limit,
            _ => u64::MAX,
        };
        let modules = plan.attributes.get("udfs").and_then(Json::as_array).cloned().unwrap_or_default();
        Ok(Box::new(AsbWriting {
            object: self.object(),
            way: self.way.clone(),
            cipher: self.cipher.clone(),
            zstd: match self.write.compress {
                Some(Compress::Zstd) => Some(self.write.compression_level.unwrap_or(3)),
                _ => None,
            },
            part: self.part.clone(),
            write: self.write.clone(),
            limit,
            plan: plan.clone(),
            modules,
            replaced: if self.write.add_files { Vec::new() } else { self.standing()? },
            named: Vec::new(),
            done: Vec::new(),
            missing: Vec::new(),
            made: BTreeMap::new(),
            without_bins: 0,
            opened: vec![false; plan.collections.len()],
            stop: Arc::clone(&self.stop),
        }))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        let part = &self.part;
        Ok(match &self.way {
            _ if *part != PartOptions::default() => None,
            Way::Standard | Way::Into(_) => None,
            Way::File(path) | Way::Folder(path) => {
                Some(Box::new(AsbSource::of(AsbPlace::Spots(vec![Spot::Here(path.clone())]), self.cipher.clone())))
            }
        })
    }
}

/// A restore under way.
struct AsbWriting {
    object: String,
    way: Way,
    cipher: Option<Cipher>,
    zstd: Option<i32>,
    part: PartOptions,
    write: WriteOptions,
    limit: u64,
    plan: TargetPlan,
    modules: Vec<Json>,
    /// Files that were there before.
    replaced: Vec<PathBuf>,
    /// Files that have their names.
    named: Vec<PathBuf>,
    /// Files that wait for their names.
    done: Vec<(NamedTempFile, PathBuf)>,
    missing: Vec<String>,
    /// What stands beside the records, by kind.
    made: BTreeMap<&'static str, u64>,
    /// Records that were written and had none.
    without_bins: u64,
    opened: Vec<bool>,
    stop: Arc<AtomicBool>,
}

/// Counts what is written.
struct Counted {
    out: Sink,
    bytes: u64,
}

enum Sink {
    Standard(io::Stdout),
    Stream(fs::File),
    File(BufWriter<NamedTempFile>),
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.out {
            Sink::Standard(out) => out.write(bytes)?,
            Sink::Stream(out) => out.write(bytes)?,
            Sink::File(out) => out.write(bytes)?,
        };
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Sink::Standard(out) => out.flush(),
            Sink::Stream(out) => out.flush(),
            Sink::File(out) => out.flush(),
        }
    }
}

/// A file being written.
struct OpenFile {
    out: Wrapped<Counted>,
    name: PathBuf,
    pending: Vec<u8>,
}

impl OpenFile {
    fn hand_on(&mut self, at_least: usize) -> io::Result<()> {
        if self.pending.len() >= at_least.max(1) {
            self.out.write_all(&self.pending)?;
            self.pending.clear();
            self.pending.shrink_to(8 * PIECE_BYTES);
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Option<(NamedTempFile, PathBuf)>> {
        self.hand_on(1)?;
        let mut counted = self.out.finish()?;
        counted.flush()?;
        Ok(match counted.out {
            Sink::Standard(_) | Sink::Stream(_) => None,
            Sink::File(out) => Some((out.into_inner().map_err(io::IntoInnerError::into_error)?, self.name)),
        })
    }
}

/// Indexes, modules and raw lines of a namespace, in the order in which they are written.
struct Beside {
    indexes: Vec<Index>,
    modules: Vec<Module>,
    raw: Vec<Vec<u8>>,
    version: Version,
}

impl AsbWriting {
    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> ConnectorError {
        let object = self.object.clone();
        move |source| ConnectorError::Io { operation, object, source }
    }

    /// What stands beside the records of a collection; what cannot be written is named.
    fn beside(&mut self, collection: &TargetCollection) -> Beside {
        let namespace = collection.name.as_bytes();
        let mut beside = Beside { indexes: Vec::new(), modules: Vec::new(), raw: Vec::new(), version: Version::V31 };
        let told = |name: &str| collection.attributes.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
        let is_same_name = collection.name == collection.source_name;
        if !self.part.no_indexes {
            for index in told("sindexes") {
                let name = index.get("name").and_then(Json::as_str).unwrap_or("without a readable name").to_owned();
                match index_of_json(namespace, &index) {
                    Told::Index(index) => beside.indexes.push(index),
                    Told::Raw(line) if is_same_name => beside.raw.push(line),
                    Told::Raw(_) => self.missing.push(format!(
                        "index `{name}`: its line names the namespace `{}`, which is another one here",
                        collection.source_name
                    )),
                    Told::Lost(why) => {
                        self.missing.push(format!("index `{name}` of namespace `{}`: {why}", collection.name));
                    }
                }
            }
            for line in told("unknown_lines") {
                if let (Told::Raw(line), true) = (index_of_json(namespace, &line), is_same_name) {
                    beside.raw.push(line);
                } else {
                    self.missing.push(format!("a line of no known kind of namespace `{}`", collection.source_name));
                }
            }
        }
        if !self.part.no_udfs {
            for module in &self.modules {
                let text = |name: &str| module.get(name).and_then(Json::as_str);
                let content = text("content").and_then(|content| BASE64.decode(content.as_bytes()).ok());
                let is_lua = text("type").is_none_or(|kind| kind.eq_ignore_ascii_case("lua"));
                match (text("name"), content) {
                    (Some(name), Some(content)) if is_lua => {
                        beside.modules.push(Module { name: name.as_bytes().to_vec(), content });
                    }
                    (name, _) => self.missing.push(format!(
                        "UDF module `{}`: it is not in Lua, or its text is not known",
                        name.unwrap_or("without a name")
                    )),
                }
            }
        }
        beside.indexes.sort_by(|a, b| (&a.set, &a.name).cmp(&(&b.set, &b.name)));
        beside.modules.sort_by(|a, b| a.name.cmp(&b.name));
        beside.raw.sort();
        let needed = beside.indexes.iter().map(Index::needs).max().unwrap_or_default().max(Version::V31);
        beside.version = self.write.compat.unwrap_or(needed);
        beside
    }

    fn open_file(&self, name: PathBuf, header: &[u8]) -> Result<OpenFile, ConnectorError> {
        let out = match &self.way {
            Way::Standard => Sink::Standard(io::stdout()),
            Way::Into(path) => Sink::Stream(open_stream(path, &self.stop).map_err(self.failed("open"))?),
            Way::File(_) | Way::Folder(_) => {
                let dir = name.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
                let file = tempfile::Builder::new().prefix(WRITING_PREFIX).suffix(WRITING_SUFFIX).tempfile_in(dir);
                Sink::File(BufWriter::with_capacity(PIECE_BYTES, file.map_err(self.failed("make a file in"))?))
            }
        };
        let counted = Counted { out, bytes: 0 };
        let out = Wrapped::new(counted, self.zstd, self.cipher.as_ref()).map_err(self.failed("write"))?;
        Ok(OpenFile { out, name, pending: header.to_vec() })
    }

    /// The name of a file of a namespace.
    fn name(&self, namespace: &str, number: u32, is_metadata: bool) -> PathBuf {
        let folder = match &self.way {
            Way::Folder(folder) => folder,
            Way::File(path) => return path.clone(),
            Way::Standard | Way::Into(_) => return PathBuf::new(),
        };
        if self.write.layout == Some(Layout::Service) {
            let stem = if is_metadata { METADATA_PREFIX } else { "0_" };
            return folder.join(format!("{stem}{namespace}_{}{SUFFIX}", number + 1));
        }
        if is_metadata {
            return folder.join(format!("{METADATA_PREFIX}{namespace}_{number:05}{SUFFIX}"));
        }
        let several = self.plan.collections.len() > 1;
        let stem = match &self.write.output_file_prefix {
            Some(prefix) if several => format!("{prefix}_{namespace}"),
            Some(prefix) => prefix.clone(),
            None => namespace.to_owned(),
        };
        folder.join(format!("{stem}_{number:05}{SUFFIX}"))
    }

    /// The number behind those of the files that are there.
    fn first_free(&self, namespace: &str) -> u32 {
        let mut number = 0;
        while self.name(namespace, number, false).exists() || self.name(namespace, number, true).exists() {
            number += 1;
        }
        number
    }

    /// Gives a file its name.
    fn publish(&mut self, file: NamedTempFile, name: &Path) -> Result<(), ConnectorError> {
        let present = if self.plan.overwrite == Overwrite::Always { Present::Replaced } else { Present::Kept };
        publish(file.path(), name, present).map_err(|failed| ConnectorError::Io {
            operation: failed.operation,
            object: name.display().to_string(),
            source: failed.error,
        })?;
        // Its old name is gone.
        let _ = file.into_temp_path().keep();
        self.named.push(name.to_owned());
        Ok(())
    }

    /// Takes a file that is whole.
    fn whole(&mut self, done: Option<(NamedTempFile, PathBuf)>) -> Result<(), ConnectorError> {
        match done {
            Some((file, name)) if self.write.keep_files => self.publish(file, &name),
            done => {
                self.done.extend(done);
                Ok(())
            }
        }
    }

    /// Opens a collection's first file.
    fn writer(&mut self, at: usize) -> Result<AsbWriter<'_>, ConnectorError> {
        let collection = self
            .plan
            .collections
            .get(at)
            .cloned()
            .ok_or_else(|| ConnectorError::Missing { object: format!("collection number {at} of the restore") })?;
        if collection.name.contains(['/', '\0']) {
            return Err(ConnectorError::Mismatch {
                object: self.object.clone(),
                reason: format!("`{}` makes no name of a file", collection.name),
            });
        }
        self.opened[at] = true;
        let beside = self.beside(&collection);
        let is_apart = match self.write.layout {
            Some(Layout::Metadata) => true,
            // Where there is nothing beside the records, there is no such file.
            Some(Layout::Service) => !beside.indexes.is_empty() || !beside.modules.is_empty() || !beside.raw.is_empty(),
            Some(Layout::FirstFile) | None => false,
        };
        let has_metadata = is_apart && matches!(self.way, Way::Folder(_));
        let records_form = Form {
            version: self.write.compat.unwrap_or(if has_metadata { Version::V31 } else { beside.version }),
            compact: self.write.compact,
        };
        let form = Form { version: beside.version, ..records_form };
        let namespace = collection.name.as_bytes();
        let mut head = Vec::new();
        let lost = |why: String| ConnectorError::Mismatch { object: collection.name.clone(), reason: why };
        put_header(&mut head, namespace, true, form).map_err(lost)?;
        for index in &beside.indexes {
            match put_index(&mut head, index, form) {
                Ok(()) => *self.made.entry("indexes").or_default() += 1,
                Err(why) => {
                    let name = index.name.escape_ascii();
                    self.missing.push(format!("index `{name}` of namespace `{}`: {why}", collection.name));
                }
            }
        }
        for module in &beside.modules {
            match put_module(&mut head, module, form) {
                Ok(()) => *self.made.entry("modules").or_default() += 1,
                Err(why) => self.missing.push(format!("UDF module `{}`: {why}", module.name.escape_ascii())),
            }
        }
        beside.raw.iter().for_each(|line| head.extend_from_slice(line));
        let mut next = Vec::new();
        put_header(&mut next, namespace, false, records_form).map_err(lost)?;
        let mut number = 0;
        if self.write.add_files {
            // What is beside the records stands in the first of those that are there.
            head.clone_from(&next);
            number = self.first_free(&collection.name);
        } else if has_metadata {
            let file = self.open_file(self.name(&collection.name, 0, true), &head)?;
            let done = file.finish().map_err(self.failed("write"))?;
            self.whole(done)?;
            head.clone_from(&next);
            number = 1;
        }
        let file = self.open_file(self.name(&collection.name, number, false), &head)?;
        Ok(AsbWriter {
            session: self,
            collection,
            form: records_form,
            header: next,
            number,
            file: Some(file),
            value: Vec::new(),
        })
    }
}

impl TargetSession for AsbWriting {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        Ok(Box::new(self.writer(collection)?))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        // A collection without records has its indexes all the same.
        for at in 0..self.opened.len() {
            if !self.opened[at] {
                let writer = self.writer(at)?;
                Box::new(writer).finish()?;
            }
        }
        for (file, name) in std::mem::take(&mut self.done) {
            self.publish(file, &name)?;
        }
        for old in std::mem::take(&mut self.replaced) {
            if !self.named.contains(&old) && matches!(self.way, Way::Folder(_)) {
                fs::remove_file(&old).map_err(|source| ConnectorError::Io {
                    operation: "remove",
                    object: old.display().to_string(),
                    source,
                })?;
            }
        }
        let (mut missing, mut notes) = (std::mem::take(&mut self.missing), Vec::new());
        if self.write.lossy_ok {
            notes = missing.drain(..).map(|text| format!("left out: {text}")).collect();
        }
        if self.without_bins > 0 {
            notes.push(format!(
                "{} records have none of the bins that were asked for: they are written without bins, and no restore takes them \
                 over",
                self.without_bins
            ));
        }
        Ok(TargetEnd { missing, notes, made: std::mem::take(&mut self.made) })
    }
}

/// One namespace being written.
struct AsbWriter<'a> {
    session: &'a mut AsbWriting,
    collection: TargetCollection,
    form: Form,
    /// The header of every file but the first.
    header: Vec<u8>,
    number: u32,
    file: Option<OpenFile>,
    value: Vec<u8>,
}

/// What became of a record.
enum Put {
    Written,
    Skipped,
    Lost(String),
}

impl AsbWriter<'_> {
    fn put(&mut self, batch: &mut RecordBatch, index: usize) -> Result<Put, ConnectorError> {
        self.value.clear();
        self.value.extend_from_slice(batch.row(index).value);
        if let Some(number) = batch.row(index).stream {
            let read = batch.take_stream(number).ok_or_else(|| "its value was taken already".to_owned()).and_then(
                |mut stream| {
                    let mut reader = stream.open().map_err(|error| error.to_string())?;
                    reader
                        .by_ref()
                        .take(MAX_RECORD_BYTES + 1)
                        .read_to_end(&mut self.value)
                        .map_err(|error| error.to_string())?;
                    io::copy(&mut reader, &mut io::sink()).map_err(|error| error.to_string())
                },
            );
            match read {
                Err(why) => return Ok(Put::Lost(why)),
                Ok(_) if self.value.len() as u64 > MAX_RECORD_BYTES => {
                    return Ok(Put::Lost("it is longer than any server takes".to_owned()));
                }
                Ok(_) => {}
            }
        }
        let row = batch.row(index);
        let part = &self.session.part;
        if !part.sets.is_empty() && !part.sets.iter().any(|set| set.as_bytes() == row.meta.set) {
            return Ok(Put::Skipped);
        }
        let limit = self.session.limit;
        let written = self.file.as_ref().map(|file| file.out.output().bytes + file.pending.len() as u64);
        if written.is_none_or(|written| written >= limit) {
            self.end_file()?;
            self.number += 1;
            let name = self.session.name(&self.collection.name, self.number, false);
            self.file = Some(self.session.open_file(name, &self.header)?);
        }
        let row = batch.row(index);
        let part = &self.session.part;
        let Some(digest) = Digest::from_sort_key(row.key) else {
            return Ok(Put::Lost("its key is no digest".to_owned()));
        };
        let Some(void_time) = void_time_of(row.meta.expiry) else {
            return Ok(Put::Lost("its expiry is later than the format can say".to_owned()));
        };
        let mut bins: Vec<(&[u8], u8, &[u8])> = Vec::with_capacity(row.shape.len());
        for (name, cell) in row.shape.names().iter().zip(row.shape.cells(&self.value)) {
            let cell = match cell {
                Ok(cell) => cell,
                Err(error) => return Ok(Put::Lost(error.to_string())),
            };
            if part.bins.is_empty() || part.bins.iter().any(|bin| bin.as_bytes() == name) {
                bins.push((name, cell.tag.0, cell.bytes));
            }
        }
        if bins.is_empty() && !part.bins.is_empty() {
            return Ok(Put::Skipped);
        }
        let has_bins = !bins.is_empty();
        let record = RecordParts {
            namespace: self.collection.name.as_bytes(),
            set: row.meta.set,
            user_key: row.meta.user_key,
            digest: &digest.0,
            generation: row.meta.generation,
            void_time,
        };
        let Some(file) = &mut self.file else { return Ok(Put::Lost("its file was finished already".to_owned())) };
        if let Err(why) = put_record(&mut file.pending, &record, bins.into_iter(), self.form) {
            return Ok(Put::Lost(why));
        }
        file.hand_on(PIECE_BYTES).map_err(self.session.failed("write"))?;
        self.session.without_bins += u64::from(!has_bins);
        Ok(Put::Written)
    }

    fn end_file(&mut self) -> Result<(), ConnectorError> {
        if let Some(file) = self.file.take() {
            let done = file.finish().map_err(self.session.failed("write"))?;
            self.session.whole(done)?;
        }
        Ok(())
    }
}

impl CollectionTarget for AsbWriter<'_> {
    fn existing(&mut self, _: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        Ok(None)
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        for index in 0..batch.len() {
            let put = self.put(batch, index)?;
            let key = || KeyCodec::Digest.show(batch.row(index).key);
            match put {
                Put::Written => outcomes.inserted += 1,
                Put::Skipped => outcomes.skipped += 1,
                Put::Lost(why) if self.session.write.lossy_ok => {
                    outcomes.ignored += 1;
                    outcomes.name(key, why);
                }
                Put::Lost(why) => outcomes.fail(key, why),
            }
            self.value.shrink_to(4 << 20);
        }
        Ok(())
    }

    /// Files that are kept are ended, so that what was written is there.
    fn drain(&mut self, _: &mut Outcomes) -> Result<(), ConnectorError> {
        let is_empty = self
            .file
            .as_ref()
            .is_none_or(|file| file.out.output().bytes == 0 && file.pending.len() <= self.header.len());
        if self.session.write.keep_files && !is_empty {
            self.end_file()?;
        }
        Ok(())
    }

    fn remove(&mut self, _: &[Removal], _: &mut Outcomes) -> Result<(), ConnectorError> {
        // The files are new: they hold nothing else.
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ConnectorError> {
        self.end_file()
    }
}
