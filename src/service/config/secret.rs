//! Secrets of the configuration: never shown, kept where `[secret]` comes back, and looked up where they are references.

use super::{Config, SecretAgent, hidden::HIDDEN};
use crate::connector::{
    aerospike::{
        TlsOptions,
        options::Address,
        secrets::{AgentPlace, DEFAULT_PORT, SecretAgent as Agent, named},
    },
    passwords::with_secrets_as,
};
use serde_json::Value as Json;
use std::{io::Read as _, time::Duration};

/// Fields that are secrets, wherever they stand.
const FIELDS: &[&str] = &[
    "password",
    "secret-access-key",
    "access-key-id",
    "account-key",
    "client-secret",
    "key-file-password",
    "key",
    "key-secret",
    "hash",
];

/// The longest secret.
const MAX_BYTES: u64 = 64 * 1024;

/// Whether a field of this name with this value hides something. References are no secrets.
fn is_secret(name: &str, value: &Json) -> bool {
    let is_reference = |text: &str| ["env:", "file:", "secrets:"].iter().any(|scheme| text.starts_with(scheme));
    names_secret(name) && value.as_str().is_some_and(|text| !text.is_empty() && !is_reference(text))
}

/// A URL as it is shown: with `[secret]` in the place of the password of `//USER:PASSWORD@HOST`, and of options that are secrets.
pub(in crate::service) fn hidden_url(url: &str) -> String {
    let is_url = url.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme));
    if !is_url {
        return url.to_owned();
    }
    with_secrets_as(url, &|user| format!("{user}:{HIDDEN}"), &|name| Some(format!("{name}={HIDDEN}")))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Whether a field of this name is a secret: one of the configuration's, or an option of a source or target.
fn names_secret(name: &str) -> bool {
    let ends = |end: &str| name.replace('_', "-").ends_with(end);
    FIELDS.contains(&name) || OPTIONS.iter().any(|end| ends(end))
}

/// How names of options of sources and targets end that are secrets.
const OPTIONS: [&str; 6] = ["-password", "-access-key", "-account-key", "-application-key", "encryption-key", "-token"];

/// A text of a field as it is shown.
fn hidden_text(name: &str, text: &str) -> String {
    if is_secret(name, &Json::String(text.to_owned())) { HIDDEN.to_owned() } else { hidden_url(text) }
}

/// Puts `[secret]` in the place of every secret.
pub fn hide(json: &mut Json) {
    hide_in("", json);
}

fn hide_in(name: &str, json: &mut Json) {
    match json {
        Json::Object(fields) => fields.iter_mut().for_each(|(name, value)| hide_in(name, value)),
        Json::Array(list) => list.iter_mut().for_each(|value| hide_in("", value)),
        Json::String(text) => *text = hidden_text(name, text),
        _ => {}
    }
}

/// Where `[secret]` stands though nothing is stored that it stood for: it would be taken for the secret itself.
pub(super) fn left_hidden(json: &Json) -> Option<Vec<String>> {
    left_in("", json).map(|mut path| {
        path.reverse();
        path
    })
}

/// The way there, from its end.
fn left_in(name: &str, json: &Json) -> Option<Vec<String>> {
    match json {
        Json::Object(fields) => fields.iter().find_map(|(name, value)| {
            let mut path = left_in(name, value)?;
            path.push(name.clone());
            Some(path)
        }),
        Json::Array(list) => list.iter().find_map(|value| left_in("", value)),
        Json::String(text) => {
            let is_left = text.contains(HIDDEN) && hidden_text(name, text) == *text;
            let stands = text == HIDDEN && names_secret(name)
                || is_left && (text.contains(&format!(":{HIDDEN}@")) || text.contains(&format!("={HIDDEN}")));
            stands.then(Vec::new)
        }
        _ => None,
    }
}

/// Puts what is stored in the place of every `[secret]` that comes back. Of a URL only where nothing else in it has changed: its
/// password is of that place alone.
pub fn keep_hidden(new: &mut Json, stored: &Json) {
    keep_in("", new, stored);
}

fn keep_in(name: &str, new: &mut Json, stored: &Json) {
    match new {
        Json::Object(fields) => {
            for (name, value) in fields {
                keep_in(name, value, stored.get(name.as_str()).unwrap_or(&Json::Null));
            }
        }
        Json::Array(list) => {
            for (at, value) in list.iter_mut().enumerate() {
                keep_in("", value, stored.get(at).unwrap_or(&Json::Null));
            }
        }
        Json::String(text) => {
            let is_kept = |before: &&str| text.contains(HIDDEN) && hidden_text(name, before) == *text;
            if let Some(before) = stored.as_str().filter(is_kept) {
                *text = before.to_owned();
            }
        }
        _ => {}
    }
}

/// What looks secrets up.
pub struct Secrets<'a> {
    config: &'a Config,
    agent: Option<&'a SecretAgent>,
}

impl<'a> Secrets<'a> {
    /// Of a configuration, with the agent that an object names or has of its own.
    ///
    /// # Errors
    /// In words, if there is no such agent.
    pub fn new(config: &'a Config, own: Option<&'a SecretAgent>, name: Option<&str>) -> Result<Self, String> {
        let named =
            name.map(|name| config.secret_agents.get(name).ok_or_else(|| format!("there is no secret agent `{name}`")));
        Ok(Self { config, agent: named.transpose()?.or(own) })
    }

    /// The secret that a text is, or names.
    ///
    /// # Errors
    /// In words, without the secret.
    pub fn get(&self, text: &str) -> Result<String, String> {
        if let Some(name) = text.strip_prefix("env:") {
            return std::env::var(name)
                .map_err(|_| format!("the environment variable {name} is not set, or is no text"));
        }
        if let Some(path) = text.strip_prefix("file:") {
            return of_file(path);
        }
        if text.starts_with("secrets:") {
            let (resource, key) = named(text).ok_or_else(|| format!("`{text}`: write secrets:RESOURCE:KEY"))?;
            let only =
                || (self.config.secret_agents.len() == 1).then(|| self.config.secret_agents.values().next()).flatten();
            let agent = self.agent.or_else(only).ok_or_else(|| format!("`{text}`: there is no secret agent to ask"))?;
            let asked = agent_of(agent).map_err(|words| format!("secret agent {}: {words}", agent.address))?;
            let secret = asked.get(resource, key).map_err(|error| error.to_string())?;
            return Ok(secret.as_str().to_owned());
        }
        Ok(text.to_owned())
    }
}

/// The text of a file without the line end behind it.
pub(in crate::service) fn of_file(path: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{path}: {error}");
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{path} is longer than {MAX_BYTES} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{path} is no text"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err(format!("{path} is empty")) } else { Ok(text.to_owned()) }
}

/// An agent as it is asked.
fn agent_of(agent: &SecretAgent) -> Result<Agent, String> {
    let place = match agent.connection_type.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "tcp") => {
            AgentPlace::Tcp(Address { host: agent.address.clone(), port: agent.port.unwrap_or(DEFAULT_PORT) })
        }
        Some("unix") => AgentPlace::Unix(agent.address.clone().into()),
        Some(other) => return Err(format!("connection-type {other} is none of tcp, unix")),
    };
    let path = |file: &Option<String>| file.as_ref().filter(|file| !file.is_empty()).map(Into::into);
    // As the backup service and the tools have it: TLS is spoken where an authority is named.
    let tls = path(&agent.ca_file).map(|ca_file| TlsOptions {
        ca_file: Some(ca_file),
        name: agent.name.clone().filter(|name| !name.is_empty()),
        cert_file: path(&agent.cert_file),
        key_file: path(&agent.key_file),
        ..TlsOptions::default()
    });
    if tls.is_none() && (agent.cert_file.is_some() || agent.key_file.is_some()) {
        return Err("a certificate is shown by TLS alone: name the authority (ca-file)".to_owned());
    }
    let timeout = Duration::from_millis(u64::from(agent.timeout.unwrap_or(1000)));
    Ok(Agent { place, timeout, tls, is_base64: agent.is_base64 == Some(true) })
}

/// What is wrong with an agent's settings.
pub(super) fn check_agent(agent: &SecretAgent) -> Result<(), String> {
    if agent.address.is_empty() {
        return Err("its address is empty".to_owned());
    }
    agent_of(agent).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write as _;

    #[test]
    fn secrets_are_hidden_and_kept_where_they_come_back_hidden() {
        let stored =
            json!({ "a": { "password": "one", "user": "u" }, "b": [{ "secret-access-key": "env:X" }], "key": "k" });
        let mut shown = stored.clone();
        hide(&mut shown);
        assert_eq!(shown["a"]["password"], HIDDEN);
        assert_eq!((&shown["b"], &shown["key"]), (&stored["b"], &json!(HIDDEN)));
        let mut back = shown;
        back["a"]["user"] = json!("other");
        keep_hidden(&mut back, &stored);
        assert_eq!(
            (&back["a"]["password"], &back["a"]["user"], &back["key"]),
            (&json!("one"), &json!("other"), &json!("k"))
        );
    }

    #[test]
    fn secrets_among_options_of_sources_and_targets_are_hidden() {
        let names = ["as_password", "tls_key_password", "encryption_key", "secret_access_key", "session_token"];
        for name in names {
            let mut options = json!({ "target-options": { name: "hunter2" } });
            hide(&mut options);
            assert_eq!(options["target-options"][name], HIDDEN, "{name}");
        }
        for name in ["password-file", "encryption_key_file", "secret-agent-name", "tls_cafile", "secret-agent"] {
            let mut options = json!({ "target-options": { name: "place" } });
            hide(&mut options);
            assert_eq!(options["target-options"][name], "place", "{name}");
        }
    }

    #[test]
    fn secrets_in_urls_are_hidden_and_kept_where_nothing_else_in_them_changes() {
        for (url, shown) in [
            ("postgresql://u:pass@h:5/d", "postgresql://u:[secret]@h:5/d"),
            ("postgresql://u:p/a@s@h/d?sslmode=x", "postgresql://u:[secret]@h/d?sslmode=x"),
            (
                "atlasdb:postgresql://u:p@h/d?prefix=P&password=q",
                "atlasdb:postgresql://u:[secret]@h/d?prefix=P&password=[secret]",
            ),
            ("http://me:p@h:9000/a:b@c", "http://me:[secret]@h:9000/a:b@c"),
            (
                "s3://b/p?region=r&secret_access_key=s&session-token=t",
                "s3://b/p?region=r&secret_access_key=[secret]&session-token=[secret]",
            ),
            ("sqlite:/a:b@c.db?table=t", "sqlite:/a:b@c.db?table=t"),
            ("files:/srv/x", "files:/srv/x"),
            ("postgresql://u@h/d", "postgresql://u@h/d"),
            ("0 0 2 * * ?", "0 0 2 * * ?"),
        ] {
            assert_eq!(hidden_url(url), shown);
            assert_eq!(hidden_url(shown), shown, "once and for all");
        }
        let stored = json!({ "source": "postgresql://u:p@h/d" });
        let kept = |new: &str| {
            let mut new = json!({ "source": new });
            keep_hidden(&mut new, &stored);
            new["source"].as_str().unwrap().to_owned()
        };
        assert_eq!(kept("postgresql://u:[secret]@h/d"), "postgresql://u:p@h/d");
        for other in ["postgresql://u:[secret]@evil/d", "postgresql://u:new@h/d"] {
            assert_eq!(kept(other), other);
        }
    }

    #[test]
    fn what_stands_for_no_secret_is_found() {
        let left = |json: Json| left_hidden(&json).map(|path| path.join("."));
        assert_eq!(left(json!({ "a": [{ "b": { "password": HIDDEN } }] })).as_deref(), Some("a.b.password"));
        assert_eq!(left(json!({ "r": { "source": "postgresql://u:[secret]@h/d" } })).as_deref(), Some("r.source"));
        assert_eq!(left(json!({ "r": { "source": "sqlite:/[secret].db", "name": HIDDEN }, "password": "p" })), None);
    }

    /// Answers questions: an authority is named where it speaks TLS.
    fn serve(mut stream: impl std::io::Read + std::io::Write, answer: &Json) {
        let mut head = [0; 8];
        stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(serde_json::from_slice::<Json>(&body).unwrap(), json!({ "Resource": "r", "SecretKey": "k" }));
        let answer = answer.to_string();
        stream.write_all(&[&head[..4], &(answer.len() as u32).to_be_bytes(), answer.as_bytes()].concat()).unwrap();
        stream.flush().unwrap();
    }

    fn ask(agent: &SecretAgent) -> Result<String, String> {
        Secrets::new(&Config::default(), Some(agent), None)?.get("secrets:r:k")
    }

    fn tcp(port: u16) -> SecretAgent {
        SecretAgent {
            address: "127.0.0.1".to_owned(),
            port: Some(port),
            timeout: Some(10_000),
            ..SecretAgent::default()
        }
    }

    #[test]
    fn an_agent_is_asked_and_its_refusal_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let agent = SecretAgent { is_base64: Some(true), ..tcp(listener.local_addr().unwrap().port()) };
        let server = std::thread::spawn(move || {
            for answer in [json!({ "SecretValue": "cGFzcw==" }), json!({ "Error": "no such key" })] {
                serve(listener.accept().unwrap().0, &answer);
            }
        });
        assert_eq!(ask(&agent).unwrap(), "pass");
        assert!(ask(&agent).unwrap_err().ends_with("no such key"));
        let config = Config::default();
        let secrets = Secrets::new(&config, Some(&agent), None).unwrap();
        assert_eq!(secrets.get("plain").unwrap(), "plain");
        assert!(secrets.get("secrets:r").is_err() && secrets.get("secrets:r:k:more").is_err());
        server.join().unwrap();
    }

    #[test]
    fn an_agent_is_asked_by_tls_where_an_authority_is_named() {
        let fixture = |name: &str| format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
        let file = |name: &str| std::path::PathBuf::from(fixture(name));
        let config = crate::connector::aerospike::xdr::listener::tls::server_config(
            &file("loopback.pem"),
            &file("loopback.key"),
            Some(&file("client-ca.pem")),
        );
        let config = config.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            // Whoever shows no certificate is not answered.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut tls = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
                let _ = tls.complete_io(&mut stream);
            }
        });
        let trusting = SecretAgent { ca_file: Some(fixture("loopback-ca.pem")), ..tcp(port) };
        assert!(ask(&trusting).is_err());
        assert!(ask(&SecretAgent { name: Some("else.test".to_owned()), ..trusting }).is_err());
        server.join().unwrap();
    }

    #[test]
    fn an_agent_by_tls_and_one_at_a_socket_answer() {
        let fixture = |name: &str| format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
        let file = |name: &str| std::path::PathBuf::from(fixture(name));
        let config = crate::connector::aerospike::xdr::listener::tls::server_config(
            &file("loopback.pem"),
            &file("loopback.key"),
            None,
        )
        .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let tls = rustls::ServerConnection::new(config).unwrap();
            let mut stream = rustls::StreamOwned::new(tls, listener.accept().unwrap().0);
            serve(&mut stream, &json!({ "SecretValue": "by tls" }));
            stream.conn.send_close_notify();
            let _ = stream.flush();
        });
        let name = Some("node.test".to_owned());
        assert_eq!(
            ask(&SecretAgent { ca_file: Some(fixture("loopback-ca.pem")), name, ..tcp(port) }).unwrap(),
            "by tls"
        );
        server.join().unwrap();
        #[cfg(unix)]
        {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("agent");
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let server = std::thread::spawn(move || {
                serve(listener.accept().unwrap().0, &json!({ "SecretValue": "by socket" }));
            });
            let agent = SecretAgent {
                address: path.display().to_string(),
                connection_type: Some("UNIX".to_owned()),
                ..SecretAgent::default()
            };
            assert_eq!(ask(&agent).unwrap(), "by socket");
            server.join().unwrap();
        }
        assert!(check_agent(&SecretAgent { cert_file: Some("c".to_owned()), ..tcp(1) }).is_err());
        assert!(check_agent(&SecretAgent { connection_type: Some("pigeon".to_owned()), ..tcp(1) }).is_err());
    }
}
