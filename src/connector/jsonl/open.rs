//! From a URL to a source or target.

use super::{JsonlSource, JsonlTarget};
use crate::connector::{
    Connector, ConnectorError, OptionDescription, Options, Role, Source, SourceUrl, Target, options_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// What a source may be told beside its URL.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct JsonlOptions {
    /// The field that keys ordinary lines.
    key: Option<String>,
}

/// `jsonl:` URLs.
#[derive(Debug, Clone, Copy)]
pub struct JsonlConnector;

impl Connector for JsonlConnector {
    fn form(&self) -> &'static str {
        "jsonl:FILE (jsonl:- for standard input or output)"
    }

    fn options(&self, role: Role) -> Vec<OptionDescription> {
        match role {
            Role::Source => options_of::<JsonlOptions>(),
            Role::Target => Vec::new(),
        }
    }

    fn source(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        let JsonlOptions { key } = options.read()?;
        Ok(Box::new(JsonlSource::new(url)?.keyed_by(key)))
    }

    fn target(&self, url: &SourceUrl, _: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        Ok(Box::new(JsonlTarget::new(url)?))
    }
}
