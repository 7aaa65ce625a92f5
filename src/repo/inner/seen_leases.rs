//! What this process has read of leases. Their objects are created once and never change, so none is read twice; that one is shut
//! out, or commits, lies elsewhere and is asked each time.

use super::lock;
use crate::repo::SnapshotId;
use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

/// So many are remembered; a repository that has more is asked again.
const MOST: usize = 100_000;

#[derive(Default)]
pub(in crate::repo) struct SeenLeases {
    ended: Mutex<HashSet<SnapshotId>>,
    /// What passed its check, as JSON.
    bodies: Mutex<HashMap<(SnapshotId, u64), Vec<u8>>>,
}

impl SeenLeases {
    /// Whether an end that passes its check was read.
    pub fn has_ended(&self, id: &SnapshotId) -> bool {
        lock(&self.ended).contains(id)
    }

    pub fn ended(&self, id: SnapshotId) {
        let mut ended = lock(&self.ended);
        if ended.len() < MOST {
            ended.insert(id);
        }
    }

    /// The object of this number, if it was read and passed its check.
    pub fn body(&self, id: &SnapshotId, number: u64) -> Option<Vec<u8>> {
        lock(&self.bodies).get(&(*id, number)).cloned()
    }

    pub fn said(&self, id: SnapshotId, number: u64, body: Vec<u8>) {
        let mut bodies = lock(&self.bodies);
        if bodies.len() < MOST {
            bodies.insert((id, number), body);
        }
    }
}
