//! What a configuration says that makes sense and does nothing: names of routines and tenants that there are not, keys that may
//! nothing, secrets that nobody can be asked for. It is told and not refused: the interface may take a routine out that only the
//! file can take out of a key, and a service that started yesterday starts today.

use super::{Config, Finding, check::path_of, lean};
use crate::connector::aerospike::secrets::named;
use serde_json::Value as Json;

/// Whatever is doubtful.
pub(super) fn doubts(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |path: &[&str], words: String| found.push(Finding { path: path_of(path), words });
    let unknown = |routines: &[String]| {
        let unknown = routines.iter().filter(|name| !config.routines.contains_key(*name));
        unknown.cloned().collect::<Vec<_>>()
    };
    let settings = &config.service;
    for webhook in &settings.webhooks {
        for name in unknown(&webhook.routines) {
            let words = format!("that of `{}` is of a routine `{name}`, which there is not", place_of(&webhook.url));
            say(&["service", "webhooks"], words);
        }
    }
    for name in settings.mail.iter().flat_map(|mail| unknown(&mail.routines)) {
        say(&["service", "mail"], format!("routines: there is no routine `{name}`: nobody is told of it"));
    }
    for (key, its) in &settings.api_keys {
        for name in unknown(&its.routines) {
            say(&["service", "api-keys"], format!("{key}: there is no routine `{name}`"));
        }
        let has_tenant =
            |tenant: &String| config.routines.values().any(|routine| routine.tenant.as_ref() == Some(tenant));
        if let Some(tenant) = its.tenant.as_ref().filter(|tenant| !has_tenant(tenant)) {
            say(&["service", "api-keys"], format!("{key}: no routine is of the tenant `{tenant}`"));
        }
        if its.scopes.is_empty() {
            say(&["service", "api-keys"], format!("{key}: it has no scopes, and may nothing"));
        }
    }
    let json = lean(config);
    for (section, value) in json.as_object().into_iter().flatten() {
        let mut path = vec![section.clone()];
        unanswered(config, value, &mut path, false, &mut found);
    }
    found
}

/// An address without what may be secret in it: services of chat have their keys in paths.
fn place_of(url: &str) -> &str {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?']).map_or(url.len(), |at| begin + at);
    let login = url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    &url[login..end]
}

/// References to secret agents that name none, where there is not exactly one.
fn unanswered(config: &Config, json: &Json, path: &mut Vec<String>, has_own: bool, found: &mut Vec<Finding>) {
    match json {
        Json::Object(fields) => {
            let names = |field: &str| fields.get(field).is_some_and(|value| !value.is_null());
            let has_own = has_own || names("secret-agent") || names("secret-agent-name");
            for (name, value) in fields {
                path.push(name.clone());
                unanswered(config, value, path, has_own, found);
                path.pop();
            }
        }
        Json::Array(list) => list.iter().for_each(|value| unanswered(config, value, path, has_own, found)),
        Json::String(text) if text.starts_with("secrets:") => {
            let words = if named(text).is_none() {
                "it begins as a reference to a secret agent: write secrets:RESOURCE:KEY"
            } else if !has_own && config.secret_agents.len() != 1 {
                "it is of a secret agent, and none is named here: there is not exactly one that it could be"
            } else {
                return;
            };
            found.push(Finding { path: path.clone(), words: words.to_owned() });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_that_there_are_not_are_told_where_nothing_refuses_them() {
        let config = |changed: bool| -> Config {
            let (routine, tenant) = if changed { ("accuonts", "ten") } else { ("accounts", "one") };
            serde_json::from_value(json!({
                "backup-routines": { "accounts": { "interval-cron": "@daily", "source": "sqlite:x", "tenant": "one" } },
                "service": {
                    "webhooks": [{ "url": "https://u:p@chat.example/hooks/SECRET", "routines": [routine] }],
                    "mail": { "server": "m", "from": "a@b.example", "to": ["a@b.example"], "routines": [routine] },
                    "api-keys": {
                        "k": { "hash": "h", "scopes": ["read"], "routines": [routine] },
                        "t": { "hash": "i", "scopes": if changed { json!([]) } else { json!(["read"]) }, "tenant": tenant }
                    }
                }
            }))
            .unwrap()
        };
        assert_eq!(config(false).doubts(), []);
        let told: Vec<String> = config(true).doubts().iter().map(ToString::to_string).collect();
        let begins = [
            "service.webhooks: ",
            "service.mail: ",
            "service.api-keys: k",
            "service.api-keys: t",
            "service.api-keys: t",
        ];
        assert_eq!(told.len(), begins.len(), "{told:?}");
        for (words, begin) in told.iter().zip(begins) {
            assert!(words.starts_with(begin) && !words.contains("SECRET") && !words.contains("u:p"), "{words}");
        }
        assert!(
            told[0].contains("chat.example") && told[3..].iter().any(|words| words.contains("may nothing")),
            "{told:?}"
        );
    }

    #[test]
    fn references_that_no_secret_agent_answers_are_told() {
        let told = |agents: usize, own: bool, text: &str| {
            let agents: serde_json::Map<String, Json> =
                (0..agents).map(|number| (format!("a{number}"), json!({ "address": "h" }))).collect();
            let mut credentials = json!({ "user": "u", "password": text });
            if own {
                credentials["secret-agent"] = json!({ "address": "h" });
            }
            let config: Config = serde_json::from_value(json!({
                "secret-agents": agents,
                "aerospike-clusters": { "c": { "seed-nodes": [{ "host-name": "h", "port": 1 }], "credentials": credentials } }
            }))
            .unwrap();
            config.doubts()
        };
        for (agents, own) in [(1, false), (0, true), (2, true)] {
            assert_eq!(told(agents, own, "secrets:R:K"), []);
        }
        for agents in [0, 2] {
            assert_eq!(
                told(agents, false, "secrets:R:K")[0].path,
                ["aerospike-clusters", "c", "credentials", "password"]
            );
        }
        assert!(told(1, false, "secrets:R")[0].words.contains("RESOURCE:KEY"));
        assert_eq!(told(0, false, "word"), []);
    }
}
