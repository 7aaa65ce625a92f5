//! Looking at files: what they hold by namespace, set and type, and the first thing that is wrong with each.

use super::{
    cipher::Cipher,
    codec::{Index, Item, Record, Version},
    gather::{First, NO_NAMESPACE, of_one_run, what_is_not_there},
    layers::{self, Layers},
    options::PartOptions,
    place::{AsbPlace, Input, Unfinished},
};
use crate::connector::{ConnectorError, Inspection, void_time::expiry_of};
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, fmt::Write as _};

/// Names of sets that are told.
const MAX_SETS: usize = 1000;
/// Lines of no known kind that are told.
const MAX_UNKNOWN: usize = 20;

/// What was counted.
#[derive(Default)]
struct Counts {
    records: u64,
    without_bins: u64,
    with_key: u64,
    expiring: u64,
    latest_expiry: u64,
    sets: BTreeMap<String, u64>,
    bins: BTreeMap<&'static str, u64>,
    indexes: Vec<String>,
    modules: Vec<String>,
    unknown: Vec<String>,
    unknown_lines: u64,
}

/// One file.
struct Seen {
    name: String,
    version: Option<Version>,
    namespace: String,
    first_file: bool,
    layers: Layers,
    bytes: u64,
    records: u64,
    /// Namespaces of records that the file does not name, each with the line at which the first of them begins.
    others: BTreeMap<String, u64>,
    problem: Option<String>,
}

fn type_name(particle: u8) -> &'static str {
    match particle {
        0 => "none",
        1 => "integer",
        2 => "float",
        3 => "string",
        4 => "blob",
        7..=12 => "language blob",
        17 => "boolean",
        18 => "HLL",
        19 => "map",
        20 => "list",
        23 => "GeoJSON",
        _ => "other",
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn index_in_words(index: &Index) -> String {
    let of = match (&index.expression, index.bin.as_slice()) {
        (Some(_), _) => "an expression".to_owned(),
        (None, b"") => "the set".to_owned(),
        (None, bin) => format!("bin {}", shown(bin)),
    };
    let set = if index.set.is_empty() { "the null set".to_owned() } else { format!("set {}", shown(&index.set)) };
    format!(
        "{} on {of} of {set} ({}, {})",
        shown(&index.name),
        index.kind.name(),
        index.data.name().unwrap_or("no values")
    )
}

/// Looks at all files of a place.
pub fn inspect(place: &AsbPlace, cipher: Option<&Cipher>) -> Result<Inspection, ConnectorError> {
    let mut namespaces: BTreeMap<String, Counts> = BTreeMap::new();
    let mut files = Vec::new();
    let (mut firsts, mut listed): (Vec<First>, Vec<_>) = Default::default();
    let inputs = place.inputs()?;
    for input in &inputs {
        let seen = look(input, cipher, &mut namespaces)?;
        if seen.first_file {
            firsts.push((seen.namespace.clone().into_bytes(), input.place, seen.name.clone()));
        }
        listed.extend(input.listed(seen.namespace.as_bytes(), seen.first_file));
        files.push(seen);
    }
    // What a restore refuses is nothing that is sound.
    if let Err(error) = of_one_run(&mut firsts) {
        let both = error.to_string();
        for seen in files.iter_mut().filter(|seen| seen.first_file && both.contains(&seen.name)) {
            seen.problem.get_or_insert_with(|| both.clone());
        }
    }
    // One whose head cannot be read is there: what it is of is not known.
    let all_tell = files.iter().all(|seen| seen.version.is_some());
    let everything = PartOptions::default();
    let missing = if all_tell { what_is_not_there(&inputs, &listed, &everything) } else { Vec::new() };
    let unfinished = place.unfinished()?;
    let is_whole = missing.is_empty() && unfinished.surely.is_empty();
    let sound = is_whole && files.iter().all(|seen| seen.problem.is_none());
    let mut text = in_words(&files, &namespaces, &unfinished);
    for line in &missing {
        // Writing to a string does not fail.
        let _ = writeln!(text, "WRONG: {line}");
    }
    let mut document = document(sound, &files, &namespaces, &missing);
    document["unfinished"] = json!(unfinished.surely);
    Ok(Inspection { sound, text, document })
}

fn look(
    input: &Input,
    cipher: Option<&Cipher>,
    namespaces: &mut BTreeMap<String, Counts>,
) -> Result<Seen, ConnectorError> {
    let mut seen = Seen {
        name: input.show(),
        version: None,
        namespace: String::new(),
        first_file: false,
        layers: Layers::default(),
        bytes: input.len,
        records: 0,
        others: BTreeMap::new(),
        problem: None,
    };
    let opened = match &input.file {
        None => layers::open(std::io::stdin(), cipher),
        Some(spot) => {
            let failed = |source| ConnectorError::Io { operation: "open", object: input.show(), source };
            layers::open(spot.open().map_err(failed)?, cipher)
        }
    };
    let (mut reader, found) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            seen.problem = Some(error.to_string());
            return Ok(seen);
        }
    };
    seen.layers = found;
    seen.version = Some(reader.header().version);
    seen.first_file = reader.header().first_file;
    seen.namespace = shown(reader.header().namespace.as_deref().unwrap_or_default());
    for line in reader.header().unknown.clone() {
        namespaces.entry(seen.namespace.clone()).or_default().unknown(&line);
    }
    let mut record = Record::default();
    loop {
        let at = (reader.line(), reader.offset());
        match reader.next(&mut record) {
            Ok(None) => break,
            Ok(Some(Item::Record)) => {
                seen.records += 1;
                let namespace = shown(record.namespace());
                if namespace != seen.namespace && !seen.others.contains_key(&namespace) {
                    seen.others.insert(namespace, at.0);
                }
                // Reading goes on behind what is only missing, and behind what is wrong as a whole it does not.
                if let Some(bin) = twice(&record).filter(|_| seen.problem.is_none()) {
                    seen.problem = Some(format!("line {}, byte {}: the record has two bins `{bin}`", at.0, at.1));
                }
                namespaces.entry(shown(record.namespace())).or_default().record(&record);
            }
            Ok(Some(item)) => namespaces.entry(seen.namespace.clone()).or_default().beside(&item),
            Err(error) => {
                seen.problem = Some(error.to_string());
                break;
            }
        }
    }
    if seen.problem.is_none() && seen.namespace.is_empty() {
        seen.problem = Some(NO_NAMESPACE.to_owned());
    }
    namespaces.entry(seen.namespace.clone()).or_default();
    if input.file.is_none() {
        seen.bytes = reader.offset();
    }
    Ok(seen)
}

/// The name of a bin that a record has more than once.
fn twice(record: &Record) -> Option<String> {
    let mut names: Vec<&[u8]> = record.bins().map(|bin| bin.name).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].escape_ascii().to_string())
}

impl Counts {
    fn record(&mut self, record: &Record) {
        self.records += 1;
        self.with_key += u64::from(record.user_key().is_some());
        if record.void_time != 0 {
            self.expiring += 1;
            self.latest_expiry = self.latest_expiry.max(expiry_of(record.void_time).as_millis());
        }
        let set = shown(record.set());
        if self.sets.len() < MAX_SETS || self.sets.contains_key(&set) {
            *self.sets.entry(set).or_default() += 1;
        }
        let mut any = false;
        for bin in record.bins() {
            any = true;
            *self.bins.entry(type_name(bin.particle)).or_default() += 1;
        }
        self.without_bins += u64::from(!any);
        for line in &record.unknown {
            self.unknown(line);
        }
    }

    fn beside(&mut self, item: &Item) {
        match item {
            Item::Index(index) => self.indexes.push(index_in_words(index)),
            Item::Module(module) => {
                self.modules.push(format!("{} ({} bytes)", shown(&module.name), module.content.len()));
            }
            Item::Unknown(line) => self.unknown(line),
            Item::Record => {}
        }
    }

    fn unknown(&mut self, line: &[u8]) {
        self.unknown_lines += 1;
        if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.push(line[..line.len().min(200)].trim_ascii_end().escape_ascii().to_string());
        }
    }
}

fn in_words(files: &[Seen], namespaces: &BTreeMap<String, Counts>, unfinished: &Unfinished) -> String {
    let mut text = String::new();
    for seen in files {
        let version = seen.version.map_or_else(|| "no ASB file".to_owned(), |version| format!("version {version}"));
        let mut about = vec![version];
        about.extend((!seen.namespace.is_empty()).then(|| format!("namespace {}", seen.namespace)));
        about.extend(seen.first_file.then(|| "first file".to_owned()));
        about.extend(seen.layers.is_compressed.then(|| "zstd".to_owned()));
        about.extend(seen.layers.is_encrypted.then(|| "encrypted".to_owned()));
        about.push(format!("{} records, {} bytes", seen.records, seen.bytes));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {}", seen.name, about.join(", "));
        for (name, line) in &seen.others {
            let _ = writeln!(text, "  holds records of namespace {name} too, the first at line {line}");
        }
        if let Some(problem) = &seen.problem {
            let _ = writeln!(text, "  WRONG: {problem}");
        }
    }
    for words in &unfinished.surely {
        let _ = writeln!(text, "WRONG: {words}");
    }
    for words in &unfinished.perhaps {
        let _ = writeln!(text, "note: {words}");
    }
    for (name, counts) in namespaces.iter().filter(|(name, _)| !name.is_empty()) {
        let _ = writeln!(
            text,
            "namespace {name}: {} records, {} with a user key, {} that expire, {} without bins",
            counts.records, counts.with_key, counts.expiring, counts.without_bins
        );
        for (set, count) in &counts.sets {
            let _ = writeln!(text, "  set {}: {count}", if set.is_empty() { "(none)" } else { set });
        }
        for (kind, count) in &counts.bins {
            let _ = writeln!(text, "  bins of type {kind}: {count}");
        }
        for index in &counts.indexes {
            let _ = writeln!(text, "  index {index}");
        }
        for module in &counts.modules {
            let _ = writeln!(text, "  UDF module {module}");
        }
        for line in &counts.unknown {
            let _ = writeln!(text, "  of no known kind: {line}");
        }
    }
    text
}

fn document(sound: bool, files: &[Seen], namespaces: &BTreeMap<String, Counts>, missing: &[String]) -> Json {
    let file = |seen: &Seen| {
        json!({
            "file": seen.name,
            "version": seen.version.map(Version::text),
            "namespace": seen.namespace,
            "first_file": seen.first_file,
            "compressed": seen.layers.is_compressed,
            "encrypted": seen.layers.is_encrypted,
            "records": seen.records,
            "bytes": seen.bytes,
            "other_namespaces": seen.others.keys().collect::<Vec<_>>(),
            "problem": seen.problem,
        })
    };
    let namespace = |(name, counts): (&String, &Counts)| {
        json!({
            "name": name,
            "records": counts.records,
            "with_user_key": counts.with_key,
            "expiring": counts.expiring,
            "latest_expiry": (counts.latest_expiry > 0).then_some(counts.latest_expiry),
            "without_bins": counts.without_bins,
            "sets": counts.sets,
            "bins": counts.bins,
            "indexes": counts.indexes,
            "modules": counts.modules,
            "unknown_lines": counts.unknown_lines,
            "unknown": counts.unknown,
        })
    };
    json!({
        "sound": sound,
        "files": files.iter().map(file).collect::<Vec<_>>(),
        "namespaces": namespaces.iter().map(namespace).collect::<Vec<_>>(),
        "missing": missing,
    })
}
