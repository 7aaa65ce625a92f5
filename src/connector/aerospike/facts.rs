//! What is kept of namespaces and clusters beside records: secondary indexes, UDF modules, and the facts that a restore
//! or a reader of the snapshot wants to know.

use super::decode::VOID_TIME_EPOCH_SECONDS;
use super::{
    cluster::{Cluster, Node},
    error::Error,
    info::{failure, value_of},
};
use crate::record::Timestamp;
use data_encoding::BASE64;
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

/// Text of modules that a manifest carries.
const MAX_MODULE_BYTES: usize = 16 * 1024 * 1024;

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

/// A number that a node tells of a secondary index.
pub(super) fn index_stat(cluster: &Cluster, node: &Node, namespace: &str, name: &str, key: &str) -> Option<u64> {
    let spellings =
        [format!("sindex-stat:namespace={namespace};indexname={name}"), format!("sindex/{namespace}/{name}")];
    spellings.iter().find_map(|command| {
        let answers = cluster.info(node, &[command]).ok()?;
        value_of(answers.text(command)?, ';', key)?.parse().ok()
    })
}

/// The entries of secondary indexes by name, each record counted once. One of which a node does not tell is left out.
pub(super) fn index_entries(cluster: &Cluster, namespace: &str, indexes: &[Json], copies: u32) -> Map<String, Json> {
    let mut entries = Map::new();
    for name in indexes.iter().filter_map(|index| index.get("name").and_then(Json::as_str)) {
        let of = |node: &std::sync::Arc<Node>| index_stat(cluster, node, namespace, name, "entries");
        if let Some(sum) = cluster.nodes().iter().map(of).sum::<Option<u64>>() {
            let copies = u64::from(copies.max(1));
            entries.insert(name.to_owned(), json!((sum + copies / 2) / copies));
        }
    }
    entries
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

/// The first build whose index commands read `namespace=`; those before read `ns=`, and take its absence for all namespaces.
const NAMESPACE_SPELLED_OUT: super::builds::Build = [7, 2, 0];

/// The secondary indexes of a namespace: each raw line, and what it says.
pub(super) fn indexes(cluster: &Cluster, node: &Node, namespace: &str) -> Result<Vec<Json>, Error> {
    let spelled_out = super::builds::parse(&node.build).is_none_or(|build| build >= NAMESPACE_SPELLED_OUT);
    let keys = if spelled_out { ["namespace", "ns"] } else { ["ns", "namespace"] };
    let spellings = keys.map(|key| format!("sindex-list:{key}={namespace};b64=true"));
    let mut refused = String::new();
    for command in &spellings {
        let answers = cluster.info(node, &[command])?;
        let bytes = answers.bytes(command).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        let Some(answer) = failure(&text) else {
            let lines = bytes.split(|byte| *byte == b';').filter(|line| !line.is_empty());
            return Ok(lines.filter(|line| is_of(line, namespace)).map(index).collect());
        };
        answer.clone_into(&mut refused);
    }
    Err(Error::Info { node: node.id.clone(), command: spellings[0].clone(), answer: refused })
}

/// Whether a line is of this namespace, by its own word; one that does not say is kept.
fn is_of(line: &[u8], namespace: &str) -> bool {
    let mut pairs = line.split(|byte| *byte == b':');
    let own = pairs.find_map(|pair| pair.strip_prefix(b"ns=").or_else(|| pair.strip_prefix(b"namespace=")));
    own.is_none_or(|own| own == namespace.as_bytes())
}

/// What a line of the listing may say, and what is known of it.
const INDEX_KEYS: [&str; 10] =
    ["ns", "namespace", "indexname", "set", "bin", "type", "indextype", "context", "exp", "state"];

/// Types of values and of indexes that are known.
const INDEX_TYPES: [&str; 7] = ["numeric", "integer", "string", "blob", "geo2dsphere", "geojson", "invalid"];
const INDEX_KINDS: [&str; 6] = ["default", "none", "list", "mapkeys", "mapvalues", "set"];

/// Why an index is of no kind that is known, if so.
pub(super) fn unknown_kind(index: &Json) -> Option<String> {
    let text = |key: &str| index.get(key).and_then(Json::as_str);
    let Some(raw) = text("raw") else { return Some("its line is no text".to_owned()) };
    if text("name").is_none() {
        return Some("it has no name".to_owned());
    }
    let is_one_of = |value: Option<&str>, known: &[&str]| {
        value.filter(|value| !known.iter().any(|one| one.eq_ignore_ascii_case(value))).map(str::to_owned)
    };
    if let Some(kind) = is_one_of(text("type"), &INDEX_TYPES) {
        return Some(format!("type `{kind}`"));
    }
    if let Some(kind) = is_one_of(text("index_type"), &INDEX_KINDS) {
        return Some(format!("index type `{kind}`"));
    }
    let says = |(key, value): (&str, &str)| {
        let is_empty = value.is_empty() || value.eq_ignore_ascii_case("null") || value.eq_ignore_ascii_case("false");
        (!is_empty && !INDEX_KEYS.contains(&key)).then(|| format!("`{key}={value}`"))
    };
    raw.split(':').filter_map(|pair| pair.split_once('=')).find_map(says)
}

fn index(line: &[u8]) -> Json {
    let Ok(text) = std::str::from_utf8(line) else {
        return json!({ "raw_base64": BASE64.encode(line) });
    };
    let mut parsed = Map::new();
    parsed.insert("raw".to_owned(), json!(text));
    for (key, name) in [
        ("indexname", "name"),
        ("set", "set"),
        ("bin", "bin"),
        ("type", "type"),
        ("indextype", "index_type"),
        ("context", "context"),
        ("exp", "expression"),
    ] {
        if let Some(value) = value_of(text, ':', key).filter(|value| !value.eq_ignore_ascii_case("null")) {
            parsed.insert(name.to_owned(), json!(value));
        }
    }
    Json::Object(parsed)
}

/// The UDF modules, and what of them could not be kept.
pub(super) fn modules(cluster: &Cluster, node: &Node) -> Result<(Vec<Json>, Vec<String>), Error> {
    let answers = cluster.info(node, &["udf-list"])?;
    let list = answers.text("udf-list").unwrap_or_default();
    if let Some(answer) = failure(list) {
        return Ok((Vec::new(), vec![format!("UDF modules: node {} does not list them ({answer:.200})", node.id)]));
    }
    let (mut kept, mut missing, mut bytes) = (Vec::new(), Vec::new(), 0);
    for line in list.split(';').filter(|line| !line.is_empty()) {
        let value = |key: &str| value_of(line, ',', key);
        let Some(name) = value("filename") else {
            missing.push(format!("UDF module `{line}`: its name could not be read"));
            kept.push(json!({ "raw": line }));
            continue;
        };
        let command = format!("udf-get:filename={name}");
        let answers = cluster.info(node, &[&command])?;
        let module = answers.text(&command).unwrap_or_default();
        let content = value_of(module, ';', "content").filter(|text| BASE64.decode(text.as_bytes()).is_ok());
        match content {
            Some(content) if failure(module).is_none() => {
                bytes += content.len();
                if bytes > MAX_MODULE_BYTES {
                    missing.push(format!("UDF module `{name}`: the modules have more than 16 MiB together"));
                    continue;
                }
                let kind = value("type").or_else(|| value_of(module, ';', "type")).unwrap_or("LUA");
                kept.push(json!({ "name": name, "type": kind, "hash": value("hash"), "content": content }));
            }
            _ => {
                missing.push(format!("UDF module `{name}`: the node does not give it out ({module:.80})"));
                kept.push(json!({ "name": name, "type": value("type"), "hash": value("hash"), "raw": line }));
            }
        }
    }
    Ok((kept, missing))
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

    #[test]
    fn an_index_line_is_kept_raw_and_parsed() {
        let line = b"ns=t:indexname=i:set=null:bin=b:type=numeric:indextype=default:context=null:exp=kwE=:state=RW";
        let parsed = index(line);
        assert_eq!(parsed["raw"].as_str().unwrap().as_bytes(), line);
        assert_eq!((parsed.get("set"), parsed.get("context")), (None, None));
        assert_eq!((&parsed["name"], &parsed["expression"]), (&json!("i"), &json!("kwE=")));
        assert_eq!(index(b"\xff"), json!({ "raw_base64": "/w==" }));
        assert_eq!(unknown_kind(&parsed), None);
    }

    #[test]
    fn a_line_belongs_to_the_namespace_that_it_names() {
        assert!(is_of(b"ns=t:indexname=i", "t") && is_of(b"indexname=i", "t") && is_of(b"namespace=t:x=y", "t"));
        assert!(!is_of(b"ns=tt:indexname=i", "t") && !is_of(b"indexname=i:ns=t2:bin=ns=t", "t"));
    }

    #[test]
    fn what_is_of_no_known_kind_is_named() {
        let why = |line: &str| unknown_kind(&index(line.as_bytes())).unwrap_or_default();
        let known = "ns=t:indexname=i:set=null:bin=b:type=Numeric:indextype=mapkeys:context=null:exp=null:state=WO";
        assert_eq!(why(known), "");
        assert_eq!(why(&known.replace("Numeric", "vector")), "type `vector`");
        assert_eq!(why(&known.replace("mapkeys", "trigram")), "index type `trigram`");
        assert_eq!(why(&format!("{known}:metric=cosine")), "`metric=cosine`");
        assert_eq!(why(&format!("{known}:metric=null")), "");
        assert_eq!(why("ns=t:bin=b"), "it has no name");
        assert!(unknown_kind(&index(b"\xff")).is_some());
    }
}
