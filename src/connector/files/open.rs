//! From a URL and options to a source or target.

use super::{FilesOptions, FilesSource, FilesTarget, FilesTargetOptions};
use crate::connector::{
    Connector, ConnectorError, OptionDescription, Options, Role, Source, SourceUrl, Target, options_of,
};

/// `files:` URLs.
#[derive(Debug, Clone, Copy)]
pub struct FilesConnector;

impl Connector for FilesConnector {
    fn form(&self) -> &'static str {
        "files:DIRECTORY"
    }

    fn options(&self, role: Role) -> Vec<OptionDescription> {
        match role {
            Role::Source => options_of::<FilesOptions>(),
            Role::Target => options_of::<FilesTargetOptions>(),
        }
    }

    fn source(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(FilesSource::new(url, options.read()?)?))
    }

    fn target(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        Ok(Box::new(FilesTarget::new(url, options.read()?)?))
    }
}
