//! A restore into a service: blocks go there as they come, the log lies in a scratch folder until all of them are there, and
//! what shows the dataset is written last.

use super::{
    check::check,
    far_place::{FarPlace, Found, Mark},
    find::{Format, LOG, METADATA},
    inventory::walk,
    kept::{Kept, KeptFile, Told},
    log::Log,
    making::{Wanted, format_of, make},
    order::Order,
    place::LakePlace,
    row::{PlainFile, write_file},
    staged::is_staged,
    uploads::{Ended, Uploads},
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, Outcomes, Overwrite, Removal, TargetCollection, TargetEnd, TargetPlan,
        TargetSession, Written,
    },
    record::{KeyCodec, RecordBatch},
    repo::storage::ObjectTree,
};
use bytes::Bytes;
use std::{
    collections::HashMap,
    fs, io,
    sync::{Arc, Mutex, PoisonError},
};

/// Blocks above this are streamed, alone.
const MAX_HELD: u64 = 8 << 20;

/// A restore.
pub(super) struct FarSession {
    tree: ObjectTree,
    wanted: Wanted,
    mark: Mark,
    collections: Vec<TargetCollection>,
    overwrite: Overwrite,
    told: Arc<Mutex<Told>>,
    end: TargetEnd,
}

impl FarSession {
    /// Looks at all places before anything is written.
    pub(super) fn begin(
        tree: &ObjectTree,
        plan: &TargetPlan,
        wanted: &Wanted,
        told: &Arc<Mutex<Told>>,
    ) -> Result<Self, ConnectorError> {
        plan.check_location(tree.location())?;
        let session = Self {
            tree: tree.clone(),
            wanted: wanted.clone(),
            mark: Mark::of(plan.snapshot.as_deref(), wanted)?,
            collections: plan.collections.clone(),
            overwrite: plan.overwrite,
            told: Arc::clone(told),
            end: TargetEnd::default(),
        };
        for what in &session.collections {
            let place = session.place(what);
            let reason = match place.find(&session.mark.text(&what.source_name))? {
                Found::Stands if session.overwrite == Overwrite::Always => {
                    "a dataset stands there, and nothing at a service takes another one's place at once: restore it under \
                     another name, or delete that one first"
                }
                Found::BegunByAnother if session.overwrite != Overwrite::Always => {
                    "a restore of something else into it was stopped, or is under way: let that one go on, or have what it \
                     left written over"
                }
                _ => continue,
            };
            return Err(ConnectorError::Unwritable { object: place.show(), reason: reason.to_owned() });
        }
        Ok(session)
    }

    fn place(&self, what: &TargetCollection) -> FarPlace {
        FarPlace::new(&self.tree, &what.name)
    }
}

impl TargetSession for FarSession {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let what = self.collections[collection].clone();
        let (place, mark) = (self.place(&what), self.mark.text(&what.source_name));
        let there = match place.find(&mark)? {
            Found::Stands => None,
            Found::BegunByAnother => {
                place.clear()?;
                Some(HashMap::new())
            }
            Found::Nothing => Some(HashMap::new()),
            Found::BegunByThis => Some(place.lengths()?),
        };
        let begun = match there {
            None => None,
            Some(there) => {
                place.begin(&mark)?;
                let scratch = tempfile::tempdir().map_err(|source| ConnectorError::Io {
                    operation: "make a folder in",
                    object: std::env::temp_dir().display().to_string(),
                    source,
                })?;
                let uploads = Uploads::new(self.tree.clone());
                Some(Begun { scratch, uploads, there, written: Kept::new(), incomplete: 0 })
            }
        };
        Ok(Box::new(FarWriter { format: format_of(&what), session: self, what, place, begun }))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        Ok(std::mem::take(&mut self.end))
    }
}

/// A dataset that is being written.
struct Begun {
    /// Holds what is written last.
    scratch: tempfile::TempDir,
    uploads: Uploads,
    /// What an earlier run of the same restore wrote.
    there: HashMap<String, u64>,
    written: Kept,
    /// Files that could not be written.
    incomplete: u64,
}

struct FarWriter<'a> {
    session: &'a mut FarSession,
    what: TargetCollection,
    format: Format,
    place: FarPlace,
    /// `None` where something stands that is to stay.
    begun: Option<Begun>,
}

/// Whether a file waits in the scratch folder: what is read or changed before it is written, and what must come late.
fn waits(key: &str, format: Format) -> bool {
    key == METADATA
        || match format {
            Format::Four => is_staged(key) || key.strip_prefix(LOG).is_some_and(|rest| rest.starts_with('/')),
            Format::Three => !key.split('/').any(|part| part == "chunks"),
            Format::Neither | Format::Begun => false,
        }
}

impl Begun {
    /// Takes a file.
    fn write(
        &mut self,
        batch: &mut RecordBatch,
        index: usize,
        place: &FarPlace,
        format: Format,
    ) -> Result<Taken, String> {
        let mut file = PlainFile::of(batch, index)?;
        let key = std::str::from_utf8(file.key).map_err(|_| "object names must be UTF-8".to_owned())?.to_owned();
        let bytes = file.attributes.size.unwrap_or(0);
        let kept = KeptFile { bytes, mode: file.attributes.mode, mtime: file.attributes.mtime };
        if waits(&key, format) {
            let path = self.scratch.path().join(&key);
            fs::create_dir_all(path.parent().unwrap_or(self.scratch.path())).map_err(|error| error.to_string())?;
            file.read(|attributes, content| write_file(&path, attributes, content))?;
            self.written.insert(key, kept);
            return Ok(Taken::New);
        }
        if self.there.get(&key) == Some(&bytes) {
            self.written.insert(key, kept);
            return Ok(Taken::There);
        }
        let path = place.path(&key);
        if bytes > MAX_HELD {
            file.read(|_, content| place.tree().create(&path, content))?;
            self.written.insert(key, kept);
            return Ok(Taken::New);
        }
        let held = file.read(|_, content| {
            let mut held = Vec::with_capacity(bytes as usize);
            content.read_to_end(&mut held)?;
            Ok(Bytes::from(held))
        })?;
        self.written.insert(key, kept);
        Ok(Taken::Begun(self.uploads.add(path, held)))
    }
}

/// What was made of a file.
enum Taken {
    New,
    There,
    /// It is under way; these came to their end meanwhile.
    Begun(Vec<Ended>),
}

impl FarWriter<'_> {
    /// Counts what came to its end.
    fn count(&mut self, ended: Vec<Ended>, outcomes: &mut Outcomes) {
        let Some(begun) = &mut self.begun else { return };
        for Ended { path, outcome } in ended {
            match outcome {
                Ok(()) => outcomes.count(Written::Inserted),
                Err(reason) => {
                    begun.incomplete += 1;
                    outcomes.fail(|| path, reason);
                }
            }
        }
    }

    fn io(&self, operation: &'static str) -> impl Fn(io::Error) -> ConnectorError + use<> {
        let object = self.place.show();
        move |source| ConnectorError::Io { operation, object: object.clone(), source }
    }

    /// Deletes blocks that were written and that nothing names any more.
    fn drop_unnamed(&self, begun: &mut Begun, before: &Log, reset: &[String]) -> Result<(), ConnectorError> {
        let mut gone: Vec<String> = Vec::new();
        if self.session.wanted.cut.is_some() {
            let after =
                Log::read_quiet(&LakePlace::Local(begun.scratch.path().to_owned()), "").map_err(self.io("check"))?;
            gone.extend(before.blocks.keys().filter(|key| !after.blocks.contains_key(*key)).map(ToString::to_string));
        }
        for node in reset {
            let below = format!("versions/{node}/");
            gone.extend(begun.written.keys().filter(|key| key.starts_with(&below)).cloned());
        }
        gone.retain(|key| begun.written.remove(key).is_some() && !waits(key, self.format));
        let paths = gone.iter().map(|key| self.place.path(key)).collect();
        self.place.tree().delete_all(paths).map_err(self.io("delete what is left out of"))
    }

    /// Writes files of the scratch folder; gives what could not be.
    fn publish(&self, begun: &mut Begun, keys: &[String]) -> Result<Vec<String>, ConnectorError> {
        let mut ended = Vec::new();
        for key in keys {
            let bytes = fs::read(begun.scratch.path().join(key)).map_err(self.io("read the scratch folder of"))?;
            ended.extend(begun.uploads.add(self.place.path(key), Bytes::from(bytes)));
        }
        ended.extend(begun.uploads.end_all());
        let failed = |one: Ended| Some(format!("{}: {}", one.path, one.outcome.err()?));
        Ok(ended.into_iter().filter_map(failed).collect())
    }

    /// What is not at the service as it was written.
    fn gone_astray(
        &self,
        begun: &Begun,
        unseen: &[String],
    ) -> Result<(Vec<String>, HashMap<String, u64>), ConnectorError> {
        let there = self.place.lengths()?;
        let mut lost = Vec::new();
        let is_far = |key: &&String| !waits(key, self.format);
        let written = begun.written.iter().filter(|(key, _)| is_far(key)).map(|(key, kept)| (key, kept.bytes));
        let mut look = |key: &String, bytes: u64| match there.get(key) {
            Some(is) if *is == bytes => {}
            Some(is) => lost.push(format!("{key}: it was written with {bytes} bytes, and has {is}")),
            None => lost.push(format!("{key}: it was written, and is not there")),
        };
        for (key, bytes) in written {
            look(key, bytes);
        }
        for key in unseen {
            let length = fs::metadata(begun.scratch.path().join(key)).map_err(self.io("read the scratch folder of"))?;
            look(key, length.len());
        }
        Ok((lost, there))
    }

    /// All that comes after the files: gives what keeps it from being shown.
    fn complete(&mut self, begun: &mut Begun) -> Result<Vec<String>, ConnectorError> {
        let scratch = LakePlace::Local(begun.scratch.path().to_owned());
        let before = match (&self.session.wanted.cut, self.format) {
            (Some(_), Format::Four) => Log::read_quiet(&scratch, "").map_err(self.io("check"))?,
            _ => Log::default(),
        };
        let made = make(begun.scratch.path(), &self.what, &self.session.wanted)?;
        self.session.end.notes.extend(made.notes);
        self.drop_unnamed(begun, &before, &made.reset)?;
        let mut keys = Vec::new();
        walk(&scratch, "", &mut |key| keys.push(key)).map_err(self.io("read the scratch folder of"))?;
        let order = Order::of(keys, self.format);
        let failed = self.publish(begun, &order.unseen)?;
        if !failed.is_empty() {
            return Ok(failed);
        }
        let (lost, there) = self.gone_astray(begun, &order.unseen)?;
        if !lost.is_empty() {
            return Ok(lost);
        }
        let wrong = check(&scratch, self.format, &mut |key| Ok(there.get(key).copied())).map_err(self.io("check"))?;
        let name = &self.what.name;
        self.session.end.missing.extend(wrong.into_iter().map(|what| format!("{name}: {what}")));
        for key in &order.shown {
            let failed = self.publish(begun, std::slice::from_ref(key))?;
            if !failed.is_empty() {
                return Ok(failed);
            }
        }
        self.place.end()?;
        let kept = std::mem::take(&mut begun.written);
        let mut told = self.session.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.changed.insert(name.clone(), made.changed);
        told.kept.insert(name.clone(), Arc::new(kept));
        Ok(Vec::new())
    }
}

impl CollectionTarget for FarWriter<'_> {
    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let Some(begun) = &mut self.begun else {
            outcomes.existed += batch.len() as u64;
            return Ok(());
        };
        let mut ended = Vec::new();
        for index in 0..batch.len() {
            match begun.write(batch, index, &self.place, self.format) {
                Ok(Taken::Begun(done)) => ended.extend(done),
                Ok(Taken::New) => outcomes.count(Written::Inserted),
                Ok(Taken::There) => outcomes.unchanged += 1,
                Err(reason) => {
                    begun.incomplete += 1;
                    let key = batch.row(index).key;
                    outcomes.fail(|| format!("{}/{}", self.what.name, KeyCodec::Path.show(key)), reason);
                }
            }
        }
        self.count(ended, outcomes);
        Ok(())
    }

    fn drain(&mut self, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let ended = self.begun.as_mut().map(|begun| begun.uploads.end_all()).unwrap_or_default();
        self.count(ended, outcomes);
        Ok(())
    }

    fn remove(&mut self, _rows: &[Removal], _outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ConnectorError> {
        let name = self.what.name.clone();
        let Some(mut begun) = self.begun.take() else {
            self.session.end.notes.push(format!("{name}: it is there already, and stays as it is"));
            return Ok(());
        };
        let failed = if begun.incomplete == 0 { self.complete(&mut begun)? } else { Vec::new() };
        let is_shown = failed.is_empty() && begun.incomplete == 0;
        let missing = &mut self.session.end.missing;
        missing.extend(failed.into_iter().take(20).map(|what| format!("{name}: {what}")));
        if !is_shown {
            missing.push(format!(
                "{name}: not all of it could be written, so nobody sees it yet; the same restore goes on there"
            ));
        }
        Ok(())
    }
}
