//! The server's clock, read from a record: when it was last updated, and how long ago that is, say what time it is there.

use super::{
    cluster::{Cluster, Node},
    error::Error,
    options::AerospikeOptions,
    pace::Pace,
    patience::Patience,
    query::{Ask, Mode, NotAsked, Plan, Sink, Span},
    select::{LAST_UPDATE, SINCE_UPDATE, Selection},
    spare::Buffers,
    stop::Stop,
    wire::{FRAME_HEAD_BYTES, Message, READ, Request, field},
};
use crate::record::{Clock as _, Digest, SystemClock, Timestamp, digest::PARTITIONS};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The operation that reads what an expression gives.
const OP_EXPRESSION: u8 = 7;

const NOT_FOUND: u8 = 2;

/// The nodes' clocks at one moment, as far as they tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) earliest: Timestamp,
    pub(super) latest: Timestamp,
    /// Ids of nodes whose clock is not known.
    pub(super) silent: Vec<String>,
    /// Milliseconds between the clock that is furthest ahead and the one that is furthest behind, as seen from here.
    pub(super) spread_millis: i64,
}

/// Reads clocks, and remembers by which records.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    records: Mutex<BTreeMap<String, (String, Digest)>>,
}

impl Clocks {
    /// What time it is on every node; one that was waited for long enough is not asked.
    pub(super) fn read(
        &self,
        cluster: &Cluster,
        namespaces: &[String],
        options: &AerospikeOptions,
        patience: &Patience,
    ) -> Times {
        let mut known: Vec<(Timestamp, i64)> = Vec::new();
        let mut silent = Vec::new();
        for node in cluster.nodes() {
            let told = if patience.has_given_up(&node.id) {
                None
            } else {
                self.read_node(cluster, &node, namespaces, options, patience)
            };
            match told {
                Some(time) => known.push((time, time.as_millis() - SystemClock.now().as_millis())),
                None => silent.push(node.id.clone()),
            }
        }
        let host = SystemClock.now();
        let spread = |pick: fn(&[i64]) -> Option<i64>| {
            let offsets: Vec<i64> = known.iter().map(|(_, offset)| *offset).collect();
            pick(&offsets).unwrap_or(0)
        };
        let furthest =
            spread(|offsets| offsets.iter().max().copied()) - spread(|offsets| offsets.iter().min().copied());
        Times {
            earliest: known.iter().map(|(time, _)| *time).min().unwrap_or(host),
            latest: known.iter().map(|(time, _)| *time).max().unwrap_or(host),
            silent,
            spread_millis: furthest,
        }
    }

    fn read_node(
        &self,
        cluster: &Cluster,
        node: &Arc<Node>,
        namespaces: &[String],
        options: &AerospikeOptions,
        patience: &Patience,
    ) -> Option<Timestamp> {
        let remembered = self.records.lock().unwrap_or_else(PoisonError::into_inner).get(&node.id).cloned();
        if let Some((namespace, digest)) = remembered
            && let Ok(Some(time)) = ask(cluster, node, &namespace, &digest)
        {
            return Some(time);
        }
        for namespace in namespaces {
            // A record that is deleted before it is asked for is no reason to give up.
            for _ in 0..3 {
                if patience.has_given_up(&node.id) {
                    return None;
                }
                let Some(digest) = any_record(cluster, node, namespace, options, patience) else { break };
                match ask(cluster, node, namespace, &digest) {
                    Ok(Some(time)) => {
                        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
                        records.insert(node.id.clone(), (namespace.clone(), digest));
                        return Some(time);
                    }
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
        None
    }
}

/// Asks for the clock by one record; `None` if that is gone.
fn ask(cluster: &Cluster, node: &Node, namespace: &str, digest: &Digest) -> Result<Option<Timestamp>, Error> {
    let expression = |of: [u8; 2]| [&[0x92][..], &of, &[0]].concat();
    let request = Request::default()
        .field(field::NAMESPACE, namespace.as_bytes())
        .field(field::DIGEST, &digest.0)
        .op(OP_EXPRESSION, b"u", &expression(LAST_UPDATE))
        .op(OP_EXPRESSION, b"s", &expression(SINCE_UPDATE))
        .encode(READ, 0, 1000);
    debug_assert!(request.len() > FRAME_HEAD_BYTES);
    cluster.at_once(node, &mut |connection| {
        connection.send(&request)?;
        let mut body = Vec::new();
        connection.append_messages(&mut body)?;
        let (message, _) = Message::parse(&body).map_err(|error| connection.invalid(error))?;
        match message.result {
            0 => {}
            NOT_FOUND => return Ok(None),
            code => return Err(connection.refused("to tell its clock", code)),
        }
        let (mut updated, mut since) = (None, None);
        for bin in message.bins {
            let bin = bin.map_err(|error| connection.invalid(error))?;
            let value = bin.value.try_into().ok().map(i64::from_be_bytes);
            match bin.name {
                b"u" => updated = value,
                b"s" => since = value,
                _ => {}
            }
        }
        Ok(updated.zip(since).map(|(nanos, millis)| Timestamp::from_millis((nanos / 1_000_000).saturating_add(millis))))
    })
}

/// The digest of some record that the node masters.
fn any_record(
    cluster: &Cluster,
    node: &Arc<Node>,
    namespace: &str,
    options: &AerospikeOptions,
    patience: &Patience,
) -> Option<Digest> {
    let map = cluster.map(namespace);
    let mine = |pid: &u16| map.owner(*pid).is_some_and(|owner| owner.id == node.id);
    let asks: Vec<Ask> = (0..PARTITIONS).filter(mine).map(|pid| Ask { pid, after: None }).collect();
    if asks.is_empty() {
        return None;
    }
    let selection = Selection::everything();
    let plan = Plan {
        cluster,
        namespace,
        selection: &selection,
        options,
        mode: Mode::Meta,
        pace: &Pace::default(),
        patience,
        max_records: 1,
        stop: &Stop::default(),
    };
    let mut first = First::default();
    plan.run(node, &asks, 1, &mut first).ok()?;
    first.digest
}

/// Keeps the first digest.
#[derive(Default)]
struct First {
    digest: Option<Digest>,
    buffers: Buffers,
}

impl Sink for First {
    fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    fn record(&mut self, _: u16, digest: Digest, _: Span) {
        self.digest.get_or_insert(digest);
    }

    fn room(&mut self) -> Result<bool, Error> {
        self.buffers.clear();
        Ok(true)
    }

    fn last(&self, _: u16) -> Result<Option<Digest>, NotAsked> {
        Ok(None)
    }
}
