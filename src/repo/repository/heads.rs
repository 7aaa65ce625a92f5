//! Snapshots in brief, for who looks for one among many (`docs/many-snapshots.md`).

use super::{Inner, Repository};
use crate::{
    record::Timestamp,
    repo::{
        Manifest, Position, RepoError, Secrets, Snapshot, SnapshotId,
        catalog::{HeadRow, Revision, Settled, Word},
        manifest::{Kind, SourceId},
    },
};
use rayon::prelude::*;

/// How many snapshots are open at once while heads are made.
const BATCH: usize = 256;

/// How often heads are made anew because revisions changed meanwhile, before they are used without being kept.
const MAX_LOOKS: usize = 3;

/// A snapshot that counts, in brief: enough to decide whether to open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub id: SnapshotId,
    /// The revision that counts.
    pub revision: u64,
    /// When reading began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// The order among equal ends.
    pub order: u64,
    /// What was read.
    pub kind: Kind,
}

impl Head {
    /// Where the snapshot stands among others: the greater is the newer.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position { end: self.end, order: self.order, id: self.id }
    }
}

/// By what heads are found.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// Nothing: all there are.
    All,
    /// The connector's and the source's name.
    Source(&'a SourceId),
    /// The same place on whatever host.
    Place(&'a SourceId),
    /// The same URL on the same host.
    Url(&'a SourceId),
    /// A tag.
    Tag(&'a str),
}

/// Makes words.
struct Words([u8; 32]);

impl Words {
    fn of(secrets: &Secrets) -> Self {
        Self(blake3::derive_key("rekeep 2026-11 v1 heads of snapshots", &secrets.cut))
    }

    /// Of parts that run into each other nowhere.
    fn word(&self, what: &str, parts: &[&str]) -> Word {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in [what].iter().chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let mut word = [0; 16];
        word.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Word(word)
    }

    fn scope(&self, scope: &str) -> Word {
        self.word("scope", &[scope])
    }

    fn by(&self, by: By<'_>) -> Option<Word> {
        Some(match by {
            By::All => return None,
            By::Source(source) => self.word("source", &[&source.connector, &source.name]),
            By::Place(source) => self.word("place", &[&source.connector, source.local_name()]),
            By::Url(source) => self.word("url", &[&source.connector, &source.url, &source.host]),
            By::Tag(tag) => self.word("tag", &[tag]),
        })
    }

    fn of_snapshot(&self, manifest: &Manifest) -> Vec<Word> {
        let source = manifest.source();
        let of_source = [By::Source(source), By::Place(source), By::Url(source)];
        let tags = manifest.tags.iter().map(|tag| By::Tag(tag));
        of_source.into_iter().chain(tags).filter_map(|by| self.by(by)).collect()
    }
}

/// What became of a snapshot, and whether that may be kept.
struct Judged {
    settled: Settled,
    is_final: bool,
}

impl Inner {
    /// Judges a snapshot by what the catalog holds.
    fn judge(&self, words: &Words, id: SnapshotId) -> Result<Judged, RepoError> {
        let revisions = self.catalog.revisions_of(&id)?;
        let highest_first: Vec<&Revision> = revisions.iter().collect();
        let squashed = |lease: &SnapshotId| {
            let of_lease = self.catalog.revisions_of(lease)?;
            self.squash_state(of_lease.iter().find(|it| it.revision == 0))
        };
        let standing = self.standing(&highest_first, &squashed)?;
        let is_final = standing.pending.is_none() && standing.waits_for_lock.is_none() && standing.problems.is_empty();
        let squash = standing.manifest.as_ref().and_then(|manifest| manifest.squash);
        let head = standing.manifest.as_ref().map(|manifest| {
            let content = &manifest.content;
            let row = HeadRow {
                snapshot: id,
                revision: manifest.revision,
                start: content.start,
                end: content.end,
                order: content.order,
                kind: number_of(content.kind),
                scope: words.scope(&content.scope),
            };
            (row, words.of_snapshot(manifest))
        });
        Ok(Judged { settled: Settled { snapshot: id, head, squash }, is_final })
    }

    /// Judges what has no settled head, keeps what is final, and gives the rest.
    fn settle(&self, words: &Words) -> Result<Vec<Settled>, RepoError> {
        let mut looks = 0;
        loop {
            let (since, unsettled) = self.catalog.unsettled()?;
            let mut kept_all = true;
            let mut rest = Vec::new();
            for batch in unsettled.chunks(BATCH) {
                let judged: Vec<Judged> =
                    batch.par_iter().map(|id| self.judge(words, *id)).collect::<Result<_, RepoError>>()?;
                let (done, open): (Vec<Judged>, Vec<Judged>) = judged.into_iter().partition(|it| it.is_final);
                let done: Vec<Settled> = done.into_iter().map(|it| it.settled).collect();
                rest.extend(open.into_iter().map(|it| it.settled));
                match if done.is_empty() { Ok(true) } else { self.catalog.settle(since, &done) } {
                    Ok(true) => {}
                    Ok(false) => {
                        kept_all = false;
                        rest.extend(done);
                    }
                    // A catalog that can take nothing more costs time, and no more.
                    Err(RepoError::Catalog { .. }) => rest.extend(done),
                    Err(error) => return Err(error),
                }
            }
            looks += 1;
            if kept_all || looks >= MAX_LOOKS {
                return Ok(rest);
            }
        }
    }
}

impl Repository {
    /// The snapshots that count and are found by this, of one scope if it is given, in brief, in the order of [`Position`], as of the last
    /// refresh. What a head says was so when it was made: who decides by it opens the snapshot.
    pub fn heads(&self, by: By<'_>, scope: Option<&str>) -> Result<Vec<Head>, RepoError> {
        self.heads_since(by, scope, None)
    }

    /// Those of [`Self::heads`] that ended at a time or after it: what is asked does not grow with what is older.
    pub fn heads_since(
        &self,
        by: By<'_>,
        scope: Option<&str>,
        since: Option<Timestamp>,
    ) -> Result<Vec<Head>, RepoError> {
        let words = Words::of(self.secrets());
        let (word, scope) = (words.by(by), scope.map(|scope| words.scope(scope)));
        let open = self.inner.settle(&words)?;
        let mut rows = self.inner.catalog.heads(word, since)?;
        let kept = rows.len();
        for (row, its) in open.into_iter().filter_map(|one| one.head) {
            if word.is_none_or(|word| its.contains(&word)) && since.is_none_or(|since| row.end >= since) {
                rows.push(row);
            }
        }
        if rows.len() > kept {
            rows.sort_by_key(|row| Position { end: row.end, order: row.order, id: row.snapshot });
            rows.dedup_by_key(|row| row.snapshot);
        }
        rows.retain(|row| scope.is_none_or(|scope| row.scope == scope));
        Ok(rows.into_iter().filter_map(head_of).collect())
    }

    /// The snapshots that have no head as they stand, where that may change: nothing of them can be opened, or they are pending.
    pub(super) fn headless(&self) -> Result<Vec<SnapshotId>, RepoError> {
        let open = self.inner.settle(&Words::of(self.secrets()))?;
        Ok(open.into_iter().filter(|one| one.head.is_none()).map(|one| one.snapshot).collect())
    }

    /// The newest of [`Self::heads`] before a position, if one is given: at most so many, the newest first. What is asked does not
    /// grow with all there are.
    pub fn heads_before(
        &self,
        by: By<'_>,
        scope: Option<&str>,
        before: Option<Position>,
        most: usize,
    ) -> Result<Vec<Head>, RepoError> {
        let words = Words::of(self.secrets());
        let Some(word) = words.by(by) else {
            let mut all = self.heads(by, scope)?;
            all.retain(|head| before.is_none_or(|before| head.position() < before));
            all.reverse();
            all.truncate(most);
            return Ok(all);
        };
        let scope = scope.map(|scope| words.scope(scope));
        let open = self.inner.settle(&words)?;
        let mut rows = self.inner.catalog.heads_before(word, scope, before, most)?;
        let position = |row: &HeadRow| Position { end: row.end, order: row.order, id: row.snapshot };
        let kept = rows.len();
        for (row, its) in open.into_iter().filter_map(|one| one.head) {
            if its.contains(&word)
                && scope.is_none_or(|scope| row.scope == scope)
                && before.is_none_or(|before| position(&row) < before)
            {
                rows.push(row);
            }
        }
        if rows.len() > kept {
            rows.sort_by_key(|row| std::cmp::Reverse(position(row)));
            rows.dedup_by_key(|row| row.snapshot);
            rows.truncate(most);
        }
        Ok(rows.into_iter().filter_map(head_of).collect())
    }

    /// How many heads were read from the catalog since it was opened; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn heads_read(&self) -> u64 {
        self.inner.catalog.heads_read()
    }

    /// The newest snapshot of those that are found by this and meant.
    pub fn last(
        &self,
        by: By<'_>,
        scope: Option<&str>,
        is_meant: &dyn Fn(&Snapshot) -> bool,
    ) -> Result<Option<Snapshot>, RepoError> {
        for head in self.heads(by, scope)?.iter().rev() {
            let found = self.snapshot(&head.id)?.filter(is_meant);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The greatest end of this source's snapshots that lies behind one time and is admitted.
    pub fn last_end_behind(
        &self,
        source: &SourceId,
        time: Timestamp,
        is_admitted: impl Fn(Timestamp) -> bool,
    ) -> Result<Option<Timestamp>, RepoError> {
        let heads = self.heads_since(By::Source(source), None, Some(time))?;
        Ok(heads.iter().map(|head| head.end).filter(|end| *end > time && is_admitted(*end)).max())
    }

    /// The order of a snapshot of this source that is about to be committed: behind all with the same end.
    pub fn order_at(&self, source: &SourceId, end: Timestamp) -> Result<u64, RepoError> {
        let heads = self.heads_since(By::Source(source), None, Some(end))?;
        let last = heads.iter().filter(|head| head.end == end).map(|it| it.order).max();
        Ok(last.map_or(0, |order| order.saturating_add(1)))
    }

    /// The snapshots that heads lead to, in their order; what went since is left out.
    pub fn open_heads(&self, heads: &[Head]) -> Result<Vec<Snapshot>, RepoError> {
        let opened = heads.par_iter().map(|head| self.snapshot(&head.id));
        Ok(opened.collect::<Result<Vec<_>, RepoError>>()?.into_iter().flatten().collect())
    }
}

const fn head_of(row: HeadRow) -> Option<Head> {
    let Some(kind) = kind_of(row.kind) else { return None };
    Some(Head { id: row.snapshot, revision: row.revision, start: row.start, end: row.end, order: row.order, kind })
}

const fn number_of(kind: Kind) -> u8 {
    match kind {
        Kind::Full => 1,
        Kind::Incremental => 2,
        Kind::Differential => 3,
        Kind::Journal => 4,
    }
}

const fn kind_of(number: u8) -> Option<Kind> {
    Some(match number {
        1 => Kind::Full,
        2 => Kind::Incremental,
        3 => Kind::Differential,
        4 => Kind::Journal,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::repo::{keys::Signer, object::ObjectKind};
    use std::sync::atomic::Ordering;

    /// What heads say is what opening everything says; gives the names and revisions.
    fn shown(repo: &Repository) -> Vec<(SnapshotId, u64)> {
        let brief = |it: &Snapshot| (it.id, it.revision, it.content.start, it.content.end, it.content.kind);
        let opened: Vec<_> = repo.snapshots().unwrap().iter().map(brief).collect();
        let heads = repo.heads(By::All, None).unwrap();
        let heads: Vec<_> = heads.iter().map(|it| (it.id, it.revision, it.start, it.end, it.kind)).collect();
        assert_eq!(heads, opened);
        heads.iter().map(|it| (it.0, it.1)).collect()
    }

    #[test]
    fn a_snapshot_is_found_by_its_source_place_url_scope_and_tags_and_by_nothing_else() {
        let (mut world, repo) = World::new();
        let (late, early) = (commit(&repo, &[1], 300), commit(&repo, &[2], 100));
        repo.revise(&early, &|it| it.tags.push("routine=a".to_owned())).unwrap();
        let own = manifest(late, 0).content.source;
        let other = SourceId { name: "other".to_owned(), ..own.clone() };
        let elsewhere = SourceId { host: "elsewhere".to_owned(), ..own.clone() };
        for repo in [&repo, &world.reopen(), &world.open()] {
            let ids = |by, scope| repo.heads(by, scope).unwrap().iter().map(|it| it.id).collect::<Vec<_>>();
            assert_eq!(ids(By::All, None), [early, late]);
            assert_eq!(ids(By::Source(&own), Some("")), [early, late]);
            assert_eq!(ids(By::Source(&own), Some("s")), []);
            assert_eq!(ids(By::Source(&elsewhere), None), [early, late]);
            assert_eq!(ids(By::Source(&other), None), []);
            assert_eq!(ids(By::Place(&elsewhere), None), [early, late]);
            assert_eq!(ids(By::Url(&own), None), [early, late]);
            assert_eq!(ids(By::Url(&elsewhere), None), []);
            assert_eq!(ids(By::Tag("routine=a"), None), [early]);
            assert_eq!(ids(By::Tag("routine="), None), []);
            assert_eq!(shown(repo), [(early, 1), (late, 0)]);
            let last = repo.last(By::Source(&own), None, &|it| it.content.end.as_millis() < 200).unwrap();
            assert_eq!(last.map(|it| it.id), Some(early));
        }
    }

    #[test]
    fn heads_follow_tags_renames_and_forgetting_in_every_process_of_a_catalog() {
        let (world, repo) = World::new();
        let (kept, gone) = (commit(&repo, &[1], 100), commit(&repo, &[2], 200));
        let beside = world.reopen();
        assert_eq!(shown(&beside), [(kept, 0), (gone, 0)]);
        repo.revise(&kept, &|it| it.tags = vec!["b".to_owned()]).unwrap();
        repo.revise(&kept, &|it| it.tags = vec!["c".to_owned()]).unwrap();
        let renamed = SourceId { name: "new".to_owned(), ..manifest(kept, 0).content.source };
        let was = manifest(kept, 0).content.source;
        repo.revise(&gone, &|it| it.renamed = Some(renamed.clone())).unwrap();
        for repo in [&repo, &beside] {
            let ids = |by| repo.heads(by, None).unwrap().iter().map(|it| it.id).collect::<Vec<_>>();
            assert_eq!((ids(By::Tag("b")), ids(By::Tag("c"))), (vec![], vec![kept]));
            assert_eq!((ids(By::Source(&was)), ids(By::Source(&renamed))), (vec![kept], vec![gone]));
        }
        beside.forget(&gone).unwrap();
        for repo in [&repo, &beside, &world.reopen()] {
            assert_eq!(shown(repo), [(kept, 2)]);
            assert_eq!(repo.heads(By::Source(&renamed), None).unwrap(), []);
        }
    }

    #[test]
    fn what_a_squash_wrote_has_a_head_once_it_has_committed_and_loses_it_with_the_commit() {
        let (world, repo) = World::new();
        let (snapshot, key) = begin_squash(&world, &repo);
        assert_eq!(shown(&repo), [(snapshot, 0)]);
        commit_squash(&world, &repo, &key);
        assert_eq!(shown(&repo), [(snapshot, 1)]);
        assert_eq!(shown(&world.reopen()), [(snapshot, 1)]);
        world.memory.remove(&format!("snapshots/{}/0", key.lease()));
        repo.refresh().unwrap();
        assert_eq!(shown(&repo), [(snapshot, 0)]);
    }

    #[test]
    fn a_tombstone_that_waits_for_a_lock_takes_the_head_when_the_lock_is_over() {
        let (world, repo) = World::new();
        let snapshot = commit(&repo, &[1], 100);
        let now = world.clock.0.load(Ordering::SeqCst);
        repo.revise(&snapshot, &|it| it.lock_until = Some(Timestamp::from_millis(now + 1000))).unwrap();
        let path = format!("snapshots/{snapshot}/2");
        let body = format!("{{\"forgotten\":\"{snapshot}\",\"revision\":2,\"host\":\"h\",\"time\":{}}}", now + 5000);
        let stone = repo.made_by_operator(ObjectKind::Tombstone, &path, body.as_bytes()).unwrap();
        world.memory.put(&path, stone);
        repo.refresh().unwrap();
        assert_eq!(shown(&repo), [(snapshot, 1)]);
        world.clock.0.store(now + 1000, Ordering::SeqCst);
        assert_eq!(shown(&repo), []);
    }

    #[test]
    fn what_cannot_be_opened_is_looked_at_again_each_time_and_what_vanishes_has_no_head() {
        let (mut world, repo) = World::new();
        let (odd, sound) = (commit(&repo, &[1], 100), commit(&repo, &[2], 200));
        let mut new = manifest(odd, 100);
        (new.revision, new.features) = (1, vec!["time-travel".to_owned()]);
        put_manifest(&world, &repo, Signer::Operator, &new);
        repo.refresh().unwrap();
        for repo in [&repo, &world.open()] {
            assert_eq!(shown(repo), [(sound, 0)]);
            assert_eq!(repo.inner.catalog.unsettled().unwrap().1, [odd]);
        }
        world.memory.remove(&format!("snapshots/{sound}/0"));
        assert_eq!(repo.refresh().unwrap().len(), 1);
        assert_eq!(shown(&repo), []);
    }

    #[test]
    fn nothing_is_kept_that_was_judged_before_a_revision_changed() {
        let (_world, repo) = World::new();
        let snapshot = commit(&repo, &[1], 100);
        let words = Words::of(repo.secrets());
        let (since, _) = repo.inner.catalog.unsettled().unwrap();
        let judged = repo.inner.judge(&words, snapshot).unwrap();
        assert!(judged.is_final);
        repo.revise(&snapshot, &|it| it.tags.push("t".to_owned())).unwrap();
        assert!(!repo.inner.catalog.settle(since, &[judged.settled]).unwrap());
        assert_eq!(shown(&repo), [(snapshot, 1)]);
        assert_eq!(repo.inner.catalog.unsettled().unwrap().1, []);
    }
}
