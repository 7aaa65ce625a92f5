//! `asb:s3://BUCKET/FOLDER` and the like as a target: files are written as anywhere, into a temporary folder of this machine, and
//! are put where they belong when all of them are whole; with `put_early` each as soon as it is.

use super::{
    AsbSource, AsbTarget,
    cipher::Cipher,
    options::{CipherOptions, PartOptions, PlaceOptions, WriteOptions},
    place::{AsbPlace, SUFFIX, folder, storage_options},
    spot::{Spot, failed, far_location, object_at, storage_at, tree_at},
    target::{files_stand, taken},
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Meets, Options, Outcomes, Overwrite, RecordLookup, Removal, Source,
        SourceUrl, Standing, Target, TargetAbilities, TargetEnd, TargetPlan, TargetSession, url::escaped,
    },
    record::{KeyRange, RecordBatch, RecordStream},
    repo::{
        Storage,
        storage::{Class, Created, ObjectTree},
    },
};
use std::{
    fs::{self, File},
    path::PathBuf,
    sync::Arc,
};
use tempfile::TempDir;

/// Another file is begun behind so many bytes: each is held in memory while it is put.
const FILE_LIMIT: u64 = 64 << 20;

/// Files to put at a far place.
pub struct FarTarget {
    url: SourceUrl,
    at: PlaceOptions,
    storage: Storage,
    /// The same place, for files that are put in pieces.
    tree: Option<ObjectTree>,
    /// The name of the one file, if it is to be one.
    file: Option<String>,
    inner: AsbTarget,
    cipher: Option<Cipher>,
    is_part: bool,
    /// Where files are until they are whole.
    spool: TempDir,
}

impl FarTarget {
    /// Whether a URL names a far place.
    pub fn is_of(url: &SourceUrl) -> bool {
        far_location(&url.place)
            .is_some_and(|location| !location.starts_with("file://") && !location.starts_with("fs://"))
    }

    /// A target at a far place: one file if its name ends in `.asb`, else files in a folder.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense.
    pub fn new(
        url: &SourceUrl,
        cipher: &CipherOptions,
        part: PartOptions,
        mut write: WriteOptions,
        at: PlaceOptions,
    ) -> Result<Self, ConnectorError> {
        let storage = storage_options(url, &at);
        if storage.options.len() < url.options.len() {
            return Err(ConnectorError::Url {
                url: crate::connector::url::without_password(&url.to_string()),
                reason: "a target has one place".to_owned(),
            });
        }
        let location = url.written.trim_end_matches('/');
        let (location, file) = match location.rsplit_once('/').filter(|(_, name)| name.ends_with(SUFFIX)) {
            Some((folder, name)) => (folder, Some(name.to_owned())),
            None => (location, None),
        };
        let tree = if write.put_early { tree_at(location, &storage)? } else { None };
        let storage = storage_at(location, &storage)?;
        let spooled = |source| ConnectorError::Io {
            operation: "make a folder in",
            object: "the place for temporary files".to_owned(),
            source,
        };
        let spool = tempfile::Builder::new().prefix("rekeep-asb-").tempdir().map_err(spooled)?;
        write.file_limit = write.file_limit.or(Some(FILE_LIMIT));
        write.keep_files |= write.put_early;
        let within = file.as_ref().map_or_else(|| spool.path().to_owned(), |name| spool.path().join(name));
        let encoded = escaped(&within.to_string_lossy());
        let within = SourceUrl::parse(&format!("asb:{encoded}"))?;
        let (is_part, cipher_of_it) = (part != PartOptions::default(), cipher.cipher()?);
        let inner = AsbTarget::new(&within, cipher, part, write)?;
        Ok(Self { url: url.clone(), at, storage, tree, file, inner, cipher: cipher_of_it, is_part, spool })
    }

    /// Backup files that stand there.
    fn standing(&self) -> Result<Vec<String>, ConnectorError> {
        let listed = self.storage.list("").map_err(|error| failed("list", self.storage.location(), error))?;
        let is_there = |name: &String| match &self.file {
            Some(file) => name == file,
            None => name.ends_with(SUFFIX) && !name.contains('/'),
        };
        Ok(listed.into_iter().map(|it| it.name).filter(is_there).collect())
    }

    fn check(&self, plan: &TargetPlan) -> Result<(), ConnectorError> {
        // What is put early would be taken away with what it replaces.
        let keeps = plan.overwrite != Overwrite::Always || self.tree.is_some();
        if keeps && !self.standing()?.is_empty() {
            return Err(files_stand(self.storage.location().to_owned()));
        }
        Ok(())
    }
}

/// Removes the backup files of a place in a bucket.
///
/// # Errors
/// [`ConnectorError`] if it cannot be listed, or a file cannot be deleted.
pub fn remove_files(url: &SourceUrl, options: &Options) -> Result<(), ConnectorError> {
    let target = FarTarget::new(url, &options.read()?, options.read()?, options.read()?, options.read()?)?;
    for name in target.standing()? {
        let object = object_at(&target.storage, &name);
        target.storage.delete(&name).map_err(|error| failed("delete", &object, error))?;
    }
    Ok(())
}

impl Target for FarTarget {
    fn connector(&self) -> &'static str {
        "asb"
    }

    fn abilities(&self) -> TargetAbilities {
        TargetAbilities { to_stdout: false, ..self.inner.abilities() }
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        Ok(taken(collections, self.standing()?.is_empty()))
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        self.check(plan)?;
        self.inner.rehearse(plan)
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        self.check(plan)?;
        Ok(Box::new(FarWriting {
            inner: self.inner.begin(plan)?,
            storage: self.storage.clone(),
            spool: self.spool.path().to_owned(),
            replaced: self.standing()?,
            tree: self.tree.clone(),
        }))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        if self.is_part {
            return Ok(None);
        }
        let spot = Spot::of(&self.url.written, &storage_options(&self.url, &self.at))?;
        Ok(Some(Box::new(AsbSource::of(AsbPlace::Spots(vec![spot]), self.cipher.clone()))))
    }
}

/// A restore under way.
struct FarWriting {
    inner: Box<dyn TargetSession>,
    storage: Storage,
    spool: PathBuf,
    /// Where files are put as soon as they are whole, if they are to be.
    tree: Option<ObjectTree>,
    /// Files that were there before, and are to go.
    replaced: Vec<String>,
}

impl TargetSession for FarWriting {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let inner = self.inner.open(collection)?;
        Ok(match &self.tree {
            Some(tree) => Box::new(Parting { inner, tree, spool: &self.spool }),
            None => inner,
        })
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        let end = self.inner.finish()?;
        if let Some(tree) = &self.tree {
            put_whole(tree, &self.spool)?;
        }
        let object = |name: &str| object_at(&self.storage, name);
        for (path, _) in folder(&self.spool)? {
            let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
            let bytes = fs::read(&path).map_err(|source| ConnectorError::Io {
                operation: "read",
                object: path.display().to_string(),
                source,
            })?;
            if self.replaced.contains(&name) {
                self.storage.delete(&name).map_err(|error| failed("delete", &object(&name), error))?;
                self.replaced.retain(|other| *other != name);
            }
            match self.storage.create_shared(&name, &bytes.into(), Class::Data) {
                Ok(Created::New) => {}
                Ok(Created::Exists) => {
                    let reason = "somebody else put a file there meanwhile".to_owned();
                    return Err(ConnectorError::Unwritable { object: object(&name), reason });
                }
                Err(error) => return Err(failed("create", &object(&name), error)),
            }
            fs::remove_file(&path).map_err(|source| ConnectorError::Io {
                operation: "remove",
                object: path.display().to_string(),
                source,
            })?;
        }
        for name in std::mem::take(&mut self.replaced) {
            self.storage.delete(&name).map_err(|error| failed("delete", &object(&name), error))?;
        }
        Ok(end)
    }
}

/// Files that are whole leave the spool in pieces.
fn put_whole(tree: &ObjectTree, spool: &std::path::Path) -> Result<(), ConnectorError> {
    for (path, _) in folder(spool)? {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let failed = |operation| {
            let object = path.display().to_string();
            move |source| ConnectorError::Io { operation, object, source }
        };
        let mut file = File::open(&path).map_err(failed("open"))?;
        let object = format!("{}/{name}", tree.location().trim_end_matches('/'));
        let put = tree.write(&name, &mut file);
        put.map_err(|source| ConnectorError::Io { operation: "put", object, source })?;
        fs::remove_file(&path).map_err(failed("remove"))?;
    }
    Ok(())
}

/// A collection whose files go away as soon as each is whole.
struct Parting<'a> {
    inner: Box<dyn CollectionTarget + 'a>,
    tree: &'a ObjectTree,
    spool: &'a std::path::Path,
}

impl CollectionTarget for Parting<'_> {
    fn meet_snapshot(&mut self, records: Arc<dyn RecordLookup>) {
        self.inner.meet_snapshot(records);
    }

    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        self.inner.existing(range)
    }

    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        self.inner.write(batch, outcomes)?;
        put_whole(self.tree, self.spool)
    }

    fn drain(&mut self, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        self.inner.drain(outcomes)?;
        put_whole(self.tree, self.spool)
    }

    fn lost(&mut self) -> Result<Vec<KeyRange>, ConnectorError> {
        self.inner.lost()
    }

    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        self.inner.remove(rows, outcomes)
    }

    fn settle(&mut self, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        self.inner.settle(outcomes)
    }

    fn standing(&self) -> Option<&dyn Standing> {
        self.inner.standing()
    }

    fn finish(self: Box<Self>) -> Result<(), ConnectorError> {
        let Self { inner, tree, spool } = *self;
        inner.finish()?;
        put_whole(tree, spool)
    }
}
