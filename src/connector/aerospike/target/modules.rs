//! UDF modules: put where they are not, awaited on all nodes.

use super::is_plain;
use crate::connector::aerospike::{
    cluster::{Cluster, Node},
    error::Error,
    info::{failure, value_of},
    official::Official,
};
use serde_json::Value as Json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a module may take to reach all nodes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was done, in words.
#[derive(Debug, Default)]
pub(super) struct ModulesDone {
    pub(super) notes: Vec<String>,
    pub(super) missing: Vec<String>,
    /// How many of them are there.
    pub(super) there: u64,
}

/// What a node has under this name, in base64; `None` if it has nothing.
fn standing(cluster: &Cluster, node: &Node, name: &str) -> Result<Option<String>, Error> {
    let ask = format!("udf-get:filename={name}");
    let answers = cluster.info(node, &[&ask])?;
    let there = answers.text(&ask).filter(|text| failure(text).is_none()).unwrap_or_default();
    Ok(value_of(there, ';', "content").map(str::to_owned))
}

/// Modules of the snapshot in whose place others of the same name stand. They belong to the whole cluster.
pub(super) fn conflicts(cluster: &Cluster, modules: &[Json]) -> Result<Vec<String>, Error> {
    let Some(node) = cluster.nodes().into_iter().next() else { return Err(Error::NoNode("the target".to_owned())) };
    let mut conflicts = Vec::new();
    for module in modules {
        let text = |key: &str| module.get(key).and_then(Json::as_str).filter(|text| is_plain(text));
        let (Some(name), Some(content)) = (text("name"), text("content")) else { continue };
        if standing(cluster, &node, name)?.is_some_and(|there| there != content) {
            conflicts.push(format!("UDF module `{name}` of the cluster is another one"));
        }
    }
    Ok(conflicts)
}

/// Puts the modules of a snapshot: by the official client, where there is one and it has the words.
pub(super) fn restore(
    cluster: &Cluster,
    modules: &[Json],
    keep: bool,
    replace: bool,
    official: &mut dyn FnMut() -> Option<Arc<Official>>,
) -> Result<ModulesDone, Error> {
    let mut done = ModulesDone::default();
    let Some(node) = cluster.nodes().into_iter().next() else { return Err(Error::NoNode("the target".to_owned())) };
    let mut put = Vec::new();
    for module in modules {
        let text = |key: &str| module.get(key).and_then(Json::as_str);
        let (Some(name), Some(content)) = (text("name"), text("content")) else {
            let name = text("name").unwrap_or("without a name");
            done.missing.push(format!("UDF module `{name}`: the snapshot does not have its text"));
            continue;
        };
        let kind = text("type").unwrap_or("LUA");
        if ![name, content, kind].into_iter().all(is_plain) {
            done.missing.push(format!("UDF module {name:?}: no server takes such a name"));
            continue;
        }
        match standing(cluster, &node, name)? {
            Some(there) if there == content => {
                done.there += 1;
                continue;
            }
            Some(_) if keep => {
                done.notes.push(format!("UDF module `{name}`: another one of this name stands, and stays"));
                continue;
            }
            Some(_) if !replace => {
                done.missing.push(format!("UDF module `{name}`: another one of this name"));
                continue;
            }
            Some(_) => done.notes.push(format!("UDF module `{name}`: another one of this name was replaced")),
            None => {}
        }
        let by_client = official().and_then(|client| {
            let text = data_encoding::BASE64.decode(content.as_bytes()).ok()?;
            client.put_module(name, &text, kind)
        });
        // Where it fails the server's own words say why.
        if by_client.is_some_and(|put| put.is_ok()) {
            put.push(name);
            continue;
        }
        let command =
            format!("udf-put:filename={name};content={content};content-len={};udf-type={kind};", content.len());
        let answers = cluster.info(&node, &[&command])?;
        match answers.text(&command).map(str::trim) {
            Some(answer) if failure(answer).is_none() => put.push(name),
            answer => done.missing.push(format!("UDF module `{name}`: {:.200}", answer.unwrap_or("no answer"))),
        }
    }
    done.there += put.len() as u64;
    await_all(cluster, &put, &mut done)?;
    Ok(done)
}

/// Waits until every node lists the modules.
fn await_all(cluster: &Cluster, names: &[&str], done: &mut ModulesDone) -> Result<(), Error> {
    let began = Instant::now();
    for name in names {
        for node in cluster.nodes() {
            loop {
                let answers = cluster.info(&node, &["udf-list"])?;
                let list = answers.text("udf-list").unwrap_or_default();
                if list.split(';').any(|line| value_of(line, ',', "filename") == Some(name)) {
                    break;
                }
                if began.elapsed() >= PATIENCE {
                    done.missing.push(format!("UDF module `{name}` did not reach node {}", node.id));
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(())
}
