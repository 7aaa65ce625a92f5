//! From a URL to a source or target.

use super::{
    AsbSource, AsbTarget,
    far_target::FarTarget,
    options::{CipherOptions, PartOptions, PlaceOptions, ReadOptions, WriteOptions},
    place::{AsbPlace, place_text, storage_options},
    spot::Spot,
    step::{Step, is_routine, steps},
};
use crate::connector::{
    Connector, ConnectorError, Inspection, OptionDescription, Options, Role, Source, SourceUrl, Target, options_of,
};

/// `asb:` URLs.
#[derive(Debug, Clone, Copy)]
pub struct AsbConnector;

impl Connector for AsbConnector {
    fn form(&self) -> &'static str {
        "asb:PATH (asb:- for standard input or output, asb:s3://BUCKET/FOLDER and the like)"
    }

    fn options(&self, role: Role) -> Vec<OptionDescription> {
        let mut all = options_of::<CipherOptions>();
        all.extend(options_of::<PartOptions>());
        all.extend(options_of::<PlaceOptions>());
        all.extend(match role {
            Role::Source => options_of::<ReadOptions>(),
            Role::Target => options_of::<WriteOptions>(),
        });
        all
    }

    fn source(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        let (cipher, part, read): (CipherOptions, _, _) = (options.read()?, options.read()?, options.read()?);
        Ok(Box::new(AsbSource::new(url, &cipher, part, read, &options.read()?)?))
    }

    fn target(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        let (cipher, part, write): (CipherOptions, _, _) = (options.read()?, options.read()?, options.read()?);
        if FarTarget::is_of(url) {
            return Ok(Box::new(FarTarget::new(url, &cipher, part, write, options.read()?)?));
        }
        Ok(Box::new(AsbTarget::new(url, &cipher, part, write)?))
    }

    fn inspect(&self, url: &SourceUrl, options: &Options) -> Result<Inspection, ConnectorError> {
        let (cipher, at): (CipherOptions, PlaceOptions) = (options.read()?, options.read()?);
        let place = match Step::of(url, &at)? {
            Some(step) => step.place(),
            None => AsbPlace::of(url, &at)?,
        };
        if let (AsbPlace::Spots(spots), Some(names)) = (&place, self.chain(url)?) {
            let newest = names.last().map(|name| format!(", as {name}")).unwrap_or_default();
            return Err(ConnectorError::Unreadable {
                object: spots.first().map(Spot::show).unwrap_or_default(),
                reason: format!("it is the folder of a routine with {} backups: name one of them{newest}", names.len()),
            });
        }
        super::inspect::inspect(&place, cipher.cipher()?.as_ref())
    }

    fn chain(&self, url: &SourceUrl) -> Result<Option<Vec<String>>, ConnectorError> {
        let at = PlaceOptions::default();
        let storage = storage_options(url, &at);
        if url.options.len() > storage.options.len()
            || url.place == "-"
            || !is_routine(&Spot::of(place_text(url), &storage)?)
        {
            return Ok(None);
        }
        Ok(Some(steps(url, &at)?.iter().map(Step::url).collect()))
    }
}
