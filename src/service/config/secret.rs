//! Secrets of the configuration: never shown, kept where `[secret]` comes back, and looked up where they are references.

use super::{Config, SecretAgent, hidden::HIDDEN};
use serde_json::Value as Json;
use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

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
    FIELDS.contains(&name) && value.as_str().is_some_and(|text| !text.is_empty() && !is_reference(text))
}

/// Puts `[secret]` in the place of every secret.
pub fn hide(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            for (name, value) in fields {
                if is_secret(name, value) {
                    *value = Json::String(HIDDEN.to_owned());
                } else {
                    hide(value);
                }
            }
        }
        Json::Array(list) => list.iter_mut().for_each(hide),
        _ => {}
    }
}

/// Puts what is stored in the place of every `[secret]` that comes back.
pub fn keep_hidden(new: &mut Json, stored: &Json) {
    match new {
        Json::Object(fields) => {
            for (name, value) in fields {
                let before = stored.get(name.as_str()).unwrap_or(&Json::Null);
                if value.as_str() == Some(HIDDEN) && FIELDS.contains(&name.as_str()) && before.is_string() {
                    value.clone_from(before);
                } else {
                    keep_hidden(value, before);
                }
            }
        }
        Json::Array(list) => {
            for (at, value) in list.iter_mut().enumerate() {
                keep_hidden(value, stored.get(at).unwrap_or(&Json::Null));
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
        if let Some(rest) = text.strip_prefix("secrets:") {
            let (resource, key) =
                rest.split_once(':').ok_or_else(|| format!("`{text}`: write secrets:RESOURCE:KEY"))?;
            let only =
                || (self.config.secret_agents.len() == 1).then(|| self.config.secret_agents.values().next()).flatten();
            let agent = self.agent.or_else(only).ok_or_else(|| format!("`{text}`: there is no secret agent to ask"))?;
            return ask(agent, resource, key).map_err(|error| format!("secret agent {}: {error}", agent.address));
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

/// What begins a message of a secret agent.
const MAGIC: [u8; 4] = [0x51, 0xde, 0xc1, 0xcc];

/// Asks an agent: a head of eight bytes, and JSON, both ways.
fn ask(agent: &SecretAgent, resource: &str, key: &str) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    if agent.connection_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("tcp")) {
        return Err("only tcp connections are known".to_owned());
    }
    if agent.ca_file.is_some() || agent.cert_file.is_some() {
        return Err("TLS to secret agents is not known".to_owned());
    }
    let patience = Duration::from_millis(u64::from(agent.timeout.unwrap_or(1000)));
    let port = agent.port.unwrap_or(3005);
    let mut places = (agent.address.as_str(), port).to_socket_addrs().map_err(words)?;
    let place = places.next().ok_or("its name has no address")?;
    let mut stream = TcpStream::connect_timeout(&place, patience).map_err(words)?;
    stream.set_read_timeout(Some(patience)).map_err(words)?;
    stream.set_write_timeout(Some(patience)).map_err(words)?;
    let body = serde_json::json!({ "Resource": resource, "SecretKey": key }).to_string();
    let length = u32::try_from(body.len()).map_err(|_| "the question is too long")?;
    let message = [&MAGIC[..], &length.to_be_bytes(), body.as_bytes()].concat();
    stream.write_all(&message).map_err(words)?;
    let mut head = [0; 8];
    stream.read_exact(&mut head).map_err(words)?;
    let [.., a, b, c, d] = head;
    let length = u64::from(u32::from_be_bytes([a, b, c, d]));
    if head[..4] != MAGIC || length > MAX_BYTES {
        return Err("its answer is none of a secret agent".to_owned());
    }
    let mut body = Vec::new();
    stream.take(length).read_to_end(&mut body).map_err(words)?;
    let answer: Json = serde_json::from_slice(&body).map_err(|_| "its answer is no JSON")?;
    if let Some(error) = answer.get("Error").and_then(Json::as_str).filter(|error| !error.is_empty()) {
        return Err(error.to_owned());
    }
    let value = answer.get("SecretValue").and_then(Json::as_str).ok_or("its answer has no secret in it")?;
    if agent.is_base64 != Some(true) {
        return Ok(value.to_owned());
    }
    let bytes = data_encoding::BASE64.decode(value.as_bytes()).map_err(|_| "the secret is no base64")?;
    String::from_utf8(bytes).map_err(|_| "the secret is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
    fn an_agent_is_asked_and_its_refusal_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = std::thread::spawn(move || {
            for answer in [json!({ "SecretValue": "cGFzcw==" }), json!({ "Error": "no such key" })] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 8];
                stream.read_exact(&mut head).unwrap();
                let mut body = vec![0; u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize];
                stream.read_exact(&mut body).unwrap();
                assert_eq!(
                    serde_json::from_slice::<Json>(&body).unwrap(),
                    json!({ "Resource": "r", "SecretKey": "k" })
                );
                let answer = answer.to_string();
                stream.write_all(&MAGIC).unwrap();
                stream.write_all(&(answer.len() as u32).to_be_bytes()).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let agent = SecretAgent {
            address: "127.0.0.1".to_owned(),
            port: Some(port),
            is_base64: Some(true),
            timeout: Some(10_000),
            ..SecretAgent::default()
        };
        let config = Config::default();
        let secrets = Secrets::new(&config, Some(&agent), None).unwrap();
        assert_eq!(secrets.get("secrets:r:k").unwrap(), "pass");
        assert!(secrets.get("secrets:r:k").unwrap_err().ends_with("no such key"));
        assert_eq!(secrets.get("plain").unwrap(), "plain");
        serve.join().unwrap();
    }
}
