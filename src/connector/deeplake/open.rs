//! From a URL and options to a source or target.

use super::{DeepLakeOptions, DeepLakeSource, DeepLakeTarget, DeepLakeTargetOptions};
use crate::connector::{
    Connector, ConnectorError, OptionDescription, Options, Role, Source, SourceUrl, Target, options_of,
};

/// `deeplake:` URLs.
#[derive(Debug, Clone, Copy)]
pub struct DeepLakeConnector;

impl Connector for DeepLakeConnector {
    fn form(&self) -> &'static str {
        "deeplake:DIRECTORY"
    }

    fn options(&self, role: Role) -> Vec<OptionDescription> {
        match role {
            Role::Source => options_of::<DeepLakeOptions>(),
            Role::Target => options_of::<DeepLakeTargetOptions>(),
        }
    }

    fn source(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(DeepLakeSource::new(url, options.read()?)?))
    }

    fn target(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        Ok(Box::new(DeepLakeTarget::new(url, options.read()?)?))
    }
}
