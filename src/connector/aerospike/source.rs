//! The source: a cluster, and one run over its namespaces.

use super::{
    account::{Account, in_words, partition},
    builds, chosen,
    clock::Clocks,
    cluster::{Cluster, Node},
    configuration,
    error::Error,
    facts::NamespaceFacts,
    groups::Partitions,
    membership::Membership,
    modules,
    official::{Official, SecondReader, Seen},
    options::{AerospikeOptions, ClusterPlace},
    pace::Pace,
    patience::Patience,
    query::Mode,
    scan::ScanContext,
    select::Selection,
    sindexes,
    stop::Stop,
    stream::NamespaceStream,
    watch::{Unrest, Watch},
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
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// What all windows being written out take together; as much again is being received.
const WINDOWS_BYTES: usize = 24 * 1024 * 1024;

/// The most streams at once.
const MAX_READERS: usize = 16;

/// The name of clusters that nobody named.
pub(super) const UNNAMED: &str = "null";

/// A cluster to read.
#[derive(Debug)]
pub struct AerospikeSource {
    object: String,
    place: ClusterPlace,
    options: Arc<AerospikeOptions>,
    selection: Arc<Selection>,
    /// By namespace, where some nodes are chosen; with them what tells their partitions from others.
    narrowed: Option<(chosen::Selections, String)>,
    cluster: Arc<Cluster>,
    name: String,
}

impl AerospikeSource {
    /// Finds the cluster that a URL names.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense, or no node answers.
    pub fn new(url: &SourceUrl, options: AerospikeOptions) -> Result<Self, ConnectorError> {
        let place = ClusterPlace::parse(url)?;
        let object = format!("aerospike:{}", url.place);
        let failed = |error: Error| error.into_connector(&object);
        let selection = Selection::new(place.namespace.as_deref(), &options).map_err(failed)?;
        let cluster = Cluster::connect(&place.seeds, &options).map_err(failed)?;
        let name = cluster.name();
        let mut source = Self {
            place,
            narrowed: None,
            options: Arc::new(options),
            selection: Arc::new(selection),
            cluster: Arc::new(cluster),
            name: if name.is_empty() { UNNAMED.to_owned() } else { name },
            object,
        };
        if source.options.asks_for_racks() || !source.options.nodes.is_empty() {
            source.narrowed = source.narrow().map_err(|error| error.into_connector(&source.object))?;
        }
        Ok(source)
    }

    fn narrow(&self) -> Result<Option<(chosen::Selections, String)>, Error> {
        chosen::narrow(&self.selection, &self.cluster, &self.namespaces()?, &self.options)
    }

    /// What is read of a namespace.
    fn selection_of(&self, namespace: &str) -> Arc<Selection> {
        let narrowed = self.narrowed.as_ref().and_then(|(selections, _)| selections.get(namespace));
        Arc::clone(narrowed.unwrap_or(&self.selection))
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

    /// What is to be said of sets that are asked for and that no node knows.
    fn check_sets(&self, namespaces: &[(String, NamespaceFacts)]) -> Result<Vec<String>, Error> {
        let known = |set: &String| set.is_empty() || namespaces.iter().any(|(_, facts)| facts.sets.contains(set));
        let unknown: Vec<&String> = self.options.sets.iter().filter(|set| !known(set)).collect();
        match unknown.first() {
            Some(set) if !self.options.allow_missing_set => {
                Err(Error::Missing(format!("set `{set}` of {}", self.object)).with(Remedy::AllowMissingSet))
            }
            _ => Ok(unknown.iter().map(|set| format!("set `{set}` of {} does not exist", self.object)).collect()),
        }
    }

    fn open(&self, options: &SessionOptions) -> Result<AerospikeSession, Error> {
        self.cluster.refresh()?;
        builds::check(&self.cluster)?;
        let membership = self.cluster.membership()?;
        let names = self.namespaces()?;
        let mut namespaces = Vec::new();
        for name in names {
            let facts = NamespaceFacts::read(&self.cluster, &name)?;
            namespaces.push((name, facts));
        }
        let mut notes = self.check_sets(&namespaces)?;
        let mut missing = Vec::new();
        let node = self.cluster.nodes().into_iter().next().ok_or_else(|| Error::NoNode(self.object.clone()))?;
        let udfs = if self.options.no_udfs {
            Vec::new()
        } else {
            let (kept, lost) = modules::modules(&self.cluster, &node)?;
            missing.extend(lost);
            kept
        };
        let mut collections = Vec::new();
        for (name, facts) in &namespaces {
            let indexes =
                if self.options.no_indexes { Vec::new() } else { self.indexes(&node, name, &mut missing, &mut notes)? };
            let entries = sindexes::index_entries(&self.cluster, name, &indexes, facts.replication_factor);
            let records = if self.options.no_records { 0 } else { facts.records_of(&self.options.sets) };
            let records = self.selection_of(name).share(records);
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
        let configuration = if self.options.with_cluster_configuration {
            let names: Vec<String> = namespaces.iter().map(|(name, _)| name.clone()).collect();
            let (read, lost) = configuration::read(&self.cluster, &names, &self.options)?;
            missing.extend(lost);
            Some(read)
        } else {
            None
        };
        let second = if self.options.with_client { Some(self.second_opinion()?) } else { None };
        let clocks = Clocks::default();
        let patience = Arc::clone(self.cluster.patience());
        let names: Vec<String> = namespaces.iter().map(|(name, _)| name.clone()).collect();
        let times = clocks.read(&self.cluster, &names, &self.options, &patience);
        if !times.silent.is_empty() && !self.options.no_records {
            notes.push(format!(
                "the clock of node {} is not known (no record to read it from, or a server before 5.6): times are those \
                 of {}",
                times.silent.join(", "),
                if times.silent.len() == membership.nodes.len() { "this host" } else { "the other nodes" }
            ));
        }
        for rack in chosen::empty_racks(&self.cluster, &self.options) {
            notes.push(format!("no node stands in rack {rack}, which is preferred"));
        }
        for (seed, reason) in self.cluster.silent_seeds() {
            notes.push(format!("nobody answers at {seed} ({reason})"));
        }
        for (id, reason) in self.cluster.silent() {
            notes.push(format!("node {id} does not answer ({reason}): what only it has cannot be read"));
        }
        // Only one that reads alone knows when it has enough.
        let most = if self.options.limit_records() > 0 { 1 } else { MAX_READERS };
        let readers = options.parallel.clamp(1, most);
        let pace = Arc::new(Pace::new(self.options.records_per_second));
        let limit = |records: u64| (records > 0).then(|| Arc::new(AtomicU64::new(records)));
        let all_remaining = limit(self.options.max_records);
        let stop: Arc<Stop> = Arc::default();
        let contexts = collections
            .iter()
            .enumerate()
            .map(|(collection, found)| ScanContext {
                cluster: Arc::clone(&self.cluster),
                namespace: found.name.clone(),
                collection,
                selection: self.selection_of(&found.name),
                options: Arc::clone(&self.options),
                account: Arc::default(),
                window_bytes: WINDOWS_BYTES / readers,
                pace: Arc::clone(&pace),
                patience: Arc::clone(&patience),
                remaining: all_remaining.clone().or_else(|| limit(self.options.sample_records)),
                partition_records: found.estimated_records / u64::from(PARTITIONS),
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
            copies: namespaces.iter().map(|(_, facts)| Copies::of(facts)).collect(),
            readers,
            patience,
            start: times.earliest,
            began: Instant::now(),
            spread_millis: times.spread_millis,
            clocks,
            watch: Watch::new(membership),
            parent_copies: Mutex::default(),
            gone: Mutex::default(),
            restarted: Mutex::default(),
            after: Mutex::default(),
            udfs,
            configuration,
            second,
            missing,
            notes,
        }
        .with_one_account())
    }

    /// The official client, to read records for a comparison.
    fn second_opinion(&self) -> Result<SecondOpinion, Error> {
        if self.selection.narrows() || self.narrowed.is_some() {
            return Err(Error::Usage(
                "a second opinion is asked for on whole namespaces: nothing else chooses records".to_owned(),
            ));
        }
        let official = Official::connect(&self.cluster, &self.options)
            .map_err(|reason| Error::Usage(format!("the official client cannot be used: {reason}")))?;
        Ok(SecondOpinion { official: Arc::new(official), seen: Arc::default() })
    }

    /// The indexes of a namespace; one of a kind that is not known is kept as it is told, and named.
    fn indexes(
        &self,
        node: &Node,
        namespace: &str,
        missing: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Json>, Error> {
        let indexes = match sindexes::indexes(&self.cluster, node, namespace) {
            Err(Error::Info { answer, .. }) => {
                missing.push(format!(
                    "indexes of namespace {namespace}: node {} does not list them ({answer:.200})",
                    node.id
                ));
                return Ok(Vec::new());
            }
            indexes => indexes?,
        };
        for index in &indexes {
            if let Some(why) = sindexes::unknown_kind(index) {
                let name = index.get("name").and_then(Json::as_str).unwrap_or("without a name");
                notes.push(format!(
                    "index `{name}` of namespace {namespace} is of a kind that is not known ({why}): what the node says of \
                     it is kept, and no restore makes it again by itself"
                ));
            }
        }
        Ok(indexes)
    }
}

impl Source for AerospikeSource {
    fn identity(&self) -> Identity {
        Identity { connector: "aerospike", name: self.name.clone(), local: false }
    }

    fn scope(&self) -> Scope {
        let (mut canonical, note) = (self.selection.canonical.clone(), self.selection.note.clone());
        if let Some((_, partitions)) = &self.narrowed {
            // Nodes that master other partitions by now are another part of the cluster.
            canonical = format!("{canonical} {partitions}");
        }
        if self.options.max_records > 0 {
            // Which records it were is chance: no other run covers the same part.
            use std::fmt::Write as _;
            let _ = write!(canonical, " {:?}", std::time::SystemTime::now());
        }
        Scope { canonical, note, asked: self.selection.asked.clone() }
    }

    fn abilities(&self) -> SourceAbilities {
        SourceAbilities { change_filter: true, ..SourceAbilities::default() }
    }

    fn waits_for(&self) -> Option<String> {
        self.cluster.patience().in_words()
    }

    fn begin(&self, options: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        self.cluster.patience().begin_anew();
        let session = self.open(options).map_err(|error| error.into_connector(&self.object))?;
        Ok(Box::new(session))
    }
}

/// Who reads records instead of our own connections, and what came of it.
pub(super) struct SecondOpinion {
    official: Arc<Official>,
    seen: Arc<Seen>,
}

/// How many copies there are of each record of a namespace.
#[derive(Debug, Clone, Copy)]
struct Copies {
    /// Surely, when the run began.
    sure: u32,
    /// That there are to be.
    configured: u32,
}

impl Copies {
    fn of(facts: &NamespaceFacts) -> Self {
        let sure = facts.sure_copies();
        Self { sure, configured: facts.configured_factor.max(sure) }
    }
}

/// Nodes that have started since the deletions of the parent's records were last proved.
#[derive(Debug, Clone, Default)]
struct Restarted {
    nodes: BTreeSet<String>,
    /// When the run began that saw the last of them.
    noticed: Timestamp,
}

impl Restarted {
    /// What a snapshot says of it.
    fn told(attributes: &Json) -> Self {
        let told = attributes.get("nodes_restarted");
        let ids = told.and_then(|told| told.get("nodes")?.as_array());
        let noticed = told.and_then(|told| told.get("noticed")?.as_i64()).unwrap_or_default();
        Self {
            nodes: ids.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect(),
            noticed: Timestamp::from_millis(noticed),
        }
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
    /// By collection.
    copies: Vec<Copies>,
    pub(super) readers: usize,
    pub(super) patience: Arc<Patience>,
    pub(super) start: Timestamp,
    pub(super) began: Instant,
    pub(super) clocks: Clocks,
    /// How far the nodes' clocks are apart.
    pub(super) spread_millis: i64,
    pub(super) watch: Watch,
    /// Copies that each record of the parent surely had, by namespace.
    parent_copies: Mutex<BTreeMap<String, u32>>,
    /// Nodes of the parent that are gone.
    pub(super) gone: Mutex<Vec<String>>,
    restarted: Mutex<Restarted>,
    pub(super) after: Mutex<Option<Membership>>,
    pub(super) udfs: Vec<Json>,
    /// What every node runs with, where that is kept.
    configuration: Option<Json>,
    second: Option<SecondOpinion>,
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

    /// Copies that each record surely had when the run began.
    fn sure_copies(&self, collection: usize) -> u32 {
        self.copies.get(collection).map_or(1, |copies| copies.sure)
    }

    /// How many of the parent's nodes may be gone so that no record is: as many copies as the namespace is to have, and the
    /// parent's cluster had.
    fn copies_of_parent(&self, collection: usize) -> u32 {
        let configured = self.copies.get(collection).map_or(1, |copies| copies.configured);
        let name = self.collections.get(collection).map_or("", |found| found.name.as_str());
        let of_parent = self.parent_copies.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        of_parent.unwrap_or_else(|| self.sure_copies(collection)).min(configured).max(1)
    }

    /// Why no absence may be believed, beside what was read itself, if so.
    fn parent_lost(&self, collection: usize) -> Option<Unrest> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let copies = self.copies_of_parent(collection) as usize;
        (gone.len() >= copies).then(|| Unrest {
            reason: format!(
                "{} of the parent's nodes are gone ({}), and each record had {}",
                gone.len(),
                gone.join(", "),
                if copies == 1 { "one copy".to_owned() } else { format!("{copies} copies") }
            ),
            acceptable: true,
        })
    }

    /// How many of the parent's nodes do not have any more what they had, as far as anybody can tell.
    fn nodes_lost(&self) -> usize {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner).len();
        gone + self.restarted.lock().unwrap_or_else(PoisonError::into_inner).nodes.len()
    }

    pub(super) fn begin_reading(&self, collection: usize, range: &KeyRange) {
        self.account.forget(collection, |pid| partition(pid).intersection(range).is_some());
        self.watch.begin(&self.cluster, collection, range);
    }
}

/// Why a cluster without a name is not taken for the one of a snapshot.
pub(super) fn another_cluster(
    object: &str,
    snapshot: &impl std::fmt::Display,
    theirs: BTreeSet<String>,
) -> ConnectorError {
    let reason = format!(
        "its cluster has no name and none of the nodes of snapshot {snapshot} ({}): it may be another one",
        theirs.into_iter().collect::<Vec<_>>().join(", ")
    );
    ConnectorError::Mismatch { object: object.to_owned(), reason }
}

/// The nodes that a snapshot was taken of.
pub(super) fn node_ids(attributes: &Json) -> BTreeSet<String> {
    let nodes = attributes.get("nodes").and_then(Json::as_array);
    nodes.into_iter().flatten().filter_map(|node| node.get("id")?.as_str().map(str::to_owned)).collect()
}

/// The nodes of a snapshot and when each had started, before it was taken or when it first came.
fn nodes_started(attributes: &Json) -> BTreeMap<String, Option<i64>> {
    let mut started = BTreeMap::new();
    for when in ["after", "before"] {
        let nodes = attributes.get("membership").and_then(|membership| membership.get(when)?.as_array());
        started.extend(nodes.into_iter().flatten().filter_map(|node| {
            let seconds = node.get("started").and_then(Json::as_i64);
            Some((node.get("id")?.as_str()?.to_owned(), seconds.map(|seconds| seconds.saturating_mul(1000))))
        }));
    }
    started
}

/// Copies that each record surely had, by namespace; older snapshots do not say.
fn copies_told(attributes: &Json) -> BTreeMap<String, u32> {
    let told = attributes.get("copies").and_then(Json::as_object);
    let one = |(name, copies): (&String, &Json)| Some((name.clone(), u32::try_from(copies.as_u64()?).ok()?));
    told.into_iter().flatten().filter_map(one).collect()
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
            let nodes = membership.nodes.iter().map(|(id, view)| {
                json!({
                    "id": id,
                    "cluster_key": view.cluster_key,
                    "cluster_size": view.cluster_size,
                    "started": view.started_millis.map(|millis| millis / 1000),
                })
            });
            Json::Array(nodes.collect())
        };
        let copies: BTreeMap<&String, u32> = self
            .collections
            .iter()
            .map(|found| &found.name)
            .zip(self.copies.iter().map(|copies| copies.sure))
            .collect();
        let before = &self.watch.before;
        let builds: BTreeMap<String, String> =
            self.cluster.nodes().iter().map(|node| (node.id.clone(), node.build.clone())).collect();
        let nodes: Vec<Json> = before.nodes.keys().map(|id| json!({ "id": id, "build": builds.get(id) })).collect();
        // Too many for absences to be believed: the next run must not believe them either.
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fewest = (0..self.copies.len()).map(|index| self.copies_of_parent(index)).min().unwrap_or(1) as usize;
        let gone = if gone.len() >= fewest { gone } else { Vec::new() };
        let restarted = self.restarted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attributes = json!({
            "format": 1,
            "cluster_name": self.name,
            "nodes": nodes,
            "nodes_gone": gone,
            "copies": copies,
            "membership": { "before": view(before), "after": after.as_ref().map(view) },
            "udfs": self.udfs,
        });
        if !restarted.nodes.is_empty() && self.nodes_lost() >= fewest {
            attributes["nodes_restarted"] =
                json!({ "nodes": restarted.nodes, "noticed": restarted.noticed.as_millis() });
        }
        if let Some(configuration) = &self.configuration {
            attributes["configuration"] = configuration.clone();
        }
        attributes
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
        if let Some(second) = &self.second {
            let (namespace, seen) = (context.namespace.as_str(), Arc::clone(&second.seen));
            return Ok(Box::new(SecondReader::new(&second.official, namespace, (self, collection), range, seen)));
        }
        self.begin_reading(collection, range);
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
        end.end = self.now();
        if let Some(second) = &self.second {
            let (records, completed) =
                (second.seen.records.load(Ordering::Relaxed), second.seen.completed.load(Ordering::Relaxed));
            end.notes.push(format!(
                "{records} records were read by the official client, {completed} of them completed by our own connections: it \
                 does not give out lists, maps and some user keys exactly"
            ));
        }
        for (collection, found) in self.collections.iter().enumerate() {
            let lacks = self.account.of(collection);
            end.missing.extend(in_words(&found.name, "could not be read to the end", &lacks.missing));
            end.missing.extend(in_words(&found.name, "may lack records", &lacks.doubtful));
            end.missing.extend(in_words(&found.name, "may lack records", &lacks.moved));
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
        let is_gone = |id: &&String| !self.watch.before.nodes.contains_key(*id);
        if self.unnamed && !parent.chosen && !theirs.is_empty() && theirs.iter().all(|id| is_gone(&id)) {
            return Err(
                another_cluster(&self.object, &parent.snapshot, theirs).with([Remedy::NameSource, Remedy::NameParent])
            );
        }
        *self.parent_copies.lock().unwrap_or_else(PoisonError::into_inner) = copies_told(parent.attributes);
        if !parent.accept_deletions {
            let missed = nodes_gone(parent.attributes);
            let gone = theirs.union(&missed).filter(is_gone).cloned().collect();
            *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = gone;
            // What they lost stands in the parent as long as nobody believed that it was deleted.
            let mut restarted = Restarted::told(parent.attributes);
            if parent.deletions_as_of >= restarted.noticed {
                restarted.nodes.clear();
            }
            let since = self.watch.before.lost_of(&nodes_started(parent.attributes)).restarted;
            if !since.is_empty() {
                restarted.noticed = self.start;
                restarted.nodes.extend(since);
            }
            restarted.nodes.retain(|id| self.watch.before.nodes.contains_key(id));
            *self.restarted.lock().unwrap_or_else(PoisonError::into_inner) = restarted;
        }
        Ok(())
    }

    fn part_end(&self, collection: usize, range: &KeyRange) -> Result<PartEnd, ConnectorError> {
        if self.second.is_some() {
            let reason = "the official client read it, which does not tell whether all came".to_owned();
            let doubts = vec![Doubt { range: range.clone(), reason, acceptable: false }];
            return Ok(PartEnd { complete: false, doubts });
        }
        let began = self.watch.end(collection, range);
        let unrest = self.watch.unrest(&self.cluster, began, self.sure_copies(collection));
        let within = |pid: &u16| partition(*pid).intersection(range).is_some();
        if began.is_some() {
            let pids: Vec<u16> = (0..PARTITIONS).filter(within).collect();
            self.account.moved(collection, &pids, unrest.as_ref().map(|unrest| unrest.reason.as_str()));
        }
        let lacks = self.account.of(collection);
        let doubtful = lacks.doubtful.iter().filter(|(pid, _)| within(pid));
        let mut doubts: Vec<Doubt> = doubtful
            .map(|(pid, reason)| Doubt { range: partition(*pid), reason: reason.clone(), acceptable: false })
            .collect();
        let unproven = lacks.unproven.map(|reason| Unrest { reason, acceptable: true });
        if let Some(Unrest { reason, acceptable }) = unproven.or(unrest).or_else(|| self.parent_lost(collection)) {
            doubts.push(Doubt { range: range.clone(), reason, acceptable });
        }
        let complete = ![&lacks.missing, &lacks.doubtful, &lacks.moved].iter().any(|all| all.keys().any(within));
        Ok(PartEnd { complete, doubts })
    }

    fn reads_better_now(&self) -> bool {
        let lacks = |collection: usize| {
            let lacks = self.account.of(collection);
            !lacks.moved.is_empty() || (!lacks.missing.is_empty() && self.patience.has_given_up_any())
        };
        let fewest = self.copies.iter().map(|copies| copies.sure).min().unwrap_or(1);
        (0..self.collections.len()).any(lacks)
            && self.watch.settles(&self.cluster, fewest, &self.patience, &|| self.stop.is_stopped())
    }

    fn waits_for(&self) -> Option<String> {
        self.patience.in_words()
    }

    /// Where each copy of a record may have been on a node that started anew, it may have come back without it.
    fn shaken(&self, collection: usize) -> Option<String> {
        let restarted = self.restarted.lock().unwrap_or_else(PoisonError::into_inner).nodes.clone();
        let is_shaken = !restarted.is_empty() && self.nodes_lost() >= self.copies_of_parent(collection) as usize;
        is_shaken.then(|| {
            let (nodes, copies) = (restarted.into_iter().collect::<Vec<_>>(), self.copies_of_parent(collection));
            format!(
                "{} {} restarted since deletions were last proved, and each record had {}",
                if nodes.len() == 1 { "node" } else { "nodes" },
                nodes.join(", "),
                if copies == 1 { "one copy".to_owned() } else { format!("{copies} copies") }
            )
        })
    }

    fn groups(&self, _: usize) -> Option<&dyn KeyGroups> {
        Some(&Partitions)
    }
}

impl Resumable for AerospikeSession {
    fn handover(&self) -> Json {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let before = &self.watch.before.nodes;
        let nodes: BTreeSet<&String> = before.keys().chain(gone.iter()).collect();
        let started: BTreeMap<&String, Option<i64>> =
            before.iter().map(|(id, view)| (id, view.started_millis)).collect();
        json!({ "nodes": nodes, "started": started })
    }

    fn now(&self) -> Timestamp {
        let names: Vec<String> = self.collections.iter().map(|found| found.name.clone()).collect();
        let times = self.clocks.read(&self.cluster, &names, &self.options, &self.patience);
        let asked = self.cluster.nodes().len();
        if times.silent.len() < asked {
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
        let is_gone = |id: &&String| !self.watch.before.nodes.contains_key(*id);
        if !earlier.chosen && theirs.iter().all(|id| is_gone(&id)) {
            return Err("none of the nodes that it read from is here: it may have been another cluster".to_owned());
        }
        if earlier.accept_deletions {
            return Ok(());
        }
        {
            // What only they had is not in what is read now.
            let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
            let more: Vec<String> = theirs.iter().filter(is_gone).filter(|id| !gone.contains(id)).cloned().collect();
            gone.extend(more);
        }
        let started = earlier.told.get("started").and_then(Json::as_object);
        let started = started.into_iter().flatten().map(|(id, millis)| (id.clone(), millis.as_i64())).collect();
        let lost = self.watch.before.lost_of(&started);
        let fewest = self.copies.iter().map(|copies| copies.sure).min().unwrap_or(1);
        if lost.count() >= fewest as usize {
            return Err(format!(
                "{} since, so that the state it read is no longer that of the cluster",
                lost.in_words()
            ));
        }
        Ok(())
    }
}
