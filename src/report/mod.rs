//! How every room says what happened: the kind of an error, what would let it pass, and warnings. Words for people go along,
//! but nobody has to read them to know what to do; what a person types to do it is the front end's to say.

mod kind;
mod remedy;
mod trouble;
mod warning;

pub use kind::ErrorKind;
pub use remedy::Remedy;
pub use trouble::{Trouble, TroubleKind};
pub use warning::{Warning, WarningKind};
