//! What a snapshot keeps of a node's configuration, as text in the form of the server's own file. It is made of what the node says
//! that it runs with: for reading, and as a beginning for whoever sets up another one.

use serde_json::{Map, Value as Json};
use std::{collections::BTreeMap, fmt::Write as _};

/// The deepest block that is written; what would lie deeper keeps its dots.
const MAX_DEPTH: usize = 8;

/// Settings of a block: the values of its own, and blocks in it.
#[derive(Default)]
struct Block {
    values: Vec<String>,
    inner: BTreeMap<String, Block>,
}

impl Block {
    fn put(&mut self, key: &str, value: String, depth: usize) {
        match key.split_once('.').filter(|_| depth < MAX_DEPTH) {
            Some((name, rest)) => self.inner.entry(name.to_owned()).or_default().put(rest, value, depth + 1),
            None => self.inner.entry(without_number(key).to_owned()).or_default().values.push(value),
        }
    }

    fn write(&self, depth: usize, out: &mut String) {
        let indent = "\t".repeat(depth);
        for (name, block) in &self.inner {
            if block.inner.is_empty() {
                for value in &block.values {
                    if value.is_empty() || value.eq_ignore_ascii_case("null") {
                        let _ = writeln!(out, "{indent}# {name} is not set");
                    } else {
                        let _ = writeln!(out, "{indent}{name} {value}");
                    }
                }
                continue;
            }
            let kind = block.values.iter().find(|value| !value.is_empty()).map_or("", String::as_str);
            let _ = writeln!(out, "{indent}{name}{}{kind} {{", if kind.is_empty() { "" } else { " " });
            block.write(depth + 1, out);
            let _ = writeln!(out, "{indent}}}");
        }
    }
}

/// `file[0]` is a `file`.
fn without_number(key: &str) -> &str {
    match key.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        Some((name, number)) if !name.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => key,
    }
}

/// A line holds what stands on one line.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn block_of(settings: &Map<String, Json>) -> Block {
    let mut block = Block::default();
    for (key, value) in settings {
        let key = plain(key);
        match value {
            Json::Array(values) => {
                for value in values {
                    block.put(&key, plain(value.as_str().unwrap_or_default()), 0);
                }
            }
            value => block.put(&key, plain(value.as_str().unwrap_or_default()), 0),
        }
    }
    block
}

/// Of everything that is kept of a cluster's configuration the text of every node, with its id.
#[must_use]
pub fn files(configuration: &Json) -> Vec<(String, String)> {
    let nodes = configuration.get("nodes").and_then(Json::as_object);
    nodes.into_iter().flatten().map(|(id, node)| (id.clone(), file(id, node))).collect()
}

/// The name of the file of a node, by its place.
#[must_use]
pub fn file_name(place: usize) -> String {
    format!("aerospike_{place}.conf")
}

fn file(id: &str, node: &Json) -> String {
    let build = node.get("build").and_then(Json::as_str).unwrap_or_default();
    let mut out = format!(
        "# Node {}, build {}: what it said that it runs with. Look through it before a node is started with it.\n",
        plain(id),
        plain(build)
    );
    let contexts = node.get("configuration").and_then(Json::as_object);
    for (context, settings) in contexts.into_iter().flatten() {
        let Some(settings) = settings.as_object() else { continue };
        let head = context
            .strip_prefix("namespace/")
            .map_or_else(|| plain(context), |name| format!("namespace {}", plain(name)));
        let _ = writeln!(out, "\n{head} {{");
        block_of(settings).write(1, &mut out);
        out.push_str("}\n");
    }
    for (context, why) in node.get("refused").and_then(Json::as_object).into_iter().flatten() {
        let _ = writeln!(out, "\n# {}: {}", plain(context), plain(why.as_str().unwrap_or_default()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_become_blocks_and_lists_lines() {
        let node = json!({ "build": "8.1.2.0", "refused": { "xdr": "ERROR:enterprise only" }, "configuration": {
            "network": { "service.port": "3000", "service.address": ["10.0.0.1", "10.0.0.2"], "fabric.port": "3001" },
            "namespace/test": { "nsup-period": "120", "storage-engine": "device", "storage-engine.file[0]": "/a",
                "storage-engine.file[1]": "/b", "set.demo": "null", "odd\n}": "x\ny" },
        } });
        let [(id, text)] = &files(&json!({ "nodes": { "BB9": node } }))[..] else { panic!() };
        assert_eq!(id, "BB9");
        let wanted = "\nnamespace test {\n\tnsup-period 120\n\todd } x y\n\tset {\n\t\t# demo is not set\n\t}\n\
                      \tstorage-engine device {\n\t\tfile /a\n\t\tfile /b\n\t}\n}\n\
                      \nnetwork {\n\tfabric {\n\t\tport 3001\n\t}\n\tservice {\n\t\taddress 10.0.0.1\n\t\taddress 10.0.0.2\n\
                      \t\tport 3000\n\t}\n}\n\n# xdr: ERROR:enterprise only\n";
        assert_eq!(text.split_once('\n').unwrap().1, wanted);
        assert!(files(&json!({})).is_empty() && files(&json!({ "nodes": [] })).is_empty());
    }
}
