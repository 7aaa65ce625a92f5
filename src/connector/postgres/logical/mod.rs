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

/// Whether what is missing, in these words, is a table or a sequence's value that could not be read at all: it is looked for again
/// before each commit, and is there as soon as it can be read.
#[must_use]
pub fn is_of_unread(problem: &str) -> bool {
    let is_of = |what: &str| problem.starts_with(what);
    let reason =
        problem.strip_suffix(super::catalog::UNREADABLE).filter(|_| is_of("table ") || is_of(super::catalog::SEQUENCE));
    reason.is_some_and(|name| name.ends_with(": "))
}
