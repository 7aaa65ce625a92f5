//! Objects that must be thawed before they can be read: classes of storage that answer within hours (`docs/cold-storage.md`).

use super::{Listed, RepoError, Storage, failed};
use crate::record::Timestamp;
use serde::Serialize;
use std::{
    fmt,
    io::{self, ErrorKind},
    str::FromStr,
};

/// Whether an object can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// At once.
    Readable,
    /// Not before somebody has asked for it.
    Archived,
    /// Somebody has asked for it.
    Thawing,
    /// Until its readable copy goes, if the service says when.
    Thawed(Option<Timestamp>),
}

impl Readiness {
    /// Whether reading it gives bytes now.
    #[must_use]
    pub const fn can_be_read(self) -> bool {
        matches!(self, Self::Readable | Self::Thawed(_))
    }
}

/// Where an object lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its length.
    pub bytes: u64,
    /// The class, in the service's words.
    pub class: String,
    /// Whether it can be read.
    pub readiness: Readiness,
}

/// How much haste is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThawTier {
    /// Minutes, where the class has that.
    Expedited,
    /// Hours.
    #[default]
    Standard,
    /// Half a day or two days, for the least money.
    Bulk,
}

impl ThawTier {
    /// As the service spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expedited => "Expedited",
            Self::Standard => "Standard",
            Self::Bulk => "Bulk",
        }
    }
}

impl FromStr for ThawTier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Expedited, Self::Standard, Self::Bulk];
        let found = all.into_iter().find(|tier| tier.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| "expedited, standard or bulk".to_owned())
    }
}

/// Classes of which nothing can be read before it is thawed, and the one that may hold such objects.
const COLD: [&str; 4] = ["GLACIER", "DEEP_ARCHIVE", "INTELLIGENT_TIERING", "Archive"];

/// Whether an object of this class may have to be thawed.
#[must_use]
pub fn may_be_cold(class: &str) -> bool {
    COLD.contains(&class)
}

/// Why an object gives no bytes.
#[derive(Debug)]
struct InArchive(String);

impl fmt::Display for InArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InArchive {}

/// What a backend says of an object that must be thawed before it is read.
#[must_use]
pub fn in_archive(words: impl Into<String>) -> io::Error {
    io::Error::other(InArchive(words.into()))
}

/// Whether an error is that of [`in_archive`].
pub(super) fn is_in_archive(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<InArchive>()).is_some()
}

impl Storage {
    /// Whether objects may lie there that have to be thawed.
    #[must_use]
    pub fn may_archive(&self) -> bool {
        self.backend.may_archive()
    }

    /// Where an object lies; `None` where the service knows no classes.
    pub fn standing_of(&self, name: &str) -> Result<Option<Standing>, RepoError> {
        self.retry(|| self.backend.standing_of(name)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => RepoError::Missing { object: name.to_owned() },
            _ => failed("asking for the class of", name, error),
        })
    }

    /// Lists objects with their classes, page by page; `false`, and nothing, where a listing does not tell. One may come twice.
    pub fn list_classes(&self, prefix: &str, page: &mut dyn FnMut(Vec<(Listed, String)>)) -> Result<bool, RepoError> {
        self.retry(|| self.backend.list_classes(prefix, page)).map_err(|error| failed("listing", prefix, error))
    }

    /// Asks for an object to be made readable for so many days. That somebody has asked already is done.
    pub fn thaw(&self, name: &str, days: u16, tier: ThawTier) -> Result<(), RepoError> {
        self.retry(|| self.backend.thaw(name, days, tier)).map_err(|error| failed("thawing", name, error))
    }

    /// Puts an object into another class.
    pub fn move_to_class(&self, name: &str, class: &str) -> Result<(), RepoError> {
        self.retry(|| self.backend.move_to_class(name, class)).map_err(|error| failed("moving", name, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_an_archive_is_told_from_what_may_not_be_read() {
        assert!(is_in_archive(&in_archive("InvalidObjectState")));
        assert!(!is_in_archive(&ErrorKind::PermissionDenied.into()));
        assert!(!is_in_archive(&io::Error::other("InvalidObjectState")));
        let said = failed("reading", "packs/ab/x", in_archive("403"));
        assert!(matches!(&said, RepoError::Archived { object } if object == "packs/ab/x"), "{said}");
    }

    #[test]
    fn tiers_are_understood_in_any_case() {
        assert_eq!("bulk".parse(), Ok(ThawTier::Bulk));
        assert_eq!("Standard".parse(), Ok(ThawTier::Standard));
        assert!("soon".parse::<ThawTier>().is_err());
    }
}
