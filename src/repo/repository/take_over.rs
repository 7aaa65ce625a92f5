//! Taking chunks over from one repository into another.

use super::Repository;
use crate::repo::{
    RepoError, WriteSession,
    session::{ChunkWalk, TakeOver, TakeProgress},
};

impl WriteSession {
    /// Takes over what `walk` names and this session neither relies on nor has taken on yet.
    ///
    /// # Errors
    /// [`RepoError::Invalid`] if the repositories have other lasting secrets; [`RepoError::ChunkMissing`] or
    /// [`RepoError::Damaged`] of a chunk that the other one lacks; what was taken over by then stays.
    pub fn take_over(
        &self,
        from: &Repository,
        how: TakeOver,
        walk: &mut ChunkWalk<'_>,
        progress: &TakeProgress<'_>,
    ) -> Result<(), RepoError> {
        self.take_over_from(&from.inner, how, walk, progress)
    }
}
