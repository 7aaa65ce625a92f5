//! What a test does to a running server beside talking to it: put records in, look at them, move the clock, kill and add
//! nodes, order faults.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};
use std::time::Duration;

use crate::config::Config;
use crate::fault::Fault;
use crate::record::{Digest, PARTITIONS, Place};
use crate::seed::{Dumped, Seed};
use crate::server::{QueryEvent, Shared, lock};
use crate::store::{Namespace, Unreadable};

/// Starts servers.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Starts a cluster; it ends when the handle is dropped.
    ///
    /// # Errors
    /// If a port cannot be opened.
    pub fn start(config: Config) -> io::Result<Handle> {
        Ok(Handle(Control(Shared::start(config)?)))
    }
}

/// A running cluster. Dropping it closes all ports and connections.
pub struct Handle(Control);

impl Deref for Handle {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        *lock(&self.0.0.query_hook) = None;
        for node in 0..self.0.0.node_count() {
            self.0.0.close_node(node);
        }
    }
}

/// The hand on a running cluster. Clones act on the same one; none keeps it running.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

impl Control {
    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// Addresses of all nodes, dead ones too.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.0.node_count()).map(|node| self.0.node(node).address).collect()
    }

    /// Address of one node.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.0.node(node).address
    }

    /// Id of one node.
    pub fn node_id(&self, node: usize) -> String {
        self.0.node(node).id.clone()
    }

    /// Requests of every kind that all nodes have taken.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::SeqCst)
    }

    // Shipping.

    /// Whether everything is shipped twice from here on.
    pub fn ship_twice(&self, twice: bool) {
        self.0.xdr.twice.store(twice, Ordering::SeqCst);
    }

    /// Whether nothing is shipped from here on.
    pub fn ship_nothing(&self, nothing: bool) {
        self.0.xdr.mute.store(nothing, Ordering::SeqCst);
    }

    /// Whether nodes say from here on that there is nothing to recover, as those do that have not counted yet.
    pub fn count_nothing(&self, nothing: bool) {
        self.0.xdr.uncounted.store(nothing, Ordering::SeqCst);
    }

    /// A node restarts just before it takes an order about a data center that has these words in it, so many times.
    pub fn restart_at_order(&self, words: &str, times: usize) {
        *lock(&self.0.xdr.restarts_at) = Some((words.to_owned(), times));
    }

    /// Every order about a data center that has these words in it is refused, until `None` is said.
    pub fn refuse_order(&self, words: Option<&str>) {
        *lock(&self.0.xdr.refuses) = words.map(str::to_owned);
    }

    /// What a node answers to an info command.
    pub fn ask(&self, node: usize, command: &str) -> String {
        let said = crate::info::answer(&self.0, node, format!("{command}\n").as_bytes(), true);
        let said = String::from_utf8_lossy(&said).into_owned();
        said.trim_end().rsplit('\t').next().unwrap_or_default().to_owned()
    }

    /// Deletes a record as a client would: a tombstone is left, and shipped. Says whether it was there.
    pub fn bury(&self, namespace: &str, digest: &Digest) -> bool {
        let now_ms = self.now_ms().max(0) as u64;
        let mut namespace = self.lock(namespace);
        let place = Place::of(digest);
        let Some(record) = namespace.remove(&place) else { return false };
        let generation = record.generation.wrapping_add(1).max(1);
        namespace.tombstones.insert(place, (record.lut_ms.max(now_ms), generation));
        true
    }

    /// Answers of whoever is shipped to: how many said that it is done, and how many that it is to come again.
    pub fn shipped(&self) -> (u64, u64) {
        (self.0.xdr.done.load(Ordering::SeqCst), self.0.xdr.again.load(Ordering::SeqCst))
    }

    /// The names of data centers, by node.
    pub fn data_centers(&self) -> Vec<(usize, String)> {
        lock(&self.0.xdr.centers).keys().cloned().collect()
    }

    /// Every order about data centers and transactions that was taken, with the node that took it.
    pub fn orders(&self) -> Vec<(usize, String)> {
        lock(&self.0.xdr.orders).clone()
    }

    /// Nodes that hold up the writes of transactions.
    pub fn holding(&self) -> Vec<usize> {
        lock(&self.0.xdr.held).clone()
    }

    // Records.

    /// Works on a namespace with everything else waiting.
    ///
    /// # Panics
    /// If there is no such namespace.
    pub fn with_namespace<T>(&self, namespace: &str, work: impl FnOnce(&mut Namespace) -> T) -> T {
        work(&mut self.lock(namespace))
    }

    fn lock(&self, namespace: &str) -> RwLockWriteGuard<'_, Namespace> {
        let namespace =
            self.0.namespace(namespace.as_bytes()).expect("the test names a namespace of its configuration");
        namespace.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record in as it is and returns its digest.
    pub fn put(&self, namespace: &str, seed: Seed) -> Digest {
        let now_ms = self.now_ms();
        let mut namespace = self.lock(namespace);
        let (place, record) = seed.record(&mut namespace, now_ms);
        namespace.insert(place, record);
        place.digest()
    }

    /// Puts many records in.
    pub fn put_all(&self, namespace: &str, seeds: impl IntoIterator<Item = Seed>) {
        let now_ms = self.now_ms();
        let mut namespace = self.lock(namespace);
        let mut records: Vec<_> = seeds.into_iter().map(|seed| seed.record(&mut namespace, now_ms)).collect();
        // In scan order a million go in several times faster; of two with one digest the later one still wins.
        records.sort_by_key(|(place, _)| *place);
        for (place, record) in records {
            namespace.insert(place, record);
        }
    }

    /// One record, expired or not.
    pub fn get(&self, namespace: &str, digest: &Digest) -> Option<Dumped> {
        let namespace = self.lock(namespace);
        let place = Place::of(digest);
        namespace.records.get(&place).map(|record| Dumped::of(&namespace, &place, record))
    }

    /// Removes a record without a trace. Says whether it was there.
    pub fn delete(&self, namespace: &str, digest: &Digest) -> bool {
        self.lock(namespace).remove(&Place::of(digest)).is_some()
    }

    /// Counts a record's generation up and moves its last-update-time to now. Says whether it was there.
    pub fn touch(&self, namespace: &str, digest: &Digest) -> bool {
        let now_ms = self.now_ms().max(0) as u64;
        let mut namespace = self.lock(namespace);
        let Some(record) = namespace.records.get_mut(&Place::of(digest)) else { return false };
        record.generation = record.generation.wrapping_add(1).max(1);
        record.lut_ms = record.lut_ms.max(now_ms);
        true
    }

    /// Removes what was updated until now: everything, or one set. Returns how much that was.
    pub fn truncate(&self, namespace: &str, set: Option<&str>) -> usize {
        let before_ms = self.now_ms().max(0) as u64 + 1;
        self.lock(namespace).truncate(set.map(str::as_bytes), before_ms)
    }

    /// Removes what has expired, as the server's reaper does. Returns how much that was.
    pub fn reap(&self, namespace: &str) -> usize {
        let now_ms = self.now_ms();
        self.lock(namespace).reap(now_ms)
    }

    /// Every record in scan order: ascending partitions, descending digests.
    pub fn dump(&self, namespace: &str) -> Vec<Dumped> {
        let namespace = self.lock(namespace);
        namespace.records.iter().map(|(place, record)| Dumped::of(&namespace, place, record)).collect()
    }

    /// Number of records, expired ones included.
    pub fn count(&self, namespace: &str) -> usize {
        self.lock(namespace).records.len()
    }

    /// Makes a record unreadable, wholly or in its stored key; `None` heals it.
    pub fn set_unreadable(&self, namespace: &str, digest: &Digest, part: Option<Unreadable>) {
        let mut namespace = self.lock(namespace);
        match part {
            Some(part) => namespace.unreadable.insert(Place::of(digest), part),
            None => namespace.unreadable.remove(&Place::of(digest)),
        };
    }

    /// Puts a Lua module in.
    pub fn put_module(&self, name: &str, text: &[u8]) {
        lock(&self.0.udfs).insert(name.to_owned(), text.to_vec());
    }

    /// The text of a Lua module.
    pub fn module(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.0.udfs).get(name).cloned()
    }

    // Time.

    /// Now, in milliseconds since 2010.
    pub fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    /// Moves the clock of all nodes on.
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance_ms(by.as_millis() as i64);
    }

    /// Moves the clock of all nodes back.
    pub fn advance_back(&self, by: Duration) {
        self.0.clock.advance_ms(-(by.as_millis() as i64));
    }

    /// Sets the clock of all nodes, in milliseconds since 2010.
    pub fn set_now_ms(&self, ms: i64) {
        self.0.clock.set_ms(ms);
    }

    /// Puts one node's clock so many milliseconds before the others', behind if negative.
    pub fn set_clock_offset_ms(&self, node: usize, ms: i64) {
        self.0.node(node).clock_offset_ms.store(ms, Ordering::SeqCst);
    }

    // Nodes.

    /// The nodes that have all of a partition.
    pub fn holders_of(&self, pid: u16) -> Vec<usize> {
        self.0.cluster().holders(pid).to_vec()
    }

    /// Kills a node: its port and connections close, the others take its partitions. Those of which it had the last copy
    /// come back empty and available.
    pub fn kill_node(&self, node: usize) {
        self.0.close_node(node);
        self.0.forget_centers(node);
        self.expel(node);
    }

    /// The others go on without the node.
    fn expel(&self, node: usize) {
        // All namespaces are held, so that no query sees the new map with the old records.
        let mut namespaces: Vec<_> = self
            .0
            .namespaces()
            .iter()
            .map(|(_, namespace)| namespace.write().unwrap_or_else(PoisonError::into_inner))
            .collect();
        let manual = self.0.config.manual_migrations;
        let lost = self.0.change_cluster(|cluster| {
            let lost = cluster.remove(node);
            if !manual {
                cluster.migrate(usize::MAX);
            }
            lost
        });
        for namespace in &mut namespaces {
            for pid in &lost {
                namespace.lose_partition(*pid, node);
            }
        }
    }

    /// Stops a node without ending it: its connections stay open and nobody answers on them; the others expel it, and
    /// serve as empty what only it has.
    pub fn pause_node(&self, node: usize) {
        self.0.node(node).paused.store(true, Ordering::SeqCst);
        self.expel(node);
    }

    /// A node answers nothing from here on: its connections stay open, new ones are taken, and to the others it is still
    /// there.
    pub fn silence_node(&self, node: usize) {
        self.0.node(node).paused.store(true, Ordering::SeqCst);
    }

    /// Lets a node that was silenced answer what it was asked.
    pub fn unsilence_node(&self, node: usize) {
        self.0.node(node).paused.store(false, Ordering::SeqCst);
    }

    /// Connections of all nodes that were taken.
    pub fn connections(&self) -> u64 {
        self.0.connections()
    }

    /// Lets a paused node go on: it is back with all that it had.
    pub fn resume_node(&self, node: usize) {
        self.bring_back(node);
        self.0.node(node).paused.store(false, Ordering::SeqCst);
    }

    /// Ends a node and starts it again without the records of which it had the last copy, as one does that keeps them in
    /// memory.
    ///
    /// # Errors
    /// If its port was taken meanwhile.
    pub fn restart_node_empty(&self, node: usize) -> io::Result<()> {
        self.kill_node(node);
        for (_, namespace) in self.0.namespaces() {
            namespace.write().unwrap_or_else(PoisonError::into_inner).forget_lost(node);
        }
        self.revive_node(node)
    }

    /// Closes a node's port and connections and tells nobody: to the others it is still there.
    pub fn cut_node_off(&self, node: usize) {
        self.0.close_node(node);
    }

    /// Starts a new node and takes it into the cluster; returns its number. Its partitions migrate at once, or step by
    /// step with [`Self::migrate`] if the configuration says so.
    ///
    /// # Errors
    /// If its port cannot be opened.
    pub fn add_node(&self) -> io::Result<usize> {
        let node = self.0.node_count();
        self.0.open_node(node)?;
        self.join(node);
        Ok(node)
    }

    /// Starts a killed node again, with the records it took along.
    ///
    /// # Errors
    /// If its port was taken meanwhile.
    pub fn revive_node(&self, node: usize) -> io::Result<()> {
        self.0.reopen_node(node)?;
        self.bring_back(node);
        Ok(())
    }

    fn bring_back(&self, node: usize) {
        for (_, namespace) in self.0.namespaces() {
            namespace.write().unwrap_or_else(PoisonError::into_inner).bring_back(node);
        }
        self.join(node);
    }

    fn join(&self, node: usize) {
        let manual = self.0.config.manual_migrations;
        self.0.change_cluster(|cluster| {
            cluster.add(node);
            if !manual {
                cluster.migrate(usize::MAX);
            }
        });
    }

    /// Completes the migration of up to so many partitions and returns how many are still under way.
    pub fn migrate(&self, partitions: usize) -> usize {
        self.0.change_cluster(|cluster| cluster.migrate(partitions))
    }

    /// The node that answers for a partition.
    pub fn master_of(&self, pid: u16) -> Option<usize> {
        self.0.cluster().partitions[usize::from(pid)].working_master()
    }

    /// Whether the node has joined: until then its partition generation is -1.
    pub fn set_initialised(&self, node: usize, initialised: bool) {
        self.0.node(node).initialised.store(initialised, Ordering::SeqCst);
    }

    // Faults.

    /// Arms a fault.
    pub fn fault(&self, fault: Fault) {
        self.0.faults.arm(fault);
    }

    /// Disarms all faults; what they changed stays.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    /// Faults that still wait.
    pub fn faults_waiting(&self) -> usize {
        self.0.faults.waiting()
    }

    /// Lets everything stalled go on.
    pub fn release(&self) {
        self.0.release();
    }

    /// Makes partitions unavailable on one node, or available again.
    pub fn set_unavailable(&self, node: usize, pids: impl IntoIterator<Item = u16>, unavailable: bool) {
        self.0.set_unavailable(node, pids.into_iter().filter(|pid| *pid < PARTITIONS), unavailable);
    }

    /// Answers an info command with this text, on one node or on all; `None` answers truly again.
    pub fn set_info(&self, node: Option<usize>, command: &str, answer: Option<&str>) {
        let mut overrides = lock(&self.0.info_overrides);
        match answer {
            Some(answer) => overrides.insert((node, command.to_owned()), answer.to_owned()),
            None => overrides.remove(&(node, command.to_owned())),
        };
    }

    /// Ends every session: tokens that were handed out are refused.
    pub fn expire_sessions(&self) {
        self.0.sessions.clear();
    }

    /// Calls a function at every moment of every query. No lock is held, so it may do anything to the cluster.
    pub fn on_query(&self, hook: impl Fn(&Control, &QueryEvent) + Send + Sync + 'static) {
        *lock(&self.0.query_hook) = Some(Arc::new(hook));
    }

    /// What `query-show` says of one query, or of all.
    pub fn queries(&self, node: usize) -> Vec<String> {
        self.0.node(node).jobs.all().iter().map(|job| job.show()).collect()
    }
}
