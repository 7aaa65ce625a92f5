//! The place of one dataset at a service: what stands there, and whose it is while it is written.

use super::{find::MARK, making::Wanted};
use crate::{connector::ConnectorError, repo::storage::ObjectTree};
use std::{
    collections::HashMap,
    io::{self, Read as _},
};

/// No mark is longer.
const MAX_MARK_BYTES: u64 = 64 << 10;

/// What stands at a place.
pub(super) enum Found {
    Nothing,
    /// What is no restore that was begun.
    Stands,
    BegunByThis,
    BegunByAnother,
}

/// By which a restore knows what it began.
pub(super) struct Mark {
    snapshot: String,
    wanted: Wanted,
}

impl Mark {
    /// Of a restore; one that comes of no snapshot is never known again.
    pub(super) fn of(snapshot: Option<&str>, wanted: &Wanted) -> Result<Self, ConnectorError> {
        let snapshot = if let Some(id) = snapshot {
            id.to_owned()
        } else {
            let mut random = [0; 16];
            getrandom::fill(&mut random).map_err(|error| ConnectorError::Io {
                operation: "name",
                object: "a restore".to_owned(),
                source: io::Error::other(error),
            })?;
            data_encoding::HEXLOWER.encode(&random)
        };
        Ok(Self { snapshot, wanted: wanted.clone() })
    }

    /// What is written of a collection.
    pub(super) fn text(&self, collection: &str) -> String {
        let Wanted { cut, keep_head } = &self.wanted;
        let cut = cut.as_ref().map(|cut| format!("{cut:?}"));
        serde_json::json!({ "snapshot": self.snapshot, "collection": collection, "cut": cut, "keep_head": keep_head })
            .to_string()
    }
}

/// A place.
pub(super) struct FarPlace {
    tree: ObjectTree,
    base: String,
}

impl FarPlace {
    pub(super) fn new(tree: &ObjectTree, name: &str) -> Self {
        Self { tree: tree.clone(), base: format!("{name}/") }
    }

    pub(super) const fn tree(&self) -> &ObjectTree {
        &self.tree
    }

    /// The name of an object of the dataset.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.base)
    }

    pub(super) fn show(&self) -> String {
        let location = self.tree.location();
        let (place, options) =
            location.split_once('?').map_or((location, ""), |(place, _)| (place, &location[place.len()..]));
        format!("{}/{}{options}", place.trim_end_matches('/'), self.base.trim_end_matches('/'))
    }

    fn io(&self, operation: &'static str, source: io::Error) -> ConnectorError {
        ConnectorError::Io { operation, object: self.show(), source }
    }

    /// What is there, for a restore with this mark.
    pub(super) fn find(&self, mark: &str) -> Result<Found, ConnectorError> {
        let names = self.tree.list(&self.base).map_err(|error| self.io("list", error))?;
        if names.is_empty() {
            return Ok(Found::Nothing);
        }
        if !names.iter().any(|one| one.name == MARK) {
            return Ok(Found::Stands);
        }
        let is = self.read_mark().map_err(|error| self.io("read", error))?;
        Ok(if is == mark.as_bytes() { Found::BegunByThis } else { Found::BegunByAnother })
    }

    /// Whether something is there that no restore began.
    pub(super) fn is_occupied(&self) -> Result<bool, ConnectorError> {
        let names = self.tree.list(&self.base).map_err(|error| self.io("list", error))?;
        Ok(!names.is_empty() && names.iter().all(|one| one.name != MARK))
    }

    fn read_mark(&self) -> io::Result<Vec<u8>> {
        let path = self.path(MARK);
        let version = self.tree.version(&path)?;
        let mut bytes = Vec::new();
        self.tree.read(&path, &version)?.take(MAX_MARK_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Takes the place; one that is taken already must be by the same restore.
    pub(super) fn begin(&self, mark: &str) -> Result<(), ConnectorError> {
        match self.tree.create(&self.path(MARK), &mut mark.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.read_mark() {
                Ok(is) if is == mark.as_bytes() => Ok(()),
                Ok(_) => Err(ConnectorError::Unwritable {
                    object: self.show(),
                    reason: "another restore took it meanwhile".to_owned(),
                }),
                Err(error) => Err(self.io("read", error)),
            },
            made => made.map_err(|error| self.io("write", error)),
        }
    }

    /// Gives the place to its readers.
    pub(super) fn end(&self) -> Result<(), ConnectorError> {
        self.tree.delete(&self.path(MARK)).map_err(|error| self.io("delete the mark in", error))
    }

    /// Deletes what a restore left, its mark last.
    pub(super) fn clear(&self) -> Result<(), ConnectorError> {
        let names = self.lengths()?.into_keys().filter(|key| key != MARK).map(|key| self.path(&key)).collect();
        self.tree.delete_all(names).map_err(|error| self.io("clear", error))?;
        self.end()
    }

    /// The lengths of all objects there.
    pub(super) fn lengths(&self) -> Result<HashMap<String, u64>, ConnectorError> {
        let listed = self.tree.list_below(&self.base).map_err(|error| self.io("list", error))?;
        Ok(listed.into_iter().filter_map(|one| Some((one.name, one.version?.bytes))).collect())
    }
}
