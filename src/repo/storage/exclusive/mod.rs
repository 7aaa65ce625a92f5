//! Creating only what is not there, where `OpenDAL` knows no such thing though the service does: first whole under a name
//! of its own, then given its name by a step that fails if that is taken.

#[cfg(feature = "sftp")]
pub(super) mod sftp;
#[cfg(feature = "webdav")]
pub(super) mod webdav;

use super::local::TEMPORARY;
use data_encoding::HEXLOWER;
use std::io;

/// How one create of a name can be made to succeed.
#[derive(Clone)]
pub(super) enum Exclusive {
    /// The service takes a condition.
    Native,
    /// It does not: whether the name is taken is looked at before.
    Looked,
    /// `MOVE` that does not overwrite.
    #[cfg(feature = "webdav")]
    Move(std::sync::Arc<webdav::Mover>),
    /// A hard link.
    #[cfg(feature = "sftp")]
    Link(std::sync::Arc<sftp::Linker>),
}

impl Exclusive {
    /// Whether it leaves something in `tmp/` if it breaks off.
    pub fn leaves_temporaries(&self) -> bool {
        !matches!(self, Self::Native | Self::Looked)
    }
}

/// A name that nobody else has.
pub(super) fn temporary_name() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{TEMPORARY}{}", HEXLOWER.encode(&random)))
}
