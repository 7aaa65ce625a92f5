//! What can go wrong with a repository, each error naming the object.

use super::{
    ChunkId, SnapshotId,
    role::{Capability, Role},
};
use crate::{
    record::Timestamp,
    report::{ErrorKind, Trouble, TroubleKind},
};
use thiserror::Error;

/// What is said of something that is no object and lies where objects lie.
pub(in crate::repo) const HIDES: &str = "is not what this place is for, and hides what may be there";

/// What a storage says where something lies in an object's place that belongs to others.
#[derive(Debug, Error)]
#[error("a folder that is not empty lies in its place")]
pub(in crate::repo) struct Obstructed;

impl Obstructed {
    pub(in crate::repo) fn is_in(error: &std::io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

/// An error of the repository room.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RepoError {
    /// There is no repository at the location.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// Where it was looked for.
        location: String,
    },
    /// There is one already.
    #[error("there is already a repository at {location}")]
    AlreadyExists {
        /// Where.
        location: String,
    },
    /// There is something of a repository, though no repository.
    #[error(
        "{location} holds {object}, an object of a repository: a new one would be mixed with it. If an `init` broke off here, \
         remove what it left; if `rekeep.json` was lost, put it back"
    )]
    Occupied {
        /// Where.
        location: String,
        /// One of the objects.
        object: String,
    },
    /// The keys that were opened do not allow this.
    #[error(
        "this takes the right to {needs}, which keys of the role `{role}` do not give: open the repository with others"
    )]
    Role {
        /// The role of the slot that was opened.
        role: Role,
        /// What is needed.
        needs: Capability,
    },
    /// The service that keeps a slot's key said no.
    #[error("the key service `{service}` did not give the key: {reason}")]
    KeyService {
        /// Which.
        service: String,
        /// What it said.
        reason: String,
    },
    /// No key slot opens with this password or recovery key.
    #[error("what was given opens none of the {slots} key slots of {location} that it may be for{beside}")]
    WrongPassword {
        /// Where the repository is.
        location: String,
        /// How many slots were tried.
        slots: usize,
        /// What there is beside them that this program does not know, after a semicolon; often empty.
        beside: String,
    },
    /// The location cannot be understood or reached.
    #[error("the repository location {location} cannot be used: {reason}")]
    Location {
        /// What was given.
        location: String,
        /// Why not.
        reason: String,
    },
    /// The object was written by a newer version of the format.
    #[error("{object} is of format version {found}; this program reads up to {supported}: use a newer rekeep")]
    NewerFormat {
        /// Which object.
        object: String,
        /// The version found.
        found: u64,
        /// The newest version that can be read.
        supported: u64,
    },
    /// The object needs a feature that this program does not know.
    #[error("{object} needs {feature}, which this program does not know: use a newer rekeep; {still}")]
    UnknownFeature {
        /// Which object.
        object: String,
        /// The feature's name, or where a number was given out and the number.
        feature: String,
        /// What may be done without it.
        still: &'static str,
    },
    /// The object was sealed under keys that began after the slot was made that opened the repository. Neither damage nor forgery:
    /// it says nothing to this reader.
    #[error(
        "{object} is of key epoch {epoch}, which the key slot that was opened does not hold: it was made before, and a slot made since \
         opens it"
    )]
    Epoch {
        /// Which object.
        object: String,
        /// Which epoch.
        epoch: u32,
    },
    /// A stored object's bytes are not what was written.
    #[error("{object} is damaged: {reason}")]
    Damaged {
        /// Which object.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that is no object lies where objects lie.
    #[error("{object} is damaged: it {HIDES}: nothing is deleted while it stands there")]
    Hidden {
        /// Which.
        object: String,
    },
    /// Something of others lies in an object's place.
    #[error("{object} is damaged: {Obstructed}")]
    Obstructed {
        /// Which object's.
        object: String,
    },
    /// A stored object is whole, but nobody who may make such a one made it.
    #[error("{object} was not made by anyone who may: {reason}; it is passed over")]
    Forged {
        /// Which object.
        object: String,
        /// What does not fit.
        reason: String,
    },
    /// A stored object is gone.
    #[error("{object} is missing")]
    Missing {
        /// Which object.
        object: String,
    },
    /// A stored object lies in an archive.
    #[error("{object} lies in an archive and must be thawed before it can be read")]
    Archived {
        /// Which object.
        object: String,
    },
    /// No key slot is left.
    #[error(
        "{location}: every key slot is gone, keys/ and copies/keys/ hold none: without one neither a password nor a recovery key opens \
         the repository, and what is stored in it is as it was"
    )]
    NoKeySlot {
        /// Where.
        location: String,
    },
    /// No listed pack holds the chunk.
    #[error("chunk {id} is in no pack of the repository")]
    ChunkMissing {
        /// The chunk.
        id: ChunkId,
    },
    /// A reader without a lease misses a chunk, and snapshots were revised or forgotten since it began.
    #[error(
        "chunk {id} is gone: this storage cannot be written, so it was read without a lease, and meanwhile snapshots were \
         forgotten or squashed"
    )]
    MovedOn {
        /// The chunk.
        id: ChunkId,
    },
    /// A reader's lease was fenced, because it showed no sign for too long, and what it read is kept no longer.
    #[error(
        "this run showed no sign of itself for so long (a machine that slept, or storage that could not be reached) that others \
         shut it out (lease {lease}), and what it was reading is kept no longer: that is no damage"
    )]
    Overslept {
        /// Its lease.
        lease: SnapshotId,
    },
    /// The name that would commit this snapshot is taken: the writer was fenced, or its name was used.
    #[error(
        "the commit of snapshot {id} was refused: its name is taken, so this run was fenced; nothing was committed. \
         Run the backup again: what was uploaded is used"
    )]
    Fenced {
        /// The snapshot that could not commit.
        id: SnapshotId,
    },
    /// A snapshot was asked for that does not exist (or no longer).
    #[error("there is no snapshot {name}")]
    NoSnapshot {
        /// What was asked for.
        name: String,
    },
    /// Storage said no.
    #[error("{operation} {object}: {source}")]
    Storage {
        /// What was tried: `reading`, `creating`, `listing`, `deleting` and the like.
        operation: &'static str,
        /// On what.
        object: String,
        /// What storage said.
        source: std::io::Error,
    },
    /// The local catalog failed; it can always be rebuilt.
    #[error("the catalog {path}: {reason}. It is only a cache: delete it and run again")]
    Catalog {
        /// The file.
        path: String,
        /// What SQLite said.
        reason: String,
    },
    /// Another process dropped a pack from the catalog that was just being looked at: nothing may be concluded from what is not
    /// there.
    #[error("another process has changed the catalog meanwhile: run it again, everything is as it was")]
    CatalogChanged,
    /// Another part of the same run failed first.
    #[error("this run failed before: {reason}")]
    RunFailed {
        /// What it said.
        reason: String,
    },
    /// The run was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A squash has written the snapshot's next revision and has not committed.
    #[error("snapshot {id} is being squashed by the run {lease}, which has not finished: try again later")]
    Pending {
        /// The snapshot.
        id: SnapshotId,
        /// The squash's lease.
        lease: SnapshotId,
    },
    /// The snapshot is on hold.
    #[error("snapshot {id} is on hold: release it first")]
    Held {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The snapshot is locked.
    #[error("snapshot {id} is locked until {until}")]
    Locked {
        /// The snapshot.
        id: SnapshotId,
        /// Until when.
        until: Timestamp,
    },
    /// The place does not lie where the repository's data may lie.
    #[error("{location} lies in {region}, and data of this repository may be written in {allowed} alone")]
    Region {
        /// Where.
        location: String,
        /// Its region.
        region: String,
        /// The regions that are allowed.
        allowed: String,
    },
    /// A place that cannot be, or no longer is, a replica of the repository.
    #[error("{location} is no replica of this repository: {reason}")]
    NotReplica {
        /// Where.
        location: String,
        /// Why not.
        reason: String,
    },
    /// What is copied without a lease is pruned faster than it is copied.
    #[error("the source was looked at {rounds} times, and each time something had been deleted meanwhile")]
    KeepsMoving {
        /// How often.
        rounds: u64,
    },
    /// Others write under the same name all the time.
    #[error("snapshot {id} is revised by others all the time: try again later")]
    Contended {
        /// The snapshot.
        id: SnapshotId,
    },
    /// Others write objects of this name all the time.
    #[error("{object} is written by others all the time: try again later")]
    Raced {
        /// Which object.
        object: String,
    },
    /// A storage that does not give back what it was given.
    #[error("{location} does not keep what it is given: {reason}")]
    Faithless {
        /// Where.
        location: String,
        /// What was seen.
        reason: String,
    },
    /// Input that the repository cannot work with: a password, a key slot's name.
    #[error("{0}")]
    Invalid(String),
    /// What should not happen: it was called in a way that makes no sense, or the machine gives no threads or random numbers.
    #[error("{0}")]
    Internal(String),
}

/// The number by which Unix systems say that a medium cannot be read.
const EIO: i32 = 5;

impl RepoError {
    /// Whether it is about one object and not about storage as a whole: its bytes are wrong, the medium is broken in one
    /// place, nobody may read the file. What is missing is not among it.
    #[must_use]
    pub fn is_of_one_object(&self) -> bool {
        match self {
            Self::Archived { .. } => true,
            Self::Storage { source, .. } => {
                source.kind() == std::io::ErrorKind::PermissionDenied || source.raw_os_error() == Some(EIO)
            }
            _ => self.is_bad_object(),
        }
    }

    /// Whether there was no room in the repository's storage.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Storage { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRepository { .. } => ErrorKind::NoRepository,
            Self::AlreadyExists { .. } | Self::Occupied { .. } => ErrorKind::RepositoryExists,
            Self::Role { .. } => ErrorKind::RoleLacks,
            Self::KeyService { .. } => ErrorKind::KeyService,
            Self::NoKeySlot { .. } => ErrorKind::NoKeySlot,
            Self::WrongPassword { .. } => ErrorKind::WrongPassword,
            Self::Location { .. } => ErrorKind::Location,
            Self::NewerFormat { .. } | Self::UnknownFeature { .. } | Self::Epoch { .. } => ErrorKind::NewerFormat,
            Self::Damaged { .. } | Self::Hidden { .. } | Self::Obstructed { .. } | Self::Forged { .. } => {
                ErrorKind::Damaged
            }
            Self::Missing { .. } | Self::ChunkMissing { .. } => ErrorKind::Missing,
            Self::Archived { .. } => ErrorKind::Archived,
            Self::MovedOn { .. } | Self::KeepsMoving { .. } | Self::Overslept { .. } => ErrorKind::MovedOn,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::NoSnapshot { .. } => ErrorKind::NoSnapshot,
            Self::Storage { .. } | Self::Faithless { .. } => ErrorKind::Storage,
            Self::Catalog { .. } => ErrorKind::Catalog,
            Self::RunFailed { .. } | Self::CatalogChanged => ErrorKind::RunFailed,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Pending { .. } => ErrorKind::SnapshotPending,
            Self::Held { .. } => ErrorKind::SnapshotHeld,
            Self::Locked { .. } => ErrorKind::SnapshotLocked,
            Self::Contended { .. } | Self::Raced { .. } => ErrorKind::Contended,
            Self::Region { .. } => ErrorKind::Region,
            Self::NotReplica { .. } => ErrorKind::NotReplica,
            Self::Invalid(_) => ErrorKind::InvalidInput,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Which object it is about; empty if that is the whole of what was asked.
    #[must_use]
    pub fn object(&self) -> String {
        match self {
            Self::NoRepository { location }
            | Self::AlreadyExists { location }
            | Self::Occupied { location, .. }
            | Self::NotReplica { location, .. }
            | Self::WrongPassword { location, .. }
            | Self::NoKeySlot { location }
            | Self::Region { location, .. }
            | Self::Faithless { location, .. }
            | Self::Location { location, .. } => location.clone(),
            Self::KeyService { service, .. } => service.clone(),
            Self::NewerFormat { object, .. }
            | Self::UnknownFeature { object, .. }
            | Self::Epoch { object, .. }
            | Self::Damaged { object, .. }
            | Self::Hidden { object }
            | Self::Obstructed { object }
            | Self::Forged { object, .. }
            | Self::Missing { object }
            | Self::Archived { object }
            | Self::Raced { object }
            | Self::Storage { object, .. } => object.clone(),
            Self::ChunkMissing { id } | Self::MovedOn { id } => id.to_string(),
            Self::Overslept { lease } => lease.to_string(),
            Self::Fenced { id }
            | Self::Pending { id, .. }
            | Self::Held { id }
            | Self::Locked { id, .. }
            | Self::Contended { id } => id.to_string(),
            Self::NoSnapshot { name } => name.clone(),
            Self::Catalog { path, .. } => path.clone(),
            Self::Role { .. }
            | Self::RunFailed { .. }
            | Self::CatalogChanged
            | Self::Interrupted
            | Self::KeepsMoving { .. }
            | Self::Invalid(_)
            | Self::Internal(_) => String::new(),
        }
    }

    /// What it says of its object.
    #[must_use]
    pub fn trouble(&self) -> TroubleKind {
        match self {
            Self::NewerFormat { .. } | Self::UnknownFeature { .. } | Self::Epoch { .. } => TroubleKind::Newer,
            Self::Hidden { .. } => TroubleKind::Hides,
            Self::Obstructed { .. } => TroubleKind::Obstructed,
            Self::ChunkMissing { .. } => TroubleKind::InNoPack,
            Self::Storage { operation, .. } if *operation != "reading" => TroubleKind::Refused,
            _ => TroubleKind::Damaged,
        }
    }

    /// A damaged object.
    pub fn damaged(object: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { object: object.into(), reason: reason.to_string() }
    }

    /// What is said of a chunk that lies in no pack that is known. An index object that could not be had just now, or that a newer
    /// program wrote, may name one: `unread` are those.
    pub(in crate::repo) fn in_no_pack(id: &ChunkId, unread: Vec<Self>) -> Self {
        let unknown = unread.into_iter().find_map(|error| match error {
            Self::Storage { operation, object, source } => {
                let words = format!("{object}, which may say in which pack it is, could not be read: {source}");
                let source = std::io::Error::new(source.kind(), words);
                Some(Self::Storage { operation, object: format!("chunk {id}"), source })
            }
            Self::UnknownFeature { .. } | Self::NewerFormat { .. } | Self::Epoch { .. } => Some(error),
            _ => None,
        });
        unknown.unwrap_or(Self::ChunkMissing { id: *id })
    }

    /// An object that nobody who may made.
    pub fn forged(object: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Forged { object: object.into(), reason: reason.to_string() }
    }

    /// Whether an object of the repository is bad, rather than out of reach: it will not be better the next time.
    #[must_use]
    pub const fn is_bad_object(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Hidden { .. }
                | Self::Obstructed { .. }
                | Self::Forged { .. }
                | Self::NewerFormat { .. }
                | Self::UnknownFeature { .. }
                | Self::Epoch { .. }
        )
    }
}

impl From<RepoError> for Trouble {
    fn from(error: RepoError) -> Self {
        Self::new(error.trouble(), error.object(), error.to_string())
    }
}
