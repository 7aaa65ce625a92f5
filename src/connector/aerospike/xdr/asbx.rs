//! ASBX: the files in which the vendor's tool keeps what XDR ships. Read in the order in which they were written, and written.

use super::{super::wire, Shipped};
use crate::{
    connector::{ChangeFeed, ConnectorError, Identity, SourceCollection, aerospike::decode::Decoder},
    record::{ChangeBatch, KeyCodec, Timestamp},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};
use thiserror::Error;

/// What the names of such files end in.
pub const SUFFIX: &str = ".asbx";

const HEAD_BYTES: usize = 44;
const NAMESPACE_BYTES: usize = 31;
const VERSION: u8 = 1;

/// The longest change: what the vendor's reader takes.
const MAX_PAYLOAD: u64 = 128 << 20;

/// Why bytes are no such file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AsbxError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("it is no ASBX file, or it is compressed or encrypted: {0}")]
    Head(String),
    /// It ends inside of something.
    #[error("it ends inside {what} at byte {at}")]
    Cut {
        /// Of what.
        what: &'static str,
        /// Where that begins.
        at: u64,
    },
    /// A change is not what one is.
    #[error("the change at byte {at}: {reason}")]
    Change {
        /// Where it begins.
        at: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Reads one file.
pub struct AsbxReader<R: Read> {
    input: R,
    at: u64,
    payload: Vec<u8>,
    /// Its number among the files of its backup.
    pub number: u64,
    /// Its namespace.
    pub namespace: Vec<u8>,
}

impl<R: Read> AsbxReader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`AsbxError`].
    pub fn new(mut input: R) -> Result<Self, AsbxError> {
        let mut head = [0; HEAD_BYTES];
        if read_up_to(&mut input, &mut head)? < HEAD_BYTES {
            return Err(AsbxError::Head(format!("it has less than {HEAD_BYTES} bytes")));
        }
        if head[0] != VERSION {
            return Err(AsbxError::Head(format!("its version is {}, not {VERSION}", head[0])));
        }
        let (number, rest) = head[1..].split_at(8);
        let (reserved, namespace) = rest.split_at(4);
        let end = namespace.iter().position(|byte| *byte == 0).unwrap_or(NAMESPACE_BYTES);
        let (namespace, padding) = namespace.split_at(end);
        if namespace.is_empty() || reserved.iter().chain(padding).any(|byte| *byte != 0) {
            return Err(AsbxError::Head("its namespace is not padded with zeros".to_owned()));
        }
        let number = number.try_into().map_or(0, u64::from_be_bytes);
        Ok(Self { input, at: HEAD_BYTES as u64, payload: Vec::new(), number, namespace: namespace.to_vec() })
    }

    /// The next change; `None` at the end.
    ///
    /// # Errors
    /// [`AsbxError`]. What comes behind cannot be found any more if the file is cut; a change that is wrong in itself can be
    /// passed over by asking again.
    pub fn next_change(&mut self) -> Result<Option<Shipped<'_>>, AsbxError> {
        let at = self.at;
        let mut head = [0; 26];
        match read_up_to(&mut self.input, &mut head)? {
            0 => return Ok(None),
            26 => {}
            _ => return Err(AsbxError::Cut { what: "the head of a change", at }),
        }
        let (digest, len) = head.split_at(20);
        let len = len.iter().fold(0u64, |len, byte| len << 8 | u64::from(*byte));
        if len > MAX_PAYLOAD {
            return Err(AsbxError::Cut { what: "a change that claims more than 128 MiB", at });
        }
        self.payload.clear();
        // Memory grows with what is there, not with what is claimed.
        let read = self.input.by_ref().take(len).read_to_end(&mut self.payload)? as u64;
        self.at += 26 + read;
        if read < len {
            return Err(AsbxError::Cut { what: "a change", at });
        }
        let wrong = |reason: String| AsbxError::Change { at, reason };
        let Some((head, body)) = self.payload.split_first_chunk::<{ wire::FRAME_HEAD_BYTES }>() else {
            return Err(wrong("it has no frame".to_owned()));
        };
        let (kind, bytes) = wire::parse_frame_head(*head).map_err(|error| wrong(error.to_string()))?;
        if kind != wire::KIND_MESSAGE || bytes != body.len() {
            return Err(wrong("its frame is none of a message of its length".to_owned()));
        }
        let shipped = Shipped::parse(body).map_err(|error| wrong(error.to_string()))?;
        if shipped.digest.0 != digest {
            return Err(wrong("its digest is not the one that stands before it".to_owned()));
        }
        if shipped.namespace() != self.namespace {
            return Err(wrong("its namespace is not that of the file".to_owned()));
        }
        Ok(Some(shipped))
    }
}

fn read_up_to(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match input.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes the head of a file.
///
/// # Errors
/// What the output says, or [`io::ErrorKind::InvalidInput`] for a namespace that no file can name.
pub fn put_head(out: &mut impl Write, number: u64, namespace: &[u8]) -> io::Result<()> {
    if namespace.is_empty() || namespace.len() > NAMESPACE_BYTES || namespace.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a namespace that no such file can name"));
    }
    let mut head = [0; HEAD_BYTES];
    head[0] = VERSION;
    head[1..9].copy_from_slice(&number.to_be_bytes());
    head[13..13 + namespace.len()].copy_from_slice(namespace);
    out.write_all(&head)
}

/// Writes a change: the body of its message, in which the mark of XDR is taken off as the vendor's tool does.
///
/// # Errors
/// What the output says.
pub fn put_change(out: &mut impl Write, digest: &[u8; 20], body: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(wire::FRAME_HEAD_BYTES + body.len());
    wire::put_frame_head(&mut frame, wire::KIND_MESSAGE, body.len());
    frame.extend_from_slice(body);
    if let Some(info1) = frame.get_mut(wire::FRAME_HEAD_BYTES + 1) {
        *info1 &= !super::INFO1_XDR;
    }
    out.write_all(digest)?;
    out.write_all(&(frame.len() as u64).to_be_bytes()[2..])?;
    out.write_all(&frame)
}

/// Where a file stands among those of its backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsbxFile {
    /// Where it is.
    pub path: PathBuf,
    worker: String,
    number: u64,
    /// When it was last written, in milliseconds.
    written: i64,
}

impl AsbxFile {
    fn of(path: PathBuf) -> Option<Self> {
        let stem = path.file_name().and_then(OsStr::to_str)?.strip_suffix(SUFFIX)?;
        let (rest, number) = stem.rsplit_once('_')?;
        let number = number.parse().ok()?;
        let worker = rest.split('_').next().unwrap_or_default().to_owned();
        let written = fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let written = written.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Some(Self { path, worker, number, written })
    }
}

/// The files of a folder in the order in which they are read: those of each worker by number, one of each in turn.
///
/// # Errors
/// [`ConnectorError`] if the folder cannot be read, or has no such file.
pub fn files(folder: &Path) -> Result<Vec<AsbxFile>, ConnectorError> {
    let object = folder.display().to_string();
    let failed = |source| ConnectorError::Io { operation: "list", object: object.clone(), source };
    let mut workers: BTreeMap<String, Vec<AsbxFile>> = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().and_then(OsStr::to_str) != Some("asbx") {
            continue;
        }
        let shown = path.display().to_string();
        let file = AsbxFile::of(path).ok_or_else(|| ConnectorError::Unreadable {
            object: shown,
            reason: "its name is none of WORKER_NAMESPACE_NUMBER.asbx, so its place among the others is not known"
                .to_owned(),
        })?;
        workers.entry(file.worker.clone()).or_default().push(file);
    }
    let mut lanes: Vec<std::vec::IntoIter<AsbxFile>> = Vec::new();
    for (_, mut files) in workers {
        files.sort_by_key(|file| file.number);
        lanes.push(files.into_iter());
    }
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(lanes.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            break;
        }
    }
    if all.is_empty() {
        let reason = format!("no file in it ends in {SUFFIX}");
        return Err(ConnectorError::Unreadable { object, reason });
    }
    Ok(all)
}

/// Changes of one file, a batch at a time.
pub struct AsbxChanges {
    reader: AsbxReader<BufReader<File>>,
    decoder: Decoder,
    shipped: Timestamp,
    object: String,
    /// What could not be read of it, in words.
    pub lost: Vec<String>,
    /// How many changes that are.
    pub lost_count: u64,
}

/// Lost changes that are named.
const MAX_NAMED: usize = 100;

impl AsbxChanges {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ConnectorError`] if it cannot be opened, is no such file, or bears another number than its name says.
    pub fn open(file: &AsbxFile) -> Result<Self, ConnectorError> {
        let object = file.path.display().to_string();
        let opened = File::open(&file.path);
        let opened =
            opened.map_err(|source| ConnectorError::Io { operation: "open", object: object.clone(), source })?;
        let unreadable = |reason: String| ConnectorError::Unreadable { object: object.clone(), reason };
        let reader = AsbxReader::new(BufReader::with_capacity(1 << 20, opened));
        let reader = reader.map_err(|error| unreadable(error.to_string()))?;
        if reader.number != file.number {
            return Err(unreadable(format!(
                "it says that it is number {}, and its name says {}",
                reader.number, file.number
            )));
        }
        let shipped = Timestamp::from_millis(file.written);
        Ok(Self { reader, decoder: Decoder::default(), shipped, object, lost: Vec::new(), lost_count: 0 })
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> String {
        String::from_utf8_lossy(&self.reader.namespace).into_owned()
    }

    /// Adds changes until the batch holds so many bytes; `false` at the end. A change that is wrong in itself is counted, named
    /// and passed over; a file that is cut ends there, and that is named.
    ///
    /// # Errors
    /// [`ConnectorError`] from reading.
    pub fn fill(&mut self, batch: &mut ChangeBatch, bytes: usize) -> Result<bool, ConnectorError> {
        while batch.bytes() < bytes {
            let at = self.reader.at;
            let added = match self.reader.next_change() {
                Ok(None) => return Ok(false),
                Ok(Some(shipped)) => shipped
                    .add_to(self.shipped, &mut self.decoder, batch)
                    .map_err(|error| AsbxError::Change { at, reason: error.to_string() }),
                Err(error) => Err(error),
            };
            match added {
                Ok(()) => {}
                Err(AsbxError::Io(source)) => {
                    let object = self.object.clone();
                    return Err(ConnectorError::Io { operation: "read", object, source });
                }
                Err(error) => {
                    self.lost_count += 1;
                    if self.lost.len() < MAX_NAMED {
                        self.lost.push(format!("{}: {error}", self.object));
                    }
                    if !matches!(error, AsbxError::Change { .. }) {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }
}

/// The files of a folder, one after the other.
pub struct AsbxFolder {
    name: String,
    files: std::vec::IntoIter<AsbxFile>,
    open: Option<AsbxChanges>,
    collections: Vec<SourceCollection>,
    lost: Vec<String>,
    lost_count: u64,
}

impl AsbxFolder {
    /// Looks at the heads of all files.
    ///
    /// # Errors
    /// [`ConnectorError`] if there is none, or one of them is no such file.
    pub fn open(folder: &Path) -> Result<Self, ConnectorError> {
        let files = files(folder)?;
        let mut collections: Vec<SourceCollection> = Vec::new();
        for file in &files {
            let namespace = AsbxChanges::open(file)?.namespace();
            if collections.iter().all(|found| found.name != namespace) {
                let attributes = json!({ "format": 1, "sets": [], "set_records": {}, "sindexes": [] });
                collections
                    .push(SourceCollection { attributes, ..SourceCollection::new(&namespace, KeyCodec::Digest) });
            }
        }
        let object = folder.display().to_string();
        let failed = |source| ConnectorError::Io { operation: "find", object: object.clone(), source };
        let name = fs::canonicalize(folder).map_err(failed)?.display().to_string();
        Ok(Self { name, files: files.into_iter(), open: None, collections, lost: Vec::new(), lost_count: 0 })
    }
}

impl ChangeFeed for AsbxFolder {
    fn identity(&self) -> Identity {
        Identity { connector: "asb", name: self.name.clone(), local: true }
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn next(&mut self, batch: &mut ChangeBatch, bytes: usize) -> Result<Option<usize>, ConnectorError> {
        let changes = match &mut self.open {
            Some(open) => open,
            none => match self.files.next() {
                Some(file) => none.insert(AsbxChanges::open(&file)?),
                None => return Ok(None),
            },
        };
        let namespace = changes.namespace();
        if !changes.fill(batch, bytes)? {
            self.lost_count += changes.lost_count;
            self.lost.append(&mut changes.lost);
            self.lost.truncate(MAX_NAMED);
            self.open = None;
        }
        Ok(self.collections.iter().position(|found| found.name == namespace))
    }

    fn lost(&self) -> (u64, Vec<String>) {
        (self.lost_count, self.lost.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connector::aerospike::xdr::{Change, body_of},
        record::Digest,
    };

    fn put(digest: u8, generation: u32, millis: u64) -> Vec<u8> {
        let change = Change::Put { generation, left: None, bins: &[(b"a", 3, b"value")] };
        body_of(b"test", &Digest([digest; 20]), b"s", None, millis, &change)
    }

    fn file(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_head(&mut out, number, b"test").unwrap();
        for generation in 1..4 {
            put_change(&mut out, &[5; 20], &put(5, generation, 1_700_000_000_000 + u64::from(generation))).unwrap();
        }
        out
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_cut_anywhere_is_named() {
        let whole = file(7);
        let mut reader = AsbxReader::new(whole.as_slice()).unwrap();
        assert_eq!((reader.number, reader.namespace.as_slice()), (7, b"test".as_slice()));
        let mut ends = vec![HEAD_BYTES];
        while reader.next_change().unwrap().is_some() {
            ends.push(reader.at as usize);
        }
        assert_eq!(ends.len(), 4);
        for cut in 0..whole.len() {
            let Ok(mut reader) = AsbxReader::new(&whole[..cut]) else {
                assert!(cut < HEAD_BYTES);
                continue;
            };
            let mut last = Ok(true);
            while let Ok(true) = last {
                last = reader.next_change().map(|found| found.is_some());
            }
            assert_eq!(last.is_ok(), ends.contains(&cut), "{cut}");
        }
    }

    #[test]
    fn files_come_one_of_each_worker_in_turn_by_number() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["0_ns_1", "1_ns_10", "2_ns_21", "0_ns_2", "1_ns_12", "0_ns_30"] {
            fs::write(dir.path().join(format!("{name}.asbx")), "").unwrap();
        }
        let found = files(dir.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|file| file.path.file_stem().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["0_ns_1", "1_ns_10", "2_ns_21", "0_ns_2", "1_ns_12", "0_ns_30"]);
        fs::write(dir.path().join("odd.asbx"), "").unwrap();
        assert!(files(dir.path()).is_err());
    }

    #[test]
    fn what_is_wrong_is_counted_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = file(1);
        // The second change says another digest before it.
        let second = HEAD_BYTES + 26 + 8 + put(5, 1, 1_700_000_000_001).len();
        bytes[second] = 9;
        bytes.truncate(bytes.len() - 3);
        fs::write(dir.path().join("0_test_1.asbx"), &bytes).unwrap();
        let mut changes = AsbxChanges::open(&files(dir.path()).unwrap()[0]).unwrap();
        let mut batch = ChangeBatch::default();
        assert!(!changes.fill(&mut batch, 1 << 20).unwrap());
        assert_eq!((batch.len(), changes.lost_count), (1, 2));
        assert!(changes.lost[0].contains("digest") && changes.lost[1].contains("ends inside"), "{:?}", changes.lost);
        fs::rename(dir.path().join("0_test_1.asbx"), dir.path().join("0_test_2.asbx")).unwrap();
        assert!(AsbxChanges::open(&files(dir.path()).unwrap()[0]).is_err());
    }
}
