//! Datasets of version 4 made by hand, as the library writes them: a log of entries, and the blocks that they name.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub const MAIN: &str = "8a057f1faa67a352506e9935f50881b3";

/// A dataset that can be committed to.
pub struct Made {
    pub root: PathBuf,
    pub commits: u64,
    pub seconds: i64,
}

/// An LZ4 block behind its length: literals alone.
fn packed(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
    let mut rest = text.len() - 15;
    bytes.push(0xf0);
    while rest >= 255 {
        bytes.push(255);
        rest -= 255;
    }
    bytes.push(rest as u8);
    bytes.extend(text.as_bytes());
    bytes
}

impl Made {
    pub fn new(root: &Path) -> Self {
        let made = Self { root: root.to_owned(), commits: 0, seconds: 1_795_896_966 };
        fs::create_dir_all(made.branch(MAIN)).unwrap();
        fs::create_dir_all(made.branch("_meta")).unwrap();
        made.meta(
            1,
            &format!(
                "{{\"setId\":{{\"id\":\"8dfd3d7c\"}}}}\n{{\"setMinReader\":{{\"minReader\":4}}}}\n\
             {{\"createBranch\":{{\"id\":\"{MAIN}\",\"name\":\"main\"}}}}"
            ),
        );
        made
    }

    pub fn branch(&self, id: &str) -> PathBuf {
        self.root.join("_deeplake_log").join(id)
    }

    pub fn entry(&self, number: u64) -> PathBuf {
        self.branch(MAIN).join(format!("{number:010}m00000000.jsonl.lz4"))
    }

    pub fn meta(&self, number: u64, lines: &str) {
        let commit = format!("{{\"commit\":{{\"clientTimestamp\":{}}}}}", self.seconds);
        let path = self.branch("_meta").join(format!("{number:010}m00000000.jsonl"));
        fs::write(path, format!("{commit}\n{lines}\n")).unwrap();
        fs::write(self.branch("_meta").join("next_base"), (number + 1).to_le_bytes()).unwrap();
        fs::write(self.branch("_meta").join("next_base.lock"), b"").unwrap();
    }

    /// The path of a block, as the library names them.
    pub fn block_name(name: &str) -> String {
        format!("2zz2ep/a2/{name:0>29}")
    }

    pub fn block(&self, name: &str) -> PathBuf {
        self.root.join(Self::block_name(name))
    }

    /// Commits blocks of these names and contents.
    pub fn commit(&mut self, blocks: &[(&str, &[u8])]) {
        let lines = self.write(blocks);
        self.commit_lines(&lines);
    }

    /// The same on a branch other than the main one.
    pub fn commit_on(&self, branch: &str, number: u64, blocks: &[(&str, &[u8])]) {
        let text = format!("{{\"commit\":{{\"clientTimestamp\":{}}}}}\n{}\n", self.seconds, self.write(blocks));
        fs::write(self.branch(branch).join(format!("{number:010}m00000000.jsonl.lz4")), packed(&text)).unwrap();
    }

    /// Writes blocks; gives the lines that name them.
    fn write(&self, blocks: &[(&str, &[u8])]) -> String {
        for (name, bytes) in blocks {
            let path = self.block(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let lines: Vec<String> = blocks
            .iter()
            .map(|(name, bytes)| {
                let (path, len) = (Self::block_name(name), bytes.len());
                format!("{{\"addBlock\":{{\"d\":{{\"p\":[\"\"],\"b\":[{len}],\"x\":\"{path}\",\"n\":[1]}},\"c\":1,\"b\":7}}}}")
            })
            .collect();
        lines.join("\n")
    }

    /// Commits whatever these lines say.
    pub fn commit_lines(&mut self, lines: &str) {
        self.commits += 1;
        self.seconds += 10;
        let number = self.commits;
        let (seconds, entry) = (self.seconds, self.entry(number));
        let commit = format!("{{\"commit\":{{\"message\":\"c{number}\",\"clientTimestamp\":{seconds}}}}}");
        fs::write(entry, packed(&format!("{commit}\n{lines}\n"))).unwrap();
        fs::write(self.branch(MAIN).join("next_base"), (number + 1).to_le_bytes()).unwrap();
        fs::write(self.branch(MAIN).join("index.lock.lock"), b"").unwrap();
    }

    /// What the service keeps beside the data.
    pub fn describe(&self, name: &str, tenant: &str) {
        let text = format!("{{\"name\":\"{name}\",\"tenant_id\":\"{tenant}\",\"dimensions\":3}}");
        fs::write(self.root.join("dataset_metadata.json"), text).unwrap();
    }
}

/// Makes a dataset of version 3 of these commits, one after the other, and of a node `head` that is being written; made again with
/// more of them, it was committed to.
pub fn make_nodes(root: &Path, commits: &[&str]) {
    let (mut nodes, mut parent) = (serde_json::Map::new(), None);
    for (id, seconds) in commits.iter().zip(1..).map(|(id, seconds)| (*id, Some(seconds))).chain([("head", None)]) {
        let folder = if parent.is_none() { root.to_owned() } else { root.join("versions").join(id) };
        fs::create_dir_all(folder.join("x/chunks")).unwrap();
        fs::write(folder.join("dataset_meta.json"), "{}").unwrap();
        fs::write(folder.join("x/tensor_meta.json"), "{}").unwrap();
        if seconds.is_some() {
            fs::write(folder.join("x/chunks/c"), id).unwrap();
        }
        let message = seconds.map(|_| id);
        nodes.insert(
            id.to_owned(),
            serde_json::json!({
                "branch": "main", "parent": parent, "children": [], "commit_message": message, "commit_time": seconds,
            }),
        );
        parent = Some(id);
    }
    let versions = serde_json::json!({ "commits": nodes, "branches": { "main": "head" } });
    fs::write(root.join("version_control_info.json"), versions.to_string()).unwrap();
}

/// Every file below a folder but locks, with its bytes.
pub fn files(root: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (std::collections::BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|ext| ext != "lock") {
                let key = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(key, fs::read(path).unwrap());
            }
        }
    }
    found
}
