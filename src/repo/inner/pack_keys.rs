//! Keys of packs that were unwrapped not long ago.

use super::lock;
use crate::repo::{catalog::PackNumber, pack::PackKey};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// Unwrapped pack keys kept at most: half of them recent, half older.
const MAX_PACK_KEYS: usize = 1024;

/// Recently used pack keys. When the young half is full it becomes the old half and the old half is dropped.
#[derive(Default)]
pub(in crate::repo) struct PackKeys {
    halves: Mutex<[HashMap<PackNumber, Arc<PackKey>>; 2]>,
}

impl PackKeys {
    pub fn get(&self, pack: PackNumber) -> Option<Arc<PackKey>> {
        let mut halves = lock(&self.halves);
        if let Some(key) = halves[0].get(&pack) {
            return Some(Arc::clone(key));
        }
        let key = halves[1].remove(&pack)?;
        Self::put(&mut halves, pack, &key);
        Some(key)
    }

    pub fn insert(&self, pack: PackNumber, key: &Arc<PackKey>) {
        Self::put(&mut lock(&self.halves), pack, key);
    }

    fn put(halves: &mut [HashMap<PackNumber, Arc<PackKey>>; 2], pack: PackNumber, key: &Arc<PackKey>) {
        if halves[0].len() >= MAX_PACK_KEYS / 2 {
            halves[1] = std::mem::take(&mut halves[0]);
        }
        halves[0].insert(pack, Arc::clone(key));
    }
}
