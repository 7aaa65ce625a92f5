//! What holds for the whole repository and may be changed: how much parity packs have (`format-spec/parity.md`).

use super::{Inner, Repository, create::json};
use crate::{
    record::Timestamp,
    repo::{
        RepoError,
        inner::create::MAX_RACES,
        keys::{Capability, Signer},
        names,
        object::{self, ObjectKind},
        parity::Percent,
        storage::{Created, Listing},
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const FOLDER: &str = "settings/";

/// What is stored; members that only a newer program knows are carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsBody {
    /// How much parity packs have, in percent; 0 for none.
    pub parity_percent: u8,
    /// Who said so.
    pub host: String,
    /// When, by its clock: for people.
    pub time: Timestamp,
    /// What a newer program knows.
    #[serde(flatten)]
    unknown: serde_json::Map<String, serde_json::Value>,
}

/// What stands.
#[derive(Default)]
struct Kept {
    newest: Option<SettingsBody>,
    /// The lowest number above it that is free.
    next: u64,
}

impl Inner {
    fn kept_settings(&self) -> Result<Kept, RepoError> {
        self.kept_settings_of(Listing::later(&self.storage, FOLDER))
    }

    fn kept_settings_of(&self, listing: Listing) -> Result<Kept, RepoError> {
        let listed = self.objects_of(FOLDER, listing.get()?);
        let numbers: BTreeSet<u64> = listed.iter().filter_map(|it| names::parse_flat(FOLDER, &it.name)).collect();
        let mut kept = Kept::default();
        for &number in numbers.iter().rev() {
            let path = format!("settings/{number}");
            let read = object::read(&self.storage, &path)
                .and_then(|bytes| object::open(&self.keyring, ObjectKind::Settings, &path, &bytes))
                .and_then(|body| serde_json::from_slice(&body).map_err(|error| RepoError::damaged(&*path, error)));
            match read {
                Ok(body) => {
                    (kept.newest, kept.next) = (Some(body), number.saturating_add(1));
                    break;
                }
                Err(RepoError::Missing { .. }) => {}
                // What fails the check takes a number, and no more.
                Err(error) if error.is_bad_object() => {}
                Err(error) => return Err(error),
            }
        }
        while numbers.contains(&kept.next) {
            kept.next += 1;
        }
        Ok(kept)
    }

    /// How much parity writers make.
    pub(in crate::repo) fn parity(&self) -> Result<Option<Percent>, RepoError> {
        self.parity_of(self.begin_settings())
    }

    /// The listing that says how much that is.
    pub(in crate::repo) fn begin_settings(&self) -> Listing {
        self.storage.begin_list(FOLDER)
    }

    /// [`Self::parity`] of that listing.
    pub(in crate::repo) fn parity_of(&self, listing: Listing) -> Result<Option<Percent>, RepoError> {
        Ok(self.kept_settings_of(listing)?.newest.and_then(|settings| Percent::new(settings.parity_percent)))
    }
}

impl Repository {
    /// How much parity packs have that are written from now on; `None` for none.
    ///
    /// # Errors
    /// [`RepoError`] if storage cannot be listed or read.
    pub fn parity_percent(&self) -> Result<Option<Percent>, RepoError> {
        self.inner.parity()
    }

    /// Settles how much parity packs have that are written from now on, by whomever.
    ///
    /// # Errors
    /// [`RepoError::Role`]; [`RepoError`] if storage cannot be written.
    pub fn set_parity(&self, percent: Option<Percent>) -> Result<(), RepoError> {
        let inner = &self.inner;
        inner.keyring.need(Capability::Prune)?;
        for _ in 0..MAX_RACES {
            let Kept { newest, next } = inner.kept_settings()?;
            let body = SettingsBody {
                parity_percent: percent.map_or(0, Percent::get),
                host: inner.host.clone(),
                time: inner.clock.now(),
                unknown: newest.map(|newest| newest.unknown).unwrap_or_default(),
            };
            let path = format!("settings/{next}");
            let made = object::make(&inner.keyring, Signer::Operator, ObjectKind::Settings, &path, &json(&body)?)?;
            if inner.storage.create(&path, &made)? == Created::New {
                return Ok(());
            }
        }
        Err(RepoError::Raced { object: FOLDER.to_owned() })
    }
}
