//! Reading what a session shows into a snapshot that somebody else makes.

use super::{
    BackupOptions, Resume,
    run::{Run, read_all},
};
use crate::{
    connector::{SourceAbilities, SourceSession},
    ops::{OpsError, Progress},
    repo::{
        Repository, WriteSession,
        manifest::{Collection, SourceId},
    },
};

/// What was read.
pub(in crate::ops) struct PartRead {
    /// In the order of the session.
    pub(in crate::ops) collections: Vec<Collection>,
    /// What is missing, in words.
    pub(in crate::ops) problems: Vec<String>,
    /// What else there is to say.
    pub(in crate::ops) notes: Vec<String>,
}

/// Reads all collections of a session that shows one exact state; they stand on nothing that is held.
///
/// # Errors
/// [`OpsError`] from the source and the repository.
pub(in crate::ops) fn read_part(
    repo: &Repository,
    writing: &WriteSession,
    session: &dyn SourceSession,
    of: (&SourceId, &str),
    options: &BackupOptions,
    progress: &dyn Progress,
) -> Result<PartRead, OpsError> {
    let (source, scope) = of;
    let mut run = Run {
        repo,
        session,
        writing: Some(writing),
        abilities: SourceAbilities { exact: true, ..SourceAbilities::default() },
        source,
        scope,
        options,
        progress,
        resume: Resume::Never,
        has_resumed: false,
        not_before: crate::record::Timestamp::default(),
        notes: None,
    };
    let read = read_all(&mut run, None)?;
    let ended = match read.session {
        Some(ended) => ended,
        None => session.finish()?,
    };
    let mut problems = read.problems;
    problems.extend(ended.missing);
    Ok(PartRead { collections: read.collections, problems, notes: ended.notes })
}
