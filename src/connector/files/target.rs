//! `files:DIR` as a target.

use super::{
    COLLECTION, FilesOptions, FilesSource, Origin,
    cells::{Attributes, Kind},
    local_root,
    names::Names,
    place::Places,
    refuse_url_options,
    remote::{Remote, RemoteTargetSession},
    select::Selection,
    shared::Shared,
    stream::{FilesStream, Links},
    walk::{ROOT, is_valid_key},
    write::{Content, Tally, make_file, make_special, temporary_name},
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Meets, Outcomes, Overwrite, Removal, Scope, Source, SourceUrl, Target,
        TargetEnd, TargetPlan, TargetSession,
    },
    record::{KeyCodec, KeyRange, RecordBatch, RecordStream, StreamedValue},
};
use rustix::{
    fd::BorrowedFd,
    fs::{AtFlags, FileType},
    io::Errno,
};
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How files are written.
#[derive(Debug, Clone, Default)]
pub struct FilesTargetOptions {
    /// Whether owners and groups go by name where this host knows the name, else by number.
    pub owners_by_name: bool,
}

/// A place to write files to.
#[derive(Debug)]
pub struct FilesTarget {
    place: Place,
    options: FilesTargetOptions,
}

#[derive(Debug)]
enum Place {
    Local(PathBuf),
    Remote(Remote),
}

impl FilesTarget {
    /// A target at `files:DIR`, which need not exist, or `files:URI`.
    ///
    /// # Errors
    /// [`ConnectorError::Url`] if the URL is no such place.
    pub fn new(url: &SourceUrl, options: FilesTargetOptions) -> Result<Self, ConnectorError> {
        refuse_url_options(url)?;
        let place = if url.place.contains("://") {
            Place::Remote(Remote::open(&url.place, &url.options)?)
        } else {
            Place::Local(PathBuf::from(&url.place))
        };
        Ok(Self { place, options })
    }
}

/// Refuses plans that are not one tree of paths.
fn check_plan(plan: &TargetPlan) -> Result<(), ConnectorError> {
    let wrong = plan.collections.iter().find(|collection| collection.codec != KeyCodec::Path);
    if let Some(collection) = wrong {
        return Err(ConnectorError::Mismatch {
            object: format!("the collection {}", collection.source_name),
            reason: "its records are no files; restore it to jsonl: or to a target of its own kind".to_owned(),
        });
    }
    if plan.collections.len() > 1 {
        return Err(ConnectorError::Mismatch {
            object: "the snapshot".to_owned(),
            reason: "a directory holds one collection; choose one".to_owned(),
        });
    }
    Ok(())
}

impl Target for FilesTarget {
    fn connector(&self) -> &'static str {
        "files"
    }

    fn collection(&self) -> Option<String> {
        None
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let occupied = match &self.place {
            Place::Remote(remote) => remote.is_occupied()?,
            Place::Local(root) => match fs::read_dir(root) {
                Ok(mut entries) => entries.next().is_some(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(source) => {
                    let object = root.display().to_string();
                    return Err(ConnectorError::Io { operation: "list", object, source });
                }
            },
        };
        let name = collections.first().map_or(COLLECTION, String::as_str);
        Ok(if occupied { vec![(name.to_owned(), 1)] } else { Vec::new() })
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        check_plan(plan)?;
        if let Place::Local(root) = &self.place
            && fs::metadata(root).is_ok_and(|metadata| !metadata.is_dir())
        {
            let (object, reason) = (root.display().to_string(), "it is no directory".to_owned());
            return Err(ConnectorError::Unwritable { object, reason });
        }
        let occupied = !self.occupied(&[])?.is_empty();
        Ok(plan.collections.iter().map(|_| if occupied { Meets::Records } else { Meets::Nothing }).collect())
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        check_plan(plan)?;
        let root = match &self.place {
            Place::Remote(remote) => return Ok(Box::new(RemoteTargetSession::new(remote.clone(), plan))),
            Place::Local(root) => root,
        };
        let io = |operation| move |source| ConnectorError::Io { operation, object: root.display().to_string(), source };
        let existed = fs::symlink_metadata(root).is_ok();
        fs::create_dir_all(root).map_err(io("make"))?;
        let names = Arc::new(Names::read());
        Ok(Box::new(LocalTarget {
            root: fs::canonicalize(root).map_err(io("open"))?,
            existed,
            overwrite: plan.overwrite,
            make_equal: plan.make_equal,
            tally: Tally::new(self.options.owners_by_name.then_some(names)),
            shared: None,
        }))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        let (options, scope) = (FilesOptions::default(), Scope::default());
        let origin = match &self.place {
            Place::Local(root) => Origin::Local(local_root(root)?),
            Place::Remote(remote) => Origin::Remote(remote.clone()),
        };
        Ok(Some(Box::new(FilesSource { origin, options, scope })))
    }

    /// A directory holds one collection, whatever it was called.
    fn shown_as<'a>(&self, _name: &'a str) -> &'a str {
        COLLECTION
    }
}

/// A restore into a directory.
struct LocalTarget {
    root: PathBuf,
    existed: bool,
    overwrite: Overwrite,
    make_equal: bool,
    tally: Tally,
    shared: Option<Arc<Shared>>,
}

impl TargetSession for LocalTarget {
    fn open(&mut self, _collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let keep_times = self.overwrite == Overwrite::IfChanged;
        let places = Places::open(&self.root, keep_times).map_err(|error| ConnectorError::Io {
            operation: "open",
            object: self.root.display().to_string(),
            source: error.into(),
        })?;
        Ok(Box::new(FilesWriter { session: self, places, left_alone: HashSet::new(), doomed: Vec::new() }))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        #[cfg(target_os = "linux")]
        {
            let io = |source| ConnectorError::Io { operation: "sync", object: self.root.display().to_string(), source };
            let root = fs::File::open(&self.root).map_err(io)?;
            rustix::fs::syncfs(&root).map_err(|error| io(error.into()))?;
        }
        Ok(TargetEnd { missing: Vec::new(), notes: self.tally.notes() })
    }
}

/// What became of one record.
enum Done {
    Inserted,
    Replaced,
    Existed,
}

/// Writes the records of a tree.
struct FilesWriter<'a> {
    session: &'a mut LocalTarget,
    places: Places,
    /// Files that exist and were not touched: a link to one of them would have the wrong content.
    left_alone: HashSet<Vec<u8>>,
    /// Directories to be removed once what is in them is gone.
    doomed: Vec<Vec<u8>>,
}

impl CollectionTarget for FilesWriter<'_> {
    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        if !self.session.existed {
            return Ok(None);
        }
        let shared = if let Some(shared) = &self.session.shared {
            Arc::clone(shared)
        } else {
            let root = self.session.root.clone();
            let object = root.display().to_string();
            let shared = Shared::new(root, Selection::all(), None).map_err(|source| ConnectorError::Io {
                operation: "open",
                object,
                source,
            })?;
            Arc::clone(self.session.shared.insert(Arc::new(shared)))
        };
        Ok(Some(Box::new(FilesStream::new(shared, range, Links::Differ))))
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        for index in 0..batch.len() {
            let stream = batch.row(index).stream;
            let stream = stream.map(|number| (number, batch.take_stream(number)));
            let key = batch.row(index).key.to_vec();
            let done = match stream {
                Some((_, None)) => Err("its content was taken already".to_owned()),
                Some((_, Some(mut stream))) => self.write_one(batch, index, Some(stream.as_mut()), outcomes),
                None => self.write_one(batch, index, None, outcomes),
            };
            match done {
                Ok(Done::Inserted) => outcomes.inserted += 1,
                Ok(Done::Replaced) => outcomes.replaced += 1,
                Ok(Done::Existed) => outcomes.existed += 1,
                Err(reason) => failed(outcomes, &key, reason),
            }
        }
        Ok(())
    }

    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        // What was written is done: attributes first, since removing moves the times of directories.
        if self.doomed.is_empty() {
            self.places.leave_all(&mut self.session.tally);
        }
        for key in rows.iter().map(|row| &row.key).filter(|key| key.as_slice() != ROOT) {
            if !is_valid_key(key) {
                failed(outcomes, key, "the key is no path below the target".to_owned());
                continue;
            }
            self.remove_doomed(Some(key), outcomes);
            if key.ends_with(b"/") {
                self.doomed.push(key.clone());
                continue;
            }
            self.remove_one(key, outcomes);
        }
        // What is in them may still come with the next keys; what is empty by now can go.
        while let Some(key) = self.doomed.last() {
            let is_empty =
                fs::read_dir(self.session.root.join(OsStr::from_bytes(key))).map(|mut dir| dir.next().is_none());
            if !is_empty.unwrap_or(true) {
                break;
            }
            self.remove_last_doomed(outcomes);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ConnectorError> {
        let mut outcomes = Outcomes::default();
        self.remove_doomed(None, &mut outcomes);
        self.places.leave_all(&mut self.session.tally);
        match outcomes.failures.pop() {
            Some((key, reason)) => Err(ConnectorError::Unwritable { object: key, reason }),
            None => Ok(()),
        }
    }
}

impl FilesWriter<'_> {
    fn write_one(
        &mut self,
        batch: &RecordBatch,
        index: usize,
        stream: Option<&mut dyn StreamedValue>,
        outcomes: &mut Outcomes,
    ) -> Result<Done, String> {
        let row = batch.row(index);
        if !is_valid_key(row.key) {
            return Err("the key is no path below the target".to_owned());
        }
        let (attributes, content, unknown) = Attributes::decode(&row).map_err(|error| error.to_string())?;
        for name in unknown {
            let note = format!("{} has the attribute {name}, which is not known here", KeyCodec::Path.show(row.key));
            if outcomes.notes.len() < 100 {
                outcomes.notes.push(note);
            }
        }
        if (attributes.kind == Kind::Directory) != row.key.ends_with(b"/") {
            return Err("its key and its type disagree on whether it is a directory".to_owned());
        }
        if attributes.kind == Kind::Directory {
            return self.write_directory(row.key, attributes);
        }
        let inline = content.unwrap_or_default();
        let Some(stream) = stream else {
            return self.write_file(row.key, &attributes, &mut &*inline);
        };
        // Left alone files are not read.
        if self.exists_and_stays(row.key)? {
            self.left_alone.insert(row.key.to_vec());
            return Ok(Done::Existed);
        }
        let mut rest = stream.open().map_err(|error| error.to_string())?;
        self.write_file(row.key, &attributes, &mut inline.chain(&mut rest))
    }

    fn exists_and_stays(&mut self, key: &[u8]) -> Result<bool, String> {
        if self.session.overwrite != Overwrite::Never {
            return Ok(false);
        }
        let (dir, name) = Places::split(key);
        let dir = self.places.enter(dir, &mut self.session.tally)?;
        Ok(kind_at(dir, name)?.is_some())
    }

    fn write_directory(&mut self, key: &[u8], attributes: Attributes) -> Result<Done, String> {
        let tally = &mut self.session.tally;
        let never = self.session.overwrite == Overwrite::Never;
        if key == ROOT {
            if never && self.session.existed {
                return Ok(Done::Existed);
            }
            self.places.set_attributes(key, attributes);
            return Ok(if self.session.existed { Done::Replaced } else { Done::Inserted });
        }
        let (parent, name) = Places::split(key);
        let dir = self.places.enter(parent, tally)?;
        let before = kind_at(dir, name)?;
        match before {
            Some(_) if never => return Ok(Done::Existed),
            Some(FileType::Directory) => {}
            other => {
                if other.is_some() {
                    rustix::fs::unlinkat(dir, name, AtFlags::empty())
                        .map_err(|error| said("remove what is there", error))?;
                }
                let mode = rustix::fs::Mode::from_raw_mode(0o700);
                rustix::fs::mkdirat(dir, name, mode).map_err(|error| said("make the directory", error))?;
            }
        }
        self.places.enter(key, tally)?;
        self.places.set_attributes(key, attributes);
        Ok(if before.is_some() { Done::Replaced } else { Done::Inserted })
    }

    fn write_file(&mut self, key: &[u8], attributes: &Attributes, content: &mut dyn Read) -> Result<Done, String> {
        let (parent, name) = Places::split(key);
        let tally = &mut self.session.tally;
        let dir = self.places.enter(parent, tally)?;
        let before = kind_at(dir, name)?;
        if before.is_some() && self.session.overwrite == Overwrite::Never {
            self.left_alone.insert(key.to_vec());
            return Ok(Done::Existed);
        }
        if before == Some(FileType::Directory) {
            clear_directory(&self.session.root, key, dir, name, self.session.make_equal)?;
        }
        let temporary = temporary_name().map_err(|error| error.to_string())?;
        let full = self.session.root.join(OsStr::from_bytes(parent)).join(&temporary);
        let made = if let Some(first) = &attributes.hardlink {
            let link = Linking { root: &self.session.root, left_alone: &self.left_alone };
            link.make(first, key, dir, &temporary)
        } else if attributes.kind == Kind::File {
            let content = Content { bytes: content, extents: attributes.extents.as_deref(), size: attributes.size };
            make_file(dir, &temporary, key, attributes, content, tally).map_err(|error| error.to_string())
        } else {
            make_special(dir, &temporary, &full, key, attributes, tally).map_err(|error| error.to_string())
        };
        let renamed = made.and_then(|()| {
            rustix::fs::renameat(dir, &temporary, dir, name).map_err(|error| said("rename to its name", error))
        });
        // Also after a rename: between two links to one file it does nothing.
        if renamed.is_err() || attributes.hardlink.is_some() {
            let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
        }
        renamed.map(|()| if before.is_some() { Done::Replaced } else { Done::Inserted })
    }

    fn remove_one(&mut self, key: &[u8], outcomes: &mut Outcomes) {
        let (parent, name) = Places::split(key);
        let removed = self.places.revisit(parent, &mut self.session.tally).and_then(|dir| {
            let flags = if key.ends_with(b"/") { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            match rustix::fs::unlinkat(dir, name, flags) {
                // It went with a directory that a file replaced.
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(said("remove it", error)),
            }
        });
        match removed {
            Ok(()) => outcomes.removed += 1,
            Err(reason) => failed(outcomes, key, reason),
        }
    }

    /// Removes the directories that `next` does not lie in: everything in them has been removed.
    fn remove_doomed(&mut self, next: Option<&[u8]>, outcomes: &mut Outcomes) {
        while self.doomed.last().is_some_and(|doomed| next.is_none_or(|next| !next.starts_with(doomed))) {
            self.remove_last_doomed(outcomes);
        }
    }

    fn remove_last_doomed(&mut self, outcomes: &mut Outcomes) {
        if let Some(key) = self.doomed.pop() {
            self.remove_one(&key, outcomes);
        }
    }
}

/// Making a further path of a file.
struct Linking<'a> {
    root: &'a Path,
    left_alone: &'a HashSet<Vec<u8>>,
}

impl Linking<'_> {
    fn make(&self, first: &[u8], key: &[u8], dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), String> {
        if !is_valid_key(first) || first.ends_with(b"/") || first >= key {
            return Err("it is a hard link to something that is no earlier path".to_owned());
        }
        let shown = KeyCodec::Path.show(first);
        if self.left_alone.contains(first) {
            return Err(format!("its content is that of {shown}, which exists and was left alone"));
        }
        let (parent, first_name) = Places::split(first);
        let mut places = Places::open(self.root, false).map_err(|error| said("open the target", error))?;
        let mut tally = Tally::new(None);
        let missing = |_| format!("its content is that of {shown}, which is not there (restore it too)");
        if fs::symlink_metadata(self.root.join(OsStr::from_bytes(parent))).is_err() {
            return Err(missing(Errno::NOENT));
        }
        let linked = places.enter(parent, &mut tally).and_then(|parent| {
            if kind_at(parent, first_name)?.is_none() {
                return Err(missing(Errno::NOENT));
            }
            rustix::fs::linkat(parent, first_name, dir, name, AtFlags::empty()).map_err(|error| said("link it", error))
        });
        // Closed directories on the way there are closed again.
        places.leave_all(&mut tally);
        linked
    }
}

/// Makes room for a file where a directory is: an empty one goes; a full one only where the target is made equal, and
/// so all that is in it would go anyway.
fn clear_directory(root: &Path, key: &[u8], dir: BorrowedFd<'_>, name: &OsStr, make_equal: bool) -> Result<(), String> {
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) if make_equal => fs::remove_dir_all(root.join(OsStr::from_bytes(key)))
            .map_err(|error| format!("remove the directory there: {error}")),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Err("a directory of this name exists and is not empty".to_owned()),
        Err(error) => Err(said("remove the directory there", error)),
    }
}

fn kind_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<FileType>, String> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(said("look at what is there", error)),
    }
}

fn said(what: &str, error: Errno) -> String {
    format!("{what}: {}", io::Error::from(error))
}

/// Counts a record that could not be written.
pub(super) fn failed(outcomes: &mut Outcomes, key: &[u8], reason: String) {
    outcomes.fail(|| KeyCodec::Path.show(key), reason);
}
