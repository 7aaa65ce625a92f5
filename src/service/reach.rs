//! What a restore may reach: clusters and targets that are configured, and nothing that only whoever asks for it names. And when
//! two restores go to one place, however that is written.

use super::{
    ServiceError,
    config::{Cluster, Config, SecretAgent, SeedNode, hidden_url, lean},
    keys::Caller,
    sources::cluster_url,
};
use crate::connector::{
    aerospike::options::{Address, DEFAULT_PORT, Seed},
    url::{SourceUrl, without_password},
};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// Fields that name files of this host.
const PATHS: [&str; 5] = ["password-path", "ca-file", "ca-path", "cert-file", "key-file"];

fn forbidden(words: impl Into<String>) -> ServiceError {
    ServiceError::Forbidden(words.into())
}

fn is_same(one: &SeedNode, other: &SeedNode) -> bool {
    one.port == other.port && one.host_name.eq_ignore_ascii_case(&other.host_name)
}

/// The clusters of the configuration that share a node with this one.
fn kin<'c>(config: &'c Config, cluster: &Cluster) -> Vec<&'c Cluster> {
    let shares =
        |known: &&Cluster| known.seed_nodes.iter().any(|own| cluster.seed_nodes.iter().any(|it| is_same(own, it)));
    config.clusters.values().filter(shares).collect()
}

/// A cluster that a request gives as it is, as it may be reached: of a configured one the nodes that this names, since the others
/// are found by them. What is read on this host for it is said by the configuration alone.
///
/// # Errors
/// [`ServiceError::Invalid`], [`ServiceError::Forbidden`].
pub(super) fn reachable(config: &Config, given: &Cluster) -> Result<Cluster, ServiceError> {
    let is_none = |node: &SeedNode| node.port == 0 || node.host_name.is_empty();
    if given.seed_nodes.is_empty() || given.seed_nodes.iter().any(is_none) {
        let words = "destination: it needs seed-nodes, each with host-name and port";
        return Err(ServiceError::Invalid(words.to_owned()));
    }
    let (kin, url) = (kin(config, given), cluster_url(given, None));
    let is_named = kin.is_empty() && is_allowed(config, &url);
    if kin.is_empty() && !is_named {
        return Err(forbidden(format!(
            "no cluster with a node of `{url}` is configured: add it, or `{url}` to service.restore-targets"
        )));
    }
    let of_host = [("credentials", lean(&given.credentials)), ("tls", lean(&given.tls))];
    for (part, value) in of_host {
        let known: Vec<Json> =
            kin.iter().map(|known| if part == "tls" { lean(&known.tls) } else { lean(&known.credentials) }).collect();
        if let Some(field) = foreign(config, "", &value, &known.iter().collect::<Vec<_>>()) {
            return Err(forbidden(format!(
                "destination.{part}{field}: what is read on this host is said by the configuration alone: name the cluster by \
                 destination-name"
            )));
        }
    }
    let mut cluster = given.clone();
    if !is_named {
        let is_known = |node: &SeedNode| kin.iter().any(|known| known.seed_nodes.iter().any(|own| is_same(own, node)));
        cluster.seed_nodes.retain(is_known);
    }
    Ok(cluster)
}

/// The first field that would have something of this host read, and that no configured cluster has.
fn foreign(config: &Config, name: &str, value: &Json, known: &[&Json]) -> Option<String> {
    if known.contains(&value) {
        return None;
    }
    match value {
        Json::Object(_) if name == "secret-agent" => {
            let agent = serde_json::from_value(value.clone()).ok();
            let is_known = agent.is_some_and(|agent: SecretAgent| is_known_agent(config, &agent));
            (!is_known).then(String::new)
        }
        Json::Object(fields) => fields.iter().find_map(|(name, value)| {
            let known: Vec<&Json> = known.iter().filter_map(|known| known.get(name)).collect();
            foreign(config, name, value, &known).map(|below| format!(".{name}{below}"))
        }),
        Json::String(text) => {
            // A secret goes to a cluster that is configured; as a user's name it would come back in errors.
            let is_secret = text.starts_with("secrets:") && name.contains("password") && !config.clusters.is_empty();
            let is_reference = ["env:", "file:", "secrets:"].iter().any(|scheme| text.starts_with(scheme));
            (PATHS.contains(&name) || (is_reference && !is_secret)).then(String::new)
        }
        _ => None,
    }
}

/// Whether an agent is one that the configuration asks.
fn is_known_agent(config: &Config, agent: &SecretAgent) -> bool {
    let of_clusters = config.clusters.values().filter_map(|it| it.credentials.as_ref()?.secret_agent.as_ref());
    let of_routines = config.routines.values().filter_map(|routine| routine.agent().0);
    config.secret_agents.values().chain(of_clusters).chain(of_routines).any(|known| known == agent)
}

/// Refuses an agent that only a request names: it would be asked from here.
///
/// # Errors
/// [`ServiceError::Forbidden`].
pub(super) fn check_agent(config: &Config, agent: Option<&SecretAgent>) -> Result<(), ServiceError> {
    match agent {
        Some(agent) if !is_known_agent(config, agent) => Err(forbidden(format!(
            "secret-agent: none at `{}` is configured: add it to secret-agents, and name it by secret-agent-name",
            agent.address
        ))),
        _ => Ok(()),
    }
}

/// Whether a URL may be restored into: it begins with one that is configured, and goes nowhere else from there.
pub(super) fn is_allowed(config: &Config, url: &str) -> bool {
    let climbs = |place: &str| {
        place.split(['/', '\\', ':']).any(|part| part == "..") || place.contains("%2") || place.contains("hex:")
    };
    let below = |prefix: &String| {
        url.strip_prefix(prefix.as_str()).is_some_and(|rest| {
            // What follows a `?` may name another host.
            !rest.contains(['?', '#'])
                && !climbs(url.split('?').next().unwrap_or_default())
                && (rest.is_empty() || prefix.ends_with(['/', ':']) || rest.starts_with('/'))
        })
    };
    config.service.restore_targets.iter().any(below) && stays_inside(config, url)
}

/// Whether a place on this host is below what allows it also where links of folders lead. It has to be below each that its text is
/// below: what a restore into the one wrote may be a link that another begins with.
fn stays_inside(config: &Config, url: &str) -> bool {
    let Ok(target) = SourceUrl::parse(url).map(|url| url.path()) else { return false };
    let Some(found) = real(&target) else { return false };
    let allowed = config.service.restore_targets.iter().filter_map(|it| Some(SourceUrl::parse(it).ok()?.path()));
    allowed.filter(|it| target.starts_with(it)).all(|it| real(&it).is_some_and(|it| found.starts_with(it)))
}

/// Where a path leads: links are followed, of what is not there yet those of the nearest folder that is. Nothing where that cannot be
/// told: who writes through a link that leads nowhere yet would make what it leads to.
fn real(path: &Path) -> Option<PathBuf> {
    // Without a slash at the end, which would have the last link followed.
    let path: PathBuf = path.components().collect();
    for known in path.ancestors() {
        let rest = path.strip_prefix(known).ok()?;
        let known = if known.as_os_str().is_empty() { Path::new(".") } else { known };
        match (known.canonicalize(), known.symlink_metadata()) {
            (Ok(found), _) if rest.as_os_str().is_empty() => return Some(found),
            (Ok(found), _) => return Some(found.join(rest)),
            (Err(_), Err(error))
                if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
            (Err(_), _) => return None,
        }
    }
    None
}

/// A target that is named as it is shown, with the password that the configuration has for it.
pub(super) fn with_password(config: &Config, url: &str) -> String {
    let known = config.service.restore_targets.iter().find_map(|known| {
        let rest = url.strip_prefix(hidden_url(known).as_str())?;
        Some(format!("{known}{rest}"))
    });
    known.unwrap_or_else(|| url.to_owned())
}

/// Whether a caller may have something written there: who is bound to routines or to a tenant, into what these read and into what
/// anybody may restore into.
pub(super) fn may_write(config: &Config, caller: &Caller, url: &str) -> bool {
    if caller.may_all_routines() || is_allowed(config, url) {
        return true;
    }
    let own = config.routines.iter().filter(|(name, routine)| caller.may_routine(name, routine.tenant.as_deref()));
    let reads = own.filter_map(|(_, routine)| match (&routine.source, &routine.source_cluster) {
        (Some(url), _) => Some(url.clone()),
        (None, cluster) => Some(cluster_url(config.clusters.get(cluster.as_ref()?)?, None)),
    });
    let own: Vec<String> = reads.flat_map(|url| places(config, &url)).collect();
    places(config, url).iter().all(|place| own.contains(place))
}

/// What two restores must not write at once: the nodes of a cluster, or the place that a URL names, however it is written.
pub(super) fn places(config: &Config, url: &str) -> Vec<String> {
    let url = without_password(url);
    let place = url.split(['?', '#']).next().unwrap_or_default();
    if let Some(nodes) = place.strip_prefix("aerospike://") {
        let nodes = nodes.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let nodes: Vec<SeedNode> = nodes.split(',').filter_map(node).collect();
        let given = Cluster { seed_nodes: nodes, ..Cluster::default() };
        let of_kin = kin(config, &given).into_iter().flat_map(|known| known.seed_nodes.clone());
        let mut all: Vec<String> = given.seed_nodes.iter().cloned().chain(of_kin).map(|node| as_text(&node)).collect();
        all.sort_unstable();
        all.dedup();
        return all;
    }
    let (scheme, rest) = place.split_once(':').unwrap_or(("", place));
    if rest.starts_with("//") {
        return vec![format!("{scheme}:{}", rest.trim_end_matches('/'))];
    }
    let path = Path::new(rest);
    let real = real(path).unwrap_or_else(|| path.components().collect());
    vec![format!("{scheme}:{}", real.display())]
}

fn node(text: &str) -> Option<SeedNode> {
    let Address { host, port } = Seed::parse(text, DEFAULT_PORT)?.address;
    Some(SeedNode { host_name: host, port, tls_name: None })
}

fn as_text(node: &SeedNode) -> String {
    let host = node.host_name.to_ascii_lowercase();
    let host = if host == "localhost" || host == "::1" { "127.0.0.1".to_owned() } else { host };
    format!("aerospike:{host}:{}", node.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_is_named_as_it_is_shown() {
        let mut config = Config::default();
        config.service.restore_targets = vec!["sqlite:/srv/".to_owned(), "postgresql://u:pass@db/".to_owned()];
        for (named, meant) in [
            ("postgresql://u:[secret]@db/one", "postgresql://u:pass@db/one"),
            ("postgresql://u:pass@db/one", "postgresql://u:pass@db/one"),
            ("postgresql://u:[secret]@evil/one", "postgresql://u:[secret]@evil/one"),
            ("sqlite:/srv/a.db", "sqlite:/srv/a.db"),
        ] {
            assert_eq!(with_password(&config, named), meant);
        }
    }

    fn config() -> Config {
        serde_json::from_value(json!({
            "aerospike-clusters": {
                "c": { "seed-nodes": [{ "host-name": "A", "port": 1 }, { "host-name": "b", "port": 2 }],
                    "credentials": { "user": "u", "password": "file:/etc/rekeep/password" }, "tls": { "ca-file": "/etc/ca.pem" } }
            },
            "secret-agents": { "agent": { "address": "127.0.0.1", "port": 3005 } },
            "service": { "restore-targets": ["sqlite:/srv/", "postgresql://db/", "aerospike://d:4"] }
        }))
        .unwrap()
    }

    fn given(value: Json) -> Result<Cluster, ServiceError> {
        reachable(&config(), &serde_json::from_value(value).unwrap())
    }

    #[test]
    fn of_a_cluster_that_is_given_only_known_nodes_are_asked() {
        let nodes = json!([{ "host-name": "evil", "port": 9 }, { "host-name": "a", "port": 1 }]);
        let cluster =
            given(json!({ "seed-nodes": nodes, "credentials": { "user": "other", "password": "plain" } })).unwrap();
        assert_eq!(cluster_url(&cluster, None), "aerospike://a:1");
        assert!(matches!(given(json!({ "seed-nodes": [nodes[0]] })), Err(ServiceError::Forbidden(_))));
        assert!(matches!(given(json!({ "seed-nodes": [] })), Err(ServiceError::Invalid(_))));
        let named = given(json!({ "seed-nodes": [{ "host-name": "d", "port": 4 }] })).unwrap();
        assert_eq!(cluster_url(&named, None), "aerospike://d:4");
    }

    #[test]
    fn what_is_read_on_this_host_is_said_by_the_configuration_alone() {
        let with = |more: Json| {
            let mut value = json!({ "seed-nodes": [{ "host-name": "a", "port": 1 }] });
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            given(value)
        };
        for (more, field) in [
            (json!({ "credentials": { "user": "file:/etc/shadow" } }), "credentials.user"),
            (json!({ "credentials": { "user": "secrets:r:k" } }), "credentials.user"),
            (json!({ "credentials": { "user": "u", "password": "env:HOME" } }), "credentials.password"),
            (json!({ "credentials": { "user": "u", "password-path": "/etc/shadow" } }), "credentials.password-path"),
            (json!({ "credentials": { "secret-agent": { "address": "evil" } } }), "credentials.secret-agent"),
            (json!({ "tls": { "key-file": "/etc/key" } }), "tls.key-file"),
        ] {
            let said = with(more).unwrap_err().to_string();
            assert!(said.contains(&format!("destination.{field}:")), "{said}");
        }
        let own = json!({ "credentials": { "user": "u", "password": "file:/etc/rekeep/password" }, "tls": { "ca-file": "/etc/ca.pem" } });
        assert!(with(own).is_ok());
        assert!(
            with(json!({ "credentials": { "user": "u", "password": "secrets:r:k", "secret-agent-name": "agent" } }))
                .is_ok()
        );
        let agent =
            |address: &str| SecretAgent { address: address.to_owned(), port: Some(3005), ..SecretAgent::default() };
        assert!(check_agent(&config(), Some(&agent("127.0.0.1"))).is_ok() && check_agent(&config(), None).is_ok());
        assert!(check_agent(&config(), Some(&agent("169.254.169.254"))).is_err());
    }

    #[test]
    fn a_target_is_reached_below_what_is_configured_only() {
        let config = config();
        for (url, allowed) in [
            ("sqlite:/srv/a.db", true),
            ("sqlite:/srv/../etc/a.db", false),
            ("sqlite:/srv/%2e%2e/a.db", false),
            ("postgresql://db/x", true),
            ("postgresql://db/x?host=evil", false),
            ("postgresql://db/x?user=u", false),
            ("postgresql://db/x#", false),
            ("postgresql://dbevil/x", false),
        ] {
            assert_eq!(is_allowed(&config, url), allowed, "{url}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_below_what_is_configured_leads_nowhere_else() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for folder in ["in/own/sub", "out/sub", "real"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for (to, link) in [
            ("out", "in/link"),
            ("in/own", "in/inside"),
            ("out/none", "in/dangling"),
            ("in/loop", "in/loop"),
            ("out/evil.db", "in/evil.db"),
            ("out/sub", "in/named"),
            ("real", "door"),
        ] {
            symlink(at(to), at(link)).unwrap();
        }
        let shown = |path: &str| at(path).display().to_string();
        let mut config = config();
        config.service.restore_targets = ["in/", "in/named", "door"].map(|it| format!("files:{}", shown(it))).to_vec();
        config.service.restore_targets.push(format!("sqlite:{}/", shown("in")));
        for (path, allowed) in [
            ("in/own", true),
            ("in/own/new/newer/newest", true),
            ("in/inside/new", true),
            ("in//own/./new/", true),
            ("door", true),
            ("door/new/newer", true),
            ("in/link", false),
            ("in/link/", false),
            ("in/link/sub", false),
            ("in/link/new/newer/newest", false),
            ("in//./link/sub", false),
            ("in/dangling", false),
            ("in/dangling/", false),
            ("in/dangling/x", false),
            ("in/loop/x", false),
            ("in/named", false),
            ("in/named/x", false),
        ] {
            assert_eq!(is_allowed(&config, &format!("files:{}", shown(path))), allowed, "{path}");
        }
        for (path, allowed) in [("in/new.db", true), ("in/evil.db", false), ("in/link/new.db", false)] {
            let url = format!("sqlite:{}", shown(path));
            assert_eq!(is_allowed(&config, &url), allowed, "{path}");
            assert!(!is_allowed(&config, &url.replace(":/", ":///")), "{path}");
        }
        // All of a scheme is all of it.
        config.service.restore_targets = vec!["files:".to_owned()];
        assert!(is_allowed(&config, &format!("files:{}", shown("in/link/sub"))));
        let places = |path: &str| places(&config, &format!("files:{}", shown(path)));
        assert_eq!(
            places("in/inside/new/newer"),
            places("in/own/new/newer"),
            "one place, several folders of it not there yet"
        );
    }

    #[test]
    fn a_bound_key_writes_into_what_its_routines_read_and_nowhere_else() {
        let mut config = config();
        let more = json!({
            "aerospike-clusters": { "d": { "seed-nodes": [{ "host-name": "d", "port": 5 }] } },
            "backup-routines": {
                "own": { "interval-cron": "@daily", "source-cluster": "d", "tenant": "t" },
                "files": { "interval-cron": "@daily", "source": "sqlite:/own/x.db?table=t", "tenant": "t" },
                "other": { "interval-cron": "@daily", "source-cluster": "c" }
            }
        });
        let more: Config = serde_json::from_value(more).unwrap();
        config.clusters.extend(more.clusters);
        config.routines = more.routines;
        let hash = crate::service::keys::hash_of("rkp_x");
        let key = crate::service::config::KeySettings {
            hash: hash.clone(),
            tenant: Some("t".to_owned()),
            ..Default::default()
        };
        config.service.api_keys.insert("one".to_owned(), key);
        let caller = Caller::of_hash(&config.service, &hash, crate::record::Timestamp::default()).unwrap();
        for (url, may) in [
            ("aerospike://d:5", true),
            ("aerospike://A:1", false),
            ("aerospike://d:5,b:2", false),
            ("sqlite:/own/x.db", true),
            ("sqlite:/own/y.db", false),
            ("sqlite:/srv/a.db", true),
        ] {
            assert_eq!(may_write(&config, &caller, url), may, "{url}");
            assert!(may_write(&config, &Caller::anybody(), url));
        }
    }

    #[test]
    fn one_place_is_one_however_it_is_written() {
        let config = config();
        assert_eq!(places(&config, "aerospike://a:1"), ["aerospike:a:1", "aerospike:b:2"]);
        assert_eq!(places(&config, "aerospike://B:2,A:1/ns"), places(&config, "aerospike://a:1"));
        assert_eq!(places(&config, "aerospike://localhost:3"), places(&config, "aerospike://127.0.0.1:3"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        let at = |path: &str| places(&config, &format!("sqlite:{}/{path}", dir.path().display()));
        assert_eq!(at("real/a.db"), at("link//./a.db?x=1"));
        assert_ne!(at("real/a.db"), at("real/b.db"));
        assert_eq!(places(&config, "postgresql://u:secret@h/d"), places(&config, "postgresql://u@h/d/?password=x"));
    }
}
