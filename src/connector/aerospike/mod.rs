//! Aerospike clusters as source and target: `aerospike://HOST:PORT[,HOST:PORT…][/NAMESPACE]`.
//!
//! What is kept, how it is read and when it is believed is specified in `format-spec/aerospike.md`. The parts: [`wire`] and
//! [`info`] are the protocol, `connection`, `cluster` and `membership` who is talked to, `patience` what is waited for, `query` one query, `window` some partitions until
//! they are complete, `scan` a key range, [`decode`] a record, [`source`] the whole run. What
//! is written is in [`target`] and `format-spec/aerospike-restore.md`.

mod account;
mod batch;
mod builds;
mod changes;
mod chosen;
mod clock;
mod cluster;
pub mod conf;
mod configuration;
mod connection;
pub mod decode;
mod error;
mod facts;
mod feed;
mod groups;
pub mod info;
pub mod login;
mod membership;
mod modules;
#[cfg(feature = "aerospike-client")]
mod official;
#[cfg(not(feature = "aerospike-client"))]
#[path = "official/absent.rs"]
mod official;
mod open;
pub mod options;
mod pace;
mod patience;
mod query;
mod scan;
pub mod secrets;
mod select;
mod sindexes;
pub mod source;
mod spare;
mod stop;
mod stream;
pub mod target;
pub mod tls;
mod watch;
mod window;
pub mod wire;
pub mod xdr;

pub use open::{AerospikeConnector, ConnectOptions, PartOptions, ReadOptions, WriteOptions, reached_by};
pub use options::{AerospikeOptions, Auth, TlsOptions};
pub use source::AerospikeSource;
pub use target::{AerospikeTarget, AerospikeTargetOptions, IndexOrder};
