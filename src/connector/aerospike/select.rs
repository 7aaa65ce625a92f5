//! Which part of a namespace is asked for: filter expressions and partitions.

use super::{error::Error, options::AerospikeOptions};
use crate::{
    record::{Digest, KeyRange, Timestamp, digest::PARTITIONS},
    repo::manifest::Asked,
    report::Remedy,
};
use serde_json::json;

/// Operations of filter expressions, and those of their arguments that are operations.
mod op {
    pub(super) const EQUAL: u8 = 1;
    pub(super) const AT_LEAST: u8 = 4;
    pub(super) const BELOW: u8 = 5;
    pub(super) const AND: u8 = 16;
    pub(super) const OR: u8 = 17;
    pub(super) const LAST_UPDATE: u8 = 66;
    pub(super) const SINCE_UPDATE: u8 = 67;
    pub(super) const TTL: u8 = 69;
    pub(super) const SET_NAME: u8 = 70;
}

/// A call without arguments.
const fn call(code: u8) -> [u8; 2] {
    [0x91, code]
}

fn put_code(out: &mut Vec<u8>, code: u8) {
    out.push(code);
}

fn compare(code: u8, left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut out = vec![0x93];
    put_code(&mut out, code);
    out.extend_from_slice(left);
    out.extend_from_slice(right);
    out
}

fn integer(value: i64) -> Vec<u8> {
    match value {
        0..=127 => vec![value as u8],
        -32..=-1 => vec![value as i8 as u8],
        _ if value >= 0 => [&[0xcf][..], &(value as u64).to_be_bytes()].concat(),
        _ => [&[0xd3][..], &value.to_be_bytes()].concat(),
    }
}

/// A string literal: its particle type belongs to it.
fn string(value: &[u8]) -> Vec<u8> {
    let len = value.len() + 1;
    let mut out = match len {
        0..=31 => vec![0xa0 | len as u8],
        32..=255 => vec![0xd9, len as u8],
        _ => [&[0xda][..], &(len.min(65_535) as u16).to_be_bytes()].concat(),
    };
    out.push(3);
    out.extend_from_slice(value);
    out
}

fn nanos(time: Timestamp) -> Vec<u8> {
    integer(time.as_millis().saturating_mul(1_000_000))
}

fn join(code: u8, mut parts: Vec<Vec<u8>>) -> Option<Vec<u8>> {
    if parts.len() < 2 {
        return parts.pop();
    }
    let count = parts.len() + 1;
    let mut out =
        if count < 16 { vec![0x90 | count as u8] } else { [&[0xdc][..], &(count as u16).to_be_bytes()].concat() };
    put_code(&mut out, code);
    out.extend(parts.into_iter().flatten());
    Some(out)
}

/// The expression that gives a record's last update, in nanoseconds of Unix time.
pub(super) const LAST_UPDATE: [u8; 2] = call(op::LAST_UPDATE);

/// The expression that gives the milliseconds since.
pub(super) const SINCE_UPDATE: [u8; 2] = call(op::SINCE_UPDATE);

/// The filter that lets only records pass that were last updated before this.
pub(super) fn updated_before(time: Timestamp) -> Vec<u8> {
    compare(op::BELOW, &call(op::LAST_UPDATE), &nanos(time))
}

/// The filter that lets only records pass that were last updated then or later.
pub(super) fn updated_since(time: Timestamp) -> Vec<u8> {
    compare(op::AT_LEAST, &call(op::LAST_UPDATE), &nanos(time))
}

/// What of each namespace is asked for.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    /// The one set, where there is just one: servers may have an index for it.
    pub(super) set: Option<Vec<u8>>,
    filters: Vec<Vec<u8>>,
    pub(super) bins: Vec<Vec<u8>>,
    /// Sorted and disjoint; everything if it is one open range.
    pub(super) ranges: Vec<KeyRange>,
    /// Partitions that they touch.
    pub(super) partitions: u16,
    pub(super) canonical: String,
    pub(super) note: String,
    pub(super) asked: Asked,
}

impl Selection {
    /// Every record of a namespace.
    pub(super) fn everything() -> Self {
        Self {
            set: None,
            filters: Vec::new(),
            bins: Vec::new(),
            ranges: vec![KeyRange::all()],
            partitions: PARTITIONS,
            canonical: String::new(),
            note: String::new(),
            asked: Asked::default(),
        }
    }

    pub(super) fn new(namespace: Option<&str>, options: &AerospikeOptions) -> Result<Self, Error> {
        let mut filters = Vec::new();
        let mut set = None;
        match options.sets.as_slice() {
            [] => {}
            [one] if !one.is_empty() => set = Some(one.as_bytes().to_vec()),
            many => {
                if many.len() > 4095 {
                    return Err(Error::Usage("no namespace has more than 4095 sets".to_owned()));
                }
                let names =
                    many.iter().map(|name| compare(op::EQUAL, &call(op::SET_NAME), &string(name.as_bytes()))).collect();
                filters.extend(join(op::OR, names));
            }
        }
        if let Some(time) = options.modified_after {
            filters.push(updated_since(time));
        }
        if let Some(time) = options.modified_before {
            filters.push(updated_before(time));
        }
        if options.no_ttl_only {
            filters.push(compare(op::EQUAL, &call(op::TTL), &integer(-1)));
        }
        filters.extend(options.filter.clone());
        if let Some(long) = options.bins.iter().find(|bin| bin.is_empty() || bin.len() > 15) {
            return Err(Error::Usage(format!("`{long}` is no name of a bin: those have 1 to 15 bytes")));
        }
        let ranges = match &options.partitions {
            _ if options.no_records => Vec::new(),
            None => vec![KeyRange::all()],
            Some(text) => parse_partitions(text)?,
        };
        if [options.partitions.is_some(), !options.nodes.is_empty(), !options.racks.is_empty()]
            .iter()
            .filter(|it| **it)
            .count()
            > 1
        {
            return Err(Error::Usage(
                "partitions, nodes and racks are three ways to say the same: give one".to_owned(),
            ));
        }
        let (canonical, note, asked) = describe(namespace, options);
        let bins = options.bins.iter().map(|bin| bin.as_bytes().to_vec()).collect();
        let partitions = count_partitions(&ranges);
        Ok(Self { set, filters, bins, ranges, partitions, canonical, note, asked })
    }

    /// Whether not all records of a namespace are asked for, or not whole.
    pub(super) fn narrows(&self) -> bool {
        self.set.is_some() || !self.filters.is_empty() || !self.bins.is_empty() || self.ranges != [KeyRange::all()]
    }

    /// The same of these ranges alone.
    pub(super) fn of_ranges(&self, ranges: Vec<KeyRange>) -> Self {
        Self { partitions: count_partitions(&ranges), ranges, ..self.clone() }
    }

    /// The part of so many records, or bytes, that lies in its partitions.
    pub(super) fn share(&self, whole: u64) -> u64 {
        (u128::from(whole) * u128::from(self.partitions) / u128::from(PARTITIONS)) as u64
    }

    /// The filter of a query, which may demand one thing more.
    pub(super) fn filter(&self, more: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let mut filters = self.filters.clone();
        filters.extend(more);
        join(op::AND, filters)
    }
}

/// How many partitions these ranges touch.
fn count_partitions(ranges: &[KeyRange]) -> u16 {
    let pid = |key: &[u8]| key.first_chunk().map_or(0, |pid| u16::from_be_bytes(*pid));
    let count = |range: &KeyRange| {
        let end = range.end.as_deref().map_or(PARTITIONS, |end| pid(end) + u16::from(end.len() > 2));
        end.saturating_sub(pid(&range.start))
    };
    ranges.iter().map(count).fold(0, u16::saturating_add).min(PARTITIONS)
}

/// The scope as canonical text, in words, and as data.
fn describe(namespace: Option<&str>, options: &AerospikeOptions) -> (String, String, Asked) {
    let mut parts = serde_json::Map::new();
    let mut words = Vec::new();
    let mut say = |key: &str, value: serde_json::Value, text: String| {
        parts.insert(key.to_owned(), value);
        words.push(text);
    };
    if let Some(namespace) = namespace {
        say("namespace", json!(namespace), format!("namespace {namespace}"));
    }
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        names
    };
    if !options.sets.is_empty() {
        let sets = sorted(&options.sets);
        let shown: Vec<&str> = sets.iter().map(|set| if set.is_empty() { "''" } else { set.as_str() }).collect();
        say("sets", json!(sets), format!("sets {}", shown.join(", ")));
    }
    if !options.bins.is_empty() {
        let bins = sorted(&options.bins);
        say("bins", json!(bins), format!("bins {}", bins.join(", ")));
    }
    for (wanted, key) in
        [(options.no_records, "no-records"), (options.no_indexes, "no-indexes"), (options.no_udfs, "no-udfs")]
    {
        if wanted {
            say(key, json!(true), key.replace('-', " "));
        }
    }
    if let Some(time) = options.modified_after {
        say("modified-after", json!(time.as_millis()), format!("modified at or after {time}"));
    }
    if let Some(time) = options.modified_before {
        say("modified-before", json!(time.as_millis()), format!("modified before {time}"));
    }
    if options.no_ttl_only {
        say("no-ttl-only", json!(true), "records that never expire".to_owned());
    }
    if let Some(filter) = &options.filter {
        let text = data_encoding::BASE64.encode(filter);
        say("filter", json!(text), format!("filter expression {text}"));
    }
    if let Some(partitions) = &options.partitions {
        // Scopes of before are written with a dash alone.
        say("partitions", json!(partitions.replace("..=", "-")), format!("partitions {partitions}"));
    }
    if !options.nodes.is_empty() {
        let nodes = sorted(&options.nodes);
        say("nodes", json!(nodes), format!("what nodes {} master", nodes.join(", ")));
    }
    if !options.racks.is_empty() {
        let racks = sorted(&options.racks.iter().map(u32::to_string).collect::<Vec<_>>());
        say("racks", json!(racks), format!("what is mastered in racks {}", racks.join(", ")));
    }
    if options.max_records > 0 {
        say("max-records", json!(options.max_records), format!("about {} records", options.max_records));
    }
    if parts.is_empty() {
        return (String::new(), String::new(), Asked::default());
    }
    let asked = asked(&parts);
    (serde_json::Value::Object(parts).to_string(), words.join("; "), asked)
}

/// Each part narrows what is asked for: lists to their members, all others to just that.
fn asked(parts: &serde_json::Map<String, serde_json::Value>) -> Asked {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let names = |value: &serde_json::Value| match value {
        serde_json::Value::Array(names) => names.iter().map(text).collect(),
        one => vec![text(one)],
    };
    Asked { only: parts.iter().map(|(facet, value)| (facet.clone(), names(value))).collect(), ..Asked::default() }
}

/// The keys of partitions `first` to `last`, both included.
pub(super) fn partition_range(first: u16, last: u16) -> KeyRange {
    let end = last + 1;
    KeyRange {
        start: if first == 0 { Vec::new() } else { first.to_be_bytes().to_vec() },
        end: (end < PARTITIONS).then(|| end.to_be_bytes().to_vec()),
    }
}

/// Partitions as a scope has them in its name (`0-99,200`), as options have them.
pub(super) fn of_scope(text: &str) -> String {
    text.replace('-', "..=")
}

/// Reads `0..=99,200,DIGEST,after:DIGEST` into sorted, disjoint ranges: a digest stands for what follows it in its
/// partition, `after:` for that and all partitions behind. `0-99` is refused: asbackup takes the second number for a count.
fn parse_partitions(text: &str) -> Result<Vec<KeyRange>, Error> {
    let ranges = text.split(',').map(|part| one_range(text, part.trim())).collect::<Result<Vec<_>, _>>()?;
    Ok(merged(ranges))
}

fn one_range(text: &str, part: &str) -> Result<KeyRange, Error> {
    let wrong = || Error::Usage(format!("`{text}` are no partitions")).with(Remedy::SpellPartitions);
    let number = |text: &str| text.parse::<u16>().ok().filter(|pid| *pid < PARTITIONS);
    if let Some(pid) = number(part) {
        return Ok(partition_range(pid, pid));
    }
    if let Some((first, last)) = part.split_once("..=") {
        let ends = number(first).zip(number(last)).filter(|(first, last)| first <= last);
        return ends.map(|(first, last)| partition_range(first, last)).ok_or_else(wrong);
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((first, second)) = part.split_once('-').filter(|(a, b)| is_number(a) && is_number(b)) {
        let last =
            first.parse::<u64>().unwrap_or(0).saturating_add(second.parse::<u64>().unwrap_or(0)).saturating_sub(1);
        return Err(Error::Usage(format!(
            "`{part}` may be meant in two ways: write {first}..={second} for the partitions {first} to {second}, \
             {first}..={last} for {second} partitions from {first} on (what asbackup means by it)"
        )));
    }
    let digest = Digest::parse(part.strip_prefix("after:").unwrap_or(part)).ok_or_else(wrong)?;
    let pid = digest.partition();
    let last = if part.starts_with("after:") { PARTITIONS - 1 } else { pid };
    let mut start = digest.sort_key().to_vec();
    start.push(0);
    Ok(KeyRange { start, end: partition_range(pid, last).end })
}

/// These partitions as ranges.
pub(super) fn ranges_of(pids: impl IntoIterator<Item = u16>) -> Vec<KeyRange> {
    merged(pids.into_iter().map(|pid| partition_range(pid, pid)).collect())
}

fn merged(mut ranges: Vec<KeyRange>) -> Vec<KeyRange> {
    ranges.sort_by(|a, b| a.start.cmp(&b.start));
    let mut merged: Vec<KeyRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end.as_ref().is_none_or(|end| *end >= range.start) => {
                if last.end.is_some() && (range.end.is_none() || range.end > last.end) {
                    last.end = range.end;
                }
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn selection(options: &AerospikeOptions) -> Selection {
        Selection::new(None, options).unwrap()
    }

    #[test]
    fn filters_are_the_bytes_that_clients_send() {
        let options = AerospikeOptions { no_ttl_only: true, ..AerospikeOptions::default() };
        let filter =
            selection(&options).filter(Some(updated_since(Timestamp::from_millis(1_700_000_000_000)))).unwrap();
        assert_eq!(HEXLOWER.encode(&filter), "931093019145ff93049142cf17979cfe362a0000");
        assert_eq!(selection(&AerospikeOptions::default()).filter(None), None);
        let sets = vec!["a".to_owned(), String::new()];
        let filter = selection(&AerospikeOptions { sets, ..AerospikeOptions::default() }).filter(None).unwrap();
        assert_eq!(HEXLOWER.encode(&filter), "931193019146a203619301 9146a103".replace(' ', ""));
    }

    #[test]
    fn one_set_is_a_field_and_scopes_do_not_depend_on_order() {
        let of = |sets: &[&str]| {
            let sets = sets.iter().map(|set| (*set).to_owned()).collect();
            selection(&AerospikeOptions { sets, ..AerospikeOptions::default() })
        };
        assert_eq!(of(&["demo"]).set.as_deref(), Some(b"demo".as_slice()));
        assert_eq!(of(&["a", "b"]).canonical, of(&["b", "a"]).canonical);
        assert_eq!(of(&[]).canonical, "");
        assert_eq!(of(&[""]).note, "sets ''");
    }

    #[test]
    fn partitions_become_sorted_disjoint_ranges() {
        let ranges = |text: &str| parse_partitions(text).unwrap();
        assert_eq!(ranges("0..=4095"), [KeyRange::all()]);
        assert_eq!(ranges("5,3..=4"), [partition_range(3, 5)]);
        assert_eq!(ranges_of([7, 5, 6, 9]), [partition_range(5, 7), partition_range(9, 9)]);
        assert_eq!(ranges("1,3").len(), 2);
        assert_eq!((count_partitions(&ranges("1,3..=5")), count_partitions(&ranges("0..=4095"))), (4, 4096));
        let hex = "b7f4b83889e2da67de683e1df6919a1eacc446c8";
        let after = ranges(&format!("after:{hex},0"));
        assert_eq!((after.len(), &after[1].end), (2, &None));
        assert_eq!((count_partitions(&after), count_partitions(&ranges(hex))), (1 + 4096 - 1207, 1));
        assert_eq!(ranges(hex)[0].end, Some(1208u16.to_be_bytes().to_vec()));
        for bad in ["", "4096", "3..=2", "0..99", "x", "1,,2", "1..=", "..=1"] {
            assert!(parse_partitions(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_mean_two_things_is_refused_with_both() {
        let error = parse_partitions("7,100-50").unwrap_err().to_string();
        assert!(error.contains("100..=50 for") && error.contains("100..=149 for"), "{error}");
        let of = |text: &str| {
            let options = AerospikeOptions { partitions: Some(text.to_owned()), ..AerospikeOptions::default() };
            Selection::new(None, &options).map(|selection| selection.canonical)
        };
        assert_eq!(of("0..=99,200").unwrap(), r#"{"partitions":"0-99,200"}"#, "as scopes are written since ever");
        assert!(of("0-99").is_err());
    }
}
