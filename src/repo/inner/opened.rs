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
    /// Of the stored bytes: what was opened is only what these are.
    hash: blake3::Hash,
    bytes: usize,
    manifest: Manifest,
}

impl Opened {
    /// What these very bytes were opened to.
    pub(in crate::repo) fn get(&self, revision: &Revision) -> Option<Manifest> {
        let hash = blake3::hash(&revision.sealed);
        let kept = lock(&self.0);
        let entry = kept.manifests.get(&(revision.snapshot, revision.revision));
        entry.filter(|entry| entry.hash == hash).map(|entry| entry.manifest.clone())
    }

    /// Keeps one, in the place of any others where there is no room.
    pub(in crate::repo) fn keep(&self, revision: &Revision, manifest: &Manifest) {
        let bytes = revision.sealed.len();
        // What lies in tables is not counted, and may be large.
        if bytes > MOST_BYTES / 16 || manifest.tables.names().next().is_some() {
            return;
        }
        let entry = Entry { hash: blake3::hash(&revision.sealed), bytes, manifest: manifest.clone() };
        let mut kept = lock(&self.0);
        let before = kept.manifests.insert((revision.snapshot, revision.revision), entry);
        kept.bytes = kept.bytes + bytes - before.map_or(0, |before| before.bytes);
        while kept.bytes > MOST_BYTES
            && let Some(any) = kept.manifests.keys().next().copied()
        {
            kept.bytes -= kept.manifests.remove(&any).map_or(0, |gone| gone.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::{catalog::RevisionKind, repository::testing};

    fn revision(number: u64, sealed: Vec<u8>) -> Revision {
        Revision { snapshot: SnapshotId([7; 16]), revision: number, kind: RevisionKind::Manifest, sealed }
    }

    #[test]
    fn other_bytes_under_the_same_name_are_opened_anew_and_room_is_bounded() {
        let opened = Opened::default();
        let manifest = testing::manifest(SnapshotId([7; 16]), 1000);
        let first = revision(0, vec![1; 100]);
        assert!(opened.get(&first).is_none());
        opened.keep(&first, &manifest);
        assert_eq!(opened.get(&first).as_ref(), Some(&manifest));
        assert!(opened.get(&revision(0, vec![2; 100])).is_none());
        let piece = MOST_BYTES / 32;
        (1..100).for_each(|number| opened.keep(&revision(number, vec![3; piece]), &manifest));
        let kept = (1..100).filter(|number| opened.get(&revision(*number, vec![3; piece])).is_some()).count();
        assert!((20..=32).contains(&kept), "{kept}");
        opened.keep(&revision(200, vec![4; MOST_BYTES]), &manifest);
        assert!(opened.get(&revision(200, vec![4; MOST_BYTES])).is_none());
    }
}
