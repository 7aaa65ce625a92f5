//! `files:DIR` as a target.

use super::{
    COLLECTION, FilesOptions, FilesSource, Origin,
    cells::{Attributes, Kind},
    linking::Linker,
    local_root,
    names::Names,
    outcome::{UNSEEN, failed},
    place::Places,
    refuse_url_options,
    remote::{Remote, RemoteTargetSession, TreePlace},
    remove::remove_tree,
    select::Selection,
    select::part_of,
    session::SELECTION,
    shared::Shared,
    stream::{FilesStream, Links},
    trail::{open_root, split},
    twins::Twins,
    walk::{ROOT, is_valid_key},
    whole::check_first,
    write::{Content, Tally, make_file, make_special, temporary_name},
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Meets, Outcomes, Overwrite, RecordLookup, Removal, Scope, Source, SourceUrl,
        Target, TargetEnd, TargetPlan, TargetSession, Written,
        file_record::Unkept,
        plan::{Inode, inode_of},
    },
    record::{KeyCodec, KeyRange, RecordBatch, RecordStream, StreamedValue},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, FlockOperation, flock},
    io::Errno,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    ffi::OsStr,
    fs,
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// So many directories that are left are named.
const MAX_LEFT: usize = 100;

/// How files are written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilesTargetOptions {
    /// Whether owners and groups go by name where this host knows the name, else by number.
    pub owners_by_name: bool,
}

/// A place to write files to.
#[derive(Debug)]
pub struct FilesTarget {
    place: Root,
    options: FilesTargetOptions,
    unkept: Arc<Mutex<Unkept>>,
}

#[derive(Debug)]
enum Root {
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
            match Remote::open(&url.place, &url.options)? {
                TreePlace::Folder(path) => Root::Local(path),
                TreePlace::Objects(remote) => Root::Remote(remote),
            }
        } else {
            Root::Local(url.path())
        };
        Ok(Self { place, options, unkept: Arc::default() })
    }

    /// What stands there, or the part of it that a snapshot holds.
    fn shown(&self, part: Option<serde_json::Value>) -> Result<Box<dyn Source>, ConnectorError> {
        let (options, scope) = (FilesOptions::default(), Scope::default());
        let origin = match &self.place {
            Root::Local(root) => Origin::Local(local_root(root)?),
            Root::Remote(remote) => Origin::Remote(remote.clone()),
        };
        Ok(Box::new(FilesSource { origin, options, selection: Selection::all(), scope, part }))
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
    if plan.make_equal && plan.left_out.is_some() && plan.attributes.get(SELECTION).is_none() {
        return Err(ConnectorError::Mismatch {
            object: "the snapshot".to_owned(),
            reason: "it holds a part of its source and does not say which: making equal might remove the rest"
                .to_owned(),
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
            Root::Remote(remote) => remote.is_occupied()?,
            Root::Local(root) => match fs::read_dir(root) {
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
        match &self.place {
            Root::Local(root) => plan.check_path(root)?,
            Root::Remote(remote) => plan.check_location(remote.location())?,
        }
        if let Root::Local(root) = &self.place
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
            Root::Remote(remote) => {
                plan.check_location(remote.location())?;
                return Ok(Box::new(RemoteTargetSession::new(remote.clone(), plan)));
            }
            Root::Local(root) => root,
        };
        plan.check_path(root)?;
        let io = |operation| move |source| ConnectorError::Io { operation, object: root.display().to_string(), source };
        let existed = fs::symlink_metadata(root).is_ok();
        if existed && fs::metadata(root).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let (object, reason) = (root.display().to_string(), "it is a link that points to nothing".to_owned());
            return Err(ConnectorError::Unwritable { object, reason });
        }
        fs::create_dir_all(root).map_err(io("make"))?;
        let opened = open_root(root).map_err(io("open"))?;
        // Before anything is written: what two restores write in turn is neither of both. The system lets go of it with this process,
        // and where a file system knows no locks nothing is kept apart.
        if let Err(Errno::WOULDBLOCK) = flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            let (object, reason) = (root.display().to_string(), "another restore writes into it".to_owned());
            return Err(ConnectorError::Locked { object, reason });
        }
        let names = Arc::new(Names::default());
        let real = fs::canonicalize(root).map_err(io("find"))?;
        let holds_one = plan.leave_alone.iter().any(|folder| folder.starts_with(&real));
        Ok(Box::new(LocalTarget {
            path: root.clone(),
            root: opened,
            existed,
            overwrite: plan.overwrite,
            make_equal: plan.make_equal,
            part: plan.attributes.get(SELECTION).cloned(),
            is_whole: !plan.partial && plan.left_out.is_none() && !holds_one,
            leave_alone: plan.leave_alone.clone(),
            left: Vec::new(),
            tally: Tally::new(self.options.owners_by_name.then_some(names)),
            shared: None,
            unremoved: Vec::new(),
            unkept: Arc::clone(&self.unkept),
        }))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        self.shown(None).map(Some)
    }

    fn read_back_of(&self, plan: &TargetPlan) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        self.shown(plan.attributes.get(SELECTION).cloned()).map(Some)
    }

    fn unkept(&self) -> Option<Unkept> {
        Some(match &self.place {
            Root::Local(_) => {
                let unkept = *self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
                Unkept { by_name: self.options.owners_by_name, ..unkept }
            }
            Root::Remote(_) => {
                Unkept { owners: true, permissions: true, times: true, xattrs: true, root: true, ..Unkept::default() }
            }
        })
    }

    /// A directory holds one collection, whatever it was called.
    fn shown_as<'a>(&self, _name: &'a str) -> &'a str {
        COLLECTION
    }
}

/// A restore into a directory.
struct LocalTarget {
    /// What the root is called.
    path: PathBuf,
    root: Arc<OwnedFd>,
    existed: bool,
    overwrite: Overwrite,
    make_equal: bool,
    /// The part that was asked for of the snapshot's source: nothing else is looked at, or removed.
    part: Option<serde_json::Value>,
    /// Whether all that stands in the target is compared with the snapshot.
    is_whole: bool,
    /// Folders that are no part of any target, wherever they lie or are mounted.
    leave_alone: Vec<PathBuf>,
    /// Directories that are left since they hold what is not compared.
    left: Vec<String>,
    tally: Tally,
    shared: Option<Arc<Shared>>,
    /// What should be gone and is not, in words.
    unremoved: Vec<String>,
    /// Where it is said what could not be kept.
    unkept: Arc<Mutex<Unkept>>,
}

impl LocalTarget {
    fn io(&self, operation: &'static str, source: io::Error) -> ConnectorError {
        ConnectorError::Io { operation, object: self.path.display().to_string(), source }
    }
}

impl TargetSession for LocalTarget {
    fn open(&mut self, _collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let keep_times = self.overwrite == Overwrite::IfChanged;
        let places = Places::new(Arc::clone(&self.root), keep_times);
        let places = places.map_err(|error| self.io("open", error.into()))?;
        let linker = Linker::new(Arc::clone(&self.root));
        let twins = Twins::of(self.root.as_fd());
        Ok(Box::new(FilesWriter { session: self, places, linker, twins, doomed: Vec::new() }))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.root).map_err(|error| self.io("sync", error.into()))?;
        let mut end = TargetEnd {
            missing: std::mem::take(&mut self.unremoved),
            notes: self.tally.notes(),
            ..TargetEnd::default()
        };
        *self.unkept.lock().unwrap_or_else(PoisonError::into_inner) = self.tally.unkept();
        end.notes.append(&mut self.left);
        let unseen = self.shared.iter().flat_map(|shared| shared.all_missing());
        let unseen = unseen.map(|what| format!("{UNSEEN}: {what}"));
        // What is there and should not be may be there still.
        if self.make_equal {
            end.missing.extend(unseen);
        } else {
            end.notes.extend(unseen);
        }
        Ok(end)
    }
}

/// Writes the records of a tree.
struct FilesWriter<'a> {
    session: &'a mut LocalTarget,
    places: Places,
    linker: Linker,
    twins: Twins,
    /// Directories to be removed once what is in them is gone.
    doomed: Vec<Vec<u8>>,
}

impl CollectionTarget for FilesWriter<'_> {
    fn meet_snapshot(&mut self, records: Arc<dyn RecordLookup>) {
        self.places.records = Some(Arc::clone(&records));
        self.linker.records = Some(records);
    }

    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        if !self.session.existed {
            return Ok(None);
        }
        let shared = if let Some(shared) = &self.session.shared {
            Arc::clone(shared)
        } else {
            let (path, root) = (self.session.path.clone(), Arc::clone(&self.session.root));
            let selection = part_of(self.session.part.as_ref(), &path.display().to_string())?;
            let shared = Shared::new(path, root, selection, None);
            let shared = shared.map_err(|error| self.session.io("open", error))?.without(&self.session.leave_alone);
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
                Ok(written) => outcomes.count(written),
                Err(reason) => failed(outcomes, &key, reason),
            }
        }
        Ok(())
    }

    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        // What was written is done: attributes first, since removing moves the times of directories.
        if self.doomed.is_empty() {
            self.leave_all();
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
        // What is in them may still come with the next keys; what is empty by now can go, and is counted here.
        while let Some(key) = self.doomed.last().cloned() {
            match self.unlink(&key) {
                Err(Unlinking::NotEmpty) => break,
                removed => count_removed(removed, &key, outcomes),
            }
            self.doomed.pop();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ConnectorError> {
        let mut outcomes = Outcomes::default();
        self.remove_doomed(None, &mut outcomes);
        self.leave_all();
        let left = outcomes.failures.into_iter().map(|(key, reason)| format!("{key} could not be removed: {reason}"));
        self.session.unremoved.extend(left);
        Ok(())
    }
}

impl FilesWriter<'_> {
    fn leave_all(&mut self) {
        if !self.session.existed {
            self.places.root_is_new(&mut self.session.tally);
        }
        self.places.leave_all(&mut self.session.tally);
    }

    fn write_one(
        &mut self,
        batch: &RecordBatch,
        index: usize,
        stream: Option<&mut dyn StreamedValue>,
        outcomes: &mut Outcomes,
    ) -> Result<Written, String> {
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
            return Ok(Written::Existed);
        }
        let mut rest = stream.open().map_err(|error| error.to_string())?;
        self.write_file(row.key, &attributes, &mut inline.chain(&mut rest))
    }

    fn exists_and_stays(&mut self, key: &[u8]) -> Result<bool, String> {
        if self.session.overwrite != Overwrite::Never {
            return Ok(false);
        }
        let (parent, name) = split(key);
        let records = self.places.records.clone();
        let dir = self.places.enter(parent, &mut self.session.tally)?;
        let exists = kind_at(dir, name)?.is_some();
        if exists {
            self.twins.check(dir, key, records.as_deref())?;
        }
        Ok(exists)
    }

    fn write_directory(&mut self, key: &[u8], attributes: Attributes) -> Result<Written, String> {
        let tally = &mut self.session.tally;
        let never = self.session.overwrite == Overwrite::Never;
        if key == ROOT {
            if never && self.session.existed {
                return Ok(Written::Existed);
            }
            self.places.set_attributes(key, attributes);
            return Ok(if self.session.existed { Written::Replaced } else { Written::Inserted });
        }
        let (parent, name) = split(key);
        let records = self.places.records.clone();
        let dir = self.places.enter(parent, tally)?;
        let before = kind_at(dir, name)?;
        if before.is_some() {
            self.twins.check(dir, key, records.as_deref())?;
        }
        match before {
            Some(_) if never => return Ok(Written::Existed),
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
        self.twins.made(key);
        self.places.enter(key, tally)?;
        self.places.set_attributes(key, attributes);
        Ok(if before.is_some() { Written::Replaced } else { Written::Inserted })
    }

    fn write_file(&mut self, key: &[u8], attributes: &Attributes, content: &mut dyn Read) -> Result<Written, String> {
        let (parent, name) = split(key);
        let Self { session, places, linker, twins, .. } = self;
        let tally = &mut session.tally;
        let records = places.records.clone();
        let dir = places.enter(parent, tally)?;
        let before = kind_at(dir, name)?;
        if before.is_some() {
            twins.check(dir, key, records.as_deref())?;
        }
        if before.is_some() && session.overwrite == Overwrite::Never {
            return Ok(Written::Existed);
        }
        let temporary = temporary_name().map_err(|error| error.to_string())?;
        let made = match &attributes.hardlink {
            Some(first) => make_linked(linker, dir, &temporary, first, key, attributes, tally),
            None => make(dir, &temporary, key, attributes, content, tally),
        };
        let renamed = made.and_then(|()| {
            if before == Some(FileType::Directory) {
                let may_clear = session.make_equal && session.is_whole;
                clear_directory(dir, name, may_clear.then_some(session.leave_alone.as_slice()))?;
            }
            rustix::fs::renameat(dir, &temporary, dir, name).map_err(|error| said("rename to its name", error))?;
            twins.made(key);
            Ok(())
        });
        // Also after a rename: between two links to one file it does nothing.
        if renamed.is_err() || attributes.hardlink.is_some() {
            let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
        }
        renamed.map(|()| if before.is_some() { Written::Replaced } else { Written::Inserted })
    }

    fn remove_one(&mut self, key: &[u8], outcomes: &mut Outcomes) {
        let removed = self.unlink(key);
        count_removed(removed, key, outcomes);
    }

    fn unlink(&mut self, key: &[u8]) -> Result<(), Unlinking> {
        let (parent, name) = split(key);
        // It went with a directory that a file replaced.
        let dir = self.places.revisit(parent, &mut self.session.tally).map_err(Unlinking::Failed)?;
        let Some(dir) = dir else { return Ok(()) };
        let flags = if key.ends_with(b"/") { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(dir, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // It is a file of the snapshot by now.
            Err(Errno::NOTDIR) if key.ends_with(b"/") => Ok(()),
            // Or a directory of it.
            Err(Errno::ISDIR) if !key.ends_with(b"/") => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Unlinking::NotEmpty),
            Err(error) => Err(Unlinking::Failed(said("remove it", error))),
        }
    }

    /// Removes the directories that `next` does not lie in: everything in them has been removed.
    fn remove_doomed(&mut self, next: Option<&[u8]>, outcomes: &mut Outcomes) {
        while self.doomed.last().is_some_and(|doomed| next.is_none_or(|next| !next.starts_with(doomed))) {
            self.remove_last_doomed(outcomes);
        }
    }

    fn remove_last_doomed(&mut self, outcomes: &mut Outcomes) {
        let Some(key) = self.doomed.pop() else { return };
        match self.unlink(&key) {
            Err(Unlinking::NotEmpty) if !self.session.is_whole => {
                if self.session.left.len() < MAX_LEFT {
                    let shown = KeyCodec::Path.show(&key);
                    self.session.left.push(format!("{shown} is left: it holds what was not asked for"));
                }
            }
            removed => count_removed(removed, &key, outcomes),
        }
    }
}

/// Why something could not be removed.
enum Unlinking {
    NotEmpty,
    Failed(String),
}

fn count_removed(removed: Result<(), Unlinking>, key: &[u8], outcomes: &mut Outcomes) {
    match removed {
        Ok(()) => outcomes.removed += 1,
        Err(Unlinking::NotEmpty) => failed(outcomes, key, "the directory is not empty".to_owned()),
        Err(Unlinking::Failed(reason)) => failed(outcomes, key, reason),
    }
}

/// Makes a file, link or special file that is no further path of another one.
fn make(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    key: &[u8],
    attributes: &Attributes,
    content: &mut dyn Read,
    tally: &mut Tally,
) -> Result<(), String> {
    let made = if attributes.kind == Kind::File {
        let content = Content { bytes: content, extents: attributes.extents.as_deref(), size: attributes.size };
        make_file(dir, name, key, attributes, content, tally)
    } else {
        make_special(dir, name, key, attributes, tally)
    };
    made.map_err(|error| error.to_string())
}

/// Makes a further path of a file: a link, or the file itself if there is nothing that it could be linked to.
fn make_linked(
    linker: &mut Linker,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    first: &[u8],
    key: &[u8],
    attributes: &Attributes,
    tally: &mut Tally,
) -> Result<(), String> {
    check_first(first, key)?;
    if linker.link(first, attributes, dir, name, tally)? {
        return Ok(());
    }
    let mut carrier = linker.carrier(first)?;
    // The file is one: what is not said of each of its paths is said of the first.
    let whole = Attributes {
        hardlink: None,
        extents: carrier.attributes.extents.take(),
        xattrs: std::mem::take(&mut carrier.attributes.xattrs),
        size: carrier.attributes.size,
        ..attributes.clone()
    };
    if whole.kind != carrier.attributes.kind {
        return Err(format!("it is of another kind than {}, whose content it has", KeyCodec::Path.show(first)));
    }
    make(dir, name, key, &whole, &mut carrier.content()?, tally)?;
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| said("look at it", error))?;
    linker.stands(first, key, &stat);
    Ok(())
}

/// Makes room for a file where a directory is: an empty one goes; a full one only where the target is made equal, and
/// so all that is in it would go anyway.
/// Removes the directory in the place of a file; what is in it only if it may, and these folders never.
fn clear_directory(dir: BorrowedFd<'_>, name: &OsStr, all_but: Option<&[PathBuf]>) -> Result<(), String> {
    let failed = |error| said("remove the directory there", error);
    match (rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR), all_but) {
        (Ok(()), _) => Ok(()),
        (Err(Errno::NOTEMPTY | Errno::EXIST), Some(kept)) => {
            let kept: Vec<Inode> = kept.iter().filter_map(|folder| inode_of(folder)).collect();
            remove_tree(dir, name, &kept).map_err(failed)
        }
        (Err(Errno::NOTEMPTY | Errno::EXIST), None) => {
            Err("a directory of this name exists and is not empty".to_owned())
        }
        (Err(error), _) => Err(failed(error)),
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
