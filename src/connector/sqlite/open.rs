//! From a URL to a source or target.

use super::{SqliteSource, SqliteTarget};
use crate::connector::{Connector, ConnectorError, Options, Source, SourceUrl, Target};

/// `sqlite:` URLs.
#[derive(Debug, Clone, Copy)]
pub struct SqliteConnector;

impl Connector for SqliteConnector {
    fn form(&self) -> &'static str {
        "sqlite:FILE"
    }

    fn source(&self, url: &SourceUrl, _: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(SqliteSource::new(url)?))
    }

    fn target(&self, url: &SourceUrl, _: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        Ok(Box::new(SqliteTarget::new(url)?))
    }
}
