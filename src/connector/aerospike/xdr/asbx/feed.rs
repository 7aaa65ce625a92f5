//! The files of a folder as a stream of changes, in the order in which they were written.

use super::{
    AsbxError, AsbxReader, SUFFIX,
    listing::Listing,
    place::{AsbxPlace, Found},
};
use crate::{
    connector::{ChangeFeed, ConnectorError, Identity, SourceCollection, aerospike::decode::Decoder},
    record::{ChangeBatch, Clock as _, KeyCodec, SystemClock, Timestamp},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{BufReader, Read},
};

/// Where a file stands among those of its backup.
#[derive(Debug, Clone)]
struct AsbxFile {
    found: Found,
    worker: String,
    namespace: String,
    number: u64,
    is_replayed: bool,
    /// From when times to live count; of each version's own time where that is later.
    shipped: Timestamp,
}

impl AsbxFile {
    fn of(found: &Found, is_replayed: bool) -> Option<Self> {
        let stem = found.name.strip_suffix(SUFFIX)?;
        let (rest, number) = stem.rsplit_once('_')?;
        let number = number.parse().ok()?;
        let (worker, namespace) = rest.split_once('_').unwrap_or((rest, ""));
        let (worker, namespace) = (worker.to_owned(), namespace.to_owned());
        let shipped = match found.written {
            _ if is_replayed => Timestamp::default(),
            Some(written) => Timestamp::from_millis(written),
            // Later rather than earlier: nothing expires that lives.
            None => SystemClock.now(),
        };
        Some(Self { found: found.clone(), worker, namespace, number, is_replayed, shipped })
    }
}

/// The files of a folder in the order in which they are read: those of each worker by number, one of each in turn.
fn files(place: &AsbxPlace) -> Result<Vec<AsbxFile>, ConnectorError> {
    let found = place.list()?;
    let listing = Listing::read(place, &found)?;
    let mut workers: BTreeMap<String, Vec<AsbxFile>> = BTreeMap::new();
    // What is being written has a name that begins with a dot.
    for found in found.iter().filter(|found| found.name.ends_with(SUFFIX) && !found.name.starts_with('.')) {
        let is_replayed = listing.as_ref().is_some_and(|listing| listing.names(&found.name));
        let file = AsbxFile::of(found, is_replayed).ok_or_else(|| ConnectorError::Unreadable {
            object: place.object(&found.name),
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
        return Err(ConnectorError::Unreadable { object: place.show(), reason });
    }
    Ok(all)
}

/// What the numbers of the files say of others: all workers of a backup count together, from 1, and a replay counts over all
/// namespaces.
fn misnumbered(place: &AsbxPlace, files: &[AsbxFile]) -> Vec<String> {
    let (replayed, shipped): (Vec<&AsbxFile>, Vec<&AsbxFile>) = files.iter().partition(|file| file.is_replayed);
    let mut words = misnumbered_of(place, replayed);
    let of_all = misnumbered_of(place, shipped.clone());
    if !of_all.is_empty() {
        // Backups of several namespaces lie in it.
        let mut backups: BTreeMap<&str, Vec<&AsbxFile>> = BTreeMap::new();
        for file in shipped {
            backups.entry(&file.namespace).or_default().push(file);
        }
        words.extend(backups.into_values().flat_map(|files| misnumbered_of(place, files)));
    }
    words
}

fn misnumbered_of(place: &AsbxPlace, mut files: Vec<&AsbxFile>) -> Vec<String> {
    files.sort_by_key(|file| file.number);
    let mut words = Vec::new();
    let mut before: Option<&AsbxFile> = None;
    for file in files {
        let next = before.map_or(1, |before| before.number.saturating_add(1));
        let missing = next..file.number;
        if let Some(twin) = before.filter(|before| before.number == file.number) {
            words.push(format!(
                "{} and {} have the same number: the folder holds files of two backups, or a copy of one",
                place.object(&twin.found.name),
                file.found.name
            ));
        } else if !missing.is_empty() {
            let which = match missing.end - missing.start {
                1 => format!("file {} is", missing.start),
                _ => format!("files {} to {} are", missing.start, missing.end - 1),
            };
            words.push(format!(
                "{}: {which} not there before {}: what was shipped into them is missing",
                place.show(),
                file.found.name
            ));
        }
        before = Some(file);
    }
    words
}

/// When the last of them was written, unless it is not known of one; of what was replayed its versions say it.
fn until(files: &[AsbxFile]) -> Option<Timestamp> {
    let written = files.iter().map(|file| if file.is_replayed { Some(0) } else { file.found.written });
    let last = written.collect::<Option<Vec<i64>>>()?.into_iter().max()?;
    Some(Timestamp::from_millis(last).min(SystemClock.now()))
}

/// Changes of one file, a batch at a time.
struct AsbxChanges {
    reader: AsbxReader<BufReader<Box<dyn Read + Send>>>,
    decoder: Decoder,
    shipped: Timestamp,
    object: String,
    /// What could not be read of it, in words.
    lost: Vec<String>,
    /// How many changes that are.
    lost_count: u64,
}

/// Lost changes that are named.
const MAX_NAMED: usize = 100;

impl AsbxChanges {
    fn open(place: &AsbxPlace, file: &AsbxFile) -> Result<Self, ConnectorError> {
        let object = place.object(&file.found.name);
        let opened = place.read(&file.found)?;
        let unreadable = |reason: String| ConnectorError::Unreadable { object: object.clone(), reason };
        let reader = AsbxReader::new(BufReader::with_capacity(1 << 20, opened));
        let reader = reader.map_err(|error| unreadable(error.to_string()))?;
        if reader.number != file.number {
            return Err(unreadable(format!(
                "it says that it is number {}, and its name says {}",
                reader.number, file.number
            )));
        }
        Ok(Self { reader, decoder: Decoder::default(), shipped: file.shipped, object, lost: Vec::new(), lost_count: 0 })
    }

    fn namespace(&self) -> String {
        String::from_utf8_lossy(&self.reader.namespace).into_owned()
    }

    /// Adds changes until the batch holds so many bytes; `false` at the end. A change that is wrong in itself is counted, named
    /// and passed over; a file that is cut ends there, and that is named.
    fn fill(&mut self, batch: &mut ChangeBatch, bytes: usize) -> Result<bool, ConnectorError> {
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
    place: AsbxPlace,
    name: String,
    is_here: bool,
    files: std::vec::IntoIter<AsbxFile>,
    open: Option<AsbxChanges>,
    collections: Vec<SourceCollection>,
    lost: Vec<String>,
    lost_count: u64,
    until: Option<Timestamp>,
}

impl AsbxFolder {
    /// Looks at the heads of all files. One that has none is named and passed over.
    ///
    /// # Errors
    /// [`ConnectorError`] if there is no such file.
    pub fn open(place: AsbxPlace) -> Result<Self, ConnectorError> {
        let mut collections: Vec<SourceCollection> = Vec::new();
        let (mut good, mut first) = (Vec::new(), None);
        let files = files(&place)?;
        let mut lost = misnumbered(&place, &files);
        let mut lost_count = lost.len() as u64;
        lost.truncate(MAX_NAMED);
        for file in files {
            let namespace = match AsbxChanges::open(&place, &file) {
                Ok(changes) => changes.namespace(),
                Err(error @ ConnectorError::Unreadable { .. }) => {
                    lost_count += 1;
                    if lost.len() < MAX_NAMED {
                        lost.push(format!("{error}: nothing of this file is kept"));
                    }
                    first.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            good.push(file);
            if collections.iter().all(|found| found.name != namespace) {
                let attributes = json!({ "format": 1, "sets": [], "set_records": {}, "sindexes": [] });
                collections
                    .push(SourceCollection { attributes, ..SourceCollection::new(&namespace, KeyCodec::Digest) });
            }
        }
        if let Some(error) = first.filter(|_| good.is_empty()) {
            return Err(error);
        }
        let (name, is_here) = place.identity()?;
        let until = until(&good);
        Ok(Self { place, name, is_here, files: good.into_iter(), open: None, collections, lost, lost_count, until })
    }
}

impl ChangeFeed for AsbxFolder {
    fn identity(&self) -> Identity {
        Identity { connector: "asb", name: self.name.clone(), local: self.is_here }
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn next(&mut self, batch: &mut ChangeBatch, bytes: usize) -> Result<Option<usize>, ConnectorError> {
        let changes = match &mut self.open {
            Some(open) => open,
            none => match self.files.next() {
                Some(file) => none.insert(AsbxChanges::open(&self.place, &file)?),
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

    fn until(&self) -> Option<Timestamp> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            HEAD_BYTES,
            tests::{file, put},
        },
        *,
    };
    use std::fs;

    #[test]
    fn files_come_one_of_each_worker_in_turn_by_number() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["0_ns_1", "1_ns_10", "2_ns_21", "0_ns_2", "1_ns_12", "0_ns_30"] {
            fs::write(dir.path().join(format!("{name}.asbx")), "").unwrap();
        }
        let place = AsbxPlace::Here(dir.path().to_owned());
        let found = files(&place).unwrap();
        let names: Vec<&str> = found.iter().map(|file| file.found.name.strip_suffix(SUFFIX).unwrap()).collect();
        assert_eq!(names, ["0_ns_1", "1_ns_10", "2_ns_21", "0_ns_2", "1_ns_12", "0_ns_30"]);
        fs::write(dir.path().join("odd.asbx"), "").unwrap();
        assert!(files(&place).is_err());
    }

    #[test]
    fn a_number_that_is_missing_or_doubled_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let place = AsbxPlace::Here(dir.path().to_owned());
        let of = |names: &[&str]| {
            for entry in fs::read_dir(dir.path()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            for name in names {
                fs::write(dir.path().join(format!("{name}.asbx")), "").unwrap();
            }
            misnumbered(&place, &files(&place).unwrap())
        };
        assert!(of(&["0_ns_1", "1_ns_2", "0_ns_3", "0_a_b_1", "1_a_b_2"]).is_empty());
        let words = of(&["0_ns_1", "1_ns_3", "0_ns_7", "0_a_b_2"]);
        assert_eq!(words.len(), 3, "{words:?}");
        assert!(words[0].contains("file 1 is not there before 0_a_b_2.asbx"), "{words:?}");
        assert!(words[1].contains("file 2 is not") && words[2].contains("files 4 to 6 are not"), "{words:?}");
        assert!(of(&["0_ns_1", "0_a_2", "1_ns_3"]).is_empty(), "one count over several namespaces");
        let words = of(&["0_ns_1", "1_ns_1", "1_ns_2"]);
        assert!(words.len() == 1 && words[0].contains("0_ns_1.asbx and 1_ns_1.asbx"), "{words:?}");
        assert_eq!(of(&["0_ns_18446744073709551615"]).len(), 1);
    }

    #[test]
    fn what_is_wrong_is_counted_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = AsbxPlace::Here(dir.path().to_owned());
        let mut bytes = file(1);
        // The second change says another digest before it.
        let second = HEAD_BYTES + 26 + 8 + put(5, 1, 1_700_000_000_001).len();
        bytes[second] = 9;
        bytes.truncate(bytes.len() - 3);
        fs::write(dir.path().join("0_test_1.asbx"), &bytes).unwrap();
        let mut changes = AsbxChanges::open(&place, &files(&place).unwrap()[0]).unwrap();
        let mut batch = ChangeBatch::default();
        assert!(!changes.fill(&mut batch, 1 << 20).unwrap());
        assert_eq!((batch.len(), changes.lost_count), (1, 2));
        assert!(changes.lost[0].contains("digest") && changes.lost[1].contains("ends inside"), "{:?}", changes.lost);
        fs::rename(dir.path().join("0_test_1.asbx"), dir.path().join("0_test_2.asbx")).unwrap();
        assert!(AsbxChanges::open(&place, &files(&place).unwrap()[0]).is_err());
    }
}
