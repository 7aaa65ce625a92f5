//! The services that places may be behind: their schemes, their options, and where each takes its credentials from.

use super::{environment::variable, failure::Secrets};
use std::collections::BTreeMap;

/// A service behind `OpenDAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Memory,
    #[cfg(feature = "s3")]
    S3,
    #[cfg(feature = "gcs")]
    Gcs,
    #[cfg(feature = "azblob")]
    Azblob,
    /// With TLS or without.
    #[cfg(feature = "webdav")]
    Webdav {
        tls: bool,
    },
    #[cfg(feature = "sftp")]
    Sftp,
    #[cfg(feature = "b2")]
    B2,
    #[cfg(feature = "oss")]
    Oss,
}

/// An option's name and what `OpenDAL` calls it. What is empty is dealt with by name.
type Options = &'static [(&'static str, &'static str)];

impl Service {
    /// Whether objects carry the time at which the service took them, and no client can say another: `docs/storage.md` names
    /// these services.
    pub const fn has_one_clock(self) -> bool {
        match self {
            #[cfg(feature = "s3")]
            Self::S3 => true,
            #[cfg(feature = "gcs")]
            Self::Gcs => true,
            #[cfg(feature = "azblob")]
            Self::Azblob => true,
            _ => false,
        }
    }

    pub fn of_scheme(scheme: &str) -> Option<Self> {
        Some(match scheme {
            "memory" => Self::Memory,
            #[cfg(feature = "s3")]
            "s3" => Self::S3,
            #[cfg(feature = "gcs")]
            "gcs" | "gs" => Self::Gcs,
            #[cfg(feature = "azblob")]
            "azblob" => Self::Azblob,
            #[cfg(feature = "webdav")]
            "webdav" | "webdav+https" => Self::Webdav { tls: true },
            #[cfg(feature = "webdav")]
            "webdav+http" => Self::Webdav { tls: false },
            #[cfg(feature = "sftp")]
            "sftp" => Self::Sftp,
            #[cfg(feature = "b2")]
            "b2" => Self::B2,
            #[cfg(feature = "oss")]
            "oss" => Self::Oss,
            _ => return None,
        })
    }

    /// The schemes that this program is built with.
    pub fn schemes() -> Vec<&'static str> {
        let mut schemes = vec!["file://", "memory://"];
        let built = [
            (cfg!(feature = "s3"), "s3://"),
            (cfg!(feature = "gcs"), "gcs://"),
            (cfg!(feature = "azblob"), "azblob://"),
            (cfg!(feature = "webdav"), "webdav://"),
            (cfg!(feature = "sftp"), "sftp://"),
            (cfg!(feature = "b2"), "b2://"),
            (cfg!(feature = "oss"), "oss://"),
        ];
        schemes.extend(built.iter().filter(|(is_built, _)| *is_built).map(|(_, scheme)| *scheme));
        schemes
    }

    /// What `OpenDAL` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            #[cfg(feature = "s3")]
            Self::S3 => "s3",
            #[cfg(feature = "gcs")]
            Self::Gcs => "gcs",
            #[cfg(feature = "azblob")]
            Self::Azblob => "azblob",
            #[cfg(feature = "webdav")]
            Self::Webdav { .. } => "webdav",
            #[cfg(feature = "sftp")]
            Self::Sftp => "sftp",
            #[cfg(feature = "b2")]
            Self::B2 => "b2",
            #[cfg(feature = "oss")]
            Self::Oss => "oss",
        }
    }

    /// Whether it is reached over HTTP.
    #[allow(dead_code, reason = "only services over HTTP ask for it")]
    pub fn is_http(self) -> bool {
        match self {
            Self::Memory => false,
            #[cfg(feature = "sftp")]
            Self::Sftp => false,
            #[allow(unreachable_patterns, reason = "there is no other where no service is built in")]
            _ => true,
        }
    }

    /// Whether bytes are a page of a listing as this service writes it, be it one without entries.
    #[cfg(feature = "http")]
    pub fn is_listing(self, page: &[u8]) -> bool {
        let has_member =
            |name: &str| serde_json::from_slice::<serde_json::Value>(page).is_ok_and(|page| page.get(name).is_some());
        let begins_with = |names: &[&str]| root_of(page).is_some_and(|root| names.contains(&root.as_str()));
        match self {
            #[cfg(feature = "s3")]
            Self::S3 => begins_with(&["ListBucketResult", "ListVersionsResult"]),
            // A page without this element would be asked for again and again.
            #[cfg(feature = "azblob")]
            Self::Azblob => begins_with(&["EnumerationResults"]) && page.windows(11).any(|part| part == b"<NextMarker"),
            #[cfg(feature = "webdav")]
            Self::Webdav { .. } => begins_with(&["multistatus"]),
            #[cfg(feature = "oss")]
            Self::Oss => begins_with(&["ListBucketResult", "ListVersionsResult"]),
            #[cfg(feature = "gcs")]
            Self::Gcs => has_member("kind"),
            #[cfg(feature = "b2")]
            Self::B2 => has_member("files"),
            #[allow(unreachable_patterns, reason = "depends on the services that are built in")]
            _ => true,
        }
    }

    /// What may be said of it.
    pub fn options(self) -> Options {
        match self {
            Self::Memory => &[],
            #[cfg(feature = "s3")]
            Self::S3 => &[
                ("endpoint", "endpoint"),
                ("region", "region"),
                ("profile", "profile"),
                ("role-arn", "role_arn"),
                ("external-id", "external_id"),
                ("role-session-name", "role_session_name"),
                ("addressing", ""),
                ("storage-class", ""),
                ("metadata-storage-class", ""),
                ("sse", "server_side_encryption"),
                ("sse-kms-key-id", "server_side_encryption_aws_kms_key_id"),
                ("checksum", "checksum_algorithm"),
                ("acl", "default_acl"),
                ("request-payer", "enable_request_payer"),
                ("list-v1", "disable_list_objects_v2"),
                ("anonymous", "skip_signature"),
                ("ca-file", ""),
                ("proxy", ""),
            ],
            #[cfg(feature = "gcs")]
            Self::Gcs => &[
                ("endpoint", "endpoint"),
                ("credential-path", "credential_path"),
                ("acl", "predefined_acl"),
                ("storage-class", ""),
                ("metadata-storage-class", ""),
                ("anonymous", "skip_signature"),
                ("ca-file", ""),
                ("proxy", ""),
            ],
            #[cfg(feature = "azblob")]
            Self::Azblob => &[
                ("endpoint", "endpoint"),
                ("account-name", "account_name"),
                ("anonymous", "skip_signature"),
                ("ca-file", ""),
                ("proxy", ""),
            ],
            #[cfg(feature = "webdav")]
            Self::Webdav { .. } => &[("ca-file", ""), ("proxy", "")],
            #[cfg(feature = "sftp")]
            Self::Sftp => &[("key", "key"), ("known-hosts", "known_hosts_strategy")],
            #[cfg(feature = "b2")]
            Self::B2 => &[("bucket-id", "bucket_id"), ("ca-file", ""), ("proxy", "")],
            #[cfg(feature = "oss")]
            Self::Oss => &[
                ("endpoint", "endpoint"),
                ("role-arn", "role_arn"),
                ("sse", "server_side_encryption"),
                ("anonymous", "skip_signature"),
                ("ca-file", ""),
                ("proxy", ""),
            ],
        }
    }

    /// Where a secret that was given as an option belongs; `None` if the name is no secret's.
    pub fn secret(self, key: &str) -> Option<&'static str> {
        const PIECES: [&str; 7] =
            ["secret", "password", "token", "access-key", "account-key", "credential", "application-key"];
        let is_secret = PIECES.iter().any(|piece| key.contains(piece))
            || key == "sas"
            || key == "sas-key"
            || key == "encryption-key";
        if !is_secret || self.options().iter().any(|(name, _)| *name == key) {
            return None;
        }
        Some(match self {
            Self::Memory => "nothing here needs one",
            #[cfg(feature = "s3")]
            Self::S3 => "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or use a profile",
            #[cfg(feature = "gcs")]
            Self::Gcs => "set GOOGLE_APPLICATION_CREDENTIALS, or give credential-path=FILE",
            #[cfg(feature = "azblob")]
            Self::Azblob => "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
            #[cfg(feature = "webdav")]
            Self::Webdav { .. } => "set REKEEP_WEBDAV_PASSWORD or REKEEP_WEBDAV_TOKEN",
            #[cfg(feature = "sftp")]
            Self::Sftp => "use an agent or key=FILE",
            #[cfg(feature = "b2")]
            Self::B2 => "set B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY",
            #[cfg(feature = "oss")]
            Self::Oss => "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        })
    }

    /// Takes one option over.
    pub fn set(config: &mut BTreeMap<String, String>, key: &str, target: &str, value: String) -> Result<(), String> {
        if matches!(key, "anonymous" | "request-payer" | "list-v1") && !matches!(value.as_str(), "true" | "false") {
            return Err(format!("`{key}` is true or false"));
        }
        if key == "addressing" {
            let is_virtual = match value.as_str() {
                "virtual" => true,
                "path" => false,
                _ => return Err("`addressing` is path or virtual".to_owned()),
            };
            config.insert("enable_virtual_host_style".to_owned(), is_virtual.to_string());
            return Ok(());
        }
        config.insert(target.to_owned(), value);
        Ok(())
    }

    /// Adds what the URI's authority and the environment say.
    #[allow(
        unused_variables,
        unused_mut,
        clippy::unnecessary_wraps,
        reason = "depends on the services that are built in"
    )]
    pub fn complete(
        self,
        config: &mut BTreeMap<String, String>,
        user: Option<&str>,
        authority: &str,
        secrets: &mut Secrets,
    ) -> Result<(), String> {
        let mut put = |key: &str, value: String| {
            config.insert(key.to_owned(), value);
        };
        let need = |what: &str| {
            if authority.is_empty() { Err(format!("it names no {what}")) } else { Ok(authority.to_owned()) }
        };
        match self {
            Self::Memory => {}
            #[cfg(feature = "s3")]
            Self::S3 => {
                put("bucket", need("bucket")?);
                aws::complete(config)?;
            }
            #[cfg(feature = "gcs")]
            Self::Gcs => {
                put("bucket", need("bucket")?);
                if config.get("skip_signature").is_some_and(|value| value == "true") {
                    config.insert("disable_vm_metadata".to_owned(), "true".to_owned());
                    config.insert("disable_config_load".to_owned(), "true".to_owned());
                }
            }
            #[cfg(feature = "azblob")]
            Self::Azblob => {
                put("container", need("container")?);
                let variables = ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"];
                let account = config.get("account_name").cloned().or_else(|| variables.into_iter().find_map(variable));
                if let Some(account) = account {
                    if !config.contains_key("endpoint") {
                        config.insert("endpoint".to_owned(), format!("https://{account}.blob.core.windows.net"));
                    }
                    config.insert("account_name".to_owned(), account);
                }
                if !config.contains_key("endpoint") {
                    return Err(
                        "it names no account: give account-name or endpoint, or set AZURE_STORAGE_ACCOUNT_NAME"
                            .to_owned(),
                    );
                }
                let names = [("AZURE_STORAGE_ACCOUNT_KEY", "account_key"), ("AZURE_STORAGE_SAS_TOKEN", "sas_token")];
                take(config, secrets, &names);
            }
            #[cfg(feature = "webdav")]
            Self::Webdav { tls } => {
                put("endpoint", format!("http{}://{}", if tls { "s" } else { "" }, need("host")?));
                if let Some(user) = user.map(str::to_owned).or_else(|| variable("REKEEP_WEBDAV_USER")) {
                    put("username", user);
                }
                let names = [("REKEEP_WEBDAV_PASSWORD", "password"), ("REKEEP_WEBDAV_TOKEN", "token")];
                take(config, secrets, &names);
            }
            #[cfg(feature = "sftp")]
            Self::Sftp => {
                let host = need("host")?;
                put("endpoint", format!("ssh://{}{host}", user.map_or_else(String::new, |user| format!("{user}@"))));
                if !config.contains_key("root") {
                    return Err("it names no folder: write sftp://HOST/ABSOLUTE/PATH".to_owned());
                }
            }
            #[cfg(feature = "b2")]
            Self::B2 => {
                put("bucket", need("bucket")?);
                let names =
                    [("B2_APPLICATION_KEY_ID", "application_key_id"), ("B2_APPLICATION_KEY", "application_key")];
                take(config, secrets, &names);
                for (name, key) in names {
                    if !config.contains_key(key) {
                        return Err(format!("{name} is not set"));
                    }
                }
                if !config.contains_key("bucket_id") {
                    return Err("it needs bucket-id=ID beside the bucket's name".to_owned());
                }
            }
            #[cfg(feature = "oss")]
            Self::Oss => {
                put("bucket", need("bucket")?);
                if let Some(value) = variable("ALIBABA_CLOUD_ACCESS_KEY_SECRET") {
                    secrets.add(&value);
                }
            }
        }
        Ok(())
    }

    /// What names the place, whatever the credentials and options.
    pub fn canonical(
        self,
        config: &BTreeMap<String, String>,
        user: Option<&str>,
        authority: &str,
        path: &str,
    ) -> String {
        let mut text = match self {
            #[cfg(feature = "webdav")]
            Self::Webdav { tls: false } => "webdav+http://".to_owned(),
            _ => format!("{}://", self.name()),
        };
        text.push_str(&user.map_or_else(String::new, |user| format!("{user}@")));
        text.push_str(authority);
        if !path.is_empty() {
            text.push('/');
            text.push_str(path);
        }
        let told_apart_by_endpoint = self.options().iter().any(|(name, _)| *name == "endpoint");
        if let Some(endpoint) = config.get("endpoint").filter(|_| told_apart_by_endpoint) {
            text.push_str("?endpoint=");
            text.push_str(endpoint.trim_end_matches('/'));
        }
        text
    }
}

/// Takes secrets from the environment that were not given otherwise.
#[allow(dead_code, reason = "not every set of services reads one")]
fn take(config: &mut BTreeMap<String, String>, secrets: &mut Secrets, names: &[(&str, &str)]) {
    for (name, key) in names {
        if let Some(value) = variable(name).filter(|_| !config.contains_key(*key)) {
            secrets.add(&value);
            config.insert((*key).to_owned(), value);
        }
    }
}

#[cfg(feature = "s3")]
mod aws {
    use super::super::environment::variable;
    use std::{collections::BTreeMap, path::PathBuf};

    /// The region and the endpoint, where everybody keeps them. Credentials are found by the signer.
    pub fn complete(config: &mut BTreeMap<String, String>) -> Result<(), String> {
        if !config.contains_key("endpoint") {
            let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
            if let Some(endpoint) = names.into_iter().find_map(variable) {
                config.insert("endpoint".to_owned(), endpoint.trim_end_matches('/').to_owned());
            }
        }
        if config.get("endpoint").is_some_and(|endpoint| endpoint.contains('@')) {
            return Err("credentials have no place in an endpoint".to_owned());
        }
        if !config.contains_key("region") {
            let profile = config.get("profile").cloned().or_else(|| variable("AWS_PROFILE"));
            let named = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(variable);
            let region = named.or_else(|| region_of_profile(profile.as_deref().unwrap_or("default")));
            let region = match region {
                Some(region) => region,
                // Servers that are not Amazon's take this one, unless they were told of another.
                None if config.contains_key("endpoint") => "us-east-1".to_owned(),
                None => {
                    return Err("it names no region: give region=NAME, or set AWS_REGION or the profile's".to_owned());
                }
            };
            config.insert("region".to_owned(), region);
        }
        Ok(())
    }

    fn region_of_profile(profile: &str) -> Option<String> {
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".aws/config"));
        let path = variable("AWS_CONFIG_FILE").map(PathBuf::from).or_else(home)?;
        region_in(&std::fs::read_to_string(path).ok()?, profile)
    }

    fn region_in(text: &str, profile: &str) -> Option<String> {
        let mut is_ours = false;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                let name = section.trim().strip_prefix("profile").map_or(section.trim(), str::trim);
                is_ours = name == profile;
            } else if let Some((key, value)) = line.split_once('=').filter(|_| is_ours)
                && key.trim() == "region"
            {
                return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            }
        }
        None
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_region_of_a_profile_is_found() {
            let text = "[default]\nregion = eu-west-1\n\n[profile backup]\nrole_arn=x\nregion=eu-central-1\n";
            assert_eq!(region_in(text, "default").as_deref(), Some("eu-west-1"));
            assert_eq!(region_in(text, "backup").as_deref(), Some("eu-central-1"));
            assert_eq!(region_in(text, "other"), None);
        }
    }
}

/// The name of a document's outermost element.
#[cfg(feature = "http")]
fn root_of(document: &[u8]) -> Option<String> {
    use quick_xml::{Reader, events::Event};
    let mut reader = Reader::from_reader(document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document));
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) | Event::Empty(element) => {
                return Some(element.local_name().as_ref().to_owned());
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[cfg(all(test, feature = "s3", feature = "webdav", feature = "azblob", feature = "gcs", feature = "b2"))]
mod tests {
    use super::Service;

    #[test]
    fn nothing_but_a_page_of_its_own_is_a_listing_of_a_service() {
        let webdav = Service::Webdav { tls: true };
        let all = [Service::S3, Service::Azblob, Service::Gcs, Service::B2, webdav];
        let pages: [&[u8]; 5] = [
            b"<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"u\"><IsTruncated>false</IsTruncated></ListBucketResult>",
            b"\xef\xbb\xbf<?xml version=\"1.0\"?><EnumerationResults><Blobs/><NextMarker /></EnumerationResults>",
            b"{\"kind\": \"storage#objects\"}",
            b"{\"files\": [], \"nextFileName\": null}",
            b"<!-- x --><D:multistatus xmlns:D=\"DAV:\"/>",
        ];
        for (number, service) in all.into_iter().enumerate() {
            for (other, page) in pages.iter().enumerate() {
                assert_eq!(service.is_listing(page), number == other, "{service:?} {other}");
            }
            for none in [
                "",
                "<",
                "{}",
                "[]",
                "Please sign in",
                "<!DOCTYPE html><html><body>Please sign in<p></body></html>",
                "<Error><Code>InternalError</Code></Error>",
                "<EnumerationResults><Blobs/></EnumerationResults>",
            ] {
                assert!(!service.is_listing(none.as_bytes()), "{service:?} {none}");
            }
        }
    }
}
