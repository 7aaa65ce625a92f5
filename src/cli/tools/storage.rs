//! Files at an object store, as the tools' flags name it: a bucket by a flag of its own, or `s3://BUCKET/FOLDER` as a folder.

use super::super::exit::{Failure, usage};
use crate::connector::{Options, url::escaped};
use clap::Args;
use serde_json::json;

/// Flags of both tools.
#[derive(Debug, Clone, Default, Args)]
#[allow(dead_code, reason = "some flags are taken so that scripts that give them go on, and change nothing")]
#[command(next_help_heading = "Object stores (the folder or file is then one of the bucket)")]
pub struct StorageArgs {
    /// Files lie in this bucket
    #[arg(long, value_name = "NAME", conflicts_with_all = ["gcp_bucket_name", "azure_container_name"])]
    s3_bucket_name: Option<String>,
    /// Region of the bucket [default: of the environment or the profile]
    #[arg(long, value_name = "NAME")]
    s3_region: Option<String>,
    /// Profile of the credentials
    #[arg(long, value_name = "NAME")]
    s3_profile: Option<String>,
    /// Key id [default: what the environment has]
    #[arg(long, value_name = "ID", requires = "s3_secret_access_key")]
    s3_access_key_id: Option<String>,
    /// Key; better by the environment or as secrets:RESOURCE:KEY
    #[arg(long, value_name = "KEY", requires = "s3_access_key_id")]
    s3_secret_access_key: Option<String>,
    /// Address of a server that is not Amazon's
    #[arg(long, value_name = "URL")]
    s3_endpoint_override: Option<String>,
    /// Storage class of the files
    #[arg(long, value_name = "CLASS")]
    s3_storage_class: Option<String>,
    /// Files lie in this bucket of Google's
    #[arg(long, value_name = "NAME", conflicts_with = "azure_container_name")]
    gcp_bucket_name: Option<String>,
    /// JSON file of the service account
    #[arg(long, value_name = "FILE")]
    gcp_key_path: Option<String>,
    /// Address of another server
    #[arg(long, value_name = "URL")]
    gcp_endpoint_override: Option<String>,
    /// Storage class of the files
    #[arg(long, value_name = "CLASS")]
    gcp_storage_class: Option<String>,
    /// Files lie in this container of Azure's
    #[arg(long, value_name = "NAME")]
    azure_container_name: Option<String>,
    /// Storage account
    #[arg(long, value_name = "NAME")]
    azure_account_name: Option<String>,
    /// Its key; better by the environment or as secrets:RESOURCE:KEY
    #[arg(long, value_name = "KEY")]
    azure_account_key: Option<String>,
    /// Address of another server
    #[arg(long, value_name = "URL")]
    azure_endpoint: Option<String>,
    #[command(flatten)]
    refused: Refused,
    #[command(flatten)]
    accepted: Accepted,
}

/// What is said to be not there.
#[derive(Debug, Clone, Default, Args)]
struct Refused {
    #[arg(long, hide = true)]
    azure_tenant_id: Option<String>,
    #[arg(long, hide = true)]
    azure_client_id: Option<String>,
    #[arg(long, hide = true)]
    azure_client_secret: Option<String>,
    #[arg(long, hide = true)]
    azure_access_tier: Option<String>,
    #[arg(long, hide = true)]
    s3_tier: Option<String>,
}

/// What says how requests are made, which is decided here (`docs/storage.md`).
#[derive(Debug, Clone, Default, Args)]
#[allow(dead_code, reason = "taken, and without a meaning here")]
struct Accepted {
    #[arg(long, hide = true)]
    s3_chunk_size: Option<u64>,
    #[arg(long, hide = true)]
    s3_min_part_size: Option<u64>,
    #[arg(long, hide = true)]
    s3_upload_concurrency: Option<u64>,
    #[arg(long, hide = true)]
    s3_max_async_downloads: Option<u64>,
    #[arg(long, hide = true)]
    s3_max_async_uploads: Option<u64>,
    #[arg(long, hide = true)]
    s3_max_conns_per_host: Option<u64>,
    #[arg(long, hide = true)]
    s3_connect_timeout: Option<u64>,
    #[arg(long, hide = true)]
    s3_request_timeout: Option<u64>,
    #[arg(long, hide = true)]
    s3_log_level: Option<String>,
    #[arg(long, hide = true)]
    s3_calculate_checksum: bool,
    #[arg(long, hide = true)]
    s3_retry_max_attempts: Option<u64>,
    #[arg(long, hide = true)]
    s3_retry_max_backoff: Option<u64>,
    #[arg(long, hide = true)]
    s3_retry_read_backoff: Option<u64>,
    #[arg(long, hide = true)]
    s3_retry_read_multiplier: Option<f64>,
    #[arg(long, hide = true)]
    s3_retry_read_max_attempts: Option<u64>,
    #[arg(long, hide = true)]
    s3_restore_poll_duration: Option<u64>,
    #[arg(long, hide = true)]
    s3_allow_system_proxy: bool,
    #[arg(long, hide = true)]
    gcp_chunk_size: Option<u64>,
    #[arg(long, hide = true)]
    gcp_calculate_checksum: bool,
    #[arg(long, hide = true)]
    gcp_retry_max_attempts: Option<u64>,
    #[arg(long, hide = true)]
    gcp_retry_max_backoff: Option<u64>,
    #[arg(long, hide = true)]
    gcp_retry_init_backoff: Option<u64>,
    #[arg(long, hide = true)]
    gcp_retry_backoff_multiplier: Option<f64>,
    #[arg(long, hide = true)]
    azure_block_size: Option<u64>,
    #[arg(long, hide = true)]
    azure_upload_concurrency: Option<u64>,
    #[arg(long, hide = true)]
    azure_calculate_checksum: bool,
    #[arg(long, hide = true)]
    azure_retry_max_attempts: Option<u64>,
    #[arg(long, hide = true)]
    azure_retry_max_delay: Option<u64>,
    #[arg(long, hide = true)]
    azure_retry_delay: Option<u64>,
    #[arg(long, hide = true)]
    azure_retry_timeout: Option<u64>,
    #[arg(long, hide = true)]
    azure_rehydrate_poll_duration: Option<u64>,
}

/// An option of a place and the flag that gives it.
type Given<'a> = (&'static str, &'static str, &'a Option<String>);

impl StorageArgs {
    /// The URL of files at these places, in order. Of places in a bucket with what storage is told.
    pub(super) fn url(&self, places: &[String]) -> Result<String, Failure> {
        let located: Vec<String> = places.iter().map(|place| self.location(place)).collect();
        let far = located.first().and_then(|first| first.split_once("://")).map(|(scheme, _)| scheme);
        let mut query: Vec<String> = located.iter().skip(1).map(|place| format!("then={}", in_query(place))).collect();
        for (service, given) in self.given() {
            let is_meant = far == Some(service) || far == Some("gs") && service == "gcs";
            for (option, flag, value) in given {
                let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else { continue };
                if !is_meant {
                    return Err(usage(format!("{flag}: nothing says which bucket")));
                }
                if !option.is_empty() {
                    query.push(format!("{option}={}", in_query(value)));
                }
            }
        }
        let refused = &self.refused;
        let identity = "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET instead";
        let thaw = "what an archive tier holds is to be brought back first";
        for (flag, given, why) in [
            ("--azure-tenant-id", &refused.azure_tenant_id, identity),
            ("--azure-client-id", &refused.azure_client_id, identity),
            ("--azure-client-secret", &refused.azure_client_secret, identity),
            ("--azure-access-tier", &refused.azure_access_tier, "files go into the container's own tier"),
            ("--s3-tier", &refused.s3_tier, thaw),
        ] {
            super::refuse(flag, given.as_ref().is_some_and(|value| !value.is_empty()), why)?;
        }
        let first = located.first().ok_or_else(|| usage("nothing says which files"))?;
        let mark = if query.is_empty() { "" } else { "?" };
        Ok(format!("asb:{first}{mark}{}", query.join("&")))
    }

    /// Adds the keys that were given by flags.
    pub(super) fn add_to(&self, options: &mut Options) -> Result<(), Failure> {
        let named = [
            ("access_key_id", &self.s3_access_key_id),
            ("secret_access_key", &self.s3_secret_access_key),
            ("account_key", &self.azure_account_key),
        ];
        let keys: serde_json::Map<String, serde_json::Value> =
            named.iter().filter_map(|(name, value)| Some(((*name).to_owned(), json!(value.as_ref()?)))).collect();
        if !keys.is_empty() {
            options.add(&json!({ "storage_credentials": keys }))?;
        }
        Ok(())
    }

    /// Whether a place lies in a bucket.
    pub(super) fn is_far(&self, place: &str) -> bool {
        self.location(place).contains("://")
    }

    fn location(&self, place: &str) -> String {
        let bucket =
            [("s3", &self.s3_bucket_name), ("gcs", &self.gcp_bucket_name), ("azblob", &self.azure_container_name)];
        let bucket = bucket.into_iter().find_map(|(scheme, name)| Some((scheme, name.as_deref()?)));
        let encoded = escaped(place);
        match bucket {
            Some((scheme, name)) if !place.contains("://") => {
                format!("{scheme}://{name}/{}", encoded.trim_start_matches('/').replace('#', "%23"))
            }
            _ => encoded,
        }
    }

    /// What was said of each service.
    fn given(&self) -> [(&'static str, Vec<Given<'_>>); 3] {
        [
            (
                "s3",
                vec![
                    ("region", "--s3-region", &self.s3_region),
                    ("profile", "--s3-profile", &self.s3_profile),
                    ("endpoint", "--s3-endpoint-override", &self.s3_endpoint_override),
                    ("storage-class", "--s3-storage-class", &self.s3_storage_class),
                    ("", "--s3-access-key-id", &self.s3_access_key_id),
                ],
            ),
            (
                "gcs",
                vec![
                    ("credential-path", "--gcp-key-path", &self.gcp_key_path),
                    ("endpoint", "--gcp-endpoint-override", &self.gcp_endpoint_override),
                    ("storage-class", "--gcp-storage-class", &self.gcp_storage_class),
                ],
            ),
            (
                "azblob",
                vec![
                    ("account-name", "--azure-account-name", &self.azure_account_name),
                    ("endpoint", "--azure-endpoint", &self.azure_endpoint),
                    ("", "--azure-account-key", &self.azure_account_key),
                ],
            ),
        ]
    }
}

fn in_query(text: &str) -> String {
    text.replace('%', "%25").replace('&', "%26")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        storage: StorageArgs,
    }

    fn url(line: &str, places: &[&str]) -> Result<String, String> {
        let storage = Line::parse_from(format!("tool {line}").split_whitespace()).storage;
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        storage.url(&places).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_bucket_is_named_by_a_flag_or_in_the_folder() {
        assert_eq!(url("", &["a?b", "c&d"]).unwrap(), "asb:a%3Fb?then=c%26d");
        assert_eq!(
            url("--s3-bucket-name b --s3-region eu-central-1 --s3-endpoint-override http://h:9", &["/nightly/x#1"])
                .unwrap(),
            "asb:s3://b/nightly/x%231?region=eu-central-1&endpoint=http://h:9"
        );
        assert_eq!(url("--s3-region r --s3-log-level FATAL", &["s3://b/p"]).unwrap(), "asb:s3://b/p?region=r");
        assert_eq!(
            url("--gcp-bucket-name b --gcp-key-path k&y.json", &["d", "e"]).unwrap(),
            "asb:gcs://b/d?then=gcs://b/e&credential-path=k%26y.json"
        );
        assert_eq!(
            url("--azure-container-name c --azure-account-name a --azure-account-key s", &["d"]).unwrap(),
            "asb:azblob://c/d?account-name=a"
        );
        assert!(url("--s3-region r", &["here"]).unwrap_err().contains("which bucket"));
        assert!(url("--azure-client-id r", &["here"]).unwrap_err().contains("AZURE_CLIENT_ID"));
    }

    #[test]
    fn keys_are_handed_over_and_not_shown() {
        let line = "tool --s3-bucket-name b --s3-access-key-id id --s3-secret-access-key hunter22";
        let storage = Line::parse_from(line.split_whitespace()).storage;
        let mut options = Options::default();
        storage.add_to(&mut options).unwrap();
        assert!(!format!("{options:?}").contains("hunter22"));
        assert!(!storage.url(&["d".to_owned()]).unwrap().contains("hunter22"));
    }
}
