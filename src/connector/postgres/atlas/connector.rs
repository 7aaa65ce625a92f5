//! `atlasdb:` URLs, as sources and as targets.

use super::{
    place::Place,
    source::AtlasSource,
    target::AtlasTarget,
    timelock::{Giver, TimestampCommand},
};
use crate::connector::{
    Connector, ConnectorError, OptionDescription, Options, Role, Source, SourceUrl, Target, options_of,
    postgres::settings::Settings,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of stores beside those of any database.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AtlasSettings {
    /// The address of a `TimeLock` up to its clients' names, for stores whose timestamps are kept there: `https://HOST:PORT/timelock/api`.
    pub(super) timelock: Option<String>,
}

/// `atlasdb:` URLs.
#[derive(Clone, Default)]
pub struct AtlasConnector {
    /// What gives timestamps in place of a `TimeLock`: options are data, and never a command to run.
    command: Option<TimestampCommand>,
}

impl AtlasConnector {
    /// One whose stores get their timestamps from here.
    #[must_use]
    pub fn with_timestamps(command: TimestampCommand) -> Self {
        Self { command: Some(command) }
    }

    fn open(&self, url: &SourceUrl, options: &Options) -> Result<(Place, Option<Giver>), ConnectorError> {
        let place = Place::of(url, options)?;
        let settings: AtlasSettings = options.read()?;
        let giver = match (&self.command, settings.timelock) {
            (Some(_), Some(_)) => {
                return Err(ConnectorError::Options {
                    reason: "timestamps come from a TimeLock or from a command, not from both".to_owned(),
                });
            }
            (Some(command), None) => Some(Giver::Command(std::sync::Arc::clone(command))),
            (None, Some(url)) => {
                let client = place.ground.client.clone().ok_or_else(|| ConnectorError::Options {
                    reason: "a TimeLock knows a store by a name: say it in the URL with client=".to_owned(),
                })?;
                Some(Giver::Timelock { url, client })
            }
            (None, None) => None,
        };
        Ok((place, giver))
    }
}

impl Connector for AtlasConnector {
    fn form(&self) -> &'static str {
        "atlasdb:postgresql://HOST/DATABASE"
    }

    fn options(&self, _: Role) -> Vec<OptionDescription> {
        let mut options = options_of::<Settings>();
        options.extend(options_of::<AtlasSettings>());
        options
    }

    fn source(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        let (place, giver) = self.open(url, options)?;
        Ok(Box::new(AtlasSource::new(place, giver)))
    }

    fn target(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        let (place, giver) = self.open(url, options)?;
        Ok(Box::new(AtlasTarget::new(place, giver)))
    }
}
