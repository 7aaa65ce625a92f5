//! Aerospike's Secret Agent: a process that hands out secrets of a vault by name, over TCP, TLS or a Unix socket. A secret is
//! named `secrets:RESOURCE:KEY`.

use super::{
    error::Error,
    options::{Address, TlsOptions},
    tls::Tls,
};
use crate::connector::ConnectorError;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};
use zeroize::Zeroizing;

/// What every message begins with.
const MAGIC: u32 = 0x51de_c1cc;
/// The longest answer that is taken.
const MAX_BYTES: u32 = 1 << 20;
/// What the names of secrets begin with.
const PREFIX: &str = "secrets:";
/// The port that agents listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 3005;

/// Where the agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentPlace {
    /// A host and port.
    Tcp(Address),
    /// A socket of this machine.
    Unix(PathBuf),
}

impl std::fmt::Display for AgentPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// An agent, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretAgent {
    /// Where it is.
    pub place: AgentPlace,
    /// How long it may be silent.
    pub timeout: Duration,
    /// TLS, if it wants that.
    pub tls: Option<TlsOptions>,
    /// Whether what it hands out is base64 of the secret.
    pub is_base64: bool,
}

/// The resource and key of a text that names a secret.
#[must_use]
pub fn named(text: &str) -> Option<(&str, &str)> {
    let (resource, key) = text.strip_prefix(PREFIX)?.split_once(':')?;
    (!resource.is_empty() && !key.is_empty() && !key.contains(':')).then_some((resource, key))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Question<'a> {
    resource: &'a str,
    secret_key: &'a str,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Reply {
    secret_value: Option<String>,
    error: Option<String>,
}

impl SecretAgent {
    /// Asks for a secret.
    ///
    /// # Errors
    /// [`ConnectorError`] that names the agent and the secret, if it cannot be had.
    pub fn get(&self, resource: &str, key: &str) -> Result<Zeroizing<String>, ConnectorError> {
        let object = format!("secret {resource}:{key} of the agent at {}", self.place);
        let unreadable = |reason: String| ConnectorError::Unreadable { object: object.clone(), reason };
        let mut stream = self.connect().map_err(|reason| unreadable(reason.to_string()))?;
        let question = serde_json::to_vec(&Question { resource, secret_key: key });
        let question = question.map_err(|error| unreadable(error.to_string()))?;
        let answer = ask(stream.as_mut(), &question).map_err(|error| unreadable(error.to_string()))?;
        let reply = parse_reply(&answer).map_err(unreadable)?;
        if !self.is_base64 {
            return Ok(reply);
        }
        let decoded = data_encoding::BASE64.decode(reply.trim().as_bytes()).map(Zeroizing::new);
        let decoded = decoded.map_err(|_| unreadable("it is said to be base64 and is not".to_owned()))?;
        let text = std::str::from_utf8(&decoded).map_err(|_| unreadable("it is no text".to_owned()))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn connect(&self) -> Result<Box<dyn ReadWrite>, Error> {
        let failed = |source| Error::Io { operation: "connect to", node: self.place.to_string(), source };
        let timeout = Some(self.timeout).filter(|timeout| !timeout.is_zero());
        match &self.place {
            #[cfg(unix)]
            AgentPlace::Unix(path) => {
                let stream = std::os::unix::net::UnixStream::connect(path).map_err(failed)?;
                stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)).map_err(failed)?;
                Ok(Box::new(stream))
            }
            #[cfg(not(unix))]
            AgentPlace::Unix(_) => Err(failed(io::ErrorKind::Unsupported.into())),
            AgentPlace::Tcp(address) => {
                let stream = dial(address, timeout).map_err(failed)?;
                stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)).map_err(failed)?;
                match &self.tls {
                    None => Ok(Box::new(stream)),
                    Some(tls) => {
                        let tls = Tls::new(tls)?.connect(&address.host, None, stream);
                        Ok(Box::new(tls.map_err(failed)?))
                    }
                }
            }
        }
    }
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

fn dial(address: &Address, timeout: Option<Duration>) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for socket in (address.host.as_str(), address.port).to_socket_addrs()? {
        let connected = match timeout {
            Some(timeout) => TcpStream::connect_timeout(&socket, timeout),
            None => TcpStream::connect(socket),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One question, one answer: the agent closes the connection behind it.
fn ask(stream: &mut dyn ReadWrite, question: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut frame = Vec::with_capacity(question.len() + 8);
    frame.extend_from_slice(&MAGIC.to_be_bytes());
    frame.extend_from_slice(&(question.len() as u32).to_be_bytes());
    frame.extend_from_slice(question);
    stream.write_all(&frame)?;
    stream.flush()?;
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let len = answer_len(head).map_err(io::Error::other)?;
    let mut answer = Zeroizing::new(vec![0; len as usize]);
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// The length that the head of an answer tells.
fn answer_len(head: [u8; 8]) -> Result<u32, &'static str> {
    let both = u64::from_be_bytes(head);
    match ((both >> 32) as u32, both as u32) {
        (MAGIC, len) if len <= MAX_BYTES => Ok(len),
        (MAGIC, _) => Err("its answer is too long to be a secret"),
        _ => Err("what answers there is no secret agent"),
    }
}

/// The secret that an answer holds.
///
/// # Errors
/// In words, why it holds none.
pub fn parse_reply(answer: &[u8]) -> Result<Zeroizing<String>, String> {
    let reply: Reply = serde_json::from_slice(answer).map_err(|_| "its answer is not understood".to_owned())?;
    match (reply.error.filter(|error| !error.is_empty()), reply.secret_value) {
        (Some(error), _) => Err(format!("the agent says: {error}")),
        (None, Some(secret)) => Ok(Zeroizing::new(secret)),
        (None, None) => Err("its answer holds no secret".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_by_exactly_three_parts() {
        assert_eq!(named("secrets:db:password"), Some(("db", "password")));
        for other in ["secrets:db", "secrets::key", "secrets:db:", "secrets:a:b:c", "secret:a:b", "plain", ""] {
            assert_eq!(named(other), None, "{other}");
        }
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        assert_eq!(parse_reply(br#"{"SecretValue":"x"}"#).unwrap().as_str(), "x");
        assert_eq!(parse_reply(br#"{"SecretValue":"x","Error":""}"#).unwrap().as_str(), "x");
        assert!(parse_reply(br#"{"Error":"no such key"}"#).unwrap_err().contains("no such key"));
        assert!(parse_reply(b"{}").is_err() && parse_reply(b"").is_err() && parse_reply(b"[1]").is_err());
        let head = |magic: u32, len: u32| [magic.to_be_bytes(), len.to_be_bytes()].concat().try_into().unwrap();
        assert_eq!(answer_len(head(MAGIC, 5)), Ok(5));
        assert!(answer_len(head(MAGIC, u32::MAX)).is_err() && answer_len(head(1, 5)).is_err());
    }
}
