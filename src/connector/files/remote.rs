//! `files:URI`: objects at any place that `OpenDAL` reaches.

use super::{
    COLLECTION,
    cells::{Attributes, FileTime, Kind, Shapes},
    one_collection,
    outcome::{UNSEEN, failed},
    select::{Selection, part_of},
    session::{OWN, SELECTION, quantiles, sample},
    walk::{Listed, ROOT, Step, Walker, below, is_valid_key},
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Outcomes, Overwrite, Removal, SessionEnd, SessionOptions, SourceCollection,
        SourceSession, TargetEnd, TargetPlan, TargetSession, Written,
    },
    record::{
        Clock, KeyCodec, KeyRange, Meta, RecordBatch, RecordStream, RowHead, StreamError, StreamedValue, SystemClock,
        Tag, Timestamp,
    },
    repo::storage::{
        Named, ObjectTree, ObjectVersion, Stands, StorageOptions, TreeEntry, UNTELLABLE, is_tellable, is_within,
    },
};
use serde_json::{Value as Json, json};
use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Objects at a service.
#[derive(Debug, Clone)]
pub(super) struct Remote(ObjectTree);

/// What a listing says of one name: a version, if it says that; or why it cannot be kept.
type Entry = Result<Option<ObjectVersion>, &'static str>;

/// What `files:URI` names.
pub(super) enum TreePlace {
    Folder(PathBuf),
    Objects(Remote),
}

impl Remote {
    /// Understands a location as those of repositories are.
    pub(super) fn open(location: &str, options: &[(String, String)]) -> Result<TreePlace, ConnectorError> {
        let options = StorageOptions { options: options.to_vec(), ..StorageOptions::default() };
        match ObjectTree::open(location, &options) {
            Ok(Named::Folder(path)) => Ok(TreePlace::Folder(path)),
            Ok(Named::Tree(tree)) => Ok(TreePlace::Objects(Self(tree))),
            Err(error) => Err(ConnectorError::Url { url: "files:".to_owned(), reason: error.to_string() }),
        }
    }

    pub(super) fn location(&self) -> &str {
        self.0.location()
    }

    pub(super) fn is_occupied(&self) -> Result<bool, ConnectorError> {
        let listed = self.0.list("").map_err(|source| self.error("list", source))?;
        Ok(!listed.is_empty())
    }

    fn error(&self, operation: &'static str, source: io::Error) -> ConnectorError {
        ConnectorError::Io { operation, object: self.location().to_owned(), source }
    }

    /// The entries of a folder, such as cannot be told among them.
    fn list(&self, dir: &[u8]) -> io::Result<Vec<Listed<Entry>>> {
        let entries = self.0.list_all(std::str::from_utf8(dir).map_err(io::Error::other)?)?;
        Ok(entries
            .into_iter()
            .map(|TreeEntry { name, version, odd }| Listed {
                name: name.into_bytes(),
                item: odd.map_or(Ok(version), Err),
            })
            .collect())
    }
}

fn all(list: &Mutex<Vec<String>>) -> Vec<String> {
    list.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

struct Run {
    remote: Remote,
    selection: Selection,
    /// The keys of folders that are no part of the tree.
    foreign: Vec<String>,
    missing: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
    vanished: AtomicU64,
}

impl Run {
    /// Whether it did: a name that the service's answer had in other bytes than UTF-8 is found under none.
    fn vanished(&self, key: &[u8]) -> bool {
        if String::from_utf8_lossy(key).contains('\u{fffd}') {
            self.missing(key, &io::Error::other("it is not found by its name, which is not UTF-8"));
            return false;
        }
        self.vanished.fetch_add(1, Ordering::Relaxed);
        self.note(key, "vanished before it was read");
        true
    }

    /// Whether a folder is gone, and not only kept from us: services say of both that there is no such thing.
    fn is_gone(&self, dir: &[u8]) -> bool {
        let name = dir.strip_suffix(b"/").unwrap_or(dir);
        let parent = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        match self.remote.list(&dir[..parent]) {
            Ok(entries) => !entries.iter().any(|entry| entry.name == dir[parent..]),
            Err(error) => parent > 0 && error.kind() == io::ErrorKind::NotFound && self.is_gone(&dir[..parent]),
        }
    }

    fn list(&self, dir: &[u8]) -> io::Result<Vec<Listed<Entry>>> {
        let mut entries = self.remote.list(dir)?;
        entries.retain(|entry| {
            let key = [dir, &entry.name].concat();
            if self.foreign.iter().any(|foreign| foreign.as_bytes() == key) {
                self.note(&key, "is the repository itself, and is left out");
                return false;
            }
            if entry.name.is_empty() {
                if matches!(&entry.item, Ok(Some(version)) if version.bytes > 0) {
                    let reason = "an object with the folder's name has content, which is not kept";
                    self.missing(&key, &io::Error::other(reason));
                } else {
                    self.note(&key, "stands for a folder and may have content, which would not be kept");
                }
                return false;
            }
            if std::str::from_utf8(&key).is_ok_and(|key| !is_tellable(key)) {
                self.missing(&key, &io::Error::other(UNTELLABLE));
                return false;
            }
            self.selection.takes(&key)
        });
        Ok(entries)
    }

    fn missing(&self, key: &[u8], error: &io::Error) {
        let sentence = format!("{}: {error}", KeyCodec::Path.show(key));
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).push(sentence);
    }

    fn note(&self, key: &[u8], what: &str) {
        let sentence = format!("{} {what}", KeyCodec::Path.show(key));
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(sentence);
    }
}

/// The key of the folder that a location is below another one.
fn below_of(location: &str, place: &str) -> Option<String> {
    if !is_within(place, location) {
        return None;
    }
    let path = |text: &str| text.split('?').next().unwrap_or_default().trim_end_matches('/').to_owned();
    let below = path(place).strip_prefix(&path(location))?.trim_matches('/').to_owned();
    (!below.is_empty()).then(|| format!("{below}/"))
}

/// A run over such a place.
pub(super) struct RemoteSession {
    run: Arc<Run>,
    start: Timestamp,
    readers: usize,
    collections: Vec<SourceCollection>,
}

impl RemoteSession {
    pub(super) fn begin(
        remote: Remote,
        selection: Selection,
        options: &SessionOptions,
    ) -> Result<Self, ConnectorError> {
        if options.repository.as_deref().is_some_and(|own| is_within(remote.location(), own)) {
            return Err(ConnectorError::Usage { object: remote.location().to_owned(), reason: OWN.to_owned() });
        }
        let object = remote.location().to_owned();
        match remote.0.stands().map_err(|source| remote.error("look at", source))? {
            Stands::Folder => {}
            Stands::File => return Err(ConnectorError::Unreadable { object, reason: "it is no folder".to_owned() }),
            Stands::Nothing => return Err(ConnectorError::Missing { object: format!("the folder {object}") }),
        }
        let foreign =
            options.leave_out.iter().filter_map(|place| below_of(remote.location(), place.to_str()?)).collect();
        let run = Run {
            remote,
            selection,
            foreign,
            missing: Mutex::default(),
            notes: Mutex::default(),
            vanished: AtomicU64::new(0),
        };
        let readers = options.parallel.clamp(1, 16);
        Ok(Self { run: Arc::new(run), start: SystemClock.now(), readers, collections: one_collection() })
    }
}

impl SourceSession for RemoteSession {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn attributes(&self) -> Json {
        let mut attributes = json!({ "location": self.run.remote.location() });
        if let Some(kept) = self.run.selection.kept() {
            attributes[SELECTION] = kept;
        }
        attributes
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        self.readers
    }

    fn splits(&self, _collection: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        Ok(quantiles(&sample(|dir| self.run.list(dir).map(|entries| entries.into_iter().map(|e| e.name))), parts))
    }

    fn read(&self, _collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        Ok(Box::new(RemoteStream::new(Arc::clone(&self.run), range)))
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        let mut notes = all(&self.run.notes);
        notes.extend(self.run.selection.unmatched());
        Ok(SessionEnd {
            end: SystemClock.now(),
            missing: all(&self.run.missing),
            notes,
            vanished: self.run.vanished.swap(0, Ordering::Relaxed),
        })
    }
}

struct RemoteStream {
    run: Arc<Run>,
    walker: Walker<Entry>,
    shapes: Shapes,
    unread: VecDeque<KeyRange>,
}

/// Whole seconds: a listing may say more than an answer about one object does, and an object that was written again within the
/// second with the same bytes is not read again.
fn time_of(version: &ObjectVersion) -> Option<FileTime> {
    version.modified.map(|time| {
        let seconds = time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        FileTime { seconds, nanos: 0 }
    })
}

/// An object as new as this may change once more in the second of its time, by a clock that may differ from ours so far.
const MAY_CHANGE_SECONDS: i64 = 3600;

/// 0 where nothing but the size is known, or the time is so new that the object may change under it: unless the service marks
/// each write.
fn stamp(version: &ObjectVersion, marks_each_write: bool, now_seconds: i64) -> u64 {
    let seconds = time_of(version).map(|time| time.seconds);
    let is_marked = marks_each_write && version.etag.is_some();
    if !is_marked && seconds.is_none_or(|seconds| seconds.saturating_add(MAY_CHANGE_SECONDS) >= now_seconds) {
        return 0;
    }
    let hash = blake3::hash(format!("{} {seconds:?} {:?}", version.bytes, version.etag).as_bytes());
    hash.as_bytes().first_chunk().map_or(1, |bytes| u64::from_le_bytes(*bytes)).max(1)
}

impl RemoteStream {
    fn new(run: Arc<Run>, range: &KeyRange) -> Self {
        Self { run, walker: Walker::new(range.clone()), shapes: Shapes::default(), unread: VecDeque::new() }
    }

    fn add(&mut self, batch: &mut RecordBatch, key: &[u8], listed: Entry) -> io::Result<()> {
        let listed = listed.map_err(io::Error::other)?;
        let path = std::str::from_utf8(key).map_err(io::Error::other)?;
        if key.ends_with(b"/") {
            let cells = Attributes { kind: Kind::Directory, ..Attributes::default() }.cells();
            let shape = self.shapes.of(&cells, false);
            batch.push(RowHead { key, meta: Meta::default() }, &shape, |writer| {
                for (_, tag, bytes) in &cells {
                    writer.cell(*tag, bytes);
                }
            });
            return Ok(());
        }
        let version = listed.map_or_else(|| self.run.remote.0.version(path), Ok)?;
        let attributes = Attributes { size: Some(version.bytes), mtime: time_of(&version), ..Attributes::default() };
        let cells = attributes.cells();
        let shape = self.shapes.of(&cells, true);
        let now_seconds = SystemClock.now().as_millis() / 1000;
        let stamp = stamp(&version, self.run.remote.0.marks_each_write(), now_seconds);
        let head = RowHead { key, meta: Meta { stamp, ..Meta::default() } };
        let content = RemoteContent { run: Arc::clone(&self.run), path: path.to_owned(), version };
        batch.push_streamed(head, &shape, Tag::BLOB, Box::new(content), |writer| {
            for (_, tag, bytes) in &cells {
                writer.cell(*tag, bytes);
            }
        });
        Ok(())
    }
}

impl RecordStream for RemoteStream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        while batch.len() < 512 && batch.bytes() < 1 << 20 {
            let run = Arc::clone(&self.run);
            match self.walker.next(|dir| run.list(dir)) {
                None => break,
                Some(Step::Entry(key, version)) => match self.add(batch, &key, version) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        if !run.vanished(&key) {
                            self.unread.push_back(KeyRange::only(&key));
                        }
                    }
                    Err(error) => {
                        run.missing(&key, &error);
                        self.unread.push_back(KeyRange::only(&key));
                    }
                },
                Some(Step::Unlistable(dir, error)) if dir.is_empty() => {
                    return Err(format!("list {}: {error}", run.remote.location()).into());
                }
                Some(Step::Unlistable(dir, error)) if error.kind() == io::ErrorKind::NotFound && run.is_gone(&dir) => {
                    run.vanished(&dir);
                }
                Some(Step::Unlistable(dir, error)) => {
                    run.missing(&dir, &error);
                    self.unread.push_back(below(&dir));
                }
            }
        }
        Ok(!batch.is_empty())
    }

    fn unread(&mut self) -> Option<KeyRange> {
        self.unread.pop_front()
    }
}

struct RemoteContent {
    run: Arc<Run>,
    path: String,
    version: ObjectVersion,
}

impl StreamedValue for RemoteContent {
    fn open(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        let reader = self.run.remote.0.read(&self.path, &self.version).inspect_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                self.run.vanished(self.path.as_bytes());
            }
        })?;
        Ok(Box::new(reader))
    }

    fn is_untorn(&mut self) -> io::Result<bool> {
        let now = self.run.remote.0.version(&self.path).map_err(|error| match error.kind() {
            // It was read: only that it is the same cannot be told.
            io::ErrorKind::NotFound => io::Error::other("it was deleted while it was read"),
            _ => error,
        })?;
        Ok(now.is(&self.version))
    }
}

/// A restore to such a place.
pub(super) struct RemoteTargetSession {
    remote: Remote,
    overwrite: Overwrite,
    /// Entries whose attributes the place does not keep.
    bare: u64,
    make_equal: bool,
    /// The part that was asked for of the snapshot's source: nothing else is looked at, or removed.
    part: Option<Json>,
    /// What was looked at of what stands there.
    looked: Vec<Arc<Run>>,
    written: Shelves,
}

/// What was written into a folder, and below it, whose listing has not been held against it.
struct Shelf {
    folder: String,
    /// Names, a folder's with its `/`, and lengths.
    names: Vec<(String, Option<u64>)>,
}

/// What was written, held against the listings of the service: some give an object another name than they were told.
#[derive(Default)]
struct Shelves {
    /// Each lies in the one before it.
    open: Vec<Shelf>,
    missing: Vec<String>,
    notes: Vec<String>,
}

impl Shelves {
    /// Records come in order of their keys, so that a folder is complete when something outside of it comes.
    fn add(&mut self, tree: &ObjectTree, path: &str, len: Option<u64>) {
        let name = path.strip_suffix('/').unwrap_or(path).rsplit('/').next().unwrap_or(path).len();
        let (folder, name) = path.split_at(path.len() - name - usize::from(path.ends_with('/')));
        while self.open.last().is_some_and(|last| !folder.starts_with(last.folder.as_str())) {
            self.close_last(tree);
        }
        if self.open.last().is_none_or(|last| last.folder != folder) {
            self.open.push(Shelf { folder: folder.to_owned(), names: Vec::new() });
        }
        if let Some(last) = self.open.last_mut() {
            last.names.push((name.to_owned(), len));
        }
    }

    fn close_last(&mut self, tree: &ObjectTree) {
        let Some(Shelf { folder, names }) = self.open.pop() else { return };
        let at = if folder.is_empty() { "the target itself" } else { folder.as_str() };
        let listed = match tree.list(&folder) {
            Ok(listed) => listed,
            Err(error) => {
                let words = format!("{at} cannot be listed, so nobody looked at what stands there now: {error}");
                // Who may write may not be allowed to look.
                let is_right = error.kind() == io::ErrorKind::PermissionDenied;
                return if is_right { self.notes.push(words) } else { self.missing.push(words) };
            }
        };
        let listed: HashMap<String, Option<u64>> =
            listed.into_iter().map(|entry| (entry.name, entry.version.map(|version| version.bytes))).collect();
        for (name, len) in names {
            let path = format!("{folder}{name}");
            let found = match listed.get(&name) {
                Some(found) => Some(*found),
                // Some never list such names.
                None if name.starts_with('.') && len.is_some() => {
                    tree.version(&path).ok().map(|version| Some(version.bytes))
                }
                None => None,
            };
            let path = KeyCodec::Path.show(path.as_bytes());
            match (found, len) {
                (None, _) => {
                    self.missing.push(format!("{path}: it was written, and the service lists nothing of that name"));
                }
                (Some(Some(found)), Some(len)) if found != len => {
                    self.missing.push(format!("{path}: {len} bytes were written, and the service has {found}"));
                }
                _ => {}
            }
        }
    }
}

/// Counts what is read.
struct Counted<'a> {
    inner: &'a mut dyn Read,
    bytes: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl RemoteTargetSession {
    pub(super) fn new(remote: Remote, plan: &TargetPlan) -> Self {
        let part = plan.attributes.get(SELECTION).cloned();
        let (overwrite, make_equal) = (plan.overwrite, plan.make_equal);
        Self { remote, overwrite, bare: 0, make_equal, part, looked: Vec::new(), written: Shelves::default() }
    }
}

impl TargetSession for RemoteTargetSession {
    fn open(&mut self, _collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        Ok(Box::new(RemoteWriter { session: self }))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        let note = format!("{} keeps no owners, permissions and times: {COLLECTION} lost them", self.remote.location());
        let mut notes = if self.bare > 0 { vec![format!("{note} for {} entries", self.bare)] } else { Vec::new() };
        let unseen = self.looked.iter().flat_map(|run| all(&run.missing));
        let unseen: Vec<String> = unseen.map(|what| format!("{UNSEEN}: {what}")).collect();
        // What is there and should not be may be there still.
        let mut missing = if self.make_equal {
            unseen
        } else {
            notes.extend(unseen);
            Vec::new()
        };
        while !self.written.open.is_empty() {
            self.written.close_last(&self.remote.0);
        }
        missing.append(&mut self.written.missing);
        notes.append(&mut self.written.notes);
        Ok(TargetEnd { missing, notes, ..TargetEnd::default() })
    }
}

struct RemoteWriter<'a> {
    session: &'a mut RemoteTargetSession,
}

impl RemoteWriter<'_> {
    fn write_one(&mut self, batch: &mut RecordBatch, index: usize) -> Result<Written, String> {
        let stream = batch.row(index).stream.map(|number| batch.take_stream(number));
        let row = batch.row(index);
        if !is_valid_key(row.key) {
            return Err("the key is no path below the target".to_owned());
        }
        let path = std::str::from_utf8(row.key).map_err(|_| "object names must be UTF-8".to_owned())?;
        let (attributes, content, _) = Attributes::decode(&row).map_err(|error| error.to_string())?;
        self.session.bare += u64::from(attributes.mode.is_some() || attributes.uid.is_some());
        if row.key == ROOT {
            return Ok(Written::Replaced);
        }
        let tree = &self.session.remote.0;
        let before = tree.exists(path).map_err(|error| error.to_string())?;
        if before && self.session.overwrite == Overwrite::Never {
            return Ok(Written::Existed);
        }
        let mut written = None;
        match attributes.kind {
            Kind::Directory => tree.make_folder(path).map_err(|error| error.to_string())?,
            Kind::File if attributes.hardlink.is_none() && attributes.extents.is_none() => {
                let inline = content.unwrap_or_default();
                match stream {
                    None => {
                        tree.write(path, &mut &*inline).map_err(|error| error.to_string())?;
                        written = Some(inline.len() as u64);
                    }
                    Some(None) => return Err("its content was taken already".to_owned()),
                    Some(Some(mut stream)) => {
                        let mut rest = stream.open().map_err(|error| error.to_string())?;
                        let mut whole = inline.chain(&mut rest);
                        let mut counted = Counted { inner: &mut whole, bytes: 0 };
                        tree.write(path, &mut counted).map_err(|error| error.to_string())?;
                        written = Some(counted.bytes);
                    }
                }
            }
            _ => return Err("links, sparse and special files can only be written to a local directory".to_owned()),
        }
        self.session.written.add(&self.session.remote.0, path, written);
        Ok(if before { Written::Replaced } else { Written::Inserted })
    }
}

impl CollectionTarget for RemoteWriter<'_> {
    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        let run = Run {
            remote: self.session.remote.clone(),
            selection: part_of(self.session.part.as_ref(), self.session.remote.location())?,
            foreign: Vec::new(),
            missing: Mutex::default(),
            notes: Mutex::default(),
            vanished: AtomicU64::new(0),
        };
        let run = Arc::new(run);
        self.session.looked.push(Arc::clone(&run));
        Ok(Some(Box::new(RemoteStream::new(run, range))))
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        for index in 0..batch.len() {
            match self.write_one(batch, index) {
                Ok(written) => outcomes.count(written),
                Err(reason) => failed(outcomes, batch.row(index).key, reason),
            }
        }
        Ok(())
    }

    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        // Children sort after their folder, which only goes when it is empty.
        for Removal { key, .. } in rows.iter().rev() {
            let path = std::str::from_utf8(key).map_err(io::Error::other);
            match path.and_then(|path| self.session.remote.0.delete(path)) {
                Ok(()) => outcomes.removed += 1,
                Err(error) => failed(outcomes, key, error.to_string()),
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), ConnectorError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const NOW: i64 = 1_900_000_000;

    fn version(bytes: u64, age_millis: u64, etag: Option<&str>) -> ObjectVersion {
        let modified = UNIX_EPOCH + Duration::from_millis(NOW as u64 * 1000 - age_millis);
        ObjectVersion { bytes, modified: Some(modified), etag: etag.map(str::to_owned) }
    }

    #[test]
    fn each_part_of_an_objects_stamp_makes_it_be_read() {
        let old = Duration::from_hours(2).as_millis() as u64;
        let of = |version: &ObjectVersion| stamp(version, false, NOW);
        let first = of(&version(9, old, Some("a")));
        assert_ne!(first, 0);
        assert_eq!(of(&version(9, old, Some("a"))), first);
        for other in [
            version(8, old, Some("a")),
            version(9, old + 1000, Some("a")),
            version(9, old, Some("b")),
            version(9, old, None),
        ] {
            assert_ne!(of(&other), first, "{other:?}");
        }
    }

    #[test]
    fn an_object_that_may_change_within_its_second_is_read_again() {
        for etag in [None, Some("a")] {
            // Half an hour: the service's clock may be behind ours by that, and the object be of this very second.
            for age in [0, 1500, 1_800_000] {
                assert_eq!(stamp(&version(9, age, etag), false, NOW), 0, "{age} {etag:?}");
            }
        }
        assert_eq!(stamp(&version(9, 0, None), true, NOW), 0, "there is no mark");
        assert_ne!(stamp(&version(9, 0, Some("a")), true, NOW), 0, "each write is marked");
        let timeless = ObjectVersion { modified: None, ..version(9, 0, None) };
        assert_eq!(stamp(&timeless, true, NOW), 0);
        assert_ne!(stamp(&ObjectVersion { etag: Some("a".to_owned()), ..timeless }, true, NOW), 0);
    }
}
