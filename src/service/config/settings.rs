//! The service's own settings: HTTP, logs, backups as a whole, keys, hooks.

use super::{Hidden, Unlocking};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ServiceSettings {
    /// The interface in clear.
    pub http: Option<HttpSettings>,
    /// The interface by TLS.
    pub https: Option<HttpsSettings>,
    /// Logs.
    pub logger: Option<LoggerSettings>,
    /// Backups as a whole.
    pub backup: Option<BackupSettings>,
    /// What unlocks repositories that say nothing of it.
    pub unlock: Option<Unlocking>,
    /// Keys of the interface, by name.
    pub api_keys: BTreeMap<String, KeySettings>,
    /// Answer everybody, wherever from.
    pub without_authentication: Option<bool>,
    /// Commands before and after runs, by name. The interface can neither make nor change them.
    pub hooks: BTreeMap<String, Hook>,
    /// What URLs of targets that the interface may restore into begin with; clusters that have a name are always allowed.
    pub restore_targets: Vec<String>,
    /// Where drills make their scratch folders; below the state by default.
    pub drill_scratch: Option<String>,
    /// Where what was done through the interface is kept, beside the state.
    pub audit: Option<AuditSettings>,
    /// How it ends.
    pub stop: Option<StopSettings>,
    /// How mail is sent when something happens.
    pub mail: Option<MailSettings>,
    /// Who is told when something happens.
    pub webhooks: Vec<Webhook>,
}

/// Where the audit is kept: exactly one of both.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AuditSettings {
    /// The repository in this storage.
    pub storage: Option<String>,
    /// This repository.
    pub repository: Option<String>,
}

/// How the service ends, in seconds from when it is told to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct StopSettings {
    /// How long jobs at work go on before they are asked to stop; 10 by default.
    pub drain: Option<u32>,
    /// How long all of it may take; 90 by default. What hangs then is left where it is.
    pub within: Option<u32>,
}

/// Mail to people.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MailSettings {
    /// The server that takes it.
    pub server: String,
    /// Its port: 587, or 465 with `tls`, or 25 with `none`.
    pub port: Option<u16>,
    /// `starttls` (the default), `tls`, or `none`.
    pub encryption: Option<String>,
    /// Who logs in.
    pub user: Option<String>,
    /// With which password, or a reference to it.
    pub password: Option<Hidden>,
    /// Whom it comes from: `Backups <backup@example.org>`.
    pub from: String,
    /// Whom it goes to.
    pub to: Vec<String>,
    /// What is told, as of webhooks.
    pub on: Vec<String>,
    /// Only of these routines; of all if there are none.
    pub routines: Vec<String>,
}

/// Requests that a client may make.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RateSettings {
    /// A second; 1024 by default.
    pub tps: Option<u32>,
    /// At once; 1024 by default.
    pub size: Option<u32>,
    /// Addresses and networks without a limit; `0.0.0.0/0` for all.
    pub white_list: Vec<String>,
}

/// The interface in clear. Times are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HttpSettings {
    /// The address to listen on; without keys only a loopback one, which is the default then.
    pub address: Option<String>,
    /// The port; 8080 by default.
    pub port: Option<u16>,
    /// Names of this host, as a proxy passes them on. Without keys no page of another name is answered.
    pub host_names: Option<Vec<String>>,
    /// What every path begins with.
    pub context_path: Option<String>,
    /// How long the head of a request may take.
    pub timeout: Option<u32>,
    /// How long a whole request may take to come.
    pub read_timeout: Option<u32>,
    /// How long an answer may take.
    pub write_timeout: Option<u32>,
    /// How long a connection may do nothing.
    pub idle_timeout: Option<u32>,
    /// Do not listen in clear.
    pub disabled: Option<bool>,
    /// Limits of requests.
    pub rate: Option<RateSettings>,
    /// The most bytes of a request's body; 1 MiB by default.
    pub max_body_bytes: Option<u64>,
}

/// The interface by TLS.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HttpsSettings {
    /// The address to listen on.
    pub address: Option<String>,
    /// The port; 8443 by default.
    pub port: Option<u16>,
    /// Our certificate and what it was signed with, PEM. Read again when it changes.
    pub cert_file: Option<String>,
    /// Its key, PEM.
    pub key_file: Option<String>,
    /// What opens the key, if it is encrypted (PKCS #8).
    pub key_file_password: Option<Hidden>,
    /// The cipher suites that are spoken, by their names; all that are safe if none are named.
    pub cipher_suites: Option<Suites>,
    /// `1.2` or `1.3`.
    pub min_version: Option<String>,
    /// The authorities whose certificates clients may show, PEM.
    pub client_ca_file: Option<String>,
    /// What those authorities have taken back: lists of revoked certificates, PEM. Each authority of a client's chain needs one
    /// that is not past its time. Read again when it changes.
    pub client_crl_file: Option<String>,
    /// `none`, `request` or `require-and-verify`.
    pub client_auth: Option<String>,
    /// Do not listen by TLS.
    pub disabled: Option<bool>,
    /// What every path begins with, if `http` does not say it.
    pub context_path: Option<String>,
    /// How long the handshake, and then the head of a request, may take.
    pub timeout: Option<u32>,
    /// How long a whole request may take to come.
    pub read_timeout: Option<u32>,
    /// How long an answer may take.
    pub write_timeout: Option<u32>,
    /// How long a connection may do nothing.
    pub idle_timeout: Option<u32>,
    /// Limits of requests, if `http` does not say them.
    pub rate: Option<RateSettings>,
}

/// Names of cipher suites: a list, or a text with commas or colons between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Suites {
    /// A list.
    List(Vec<String>),
    /// A text.
    Text(String),
}

impl Suites {
    /// All in one text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::List(names) => names.join(","),
            Self::Text(text) => text.clone(),
        }
    }
}

impl ServiceSettings {
    fn listening(&self) -> Option<&HttpsSettings> {
        self.https.as_ref().filter(|https| https.disabled != Some(true))
    }

    /// What every path begins with.
    #[must_use]
    pub fn context_path(&self) -> &str {
        let of_http = self.http.as_ref().and_then(|http| http.context_path.as_deref());
        of_http.or_else(|| self.listening()?.context_path.as_deref()).unwrap_or_default()
    }

    /// The limits of requests, in clear and by TLS together.
    #[must_use]
    pub fn rate(&self) -> Option<&RateSettings> {
        let of_http = self.http.as_ref().and_then(|http| http.rate.as_ref());
        of_http.or_else(|| self.listening()?.rate.as_ref())
    }
}

/// Logs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LoggerSettings {
    /// TRACE, DEBUG, INFO, WARN or ERROR; INFO by default.
    pub level: Option<String>,
    /// PLAIN or JSON.
    pub format: Option<String>,
    /// Whether standard output gets them; yes by default.
    pub stdout_writer: Option<bool>,
    /// A file that gets them too.
    pub file_writer: Option<FileWriterSettings>,
}

/// A file of logs, and what becomes of it when it is full.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct FileWriterSettings {
    /// The file.
    pub filename: String,
    /// Another one is begun behind so many MB; 100 by default.
    pub maxsize: Option<u32>,
    /// Full ones go after so many days; never by default.
    pub maxage: Option<u32>,
    /// So many full ones stay; all by default.
    pub maxbackups: Option<u32>,
    /// Compress full ones, by gzip.
    pub compress: Option<bool>,
}

/// Backups as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BackupSettings {
    /// No meaning here: keys of backups bear milliseconds alone.
    pub timestamp_format: Option<String>,
    /// The zone of schedules that name none: UTC by default.
    pub schedule_timezone: Option<String>,
    /// The most jobs at once; 16 by default.
    pub max_parallel: Option<u16>,
}

/// A key of the interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct KeySettings {
    /// The key's hash, as `rekeep serve key` prints it.
    pub hash: String,
    /// What it may: `read`, `backup`, `restore`, `delete`, `configure`, `admin`.
    pub scopes: Vec<String>,
    /// The only routines it may; all if there are none.
    pub routines: Vec<String>,
    /// The only tenant it may.
    pub tenant: Option<String>,
    /// When it ends: a time with its zone.
    pub expires: Option<String>,
}

/// A command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Hook {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take, in seconds; 300 by default.
    pub timeout: Option<u32>,
}

/// An address that gets a POST with JSON when something happens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Webhook {
    /// The address: http or https.
    pub url: String,
    /// What is told: ends of runs (`success`, `incomplete`, `failure`, `canceled`, `skip`) and `missing`; failures, incomplete
    /// and missing ones by default.
    pub on: Vec<String>,
    /// Only of these routines; of all if there are none.
    pub routines: Vec<String>,
}
