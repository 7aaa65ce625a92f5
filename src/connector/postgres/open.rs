//! From a URL to a source or target.

use super::{
    address::Address,
    client::Server,
    select::Selection,
    settings::{Settings, TargetSettings},
    source::PostgresSource,
    target::PostgresTarget,
};
use crate::connector::{
    Connector, ConnectorError, OptionDescription, Options, Role, Source, SourceUrl, Target, options_of,
};

/// `postgresql:` and `postgres:` URLs.
#[derive(Debug, Clone, Copy)]
pub struct PostgresConnector {
    form: &'static str,
}

impl PostgresConnector {
    /// One for the scheme with which `form` begins.
    #[must_use]
    pub const fn new(form: &'static str) -> Self {
        Self { form }
    }
}

impl Connector for PostgresConnector {
    fn form(&self) -> &str {
        self.form
    }

    fn options(&self, role: Role) -> Vec<OptionDescription> {
        let mut options = options_of::<Settings>();
        if role == Role::Target {
            options.extend(options_of::<TargetSettings>());
        }
        options
    }

    fn source(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        let (server, selection) = open(url, options)?;
        Ok(Box::new(PostgresSource::new(server, selection)))
    }

    fn target(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        let (server, selection) = open(url, options)?;
        Ok(Box::new(PostgresTarget::new(server, &selection)?.with(options.read()?)))
    }
}

/// A server, and what of a database is meant.
pub(super) fn open(url: &SourceUrl, options: &Options) -> Result<(Server, Selection), ConnectorError> {
    let (address, others) = Address::of(url)?;
    let selection = Selection::of(others).map_err(|reason| ConnectorError::Url { url: url.to_string(), reason })?;
    Ok((Server::new(address, options.read()?)?, selection))
}
