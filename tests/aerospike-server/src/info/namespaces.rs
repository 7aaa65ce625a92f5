//! Namespaces, sets, their settings, and truncation.

use std::sync::{Arc, PoisonError, RwLockReadGuard};

use super::{Request, error, ok};
use crate::clock::EPOCH_UNIX_SECONDS;
use crate::cluster::Cluster;
use crate::server::Shared;
use crate::store::Namespace;

pub(super) fn answer(shared: &Arc<Shared>, node: usize, request: &Request<'_>) -> Option<String> {
    Some(match request.name {
        "namespaces" => shared.namespaces().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";"),
        "namespace" => namespace(shared, node, request),
        "sets" => sets(shared, node, request),
        "truncate" | "truncate-namespace" => truncate(shared, node, request),
        "get-config" => get_config(shared, request),
        "set-config" => set_config(shared, request),
        "get-stats" => error(25, "enterprise only"),
        _ => return None,
    })
}

fn find<'s>(shared: &'s Shared, request: &Request<'_>) -> Option<(&'s str, RwLockReadGuard<'s, Namespace>)> {
    let wanted = request.namespace()?;
    let (name, namespace) = shared.namespaces().iter().find(|(name, _)| name == wanted)?;
    Some((name, namespace.read().unwrap_or_else(PoisonError::into_inner)))
}

fn namespace(shared: &Arc<Shared>, node: usize, request: &Request<'_>) -> String {
    let Some((_, namespace)) = find(shared, request) else { return error(4, "namespace not found") };
    let cluster = shared.cluster();
    let (mut master, mut prole) = (0, 0);
    for (partition, objects) in cluster.partitions.iter().zip(&namespace.partition_objects) {
        if partition.working_master() == Some(node) {
            master += objects;
        } else if partition.full.contains(&node) {
            prole += objects;
        }
    }
    let owners =
        |partition: &&crate::cluster::Partition| partition.owners.contains(&node) && !partition.full.contains(&node);
    let arriving = cluster.partitions.iter().filter(owners).count();
    let unavailable = (0..cluster.partitions.len()).filter(|pid| shared.is_unavailable(node, *pid as u16)).count();
    let now = shared.now_ms(node).div_euclid(1000);
    format!(
        "ns_cluster_size={};effective_replication_factor={};replication-factor={};objects={};tombstones=0;xdr_tombstones=0;\
         mrt_provisionals=0;master_objects={master};master_tombstones=0;prole_objects={prole};prole_tombstones=0;\
         non_replica_objects=0;unreplicated_records=0;dead_partitions=0;unavailable_partitions={unavailable};\
         clock_skew_stop_writes=false;stop_writes=false;hwm_breached=false;current_time={now};\
         truncate_lut={};truncating=false;data_used_pct=0;data_avail_pct=87;migrate_tx_partitions_remaining={};\
         migrate_rx_partitions_remaining={arriving};{}",
        cluster.members().len(),
        cluster.effective_replication_factor(),
        cluster.replication_factor(),
        master + prole,
        namespace.truncate_lut_ms,
        departing(&cluster, node),
        settings(&namespace),
    )
}

/// Partitions this node is sending to others.
fn departing(cluster: &Cluster, node: usize) -> usize {
    let sends = |partition: &&crate::cluster::Partition| {
        partition.working_master() == Some(node) && partition.owners.iter().any(|owner| !partition.full.contains(owner))
    };
    cluster.partitions.iter().filter(sends).count()
}

fn settings(namespace: &Namespace) -> String {
    let config = &namespace.config;
    format!(
        "allow-ttl-without-nsup={};default-read-touch-ttl-pct={};default-ttl={};max-record-size={};nsup-period={};\
         strong-consistency={}",
        config.allow_ttl_without_nsup,
        config.read_touch_percent,
        config.default_ttl,
        config.max_record_bytes,
        config.nsup_period,
        config.strong_consistency,
    )
}

fn sets(shared: &Arc<Shared>, node: usize, request: &Request<'_>) -> String {
    let wanted = request.namespace();
    let only = request.arguments.get(1).copied();
    let cluster = shared.cluster();
    let mut out = String::new();
    for (name, namespace) in shared.namespaces().iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == name)) {
        let namespace = namespace.read().unwrap_or_else(PoisonError::into_inner);
        let objects = set_objects(&namespace, |pid| cluster.is_full(node, pid), cluster.members().len() == 1);
        for (set, objects) in namespace.sets.iter().zip(objects) {
            let set_name = String::from_utf8_lossy(&set.name);
            if only.is_some_and(|only| only != set_name) {
                continue;
            }
            let sindexes = namespace.sindexes.iter().filter(|index| index.set.as_deref() == Some(&*set_name)).count();
            out.push_str(&format!(
                "ns={name}:set={set_name}:objects={objects}:tombstones=0:data_used_bytes={}:truncate_lut={}:\
                 sindexes={sindexes}:index_populating=false:truncating=false:default-read-touch-ttl-pct=0:default-ttl=0:\
                 disable-eviction=false:enable-index={}:stop-writes-count=0:stop-writes-size=0;",
                objects * 80,
                set.truncate_lut_ms,
                set.has_index,
            ));
        }
    }
    out
}

fn set_objects(namespace: &Namespace, counts: impl Fn(u16) -> bool, all: bool) -> Vec<u64> {
    if all {
        return namespace.sets.iter().map(|set| set.objects).collect();
    }
    let mut objects = vec![0; namespace.sets.len()];
    for (place, record) in &namespace.records {
        if record.set_id > 0 && counts(place.partition()) {
            objects[usize::from(record.set_id) - 1] += 1;
        }
    }
    objects
}

fn truncate(shared: &Arc<Shared>, node: usize, request: &Request<'_>) -> String {
    let Some(namespace) = request.namespace().and_then(|name| shared.namespace(name.as_bytes())) else {
        return error(4, "unknown namespace");
    };
    let set = request.get(&["set"]);
    if request.name == "truncate" && set.is_none() {
        return error(4, "missing set");
    }
    let now_ms = shared.now_ms(node);
    let lut_ms = match request.get(&["lut"]) {
        // A clock that stands still must not save the records written in this very millisecond.
        None => now_ms + 1,
        Some(text) => match text.parse::<i64>() {
            Ok(unix_ns) => unix_ns / 1_000_000 - EPOCH_UNIX_SECONDS * 1000,
            Err(_) => return error(4, "bad lut"),
        },
    };
    if lut_ms > now_ms + 1 {
        return error(4, "lut is in the future");
    }
    let mut namespace = namespace.write().unwrap_or_else(PoisonError::into_inner);
    namespace.truncate(set.map(str::as_bytes), lut_ms.max(0) as u64);
    ok()
}

fn get_config(shared: &Arc<Shared>, request: &Request<'_>) -> String {
    match request.get(&["context"]) {
        Some("namespace") => {
            find(shared, request).map_or_else(|| error(4, "unknown namespace"), |(_, namespace)| settings(&namespace))
        }
        Some("xdr") => error(25, "enterprise only"),
        Some("service") | None => "cluster-name=null;batch-max-requests=0;query-threads-limit=128".to_owned(),
        Some(_) => error(4, "bad context"),
    }
}

fn set_config(shared: &Arc<Shared>, request: &Request<'_>) -> String {
    let Some(namespace) = request.get(&["id", "namespace"]).and_then(|name| shared.namespace(name.as_bytes())) else {
        return error(4, "only namespaces can be set");
    };
    let mut namespace = namespace.write().unwrap_or_else(PoisonError::into_inner);
    let mut known = 0;
    for (key, value) in &request.parameters {
        let config = &mut namespace.config;
        let done = match *key {
            "context" | "id" | "namespace" => continue,
            "default-ttl" => value.parse().map(|n| config.default_ttl = n).is_ok(),
            "nsup-period" => value.parse().map(|n| config.nsup_period = n).is_ok(),
            "default-read-touch-ttl-pct" => value.parse().map(|n| config.read_touch_percent = n).is_ok(),
            "allow-ttl-without-nsup" => value.parse().map(|b| config.allow_ttl_without_nsup = b).is_ok(),
            "max-record-size" => value.parse().map(|n| config.max_record_bytes = n).is_ok(),
            _ => false,
        };
        if !done {
            return error(4, "bad parameter");
        }
        known += 1;
    }
    if known == 0 { error(4, "nothing to set") } else { ok() }
}
