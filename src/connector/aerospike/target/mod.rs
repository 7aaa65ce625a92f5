//! Aerospike clusters as a target. How records are written, what becomes of each and what is not exact is specified in
//! `format-spec/aerospike-restore.md`. The parts: `rows` are records as they are sent, `answers` one exchange with a node,
//! `verdict` what an answer means, `deliver` a group of rows until each has its outcome, `pool` the groups under way, `shared`
//! what its threads share, `writer` a namespace, `modules`, `indexes` and `preflight` what is beside records.

mod acknowledged;
mod answers;
mod clocks;
mod deliver;
mod indexes;
mod line;
mod modules;
pub mod options;
mod part;
mod pool;
mod preflight;
mod rows;
mod shared;
mod verdict;
mod writer;

pub use options::{AerospikeTargetOptions, IndexOrder};

use super::{
    builds,
    clock::Clocks,
    cluster::Cluster,
    decode::VOID_TIME_EPOCH_SECONDS,
    error::Error,
    facts::NamespaceFacts,
    info::value_of,
    membership::{Lost, Membership},
    official::Official,
    options::{AerospikeOptions, ClusterPlace},
    pace::Pace,
    patience::Patience,
    select::Selection,
    source::AerospikeSource,
};
use crate::{
    connector::{
        CollectionTarget, ConnectorError, GoesOn, Leaves, Meets, Overwrite, Source, SourceUrl, Survey, Surveyed,
        Target, TargetAbilities, TargetEnd, TargetPlan, TargetSession,
    },
    record::{Clock as _, KeyRange, Meta, SystemClock, Timestamp},
};
use clocks::NodeClocks;
use part::Part;
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::AtomicBool},
};
use writer::NamespaceWriter;

/// Milliseconds by which a restored expiry may be off.
const EXPIRY_SLACK_MILLIS: u64 = 2_000;

/// A cluster to write.
#[derive(Debug)]
pub struct AerospikeTarget {
    url: SourceUrl,
    object: String,
    namespace: Option<String>,
    options: Arc<AerospikeOptions>,
    how: Arc<AerospikeTargetOptions>,
    cluster: Arc<Cluster>,
    /// The keys that were chosen by partition.
    ranges: Vec<KeyRange>,
    /// What is compared, once it is known what is restored.
    part: OnceLock<Part>,
    /// Set by whoever cancels.
    stop: Arc<AtomicBool>,
    /// What is waited for.
    waits: Arc<Patience>,
}

impl AerospikeTarget {
    /// Finds the cluster that a URL names. Of `options`, sets, bins and partitions choose records.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense, or no node answers.
    pub fn new(
        url: &SourceUrl,
        options: AerospikeOptions,
        how: AerospikeTargetOptions,
    ) -> Result<Self, ConnectorError> {
        let place = ClusterPlace::parse(url)?;
        let object = format!("aerospike:{}", url.place);
        let failed = |error: Error| error.into_connector(&object);
        let ranges = Selection::new(None, &options).map_err(failed)?.ranges;
        let cluster = Cluster::connect(&place.seeds, &options).map_err(failed)?;
        let waits = Arc::clone(cluster.patience());
        Ok(Self {
            waits,
            url: url.clone(),
            object,
            namespace: place.namespace,
            options: Arc::new(options),
            how: Arc::new(how),
            cluster: Arc::new(cluster),
            ranges,
            part: OnceLock::new(),
            stop: Arc::default(),
        })
    }

    /// What of the cluster a plan is about.
    fn part(&self, plan: &TargetPlan) -> &Part {
        self.part.get_or_init(|| Part::of(&self.options, &self.ranges, plan))
    }

    fn unreadable(&self, error: Error) -> ConnectorError {
        error.into_connector(&self.object)
    }

    /// Whether records stand in the target otherwise than in the snapshot.
    fn alters(&self) -> bool {
        !self.options.bins.is_empty() || !self.how.set_map.is_empty()
    }

    fn mismatch(&self, reason: String) -> ConnectorError {
        ConnectorError::Mismatch { object: self.object.clone(), reason }
    }

    /// What options cannot go together.
    fn check_options(&self, plan: &TargetPlan) -> Result<(), ConnectorError> {
        let compares = plan.make_equal || plan.overwrite == Overwrite::IfChanged;
        if compares && !self.options.bins.is_empty() {
            return Err(self.mismatch(
                "some bins are part of records, which making equal and replacing what differs compare whole".into(),
            ));
        }
        if compares && !self.how.set_map.is_empty() {
            return Err(self.mismatch(
                "renaming sets gives records other digests: making equal and replacing what differs would not find \
                 them"
                    .into(),
            ));
        }
        Ok(())
    }

    fn check_plan(&self, plan: &TargetPlan) -> Result<(), ConnectorError> {
        if let Some(other) = plan.collections.iter().find(|one| one.codec != crate::record::KeyCodec::Digest) {
            return Err(self.mismatch(format!(
                "{} was taken from `{}`: its keys are no digests",
                other.source_name, plan.connector
            )));
        }
        self.check_options(plan)
    }
}

/// What a restore's parts share.
#[derive(Debug)]
struct SharedRestore {
    object: String,
    cluster: Arc<Cluster>,
    clocks: Arc<NodeClocks>,
    options: Arc<AerospikeOptions>,
    how: Arc<AerospikeTargetOptions>,
    overwrite: Overwrite,
    make_equal: bool,
    /// What is compared.
    part: Part,
    /// The earliest node's clock when the restore began, for make-equal.
    since: Option<Timestamp>,
    missing: Mutex<Vec<String>>,
    /// Namespaces to which all records that came were written.
    whole: Mutex<BTreeSet<String>>,
    stop: Arc<AtomicBool>,
    waits: Arc<Patience>,
    pace: Pace,
    /// Who was there when the restore began, or when what was lost was last noticed.
    before: Mutex<Membership>,
    /// Copies that each record surely had when the restore began, the fewest of all namespaces.
    copies: u32,
    /// What makes modules and indexes, connected when the first is to be made; else why it is not.
    official: OnceLock<Result<Arc<Official>, String>>,
}

impl SharedRestore {
    /// The official client, connected now if need be.
    fn official(&self) -> Option<Arc<Official>> {
        let connect = || Official::connect(&self.cluster, &self.options).map(Arc::new);
        self.official.get_or_init(connect).as_ref().ok().cloned()
    }

    /// The official client, if it was needed.
    fn connected(&self) -> Option<&Official> {
        self.official.get()?.as_ref().ok().map(Arc::as_ref)
    }

    fn unwritable(&self, reason: &str) -> ConnectorError {
        ConnectorError::Unwritable { object: self.object.clone(), reason: reason.to_owned() }
    }

    /// Nodes that since the last time lost what they had acknowledged: as many as there are copies, or none.
    fn lost(&self) -> Result<Lost, Error> {
        // Who does not answer is no longer among those that are asked.
        self.cluster.refresh()?;
        let now = self.cluster.membership()?;
        if let Some(split) = now.split() {
            self.missing(vec![split]);
        }
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody tells cannot be noticed.
        self.missing(before.untold().or_else(|| now.untold()).into_iter().collect());
        let lost = now.lost_since(&before);
        if lost.count() < self.copies.max(1) as usize {
            return Ok(Lost::default());
        }
        *before = now;
        Ok(lost)
    }

    /// Notes what makes the restore incomplete, once.
    fn missing(&self, lines: Vec<String>) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            if !missing.contains(&line) {
                missing.push(line);
            }
        }
    }
}

/// Whether a text can stand in an info command and be nothing else there.
fn is_plain(text: &str) -> bool {
    !text.contains([';', ':']) && !text.chars().any(char::is_control)
}

/// Asks every node what time it is; gives the earliest.
fn ask_clocks(cluster: &Cluster, namespaces: &[String], clocks: &NodeClocks) -> Result<Timestamp, Error> {
    let mut earliest = i64::MAX;
    for node in cluster.nodes() {
        let asked = clocks.ours();
        let mut told = None;
        for namespace in namespaces {
            let command = format!("namespace/{namespace}");
            let answers = cluster.info(&node, &[&command])?;
            let second = value_of(answers.text(&command).unwrap_or_default(), ';', "current_time");
            told = told.or_else(|| second.and_then(|text| text.parse::<i64>().ok()));
        }
        let second = told.unwrap_or_else(|| SystemClock.now().as_millis() / 1000 - VOID_TIME_EPOCH_SECONDS as i64);
        clocks.learn(&node.id, second, asked, clocks.ours());
        earliest = earliest.min(second);
    }
    Ok(Timestamp::from_millis((earliest.saturating_add(VOID_TIME_EPOCH_SECONDS as i64)).saturating_mul(1000)))
}

impl Target for AerospikeTarget {
    fn connector(&self) -> &'static str {
        "aerospike"
    }

    fn collection(&self) -> Option<String> {
        self.namespace.clone()
    }

    fn abilities(&self) -> TargetAbilities {
        use Overwrite::{Always, IfChanged, IfNewer, Merge, MergeIfNewer, Never};
        TargetAbilities {
            overwrites: &[Always, Never, IfChanged, IfNewer, Merge, MergeIfNewer],
            expiry_slack_millis: EXPIRY_SLACK_MILLIS,
            keeps_user_keys: true,
            to_stdout: false,
            all_or_nothing: false,
            leaves: Leaves::Progress,
        }
    }

    fn occupied(&self, collections: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        let mut occupied = Vec::new();
        for name in collections {
            let facts = NamespaceFacts::read(&self.cluster, name).map_err(|error| self.unreadable(error))?;
            let records = match self.options.sets.as_slice() {
                [] => facts.objects,
                // Nodes do not tell how many records are in no set.
                sets if sets.iter().any(String::is_empty) => facts.objects,
                sets => preflight::set_objects(&self.cluster, name, sets, facts.replication_factor)
                    .map_err(|error| self.unreadable(error))?,
            };
            if records > 0 {
                occupied.push((name.clone(), records));
            }
        }
        Ok(occupied)
    }

    fn rehearse(&self, plan: &TargetPlan) -> Result<Vec<Meets>, ConnectorError> {
        self.check_plan(plan)?;
        builds::check(&self.cluster).map_err(|error| self.unreadable(error))?;
        for collection in &plan.collections {
            preflight::namespace(self, &collection.name)?;
        }
        let meets = if self.alters() { Meets::Unknown } else { Meets::Records };
        Ok(vec![meets; plan.collections.len()])
    }

    fn surveyed(&self) -> Option<&dyn Surveyed> {
        Some(self)
    }

    fn goes_on(&self) -> Option<&dyn GoesOn> {
        Some(self)
    }

    fn waits_for(&self) -> Option<String> {
        self.waits.in_words()
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        Some(Arc::clone(&self.stop))
    }

    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        self.check_plan(plan)?;
        let names: Vec<String> = plan.collections.iter().map(|collection| collection.name.clone()).collect();
        let clocks = NodeClocks::new();
        let told = ask_clocks(&self.cluster, &names, &clocks).map_err(|error| self.unreadable(error))?;
        let since = plan.make_equal.then(|| {
            let times = Clocks::default().read(&self.cluster, &names, &self.options, &self.waits);
            // Where no record tells the time, the second that the node told has to do.
            if times.silent.is_empty() { times.earliest } else { told }
        });
        let failed = |error: Error| self.unreadable(error);
        let before = self.cluster.membership().map_err(failed)?;
        let mut copies = u32::MAX;
        for name in &names {
            copies = copies.min(NamespaceFacts::read(&self.cluster, name).map_err(failed)?.sure_copies());
        }
        let shared = SharedRestore {
            waits: Arc::clone(&self.waits),
            pace: Pace::new(self.how.records_per_second),
            before: Mutex::new(before),
            copies,
            object: self.object.clone(),
            cluster: Arc::clone(&self.cluster),
            clocks: Arc::new(clocks),
            options: Arc::clone(&self.options),
            how: Arc::clone(&self.how),
            overwrite: plan.overwrite,
            make_equal: plan.make_equal,
            part: self.part(plan).clone(),
            since,
            official: OnceLock::new(),
            missing: Mutex::default(),
            whole: Mutex::default(),
            stop: Arc::clone(&self.stop),
        };
        let mut session = AerospikeTargetSession {
            shared: Arc::new(shared),
            plan: plan.clone(),
            notes: Vec::new(),
            made: Vec::new(),
            standing: 0,
            modules: 0,
        };
        session.begin()?;
        Ok(Box::new(session))
    }

    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        if self.alters() || !self.how.extra_ttl.is_zero() {
            return Ok(None);
        }
        Ok(Some(Box::new(AerospikeSource::new(&self.url, (*self.options).clone())?)))
    }
}

impl Surveyed for AerospikeTarget {
    fn chooses(&self, key: &[u8], meta: &Meta<'_>) -> bool {
        if let Some(part) = self.part.get() {
            return part.holds(key, meta);
        }
        let sets = &self.options.sets;
        (sets.is_empty() || sets.iter().any(|wanted| wanted.as_bytes() == meta.set))
            && self.ranges.iter().any(|range| range.contains(key))
    }

    fn chooses_all(&self) -> bool {
        self.options.sets.is_empty() && self.ranges.contains(&KeyRange::all())
    }

    fn preflight(&self, plan: &TargetPlan, survey: &Survey) -> Result<Vec<String>, ConnectorError> {
        self.part(plan);
        preflight::look(self, plan, survey)
    }
}

impl GoesOn for AerospikeTarget {
    fn resume_key(&self, plan: &TargetPlan) -> Option<String> {
        // Where digests change, what was written cannot be found again; what compares goes on by itself.
        if !self.how.set_map.is_empty() {
            return None;
        }
        let name = self.cluster.name();
        let cluster = if name.is_empty() || name == "null" { self.url.place.as_str() } else { name.as_str() };
        let (options, how) = (&self.options, &self.how);
        let names: Vec<&str> = plan.collections.iter().map(|collection| collection.name.as_str()).collect();
        let what = (&options.sets, &options.bins, &options.partitions, how.extra_ttl, how.ignore_record_error);
        Some(format!("aerospike {cluster:?} {names:?} {what:?}"))
    }
}

/// A restore under way.
struct AerospikeTargetSession {
    shared: Arc<SharedRestore>,
    plan: TargetPlan,
    notes: Vec<String>,
    /// Indexes that were made, and are to be awaited: namespace and name.
    made: Vec<(String, String)>,
    /// Indexes of the snapshot that were there before.
    standing: u64,
    /// Modules of the snapshot that are there.
    modules: u64,
}

impl AerospikeTargetSession {
    fn begin(&mut self) -> Result<(), ConnectorError> {
        if !self.shared.options.no_udfs
            && let Some(modules) = self.plan.attributes.get("udfs").and_then(Json::as_array)
        {
            let done = modules::restore(
                &self.shared.cluster,
                modules,
                self.shared.overwrite == Overwrite::Never,
                self.shared.how.replace_modules,
                &mut || self.shared.official(),
            )
            .map_err(|error| self.shared.unwritable(&error.to_string()))?;
            self.modules = done.there;
            self.notes.extend(done.notes);
            self.shared.missing(done.missing);
        }
        if self.shared.how.indexes == IndexOrder::First {
            self.make_indexes()?;
        }
        Ok(())
    }

    fn make_indexes(&mut self) -> Result<(), ConnectorError> {
        for collection in &self.plan.collections {
            let replace = self.shared.how.replace_indexes;
            let done = indexes::restore(&self.shared.cluster, collection, replace, &mut || self.shared.official())
                .map_err(|error| self.shared.unwritable(&error.to_string()))?;
            self.notes.extend(done.notes);
            self.shared.missing(done.missing);
            self.standing += done.standing;
            self.made.extend(done.made.into_iter().map(|name| (collection.name.clone(), name)));
        }
        Ok(())
    }
}

impl AerospikeTargetSession {
    fn compare_indexes(&mut self) -> Result<(), ConnectorError> {
        for collection in &self.plan.collections {
            let whole = self.shared.whole.lock().unwrap_or_else(PoisonError::into_inner).contains(&collection.name);
            let done = indexes::compare(&self.shared.cluster, collection, whole)
                .map_err(|error| self.shared.unwritable(&error.to_string()))?;
            self.notes.extend(done.notes);
            self.shared.missing(done.missing);
        }
        Ok(())
    }
}

impl TargetSession for AerospikeTargetSession {
    fn open(&mut self, collection: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        let Some(collection) = self.plan.collections.get(collection) else {
            return Err(ConnectorError::Missing { object: format!("collection {collection} of the plan") });
        };
        Ok(Box::new(NamespaceWriter::new(&self.shared, &collection.name, &collection.source_name)?))
    }

    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        if self.shared.how.indexes == IndexOrder::Last {
            self.make_indexes()?;
        }
        if !self.shared.how.no_wait {
            let patience = self.shared.options.partition_timeout;
            let missing =
                indexes::wait(&self.shared.cluster, &self.made, self.shared.connected(), patience, &self.shared.stop);
            self.shared.missing(missing.ok_or_else(|| self.shared.unwritable("interrupted"))?);
            if self.shared.how.indexes != IndexOrder::Never {
                self.compare_indexes()?;
            }
        }
        // Namespaces were looked at when their last record was written; what is lost behind that is not written again.
        let lost = self.shared.lost().map_err(|error| self.shared.unwritable(&error.to_string()))?;
        if lost.count() > 0 {
            self.shared
                .missing(vec![format!("{} after the last record was written: it may have lost some", lost.in_words())]);
        }
        if let Some(Err(reason)) = self.shared.official.get() {
            self.notes.push(format!(
                "modules and indexes were made by our own connections: the official client cannot be used ({reason})"
            ));
        }
        let mut missing = self.shared.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let made = BTreeMap::from([("indexes", self.made.len() as u64 + self.standing), ("modules", self.modules)]);
        Ok(TargetEnd { missing: std::mem::take(&mut *missing), notes: std::mem::take(&mut self.notes), made })
    }
}
