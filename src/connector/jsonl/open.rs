//! From a URL to a source or target.

use super::{JsonlSource, JsonlTarget};
use crate::connector::{Connector, ConnectorError, Options, Source, SourceUrl, Target};

/// `jsonl:` URLs.
#[derive(Debug, Clone, Copy)]
pub struct JsonlConnector;

impl Connector for JsonlConnector {
    fn form(&self) -> &'static str {
        "jsonl:FILE (jsonl:- for standard input or output)"
    }

    fn source(&self, url: &SourceUrl, _: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(JsonlSource::new(url)?))
    }

    fn target(&self, url: &SourceUrl, _: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        Ok(Box::new(JsonlTarget::new(url)?))
    }
}
