//! A version 3 dataset: a tree of nodes. Committed ones never change; the one that is being written does, in place.

use super::{
    find::METADATA,
    inventory::{Inventory, Item, Role, walk_seen},
    place::{LakePlace, join},
};
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
const MAX_VERSIONS_BYTES: usize = 64 << 20;
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

    /// The node that a file belongs to.
    pub(super) fn node_of<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        match key.strip_prefix("versions/") {
            Some(rest) => rest.split('/').next(),
            None => self.first(),
        }
    }
}

/// All files of a version 3 dataset: what names the nodes is read first.
pub(super) fn inventory(place: &LakePlace, dataset: &str) -> io::Result<Inventory> {
    let mut inventory = Inventory::default();
    let (bytes, _) = place.read_settled(&join(dataset, VERSIONS), MAX_VERSIONS_BYTES)?;
    let versions = match Versions::parse(&bytes) {
        Ok(versions) => versions,
        Err(reason) => {
            inventory.missing.add(format!("{VERSIONS}: {reason}; which nodes are committed cannot be told"));
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
    let mut item = Item::new(VERSIONS, Role::Head, Some(bytes.len() as u64));
    item.content = Some(Arc::from(bytes));
    inventory.items.push(item);
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
        .branches
        .iter()
        .map(|(name, head)| {
            let node = versions.commits.get(head);
            json!({ "name": name, "head": head, "committed": node.is_some_and(Node::is_committed) })
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
