//! The nodes of a version 3 dataset that were being written: made anew from the commits they began at, or left as copied.

use super::nodes::{Node, VERSIONS, VIEWS, Versions};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Files that a node has of its own; those that say what a node changed against its parent are not among them.
const INHERITED: [&str; 7] = [
    "tensor_meta.json",
    "tensor_info.json",
    "chunks_index/unsharded",
    "tiles_index/unsharded",
    "sequence_index/unsharded",
    "pad_index/unsharded",
    "creds_index/unsharded",
];
/// The same of the node as a whole.
const OWN: [&str; 2] = ["dataset_meta.json", "dataset_info.json"];

/// What became of nodes that were not committed.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Of each, in words.
    pub(super) told: Vec<String>,
    /// Those that were made anew: what they had of their own is gone.
    pub(super) reset: Vec<String>,
}

/// Settles every node that is not committed, in a folder that need not hold chunks.
///
/// # Errors
/// In words.
pub(super) fn settle_heads(root: &Path, keep: bool) -> Result<Settled, String> {
    let bytes = fs::read(root.join(VERSIONS)).map_err(|error| format!("{VERSIONS}: {error}"))?;
    let versions = match Versions::parse(&bytes) {
        Ok(versions) => versions,
        Err(reason) => {
            let told = vec![format!("{VERSIONS} cannot be read: {reason}; nothing is reset")];
            return Ok(Settled { told, ..Settled::default() });
        }
    };
    let Settled { mut told, reset: mut anew } = Settled::default();
    for (id, node) in versions.heads() {
        let branch = &node.branch;
        if keep {
            told.push(format!("branch {branch}: what was not committed is kept as it was copied, and may be torn"));
            continue;
        }
        let parent =
            node.parent.as_deref().filter(|parent| versions.commits.get(*parent).is_some_and(Node::is_committed));
        let Some(parent) = parent else {
            told.push(format!(
                "branch {branch}: nothing was ever committed to reset it to; it is kept as it was copied, and may be torn"
            ));
            continue;
        };
        if !is_plain(id) || !is_plain(parent) {
            return Err(format!("node `{}` has a name that none has", id.escape_debug()));
        }
        reset(root, &versions, id, parent).map_err(|error| format!("reset node {id}: {error}"))?;
        told.push(format!("branch {branch}: reset to its commit {parent}; what was not committed is left out"));
        anew.push(id.to_owned());
    }
    Ok(Settled { told, reset: anew })
}

fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn folder_of(root: &Path, versions: &Versions, id: &str) -> PathBuf {
    if versions.first() == Some(id) { root.to_owned() } else { root.join("versions").join(id) }
}

/// Makes a node the empty continuation of its parent, as a commit leaves it.
fn reset(root: &Path, versions: &Versions, id: &str, parent: &str) -> io::Result<()> {
    let (own, from) = (folder_of(root, versions, id), folder_of(root, versions, parent));
    let info = fs::read(own.join("commit_info.json")).ok();
    if own.is_dir() {
        fs::remove_dir_all(&own)?;
    }
    fs::create_dir_all(&own)?;
    if let Some(info) = info {
        fs::write(own.join("commit_info.json"), info)?;
    }
    for name in OWN {
        copy(&from.join(name), &own.join(name))?;
    }
    for tensor in tensors(&from)? {
        for name in INHERITED {
            copy(&from.join(&tensor).join(name), &own.join(&tensor).join(name))?;
        }
    }
    Ok(())
}

/// Folders of tensors in a node, at any depth: those with a `tensor_meta.json`.
fn tensors(node: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(node.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_name() == "tensor_meta.json" {
                found.insert(folder.clone());
            } else if entry.file_type()?.is_dir()
                && path != Path::new("versions")
                && path != Path::new(VIEWS)
                && entry.file_name() != "chunks"
            {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::read(from) {
        Ok(bytes) => {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(to, bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
