//! The walk: the entries of a tree in ascending order of their keys, one listing per level in memory.
//!
//! A key is the path below the root, a directory's with a trailing `/`. Sorting every listing by *name, with the slash
//! where it is a directory* makes the depth-first walk ascend: all keys below `d/` begin with `d/`, and no sibling does.

use crate::record::KeyRange;
use std::{io, vec};

pub(super) use crate::connector::file_record::{ROOT, is_valid_key};

/// One entry of a listing.
pub(super) struct Listed<I> {
    /// The name, with a trailing `/` for a directory; [`ROOT`] for the root itself, in its own listing.
    pub(super) name: Vec<u8>,
    /// What the listing said beside the name.
    pub(super) item: I,
}

/// What the walk came to.
pub(super) enum Step<I> {
    /// An entry in the range.
    Entry(Vec<u8>, I),
    /// A directory that cannot be listed; nothing below it comes.
    Unlistable(Vec<u8>, io::Error),
}

struct Level<I> {
    dir: Vec<u8>,
    entries: vec::IntoIter<Listed<I>>,
}

/// A walk over the keys of one range.
pub(super) struct Walker<I> {
    range: KeyRange,
    levels: Vec<Level<I>>,
    pending: Option<Vec<u8>>,
}

impl<I> Walker<I> {
    /// Will walk `range`, beginning with the listing of the root (whose directory key is empty).
    pub(super) const fn new(range: KeyRange) -> Self {
        Self { range, levels: Vec::new(), pending: Some(Vec::new()) }
    }

    /// The next entry; `list` lists a directory by its key, in any order.
    pub(super) fn next(&mut self, mut list: impl FnMut(&[u8]) -> io::Result<Vec<Listed<I>>>) -> Option<Step<I>> {
        loop {
            if let Some(dir) = self.pending.take() {
                match list(&dir) {
                    Ok(mut entries) => {
                        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                        self.levels.push(Level { dir, entries: entries.into_iter() });
                    }
                    Err(error) => return Some(Step::Unlistable(dir, error)),
                }
            }
            let level = self.levels.last_mut()?;
            let Some(entry) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            let mut key = Vec::with_capacity(level.dir.len() + entry.name.len());
            key.extend_from_slice(&level.dir);
            key.extend_from_slice(&entry.name);
            if self.range.end.as_ref().is_some_and(|end| key >= *end) {
                self.levels.clear();
                return None;
            }
            if key.ends_with(b"/") && key != ROOT {
                if after_subtree(&key) <= self.range.start {
                    continue;
                }
                self.pending = Some(key.clone());
            }
            if key >= self.range.start {
                return Some(Step::Entry(key, entry.item));
            }
        }
    }
}

/// The first key that sorts after everything below a directory.
pub(super) fn after_subtree(dir: &[u8]) -> Vec<u8> {
    let mut end = dir.to_vec();
    if let Some(slash) = end.last_mut() {
        *slash += 1;
    }
    end
}

/// The keys below a directory, without its own.
pub(super) fn below(dir: &[u8]) -> KeyRange {
    if dir.is_empty() {
        return KeyRange::all();
    }
    let mut start = dir.to_vec();
    start.push(0);
    KeyRange { start, end: Some(after_subtree(dir)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Lists a tree that is given by the set of its keys.
    fn list(keys: &BTreeSet<Vec<u8>>, dir: &[u8]) -> Vec<Listed<()>> {
        let mut names = BTreeSet::new();
        for key in keys.iter().filter(|key| key.starts_with(dir) && key.len() > dir.len()) {
            let rest = &key[dir.len()..];
            let len = rest.iter().position(|&byte| byte == b'/').map_or(rest.len(), |slash| slash + 1);
            names.insert(rest[..len].to_vec());
        }
        // The worst order a listing can come in.
        names.into_iter().rev().map(|name| Listed { name, item: () }).collect()
    }

    fn walk(keys: &BTreeSet<Vec<u8>>, range: KeyRange) -> Vec<Vec<u8>> {
        let mut walker = Walker::new(range);
        let mut out = Vec::new();
        while let Some(step) = walker.next(|dir| Ok(list(keys, dir))) {
            match step {
                Step::Entry(key, ()) => out.push(key),
                Step::Unlistable(..) => panic!("every directory can be listed"),
            }
        }
        out
    }

    fn tree(paths: &[&[u8]]) -> BTreeSet<Vec<u8>> {
        let mut keys = BTreeSet::from([ROOT.to_vec()]);
        for path in paths {
            for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                keys.insert(path[..=at].to_vec());
            }
            keys.insert(path.to_vec());
        }
        keys
    }

    #[test]
    fn the_walk_ascends_where_names_are_prefixes_of_each_other() {
        let keys =
            tree(&[b"a.b", b"a/b", b"a-b", b"a0", b"a/b.c", b"!", b"-", b".-", b".a", b"...", b"A/\xff/\x01", b"aa"]);
        let expected: Vec<Vec<u8>> = keys.iter().cloned().collect();
        assert_eq!(walk(&keys, KeyRange::all()), expected);
        assert!(expected.iter().any(|key| key.as_slice() < ROOT) && expected.iter().any(|key| key.as_slice() > ROOT));
    }

    proptest! {
        #[test]
        fn ranges_partition_the_walk(
            paths in prop::collection::btree_set("[!-1a-c]{1,3}(/[!-.a-b]{1,2}){0,3}", 1..40),
            splits in prop::collection::btree_set("[!-1a-c/]{1,5}", 0..6),
        ) {
            let mut files: Vec<&str> = paths.iter().map(String::as_str).collect();
            files.retain(|path| is_valid_key(path.as_bytes()));
            // A name is a file or a directory, never both.
            let dirs: BTreeSet<String> = files.iter().map(|path| format!("{path}/")).collect();
            let all: Vec<&[u8]> = files.iter().filter(|path| {
                !files.iter().any(|other| other.starts_with(&format!("{path}/")))
            }).map(|path| path.as_bytes()).collect();
            prop_assert!(!dirs.contains(""));
            let keys = tree(&all);
            let splits: Vec<Vec<u8>> = splits.into_iter().map(String::into_bytes).collect();
            let mut joined = Vec::new();
            for range in KeyRange::between(&splits) {
                let part = walk(&keys, range.clone());
                prop_assert!(part.iter().all(|key| range.contains(key)));
                joined.extend(part);
            }
            prop_assert_eq!(joined, keys.into_iter().collect::<Vec<_>>());
        }
    }
}
