//! Secondary indexes of a namespace, as nodes tell of them.

use super::{
    builds::{Build, parse},
    cluster::{Cluster, Node},
    error::Error,
    info::{failure, value_of},
};
use data_encoding::BASE64;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

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
        let of = |node: &Arc<Node>| index_stat(cluster, node, namespace, name, "entries");
        if let Some(sum) = cluster.nodes().iter().map(of).sum::<Option<u64>>() {
            let copies = u64::from(copies.max(1));
            entries.insert(name.to_owned(), json!((sum + copies / 2) / copies));
        }
    }
    entries
}

/// The first build whose index commands read `namespace=`; those before read `ns=`, and take its absence for all namespaces.
const NAMESPACE_SPELLED_OUT: Build = [7, 2, 0];

/// The secondary indexes of a namespace: each raw line, and what it says.
pub(super) fn indexes(cluster: &Cluster, node: &Node, namespace: &str) -> Result<Vec<Json>, Error> {
    let spelled_out = parse(&node.build).is_none_or(|build| build >= NAMESPACE_SPELLED_OUT);
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

#[cfg(test)]
mod tests {
    use super::*;

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
