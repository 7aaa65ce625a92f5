//! Deep Lake datasets in a snapshot: their branches, tags and commits, and whether everything that their logs name is there.

use super::{OpsError, Phase, PhaseKind, Progress, current::push_current, lookup::Records, reading::Reading};
use crate::{
    connector::deeplake::{DatasetReport, DatasetSurvey},
    layer::Stack,
    record::{KeyRange, RecordBatch},
    repo::{Capability, Repository, Snapshot},
};

/// Looks at the datasets of a snapshot: all, or one by its collection's name. Blocks are not read, only what is known of them.
///
/// # Errors
/// [`OpsError`] if there is no such collection, or the repository cannot be read.
pub fn datasets(
    repo: &Repository,
    snapshot: &Snapshot,
    collection: Option<&str>,
    progress: &dyn Progress,
) -> Result<Vec<DatasetReport>, OpsError> {
    repo.need(Capability::ReadValues)?;
    let reading = Reading::begin(repo, "datasets", std::slice::from_ref(snapshot))?;
    let (repo, snapshot) = (reading.repo(), &reading.snapshots()[0]);
    if let Some(name) = collection {
        super::restore::find_collection(snapshot, name)?;
    }
    let meant = snapshot.collections.iter().filter(|one| collection.is_none_or(|name| one.name == name));
    progress.phase(&Phase {
        kind: PhaseKind::CheckingStructure,
        object: snapshot.id.short(),
        records: meant.clone().map(|one| one.records).sum(),
        bytes: 0,
    });
    let mut reports = Vec::new();
    for found in meant {
        let records = Records::of(repo, found, snapshot.content.end);
        let stack = Stack::open(&repo.chunks(), &found.stack)?;
        let mut cursor = stack.cursor(&KeyRange::all(), snapshot.content.end, false)?;
        let (mut survey, mut batch) = (DatasetSurvey::default(), RecordBatch::new());
        while cursor.advance()? {
            if progress.cancelled() {
                return Err(OpsError::Interrupted);
            }
            batch.clear();
            push_current(&mut cursor, &mut batch)?;
            survey.add(&mut batch, &records);
            progress.count(1, 0);
        }
        reports.push(survey.finish(&found.name));
    }
    Ok(reports)
}
