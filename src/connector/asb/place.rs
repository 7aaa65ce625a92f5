//! Where files are: one, a folder, several of both in order, or standard input.

pub use super::names::{METADATA_PREFIX, SUFFIX};
use super::{
    names::Listed,
    options::PlaceOptions,
    spot::{Spot, far_location},
};
use crate::{
    connector::{ConnectorError, SourceUrl},
    repo::storage::StorageOptions,
};
use std::path::{Path, PathBuf};

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsbPlace {
    /// Standard input or output.
    Standard,
    /// Files and folders, in this order.
    Spots(Vec<Spot>),
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where it is; `None` for standard input.
    pub file: Option<Spot>,
    /// Which of the places it belongs to.
    pub place: usize,
    /// Its length; 0 if unknown.
    pub len: u64,
    /// Whether it was found in a folder, and not named.
    pub is_listed: bool,
}

impl Input {
    /// As a person knows it.
    #[must_use]
    pub fn show(&self) -> String {
        self.file.as_ref().map_or_else(|| "standard input".to_owned(), Spot::show)
    }

    /// What its name and its head say of the run that it is of, if it was found in a folder.
    #[must_use]
    pub fn listed(&self, namespace: &[u8], is_first: bool) -> Option<Listed> {
        let shown = self.file.as_ref().filter(|_| self.is_listed)?.show();
        let name = shown.rsplit('/').next()?.to_owned();
        Some(Listed { place: self.place, shown, name, namespace: namespace.to_vec(), is_first })
    }
}

impl AsbPlace {
    /// The place that a URL names, with those that follow it (`?then=`).
    ///
    /// # Errors
    /// [`ConnectorError::Url`] for other options.
    pub fn of(url: &SourceUrl, at: &PlaceOptions) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Url { url: url.to_string(), reason };
        if url.place == "-" {
            return if url.options.is_empty() {
                Ok(Self::Standard)
            } else {
                Err(wrong("standard input stands alone".to_owned()))
            };
        }
        let storage = storage_options(url, at);
        let mut spots = vec![Spot::of(place_text(url), &storage)?];
        for (option, value) in &url.options {
            match option.as_str() {
                "then" if !value.is_empty() => spots.push(Spot::of(value, &storage)?),
                _ if storage.options.iter().any(|(known, _)| known == option) => {}
                _ => {
                    return Err(wrong(format!(
                        "`{option}` is not understood; write then=PATH for what comes after (a `?` in a name is written %3F)"
                    )));
                }
            }
        }
        Ok(Self::Spots(spots))
    }

    /// As a person knows it.
    #[must_use]
    pub fn show(&self) -> String {
        match self {
            Self::Standard => "standard input or output".to_owned(),
            Self::Spots(spots) => spots.iter().map(Spot::show).collect::<Vec<_>>().join(", "),
        }
    }

    /// The files there, in order.
    ///
    /// # Errors
    /// [`ConnectorError`] if a place does not exist or has no such file.
    pub fn inputs(&self) -> Result<Vec<Input>, ConnectorError> {
        let Self::Spots(spots) = self else {
            return Ok(vec![Input { file: None, place: 0, len: 0, is_listed: false }]);
        };
        let mut inputs = Vec::new();
        for (place, spot) in spots.iter().enumerate() {
            if let Some(len) = spot.len()? {
                inputs.push(Input { file: Some(spot.clone()), place, len, is_listed: false });
                continue;
            }
            let found = spot.files()?;
            if found.is_empty() {
                let reason = format!("no file in it ends in {SUFFIX}");
                return Err(ConnectorError::Unreadable { object: spot.show(), reason });
            }
            inputs.extend(found.into_iter().map(|(file, len)| Input { file: Some(file), place, len, is_listed: true }));
        }
        Ok(inputs)
    }
}

/// What a file is called while it is written; earlier releases let its name end as a backup file's.
pub const WRITING_PREFIX: &str = ".rekeep-";
/// How such a name ends.
pub const WRITING_SUFFIX: &str = ".part";
/// How the name of a file ends that notes how far a backup is, and is gone when it is finished.
const STATE_SUFFIX: &str = ".state";
/// How a state of our own begins.
const OWN_STATE: &[u8] = b"{\"rekeep_copy\"";
/// The same of a restore from such files.
const OWN_RESTORE: &[u8] = b"{\"rekeep_copy\":1,\"what\":\"asb ";

/// Whether a file is one that was being written.
pub fn is_being_written(name: &str) -> bool {
    name.starts_with(WRITING_PREFIX) && (name.ends_with(WRITING_SUFFIX) || name.ends_with(SUFFIX))
}

/// What says that a run into a place was broken off.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// That it was not finished since, in words.
    pub surely: Vec<String>,
    /// That it may have been.
    pub perhaps: Vec<String>,
}

impl AsbPlace {
    /// What lies beside the files of folders and says that not all of a backup is there.
    ///
    /// # Errors
    /// [`ConnectorError`] if a folder cannot be listed.
    pub fn unfinished(&self) -> Result<Unfinished, ConnectorError> {
        let mut found = Unfinished::default();
        let Self::Spots(spots) = self else { return Ok(found) };
        for spot in spots {
            if spot.len()?.is_some() {
                continue;
            }
            let folder = spot.show();
            for name in spot.names()? {
                if is_being_written(&name) {
                    found.surely.push(format!(
                        "the backup in {folder} was never finished: {name} is what was being written when it was broken off"
                    ));
                } else if name.ends_with(STATE_SUFFIX) && !is_of_restore(spot, &name)? {
                    if may_be_over(spot, &name)? {
                        found.perhaps.push(format!(
                            "{folder}/{name} says that a backup was interrupted; files were written after that, so it may have been \
                             finished"
                        ));
                    } else {
                        found.surely.push(format!(
                            "the backup in {folder} was never finished: {name} notes how far it came. Go on with the \
                             program that wrote it, or take it as it is"
                        ));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Whether a state notes how far a restore of ours is, which lies where the files are.
fn is_of_restore(folder: &Spot, name: &str) -> Result<bool, ConnectorError> {
    Ok(folder.join(name).text(OWN_RESTORE.len() as u64)?.is_some_and(|head| head == OWN_RESTORE))
}

/// Whether files were written after a state. Of other programs not all take it away when the run after it has finished.
fn may_be_over(folder: &Spot, name: &str) -> Result<bool, ConnectorError> {
    let state = folder.join(name);
    if state.text(OWN_STATE.len() as u64)?.is_some_and(|head| head == OWN_STATE) {
        return Ok(false);
    }
    let newest = folder.files()?.iter().filter_map(|(file, _)| file.written()).max();
    // Where no time is told it is rather believed.
    Ok(state.written().zip(newest).is_some_and(|(noted, newest)| noted < newest))
}

/// The place of a URL as [`Spot::of`] takes it: storage decodes its own locations.
pub fn place_text(url: &SourceUrl) -> &str {
    if far_location(&url.written).is_some() { &url.written } else { &url.place }
}

/// What of a URL's options is meant for storage: all but ours, where the place is a far one.
pub fn storage_options(url: &SourceUrl, at: &PlaceOptions) -> StorageOptions {
    let is_ours = |name: &str| matches!(name, "then" | "step");
    let options = url.options.iter().filter(|(name, _)| !is_ours(name));
    at.storage(if far_location(&url.place).is_some() { options.cloned().collect() } else { Vec::new() })
}

/// The backup files of a folder of this machine with their lengths, in order.
pub fn folder(path: &Path) -> Result<Vec<(PathBuf, u64)>, ConnectorError> {
    let found = Spot::Here(path.to_owned()).files()?;
    Ok(found.into_iter().filter_map(|(spot, len)| Some((spot.path()?.to_owned(), len))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_as_a_person_counts_them() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "n_10.asb",
            "n_2.asb",
            "n_1.asb",
            "metadata_n_11.asb",
            ".n_3.asb",
            "n.asb.state",
            "b_00001.asb",
            "b_00000.asb",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = folder(dir.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["metadata_n_11.asb", "b_00000.asb", "b_00001.asb", "n_1.asb", "n_2.asb", "n_10.asb"]);
    }

    #[test]
    fn what_was_broken_off_is_told_from_what_was_finished_since() {
        let dir = tempfile::tempdir().unwrap();
        let (file, state) = (dir.path().join("n_1.asb"), dir.path().join("n.asb.state"));
        std::fs::write(&file, "").unwrap();
        let place = AsbPlace::Spots(vec![Spot::Here(dir.path().to_owned())]);
        let told = || {
            let found = place.unfinished().unwrap();
            (found.surely.len(), found.perhaps.len())
        };
        assert_eq!(told(), (0, 0));
        let set = |path: &Path, seconds: u64| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        };
        std::fs::write(&state, "of asbackup").unwrap();
        set(&state, 1000);
        set(&file, 900);
        assert_eq!(told(), (1, 0));
        set(&file, 1001);
        assert_eq!(told(), (0, 1));
        std::fs::write(&state, "{\"rekeep_copy\":1}").unwrap();
        set(&state, 1000);
        assert_eq!(told(), (1, 0), "ours is gone when all is finished");
        std::fs::write(&state, "{\"rekeep_copy\":1,\"what\":\"asb F {}\"}").unwrap();
        assert_eq!(told(), (0, 0), "how far a restore is");
        std::fs::remove_file(&state).unwrap();
        for name in [".rekeep-a1.asb", ".rekeep-b2.part"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(told(), (2, 0));
        assert_eq!(AsbPlace::Spots(vec![Spot::Here(file)]).unfinished().unwrap(), Unfinished::default());
    }

    #[test]
    fn places_are_one_or_several_in_order() {
        let place = |text: &str| AsbPlace::of(&SourceUrl::parse(text).unwrap(), &PlaceOptions::default());
        assert_eq!(place("asb:-").unwrap(), AsbPlace::Standard);
        assert_eq!(
            place("asb:a?then=b&then=c%20d").unwrap(),
            AsbPlace::Spots(["a", "b", "c d"].map(|name| Spot::Here(name.into())).to_vec())
        );
        assert!(place("asb:-?then=a").is_err() && place("asb:a?x=y").is_err() && place("asb:a?then=").is_err());
    }
}
