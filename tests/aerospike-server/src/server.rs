//! The state that all nodes share, and one node's listener.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::connection;
pub(crate) use crate::connection::Connection;
use crate::fault::Faults;
use crate::jobs::{Job, Jobs};
use crate::security::Sessions;
use crate::store::Namespace;

/// A moment of a query, told to the hook of [`crate::Control::on_query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryEvent {
    /// The query's id.
    pub trid: u64,
    /// The node that answers it.
    pub node: usize,
    /// The namespace.
    pub namespace: String,
    /// What happened.
    pub moment: QueryMoment,
}

/// What happened to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryMoment {
    /// It begins; no record was read yet.
    Begun,
    /// A message was sent; so many records so far.
    Sent(u64),
    /// All its records were sent; its end was not.
    Ended,
}

impl QueryEvent {
    fn new(job: &Job, node: usize, moment: QueryMoment) -> Self {
        Self { trid: job.trid, node, namespace: job.namespace.clone(), moment }
    }

    pub(crate) fn begun(job: &Job, node: usize) -> Self {
        Self::new(job, node, QueryMoment::Begun)
    }

    pub(crate) fn sent(job: &Job, node: usize, records: u64) -> Self {
        Self::new(job, node, QueryMoment::Sent(records))
    }

    pub(crate) fn ended(job: &Job, node: usize) -> Self {
        Self::new(job, node, QueryMoment::Ended)
    }
}

/// The hook of queries.
pub(crate) type QueryHook = Arc<dyn Fn(&crate::Control, &QueryEvent) + Send + Sync>;

/// Seconds that a node has been up when a test begins.
const UP_BEFORE_SECONDS: u64 = 2402;

/// How often a paused node looks whether it goes on.
const PAUSE_STEP: Duration = Duration::from_millis(2);

/// One node.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    pub(crate) alive: AtomicBool,
    /// True while nothing is answered: connections stay open, and new ones are taken.
    pub(crate) paused: AtomicBool,
    started: Mutex<Instant>,
    /// Seconds that it had been up when it was first asked for.
    up_before: AtomicU64,
    /// False until the node has joined: it answers, with partition generation -1.
    pub(crate) initialised: AtomicBool,
    pub(crate) clock_offset_ms: AtomicI64,
    pub(crate) jobs: Jobs,
    listener: Mutex<Option<JoinHandle<()>>>,
    connections: Mutex<HashMap<u64, TcpStream>>,
}

impl Node {
    /// Seconds since it started.
    pub(crate) fn uptime(&self) -> u64 {
        self.up_before.load(Ordering::SeqCst) + lock(&self.started).elapsed().as_secs()
    }

    /// Waits while it is paused.
    pub(crate) fn wait_while_paused(&self) {
        while self.paused.load(Ordering::SeqCst) && self.alive.load(Ordering::SeqCst) {
            std::thread::sleep(PAUSE_STEP);
        }
    }
}

/// Everything the nodes share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    cluster: RwLock<Arc<Cluster>>,
    pub(crate) faults: Faults,
    pub(crate) sessions: Sessions,
    pub(crate) udfs: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Info answers a test put in place of the real ones, by node and command name.
    pub(crate) info_overrides: Mutex<HashMap<(Option<usize>, String), String>>,
    pub(crate) query_hook: Mutex<Option<QueryHook>>,
    pub(crate) xdr: crate::xdr::Xdr,
    /// Requests seen, by connection, for tests that count them.
    pub(crate) requests: AtomicU64,
    unavailable: RwLock<HashSet<(usize, u16)>>,
    namespaces: Vec<(String, RwLock<Namespace>)>,
    nodes: RwLock<Vec<Arc<Node>>>,
    releases: AtomicU64,
    next_connection: AtomicU64,
}

impl Shared {
    pub(crate) fn start(config: Config) -> io::Result<Arc<Self>> {
        let namespaces = config.namespaces.iter();
        let mut cluster = Cluster::new(config.nodes, config.replication_factor, &config.racks);
        cluster.key = config.cluster_key.unwrap_or(cluster.key);
        let shared = Arc::new(Self {
            clock: Clock::new(config.clock),
            cluster: RwLock::new(Arc::new(cluster)),
            faults: Faults::default(),
            sessions: Sessions::default(),
            udfs: Mutex::default(),
            info_overrides: Mutex::default(),
            query_hook: Mutex::default(),
            xdr: crate::xdr::Xdr::default(),
            requests: AtomicU64::new(0),
            unavailable: RwLock::default(),
            namespaces: namespaces
                .map(|ns| {
                    let mut namespace = Namespace::new(ns.clone());
                    namespace.enterprise = config.enterprise;
                    (ns.name.clone(), RwLock::new(namespace))
                })
                .collect(),
            nodes: RwLock::default(),
            releases: AtomicU64::new(0),
            next_connection: AtomicU64::new(0),
            config,
        });
        for index in 0..shared.config.nodes {
            shared.open_node(index)?;
        }
        Ok(shared)
    }

    /// Opens the next node's port. It takes connections at once; whether it is in the cluster is another matter.
    pub(crate) fn open_node(self: &Arc<Self>, index: usize) -> io::Result<()> {
        let port = self.config.port.map_or(0, |port| port + index as u16);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let id = self.config.node_ids.get(index).cloned().unwrap_or_else(|| format!("BB9{:012X}", index + 1));
        let node = Arc::new(Node {
            id,
            address: listener.local_addr()?,
            alive: AtomicBool::new(true),
            paused: AtomicBool::new(false),
            started: Mutex::new(Instant::now()),
            up_before: AtomicU64::new(UP_BEFORE_SECONDS),
            initialised: AtomicBool::new(true),
            clock_offset_ms: AtomicI64::new(0),
            jobs: Jobs::default(),
            listener: Mutex::new(None),
            connections: Mutex::default(),
        });
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&node));
        self.listen(index, &node, listener);
        Ok(())
    }

    /// Opens the port of a node that was killed.
    pub(crate) fn reopen_node(self: &Arc<Self>, index: usize) -> io::Result<()> {
        let node = self.node(index);
        let listener = TcpListener::bind(node.address)?;
        node.alive.store(true, Ordering::SeqCst);
        *lock(&node.started) = Instant::now();
        node.up_before.store(0, Ordering::SeqCst);
        self.listen(index, &node, listener);
        Ok(())
    }

    fn listen(self: &Arc<Self>, index: usize, node: &Arc<Node>, listener: TcpListener) {
        let (shared, own) = (Arc::clone(self), Arc::clone(node));
        let thread = std::thread::spawn(move || {
            loop {
                let accepted = listener.accept();
                if !own.alive.load(Ordering::SeqCst) {
                    break;
                }
                // A client that left before it was taken is no reason to close the port.
                let Ok((stream, _)) = accepted else { continue };
                let number = shared.next_connection.fetch_add(1, Ordering::SeqCst);
                let Ok(copy) = stream.try_clone() else { continue };
                lock(&own.connections).insert(number, copy);
                let (shared, own) = (Arc::clone(&shared), Arc::clone(&own));
                std::thread::spawn(move || {
                    // A broken connection concerns only its client.
                    let _ = connection::serve(&shared, index, stream);
                    if let Some(stream) = lock(&own.connections).remove(&number) {
                        let _ = stream.shutdown(std::net::Shutdown::Both);
                    }
                });
            }
        });
        *lock(&node.listener) = Some(thread);
    }

    /// Closes a node's port and connections.
    pub(crate) fn close_node(&self, index: usize) {
        let node = self.node(index);
        if !node.alive.swap(false, Ordering::SeqCst) {
            return;
        }
        // The listener waits in accept; a connection wakes it.
        let _ = TcpStream::connect(node.address);
        if let Some(thread) = lock(&node.listener).take() {
            let _ = thread.join();
        }
        for stream in lock(&node.connections).values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    pub(crate) fn node(&self, index: usize) -> Arc<Node> {
        Arc::clone(&self.nodes.read().unwrap_or_else(PoisonError::into_inner)[index])
    }

    pub(crate) fn node_count(&self) -> usize {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn namespace(&self, name: &[u8]) -> Option<&RwLock<Namespace>> {
        self.namespaces.iter().find(|(have, _)| have.as_bytes() == name).map(|(_, namespace)| namespace)
    }

    pub(crate) fn namespaces(&self) -> &[(String, RwLock<Namespace>)] {
        &self.namespaces
    }

    /// Now by a node's clock, in milliseconds since 2010.
    pub(crate) fn now_ms(&self, node: usize) -> i64 {
        self.clock.now_ms() + self.node(node).clock_offset_ms.load(Ordering::SeqCst)
    }

    pub(crate) fn is_alive(&self, node: usize) -> bool {
        self.node(node).alive.load(Ordering::SeqCst)
    }

    /// Whether a fault made the partition unavailable on the node.
    pub(crate) fn is_unavailable(&self, node: usize, pid: u16) -> bool {
        self.unavailable.read().unwrap_or_else(PoisonError::into_inner).contains(&(node, pid))
    }

    pub(crate) fn set_unavailable(&self, node: usize, pids: impl IntoIterator<Item = u16>, unavailable: bool) {
        let mut set = self.unavailable.write().unwrap_or_else(PoisonError::into_inner);
        for pid in pids {
            if unavailable {
                set.insert((node, pid));
            } else {
                set.remove(&(node, pid));
            }
        }
    }

    /// Whether the node answers queries on the partition.
    pub(crate) fn serves(&self, node: usize, pid: u16) -> bool {
        !self.is_unavailable(node, pid) && self.cluster().is_full(node, pid)
    }

    /// The cluster as it is now. Nobody holds its lock longer than this takes, so it may be asked for under any other.
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the cluster.
    pub(crate) fn change_cluster<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        change(Arc::make_mut(&mut self.cluster.write().unwrap_or_else(PoisonError::into_inner)))
    }

    /// How many connections were taken.
    pub(crate) fn connections(&self) -> u64 {
        self.next_connection.load(Ordering::SeqCst)
    }

    /// How often stalled answers were released.
    pub(crate) fn releases(&self) -> u64 {
        self.releases.load(Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.releases.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn tell_query(self: &Arc<Self>, event: &QueryEvent) {
        let hook = lock(&self.query_hook).clone();
        if let Some(hook) = hook {
            hook(&crate::Control::of(self), event);
        }
    }
}

/// A lock, whatever a panicking test left behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
