//! What writers leave that is too short for a pack of its own. It goes into one pack of each kind, so that a run which adds little
//! ends with few packs, however many wrote.

use crate::repo::{RepoError, ids::PackKind, inner::lock, pack::PackBuilder};
use std::sync::Mutex;

/// At most one open pack of each kind. Nobody adds to it but who leaves more: what is here when somebody waits for everything to be
/// stored is stored then.
#[derive(Default)]
pub(super) struct Left(Mutex<[Option<PackBuilder>; 2]>);

const fn slot(kind: PackKind) -> usize {
    match kind {
        PackKind::Metadata => 0,
        PackKind::Data => 1,
    }
}

impl Left {
    /// Puts a pack together with what others left. It is stored once it has `enough` bytes; whoever calls [`Self::close`] meanwhile
    /// waits until it is handed over.
    pub fn leave(
        &self,
        builder: PackBuilder,
        enough: usize,
        store: impl FnOnce(PackBuilder) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let mut left = lock(&self.0);
        let slot = &mut left[slot(builder.kind())];
        let joined = match slot.take() {
            None => builder,
            Some(there) => {
                let (mut long, short) = if there.len() < builder.len() { (builder, there) } else { (there, builder) };
                long.absorb(&short)?;
                long
            }
        };
        if joined.len() >= enough {
            return store(joined);
        }
        *slot = Some(joined);
        Ok(())
    }

    /// Stores what was left, data first.
    pub fn close(&self, store: impl FnMut(PackBuilder) -> Result<(), RepoError>) -> Result<(), RepoError> {
        lock(&self.0).iter_mut().rev().filter_map(Option::take).try_for_each(store)
    }
}
