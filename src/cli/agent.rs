//! Secrets that Aerospike's Secret Agent keeps: `secrets:RESOURCE:KEY` wherever a file with a secret may be named. Which agent is
//! asked, and how, the environment says, so that it is the same for every secret of a command.

use super::exit::{Failure, usage};
use crate::connector::{
    aerospike::{
        TlsOptions,
        options::Address,
        secrets::{AgentPlace, DEFAULT_PORT, SecretAgent, named},
    },
    options::Length,
};
use std::{path::Path, time::Duration};
use zeroize::Zeroizing;

/// How long an agent may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// The secret that a text names, where it names one.
pub(super) fn secret(text: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    let Some((resource, key)) = named(text) else { return Ok(None) };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let agent = agent(&variable).map_err(|reason| usage(format!("{text}: {reason}")))?;
    Ok(Some(agent.get(resource, key)?))
}

/// The secret that a path names, where it is no path but names one.
pub(super) fn secret_of_path(path: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    path.to_str().map_or(Ok(None), secret)
}

/// Where the agent is, as it is typed: `HOST[:PORT]`, `tls:HOST[:PORT]`, `unix:PATH`.
pub(super) fn place(text: &str) -> Option<(AgentPlace, bool)> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| (AgentPlace::Unix(path.into()), false));
    }
    let (text, is_tls) = text.strip_prefix("tls:").map_or((text, false), |rest| (rest, true));
    Some((AgentPlace::Tcp(Address::parse(text, DEFAULT_PORT)?), is_tls))
}

fn agent(variable: &dyn Fn(&str) -> Option<String>) -> Result<SecretAgent, String> {
    let told = variable("REKEEP_SECRET_AGENT").ok_or(
        "REKEEP_SECRET_AGENT says which secret agent is asked: HOST:PORT, tls:HOST:PORT or unix:PATH (a file of this name is \
         ./secrets:…)",
    )?;
    let (place, is_tls) = place(&told)
        .ok_or_else(|| format!("REKEEP_SECRET_AGENT={told}: write HOST:PORT, tls:HOST:PORT or unix:PATH"))?;
    let timeout = variable("REKEEP_SECRET_AGENT_TIMEOUT").map(|text| Length::parse(&text)).transpose();
    let timeout = timeout.map_err(|reason| format!("REKEEP_SECRET_AGENT_TIMEOUT: {reason}"))?.unwrap_or(PATIENCE);
    let file = |name: &str| variable(name).map(Into::into);
    let tls = TlsOptions {
        name: variable("REKEEP_SECRET_AGENT_TLS_NAME"),
        ca_file: file("REKEEP_SECRET_AGENT_CA"),
        cert_file: file("REKEEP_SECRET_AGENT_CERT_FILE"),
        key_file: file("REKEEP_SECRET_AGENT_KEY_FILE"),
        ..TlsOptions::default()
    };
    let is_base64 = variable("REKEEP_SECRET_AGENT_BASE64").is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    Ok(SecretAgent { place, timeout, tls: is_tls.then_some(tls), is_base64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_by_the_environment() {
        let with = |all: &'static [(&'static str, &'static str)]| {
            agent(&|name: &str| all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        let tcp = with(&[("REKEEP_SECRET_AGENT", "vault")]).unwrap();
        assert_eq!((tcp.place.to_string().as_str(), tcp.tls, tcp.timeout), ("vault:3005", None, PATIENCE));
        let tls = with(&[
            ("REKEEP_SECRET_AGENT", "tls:vault:4000"),
            ("REKEEP_SECRET_AGENT_TIMEOUT", "2s"),
            ("REKEEP_SECRET_AGENT_BASE64", "true"),
            ("REKEEP_SECRET_AGENT_CA", "/ca.pem"),
        ])
        .unwrap();
        assert_eq!((tls.timeout, tls.is_base64), (Duration::from_secs(2), true));
        assert_eq!(tls.tls.unwrap().ca_file.as_deref(), Some(Path::new("/ca.pem")));
        let unix = with(&[("REKEEP_SECRET_AGENT", "unix:/run/agent")]).unwrap();
        assert_eq!(unix.place, AgentPlace::Unix("/run/agent".into()));
        assert!(with(&[]).unwrap_err().contains("REKEEP_SECRET_AGENT says"));
        assert!(
            with(&[("REKEEP_SECRET_AGENT", "a:b:c")]).is_err() && with(&[("REKEEP_SECRET_AGENT", "unix:")]).is_err()
        );
    }
}
