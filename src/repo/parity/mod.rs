//! Parity: groups beside packs, from which a lost or damaged pack is made again without the source and without a key.
//!
//! What a group is, who makes and takes away groups, and why nobody can harm by one, is in `format-spec/parity.md`.

mod check;
mod code;
mod filling;
mod group;
mod outline;
mod rebuild;
mod shelf;
mod stretch;
mod taken_out;
#[cfg(test)]
mod tests;

pub(super) use check::{check, is_whole};
pub(super) use filling::{Filling, Full, Regrouped, regroup};
pub use group::Head;
pub use outline::{Member, Outline};
pub(super) use rebuild::{Rebuilt, put_back, read_whole, rebuild};
pub(super) use shelf::{Shelf, Shelved, There};
pub(super) use taken_out::TakenOut;

use super::{ObjectName, pack::TARGET_PACK_BYTES};
use serde::Serialize;
use std::{fmt, str::FromStr};

/// Packs are cut into blocks of so many bytes.
pub const BLOCK_BYTES: usize = 65_536;

/// The most bytes that a group has as stored; a larger one is refused unread.
pub const MAX_GROUP_BYTES: u64 = 256 * 1024 * 1024;

/// What the members of a group that is being filled take together, roughly.
const USUAL_HELD_BYTES: usize = 64 * 1024 * 1024;

/// What they take at most.
const MAX_HELD_BYTES: usize = 96 * 1024 * 1024;

/// Packs do not get smaller than this for the sake of groups.
const LEAST_PACK_BYTES: usize = 4 * 1024 * 1024;

/// `parity/<name>`.
#[must_use]
pub fn path(name: &ObjectName) -> String {
    format!("parity/{name}")
}

/// How much parity packs have, in percent of their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Percent(u8);

impl Percent {
    /// From 5 to 100.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        if percent >= 5 && percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Rows of a group: so many members may be lost at once.
    pub(super) const fn rows(self) -> usize {
        let tens = (self.0 / 10) as usize;
        if tens == 0 { 1 } else { tens }
    }

    /// What packs aim at, so that the members of a group fit in memory.
    pub(super) fn pack_bytes(self) -> usize {
        (USUAL_HELD_BYTES * usize::from(self.0) / 100 / self.rows()).clamp(LEAST_PACK_BYTES, TARGET_PACK_BYTES)
    }

    /// Whether the members of a group, of so many bytes together, are enough for the longest of them.
    const fn is_full(self, bytes: usize, longest: usize) -> bool {
        bytes * self.0 as usize >= longest * self.rows() * 100
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_end_matches('%').trim_end().parse().ok();
        number.and_then(Self::new).ok_or_else(|| "a percentage from 5 to 100".to_owned())
    }
}
