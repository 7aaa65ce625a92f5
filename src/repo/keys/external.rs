//! Keys from elsewhere: what wraps the key of a slot and unwraps it again. Where it is reached is the caller's to say and
//! never stands in the repository: that must not decide what is run, or whom credentials are sent to.

mod command;

pub use command::CommandKeys;
