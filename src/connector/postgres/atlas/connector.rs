//! `atlasdb:` URLs, as sources and as targets.

use super::{
    place::StorePlace,
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

/// How a store is read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReadSettings {
    /// Read table after table, each at a state of its own, as is done where no transaction may last so long.
    pub(super) fuzzy: bool,
    /// Nobody sweeps while a store is read table after table: no lock on the immutable timestamp is needed.
    pub(super) sweep_is_off: bool,
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

    fn open(&self, url: &SourceUrl, options: &Options) -> Result<(StorePlace, Option<Giver>), ConnectorError> {
        let place = StorePlace::of(url, options)?;
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

    fn options(&self, role: Role) -> Vec<OptionDescription> {
        let mut options = options_of::<Settings>();
        options.extend(options_of::<AtlasSettings>());
        if role == Role::Source {
            options.extend(options_of::<ReadSettings>());
        }
        options
    }

    fn source(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        let (place, giver) = self.open(url, options)?;
        let settings: ReadSettings = options.read()?;
        let source = AtlasSource::new(place, giver);
        if settings.fuzzy {
            return Ok(Box::new(source.fuzzy(settings.sweep_is_off)?));
        }
        if settings.sweep_is_off {
            let reason = "one state needs no word about sweep: sweep_is_off belongs to fuzzy".to_owned();
            return Err(ConnectorError::Options { reason });
        }
        Ok(Box::new(source))
    }

    fn target(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        let (place, giver) = self.open(url, options)?;
        Ok(Box::new(AtlasTarget::new(place, giver)))
    }
}
