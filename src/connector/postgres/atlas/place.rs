//! From a URL to a store: `atlasdb:postgresql://…?prefix=a_`, or `atlasdb:FILE` for a configuration of `AtlasDB`'s.

use super::{config, ground::Ground};
use crate::connector::{
    ConnectorError, Options, SourceUrl,
    postgres::{address::Address, client::Server, settings::Settings},
};

/// A store, and how it is reached.
pub(super) struct StorePlace {
    pub(super) server: Server,
    pub(super) ground: Ground,
    /// What the URL said of the ground; a target takes the rest from the snapshot.
    pub(super) said: Said,
}

/// What a URL says of a store's ground.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) schema: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) metadata: Option<String>,
}

/// Whether a URL names a server and no file.
fn is_server(place: &str) -> bool {
    ["postgresql://", "postgres://"].iter().any(|scheme| place.starts_with(scheme))
}

impl StorePlace {
    pub(super) fn of(url: &SourceUrl, options: &Options) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Url { url: url.to_string(), reason };
        let inner = if is_server(&url.place) {
            let (scheme, written) = url.written.split_once(':').unwrap_or_default();
            let place = url.place.split_once(':').unwrap_or_default().1;
            SourceUrl {
                scheme: scheme.to_owned(),
                place: place.to_owned(),
                written: written.to_owned(),
                options: url.options.clone(),
            }
        } else {
            let mut root = None;
            let mut others = Vec::new();
            for (name, value) in &url.options {
                match name.as_str() {
                    "config-root" => root = Some(value.as_str()),
                    _ => others.push((name.clone(), value.clone())),
                }
            }
            let mut inner = config::read(&url.path(), root)?;
            inner.options.extend(others);
            inner
        };
        let (address, others) = Address::of(&inner)?;
        let (mut said, mut client) = (Said::default(), None);
        for (name, value) in others {
            match name.as_str() {
                "schema" => said.schema = Some(value),
                // The server folds names that are not in quotes, and the store's are not.
                "prefix" => said.prefix = Some(value.to_ascii_lowercase()),
                "metadata-table" | "metadata_table" => said.metadata = Some(value.to_ascii_lowercase()),
                "client" => client = Some(value),
                other => {
                    return Err(wrong(format!(
                        "`{other}` is neither libpq's nor prefix, metadata-table, schema or client"
                    )));
                }
            }
        }
        let settings: Settings = options.read()?;
        let server = Server::new(address, settings)?;
        let ground = Ground {
            object: server.shown(),
            schema: said.schema.clone().unwrap_or_else(|| "public".to_owned()),
            prefix: said.prefix.clone().unwrap_or_default(),
            metadata: said.metadata.clone().unwrap_or_else(|| "_metadata".to_owned()),
            client,
        };
        Ok(Self { server, ground, said })
    }
}
