//! Layers between repositories of the same lasting secrets: the same chunks under the same names.

use super::Transfer;
use crate::{
    ops::{OpsError, prune::Layers},
    repo::{LayerWalk as _, RepoError, Snapshot, WriteSession, session::TakeOver},
};

/// Takes over what the target lacks of a snapshot's layers, and follows them there to their last chunk.
pub(super) fn layers(job: &Transfer<'_>, snapshot: &Snapshot, session: &WriteSession) -> Result<(), OpsError> {
    let source = job.from.chunks();
    let mut lacking = Vec::new();
    for layer in snapshot.collections.iter().flat_map(|collection| &collection.stack) {
        if session.rely_on_layer(&layer.id, |visit| Layers.chunks(&source, layer, visit))?.is_some() {
            lacking.push(layer);
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    // All at once: of a pack that holds chunks of several layers all may be wanted.
    let mut walk = |visit: &mut dyn FnMut(_) -> Result<(), RepoError>| {
        lacking.iter().try_for_each(|layer| {
            if job.progress.cancelled() {
                return Err(RepoError::Interrupted);
            }
            Layers.chunks(&source, layer, visit)
        })
    };
    let counted = |bytes| {
        job.progress.count(0, bytes);
        !job.progress.cancelled()
    };
    let how = TakeOver { threads: job.options.parallel, seal_anew: job.options.seal_anew };
    let result = session.take_over(job.from, how, &mut walk, &counted);
    result.map_err(|error| if job.progress.cancelled() { RepoError::Interrupted } else { error })?;
    session.flush()?;
    let target = job.to.chunks();
    for layer in lacking {
        let absent = session.rely_on_layer(&layer.id, |visit| Layers.chunks(&target, layer, visit))?;
        if let Some(id) = absent {
            return Err(RepoError::ChunkMissing { id }.into());
        }
    }
    Ok(())
}
