//! The cluster as its nodes tell of it: who belongs to it, who masters which partition, and what may be asked of a node.

use super::{
    connection::{Connection, Dialer},
    error::Error,
    info::{self, Answers, Mastered, Peer},
    login::Credential,
    membership::{Membership, NodeView, started_millis},
    options::{Address, AerospikeOptions, Auth, DEFAULT_PORT, Seed},
    patience::{Obstacle, Patience},
    tls::{Tls, TlsName},
};
use crate::{record::digest::PARTITIONS, report::Remedy};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::{SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// Idle connections kept for each node.
const MAX_IDLE: usize = 16;

/// The most nodes that are believed.
const MAX_NODES: usize = 1024;

/// Who is who is told at once, or not at all: nobody waits longer for it.
const INQUIRY_TIMEOUT: Duration = Duration::from_secs(3);

/// What was found out a moment ago is not asked again.
const FRESH: Duration = Duration::from_millis(100);

/// A node that answers.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) build: String,
    address: Address,
    /// The name that its certificate bears.
    tls_name: Option<TlsName>,
    idle: Mutex<Vec<Connection>>,
}

impl Node {
    /// Where it is reached.
    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// Whether a person means it by this: its id, or an address of it.
    pub(super) fn is_called(&self, name: &str) -> bool {
        if self.id.eq_ignore_ascii_case(name) {
            return true;
        }
        let Some(named) = Address::parse(name, DEFAULT_PORT) else { return false };
        let resolved = |address: &Address| -> Vec<SocketAddr> {
            (address.host.as_str(), address.port).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
        };
        named == self.address || {
            let own = resolved(&self.address);
            named.port == self.address.port && resolved(&named).iter().any(|one| own.contains(one))
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who masters which partition of a namespace.
#[derive(Debug, Clone, Default)]
pub(super) struct PartitionMap {
    owners: Vec<Option<Arc<Node>>>,
    /// Whom to read from instead, where a rack is preferred.
    readers: Vec<Option<Arc<Node>>>,
    /// Copies of each partition.
    pub(super) replicas: u32,
}

impl PartitionMap {
    /// Who masters this partition.
    pub(super) fn owner(&self, pid: u16) -> Option<&Arc<Node>> {
        self.owners.get(usize::from(pid)).and_then(Option::as_ref)
    }

    /// Whom to read this partition from: a copy in a rack that is preferred, else the master.
    pub(super) fn reader(&self, pid: u16) -> Option<&Arc<Node>> {
        self.readers.get(usize::from(pid)).and_then(Option::as_ref).or_else(|| self.owner(pid))
    }
}

/// The racks that a node stands in, by namespace.
pub(super) type Racks = HashMap<String, u32>;

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Arc<Node>>,
    maps: HashMap<String, Arc<PartitionMap>>,
    /// Nodes that others name and that do not answer, with the reason.
    silent: BTreeMap<String, String>,
    /// Addresses that were given and where nobody answers, with the reason.
    silent_seeds: BTreeMap<Address, String>,
    name: String,
    /// By node, where they were asked for and told.
    racks: BTreeMap<String, Racks>,
}

/// A cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    seeds: Vec<Seed>,
    prefer_racks: Vec<u32>,
    asks_for_racks: bool,
    dialer: Dialer,
    max_retries: u32,
    peers_command: &'static str,
    state: RwLock<State>,
    refreshed: Mutex<Option<Instant>>,
    /// What all that ask it wait for.
    patience: Arc<Patience>,
}

impl Cluster {
    /// Finds the nodes from some of their addresses.
    pub(super) fn connect(seeds: &[Seed], options: &AerospikeOptions) -> Result<Self, Error> {
        let credential = credential(options)?;
        let tls = options.tls.as_ref().map(Tls::new).transpose()?;
        let peers_command = match (tls.is_some(), options.services_alternate) {
            (false, false) => "peers-clear-std",
            (false, true) => "peers-clear-alt",
            (true, false) => "peers-tls-std",
            (true, true) => "peers-tls-alt",
        };
        let cluster = Self {
            seeds: seeds.to_vec(),
            prefer_racks: options.prefer_racks.clone(),
            asks_for_racks: options.asks_for_racks(),
            dialer: Dialer { tls, credential, sessions: Arc::default(), timeout: options.socket_timeout },
            max_retries: options.max_retries,
            peers_command,
            state: RwLock::default(),
            refreshed: Mutex::default(),
            patience: Arc::new(Patience::new(options.partition_timeout)),
        };
        let (mut tries, began) = (0, Instant::now());
        while let Err(error) = cluster.refresh() {
            // Where nobody listens nobody will a moment later.
            let nobody = matches!(&error, Error::Io { operation: "connect to", .. });
            let is_over = began.elapsed() >= cluster.patience.timeout();
            if nobody || is_over || !error.is_transient() || tries >= cluster.max_retries {
                return Err(error);
            }
            pause_before_retry(tries);
            tries += 1;
        }
        Ok(cluster)
    }

    /// Asks all nodes anew who there is and who masters what, if nobody did so a moment ago.
    pub(super) fn refresh_soon(&self) -> Result<(), Error> {
        let mut last = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < FRESH) {
            return Ok(());
        }
        let refreshed = self.refresh();
        *last = Some(Instant::now());
        refreshed
    }

    /// Asks all nodes anew who there is and who masters what.
    pub(super) fn refresh(&self) -> Result<(), Error> {
        let known = self.nodes();
        let mut found =
            Discovery { cluster: self, known, state: State::default(), failures: Vec::new(), silent: HashMap::new() };
        found.run();
        if found.state.nodes.is_empty() {
            return Err(found.failures.pop().unwrap_or_else(|| Error::NoNode("no address was given".to_owned())));
        }
        self.patience.asks(found.state.nodes.iter().map(|node| node.id.clone()).collect());
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = found.state;
        Ok(())
    }

    /// What is waited for.
    pub(super) const fn patience(&self) -> &Arc<Patience> {
        &self.patience
    }

    /// The nodes that answered last.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).nodes.clone()
    }

    /// Nodes that others know and that do not answer: id and reason.
    pub(super) fn silent(&self) -> Vec<(String, String)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.silent.iter().map(|(id, reason)| (id.clone(), reason.clone())).collect()
    }

    /// Addresses that were given and where nobody answers, with the reason.
    pub(super) fn silent_seeds(&self) -> Vec<(String, String)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.silent_seeds.iter().map(|(seed, reason)| (seed.to_string(), reason.clone())).collect()
    }

    /// The cluster's name, `null` if it has none.
    pub(super) fn name(&self) -> String {
        self.state.read().unwrap_or_else(PoisonError::into_inner).name.clone()
    }

    /// Who masters the partitions of a namespace.
    pub(super) fn map(&self, namespace: &str) -> Arc<PartitionMap> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.maps.get(namespace).cloned().unwrap_or_default()
    }

    /// A connection to a node for records: an idle one, or a new one. `true` says that it was idle and may have been closed.
    pub(super) fn connection(&self, node: &Node) -> Result<(Connection, bool), Error> {
        self.connection_within(node, self.patience.for_records(&node.id, self.dialer.timeout))
    }

    fn connection_within(&self, node: &Node, timeout: Duration) -> Result<(Connection, bool), Error> {
        let idle = node.idle().pop();
        if let Some(idle) = idle {
            idle.set_timeout(timeout)?;
            return Ok((idle, true));
        }
        Ok((self.dialer.connect_within(timeout, &node.address, node.tls_name.as_ref())?, false))
    }

    /// Where its nodes are, for somebody else: host, port, and the name of the certificate under TLS.
    pub(super) fn hosts(&self, options: &AerospikeOptions) -> Vec<(String, u16, Option<String>)> {
        let of_all = options.tls.as_ref().map(|tls| tls.name.clone());
        let host = |node: &Arc<Node>| {
            let tls_name = of_all.as_ref().map(|name| match (&node.tls_name, name) {
                (Some(TlsName::Typed(name)), _) | (_, Some(name)) | (Some(TlsName::Told(name)), None) => name.clone(),
                (None, None) => node.address.host.clone(),
            });
            (node.address.host.clone(), node.address.port, tls_name)
        };
        self.nodes().iter().map(host).collect()
    }

    /// The racks that a node stands in, if it told.
    pub(super) fn racks(&self, node: &str) -> Option<Racks> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).racks.get(node).cloned()
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn give_back(node: &Node, connection: Connection) {
        let mut idle = node.idle();
        if connection.is_sound() && idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    /// Asks a node, again if a connection breaks.
    pub(super) fn info(&self, node: &Node, commands: &[&str]) -> Result<Answers, Error> {
        self.with_connection(node, &mut |connection| connection.info(commands))
    }

    /// Does what can be done again on a connection, again if it breaks.
    pub(super) fn with_connection<T>(
        &self,
        node: &Node,
        act: &mut dyn FnMut(&mut Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.with_tries(node, Some(self.max_retries), self.dialer.timeout, act)
    }

    /// As [`Self::with_connection`], at once or not at all.
    pub(super) fn at_once<T>(
        &self,
        node: &Node,
        act: &mut dyn FnMut(&mut Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.with_tries(node, None, self.inquiry_timeout(), act)
    }

    fn inquiry_timeout(&self) -> Duration {
        match self.dialer.timeout {
            Duration::ZERO => INQUIRY_TIMEOUT,
            timeout => timeout.min(INQUIRY_TIMEOUT),
        }
    }

    /// Without a number of retries: at once, and not at all where the node was waited for in vain already.
    fn with_tries<T>(
        &self,
        node: &Node,
        max_retries: Option<u32>,
        timeout: Duration,
        act: &mut dyn FnMut(&mut Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let obstacle = Obstacle::Telling(node.id.clone());
        let mut tries = 0;
        loop {
            let given_up = self.patience.tells_no_more(&node.id);
            if let (Some(reason), None) = (&given_up, max_retries) {
                // It is found again by whoever looks who is there.
                return Err(Error::GivenUp(reason.clone()));
            }
            let asking = self.patience.asking(obstacle.clone());
            let within = self.patience.for_telling(&node.id, timeout);
            let (outcome, was_idle) = match self.connection_within(node, within) {
                Ok((mut connection, was_idle)) => match act(&mut connection) {
                    Ok(done) => {
                        self.patience.passed(&obstacle);
                        Self::give_back(node, connection);
                        return Ok(done);
                    }
                    Err(error) => (error, was_idle),
                },
                Err(error) => (error, false),
            };
            // An idle connection that the other side closed says nothing of it; one on which nothing came does.
            let was_closed = was_idle && !outcome.is_timeout();
            if outcome.is_timeout() {
                asking.failed(&outcome.to_string());
            }
            drop(asking);
            // What has to be said to it is tried once all the same.
            let most = if self.patience.tells_no_more(&node.id).is_some() { 0 } else { max_retries.unwrap_or(0) };
            if !outcome.is_transient() || (!was_closed && tries >= most) {
                return Err(outcome);
            }
            if !was_closed {
                pause_before_retry(tries);
                tries += 1;
            }
        }
    }

    /// Who is in the cluster now, as each node sees it.
    pub(super) fn membership(&self) -> Result<Membership, Error> {
        let mut nodes = BTreeMap::new();
        for node in self.nodes() {
            let answers = self.at_once(&node, &mut |connection| connection.info(&["node", "statistics"]))?;
            let statistics = answers.text("statistics").unwrap_or_default();
            let value = |key| info::value_of(statistics, ';', key).unwrap_or_default().to_owned();
            let uptime = info::value_of(statistics, ';', "uptime").and_then(|text| text.parse::<u32>().ok());
            let view = NodeView {
                cluster_key: value("cluster_key"),
                cluster_size: value("cluster_size"),
                started_millis: uptime.map(|seconds| started_millis(seconds.into())),
            };
            nodes.insert(answers.text("node").unwrap_or(&node.id).to_owned(), view);
        }
        Ok(Membership { nodes, silent: self.silent().len() })
    }
}

/// Who logs in, and how, as the options say.
fn credential(options: &AerospikeOptions) -> Result<Option<Credential>, Error> {
    let usage = |reason: &str| Error::Usage(reason.to_owned());
    if options.auth == Auth::Pki {
        let has_certificate = options.tls.as_ref().is_some_and(|tls| tls.cert_file.is_some());
        return match (&options.user, &options.password) {
            _ if !has_certificate => Err(usage("a login by certificate needs one").with(Remedy::GiveCertificateAndKey)),
            (None, None) => Ok(Some(Credential::by_certificate())),
            _ => Err(usage("in a login by certificate the certificate says who logs in: no user or password is given")),
        };
    }
    let (user, password) = match (&options.user, &options.password) {
        (None, None) if options.auth == Auth::Internal => return Ok(None),
        (Some(user), Some(password)) => (user, password),
        (Some(_), None) => return Err(usage("a user needs a password").with(Remedy::GivePassword)),
        (None, _) => return Err(usage("a password needs a user").with(Remedy::GiveUser)),
    };
    if options.auth == Auth::External && options.tls.is_none() {
        return Err(usage("an external login sends the password itself, and without TLS anybody may read it")
            .with(Remedy::SecureLogin));
    }
    let made = match options.auth {
        Auth::Internal => Credential::new(user, password),
        _ => Credential::external(user, password),
    };
    made.map(Some).map_err(|reason| Error::Usage(format!("user {user}: {reason}")))
}

fn pause_before_retry(tries: u32) {
    std::thread::sleep(Duration::from_millis(50 << tries.min(5)));
}

/// What a node tells of others and of itself.
struct Told {
    name: String,
    peers: Vec<Peer>,
    mastered: Vec<Mastered>,
    racks: Option<Racks>,
}

/// A node to be asked: its id if that is known, the name of its certificate if that is, where it may be.
type Lead = (Option<String>, Option<TlsName>, Vec<Address>);

struct Discovery<'a> {
    cluster: &'a Cluster,
    known: Vec<Arc<Node>>,
    state: State,
    failures: Vec<Error>,
    /// Addresses where nobody answered, and why.
    silent: HashMap<Address, String>,
}

impl Discovery<'_> {
    fn run(&mut self) {
        let mut masters: Vec<(usize, Vec<Mastered>)> = Vec::new();
        let mut queue: VecDeque<Lead> =
            self.known.iter().map(|node| (None, node.tls_name.clone(), vec![node.address.clone()])).collect();
        queue.extend(self.cluster.seeds.iter().map(|seed| {
            let typed = seed.tls_name.clone().map(TlsName::Typed);
            (None, typed, vec![seed.address.clone()])
        }));
        while let Some((expected, tls_name, addresses)) = queue.pop_front() {
            let is_known = |id: &String| self.state.nodes.iter().any(|node| node.id == *id);
            if expected.as_ref().is_some_and(is_known) || self.state.nodes.len() >= MAX_NODES {
                continue;
            }
            let told = match self.visit(expected.as_deref(), tls_name.as_ref(), &addresses) {
                Ok(Some(told)) => told,
                Ok(None) => continue,
                Err(error) => {
                    if let Some(id) = expected {
                        self.state.silent.insert(id, error.to_string());
                    } else {
                        let is_seed = |address: &&Address| self.cluster.seeds.iter().any(|s| s.address == **address);
                        let seeds = addresses.iter().filter(is_seed);
                        self.state.silent_seeds.extend(seeds.map(|seed| (seed.clone(), error.to_string())));
                    }
                    self.failures.push(error);
                    continue;
                }
            };
            masters.push((self.state.nodes.len() - 1, told.mastered));
            queue.extend(told.peers.into_iter().map(|peer| {
                let tls_name = Some(peer.tls_name).filter(|name| !name.is_empty()).map(TlsName::Told);
                (Some(peer.id), tls_name, peer.addresses)
            }));
        }
        let nodes = &self.state.nodes;
        self.state.silent.retain(|id, _| !nodes.iter().any(|node| node.id == *id));
        self.state.maps = build_maps(nodes, &masters, &self.state.racks, &self.cluster.prefer_racks);
    }

    /// Asks the node at one of these addresses; `None` if it is known already.
    fn visit(
        &mut self,
        expected: Option<&str>,
        tls_name: Option<&TlsName>,
        addresses: &[Address],
    ) -> Result<Option<Told>, Error> {
        let mut last = Error::NoNode(format!("{} has no address", expected.unwrap_or("a node")));
        for address in addresses {
            if let Some(reason) = self.silent.get(address) {
                last = Error::NoNode(reason.clone());
                continue;
            }
            match self.ask(expected, address, tls_name) {
                Ok((node, _)) if expected.is_some_and(|id| id != node.id) => {
                    last =
                        Error::NoNode(format!("{address} is node {}, not {}", node.id, expected.unwrap_or_default()));
                }
                Ok((node, mut told)) => {
                    if self.state.nodes.iter().any(|known| known.id == node.id) {
                        return Ok(None);
                    }
                    if self.state.name.is_empty() {
                        self.state.name = std::mem::take(&mut told.name);
                    }
                    if let Some(racks) = told.racks.take() {
                        self.state.racks.insert(node.id.clone(), racks);
                    }
                    self.state.nodes.push(node);
                    return Ok(Some(told));
                }
                Err(error) => {
                    self.silent.insert(address.clone(), error.to_string());
                    last = error;
                }
            }
        }
        Err(last)
    }

    fn ask(
        &self,
        expected: Option<&str>,
        address: &Address,
        tls_name: Option<&TlsName>,
    ) -> Result<(Arc<Node>, Told), Error> {
        let peers_command = self.cluster.peers_command;
        let commands = ["node", "build", "cluster-name", "partition-generation", peers_command, "replicas"];
        let known = self.known.iter().find(|node| node.address == *address);
        let patience = &self.cluster.patience;
        let mut timeout = self.cluster.inquiry_timeout();
        let expected = known.map(|node| node.id.as_str()).or(expected);
        let _asking = match expected {
            Some(id) => {
                timeout = patience.for_telling(id, timeout);
                patience.asking(Obstacle::Telling(id.to_owned()))
            }
            None => patience.asking(Obstacle::Address(address.to_string())),
        };
        let (mut connection, answers) = match known.and_then(|node| node.idle().pop()) {
            // An idle connection may have been closed by the other side meanwhile.
            Some(mut idle) => {
                let asked = idle.set_timeout(timeout).and_then(|()| idle.info(&commands));
                match asked {
                    Ok(answers) => (idle, answers),
                    Err(error) if error.is_timeout() => return Err(error),
                    Err(_) => self.ask_anew(timeout, address, tls_name, &commands)?,
                }
            }
            None => self.ask_anew(timeout, address, tls_name, &commands)?,
        };
        let refuse = |command: &str, answers: &Answers| Error::Info {
            node: address.to_string(),
            command: command.to_owned(),
            answer: answers.bytes(command).map_or_else(
                || "no answer".to_owned(),
                |answer| String::from_utf8_lossy(answer).chars().take(200).collect(),
            ),
        };
        let text = |command: &str| {
            let text = answers.text(command).filter(|text| info::failure(text).is_none());
            text.ok_or_else(|| refuse(command, &answers))
        };
        let id = text("node")?.to_owned();
        if text("partition-generation")? == "-1" {
            return Err(Error::NoNode(format!("{address} is not ready: it has no partitions yet")));
        }
        let peers = info::parse_peers(text(peers_command)?).ok_or_else(|| refuse(peers_command, &answers))?;
        let mut replicas = answers.clone();
        if text("replicas").is_err() {
            replicas = connection.info(&["replicas"])?;
        }
        let mastered = replicas.text("replicas").and_then(info::parse_replicas);
        let mastered = mastered.ok_or_else(|| refuse("replicas", &answers))?;
        let build = answers.text("build").unwrap_or_default().to_owned();
        let name = answers.text("cluster-name").filter(|name| info::failure(name).is_none()).unwrap_or("null");
        let racks = if self.cluster.asks_for_racks { racks(&mut connection)? } else { None };
        let node = if let Some(node) = known.filter(|node| node.id == id && node.build == build) {
            Arc::clone(node)
        } else {
            let tls_name = tls_name.cloned();
            Arc::new(Node { id, build, address: address.clone(), tls_name, idle: Mutex::default() })
        };
        let told = Told { name: name.to_owned(), peers, mastered, racks };
        patience.passed(&Obstacle::Telling(node.id.clone()));
        Cluster::give_back(&node, connection);
        Ok((node, told))
    }

    fn ask_anew(
        &self,
        timeout: Duration,
        address: &Address,
        tls_name: Option<&TlsName>,
        commands: &[&str],
    ) -> Result<(Connection, Answers), Error> {
        let mut connection = self.cluster.dialer.connect_within(timeout, address, tls_name)?;
        let answers = connection.info(commands)?;
        Ok((connection, answers))
    }
}

/// The racks that a node stands in, if it knows of racks.
fn racks(connection: &mut Connection) -> Result<Option<Racks>, Error> {
    let answers = connection.info(&["rack-ids"])?;
    Ok(answers.text("rack-ids").and_then(info::parse_racks).map(|racks| racks.into_iter().collect()))
}

/// Two nodes may claim a partition while it moves: the newer regime counts, then the one that was asked first.
fn build_maps(
    nodes: &[Arc<Node>],
    masters: &[(usize, Vec<Mastered>)],
    racks: &BTreeMap<String, Racks>,
    prefer_racks: &[u32],
) -> HashMap<String, Arc<PartitionMap>> {
    let mut maps: HashMap<String, (PartitionMap, Vec<u64>)> = HashMap::new();
    for (node, mastered) in masters {
        for claim in mastered {
            let (map, regimes) = maps.entry(claim.namespace.clone()).or_default();
            map.owners.resize(usize::from(PARTITIONS), None);
            regimes.resize(usize::from(PARTITIONS), 0);
            map.replicas = map.replicas.max(claim.replicas);
            for pid in (0..PARTITIONS).filter(|pid| claim.has(*pid)) {
                let at = usize::from(pid);
                if map.owners[at].is_none() || regimes[at] < claim.regime {
                    map.owners[at] = nodes.get(*node).cloned();
                    regimes[at] = claim.regime;
                }
            }
        }
    }
    for (name, (map, _)) in maps.iter_mut().filter(|_| !prefer_racks.is_empty()) {
        let rack_of = |node: &Arc<Node>| racks.get(&node.id)?.get(name).copied();
        map.readers.resize(usize::from(PARTITIONS), None);
        // The master first, then the copies by rank.
        let mut holders: Vec<Vec<(usize, &Arc<Node>)>> = vec![Vec::new(); usize::from(PARTITIONS)];
        for (node, mastered) in masters {
            let (Some(node), Some(claim)) = (nodes.get(*node), mastered.iter().find(|claim| claim.namespace == *name))
            else {
                continue;
            };
            for pid in 0..PARTITIONS {
                let is_owner = map.owner(pid).is_some_and(|owner| owner.id == node.id);
                let rank = if is_owner { Some(0) } else { claim.has_copy(pid) };
                holders[usize::from(pid)].extend(rank.map(|rank| (rank, node)));
            }
        }
        for (holders, reader) in holders.iter_mut().zip(&mut map.readers) {
            holders.sort_by_key(|(rank, _)| *rank);
            let of_rack = |rack: &u32| holders.iter().find(|(_, node)| rack_of(node) == Some(*rack));
            *reader = prefer_racks.iter().find_map(of_rack).map(|(_, node)| Arc::clone(node));
        }
    }
    maps.into_iter().map(|(name, (map, _))| (name, Arc::new(map))).collect()
}
