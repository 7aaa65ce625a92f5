//! Backups as the backup service lists them: one entry for each collection of a snapshot, found by tags of the repository alone.
//! So they are there after a restart, on another host, and without any state.

use super::{
    Service, ServiceError,
    briefs::{Brief, Part},
    config::{Config, Routine},
    details::{BackupDetails, NEVER, Within, storage_of},
    folders,
    keys::Caller,
    places::Where,
    survey::{Looked, PlaceName, Survey, Unread, at_once, place_name, words_of},
    tags::{routine_tag, run_of, type_tag},
};
use crate::{
    ops::{Narrow, OpsError, select, select::newest_of_each},
    record::Timestamp,
    repo::{By, Repository, Snapshot, SnapshotId, manifest::Kind},
    report::ErrorKind,
};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Backups by routine.
type ByName = BTreeMap<String, Vec<BackupDetails>>;

/// Snapshots that are open at once.
const OPENED: usize = 64;

/// The name of a backup in requests.
fn key(routine: &str, full: bool, start: Timestamp, collection: &str) -> String {
    let folder = if full { "backup" } else { "incremental" };
    format!("{routine}/{folder}/{}/data/{collection}", start.as_millis())
}

/// What the name of a backup says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key<'k> {
    /// The routine.
    pub(super) routine: &'k str,
    /// Whether it is a full.
    pub(super) full: bool,
    /// When it began.
    pub(super) start: Timestamp,
    /// The collection; all if none is named.
    pub(super) collection: Option<&'k str>,
}

impl<'k> Key<'k> {
    /// Reads one.
    ///
    /// # Errors
    /// In words.
    pub(super) fn parse(text: &'k str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is the name of no backup: ROUTINE/backup/MILLISECONDS/data/NAMESPACE is one");
        let mut parts = text.trim_matches('/').splitn(5, '/');
        let (routine, folder, start) =
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let full = match folder {
            "backup" => true,
            "incremental" => false,
            _ => return Err(wrong()),
        };
        // The backup service may write a time for people behind the milliseconds.
        let millis = start.split('-').next().unwrap_or_default().parse().map_err(|_| wrong())?;
        let collection = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some("data"), Some(collection)) if !collection.is_empty() => Some(collection),
            _ => return Err(wrong()),
        };
        if routine.is_empty() {
            return Err(wrong());
        }
        Ok(Self { routine, full, start: Timestamp::from_millis(millis), collection })
    }
}

/// The snapshots of a routine, oldest first; of one kind if that is said.
///
/// # Errors
/// What the repository says.
pub(super) fn of_routine(repo: &Repository, routine: &str, full: Option<bool>) -> Result<Vec<Snapshot>, OpsError> {
    began_within(repo, routine, full, &|_| true)
}

/// Those that began at a time.
///
/// # Errors
/// As above.
pub(super) fn begun_at(
    repo: &Repository,
    routine: &str,
    full: Option<bool>,
    start: Timestamp,
) -> Result<Vec<Snapshot>, OpsError> {
    began_within(repo, routine, full, &|it| it == start)
}

/// Those by which a routine is told as of a time, oldest first: of each part of its source the newest that had ended by then; and
/// what began at that very time, with all of its run.
///
/// # Errors
/// As above.
pub(super) fn around(
    repo: &Repository,
    routine: &str,
    time: Timestamp,
    now: Timestamp,
) -> Result<Vec<Snapshot>, OpsError> {
    let narrow = Narrow { tags: vec![routine_tag(routine)], ..Narrow::default() };
    let mut found = newest_of_each(repo, &narrow, select::Within { from: None, to: Some(time) }, 1, now)?;
    let begun = begun_at(repo, routine, None, time)?;
    for run in begun.iter().filter_map(run_of) {
        let own = repo.open_heads(&repo.heads(By::Tag(run), None)?)?;
        found.extend(own.into_iter().filter(|it| narrow.admits(it)));
    }
    found.extend(begun);
    found.sort_by_key(|snapshot| snapshot.position());
    found.dedup_by_key(|snapshot| snapshot.id);
    Ok(found)
}

/// [`of_routine`], of those that began at such times.
fn began_within(
    repo: &Repository,
    routine: &str,
    full: Option<bool>,
    is_meant: &dyn Fn(Timestamp) -> bool,
) -> Result<Vec<Snapshot>, OpsError> {
    let mut found = Vec::new();
    for_each_begun(repo, routine, full, is_meant, &mut |snapshot| found.push(snapshot))?;
    Ok(found)
}

/// Takes the snapshots of a routine one after the other, oldest first, a few open at once.
fn for_each_begun(
    repo: &Repository,
    routine: &str,
    full: Option<bool>,
    is_meant: &dyn Fn(Timestamp) -> bool,
    take: &mut dyn FnMut(Snapshot),
) -> Result<(), OpsError> {
    let own = routine_tag(routine);
    let mut heads = repo.heads(By::Tag(&own), None)?;
    heads.retain(|head| is_meant(head.start));
    // To open a few is less than to go through all of a type.
    if let Some(full) = full.filter(|_| heads.len() > OPENED) {
        let of_type: HashSet<SnapshotId> =
            repo.heads(By::Tag(type_tag(full)), None)?.into_iter().map(|head| head.id).collect();
        heads.retain(|head| of_type.contains(&head.id));
    }
    let tagged = |snapshot: &Snapshot, tag: &str| snapshot.tags.iter().any(|other| other == tag);
    let is_its = |it: &Snapshot| tagged(it, &own) && full.is_none_or(|full| tagged(it, type_tag(full)));
    for part in heads.chunks(OPENED) {
        repo.open_heads(part)?.into_iter().filter(is_its).for_each(&mut *take);
    }
    Ok(())
}

impl Service {
    /// The repository of a routine, if there is one yet.
    pub(super) fn repository_of(&self, config: &Config, routine: &Routine) -> Result<Option<Repository>, OpsError> {
        let place = Where::of_routine(config, routine)?;
        match self.places.look(config, &place) {
            Ok(repo) => Ok(Some(repo)),
            Err(error) if error.kind() == ErrorKind::NoRepository => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The backups of a routine that began in a range of time, oldest first.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if there is no such routine; what the repository says.
    pub(super) fn backups(
        &self,
        routine_name: &str,
        full: bool,
        within: Within,
    ) -> Result<Vec<BackupDetails>, ServiceError> {
        let config = self.config();
        let routine = config.routines.get(routine_name);
        let routine = routine.ok_or(ServiceError::NotFound { what: "routine", name: routine_name.to_owned() })?;
        if let Some(listed) = folders::listed(&config, routine_name, routine, full, within)? {
            return Ok(listed);
        }
        let place = Where::of_routine(&config, routine)?;
        let repo = match self.places.look(&config, &place) {
            Err(error) if error.kind() == ErrorKind::NoRepository => return Ok(Vec::new()),
            looked => looked?,
        };
        let listed = self.briefs.of(&place.name, &repo)?;
        let its = listed.of_routine(routine_name);
        Ok(detailed(routine_name, full, within, its, &storage_of(&config, routine), encryption(&repo)))
    }

    /// The backups of all routines that a caller may see, and the places that could not be read: their routines are not among these.
    ///
    /// # Errors
    /// What a repository says, if none can be read.
    pub(super) fn all_lists(
        self: &Arc<Self>,
        caller: &Caller,
        full: bool,
        within: Within,
    ) -> Result<(ByName, Vec<Unread>), ServiceError> {
        let config = self.config();
        let own = || {
            let may = |(name, routine): &(&String, &Routine)| caller.may_routine(name, routine.tenant.as_deref());
            config.routines.iter().filter(may)
        };
        let Survey { looked, mut unread } = self.survey(&config, own().map(|(_, routine)| routine));
        let by_place: HashMap<&str, &Looked> = looked.iter().map(|looked| (looked.place.as_str(), looked)).collect();
        let mut known: BTreeMap<PlaceName, (Option<&Looked>, Arc<Json>)> = BTreeMap::new();
        let (mut all, mut files): (ByName, BTreeMap<String, Vec<String>>) = Default::default();
        for (name, routine) in own() {
            if config.keeps_files(routine) {
                files.entry(words_of(&place_name(routine))).or_default().push(name.clone());
                continue;
            }
            let (looked, storage) = known.entry(place_name(routine)).or_insert_with(|| {
                let place = Where::of_routine(&config, routine).ok();
                let looked = place.and_then(|place| by_place.get(place.name.as_str()).copied());
                (looked, storage_of(&config, routine))
            });
            let listed = match looked {
                Some(it) => {
                    let its = it.listed.of_routine(name);
                    detailed(name, full, within, its, storage, encryption(&it.repo))
                }
                None if unread.iter().any(|unread| unread.is_of(routine)) => continue,
                // It is made with the first backup.
                None => Vec::new(),
            };
            all.insert(name.clone(), listed);
        }
        // Those of one storage one after the other, so that one that does not answer keeps one thread.
        let settings = Arc::clone(&config);
        let listed = at_once(files.into_iter().collect(), move |names: &Vec<String>| {
            let of = |name: &String| (name.clone(), folders_of(&settings, name, full, within));
            Ok(names.iter().map(of).collect::<Vec<_>>())
        });
        for (place, listed) in listed {
            match listed {
                Err(error) => unread.push(Unread::new(&place, &error)),
                Ok(listed) => {
                    for (name, listed) in listed {
                        match listed {
                            Ok(listed) => drop(all.insert(name, listed)),
                            Err(error) => unread.push(Unread::new(&format!("routine {name}"), &error)),
                        }
                    }
                }
            }
        }
        match unread.first() {
            Some(first) if all.is_empty() => Err(first.refusal().into()),
            _ => Ok((all, unread)),
        }
    }
}

/// The files of a routine.
fn folders_of(config: &Config, name: &str, full: bool, within: Within) -> Result<Vec<BackupDetails>, OpsError> {
    let Some(routine) = config.routines.get(name) else { return Ok(Vec::new()) };
    Ok(folders::listed(config, name, routine, full, within)?.unwrap_or_default())
}

/// What is listed of these, oldest first.
fn detailed(
    routine: &str,
    full: bool,
    within: Within,
    its: &[Arc<Brief>],
    storage: &Arc<Json>,
    encryption: &'static str,
) -> Vec<BackupDetails> {
    let kind = type_tag(full);
    let is_meant = |brief: &&Arc<Brief>| within.holds(brief.start) && brief.tags().iter().any(|tag| tag == kind);
    let meant = its.iter().filter(is_meant);
    meant
        .flat_map(|brief| brief.parts.iter().map(|part| details(routine, full, brief, part, storage, encryption)))
        .collect()
}

fn encryption(repo: &Repository) -> &'static str {
    match repo.suite() {
        crate::repo::Suite::ChaCha20Poly1305 => "CHACHA20-POLY1305",
        crate::repo::Suite::Aes256Gcm => "AES256",
    }
}

fn details(
    routine: &str,
    full: bool,
    brief: &Brief,
    part: &Part,
    storage: &Arc<Json>,
    encryption: &'static str,
) -> BackupDetails {
    let read = match brief.kind {
        Kind::Full => "full",
        Kind::Incremental => "incremental",
        Kind::Differential => "differential",
        Kind::Journal => "journal",
    };
    BackupDetails {
        created: brief.start.to_string(),
        timestamp: brief.start.as_millis(),
        finished: brief.end.to_string(),
        finished_timestamp: brief.end.as_millis(),
        duration: (brief.end.as_millis() - brief.start.as_millis()).max(0) / 1000,
        from: NEVER.into(),
        namespace: part.name.to_string(),
        record_count: part.records,
        byte_count: part.bytes,
        file_count: part.layers,
        secondary_index_count: part.indexes,
        udf_count: brief.modules,
        key: key(routine, full, brief.start, &part.name),
        storage: Arc::clone(storage),
        compression: "ZSTD".into(),
        encryption: encryption.into(),
        snapshot: Some(brief.id.to_string()),
        complete: brief.complete,
        read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_backups_are_read_as_they_are_written() {
        let start = Timestamp::from_millis(1_729_436_400_123);
        let text = key("hourly", true, start, "source-ns1");
        assert_eq!(text, "hourly/backup/1729436400123/data/source-ns1");
        let read = Key::parse(&text).unwrap();
        assert_eq!(read, Key { routine: "hourly", full: true, start, collection: Some("source-ns1") });
        let human = Key::parse("/hourly/incremental/1729436400123-2024-10-20/").unwrap();
        assert_eq!((human.full, human.start, human.collection), (false, start, None));
        // Names of other collections may have a slash.
        assert_eq!(Key::parse("r/backup/1/data/a/b").unwrap().collection, Some("a/b"));
        for bad in
            ["", "r", "r/backup", "r/other/1", "r/backup/x", "r/backup/1/date/n", "r/backup/1/data", "/backup/1/data/n"]
        {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
    }
}
