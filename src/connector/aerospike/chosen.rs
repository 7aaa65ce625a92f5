//! What chosen nodes, or the nodes of chosen racks, master: found out once, when the source is opened, so that a run reads just
//! these partitions to its end, whoever masters them by then.

use super::{
    cluster::{Cluster, Node},
    error::Error,
    options::AerospikeOptions,
    select::{Selection, ranges_of},
};
use crate::record::digest::PARTITIONS;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// What is read of each namespace.
pub(super) type Selections = BTreeMap<String, Arc<Selection>>;

/// Narrows what is asked for to the partitions that the chosen nodes master; `None` if none are chosen. The second is what
/// tells this choice of partitions from another one of the same nodes.
pub(super) fn narrow(
    selection: &Selection,
    cluster: &Cluster,
    namespaces: &[String],
    options: &AerospikeOptions,
) -> Result<Option<(Selections, String)>, Error> {
    check_racks(cluster, namespaces, options)?;
    if options.nodes.is_empty() && options.racks.is_empty() {
        return Ok(None);
    }
    let named = named_nodes(cluster, options)?;
    let mut hash = blake3::Hasher::new();
    let mut selections = BTreeMap::new();
    let mut any = false;
    for namespace in namespaces {
        let map = cluster.map(namespace);
        let is_chosen = |node: &Arc<Node>| {
            named.contains(&node.id)
                || rack_of(cluster, node, namespace).is_some_and(|rack| options.racks.contains(&rack))
        };
        let pids: Vec<u16> = (0..PARTITIONS).filter(|pid| map.owner(*pid).is_some_and(is_chosen)).collect();
        any |= !pids.is_empty();
        hash.update(namespace.as_bytes()).update(&[0]);
        for pid in &pids {
            hash.update(&pid.to_be_bytes());
        }
        hash.update(&[0xff; 2]);
        let ranges = if options.no_records { Vec::new() } else { ranges_of(pids) };
        selections.insert(namespace.clone(), Arc::new(selection.of_ranges(ranges)));
    }
    if !any {
        return Err(Error::Missing("a partition that the chosen nodes master".to_owned()));
    }
    Ok(Some((selections, hash.finalize().to_hex()[..32].to_owned())))
}

fn rack_of(cluster: &Cluster, node: &Node, namespace: &str) -> Option<u32> {
    cluster.racks(&node.id)?.get(namespace).copied()
}

/// The ids of the nodes that were named.
fn named_nodes(cluster: &Cluster, options: &AerospikeOptions) -> Result<BTreeSet<String>, Error> {
    let nodes = cluster.nodes();
    let mut ids = BTreeSet::new();
    for name in &options.nodes {
        let Some(node) = nodes.iter().find(|node| node.is_called(name)) else {
            let known: Vec<String> = nodes.iter().map(|node| format!("{} at {}", node.id, node.address())).collect();
            return Err(Error::Missing(format!("node `{name}` (there are {})", known.join(", "))));
        };
        ids.insert(node.id.clone());
    }
    Ok(ids)
}

/// Whether the racks that were named are told of.
fn check_racks(cluster: &Cluster, namespaces: &[String], options: &AerospikeOptions) -> Result<(), Error> {
    if !options.asks_for_racks() {
        return Ok(());
    }
    let nodes = cluster.nodes();
    let of = |namespace: &String| nodes.iter().filter_map(|node| rack_of(cluster, node, namespace)).collect::<Vec<_>>();
    let known: BTreeSet<u32> = namespaces.iter().flat_map(of).collect();
    if known.is_empty() {
        return Err(Error::TooOld(
            "no node tells which rack it stands in (`rack-ids`): racks are of the Enterprise Edition".to_owned(),
        ));
    }
    // A rack that is preferred may be down; one that is asked for must be there.
    match options.racks.iter().find(|rack| !known.contains(rack)) {
        Some(rack) => {
            let known: Vec<String> = known.iter().map(u32::to_string).collect();
            Err(Error::Missing(format!("rack {rack} (there are {})", known.join(", "))))
        }
        None => Ok(()),
    }
}

/// Racks that are preferred and in which no node stands.
pub(super) fn empty_racks(cluster: &Cluster, options: &AerospikeOptions) -> Vec<u32> {
    let racks: BTreeSet<u32> =
        cluster.nodes().iter().filter_map(|node| cluster.racks(&node.id)).flat_map(HashMap::into_values).collect();
    options.prefer_racks.iter().copied().filter(|rack| !racks.contains(rack)).collect()
}
