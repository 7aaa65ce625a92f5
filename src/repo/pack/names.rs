//! The names of a pack under two headers, by one pass over its bytes: BLAKE3 is a tree, and a header changes its first leaves alone.

use super::PADDING_BYTES;
use crate::repo::ObjectName;
use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root},
};

/// What differs lies in the first subtree of this length.
const FIRST_BYTES: usize = PADDING_BYTES;

/// The name of these bytes, and the one that they have if they begin with `front`, which is shorter than [`FIRST_BYTES`].
pub(super) fn names(bytes: &[u8], front: &[u8]) -> [ObjectName; 2] {
    let mut first = bytes[..bytes.len().min(FIRST_BYTES)].to_vec();
    let len = first.len().min(front.len());
    first[..len].copy_from_slice(&front[..len]);
    let hashes = if bytes.len() <= FIRST_BYTES {
        [blake3::hash(bytes), blake3::hash(&first)]
    } else {
        let firsts = [&bytes[..FIRST_BYTES], &first].map(|first| subtree(first, 0));
        // What lies to the right of it, the widest first.
        let (mut rights, mut len) = (Vec::new(), bytes.len());
        while len > FIRST_BYTES {
            let left = left_subtree_len(len as u64) as usize;
            rights.push(subtree(&bytes[left..len], left));
            len = left;
        }
        firsts.map(|first| {
            let inner = rights[1..].iter().rev();
            let left = inner.fold(first, |left, right| merge_subtrees_non_root(&left, right, Mode::Hash));
            merge_subtrees_root(&left, &rights[0], Mode::Hash)
        })
    };
    hashes.map(|hash| ObjectName(*hash.as_bytes()))
}

fn subtree(bytes: &[u8], at: usize) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(at as u64);
    hasher.update(bytes).finalize_non_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_the_hashes_of_all_bytes() {
        let mut bytes = vec![0; 37 * PADDING_BYTES];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let front = [7; 1232];
        for blocks in [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 32, 33, 37] {
            let bytes = &bytes[..blocks * PADDING_BYTES];
            let moved = [&front[..], &bytes[front.len()..]].concat();
            let expected = [bytes, &moved].map(|bytes| ObjectName(*blake3::hash(bytes).as_bytes()));
            assert_eq!(names(bytes, &front), expected, "{blocks}");
        }
        assert_eq!(names(&bytes[..100], &front)[0].0, *blake3::hash(&bytes[..100]).as_bytes());
    }
}
