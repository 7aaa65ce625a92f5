//! One entry of a version 4 dataset's log: which blocks it names, and what it does to branches and tags. Specified in
//! `docs/deeplake.md`.

use super::named::{self, Block};
use serde::{
    Deserialize,
    de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor},
};
use std::{collections::BTreeSet, fmt};

/// An entry takes no more than this, as text: what is larger is not read into memory.
pub const MAX_ENTRY_BYTES: usize = 96 << 20;
/// LZ4 makes of one byte no more than this.
const MAX_RATIO: usize = 255;

/// What an entry does to branches and tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The dataset's own id.
    Id(String),
    /// A version of this program's format that a reader must know.
    MinReader(u64),
    /// A branch begins, at a version of another one or at nothing.
    Branch {
        /// The name of its folder.
        id: String,
        /// What people call it.
        name: String,
        /// The branch and version that it begins at.
        from: Option<(String, String)>,
    },
    /// A version of one branch is taken into another one, which has it from a version on: branch and version of each.
    Merge {
        /// What is taken.
        from: (String, String),
        /// Where it is from then on.
        into: (String, String),
    },
    /// A branch has another name.
    RenameBranch(String, String),
    /// A branch is gone.
    DeleteBranch(String),
    /// A tag: its id, its name, and the branch and version that it names.
    Tag {
        /// Its id.
        id: String,
        /// What people call it.
        name: String,
        /// The branch that it is on.
        branch: String,
        /// The version.
        version: String,
    },
    /// A tag has another name.
    RenameTag(String, String),
    /// A tag is gone.
    DeleteTag(String),
}

/// What one file of the log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What the commit is about.
    pub message: String,
    /// When it was made, by its writer's clock: seconds since 1970.
    pub seconds: Option<i64>,
    /// The blocks that it names.
    pub blocks: Vec<Block>,
    /// What it does to branches and tags.
    pub changes: Vec<Change>,
    /// Kinds of lines that may name blocks in a way that is not known here.
    pub unknown: BTreeSet<String>,
    /// Columns that it makes whose rows are links to files elsewhere.
    pub links: Vec<String>,
}

impl Entry {
    /// Reads a file of the log; `packed` says that it is an LZ4 block behind its length.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn parse(bytes: &[u8], packed: bool) -> Result<Self, String> {
        let unpacked;
        let text = if packed {
            unpacked = unpack(bytes)?;
            &unpacked
        } else {
            bytes
        };
        let text = std::str::from_utf8(text).map_err(|_| "it is no UTF-8".to_owned())?;
        let mut entry = Self::default();
        let mut lines = 0_usize;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            lines += 1;
            let line: Line = serde_json::from_str(line).map_err(|error| format!("line {lines}: {error}"))?;
            line.add_to(&mut entry).map_err(|reason| format!("line {lines}: {reason}"))?;
        }
        if lines == 0 {
            return Err("it is empty".to_owned());
        }
        Ok(entry)
    }
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (head, block) = bytes.split_first_chunk::<4>().ok_or("it is shorter than its length field")?;
    let len = u32::from_le_bytes(*head) as usize;
    if len > MAX_ENTRY_BYTES {
        return Err(format!("it says that it holds {len} bytes, and no entry does"));
    }
    if len > block.len().saturating_mul(MAX_RATIO) {
        return Err(format!("it says that it holds {len} bytes, more than LZ4 makes of {}", block.len()));
    }
    let text = lz4_flex::block::decompress(block, len).map_err(|error| format!("its LZ4 block is torn: {error}"))?;
    if text.len() == len { Ok(text) } else { Err(format!("it holds {} bytes and says {len}", text.len())) }
}

#[derive(Deserialize)]
struct Commit {
    #[serde(default)]
    message: String,
    #[serde(default, rename = "clientTimestamp")]
    seconds: Option<i64>,
}

#[derive(Deserialize)]
struct AddBlock {
    d: Blocks,
}

#[derive(Deserialize)]
struct Blocks {
    #[serde(default)]
    p: Vec<String>,
    #[serde(default)]
    b: Vec<u64>,
    #[serde(default)]
    x: String,
}

#[derive(Deserialize)]
struct UpdateData {
    f: Update,
}

#[derive(Deserialize)]
struct Update {
    p: String,
    b: u64,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct CreateBranch {
    id: String,
    name: String,
    parent: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct CreateTag {
    id: String,
    name: String,
    branch_id: String,
    version: String,
}

#[derive(Deserialize)]
struct MergeBranch {
    source: BranchAt,
    destination: BranchAt,
}

#[derive(Deserialize)]
struct BranchAt {
    branch: String,
    version: String,
}

#[derive(Deserialize)]
struct MinReader {
    #[serde(rename = "minReader")]
    version: u64,
}

/// What one line says.
enum Line {
    Commit(Commit),
    Block(AddBlock),
    Update(UpdateData),
    /// It names blocks somewhere in it.
    Blocks(Vec<Block>),
    Change(Change),
    /// It makes a column of links.
    Links(String),
    Nothing,
    /// A kind that is not known, with what looks like a block in it.
    Unknown(String, Vec<Block>),
}

impl Line {
    fn add_to(self, entry: &mut Entry) -> Result<(), String> {
        match self {
            Self::Commit(commit) => {
                entry.message = commit.message;
                entry.seconds = commit.seconds;
            }
            Self::Block(AddBlock { d: Blocks { p, b, x } }) => {
                if p.len() != b.len() {
                    return Err(format!("it names {} blocks and {} lengths", p.len(), b.len()));
                }
                let blocks = p.iter().zip(b);
                entry.blocks.extend(blocks.map(|(path, bytes)| Block { path: format!("{x}{path}"), bytes }));
            }
            Self::Update(UpdateData { f: Update { p, b } }) => entry.blocks.push(Block { path: p, bytes: b }),
            Self::Change(change) => entry.changes.push(change),
            Self::Blocks(blocks) => entry.blocks.extend(blocks),
            Self::Unknown(kind, blocks) => {
                entry.unknown.insert(kind);
                entry.blocks.extend(blocks.into_iter().filter(|block| is_block_path(&block.path)));
            }
            Self::Links(column) => entry.links.push(column),
            Self::Nothing => {}
        }
        Ok(())
    }
}

/// Lines that name no blocks.
const BLOCKLESS: [&str; 17] = [
    "setCreatedTime",
    "setName",
    "setMinWriter",
    "setMetadata",
    "setMetadata2",
    "setColumnMetadata",
    "setColumnMetadata2",
    "setDescription",
    "dropColumn",
    "renameColumn",
    "createIndex",
    "dropIndex",
    "deleteRows",
    "addCredsKey",
    "removeFromCRL",
    "setCreatedBy",
    "foldWal",
];
/// Lines that name blocks of indexes, or of columns that are kept as one, somewhere in them.
const INDEXES: [&str; 4] = ["addClusteredBlock", "addInvertedBlock", "addJsonBlock", "addMatrixBlock"];

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LineVisitor;
        impl<'de> Visitor<'de> for LineVisitor {
            type Value = Line;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one field")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
                let Some(kind) = map.next_key::<String>()? else {
                    return Err(A::Error::custom("it says nothing"));
                };
                let line = match kind.as_str() {
                    "commit" => Line::Commit(map.next_value()?),
                    "addBlock" => Line::Block(map.next_value()?),
                    "updateData" => Line::Update(map.next_value()?),
                    "setId" => Line::Change(Change::Id(map.next_value::<Named>()?.id)),
                    "setMinReader" => Line::Change(Change::MinReader(map.next_value::<MinReader>()?.version)),
                    "createBranch" => {
                        let CreateBranch { id, name, parent, version } = map.next_value()?;
                        let from = parent.zip(version).filter(|(parent, _)| !parent.is_empty());
                        Line::Change(Change::Branch { id, name, from })
                    }
                    "createTag" => {
                        let CreateTag { id, name, branch_id, version } = map.next_value()?;
                        Line::Change(Change::Tag { id, name, branch: branch_id, version })
                    }
                    "createColumn" => {
                        let column: serde_json::Value = map.next_value()?;
                        let name = column.get("n").and_then(serde_json::Value::as_str).unwrap_or_default();
                        let is_link = column.get("t").is_some_and(holds_links);
                        if is_link { Line::Links(name.to_owned()) } else { Line::Nothing }
                    }
                    "mergeBranch" => {
                        let MergeBranch { source, destination } = map.next_value()?;
                        let from = (source.branch, source.version);
                        Line::Change(Change::Merge { from, into: (destination.branch, destination.version) })
                    }
                    "renameBranch" => {
                        let Named { id, name } = map.next_value()?;
                        Line::Change(Change::RenameBranch(id, name))
                    }
                    "renameTag" => {
                        let Named { id, name } = map.next_value()?;
                        Line::Change(Change::RenameTag(id, name))
                    }
                    "deleteBranch" => Line::Change(Change::DeleteBranch(map.next_value::<Named>()?.id)),
                    "deleteTag" => Line::Change(Change::DeleteTag(map.next_value::<Named>()?.id)),
                    other if BLOCKLESS.contains(&other) => {
                        map.next_value::<IgnoredAny>()?;
                        Line::Nothing
                    }
                    other => {
                        let mut blocks = Vec::new();
                        map.next_value_seed(named::Blocks::of(&mut blocks))?;
                        let is_known = INDEXES.contains(&other) && !blocks.is_empty();
                        if is_known { Line::Blocks(blocks) } else { Line::Unknown(kind, blocks) }
                    }
                };
                match map.next_key::<String>()? {
                    None => Ok(line),
                    Some(_) => Err(A::Error::custom("it says two things")),
                }
            }
        }
        deserializer.deserialize_map(LineVisitor)
    }
}

/// Whether a column's type is that of links, itself or within.
fn holds_links(kind: &serde_json::Value) -> bool {
    match kind {
        serde_json::Value::Object(fields) => {
            fields.get("k").and_then(serde_json::Value::as_str) == Some("link") || fields.values().any(holds_links)
        }
        serde_json::Value::Array(all) => all.iter().any(holds_links),
        _ => false,
    }
}

/// Whether a path has the form of a block's: `COLUMN/xx/REST`, or `COLUMN/i/xx/REST` of an index.
pub(super) fn is_block_path(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    let formed = match parts[..] {
        [column, two, rest] | [column, "i", two, rest] => {
            (4..=12).contains(&column.len()) && two.len() == 2 && (20..=48).contains(&rest.len())
        }
        _ => false,
    };
    formed && parts.iter().all(|part| plain(part))
}

/// The number of a version, by its name as entries give it; 0 if that is no such name.
pub(super) fn number_of(version: &str) -> u64 {
    version.get(..10).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Where an entry stands in its branch, by the name of its file: its number, and whether it is packed. `None` for a file that
/// is no entry. An `o` sums up entries before it and stands beside the one of its number.
#[must_use]
pub fn parse_name(name: &str) -> Option<EntryName<'_>> {
    let (version, packed) = match name.strip_suffix(".jsonl.lz4") {
        Some(version) => (version, true),
        None => (name.strip_suffix(".jsonl")?, false),
    };
    let bytes = version.as_bytes();
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let hex = |part: &[u8]| part.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    let formed = bytes.len() == 19 && digits(&bytes[..10]) && bytes[10].is_ascii_lowercase() && hex(&bytes[11..]);
    if !formed {
        return None;
    }
    Some(EntryName { number: version[..10].parse().ok()?, sums_up: bytes[10] == b'o', version, packed })
}

/// What the name of an entry's file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryName<'a> {
    /// Its place in the branch, from 1.
    pub number: u64,
    /// Whether it sums up entries before it.
    pub sums_up: bool,
    /// The name without its ending: what tags and branches call it.
    pub version: &'a str,
    /// Whether it is an LZ4 block.
    pub packed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
        // One run of literals is a whole LZ4 block.
        assert!(text.len() > 15 && text.len() < 15 + 255);
        bytes.extend([0xf0, (text.len() - 15) as u8]);
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn an_entry_names_its_blocks_wherever_their_names_are_kept() {
        let text = r#"{"commit":{"release":"4.7.4","clientTimestamp":12,"message":"m"}}
{"addBlock":{"d":{"p":["a/b","c/d"],"b":[1,2],"x":"k/","s":[[1]]},"c":5,"b":99}}

{"addBlock":{"d":{"p":[""],"b":[3],"x":"k/e/f"},"c":5}}
{"updateData":{"f":{"p":"u/v","b":46,"cs":{"nc":0}},"r":[1]}}
{"deleteRows":{"rowIds":[1]}}"#;
        let entry = Entry::parse(text.as_bytes(), false).unwrap();
        let blocks: Vec<_> = entry.blocks.iter().map(|block| (block.path.as_str(), block.bytes)).collect();
        assert_eq!(blocks, [("k/a/b", 1), ("k/c/d", 2), ("k/e/f", 3), ("u/v", 46)]);
        assert_eq!((entry.message.as_str(), entry.seconds, entry.unknown.len()), ("m", Some(12), 0));
    }

    #[test]
    fn a_line_that_may_name_blocks_unknown_to_us_is_told_and_what_looks_like_one_is_taken() {
        let text =
            br#"{"addNewBlock":{"z":1,"y":{"p":"52o6l2/i/t4/04dect0teo8eyrefusqp3jt","b":7},"x":{"p":"other","b":8}}}"#;
        let entry = Entry::parse(text, false).unwrap();
        assert_eq!(entry.unknown.into_iter().collect::<Vec<_>>(), ["addNewBlock"]);
        assert_eq!(entry.blocks, [Block { path: "52o6l2/i/t4/04dect0teo8eyrefusqp3jt".to_owned(), bytes: 7 }]);
    }

    #[test]
    fn columns_of_links_are_told() {
        let text = br#"{"createColumn":{"i":1,"n":"id","t":{"k":"generic","d":{"t":{"t":{"d":"int64"},"s":[]}}}}}
{"createColumn":{"i":2,"n":"photo","t":{"k":"link","d":{"type":"link","subtype":{"k":"image"}}}}}
{"createColumn":{"i":3,"n":"many","t":{"k":"sequence","d":{"t":{"k":"link","d":{}}}}}}"#;
        assert_eq!(Entry::parse(text, false).unwrap().links, ["photo", "many"]);
    }

    #[test]
    fn blocks_of_indexes_and_matrices_are_named_like_any() {
        let text =
            br#"{"addMatrixBlock":{"c":1,"p":{"p":[""],"b":[4],"x":"v/i/a"},"q":{"p":["b"],"b":[5],"x":"v/i/"},"b":9}}
{"addInvertedBlock":{"i":{"l":{"p":"v/l","b":6},"i":[{"t":{"p":"v/t","b":7}}]}}}
{"setName":{"name":"n"}}
{"foldWal":{"v":1,"w":[[1,3]],"e":[[1,0,2,0,1]]}}"#;
        let entry = Entry::parse(text, false).unwrap();
        assert!(entry.unknown.is_empty());
        let blocks: Vec<_> = entry.blocks.iter().map(|block| (block.path.as_str(), block.bytes)).collect();
        assert_eq!(blocks, [("v/i/a", 4), ("v/i/b", 5), ("v/l", 6), ("v/t", 7)]);
    }

    #[test]
    fn torn_and_hostile_entries_are_errors() {
        let whole = packed(r#"{"commit":{"message":"hello"}}"#);
        assert_eq!(Entry::parse(&whole, true).unwrap().message, "hello");
        for cut in 0..whole.len() {
            assert!(Entry::parse(&whole[..cut], true).is_err(), "cut at {cut}");
        }
        let mut huge = whole.clone();
        huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Entry::parse(&huge, true).unwrap_err().contains("no entry does"));
        huge[..4].copy_from_slice(&(80_u32 << 20).to_le_bytes());
        assert!(Entry::parse(&huge, true).unwrap_err().contains("more than LZ4 makes"));
        for bad in [
            "",
            "\n",
            "{}",
            "[]",
            "{\"commit\":1}",
            "{\"commit\":{}",
            "{\"a\":1,\"b\":2}",
            "\u{0}",
            r#"{"addBlock":{"d":{"p":["a"],"b":[]}}}"#,
            r#"{"addBlock":{"d":{"p":["a"],"b":[-1]}}}"#,
        ] {
            assert!(Entry::parse(bad.as_bytes(), false).is_err(), "{bad}");
        }
        let deep = format!("{{\"setMetadata\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        // What is not looked at is passed over without a stack.
        assert!(Entry::parse(deep.as_bytes(), false).is_ok());
    }

    #[test]
    fn names_tell_numbers_and_everything_else_is_no_entry() {
        let name = parse_name("0000000002c00000000.jsonl.lz4").unwrap();
        assert_eq!((name.number, name.version, name.packed, name.sums_up), (2, "0000000002c00000000", true, false));
        let sum = parse_name("0000000256o000000c1.jsonl").unwrap();
        assert!(sum.sums_up && !sum.packed && sum.number == 256);
        for bad in [
            "next_base",
            "0000000002c00000000.json",
            "000000002c00000000.jsonl",
            "0000000002C00000000.jsonl",
            "x.jsonl",
            "0000000002c0000000é.jsonl",
            "index.lock.lock",
        ] {
            assert!(parse_name(bad).is_none(), "{bad}");
        }
    }
}
