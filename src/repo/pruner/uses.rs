//! What lies in the packs of one look, in 20 bytes a pack.

use crate::repo::catalog::PackNumber;

/// What lies in one pack. Its bytes are at most those of a pack.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Uses {
    pub live_bytes: u32,
    pub dead_bytes: u32,
    pub live_chunks: u32,
}

impl Uses {
    pub const fn add_live(&mut self, bytes: u32) {
        self.live_bytes = self.live_bytes.saturating_add(bytes);
        self.live_chunks = self.live_chunks.saturating_add(1);
    }

    pub const fn add_dead(&mut self, bytes: u32) {
        self.dead_bytes = self.dead_bytes.saturating_add(bytes);
    }
}

/// Packs, and what lies in them.
#[derive(Debug, Default)]
pub(super) struct UsesByPack {
    /// By number.
    packs: Vec<(u32, Uses)>,
}

impl UsesByPack {
    /// Takes a pack whose number is above those before.
    pub fn push(&mut self, pack: PackNumber, uses: Uses) {
        // Numbers beyond are refused when packs are described.
        if let Ok(number) = u32::try_from(pack.0) {
            debug_assert!(self.packs.last().is_none_or(|(last, _)| *last < number));
            self.packs.push((number, uses));
        }
    }

    pub fn of(&self, pack: PackNumber) -> Uses {
        let number = u32::try_from(pack.0).unwrap_or(u32::MAX);
        let found = self.packs.binary_search_by_key(&number, |(number, _)| *number);
        found.map_or_else(|_| Uses::default(), |at| self.packs[at].1)
    }
}
