//! Manifests that were opened. A verb asks more than once what there is, and a service whenever something runs: where there are
//! thousands of snapshots, opening them all each time is most of what a small backup costs.

use super::lock;
use crate::repo::{Manifest, SnapshotId, catalog::Revision};
use std::{collections::HashMap, sync::Mutex};

/// How many stored bytes of manifests are kept open at most; open they take about ten times as much.
const MOST_BYTES: usize = 4 << 20;

/// Those that are kept.
#[derive(Default)]
pub(in crate::repo) struct Opened(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    manifests: HashMap<(SnapshotId, u64), Entry>,
    bytes: usize,
}

struct Entry {
    mark: Mark,
    manifest: Manifest,
}

/// What tells a revision's stored bytes from others: what was opened is only what these are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) struct Mark {
    name: (SnapshotId, u64),
    bytes: usize,
    hash: blake3::Hash,
}

impl Mark {
    pub(in crate::repo) fn of(revision: &Revision) -> Self {
        let (name, sealed) = ((revision.snapshot, revision.revision), &revision.sealed);
        Self { name, bytes: sealed.len(), hash: blake3::hash(sealed) }
    }
}

impl Opened {
    /// What these very bytes were opened to.
    pub(in crate::repo) fn get(&self, mark: &Mark) -> Option<Manifest> {
        let kept = lock(&self.0);
        kept.manifests.get(&mark.name).filter(|entry| entry.mark == *mark).map(|entry| entry.manifest.clone())
    }

    /// Keeps one, in the place of any others where there is no room.
    pub(in crate::repo) fn keep(&self, mark: Mark, manifest: &Manifest) {
        // What lies in tables is not counted, and may be large.
        if mark.bytes > MOST_BYTES / 16 || manifest.tables.names().next().is_some() {
            return;
        }
        let mut kept = lock(&self.0);
        let before = kept.manifests.insert(mark.name, Entry { mark, manifest: manifest.clone() });
        kept.bytes = kept.bytes + mark.bytes - before.map_or(0, |before| before.mark.bytes);
        while kept.bytes > MOST_BYTES
            && let Some(any) = kept.manifests.keys().next().copied()
        {
            kept.bytes -= kept.manifests.remove(&any).map_or(0, |gone| gone.mark.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::{catalog::RevisionKind, repository::testing};

    fn mark(number: u64, sealed: Vec<u8>) -> Mark {
        Mark::of(&Revision { snapshot: SnapshotId([7; 16]), revision: number, kind: RevisionKind::Manifest, sealed })
    }

    #[test]
    fn other_bytes_under_the_same_name_are_opened_anew_and_room_is_bounded() {
        let opened = Opened::default();
        let manifest = testing::manifest(SnapshotId([7; 16]), 1000);
        let first = mark(0, vec![1; 100]);
        assert!(opened.get(&first).is_none());
        opened.keep(first, &manifest);
        assert_eq!(opened.get(&first).as_ref(), Some(&manifest));
        assert!(opened.get(&mark(0, vec![2; 100])).is_none());
        let piece = MOST_BYTES / 32;
        (1..100).for_each(|number| opened.keep(mark(number, vec![3; piece]), &manifest));
        let kept = (1..100).filter(|number| opened.get(&mark(*number, vec![3; piece])).is_some()).count();
        assert!((20..=32).contains(&kept), "{kept}");
        opened.keep(mark(200, vec![4; MOST_BYTES]), &manifest);
        assert!(opened.get(&mark(200, vec![4; MOST_BYTES])).is_none());
    }
}
