//! UDF modules, which are kept beside records.

use super::{
    cluster::{Cluster, Node},
    error::Error,
    info::{failure, value_of},
};
use data_encoding::BASE64;
use serde_json::{Value as Json, json};

/// Text of modules that a manifest carries.
const MAX_MODULE_BYTES: usize = 16 * 1024 * 1024;

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
