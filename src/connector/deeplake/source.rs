//! `deeplake:PATH` as a source.

use super::{
    DeepLakeOptions,
    find::{Dataset, Format, LOG, find},
    inventory::{Item, Sentences},
    kept::{Kept, Told},
    look::{look, unlooked},
    names,
    nodes::VERSIONS,
    place::{LakePlace, join},
    stream::{DatasetStream, Reading},
};
use crate::{
    connector::{
        ConnectorError, Identity, Scope, SessionEnd, SessionOptions, Source, SourceCollection, SourceSession, SourceUrl,
    },
    record::{Clock as _, KeyCodec, KeyRange, RecordStream, SystemClock, Timestamp},
    repo::manifest::Asked,
};
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A file's attributes, roughly.
const ROW_BYTES: u64 = 120;
/// Names that are listed in one sentence.
const MAX_LISTED: usize = 10;

/// Datasets to read.
#[derive(Debug)]
pub struct DeepLakeSource {
    place: LakePlace,
    options: DeepLakeOptions,
    /// What a restore wrote there, by collection: modes and times that the place does not keep.
    kept: BTreeMap<String, Arc<Kept>>,
}

impl DeepLakeSource {
    /// The datasets at a URL.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL makes no sense.
    pub fn new(url: &SourceUrl, options: DeepLakeOptions) -> Result<Self, ConnectorError> {
        Ok(Self { place: LakePlace::of(url)?, options, kept: BTreeMap::new() })
    }

    /// What a restore wrote.
    pub(super) fn back(place: LakePlace, told: &Told) -> Self {
        Self { place, options: DeepLakeOptions::default(), kept: told.kept.clone() }
    }

    /// Whether a dataset was asked for.
    fn means(&self, dataset: &Dataset) -> bool {
        let named = |wanted: &String| *wanted == dataset.collection || *wanted == dataset.name;
        self.options.tenant.as_ref().is_none_or(|tenant| Some(tenant) == dataset.tenant.as_ref())
            && (self.options.datasets.is_empty() || self.options.datasets.iter().any(named))
    }

    fn missing(&self, what: &str) -> ConnectorError {
        ConnectorError::Missing { object: format!("{what} in {}", self.place.show()) }
    }
}

impl Source for DeepLakeSource {
    fn identity(&self) -> Identity {
        let name = match &self.place {
            LakePlace::Local(path) => {
                std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()).display().to_string()
            }
            LakePlace::Remote(tree) => tree.location().to_owned(),
        };
        Identity { connector: "deeplake", name, local: matches!(self.place, LakePlace::Local(_)) }
    }

    fn scope(&self) -> Scope {
        let DeepLakeOptions { tenant, datasets, .. } = &self.options;
        if tenant.is_none() && datasets.is_empty() {
            return Scope::default();
        }
        let mut datasets = datasets.clone();
        datasets.sort_unstable();
        datasets.dedup();
        let mut asked = Asked::default();
        if let Some(tenant) = tenant {
            asked.only.insert("tenants".to_owned(), vec![tenant.clone()]);
        }
        if !datasets.is_empty() {
            asked.only.insert("datasets".to_owned(), datasets.clone());
        }
        let words = [
            tenant.as_ref().map(|tenant| format!("tenant {tenant}")),
            (!datasets.is_empty()).then(|| format!("datasets {}", datasets.join(", "))),
        ];
        Scope {
            canonical: json!({ "tenant": tenant, "datasets": datasets }).to_string(),
            note: words.into_iter().flatten().collect::<Vec<_>>().join(", "),
            asked,
        }
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        let found = find(&self.place)?;
        let meant: Vec<Dataset> = found.datasets.into_iter().filter(|dataset| self.means(dataset)).collect();
        for wanted in &self.options.datasets {
            if !meant.iter().any(|dataset| *wanted == dataset.collection || *wanted == dataset.name) {
                return Err(self.missing(&format!("the dataset {wanted}")));
            }
        }
        if meant.is_empty() {
            if let Some(tenant) = &self.options.tenant {
                return Err(self.missing(&format!("a dataset of the tenant {tenant}")));
            }
            let there = found.unreached.first().map_or_else(String::new, |what| format!("; there is {what}"));
            let metadata = super::find::METADATA;
            return Err(self.missing(&format!("a dataset (a folder with {LOG}, {VERSIONS} or {metadata}{there})")));
        }
        let start = SystemClock.now();
        let mut session = DeepLakeSession {
            root: self.place.show(),
            note: self.options.note.clone(),
            start,
            readers: options.parallel.clamp(1, 16),
            datasets: Vec::new(),
            collections: Vec::new(),
            notes: Vec::new(),
            unreached: Vec::new(),
            unlooked: None,
        };
        let is_all = self.options.tenant.is_none() && self.options.datasets.is_empty();
        if is_all {
            session.unreached = found.unreached;
        }
        if !found.beside.is_empty() && is_all {
            session.notes.push(format!(
                "{} names are part of no dataset and are left out: {}",
                found.beside.len(),
                listed(&found.beside)
            ));
        }
        for dataset in meant {
            if let Err(reason) = names::parts(&dataset.collection) {
                session.notes.push(format!(
                    "`{}`: {reason}: a restore has to give this dataset another name",
                    dataset.collection.escape_debug()
                ));
            }
            session.add(&self.place, &dataset, self.kept.get(&dataset.collection))?;
        }
        match session.unlooked.take() {
            // Nothing at all could be read.
            Some((count, error)) if count == session.datasets.len() => Err(error),
            _ => Ok(Box::new(session)),
        }
    }
}

/// What a file takes, roughly.
fn weight(item: &Item) -> u64 {
    item.bytes.unwrap_or(0).saturating_add(ROW_BYTES)
}

fn listed(names: &[String]) -> String {
    let more = if names.len() > MAX_LISTED { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(MAX_LISTED)].join(", "))
}

struct DeepLakeSession {
    root: String,
    note: BTreeMap<String, String>,
    start: Timestamp,
    readers: usize,
    datasets: Vec<Arc<Reading>>,
    collections: Vec<SourceCollection>,
    notes: Vec<String>,
    /// Datasets that are not read, in words.
    unreached: Vec<String>,
    /// How many datasets could not be looked at, and why the first could not.
    unlooked: Option<(usize, ConnectorError)>,
}

impl DeepLakeSession {
    fn add(&mut self, place: &LakePlace, dataset: &Dataset, kept: Option<&Arc<Kept>>) -> Result<(), ConnectorError> {
        let io = |source| ConnectorError::Io {
            operation: "look at the dataset",
            object: join(&place.show(), &dataset.path),
            source,
        };
        let inventory = match look(place, dataset) {
            Ok(inventory) => inventory,
            // One that cannot be read keeps no other from being read. Of a service that does not answer nothing is known.
            Err(error) if place.is_local() => {
                let inventory = unlooked(dataset, &error);
                let (count, first) = self.unlooked.take().unwrap_or_else(|| (0, io(error)));
                self.unlooked = Some((count + 1, first));
                inventory
            }
            Err(error) => return Err(io(error)),
        };
        let bytes = inventory.items.iter().fold(0, |sum: u64, item| sum.saturating_add(weight(item)));
        self.collections.push(SourceCollection {
            name: dataset.collection.clone(),
            codec: KeyCodec::Path,
            attributes: inventory.attributes.clone(),
            estimated_bytes: bytes,
            estimated_records: inventory.items.len() as u64,
        });
        let reading = Reading {
            proof: place.proof(&dataset.path),
            place: place.clone(),
            path: dataset.path.clone(),
            collection: dataset.collection.clone(),
            marker: match dataset.format {
                Format::Four => Some(LOG),
                Format::Three => Some(VERSIONS),
                Format::Neither | Format::Begun => None,
            },
            inventory,
            kept: kept.cloned(),
            missing: Mutex::default(),
            vanished: AtomicU64::new(0),
        };
        self.datasets.push(Arc::new(reading));
        Ok(())
    }

    fn dataset(&self, collection: usize) -> Result<&Arc<Reading>, ConnectorError> {
        self.datasets.get(collection).ok_or_else(|| ConnectorError::Missing {
            object: format!("collection number {collection} of {}", self.root),
        })
    }
}

impl SourceSession for DeepLakeSession {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn attributes(&self) -> Json {
        let mut attributes = json!({ "root": self.root });
        if !self.note.is_empty() {
            attributes["note"] = json!(self.note);
        }
        attributes
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        self.readers
    }

    fn splits(&self, collection: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        let items = &self.dataset(collection)?.inventory.items;
        // What entries say may be any number.
        let total: u128 = items.iter().map(|item| u128::from(weight(item))).sum();
        let (mut splits, mut sum, mut next, parts) = (Vec::new(), 0, 1, parts as u128);
        for item in items {
            if next < parts && sum >= total / parts * next {
                splits.push(item.key.as_bytes().to_vec());
                next = sum * parts / total.max(1) + 1;
            }
            sum += u128::from(weight(item));
        }
        Ok(splits)
    }

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        Ok(Box::new(DatasetStream::new(Arc::clone(self.dataset(collection)?), range)))
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        let mut end = SessionEnd { end: SystemClock.now(), notes: self.notes.clone(), ..SessionEnd::default() };
        let mut unreached = Sentences::default();
        self.unreached.iter().for_each(|sentence| unreached.add(sentence.clone()));
        end.missing.extend(unreached.all());
        for reading in &self.datasets {
            let of = |sentence: String| format!("{}: {sentence}", reading.collection);
            if !reading.is_there() {
                end.missing.push(of("it was deleted or moved while it was read".to_owned()));
            }
            end.missing.extend(reading.inventory.missing.all().into_iter().map(of));
            let missing = reading.missing.lock().unwrap_or_else(PoisonError::into_inner).all();
            end.missing.extend(missing.into_iter().map(of));
            end.notes.extend(reading.inventory.notes.iter().cloned().map(of));
            end.vanished += reading.vanished.swap(0, Ordering::Relaxed);
        }
        Ok(end)
    }
}
