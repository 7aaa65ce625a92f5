//! Keys from elsewhere: what wraps the key of a slot and unwraps it again. Where it is reached is the caller's to say and
//! never stands in the repository: that must not decide what is run, or whom credentials are sent to.

#[cfg(feature = "kms")]
mod azure;
mod command;
#[cfg(feature = "kms")]
mod https;
#[cfg(feature = "kms")]
mod service;

pub use command::CommandKeys;
#[cfg(feature = "kms")]
pub use service::KeyService;
