//! The repository: objects on a storage backend, the keys that open them, the catalog that finds things in them, and
//! the leases that let any number of writers and readers work beside a prune.
//!
//! The formats are specified in `format-spec/repository.md`, the protocol in `format-spec/protocol.md`.

pub mod audit;
mod bits;
mod budget;
pub mod cache;
pub mod carried;
pub mod catalog;
pub mod chains;
pub mod checkpoint;
pub mod chunk;
pub mod claims;
pub mod damage;
pub mod drills;
pub mod entropy;
pub mod error;
pub mod faults;
pub mod ids;
pub mod index;
mod inner;
pub mod keys;
pub mod lease;
pub mod manifest;
mod names;
pub mod object;
pub mod pack;
pub mod parity;
pub mod process;
pub mod pruner;
pub mod registry;
pub mod repair;
pub mod replica;
pub mod repository;
pub mod role;
pub mod session;
pub mod storage;
mod walk;

pub use checkpoint::Checkpoint;
pub use chunk::{ChunkData, ChunkPlain, ChunkReader, ChunkWriter, Put, ReadAhead};
pub use error::RepoError;
pub use ids::{ChunkId, ChunkKind, ObjectName, RepoId, SnapshotId};
pub use keys::{RecoveryKey, Secrets, Suite, Unlock};
pub use manifest::{Manifest, Position, Snapshot};
pub use repository::{By, Head, InitOptions, Listing, OpenOptions, ReadLease, Repository, Traits, UnreadSnapshots};
pub use role::{Capability, Role};
pub use session::{Relay, SessionWriter, WriteOptions, WriteSession, WriteStats};
pub use storage::{Backend, Storage};
pub use walk::LayerWalk;
