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

/// Whether what is missing, in these words, is a table that could not be read at all: it is none of the collections then, and is read
/// as a new one as soon as it can be.
#[must_use]
pub fn is_of_unread_table(problem: &str) -> bool {
    let reason = problem.strip_prefix("table ").and_then(|problem| problem.strip_suffix(super::catalog::UNREADABLE));
    reason.is_some_and(|name| name.ends_with(": "))
}
