//! Places in the server's log, and what of it a snapshot holds.

mod lsn;
mod state;
mod visible;

pub use lsn::Lsn;
pub use state::{StreamState, sequences_into, state_into, state_of};
pub use visible::Visible;
