//! Checkpoints: what a backup that broke off had finished. Specified in `format-spec/protocol.md`, section 5. Nothing leans
//! on one: who takes something over checks that it is there.

use super::{
    ChunkId, RepoError, Repository, Snapshot, SnapshotId,
    catalog::RevisionKind,
    inner::Inner,
    manifest::{Kind, SourceId},
    object::{self, ObjectKind},
};
use crate::record::{KeyCodec, KeyRange, MAX_KEY_BYTES, Timestamp};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashSet};

const VERSION: u64 = 1;

/// The most ranges of one collection that a reader believes.
const MAX_RANGES: usize = 65_536;

/// What changes what is stored or believed: only a run with the same options carries on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointOptions {
    /// Whether a base was asked for.
    pub new_base: bool,
    /// Whether deletions were looked for.
    pub swept: bool,
    /// In one of how many parts of the key space, if not in all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<u32>,
    /// Whether deletions that look like a loss were believed.
    pub accept_deletions: bool,
    /// The share of deletions that is believed without more ado.
    pub max_deleted_percent: u8,
}

/// What a backup had finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// 1.
    pub version: u64,
    /// The lease that the backup ran under.
    pub lease: SnapshotId,
    /// Which of its checkpoints this is.
    pub number: u64,
    /// Whose records these are.
    pub source: SourceId,
    /// The canonical hash of what was asked for.
    pub scope: String,
    /// What was read.
    pub kind: Kind,
    /// What it was joined with.
    pub parent: Option<SnapshotId>,
    /// What has to be the same.
    pub options: CheckpointOptions,
    /// The time by which live records were counted, by the source's clock: the start of the first run.
    pub counted_by: Timestamp,
    /// The latest end of a range, by the source's clock.
    pub time: Timestamp,
    /// The connector's, for the session that carries on.
    #[serde(default)]
    pub handover: Json,
    /// What was being read.
    pub collections: Vec<CheckpointCollection>,
}

/// What was finished of one collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointCollection {
    /// Its name.
    pub name: String,
    /// How its keys became bytes.
    pub codec: KeyCodec,
    /// Whether every record is written, though there is a parent.
    pub new_base: bool,
    /// Where its ranges begin, hexadecimal, ascending, but for the first, which begins at the lowest key.
    pub starts: Vec<String>,
    /// What was finished.
    pub spans: Vec<Span>,
}

/// Consecutive ranges whose numbers are kept together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The number of the first range.
    pub first: usize,
    /// Of each range the list of what was built in it; none if that is nothing.
    pub lists: Vec<Option<ChunkId>>,
    /// The numbers.
    pub outcome: ChunkId,
    /// When the run that read it began.
    pub start: Timestamp,
    /// When it had been read.
    pub end: Timestamp,
    /// Where an absence proves nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<SpanDoubt>,
}

/// Keys of which an absence proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanDoubt {
    /// The first of them, hexadecimal.
    pub from: String,
    /// The first behind them, hexadecimal; none for an open end.
    pub to: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// Whether a person may say that the loss is real all the same.
    pub acceptable: bool,
}

impl SpanDoubt {
    /// The keys; `None` if they are no hexadecimal digits.
    #[must_use]
    pub fn range(&self) -> Option<KeyRange> {
        let end = match &self.to {
            Some(to) => Some(key(to)?),
            None => None,
        };
        Some(KeyRange { start: key(&self.from)?, end })
    }
}

fn key(text: &str) -> Option<Vec<u8>> {
    if text.len() > 2 * MAX_KEY_BYTES + 2 {
        return None;
    }
    HEXLOWER.decode(text.as_bytes()).ok()
}

impl CheckpointCollection {
    /// The gap-free ranges; `None` if the starts are no ascending keys.
    #[must_use]
    pub fn ranges(&self) -> Option<Vec<KeyRange>> {
        if self.starts.len() >= MAX_RANGES {
            return None;
        }
        let starts: Option<Vec<Vec<u8>>> = self.starts.iter().map(|start| key(start)).collect();
        let starts = starts.filter(|all| all.first().is_none_or(|first| !first.is_empty()))?;
        starts.is_sorted_by(|a, b| a < b).then(|| KeyRange::between(&starts))
    }

    fn check(&self) -> Result<(), String> {
        let ranges = self.ranges().ok_or("its ranges do not ascend")?.len();
        let mut next = 0;
        for span in &self.spans {
            let behind = span.first.checked_add(span.lists.len()).filter(|behind| *behind <= ranges);
            let Some(behind) = behind.filter(|_| span.first >= next && !span.lists.is_empty()) else {
                return Err("its spans overlap, are empty, or lie outside of its ranges".to_owned());
            };
            if span.start > span.end {
                return Err("a span ends before it begins".to_owned());
            }
            if span.doubts.iter().any(|doubt| doubt.range().is_none()) {
                return Err("a doubt names no keys".to_owned());
            }
            next = behind;
        }
        Ok(())
    }
}

/// What has to be looked at before anything else.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl Checkpoint {
    /// The version that this program writes.
    pub const VERSION: u64 = VERSION;

    /// Reads and checks the JSON of a checkpoint; `object` names it in errors.
    ///
    /// # Errors
    /// [`RepoError::NewerFormat`] if a newer program wrote it, [`RepoError::Damaged`] if it makes no sense.
    pub fn from_json(object: &str, bytes: &[u8]) -> Result<Self, RepoError> {
        let damaged = |reason: String| RepoError::damaged(object, reason);
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if versioned.version > VERSION {
            let (found, supported) = (versioned.version, VERSION);
            return Err(RepoError::NewerFormat { object: object.to_owned(), found, supported });
        }
        let checkpoint: Self = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        checkpoint.check().map_err(damaged)?;
        Ok(checkpoint)
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("there is no version {}", self.version));
        }
        let mut names = HashSet::new();
        for collection in &self.collections {
            if !names.insert(collection.name.as_str()) {
                return Err(format!("it names collection {} twice", collection.name));
            }
            collection.check().map_err(|reason| format!("collection {}: {reason}", collection.name))?;
            // Numbers that are kept together are those of one coverage.
            let mixes = |span: &Span| span.lists.len() > 1 && (!span.doubts.is_empty() || !self.options.swept);
            if collection.spans.iter().any(mixes) {
                return Err(format!("collection {}: doubts are of one range", collection.name));
            }
            if collection.spans.iter().any(|span| span.start < self.counted_by || span.end > self.time) {
                return Err(format!("collection {}: a span lies outside of its time", collection.name));
            }
        }
        Ok(())
    }

    /// The lists and outcomes that it names.
    pub fn named_chunks(&self) -> impl Iterator<Item = (Option<ChunkId>, ChunkId)> {
        let spans = self.collections.iter().flat_map(|collection| &collection.spans);
        spans.flat_map(|span| span.lists.iter().map(|list| (*list, span.outcome)))
    }

    /// The snapshot that makes taking it over pointless: of the same source and scope, ended at or after its time.
    #[must_use]
    pub fn overtaken_by<'a>(&self, snapshots: &'a [Snapshot]) -> Option<&'a Snapshot> {
        snapshots.iter().rev().find(|snapshot| {
            let content = &snapshot.content;
            snapshot.source().is_same(&self.source) && content.scope == self.scope && content.end >= self.time
        })
    }
}

/// `checkpoints/<S>/<n>`.
#[must_use]
pub fn checkpoint_path(lease: &SnapshotId, number: u64) -> String {
    format!("checkpoints/{lease}/{number}")
}

fn parse_path(path: &str) -> Option<(SnapshotId, u64)> {
    let (lease, last) = path.strip_prefix("checkpoints/")?.split_once('/')?;
    let number: u64 = last.parse().ok()?;
    (number.to_string() == last).then_some((lease.parse().ok()?, number))
}

impl Inner {
    /// The listed numbers of each lease's checkpoints, ascending.
    pub(super) fn checkpoint_numbers(&self) -> Result<BTreeMap<SnapshotId, Vec<u64>>, RepoError> {
        let mut found: BTreeMap<SnapshotId, Vec<u64>> = BTreeMap::new();
        for object in self.list_objects("checkpoints/")? {
            if let Some((lease, number)) = parse_path(&object.name) {
                found.entry(lease).or_default().push(number);
            }
        }
        for numbers in found.values_mut() {
            numbers.sort_unstable();
        }
        Ok(found)
    }

    /// The leases whose snapshot was committed, as far as the catalog knows; forgotten ones are among them.
    pub(super) fn committed_leases(&self) -> Result<HashSet<SnapshotId>, RepoError> {
        let kinds = self.catalog.revision_kinds()?;
        Ok(kinds.into_iter().filter(|(_, _, kind)| *kind != RevisionKind::Void).map(|(id, _, _)| id).collect())
    }

    pub(super) fn read_checkpoint(&self, lease: &SnapshotId, number: u64) -> Result<Checkpoint, RepoError> {
        let path = checkpoint_path(lease, number);
        let body = object::open(&self.keyring, ObjectKind::Checkpoint, &path, &object::read(&self.storage, &path)?)?;
        let checkpoint = Checkpoint::from_json(&path, &body)?;
        if checkpoint.lease != *lease || checkpoint.number != number {
            let reason = format!("it says it is number {} of {}", checkpoint.number, checkpoint.lease);
            return Err(RepoError::damaged(path, reason));
        }
        Ok(checkpoint)
    }
}

impl Repository {
    /// The newest checkpoint of each lease that has not committed, and what could not be read.
    ///
    /// # Errors
    /// [`RepoError`] if storage cannot be listed.
    pub fn checkpoints(&self) -> Result<(Vec<Checkpoint>, Vec<String>), RepoError> {
        let (mut checkpoints, mut problems) = (Vec::new(), Vec::new());
        for (lease, numbers) in self.inner.checkpoint_numbers()? {
            let of_lease = self.inner.catalog.revisions_of(&lease)?;
            let is_committed = of_lease.iter().any(|it| it.kind != RevisionKind::Void);
            let Some(newest) = numbers.last().filter(|_| !is_committed) else { continue };
            match self.inner.read_checkpoint(&lease, *newest) {
                Ok(checkpoint) => checkpoints.push(checkpoint),
                // Tidied away since it was listed.
                Err(RepoError::Missing { .. }) => {}
                Err(error) => problems.push(error.to_string()),
            }
        }
        Ok((checkpoints, problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"version":1,"lease":"000102030405060708090a0b0c0d0e0f","number":0,
        "source":{"connector":"aerospike","name":"c","host":"h","url":"u"},"scope":"s","kind":"full","parent":null,
        "options":{"new_base":false,"swept":true,"accept_deletions":false,"max_deleted_percent":20},
        "counted_by":10,"time":30,"handover":{"nodes":["A"]},"collections":[{"name":"test","codec":"digest",
        "new_base":false,"starts":["0400","0800","0c00"],"spans":[
        {"first":0,"lists":[null,null],"outcome":"OUT","start":10,"end":20},
        {"first":3,"lists":[null],"outcome":"OUT","start":10,"end":30,
         "doubts":[{"from":"0c00","to":null,"reason":"r","acceptable":true}]}]}]}"#;

    fn parse(text: &str) -> Result<Checkpoint, RepoError> {
        Checkpoint::from_json("it", text.replace("OUT", &"07".repeat(32)).as_bytes())
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was() {
        let checkpoint = parse(GOOD).unwrap();
        let json = serde_json::to_vec(&checkpoint).unwrap();
        assert_eq!(Checkpoint::from_json("it", &json).unwrap(), checkpoint);
        assert_eq!(checkpoint.collections[0].ranges().unwrap().len(), 4);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let lies = [
            ("\"first\":3", "\"first\":4"),
            ("\"first\":3", "\"first\":1"),
            ("\"first\":3", "\"first\":18446744073709551615"),
            ("\"first\":3", "\"first\":-1"),
            ("\"lists\":[null]", "\"lists\":[]"),
            ("\"lists\":[null]", "\"lists\":[null,null]"),
            ("\"0800\"", "\"0300\""),
            ("\"0800\"", "\"0400\""),
            ("\"0400\"", "\"\""),
            ("\"0400\"", "\"xx\""),
            ("\"start\":10,\"end\":20", "\"start\":21,\"end\":20"),
            ("\"start\":10,\"end\":20", "\"start\":9,\"end\":20"),
            ("\"start\":10,\"end\":20", "\"start\":10,\"end\":31"),
            ("\"from\":\"0c00\"", "\"from\":\"0c0\""),
            ("\"version\":1", "\"version\":0"),
            ("\"kind\":\"full\"", "\"kind\":\"half\""),
            ("\"codec\":\"digest\"", "\"codec\":\"guess\""),
        ];
        for (from, to) in lies {
            let lie = GOOD.replacen(from, to, 1);
            assert_ne!(lie, GOOD, "{from}");
            assert!(matches!(parse(&lie), Err(RepoError::Damaged { .. })), "{to}");
        }
        let twice = GOOD.replacen(
            "\"collections\":[",
            "\"collections\":[{\"name\":\"test\",\"codec\":\"digest\",\"new_base\":false,\"starts\":[],\"spans\":[]},",
            1,
        );
        assert!(matches!(parse(&twice), Err(RepoError::Damaged { .. })));
    }

    #[test]
    fn a_newer_one_is_told_apart_from_damage_whatever_it_holds() {
        let newer = r#"{"version":2,"spans":"other"}"#;
        assert!(matches!(parse(newer), Err(RepoError::NewerFormat { .. })));
    }

    #[test]
    fn a_checkpoint_has_one_name() {
        let id = SnapshotId([7; 16]);
        assert_eq!(parse_path(&checkpoint_path(&id, 12)), Some((id, 12)));
        for name in ["01", "+1", "x", "end", "1/2"] {
            assert_eq!(parse_path(&format!("checkpoints/{id}/{name}")), None, "{name}");
        }
    }
}
