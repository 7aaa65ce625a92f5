//! From a routine to what is read, and from a cluster to what is written: URLs and options as the connectors take them.

use super::config::{Cluster, Config, Finding, Policy, Routine, Secrets, partitions};
use crate::connector::{Options, Registry, Role};
use serde_json::{Value as Json, json};

/// Something to read: one run of a routine may read several.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Its URL.
    pub url: String,
    /// The connector's options.
    pub options: Options,
}

/// The URL of a cluster's namespace, or of all of it.
#[must_use]
pub fn cluster_url(cluster: &Cluster, namespace: Option<&str>) -> String {
    let node = |node: &super::config::SeedNode| {
        if node.host_name.contains(':') {
            format!("[{}]:{}", node.host_name, node.port)
        } else {
            format!("{}:{}", node.host_name, node.port)
        }
    };
    let nodes: Vec<String> = cluster.seed_nodes.iter().map(node).collect();
    let namespace = namespace.map_or_else(String::new, |name| format!("/{name}"));
    format!("aerospike://{}{namespace}", nodes.join(","))
}

/// How a cluster is reached.
///
/// # Errors
/// In words, if a secret cannot be got.
pub fn cluster_options(config: &Config, cluster: &Cluster, options: &mut Options) -> Result<(), String> {
    if let Some(credentials) = &cluster.credentials {
        let secrets =
            Secrets::new(config, credentials.secret_agent.as_ref(), credentials.secret_agent_name.as_deref())?;
        // Clients of the backup service send empty fields for none.
        let is_given = |text: &&String| !text.is_empty();
        if let Some(user) = credentials.user.as_ref().filter(is_given) {
            options.set("as_user", secrets.get(user)?);
        }
        let said = credentials.password.as_ref().filter(|password| !password.0.is_empty());
        let password = match (said, credentials.password_path.as_ref().filter(is_given)) {
            (Some(password), _) => Some(secrets.get(&password.0)?),
            (None, Some(path)) => Some(super::config::secret::of_file(path)?),
            (None, None) => None,
        };
        if let Some(password) = password {
            options.set("as_password", password);
        }
    }
    if let Some(mode) = cluster.credentials.as_ref().and_then(|credentials| credentials.auth_mode.as_deref()) {
        options.set("as_auth", mode.to_ascii_lowercase());
    }
    if let Some(tls) = &cluster.tls {
        options.set("tls", true);
        if let Some(password) = &tls.key_file_password {
            options.set("tls_key_password", Secrets::new(config, None, None)?.get(&password.0)?);
        }
        let name = tls.name.clone().or_else(|| cluster.seed_nodes.iter().find_map(|node| node.tls_name.clone()));
        for (option, value) in [
            ("tls_name", &name),
            ("tls_ca", &tls.ca_file),
            ("tls_ca_path", &tls.ca_path),
            ("tls_protocols", &tls.protocols),
            ("tls_cipher_suites", &tls.cipher_suite),
            ("tls_cert_file", &tls.cert_file),
            ("tls_key_file", &tls.key_file),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                options.set(option, value.clone());
            }
        }
    }
    if cluster.use_services_alternate == Some(true) {
        options.set("services_alternate", true);
    }
    Ok(())
}

/// What no connector knows: sources, targets of drills, and options of them.
#[must_use]
pub fn unknown(registry: &Registry, config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, routine) in &config.routines {
        let mut say = |field: &str, words: String| {
            let path = ["backup-routines", name, field].map(str::to_owned).to_vec();
            found.push(Finding { path, words });
        };
        let drill = routine.drill.as_ref();
        let target = drill.and_then(|drill| drill.target.as_ref());
        let given = [
            ("source", "", "source-options", routine.source.as_ref(), routine.source_options.as_ref(), Role::Source),
            ("drill", "target: ", "drill", target, drill.and_then(|drill| drill.target_options.as_ref()), Role::Target),
        ];
        for (field, part, options_field, url, options, role) in given {
            let Some((url, scheme)) = url.and_then(|url| Some((url, url.split_once(':')?.0))) else { continue };
            if let Some(known) = schemes_without(registry, scheme) {
                say(field, format!("{part}`{scheme}:` is not one of {known}"));
                continue;
            }
            for option in options.into_iter().flatten().map(|(option, _)| option) {
                if !registry.knows(url, role, option) {
                    say(options_field, format!("{part}`{scheme}:` has no option `{option}`"));
                }
            }
        }
    }
    found
}

/// The schemes that there are, if this is none of them.
fn schemes_without(registry: &Registry, scheme: &str) -> Option<String> {
    let is_known = registry.connectors().any(|connector| connector.scheme() == scheme);
    let all = || registry.connectors().map(|connector| format!("{}:", connector.scheme())).collect::<Vec<_>>();
    (!is_known).then(|| all().join(", "))
}

/// What is allowed and never is, and what is never allowed.
#[must_use]
pub fn doubts(registry: &Registry, config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |path: &[&str], words: String| {
        found.push(Finding { path: path.iter().map(|&part| part.to_owned()).collect(), words });
    };
    for allowed in &config.service.restore_targets {
        let scheme = allowed.split_once(':').map_or("", |(scheme, _)| scheme);
        if let Some(known) = schemes_without(registry, scheme) {
            let shown = super::config::hidden_url(allowed);
            say(&["service", "restore-targets"], format!("no target begins with `{shown}`: they begin with {known}"));
        }
    }
    for (name, routine) in &config.routines {
        let target = routine.drill.as_ref().and_then(|drill| drill.target.as_ref());
        if target.is_some_and(|target| !super::reach::is_allowed(config, target)) {
            let words = "target: nothing of service.restore-targets allows it: each drill will fail";
            say(&["backup-routines", name, "drill"], words.to_owned());
        }
    }
    found
}

/// The URLs that a run of a routine reads.
pub(super) fn urls(config: &Config, routine: &Routine) -> Vec<String> {
    if let Some(url) = &routine.source {
        return vec![url.clone()];
    }
    let cluster = routine.source_cluster.as_deref().and_then(|name| config.clusters.get(name));
    let Some(cluster) = cluster else { return Vec::new() };
    let namespaces = routine.namespaces.as_deref().unwrap_or_default();
    if namespaces.is_empty() {
        return vec![cluster_url(cluster, None)];
    }
    namespaces.iter().map(|namespace| cluster_url(cluster, Some(namespace))).collect()
}

/// What a run of a routine reads.
///
/// # Errors
/// In words, if a secret cannot be got or something that the routine names is gone.
pub fn readings(config: &Config, routine: &Routine, policy: &Policy) -> Result<Vec<Reading>, String> {
    if let Some(url) = &routine.source {
        let (agent, name) = routine.agent();
        let secrets = Secrets::new(config, agent, name)?;
        let mut options = Options::default();
        for (name, value) in routine.source_options.iter().flatten() {
            options.set(name, resolved(value, &secrets)?);
        }
        return Ok(vec![Reading { url: url.clone(), options }]);
    }
    let name = routine.source_cluster.as_deref().unwrap_or_default();
    let cluster = config.clusters.get(name).ok_or_else(|| format!("there is no cluster `{name}`"))?;
    let mut options = Options::default();
    cluster_options(config, cluster, &mut options)?;
    let millis = |millis: u32| f64::from(millis) / 1000.0;
    let said = json!({
        "sets": routine.set_list.clone().unwrap_or_default(),
        "bins": routine.bin_list.clone().unwrap_or_default(),
        "partitions": routine.partition_list.as_deref().map(partitions).transpose()?,
        "filter_exp": routine.filter_exp,
        "node_list": routine.node_list.clone().unwrap_or_default(),
        "rack_list": routine.rack_list.clone().unwrap_or_default(),
        "prefer_racks": cluster.prefer_racks.clone().unwrap_or_default(),
        "no_records": policy.no_records.unwrap_or(false),
        "no_indexes": policy.no_indexes.unwrap_or(false),
        "no_udfs": policy.no_udfs.unwrap_or(false),
        "with_cluster_configuration": policy.with_cluster_configuration.unwrap_or(false),
        "socket_timeout": policy.socket_timeout.filter(|millis| *millis > 0).map(millis),
        "total_timeout": policy.total_timeout.filter(|millis| *millis > 0).map(millis),
        "records_per_second": policy.records_per_second.filter(|rate| *rate > 0),
        // The backup service takes a set that is not there for an empty one.
        "allow_missing_set": routine.set_list.as_ref().is_some_and(|sets| !sets.is_empty()),
    });
    options.add(&said).map_err(|error| error.to_string())?;
    Ok(urls(config, routine).into_iter().map(|url| Reading { url, options: options.clone() }).collect())
}

pub(super) fn resolved(value: &Json, secrets: &Secrets<'_>) -> Result<Json, String> {
    match value {
        Json::String(text) => Ok(Json::String(secrets.get(text)?)),
        other => Ok(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_credentials_are_none() {
        let given = |credentials: Json| {
            let cluster = json!({ "seed-nodes": [{ "host-name": "a", "port": 1 }], "credentials": credentials });
            let cluster: Cluster = serde_json::from_value(cluster).unwrap();
            let mut options = Options::default();
            cluster_options(&Config::default(), &cluster, &mut options).unwrap();
            options.given().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(given(json!({ "user": "", "password": "", "password-path": "" })), Vec::<String>::new());
        assert_eq!(given(json!({ "user": "u" })), ["as_user"]);
        assert_eq!(given(json!({ "user": "u", "password": "p" })).len(), 2);
    }

    #[test]
    fn a_routine_of_several_namespaces_reads_each() {
        let config: Config = serde_json::from_value(json!({
            "aerospike-clusters": { "c": { "seed-nodes": [{ "host-name": "a", "port": 3000 }, { "host-name": "::1", "port": 1 }],
                "credentials": { "user": "u", "password": "p" } } },
            "backup-routines": { "r": { "interval-cron": "@daily", "source-cluster": "c", "namespaces": ["n", "m"] } }
        }))
        .unwrap();
        let policy = Policy { socket_timeout: Some(1500), no_udfs: Some(true), ..Policy::default() };
        let readings = readings(&config, &config.routines["r"], &policy).unwrap();
        let urls: Vec<&str> = readings.iter().map(|reading| reading.url.as_str()).collect();
        assert_eq!(urls, ["aerospike://a:3000,[::1]:1/n", "aerospike://a:3000,[::1]:1/m"]);
        let mut given: Vec<&str> = readings[0].options.given().collect();
        given.sort_unstable();
        assert_eq!(given, ["as_password", "as_user", "no_udfs", "socket_timeout"]);
    }
}
