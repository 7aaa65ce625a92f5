//! How a cluster is reached, as the tools' flags say it.

use super::super::exit::{Failure, usage};
use crate::connector::{Options, url::escaped};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Connection flags of both tools.
#[derive(Debug, Clone, Args)]
#[allow(dead_code, reason = "some flags are taken so that scripts that give them go on, and change nothing")]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// `HOST[:TLS_NAME][:PORT],…`
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    host: String,
    /// The port where none is named
    #[arg(short, long, default_value_t = 3000)]
    port: u16,
    /// Log in as this user
    #[arg(short = 'U', long)]
    user: Option<String>,
    /// With this password: as it is, `env:NAME`, `env-b64:NAME`, `b64:TEXT`, `file:PATH`
    #[arg(short = 'P', long)]
    password: Option<String>,
    /// `INTERNAL`, `EXTERNAL`, `EXTERNAL_INSECURE` or `PKI`
    #[arg(short = 'A', long, default_value = "INTERNAL", ignore_case = true, value_parser = ["INTERNAL", "EXTERNAL", "EXTERNAL_INSECURE", "PKI"])]
    auth: String,
    /// Use the nodes' alternate addresses
    #[arg(short = 'S', long)]
    services_alternate: bool,
    /// Connect by TLS
    #[arg(long, alias = "tlsEnable")]
    tls_enable: bool,
    /// The name that certificates bear
    #[arg(long, alias = "tlsName")]
    tls_name: Option<String>,
    /// Authorities, PEM
    #[arg(long, alias = "tlsCaFile")]
    tls_cafile: Option<PathBuf>,
    /// Our certificate, PEM
    #[arg(long, alias = "tlsCertFile")]
    tls_certfile: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, alias = "tlsKeyFile")]
    tls_keyfile: Option<PathBuf>,
    /// A folder of authorities, PEM
    #[arg(long, alias = "tlsCaPath")]
    tls_capath: Option<PathBuf>,
    /// What the key is encrypted with: as it is, `env:NAME`, `env-b64:NAME`, `b64:TEXT`, `file:PATH`
    #[arg(long)]
    tls_keyfile_password: Option<String>,
    /// Versions that may be spoken, such as `-all +TLSv1.2`; those before 1.2 never are
    #[arg(long, alias = "tlsProtocols", allow_hyphen_values = true)]
    tls_protocols: Option<String>,
    /// Suites that may be used, with colons between
    #[arg(long, alias = "tlsCipherSuite")]
    tls_cipher_suite: Option<String>,
    /// Milliseconds that a command may take; 0 for ever
    #[arg(long, default_value_t = 0)]
    total_timeout: u64,
    /// Milliseconds that a node may be silent
    #[arg(long, default_value_t = 10_000)]
    socket_timeout: u64,
    /// Times that a command is tried again
    #[arg(long, default_value_t = 5)]
    max_retries: u32,
    #[command(flatten)]
    tuning: Tuning,
    #[command(flatten)]
    revoked: Revoked,
}

/// Checks of certificates that are not made here: a connection that was to be refused must not come about instead.
#[derive(Debug, Clone, Default, Args)]
struct Revoked {
    #[arg(long = "tls-crl-check", alias = "tlsCrlCheck", hide = true)]
    crl_check: bool,
    #[arg(long = "tls-crl-checkall", aliases = ["tls-crl-check-all", "tlsCrlCheckAll"], hide = true)]
    crl_checkall: bool,
    #[arg(long = "tls-cert-blacklist", alias = "tlsCertBlackList", hide = true)]
    cert_blacklist: Option<PathBuf>,
}

impl Revoked {
    fn refuse(&self) -> Result<(), Failure> {
        let lists = "lists of revoked certificates are not read: have nodes whose certificate was revoked leave the \
                     cluster, or let an authority that only today's certificates come from stand alone in --tls-cafile";
        let listed = "certificates are not refused one by one: let an authority that only today's certificates come from \
                      stand alone in --tls-cafile";
        super::refuse("--tls-crl-check", self.crl_check, lists)?;
        super::refuse("--tls-crl-checkall", self.crl_checkall, lists)?;
        super::refuse("--tls-cert-blacklist", self.cert_blacklist.is_some(), listed)
    }
}

/// What tunes the tools' own client, buffers and messages. Connections here go by the socket timeout and the number of tries.
#[derive(Debug, Clone, Default, Args)]
#[allow(dead_code, reason = "taken, and without a meaning here")]
struct Tuning {
    #[arg(long, hide = true)]
    client_timeout: Option<u64>,
    #[arg(long, hide = true)]
    client_idle_timeout: Option<u64>,
    #[arg(long, hide = true)]
    client_login_timeout: Option<u64>,
    #[arg(long, hide = true)]
    info_timeout: Option<u64>,
    #[arg(long, hide = true)]
    info_max_retries: Option<u64>,
    #[arg(long, hide = true)]
    info_retry_interval: Option<u64>,
    #[arg(long, hide = true)]
    info_retry_multiplier: Option<f64>,
    #[arg(long, hide = true)]
    std_buffer: Option<u64>,
    #[arg(long, hide = true, alias = "local-buffer-size")]
    local_buffer: Option<u64>,
    #[arg(long, hide = true, value_parser = ["debug", "info", "warn", "error"])]
    log_level: Option<String>,
    #[arg(long, hide = true)]
    log_json: bool,
    #[arg(long, hide = true, alias = "tlsLogSessionInfo")]
    tls_log_session_info: bool,
}

impl ClusterArgs {
    /// The URL of a namespace.
    pub(super) fn url(&self, namespace: &str) -> Result<String, Failure> {
        let spelled = |(host, port, name): (String, u16, Option<String>)| match name {
            Some(name) => format!("{host}:{name}:{port}"),
            None => format!("{host}:{port}"),
        };
        let hosts: Vec<String> = self.hosts()?.into_iter().map(spelled).collect();
        Ok(format!("aerospike://{}/{}", hosts.join(","), escaped(namespace)))
    }

    /// Hosts with ports, and the name for TLS that each bears.
    fn hosts(&self) -> Result<Vec<(String, u16, Option<String>)>, Failure> {
        let wrong = |text: &str| usage(format!("--host {text}: write HOST[:TLS_NAME][:PORT],…"));
        let one = |text: &str| -> Result<(String, u16, Option<String>), Failure> {
            let (host, rest) = match text.strip_prefix('[') {
                Some(inner) => {
                    let (host, rest) = inner.split_once(']').ok_or_else(|| wrong(text))?;
                    (format!("[{host}]"), rest.trim_start_matches(':'))
                }
                None => text.split_once(':').map_or((text.to_owned(), ""), |(host, rest)| (host.to_owned(), rest)),
            };
            let (name, port) = match rest.rsplit_once(':') {
                Some((name, port)) => (Some(name), port),
                // No name is all digits: that is a port, if there is such a one.
                None if rest.bytes().all(|byte| byte.is_ascii_digit()) => (None, rest),
                None => (Some(rest), ""),
            };
            let port = if port.is_empty() { self.port } else { port.parse().map_err(|_| wrong(text))? };
            if host.is_empty() || port == 0 || name.is_some_and(|name| name.is_empty() || name.contains(':')) {
                return Err(wrong(text));
            }
            Ok((host, port, name.map(str::to_owned)))
        };
        self.host.split(',').map(|text| one(text.trim())).collect()
    }

    /// Adds what the connector knows it by.
    pub(super) fn add_to(&self, options: &mut Options) -> Result<(), Failure> {
        if self.tls_enable {
            self.revoked.refuse()?;
        }
        let auth = self.auth.to_ascii_lowercase().replace('_', "-");
        let is_pki = auth == "pki";
        let millis = |millis: u64| millis as f64 / 1000.0;
        options.add(&json!({
            "as_auth": auth,
            // The certificate says who it is, as it does for the tools.
            "as_user": self.user.as_ref().filter(|_| !is_pki),
            "services_alternate": self.services_alternate,
            "tls": self.tls_enable,
            "tls_name": self.tls_name.as_ref().filter(|_| self.tls_enable),
            "tls_ca": self.tls_cafile.as_ref().filter(|_| self.tls_enable),
            "tls_ca_path": self.tls_capath.as_ref().filter(|_| self.tls_enable),
            "tls_cert_file": self.tls_certfile.as_ref().filter(|_| self.tls_enable),
            "tls_key_file": self.tls_keyfile.as_ref().filter(|_| self.tls_enable),
            "tls_protocols": self.tls_protocols.as_ref().filter(|_| self.tls_enable),
            "tls_cipher_suites": self.tls_cipher_suite.as_ref().filter(|_| self.tls_enable),
            "max_retries": self.max_retries,
        }))?;
        options.set("socket_timeout", if self.socket_timeout == 0 { 10.0 } else { millis(self.socket_timeout) });
        if self.total_timeout > 0 {
            options.set("total_timeout", millis(self.total_timeout));
        }
        if let Some(password) = self.password.as_ref().filter(|_| !is_pki) {
            options.set("as_password", secret(password, "--password")?);
        }
        if let Some(password) = self.tls_keyfile_password.as_ref().filter(|_| self.tls_enable) {
            options.set("tls_key_password", secret(password, "--tls-keyfile-password")?);
        }
        Ok(())
    }
}

/// A secret as the tools take one.
pub(super) fn secret(text: &str, flag: &str) -> Result<String, Failure> {
    let wrong = |why: &str| usage(format!("{flag}: {why}"));
    let decode = |text: &str| {
        let bytes = data_encoding::BASE64.decode(text.trim().as_bytes()).map_err(|_| wrong("it is not base64"))?;
        String::from_utf8(bytes).map_err(|_| wrong("it is no text"))
    };
    let variable = |name: &str| std::env::var(name).map_err(|_| wrong(&format!("there is no variable {name}")));
    if text.starts_with("secrets:") {
        return Err(wrong("write secrets:RESOURCE:KEY"));
    }
    if let Some(name) = text.strip_prefix("env-b64:") {
        return decode(&variable(name)?);
    }
    if let Some(name) = text.strip_prefix("env:") {
        return variable(name);
    }
    if let Some(text) = text.strip_prefix("b64:") {
        return decode(text);
    }
    if let Some(path) = text.strip_prefix("file:") {
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&format!("{path}: {error}")))?;
        return Ok(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(disable_help_flag = true)]
    struct Only {
        #[command(flatten)]
        cluster: ClusterArgs,
    }

    fn cluster(line: &[&str]) -> ClusterArgs {
        Only::try_parse_from([&["x"], line].concat()).unwrap().cluster
    }

    #[test]
    fn hosts_are_written_as_the_tools_take_them() {
        assert_eq!(cluster(&[]).url("n").unwrap(), "aerospike://127.0.0.1:3000/n");
        let several = cluster(&["-h", "a,b:3100,c:name:4333,[::1]:3200,d:name", "-p", "3001"]);
        assert_eq!(several.url("n").unwrap(), "aerospike://a:3001,b:3100,c:name:4333,[::1]:3200,d:name:3001/n");
        assert!(cluster(&["-h", "a::x"]).url("n").is_err() && cluster(&["-h", ","]).url("n").is_err());
    }

    #[test]
    fn secrets_are_taken_in_every_form() {
        assert_eq!(secret("plain", "-P").unwrap(), "plain");
        assert_eq!(secret("b64:cGxhaW4=", "-P").unwrap(), "plain");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p"), "plain\n").unwrap();
        assert_eq!(secret(&format!("file:{}", dir.path().join("p").display()), "-P").unwrap(), "plain");
        for bad in ["env:REKEEP_TEST_NO_SUCH_VARIABLE", "b64:?", "file:/no/such", "secrets:a"] {
            assert!(secret(bad, "-P").unwrap_err().to_string().contains("-P"), "{bad}");
        }
    }
}
