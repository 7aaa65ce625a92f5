//! Layers between repositories of the same lasting secrets: the same chunks under the same names.

use super::Transfer;
use crate::{
    ops::{OpsError, prune::Layers},
    repo::{LayerWalk as _, RepoError, Snapshot, WriteSession},
};

/// Takes over what the target lacks of a snapshot's layers, and follows them there to their last chunk.
pub(super) fn layers(job: &Transfer<'_>, snapshot: &Snapshot, session: &WriteSession) -> Result<(), OpsError> {
    let source = job.from.chunks();
    let mut taken = Vec::new();
    for layer in snapshot.collections.iter().flat_map(|collection| &collection.stack) {
        let absent = session.rely_on_layer(&layer.id, |visit| Layers.chunks(&source, layer, visit))?;
        if absent.is_none() {
            continue;
        }
        let mut walk = |visit: &mut dyn FnMut(_) -> Result<(), RepoError>| Layers.chunks(&source, layer, visit);
        let counted = |bytes| {
            job.progress.count(0, bytes);
            !job.progress.cancelled()
        };
        let result = session.take_over(job.from, job.options.parallel, &mut walk, &counted);
        result.map_err(|error| if job.progress.cancelled() { RepoError::Interrupted } else { error })?;
        taken.push(layer);
    }
    session.flush()?;
    let target = job.to.chunks();
    for layer in taken {
        let absent = session.rely_on_layer(&layer.id, |visit| Layers.chunks(&target, layer, visit))?;
        if let Some(id) = absent {
            return Err(RepoError::ChunkMissing { id }.into());
        }
    }
    Ok(())
}
