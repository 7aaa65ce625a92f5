//! The source: a cluster, and one run over its namespaces.

use super::{
    account::{Account, in_words, partition},
    builds,
    clock::Clocks,
    cluster::{Cluster, Membership},
    error::Error,
    facts::{self, NamespaceFacts},
    groups::Partitions,
    options::{AerospikeOptions, Place},
    query::{Mode, Stop},
    scan::{NamespaceStream, ScanContext},
    select::Selection,
};
use crate::{
    connector::{
        ChangeSource, ConnectorError, Doubt, Evidence, Handover, Identity, KeyGroups, ParentView, PartEnd, Resumable,
        Scope, SessionEnd, SessionOptions, Source, SourceAbilities, SourceCollection, SourceSession, SourceUrl, Spread,
    },
    record::{KeyCodec, KeyRange, RecordStream, Timestamp, digest::PARTITIONS},
    report::Remedy,
};
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Instant,
};

/// What all windows being written out take together; as much again is being received.
const WINDOWS_BYTES: usize = 24 * 1024 * 1024;

/// The most streams at once.
const MAX_READERS: usize = 16;

/// The name of clusters that nobody named.
const UNNAMED: &str = "null";

/// A cluster to read.
#[derive(Debug)]
pub struct AerospikeSource {
    object: String,
    place: Place,
    options: Arc<AerospikeOptions>,
    selection: Arc<Selection>,
    cluster: Arc<Cluster>,
    name: String,
}

impl AerospikeSource {
    /// Finds the cluster that a URL names.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense, or no node answers.
    pub fn new(url: &SourceUrl, options: AerospikeOptions) -> Result<Self, ConnectorError> {
        let place = Place::parse(url)?;
        let object = format!("aerospike:{}", url.place);
        let failed = |error: Error| error.into_connector(&object);
        let selection = Selection::new(place.namespace.as_deref(), &options).map_err(failed)?;
        let cluster = Cluster::connect(&place.seeds, &options).map_err(failed)?;
        let name = cluster.name();
        Ok(Self {
            place,
            options: Arc::new(options),
            selection: Arc::new(selection),
            cluster: Arc::new(cluster),
            name: if name.is_empty() { UNNAMED.to_owned() } else { name },
            object,
        })
    }

    /// The namespaces that are asked for.
    fn namespaces(&self) -> Result<Vec<String>, Error> {
        let mut all = BTreeSet::new();
        for node in self.cluster.nodes() {
            let answers = self.cluster.info(&node, &["namespaces"])?;
            let text = answers.text("namespaces").unwrap_or_default();
            all.extend(text.split(';').filter(|name| !name.is_empty()).map(str::to_owned));
        }
        match &self.place.namespace {
            None => Ok(all.into_iter().collect()),
            Some(name) if all.contains(name) => Ok(vec![name.clone()]),
            Some(name) => {
                let known: Vec<String> = all.into_iter().collect();
                Err(Error::Missing(format!("namespace `{name}` of {} (it has {})", self.object, known.join(", "))))
            }
        }
    }

    fn check_sets(&self, namespaces: &[(String, NamespaceFacts)]) -> Result<(), Error> {
        let known = |set: &String| set.is_empty() || namespaces.iter().any(|(_, facts)| facts.sets.contains(set));
        match self.options.sets.iter().find(|set| !known(set)) {
            Some(set) if !self.options.allow_missing_set => {
                Err(Error::Missing(format!("set `{set}` of {}", self.object)).with(Remedy::AllowMissingSet))
            }
            _ => Ok(()),
        }
    }

    fn open(&self, options: &SessionOptions) -> Result<AerospikeSession, Error> {
        self.cluster.refresh()?;
        builds::check(&self.cluster, &self.options)?;
        let membership = self.cluster.membership()?;
        let names = self.namespaces()?;
        let mut namespaces = Vec::new();
        for name in names {
            let facts = NamespaceFacts::read(&self.cluster, &name)?;
            namespaces.push((name, facts));
        }
        self.check_sets(&namespaces)?;
        let mut missing = Vec::new();
        let node = self.cluster.nodes().into_iter().next().ok_or_else(|| Error::NoNode(self.object.clone()))?;
        let udfs = if self.options.no_udfs {
            Vec::new()
        } else {
            let (kept, lost) = facts::modules(&self.cluster, &node)?;
            missing.extend(lost);
            kept
        };
        let mut collections = Vec::new();
        for (name, facts) in &namespaces {
            let indexes =
                if self.options.no_indexes { Vec::new() } else { facts::indexes(&self.cluster, &node, name)? };
            let entries = facts::index_entries(&self.cluster, name, &indexes, facts.replication_factor);
            let records = if self.options.no_records { 0 } else { facts.records_of(&self.options.sets) };
            let share =
                |bytes: u64| (u128::from(bytes) * u128::from(records) / u128::from(facts.objects.max(1))) as u64;
            collections.push(SourceCollection {
                name: name.clone(),
                codec: KeyCodec::Digest,
                attributes: facts.attributes(&indexes, entries),
                estimated_bytes: share(facts.bytes),
                estimated_records: records,
            });
        }
        let clocks = Clocks::default();
        let names: Vec<String> = namespaces.iter().map(|(name, _)| name.clone()).collect();
        let times = clocks.read(&self.cluster, &names, &self.options);
        let mut notes = Vec::new();
        if !times.silent.is_empty() && !self.options.no_records {
            notes.push(format!(
                "the clock of node {} is not known (no record to read it from, or a server before 5.6): times are those \
                 of {}",
                times.silent.join(", "),
                if times.silent.len() == membership.0.len() { "this host" } else { "the other nodes" }
            ));
        }
        for (id, reason) in self.cluster.silent() {
            notes.push(format!("node {id} does not answer ({reason}): what only it has cannot be read"));
        }
        let readers = options.parallel.clamp(1, MAX_READERS);
        let stop: Arc<Stop> = Arc::default();
        let contexts = collections
            .iter()
            .enumerate()
            .map(|(collection, found)| ScanContext {
                cluster: Arc::clone(&self.cluster),
                namespace: found.name.clone(),
                collection,
                selection: Arc::clone(&self.selection),
                options: Arc::clone(&self.options),
                account: Arc::default(),
                window_bytes: WINDOWS_BYTES / readers,
                records_per_second: self.rate(readers, membership.0.len()),
                remaining: Arc::new(AtomicU64::new(self.options.limit_records())),
                stop: Arc::clone(&stop),
            })
            .collect();
        Ok(AerospikeSession {
            object: self.object.clone(),
            unnamed: self.name == UNNAMED,
            name: self.name.clone(),
            cluster: Arc::clone(&self.cluster),
            options: Arc::clone(&self.options),
            account: Arc::default(),
            contexts,
            stop,
            collections,
            replication: namespaces.iter().map(|(_, facts)| facts.replication_factor.max(1)).collect(),
            readers,
            start: times.earliest,
            began: Instant::now(),
            spread_millis: times.spread_millis,
            clocks,
            before: membership,
            gone: Mutex::default(),
            after: Mutex::default(),
            udfs,
            missing,
            notes,
        }
        .with_one_account())
    }

    /// Records a second for one query, so that all together keep to the limit.
    fn rate(&self, readers: usize, nodes: usize) -> u32 {
        match self.options.records_per_second {
            0 => 0,
            all => (all / (readers * nodes.max(1)) as u32).max(1),
        }
    }
}

impl Source for AerospikeSource {
    fn identity(&self) -> Identity {
        Identity { connector: "aerospike", name: self.name.clone(), local: false }
    }

    fn scope(&self) -> Scope {
        let (mut canonical, note) = (self.selection.canonical.clone(), self.selection.note.clone());
        if self.options.max_records > 0 {
            // Which records it were is chance: no other run covers the same part.
            use std::fmt::Write as _;
            let _ = write!(canonical, " {:?}", std::time::SystemTime::now());
        }
        Scope { canonical, note }
    }

    fn abilities(&self) -> SourceAbilities {
        SourceAbilities { change_filter: builds::has_change_filter(&self.cluster), ..SourceAbilities::default() }
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        let session = self.open(options).map_err(|error| error.into_connector(&self.object))?;
        Ok(Box::new(session))
    }
}

/// One run.
pub(super) struct AerospikeSession {
    pub(super) object: String,
    pub(super) name: String,
    pub(super) unnamed: bool,
    pub(super) cluster: Arc<Cluster>,
    pub(super) options: Arc<AerospikeOptions>,
    pub(super) account: Arc<Account>,
    pub(super) contexts: Vec<ScanContext>,
    pub(super) stop: Arc<Stop>,
    pub(super) collections: Vec<SourceCollection>,
    /// Copies of each partition, by collection.
    pub(super) replication: Vec<u32>,
    pub(super) readers: usize,
    pub(super) start: Timestamp,
    pub(super) began: Instant,
    pub(super) clocks: Clocks,
    /// How far the nodes' clocks are apart.
    pub(super) spread_millis: i64,
    pub(super) before: Membership,
    /// Nodes of the parent that are gone.
    pub(super) gone: Mutex<Vec<String>>,
    pub(super) after: Mutex<Option<Membership>>,
    pub(super) udfs: Vec<Json>,
    pub(super) missing: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl AerospikeSession {
    fn with_one_account(mut self) -> Self {
        for context in &mut self.contexts {
            context.account = Arc::clone(&self.account);
        }
        self
    }

    pub(super) fn context(&self, collection: usize) -> Result<&ScanContext, ConnectorError> {
        self.contexts
            .get(collection)
            .ok_or_else(|| ConnectorError::Missing { object: format!("collection {collection} of {}", self.object) })
    }

    /// Why no absence may be believed, if so.
    fn distrust(&self, collection: usize) -> Option<String> {
        let now = match self.cluster.membership() {
            Ok(now) => now,
            Err(error) => return Some(format!("the nodes could not be asked whether all are still there: {error}")),
        };
        if now != self.before {
            return Some("nodes came or went while it was read".to_owned());
        }
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let copies = self.replication.get(collection).copied().unwrap_or(1) as usize;
        if gone.len() >= copies {
            return Some(format!(
                "{} of the parent's nodes are gone ({}), and each record has {copies} copies",
                gone.len(),
                gone.join(", ")
            ));
        }
        None
    }
}

fn node_ids(attributes: &Json) -> BTreeSet<String> {
    let nodes = attributes.get("nodes").and_then(Json::as_array);
    nodes.into_iter().flatten().filter_map(|node| node.get("id")?.as_str().map(str::to_owned)).collect()
}

/// Nodes that were gone already when the snapshot was taken, and whose loss nobody accepted.
fn nodes_gone(attributes: &Json) -> BTreeSet<String> {
    let nodes = attributes.get("nodes_gone").and_then(Json::as_array);
    nodes.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

impl SourceSession for AerospikeSession {
    fn start(&self) -> Timestamp {
        self.start
    }

    fn attributes(&self) -> Json {
        let view = |membership: &Membership| {
            let nodes = membership.0.iter().map(
                |(id, view)| json!({ "id": id, "cluster_key": view.cluster_key, "cluster_size": view.cluster_size }),
            );
            Json::Array(nodes.collect())
        };
        let builds: std::collections::BTreeMap<String, String> =
            self.cluster.nodes().iter().map(|node| (node.id.clone(), node.build.clone())).collect();
        let nodes: Vec<Json> = self.before.0.keys().map(|id| json!({ "id": id, "build": builds.get(id) })).collect();
        // Too many for absences to be believed: the next run must not believe them either.
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fewest = self.replication.iter().min().copied().unwrap_or(1) as usize;
        let gone = if gone.len() >= fewest { gone } else { Vec::new() };
        let after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "format": 1,
            "cluster_name": self.name,
            "nodes": nodes,
            "nodes_gone": gone,
            "membership": { "before": view(&self.before), "after": after.as_ref().map(view) },
            "udfs": self.udfs,
        })
    }

    fn collections(&self) -> &[SourceCollection] {
        &self.collections
    }

    fn readers(&self) -> usize {
        self.readers
    }

    fn splits(&self, _: usize, parts: usize) -> Result<Vec<Vec<u8>>, ConnectorError> {
        let pids = (1..parts).map(|part| (part * usize::from(PARTITIONS) / parts) as u16).filter(|pid| *pid > 0);
        let distinct: BTreeSet<u16> = pids.collect();
        Ok(distinct.into_iter().map(|pid| pid.to_be_bytes().to_vec()).collect())
    }

    fn spread(&self, _: usize) -> Spread {
        Spread::Even
    }

    fn read(&self, collection: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        let context = self.context(collection)?;
        self.account.forget(collection, |pid| partition(pid).intersection(range).is_some());
        Ok(Box::new(NamespaceStream::open(context, range, Mode::Full)))
    }

    fn changes(&self) -> Option<&dyn ChangeSource> {
        Some(self)
    }

    fn evidence(&self) -> Option<&dyn Evidence> {
        Some(self)
    }

    /// Partitions stand for themselves, and what is missing of one is known when it was read. But which records a limited
    /// run read is chance.
    fn resumable(&self) -> Option<&dyn Resumable> {
        (self.options.max_records == 0).then_some(self as &dyn Resumable)
    }

    fn stop(&self) {
        self.stop.stop();
    }

    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        let mut end = SessionEnd { missing: self.missing.clone(), notes: self.notes.clone(), ..SessionEnd::default() };
        match self.cluster.membership() {
            Ok(after) => *self.after.lock().unwrap_or_else(PoisonError::into_inner) = Some(after),
            Err(error) => end.notes.push(format!("the nodes could not be asked at the end: {error}")),
        }
        let names: Vec<String> = self.collections.iter().map(|found| found.name.clone()).collect();
        end.end = self.clocks.read(&self.cluster, &names, &self.options).latest;
        for (collection, found) in self.collections.iter().enumerate() {
            let lacks = self.account.of(collection);
            end.missing.extend(in_words(&found.name, "could not be read to the end", &lacks.missing));
            end.missing.extend(in_words(&found.name, "may lack records", &lacks.doubtful));
            if let Some(reason) = &lacks.unproven {
                end.notes.push(format!("namespace {}: {reason}", found.name));
            }
        }
        Ok(end)
    }
}

impl Evidence for AerospikeSession {
    fn meet_parent(&self, parent: &ParentView<'_>) -> Result<(), ConnectorError> {
        let theirs = node_ids(parent.attributes);
        let is_gone = |id: &&String| !self.before.0.contains_key(*id);
        if self.unnamed && !parent.chosen && !theirs.is_empty() && theirs.iter().all(|id| is_gone(&id)) {
            let reason = format!(
                "its cluster has no name and none of the nodes of snapshot {} ({}): it may be another one",
                parent.snapshot,
                theirs.into_iter().collect::<Vec<_>>().join(", ")
            );
            let error = ConnectorError::Mismatch { object: self.object.clone(), reason };
            return Err(error.with([Remedy::NameSource, Remedy::NameParent]));
        }
        if !parent.accept_deletions {
            let missed = nodes_gone(parent.attributes);
            let gone = theirs.union(&missed).filter(is_gone).cloned().collect();
            *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = gone;
        }
        Ok(())
    }

    fn part_end(&self, collection: usize, range: &KeyRange) -> Result<PartEnd, ConnectorError> {
        let lacks = self.account.of(collection);
        let within = |pid: &u16| partition(*pid).intersection(range).is_some();
        let doubtful = lacks.doubtful.iter().filter(|(pid, _)| within(pid));
        let mut doubts: Vec<Doubt> = doubtful
            .map(|(pid, reason)| Doubt { range: partition(*pid), reason: reason.clone(), acceptable: false })
            .collect();
        if let Some(reason) = lacks.unproven.or_else(|| self.distrust(collection)) {
            doubts.push(Doubt { range: range.clone(), reason, acceptable: true });
        }
        let complete = !lacks.missing.keys().any(&within) && !lacks.doubtful.keys().any(within);
        Ok(PartEnd { complete, doubts })
    }

    fn groups(&self, _: usize) -> Option<&dyn KeyGroups> {
        Some(&Partitions)
    }
}

impl Resumable for AerospikeSession {
    fn handover(&self) -> Json {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes: BTreeSet<&String> = self.before.0.keys().chain(gone.iter()).collect();
        json!({ "nodes": nodes })
    }

    fn now(&self) -> Timestamp {
        let names: Vec<String> = self.collections.iter().map(|found| found.name.clone()).collect();
        let times = self.clocks.read(&self.cluster, &names, &self.options);
        if times.silent.len() < self.before.0.len() {
            return times.latest;
        }
        // This host's clock may tell another time than the one that the start was taken from.
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.start.as_millis().saturating_add(elapsed))
    }

    fn take_over(&self, earlier: &Handover<'_>) -> Result<(), String> {
        let told = earlier.told.get("nodes").and_then(Json::as_array);
        let theirs: BTreeSet<String> =
            told.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect();
        let is_gone = |id: &&String| !self.before.0.contains_key(*id);
        if !earlier.chosen && theirs.iter().all(|id| is_gone(&id)) {
            return Err("none of the nodes that it read from is here: it may have been another cluster".to_owned());
        }
        if !earlier.accept_deletions {
            // What only they had is not in what is read now.
            let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
            let more: Vec<String> = theirs.iter().filter(is_gone).filter(|id| !gone.contains(id)).cloned().collect();
            gone.extend(more);
        }
        Ok(())
    }
}
