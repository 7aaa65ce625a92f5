//! `deeplake:DIR` as a target: each dataset is written beside its place, made what was asked for, checked, and then put there.

use super::{
    DeepLakeSource,
    check::check,
    cut::{Cut, cut, set_next},
    find::{Format, LOG, METADATA},
    log::Log,
    metadata, names,
    nodes::VERSIONS,
    place::Place,
    swap::{beside, swap},
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Meets, Outcomes, Overwrite, Removal, Source, SourceUrl, Target,
        TargetAbilities, TargetCollection, TargetEnd, TargetPlan, TargetSession, Written,
        file_record::{
            cells::{Attributes, Kind},
            is_valid_key,
        },
    },
    record::{KeyCodec, RecordBatch},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

/// How datasets are restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeepLakeTargetOptions {
    /// As they were at a commit: its version, its number, a tag, or `@TIME` for the last one at or before a time.
    pub at_version: Option<String>,
    /// The branch that the version is on; by default `main`.
    pub branch: Option<String>,
    /// Whether what was not committed (version 3) stays as it was copied.
    pub keep_head: bool,
}

impl DeepLakeTargetOptions {
    fn cut(&self) -> Result<Option<Cut>, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Options { reason };
        match (self.at_version.as_deref(), &self.branch) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(wrong("a branch without a version on it says nothing".to_owned())),
            (Some(at), branch) => match at.strip_prefix('@') {
                None => Ok(Some(Cut::Version(at.to_owned(), branch.clone()))),
                Some(_) if branch.is_some() => Err(wrong("a time cuts all branches: name none".to_owned())),
                Some(time) => {
                    let time: jiff::Timestamp =
                        time.parse().map_err(|_| wrong(format!("`{time}` is no time such as 2026-11-28T12:00:00Z")))?;
                    Ok(Some(Cut::Time(time.as_second())))
                }
            },
        }
    }
}

/// A folder to restore datasets into.
#[derive(Debug)]
pub struct DeepLakeTarget {
    root: PathBuf,
    options: DeepLakeTargetOptions,
    cut: Option<Cut>,
    /// By collection: files that are others than the snapshot holds, because the restore made them so.
    changed: Arc<Mutex<BTreeMap<String, u64>>>,
    /// Whether nodes are made anew: then nothing of the kind can be counted.
    resets: AtomicBool,
}

impl DeepLakeTarget {
    /// A target at `deeplake:DIR`, which need not exist.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense.
    pub fn new(url: &SourceUrl, options: DeepLakeTargetOptions) -> Result<Self, ConnectorError> {
        let Place::Local(root) = Place::of(url)? else {
            let reason = "datasets are restored into a local folder; copy them from there".to_owned();
            return Err(ConnectorError::Url { url: url.to_string(), reason });
        };
        Ok(Self { root, cut: options.cut()?, options, changed: Arc::default(), resets: AtomicBool::new(false) })
    }

    fn check_plan(&self, plan: &TargetPlan) -> Result<(), ConnectorError> {
        let wrong = |object: String, reason: &str| ConnectorError::Mismatch { object, reason: reason.to_owned() };
        if plan.connector != "deeplake" || plan.collections.iter().any(|one| one.codec != KeyCodec::Path) {
            let reason = "it holds no Deep Lake datasets; restore it to a target of its own kind";
            return Err(wrong("the snapshot".to_owned(), reason));
        }
        for collection in &plan.collections {
            let object = || format!("the dataset name `{}`", collection.name.escape_debug());
            names::parts(&collection.name).map_err(|reason| wrong(object(), &reason))?;
            if self.cut.is_some() && collection.attributes.get("version") != Some(&Json::from(4)) {
                let reason = "only version 4 keeps a log that can be cut; check out an older commit after the restore";
                return Err(wrong(format!("the dataset {}", collection.source_name), reason));
            }
        }
        for collection in &plan.collections {
            let below = format!("{}/", collection.name);
            if plan.collections.iter().any(|other| other.name.starts_with(&below)) {
                let reason = "another dataset would lie inside of it";
                return Err(wrong(format!("the dataset name `{}`", collection.name), reason));
            }
            self.check_place(&collection.name)?;
        }
        Ok(())
    }

    /// Refuses places behind links, and names that are something else than a folder.
    fn check_place(&self, name: &str) -> Result<(), ConnectorError> {
        let mut path = self.root.clone();
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
}

impl Target for DeepLakeTarget {
    fn connector(&self) -> &'static str {
        "deeplake"
    }

    fn abilities(&self) -> TargetAbilities {
        TargetAbilities { overwrites: &[Overwrite::Always, Overwrite::Never], ..TargetAbilities::default() }
    }

    fn stand_alone(&self, _: &TargetCollection) -> bool {
        // Its log and the files that it names are a dataset only together.
        false
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let mut occupied = Vec::new();
        for name in collections {
            // What cannot be a name is refused with the plan.
            if names::parts(name).is_err() {
                continue;
            }
            match fs::read_dir(self.root.join(name)) {
                Ok(mut entries) => {
                    if entries.next().is_some() {
                        occupied.push((name.clone(), 1));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => occupied.push((name.clone(), 1)),
            }
        }
        Ok(occupied)
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        self.check_plan(plan)?;
        Ok(vec![Meets::Unknown; plan.collections.len()])
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        self.check_plan(plan)?;
        plan.check_path(&self.root)?;
        fs::create_dir_all(&self.root).map_err(|source| ConnectorError::Io {
            operation: "make",
            object: self.root.display().to_string(),
            source,
        })?;
        let is_torn = |one: &TargetCollection| {
            one.attributes.get("torn").and_then(Json::as_array).is_some_and(|nodes| !nodes.is_empty())
        };
        self.resets.store(!self.options.keep_head && plan.collections.iter().any(is_torn), Ordering::Relaxed);
        Ok(Box::new(DeepLakeTargetSession {
            changed: Arc::clone(&self.changed),
            root: self.root.clone(),
            options: self.options.clone(),
            cut: self.cut.clone(),
            collections: plan.collections.clone(),
            keep_standing: plan.overwrite == Overwrite::Never,
            end: TargetEnd::default(),
        }))
    }

    fn changed_itself(&self, collection: &str) -> u64 {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).get(collection).copied().unwrap_or(0)
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        // What is restored as it was at a commit is other files than the snapshot holds.
        if self.cut.is_some() || self.resets.load(Ordering::Relaxed) {
            return Ok(None);
        }
        Ok(Some(Box::new(DeepLakeSource::at(Place::Local(self.root.clone())))))
    }
}

struct DeepLakeTargetSession {
    changed: Arc<Mutex<BTreeMap<String, u64>>>,
    root: PathBuf,
    options: DeepLakeTargetOptions,
    cut: Option<Cut>,
    collections: Vec<TargetCollection>,
    keep_standing: bool,
    end: TargetEnd,
}

impl TargetSession for DeepLakeTargetSession {
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
        let stands = fs::read_dir(&place).is_ok_and(|mut entries| entries.next().is_some());
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
    session: &'a mut DeepLakeTargetSession,
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
        let format = match self.what.attributes.get("version").and_then(Json::as_u64) {
            Some(4) => Format::Four,
            Some(3) => Format::Three,
            _ => Format::Neither,
        };
        self.make(&side.path, format)?;
        let wrong = check(&Place::Local(side.path.clone()), format).map_err(|error| failed("check", error))?;
        let is_whole = wrong.is_empty() && self.incomplete == 0;
        let stands = fs::read_dir(&self.place).is_ok_and(|mut entries| entries.next().is_some());
        let end = &mut self.session.end;
        end.missing.extend(wrong.into_iter().map(|what| format!("{name}: {what}")));
        if !is_whole && stands {
            side.is_done = true;
            end.missing.push(format!(
                "{name}: what was restored is not whole, so the dataset that is there stays; what there is lies in {object}"
            ));
            return Ok(());
        }
        let later = if stands { commits_beside(&self.place, &side.path) } else { 0 };
        let old = swap(&side.path, &self.place).map_err(|error| failed("put into its place", error))?;
        side.is_done = true;
        match old {
            None => {}
            Some(old) if later > 0 => {
                end.notes.push(format!(
                    "{name}: the dataset that was there had {later} commits that the one restored has not; it is kept in {}",
                    old.display()
                ));
            }
            Some(old) => {
                if let Err(error) = fs::remove_dir_all(&old) {
                    end.notes.push(format!("{name}: what was there before is left in {}: {error}", old.display()));
                }
            }
        }
        Ok(())
    }
}

/// How many commits one dataset has that another one has not.
fn commits_beside(one: &Path, other: &Path) -> usize {
    let versions = |root: &Path| {
        let log = Log::read_quiet(&Place::Local(root.to_owned()), "").unwrap_or_default();
        let all = log.commits.into_iter().flat_map(|(folder, commits)| {
            commits.into_iter().map(move |commit| (folder.clone(), commit.version, commit.message, commit.seconds))
        });
        all.collect::<std::collections::BTreeSet<_>>()
    };
    versions(one).difference(&versions(other)).count()
}

impl DatasetWriter<'_> {
    fn write_one(&mut self, batch: &mut RecordBatch, index: usize) -> Result<(), String> {
        let stream = batch.row(index).stream.map(|number| batch.take_stream(number));
        let row = batch.row(index);
        if !is_valid_key(row.key) || row.key.ends_with(b"/") {
            return Err("the key is no path below the dataset".to_owned());
        }
        let (attributes, content, _) = Attributes::decode(&row).map_err(|error| error.to_string())?;
        if attributes.kind != Kind::File || attributes.hardlink.is_some() || attributes.extents.is_some() {
            return Err("it is no plain file".to_owned());
        }
        let Some(side) = &self.side else { return Ok(()) };
        let path = side.path.join(std::ffi::OsStr::from_bytes(row.key));
        let folder = path.parent().unwrap_or(&side.path).to_owned();
        if self.folder.as_ref() != Some(&folder) {
            fs::create_dir_all(&folder).map_err(|error| format!("make its folder: {error}"))?;
            self.folder = Some(folder);
        }
        let inline = content.unwrap_or_default();
        let wrote = match stream {
            None => write_file(&path, &attributes, &mut &*inline),
            Some(None) => return Err("its content was taken already".to_owned()),
            Some(Some(mut stream)) => {
                let mut rest = stream.open().map_err(|error| error.to_string())?;
                write_file(&path, &attributes, &mut inline.chain(&mut rest))
            }
        };
        wrote.map_err(|error| error.to_string())
    }

    /// Makes of the files what was asked for: the log cut, the next number set, names rewritten.
    fn make(&mut self, side: &Path, format: Format) -> Result<(), ConnectorError> {
        let name = &self.what.name;
        let said = |reason: String| ConnectorError::Mismatch { object: format!("the dataset {name}"), reason };
        let notes = &mut self.session.end.notes;
        let mut changed = 0;
        if let (Some(at), Format::Four) = (&self.session.cut, format) {
            let what = cut(side, at).map_err(said)?;
            notes.push(format!("{name}: {what}"));
        }
        if format == Format::Four && side.join(LOG).is_dir() {
            changed += set_next(side).map_err(|error| said(error.to_string()))?;
        }
        if format == Format::Three && side.join(VERSIONS).is_file() {
            super::reset::settle_heads(side, self.session.options.keep_head)
                .map_err(said)?
                .into_iter()
                .for_each(|what| notes.push(format!("{name}: {what}")));
        }
        let path = side.join(METADATA);
        let (tenant, dataset) = names::parts(name).map_err(said)?;
        let differs = |field: &str, new: Option<&str>| {
            let old = self.what.attributes.get(field).and_then(Json::as_str);
            new.filter(|new| old != Some(*new)).map(str::to_owned)
        };
        let (new_name, new_tenant) = (differs("dataset", Some(dataset)), differs("tenant", tenant));
        if let Ok(bytes) = fs::read(&path) {
            match metadata::renamed(&bytes, new_name.as_deref(), new_tenant.as_deref()) {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    fs::write(&path, bytes).map_err(|error| said(error.to_string()))?;
                    changed += 1;
                }
                Err(reason) => notes.push(format!("{name}: {METADATA} says the old name still: {reason}")),
            }
        }
        self.session.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), changed);
        Ok(())
    }
}

fn write_file(path: &Path, attributes: &Attributes, content: &mut dyn Read) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    let written = io::copy(content, &mut file)?;
    if attributes.size.is_some_and(|size| size != written) {
        return Err(io::Error::other("its content is not as long as its size says"));
    }
    if let Some(mode) = attributes.mode {
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777 | 0o600))?;
    }
    if let Some(time) = attributes.mtime.filter(|time| time.seconds >= 0) {
        file.set_modified(UNIX_EPOCH + Duration::new(time.seconds as u64, time.nanos))?;
    }
    Ok(())
}
