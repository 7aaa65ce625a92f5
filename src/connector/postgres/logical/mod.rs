//! A database as it changes: logical replication by `pgoutput`, over ordinary connections. What is promised and why it holds is
//! written in `docs/change-streams.md`.
//!
//! [`Database`] is one whose changes are wanted, [`Follower`] a connection that gives them. `slot` and `publication` are what the server
//! keeps for us, `tables` says what of a database can be followed, `message` reads what is told, `teller` tells it on, `relation` makes rows records.

mod claim;
mod database;
mod follower;
pub(super) mod message;
mod publication;
mod relation;
mod slot;
mod tables;
mod teller;

pub use super::source::{Held, Mark};
pub use database::Database;
pub use follower::{Differs, Follower, Span, Stopper, Taken};
pub use relation::numbered_key;
pub use slot::SlotStanding;
pub use tables::Tables;
pub use teller::{Changes, RowChange};
