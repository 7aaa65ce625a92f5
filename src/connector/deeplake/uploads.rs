//! Objects that are being written to a service, some beside each other: never over another one's bytes.

use crate::repo::storage::{ObjectTree, Pending};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    io::{self, Read as _},
};

/// So many at once.
const MOST: usize = 16;
/// So many bytes at once; one that is larger goes alone.
const MOST_BYTES: usize = 64 << 20;

/// What is under way.
pub(super) struct Uploads {
    tree: ObjectTree,
    under_way: VecDeque<Upload>,
    bytes: usize,
}

struct Upload {
    path: String,
    bytes: Bytes,
    pending: Pending<()>,
}

/// One that came to its end.
pub(super) struct Ended {
    pub(super) path: String,
    /// In words, why it is not there.
    pub(super) outcome: Result<(), String>,
}

impl Uploads {
    pub(super) const fn new(tree: ObjectTree) -> Self {
        Self { tree, under_way: VecDeque::new(), bytes: 0 }
    }

    /// Begins one; gives those that came to their end meanwhile.
    pub(super) fn add(&mut self, path: String, bytes: Bytes) -> Vec<Ended> {
        let mut ended = Vec::new();
        while self.under_way.len() >= MOST || self.bytes + bytes.len() > MOST_BYTES {
            let Some(one) = self.end_one() else { break };
            ended.push(one);
        }
        match self.tree.begin_create(&path, bytes.clone()) {
            Ok(pending) => {
                self.bytes += bytes.len();
                self.under_way.push_back(Upload { path, bytes, pending });
            }
            Err(error) => ended.push(Ended { path, outcome: Err(error.to_string()) }),
        }
        ended
    }

    /// Waits for all of them.
    pub(super) fn end_all(&mut self) -> Vec<Ended> {
        std::iter::from_fn(|| self.end_one()).collect()
    }

    fn end_one(&mut self) -> Option<Ended> {
        let Upload { path, bytes, pending } = self.under_way.pop_front()?;
        self.bytes -= bytes.len();
        let outcome = match pending.wait() {
            Ok(()) => Ok(()),
            // A request that was tried again may have met its own object.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.holds(&path, &bytes) {
                Ok(true) => Ok(()),
                Ok(false) => Err("another object of this name is there".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        Some(Ended { path, outcome })
    }

    /// Whether an object holds just these bytes.
    fn holds(&self, path: &str, bytes: &Bytes) -> io::Result<bool> {
        let version = self.tree.version(path)?;
        if version.bytes != bytes.len() as u64 {
            return Ok(false);
        }
        let mut there = Vec::with_capacity(bytes.len());
        self.tree.read(path, &version)?.read_to_end(&mut there)?;
        Ok(there == *bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::storage::{Named, StorageOptions};

    #[test]
    fn equal_bytes_may_be_there_and_others_are_an_error_that_names_them() {
        let Ok(Named::Tree(tree)) = ObjectTree::open("memory://", &StorageOptions::default()) else { panic!() };
        tree.write("d/same", &mut &b"x"[..]).unwrap();
        tree.write("d/other", &mut &b"y"[..]).unwrap();
        let mut uploads = Uploads::new(tree.clone());
        let mut ended = Vec::new();
        let names: Vec<String> = (0..40).map(|number| format!("d/{number:02}")).collect();
        for name in ["d/same", "d/other"].into_iter().chain(names.iter().map(String::as_str)) {
            ended.extend(uploads.add(name.to_owned(), Bytes::from_static(b"x")));
        }
        assert!(ended.len() >= 42 - MOST);
        ended.extend(uploads.end_all());
        let failed: Vec<&str> = ended.iter().filter(|one| one.outcome.is_err()).map(|one| one.path.as_str()).collect();
        assert_eq!((ended.len(), failed.as_slice()), (42, &["d/other"][..]));
        assert_eq!(tree.list_below("d/").unwrap().len(), 42);
    }
}
