//! What a source notes of what it read, kept on this host until the snapshot is a parent: one file for each source and scope.
//!
//! A file is named by the snapshot that it was noted for, and is given to the source only where that one is the parent; it is kept
//! only of a snapshot that is complete. So whatever was read otherwise, or is missing, is read again.

use super::{Ask, BackupOptions};
use crate::{
    connector::{Recall, Remembers, SourceSession},
    repo::{Repository, Snapshot, SnapshotId, manifest::SourceId},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The notes of one backup.
pub(super) struct Notes {
    folder: PathBuf,
    /// What the files of this source and scope begin with.
    stem: String,
    /// Where is noted what is read now; nowhere in a dry run.
    later: Option<PathBuf>,
    /// How many readings in a row have trusted notes, this one counted.
    trusted: u32,
}

impl Notes {
    /// `None` where the source notes nothing, or this host keeps nothing.
    pub(super) fn of(
        repo: &Repository,
        session: &dyn SourceSession,
        (id, scope): (&SourceId, &str),
        writing: Option<SnapshotId>,
    ) -> Option<Self> {
        session.remembers()?;
        let folder = repo.notes_folder()?;
        let mut hash = blake3::Hasher::new();
        for part in [&id.connector, &id.name, scope] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let stem = hash.finalize().to_hex()[..32].to_owned();
        let later = writing.map(|lease| folder.join(format!("{stem}-{lease}.new")));
        // Without a place nothing is noted, and the next backup reads everything.
        let later = later.filter(|_| fs::create_dir_all(&folder).is_ok());
        Some(Self { folder, stem, later, trusted: 0 })
    }

    fn path(&self, snapshot: SnapshotId) -> PathBuf {
        self.folder.join(format!("{}-{snapshot}", self.stem))
    }

    /// Begins a reading that is joined with `parent`.
    pub(super) fn begin(
        &mut self,
        source: &dyn Remembers,
        parent: Option<&Snapshot>,
        options: &BackupOptions,
    ) -> Recall {
        let earlier = parent.map(|parent| self.path(parent.id)).filter(|path| path.is_file());
        let Some(before) = source.begin(earlier.as_deref(), self.later.as_deref()) else { return Recall::Nothing };
        let is_due = before.saturating_add(1) >= options.read_all_every;
        let recall = match earlier {
            None => Recall::Nothing,
            Some(_) if options.ask == Ask::Full || options.new_base || is_due => Recall::Test,
            Some(_) => Recall::Trust,
        };
        self.trusted = if recall == Recall::Trust { before.saturating_add(1) } else { 0 };
        recall
    }

    /// Keeps what was noted for a snapshot, or for the parent that it would have been the same as.
    pub(super) fn keep(mut self, session: &dyn SourceSession, snapshot: SnapshotId) {
        let path = self.path(snapshot);
        let is_whole = session.remembers().is_some_and(|source| source.end(self.trusted));
        let Some(later) = self.later.take() else { return };
        // A help for the next backup, and no promise.
        if !is_whole || fs::rename(&later, &path).is_err() {
            let _ = fs::remove_file(later);
            return;
        }
        self.remove_others(&path);
    }

    fn remove_others(&self, kept: &Path) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(&self.stem));
            if is_ours && entry.path() != kept {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        if let Some(later) = self.later.take() {
            let _ = fs::remove_file(later);
        }
    }
}
