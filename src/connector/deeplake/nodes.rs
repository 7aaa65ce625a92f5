//! A version 3 dataset: a tree of nodes. Committed ones never change; the one that is being written does, in place.

use super::{
    find::METADATA,
    inventory::{Inventory, Item, Role, walk_seen},
    log::{ATTEMPTS, Branch, BranchReport, Commit, PAUSE},
    place::{LakePlace, join},
};
use crate::record::KeyRange;
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::Arc,
};

/// The file that names the nodes.
pub(super) const VERSIONS: &str = "version_control_info.json";
/// The folder of saved views, each a dataset of its own, and the file that lists them: written at any time, whatever is committed.
pub(super) const VIEWS: &str = ".queries";
const VIEWS_LIST: &str = "queries.json";
pub(super) const MAX_VERSIONS_BYTES: usize = 64 << 20;
const MAX_TENSOR_META_BYTES: usize = 1 << 20;

/// What `version_control_info.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Versions {
    /// Nodes by id.
    pub commits: BTreeMap<String, Node>,
    /// The newest node of each branch.
    pub branches: BTreeMap<String, String>,
}

/// One node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// The branch that it is on.
    #[serde(default)]
    pub branch: String,
    /// The one before it; the first has none.
    pub parent: Option<String>,
    /// What the commit is about.
    pub commit_message: Option<String>,
    /// When it was committed; a node that is being written has no time.
    #[serde(default)]
    commit_time: Option<serde_json::Number>,
}

impl Node {
    /// Whether it was committed.
    #[must_use]
    pub const fn is_committed(&self) -> bool {
        self.commit_time.is_some()
    }

    /// When it was committed, as the file says it.
    pub(super) fn time(&self) -> Option<String> {
        self.commit_time.as_ref().map(ToString::to_string)
    }

    /// When it was committed: seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        self.commit_time.as_ref()?.as_f64()
    }
}

impl Versions {
    /// Reads the file.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The node whose files lie at the root.
    pub(super) fn first(&self) -> Option<&str> {
        self.commits.iter().find(|(_, node)| node.parent.is_none()).map(|(id, _)| id.as_str())
    }

    /// Nodes that are being written.
    pub(super) fn heads(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.commits.iter().filter(|(_, node)| !node.is_committed()).map(|(id, node)| (id.as_str(), node))
    }

    /// The folder of a node's files, below the dataset.
    pub(super) fn folder_of(&self, id: &str) -> String {
        if self.first() == Some(id) { String::new() } else { join("versions", id) }
    }

    /// The commits of each branch, from its newest node back to where it began on another one.
    pub(super) fn reports(&self) -> Vec<BranchReport> {
        let of_branch = |name: &str, head: &str| {
            let (mut commits, mut at, mut from) = (Vec::new(), Some(head.to_owned()), None);
            // A ring of parents, which somebody may have written, ends here.
            for _ in 0..self.commits.len() {
                let Some((id, node)) = at.take().and_then(|id| Some((id.clone(), self.commits.get(&id)?))) else {
                    break;
                };
                if node.branch != name {
                    from = Some((node.branch.clone(), id));
                    break;
                }
                if node.is_committed() {
                    commits.push(Commit {
                        version: id,
                        number: 0,
                        message: node.commit_message.clone().unwrap_or_default(),
                        seconds: node.seconds().map(|seconds| seconds as i64),
                    });
                }
                at.clone_from(&node.parent);
            }
            commits.reverse();
            commits.iter_mut().zip(1..).for_each(|(commit, number)| commit.number = number);
            BranchReport { id: head.to_owned(), branch: Branch { name: name.to_owned(), from }, commits }
        };
        self.branches.iter().map(|(name, head)| of_branch(name, head)).collect()
    }

    /// The node that a file belongs to.
    pub(super) fn node_of<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        match key.strip_prefix("versions/") {
            Some(rest) => rest.split('/').next(),
            None => self.first(),
        }
    }
}

/// What names the nodes, and its bytes. A writer truncates it before it writes it anew, and readers may come between: what is
/// empty or torn is read again, as a log is.
fn read_versions(mut read: impl FnMut() -> io::Result<Vec<u8>>) -> io::Result<Result<(Versions, Vec<u8>), String>> {
    let mut attempt = 1;
    loop {
        let bytes = read()?;
        match Versions::parse(&bytes) {
            Ok(versions) => return Ok(Ok((versions, bytes))),
            Err(reason) if attempt == ATTEMPTS => return Ok(Err(reason)),
            Err(_) => attempt += 1,
        }
        std::thread::sleep(PAUSE);
    }
}

/// All files of a version 3 dataset: what names the nodes is read first.
pub(super) fn inventory(place: &LakePlace, dataset: &str) -> io::Result<Inventory> {
    let mut inventory = Inventory::default();
    let path = join(dataset, VERSIONS);
    let read = || Ok(place.read_settled(&path, MAX_VERSIONS_BYTES)?.0);
    let versions = match read_versions(read)? {
        Ok((versions, bytes)) => {
            let mut item = Item::new(VERSIONS, Role::Head, Some(bytes.len() as u64));
            item.content = Some(Arc::from(bytes));
            inventory.items.push(item);
            versions
        }
        Err(reason) => {
            inventory.missing.add(format!("{VERSIONS}: {reason}; which nodes are committed cannot be told"));
            inventory.absent.push(KeyRange::only(VERSIONS.as_bytes()));
            Versions::default()
        }
    };
    let mut later = 0_u64;
    let mut seen = HashMap::new();
    let odd = walk_seen(place, dataset, &mut |key, listed| {
        if key == VERSIONS {
            return;
        }
        let node = versions.node_of(&key).and_then(|id| versions.commits.get(id));
        let role = match node {
            _ if [METADATA, VIEWS_LIST].contains(&key.as_str()) => Role::Meta,
            _ if key.strip_prefix(VIEWS).is_some_and(|rest| rest.starts_with('/')) => Role::Other,
            Some(node) if node.is_committed() => Role::Node,
            Some(_) => Role::Head,
            None if key.starts_with("versions/") && !versions.commits.is_empty() => {
                later += 1;
                return;
            }
            None => Role::Other,
        };
        if let Some(listed) = listed.filter(|_| role.stays()) {
            seen.insert(key.clone(), listed);
        }
        inventory.items.push(Item::new(key, role, None));
    })?;
    inventory.miss_odd(odd);
    inventory.note_seen(seen);
    let links = links(place, dataset, &inventory.items);
    inventory.note_links(&links);
    if later > 0 {
        inventory.notes.push(format!("{later} files of nodes that were begun while it was looked at are left out"));
    }
    let heads: Vec<&str> = versions.heads().map(|(id, _)| id).collect();
    if !heads.is_empty() {
        inventory.notes.push(format!(
            "what is not committed is copied as it was found and may be torn: node {}",
            heads.join(", ")
        ));
    }
    let branches: Vec<_> = versions
        .reports()
        .iter()
        .map(|one| {
            let (node, newest) = (versions.commits.get(&one.id), one.commits.last());
            json!({
                "name": one.branch.name, "head": one.id, "committed": node.is_some_and(Node::is_committed),
                "from": one.branch.from, "commits": one.commits.len(),
                "message": newest.map(|commit| &commit.message), "time": newest.and_then(|commit| commit.seconds),
            })
        })
        .collect();
    inventory.attributes = json!({
        "version": 3, "branches": branches, "torn": heads,
        "commits": versions.commits.values().filter(|node| node.is_committed()).count(),
    });
    Ok(inventory)
}

/// Tensors whose samples are links to files elsewhere: each is asked for once, whatever nodes it is in.
fn links(place: &LakePlace, dataset: &str, items: &[Item]) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct TensorMeta {
        #[serde(default)]
        is_link: bool,
    }
    let mut tensors = BTreeMap::new();
    for item in items.iter().filter(|item| item.role != Role::Other) {
        let Some(path) = item.key.strip_suffix("/tensor_meta.json") else { continue };
        let inner = path.strip_prefix("versions/").and_then(|rest| Some(rest.split_once('/')?.1)).unwrap_or(path);
        if !inner.rsplit('/').next().unwrap_or_default().starts_with('_') {
            tensors.insert(inner.to_owned(), &*item.key);
        }
    }
    let is_link = |key: &str| {
        let read = place.read(&join(dataset, key), MAX_TENSOR_META_BYTES);
        read.is_ok_and(|(bytes, _)| serde_json::from_slice::<TensorMeta>(&bytes).is_ok_and(|meta| meta.is_link))
    };
    tensors.into_iter().filter(|(_, key)| is_link(key)).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_the_nodes_is_read_again_while_it_is_written() {
        let whole =
            br#"{"commits": {"a": {"branch": "main", "parent": null, "commit_time": 1}}, "branches": {"main": "a"}}"#;
        let mut moments = [&whole[..0], &whole[..20], whole].into_iter();
        let (versions, bytes) = read_versions(|| Ok(moments.next().unwrap().to_vec())).unwrap().unwrap();
        assert!(versions.commits["a"].is_committed() && bytes == whole);
        let mut reads = 0;
        let read = || {
            reads += 1;
            Ok(Vec::new())
        };
        assert_eq!(read_versions(read).unwrap().unwrap_err(), "it is empty");
        assert_eq!(reads, ATTEMPTS);
    }
}
