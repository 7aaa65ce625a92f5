//! Secrets of a command line: any value may be `secrets:RESOURCE:KEY`, and the flags `--sa-…` say which agent is asked. They are
//! looked up before the flags are understood, as the tools do.

use super::super::exit::{Failure, usage};
use crate::connector::aerospike::{
    TlsOptions,
    options::Address,
    secrets::{AgentPlace, SecretAgent, named},
};
use clap::Args;
use std::{ffi::OsString, path::PathBuf, time::Duration};
use zeroize::Zeroizing;

/// Flags of both tools.
#[derive(Debug, Clone, Default, Args)]
#[allow(
    dead_code,
    clippy::struct_field_names,
    reason = "they are read before the others, and named as the tools name them"
)]
#[command(next_help_heading = "Secret agent (any value may be secrets:RESOURCE:KEY)")]
pub struct AgentArgs {
    /// `TCP` or `UNIX`
    #[arg(long, value_name = "HOW")]
    sa_connection_type: Option<String>,
    /// Host, or path of the socket
    #[arg(long, value_name = "ADDRESS")]
    sa_address: Option<String>,
    /// Port
    #[arg(long, value_name = "PORT")]
    sa_port: Option<String>,
    /// Milliseconds that it may be silent [default: 10000]
    #[arg(long, value_name = "MILLIS")]
    sa_timeout: Option<String>,
    /// Authorities, PEM: TLS is spoken if this is given
    #[arg(long, value_name = "FILE", visible_alias = "sa-cafile")]
    sa_ca_file: Option<PathBuf>,
    /// The name that its certificate bears
    #[arg(long, value_name = "NAME")]
    sa_tls_name: Option<String>,
    /// Our certificate, PEM
    #[arg(long, value_name = "FILE")]
    sa_cert_file: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE")]
    sa_key_file: Option<PathBuf>,
    /// What it hands out is base64 of the secret
    #[arg(long)]
    sa_is_base64: bool,
}

/// A command line, and what of it must not be shown.
pub(super) struct Resolved {
    /// With every secret in its place.
    pub(super) typed: Vec<OsString>,
    /// The secrets, each with its name.
    hidden: Vec<(Zeroizing<String>, String)>,
}

impl Resolved {
    /// A text with the names of secrets instead of them.
    pub(super) fn hide(&self, text: &str) -> String {
        let hidden = self.hidden.iter().filter(|(secret, _)| !secret.is_empty());
        hidden.fold(text.to_owned(), |text, (secret, name)| text.replace(secret.as_str(), name))
    }
}

/// The command line with every secret in its place.
pub(super) fn resolved(typed: Vec<OsString>) -> Result<Resolved, Failure> {
    let mut all = Resolved { typed: Vec::new(), hidden: Vec::new() };
    if !typed.iter().any(|one| secret_in(one).is_some()) {
        all.typed = typed;
        return Ok(all);
    }
    let agent = agent(&typed)?;
    for one in &typed {
        let Some((flag, (resource, key))) = secret_in(one) else {
            all.typed.push(one.clone());
            continue;
        };
        let secret = agent.get(resource, key)?;
        // Beside its flag a secret that begins with a dash would be taken for another flag.
        let before = all.typed.pop_if(|before| flag.is_empty() && is_flag(before));
        let before = before.map(|before| before.to_string_lossy().into_owned()).unwrap_or_default();
        let mark = if before.starts_with("--") { "=" } else { "" };
        all.typed.push(format!("{before}{mark}{flag}{}", secret.as_str()).into());
        all.hidden.push((secret, format!("secrets:{resource}:{key}")));
    }
    Ok(all)
}

/// Whether a value belongs to this argument.
fn is_flag(argument: &OsString) -> bool {
    argument.to_str().is_some_and(|text| text.len() > 1 && text.starts_with('-') && !text.contains('='))
}

/// The secret that an argument is (`secrets:R:K`, `--flag=secrets:R:K`), and what stands before it.
fn secret_in(argument: &OsString) -> Option<(&str, (&str, &str))> {
    let text = argument.to_str()?;
    let value = match text.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => value,
        _ => text,
    };
    Some((&text[..text.len() - value.len()], named(value)?))
}

fn agent(typed: &[OsString]) -> Result<SecretAgent, Failure> {
    let value = |flag: &str| {
        let mut values = typed.iter().enumerate().filter_map(|(at, one)| {
            let text = one.to_str()?;
            if text == flag {
                return typed.get(at + 1)?.to_str();
            }
            text.strip_prefix(flag)?.strip_prefix('=')
        });
        values.next().map(str::to_owned)
    };
    let address = value("--sa-address")
        .ok_or_else(|| usage("a value names a secret, and --sa-address does not say which secret agent is asked"))?;
    let is_unix = value("--sa-connection-type").is_some_and(|how| how.eq_ignore_ascii_case("unix"));
    let place = if is_unix {
        AgentPlace::Unix(address.into())
    } else {
        // The address may have the port with it.
        let both = address.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
        let (host, port) = match (value("--sa-port"), both) {
            (Some(port), _) => (address.as_str(), port),
            (None, Some((host, port))) => (host, port.to_owned()),
            (None, None) => return Err(usage("--sa-address needs --sa-port")),
        };
        let port = port.parse().map_err(|_| usage(format!("--sa-port {port}: it is no port")))?;
        AgentPlace::Tcp(Address { host: host.trim_matches(['[', ']']).to_owned(), port })
    };
    let millis = value("--sa-timeout").map_or(Ok(10_000), |text| text.parse());
    let millis = millis.map_err(|_| usage("--sa-timeout: it is no number of milliseconds"))?;
    let file = |flag: &str| value(flag).map(Into::into);
    let ca_file = file("--sa-ca-file").or_else(|| file("--sa-cafile"));
    let tls = ca_file.map(|ca_file| TlsOptions {
        ca_file: Some(ca_file),
        name: value("--sa-tls-name"),
        cert_file: file("--sa-cert-file"),
        key_file: file("--sa-key-file"),
        ..TlsOptions::default()
    });
    let is_base64 = typed.iter().any(|one| one == "--sa-is-base64");
    Ok(SecretAgent { place, timeout: Duration::from_millis(millis), tls, is_base64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn an_agent_is_found_among_the_flags() {
        let of = |text: &str| agent(&line(text)).map_err(|failure| failure.to_string());
        let tcp = of("-n x --sa-address h --sa-port=3005 --sa-timeout 5 --sa-is-base64").unwrap();
        assert_eq!((tcp.place.to_string().as_str(), tcp.timeout), ("h:3005", Duration::from_millis(5)));
        assert!(tcp.is_base64 && tcp.tls.is_none());
        assert_eq!(of("--sa-address h:3006").unwrap().place.to_string(), "h:3006");
        let unix = of("--sa-connection-type=UNIX --sa-address /run/sa").unwrap();
        assert_eq!(unix.place, AgentPlace::Unix("/run/sa".into()));
        assert!(of("--sa-address h --sa-port 1 --sa-cafile ca.pem").unwrap().tls.is_some());
        assert!(
            of("-n x").unwrap_err().contains("--sa-address") && of("--sa-address h").unwrap_err().contains("--sa-port")
        );
    }

    #[test]
    fn a_line_without_secrets_stays_as_it_is() {
        let plain = line("-P secret -n secrets:only --password=a=b");
        assert_eq!(resolved(plain.clone()).unwrap().typed, plain);
        assert_eq!(secret_in(&"--password=secrets:a:b".into()), Some(("--password=", ("a", "b"))));
        assert_eq!(secret_in(&"secrets:a:b".into()), Some(("", ("a", "b"))));
    }
}
