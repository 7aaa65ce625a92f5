//! What stands beside records: indexes and modules as attributes of a snapshot, the same that a scan of a cluster gives.

use super::codec::{Index, IndexData, IndexKind, Module};
use data_encoding::BASE64;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// Lines of no known kind that are kept.
const MAX_UNKNOWN: usize = 1000;
/// Names of sets that are kept.
const MAX_SETS: usize = 4096;

/// What is known of one namespace beside its records.
#[derive(Debug, Clone, Default)]
pub struct Namespace {
    /// By name; one that comes twice is as it came last.
    pub indexes: BTreeMap<Vec<u8>, Index>,
    /// Index lines of no known kind, raw.
    pub raw_indexes: Vec<Vec<u8>>,
    /// Other lines of no known kind, raw.
    pub unknown: Vec<Vec<u8>>,
    /// Records by set.
    pub sets: BTreeMap<Vec<u8>, u64>,
}

/// Everything beside records.
#[derive(Debug, Clone, Default)]
pub struct Globals {
    /// By name.
    pub namespaces: BTreeMap<Vec<u8>, Namespace>,
    /// By name; they belong to the cluster.
    pub modules: BTreeMap<Vec<u8>, Module>,
    /// What a person should know.
    pub notes: Vec<String>,
}

fn text_or_base64(bytes: &[u8]) -> (bool, String) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (true, text.to_owned()),
        Err(_) => (false, BASE64.encode(bytes)),
    }
}

impl Globals {
    /// Takes an index.
    pub fn index(&mut self, index: Index, origin: &str) {
        let name = index.name.clone();
        let own = self.namespaces.entry(index.namespace.clone()).or_default();
        // The C tool writes an index over an expression as one of a bin named so.
        if index.expression.is_none() && index.bin.eq_ignore_ascii_case(b"null") {
            self.notes.push(format!(
                "index `{}` of {origin}: the tool that wrote it left out its expression, so that nobody can make it again; \
                 its line is kept",
                name.escape_ascii()
            ));
            let mut line = Vec::new();
            let form = super::codec::Form { version: super::codec::Version::V33, compact: false };
            if super::codec::put_index(&mut line, &index, form).is_ok() {
                own.raw_indexes.push(line);
            }
            return;
        }
        if let Some(other) = own.indexes.insert(name.clone(), index)
            && own.indexes.get(&name) != Some(&other)
        {
            self.notes.push(format!(
                "index `{}` stands more than once with different definitions; that of {origin} is kept",
                name.escape_ascii()
            ));
        }
    }

    /// Takes a module.
    pub fn module(&mut self, module: Module, origin: &str) {
        let name = module.name.clone();
        if let Some(other) = self.modules.insert(name.clone(), module)
            && self.modules.get(&name) != Some(&other)
        {
            self.notes.push(format!(
                "UDF module `{}` stands more than once with different texts; that of {origin} is kept",
                name.escape_ascii()
            ));
        }
    }

    /// Takes a line of no known kind.
    pub fn unknown(&mut self, namespace: &[u8], line: Vec<u8>, origin: &str, number: u64) {
        let shown = line[..line.len().min(80)].trim_ascii_end().escape_ascii().to_string();
        self.notes.push(format!("line {number} of {origin} is of no known kind and is kept as it is: {shown}"));
        let own = self.namespaces.entry(namespace.to_vec()).or_default();
        let is_index = line.starts_with(b"* i ") || line.starts_with(b"* e ");
        let lines = if is_index { &mut own.raw_indexes } else { &mut own.unknown };
        if lines.len() < MAX_UNKNOWN {
            lines.push(line);
        }
    }

    /// Counts a record's set.
    pub fn set(sets: &mut BTreeMap<Vec<u8>, u64>, set: &[u8]) {
        if let Some(count) = sets.get_mut(set) {
            *count += 1;
        } else if sets.len() < MAX_SETS {
            sets.insert(set.to_vec(), 1);
        }
    }

    /// Takes over what another file holds.
    pub fn join(&mut self, other: Self, origin: &str) {
        for (name, namespace) in other.namespaces {
            for index in namespace.indexes.into_values() {
                self.index(index, origin);
            }
            let own = self.namespaces.entry(name).or_default();
            own.raw_indexes.extend(namespace.raw_indexes);
            own.unknown.extend(namespace.unknown);
            for (set, count) in namespace.sets {
                *own.sets.entry(set).or_default() += count;
            }
        }
        for module in other.modules.into_values() {
            self.module(module, origin);
        }
        self.notes.extend(other.notes);
    }

    /// The attributes of a snapshot.
    #[must_use]
    pub fn attributes(&self) -> Json {
        let module = |module: &Module| {
            let (_, name) = text_or_base64(&module.name);
            json!({ "name": name, "type": "LUA", "content": BASE64.encode(&module.content) })
        };
        json!({ "format": 1, "udfs": self.modules.values().map(module).collect::<Vec<_>>() })
    }
}

impl Namespace {
    /// The attributes of its collection.
    #[must_use]
    pub fn attributes(&self) -> Json {
        let raw = |line: &Vec<u8>| {
            let (is_text, text) = text_or_base64(line);
            if is_text { json!({ "raw": text }) } else { json!({ "raw_base64": text }) }
        };
        let indexes: Vec<Json> =
            self.indexes.values().map(index_to_json).chain(self.raw_indexes.iter().map(raw)).collect();
        let mut sets = BTreeSet::new();
        let mut set_records = Map::new();
        for (set, count) in self.sets.iter().filter(|(set, _)| !set.is_empty()) {
            let (_, name) = text_or_base64(set);
            set_records.insert(name.clone(), json!(count));
            sets.insert(name);
        }
        let mut all = json!({ "format": 1, "sets": sets, "set_records": set_records, "sindexes": indexes });
        if let Some(all) = all.as_object_mut().filter(|_| !self.unknown.is_empty()) {
            all.insert("unknown_lines".to_owned(), self.unknown.iter().map(raw).collect());
        }
        all
    }
}

/// An index as servers tell it.
fn index_to_json(index: &Index) -> Json {
    let mut all = Map::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), Json::String(value));
        }
    };
    let text = |bytes: &[u8]| Some(text_or_base64(bytes).1);
    // The C tool writes the null set as one named so, and servers list it so too.
    let is_named = |name: &&Vec<u8>| !name.is_empty() && !name.eq_ignore_ascii_case(b"null");
    add("name", text(&index.name));
    add("set", Some(&index.set).filter(is_named).and_then(|set| text(set)));
    add("bin", Some(&index.bin).filter(is_named).and_then(|bin| text(bin)));
    add("type", index.data.name().map(str::to_owned));
    add("index_type", Some(index.kind.name().to_owned()));
    add("context", index.context.as_deref().and_then(text));
    add("expression", index.expression.as_deref().and_then(text));
    Json::Object(all)
}

/// What a snapshot holds as an index: one that can be written, a line that is kept raw, or why it is neither.
pub enum Told {
    /// An index.
    Index(Index),
    /// A line as it stood in a file.
    Raw(Vec<u8>),
    /// It cannot be written, for this reason.
    Lost(String),
}

/// An index as a snapshot has it.
#[must_use]
pub fn index_of_json(namespace: &[u8], told: &Json) -> Told {
    let text = |name: &str| told.get(name).and_then(Json::as_str);
    let bytes = |name: &str| text(name).unwrap_or_default().as_bytes().to_vec();
    if text("name").is_none() {
        let raw = text("raw").map(|raw| raw.as_bytes().to_vec());
        let raw = raw.or_else(|| BASE64.decode(text("raw_base64")?.as_bytes()).ok());
        return match raw.filter(|raw| raw.starts_with(b"* ") && raw.ends_with(b"\n")) {
            Some(line) => Told::Raw(line),
            None => Told::Lost("its definition cannot be read".to_owned()),
        };
    }
    if let Some(more) = text("raw").and_then(more_than_known) {
        return Told::Lost(format!("the format cannot say `{more}`"));
    }
    let kind = IndexKind::from_name(text("index_type").unwrap_or("default"));
    let Some(kind) = kind else {
        return Told::Lost(format!(
            "the format has no letter for the index type `{}`",
            text("index_type").unwrap_or("")
        ));
    };
    let data = match text("type") {
        _ if kind == IndexKind::Set => Some(IndexData::None),
        Some(name) => IndexData::from_name(name),
        None => None,
    };
    let Some(data) = data else {
        return Told::Lost(format!("the format has no letter for the type `{}`", text("type").unwrap_or("none")));
    };
    Told::Index(Index {
        namespace: namespace.to_vec(),
        set: bytes("set"),
        name: bytes("name"),
        kind,
        bin: bytes("bin"),
        data,
        context: text("context").map(|text| text.as_bytes().to_vec()),
        expression: text("expression").map(|text| text.as_bytes().to_vec()),
    })
}

/// What servers say of an index, and the format can.
const KNOWN_KEYS: [&str; 10] =
    ["ns", "namespace", "indexname", "set", "bin", "type", "indextype", "context", "exp", "state"];

/// What a server's line says beyond that.
fn more_than_known(raw: &str) -> Option<&str> {
    raw.split(':').find(|pair| {
        pair.split_once('=').is_some_and(|(key, value)| {
            let is_empty = value.is_empty() || ["null", "false"].iter().any(|none| value.eq_ignore_ascii_case(none));
            !is_empty && !KNOWN_KEYS.contains(&key)
        })
    })
}
