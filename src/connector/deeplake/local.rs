//! A restore into a local folder: each dataset is written beside its place, made what was asked for, checked, and then put there.

use super::{
    check::check,
    inventory::walk,
    kept::Told,
    log::Log,
    making::{Wanted, format_of, make},
    nodes::{MAX_VERSIONS_BYTES, VERSIONS, VIEWS, Versions},
    place::{LakePlace, join},
    row::{PlainFile, write_file},
    staged::staged,
    swap::{beside, swap},
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Outcomes, Overwrite, Removal, TargetCollection, TargetEnd, TargetPlan,
        TargetSession, Written,
    },
    record::{KeyCodec, RecordBatch},
};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Refuses places behind links, and names that are something else than a folder.
pub(super) fn check_place(root: &Path, name: &str) -> Result<(), ConnectorError> {
    let mut path = root.to_owned();
    let unwritable = |path: &Path, reason: &str| ConnectorError::Unwritable {
        object: path.display().to_string(),
        reason: reason.to_owned(),
    };
    if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_dir()) {
        return Err(unwritable(&path, "it is no directory"));
    }
    for part in name.split('/') {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if metadata.is_symlink() => {
                return Err(unwritable(&path, "it is a link, which may lead out of the target"));
            }
            Ok(_) => return Err(unwritable(&path, "it is no directory")),
            Err(_) => break,
        }
    }
    Ok(())
}

/// A restore.
pub(super) struct LocalSession {
    root: PathBuf,
    wanted: Wanted,
    collections: Vec<TargetCollection>,
    keep_standing: bool,
    told: Arc<Mutex<Told>>,
    end: TargetEnd,
}

impl LocalSession {
    pub(super) fn begin(
        root: &Path,
        plan: &TargetPlan,
        wanted: &Wanted,
        told: &Arc<Mutex<Told>>,
    ) -> Result<Self, ConnectorError> {
        plan.check_path(root)?;
        for collection in &plan.collections {
            check_place(root, &collection.name)?;
        }
        fs::create_dir_all(root).map_err(|source| ConnectorError::Io {
            operation: "make",
            object: root.display().to_string(),
            source,
        })?;
        Ok(Self {
            root: root.to_owned(),
            wanted: wanted.clone(),
            collections: plan.collections.clone(),
            keep_standing: plan.overwrite == Overwrite::Never,
            told: Arc::clone(told),
            end: TargetEnd::default(),
        })
    }
}

impl TargetSession for LocalSession {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let what = self.collections[collection].clone();
        let place = self.root.join(&what.name);
        let io = |operation, path: &Path, source| ConnectorError::Io {
            operation,
            object: path.display().to_string(),
            source,
        };
        let parent = place.parent().unwrap_or(&self.root).to_owned();
        fs::create_dir_all(&parent).map_err(|error| io("make", &parent, error))?;
        let stands = stands(&place);
        let side = if stands && self.keep_standing {
            None
        } else {
            let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let side = beside(&parent, "new", &name).map_err(|error| io("name", &parent, error))?;
            fs::create_dir(&side).map_err(|error| io("make", &side, error))?;
            Some(Side { path: side, is_done: false })
        };
        Ok(Box::new(DatasetWriter { session: self, what, place, side, folder: None, incomplete: 0 }))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        Ok(std::mem::take(&mut self.end))
    }
}

/// The folder that a dataset is written into; it goes again unless it was put into its place.
struct Side {
    path: PathBuf,
    is_done: bool,
}

impl Drop for Side {
    fn drop(&mut self) {
        if !self.is_done {
            // Nobody needs it; what cannot be removed is found by its name.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

struct DatasetWriter<'a> {
    session: &'a mut LocalSession,
    what: TargetCollection,
    place: PathBuf,
    /// `None` where a dataset stands that is to stay.
    side: Option<Side>,
    /// The folder that was made last.
    folder: Option<PathBuf>,
    /// Files that could not be written.
    incomplete: u64,
}

impl CollectionTarget for DatasetWriter<'_> {
    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        if self.side.is_none() {
            outcomes.existed += batch.len() as u64;
            return Ok(());
        }
        for index in 0..batch.len() {
            match self.write_one(batch, index) {
                Ok(()) => outcomes.count(Written::Inserted),
                Err(reason) => {
                    self.incomplete += 1;
                    let key = batch.row(index).key;
                    outcomes.fail(|| format!("{}/{}", self.what.name, KeyCodec::Path.show(key)), reason);
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, _rows: &[Removal], _outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ConnectorError> {
        let name = self.what.name.clone();
        let Some(mut side) = self.side.take() else {
            self.session.end.notes.push(format!("{name}: it is there already, and stays as it is"));
            return Ok(());
        };
        let object = side.path.display().to_string();
        let failed = |operation, source| ConnectorError::Io { operation, object: object.clone(), source };
        let made = make(&side.path, &self.what, &self.session.wanted)?;
        self.session.end.notes.extend(made.notes);
        self.session.told.lock().unwrap_or_else(PoisonError::into_inner).changed.insert(name.clone(), made.changed);
        let there = LakePlace::Local(side.path.clone());
        let mut bytes_of = |key: &str| match there.stat(key) {
            Ok(seen) => Ok(Some(seen.bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let wrong = check(&there, format_of(&self.what), &mut bytes_of).map_err(|error| failed("check", error))?;
        let is_whole = wrong.is_empty() && self.incomplete == 0;
        let stands = stands(&self.place);
        let end = &mut self.session.end;
        end.missing.extend(wrong.into_iter().map(|what| format!("{name}: {what}")));
        if !is_whole && stands {
            side.is_done = true;
            end.missing.push(format!(
                "{name}: what was restored is not whole, so the dataset that is there stays; what there is lies in {object}"
            ));
            return Ok(());
        }
        let old = swap(&side.path, &self.place).map_err(|error| failed("put into its place", error))?;
        side.is_done = true;
        // Only now: whoever wrote it until then has done so.
        let later = old.as_ref().map_or(Ok(0), |old| commits_beside(old, &self.place));
        match (old, later) {
            (None, _) => {}
            (Some(old), Ok(later)) if later > 0 => {
                end.notes.push(format!(
                    "{name}: the dataset that was there had {later} commits that the one restored has not; it is kept in {}",
                    old.display()
                ));
            }
            (Some(old), Err(why)) if stands => {
                end.notes.push(format!(
                    "{name}: of what was there it cannot be told whether the one restored has all of it ({why}); it is kept in {}",
                    old.display()
                ));
            }
            (Some(old), _) => {
                if let Err(error) = fs::remove_dir_all(&old) {
                    end.notes.push(format!("{name}: what was there before is left in {}: {error}", old.display()));
                }
            }
        }
        Ok(())
    }
}

/// Whether there is something at a place, be it of whatever kind and whoever may read it; an empty folder is nothing.
fn stands(place: &Path) -> bool {
    match fs::read_dir(place) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// How many commits one dataset has that another one has not, and how many writes that are not committed; or why that cannot be told.
fn commits_beside(one: &Path, other: &Path) -> Result<usize, String> {
    let versions = |root: &Path| {
        let place = LakePlace::Local(root.to_owned());
        let said = |error: io::Error| error.to_string();
        let log = Log::read_quiet(&place, "").map_err(said)?;
        let all = log.commits.into_iter().flat_map(|(folder, commits)| {
            commits.into_iter().map(move |commit| (folder.clone(), commit.version, commit.message, commit.seconds))
        });
        let staged = staged(&place, "").map_err(said)?.into_iter();
        let staged = staged.map(|item| (item.key.into_string(), String::new(), String::new(), None));
        Ok::<BTreeSet<_>, String>(all.chain(staged).chain(of_nodes(&place)?).collect())
    };
    let own = versions(one)?;
    if own.is_empty() {
        return Err("it is no dataset that is known".to_owned());
    }
    Ok(own.difference(&versions(other)?).count())
}

/// What tells one commit from another: where it is, its version, its message, and when it was made.
type CommitMark = (String, String, String, Option<i64>);

/// The same of version 3: its nodes, and what was appended to those that are not committed. The first node of every dataset has the
/// same id.
fn of_nodes(place: &LakePlace) -> Result<Vec<CommitMark>, String> {
    let nodes = match place.read(VERSIONS, MAX_VERSIONS_BYTES) {
        Ok((bytes, _)) => Versions::parse(&bytes).map_err(|reason| format!("{VERSIONS}: {reason}"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{VERSIONS}: {error}")),
    };
    let mut all = Vec::new();
    for (id, node) in &nodes.commits {
        let message = node.commit_message.clone().unwrap_or_default();
        if let Some(time) = node.time() {
            all.push((id.clone(), time, message, None));
            continue;
        }
        if id.contains('/') {
            continue;
        }
        let folder = nodes.folder_of(id);
        let mut chunks = Vec::new();
        walk(place, &folder, &mut |key| {
            let key = join(&folder, &key);
            if nodes.node_of(&key) == Some(id) && key.contains("/chunks/") && !key.starts_with(VIEWS) {
                chunks.extend(place.stat(&key).ok().map(|seen| (key, seen.bytes, seen.modified)));
            }
        })
        .map_err(|error| format!("{folder}: {error}"))?;
        chunks.sort();
        // Its id alone says nothing: a restore makes the node anew.
        let written = if chunks.is_empty() { String::new() } else { format!("{chunks:?}") };
        all.push((id.clone(), String::new(), written, None));
    }
    Ok(all)
}

impl DatasetWriter<'_> {
    fn write_one(&mut self, batch: &mut RecordBatch, index: usize) -> Result<(), String> {
        let mut file = PlainFile::of(batch, index)?;
        let Some(side) = &self.side else { return Ok(()) };
        let path = side.path.join(std::ffi::OsStr::from_bytes(file.key));
        let folder = path.parent().unwrap_or(&side.path).to_owned();
        if self.folder.as_ref() != Some(&folder) {
            fs::create_dir_all(&folder).map_err(|error| format!("make its folder: {error}"))?;
            self.folder = Some(folder);
        }
        file.read(|attributes, content| write_file(&path, attributes, content))
    }
}
