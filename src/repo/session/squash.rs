//! A session that squashes: revisions that count once it has committed (`format-spec/retention.md` §3).

use super::{SessionWriter, WriteSession};
use crate::repo::{
    ChunkKind, ChunkPlain, ChunkWriter, Manifest, RepoError, SnapshotId,
    catalog::{Revision, RevisionKind},
    inner::create::MAX_RACES,
    keys::Signer,
    manifest::{Collection, Stats},
    names,
    object::{self, ObjectKind},
};

/// What became of a snapshot that was to get other stacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restacked {
    /// The revision is written and pending.
    Written,
    /// Nothing was written, for this reason.
    Left(String),
}

impl WriteSession {
    /// Stores the tables that a manifest needs beside itself. They must be stored and indexed ([`Self::flush`]) before
    /// [`Self::restack`] is called with these collections.
    pub fn store_tables(&self, manifest: &Manifest, writer: &mut SessionWriter) -> Result<(), RepoError> {
        manifest.to_json(&mut |piece| Ok(writer.put(ChunkKind::Table, &ChunkPlain::single(piece))?.id)).map(drop)
    }

    /// Writes a snapshot's next revision, with `after` for its collections; it counts once [`Self::commit_squash`] has
    /// committed. Everything that `after` references must be stored and indexed. Leaves the snapshot as it is if it is held, locked,
    /// forgotten, being squashed by others, or if its collections are no longer `before`.
    pub fn restack(
        &self,
        id: &SnapshotId,
        before: &[Collection],
        after: &[Collection],
    ) -> Result<Restacked, RepoError> {
        let inner = &self.shared.inner;
        let left = |reason: &str| Ok(Restacked::Left(reason.to_owned()));
        for _ in 0..MAX_RACES {
            self.shared.check()?;
            let (old, revision) = match inner.writable(id) {
                Ok(writable) => writable,
                Err(RepoError::NoSnapshot { .. }) => return left("it was forgotten meanwhile"),
                Err(error @ (RepoError::Pending { .. } | RepoError::Contended { .. } | RepoError::Damaged { .. })) => {
                    return left(&error.to_string());
                }
                Err(error) => return Err(error),
            };
            if old.is_protected_at(inner.clock.now()) {
                return left("it was held or locked meanwhile");
            }
            if old.collections != before {
                return left("its layers were changed meanwhile");
            }
            let new = Manifest { revision, collections: after.to_vec(), squash: Some(self.id()), ..old };
            let body = new.to_json(&mut |piece| inner.known_table(piece))?;
            let path = names::revision_path(id, revision);
            let sealed = object::make(&inner.keyring, Signer::Operator, ObjectKind::Snapshot, &path, &body)?;
            if inner.create_or_same(&path, &sealed)? {
                let revision = Revision { snapshot: *id, revision, kind: RevisionKind::Manifest, sealed };
                inner.learn(revision);
                return Ok(Restacked::Written);
            }
        }
        left("it is revised by others all the time")
    }

    /// Commits the squash: every revision that [`Self::restack`] wrote counts from now on.
    ///
    /// # Errors
    /// [`RepoError::Fenced`] if the name is taken; none of the revisions counts then.
    pub fn commit_squash(self) -> Result<(), RepoError> {
        let inner = &self.shared.inner;
        let written = self.stats();
        let stats = Stats {
            bytes_added: written.bytes_added,
            chunks_new: written.chunks_new,
            chunks_reused: written.chunks_reused,
            ..Stats::default()
        };
        let manifest = Manifest::squash_commit(self.id(), &inner.host, inner.clock.now(), stats);
        self.commit(&manifest)
    }

    /// Gives the squash up: takes its commit's name, so that its revisions never count, and ends the lease.
    pub fn abandon_squash(self) -> Result<(), RepoError> {
        self.shared.closed.store(true, std::sync::atomic::Ordering::SeqCst);
        let fenced = self.shared.inner.fence_as(&self.id(), self.shared.lease.signer());
        let abandoned = self.abandon();
        fenced.and(abandoned)
    }
}
