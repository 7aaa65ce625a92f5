//! What a snapshot keeps of a cluster's configuration when it is asked to: what every node says that it runs with, and users and
//! roles. It is shown, and never restored.

use super::{
    cluster::{Cluster, Node},
    error::Error,
    info::failure,
    official::Official,
    options::{AerospikeOptions, Auth},
};
use serde_json::{Map, Value as Json, json};

/// Parts of a node's configuration that are of the node itself.
const CONTEXTS: [&str; 5] = ["service", "network", "security", "logging", "xdr"];

/// Reads it from every node; the second is what of it could not be had.
pub(super) fn read(
    cluster: &Cluster,
    namespaces: &[String],
    options: &AerospikeOptions,
) -> Result<(Json, Vec<String>), Error> {
    let mut nodes = Map::new();
    for node in cluster.nodes() {
        nodes.insert(node.id.clone(), of_node(cluster, &node, namespaces)?);
    }
    let mut all = json!({ "format": 1, "nodes": nodes });
    let mut missing = Vec::new();
    if options.auth == Auth::Pki || options.user.is_some() {
        let people = Official::connect(cluster, options).and_then(|client| Ok((client.users()?, client.roles()?)));
        match people {
            Ok((users, roles)) => {
                all["users"] = Json::Array(users);
                all["roles"] = Json::Array(roles);
            }
            Err(reason) => missing.push(format!("users and roles: the official client does not get them ({reason})")),
        }
    }
    Ok((all, missing))
}

fn of_node(cluster: &Cluster, node: &Node, namespaces: &[String]) -> Result<Json, Error> {
    let mut parts = Map::new();
    let mut refused = Map::new();
    let mut keep = |name: String, command: String| -> Result<(), Error> {
        let answers = cluster.info(node, &[&command])?;
        let text = String::from_utf8_lossy(answers.bytes(&command).unwrap_or_default()).into_owned();
        match failure(&text) {
            None if !text.is_empty() => drop(parts.insert(name, parsed(&text))),
            // A part that this edition or build does not have is one it says nothing of.
            _ => drop(refused.insert(name, json!(text))),
        }
        Ok(())
    };
    for context in CONTEXTS {
        keep(context.to_owned(), format!("get-config:context={context}"))?;
    }
    for namespace in namespaces {
        // Builds before 7.2 read `id=` alone; later ones read both.
        keep(format!("namespace/{namespace}"), format!("get-config:context=namespace;id={namespace}"))?;
    }
    Ok(json!({ "build": node.build, "configuration": parts, "refused": refused }))
}

/// `key=value;…` as an object; a key that stands more than once has a list.
fn parsed(text: &str) -> Json {
    let mut all = Map::new();
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = json!(if is_secret(key, value) { "(left out: a secret)" } else { value });
        match all.get_mut(key) {
            None => drop(all.insert(key.to_owned(), value)),
            Some(Json::Array(values)) => values.push(value),
            Some(one) => *one = Json::Array(vec![one.take(), value]),
        }
    }
    Json::Object(all)
}

/// Whether a value may be a secret itself, and not where one is found.
fn is_secret(key: &str, value: &str) -> bool {
    let sounds_secret = ["password", "secret", "token"].iter().any(|word| key.contains(word));
    let is_place =
        ["file:", "env:", "env-b64:", "b64-file:", "vault:", "secrets:"].iter().any(|kind| value.starts_with(kind));
    let is_setting = value.is_empty()
        || value.eq_ignore_ascii_case("null")
        || value.parse::<f64>().is_ok()
        || matches!(value, "true" | "false");
    sounds_secret && !key.ends_with("-file") && !key.contains("secrets-") && !is_place && !is_setting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_by_name_and_secrets_are_not() {
        let kept = parsed("a=1;address=10.0.0.1;address=10.0.0.2;address=x;b;key-file-password=hush;c=d=e");
        assert_eq!(kept["address"], json!(["10.0.0.1", "10.0.0.2", "x"]));
        assert_eq!((&kept["a"], &kept["b"], &kept["c"]), (&json!("1"), &json!(""), &json!("d=e")));
        assert_eq!(kept["key-file-password"], json!("(left out: a secret)"));
        for (key, value) in [
            ("key-file-password", "env:NAME"),
            ("query-user-password-file", "/etc/ldap"),
            ("session-token-ttl", "3600"),
            ("vault-token-file", "null"),
            ("secrets-address-port", "a:1"),
        ] {
            assert!(!is_secret(key, value), "{key}");
        }
    }
}
