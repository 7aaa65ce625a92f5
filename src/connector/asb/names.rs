//! The names of backup files, the order in which a person counts them, and which of a run's numbers no file has.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// What files of this kind end in.
pub const SUFFIX: &str = ".asb";
/// What the names of files begin with that hold indexes and modules only.
pub const METADATA_PREFIX: &str = "metadata_";

/// The order of files: those of indexes and modules first, then as a person counts them; what was written when a run was gone on
/// with follows the others.
pub fn in_order(one: &str, other: &str) -> Ordering {
    let is_metadata = |name: &str| name.starts_with(METADATA_PREFIX);
    is_metadata(other)
        .cmp(&is_metadata(one))
        .then_with(|| resumption(one).cmp(&resumption(other)))
        .then_with(|| by_number(one, other))
}

/// How often its run had been gone on with when a file was begun: 2 of `0_test_12(2).asb`.
pub fn resumption(name: &str) -> u32 {
    let number = |name: &str| name.strip_suffix(SUFFIX)?.strip_suffix(')')?.rsplit_once('(')?.1.parse().ok();
    number(name).unwrap_or(0)
}

/// Names in the order of the numbers in them.
fn by_number(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one, other);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (of_a, of_b) = (digits(a), digits(b));
        let order = if of_a > 0 && of_b > 0 {
            let (number_a, number_b) = (a[..of_a].trim_start_matches('0'), b[..of_b].trim_start_matches('0'));
            (a, b) = (&a[of_a..], &b[of_b..]);
            number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b))
        } else {
            match (a.chars().next(), b.chars().next()) {
                (Some(first), Some(second)) => {
                    (a, b) = (&a[first.len_utf8()..], &b[second.len_utf8()..]);
                    first.cmp(&second)
                }
                _ => return a.len().cmp(&b.len()).then_with(|| one.cmp(other)),
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// A file that was listed in a folder, by its name and by what its head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which of the places it lies in.
    pub place: usize,
    /// Where it is, as a person knows it.
    pub shown: String,
    /// Its name, without its folder.
    pub name: String,
    /// Its namespace.
    pub namespace: Vec<u8>,
    /// Whether it says that it is the first of its backup.
    pub is_first: bool,
}

impl Listed {
    fn is_metadata(&self) -> bool {
        self.name.starts_with(METADATA_PREFIX)
    }

    /// `0_test_12(1).asb`: what stands before its number, the number's digits, and what stands behind it.
    fn parts(&self) -> Option<(&str, &str, &str)> {
        let name = self.name.strip_suffix(SUFFIX)?;
        // The second and later runs of one that was resumed.
        let end = name.rfind('(').filter(|_| name.ends_with(')')).unwrap_or(name.len());
        let (numbered, again) = name.split_at(end);
        let digits = numbered.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (stem, number) = numbered.split_at(numbered.len() - digits);
        (digits > 0 && digits < 10 && stem.ends_with('_')).then_some((stem, number, again))
    }
}

/// How a run numbers its files: in five digits from 0, or from 1 by one counter for all that write, which stand before the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Numbering {
    Padded,
    Counted,
}

/// Files that are counted together: their numbering, and what stands around their numbers.
type Group<'a> = (Numbering, &'a str, &'a str);

/// What of one run's numbers is there.
#[derive(Debug, Default)]
struct Numbers<'a> {
    /// By place.
    found: BTreeMap<usize, BTreeSet<u64>>,
    files: Vec<&'a Listed>,
}

/// What is not among files of folders, in words: numbers of a run between others, and, if `all` is to be known, the first of
/// its files. The tools number without gaps.
pub fn gaps(listed: &[Listed], all: bool) -> Vec<String> {
    let mut lines = Vec::new();
    // The files of one run may lie in several folders; where each has a first file, each is a run of its own.
    let places: BTreeSet<usize> = listed.iter().map(|file| file.place).collect();
    let is_apart = places.iter().all(|place| listed.iter().any(|file| file.place == *place && file.is_first));
    let groups = groups(listed);
    for ((numbering, stem, again), numbers) in &groups {
        // What a run was writing when it broke off may have been left nowhere.
        let is_gone_on_with = |other: &Group<'_>| {
            (other.0, other.1) == (*numbering, *stem)
                && resumption(&format!("{}{SUFFIX}", other.2)) > resumption(&format!("{again}{SUFFIX}"))
        };
        if groups.keys().any(is_gone_on_with) {
            continue;
        }
        // One that a person named: its digits may be those of a date.
        let is_alone = numbers.files.len() == 1 && numbers.files[0].is_first;
        if is_alone && !listed.iter().any(Listed::is_metadata) {
            continue;
        }
        let namespaces: BTreeSet<&[u8]> = numbers.files.iter().map(|file| file.namespace.as_slice()).collect();
        let beside = |place: usize| -> BTreeSet<u64> {
            let of_it = |file: &&Listed| {
                file.is_metadata()
                    && (!is_apart || file.place == place)
                    && namespaces.contains(file.namespace.as_slice())
            };
            let number = |file: &Listed| file.parts().filter(|(.., end)| end == again)?.1.parse().ok();
            listed.iter().filter(of_it).filter_map(number).collect()
        };
        // The counter goes on to the file of indexes, if it is known to be that of these files.
        let others = groups.iter().filter(|(other, numbers)| {
            other.0 == Numbering::Counted
                && numbers.files.iter().any(|file| namespaces.contains(file.namespace.as_slice()))
        });
        let counts_metadata = *numbering == Numbering::Counted && others.count() == 1;
        let joined: BTreeSet<u64> = numbers.found.values().flatten().copied().collect();
        let runs: Vec<(usize, &BTreeSet<u64>)> = if is_apart {
            numbers.found.iter().map(|(place, found)| (*place, found)).collect()
        } else {
            numbers.found.keys().next().map(|place| (*place, &joined)).into_iter().collect()
        };
        for (place, found) in runs {
            let beside = beside(place);
            let last = found.last().max(beside.last().filter(|_| counts_metadata)).copied().unwrap_or_default();
            let first = u64::from(*numbering == Numbering::Counted);
            let there: BTreeSet<u64> =
                found.union(&beside).copied().filter(|number| (first..=last).contains(number)).collect();
            let missing = between(&there, first, last);
            if !missing.is_empty() {
                let example = numbers.files.iter().find(|file| !is_apart || file.place == place);
                lines.push(format!(
                    "of the files {stem}N{again}{SUFFIX}{} those with the numbers {} are not there: what they held is missing",
                    example.map_or_else(String::new, |file| format!(" ({}, …)", file.shown)),
                    in_words(&missing)
                ));
            }
        }
    }
    if all {
        let namespaces: BTreeSet<&[u8]> = listed.iter().map(|file| file.namespace.as_slice()).collect();
        for namespace in namespaces.into_iter().filter(|namespace| !namespace.is_empty()) {
            let is_headless = |file: &Listed| file.namespace == namespace && (file.is_first || file.is_metadata());
            if !listed.iter().any(is_headless) {
                lines.push(format!(
                    "no file of namespace `{}` says that it is the first of its backup, and none is named {METADATA_PREFIX}…: \
                     one is missing, with records, indexes or modules",
                    namespace.escape_ascii()
                ));
            }
        }
    }
    lines
}

/// The files of records by what they are counted by.
fn groups(listed: &[Listed]) -> BTreeMap<Group<'_>, Numbers<'_>> {
    let of_records = || listed.iter().filter(|file| !file.is_metadata()).filter_map(|file| Some((file, file.parts()?)));
    let is_padded = |digits: &str| digits.len() == 5 && digits.starts_with('0');
    let padded: BTreeSet<(&str, &str)> =
        of_records().filter(|(_, parts)| is_padded(parts.1)).map(|(_, parts)| (parts.0, parts.2)).collect();
    let mut groups: BTreeMap<Group<'_>, Numbers<'_>> = BTreeMap::new();
    for (file, (stem, digits, again)) in of_records() {
        let is_short = !digits.starts_with('0');
        let group = if padded.contains(&(stem, again)) {
            if !(is_padded(digits) || is_short && digits.len() >= 5) {
                continue;
            }
            (Numbering::Padded, stem, again)
        } else if let Some(stem) = counted_stem(stem, &file.namespace).filter(|_| is_short) {
            (Numbering::Counted, stem, again)
        } else {
            continue;
        };
        let Ok(number) = digits.parse() else { continue };
        let numbers = groups.entry(group).or_default();
        numbers.found.entry(file.place).or_default().insert(number);
        numbers.files.push(file);
    }
    groups
}

/// `test_` of `3_test_`: the name without that of who wrote it. Nothing that does not end in the namespace is counted.
fn counted_stem<'a>(stem: &'a str, namespace: &[u8]) -> Option<&'a str> {
    let is_of_it = |stem: &str| {
        stem.strip_suffix('_').is_some_and(|stem| !namespace.is_empty() && stem.as_bytes().ends_with(namespace))
    };
    if !is_of_it(stem) {
        return None;
    }
    let digits = stem.bytes().take_while(u8::is_ascii_digit).count();
    let without = stem[digits..].strip_prefix('_').filter(|without| digits > 0 && is_of_it(without));
    Some(without.unwrap_or(stem))
}

/// The numbers from `first` to `last` that are not among these, as ranges.
fn between(there: &BTreeSet<u64>, first: u64, last: u64) -> Vec<(u64, u64)> {
    let mut missing = Vec::new();
    let mut next = first;
    for number in there {
        if *number > next {
            missing.push((next, number - 1));
        }
        next = number + 1;
    }
    if next <= last {
        missing.push((next, last));
    }
    missing
}

fn in_words(ranges: &[(u64, u64)]) -> String {
    const SHOWN: usize = 20;
    let mut text = String::new();
    for (index, (from, to)) in ranges.iter().take(SHOWN).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Writing to a string does not fail.
        let _ = if from == to { write!(text, "{comma}{from}") } else { write!(text, "{comma}{from}–{to}") };
    }
    if ranges.len() > SHOWN {
        let more: u64 = ranges[SHOWN..].iter().map(|(from, to)| to - from + 1).sum();
        let _ = write!(text, " and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of namespace `test`: `PLACE/NAME`, with a `!` before one that says that it is the first.
    fn missing(names: &[&str]) -> Vec<String> {
        let listed = |name: &&str| {
            let (is_first, name) = name.strip_prefix('!').map_or((false, *name), |name| (true, name));
            let (place, name) = name.split_once('/').unwrap_or(("0", name));
            let name = format!("{name}.asb");
            Listed { place: place.parse().unwrap(), shown: name.clone(), name, namespace: b"test".to_vec(), is_first }
        };
        let listed: Vec<Listed> = names.iter().map(listed).collect();
        let lines = gaps(&listed, true);
        let number =
            |line: &String| line.split("numbers ").nth(1).and_then(|rest| rest.split(" are").next()).map(str::to_owned);
        lines.iter().map(|line| number(line).unwrap_or_else(|| "first".to_owned())).collect()
    }

    #[test]
    fn numbers_without_files_are_named() {
        assert_eq!(missing(&["!test_00000", "test_00002"]), ["1"]);
        assert_eq!(missing(&["test_00001"]), ["0", "first"]);
        assert_eq!(missing(&["test_00001", "metadata_test_00000"]), [""; 0]);
        assert_eq!(missing(&["!p_00000", "p_00001", "p_00005", "p_00009"]), ["2–4, 6–8"]);
        assert_eq!(missing(&["!BB9_00000", "BB9_00001", "AA1_00001"]), ["0"]);
        assert_eq!(missing(&["!0_test_1", "1_test_2", "0_test_4"]), ["3"]);
        assert_eq!(missing(&["!0_test_1", "1_test_2", "metadata_test_4"]), ["3"]);
        assert_eq!(missing(&["!0_test_1", "1_test_2", "!0_test_1(1)", "1_test_3(1)"]), ["2"]);
        assert_eq!(missing(&["0_test_2", "1_test_3", "metadata_test_4"]), ["1"]);
        assert_eq!(missing(&["0_test_2", "1_test_3", "metadata_test_1"]), [""; 0]);
        assert_eq!(missing(&["!0/test_00000", "0/test_00002", "!1/test_00000", "1/test_00001"]), ["1"]);
    }

    #[test]
    fn what_is_whole_or_named_by_a_person_has_no_gap() {
        for names in [
            &["!test_00000", "test_00001", "test_00002"][..],
            // Many that write have one counter.
            &["!0_test_1", "7_test_2", "3_test_3", "0_test_4", "12_test_5", "metadata_test_6"],
            // Several runs in one folder, by parts of the cluster.
            &["!a_test_1", "a_test_2", "b_test_1", "b_test_2", "b_test_3", "metadata_test_3"],
            &["!n1_00000", "n1_00001", "n2_00000", "n2_00001", "n2_00002"],
            // One that was resumed.
            &["!0_test_1", "1_test_3", "!0_test_1(1)", "1_test_2(1)", "metadata_test_3(1)"],
            // One run in several folders.
            &["!0/test_00000", "0/test_00002", "1/test_00001", "1/test_00003"],
            &["!test_20241201"],
            &["!test_00007"],
            &["!monday", "tuesday", "backup-2024-12-01", "x_12", "00012", "test_1234567890123"],
            &["!test_99998", "test_00000x"],
            &["metadata_test_7"],
        ] {
            assert_eq!(missing(names), Vec::<String>::new(), "{names:?}");
        }
        let five: Vec<String> = (0..100_003).map(|number| format!("!test_{number:05}")).collect();
        assert_eq!(missing(&five.iter().map(String::as_str).collect::<Vec<_>>()), Vec::<String>::new());
    }
}
