//! Rows that a writer has put beside the log of a version 4 dataset (`_deeplake_wal/BRANCH/*.wal`): they are part of it for
//! who asks for them, until a commit takes them over and deletes their files.

use super::{
    inventory::{Item, Role, is_lock},
    place::{LakePlace, join},
};
use std::{io, sync::Arc};

/// The folder of what is staged.
pub(super) const STAGED: &str = "_deeplake_wal";
/// Bytes of staged rows that are held from before the log is read until they are stored; of more, files are read later, and
/// named if a commit took them meanwhile.
const MAX_HELD: u64 = 64 << 20;
const MAX_FILE_BYTES: usize = 8 << 20;

/// Whether a path is that of a file of staged rows.
pub(super) fn is_staged(key: &str) -> bool {
    key.strip_prefix(STAGED).is_some_and(|rest| rest.starts_with('/'))
}

/// What is staged now. Read before the log: what a commit takes over meanwhile is in the log that is read afterwards, and the
/// library does not take rows twice which the log says it has.
pub(super) fn staged(place: &LakePlace, dataset: &str) -> io::Result<Vec<Item>> {
    let root = join(dataset, STAGED);
    let mut items = Vec::new();
    let mut held = 0;
    for branch in place.list(&root, &mut |_| {})?.unwrap_or_default() {
        if !branch.is_folder {
            continue;
        }
        let folder = join(&root, &branch.name);
        for file in place.list(&folder, &mut |_| {})?.unwrap_or_default() {
            if file.is_folder || is_lock(&file.name) {
                continue;
            }
            let item = Item::new(join(STAGED, &join(&branch.name, &file.name)), Role::Staged, None);
            let content = if held < MAX_HELD {
                place.read_settled(&join(&folder, &file.name), MAX_FILE_BYTES)
            } else {
                Err(io::ErrorKind::QuotaExceeded.into())
            };
            match content {
                Ok((bytes, _)) => {
                    held += bytes.len() as u64;
                    items.push(Item { content: Some(Arc::from(bytes)), ..item });
                }
                // A commit took it over.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // It is read again with the others, which says what is wrong.
                Err(_) => items.push(item),
            }
        }
    }
    Ok(items)
}
