//! A server that speaks the Aerospike wire protocol, for tests: in process, several nodes on loopback ports that share one
//! store, a clock that stands still until told, and faults on demand.
//!
//! It does what a stock Community Edition server was measured to do where a backup or restore can see it, and keeps every
//! value byte for byte. What it does not know it refuses loudly. It runs no Lua, computes no geometry, and modifies no
//! nested list or map.
//!
//! ```
//! use rekeep_aerospike_server::{Config, Seed, Server};
//!
//! let server = Server::start(Config::with_nodes(2)).expect("loopback ports are free");
//! server.put("test", Seed::int(1).set("demo").bin_int("i", 7));
//! assert_eq!(server.dump("test").len(), 1);
//! ```

mod builds;
pub mod clock;
mod cluster;
pub mod codes;
mod command;
mod config;
mod connection;
mod control;
mod exp;
mod fault;
mod geo;
mod info;
mod jobs;
mod msgpack;
mod particle;
mod record;
mod respond;
mod security;
mod seed;
mod server;
mod sindex;
mod store;
#[cfg(feature = "tls")]
mod tls;
pub mod wire;
mod xdr;

pub use builds::Build;
pub use clock::ClockMode;
pub use config::{Config, NamespaceConfig, Role, User};
pub use control::{Control, Handle, Server};
pub use fault::{Action, At, Command, Fault};
pub use record::{Digest, PARTITIONS, Place, Record, digest_of, partition_of};
pub use seed::{Dumped, Parts, Seed};
pub use server::{QueryEvent, QueryMoment};
pub use sindex::{Sindex, SindexSource, SindexType};
pub use store::{MAX_SETS, Namespace, SetEntry, Unreadable};
#[cfg(feature = "tls")]
pub use tls::TlsConfig;
