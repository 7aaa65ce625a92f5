//! Whether what comes finds room, by bounds that are sure: values and digests for storage, 64 bytes a record for the index.

use super::{Findings, settings::NodeSettings};
use crate::{
    connector::{
        CollectionSurvey,
        aerospike::{cluster::Cluster, error::Error, info::value_of},
    },
    report::Remedy,
};

/// What the primary index takes of a record.
const INDEX_BYTES: u64 = 64;

/// What a stored record takes beside its bins, at least: its digest.
const RECORD_BYTES: u64 = 20;

/// Room of one kind, over all nodes.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// What an empty namespace has.
    all: u64,
    /// What is not used.
    free: u64,
}

pub(super) fn check(
    cluster: &Cluster,
    nodes: &[NodeSettings],
    namespace: &str,
    survey: &CollectionSurvey,
    forced: bool,
    findings: &mut Findings,
) -> Result<(), Error> {
    let copies =
        nodes.iter().filter_map(|node| node.number(&["effective_replication_factor", "replication-factor"])).max();
    let copies = copies.unwrap_or(1).max(1);
    let bytes = (survey.value_bytes + RECORD_BYTES * survey.records) * copies;
    let index = INDEX_BYTES * survey.records * copies;
    let compresses = |node: &NodeSettings| {
        node.word(&["storage-engine.compression", "compression"]).is_some_and(|word| word != "none")
    };
    let may_shrink = nodes.iter().any(compresses);
    if let Some(room) = room(nodes, storage) {
        compare("storage", namespace, bytes, room, forced || may_shrink, findings);
    }
    if let Some(room) = room(nodes, index_memory) {
        compare("index memory", namespace, index, room, forced, findings);
    }
    // The index lies elsewhere where it is not in memory.
    let in_memory = |node: &NodeSettings| {
        let kind = node.word(&["index-type", "index-type.type"]).unwrap_or_default();
        !kind.contains("flash") && !kind.contains("pmem")
    };
    if nodes.iter().all(in_memory)
        && let Some(free) = free_memory(cluster)?
        && index > free
    {
        findings.note(format!(
            "the index of namespace `{namespace}` grows by up to {index} bytes, and the nodes have {free} of memory free"
        ));
    }
    Ok(())
}

fn compare(what: &str, namespace: &str, needed: u64, room: Room, forced: bool, findings: &mut Findings) {
    let Room { all, free } = room;
    if needed > all {
        findings.refuse_or_note(
            forced,
            &[Remedy::Force],
            format!(
                "what comes needs {needed} bytes of {what} at least, all copies counted, and namespace `{namespace}` has \
                 {all} before writes stop"
            ),
        );
    } else if needed > free {
        findings.note(format!(
            "what comes needs {needed} bytes of {what} at least, all copies counted, and namespace `{namespace}` has {free} \
             free: it fits only as far as it replaces what is there"
        ));
    }
}

/// Sums what nodes tell; `None` if one does not.
fn room(nodes: &[NodeSettings], of: impl Fn(&NodeSettings) -> Option<Room>) -> Option<Room> {
    let mut sum = Room { all: 0, free: 0 };
    for node in nodes {
        let room = of(node)?;
        sum = Room { all: sum.all.saturating_add(room.all), free: sum.free.saturating_add(room.free) };
    }
    (!nodes.is_empty()).then_some(sum)
}

/// Storage of a node: since 7.0 under one name, before that by kind.
fn storage(node: &NodeSettings) -> Option<Room> {
    let total = node.number(&["data_total_bytes", "device_total_bytes", "pmem_total_bytes"])?;
    let used = node.number(&["data_used_bytes", "device_used_bytes", "pmem_used_bytes"])?;
    let stop = node.number(&["storage-engine.stop-writes-used-pct", "stop-writes-used-pct"]);
    let all = percent(total, stop);
    Some(Room { all, free: all.saturating_sub(used) }).filter(|_| total > 0)
}

/// Memory that the index may take: a budget, or before 7.0 the namespace's memory.
fn index_memory(node: &NodeSettings) -> Option<Room> {
    if let Some(total) = node.number(&["indexes-memory-budget"]).filter(|total| *total > 0) {
        let used = ["index_used_bytes", "set_index_used_bytes", "sindex_used_bytes"];
        let used: u64 = used.iter().filter_map(|key| node.number(&[key])).sum();
        return Some(Room { all: total, free: total.saturating_sub(used) });
    }
    let total = node.number(&["memory-size"]).filter(|total| *total > 0)?;
    let all = percent(total, node.number(&["stop-writes-pct"]));
    Some(Room { all, free: all.saturating_sub(node.number(&["memory_used_bytes"]).unwrap_or(0)) })
}

/// A part of a whole; all of it where no part is named.
fn percent(total: u64, percent: Option<u64>) -> u64 {
    match percent {
        Some(percent @ 1..=99) => (u128::from(total) * u128::from(percent) / 100) as u64,
        _ => total,
    }
}

/// The nodes' free memory; `None` if one does not tell.
fn free_memory(cluster: &Cluster) -> Result<Option<u64>, Error> {
    let mut free = 0u64;
    for node in cluster.nodes() {
        let answers = cluster.info(&node, &["statistics"])?;
        let told = value_of(answers.text("statistics").unwrap_or_default(), ';', "system_free_mem_kbytes");
        let Some(kbytes) = told.and_then(|text| text.parse::<u64>().ok()) else { return Ok(None) };
        free = free.saturating_add(kbytes.saturating_mul(1024));
    }
    Ok(Some(free))
}
