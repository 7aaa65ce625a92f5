//! Reports of drills: what says that a snapshot was restored from here, and what came of it. A chain for each source, signed by
//! whoever may forget and prune (`format-spec/protocol.md`, section 13).

use super::{
    RepoError, Repository, SnapshotId,
    chains::{Broken, Chains},
    inner::{Inner, create::json},
    keys::{Capability, Secrets, Signer, crypto},
    manifest::SourceId,
    object::{self, ObjectKind},
    storage::Created,
};
use crate::record::Timestamp;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// How often a race for the next number is run again.
const MAX_RACES: usize = 100;

/// Collections that a report names.
pub const MAX_COLLECTIONS: usize = 1000;

/// The name of a report: the series of its source, and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrillName {
    /// What all reports of a source have in common.
    pub series: [u8; 16],
    /// From 0 on.
    pub number: u64,
}

impl DrillName {
    fn path(self) -> String {
        format!("drills/{self}")
    }

    /// By the name of an object.
    fn of_path(path: &str) -> Option<Self> {
        path.strip_prefix("drills/")?.parse().ok()
    }
}

impl fmt::Display for DrillName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", HEXLOWER.encode(&self.series), self.number)
    }
}

impl FromStr for DrillName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no report's name: 32 hexadecimal digits, `/`, a number");
        let (series, number) = text.split_once('/').ok_or_else(wrong)?;
        let series = HEXLOWER.decode(series.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        let parsed: u64 = number.parse().map_err(|_| wrong())?;
        if parsed.to_string() != number || i64::try_from(parsed).is_err() {
            return Err(wrong());
        }
        Ok(Self { series: series.ok_or_else(wrong)?, number: parsed })
    }
}

impl Serialize for DrillName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Which records were meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The share of 2^64 that hashes of keys may take.
    pub share: u64,
    /// What keys are hashed with.
    #[serde(with = "hex_seed")]
    pub seed: [u8; 32],
}

impl Sample {
    /// Whether a record is meant.
    #[must_use]
    pub fn means(&self, key: &[u8]) -> bool {
        self.place(key) <= self.share
    }

    /// Where a record lies among all: the shares that mean it begin there.
    #[must_use]
    pub fn place(&self, key: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.seed, key);
        hash.as_bytes().first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

mod hex_seed {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(seed: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&HEXLOWER.encode_display(seed))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map_err(|_| D::Error::custom("a seed has 32 bytes"))
    }
}

/// What was to be held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goals {
    /// How old the snapshot may be, in milliseconds.
    pub rpo_millis: Option<u64>,
    /// How long the restore may take, in milliseconds.
    pub rto_millis: Option<u64>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `restore`, `compare`, `assertion: …`, `rpo`, `rto`.
    pub name: String,
    /// Whether it was as it should be.
    pub passed: bool,
    /// What was found.
    pub words: String,
    /// How long it took.
    pub millis: u64,
}

/// A collection of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrilledCollection {
    /// Its name.
    pub name: String,
    /// Its records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillReport {
    /// Whose records.
    pub source: SourceId,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Its end.
    pub snapshot_end: Timestamp,
    /// The hash of what of the source was asked for.
    pub scope: String,
    /// The snapshot's tags, which say whose it is.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The hash at the end of the report before it.
    pub previous: Option<String>,
    /// The hash of the place that it was restored from.
    pub location: String,
    /// The same for people.
    pub place: String,
    /// Where the drill ran.
    pub host: String,
    /// What ran.
    pub program: Program,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Where it restored to.
    pub target: String,
    /// Which records; all of them without it.
    pub sample: Option<Sample>,
    /// From the snapshot's end to the start.
    pub rpo_millis: u64,
    /// From the start until everything stood in the target.
    pub rto_millis: Option<u64>,
    /// What was to be held.
    pub goals: Goals,
    /// Records restored.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records compared with the snapshot.
    pub compared: u64,
    /// Of those, records that were not equal.
    pub different: u64,
    /// The snapshot's collections.
    pub collections: Vec<DrilledCollection>,
    /// How many more there are.
    #[serde(default)]
    pub collections_left_out: u64,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// Whether all of it was as it should be.
    pub passed: bool,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A report as it lies there.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptDrill {
    /// Its name.
    pub name: DrillName,
    /// The hash at its end.
    pub hash: String,
    /// What it says.
    pub report: DrillReport,
}

impl KeptDrill {
    /// Takes its place in the chain of its source.
    pub(super) fn chain(&self, chains: &mut Chains) {
        let below = self.name.number.checked_sub(1).map(|number| DrillName { number, ..self.name }.path());
        chains.is_sound(&self.name.path(), self.hash.clone(), below.zip(self.report.previous.clone()));
    }
}

/// Reports, and what was met while they were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Drills {
    /// Those that pass the check, by series and number.
    pub kept: Vec<KeptDrill>,
    /// What is missing, damaged or does not follow, in words.
    pub problems: Vec<String>,
    /// Of those what is missing or does not follow, and nobody has settled.
    pub broken: Vec<Broken>,
}

/// What all reports of a source have in common.
fn series_of(secrets: &Secrets, source: &SourceId) -> [u8; 16] {
    let key = crypto::derive("rekeep 2026-11 v1 drills", &secrets.chunk_id);
    let mut hasher = blake3::Hasher::new_keyed(&key);
    for text in [&source.connector, &source.name] {
        hasher.update(&(text.len() as u32).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().as_bytes().first_chunk::<16>().copied().unwrap_or_default()
}

/// The hash that an object ends with.
fn hash_at_end(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes.last_chunk::<32>().map_or(&[][..], |hash| &hash[..]))
}

impl Inner {
    /// The numbers that are taken, by series.
    fn drill_numbers(&self, folder: &str) -> Result<BTreeMap<[u8; 16], BTreeSet<u64>>, RepoError> {
        let mut numbers: BTreeMap<[u8; 16], BTreeSet<u64>> = BTreeMap::new();
        for object in self.list_objects(folder)? {
            if let Some(name) = DrillName::of_path(&object.name) {
                numbers.entry(name.series).or_default().insert(name.number);
            }
        }
        Ok(numbers)
    }

    /// The lowest free number above all reports that pass their check: what anybody can put there does not end a series.
    fn next_drill(&self, series: [u8; 16], taken: &BTreeSet<u64>) -> Result<u64, RepoError> {
        let mut next = 0;
        for number in taken.iter().rev() {
            match self.read_drill(DrillName { series, number: *number }) {
                Ok(_) => {
                    next = number.saturating_add(1);
                    break;
                }
                Err(error) if is_of_one(&error) => {}
                Err(error) => return Err(error),
            }
        }
        while taken.contains(&next) {
            next = next.saturating_add(1);
        }
        Ok(next)
    }

    pub(super) fn read_drill(&self, name: DrillName) -> Result<KeptDrill, RepoError> {
        let path = name.path();
        let bytes = object::read(&self.storage, &path)?;
        self.kept_drill(name, &bytes)
    }

    /// A report as it lies there.
    pub(super) fn kept_drill(&self, name: DrillName, bytes: &[u8]) -> Result<KeptDrill, RepoError> {
        Ok(KeptDrill { name, hash: hash_at_end(bytes), report: self.open_drill(name, bytes)? })
    }

    /// What the bytes of a report say.
    fn open_drill(&self, name: DrillName, bytes: &[u8]) -> Result<DrillReport, RepoError> {
        let path = name.path();
        let body = object::open(&self.keyring, ObjectKind::Drill, &path, bytes)?;
        let report: DrillReport = serde_json::from_slice(&body).map_err(|error| RepoError::damaged(&*path, error))?;
        if series_of(&self.keyring.secrets, &report.source) != name.series {
            return Err(RepoError::damaged(path, "it is about another source than its name says"));
        }
        Ok(report)
    }
}

/// Whether an error is about one report, so that others may be read.
fn is_of_one(error: &RepoError) -> bool {
    error.is_bad_object()
        || matches!(error, RepoError::Missing { .. } | RepoError::UnknownFeature { .. } | RepoError::Epoch { .. })
}

impl Repository {
    /// The hash that stands for this repository's place in reports.
    #[must_use]
    pub fn place_hash(&self) -> String {
        blake3::hash(self.storage().location().as_bytes()).to_hex().to_string()
    }

    /// Keeps a report as the newest of its source. Its `previous` is filled in.
    ///
    /// # Errors
    /// [`RepoError::Role`] if the keys do not allow to vouch for it.
    pub fn keep_drill(&self, report: &DrillReport) -> Result<KeptDrill, RepoError> {
        self.need(Capability::Prune)?;
        let inner = &self.inner;
        let series = series_of(&inner.keyring.secrets, &report.source);
        let mut report = report.clone();
        for _ in 0..MAX_RACES {
            let folder = format!("drills/{}/", HEXLOWER.encode(&series));
            let taken = inner.drill_numbers(&folder)?.remove(&series).unwrap_or_default();
            let number = inner.next_drill(series, &taken)?;
            let name = DrillName { series, number };
            report.previous = match number.checked_sub(1).map(|number| inner.read_drill(DrillName { series, number })) {
                None => None,
                Some(Ok(kept)) => Some(kept.hash),
                Some(Err(error)) if is_of_one(&error) => None,
                Some(Err(error)) => return Err(error),
            };
            let path = name.path();
            let made = object::make(&inner.keyring, Signer::Operator, ObjectKind::Drill, &path, &json(&report)?)?;
            if inner.storage.create(&path, &made)? == Created::New {
                return Ok(KeptDrill { name, hash: hash_at_end(&made), report });
            }
        }
        Err(RepoError::Raced { object: format!("drills/{}", HEXLOWER.encode(&series)) })
    }

    /// One report.
    ///
    /// # Errors
    /// [`RepoError::Missing`], [`RepoError::Damaged`], [`RepoError::Forged`].
    pub fn drill(&self, name: DrillName) -> Result<KeptDrill, RepoError> {
        self.inner.read_drill(name)
    }

    /// The names of all reports, damaged ones too.
    ///
    /// # Errors
    /// [`RepoError`] if the place cannot be listed.
    pub fn drill_names(&self) -> Result<Vec<DrillName>, RepoError> {
        let numbers = self.inner.drill_numbers("drills/")?;
        let names = numbers
            .into_iter()
            .flat_map(|(series, numbers)| numbers.into_iter().map(move |number| DrillName { series, number }));
        Ok(names.collect())
    }

    /// Every report, checked to follow the one before it.
    ///
    /// # Errors
    /// [`RepoError`] if the place cannot be read; what is wrong with single reports is among [`Drills::problems`].
    pub fn drills(&self) -> Result<Drills, RepoError> {
        let (mut drills, mut chains) = (Drills::default(), Chains::default());
        let listed = self.inner.list_objects("drills/")?;
        let mut wanted: Vec<(DrillName, String, u64)> = listed
            .into_iter()
            .filter_map(|object| Some((DrillName::of_path(&object.name)?, object.name, object.bytes)))
            .collect();
        wanted.sort_unstable();
        for (name, begun) in object::read_each(&self.inner.storage, wanted) {
            match begun.get().and_then(|bytes| self.inner.kept_drill(name, &bytes)) {
                Ok(kept) => {
                    kept.chain(&mut chains);
                    drills.kept.push(kept);
                }
                Err(error) if is_of_one(&error) => {
                    chains.is_there(&name.path());
                    drills.problems.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        drills.broken = self.inner.broken("drills/", &mut chains)?;
        if !drills.broken.is_empty() {
            let settled = self.inner.settled()?;
            drills.broken.retain(|broken| !settled.contains(&broken.key));
        }
        drills.problems.extend(drills.broken.iter().map(Broken::to_string));
        Ok(drills)
    }

    /// The newest reports of each source, newest first, until `enough` says so of what came so far: what asks only for the last
    /// proof need not read years of them. At most `most` of each; what cannot be read is none of them.
    ///
    /// # Errors
    /// As of [`Self::drills`].
    pub fn newest_drills(&self, most: usize, enough: &dyn Fn(&[KeptDrill]) -> bool) -> Result<Drills, RepoError> {
        let mut drills = Drills::default();
        for (series, numbers) in self.inner.drill_numbers("drills/")? {
            let mut of_one = Vec::new();
            for number in numbers.into_iter().rev() {
                match self.inner.read_drill(DrillName { series, number }) {
                    Ok(kept) => of_one.push(kept),
                    Err(error) if is_of_one(&error) => drills.problems.push(error.to_string()),
                    Err(error) => return Err(error),
                }
                if enough(&of_one) || of_one.len() >= most {
                    break;
                }
            }
            drills.kept.append(&mut of_one);
        }
        Ok(drills)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_one_name() {
        let name = DrillName { series: [0xab; 16], number: 12 };
        assert_eq!(name.to_string().parse(), Ok(name));
        let series = "ab".repeat(16);
        for text in ["", "ab/1", &format!("{series}/01"), &format!("{series}/-1"), &format!("{series}/"), &series] {
            assert!(text.parse::<DrillName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_sample_means_its_share_of_keys_and_the_same_ones_each_time() {
        let sample = Sample { share: u64::MAX / 10, seed: [7; 32] };
        let meant = |sample: Sample| (0..10_000_u32).filter(|n| sample.means(&n.to_le_bytes())).count();
        assert!((800..1200).contains(&meant(sample)), "{}", meant(sample));
        assert_eq!(meant(sample), meant(sample));
        assert_eq!(meant(Sample { share: u64::MAX, ..sample }), 10_000);
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
    }
}
