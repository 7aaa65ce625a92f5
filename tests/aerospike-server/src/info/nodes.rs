//! What a node says about itself, its peers, its partitions and its queries.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use data_encoding::BASE64;

use super::{Request, error, ok};
use crate::builds::Build;
use crate::record::PARTITIONS;
use crate::server::{Node, Shared};

const FEATURES: &str = "batch-any;batch-index;blob-bits;cdt-index;cdt-list;cdt-map;cluster-stable;float;geo;\
    sindex-exists;peers;pipelining;pquery;pscans;query-show;relaxed-sc;replicas;replicas-all;replicas-master;\
    replicas-max;truncate-namespace;udf";

pub(super) fn answer(shared: &Arc<Shared>, index: usize, request: &Request<'_>) -> Option<String> {
    let node = shared.node(index);
    let cluster = || shared.cluster();
    Some(match request.name {
        "node" => node.id.clone(),
        "build" => shared.config.build.to_string(),
        "version" => format!("{} build {}", edition(shared), shared.config.build),
        "edition" => edition(shared).to_owned(),
        "cluster-name" => shared.config.cluster_name.clone().unwrap_or_else(|| "null".to_owned()),
        "features" => FEATURES.to_owned(),
        "status" => ok(),
        "user-agent-set" if shared.config.build >= Build::V8_1 => ok(),
        "service" | "service-clear-std" if !has_tls(shared) => told_address(shared, &node, false),
        "service-clear-alt" if !has_tls(shared) => told_address(shared, &node, true),
        "service-tls-std" if has_tls(shared) => told_address(shared, &node, false),
        "service-tls-alt" if has_tls(shared) => told_address(shared, &node, true),
        "service-clear-std" | "service-clear-alt" | "service-tls-std" | "service-tls-alt" => String::new(),
        "peers-clear-std" => peers(shared, index, !has_tls(shared), false),
        "peers-clear-alt" => peers(shared, index, !has_tls(shared), true),
        "peers-tls-std" => peers(shared, index, has_tls(shared), false),
        "peers-tls-alt" => peers(shared, index, has_tls(shared), true),
        "peers-generation" => cluster().peers_generation.to_string(),
        "partition-generation" if !node.initialised.load(Ordering::SeqCst) => "-1".to_owned(),
        "partition-generation" => cluster().partition_generation.to_string(),
        "rebalance-generation" => cluster().rebalance_generation.to_string(),
        "replicas" => replicas(shared, index, request),
        "rack-ids" | "racks" if shared.config.racks.is_empty() => error(25, "enterprise only"),
        "rack-ids" => rack_ids(shared, index),
        "racks" => racks(shared),
        "cluster-stable" => cluster_stable(shared, request),
        "statistics" => statistics(shared, &node),
        "partition-info" => partition_info(shared, index),
        "query-show" => query_show(&node, request),
        _ => return None,
    })
}

fn edition(shared: &Shared) -> &'static str {
    if shared.config.enterprise { "Aerospike Enterprise Edition" } else { "Aerospike Community Edition" }
}

fn has_tls(shared: &Shared) -> bool {
    #[cfg(feature = "tls")]
    return shared.config.tls.is_some();
    #[cfg(not(feature = "tls"))]
    {
        let _ = shared;
        false
    }
}

fn tls_name(shared: &Shared) -> String {
    #[cfg(feature = "tls")]
    return shared.config.tls.as_ref().map(|tls| tls.name().to_owned()).unwrap_or_default();
    #[cfg(not(feature = "tls"))]
    {
        let _ = shared;
        String::new()
    }
}

/// Where clients are told that a node is; nothing where it has no alternate address.
fn told_address(shared: &Shared, node: &Node, is_alternate: bool) -> String {
    let (told, alternate) = (shared.config.told_host.as_ref(), shared.config.alternate_host.as_ref());
    let host = if is_alternate { alternate } else { told };
    match host {
        Some(host) => format!("{host}:{}", node.address.port()),
        None if is_alternate && told.is_some() => String::new(),
        None => node.address.to_string(),
    }
}

fn rack_of(shared: &Shared, index: usize) -> u32 {
    shared.config.racks.get(index).copied().unwrap_or(0)
}

fn rack_ids(shared: &Shared, index: usize) -> String {
    let rack = rack_of(shared, index);
    let all: Vec<String> = shared.namespaces().iter().map(|(name, _)| format!("{name}:{rack}")).collect();
    all.join(";")
}

fn racks(shared: &Arc<Shared>) -> String {
    let cluster = shared.cluster();
    let mut by_rack = std::collections::BTreeMap::<u32, Vec<String>>::new();
    for member in cluster.members() {
        by_rack.entry(rack_of(shared, *member)).or_default().push(shared.node(*member).id.clone());
    }
    let of = |(rack, nodes): (&u32, &Vec<String>)| format!("rack_{rack}={}", nodes.join(","));
    let racks: Vec<String> = by_rack.iter().map(of).collect();
    let all: Vec<String> =
        shared.namespaces().iter().map(|(name, _)| format!("ns={name}:{}", racks.join(":"))).collect();
    all.join(";")
}

fn peers(shared: &Arc<Shared>, index: usize, listed: bool, is_alternate: bool) -> String {
    let cluster = shared.cluster();
    let default_port = shared.config.port.unwrap_or(3000);
    let others = cluster.members().iter().filter(|member| listed && **member != index);
    let name = tls_name(shared);
    let entries: Vec<String> = others
        .map(|member| {
            let node = shared.node(*member);
            format!("[{},{name},[{}]]", node.id, told_address(shared, &node, is_alternate))
        })
        .collect();
    format!("{},{default_port},[{}]", cluster.peers_generation, entries.join(","))
}

fn replicas(shared: &Arc<Shared>, index: usize, request: &Request<'_>) -> String {
    let cluster = shared.cluster();
    let most = request.get(&["max"]).and_then(|max| max.parse().ok()).filter(|max| *max > 0).unwrap_or(usize::MAX);
    let ranks = cluster.effective_replication_factor().max(1).min(most);
    let mut maps = vec![vec![0u8; usize::from(PARTITIONS) / 8]; ranks];
    for (pid, partition) in cluster.partitions.iter().enumerate() {
        for (rank, node) in partition.ranked().enumerate().take(ranks) {
            if node == index {
                maps[rank][pid >> 3] |= 0x80 >> (pid & 7);
            }
        }
    }
    let maps: Vec<String> = maps.iter().map(|map| BASE64.encode(map)).collect();
    let namespaces = shared.namespaces().iter().map(|(name, _)| {
        let regime = u8::from(is_strong(shared, name));
        format!("{name}:{regime},{ranks},{}", maps.join(","))
    });
    namespaces.collect::<Vec<_>>().join(";")
}

fn is_strong(shared: &Shared, name: &str) -> bool {
    shared.config.namespaces.iter().any(|ns| ns.name == name && ns.strong_consistency)
}

fn cluster_stable(shared: &Arc<Shared>, request: &Request<'_>) -> String {
    let cluster = shared.cluster();
    let wanted = request.get(&["size"]).and_then(|size| size.parse::<usize>().ok());
    if wanted.is_some_and(|wanted| wanted != cluster.members().len()) {
        return "ERROR::cluster-not-specified-size".to_owned();
    }
    let ignores = request.get(&["ignore-migrations"]) == Some("true");
    if !ignores && cluster.migrations_left() > 0 {
        return "ERROR::unstable-cluster".to_owned();
    }
    format!("{:X}", cluster.key)
}

fn statistics(shared: &Arc<Shared>, node: &Node) -> String {
    let cluster = shared.cluster();
    let objects: u64 = shared
        .namespaces()
        .iter()
        .map(|(_, ns)| ns.read().unwrap_or_else(PoisonError::into_inner).partition_objects.iter().sum::<u64>())
        .sum();
    let principal = cluster.members().iter().map(|member| shared.node(*member).id.clone()).max();
    format!(
        "failed_best_practices=false;cluster_size={};cluster_key={:X};cluster_generation={};cluster_principal={};\
         cluster_integrity=true;cluster_is_member=true;cluster_clock_skew_ms=0;uptime={};objects={objects};\
         tombstones=0;migrate_allowed=true;migrate_partitions_remaining={};client_connections=1;paxos_principal={}",
        cluster.members().len(),
        cluster.key,
        cluster.rebalance_generation + 1,
        principal.clone().unwrap_or_else(|| node.id.clone()),
        node.uptime(),
        cluster.migrations_left(),
        principal.unwrap_or_else(|| node.id.clone()),
    )
}

/// One line per namespace and partition that this node owns or holds; S is synchronised, D desynchronised.
fn partition_info(shared: &Arc<Shared>, index: usize) -> String {
    let cluster = shared.cluster();
    let mut out = String::from(
        "namespace:partition:state:n_replicas:replica:n_dupl:working_master:emigrates:lead_emigrates:immigrates:\
         records:tombstones:regime:version:final_version",
    );
    for (name, namespace) in shared.namespaces() {
        let namespace = namespace.read().unwrap_or_else(PoisonError::into_inner);
        for (pid, partition) in cluster.partitions.iter().enumerate() {
            let Some(rank) = partition.ranked().position(|node| node == index) else { continue };
            let is_full = partition.full.contains(&index);
            let master = partition.working_master().map_or_else(|| "0".to_owned(), |node| shared.node(node).id.clone());
            let waits = partition.owners.iter().filter(|owner| !partition.full.contains(owner)).count();
            out.push_str(&format!(
                ";{name}:{pid}:{}:{}:{rank}:0:{master}:{}:{}:{}:{}:0:0:{}:0.0.m",
                if is_full { 'S' } else { 'D' },
                partition.owners.len(),
                if is_full { waits } else { 0 },
                if is_full { waits } else { 0 },
                u8::from(!is_full),
                if is_full { namespace.partition_objects[pid] } else { 0 },
                if is_full { "0.0.m" } else { "0.0.-" },
            ));
        }
    }
    out
}

fn query_show(node: &Node, request: &Request<'_>) -> String {
    let jobs = node.jobs.all();
    match request.get(&["trid", "id"]) {
        None => jobs.iter().map(|job| job.show()).collect::<Vec<_>>().join(";"),
        Some(trid) => {
            let trid =
                trid.strip_prefix("0x").map_or_else(|| trid.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
            let found = jobs.iter().rev().find(|job| Some(job.trid) == trid);
            found.map_or_else(|| error(2, "job not active or already aborted"), |job| job.show())
        }
    }
}
