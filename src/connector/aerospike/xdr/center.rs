//! The data center that XDR ships to, as every node is told of it, and transactions that are held up for a checkpoint.

use super::super::{
    clock::Clocks,
    cluster::{Cluster, Node},
    error::Error,
    facts::NamespaceFacts,
    info,
    options::{AerospikeOptions, ClusterPlace},
    source::{UNNAMED, another_cluster, node_ids},
};
use crate::{
    connector::{ConnectorError, Identity, SourceUrl},
    record::Timestamp,
    report::{ErrorKind, Remedy},
};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What a data center is told.
#[derive(Debug, Clone)]
pub struct CenterOptions {
    /// Its name.
    pub name: String,
    /// Where nodes reach our listener.
    pub address: String,
    /// How far back records are shipped that were there before, from when the cluster was connected to: `None` for none, 0 for
    /// all, else seconds.
    pub rewind: Option<u64>,
    /// Records a second of each node.
    pub max_throughput: Option<u32>,
    /// Ship what came from other clusters too.
    pub forward: bool,
}

/// What is shipped again beyond the time since everything was shipped.
pub const MARGIN_SECONDS: u64 = 60;

/// A node has counted what it has to ship by then; before that it may say that nothing is left although it has not begun.
const COUNTED_AFTER: Duration = Duration::from_secs(3);

/// The longest name of a data center.
const MAX_NAME: usize = 31;

/// How far nodes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The greatest lag of a node, in seconds.
    pub lag: u64,
    /// Partitions whose records of before are still to be shipped, over all nodes.
    pub recoveries_pending: u64,
    /// Nodes that ship.
    pub nodes: usize,
    /// Nodes that did not tell, or have lost the data center.
    pub silent: usize,
    /// Nodes that may not have counted yet what they have to ship.
    pub uncounted: usize,
}

impl Standing {
    /// Whether every node has shipped what was there.
    #[must_use]
    pub const fn is_recovered(&self) -> bool {
        self.nodes > 0 && self.silent == 0 && self.recoveries_pending == 0 && self.uncounted == 0
    }
}

/// A cluster whose changes are captured.
pub struct Center {
    cluster: Cluster,
    namespace: String,
    options: CenterOptions,
    object: String,
    name: String,
    /// The settings of TLS that nodes ship with.
    tls_name: Option<String>,
    connected: Instant,
    nodes: Mutex<Told>,
}

/// What nodes have been told, by id.
#[derive(Default)]
struct Told {
    /// Nodes that have it whole.
    on: BTreeSet<String>,
    /// Nodes on which it was begun and may be half made.
    begun: BTreeSet<String>,
    /// When a node was told of it by us.
    made: BTreeMap<String, Instant>,
    /// What a node had to ship by then it has shipped. Of those that are gone too: they may come again and have forgotten what they
    /// were told.
    shipped_by: BTreeMap<String, Instant>,
}

impl Center {
    /// Finds the cluster and the namespace that a URL names.
    ///
    /// # Errors
    /// [`ConnectorError`].
    pub fn connect(
        url: &SourceUrl,
        reached: &AerospikeOptions,
        options: CenterOptions,
    ) -> Result<Self, ConnectorError> {
        let place = ClusterPlace::parse(url)?;
        let object = format!("aerospike:{}", url.place);
        let usage = |reason: &str| ConnectorError::Usage { object: object.clone(), reason: reason.to_owned() };
        let namespace = place.namespace.ok_or_else(|| usage("changes are captured of one namespace: name it"))?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-$".contains(c);
        if options.name.is_empty() || options.name.len() > MAX_NAME || !options.name.chars().all(is_name) {
            return Err(usage("a data center's name has 1 to 31 letters, digits, or any of `_-$`"));
        }
        if options.max_throughput.is_some_and(|most| !most.is_multiple_of(100)) {
            return Err(usage("a throughput is a multiple of 100 records a second"));
        }
        let cluster = Cluster::connect(&place.seeds, reached).map_err(|error| error.into_connector(&object))?;
        let name = cluster.name();
        let name = if name.is_empty() { UNNAMED.to_owned() } else { name };
        Ok(Self {
            cluster,
            namespace,
            options,
            object,
            name,
            tls_name: None,
            connected: Instant::now(),
            nodes: Mutex::default(),
        })
    }

    /// Has nodes ship under TLS, with the settings that their own configuration has under this name.
    #[must_use]
    pub fn under_tls(self, tls_name: Option<String>) -> Self {
        Self { tls_name, ..self }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose changes they are: the same as a backup of the namespace says.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { connector: "aerospike", name: self.name.clone(), local: false }
    }

    /// What the cluster is waited for, in words, where that takes a while.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        self.cluster.patience().in_words()
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What time it is by the clock of a node that is furthest ahead; by this machine's if none tells.
    #[must_use]
    pub fn now(&self, reached: &AerospikeOptions) -> Timestamp {
        let patience = self.cluster.patience();
        Clocks::default().read(&self.cluster, std::slice::from_ref(&self.namespace), reached, patience).latest
    }

    /// Refuses a name that a data center bears which is not ours. One that ships this namespace to our address goes on, and
    /// one that has our address and ships nothing was broken off while it was made: it is made anew.
    ///
    /// # Errors
    /// [`ConnectorError`].
    pub fn check_name(&self) -> Result<(), ConnectorError> {
        for node in self.cluster.nodes() {
            let Some(config) = self.config(&node)? else { continue };
            let value = |key| info::value_of(&config, ';', key).unwrap_or_default();
            let mut shipped = value("namespaces").split(',').filter(|name| !name.is_empty()).peekable();
            let is_half = shipped.peek().is_none();
            let is_ours = value("node-address-port") == self.options.address;
            if !is_ours || !(is_half || shipped.any(|name| name == self.namespace)) {
                return Err(ConnectorError::Usage {
                    object: self.object.clone(),
                    reason: format!("node {} has a data center `{}` that is not ours", node.id, self.options.name),
                });
            }
            let mut told = self.told();
            let side = if is_half { &mut told.begun } else { &mut told.on };
            side.insert(node.id.clone());
        }
        Ok(())
    }

    /// Refuses a cluster without a name that has none of the nodes that a snapshot was taken of. `is_chosen` says that a person named
    /// the source.
    ///
    /// # Errors
    /// [`ConnectorError`].
    pub fn check_nodes(&self, snapshot: &str, attributes: &Json, is_chosen: bool) -> Result<(), ConnectorError> {
        let theirs = node_ids(attributes);
        let is_here = |id: &String| self.cluster.nodes().iter().any(|node| node.id == *id);
        if self.name != UNNAMED || is_chosen || theirs.is_empty() || theirs.iter().any(is_here) {
            return Ok(());
        }
        Err(another_cluster(&self.object, &snapshot, theirs).with([Remedy::NameSource]))
    }

    /// What a snapshot says of its cluster, as a backup says it.
    pub fn describe(&self, attributes: &mut Json) {
        if !attributes.is_object() {
            *attributes = json!({ "format": 1 });
        }
        let nodes = self.cluster.nodes();
        attributes["cluster_name"] = json!(self.name);
        attributes["nodes"] = nodes.iter().map(|node| json!({ "id": node.id, "build": node.build })).collect();
    }

    /// Whether nodes are told to ship all that is there.
    #[must_use]
    pub fn ships_all(&self) -> bool {
        self.options.rewind == Some(0)
    }

    /// Records in the namespace, those that are over and not yet removed among them; none if nobody tells.
    #[must_use]
    pub fn records(&self) -> Option<u64> {
        NamespaceFacts::read(&self.cluster, &self.namespace).ok().map(|facts| facts.objects)
    }

    /// Whether the data center was there already when its name was checked.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.told().on.is_empty()
    }

    fn config(&self, node: &Node) -> Result<Option<String>, ConnectorError> {
        let command = format!("get-config:context=xdr;dc={}", self.options.name);
        let answers = self.cluster.info(node, &[&command]).map_err(|error| self.failed(error))?;
        let text = answers.text(&command).unwrap_or_default();
        Ok((info::failure(text).is_none() && !text.is_empty()).then(|| text.to_owned()))
    }

    fn failed(&self, error: Error) -> ConnectorError {
        error.into_connector(&self.object)
    }

    /// Makes the data center on every node that has none: also on those that came since. Gives how many those were.
    /// A node that could not be told keeps no other from being told.
    ///
    /// # Errors
    /// [`ConnectorError`] if a node refuses a step; it says which. One that [may pass](Self::may_pass) is worth another try.
    pub fn spread(&self) -> Result<usize, ConnectorError> {
        self.cluster.refresh().map_err(|error| error.into_connector(&self.object))?;
        let nodes = self.cluster.nodes();
        let there: BTreeSet<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
        self.told().on.retain(|id| there.contains(id.as_str()));
        let (mut made, mut first) = (0, Ok(()));
        for node in &nodes {
            if self.told().on.contains(&node.id) {
                continue;
            }
            let done = self.make(node);
            made += usize::from(done.is_ok());
            first = match (first, done) {
                // What will not pass is told before what may.
                (Err(early), Err(late)) if Self::may_pass(&early) => Err(late),
                (first, done) => first.and(done),
            };
        }
        first.map(|()| made)
    }

    /// Whether an error of [`Self::spread`] comes of a node that goes or comes, and not of what was asked for.
    #[must_use]
    pub fn may_pass(error: &ConnectorError) -> bool {
        matches!(error.kind(), ErrorKind::Unreadable | ErrorKind::NotFound)
    }

    /// Makes the data center on a node, anew where it was left half made.
    fn make(&self, node: &Arc<Node>) -> Result<(), ConnectorError> {
        if self.told().begun.contains(&node.id) && self.config(node)?.is_some() {
            self.order(node, &self.removal())?;
        }
        for (step, command) in self.commands(self.rewind(node)).iter().enumerate() {
            let done = self.order(node, command);
            // Whether the first was done is not known where its answer did not come.
            if step == 0 && done.as_ref().map_or_else(Self::may_pass, |()| true) {
                self.told().begun.insert(node.id.clone());
            }
            let Err(error) = done else { continue };
            if step > 0 && !Self::may_pass(&error) {
                if self.config(node)?.is_none() {
                    let reason = format!("node {} was told of the data center and has forgotten it", node.id);
                    return Err(ConnectorError::Unreadable { object: self.object.clone(), reason });
                }
                self.order(node, &self.removal())?;
                self.told().begun.remove(&node.id);
            }
            return Err(error);
        }
        let mut told = self.told();
        told.begun.remove(&node.id);
        told.on.insert(node.id.clone());
        told.made.insert(node.id.clone(), Instant::now());
        Ok(())
    }

    /// How far back a node has to ship by now.
    fn rewind(&self, node: &Node) -> Option<u64> {
        let shipped_by = self.told().shipped_by.get(&node.id).copied();
        rewind(self.options.rewind, self.connected.elapsed(), shipped_by.map(|then| then.elapsed()))
    }

    /// What a node is told, in the order in which it takes it.
    fn commands(&self, rewind: Option<u64>) -> Vec<String> {
        let CenterOptions { name, address, max_throughput, forward, .. } = &self.options;
        let namespace = &self.namespace;
        let mut all = vec![
            format!("set-config:context=xdr;dc={name};action=create"),
            format!("set-config:context=xdr;dc={name};connector=true"),
        ];
        all.extend(self.tls_name.iter().map(|tls| format!("set-config:context=xdr;dc={name};tls-name={tls}")));
        all.push(format!("set-config:context=xdr;dc={name};node-address-port={address};action=add"));
        if let Some(most) = max_throughput {
            all.push(format!("set-config:context=xdr;dc={name};namespace={namespace};max-throughput={most}"));
        }
        let rewind = match rewind {
            None => String::new(),
            Some(0) => ";rewind=all".to_owned(),
            Some(seconds) => format!(";rewind={seconds}"),
        };
        all.push(format!("set-config:context=xdr;dc={name};namespace={namespace};action=add{rewind}"));
        if *forward {
            all.push(format!("set-config:context=xdr;dc={name};namespace={namespace};forward=true"));
        }
        all
    }

    fn order(&self, node: &Arc<Node>, command: &str) -> Result<(), ConnectorError> {
        let answers = self.cluster.info(node, &[command]).map_err(|error| self.failed(error))?;
        let answer = answers.text(command).unwrap_or_default();
        if answer == "ok" {
            return Ok(());
        }
        let reason = format!("node {} answers `{command}` with `{answer}`", node.id);
        Err(ConnectorError::Usage { object: self.object.clone(), reason })
    }

    /// How far all nodes are.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let command = format!("get-stats:context=xdr;dc={};namespace={}", self.options.name, self.namespace);
        let mut standing = Standing::default();
        for node in self.cluster.nodes() {
            let asked = Instant::now();
            let told = self.cluster.info(&node, &[&command]).ok();
            let text = told.as_ref().and_then(|answers| answers.text(&command)).unwrap_or_default();
            let number = |key| info::value_of(text, ';', key).and_then(|value| value.parse::<u64>().ok());
            if let (Some(lag), Some(pending)) = (number("lag"), number("recoveries_pending")) {
                standing.nodes += 1;
                standing.lag = standing.lag.max(lag);
                standing.recoveries_pending = standing.recoveries_pending.saturating_add(pending);
                if pending == 0 && !self.has_counted(&node.id, number("recoveries")) {
                    standing.uncounted += 1;
                    continue;
                }
                // Lag is told in whole seconds.
                let behind = Duration::from_secs(lag.saturating_add(1));
                if let (0, Some(by)) = (pending, asked.checked_sub(behind)) {
                    let mut told = self.told();
                    let shipped_by = told.shipped_by.entry(node.id.clone()).or_insert(by);
                    *shipped_by = by.max(*shipped_by);
                }
                continue;
            }
            standing.silent += 1;
            // It is made there again: a node that restarted has forgotten it.
            if self.config(&node).is_ok_and(|config| config.is_none()) {
                self.told().on.remove(&node.id);
            }
        }
        standing
    }

    /// Whether what a node says of its recoveries is said of all of them: the order to ship is taken before they are counted.
    fn has_counted(&self, id: &str, recoveries: Option<u64>) -> bool {
        let made = self.told().made.get(id).copied();
        self.options.rewind.is_none()
            || recoveries.is_some_and(|recoveries| recoveries > 0)
            || made.is_none_or(|made| made.elapsed() >= COUNTED_AFTER)
    }

    /// Holds up the writes of transactions on every node, or lets them go on. Every node is told, whatever others say.
    ///
    /// # Errors
    /// [`ConnectorError`] of the first node that did not take it.
    pub fn hold_transactions(&self, hold: bool) -> Result<(), ConnectorError> {
        let command = format!("set-config:context=namespace;namespace={};disable-mrt-writes={hold}", self.namespace);
        self.order_all(&command)
    }

    /// Takes the data center away from the nodes on which it is ours, whole or half made.
    ///
    /// # Errors
    /// [`ConnectorError`] of the first node that did not take it.
    pub fn remove(&self) -> Result<(), ConnectorError> {
        let command = self.removal();
        let mut first = Ok(());
        for node in self.cluster.nodes() {
            let (is_on, is_begun) = {
                let told = self.told();
                (told.on.contains(&node.id), told.begun.contains(&node.id))
            };
            if !is_on && !is_begun {
                continue;
            }
            let done = match self.config(&node) {
                Ok(None) => Ok(()),
                Ok(Some(_)) => self.order(&node, &command),
                Err(error) => Err(error),
            };
            if done.is_ok() {
                let mut told = self.told();
                told.on.remove(&node.id);
                told.begun.remove(&node.id);
            }
            first = first.and(done);
        }
        first
    }

    /// Takes the data center of this name away from every node that has one, whosever it is.
    ///
    /// # Errors
    /// [`ConnectorError`] of the first node that did not take it.
    pub fn remove_any(&self) -> Result<(), ConnectorError> {
        let command = self.removal();
        let mut first = Ok(());
        for node in self.cluster.nodes() {
            let done = match self.config(&node) {
                Ok(None) => Ok(()),
                Ok(Some(_)) => self.order(&node, &command),
                Err(error) => Err(error),
            };
            first = first.and(done);
        }
        first
    }

    fn removal(&self) -> String {
        format!("set-config:context=xdr;dc={};action=delete", self.options.name)
    }

    fn order_all(&self, command: &str) -> Result<(), ConnectorError> {
        let mut first = Ok(());
        for node in self.cluster.nodes() {
            let done = self.order(&node, command);
            first = first.and(done);
        }
        first
    }
}

/// How far back a node has to ship: to when it had shipped everything, where that is known, or as far as was `said` when the cluster
/// was connected to.
fn rewind(said: Option<u64>, connected: Duration, shipped: Option<Duration>) -> Option<u64> {
    let whole = |since: Duration| since.as_secs() + 1;
    match (said?, shipped) {
        (_, Some(since)) => Some(whole(since) + MARGIN_SECONDS),
        (0, None) => Some(0),
        (seconds, None) => Some(seconds.saturating_add(whole(connected))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_told_late_ships_from_the_same_moment_on() {
        let (day, minute) = (Duration::from_hours(24), Duration::from_mins(1));
        assert_eq!(rewind(None, day, Some(minute)), None);
        assert_eq!(rewind(Some(0), day, None), Some(0));
        assert_eq!(rewind(Some(100), day, None), Some(100 + 86_401));
        for said in [0, 100] {
            assert_eq!(rewind(Some(said), day, Some(minute)), Some(61 + MARGIN_SECONDS));
        }
    }
}
