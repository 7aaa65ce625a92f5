//! What a namespace is like: the facts that a restore or a reader of the snapshot wants to know.

use super::decode::VOID_TIME_EPOCH_SECONDS;
use super::{
    cluster::Cluster,
    error::Error,
    info::{failure, value_of},
};
use crate::record::Timestamp;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// What nodes count of partitions that are not as they should be, summed over all nodes.
const PARTITION_COUNTS: [(&str, &str); 4] = [
    ("unavailable_partitions", "unavailable"),
    ("dead_partitions", "dead"),
    ("migrate_tx_partitions_remaining", "leaving"),
    ("migrate_rx_partitions_remaining", "arriving"),
];

/// Counts beyond this are not believed; so many of them can be added up.
const MOST: u64 = 1 << 48;

/// What one namespace is like, over all nodes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct NamespaceFacts {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    /// Copies that each record has now.
    pub(super) replication_factor: u32,
    /// Copies that it is to have.
    pub(super) configured_factor: u32,
    /// Partitions on their way from node to node.
    moving: u64,
    pub(super) sets: BTreeSet<String>,
    /// Records by set, about: what is over and not yet removed is counted too.
    pub(super) set_records: BTreeMap<String, u64>,
    facts: Map<String, Json>,
}

impl NamespaceFacts {
    /// Asks every node.
    pub(super) fn read(cluster: &Cluster, namespace: &str) -> Result<Self, Error> {
        let (about, sets) = (format!("namespace/{namespace}"), format!("sets/{namespace}"));
        let mut all = Self::default();
        let mut objects: BTreeMap<String, u64> = BTreeMap::new();
        let mut partitions: BTreeMap<&str, u64> = BTreeMap::new();
        for node in cluster.nodes() {
            let answers = cluster.info(&node, &[&about, &sets])?;
            let text = answers.text(&about).unwrap_or_default();
            if failure(text).is_some() {
                continue;
            }
            let value = |key: &str| value_of(text, ';', key);
            let number = |key: &str| value(key).and_then(|value| value.parse::<u64>().ok()).map(|n| n.min(MOST));
            let copies = number("effective_replication_factor").or_else(|| number("replication-factor")).unwrap_or(1);
            all.replication_factor = all.replication_factor.max(copies as u32);
            let configured = number("replication-factor").or_else(|| number("replication_factor")).unwrap_or(copies);
            all.configured_factor = all.configured_factor.max(configured as u32);
            all.objects += number("master_objects").or_else(|| Some(number("objects")? / copies.max(1))).unwrap_or(0);
            let used = ["data_used_bytes", "device_used_bytes", "memory_used_data_bytes"];
            all.bytes += used.iter().find_map(|key| number(key)).unwrap_or(0) / copies.max(1);
            for (key, name) in [
                ("default-ttl", "default_ttl"),
                ("nsup-period", "nsup_period"),
                ("strong-consistency", "strong_consistency"),
                ("allow-ttl-without-nsup", "allow_ttl_without_nsup"),
            ] {
                if let Some(value) = value(key) {
                    all.facts.entry(name).or_insert_with(|| json!(value));
                }
            }
            for (key, name) in PARTITION_COUNTS {
                if let Some(count) = number(key) {
                    *partitions.entry(name).or_default() += count;
                    all.moving += if matches!(name, "leaving" | "arriving") { count } else { 0 };
                }
            }
            for line in answers.text(&sets).unwrap_or_default().split(';') {
                let Some(name) = value_of(line, ':', "set") else { continue };
                let count = value_of(line, ':', "objects").and_then(|count| count.parse().ok()).unwrap_or(0).min(MOST);
                all.sets.insert(name.to_owned());
                *objects.entry(name.to_owned()).or_default() += count;
            }
        }
        // Every copy is counted where it is.
        let copies = u64::from(all.replication_factor.max(1));
        all.set_records = objects.into_iter().map(|(name, count): (_, u64)| (name, count.div_ceil(copies))).collect();
        all.facts.insert("partitions".to_owned(), json!(partitions));
        all.facts.insert("replication_factor".to_owned(), json!(all.replication_factor));
        Ok(all)
    }

    /// Copies that each record surely has: while partitions move some have one.
    pub(super) fn sure_copies(&self) -> u32 {
        if self.moving > 0 { 1 } else { self.replication_factor.max(1) }
    }

    /// Records of these sets, about; the empty name is the null set. All if none is named.
    pub(super) fn records_of(&self, sets: &[String]) -> u64 {
        if sets.is_empty() {
            return self.objects;
        }
        let in_sets: u64 = self.set_records.values().sum();
        let chosen: BTreeSet<&String> = sets.iter().collect();
        let of_set = |set: &String| match set.as_str() {
            "" => self.objects.saturating_sub(in_sets),
            _ => self.set_records.get(set).copied().unwrap_or(0),
        };
        chosen.into_iter().map(of_set).sum()
    }

    /// The attributes of the collection.
    pub(super) fn attributes(&self, indexes: &[Json], entries: Map<String, Json>) -> Json {
        let mut all = json!({
            "format": 1,
            "facts": self.facts,
            "sets": self.sets,
            "set_records": self.set_records,
            "sindexes": indexes,
        });
        if let Some(all) = all.as_object_mut().filter(|_| !entries.is_empty()) {
            all.insert("sindex_entries".to_owned(), Json::Object(entries));
        }
        all
    }
}

/// When a set, or its whole namespace, was last truncated, by any node's word.
pub(super) fn emptied(cluster: &Cluster, namespace: &str, set: &[u8]) -> Option<Timestamp> {
    let (about, sets) = (format!("namespace/{namespace}"), format!("sets/{namespace}"));
    let mut latest = 0;
    for node in cluster.nodes() {
        let Ok(answers) = cluster.info(&node, &[&about, &sets]) else { continue };
        let (about, sets) = (answers.text(&about).unwrap_or_default(), answers.text(&sets).unwrap_or_default());
        let of_set =
            sets.split(';').filter(|line| value_of(line, ':', "set").is_some_and(|name| name.as_bytes() == set));
        let times =
            of_set.filter_map(|line| value_of(line, ':', "truncate_lut")).chain(value_of(about, ';', "truncate_lut"));
        latest = times.filter_map(|time| time.parse::<i64>().ok()).fold(latest, i64::max);
    }
    // Milliseconds since 2010; 0 for never.
    (latest > 0).then(|| Timestamp::from_millis(latest.saturating_add(VOID_TIME_EPOCH_SECONDS as i64 * 1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_set_and_what_is_in_none_is_the_null_set() {
        let set_records = [("a".to_owned(), 30), ("b".to_owned(), 20)].into_iter().collect();
        let facts = NamespaceFacts { objects: 60, set_records, ..NamespaceFacts::default() };
        let of = |sets: &[&str]| facts.records_of(&sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>());
        assert_eq!((of(&[]), of(&["a"]), of(&["a", "a", "b"]), of(&[""]), of(&["", "c"])), (60, 30, 50, 10, 10));
    }
}
